/*
 * kernel_neon.c: 4 floats at a time with fused multiply-add, four sums. The rest of a row goes one float at a time.
 *
 * On other machines SIMDe emulates these instructions, so the unit test runs this file everywhere.
 */
#include <simde/arm/neon.h>

#include "vector/kernel_sets.h"

#define INLINE static inline __attribute__((always_inline))

INLINE simde_float32x4_t step(simde_float32x4_t acc, simde_float32x4_t a, simde_float32x4_t b,
			      int l2)
{
	simde_float32x4_t d;

	if (!l2)
		return simde_vfmaq_f32(acc, a, b);
	d = simde_vsubq_f32(a, b);
	return simde_vfmaq_f32(acc, d, d);
}

INLINE float term(float a, float b, int l2)
{
	float d = a - b;

	return l2 ? d * d : a * b;
}

INLINE float one(const float *a, const float *b, size_t dim, int l2)
{
	simde_float32x4_t s[4];
	float rest = 0;
	size_t i = 0;

	for (size_t j = 0; j < 4; j++)
		s[j] = simde_vdupq_n_f32(0);
	for (; i + 16 <= dim; i += 16) {
		for (size_t j = 0; j < 4; j++)
			s[j] = step(s[j], simde_vld1q_f32(a + i + 4 * j),
				    simde_vld1q_f32(b + i + 4 * j), l2);
	}
	for (; i + 4 <= dim; i += 4)
		s[0] = step(s[0], simde_vld1q_f32(a + i), simde_vld1q_f32(b + i), l2);
	for (; i < dim; i++)
		rest += term(a[i], b[i], l2);
	s[0] = simde_vaddq_f32(simde_vaddq_f32(s[0], s[1]), simde_vaddq_f32(s[2], s[3]));
	return simde_vaddvq_f32(s[0]) + rest;
}

INLINE void four(const float *q, const float *const rows[4], size_t dim, float ret[4], int l2)
{
	const float *const row[4] = { rows[0], rows[1], rows[2], rows[3] };
	simde_float32x4_t s[4], v;
	float rest[4] = { 0 };
	size_t i = 0;

	for (size_t r = 0; r < 4; r++)
		s[r] = simde_vdupq_n_f32(0);
	for (; i + 4 <= dim; i += 4) {
		v = simde_vld1q_f32(q + i);
		for (size_t r = 0; r < 4; r++)
			s[r] = step(s[r], v, simde_vld1q_f32(row[r] + i), l2);
	}
	for (; i < dim; i++) {
		for (size_t r = 0; r < 4; r++)
			rest[r] += term(q[i], row[r][i], l2);
	}
	for (size_t r = 0; r < 4; r++)
		ret[r] = simde_vaddvq_f32(s[r]) + rest[r];
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

const struct kernels kernels_neon = {
	.name = "neon",
	.dot = dot,
	.l2sq = l2sq,
	.dot4 = dot4,
	.l2sq4 = l2sq4,
};
