/*
 * dir.c: directories: lookup, mkdir, rmdir, unlink, rename, create, readdir.
 *
 * Static names come from the table in file.c, tenants and collections from their rooms, the
 * entries of ingest/ and vectors/ through their dir_ops. Cookies of readdir: 1 ".", 2 "..",
 * then 2 + kind for static names and 2 + number for the others (numbers only grow and are never
 * reused, so a listing goes on rightly whatever is added or removed meanwhile); of tenants and
 * collections the number that is shown.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "tree/access.h"
#include "tree/error_file.h"
#include "tree/file.h"
#include "tree/handle.h"

#define FIRST_COOKIE  2u
#define AUDIT_COOKIES 1000u    /* + N for audit.N */
#define LIST_CHUNK    SIZE_MAX /* entries come until the reply is full */

static const struct dir_ops *dir_ops(enum node_kind k)
{
	return k == NODE_INGEST ? &dir_ingest : k == NODE_VECTORS ? &dir_vectors : NULL;
}

/* Which names of the table stand in this directory; 0: none. */
static int dir_scope(enum node_kind k)
{
	switch (k) {
	case NODE_ROOT:
		return SCOPE_TOP;
	case NODE_TENANT:
		return SCOPE_TENANT;
	case NODE_COLLECTION:
		return SCOPE_COLLECTION;
	case NODE_METRICS:
		return SCOPE_METRICS;
	case NODE_ALL:
		return SCOPE_ALL;
	case NODE_VIEW:
		return SCOPE_VIEW;
	default:
		return 0;
	}
}

int dir_find_collection(struct inside *in, const char *name, uint32_t *ret_cid)
{
	int rc = engine_collection_find(in->engine, name, ret_cid);

	return rc == 0 && *ret_cid == in->cid ? -ENOENT : rc;
}

/* ---- lookup ---- */

static int lookup_static(struct tree *t, const struct caller *who, struct node parent,
                         const char *name, struct node *ret)
{
	enum node_kind k = file_kind_by_name(dir_scope(parent.kind), name);
	struct lineage l;

	if (k == NODE_N_KINDS)
		return parent.kind == NODE_ROOT && audit_old_find(t, name, ret) ? 0 : -ENOENT;
	*ret = (struct node){ k, parent.number, 0 };
	if (file_kind(k)->per_caller) {
		callers_lineage(t->callers, who, &l);
		ret->item = callers_node_item(&l);
	}
	if (parent.kind == NODE_VIEW) /* the low bits tell living processes apart */
		ret->item = (parent.item & NODE_SLOT) | (ret->item & ~NODE_SLOT);
	return 0;
}

static int lookup_tenant(struct tree *t, const char *name, struct node *ret)
{
	uint32_t number;
	int rc = tenants_find(t->tenants, name, &number);

	*ret = (struct node){ NODE_TENANT, number, 0 };
	return rc;
}

static int lookup_collection(struct tree *t, struct node parent, const char *name, struct node *ret,
                             struct err *e)
{
	struct inside in;
	uint32_t cid = 0;
	int rc = tree_enter(t, parent, TENANT_LOOK, &in, e);

	if (rc < 0)
		return rc;
	rc = dir_find_collection(&in, name, &cid);
	tree_leave(&in);
	*ret = (struct node){ NODE_COLLECTION, cid, 0 };
	return rc;
}

/* The directory as that of the tenant which has the shared collections; false: there are none. */
static bool shared_parent(struct tree *t, struct node *ret)
{
	*ret = (struct node){ NODE_COLLECTIONS, tenants_shared(t->tenants), 0 };
	return ret->number != 0;
}

static int lookup_shared(struct tree *t, const char *name, struct node *ret, struct err *e)
{
	struct node parent;

	return shared_parent(t, &parent) ? lookup_collection(t, parent, name, ret, e) : -ENOENT;
}

