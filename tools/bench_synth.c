/*
 * bench_synth.c: vectors that look like embeddings, queries like them, and the exact truth.
 *
 * A cluster has a centre, and a subspace of the intrinsic dimension in which its members spread.
 * The centres themselves lie in one more subspace of that dimension, so that clusters touch and
 * a graph can walk from one to the next; clusters differ in size; a little noise in every
 * dimension comes on top. Queries are further draws, none of them in the base.
 *
 * Each vector has a random stream of its own, named by the seed and its number: the files are the
 * same with any number of threads, and the first vectors do not depend on how many follow when
 * --clusters is given. Normal numbers are sums of four uniform ones, in integers, as log and cos
 * differ between C libraries. The truth is the flat search's, the base taken in blocks that fit
 * a cache while all queries of a thread pass over them.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "index/flat.h"
#include "tools/bench.h"

#define SPREAD      1.0f /* of a cluster, where the centres spread by 1 */
#define NOISE       0.1f /* in every dimension, likewise */
#define BLOCK_BYTES 1048576
#define N_MAX       1000000000ul
#define THREADS_MAX 256

enum stream { STREAM_SPACE, STREAM_CENTRE, STREAM_BASIS, STREAM_BASE, STREAM_QUERY };

struct options {
	size_t n, dim, intrinsic, clusters, queries, k, threads;
	uint64_t seed;
	enum metric metric;
	const char *out;
};

struct synth {
	struct options o;
	float *space;              /* intrinsic rows of dim: where the centres lie */
	float *centres;            /* clusters rows of dim */
	float *bases;              /* clusters * intrinsic rows of dim */
	struct bench_vecs vecs[2]; /* base, queries */
	struct rows rows;
	uint32_t *slots;  /* 0 to n - 1 */
	struct hit *hits; /* queries * k */
	size_t *n_hits;   /* of each query so far */
	atomic_size_t next;
	size_t n_tasks;
	void (*task)(struct synth *s, size_t i);
};

static const char usage_text[] =
	"usage: ruvector-bench synth --n N --dim D --out DIR [--intrinsic N] [--clusters N]\n"
	"       [--queries N] [--k N] [--seed N] [--metric cosine|l2|ip] [--threads N]\n"
	"writes base.fvecs, query.fvecs, gt.ivecs and gt_distance.fvecs to DIR\n"
	"defaults: --intrinsic 20 --clusters (cube root of n) --queries 1000 --k 100 --seed 1\n"
	"          --metric cosine --threads (processors)\n";

/* The splitmix64 step: a bijection, so that different counters give different numbers. */
static uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static uint64_t random_stream(const struct synth *s, enum stream stream, size_t i)
{
	uint64_t state = s->o.seed;

	state = random_next(&state) ^ (uint64_t)stream;
	state = random_next(&state) ^ (uint64_t)i;
	return random_next(&state);
}

/* Mean 0, variance 1, never beyond 3.5. */
static float random_normal(uint64_t *state)
{
	uint64_t x = random_next(state);
	int32_t sum = (int32_t)((x & 0xffff) + (x >> 16 & 0xffff) + (x >> 32 & 0xffff) + (x >> 48));

	return (float)(sum - 131070) * (1.0f / 37837.22f);
}

/* ret += sum of n rows of dim, each times a normal number. */
static void add_random_rows(const struct synth *s, const float *rows, uint64_t *state, float *ret)
{
	float scale = 1.0f / sqrtf((float)s->o.intrinsic);

	for (size_t j = 0; j < s->o.intrinsic; j++) {
		const float *row = rows + j * s->o.dim;
		float w = random_normal(state) * scale;

		for (size_t d = 0; d < s->o.dim; d++)
			ret[d] += w * row[d];
	}
}

static void make_space(struct synth *s)
{
	uint64_t state = random_stream(s, STREAM_SPACE, 0);

	for (size_t i = 0; i < s->o.intrinsic * s->o.dim; i++)
		s->space[i] = random_normal(&state);
}

