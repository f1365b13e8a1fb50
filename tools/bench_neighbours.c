/*
 * bench_neighbours.c: `ruvector-bench neighbours`: what one tenant notices of another one that
 * floods the mount.
 *
 * A quiet client asks a tenant of its own at a steady pace through a descriptor that it holds, and
 * its latencies are taken in turns: while nothing else happens, and while a neighbour makes one
 * kind of noise, in processes of their own. Given are medians over the rounds, also of the rounds'
 * ratios, because a machine's quiet changes from one minute to the next.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/thread.h"
#include "tools/bench.h"

#define QUIET        "neighbours-quiet"
#define NOISY        "neighbours-noisy"
#define PACE_NS      2000000u /* between two questions of the quiet client */
#define QUIET_STORED 2000
#define SETTLE_NS    300000000u  /* noise before it is measured */
#define CALM_NS      1200000000u /* so long the daemon treats neighbours of noise otherwise */
#define ROUNDS_MAX   100
#define CLIENTS_MAX  256
#define ANSWER_MAX   65536
#define COPY_BYTES   131072 /* as cp reads and writes */
#define DELETE_LINES 100    /* IDs of one batch of removals */
#define WAIT_NS      (600 * 1000000000ull)

struct scene {
	const char *root, *noises;
	size_t dim, stored, batch, rounds, seconds, clients;
	unsigned seed;
	int batch_fd;       /* a file of so many vectors */
	const char *client; /* what the quiet one is to the scheduler */
};

struct sample {
	uint64_t p50_ns, p99_ns;
};

static const char usage_text[] =
	"usage: ruvector-bench neighbours --root MNT [--noise LIST] [--rounds N] [--seconds S]\n"
	"       [--clients N] [--dim N] [--stored N] [--batch N] [--client KIND]\n"
	"MNT is a mount, in which two tenants are made and removed again. --noise: of queries, batch,\n"
	"listing, deletes, computing, separated by commas (all). --rounds 5 of --seconds 2 each way,\n"
	"--clients 8 processes that make noise, --dim 128, --stored 50000 vectors of the neighbour,\n"
	"--batch 1000000 vectors that are inserted at once, in one round. --client: what the quiet one\n"
	"asks of the scheduler: nothing (ordinary), short slices (short), to go before all others, as\n"
	"the daemon does, so that its own waiting for a processor is left out (first).\n";

/* ---- files of a tenant ---- */

static void path_of(const struct scene *s, const char *tenant, const char *file, char ret[4096])
{
	snprintf(ret, 4096, "%s/tenants/%s/%s", s->root, tenant, file);
}

static int open_in(const struct scene *s, const char *tenant, const char *file, int flags)
{
	char path[4096];

	path_of(s, tenant, file, path);
	return open(path, flags | O_CLOEXEC, 0666);
}

static int write_in(const struct scene *s, const char *tenant, const char *file, const char *text)
{
	int fd = open_in(s, tenant, file, O_WRONLY);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done ? 0 : -EIO;
}

static long stat_in(const struct scene *s, const char *tenant, const char *key)
{
	char path[4096], line[256], name[64];
	long v = -1, n;
	FILE *f;

	path_of(s, tenant, "stats", path);
	f = fopen(path, "re");
	while (f && v < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %ld", name, &n) == 2 && strcmp(name, key) == 0)
			v = n;
	if (f)
		fclose(f);
	return v;
}

static void sleep_ns(uint64_t ns)
{
	nanosleep(&(struct timespec){ (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) }, NULL);
}

static void wait_for_index(const struct scene *s, const char *tenant)
{
	uint64_t until = clock_mono_ns() + WAIT_NS;

	while (stat_in(s, tenant, "index_backlog") > 0 && clock_mono_ns() < until)
		sleep_ns(20000000);
}

static float component(unsigned *seed)
{
	return (float)(rand_r(seed) % 2001 - 1000) * 0.001f;
}

/* n vectors as .fvecs has them. */
static int make_vectors(const struct scene *s, size_t n, int fd)
{
	unsigned seed = s->seed;
	struct buf part BUF_AUTO = BUF_INIT;
	int32_t dim = (int32_t)s->dim;
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++) {
		buf_add(&part, &dim, sizeof(dim));
		for (size_t j = 0; j < s->dim; j++) {
			float x = component(&seed);

			buf_add(&part, &x, sizeof(x));
		}
		if (part.len < 1 << 20 && i + 1 < n)
			continue;
		if (buf_failed(&part) || write(fd, part.data, part.len) != (ssize_t)part.len)
			rc = -EIO;
		buf_clear(&part);
	}
	return rc;
}

