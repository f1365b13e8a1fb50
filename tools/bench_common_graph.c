/*
 * bench_common_graph.c: a graph in memory, and what it finds.
 *
 * Float rows lie in an unlinked file that is mapped, as the store's segments are, so that what
 * the index adds in anonymous memory can be told from them. A hit counts when its distance is
 * not above that of the true k-th neighbour by more than 1e-6: equal vectors are equally right.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "tools/bench_graph.h"

#define TIE          1e-6f
#define THREADS_MAX  256
#define ROWS_AT_ONCE 4096 /* linked by one thread, near each other */

void bench_graph_defaults(struct bench_graph_options *o)
{
	static const unsigned ef[] = { 16, 32, 64, 128, 256 };
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	*o = (struct bench_graph_options){ .n_ef = sizeof(ef) / sizeof(ef[0]),
		                           .k = 10,
		                           .threads = processors > 0 ? (unsigned)processors : 1,
		                           .query_threads = 1,
		                           .m = 16,
		                           .ef_construction = 200,
		                           .quantization = "auto" };
	memcpy(o->ef, ef, sizeof(ef));
}

bool bench_graph_count(const char *s, unsigned long max, unsigned long *ret)
{
	char *end;

	*ret = strtoul(s, &end, 10);
	return end != s && *end == '\0' && *s != '-' && *ret >= 1 && *ret <= max;
}

bool bench_graph_option(struct bench_graph_options *o, int c, const char *arg)
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
		o->has_metric = true;
		return metric_parse(arg, strlen(arg), &o->metric);
	case 'e':
		n = bench_parse_list(arg, o->ef, BENCH_EF_MAX);
		o->n_ef = n > 0 ? (size_t)n : 0;
		return n > 0;
	case 'k':
		return bench_graph_count(arg, LIMIT_K, &v) && (o->k = v);
	case 'T':
		return bench_graph_count(arg, THREADS_MAX, &v) && (o->threads = (unsigned)v);
	case 'Q':
		return bench_graph_count(arg, THREADS_MAX, &v) && (o->query_threads = (unsigned)v);
	case 'z':
		o->quantization = arg;
		return hnsw_quantization_parse(arg, strlen(arg), 1, &quantization);
	case 'm':
		return bench_graph_count(arg, HNSW_M_MAX, &v) && (o->m = (unsigned)v);
	case 'c':
		return bench_graph_count(arg, LIMIT_EF, &v) && (o->ef_construction = (unsigned)v);
	default:
		return false;
	}
}

int bench_graph_parse(int argc, char **argv, const struct bench_graph_usage *u,
                      const struct bench_graph_options *o)
{
	int c, i;

	while ((c = getopt_long(argc, argv, "h", u->longs, &i)) != -1) {
		if (c == 'h') {
			fputs(u->text, stdout);
			return 1;
		}
		if (!u->set(u->ctx, c, optarg)) {
			if (c != '?')
				fprintf(stderr, "ruvector-bench: bad value '%s' of --%s\n", optarg,
				        u->longs[i].name);
			return 3;
		}
	}
	if (optind < argc || !o->base || !o->query || !o->truth || !o->has_metric) {
		fputs(u->text, stderr);
		return 3;
	}
	return 0;
}

static int check_input(const struct bench_graph *b, const struct bench_vecs *base, struct err *e)
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
static int map_base(struct bench_graph *b, const struct bench_vecs *base, struct err *e)
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

int bench_graph_load(struct bench_graph *b, struct err *e)
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
	b->slot_of = mem_alloc(b->n, sizeof(*b->slot_of));
	if (!b->latencies || !b->hits || !b->slot_of)
		return err_nomem(e);
	for (size_t i = 0; i < b->n; i++)
		b->slot_of[i] = (uint32_t)i;
	return 0;
}

static int make_rows(struct bench_graph *b, size_t cap, struct err *e)
{
	struct rows *r = &b->rows;

	r->dim = b->dim;
	r->metric = b->o.metric;
	r->n = (uint32_t)b->n;
	r->cap = (uint32_t)cap;
	r->at = mem_zalloc(cap, sizeof(*r->at));
	r->state = mem_zalloc(cap, sizeof(*r->state));
	r->inv_norm = mem_zalloc(cap, sizeof(*r->inv_norm));
	if (!r->at || !r->state || !r->inv_norm)
		return err_nomem(e);
	for (size_t i = 0; i < b->n; i++) {
		const float *row = bench_graph_vector(b, i);

		atomic_init(&r->at[i], row);
		atomic_init(&r->state[i], ROW_LIVE);
		r->inv_norm[i] = vector_inv_norm(row, b->dim);
	}
	return 0;
}

