/*
 * crash_kill.c: writers are killed with SIGKILL, again and again, and nothing may be missing.
 *
 * crash_kill [-r ROUNDS] [-s SEED] [-p POINT] [-v]
 *
 * Each round a child process opens the data directory and lets three writers change it, each in
 * places of its own that share stores, group commits, the registry and the background work. It
 * ends at a named step of the code (base/fault.h), each in turn, or at a random moment. Then
 * another child opens the directory and compares it with what was acknowledged: each writer may
 * have one operation more, all of it or nothing of it. Where that was a batch, it is sent again
 * with the same token, which must say the same.
 *
 * What was acknowledged lies in memory that all processes share, so it is as exact as the kill.
 * After some rounds a fresh directory is taken. The seed gives the operations and the steps;
 * threads and clocks are not repeatable to the instruction.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "tests/crash/world.h"

#define WRITERS       3
#define FRESH_AFTER   20 /* rounds, about */
#define PATIENCE_MS   250
#define RANDOM_MS_MAX 60
#define CHECK_SECONDS 60

struct writer {
	struct world world;
	struct op op; /* under way when running */
	volatile bool running;
	uint64_t random;
	atomic_ulong done;
	atomic_ulong kinds[OP_KINDS];
};

struct shared {
	struct writer writers[WRITERS];
	struct fault_table faults;
	atomic_bool opened;
	atomic_bool ending; /* writers stop, the tenants are closed and opened again */
	char failure[1024];
	unsigned long with, without; /* what became of operations under way */
};

static struct shared *sh;
static char dir[256];
static bool verbose;

/* ---- the child that writes ---- */

struct opened {
	struct workers *workers;
	struct tenants *ts;
};

