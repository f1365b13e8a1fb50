/*
 * supervisor.c: mounts, and keeps a server behind the mount.
 *
 * The supervisor holds the descriptor of /dev/fuse, so the mount outlives its servers: while
 * there is none, system calls wait in the kernel. It knows nothing of the filesystem, reads one
 * request in its life (the first, which every server has to be told), and does so little that
 * there is little to go wrong. The lock on DATA is open in both, and so held without a gap.
 *
 * A server is this program again (the file that runs, even when another one was installed
 * meanwhile; SIGHUP looks for that). It dies with its supervisor. Servers that end within a
 * moment, several in a row, are started after growing delays and then no more: the mount is taken
 * off, and calls that wait fail.
 *
 * One thread; signals are read from a descriptor.
 */
#include "mount/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "mount/device.h"
#include "mount/handover.h"
#include "tenant/datadir.h"

#define MOMENT_NS       500000000ull
#define AT_ONCE         3 /* ends in a row that cost no delay */
#define FIRST_DELAY     50
#define MAX_IN_A_ROW    8
#define MAX_TRIES       20 /* to start a server: some 27 s */
#define TRY_SECONDS     5
#define SERVE_SECONDS   20 /* for a new program to begin to serve */
#define ABOVE_THE_GIVEN 16

struct supervisor {
	const struct supervisor_options *o;
	struct device *device; /* NULL: taken off */
	struct handover facts;
	int signals, facts_fd, kept_fd; /* -1: not open */
	int program;                    /* what servers run */
	int program_before;             /* until a new one has lived for a moment; -1: none */
	const char **args;
	sigset_t mask; /* as it was */
	pid_t server;  /* 0: none */
	int ready_fd;  /* -1: it has said whether it is ready */
	bool is_ready; /* this server */
	bool is_late;  /* this server; it was ended for that */
	uint64_t started_ns;
	unsigned n_short; /* ended within a moment, in a row */
	bool was_ready;   /* a server was, once */
	bool can_resend;
	bool stopping;
	bool replacing; /* the server is ended for another program */
};

int supervisor_delay_ms(unsigned n)
{
	if (n > MAX_IN_A_ROW)
		return -1;
	return n <= AT_ONCE ? 0 : FIRST_DELAY << (n - AT_ONCE - 1);
}

/* ---- starting a server ---- */

/* Numbers that are given may be those of others that are still to be given. */
static void give(const struct supervisor *s, int ready)
{
	const int from[] = { device_fd(s->device), s->o->lock_fd, s->facts_fd, s->kept_fd, ready };
	int aside[sizeof(from) / sizeof(*from)];

	for (int i = 0; i < HANDOVER_END - HANDOVER_DEVICE; i++)
		aside[i] = fcntl(from[i], F_DUPFD_CLOEXEC, ABOVE_THE_GIVEN);
	for (int i = 0; i < HANDOVER_END - HANDOVER_DEVICE; i++)
		if (aside[i] < 0 || dup2(aside[i], HANDOVER_DEVICE + i) < 0)
			_exit(EXIT_SYSTEM);
	close_range(HANDOVER_END, ~0u, CLOSE_RANGE_CLOEXEC);
}

/* In the child. Signals of the terminal are for the supervisor alone. */
static _Noreturn void become_server(const struct supervisor *s, int ready)
{
	int program = fcntl(s->program, F_DUPFD_CLOEXEC, ABOVE_THE_GIVEN);

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != (pid_t)s->facts.supervisor)
		_exit(EXIT_SYSTEM);
	give(s, ready);
	sigprocmask(SIG_SETMASK, &s->mask, NULL);
	fexecve(program, (char *const *)s->args, environ);
	_exit(EXIT_SYSTEM);
}

static int start_server(struct supervisor *s)
{
	int ready[2], rc;

	rc = handover_write(s->facts_fd, &s->facts);
	if (rc < 0)
		return rc;
	if (pipe2(ready, O_CLOEXEC) < 0)
		return -errno;
	s->started_ns = clock_mono_ns();
	s->server = fork();
	if (s->server == 0)
		become_server(s, ready[1]);
	rc = s->server < 0 ? -errno : 0;
	close(ready[1]);
	if (rc < 0) {
		close(ready[0]);
		s->server = 0;
		return rc;
	}
	s->ready_fd = ready[0];
	s->is_ready = false;
	s->is_late = false;
	return 0;
}

