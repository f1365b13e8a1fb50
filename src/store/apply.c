/*
 * apply.c: one commit's changes inside the transaction of its group.
 *
 * Order: token, dimension, remove_all, inline rows, extents, removed IDs, receipt. The old
 * version of a row is looked up before it is replaced, so that its slot goes to `gone`; rows
 * with numbers that were never stored are not looked up.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/crc.h"
#include "base/thread.h"
#include "store/store_impl.h"

/* 1: this token was committed before; the results are filled in. */
static int find_token(struct store *s, struct store_commit *c, struct err *e)
{
	sqlite3_stmt *st;
	int rc;

	if (!c->token)
		return 0;
	rc = sql_start(&s->w, &st, e,
	               "SELECT seq, accepted, replaced, removed FROM batches WHERE token = ?", "b",
	               (const void *)c->token, (size_t)STORE_TOKEN_SIZE);
	if (rc == 0)
		rc = sql_step(&s->w, st, e);
	if (rc <= 0)
		return rc;
	c->ret_duplicate = true;
	c->ret_seq = (uint64_t)sqlite3_column_int64(st, 0);
	c->ret_accepted = (uint64_t)sqlite3_column_int64(st, 1);
	c->ret_replaced = (uint64_t)sqlite3_column_int64(st, 2);
	c->ret_removed = (uint64_t)sqlite3_column_int64(st, 3);
	sql_done(st);
	return 1;
}

/* Every so many sequences, whichever has a token then: others need never have one. */
static int cut_tokens(struct store *s, uint64_t seq, struct err *e) REQUIRES(s->write)
{
	int rc;

	if (seq <= STORE_TOKENS || seq - s->tokens_cut < STORE_TOKENS_SLACK)
		return 0;
	rc = sql_run(&s->w, e, "DELETE FROM batches WHERE seq <= ?", "i", I(seq - STORE_TOKENS));
	if (rc == 0)
		s->tokens_cut = seq;
	return rc;
}

static int keep_token(struct store *s, const struct request *q, struct err *e) REQUIRES(s->write)
{
	const struct store_commit *c = q->c;
	int rc;

	if (!c->token)
		return 0;
	rc = sql_run(&s->w, e, "INSERT INTO batches VALUES(?, ?, ?, ?, ?, ?)", "ibiiii", I(q->seq),
	             (const void *)c->token, (size_t)STORE_TOKEN_SIZE, I(c->cid),
	             I(c->ret_accepted), I(c->ret_replaced), I(c->ret_removed));
	return rc < 0 ? rc : cut_tokens(s, q->seq, e);
}

static int fit_dimension(struct request *q, struct err *e)
{
	struct collection_config *k = &q->coll->pending.c.config;
	uint32_t dim = q->c->dimension;

	if (!q->c->n_rows && !q->c->n_extents)
		return 0;
	if (!dim || dim > LIMIT_DIMENSION)
		return err_set(e, -EINVAL, "dimension %u, at most %u", dim, LIMIT_DIMENSION);
	if (k->dimension && k->dimension != dim)
		return err_set(e, -EINVAL, "expected %u numbers, got %u", k->dimension, dim);
	k->dimension = dim;
	return 0;
}

static int remove_all(struct store *s, struct request *q, struct err *e)
{
	int rc = sql_run(&s->w, e, "DELETE FROM rows WHERE key BETWEEN ? AND ?", "ii",
	                 ROW_KEYS(q->coll->cid, 0));

	if (rc < 0)
		return rc;
	q->c->ret_removed += (uint64_t)sqlite3_changes64(s->w.db);
	q->coll->pending.c.cleared_seq = q->seq;
	return sql_run(&s->w, e, "DELETE FROM gone WHERE cid = ?", "i", I(q->coll->cid));
}

/*
 * The version of num that is there now: 1 and its sequence, or 0. Its slot goes to `gone`,
 * unless the row is damaged: a wrong slot there would kill another vector.
 */
static int bury(struct store *s, struct request *q, uint64_t num, uint64_t *ret_seq, struct err *e)
{
	uint32_t cid = q->coll->cid;
	sqlite3_stmt *st;
	struct row old;
	bool holds;
	int rc = sql_start(&s->w, &st, e, "SELECT " ROW_COLUMNS " FROM rows WHERE key = ?", "i",
	                   I(row_key(cid, num)));

	if (rc == 0)
		rc = sql_step(&s->w, st, e);
	if (rc <= 0)
		return rc;
	holds = row_decode(st, cid, &old);
	sql_done(st);
	*ret_seq = holds ? old.r.seq : 0;
	if (!holds) {
		q->coll->pending.c.cleared_seq = q->seq; /* an image may know the slot */
		return 1;
	}
	rc = sql_run(&s->w, e, "INSERT OR REPLACE INTO gone VALUES(?, ?, ?, ?)", "iiii", I(cid),
	             I(q->seq), I(old.r.slot), I(gone_crc(cid, q->seq, old.r.slot)));
	return rc < 0 ? rc : 1;
}

static int check_row(const struct store_row *r, struct err *e)
{
	if (!r->num || r->num >= STORE_NUM_MAX)
		return err_set(e, -EINVAL, "vector number %" PRIu64, r->num);
	if (!r->id_len || r->id_len > LIMIT_ID)
		return err_set(e, -EINVAL, "ID of %zu bytes, at most %d", r->id_len, LIMIT_ID);
	if (r->metadata && r->metadata_len > LIMIT_METADATA)
		return err_set(e, -E2BIG, "metadata of %zu bytes, at most %u", r->metadata_len,
		               LIMIT_METADATA);
	if (r->text && r->text_len > LIMIT_TEXT)
		return err_set(e, -E2BIG, "text of %zu bytes, at most %u", r->text_len, LIMIT_TEXT);
	return 0;
}

