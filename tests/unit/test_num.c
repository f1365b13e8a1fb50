/* Numbers to text and back: strtof and printf are the oracles. */
#include "t.h"

#include <math.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/num.h"

static uint64_t seed;

static uint64_t next_random(void)
{
	seed += 0x9e3779b97f4a7c15;
	return map_hash_u64(seed);
}

static void expect_parsed(const char *text, size_t n, size_t n_behind)
{
	float want = strtof(text, NULL), got = NAN;
	char *copy = malloc(n + n_behind); /* exactly: the sanitizer watches */

	memcpy(copy, text, n);
	for (size_t i = 0; i < n_behind; i++)
		copy[n + i] = (char)next_random();
	if (n_behind)
		copy[n] = ", \t]:/x\xb0"[next_random() % 8];
	if (num_parse_float(copy, copy + n + n_behind, &got) != copy + n ||
	    memcmp(&got, &want, 4) != 0)
		fail_msg("%s, %zu bytes behind: got %a, strtof says %a", text, n_behind,
		         (double)got, (double)want);
	free(copy);
}

/*
 * Against strtof, bit for bit: at the end of the bytes, and with others behind it, since sixteen
 * are looked at together where there are as many.
 */
static void expect_float(const char *text)
{
	size_t n = strlen(text);

	expect_parsed(text, n, 0);
	expect_parsed(text, n, 1 + next_random() % 20);
}

static float random_float(void)
{
	float v;

	do {
		uint32_t bits = (uint32_t)next_random();

		if (next_random() % 8 == 0)
			bits &= 0x80ffffff; /* subnormal or close to it */
		memcpy(&v, &bits, 4);
	} while (!isfinite(v));
	return v;
}

static void expect_around_middle(float v)
{
	char text[400];
	double middle = ((double)v + (double)nextafterf(v, v < 0 ? -INFINITY : INFINITY)) / 2;

	if (!isfinite(middle))
		return;
	snprintf(text, sizeof(text), "%.*e", (int)(next_random() % 130), middle);
	expect_float(text);
	snprintf(text, sizeof(text), "%.160f", middle);
	expect_float(text);
	snprintf(text, sizeof(text), "%.20e", nextafter(middle, 0));
	expect_float(text);
	snprintf(text, sizeof(text), "%.20e", nextafter(middle, 2 * middle));
	expect_float(text);
}

static void expect_random_digits(void)
{
	char text[128];
	size_t n = 0, whole = next_random() % 30, part = next_random() % 30;

	if (next_random() % 2)
		text[n++] = "+-"[next_random() % 2];
	for (size_t i = 0; i < whole; i++)
		text[n++] = (char)('0' + next_random() % 10);
	if (part || !whole) {
		text[n++] = '.';
		for (size_t i = 0; i < part + !whole; i++)
			text[n++] = (char)('0' + (next_random() % 3 ? next_random() % 10 : 0));
	}
	text[n] = '\0';
	if (next_random() % 2)
		snprintf(text + n, sizeof(text) - n, "%c%d", "eE"[next_random() % 2],
		         (int)(next_random() % 120) - 70);
	expect_float(text);
}

static void test_parse_float_is_strtof(void **state)
{
	char text[64];

	for (int i = 0; i < 60000; i++) {
		float v = random_float();

		snprintf(text, sizeof(text), "%.*g", 1 + (int)(next_random() % 24), (double)v);
		expect_float(text);
		expect_random_digits();
		if (i % 4 == 0)
			expect_around_middle(v);
	}
}

/* Fractions of every length before and behind the words of eight, at every distance to the end. */
static void test_parse_float_lengths(void **state)
{
	char text[80];

	for (int i = 0; i < 8000; i++) {
		size_t n = (size_t)snprintf(text, sizeof(text), "%s%llu.", i % 2 ? "-" : "",
		                            (unsigned long long)(next_random() % 1000));
		size_t digits = (size_t)i % 36;

		for (size_t j = 0; j < digits; j++)
			text[n++] = "0123456789990"[next_random() % 13];
		text[n] = '\0';
		for (size_t behind = 0; behind < 18; behind++)
			expect_parsed(text, n, behind);
	}
}

