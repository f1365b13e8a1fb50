/*
 * ops.c: requests of the kernel to calls of the tree.
 *
 * Every file is opened with direct_io, so that reads and writes arrive as they were made, and
 * only files that commit at their close get flushes. Links and devices are refused here: no
 * tree has them.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/mem.h"
#include "mount/ops.h"
#include "mount/waiting.h"
#include "mount/wire.h"

#define MAX_WRITE      (1u << 20)
#define MAX_BACKGROUND 64 /* releases are among them */

static struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static struct tree *tree_of(fuse_req_t req)
{
	return mount_of(req)->tree;
}

/* ---- interrupts ---- */

static void interrupted(fuse_req_t req, void *data)
{
	struct interrupt_watch *w = data;

	w->wake(w);
}

static bool interrupt_came(void *ctx)
{
	fuse_req_t req = ctx;

	return fuse_req_interrupted(req) || fuse_session_exited(mount_of(req)->session);
}

static void watch_interrupt(void *ctx, struct interrupt_watch *w)
{
	fuse_req_interrupt_func(ctx, w ? interrupted : NULL, w);
}

static const struct interrupt_source interrupts = { interrupt_came, watch_interrupt };

/* What this thread does from now on is for that request. */
static struct caller caller_of(fuse_req_t req)
{
	const struct fuse_ctx *c = fuse_req_ctx(req);

	interrupt_set(&interrupts, req, true);

	return (struct caller){ .tid = c->pid,
		                .uid = c->uid,
		                .gid = c->gid,
		                .umask = c->umask,
		                .request = wire_request() };
}

static void reply(fuse_req_t req, const char *op, int rc)
{
	if (rc == -EIO || rc == -ENOSPC)
		log_error("%s of process %d: %s", op, (int)fuse_req_ctx(req)->pid, strerror(-rc));
	fuse_reply_err(req, rc < 0 ? -rc : 0);
}

/* What the kernel calls it is not what it is here. */
static uint64_t node_of(fuse_req_t req, fuse_ino_t ino)
{
	return tree_hidden(tree_of(req), ino);
}

static struct fuse_entry_param entry_param(fuse_req_t req, const struct tree_entry *e)
{
	return (struct fuse_entry_param){
		.ino = tree_shown(tree_of(req), e->node),
		.attr = e->attr,
		.entry_timeout = e->entry_timeout,
		.attr_timeout = e->attr_timeout,
	};
}

static void reply_entry(fuse_req_t req, const char *op, int rc, const struct tree_entry *e)
{
	struct fuse_entry_param p;

	if (rc < 0) {
		reply(req, op, rc);
		return;
	}
	p = entry_param(req, e);
	fuse_reply_entry(req, &p);
}

static void reply_attr(fuse_req_t req, const char *op, int rc, const struct tree_entry *e)
{
	if (rc < 0)
		reply(req, op, rc);
	else
		fuse_reply_attr(req, &e->attr, e->attr_timeout);
}

/* ---- session ---- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount *m = userdata;

	conn->max_write = MAX_WRITE;
	conn->max_background = MAX_BACKGROUND;
	conn->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_POSIX_ACL |
	                          FUSE_CAP_READDIRPLUS);
	conn->want |= conn->capable & FUSE_CAP_ATOMIC_O_TRUNC;
	m->ready(m->ready_ctx);
}

/* ---- attributes ---- */

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct caller who = caller_of(req);
	struct tree_entry e;
	int rc = tree_lookup(tree_of(req), &who, node_of(req, parent), name, &e);

	reply_entry(req, __func__, rc, &e);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct caller who = caller_of(req);
	struct tree_entry e;
	int rc = tree_getattr(tree_of(req), &who, node_of(req, ino), &e);

	reply_attr(req, __func__, rc, &e);
}

static unsigned set_flags(int to_set)
{
	unsigned what = 0;

	if (to_set & FUSE_SET_ATTR_MODE)
		what |= TREE_SET_MODE;
	if (to_set & FUSE_SET_ATTR_UID)
		what |= TREE_SET_UID;
	if (to_set & FUSE_SET_ATTR_GID)
		what |= TREE_SET_GID;
	if (to_set & FUSE_SET_ATTR_SIZE)
		what |= TREE_SET_SIZE;
	if (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |
	              FUSE_SET_ATTR_MTIME_NOW))
		what |= TREE_SET_TIMES;
	return what;
}

/*
 * The kernel forgets what it remembers of the files whose owner and mode follow this
 * directory's.
 */
