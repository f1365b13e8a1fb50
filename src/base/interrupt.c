/*
 * interrupt.c: the source of interrupts of each thread.
 */
#include "base/interrupt.h"

static _Thread_local struct {
	const struct interrupt_source *source;
	void *ctx;
	bool must_not_wait;
} current;

void interrupt_set(const struct interrupt_source *s, void *ctx, bool may_wait)
{
	current.source = s;
	current.ctx = ctx;
	current.must_not_wait = !may_wait;
}

bool interrupt_may_wait(void)
{
	return !current.must_not_wait;
}

bool interrupt_happened(void)
{
	return current.source && current.source->happened(current.ctx);
}

void interrupt_watch(struct interrupt_watch *w)
{
	if (current.source)
		current.source->watch(current.ctx, w);
}
