/*
 * bench_text.c: `ruvector-bench text`: how fast numbers are read from text, on one thread.
 *
 * The vectors of a file, or random ones, are written as users write them (the shortest decimals
 * that read back as the same float, or with a number of digits of their choice), and read by the
 * parser of lines, by the reader behind ingest/, and by strtof. Every number is compared with
 * strtof's, bit for bit.
 */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/num.h"
#include "tools/bench.h"
#include "vector/reader.h"
#include "vector/text.h"

#define WRITE_BYTES (1u << 20) /* what one write(2) brings to ingest/ at most */

struct text_bench {
	struct bench_vecs vecs;
	struct buf text; /* a line a vector */
	float *v;        /* all numbers, as they were read */
	size_t n_read;
};

struct way {
	const char *name;
	int (*read)(struct text_bench *b, struct err *e);
};

/* ---- ways of reading ---- */

static int read_lines(struct text_bench *b, struct err *e)
{
	const char *p = b->text.data, *end = p + b->text.len;

	for (b->n_read = 0; p < end;) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		long n = text_parse_floats(p, nl, b->v + b->n_read, b->vecs.dim, e);

		if (n < 0)
			return (int)n;
		b->n_read += (size_t)n;
		p = nl + 1;
	}
	return 0;
}

static int take_record(void *ctx, const struct record *r, struct err *e)
{
	struct text_bench *b = ctx;

	memcpy(b->v + b->n_read, r->v, r->dim * sizeof(float));
	b->n_read += r->dim;
	return 0;
}

static int read_as_ingest(struct text_bench *b, struct err *e)
{
	struct reader_sink sink = { .record = take_record, .ctx = b };
	struct reader *r;
	int rc = reader_new("bench.txt", &sink, &r, e);

	if (rc < 0)
		return rc;
	b->n_read = 0;
	for (size_t at = 0; at < b->text.len && rc == 0; at += WRITE_BYTES) {
		size_t left = b->text.len - at;

		rc = reader_feed(r, b->text.data + at, left < WRITE_BYTES ? left : WRITE_BYTES, e);
	}
	reader_free(r);
	return rc;
}

static int read_by_strtof(struct text_bench *b, struct err *e)
{
	const char *p = b->text.data;
	size_t n = b->vecs.n * b->vecs.dim;
	char *next;

	for (b->n_read = 0; b->n_read < n; p = next)
		b->v[b->n_read++] = strtof(p, &next);
	return 0;
}

static const struct way ways[] = {
	{ "lines", read_lines },
	{ "ingest", read_as_ingest },
	{ "strtof", read_by_strtof },
};

/* ---- the text ---- */

/* digits 0: the shortest */
static int write_text(struct text_bench *b, int digits)
{
	char number[64];

	for (size_t i = 0; i < b->vecs.n; i++) {
		const float *v = bench_vecs_f32(&b->vecs, i);

		for (size_t j = 0; j < b->vecs.dim; j++) {
			size_t n = digits ? (size_t)snprintf(number, sizeof(number), "%.*g", digits,
			                                     (double)v[j])
			                  : num_format_float(number, v[j]);

			buf_add(&b->text, number, n);
			buf_addc(&b->text, j + 1 < b->vecs.dim ? ' ' : '\n');
		}
	}
	return buf_failed(&b->text) ? -1 : 0;
}

/* Components of unit vectors of this dimension, as embeddings have them. */
static int make_vectors(struct bench_vecs *ret, size_t n, size_t dim)
{
	float *v = mem_alloc(n * dim, sizeof(*v));

	srand48(1);
	for (size_t i = 0; v && i < n * dim; i++)
		v[i] = (float)((drand48() - 0.5) * sqrt(12.0 / (double)dim));
	*ret = (struct bench_vecs){ v, v ? n : 0, dim };
	return v ? 0 : -1;
}

/* ---- measuring ---- */