/* ---- a new program ---- */

static int open_program(void)
{
	static char path[4096];

	if (!path[0]) {
		ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

		if (n < 0)
			return -errno;
		path[n] = '\0';
		return open("/proc/self/exe", O_PATH | O_CLOEXEC);
	}
	return open(path, O_PATH | O_CLOEXEC);
}

/* It runs, and tells its version. */
static bool program_works(const struct supervisor *s, int program)
{
	char *const args[] = { "ruvectorfs", "-V", NULL };
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 1);
		sigprocmask(SIG_SETMASK, &s->mask, NULL);
		alarm(TRY_SECONDS);
		fexecve(program, args, environ);
		_exit(EXIT_SYSTEM);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && status == 0;
}

static void keep_program(struct supervisor *s)
{
	if (s->program_before >= 0)
		close(s->program_before);
	s->program_before = -1;
}

static bool lived_a_moment(const struct supervisor *s)
{
	return clock_mono_ns() - s->started_ns >= MOMENT_NS;
}

/* A new program that has still to show that it serves, and lives for a moment. */
static bool is_on_trial(const struct supervisor *s)
{
	return s->program_before >= 0 &&
	       (s->replacing || !s->server || !s->is_ready || !lived_a_moment(s));
}

/* What to come back to is none that is on trial itself. */
static void change_program(struct supervisor *s, int program)
{
	if (is_on_trial(s)) {
		close(s->program);
	} else {
		keep_program(s);
		s->program_before = s->program;
	}
	s->program = program;
}

static void upgrade(struct supervisor *s)
{
	int program;

	if (!s->can_resend) { /* calls under way would wait for ever */
		log_error("this kernel cannot go on with another server: no change");
		return;
	}
	program = open_program();
	if (program < 0 || !program_works(s, program)) {
		log_error("the program that is installed now does not run: no change");
		if (program >= 0)
			close(program);
		return;
	}
	log_info("changing to the program that is installed now");
	change_program(s, program);
	s->replacing = s->server > 0;
	if (s->replacing)
		kill(s->server, SIGKILL); /* the one way to end that is tried all the time */
}

/* The new program is of no use: the one before goes on. */
static bool fall_back(struct supervisor *s)
{
	if (s->program_before < 0)
		return false;
	log_error("the new program %s: going on with the one before",
	          s->is_late ? "does not serve" : "ended within a moment");
	close(s->program);
	s->program = s->program_before;
	s->program_before = -1;
	return true;
}

/* ---- watching ---- */

/* The mount goes first: who has files open is not to wait while the server puts all in order. */
static void stop(struct supervisor *s)
{
	s->stopping = true;
	device_unmount(s->device);
	s->device = NULL;
	if (s->server)
		kill(s->server, SIGTERM);
}

/* As the first process of a container it is given children that it does not know. */
static void reap_others(const struct supervisor *s)
{
	siginfo_t child = { 0 };

	while (waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT) == 0 && child.si_pid &&
	       child.si_pid != s->server) {
		waitpid(child.si_pid, NULL, WNOHANG);
		child.si_pid = 0;
	}
}

