/* ctl_output.c: see ctl_output.h. */
#include "tools/ctl_output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

/* ---- where it lies ---- */

static bool same_node(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether a directory is the other one or below it, by the way up, whatever its name is. */
static bool leads_up_to(int dir, const struct stat *other)
{
	struct stat here, before = { 0 };
	bool met = false, again = true;

	while (again && fstat(dir, &here) == 0) {
		int up = openat(dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

		met = same_node(&here, other);
		again = !met && up >= 0 && !same_node(&here, &before);
		before = here;
		close(dir);
		dir = up;
	}
	if (dir >= 0)
		close(dir);
	return met;
}

static int check_outside(const struct output *o, struct err *e)
{
	const char *path = *o->real ? o->real : o->path;
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];
	struct stat data;
	int fd;

	if (!o->outside || stat(o->outside, &data) < 0)
		return 0;
	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || !leads_up_to(fd, &data))
		return 0;
	return err_set(e, -EINVAL, "%s lies in the data %s: give a file outside of it", o->path,
	               o->outside);
}

/* ---- the file ---- */

/* A rename would put a file in the place of the device, or of the link. */
static int open_in_place(struct output *o, struct err *e)
{
	o->fd = open(o->path, O_WRONLY | O_CLOEXEC);
	return o->fd < 0 ? err_set(e, -errno, "%s: %s", o->path, strerror(errno)) : 0;
}

/* What a signal that ends the program takes away; NULL: nothing. There is one output at a time. */
static const char *volatile unfinished;

static void end_by_signal(int sig)
{
	const char *path = unfinished;

	if (path)
		unlink(path);
	ctl_die_of(sig);
}

static void set_unfinished(const char *path)
{
	unfinished = path;
	ctl_on_signals(path ? end_by_signal : SIG_DFL);
}

/*
 * Two that write the same file, as backups do that take longer than from one to the next, are not to
 * write into each other's. Where there are no locks it is not known.
 */
static int take_aside(struct output *o, struct err *e)
{
	bool taken = flock(o->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	struct stat mine, there;

	if (!taken && fstat(o->fd, &mine) == 0)
		taken = stat(o->aside, &there) < 0 ||
		        !same_node(&mine, &there); /* it was renamed */
	if (!taken && ftruncate(o->fd, 0) == 0)
		return 0;
	err_set(e, taken ? -EBUSY : -errno, "%s: %s", o->path,
	        taken ? "another ruvectorctl is writing it" : strerror(errno));
	close(o->fd);
	o->fd = -1;
	return e->code;
}

static int open_aside(struct output *o, struct err *e)
{
	int rc;

	if (*o->real)
		o->path = o->real;
	if (snprintf(o->aside, sizeof(o->aside), "%s.tmp", o->path) >= (int)sizeof(o->aside))
		return err_set(e, -ENAMETOOLONG, "the name of the file is too long");
	o->fd = open(o->aside, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (o->fd < 0)
		return err_set(e, -errno, "%s: %s", o->aside, strerror(errno));
	rc = take_aside(o, e);
	if (rc == 0)
		set_unfinished(o->aside);
	return rc;
}

int output_open(struct output *o, const char *path, bool binary, struct err *e)
{
	char real[PATH_MAX];
	struct stat st;
	int rc;

	o->fd = STDOUT_FILENO;
	o->path = strcmp(path, "-") == 0 ? NULL : path;
	if (!o->path)
		return binary && isatty(STDOUT_FILENO)
		               ? err_set(e, -EINVAL, "that is not written to a terminal")
		               : 0;
	o->fd = -1;
	if (!realpath(path, real) || strlen(real) >= sizeof(o->real))
		*real = '\0';
	snprintf(o->real, sizeof(o->real), "%.*s", (int)sizeof(o->real) - 1, real);
	rc = check_outside(o, e);
	if (rc < 0)
		return rc;
	if (stat(path, &st) < 0 || S_ISREG(st.st_mode))
		return open_aside(o, e);
	return S_ISDIR(st.st_mode) ? err_set(e, -EISDIR, "%s: %s", path, strerror(EISDIR))
	                           : open_in_place(o, e);
}

int output_write(void *ctx, const void *p, size_t n, struct err *e)
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

/* Pipes and most devices have nothing to sync. */
static int sync_output(const struct output *o, struct err *e)
{
	if (fsync(o->fd) == 0 || (!*o->aside && (errno == EINVAL || errno == EROFS)))
		return 0;
	return err_set(e, -errno, "%s: %s", o->path, strerror(errno));
}

static int keep(const struct output *o, struct err *e)
{
	if (rename(o->aside, o->path) < 0)
		return err_set(e, -errno, "%s: %s", o->path, strerror(errno));
	if (io_sync_parent(o->path) < 0)
		return err_set(e, -EIO, "%s: its folder cannot be synced", o->path);
	return 0;
}

int output_close(struct output *o, int rc, struct err *e)
{
	ctl_progress_clear(&o->progress);
	if (!o->path || o->fd < 0)
		return rc;
	if (rc == 0)
		rc = sync_output(o, e);
	if (rc == 0 && *o->aside)
		rc = keep(o, e);
	if (rc < 0 && *o->aside)
		unlink(o->aside); /* not there any more when only the folder failed */
	set_unfinished(NULL);
	if (close(o->fd) < 0 && rc == 0) /* last, for the lock */
		rc = err_set(e, -errno, "%s: %s", o->path, strerror(errno));
	return rc;
}
