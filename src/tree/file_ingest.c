/*
 * file_ingest.c: ingest/: what is written to its files is inserted, what is read from them is their
 * receipts.
 *
 * A file's receipt is live while somebody writes it (live.h), shared by all its writers. It is
 * stored with every commit and, where that left it behind, when the last writer closes. Everything else about a file is forgotten at its close; only receipts of the newest files
 * are kept.
 *
 * Lock order: a handle's lock, then those of live.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tree/handle.h"
#include "tree/ingest.h"

/* The state of a handle that writes. */
struct writer {
	struct live_receipt *live;
	struct intake *intake;
};

/* ---- receipts ---- */

/*
 * A server before this one made the file; it is open, nothing was committed of it, and nobody used
 * it since.
 */
static int left_receipt(struct tree *t, struct node n, struct receipt *ret)
{
	const struct handle *h = t->options.restarts ? handles_on_node(t->handles, n) : NULL;

	if (!h || !h->left || !h->kept->name[0])
		return -ENOENT;
	*ret = (struct receipt){ .number = n.item, .state = RECEIPT_INGESTING };
	memcpy(ret->name, h->kept->name, sizeof(ret->name));
	return 0;
}

static int get_receipt(struct tree *t, uint32_t cid, uint32_t number, struct receipt *ret,
                       struct err *e)
{
	struct live_receipt *live = live_by_number(t->live, cid, number);
	struct inside in;
	int rc;

	if (live) {
		live_copy(live, ret);
		live_put(t->live, live);
		return 0;
	}
	rc = tenant_enter(t->tenants, cid, TENANT_READ, &in, e);
	if (rc < 0)
		return rc;
	rc = engine_receipt_by_number(in.engine, cid, number, ret, e);
	tenant_leave(&in);
	if (rc == -ENOENT)
		return left_receipt(t, (struct node){ NODE_RECEIPT, cid, number }, ret);
	if (rc < 0 || ret->state != RECEIPT_INGESTING)
		return rc;
	/* Nobody writes it. */
	ret->state = RECEIPT_REJECTED;
	snprintf(ret->error, sizeof(ret->error), "the filesystem ended before the file did");
	return 0;
}

static int render_receipt(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                          struct err *e)
{
	static const char *const states[] = { "ingesting", "committed", "rejected" };
	struct receipt r;
	int rc = get_receipt(t, n.number, n.item, &r, e);

	if (rc < 0)
		return rc;
	buf_addf(ret, "state %s\nvectors %llu\nreplaced %llu\nbytes %llu\nseconds %llu.%03llu\n",
	         states[r.state], (unsigned long long)r.vectors, (unsigned long long)r.replaced,
	         (unsigned long long)r.bytes, (unsigned long long)(r.ns / 1000000000u),
	         (unsigned long long)(r.ns / 1000000u % 1000u));
	if (r.batches > 1)
		buf_addf(ret, "batches %llu\n", (unsigned long long)r.batches);
	if (r.state == RECEIPT_REJECTED)
		buf_addf(ret, "error %s\n", r.error);
	return buf_failed(ret) ? err_nomem(e) : 0;
}

/* ---- writing ---- */

static int stored_receipt(struct tree *t, struct node n, struct receipt *ret, struct err *e)
{
	struct inside in;
	int rc = tenant_enter(t->tenants, n.number, TENANT_WRITE, &in, e);

	if (rc < 0)
		return rc;
	rc = engine_receipt_by_number(in.engine, n.number, n.item, ret, e);
	tenant_leave(&in);
	return rc;
}

/* Finds the live receipt of this file or makes the stored one live. */
static int join_live(struct tree *t, struct node n, int flags, struct live_receipt **ret,
                     struct err *e)
{
	bool restart = (flags & O_TRUNC) != 0, append = (flags & O_APPEND) != 0;
	struct receipt stored;
	int rc;

	*ret = live_write(t->live, n.number, NULL, n.item, restart, append);
	if (*ret)
		return 0;
	rc = stored_receipt(t, n, &stored, e);
	if (rc == -ENOENT) {
		*ret = live_write_removed(t->live, n.number, n.item);
		return *ret ? 0 : rc;
	}
	if (rc < 0)
		return rc;
	*ret = live_write(t->live, n.number, &stored, n.item, restart, append);
	return *ret ? 0 : err_nomem(e);
}

/* Stores what the commits left behind, unless the file was removed meanwhile. */
static void store_receipt(struct tree *t, struct live_receipt *live)
{
	struct receipt r;
	struct inside in;

	if (tenant_enter(t->tenants, live->cid, TENANT_LOOK, &in, NULL) < 0)
		return;
	mutex_lock(&live->commit);
	live_copy(live, &r);
	if (!live->forgotten)
		engine_receipt_put(in.engine, live->cid, &r, NULL);
	mutex_unlock(&live->commit);
	tenant_leave(&in);
}