static void take_signal(struct supervisor *s)
{
	struct signalfd_siginfo info;

	if (read(s->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGCHLD)
		reap_others(s);
	else if (s->stopping)
		return;
	else if (info.ssi_signo == SIGHUP)
		upgrade(s);
	else
		stop(s);
}

static void take_ready(struct supervisor *s)
{
	char word;

	s->is_ready = read(s->ready_fd, &word, 1) == 1;
	close(s->ready_fd);
	s->ready_fd = -1;
	if (!s->is_ready)
		return;
	if (s->facts.restarts)
		log_info("process %d serves after %llu ms", (int)s->server,
		         (unsigned long long)(clock_mono_ns() - s->started_ns) / 1000000);
	else if (!s->was_ready)
		log_info("%s is mounted on %s", s->o->options->data, s->o->options->mountpoint);
	if (!s->was_ready && s->o->ready)
		s->o->ready(s->o->ctx);
	s->was_ready = true;
}

/* One thing that happened, or the time is over. */
static void watch(struct supervisor *s, int timeout_ms)
{
	struct pollfd p[] = { { .fd = s->signals, .events = POLLIN },
		              { .fd = s->ready_fd, .events = POLLIN } };

	if (poll(p, 2, timeout_ms) <= 0)
		return;
	if (p[1].revents)
		take_ready(s);
	if (p[0].revents)
		take_signal(s);
}

/* A new program that hangs would let every call wait for ever. */
static void end_if_late(struct supervisor *s)
{
	if (s->program_before < 0 || s->is_ready || s->is_late || s->replacing || s->stopping ||
	    clock_mono_ns() - s->started_ns < SERVE_SECONDS * 1000000000ull)
		return;
	s->is_late = true;
	kill(s->server, SIGKILL);
}

/* Returns how the server ended, as waitpid(2) tells it. */
static int wait_server(struct supervisor *s)
{
	int status;

	while (waitpid(s->server, &status, WNOHANG) == 0) {
		watch(s, s->program_before >= 0 && !s->is_ready ? 1000 : -1);
		end_if_late(s);
	}
	if (s->ready_fd >= 0)
		take_ready(s);
	if (!is_on_trial(s))
		keep_program(s);
	s->server = 0;
	return status;
}

static void wait_ms(struct supervisor *s, int ms)
{
	uint64_t end = clock_mono_ns() + (uint64_t)ms * 1000000, now;

	while (!s->stopping && (now = clock_mono_ns()) < end)
		watch(s, (int)((end - now) / 1000000) + 1);
}

/* ---- when a server ended ---- */

/*
 * Another program may end with any status, for reasons of its own. A server that is only being
 * started ends by the signal itself.
 */
static bool was_told(const struct supervisor *s, int status)
{
	if (WIFSIGNALED(status))
		return s->replacing || (s->stopping && WTERMSIG(status) == SIGTERM);
	return s->replacing ||
	       ((s->is_ready || s->stopping) && WEXITSTATUS(status) == HANDOVER_TOLD);
}

static bool was_unmounted(const struct supervisor *s, int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 &&
	       (!s->device || device_is_off(s->device));
}

static void describe(int status, char *ret, size_t cap)
{
	if (WIFSIGNALED(status))
		snprintf(ret, cap, "ended by signal %d (%s)", WTERMSIG(status),
		         strsignal(WTERMSIG(status)));
	else
		snprintf(ret, cap, "ended with exit status %d", WEXITSTATUS(status));
}

/* An unmount, our own word, or a failure before there was anything to be saved. */
static bool is_end(const struct supervisor *s, int status, int *ret_code)
{
	if (was_unmounted(s, status) || (s->stopping && was_told(s, status))) {
		*ret_code = 0;
		return true;
	}
	if (s->replacing)
		return false;
	*ret_code = s->was_ready || !WIFEXITED(status) ? EXIT_SYSTEM : WEXITSTATUS(status);
	return s->stopping || !s->was_ready;
}

/* Counts an end that nobody wanted. False: there shall be no other server. */
static bool go_on(struct supervisor *s, int status)
{
	char how[80];
	int delay;

	describe(status, how, sizeof(how));
	if (!s->can_resend) {
		log_error("the server %s, and this kernel cannot go on with another", how);
		return false;
	}
	log_warning("the server %s: starting another", how);
	s->n_short = lived_a_moment(s) ? 0 : s->n_short + 1;
	if ((s->n_short || !s->is_ready) && fall_back(s))
		s->n_short = 0;
	delay = supervisor_delay_ms(s->n_short);
	if (delay < 0) {
		log_error("the server ended within a moment %u times, the last one %s: giving up",
		          s->n_short, how);
		return false;
	}
	wait_ms(s, delay);
	return true;
}

/* Processes and memory may be short for a while, as when the server was ended for want of them. */
static int start_patiently(struct supervisor *s)
{
	int rc = start_server(s);

	for (int n = 0; rc < 0 && s->was_ready && n < MAX_TRIES && !s->stopping; n++) {
		log_warning("no server can be started: %s: trying again", strerror(-rc));
		wait_ms(s, FIRST_DELAY << (n < 5 ? n : 5));
		if (!s->stopping)
			rc = start_server(s);
	}
	return rc;
}

static int supervise(struct supervisor *s)
{
	int status, code, rc;

	for (;; s->facts.restarts++) {
		rc = start_patiently(s);
		if (s->stopping && rc < 0)
			return 0;
		if (rc < 0) {
			log_error("no server can be started: %s", strerror(-rc));
			return EXIT_SYSTEM;
		}
		status = wait_server(s);
		if (is_end(s, status, &code))
			return code;
		if (!was_told(s, status) && !go_on(s, status))
			return EXIT_SYSTEM;
		if (s->stopping)
			return 0;
		s->replacing = false;
		datadir_claim(s->o->lock_fd);
	}
}

/* ---- start and end ---- */

/* What this process was given, and that it is a server. */
static int make_args(struct supervisor *s)
{
	const struct options *o = s->o->options;
	size_t n = 0;

	s->args = mem_alloc(o->n_flags + 6, sizeof(*s->args));
	if (!s->args)
		return -ENOMEM;
	s->args[n++] = "ruvectorfs";
	s->args[n++] = "--server";
	for (size_t i = 0; i < o->n_flags; i++)
		if (strcmp(o->flags[i], "--") != 0)
			s->args[n++] = o->flags[i];
	s->args[n++] = "--";
	s->args[n++] = o->data;
	s->args[n++] = o->mountpoint;
	s->args[n] = NULL;
	return 0;
}

static int take_signals(struct supervisor *s)
{
	sigset_t ours;

	sigemptyset(&ours);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGHUP);
	sigaddset(&ours, SIGCHLD);
	sigprocmask(SIG_BLOCK, &ours, &s->mask);
	s->signals = signalfd(-1, &ours, SFD_CLOEXEC);
	return s->signals < 0 ? -errno : 0;
}

