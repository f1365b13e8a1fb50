/*
 * slow.c: queries that took long: from when on that is, and what is told of them.
 *
 * A search that is not slow pays two loads for this. Telling is bounded to one a second and tenant; how
 * many were not told stands in the next one. A collection keeps its limit less one, so that 0, which
 * memory is cleared to, is none.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "tenant/admit.h"
#include "tenant/events.h"
#include "tenant/settings.h"

#define SLOW     "slow_query_us."
#define TELL_NS  1000000000u
#define NO_LIMIT UINT64_MAX

/* ---- the setting ---- */

static uint64_t limit_of(const struct collection *c)
{
	return atomic_load_explicit(&c->slow_us, memory_order_relaxed) - 1;
}

static void set_limit(struct collection *c, uint64_t us)
{
	atomic_store_explicit(&c->slow_us, us + 1, memory_order_relaxed);
}

static struct collection *collection_of_setting(struct tenants *ts, const char *name)
	REQUIRES(ts->lock);

static struct collection *collection_of_setting(struct tenants *ts, const char *name)
{
	const char *digits = name + strlen(SLOW);
	uint64_t cid;

	if (!num_parse_u64(digits, strlen(digits), &cid) || cid > UINT32_MAX)
		return NULL;
	return collection_find_locked(ts, (uint32_t)cid);
}

int slow_load(struct tenants *ts, struct err *e)
{
	struct registry_setting s = { .name = SLOW };
	struct collection *c;
	int rc;

	mutex_lock(&ts->lock);
	while ((rc = registry_setting_next(ts->db, SLOW, s.name, &s, e)) == 0) {
		c = collection_of_setting(ts, s.name);
		if (c && s.value <= SLOW_QUERY_US_MAX)
			set_limit(c, s.value);
	}
	mutex_unlock(&ts->lock);
	return rc == -ENOENT ? 0 : rc;
}

int tenant_slow_query_us(struct tenants *ts, uint32_t cid, uint64_t *ret)
{
	struct collection *c;

	mutex_lock(&ts->lock);
	c = collection_find_locked(ts, cid);
	if (c)
		*ret = limit_of(c);
	mutex_unlock(&ts->lock);
	return c ? 0 : -ENODEV;
}

int tenant_set_slow_query_us(struct inside *in, uint64_t us, struct err *e)
{
	struct tenants *ts = in->tenant->ts;
	char name[STATUS_SETTING_MAX];
	int rc = tenant_check(in, TENANT_WRITE, e);

	if (rc < 0 || limit_of(in->collection) == us)
		return rc;
	snprintf(name, sizeof(name), SLOW "%" PRIu32, in->cid);
	mutex_lock(&ts->change);
	rc = registry_setting_set(ts->db, name, us, e);
	if (rc == 0)
		set_limit(in->collection, us);
	mutex_unlock(&ts->change);
	return rc;
}

/* ---- telling ---- */

/* One a second; how many were not told since the last one. */
static bool may_tell(struct tenant *t, uint64_t *ret_untold)
{
	uint64_t now = clock_mono_ns();
	uint64_t last = atomic_load_explicit(&t->slow_told_ns, memory_order_relaxed);

	if ((last && now - last < TELL_NS) ||
	    !atomic_compare_exchange_strong_explicit(&t->slow_told_ns, &last, now,
	                                             memory_order_relaxed, memory_order_relaxed)) {
		atomic_fetch_add_explicit(&t->slow_untold, 1, memory_order_relaxed);
		return false;
	}
	*ret_untold = atomic_exchange_explicit(&t->slow_untold, 0, memory_order_relaxed);
	return true;
}

/* In the order in which one asks: how long, waiting for whom, by which way, through how much. */
static void add_plan(const struct answer *a, struct buf *ret)
{
	const struct answer_plan *p = &a->plan;

	buf_addf(ret, "us=%" PRIu64 " waited_us=%" PRIu64 " plan=%s k=%" PRIu32, p->us,
	         p->waited_us, p->graph ? "graph" : "scan", p->k);
	if (p->graph)
		buf_addf(ret, " ef=%" PRIu32, p->ef);
	buf_addf(ret, " scanned=%" PRIu64 " rows=%" PRIu64 " dimension=%zu", p->scanned, p->rows,
	         p->dim);
	if (a->n_slow_before)
		buf_addf(ret, " untold=%" PRIu64, a->n_slow_before);
}

void slow_look(struct inside *in, const struct inside *of, struct answer *a)
{
	uint64_t us = limit_of(of->collection);
	uint64_t all = setting_get(in->tenant->ts, SETTING_SLOW_QUERY_US);
	struct buf BUF_AUTO b = BUF_INIT;

	a->slow = false;
	us = all < us ? all : us;
	if (us == NO_LIMIT || a->plan.us < us || !may_tell(in->tenant, &a->n_slow_before))
		return;
	a->slow = true;
	add_plan(a, &b);
	if (!buf_failed(&b))
		event_post(in->tenant, in->cid, "slow_query %s", b.data);
}

void tenant_slow_line(struct inside *in, const struct inside *of, const struct answer *a,
                      struct buf *ret)
{
	struct collection_info info;
	struct tenant_info t;

	if (tenants_info(in->tenant->ts, in->tenant->number, &t) == 0)
		buf_addf(ret, "tenant=%s ", t.name);
	if (of->cid != in->tenant->number &&
	    engine_collection_info(of->engine, of->cid, &info) == 0)
		buf_addf(ret, "%s=%s ", of->tenant == in->tenant ? "collection" : "shared",
		         info.name);
	add_plan(a, ret);
}
