/*
 * metrics.c: metrics/ruvectorfs.prom, in the text format of Prometheus (version 0.0.4).
 *
 * All series of a family stand together, so the tenants are looked at once and kept in small rows.
 * The first `metrics_tenants` of them by number, which never changes while a tenant lives, have
 * series of their own; the others are one row with the label tenant=".other", which no tenant can
 * be named. What is a state has a series for each state: 1 or 0, of .other how many are in it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tenant/settings.h"
#include "tenant/survey.h"

#define P         "ruvectorfs_"
#define OTHER     ".other"
#define N_LE      10 /* bounds of the histogram: 1024 ns << (LE_FIRST + LE_STEP * i) */
#define LE_FIRST  5
#define LE_STEP   2
#define N_HEALTH  4
#define FIRST_CAP 64

static const char *const health_names[N_HEALTH] = { "unverified", "healthy", "damaged", "failed" };

struct row {
	char name[LIMIT_NAME + 1];
	struct figures f;
	uint64_t resident_bytes, mapped_bytes, backlog, last_access_s, checked_s;
	double utilization; /* the highest */
	uint64_t total[COUNT_N];
	uint64_t minute[COUNT_N];
	uint64_t rejected[QUOTA_N];
	uint64_t le[N_LE];
	uint64_t n_timed, timed_ns;
	uint64_t by_status[TENANT_N_STATUS];
	uint64_t by_health[N_HEALTH];
	uint64_t n_tenants, n_near;
};

struct rows {
	struct row *row;
	size_t n, cap, max;
	struct row other; /* beyond max */
	struct row all;
	bool failed;
};

/* ---- gathering ---- */

static void add_latency(struct row *r, const struct activity_sum *a)
{
	for (unsigned i = 0; i < N_LE; i++)
		r->le[i] += latency_at_most(a->latency, LE_FIRST + LE_STEP * i);
	for (unsigned b = 0; b < LATENCY_BUCKETS; b++)
		r->n_timed += a->latency[b];
	r->timed_ns += a->latency_sum_ns;
}

static void larger(uint64_t *max, uint64_t v)
{
	if (v > *max)
		*max = v;
}

/* sums: over tenants, which shared collections are none of. */
static void add_survey(struct row *r, const struct survey *s, bool sums)
{
	r->f.vectors += s->f.vectors;
	r->f.deleted += s->f.deleted;
	r->f.bytes += s->f.bytes;
	r->f.collections += s->f.collections;
	r->resident_bytes += s->resident_bytes;
	r->mapped_bytes += s->mapped_bytes;
	r->backlog += s->backlog;
	larger(&r->last_access_s, s->activity.last_access_s);
	larger(&r->checked_s, s->checked_s);
	if (s->utilization > r->utilization)
		r->utilization = s->utilization;
	for (int k = 0; k < COUNT_N; k++) {
		r->total[k] += s->total[k];
		r->minute[k] += s->activity.minute[k];
	}
	for (int k = 0; k < QUOTA_N; k++)
		r->rejected[k] += s->rejected_total[k];
	add_latency(r, &s->activity);
	r->by_status[s->info.status] += !sums || !s->is_shared;
	r->by_health[s->health] += !sums || !s->is_shared;
	r->n_tenants++;
	r->n_near += s->utilization >= NEAR_QUOTA;
}

static struct row *next_row(struct rows *rs)
{
	size_t cap = rs->cap ? rs->cap * 2 : FIRST_CAP;
	struct row *p;

	if (rs->n == rs->max)
		return &rs->other;
	if (rs->n == rs->cap) {
		p = mem_resize(rs->row, cap, sizeof(*p));
		if (!p) {
			rs->failed = true;
			return &rs->other;
		}
		rs->row = p;
		rs->cap = cap;
	}
	memset(&rs->row[rs->n], 0, sizeof(*rs->row));
	return &rs->row[rs->n++];
}

static void take_tenant(void *ctx, const struct survey *s)
{
	struct rows *rs = ctx;
	struct row *r = next_row(rs);

	if (r != &rs->other)
		memcpy(r->name, s->info.name, sizeof(r->name));
	add_survey(r, s, r == &rs->other);
	add_survey(&rs->all, s, true);
}

/* ---- families ---- */

static void family(struct buf *b, const char *name, const char *type, const char *help)
{
	buf_addf(b, "# HELP " P "%s %s\n# TYPE " P "%s %s\n", name, help, name, type);
}

/* The rows that have series: i from 0; NULL: the end. */
static const struct row *row_at(const struct rows *rs, size_t i)
{
	if (i < rs->n)
		return &rs->row[i];
	return i == rs->n && rs->other.n_tenants > 0 ? &rs->other : NULL;
}

/* A family of one number a row, at an offset in it. */
struct simple {
	const char *name;
	const char *type;
	const char *help;
	size_t at;
};

#define AT(member) offsetof(struct row, member)

