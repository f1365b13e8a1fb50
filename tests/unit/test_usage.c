/*
 * test_usage.c: who used much, who else asks, and what a thread is to the scheduler for it.
 *
 * Going first needs a right, and a nice value of 0. A probe tells whether this process may; if not,
 * threads have to stay what they are.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "base/usage.h"
#include "t.h"

#define MS_NS 1000000ull

/* ---- who used much ---- */

/* Nothing of what other tests did is remembered any longer. */
static void forget(void)
{
	uint64_t until = clock_mono_ns() + 10000 * MS_NS;

	do
		usleep(10000);
	while (usage_is_contended() && clock_mono_ns() < until);
	usleep(110000);
	assert_false(usage_is_contended());
}

static void test_one_alone_is_nobody_s_neighbour(void **state)
{
	struct usage u;

	forget();
	usage_init(&u, 100);
	for (int i = 0; i < 100; i++)
		usage_charge_ns(&u, 30 * MS_NS);
	assert_false(usage_is_contended());
}

static void test_who_asks_beside_a_busy_one(void **state)
{
	struct usage busy, quiet;

	forget();
	usage_init(&busy, 100);
	usage_init(&quiet, 100);
	usage_charge_ns(&busy, 4 * MS_NS);
	usage_charge_ns(&quiet, 1);
	assert_false(usage_is_contended()); /* that was not much */
	usage_charge_ns(&busy, 30 * MS_NS);
	assert_false(usage_is_contended());
	usage_charge_ns(&quiet, 1);
	assert_true(usage_is_contended());
	forget(); /* in the end */
}

static void test_a_weight_is_a_right_to_more(void **state)
{
	struct usage busy, quiet;

	forget();
	usage_init(&busy, 400);
	usage_init(&quiet, 100);
	usage_charge_ns(&busy, 20 * MS_NS);
	usage_charge_ns(&quiet, 1);
	assert_false(usage_is_contended());
	usage_set_weight(&busy, 100);
	usage_charge_ns(&busy, 20 * MS_NS);
	usage_charge_ns(&quiet, 1);
	assert_true(usage_is_contended());
}

static void test_use_is_forgotten(void **state)
{
	struct usage busy, quiet;

	forget();
	usage_init(&busy, 100);
	usage_init(&quiet, 100);
	for (int i = 0; i < 20; i++) { /* 4 ms each 20: a fifth of a processor */
		usage_charge_ns(&busy, 4 * MS_NS);
		usleep(20000);
	}
	usage_charge_ns(&quiet, 1);
	assert_false(usage_is_contended());
}

/* ---- threads ---- */

static int policy(void)
{
	return sched_getscheduler(0) & ~SCHED_RESET_ON_FORK;
}

static void *probe(void *ret)
{
	struct sched_param p = { .sched_priority = 1 };
	bool other = getpriority(PRIO_PROCESS, 0) != 0;

	*(int *)ret = !other && sched_setscheduler(0, SCHED_RR, &p) == 0 ? SCHED_RR : SCHED_OTHER;
	return NULL;
}

static void in_thread(void *(*f)(void *), void *arg)
{
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, f, arg), 0);
	pthread_join(t, NULL);
}

/* What a thread that goes first is here. */
static int first(void)
{
	static int known = -1;

	if (known < 0)
		in_thread(probe, &known);
	return known;
}

static void *child(void *ret)
{
	*(int *)ret = policy();
	return NULL;
}

static void *first_and_back(void *arg)
{
	struct usage busy;
	int of_child = -1;

	usage_init(&busy, 100);
	thread_answers(false);
	assert_int_equal(policy(), SCHED_OTHER);
	thread_answers(true);
	assert_int_equal(policy(), first());
	in_thread(child, &of_child);
	assert_int_equal(of_child, SCHED_OTHER);
	usage_begin(&busy);
	assert_int_equal(policy(), first());
	for (int i = 0; i < 100 && thread_goes_first(); i++) { /* it is forgotten soon */
		usage_charge_ns(&busy, 30 * MS_NS);
		usage_begin(&busy);
	}
	assert_int_equal(policy(), SCHED_OTHER);
	thread_answers(true);
	assert_int_equal(policy(), first());
	thread_answers(false);
	assert_int_equal(policy(), SCHED_OTHER);
	return NULL;
}