/* As one file in ingest/, which is one batch. */
static int insert(const struct scene *s, const char *tenant, const char *file, size_t n)
{
	int fd = open_in(s, tenant, file, O_WRONLY | O_CREAT | O_TRUNC), rc;

	if (fd < 0)
		return -errno;
	rc = make_vectors(s, n, fd);
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

static int make_tenant(const struct scene *s, const char *tenant)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/tenants/%s", s->root, tenant);
	return mkdir(path, 0700) < 0 ? -errno : 0;
}

static void remove_tenant(const struct scene *s, const char *tenant)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/tenants/%s", s->root, tenant);
	write_in(s, tenant, "status", "pending-deletion\n");
	rmdir(path);
}

/* ---- asking ---- */

struct asker {
	int fd;
	unsigned seed;
	struct buf line;
};

static int ask(const struct scene *s, struct asker *a)
{
	char answer[ANSWER_MAX], number[NUM_FLOAT_MAX];

	buf_clear(&a->line);
	buf_adds(&a->line, "k=10");
	for (size_t i = 0; i < s->dim; i++) {
		buf_addc(&a->line, ' ');
		buf_add(&a->line, number, num_format_float(number, component(&a->seed)));
	}
	buf_addc(&a->line, '\n');
	if (buf_failed(&a->line))
		return -ENOMEM;
	if (pwrite(a->fd, a->line.data, a->line.len, 0) != (ssize_t)a->line.len)
		return -EIO;
	return pread(a->fd, answer, sizeof(answer), (off_t)a->line.len) > 0 ? 0 : -EIO;
}

/* ---- noise: each in a process of its own, until it is ended ---- */

static void noise_queries(const struct scene *s, size_t i)
{
	struct asker a = { open_in(s, NOISY, "query", O_RDWR), (unsigned)i + 7, BUF_INIT };

	while (a.fd >= 0 && ask(s, &a) == 0)
		;
}

/* cp */
static void noise_batch(const struct scene *s, size_t i)
{
	int fd = open_in(s, NOISY, "ingest/batch.fvecs", O_WRONLY | O_CREAT | O_TRUNC);
	char *part = mem_alloc(1, COPY_BYTES);
	ssize_t n = 0;

	for (off_t at = 0; fd >= 0 && part; at += n) {
		n = pread(s->batch_fd, part, COPY_BYTES, at);
		if (n <= 0 || write(fd, part, (size_t)n) != n)
			break;
	}
	mem_free(part);
	close(fd);
}

/* ls -l: names, and each one's size. */
static void noise_listing(const struct scene *s, size_t i)
{
	char path[4096];
	struct dirent *entry;
	struct stat st;
	DIR *d;

	path_of(s, NOISY, "vectors", path);
	while ((d = opendir(path))) {
		while ((entry = readdir(d)))
			fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW);
		closedir(d);
	}
}

/* All that is stored, a share each client, then the same once more, which removes nothing. */
static void noise_deletes(const struct scene *s, size_t i)
{
	struct buf lines BUF_AUTO = BUF_INIT;
	int fd = open_in(s, NOISY, "delete", O_WRONLY);

	for (size_t at = i * DELETE_LINES; fd >= 0; at += s->clients * DELETE_LINES) {
		if (at >= s->stored)
			at = i * DELETE_LINES;
		buf_clear(&lines);
		for (size_t j = at; j < at + DELETE_LINES; j++)
			buf_addf(&lines, "stored:%zu\n", j);
		if (write(fd, lines.data, lines.len) != (ssize_t)lines.len || fsync(fd) < 0)
			break;
	}
}

