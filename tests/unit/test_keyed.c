/*
 * test_keyed.c: the text of control files.
 */
#include <errno.h>

#include "base/keyed.h"
#include "t.h"

static int first(const char *text, struct keyed_line *l, struct err *e)
{
	struct keyed k;

	keyed_init(&k, text, strlen(text));
	return keyed_next(&k, l, e);
}

static void check(const char *text, const char *key, const char *value)
{
	struct keyed_line l;
	struct err e = { 0 };

	assert_int_equal(first(text, &l, &e), 1);
	if (!keyed_key_is(&l, key) || !keyed_value_is(&l, value))
		fail_msg("\"%s\" gave \"%.*s\" \"%.*s\"", text, (int)l.key_len, l.key,
		         (int)l.value_len, l.value);
}

static void test_forms(void **state)
{
	check("key value", "key", "value");
	check("key value\n", "key", "value");
	check("key=value\n", "key", "value");
	check("  key \t =  value \t\r\n", "key", "value");
	check("key  two words\n", "key", "two words");
	check("\n\n \t\nkey value\n", "key", "value");
	check("verify\n", "verify", "");
	check("key=\n", "key", "");
	check("key==x", "key", "=x");
}

static void test_lines(void **state)
{
	struct keyed k;
	struct keyed_line l;
	const char text[] = "a 1\nb=2\n\nc 3";

	keyed_init(&k, text, sizeof(text) - 1);
	for (const char *key = "abc"; *key; key++) {
		assert_int_equal(keyed_next(&k, &l, NULL), 1);
		assert_int_equal(l.key_len, 1);
		assert_int_equal(l.key[0], *key);
		assert_int_equal(l.value[0], *key - 'a' + '1');
	}
	assert_int_equal(keyed_next(&k, &l, NULL), 0);
	assert_int_equal(keyed_next(&k, &l, NULL), 0);
}

static void test_refused(void **state)
{
	static const char zero[] = "key val\0ue\n";
	struct keyed k;
	struct keyed_line l;
	struct err e = { 0 };

	T_ERR(first("= value", &l, &e), EINVAL);
	T_ERR(first("key \x01", &l, &e), EINVAL);
	T_ERR(first("key\x7f value", &l, &e), EINVAL);
	assert_non_null(strstr(e.text, "0x7f"));
	keyed_init(&k, zero, sizeof(zero) - 1);
	T_ERR(keyed_next(&k, &l, &e), EINVAL);
	assert_int_equal(first("", &l, &e), 0);
	assert_int_equal(first(" \n\t\n", &l, &e), 0);
}

static int number(const char *value, uint64_t min, uint64_t max, uint64_t *ret, struct err *e)
{
	struct keyed_line l = { "key", 3, value, strlen(value) };

	return keyed_u64(&l, min, max, ret, e);
}

static void test_numbers(void **state)
{
	uint64_t v = 7;
	struct err e = { 0 };

	T_OK(number("0", 0, 10, &v, &e));
	assert_int_equal(v, 0);
	T_OK(number("9223372036854775808", 0, UINT64_MAX, &v, &e));
	assert_true(v == (uint64_t)1 << 63);
	v = 7;
	T_ERR(number("9223372036854775809", 0, UINT64_MAX, &v, &e), ERANGE);
	T_ERR(number("99999999999999999999999", 0, UINT64_MAX, &v, &e), ERANGE);
	T_ERR(number("-1", 0, UINT64_MAX, &v, &e), ERANGE);
	T_ERR(number("-0", 0, UINT64_MAX, &v, &e), ERANGE);
	T_ERR(number("11", 0, 10, &v, &e), ERANGE);
	T_ERR(number("1", 2, 10, &v, &e), ERANGE);
	assert_string_equal(e.text, "key 1 is out of range, 2 to 10");
	for (const char *const *bad = (const char *const[]){ "", "-", "1e3", "1.5", "0x10", "+1",
	                                                     "1 2", "ten", "10k", NULL };
	     *bad; bad++)
		T_ERR(number(*bad, 0, UINT64_MAX, &v, &e), EINVAL);
	assert_int_equal(v, 7);
}

/* A sentence shows a part of what came, and never half a character. */
static void test_sentences(void **state)
{
	struct err e = { 0 };
	struct keyed_line l = { 0 };
	char text[200];

	memset(text, 'x', sizeof(text));
	for (size_t i = 63; i + 2 < sizeof(text); i += 2)
		memcpy(text + i, "\xc3\xa4", 2);
	l.key = text;
	l.key_len = sizeof(text) - 1;
	T_ERR(keyed_unknown(&l, "a, b", &e), EINVAL);
	assert_non_null(strstr(e.text, "x\", known are a, b"));
}

static void check_word(const char *text, const char *expected)
{
	const char *w;
	size_t n;
	struct err e = { 0 };
	int rc = keyed_word(text, strlen(text), &w, &n, &e);

	if (!expected) {
		T_ERR(rc, EINVAL);
		assert_true(e.text[0] != '\0');
		return;
	}
	T_OK(rc);
	assert_int_equal(n, strlen(expected));
	assert_memory_equal(w, expected, n);
}

static void test_words(void **state)
{
	check_word("active\n", "active");
	check_word("active", "active");
	check_word("  active \r\n\n", "active");
	check_word("pending-deletion\n", "pending-deletion");
	check_word("", NULL);
	check_word("\n", NULL);
	check_word("two words\n", NULL);
	check_word("two\nlines\n", NULL);
	check_word("word=\n", NULL);
	check_word("word \x02\n", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),     cmocka_unit_test(test_lines),
		cmocka_unit_test(test_refused),   cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_sentences), cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
