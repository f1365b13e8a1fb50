/*
 * tree.c: operations on nodes and handles: attributes, open, read, write, flush, release.
 *
 * Each resolves the node, enters its tenant with what the table of files says the operation
 * needs (so a status holds for handles that were open before, too), and lets the file's ops do
 * it. What readers get is rendered once, at open, except for files that read by themselves.
 * Directories are in dir.c.
 *
 * Lock order: a handle's lock, then whatever the ops take (live receipts, callers, tenant and
 * below).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tree/access.h"
#include "tree/error_file.h"
#include "tree/file.h"
#include "tree/handle.h"

/* ---- life ---- */

/* fstat(2) does not say on which handle it is asked. */
static void know_left(struct tree *t)
{
	uint64_t pos = 0, number;
	struct handle *h;

	while ((h = handles_next(t->handles, &pos, &number))) {
		h->has_snapshot = h->kept->text_len != KEPT_NO_TEXT;
		if (h->has_snapshot)
			snapshots_opened(t->snapshots, h->kept->node, h->kept->text_len);
	}
}

static int tree_init(struct tree *t, struct err *e)
{
	int rc = callers_new(&t->callers, e);

	if (rc == 0)
		rc = kept_new(t->options.kept_fd, &t->kept, e);
	if (rc == 0)
		rc = handles_new(t->kept, &t->handles, e);
	if (rc == 0)
		rc = snapshots_new(&t->snapshots, e);
	if (rc == 0)
		rc = live_new(&t->live, e);
	if (rc == 0)
		know_left(t);
	return rc;
}

int tree_new(const struct tree_options *o, struct tree **ret, struct err *e)
{
	struct tree *t = mem_zalloc(1, sizeof(*t));
	int rc;

	if (!t)
		return err_nomem(e);
	t->options = *o;
	t->tenants = o->tenants;
	t->started_ns = clock_wall_ns();
	mutex_init(&t->metadata_lock);
	mutex_init(&t->spare_lock);
	rc = tree_init(t, e);
	if (rc < 0) {
		tree_free(t);
		return rc;
	}
	*ret = t;
	return 0;
}

static void end_handle(struct tree *t, struct handle *h)
{
	if (h->ops && h->ops->release)
		h->ops->release(t, h);
	if (h->has_snapshot)
		snapshots_closed(t->snapshots, node_encode(h->node));
}

void tree_free(struct tree *t)
{
	uint64_t pos = 0, number;
	struct handle *h;

	if (!t)
		return;
	while (t->handles && (h = handles_next(t->handles, &pos, &number))) {
		end_handle(t, h);
		handles_leave(t->handles, number);
	}
	live_free(t->live);
	snapshots_free(t->snapshots);
	handles_free(t->handles);
	kept_free(t->kept);
	callers_free(t->callers);
	buf_release(&t->spare);
	mutex_destroy(&t->spare_lock);
	mutex_destroy(&t->metadata_lock);
	mem_free(t);
}

/* ---- handles that another server left ---- */

/* What was read stays what it was; what was written goes on, or says that it cannot. */
static int restore(struct tree *t, struct handle *h, struct err *e)
{
	int rc;

	if (!h->left)
		return 0;
	rc = kept_get_text(t->kept, h->index, &h->snapshot, e);
	if (rc == 0 && h->ops->restore)
		rc = h->ops->restore(t, h, e);
	if (rc == 0)
		h->left = false;
	return rc;
}

void tree_drop_orphan(struct tree *t, const struct caller *who)
{
	uint64_t number;
	struct handle *h = handles_orphan(t->handles, who, &number);

	if (!h)
		return;
	h->left = false; /* nobody used it: there is nothing to be restored */
	tree_release(t, number);
}

/* ---- numbers ---- */

#define KIND_SHIFT 58
#define KIND_MASK  (~0ull << KIND_SHIFT)

uint64_t tree_shown(const struct tree *t, uint64_t node)
{
	if (node == NODE_ROOT_NUMBER)
		return node;
	return (node & KIND_MASK) | tenants_shown_node(t->tenants, node & ~KIND_MASK);
}

uint64_t tree_hidden(const struct tree *t, uint64_t shown)
{
	if (shown == NODE_ROOT_NUMBER)
		return shown;
	return (shown & KIND_MASK) | tenants_hidden_node(t->tenants, shown & ~KIND_MASK);
}

/* ---- what every operation does ---- */

