/*
 * lock.h: pthread locks with clang's capability attributes (`make check-tsa`).
 *
 * Written order, outermost first: tree, tenant, engine, store, index. The read-write lock
 * prefers writers, so a stream of searches does not hold up a commit; a thread must not take it
 * for reading twice.
 */
#ifndef RV_BASE_LOCK_H
#define RV_BASE_LOCK_H

#include <pthread.h>
#include <stdint.h>

#if defined(__clang__)
#define TSA(x) __attribute__((x))
#else
#define TSA(x)
#endif
#define GUARDED_BY(x)        TSA(guarded_by(x))
#define REQUIRES(...)        TSA(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) TSA(requires_shared_capability(__VA_ARGS__))
#define ACQUIRE(...)         TSA(acquire_capability(__VA_ARGS__))
#define RELEASE(...)         TSA(release_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...)  TSA(acquire_shared_capability(__VA_ARGS__))
#define RELEASE_SHARED(...)  TSA(release_shared_capability(__VA_ARGS__))
#define NO_TSA               TSA(no_thread_safety_analysis)

struct TSA(capability("mutex")) mutex {
	pthread_mutex_t m;
};
struct TSA(capability("rwlock")) rwlock {
	pthread_rwlock_t l;
};
struct cond {
	pthread_cond_t c; /* CLOCK_MONOTONIC */
};

void mutex_init(struct mutex *m);
void mutex_destroy(struct mutex *m);
void mutex_lock(struct mutex *m) ACQUIRE(m);
void mutex_unlock(struct mutex *m) RELEASE(m);

void rwlock_init(struct rwlock *l);
void rwlock_destroy(struct rwlock *l);
void rwlock_read(struct rwlock *l) ACQUIRE_SHARED(l);
void rwlock_read_unlock(struct rwlock *l) RELEASE_SHARED(l);
void rwlock_write(struct rwlock *l) ACQUIRE(l);
void rwlock_write_unlock(struct rwlock *l) RELEASE(l);

void cond_init(struct cond *c);
void cond_destroy(struct cond *c);
void cond_wait(struct cond *c, struct mutex *m) REQUIRES(m);
int cond_wait_ns(struct cond *c, struct mutex *m, uint64_t ns) REQUIRES(m); /* 0 or -ETIMEDOUT */
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

#endif
