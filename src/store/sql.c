/*
 * sql.c: the wrapper around SQLite's C interface.
 *
 * Autocheckpoint is off: SQLite ignores a failed sync in it and would trust the next one. The
 * owner checkpoints by hand (wal_pages says when) and sees the error.
 */
#include "store/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

#define SETTLE_BYTES 4096 /* at once: a page of any disk */

/*
 * What errno a failed write met; sqlite3_system_errno() has whatever errno was later. ENOSPC
 * never comes this way, SQLite gives SQLITE_FULL for it; a disk quota does.
 */
static bool write_met(struct sql *s, int op, int code)
{
	sqlite3_file *file = NULL;
	int last = 0;

	if (sqlite3_file_control(s->db, "main", op, &file) != SQLITE_OK || !file || !file->pMethods)
		return false;
	file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &last);
	return last == code;
}

static int io_errno(struct sql *s, int rc)
{
	static const int ops[] = { SQLITE_FCNTL_FILE_POINTER, SQLITE_FCNTL_JOURNAL_POINTER };

	if (rc == SQLITE_IOERR_NOMEM)
		return -ENOMEM;
	if (rc != SQLITE_IOERR_WRITE || !s->db)
		return -EIO;
	for (int i = 0; i < 2; i++) {
		if (write_met(s, ops[i], EDQUOT) || write_met(s, ops[i], EFBIG))
			return -ENOSPC;
	}
	return -EIO;
}

/* What opening a file of the database failed with; 0: nothing that is known. */
static int open_errno(struct sql *s, int rc)
{
	return (rc & 0xff) == SQLITE_CANTOPEN && s->db ? sqlite3_system_errno(s->db) : 0;
}

static bool lacks_descriptors(int code)
{
	return code == EMFILE || code == ENFILE;
}

static int to_errno(struct sql *s, int rc)
{
	switch (rc & 0xff) {
	case SQLITE_CANTOPEN:
		return lacks_descriptors(open_errno(s, rc)) ? -EMFILE : -EIO;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_FORMAT:
	case SQLITE_MISMATCH:
		return -EILSEQ;
	case SQLITE_INTERRUPT:
		return -ECANCELED;
	case SQLITE_TOOBIG:
		return -E2BIG;
	default:
		return io_errno(s, rc);
	}
}

int sql_error(struct sql *s, int rc, struct err *e)
{
	int code = to_errno(s, rc);
	const char *text = s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc);
	int open_failed = open_errno(s, rc);

	switch (code) {
	case -ENOMEM:
		return err_nomem(e);
	case -ENOSPC:
		return err_set(e, code, "no space left on the disk of the store");
	case -EROFS:
		return err_set(e, code, "the store is readonly");
	case -EBUSY:
		return err_set(e, code, "another program holds the database");
	case -EILSEQ:
		return err_set(e, code, "the database is damaged: %s", text);
	case -EMFILE:
		return err_set(e, code, "the daemon has as many files open as it may (ulimit -n)");
	default:
		if (open_failed)
			return err_set(e, code, "the database cannot be opened: %s",
			               strerror(open_failed));
		return err_set(e, code, "the database failed: %s (%d)", text, rc);
	}
}

static int count_pages(void *ctx, sqlite3 *db, const char *name, int pages)
{
	struct sql *s = ctx;

	s->wal_pages = pages;
	return SQLITE_OK;
}

static int open_flags(enum sql_open how)
{
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;

	if (how == SQL_READ || how == SQL_IMMUTABLE)
		return flags | SQLITE_OPEN_READONLY | SQLITE_OPEN_URI;
	return flags | SQLITE_OPEN_READWRITE | (how == SQL_CREATE ? SQLITE_OPEN_CREATE : 0);
}

/* "file:PATH?immutable=1" with what a URI gives a meaning escaped. */
static char *immutable_uri(const char *path)
{
	sqlite3_str *b = sqlite3_str_new(NULL);

	sqlite3_str_appendall(b, "file:");
	for (const char *p = path; *p; p++) {
		if (*p == '%' || *p == '?' || *p == '#')
			sqlite3_str_appendf(b, "%%%02x", (unsigned char)*p);
		else
			sqlite3_str_appendchar(b, 1, *p);
	}
	sqlite3_str_appendall(b, "?immutable=1");
	return sqlite3_str_finish(b);
}

/*
 * What is in a database is its owner's, whatever the umask says, and SQLite gives the files beside it
 * the database's mode. Closing one that is open elsewhere would let go of its locks: this one is new.
 */
