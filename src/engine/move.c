/*
 * move.c: floats that change their place: rows from store.db into the segment, and the
 * segment's compaction.
 *
 * The store calls back for each row after its transaction and before any later commit, so the
 * slot is still that version's. The pointer is exchanged at once; who searches may still use
 * the old one until the lock was held for writing once.
 *
 * Lock order: maint, commit_gate, (store), lock, mu.
 */
#include <errno.h>

#include "base/mem.h"
#include "engine/engine_impl.h"

#define MOVE_ROWS 1024

struct moving {
	struct collection *c;
	const float **old; /* copies to be freed; NULL when the segment moves */
	size_t n;
};

static void moved(void *ctx, uint32_t slot, uint64_t off, const float *v)
{
	struct moving *m = ctx;
	struct collection *c = m->c;

	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	if (!c->removed && slot < c->rows.n && rows_state(&c->rows, slot) == ROW_LIVE &&
	    !(c->info[slot].flags & SLOT_HEAP) == !m->old) {
		struct slot_info *si = &c->info[slot];

		if (m->old && m->n < MOVE_ROWS) {
			m->old[m->n++] = rows_at(&c->rows, slot);
			si->flags &= (uint8_t)~SLOT_HEAP;
			c->heap_bytes -= c->rows.dim * sizeof(float);
		}
		si->off = off;
		atomic_store_explicit(&si->checked, 0, memory_order_relaxed);
		atomic_store_explicit(&c->rows.at[slot], v, memory_order_release);
	}
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
}

/* Returns when nobody uses a pointer any more that was read before the call. */
static void readers_leave(struct collection *c)
{
	rwlock_write(&c->lock);
	rwlock_write_unlock(&c->lock);
}

static uint32_t dimension(struct collection *c)
{
	uint32_t dim;

	rwlock_read(&c->lock);
	dim = c->removed ? 0 : (uint32_t)c->rows.dim;
	rwlock_read_unlock(&c->lock);
	return dim;
}

/* 1: there may be more. */
static int move_some(struct collection *c, const float **old, uint32_t dim, struct err *e)
{
	struct moving m = { .c = c, .old = old };
	struct store_move sm = { .max_rows = MOVE_ROWS, .moved = moved, .ctx = &m };
	long n = store_move_inline(c->engine->store, c->cid, dim, &sm, e);

	if (m.n)
		readers_leave(c);
	while (m.n > 0)
		mem_free((void *)(uintptr_t)old[--m.n]);
	return n < 0 ? (int)n : sm.ret_more;
}

/*
 * Those that are committed meanwhile are the next move's: a stream of small commits would keep this
 * one going, and make blocks of a page of each few rows.
 */
int move_inline(struct collection *c, struct err *e)
{
	MEM_AUTO const float **old = mem_alloc(MOVE_ROWS, sizeof(*old));
	uint32_t dim = dimension(c);
	int rc;

	if (!old)
		return err_nomem(e);
	mutex_lock(&c->mu);
	c->inlined = 0;
	mutex_unlock(&c->mu);
	do
		rc = dim ? move_some(c, old, dim, e) : 0;
	while (rc > 0);
	return rc;
}

/* ---- compaction ---- */

static bool worth_it(struct collection *c, uint64_t *ret_dead) REQUIRES(c->maint)
{
	uint64_t file, live;

	if (store_segment_bytes(c->engine->store, c->cid, &file, &live, NULL) < 0 || file <= live)
		return false;
	*ret_dead = file - live;
	if (c->command)
		return true;
	/* with rows that cannot be read it would fail, again and again */
	return file - live >= COMPACT_BYTES && file - live >= file / 2 &&
	       store_lost_pages(c->engine->store, c->cid) == 0;
}

static void count_bytes(struct collection *c, uint64_t dead) REQUIRES(c->maint)
{
	uint64_t file, live;

	if (!c->command)
		return;
	/* what has no rows has no segment */
	if (store_segment_bytes(c->engine->store, c->cid, &file, &live, NULL) < 0 || file <= live)
		c->command->bytes = dead;
	else
		c->command->bytes = dead > file - live ? dead - (file - live) : 0;
}

/* Not while batches are open that have rows in the segment and not in a transaction. 1: done. */
static int compact_gated(struct collection *c, struct err *e) REQUIRES(c->maint, c->commit_gate)
{
	struct moving m = { .c = c };
	uint32_t dim = dimension(c);
	uint64_t dead = 0;
	uint32_t big;
	int rc;

	mutex_lock(&c->mu);
	big = c->big_batches;
	if (!big)
		c->segment_dead_bytes = 0;
	mutex_unlock(&c->mu);
	if (big && c->command)
		return err_set(e, -EBUSY, "a batch is open that has vectors in the segment");
	if (big || !worth_it(c, &dead))
		return 0;
	/* an empty collection has no dimension, and no row that would need one */
	rc = store_compact(c->engine->store, c->cid, dim ? dim : 1, moved, &m, e);
	if (rc < 0)
		return rc;
	count_bytes(c, dead);
	return 1;
}

static void set_old_maps(struct collection *c, bool mapped) REQUIRES(c->maint)
{
	mutex_lock(&c->mu);
	c->old_maps = mapped;
	mutex_unlock(&c->mu);
}

static int rewrite(struct collection *c, struct err *e) REQUIRES(c->maint)
{
	int rc;

	rwlock_write(&c->commit_gate);
	rc = compact_gated(c, e);
	rwlock_write_unlock(&c->commit_gate);
	if (rc > 0)
		set_old_maps(c, true);
	return rc;
}

/* Dead rows have their floats in the old generation, until the graph forgot them. */
int compact(struct collection *c, struct err *e)
{
	int rc = 0;

	if (c->command)
		c->command->rewriting = true;
	if (!c->old_maps) {
		rc = rewrite(c, e);
		if (rc <= 0)
			return rc;
	}
	rc = repair_and_remove(c, e);
	if (rc < 0)
		return rc;
	readers_leave(c);
	store_drop_old_maps(c->engine->store, c->cid);
	set_old_maps(c, false);
	if (!c->command)
		engine_tell(c, ENGINE_COMPACTED);
	return image_save(c, e);
}

int engine_compact(struct engine *en, uint32_t cid, int (*progress)(void *ctx, unsigned percent),
                   void *ctx, uint64_t *ret_bytes, struct err *e)
{
	struct compaction command = { .progress = progress, .ctx = ctx };
	struct collection *c;
	int rc;

	*ret_bytes = 0;
	if (en->read_only)
		return err_read_only(e);
	rc = collection_enter(en, cid, &c, e);
	if (rc < 0)
		return rc;
	mutex_lock(&c->maint);
	c->command = &command;
	rc = maintain_locked(c, true, e);
	c->command = NULL;
	mutex_unlock(&c->maint);
	collection_leave(c);
	*ret_bytes = command.bytes;
	return rc;
}