static int open_all(struct opened *o, struct err *e)
{
	struct tenants_options options = { .data = dir, .tier = "unlimited" };

	o->workers = workers_new(2);
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

static void die(const char *what, int rc, const struct err *e)
{
	snprintf(sh->failure, sizeof(sh->failure), "%s: %s (%d)", what, e->text, rc);
	_exit(1);
}

static int make_shared_tenant(struct tenants *ts, struct err *e)
{
	const struct owner owner = { .mode = 0700 };
	uint32_t number;
	int rc = tenants_find(ts, WORLD_SHARED, &number);

	return rc == 0 ? 0 : tenants_create(ts, WORLD_SHARED, &owner, &number, e);
}

struct thread {
	struct tenants *ts;
	struct writer *wr;
};

static void *write_on(void *arg)
{
	struct thread *t = arg;
	struct writer *wr = t->wr;
	struct err e = { 0 };
	int rc;

	while (!atomic_load(&sh->ending)) {
		op_make(&wr->world, &wr->random, &wr->op);
		atomic_signal_fence(memory_order_seq_cst);
		wr->running = true;
		atomic_signal_fence(memory_order_seq_cst);
		rc = op_run(t->ts, &wr->world, &wr->op, NULL, &e);
		if (rc < 0)
			die(op_name(wr->op.kind), rc, &e);
		op_apply(&wr->world, &wr->op);
		atomic_signal_fence(memory_order_seq_cst);
		wr->running = false;
		atomic_fetch_add(&wr->done, 1);
		atomic_fetch_add(&wr->kinds[wr->op.kind], 1);
	}
	return NULL;
}

/* Opens, writes for some time, closes, and again, until it is killed. */
static void child(uint64_t random)
{
	struct thread threads[WRITERS];
	pthread_t ids[WRITERS];
	struct err e = { 0 };
	struct opened o;

	for (;;) {
		struct timespec wait = { .tv_nsec = 1000000 * (long)(5 + random % 120) };

		if (open_all(&o, &e) < 0 || make_shared_tenant(o.ts, &e) < 0)
			die("open", e.code, &e);
		atomic_store(&sh->opened, true);
		atomic_store(&sh->ending, false);
		for (int i = 0; i < WRITERS; i++) {
			threads[i] = (struct thread){ o.ts, &sh->writers[i] };
			pthread_create(&ids[i], NULL, write_on, &threads[i]);
		}
		nanosleep(&wait, NULL);
		atomic_store(&sh->ending, true);
		for (int i = 0; i < WRITERS; i++)
			pthread_join(ids[i], NULL);
		close_all(&o);
		world_random(&random);
	}
}

/* ---- the child that compares ---- */

static void settle(struct opened *o, struct writer *wr, uint64_t random)
{
	struct op *op = wr->running ? &wr->op : NULL;
	struct err e = { 0 };
	int found = world_check(o->ts, &wr->world, op, &e);
	bool done = false;

	if (found < 0)
		die("check", e.code, &e);
	if (!op)
		return;
	if (op->kind == OP_PUT && random % 2) {
		if (op_run(o->ts, &wr->world, op, &done, &e) < 0)
			die("again", e.code, &e);
		if (done != (found == 1)) {
			err_set(&e, -EINVAL, "the token says %d, it was %d", done, found);
			die("again", e.code, &e);
		}
		op_apply(&wr->world, op);
		wr->running = false;
		if (world_check(o->ts, &wr->world, NULL, &e) < 0)
			die("check again", e.code, &e);
		return;
	}
	if (found == 1)
		op_apply(&wr->world, op);
	*(found ? &sh->with : &sh->without) += 1;
	wr->running = false;
}

static void compare(uint64_t random)
{
	struct err e = { 0 };
	struct opened o;

	alarm(world_patience(CHECK_SECONDS));
	if (open_all(&o, &e) < 0)
		die("open", e.code, &e);
	for (int i = 0; i < WRITERS; i++)
		settle(&o, &sh->writers[i], world_random(&random));
	close_all(&o);
	_exit(0);
}

/* ---- the parent ---- */

static pid_t spawn(void (*run)(uint64_t random), uint64_t random, const char *point, unsigned count)
{
	pid_t pid = fork();

	if (pid == 0) {
		fault_arm(point, count);
		run(random);
	}
	if (pid < 0) {
		perror("fork");
		exit(2);
	}
	return pid;
}

static void await(pid_t pid, long ms, bool from_open)
{
	uint64_t until = clock_mono_ns() + 1000000ull * (uint64_t)ms;
	const struct timespec tick = { .tv_nsec = 500000 };
	siginfo_t info;

	for (;;) {
		info.si_pid = 0;
		if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid)
			return;
		if (from_open && !atomic_load(&sh->opened))
			until = clock_mono_ns() + 1000000ull * (uint64_t)ms;
		if (clock_mono_ns() >= until)
			return;
		nanosleep(&tick, NULL);
	}
}

/* Of those that were reached, the one that was tried least. *ret_count: how often it may come. */
static const char *next_point(uint64_t *random, long rounds, unsigned *ret_count)
{
	static unsigned tried[FAULT_POINTS_MAX];
	uint64_t from = world_random(random);
	int best = -1;

	for (int i = 0; i < FAULT_POINTS_MAX; i++) {
		int at = (int)((from + (uint64_t)i) % FAULT_POINTS_MAX);

		if (sh->faults.places[at].name && (best < 0 || tried[at] < tried[best]))
			best = at;
	}
	if (best < 0)
		return NULL;
	tried[best]++;
	*ret_count = 1 + (unsigned)(world_random(random) %
	                            (1 + sh->faults.places[best].reached / (unsigned)(rounds + 1)));
	return sh->faults.places[best].name;
}

