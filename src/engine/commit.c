/*
 * commit.c: the end of a batch, and removals, which are batches without rows.
 *
 * The store's transaction is the commit point. Its callback publishes, in the order of the
 * commits: under the collection's lock for writing old versions go out of sight and new ones
 * come into it, so a search sees all of a batch or nothing. Publishing cannot fail: it
 * allocates nothing.
 *
 * Lock order: commit_gate, config_lock, (store), lock, mu.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "engine/engine_impl.h"

void usage_changed(struct collection *c, uint32_t live_before, uint64_t bytes_before)
{
	/* unsigned arithmetic: differences may be negative */
	atomic_fetch_add_explicit(&c->engine->vectors, (uint64_t)c->live - live_before,
	                          memory_order_relaxed);
	atomic_fetch_add_explicit(&c->engine->bytes, c->bytes - bytes_before, memory_order_relaxed);
}

void collection_changed(struct collection *c)
{
	graph_adjust(c);
	background_link(c);
	background_maintain(c);
}

/* ---- the transaction ---- */

/*
 * What the store remembers of an earlier life of the collection is corrected first; a first
 * dimension it sets itself.
 */
static int dimension_agree(struct collection *c, uint32_t dim, struct err *e)
	REQUIRES(c->config_lock)
{
	struct store_collection sc;
	int rc;

	if (c->stored_dimension == 0 || c->stored_dimension == dim)
		return 0;
	collection_describe(c, &sc);
	sc.config.dimension = dim;
	rc = store_collection_update(c->engine->store, &sc, e);
	if (rc == 0)
		c->stored_dimension = dim;
	return rc;
}

static int commit_first(struct collection *c, struct store_commit *sc, struct err *e)
	REQUIRES(c->config_lock)
{
	int rc = dimension_agree(c, sc->dimension, e);

	if (rc == 0)
		rc = store_commit(c->engine->store, sc, e);
	if (rc == 0 && !sc->ret_duplicate)
		c->stored_dimension = sc->dimension;
	return rc;
}

int collection_commit(struct collection *c, struct store_commit *sc, struct err *e)
{
	int rc;

	rwlock_read(&c->lock);
	rc = c->removed ? err_gone(e) : 0;
	sc->cid = c->cid;
	sc->durable = c->config.durability == DURABILITY_COMMIT;
	rwlock_read_unlock(&c->lock);
	if (rc < 0)
		return rc;
	mutex_lock(&c->config_lock);
	if (sc->dimension && sc->dimension != c->stored_dimension) {
		rc = commit_first(c, sc, e);
		mutex_unlock(&c->config_lock);
		return rc;
	}
	mutex_unlock(&c->config_lock);
	return store_commit(c->engine->store, sc, e);
}

/* ---- a batch ---- */

/* What was renamed is gone under its old ID. */
static void publish_old_name(struct collection *c, struct batch *b) REQUIRES(c->lock, c->mu)
{
	uint32_t slot = idtable_at(&c->ids, b->old_entry)->slot;

	if (slot == ROW_NONE)
		return;
	slot_hide(c, slot);
	c->deletes++;
	c->changes++;
}

static void publish_rows(struct collection *c, struct batch *b) REQUIRES(c->lock, c->mu)
{
	for (size_t i = 0; i < b->n_rows; i++) {
		const struct batch_row *br = &b->rows[i];
		uint32_t old = idtable_at(&c->ids, br->entry)->slot;

		if (old != ROW_NONE)
			slot_hide(c, old);
		slot_show(c, br->slot);
	}
	for (size_t i = 0; i < b->n_rows; i++)
		idtable_unref(&c->ids, b->rows[i].entry);
	if (b->renames)
		publish_old_name(c, b);
	c->taken -= (uint32_t)b->n_rows;
	c->changes += b->n_rows;
	c->inserts += b->n_rows;
	if (b->n_extents == 0)
		c->inlined += (uint32_t)b->n_rows;
}

/* What the batch reserved. */
static void release_locked(struct collection *c, struct batch *b) REQUIRES(c->lock, c->mu)
{
	c->dim_users -= b->dim != 0;
	c->big_batches -= b->big;
	b->dim = 0;
	b->big = false;
}

