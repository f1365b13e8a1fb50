/*
 * receipts.c: what became of the files in ingest/.
 *
 * Only the newest config.receipts of a collection are kept; how many there are is counted once
 * and then kept in memory, so that a put in the steady state deletes one row and counts none.
 * Puts are not synced by themselves: what a receipt vouches for is committed with it by
 * store_commit().
 */
#include <errno.h>
#include <string.h>

#include "base/crc.h"
#include "store/store_impl.h"

#define RECEIPT_COLUMNS "number, name, state, vectors, replaced, bytes, ns, batches, error, crc"

static uint32_t receipt_crc(uint32_t cid, const struct receipt *r)
{
	size_t name_len = strlen(r->name), error_len = strlen(r->error);
	const uint64_t v[] = { cid,      r->number, (uint64_t)r->state, r->vectors, r->replaced,
		               r->bytes, r->ns,     r->batches,         name_len,   error_len };
	uint32_t crc = crc32c(0, v, sizeof(v));

	return crc32c(crc32c(crc, r->name, name_len), r->error, error_len);
}

bool receipt_decode(sqlite3_stmt *st, uint32_t cid, struct receipt *r)
{
	uint32_t state, crc;

	memset(r, 0, sizeof(*r));
	if (!sql_u32(st, 0, &r->number) || !sql_string(st, 1, r->name, sizeof(r->name)) ||
	    !sql_u32(st, 2, &state) || state > RECEIPT_REJECTED ||
	    !sql_u64(st, 3, INT64_MAX, &r->vectors) || !sql_u64(st, 4, INT64_MAX, &r->replaced) ||
	    !sql_u64(st, 5, INT64_MAX, &r->bytes) || !sql_u64(st, 6, INT64_MAX, &r->ns) ||
	    !sql_u64(st, 7, INT64_MAX, &r->batches) ||
	    !sql_string(st, 8, r->error, sizeof(r->error)) || !sql_u32(st, 9, &crc))
		return false;
	r->state = (enum receipt_state)state;
	return crc == receipt_crc(cid, r);
}

/* Takes the row that st gives, if any. */
static int take(struct sql *db, sqlite3_stmt *st, uint32_t cid, struct receipt *ret, struct err *e)
{
	struct receipt r;
	int rc = sql_step(db, st, e);

	if (rc <= 0)
		return rc < 0 ? store_runtime(rc, e) : err_set(e, -ENOENT, "no such receipt");
	rc = receipt_decode(st, cid, &r) ? 0 : err_set(e, -EIO, "the receipt is damaged");
	if (rc == 0)
		*ret = r;
	else
		ret->number = r.number; /* an iteration can go on behind it */
	sql_done(st);
	return rc;
}

int receipt_load(struct sql *db, uint32_t cid, uint32_t number, struct receipt *ret, struct err *e)
{
	sqlite3_stmt *st;
	int rc = sql_start(db, &st, e,
	                   "SELECT " RECEIPT_COLUMNS " FROM receipts WHERE cid = ? AND number = ?",
	                   "ii", I(cid), I(number));

	return rc < 0 ? store_runtime(rc, e) : take(db, st, cid, ret, e);
}

/* ---- writing ---- */

static int prune(struct store *s, struct coll *c, struct err *e)
{
	int64_t keep = c->pending.c.config.receipts;
	int rc = 0;

	if (c->n_receipts < 0)
		rc = sql_number(&s->w, &c->n_receipts, e,
		                "SELECT count(*) FROM receipts WHERE cid = ?", "i", I(c->cid));
	if (rc < 0 || c->n_receipts <= keep)
		return rc;
	rc = sql_run(&s->w, e,
	             "DELETE FROM receipts WHERE cid = ?1 AND number IN"
	             " (SELECT number FROM receipts WHERE cid = ?1 ORDER BY number LIMIT ?2)",
	             "ii", I(c->cid), I(c->n_receipts - keep));
	if (rc == 0)
		c->n_receipts = keep;
	return rc;
}

