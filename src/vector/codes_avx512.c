/*
 * codes_avx512.c: a whole block at a time with the dot products of VNNI, which sum four products
 * of a byte of code and one of the query into each of 16 lanes. High nibbles are not shifted
 * down: their sum is 16 times too large, and is divided at the end.
 */
#include "vector/codes_x86.h"
#include "vector/kernel_gaps.h"

/* Sums in the lower lane of a pair, differences above. */
INLINE simde__m512 pairs(simde__m512 x, simde__m512 swapped, simde__mmask16 upper)
{
	return simde_mm512_mask_sub_ps(simde_mm512_add_ps(swapped, x), upper, swapped, x);
}

/* The steps between lanes of one register. */
INLINE simde__m512 mix16(simde__m512 x)
{
	const simde__m512i by1 = simde_mm512_setr_epi32(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13,
	                                                12, 15, 14);
	const simde__m512i by2 = simde_mm512_setr_epi32(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14,
	                                                15, 12, 13);

	x = pairs(x, simde_mm512_permutexvar_ps(by1, x), 0xaaaa);
	x = pairs(x, simde_mm512_permutexvar_ps(by2, x), 0xcccc);
	x = pairs(x, simde_mm512_shuffle_f32x4(x, x, 0xb1), 0xf0f0);
	return pairs(x, simde_mm512_shuffle_f32x4(x, x, 0x4e), 0xff00);
}

/* The steps h and 2 h at once: half the loads and stores of one after the other. */
INLINE void mix_two_steps(float *v, size_t n, size_t h)
{
	for (size_t i = 0; i < n; i += (i + 16) & h ? 3 * h + 16 : 16) {
		simde__m512 a = simde_mm512_loadu_ps(v + i), b = simde_mm512_loadu_ps(v + i + h);
		simde__m512 c = simde_mm512_loadu_ps(v + i + 2 * h);
		simde__m512 d = simde_mm512_loadu_ps(v + i + 3 * h);
		simde__m512 ab = simde_mm512_add_ps(a, b), cd = simde_mm512_add_ps(c, d);

		a = simde_mm512_sub_ps(a, b);
		c = simde_mm512_sub_ps(c, d);
		simde_mm512_storeu_ps(v + i, simde_mm512_add_ps(ab, cd));
		simde_mm512_storeu_ps(v + i + h, simde_mm512_add_ps(a, c));
		simde_mm512_storeu_ps(v + i + 2 * h, simde_mm512_sub_ps(ab, cd));
		simde_mm512_storeu_ps(v + i + 3 * h, simde_mm512_sub_ps(a, c));
	}
}

static void mix(float *v, const float *signs, size_t n)
{
	size_t h = 16;

	for (size_t i = 0; i < n; i += 16)
		simde_mm512_storeu_ps(v + i,
		                      mix16(simde_mm512_mul_ps(simde_mm512_loadu_ps(v + i),
		                                               simde_mm512_loadu_ps(signs + i))));
	for (; 2 * h < n; h *= 4)
		mix_two_steps(v, n, h);
	for (size_t i = 0; h < n && i < h; i += 16) {
		simde__m512 a = simde_mm512_loadu_ps(v + i), b = simde_mm512_loadu_ps(v + i + h);

		simde_mm512_storeu_ps(v + i, simde_mm512_add_ps(a, b));
		simde_mm512_storeu_ps(v + i + h, simde_mm512_sub_ps(a, b));
	}
}

static float round8(const float *v, size_t n, int8_t *ret, int32_t *ret_sum)
{
	return codes_x86_round8(v, n, ret, ret_sum);
}

INLINE simde__m128i fold(simde__m512i v)
{
	simde__m128i a = simde_mm512_extracti32x4_epi32(v, 0);
	simde__m128i b = simde_mm512_extracti32x4_epi32(v, 1);
	simde__m128i c = simde_mm512_extracti32x4_epi32(v, 2);
	simde__m128i d = simde_mm512_extracti32x4_epi32(v, 3);

	return simde_mm_add_epi32(simde_mm_add_epi32(a, b), simde_mm_add_epi32(c, d));
}

#define LOW(c)         simde_mm512_and_si512((c), low)
#define HIGH(c)        simde_mm512_andnot_si512(low, (c))
#define DOT(acc, a, b) ((acc) = simde_mm512_dpbusd_epi32((acc), (a), (b)))

/* Both sums of a code as one, 16 times too large as that of the high nibbles is. */
INLINE simde__m512i both(simde__m512i low, simde__m512i high)
{
	return simde_mm512_add_epi32(simde_mm512_slli_epi32(low, 4), high);
}

/* Four sums become one register by a transposed addition: three halvings instead of four each. */
INLINE simde__m128i fold4(simde__m512i a, simde__m512i b, simde__m512i c, simde__m512i d)
{
	simde__m512i ab = simde_mm512_add_epi32(simde_mm512_unpacklo_epi32(a, b),
	                                        simde_mm512_unpackhi_epi32(a, b));
	simde__m512i cd = simde_mm512_add_epi32(simde_mm512_unpacklo_epi32(c, d),
	                                        simde_mm512_unpackhi_epi32(c, d));

	return fold(simde_mm512_add_epi32(simde_mm512_unpacklo_epi64(ab, cd),
	                                  simde_mm512_unpackhi_epi64(ab, cd)));
}

