/*
 * ctl_backup.c: ruvectorctl backup and restore.
 *
 * What is mounted is backed up by its server, which streams the archive through DATA/ctl.sock; what
 * is not, by this process under DATA's lock.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "tenant/datadir.h"
#include "tenant/service.h"
#include "tools/ctl.h"
#include "tools/ctl_output.h"
#include "tools/ctl_verify.h"

static const struct option long_options[] = {
	[0] = { "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* Bytes of the files in a directory and below. */
static uint64_t bytes_below(int dir)
{
	DIR *d = fdopendir(dir);
	struct dirent *entry;
	uint64_t sum = 0;
	struct stat st;

	while (d && (entry = readdir(d))) {
		if (entry->d_name[0] == '.' ||
		    fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_size;
		if (S_ISDIR(st.st_mode)) {
			int sub = openat(dirfd(d), entry->d_name,
			                 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			sum += sub >= 0 ? bytes_below(sub) : 0;
		}
	}
	if (d)
		closedir(d);
	return sum;
}

static uint64_t bytes_of(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? 0 : bytes_below(fd);
}

/* ---- backup ---- */

static const char backup_text[] =
	"usage: ruvectorctl backup [OPTION...] MOUNTPOINT|DATA FILE\n"
	"\n"
	"Writes all tenants to FILE, a tar archive with checksums; FILE - is standard output. What\n"
	"is mounted goes on being read and written: each tenant is as it was at one moment.\n"
	"Tenants and collections cannot be removed meanwhile.\n"
	"\n"
	"  -q, --quiet  no progress, no summary\n"
	"  -h, --help   this text\n"
	"\n"
	"Exit status: 0, or 2 when it could not be done.\n";

/*
 * Of a running mount, or else with the lock. Who holds that may be a supervisor that was between two
 * servers.
 */
static int back_up(const char *data, struct output *o, struct err *e)
{
	const struct backup_sink sink = { output_write, o };
	int fd, rc = service_connect(data, &fd, e);
	bool mounted = rc == 0;

	if (rc == -ENOENT || rc == -ECONNREFUSED)
		rc = ctl_lock(data, &fd, e);
	if (rc == -EBUSY && service_connect(data, &fd, NULL) == 0) {
		mounted = true;
		rc = 0;
	}
	if (rc < 0)
		return rc;
	rc = mounted ? service_backup(fd, &sink, e) : backup_data(data, &sink, e);
	close(fd);
	return rc;
}

static int backup_to(const char *from, const char *to, struct output *o, struct err *e)
{
	char data[4096];
	int rc = 0;

	if (ctl_is_data(from))
		snprintf(data, sizeof(data), "%s", from);
	else
		rc = ctl_data_of_mount(from, data, e);
	o->outside = data;
	if (rc == 0)
		rc = output_open(o, to, true, e);
	if (rc < 0)
		return rc;
	o->progress = (struct ctl_progress){ .what = "backup", .unit = "bytes" };
	o->progress.total = bytes_of(data);
	return output_close(o, back_up(data, o, e), e);
}

int ctl_backup(int argc, char **argv)
{
	static const struct ctl_usage usage = { backup_text, "qh", long_options, 2, 2 };
	const char *values[CTL_OPTIONS_MAX];
	struct output o = { .fd = -1 };
	struct err e = { 0 };
	int rc = ctl_options(argc, argv, &usage, values);

	if (rc)
		return rc - 1;
	o.quiet = values[0] != NULL;
	if (backup_to(argv[optind], argv[optind + 1], &o, &e) < 0)
		return ctl_fail(CTL_CANNOT, "%s", e.text);
	if (!o.quiet)
		fprintf(stderr, "%llu bytes written\n", (unsigned long long)o.written);
	return CTL_OK;
}

/* ---- restore ---- */

static const char restore_text[] =
	"usage: ruvectorctl restore [OPTION...] FILE DATA\n"
	"\n"
	"Makes DATA, which must be empty or not there, of a backup; FILE - is standard input. The\n"
	"result is verified. A backup that is damaged or cut off leaves nothing.\n"
	"\n"
	"  -q, --quiet  no progress, no summary\n"
	"  -h, --help   this text\n"
	"\n"
	"Exit status: 0, 1 when what was restored has damage, 2 when it could not be restored.\n";

static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
	interrupted = sig;
}

struct input {
	int fd;
	uint64_t taken;
	bool quiet;
	struct ctl_progress progress;
};

static long read_input(void *ctx, void *p, size_t n, struct err *e)
{
	struct input *in = ctx;
	ssize_t got;

	do
		got = interrupted ? 0 : read(in->fd, p, n);
	while (got < 0 && errno == EINTR);
	if (interrupted)
		return err_set(e, -EINTR, "interrupted: nothing of it is left");
	if (got < 0)
		return err_set(e, -errno, "reading the backup: %s", strerror(errno));
	in->taken += (uint64_t)got;
	if (!in->quiet)
		ctl_progress_show(&in->progress, in->taken);
	return got;
}

static int check_empty(const char *data, bool *ret_exists, struct err *e)
{
	struct dirent *entry;
	DIR *d = opendir(data);
	int rc = 0;

	*ret_exists = d != NULL;
	if (!d)
		return errno == ENOENT ? 0 : err_set(e, -errno, "%s: %s", data, strerror(errno));
	while (rc == 0 && (entry = readdir(d))) {
		const char *n = entry->d_name;

		if (strcmp(n, ".") != 0 && strcmp(n, "..") != 0 && strcmp(n, "lost+found") != 0)
			rc = err_set(e, -ENOTEMPTY, "%s is not empty: give a new directory", data);
	}
	closedir(d);
	return rc;
}

static void remove_traces(const char *data, bool existed)
{
	static const char *const made[] = { "lock", "format" };
	char path[4096];

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", data, made[i]);
		unlink(path);
	}
	if (!existed)
		rmdir(data);
}

