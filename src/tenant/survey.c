/*
 * survey.c: see survey.h. ts->lock is let go of while an engine is asked and while visit runs.
 */
#include "tenant/survey.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

double quota_ratio(uint64_t used, uint64_t max)
{
	if (max == QUOTA_UNLIMITED)
		return 0;
	return max > 0 ? (double)used / (double)max : 1;
}

double quota_utilization(const struct quota *q, const struct figures *f)
{
	double u = quota_ratio(f->vectors, q->max[QUOTA_MAX_VECTORS]);
	double bytes = quota_ratio(f->bytes, q->max[QUOTA_MAX_BYTES]);
	double collections = quota_ratio(f->collections, q->max[QUOTA_MAX_COLLECTIONS]);

	if (bytes > u)
		u = bytes;
	/* A limit of none is how collections are switched off, not a full quota. */
	if (q->max[QUOTA_MAX_COLLECTIONS] > 0 && collections > u)
		u = collections;
	return u;
}

uint64_t quota_near_s(const struct tenant *t)
{
	uint64_t since = atomic_load_explicit(&t->watch.near_since_ns, memory_order_relaxed);

	return since ? (clock_mono_ns() - since) / 1000000000u : 0;
}

static void ask_engine(struct engine *en, struct survey *s)
{
	struct collection_info i;
	struct collection_memory m;

	figures_gather(en, &s->f);
	for (uint32_t after = 0; engine_collection_next(en, after, &i) == 0; after = i.cid) {
		s->backlog += i.backlog;
		if (engine_collection_memory(en, i.cid, &m) < 0)
			continue;
		s->resident_bytes += m.resident_bytes;
		s->mapped_bytes += m.mapped_bytes;
	}
}

static void add_health(struct survey *s, struct health *h, uint32_t cid)
{
	struct health_info i;

	health_get(h, cid, &i);
	if (i.state > s->health)
		s->health = i.state;
	if (i.checked_s > s->checked_s)
		s->checked_s = i.checked_s;
}

static void fill_locked(struct tenants *ts, const struct tenant *t, struct survey *s)
	REQUIRES(ts->lock);

static void fill_locked(struct tenants *ts, const struct tenant *t, struct survey *s)
{
	tenant_info_locked(t, &s->info);
	s->is_shared = tenant_is_shared(t);
	s->utilization = quota_utilization(&t->quota, &s->f);
	s->near_s = quota_near_s(t);
	for (int k = 0; k < QUOTA_N; k++) {
		s->rejected[k] = atomic_load_explicit(&t->rejected[k], memory_order_relaxed);
		s->rejected_total[k] = s->rejected[k] +
		                       atomic_load_explicit(&t->watch.rejected_before[k],
		                                            memory_order_relaxed);
	}
	for (int k = 0; k < COUNT_N; k++)
		s->total[k] = atomic_load_explicit(&t->watch.tally.n[k], memory_order_relaxed);
	for (const struct collection *c = &t->own; c; c = c->next) {
		if (c->removed)
			continue;
		activity_sum(&s->activity, &c->activity);
		add_health(s, t->ts->health, c->cid);
	}
}

/* false: it was removed meanwhile. Lets go of ts->lock while it asks an engine. */
static bool look_locked(struct tenants *ts, struct tenant *t, struct survey *s) REQUIRES(ts->lock);

static bool look_locked(struct tenants *ts, struct tenant *t, struct survey *s)
{
	struct engine *en = t->engine;
	bool there;

	memset(s, 0, sizeof(*s));
	s->f = t->figures;
	if (en) {
		tenant_pin_locked(ts, t);
		mutex_unlock(&ts->lock);
		ask_engine(en, s);
		mutex_lock(&ts->lock);
	}
	there = !t->removed;
	if (there)
		fill_locked(ts, t, s);
	if (en) {
		mutex_unlock(&ts->lock);
		tenant_unpin(t);
		mutex_lock(&ts->lock);
	}
	return there;
}

int tenants_survey(struct tenants *ts, void (*visit)(void *ctx, const struct survey *s), void *ctx)
{
	struct survey MEM_AUTO *s = mem_alloc(1, sizeof(*s));
	struct tenant *t;

	if (!s)
		return -ENOMEM;
	mutex_lock(&ts->lock);
	for (uint32_t after = 0; (t = tenant_after_locked(ts, after));) {
		after = t->number;
		if (!look_locked(ts, t, s))
			continue;
		mutex_unlock(&ts->lock);
		visit(ctx, s);
		mutex_lock(&ts->lock);
	}
	mutex_unlock(&ts->lock);
	return 0;
}
