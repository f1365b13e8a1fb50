/*
 * attr.c: what stat shows of each node, and what chmod and chown change.
 *
 * Owners and modes are kept for tenants/, each tenant and each collection; everything below has
 * its directory's owner and, of the bits of file.c, those that the directory gives: r for
 * reading, asking and listing, w for writing, x for entering. So `chmod 750 tenants/ID` lets a
 * group read and ask, 770 lets it insert too. quota and status stay root's.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "tree/access.h"
#include "tree/file.h"
#include "tree/handle.h"

#define STATIC_TIMEOUT 3600.0 /* names that only change through this kernel */
#define CALLER_TIMEOUT                                                                             \
	1.0 /* files that every caller has of its own: each walk looks them up anyway */
#define BLOCK     4096
#define MODE_BITS (01777 | S_ISGID)

/* The bits of a file or directory inside a directory of mode dir. */
static mode_t mode_inside(const struct file_kind *k, enum node_kind kind, mode_t dir)
{
	mode_t allowed = 0;

	for (int shift = 0; shift <= 6; shift += 3) {
		mode_t d = dir >> shift & 7;
		mode_t bits = d & 4;

		if (kind == NODE_QUERY)
			bits |= (d & 4) >> 1;
		else
			bits |= d & 2;
		if (S_ISDIR(k->mode))
			bits |= d & 1;
		allowed |= bits << shift;
	}
	return (k->mode & S_IFMT) | (k->mode & allowed);
}

static struct owner top_owner(const struct tree *t, struct node n)
{
	struct owner o = { t->options.root_uid, t->options.root_gid,
		           file_kind(n.kind)->mode & 07777 };

	if (n.kind == NODE_TENANTS)
		tenants_dir_owner(t->tenants, &o);
	if (n.kind == NODE_METRICS || n.kind == NODE_METRICS_PROM)
		tenants_metrics_owner(t->tenants, &o);
	if (n.kind == NODE_METRICS_PROM)
		o.mode = mode_inside(file_kind(n.kind), n.kind, o.mode);
	return o;
}

static int collection_owner(struct tree *t, struct node n, struct owner *ret,
                            uint64_t *ret_created_ns, struct err *e)
{
	struct collection_info info;
	struct inside in;
	int rc = tenant_enter(t->tenants, n.number, TENANT_LOOK, &in, e);

	if (rc < 0)
		return rc;
	rc = engine_collection_info(in.engine, n.number, &info);
	tenant_leave(&in);
	if (rc < 0)
		return err_set(e, rc, "the collection is gone");
	*ret = info.owner;
	*ret_created_ns = info.created_ns;
	return 0;
}

int attr_owner(struct tree *t, struct node n, struct owner *ret, uint64_t *ret_created_ns,
               struct err *e)
{
	struct tenant_info info;
	uint32_t tenant;

	*ret_created_ns = t->started_ns;
	if (n.number == 0) {
		*ret = top_owner(t, n);
		return 0;
	}
	if (tenants_of_collection(t->tenants, n.number, &tenant) < 0)
		return err_set(e, -ENODEV, "the tenant or collection was removed");
	if (tenant != n.number)
		return collection_owner(t, n, ret, ret_created_ns, e);
	if (tenants_info(t->tenants, tenant, &info) < 0)
		return err_set(e, -ENODEV, "the tenant was removed");
	*ret = info.owner;
	*ret_created_ns = info.created_ns;
	return 0;
}

static bool keeps_owner(enum node_kind k)
{
	return k == NODE_TENANTS || k == NODE_METRICS || k == NODE_TENANT || k == NODE_COLLECTION;
}

/* A collection of shared/: whoever its mode lets in may ask, the rest is its owner's. */
static bool is_shared(const struct tree *t, struct node n)
{
	uint32_t tenant;

	return n.number && tenants_of_collection(t->tenants, n.number, &tenant) == 0 &&
	       tenant != n.number && tenant == tenants_shared(t->tenants);
}

