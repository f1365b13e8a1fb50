/*
 * salvage.c: see salvage.h.
 *
 * A first pass over the old database finds collections, the state and what was removed, a second
 * one rows, receipts and, from the index by sequence, which rows there must be. The new database is
 * filled in one transaction, without syncs, and synced as a file at the end.
 *
 * Of a row the version with the highest sequence counts. One that is damaged takes older versions
 * along, which only a page that is not the newest can have: an old vector is not served for a new one.
 */
#include "store/salvage.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/salvage_impl.h"

enum { N_STATE = 7, N_COLLECTION = 25, N_ROW = 13, N_GONE = 4, N_RECEIPT = 11, N_BY_SEQ = 3 };

void salvage_tell(struct salvage *x, const struct salvage_coll *c, const char *fmt, ...)
{
	char sentence[LIMIT_ID + 256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	x->watch->told(x->watch->ctx, c ? c->st.c.name : "default", sentence);
}

void salvage_saw(struct salvage *x)
{
	x->rows++;
	if (x->watch->progress)
		x->watch->progress(x->watch->ctx, x->rows);
}

/* ---- collections ---- */

struct salvage_coll *salvage_coll(struct salvage *x, uint32_t cid)
{
	for (size_t i = 0; i < x->n_colls; i++)
		if (x->colls[i].st.c.cid == cid)
			return &x->colls[i];
	return NULL;
}

static struct salvage_coll *add_coll(struct salvage *x, const struct coll_state *st, bool known)
{
	struct salvage_coll *p = mem_resize(x->colls, x->n_colls + 1, sizeof(*p));

	if (!p)
		return NULL;
	x->colls = p;
	p += x->n_colls++;
	*p = (struct salvage_coll){ .st = *st, .known = known, .fd = -1 };
	return p;
}

struct salvage_coll *salvage_coll_make(struct salvage *x, uint32_t cid)
{
	const struct collection_config config = COLLECTION_CONFIG_DEFAULT;
	struct salvage_coll *c = salvage_coll(x, cid);
	struct coll_state st = { .c = { .cid = cid, .config = config } };

	if (c)
		return c;
	st.c.owner.mode = 0700;
	st.c.created_ns = clock_wall_ns();
	st.c.next_num = st.c.next_receipt = 1;
	st.c.gen = 1;
	if (cid == x->default_cid)
		snprintf(st.c.name, sizeof(st.c.name), "default");
	else
		snprintf(st.c.name, sizeof(st.c.name), "recovered-%u", cid);
	return add_coll(x, &st, false);
}

/* Of two versions of a collection the one that has more behind it. */
static bool is_newer(const struct coll_state *a, const struct coll_state *b)
{
	if (a->c.next_num != b->c.next_num)
		return a->c.next_num > b->c.next_num;
	if (a->c.gen != b->c.gen)
		return a->c.gen > b->c.gen;
	if (a->c.total_inserts + a->c.total_deletes != b->c.total_inserts + b->c.total_deletes)
		return a->c.total_inserts + a->c.total_deletes >
		       b->c.total_inserts + b->c.total_deletes;
	return a->segment_end > b->segment_end;
}

static int take_collection(struct salvage *x, const struct coll_state *st)
{
	struct salvage_coll *c = salvage_coll(x, st->c.cid);

	if (!c)
		return add_coll(x, st, true) ? 0 : -ENOMEM;
	if (is_newer(st, &c->st))
		c->st = *st;
	return 0;
}

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
	return holds ? take_collection(x, &st) : 0;
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
	return sql_run(&x->s.w, e, "INSERT INTO temp.gone_once VALUES(?, ?, ?)", "iii", I(cid),
	               I(slot), I(seq));
}

struct pass {
	struct salvage *x;
	struct err *e;
};

static int first_pass(void *ctx, const struct carve_record *r)
{
	struct pass *p = ctx;

	if (r->table && r->n == N_COLLECTION)
		return see_collection(p->x, r);
	if (r->table && r->n == N_STATE)
		return see_state(p->x, r);
	if (!r->table && r->n == N_GONE)
		return see_gone(p->x, r, p->e);
	return 0;
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

static int second_pass(void *ctx, const struct carve_record *r)
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

/* A row whose key is known to be that of a vector, once. */
static int want_bad(struct salvage *x, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < x->n_bad; i++)
		rc = sql_run(&x->s.w, e, "INSERT OR IGNORE INTO temp.wanted VALUES(?, ?, NULL)",
		             "ii", x->bad[i].key, I(x->bad[i].seq));
	return rc;
}

/* As a damaged version has it, or the image. */
static const char *id_of(const struct salvage *x, int64_t key, sqlite3_stmt *st)
{
	for (size_t i = 0; i < x->n_bad; i++)
		if (x->bad[i].key == key && x->bad[i].id)
			return x->bad[i].id;
	return (const char *)sqlite3_column_text(st, 1);
}

