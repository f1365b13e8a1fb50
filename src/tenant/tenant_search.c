/*
 * tenant_search.c: a search under a quota, counted and timed.
 */
#include "tenant/tenant_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "tenant/admit.h"

static void limits(const struct inside *in, struct admission *ret)
{
	struct tenants *ts = in->tenant->ts;

	mutex_lock(&ts->lock);
	memcpy(ret->max, in->tenant->quota.max, sizeof(ret->max));
	ret->waits = in->collection->waits;
	mutex_unlock(&ts->lock);
}

static int refuse_batch(struct inside *in, size_t n_before, uint64_t max_batch, struct err *e)
{
	if (n_before >= LIMIT_QUERY_BATCH)
		return err_set(e, -E2BIG, "more than %d queries in one exchange",
		               LIMIT_QUERY_BATCH);
	if (n_before < max_batch)
		return 0;
	count_rejected(in->tenant, QUOTA_MAX_BATCH);
	return err_set(e, -E2BIG, "more queries in one exchange than max_batch, which is %" PRIu64,
	               max_batch);
}

/* k of a query that names none is the collection's, as far as the quota allows. */
static int choose_k(struct inside *in, const struct inside *of, struct query *q,
                    uint64_t max_results, struct err *e)
{
	struct collection_info info;
	int rc;

	if (q->k > max_results) {
		count_rejected(in->tenant, QUOTA_MAX_RESULTS);
		return err_set(e, -ERANGE, "k %u, max_results is %" PRIu64, q->k, max_results);
	}
	if (q->k > 0 || max_results >= LIMIT_K)
		return 0;
	rc = engine_collection_info(of->engine, of->cid, &info);
	if (rc < 0)
		return err_set(e, rc, "the collection was removed");
	q->k = info.config.k < max_results ? info.config.k : (unsigned)max_results;
	return 0;
}

static int search(struct inside *in, const struct inside *of, const struct query *q,
                  struct answer *a, struct err *e)
{
	struct flow *flow = &in->tenant->searches;
	uint64_t began = clock_mono_ns(), waited, all;
	struct turn turn;
	int rc;

	turn_take(flow, &turn);
	waited = clock_mono_ns() - began;
	rc = engine_search(of->engine, of->cid, q, a, e);
	turn_give(flow, &turn);
	if (rc < 0)
		return rc;
	all = clock_mono_ns() - began;
	count_query(in->collection, all);
	a->plan.us = all / 1000;
	a->plan.waited_us = waited / 1000;
	slow_look(in, of, a);
	return rc;
}

int tenant_search_in(struct inside *in, const struct inside *of, const struct query *q,
                     size_t n_before, struct answer *a, struct err *e)
{
	struct query asked = *q;
	struct admission adm;
	int rc;

	limits(in, &adm);
	rc = refuse_batch(in, n_before, adm.max[QUOTA_MAX_BATCH], e);
	if (rc == 0)
		rc = choose_k(in, of, &asked, adm.max[QUOTA_MAX_RESULTS], e);
	if (rc == 0)
		rc = admit_query(in, &adm, e);
	if (rc < 0)
		return rc;
	rc = search(in, of, &asked, a, e);
	admit_query_end(in, &adm, rc >= 0);
	return rc;
}

int tenant_search(struct inside *in, const struct query *q, size_t n_before, struct answer *a,
                  struct err *e)
{
	return tenant_search_in(in, in, q, n_before, a, e);
}
