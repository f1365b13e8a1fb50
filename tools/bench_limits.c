/*
 * bench_limits.c: `ruvector-bench limits`: what the checks of quota and rates cost a request.
 *
 * The same queries and vectors go through a tenant without limits and through one that has all of
 * them, too high to be met, in a data directory of its own; the difference is the checks. The
 * collection that is asked is empty, so that little else is measured. One thread, no mount.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/io.h"
#include "tenant/tenant.h"
#include "tools/bench.h"

#define DIM   4
#define BATCH 1000

static const char limits[] =
	"max_vectors 1000000000\nmax_bytes 1000000000000\nmax_results 1000\nmax_batch 1000000000\n"
	"max_qps 1000000000\nmax_write_rate 1000000000\nmax_concurrent 1000\n";

struct limits_bench {
	struct tenants *ts;
	uint32_t tenants[2]; /* without and with limits */
	unsigned long n;
};

static int ask(struct limits_bench *b, uint32_t tenant, uint64_t *ret_ns, struct err *e)
{
	struct buf text BUF_AUTO = BUF_INIT;
	struct query q = { .v = (const float[DIM]){ 1, 2, 3, 4 }, .dim = DIM };
	struct answer a;
	struct inside in;
	uint64_t start;
	int rc = tenant_enter(b->ts, tenant, TENANT_READ, &in, e);

	if (rc < 0)
		return rc;
	answer_init(&a, &text);
	start = clock_mono_ns();
	for (unsigned long i = 0; i < b->n && rc >= 0; i++)
		rc = tenant_search(&in, &q, 0, &a, e);
	*ret_ns = clock_mono_ns() - start;
	tenant_leave(&in);
	return rc;
}

static int add_batch(struct tenant_batch *batch, unsigned long n, struct err *e)
{
	char id[24];
	float v[DIM] = { 1, 2, 3, 4 };
	struct record r = { .id = id, .v = v, .dim = DIM };
	int rc = 0;

	for (unsigned long i = 0; i < n && rc == 0; i++) {
		r.id_len = (size_t)snprintf(id, sizeof(id), "%lu", i);
		rc = tenant_batch_add(batch, &r, e);
	}
	return rc;
}

/* Batches that are aborted, and so small that no graph is built beside. */
static int add(struct limits_bench *b, uint32_t tenant, uint64_t *ret_ns, struct err *e)
{
	uint64_t ns = 0;
	int rc = 0;

	for (unsigned long done = 0; done < b->n && rc == 0; done += BATCH) {
		unsigned long left = b->n - done;
		struct tenant_batch *batch;
		uint64_t start;

		rc = tenant_batch_begin(b->ts, tenant, &batch, e);
		if (rc < 0)
			return rc;
		start = clock_mono_ns();
		rc = add_batch(batch, left < BATCH ? left : BATCH, e);
		ns += clock_mono_ns() - start;
		tenant_batch_abort(batch);
	}
	*ret_ns = ns;
	return rc;
}

static int measure(struct limits_bench *b, const char *what, unsigned rounds,
                   int (*run)(struct limits_bench *, uint32_t, uint64_t *, struct err *),
                   struct err *e)
{
	uint64_t best[2] = { UINT64_MAX, UINT64_MAX };
	uint64_t ns;

	for (unsigned i = 0; i < 2 * rounds; i++) {
		int rc = run(b, b->tenants[i % 2], &ns, e);

		if (rc < 0)
			return rc;
		if (ns < best[i % 2])
			best[i % 2] = ns;
	}
	printf("%s\t%.0f\t%.0f\t%.0f\n", what, (double)best[0] / (double)b->n,
	       (double)best[1] / (double)b->n, ((double)best[1] - (double)best[0]) / (double)b->n);
	return 0;
}

static int run(struct limits_bench *b, const char *data, unsigned rounds, struct err *e)
{
	struct tenants_options o = { .data = data };
	const struct owner me = { 0, 0, 0700 };
	int rc = tenants_open(&o, &b->ts, e);

	if (rc < 0)
		return rc;
	rc = tenants_create(b->ts, "without", &me, &b->tenants[0], e);
	if (rc == 0)
		rc = tenants_create(b->ts, "with", &me, &b->tenants[1], e);
	if (rc == 0)
		rc = tenants_set_quota(b->ts, b->tenants[1], limits, strlen(limits), e);
	if (rc == 0) {
		printf("what\twithout_limits_ns\twith_limits_ns\tchecks_ns\n");
		rc = measure(b, "query", rounds, ask, e);
	}
	if (rc == 0)
		rc = measure(b, "vector", rounds, add, e);
	tenants_close(b->ts);
	return rc;
}

static const char usage[] =
	"usage: ruvector-bench limits [--n N] [--rounds N]\n"
	"What the checks of a tenant's limits cost a query and a vector, of N each (20000).\n"
	"  --rounds N   the fastest of so many is printed (5)\n";

int bench_limits(int argc, char **argv)
{
	static const struct option options[] = {
		{ "n", 1, NULL, 'n' },
		{ "rounds", 1, NULL, 'r' },
		{ "help", 0, NULL, 'h' },
		{ 0 },
	};
	const char *tmp = getenv("TMPDIR");
	struct limits_bench b = { .n = 20000 };
	unsigned long rounds = 5;
	struct err e = { 0 };
	char data[4096];
	int c, rc;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'n')
			b.n = strtoul(optarg, NULL, 10);
		else if (c == 'r')
			rounds = strtoul(optarg, NULL, 10);
		else
			break;
	}
	if (c != -1 || optind < argc || b.n < 1 || b.n > 1000000 || rounds < 1 || rounds > 1000) {
		fputs(usage, c == 'h' ? stdout : stderr);
		return c == 'h' ? 0 : 2;
	}
	snprintf(data, sizeof(data), "%s/ruvector-bench-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(data)) {
		perror("ruvector-bench: no directory for data");
		return 1;
	}
	rc = run(&b, data, (unsigned)rounds, &e);
	io_remove_tree(data);
	if (rc < 0)
		fprintf(stderr, "ruvector-bench: %s\n", e.text);
	return rc < 0;
}
