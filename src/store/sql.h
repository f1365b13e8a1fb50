/*
 * sql.h: one SQLite connection with its prepared statements.
 *
 * Not for several threads at once: whoever owns the struct has a mutex for it. Statements are
 * prepared once and kept; a text must be a string literal (they are told apart by address). A
 * statement that was not stepped to its end must be given back with sql_done() before the next
 * use of the same text.
 *
 * Errors: -ENOSPC disk or quota of the disk full, -ENOMEM, -EROFS, -EEXIST a constraint, -EBUSY
 * another program holds the database, -EILSEQ damaged database, -EIO anything else of the disk.
 */
#ifndef RV_STORE_SQL_H
#define RV_STORE_SQL_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SQL_STATEMENTS 64

struct sql {
	sqlite3 *db;
	const char *texts[SQL_STATEMENTS];
	sqlite3_stmt *statements[SQL_STATEMENTS];
	int n;
	int wal_pages; /* in the WAL after the newest commit */
};

enum sql_open { SQL_READ, SQL_WRITE, SQL_CREATE, SQL_IMMUTABLE };

int sql_open(struct sql *s, const char *path, enum sql_open how, struct err *e);
void sql_close(struct sql *s); /* all zeros allowed */

/*
 * What a WAL that was left behind has may be in the memory of the kernel only: when a sync fails, its
 * pages count as clean. Something committed behind them would be lost with them, and so would the
 * database that they are written to in part. So all of PATH-wal is written once more, which needs no
 * room, and synced. Nobody writes to it meanwhile. 0, also when there is none.
 */
int sql_settle_wal(const char *path, struct err *e);

/* Runs statements that give no rows, unprepared. */
int sql_exec(struct sql *s, const char *text, struct err *e);

/*
 * types, a letter an argument: i int64_t (any integer is converted by the caller), b blob as
 * const void * and size_t (NULL: SQL NULL), t text likewise. The bytes must stay in place until
 * the statement is done. sql_run steps to the end; sql_start leaves *ret before the first row
 * for sql_step.
 */
int sql_run(struct sql *s, struct err *e, const char *text, const char *types, ...);
int sql_start(struct sql *s, sqlite3_stmt **ret, struct err *e, const char *text, const char *types,
              ...);
/* 1 a row, 0 the end, -Exxx; below 1 it is done */
int sql_step(struct sql *s, sqlite3_stmt *st, struct err *e);
void sql_done(sqlite3_stmt *st);

/* A query of one integer. -ENOENT without a sentence: no row or NULL. */
int sql_number(struct sql *s, int64_t *ret, struct err *e, const char *text, const char *types,
               ...);

/*
 * 1: the database has exactly the tables of these CREATE statements (no trigger, no view), 0,
 * or -Exxx.
 */
int sql_schema_is(struct sql *s, const char *schema, struct err *e);
bool sql_in_transaction(struct sql *s);
int sql_error(struct sql *s, int rc, struct err *e);

/* Columns of files that may be damaged: false when the type or the range is another. */
bool sql_u64(sqlite3_stmt *st, int col, uint64_t max, uint64_t *ret);
bool sql_u32(sqlite3_stmt *st, int col, uint32_t *ret);
/*
 * Text or blob; NULL gives NULL and 0. false above max bytes or for a number. Valid until the
 * next step.
 */
bool sql_bytes(sqlite3_stmt *st, int col, size_t max, const void **ret, size_t *ret_len);
/* Text into an array, which must fit with its 0 byte and have no other. */
bool sql_string(sqlite3_stmt *st, int col, char *ret, size_t cap);

#endif