static int lookup_view(struct tree *t, struct node parent, const char *name, struct node *ret,
                       struct err *e)
{
	struct inside in;
	uint32_t slot;
	int rc = tree_enter(t, parent, TENANT_READ, &in, e);

	if (rc < 0)
		return rc;
	tree_leave(&in);
	rc = lookup_shared(t, name, ret, e);
	if (rc < 0)
		return rc;
	if (tenants_shared_slot(t->tenants, ret->number, &slot) < 0)
		return -ENOENT;
	*ret = (struct node){ NODE_VIEW, parent.number, slot << 16 };
	return 0;
}

static int lookup_listed(struct tree *t, const struct caller *who, struct node parent,
                         const char *name, struct node *ret, struct err *e)
{
	struct inside in;
	int rc = tree_enter(t, parent, file_kind(parent.kind)->access_read, &in, e);

	if (rc < 0)
		return rc;
	rc = dir_ops(parent.kind)->lookup(t, who, &in, name, ret, e);
	tree_leave(&in);
	return rc;
}

static int lookup(struct tree *t, const struct caller *who, struct node parent, const char *name,
                  struct node *ret, struct err *e)
{
	if (dir_scope(parent.kind))
		return lookup_static(t, who, parent, name, ret);
	if (parent.kind == NODE_TENANTS)
		return lookup_tenant(t, name, ret);
	if (parent.kind == NODE_COLLECTIONS)
		return lookup_collection(t, parent, name, ret, e);
	if (parent.kind == NODE_SHARED)
		return lookup_shared(t, name, ret, e);
	if (parent.kind == NODE_VIEWS)
		return lookup_view(t, parent, name, ret, e);
	if (dir_ops(parent.kind))
		return lookup_listed(t, who, parent, name, ret, e);
	return err_set(e, -ENOTDIR, "it is not a directory");
}

/*
 * A name that is not there is the answer to a question, not an error to be kept: `cp` and
 * shells ask all the time.
 */
int tree_lookup(struct tree *t, const struct caller *who, uint64_t parent, const char *name,
                struct tree_entry *ret)
{
	struct err e = { 0 };
	struct node p, n;
	int rc = tree_node(parent, &p, &e);

	if (rc == 0)
		rc = lookup(t, who, p, name, &n, &e);
	if (rc == 0)
		rc = attr_entry(t, who, n, ret, &e);
	return rc < 0 && rc != -ENOENT ? tree_fail(t, who, p, rc, &e) : rc;
}

/* ---- mkdir, rmdir ---- */

static int mkdir_tenant(struct tree *t, const struct caller *who, const char *name,
                        struct node *ret, struct err *e)
{
	struct owner o = { who->uid, who->gid, 0700 };
	int rc = tenants_create(t->tenants, name, &o, &ret->number, e);

	ret->kind = NODE_TENANT;
	return rc;
}

static int mkdir_collection(struct tree *t, const struct caller *who, struct node parent,
                            const char *name, mode_t mode, struct node *ret, struct err *e)
{
	struct owner o = { who->uid, who->gid, mode & 01777 };
	struct inside in;
	int rc = tree_enter(t, parent, TENANT_WRITE, &in, e);

	if (rc < 0)
		return rc;
	rc = tenant_collection_create(&in, name, &o, &ret->number, e);
	tree_leave(&in);
	ret->kind = NODE_COLLECTION;
	return rc;
}

static bool holds_stores(enum node_kind k)
{
	return k == NODE_TENANTS || k == NODE_COLLECTIONS || k == NODE_SHARED;
}

static int mkdir_shared(struct tree *t, const struct caller *who, const char *name, mode_t mode,
                        struct node *ret, struct err *e)
{
	struct owner o = { who->uid, who->gid, mode & 01777 };

	ret->kind = NODE_COLLECTION;
	return tenants_shared_create(t->tenants, name, &o, &ret->number, e);
}

