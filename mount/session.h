/*
 * session.h: one mount from its start to its end.
 */
#ifndef RV_MOUNT_SESSION_H
#define RV_MOUNT_SESSION_H

#include "mount/handover.h"
#include "mount/options.h"

struct session_options {
	const struct options *options;
	int lock_fd; /* of datadir_lock */
	const struct handover *handover; /* from a supervisor; NULL: mounts by itself */
	void (*ready)(void *ctx); /* called once, when the kernel is being answered */
	void *ctx;
};

/*
 * Serves until umount or a signal. Returns an exit code, for a supervisor 0 or HANDOVER_TOLD;
 * failures were logged.
 */
int session_run(const struct session_options *o);

#endif