static void leave_live(struct tree *t, struct live_receipt *live)
{
	if (live_end_writer(t->live, live))
		store_receipt(t, live);
	live_put(t->live, live);
}

static struct intake_options writer_options(struct tree *t, struct handle *h, struct writer *w)
{
	return (struct intake_options){
		.tenants = t->tenants,
		.cid = h->node.number,
		.name = h->kept->name,
		.append = (h->flags & O_APPEND) != 0,
		.live = w->live,
		.kept = t->kept,
		.index = h->index,
	};
}

static int open_writer(struct tree *t, struct handle *h, struct writer *w, struct err *e)
{
	struct intake_options o = writer_options(t, h, w);
	struct receipt r;

	live_copy(w->live, &r);
	memcpy(h->kept->name, r.name, sizeof(r.name));
	return intake_new(&o, &w->intake, e);
}

static int reopen_writer(struct tree *t, struct handle *h, struct writer *w, struct err *e)
{
	struct intake_options o = writer_options(t, h, w);

	return intake_resume(&o, &w->intake, e);
}

typedef int (*open_fn)(struct tree *t, struct handle *h, struct writer *w, struct err *e);

static int become_writer(struct tree *t, struct handle *h, int flags, open_fn open, struct err *e)
{
	struct writer *w;
	int rc;

	if ((h->flags & O_ACCMODE) == O_RDONLY)
		return 0;
	w = mem_zalloc(1, sizeof(*w));
	if (!w)
		return err_nomem(e);
	rc = join_live(t, h->node, flags, &w->live, e);
	if (rc == 0) {
		rc = open(t, h, w, e);
		if (rc < 0)
			leave_live(t, w->live);
	}
	if (rc < 0) {
		mem_free(w);
		return rc;
	}
	h->state = w;
	return 0;
}

static int ingest_open(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	return become_writer(t, h, h->flags, open_writer, e);
}

/* A file that nothing was committed of exists by its open descriptors alone. */
static int bring_back(struct tree *t, struct handle *h, struct err *e)
{
	struct live_receipt *live = live_by_number(t->live, h->node.number, h->node.item);
	struct receipt r;
	int rc;

	live_put(t->live, live);
	if (live)
		return 0;
	rc = stored_receipt(t, h->node, &r, e);
	if (rc != -ENOENT)
		return rc;
	rc = left_receipt(t, h->node, &r);
	return rc == 0 && live_create(t->live, h->node.number, &r) < 0 ? err_nomem(e) : rc;
}

static int ingest_restore(struct tree *t, struct handle *h, struct err *e)
{
	int rc = (h->flags & O_ACCMODE) == O_RDONLY ? 0 : bring_back(t, h, e);

	return rc < 0 ? rc : become_writer(t, h, O_APPEND, reopen_writer, e);
}

static long ingest_write(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
                         const void *p, size_t n, struct err *e)
{
	struct writer *w = h->state;

	return intake_serve_write(w->intake, who, off, p, n, e);
}

static int ingest_flush(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	struct writer *w = h->state;

	return w ? intake_serve_flush(w->intake, who, e) : 0;
}

static int ingest_truncate(struct tree *t, const struct caller *who, struct handle *h,
                           uint64_t size, struct err *e)
{
	struct writer *w = h ? h->state : NULL;

	return w ? intake_truncate(w->intake, size, e) : 0;
}

static void ingest_release(struct tree *t, struct handle *h)
{
	struct writer *w = h->state;

	if (!w)
		return;
	intake_free(w->intake);
	leave_live(t, w->live);
	mem_free(w);
}

const struct file_ops file_ingest = {
	.render = render_receipt,
	.open = ingest_open,
	.write = ingest_write,
	.flush = ingest_flush,
	.truncate = ingest_truncate,
	.release = ingest_release,
	.restore = ingest_restore,
};

/* ---- the directory ---- */

static int ingest_lookup(struct tree *t, const struct caller *who, struct inside *in,
                         const char *name, struct node *ret, struct err *e)
{
	struct live_receipt *live = live_by_name(t->live, in->cid, name);
	struct receipt r = { 0 };
	int rc = 0;

	if (live)
		r.number = live->receipt.number;
	else
		rc = engine_receipt_by_name(in->engine, in->cid, name, &r, e);
	live_put(t->live, live);
	if (rc < 0)
		return rc;
	*ret = (struct node){ NODE_RECEIPT, in->cid, r.number };
	return 0;
}

/* Stored and live receipts, merged by number; what is live wins. */
static int ingest_next(struct tree *t, struct inside *in, uint64_t after, size_t max,
                       int (*cb)(void *ctx, const char *name, uint32_t item), void *ctx,
                       struct err *e)
{
	uint32_t at = (uint32_t)after;

