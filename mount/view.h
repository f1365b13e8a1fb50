/*
 * view.h: -o tenant=ID: one tenant of what is mounted already, on a mount point of its own.
 *
 * It is a bind mount of the tenant's directory, so it has no daemon of its own, shows nothing but
 * that directory, and lives on when the whole is unmounted.
 */
#ifndef RV_MOUNT_VIEW_H
#define RV_MOUNT_VIEW_H

#include "base/err.h"
#include "mount/options.h"

/* -ENOENT: DATA is not mounted, or has no such tenant; -EPERM: only root may do that. */
int view_mount(const struct options *o, struct err *e);

#endif
