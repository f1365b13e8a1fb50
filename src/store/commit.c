/*
 * commit.c: group commit.
 *
 * A thread puts its request into the queue. If nobody leads, it does: it takes the writer, then
 * everything that queued up meanwhile (so a slow sync gathers the next group by itself), gives
 * each request a sequence, seals and syncs the segments, runs all of them in one transaction
 * with a savepoint each, commits with one sync, writes the witness, calls back in the order of
 * sequences and wakes the others. A request that fails rolls back alone. SQLite may answer a
 * failure (no memory, no disk) by rolling everything back; then the group runs again without
 * the one that failed.
 *
 * Lock order: write is taken by the leader without queue.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "store/store_impl.h"

/* ---- extents ---- */

static int extent_belongs(const struct segment *g, uint64_t extent, struct err *e)
{
	if (extent_gen(extent) == (g->gen & 0xffff))
		return 0;
	return err_set(e, -EINVAL, "the segment was compacted under an open batch");
}

/* Syncs the bulk of a batch before anybody waits for it. */
static int sync_extents(struct store *s, const struct store_commit *c, struct err *e)
{
	struct coll *coll;
	struct segment *g;
	int rc;

	if (!c->n_extents)
		return 0;
	coll = coll_live(s, c->cid, e);
	if (!coll)
		return -ENODEV;
	rc = coll_segment(s, coll, &g, e);
	return rc < 0 ? rc : segment_sync(g, e);
}

static int seal(struct store *s, struct request *q, struct err *e)
{
	struct store_commit *c = q->c;
	struct block b = { .batch = c->batch, .detail = q->seq, .part = (uint32_t)c->n_extents };
	struct segment *g;
	int rc = coll_segment(s, q->coll, &g, e);

	for (size_t i = 0; i < c->n_extents && rc == 0; i++) {
		long n;

		rc = extent_belongs(g, c->extents[i], e);
		if (rc < 0)
			return rc;
		n = segment_extent_rows(g, extent_off(c->extents[i]), c->batch, c->dimension, e);
		if (n < 0)
			return (int)n;
		b.n_rows += (uint32_t)n;
	}
	return rc < 0 ? rc : segment_seal(g, &b, &q->segment_end, e);
}

static int sync_group(struct store *s, struct request *group)
{
	struct segment *g = NULL, *synced = NULL;
	int rc;

	for (struct request *q = group; q; q = q->next) {
		if (q->rc < 0 || !q->c->n_extents)
			continue;
		rc = coll_segment(s, q->coll, &g, &q->err);
		if (rc == 0 && g != synced)
			rc = segment_sync(g, &q->err);
		synced = rc == 0 ? g : NULL;
		q->rc = rc;
		if (rc == -EIO)
			s->failed = true;
	}
	return s->failed ? -EIO : 0;
}

/* ---- the group ---- */

static void prepare(struct store *s, struct request *group)
{
	for (struct request *q = group; q; q = q->next) {
		q->coll = coll_live(s, q->c->cid, &q->err);
		if (!q->coll) {
			q->rc = -ENODEV;
			continue;
		}
		q->seq = s->next_seq++;
		if (q->c->n_extents && !s->failed && !s->read_only)
			q->rc = seal(s, q, &q->err);
	}
	sync_group(s, group);
}

/* A request that has the transaction to itself needs no savepoint: it is rolled back as a whole. */
static void apply_alone(struct store *s, struct request *q) REQUIRES(s->write)
{
	q->rc = request_apply(s, q, &q->err);
	if (q->rc < 0)
		q->rc = store_runtime(q->rc, &q->err);
}

/* -EAGAIN: the whole transaction is gone, without this request it may run again. */
static int apply_one(struct store *s, struct request *q) REQUIRES(s->write)
{
	struct coll_state before = q->coll->pending;

	q->rc = sql_run(&s->w, &q->err, "SAVEPOINT one", "");
	if (q->rc == 0)
		q->rc = request_apply(s, q, &q->err);
	if (q->rc == 0)
		q->rc = sql_run(&s->w, &q->err, "RELEASE one", "");
	if (q->rc == 0)
		return 0;
	q->rc = store_runtime(q->rc, &q->err);
	if (!sql_in_transaction(&s->w) || sql_run(&s->w, NULL, "ROLLBACK TO one", "") < 0 ||
	    sql_run(&s->w, NULL, "RELEASE one", "") < 0)
		return -EAGAIN;
	q->coll->pending = before;
	q->coll->n_receipts = -1;
	return 0;
}

static void fail_all(struct request *group, int rc, const struct err *e)
{
	for (struct request *q = group; q; q = q->next) {
		if (q->rc < 0)
			continue;
		q->rc = rc;
		q->err = *e;
	}
}

