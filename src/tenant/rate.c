/*
 * rate.c: the token bucket. A token's time is rounded up, and the bucket's depth with it, so
 * that exactly per_s tokens fit.
 */
#include "tenant/rate.h"

#include <stdbool.h>

#define S_NS 1000000000ull

static uint64_t token_ns(uint64_t per_s)
{
	return (S_NS + per_s - 1) / per_s;
}

static uint64_t take(struct rate *r, uint64_t per_s, uint64_t now_ns, bool reserve)
{
	uint64_t full = atomic_load_explicit(&r->full_ns, memory_order_relaxed);
	uint64_t token, deep, next, wait;

	if (per_s == 0)
		return RATE_NEVER;
	token = token_ns(per_s);
	deep = token * per_s;
	do {
		next = (full > now_ns ? full : now_ns) + token;
		wait = next > now_ns + deep ? next - now_ns - deep : 0;
		if (wait > 0 && !reserve)
			return wait;
	} while (!atomic_compare_exchange_weak_explicit(
		&r->full_ns, &full, next, memory_order_relaxed, memory_order_relaxed));
	return wait;
}

uint64_t rate_take(struct rate *r, uint64_t per_s, uint64_t now_ns)
{
	return take(r, per_s, now_ns, false);
}

uint64_t rate_reserve(struct rate *r, uint64_t per_s, uint64_t now_ns)
{
	return take(r, per_s, now_ns, true);
}

void rate_give(struct rate *r, uint64_t per_s, uint64_t n)
{
	uint64_t full = atomic_load_explicit(&r->full_ns, memory_order_relaxed);
	uint64_t back;

	if (per_s == 0 || __builtin_mul_overflow(token_ns(per_s), n, &back))
		return;
	while (!atomic_compare_exchange_weak_explicit(&r->full_ns, &full,
	                                              full > back ? full - back : 0,
	                                              memory_order_relaxed, memory_order_relaxed))
		;
}

void rate_reset(struct rate *r)
{
	atomic_store_explicit(&r->full_ns, 0, memory_order_relaxed);
}
