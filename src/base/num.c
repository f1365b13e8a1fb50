/*
 * num.c: decimal to float, mostly in double arithmetic, and whole numbers.
 *
 * Parsing departs from Clinger's fast path, which wants exact operands: up to 19 digits (as a
 * 64-bit integer) are scaled by a table's power of ten in double, which is wrong by at most
 * RISK units in the last place. That decides the float unless the double lies that close to the
 * middle between two floats; then, and where floats are subnormal or overflow, strtof is asked.
 * How many digits a fraction has cannot be predicted, so sixteen bytes are read at once and their
 * digits counted and converted without a branch (as 64-bit words of eight lanes).
 *
 * No locale: strtof sees digits and an exponent only, never a decimal point.
 */
#include "base/num.h"

#include <endian.h>
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_U64  19         /* decimal digits that always fit into 64 bits */
#define POWER_MAX   60         /* 1e-60 * 10^19 is below every float */
#define RISK        8          /* three roundings make at most 3 ulp; the rest is margin */
#define MIDDLE      0x10000000 /* the 29 bits that a float lacks, half way */
#define DIGITS_SLOW 128        /* the middle of two floats has at most 113 digits */

/* Correctly rounded; exact up to 1e22. */
static const double power_of_ten[POWER_MAX + 1] = {
	1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11, 1e12,
	1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 1e23, 1e24, 1e25,
	1e26, 1e27, 1e28, 1e29, 1e30, 1e31, 1e32, 1e33, 1e34, 1e35, 1e36, 1e37, 1e38,
	1e39, 1e40, 1e41, 1e42, 1e43, 1e44, 1e45, 1e46, 1e47, 1e48, 1e49, 1e50, 1e51,
	1e52, 1e53, 1e54, 1e55, 1e56, 1e57, 1e58, 1e59, 1e60,
};

static bool is_digit(char c)
{
	return (unsigned char)(c - '0') < 10;
}

/* A number's parts: value = digits (the point left out) * 10^exp10. */
struct decimal_text {
	const char *digits; /* digits and at most one point */
	const char *digits_end;
	size_t n_digits;
	uint64_t mantissa; /* of all digits, modulo 2^64 */
	int64_t exp10;
	bool negative;
};

/* An exponent that is there but has no digits is not part of the number, as in strtof. */
static const char *scan_exponent(const char *s, const char *end, int64_t *exp10)
{
	const char *p = s + 1;
	bool negative = false;
	int64_t e = 0;

	if (p < end && (*p == '-' || *p == '+'))
		negative = *p++ == '-';
	if (p >= end || !is_digit(*p))
		return s;
	for (; p < end && is_digit(*p); p++)
		if (e < INT64_MAX / 100)
			e = e * 10 + (*p - '0');
	*exp10 += negative ? -e : e;
	return p;
}

static const char *scan_digits(const char *p, const char *end, uint64_t *mantissa)
{
	uint64_t m = *mantissa;

	for (; p < end && is_digit(*p); p++)
		m = m * 10 + (uint64_t)(*p - '0');
	*mantissa = m;
	return p;
}

/* Eight characters, the first in the lowest byte; digits are 0 to 9. */
static inline uint64_t load_eight(const char *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	return le64toh(word) ^ 0x3030303030303030;
}

/*
 * How many digits lead. A byte above 9 sets its top bit in the sum; what it carries goes to the
 * bytes behind it only.
 */
static inline unsigned count_digits(uint64_t eight)
{
	uint64_t others = (eight | (eight + 0x7676767676767676)) & 0x8080808080808080;

	return others ? (unsigned)__builtin_ctzll(others) / 8 : 8;
}

/* The value of n digits that lead: pairs, then fours, then eight. Two shifts, as n may be 0. */
static inline uint64_t value_of(uint64_t eight, unsigned n)
{
	uint64_t v = eight << (32 - 4 * n) << (32 - 4 * n);

	v = v * 10 + (v >> 8);
	return ((v & 0xff000000ff) * 0xf424000000064 + (v >> 16 & 0xff000000ff) * 0x271000000001) >>
	       32;
}

/* As scan_digits, up to sixteen at once; [p, p + 16) can be read. */
static inline const char *scan_sixteen(const char *p, uint64_t *mantissa)
{
	static const uint32_t powers[] = { 1,      10,      100,      1000,     10000,
		                           100000, 1000000, 10000000, 100000000 };
	uint64_t first = load_eight(p), second = load_eight(p + 8);
	unsigned n = count_digits(first), more = count_digits(second);

	more = n == 8 ? more : 0;
	*mantissa = *mantissa * powers[n] + value_of(first, n);
	*mantissa = *mantissa * powers[more] + value_of(second, more);
	return p + n + more;
}

