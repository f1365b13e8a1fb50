/*
 * main.c: ruvectorfs: checks what it was given, goes to the background, and returns 0 there
 * only when the mount answers.
 *
 * The child keeps stderr until it is ready, so that what goes wrong is said on the terminal,
 * and then tells the parent through a pipe. Exit codes are mount(8)'s. What stays is a
 * supervisor and its server (supervisor.h), or with supervise=off a server alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "mount/device.h"
#include "mount/mountpoint.h"
#include "mount/session.h"
#include "mount/supervisor.h"
#include "mount/view.h"
#include "tenant/datadir.h"

#define READY_TIMEOUT_MS 30000

static int fail(int code, const char *sentence)
{
	fprintf(stderr, "ruvectorfs: %s\n", sentence);
	return code;
}

/* ---- what is mounted where ---- */

/* Replaces *path, for the daemon's directory is / */
static int make_absolute(char **path, struct err *e)
{
	char *absolute = realpath(*path, NULL);
	char *copy = absolute ? mem_dup(absolute, strlen(absolute)) : NULL;

	if (!absolute)
		return err_set(e, -errno, "%s: %s", *path, strerror(errno));
	free(absolute);
	if (!copy)
		return err_nomem(e);
	mem_free(*path);
	*path = copy;
	return 0;
}

/* Before DATA is made for nothing. */
static int check(const struct options *o, struct err *e)
{
	struct stat mountpoint, data;

	if (lstat(o->mountpoint, &mountpoint) < 0 && errno == ENOENT)
		return err_set(e, -ENOENT, "%s: no such directory to mount on; make it first",
		               o->mountpoint);
	if (stat(o->mountpoint, &mountpoint) == 0 && stat(o->data, &data) == 0 &&
	    mountpoint.st_dev == data.st_dev && mountpoint.st_ino == data.st_ino)
		return err_set(e, -EINVAL,
		               "DATA and MOUNTPOINT are one directory: give two, the second empty");
	return device_check(o, e);
}

static int prepare(struct options *o, int *ret_lock, struct err *e)
{
	char *mountpoint = NULL;
	int rc = check(o, e);

	if (rc < 0)
		return rc;
	rc = datadir_lock(o->data, o->read_only, ret_lock, e);
	if (rc < 0)
		return rc;
	rc = make_absolute(&o->data, e);
	if (rc == 0)
		rc = mountpoint_prepare(o->mountpoint, &mountpoint, e);
	if (rc != 0)
		return rc;
	mem_free(o->mountpoint);
	o->mountpoint = mem_dup(mountpoint, strlen(mountpoint));
	free(mountpoint);
	return o->mountpoint ? 0 : err_nomem(e);
}

/* ---- serving ---- */

/* Two processes, or one. */
static int serve(const struct options *o, int lock_fd, void (*ready)(void *ctx), void *ctx)
{
	struct supervisor_options supervised = { o, lock_fd, ready, ctx };
	struct session_options alone = {
		.options = o, .lock_fd = lock_fd, .ready = ready, .ctx = ctx
	};

	return o->supervise ? supervisor_run(&supervised) : session_run(&alone);
}

static void let_go_of_terminal(void)
{
	int null = open("/dev/null", O_RDWR);

	log_to_syslog("ruvectorfs");
	log_set_level(LOG_LEVEL_INFO);
	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
}

/* ---- as a server ---- */

static void server_ready(void *ctx)
{
	const struct options *o = ctx;

	if (!o->foreground)
		let_go_of_terminal();
	if (write(HANDOVER_READY, "1", 1) != 1)
		log_warning("nobody waited for this server");
	close(HANDOVER_READY);
}

static int run_server(struct options *o)
{
	struct handover h;
	struct session_options s = { o, HANDOVER_LOCK, &h, server_ready, o };
	struct err e = { 0 };

	if (handover_read(HANDOVER_FACTS, &h, &e) < 0)
		return fail(EXIT_USAGE, e.text);
	prctl(PR_SET_NAME, "ruvectorfs"); /* it was started by a descriptor */
	if (h.restarts && !o->foreground)
		let_go_of_terminal();
	return session_run(&s);
}

/* ---- background ---- */

struct child {
	int ready_fd;
};

/* In the daemon, when the kernel is being answered: lets go of the terminal, then of the parent. */
static void child_ready(void *ctx)
{
	struct child *c = ctx;

	let_go_of_terminal();
	if (write(c->ready_fd, "1", 1) != 1)
		log_warning("nobody waited for the mount");
	close(c->ready_fd);
}

/* Waits for the child's word, or its end. */
static int wait_ready(int fd, pid_t child)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int status, n;
	char word;

	do
		n = poll(&p, 1, READY_TIMEOUT_MS);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return fail(
			EXIT_MOUNT,
			"the mount did not answer within 30 s; it goes on starting in the background");
	if (read(fd, &word, 1) == 1)
		return 0;
	if (waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status))
		return WEXITSTATUS(status);
	return fail(EXIT_SYSTEM, "the daemon ended before the mount answered");
}

static int run_background(const struct options *o, int lock_fd)
{
	struct child c;
	int pipe_fd[2];
	pid_t pid;

	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return fail(EXIT_SYSTEM, strerror(errno));
	pid = fork();
	if (pid < 0)
		return fail(EXIT_SYSTEM, strerror(errno));
	if (pid > 0) {
		close(pipe_fd[1]);
		return wait_ready(pipe_fd[0], pid);
	}
	close(pipe_fd[0]);
	c.ready_fd = pipe_fd[1];
	setsid();
	if (chdir("/") < 0)
		log_warning("/: %s", strerror(errno));
	datadir_claim(lock_fd);
	return serve(o, lock_fd, child_ready, &c);
}

static int run(struct options *o)
{
	struct err e = { 0 };
	int lock_fd;

	if (o->is_server)
		return run_server(o);
	if (o->tenant[0])
		return view_mount(o, &e) < 0 ? fail(EXIT_MOUNT, e.text) : 0;
	if (prepare(o, &lock_fd, &e) < 0)
		return fail(EXIT_MOUNT, e.text);
	if (o->foreground)
		return serve(o, lock_fd, NULL, NULL);
	return run_background(o, lock_fd);
}

/*
 * What whoever started this process left to it must not matter: children whose end nobody is told
 * (SIGCHLD ignored), signals that are blocked; and a reader of the log that goes away is not to
 * take the mount with it.
 */
static void begin_anew(void)
{
	sigset_t none;

	signal(SIGCHLD, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file above RLIMIT_FSIZE fails its write */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	io_have_standard();
}

int main(int argc, char **argv)
{
	struct options o;
	int rc;

	begin_anew();
	rc = options_parse(&o, argc, argv);

	if (o.foreground || rc != 0)
		log_to_stderr();
	else
		log_to_terminal("ruvectorfs");
	log_set_level(o.debug        ? LOG_LEVEL_DEBUG
	              : o.foreground ? LOG_LEVEL_INFO
	                             : LOG_LEVEL_WARNING);
	if (rc == 0)
		rc = run(&o);
	options_release(&o);
	return rc < 0 ? 0 : rc;
}
