/*
 * crash_power.c: what a power cut may leave behind is opened, and nothing may be missing.
 *
 * crash_power [-r RUNS] [-n OPERATIONS] [-c CRASHES] [-s SEED] [-l] [-v]
 *
 * A run records all that a writer's operations do to the disk (disk.h), closing and opening now
 * and then. Then it cuts the power at CRASHES entries of the log: for each a directory is made of
 * what was synced by then and of some of what was not, in five ways, and opened and compared, as
 * crash_kill does. Now and then a sync fails in between: what it should have made durable may be
 * lost for good although the kernel still shows it. The operation may fail, too, and the tenants
 * are opened anew; nothing that is acknowledged later may depend on those pages. -l: some collections have durability none. What they acknowledged since the
 * last durable commit may be gone, newest first and each operation as a whole.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "tests/crash/disk.h"
#include "tests/crash/world.h"

#define CHECK_SECONDS 60

/* The world at some moment: the operation begins at one entry and is acknowledged at another. */
struct step {
	struct world before;
	struct op op;
	size_t begun, acknowledged;
	bool done; /* it did not fail */
};

static struct step *steps;
static size_t n_steps;
static char dir[256];
static bool loose, verbose;
static unsigned long tried, with, without, failures;

struct opened {
	struct workers *workers;
	struct tenants *ts;
};

static int open_all(struct opened *o, const char *data, struct err *e)
{
	struct tenants_options options = { .data = data, .tier = "unlimited" };

	o->workers = workers_new(1);
	if (!o->workers)
		return err_nomem(e);
	options.workers = o->workers;
	return tenants_open(&options, &o->ts, e);
}

static void close_all(struct opened *o)
{
	tenants_close(o->ts);
	workers_free(o->workers);
}

/* ---- recording ---- */

static void must(int rc, const char *what, const struct err *e)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "crash_power: %s: %s (%d)\n", what, e->text, rc);
	exit(1);
}

static void open_again(struct opened *o, const char *data)
{
	const struct owner owner = { .mode = 0700 };
	struct err e = { 0 };
	uint32_t number;

	must(open_all(o, data, &e), "open", &e);
	if (tenants_find(o->ts, WORLD_SHARED, &number) < 0)
		must(tenants_create(o->ts, WORLD_SHARED, &owner, &number, &e), "create", &e);
}

/* It was answered with an error: what it left is looked at, so that the next one knows. */
static void after_failure(struct opened *o, const char *data, struct step *s)
{
	struct err e = { 0 };
	int found;

	close_all(o);
	open_again(o, data);
	found = world_check(o->ts, &s->before, &s->op, &e);
	must(found, "after a failed sync", &e);
	s->done = found == 1;
	failures++;
}

static void run_step(struct opened *o, const char *data, struct step *s, uint64_t *random)
{
	struct err e = { 0 };
	int rc;

	if (world_random(random) % 8 == 0)
		disk_fail(DISK_SYNC, 1 + world_random(random) % 4, EIO, false);
	s->begun = disk_mark();
	rc = op_run(o->ts, &s->before, &s->op, NULL, &e);
	s->done = rc == 0;
	if (rc == -EIO || rc == -EROFS)
		after_failure(o, data, s);
	else
		must(rc, op_name(s->op.kind), &e);
	s->acknowledged = disk_mark();
	disk_fail(0, 0, 0, false);
}

/* The first two steps make places, so that the rest has something to work on. */
static void record(const char *data, size_t n, uint64_t *random)
{
	struct world w = { .loose = loose };
	struct opened o;

	steps = calloc(n, sizeof(*steps));
	disk_record(data);
	open_again(&o, data);
	for (n_steps = 0; n_steps < n; n_steps++) {
		struct step *s = &steps[n_steps];

		if (world_random(random) % 25 == 0) {
			close_all(&o);
			open_again(&o, data);
		}
		if (n_steps >= 2 || !op_make_kind(&w, OP_CREATE, random, &s->op))
			op_make(&w, random, &s->op);
		s->before = w;
		run_step(&o, data, s, random);
		if (s->done)
			op_apply(&w, &s->op);
	}
	close_all(&o);
	disk_record_stop();
}

/* ---- comparing ---- */

/*
 * The newest step that could have happened before entry n, or -1; *ret_under_way: it was not
 * acknowledged.
 */
static long step_at(size_t n, bool *ret_under_way)
{
	long i = (long)n_steps - 1;

	while (i >= 0 && steps[i].begun > n)
		i--;
	*ret_under_way = i >= 0 && steps[i].acknowledged > n;
	return i;
}

/* A transaction with a sync in the store of this place. */
static bool is_durable(const struct step *s, unsigned place)
{
	bool same = (s->op.place == PLACE_SHARED) == (place == PLACE_SHARED);

	if (!same || !s->done || s->op.kind > OP_DROP)
		return false;
	return s->op.kind >= OP_CONFIG || !s->before.places[s->op.place].none;
}

/* From which step on a place must be there: behind the last that was durable. */
static long durable_from(long last, unsigned place)
{
	for (long i = last; i >= 0; i--)
		if (is_durable(&steps[i], place))
			return i + 1;
	return 0;
}

