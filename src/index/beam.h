/*
 * beam.h: the candidates of one walk over the graph: the ef nearest in one sorted array, and a
 * heap beside it.
 *
 * The paper keeps two heaps, one of candidates and one of results, with mostly the same
 * content. A sorted array in which every entry carries a mark "its neighbours were looked at"
 * is both at once: the next to expand is the first without the mark, the bound is the last
 * entry, and an insertion moves a few hundred bytes that are in the first-level cache.
 *
 * An entry is one integer, so that comparing and moving it is one instruction each: the key in
 * the upper half, made unsigned so that integers sort as floats do, then the slot, then the
 * mark. Slots are therefore below 2^31.
 *
 * Not for several threads.
 */
#ifndef RV_INDEX_BEAM_H
#define RV_INDEX_BEAM_H

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "vector/hop.h"

#define BEAM_SLOT_MAX (UINT32_MAX >> 1)

static inline uint64_t beam_entry(float key, uint32_t slot)
{
	uint32_t u;

	memcpy(&u, &key, sizeof(u));
	u ^= u >> 31 ? UINT32_MAX : UINT32_C(1) << 31;
	return (uint64_t)u << 32 | slot << 1;
}

static inline uint32_t beam_slot(uint64_t entry)
{
	return (uint32_t)entry >> 1;
}

static inline float beam_key(uint64_t entry)
{
	uint32_t u = (uint32_t)(entry >> 32);
	float key;

	u ^= u >> 31 ? UINT32_C(1) << 31 : UINT32_MAX;
	memcpy(&key, &u, sizeof(key));
	return key;
}

/* The ef nearest so far, nearest first. */
struct beam {
	uint64_t *at;
	uint32_t n;
	uint32_t ef;
	uint32_t next; /* all entries before it carry the mark */
	uint32_t room; /* entries allocated; ef is at most that */
};

/* Entries to allocate, aligned to 64 bytes, for ef of them: hop.h inserts whole registers. */
static inline uint32_t beam_room(uint32_t ef)
{
	return (ef + 7) / 8 * 8;
}

static inline void beam_clear(struct beam *b, uint32_t ef)
{
	assert(ef <= b->room);
	b->n = b->next = 0;
	b->ef = ef;
}

/*
 * Whether an entry would be kept. One that is as far as the last is not, so a pile of equal
 * vectors ends a walk too.
 */
static inline bool beam_wants(const struct beam *b, uint64_t entry)
{
	return b->n < b->ef || entry >> 32 < b->at[b->n - 1] >> 32;
}

/* Keys from here on are not wanted. */
static inline float beam_bound(const struct beam *b)
{
	return b->n < b->ef ? INFINITY : beam_key(b->at[b->n - 1]);
}

/* Only what beam_wants; drops the last entry when there are ef already. */
static inline void beam_insert(struct beam *b, const struct hop_kernels *hops, uint64_t entry)
{
	uint32_t n = b->n < b->ef ? b->n++ : b->n - 1, i = hops->insert(b->at, n, entry);

	if (i < b->next)
		b->next = i;
}

/* Index of the first entry without the mark, b->n: none. */
static inline uint32_t beam_next(struct beam *b)
{
	while (b->next < b->n && (b->at[b->next] & 1))
		b->next++;
	return b->next;
}

static inline void beam_mark(struct beam *b, uint32_t i)
{
	b->at[i] |= 1;
}

static inline void beam_clear_marks(struct beam *b)
{
	for (uint32_t i = 0; i < b->n; i++)
		b->at[i] &= ~UINT64_C(1);
	b->next = 0;
}

/* A binary heap, nearest on top. The owner gives it room for every slot there is. */
struct heap {
	uint64_t *at;
	uint32_t n;
};

void heap_push(struct heap *h, uint64_t entry);
uint64_t heap_pop(struct heap *h); /* h is not empty */

#endif
