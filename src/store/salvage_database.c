/*
 * salvage_database.c: what the old database has.
 *
 * A first pass over its pages finds collections, the state and what was removed, a second one rows,
 * receipts and, from the index by sequence, which rows there must be. Of a row the version with the
 * highest sequence counts. One that is damaged takes older versions along, which only a page that is
 * not the newest can have: an old vector is not served for a new one.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/crc.h"
#include "base/mem.h"
#include "store/salvage_impl.h"

enum {
	N_STATE = 7,
	N_COLLECTION = 25,
	N_ROW = 13,
	N_GONE = 4,
	N_RECEIPT = 11,
	N_BY_SEQ = 3,
	N_BATCH = 6
};

/* ---- the first pass ---- */

/* A record as a row that the decoders of the tables can read; columns are its own in any order. */
static sqlite3_stmt *as_row(struct salvage *x, const char *text, const struct carve_record *r)
{
	sqlite3_stmt *st;

	if (sql_start(&x->s.w, &st, NULL, text, "") < 0)
		return NULL;
	carve_bind(st, r);
	if (sql_step(&x->s.w, st, NULL) > 0)
		return st;
	return NULL;
}

static int see_collection(struct salvage *x, const struct carve_record *r)
{
	struct coll_state st;
	sqlite3_stmt *q = as_row(x,
	                         "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
	                         " ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25",
	                         r);
	bool holds = q && coll_decode(q, &st);

	if (q)
		sql_done(q);
	return holds ? salvage_coll_take(x, &st) : 0;
}

static int see_state(struct salvage *x, const struct carve_record *r)
{
	struct store_state st;
	sqlite3_stmt *q = as_row(x, "SELECT ?2, ?3, ?4, ?5, ?6, ?7, ?1", r);

	if (q && store_state_decode(q, &st) && (!x->has_state || st.changes > x->state.changes)) {
		x->state = st;
		x->has_state = true;
	}
	if (q)
		sql_done(q);
	return 0;
}

static int see_gone(struct salvage *x, const struct carve_record *r, struct err *e)
{
	sqlite3_stmt *q = as_row(x, "SELECT ?1, ?2, ?3, ?4", r);
	uint32_t cid, slot, crc;
	uint64_t seq;
	bool holds = q && sql_u32(q, 0, &cid) && sql_u64(q, 1, STORE_SEQ_MAX, &seq) &&
	             sql_u32(q, 2, &slot) && sql_u32(q, 3, &crc) && crc == gone_crc(cid, seq, slot);

	if (q)
		sql_done(q);
	if (!holds)
		return 0;
	if (seq > x->seen_seq)
		x->seen_seq = seq;
	return sql_run(&x->s.w, e, "INSERT INTO temp.gone_once VALUES(?, ?, ?)", "iii", I(cid),
	               I(slot), I(seq));
}

/* Without a checksum: only what the witness knows of, too, can have been. */
static int see_batch(struct salvage *x, const struct carve_record *r)
{
	uint64_t seq = r->rowid > 0 ? (uint64_t)r->rowid : 0;

	if (seq <= x->witness.seq && seq > x->seen_seq)
		x->seen_seq = seq;
	return 0;
}

struct pass {
	struct salvage *x;
	struct err *e;
};

static int see_first(void *ctx, const struct carve_record *r)
{
	struct pass *p = ctx;

	if (r->table && r->n == N_COLLECTION)
		return see_collection(p->x, r);
	if (r->table && r->n == N_STATE)
		return see_state(p->x, r);
	if (r->table && r->n == N_BATCH)
		return see_batch(p->x, r);
	if (!r->table && r->n == N_GONE)
		return see_gone(p->x, r, p->e);
	return 0;
}

int salvage_first_pass(struct salvage *x, struct err *e)
{
	struct pass p = { x, e };

	return x->carve ? carve_each(x->carve, see_first, &p) : 0;
}

/* ---- the second pass ---- */

static int note_bad(struct salvage *x, int64_t key, uint64_t seq, const char *id, size_t len)
{
	size_t cap = x->cap_bad ? x->cap_bad * 2 : 64;
	struct salvage_bad *p;

	if (x->n_bad == x->cap_bad) {
		p = mem_resize(x->bad, cap, sizeof(*p));
		if (!p)
			return -ENOMEM;
		x->bad = p;
		x->cap_bad = cap;
	}
	p = &x->bad[x->n_bad++];
	*p = (struct salvage_bad){ .key = key, .seq = seq };
	p->id = id ? mem_dup(id, len) : NULL;
	return 0;
}

