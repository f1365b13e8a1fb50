/*
 * counters.c: counts and latencies of a collection since the mount.
 *
 * Latencies fall into 4 buckets an octave (as HdrHistogram's with two significant bits), from 1
 * µs to about a minute; a quantile is interpolated inside its bucket, so it is right to some 10
 * %. Increments are relaxed atomics; a collection that was never asked has no histogram.
 */
#include "tenant/tenant_impl.h"

#include "base/mem.h"

#define FIRST_NS   1024u /* where the octaves begin; below is bucket 0 */
#define FIRST_LOG2 10

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

static struct counters *counters_of(struct collection *c)
{
	struct counters *now = atomic_load_explicit(&c->counters, memory_order_acquire);
	struct counters *mine;

	if (now)
		return now;
	mine = mem_zalloc(1, sizeof(*mine));
	if (!mine)
		return NULL;
	if (atomic_compare_exchange_strong(&c->counters, &now, mine))
		return mine;
	mem_free(mine);
	return now;
}

void counters_query(struct collection *c, uint64_t ns)
{
	struct counters *n = counters_of(c);

	if (!n)
		return;
	atomic_fetch_add_explicit(&n->queries, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&n->latency[bucket_of(ns)], 1, memory_order_relaxed);
}

void latency_add(struct latency *sum, const struct collection *c)
{
	const struct counters *n = atomic_load_explicit(&c->counters, memory_order_acquire);
	uint64_t last = atomic_load_explicit(&c->last_access_s, memory_order_relaxed);

	sum->errors += atomic_load_explicit(&c->errors, memory_order_relaxed);
	if (last > sum->last_access_s)
		sum->last_access_s = last;
	if (!n)
		return;
	sum->queries += atomic_load_explicit(&n->queries, memory_order_relaxed);
	for (unsigned b = 0; b < LATENCY_BUCKETS; b++)
		sum->n[b] += atomic_load_explicit(&n->latency[b], memory_order_relaxed);
}

uint64_t latency_us(const struct latency *l, double quantile)
{
	uint64_t total = 0;
	double rank;
	double seen = 0;

	for (unsigned b = 0; b < LATENCY_BUCKETS; b++)
		total += l->n[b];
	rank = quantile * (double)total;
	for (unsigned b = 0; b < LATENCY_BUCKETS; b++) {
		double n = (double)l->n[b];

		if (n > 0 && seen + n >= rank) {
			double begin = bucket_begin_ns(b);
			double end = bucket_begin_ns(b + 1);
			double ns = begin + (end - begin) * (rank - seen) / n;

			return ns < 1000 ? 1 : (uint64_t)(ns / 1000 + 0.5);
		}
		seen += n;
	}
	return 0;
}

void count_rejected(struct tenant *t, enum quota_key k)
{
	atomic_fetch_add_explicit(&t->rejected[k], 1, memory_order_relaxed);
}

void tenant_count_error(struct inside *in)
{
	atomic_fetch_add_explicit(&in->collection->errors, 1, memory_order_relaxed);
}
