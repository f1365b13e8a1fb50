/*
 * bench_churn.c: what is left of a graph when its vectors were replaced again and again.
 *
 * A graph is built, then a share of its vectors, drawn at random, is replaced by themselves: the
 * row dies, the same vector is linked in another row that was free, in an order of chance. So the
 * true neighbours stay what they were, and what recall loses is the graph's loss. As the engine
 * does, the dead are taken out when they are a tenth of the graph, and their rows are used again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tools/bench_graph.h"

#define DEAD_SHARE 10  /* a tenth of the rows dies between two repairs */
#define PIECE      256 /* rows that are repaired at once */
#define ROUNDS_MAX 100

struct churn {
	struct bench_graph b; /* first: threads get it */
	double fraction;
	unsigned rounds;
	uint64_t rng;
	uint32_t *order;   /* of all vectors */
	uint32_t *free;    /* rows */
	uint32_t *arrived; /* rows to be linked */
	uint32_t n_free, n_arrived, step;
	double recall[ROUNDS_MAX + 1][BENCH_EF_MAX];
};

static const char usage_text[] =
	"usage: ruvector-bench churn --base F.fvecs --query F.fvecs --truth F.ivecs\n"
	"       --metric cosine|l2|ip"
	" [--fraction SHARE] [--rounds N] [--seed N] [--ef LIST]\n"
	"       [--k N] [--threads N] [--m N] [--ef-construction N]\n"
	"       [--quantization auto|none|4bit]\n"
	"defaults: --fraction 0.5 --rounds 1 --seed 1 --ef 16,32,64,128,256 --k 10\n"
	"          --threads (processors) --m 16 --ef-construction 200 --quantization auto\n";

