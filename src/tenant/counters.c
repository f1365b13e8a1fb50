/*
 * counters.c: counts and latencies.
 *
 * Latencies fall into 4 buckets an octave (as HdrHistogram's with two significant bits), from 1
 * µs to about a minute; a quantile is interpolated inside its bucket, so it is right to some 10
 * %. A collection that was never asked has no histogram. A slot of the window is cleared by the
 * first who counts in its next stretch of time; what others count in that very moment may be
 * lost.
 */
#include "tenant/counters.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define FIRST_NS   1024u /* where the octaves begin; below is bucket 0 */
#define FIRST_LOG2 10
#define SLOT_NS    (WINDOW_SLOT_S * 1000000000ull)

static _Thread_local struct work work;

const char *count_name(enum count k)
{
	static const char *const names[COUNT_N] = { "queries", "inserts", "deletes", "errors" };

	return names[k];
}

static uint64_t get(const _Atomic uint64_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

/* ---- buckets ---- */

static unsigned bucket_of(uint64_t ns)
{
	unsigned log2;

	if (ns < FIRST_NS)
		return 0;
	log2 = 63u - (unsigned)__builtin_clzll(ns);
	if (log2 >= FIRST_LOG2 + LATENCY_OCTAVES)
		return LATENCY_BUCKETS - 1;
	return 1 + (log2 - FIRST_LOG2) * 4 + (unsigned)(ns >> (log2 - 2) & 3);
}

/* The smallest value of a bucket; of the one behind the last: its end. */
static double bucket_begin_ns(unsigned b)
{
	if (b == 0)
		return 0;
	b--;
	return (double)((uint64_t)(4 + b % 4) << (FIRST_LOG2 - 2 + b / 4));
}

uint64_t latency_us(const uint64_t *n, double quantile)
{
	uint64_t total = 0;
	double rank;
	double seen = 0;

	for (unsigned b = 0; b < LATENCY_BUCKETS; b++)
		total += n[b];
	rank = quantile * (double)total;
	for (unsigned b = 0; b < LATENCY_BUCKETS; b++) {
		if (n[b] > 0 && seen + (double)n[b] >= rank) {
			double begin = bucket_begin_ns(b);
			double end = bucket_begin_ns(b + 1);
			double ns = begin + (end - begin) * (rank - seen) / (double)n[b];

			return ns < 1000 ? 1 : (uint64_t)(ns / 1000 + 0.5);
		}
		seen += (double)n[b];
	}
	return 0;
}

uint64_t latency_at_most(const uint64_t *n, unsigned octaves)
{
	uint64_t sum = 0;

	for (unsigned b = 0; b <= octaves * 4 && b < LATENCY_BUCKETS; b++)
		sum += n[b];
	return sum;
}

/* ---- the window ---- */

static uint32_t slot_now(void)
{
	return (uint32_t)(clock_mono_ns() / SLOT_NS) + 1;
}

/* Clears n counts that are of an earlier stretch, once. */
static void slot_turn(_Atomic uint32_t *slot, _Atomic uint32_t *n, size_t n_counts, uint32_t now)
{
	uint32_t was = atomic_load_explicit(slot, memory_order_relaxed);

	if (was == now || !atomic_compare_exchange_strong(slot, &was, now))
		return;
	for (size_t i = 0; i < n_counts; i++)
		atomic_store_explicit(&n[i], 0, memory_order_relaxed);
}

static bool slot_counts(const _Atomic uint32_t *slot, uint32_t now)
{
	uint32_t s = atomic_load_explicit(slot, memory_order_relaxed);

	return s != 0 && now - s < WINDOW_SLOTS;
}

double window_seconds(uint64_t started_ns)
{
	uint64_t now = clock_mono_ns();
	double window = (double)((WINDOW_SLOTS - 1) * SLOT_NS + now % SLOT_NS) / 1e9;
	double age = (double)(now - started_ns) / 1e9;

	if (age < 1)
		age = 1;
	return age < window ? age : window;
}

/* ---- counting ---- */

void activity_release(struct activity *a)
{
	mem_free(atomic_load(&a->latencies));
}

void activity_add(struct activity *a, enum count k, uint64_t n)
{
	uint32_t now = slot_now();
	unsigned i = now % WINDOW_SLOTS;

	work.n[k] += n;
	atomic_fetch_add_explicit(&a->n[k], n, memory_order_relaxed);
	slot_turn(&a->window[i].slot, a->window[i].n, COUNT_N, now);
	atomic_fetch_add_explicit(&a->window[i].n[k], (uint32_t)n, memory_order_relaxed);
}

static struct latencies *latencies_of(struct activity *a)
{
	struct latencies *now = atomic_load_explicit(&a->latencies, memory_order_acquire);
	struct latencies *mine;

	if (now)
		return now;
	mine = mem_zalloc(1, sizeof(*mine));
	if (!mine)
		return NULL;
	if (atomic_compare_exchange_strong(&a->latencies, &now, mine))
		return mine;
	mem_free(mine);
	return now;
}

void activity_query(struct activity *a, uint64_t ns)
{
	struct latencies *l = latencies_of(a);
	uint32_t now = slot_now();
	unsigned i = now % WINDOW_SLOTS;
	unsigned b = bucket_of(ns);

	activity_add(a, COUNT_QUERIES, 1);
	if (!l)
		return;
	atomic_fetch_add_explicit(&l->n[b], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&l->sum_ns, ns, memory_order_relaxed);
	slot_turn(&l->window[i].slot, l->window[i].n, LATENCY_BUCKETS, now);
	atomic_fetch_add_explicit(&l->window[i].n[b], 1, memory_order_relaxed);
}

void activity_access(struct activity *a)
{
	atomic_store_explicit(&a->last_access_s, clock_wall_ns() / 1000000000u,
	                      memory_order_relaxed);
}

/* ---- sums ---- */

static void add_latencies(struct activity_sum *sum, const struct latencies *l, uint32_t now)
{
	sum->latency_sum_ns += get(&l->sum_ns);
	for (unsigned b = 0; b < LATENCY_BUCKETS; b++)
		sum->latency[b] += get(&l->n[b]);
	for (unsigned i = 0; i < WINDOW_SLOTS; i++) {
		if (!slot_counts(&l->window[i].slot, now))
			continue;
		for (unsigned b = 0; b < LATENCY_BUCKETS; b++)
			sum->latency_minute[b] += atomic_load_explicit(&l->window[i].n[b],
			                                               memory_order_relaxed);
	}
}

void activity_sum(struct activity_sum *sum, const struct activity *a)
{
	const struct latencies *l = atomic_load_explicit(&a->latencies, memory_order_acquire);
	uint64_t last = get(&a->last_access_s);
	uint32_t now = slot_now();

	for (int k = 0; k < COUNT_N; k++) {
		sum->n[k] += get(&a->n[k]);
		sum->total[k] += get(&a->n[k]) + get(&a->before[k]);
	}
	for (unsigned i = 0; i < WINDOW_SLOTS; i++)
		for (int k = 0; k < COUNT_N && slot_counts(&a->window[i].slot, now); k++)
			sum->minute[k] += atomic_load_explicit(&a->window[i].n[k],
			                                       memory_order_relaxed);
	if (last > sum->last_access_s)
		sum->last_access_s = last;
	if (l)
		add_latencies(sum, l, now);
}

void work_take(struct work *ret)
{
	*ret = work;
	memset(&work, 0, sizeof(work));
}
