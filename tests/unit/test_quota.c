/*
 * test_quota.c: the text of the file quota.
 */
#include <errno.h>
#include <stdio.h>

#include "base/limits.h"
#include "t.h"
#include "tenant/quota.h"

static struct tiers tiers;

static int set_up(void **state)
{
	tiers_init(&tiers);
	return 0;
}

static struct quota tier(const char *name)
{
	const struct quota *q = tiers_find(&tiers, name);

	assert_non_null(q);
	return *q;
}

static int edit(const char *text, struct err *e)
{
	*e = (struct err){ 0 };
	return tiers_apply(&tiers, text, strlen(text), NULL, NULL, e);
}

static int apply(struct quota *q, const char *text, struct err *e)
{
	*e = (struct err){ 0 };
	return quota_apply(q, &tiers, text, strlen(text), e);
}

static void test_tiers(void **state)
{
	struct quota q = tier("unlimited");

	for (int k = 0; k < QUOTA_N; k++)
		assert_true(q.max[k] == QUOTA_UNLIMITED);
	assert_null(tiers_find(&tiers, "gold"));
	assert_string_equal(tier("free").tier, "free");
	for (int k = 0; k < QUOTA_N; k++)
		assert_true(tier("free").max[k] < tier("pro").max[k]);
	assert_int_equal(tier("free").max[QUOTA_MAX_QPS], 10);
	assert_int_equal(tier("free").max[QUOTA_RETENTION_S], 30 * 86400);
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
		T_OK(quota_apply(&back, &tiers, text.data, text.len, &e));
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
	                               "max_batch max\nmax_qps max\nmax_write_rate max\n"
	                               "max_concurrent max\nweight 100\nretention_s 2592000\n");
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
		{ "max_qps -1", ERANGE },
		{ "max_qps 1000000001", ERANGE },
		{ "max_qps 0.5", EINVAL },
		{ "weight 0", ERANGE },
		{ "weight 10001", ERANGE },
		{ "weight max", EINVAL },
		{ "retention_s max", EINVAL },
		{ "retention_s -1", ERANGE },
		{ "retention_s 315360001", ERANGE },
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

static void test_follows_its_tier(void **state)
{
	struct quota q = tier("free");
	struct buf text BUF_AUTO = BUF_INIT;
	struct err e;

	T_OK(apply(&q, "max_vectors 5\n", &e));
	quota_render(&q, &text);
	T_OK(quota_apply(&q, &tiers, text.data, text.len, &e)); /* nails nothing down */
	T_OK(edit("free max_vectors=70 max_qps=7\n", &e));
	quota_follow(&q, &tiers);
	assert_int_equal(q.max[QUOTA_MAX_VECTORS], 5);
	assert_int_equal(q.max[QUOTA_MAX_QPS], 7);
	T_OK(apply(&q, "max_vectors default\n", &e));
	assert_int_equal(q.max[QUOTA_MAX_VECTORS], 70);
}

static void test_tiers_text(void **state)
{
	struct buf text BUF_AUTO = BUF_INIT;
	struct tiers before;
	struct err e;

	T_OK(edit("gold max_vectors=5 weight=300\npro max_qps=max retention_s=0\n", &e));
	assert_int_equal(tiers.n, 4);
	assert_int_equal(tier("gold").max[QUOTA_MAX_VECTORS], 5);
	assert_int_equal(tier("gold").max[QUOTA_WEIGHT], 300);
	assert_true(tier("gold").max[QUOTA_MAX_BYTES] == QUOTA_UNLIMITED);
	tiers_render(&tiers, &text);
	before = tiers;
	tiers_init(&tiers);
	T_OK(edit(text.data, &e)); /* what is read can be written */
	assert_memory_equal(&tiers, &before, sizeof(tiers));
	T_OK(edit("pro default\ngold remove\n", &e));
	assert_int_equal(tier("pro").max[QUOTA_MAX_QPS], 100);
	assert_null(tiers_find(&tiers, "gold"));
}

static bool used(void *ctx, const char *name)
{
	return strcmp(name, ctx) == 0;
}

static void test_tiers_refused(void **state)
{
	static const struct {
		const char *text;
		int code;
	} cases[] = {
		{ "free", EINVAL },
		{ "free max_qps", EINVAL },
		{ "free max_qps=x", EINVAL },
		{ "free max_qps=-1", ERANGE },
		{ "free weight=max", EINVAL },
		{ "free weight=0", ERANGE },
		{ "free nonsense=1", EINVAL },
		{ "free remove", EPERM },
		{ "gold remove", EINVAL },
		{ "gold default", EINVAL },
		{ "a.b max_qps=1", EINVAL },
		{ "a-name-that-is-long max_qps=1", EINVAL },
		{ "free max_qps=20\ngold max_qps=x", EINVAL },
	};
	struct tiers before = tiers;
	struct err e;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (edit(cases[i].text, &e) != -cases[i].code)
			fail_msg("\"%s\" gave %s", cases[i].text, strerror(-e.code));
		assert_memory_equal(&tiers, &before, sizeof(tiers));
	}
	T_OK(edit("gold max_qps=1", &e));
	T_ERR(tiers_apply(&tiers, "gold remove", 11, used, (void *)(uintptr_t) "gold", &e), EBUSY);
	for (int i = (int)tiers.n; i < TIERS_MAX; i++) {
		char line[64];

		snprintf(line, sizeof(line), "t%d max_qps=1", i);
		T_OK(edit(line, &e));
	}
	T_ERR(edit("more max_qps=1", &e), ENOSPC);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, set_up)
	const struct CMUnitTest tests[] = {
		TEST(test_tiers),      TEST(test_round_trip),    TEST(test_render),
		TEST(test_keys),       TEST(test_refused),       TEST(test_tier_and_keys),
		TEST(test_tiers_text), TEST(test_tiers_refused), TEST(test_follows_its_tier),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
