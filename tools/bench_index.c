/*
 * bench_index.c: the index alone: how fast it builds, and how fast it answers at which recall.
 * Queries are repeated until they have run long enough to be measured.
 */
#include <stdio.h>

#include "base/clock.h"
#include "tools/bench_graph.h"

#define MEASURE_NS 500000000ull /* at least, per ef */

static const char usage_text[] =
	"usage: ruvector-bench index --base F.fvecs --query F.fvecs --truth F.ivecs\n"
	"       --metric cosine|l2|ip"
	" [--ef LIST] [--k N] [--threads N]\n"
	"       [--query-threads N] [--m N] [--ef-construction N]\n"
	"       [--quantization auto|none|4bit]\n"
	"defaults: --ef 16,32,64,128,256 --k 10 --threads (processors) --query-threads 1 --m 16\n"
	"          --ef-construction 200 --quantization auto\n";

static const struct option longs[] = {
	{ "base", required_argument, NULL, 'b' },
	{ "query", required_argument, NULL, 'q' },
	{ "truth", required_argument, NULL, 't' },
	{ "metric", required_argument, NULL, 'M' },
	{ "ef", required_argument, NULL, 'e' },
	{ "k", required_argument, NULL, 'k' },
	{ "threads", required_argument, NULL, 'T' },
	{ "query-threads", required_argument, NULL, 'Q' },
	{ "m", required_argument, NULL, 'm' },
	{ "quantization", required_argument, NULL, 'z' },
	{ "ef-construction", required_argument, NULL, 'c' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static int measure(struct bench_graph *b, unsigned ef, struct err *e)
{
	uint64_t begin, elapsed, p50 = UINT64_MAX, p99 = UINT64_MAX, v;
	size_t n = 0;
	int rc;

	rc = bench_graph_ask(b, ef, e); /* warms up */
	begin = clock_mono_ns();
	do {
		rc = rc < 0 ? rc : bench_graph_ask(b, ef, e);
		if (rc < 0)
			return rc;
		n += b->query.n;
		elapsed = clock_mono_ns() - begin;
		bench_sort(b->latencies, b->query.n);
		v = bench_quantile(b->latencies, b->query.n, 0.5);
		p50 = v < p50 ? v : p50;
		v = bench_quantile(b->latencies, b->query.n, 0.99);
		p99 = v < p99 ? v : p99;
	} while (elapsed < MEASURE_NS);
	printf("%u\t%.4f\t%.0f\t%.1f\t%.1f\n", ef, bench_graph_recall(b),
	       (double)n * 1e9 / (double)elapsed, (double)p50 / 1e3, (double)p99 / 1e3);
	fflush(stdout);
	return 0;
}

static int run(struct bench_graph *b, struct err *e)
{
	uint64_t begin;
	double seconds;
	int rc = bench_graph_load(b, e);

	if (rc == 0)
		rc = bench_graph_make(b, 0, e);
	begin = clock_mono_ns();
	rc = rc < 0 ? rc : bench_graph_fill(b, e);
	if (rc < 0)
		return rc;
	seconds = (double)(clock_mono_ns() - begin) / 1e9;
	printf("build_seconds\t%.3f\nvectors_per_second\t%.0f\n", seconds, (double)b->n / seconds);
	printf("ef\trecall\tqps\tp50_us\tp99_us\n");
	for (size_t i = 0; i < b->o.n_ef && rc == 0; i++)
		rc = measure(b, b->o.ef[i], e);
	if (rc < 0)
		return rc;
	printf("bytes_per_vector\t%.0f\n", bench_graph_bytes(b));
	printf("file_bytes_per_vector\t%zu\n", b->stride * sizeof(float));
	return 0;
}

static bool set_option(void *ctx, int c, const char *arg)
{
	return bench_graph_option(ctx, c, arg);
}

int bench_index(int argc, char **argv)
{
	struct bench_graph b = { 0 };
	const struct bench_graph_usage u = { usage_text, longs, set_option, &b.o };
	struct err e = { 0 };
	int rc;

	bench_graph_defaults(&b.o);
	rc = bench_graph_parse(argc, argv, &u, &b.o);
	if (rc != 0)
		return rc - 1;
	rc = run(&b, &e);
	if (rc < 0)
		fprintf(stderr, "ruvector-bench: %s\n", e.text);
	bench_graph_release(&b);
	return rc < 0;
}
