/* ctl_output.c: see ctl_output.h. */
#include "tools/ctl_output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

/* A rename would put a file in the place of the device, or of the link. */
static int open_in_place(struct output *o, struct err *e)
{
	o->fd = open(o->path, O_WRONLY | O_CLOEXEC);
	return o->fd < 0 ? err_set(e, -errno, "%s: %s", o->path, strerror(errno)) : 0;
}

static int open_aside(struct output *o, struct err *e)
{
	char real[PATH_MAX];

	if (realpath(o->path, real) &&
	    snprintf(o->real, sizeof(o->real), "%s", real) < (int)sizeof(o->real))
		o->path = o->real;
	if (snprintf(o->aside, sizeof(o->aside), "%s.tmp", o->path) >= (int)sizeof(o->aside))
		return err_set(e, -ENAMETOOLONG, "the name of the file is too long");
	o->fd = open(o->aside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	return o->fd < 0 ? err_set(e, -errno, "%s: %s", o->aside, strerror(errno)) : 0;
}

int output_open(struct output *o, const char *path, bool binary, struct err *e)
{
	struct stat st;

	o->fd = STDOUT_FILENO;
	o->path = strcmp(path, "-") == 0 ? NULL : path;
	if (!o->path)
		return binary && isatty(STDOUT_FILENO)
		               ? err_set(e, -EINVAL, "that is not written to a terminal")
		               : 0;
	o->fd = -1;
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
	if (close(o->fd) < 0 && rc == 0)
		rc = err_set(e, -errno, "%s: %s", o->path, strerror(errno));
	if (rc == 0 && *o->aside)
		rc = keep(o, e);
	if (rc < 0 && *o->aside)
		unlink(o->aside); /* not there any more when only the folder failed */
	return rc;
}
