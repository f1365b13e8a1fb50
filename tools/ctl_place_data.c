/*
 * ctl_place_data.c: the directory of a tenant or collection in DATA, which is locked: the filesystem
 * is served here, to nobody but this process, and without a mount.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/version.h"
#include "tools/ctl.h"
#include "tools/ctl_place.h"
#include "tree/tree.h"

#define WHOLE (16u << 20) /* more than a control file has */

struct inproc {
	struct place place;
	int lock;
	struct workers *workers;
	struct tenants *tenants;
	struct tree *tree;
	struct caller who;
	uint64_t tenant, dir, ingest; /* nodes */
	uint64_t handle;              /* of the file that is written */
	bool writing;
};

static struct inproc *inproc_of(struct place *p)
{
	return (struct inproc *)(void *)p;
}

static int find(struct inproc *in, uint64_t parent, const char *name, uint64_t *ret)
{
	struct tree_entry entry;
	int rc = tree_lookup(in->tree, &in->who, parent, name, &entry);

	if (rc == 0)
		*ret = entry.node;
	return rc;
}

/* A path of names, each below the one before. */
static int walk(struct inproc *in, uint64_t from, const char *path, uint64_t *ret)
{
	char name[LIMIT_ID + 1];
	int rc = 0;

	while (rc == 0 && *path) {
		size_t n = strcspn(path, "/");

		snprintf(name, sizeof(name), "%.*s", (int)n, path);
		if (n)
			rc = find(in, from, name, &from);
		path += n + (path[n] == '/');
	}
	*ret = from;
	return rc;
}

static int slurp(struct inproc *in, uint64_t from, const char *path, struct buf *ret)
{
	uint64_t node, handle;
	bool noflush;
	int rc = walk(in, from, path, &node);

	if (rc == 0)
		rc = tree_open(in->tree, &in->who, node, O_RDONLY, &handle, &noflush);
	if (rc < 0)
		return rc;
	rc = tree_read(in->tree, &in->who, handle, 0, WHOLE, ret);
	tree_release(in->tree, handle);
	return rc < 0 ? rc : 0;
}

static int explain(struct inproc *in, int rc, const char *what, struct err *e)
{
	BUF_AUTO struct buf b = BUF_INIT;

	if (in->dir && slurp(in, in->dir, "error", &b) == 0 && b.len > 1)
		return err_set(e, rc, "%.*s", (int)b.len - 1, b.data);
	return err_set(e, rc, "%s: %s", what, strerror(-rc));
}

static int inproc_read(struct place *p, const char *name, struct buf *ret, struct err *e)
{
	struct inproc *in = inproc_of(p);
	int rc = slurp(in, name[0] == '/' ? in->tenant : in->dir, name, ret);

	return rc < 0 ? explain(in, rc, name, e) : 0;
}

static int inproc_open(struct place *p, const char *name, bool fresh, struct err *e)
{
	struct inproc *in = inproc_of(p);
	int flags = O_WRONLY | O_APPEND | (fresh ? O_TRUNC : 0);
	struct tree_entry entry;
	uint64_t node;
	bool noflush;
	int rc = find(in, in->ingest, name, &node);

	if (rc == -ENOENT)
		rc = tree_create(in->tree, &in->who, in->ingest, name, 0600, flags, &entry,
		                 &in->handle);
	else if (rc == 0)
		rc = tree_open(in->tree, &in->who, node, flags, &in->handle, &noflush);
	in->writing = rc == 0;
	return rc < 0 ? explain(in, rc, name, e) : 0;
}

static int inproc_write(struct place *p, const void *bytes, size_t n, struct err *e)
{
	struct inproc *in = inproc_of(p);
	long rc = tree_write(in->tree, &in->who, in->handle, 0, bytes, n);

	return rc < 0 ? explain(in, (int)rc, "ingest", e) : 0;
}

static int inproc_sync(struct place *p, struct err *e)
{
	struct inproc *in = inproc_of(p);
	int rc = tree_fsync(in->tree, &in->who, in->handle);

	return rc < 0 ? explain(in, rc, "ingest", e) : 0;
}

