/*
 * across.c: one query for every tenant: the k nearest of all.
 *
 * Tenants are asked one after the other, in the order of their numbers, each as if somebody
 * had touched it: its store opens, and closes again by least use. One that is known to be empty is
 * not opened. Distances of different metrics cannot be compared, and which metric is the common one
 * is known at the end only; so the nearest are kept for each metric by itself.
 *
 * Locks: ts->lock while the next tenant is looked for; none while one is asked.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/mem.h"
#include "query/answer.h"
#include "tenant/survey.h"
#include "vector/json.h"
#include "vector/rows.h"

#define DEFAULT_K 10u
#define N_METRICS (METRIC_IP + 1)

/* ---- the nearest so far ---- */

/* With its bytes behind it; h points there. */
struct kept_hit {
	struct answer_hit h;
	char tenant[LIMIT_NAME + 1];
	float v[];
};

struct ranking {
	struct kept_hit **best;  /* k, nearest first */
	struct kept_hit **fresh; /* k: of the tenant that is asked now */
	struct kept_hit **merged;
	size_t n, n_fresh, n_tenants;
};

struct search {
	struct tenants *ts;
	struct query q;
	struct across *seen;
	struct ranking rankings[N_METRICS];
	struct ranking *into; /* of the tenant that is asked now */
	const char *tenant;
	bool no_memory;
};

static char *put(char *to, const char **ret, const char *from, size_t n)
{
	if (!from)
		return to;
	memcpy(to, from, n);
	*ret = to;
	return to + n;
}

static struct kept_hit *keep(const struct answer_hit *h, const char *tenant)
{
	size_t floats = h->v ? h->dim * sizeof(float) : 0;
	size_t bytes = h->id_len + (h->metadata ? h->metadata_len : 0) +
	               (h->text ? h->text_len : 0);
	struct kept_hit *k = mem_alloc(1, sizeof(*k) + floats + bytes);
	char *at;

	if (!k)
		return NULL;
	k->h = *h;
	memset(k->tenant, 0, sizeof(k->tenant));
	memcpy(k->tenant, tenant, strlen(tenant));
	k->h.tenant = k->tenant;
	if (h->v) {
		memcpy(k->v, h->v, floats);
		k->h.v = k->v;
	}
	at = put((char *)k->v + floats, &k->h.id, h->id, h->id_len);
	at = put(at, &k->h.metadata, h->metadata, h->metadata_len);
	put(at, &k->h.text, h->text, h->text_len);
	return k;
}

/* answer_sink: of one tenant, nearest first. */
static void take_hit(void *ctx, const struct answer_hit *h)
{
	struct search *s = ctx;
	struct ranking *r = s->into;

	if (r->n_fresh == s->q.k ||
	    (r->n == s->q.k && h->distance >= r->best[r->n - 1]->h.distance))
		return;
	r->fresh[r->n_fresh] = keep(h, s->tenant);
	if (r->fresh[r->n_fresh])
		r->n_fresh++;
	else
		s->no_memory = true;
}

/* Of equals those that came first stay first. */
static void merge(struct ranking *r, size_t k)
{
	struct kept_hit **swap = r->best;
	size_t i = 0, j = 0, n = 0;

	while (n < k && (i < r->n || j < r->n_fresh)) {
		bool old = j == r->n_fresh ||
		           (i < r->n && r->best[i]->h.distance <= r->fresh[j]->h.distance);

		r->merged[n++] = old ? r->best[i++] : r->fresh[j++];
	}
	while (i < r->n)
		mem_free(r->best[i++]);
	while (j < r->n_fresh)
		mem_free(r->fresh[j++]);
	r->best = r->merged;
	r->merged = swap;
	r->n = n;
	r->n_fresh = 0;
}

static void drop_fresh(struct ranking *r)
{
	while (r->n_fresh > 0)
		mem_free(r->fresh[--r->n_fresh]);
}

static int ranking_ready(struct ranking *r, size_t k)
{
	if (r->best)
		return 0;
	r->best = mem_alloc(k, sizeof(*r->best));
	r->fresh = mem_alloc(k, sizeof(*r->fresh));
	r->merged = mem_alloc(k, sizeof(*r->merged));
	return r->best && r->fresh && r->merged ? 0 : -ENOMEM;
}

static void ranking_release(struct ranking *r)
{
	drop_fresh(r);
	while (r->n > 0)
		mem_free(r->best[--r->n]);
	mem_free(r->best);
	mem_free(r->fresh);
	mem_free(r->merged);
}

/* ---- one tenant ---- */

struct candidate {
	uint32_t number;
	char name[LIMIT_NAME + 1];
};

static bool is_candidate(const struct tenant *t)
{
	if (tenant_is_shared(t))
		return false;
	if (t->status != TENANT_ACTIVE && t->status != TENANT_READONLY)
		return false;
	return t->engine || !t->figures_known || t->figures.vectors > 0;
}