static int make_dir(struct tree *t, const struct caller *who, struct node parent, const char *name,
                    mode_t mode, struct node *ret, struct err *e)
{
	int rc;

	*ret = (struct node){ 0 };
	if (parent.kind == NODE_INGEST)
		return err_set(e, -EPERM,
		               "ingest/ takes files only: cp dir/* ingest/ instead of cp -r");
	if (!holds_stores(parent.kind))
		return err_set(e, -EPERM,
		               "directories are made in tenants/, collections/ and, by root, in "
		               "shared/ only");
	if (t->options.read_only)
		return err_set(e, -EROFS, "the filesystem is mounted read-only");
	rc = tenant_name_check(name, e);
	if (rc < 0)
		return rc;
	if (parent.kind == NODE_TENANTS)
		return mkdir_tenant(t, who, name, ret, e);
	if (parent.kind == NODE_SHARED)
		return mkdir_shared(t, who, name, mode, ret, e);
	return mkdir_collection(t, who, parent, name, mode, ret, e);
}

int tree_mkdir(struct tree *t, const struct caller *who, uint64_t parent, const char *name,
               mode_t mode, struct tree_entry *ret)
{
	struct kept_once once = kept_once_begin(t->kept, who, parent, name);
	struct err e = { 0 };
	struct node p, n = { 0 };
	int rc = tree_node(parent, &p, &e);

	if (rc == 0 && !once.done)
		rc = kept_once_end(&once, make_dir(t, who, p, name, mode, &n, &e), -EEXIST);
	if (rc == 0 && !n.number) /* a server before this one made it */
		rc = lookup(t, who, p, name, &n, &e);
	if (rc == 0)
		acts_done(t, who, &(struct act){ .operation = "mkdir", .node = n });
	if (rc == 0)
		rc = attr_entry(t, who, n, ret, &e);
	return rc < 0 ? tree_fail(t, who, p, rc, &e) : 0;
}

static int remove_tenant(struct tree *t, const char *name, struct err *e)
{
	uint32_t number;
	int rc = tenants_find(t->tenants, name, &number);

	if (rc < 0)
		return err_set(e, rc, "no tenant of that name");
	rc = tenants_remove(t->tenants, number, e);
	if (rc == 0)
		callers_forget_place(t->callers, number);
	return rc;
}

/* Whatever is pending deletion may be removed, though nothing may be written to it. */
static enum tenant_access access_to_remove(struct tree *t, uint32_t tenant)
{
	struct tenant_info info;

	if (tenants_info(t->tenants, tenant, &info) == 0 && info.status == TENANT_PENDING_DELETION)
		return TENANT_LOOK;
	return TENANT_WRITE;
}

static int remove_collection(struct tree *t, struct node parent, const char *name, struct err *e)
{
	struct inside in;
	uint32_t cid;
	int rc = tree_enter(t, parent, access_to_remove(t, parent.number), &in, e);

	if (rc < 0)
		return rc;
	rc = dir_find_collection(&in, name, &cid);
	if (rc == 0)
		rc = tenant_collection_remove(&in, cid, e);
	else
		err_set(e, rc, "no collection of that name");
	tree_leave(&in);
	if (rc == 0)
		callers_forget_place(t->callers, cid);
	return rc;
}

static int remove_dir(struct tree *t, struct node parent, const char *name, struct err *e)
{
	if (!holds_stores(parent.kind))
		return err_set(e, -EPERM, "only tenants and collections can be removed");
	if (parent.kind == NODE_SHARED && !shared_parent(t, &parent))
		return err_set(e, -ENOENT, "no collection of that name");
	if (t->options.read_only)
		return err_set(e, -EROFS, "the filesystem is mounted read-only");
	if (parent.kind == NODE_TENANTS)
		return remove_tenant(t, name, e);
	return remove_collection(t, parent, name, e);
}

