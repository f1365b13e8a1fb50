/*
 * live.c: the table of live receipts: a list, because there are few: one per file being written.
 *
 * Lock order: a receipt's commit, then the table's lock, then a receipt's lock.
 */
#include "tree/live.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define UNOPENED_MAX 256
#define REMOVED_MAX  32

struct removed {
	uint32_t cid;
	uint32_t number;
	char name[sizeof(((struct receipt *)0)->name)]; /* "": none */
};

struct live {
	struct mutex lock;
	struct live_receipt *first;          /* lock */
	struct removed removed[REMOVED_MAX]; /* lock; a ring, the last that were */
	unsigned removed_at;                 /* lock */
};

int live_new(struct live **ret, struct err *e)
{
	struct live *l = mem_zalloc(1, sizeof(*l));

	if (!l)
		return err_nomem(e);
	mutex_init(&l->lock);
	*ret = l;
	return 0;
}

static void receipt_free(struct live_receipt *r)
{
	mutex_destroy(&r->lock);
	mutex_destroy(&r->commit);
	mem_free(r);
}

void live_free(struct live *l)
{
	if (!l)
		return;
	while (l->first) {
		struct live_receipt *r = l->first;

		l->first = r->next;
		receipt_free(r);
	}
	mutex_destroy(&l->lock);
	mem_free(l);
}

/* ---- finding ---- */

/* Numbers never change, names only under the table's lock. */
static struct live_receipt *find_locked(struct live *l, uint32_t cid, uint32_t number)
	REQUIRES(l->lock)
{
	for (struct live_receipt *r = l->first; r; r = r->next)
		if (r->cid == cid && r->receipt.number == number)
			return r;
	return NULL;
}

struct live_receipt *live_by_number(struct live *l, uint32_t cid, uint32_t number)
{
	struct live_receipt *r;

	mutex_lock(&l->lock);
	r = find_locked(l, cid, number);
	if (r)
		r->n_refs++;
	mutex_unlock(&l->lock);
	return r;
}

struct live_receipt *live_by_name(struct live *l, uint32_t cid, const char *name)
{
	struct live_receipt *r;

	mutex_lock(&l->lock);
	for (r = l->first; r; r = r->next)
		if (r->cid == cid && !r->forgotten && strcmp(r->receipt.name, name) == 0)
			break;
	if (r)
		r->n_refs++;
	mutex_unlock(&l->lock);
	return r;
}

void live_copy(struct live_receipt *r, struct receipt *ret)
{
	mutex_lock(&r->lock);
	*ret = r->receipt;
	mutex_unlock(&r->lock);
}

bool live_next(struct live *l, uint32_t cid, uint32_t after, struct receipt *ret)
{
	struct live_receipt *best = NULL;

	mutex_lock(&l->lock);
	for (struct live_receipt *r = l->first; r; r = r->next) {
		if (r->cid != cid || r->forgotten || r->receipt.number <= after)
			continue;
		if (!best || r->receipt.number < best->receipt.number)
			best = r;
	}
	if (best)
		live_copy(best, ret);
	mutex_unlock(&l->lock);
	return best != NULL;
}

void live_rename(struct live *l, struct live_receipt *r, const char *name)
{
	mutex_lock(&l->lock);
	mutex_lock(&r->lock);
	snprintf(r->receipt.name, sizeof(r->receipt.name), "%s", name);
	r->stored = false;
	mutex_unlock(&r->lock);
	mutex_unlock(&l->lock);
}

/* ---- coming and going ---- */

/*
 * A file that was created and whose open then failed leaves its receipt here without a writer; a
 * few of them may.
 */
static void trim_locked(struct live *l) REQUIRES(l->lock)
{
	struct live_receipt **at = &l->first;

	for (unsigned n = 0; *at;) {
		struct live_receipt *r = *at;

		if (r->n_refs > 0 || ++n <= UNOPENED_MAX) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		receipt_free(r);
	}
}

static struct live_receipt *add_locked(struct live *l, uint32_t cid, const struct receipt *receipt)
	REQUIRES(l->lock)
{
	struct live_receipt *r = mem_zalloc(1, sizeof(*r));

	if (!r)
		return NULL;
	mutex_init(&r->commit);
	mutex_init(&r->lock);
	r->cid = cid;
	r->receipt = *receipt;
	r->next_position = receipt->vectors;
	r->next = l->first;
	l->first = r;
	trim_locked(l);
	return r;
}

int live_create(struct live *l, uint32_t cid, const struct receipt *r)
{
	struct live_receipt *added;

	mutex_lock(&l->lock);
	added = add_locked(l, cid, r);
	if (added)
		added->unopened = true;
	mutex_unlock(&l->lock);
	return added ? 0 : -ENOMEM;
}

static void put_locked(struct live *l, struct live_receipt *r) REQUIRES(l->lock)
{
	struct live_receipt **at = &l->first;

	if (--r->n_refs > 0 || (r->unopened && !r->forgotten))
		return;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	receipt_free(r);
}

void live_put(struct live *l, struct live_receipt *r)
{
	if (!r)
		return;
	mutex_lock(&l->lock);
	put_locked(l, r);
	mutex_unlock(&l->lock);
}

/* ---- writers ---- */