/* The first one behind ret->number that may have something. */
static bool next_candidate(struct tenants *ts, struct candidate *ret)
{
	struct tenant *t;

	mutex_lock(&ts->lock);
	while ((t = tenant_after_locked(ts, ret->number))) {
		ret->number = t->number;
		if (!is_candidate(t))
			continue;
		memcpy(ret->name, t->name, sizeof(ret->name));
		break;
	}
	mutex_unlock(&ts->lock);
	return t != NULL;
}

/* Whether it has vectors, and such as can be compared; if not, counts it. */
static bool fits(struct search *s, const struct collection_info *info)
{
	enum metric m = info->config.metric;

	if (info->vectors == 0)
		return false;
	if (info->config.dimension != s->q.dim) {
		s->seen->other_dimension++;
		return false;
	}
	if ((s->q.has_metric && s->q.metric != m) ||
	    (m == METRIC_COSINE && vector_inv_norm(s->q.v, s->q.dim) == 0)) {
		s->seen->other_metric++;
		return false;
	}
	return true;
}

static int search_one(struct search *s, struct inside *in, enum metric m, struct err *e)
{
	BUF_AUTO struct buf nothing = BUF_INIT;
	struct answer_sink sink = { take_hit, s };
	struct answer a;
	struct turn turn;
	int rc;

	s->into = &s->rankings[m];
	if (ranking_ready(s->into, s->q.k) < 0)
		return err_nomem(e);
	answer_init(&a, &nothing);
	a.sink = &sink;
	turn_take(&s->ts->across, &turn);
	rc = engine_search(in->engine, in->cid, &s->q, &a, e);
	turn_give(&s->ts->across, &turn);
	if (s->no_memory || rc == -ENOMEM)
		return err_nomem(e);
	if (rc < 0)
		drop_fresh(s->into);
	else
		s->into->n_tenants++;
	merge(s->into, s->q.k);
	return rc;
}

/* Below 0: the whole search ends. */
static int ask(struct search *s, const struct candidate *c, struct err *e)
{
	struct collection_info info;
	struct err own = { 0 };
	struct inside in;
	int rc = tenant_enter(s->ts, c->number, TENANT_LOOK, &in, &own);

	if (rc < 0) {
		s->seen->unreadable += rc != -ENODEV;
		return rc == -ENOMEM ? err_nomem(e) : 0;
	}
	s->tenant = c->name;
	if (tenant_check(&in, TENANT_READ, NULL) == 0 &&
	    engine_collection_info(in.engine, in.cid, &info) == 0 && fits(s, &info)) {
		rc = search_one(s, &in, info.config.metric, &own);
		s->seen->unreadable += rc < 0;
	}
	tenant_leave(&in);
	return rc == -ENOMEM ? err_nomem(e) : 0;
}

/* ---- what is asked ---- */

static int like_vector(struct inside *in, const char *id, size_t len, struct buf *text,
                       struct err *e)
{
	uint64_t num;
	int rc = engine_lookup(in->engine, in->cid, id, len, &num);

	if (rc == 0)
		rc = engine_get_json(in->engine, in->cid, num, text, e);
	return rc == -ENOENT ? err_set(e, rc, "like: no such vector") : rc;
}

static int parse_vector(const struct buf *text, struct query *q, float **ret, struct err *e)
{
	const struct json *v;
	struct json *j;
	long n;
	int rc = json_parse(text->data, text->len, &j, e);

	if (rc < 0)
		return rc;
	v = json_member(j, "vector");
	n = v && json_is_array(v) ? (long)json_array_size(v) : 0;
	if (n == 0) {
		json_free(j);
		return err_set(e, -EIO, "like: the stored vector cannot be read");
	}
	*ret = mem_alloc((size_t)n, sizeof(float));
	n = *ret ? json_floats(v, *ret, (size_t)n, e) : err_nomem(e);
	json_free(j);
	q->v = *ret;
	q->dim = n > 0 ? (size_t)n : 0;
	return n < 0 ? (int)n : 0;
}

/* like=TENANT/ID becomes that vector, and its tenant's metric. *ret: freed by the caller. */
static int resolve_like(struct tenants *ts, struct query *q, float **ret, struct err *e)
{
	BUF_AUTO struct buf text = BUF_INIT;
	const char *slash = memchr(q->like, '/', q->like_len);
	struct collection_info info = { 0 };
	char name[LIMIT_NAME + 1] = "";
	struct inside in;
	uint32_t number;
	size_t n = slash ? (size_t)(slash - q->like) : 0;
	int rc;

	if (n == 0 || n > LIMIT_NAME)
		return err_set(e, -EINVAL, "like is not TENANT/ID");
	memcpy(name, q->like, n);
	if (tenants_find(ts, name, &number) < 0)
		return err_set(e, -ENOENT, "like: no such tenant");
	rc = tenant_enter(ts, number, TENANT_LOOK, &in, e);
	if (rc < 0)
		return rc;
	rc = tenant_check(&in, TENANT_READ, e);
	if (rc == 0)
		rc = like_vector(&in, slash + 1, q->like_len - n - 1, &text, e);
	if (rc == 0)
		rc = engine_collection_info(in.engine, in.cid, &info);
	tenant_leave(&in);
	if (rc < 0)
		return rc;
	q->like = NULL;
	if (!q->has_metric)
		q->metric = info.config.metric;
	q->has_metric = true;
	return parse_vector(&text, q, ret, e);
}

