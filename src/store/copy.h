/*
 * copy.h: copies of databases and stores as they are at one moment, beside whoever works on them.
 *
 * Nobody waits for a copy: it is a read transaction, files that are only appended to, and
 * descriptors of files that may be unlinked meanwhile. Needs room on the disk for one copy of the
 * database.
 */
#ifndef RV_STORE_COPY_H
#define RV_STORE_COPY_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The database at path, which is in use or not, as a file at aside, which is written over, for the
 * caller to unlink and *ret_fd to close. -ENOENT: there is no database.
 */
int database_copy(const char *path, const char *aside, int *ret_fd, struct err *e);

struct store_copy_file {
	char name[64]; /* in the directory of the store */
	int fd;
	uint64_t size; /* of it as many bytes */
};

struct store_copy {
	struct store_copy_file *files;
	size_t n;
};

/*
 * What belongs to the store in dir: the database, segments as far as they are committed, images.
 * aside: a path outside of dir, whose owner may open it meanwhile and sweeps what he does not know;
 * nothing is there afterwards. n is 0 when nothing was stored yet. -EIO: a segment is missing.
 */
int store_copy_open(const char *dir, const char *aside, struct store_copy *ret, struct err *e);
void store_copy_close(struct store_copy *c); /* all zeros allowed */

#endif
