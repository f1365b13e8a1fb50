/*
 * tenant_stats.c: the files stats (of a collection, of a tenant, of the mount), and integrity.
 *
 * The mount's sums look at each tenant in turn: an open engine is asked (held open meanwhile,
 * its turn in the order of last use stays as it was), a closed one counts with its last
 * figures. So no sum is of one instant, and none opens anything.
 */
#include "tenant/tenant_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

#define NEAR_QUOTA 0.9

static void add_u64(struct buf *b, const char *key, uint64_t v)
{
	buf_addf(b, "%s %" PRIu64 "\n", key, v);
}

/* ---- a collection and its tenant ---- */

static double ratio(uint64_t used, uint64_t max)
{
	if (max == QUOTA_UNLIMITED)
		return 0;
	return max > 0 ? (double)used / (double)max : 1;
}

/* The highest of the limits on what is stored. */
static double utilization(const struct quota *q, const struct figures *f)
{
	double u = ratio(f->vectors, q->max[QUOTA_MAX_VECTORS]);
	double bytes = ratio(f->bytes, q->max[QUOTA_MAX_BYTES]);
	double collections = ratio(f->collections, q->max[QUOTA_MAX_COLLECTIONS]);

	if (bytes > u)
		u = bytes;
	/* A limit of none is how collections are switched off, not a full quota. */
	if (q->max[QUOTA_MAX_COLLECTIONS] > 0 && collections > u)
		u = collections;
	return u;
}

static void render_rejected(const uint64_t rejected[QUOTA_N], struct buf *ret)
{
	for (int k = 0; k < QUOTA_N; k++)
		buf_addf(ret, "rejected_%s %" PRIu64 "\n", quota_key_name((enum quota_key)k),
		         rejected[k]);
}

static void add_rejected(uint64_t sum[QUOTA_N], const struct tenant *t)
{
	for (int k = 0; k < QUOTA_N; k++)
		sum[k] += atomic_load_explicit(&t->rejected[k], memory_order_relaxed);
}

static void usage(struct inside *in, struct figures *ret, struct quota *ret_quota)
{
	struct tenants *ts = in->tenant->ts;
	uint32_t n;

	*ret = (struct figures){ 0 };
	engine_usage(in->engine, &ret->vectors, &ret->bytes, &n);
	mutex_lock(&ts->lock);
	ret->collections = in->tenant->n_collections;
	*ret_quota = in->tenant->quota;
	mutex_unlock(&ts->lock);
}

static void render_latency(const struct latency *l, struct buf *ret)
{
	add_u64(ret, "query_us_p50", latency_us(l, 0.5));
	add_u64(ret, "query_us_p99", latency_us(l, 0.99));
}

static void render_quota_use(struct inside *in, struct buf *ret)
{
	uint64_t rejected[QUOTA_N] = { 0 };
	struct figures f;
	struct quota q;
	double u;

	usage(in, &f, &q);
	u = utilization(&q, &f);
	add_rejected(rejected, in->tenant);
	render_rejected(rejected, ret);
	buf_addf(ret, "quota_utilization %.3f\n", u);
	add_u64(ret, "near_quota", u >= NEAR_QUOTA);
}

int tenant_stats_render(struct inside *in, bool whole_tenant, struct buf *ret, struct err *e)
{
	struct latency MEM_AUTO *l = mem_zalloc(1, sizeof(*l));
	struct collection_info i;
	struct figures f;
	struct quota q;
	int rc;

	if (!l)
		return err_nomem(e);
	rc = engine_collection_info(in->engine, in->cid, &i);
	if (rc < 0)
		return err_set(e, rc, "the collection was removed");
	latency_add(l, in->collection);
	add_u64(ret, "vectors", i.vectors);
	add_u64(ret, "deleted", i.deleted);
	usage(in, &f, &q);
	if (whole_tenant)
		add_u64(ret, "collections", f.collections);
	add_u64(ret, "dimension", i.config.dimension);
	buf_addf(ret, "metric %s\n", metric_name(i.config.metric));
	add_u64(ret, "bytes", i.bytes);
	add_u64(ret, "resident_bytes", i.resident_bytes);
	add_u64(ret, "queries", l->queries);
	add_u64(ret, "inserts", i.inserts);
	add_u64(ret, "deletes", i.deletes);
	add_u64(ret, "errors", l->errors);
	render_latency(l, ret);
	if (whole_tenant)
		render_quota_use(in, ret);
	add_u64(ret, "last_access_s", l->last_access_s);
	add_u64(ret, "index_backlog", i.backlog);
	return buf_failed(ret) ? err_nomem(e) : 0;
}

/* ---- the mount ---- */