int bench_graph_make(struct bench_graph *b, size_t n_spare, struct err *e)
{
	struct hnsw_params params = { .m = b->o.m,
		                      .ef_construction = b->o.ef_construction,
		                      .seed = 1 };
	int rc;

	if (b->n + n_spare >= ROW_NONE)
		return err_set(e, -EINVAL, "%zu base vectors are too many", b->n);
	hnsw_quantization_parse(b->o.quantization, strlen(b->o.quantization), b->dim,
	                        &params.quantization);
	b->anonymous_before = bench_anonymous_bytes();
	rc = make_rows(b, b->n + n_spare, e);
	if (rc < 0)
		return rc;
	b->graph = hnsw_new(&b->rows, &params, e);
	return b->graph ? hnsw_reserve(b->graph, b->rows.cap, e) : e->code;
}

/* The next rows, for one thread: fewer towards the end, so that all of them end together. */
static size_t take_rows(struct bench_graph *b, size_t *begin)
{
	size_t n, at = atomic_load(&b->next), end = b->n_to_link;

	do {
		n = (end - (at < end ? at : end)) / (4 * b->o.threads) + 1;
		n = n < ROWS_AT_ONCE ? n : ROWS_AT_ONCE;
	} while (at < end && !atomic_compare_exchange_weak(&b->next, &at, at + n));
	*begin = at;
	return at < end ? n : 0;
}

static int link_rows(struct bench_graph *b, struct hnsw_waiting *w, size_t begin, size_t n)
{
	int rc = 0;

	for (size_t i = 0; i < n; i++)
		w[i] = (struct hnsw_waiting){ .slot = b->to_link[begin + i], .was = (uint32_t)i };
	hnsw_find_places(b->graph, w, n);
	hnsw_sort_places(w, n);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = hnsw_insert(b->graph, w[i].slot, NULL);
	return rc;
}

static void *link_thread(void *arg)
{
	struct bench_graph *b = arg;
	MEM_AUTO struct hnsw_waiting *w = mem_alloc(ROWS_AT_ONCE, sizeof(*w));
	size_t begin, n;
	int rc = w ? 0 : -ENOMEM;

	while (rc == 0 && atomic_load(&b->failed) == 0 && (n = take_rows(b, &begin)) > 0) {
		rc = link_rows(b, w, begin, n);
		fprintf(stderr, "\rlinked: %zu of %zu", begin, b->n_to_link);
	}
	if (rc < 0)
		atomic_store(&b->failed, rc);
	return NULL;
}

int bench_graph_threads(struct bench_graph *b, unsigned n, void *(*f)(void *), struct err *e)
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

int bench_graph_link(struct bench_graph *b, const uint32_t *slots, size_t n, struct err *e)
{
	b->to_link = slots;
	b->n_to_link = n;
	return bench_graph_threads(b, b->o.threads, link_thread, e);
}

int bench_graph_fill(struct bench_graph *b, struct err *e)
{
	int rc;

	hnsw_bulk_begin(b->graph);
	rc = bench_graph_link(b, b->slot_of, b->n, e);
	hnsw_bulk_end(b->graph);
	fprintf(stderr, "\rbuilt %zu vectors with %u threads\n", b->n, b->o.threads);
	return rc;
}

static void query_one(struct bench_graph *b, size_t i)
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
	struct bench_graph *b = arg;
	size_t i;

	while ((i = atomic_fetch_add(&b->next, 1)) < b->query.n)
		query_one(b, i);
	return NULL;
}

int bench_graph_ask(struct bench_graph *b, unsigned ef, struct err *e)
{
	b->ef_now = ef;
	return bench_graph_threads(b, b->o.query_threads, query_thread, e);
}

static size_t count_hits(const struct bench_graph *b, size_t query)
{
	const int32_t *truth = bench_vecs_i32(&b->truth, query);
	const struct hit *hits = b->hits + query * b->o.k;
	struct probe q;
	float bound;
	size_t n = 0;

	probe_init(&q, &b->rows, bench_vecs_f32(&b->query, query));
	bound = rows_distance(&b->rows, rows_key(&b->rows, &q, b->slot_of[truth[b->o.k - 1]])) +
	        TIE;
	for (size_t j = 0; j < b->o.k; j++)
		n += hits[j].slot != ROW_NONE && rows_distance(&b->rows, hits[j].key) <= bound;
	return n;
}

double bench_graph_recall(const struct bench_graph *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->query.n; i++)
		n += count_hits(b, i);
	return (double)n / (double)(b->query.n * b->o.k);
}

double bench_graph_bytes(const struct bench_graph *b)
{
	return (double)(bench_anonymous_bytes() - b->anonymous_before) / (double)b->n;
}

void bench_graph_release(struct bench_graph *b)
{
	hnsw_free(b->graph);
	mem_free(b->rows.at);
	mem_free(b->rows.state);
	mem_free(b->rows.inv_norm);
	mem_free(b->latencies);
	mem_free(b->hits);
	mem_free(b->slot_of);
	if (b->mapped)
		munmap(b->mapped, b->n * b->stride * sizeof(float));
	bench_vecs_release(&b->query);
	bench_vecs_release(&b->truth);
}
