/*
 * handover.h: what a supervisor gives each of its servers: descriptors with fixed numbers, and a
 * page of facts.
 *
 * A server may be of a newer version than its supervisor (an upgrade), so fields are only ever
 * added at the end, and a server takes zeros for what it did not get.
 */
#ifndef RV_MOUNT_HANDOVER_H
#define RV_MOUNT_HANDOVER_H

#include <stdint.h>

#include "base/err.h"
#include "mount/wire.h"

enum {
	HANDOVER_DEVICE = 3, /* /dev/fuse */
	HANDOVER_LOCK,       /* of DATA */
	HANDOVER_FACTS,      /* a struct handover */
	HANDOVER_KEPT,       /* memory that outlives servers, for tree/kept.h */
	HANDOVER_READY,      /* a pipe: a byte when requests are served */
	HANDOVER_END,
};

struct handover {
	uint32_t size; /* of this struct, as the supervisor knows it */
	uint32_t supervisor;
	uint32_t restarts; /* servers before this one */
	uint32_t init_len;
	char init[WIRE_INIT_MAX]; /* the kernel's first request */
};

/* Exit code of a server that a signal told to end; 0: it was unmounted. */
#define HANDOVER_TOLD 64

/* An unnamed file for it; close-on-exec. -errno. */
int handover_file(const char *name);
int handover_write(int fd, const struct handover *h);
int handover_read(int fd, struct handover *ret, struct err *e);

#endif