int tree_rmdir(struct tree *t, const struct caller *who, uint64_t parent, const char *name)
{
	struct kept_once once = kept_once_begin(t->kept, who, parent, name);
	struct err e = { 0 };
	struct node p;
	int rc = tree_node(parent, &p, &e);

	if (rc == 0 && !once.done)
		rc = kept_once_end(&once, remove_dir(t, p, name, &e), -ENOENT);
	if (rc == 0)
		acts_done(t, who,
		          &(struct act){ .operation = "rmdir",
		                         .node = p,
		                         .tenant = p.kind == NODE_TENANTS ? name : NULL });
	return rc < 0 ? tree_fail(t, who, p, rc, &e) : 0;
}

/* ---- files: unlink, rename, create ---- */

static int unlink_file(struct tree *t, struct node parent, const char *name, struct err *e)
{
	const struct dir_ops *ops = dir_ops(parent.kind);
	struct inside in;
	int rc;

	if (!ops || !ops->unlink)
		return err_set(e, -EPERM,
		               "%s is part of its directory: rmdir the tenant or collection", name);
	rc = tree_enter(t, parent, TENANT_WRITE, &in, e);
	if (rc < 0)
		return rc;
	rc = ops->unlink(t, &in, name, e);
	tree_leave(&in);
	return rc;
}

int tree_unlink(struct tree *t, const struct caller *who, uint64_t parent, const char *name)
{
	struct kept_once once = kept_once_begin(t->kept, who, parent, name);
	struct err e = { 0 };
	struct node p;
	int rc = tree_node(parent, &p, &e);

	acts_begin();
	if (rc == 0 && !once.done)
		rc = kept_once_end(&once, unlink_file(t, p, name, &e), -ENOENT);
	acts_data(t, who, p);
	return rc < 0 ? tree_fail(t, who, p, rc, &e) : 0;
}

int tree_no_other_kind(struct tree *t, const struct caller *who, uint64_t parent)
{
	struct err e = { 0 };
	struct node p;
	int rc = tree_node(parent, &p, &e);

	if (rc == 0)
		rc = err_set(&e, -EPERM,
		             "there are files and directories only, no links, pipes or devices");
	return tree_fail(t, who, p, rc, &e);
}

static int rename_file(struct tree *t, struct node from, const char *name, struct node to,
                       const char *new_name, unsigned flags, struct err *e)
{
	const struct dir_ops *ops = dir_ops(from.kind);
	struct inside in;
	int rc;

	if (!ops || !ops->rename)
		return err_set(e, -EPERM,
		               "names can be changed in tenants/, ingest/ and vectors/ only");
	/* mv would copy it under the ID that it has, and then remove that. */
	if (from.kind == NODE_VECTORS && to.kind == NODE_INGEST && from.number == to.number)
		return err_set(e, -EPERM, "the vector is in this collection already");
	if (from.kind != to.kind || from.number != to.number)
		return err_set(e, -EXDEV, "a file cannot be moved out of its directory");
	rc = tree_enter(t, from, TENANT_WRITE, &in, e);
	if (rc < 0)
		return rc;
	rc = ops->rename(t, &in, name, new_name, flags, e);
	tree_leave(&in);
	return rc;
}

/* The kernel has asked the permissions of tenants/ by then, its sticky bit included. */
static int rename_tenant(struct tree *t, const char *name, struct node to, const char *new_name,
                         unsigned flags, struct err *e)
{
	uint32_t number;

	if (to.kind != NODE_TENANTS)
		return err_set(e, -EPERM, "a tenant cannot be moved into another one");
	if (flags & ~(unsigned)RENAME_NOREPLACE)
		return err_set(e, -EINVAL, "tenants cannot be exchanged");
	if (tenants_find(t->tenants, name, &number) < 0)
		return err_set(e, -ENOENT, "no tenant of that name");
	if (strcmp(name, new_name) == 0)
		return 0;
	return tenants_rename(t->tenants, number, new_name, flags & RENAME_NOREPLACE, e);
}