static int count_deleted(struct store *s, struct coll *c)
{
	if (c->n_receipts >= 0)
		c->n_receipts -= sqlite3_changes64(s->w.db);
	return 0;
}

/* 1: it was there under this name, and nothing but its own row had to be written. */
static int update(struct store *s, uint32_t cid, const struct receipt *r, struct err *e)
{
	int rc = sql_run(&s->w, e,
	                 "UPDATE receipts SET state = ?, vectors = ?, replaced = ?, bytes = ?,"
	                 " ns = ?, batches = ?, error = ?, crc = ?"
	                 " WHERE cid = ? AND number = ? AND name = ?",
	                 "iiiiiitiiit", I(r->state), I(r->vectors), I(r->replaced), I(r->bytes),
	                 I(r->ns), I(r->batches), r->error, strlen(r->error),
	                 I(receipt_crc(cid, r)), I(cid), I(r->number), r->name, strlen(r->name));

	return rc < 0 ? rc : sqlite3_changes64(s->w.db) > 0;
}

static int insert(struct store *s, struct coll *c, const struct receipt *r, struct err *e)
{
	size_t name_len = strlen(r->name);
	int rc;

	/* Two statements: SQLite answers an OR of the two keys with a scan of the collection. */
	rc = sql_run(&s->w, e, "DELETE FROM receipts WHERE cid = ? AND number = ?", "ii", I(c->cid),
	             I(r->number));
	if (rc < 0)
		return rc;
	count_deleted(s, c);
	rc = sql_run(&s->w, e, "DELETE FROM receipts WHERE cid = ? AND name = ?", "it", I(c->cid),
	             r->name, name_len);
	if (rc < 0)
		return rc;
	count_deleted(s, c);
	rc = sql_run(&s->w, e, "INSERT INTO receipts VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	             "iitiiiiiiti", I(c->cid), I(r->number), r->name, name_len, I(r->state),
	             I(r->vectors), I(r->replaced), I(r->bytes), I(r->ns), I(r->batches), r->error,
	             strlen(r->error), I(receipt_crc(c->cid, r)));
	if (rc < 0)
		return rc;
	if (c->n_receipts >= 0)
		c->n_receipts++;
	return prune(s, c, e);
}

/* One that was given before the store was opened, and is stored only now, is not given again. */
static void number_is_taken(struct coll *c, uint32_t number)
{
	uint32_t next = atomic_load(&c->next_receipt);

	while (next <= number && !atomic_compare_exchange_weak(&c->next_receipt, &next, number + 1))
		;
}

int receipt_write(struct store *s, struct coll *c, const struct receipt *r, struct err *e)
{
	size_t name_len = strnlen(r->name, sizeof(r->name));
	int rc;

	if (!r->number || !name_len || name_len == sizeof(r->name))
		return err_set(e, -EINVAL, "receipt number %u of a file without a name", r->number);
	c->touched = true;
	number_is_taken(c, r->number);
	if (r->number >= c->pending.c.next_receipt)
		c->pending.c.next_receipt = r->number + 1;
	rc = update(s, c->cid, r, e);
	return rc < 0 ? rc : rc ? prune(s, c, e) : insert(s, c, r, e);
}

int store_receipt_number(struct store *s, uint32_t cid, uint32_t *ret, struct err *e)
{
	struct coll *c = coll_live(s, cid, e);

	if (!c)
		return -ENODEV;
	*ret = atomic_fetch_add(&c->next_receipt, 1);
	return 0;
}

enum change { PUT, REMOVE, RENAME };

static int rename_locked(struct store *s, struct coll *c, const struct receipt *to, struct err *e)
	REQUIRES(s->write)
{
	struct receipt r = { 0 };
	int rc = receipt_load(&s->w, c->cid, to->number, &r, e);

	if (rc < 0)
		return rc;
	memcpy(r.name, to->name, sizeof(r.name));
	return receipt_write(s, c, &r, e);
}

