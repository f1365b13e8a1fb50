/*
 * codes_avx2.c: 32 bytes of code at a time. Nibbles times int8 pairs are at most 2 * 15 * 127, so
 * the 16-bit sums of maddubs do not saturate, nor do two of them added.
 */
#include "vector/codes_x86.h"

/* The steps between lanes of one register: sums in the lower lane of a pair, differences above. */
INLINE simde__m256 mix8(simde__m256 x)
{
	simde__m256 y = simde_mm256_permute_ps(x, 0xb1);

	x = simde_mm256_blend_ps(simde_mm256_add_ps(y, x), simde_mm256_sub_ps(y, x), 0xaa);
	y = simde_mm256_permute_ps(x, 0x4e);
	x = simde_mm256_blend_ps(simde_mm256_add_ps(y, x), simde_mm256_sub_ps(y, x), 0xcc);
	y = simde_mm256_permute2f128_ps(x, x, 0x01);
	return simde_mm256_blend_ps(simde_mm256_add_ps(y, x), simde_mm256_sub_ps(y, x), 0xf0);
}

/* The steps h and 2 h at once: half the loads and stores of one after the other. */
INLINE void mix_two_steps(float *v, size_t n, size_t h)
{
	for (size_t i = 0; i < n; i += (i + 8) & h ? 3 * h + 8 : 8) {
		simde__m256 a = simde_mm256_loadu_ps(v + i), b = simde_mm256_loadu_ps(v + i + h);
		simde__m256 c = simde_mm256_loadu_ps(v + i + 2 * h);
		simde__m256 d = simde_mm256_loadu_ps(v + i + 3 * h);
		simde__m256 ab = simde_mm256_add_ps(a, b), cd = simde_mm256_add_ps(c, d);

		a = simde_mm256_sub_ps(a, b);
		c = simde_mm256_sub_ps(c, d);
		simde_mm256_storeu_ps(v + i, simde_mm256_add_ps(ab, cd));
		simde_mm256_storeu_ps(v + i + h, simde_mm256_add_ps(a, c));
		simde_mm256_storeu_ps(v + i + 2 * h, simde_mm256_sub_ps(ab, cd));
		simde_mm256_storeu_ps(v + i + 3 * h, simde_mm256_sub_ps(a, c));
	}
}

static void mix(float *v, const float *signs, size_t n)
{
	size_t h = 8;

	for (size_t i = 0; i < n; i += 8)
		simde_mm256_storeu_ps(v + i,
		                      mix8(simde_mm256_mul_ps(simde_mm256_loadu_ps(v + i),
		                                              simde_mm256_loadu_ps(signs + i))));
	for (; 2 * h < n; h *= 4)
		mix_two_steps(v, n, h);
	for (size_t i = 0; h < n && i < h; i += 8) {
		simde__m256 a = simde_mm256_loadu_ps(v + i), b = simde_mm256_loadu_ps(v + i + h);

		simde_mm256_storeu_ps(v + i, simde_mm256_add_ps(a, b));
		simde_mm256_storeu_ps(v + i + h, simde_mm256_sub_ps(a, b));
	}
}

static float round8(const float *v, size_t n, int8_t *ret, int32_t *ret_sum)
{
	return codes_x86_round8(v, n, ret, ret_sum);
}

INLINE simde__m256i step(simde__m256i acc, const int8_t *q, const uint8_t *code)
{
	simde__m256i mask = simde_mm256_set1_epi8(15), c = simde_mm256_loadu_si256(code), low, high;

	low = simde_mm256_and_si256(c, mask);
	high = simde_mm256_and_si256(simde_mm256_srli_epi16(c, 4), mask);
	low = simde_mm256_maddubs_epi16(low, simde_mm256_loadu_si256(q));
	high = simde_mm256_maddubs_epi16(high, simde_mm256_loadu_si256(q + 64));
	low = simde_mm256_madd_epi16(simde_mm256_add_epi16(low, high), simde_mm256_set1_epi16(1));
	return simde_mm256_add_epi32(acc, low);
}

INLINE simde__m128i fold(simde__m256i v)
{
	return simde_mm_add_epi32(simde_mm256_castsi256_si128(v),
	                          simde_mm256_extracti128_si256(v, 1));
}

INLINE void store4(simde__m256i s0, simde__m256i s1, simde__m256i s2, simde__m256i s3,
                   int32_t ret[4])
{
	simde__m128i ab = simde_mm_hadd_epi32(fold(s0), fold(s1));
	simde__m128i cd = simde_mm_hadd_epi32(fold(s2), fold(s3));

	simde_mm_storeu_si128((simde__m128i *)ret, simde_mm_hadd_epi32(ab, cd));
}

INLINE void dot4(const int8_t *q, const void *const code[4], size_t n_blocks, int32_t ret[4])
{
	simde__m256i s0 = simde_mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;

	for (size_t at = 0; at < n_blocks * CODE_BLOCK_BYTES; at += 32) {
		const int8_t *p = q + at / 64 * 128 + at % 64;

		s0 = step(s0, p, (const uint8_t *)code[0] + at);
		s1 = step(s1, p, (const uint8_t *)code[1] + at);
		s2 = step(s2, p, (const uint8_t *)code[2] + at);
		s3 = step(s3, p, (const uint8_t *)code[3] + at);
	}
	store4(s0, s1, s2, s3, ret);
}

INLINE simde__m256i fine_step(simde__m256i acc, simde__m256i q, const void *code, size_t at)
{
	simde__m128i c = simde_mm_loadu_si128((const simde__m128i *)((const int8_t *)code + at));

	return simde_mm256_add_epi32(acc, simde_mm256_madd_epi16(q, simde_mm256_cvtepi8_epi16(c)));
}

INLINE void fine_dot4(const int8_t *q, const void *const code[4], size_t n_blocks, int32_t ret[4])
{
	simde__m256i s0 = simde_mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0, wide;

	for (size_t at = 0; at < n_blocks * CODE_BLOCK_DIMS; at += 16) {
		wide = simde_mm256_cvtepi8_epi16(
			simde_mm_loadu_si128((const simde__m128i *)(q + at)));
		s0 = fine_step(s0, wide, code[0], at);
		s1 = fine_step(s1, wide, code[1], at);
		s2 = fine_step(s2, wide, code[2], at);
		s3 = fine_step(s3, wide, code[3], at);
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

const struct code_kernels codes_avx2 = {
	.name = "avx2",
	.mix = mix,
	.round8 = round8,
	.keys = keys,
	.fine_keys = fine_keys,
};