/* Nothing to do with the mount: what the machine's scheduler does alone. */
static void noise_computing(const struct scene *s, size_t i)
{
	for (volatile size_t n = i;; n++)
		;
}

static const struct noise {
	const char *name;
	void (*make)(const struct scene *s, size_t i);
	bool ends;     /* by itself, and is measured until then */
	bool consumes; /* what is stored */
} noises[] = {
	{ "queries", noise_queries, false, false },     { "batch", noise_batch, true, true },
	{ "listing", noise_listing, false, false },     { "deletes", noise_deletes, false, true },
	{ "computing", noise_computing, false, false },
};
#define N_NOISES (sizeof(noises) / sizeof(noises[0]))

static size_t n_processes(const struct scene *s, const struct noise *n)
{
	return n->ends ? 1 : s->clients;
}

/* In sessions of their own, as another user's: Linux shares processors among these (autogroup). */
static void start(const struct scene *s, const struct noise *n, pid_t *ret)
{
	for (size_t i = 0; i < n_processes(s, n); i++) {
		ret[i] = fork();
		if (ret[i] == 0) {
			setsid();
			n->make(s, i);
			_exit(0);
		}
	}
}

static void stop(const struct scene *s, const struct noise *n, const pid_t *pids)
{
	for (size_t i = 0; i < n_processes(s, n); i++)
		if (!n->ends && pids[i] > 0)
			kill(pids[i], SIGKILL);
	for (size_t i = 0; i < n_processes(s, n); i++)
		if (pids[i] > 0)
			waitpid(pids[i], NULL, 0);
}

/* ---- measuring ---- */

static bool has_ended(pid_t pid)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
	       info.si_pid == pid;
}

struct measurement {
	const struct scene *scene;
	struct asker *asker;
	uint64_t for_ns;
	pid_t while_lives; /* or, unless 0, as long as this one does */
	uint64_t *all;     /* latencies */
	size_t n, cap;
	int rc;
};

static int ask_once(struct measurement *m)
{
	uint64_t begin, *more;
	int rc;

	if (m->n == m->cap) {
		more = mem_resize(m->all, m->cap ? 2 * m->cap : 4096, sizeof(*m->all));
		if (!more)
			return -ENOMEM;
		m->all = more;
		m->cap = m->cap ? 2 * m->cap : 4096;
	}
	begin = clock_mono_ns();
	rc = ask(m->scene, m->asker);
	m->all[m->n++] = clock_mono_ns() - begin;
	return rc;
}

static bool goes_on(const struct measurement *m, uint64_t end)
{
	return m->while_lives ? !has_ended(m->while_lives) : clock_mono_ns() < end;
}

/*
 * Where all processors are busy, a process that wakes waits for others' slices to end, some
 * milliseconds, whoever has woken it, also where there is no mount at all (noise: computing).
 */
static void *ask_steadily(void *arg)
{
	struct measurement *m = arg;
	uint64_t next = clock_mono_ns(), end = next + m->for_ns, now;

	pthread_setname_np(pthread_self(), "quiet");
	if (strcmp(m->scene->client, "ordinary") != 0)
		thread_answers(strcmp(m->scene->client, "first") == 0);
	while (m->rc == 0 && goes_on(m, end)) {
		m->rc = ask_once(m);
		next += PACE_NS;
		now = clock_mono_ns();
		if (next > now)
			sleep_ns(next - now);
		else
			next = now;
	}
	return NULL;
}