static void create_private(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd >= 0)
		close(fd);
}

static int open_path(struct sql *s, const char *path, enum sql_open how)
{
	char *uri = NULL;
	int rc;

	if (how == SQL_CREATE)
		create_private(path);
	if (how == SQL_IMMUTABLE) {
		uri = immutable_uri(path);
		if (!uri)
			return SQLITE_NOMEM;
	}
	rc = sqlite3_open_v2(uri ? uri : path, &s->db, open_flags(how), NULL);
	sqlite3_free(uri);
	return rc;
}

int sql_open(struct sql *s, const char *path, enum sql_open how, struct err *e)
{
	int rc;

	memset(s, 0, sizeof(*s));
	rc = open_path(s, path, how);
	if (rc == SQLITE_OK) {
		sqlite3_extended_result_codes(s->db, 1);
		sqlite3_busy_timeout(s->db, 10000);
		sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
		sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
		sqlite3_wal_autocheckpoint(s->db, 0);
		sqlite3_wal_hook(s->db, count_pages, s);
		return 0;
	}
	rc = sql_error(s, rc, e);
	sql_close(s);
	return rc;
}

/* A page that the disk cannot read is none that only the kernel has. */
static int write_page_again(int fd, char *p, uint64_t at, uint64_t end)
{
	size_t n = end - at < SETTLE_BYTES ? (size_t)(end - at) : SETTLE_BYTES;
	int rc = io_read_at(fd, p, n, at);

	return rc == 0 ? io_write_at(fd, p, n, at) : rc == -EIO ? 0 : rc;
}

static int write_again(int fd, char *p)
{
	struct stat st;
	int rc = fstat(fd, &st) < 0 ? -errno : 0;

	for (uint64_t at = 0; rc == 0 && at < (uint64_t)st.st_size; at += SETTLE_BYTES)
		rc = write_page_again(fd, p, at, (uint64_t)st.st_size);
	return rc < 0 ? rc : io_sync(fd);
}

