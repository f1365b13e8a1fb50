/*
 * file_ingest.c: ingest/: what is written to its files is inserted, what is read from them is their
 * receipts.
 *
 * A file's receipt is live while somebody writes it: kept here, shared by all its writers, and read
 * from here. It is stored with every commit and, where that left it behind, when the last writer
 * closes. Everything else about a file is forgotten at its close; only receipts of the newest files
 * are kept.
 *
 * Lock order: a handle's lock, then the table's lock, then a receipt's lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tree/ingest.h"

#define LIVE_UNOPENED_MAX 256

struct live_receipt {
	struct live_receipt *next;
	uint32_t cid;
	unsigned n_writers; /* live->lock */
	bool forgotten;     /* live->lock; removed by name while being written */
	struct mutex lock;  /* receipt */
	struct receipt receipt;
};

struct live {
	struct mutex lock;
	struct live_receipt *first; /* few: one per file being written */
};

/* The state of a handle that writes. */
struct writer {
	struct live_receipt *live;
	struct intake *intake;
};

/* ---- the table of live receipts ---- */

int live_new(struct live **ret, struct err *e)
{
	struct live *l = mem_zalloc(1, sizeof(*l));

	if (!l)
		return err_nomem(e);
	mutex_init(&l->lock);
	*ret = l;
	return 0;
}

static void live_receipt_free(struct live_receipt *r)
{
	mutex_destroy(&r->lock);
	mem_free(r);
}

void live_free(struct live *l)
{
	if (!l)
		return;
	while (l->first) {
		struct live_receipt *r = l->first;

		l->first = r->next;
		live_receipt_free(r);
	}
	mutex_destroy(&l->lock);
	mem_free(l);
}

static struct live_receipt *live_by_number_locked(struct live *l, uint32_t cid, uint32_t number)
	REQUIRES(l->lock)
{
	for (struct live_receipt *r = l->first; r; r = r->next)
		if (r->cid == cid && r->receipt.number == number && !r->forgotten)
			return r;
	return NULL;
}

static struct live_receipt *live_by_name_locked(struct live *l, uint32_t cid, const char *name)
	REQUIRES(l->lock)
{
	for (struct live_receipt *r = l->first; r; r = r->next)
		if (r->cid == cid && !r->forgotten && strcmp(r->receipt.name, name) == 0)
			return r;
	return NULL;
}

/* The live receipt with the smallest number > after. */
static bool live_next(struct live *l, uint32_t cid, uint32_t after, struct receipt *ret)
{
	bool found = false;

	mutex_lock(&l->lock);
	for (struct live_receipt *r = l->first; r; r = r->next) {
		if (r->cid != cid || r->forgotten || r->receipt.number <= after)
			continue;
		if (found && r->receipt.number > ret->number)
			continue;
		mutex_lock(&r->lock);
		*ret = r->receipt;
		mutex_unlock(&r->lock);
		found = true;
	}
	mutex_unlock(&l->lock);
	return found;
}

static bool live_copy(struct live *l, uint32_t cid, uint32_t number, struct receipt *ret)
{
	struct live_receipt *r;

	mutex_lock(&l->lock);
	r = live_by_number_locked(l, cid, number);
	if (r) {
		mutex_lock(&r->lock);
		*ret = r->receipt;
		mutex_unlock(&r->lock);
	}
	mutex_unlock(&l->lock);
	return r != NULL;
}

/*
 * A file that was created and whose open then failed leaves its receipt here without a writer; a
 * few of them may.
 */
static void live_trim_locked(struct live *l) REQUIRES(l->lock)
{
	struct live_receipt **at = &l->first;

	for (unsigned n = 0; *at;) {
		struct live_receipt *r = *at;

		if (r->n_writers > 0 || ++n <= LIVE_UNOPENED_MAX) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		live_receipt_free(r);
	}
}

/* With n_writers of 0 it waits for its first one. */
static int live_add(struct live *l, uint32_t cid, const struct receipt *receipt, unsigned n_writers,
                    struct live_receipt **ret)
{
	struct live_receipt *r = mem_zalloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	mutex_init(&r->lock);
	r->cid = cid;
	r->receipt = *receipt;
	r->n_writers = n_writers;
	mutex_lock(&l->lock);
	r->next = l->first;
	l->first = r;
	live_trim_locked(l);
	mutex_unlock(&l->lock);
	if (ret)
		*ret = r;
	return 0;
}