static void restart_receipt(struct live_receipt *r)
{
	struct receipt *c = &r->receipt;

	mutex_lock(&r->lock);
	c->state = RECEIPT_INGESTING;
	c->vectors = c->replaced = c->bytes = c->ns = c->batches = 0;
	c->error[0] = '\0';
	r->next_position = 0;
	r->stored = false;
	mutex_unlock(&r->lock);
}

static void add_writer_locked(struct live *l, struct live_receipt *r) REQUIRES(l->lock)
{
	r->n_refs++;
	r->n_writers++;
	r->unopened = false;
}

struct live_receipt *live_write(struct live *l, uint32_t cid, const struct receipt *stored,
                                uint32_t number, bool restart, bool append)
{
	struct live_receipt *r;

	mutex_lock(&l->lock);
	r = find_locked(l, cid, number);
	if (!r && stored) {
		r = add_locked(l, cid, stored);
		if (r)
			r->stored = true;
	}
	if (r) {
		if (restart || (r->n_writers == 0 && !append))
			restart_receipt(r);
		add_writer_locked(l, r);
	}
	mutex_unlock(&l->lock);
	return r;
}

void live_removed(struct live *l, uint32_t cid, uint32_t number, const char *name)
{
	struct removed *r;

	mutex_lock(&l->lock);
	r = &l->removed[l->removed_at++ % REMOVED_MAX];
	*r = (struct removed){ .cid = cid, .number = number };
	snprintf(r->name, sizeof(r->name), "%s", name);
	mutex_unlock(&l->lock);
}

static struct live_receipt *revive_locked(struct live *l, uint32_t cid, uint32_t number)
	REQUIRES(l->lock)
{
	struct receipt receipt = { .number = number, .state = RECEIPT_INGESTING };
	struct live_receipt *r;

	for (unsigned i = 0; i < REMOVED_MAX; i++) {
		const struct removed *was = &l->removed[i];

		if (was->cid != cid || was->number != number || !was->name[0])
			continue;
		memcpy(receipt.name, was->name, sizeof(receipt.name));
		r = add_locked(l, cid, &receipt);
		if (r)
			r->forgotten = true;
		return r;
	}
	return NULL;
}

struct live_receipt *live_write_removed(struct live *l, uint32_t cid, uint32_t number)
{
	struct live_receipt *r;

	mutex_lock(&l->lock);
	r = find_locked(l, cid, number);
	if (!r)
		r = revive_locked(l, cid, number);
	if (r)
		add_writer_locked(l, r);
	mutex_unlock(&l->lock);
	return r;
}

bool live_end_writer(struct live *l, struct live_receipt *r)
{
	bool last;

	mutex_lock(&l->lock);
	last = --r->n_writers == 0;
	if (last) {
		mutex_lock(&r->lock);
		if (r->receipt.state == RECEIPT_INGESTING) {
			r->receipt.state = RECEIPT_REJECTED;
			snprintf(r->receipt.error, sizeof(r->receipt.error), "the file is empty");
			r->stored = false;
		}
		last = !r->stored;
		mutex_unlock(&r->lock);
	}
	mutex_unlock(&l->lock);
	return last;
}

/* ---- what writers tell ---- */

void live_progress(struct live_receipt *r, size_t n_bytes, uint64_t ns)
{
	if (!r)
		return;
	mutex_lock(&r->lock);
	r->stored = false;
	r->receipt.state = RECEIPT_INGESTING;
	r->receipt.bytes += n_bytes;
	r->receipt.ns = ns;
	r->receipt.error[0] = '\0';
	mutex_unlock(&r->lock);
}

void live_rejected(struct live_receipt *r, const char *why)
{
	if (!r)
		return;
	mutex_lock(&r->lock);
	r->stored = false;
	r->receipt.state = RECEIPT_REJECTED;
	snprintf(r->receipt.error, sizeof(r->receipt.error), "%s", why);
	mutex_unlock(&r->lock);
}

bool live_settled(struct live_receipt *r)
{
	bool settled;

	if (!r)
		return false;
	mutex_lock(&r->lock);
	settled = r->receipt.vectors > 0;
	if (settled && r->receipt.state == RECEIPT_INGESTING) {
		r->receipt.state = RECEIPT_COMMITTED;
		r->stored = false;
	}
	mutex_unlock(&r->lock);
	return settled;
}

void live_committed(struct live_receipt *r, const struct receipt *c)
{
	struct receipt *now = &r->receipt;

	mutex_lock(&r->lock);
	r->stored = now->bytes == c->bytes;
	now->state = c->state;
	now->vectors = c->vectors;
	now->replaced = c->replaced;
	now->batches = c->batches;
	now->ns = c->ns;
	now->error[0] = '\0';
	mutex_unlock(&r->lock);
}

uint64_t live_take_position(struct live_receipt *r)
{
	uint64_t position;

	mutex_lock(&r->lock);
	position = r->next_position++;
	mutex_unlock(&r->lock);
	return position;
}

void live_took_position(struct live_receipt *r, uint64_t position)
{
	mutex_lock(&r->lock);
	if (r->next_position <= position)
		r->next_position = position + 1;
	mutex_unlock(&r->lock);
}

void live_return_positions(struct live_receipt *r, uint64_t first, uint64_t last, uint64_t n)
{
	mutex_lock(&r->lock);
	if (r->next_position == last + 1 && last - first + 1 == n) {
		r->next_position = first;
	} else {
		r->receipt.vectors += n;
		r->stored = false;
	}
	mutex_unlock(&r->lock);
}