static int tell_lost(struct salvage *x, struct err *e)
{
	sqlite3_stmt *st;
	int rc = sql_start(&x->s.w, &st, e,
	                   "SELECT key, id FROM temp.wanted w WHERE NOT EXISTS"
	                   " (SELECT 1 FROM rows WHERE rows.key = w.key) ORDER BY key",
	                   "");

	while (rc >= 0 && (rc = sql_step(&x->s.w, st, e)) > 0) {
		int64_t key = sqlite3_column_int64(st, 0);
		const char *id = id_of(x, key, st);
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

/* ---- writing down ---- */

static void raise_to(uint64_t *v, uint64_t to)
{
	if (*v < to)
		*v = to;
}

/* The store is nobody else's yet: no lock of it is made. */
static NO_TSA int save_collections(struct salvage *x, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < x->n_colls; i++) {
		struct salvage_coll *c = &x->colls[i];

		raise_to(&c->st.c.next_num, c->max_num + 1);
		if (c->st.c.next_receipt <= c->max_receipt)
			c->st.c.next_receipt = c->max_receipt + 1;
		c->st.c.cleared_seq = x->state.last_seq;
		if (!c->known)
			salvage_tell(
				x, c,
				"its parameters are lost: they are those of a new collection, but "
				"dimension %u and what the graph says",
				c->st.c.config.dimension);
		if (!c->known && c->fd < 0)
			c->st.salt = coll_salt();
		rc = coll_save(&x->s, &c->st, e);
	}
	return rc;
}

/* As if nothing had been lost: what is lost was told. */
static int save_state(struct salvage *x, struct err *e)
{
	char path[4096];
	struct witness w;
	bool damaged;
	int fd;

	snprintf(path, sizeof(path), "%s/commits", x->from);
	fd = witness_open(path, true, &w, &damaged, NULL);
	if (fd >= 0)
		close(fd);
	raise_to(&x->state.last_seq, x->max_seq);
	raise_to(&x->state.last_seq, w.seq);
	raise_to(&x->state.last_batch, x->max_batch);
	raise_to(&x->state.changes, w.changes);
	x->state.changes++;
	x->state.lost_seqs = x->state.lost_changes = 0;
	return store_state_save(&x->s.w, &x->state, e);
}

static int want_images(struct salvage *x, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && x->pages_lost && i < x->n_colls; i++)
		rc = salvage_want_image(x, &x->colls[i], e);
	return rc;
}

/*
 * Whether the database lacks pages, so that what is not in it need not have been removed. What a
 * whole WAL has is not looked at.
 */
static bool lacks_pages(const char *path)
{
	struct sql db = { 0 };
	sqlite3_stmt *st;
	bool ok = false;

	if (sql_open(&db, path, SQL_IMMUTABLE, NULL) == 0 &&
	    sql_start(&db, &st, NULL, "PRAGMA integrity_check(1)", "") == 0 &&
	    sql_step(&db, st, NULL) > 0) {
		ok = strcmp((const char *)sqlite3_column_text(st, 0), "ok") == 0;
		sql_done(st);
	}
	sql_close(&db);
	return !ok;
}

static int fill(struct salvage *x, struct err *e)
{
	struct pass p = { x, e };
	int rc = x->carve ? carve_each(x->carve, first_pass, &p) : 0;

	x->known_seq = x->state.last_seq;
	if (rc == 0 && !x->has_state)
		rc = salvage_find_strangers(x, e);
	if (rc == 0)
		rc = salvage_open_segments(x, e);
	if (rc == 0 && x->carve)
		rc = carve_each(x->carve, second_pass, &p);
	if (rc == 0)
		rc = want_images(x, e);
	if (rc == 0)
		rc = drop_gone(x, e);
	if (rc == 0)
		rc = drop_bad(x, e);
	if (rc == 0)
		rc = want_bad(x, e);
	if (rc == 0)
		rc = salvage_from_segments(x, e);
	if (rc == 0)
		rc = tell_lost(x, e);
	if (rc == 0)
		rc = save_state(x, e);
	return rc == 0 ? save_collections(x, e) : rc;
}

static const char scratch[] =
	"PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY;"
	"CREATE TEMP TABLE wanted(key INTEGER PRIMARY KEY, seq INTEGER NOT NULL, id TEXT);"
	"CREATE TEMP TABLE taken(key INTEGER PRIMARY KEY);"
	"CREATE TEMP TABLE gone_once(cid INTEGER, slot INTEGER, seq INTEGER);"
	"CREATE INDEX temp.gone_by_slot ON gone_once(cid, slot); BEGIN";

