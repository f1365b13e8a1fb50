/*
 * scratch.h: what one walk over the graph needs besides the graph, taken from a pool: nothing
 * is allocated on the way.
 *
 * A scratch belongs to one thread between hnsw_scratch_get and hnsw_scratch_put. The pool keeps
 * as many as there were walks at once. The set of slots seen is a bitmap: an eighth of a byte a
 * slot stays in the cache where a table of stamps would not. Before a walk it is cleared: where it
 * is long and the walk before was short, only the words that that one touched.
 */
#ifndef RV_INDEX_SCRATCH_H
#define RV_INDEX_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/lock.h"
#include "index/beam.h"
#include "vector/codes.h"
#include "vector/hop.h"

/* Of entries, nearest first, those that choosing links still has to look at. */
struct candidates {
	uint64_t *entries;
	uint32_t *left;  /* their indexes, ascending */
	uint32_t *slots; /* their slots */
	float *keys;     /* and some keys */
	unsigned n_left;
	unsigned room;   /* in left, slots and keys */
};

struct scratch {
	struct scratch *next;   /* in the pool */
	uint32_t *seen;         /* a bit a slot; all clear but those of marked */
	uint32_t *marked;       /* slots whose bits were set, up to ... */
	uint32_t n_marked;      /* ... beyond that counted only */
	uint32_t marked_max;    /* ... this: with more, clearing all is quicker */
	uint32_t n_slots;       /* that seen and detour have room for */
	struct beam beam;       /* candidates that may be returned */
	struct beam nearest;   /* of these, by float rows */
	struct candidates candidates; /* of the beam; room for all of it */
	struct heap detour;     /* candidates that may not, but lead on */
	uint32_t detour_peak;   /* entries of detour that were touched */
	uint32_t *slots;        /* row_max and some: the slots of one hop ... */
	float *keys;            /* ... their keys ... */
	uint32_t *good;         /* ... and which of these are good enough */
	uint32_t *row;          /* row_max: a node's links as they were */
	uint32_t *picks;        /* n_levels * row_max: neighbours chosen, by level */
	size_t code_bytes;      /* of code */
	struct code_query code; /* of the pool's width; all zeros when that is 0 */
};

struct scratch_pool {
	struct mutex lock;
	struct scratch *idle; /* lock */
	size_t bytes;         /* lock; of the idle ones */
	unsigned row_max;     /* const */
	unsigned n_levels;    /* const */
	size_t code_width;    /* const; of the graph's codes, 0: there are none */
};

void hnsw_scratch_pool_init(struct scratch_pool *p, unsigned row_max, unsigned n_levels,
                            size_t code_width);
void hnsw_scratch_pool_release(struct scratch_pool *p); /* every scratch was put back */
size_t hnsw_scratch_pool_bytes(struct scratch_pool *p);

/* For slots below n_slots and candidate lists of up to ef. NULL: no memory. */
struct scratch *hnsw_scratch_get(struct scratch_pool *p, uint32_t n_slots, uint32_t ef);
void hnsw_scratch_put(struct scratch_pool *p, struct scratch *s);

void hnsw_scratch_clear_seen(struct scratch *s);

#define SCRATCH_MARKED_MAX 4096u

/* Somebody set the bits of n slots. */
static inline void hnsw_scratch_note(struct scratch *s, const uint32_t *slots, uint32_t n)
{
	if (s->n_marked + n <= s->marked_max)
		memcpy(s->marked + s->n_marked, slots, n * sizeof(*slots));
	s->n_marked += n;
}

/* Marks slot as seen; whether it was before. */
static inline bool hnsw_scratch_see(struct scratch *s, uint32_t slot)
{
	bool was = hop_see(s->seen, slot);

	hnsw_scratch_note(s, &slot, !was);
	return was;
}

#endif
