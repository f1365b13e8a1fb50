/*
 * parallel.c: threads take the next piece until there is none. They are started for the occasion,
 * some ten microseconds each, so that nobody's work waits in a queue behind another's.
 */
#include "base/parallel.h"
#include "base/signals.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

struct run {
	_Atomic uint32_t next;
	uint32_t n_pieces;
	void (*piece)(void *ctx, uint32_t i);
	void *ctx;
};

static void *work(void *arg)
{
	struct run *r = arg;
	uint32_t i;

	while ((i = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed)) < r->n_pieces)
		r->piece(r->ctx, i);
	return NULL;
}

static unsigned processors(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	return n < 1 ? 1 : (unsigned)n;
}

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Signals are other threads' business. */
static unsigned start(struct run *r, pthread_t *threads, unsigned n)
{
	sigset_t old;
	unsigned started = 0;

	signals_block(&old);
	while (started < n && pthread_create(&threads[started], NULL, work, r) == 0)
		started++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return started;
}

void parallel_run(uint32_t n_pieces, unsigned n_threads, void (*piece)(void *ctx, uint32_t i),
                  void *ctx)
{
	struct run r = { .n_pieces = n_pieces, .piece = piece, .ctx = ctx };
	unsigned n = least(least(n_threads, n_pieces), PARALLEL_THREADS), started = 0;
	pthread_t threads[PARALLEL_THREADS];

	if (n > 1)
		started = start(&r, threads, least(n, processors()) - 1);
	work(&r);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
}
