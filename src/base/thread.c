/*
 * thread.c: two kinds of threads.
 *
 * Linux gives a thread that wakes a processor when the one that runs has used up its slice
 * (EEVDF), which is 3 ms by default: longer than many searches. A thread may ask for slices of
 * its own length since Linux 6.12; older ones take the call and do nothing.
 */
#include "base/thread.h"

#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLICE_NS 100000 /* the least that is taken */
#define NICE     10     /* a tenth of a processor that is wanted: it may hold what others need */

/* As the kernel has it; the C library does not. */
struct attributes {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime_ns;
	uint64_t deadline_ns;
	uint64_t period_ns;
};

void thread_answers(void)
{
	struct attributes a = { .size = sizeof(a) };

	if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) < 0 || a.policy != 0)
		return; /* somebody chose a policy for the daemon */
	a.size = sizeof(a);
	a.runtime_ns = SLICE_NS;
	(void)syscall(SYS_sched_setattr, 0, &a, 0);
}

void thread_steps_back(void)
{
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
}
