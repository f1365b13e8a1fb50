/*
 * hnsw_search.c: walks over the graph: the paper's Algorithm 2 (one level) and Algorithm 5 (a
 * query).
 *
 * What may be returned and what leads on are two questions. A row that is dead, hidden or
 * filtered out leads on like any other, but were it to take one of the ef places, a search in a
 * collection of which half is deleted would have half its ef. So the beam holds only what may
 * be returned, it alone decides when the walk ends, and other rows that are nearer than its
 * last wait in a heap (`detour`) for their turn. When every row may be returned, that heap
 * stays empty and costs nothing. When hardly any may, the walk goes on until ef are found or
 * nothing is left, so that the last live row of a collection is still found.
 *
 * In a graph with codes the walk compares estimates, and the best it found are put in order by
 * their float rows: the only ones a query reads.
 */
#include <errno.h>

#include "index/hnsw_impl.h"

#define EF_PER_START 16 /* one of them on the level above for so many candidates */

/* Links of slot not seen yet, marked as seen, into s->slots. */
static unsigned unseen_links(const struct hnsw_walk *w, uint32_t slot)
{
	const uint32_t *row = hnsw_row(w->h, slot, w->level);
	unsigned cap = hnsw_row_cap(w->h, w->level), n = 0;
	uint32_t link;

	for (unsigned i = 0; i < cap && (link = hnsw_link(row, i)) != ROW_NONE; i++) {
		w->s->slots[n] = link;
		n += !hnsw_scratch_see(w->s, link);
	}
	for (unsigned i = 0; i < n; i++)
		hnsw_prefetch(w->h, w->q, w->s->slots[i]);
	return n;
}

static bool may_return(const struct hnsw_walk *w, uint32_t slot)
{
	enum row_state state = rows_state(w->h->rows, slot);

	if (w->live_only)
		return state == ROW_LIVE && (!w->filter || w->filter(w->ctx, slot));
	return state != ROW_DEAD;
}

static void consider(const struct hnsw_walk *w, float key, uint32_t slot)
{
	struct scratch *s = w->s;
	uint64_t entry = beam_entry(key, slot);

	if (!beam_wants(&s->beam, entry))
		return;
	if (may_return(w, slot)) {
		beam_insert(&s->beam, entry);
		return;
	}
	heap_push(&s->detour, entry);
	if (s->detour.n > s->detour_peak)
		s->detour_peak = s->detour.n;
}

static void hop(const struct hnsw_walk *w, uint32_t slot)
{
	struct scratch *s = w->s;
	unsigned n = unseen_links(w, slot);

	hnsw_keys(w->h, w->q, s->slots, n, s->keys);
	for (unsigned i = 0; i < n; i++)
		consider(w, s->keys[i], s->slots[i]);
}

/*
 * The nearest row whose links were not looked at yet; false when none is left that could
 * improve the beam.
 */
static bool next_to_expand(struct scratch *s, uint32_t *ret)
{
	uint32_t i = beam_next(&s->beam);
	bool in_beam = i < s->beam.n;
	struct heap *d = &s->detour;

	if (d->n && (in_beam ? d->at[0] < s->beam.at[i] : beam_wants(&s->beam, d->at[0]))) {
		*ret = beam_slot(heap_pop(d));
		return true;
	}
	if (!in_beam)
		return false;
	beam_mark(&s->beam, i);
	*ret = beam_slot(s->beam.at[i]);
	return true;
}

static void prefetch_next(const struct hnsw_walk *w)
{
	uint32_t i = beam_next(&w->s->beam);
	const uint32_t *row;

	if (i == w->s->beam.n)
		return;
	row = hnsw_row(w->h, beam_slot(w->s->beam.at[i]), w->level);
	__builtin_prefetch(row);
	__builtin_prefetch(row + 16);
}

void hnsw_walk_level(const struct hnsw_walk *w, const uint32_t *starts, unsigned n, uint32_t ef)
{
	struct scratch *s = w->s;
	uint32_t slot;

	hnsw_scratch_clear_seen(s);
	beam_clear(&s->beam, ef);
	s->detour.n = 0;
	hnsw_keys(w->h, w->q, starts, n, s->keys);
	for (unsigned i = 0; i < n; i++) {
		hnsw_scratch_see(s, starts[i]);
		consider(w, s->keys[i], starts[i]);
	}
	while (next_to_expand(s, &slot)) {
		prefetch_next(w);
		hop(w, slot);
	}
}

/* The nearest of slot's links on level, if it is nearer than slot (*key). */
static bool step_nearer(const struct hnsw *h, struct scratch *s, const struct hnsw_aim *q,
                        unsigned level, uint32_t *slot, float *key)
{
	unsigned n = hnsw_row_read(h, *slot, level, s->slots);
	bool moved = false;

	hnsw_keys(h, q, s->slots, n, s->keys);
	for (unsigned i = 0; i < n; i++) {
		if (s->keys[i] < *key) {
			*key = s->keys[i];
			*slot = s->slots[i];
			moved = true;
		}
	}
	return moved;
}

