/* ctl_output.c: see ctl_output.h. */
#include "tools/ctl_output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"

int output_open(struct output *o, const char *path, bool binary, struct err *e)
{
	o->fd = STDOUT_FILENO;
	o->path = strcmp(path, "-") == 0 ? NULL : path;
	if (!o->path)
		return binary && isatty(STDOUT_FILENO)
		               ? err_set(e, -EINVAL, "that is not written to a terminal")
		               : 0;
	if (snprintf(o->aside, sizeof(o->aside), "%s.tmp", o->path) >= (int)sizeof(o->aside))
		return err_set(e, -ENAMETOOLONG, "the name of the file is too long");
	o->fd = open(o->aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return o->fd < 0 ? err_set(e, -errno, "%s: %s", o->aside, strerror(errno)) : 0;
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

int output_close(struct output *o, int rc, struct err *e)
{
	ctl_progress_clear(&o->progress);
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
