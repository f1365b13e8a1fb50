/*
 * kernel_neon.c: 4 floats at a time with fused multiply-add, four sums. The rest of a row goes
 * one float at a time.
 *
 * On other machines SIMDe emulates these instructions, so the unit test runs this file everywhere.
 */
#include <simde/arm/neon.h>

#include "vector/kernel_sets.h"

/* Ubuntu 24.04 has 0.7.2, without this name; the compiler makes one instruction of the other, too. */
#if SIMDE_VERSION < HEDLEY_VERSION_ENCODE(0, 7, 4)
#define simde_vfmaq_f32(sum, a, b) simde_vmlaq_f32(sum, a, b)
#endif

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

/* Written out below instead of looped over: at -O2 an array of sums would live in memory. */
#define STEP(s, a, b) ((s) = step((s), simde_vld1q_f32(a), simde_vld1q_f32(b), l2))

INLINE float one(const float *a, const float *b, size_t dim, int l2)
{
	simde_float32x4_t s0 = simde_vdupq_n_f32(0), s1 = s0, s2 = s0, s3 = s0;
	float rest = 0;
	size_t i = 0;

	for (; i + 16 <= dim; i += 16) {
		STEP(s0, a + i, b + i);
		STEP(s1, a + i + 4, b + i + 4);
		STEP(s2, a + i + 8, b + i + 8);
		STEP(s3, a + i + 12, b + i + 12);
	}
	for (; i + 4 <= dim; i += 4)
		STEP(s0, a + i, b + i);
	for (; i < dim; i++)
		rest += term(a[i], b[i], l2);
	return simde_vaddvq_f32(simde_vaddq_f32(simde_vaddq_f32(s0, s1), simde_vaddq_f32(s2, s3))) +
	       rest;
}

INLINE void four(const float *q, const float *const rows[4], size_t dim, float ret[4], int l2)
{
	const float *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
	simde_float32x4_t s0 = simde_vdupq_n_f32(0), s1 = s0, s2 = s0, s3 = s0;
	float rest[4] = { 0 };
	size_t i = 0;

	for (; i + 4 <= dim; i += 4) {
		STEP(s0, q + i, a + i);
		STEP(s1, q + i, b + i);
		STEP(s2, q + i, c + i);
		STEP(s3, q + i, d + i);
	}
	for (; i < dim; i++) {
		for (size_t r = 0; r < 4; r++)
			rest[r] += term(q[i], rows[r][i], l2);
	}
	ret[0] = simde_vaddvq_f32(s0) + rest[0];
	ret[1] = simde_vaddvq_f32(s1) + rest[1];
	ret[2] = simde_vaddvq_f32(s2) + rest[2];
	ret[3] = simde_vaddvq_f32(s3) + rest[3];
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
