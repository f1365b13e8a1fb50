/*
 * export.c: a snapshot of the store, rendered row by row where somebody reads.
 *
 * The snapshot is taken between two commits, so the counts in memory are its own and the size is
 * known without reading a row. Where a row begins follows from those before it: of a row that is
 * skipped only its size is looked at. On the way places are noted, at most MARKS_MAX of them (every
 * second one goes when there are too many), so that a reader who goes back, as tail does, does not
 * begin anew.
 *
 * Lock order: commit_gate, (store); lock, mu.
 */
#include "engine/export.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/engine_impl.h"
#include "store/snapshot.h"

#define MARKS_MAX  4096
#define NPY_HEADER 128 /* bytes */

struct mark {
	uint64_t off;
	uint64_t after; /* number of the row that ends there */
};

struct export
{
	struct engine *engine;
	struct store_snapshot *snapshot;
	enum export_format format;
	struct store_snapshot_info info;
	uint64_t n_rows, size;
	char header[NPY_HEADER];
	size_t header_len;
	/* The snapshot stands behind row `after`, which ends at off; rec is that row, if whole. */
	uint64_t off;
	uint64_t after;
	uint64_t row; /* how many stand before off */
	struct buf rec;
	struct mark *marks; /* ascending */
	size_t n_marks;
	uint64_t stride; /* rows from one to the next */
};

/* ---- sizes ---- */

struct counts {
	uint64_t rows;
	uint64_t json_bytes;
	uint32_t dim;
};

static size_t record_bytes(enum export_format f, uint32_t dim)
{
	return dim * sizeof(float) + (f == EXPORT_FVECS ? sizeof(uint32_t) : 0);
}

static uint64_t size_of(enum export_format f, const struct counts *n)
{
	if (f == EXPORT_JSONL)
		return n->json_bytes;
	return n->rows * record_bytes(f, n->dim) + (f == EXPORT_NPY ? NPY_HEADER : 0);
}

static void count(struct collection *c, struct counts *ret)
{
	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	*ret = (struct counts){ c->live, c->json_bytes, (uint32_t)c->rows.dim };
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
}

int engine_export_stat(struct engine *en, uint32_t cid, enum export_format f, uint64_t *ret_size,
                       struct err *e)
{
	struct collection *c;
	struct counts n;
	int rc = collection_enter(en, cid, &c, e);

	if (rc < 0)
		return rc;
	count(c, &n);
	collection_leave(c);
	*ret_size = size_of(f, &n);
	return 0;
}

/* ---- open ---- */

/* Version 1.0, padded with spaces as numpy does it. */
static void make_header(struct export *x)
{
	char *h = x->header;
	int n;

	x->header_len = NPY_HEADER;
	memset(h, ' ', NPY_HEADER);
	memcpy(h, "\x93NUMPY\x01\x00", 8);
	h[8] = NPY_HEADER - 10;
	h[9] = 0;
	n = snprintf(h + 10, NPY_HEADER - 10,
	             "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %u), }",
	             (unsigned long long)x->n_rows, x->info.dim);
	h[10 + n] = ' ';
	h[NPY_HEADER - 1] = '\n';
}

static int take_snapshot(struct export *x, struct collection *c, struct err *e)
{
	struct counts n = { 0 };
	int rc;

	rwlock_write(&c->commit_gate);
	rc = store_snapshot_open(c->engine->store, c->cid, &x->snapshot, &x->info, e);
	count(c, &n);
	rwlock_write_unlock(&c->commit_gate);
	if (rc < 0)
		return rc;
	if (n.rows)
		n.dim = x->info.dim;
	x->info.dim = n.dim;
	x->n_rows = n.rows;
	x->size = size_of(x->format, &n);
	if (x->format == EXPORT_NPY)
		make_header(x);
	x->off = x->header_len;
	return 0;
}

int engine_export_open(struct engine *en, uint32_t cid, enum export_format f, struct export **ret,
                       struct err *e)
{
	struct collection *c;
	struct export *x;
	int rc = collection_enter(en, cid, &c, e);

	if (rc < 0)
		return rc;
	if (atomic_fetch_add(&en->n_exports, 1) >= EXPORTS_MAX) {
		atomic_fetch_sub(&en->n_exports, 1);
		collection_leave(c);
		return err_set(e, -EMFILE, "%d exports of the tenant are open, the limit",
		               EXPORTS_MAX);
	}
	x = mem_zalloc(1, sizeof(*x));
	rc = x ? 0 : err_nomem(e);
	if (x) {
		x->engine = en;
		x->format = f;
		x->stride = 1;
		x->marks = mem_alloc(MARKS_MAX, sizeof(*x->marks));
		rc = x->marks ? take_snapshot(x, c, e) : err_nomem(e);
	} else {
		atomic_fetch_sub(&en->n_exports, 1);
	}
	collection_leave(c);
	if (rc < 0) {
		engine_export_close(x);
		return rc;
	}
	*ret = x;
	return 0;
}

