/*
 * tenant_stats.c: the files stats (of a collection, of a tenant, of the mount), and integrity.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tenant/events.h"
#include "tenant/survey.h"

static void add_u64(struct buf *b, const char *key, uint64_t v)
{
	buf_addf(b, "%s %" PRIu64 "\n", key, v);
}

/* ---- what every stats has ---- */

static void render_counts(const struct activity_sum *a, uint64_t inserts, uint64_t deletes,
                          struct buf *ret)
{
	add_u64(ret, "queries", a->n[COUNT_QUERIES]);
	add_u64(ret, "inserts", inserts);
	add_u64(ret, "deletes", deletes);
	add_u64(ret, "errors", a->n[COUNT_ERRORS]);
}

static void render_totals(const uint64_t total[COUNT_N], struct buf *ret)
{
	for (int k = 0; k < COUNT_N; k++)
		buf_addf(ret, "total_%s %" PRIu64 "\n", count_name((enum count)k), total[k]);
}

static void render_minute(const struct activity_sum *a, uint64_t started_ns, struct buf *ret)
{
	double seconds = window_seconds(started_ns);

	for (int k = 0; k < COUNT_N; k++)
		buf_addf(ret, "%s_per_s %.3f\n", count_name((enum count)k),
		         (double)a->minute[k] / seconds);
}

static void render_latency(const struct activity_sum *a, struct buf *ret)
{
	add_u64(ret, "query_us_p50", latency_us(a->latency, 0.5));
	add_u64(ret, "query_us_p99", latency_us(a->latency, 0.99));
	add_u64(ret, "query_us_p50_1m", latency_us(a->latency_minute, 0.5));
	add_u64(ret, "query_us_p99_1m", latency_us(a->latency_minute, 0.99));
}

static void render_rejected(const uint64_t now[QUOTA_N], const uint64_t total[QUOTA_N],
                            struct buf *ret)
{
	uint64_t sum = 0;

	for (int k = 0; k < QUOTA_N; k++) {
		buf_addf(ret, "rejected_%s %" PRIu64 "\n", quota_key_name((enum quota_key)k),
		         now[k]);
		sum += total[k];
	}
	add_u64(ret, "total_rejected", sum);
}

/* ---- a collection and its tenant ---- */

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

static void render_quota_use(const struct tenant *t, const struct quota *q, const struct figures *f,
                             struct buf *ret)
{
	uint64_t rejected[QUOTA_N];
	uint64_t total[QUOTA_N];
	double u = quota_utilization(q, f);

	for (int k = 0; k < QUOTA_N; k++) {
		rejected[k] = atomic_load_explicit(&t->rejected[k], memory_order_relaxed);
		total[k] = rejected[k] +
		           atomic_load_explicit(&t->watch.rejected_before[k], memory_order_relaxed);
	}
	render_rejected(rejected, total, ret);
	buf_addf(ret, "quota_utilization %.3f\n", u);
	add_u64(ret, "near_quota", u >= NEAR_QUOTA);
	add_u64(ret, "near_quota_s", quota_near_s(t));
}

static void render_stored(const struct collection_info *i, const struct collection_memory *m,
                          bool whole_tenant, uint64_t collections, struct buf *ret)
{
	add_u64(ret, "vectors", i->vectors);
	add_u64(ret, "active", i->vectors);
	add_u64(ret, "deleted", i->deleted);
	if (whole_tenant)
		add_u64(ret, "collections", collections);
	add_u64(ret, "dimension", i->config.dimension);
	buf_addf(ret, "metric %s\n", metric_name(i->config.metric));
	add_u64(ret, "bytes", i->bytes);
	add_u64(ret, "resident_bytes", m->resident_bytes);
	add_u64(ret, "mapped_bytes", m->mapped_bytes);
}