static int make_database(struct salvage *x, struct err *e)
{
	char path[4096];
	int fd, rc;

	snprintf(path, sizeof(path), "%s/store.db", x->s.dir);
	rc = store_db_create(x->s.dir, path, e);
	if (rc == 0)
		rc = store_db_open(&x->s.w, path, SQL_WRITE, e);
	if (rc == 0)
		rc = sql_exec(&x->s.w, scratch, e);
	if (rc == 0)
		rc = fill(x, e);
	if (rc == 0)
		rc = sql_exec(&x->s.w, "COMMIT", e);
	sql_close(&x->s.w); /* with a checkpoint */
	fd = rc == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (rc == 0 && (fd < 0 || io_sync(fd) < 0))
		rc = err_set(e, -EIO, "%s cannot be synced", path);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* ---- the rest of the store ---- */

static int link_file(struct salvage *x, const char *name, struct err *e)
{
	char from[4096], to[4096];

	snprintf(from, sizeof(from), "%s/%s", x->from, name);
	snprintf(to, sizeof(to), "%s/%s", x->s.dir, name);
	if (link(from, to) == 0 || errno == ENOENT)
		return 0;
	return err_set(e, -errno, "%s: %s", to, strerror(errno));
}

static int link_files(struct salvage *x, struct err *e)
{
	char name[64];
	int rc = link_file(x, "labels", e);

	if (rc == 0)
		rc = link_file(x, "totals", e);
	for (size_t i = 0; rc == 0 && i < x->n_colls; i++) {
		snprintf(name, sizeof(name), "%u.vectors.%u", x->colls[i].st.c.cid,
		         x->colls[i].st.c.gen);
		if (x->colls[i].fd >= 0)
			rc = link_file(x, name, e);
	}
	return rc;
}

/* Twice: extents that are damaged are left behind by writing the next generation. */
static int check_collection(struct store *s, const struct store_collection *c, uint64_t *ret_rows,
                            struct err *e)
{
	struct store_report r;
	uint32_t dim = c->config.dimension;
	int rc = store_verify(s, c->cid, dim, NULL, &r, e);

	if (rc == 0 && r.first[0] && dim) {
		rc = store_compact(s, c->cid, dim, NULL, NULL, e);
		store_drop_old_maps(s, c->cid);
		if (rc == 0)
			rc = store_verify(s, c->cid, dim, NULL, &r, e);
	}
	if (rc == 0 && r.first[0])
		return err_set(e, -EILSEQ, "what was salvaged is damaged: %s", r.first);
	*ret_rows += r.rows_checked;
	return rc;
}

static int check(struct salvage *x, struct err *e)
{
	struct store_collection c = { 0 };
	struct store *s;
	int rc = store_open(x->s.dir, false, &s, e);

	if (rc < 0)
		return rc;
	while (rc == 0 && store_collection_next(s, c.cid, &c, NULL) == 0) {
		x->ret->collections++;
		rc = check_collection(s, &c, &x->ret->vectors, e);
	}
	store_close(s);
	return rc == 0 ? io_sync_dir(x->s.dir) : rc;
}

static void release(struct salvage *x)
{
	for (size_t i = 0; i < x->n_colls; i++)
		if (x->colls[i].fd >= 0)
			close(x->colls[i].fd);
	for (size_t i = 0; i < x->n_bad; i++)
		mem_free(x->bad[i].id);
	mem_free(x->bad);
	mem_free(x->colls);
	mem_free(x->v);
	carve_close(x->carve);
}

static void database_path(const char *dir, char *ret, size_t cap)
{
	snprintf(ret, cap, "%s/store.db", dir);
}

int store_salvage(const char *from, const char *to, uint32_t default_cid,
                  const struct salvage_watch *w, struct salvage_result *ret, struct err *e)
{
	struct salvage x = { .from = from, .default_cid = default_cid, .watch = w, .ret = ret };
	char path[4096];
	int rc;

	*ret = (struct salvage_result){ 0 };
	if (strlen(from) > 3800 || strlen(to) > 3800)
		return err_set(e, -ENAMETOOLONG, "the path of the store is too long");
	database_path(from, path, sizeof(path));
	x.s.dir = (char *)(uintptr_t)to;
	x.v = mem_alloc(LIMIT_DIMENSION, sizeof(*x.v));
	rc = x.v ? carve_open(path, &x.carve, e) : err_nomem(e);
	if (rc == -ENOENT) {
		salvage_tell(&x, NULL, "store.db is missing: what was removed may come back");
		rc = 0;
	}
	x.pages_lost = x.carve && (carve_wal_damaged(x.carve) || lacks_pages(path));
	if (rc == 0)
		rc = io_mkdir(to, 0700);
	if (rc == 0) {
		rc = make_database(&x, e);
		if (rc == 0)
			rc = link_files(&x, e);
		if (rc == 0)
			rc = check(&x, e);
		if (rc < 0)
			io_remove_tree(to);
	}
	release(&x);
	return rc < 0 && e && !e->code ? err_set(e, rc, "%s: %s", to, strerror(-rc)) : rc;
}

bool database_wal_damaged(const char *path)
{
	struct carve *c;
	bool damaged;

	if (carve_open(path, &c, NULL) < 0)
		return false;
	damaged = carve_wal_damaged(c);
	carve_close(c);
	return damaged;
}
