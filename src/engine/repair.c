/*
 * repair.c: takes dead slots out of the graph.
 *
 * As FreshDiskANN's consolidation: every node around dead ones is connected anew, in pieces,
 * beside searches and inserts; then the dead ones are forgotten at once. What dies while this
 * runs must not be forgotten with them, because nodes that were looked at already may still
 * point to it: it stays hidden until the end and is dead only then, for the next run. Inserts
 * that come in meanwhile may still change the tree around dead ones, so in the end all rows are
 * looked at once more while nothing is linked; searches go on. Only to forget the dead
 * everybody waits, for a look at the state of each slot.
 *
 * Lock order: maint, link_gate, lock, mu.
 */
#include <errno.h>

#include "base/thread.h"
#include "engine/engine_impl.h"

#define PIECE      4    /* slots that are repaired at once */
#define PIECE_LOOK 1024 /* slots that are looked at at once */

struct repair {
	struct collection *c;
	uint32_t generation;
	uint32_t end;
	uint32_t piece;
};

static bool repair_begin(struct repair *r)
{
	struct collection *c = r->c;
	bool any;

	rwlock_write(&c->lock);
	mutex_lock(&c->mu);
	any = c->graph && c->dead > 0 && !c->removed;
	c->repairing = any;
	r->generation = c->generation;
	r->end = c->rows.n;
	mutex_unlock(&c->mu);
	rwlock_write_unlock(&c->lock);
	return any;
}

/* -ECANCELED: the engine is closing, or the collection is not the same any more. */
static int repair_piece(struct repair *r, uint32_t begin, bool detach, struct err *e)
{
	struct collection *c = r->c;
	uint32_t end = r->end - begin < r->piece ? r->end : begin + r->piece;
	int rc = -ECANCELED;

	if (atomic_load(&c->engine->closing) || atomic_load(&c->leaving))
		return rc;
	rwlock_read(&c->lock);
	if (c->generation == r->generation && c->graph) {
		hnsw_reparent(c->graph, begin, end);
		rc = detach ? hnsw_detach(c->graph, begin, end, e) : 0;
	}
	rwlock_read_unlock(&c->lock);
	return rc;
}

/*
 * Half of a compaction that was asked for: first a look at all, then the work; what follows is
 * quick or cannot be told. Under maint.
 */
static int tell_progress(const struct repair *r, uint32_t at, bool detach, struct err *e)
{
	const struct compaction *command = r->c->command;
	unsigned percent = (unsigned)((uint64_t)at * 25 / (r->end ? r->end : 1));

	if (!command || !command->progress)
		return 0;
	percent += (detach ? 25 : 0) + (command->rewriting ? 50 : 0);
	return command->progress(command->ctx, percent) ? err_set(e, -ECANCELED, "it was stopped")
	                                                : 0;
}

/* Beside inserts: who needs the graph still gets in between two pieces. */
static int repair_beside(struct repair *r, bool detach, struct err *e)
{
	struct flow *f = r->c->engine->flow;
	struct turn turn;
	int rc = 0;

	for (uint32_t at = 0; rc == 0 && at < r->end; at += r->piece) {
		rc = tell_progress(r, at, detach, e);
		if (rc < 0)
			break;
		turn_take(f, &turn);
		rwlock_read(&r->c->link_gate);
		rc = repair_piece(r, at, detach, e);
		rwlock_read_unlock(&r->c->link_gate);
		turn_give(f, &turn);
		thread_yields();
	}
	return rc;
}

/* Without inserts, new slots included; there is little left to do. */
static int repair_rest(struct collection *c, struct repair *r, struct err *e) REQUIRES(c->link_gate)
{
	int rc = 0;

	rwlock_read(&c->lock);
	r->end = c->rows.n;
	rwlock_read_unlock(&c->lock);
	r->piece = PIECE_LOOK;
	for (uint32_t at = 0; rc == 0 && at < r->end; at += r->piece)
		rc = repair_piece(r, at, false, e);
	for (uint32_t at = 0; rc == 0 && at < r->end; at += r->piece)
		rc = repair_piece(r, at, true, e);
	return rc;
}

/* Called by hnsw_forget, with the locks held. */
static NO_TSA void unlinked(void *ctx, uint32_t slot)
{
	struct collection *c = ctx;

	c->info[slot].flags &= (uint8_t)~SLOT_LINKED;
	c->dead--;
	slot_free(c, slot);
}

static void bury_dying(struct collection *c) REQUIRES(c->lock, c->mu)
{
	for (uint32_t i = 0; i < c->rows.n && c->dying > 0; i++) {
		if (!(c->info[i].flags & SLOT_DYING))
			continue;
		c->info[i].flags &= (uint8_t)~SLOT_DYING;
		c->dying--;
		c->dead++;
		atomic_store_explicit(&c->rows.state[i], ROW_DEAD, memory_order_release);
	}
}

static void repair_end(struct repair *r, bool complete)
{
	struct collection *c = r->c;

	rwlock_write(&c->lock);
	mutex_lock(&c->mu);
	c->repairing = false;
	if (c->generation == r->generation && c->graph) {
		if (complete) {
			hnsw_forget(c->graph, unlinked, c);
			c->changes++; /* an image without them is worth having */
		}
		bury_dying(c);
	}
	mutex_unlock(&c->mu);
	rwlock_write_unlock(&c->lock);
}

int repair_and_remove(struct collection *c, struct err *e)
{
	struct repair r = { .c = c, .piece = PIECE_LOOK };
	int rc;

	if (!repair_begin(&r))
		return 0;
	rc = repair_beside(&r, false, e);
	r.piece = PIECE;
	if (rc == 0)
		rc = repair_beside(&r, true, e);
	rwlock_write(&c->link_gate);
	if (rc == 0)
		rc = repair_rest(c, &r, e);
	repair_end(&r, rc == 0);
	rwlock_write_unlock(&c->link_gate);
	return rc;
}
