/* codes_scalar.c: what the other sets compute, in plain C. */
#include <math.h>

#include "vector/codes_sets.h"

#define INLINE static inline __attribute__((always_inline))

static void mix(float *v, const float *signs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		v[i] *= signs[i];
	for (size_t h = 1; h < n; h *= 2) {
		for (size_t i = 0; i < n; i++) {
			float a = v[i], b;

			if (i & h)
				continue;
			b = v[i + h];
			v[i] = a + b;
			v[i + h] = a - b;
		}
	}
}

static float round8(const float *v, size_t n, int8_t *ret, int32_t *ret_sum)
{
	float max = 0, scale;

	for (size_t i = 0; i < n; i++)
		max = fmaxf(max, fabsf(v[i]));
	scale = max > 0 ? 127 / max : 0;
	*ret_sum = 0;
	for (size_t i = 0; i < n; i++) {
		ret[i] = (int8_t)lrintf(v[i] * scale);
		*ret_sum += ret[i];
	}
	return max / 127;
}

static int32_t dot(const int8_t *q, const uint8_t *code, size_t n_blocks)
{
	int32_t sum = 0;

	for (size_t b = 0; b < n_blocks; b++) {
		for (size_t i = 0; i < CODE_BLOCK_BYTES; i++)
			sum += q[i] * (code[i] & 15) + q[64 + i] * (code[i] >> 4);
		q += CODE_BLOCK_DIMS;
		code += CODE_BLOCK_BYTES;
	}
	return sum;
}

static inline __attribute__((always_inline)) void dot4(const int8_t *q, const void *const code[4],
                                                       size_t n_blocks, int32_t ret[4])
{
	for (size_t i = 0; i < 4; i++)
		ret[i] = dot(q, code[i], n_blocks);
}

static int32_t fine_dot(const int8_t *q, const int8_t *code, size_t n)
{
	int32_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += q[i] * code[i];
	return sum;
}

INLINE void fine_dot4(const int8_t *q, const void *const code[4], size_t n_blocks, int32_t ret[4])
{
	for (size_t i = 0; i < 4; i++)
		ret[i] = fine_dot(q, code[i], n_blocks * CODE_BLOCK_DIMS);
}

static void keys(const struct code_scan *s, const uint32_t *slots, size_t n, float *ret)
{
	code_keys_by_dot4(s, s->n_blocks * CODE_BLOCK_BYTES, slots, n, ret, dot4);
}

static void fine_keys(const struct code_scan *s, const uint32_t *slots, size_t n, float *ret)
{
	code_keys_by_dot4(s, s->n_blocks * CODE_BLOCK_DIMS, slots, n, ret, fine_dot4);
}

const struct code_kernels codes_scalar = {
	.name = "scalar",
	.mix = mix,
	.round8 = round8,
	.keys = keys,
	.fine_keys = fine_keys,
};
