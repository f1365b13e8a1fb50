/*
 * bench.h: the subcommands of ruvector-bench, and what they share. A subcommand gets its own
 * name as argv[0], writes TSV to stdout and progress to stderr, and returns the exit code: 0, 1
 * (it failed), 2 (wrong arguments).
 */
#ifndef RV_TOOLS_BENCH_H
#define RV_TOOLS_BENCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

int bench_index(int argc, char **argv);
int bench_mount(int argc, char **argv);
int bench_load(int argc, char **argv);
int bench_synth(int argc, char **argv);
int bench_text(int argc, char **argv);
int bench_limits(int argc, char **argv);
int bench_churn(int argc, char **argv);
int bench_neighbours(int argc, char **argv);

/* A TexMex file in memory: n records of dim 4-byte values. fvecs hold floats, ivecs int32. */
struct bench_vecs {
	void *values;
	size_t n;
	size_t dim;
};

int bench_vecs_read(const char *path, struct bench_vecs *ret, struct err *e);
void bench_vecs_release(struct bench_vecs *v); /* all zeros allowed */

static inline const float *bench_vecs_f32(const struct bench_vecs *v, size_t i)
{
	return (const float *)v->values + i * v->dim;
}

static inline const int32_t *bench_vecs_i32(const struct bench_vecs *v, size_t i)
{
	return (const int32_t *)v->values + i * v->dim;
}

/* Sorts n numbers; the p-quantile of them (0 to 1) by nearest rank. */
void bench_sort(uint64_t *at, size_t n);
uint64_t bench_quantile(const uint64_t *sorted, size_t n, double p);

/* "16,32,64" to numbers. Returns how many, or -EINVAL. */
long bench_parse_list(const char *s, unsigned *ret, size_t max);

/* Anonymous resident memory of this process, in bytes; 0 when /proc does not say. */
uint64_t bench_anonymous_bytes(void);

#endif
