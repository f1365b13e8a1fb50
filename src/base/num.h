/*
 * num.h: numbers to text and back.
 */
#ifndef RV_BASE_NUM_H
#define RV_BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NUM_FLOAT_MAX 24 /* bytes that num_format_float may write, without a 0 byte */

/*
 * Parses one decimal number from [s, end), exactly as strtof in the C locale would round it,
 * but without hexadecimal, "inf" and "nan". Returns the first byte after it, or NULL when there
 * is no number at s. Overflow gives ±INFINITY (so does "1e999"; the caller refuses it),
 * underflow gives what strtof gives. The text need not end in a 0 byte. Hot: Clinger's fast
 * path in double, strtof only when double rounding could differ.
 */
const char *num_parse_float(const char *s, const char *end, float *ret);

/*
 * The shortest decimal that reads back as the same float (-0 is "-0"; finite only). Returns its
 * length.
 */
size_t num_format_float(char out[NUM_FLOAT_MAX], float v);

/* The same length without the text. */
size_t num_float_length(float v);

/*
 * Whole decimal numbers: the entire [s, s+n) must be digits. false on anything else or above
 * UINT64_MAX.
 */
bool num_parse_u64(const char *s, size_t n, uint64_t *ret);

static inline bool num_mul_overflows(size_t a, size_t b, size_t *ret)
{
	return __builtin_mul_overflow(a, b, ret);
}

#endif