static void make_cluster(struct synth *s, size_t i)
{
	size_t n = s->o.intrinsic * s->o.dim;
	uint64_t centre = random_stream(s, STREAM_CENTRE, i);
	uint64_t basis = random_stream(s, STREAM_BASIS, i);

	add_random_rows(s, s->space, &centre, s->centres + i * s->o.dim);
	for (size_t j = 0; j < n; j++)
		s->bases[i * n + j] = random_normal(&basis) * SPREAD;
}

/* Task i is vector i of the base, or behind its end a query. */
static void make_vector(struct synth *s, size_t i)
{
	bool is_query = i >= s->o.n;
	size_t at = is_query ? i - s->o.n : i;
	uint64_t state = random_stream(s, is_query ? STREAM_QUERY : STREAM_BASE, at);
	double u = (double)(random_next(&state) >> 11) * 0x1p-53;
	size_t cluster = (size_t)(u * u * (double)s->o.clusters); /* the first ones are large */
	float *v = (float *)s->vecs[is_query].values + at * s->o.dim;

	memcpy(v, s->centres + cluster * s->o.dim, s->o.dim * sizeof(*v));
	add_random_rows(s, s->bases + cluster * s->o.intrinsic * s->o.dim, &state, v);
	for (size_t d = 0; d < s->o.dim; d++)
		v[d] += random_normal(&state) * NOISE;
}

static void prepare_row(struct synth *s, size_t i)
{
	const float *row = bench_vecs_f32(&s->vecs[0], i);

	s->slots[i] = (uint32_t)i;
	atomic_init(&s->rows.at[i], row);
	atomic_init(&s->rows.state[i], ROW_LIVE);
	s->rows.inv_norm[i] = vector_inv_norm(row, s->o.dim);
}

/* Task i is a share of the queries, as equal as can be. */
static void find_truth(struct synth *s, size_t i)
{
	size_t first = s->o.queries * i / s->n_tasks, end = s->o.queries * (i + 1) / s->n_tasks;
	size_t block = BLOCK_BYTES / (s->o.dim * sizeof(float)) + 64, n;
	struct probe p;

	for (size_t at = 0; at < s->o.n; at += block) {
		n = s->o.n - at < block ? s->o.n - at : block;
		for (size_t q = first; q < end; q++) {
			probe_init(&p, &s->rows, bench_vecs_f32(&s->vecs[1], q));
			s->n_hits[q] = flat_search_list(&s->rows, &p, s->slots + at, n, s->o.k,
			                                s->hits + q * s->o.k, s->n_hits[q]);
		}
	}
}

static void *worker(void *arg)
{
	struct synth *s = arg;
	size_t i;

	while ((i = atomic_fetch_add(&s->next, 1)) < s->n_tasks)
		s->task(s, i);
	return NULL;
}

/* Runs tasks 0 to n - 1; with fewer threads when no more can be had. */
static void run_tasks(struct synth *s, size_t n, void (*task)(struct synth *s, size_t i))
{
	pthread_t threads[THREADS_MAX];
	size_t started = 0;

	s->task = task;
	s->n_tasks = n;
	atomic_store(&s->next, 0);
	while (started + 1 < s->o.threads &&
	       pthread_create(&threads[started], NULL, worker, s) == 0)
		started++;
	worker(s);
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
}

static int allocate(struct synth *s, struct err *e)
{
	const struct options *o = &s->o;
	size_t row = o->dim * sizeof(float);

	s->space = mem_alloc(o->intrinsic, row);
	s->centres = mem_zalloc(o->clusters, row);
	s->bases = mem_alloc(o->clusters * o->intrinsic, row);
	for (int i = 0; i < 2; i++) {
		s->vecs[i].n = i ? o->queries : o->n;
		s->vecs[i].dim = o->dim;
		s->vecs[i].values = mem_alloc(s->vecs[i].n, row);
	}
	s->rows.dim = o->dim;
	s->rows.metric = o->metric;
	s->rows.n = s->rows.cap = (uint32_t)o->n;
	s->rows.at = mem_alloc(o->n, sizeof(*s->rows.at));
	s->rows.state = mem_alloc(o->n, sizeof(*s->rows.state));
	s->rows.inv_norm = mem_alloc(o->n, sizeof(*s->rows.inv_norm));
	s->slots = mem_alloc(o->n, sizeof(*s->slots));
	s->hits = mem_alloc(o->queries * o->k, sizeof(*s->hits));
	s->n_hits = mem_zalloc(o->queries, sizeof(*s->n_hits));
	if (!s->space || !s->centres || !s->bases || !s->vecs[0].values || !s->vecs[1].values ||
	    !s->rows.at || !s->rows.state || !s->rows.inv_norm || !s->slots || !s->hits ||
	    !s->n_hits)
		return err_nomem(e);
	return 0;
}