static void forget_dependents(fuse_req_t req, fuse_ino_t ino)
{
	uint64_t nodes[TREE_DEPENDENTS_MAX];
	size_t n = tree_dependents(node_of(req, ino), nodes, TREE_DEPENDENTS_MAX);

	for (size_t i = 0; i < n; i++)
		fuse_lowlevel_notify_inval_inode(mount_of(req)->session,
		                                 tree_shown(tree_of(req), nodes[i]), -1, 0);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                       struct fuse_file_info *fi)
{
	struct caller who = caller_of(req);
	unsigned what = set_flags(to_set);
	struct tree_entry e;
	int rc = tree_setattr(tree_of(req), &who, node_of(req, ino), fi ? fi->fh : TREE_NO_HANDLE,
	                      what, attr, &e);

	if (rc == 0 && (what & (TREE_SET_MODE | TREE_SET_UID | TREE_SET_GID)))
		forget_dependents(req, ino);
	reply_attr(req, __func__, rc, &e);
}

/* ---- names ---- */

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct caller who = caller_of(req);
	struct tree_entry e;
	int rc = tree_mkdir(tree_of(req), &who, node_of(req, parent), name, mode & ~who.umask, &e);

	reply_entry(req, __func__, rc, &e);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct caller who = caller_of(req);

	reply(req, __func__, tree_rmdir(tree_of(req), &who, node_of(req, parent), name));
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct caller who = caller_of(req);

	reply(req, __func__, tree_unlink(tree_of(req), &who, node_of(req, parent), name));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
	struct caller who = caller_of(req);
	int rc = tree_rename(tree_of(req), &who, node_of(req, parent), name,
	                     node_of(req, new_parent), new_name, flags);

	reply(req, __func__, rc);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
	struct caller who = caller_of(req);

	reply(req, __func__, tree_no_other_kind(tree_of(req), &who, node_of(req, parent)));
}

static void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	struct caller who = caller_of(req);

	reply(req, __func__, tree_no_other_kind(tree_of(req), &who, node_of(req, parent)));
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct caller who = caller_of(req);

	reply(req, __func__, tree_no_other_kind(tree_of(req), &who, node_of(req, parent)));
}

/* ---- files ---- */

static void fill_open(struct fuse_file_info *fi, uint64_t handle, bool noflush)
{
	fi->fh = handle;
	fi->direct_io = 1;
	fi->noflush = noflush;
}

/* A reply that did not arrive: the open was interrupted, and no release will come. */
static void after_open(fuse_req_t req, struct tree *t, uint64_t handle, int sent)
{
	if (sent == -ENOENT)
		tree_release(t, handle);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
	struct tree *t = tree_of(req);
	struct caller who = caller_of(req);
	struct fuse_entry_param p;
	struct tree_entry e;
	uint64_t handle;
	int rc = tree_create(t, &who, node_of(req, parent), name, mode, fi->flags, &e, &handle);

	if (rc < 0) {
		reply(req, __func__, rc);
		return;
	}
	fill_open(fi, handle, false);
	p = entry_param(req, &e);
	after_open(req, t, handle, fuse_reply_create(req, &p, fi));
}

/*
 * Before the reply, so that who asks next by sendfile finds the size. Pages of what was there
 * before go.
 */
static void tell_size(fuse_req_t req, fuse_ino_t ino, uint64_t size)
{
	struct mount *m = fuse_req_userdata(req);
	struct fuse_bufvec last = FUSE_BUFVEC_INIT(1);

	last.buf[0].mem = "\n"; /* what every text ends with */
	fuse_lowlevel_notify_inval_inode(m->session, ino, 0, 0);
	fuse_lowlevel_notify_store(m->session, ino, (off_t)size - 1, &last, 0);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct tree *t = tree_of(req);
	struct caller who = caller_of(req);
	uint64_t handle;
	bool noflush;
	uint64_t reaches;
	int rc = tree_open(t, &who, node_of(req, ino), fi->flags, &handle, &noflush);

	if (rc < 0) {
		reply(req, __func__, rc);
		return;
	}
	if (tree_outgrew(t, handle, &reaches))
		tell_size(req, ino, reaches);
	fill_open(fi, handle, noflush);
	after_open(req, t, handle, fuse_reply_open(req, fi));
}

/*
 * EAGAIN tells a descriptor with O_NONBLOCK to wait until poll says that it is ready, which rates and lost
 * answers have nothing to do with: who took it so, as Go's runtime does with every file, would wait
 * for ever.
 */
