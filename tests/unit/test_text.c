/* test_text.c: lines of numbers. */
#include "t.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "vector/text.h"

#define MAX 8

/*
 * The line stands in exactly its own bytes, so that the address sanitizer sees a read beyond
 * them.
 */
static long parse(const char *line, size_t n, float *ret, struct err *e)
{
	char *copy = mem_alloc(n ? n : 1, 1);
	long rc;

	memcpy(copy, line, n);
	rc = text_parse_floats(copy, copy + n, ret, MAX, e);
	mem_free(copy);
	return rc;
}

static void good_lines(void **state)
{
	static const struct {
		const char *line;
		long n;
		float v[4];
	} cases[] = {
		{ "", 0, { 0 } },
		{ " \t ", 0, { 0 } },
		{ "1", 1, { 1 } },
		{ "1 2 3", 3, { 1, 2, 3 } },
		{ "1,2,3", 3, { 1, 2, 3 } },
		{ "1\t2\t3", 3, { 1, 2, 3 } },
		{ " 1 , 2\t,\t3 ", 3, { 1, 2, 3 } },
		{ "[1,2,3]", 3, { 1, 2, 3 } },
		{ " [ 1 2 3 ] \t", 3, { 1, 2, 3 } },
		{ "[]", 0, { 0 } },
		{ "[ ]", 0, { 0 } },
		{ "-0.5 +2 .25 1e-3", 4, { -0.5f, 2, 0.25f, 1e-3f } },
		{ "3.4028235e38 -3.4028235e38 1e-45 1e-999",
		  4,
		  { 3.4028235e38f, -3.4028235e38f, 1e-45f, 0 } },
		{ "0.1 0.30000001192092896 16777217 1E2", 4, { 0.1f, 0.3f, 16777216, 100 } },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err e = { 0 };
		float v[MAX];
		long n = parse(cases[i].line, strlen(cases[i].line), v, &e);

		if (n != cases[i].n)
			fail_msg("'%s': %ld (%s), expected %ld", cases[i].line, n, e.text,
			         cases[i].n);
		for (long j = 0; j < n; j++) {
			if (v[j] != cases[i].v[j])
				fail_msg("'%s': number %ld is %.9g", cases[i].line, j + 1, v[j]);
		}
	}
}

static void bad_lines(void **state)
{
	static const struct {
		const char *line;
		int code;
		const char *sentence;
	} cases[] = {
		{ "1 2 abc", EINVAL, "number 3: 'abc' is not a number" },
		{ "1.5abc", EINVAL, "number 1: '1.5abc' is not a number" },
		{ "1-2", EINVAL, "number 1: '1-2' is not a number" },
		{ "0x10", EINVAL, "number 1: '0x10' is not a number" },
		{ "1 -", EINVAL, "number 2: '-' is not a number" },
		{ "1;2", EINVAL, "number 1: '1;2' is not a number" },
		{ "nan", EINVAL, "number 1: nan is not finite" },
		{ "1 -NaN", EINVAL, "number 2: -NaN is not finite" },
		{ "inf", EINVAL, "number 1: inf is not finite" },
		{ "+Infinity 1", EINVAL, "number 1: +Infinity is not finite" },
		{ "1e999", EINVAL, "number 1: 1e999 is out of range of a 32-bit float" },
		{ "1 -3.5e38", EINVAL, "number 2: -3.5e38 is out of range of a 32-bit float" },
		{ ",1", EINVAL, "number 1: nothing before the comma" },
		{ "1,,2", EINVAL, "number 2: nothing before the comma" },
		{ "1,2,", EINVAL, "number 3: nothing after the comma" },
		{ "[1,2,]", EINVAL, "number 3: nothing after the comma" },
		{ "[,", EINVAL, "number 1: nothing before the comma" },
		{ "[1 2", EINVAL, "no closing bracket" },
		{ "[", EINVAL, "no closing bracket" },
		{ "1 2]", EINVAL, "number 3: a closing bracket that none opened" },
		{ "[[1 2]]", EINVAL, "number 1: a bracket in the middle; write one vector a line" },
		{ "1 [2]", EINVAL, "number 2: a bracket in the middle; write one vector a line" },
		{ "[1 2] x", EINVAL, "text after the closing bracket: 'x'" },
		{ "[1 2],", EINVAL, "text after the closing bracket: ','" },
		{ "1 2 3 4 5 6 7 8 9", E2BIG, "more than 8 numbers" },
		{ "1 \x01", EINVAL, "number 2: byte 0x01 is not text" },
		{ "1 \xff\xfe", EINVAL, "number 2: '\?\?' is not a number" },
		{ "abcdefghijklmnopqrstuvwxyzabcdef", EINVAL,
		  "number 1: 'abcdefghijklmnopqrstuvwx...' is not a number" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err e = { 0 };
		float v[MAX];
		long n = parse(cases[i].line, strlen(cases[i].line), v, &e);

		if (n != -cases[i].code || strcmp(e.text, cases[i].sentence) != 0)
			fail_msg("'%s': %ld \"%s\"", cases[i].line, n, e.text);
	}
}

static void a_zero_byte_is_no_number(void **state)
{
	struct err e;
	float v[MAX];

	T_ERR(parse("1 2\0", 4, v, &e), EINVAL);
	T_ERR(parse("1 \0", 3, v, &e), EINVAL);
	assert_string_equal(e.text, "number 2: byte 0x00 is not text");
}

/* What is printed shortest reads back the same; random bits are random floats. */
static void printed_numbers_read_back(void **state)
{
	char line[MAX * (NUM_FLOAT_MAX + 1)];
	float in[MAX], out[MAX];
	size_t len;

	srand48((long)t_seed());
	for (size_t round = 0; round < 20000; round++) {
		len = 0;
		for (size_t i = 0; i < MAX; i++) {
			uint32_t bits = (uint32_t)mrand48();

			memcpy(&in[i], &bits, sizeof(bits));
			if (!isfinite(in[i]))
				in[i] = 1;
			len += num_format_float(line + len, in[i]);
			line[len++] = " ,\t"[bits % 3];
		}
		assert_int_equal(text_parse_floats(line, line + len - 1, out, MAX, NULL), MAX);
		assert_memory_equal(in, out, sizeof(in));
	}
}

static void speed(void **state)
{
	enum { DIM = 1536, ROUNDS = 200 };
	static char line[DIM * (NUM_FLOAT_MAX + 1)];
	static float v[DIM];
	uint64_t from;
	size_t len = 0;

	for (size_t i = 0; i < DIM; i++) {
		len += num_format_float(line + len, (float)(drand48() - 0.5));
		line[len++] = ' ';
	}
	from = clock_mono_ns();
	for (size_t i = 0; i < ROUNDS; i++)
		assert_int_equal(text_parse_floats(line, line + len, v, DIM, NULL), DIM);
	print_message("text: %.0f MB/s\n",
	              ROUNDS * (double)len * 1e3 / (double)(clock_mono_ns() - from));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_lines),
		cmocka_unit_test(bad_lines),
		cmocka_unit_test(a_zero_byte_is_no_number),
		cmocka_unit_test(printed_numbers_read_back),
		cmocka_unit_test(speed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
