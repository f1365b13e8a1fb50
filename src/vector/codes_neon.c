/*
 * codes_neon.c: 16 bytes of code at a time. Four products of a nibble and an int8 are at most
 * 4 * 15 * 127, so they are summed in 16 bits before they are widened.
 *
 * On other machines SIMDe emulates these instructions, so the unit test runs this file everywhere.
 */
#include <simde/arm/neon.h>

#include "vector/codes_sets.h"

#define INLINE static inline __attribute__((always_inline))

/* Sums in the lower lane of a pair, differences above. */
INLINE simde_float32x4_t pairs(simde_float32x4_t x, simde_float32x4_t swapped,
                               simde_uint32x4_t upper)
{
	return simde_vbslq_f32(upper, simde_vsubq_f32(swapped, x), simde_vaddq_f32(swapped, x));
}

/* What vext by two is, which SIMDe 0.7.2 and GCC 13 do not compile where it is emulated. */
INLINE simde_float32x4_t halves_swapped(simde_float32x4_t x)
{
	return simde_vcombine_f32(simde_vget_high_f32(x), simde_vget_low_f32(x));
}

INLINE simde_float32x4_t mix4(simde_float32x4_t x)
{
	static const uint32_t odd[4] = { 0, ~0u, 0, ~0u }, high[4] = { 0, 0, ~0u, ~0u };

	x = pairs(x, simde_vrev64q_f32(x), simde_vld1q_u32(odd));
	return pairs(x, halves_swapped(x), simde_vld1q_u32(high));
}

static void mix(float *v, const float *signs, size_t n)
{
	for (size_t i = 0; i < n; i += 4)
		simde_vst1q_f32(v + i, mix4(simde_vmulq_f32(simde_vld1q_f32(v + i),
		                                            simde_vld1q_f32(signs + i))));
	for (size_t h = 4; h < n; h *= 2) {
		for (size_t i = 0; i < n; i += (i + 4) & h ? h + 4 : 4) {
			simde_float32x4_t a = simde_vld1q_f32(v + i);
			simde_float32x4_t b = simde_vld1q_f32(v + i + h);

			simde_vst1q_f32(v + i, simde_vaddq_f32(a, b));
			simde_vst1q_f32(v + i + h, simde_vsubq_f32(a, b));
		}
	}
}

INLINE simde_int16x4_t whole(const float *v, simde_float32x4_t scale, simde_int32x4_t *sum)
{
	simde_int32x4_t x =
		simde_vcvtq_s32_f32(simde_vrndnq_f32(simde_vmulq_f32(simde_vld1q_f32(v), scale)));

	*sum = simde_vaddq_s32(*sum, x);
	return simde_vmovn_s32(x);
}

static float round8(const float *v, size_t n, int8_t *ret, int32_t *ret_sum)
{
	simde_float32x4_t m = simde_vdupq_n_f32(0), scale;
	simde_int32x4_t sum = simde_vdupq_n_s32(0);
	float max;

	for (size_t i = 0; i < n; i += 4)
		m = simde_vmaxq_f32(m, simde_vabsq_f32(simde_vld1q_f32(v + i)));
	max = simde_vmaxvq_f32(m);
	scale = simde_vdupq_n_f32(max > 0 ? 127 / max : 0);
	for (size_t i = 0; i < n; i += 8) {
		simde_int16x4_t a = whole(v + i, scale, &sum), b = whole(v + i + 4, scale, &sum);

		simde_vst1_s8(ret + i, simde_vmovn_s16(simde_vcombine_s16(a, b)));
	}
	*ret_sum = simde_vaddvq_s32(sum);
	return max / 127;
}

