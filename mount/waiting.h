/*
 * waiting.h: reads and polls of files that have nothing yet. They hold no thread of the session:
 * one thread of this room answers them when their tenant has something, or when they are
 * interrupted.
 */
#ifndef RV_MOUNT_WAITING_H
#define RV_MOUNT_WAITING_H

#include "mount/ops.h"

struct waiting;

/* tree outlives it. */
int waiting_start(struct tree *tree, struct waiting **ret, struct err *e);
/* Answers all that wait with ENODEV, and whatever comes. NULL allowed. */
void waiting_stop(struct waiting *w);
void waiting_free(struct waiting *w); /* stopped, and no event can come; NULL allowed */

/* tenants_on_event's, number 0: all; ctx is the struct waiting. Any thread, takes one innermost lock. */
void waiting_event(void *ctx, uint32_t number);

struct waiting_read {
	fuse_req_t req;
	struct caller who;
	uint64_t node, handle, off;
	size_t size;
};

/* To be asked before a tree_read that may have to wait. */
uint64_t waiting_generation(struct waiting *w);
/*
 * After a TREE_WAIT. true: the request is answered later, or was; false: something has happened
 * since the generation was asked for, so it is to be tried again.
 */
bool waiting_read(struct waiting *w, const struct waiting_read *r, uint64_t generation);
/* Takes ph; told once when the handle's tenant has something. Replaces the handle's last one. */
void waiting_poll(struct waiting *w, uint64_t node, uint64_t handle, struct fuse_pollhandle *ph);
void waiting_forget(struct waiting *w, uint64_t node, uint64_t handle); /* it is closed */

#endif