static int rename_any(struct tree *t, struct node from, const char *name, struct node to,
                      const char *new_name, unsigned flags, struct err *e)
{
	if (from.kind == NODE_TENANTS)
		return rename_tenant(t, name, to, new_name, flags, e);
	return rename_file(t, from, name, to, new_name, flags, e);
}

int tree_rename(struct tree *t, const struct caller *who, uint64_t parent, const char *name,
                uint64_t new_parent, const char *new_name, unsigned flags)
{
	struct kept_once once = kept_once_begin(t->kept, who, parent, name);
	struct err e = { 0 };
	struct node from, to;
	int rc = tree_node(parent, &from, &e);

	if (rc == 0)
		rc = tree_node(new_parent, &to, &e);
	if (rc == 0 && !once.done)
		rc = kept_once_end(&once, rename_any(t, from, name, to, new_name, flags, &e),
		                   -ENOENT);
	if (rc == 0 && from.kind == NODE_TENANTS)
		acts_done(t, who,
		          &(struct act){ .operation = "rename",
		                         .node = from,
		                         .tenant = name,
		                         .text = new_name,
		                         .text_len = strlen(new_name),
		                         .is_name = true });
	return rc < 0 ? tree_fail(t, who, from, rc, &e) : 0;
}

static int create_node(struct tree *t, const struct caller *who, struct node parent,
                       const char *name, struct node *ret, struct err *e)
{
	const struct dir_ops *ops = dir_ops(parent.kind);
	struct inside in;
	int rc;

	if (!ops || !ops->create)
		return err_set(e, -EPERM, "files are made in ingest/ and vectors/ only");
	rc = tree_enter(t, parent, TENANT_WRITE, &in, e);
	if (rc < 0)
		return rc;
	rc = ops->lookup(t, who, &in, name, ret, NULL);
	if (rc == -ENOENT)
		rc = ops->create(t, who, &in, name, ret, e);
	tree_leave(&in);
	return rc;
}

#define CREATE_TRIES 100

/* What is found may be removed by others before it is open: then it is made once more. */
static int create_open(struct tree *t, const struct caller *who, struct node parent,
                       const char *name, int flags, struct node *ret, uint64_t *ret_handle,
                       struct err *e)
{
	int rc = -ENOENT;

	for (int i = 0; rc == -ENOENT && i < CREATE_TRIES; i++) {
		rc = create_node(t, who, parent, name, ret, e);
		if (rc == 0)
			rc = tree_open_node(t, who, *ret, flags, ret_handle, e);
	}
	return rc;
}

/*
 * Seconds. The kernel checks permissions once more after it created a file, and would ask for what
 * it was just told; the first write makes it forget.
 */
#define CREATED_TIMEOUT 0.01

int tree_create(struct tree *t, const struct caller *who, uint64_t parent, const char *name,
                mode_t mode, int flags, struct tree_entry *ret, uint64_t *ret_handle)
{
	struct err e = { 0 };
	struct node p, n = { 0 };
	int rc = tree_node(parent, &p, &e);

	tree_drop_orphan(t, who);
	if (rc == 0)
		rc = create_open(t, who, p, name, flags, &n, ret_handle, &e);
	if (rc < 0)
		return tree_fail(t, who, p, rc, &e);
	rc = attr_entry(t, who, n, ret, &e);
	if (ret->attr_timeout == 0 && (flags & O_ACCMODE) == O_WRONLY)
		ret->attr_timeout = CREATED_TIMEOUT;
	if (rc == 0)
		return 0;
	tree_release(t, *ret_handle);
	return tree_fail(t, who, p, rc, &e);
}

/* ---- readdir ---- */

