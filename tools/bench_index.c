/*
 * bench_index.c: the index alone: how fast it builds, and how fast it answers at which recall.
 *
 * Float rows lie in an unlinked file that is mapped, as the store's segments are, so that what
 * the index adds in anonymous memory can be told from them. A hit counts when its distance is
 * not above that of the true k-th neighbour by more than 1e-6: equal vectors are equally right.
 * Queries are repeated until they have run long enough to be measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "index/flat.h"
#include "index/hnsw.h"
#include "tools/bench.h"

#define EF_MAX      32           /* values of --ef */
#define MEASURE_NS  500000000ull /* at least, per ef */
#define TIE         1e-6f
#define THREADS_MAX 256

struct options {
	const char *base, *query, *truth;
	enum metric metric;
	unsigned ef[EF_MAX];
	size_t n_ef, k;
	unsigned threads, query_threads, m, ef_construction;
	const char *quantization;
};

struct bench {
	struct options o;
	struct bench_vecs query, truth;
	size_t n, dim;
	float *mapped; /* n rows of stride floats */
	size_t stride;
	struct rows rows;
	struct hnsw *graph;
	uint64_t anonymous_before;
	atomic_size_t next;  /* row or query that the next thread takes */
	atomic_int failed;   /* -Exxx */
	uint64_t *latencies; /* of one pass */
	struct hit *hits;    /* query.n * k */
	unsigned ef_now;
};

static const char usage_text[] =
	"usage: ruvector-bench index --base F.fvecs --query F.fvecs --truth F.ivecs\n"
	"       --metric cosine|l2|ip"
	" [--ef LIST] [--k N] [--threads N]\n"
	"       [--query-threads N] [--m N] [--ef-construction N]\n"
	"       [--quantization auto|none|4bit]\n"
	"defaults: --ef 16,32,64,128,256 --k 10 --threads (processors) --query-threads 1 --m 16\n"
	"          --ef-construction 200 --quantization auto\n";

static bool parse_count(const char *s, unsigned long max, unsigned long *ret)
{
	char *end;

	*ret = strtoul(s, &end, 10);
	return end != s && *end == '\0' && *s != '-' && *ret >= 1 && *ret <= max;
}

static bool parse_metric(struct options *o, const char *s)
{
	return metric_parse(s, strlen(s), &o->metric);
}

static bool set_option(struct options *o, int c, const char *arg)
{
	enum hnsw_quantization quantization;
	unsigned long v = 0;
	long n;

	switch (c) {
	case 'b':
		o->base = arg;
		return true;
	case 'q':
		o->query = arg;
		return true;
	case 't':
		o->truth = arg;
		return true;
	case 'M':
		return parse_metric(o, arg);
	case 'e':
		n = bench_parse_list(arg, o->ef, EF_MAX);
		o->n_ef = n > 0 ? (size_t)n : 0;
		return n > 0;
	case 'k':
		return parse_count(arg, LIMIT_K, &v) && (o->k = v);
	case 'T':
		return parse_count(arg, THREADS_MAX, &v) && (o->threads = (unsigned)v);
	case 'Q':
		return parse_count(arg, THREADS_MAX, &v) && (o->query_threads = (unsigned)v);
	case 'z':
		o->quantization = arg;
		return hnsw_quantization_parse(arg, strlen(arg), 1, &quantization);
	case 'm':
		return parse_count(arg, HNSW_M_MAX, &v) && (o->m = (unsigned)v);
	case 'c':
		return parse_count(arg, LIMIT_EF, &v) && (o->ef_construction = (unsigned)v);
	default:
		return false;
	}
}

/* 0, or the exit code plus one. */
static int parse_options(int argc, char **argv, struct options *o)
{
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
	bool metric = false;
	int c, i;

	while ((c = getopt_long(argc, argv, "h", longs, &i)) != -1) {
		if (c == 'h') {
			fputs(usage_text, stdout);
			return 1;
		}
		metric |= c == 'M';
		if (!set_option(o, c, optarg)) {
			if (c != '?')
				fprintf(stderr, "ruvector-bench: bad value '%s' of --%s\n", optarg,
				        longs[i].name);
			return 3;
		}
	}
	if (optind < argc || !o->base || !o->query || !o->truth || !metric) {
		fputs(usage_text, stderr);
		return 3;
	}
	return 0;
}