static void write_record(FILE *f, const void *values, size_t n)
{
	int32_t dim = (int32_t)n;

	fwrite(&dim, sizeof(dim), 1, f);
	fwrite(values, 4, n, f);
}

static void write_base(const struct synth *s, FILE *f)
{
	for (size_t i = 0; i < s->o.n; i++)
		write_record(f, bench_vecs_f32(&s->vecs[0], i), s->o.dim);
}

static void write_queries(const struct synth *s, FILE *f)
{
	for (size_t i = 0; i < s->o.queries; i++)
		write_record(f, bench_vecs_f32(&s->vecs[1], i), s->o.dim);
}

static void write_truth(const struct synth *s, FILE *f)
{
	int32_t ids[LIMIT_K];

	for (size_t i = 0; i < s->o.queries; i++) {
		for (size_t j = 0; j < s->o.k; j++)
			ids[j] = (int32_t)s->hits[i * s->o.k + j].slot;
		write_record(f, ids, s->o.k);
	}
}

static void write_distances(const struct synth *s, FILE *f)
{
	float distances[LIMIT_K];

	for (size_t i = 0; i < s->o.queries; i++) {
		for (size_t j = 0; j < s->o.k; j++)
			distances[j] = rows_distance(&s->rows, s->hits[i * s->o.k + j].key);
		write_record(f, distances, s->o.k);
	}
}

static int write_file(const struct synth *s, const char *name,
                      void (*content)(const struct synth *s, FILE *f), struct err *e)
{
	char path[4096];
	FILE *f;
	bool bad;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", s->o.out, name) >= sizeof(path))
		return err_set(e, -ENAMETOOLONG, "%s/%s: %s", s->o.out, name,
		               strerror(ENAMETOOLONG));
	f = fopen(path, "we");
	if (!f)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	errno = 0;
	content(s, f);
	bad = ferror(f);
	if (fclose(f) != 0 || bad) {
		int code = errno ? errno : EIO;

		return err_set(e, -code, "%s: %s", path, strerror(code));
	}
	return 0;
}

static int write_files(const struct synth *s, struct err *e)
{
	int rc = write_file(s, "base.fvecs", write_base, e);

	if (rc == 0)
		rc = write_file(s, "query.fvecs", write_queries, e);
	if (rc == 0)
		rc = write_file(s, "gt.ivecs", write_truth, e);
	if (rc == 0)
		rc = write_file(s, "gt_distance.fvecs", write_distances, e);
	return rc;
}

static int run(struct synth *s, struct err *e)
{
	int rc;

	/* before the work, so that a wrong DIR is noticed at once */
	if (mkdir(s->o.out, 0777) < 0 && errno != EEXIST)
		return err_set(e, -errno, "%s: %s", s->o.out, strerror(errno));
	rc = allocate(s, e);
	if (rc < 0)
		return rc;
	fprintf(stderr, "making %zu vectors and %zu queries of dimension %zu in %zu clusters\n",
	        s->o.n, s->o.queries, s->o.dim, s->o.clusters);
	make_space(s);
	run_tasks(s, s->o.clusters, make_cluster);
	run_tasks(s, s->o.n + s->o.queries, make_vector);
	run_tasks(s, s->o.n, prepare_row);
	fprintf(stderr, "finding the nearest %zu of each query\n", s->o.k);
	run_tasks(s, s->o.threads, find_truth);
	return write_files(s, e);
}

