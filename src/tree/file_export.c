/*
 * file_export.c: export.jsonl, export.fvecs, export.npy: a collection as one file, which ingest/
 * takes back.
 *
 * What is read is of the moment of the open. A server that takes over goes on with a snapshot of
 * its own, if nothing was stored in the tenant since.
 */
#include <errno.h>

#include "base/mem.h"
#include "engine/export.h"
#include "tree/file.h"
#include "tree/handle.h"

/* h->state */
struct reading {
	struct inside in; /* until the release */
	struct export *export;
};

static enum export_format format_of(struct node n)
{
	return n.kind == NODE_EXPORT_JSONL   ? EXPORT_JSONL
	       : n.kind == NODE_EXPORT_FVECS ? EXPORT_FVECS
	                                     : EXPORT_NPY;
}

static int begin(struct tree *t, struct handle *h, struct reading **ret, struct err *e)
{
	struct reading *r = mem_zalloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_nomem(e);
	rc = tenant_enter(t->tenants, h->node.number, TENANT_READ, &r->in, e);
	if (rc == 0) {
		rc = engine_export_open(r->in.engine, h->node.number, format_of(h->node),
		                        &r->export, e);
		if (rc < 0)
			tenant_leave(&r->in);
	}
	if (rc < 0) {
		mem_free(r);
		return rc;
	}
	*ret = r;
	return 0;
}

static void end(struct reading *r)
{
	engine_export_close(r->export);
	tenant_leave(&r->in);
	mem_free(r);
}

static void show_size(struct tree *t, struct handle *h, const struct reading *r)
{
	if (!h->has_snapshot)
		snapshots_opened(t->snapshots, node_encode(h->node), engine_export_size(r->export));
	h->has_snapshot = true;
}

static int export_open(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	union kept_state kept = { 0 };
	struct reading *r;
	int rc = begin(t, h, &r, e);

	if (rc < 0)
		return rc;
	h->state = r;
	kept.export.seq = engine_export_seq(r->export);
	kept.export.size = engine_export_size(r->export);
	kept_set_state(h->kept, &kept);
	show_size(t, h, r);
	return 0;
}

static int export_restore(struct tree *t, struct handle *h, struct err *e)
{
	const union kept_state kept = kept_state(h->kept);
	struct reading *r;
	int rc = begin(t, h, &r, e);

	if (rc < 0)
		return rc;
	if (engine_export_seq(r->export) != kept.export.seq ||
	    engine_export_size(r->export) != kept.export.size) {
		end(r);
		return err_set(e, -EAGAIN,
		               "the server was replaced, and what was exported has changed since: "
		               "open the file again");
	}
	h->state = r;
	show_size(t, h, r);
	return 0;
}

static int export_read(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
                       size_t n, struct buf *ret, struct err *e)
{
	struct reading *r = h->state;

	return engine_export_read(r->export, off, n, ret, e);
}

static void export_release(struct tree *t, struct handle *h)
{
	if (h->state)
		end(h->state);
	h->state = NULL;
}

static int export_size(struct tree *t, const struct caller *who, struct node n, uint64_t *ret,
                       struct err *e)
{
	struct inside in;
	int rc = tenant_enter(t->tenants, n.number, TENANT_READ, &in, e);

	if (rc < 0)
		return rc;
	rc = engine_export_stat(in.engine, n.number, format_of(n), ret, e);
	tenant_leave(&in);
	return rc;
}

const struct file_ops file_export = {
	.open = export_open,
	.read = export_read,
	.release = export_release,
	.restore = export_restore,
	.size = export_size,
};