int tree_node(uint64_t number, struct node *ret, struct err *e)
{
	if (node_decode(number, ret))
		return 0;
	*ret = (struct node){ NODE_ROOT, 0, 0 };
	return err_set(e, -ESTALE, "no such node number");
}

int tree_enter(struct tree *t, struct node n, enum tenant_access access, struct inside *ret,
               struct err *e)
{
	*ret = (struct inside){ 0 };
	if (n.number == 0)
		return 0;
	return tenant_enter(t->tenants, n.number, access, ret, e);
}

void tree_leave(struct inside *in)
{
	if (in->tenant)
		tenant_leave(in);
}

/* What a program asks just to see whether it is there is no failure to be counted. */
static bool is_failure(int rc)
{
	return rc != -ENOENT && rc != -ENODATA && rc != -ENODEV && rc != -ESTALE;
}

static void post(struct tree *t, const struct caller *who, struct node n, int rc, struct err *e)
{
	if (e->code != rc || !e->text[0])
		err_set(e, rc, "%s", strerror(-rc));
	error_post(t, who, n, e);
}

int tree_fail_in(struct tree *t, const struct caller *who, struct node n, const char *function,
                 int rc, struct err *e)
{
	struct inside in;

	post(t, who, n, rc, e);
	acts_failed(t, who, n, function, rc, e);
	if (is_failure(rc) && n.number &&
	    tenant_enter(t->tenants, n.number, TENANT_ADMIN, &in, NULL) == 0) {
		tenant_count_error(&in);
		tenant_leave(&in);
	}
	return rc;
}

/*
 * One failure of a handle is counted once: what is refused after it, and at its close, is the
 * same one. function NULL: it is that.
 */
static int handle_fail(struct tree *t, const struct caller *who, struct node n,
                       const char *function, int rc, struct err *e)
{
	if (function)
		return tree_fail_in(t, who, n, function, rc, e);
	post(t, who, n, rc, e);
	return rc;
}

/* ---- attributes ---- */

int tree_getattr(struct tree *t, const struct caller *who, uint64_t number, struct tree_entry *ret)
{
	struct err e = { 0 };
	struct node n;
	int rc = tree_node(number, &n, &e);

	if (rc == 0)
		rc = attr_entry(t, who, n, ret, &e);
	return rc < 0 ? tree_fail(t, who, n, rc, &e) : 0;
}

/* Control files take any size and keep their own; by path only "empty it" is meant. */
static int set_size(struct tree *t, const struct caller *who, struct node n, uint64_t handle,
                    uint64_t size, const struct inside *in, struct err *e)
{
	const struct file_ops *ops = file_kind(n.kind)->ops;
	struct handle *h = handle == TREE_NO_HANDLE ? NULL : handles_get(t->handles, handle);
	int rc;

	if (!ops)
		return err_set(e, -EISDIR, "a directory has no size to be set");
	if (!ops->truncate)
		return ops->control || ops->write
		               ? 0
		               : err_set(e, -EPERM, "the file cannot be written");
	if (!h)
		return size == 0
		               ? 0
		               : err_set(e, -EINVAL, "a size can be set only through an open file");
	mutex_lock(&h->lock);
	rc = h->ops == ops ? access_check(t, who, h, in, e)
	                   : err_set(e, -EBADF, "the open file is another one");
	if (rc == 0)
		rc = restore(t, h, e);
	if (rc == 0)
		rc = ops->truncate(t, who, h, size, e);
	mutex_unlock(&h->lock);
	return rc;
}

static int setattr(struct tree *t, const struct caller *who, struct node n, uint64_t handle,
                   unsigned what, const struct stat *to, struct err *e)
{
	struct inside in;
	int rc = 0;

	if (what & TREE_SET_SIZE) {
		rc = tree_enter(t, n, file_kind(n.kind)->access_write, &in, e);
		if (rc < 0)
			return rc;
		rc = set_size(t, who, n, handle, (uint64_t)to->st_size, &in, e);
		tree_leave(&in);
	}
	return rc < 0 ? rc : attr_set(t, who, n, what, to, e);
}

int tree_setattr(struct tree *t, const struct caller *who, uint64_t number, uint64_t handle,
                 unsigned what, const struct stat *to, struct tree_entry *ret)
{
	struct err e = { 0 };
	struct node n;
	int rc = tree_node(number, &n, &e);

	if (rc == 0)
		rc = setattr(t, who, n, handle, what, to, &e);
	if (rc == 0 && (what & (TREE_SET_MODE | TREE_SET_UID | TREE_SET_GID)) &&
	    n.kind != NODE_RECEIPT && n.kind != NODE_VECTOR)
		acts_done(t, who, &(struct act){ .operation = "setattr", .node = n });
	if (rc == 0)
		rc = attr_entry(t, who, n, ret, &e);
	return rc < 0 ? tree_fail(t, who, n, rc, &e) : 0;
}