static void publish(void *ctx, uint64_t seq)
{
	struct batch *b = ctx;
	struct collection *c = b->c;
	uint64_t bytes_before;
	uint32_t live_before;

	rwlock_write(&c->lock);
	mutex_lock(&c->mu);
	bytes_before = c->bytes;
	live_before = c->live;
	if (!c->removed)
		publish_rows(c, b);
	c->seq = seq;
	b->published = true;
	release_locked(c, b);
	usage_changed(c, live_before, bytes_before);
	mutex_unlock(&c->mu);
	rwlock_write_unlock(&c->lock);
}

/* Of a batch that was not published: its slots and its references. */
static void forget_rows(struct collection *c, struct batch *b) REQUIRES(c->lock, c->mu)
{
	for (size_t i = 0; i < b->n_rows; i++) {
		if (b->rows[i].slot != ROW_NONE && !c->removed) {
			slot_kill(c, b->rows[i].slot);
			c->taken--;
		}
		idtable_unref(&c->ids, b->rows[i].entry);
	}
}

static void batch_end(struct batch *b)
{
	struct collection *c = b->c;
	bool changed = b->published || b->dim;

	if (b->dim) {
		rwlock_write(&c->lock);
		mutex_lock(&c->mu);
		forget_rows(c, b);
		release_locked(c, b);
		collection_reset_if_empty(c);
		mutex_unlock(&c->mu);
		rwlock_write_unlock(&c->lock);
	}
	if (changed)
		collection_changed(c);
	collection_leave(c);
	buf_release(&b->floats);
	buf_release(&b->strings);
	mem_free(b->rows);
	mem_free(b->pending);
	mem_free(b->extents);
	mem_free(b);
}

void engine_batch_abort(struct batch *b)
{
	if (b)
		batch_end(b);
}

static int commit_locked(struct collection *c, struct batch *b, struct store_commit *sc,
                         struct err *e) REQUIRES_SHARED(c->commit_gate)
{
	MEM_AUTO struct store_row *rows = NULL;
	int rc = 0;

	if (b->n_pending) {
		rows = mem_alloc(b->n_pending, sizeof(*rows));
		if (!rows)
			return err_nomem(e);
		rc = batch_fill_inline(b, rows, e);
		sc->rows = rows;
		sc->n_rows = b->n_pending;
	}
	return rc < 0 ? rc : collection_commit(c, sc, e);
}

static int batch_commit(struct batch *b, struct store_commit *sc, struct err *e)
{
	struct collection *c = b->c;
	int rc = 0;

	if (b->n_pending && (b->n_extents || b->floats.len > LIMIT_INLINE_BATCH))
		rc = batch_spill(b, e);
	if (rc < 0)
		return rc;
	batch_throttle(c, b->n_pending);
	sc->dimension = (uint32_t)b->dim;
	sc->batch = b->number;
	sc->extents = b->extents;
	sc->n_extents = b->n_extents;
	rwlock_read(&c->commit_gate);
	rc = commit_locked(c, b, sc, e);
	rwlock_read_unlock(&c->commit_gate);
	return rc;
}

int batch_commit_gated(struct collection *c, struct batch *b, struct err *e)
{
	struct store_commit sc = { .dimension = (uint32_t)b->dim,
		                   .removed = &b->old_num,
		                   .n_removed = b->renames,
		                   .committed = publish,
		                   .ctx = b };
	int rc = commit_locked(c, b, &sc, e);

	batch_end(b);
	return rc;
}

int engine_batch_commit(struct batch *b, const uint8_t *token, struct receipt *receipt,
                        struct batch_result *ret, struct err *e)
{
	struct store_commit sc = {
		.token = token, .receipt = receipt, .committed = publish, .ctx = b
	};
	int rc = 0;

	if (b->n_rows || token || receipt)
		rc = batch_commit(b, &sc, e);
	if (rc == 0 && ret)
		*ret = (struct batch_result){ .accepted = sc.ret_accepted,
			                      .replaced = sc.ret_replaced,
			                      .duplicate = sc.ret_duplicate };
	batch_end(b);
	return rc;
}

/* ---- removals ---- */

struct removal {
	struct collection *c;
	uint32_t *entries; /* referenced; n of them */
	uint64_t *nums;
	size_t n;
	bool all;
	uint64_t removed;
};