static int check_input(const struct bench *b, const struct bench_vecs *base, struct err *e)
{
	const struct bench_vecs *t = &b->truth;

	if (b->query.dim != base->dim)
		return err_set(e, -EINVAL, "queries have dimension %zu, the base %zu", b->query.dim,
		               base->dim);
	if (t->n != b->query.n || t->dim < b->o.k)
		return err_set(e, -EINVAL,
		               "truth has %zu x %zu neighbours, expected %zu x at least %zu", t->n,
		               t->dim, b->query.n, b->o.k);
	if (base->n >= ROW_NONE)
		return err_set(e, -EINVAL, "%zu base vectors are too many", base->n);
	for (size_t i = 0; i < t->n * t->dim; i++) {
		int32_t id = ((const int32_t *)t->values)[i];

		if (id < 0 || (size_t)id >= base->n)
			return err_set(e, -EINVAL, "truth names vector %d of %zu", id, base->n);
	}
	return 0;
}

/* Copies the base to a mapped file, rows on cache lines as in a segment. */
static int map_base(struct bench *b, const struct bench_vecs *base, struct err *e)
{
	const char *dir = getenv("TMPDIR");
	size_t bytes;
	int fd;

	b->n = base->n;
	b->dim = base->dim;
	b->stride = (base->dim + 15) / 16 * 16;
	bytes = b->n * b->stride * sizeof(float);
	fd = open(dir && *dir ? dir : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return err_set(e, -errno, "temporary file: %s", strerror(errno));
	b->mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (b->mapped == MAP_FAILED) {
		b->mapped = NULL;
		return err_set(e, -errno, "mapping the temporary file: %s", strerror(errno));
	}
	for (size_t i = 0; i < b->n; i++)
		memcpy(b->mapped + i * b->stride, bench_vecs_f32(base, i), b->dim * sizeof(float));
	return 0;
}

static int load(struct bench *b, struct err *e)
{
	struct bench_vecs base = { 0 };
	int rc = bench_vecs_read(b->o.base, &base, e);

	if (rc == 0)
		rc = bench_vecs_read(b->o.query, &b->query, e);
	if (rc == 0)
		rc = bench_vecs_read(b->o.truth, &b->truth, e);
	if (rc == 0)
		rc = check_input(b, &base, e);
	if (rc == 0)
		rc = map_base(b, &base, e);
	bench_vecs_release(&base);
	if (rc < 0)
		return rc;
	b->latencies = mem_alloc(b->query.n, sizeof(*b->latencies));
	b->hits = mem_alloc(b->query.n * b->o.k, sizeof(*b->hits));
	return b->latencies && b->hits ? 0 : err_nomem(e);
}

static int make_index(struct bench *b, struct err *e)
{
	struct hnsw_params params = { .m = b->o.m,
		                      .ef_construction = b->o.ef_construction,
		                      .seed = 1 };
	struct rows *r = &b->rows;

	hnsw_quantization_parse(b->o.quantization, strlen(b->o.quantization), b->dim,
	                        &params.quantization);
	r->dim = b->dim;
	r->metric = b->o.metric;
	r->n = r->cap = (uint32_t)b->n;
	r->at = mem_alloc(b->n, sizeof(*r->at));
	r->state = mem_alloc(b->n, sizeof(*r->state));
	r->inv_norm = mem_alloc(b->n, sizeof(*r->inv_norm));
	if (!r->at || !r->state || !r->inv_norm)
		return err_nomem(e);
	for (size_t i = 0; i < b->n; i++) {
		const float *row = b->mapped + i * b->stride;

		atomic_init(&r->at[i], row);
		atomic_init(&r->state[i], ROW_LIVE);
		r->inv_norm[i] = vector_inv_norm(row, b->dim);
	}
	b->graph = hnsw_new(r, &params, e);
	if (!b->graph || hnsw_reserve(b->graph, r->n, e) < 0)
		return e->code;
	hnsw_bulk_begin(b->graph);
	return 0;
}

static void *build_thread(void *arg)
{
	struct bench *b = arg;
	size_t i;
	int rc;

	while ((i = atomic_fetch_add(&b->next, 1)) < b->n && atomic_load(&b->failed) == 0) {
		rc = hnsw_insert(b->graph, (uint32_t)i, NULL);
		if (rc < 0)
			atomic_store(&b->failed, rc);
		if (i % (b->n / 10 + 1) == 0)
			fprintf(stderr, "\rbuilding: %zu of %zu", i, b->n);
	}
	return NULL;
}

static void query_one(struct bench *b, size_t i)
{
	uint64_t t = clock_mono_ns();
	struct hit *hits = b->hits + i * b->o.k;
	struct probe q;
	int n;

	probe_init(&q, &b->rows, bench_vecs_f32(&b->query, i));
	n = hnsw_search(b->graph, &q, b->o.k, b->ef_now, NULL, NULL, hits);
	b->latencies[i] = clock_mono_ns() - t;
	if (n < 0)
		atomic_store(&b->failed, n);
	for (size_t j = n > 0 ? (size_t)n : 0; j < b->o.k; j++)
		hits[j].slot = ROW_NONE;
}

static void *query_thread(void *arg)
{
	struct bench *b = arg;
	size_t i;

	while ((i = atomic_fetch_add(&b->next, 1)) < b->query.n)
		query_one(b, i);
	return NULL;
}

/* Runs f on n threads, this one included, from the first row or query on. */
static int run_threads(struct bench *b, unsigned n, void *(*f)(void *), struct err *e)
{
	pthread_t threads[THREADS_MAX];
	unsigned started = 0;
	int rc = 0;

	atomic_store(&b->next, 0);
	while (started + 1 < n && rc == 0) {
		rc = -pthread_create(&threads[started], NULL, f, b);
		started += rc == 0;
	}
	f(b);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	if (rc == 0)
		rc = atomic_load(&b->failed);
	return rc < 0 ? err_set(e, rc, "%s", strerror(-rc)) : 0;
}

static size_t count_hits(const struct bench *b, size_t query)
{
	const int32_t *truth = bench_vecs_i32(&b->truth, query);
	const struct hit *hits = b->hits + query * b->o.k;
	struct probe q;
	float bound;
	size_t n = 0;

	probe_init(&q, &b->rows, bench_vecs_f32(&b->query, query));
	bound = rows_distance(&b->rows, rows_key(&b->rows, &q, (uint32_t)truth[b->o.k - 1])) + TIE;
	for (size_t j = 0; j < b->o.k; j++)
		n += hits[j].slot != ROW_NONE && rows_distance(&b->rows, hits[j].key) <= bound;
	return n;
}

static double recall(const struct bench *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->query.n; i++)
		n += count_hits(b, i);
	return (double)n / (double)(b->query.n * b->o.k);
}