size_t tree_dependents(uint64_t number, uint64_t *ret, size_t max)
{
	struct node n;
	int scope;
	size_t count = 0;

	if (!node_decode(number, &n) || (n.kind != NODE_TENANT && n.kind != NODE_COLLECTION))
		return 0;
	scope = n.kind == NODE_TENANT ? SCOPE_TENANT : SCOPE_COLLECTION;
	for (int k = 0; k < NODE_N_KINDS && count < max; k++)
		if ((file_kind((enum node_kind)k)->scope & (unsigned)scope))
			ret[count++] = node_encode((struct node){ (enum node_kind)k, n.number, 0 });
	return count;
}

/* ---- open ---- */

static bool wants_read(int flags)
{
	return (flags & O_ACCMODE) != O_WRONLY;
}

static bool wants_write(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

static int check_open(struct tree *t, struct node n, int flags, struct inside *ret, struct err *e)
{
	const struct file_kind *k = file_kind(n.kind);

	if (!k->ops)
		return err_set(e, -EISDIR, "it is a directory");
	if (wants_write(flags) && !k->ops->control && !k->ops->write)
		return err_set(e, -EPERM, "%s cannot be written", k->name);
	if (wants_write(flags) && t->options.read_only && k->ops->control &&
	    k->access_write != TENANT_READ)
		return err_set(e, -EROFS, "the filesystem is mounted read-only");
	return tree_enter(t, n, wants_write(flags) ? k->access_write : k->access_read, ret, e);
}

/* A file that is opened for writing too may have nothing to be read yet. */
static int take_snapshot(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	uint64_t told;
	int rc = 0;

	if (!wants_read(h->flags) || h->ops->read || !h->ops->render)
		return 0;
	if (h->snapshot.len == 0)
		rc = h->ops->render(t, who, h->node, &h->snapshot, e);
	if (rc == 0 && buf_failed(&h->snapshot))
		rc = err_nomem(e);
	if (wants_write(h->flags) && (rc == -ENOENT || rc == -ENODATA)) {
		buf_clear(&h->snapshot);
		rc = 0;
	}
	if (rc < 0)
		return rc;
	h->outgrew = snapshots_was_told(t->snapshots, node_encode(h->node), &told) &&
	             told < h->snapshot.len;
	kept_put_text(t->kept, h->index, &h->snapshot);
	snapshots_opened(t->snapshots, node_encode(h->node), h->snapshot.len);
	h->has_snapshot = true;
	return 0;
}

static int open_handle(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	int rc = h->ops->open ? h->ops->open(t, who, h, e) : 0;

	if (rc < 0)
		return rc;
	rc = take_snapshot(t, who, h, e);
	if (rc < 0)
		end_handle(t, h);
	return rc;
}

int tree_open_node(struct tree *t, const struct caller *who, struct node n, int flags,
                   uint64_t *ret_handle, struct err *e)
{
	struct inside in;
	struct handle *h;
	int rc = check_open(t, n, flags, &in, e);

	if (rc < 0)
		return rc;
	rc = handles_open(t->handles, &in, ret_handle, &h, e);
	if (rc == 0) {
		h->ops = file_kind(n.kind)->ops;
		h->flags = flags;
		access_opened(t, who, h, n, &in);
	}
	tree_leave(&in);
	if (rc != 0)
		return rc;
	mutex_lock(&h->lock);
	h->node = n;
	rc = open_handle(t, who, h, e);
	if (rc == 0)
		handles_keep(h, who->request);
	mutex_unlock(&h->lock);
	if (rc < 0)
		handles_close(t->handles, *ret_handle);
	return rc;
}

int tree_open(struct tree *t, const struct caller *who, uint64_t number, int flags,
              uint64_t *ret_handle, bool *ret_noflush)
{
	struct err e = { 0 };
	struct node n;
	int rc = tree_node(number, &n, &e);

	tree_drop_orphan(t, who);
	if (rc == 0)
		rc = tree_open_node(t, who, n, flags, ret_handle, &e);
	/*
	 * Its name was there when it was looked up, and went since. Told so, the kernel looks once
	 * more, and makes it anew where the caller wants that (O_CREAT is not sent along).
	 */
	if (rc == -ENOENT && wants_write(flags))
		rc = -ESTALE;
	if (rc < 0)
		return tree_fail(t, who, n, rc, &e);
	*ret_noflush = !file_kind(n.kind)->ops->flush || !wants_write(flags);
	return 0;
}

bool tree_outgrew(struct tree *t, uint64_t handle, uint64_t *ret_size)
{
	struct handle *h = handles_get(t->handles, handle);
	bool outgrew;

	if (!h)
		return false;
	mutex_lock(&h->lock);
	outgrew = h->outgrew;
	*ret_size = h->snapshot.len;
	mutex_unlock(&h->lock);
	return outgrew;
}

/* ---- read, write ---- */

static int read_locked(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
                       size_t n, struct buf *ret, struct err *e)
{
	struct inside in;
	int rc = tree_enter(t, h->node, file_kind(h->node.kind)->access_read, &in, e);

	if (rc < 0)
		return rc;
	rc = access_check(t, who, h, &in, e);
	if (rc == 0)
		rc = restore(t, h, e);
	if (rc < 0) {
		; /* not any more, or what it was is not known yet */
	} else if (h->ops->read) {
		rc = h->ops->read(t, who, h, off, n, ret, e);
	} else if (off < h->snapshot.len) {
		size_t left = h->snapshot.len - (size_t)off;

		buf_add(ret, h->snapshot.data + off, n < left ? n : left);
	}
	tree_leave(&in);
	return rc == 0 && buf_failed(ret) ? err_nomem(e) : rc;
}

static int bad_handle(struct err *e)
{
	return err_set(e, -EBADF, "no such open file");
}

int tree_read(struct tree *t, const struct caller *who, uint64_t handle, uint64_t off, size_t n,
              struct buf *ret)
{
	struct handle *h = handles_get(t->handles, handle);
	struct err e = { 0 };
	struct node node;
	int rc;

	if (!h)
		return bad_handle(&e);
	mutex_lock(&h->lock);
	node = h->node;
	rc = h->ops ? read_locked(t, who, h, off, n, ret, &e) : bad_handle(&e);
	mutex_unlock(&h->lock);
	return rc < 0 ? tree_fail(t, who, node, rc, &e) : rc;
}

/*
 * One write is one unit, wherever it is said to stand. Some programs write the newline by
 * itself: it ends what was applied.
 */
static long write_control(struct tree *t, const struct caller *who, struct handle *h, const char *p,
                          size_t n, struct err *e)
{
	int rc;

	if (n > LIMIT_CONTROL_WRITE)
		return err_set(e, -E2BIG, "a write of %zu bytes to a control file, at most %d", n,
		               LIMIT_CONTROL_WRITE);
	if (h->applied && n == 1 && p[0] == '\n')
		return 1;
	rc = h->ops->control(t, who, h->node, p, n, e);
	h->applied = rc == 0;
	h->kept->applied = h->applied;
	if (rc == 0)
		acts_wrote(t, who, h->node, p, n);
	return rc < 0 ? rc : (long)n;
}

static long write_locked(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
                         const void *p, size_t n, struct err *e)
{
	struct inside in;
	long rc;

	/* The kernel sees to it, unless what a server left behind says otherwise. */
	if (!wants_write(h->flags))
		return err_set(e, -EBADF, "the file was not opened for writing");
	rc = tree_enter(t, h->node, file_kind(h->node.kind)->access_write, &in, e);
	if (rc < 0)
		return rc;
	rc = access_check(t, who, h, &in, e);
	if (rc == 0)
		rc = restore(t, h, e);
	if (rc < 0)
		; /* not any more, or what it was is not known yet */
	else if (h->ops->write)
		rc = h->ops->write(t, who, h, off, p, n, e);
	else if (h->ops->control)
		rc = write_control(t, who, h, p, n, e);
	else
		rc = err_set(e, -EPERM, "the file cannot be written");
	tree_leave(&in);
	return rc;
}

long tree_write(struct tree *t, const struct caller *who, uint64_t handle, uint64_t off,
                const void *p, size_t n)
{
	struct handle *h = handles_get(t->handles, handle);
	struct err e = { 0 };
	struct node node;
	bool again;
	long rc;

	if (!h)
		return bad_handle(&e);
	acts_begin();
	mutex_lock(&h->lock);
	node = h->node;
	rc = h->ops ? write_locked(t, who, h, off, p, n, &e) : bad_handle(&e);
	again = h->failed && h->ops && h->ops->flush;
	h->failed = rc < 0;
	mutex_unlock(&h->lock);
	acts_data(t, who, node);
	return rc < 0 ? handle_fail(t, who, node, again ? NULL : __func__, (int)rc, &e) : rc;
}

static int check_access(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	struct inside in;
	int rc = tree_enter(t, h->node, TENANT_ADMIN, &in, NULL);

	if (rc < 0)
		return 0; /* it is gone, which its ops tell */
	rc = access_check(t, who, h, &in, e);
	tree_leave(&in);
	return rc;
}

static int flush_locked(struct tree *t, const struct caller *who, struct handle *h, bool *ret_again,
                        struct err *e)
{
	int rc;

	*ret_again = h->failed;
	if (!h->ops)
		return bad_handle(e);
	if (!h->ops->flush)
		return 0;
	rc = check_access(t, who, h, e);
	if (rc == 0)
		rc = restore(t, h, e);
	if (rc == 0)
		rc = h->ops->flush(t, who, h, e);
	h->failed = rc < 0;
	return rc;
}

/*
 * Not refused by a status here: what is committed asks for itself, and closing a file that was
 * only read is always fine.
 */
int tree_flush(struct tree *t, const struct caller *who, uint64_t handle)
{
	struct handle *h = handles_get(t->handles, handle);
	struct err e = { 0 };
	struct node node;
	bool again;
	int rc;

	if (!h)
		return bad_handle(&e);
	acts_begin();
	mutex_lock(&h->lock);
	node = h->node;
	rc = flush_locked(t, who, h, &again, &e);
	mutex_unlock(&h->lock);
	acts_data(t, who, node);
	return rc < 0 ? handle_fail(t, who, node, again ? NULL : __func__, rc, &e) : 0;
}

int tree_fsync(struct tree *t, const struct caller *who, uint64_t handle)
{
	return tree_flush(t, who, handle);
}

void tree_release(struct tree *t, uint64_t handle)
{
	struct handle *h = handles_get(t->handles, handle);

	if (!h)
		return;
	mutex_lock(&h->lock);
	if (h->ops && h->ops->flush)
		restore(t, h, NULL); /* for the receipt */
	end_handle(t, h);
	mutex_unlock(&h->lock);
	handles_close(t->handles, handle);
}

/* ---- df ---- */

#define STATFS_BLOCK 4096u

/*
 * Below a tenant with limits, its limits are what is full or free: for whoever may read its figures,
 * because statfs works on any name that can be said, and the kernel asks no permission.
 */
static void limit_statfs(struct tree *t, const struct caller *who, struct node n,
                         struct statvfs *st)
{
	uint64_t vectors, bytes, max_bytes, max_vectors;
	struct tenant_info info;
	struct inside in;
	uint32_t tenant, collections;

	if (tenants_of_collection(t->tenants, n.number, &tenant) < 0 ||
	    !access_may_look(t, who, tenant) || tenants_info(t->tenants, tenant, &info) < 0 ||
	    tenant_enter(t->tenants, tenant, TENANT_LOOK, &in, NULL) < 0)
		return;
	engine_usage(in.engine, &vectors, &bytes, &collections);
	tenant_leave(&in);
	max_bytes = info.quota.max[QUOTA_MAX_BYTES];
	max_vectors = info.quota.max[QUOTA_MAX_VECTORS];
	if (max_bytes != QUOTA_UNLIMITED) {
		st->f_bsize = st->f_frsize = STATFS_BLOCK;
		st->f_blocks = max_bytes / STATFS_BLOCK;
		st->f_bfree = st->f_bavail = bytes < max_bytes ? (max_bytes - bytes) / STATFS_BLOCK
		                                               : 0;
	}
	if (max_vectors != QUOTA_UNLIMITED) {
		st->f_files = max_vectors;
		st->f_ffree = st->f_favail = vectors < max_vectors ? max_vectors - vectors : 0;
	}
}

int tree_statfs(struct tree *t, const struct caller *who, uint64_t number, struct statvfs *ret)
{
	struct node n;

	if (statvfs(t->options.data, ret) < 0)
		return -errno;
	ret->f_namemax = LIMIT_ID;
	if (node_decode(number, &n) && n.number)
		limit_statfs(t, who, n, ret);
	return 0;
}
