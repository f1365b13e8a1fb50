/* Verification in the background: states, progress, the report that outlives the engine. */
#include <stdatomic.h>

#include "engine_t.h"
#include "integrity/health.h"

struct fixture {
	struct fix f;
	struct health *h;
	atomic_int released;
};

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	fix_init(&x->f);
	x->h = health_new(x->f.workers);
	assert_non_null(x->h);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	health_free(x->h);
	fix_release(&x->f);
	free(x);
	return 0;
}

static void released(void *ctx)
{
	atomic_fetch_add((atomic_int *)ctx, 1);
}

static int start(struct fixture *x)
{
	struct health_target t = {
		.engine = x->f.en, .cid = CID, .release = released, .ctx = &x->released
	};

	return health_start(x->h, &t, NULL);
}

static struct health_info wait_for(struct fixture *x)
{
	struct health_info i;

	for (int n = 0; n < 5000 && health_busy(x->h); n++)
		usleep(1000);
	assert_false(health_busy(x->h));
	health_get(x->h, CID, &i);
	assert_false(i.verifying);
	return i;
}

static void test_unknown_is_unverified(void **state)
{
	struct fixture *x = *state;
	BUF_AUTO struct buf out = BUF_INIT;
	struct health_info i;

	health_get(x->h, CID, &i);
	health_render(&i, &out);
	assert_string_equal(out.data, "state unverified\nchecked_s 0\nrows_checked 0\n"
	                              "unreachable 0\nbroken_links 0\nchecksum_errors 0\n"
	                              "disagreements 0\nverifying no\n"
	                              "compacting no\ncompacted_s 0\nreclaimed_bytes 0\n");
}

static void test_healthy(void **state)
{
	struct fixture *x = *state;
	struct health_info i;

	fill(&x->f, "v", 50, 4);
	T_OK(start(x));
	i = wait_for(x);
	assert_int_equal(i.state, HEALTH_HEALTHY);
	assert_string_equal(health_state_name(&i), "healthy");
	assert_int_equal(i.report.rows_checked, 50);
	assert_true(i.checked_s > 1600000000);
	assert_int_equal(atomic_load(&x->released), 1);
	/* the report stays when the engine goes */
	fix_close(&x->f);
	health_get(x->h, CID, &i);
	assert_int_equal(i.report.rows_checked, 50);
	T_OK(fix_try_open(&x->f));
	health_forget(x->h, CID);
	health_get(x->h, CID, &i);
	assert_int_equal(i.state, HEALTH_UNVERIFIED);
}

static void occupy(void *arg)
{
	while (!atomic_load((atomic_bool *)arg))
		usleep(100);
}

static void test_one_at_a_time_and_stop(void **state)
{
	struct fixture *x = *state;
	atomic_bool go = false;
	struct health_info i;
	BUF_AUTO struct buf out = BUF_INIT;

	fill(&x->f, "v", 50, 4);
	wait_idle(&x->f);
	T_OK(workers_submit(x->f.workers, occupy, &go));
	T_OK(workers_submit(x->f.workers, occupy, &go));
	T_OK(start(x));
	T_ERR(start(x), EALREADY);
	health_get(x->h, CID, &i);
	assert_string_equal(health_state_name(&i), "verifying");
	health_render(&i, &out);
	assert_non_null(strstr(out.data, "\nverifying 0%\n"));
	health_stop(x->h, CID);
	atomic_store(&go, true);
	i = wait_for(x);
	assert_int_equal(i.state, HEALTH_UNVERIFIED); /* stopped: nothing is known */
	assert_int_equal(atomic_load(&x->released), 1);
	T_OK(start(x));
	assert_int_equal(wait_for(x).state, HEALTH_HEALTHY);
}

static void test_forgotten_while_it_runs(void **state)
{
	struct fixture *x = *state;
	atomic_bool go = false;

	T_OK(workers_submit(x->f.workers, occupy, &go));
	T_OK(workers_submit(x->f.workers, occupy, &go));
	T_OK(start(x));
	health_forget(x->h, CID);
	T_OK(start(x)); /* a new life of the number */
	atomic_store(&go, true);
	assert_int_equal(wait_for(x).state, HEALTH_HEALTHY);
	assert_int_equal(atomic_load(&x->released), 2);
}

static void test_gone_collection(void **state)
{
	struct fixture *x = *state;
	struct health_target t = { .engine = x->f.en, .cid = 99 };

	T_OK(health_start(x->h, &t, NULL));
	assert_int_equal(wait_for(x).state, HEALTH_UNVERIFIED);
}

static void test_findings_are_shown(void **state)
{
	struct health_info i = { .state = HEALTH_DAMAGED, .checked_s = 5 };
	BUF_AUTO struct buf out = BUF_INIT;

	(void)state;
	i.report.broken_links = 3;
	strcpy(i.report.first, "the graph has 3 broken links");
	health_render(&i, &out);
	assert_string_equal(out.data,
	                    "state damaged\nchecked_s 5\nrows_checked 0\nunreachable 0\n"
	                    "broken_links 3\nchecksum_errors 0\ndisagreements 0\n"
	                    "verifying no\ncompacting no\ncompacted_s 0\nreclaimed_bytes 0\n"
	                    "error the graph has 3 broken links\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_unknown_is_unverified),  TEST(test_healthy),
		TEST(test_one_at_a_time_and_stop), TEST(test_forgotten_while_it_runs),
		TEST(test_gone_collection),        cmocka_unit_test(test_findings_are_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
