/*
 * rows.c: rows as SQLite keeps them, and reading them back.
 *
 * A row has three checksums: vcrc of its floats, wherever they are, pcrc of metadata and text,
 * crc of everything else and of these two. So scans can check what they hand out without
 * touching the large columns, and moving the floats changes only off and crc, never launders a
 * damaged vector.
 *
 * Scans pass over damaged rows and count them: one flipped bit must not take a tenant's other
 * rows away. Verification names them.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/crc.h"
#include "base/mem.h"
#include "store/store_impl.h"

/* ---- checksums ---- */

uint32_t row_payload_crc(const struct store_row *r)
{
	const uint64_t len[2] = { r->metadata ? r->metadata_len : UINT64_MAX,
		                  r->text ? r->text_len : UINT64_MAX };
	uint32_t crc = crc32c(0, len, sizeof(len));

	if (r->metadata)
		crc = crc32c(crc, r->metadata, r->metadata_len);
	if (r->text)
		crc = crc32c(crc, r->text, r->text_len);
	return crc;
}

uint32_t row_crc(uint32_t cid, const struct row *row)
{
	const struct store_row *r = &row->r;
	const uint64_t v[] = { cid,
		               r->num,
		               r->seq,
		               r->off,
		               (uint64_t)r->slot << 32 | r->json_bytes,
		               (uint64_t)row->pcrc << 32 | row->vcrc,
		               r->id_len };

	return crc32c(crc32c(0, v, sizeof(v)), r->id, r->id_len);
}

uint32_t gone_crc(uint32_t cid, uint64_t seq, uint32_t slot)
{
	const uint64_t v[] = { cid, seq, slot };

	return crc32c(0, v, sizeof(v));
}

/* ---- decoding ---- */

static bool decode_off(sqlite3_stmt *st, int col, uint64_t *ret)
{
	*ret = STORE_INLINE;
	return sqlite3_column_type(st, col) == SQLITE_NULL || sql_u64(st, col, INT64_MAX, ret);
}

bool row_decode(sqlite3_stmt *st, uint32_t cid, struct row *ret)
{
	struct store_row *r = &ret->r;
	const void *id;
	uint64_t key;
	uint32_t crc;

	memset(ret, 0, sizeof(*ret));
	if (!sql_u64(st, 0, INT64_MAX, &key) || key >> STORE_NUM_BITS != cid)
		return false;
	r->num = key & STORE_NUM_MAX;
	if (!sql_bytes(st, 1, LIMIT_ID, &id, &r->id_len) || r->id_len < 1)
		return false;
	r->id = id;
	if (!sql_u32(st, 2, &r->slot) || !sql_u64(st, 3, STORE_SEQ_MAX, &r->seq) ||
	    !decode_off(st, 4, &r->off) || !sql_u32(st, 5, &r->json_bytes) ||
	    !sql_u32(st, 6, &ret->pcrc) || !sql_u32(st, 7, &ret->vcrc) || !sql_u32(st, 8, &crc))
		return false;
	r->vcrc = ret->vcrc;
	return crc == row_crc(cid, ret);
}

bool row_decode_rest(sqlite3_stmt *st, uint32_t dim, struct row *ret)
{
	struct store_row *r = &ret->r;
	const void *metadata, *text, *v;
	size_t v_len;

	if (!sql_bytes(st, 9, LIMIT_METADATA, &metadata, &r->metadata_len) ||
	    !sql_bytes(st, 10, LIMIT_TEXT, &text, &r->text_len) ||
	    !sql_bytes(st, 11, LIMIT_DIMENSION * sizeof(float), &v, &v_len))
		return false;
	r->metadata = metadata;
	r->text = text;
	r->v = v;
	if (v_len != (r->off == STORE_INLINE ? dim * sizeof(float) : 0))
		return false;
	return row_payload_crc(r) == ret->pcrc;
}

/* ---- writing ---- */