static void hide_all(struct collection *c, struct removal *r) REQUIRES(c->lock, c->mu)
{
	for (uint32_t slot = 0; slot < c->rows.n; slot++) {
		uint32_t entry;

		if (rows_state(&c->rows, slot) != ROW_LIVE)
			continue;
		entry = c->info[slot].entry;
		slot_hide(c, slot);
		idtable_drop(&c->ids, entry);
		r->removed++;
	}
}

static void hide_some(struct collection *c, struct removal *r) REQUIRES(c->lock, c->mu)
{
	for (size_t i = 0; i < r->n; i++) {
		uint32_t slot = idtable_at(&c->ids, r->entries[i])->slot;

		if (slot == ROW_NONE)
			continue;
		slot_hide(c, slot);
		r->removed++;
	}
}

static void publish_removal(void *ctx, uint64_t seq)
{
	struct removal *r = ctx;
	struct collection *c = r->c;
	uint64_t bytes_before;
	uint32_t live_before;

	rwlock_write(&c->lock);
	mutex_lock(&c->mu);
	bytes_before = c->bytes;
	live_before = c->live;
	if (r->all && !c->removed)
		hide_all(c, r);
	else if (!c->removed)
		hide_some(c, r);
	c->seq = seq;
	c->deletes += r->removed;
	c->changes += r->removed;
	usage_changed(c, live_before, bytes_before);
	collection_reset_if_empty(c);
	mutex_unlock(&c->mu);
	rwlock_write_unlock(&c->lock);
}

static int removal_commit(struct removal *r, struct err *e)
{
	struct store_commit sc = {
		.removed = r->nums,
		.n_removed = r->n,
		.remove_all = r->all,
		.committed = publish_removal,
		.ctx = r,
	};
	int rc;

	rwlock_read(&r->c->commit_gate);
	rc = collection_commit(r->c, &sc, e);
	rwlock_read_unlock(&r->c->commit_gate);
	if (rc == 0)
		collection_changed(r->c);
	return rc;
}

/*
 * Those that have a version by now; each gets a reference, so that the entry stays until it
 * was published.
 */
static void removal_find(struct removal *r, const struct id_ref *ids, size_t n)
{
	struct collection *c = r->c;
	uint32_t entry;

	mutex_lock(&c->mu);
	for (size_t i = 0; i < n; i++) {
		if (!idtable_find(&c->ids, ids[i].id, ids[i].len, &entry) ||
		    idtable_at(&c->ids, entry)->slot == ROW_NONE)
			continue;
		idtable_ref(&c->ids, entry);
		r->entries[r->n] = entry;
		r->nums[r->n++] = idtable_at(&c->ids, entry)->num;
	}
	mutex_unlock(&c->mu);
}

static int remove_some(struct removal *r, const struct id_ref *ids, size_t n, struct err *e)
{
	int rc = 0;

	r->entries = mem_alloc(n ? n : 1, sizeof(*r->entries));
	r->nums = mem_alloc(n ? n : 1, sizeof(*r->nums));
	if (r->entries && r->nums)
		removal_find(r, ids, n);
	else
		rc = err_nomem(e);
	if (r->n)
		rc = removal_commit(r, e);
	mutex_lock(&r->c->mu);
	for (size_t i = 0; r->entries && i < r->n; i++)
		idtable_unref(&r->c->ids, r->entries[i]);
	mutex_unlock(&r->c->mu);
	mem_free(r->entries);
	mem_free(r->nums);
	return rc;
}

int engine_remove(struct engine *en, uint32_t cid, const struct id_ref *ids, size_t n,
                  uint64_t *ret_removed, struct err *e)
{
	struct removal r = { 0 };
	int rc;

	if (en->read_only)
		return err_read_only(e);
	rc = collection_enter(en, cid, &r.c, e);
	if (rc < 0)
		return rc;
	rc = remove_some(&r, ids, n, e);
	collection_leave(r.c);
	if (rc == 0 && ret_removed)
		*ret_removed = r.removed;
	return rc;
}

int engine_remove_all(struct engine *en, uint32_t cid, uint64_t *ret_removed, struct err *e)
{
	struct removal r = { .all = true };
	int rc;

	if (en->read_only)
		return err_read_only(e);
	rc = collection_enter(en, cid, &r.c, e);
	if (rc < 0)
		return rc;
	rc = removal_commit(&r, e);
	collection_leave(r.c);
	if (rc == 0 && ret_removed)
		*ret_removed = r.removed;
	return rc;
}
