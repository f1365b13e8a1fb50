/*
 * t.h: what every unit test includes. cmocka 1.1.5 prints signed values as huge hex, so
 * failures of calls that return -Exxx are named here.
 */
#ifndef RV_TESTS_T_H
#define RV_TESTS_T_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define T_OK(call)                                                                                 \
	do {                                                                                       \
		long t_rc_ = (long)(call);                                                         \
		if (t_rc_ < 0)                                                                     \
			fail_msg("%s: %s", #call, strerror((int)-t_rc_));                          \
	} while (0)

#define T_ERR(call, code)                                                                          \
	do {                                                                                       \
		long t_rc_ = (long)(call);                                                         \
		if (t_rc_ != -(long)(code))                                                        \
			fail_msg("%s: %s, expected %s", #call,                                     \
				 t_rc_ < 0 ? strerror((int)-t_rc_) : "success", strerror(code));   \
	} while (0)

/* A seed from RUVECTORFS_SEED or the clock, printed so that a failure can be repeated. */
static inline uint64_t t_seed(void)
{
	const char *s = getenv("RUVECTORFS_SEED");
	uint64_t seed = s ? strtoull(s, NULL, 0) : (uint64_t)(uintptr_t)&s ^ (uint64_t)random();

	print_message("seed %llu\n", (unsigned long long)seed);
	return seed;
}

#endif
