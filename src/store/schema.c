/*
 * schema.c: the tables of store.db.
 *
 * A new database is built beside its name without a sync, then synced and renamed: a crash
 * leaves either none or a whole one. Every table that is read back into memory has a checksum
 * column over the others, because SQLite has none and a flipped bit passes its integrity check.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/store_impl.h"

/*
 * rows: a rowid of cid and number instead of a WITHOUT ROWID table, so that inner pages have no
 * vectors in them and a 256-dimensional row needs no overflow page. What scans need stands in
 * front of what they do not.
 */
static const char schema[] =
	"CREATE TABLE state(one INTEGER PRIMARY KEY CHECK(one = 1), last_seq INTEGER NOT NULL,"
	" last_batch INTEGER NOT NULL, changes INTEGER NOT NULL, lost_seqs INTEGER NOT NULL,"
	" lost_changes INTEGER NOT NULL, crc INTEGER NOT NULL);"
	"CREATE TABLE collections(cid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
	" uid INTEGER NOT NULL, gid INTEGER NOT NULL, mode INTEGER NOT NULL,"
	" created_ns INTEGER NOT NULL, dimension INTEGER NOT NULL, dimension_set INTEGER NOT NULL,"
	" metric INTEGER NOT NULL, m INTEGER NOT NULL, ef_construction INTEGER NOT NULL,"
	" quantization TEXT NOT NULL, ef_search INTEGER NOT NULL, k INTEGER NOT NULL,"
	" durability INTEGER NOT NULL, receipts INTEGER NOT NULL, next_num INTEGER NOT NULL,"
	" next_receipt INTEGER NOT NULL, gen INTEGER NOT NULL, cleared_seq INTEGER NOT NULL,"
	" total_inserts INTEGER NOT NULL, total_deletes INTEGER NOT NULL,"
	" segment_end INTEGER NOT NULL, salt INTEGER NOT NULL, crc INTEGER NOT NULL);"
	"CREATE TABLE rows(key INTEGER PRIMARY KEY, cid INTEGER NOT NULL, id TEXT NOT NULL,"
	" slot INTEGER NOT NULL, seq INTEGER NOT NULL, off INTEGER, json_bytes INTEGER NOT NULL,"
	" pcrc INTEGER NOT NULL, vcrc INTEGER NOT NULL, crc INTEGER NOT NULL,"
	" metadata TEXT, text TEXT, vector BLOB);"
	"CREATE INDEX rows_by_seq ON rows(cid, seq);"
	"CREATE INDEX rows_inline ON rows(key) WHERE off IS NULL;"
	"CREATE TABLE gone(cid INTEGER NOT NULL, seq INTEGER NOT NULL, slot INTEGER NOT NULL,"
	" crc INTEGER NOT NULL, PRIMARY KEY(cid, seq, slot)) WITHOUT ROWID;"
	"CREATE TABLE batches(seq INTEGER PRIMARY KEY, token BLOB NOT NULL UNIQUE,"
	" cid INTEGER NOT NULL, accepted INTEGER NOT NULL, replaced INTEGER NOT NULL,"
	" removed INTEGER NOT NULL);"
	"CREATE TABLE receipts(cid INTEGER NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL,"
	" state INTEGER NOT NULL, vectors INTEGER NOT NULL, replaced INTEGER NOT NULL,"
	" bytes INTEGER NOT NULL, ns INTEGER NOT NULL, batches INTEGER NOT NULL,"
	" error TEXT NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY(cid, number)) WITHOUT ROWID;"
	"CREATE UNIQUE INDEX receipts_by_name ON receipts(cid, name);";

#define BLANK_MAX (1 << 20)

static int build(struct sql *s, struct err *e)
{
	const struct store_state none = { 0 };
	char versions[96];
	int rc;

	snprintf(versions, sizeof(versions), "PRAGMA application_id=%d; PRAGMA user_version=%d",
	         STORE_APPLICATION_ID, STORE_FORMAT);
	rc = sql_exec(s,
	              "PRAGMA page_size=4096; PRAGMA synchronous=OFF;"
	              " PRAGMA journal_mode=MEMORY; BEGIN",
	              e);
	if (rc == 0)
		rc = sql_exec(s, schema, e);
	if (rc == 0)
		rc = sql_exec(s, versions, e);
	if (rc == 0)
		rc = store_state_save(s, &none, e);
	if (rc == 0)
		rc = sql_exec(s, "COMMIT; PRAGMA journal_mode=WAL", e);
	return rc;
}