static int inproc_close(struct place *p, struct err *e)
{
	struct inproc *in = inproc_of(p);
	int rc = 0;

	if (!in->writing)
		return 0;
	rc = tree_flush(in->tree, &in->who, in->handle);
	tree_release(in->tree, in->handle);
	in->writing = false;
	return rc < 0 ? explain(in, rc, "ingest", e) : 0;
}

static int inproc_rename(struct place *p, const char *from, const char *to, struct err *e)
{
	struct inproc *in = inproc_of(p);
	int rc = tree_rename(in->tree, &in->who, in->ingest, from, in->ingest, to, 0);

	return rc < 0 ? explain(in, rc, to, e) : 0;
}

static void inproc_free(struct place *p)
{
	struct inproc *in = inproc_of(p);

	if (in->writing)
		tree_release(in->tree, in->handle);
	tree_free(in->tree);
	tenants_close(in->tenants);
	if (in->workers)
		workers_free(in->workers);
	if (in->lock >= 0)
		close(in->lock);
	mem_free(in);
}

static const struct place_ops ops = {
	.read = inproc_read,
	.open = inproc_open,
	.write = inproc_write,
	.sync = inproc_sync,
	.close = inproc_close,
	.rename = inproc_rename,
	.free = inproc_free,
};

/* ---- opening ---- */

static int serve(struct inproc *in, const char *data, struct err *e)
{
	struct tenants_options to = { .data = data };
	struct tree_options tr = { .data = data, .version = RUVECTORFS_VERSION, .kept_fd = -1 };
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	int rc;

	in->who = (struct caller){ .tid = gettid(), .uid = geteuid(), .gid = getegid() };
	in->workers = workers_new(cores > 0 ? (unsigned)cores : 1);
	if (!in->workers)
		return err_set(e, -ENOMEM, "no memory for threads");
	to.workers = in->workers;
	rc = tenants_open(&to, &in->tenants, e);
	if (rc < 0)
		return rc;
	tr.tenants = in->tenants;
	tr.root_uid = in->who.uid;
	tr.root_gid = in->who.gid;
	return tree_new(&tr, &in->tree, e);
}

/* The directory NAME in parent, made where it is missing. */
static int enter(struct inproc *in, uint64_t parent, const char *name, bool make, uint64_t *ret,
                 struct err *e)
{
	struct tree_entry entry;
	int rc = find(in, parent, name, ret);

	if (rc == -ENOENT && make) {
		rc = tree_mkdir(in->tree, &in->who, parent, name, 0700, &entry);
		*ret = rc == 0 ? entry.node : 0;
		return rc < 0 ? err_set(e, rc, "%s cannot be made: %s", name, strerror(-rc)) : 0;
	}
	if (rc == -ENOENT)
		return err_set(e, rc, "there is no %s (--make makes it)", name);
	return rc < 0 ? err_set(e, rc, "%s: %s", name, strerror(-rc)) : 0;
}

static int enter_all(struct inproc *in, const char *tenant, const char *collection, bool make,
                     struct err *e)
{
	uint64_t at;
	int rc = find(in, NODE_ROOT_NUMBER, "tenants", &at);

	if (rc == 0)
		rc = enter(in, at, tenant, make && !collection, &in->tenant, e);
	in->dir = in->tenant;
	if (rc == 0 && collection) {
		rc = find(in, in->tenant, "collections", &at);
		if (rc == 0)
			rc = enter(in, at, collection, make, &in->dir, e);
	}
	return rc < 0 ? rc : find(in, in->dir, "ingest", &in->ingest);
}

int place_of_data(const char *data, const char *tenant, const char *collection, bool make,
                  struct place **ret, struct err *e)
{
	struct inproc *in = mem_zalloc(1, sizeof(*in));
	int rc;

	if (!in)
		return err_nomem(e);
	in->place.ops = &ops;
	in->lock = -1;
	rc = ctl_lock(data, &in->lock, e);
	if (rc == 0)
		rc = serve(in, data, e);
	if (rc == 0)
		rc = enter_all(in, tenant, collection, make, e);
	if (rc < 0)
		inproc_free(&in->place);
	else
		*ret = &in->place;
	return rc;
}
