/*
 * repair.c: takes dead slots out of the graph.
 *
 * As FreshDiskANN's consolidation: every node around dead ones is connected anew, in pieces,
 * beside searches and inserts; then the dead ones are forgotten at once. What dies while this
 * runs must not be forgotten with them, because nodes that were looked at already may still
 * point to it: it stays hidden until the end and is dead only then, for the next run. Inserts
 * never link to dead ones, so nodes that come in meanwhile need no look.
 *
 * Lock order: maint, link_gate, lock, mu.
 */
#include <errno.h>

#include "engine/engine_impl.h"

#define PIECE 256

struct repair {
	struct collection *c;
	uint32_t generation;
	uint32_t end;
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
static int repair_piece(struct repair *r, uint32_t begin, struct err *e)
{
	struct collection *c = r->c;
	uint32_t end = r->end - begin < PIECE ? r->end : begin + PIECE;
	int rc = -ECANCELED;

	if (atomic_load(&c->engine->closing) || atomic_load(&c->leaving))
		return rc;
	rwlock_read(&c->link_gate);
	rwlock_read(&c->lock);
	if (c->generation == r->generation && c->graph)
		rc = hnsw_repair(c->graph, begin, end, e);
	rwlock_read_unlock(&c->lock);
	rwlock_read_unlock(&c->link_gate);
	return rc;
}

/* Called by hnsw_remove, with the locks held. */
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
			hnsw_remove(c->graph, unlinked, c);
			c->changes++; /* an image without them is worth having */
		}
		bury_dying(c);
	}
	mutex_unlock(&c->mu);
	rwlock_write_unlock(&c->lock);
}

int repair_and_remove(struct collection *c, struct err *e)
{
	struct repair r = { .c = c };
	uint32_t at;
	int rc = 0;

	if (!repair_begin(&r))
		return 0;
	for (at = 0; rc == 0 && at < r.end; at += PIECE)
		rc = repair_piece(&r, at, e);
	repair_end(&r, rc == 0);
	return rc;
}