struct sums {
	uint64_t tenants;
	struct figures f;
	uint64_t resident_bytes;
	uint64_t backlog;
	uint64_t rejected[QUOTA_N];
	double utilization; /* the highest of a tenant */
	uint64_t near_quota;
	struct latency latency;
};

static void add_open(struct sums *s, struct engine *en, struct figures *ret)
{
	struct collection_info i;

	figures_gather(en, ret);
	for (uint32_t after = 0; engine_collection_next(en, after, &i) == 0; after = i.cid) {
		s->resident_bytes += i.resident_bytes;
		s->backlog += i.backlog;
	}
}

static void add_tenant_locked(struct tenants *ts, struct sums *s, struct tenant *t,
                              const struct figures *f) REQUIRES(ts->lock);

static void add_tenant_locked(struct tenants *ts, struct sums *s, struct tenant *t,
                              const struct figures *f)
{
	double u = utilization(&t->quota, f);

	s->tenants++;
	s->f.vectors += f->vectors;
	s->f.deleted += f->deleted;
	s->f.bytes += f->bytes;
	s->f.inserts += f->inserts;
	s->f.deletes += f->deletes;
	s->f.collections += f->collections;
	if (u > s->utilization)
		s->utilization = u;
	s->near_quota += u >= NEAR_QUOTA;
	add_rejected(s->rejected, t);
	for (struct collection *c = &t->own; c; c = c->next)
		latency_add(&s->latency, c);
}

/* Lets go of ts->lock while it asks an engine. */
static void add_next_locked(struct tenants *ts, struct tenant *t, struct sums *s)
	REQUIRES(ts->lock);

static void add_next_locked(struct tenants *ts, struct tenant *t, struct sums *s)
{
	struct engine *en = t->engine;
	struct figures f = t->figures;

	if (!en) {
		add_tenant_locked(ts, s, t, &f);
		return;
	}
	tenant_pin_locked(ts, t);
	mutex_unlock(&ts->lock);
	add_open(s, en, &f);
	mutex_lock(&ts->lock);
	if (!t->removed)
		add_tenant_locked(ts, s, t, &f);
	mutex_unlock(&ts->lock);
	tenant_unpin(t);
	mutex_lock(&ts->lock);
}

static void gather(struct tenants *ts, struct sums *s)
{
	struct tenant *t;

	mutex_lock(&ts->lock);
	for (uint32_t after = 0; (t = tenant_after_locked(ts, after));) {
		after = t->number;
		add_next_locked(ts, t, s);
	}
	mutex_unlock(&ts->lock);
}

void tenants_stats_render(struct tenants *ts, struct buf *ret)
{
	struct sums MEM_AUTO *s = mem_zalloc(1, sizeof(*s));

	if (!s) {
		ret->failed = true;
		return;
	}
	gather(ts, s);
	add_u64(ret, "tenants", s->tenants);
	add_u64(ret, "vectors", s->f.vectors);
	add_u64(ret, "deleted", s->f.deleted);
	add_u64(ret, "collections", s->f.collections);
	add_u64(ret, "bytes", s->f.bytes);
	add_u64(ret, "resident_bytes", s->resident_bytes);
	add_u64(ret, "queries", s->latency.queries);
	add_u64(ret, "inserts", s->f.inserts);
	add_u64(ret, "deletes", s->f.deletes);
	add_u64(ret, "errors", s->latency.errors);
	render_latency(&s->latency, ret);
	render_rejected(s->rejected, ret);
	buf_addf(ret, "quota_utilization %.3f\n", s->utilization);
	add_u64(ret, "near_quota", s->near_quota);
	add_u64(ret, "last_access_s", s->latency.last_access_s);
	add_u64(ret, "index_backlog", s->backlog);
	add_u64(ret, "uptime_s", (clock_mono_ns() - ts->started_ns) / 1000000000u);
	add_u64(ret, "server_pid", (uint64_t)getpid());
}

/* ---- integrity ---- */

static void verify_done(void *ctx)
{
	struct inside *in = ctx;

	tenant_leave(in);
	mem_free(in);
}

int tenant_verify_start(struct tenants *ts, uint32_t cid, struct err *e)
{
	struct inside *in = mem_zalloc(1, sizeof(*in));
	struct health_target target = { .cid = cid, .release = verify_done, .ctx = in };
	int rc;

	if (!in)
		return err_nomem(e);
	rc = tenant_enter(ts, cid, TENANT_READ, in, e);
	if (rc == 0) {
		target.engine = in->engine;
		rc = health_start(ts->health, &target, e);
		if (rc < 0)
			tenant_leave(in);
	}
	if (rc < 0)
		mem_free(in);
	return rc == -EALREADY ? 0 : rc;
}

void tenant_health(struct tenants *ts, uint32_t cid, struct buf *ret)
{
	struct health_info info;

	health_get(ts->health, cid, &info);
	health_render(&info, ret);
}
