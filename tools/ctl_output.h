/*
 * ctl_output.h: the one file that a subcommand writes: beside its name, and renamed when it is
 * complete and on the disk, so that what is there is whole; or standard output. Devices and pipes are
 * written as they are, and links followed. Shows the progress. A signal that ends the program leaves no
 * half of it.
 */
#ifndef RV_TOOLS_CTL_OUTPUT_H
#define RV_TOOLS_CTL_OUTPUT_H

#include "base/err.h"
#include "tools/ctl.h"

struct output {
	const char *outside; /* the data, in which nothing else may be; NULL: not known */
	int fd;              /* -1 before it is opened */
	const char *path;    /* NULL: standard output */
	char real[4096];     /* where links end */
	char aside[4096];    /* "": a device or a pipe, written in place */
	uint64_t written;
	bool quiet;
	struct ctl_progress progress; /* what, unit and total are the caller's to set */
};

/* "-" is standard output, which must be no terminal if the file is binary. -EINVAL: it lies in the
 * data. */
int output_open(struct output *o, const char *path, bool binary, struct err *e);
/* ctx: the output. */
int output_write(void *ctx, const void *p, size_t n, struct err *e);
/* rc: of what was written. Keeps the file when it is 0, otherwise nothing stays. Returns rc or why
 * the file could not be kept. */
int output_close(struct output *o, int rc, struct err *e);

#endif
