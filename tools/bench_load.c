/*
 * bench_load.c: `ruvector-bench load`: clients that read and write one tenant at the same time.
 *
 * A reader asks through a descriptor of its own that it holds; a writer holds a file in ingest/
 * and writes a line at a time, each a durable commit of one vector, over a thousand IDs in turn,
 * so that it replaces after it has inserted. Each client is in a closed loop: its next request
 * goes out when the last was answered. Latencies go to buckets of an eighth of an octave, so a
 * quantile is right to 9 %. Vectors are random, or those of --query.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/num.h"
#include "tools/bench.h"

#define CLIENTS_MAX 1024
#define SECONDS_MAX 86400
#define N_BUCKETS   (64 * 8)
#define WRITE_IDS   1000
#define ANSWER_MAX  65536 /* the rest of a longer answer is dropped by the next query */
#define ERRORS_MAX  100   /* then a client gives up */

struct histogram {
	uint64_t buckets[N_BUCKETS];
	uint64_t n, max_ns;
};

struct load {
	const char *root, *query_path;
	size_t clients, writers, seconds, k, dim;
	struct bench_vecs query; /* empty: random vectors */
	uint64_t end_ns;
};

struct client {
	struct load *load;
	size_t i;
	bool is_writer;
	unsigned seed;
	int fd;
	uint64_t n_errors;
	int first_error; /* errno */
	struct buf line;
	struct histogram latencies;
};

static const char usage_text[] =
	"usage: ruvector-bench load --root DIR --clients N --seconds S [--writers N]\n"
	"       [--query F.fvecs] [--k N]\n"
	"DIR is a tenant's directory that holds vectors; of the clients, --writers (a quarter) insert\n"
	"and replace, the others ask. Vectors are random, or those of --query. --k 10\n";

static size_t bucket_of(uint64_t ns)
{
	unsigned octave;

	if (ns < 8)
		return (size_t)ns;
	octave = 63 - (unsigned)__builtin_clzll(ns);
	return (octave - 2) * 8 + (ns >> (octave - 3) & 7);
}

/* The first latency that is too long for bucket i. */
static uint64_t bucket_end(size_t i)
{
	return i < 8 ? i + 1 : (uint64_t)(8 + i % 8 + 1) << (i / 8 - 1);
}

static void histogram_add(struct histogram *h, uint64_t ns)
{
	h->buckets[bucket_of(ns)]++;
	h->n++;
	h->max_ns = ns > h->max_ns ? ns : h->max_ns;
}

static void histogram_merge(struct histogram *h, const struct histogram *other)
{
	for (size_t i = 0; i < N_BUCKETS; i++)
		h->buckets[i] += other->buckets[i];
	h->n += other->n;
	h->max_ns = other->max_ns > h->max_ns ? other->max_ns : h->max_ns;
}

static uint64_t histogram_quantile(const struct histogram *h, double p)
{
	uint64_t rank = (uint64_t)(p * (double)h->n), sum = 0;

	for (size_t i = 0; i < N_BUCKETS; i++) {
		sum += h->buckets[i];
		if (sum > rank)
			return bucket_end(i) < h->max_ns ? bucket_end(i) : h->max_ns;
	}
	return h->max_ns;
}

static void add_vector(struct client *c)
{
	const struct load *l = c->load;
	char number[NUM_FLOAT_MAX];
	const float *v = NULL;

	if (l->query.n)
		v = bench_vecs_f32(&l->query, (size_t)rand_r(&c->seed) % l->query.n);
	for (size_t i = 0; i < l->dim; i++) {
		float x = v ? v[i] : (float)(rand_r(&c->seed) % 2001 - 1000) * 0.001f;

		if (i > 0)
			buf_addc(&c->line, ' ');
		buf_add(&c->line, number, num_format_float(number, x));
	}
	buf_addc(&c->line, '\n');
}

static int open_client(struct client *c)
{
	char path[4096];

	if (c->is_writer)
		snprintf(path, sizeof(path), "%s/ingest/load-%zu", c->load->root, c->i);
	else
		snprintf(path, sizeof(path), "%s/query", c->load->root);
	c->fd = open(path, (c->is_writer ? O_WRONLY | O_CREAT | O_TRUNC : O_RDWR) | O_CLOEXEC,
	             0666);
	return c->fd < 0 ? -errno : 0;
}