static int prepare(struct supervisor *s, struct err *e)
{
	int rc = take_signals(s);

	if (rc == 0)
		rc = make_args(s);
	if (rc == 0)
		rc = s->program = open_program();
	if (rc >= 0)
		rc = s->facts_fd = handover_file("ruvectorfs-facts");
	if (rc >= 0)
		rc = s->kept_fd = handover_file("ruvectorfs-kept");
	return rc < 0 ? err_set(e, rc, "%s", strerror(-rc)) : 0;
}

static int mount_it(struct supervisor *s, struct err *e)
{
	int rc = device_mount(s->o->options, &s->device, e);

	if (rc < 0)
		return rc;
	rc = wire_read_init(device_fd(s->device), s->facts.init);
	if (rc < 0)
		return err_set(e, rc, "%s: the kernel did not greet: %s", s->o->options->mountpoint,
		               strerror(-rc));
	s->facts.init_len = (uint32_t)rc;
	s->can_resend = wire_can_resend(s->facts.init, s->facts.init_len);
	if (!s->can_resend)
		log_warning("this kernel is older than 6.9: a crash will end the mount");
	return 0;
}

static void finish(struct supervisor *s)
{
	device_unmount(s->device);
	close(s->signals);
	close(s->program);
	keep_program(s);
	close(s->facts_fd);
	close(s->kept_fd);
	mem_free(s->args);
}

int supervisor_run(const struct supervisor_options *o)
{
	struct supervisor s = { .o = o,
		                .signals = -1,
		                .facts_fd = -1,
		                .kept_fd = -1,
		                .program = -1,
		                .program_before = -1,
		                .ready_fd = -1 };
	struct err e = { 0 };
	int code = EXIT_MOUNT;

	s.facts.size = sizeof(s.facts);
	s.facts.supervisor = (uint32_t)getpid();
	if (prepare(&s, &e) < 0 || mount_it(&s, &e) < 0)
		log_error("%s", e.text);
	else
		code = supervise(&s);
	finish(&s);
	if (s.was_ready)
		log_info("%s is unmounted", o->options->mountpoint);
	return code;
}
