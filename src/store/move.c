/*
 * move.c: moving floats: from store.db into the segment, and from one generation of the segment
 * into the next.
 *
 * Both read rows a few megabytes at a time, append them as extents, and change off and crc of
 * the rows in a transaction. Both run under the writer's lock, so no commit comes between a
 * row's reading and its change. Checksums are carried along, never computed anew: a damaged
 * vector stays one. What cannot be read at all ends a compaction: the old file may be its last copy.
 *
 * While a compaction commits, readers may see the old or the new generation in store.db; both
 * are in the collection's lists from before the COMMIT until after it.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/store_impl.h"

#define CHUNK_BYTES (4u << 20)

/* ---- some rows in memory ---- */

struct chunk {
	uint32_t cid;
	uint32_t dim;
	struct row *rows;
	struct store_row *moved; /* what is appended: copies with pointers */
	uint32_t *vcrc;
	float *v;
	size_t n;
	size_t cap;
	struct buf strings; /* rows' pointers are offsets + 1 into it until chunk_ready() */
	uint64_t last;      /* number of the last row that was looked at */
	bool skip_damaged;
};

static void chunk_release(struct chunk *k)
{
	mem_free(k->rows);
	mem_free(k->moved);
	mem_free(k->vcrc);
	mem_free(k->v);
	buf_release(&k->strings);
}

static int chunk_init(struct chunk *k, uint32_t cid, uint32_t dim, size_t max, struct err *e)
{
	size_t cap = CHUNK_BYTES / (dim * sizeof(float));

	cap = cap < 1 ? 1 : cap > 8192 ? 8192 : cap;
	*k = (struct chunk){ .cid = cid, .dim = dim, .cap = max < cap ? max : cap };
	k->rows = mem_alloc(k->cap, sizeof(*k->rows));
	k->moved = mem_alloc(k->cap, sizeof(*k->moved));
	k->vcrc = mem_alloc(k->cap, sizeof(*k->vcrc));
	k->v = mem_alloc(k->cap, dim * sizeof(float));
	if (k->rows && k->moved && k->vcrc && k->v)
		return 0;
	chunk_release(k);
	return err_nomem(e);
}

static void chunk_clear(struct chunk *k)
{
	k->n = 0;
	buf_clear(&k->strings);
}

static bool chunk_full(const struct chunk *k)
{
	return k->n == k->cap || k->strings.len >= CHUNK_BYTES;
}

/* The strings of a row follow each other. */
static void chunk_add(struct chunk *k, const struct row *row, const float *v)
{
	struct row *to = &k->rows[k->n];

	*to = *row;
	k->vcrc[k->n] = row->vcrc;
	memcpy(k->v + k->n * k->dim, v, k->dim * sizeof(float));
	buf_add(&k->strings, row->r.id, row->r.id_len);
	buf_add(&k->strings, row->r.metadata, row->r.metadata_len);
	buf_add(&k->strings, row->r.text, row->r.text_len);
	k->n++;
}

static int chunk_ready(struct chunk *k, struct err *e)
{
	const char *p = k->strings.data;

	if (buf_failed(&k->strings))
		return err_nomem(e);
	for (size_t i = 0; i < k->n; i++) {
		struct store_row *r = &k->rows[i].r;

		r->v = k->v + i * k->dim;
		r->id = p;
		p += r->id_len;
		r->metadata = r->metadata ? p : NULL;
		p += r->metadata_len;
		r->text = r->text ? p : NULL;
		p += r->text_len;
		k->moved[i] = *r;
	}
	return 0;
}

/* The floats of a decoded row, or NULL. Inline ones must hold. */
static const float *row_floats(struct chunk *k, struct segment *from, const struct row *row)
{
	if (row->r.off != STORE_INLINE)
		return from ? segment_floats(from, row->r.off, k->dim) : NULL;
	if (crc32c(0, row->r.v, k->dim * sizeof(float)) != row->vcrc)
		return NULL;
	return row->r.v;
}

/*
 * Whether the floats that were copied last are what the file has. A flipped bit is, and is carried
 * along; zeros in the place of a page that could not be read are not: the file has the only copy, if
 * the disk gives it once more, and must stay.
 */