static int put_row(struct store *s, struct request *q, const struct row *row, struct err *e)
	REQUIRES(s->write)
{
	struct store_collection *p = &q->coll->pending.c;
	uint64_t old_seq = 0;
	int rc = check_row(&row->r, e);

	if (rc == 0 && row->r.num < p->next_num)
		rc = bury(s, q, row->r.num, &old_seq, e);
	if (rc < 0)
		return rc;
	if (rc == 1 && old_seq != q->seq)
		q->c->ret_replaced++;
	if (row->r.num >= p->next_num)
		p->next_num = row->r.num + 1;
	thread_lets_pass_between(++q->c->ret_accepted);
	return row_write(s, q->coll->cid, q->c->dimension, row, e);
}

static int put_inline(struct store *s, struct request *q, struct err *e) REQUIRES(s->write)
{
	size_t row_bytes = q->c->dimension * sizeof(float);
	int rc = 0;

	for (size_t i = 0; i < q->c->n_rows && rc == 0; i++) {
		struct row row = { .r = q->c->rows[i] };

		row.r.seq = q->seq;
		row.r.off = STORE_INLINE;
		row.pcrc = row_payload_crc(&row.r);
		row.vcrc = crc32c(0, row.r.v, row_bytes);
		rc = put_row(s, q, &row, e);
	}
	return rc;
}

struct extent_ctx {
	struct store *s;
	struct request *q;
};

/* Called back by put_extents(), which has the lock. */
static int put_from_extent(void *ctx, const struct store_row *r, uint32_t vcrc,
                           struct err *e) NO_TSA
{
	struct extent_ctx *x = ctx;
	struct row row = { .r = *r, .vcrc = vcrc };

	row.r.seq = x->q->seq;
	row.pcrc = row_payload_crc(&row.r);
	return put_row(x->s, x->q, &row, e);
}

static int put_extents(struct store *s, struct request *q, struct err *e)
{
	struct extent_ctx x = { .s = s, .q = q };
	struct segment *g;
	int rc = 0;

	if (!q->c->n_extents)
		return 0;
	rc = coll_segment(s, q->coll, &g, e);
	for (size_t i = 0; i < q->c->n_extents && rc == 0; i++)
		rc = segment_read_extent(g, extent_off(q->c->extents[i]), q->c->batch,
		                         q->c->dimension, put_from_extent, &x, e);
	if (rc == 0 && q->coll->pending.segment_end < q->segment_end)
		q->coll->pending.segment_end = q->segment_end;
	return rc;
}

static int remove_ids(struct store *s, struct request *q, struct err *e)
{
	uint64_t seq;
	int rc = 0;

	for (size_t i = 0; i < q->c->n_removed && rc >= 0; i++) {
		uint64_t num = q->c->removed[i];

		if (num > STORE_NUM_MAX)
			continue;
		rc = bury(s, q, num, &seq, e);
		if (rc != 1)
			continue;
		thread_lets_pass_between(++q->c->ret_removed);
		rc = sql_run(&s->w, e, "DELETE FROM rows WHERE key = ?", "i",
		             I(row_key(q->coll->cid, num)));
	}
	return rc < 0 ? rc : 0;
}

/* An emptied collection takes any dimension again, unless its owner set one. */
static int free_dimension(struct store *s, struct request *q, struct err *e)
{
	int64_t one;
	int rc;

	if (!q->c->ret_removed || q->coll->pending.c.dimension_set)
		return 0;
	rc = sql_number(&s->w, &one, e, "SELECT 1 FROM rows WHERE key BETWEEN ? AND ? LIMIT 1",
	                "ii", ROW_KEYS(q->coll->cid, 0));
	if (rc != -ENOENT)
		return rc;
	q->coll->pending.c.config.dimension = 0;
	return 0;
}

/* Its writers commit one at a time, so what they know of the file so far is the sum. */
static int put_receipt(struct store *s, struct request *q, struct err *e) REQUIRES(s->write)
{
	if (!q->c->receipt)
		return 0;
	q->receipt = *q->c->receipt;
	q->receipt.vectors += q->c->ret_accepted;
	q->receipt.replaced += q->c->ret_replaced;
	q->receipt.batches++;
	return receipt_write(s, q->coll, &q->receipt, e);
}

static int put_all(struct store *s, struct request *q, struct err *e) REQUIRES(s->write)
{
	int rc = 0;

	if (q->c->remove_all)
		rc = remove_all(s, q, e);
	if (rc == 0)
		rc = put_inline(s, q, e);
	if (rc == 0)
		rc = put_extents(s, q, e);
	if (rc == 0)
		rc = remove_ids(s, q, e);
	if (rc == 0)
		rc = free_dimension(s, q, e);
	if (rc == 0)
		rc = put_receipt(s, q, e);
	return rc < 0 ? rc : keep_token(s, q, e);
}

int request_apply(struct store *s, struct request *q, struct err *e)
{
	struct store_commit *c = q->c;
	int rc;

	c->ret_seq = c->ret_accepted = c->ret_replaced = c->ret_removed = 0;
	c->ret_duplicate = false;
	rc = find_token(s, c, e);
	if (rc)
		return rc < 0 ? rc : 0;
	q->coll->touched = true;
	rc = fit_dimension(q, e);
	if (rc == 0)
		rc = put_all(s, q, e);
	if (rc < 0)
		return rc;
	c->ret_seq = q->seq;
	q->coll->pending.c.total_inserts += c->ret_accepted;
	q->coll->pending.c.total_deletes += c->ret_removed;
	return 0;
}
