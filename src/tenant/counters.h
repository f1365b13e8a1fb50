/*
 * counters.h: what was done to a collection and a tenant, and how long searches took: since the
 * mount, over the last minute, since creation.
 *
 * All increments are relaxed atomics: statistics, nothing is decided by them. The last minute is
 * kept in slots of WINDOW_SLOT_S seconds, so it is the four full ones before now and the one that
 * runs: 60 to 75 seconds. Totals since creation outlive the process in DATA/stores/N/totals
 * (totals.c). Any thread.
 */
#ifndef RV_TENANT_COUNTERS_H
#define RV_TENANT_COUNTERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum count { COUNT_QUERIES, COUNT_INSERTS, COUNT_DELETES, COUNT_ERRORS, COUNT_N };

/* "queries", "inserts", "deletes", "errors" */
const char *count_name(enum count k);

/* Log-linear: 4 buckets an octave from 1 µs to about a minute. */
#define LATENCY_OCTAVES 26
#define LATENCY_BUCKETS (LATENCY_OCTAVES * 4 + 2)

#define WINDOW_SLOTS  5
#define WINDOW_SLOT_S 15

struct latencies {
	_Atomic uint64_t n[LATENCY_BUCKETS]; /* since the mount */
	_Atomic uint64_t sum_ns;
	struct {
		_Atomic uint32_t slot; /* which stretch of time it counts; 0: none */
		_Atomic uint32_t n[LATENCY_BUCKETS];
	} window[WINDOW_SLOTS];
};

/* Of a collection. All zeros is right. */
struct activity {
	_Atomic uint64_t n[COUNT_N];      /* since the mount */
	_Atomic uint64_t before[COUNT_N]; /* since creation until the mount, once it is known */
	struct {
		_Atomic uint32_t slot;
		_Atomic uint32_t n[COUNT_N];
	} window[WINDOW_SLOTS];
	_Atomic(struct latencies *) latencies; /* made by the first query */
	_Atomic uint64_t last_access_s;        /* since 1970, 0: not since the mount */
};

/* Of a tenant, over all its collections, removed ones too: since creation. */
struct tally {
	_Atomic uint64_t n[COUNT_N];
};

void activity_release(struct activity *a);
void activity_add(struct activity *a, enum count k, uint64_t n);
void activity_query(struct activity *a, uint64_t ns);
void activity_access(struct activity *a);

/* What several activities come to; starts as all zeros. */
struct activity_sum {
	uint64_t n[COUNT_N];      /* since the mount */
	uint64_t total[COUNT_N];  /* since creation */
	uint64_t minute[COUNT_N]; /* in the window */
	uint64_t latency[LATENCY_BUCKETS];
	uint64_t latency_minute[LATENCY_BUCKETS];
	uint64_t latency_sum_ns;
	uint64_t last_access_s;
};
void activity_sum(struct activity_sum *sum, const struct activity *a);

/* How many seconds the window reaches back by now, when counting began at started_ns
 * (monotonic). Above 0. */
double window_seconds(uint64_t started_ns);

/* µs; 0: no query. n: LATENCY_BUCKETS counts. */
uint64_t latency_us(const uint64_t *n, double quantile);
/* Of these, how many took at most 1024 ns << octaves. */
uint64_t latency_at_most(const uint64_t *n, unsigned octaves);

/*
 * What this thread has done to vectors since it was asked last, for who has to write down what
 * a call did.
 */
struct work {
	uint64_t n[COUNT_N];
};
void work_take(struct work *ret);

#endif