/* Runs those that have not failed. 1: there is something to commit. */
static int apply_group(struct store *s, struct request *group) REQUIRES(s->write)
{
	assert(group);
	bool alone = !group->next;
	int any = 0;

	for (struct request *q = group; q; q = q->next) {
		if (q->rc < 0)
			continue;
		if (alone)
			apply_alone(s, q);
		else if (apply_one(s, q) < 0)
			return -EAGAIN;
		if (q->rc == 0 && !q->c->ret_duplicate)
			any = 1;
	}
	return any;
}

static void call_back(struct request *group)
{
	for (struct request *q = group; q; q = q->next) {
		if (q->rc < 0 || q->c->ret_duplicate)
			continue;
		if (q->c->receipt)
			*q->c->receipt = q->receipt;
		if (q->c->committed)
			q->c->committed(q->c->ctx, q->seq);
	}
}

static void commit_group(struct store *s, struct request *group, bool durable) REQUIRES(s->write)
{
	struct err e = { 0 };
	int rc;

	do {
		rc = txn_begin(s, durable, &e);
		if (rc < 0)
			break;
		FAULT_POINT("commit.begun");
		rc = apply_group(s, group);
		FAULT_POINT("commit.applied");
		if (rc > 0)
			rc = txn_commit(s, durable, &e);
		else
			txn_rollback(s);
	} while (rc == -EAGAIN);
	if (rc < 0)
		fail_all(group, rc, &e);
	else
		call_back(group);
}

static void run_group(struct store *s, struct request *group) REQUIRES(s->write)
{
	bool durable = false;

	for (struct request *q = group; q; q = q->next)
		durable = durable || q->c->durable;
	prepare(s, group);
	FAULT_POINT("commit.sealed");
	commit_group(s, group, durable);
}

/* ---- the queue ---- */

static struct request *take_group(struct store *s)
{
	struct request *group, **end = &s->first;

	mutex_lock(&s->queue);
	for (int n = 0; *end && n < STORE_GROUP; n++)
		end = &(*end)->next;
	group = s->first;
	s->first = *end;
	if (s->first)
		*end = NULL;
	else
		s->last = &s->first;
	mutex_unlock(&s->queue);
	return group;
}

static void answer(struct store *s, struct request *group)
{
	mutex_lock(&s->queue);
	while (group) {
		struct request *next = group->next;

		group->done = true; /* its thread may be gone after the unlock */
		group = next;
	}
	s->leading = false;
	cond_broadcast(&s->answered);
	mutex_unlock(&s->queue);
}

static void lead(struct store *s)
{
	struct request *group;

	mutex_lock(&s->write);
	group = take_group(s);
	run_group(s, group);
	FAULT_POINT("commit.published");
	answer(s, group);
	txn_tidy(s);
	mutex_unlock(&s->write);
}

/* Waits for the answer; true: this thread has to lead. */
static bool wait_turn(struct store *s, struct request *q)
{
	bool turn;

	mutex_lock(&s->queue);
	while (!q->done && s->leading)
		cond_wait(&s->answered, &s->queue);
	turn = !q->done;
	if (turn)
		s->leading = true;
	mutex_unlock(&s->queue);
	return turn;
}

static void enqueue(struct store *s, struct request *q)
{
	mutex_lock(&s->queue);
	*s->last = q;
	s->last = &q->next;
	mutex_unlock(&s->queue);
}

static void note_failed_sync(struct store *s)
{
	mutex_lock(&s->write);
	s->failed = true;
	mutex_unlock(&s->write);
}

int store_commit(struct store *s, struct store_commit *c, struct err *e)
{
	struct request q = { .c = c };
	int rc = sync_extents(s, c, e);

	if (rc < 0) {
		if (rc == -EIO)
			note_failed_sync(s);
		return rc;
	}
	FAULT_POINT("commit.extents-synced");
	enqueue(s, &q);
	while (wait_turn(s, &q))
		lead(s);
	if (q.rc < 0 && e)
		*e = q.err;
	return q.rc;
}

int store_append_extent(struct store *s, uint32_t cid, uint64_t batch, uint32_t dim,
                        struct store_row *rows, size_t n, uint64_t *ret_extent,
                        const float **ret_floats, struct err *e)
{
	const struct extent_in in = { .batch = batch, .dim = dim, .rows = rows, .n = n };
	struct coll *c = coll_live(s, cid, e);
	struct segment *g = NULL;
	uint64_t off = 0;
	int rc;

	if (!c)
		return -ENODEV;
	rc = coll_segment(s, c, &g, e);
	if (rc == 0)
		rc = segment_append(g, &in, &off, ret_floats, e);
	if (rc == -EIO)
		note_failed_sync(s);
	if (rc < 0)
		return rc;
	*ret_extent = extent_name(g->gen, off);
	return 0;
}
