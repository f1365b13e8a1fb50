/*
 * hnsw_search.c: a query: the paper's Algorithm 5.
 *
 * In a graph with codes the walk compares estimates, and the best it found are put in order by
 * their float rows: the only ones a query reads.
 */
#include <errno.h>

#include "index/hnsw_impl.h"

#define RERANK_STEP 8    /* rows looked at between two looks at what is still worth it */
#define HOPELESS    (-1) /* a margin of a beam that wider ones will not mend */
#define WIDER       2    /* times as many candidates, when a first walk leaves doubts */
#define DOUBT       3    /* deviations of an estimate that are believed possible */

/*
 * Sorts n entries, ascending. They were sorted by estimates, so none has far to go.
 */
static void sort_entries(uint64_t *at, uint32_t n)
{
	for (uint32_t i = 1, j; i < n; i++) {
		uint64_t moving = at[i];

		for (j = i; j > 0 && at[j - 1] > moving; j--)
			at[j] = at[j - 1];
		at[j] = moving;
	}
}

/* Asks memory for what hnsw_keys will read of those entries. */
static void prefetch_entries(const struct hnsw *h, const struct hnsw_aim *q, const struct beam *b,
                             uint32_t begin, uint32_t end)
{
	struct hop_ahead ahead = hnsw_ahead(h, q);

	for (uint32_t i = begin; i < end && i < b->n; i++)
		hop_prefetch(&ahead, beam_slot(b->at[i]));
}

void hnsw_rerank(const struct hnsw *h, struct scratch *s, const struct hnsw_aim *q, uint32_t n)
{
	struct beam *b = &s->beam;
	unsigned step;

	for (uint32_t i = 0; i < n; i += step) {
		step = n - i < RERANK_STEP ? n - i : RERANK_STEP;
		prefetch_entries(h, q, b, i + step, i + 2 * step);
		for (unsigned j = 0; j < step; j++)
			s->slots[j] = beam_slot(b->at[i + j]);
		hnsw_keys(h, q, s->slots, step, s->keys);
		for (unsigned j = 0; j < step; j++)
			b->at[i + j] = beam_entry(s->keys[j], s->slots[j]);
	}
	sort_entries(b->at, n);
}

/*
 * The next candidates from *at on whose row is worth a look: an estimate that is farther than the
 * k-th nearest so far by three deviations is of none of the nearest.
 */
static unsigned take_promising(const struct hnsw *h, struct scratch *s, uint32_t *at)
{
	const float *norms = h->norms.at;
	const struct beam *b = &s->beam;
	float bound = beam_bound(&s->nearest);
	unsigned n = 0;

	for (; *at < b->n && n < RERANK_STEP; ++*at) {
		uint32_t slot = beam_slot(b->at[*at]);

		s->slots[n] = slot;
		n += !(beam_key(b->at[*at]) -
		               DOUBT * code_error(&s->code, norms ? norms[slot] : 1) >
		       bound);
	}
	return n;
}

/*
 * The k nearest of the beam by their float rows. The beam is in the order of estimates, so what is
 * found soon bounds what is looked at later.
 */
static void find_nearest(const struct hnsw_walk *w, const struct probe *p, uint32_t k)
{
	const struct hnsw_aim exact = { .p = *p, .from = ROW_NONE };
	struct scratch *s = w->s;
	uint64_t entry;
	uint32_t at = 0;
	unsigned n;

	beam_clear(&s->nearest, k);
	prefetch_entries(w->h, &exact, &s->beam, 0, 3 * RERANK_STEP);
	while ((n = take_promising(w->h, s, &at))) {
		hnsw_keys(w->h, &exact, s->slots, n, s->keys);
		for (unsigned i = 0; i < n; i++) {
			entry = beam_entry(s->keys[i], s->slots[i]);
			if (beam_wants(&s->nearest, entry))
				beam_insert(&s->nearest, w->hops, entry);
		}
	}
}

/*
 * Where vectors lie closer together than estimates are exact, as in dense clusters or far from the
 * origin, a beam fills with what was estimated too near, and what was estimated too far is lost. It
 * shows: the last of a full beam is not estimated to be farther than the k-th nearest is.
 */
float hnsw_margin(const struct hnsw *h, const struct scratch *s, uint64_t last, float bound)
{
	const struct beam *b = &s->beam;
	const float *norms = h->norms.at;

	if (b->n < b->ef || b->n >= hnsw_count(h))
		return INFINITY; /* nothing was dropped from it */
	return (beam_key(last) - bound) / code_error(&s->code, norms ? norms[beam_slot(last)] : 1);
}

