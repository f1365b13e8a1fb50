/*
 * test_turns.c: who gets the cores, and how much of them.
 */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/turns.h"
#include "base/usage.h"
#include "t.h"

#define MS_NS 1000000ull

static void test_alone_nobody_waits(void **state)
{
	struct turns *ts = turns_new(2);
	struct usage u;
	struct flow f;
	struct turn a, b;

	usage_init(&u, 100);
	flow_init(&f, ts, &u);
	for (int i = 0; i < 1000; i++) {
		turn_take(&f, &a);
		turn_take(&f, &b); /* both cores are its own */
		assert_false(turn_wanted(&f));
		turn_give(&f, &a);
		turn_give(&f, &b);
	}
	turn_take(NULL, &a);
	turn_give(NULL, &a);
	assert_int_equal(f.running, 0);
	turns_free(ts);
}

/* Takes turns of its flow in a closed loop; each uses real time. */
struct client {
	struct flow *flow;
	unsigned us;
	pthread_t thread;
	atomic_bool *end;
	_Atomic uint64_t turns;
	_Atomic uint64_t slowest_ns;
};

static void *loop(void *arg)
{
	struct client *c = arg;

	while (!atomic_load(c->end)) {
		uint64_t began = clock_mono_ns();
		struct turn t;

		turn_take(c->flow, &t);
		if (clock_mono_ns() - began > atomic_load(&c->slowest_ns))
			atomic_store(&c->slowest_ns, clock_mono_ns() - began);
		usleep(c->us); /* a turn is time, whoever has the processor */
		turn_give(c->flow, &t);
		atomic_fetch_add(&c->turns, 1);
	}
	return NULL;
}

static void start(struct client *c, struct flow *f, unsigned us, atomic_bool *end)
{
	c->flow = f;
	c->us = us;
	c->end = end;
	assert_int_equal(pthread_create(&c->thread, NULL, loop, c), 0);
}

static uint64_t stop(struct client *c, unsigned n)
{
	uint64_t turns = 0;

	for (unsigned i = 0; i < n; i++) {
		pthread_join(c[i].thread, NULL);
		turns += atomic_load(&c[i].turns);
	}
	return turns;
}

/* Eight callers of one flow against two of another of the same weight, and of three times it. */
static void share(uint32_t weight, double from, double to)
{
	static struct client a[8], b[2];
	struct turns *ts = turns_new(1);
	atomic_bool end = false;
	struct usage ua, ub;
	struct flow fa, fb;
	uint64_t na, nb;

	memset(a, 0, sizeof(a));
	memset(b, 0, sizeof(b));
	usage_init(&ua, 100);
	flow_init(&fa, ts, &ua);
	usage_init(&ub, weight);
	flow_init(&fb, ts, &ub);
	for (int i = 0; i < 8; i++)
		start(&a[i], &fa, 500, &end);
	for (int i = 0; i < 2; i++)
		start(&b[i], &fb, 500, &end);
	usleep(400000);
	atomic_store(&end, true);
	na = stop(a, 8);
	nb = stop(b, 2);
	if ((double)nb < from * (double)na || (double)nb > to * (double)na)
		fail_msg("%llu turns against %llu", (unsigned long long)nb, (unsigned long long)na);
	turns_free(ts);
}

static void test_equal_shares(void **state)
{
	share(100, 0.7, 1.5);
}

static void test_shares_by_weight(void **state)
{
	share(300, 2.0, 4.5);
}

/* Long turns of a flood, and somebody who asks seldom: it waits for none of them. */
static void test_the_quiet_one_goes_first(void **state)
{
	static struct client flood[16];
	struct turns *ts = turns_new(2);
	atomic_bool end = false;
	struct usage u, uq;
	struct flow f, quiet;
	unsigned at_once = 0;

	memset(flood, 0, sizeof(flood));
	usage_init(&u, 100);
	flow_init(&f, ts, &u);
	usage_init(&uq, 100);
	flow_init(&quiet, ts, &uq);
	for (int i = 0; i < 16; i++)
		start(&flood[i], &f, 20000, &end);
	usleep(50000);
	for (int i = 0; i < 20; i++) {
		uint64_t began = clock_mono_ns();
		struct turn t;

		turn_take(&quiet, &t);
		at_once += clock_mono_ns() - began < 10 * MS_NS;
		usleep(200);
		turn_give(&quiet, &t);
		assert_true(turn_wanted(&f)); /* who has much to do hears of it */
		usleep(2000);
	}
	atomic_store(&end, true);
	stop(flood, 16);
	assert_true(at_once >= 15); /* a busy machine may be late now and then */
	turns_free(ts);
}

/* Newcomers that go at once do not keep out who is queued. */
static void test_nobody_starves(void **state)
{
	static struct client quiet[8], busy[2];
	static struct usage uq[8], ub;
	static struct flow fq[8], fb;
	struct turns *ts = turns_new(1);
	atomic_bool end = false;

	memset(quiet, 0, sizeof(quiet));
	memset(busy, 0, sizeof(busy));
	usage_init(&ub, 1);
	flow_init(&fb, ts, &ub);
	start(&busy[0], &fb, 300, &end);
	start(&busy[1], &fb, 300, &end);
	for (int i = 0; i < 8; i++) {
		usage_init(&uq[i], 100);
		flow_init(&fq[i], ts, &uq[i]);
		start(&quiet[i], &fq[i], 300, &end);
	}
	usleep(500000);
	atomic_store(&end, true);
	for (int i = 0; i < 8; i++)
		assert_true(stop(&quiet[i], 1) > 20);
	assert_true(stop(busy, 2) > 0);
	turns_free(ts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alone_nobody_waits),
		cmocka_unit_test(test_equal_shares),
		cmocka_unit_test(test_shares_by_weight),
		cmocka_unit_test(test_the_quiet_one_goes_first),
		cmocka_unit_test(test_nobody_starves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