static int ask(struct client *c)
{
	char answer[ANSWER_MAX];

	if (pwrite(c->fd, c->line.data, c->line.len, 0) != (ssize_t)c->line.len)
		return -errno;
	return pread(c->fd, answer, sizeof(answer), (off_t)c->line.len) < 0 ? -errno : 0;
}

static int insert(struct client *c)
{
	return write(c->fd, c->line.data, c->line.len) == (ssize_t)c->line.len ? 0 : -errno;
}

/* One request; a failed one costs the descriptor, since ingest/ takes nothing more on it. */
static void request(struct client *c, uint64_t turn)
{
	uint64_t begin;
	int rc;

	buf_clear(&c->line);
	if (c->is_writer)
		buf_addf(&c->line, "load-%zu-%llu\t", c->i, (unsigned long long)(turn % WRITE_IDS));
	else
		buf_addf(&c->line, "k=%zu ", c->load->k);
	add_vector(c);
	begin = clock_mono_ns();
	rc = buf_failed(&c->line) ? -ENOMEM : c->fd < 0 ? open_client(c) : 0;
	if (rc == 0)
		rc = c->is_writer ? insert(c) : ask(c);
	if (rc == 0) {
		histogram_add(&c->latencies, clock_mono_ns() - begin);
		return;
	}
	c->first_error = c->n_errors++ ? c->first_error : -rc;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static void *client_thread(void *arg)
{
	struct client *c = arg;

	for (uint64_t turn = 0; clock_mono_ns() < c->load->end_ns && c->n_errors < ERRORS_MAX;
	     turn++)
		request(c, turn);
	if (c->fd >= 0)
		close(c->fd);
	buf_release(&c->line);
	return NULL;
}

/* The tenant's dimension, from its config. */
static int read_dimension(struct load *l, struct err *e)
{
	char path[4096], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/config", l->root);
	f = fopen(path, "re");
	if (!f)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f) && sscanf(line, "dimension %zu", &l->dim) != 1)
		;
	fclose(f);
	if (l->dim == 0 || l->dim > LIMIT_DIMENSION)
		return err_set(e, -EINVAL, "%s holds no vectors yet", l->root);
	return 0;
}

static int prepare(struct load *l, struct err *e)
{
	int rc = read_dimension(l, e);

	if (rc == 0 && l->query_path)
		rc = bench_vecs_read(l->query_path, &l->query, e);
	if (rc == 0 && l->query.n && l->query.dim != l->dim)
		rc = err_set(e, -EINVAL, "queries have dimension %zu, the tenant %zu", l->query.dim,
		             l->dim);
	return rc;
}

static void show(const char *what, const struct histogram *h, uint64_t n_errors, double seconds)
{
	printf("%s\t%llu\t%llu\t%.0f\t%.1f\t%.1f\t%.1f\t%.1f\n", what, (unsigned long long)h->n,
	       (unsigned long long)n_errors, (double)h->n / seconds,
	       (double)histogram_quantile(h, 0.5) / 1e3, (double)histogram_quantile(h, 0.9) / 1e3,
	       (double)histogram_quantile(h, 0.99) / 1e3, (double)h->max_ns / 1e3);
}

/* By octaves; those without any are left out. */
static void show_histogram(const char *what, const struct histogram *h)
{
	for (size_t i = 0; i < N_BUCKETS; i += 8) {
		uint64_t n = 0;

		for (size_t j = 0; j < 8; j++)
			n += h->buckets[i + j];
		if (n)
			printf("%s\t%.1f\t%llu\n", what, (double)bucket_end(i + 7) / 1e3,
			       (unsigned long long)n);
	}
}