static void test_a_thread_goes_first_and_steps_aside(void **state)
{
	in_thread(first_and_back, NULL);
}

static void *spin(void *arg)
{
	uint64_t until = clock_mono_ns() + 10000 * MS_NS;

	for (int i = 0; i < 3; i++) { /* the kernel would allow a second more each time */
		thread_answers(true);
		assert_int_equal(policy(), first());
		while (thread_goes_first() && clock_mono_ns() < until)
			;
		assert_int_equal(policy(), SCHED_OTHER);
		usleep(1000);
	}
	return NULL;
}

static void test_nobody_goes_first_for_long(void **state)
{
	in_thread(spin, NULL);
}

static void *charged(void *arg)
{
	struct usage u;
	uint64_t until = clock_thread_ns() + 20 * MS_NS;

	usage_init(&u, 100);
	thread_answers(false);
	while (clock_thread_ns() < until)
		;
	usage_charge(&u);
	if (first() == SCHED_RR)
		assert_in_range(atomic_load(&u.ns), 20 * MS_NS, 200 * MS_NS);
	usage_charge(&u);
	assert_true(atomic_load(&u.ns) < 400 * MS_NS); /* once */
	return NULL;
}

static void test_what_a_thread_did_is_charged_once(void **state)
{
	in_thread(charged, NULL);
}

static void *back(void *arg)
{
	thread_steps_back();
	assert_true(getpriority(PRIO_PROCESS, (id_t)gettid()) >= 10);
	assert_true(thread_stands_back());
	thread_answers(true);
	assert_int_equal(policy(), SCHED_OTHER);
	return NULL;
}

static void *niced(void *arg)
{
	assert_int_equal(setpriority(PRIO_PROCESS, (id_t)gettid(), 19), 0);
	thread_answers(true);
	assert_int_equal(policy(), SCHED_OTHER);
	assert_int_equal(getpriority(PRIO_PROCESS, (id_t)gettid()), 19);
	return NULL;
}

static void test_who_was_put_back_stays_there(void **state)
{
	in_thread(back, NULL);
	in_thread(niced, NULL);
}

static _Atomic unsigned turns;
static _Atomic bool ended;

static void *wait_for_turns(void *arg)
{
	while (!atomic_load(&ended)) {
		atomic_fetch_add(&turns, 1);
		sched_yield();
	}
	return NULL;
}

static void *goes_first(void *arg)
{
	thread_answers(true);
	return NULL;
}

/* On one processor with a thread that waits for it. A tick of the clock comes much later. */
static void *lets_pass(void *arg)
{
	cpu_set_t one;
	pthread_t waiting;
	unsigned before;

	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	T_OK(sched_setaffinity(0, sizeof(one), &one));
	T_OK(pthread_create(&waiting, NULL, wait_for_turns, NULL));
	while (atomic_load(&turns) == 0)
		sched_yield();
	in_thread(goes_first, NULL);
	before = atomic_load(&turns);
	for (int i = 0; i < 2000 && atomic_load(&turns) == before; i++)
		thread_lets_pass();
	assert_true(atomic_load(&turns) > before);
	atomic_store(&ended, true);
	pthread_join(waiting, NULL);
	return NULL;
}

static void test_long_work_lets_others_pass(void **state)
{
	in_thread(lets_pass, NULL);
}

static void *refused(void *arg)
{
	thread_nobody_goes_first();
	thread_answers(true);
	assert_int_equal(policy(), SCHED_OTHER);
	assert_false(thread_may_go_first());
	return NULL;
}

static void test_a_process_may_do_without(void **state)
{
	in_thread(refused, NULL); /* for good: the last test */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_alone_is_nobody_s_neighbour),
		cmocka_unit_test(test_who_asks_beside_a_busy_one),
		cmocka_unit_test(test_a_weight_is_a_right_to_more),
		cmocka_unit_test(test_use_is_forgotten),
		cmocka_unit_test(test_a_thread_goes_first_and_steps_aside),
		cmocka_unit_test(test_nobody_goes_first_for_long),
		cmocka_unit_test(test_what_a_thread_did_is_charged_once),
		cmocka_unit_test(test_who_was_put_back_stays_there),
		cmocka_unit_test(test_long_work_lets_others_pass),
		cmocka_unit_test(test_a_process_may_do_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