static void test_parse_float_edges(void **state)
{
	static const char *const text[] = {
		"0",
		"-0",
		"+0",
		"0.0",
		"-.0",
		"00000000000000000000000000",
		"0e99999",
		"5.",
		".5",
		"1e0",
		"1E+5",
		"1e-5",
		"3.4028235e38",
		"3.4028235677973366e38",
		"3.4028235677973365e38",
		"3.4028236e38",
		"1e39",
		"1e999",
		"-1e999",
		"1e99999999999999999999999",
		"1e-999",
		"1e-99999999999999999999999",
		"1.17549435e-38",
		"1.17549430e-38",
		"1.4e-45",
		"7e-46",
		"7.1e-46",
		"7.006492321624085e-46",
		"7.0064923216240854e-46",
		"16777217",
		"16777219",
		"16777217.0000000000000000000000000000001",
		"9007199791611904",
		"9007199254740993",
		"18446744073709551615",
		"18446744073709551616",
		"9999999999999999999",
		"340282356779733661637539395458142568447",
		"340282356779733661637539395458142568448",
	};
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++)
		expect_float(text[i]);
	/* a middle, then a 1 far behind it */
	for (int zeros = 0; zeros < 3000; zeros += 97) {
		buf_clear(&b);
		buf_adds(&b, "16777217.");
		for (int i = 0; i < zeros; i++)
			buf_addc(&b, '0');
		expect_float(b.data);
		buf_addc(&b, '1');
		expect_float(b.data);
	}
	/* an exponent that many zeros undo */
	buf_clear(&b);
	buf_adds(&b, "0.");
	for (int i = 0; i < 8000; i++)
		buf_addc(&b, '0');
	buf_adds(&b, "123e20001");
	expect_float(b.data);
	buf_release(&b);
}

static void expect_stop(const char *text, size_t n_read, float want)
{
	float got = NAN;
	const char *end = num_parse_float(text, text + strlen(text), &got);

	if (end != text + n_read || got != want)
		fail_msg("\"%s\": %td bytes, %a", text, end ? end - text : -1, (double)got);
}

static void test_parse_float_stops(void **state)
{
	static const char *const none[] = { "",   "-",   "+",   ".",   "-.",  "e5", ".e5",
		                            " 1", "inf", "nan", "--1", "+-1", "x",  "-inf" };
	float v = 17;

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_null(num_parse_float(none[i], none[i] + strlen(none[i]), &v));
	assert_true(v == 17);
	expect_stop("1 2", 1, 1);
	expect_stop("1,5", 1, 1);
	expect_stop("0x10", 1, 0);
	expect_stop("1e", 1, 1);
	expect_stop("1e+", 1, 1);
	expect_stop("1e+x", 1, 1);
	expect_stop("1.5.5", 3, 1.5f);
	expect_stop("1-2", 1, 1);
}

static int significant_digits(const char *s)
{
	int n = 0, zeros = 0;

	for (; *s && *s != 'e'; s++) {
		if (*s < '0' || *s > '9' || (n == 0 && *s == '0'))
			continue;
		n++;
		zeros = *s == '0' ? zeros + 1 : 0;
	}
	return n - zeros;
}

/* Nothing shorter, looking at the decimal below and above v for each count of digits. */
static void expect_shortest(float v, const char *text)
{
	char other[40];

	for (int n = 1; n < significant_digits(text); n++) {
		double down, up;

		snprintf(other, sizeof(other), "%.*e", n - 1, (double)v);
		down = strtod(other, NULL);
		up = down +
		     (down < (double)v ? 1 : -1) * pow(10, atoi(strchr(other, 'e') + 1) - n + 1);
		snprintf(other, sizeof(other), "%.*e", n - 1, down);
		if (strtof(other, NULL) == v)
			fail_msg("%s: %s is shorter", text, other);
		snprintf(other, sizeof(other), "%.*e", n - 1, up);
		if (strtof(other, NULL) == v)
			fail_msg("%s: %s is shorter", text, other);
	}
}

