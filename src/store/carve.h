/*
 * carve.h: the rows of a SQLite database that SQLite may not be able to read any more.
 *
 * Each page that holds rows is looked at by itself, in its newest version that is whole: nothing is
 * reached through other pages, so a page that is damaged takes away its own rows and no others. Of
 * the WAL every frame counts whose checksum holds, also behind one whose does not (SQLite stops at
 * the first), up to the last that ends a transaction; a transaction that lacks frames counts unless
 * it is the last.
 *
 * What is found is as it stands in the file: whether a row is what was once written is for the
 * row's own checksum to say. A page that was freed has been cleared by secure_delete. Where the
 * newest version of a page is damaged an older one speaks, which may have rows that were
 * replaced, moved or removed since. The files are read into memory at once; what the disk cannot read
 * is zeros. One
 * thread. Private to this room.
 */
#ifndef RV_STORE_CARVE_H
#define RV_STORE_CARVE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct carve;

#define CARVE_COLUMNS 32

/* By SQLite's serial types: 0 NULL, 1 to 6, 8, 9 integers, 7 a double, above 11 bytes. */
struct carve_value {
	uint64_t type;
	const uint8_t *p;
	size_t n;
};

struct carve_record {
	bool table; /* of a table with a rowid; otherwise of an index or a WITHOUT ROWID table */
	int64_t rowid;
	int n;
	struct carve_value v[CARVE_COLUMNS];
};

/* PATH and PATH-wal, either of which may be missing, cut or empty. -ENOENT: neither has a page. */
int carve_open(const char *path, struct carve **ret, struct err *e);
void carve_close(struct carve *c); /* NULL allowed */

/* A frame of the WAL does not hold, and a whole transaction, or what is left of one, stands behind it. */
bool carve_wal_damaged(const struct carve *c);

/* PATH is missing or has not even one page: all there is stands in the WAL. */
bool carve_wal_alone(const struct carve *c);

/* Records in the order of pages. cb: 0 to go on, anything else ends it and is returned. */
int carve_each(struct carve *c, int (*cb)(void *ctx, const struct carve_record *r), void *ctx);

/*
 * Parameter i + 1 of a statement becomes column i; of a table, a NULL that stands first is the rowid
 * (which INTEGER PRIMARY KEY is). The record's bytes must stay until the statement is done.
 */
void carve_bind(sqlite3_stmt *st, const struct carve_record *r);

#endif