int tenant_stats_render(struct inside *in, bool whole_tenant, struct buf *ret, struct err *e)
{
	struct activity_sum MEM_AUTO *a = mem_zalloc(1, sizeof(*a));
	struct collection_memory m = { 0 };
	struct collection_info i;
	struct figures f;
	struct quota q;
	int rc;

	if (!a)
		return err_nomem(e);
	rc = engine_collection_info(in->engine, in->cid, &i);
	if (rc == 0)
		rc = engine_collection_memory(in->engine, in->cid, &m);
	if (rc < 0)
		return err_set(e, rc, "the collection was removed");
	activity_sum(a, &in->collection->activity);
	a->total[COUNT_INSERTS] = i.inserts; /* the engine's are exact */
	a->total[COUNT_DELETES] = i.deletes;
	usage(in, &f, &q);
	render_stored(&i, &m, whole_tenant, f.collections, ret);
	render_counts(a, i.inserts, i.deletes, ret);
	render_totals(a->total, ret);
	render_minute(a, in->tenant->ts->started_ns, ret);
	render_latency(a, ret);
	if (whole_tenant)
		render_quota_use(in->tenant, &q, &f, ret);
	add_u64(ret, "last_access_s", a->last_access_s);
	add_u64(ret, "index_backlog", i.backlog);
	return buf_failed(ret) ? err_nomem(e) : 0;
}

/* ---- the mount ---- */

struct sums {
	uint64_t tenants;
	uint64_t by_status[TENANT_N_STATUS];
	struct survey s; /* all added up; the highest utilization */
	uint64_t near_quota;
};

static void add_activity(struct activity_sum *sum, const struct activity_sum *a)
{
	for (int k = 0; k < COUNT_N; k++) {
		sum->n[k] += a->n[k];
		sum->minute[k] += a->minute[k];
	}
	for (unsigned b = 0; b < LATENCY_BUCKETS; b++) {
		sum->latency[b] += a->latency[b];
		sum->latency_minute[b] += a->latency_minute[b];
	}
	sum->latency_sum_ns += a->latency_sum_ns;
	if (a->last_access_s > sum->last_access_s)
		sum->last_access_s = a->last_access_s;
}

static void add_figures(struct figures *sum, const struct figures *f)
{
	sum->vectors += f->vectors;
	sum->deleted += f->deleted;
	sum->bytes += f->bytes;
	sum->inserts += f->inserts;
	sum->deletes += f->deletes;
	sum->collections += f->collections;
}

void survey_add(struct survey *sum, const struct survey *s)
{
	add_figures(&sum->f, &s->f);
	add_activity(&sum->activity, &s->activity);
	sum->resident_bytes += s->resident_bytes;
	sum->mapped_bytes += s->mapped_bytes;
	sum->backlog += s->backlog;
	if (s->utilization > sum->utilization)
		sum->utilization = s->utilization;
	for (int k = 0; k < QUOTA_N; k++) {
		sum->rejected[k] += s->rejected[k];
		sum->rejected_total[k] += s->rejected_total[k];
	}
	for (int k = 0; k < COUNT_N; k++)
		sum->total[k] += s->total[k];
	if (s->health > sum->health)
		sum->health = s->health;
	if (s->checked_s > sum->checked_s)
		sum->checked_s = s->checked_s;
}

static void add_tenant(void *ctx, const struct survey *s)
{
	struct sums *sums = ctx;

	sums->tenants += !s->is_shared;
	sums->by_status[s->info.status] += !s->is_shared;
	sums->near_quota += s->utilization >= NEAR_QUOTA;
	survey_add(&sums->s, s);
}

static void render_tenants(const struct sums *s, struct buf *ret)
{
	add_u64(ret, "tenants", s->tenants);
	for (int k = 0; k < TENANT_N_STATUS; k++) {
		const char *name = tenant_status_name((enum tenant_status)k);

		buf_adds(ret, "tenants_");
		for (; *name; name++)
			buf_addc(ret, *name == '-' ? '_' : *name);
		buf_addf(ret, " %" PRIu64 "\n", s->by_status[k]);
	}
}

