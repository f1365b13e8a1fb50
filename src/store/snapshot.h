/*
 * snapshot.h: all rows of one collection as they were at one moment, for as long as it is open.
 *
 * Commits, moves and compactions go on meanwhile; what they give up stays on the disk until the
 * snapshot is closed, the end of the WAL included. Bounded memory. One thread at a time; to be
 * closed before its store is.
 */
#ifndef RV_STORE_SNAPSHOT_H
#define RV_STORE_SNAPSHOT_H

#include "store/store.h"

struct store_snapshot;

struct store_snapshot_info {
	uint32_t dim; /* 0: nothing was ever stored */
	uint64_t seq; /* of the last commit of the store that is in it */
};

/* -ENODEV: the collection is gone. */
int store_snapshot_open(struct store *s, uint32_t cid, struct store_snapshot **ret,
                        struct store_snapshot_info *ret_info, struct err *e);
void store_snapshot_close(struct store_snapshot *n); /* NULL allowed */

/* The next row is the first with num > after. At first: 0. */
void store_snapshot_seek(struct store_snapshot *n, uint64_t after);
/*
 * 1: *ret is the next row in the order of numbers, 0: there is none. contents: also its floats,
 * metadata and text, checked against their checksums. Pointers are valid until the next call. -EIO:
 * the row is damaged; the next call goes on behind it.
 */
int store_snapshot_next(struct store_snapshot *n, bool contents, struct store_row *ret,
                        struct err *e);

#endif
