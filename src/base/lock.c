/*
 * lock.c: a pthread call that fails here means that a lock is used wrongly, our own bug: it ends
 * the process, as an assertion does.
 */
#include "base/lock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void must(int rc)
{
	if (rc == 0)
		return;
	fprintf(stderr, "a lock is used wrongly: %s\n", strerror(rc));
	abort();
}

void mutex_init(struct mutex *m)
{
	must(pthread_mutex_init(&m->m, NULL));
}

void mutex_destroy(struct mutex *m)
{
	must(pthread_mutex_destroy(&m->m));
}

NO_TSA void mutex_lock(struct mutex *m)
{
	must(pthread_mutex_lock(&m->m));
}

NO_TSA void mutex_unlock(struct mutex *m)
{
	must(pthread_mutex_unlock(&m->m));
}

void rwlock_init(struct rwlock *l)
{
	pthread_rwlockattr_t attr;

	must(pthread_rwlockattr_init(&attr));
	/* plain PREFER_WRITER does nothing in glibc: it would allow for readers that lock twice */
	must(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP));
	must(pthread_rwlock_init(&l->l, &attr));
	must(pthread_rwlockattr_destroy(&attr));
}

void rwlock_destroy(struct rwlock *l)
{
	must(pthread_rwlock_destroy(&l->l));
}

NO_TSA void rwlock_read(struct rwlock *l)
{
	must(pthread_rwlock_rdlock(&l->l));
}

NO_TSA void rwlock_read_unlock(struct rwlock *l)
{
	must(pthread_rwlock_unlock(&l->l));
}

NO_TSA void rwlock_write(struct rwlock *l)
{
	must(pthread_rwlock_wrlock(&l->l));
}

NO_TSA void rwlock_write_unlock(struct rwlock *l)
{
	must(pthread_rwlock_unlock(&l->l));
}

void cond_init(struct cond *c)
{
	pthread_condattr_t attr;

	must(pthread_condattr_init(&attr));
	must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	must(pthread_cond_init(&c->c, &attr));
	must(pthread_condattr_destroy(&attr));
}

void cond_destroy(struct cond *c)
{
	must(pthread_cond_destroy(&c->c));
}

NO_TSA void cond_wait(struct cond *c, struct mutex *m)
{
	must(pthread_cond_wait(&c->c, &m->m));
}

NO_TSA int cond_wait_ns(struct cond *c, struct mutex *m, uint64_t ns)
{
	struct timespec until;
	uint64_t nsec;
	int rc;

	clock_gettime(CLOCK_MONOTONIC, &until);
	nsec = (uint64_t)until.tv_nsec + ns % 1000000000;
	until.tv_sec += (time_t)(ns / 1000000000 + nsec / 1000000000);
	until.tv_nsec = (long)(nsec % 1000000000);
	rc = pthread_cond_timedwait(&c->c, &m->m, &until);
	if (rc != ETIMEDOUT)
		must(rc);
	return -rc;
}

void cond_signal(struct cond *c)
{
	must(pthread_cond_signal(&c->c));
}

void cond_broadcast(struct cond *c)
{
	must(pthread_cond_broadcast(&c->c));
}