static int remove_locked(struct store *s, struct coll *c, uint32_t number, struct err *e)
{
	int rc = sql_run(&s->w, e, "DELETE FROM receipts WHERE cid = ? AND number = ?", "ii",
	                 I(c->cid), I(number));

	if (rc < 0)
		return rc;
	c->touched = true;
	if (!sqlite3_changes64(s->w.db))
		return err_set(e, -ENOENT, "no such receipt");
	return count_deleted(s, c);
}

static int change_locked(struct store *s, struct coll *c, enum change what, const struct receipt *r,
                         struct err *e) REQUIRES(s->write)
{
	int rc = txn_begin(s, false, e);

	if (rc < 0)
		return rc;
	if (what == PUT)
		rc = receipt_write(s, c, r, e);
	else if (what == REMOVE)
		rc = remove_locked(s, c, r->number, e);
	else
		rc = rename_locked(s, c, r, e);
	if (rc == 0)
		return txn_commit(s, false, e);
	c->touched = true; /* so that the count is taken anew */
	txn_rollback(s);
	return store_runtime(rc, e);
}

static int change(struct store *s, uint32_t cid, enum change what, const struct receipt *r,
                  struct err *e)
{
	struct coll *c;
	int rc = -ENODEV;

	mutex_lock(&s->write);
	c = coll_live(s, cid, e);
	if (c)
		rc = change_locked(s, c, what, r, e);
	txn_tidy(s);
	mutex_unlock(&s->write);
	return rc;
}

int store_receipt_put(struct store *s, uint32_t cid, const struct receipt *r, struct err *e)
{
	return change(s, cid, PUT, r, e);
}

int store_receipt_remove(struct store *s, uint32_t cid, uint32_t number, struct err *e)
{
	const struct receipt r = { .number = number };

	return change(s, cid, REMOVE, &r, e);
}

int store_receipt_rename(struct store *s, uint32_t cid, uint32_t number, const char *name,
                         struct err *e)
{
	struct receipt r = { .number = number };
	size_t n = strlen(name);

	if (!n || n > LIMIT_ID)
		return err_set(e, -EINVAL, "name of %zu bytes, at most %d", n, LIMIT_ID);
	memcpy(r.name, name, n);
	return change(s, cid, RENAME, &r, e);
}

/* ---- reading ---- */

int store_receipt_by_number(struct store *s, uint32_t cid, uint32_t number, struct receipt *ret,
                            struct err *e)
{
	int rc;

	if (!coll_live(s, cid, e))
		return -ENODEV;
	mutex_lock(&s->read);
	rc = store_reader(s, e);
	if (rc == 0)
		rc = receipt_load(&s->r, cid, number, ret, e);
	mutex_unlock(&s->read);
	return rc;
}

int store_receipt_by_name(struct store *s, uint32_t cid, const char *name, struct receipt *ret,
                          struct err *e)
{
	sqlite3_stmt *st;
	int rc;

	if (!coll_live(s, cid, e))
		return -ENODEV;
	mutex_lock(&s->read);
	rc = store_reader(s, e);
	if (rc == 0)
		rc = sql_start(&s->r, &st, e,
		               "SELECT " RECEIPT_COLUMNS
		               " FROM receipts WHERE cid = ? AND name = ?",
		               "it", I(cid), name, strlen(name));
	if (rc == 0)
		rc = take(&s->r, st, cid, ret, e);
	mutex_unlock(&s->read);
	return store_runtime(rc, e);
}

int store_receipt_next(struct store *s, uint32_t cid, uint32_t after, struct receipt *ret,
                       struct err *e)
{
	sqlite3_stmt *st;
	int rc;

	if (!coll_live(s, cid, e))
		return -ENODEV;
	mutex_lock(&s->read);
	rc = store_reader(s, e);
	if (rc == 0)
		rc = sql_start(&s->r, &st, e,
		               "SELECT " RECEIPT_COLUMNS " FROM receipts"
		               " WHERE cid = ? AND number > ? ORDER BY number LIMIT 1",
		               "ii", I(cid), I(after));
	if (rc == 0)
		rc = take(&s->r, st, cid, ret, e);
	mutex_unlock(&s->read);
	return store_runtime(rc, e);
}
