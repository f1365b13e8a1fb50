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
#include <string.h>

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

static bool contains(const uint32_t *slots, unsigned n, uint32_t slot)
{
	for (unsigned i = 0; i < n; i++) {
		if (slots[i] == slot)
			return true;
	}
	return false;
}

/*
 * Of the candidates left, those that are as near to a picked one as to the node are refused, which
 * their mark says. From one to all that are left: distances are computed many at a time.
 */
static void refuse_around(const struct hnsw *h, struct candidates *c, uint32_t pick)
{
	struct hnsw_aim q = hnsw_aim_at(h, pick);
	unsigned n = 0;

	hnsw_keys(h, &q, c->slots, c->n_left, c->keys);
	for (unsigned i = 0; i < c->n_left; i++) {
		uint32_t at = c->left[i];
		bool refused = c->keys[i] <= beam_key(c->entries[at]);

		c->entries[at] |= refused;
		c->left[n] = at;
		c->slots[n] = c->slots[i];
		n += !refused;
	}
	c->n_left = n;
}

static uint32_t take_nearest(struct candidates *c)
{
	uint32_t slot = c->slots[0];

	c->n_left--;
	memmove(c->left, c->left + 1, c->n_left * sizeof(*c->left));
	memmove(c->slots, c->slots + 1, c->n_left * sizeof(*c->slots));
	return slot;
}

/*
 * Runs the heuristic over what is left of the candidates. picks: n, then room up to max. Returns how
 * many there are then; those that it refused carry the mark.
 */
static unsigned pick_diverse(const struct hnsw *h, struct candidates *c, uint32_t *picks,
                             unsigned n, unsigned max)
{
	for (unsigned i = 0; i < n && c->n_left; i++)
		refuse_around(h, c, picks[i]);
	while (c->n_left && n < max) {
		picks[n] = take_nearest(c);
		refuse_around(h, c, picks[n++]);
	}
	return n;
}

unsigned hnsw_select(const struct hnsw *h, struct scratch *s, uint32_t slot, uint32_t *picks,
                     unsigned n_forced, unsigned max, bool fill)
{
	struct candidates *c = &s->candidates;
	struct beam *b = &s->beam;
	unsigned n;

	beam_clear_marks(b);
	c->entries = b->at;
	c->n_left = 0;
	for (uint32_t i = 0; i < b->n; i++) {
		uint32_t other = beam_slot(b->at[i]);

		c->left[c->n_left] = i;
		c->slots[c->n_left] = other;
		c->n_left += other != slot && !contains(picks, n_forced, other);
	}
	n = pick_diverse(h, c, picks, n_forced, max);
	for (uint32_t i = 0; fill && i < b->n && n < max; i++) {
		if (b->at[i] & 1)
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

/* Marks those of n links, nearest first, that the heuristic refuses. */
static void mark_refused(const struct hnsw *h, uint64_t *links, unsigned n)
{
	uint32_t left[HNSW_ROW_MAX + 1], slots[HNSW_ROW_MAX + 1], picks[HNSW_ROW_MAX + 1];
	float keys[HNSW_ROW_MAX + CODE_KEYS_AT_ONCE];
	struct candidates c = { .entries = links, .left = left, .slots = slots, .keys = keys };

	for (c.n_left = 0; c.n_left < n; c.n_left++) {
		left[c.n_left] = c.n_left;
		slots[c.n_left] = beam_slot(links[c.n_left]);
	}
	pick_diverse(h, &c, picks, 0, n);
}

/*
 * The one of n links, nearest first and marked where the heuristic refuses them, that the node
 * loses: a dead one, the farthest refused, the farthest.
 */
static uint32_t superfluous(const struct hnsw *h, uint32_t slot, unsigned level,
                            const uint64_t *links, unsigned n)
{
	uint32_t refused = ROW_NONE, other = ROW_NONE;

	while (n-- > 0) {
		uint32_t c = beam_slot(links[n]);
		uint32_t *worst = links[n] & 1 ? &refused : &other;

		if (*worst != ROW_NONE && !hnsw_is_dead(h, c))
			continue;
		if (level == 0 && hnsw_tree_edge(h, slot, c))
			continue;
		if (hnsw_is_dead(h, c))
			return c;
		*worst = c;
	}
	return refused != ROW_NONE ? refused : other;
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
	mark_refused(h, sorted, n);
	write_without(h, slot, level, sorted, superfluous(h, slot, level, sorted, n));
}

void hnsw_row_add(struct hnsw *h, uint32_t slot, unsigned level, uint32_t link)
{
	hnsw_row_lock(h, slot);
	hnsw_row_add_locked(h, slot, level, link);
	hnsw_row_unlock(h, slot);
}