/* ---- the answer ---- */

static enum metric most_common(const struct search *s)
{
	enum metric best = METRIC_COSINE;

	if (s->q.has_metric)
		return s->q.metric;
	for (int m = 0; m < N_METRICS; m++)
		if (s->rankings[m].n_tenants > s->rankings[best].n_tenants)
			best = (enum metric)m;
	return best;
}

static void settle(struct search *s)
{
	struct across *x = s->seen;

	x->dimension = s->q.dim;
	x->metric = most_common(s);
	for (int m = 0; m < N_METRICS; m++)
		if (m == (int)x->metric)
			x->searched = s->rankings[m].n_tenants;
		else
			x->other_metric += s->rankings[m].n_tenants;
}

static size_t skipped(const struct across *x)
{
	return x->other_dimension + x->other_metric + x->unreadable;
}

static int answer(struct search *s, struct answer *a, struct err *e)
{
	const struct across *x = s->seen;
	const struct ranking *r = &s->rankings[x->metric];
	BUF_AUTO struct buf members = BUF_INIT;

	buf_addf(&members, "\"searched\":%zu,\"skipped\":%zu", x->searched, skipped(x));
	if (buf_failed(&members))
		return err_nomem(e);
	answer_begin(a, &s->q);
	for (size_t i = 0; i < r->n; i++)
		answer_hit(a, &r->best[i]->h);
	answer_end_with(a, members.data);
	return buf_failed(a->out) ? err_nomem(e) : 0;
}

static void add_reason(struct buf *ret, size_t n, const char *what, const char *value)
{
	if (n > 0)
		buf_addf(ret, "%s %zu %s%s", ret->data[ret->len - 1] == ':' ? "" : ",", n, what,
		         value);
}

void across_note(const struct across *x, struct buf *ret)
{
	char dimension[24];

	if (skipped(x) == 0)
		return;
	snprintf(dimension, sizeof(dimension), "%zu", x->dimension);
	buf_addf(ret, "%zu of %zu tenants with vectors searched, skipped:", x->searched,
	         x->searched + skipped(x));
	add_reason(ret, x->other_dimension, "of another dimension than ", dimension);
	add_reason(ret, x->other_metric, "of another metric than ", metric_name(x->metric));
	add_reason(ret, x->unreadable, "that could not be read", "");
}

static int refuse_all(const struct across *x, struct err *e)
{
	BUF_AUTO struct buf note = BUF_INIT;
	int code = x->unreadable == skipped(x) ? -EIO : -EINVAL;

	across_note(x, &note);
	return buf_failed(&note) ? err_nomem(e) : err_set(e, code, "%s", note.data);
}

static int ask_all(struct search *s, struct err *e)
{
	struct candidate c = { 0 };
	int rc = 0;

	while (rc == 0 && next_candidate(s->ts, &c)) {
		if (interrupt_happened())
			return err_set(e, -EINTR, "interrupted after %zu tenants",
			               s->rankings[0].n_tenants + s->rankings[1].n_tenants +
			                       s->rankings[2].n_tenants);
		rc = ask(s, &c, e);
	}
	return rc;
}

int tenants_search(struct tenants *ts, const struct query *q, size_t n_before, struct answer *a,
                   struct across *ret, struct err *e)
{
	struct search s = { .ts = ts, .q = *q, .seen = ret };
	float *like = NULL;
	int rc = 0;

	*ret = (struct across){ 0 };
	if (n_before >= LIMIT_QUERY_BATCH)
		return err_set(e, -E2BIG, "more than %d queries in one exchange",
		               LIMIT_QUERY_BATCH);
	if (s.q.k == 0)
		s.q.k = DEFAULT_K;
	if (q->like)
		rc = resolve_like(ts, &s.q, &like, e);
	if (rc == 0)
		rc = ask_all(&s, e);
	if (rc == 0) {
		settle(&s);
		rc = ret->searched == 0 && skipped(ret) > 0 ? refuse_all(ret, e) : answer(&s, a, e);
	}
	for (int m = 0; m < N_METRICS; m++)
		ranking_release(&s.rankings[m]);
	mem_free(like);
	return rc;
}