uint32_t hnsw_descend(const struct hnsw *h, struct scratch *s, const struct hnsw_aim *q,
                      uint32_t slot, unsigned from, unsigned to)
{
	float key;

	hnsw_keys(h, q, &slot, 1, &key);
	for (unsigned level = from; level > to; level--) {
		while (step_nearer(h, s, q, level, &slot, &key))
			;
	}
	return slot;
}

/*
 * Going down by the nearest node alone, as the paper does, can end in the wrong one of several
 * dense clusters, with all that is near in another: some queries then find nothing at all, at any
 * ef. So on the last level above, the walk keeps a few.
 */
unsigned hnsw_approach(const struct hnsw_walk *w, uint32_t entry, uint32_t ef, uint32_t *ret)
{
	struct hnsw_walk above = *w;
	unsigned top = hnsw_height_of(w->h, entry) - 1, n;
	const struct beam *b = &w->s->beam;

	ef /= EF_PER_START;
	if (ef > HNSW_STARTS_MAX)
		ef = HNSW_STARTS_MAX;
	above.level = w->level + 1;
	above.live_only = false;
	*ret = hnsw_descend(w->h, w->s, w->q, entry, top, ef > 1 ? above.level : w->level);
	if (ef <= 1 || top <= w->level)
		return 1;
	hnsw_walk_level(&above, ret, 1, ef);
	for (n = 0; n < b->n; n++)
		ret[n] = beam_slot(b->at[n]);
	return n ? n : 1;
}

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

void hnsw_rerank(const struct hnsw *h, struct scratch *s, const struct probe *p, uint32_t n)
{
	const struct hnsw_aim exact = { .p = *p };
	struct beam *b = &s->beam;
	unsigned step;

	for (uint32_t i = 0; i < n; i += step) {
		step = n - i < h->stride0 ? n - i : h->stride0;
		for (unsigned j = 0; j < step; j++)
			s->slots[j] = beam_slot(b->at[i + j]);
		hnsw_keys(h, &exact, s->slots, step, s->keys);
		for (unsigned j = 0; j < step; j++)
			b->at[i + j] = beam_entry(s->keys[j], s->slots[j]);
	}
	sort_entries(b->at, n);
}

static size_t take_hits(const struct beam *b, size_t k, struct hit *ret)
{
	size_t n = b->n < k ? b->n : k;

	for (size_t i = 0; i < n; i++)
		ret[i] = (struct hit){ .key = beam_key(b->at[i]), .slot = beam_slot(b->at[i]) };
	return n;
}

/*
 * Estimates are off by a little, so some of the nearest are not among the first. What brings recall
 * at any ef to that of a float walk, within 0.002 (docs/ARCHITECTURE.md has the figures): a walk
 * that keeps half of k more candidates, and float rows for the best four times k of them.
 */
static size_t walk_ef(const struct hnsw *h, size_t k, size_t ef)
{
	ef = ef > k ? ef : k;
	return h->coder ? ef + (k + 1) / 2 : ef;
}

static uint32_t n_reranked(const struct beam *b, size_t k)
{
	return b->n / 4 < k ? b->n : (uint32_t)(4 * k);
}

/* No more than there are nodes: a beam need not have room for what cannot come. */
static uint32_t bounded_ef(const struct hnsw *h, size_t k, size_t ef)
{
	size_t count = hnsw_count(h);

	ef = walk_ef(h, k, ef);
	ef = ef < count ? ef : count;
	return ef ? (uint32_t)ef : 1;
}

int hnsw_search(const struct hnsw *h, const struct probe *p, size_t k, size_t ef,
                bool (*filter)(const void *ctx, uint32_t slot), const void *ctx, struct hit *ret)
{
	struct hnsw_walk w = { .h = h, .live_only = true, .filter = filter, .ctx = ctx };
	struct scratch_pool *pool = (struct scratch_pool *)&h->pool;
	uint32_t entry = hnsw_entry(h), starts[HNSW_STARTS_MAX];
	struct hnsw_aim q;
	size_t n;

	if (entry == ROW_NONE || k == 0)
		return 0;
	ef = bounded_ef(h, k, ef);
	w.s = hnsw_scratch_get(pool, h->cap, (uint32_t)ef);
	if (!w.s)
		return -ENOMEM;
	q = hnsw_aim_for(h, w.s, p);
	w.q = &q;
	n = hnsw_approach(&w, entry, (uint32_t)ef, starts);
	hnsw_walk_level(&w, starts, (unsigned)n, (uint32_t)ef);
	if (q.code)
		hnsw_rerank(h, w.s, p, n_reranked(&w.s->beam, k));
	n = take_hits(&w.s->beam, k, ret);
	hnsw_scratch_put(pool, w.s);
	return (int)n;
}
