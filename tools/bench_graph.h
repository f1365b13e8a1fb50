/*
 * bench_graph.h: what the subcommands share that make a graph in memory, without the mount:
 * options, vectors in a mapped file, threads, recall.
 */
#ifndef RV_TOOLS_BENCH_GRAPH_H
#define RV_TOOLS_BENCH_GRAPH_H

#include <getopt.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "index/hnsw.h"
#include "tools/bench.h"

#define BENCH_EF_MAX 32 /* values of --ef */

struct bench_graph_options {
	const char *base, *query, *truth; /* NULL: not given, which is refused */
	enum metric metric;
	bool has_metric; /* likewise */
	unsigned ef[BENCH_EF_MAX];
	size_t n_ef, k;
	unsigned threads, query_threads, m, ef_construction;
	const char *quantization;
};

/* Fills in what is not given: as many threads as processors, ef 16 to 256, k 10. */
void bench_graph_defaults(struct bench_graph_options *o);
/* Takes option c, by the letters of BENCH_GRAPH_OPTIONS; false: another one, or a bad value. */
bool bench_graph_option(struct bench_graph_options *o, int c, const char *arg);
/* A number from 1 to max. */
bool bench_graph_count(const char *s, unsigned long max, unsigned long *ret);

/*
 * getopt's loop. longs: the subcommand's; set: takes one option, ctx being its own. Returns 0, or
 * the exit code plus one.
 */
struct bench_graph_usage {
	const char *text;
	const struct option *longs;
	bool (*set)(void *ctx, int c, const char *arg);
	void *ctx;
};
int bench_graph_parse(int argc, char **argv, const struct bench_graph_usage *u,
                      const struct bench_graph_options *o);

struct bench_graph {
	struct bench_graph_options o;
	struct bench_vecs query, truth;
	size_t n, dim;
	float *mapped; /* n rows of stride floats */
	size_t stride;
	uint32_t *slot_of; /* by vector: the row that holds it, at first the same number */
	struct rows rows;
	struct hnsw *graph;
	uint64_t anonymous_before; /* what the graph and its rows are made on top of */
	const uint32_t *to_link;   /* n_to_link slots */
	size_t n_to_link;
	atomic_size_t next;        /* piece of work that the next thread takes */
	atomic_int failed;         /* -Exxx */
	uint64_t *latencies;       /* of one pass over the queries */
	struct hit *hits;          /* query.n * k */
	unsigned ef_now;
};

/* Reads the files that o names and maps the base. b: all zeros but o. -Exxx. */
int bench_graph_load(struct bench_graph *b, struct err *e);
/* Rows of all vectors and n_spare free ones, and an empty graph. */
int bench_graph_make(struct bench_graph *b, size_t n_spare, struct err *e);
/* Fills it, as a tenant's is filled. */
int bench_graph_fill(struct bench_graph *b, struct err *e);
/* Links n slots, on all threads, as those that wait in a tenant are linked. */
int bench_graph_link(struct bench_graph *b, const uint32_t *slots, size_t n, struct err *e);
void bench_graph_release(struct bench_graph *b); /* all zeros allowed */

/* Runs f(b) on n threads, this one included, with b->next 0. -Exxx of b->failed. */
int bench_graph_threads(struct bench_graph *b, unsigned n, void *(*f)(void *), struct err *e);
/* Each query once, with candidate lists of ef. Fills hits and latencies. */
int bench_graph_ask(struct bench_graph *b, unsigned ef, struct err *e);
/* Of the hits that the last bench_graph_ask found, those that are right, as a share. */
double bench_graph_recall(const struct bench_graph *b);
/* Anonymous memory since it was made, by the number of vectors. */
double bench_graph_bytes(const struct bench_graph *b);

static inline const float *bench_graph_vector(const struct bench_graph *b, size_t i)
{
	return b->mapped + i * b->stride;
}

#endif
