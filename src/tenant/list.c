/*
 * list.c: a line a tenant with its figures, for the file all/tenants.
 *
 * Nothing is opened for it: a closed tenant's figures are those at its closing.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tenant/survey.h"

struct line {
	char name[LIMIT_NAME + 1];
	enum tenant_status status;
	enum health_state health;
	uint64_t last_access_s;
	struct figures f;
	uint64_t max_vectors, max_bytes, max_collections;
	double utilization;
	uint64_t near_s;
	uint64_t minute[COUNT_N], total[COUNT_N];
	uint64_t p99_us;
	uint64_t backlog, resident_bytes;
};

struct lines {
	struct line *at;
	size_t n, cap;
	bool failed;
};

static void fill(struct line *l, const struct survey *s)
{
	*l = (struct line){
		.status = s->info.status,
		.health = s->health,
		.last_access_s = s->activity.last_access_s,
		.f = s->f,
		.max_vectors = s->info.quota.max[QUOTA_MAX_VECTORS],
		.max_bytes = s->info.quota.max[QUOTA_MAX_BYTES],
		.max_collections = s->info.quota.max[QUOTA_MAX_COLLECTIONS],
		.utilization = s->utilization,
		.near_s = s->near_s,
		.p99_us = latency_us(s->activity.latency_minute, 0.99),
		.backlog = s->backlog,
		.resident_bytes = s->resident_bytes,
	};
	memcpy(l->name, s->info.name, sizeof(l->name));
	memcpy(l->minute, s->activity.minute, sizeof(l->minute));
	memcpy(l->total, s->total, sizeof(l->total));
}

static void add_line(void *ctx, const struct survey *s)
{
	struct lines *ls = ctx;
	struct line *more;

	if (s->is_shared || ls->failed)
		return;
	if (ls->n == ls->cap) {
		ls->cap = ls->cap ? 2 * ls->cap : 256;
		more = mem_resize(ls->at, ls->cap, sizeof(*more));
		if (!more) {
			ls->failed = true;
			return;
		}
		ls->at = more;
	}
	fill(&ls->at[ls->n++], s);
}

static int newest_first(const void *a, const void *b)
{
	const struct line *x = a, *y = b;

	if (x->last_access_s != y->last_access_s)
		return x->last_access_s > y->last_access_s ? -1 : 1;
	return strcmp(x->name, y->name);
}

static void add_limit(struct buf *b, const char *key, uint64_t max)
{
	if (max == QUOTA_UNLIMITED)
		buf_addf(b, " %s=max", key);
	else
		buf_addf(b, " %s=%" PRIu64, key, max);
}

static void render(const struct line *l, double minute_s, struct buf *ret)
{
	struct health_info health = { .state = l->health };

	buf_addf(ret, "%s last_access_s=%" PRIu64 " status=%s vectors=%" PRIu64 " bytes=%" PRIu64,
	         l->name, l->last_access_s, tenant_status_name(l->status), l->f.vectors,
	         l->f.bytes);
	buf_addf(ret, " collections=%" PRIu64, (uint64_t)l->f.collections);
	add_limit(ret, "max_vectors", l->max_vectors);
	add_limit(ret, "max_bytes", l->max_bytes);
	add_limit(ret, "max_collections", l->max_collections);
	buf_addf(ret, " quota_utilization=%.3f near_quota_s=%" PRIu64, l->utilization, l->near_s);
	for (int k = 0; k < COUNT_N; k++)
		buf_addf(ret, " %s_per_s=%.3f", count_name((enum count)k),
		         (double)l->minute[k] / minute_s);
	for (int k = 0; k < COUNT_N; k++)
		buf_addf(ret, " total_%s=%" PRIu64, count_name((enum count)k), l->total[k]);
	buf_addf(ret,
	         " query_us_p99_1m=%" PRIu64 " index_backlog=%" PRIu64 " resident_bytes=%" PRIu64
	         " integrity=%s\n",
	         l->p99_us, l->backlog, l->resident_bytes, health_state_name(&health));
}

int tenants_list(struct tenants *ts, struct buf *ret, struct err *e)
{
	double minute_s = window_seconds(ts->started_ns);
	struct lines ls = { 0 };

	if (tenants_survey(ts, add_line, &ls) < 0)
		ls.failed = true;
	if (ls.n > 0)
		qsort(ls.at, ls.n, sizeof(*ls.at), newest_first);
	for (size_t i = 0; i < ls.n; i++)
		render(&ls.at[i], minute_s, ret);
	mem_free(ls.at);
	return ls.failed || buf_failed(ret) ? err_nomem(e) : 0;
}