static inline const char *scan_fraction(const char *p, const char *end, uint64_t *mantissa)
{
	if (end - p >= 16)
		p = scan_sixteen(p, mantissa);
	return scan_digits(p, end, mantissa);
}

static const char *scan(const char *s, const char *end, struct decimal_text *t)
{
	const char *p = s;

	t->negative = false;
	t->mantissa = 0;
	t->exp10 = 0;
	if (p < end) { /* every other number has a sign: no branches */
		t->negative = *p == '-';
		p += t->negative | (*p == '+');
	}
	t->digits = p;
	p = scan_digits(p, end, &t->mantissa);
	t->n_digits = (size_t)(p - t->digits);
	if (p < end && *p == '.') {
		const char *fraction = ++p;

		p = scan_fraction(p, end, &t->mantissa);
		t->exp10 = -(p - fraction);
		t->n_digits += (size_t)(p - fraction);
	}
	t->digits_end = p;
	if (t->n_digits == 0)
		return NULL;
	if (p < end && (*p == 'e' || *p == 'E'))
		p = scan_exponent(p, end, &t->exp10);
	return p;
}

/*
 * More than 19 digits: keeps the first 19 that count. What is dropped is below 1e-18 of the value,
 * which RISK covers.
 */
__attribute__((noinline)) static void shorten(struct decimal_text *t)
{
	int n = 0;

	t->mantissa = 0;
	for (const char *p = t->digits; p < t->digits_end; p++) {
		if (*p == '.' || (n == 0 && *p == '0'))
			continue;
		if (n < DIGITS_U64) {
			t->mantissa = t->mantissa * 10 + (uint64_t)(*p - '0');
			n++;
		} else {
			t->exp10++;
		}
	}
}

/*
 * exp10 belongs to all digits here. Digits that are cut count as one 1 behind the others: no middle
 * between two floats is that long.
 */
__attribute__((noinline)) static float round_slowly(const struct decimal_text *t, int64_t exp10)
{
	char text[DIGITS_SLOW + 32];
	bool rest = false;
	int n = 0;

	for (const char *p = t->digits; p < t->digits_end; p++) {
		if (*p == '.' || (n == 0 && *p == '0'))
			continue;
		if (n < DIGITS_SLOW) {
			text[n++] = *p;
			continue;
		}
		rest = rest || *p != '0';
		exp10++;
	}
	if (rest) {
		text[n++] = '1';
		exp10--;
	}
	if (exp10 > 9999 || exp10 < -9999)
		exp10 = exp10 < 0 ? -9999 : 9999;
	snprintf(text + n, sizeof(text) - (size_t)n, "e%d", (int)exp10);
	return strtof(text, NULL);
}

static bool is_sure(double d)
{
	uint64_t bits;

	if (d < FLT_MIN || d > FLT_MAX)
		return false;
	memcpy(&bits, &d, sizeof(bits));
	bits &= (1u << 29) - 1;
	return bits - (MIDDLE - RISK) > 2 * RISK;
}

static float to_float(struct decimal_text *t)
{
	int64_t exp10 = t->exp10;
	double d;

	if (t->n_digits > DIGITS_U64)
		shorten(t);
	if (t->mantissa == 0)
		return 0;
	if (t->exp10 >= -POWER_MAX && t->exp10 <= POWER_MAX) {
		d = (double)t->mantissa;
		if (t->exp10 < 0)
			d /= power_of_ten[-t->exp10];
		else
			d *= power_of_ten[t->exp10];
		if (is_sure(d))
			return (float)d;
	}
	return round_slowly(t, exp10);
}

const char *num_parse_float(const char *s, const char *end, float *ret)
{
	struct decimal_text t;
	const char *p = scan(s, end, &t);
	uint32_t bits;
	float v;

	if (!p)
		return NULL;
	v = to_float(&t);
	memcpy(&bits, &v, sizeof(bits));
	bits |= (uint32_t)t.negative << 31;
	memcpy(ret, &bits, sizeof(bits));
	return p;
}

bool num_parse_u64(const char *s, size_t n, uint64_t *ret)
{
	uint64_t v = 0;

	if (n == 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!is_digit(s[i]) || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
			return false;
	}
	*ret = v;
	return true;
}
