/*
 * interrupt.h: whether who asked for what this thread does wants it no more.
 *
 * Whoever serves a request says so for its thread (mount/); whatever waits deep below asks.
 * Where nobody said anything, waiting is not interruptible.
 */
#ifndef RV_BASE_INTERRUPT_H
#define RV_BASE_INTERRUPT_H

#include <stdbool.h>
#include <stddef.h>

/* Embedded in what waits. wake may be called by any thread, also before watch returns. */
struct interrupt_watch {
	void (*wake)(struct interrupt_watch *w);
};

struct interrupt_source {
	bool (*happened)(void *ctx);
	/* From now on w is woken; NULL: not any more, and no wake is under way afterwards. */
	void (*watch)(void *ctx, struct interrupt_watch *w);
};

/* Of this thread. s NULL: nobody is there to wait; may_wait false: this must not wait at all. */
void interrupt_set(const struct interrupt_source *s, void *ctx, bool may_wait);

bool interrupt_may_wait(void);
bool interrupt_happened(void);
void interrupt_watch(struct interrupt_watch *w);

#endif