static void release(struct synth *s)
{
	mem_free(s->space);
	mem_free(s->centres);
	mem_free(s->bases);
	bench_vecs_release(&s->vecs[0]);
	bench_vecs_release(&s->vecs[1]);
	mem_free(s->rows.at);
	mem_free(s->rows.state);
	mem_free(s->rows.inv_norm);
	mem_free(s->slots);
	mem_free(s->hits);
	mem_free(s->n_hits);
}

static bool parse_count(const char *s, unsigned long max, size_t *ret)
{
	char *end;

	*ret = strtoul(s, &end, 10);
	return end != s && *end == '\0' && *s != '-' && *ret >= 1 && *ret <= max;
}

static bool parse_seed(const char *s, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(s, &end, 0);
	return end != s && *end == '\0' && *s != '-' && errno == 0;
}

static bool set_option(struct options *o, int c, const char *arg)
{
	switch (c) {
	case 'n':
		return parse_count(arg, N_MAX, &o->n);
	case 'd':
		return parse_count(arg, LIMIT_DIMENSION, &o->dim);
	case 'i':
		return parse_count(arg, LIMIT_DIMENSION, &o->intrinsic);
	case 'c':
		return parse_count(arg, N_MAX, &o->clusters);
	case 'q':
		return parse_count(arg, N_MAX, &o->queries);
	case 'k':
		return parse_count(arg, LIMIT_K, &o->k);
	case 's':
		return parse_seed(arg, &o->seed);
	case 'T':
		return parse_count(arg, THREADS_MAX, &o->threads);
	case 'M':
		return metric_parse(arg, strlen(arg), &o->metric);
	case 'o':
		o->out = arg;
		return *arg != '\0';
	default:
		return false;
	}
}

static const struct option long_options[] = {
	{ "n", required_argument, NULL, 'n' },
	{ "dim", required_argument, NULL, 'd' },
	{ "intrinsic", required_argument, NULL, 'i' },
	{ "clusters", required_argument, NULL, 'c' },
	{ "queries", required_argument, NULL, 'q' },
	{ "k", required_argument, NULL, 'k' },
	{ "seed", required_argument, NULL, 's' },
	{ "metric", required_argument, NULL, 'M' },
	{ "threads", required_argument, NULL, 'T' },
	{ "out", required_argument, NULL, 'o' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

/* Few and dense: with the square root, a search is nearly done once it is in the right cluster. */
static size_t cube_root(size_t n)
{
	size_t root = 1;

	while ((root + 1) * (root + 1) * (root + 1) <= n)
		root++;
	return root;
}

/* 0, or the exit code plus one. */
static int parse_options(int argc, char **argv, struct options *o)
{
	int c, i;

	while ((c = getopt_long(argc, argv, "h", long_options, &i)) != -1) {
		if (c == 'h') {
			fputs(usage_text, stdout);
			return 1;
		}
		if (!set_option(o, c, optarg)) {
			if (c != '?')
				fprintf(stderr, "ruvector-bench: bad value '%s' of --%s\n", optarg,
				        long_options[i].name);
			return 3;
		}
	}
	if (optind < argc || !o->n || !o->dim || !o->out) {
		fputs(usage_text, stderr);
		return 3;
	}
	if (o->k > o->n) {
		fprintf(stderr, "ruvector-bench: %zu vectors have no %zu neighbours\n", o->n, o->k);
		return 3;
	}
	if (!o->clusters)
		o->clusters = cube_root(o->n);
	return 0;
}

int bench_synth(int argc, char **argv)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct synth s = {
		.o = { .intrinsic = 20,
		       .queries = 1000,
		       .k = 100,
		       .seed = 1,
		       .metric = METRIC_COSINE,
		       .threads = processors > 0 ? (size_t)processors : 1 },
	};
	struct err e = { 0 };
	int rc = parse_options(argc, argv, &s.o);

	if (rc != 0)
		return rc - 1;
	if (s.o.threads > THREADS_MAX)
		s.o.threads = THREADS_MAX;
	rc = run(&s, &e);
	if (rc < 0)
		fprintf(stderr, "ruvector-bench: %s\n", e.text);
	release(&s);
	return rc < 0;
}