static const struct option longs[] = {
	{ "base", required_argument, NULL, 'b' },
	{ "query", required_argument, NULL, 'q' },
	{ "truth", required_argument, NULL, 't' },
	{ "metric", required_argument, NULL, 'M' },
	{ "fraction", required_argument, NULL, 'f' },
	{ "rounds", required_argument, NULL, 'r' },
	{ "seed", required_argument, NULL, 's' },
	{ "ef", required_argument, NULL, 'e' },
	{ "k", required_argument, NULL, 'k' },
	{ "threads", required_argument, NULL, 'T' },
	{ "m", required_argument, NULL, 'm' },
	{ "quantization", required_argument, NULL, 'z' },
	{ "ef-construction", required_argument, NULL, 'c' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static bool parse_share(const char *s, double *ret)
{
	char *end;

	*ret = strtod(s, &end);
	return end != s && *end == '\0' && *ret > 0 && *ret <= 1;
}

static bool set_option(void *ctx, int c, const char *arg)
{
	struct churn *ch = ctx;
	unsigned long v = 0;

	switch (c) {
	case 'f':
		return parse_share(arg, &ch->fraction);
	case 'r':
		return bench_graph_count(arg, ROUNDS_MAX, &v) && (ch->rounds = (unsigned)v);
	case 's':
		return bench_graph_count(arg, UINT32_MAX, &v) && (ch->rng = v);
	default:
		return bench_graph_option(&ch->b.o, c, arg);
	}
}

static uint64_t next_random(struct churn *ch)
{
	uint64_t x = ch->rng += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static void shuffle(struct churn *ch, uint32_t *at, uint32_t n)
{
	for (uint32_t i = n; i > 1; i--) {
		uint32_t j = (uint32_t)(next_random(ch) % i), moving = at[i - 1];

		at[i - 1] = at[j];
		at[j] = moving;
	}
}

static int make(struct churn *ch, struct err *e)
{
	struct bench_graph *b = &ch->b;
	uint32_t n = (uint32_t)b->n, cap;
	int rc;

	ch->step = n / DEAD_SHARE + 1;
	cap = n + ch->step;
	ch->order = mem_alloc(n, sizeof(*ch->order));
	ch->free = mem_alloc(cap, sizeof(*ch->free));
	ch->arrived = mem_alloc(ch->step, sizeof(*ch->arrived));
	if (!ch->order || !ch->free || !ch->arrived)
		return err_nomem(e);
	for (uint32_t i = 0; i < n; i++)
		ch->order[i] = i;
	/* touched now: it is no memory of the graph's */
	memset(ch->free, 0, cap * sizeof(*ch->free));
	memset(ch->arrived, 0, ch->step * sizeof(*ch->arrived));
	rc = bench_graph_make(b, ch->step, e);
	for (uint32_t slot = n; slot < cap; slot++)
		ch->free[ch->n_free++] = slot;
	shuffle(ch, ch->free, ch->n_free);
	return rc;
}

/* The vector's row dies; another one has it from now on, and is to be linked. */
static void move_vector(struct churn *ch, uint32_t vector)
{
	struct rows *r = &ch->b.rows;
	uint32_t from = ch->b.slot_of[vector], to = ch->free[--ch->n_free];

	r->inv_norm[to] = r->inv_norm[from];
	atomic_store(&r->at[to], bench_graph_vector(&ch->b, vector));
	atomic_store(&r->state[to], ROW_LIVE);
	atomic_store(&r->state[from], ROW_DEAD);
	if (to >= r->n)
		r->n = to + 1;
	ch->b.slot_of[vector] = to;
	ch->arrived[ch->n_arrived++] = to;
}

static void *detach_thread(void *arg)
{
	struct churn *ch = arg;
	uint32_t at;
	int rc;

	while ((at = (uint32_t)atomic_fetch_add(&ch->b.next, PIECE)) < ch->b.rows.n) {
		rc = hnsw_detach(ch->b.graph, at, at + PIECE, NULL);
		if (rc < 0)
			atomic_store(&ch->b.failed, rc);
	}
	return NULL;
}

static void free_row(void *ctx, uint32_t slot)
{
	struct churn *ch = ctx;

	atomic_store(&ch->b.rows.state[slot], ROW_FREE);
	atomic_store(&ch->b.rows.at[slot], NULL);
	ch->free[ch->n_free++] = slot;
}

static int replace(struct churn *ch, const uint32_t *vectors, uint32_t n, struct err *e)
{
	struct bench_graph *b = &ch->b;
	int rc;

	ch->n_arrived = 0;
	for (uint32_t i = 0; i < n; i++)
		move_vector(ch, vectors[i]);
	rc = bench_graph_link(b, ch->arrived, ch->n_arrived, e);
	if (rc < 0)
		return rc;
	hnsw_reparent(b->graph, 0, b->rows.n);
	rc = bench_graph_threads(b, b->o.threads, detach_thread, e);
	if (rc < 0)
		return rc;
	hnsw_forget(b->graph, free_row, ch);
	shuffle(ch, ch->free, ch->n_free);
	return 0;
}

/* Different vectors, so that a round replaces its whole share. */
static int replace_share(struct churn *ch, struct err *e)
{
	uint32_t n = (uint32_t)(ch->fraction * (double)ch->b.n), step;
	int rc = 0;

	shuffle(ch, ch->order, (uint32_t)ch->b.n);
	for (uint32_t i = 0; i < n && rc == 0; i += step) {
		step = n - i < ch->step ? n - i : ch->step;
		rc = replace(ch, ch->order + i, step, e);
		fprintf(stderr, "\rreplaced: %u of %u", i + step, n);
	}
	fputc('\n', stderr);
	return rc;
}

/* Recall, memory, and whether the graph is sound, which it has to be. */
static int look(struct churn *ch, unsigned round, double seconds, struct err *e)
{
	struct bench_graph *b = &ch->b;
	struct hnsw_report r;
	int rc = 0;

	for (size_t i = 0; i < b->o.n_ef && rc == 0; i++) {
		rc = bench_graph_ask(b, b->o.ef[i], e);
		ch->recall[round][i] = bench_graph_recall(b);
	}
	rc = rc < 0 ? rc : hnsw_check(b->graph, &r, e);
	if (rc < 0)
		return rc;
	printf("%u\t%.1f\t%.0f\t%u\t%u\t%u\t%u\t%u\n", round, seconds, bench_graph_bytes(b),
	       r.nodes, r.live, r.unreachable, r.broken_links, r.bad_levels);
	fflush(stdout);
	if (r.nodes != b->n || r.live != b->n || r.unreachable || r.broken_links || r.bad_levels)
		return err_set(e, -EILSEQ, "the graph of %zu vectors is not sound", b->n);
	return 0;
}

static void print_recall(const struct churn *ch)
{
	printf("ef");
	for (unsigned round = 0; round <= ch->rounds; round++)
		printf("\trecall_%u", round);
	for (size_t i = 0; i < ch->b.o.n_ef; i++) {
		printf("\n%u", ch->b.o.ef[i]);
		for (unsigned round = 0; round <= ch->rounds; round++)
			printf("\t%.4f", ch->recall[round][i]);
	}
	putchar('\n');
}

static int run(struct churn *ch, struct err *e)
{
	uint64_t begin;
	int rc = bench_graph_load(&ch->b, e);

	rc = rc < 0 ? rc : make(ch, e);
	if (rc == 0)
		printf("round\tseconds\tbytes_per_vector\tnodes\tlive\tunreachable\tbroken_links\t"
		       "bad_levels\n");
	for (unsigned round = 0; round <= ch->rounds && rc == 0; round++) {
		begin = clock_mono_ns();
		rc = round == 0 ? bench_graph_fill(&ch->b, e) : replace_share(ch, e);
		if (rc == 0)
			rc = look(ch, round, (double)(clock_mono_ns() - begin) / 1e9, e);
	}
	if (rc == 0)
		print_recall(ch);
	return rc;
}

static void release(struct churn *ch)
{
	bench_graph_release(&ch->b);
	mem_free(ch->order);
	mem_free(ch->free);
	mem_free(ch->arrived);
	mem_free(ch);
}

int bench_churn(int argc, char **argv)
{
	struct churn *ch = mem_zalloc(1, sizeof(*ch));
	const struct bench_graph_usage u = { usage_text, longs, set_option, ch };
	struct err e = { 0 };
	int rc;

	if (!ch)
		return 1;
	bench_graph_defaults(&ch->b.o);
	ch->fraction = 0.5;
	ch->rounds = 1;
	ch->rng = 1;
	rc = bench_graph_parse(argc, argv, &u, &ch->b.o);
	if (rc == 0) {
		rc = run(ch, &e) < 0 ? 2 : 1;
		if (rc == 2)
			fprintf(stderr, "ruvector-bench: %s\n", e.text);
	}
	release(ch);
	return rc - 1;
}
