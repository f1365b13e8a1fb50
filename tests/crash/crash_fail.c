/*
 * crash_fail.c: each call to the disk and for memory fails once in turn.
 *
 * crash_fail [-q STRIDE] [-s SEED] [-v]
 *
 * For each kind of call (disk.h; SQLite's calls and its memory are among them) and each kind of
 * operation, the first call that the operation leads to fails, then, with the next operation, the
 * second, until an operation had no more calls to fail. An operation either succeeds as if nothing
 * had been, or fails with a sentence and has done nothing; what follows works, at once or, behind a
 * failed sync, when the tenants were opened again. Opening is an operation, too, and so is salvaging. STRIDE: of the calls for
 * memory about every STRIDEth is taken.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "store/salvage.h"
#include "tests/crash/disk.h"
#include "tests/crash/world_impl.h"

struct class
{
	const char *name;
	unsigned kinds;
	int error;
};

static const struct class classes[] = {
	{ "open", DISK_OPEN, EMFILE },      { "read", DISK_READ, EIO },
	{ "write", DISK_WRITE, EIO },       { "full disk", DISK_WRITE, ENOSPC },
	{ "truncate", DISK_TRUNCATE, EIO }, { "sync", DISK_SYNC, EIO },
	{ "names", DISK_NAMES, EIO },       { "mapping", DISK_MAP, ENOMEM },
	{ "memory", DISK_MEMORY, ENOMEM },
};

#define N_CLASSES (sizeof(classes) / sizeof(*classes))

static char dir[256];
static struct workers *workers;
static struct tenants *ts;
static struct world w;
static uint64_t random_state;
static unsigned long tried, refused, unnoticed, reopened, despite;
static unsigned stride = 1;

/* ---- memory ---- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
int __real_posix_memalign(void **ret, size_t alignment, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
int __wrap_posix_memalign(void **ret, size_t alignment, size_t n);

void *__wrap_malloc(size_t n)
{
	return disk_fails(DISK_MEMORY) ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return disk_fails(DISK_MEMORY) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return disk_fails(DISK_MEMORY) ? NULL : __real_realloc(p, n);
}

int __wrap_posix_memalign(void **ret, size_t alignment, size_t n)
{
	return disk_fails(DISK_MEMORY) ? ENOMEM : __real_posix_memalign(ret, alignment, n);
}

static sqlite3_mem_methods plain;

static void *sqlite_malloc(int n)
{
	return disk_fails(DISK_MEMORY) ? NULL : plain.xMalloc(n);
}

static void *sqlite_realloc(void *p, int n)
{
	return disk_fails(DISK_MEMORY) ? NULL : plain.xRealloc(p, n);
}

static void take_sqlite(void)
{
	sqlite3_mem_methods mine;

	sqlite3_config(SQLITE_CONFIG_GETMALLOC, &plain);
	mine = plain;
	mine.xMalloc = sqlite_malloc;
	mine.xRealloc = sqlite_realloc;
	sqlite3_config(SQLITE_CONFIG_MALLOC, &mine);
}

/* ---- the tenants ---- */

static void give_up(const char *what, const struct class *c, unsigned long n, const struct err *e)
{
	disk_fail(0, 0, 0, false);
	fprintf(stderr, "crash_fail: %s, %s %lu: %s, see %s\n", what, c ? c->name : "-", n, e->text,
	        dir);
	exit(1);
}

static int open_all(struct err *e)
{
	struct tenants_options o = { .data = dir, .tier = "unlimited", .workers = workers };

	return tenants_open(&o, &ts, e);
}

static void close_all(void)
{
	tenants_close(ts);
	ts = NULL;
}

static void reopen(const struct class *c, unsigned long n)
{
	struct err e = { 0 };

	close_all();
	if (open_all(&e) < 0)
		give_up("open", c, n, &e);
	reopened++;
}

static void compare(const struct class *c, unsigned long n, const char *what)
{
	struct err e = { 0 };

	if (world_check(ts, &w, NULL, &e) < 0)
		give_up(what, c, n, &e);
}

/* What an operation that failed has left. Behind a failed sync the next change is refused. */
static void after_error(const struct class *c, unsigned long n, const struct op *op,
                        const struct err *said)
{
	struct err e = { 0 };
	struct op next;
	int found, rc;

	refused++;
	if (!said->text[0])
		give_up("an error without a sentence", c, n, said);
	found = world_check(ts, &w, op, &e);
	if (found < 0) /* it may read only what memory has: the truth is on the disk */
		give_up(op_name(op->kind), c, n, &e);
	if (found == 1) {
		despite++;
		op_apply(&w, op);
	}
	if (!op_make_kind(&w, OP_PUT, &random_state, &next))
		return;
	rc = op_run(ts, &w, &next, NULL, &e);
	if (rc == -EROFS) {
		reopen(c, n);
		compare(c, n, "after a reopen");
		rc = op_run(ts, &w, &next, NULL, &e);
	}
	if (rc < 0)
		give_up("the next one", c, n, &e);
	op_apply(&w, &next);
}

/* false: no call failed, so there are fewer than n. */
static bool fail_one(const struct class *c, enum op_kind kind, unsigned long n)
{
	struct err e = { 0 };
	unsigned long failed;
	struct op op;
	int rc;

	if (!op_make_kind(&w, kind, &random_state, &op))
		return false;
	disk_fail(c->kinds, n, c->error, false);
	rc = op_run(ts, &w, &op, NULL, &e);
	failed = disk_failed();
	disk_fail(0, 0, 0, false);
	tried += failed > 0;
	if (rc < 0) {
		if (!failed && rc != -EROFS) /* the background's sync may have failed before */
			give_up(op_name(kind), c, n, &e);
		after_error(c, n, &op, &e);
		return true;
	}
	unnoticed += failed > 0;
	op_apply(&w, &op);
	compare(c, n, op_name(kind));
	return failed > 0;
}

