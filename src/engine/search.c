/*
 * search.c: one query: the index for what is linked, an exact scan for what waits, IDs from memory.
 *
 * What is returned is what was stored: floats are read through a mapping, and a page of it may be
 * damaged on the disk, so the few rows of an answer are compared with their checksums. One that held
 * a moment ago is not compared again, one that did a minute ago is: its page may have been dropped
 * and read once more. When a page turns out to be unreadable (base/mapped.h), all are compared again;
 * when it is one of the graph's, the rows are scanned instead.
 *
 * Under the collection's lock for reading the hits are found and their IDs copied; what was
 * asked to be included is fetched from the store after it. Nothing is allocated for a plain
 * query: scratch memory comes from a pool that grows to the number of queries at once.
 *
 * Lock order: lock, mu. The store is called with neither.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc.h"
#include "base/mapped.h"
#include "base/mem.h"
#include "engine/engine_impl.h"

#define AHEAD    64
#define MORE_MAX 1000 /* hits looked at for others that are damaged */

struct found {
	uint64_t num;
	size_t id_at; /* in scratch.ids */
	size_t id_len;
	float distance;
};

/* ---- scratch ---- */

struct scratch *engine_scratch_get(struct engine *en)
{
	struct scratch *s;

	mutex_lock(&en->lock);
	s = en->scratch;
	if (s)
		en->scratch = s->next;
	mutex_unlock(&en->lock);
	return s ? s : mem_zalloc(1, sizeof(*s));
}

void engine_scratch_put(struct engine *en, struct scratch *s)
{
	mutex_lock(&en->lock);
	s->next = en->scratch;
	en->scratch = s;
	mutex_unlock(&en->lock);
}

void engine_scratch_free_all(struct engine *en)
{
	struct scratch *s;

	while ((s = en->scratch)) {
		en->scratch = s->next;
		mem_free(s->hits);
		mem_free(s->more);
		mem_free(s->found);
		mem_free(s->slots);
		buf_release(&s->ids);
		mem_free(s);
	}
}

static int engine_scratch_reserve(struct scratch *s, size_t k)
{
	if (k <= s->cap)
		return 0;
	mem_free(s->hits);
	mem_free(s->more);
	mem_free(s->found);
	s->hits = mem_alloc(k, sizeof(*s->hits));
	s->more = mem_alloc(k, sizeof(*s->more));
	s->found = mem_alloc(k, sizeof(*s->found));
	s->cap = s->hits && s->more && s->found ? k : 0;
	return s->cap ? 0 : -ENOMEM;
}

/* ---- damage ---- */

#define CHECK_NS 60000000000ull

/* Another one each minute, and when a page came to be unreadable. 0: one does just now. */
static uint16_t check_time(void)
{
	uint64_t epoch = mapped_epoch();

	return epoch ? (uint16_t)(1 + (clock_coarse_ns() / CHECK_NS + epoch) % UINT16_MAX) : 0;
}

/* Whether its floats are those that were stored. now: check_time, after they were used. */
static bool row_holds(const struct collection *c, uint32_t slot, uint16_t now)
	REQUIRES_SHARED(c->lock)
{
	struct slot_info *si = &c->info[slot];

	if (now && atomic_load_explicit(&si->checked, memory_order_relaxed) == now)
		return true;
	if (crc32c(0, rows_at(&c->rows, slot), c->rows.dim * sizeof(float)) != si->vcrc)
		return false;
	atomic_store_explicit(&si->checked, now, memory_order_relaxed);
	return true;
}

/* Returns how many of the n hits are left. */
static size_t drop_damaged(const struct collection *c, size_t n, struct scratch *s)
	REQUIRES_SHARED(c->lock)
{
	uint16_t now = check_time();
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (row_holds(c, s->hits[i].slot, now))
			s->hits[kept++] = s->hits[i];
	return kept;
}

/* ---- what is asked ---- */

static int probe_like(const struct collection *c, const struct query *q, struct probe *p,
                      struct err *e) REQUIRES_SHARED(c->lock)
{
	struct collection *mc = (struct collection *)(uintptr_t)c;
	uint32_t entry, slot = ROW_NONE;

