/*
 * kernel_avx512.c: 16 floats at a time with fused multiply-add, four sums.
 *
 * The rest of a row that is no multiple of 16 is read as its *last* 16 floats, those that were counted already set to zero;
 * a row of fewer than 16 is copied aside. (SIMDe has no masked load of floats yet.)
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

/* The n < 16 floats that end at p + dim, in any lanes but the same for every row, zeros elsewhere. */
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

INLINE float one(const float *a, const float *b, size_t dim, int l2)
{
	simde__m512 s[4];
	size_t i = 0;

	for (size_t j = 0; j < 4; j++)
		s[j] = simde_mm512_setzero_ps();
	for (; i + 64 <= dim; i += 64) {
		for (size_t j = 0; j < 4; j++)
			s[j] = step(s[j], simde_mm512_loadu_ps(a + i + 16 * j),
				    simde_mm512_loadu_ps(b + i + 16 * j), l2);
	}
	for (; i + 16 <= dim; i += 16)
		s[0] = step(s[0], simde_mm512_loadu_ps(a + i), simde_mm512_loadu_ps(b + i), l2);
	if (i < dim)
		s[1] = step(s[1], load_tail(a, dim, dim - i), load_tail(b, dim, dim - i), l2);
	return sum_of(
		simde_mm512_add_ps(simde_mm512_add_ps(s[0], s[1]), simde_mm512_add_ps(s[2], s[3])));
}

/* Four sums become one vector by a transposed addition: two halvings instead of four. */
INLINE void store4(const simde__m512 s[4], float ret[4])
{
	simde__m128 ab = simde_mm_hadd_ps(fold(s[0]), fold(s[1]));
	simde__m128 cd = simde_mm_hadd_ps(fold(s[2]), fold(s[3]));

	simde_mm_storeu_ps(ret, simde_mm_hadd_ps(ab, cd));
}

INLINE void four(const float *q, const float *const rows[4], size_t dim, float ret[4], int l2)
{
	const float *const row[4] = { rows[0], rows[1], rows[2], rows[3] };
	simde__m512 s[4], v;
	size_t i = 0;

	for (size_t r = 0; r < 4; r++)
		s[r] = simde_mm512_setzero_ps();
	for (; i + 16 <= dim; i += 16) {
		v = simde_mm512_loadu_ps(q + i);
		for (size_t r = 0; r < 4; r++)
			s[r] = step(s[r], v, simde_mm512_loadu_ps(row[r] + i), l2);
	}
	if (i < dim) {
		v = load_tail(q, dim, dim - i);
		for (size_t r = 0; r < 4; r++)
			s[r] = step(s[r], v, load_tail(row[r], dim, dim - i), l2);
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

const struct kernels kernels_avx512 = {
	.name = "avx512",
	.dot = dot,
	.l2sq = l2sq,
	.dot4 = dot4,
	.l2sq4 = l2sq4,
};