static bool fail_open(const struct class *c, unsigned long n)
{
	struct err e = { 0 };
	unsigned long failed;
	int rc;

	close_all();
	disk_fail(c->kinds, n, c->error, false);
	rc = open_all(&e);
	failed = disk_failed();
	disk_fail(0, 0, 0, false);
	tried += failed > 0;
	if (rc < 0 && !e.text[0])
		give_up("an error without a sentence", c, n, &e);
	refused += rc < 0;
	if (rc < 0 && open_all(&e) < 0)
		give_up("open", c, n, &e);
	compare(c, n, "open");
	return failed > 0;
}

static void not_told(void *ctx, const char *collection, const char *sentence)
{
}

/* A store that is whole is salvaged: all of it or an error, and the old one stays as it was. */
static bool fail_salvage(const struct class *c, unsigned long n)
{
	const struct salvage_watch watch = { .told = not_told };
	char from[sizeof(dir) + 32], to[sizeof(dir) + 32];
	struct salvage_result result;
	struct err e = { 0 };
	unsigned long failed;
	uint32_t number;
	int rc;

	if (world_tenant(ts, &w, 0, &number) < 0)
		return false;
	close_all();
	snprintf(from, sizeof(from), "%s/stores/%u", dir, number);
	snprintf(to, sizeof(to), "%s/salvaged", dir);
	disk_fail(c->kinds, n, c->error, false);
	rc = store_salvage(from, to, number, &watch, &result, &e);
	failed = disk_failed();
	disk_fail(0, 0, 0, false);
	tried += failed > 0;
	refused += rc < 0;
	unnoticed += rc == 0 && failed;
	if (rc < 0 ? !failed || !e.text[0] : c->kinds != DISK_READ && result.lost)
		give_up("salvage", c, n, &e);
	io_remove_tree(to);
	if (open_all(&e) < 0)
		give_up("open", c, n, &e);
	compare(c, n, "salvage");
	return failed > 0;
}

static unsigned long next_n(const struct class *c, unsigned long n)
{
	return n + 1 +
	       (stride > 1 && c->kinds == DISK_MEMORY
	                ? world_random(&random_state) % (2 * stride - 1)
	                : 0);
}

/* There is something to work on again. The last of the removals may have left a tenant readonly. */
static void make_again(const struct class *c)
{
	struct err e = { 0 };
	struct op op;

	while (op_make_kind(&w, OP_CREATE, &random_state, &op)) {
		int rc = op_run(ts, &w, &op, NULL, &e);

		if (rc == -EROFS) {
			reopen(c, 0);
			rc = op_run(ts, &w, &op, NULL, &e);
		}
		if (rc < 0)
			give_up("create", c, 0, &e);
		op_apply(&w, &op);
	}
}

static void make_places(void)
{
	const struct owner owner = { .mode = 0700 };
	struct err e = { 0 };
	uint32_t number;
	struct op op;

	if (tenants_create(ts, WORLD_SHARED, &owner, &number, &e) < 0)
		give_up("create", NULL, 0, &e);
	for (int i = 0; i < 16; i++) {
		if (!op_make_kind(&w, i < 3 ? OP_CREATE : OP_PUT, &random_state, &op))
			continue;
		if (op_run(ts, &w, &op, NULL, &e) < 0)
			give_up(op_name(op.kind), NULL, 0, &e);
		op_apply(&w, &op);
	}
}

static void run_class(const struct class *c, bool verbose)
{
	unsigned long before = tried;

	for (int kind = 0; kind < OP_KINDS; kind++) {
		unsigned long n = next_n(c, 0);

		while (fail_one(c, (enum op_kind)kind, n))
			n = next_n(c, n);
		if (kind == OP_DROP)
			make_again(c);
	}
	for (unsigned long n = 1; fail_open(c, n);)
		n = next_n(c, n);
	make_again(c);
	for (unsigned long n = 1; fail_salvage(c, n);)
		n = next_n(c, n);
	reopen(c, 0);
	compare(c, 0, "at the end");
	if (verbose)
		printf("  %-10s %6lu\n", c->name, tried - before);
}

int main(int argc, char **argv)
{
	uint64_t seed = (uint64_t)time(NULL);
	const char *tmp = getenv("TMPDIR");
	struct err e = { 0 };
	bool verbose = false;
	int opt;

	while ((opt = getopt(argc, argv, "q:s:v")) > 0) {
		if (opt == 'q')
			stride = (unsigned)atoi(optarg);
		else if (opt == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (opt == 'v')
			verbose = true;
		else
			return 2;
	}
	random_state = seed;
	take_sqlite();
	snprintf(dir, sizeof(dir), "%s/rv-fail-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return 2;
	workers = workers_new(1);
	if (!workers || open_all(&e) < 0)
		give_up("open", NULL, 0, &e);
	make_places();
	for (size_t i = 0; i < N_CLASSES; i++)
		run_class(&classes[i], verbose);
	close_all();
	workers_free(workers);
	io_remove_tree(dir);
	printf("crash_fail: %lu calls failed: %lu operations were refused, %lu succeeded all the same; "
	       "%lu had an error and were done; nothing half, opened again %lu times\n",
	       tried, refused, unnoticed, despite, reopened);
	return 0;
}
