/*
 * hop_avx512.c: sixteen links at a time: gather the words of the bitmap that their bits are in,
 * test, and compress what is new to the front. Only the new ones, a third of all in the middle of
 * a walk, are then looked at one by one to set their bits.
 *
 * A link that stands twice in a row, as it may while the row is rewritten, is new twice in the
 * gathered words; setting the bits sorts that out.
 */
#include "vector/hop.h"
#include "vector/kernel_gaps.h"

#define STRETCH 32

#define INLINE static inline __attribute__((always_inline))

/* In two halves: SIMDe has no wider gather yet. Lanes without a link read word 0. */
INLINE simde__m512i gather(const uint32_t *seen, simde__m512i words)
{
	const int32_t *from = (const int32_t *)seen;
	simde__m256i low = simde_mm512_extracti64x4_epi64(words, 0);
	simde__m256i high = simde_mm512_extracti64x4_epi64(words, 1);

	low = simde_mm256_i32gather_epi32(from, low, 4);
	high = simde_mm256_i32gather_epi32(from, high, 4);
	return simde_mm512_inserti64x4(simde_mm512_castsi256_si512(low), high, 1);
}

/*
 * Loaded once and for all: were it loaded again for the second use, another thread could have
 * ended the row in between.
 */
INLINE simde__m512i load_row(const uint32_t *row)
{
	simde__m512i links = *(const volatile simde__m512i *)row;

	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return links;
}

INLINE simde__mmask16 new_ones(simde__m512i links, simde__mmask16 valid, const uint32_t *seen)
{
	simde__m512i words = simde_mm512_maskz_mov_epi32(valid, simde_mm512_srli_epi32(links, 5));
	simde__m512i bits =
		simde_mm512_sllv_epi32(simde_mm512_set1_epi32(1),
	                               simde_mm512_and_si512(links, simde_mm512_set1_epi32(31)));

	return (simde__mmask16)(valid & ~simde_mm512_test_epi32_mask(gather(seen, words), bits));
}

/* The lanes below the first of ends. */
INLINE simde__mmask16 before(simde__mmask16 ends)
{
	return (simde__mmask16)(ends ? (ends & -ends) - 1 : 0xffff);
}

static unsigned unseen(const uint32_t *row, unsigned n, uint32_t *seen,
                       const struct hop_ahead *ahead, uint32_t *ret)
{
	const simde__m512i none = simde_mm512_set1_epi32(-1);
	unsigned n_new = 0, n_set = 0;

	for (unsigned i = 0; i < n; i += HOP_LANES) {
		simde__m512i links = load_row(row + i);
		simde__mmask16 valid = before(simde_mm512_cmpeq_epi32_mask(links, none));
		simde__mmask16 fresh = new_ones(links, valid, seen);

		simde_mm512_storeu_si512(ret + n_new,
		                         simde_mm512_maskz_compress_epi32(fresh, links));
		n_new += (unsigned)__builtin_popcount(fresh);
		if (valid != 0xffff)
			break;
	}
	for (unsigned i = 0; i < n_new; i++) {
		uint32_t slot = ret[i];

		hop_prefetch(ahead, slot);
		ret[n_set] = slot;
		n_set += !hop_see(seen, slot);
	}
	return n_set;
}

static unsigned links(const uint32_t *row, unsigned n, uint32_t *ret)
{
	const simde__m512i none = simde_mm512_set1_epi32(-1);

	for (unsigned i = 0; i < n; i += HOP_LANES) {
		simde__m512i part = load_row(row + i);
		simde__mmask16 ends = simde_mm512_cmpeq_epi32_mask(part, none);

		simde_mm512_storeu_si512(ret + i, part);
		if (ends)
			return i + (unsigned)__builtin_ctz(ends);
	}
	return n;
}

static unsigned below(const float *keys, unsigned n, float bound, uint32_t *ret)
{
	const simde__m512i lanes = simde_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4,
	                                                 3, 2, 1, 0);
	simde__m512 limit = simde_mm512_set1_ps(bound);
	unsigned n_below = 0;

	for (unsigned i = 0; i < n; i += HOP_LANES) {
		simde__mmask16 in = n - i < HOP_LANES ? (simde__mmask16)((1u << (n - i)) - 1)
		                                      : 0xffff;
		simde__m512i at = simde_mm512_add_epi32(lanes, simde_mm512_set1_epi32((int32_t)i));

		in &= simde_mm512_cmp_ps_mask(simde_mm512_loadu_ps(keys + i), limit,
		                              SIMDE_CMP_LT_OQ);
		simde_mm512_storeu_si512(ret + n_below, simde_mm512_maskz_compress_epi32(in, at));
		n_below += (unsigned)__builtin_popcount(in);
	}
	return n_below;
}

/* Of sixteen entries, low before high, those one before the upper eight. */
INLINE simde__m512i one_before(simde__m512i low, simde__m512i high)
{
	const simde__m512i which = simde_mm512_set_epi64(14, 13, 12, 11, 10, 9, 8, 7);

	return simde_mm512_permutex2var_epi64(low, which, high);
}

/* Eight entries after the insertion. */
INLINE simde__m512i moved(simde__m512i here, simde__m512i before, simde__m512i new)
{
	return simde_mm512_min_epu64(here, simde_mm512_max_epu64(one_before(before, here), new));
}

INLINE uint32_t n_below(simde__m512i here, simde__m512i new)
{
	return (uint32_t)__builtin_popcount(simde_mm512_cmple_epu64_mask(here, new));
}

/*
 * Every entry becomes the smaller of itself and of the larger of the one before it and the new
 * one. Nothing depends on where that is, so there is nothing to guess wrongly, and eight entries
 * at a time are done before a search for the place would have ended. Of long arrays, what comes
 * before the place is left alone after all: it is looked for every STRETCH entries.
 */
static uint32_t insert(uint64_t *at, uint32_t n, uint64_t entry)
{
	const simde__m512i new = simde_mm512_set1_epi64((int64_t)entry);
	const simde__m512i none = simde_mm512_set1_epi64(-1), zero = simde_mm512_setzero_si512();
	uint32_t i = n / 8 * 8, place = 0;
	simde__m512i here = simde_mm512_load_si512(at + i), before;

	here = simde_mm512_mask_mov_epi64(none, (simde__mmask8)((1u << n % 8) - 1), here);
	for (; i > 0; i -= 8) {
		before = simde_mm512_load_si512(at + i - 8);
		place += n_below(here, new);
		simde_mm512_store_si512(at + i, moved(here, before, new));
		here = before;
		if (i % STRETCH == 0 && at[i - 1] < entry)
			return place + i;
	}
	simde_mm512_store_si512(at, moved(here, zero, new));
	return place + n_below(here, new);
}

const struct hop_kernels hop_avx512 = {
	.name = "avx512",
	.unseen = unseen,
	.links = links,
	.below = below,
	.insert = insert,
};
