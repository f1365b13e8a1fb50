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
	unsigned stride = hnsw_row_stride(h, level);

	for (unsigned i = 0; i < stride; i++)
		store_link(row, i, i < n ? links[i] : ROW_NONE);
}

/* Whether some of the n slots are as near to slot as key. */
static bool any_nearer(const struct hnsw *h, uint32_t slot, float key, const uint32_t *slots,
                       unsigned n)
{
	struct hnsw_aim q = hnsw_aim_at(h, slot);
	float keys[CODE_KEYS_AT_ONCE];

	for (unsigned i = 0, step; i < n; i += step) {
		step = n - i < CODE_KEYS_AT_ONCE ? n - i : CODE_KEYS_AT_ONCE;
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

/* The farthest of n slots that the tree does not need, or ROW_NONE. */
static uint32_t last_unbound(const struct hnsw *h, uint32_t slot, unsigned level,
                             const uint32_t *slots, unsigned n)
{
	while (n-- > 0) {
		if (level > 0 || !hnsw_tree_edge(h, slot, slots[n]))
			return slots[n];
	}
	return ROW_NONE;
}

/* Links as entries, nearest first. ret: n entries. */
static void sort_links(const struct hnsw *h, uint32_t slot, const uint32_t *links, unsigned n,
                       uint64_t *ret)
{
	struct hnsw_aim q = hnsw_aim_at(h, slot);
	float keys[HNSW_ROW_MAX + CODE_KEYS_AT_ONCE];

	hnsw_keys(h, &q, links, n, keys);
	for (unsigned i = 0; i < n; i++)
		ret[i] = beam_entry(keys[i], links[i]);
	sort_entries(ret, n);
}

/*
 * The one of n links, nearest first, more than the row can hold, that the node loses: a dead one,
 * the farthest that the heuristic refuses, the farthest.
 */
static uint32_t superfluous(const struct hnsw *h, uint32_t slot, unsigned level,
                            const uint64_t *links, unsigned n)
{
	uint32_t picked[HNSW_ROW_MAX + 1], refused[HNSW_ROW_MAX + 1], loser;
	unsigned n_picked = 0, n_refused = 0;

	for (unsigned i = 0; i < n; i++) {
		uint32_t c = beam_slot(links[i]);

		if (hnsw_is_dead(h, c) && last_unbound(h, slot, level, &c, 1) == c)
			return c;
		if (any_nearer(h, c, beam_key(links[i]), picked, n_picked))
			refused[n_refused++] = c;
		else
			picked[n_picked++] = c;
	}
	loser = last_unbound(h, slot, level, refused, n_refused);
	return loser != ROW_NONE ? loser : last_unbound(h, slot, level, picked, n_picked);
}

/*
 * Nearest first, which the next that is added is glad of: sorting what is nearly sorted takes no
 * time.
 */
static void write_without(struct hnsw *h, uint32_t slot, unsigned level, const uint64_t *links,
                          uint32_t loser)
{
	uint32_t *row = hnsw_row(h, slot, level);
	unsigned n = hnsw_row_cap(h, level);

	for (unsigned i = 0; i < n; links++) {
		if (beam_slot(*links) != loser)
			store_link(row, i++, beam_slot(*links));
	}
}

void hnsw_row_add_locked(struct hnsw *h, uint32_t slot, unsigned level, uint32_t link)
{
	uint64_t sorted[HNSW_ROW_MAX + 1];
	uint32_t links[HNSW_ROW_MAX + 1];
	unsigned n = hnsw_row_read(h, slot, level, links);

	if (contains(links, n, link))
		return;
	if (n < hnsw_row_cap(h, level)) {
		store_link(hnsw_row(h, slot, level), n, link);
		return;
	}
	links[n++] = link;
	sort_links(h, slot, links, n, sorted);
	write_without(h, slot, level, sorted, superfluous(h, slot, level, sorted, n));
}

void hnsw_row_add(struct hnsw *h, uint32_t slot, unsigned level, uint32_t link)
{
	hnsw_row_lock(h, slot);
	hnsw_row_add_locked(h, slot, level, link);
	hnsw_row_unlock(h, slot);
}