int row_write(struct store *s, uint32_t cid, uint32_t dim, const struct row *row, struct err *e)
{
	const struct store_row *r = &row->r;
	bool in = r->off == STORE_INLINE;
	/* NULL for inline rows: an empty blob pointer binds NULL, an offset binds itself */
	static const char text_in[] =
		"INSERT OR REPLACE INTO rows(key, cid, id, slot, seq, json_bytes,"
		" pcrc, vcrc, crc, metadata, text, vector)"
		" VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
	static const char text_out[] =
		"INSERT OR REPLACE INTO rows(key, cid, id, slot, seq, json_bytes,"
		" pcrc, vcrc, crc, metadata, text, off)"
		" VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

	if (in)
		return sql_run(&s->w, e, text_in, "iitiiiiiittb", I(row_key(cid, r->num)), I(cid),
		               r->id, r->id_len, I(r->slot), I(r->seq), I(r->json_bytes),
		               I(row->pcrc), I(row->vcrc), I(row_crc(cid, row)), r->metadata,
		               r->metadata_len, r->text, r->text_len, r->v, dim * sizeof(float));
	return sql_run(&s->w, e, text_out, "iitiiiiiitti", I(row_key(cid, r->num)), I(cid), r->id,
	               r->id_len, I(r->slot), I(r->seq), I(r->json_bytes), I(row->pcrc),
	               I(row->vcrc), I(row_crc(cid, row)), r->metadata, r->metadata_len, r->text,
	               r->text_len, I(r->off));
}

int row_move(struct store *s, uint32_t cid, const struct row *row, struct err *e)
{
	return sql_run(&s->w, e, "UPDATE rows SET off = ?, crc = ?, vector = NULL WHERE key = ?",
	               "iii", I(row->r.off), I(row_crc(cid, row)), I(row_key(cid, row->r.num)));
}

/* ---- one row ---- */

static int damaged_row(struct err *e, uint64_t num)
{
	return err_set(e, -EIO, "the stored row %" PRIu64 " is damaged", num);
}

/*
 * dim floats (zeros for now, if they are in the segment), ID, metadata, text; pointers into the
 * buffer.
 */
static int copy_row(struct buf *b, uint32_t dim, struct store_row *r, struct err *e)
{
	size_t row_bytes = dim * sizeof(float);
	char *p;

	buf_clear(b);
	p = buf_space(b, row_bytes + r->id_len + r->metadata_len + r->text_len + 1);
	if (!p)
		return err_nomem(e);
	if (r->v)
		memcpy(p, r->v, row_bytes);
	else
		memset(p, 0, row_bytes);
	buf_grew(b, row_bytes);
	buf_add(b, r->id, r->id_len);
	buf_add(b, r->metadata, r->metadata_len);
	buf_add(b, r->text, r->text_len);
	if (buf_failed(b))
		return err_nomem(e);
	r->v = (const float *)(const void *)b->data;
	r->id = b->data + row_bytes;
	r->metadata = r->metadata ? r->id + r->id_len : NULL;
	r->text = r->text ? r->id + r->id_len + r->metadata_len : NULL;
	return 0;
}

static int fetch(struct store *s, uint32_t cid, uint32_t dim, struct row *row, uint32_t *ret_gen,
                 struct buf *b, struct err *e)
{
	uint64_t num = row->r.num;
	sqlite3_stmt *st;
	int rc = sql_start(&s->r, &st, e,
	                   "SELECT " ROW_ALL ", (SELECT gen FROM collections WHERE cid = ?2)"
	                   " FROM rows WHERE key = ?1",
	                   "ii", I(row_key(cid, num)), I(cid));

	if (rc == 0)
		rc = sql_step(&s->r, st, e);
	if (rc <= 0)
		return rc < 0 ? store_runtime(rc, e) : err_set(e, -ENOENT, "no such vector");
	if (row_decode(st, cid, row) && row_decode_rest(st, dim, row) && sql_u32(st, 12, ret_gen))
		rc = copy_row(b, dim, &row->r, e);
	else
		rc = damaged_row(e, num);
	sql_done(st);
	return rc;
}

/* -EAGAIN: that generation is no longer mapped, because it was compacted meanwhile. */
static int copy_floats(struct coll *c, uint32_t gen, uint64_t off, uint32_t dim, char *to)
{
	struct segment *g;
	const float *v;
	int rc = -EAGAIN;

	rwlock_read(&c->lock);
	for (g = c->seg; g && g->gen != gen; g = g == c->seg ? c->old : g->older)
		;
	if (!c->seg)
		rc = -EIO;
	if (g) {
		v = segment_floats(g, off, dim);
		rc = v ? 0 : -EIO;
		if (v)
			memcpy(to, v, dim * sizeof(float));
	}
	rwlock_read_unlock(&c->lock);
	return rc;
}

static int get_once(struct store *s, struct coll *c, uint32_t dim, struct row *row, struct buf *b,
                    struct err *e)
{
	uint64_t num = row->r.num;
	uint32_t gen = 0;
	int rc;

