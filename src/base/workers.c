/*
 * workers.c: a linked queue under one mutex. Threads end when they are told to stop and the queue
 * is empty, so jobs submitted by the last jobs still run.
 */
#include "base/workers.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/signals.h"
#include "base/thread.h"

#define REST_NS   1000000000u /* without a job */
#define TIRING_NS 100000000u  /* of jobs: less is not worth a rest */

struct job {
	struct job *next;
	void (*run)(void *arg);
	void *arg;
};

struct workers {
	struct mutex lock;
	struct cond wake;
	struct job *first; /* lock */
	struct job **tail; /* lock */
	bool stopping;     /* lock */
	unsigned running;  /* lock; jobs */
	uint64_t worked;   /* lock; ns of jobs since the last rest */

	void (*rest)(void); /* lock; NULL: nothing */
	unsigned n_threads; /* const after workers_new */
	pthread_t threads[];
};

static void take_rest(struct workers *w) REQUIRES(w->lock)
{
	void (*run)(void) = w->rest;

	w->worked = 0;
	mutex_unlock(&w->lock);
	run();
	mutex_lock(&w->lock);
}

static void wait_for_job(struct workers *w) REQUIRES(w->lock)
{
	if (!w->rest || w->worked < TIRING_NS)
		cond_wait(&w->wake, &w->lock);
	else if (cond_wait_ns(&w->wake, &w->lock, REST_NS) == -ETIMEDOUT && !w->first &&
	         w->running == 0 && w->worked >= TIRING_NS)
		take_rest(w);
}

/* NULL when there is nothing left and the pool is stopping. */
static struct job *take(struct workers *w)
{
	struct job *job;

	mutex_lock(&w->lock);
	while (!w->first && !w->stopping)
		wait_for_job(w);
	job = w->first;
	if (job) {
		w->first = job->next;
		if (!w->first)
			w->tail = &w->first;
		w->running++;
	}
	mutex_unlock(&w->lock);
	return job;
}

static void done(struct workers *w, uint64_t ns)
{
	mutex_lock(&w->lock);
	w->running--;
	w->worked += ns;
	mutex_unlock(&w->lock);
}

static void *work(void *arg)
{
	struct workers *w = arg;
	struct job *job;

	thread_steps_back();
	while ((job = take(w))) {
		uint64_t start = clock_mono_ns();

		job->run(job->arg);
		mem_free(job);
		done(w, clock_mono_ns() - start);
	}
	return NULL;
}

/* Signals from outside belong to the main thread. */
static void start_threads(struct workers *w, unsigned n_threads)
{
	sigset_t old;

	signals_block(&old);
	while (w->n_threads < n_threads &&
	       pthread_create(&w->threads[w->n_threads], NULL, work, w) == 0)
		w->n_threads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

struct workers *workers_new(unsigned n_threads)
{
	struct workers *w;

	w = mem_zalloc(1, sizeof(*w) + n_threads * sizeof(w->threads[0]));
	if (!w)
		return NULL;
	mutex_init(&w->lock);
	cond_init(&w->wake);
	w->tail = &w->first;
	start_threads(w, n_threads);
	if (w->n_threads == 0) {
		workers_free(w);
		return NULL;
	}
	return w;
}

void workers_free(struct workers *w)
{
	if (!w)
		return;
	mutex_lock(&w->lock);
	w->stopping = true;
	cond_broadcast(&w->wake);
	mutex_unlock(&w->lock);
	for (unsigned i = 0; i < w->n_threads; i++)
		pthread_join(w->threads[i], NULL);
	cond_destroy(&w->wake);
	mutex_destroy(&w->lock);
	mem_free(w);
}

void workers_at_rest(struct workers *w, void (*run)(void))
{
	mutex_lock(&w->lock);
	w->rest = run;
	mutex_unlock(&w->lock);
}

unsigned workers_count(const struct workers *w)
{
	return w ? w->n_threads : 1;
}

int workers_submit(struct workers *w, void (*run)(void *arg), void *arg)
{
	struct job *job = mem_alloc(1, sizeof(*job));

	if (!job)
		return -ENOMEM;
	*job = (struct job){ .run = run, .arg = arg };
	mutex_lock(&w->lock);
	*w->tail = job;
	w->tail = &job->next;
	cond_signal(&w->wake);
	mutex_unlock(&w->lock);
	return 0;
}
