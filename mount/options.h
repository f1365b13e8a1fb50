/*
 * options.h: the command line of ruvectorfs.
 */
#ifndef RV_MOUNT_OPTIONS_H
#define RV_MOUNT_OPTIONS_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/limits.h"

/* Exit codes, as mount(8)'s. */
enum {
	EXIT_USAGE = 1,
	EXIT_SYSTEM = 2,
	EXIT_MOUNT = 32,
};

struct options {
	char *data;       /* absolute once DATA exists; owned */
	char *mountpoint; /* absolute; owned */
	bool foreground;
	bool debug;
	bool read_only;
	bool allow_other;
	bool supervise;   /* the mount outlives a crash of its server */
	bool realtime;    /* threads may go first: base/thread.h */
	bool is_server;   /* started by a supervisor: handover.h */
	unsigned threads; /* at most so many requests at once */
	char tier[16];    /* of new tenants */
	char tenant[LIMIT_NAME + 2]; /* "": all of it; longer than a name is no name */
	char audit_level[16]; /* "": as the mount's config says */
	struct buf fuse;  /* options that libfuse takes as they are: ",nosuid,nodev…" */
	char **flags;     /* of the command line as it was given, DATA and MOUNTPOINT left out */
	size_t n_flags;
};

/* 0, or EXIT_USAGE after a sentence on stderr; -1: help or version was printed, all is well. */
int options_parse(struct options *o, int argc, char **argv);
void options_release(struct options *o);

#endif
