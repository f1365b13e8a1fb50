/*
 * file_vectors.c: vectors/: one file per stored vector, named by its ID.
 *
 * Reading gives one JSON line, rendered at open; writing a vector or such a line inserts or
 * replaces, by the same commit rules as ingest/. A file that was created exists once something was
 * committed to it: until then only its open handle does.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tree/ingest.h"

/* Numbers name nodes with 32 bits; a collection that used up 4 billion takes no new IDs. */
static int vector_node(uint32_t cid, uint64_t num, struct node *ret, struct err *e)
{
	if (num > UINT32_MAX)
		return err_set(e, -ENOSPC, "the collection has used up its %u numbers for IDs",
		               UINT32_MAX);
	*ret = (struct node){ NODE_VECTOR, cid, (uint32_t)num };
	return 0;
}

static int render_vector(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                         struct err *e)
{
	struct inside in;
	int rc = tenant_enter(t->tenants, n.number, TENANT_READ, &in, e);

	if (rc < 0)
		return rc;
	rc = engine_get_json(in.engine, n.number, n.item, ret, e);
	tenant_leave(&in);
	return rc;
}

static int vector_size(struct tree *t, const struct caller *who, struct node n, uint64_t *ret,
                       struct err *e)
{
	struct vector_info info;
	struct inside in;
	int rc = tenant_enter(t->tenants, n.number, TENANT_LOOK, &in, e);

	if (rc < 0)
		return rc;
	rc = engine_stat_vector(in.engine, n.number, n.item, &info, e);
	tenant_leave(&in);
	*ret = rc < 0 ? 0 : info.json_bytes;
	return rc;
}

/* ---- writing ---- */

static int vector_id_of(struct tree *t, struct node n, char id[LIMIT_ID + 1], struct err *e)
{
	struct vector_info info;
	struct inside in;
	int rc = tenant_enter(t->tenants, n.number, TENANT_WRITE, &in, e);

	if (rc < 0)
		return rc;
	rc = engine_number_id(in.engine, n.number, n.item, &info, e);
	tenant_leave(&in);
	if (rc == 0)
		memcpy(id, info.id, sizeof(info.id));
	return rc;
}

static struct intake_options writer_options(struct tree *t, struct handle *h)
{
	return (struct intake_options){
		.tenants = t->tenants,
		.cid = h->node.number,
		.name = h->kept->name,
		.one_vector = true,
		.append = (h->flags & O_APPEND) != 0,
		.kept = t->kept,
		.index = h->index,
	};
}

static int vector_open(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	struct intake_options o = writer_options(t, h);
	struct intake *intake;
	int rc;

	if ((h->flags & O_ACCMODE) == O_RDONLY)
		return 0;
	rc = vector_id_of(t, h->node, h->kept->name, e);
	if (rc == 0)
		rc = intake_new(&o, &intake, e);
	if (rc == 0)
		h->state = intake;
	return rc;
}

/* By its name: a number under which nothing was stored is of the server that gave it. */
static int vector_restore(struct tree *t, struct handle *h, struct err *e)
{
	struct intake_options o = writer_options(t, h);
	struct intake *intake;
	int rc;

	if ((h->flags & O_ACCMODE) == O_RDONLY)
		return 0;
	rc = intake_resume(&o, &intake, e);
	if (rc == 0)
		h->state = intake;
	return rc;
}

static long vector_write(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
                         const void *p, size_t n, struct err *e)
{
	return intake_serve_write(h->state, who, off, p, n, e);
}

static int vector_flush(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	return h->state ? intake_serve_flush(h->state, who, e) : 0;
}

static int vector_truncate(struct tree *t, const struct caller *who, struct handle *h,
                           uint64_t size, struct err *e)
{
	return h && h->state ? intake_truncate(h->state, size, e) : 0;
}

static void vector_release(struct tree *t, struct handle *h)
{
	intake_free(h->state);
}

const struct file_ops file_vector = {
	.render = render_vector,
	.size = vector_size,
	.open = vector_open,
	.write = vector_write,
	.flush = vector_flush,
	.truncate = vector_truncate,
	.release = vector_release,
	.restore = vector_restore,
};

/* ---- the directory ---- */

static int vectors_lookup(struct tree *t, const struct caller *who, struct inside *in,
                          const char *name, struct node *ret, struct err *e)
{
	uint64_t num;
	int rc = engine_lookup(in->engine, in->cid, name, strlen(name), &num);

	return rc < 0 ? rc : vector_node(in->cid, num, ret, e);
}

struct listing {
	int (*cb)(void *ctx, const char *name, uint32_t item);
	void *ctx;
};

static int list_one(void *ctx, const struct vector_info *v)
{
	struct listing *l = ctx;

	return l->cb(l->ctx, v->id, (uint32_t)v->num);
}

static int vectors_next(struct tree *t, struct inside *in, uint64_t after, size_t max,
                        int (*cb)(void *ctx, const char *name, uint32_t item), void *ctx,
                        struct err *e)
{
	struct listing l = { cb, ctx };

	return engine_list(in->engine, in->cid, after, max, list_one, &l, e);
}

static int vectors_create(struct tree *t, const struct caller *who, struct inside *in,
                          const char *name, struct node *ret, struct err *e)
{
	uint64_t num = 0;
	int rc = vector_id_check(name, strlen(name), e);

	if (rc == 0)
		rc = engine_number(in->engine, in->cid, name, strlen(name), &num, e);
	return rc < 0 ? rc : vector_node(in->cid, num, ret, e);
}

static int vectors_unlink(struct tree *t, struct inside *in, const char *name, struct err *e)
{
	struct id_ref id = { name, strlen(name) };
	uint64_t n_removed;
	int rc = tenant_remove(in, &id, 1, &n_removed, e);

	if (rc < 0)
		return rc;
	return n_removed ? 0 : err_set(e, -ENOENT, "no vector of that ID");
}

/* The node that a kernel knows by the old name is gone; names here are looked up each time. */
static int vectors_rename(struct tree *t, struct inside *in, const char *name, const char *new_name,
                          unsigned flags, struct err *e)
{
	const struct engine_rename r = {
		.from = name,
		.from_len = strlen(name),
		.to = new_name,
		.to_len = strlen(new_name),
		.no_replace = flags & RENAME_NOREPLACE,
	};
	uint64_t num;
	int rc = vector_id_check(new_name, r.to_len, e);

	if (rc == 0 && flags & ~(unsigned)RENAME_NOREPLACE)
		rc = err_set(e, -EINVAL, "vectors cannot be exchanged");
	if (rc < 0)
		return rc;
	if (strcmp(name, new_name) == 0)
		return engine_lookup(in->engine, in->cid, name, r.from_len, &num);
	return tenant_rename_vector(in, &r, e);
}

const struct dir_ops dir_vectors = {
	.lookup = vectors_lookup,
	.next = vectors_next,
	.create = vectors_create,
	.unlink = vectors_unlink,
	.rename = vectors_rename,
};
