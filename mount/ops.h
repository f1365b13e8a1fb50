/*
 * ops.h: the FUSE operations: each converts, calls the tree, and replies exactly once at its tail.
 */
#ifndef RV_MOUNT_OPS_H
#define RV_MOUNT_OPS_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include "tree/tree.h"

/* The user data of the session. */
struct mount {
	struct tree *tree;
	struct waiting *waiting; /* waiting.h */
	struct fuse_session *session;
	void (*ready)(void *ctx); /* called once, when the kernel is being answered */
	void *ready_ctx;
};

extern const struct fuse_lowlevel_ops mount_ops;

#endif