/*
 * Ends one writer's use; true: it was the last, and *ret is what the caller now stores and frees.
 */
static bool live_drop(struct live *l, struct live_receipt *r)
{
	struct live_receipt **at = &l->first;
	bool last;

	mutex_lock(&l->lock);
	last = --r->n_writers == 0;
	if (last) {
		while (*at != r)
			at = &(*at)->next;
		*at = r->next;
	}
	mutex_unlock(&l->lock);
	return last;
}

/* ---- receipts ---- */

static int get_receipt(struct tree *t, uint32_t cid, uint32_t number, struct receipt *ret,
                       struct err *e)
{
	struct inside in;
	int rc;

	if (live_copy(t->live, cid, number, ret))
		return 0;
	rc = tenant_enter(t->tenants, cid, TENANT_READ, &in, e);
	if (rc < 0)
		return rc;
	rc = engine_receipt_by_number(in.engine, cid, number, ret, e);
	tenant_leave(&in);
	if (rc == 0 && ret->state ==
	                       /* nobody writes it: its writer and the daemon were ended */
	                       RECEIPT_INGESTING) {
		ret->state = RECEIPT_REJECTED;
		snprintf(ret->error, sizeof(ret->error),
		         "the filesystem ended before the file did");
	}
	return rc;
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

static void receipt_restart(struct receipt *r)
{
	r->state = RECEIPT_INGESTING;
	r->vectors = r->replaced = r->bytes = r->ns = r->batches = 0;
	r->error[0] = '\0';
}

/* Finds the live receipt of this file or makes the stored one live. */
static int join_live(struct tree *t, struct node n, struct live_receipt **ret, struct err *e)
{
	struct receipt stored;
	int rc;

	mutex_lock(&t->live->lock);
	*ret = live_by_number_locked(t->live, n.number, n.item);
	if (*ret)
		(*ret)->n_writers++;
	mutex_unlock(&t->live->lock);
	if (*ret)
		return 0;
	rc = stored_receipt(t, n, &stored, e);
	if (rc == 0 && live_add(t->live, n.number, &stored, 1, ret) < 0)
		rc = err_nomem(e);
	return rc;
}

/* Stores what the commits left behind, unless the file was removed meanwhile. */
static void store_receipt(struct tree *t, const struct live_receipt *live)
{
	struct inside in;

	if (live->forgotten || tenant_enter(t->tenants, live->cid, TENANT_LOOK, &in, NULL) < 0)
		return;
	engine_receipt_put(in.engine, live->cid, &live->receipt, NULL);
	tenant_leave(&in);
}

static void leave_live(struct tree *t, struct live_receipt *live, bool stored)
{
	if (!live_drop(t->live, live))
		return;
	if (!stored)
		store_receipt(t, live);
	live_receipt_free(live);
}

static int open_writer(struct tree *t, struct handle *h, struct writer *w, struct err *e)
{
	struct intake_options o = { .tenants = t->tenants, .cid = h->node.number };
	char name[LIMIT_ID + 1];

	mutex_lock(&w->live->lock);
	if (h->flags & O_APPEND)
		o.first_position = w->live->receipt.vectors;
	else if (w->live->n_writers == 1)
		receipt_restart(&w->live->receipt);
	memcpy(name, w->live->receipt.name, sizeof(name));
	mutex_unlock(&w->live->lock);
	o.name = name;
	o.receipt = &w->live->receipt;
	o.receipt_lock = &w->live->lock;
	return intake_new(&o, &w->intake, e);
}

static int ingest_open(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	struct writer *w;
	int rc;

	if ((h->flags & O_ACCMODE) == O_RDONLY)
		return 0;
	w = mem_zalloc(1, sizeof(*w));
	if (!w)
		return err_nomem(e);
	rc = join_live(t, h->node, &w->live, e);
	if (rc == 0) {
		rc = open_writer(t, h, w, e);
		if (rc < 0)
			leave_live(t, w->live, true);
	}
	if (rc < 0) {
		mem_free(w);
		return rc;
	}
	h->state = w;
	return 0;
}

static long ingest_write(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
                         const void *p, size_t n, struct err *e)
{
	struct writer *w = h->state;

	return intake_write(w->intake, off, p, n, (h->flags & O_APPEND) != 0, e);
}

static int ingest_flush(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	struct writer *w = h->state;

	return w ? intake_flush(w->intake, callers_dying_of_signal(who), e) : 0;
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
	bool stored;

	if (!w)
		return;
	intake_end(w->intake);
	stored = intake_receipt_stored(w->intake);
	intake_free(w->intake);
	leave_live(t, w->live, stored);
	mem_free(w);
}

const struct file_ops file_ingest = {
	.render = render_receipt,
	.open = ingest_open,
	.write = ingest_write,
	.flush = ingest_flush,
	.truncate = ingest_truncate,
	.release = ingest_release,
};

/* ---- the directory ---- */

static int ingest_lookup(struct tree *t, const struct caller *who, struct inside *in,
                         const char *name, struct node *ret, struct err *e)
{
	struct live_receipt *live;
	struct receipt r;
	int rc = 0;

	mutex_lock(&t->live->lock);
	live = live_by_name_locked(t->live, in->cid, name);
	if (live)
		r.number = live->receipt.number;
	mutex_unlock(&t->live->lock);
	if (!live)
		rc = engine_receipt_by_name(in->engine, in->cid, name, &r, e);
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
 * The file exists once it is created: readers see its live receipt, and its first writer finds it
 * there.
 */
static int ingest_create(struct tree *t, const struct caller *who, struct inside *in,
                         const char *name, struct node *ret, struct err *e)
{
	struct receipt r = { .state = RECEIPT_INGESTING };
	int rc = vector_id_check(name, strlen(name), e);

	if (rc == 0)
		rc = engine_receipt_number(in->engine, in->cid, &r.number, e);
	if (rc < 0)
		return rc;
	snprintf(r.name, sizeof(r.name), "%s", name);
	if (live_add(t->live, in->cid, &r, 0, NULL) < 0)
		return err_nomem(e);
	*ret = (struct node){ NODE_RECEIPT, in->cid, r.number };
	return 0;
}

static int ingest_unlink(struct tree *t, struct inside *in, const char *name, struct err *e)
{
	struct live_receipt *live;
	struct receipt r;
	int rc;

	mutex_lock(&t->live->lock);
	live = live_by_name_locked(t->live, in->cid, name);
	if (live)
		live->forgotten = true;
	mutex_unlock(&t->live->lock);
	rc = engine_receipt_by_name(in->engine, in->cid, name, &r, e);
	if (rc == 0)
		rc = engine_receipt_remove(in->engine, in->cid, r.number, e);
	return rc == -ENOENT && live ? 0 : rc;
}

/* The live receipt of NAME gets the new name; a live one that has it is no longer found. */
static bool live_rename(struct live *l, uint32_t cid, const char *name, const char *new_name)
{
	struct live_receipt *r, *old;

	mutex_lock(&l->lock);
	r = live_by_name_locked(l, cid, name);
	old = live_by_name_locked(l, cid, new_name);
	if (old && old != r)
		old->forgotten = true;
	if (r) {
		mutex_lock(&r->lock);
		snprintf(r->receipt.name, sizeof(r->receipt.name), "%s", new_name);
		mutex_unlock(&r->lock);
	}
	mutex_unlock(&l->lock);
	return r != NULL;
}

static int ingest_rename(struct tree *t, struct inside *in, const char *name, const char *new_name,
                         unsigned flags, struct err *e)
{
	struct receipt r;
	bool live;
	int rc = vector_id_check(new_name, strlen(new_name), e);

	if (rc == 0 && flags)
		rc = err_set(e, -EINVAL, "rename with flags is for plain files");
	if (rc < 0)
		return rc;
	live = live_rename(t->live, in->cid, name, new_name);
	rc = engine_receipt_by_name(in->engine, in->cid, name, &r, e);
	if (rc == 0)
		rc = engine_receipt_rename(in->engine, in->cid, r.number, new_name, e);
	return rc == -ENOENT && live ? 0 : rc;
}

const struct dir_ops dir_ingest = {
	.lookup = ingest_lookup,
	.next = ingest_next,
	.create = ingest_create,
	.unlink = ingest_unlink,
	.rename = ingest_rename,
};
