/*
 * device.c: a session of libfuse that is mounted and never serves: libfuse knows how to mount as
 * an ordinary user, what options mean, and how to unmount without asking a server.
 */
#include "mount/device.h"

#include <errno.h>

#include "base/mem.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

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

int device_mount(const struct options *o, struct device **ret, struct err *e)
{
	struct device *d = mem_zalloc(1, sizeof(*d));

	if (!d)
		return err_nomem(e);
	d->session = new_session(o);
	if (!d->session) {
		mem_free(d);
		return err_set(e, -EIO, "libfuse took no session");
	}
	if (fuse_session_mount(d->session, o->mountpoint) < 0) {
		fuse_session_destroy(d->session);
		mem_free(d);
		return err_set(e, -EIO, "%s: cannot be mounted on", o->mountpoint);
	}
	*ret = d;
	return 0;
}

int device_fd(const struct device *d)
{
	return fuse_session_fd(d->session);
}

void device_unmount(struct device *d)
{
	if (!d)
		return;
	fuse_session_unmount(d->session);
	fuse_session_destroy(d->session);
	mem_free(d);
}