static const struct simple simples[] = {
	{ "tenant_vectors", "gauge", "Live vectors of the tenant.", AT(f.vectors) },
	{ "tenant_deleted_vectors", "gauge", "Versions of vectors that still take room.",
	  AT(f.deleted) },
	{ "tenant_stored_bytes", "gauge", "Bytes that count for max_bytes.", AT(f.bytes) },
	{ "tenant_collections", "gauge", "Collections beside the default one.", AT(f.collections) },
	{ "tenant_resident_bytes", "gauge", "Bytes of memory; 0: the store is closed.",
	  AT(resident_bytes) },
	{ "tenant_mapped_bytes", "gauge", "Bytes of files that are mapped; 0: the store is closed.",
	  AT(mapped_bytes) },
	{ "tenant_index_backlog", "gauge", "Rows that searches scan until the graph has them.",
	  AT(backlog) },
	{ "tenant_last_access_timestamp_seconds", "gauge", "Last access; 0: not since the mount.",
	  AT(last_access_s) },
	{ "tenant_verified_timestamp_seconds", "gauge",
	  "Last verification; 0: not since the mount.", AT(checked_s) },
	{ "tenant_queries_total", "counter", "Queries answered since the tenant was made.",
	  AT(total[COUNT_QUERIES]) },
	{ "tenant_inserts_total", "counter", "Vectors accepted since the tenant was made.",
	  AT(total[COUNT_INSERTS]) },
	{ "tenant_deletes_total", "counter", "Vectors removed since the tenant was made.",
	  AT(total[COUNT_DELETES]) },
	{ "tenant_errors_total", "counter", "Operations that failed since the tenant was made.",
	  AT(total[COUNT_ERRORS]) },
};
#define N_SIMPLES (sizeof(simples) / sizeof(simples[0]))

static const char *row_name(const struct row *r)
{
	return r->name[0] ? r->name : OTHER;
}

static uint64_t number_at(const struct row *r, size_t at)
{
	uint64_t v;

	memcpy(&v, (const char *)r + at, sizeof(v));
	return v;
}

static void add_simple(struct buf *b, const struct rows *rs, const struct simple *s)
{
	const struct row *r;

	family(b, s->name, s->type, s->help);
	for (size_t i = 0; (r = row_at(rs, i)); i++)
		buf_addf(b, P "%s{tenant=\"%s\"} %" PRIu64 "\n", s->name, row_name(r),
		         number_at(r, s->at));
}

/* Of the mount: the same of all tenants, without a label. */
static void add_simple_sum(struct buf *b, const struct rows *rs, const struct simple *s)
{
	const char *name = s->name + strlen("tenant_");

	family(b, name, s->type, "Of all tenants; see the tenants' own.");
	buf_addf(b, P "%s %" PRIu64 "\n", name, number_at(&rs->all, s->at));
}

static void add_utilization(struct buf *b, const struct rows *rs)
{
	const struct row *r;

	family(b, "tenant_quota_utilization", "gauge",
	       "Of the fullest of the tenant's limits; 1 is full.");
	for (size_t i = 0; (r = row_at(rs, i)); i++)
		buf_addf(b, P "tenant_quota_utilization{tenant=\"%s\"} %.6g\n", row_name(r),
		         r->utilization);
}

static void add_qps(struct buf *b, const struct rows *rs, double seconds)
{
	const struct row *r;

	family(b, "tenant_queries_per_second", "gauge", "Over the last minute.");
	for (size_t i = 0; (r = row_at(rs, i)); i++)
		buf_addf(b, P "tenant_queries_per_second{tenant=\"%s\"} %.6g\n", row_name(r),
		         (double)r->minute[COUNT_QUERIES] / seconds);
}

static void add_rejected(struct buf *b, const struct rows *rs)
{
	const struct row *r;

	family(b, "tenant_rejected_total", "counter",
	       "Refusals by a limit since the tenant was made.");
	for (size_t i = 0; (r = row_at(rs, i)); i++)
		for (int k = 0; k < QUOTA_N; k++)
			buf_addf(b,
			         P "tenant_rejected_total{tenant=\"%s\",limit=\"%s\"} %" PRIu64
			           "\n",
			         row_name(r), quota_key_name((enum quota_key)k), r->rejected[k]);
}

