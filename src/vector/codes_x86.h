/* codes_x86.h: what codes_avx2.c and codes_avx512.c share, compiled with the flags of each. */
#ifndef RV_VECTOR_CODES_X86_H
#define RV_VECTOR_CODES_X86_H

#include <simde/x86/avx2.h>

#include "vector/codes_sets.h"

#define INLINE static inline __attribute__((always_inline))

INLINE float codes_x86_max(const float *v, size_t n)
{
	simde__m256 sign = simde_mm256_set1_ps(-0.0f), m0 = simde_mm256_setzero_ps(), m1 = m0;
	float lanes[8], max = 0;

	for (size_t i = 0; i < n; i += 16) {
		m0 = simde_mm256_max_ps(m0, simde_mm256_andnot_ps(sign, simde_mm256_loadu_ps(v + i)));
		m1 = simde_mm256_max_ps(m1,
		                        simde_mm256_andnot_ps(sign, simde_mm256_loadu_ps(v + i + 8)));
	}
	simde_mm256_storeu_ps(lanes, simde_mm256_max_ps(m0, m1));
	for (size_t i = 0; i < 8; i++)
		max = lanes[i] > max ? lanes[i] : max;
	return max;
}

INLINE simde__m256i codes_x86_whole(const float *v, simde__m256 scale)
{
	return simde_mm256_cvtps_epi32(simde_mm256_mul_ps(simde_mm256_loadu_ps(v), scale));
}

/* Packing works in halves of a register; the permutation puts the quarters back in order. */
INLINE float codes_x86_round8(const float *v, size_t n, int8_t *ret, int32_t *ret_sum)
{
	const simde__m256i order = simde_mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	float max = codes_x86_max(v, n);
	simde__m256 scale = simde_mm256_set1_ps(max > 0 ? 127 / max : 0);
	simde__m256i sum = simde_mm256_setzero_si256(), a, b, c, d;
	int32_t lanes[8];

	for (size_t i = 0; i < n; i += 32) {
		a = codes_x86_whole(v + i, scale);
		b = codes_x86_whole(v + i + 8, scale);
		c = codes_x86_whole(v + i + 16, scale);
		d = codes_x86_whole(v + i + 24, scale);
		sum = simde_mm256_add_epi32(sum, simde_mm256_add_epi32(a, b));
		sum = simde_mm256_add_epi32(sum, simde_mm256_add_epi32(c, d));
		a = simde_mm256_packs_epi16(simde_mm256_packs_epi32(a, b),
		                            simde_mm256_packs_epi32(c, d));
		simde_mm256_storeu_si256(ret + i, simde_mm256_permutevar8x32_epi32(a, order));
	}
	simde_mm256_storeu_si256(lanes, sum);
	*ret_sum = 0;
	for (size_t i = 0; i < 8; i++)
		*ret_sum += lanes[i];
	return max / 127;
}

#endif
