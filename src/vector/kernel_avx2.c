/*
 * kernel_avx2.c: 8 floats at a time with fused multiply-add. Four sums hide the latency of the addition; the rest of a
 * row that is no multiple of 8 is read through a mask, so nothing beyond the row is touched.
 */
#include <simde/x86/avx2.h>
#include <simde/x86/fma.h>

#include "vector/kernel_sets.h"

#define INLINE static inline __attribute__((always_inline))

INLINE simde__m256 step(simde__m256 acc, simde__m256 a, simde__m256 b, int l2)
{
	simde__m256 d;

	if (!l2)
		return simde_mm256_fmadd_ps(a, b, acc);
	d = simde_mm256_sub_ps(a, b);
	return simde_mm256_fmadd_ps(d, d, acc);
}

/* The first n < 8 floats, zeros after them. */
INLINE simde__m256i tail_mask(size_t n)
{
	return simde_mm256_cmpgt_epi32(simde_mm256_set1_epi32((int)n),
				       simde_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE simde__m128 fold(simde__m256 v)
{
	return simde_mm_add_ps(simde_mm256_castps256_ps128(v), simde_mm256_extractf128_ps(v, 1));
}

INLINE float sum_of(simde__m256 v)
{
	simde__m128 s = fold(v);

	s = simde_mm_add_ps(s, simde_mm_movehl_ps(s, s));
	s = simde_mm_add_ss(s, simde_mm_movehdup_ps(s));
	return simde_mm_cvtss_f32(s);
}

INLINE float one(const float *a, const float *b, size_t dim, int l2)
{
	simde__m256 s[4];
	simde__m256i mask;
	size_t i = 0;

	for (size_t j = 0; j < 4; j++)
		s[j] = simde_mm256_setzero_ps();
	for (; i + 32 <= dim; i += 32) {
		for (size_t j = 0; j < 4; j++)
			s[j] = step(s[j], simde_mm256_loadu_ps(a + i + 8 * j),
				    simde_mm256_loadu_ps(b + i + 8 * j), l2);
	}
	for (; i + 8 <= dim; i += 8)
		s[0] = step(s[0], simde_mm256_loadu_ps(a + i), simde_mm256_loadu_ps(b + i), l2);
	if (i < dim) {
		mask = tail_mask(dim - i);
		s[1] = step(s[1], simde_mm256_maskload_ps(a + i, mask),
			    simde_mm256_maskload_ps(b + i, mask), l2);
	}
	return sum_of(
		simde_mm256_add_ps(simde_mm256_add_ps(s[0], s[1]), simde_mm256_add_ps(s[2], s[3])));
}

/* Four sums become one vector by a transposed addition: two halvings instead of four. */
INLINE void store4(const simde__m256 s[4], float ret[4])
{
	simde__m128 ab = simde_mm_hadd_ps(fold(s[0]), fold(s[1]));
	simde__m128 cd = simde_mm_hadd_ps(fold(s[2]), fold(s[3]));

	simde_mm_storeu_ps(ret, simde_mm_hadd_ps(ab, cd));
}

INLINE void four(const float *q, const float *const rows[4], size_t dim, float ret[4], int l2)
{
	const float *const row[4] = { rows[0], rows[1], rows[2], rows[3] };
	simde__m256 s[4], v;
	simde__m256i mask;
	size_t i = 0;

	for (size_t r = 0; r < 4; r++)
		s[r] = simde_mm256_setzero_ps();
	for (; i + 8 <= dim; i += 8) {
		v = simde_mm256_loadu_ps(q + i);
		for (size_t r = 0; r < 4; r++)
			s[r] = step(s[r], v, simde_mm256_loadu_ps(row[r] + i), l2);
	}
	if (i < dim) {
		mask = tail_mask(dim - i);
		v = simde_mm256_maskload_ps(q + i, mask);
		for (size_t r = 0; r < 4; r++)
			s[r] = step(s[r], v, simde_mm256_maskload_ps(row[r] + i, mask), l2);
	}
	store4(s, ret);
}

static float dot(const float *a, const float *b, size_t dim)
{
	return one(a, b, dim, 0);
}

static float l2sq(const float *a, const float *b, size_t dim)
{
	return one(a, b, dim, 1);
}

static void dot4(const float *q, const float *const rows[4], size_t dim, float ret[4])
{
	four(q, rows, dim, ret, 0);
}

static void l2sq4(const float *q, const float *const rows[4], size_t dim, float ret[4])
{
	four(q, rows, dim, ret, 1);
}

const struct kernels kernels_avx2 = {
	.name = "avx2",
	.dot = dot,
	.l2sq = l2sq,
	.dot4 = dot4,
	.l2sq4 = l2sq4,
};