int sql_settle_wal(const char *path, struct err *e)
{
	char wal[4096], page[SETTLE_BYTES];
	int fd, rc;

	snprintf(wal, sizeof(wal), "%s-wal", path);
	fd = open(wal, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	rc = fd < 0 ? -errno : write_again(fd, page);
	if (fd >= 0)
		close(fd);
	return rc < 0 ? err_set(e, rc, "writing the database's log again: %s", strerror(-rc)) : 0;
}

void sql_close(struct sql *s)
{
	for (int i = 0; i < s->n; i++)
		sqlite3_finalize(s->statements[i]);
	sqlite3_close(s->db);
	memset(s, 0, sizeof(*s));
}

int sql_exec(struct sql *s, const char *text, struct err *e)
{
	int rc = sqlite3_exec(s->db, text, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : sql_error(s, rc, e);
}

static int prepared(struct sql *s, const char *text, sqlite3_stmt **ret, struct err *e)
{
	int rc;

	for (int i = 0; i < s->n; i++) {
		if (s->texts[i] == text) {
			*ret = s->statements[i];
			return 0;
		}
	}
	if (s->n == SQL_STATEMENTS) /* none of them is in use: callers finish what they start */
		sqlite3_finalize(s->statements[--s->n]);
	rc = sqlite3_prepare_v3(s->db, text, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);
	if (rc != SQLITE_OK)
		return sql_error(s, rc, e);
	s->texts[s->n] = text;
	s->statements[s->n++] = *ret;
	return 0;
}

static int bind_one(sqlite3_stmt *st, int at, char type, va_list *ap)
{
	const void *p;
	size_t n;

	if (type == 'i')
		return sqlite3_bind_int64(st, at, va_arg(*ap, int64_t));
	p = va_arg(*ap, const void *);
	n = va_arg(*ap, size_t);
	if (!p)
		return sqlite3_bind_null(st, at);
	if (type == 't')
		return sqlite3_bind_text64(st, at, p, n, SQLITE_STATIC, SQLITE_UTF8);
	return sqlite3_bind_blob64(st, at, p, n, SQLITE_STATIC);
}

static int bind_all(struct sql *s, sqlite3_stmt *st, const char *types, va_list *ap, struct err *e)
{
	int rc = SQLITE_OK;

	for (int i = 0; types[i] && rc == SQLITE_OK; i++)
		rc = bind_one(st, i + 1, types[i], ap);
	return rc == SQLITE_OK ? 0 : sql_error(s, rc, e);
}

static int start(struct sql *s, sqlite3_stmt **ret, struct err *e, const char *text,
                 const char *types, va_list *ap)
{
	int rc = prepared(s, text, ret, e);

	return rc < 0 ? rc : bind_all(s, *ret, types, ap, e);
}

int sql_start(struct sql *s, sqlite3_stmt **ret, struct err *e, const char *text, const char *types,
              ...)
{
	va_list ap;
	int rc;

	va_start(ap, types);
	rc = start(s, ret, e, text, types, &ap);
	va_end(ap);
	return rc;
}

int sql_step(struct sql *s, sqlite3_stmt *st, struct err *e)
{
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW)
		return 1;
	rc = rc == SQLITE_DONE ? 0 : sql_error(s, rc, e);
	sqlite3_reset(st);
	return rc;
}

void sql_done(sqlite3_stmt *st)
{
	sqlite3_reset(st);
}

int sql_run(struct sql *s, struct err *e, const char *text, const char *types, ...)
{
	sqlite3_stmt *st;
	va_list ap;
	int rc;

	va_start(ap, types);
	rc = start(s, &st, e, text, types, &ap);
	va_end(ap);
	if (rc < 0)
		return rc;
	while ((rc = sql_step(s, st, e)) > 0)
		;
	return rc;
}

int sql_number(struct sql *s, int64_t *ret, struct err *e, const char *text, const char *types, ...)
{
	sqlite3_stmt *st;
	va_list ap;
	int rc;

	va_start(ap, types);
	rc = start(s, &st, e, text, types, &ap);
	va_end(ap);
	if (rc < 0)
		return rc;
	rc = sql_step(s, st, e);
	if (rc <= 0)
		return rc < 0 ? rc : -ENOENT;
	rc = sqlite3_column_type(st, 0) == SQLITE_INTEGER ? 0 : -ENOENT;
	*ret = sqlite3_column_int64(st, 0);
	sql_done(st);
	return rc;
}

int sql_schema_is(struct sql *s, const char *schema, struct err *e)
{
	bool same = true;
	sqlite3_stmt *st;
	int rc = sql_start(s, &st, e,
	                   "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND"
	                   " name <> 'sqlite_sequence' ORDER BY rowid",
	                   "");

	if (rc < 0)
		return rc;
	while ((rc = sql_step(s, st, e)) > 0) {
		const char *text = (const char *)sqlite3_column_text(st, 0);
		size_t n = text ? strlen(text) : 0;

		same = same && n && strncmp(schema, text, n) == 0 && schema[n] == ';';
		if (same)
			schema += n + 1;
	}
	return rc < 0 ? rc : same && !*schema;
}

bool sql_in_transaction(struct sql *s)
{
	return !sqlite3_get_autocommit(s->db);
}

bool sql_u64(sqlite3_stmt *st, int col, uint64_t max, uint64_t *ret)
{
	sqlite3_int64 v = sqlite3_column_int64(st, col);

	if (sqlite3_column_type(st, col) != SQLITE_INTEGER || v < 0 || (uint64_t)v > max)
		return false;
	*ret = (uint64_t)v;
	return true;
}

bool sql_u32(sqlite3_stmt *st, int col, uint32_t *ret)
{
	uint64_t v;

	if (!sql_u64(st, col, UINT32_MAX, &v))
		return false;
	*ret = (uint32_t)v;
	return true;
}

bool sql_bytes(sqlite3_stmt *st, int col, size_t max, const void **ret, size_t *ret_len)
{
	int type = sqlite3_column_type(st, col);

	*ret = NULL;
	*ret_len = 0;
	if (type == SQLITE_NULL)
		return true;
	if (type != SQLITE_BLOB && type != SQLITE_TEXT)
		return false;
	*ret = sqlite3_column_blob(st, col);
	*ret_len = (size_t)sqlite3_column_bytes(st, col);
	if (!*ret && *ret_len)
		return false; /* no memory */
	if (!*ret)
		*ret = ""; /* zero bytes that are not NULL */
	return *ret_len <= max;
}

bool sql_string(sqlite3_stmt *st, int col, char *ret, size_t cap)
{
	const void *p;
	size_t n;

	if (!sql_bytes(st, col, cap - 1, &p, &n) || (n && memchr(p, 0, n)))
		return false;
	if (n)
		memcpy(ret, p, n);
	ret[n] = 0;
	return true;
}