/* Now and then the one that compares dies on its way, too, and another one goes on. */
static int compare_in_child(uint64_t *random, const char *point, unsigned count)
{
	bool armed = world_random(random) % 3 == 0;
	int status;
	pid_t pid = spawn(compare, world_random(random), armed ? point : NULL, count);

	waitpid(pid, &status, 0);
	if (armed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		pid = spawn(compare, world_random(random), NULL, 0);
		waitpid(pid, &status, 0);
	}
	if (WIFSIGNALED(status))
		snprintf(sh->failure, sizeof(sh->failure), "signal %d", WTERMSIG(status));
	return status == 0 ? 0 : -1;
}

static int run_round(uint64_t *random, long rounds, const char *only)
{
	unsigned count = 1;
	const char *point = only                       ? only
	                    : world_random(random) % 4 ? next_point(random, rounds, &count)
	                                               : NULL;
	long ms = point ? PATIENCE_MS : (long)(world_random(random) % RANDOM_MS_MAX);
	int status;
	pid_t pid;

	atomic_store(&sh->opened, false);
	pid = spawn(child, world_random(random), point, count);
	await(pid, ms, point || world_random(random) % 4);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
		fprintf(stderr, "the writers ended: %s (status %x)\n", sh->failure, status);
		return -1;
	}
	if (compare_in_child(random, point, 1) == 0)
		return 0;
	fprintf(stderr, "after a kill at %s (%u): %s\n", point ? point : "random", count,
	        sh->failure);
	return -1;
}

static void fresh_directory(uint64_t *random)
{
	const char *tmp = getenv("TMPDIR");

	if (dir[0])
		io_remove_tree(dir);
	snprintf(dir, sizeof(dir), "%s/rv-crash-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir)) {
		perror(dir);
		exit(2);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		sh->writers[i].world = (struct world){ .writer = i, .loose = true };
		sh->writers[i].running = false;
		sh->writers[i].random = world_random(random);
	}
}

static void report(long rounds)
{
	unsigned long done = 0, kinds[OP_KINDS] = { 0 };
	unsigned points = 0, ended = 0, never = 0;

	for (int i = 0; i < WRITERS; i++) {
		done += sh->writers[i].done;
		for (int k = 0; k < OP_KINDS; k++)
			kinds[k] += sh->writers[i].kinds[k];
	}
	for (int i = 0; i < FAULT_POINTS_MAX && sh->faults.places[i].name; i++) {
		struct fault_place *p = &sh->faults.places[i];

		points++;
		ended += p->ended;
		never += !p->ended;
		if (verbose)
			printf("  %-24s reached %8u, ended %5u\n", p->name, p->reached, p->ended);
	}
	for (int k = 0; verbose && k < OP_KINDS; k++)
		printf("  %-24s %8lu\n", op_name((enum op_kind)k), kinds[k]);
	printf("crash_kill: %ld rounds, %lu acknowledged operations, nothing lost or half; %u kills at "
	       "%u named steps (%u not yet); of those under way %lu were there, %lu were not\n",
	       rounds, done, ended, points, never, sh->with, sh->without);
}

int main(int argc, char **argv)
{
	uint64_t seed = (uint64_t)time(NULL), random;
	const char *only = NULL;
	long rounds = 50;
	int opt;

	while ((opt = getopt(argc, argv, "r:s:p:v")) > 0) {
		if (opt == 'r')
			rounds = atol(optarg);
		else if (opt == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (opt == 'p')
			only = optarg;
		else if (opt == 'v')
			verbose = true;
		else
			return 2;
	}
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		return 2;
	fault_keep(&sh->faults);
	printf("crash_kill: %ld rounds, seed %llu\n", rounds, (unsigned long long)seed);
	fflush(stdout);
	random = seed;
	for (long i = 0; i < rounds; i++) {
		if (i == 0 || world_random(&random) % FRESH_AFTER == 0)
			fresh_directory(&random);
		if (run_round(&random, i, only) < 0) {
			fprintf(stderr, "crash_kill: round %ld, seed %llu, see %s\n", i,
			        (unsigned long long)seed, dir);
			return 1;
		}
	}
	io_remove_tree(dir);
	report(rounds);
	return 0;
}