INLINE simde__m128i dot4(const int8_t *q, const uint8_t *const code[4], size_t n_blocks)
{
	const simde__m512i low = simde_mm512_set1_epi8(15);
	simde__m512i l0 = simde_mm512_setzero_si512(), l1 = l0, l2 = l0, l3 = l0;
	simde__m512i h0 = l0, h1 = l0, h2 = l0, h3 = l0, c, ql, qh;

	for (size_t at = 0; at < n_blocks * CODE_BLOCK_BYTES; at += CODE_BLOCK_BYTES) {
		ql = simde_mm512_loadu_si512(q + 2 * at);
		qh = simde_mm512_loadu_si512(q + 2 * at + 64);
		c = simde_mm512_loadu_si512(code[0] + at);
		DOT(l0, LOW(c), ql);
		DOT(h0, HIGH(c), qh);
		c = simde_mm512_loadu_si512(code[1] + at);
		DOT(l1, LOW(c), ql);
		DOT(h1, HIGH(c), qh);
		c = simde_mm512_loadu_si512(code[2] + at);
		DOT(l2, LOW(c), ql);
		DOT(h2, HIGH(c), qh);
		c = simde_mm512_loadu_si512(code[3] + at);
		DOT(l3, LOW(c), ql);
		DOT(h3, HIGH(c), qh);
	}
	return simde_mm_srai_epi32(fold4(both(l0, h0), both(l1, h1), both(l2, h2), both(l3, h3)),
	                           4);
}

/*
 * Fine codes are signed, VNNI wants one side unsigned: 128 more in each dimension, which adds 128
 * times the sum of q.
 */
INLINE simde__m128i fine_dot4(const int8_t *q, const uint8_t *const code[4], size_t n_blocks)
{
	const simde__m512i high = simde_mm512_set1_epi8((int8_t)0x80), more = high;
	simde__m512i s0 = simde_mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0, sum = s0, part;
	simde__m128i over;

	for (size_t at = 0; at < n_blocks * CODE_BLOCK_DIMS; at += 64) {
		part = simde_mm512_loadu_si512(q + at);
		DOT(sum, more, part);
		DOT(s0, simde_mm512_xor_si512(simde_mm512_loadu_si512(code[0] + at), high), part);
		DOT(s1, simde_mm512_xor_si512(simde_mm512_loadu_si512(code[1] + at), high), part);
		DOT(s2, simde_mm512_xor_si512(simde_mm512_loadu_si512(code[2] + at), high), part);
		DOT(s3, simde_mm512_xor_si512(simde_mm512_loadu_si512(code[3] + at), high), part);
	}
	over = fold4(sum, sum, sum, sum);
	return simde_mm_sub_epi32(fold4(s0, s1, s2, s3), over);
}

/* Of slots[i] to slots[i + 3], those beyond the n-th being that one again. */
INLINE void keys4(const struct code_scan *s, const uint32_t *slots, size_t i, size_t n,
                  size_t n_blocks, int fine, float *ret)
{
	size_t bytes = n_blocks * (fine ? CODE_BLOCK_DIMS : CODE_BLOCK_BYTES), last = n - 1;
	const uint32_t four[4] = { slots[i], slots[i + 1 < last ? i + 1 : last],
		                   slots[i + 2 < last ? i + 2 : last],
		                   slots[i + 3 < last ? i + 3 : last] };
	simde__m128 norm = simde_mm_set1_ps(1), key;
	const uint8_t *code[4];
	simde__m128i dot;

	for (size_t j = 0; j < 4; j++)
		code[j] = (const uint8_t *)s->codes + four[j] * bytes;
	dot = fine ? fine_dot4(s->q, code, n_blocks) : dot4(s->q, code, n_blocks);
	dot = simde_mm_slli_epi32(dot, 1);
	dot = simde_mm_sub_epi32(dot, simde_mm_set1_epi32(s->offset));
	if (s->norms)
		norm = simde_mm_setr_ps(s->norms[four[0]], s->norms[four[1]], s->norms[four[2]],
		                        s->norms[four[3]]);
	key = simde_mm_mul_ps(simde_mm_mul_ps(simde_mm_set1_ps(s->square), norm), norm);
	key = simde_mm_add_ps(simde_mm_set1_ps(s->base), key);
	norm = simde_mm_mul_ps(simde_mm_set1_ps(s->scale), norm);
	simde_mm_storeu_ps(ret + i,
	                   simde_mm_add_ps(key, simde_mm_mul_ps(norm, simde_mm_cvtepi32_ps(dot))));
}

/* Whole fours: how many are left over cannot be guessed, and a wrong guess costs as much as a key. */
INLINE void keys_of(const struct code_scan *s, const uint32_t *slots, size_t n, size_t n_blocks,
                    int fine, float *ret)
{
	for (size_t i = 0; i < n; i += 4)
		keys4(s, slots, i, n, n_blocks, fine, ret);
}

/* The queries of short vectors then stay in registers. */
static void keys(const struct code_scan *s, const uint32_t *slots, size_t n, float *ret)
{
	if (s->n_blocks == 1)
		keys_of(s, slots, n, 1, 0, ret);
	else if (s->n_blocks == 2)
		keys_of(s, slots, n, 2, 0, ret);
	else
		keys_of(s, slots, n, s->n_blocks, 0, ret);
}

static void fine_keys(const struct code_scan *s, const uint32_t *slots, size_t n, float *ret)
{
	if (s->n_blocks == 2)
		keys_of(s, slots, n, 2, 1, ret);
	else
		keys_of(s, slots, n, s->n_blocks, 1, ret);
}

const struct code_kernels codes_avx512 = {
	.name = "avx512",
	.mix = mix,
	.round8 = round8,
	.keys = keys,
	.fine_keys = fine_keys,
};
