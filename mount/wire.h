/*
 * wire.h: what libfuse does not show of the protocol: which request a thread serves, whether it
 * was sent before, and how a server takes over requests that another one left unanswered.
 */
#ifndef RV_MOUNT_WIRE_H
#define RV_MOUNT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#define WIRE_INIT_MAX 1024 /* bytes that are kept of a first request */

/* For fuse_session_custom_io: plain reads and writes that note the request's number. */
extern const struct fuse_custom_io wire_io;

/* Of the request that this thread read last; CALLER_AGAIN in it: it was sent before. */
uint64_t wire_request(void);

/*
 * The first request of a fresh mount. Returns its length, at most WIRE_INIT_MAX, or -errno;
 * -ENODEV: the mount is gone.
 */
int wire_read_init(int fd, char ret[WIRE_INIT_MAX]);
/* Whether the kernel that sent it can send requests again (since 6.9). */
bool wire_can_resend(const void *init, size_t n);
/* Everything that was read and not answered is to be read again. 0 or -errno. */
int wire_resend(int fd);

#endif
