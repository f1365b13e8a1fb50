/*
 * bench_mount.c: `ruvector-bench mount`: what a client of the mount gets, by every way of asking.
 *
 * Loads the base vectors by copying the file into ingest/ as cp would, waits until the graph has
 * them all, and asks the same queries through a held descriptor, through query and results opened
 * each time, as batches, as JSON lines and as a .npy array. With --pin the client and the server
 * (--server PID) share one core, which takes the wake-up of another core out of the figure.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "tools/bench.h"

#define ANSWER_MAX (64u << 20)
#define BATCH_MAX  1000

struct mount_bench {
	const char *root;      /* the tenant's directory */
	const char *base_path; /* NULL: the tenant is filled already */
	struct bench_vecs query;
	struct bench_vecs truth;    /* positions in base */
	struct bench_vecs distance; /* of the true neighbours; empty: ties do not count */
	size_t k;
	const char *options; /* before the numbers of each query, e.g. "exact=1" */
	int pin;             /* a processor, or -1 */
	pid_t server;
	uint64_t *ns; /* a latency per query */
	struct buf answer;
};

static int open_in(const struct mount_bench *b, const char *name, int flags)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", b->root, name);
	fd = open(path, flags | O_CLOEXEC, 0666);
	if (fd < 0)
		fprintf(stderr, "ruvector-bench: %s: %s\n", path, strerror(errno));
	return fd;
}

static int complain(const char *what)
{
	fprintf(stderr, "ruvector-bench: %s: %s\n", what, strerror(errno));
	return -1;
}

static int write_whole(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t put = write(fd, p, n);

		if (put < 0)
			return complain("write");
		p += put;
		n -= (size_t)put;
	}
	return 0;
}

/* ---- loading ---- */

static int copy_into_ingest(const struct mount_bench *b, uint64_t *ret_bytes)
{
	const char *name = strrchr(b->base_path, '/');
	char target[512], *chunk = mem_alloc(1, 1 << 20);
	int from = open(b->base_path, O_RDONLY | O_CLOEXEC), to, rc = 0;
	ssize_t got = 0;

	snprintf(target, sizeof(target), "ingest/%s", name ? name + 1 : b->base_path);
	to = open_in(b, target, O_WRONLY | O_CREAT | O_TRUNC);
	*ret_bytes = 0;
	if (from < 0 || to < 0 || !chunk)
		rc = complain(b->base_path);
	while (rc == 0 && (got = read(from, chunk, 1 << 20)) > 0) {
		rc = write_whole(to, chunk, (size_t)got);
		*ret_bytes += (uint64_t)got;
	}
	if (got < 0)
		rc = complain("read");
	if (to >= 0 && close(to) < 0)
		rc = complain("close");
	if (from >= 0)
		close(from);
	mem_free(chunk);
	return rc;
}

