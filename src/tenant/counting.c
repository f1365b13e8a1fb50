/*
 * counting.c: what is done in a tenant is counted in its collection and in the tenant, where it
 * outlives the collection.
 */
#include "tenant/events.h"

void count_work(struct collection *c, enum count k, uint64_t n)
{
	struct tenant *t = c->tenant;

	if (n == 0)
		return;
	activity_add(&c->activity, k, n);
	atomic_fetch_add_explicit(&t->watch.tally.n[k], n, memory_order_relaxed);
	totals_touch(t);
}

void count_query(struct collection *c, uint64_t ns)
{
	struct tenant *t = c->tenant;

	activity_query(&c->activity, ns);
	atomic_fetch_add_explicit(&t->watch.tally.n[COUNT_QUERIES], 1, memory_order_relaxed);
	totals_touch(t);
}

void count_rejected(struct tenant *t, enum quota_key k)
{
	atomic_fetch_add_explicit(&t->rejected[k], 1, memory_order_relaxed);
	event_exceeded(t, k);
}

void tenant_count_error(struct inside *in)
{
	count_work(in->collection, COUNT_ERRORS, 1);
}

void tenant_count_rejected(struct inside *in, enum quota_key k)
{
	count_rejected(in->tenant, k);
}

static int removed(struct inside *in, uint64_t n, int rc)
{
	count_work(in->collection, COUNT_DELETES, n);
	event_usage(in->tenant);
	return rc;
}

int tenant_remove(struct inside *in, const struct id_ref *ids, size_t n, uint64_t *ret_removed,
                  struct err *e)
{
	int rc = engine_remove(in->engine, in->cid, ids, n, ret_removed, e);

	return rc < 0 ? rc : removed(in, *ret_removed, rc);
}

int tenant_remove_all(struct inside *in, uint64_t *ret_removed, struct err *e)
{
	int rc = engine_remove_all(in->engine, in->cid, ret_removed, e);

	return rc < 0 ? rc : removed(in, *ret_removed, rc);
}
