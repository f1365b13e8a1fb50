/*
 * test_quota.c: the text of the file quota.
 */
#include <errno.h>
#include <stdio.h>

#include "base/limits.h"
#include "t.h"
#include "tenant/quota.h"

static struct quota tier(const char *name)
{
	struct quota q;

	assert_true(quota_tier(name, &q));
	return q;
}

static int apply(struct quota *q, const char *text, struct err *e)
{
	*e = (struct err){ 0 };
	return quota_apply(q, text, strlen(text), e);
}

static void test_tiers(void **state)
{
	struct quota q = tier("unlimited");

	for (int k = 0; k < QUOTA_N; k++)
		assert_true(q.max[k] == QUOTA_UNLIMITED);
	assert_false(quota_tier("gold", &q));
	assert_string_equal(tier("free").tier, "free");
	for (int k = 0; k < QUOTA_N; k++)
		assert_true(tier("free").max[k] < tier("pro").max[k]);
}

/* What is read can be written, and means the same. */
static void test_round_trip(void **state)
{
	const char *const names[] = { "free", "pro", "unlimited" };
	struct err e;

	for (int i = 0; i < 3; i++) {
		struct quota q = tier(names[i]);
		struct quota back = tier("unlimited");
		struct buf text BUF_AUTO = BUF_INIT;

		q.max[QUOTA_MAX_VECTORS] = 12345;
		q.max[QUOTA_MAX_BATCH] = QUOTA_UNLIMITED;
		quota_render(&q, &text);
		assert_false(buf_failed(&text));
		T_OK(quota_apply(&back, text.data, text.len, &e));
		assert_string_equal(back.tier, names[i]);
		assert_memory_equal(back.max, q.max, sizeof(q.max));
	}
}

static void test_render(void **state)
{
	struct quota q = tier("unlimited");
	struct buf text BUF_AUTO = BUF_INIT;

	q.max[QUOTA_MAX_VECTORS] = 10;
	quota_render(&q, &text);
	assert_string_equal(text.data, "tier unlimited\nmax_vectors 10\nmax_bytes max\n"
	                               "max_collections max\nmax_dimension max\nmax_results max\n"
	                               "max_batch max\n");
}

static void test_keys(void **state)
{
	struct quota q = tier("unlimited");
	struct err e;

	T_OK(apply(&q, "max_vectors 10\n", &e));
	assert_int_equal(q.max[QUOTA_MAX_VECTORS], 10);
	T_OK(apply(&q, "max_bytes=20\nmax_collections = 0\n", &e));
	assert_int_equal(q.max[QUOTA_MAX_BYTES], 20);
	assert_int_equal(q.max[QUOTA_MAX_COLLECTIONS], 0);
	T_OK(apply(&q, "max_vectors max", &e));
	assert_true(q.max[QUOTA_MAX_VECTORS] == QUOTA_UNLIMITED);
	T_OK(apply(&q, "max_vectors 1\nmax_vectors 2\n", &e));
	assert_int_equal(q.max[QUOTA_MAX_VECTORS], 2);
	T_OK(apply(&q, "max_vectors 0\n", &e));
	assert_int_equal(q.max[QUOTA_MAX_VECTORS], 0);
}

static void test_tier_and_keys(void **state)
{
	struct quota q = tier("unlimited");
	struct err e;

	T_OK(apply(&q, "max_vectors 5\ntier free\n", &e));
	assert_string_equal(q.tier, "free");
	assert_int_equal(q.max[QUOTA_MAX_VECTORS], 5);
	assert_true(q.max[QUOTA_MAX_BYTES] == tier("free").max[QUOTA_MAX_BYTES]);
	T_OK(apply(&q, "max_vectors default\n", &e));
	assert_true(q.max[QUOTA_MAX_VECTORS] == tier("free").max[QUOTA_MAX_VECTORS]);
	T_OK(apply(&q, "tier pro\n", &e));
	assert_memory_equal(q.max, tier("pro").max, sizeof(q.max));
	T_OK(apply(&q, "tier default\n", &e));
	assert_string_equal(q.tier, "unlimited");
	T_ERR(apply(&q, "tier\n", &e), EINVAL);
	T_ERR(apply(&q, "tier gold\n", &e), EINVAL);
	T_ERR(apply(&q, "tier a-name-that-is-much-too-long\n", &e), EINVAL);
}

static void test_refused(void **state)
{
	static const struct {
		const char *text;
		int code;
	} cases[] = {
		{ "max_vectors -1", ERANGE },
		{ "max_vectors 9223372036854775809", ERANGE },
		{ "max_vectors 18446744073709551616", ERANGE },
		{ "max_dimension 16385", ERANGE },
		{ "max_dimension 0", ERANGE },
		{ "max_results 0", ERANGE },
		{ "max_results 10001", ERANGE },
		{ "max_batch 0", ERANGE },
		{ "max_collections 4097", ERANGE },
		{ "max_vectors", EINVAL },
		{ "max_vectors ten", EINVAL },
		{ "max_vectors 1e6", EINVAL },
		{ "MAX_VECTORS 1", EINVAL },
		{ "max_vector 1", EINVAL },
		{ "max_vectors MAX", EINVAL },
		{ "= 5", EINVAL },
		{ "max_vectors 5\nnonsense 1\n", EINVAL },
		{ "max_vectors 5\nmax_bytes -5\n", ERANGE },
		{ "tier pro\nmax_bytes x\n", EINVAL },
	};
	struct quota before = tier("free");

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct quota q = before;
		struct err e;
		int rc = apply(&q, cases[i].text, &e);

		if (rc != -cases[i].code)
			fail_msg("\"%s\" gave %s", cases[i].text, rc < 0 ? strerror(-rc) : "0");
		assert_true(e.text[0] != '\0');
		assert_memory_equal(&q, &before, sizeof(q));
	}
}

/* What a later version builds is named, not ignored. */
static void test_later(void **state)
{
	const char *const later[] = { "max_qps", "max_write_rate", "max_concurrent", "weight",
		                      "retention_s" };
	struct quota q = tier("unlimited");
	struct err e;

	for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
		char line[64];

		snprintf(line, sizeof(line), "%s 5\n", later[i]);
		T_ERR(apply(&q, line, &e), EINVAL);
		assert_non_null(strstr(e.text, later[i]));
		assert_non_null(strstr(e.text, "later"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tiers),   cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_render),  cmocka_unit_test(test_keys),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_tier_and_keys),
		cmocka_unit_test(test_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