static int read_key(const struct mount_bench *b, const char *file, const char *key, uint64_t *ret)
{
	char text[8192], *line;
	int fd = open_in(b, file, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	size_t len = strlen(key);

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return -1;
	text[n] = '\0';
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (strncmp(line, key, len) == 0 && line[len] == ' ') {
			*ret = strtoull(line + len + 1, NULL, 10);
			return 0;
		}
	return -1;
}

static int wait_for_graph(const struct mount_bench *b)
{
	uint64_t backlog = 1;

	while (read_key(b, "stats", "index_backlog", &backlog) == 0 && backlog > 0)
		usleep(2000);
	return backlog == 0 ? 0 : -1;
}

static int load(const struct mount_bench *b)
{
	uint64_t start = clock_mono_ns(), copied, bytes, vectors = 0;
	double seconds;

	if (!b->base_path)
		return 0;
	if (copy_into_ingest(b, &bytes) < 0)
		return -1;
	copied = clock_mono_ns() - start;
	if (wait_for_graph(b) < 0 || read_key(b, "stats", "vectors", &vectors) < 0)
		return -1;
	seconds = (double)(clock_mono_ns() - start) / 1e9;
	printf("copy_seconds\t%.3f\n", (double)copied / 1e9);
	printf("indexed_seconds\t%.3f\n", seconds);
	printf("vectors_per_second\t%.0f\n", (double)vectors / seconds);
	return 0;
}

/* ---- forms of a query ---- */

static void add_numbers(struct buf *b, const float *v, size_t dim, char separator)
{
	char number[NUM_FLOAT_MAX];

	for (size_t i = 0; i < dim; i++) {
		if (i > 0)
			buf_addc(b, separator);
		buf_add(b, number, num_format_float(number, v[i]));
	}
}

static void add_line(const struct mount_bench *b, struct buf *out, size_t q)
{
	buf_addf(out, "k=%zu %s%s", b->k, b->options, b->options[0] ? " " : "");
	add_numbers(out, bench_vecs_f32(&b->query, q), b->query.dim, ' ');
	buf_addc(out, '\n');
}

static void add_json(const struct mount_bench *b, struct buf *out, size_t q)
{
	buf_addf(out, "{\"k\":%zu,\"vector\":[", b->k);
	add_numbers(out, bench_vecs_f32(&b->query, q), b->query.dim, ',');
	buf_adds(out, "]}\n");
}

static void add_npy(const struct mount_bench *b, struct buf *out, size_t first, size_t n)
{
	char head[256];
	int len = snprintf(head, sizeof(head),
	                   "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", n,
	                   b->query.dim);
	unsigned padded = ((unsigned)len + 1 + 10 + 63) / 64 * 64 - 10;

	buf_add(out, "\x93NUMPY\x01\x00", 8);
	buf_addc(out, (char)(padded & 0xff));
	buf_addc(out, (char)(padded >> 8));
	buf_add(out, head, (size_t)len);
	for (unsigned i = (unsigned)len; i + 1 < padded; i++)
		buf_addc(out, ' ');
	buf_addc(out, '\n');
	for (size_t i = 0; i < n; i++)
		buf_add(out, bench_vecs_f32(&b->query, first + i), b->query.dim * sizeof(float));
}

/* ---- reading answers ---- */

static int read_to_end(struct mount_bench *b, int fd)
{
	for (;;) {
		char *at = buf_space(&b->answer, 1 << 16);
		ssize_t n = at ? read(fd, at, 1 << 16) : -1;

		if (n < 0)
			return complain("read");
		if (n == 0)
			return 0;
		buf_grew(&b->answer, (size_t)n);
		if (b->answer.len > ANSWER_MAX)
			return -1;
	}
}

/* The position in an ID `base:POSITION`; SIZE_MAX for any other. */
static size_t id_position(const char *id, const char *end)
{
	const char *colon = memchr(id, ':', (size_t)(end - id));
	uint64_t n;

	if (!colon || !num_parse_u64(colon + 1, (size_t)(end - colon - 1), &n))
		return SIZE_MAX;
	return (size_t)n;
}

/* A tie with the true k-th counts as a hit. */
static bool is_hit(const struct mount_bench *b, size_t q, size_t position, float distance)
{
	if (b->distance.n > q && distance <= bench_vecs_f32(&b->distance, q)[b->k - 1] + 1e-6f)
		return true;
	for (size_t i = 0; i < b->k; i++)
		if ((size_t)bench_vecs_i32(&b->truth, q)[i] == position)
			return true;
	return false;
}

/* Counts hits of query q in its lines at *p, which is left at the next answer's first line. */
static size_t count_hits(const struct mount_bench *b, size_t q, const char **p, const char *end)
{
	size_t hits = 0;

	while (*p < end && **p != '\n') {
		const char *nl = memchr(*p, '\n', (size_t)(end - *p));
		const char *tab = memchr(*p, '\t', (size_t)(end - *p));
		float distance;

		if (!nl || !tab || tab > nl)
			break;
		if (num_parse_float(tab + 1, nl, &distance))
			hits += is_hit(b, q, id_position(*p, tab), distance);
		*p = nl + 1;
	}
	if (*p < end)
		*p += 1;
	return hits;
}

/* ---- ways of asking ---- */

static int ask_held(struct mount_bench *b, double *ret_hits)
{
	struct buf line BUF_AUTO = BUF_INIT;
	char answer[65536];
	int fd = open_in(b, "query", O_RDWR);

	if (fd < 0)
		return -1;
	for (size_t q = 0; q < b->query.n; q++) {
		const char *p = answer;
		uint64_t start;
		ssize_t n;

		buf_clear(&line);
		add_line(b, &line, q);
		start = clock_mono_ns();
		if (pwrite(fd, line.data, line.len, 0) != (ssize_t)line.len)
			return complain("query");
		n = pread(fd, answer, sizeof(answer), (off_t)line.len);
		if (n < 0)
			return complain("query");
		b->ns[q] = clock_mono_ns() - start;
		*ret_hits += (double)count_hits(b, q, &p, answer + n);
	}
	close(fd);
	return 0;
}

static int ask_two_files(struct mount_bench *b, double *ret_hits)
{
	struct buf line BUF_AUTO = BUF_INIT;

	for (size_t q = 0; q < b->query.n; q++) {
		uint64_t start;
		const char *p;
		int fd, rc;

		buf_clear(&line);
		add_line(b, &line, q);
		buf_clear(&b->answer);
		start = clock_mono_ns();
		fd = open_in(b, "query", O_WRONLY);
		rc = fd < 0 ? -1 : write_whole(fd, line.data, line.len);
		if (fd >= 0)
			close(fd);
		fd = rc < 0 ? -1 : open_in(b, "results", O_RDONLY);
		if (fd < 0 || read_to_end(b, fd) < 0)
			return -1;
		close(fd);
		b->ns[q] = clock_mono_ns() - start;
		p = b->answer.data;
		*ret_hits += (double)count_hits(b, q, &p, p + b->answer.len);
	}
	return 0;
}

/* One write of up to BATCH_MAX queries and one answer; the latency is the batch's share. */
static int ask_batch(struct mount_bench *b, bool npy, double *ret_hits)
{
	struct buf text BUF_AUTO = BUF_INIT;

	for (size_t first = 0; first < b->query.n; first += BATCH_MAX) {
		size_t n = b->query.n - first < BATCH_MAX ? b->query.n - first : BATCH_MAX;
		int fd = open_in(b, "query", O_RDWR);
		uint64_t start;
		const char *p;

		buf_clear(&text);
		if (npy)
			add_npy(b, &text, first, n);
		for (size_t i = 0; i < n && !npy; i++)
			add_line(b, &text, first + i);
		buf_clear(&b->answer);
		start = clock_mono_ns();
		if (fd < 0 || write_whole(fd, text.data, text.len) < 0 || read_to_end(b, fd) < 0)
			return -1;
		start = (clock_mono_ns() - start) / n;
		close(fd);
		p = b->answer.data;
		for (size_t i = 0; i < n; i++) {
			b->ns[first + i] = start;
			*ret_hits += (double)count_hits(b, first + i, &p,
			                                b->answer.data + b->answer.len);
		}
	}
	return 0;
}

static int ask_text_batch(struct mount_bench *b, double *ret_hits)
{
	return ask_batch(b, false, ret_hits);
}

static int ask_npy_batch(struct mount_bench *b, double *ret_hits)
{
	return ask_batch(b, true, ret_hits);
}

/* Recall is that of the other forms; what is looked at here is the time. */
static int ask_json(struct mount_bench *b, double *ret_hits)
{
	struct buf line BUF_AUTO = BUF_INIT;
	char answer[65536];
	int fd = open_in(b, "query", O_RDWR);

	*ret_hits = -1;
	if (fd < 0)
		return -1;
	for (size_t q = 0; q < b->query.n; q++) {
		uint64_t start;

		buf_clear(&line);
		add_json(b, &line, q);
		start = clock_mono_ns();
		if (pwrite(fd, line.data, line.len, 0) != (ssize_t)line.len ||
		    pread(fd, answer, sizeof(answer), (off_t)line.len) < 0)
			return complain("query");
		b->ns[q] = clock_mono_ns() - start;
	}
	close(fd);
	return 0;
}

static int measure(struct mount_bench *b, const char *form,
                   int (*ask)(struct mount_bench *, double *))
{
	double hits = 0, seconds = 0, per_query = (double)(b->query.n * b->k);

	if (ask(b, &hits) < 0)
		return -1;
	/* Writing the query's text and counting hits is the client's own time, not the mount's. */
	for (size_t i = 0; i < b->query.n; i++)
		seconds += (double)b->ns[i] / 1e9;
	bench_sort(b->ns, b->query.n);
	printf("%s\t", form);
	printf(hits < 0 ? "-" : "%.4f", hits / per_query);
	printf("\t%.0f\t%.1f\t%.1f\n", (double)b->query.n / seconds,
	       (double)bench_quantile(b->ns, b->query.n, 0.5) / 1e3,
	       (double)bench_quantile(b->ns, b->query.n, 0.99) / 1e3);
	fflush(stdout);
	return 0;
}

/* ---- the command ---- */

static const char usage[] =
	"usage: ruvector-bench mount --root DIR --query F.fvecs --truth F.ivecs\n"
	"           [--distance F.fvecs] [--base F.fvecs]\n"
	"           [--k N] [--options 'ef=100 exact=1'] [--pin CPU --server PID] [--form NAME]\n"
	"DIR is a tenant's directory; --base is copied into its ingest/ first; --distance makes\n"
	"ties count as hits.\n"
	"Forms: held two-files batch npy json. Prints form, recall, qps, p50_us, p99_us.\n";

static int pin_both(const struct mount_bench *b)
{
	cpu_set_t one;
	char command[128];

	if (b->pin < 0)
		return 0;
	CPU_ZERO(&one);
	CPU_SET(b->pin, &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		return complain("--pin");
	if (b->server <= 0)
		return 0;
	/* every thread of the server: taskset does what a loop over /proc/PID/task would */
	snprintf(command, sizeof(command), "taskset -a -c -p %d %d > /dev/null", b->pin,
	         (int)b->server);
	return system(command) == 0 ? 0 : complain("taskset");
}

static const struct {
	const char *name;
	int (*ask)(struct mount_bench *b, double *ret_hits);
} forms[] = {
	{ "held", ask_held },     { "two-files", ask_two_files }, { "batch", ask_text_batch },
	{ "npy", ask_npy_batch }, { "json", ask_json },
};

static bool is_form(const char *name)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if (strcmp(name, forms[i].name) == 0)
			return true;
	return false;
}

static int run(struct mount_bench *b, const char *form)
{
	if (load(b) < 0 || pin_both(b) < 0)
		return 1;
	b->ns = mem_alloc(b->query.n, sizeof(*b->ns));
	if (!b->ns)
		return 1;
	printf("form\trecall\tqps\tp50_us\tp99_us\n");
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if ((!form || strcmp(form, forms[i].name) == 0) &&
		    measure(b, forms[i].name, forms[i].ask) < 0)
			return 1;
	return 0;
}

static int load_inputs(struct mount_bench *b, const char *query, const char *truth,
                       const char *distance)
{
	struct err e = { 0 };
	int rc = bench_vecs_read(query, &b->query, &e);

	if (rc == 0)
		rc = bench_vecs_read(truth, &b->truth, &e);
	if (rc == 0 && distance)
		rc = bench_vecs_read(distance, &b->distance, &e);
	if (rc == 0 && (b->truth.n < b->query.n || b->truth.dim < b->k))
		rc = err_set(&e, -EINVAL, "%s has no %zu neighbours of each query", truth, b->k);
	if (rc == 0 && distance && b->distance.dim < b->k)
		rc = err_set(&e, -EINVAL, "%s has no %zu distances of each query", distance, b->k);
	if (rc < 0)
		fprintf(stderr, "ruvector-bench: %s\n", e.text);
	return rc;
}

int bench_mount(int argc, char **argv)
{
	static const struct option options[] = {
		{ "root", 1, NULL, 'r' },  { "base", 1, NULL, 'b' },
		{ "query", 1, NULL, 'q' }, { "truth", 1, NULL, 't' },
		{ "k", 1, NULL, 'k' },     { "options", 1, NULL, 'o' },
		{ "pin", 1, NULL, 'p' },   { "server", 1, NULL, 's' },
		{ "form", 1, NULL, 'f' },  { "distance", 1, NULL, 'd' },
		{ "help", 0, NULL, 'h' },  { 0 },
	};
	struct mount_bench b = { .k = 10, .options = "", .pin = -1 };
	const char *query = NULL, *truth = NULL, *distance = NULL, *form = NULL;
	int c, rc = 1;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'r':
			b.root = optarg;
			break;
		case 'b':
			b.base_path = optarg;
			break;
		case 'q':
			query = optarg;
			break;
		case 't':
			truth = optarg;
			break;
		case 'd':
			distance = optarg;
			break;
		case 'k':
			b.k = strtoul(optarg, NULL, 10);
			break;
		case 'o':
			b.options = optarg;
			break;
		case 'p':
			b.pin = atoi(optarg);
			break;
		case 's':
			b.server = atoi(optarg);
			break;
		case 'f':
			form = optarg;
			break;
		default:
			fputs(usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 2;
		}
	}
	if (optind < argc || !b.root || !query || !truth || b.k == 0 || (form && !is_form(form))) {
		fputs(usage, stderr);
		return 2;
	}
	if (load_inputs(&b, query, truth, distance) == 0)
		rc = run(&b, form);
	mem_free(b.ns);
	buf_release(&b.answer);
	bench_vecs_release(&b.distance);
	bench_vecs_release(&b.truth);
	bench_vecs_release(&b.query);
	return rc;
}
