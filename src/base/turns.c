/*
 * turns.c: start-time fair queueing (P. Goyal, H. Vin, H. Cheng: "Start-time fair queueing",
 * SIGCOMM 1996), of turns on n cores.
 *
 * A request gets a start tag, max(virtual time, finish tag of its flow), and moves that finish
 * tag on by what it will use divided by the weight; requests are served in the order of start
 * tags, and the virtual time is the start tag of what was served last. Departures from the
 * paper: there are n servers; what a turn uses is known only at its end, so the flow's mean is
 * charged before and the difference after; and a flow that has nothing running and would be the
 * next to be served does not wait for a turn to end: it is served at once, on top of n, up to
 * 2 n. Such a newcomer shares a core with who was there for what is left of a turn; that costs
 * others little, and it is the whole delay that a quiet flow sees.
 *
 * What is served moves its flow's tag on, so who is queued has the earliest one sooner or later:
 * nobody starves.
 */
#include "base/turns.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/usage.h"

#define SCALE         1024u  /* of tags: nanoseconds times this by weight */
#define MEAN_AT_FIRST 100000 /* nanoseconds of a turn */

struct queued {
	struct queued *next;
	struct flow *flow;
	uint64_t start;
	bool granted;
	struct cond wake;
};

struct turns {
	unsigned n_cores; /* const */
	struct mutex lock;
	uint64_t now;            /* lock; virtual time */
	unsigned running;        /* lock */
	struct queued *queue;    /* lock; by start tag */
	_Atomic unsigned wanted; /* relaxed; queued, or running beyond the cores */
};

struct turns *turns_new(unsigned n_cores)
{
	struct turns *ts = mem_zalloc(1, sizeof(*ts));

	if (!ts)
		return NULL;
	ts->n_cores = n_cores > 0 ? n_cores : 1;
	mutex_init(&ts->lock);
	return ts;
}

void turns_free(struct turns *ts)
{
	if (!ts)
		return;
	mutex_destroy(&ts->lock);
	mem_free(ts);
}

void flow_init(struct flow *f, struct turns *ts, struct usage *u)
{
	*f = (struct flow){ .turns = ts, .usage = u, .mean_ns = MEAN_AT_FIRST };
}

uint32_t flow_weight(const struct flow *f)
{
	return usage_weight(f->usage);
}

static uint64_t tag_of(const struct flow *f, uint64_t ns)
{
	return ns * SCALE / flow_weight(f);
}

static void tell_wanted(struct turns *ts) REQUIRES(ts->lock)
{
	atomic_store_explicit(&ts->wanted, ts->queue || ts->running > ts->n_cores,
	                      memory_order_relaxed);
}

static void grant(struct turns *ts, struct flow *f, uint64_t start) REQUIRES(ts->lock)
{
	ts->running++;
	f->running++;
	if (start > ts->now)
		ts->now = start;
}

static bool goes_at_once(const struct turns *ts, const struct flow *f, uint64_t start)
	REQUIRES(ts->lock);

static bool goes_at_once(const struct turns *ts, const struct flow *f, uint64_t start)
{
	if (ts->running < ts->n_cores)
		return !ts->queue;
	return ts->running < 2 * ts->n_cores && f->running == 0 &&
	       (!ts->queue || start < ts->queue->start);
}

static void enqueue(struct turns *ts, struct queued *q) REQUIRES(ts->lock)
{
	struct queued **at = &ts->queue;

	while (*at && (*at)->start <= q->start)
		at = &(*at)->next;
	q->next = *at;
	*at = q;
}

static void wait_locked(struct turns *ts, struct flow *f, uint64_t start) REQUIRES(ts->lock)
{
	struct queued q = { .flow = f, .start = start };

	cond_init(&q.wake);
	enqueue(ts, &q);
	tell_wanted(ts);
	while (!q.granted)
		cond_wait(&q.wake, &ts->lock);
	cond_destroy(&q.wake);
}

void turn_take(struct flow *f, struct turn *ret)
{
	struct turns *ts = f ? f->turns : NULL;

	if (!ts)
		return;
	usage_charge(f->usage);
	usage_begin(f->usage);
	mutex_lock(&ts->lock);
	ret->start = f->finish > ts->now ? f->finish : ts->now;
	ret->charged = tag_of(f, f->mean_ns);
	if (goes_at_once(ts, f, ret->start)) {
		f->finish = ret->start + ret->charged;
		grant(ts, f, ret->start);
	} else {
		f->finish = ret->start + ret->charged;
		wait_locked(ts, f, ret->start);
	}
	tell_wanted(ts);
	mutex_unlock(&ts->lock);
	ret->began_ns = clock_mono_ns();
}

static void grant_next(struct turns *ts) REQUIRES(ts->lock)
{
	while (ts->queue && ts->running < ts->n_cores) {
		struct queued *q = ts->queue;

		ts->queue = q->next;
		grant(ts, q->flow, q->start);
		q->granted = true;
		cond_signal(&q->wake);
	}
}

void turn_give(struct flow *f, const struct turn *t)
{
	struct turns *ts = f ? f->turns : NULL;
	uint64_t ns;

	if (!ts)
		return;
	ns = clock_mono_ns() - t->began_ns;
	if (thread_stands_back())
		usage_charge_ns(f->usage, ns);
	mutex_lock(&ts->lock);
	f->finish += tag_of(f, ns);
	f->finish -= f->finish > t->charged ? t->charged : f->finish;
	f->mean_ns += ns / 8;
	f->mean_ns -= f->mean_ns / 8;
	ts->running--;
	f->running--;
	grant_next(ts);
	tell_wanted(ts);
	mutex_unlock(&ts->lock);
}

bool turn_wanted(const struct flow *f)
{
	return f && f->turns && atomic_load_explicit(&f->turns->wanted, memory_order_relaxed);
}
