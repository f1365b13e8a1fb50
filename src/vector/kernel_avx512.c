/*
 * kernel_avx512.c: 16 floats at a time with fused multiply-add, four sums.
 *
 * The rest of a row that is no multiple of 16 is read as its *last* 16 floats, those that were
 * counted already set to zero; a row of fewer than 16 is copied aside. (SIMDe has no masked load
 * of floats yet.)
 */
#include <simde/x86/avx512.h>

#include "vector/kernel_sets.h"

#define INLINE static inline __attribute__((always_inline))

INLINE simde__m512 step(simde__m512 acc, simde__m512 a, simde__m512 b, int l2)
{
	simde__m512 d;

	if (!l2)
		return simde_mm512_fmadd_ps(a, b, acc);
	d = simde_mm512_sub_ps(a, b);
	return simde_mm512_fmadd_ps(d, d, acc);
}

/*
 * The n < 16 floats that end at p + dim, in any lanes but the same for every row, zeros
 * elsewhere.
 */
INLINE simde__m512 load_tail(const float *p, size_t dim, size_t n)
{
	float few[16] = { 0 };

	if (dim >= 16)
		return simde_mm512_maskz_mov_ps((simde__mmask16)(0xffffu << (16 - n)),
		                                simde_mm512_loadu_ps(p + dim - 16));
	for (size_t i = 0; i < n; i++)
		few[i] = p[i];
	return simde_mm512_loadu_ps(few);
}

INLINE simde__m128 fold(simde__m512 v)
{
	simde__m128 a = simde_mm512_extractf32x4_ps(v, 0), b = simde_mm512_extractf32x4_ps(v, 1);
	simde__m128 c = simde_mm512_extractf32x4_ps(v, 2), d = simde_mm512_extractf32x4_ps(v, 3);

	return simde_mm_add_ps(simde_mm_add_ps(a, b), simde_mm_add_ps(c, d));
}

INLINE float sum_of(simde__m512 v)
{
	simde__m128 s = fold(v);

	s = simde_mm_add_ps(s, simde_mm_movehl_ps(s, s));
	s = simde_mm_add_ss(s, simde_mm_movehdup_ps(s));
	return simde_mm_cvtss_f32(s);
}

/* Written out below instead of looped over: at -O2 an array of sums would live in memory. */
#define STEP(s, a, b) ((s) = step((s), simde_mm512_loadu_ps(a), simde_mm512_loadu_ps(b), l2))

INLINE float one(const float *a, const float *b, size_t dim, int l2)
{
	simde__m512 s0 = simde_mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
	size_t i = 0;

	for (; i + 64 <= dim; i += 64) {
		STEP(s0, a + i, b + i);
		STEP(s1, a + i + 16, b + i + 16);
		STEP(s2, a + i + 32, b + i + 32);
		STEP(s3, a + i + 48, b + i + 48);
	}
	for (; i + 16 <= dim; i += 16)
		STEP(s0, a + i, b + i);
	if (i < dim)
		s1 = step(s1, load_tail(a, dim, dim - i), load_tail(b, dim, dim - i), l2);
	return sum_of(simde_mm512_add_ps(simde_mm512_add_ps(s0, s1), simde_mm512_add_ps(s2, s3)));
}

/* Four sums become one vector by a transposed addition: two halvings instead of four. */
INLINE void store4(simde__m512 s0, simde__m512 s1, simde__m512 s2, simde__m512 s3, float ret[4])
{
	simde__m128 ab = simde_mm_hadd_ps(fold(s0), fold(s1));
	simde__m128 cd = simde_mm_hadd_ps(fold(s2), fold(s3));

	simde_mm_storeu_ps(ret, simde_mm_hadd_ps(ab, cd));
}

INLINE void four(const float *q, const float *const rows[4], size_t dim, float ret[4], int l2)
{
	const float *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
	simde__m512 s0 = simde_mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
	size_t i = 0;

	for (; i + 16 <= dim; i += 16) {
		STEP(s0, q + i, a + i);
		STEP(s1, q + i, b + i);
		STEP(s2, q + i, c + i);
		STEP(s3, q + i, d + i);
	}
	if (i < dim) {
		s0 = step(s0, load_tail(q, dim, dim - i), load_tail(a, dim, dim - i), l2);
		s1 = step(s1, load_tail(q, dim, dim - i), load_tail(b, dim, dim - i), l2);
		s2 = step(s2, load_tail(q, dim, dim - i), load_tail(c, dim, dim - i), l2);
		s3 = step(s3, load_tail(q, dim, dim - i), load_tail(d, dim, dim - i), l2);
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

const struct kernels kernels_avx512 = {
	.name = "avx512",
	.dot = dot,
	.l2sq = l2sq,
	.dot4 = dot4,
	.l2sq4 = l2sq4,
};