void engine_export_close(struct export *x)
{
	if (!x)
		return;
	atomic_fetch_sub(&x->engine->n_exports, 1);
	store_snapshot_close(x->snapshot);
	buf_release(&x->rec);
	mem_free(x->marks);
	mem_free(x);
}

uint64_t engine_export_size(const struct export *x)
{
	return x->size;
}

uint64_t engine_export_vectors(const struct export *x)
{
	return x->n_rows;
}

uint64_t engine_export_seq(const struct export *x)
{
	return x->info.seq;
}

/* ---- where rows are ---- */

static void note_place(struct export *x)
{
	if (x->row % x->stride != 0 || (x->n_marks && x->marks[x->n_marks - 1].off >= x->off))
		return;
	if (x->n_marks == MARKS_MAX) {
		for (size_t i = 0; i < MARKS_MAX / 2; i++)
			x->marks[i] = x->marks[2 * i + 1];
		x->n_marks = MARKS_MAX / 2;
		x->stride *= 2;
		if (x->row % x->stride != 0)
			return;
	}
	x->marks[x->n_marks++] = (struct mark){ x->off, x->after };
}

/* To the last place at or before off that is known. */
static void go_back(struct export *x, uint64_t off)
{
	size_t low = 0, high = x->n_marks;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (x->marks[mid].off <= off)
			low = mid + 1;
		else
			high = mid;
	}
	x->off = low ? x->marks[low - 1].off : x->header_len;
	x->after = low ? x->marks[low - 1].after : 0;
	x->row = low ? low * x->stride : 0;
	buf_clear(&x->rec);
	store_snapshot_seek(x->snapshot, x->after);
}

static uint64_t row_bytes(const struct export *x, const struct store_row *r)
{
	return x->format == EXPORT_JSONL ? r->json_bytes : record_bytes(x->format, x->info.dim);
}

static int err_short(struct err *e)
{
	return err_set(e, -EIO, "rows of the collection are damaged: integrity tells more");
}

/* To the row that has the byte at off, which lies behind x->off and before the end. */
static int skip_to(struct export *x, uint64_t off, struct err *e)
{
	struct store_row row;
	int rc;

	buf_clear(&x->rec);
	for (;;) {
		rc = store_snapshot_next(x->snapshot, false, &row, e);
		if (rc <= 0)
			return rc < 0 ? rc : err_short(e);
		if (off - x->off < row_bytes(x, &row))
			break;
		x->off += row_bytes(x, &row);
		x->after = row.num;
		x->row++;
		note_place(x);
	}
	store_snapshot_seek(x->snapshot, x->after);
	return 0;
}

/* ---- contents ---- */

static void render(struct export *x, const struct store_row *r)
{
	const struct answer_hit h = {
		.id = r->id,
		.id_len = r->id_len,
		.v = r->v,
		.dim = x->info.dim,
		.metadata = r->metadata,
		.metadata_len = r->metadata_len,
		.text = r->text,
		.text_len = r->text_len,
	};

	buf_clear(&x->rec);
	if (x->format == EXPORT_JSONL) {
		answer_vector_json(&x->rec, &h);
		return;
	}
	if (x->format == EXPORT_FVECS)
		buf_add(&x->rec, &x->info.dim, sizeof(x->info.dim));
	buf_add(&x->rec, r->v, x->info.dim * sizeof(float));
}

/* The row that begins at x->off, which ends the place. */
static int next_row(struct export *x, struct err *e)
{
	struct store_row row;
	int rc = store_snapshot_next(x->snapshot, true, &row, e);

	if (rc <= 0)
		return rc < 0 ? rc : err_short(e);
	render(x, &row);
	if (buf_failed(&x->rec))
		return err_nomem(e);
	if (x->rec.len != row_bytes(x, &row))
		return err_short(e);
	x->off += x->rec.len;
	x->after = row.num;
	x->row++;
	note_place(x);
	return 0;
}

static size_t give(struct buf *ret, const char *p, size_t len, uint64_t at, size_t n)
{
	size_t left = len - (size_t)at;

	if (n > left)
		n = left;
	buf_add(ret, p + at, n);
	return n;
}

/* rec is the row before x->off. */
static bool in_record(const struct export *x, uint64_t off)
{
	return off < x->off && off >= x->off - x->rec.len;
}

int engine_export_read(struct export *x, uint64_t off, size_t n, struct buf *ret, struct err *e)
{
	int rc = 0;

	while (rc == 0 && n > 0 && off < x->size) {
		size_t given = 0;

		if (off < x->header_len) {
			given = give(ret, x->header, x->header_len, off, n);
		} else if (in_record(x, off)) {
			given = give(ret, x->rec.data, x->rec.len, off - (x->off - x->rec.len), n);
		} else if (off == x->off) {
			rc = next_row(x, e);
		} else {
			if (off < x->off)
				go_back(x, off);
			if (off > x->off)
				rc = skip_to(x, off, e);
			if (rc == 0)
				rc = next_row(x, e);
		}
		off += given;
		n -= given;
	}
	if (rc < 0) /* what was begun stays where it can be tried again */
		go_back(x, x->header_len);
	return rc;
}