static int insert_row(struct salvage *x, const struct carve_record *r, struct err *e)
{
	sqlite3_stmt *st;
	int rc = sql_start(&x->s.w, &st, e,
	                   "INSERT INTO rows(key, cid, id, slot, seq, off, json_bytes, pcrc, vcrc,"
	                   " crc, metadata, text, vector)"
	                   " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	                   " ON CONFLICT(key) DO UPDATE SET id = excluded.id, slot = excluded.slot,"
	                   " seq = excluded.seq, off = excluded.off,"
	                   " json_bytes = excluded.json_bytes, pcrc = excluded.pcrc,"
	                   " vcrc = excluded.vcrc, crc = excluded.crc,"
	                   " metadata = excluded.metadata, text = excluded.text,"
	                   " vector = excluded.vector WHERE excluded.seq >= rows.seq",
	                   "");

	if (rc < 0)
		return rc;
	carve_bind(st, r);
	return sql_step(&x->s.w, st, e);
}

/* The floats are where the row says, and are those that were stored. */
static bool floats_hold(struct salvage *x, const struct salvage_coll *c, const struct row *row)
{
	size_t bytes = c->st.c.config.dimension * sizeof(float);

	if (row->r.off != STORE_INLINE)
		return salvage_floats_hold(x, c, row);
	return crc32c(0, row->r.v, bytes) == row->vcrc;
}

/* Made-up collections learn their dimension from the first vector that stands in the database. */
static void learn_dimension(struct salvage_coll *c, const struct carve_record *r)
{
	size_t n = r->v[N_ROW - 1].n / sizeof(float);

	if (!c->known && !c->st.c.config.dimension && n <= LIMIT_DIMENSION)
		c->st.c.config.dimension = (uint32_t)n;
}

static int take_row(struct salvage *x, uint32_t cid, sqlite3_stmt *q, const struct carve_record *r,
                    struct row *row, struct err *e)
{
	struct salvage_coll *c = salvage_coll_make(x, cid);
	bool holds;
	int rc;

	if (!c)
		return err_nomem(e);
	rc = c->opened ? 0 : salvage_open_segments(x, e);
	if (rc < 0)
		return rc;
	learn_dimension(c, r);
	holds = row_decode_rest(q, c->st.c.config.dimension, row) && floats_hold(x, c, row);
	rc = holds ? insert_row(x, r, e)
	           : note_bad(x, row_key(c->st.c.cid, row->r.num), row->r.seq, row->r.id,
	                      row->r.id_len);
	if (row->r.num > c->max_num)
		c->max_num = row->r.num;
	if (row->r.slot > c->max_slot)
		c->max_slot = row->r.slot;
	if (row->r.seq > x->max_seq)
		x->max_seq = row->r.seq;
	return rc;
}

static int see_row(struct salvage *x, const struct carve_record *r, struct err *e)
{
	sqlite3_stmt *q = as_row(x,
	                         "SELECT ?1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
	                         " ?2 AS whose",
	                         r);
	struct row row;
	uint32_t cid;
	int rc = 0;

	salvage_saw(x);
	if (!q)
		return 0;
	if (!sql_u32(q, N_ROW - 1, &cid) || !row_decode(q, cid, &row))
		rc = r->rowid > 0 ? note_bad(x, r->rowid, 0, NULL, 0) : 0;
	else
		rc = take_row(x, cid, q, r, &row, e);
	sql_done(q);
	return rc == -ENOMEM ? err_nomem(e) : rc;
}

/* An entry of rows_by_seq: there must be such a row. */
static int see_by_seq(struct salvage *x, const struct carve_record *r, struct err *e)
{
	sqlite3_stmt *q = as_row(x, "SELECT ?1, ?2, ?3", r);
	uint64_t seq, key;
	uint32_t cid;
	bool fits = q && sql_u32(q, 0, &cid) && sql_u64(q, 1, STORE_SEQ_MAX, &seq) &&
	            sql_u64(q, 2, INT64_MAX, &key) && key >> STORE_NUM_BITS == cid;

	if (q)
		sql_done(q);
	if (!fits)
		return 0;
	return sql_run(&x->s.w, e,
	               "INSERT INTO temp.wanted VALUES(?, ?, NULL) ON CONFLICT(key) DO UPDATE"
	               " SET seq = max(seq, excluded.seq)",
	               "ii", I(key), I(seq));
}

static int see_receipt(struct salvage *x, const struct carve_record *r, struct err *e)
{
	sqlite3_stmt *q =
		as_row(x, "SELECT ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?1 AS receipt", r);
	struct salvage_coll *c = NULL;
	struct receipt receipt;
	uint32_t cid;
	int rc;

	if (q && sql_u32(q, N_RECEIPT - 1, &cid) && receipt_decode(q, cid, &receipt))
		c = salvage_coll(x, cid);
	if (q)
		sql_done(q);
	if (!c)
		return 0;
	if (receipt.number > c->max_receipt)
		c->max_receipt = receipt.number;
	rc = sql_start(&x->s.w, &q, e,
	               "INSERT OR REPLACE INTO receipts VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	               "");
	if (rc < 0)
		return rc;
	carve_bind(q, r);
	return sql_step(&x->s.w, q, e);
}

static int see_second(void *ctx, const struct carve_record *r)
{
	struct pass *p = ctx;

	if (r->table && r->n == N_ROW)
		return see_row(p->x, r, p->e);
	if (!r->table && r->n == N_BY_SEQ)
		return see_by_seq(p->x, r, p->e);
	if (!r->table && r->n == N_RECEIPT)
		return see_receipt(p->x, r, p->e);
	return 0;
}

int salvage_second_pass(struct salvage *x, struct err *e)
{
	struct pass p = { x, e };

	return x->carve ? carve_each(x->carve, see_second, &p) : 0;
}

/* ---- what is left out ---- */

/* Versions that stand in an old page and were replaced or removed by a commit that is known. */
static int drop_gone(struct salvage *x, struct err *e)
{
	return sql_run(&x->s.w, e,
	               "DELETE FROM rows WHERE EXISTS(SELECT 1 FROM temp.gone_once g WHERE"
	               " g.cid = rows.cid AND g.slot = rows.slot AND g.seq > rows.seq)",
	               "");
}

static int drop_bad(struct salvage *x, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < x->n_bad; i++)
		rc = sql_run(&x->s.w, e, "DELETE FROM rows WHERE key = ? AND seq < ?", "ii",
		             x->bad[i].key, I(x->bad[i].seq));
	return rc;
}