INLINE simde_int32x4_t step(simde_int32x4_t acc, const int8_t *q, const uint8_t *code)
{
	simde_uint8x16_t c = simde_vld1q_u8(code);
	simde_int8x16_t low = simde_vreinterpretq_s8_u8(simde_vandq_u8(c, simde_vdupq_n_u8(15)));
	simde_int8x16_t high = simde_vreinterpretq_s8_u8(simde_vshrq_n_u8(c, 4));
	simde_int8x16_t ql = simde_vld1q_s8(q), qh = simde_vld1q_s8(q + 64);
	simde_int16x8_t s = simde_vmull_s8(simde_vget_low_s8(low), simde_vget_low_s8(ql));

	s = simde_vmlal_s8(s, simde_vget_high_s8(low), simde_vget_high_s8(ql));
	s = simde_vmlal_s8(s, simde_vget_low_s8(high), simde_vget_low_s8(qh));
	s = simde_vmlal_s8(s, simde_vget_high_s8(high), simde_vget_high_s8(qh));
	return simde_vpadalq_s16(acc, s);
}

INLINE void store4(simde_int32x4_t s0, simde_int32x4_t s1, simde_int32x4_t s2, simde_int32x4_t s3,
                   int32_t ret[4])
{
	ret[0] = simde_vaddvq_s32(s0);
	ret[1] = simde_vaddvq_s32(s1);
	ret[2] = simde_vaddvq_s32(s2);
	ret[3] = simde_vaddvq_s32(s3);
}

INLINE void dot4(const int8_t *q, const void *const code[4], size_t n_blocks, int32_t ret[4])
{
	simde_int32x4_t s0 = simde_vdupq_n_s32(0), s1 = s0, s2 = s0, s3 = s0;

	for (size_t at = 0; at < n_blocks * CODE_BLOCK_BYTES; at += 16) {
		const int8_t *p = q + at / 64 * 128 + at % 64;

		s0 = step(s0, p, (const uint8_t *)code[0] + at);
		s1 = step(s1, p, (const uint8_t *)code[1] + at);
		s2 = step(s2, p, (const uint8_t *)code[2] + at);
		s3 = step(s3, p, (const uint8_t *)code[3] + at);
	}
	store4(s0, s1, s2, s3, ret);
}

INLINE simde_int32x4_t fine_step(simde_int32x4_t acc, simde_int8x16_t q, const void *code,
                                 size_t at)
{
	simde_int8x16_t c = simde_vld1q_s8((const int8_t *)code + at);

	acc = simde_vpadalq_s16(acc, simde_vmull_s8(simde_vget_low_s8(q), simde_vget_low_s8(c)));
	return simde_vpadalq_s16(acc, simde_vmull_s8(simde_vget_high_s8(q), simde_vget_high_s8(c)));
}

INLINE void fine_dot4(const int8_t *q, const void *const code[4], size_t n_blocks, int32_t ret[4])
{
	simde_int32x4_t s0 = simde_vdupq_n_s32(0), s1 = s0, s2 = s0, s3 = s0;

	for (size_t at = 0; at < n_blocks * CODE_BLOCK_DIMS; at += 16) {
		simde_int8x16_t part = simde_vld1q_s8(q + at);

		s0 = fine_step(s0, part, code[0], at);
		s1 = fine_step(s1, part, code[1], at);
		s2 = fine_step(s2, part, code[2], at);
		s3 = fine_step(s3, part, code[3], at);
	}
	store4(s0, s1, s2, s3, ret);
}

static void keys(const struct code_scan *s, const uint32_t *slots, size_t n, float *ret)
{
	code_keys_by_dot4(s, s->n_blocks * CODE_BLOCK_BYTES, slots, n, ret, dot4);
}

static void fine_keys(const struct code_scan *s, const uint32_t *slots, size_t n, float *ret)
{
	code_keys_by_dot4(s, s->n_blocks * CODE_BLOCK_DIMS, slots, n, ret, fine_dot4);
}

const struct code_kernels codes_neon = {
	.name = "neon",
	.mix = mix,
	.round8 = round8,
	.keys = keys,
	.fine_keys = fine_keys,
};
