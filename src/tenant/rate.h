/*
 * rate.h: a token bucket in one word: so many tokens a second, and at most a second's worth
 * saved up.
 *
 * It is kept as the time at which the bucket would be full again (the generic cell rate
 * algorithm, ITU-T I.371, "virtual scheduling"), so taking a token is one compare and swap.
 * Zeros are a full bucket. Any thread. Times are of the monotonic clock.
 */
#ifndef RV_TENANT_RATE_H
#define RV_TENANT_RATE_H

#include <stdatomic.h>
#include <stdint.h>

struct rate {
	_Atomic uint64_t full_ns;
};

#define RATE_NEVER UINT64_MAX

/* 0: taken. Else the time until there is one; RATE_NEVER when per_s is 0. per_s: to LIMIT_RATE. */
uint64_t rate_take(struct rate *r, uint64_t per_s, uint64_t now_ns);
/* Takes one that may be of the future: it is there after so long. RATE_NEVER: not taken. */
uint64_t rate_reserve(struct rate *r, uint64_t per_s, uint64_t now_ns);
/* Gives n back. */
void rate_give(struct rate *r, uint64_t per_s, uint64_t n);
/* When the rate itself changes: a full bucket. */
void rate_reset(struct rate *r);

#endif