	mutex_lock(&mc->mu);
	if (idtable_find(&c->ids, q->like, q->like_len, &entry))
		slot = idtable_at(&c->ids, entry)->slot;
	mutex_unlock(&mc->mu);
	if (slot == ROW_NONE)
		return err_set(e, -ENOENT, "like=%.*s: no such vector", (int)q->like_len, q->like);
	if (!row_holds(c, slot, check_time()))
		return err_set(e, -EIO, "like=%.*s: the vector is damaged", (int)q->like_len,
		               q->like);
	probe_init(p, &c->rows, rows_at(&c->rows, slot));
	return 0;
}

static int probe_make(const struct collection *c, const struct query *q, struct probe *p,
                      struct err *e) REQUIRES_SHARED(c->lock)
{
	float inv_norm;
	int rc;

	if (q->has_metric && q->metric != c->rows.metric)
		return err_set(e, -EINVAL, "metric=%s, the collection's is %s",
		               metric_name(q->metric), metric_name(c->rows.metric));
	if (q->like)
		return probe_like(c, q, p, e);
	if (!q->v || q->dim == 0)
		return err_set(e, -EINVAL, "a query without numbers");
	if (c->rows.dim && q->dim != c->rows.dim)
		return err_set(e, -EINVAL, "expected %zu numbers, got %zu", c->rows.dim, q->dim);
	rc = vector_check(q->v, q->dim, c->rows.metric, &inv_norm, e);
	*p = (struct probe){ q->v, c->rows.metric == METRIC_COSINE ? inv_norm : 1 };
	return rc;
}

/* ---- finding ---- */

static int compare_slots(const void *a, const void *b)
{
	uint32_t x = ((const struct hit *)a)->slot, y = ((const struct hit *)b)->slot;

	return (x > y) - (x < y);
}

static int compare_hits(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (x->slot > y->slot) - (x->slot < y->slot);
}

/*
 * Takes out of the n hits those that are among m others. Keys of one slot may differ in the
 * last bit, so slots decide.
 */
static size_t drop_doubles(struct hit *hits, size_t n, struct hit *others, size_t m)
{
	size_t kept = 0;

	qsort(others, m, sizeof(*others), compare_slots);
	for (size_t i = 0; i < n; i++)
		if (!bsearch(&hits[i], others, m, sizeof(*others), compare_slots))
			hits[kept++] = hits[i];
	qsort(others, m, sizeof(*others), compare_hits);
	return kept;
}

/* n of hits and m of more, both sorted. Returns how many are left in hits. */
static size_t merge(struct scratch *s, size_t n, size_t m, size_t k)
{
	size_t i = n, j = m, at, total;

	/* the k best of both, from the back, into hits */
	while (i + j > k) {
		if (j == 0 || (i > 0 && compare_hits(&s->hits[i - 1], &s->more[j - 1]) > 0))
			i--;
		else
			j--;
	}
	total = i + j;
	for (at = total; j > 0;) {
		if (i > 0 && compare_hits(&s->hits[i - 1], &s->more[j - 1]) > 0)
			s->hits[--at] = s->hits[--i];
		else
			s->hits[--at] = s->more[--j];
	}
	return total;
}

static long find_graph(struct collection *c, const struct probe *p, size_t k, size_t ef,
                       struct scratch *s) REQUIRES_SHARED(c->lock)
{
	long waiting = backlog_snapshot(c, s);
	size_t m = 0;
	int n;

	if (waiting < 0)
		return waiting;
	s->plan.graph = true;
	s->plan.scanned = (uint64_t)waiting;
	n = hnsw_search(c->graph, p, k, ef, NULL, NULL, s->hits);
	if (n < 0 || waiting == 0)
		return n;
	m = flat_search_list(&c->rows, p, s->slots, (size_t)waiting, k, s->more, 0);
	m = drop_doubles(s->more, m, s->hits, (size_t)n);
	return (long)merge(s, (size_t)n, m, k);
}

struct want {
	size_t k;
	size_t ef;
	bool exact;
};

static long find(struct collection *c, const struct probe *p, struct want w, struct scratch *s)
	REQUIRES_SHARED(c->lock)
{
	long n;

	if (w.k == 0)
		return 0;
	if (engine_scratch_reserve(s, w.k) < 0)
		return -ENOMEM;
	if (c->graph && !w.exact && !hnsw_lost(c->graph)) {
		n = find_graph(c, p, w.k, w.ef, s);
		/* Fewer than there are: the graph did not reach them among dead ones, or at all. */
		if (n < 0 || ((size_t)n == w.k && !hnsw_lost(c->graph)))
			return n;
	}
	s->plan.scanned += s->plan.rows;
	return (long)flat_search(&c->rows, p, w.k, s->hits);
}

