/*
 * mountpoint.h: the directory that is mounted on: made free of a dead mount of ours, checked
 * with clear sentences.
 */
#ifndef RV_MOUNT_MOUNTPOINT_H
#define RV_MOUNT_MOUNTPOINT_H

#include "base/err.h"

/*
 * *ret: its absolute path, freed with free(3). A mount of ours whose daemon is gone (ENOTCONN)
 * is taken off first. -ENOENT, -ENOTDIR, -ENOTEMPTY, -EBUSY (something of ours is mounted there
 * and lives).
 */
int mountpoint_prepare(const char *path, char **ret, struct err *e);

/*
 * Where the whole of that source (an absolute path) is mounted, the last one; freed with free(3).
 * NULL: nowhere that can be seen from here.
 */
char *mountpoint_of(const char *data);

#endif