void tenants_stats_render(struct tenants *ts, struct buf *ret)
{
	struct sums MEM_AUTO *s = mem_zalloc(1, sizeof(*s));

	if (!s || tenants_survey(ts, add_tenant, s) < 0) {
		ret->failed = true;
		return;
	}
	render_tenants(s, ret);
	add_u64(ret, "vectors", s->s.f.vectors);
	add_u64(ret, "active", s->s.f.vectors);
	add_u64(ret, "deleted", s->s.f.deleted);
	add_u64(ret, "collections", s->s.f.collections);
	add_u64(ret, "bytes", s->s.f.bytes);
	add_u64(ret, "resident_bytes", s->s.resident_bytes);
	add_u64(ret, "mapped_bytes", s->s.mapped_bytes);
	render_counts(&s->s.activity, s->s.f.inserts, s->s.f.deletes, ret);
	render_totals(s->s.total, ret);
	render_minute(&s->s.activity, ts->started_ns, ret);
	render_latency(&s->s.activity, ret);
	render_rejected(s->s.rejected, s->s.rejected_total, ret);
	buf_addf(ret, "quota_utilization %.3f\n", s->s.utilization);
	add_u64(ret, "near_quota", s->near_quota);
	add_u64(ret, "last_access_s", s->s.activity.last_access_s);
	add_u64(ret, "index_backlog", s->s.backlog);
	add_u64(ret, "uptime_s", (clock_mono_ns() - ts->started_ns) / 1000000000u);
	add_u64(ret, "server_pid", (uint64_t)getpid());
}

/* ---- integrity ---- */

static void verify_done(void *ctx)
{
	struct inside *in = ctx;
	struct health_info info;

	health_get(in->tenant->ts->health, in->cid, &info);
	info.verifying = false;
	if (!in->collection->removed && info.checked_s)
		event_post(in->tenant, in->cid, "integrity %s rows=%" PRIu64,
		           health_state_name(&info), info.report.rows_checked);
	tenant_leave(in);
	mem_free(in);
}

/* Whose tenant and collection this is stands in the registry. */
static int verify_registry(void *ctx, struct engine_report *r, struct err *e)
{
	struct inside *in = ctx;
	struct registry_report rr;
	int rc = registry_verify(in->tenant->ts->db, &rr, e);

	if (rc < 0)
		return rc;
	r->checksum_errors += rr.errors;
	if (rr.first[0] && !r->first[0])
		snprintf(r->first, sizeof(r->first), "%s", rr.first);
	return 0;
}

static void compact_done(void *ctx)
{
	struct inside *in = ctx;
	struct health_info info;

	health_get(in->tenant->ts->health, in->cid, &info);
	if (!in->collection->removed && info.compacted_s)
		event_post(in->tenant, in->cid, "%s reclaimed_bytes=%" PRIu64,
		           info.compact_error.code ? "compaction_failed" : "compacted",
		           info.reclaimed_bytes);
	tenant_leave(in);
	mem_free(in);
}

static int start(struct tenants *ts, uint32_t cid, enum tenant_access access, bool is_compaction,
                 struct err *e)
{
	struct inside *in = mem_zalloc(1, sizeof(*in));
	struct health_target target = { .cid = cid, .ctx = in };
	int rc;

	if (!in)
		return err_nomem(e);
	target.release = is_compaction ? compact_done : verify_done;
	target.also = is_compaction ? NULL : verify_registry;
	rc = tenant_enter(ts, cid, access, in, e);
	if (rc == 0) {
		target.engine = in->engine;
		rc = is_compaction ? health_compact(ts->health, &target, e)
		                   : health_start(ts->health, &target, e);
		if (rc < 0)
			tenant_leave(in);
	}
	if (rc < 0)
		mem_free(in);
	return rc == -EALREADY ? 0 : rc;
}

int tenant_verify_start(struct tenants *ts, uint32_t cid, struct err *e)
{
	return start(ts, cid, TENANT_READ, false, e);
}

int tenant_compact_start(struct tenants *ts, uint32_t cid, struct err *e)
{
	return start(ts, cid, TENANT_WRITE, true, e);
}

void tenant_health(struct tenants *ts, uint32_t cid, struct buf *ret)
{
	struct health_info info;

	health_get(ts->health, cid, &info);
	health_render(&info, ret);
}
