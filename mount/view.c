/*
 * view.c: see view.h. Where DATA is mounted is told by /proc/self/mountinfo; the tenant's directory
 * is held by a descriptor while it is bound, so that another one that takes its name is not meant.
 */
#include "mount/view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "mount/mountpoint.h"
#include "tenant/tenant.h"

static bool answers(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0;
}

static int open_tenant(const char *mount, const char *tenant, struct err *e)
{
	struct buf path BUF_AUTO = BUF_INIT;
	int fd;

	buf_addf(&path, "%s/tenants/%s", mount, tenant);
	if (buf_failed(&path))
		return err_set(e, -ENOMEM, "out of memory");
	fd = open(path.data, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, -ENOENT, "there is no tenant %s", tenant);
	return fd < 0 ? err_set(e, -errno, "%s: %s", path.data, strerror(errno)) : fd;
}

/* A descriptor of the tenant's directory. */
static int find_tenant(const struct options *o, struct err *e)
{
	char *data = realpath(o->data, NULL);
	char *mount = data ? mountpoint_of(data) : NULL;
	int rc;

	if (mount && answers(mount))
		rc = open_tenant(mount, o->tenant, e);
	else
		rc = err_set(
			e, -ENOENT,
			"%s is not mounted: mount the whole first, then its tenants by tenant=",
			o->data);
	free(mount);
	free(data);
	return rc;
}

static int bind_to(int dir, const char *where, struct err *e)
{
	char from[32];

	snprintf(from, sizeof(from), "/proc/self/fd/%d", dir);
	if (mount(from, where, NULL, MS_BIND, NULL) == 0)
		return 0;
	return err_set(e, -errno, "%s: %s", where,
	               errno == EPERM ? "a tenant by itself is mounted by root" : strerror(errno));
}

int view_mount(const struct options *o, struct err *e)
{
	char *where = NULL;
	int dir, rc = tenant_name_check(o->tenant, e);

	if (rc == 0 && o->read_only)
		rc = err_set(e, -EINVAL, "ro is for the whole: a tenant's status is readonly");
	if (rc < 0)
		return rc;
	dir = find_tenant(o, e);
	if (dir < 0)
		return dir;
	rc = mountpoint_prepare(o->mountpoint, &where, e);
	if (rc == 0)
		rc = bind_to(dir, where, e);
	free(where);
	close(dir);
	return rc;
}