static void expect_round_trip(float v, bool shortest)
{
	char text[NUM_FLOAT_MAX + 1];
	size_t n;
	float back;

	memset(text, '#', sizeof(text));
	n = num_format_float(text, v);
	assert_true(n <= NUM_FLOAT_MAX);
	assert_int_equal(num_float_length(v), n);
	text[n] = '\0';
	back = strtof(text, NULL);
	if (memcmp(&back, &v, 4) != 0)
		fail_msg("%a became %s", (double)v, text);
	if (num_parse_float(text, text + n, &back) != text + n || memcmp(&back, &v, 4) != 0)
		fail_msg("%a became %s, which parses as %a", (double)v, text, (double)back);
	if (shortest && v != 0)
		expect_shortest(v, text);
}

static void test_format_float(void **state)
{
	for (int i = 0; i < 200000; i++)
		expect_round_trip(random_float(), i % 8 == 0);
	for (int i = 0; i < 50000; i++) /* what vectors are made of */
		expect_round_trip((float)((double)next_random() / 0x1p64 - 0.5), i % 8 == 0);
	for (int i = 0; i < 30000; i++) /* few digits */
		expect_round_trip((float)(next_random() % 100000) / 1000, i % 8 == 0);
	for (int e = -149; e < 128; e++) { /* where the floats below lie closer */
		expect_round_trip(ldexpf(1, e), true);
		expect_round_trip(nextafterf(ldexpf(1, e), 0), true);
		expect_round_trip(-nextafterf(ldexpf(1, e), INFINITY), true);
	}
}

static void test_format_float_style(void **state)
{
	static const struct {
		float v;
		const char *text;
	} want[] = {
		{ 0, "0" },
		{ -0.0f, "-0" },
		{ 1, "1" },
		{ -1.5f, "-1.5" },
		{ 0.1f, "0.1" },
		{ 12345, "12345" },
		{ 0.123f, "0.123" },
		{ 16777216, "16777216" },
		{ 100, "100" },
		{ 0.001f, "0.001" },
		{ 0.0001234f, "0.0001234" },
		{ 0.00001f, "1e-05" },
		{ 1e-7f, "1e-07" },
		{ 1.5e-7f, "1.5e-07" },
		{ 1e15f, "1000000000000000" },
		{ 1e16f, "1e+16" },
		{ 3.4028235e38f, "3.4028235e+38" },
		{ 1e-45f, "1e-45" },
		{ -1.1754944e-38f, "-1.1754944e-38" },
		{ 0x1p-44f, "5.684342e-14" },
	};

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		char text[NUM_FLOAT_MAX + 1];

		text[num_format_float(text, want[i].v)] = '\0';
		assert_string_equal(text, want[i].text);
	}
}

static void test_parse_u64(void **state)
{
	uint64_t v = 17;

	assert_true(num_parse_u64("0", 1, &v) && v == 0);
	assert_true(num_parse_u64("18446744073709551615", 20, &v) && v == UINT64_MAX);
	assert_true(num_parse_u64("007x", 3, &v) && v == 7);
	assert_false(num_parse_u64("18446744073709551616", 20, &v));
	assert_false(num_parse_u64("99999999999999999999", 20, &v));
	assert_false(num_parse_u64("", 0, &v));
	assert_false(num_parse_u64("-1", 2, &v));
	assert_false(num_parse_u64("1 ", 2, &v));
	assert_true(v == 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_float_is_strtof),
		cmocka_unit_test(test_parse_float_lengths),
		cmocka_unit_test(test_parse_float_edges),
		cmocka_unit_test(test_parse_float_stops),
		cmocka_unit_test(test_format_float),
		cmocka_unit_test(test_format_float_style),
		cmocka_unit_test(test_parse_u64),
	};

	seed = t_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
