/*
 * num_format.c: the shortest decimal of a float, by Schubfach (Giulietti 2020, "The Schubfach way to
 * render doubles").
 *
 * The decimals that read back as v form an interval around it. k is chosen so that the interval
 * holds at least one multiple of 10^k and at most one of 10^(k+1): the latter if it is inside, else
 * the nearest of the former. All three of v and the interval's ends are multiplied by a power of ten
 * of 64 bits and keep one bit that says whether anything was cut ("round to odd"), which is all
 * that comparisons need. No branch depends on more than a digit, and nothing is ever tried.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

/* digits * 10^exp10, no zero at the end of digits. */
struct decimal {
	uint32_t digits;
	int n_digits;
	int exp10;
};

#define POWER_MIN (-31)

/* 10^k for k from POWER_MIN to 45: the upper 64 bits, rounded up. */
static const uint64_t power[] = {
	0x81ceb32c4b43fcf5, 0xa2425ff75e14fc32, 0xcad2f7f5359a3b3f, 0xfd87b5f28300ca0e,
	0x9e74d1b791e07e49, 0xc612062576589ddb, 0xf79687aed3eec552, 0x9abe14cd44753b53,
	0xc16d9a0095928a28, 0xf1c90080baf72cb2, 0x971da05074da7bef, 0xbce5086492111aeb,
	0xec1e4a7db69561a6, 0x9392ee8e921d5d08, 0xb877aa3236a4b44a, 0xe69594bec44de15c,
	0x901d7cf73ab0acda, 0xb424dc35095cd810, 0xe12e13424bb40e14, 0x8cbccc096f5088cc,
	0xafebff0bcb24aaff, 0xdbe6fecebdedd5bf, 0x89705f4136b4a598, 0xabcc77118461cefd,
	0xd6bf94d5e57a42bd, 0x8637bd05af6c69b6, 0xa7c5ac471b478424, 0xd1b71758e219652c,
	0x83126e978d4fdf3c, 0xa3d70a3d70a3d70b, 0xcccccccccccccccd, 0x8000000000000000,
	0xa000000000000000, 0xc800000000000000, 0xfa00000000000000, 0x9c40000000000000,
	0xc350000000000000, 0xf424000000000000, 0x9896800000000000, 0xbebc200000000000,
	0xee6b280000000000, 0x9502f90000000000, 0xba43b74000000000, 0xe8d4a51000000000,
	0x9184e72a00000000, 0xb5e620f480000000, 0xe35fa931a0000000, 0x8e1bc9bf04000000,
	0xb1a2bc2ec5000000, 0xde0b6b3a76400000, 0x8ac7230489e80000, 0xad78ebc5ac620000,
	0xd8d726b7177a8000, 0x878678326eac9000, 0xa968163f0a57b400, 0xd3c21bcecceda100,
	0x84595161401484a0, 0xa56fa5b99019a5c8, 0xcecb8f27f4200f3a, 0x813f3978f8940985,
	0xa18f07d736b90be6, 0xc9f2c9cd04674edf, 0xfc6f7c4045812297, 0x9dc5ada82b70b59e,
	0xc5371912364ce306, 0xf684df56c3e01bc7, 0x9a130b963a6c115d, 0xc097ce7bc90715b4,
	0xf0bdc21abb48db21, 0x96769950b50d88f5, 0xbc143fa4e250eb32, 0xeb194f8e1ae525fe,
	0x92efd1b8d0cf37bf, 0xb7abc627050305ae, 0xe596b7b0c643c71a, 0x8f7e32ce7bea5c70,
	0xb35dbf821ae4f38c,
};

/* floor(log10(2^e)), or of 3/4 of it; right for the exponents of floats and far beyond. */
static int log10_of_power(int e, bool three_quarters)
{
	return (e * 1262611 - (three_quarters ? 524031 : 0)) >> 22;
}

/* floor(log2(10^k)) */
static int log2_of_power(int k)
{
	return (k * 1741647) >> 19;
}

/* The upper bits of g * x, and in the lowest one whether anything was left below. */
static uint32_t round_to_odd(uint64_t g, uint32_t x)
{
	unsigned __int128 p = (unsigned __int128)g * x;

	return (uint32_t)(p >> 64) | ((uint32_t)(p >> 32) > 1);
}

static int count_digits(uint32_t v)
{
	static const uint32_t least[] = { 1,      10,      100,      1000,      10000,
		                          100000, 1000000, 10000000, 100000000, 1000000000 };
	int n = ((32 - __builtin_clz(v)) * 1233) >> 12; /* log10(2) = 1233 / 4096 */

	return n + (v >= least[n]);
}

static struct decimal make_decimal(uint32_t digits, int exp10)
{
	while (digits % 10 == 0) {
		digits /= 10;
		exp10++;
	}
	return (struct decimal){ digits, count_digits(digits), exp10 };
}