static int report(const struct client *clients, const struct load *l, double seconds)
{
	static struct histogram sums[2];
	uint64_t n_errors[2] = { 0 };

	for (size_t i = 0; i < l->clients; i++) {
		const struct client *c = &clients[i];

		histogram_merge(&sums[c->is_writer], &c->latencies);
		n_errors[c->is_writer] += c->n_errors;
		if (c->n_errors)
			fprintf(stderr, "ruvector-bench: client %zu: %llu errors, the first: %s\n",
			        i, (unsigned long long)c->n_errors, strerror(c->first_error));
	}
	printf("what\trequests\terrors\tper_second\tp50_us\tp90_us\tp99_us\tmax_us\n");
	show("read", &sums[0], n_errors[0], seconds);
	show("write", &sums[1], n_errors[1], seconds);
	printf("what\tbelow_us\trequests\n");
	show_histogram("read", &sums[0]);
	show_histogram("write", &sums[1]);
	return n_errors[0] + n_errors[1] ? -EIO : 0;
}

static int run(struct load *l, struct err *e)
{
	struct client *clients MEM_AUTO = mem_zalloc(l->clients, sizeof(*clients));
	pthread_t threads[CLIENTS_MAX];
	uint64_t begin = clock_mono_ns();
	size_t started = 0;
	int rc = 0;

	if (!clients)
		return err_nomem(e);
	l->end_ns = begin + l->seconds * 1000000000ull;
	for (; started < l->clients && rc == 0; started += rc == 0) {
		clients[started] = (struct client){ .load = l,
			                            .i = started,
			                            .is_writer = started < l->writers,
			                            .seed = (unsigned)started + 1,
			                            .fd = -1 };
		rc = -pthread_create(&threads[started], NULL, client_thread, &clients[started]);
	}
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	if (rc < 0)
		return err_set(e, rc, "client %zu: %s", started, strerror(-rc));
	rc = report(clients, l, (double)(clock_mono_ns() - begin) / 1e9);
	return rc < 0 ? err_set(e, rc, "requests failed") : 0;
}

static bool parse_count(const char *s, unsigned long min, unsigned long max, size_t *ret)
{
	char *end;

	*ret = strtoul(s, &end, 10);
	return end != s && *end == '\0' && *s != '-' && *ret >= min && *ret <= max;
}

static bool set_option(struct load *l, int c, const char *arg)
{
	switch (c) {
	case 'r':
		l->root = arg;
		return true;
	case 'q':
		l->query_path = arg;
		return true;
	case 'c':
		return parse_count(arg, 1, CLIENTS_MAX, &l->clients);
	case 'w':
		return parse_count(arg, 0, CLIENTS_MAX, &l->writers);
	case 's':
		return parse_count(arg, 1, SECONDS_MAX, &l->seconds);
	case 'k':
		return parse_count(arg, 1, LIMIT_K, &l->k);
	default:
		return false;
	}
}

/* 0, or the exit code plus one. */
static int parse_options(int argc, char **argv, struct load *l)
{
	static const struct option longs[] = {
		{ "root", required_argument, NULL, 'r' },
		{ "clients", required_argument, NULL, 'c' },
		{ "writers", required_argument, NULL, 'w' },
		{ "seconds", required_argument, NULL, 's' },
		{ "query", required_argument, NULL, 'q' },
		{ "k", required_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c, i;

	while ((c = getopt_long(argc, argv, "h", longs, &i)) != -1) {
		if (c == 'h') {
			fputs(usage_text, stdout);
			return 1;
		}
		if (!set_option(l, c, optarg)) {
			if (c != '?')
				fprintf(stderr, "ruvector-bench: bad value '%s' of --%s\n", optarg,
				        longs[i].name);
			return 3;
		}
	}
	if (l->writers == SIZE_MAX)
		l->writers = (l->clients + 3) / 4;
	if (optind < argc || !l->root || !l->clients || !l->seconds || l->writers > l->clients) {
		fputs(usage_text, stderr);
		return 3;
	}
	return 0;
}

int bench_load(int argc, char **argv)
{
	struct load l = { .writers = SIZE_MAX, .k = 10 };
	struct err e = { 0 };
	int rc = parse_options(argc, argv, &l);

	if (rc != 0)
		return rc - 1;
	rc = prepare(&l, &e);
	rc = rc < 0 ? rc : run(&l, &e);
	if (rc < 0)
		fprintf(stderr, "ruvector-bench: %s\n", e.text);
	bench_vecs_release(&l.query);
	return rc < 0;
}