int tree_opendir(struct tree *t, const struct caller *who, uint64_t number, uint64_t *ret_handle)
{
	struct err e = { 0 };
	struct handle *h;
	struct inside in;
	struct node n;
	int rc = tree_node(number, &n, &e);

	tree_drop_orphan(t, who);
	if (rc == 0 && file_kind(n.kind)->ops)
		rc = err_set(&e, -ENOTDIR, "it is not a directory");
	if (rc == 0)
		rc = tree_enter(t, n, file_kind(n.kind)->access_read, &in, &e);
	if (rc == 0) {
		rc = handles_open(t->handles, &in, ret_handle, &h, &e);
		if (rc == 0)
			access_opened(t, who, h, n, &in);
		tree_leave(&in);
	}
	if (rc != 0)
		return tree_fail(t, who, n, rc, &e);
	mutex_lock(&h->lock);
	h->node = n;
	handles_keep(h, who->request);
	mutex_unlock(&h->lock);
	return 0;
}

struct listing {
	int (*add)(void *ctx, const struct tree_dirent *d);
	void *ctx;
	const struct tree *tree;
	struct node dir;
};

static int list_node(const struct listing *l, const char *name, struct node n, uint64_t cookie)
{
	struct tree_dirent d = { .name = name, .ino = attr_ino(l->tree, n), .cookie = cookie };

	d.type = file_kind(n.kind)->mode & S_IFMT;
	return l->add(l->ctx, &d);
}

static int list_static(const struct listing *l, uint64_t after)
{
	int scope = dir_scope(l->dir.kind), rc = 0;

	for (uint64_t k = after; k < NODE_N_KINDS && rc == 0; k++) {
		const struct file_kind *f = file_kind((enum node_kind)k);

		if (f->scope & (unsigned)scope)
			rc = list_node(
				l, f->name,
				(struct node){ (enum node_kind)k, l->dir.number, l->dir.item },
				FIRST_COOKIE + 1 + k);
	}
	return rc;
}

/* Behind the static names. */
static int list_audit(struct tree *t, const struct listing *l, uint64_t after)
{
	uint32_t older = after > AUDIT_COOKIES ? (uint32_t)(after - AUDIT_COOKIES) : 0;
	char name[AUDIT_NAME_MAX];
	int rc = 0;

	while (rc == 0 && audit_old_next(t, older, name, &older))
		rc = list_node(l, name, (struct node){ NODE_AUDIT_OLD, 0, older },
		               FIRST_COOKIE + AUDIT_COOKIES + older);
	return rc;
}

static int list_table(struct tree *t, const struct listing *l, uint64_t after)
{
	int rc = list_static(l, after);

	return rc == 0 && l->dir.kind == NODE_ROOT ? list_audit(t, l, after) : rc;
}

/* Where a listing of tenants or collections goes on, and the cookie of one. */
static uint32_t number_after(const struct listing *l, uint64_t after)
{
	return tenants_hidden(l->tree->tenants, (uint32_t)after & NODE_NUMBER_MAX);
}

static int list_numbered(const struct listing *l, const char *name, struct node n, uint32_t number)
{
	return list_node(l, name, n, FIRST_COOKIE + tenants_shown(l->tree->tenants, number));
}

static int list_tenants(struct tree *t, const struct listing *l, uint64_t after)
{
	uint32_t number = number_after(l, after);
	struct tenant_info info;
	int rc = 0;

	while (rc == 0 && tenants_next(t->tenants, number, &info) == 0) {
		number = info.number;
		rc = list_numbered(l, info.name, (struct node){ NODE_TENANT, number, 0 }, number);
	}
	return rc;
}

static int list_collections(const struct listing *l, struct inside *in, uint64_t after)
{
	uint32_t cid = number_after(l, after);
	struct collection_info info;
	int rc = 0;

	while (rc == 0 && engine_collection_next(in->engine, cid, &info) == 0) {
		cid = info.cid;
		if (cid != in->cid)
			rc = list_numbered(l, info.name, (struct node){ NODE_COLLECTION, cid, 0 },
			                   cid);
	}
	return rc;
}