/* v and the ends of its interval, times four, in units of 10^k. */
struct scaled {
	uint32_t lower, v, upper;
};

/* v = c * 2^q; the float below is half as far at a power of two. */
static struct scaled scale(uint32_t c, int q, int k, bool power_of_two)
{
	int shift = q + log2_of_power(-k) + 1;
	uint64_t g = power[-k - POWER_MIN];
	uint32_t odd = c & 1; /* ends read back as v only when v's last bit is 0 */

	return (struct scaled){
		.lower = round_to_odd(g, (4 * c - 2 + power_of_two) << shift) + odd,
		.v = round_to_odd(g, 4 * c << shift),
		.upper = round_to_odd(g, (4 * c + 2) << shift) - odd,
	};
}

static struct decimal shortest_between(const struct scaled *x, int k)
{
	uint32_t s = x->v / 4, tens = s / 10, middle = 4 * s + 2;
	bool ten_below = x->lower <= 40 * tens, ten_above = 40 * tens + 40 <= x->upper;
	bool below = x->lower <= 4 * s, above = 4 * s + 4 <= x->upper;
	bool nearer = (x->v > middle) | ((x->v == middle) & (s & 1));
	uint32_t coarse = -(uint32_t)((s >= 10) & (ten_below != ten_above));
	uint32_t one = s + (below == above ? nearer : above), ten = tens + ten_above;

	return make_decimal((ten & coarse) | (one & ~coarse), k + (int)(coarse & 1));
}

/* v is finite, > 0. */
static struct decimal shortest(float v)
{
	uint32_t bits, fraction, exponent, c;
	struct scaled x;
	bool power_of_two;
	int q, k;

	memcpy(&bits, &v, sizeof(bits));
	fraction = bits & 0x7fffff;
	exponent = bits >> 23;
	c = exponent ? fraction | 0x800000 : fraction;
	q = (int)(exponent ? exponent : 1) - 150;
	if (q <= 0 && q > -24 && (c & ((1u << -q) - 1)) == 0)
		return make_decimal(c >> -q, 0); /* a whole number */
	power_of_two = fraction == 0 && exponent > 1;
	k = log10_of_power(q, power_of_two);
	x = scale(c, q, k, power_of_two);
	return shortest_between(&x, k);
}

/* point, here and below: digits before the point, <= 0 when zeros lead. */
static bool is_plain(const struct decimal *d)
{
	int point = d->n_digits + d->exp10;

	return point > -4 && point <= 16;
}

static size_t decimal_length(const struct decimal *d)
{
	int point = d->n_digits + d->exp10;

	if (!is_plain(d)) /* d.ddde-07: exponents of floats have two digits */
		return (size_t)d->n_digits + (d->n_digits > 1) + 4;
	if (point <= 0)
		return (size_t)d->n_digits + 2 - (size_t)point;
	return (size_t)(d->exp10 >= 0 ? point : d->n_digits + 1);
}

static void put_digits(char *p, uint32_t digits, int n)
{
	while (n > 0) {
		p[--n] = (char)('0' + digits % 10);
		digits /= 10;
	}
}

static char *put_plain(char *p, const struct decimal *d)
{
	int point = d->n_digits + d->exp10;

	if (point <= 0) {
		memcpy(p, "0.000000", 8); /* NOLINT(bugprone-not-null-terminated-result) */
		p += 2 - point;
		put_digits(p, d->digits, d->n_digits);
		return p + d->n_digits;
	}
	put_digits(p, d->digits, d->n_digits);
	if (d->exp10 >= 0) {
		memset(p + d->n_digits, '0', (size_t)d->exp10);
		return p + point;
	}
	memmove(p + point + 1, p + point, (size_t)(d->n_digits - point));
	p[point] = '.';
	return p + d->n_digits + 1;
}

static char *put_scientific(char *p, const struct decimal *d)
{
	int e = d->n_digits + d->exp10 - 1;

	put_digits(p + 1, d->digits, d->n_digits);
	p[0] = p[1];
	p[1] = '.';
	p += d->n_digits > 1 ? d->n_digits + 1 : 1;
	*p++ = 'e';
	*p++ = e < 0 ? '-' : '+';
	put_digits(p, (uint32_t)abs(e), 2);
	return p + 2;
}

size_t num_format_float(char out[NUM_FLOAT_MAX], float v)
{
	struct decimal d;
	char *p = out;

	if (signbit(v))
		*p++ = '-';
	if (v == 0) {
		*p++ = '0';
		return (size_t)(p - out);
	}
	d = shortest(fabsf(v));
	p = is_plain(&d) ? put_plain(p, &d) : put_scientific(p, &d);
	return (size_t)(p - out);
}

size_t num_float_length(float v)
{
	size_t sign = signbit(v) ? 1 : 0;
	struct decimal d;

	if (v == 0)
		return sign + 1;
	d = shortest(fabsf(v));
	return sign + decimal_length(&d);
}
