/*
 * ctl_backup.c: ruvectorctl backup and restore.
 *
 * What is mounted is backed up by its server, which streams the archive through DATA/ctl.sock; what
 * is not, by this process under DATA's lock. The file is written beside its name and renamed when
 * it is complete and on the disk, so a backup that is there is whole.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "tenant/datadir.h"
#include "tenant/service.h"
#include "tools/ctl.h"
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

struct output {
	int fd;
	const char *path; /* NULL: standard output */
	char aside[4096];
	uint64_t written;
	bool quiet;
	struct ctl_progress progress;
};

static int write_output(void *ctx, const void *p, size_t n, struct err *e)
{
	struct output *o = ctx;

	for (const char *at = p; n > 0;) {
		ssize_t done = write(o->fd, at, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return err_set(e, -errno, "%s: %s", o->path ? o->path : "standard output",
			               strerror(errno));
		at += done;
		n -= (size_t)done;
		o->written += (uint64_t)done;
	}
	if (!o->quiet)
		ctl_progress_show(&o->progress, o->written);
	return 0;
}

static int open_output(struct output *o, struct err *e)
{
	o->fd = STDOUT_FILENO;
	if (!o->path)
		return isatty(STDOUT_FILENO)
		               ? err_set(e, -EINVAL, "a backup is not written to a terminal")
		               : 0;
	if (snprintf(o->aside, sizeof(o->aside), "%s.tmp", o->path) >= (int)sizeof(o->aside))
		return err_set(e, -ENAMETOOLONG, "the name of the file is too long");
	o->fd = open(o->aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return o->fd < 0 ? err_set(e, -errno, "%s: %s", o->aside, strerror(errno)) : 0;
}

static int close_output(struct output *o, int rc, struct err *e)
{
	if (!o->path || o->fd < 0)
		return rc;
	if (rc == 0 && fsync(o->fd) < 0)
		rc = err_set(e, -errno, "%s: %s", o->aside, strerror(errno));
	close(o->fd);
	if (rc == 0 && rename(o->aside, o->path) < 0)
		rc = err_set(e, -errno, "%s: %s", o->path, strerror(errno));
	if (rc < 0)
		unlink(o->aside);
	else if (io_sync_parent(o->path) < 0)
		rc = err_set(e, -EIO, "%s: its folder cannot be synced", o->path);
	return rc;
}

static bool is_data(const char *path)
{
	char format[4096];

	return snprintf(format, sizeof(format), "%s/format", path) < (int)sizeof(format) &&
	       access(format, F_OK) == 0;
}

/* Of a running mount, or else with the lock. */
static int back_up(const char *data, struct output *o, struct err *e)
{
	const struct backup_sink sink = { write_output, o };
	int fd, rc = service_connect(data, &fd, e);

	if (rc == 0)
		rc = service_backup(fd, &sink, e);
	else if (rc == -ENOENT || rc == -ECONNREFUSED) {
		rc = ctl_lock(data, &fd, e);
		if (rc < 0)
			return rc;
		rc = backup_data(data, &sink, e);
	} else {
		return rc;
	}
	close(fd);
	return rc;
}

static int backup_to(const char *from, struct output *o, struct err *e)
{
	char data[4096];
	int rc = 0;

	if (is_data(from))
		snprintf(data, sizeof(data), "%s", from);
	else
		rc = ctl_data_of_mount(from, data, e);
	if (rc == 0)
		rc = open_output(o, e);
	if (rc < 0)
		return rc;
	o->progress = (struct ctl_progress){ .what = "backup", .unit = "bytes" };
	o->progress.total = bytes_of(data);
	rc = close_output(o, back_up(data, o, e), e);
	ctl_progress_clear(&o->progress);
	return rc;
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
	if (strcmp(argv[optind + 1], "-") != 0)
		o.path = argv[optind + 1];
	if (backup_to(argv[optind], &o, &e) < 0)
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
		got = read(in->fd, p, n);
	while (got < 0 && errno == EINTR);
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
	rc = backup_restore(data, &source, e);
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
