/*
 * supervisor.h: the process that a mount belongs to. It mounts, starts a server, and starts the
 * next one when that ends by anything but an unmount or its own word.
 */
#ifndef RV_MOUNT_SUPERVISOR_H
#define RV_MOUNT_SUPERVISOR_H

#include "mount/options.h"

struct supervisor_options {
	const struct options *options;
	int lock_fd;              /* of datadir_lock, claimed */
	void (*ready)(void *ctx); /* called once, when requests are served; NULL allowed */
	void *ctx;
};

/*
 * Until umount, SIGTERM or SIGINT; SIGHUP changes to the program that is installed by then. Returns
 * an exit code; failures were logged.
 */
int supervisor_run(const struct supervisor_options *o);

/* ---- for its test ---- */

/*
 * How long to wait before the next server when n in a row ended within a moment of their start, in
 * ms; -1: no more of them.
 */
int supervisor_delay_ms(unsigned n);

#endif
