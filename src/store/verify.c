/*
 * verify.c: checks everything of one collection, beside commits, on a connection of its own.
 *
 * SQLite's own check finds broken pages and indices; it passes flipped bits in rows and commits
 * that a damaged WAL took away. So each row is checked against its three checksums (the floats
 * are read from the file, not through the mapping), each row in the segment must lie in a whole
 * extent, each sealed batch must have its extents, and the losses that the witness showed at
 * some open are reported until the store is repaired.
 *
 * Rows are read some hundred at a time, so that no long transaction keeps the WAL from being
 * checkpointed; the generation of the segment is read in the same transaction, and a compaction
 * in between only makes the map of extents be drawn anew. So does a row outside of all extents, once
 * a transaction: what a transaction sees was whole in the segment before it began.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/crc.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/verify_impl.h"

#define CHUNK_ROWS 512

struct verify {
	struct store *s;
	struct coll *c;
	uint32_t dim;
	struct sql db;
	struct seg_map map;
	float *v;
	struct store_report *ret;
	struct verify_watch watch;
	uint64_t last; /* number of the last row seen */
	bool drawn;    /* the map is of after the beginning of this read transaction */
	bool told;     /* that the parameters are damaged */
	bool stopped;
};

static void found(struct verify *x, uint64_t *count, uint64_t n, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void found(struct verify *x, uint64_t *count, uint64_t n, const char *fmt, ...)
{
	char sentence[sizeof(x->ret->first)];
	va_list ap;

	*count += n;
	if (x->ret->first[0] && !x->watch.finding)
		return;
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	if (!x->ret->first[0])
		memcpy(x->ret->first, sentence, sizeof(sentence));
	if (x->watch.finding)
		x->watch.finding(x->watch.ctx, sentence);
}

static bool told_to_stop(struct verify *x)
{
	if (!x->stopped && x->watch.progress)
		x->stopped = x->watch.progress(x->watch.ctx, x->ret->rows_checked) != 0;
	return x->stopped;
}

/* ---- the database as a whole ---- */

static int during_sql(void *ctx)
{
	return told_to_stop(ctx);
}

static int check_pages(struct verify *x, struct err *e)
{
	sqlite3_stmt *st;
	int rc = sql_start(&x->db, &st, e, "PRAGMA integrity_check(100)", "");

	sqlite3_progress_handler(x->db.db, 1000000, during_sql, x);
	while (rc >= 0 && (rc = sql_step(&x->db, st, e)) > 0) {
		const char *line = (const char *)sqlite3_column_text(st, 0);

		if (line && strcmp(line, "ok") != 0)
			found(x, &x->ret->database_errors, 1, "store.db: %s", line);
	}
	sqlite3_progress_handler(x->db.db, 0, NULL, NULL);
	if (rc != -EILSEQ)
		return rc;
	found(x, &x->ret->database_errors, 1, "store.db: %s", sqlite3_errmsg(x->db.db));
	return 0;
}

static void check_losses(struct verify *x)
{
	struct store_state now;

	mutex_lock(&x->s->write);
	now = x->s->now;
	mutex_unlock(&x->s->write);
	if (now.lost_seqs || now.lost_changes)
		found(x, &x->ret->sequence_errors, now.lost_seqs ? now.lost_seqs : now.lost_changes,
		      "store.db has lost %" PRIu64 " commits and %" PRIu64 " changes in all",
		      now.lost_seqs, now.lost_changes);
	if (x->s->witness_damaged)
		found(x, &x->ret->checksum_errors, 1, "the count of commits was damaged");
}

/* ---- the segment ---- */

static void bad_batch(void *ctx, const char *what, uint64_t batch)
{
	struct verify *x = ctx;

	found(x, &x->ret->checksum_errors, 1, "%s %" PRIu64 " is damaged", what, batch);
}

/* Where the next block will go, if somebody is writing to the file that is mapped out. */
static uint64_t segment_end(struct verify *x)
{
	uint64_t end = UINT64_MAX;

	rwlock_read(&x->c->lock);
	if (x->c->seg && x->c->seg->gen == x->map.gen)
		end = atomic_load(&x->c->seg->end);
	rwlock_read_unlock(&x->c->lock);
	return end;
}

static int draw(struct verify *x, struct err *e)
{
	x->drawn = true;
	return seg_map_draw(&x->map, segment_end(x), e);
}

static int finish_segment(struct verify *x, struct err *e)
{
	int rc = draw(x, e);

	if (rc == 0)
		seg_map_check_batches(&x->map, bad_batch, x);
	seg_map_release(&x->map);
	return rc;
}

static int start_segment(struct verify *x, struct err *e)
{
	struct coll_state st;
	int rc = finish_segment(x, e);

	rwlock_read(&x->s->colls_lock);
	st = x->c->now;
	rwlock_read_unlock(&x->s->colls_lock);
	if (rc == 0)
		rc = seg_map_open(&x->map, x->s->dir, x->c->cid, &st, e);
	if (rc == 0)
		rc = draw(x, e);
	if (rc < 0)
		return rc;
	if (!x->map.header_holds)
		found(x, &x->ret->checksum_errors, 1, "the header of the segment is damaged");
	if (x->map.size < st.segment_end)
		found(x, &x->ret->checksum_errors, 1,
		      "the segment has %" PRIu64 " bytes, expected %" PRIu64, x->map.size,
		      st.segment_end);
	return 0;
}

/* ---- rows ---- */

static bool floats_hold(struct verify *x, const struct row *row)
{
	size_t n = x->dim * sizeof(float);

	if (row->r.off == STORE_INLINE)
		return crc32c(0, row->r.v, n) == row->vcrc;
	return io_read_at(x->map.fd, x->v, n, row->r.off) == 0 && crc32c(0, x->v, n) == row->vcrc;
}

static int check_floats(struct verify *x, const struct row *row, struct err *e)
{
	struct seg_extent *extent = NULL;
	int rc;

	if (row->r.off != STORE_INLINE) {
		extent = seg_map_find(&x->map, row->r.off, x->dim);
		if (!extent && !x->drawn) {
			rc = draw(x, e); /* it may be newer than the map */
			if (rc < 0)
				return rc;
			extent = seg_map_find(&x->map, row->r.off, x->dim);
		}
		if (!extent) {
			found(x, &x->ret->missing_floats, 1,
			      "the vector of row %" PRIu64 " is not in a whole extent", row->r.num);
			return 0;
		}
		extent->used = true;
	}
	if (!floats_hold(x, row))
		found(x, &x->ret->checksum_errors, 1, "the vector of row %" PRIu64 " is damaged",
		      row->r.num);
	return 0;
}

/* A commit can be seen a moment before it is noted as the last one, by who has the writer's lock. */
static bool is_after_the_last(struct verify *x, uint64_t seq)
{
	if (seq <= store_last_seq(x->s))
		return false;
	mutex_lock(&x->s->write);
	mutex_unlock(&x->s->write);
	return seq > store_last_seq(x->s);
}

static int check_row(struct verify *x, sqlite3_stmt *st, struct err *e)
{
	struct row row;
	uint64_t key;
	uint32_t cid;
	bool holds;

	x->ret->rows_checked++;
	if (!sql_u64(st, 0, INT64_MAX, &key))
		return err_set(e, -EIO, "store.db has a row without a key");
	x->last = key & STORE_NUM_MAX;
	holds = row_decode(st, x->c->cid, &row) && row_decode_rest(st, x->dim, &row);
	if (!holds || !sql_u32(st, 12, &cid) || cid != x->c->cid) {
		found(x, &x->ret->checksum_errors, 1, "row %" PRIu64 " is damaged", x->last);
		return 0;
	}
	if (is_after_the_last(x, row.r.seq))
		found(x, &x->ret->sequence_errors, 1,
		      "row %" PRIu64 " is of sequence %" PRIu64 ", after the last one", x->last,
		      row.r.seq);
	return check_floats(x, &row, e);
}

/*
 * What the rows of this transaction are to be read with: it may have been emptied, and filled with
 * others, since the verification began.
 */
static int read_parameters(struct verify *x, uint32_t *ret_gen, struct err *e)
{
	struct coll_state st;
	sqlite3_stmt *q;
	bool holds;
	int rc = sql_start(&x->db, &q, e, "SELECT * FROM collections WHERE cid = ?", "i",
	                   I(x->c->cid));

	if (rc == 0)
		rc = sql_step(&x->db, q, e);
	if (rc <= 0)
		return rc < 0 ? rc : err_set(e, -ENODEV, "the collection is gone");
	holds = coll_decode(q, &st);
	sql_done(q);
	if (!holds) {
		if (!x->told)
			found(x, &x->ret->checksum_errors, 1,
			      "the parameters of the collection are damaged");
		x->told = true;
		rwlock_read(&x->s->colls_lock);
		st = x->c->now;
		rwlock_read_unlock(&x->s->colls_lock);
	}
	if (st.c.config.dimension)
		x->dim = st.c.config.dimension;
	*ret_gen = st.c.gen;
	return 0;
}

/* 1: there may be more rows. */
static int check_some(struct verify *x, struct err *e)
{
	uint32_t gen = 0;
	sqlite3_stmt *st = NULL;
	int n = 0;
	int rc;

	x->drawn = false;
	rc = read_parameters(x, &gen, e);
	if (rc == 0 && gen != x->map.gen)
		rc = start_segment(x, e);
	if (rc == 0 && gen != x->map.gen)
		return 1; /* compacted in this very moment */
	if (rc == 0)
		rc = sql_start(&x->db, &st, e,
		               "SELECT " ROW_ALL ", cid FROM rows WHERE key BETWEEN ? AND ?"
		               " ORDER BY key LIMIT ?",
		               "iii", ROW_KEYS(x->c->cid, x->last + 1), I(CHUNK_ROWS));
	if (rc < 0)
		return rc;
	while ((rc = sql_step(&x->db, st, e)) > 0) {
		n++;
		rc = check_row(x, st, e);
		if (rc < 0)
			break;
	}
	sql_done(st);
	return rc < 0 ? rc : n == CHUNK_ROWS;
}

/* Each step is one read transaction. */
static int check_rows(struct verify *x, struct err *e)
{
	int rc;

	do {
		if (told_to_stop(x))
			return -ECANCELED;
		rc = sql_run(&x->db, e, "BEGIN", "");
		if (rc == 0)
			rc = check_some(x, e);
		sql_run(&x->db, NULL, "COMMIT", "");
	} while (rc > 0);
	return rc;
}

/* ---- the other tables ---- */

static int check_gone(struct verify *x, struct err *e)
{
	uint32_t cid = x->c->cid, slot, crc;
	sqlite3_stmt *st;
	uint64_t seq;
	int rc = sql_start(&x->db, &st, e, "SELECT seq, slot, crc FROM gone WHERE cid = ?", "i",
	                   I(cid));

	while (rc >= 0 && (rc = sql_step(&x->db, st, e)) > 0) {
		if (!sql_u64(st, 0, STORE_SEQ_MAX, &seq) || !sql_u32(st, 1, &slot) ||
		    !sql_u32(st, 2, &crc) || crc != gone_crc(cid, seq, slot))
			found(x, &x->ret->checksum_errors, 1,
			      "the list of deleted versions is damaged");
	}
	return rc;
}

static int check_receipts(struct verify *x, struct err *e)
{
	uint32_t cid = x->c->cid;
	struct receipt r = { 0 };
	int64_t number = 0;
	int rc;

	for (;;) {
		rc = sql_number(&x->db, &number, e,
		                "SELECT number FROM receipts WHERE cid = ? AND number > ?"
		                " ORDER BY number LIMIT 1",
		                "ii", I(cid), number);
		if (rc < 0)
			return rc == -ENOENT ? 0 : rc;
		rc = receipt_load(&x->db, cid, (uint32_t)number, &r, e);
		if (rc < 0 && rc != -EIO)
			return rc;
		if (rc < 0)
			found(x, &x->ret->checksum_errors, 1, "receipt %" PRId64 " is damaged",
			      number);
	}
}

static int check_state(struct verify *x, struct err *e)
{
	struct store_state st;
	int rc = store_state_load(&x->db, &st, e);

	if (rc != -EILSEQ)
		return rc;
	found(x, &x->ret->database_errors, 1, "the state in store.db is damaged");
	return 0;
}

/* What the disk could not read once is asked for again: this looks at the file, so may they all. */
static void map_again(struct coll *c)
{
	rwlock_read(&c->lock);
	if (c->seg)
		segment_map_again(c->seg);
	for (struct segment *g = c->old; g; g = g->older)
		segment_map_again(g);
	rwlock_read_unlock(&c->lock);
}

static int check_all(struct verify *x, struct err *e)
{
	int rc = check_pages(x, e);

	map_again(x->c);
	if (rc == 0)
		rc = check_state(x, e);
	check_losses(x);
	if (rc == 0)
		rc = start_segment(x, e);
	if (rc == 0)
		rc = check_rows(x, e);
	if (rc == 0)
		rc = check_gone(x, e);
	if (rc == 0)
		rc = check_receipts(x, e);
	if (rc == 0)
		rc = finish_segment(x, e);
	if (rc == -ECANCELED)
		return err_set(e, rc, "verification was stopped");
	return rc;
}

int store_verify(struct store *s, uint32_t cid, uint32_t dim, const struct verify_watch *watch,
                 struct store_report *ret, struct err *e)
{
	struct verify x = {
		.s = s, .c = coll_live(s, cid, e), .dim = dim, .map = { .fd = -1 }, .ret = ret
	};
	struct err why = { 0 };
	char path[4096];
	int rc;

	memset(ret, 0, sizeof(*ret));
	if (watch)
		x.watch = *watch;
	if (!x.c)
		return -ENODEV;
	if (dim > LIMIT_DIMENSION)
		return err_set(e, -EINVAL, "dimension %u, at most %u", dim, LIMIT_DIMENSION);
	x.v = mem_alloc(LIMIT_DIMENSION, sizeof(float));
	if (!x.v)
		return err_nomem(e);
	store_path(s, "store.db", path, sizeof(path));
	rc = store_db_open(&x.db, path, s->read_only ? SQL_IMMUTABLE : SQL_READ, &why);
	if (rc == 0)
		rc = check_all(&x, &why);
	if (rc == -EILSEQ) {
		found(&x, &ret->database_errors, 1, "%s", why.text);
		rc = 0;
	}
	if (rc < 0 && e)
		*e = why;
	sql_close(&x.db);
	seg_map_release(&x.map);
	mem_free(x.v);
	return rc;
}