/* A row whose key is known to be that of a vector, once; with its ID, where that is whole. */
static int want_bad(struct salvage *x, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < x->n_bad; i++) {
		const struct salvage_bad *b = &x->bad[i];

		rc = sql_run(&x->s.w, e,
		             "INSERT INTO temp.wanted VALUES(?, ?, ?) ON CONFLICT(key) DO UPDATE"
		             " SET id = coalesce(excluded.id, id)",
		             "iit", b->key, I(b->seq), b->id, b->id ? strlen(b->id) : (size_t)0);
	}
	return rc;
}

int salvage_drop(struct salvage *x, struct err *e)
{
	int rc = drop_gone(x, e);

	if (rc == 0)
		rc = drop_bad(x, e);
	return rc == 0 ? want_bad(x, e) : rc;
}

/* ---- each ID and each slot once ---- */

static int list_bad_ids(struct salvage *x, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < x->n_bad; i++)
		if (x->bad[i].id)
			rc = sql_run(&x->s.w, e,
			             "INSERT OR IGNORE INTO temp.bad_ids VALUES(?, ?, ?)", "iti",
			             x->bad[i].key >> STORE_NUM_BITS, x->bad[i].id,
			             strlen(x->bad[i].id), I(x->bad[i].seq));
	return rc;
}

static const char outdated[] =
	"INSERT OR IGNORE INTO temp.outdated SELECT key FROM (SELECT key, row_number() OVER"
	" (PARTITION BY cid, id ORDER BY seq DESC, key DESC) AS n FROM rows) WHERE n > 1;"
	"INSERT OR IGNORE INTO temp.outdated SELECT key FROM (SELECT key, row_number() OVER"
	" (PARTITION BY cid, slot ORDER BY seq DESC, key DESC) AS n FROM rows) WHERE n > 1;"
	"INSERT OR IGNORE INTO temp.outdated SELECT r.key FROM rows r CROSS JOIN temp.bad_ids b"
	" ON r.cid = b.cid AND r.id = b.id AND r.seq < b.seq;"
	"DELETE FROM rows WHERE key IN (SELECT key FROM temp.outdated);"
	"DELETE FROM temp.wanted WHERE key IN (SELECT key FROM temp.outdated)";

int salvage_make_unique(struct salvage *x, struct err *e)
{
	int64_t n = 0;
	int rc = list_bad_ids(x, e);

	if (rc == 0)
		rc = sql_exec(&x->s.w, outdated, e);
	if (rc == 0)
		rc = sql_number(&x->s.w, &n, e, "SELECT count(*) FROM temp.outdated", "");
	if (rc == 0 && n)
		salvage_tell(
			x, NULL,
			"%" PRId64 " vectors were left out: later ones have their IDs or slots", n);
	return rc;
}

/* ---- what is lost ---- */

/* IDs are as a damaged version has them, or the image. */
int salvage_tell_lost(struct salvage *x, struct err *e)
{
	sqlite3_stmt *st;
	int rc = sql_start(&x->s.w, &st, e,
	                   "SELECT key, id FROM temp.wanted w WHERE NOT EXISTS"
	                   " (SELECT 1 FROM rows WHERE rows.key = w.key) ORDER BY key",
	                   "");

	while (rc >= 0 && (rc = sql_step(&x->s.w, st, e)) > 0) {
		int64_t key = sqlite3_column_int64(st, 0);
		const char *id = (const char *)sqlite3_column_text(st, 1);
		uint64_t num = (uint64_t)key & STORE_NUM_MAX;
		struct salvage_coll *c = salvage_coll(x, (uint32_t)(key >> STORE_NUM_BITS));

		if (!c)
			continue;
		x->ret->lost++;
		if (num > c->max_num)
			c->max_num = num;
		if (id)
			salvage_tell(x, c, "the vector '%s' is lost", id);
		else
			salvage_tell(x, c, "the vector number %" PRIu64 " is lost, and its ID",
			             num);
	}
	return rc;
}