static bool copy_is_real(const struct chunk *k, const struct segment *from)
{
	const float *v = k->v + (k->n - 1) * k->dim;

	return !from || !segment_lost(from) ||
	       crc32c(0, v, k->dim * sizeof(float)) == k->vcrc[k->n - 1];
}

static int take_row(struct chunk *k, struct segment *from, sqlite3_stmt *st, struct err *e)
{
	const float *v = NULL;
	struct row row;

	if (row_decode(st, k->cid, &row) && row_decode_rest(st, k->dim, &row))
		v = row_floats(k, from, &row);
	k->last = row.r.num;
	if (v)
		chunk_add(k, &row, v);
	if (v && !copy_is_real(k, from))
		return err_set(e, -EIO, "the vector of row %llu cannot be read from the disk",
		               (unsigned long long)row.r.num);
	if (!v && !k->skip_damaged)
		return err_set(e, -EIO, "the stored row %llu is damaged",
		               (unsigned long long)row.r.num);
	return 0;
}

/* Fills the chunk with rows behind k->last that st gives. */
static int chunk_fill(struct store *s, struct chunk *k, struct segment *from, const char *text,
                      struct err *e)
{
	sqlite3_stmt *st;
	int rc;

	chunk_clear(k);
	rc = sql_start(&s->w, &st, e, text, "ii", ROW_KEYS(k->cid, k->last + 1));
	if (rc < 0)
		return rc;
	while (!chunk_full(k) && (rc = sql_step(&s->w, st, e)) > 0) {
		rc = take_row(k, from, st, e);
		if (rc < 0)
			break;
	}
	sql_done(st);
	return rc < 0 ? rc : chunk_ready(k, e);
}

static const char inline_rows[] = "SELECT " ROW_ALL " FROM rows INDEXED BY rows_inline"
				  " WHERE off IS NULL AND key BETWEEN ? AND ? ORDER BY key";
static const char segment_rows[] = "SELECT " ROW_ALL " FROM rows"
				   " WHERE off IS NOT NULL AND key BETWEEN ? AND ? ORDER BY key";

static int append_chunk(struct segment *g, struct chunk *k, uint64_t batch, struct err *e)
{
	const struct extent_in in = {
		.batch = batch, .dim = k->dim, .rows = k->moved, .vcrc = k->vcrc, .n = k->n
	};
	const float *v;
	uint64_t off;

	return segment_append(g, &in, &off, &v, e);
}

static int update_rows(struct store *s, struct chunk *k, struct err *e) REQUIRES(s->write)
{
	int rc = 0;

	for (size_t i = 0; i < k->n && rc == 0; i++) {
		k->rows[i].r.off = k->moved[i].off;
		rc = row_move(s, k->cid, &k->rows[i], e);
	}
	return rc;
}

/*
 * Versions that are moved were committed long ago: the seal has the newest sequence, not one of
 * its own.
 */
static int seal_moved(struct store *s, struct segment *g, struct block *seal, uint64_t *ret_end,
                      struct err *e)
{
	int rc;

	seal->detail = s->now.last_seq;
	rc = segment_seal(g, seal, ret_end, e);
	if (rc == 0)
		rc = segment_sync(g, e);
	if (rc == -EIO)
		s->failed = true;
	return rc;
}

typedef void moved_fn(void *ctx, uint32_t slot, uint64_t off, const float *v);

/* ---- inline rows ---- */

static int move_chunk(struct store *s, struct coll *c, struct segment *g, struct chunk *k,
                      struct err *e) REQUIRES(s->write)
{
	struct block seal = { .batch = store_batch_number(s), .part = 1, .n_rows = (uint32_t)k->n };
	uint64_t end = 0;
	int rc = append_chunk(g, k, seal.batch, e);

	FAULT_POINT("move.appended");
	if (rc == 0)
		rc = seal_moved(s, g, &seal, &end, e);
	FAULT_POINT("move.sealed");
	if (rc == 0)
		rc = txn_begin(s, true, e);
	if (rc < 0)
		return rc;
	rc = update_rows(s, k, e);
	if (rc < 0) {
		txn_rollback(s);
		return store_runtime(rc, e);
	}
	c->touched = true;
	if (c->pending.segment_end < end)
		c->pending.segment_end = end;
	return txn_commit(s, true, e);
}

