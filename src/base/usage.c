/*
 * usage.c: sums that decay, and what is told by comparing them. Two threads that charge one at
 * once may lose a part: it is a hint.
 */
#include "base/usage.h"

#include "base/clock.h"
#include "base/thread.h"

#define WINDOW_NS    32000000u
#define LIGHT_NS     (WINDOW_NS / 4)
#define HEAVY_FOR_NS 100000000u  /* who used much is remembered */
#define CONTENDED_NS 1000000000u /* and that somebody else asked: he may come again */

static _Atomic(const struct usage *) heavy; /* relaxed, all three; only compared */
static _Atomic uint64_t heavy_at_ns;
static _Atomic uint64_t contended_at_ns;

static uint64_t get(const _Atomic uint64_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

static void set(_Atomic uint64_t *v, uint64_t to)
{
	atomic_store_explicit(v, to, memory_order_relaxed);
}

void usage_init(struct usage *u, uint32_t weight)
{
	*u = (struct usage){ 0 };
	usage_set_weight(u, weight);
}

void usage_set_weight(struct usage *u, uint32_t weight)
{
	atomic_store_explicit(&u->weight, weight > 0 ? weight : 1, memory_order_relaxed);
}

uint32_t usage_weight(const struct usage *u)
{
	return atomic_load_explicit(&u->weight, memory_order_relaxed);
}

static uint64_t decayed(const struct usage *u, uint64_t now)
{
	uint64_t ns = get(&u->ns), at = get(&u->at_ns), age = now > at ? now - at : 0;

	return age >= WINDOW_NS ? 0 : ns - ns / 1024 * (age * 1024 / WINDOW_NS);
}

static bool is_much(const struct usage *u, uint64_t ns)
{
	return ns > (uint64_t)LIGHT_NS / USAGE_WEIGHT * usage_weight(u);
}

void usage_begin(struct usage *u)
{
	if (thread_goes_first() && is_much(u, decayed(u, clock_mono_ns())))
		thread_steps_aside();
}

static void look_around(const struct usage *u, bool much, uint64_t now)
{
	const struct usage *other = atomic_load_explicit(&heavy, memory_order_relaxed);

	if (other && other != u && now - get(&heavy_at_ns) < HEAVY_FOR_NS &&
	    now - get(&contended_at_ns) > HEAVY_FOR_NS)
		set(&contended_at_ns, now);
	if (!much)
		return;
	atomic_store_explicit(&heavy, u, memory_order_relaxed);
	set(&heavy_at_ns, now);
}

void usage_charge_ns(struct usage *u, uint64_t ns)
{
	uint64_t now = clock_mono_ns(), sum = decayed(u, now) + ns;

	set(&u->ns, sum);
	set(&u->at_ns, now);
	look_around(u, is_much(u, sum), now);
}

void usage_charge(struct usage *u)
{
	static _Thread_local uint64_t before;
	uint64_t now;

	if (!thread_may_go_first())
		return;
	now = clock_thread_ns();
	usage_charge_ns(u, now - before);
	before = now;
}

bool usage_is_contended(void)
{
	uint64_t at = get(&contended_at_ns), now = clock_coarse_ns();

	return at > 0 && (at > now || now - at < CONTENDED_NS);
}
