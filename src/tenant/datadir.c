/*
 * datadir.c: the lock on DATA and the format's version.
 *
 * The lock is flock(2) on DATA/lock: it ends with its holder however that ends, and a fork
 * inherits it. The file says "PID running" or "PID ending". Somebody who finds it locked waits
 * as long as it is ending, and a moment in any case: between the end of umount(8) and the
 * daemon's noticing nothing is written yet, and a killed process needs time to be cleared away.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "tenant/datadir.h"

#define FORMAT_VERSION 1
#define FORMAT_LINE    "ruvectorfs 1\n"
#define WAIT_ENDING_NS 30000000000ull
#define WAIT_ANY_NS    2000000000ull
#define POLL_US        20000

static int make_dir(const char *data, bool read_only, struct err *e)
{
	struct stat st;
	int rc;

	if (stat(data, &st) == 0)
		return S_ISDIR(st.st_mode) ? 0 : err_set(e, -ENOTDIR, "%s: not a directory", data);
	if (errno != ENOENT || read_only)
		return err_set(e, -errno, "%s: %s", data, strerror(errno));
	rc = io_mkdir(data, 0700);
	if (rc == -ENOENT)
		return err_set(e, rc, "%s: cannot be made: make the directory above it first",
		               data);
	return rc < 0 ? err_set(e, rc, "%s: cannot be made: %s", data, strerror(-rc)) : 0;
}

/* ---- the lock ---- */

struct holder {
	long pid;
	bool ending;
};

static struct holder read_holder(int fd)
{
	struct holder h = { 0 };
	char text[64], *end;
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return h;
	text[n] = '\0';
	h.pid = strtol(text, &end, 10);
	h.ending = strncmp(end, " ending", 7) == 0;
	return h;
}

static void write_holder(int fd, long pid, const char *state)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%ld %s\n", pid, state);

	if (io_write_at(fd, text, (size_t)n, 0) < 0 || ftruncate(fd, n) < 0)
		return; /* it only helps who waits */
}

static int wait_lock(const char *data, int fd, struct err *e)
{
	uint64_t start = clock_mono_ns();

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		uint64_t waited = clock_mono_ns() - start;
		struct holder h = read_holder(fd);

		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_set(e, -errno, "%s/lock: %s", data, strerror(errno));
		if (waited > WAIT_ENDING_NS || (waited > WAIT_ANY_NS && !h.ending))
			return err_set(
				e, -EBUSY,
				"%s is in use by process %ld: unmount it, or wait for its end",
				data, h.pid);
		usleep(POLL_US);
	}
	return 0;
}

static int no_data(const char *data, struct err *e)
{
	return err_set(e, -ENOENT, "%s holds no data of ruvectorfs", data);
}

/* Where nothing is to be made, a directory that is not ours stays as it is. */
static int open_lock(const char *data, bool make, int *ret_fd, struct err *e)
{
	char path[4096];
	int fd, rc;

	if ((size_t)snprintf(path, sizeof(path), "%s/lock", data) >= sizeof(path))
		return err_set(e, -ENAMETOOLONG, "the path of DATA is too long");
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (make ? O_CREAT : 0), 0600);
	if (fd < 0 && errno == ENOENT && !make)
		return no_data(data, e);
	if (fd < 0)
		return err_set(e, -errno, "%s: %s%s", path, strerror(errno),
		               errno == EACCES ? ": the data is another user's" : "");
	rc = wait_lock(data, fd, e);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

/* ---- the format ---- */

/* Nothing that we did not make: a mistyped DATA must not become one. */
static int check_unused(const char *data, struct err *e)
{
	static const char *const fine[] = { ".", "..", "lock", "format.new", "lost+found" };
	DIR *d = opendir(data);
	struct dirent *entry;
	int rc = 0;

	if (!d)
		return err_set(e, -errno, "%s: %s", data, strerror(errno));
	while (rc == 0 && (entry = readdir(d))) {
		bool known = false;

		for (size_t i = 0; i < sizeof(fine) / sizeof(*fine); i++)
			known |= strcmp(fine[i], entry->d_name) == 0;
		if (!known)
			rc = err_set(
				e, -EINVAL,
				"%s holds files that are not ruvectorfs's (%s): give an empty or a new directory",
				data, entry->d_name);
	}
	closedir(d);
	return rc;
}

static int write_format(const char *data, const char *path, struct err *e)
{
	char aside[4096 + 8];
	int fd, rc;

	snprintf(aside, sizeof(aside), "%s.new", path);
	fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(e, -errno, "%s: %s", aside, strerror(errno));
	rc = io_write_at(fd, FORMAT_LINE, strlen(FORMAT_LINE), 0);
	if (rc == 0)
		rc = io_sync(fd);
	close(fd);
	if (rc == 0 && rename(aside, path) < 0)
		rc = -errno;
	if (rc == 0)
		rc = io_sync_dir(data);
	return rc < 0 ? err_set(e, rc, "%s: %s", path, strerror(-rc)) : 0;
}

static int parse_format(const char *path, const char *text, struct err *e)
{
	unsigned version;

	if (sscanf(text, "ruvectorfs %u", &version) != 1 || version == 0)
		return err_set(e, -EINVAL, "%s: not a format file of ruvectorfs", path);
	if (version > FORMAT_VERSION)
		return err_set(
			e, -EINVAL,
			"%s: the data is of format %u, this program knows up to %d: use a newer one",
			path, version, FORMAT_VERSION);
	return 0;
}

static int check_format(const char *data, bool read_only, struct err *e)
{
	char path[4096], text[64] = "";
	ssize_t n;
	int fd, rc;

	snprintf(path, sizeof(path), "%s/format", data);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		return n < 0 ? err_set(e, -EIO, "%s: cannot be read", path)
		             : parse_format(path, text, e);
	}
	if (errno != ENOENT)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	rc = check_unused(data, e);
	if (rc == 0 && read_only)
		rc = no_data(data, e);
	return rc < 0 ? rc : write_format(data, path, e);
}

static bool has_format(const char *data)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/format", data);
	return access(path, F_OK) == 0 || errno != ENOENT;
}

/* Before a lock is made, or somebody's file of that name is taken for one. */
static int check_place(const char *data, struct err *e)
{
	int rc = has_format(data) ? 0 : check_unused(data, e);

	return rc < 0 && has_format(data) ? 0 : rc; /* another one was making it */
}

int datadir_lock(const char *data, bool read_only, int *ret_fd, struct err *e)
{
	int fd = -1, rc = make_dir(data, read_only, e);

	if (rc == 0 && !read_only)
		rc = check_place(data, e);
	if (rc == 0)
		rc = open_lock(data, !read_only, &fd, e);
	if (rc < 0)
		return rc;
	rc = check_format(data, read_only, e);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	write_holder(fd, (long)getpid(), "running");
	*ret_fd = fd;
	return 0;
}

void datadir_claim(int fd)
{
	write_holder(fd, (long)getpid(), "running");
}

void datadir_ending(int fd)
{
	write_holder(fd, read_holder(fd).pid, "ending");
}
