/*
 * hnsw_walk.c: walks over the graph: the paper's Algorithm 2, on one level, and the way down to it.
 *
 * What may be returned and what leads on are two questions. A row that is dead, hidden or
 * filtered out leads on like any other, but were it to take one of the ef places, a search in a
 * collection of which half is deleted would have half its ef. So the beam holds only what may
 * be returned, it alone decides when the walk ends, and other rows that are nearer than its
 * last wait in a heap (`detour`) for their turn. When every row may be returned, that heap
 * stays empty and costs nothing. When hardly any may, the walk goes on until ef are found or
 * nothing is left, so that the last live row of a collection is still found.
 *
 * A walk is a chain of short loops over what cannot be foreseen: how many links are new, how many
 * of those are near, where these belong. A processor guesses such loops wrongly, and each wrong
 * guess costs as much as several distances; so what can be done without a branch is (vector/hop.h).
 *
 * And it waits for memory: codes lie anywhere. So two hops overlap: the codes that the next one will
 * read are asked of memory before those of this one are compared. The next one is chosen without
 * knowing what this one finds, so sometimes not the nearest is expanded, but it nearly always would
 * have been a little later.
 */
#include "base/thread.h"
#include "index/hnsw_impl.h"

#define HOPS_AT_ONCE 16 /* until others may pass */
#define EF_PER_START 16 /* one of them on the level above for so many candidates */

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
		beam_insert(&s->beam, w->hops, entry);
		return;
	}
	heap_push(&s->detour, entry);
	if (s->detour.n > s->detour_peak)
		s->detour_peak = s->detour.n;
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

	if (i < w->s->beam.n)
		hnsw_row_prefetch(w->h, beam_slot(w->s->beam.at[i]), w->level);
}

/* Expanding one candidate: its links not seen before, whose codes are on their way from memory. */
struct hop {
	uint32_t *slots;
	unsigned n;
};

/* false: there is none left. */
static bool begin_hop(const struct hnsw_walk *w, struct hop *hop)
{
	struct hop_ahead ahead = hnsw_ahead(w->h, w->q);
	uint32_t slot;

	hop->n = 0;
	if (!next_to_expand(w->s, &slot))
		return false;
	prefetch_next(w);
	hop->n = w->hops->unseen(hnsw_row(w->h, slot, w->level), hnsw_row_stride(w->h, w->level),
	                         w->s->seen, &ahead, hop->slots);
	hnsw_scratch_note(w->s, hop->slots, hop->n);
	return true;
}

static void end_hop(const struct hnsw_walk *w, const struct hop *hop)
{
	struct scratch *s = w->s;
	unsigned n;

	hnsw_keys(w->h, w->q, hop->slots, hop->n, s->keys);
	n = w->hops->below(s->keys, hop->n, beam_bound(&s->beam), s->good);
	for (unsigned i = 0; i < n; i++)
		consider(w, s->keys[s->good[i]], hop->slots[s->good[i]]);
}

void hnsw_walk_level(const struct hnsw_walk *w, const uint32_t *starts, unsigned n, uint32_t ef)
{
	struct scratch *s = w->s;
	uint32_t other[HNSW_ROW_MAX + HOP_LANES];
	struct hop hops[2] = { { s->slots, 0 }, { other, 0 } };
	unsigned n_hops = 0;
	bool more;

	hnsw_scratch_clear_seen(s);
	beam_clear(&s->beam, ef);
	s->detour.n = 0;
	hnsw_keys(w->h, w->q, starts, n, s->keys);
	for (unsigned i = 0; i < n; i++) {
		hnsw_scratch_see(s, starts[i]);
		consider(w, s->keys[i], starts[i]);
	}
	more = begin_hop(w, &hops[0]);
	for (unsigned i = 0; more; i = !i) {
		more = begin_hop(w, &hops[!i]);
		end_hop(w, &hops[i]);
		if (++n_hops % HOPS_AT_ONCE == 0)
			thread_lets_pass();
		if (!more)
			more = begin_hop(w, &hops[!i]);
	}
}

/* Greedy, on one level: from the nearest so far to a nearer neighbour as long as there is one. */
static uint64_t descend_level(const struct hnsw_walk *w, unsigned level, uint64_t nearest)
{
	struct scratch *s = w->s;
	uint64_t from, entry;
	unsigned n;

	do {
		from = nearest;
		n = w->hops->links(hnsw_row(w->h, beam_slot(from), level),
		                   hnsw_row_stride(w->h, level), s->slots);
		hnsw_keys(w->h, w->q, s->slots, n, s->keys);
		for (unsigned i = 0; i < n; i++) {
			entry = beam_entry(s->keys[i], s->slots[i]);
			nearest = entry < nearest ? entry : nearest;
		}
	} while (nearest != from);
	return nearest;
}

static uint64_t start_from(const struct hnsw_walk *w, uint32_t slot)
{
	float keys[CODE_KEYS_AT_ONCE];

	hnsw_keys(w->h, w->q, &slot, 1, keys);
	return beam_entry(keys[0], slot);
}

static uint32_t descend(const struct hnsw_walk *w, uint32_t slot, unsigned from, unsigned to)
{
	uint64_t nearest = start_from(w, slot);

	for (unsigned level = from; level > to; level--)
		nearest = descend_level(w, level, nearest);
	return beam_slot(nearest);
}

uint64_t hnsw_walk_place(const struct hnsw_walk *w, uint32_t entry)
{
	uint64_t nearest = start_from(w, entry), place = 0;

	for (unsigned level = hnsw_height_of(w->h, entry) - 1; level > 0; level--) {
		nearest = descend_level(w, level, nearest);
		place = place << 32 | beam_slot(nearest);
	}
	return place;
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
	*ret = descend(w, entry, top, ef > 1 ? above.level : w->level);
	if (ef <= 1 || top <= w->level)
		return 1;
	hnsw_walk_level(&above, ret, 1, ef);
	for (n = 0; n < b->n; n++)
		ret[n] = beam_slot(b->at[n]);
	return n ? n : 1;
}