static bool is_for_all(enum node_kind k)
{
	return k == NODE_COLLECTION || k == NODE_QUERY || k == NODE_RESULTS || k == NODE_ERROR;
}

static void fill_owner(const struct tree *t, struct node n, const struct owner *o, struct stat *st)
{
	const struct file_kind *k = file_kind(n.kind);

	st->st_uid = o->uid;
	st->st_gid = o->gid;
	if (keeps_owner(n.kind) || n.number == 0)
		st->st_mode = (k->mode & S_IFMT) | (o->mode & 07777);
	else if (k->roots)
		st->st_mode = k->mode;
	else
		st->st_mode = mode_inside(k, n.kind, o->mode);
	if (is_shared(t, n) && !is_for_all(n.kind))
		st->st_mode &= ~(mode_t)077;
	if (k->roots) {
		st->st_uid = t->options.root_uid;
		st->st_gid = t->options.root_gid;
	}
}

int attr_mode(struct tree *t, struct node n, struct stat *ret, struct err *e)
{
	struct owner owner;
	uint64_t created_ns;
	int rc = attr_owner(t, n, &owner, &created_ns, e);

	memset(ret, 0, sizeof(*ret));
	if (rc == 0)
		fill_owner(t, n, &owner, ret);
	return rc;
}

/*
 * A file that cannot be read now (suspended, nothing asked yet) has no size, and stat of it
 * works. So it is with one that was removed: whoever asks by name is told by the look-up, and an
 * open asks for attributes in between, which must not fail where the file is to be made.
 */
static int fill_size(struct tree *t, const struct caller *who, struct node n, struct stat *st,
                     struct err *e)
{
	const struct file_ops *ops = file_kind(n.kind)->ops;
	struct buf text BUF_AUTO = BUF_INIT;
	uint64_t size = 0;
	int rc = 0;

	if (!ops || snapshots_size(t->snapshots, node_encode(n), &size)) {
		rc = 0;
	} else if (ops->size) {
		rc = ops->size(t, who, n, &size, e);
	} else if (ops->render) {
		rc = ops->render(t, who, n, &text, e);
		size = text.len;
	}
	if (rc == -EACCES || rc == -ENODATA || rc == -ENOENT ||
	    (rc == -EIO && n.kind != NODE_VECTOR))
		rc = size = 0;
	if (ops && rc == 0)
		snapshots_told(t->snapshots, node_encode(n), size);
	st->st_size = (off_t)size;
	st->st_blocks = (blkcnt_t)((size + 511) / 512);
	return rc;
}

/*
 * stat of what stands at the top and in shared/ works for everybody, and the size of audit, stats or an
 * export counts what others do. Below a tenant only those get who may enter it.
 */
static bool hides_size(const struct tree *t, const struct caller *who, struct node n,
                       const struct stat *st)
{
	return S_ISREG(st->st_mode) && (n.number == 0 || is_shared(t, n)) &&
	       !access_may_read(who, st);
}

static void fill_times(struct tree_entry *ret, struct node n, uint64_t created_ns)
{
	const struct file_kind *k = file_kind(n.kind);
	/* a collector tells by the time how old the figures are */
	uint64_t ns = n.kind == NODE_METRICS_PROM ? clock_wall_ns() : created_ns;
	struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000u),
		               .tv_nsec = (long)(ns % 1000000000u) };
	/* names that come and go without this directory being asked */
	bool listed = n.kind == NODE_RECEIPT || n.kind == NODE_VECTOR || n.kind == NODE_VIEW;

	ret->attr.st_atim = ret->attr.st_mtim = ret->attr.st_ctim = ts;
	ret->entry_timeout = k->per_caller || listed ? 0 : STATIC_TIMEOUT;
	ret->attr_timeout = S_ISDIR(k->mode) && !listed ? STATIC_TIMEOUT
	                    : k->per_caller             ? CALLER_TIMEOUT
	                                                : 0;
	if (n.kind == NODE_TOP_README || n.kind == NODE_TOP_VERSION)
		ret->attr_timeout = STATIC_TIMEOUT;
}

