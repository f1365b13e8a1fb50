/*
 * hnsw_links.c: the links of a node: reading, adding, choosing.
 *
 * Choosing follows the paper's heuristic (its Algorithm 4): going from near to far, a candidate
 * is taken if it is nearer to the node than to every neighbour taken so far. So links point in
 * different directions, one into each cluster around, instead of all into the nearest. What was
 * refused then fills the row, nearest first (keepPrunedConnections): a row is read as whole
 * cache lines anyway, and full rows gave the best recall for the time of a search.
 *
 * A candidate that is as far from a neighbour as from the node is refused too: of a pile of
 * equal vectors one is enough, and the row keeps room for links that lead out of the pile.
 *
 * When a link is added to a full row the heuristic is run over the row, as in the paper, but only
 * one link goes: the farthest that is refused, or if none is, the farthest. So a row keeps the
 * links that lead away and fills what is left with near ones. (Refusing a link for any nearer one,
 * also for those that are refused themselves, is cheaper, and no worse on most data; where vectors
 * lie in dense clusters it loses the links between these.)
 */
#include <sched.h>

#include "index/hnsw_impl.h"

#define SPINS 64

/*
 * A lock is held for some microseconds by a thread that never sleeps with it, so waiting mostly
 * means spinning; yielding helps when its holder lost the processor.
 */
void hnsw_row_lock(const struct hnsw *h, uint32_t slot)
{
	uint8_t *lock = (uint8_t *)h->lock.at + slot;

	for (unsigned spins = 1; __atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE); spins++) {
		while (__atomic_load_n(lock, __ATOMIC_RELAXED)) {
			if (spins++ % SPINS == 0)
				sched_yield();
		}
	}
}

void hnsw_row_unlock(const struct hnsw *h, uint32_t slot)
{
	__atomic_store_n((uint8_t *)h->lock.at + slot, 0, __ATOMIC_RELEASE);
}

unsigned hnsw_row_read(const struct hnsw *h, uint32_t slot, unsigned level, uint32_t *ret)
{
	const uint32_t *row = hnsw_row(h, slot, level);
	unsigned n = 0, cap = hnsw_row_cap(h, level);
	uint32_t link;

	while (n < cap && (link = hnsw_link(row, n)) != ROW_NONE)
		ret[n++] = link;
	return n;
}

static void store_link(uint32_t *row, unsigned i, uint32_t link)
{
	__atomic_store_n(&row[i], link, __ATOMIC_RELEASE);
}

void hnsw_row_write(struct hnsw *h, uint32_t slot, unsigned level, const uint32_t *links,
                    unsigned n)
{
	uint32_t *row = hnsw_row(h, slot, level);
	unsigned stride = level == 0 ? h->stride0 : h->stride;

	for (unsigned i = 0; i < stride; i++)
		store_link(row, i, i < n ? links[i] : ROW_NONE);
}

/* Whether some of the n slots are as near to slot as key. */
static bool any_nearer(const struct hnsw *h, uint32_t slot, float key, const uint32_t *slots,
                       unsigned n)
{
	struct hnsw_aim q = hnsw_aim_at(h, slot);
	float keys[4];

	for (unsigned i = 0, step; i < n; i += step) {
		step = n - i < 4 ? n - i : 4;
		hnsw_keys(h, &q, slots + i, step, keys);
		for (unsigned j = 0; j < step; j++) {
			if (keys[j] <= key)
				return true;
		}
	}
	return false;
}

static bool contains(const uint32_t *slots, unsigned n, uint32_t slot)
{
	for (unsigned i = 0; i < n; i++) {
		if (slots[i] == slot)
			return true;
	}
	return false;
}

unsigned hnsw_select(const struct hnsw *h, uint32_t slot, struct beam *b, uint32_t *picks,
                     unsigned n_forced, unsigned max, bool fill)
{
	unsigned n = n_forced;
	uint32_t c;

	beam_clear_marks(b);
	for (uint32_t i = 0; i < b->n && n < max; i++) {
		c = beam_slot(b->at[i]);
		if (c == slot || contains(picks, n_forced, c)) {
			beam_mark(b, i);
		} else if (!any_nearer(h, c, beam_key(b->at[i]), picks, n)) {
			picks[n++] = c;
			beam_mark(b, i);
		}
	}
	for (uint32_t i = 0; fill && i < b->n && n < max; i++) {
		if (!(b->at[i] & 1))
			picks[n++] = beam_slot(b->at[i]);
	}
	return n;
}

/* Sorts n entries, few, ascending. */
static void sort_entries(uint64_t *at, unsigned n)
{
	for (unsigned i = 1, j; i < n; i++) {
		uint64_t moving = at[i];

		for (j = i; j > 0 && at[j - 1] > moving; j--)
			at[j] = at[j - 1];
		at[j] = moving;
	}
}

/*
 * The one of n slots, more than the row can hold, that the node loses: a dead one, the farthest
 * that the heuristic refuses, the farthest.
 */
static uint32_t superfluous(const struct hnsw *h, uint32_t slot, unsigned level,
                            const uint32_t *slots, unsigned n)
{
	struct hnsw_aim q = hnsw_aim_at(h, slot);
	uint32_t picked[HNSW_ROW_MAX + 1], farthest = ROW_NONE, refused = ROW_NONE;
	unsigned n_picked = 0;
	uint64_t order[HNSW_ROW_MAX + 1];
	float keys[HNSW_ROW_MAX + 1];

	hnsw_keys(h, &q, slots, n, keys);
	for (unsigned i = 0; i < n; i++)
		order[i] = beam_entry(keys[i], slots[i]);
	sort_entries(order, n);
	for (unsigned i = 0; i < n; i++) {
		uint32_t c = beam_slot(order[i]);
		bool tree = level == 0 && hnsw_tree_edge(h, slot, c);

		if (!tree && hnsw_is_dead(h, c))
			return c;
		if (any_nearer(h, c, beam_key(order[i]), picked, n_picked)) {
			if (!tree)
				refused = c;
		} else {
			picked[n_picked++] = c;
			if (!tree)
				farthest = c;
		}
	}
	return refused != ROW_NONE ? refused : farthest;
}

void hnsw_row_add_locked(struct hnsw *h, uint32_t slot, unsigned level, uint32_t link)
{
	uint32_t links[HNSW_ROW_MAX + 1], loser;
	unsigned n = hnsw_row_read(h, slot, level, links);

	if (contains(links, n, link))
		return;
	if (n < hnsw_row_cap(h, level)) {
		store_link(hnsw_row(h, slot, level), n, link);
		return;
	}
	links[n] = link;
	loser = superfluous(h, slot, level, links, n + 1);
	for (unsigned i = 0; i < n; i++) {
		if (links[i] == loser)
			store_link(hnsw_row(h, slot, level), i, link);
	}
}

void hnsw_row_add(struct hnsw *h, uint32_t slot, unsigned level, uint32_t link)
{
	hnsw_row_lock(h, slot);
	hnsw_row_add_locked(h, slot, level, link);
	hnsw_row_unlock(h, slot);
}
