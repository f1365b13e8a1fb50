/*
 * image.c: what the store knows of a collection's image: where it is, and from when.
 *
 * `gone` lists the slots whose versions died, for an image that still has them as living. Once
 * a newer image is in place the older part of the list is of no use. Losing the deletion only
 * makes a list longer, so it is not synced.
 */
#include <inttypes.h>
#include <stdio.h>

#include "store/store_impl.h"

void store_image_path(struct store *s, uint32_t cid, char *ret, size_t cap)
{
	snprintf(ret, cap, "%s/%" PRIu32 ".graph", s->dir, cid);
}

/* In the transaction that cuts the list, so that no image is used with a list that is too short. */
static void raise_cleared_seq(struct store *s, uint32_t cid, uint64_t seq) REQUIRES(s->write)
{
	struct coll *c = coll_find(s, cid);

	if (seq > s->now.last_seq)
		seq = s->now.last_seq;
	if (!c || atomic_load(&c->gone) || c->pending.c.cleared_seq >= seq)
		return;
	c->pending.c.cleared_seq = seq;
	c->touched = true;
}

static int image_saved_locked(struct store *s, uint32_t cid, uint64_t seq, struct err *e)
	REQUIRES(s->write)
{
	int rc = txn_begin(s, false, e);

	if (rc < 0)
		return rc;
	rc = sql_run(&s->w, e, "DELETE FROM gone WHERE cid = ? AND seq <= ?", "ii", I(cid), I(seq));
	if (rc < 0) {
		txn_rollback(s);
		return store_runtime(rc, e);
	}
	raise_cleared_seq(s, cid, seq);
	rc = txn_commit(s, false, e);
	txn_tidy(s);
	return rc;
}

int store_image_saved(struct store *s, uint32_t cid, uint64_t seq, struct err *e)
{
	int rc;

	mutex_lock(&s->write);
	rc = image_saved_locked(s, cid, seq, e);
	mutex_unlock(&s->write);
	return rc;
}
