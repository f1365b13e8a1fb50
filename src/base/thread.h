/*
 * thread.h: what the calling thread is to the system's scheduler.
 *
 * Threads that answer requests ask for short slices, so that one that wakes is served soon by a
 * processor that is busy. When that is not enough, they may go first: before all other threads of
 * the machine. One that goes first steps aside for an answer that takes long. Threads for whom
 * nobody waits step back, for good. Best effort, all of it: a daemon whose policy or nice value
 * somebody chose, or that may not (CAP_SYS_NICE), goes first never.
 */
#ifndef RV_BASE_THREAD_H
#define RV_BASE_THREAD_H

#include <stdbool.h>
#include <stdint.h>

/* It waits for a request, and goes first or not from now on. Free while nothing changes. */
void thread_answers(bool first);
/* Until thread_answers. Done to it, too, when it was on a processor for 10 ms at a stretch. */
void thread_steps_aside(void);
void thread_steps_back(void);

bool thread_may_go_first(void); /* it answers, and thread_answers(true) is not in vain */
bool thread_goes_first(void);
bool thread_stands_back(void);

/* Who waits for this processor may have it, unless this thread goes first. For long work. */
void thread_yields(void);

/* The same while others go first, and free otherwise: for the shortest pieces, and for users' work. */
void thread_lets_pass(void);

/* Between the rows of a batch, of which this was the nth: not after each. */
static inline void thread_lets_pass_between(uint64_t nth)
{
	if (nth % 8 == 0)
		thread_lets_pass();
}

/* Nobody in this process goes first. */
void thread_nobody_goes_first(void);

#endif