static int measure(struct bench *b, unsigned ef, struct err *e)
{
	uint64_t begin, elapsed, p50 = UINT64_MAX, p99 = UINT64_MAX, v;
	size_t n = 0;
	int rc;

	b->ef_now = ef;
	rc = run_threads(b, b->o.query_threads, query_thread, e); /* warms up */
	begin = clock_mono_ns();
	do {
		rc = rc < 0 ? rc : run_threads(b, b->o.query_threads, query_thread, e);
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
	printf("%u\t%.4f\t%.0f\t%.1f\t%.1f\n", ef, recall(b), (double)n * 1e9 / (double)elapsed,
	       (double)p50 / 1e3, (double)p99 / 1e3);
	fflush(stdout);
	return 0;
}

static int run(struct bench *b, struct err *e)
{
	uint64_t begin;
	double seconds;
	int rc = load(b, e);

	if (rc < 0)
		return rc;
	b->anonymous_before = bench_anonymous_bytes();
	rc = make_index(b, e);
	begin = clock_mono_ns();
	rc = rc < 0 ? rc : run_threads(b, b->o.threads, build_thread, e);
	if (rc < 0)
		return rc;
	seconds = (double)(clock_mono_ns() - begin) / 1e9;
	hnsw_bulk_end(b->graph);
	fprintf(stderr, "\rbuilt %zu vectors with %u threads\n", b->n, b->o.threads);
	printf("build_seconds\t%.3f\nvectors_per_second\t%.0f\n", seconds, (double)b->n / seconds);
	printf("ef\trecall\tqps\tp50_us\tp99_us\n");
	for (size_t i = 0; i < b->o.n_ef && rc == 0; i++)
		rc = measure(b, b->o.ef[i], e);
	if (rc < 0)
		return rc;
	printf("bytes_per_vector\t%.0f\n",
	       (double)(bench_anonymous_bytes() - b->anonymous_before) / (double)b->n);
	printf("file_bytes_per_vector\t%zu\n", b->stride * sizeof(float));
	return 0;
}

static void release(struct bench *b)
{
	hnsw_free(b->graph);
	mem_free(b->rows.at);
	mem_free(b->rows.state);
	mem_free(b->rows.inv_norm);
	mem_free(b->latencies);
	mem_free(b->hits);
	if (b->mapped)
		munmap(b->mapped, b->n * b->stride * sizeof(float));
	bench_vecs_release(&b->query);
	bench_vecs_release(&b->truth);
}

int bench_index(int argc, char **argv)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct bench b = {
		.o = { .ef = { 16, 32, 64, 128, 256 },
		       .n_ef = 5,
		       .k = 10,
		       .threads = processors > 0 ? (unsigned)processors : 1,
		       .query_threads = 1,
		       .m = 16,
		       .ef_construction = 200,
		       .quantization = "auto" },
	};
	struct err e = { 0 };
	int rc = parse_options(argc, argv, &b.o);

	if (rc != 0)
		return rc - 1;
	rc = run(&b, &e);
	if (rc < 0)
		fprintf(stderr, "ruvector-bench: %s\n", e.text);
	release(&b);
	return rc < 0;
}