/* As find, and with more of them in the place of those that are damaged. */
static long find_whole(struct collection *c, const struct probe *p, struct want w, uint32_t live,
                       struct scratch *s, bool *ret_damaged) REQUIRES_SHARED(c->lock)
{
	size_t k = w.k, kept;
	long n;

	for (;;) {
		n = find(c, p, w, s);
		if (n <= 0)
			return n;
		kept = drop_damaged(c, (size_t)n, s);
		if (kept == (size_t)n)
			return (long)(kept < k ? kept : k);
		*ret_damaged = true;
		if (kept >= k || (size_t)n < w.k || w.k == live)
			return (long)(kept < k ? kept : k);
		w.k = w.k + ((size_t)n - kept) < live ? w.k + ((size_t)n - kept) : live;
		if (w.ef < w.k)
			w.ef = w.k;
	}
}

/*
 * A hit's ID is three loads away, each a miss of the cache that needs the one before: those of the
 * first AHEAD hits are fetched side by side.
 */
static void fetch_ids(struct collection *c, size_t n, const struct scratch *s)
	REQUIRES_SHARED(c->lock)
{
	n = n < AHEAD ? n : AHEAD;
	for (size_t i = 0; i < n; i++)
		__builtin_prefetch(&c->info[s->hits[i].slot]);
	for (size_t i = 0; i < n; i++)
		__builtin_prefetch(idtable_at(&c->ids, c->info[s->hits[i].slot].entry));
	for (size_t i = 0; i < n; i++)
		__builtin_prefetch(idtable_at(&c->ids, c->info[s->hits[i].slot].entry)->id);
}

/* IDs may move or go when the lock is released. */
static int take_ids(struct collection *c, size_t n, struct scratch *s) REQUIRES_SHARED(c->lock)
{
	buf_clear(&s->ids);
	fetch_ids(c, n, s);
	for (size_t i = 0; i < n; i++) {
		uint32_t slot = s->hits[i].slot;
		const struct id_entry *en = idtable_at(&c->ids, c->info[slot].entry);

		s->found[i] = (struct found){
			.num = en->num,
			.id_at = s->ids.len,
			.id_len = en->len,
			.distance = rows_distance(&c->rows, s->hits[i].key),
		};
		buf_add(&s->ids, en->id, en->len);
	}
	return buf_failed(&s->ids) ? -ENOMEM : 0;
}

static uint32_t live_count(struct collection *c)
{
	uint32_t n;

	mutex_lock(&c->mu);
	n = c->live;
	mutex_unlock(&c->mu);
	return n;
}

/* more: hits beyond the k that are wanted, in case some of these cannot be given. */
static long search_locked(struct collection *c, const struct query *q, size_t more,
                          struct scratch *s, bool *ret_damaged, struct err *e)
	REQUIRES_SHARED(c->lock)
{
	struct want w = { .exact = q->exact };
	uint64_t epoch = mapped_epoch();
	struct probe p;
	uint32_t live;
	long n;
	int rc = c->removed ? err_gone(e) : probe_make(c, q, &p, e);

	if (rc < 0)
		return rc;
	live = live_count(c);
	w.k = q->k ? q->k : c->config.k;
	w.ef = q->ef ? q->ef : c->config.ef_search;
	if (w.k > live)
		w.k = live;
	if (w.ef < w.k)
		w.ef = w.k;
	s->plan = (struct answer_plan){
		.k = (uint32_t)w.k, .ef = (uint32_t)w.ef, .rows = live, .dim = c->rows.dim
	};
	w.k = more < live - w.k ? w.k + more : live;
	if (w.ef < w.k)
		w.ef = w.k;
	n = find_whole(c, &p, w, live, s, ret_damaged);
	if (n >= 0 && q->like && (!epoch || mapped_epoch() != epoch))
		rc = probe_make(c, q, &p, e); /* whether that row still holds */
	if (rc < 0)
		return rc;
	if (n > 0)
		rc = take_ids(c, (size_t)n, s);
	return n < 0 || rc < 0 ? err_nomem(e) : n;
}