/* In a thread of its own: what that asks of the scheduler the makers of noise do not inherit. */
static int measure(const struct scene *s, struct asker *a, uint64_t for_ns, pid_t while_lives,
                   struct sample *ret)
{
	struct measurement m = {
		.scene = s, .asker = a, .for_ns = for_ns, .while_lives = while_lives
	};
	pthread_t thread;
	int rc = pthread_create(&thread, NULL, ask_steadily, &m);

	if (rc != 0)
		return -rc;
	pthread_join(thread, NULL);
	bench_sort(m.all, m.n);
	*ret = (struct sample){ bench_quantile(m.all, m.n, 0.5), bench_quantile(m.all, m.n, 0.99) };
	mem_free(m.all);
	return m.rc;
}

static int refill(const struct scene *s)
{
	int rc;

	remove_tenant(s, NOISY);
	rc = make_tenant(s, NOISY);
	if (rc == 0)
		rc = insert(s, NOISY, "ingest/stored.fvecs", s->stored);
	if (rc == 0)
		wait_for_index(s, NOISY);
	return rc;
}

static int round_of(const struct scene *s, const struct noise *n, struct asker *a,
                    struct sample *ret_idle, struct sample *ret_noisy)
{
	uint64_t ns = s->seconds * 1000000000ull;
	pid_t pids[CLIENTS_MAX];
	int rc;

	sleep_ns(CALM_NS);
	rc = measure(s, a, n->ends ? s->rounds * ns : ns, 0, ret_idle);
	if (rc < 0)
		return rc;
	start(s, n, pids);
	if (!n->ends)
		sleep_ns(SETTLE_NS);
	rc = measure(s, a, ns, n->ends ? pids[0] : 0, ret_noisy);
	stop(s, n, pids);
	if (rc == 0 && n->consumes)
		rc = refill(s);
	return rc;
}