static int open_input(struct input *in, const char *path, struct err *e)
{
	struct stat st;

	in->progress = (struct ctl_progress){ .what = "restoring", .unit = "bytes" };
	in->fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	if (in->fd < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	if (fstat(in->fd, &st) == 0 && S_ISREG(st.st_mode))
		in->progress.total = (uint64_t)st.st_size;
	return 0;
}

static int restore_from(struct input *in, const char *data, int *ret_lock, struct err *e)
{
	const struct backup_source source = { read_input, in };
	bool existed;
	int rc = check_empty(data, &existed, e);

	if (rc == 0)
		rc = datadir_lock(data, false, ret_lock, e);
	if (rc < 0)
		return rc;
	ctl_on_signals(interrupt);
	rc = backup_restore(data, &source, e);
	ctl_on_signals(SIG_DFL);
	ctl_progress_clear(&in->progress);
	if (rc < 0) {
		remove_traces(data, existed);
		close(*ret_lock);
	}
	return rc;
}

int ctl_restore(int argc, char **argv)
{
	static const struct ctl_usage usage = { restore_text, "qh", long_options, 2, 2 };
	const char *values[CTL_OPTIONS_MAX];
	struct verification v = { 0 };
	struct input in = { .fd = -1 };
	struct err e = { 0 };
	int lock, rc = ctl_options(argc, argv, &usage, values);

	if (rc)
		return rc - 1;
	in.quiet = values[0] != NULL;
	v.data = argv[optind + 1];
	rc = open_input(&in, argv[optind], &e);
	if (rc == 0)
		rc = restore_from(&in, v.data, &lock, &e);
	if (in.fd >= 0)
		close(in.fd);
	if (rc < 0)
		return ctl_fail(CTL_CANNOT, "%s", e.text);
	rc = verify_data(&v, &e);
	close(lock);
	if (rc < 0)
		return ctl_fail(CTL_CANNOT, "%s", e.text);
	if (!in.quiet)
		verify_summary(&v);
	return v.findings ? CTL_FOUND : CTL_OK;
}
