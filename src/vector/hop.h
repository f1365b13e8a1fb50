/*
 * hop.h: what a walk over a graph does with the links of a node besides computing their keys:
 * which were not seen before, and which of the keys are good enough.
 *
 * A hop is short, some dozen links, and there are dozens of hops in a search, so these loops
 * count as much as the distances do. One table per instruction set, chosen as kernel.h says.
 */
#ifndef RV_VECTOR_HOP_H
#define RV_VECTOR_HOP_H

#include <stddef.h>
#include <stdint.h>

#define HOP_LANES 16         /* rows are multiples of it, and so is the room behind results */
#define HOP_NONE  UINT32_MAX /* in place of a slot: the row ends here */

/* What will be read of a slot: `bytes` at at + slot * stride. */
struct hop_ahead {
	const char *at;
	size_t stride;
	size_t bytes;
};

struct hop_kernels {
	const char *name;
	/*
	 * row: n slots, a multiple of HOP_LANES, aligned to 64 bytes; HOP_NONE ends it before that. It may
	 * be written to meanwhile: each slot is loaded once. seen: a bit a slot. Slots whose bit was
	 * clear go to ret (room for n + HOP_LANES), each once, and their bits are set. What is ahead for
	 * them is asked of memory. Returns how many.
	 */
	unsigned (*unseen)(const uint32_t *row, unsigned n, uint32_t *seen,
	                   const struct hop_ahead *ahead, uint32_t *ret);
	/* All slots of the row. ret: room for n + HOP_LANES. */
	unsigned (*links)(const uint32_t *row, unsigned n, uint32_t *ret);
	/* The indexes of keys less than bound, ascending. Room for n + HOP_LANES in both. */
	unsigned (*below)(const float *keys, unsigned n, float bound, uint32_t *ret);
	/*
	 * Puts entry in its place among n that are sorted, ascending, different from it, in an array that is
	 * aligned to 64 bytes; the larger ones move by one, the last to at[n]. What follows that up
	 * to a multiple of 8 has no meaning. Returns its place.
	 */
	uint32_t (*insert)(uint64_t *at, uint32_t n, uint64_t entry);
};

extern const struct hop_kernels hop_scalar;
extern const struct hop_kernels hop_avx512; /* needs avx512f, bw, dq, vl */

const struct hop_kernels *hop_kernels_get(void); /* chosen at the first call; any thread */
const struct hop_kernels *hop_kernels_by_name(const char *name); /* NULL: not here */

static inline void hop_prefetch(const struct hop_ahead *ahead, uint32_t slot)
{
	const char *at = ahead->at + slot * ahead->stride;

	for (size_t off = 0; off < ahead->bytes; off += 64)
		__builtin_prefetch(at + off);
}

/* Marks slot as seen; whether it was before. */
static inline int hop_see(uint32_t *seen, uint32_t slot)
{
	uint32_t *word = &seen[slot / 32], bit = UINT32_C(1) << slot % 32;
	int was = (*word & bit) != 0;

	*word |= bit;
	return was;
}

#endif