/* ---- answering ---- */

static int answer_with(struct collection *c, const struct found *f, struct answer_hit *h,
                       struct answer *a, struct buf *bytes, struct err *e)
{
	struct store_row row;
	size_t dim;
	int rc;

	rwlock_read(&c->lock);
	dim = c->rows.dim;
	rwlock_read_unlock(&c->lock);
	buf_clear(bytes);
	rc = store_get(c->engine->store, c->cid, (uint32_t)dim, f->num, &row, bytes, e);
	if (rc == -ENOENT)
		return 0; /* removed since it was found */
	if (rc < 0)
		return rc;
	h->metadata = row.metadata;
	h->metadata_len = row.metadata_len;
	h->text = row.text;
	h->text_len = row.text_len;
	h->v = row.v;
	h->dim = dim;
	answer_hit(a, h);
	return 0;
}

/* The best k of n hits that can be given. *ret_bad: how many could not, being damaged. */
static int answer(struct collection *c, const struct query *q, const struct scratch *s, size_t n,
                  struct answer *a, size_t *ret_bad, struct err *e)
{
	BUF_AUTO struct buf bytes = BUF_INIT;
	size_t given = 0;
	int rc = 0;

	*ret_bad = 0;
	answer_begin(a, q);
	for (size_t i = 0; i < n && given < s->plan.k && rc == 0; i++) {
		struct answer_hit h = {
			.id = s->ids.data + s->found[i].id_at,
			.id_len = s->found[i].id_len,
			.distance = s->found[i].distance,
		};

		if (q->include)
			rc = answer_with(c, &s->found[i], &h, a, &bytes, e);
		else
			answer_hit(a, &h);
		given += rc == 0;
		if (rc == -EIO) {
			++*ret_bad;
			rc = 0;
		}
	}
	answer_end(a);
	if (rc == 0 && buf_failed(a->out))
		rc = err_nomem(e);
	if (rc == 0 && *ret_bad && !given)
		return -EIO; /* not an answer without anything: the disk may have failed */
	return rc;
}

static long look(struct collection *c, const struct query *q, size_t more, struct scratch *s,
                 bool *ret_damaged, struct err *e)
{
	bool lost;
	long n;

	rwlock_read(&c->lock);
	n = search_locked(c, q, more, s, ret_damaged, e);
	lost = c->graph && hnsw_lost(c->graph);
	rwlock_read_unlock(&c->lock);
	if (lost)
		background_maintain(c);
	return n;
}

static void take_back(struct answer *a, const struct answer *before, size_t len)
{
	*a = *before;
	if (a->out->data)
		a->out->data[len] = '\0';
	a->out->len = len;
}

/*
 * What is to be included is read when the hits are known, and may turn out to be damaged: then the
 * next nearest are looked for. Hits that went to a sink cannot be taken back.
 */
static int search_and_answer(struct collection *c, const struct query *q, struct scratch *s,
                             struct answer *a, bool *ret_damaged, struct err *e)
{
	const struct answer before = *a;
	size_t len = a->out->len, more = 0, bad;
	long n;
	int rc;

	for (;;) {
		n = look(c, q, more, s, ret_damaged, e);
		a->plan = s->plan;
		if (n < 0)
			return (int)n;
		rc = answer(c, q, s, (size_t)n, a, &bad, e);
		*ret_damaged = *ret_damaged || bad > 0;
		if (bad <= more || (size_t)n < s->plan.k + more || more > MORE_MAX || a->sink ||
		    (rc < 0 && rc != -EIO))
			return rc;
		more = 2 * bad;
		take_back(a, &before, len);
	}
}

int engine_search(struct engine *en, uint32_t cid, const struct query *q, struct answer *a,
                  struct err *e)
{
	struct collection *c;
	struct scratch *s;
	bool damaged = false;
	int rc = collection_enter(en, cid, &c, e);

	if (rc < 0)
		return rc;
	s = engine_scratch_get(en);
	if (!s) {
		collection_leave(c);
		return err_nomem(e);
	}
	rc = search_and_answer(c, q, s, a, &damaged, e);
	if (damaged && !atomic_exchange(&c->damage_told, true))
		engine_tell(c, ENGINE_DAMAGED);
	engine_scratch_put(en, s);
	collection_leave(c);
	return rc;
}
