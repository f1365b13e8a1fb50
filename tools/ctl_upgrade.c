/*
 * ctl_upgrade.c: ruvectorctl upgrade: a mount goes on with the program that is installed now.
 *
 * The supervisor does it, at SIGHUP; this sends the signal, waits, and says what became of it. What
 * happens is seen in the mount's own file stats, which says who serves, and in /proc, which says
 * what program that is. A program that does not even start is not tried by the supervisor: then
 * nothing changes; one that ends within a moment is left again.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/ctl.h"

#define WAIT_NS   15000000000ull /* a program may take 5 s to say that it runs */
#define MOMENT_NS 800000000ull   /* one that lived for so long stays */
#define POLL_US   20000

static const char usage_text[] =
	"usage: ruvectorctl upgrade [OPTION...] MOUNTPOINT|DATA\n"
	"\n"
	"Lets a mount go on with the program that is installed now, in the place of the one that\n"
	"serves it. Nothing is unmounted, files that are open stay open, calls under way go on.\n"
	"\n"
	"  -q, --quiet  no summary\n"
	"  -h, --help   this text\n"
	"\n"
	"Exit status: 0, or 2 when it could not be done; the mount goes on as it was then.\n";

static const struct option long_options[] = {
	[0] = { "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct serving {
	long server, supervisor, restarts;
};

static bool read_stats(const char *mount, struct serving *ret)
{
	char path[4096 + 16], line[256];
	long v;
	FILE *f;

	*ret = (struct serving){ 0, 0, -1 };
	snprintf(path, sizeof(path), "%s/stats", mount);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "server_pid %ld", &v) == 1)
			ret->server = v;
		else if (sscanf(line, "supervisor_pid %ld", &v) == 1)
			ret->supervisor = v;
		else if (sscanf(line, "restarts %ld", &v) == 1)
			ret->restarts = v;
	}
	if (f)
		fclose(f);
	return ret->server > 0 && ret->restarts >= 0;
}

/* Waits until another server is there than the one of before, or for wait_ns. */
static bool wait_change(const char *mount, const struct serving *before, uint64_t wait_ns,
                        struct serving *ret)
{
	uint64_t end = clock_mono_ns() + wait_ns;

	do {
		usleep(POLL_US);
		if (read_stats(mount, ret) && ret->restarts != before->restarts)
			return true;
	} while (clock_mono_ns() < end);
	return false;
}

/* Whether a process runs the file that has the name with which the supervisor was started. */
static bool runs_installed(const struct serving *s)
{
	static const char deleted[] = " (deleted)";
	char link[64], path[4096];
	struct stat installed, running;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%ld/exe", s->supervisor);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return false;
	path[n] = '\0';
	n -= (ssize_t)strlen(deleted);
	if (n > 0 && strcmp(path + n, deleted) == 0)
		path[n] = '\0';
	snprintf(link, sizeof(link), "/proc/%ld/exe", s->server);
	return stat(path, &installed) == 0 && stat(link, &running) == 0 &&
	       installed.st_dev == running.st_dev && installed.st_ino == running.st_ino;
}

static int upgrade(const char *mount, struct serving *ret, struct err *e)
{
	struct serving before, last;

	if (!read_stats(mount, &before))
		return err_set(e, -EACCES, "%s/stats cannot be read: who mounted it can, and root",
		               mount);
	if (!before.supervisor)
		return err_set(e, -ENOTSUP,
		               "%s has no supervisor (supervise=off, or an old kernel): unmount it",
		               mount);
	if (kill((pid_t)before.supervisor, SIGHUP) < 0)
		return err_set(e, -errno, "process %ld: %s", before.supervisor, strerror(errno));
	if (!wait_change(mount, &before, WAIT_NS, ret))
		return err_set(
			e, -ENOEXEC,
			"the program that is installed now does not run: process %ld goes on",
			before.server);
	for (last = *ret; wait_change(mount, &last, MOMENT_NS, ret); last = *ret)
		;
	if (!runs_installed(ret))
		return err_set(e, -ENOEXEC,
		               "the program that is installed now ended within a moment: process "
		               "%ld goes on with the one before",
		               ret->server);
	return 0;
}

int ctl_upgrade(int argc, char **argv)
{
	static const struct ctl_usage usage = { usage_text, "qh", long_options, 1, 1 };
	const char *values[CTL_OPTIONS_MAX];
	struct serving now;
	struct err e = { 0 };
	char mount[4096];
	int rc = ctl_options(argc, argv, &usage, values);

	if (rc)
		return rc - 1;
	rc = ctl_mount_of(argv[optind], mount, &e);
	if (rc == 0)
		rc = upgrade(mount, &now, &e);
	if (rc < 0)
		return ctl_fail(CTL_CANNOT, "%s", e.text);
	if (!values[0])
		printf("process %ld serves %s\n", now.server, mount);
	return CTL_OK;
}