	mutex_lock(&s->read);
	rc = store_reader(s, e);
	if (rc == 0)
		rc = fetch(s, c->cid, dim, row, &gen, b, e);
	mutex_unlock(&s->read);
	if (rc < 0)
		return rc;
	if (row->r.off != STORE_INLINE)
		rc = copy_floats(c, gen, row->r.off, dim, b->data);
	if (rc == -EIO || (rc == 0 && crc32c(0, b->data, dim * sizeof(float)) != row->vcrc))
		return damaged_row(e, num);
	return rc;
}

int store_get(struct store *s, uint32_t cid, uint32_t dim, uint64_t num, struct store_row *ret,
              struct buf *ret_bytes, struct err *e)
{
	struct coll *c = coll_live(s, cid, e);
	struct row row = { 0 };
	int rc = -EAGAIN;

	if (!c)
		return -ENODEV;
	if (num > STORE_NUM_MAX || dim > LIMIT_DIMENSION)
		return err_set(e, -ENOENT, "no such vector");
	for (int tries = 0; rc == -EAGAIN && tries < 10; tries++) {
		row.r.num = num;
		rc = get_once(s, c, dim, &row, ret_bytes, e);
	}
	if (rc == -EAGAIN)
		return damaged_row(e, num);
	if (rc == 0)
		*ret = row.r;
	return rc;
}

/* ---- many rows ---- */

static int list_rows(struct store *s, uint32_t cid, sqlite3_stmt *st,
                     int (*cb)(void *ctx, const struct store_row *row), void *ctx, struct err *e)
{
	struct row row;
	int rc;

	while ((rc = sql_step(&s->r, st, e)) > 0) {
		if (!row_decode(st, cid, &row)) {
			atomic_fetch_add(&s->skipped, 1);
			continue;
		}
		rc = cb(ctx, &row.r);
		if (rc) {
			sql_done(st);
			return rc;
		}
	}
	return store_runtime(rc, e);
}

int store_list(struct store *s, uint32_t cid, uint64_t after, size_t max,
               int (*cb)(void *ctx, const struct store_row *row), void *ctx, struct err *e)
{
	sqlite3_stmt *st;
	int rc;

	if (!coll_live(s, cid, e))
		return -ENODEV;
	if (after >= STORE_NUM_MAX || !max)
		return 0;
	mutex_lock(&s->read);
	rc = store_reader(s, e);
	if (rc == 0)
		rc = sql_start(&s->r, &st, e,
		               "SELECT " ROW_COLUMNS " FROM rows WHERE key BETWEEN ? AND ?"
		               " ORDER BY key LIMIT ?",
		               "iii", ROW_KEYS(cid, after + 1),
		               max > INT64_MAX ? INT64_MAX : I(max));
	if (rc == 0)
		rc = list_rows(s, cid, st, cb, ctx, e);
	mutex_unlock(&s->read);
	return rc;
}

/* Inline floats are copied to where floats may stand. */
static bool scan_floats(sqlite3_stmt *st, uint32_t dim, float *v, struct row *row)
{
	const void *p;
	size_t n;

	if (row->r.off != STORE_INLINE)
		return true;
	if (!sql_bytes(st, 9, LIMIT_DIMENSION * sizeof(float), &p, &n) || n != dim * sizeof(float))
		return false;
	memcpy(v, p, n);
	row->r.v = v;
	return crc32c(0, v, n) == row->vcrc;
}

static int scan_rows(struct store *s, struct coll *c, sqlite3_stmt *st,
                     int (*cb)(void *ctx, const struct store_row *row), void *ctx, struct err *e)
{
	uint32_t dim = coll_dimension(s, c);
	MEM_AUTO float *v = mem_alloc(dim ? dim : 1, sizeof(*v));
	struct row row;
	int rc = 0;

	if (!v)
		return err_nomem(e);
	while (rc == 0 && (rc = sql_step(&s->r, st, e)) > 0) {
		if (row_decode(st, c->cid, &row) && scan_floats(st, dim, v, &row)) {
			/* lengths alone, for who counts bytes */
			row.r.metadata_len = (size_t)sqlite3_column_int64(st, 10);
			row.r.text_len = (size_t)sqlite3_column_int64(st, 11);
			rc = cb(ctx, &row.r);
		} else {
			atomic_fetch_add(&s->skipped, 1);
			rc = 0;
		}
		if (rc)
			break;
	}
	return rc;
}

