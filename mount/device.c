/*
 * device.c: a session of libfuse that is mounted and never serves: libfuse knows how to mount as
 * an ordinary user, what options mean, and how to unmount without asking a server.
 */
#include "mount/device.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/mem.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#define DEVICE "/dev/fuse"
#define CONF   "/etc/fuse.conf"

struct device {
	struct fuse_session *session;
};

/* A comma or backslash in the path would end the option. */
static void add_escaped(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if (*s == ',' || *s == '\\')
			buf_addc(b, '\\');
		buf_addc(b, *s);
	}
}

static struct fuse_session *new_session(const struct options *o)
{
	static const struct fuse_lowlevel_ops none;
	struct buf list BUF_AUTO = BUF_INIT;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *se = NULL;

	buf_adds(&list, "default_permissions,subtype=ruvectorfs,fsname=");
	add_escaped(&list, o->data);
	if (o->allow_other)
		buf_adds(&list, ",allow_other");
	if (o->fuse.len)
		buf_adds(&list, o->fuse.data);
	if (!buf_failed(&list) && fuse_opt_add_arg(&args, "ruvectorfs") == 0 &&
	    fuse_opt_add_arg(&args, "-o") == 0 && fuse_opt_add_arg(&args, list.data) == 0)
		se = fuse_session_new(&args, &none, sizeof(none), NULL);
	fuse_opt_free_args(&args);
	return se;
}

/* ---- what can be known before ---- */

static int check_device(struct err *e)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC), rc = fd < 0 ? errno : 0;
	struct stat st;

	if (rc == ENOENT || rc == ENODEV || rc == ENXIO)
		return err_set(e, -rc,
		               "there is no " DEVICE ": load it with `modprobe fuse`; a container "
		               "needs --device " DEVICE);
	if (rc == EACCES || rc == EPERM)
		return err_set(e, -rc,
		               DEVICE " may not be opened: as root `chmod 666 " DEVICE
		                      "` lets everybody mount; a container needs --device " DEVICE);
	if (rc)
		return err_set(e, -rc, DEVICE ": %s", strerror(rc));
	rc = fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(10, 229);
	close(fd);
	return rc ? 0 : err_set(e, -ENODEV, DEVICE " is another device than that of FUSE");
}

/* In the directories where libfuse looks for it, and those of PATH. */
static bool has_fusermount(void)
{
	BUF_AUTO struct buf dirs = BUF_INIT, path = BUF_INIT;
	char *save = NULL;

	buf_addf(&dirs, "/usr/bin:/bin:/usr/local/bin:%s", getenv("PATH") ? getenv("PATH") : "");
	if (buf_failed(&dirs))
		return true;
	for (char *d = strtok_r(dirs.data, ":", &save); d; d = strtok_r(NULL, ":", &save)) {
		buf_clear(&path);
		buf_addf(&path, "%s/fusermount3", d);
		if (!buf_failed(&path) && access(path.data, X_OK) == 0)
			return true;
	}
	return false;
}

/* A line of its own, as fusermount3 wants it. */
static bool others_allowed(void)
{
	FILE *f = fopen(CONF, "re");
	char line[256], word[64];
	bool found = false;

	while (f && fgets(line, sizeof(line), f))
		found |= sscanf(line, "%63s", word) == 1 && strcmp(word, "user_allow_other") == 0;
	if (f)
		fclose(f);
	return found;
}

int device_check(const struct options *o, struct err *e)
{
	int rc = check_device(e);

	if (rc < 0 || geteuid() == 0)
		return rc;
	if (!has_fusermount())
		return err_set(
			e, -ENOENT,
			"fusermount3 is missing, by which an ordinary user mounts: install fuse3");
	if (o->allow_other && !others_allowed())
		return err_set(e, -EPERM,
		               "allow_other needs root, or a line user_allow_other in " CONF);
	if (access(o->mountpoint, W_OK) < 0 && errno == EACCES)
		return err_set(e, -EACCES,
		               "%s: an ordinary user mounts on a directory that it may write",
		               o->mountpoint);
	return 0;
}

/* ---- mounting ---- */

/* What libfuse says while it mounts; there is one at a time. */
static char said[160];

static void listen(enum fuse_log_level level, const char *fmt, va_list args)
{
	if (level > FUSE_LOG_ERR)
		return;
	vsnprintf(said, sizeof(said), fmt, args);
	said[strcspn(said, "\n")] = '\0';
}

static int mount_heard(struct device *d, const struct options *o, struct err *e)
{
	int rc;

	said[0] = '\0';
	fuse_set_log_func(listen);
	rc = fuse_session_mount(d->session, o->mountpoint);
	fuse_set_log_func(NULL);
	if (rc == 0)
		return 0;
	return err_set(e, -EIO, "%s: cannot be mounted on%s%s%s", o->mountpoint,
	               said[0] ? ": " : "", said,
	               geteuid() == 0 ? " (in a container root needs --cap-add SYS_ADMIN)" : "");
}

int device_mount(const struct options *o, struct device **ret, struct err *e)
{
	struct device *d = mem_zalloc(1, sizeof(*d));
	int rc;

	if (!d)
		return err_nomem(e);
	d->session = new_session(o);
	if (!d->session) {
		mem_free(d);
		return err_set(e, -EIO, "libfuse took no session");
	}
	rc = mount_heard(d, o, e);
	if (rc < 0) {
		fuse_session_destroy(d->session);
		mem_free(d);
		return rc;
	}
	*ret = d;
	return 0;
}

int device_fd(const struct device *d)
{
	return fuse_session_fd(d->session);
}

bool device_is_off(const struct device *d)
{
	struct pollfd p = { .fd = device_fd(d) };

	return poll(&p, 1, 0) > 0 && (p.revents & POLLERR);
}

void device_unmount(struct device *d)
{
	if (!d)
		return;
	fuse_session_unmount(d->session);
	fuse_session_destroy(d->session);
	mem_free(d);
}
