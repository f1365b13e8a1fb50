/*
 * kernel_avx2.c: 8 floats at a time with fused multiply-add. Four sums hide the latency of the
 * addition; the rest of a row that is no multiple of 8 is read through a mask, so nothing beyond
 * the row is touched.
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

/* Written out below instead of looped over: at -O2 an array of sums would live in memory. */
#define STEP(s, a, b) ((s) = step((s), simde_mm256_loadu_ps(a), simde_mm256_loadu_ps(b), l2))

INLINE float one(const float *a, const float *b, size_t dim, int l2)
{
	simde__m256 s0 = simde_mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
	simde__m256i mask;
	size_t i = 0;

	for (; i + 32 <= dim; i += 32) {
		STEP(s0, a + i, b + i);
		STEP(s1, a + i + 8, b + i + 8);
		STEP(s2, a + i + 16, b + i + 16);
		STEP(s3, a + i + 24, b + i + 24);
	}
	for (; i + 8 <= dim; i += 8)
		STEP(s0, a + i, b + i);
	if (i < dim) {
		mask = tail_mask(dim - i);
		s1 = step(s1, simde_mm256_maskload_ps(a + i, mask),
		          simde_mm256_maskload_ps(b + i, mask), l2);
	}
	return sum_of(simde_mm256_add_ps(simde_mm256_add_ps(s0, s1), simde_mm256_add_ps(s2, s3)));
}

/* Four sums become one vector by a transposed addition: two halvings instead of four. */
INLINE void store4(simde__m256 s0, simde__m256 s1, simde__m256 s2, simde__m256 s3, float ret[4])
{
	simde__m128 ab = simde_mm_hadd_ps(fold(s0), fold(s1));
	simde__m128 cd = simde_mm_hadd_ps(fold(s2), fold(s3));

	simde_mm_storeu_ps(ret, simde_mm_hadd_ps(ab, cd));
}

INLINE void four(const float *q, const float *const rows[4], size_t dim, float ret[4], int l2)
{
	const float *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
	simde__m256 s0 = simde_mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
	simde__m256i mask;
	size_t i = 0;

	for (; i + 8 <= dim; i += 8) {
		STEP(s0, q + i, a + i);
		STEP(s1, q + i, b + i);
		STEP(s2, q + i, c + i);
		STEP(s3, q + i, d + i);
	}
	if (i < dim) {
		mask = tail_mask(dim - i);
		s0 = step(s0, simde_mm256_maskload_ps(q + i, mask),
		          simde_mm256_maskload_ps(a + i, mask), l2);
		s1 = step(s1, simde_mm256_maskload_ps(q + i, mask),
		          simde_mm256_maskload_ps(b + i, mask), l2);
		s2 = step(s2, simde_mm256_maskload_ps(q + i, mask),
		          simde_mm256_maskload_ps(c + i, mask), l2);
		s3 = step(s3, simde_mm256_maskload_ps(q + i, mask),
		          simde_mm256_maskload_ps(d + i, mask), l2);
	}
	store4(s0, s1, s2, s3, ret);
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