static size_t count_differing(const struct text_bench *b, const float *expected)
{
	size_t n = b->vecs.n * b->vecs.dim, differing = 0;

	if (b->n_read != n)
		return n;
	for (size_t i = 0; i < n; i++)
		differing += memcmp(&b->v[i], &expected[i], sizeof(float)) != 0;
	return differing;
}

static int measure(struct text_bench *b, const struct way *w, unsigned rounds,
                   const float *expected)
{
	uint64_t best = UINT64_MAX;
	struct err e = { 0 };

	for (unsigned i = 0; i < rounds; i++) {
		uint64_t start = clock_mono_ns(), ns;

		if (w->read(b, &e) < 0) {
			fprintf(stderr, "ruvector-bench: %s\n", e.text);
			return -1;
		}
		ns = clock_mono_ns() - start;
		best = ns < best ? ns : best;
	}
	printf("%s\t%.0f\t%.1f\t%zu\n", w->name, (double)b->text.len * 1e3 / (double)best,
	       (double)(b->vecs.n * b->vecs.dim) * 1e3 / (double)best,
	       count_differing(b, expected));
	return 0;
}

static int run(struct text_bench *b, int digits, unsigned rounds)
{
	size_t n = b->vecs.n * b->vecs.dim;
	float *expected = mem_alloc(n, sizeof(*expected));
	int rc = -1;

	b->v = mem_alloc(n, sizeof(*b->v));
	if (b->v && expected && write_text(b, digits) == 0 && read_by_strtof(b, NULL) == 0) {
		memcpy(expected, b->v, n * sizeof(*expected));
		printf("reader\tmb_per_second\tmillion_numbers_per_second\tdiffer_from_strtof\n");
		rc = 0;
	}
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]) && rc == 0; i++)
		rc = measure(b, &ways[i], rounds, expected);
	mem_free(expected);
	return rc == 0 ? 0 : 1;
}

/* ---- arguments ---- */

static const char usage[] =
	"usage: ruvector-bench text [--vectors F.fvecs | --n N --dim N] [--digits N] [--rounds N]\n"
	"Numbers read from text on one thread; of each way the fastest of N rounds (5).\n"
	"  --digits N   significant digits of a number, 0 (default): the fewest that say the float\n";

int bench_text(int argc, char **argv)
{
	static const struct option options[] = {
		{ "vectors", 1, NULL, 'v' },
		{ "n", 1, NULL, 'n' },
		{ "dim", 1, NULL, 'd' },
		{ "digits", 1, NULL, 'g' },
		{ "rounds", 1, NULL, 'r' },
		{ "help", 0, NULL, 'h' },
		{ 0 },
	};
	struct text_bench b = { .text = BUF_INIT };
	unsigned long n = 10000, dim = 256, rounds = 5, digits = 0;
	const char *path = NULL;
	struct err e = { 0 };
	int c, rc = 1;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'v')
			path = optarg;
		else if (c == 'n')
			n = strtoul(optarg, NULL, 10);
		else if (c == 'd')
			dim = strtoul(optarg, NULL, 10);
		else if (c == 'g')
			digits = strtoul(optarg, NULL, 10);
		else if (c == 'r')
			rounds = strtoul(optarg, NULL, 10);
		else
			break;
	}
	if (c != -1 || optind < argc || n < 1 || dim < 1 || dim > LIMIT_DIMENSION || rounds < 1 ||
	    digits > 40) {
		fputs(usage, c == 'h' ? stdout : stderr);
		return c == 'h' ? 0 : 2;
	}
	if (path ? bench_vecs_read(path, &b.vecs, &e) == 0 : make_vectors(&b.vecs, n, dim) == 0)
		rc = run(&b, (int)digits, (unsigned)rounds);
	else
		fprintf(stderr, "ruvector-bench: %s\n", path ? e.text : "no memory");
	mem_free(b.v);
	buf_release(&b.text);
	bench_vecs_release(&b.vecs);
	return rc;
}