/* Shared collections, as such or as a tenant's way to them. */
static int list_shared(struct tree *t, const struct listing *l, uint64_t after, struct err *e)
{
	uint32_t slot, cid = number_after(l, after);
	struct collection_info info;
	struct inside in;
	struct node n;
	int rc;

	if (!shared_parent(t, &n))
		return 0;
	rc = tree_enter(t, n, TENANT_LOOK, &in, e);
	if (rc < 0)
		return rc;
	while (rc == 0 && engine_collection_next(in.engine, cid, &info) == 0) {
		cid = info.cid;
		if (cid == in.cid || tenants_shared_slot(t->tenants, cid, &slot) < 0)
			continue;
		n = (struct node){ NODE_COLLECTION, cid, 0 };
		if (l->dir.kind == NODE_VIEWS)
			n = (struct node){ NODE_VIEW, l->dir.number, slot << 16 };
		rc = list_numbered(l, info.name, n, cid);
	}
	tree_leave(&in);
	return rc;
}

static int list_item(void *ctx, const char *name, uint32_t item)
{
	const struct listing *l = ctx;
	enum node_kind k = l->dir.kind == NODE_INGEST ? NODE_RECEIPT : NODE_VECTOR;

	return list_node(l, name, (struct node){ k, l->dir.number, item },
	                 FIRST_COOKIE + (uint64_t)item);
}

static int list_dots(const struct listing *l, uint64_t off)
{
	struct tree_dirent d = { ".", attr_ino(l->tree, l->dir), S_IFDIR, 1 };
	int rc = 0;

	if (off < 1)
		rc = l->add(l->ctx, &d);
	d = (struct tree_dirent){ "..", NODE_ROOT_NUMBER, S_IFDIR, 2 };
	return rc == 0 && off < 2 ? l->add(l->ctx, &d) : rc;
}

/* Returns below 0 on errors only; 1 when the reply was full. */
static int list_dir(struct tree *t, const struct caller *who, struct listing *l, struct handle *h,
                    uint64_t off, struct err *e)
{
	uint64_t after = off > FIRST_COOKIE ? off - FIRST_COOKIE : 0;
	struct inside in;
	int rc = tree_enter(t, l->dir, file_kind(l->dir.kind)->access_read, &in, e);

	if (rc < 0)
		return rc;
	mutex_lock(&h->lock);
	rc = access_check(t, who, h, &in, e);
	mutex_unlock(&h->lock);
	if (rc == 0)
		rc = list_dots(l, off);
	if (rc)
		; /* refused, or full already */
	else if (dir_scope(l->dir.kind))
		rc = list_table(t, l, after);
	else if (l->dir.kind == NODE_TENANTS)
		rc = list_tenants(t, l, after);
	else if (l->dir.kind == NODE_COLLECTIONS)
		rc = list_collections(l, &in, after);
	else if (l->dir.kind == NODE_SHARED || l->dir.kind == NODE_VIEWS)
		rc = list_shared(t, l, after, e);
	else
		rc = dir_ops(l->dir.kind)->next(t, &in, after, LIST_CHUNK, list_item, l, e);
	tree_leave(&in);
	return rc;
}

int tree_readdir(struct tree *t, const struct caller *who, uint64_t handle, uint64_t off,
                 int (*add)(void *ctx, const struct tree_dirent *d), void *ctx)
{
	struct handle *h = handles_get(t->handles, handle);
	struct err e = { 0 };
	struct listing l = { .add = add, .ctx = ctx, .tree = t };
	bool is_file;
	int rc;

	if (!h)
		return -EBADF;
	mutex_lock(&h->lock);
	l.dir = h->node;
	is_file = h->ops != NULL;
	mutex_unlock(&h->lock);
	if (is_file)
		return -EBADF;
	rc = list_dir(t, who, &l, h, off, &e);
	return rc < 0 ? tree_fail(t, who, l.dir, rc, &e) : 0;
}

void tree_releasedir(struct tree *t, uint64_t handle)
{
	tree_release(t, handle);
}