static long move_locked(struct store *s, struct coll *c, struct chunk *k,
                        const struct store_move *m, struct err *e) REQUIRES(s->write)
{
	struct segment *g;
	int rc = chunk_fill(s, k, NULL, inline_rows, e);

	if (rc < 0 || !k->n)
		return store_runtime(rc, e);
	rc = coll_segment(s, c, &g, e);
	if (rc == 0)
		rc = move_chunk(s, c, g, k, e);
	if (rc < 0)
		return rc;
	FAULT_POINT("move.committed");
	for (size_t i = 0; i < k->n && m->moved; i++)
		m->moved(m->ctx, k->moved[i].slot, k->moved[i].off,
		         segment_floats(g, k->moved[i].off, k->dim));
	txn_tidy(s);
	return (long)k->n;
}

long store_move_inline(struct store *s, uint32_t cid, uint32_t dim, struct store_move *m,
                       struct err *e)
{
	struct coll *c = coll_live(s, cid, e);
	struct chunk k;
	long rc;

	m->ret_more = false;
	if (!c)
		return -ENODEV;
	if (!m->max_rows || !dim || dim > LIMIT_DIMENSION)
		return 0;
	rc = chunk_init(&k, cid, dim, m->max_rows, e);
	if (rc < 0)
		return rc;
	k.skip_damaged = true; /* they stay where they are, and are found there */
	mutex_lock(&s->write);
	rc = atomic_load(&c->gone) ? err_set(e, -ENODEV, "the collection is gone")
	                           : move_locked(s, c, &k, m, e);
	mutex_unlock(&s->write);
	m->ret_more = rc > 0 && chunk_full(&k);
	chunk_release(&k);
	return rc;
}

/* ---- the next generation ---- */

struct compaction {
	struct store *s;
	struct coll *c;
	struct segment *from;
	struct segment *to;
	struct chunk k;
	struct block seal;
};

static int open_next(struct compaction *x, struct err *e)
{
	struct coll_state *next = &x->c->pending;
	uint64_t batch, seq;
	char path[4096];

	next->c.gen++;
	next->salt = coll_salt();
	next->segment_end = 0;
	x->c->touched = true;
	segment_path(x->s->dir, x->c->cid, next->c.gen, path, sizeof(path));
	unlink(path); /* of a compaction that a crash ended */
	return segment_open(&x->to, x->s->dir, x->c->cid, next->c.gen, next->salt, 0, false, &batch,
	                    &seq, e);
}

static int copy_live(struct compaction *x, struct err *e) REQUIRES(x->s->write)
{
	int rc;

	for (;;) {
		rc = chunk_fill(x->s, &x->k, x->from, segment_rows, e);
		if (rc < 0 || !x->k.n)
			return rc;
		rc = append_chunk(x->to, &x->k, x->seal.batch, e);
		if (rc == 0)
			rc = update_rows(x->s, &x->k, e);
		if (rc < 0)
			return rc;
		x->seal.part++;
		x->seal.n_rows += (uint32_t)x->k.n;
	}
}

static void list_next(struct compaction *x)
{
	rwlock_write(&x->c->lock);
	x->to->older = x->c->old;
	x->c->old = x->to;
	rwlock_write_unlock(&x->c->lock);
}

/*
 * Takes the next generation off the list again; current: it is the one now, and its predecessor
 * is an old one.
 */
static void unlist_next(struct compaction *x, bool current)
{
	rwlock_write(&x->c->lock);
	x->c->old = x->to->older;
	x->to->older = NULL;
	if (current) {
		if (x->from) {
			x->from->older = x->c->old;
			x->c->old = x->from;
		}
		x->c->seg = x->to;
	}
	rwlock_write_unlock(&x->c->lock);
}

static void drop_file(struct store *s, uint32_t cid, uint32_t gen)
{
	char path[4096];

	segment_path(s->dir, cid, gen, path, sizeof(path));
	unlink(path);
	io_sync_dir(s->dir); /* if that fails the next open sweeps it */
}

/* Everything up to and with the COMMIT. */
static int switch_over(struct compaction *x, struct err *e) REQUIRES(x->s->write)
{
	int rc = copy_live(x, e);

	FAULT_POINT("compact.copied");
	if (rc == 0)
		rc = seal_moved(x->s, x->to, &x->seal, &x->c->pending.segment_end, e);
	if (rc < 0) {
		txn_rollback(x->s);
		return store_runtime(rc, e);
	}
	FAULT_POINT("compact.sealed");
	list_next(x);
	rc = txn_commit(x->s, true, e);
	unlist_next(x, rc == 0);
	return rc;
}