	for (size_t i = 0; i < max; i++) {
		struct receipt stored, live;
		int rc = engine_receipt_next(in->engine, in->cid, at, &stored, e);
		bool is_live = live_next(t->live, in->cid, at, &live);
		const struct receipt *r = &stored;

		if (rc < 0 && rc != -ENOENT)
			return rc;
		if (rc < 0 && !is_live)
			return 0;
		if (is_live && (rc < 0 || live.number <= stored.number))
			r = &live;
		at = r->number;
		rc = cb(ctx, r->name, r->number);
		if (rc)
			return rc;
	}
	return 0;
}

/*
 * A server before this one may have given the next number to a file that is open and has no stored
 * receipt.
 */
static int new_number(struct tree *t, struct inside *in, uint32_t *ret, struct err *e)
{
	int rc;

	do
		rc = engine_receipt_number(in->engine, in->cid, ret, e);
	while (rc == 0 && t->options.restarts &&
	       handles_on_node(t->handles, (struct node){ NODE_RECEIPT, in->cid, *ret }));
	return rc;
}

/*
 * The file exists once it is created: readers see its live receipt, and its first writer finds it
 * there.
 */
static int ingest_create(struct tree *t, const struct caller *who, struct inside *in,
                         const char *name, struct node *ret, struct err *e)
{
	struct receipt r = { .state = RECEIPT_INGESTING };
	int rc = vector_id_check(name, strlen(name), e);

	if (rc == 0)
		rc = new_number(t, in, &r.number, e);
	if (rc < 0)
		return rc;
	snprintf(r.name, sizeof(r.name), "%s", name);
	if (live_create(t->live, in->cid, &r) < 0)
		return err_nomem(e);
	*ret = (struct node){ NODE_RECEIPT, in->cid, r.number };
	return 0;
}

/*
 * From here on its commits leave no receipt; those under way are over. What is written to it goes
 * on, as with a file that is unlinked.
 */
static void forget(struct tree *t, struct live_receipt *live)
{
	struct receipt r;

	live_copy(live, &r);
	live_removed(t->live, live->cid, r.number, r.name);
	live->forgotten = true;
	mutex_lock(&live->commit);
	mutex_unlock(&live->commit);
}

/* -ENOENT */
static int remove_stored(struct tree *t, struct inside *in, const char *name, struct err *e)
{
	struct receipt r;
	int rc = engine_receipt_by_name(in->engine, in->cid, name, &r, e);

	if (rc < 0)
		return rc;
	live_removed(t->live, in->cid, r.number, r.name);
	return engine_receipt_remove(in->engine, in->cid, r.number, e);
}

static int ingest_unlink(struct tree *t, struct inside *in, const char *name, struct err *e)
{
	struct live_receipt *live = live_by_name(t->live, in->cid, name);
	int rc;

	if (live)
		forget(t, live);
	rc = remove_stored(t, in, name, e);
	if (live && rc == -ENOENT)
		rc = 0;
	live_put(t->live, live);
	return rc;
}

static int rename_stored(struct inside *in, const char *name, const char *new_name, struct err *e)
{
	struct receipt r;
	int rc = engine_receipt_by_name(in->engine, in->cid, name, &r, e);

	return rc < 0 ? rc : engine_receipt_rename(in->engine, in->cid, r.number, new_name, e);
}

/* Its commits wait, so that none stores the old name after the new one. */
static int rename_live(struct tree *t, struct inside *in, struct live_receipt *live,
                       const char *name, const char *new_name, struct err *e)
{
	int rc;

	mutex_lock(&live->commit);
	live_rename(t->live, live, new_name);
	rc = rename_stored(in, name, new_name, e);
	if (rc == -ENOENT)
		rc = remove_stored(t, in, new_name, e);
	mutex_unlock(&live->commit);
	return rc == -ENOENT ? 0 : rc;
}

/* Whatever had the new name is gone: also what is written to it at this moment. */
static int ingest_rename(struct tree *t, struct inside *in, const char *name, const char *new_name,
                         unsigned flags, struct err *e)
{
	struct live_receipt *live, *old;
	int rc = vector_id_check(new_name, strlen(new_name), e);

	if (rc == 0 && flags)
		rc = err_set(e, -EINVAL, "rename with flags is for plain files");
	if (rc < 0 || strcmp(name, new_name) == 0)
		return rc;
	live = live_by_name(t->live, in->cid, name);
	old = live_by_name(t->live, in->cid, new_name);
	if (old)
		forget(t, old);
	rc = live ? rename_live(t, in, live, name, new_name, e)
	          : rename_stored(in, name, new_name, e);
	live_put(t->live, old);
	live_put(t->live, live);
	return rc;
}

const struct dir_ops dir_ingest = {
	.lookup = ingest_lookup,
	.next = ingest_next,
	.create = ingest_create,
	.unlink = ingest_unlink,
	.rename = ingest_rename,
};
