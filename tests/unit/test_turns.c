/*
 * test_turns.c: who gets the cores, and how much of them.
 */
#include <pthread.h>
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

enum phase { WARMING_UP, COUNTED, ENDING };

/* Takes turns of its flow in a closed loop; each uses real time. */
struct client {
	struct flow *flow;
	unsigned us;
	pthread_t thread;
	_Atomic int *phase;
	_Atomic bool asked;
	_Atomic unsigned turns;
	uint64_t held_ns;    /* of turns that began and ended while they were counted */
	uint64_t longest_ns; /* of all */
};

static void one_turn(struct client *c)
{
	int phase = atomic_load(c->phase);
	uint64_t ns = clock_mono_ns();

	usleep(c->us); /* a turn is time, whoever has the processor */
	ns = clock_mono_ns() - ns;
	if (phase == COUNTED && atomic_load(c->phase) == COUNTED)
		c->held_ns += ns;
	if (ns > c->longest_ns)
		c->longest_ns = ns;
}

static void *loop(void *arg)
{
	struct client *c = arg;

	while (atomic_load(c->phase) != ENDING) {
		struct turn t;

		atomic_store(&c->asked, true);
		turn_take(c->flow, &t);
		one_turn(c);
		turn_give(c->flow, &t);
		atomic_fetch_add(&c->turns, 1);
	}
	return NULL;
}

static void start(struct client *c, unsigned n, struct flow *f, _Atomic int *phase)
{
	for (unsigned i = 0; i < n; i++) {
		c[i] = (struct client){ .flow = f, .us = 500, .phase = phase };
		assert_int_equal(pthread_create(&c[i].thread, NULL, loop, &c[i]), 0);
	}
}

static void wait_until_all_asked(const struct client *c, unsigned n)
{
	uint64_t until = clock_mono_ns() + 60000 * MS_NS;

	for (unsigned i = 0; i < n; i++)
		while (!atomic_load(&c[i].asked) && clock_mono_ns() < until)
			usleep(1000);
}

static void join(struct client *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		pthread_join(c[i].thread, NULL);
}

static double held(const struct client *c, unsigned n)
{
	double ns = 0;

	for (unsigned i = 0; i < n; i++)
		ns += (double)c[i].held_ns;
	return ns;
}

static double longest(const struct client *c, unsigned n)
{
	double ns = 0;

	for (unsigned i = 0; i < n; i++)
		if ((double)c[i].longest_ns > ns)
			ns = (double)c[i].longest_ns;
	return ns;
}

/*
 * Many callers of one flow against few of another one, all of whom always wait. Start-time fair
 * queueing promises that what two such flows got, divided by their weights, differs by no more than
 * their longest turns, divided likewise: on a quiet machine less than a millisecond, and on a busy
 * one what it makes of a turn. Four times that, since a turn is charged when it is over, and turns
 * at the edges are not counted.
 */
static void share(uint32_t weight)
{
	static struct client a[24], b[8];
	struct turns *ts = turns_new(1);
	_Atomic int phase = WARMING_UP;
	struct usage ua, ub;
	struct flow fa, fb;
	double apart, bound;

	usage_init(&ua, 100);
	flow_init(&fa, ts, &ua);
	usage_init(&ub, weight);
	flow_init(&fb, ts, &ub);
	start(a, 24, &fa, &phase);
	start(b, 8, &fb, &phase);
	wait_until_all_asked(a, 24);
	wait_until_all_asked(b, 8);
	atomic_store(&phase, COUNTED);
	usleep(400000);
	atomic_store(&phase, ENDING);
	join(a, 24);
	join(b, 8);
	apart = held(a, 24) / 100 - held(b, 8) / weight;
	bound = 4 * (longest(a, 24) / 100 + longest(b, 8) / weight);
	if (apart > bound || -apart > bound)
		fail_msg("%.0f ns against %.0f", held(b, 8), held(a, 24));
	turns_free(ts);
}

static void test_equal_shares(void **state)
{
	share(100);
}

static void test_shares_by_weight(void **state)
{
	share(300);
}

/* Keeps a turn until the end. */
struct holder {
	struct flow *flow;
	pthread_t thread;
	atomic_bool *end;
	_Atomic unsigned *holding;
};

static void *hold(void *arg)
{
	struct holder *h = arg;
	struct turn t;

	turn_take(h->flow, &t);
	atomic_fetch_add(h->holding, 1);
	while (!atomic_load(h->end))
		usleep(1000);
	turn_give(h->flow, &t);
	return NULL;
}

/* A flood has all cores and more of it is queued: who asks seldom waits for none of its turns. */
static void test_the_quiet_one_goes_first(void **state)
{
	struct turns *ts = turns_new(2);
	uint64_t until = clock_mono_ns() + 60000 * MS_NS;
	struct holder flood[16];
	_Atomic unsigned holding = 0;
	atomic_bool end = false;
	struct usage u, uq;
	struct flow f, quiet;
	struct turn t;

	usage_init(&u, 100);
	flow_init(&f, ts, &u);
	usage_init(&uq, 100);
	for (int i = 0; i < 16; i++) {
		flood[i] = (struct holder){ .flow = &f, .end = &end, .holding = &holding };
		assert_int_equal(pthread_create(&flood[i].thread, NULL, hold, &flood[i]), 0);
	}
	while ((atomic_load(&holding) < 2 || !turn_wanted(&f)) && clock_mono_ns() < until)
		usleep(1000);
	for (int i = 0; i < 20; i++) {
		flow_init(&quiet, ts, &uq);
		turn_take(&quiet, &t); /* for good, if it waits for the flood */
		assert_int_equal(atomic_load(&holding), 2);
		assert_true(turn_wanted(&f)); /* who has much to do hears of it */
		turn_give(&quiet, &t);
	}
	atomic_store(&end, true);
	for (int i = 0; i < 16; i++)
		pthread_join(flood[i].thread, NULL);
	turns_free(ts);
}

static void wait_for_turns(const struct client *c, unsigned n)
{
	uint64_t until = clock_mono_ns() + 60000 * MS_NS;

	while (atomic_load(&c->turns) < n && clock_mono_ns() < until)
		usleep(1000);
	assert_true(atomic_load(&c->turns) >= n);
}

/* Newcomers that go at once do not keep out who is queued. */
static void test_nobody_starves(void **state)
{
	static struct client quiet[8], busy[2];
	static struct usage uq[8], ub;
	static struct flow fq[8], fb;
	struct turns *ts = turns_new(1);
	_Atomic int phase = WARMING_UP;

	usage_init(&ub, 1);
	flow_init(&fb, ts, &ub);
	start(busy, 2, &fb, &phase);
	for (int i = 0; i < 8; i++) {
		usage_init(&uq[i], 100);
		flow_init(&fq[i], ts, &uq[i]);
		start(&quiet[i], 1, &fq[i], &phase);
	}
	for (int i = 0; i < 8; i++)
		wait_for_turns(&quiet[i], 20);
	wait_for_turns(&busy[0], 1);
	wait_for_turns(&busy[1], 1);
	atomic_store(&phase, ENDING);
	join(quiet, 8);
	join(busy, 2);
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
