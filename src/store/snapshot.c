/*
 * snapshot.c: see snapshot.h. A connection of its own in one read transaction, and a descriptor of
 * the segment of the generation that this transaction sees: rows never change their place in a
 * generation, and an unlinked file can be read on.
 */
#include "store/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/store_impl.h"

#define OPEN_TRIES 10 /* compactions that may come in between */

struct store_snapshot {
	struct sql db;
	uint32_t cid; /* const after open, as the next three */
	uint32_t dim;
	uint32_t gen;
	int fd; /* of the segment; -1: there is none */
	float *v;
	sqlite3_stmt *st; /* under way, or NULL */
	bool contents;    /* of st */
	uint64_t last;    /* number of the last row that was given */
};

static const char heads[] = "SELECT " ROW_COLUMNS " FROM rows WHERE key BETWEEN ? AND ?"
			    " ORDER BY key";
static const char wholes[] = "SELECT " ROW_ALL " FROM rows WHERE key BETWEEN ? AND ? ORDER BY key";

/* ---- open ---- */

static int read_collection(struct store_snapshot *n, struct err *e)
{
	sqlite3_stmt *st;
	bool ok;
	int rc = sql_start(&n->db, &st, e, "SELECT gen, dimension FROM collections WHERE cid = ?",
	                   "i", I(n->cid));

	if (rc == 0)
		rc = sql_step(&n->db, st, e);
	if (rc == 0)
		return err_set(e, -ENODEV, "the collection is gone");
	if (rc < 0)
		return rc;
	ok = sql_u32(st, 0, &n->gen) && sql_u32(st, 1, &n->dim) && n->dim <= LIMIT_DIMENSION;
	sql_done(st);
	return ok ? 0 : err_set(e, -EIO, "the parameters of the collection are damaged");
}

/* -EAGAIN: a compaction unlinked the segment since the transaction began. */
static int open_segment(struct store *s, struct store_snapshot *n, struct err *e)
{
	char path[4096];
	int64_t gen;
	int rc;

	segment_path(s->dir, n->cid, n->gen, path, sizeof(path));
	n->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (n->fd >= 0)
		return 0;
	if (errno != ENOENT)
		return err_set(e, -errno, "opening the segment: %s", strerror(errno));
	sql_run(&n->db, NULL, "COMMIT", "");
	rc = sql_number(&n->db, &gen, e, "SELECT gen FROM collections WHERE cid = ?", "i",
	                I(n->cid));
	if (rc < 0)
		return rc == -ENOENT ? err_set(e, -ENODEV, "the collection is gone") : rc;
	if (gen != n->gen)
		return -EAGAIN;
	return sql_run(&n->db, e, "BEGIN", ""); /* none was made yet, or its rows are damaged */
}

/* The first row that is read begins the transaction. */
static int begin(struct store *s, struct store_snapshot *n, struct store_snapshot_info *ret,
                 struct err *e)
{
	struct store_state state;
	int rc = -EAGAIN;

	for (int i = 0; rc == -EAGAIN && i < OPEN_TRIES; i++) {
		rc = sql_run(&n->db, e, "BEGIN", "");
		if (rc == 0)
			rc = read_collection(n, e);
		if (rc == 0)
			rc = open_segment(s, n, e);
	}
	if (rc == -EAGAIN)
		return err_set(e, -EAGAIN, "the collection is being compacted: try again");
	if (rc == 0)
		rc = store_state_load(&n->db, &state, e);
	if (rc == 0)
		rc = read_collection(n, e);
	if (rc < 0)
		return rc;
	*ret = (struct store_snapshot_info){ n->dim, state.last_seq };
	return 0;
}

int store_snapshot_open(struct store *s, uint32_t cid, struct store_snapshot **ret,
                        struct store_snapshot_info *ret_info, struct err *e)
{
	struct store_snapshot *n = mem_zalloc(1, sizeof(*n));
	char path[4096];
	int rc;

	if (!n)
		return err_nomem(e);
	n->cid = cid;
	n->fd = -1;
	store_path(s, "store.db", path, sizeof(path));
	rc = store_db_open(&n->db, path, s->read_only ? SQL_IMMUTABLE : SQL_READ, e);
	if (rc == 0)
		rc = begin(s, n, ret_info, e);
	if (rc == 0) {
		n->v = mem_alloc(n->dim ? n->dim : 1, sizeof(float));
		rc = n->v ? 0 : err_nomem(e);
	}
	if (rc < 0) {
		store_snapshot_close(n);
		return store_runtime(rc, e);
	}
	*ret = n;
	return 0;
}

void store_snapshot_close(struct store_snapshot *n)
{
	if (!n)
		return;
	if (n->st)
		sql_done(n->st);
	sql_close(&n->db);
	if (n->fd >= 0)
		close(n->fd);
	mem_free(n->v);
	mem_free(n);
}

/* ---- rows ---- */

static void stop(struct store_snapshot *n)
{
	if (n->st)
		sql_done(n->st);
	n->st = NULL;
}

void store_snapshot_seek(struct store_snapshot *n, uint64_t after)
{
	stop(n);
	n->last = after;
}

static bool take_floats(struct store_snapshot *n, struct row *row)
{
	size_t bytes = n->dim * sizeof(float);

	if (row->r.off == STORE_INLINE)
		memcpy(n->v, row->r.v, bytes);
	else if (n->fd < 0 || io_read_at(n->fd, n->v, bytes, row->r.off) < 0)
		return false;
	row->r.v = n->v;
	return crc32c(0, n->v, bytes) == row->vcrc;
}

static int start(struct store_snapshot *n, bool contents, struct err *e)
{
	if (n->st && n->contents == contents)
		return 0;
	stop(n);
	n->contents = contents;
	return sql_start(&n->db, &n->st, e, contents ? wholes : heads, "ii",
	                 ROW_KEYS(n->cid, n->last + 1));
}

int store_snapshot_next(struct store_snapshot *n, bool contents, struct store_row *ret,
                        struct err *e)
{
	struct row row = { 0 };
	uint64_t key;
	bool holds;
	int rc = n->last >= STORE_NUM_MAX ? 0 : start(n, contents, e);

	if (rc == 0 && n->st)
		rc = sql_step(&n->db, n->st, e);
	if (rc <= 0) {
		n->st = NULL;
		return store_runtime(rc, e);
	}
	holds = row_decode(n->st, n->cid, &row);
	if (sql_u64(n->st, 0, INT64_MAX, &key))
		n->last = key & STORE_NUM_MAX;
	if (holds && contents)
		holds = row_decode_rest(n->st, n->dim, &row) && take_floats(n, &row);
	if (!holds)
		return err_set(e, -EIO, "the stored row %" PRIu64 " is damaged", n->last);
	*ret = row.r;
	return 1;
}
