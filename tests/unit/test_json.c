/* test_json.c: the calls of json.h. */
#include "t.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/limits.h"
#include "vector/json.h"

static struct json *parsed(const char *s)
{
	struct err e = { 0 };
	struct json *j = NULL;
	int rc = json_parse(s, strlen(s), &j, &e);

	if (rc < 0)
		fail_msg("%s: %s", s, e.text);
	return j;
}

static void members_and_types(void **state)
{
	struct json *j = parsed(
		"{\"s\":\"a\\u00e9\",\"i\":-7,\"r\":0.5,\"b\":true,\"f\":false,\"a\":[1,2],\"n\":null}");
	const char *s;
	int64_t whole;
	double d;
	size_t n;
	bool b;

	assert_true(json_is_object(j) && !json_is_array(j));
	assert_true(json_string(json_member(j, "s"), &s, &n));
	assert_int_equal(n, 3);
	assert_memory_equal(s, "a\xc3\xa9", 3);
	assert_false(json_string(json_member(j, "i"), &s, &n));
	assert_true(json_number(json_member(j, "i"), &d) && d == -7);
	assert_true(json_whole(json_member(j, "i"), &whole) && whole == -7);
	assert_true(json_number(json_member(j, "r"), &d) && d == 0.5);
	assert_false(json_whole(json_member(j, "r"), &whole));
	assert_false(json_number(json_member(j, "s"), &d));
	assert_true(json_bool(json_member(j, "b"), &b) && b);
	assert_true(json_bool(json_member(j, "f"), &b) && !b);
	assert_false(json_bool(json_member(j, "n"), &b));
	assert_true(json_is_null(json_member(j, "n")));
	assert_true(json_is_array(json_member(j, "a")));
	assert_int_equal(json_array_size(json_member(j, "a")), 2);
	assert_true(json_number(json_array_at(json_member(j, "a"), 1), &d) && d == 2);
	assert_null(json_member(j, "none"));
	json_free(j);
	json_free(NULL);
}

static void iterates_in_order(void **state)
{
	struct json *j = parsed("{\"z\":1,\"a\":2,\"m\":3}");
	const struct json *v;
	const char *name;
	char seen[8] = "";
	void *iter = NULL;

	while (json_next(j, &iter, &name, &v))
		strcat(seen, name);
	assert_string_equal(seen, "zam");
	json_free(j);
}

static void refuses(void **state)
{
	static const char *const bad[] = {
		"",         "{",       "{}x",     "{} {}",       "{\"a\":1,\"a\":2}",   "[1,]",
		"{'a':1}",  "nan",     "[1e999]", "\"\xff\"",    "{\"a\":\"\\u0000\"}", "[01]",
		"\"a\nb\"", "[1]\x01", "tru",     "\"\\ud800\"",
	};
	struct json *j = NULL;
	struct err e;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		T_ERR(json_parse(bad[i], strlen(bad[i]), &j, &e), EINVAL);
		assert_memory_equal(e.text, "not JSON: ", 10);
		for (const char *c = e.text; *c; c++)
			assert_true((unsigned char)*c >= 0x20);
	}
	T_ERR(json_parse("[1]\0", 4, &j, &e), EINVAL);
	assert_null(j);
}

static void limits_depth(void **state)
{
	char s[2 * LIMIT_JSON_DEPTH + 3] = "";
	struct json *j = NULL;
	struct err e;

	memset(s, '[', LIMIT_JSON_DEPTH);
	memset(s + LIMIT_JSON_DEPTH, ']', LIMIT_JSON_DEPTH);
	T_OK(json_parse(s, 2 * LIMIT_JSON_DEPTH, &j, &e));
	json_free(j);
	memset(s, '[', LIMIT_JSON_DEPTH + 1);
	memset(s + LIMIT_JSON_DEPTH + 1, ']', LIMIT_JSON_DEPTH + 1);
	T_ERR(json_parse(s, 2 * LIMIT_JSON_DEPTH + 2, &j, &e), EINVAL);
	assert_string_equal(e.text, "JSON nested 33 deep, limit 32");
	j = parsed(
		"[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\",\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"]");
	json_free(j);
}

static void floats(void **state)
{
	struct json *j = parsed("[1,-2.5,0.1,1e-50]");
	struct err e;
	float v[4];

	assert_int_equal(json_floats(j, v, 4, &e), 4);
	assert_true(v[0] == 1 && v[1] == -2.5f && v[2] == 0.1f && v[3] == 0);
	T_ERR(json_floats(j, v, 3, &e), E2BIG);
	json_free(j);
	j = parsed("[1,\"2\"]");
	T_ERR(json_floats(j, v, 4, &e), EINVAL);
	assert_string_equal(e.text, "number 2: not a number");
	json_free(j);
	j = parsed("[1,2,1e39]");
	T_ERR(json_floats(j, v, 4, &e), EINVAL);
	assert_string_equal(e.text, "number 3: 1e+39 is out of range of a 32-bit float");
	json_free(j);
}

static void keeps_the_sign_of_zero(void **state)
{
	static const char text[] = "[-0,0, -0 ,-0.0,-0e1,1e-0,\"\\\"-0\",{\"-0\":-0},-0]";
	struct json *j = parsed(text), *number;
	BUF_AUTO struct buf b = BUF_INIT;
	struct err e;
	double v;

	json_render(j, &b);
	assert_string_equal(b.data, "[-0.0,0,-0.0,-0.0,-0.0,1.0,\"\\\"-0\",{\"-0\":-0.0},-0.0]");
	assert_true(json_number(json_array_at(j, 0), &v) && v == 0 && signbit(v));
	assert_true(json_number(json_array_at(j, 1), &v) && v == 0 && !signbit(v));
	json_free(j);
	number = parsed("-0");
	assert_true(json_number(number, &v) && v == 0 && signbit(v));
	json_free(number);
	T_ERR(json_parse("[-00]", 5, &j, &e), EINVAL);
	T_ERR(json_parse("[--0]", 5, &j, &e), EINVAL);
	T_ERR(json_parse("-", 1, &j, &e), EINVAL);
}

static void renders_what_was_read(void **state)
{
	static const char *const same[] = {
		"{}",
		"-0.0",
		"[]",
		"null",
		"true",
		"false",
		"0.1",
		"-1.0",
		"1e+300",
		"9223372036854775807",
		"{\"z\":[1,2.5,{\"a\":\"q\\\"\\\\\\n\"}],\"a\":\"\xc3\xa9\",\"e\":{},\"p\":0.30000000000000004}",
	};

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		struct json *j = parsed(same[i]);
		BUF_AUTO struct buf b = BUF_INIT;

		json_render(j, &b);
		assert_false(buf_failed(&b));
		assert_string_equal(b.data, same[i]);
		json_free(j);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_and_types),
		cmocka_unit_test(iterates_in_order),
		cmocka_unit_test(refuses),
		cmocka_unit_test(limits_depth),
		cmocka_unit_test(floats),
		cmocka_unit_test(keeps_the_sign_of_zero),
		cmocka_unit_test(renders_what_was_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