int store_scan(struct store *s, uint32_t cid, uint64_t after,
               int (*cb)(void *ctx, const struct store_row *row), void *ctx, struct err *e)
{
	struct coll *c = coll_live(s, cid, e);
	sqlite3_stmt *st;
	int rc;

	if (!c)
		return -ENODEV;
	mutex_lock(&s->read);
	rc = store_reader(s, e);
	if (rc == 0)
		rc = sql_start(&s->r, &st, e,
		               "SELECT " ROW_COLUMNS ", vector, length(CAST(metadata AS BLOB)),"
		               " length(CAST(text AS BLOB)) FROM rows"
		               " WHERE cid = ? AND seq > ? ORDER BY seq, key",
		               "ii", I(cid), I(after > INT64_MAX ? INT64_MAX : after));
	if (rc == 0) {
		rc = scan_rows(s, c, st, cb, ctx, e);
		sql_done(st);
	}
	mutex_unlock(&s->read);
	return store_runtime(rc, e);
}

static int scan_gone(struct store *s, uint32_t cid, sqlite3_stmt *st,
                     int (*cb)(void *ctx, uint32_t slot, uint64_t seq), void *ctx, struct err *e)
{
	uint32_t slot, crc;
	uint64_t seq;
	int rc;

	while ((rc = sql_step(&s->r, st, e)) > 0) {
		if (!sql_u64(st, 0, STORE_SEQ_MAX, &seq) || !sql_u32(st, 1, &slot) ||
		    !sql_u32(st, 2, &crc) || crc != gone_crc(cid, seq, slot))
			rc = err_set(e, -EIO, "the list of deleted versions is damaged");
		else
			rc = cb(ctx, slot, seq);
		if (rc)
			break;
	}
	sql_done(st);
	return rc;
}

int store_scan_gone(struct store *s, uint32_t cid, uint64_t after,
                    int (*cb)(void *ctx, uint32_t slot, uint64_t seq), void *ctx, struct err *e)
{
	sqlite3_stmt *st;
	int rc;

	if (!coll_live(s, cid, e))
		return -ENODEV;
	mutex_lock(&s->read);
	rc = store_reader(s, e);
	if (rc == 0)
		rc = sql_start(&s->r, &st, e,
		               "SELECT seq, slot, crc FROM gone WHERE cid = ? AND seq > ?"
		               " ORDER BY seq, slot",
		               "ii", I(cid), I(after > INT64_MAX ? INT64_MAX : after));
	if (rc == 0)
		rc = scan_gone(s, cid, st, cb, ctx, e);
	mutex_unlock(&s->read);
	return store_runtime(rc, e);
}

const float *store_floats(struct store *s, uint32_t cid, uint64_t off, uint32_t dim)
{
	struct coll *c = coll_find(s, cid);
	const float *v = NULL;

	if (!c || off == STORE_INLINE)
		return NULL;
	rwlock_read(&c->lock);
	if (c->seg)
		v = segment_floats(c->seg, off, dim);
	rwlock_read_unlock(&c->lock);
	return v;
}

const char *store_mapped(struct store *s, uint32_t cid, uint64_t off, uint64_t *ret_bytes)
{
	struct coll *c = coll_find(s, cid);
	const char *p = NULL;

	*ret_bytes = 0;
	if (!c)
		return NULL;
	rwlock_read(&c->lock);
	if (c->seg)
		p = segment_mapped(c->seg, off, ret_bytes);
	rwlock_read_unlock(&c->lock);
	return p;
}

uint64_t store_mapped_bytes(struct store *s, uint32_t cid)
{
	struct coll *c = coll_find(s, cid);
	uint64_t bytes = 0;

	if (!c)
		return 0;
	rwlock_read(&c->lock);
	if (c->seg)
		bytes += segment_mapped_bytes(c->seg);
	for (struct segment *g = c->old; g; g = g->older)
		bytes += segment_mapped_bytes(g);
	rwlock_read_unlock(&c->lock);
	return bytes;
}

uint64_t store_lost_pages(struct store *s, uint32_t cid)
{
	struct coll *c = coll_find(s, cid);
	uint64_t n;

	if (!c)
		return 0;
	rwlock_read(&c->lock);
	n = c->seg ? segment_lost(c->seg) : 0;
	rwlock_read_unlock(&c->lock);
	return n;
}

void store_drop_old_maps(struct store *s, uint32_t cid)
{
	struct coll *c = coll_find(s, cid);
	struct segment *g;

	if (!c)
		return;
	rwlock_write(&c->lock);
	g = c->old;
	c->old = NULL;
	rwlock_write_unlock(&c->lock);
	while (g) {
		struct segment *older = g->older;

		segment_free(g);
		g = older;
	}
}