static uint64_t median(uint64_t *v, size_t n)
{
	bench_sort(v, n);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static int bench_noise(const struct scene *s, const struct noise *n, struct asker *a)
{
	uint64_t v[5][ROUNDS_MAX];
	size_t rounds = n->ends ? 1 : s->rounds;
	struct sample idle, noisy;
	int rc = 0;

	for (size_t i = 0; i < rounds && rc == 0; i++) {
		fprintf(stderr, "%s: round %zu of %zu\n", n->name, i + 1, rounds);
		rc = round_of(s, n, a, &idle, &noisy);
		v[0][i] = idle.p50_ns;
		v[1][i] = idle.p99_ns;
		v[2][i] = noisy.p50_ns;
		v[3][i] = noisy.p99_ns;
		v[4][i] = idle.p99_ns ? noisy.p99_ns * 1000 / idle.p99_ns : 0;
	}
	if (rc < 0)
		return rc;
	printf("%s\t%zu", n->name, rounds);
	for (int k = 0; k < 4; k++)
		printf("\t%.1f", (double)median(v[k], rounds) / 1e3);
	printf("\t%.2f\n", (double)median(v[4], rounds) / 1e3);
	fflush(stdout);
	return 0;
}

static bool is_named(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (strncmp(at, name, n) == 0 && (at[n] == ',' || at[n] == '\0'))
			return true;
	return false;
}

static int bench_all(const struct scene *s, struct err *e)
{
	struct asker a = { -1, 3, BUF_INIT };
	int rc = insert(s, QUIET, "ingest/quiet.fvecs", QUIET_STORED);

	if (rc == 0)
		rc = refill(s);
	wait_for_index(s, QUIET);
	a.fd = open_in(s, QUIET, "query", O_RDWR);
	if (rc < 0 || a.fd < 0)
		return err_set(e, rc < 0 ? rc : -errno, "the tenants could not be filled");
	printf("noise\trounds\tidle_p50_us\tidle_p99_us\tnoisy_p50_us\tnoisy_p99_us\tratio_p99\n");
	for (size_t k = 0; k < N_NOISES && rc == 0; k++)
		if (!s->noises || is_named(s->noises, noises[k].name))
			rc = bench_noise(s, &noises[k], &a);
	close(a.fd);
	buf_release(&a.line);
	return rc < 0 ? err_set(e, rc, "a question failed: %s", strerror(-rc)) : 0;
}

static int run(struct scene *s, struct err *e)
{
	FILE *f = tmpfile();
	int rc = f ? make_tenant(s, QUIET) : -errno;

	if (rc < 0)
		return err_set(e, rc, "%s/tenants/%s: %s", s->root, QUIET, strerror(-rc));
	s->batch_fd = fileno(f);
	rc = make_vectors(s, s->batch, s->batch_fd);
	if (rc == 0)
		rc = bench_all(s, e);
	fclose(f);
	remove_tenant(s, NOISY);
	remove_tenant(s, QUIET);
	return rc;
}

/* ---- options ---- */

static bool parse_count(const char *s, unsigned long min, unsigned long max, size_t *ret)
{
	char *end;

	*ret = strtoul(s, &end, 10);
	return end != s && *end == '\0' && *s != '-' && *ret >= min && *ret <= max;
}

static bool known_noises(const char *list)
{
	size_t n = 0, commas = 0;

	for (size_t k = 0; k < N_NOISES; k++)
		n += is_named(list, noises[k].name);
	for (const char *c = list; *c; c++)
		commas += *c == ',';
	return n == commas + 1;
}

static bool set_option(struct scene *s, int c, const char *arg)
{
	switch (c) {
	case 'r':
		s->root = arg;
		return true;
	case 'n':
		s->noises = arg;
		return known_noises(arg);
	case 'o':
		return parse_count(arg, 1, ROUNDS_MAX, &s->rounds);
	case 's':
		return parse_count(arg, 1, 3600, &s->seconds);
	case 'c':
		return parse_count(arg, 1, CLIENTS_MAX, &s->clients);
	case 'd':
		return parse_count(arg, 1, LIMIT_DIMENSION, &s->dim);
	case 't':
		return parse_count(arg, 1, 100000000, &s->stored);
	case 'C':
		s->client = arg;
		return !strchr(arg, ',') && is_named("ordinary,short,first", arg);
	case 'b':
		return parse_count(arg, 1, 100000000, &s->batch);
	default:
		return false;
	}
}

/* 0, or the exit code plus one. */
static int parse_options(int argc, char **argv, struct scene *s)
{
	static const struct option longs[] = {
		{ "root", required_argument, NULL, 'r' },
		{ "noise", required_argument, NULL, 'n' },
		{ "rounds", required_argument, NULL, 'o' },
		{ "seconds", required_argument, NULL, 's' },
		{ "clients", required_argument, NULL, 'c' },
		{ "dim", required_argument, NULL, 'd' },
		{ "stored", required_argument, NULL, 't' },
		{ "batch", required_argument, NULL, 'b' },
		{ "client", required_argument, NULL, 'C' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c, i = 0;

	while ((c = getopt_long(argc, argv, "h", longs, &i)) != -1) {
		if (c == 'h') {
			fputs(usage_text, stdout);
			return 1;
		}
		if (!set_option(s, c, optarg)) {
			if (c != '?')
				fprintf(stderr, "ruvector-bench: bad value '%s' of --%s\n", optarg,
				        longs[i].name);
			return 3;
		}
	}
	if (optind < argc || !s->root) {
		fputs(usage_text, stderr);
		return 3;
	}
	return 0;
}

int bench_neighbours(int argc, char **argv)
{
	struct scene s = { .dim = 128,
		           .stored = 50000,
		           .batch = 1000000,
		           .rounds = 5,
		           .seconds = 2,
		           .clients = 8,
		           .client = "ordinary",
		           .seed = 1 };
	struct err e = { 0 };
	int rc = parse_options(argc, argv, &s);

	if (rc != 0)
		return rc - 1;
	rc = run(&s, &e);
	if (rc < 0)
		fprintf(stderr, "ruvector-bench: %s\n", e.text);
	return rc < 0;
}