uint64_t attr_ino(const struct tree *t, struct node n)
{
	n.number = tenants_shown(t->tenants, n.number);
	return node_encode(n);
}

int attr_entry(struct tree *t, const struct caller *who, struct node n, struct tree_entry *ret,
               struct err *e)
{
	const struct file_kind *k = file_kind(n.kind);
	struct node shown = n;
	struct owner owner;
	uint64_t created_ns;
	int rc = attr_owner(t, n, &owner, &created_ns, e);

	if (rc < 0)
		return rc;
	memset(ret, 0, sizeof(*ret));
	if (k->per_caller)
		shown.item = node_is_view(n) ? n.item & NODE_SLOT : 0;
	ret->node = node_encode(n);
	ret->attr.st_ino = attr_ino(t, shown);
	ret->attr.st_nlink =
		1; /* also of directories: "not counted", so that find looks into each */
	fill_owner(t, n, &owner, &ret->attr);
	fill_times(ret, n, created_ns);
	ret->attr.st_blksize = BLOCK;
	return hides_size(t, who, n, &ret->attr) ? 0 : fill_size(t, who, n, &ret->attr, e);
}

/* ---- chmod, chown ---- */

static void change_owner(struct owner *o, unsigned what, const struct stat *to)
{
	if (what & TREE_SET_MODE)
		o->mode = to->st_mode & MODE_BITS;
	if (what & TREE_SET_UID)
		o->uid = to->st_uid;
	if (what & TREE_SET_GID)
		o->gid = to->st_gid;
}

static int set_collection_owner(struct tree *t, struct node n, const struct owner *o, struct err *e)
{
	struct inside in;
	int rc = tenant_enter(t->tenants, n.number, TENANT_WRITE, &in, e);

	if (rc < 0)
		return rc;
	rc = engine_collection_set_owner(in.engine, n.number, o, e);
	tenant_leave(&in);
	return rc;
}

static int store_owner(struct tree *t, struct node n, const struct owner *o, struct err *e)
{
	if (n.kind == NODE_TENANTS)
		return tenants_set_dir_owner(t->tenants, o, e);
	if (n.kind == NODE_METRICS)
		return tenants_set_metrics_owner(t->tenants, o, e);
	if (n.kind == NODE_TENANT)
		return tenants_set_owner(t->tenants, n.number, o, e);
	return set_collection_owner(t, n, o, e);
}

static int set_owner(struct tree *t, struct node n, unsigned what, const struct stat *to,
                     struct err *e)
{
	struct owner o;
	uint64_t created_ns;
	int rc = attr_owner(t, n, &o, &created_ns, e);

	if (rc < 0)
		return rc;
	if (t->options.read_only)
		return err_set(e, -EROFS, "the filesystem is mounted read-only");
	change_owner(&o, what, to);
	rc = store_owner(t, n, &o, e);
	if (rc == 0)
		access_changed(t, n);
	return rc;
}

int attr_set(struct tree *t, const struct caller *who, struct node n, unsigned what,
             const struct stat *to, struct err *e)
{
	const struct file_kind *k = file_kind(n.kind);

	if (!(what & (TREE_SET_MODE | TREE_SET_UID | TREE_SET_GID)))
		return 0;
	if (keeps_owner(n.kind))
		return set_owner(t, n, what, to, e);
	if (n.kind == NODE_RECEIPT || n.kind == NODE_VECTOR) /* cp -p, tar, rsync */
		return 0;
	return err_set(
		e, -EPERM,
		"owner and mode of %s are its directory's: chmod and chown tenants/ID or collections/NAME",
		k->name ? k->name : "/");
}