/* Each place may be a few operations older. */
static int compare_loose(struct tenants *ts, long last, bool under_way, struct err *e)
{
	if (under_way)
		world_take_back(ts, &steps[last].before, &steps[last].op);
	for (unsigned place = 0; place < WORLD_PLACES; place++) {
		long i = last, least = durable_from(under_way ? last - 1 : last, place);
		struct err first[2] = { 0 };
		struct world w;
		int rc = -1;

		for (; i >= least - 1 && rc < 0; i--) {
			w = i >= 0 ? steps[i].before : steps[0].before;
			if (i >= 0 && (steps[i].done || (under_way && i == last)))
				op_apply(&w, &steps[i].op);
			rc = world_check_place(ts, &w, place, &first[i == last]);
		}
		if (rc < 0) {
			*e = first[1];
			return err_prefix(e, "place %u, not older than %ld", place, least);
		}
	}
	return 0;
}

static int compare_strict(struct tenants *ts, long last, bool under_way, struct err *e)
{
	struct world w = steps[last < 0 ? 0 : last].before;

	if (last >= 0 && !under_way && steps[last].done)
		op_apply(&w, &steps[last].op);
	return world_check(ts, &w, under_way ? &steps[last].op : NULL, e);
}

/* Ends with 0, 1 (as world_check) or 100. */
static void compare(const char *data, size_t n)
{
	struct err e = { 0 };
	struct opened o;
	bool under_way;
	long last = step_at(n, &under_way);
	int rc;

	alarm(world_patience(CHECK_SECONDS));
	rc = open_all(&o, data, &e);
	if (rc == 0)
		rc = loose ? compare_loose(o.ts, last, under_way, &e)
		           : compare_strict(o.ts, last, under_way, &e);
	if (rc < 0) {
		fprintf(stderr, "crash_power: step %ld (%s): %s\n", last,
		        under_way ? op_name(steps[last].op.kind) : "between", e.text);
		_exit(100);
	}
	close_all(&o);
	_exit(rc);
}

static int crash_once(const char *data, size_t n, enum disk_crash how, uint64_t random)
{
	int status, rc;
	pid_t pid;

	if (mkdir(data, 0700) < 0)
		return -errno;
	rc = disk_crash(data, n, how, random);
	if (rc < 0)
		return rc;
	pid = fork();
	if (pid == 0)
		compare(data, n);
	waitpid(pid, &status, 0);
	tried++;
	if (!WIFEXITED(status) || WEXITSTATUS(status) > 1) {
		fprintf(stderr, "crash_power: entry %zu of %zu, %s (status %x), see %s\n", n,
		        disk_length(), disk_crash_name(how), status, data);
		return -EINVAL;
	}
	*(WEXITSTATUS(status) ? &with : &without) += 1;
	return io_remove_tree(data);
}

static int run(size_t operations, long crashes, uint64_t *random)
{
	char data[300];
	int rc = 0;

	snprintf(data, sizeof(data), "%s/recorded", dir);
	if (mkdir(data, 0700) < 0)
		return -errno;
	record(data, operations, random);
	if (verbose)
		printf("crash_power: %zu operations, %zu entries\n", n_steps, disk_length());
	snprintf(data, sizeof(data), "%s/crashed", dir);
	for (long i = 0; i < crashes && rc == 0; i++) {
		/* not before the first tenant is there */
		size_t first = steps[0].begun;
		size_t n = first + (size_t)world_random(random) % (disk_length() - first + 1);

		for (int how = 0; how < DISK_CRASHES && rc == 0; how++)
			rc = crash_once(data, n, (enum disk_crash)how, world_random(random));
	}
	if (rc < 0)
		return rc;
	disk_record_free();
	free(steps);
	snprintf(data, sizeof(data), "%s/recorded", dir);
	return io_remove_tree(data);
}

int main(int argc, char **argv)
{
	uint64_t seed = (uint64_t)time(NULL), random;
	const char *tmp = getenv("TMPDIR");
	long runs = 2, crashes = 20;
	size_t operations = 60;
	int opt;

	while ((opt = getopt(argc, argv, "r:n:c:s:lv")) > 0) {
		if (opt == 'r')
			runs = atol(optarg);
		else if (opt == 'n')
			operations = (size_t)atol(optarg);
		else if (opt == 'c')
			crashes = atol(optarg);
		else if (opt == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (opt == 'l')
			loose = true;
		else if (opt == 'v')
			verbose = true;
		else
			return 2;
	}
	snprintf(dir, sizeof(dir), "%s/rv-power-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return 2;
	random = seed;
	for (long i = 0; i < runs; i++) {
		int rc = run(operations, crashes, &random);

		if (rc < 0) {
			fprintf(stderr, "crash_power: run %ld of seed %llu: %s\n", i,
			        (unsigned long long)seed, strerror(-rc));
			return 1;
		}
		if (runs > 1)
			loose = !loose;
	}
	io_remove_tree(dir);
	printf("crash_power: %lu power cuts, nothing lost or half; of operations under way %lu were "
	       "there, %lu had failed on a sync\n",
	       tried, with, failures);
	return 0;
}