/* The rows that moved are known to hold: they were read a moment ago. */
static void tell_moved(struct compaction *x, moved_fn *moved, void *ctx)
{
	sqlite3_stmt *st;
	struct row row;

	if (!moved || sql_start(&x->s->w, &st, NULL, segment_rows, "ii", ROW_KEYS(x->k.cid, 0)) < 0)
		return;
	while (sql_step(&x->s->w, st, NULL) > 0) {
		if (row_decode(st, x->k.cid, &row))
			moved(ctx, row.r.slot, row.r.off,
			      segment_floats(x->to, row.r.off, x->k.dim));
	}
	sql_done(st);
}

static int compact_locked(struct compaction *x, moved_fn *moved, void *ctx, struct err *e)
	REQUIRES(x->s->write)
{
	uint32_t gen = x->c->now.c.gen;
	int rc = txn_begin(x->s, true, e);

	if (rc < 0)
		return rc;
	x->seal.batch = store_batch_number(x->s);
	rc = open_next(x, e);
	if (rc < 0) {
		txn_rollback(x->s);
		return rc;
	}
	FAULT_POINT("compact.created");
	rc = switch_over(x, e);
	if (rc < 0) {
		segment_free(x->to);
		/*
		 * A commit whose sync failed may turn out to be there, and then this is the only file
		 * that it knows: the next open sweeps the one of the two that is of no use.
		 */
		if (!x->s->failed)
			drop_file(x->s, x->c->cid, gen + 1);
		return rc;
	}
	FAULT_POINT("compact.committed");
	tell_moved(x, moved, ctx);
	drop_file(x->s, x->c->cid, gen);
	FAULT_POINT("compact.dropped");
	txn_tidy(x->s);
	return 0;
}

int store_compact(struct store *s, uint32_t cid, uint32_t dim,
                  void (*moved)(void *ctx, uint32_t slot, uint64_t off, const float *v), void *ctx,
                  struct err *e)
{
	struct compaction x = { .s = s, .c = coll_live(s, cid, e) };
	int rc;

	if (!x.c)
		return -ENODEV;
	if (!dim || dim > LIMIT_DIMENSION)
		return err_set(e, -EINVAL, "dimension %u, at most %u", dim, LIMIT_DIMENSION);
	rc = chunk_init(&x.k, cid, dim, SIZE_MAX, e);
	if (rc < 0)
		return rc;
	mutex_lock(&x.s->write);
	rwlock_read(&x.c->lock);
	x.from = x.c->seg;
	rwlock_read_unlock(&x.c->lock);
	if (atomic_load(&x.c->gone))
		rc = err_set(e, -ENODEV, "the collection is gone");
	else if (x.from)
		rc = compact_locked(&x, moved, ctx, e);
	mutex_unlock(&x.s->write);
	chunk_release(&x.k);
	return rc;
}

int store_segment_bytes(struct store *s, uint32_t cid, uint64_t *ret_file, uint64_t *ret_live,
                        struct err *e)
{
	struct coll *c = coll_live(s, cid, e);
	int64_t rows = 0, in = 0;
	int rc;

	if (!c)
		return -ENODEV;
	mutex_lock(&s->read);
	rc = store_reader(s, e);
	if (rc == 0)
		rc = sql_number(&s->r, &rows, e, "SELECT count(*) FROM rows WHERE cid = ?", "i",
		                I(cid));
	if (rc == 0)
		rc = sql_number(&s->r, &in, e,
		                "SELECT count(*) FROM rows INDEXED BY rows_inline"
		                " WHERE off IS NULL AND key BETWEEN ? AND ?",
		                "ii", ROW_KEYS(cid, 0));
	mutex_unlock(&s->read);
	if (rc < 0)
		return store_runtime(rc, e);
	rwlock_read(&c->lock);
	*ret_file = c->seg ? atomic_load(&c->seg->end) : 0;
	rwlock_read_unlock(&c->lock);
	*ret_live = rows > in ? (uint64_t)(rows - in) * coll_dimension(s, c) * sizeof(float) : 0;
	return 0;
}
