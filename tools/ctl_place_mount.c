/*
 * ctl_place_mount.c: the directory of a tenant or collection in a mount.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "tools/ctl_place.h"

struct mounted {
	struct place place;
	char dir[4096];
	const char *up; /* from there to the tenant's directory */
	int fd;         /* of the file that is written, -1: none */
};

static struct mounted *mounted_of(struct place *p)
{
	return (struct mounted *)(void *)p;
}

static int slurp(const char *path, struct buf *ret)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
	ssize_t n = -1;
	char *room;

	if (fd < 0)
		return -errno;
	while ((room = buf_space(ret, 4096)) && (n = read(fd, room, 4096)) > 0)
		buf_grew(ret, (size_t)n);
	if (room && n < 0)
		rc = -errno;
	close(fd);
	return buf_failed(ret) ? -ENOMEM : rc;
}

/* What the filesystem says of the call that failed, or what the system calls it. */
static int explain(struct mounted *m, int rc, const char *what, struct err *e)
{
	BUF_AUTO struct buf b = BUF_INIT;
	char path[4096 + 16];

	snprintf(path, sizeof(path), "%s/error", m->dir);
	if (slurp(path, &b) == 0 && b.len > 1)
		return err_set(e, rc, "%.*s", (int)b.len - 1, b.data);
	return err_set(e, rc, "%s/%s: %s", m->dir, what, strerror(-rc));
}

static int mounted_read(struct place *p, const char *name, struct buf *ret, struct err *e)
{
	struct mounted *m = mounted_of(p);
	char path[4096 + 300];
	int rc;

	snprintf(path, sizeof(path), "%s/%s%s", m->dir, name[0] == '/' ? m->up : "", name);
	rc = slurp(path, ret);
	return rc < 0 ? explain(m, rc, name, e) : 0;
}

static int open_locked(struct mounted *m, const char *path, struct err *e)
{
	int rc = 0;

	m->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (m->fd < 0)
		return explain(m, -errno, "ingest", e);
	if (flock(m->fd, LOCK_EX | LOCK_NB) < 0) {
		rc = err_set(e, -errno, "another import of this file is running");
		close(m->fd);
		m->fd = -1;
	}
	return rc;
}

static int mounted_open(struct place *p, const char *name, bool fresh, struct err *e)
{
	struct mounted *m = mounted_of(p);
	char path[4096 + 300];
	int rc;

	snprintf(path, sizeof(path), "%s/ingest/%s", m->dir, name);
	rc = open_locked(m, path, e);
	if (rc < 0 || !fresh)
		return rc;
	if (unlink(path) < 0)
		return explain(m, -errno, name, e);
	close(m->fd);
	return open_locked(m, path, e);
}

static int mounted_write(struct place *p, const void *bytes, size_t n, struct err *e)
{
	struct mounted *m = mounted_of(p);

	for (const char *at = bytes; n > 0;) {
		ssize_t done = write(m->fd, at, n);

		if (done < 0)
			return explain(m, -errno, "ingest", e);
		at += done;
		n -= (size_t)done;
	}
	return 0;
}

static int mounted_sync(struct place *p, struct err *e)
{
	struct mounted *m = mounted_of(p);

	return fsync(m->fd) < 0 ? explain(m, -errno, "ingest", e) : 0;
}

static int mounted_close(struct place *p, struct err *e)
{
	struct mounted *m = mounted_of(p);
	int rc = m->fd >= 0 && close(m->fd) < 0 ? -errno : 0;

	m->fd = -1;
	return rc < 0 ? explain(m, rc, "ingest", e) : 0;
}

static int mounted_rename(struct place *p, const char *from, const char *to, struct err *e)
{
	struct mounted *m = mounted_of(p);
	char old[4096 + 300], new[4096 + 300];

	snprintf(old, sizeof(old), "%s/ingest/%s", m->dir, from);
	snprintf(new, sizeof(new), "%s/ingest/%s", m->dir, to);
	return rename(old, new) < 0 ? explain(m, -errno, to, e) : 0;
}

static void mounted_free(struct place *p)
{
	mounted_close(p, NULL);
	mem_free(p);
}

static const struct place_ops ops = {
	.read = mounted_read,
	.open = mounted_open,
	.write = mounted_write,
	.sync = mounted_sync,
	.close = mounted_close,
	.rename = mounted_rename,
	.free = mounted_free,
};

static bool has(const char *dir, const char *name)
{
	char path[4096 + 32];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

int place_of_mount(const char *dir, bool make, struct place **ret, struct err *e)
{
	struct mounted *m;
	struct stat st;

	if (strlen(dir) >= sizeof(m->dir))
		return err_set(e, -ENAMETOOLONG, "the path is too long");
	if (make && mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_set(e, -errno, "%s: %s", dir, strerror(errno));
	if (stat(dir, &st) < 0)
		return err_set(e, -errno, "%s: %s%s", dir, strerror(errno),
		               errno == ENOENT && !make ? " (--make makes it)" : "");
	if (!has(dir, "ingest") || !has(dir, "vectors"))
		return err_set(e, -ENOTDIR,
		               "%s: not the directory of a tenant or collection in a mount", dir);
	m = mem_zalloc(1, sizeof(*m));
	if (!m)
		return err_nomem(e);
	m->place.ops = &ops;
	m->fd = -1;
	m->up = has(dir, "quota") ? "" : "../..";
	snprintf(m->dir, sizeof(m->dir), "%s", dir);
	*ret = &m->place;
	return 0;
}