/* labels: `tenant="…",`, or nothing */
static void add_histogram(struct buf *b, const char *name, const char *labels, const struct row *r)
{
	for (unsigned i = 0; i < N_LE; i++)
		buf_addf(b, P "%s_bucket{%sle=\"%.9g\"} %" PRIu64 "\n", name, labels,
		         (double)(1024ull << (LE_FIRST + LE_STEP * i)) / 1e9, r->le[i]);
	buf_addf(b, P "%s_bucket{%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, r->n_timed);
}

static void add_times(struct buf *b, const struct rows *rs)
{
	static const char name[] = "tenant_query_duration_seconds";
	const struct row *r;
	char labels[LIMIT_NAME + 16];

	family(b, name, "histogram", "Time of a query inside the daemon, since the mount.");
	for (size_t i = 0; (r = row_at(rs, i)); i++) {
		snprintf(labels, sizeof(labels), "tenant=\"%s\",", row_name(r));
		add_histogram(b, name, labels, r);
		labels[strlen(labels) - 1] = '\0';
		buf_addf(b, P "%s_sum{%s} %.9g\n" P "%s_count{%s} %" PRIu64 "\n", name, labels,
		         (double)r->timed_ns / 1e9, name, labels, r->n_timed);
	}
}

static void add_states(struct buf *b, const struct rows *rs)
{
	const struct row *r;

	family(b, "tenant_status", "gauge", "1 for the status that the tenant has.");
	for (size_t i = 0; (r = row_at(rs, i)); i++)
		for (int k = 0; k < TENANT_N_STATUS; k++)
			buf_addf(b, P "tenant_status{tenant=\"%s\",status=\"%s\"} %" PRIu64 "\n",
			         row_name(r), tenant_status_name((enum tenant_status)k),
			         r->by_status[k]);
	family(b, "tenant_integrity", "gauge",
	       "1 for what the worst of the tenant's last verifications found.");
	for (size_t i = 0; (r = row_at(rs, i)); i++)
		for (int k = 0; k < N_HEALTH; k++)
			buf_addf(b, P "tenant_integrity{tenant=\"%s\",state=\"%s\"} %" PRIu64 "\n",
			         row_name(r), health_names[k], r->by_health[k]);
}

/* ---- the mount ---- */

static void add_number(struct buf *b, const char *name, const char *help, uint64_t v)
{
	family(b, name, "gauge", help);
	buf_addf(b, P "%s %" PRIu64 "\n", name, v);
}

static void add_mount(struct buf *b, const struct tenants *ts, const struct rows *rs)
{
	const struct row *all = &rs->all;
	static const char times[] = "query_duration_seconds";

	family(b, "tenants", "gauge", "Tenants by status.");
	for (int k = 0; k < TENANT_N_STATUS; k++)
		buf_addf(b, P "tenants{status=\"%s\"} %" PRIu64 "\n",
		         tenant_status_name((enum tenant_status)k), all->by_status[k]);
	family(b, "tenants_by_integrity", "gauge", "Tenants by the state of their integrity.");
	for (int k = 0; k < N_HEALTH; k++)
		buf_addf(b, P "tenants_by_integrity{state=\"%s\"} %" PRIu64 "\n", health_names[k],
		         all->by_health[k]);
	add_number(b, "tenants_near_quota", "Tenants at 0.9 of a limit or above.", all->n_near);
	add_number(b, "tenants_without_series", "Tenants that are summed up as " OTHER ".",
	           rs->other.n_tenants);
	for (size_t i = 0; i < N_SIMPLES; i++)
		if (!strstr(simples[i].name, "timestamp"))
			add_simple_sum(b, rs, &simples[i]);
	family(b, "rejected_total", "counter", "Refusals by a limit, of all tenants.");
	for (int k = 0; k < QUOTA_N; k++)
		buf_addf(b, P "rejected_total{limit=\"%s\"} %" PRIu64 "\n",
		         quota_key_name((enum quota_key)k), all->rejected[k]);
	family(b, times, "histogram", "Time of a query inside the daemon, since the mount.");
	add_histogram(b, times, "", all);
	buf_addf(b, P "%s_sum %.9g\n" P "%s_count %" PRIu64 "\n", times,
	         (double)all->timed_ns / 1e9, times, all->n_timed);
	add_number(b, "uptime_seconds", "Since the mount.",
	           (clock_mono_ns() - ts->started_ns) / 1000000000u);
}

/* No families without samples. */
static void add_tenants(struct buf *b, const struct rows *rs, double seconds)
{
	for (size_t i = 0; i < N_SIMPLES; i++)
		add_simple(b, rs, &simples[i]);
	add_utilization(b, rs);
	add_qps(b, rs, seconds);
	add_rejected(b, rs);
	add_times(b, rs);
	add_states(b, rs);
}

int tenants_metrics_render(struct tenants *ts, struct buf *ret, struct err *e)
{
	struct rows MEM_AUTO *rs = mem_zalloc(1, sizeof(*rs));
	int rc;

	if (!rs)
		return err_nomem(e);
	rs->max = (size_t)setting_get(ts, SETTING_METRICS_TENANTS);
	rc = tenants_survey(ts, take_tenant, rs);
	add_mount(ret, ts, rs);
	if (row_at(rs, 0))
		add_tenants(ret, rs, window_seconds(ts->started_ns));
	mem_free(rs->row);
	return rc < 0 || rs->failed || buf_failed(ret) ? err_nomem(e) : 0;
}