static long for_descriptor(long rc, const struct fuse_file_info *fi)
{
	return rc == -EAGAIN && (fi->flags & O_NONBLOCK) ? -EBUSY : rc;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
	struct buf data BUF_AUTO = BUF_INIT;
	struct waiting *w = mount_of(req)->waiting;
	struct waiting_read r = { req,    caller_of(req), node_of(req, ino),
		                  fi->fh, (uint64_t)off,  size };
	uint64_t generation;
	int rc;

	do {
		generation = waiting_generation(w);
		rc = tree_read(tree_of(req), &r.who, r.handle, r.off, size, &data);
		rc = (int)for_descriptor(rc, fi);
		if (rc == TREE_WAIT && (fi->flags & O_NONBLOCK))
			rc = -EAGAIN;
		else if (rc == TREE_WAIT && waiting_read(w, &r, generation))
			return;
	} while (rc == TREE_WAIT);
	if (rc < 0)
		reply(req, __func__, rc);
	else
		fuse_reply_buf(req, data.data, data.len < size ? data.len : size);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
	struct caller who = caller_of(req);
	long n = tree_write(tree_of(req), &who, fi->fh, (uint64_t)off, data, size);
	uint64_t reaches;

	if (n >= 0 && tree_grew(tree_of(req), fi->fh, &reaches))
		tell_size(req, ino, reaches);
	if (n < 0)
		reply(req, __func__, (int)for_descriptor(n, fi));
	else
		fuse_reply_write(req, (size_t)n);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct caller who = caller_of(req);

	reply(req, __func__, tree_flush(tree_of(req), &who, fi->fh));
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct caller who = caller_of(req);

	reply(req, __func__, tree_fsync(tree_of(req), &who, fi->fh));
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	interrupt_set(NULL, NULL, false); /* nobody is there to be told */
	waiting_forget(mount_of(req)->waiting, node_of(req, ino), fi->fh);
	tree_release(tree_of(req), fi->fh);
	reply(req, __func__, 0);
}

/* Files that never wait are always ready, as the kernel has it without this. */
static void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
                    struct fuse_pollhandle *ph)
{
	int ready = tree_poll(tree_of(req), fi->fh);

	if (ph && ready == 0)
		waiting_poll(mount_of(req)->waiting, node_of(req, ino), fi->fh, ph);
	else if (ph)
		fuse_pollhandle_destroy(ph);
	if (ready < 0)
		reply(req, __func__, ready);
	else
		fuse_reply_poll(req, ready ? POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM : 0);
}

/* ---- directories ---- */

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct tree *t = tree_of(req);
	struct caller who = caller_of(req);
	uint64_t handle;
	int rc = tree_opendir(t, &who, node_of(req, ino), &handle);

	if (rc < 0) {
		reply(req, __func__, rc);
		return;
	}
	fi->fh = handle;
	after_open(req, t, handle, fuse_reply_open(req, fi));
}

struct dir_reply {
	fuse_req_t req;
	char *p;
	size_t len;
	size_t size;
};

static int add_entry(void *ctx, const struct tree_dirent *d)
{
	struct dir_reply *r = ctx;
	struct stat st = { .st_ino = d->ino, .st_mode = d->type };
	size_t left = r->size - r->len;
	size_t n = fuse_add_direntry(r->req, r->p + r->len, left, d->name, &st, (off_t)d->cookie);

	if (n > left)
		return 1;
	r->len += n;
	return 0;
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
	struct caller who = caller_of(req);
	struct dir_reply r = { req, mem_alloc(size, 1), 0, size };
	int rc = -ENOMEM;

	if (r.p)
		rc = tree_readdir(tree_of(req), &who, fi->fh, (uint64_t)off, add_entry, &r);
	if (rc < 0)
		reply(req, __func__, rc);
	else
		fuse_reply_buf(req, r.p, r.len);
	mem_free(r.p);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	tree_releasedir(tree_of(req), fi->fh);
	reply(req, __func__, 0);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	reply(req, __func__, 0);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct caller who = caller_of(req);
	struct statvfs st;
	int rc = tree_statfs(tree_of(req), &who, node_of(req, ino), &st);

	if (rc < 0)
		reply(req, __func__, rc);
	else
		fuse_reply_statfs(req, &st);
}

/* ---- extended attributes ---- */

static void reply_xattr(fuse_req_t req, const char *op, int rc, const struct buf *value,
                        size_t size)
{
	if (rc < 0)
		reply(req, op, rc);
	else if (size == 0)
		fuse_reply_xattr(req, value->len);
	else if (value->len > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value->data, value->len);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct buf value BUF_AUTO = BUF_INIT;
	struct caller who = caller_of(req);
	int rc = tree_getxattr(tree_of(req), &who, node_of(req, ino), name, &value);

	reply_xattr(req, __func__, rc, &value, size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct buf names BUF_AUTO = BUF_INIT;
	struct caller who = caller_of(req);
	int rc = tree_listxattr(tree_of(req), &who, node_of(req, ino), &names);

	reply_xattr(req, __func__, rc, &names, size);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                        size_t size, int flags)
{
	struct caller who = caller_of(req);

	reply(req, __func__,
	      tree_setxattr(tree_of(req), &who, node_of(req, ino), name, value, size, flags));
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct caller who = caller_of(req);

	reply(req, __func__, tree_removexattr(tree_of(req), &who, node_of(req, ino), name));
}

const struct fuse_lowlevel_ops mount_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.poll = op_poll,
	.fsync = op_fsync,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.create = op_create,
};
