/*
 * device.h: the mount as the kernel sees it: a descriptor of /dev/fuse that requests come from.
 *
 * The mount lives as long as a copy of the descriptor is open. By root it is made directly, by
 * others through fusermount3.
 */
#ifndef RV_MOUNT_DEVICE_H
#define RV_MOUNT_DEVICE_H

#include "base/err.h"
#include "mount/options.h"

struct device;

/*
 * What would keep it from being mounted, as far as that can be known before, and what to do about it:
 * -ENOENT, -EACCES, -EPERM …
 */
int device_check(const struct options *o, struct err *e);
int device_mount(const struct options *o, struct device **ret, struct err *e);
int device_fd(const struct device *d); /* stays the device's */
bool device_is_off(const struct device *d); /* it was unmounted, or the kernel has given it up */
/*
 * Takes the mount off, if it still is there, and closes the descriptor; files that are open get
 * ENOTCONN when no copy is left. NULL allowed.
 */
void device_unmount(struct device *d);

#endif
