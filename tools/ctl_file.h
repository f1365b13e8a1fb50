/*
 * ctl_file.h: a file that takes long to read, and whether it is still what it was.
 *
 * All of it is read once beforehand for a checksum, and what is read afterwards is compared with
 * that: so what was taken of it is of one content, whoever writes it. Not for several threads.
 */
#ifndef RV_TOOLS_CTL_FILE_H
#define RV_TOOLS_CTL_FILE_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"

/* What tells contents apart: their length, a checksum, and one of the checksums at each block. */
struct contents {
	uint64_t len;
	uint32_t crc, of_blocks;
};

struct ctl_file {
	const char *path; /* NULL: standard input */
	int fd;           /* -1 before it is opened */
	uint64_t from;    /* where reading began */
	uint64_t size;    /* from there; 0: not known, as of a pipe */
	struct stat was;
	bool is_known;                      /* file_know was called, and it has a size */
	struct contents all, taken;         /* taken: by file_read */
	const volatile sig_atomic_t *ended; /* not 0: reading beforehand ends with -EINTR */
	bool quiet;
};

int file_open(struct ctl_file *f, const char *path, struct err *e);
void file_close(struct ctl_file *f);

/* As read(2). */
ssize_t file_read(struct ctl_file *f, void *room, size_t n);

/*
 * Reads all of it, with a bar on a terminal. ret: six letters and figures that are made of the
 * content, or of the time if it has no size.
 */
int file_know(struct ctl_file *f, char ret[7], struct err *e);

/*
 * -ESTALE: its content is not what file_know saw, or the path leads to another one. Another time of
 * the same content is no matter. Costs a stat(2), and another reading if that tells of a change.
 */
int file_check(struct ctl_file *f, struct err *e);
/* The same when it was read to its end: -ESTALE also if that was another content. */
int file_check_taken(struct ctl_file *f, struct err *e);

#endif
