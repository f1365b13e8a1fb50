/* clock.c: clock_gettime, which cannot fail for these clocks. */
#include "base/clock.h"

#include <time.h>

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
	return now_ns(CLOCK_MONOTONIC);
}

uint64_t clock_coarse_ns(void)
{
	return now_ns(CLOCK_MONOTONIC_COARSE);
}

uint64_t clock_thread_ns(void)
{
	return now_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t clock_wall_ns(void)
{
	return now_ns(CLOCK_REALTIME);
}
