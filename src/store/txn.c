/*
 * txn.c: the writer's transactions.
 *
 * durable: synchronous=FULL, COMMIT returns when the WAL is on disk. Otherwise NORMAL: COMMIT
 * does not sync, but a checkpoint still does (OFF would leave a damaged database behind a power
 * cut, and is no faster here). A failed sync may have dropped pages that the kernel now calls
 * clean, so nothing is written any more until the store is opened again and reads back what is
 * really there.
 */
#include <errno.h>

#include "base/fault.h"
#include "store/store_impl.h"

#define CHECKPOINT_PAGES FAULT_SCALED(1000, 50)

static int set_sync(struct store *s, bool durable, struct err *e)
{
	int mode = durable ? 2 : 1, rc;

	if (s->sync_mode == mode)
		return 0;
	rc = sql_exec(&s->w, durable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", e);
	s->sync_mode = rc == 0 ? mode : 0;
	return rc;
}

int txn_begin(struct store *s, bool durable, struct err *e)
{
	int rc;

	if (s->read_only)
		return err_set(e, -EROFS, "the store was opened readonly");
	if (s->failed)
		return err_set(e, -EROFS, "readonly since a sync of the disk failed");
	rc = set_sync(s, durable, e);
	return store_runtime(rc < 0 ? rc : sql_run(&s->w, e, "BEGIN IMMEDIATE", ""), e);
}

static void each_touched(struct store *s, bool publish) REQUIRES(s->write)
{
	for (size_t i = 0; i < s->n_colls; i++) {
		struct coll *c = s->colls[i];

		if (!c->touched)
			continue;
		if (publish)
			coll_publish(s, c);
		else {
			c->pending = c->now;
			c->n_receipts = -1;
		}
		c->touched = false;
	}
}

void txn_rollback(struct store *s)
{
	if (sql_in_transaction(&s->w))
		sql_run(&s->w, NULL, "ROLLBACK", "");
	each_touched(s, false);
}

static int save_state(struct store *s, const struct store_state *next, struct err *e)
	REQUIRES(s->write)
{
	int rc = 0;

	for (size_t i = 0; i < s->n_colls && rc == 0; i++) {
		if (s->colls[i]->touched && !atomic_load(&s->colls[i]->gone))
			rc = coll_save(s, &s->colls[i]->pending, e);
	}
	return rc < 0 ? rc : store_state_save(&s->w, next, e);
}

static struct store_state next_state(struct store *s)
{
	struct store_state next = s->now;

	next.changes++;
	next.last_seq = s->next_seq - 1;
	next.last_batch = atomic_load(&s->last_batch);
	return next;
}

/*
 * The frames of a transaction whose sync failed stand in the WAL, whole, and the next open
 * would take them for committed. A small transaction in their place (unsynced; nothing depends
 * on it) breaks their chain of checksums. If that fails too, what was answered with an error
 * may turn out to be there.
 */
static void write_over(struct store *s) REQUIRES(s->write)
{
	struct store_state next = next_state(s);

	if (set_sync(s, false, NULL) < 0 || sql_run(&s->w, NULL, "BEGIN IMMEDIATE", "") < 0)
		return;
	if (store_state_save(&s->w, &next, NULL) == 0 && sql_run(&s->w, NULL, "COMMIT", "") == 0)
		s->now = next;
	else
		txn_rollback(s);
}

int txn_commit(struct store *s, bool durable, struct err *e)
{
	struct store_state next = next_state(s);
	int rc = save_state(s, &next, e);

	if (rc == 0) {
		FAULT_POINT("txn.saved");
		rc = sql_run(&s->w, e, "COMMIT", "");
		FAULT_POINT("txn.committed");
		if (rc == -EIO)
			s->failed = true;
	}
	if (rc < 0) {
		txn_rollback(s);
		if (s->failed)
			write_over(s);
		return store_runtime(rc, e);
	}
	s->now = next;
	each_touched(s, true);
	atomic_store(&s->last_seq, next.last_seq);
	if (durable)
		witness_write(s->witness_fd, next.last_seq, next.changes);
	FAULT_POINT("txn.witnessed");
	return 0;
}

/* Anything but a failed sync is tried again later. */
static void checkpoint(struct store *s) REQUIRES(s->write)
{
	int rc = sqlite3_wal_checkpoint_v2(s->w.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);

	if (rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED)
		return;
	if (sql_error(&s->w, rc, NULL) == -EIO)
		s->failed = true;
}

/* Not again at each commit while a reader keeps the WAL from starting over. */
void txn_tidy(struct store *s)
{
	if (s->w.wal_pages < s->wal_pages)
		s->checkpoint_at = 0;
	s->wal_pages = s->w.wal_pages;
	if (s->wal_pages < s->checkpoint_at + CHECKPOINT_PAGES || s->failed)
		return;
	FAULT_POINT("txn.checkpoint");
	checkpoint(s);
	FAULT_POINT("txn.checkpointed");
	s->checkpoint_at = s->wal_pages;
}