/*
 * Estimates are off by a little, so some of the nearest are not among the first ef: half of k more
 * candidates bring recall at any ef to that of a float walk (docs/ARCHITECTURE.md has the figures).
 */
static size_t walk_ef(const struct hnsw *h, size_t k, size_t ef)
{
	ef = ef > k ? ef : k;
	return h->coder ? ef + (k + 1) / 2 : ef;
}

/* No more than there are nodes: a beam need not have room for what cannot come. */
static uint32_t bounded_ef(const struct hnsw *h, size_t k, size_t ef)
{
	size_t count = hnsw_count(h);

	ef = walk_ef(h, k, ef);
	ef = ef < count ? ef : count;
	return ef ? (uint32_t)ef : 1;
}

/* For a second walk. The scratch has room for it. */
static uint32_t wider_ef(const struct hnsw *h, uint32_t ef)
{
	uint32_t count = hnsw_count(h), wide = WIDER * ef;

	return count >= wide ? wide : count > ef ? count : ef;
}

/* Another walk for ef candidates, by q, from the best that there are. */
static void walk_again(struct hnsw_walk *w, const struct hnsw_aim *q, uint32_t ef)
{
	const struct beam *nearest = &w->s->nearest;
	uint32_t starts[HNSW_STARTS_MAX];
	unsigned n = 0;

	for (; n < nearest->n && n < HNSW_STARTS_MAX; n++)
		starts[n] = beam_slot(nearest->at[n]);
	w->q = q;
	hnsw_walk_level(w, starts, n, ef);
}

/* That of the k nearest, found in the beam. */
static float margin(const struct hnsw_walk *w)
{
	const struct beam *b = &w->s->beam;

	return b->n ? hnsw_margin(w->h, w->s, b->at[b->n - 1], beam_bound(&w->s->nearest))
	            : INFINITY;
}

/*
 * What a walk by codes found, by float rows; in which beam. Where ef is hardly more than k a margin is
 * small for want of candidates, not of truth, and as many again are cheap; what is in doubt with these,
 * or hopelessly, is asked of float rows.
 */
static const struct beam *sort_out(struct hnsw_walk *w, const struct probe *p, uint32_t k)
{
	const struct hnsw_aim exact = { .p = *p, .from = ROW_NONE };
	uint32_t ef = w->s->beam.ef;
	float m;

	find_nearest(w, p, k);
	m = margin(w);
	if (m < HNSW_MARGIN && m > HOPELESS) {
		walk_again(w, w->q, wider_ef(w->h, ef));
		find_nearest(w, p, k);
		m = margin(w);
	}
	if (!(m < HNSW_MARGIN))
		return &w->s->nearest;
	walk_again(w, &exact, ef);
	return &w->s->beam;
}

static size_t take_hits(const struct beam *b, size_t k, struct hit *ret)
{
	size_t n = b->n < k ? b->n : k;

	for (size_t i = 0; i < n; i++)
		ret[i] = (struct hit){ .key = beam_key(b->at[i]), .slot = beam_slot(b->at[i]) };
	return n;
}

int hnsw_search(const struct hnsw *h, const struct probe *p, size_t k, size_t ef,
                bool (*filter)(const void *ctx, uint32_t slot), const void *ctx, struct hit *ret)
{
	struct hnsw_walk w = {
		.h = h, .hops = hop_kernels_get(), .live_only = true, .filter = filter, .ctx = ctx
	};
	struct scratch_pool *pool = (struct scratch_pool *)&h->pool;
	uint32_t entry = hnsw_entry(h), starts[HNSW_STARTS_MAX];
	const struct beam *found;
	struct hnsw_aim q;
	size_t n;

	if (entry == ROW_NONE || k == 0)
		return 0;
	ef = bounded_ef(h, k, ef);
	w.s = hnsw_scratch_get(pool, h->cap, h->coder ? WIDER * (uint32_t)ef : (uint32_t)ef);
	if (!w.s)
		return -ENOMEM;
	q = hnsw_aim_for(h, w.s, p);
	w.q = &q;
	n = hnsw_approach(&w, entry, (uint32_t)ef, starts);
	hnsw_walk_level(&w, starts, (unsigned)n, (uint32_t)ef);
	found = q.code ? sort_out(&w, p, (uint32_t)(k < ef ? k : ef)) : &w.s->beam;
	n = take_hits(found, k, ret);
	hnsw_scratch_put(pool, w.s);
	return (int)n;
}