static int install(const char *from, const char *to, struct err *e)
{
	int fd = open(from, O_RDONLY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return err_set(e, -errno, "creating the store: %s", strerror(errno));
	rc = fchmod(fd, 0600) < 0 ? -errno : io_sync(fd);
	close(fd);
	FAULT_POINT("store.built");
	if (rc == 0 && rename(from, to) < 0)
		rc = -errno;
	FAULT_POINT("store.renamed"); /* whoever opens it syncs the directory */
	return rc < 0 ? err_set(e, rc, "creating the store: %s", strerror(-rc)) : 0;
}

/*
 * A new database is the same for every store, so only the first of a process is built; its
 * bytes are kept for the others.
 */
static struct {
	pthread_mutex_t lock;
	char *bytes; /* lock; NULL: not built yet */
	size_t n;    /* lock */
} blank = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool write_blank_locked(const char *path)
{
	int fd;
	bool ok;

	if (!blank.bytes)
		return false;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return false;
	ok = io_write_at(fd, blank.bytes, blank.n, 0) == 0;
	close(fd);
	return ok;
}

static bool write_blank(const char *path)
{
	bool ok;

	pthread_mutex_lock(&blank.lock);
	ok = write_blank_locked(path);
	pthread_mutex_unlock(&blank.lock);
	return ok;
}

static void keep_blank(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char *bytes = NULL;

	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size < BLANK_MAX)
		bytes = mem_alloc((size_t)st.st_size, 1);
	if (bytes && io_read_at(fd, bytes, (size_t)st.st_size, 0) == 0) {
		pthread_mutex_lock(&blank.lock);
		if (!blank.bytes) {
			blank.bytes = bytes;
			blank.n = (size_t)st.st_size;
			bytes = NULL;
		}
		pthread_mutex_unlock(&blank.lock);
	}
	mem_free(bytes);
	if (fd >= 0)
		close(fd);
}

static int build_file(const char *path, struct err *e)
{
	struct sql s;
	int rc = sql_open(&s, path, SQL_CREATE, e);

	if (rc == 0)
		rc = build(&s, e);
	sql_close(&s);
	if (rc == 0)
		keep_blank(path);
	return rc;
}

int store_db_create(const char *dir, const char *path, struct err *e)
{
	char tmp[4096];
	int rc = 0;

	snprintf(tmp, sizeof(tmp), "%s/store.db.tmp", dir);
	unlink(tmp);
	if (!write_blank(tmp)) {
		unlink(tmp);
		rc = build_file(tmp, e);
	}
	if (rc == 0)
		rc = install(tmp, path, e);
	if (rc < 0)
		unlink(tmp);
	return rc;
}

static int check_format(struct sql *s, struct err *e)
{
	int64_t id = 0, version = 0;
	int rc = sql_number(s, &id, e, "PRAGMA application_id", "");

	if (rc == 0)
		rc = sql_number(s, &version, e, "PRAGMA user_version", "");
	if (rc < 0)
		return rc;
	if (id != STORE_APPLICATION_ID)
		return err_set(e, -EILSEQ, "store.db is not the database of a store");
	if (version > STORE_FORMAT)
		return err_set(e, -EPROTO,
		               "the store is of format %" PRId64
		               ", this version knows up to %d: use a newer one",
		               version, STORE_FORMAT);
	if (version < 1)
		return err_set(e, -EILSEQ, "the store has format %" PRId64, version);
	rc = sql_schema_is(s, schema, e);
	if (rc == 0)
		return err_set(e, -EILSEQ, "store.db has other tables than a store");
	return rc < 0 ? rc : 0;
}

int store_db_open(struct sql *s, const char *path, enum sql_open how, struct err *e)
{
	int rc = sql_open(s, path, how, e);

	if (rc < 0)
		return rc;
	rc = sql_exec(s, "PRAGMA cache_size=-2000; PRAGMA temp_store=MEMORY", e);
	if (rc == 0)
		rc = check_format(s, e);
	if (rc == 0 && how == SQL_WRITE)
		rc = sql_exec(s,
		              "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
		              " PRAGMA secure_delete=ON; PRAGMA journal_size_limit=16777216",
		              e);
	if (rc < 0)
		sql_close(s);
	return rc;
}

static uint32_t state_crc(const struct store_state *st)
{
	return crc32c(0, st, sizeof(*st));
}

bool store_state_decode(sqlite3_stmt *q, struct store_state *ret)
{
	struct store_state st;
	uint32_t crc;

	if (!sql_u64(q, 0, STORE_SEQ_MAX, &st.last_seq) ||
	    !sql_u64(q, 1, STORE_SEQ_MAX, &st.last_batch) ||
	    !sql_u64(q, 2, STORE_SEQ_MAX, &st.changes) ||
	    !sql_u64(q, 3, STORE_SEQ_MAX, &st.lost_seqs) ||
	    !sql_u64(q, 4, STORE_SEQ_MAX, &st.lost_changes) || !sql_u32(q, 5, &crc) ||
	    crc != state_crc(&st))
		return false;
	*ret = st;
	return true;
}

int store_state_load(struct sql *s, struct store_state *ret, struct err *e)
{
	sqlite3_stmt *q;
	bool ok;
	int rc = sql_start(s, &q, e,
	                   "SELECT last_seq, last_batch, changes, lost_seqs, lost_changes, crc"
	                   " FROM state",
	                   "");

	if (rc == 0)
		rc = sql_step(s, q, e);
	if (rc <= 0)
		return rc < 0 ? rc : err_set(e, -EILSEQ, "store.db has lost its state");
	ok = store_state_decode(q, ret);
	sql_done(q);
	return ok ? 0 : err_set(e, -EILSEQ, "the state in store.db is damaged");
}

int store_state_save(struct sql *s, const struct store_state *st, struct err *e)
{
	return sql_run(s, e, "INSERT OR REPLACE INTO state VALUES(1, ?, ?, ?, ?, ?, ?)", "iiiiii",
	               I(st->last_seq), I(st->last_batch), I(st->changes), I(st->lost_seqs),
	               I(st->lost_changes), I(state_crc(st)));
}
