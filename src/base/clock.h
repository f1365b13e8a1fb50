/* clock.h: time in nanoseconds. */
#ifndef RV_BASE_CLOCK_H
#define RV_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_ns(void);
uint64_t clock_wall_ns(void);   /* since 1970 */
uint64_t clock_thread_ns(void); /* on a processor, of the calling thread: a system call */
uint64_t clock_coarse_ns(void); /* monotonic, some milliseconds behind: cheap */

#endif
