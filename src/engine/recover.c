/*
 * recover.c: a collection from what is on disk: the image and what came after it, or all rows.
 *
 * On top of an image first the slots are taken out of sight whose versions went since, then
 * the newer rows come in. A row whose slot is another version's in the image means that the
 * two do not belong together: then the image is forgotten and everything is read from the
 * store.
 *
 * The store's scans call back under its locks, so rows of the segment get their floats after
 * the scan.
 */
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "engine/engine_impl.h"

struct recovery {
	struct collection *c;
	bool with_image;
	struct err *e;
};

int recover_entry(struct collection *c, const char *id, size_t len, uint64_t num, uint32_t *ret)
{
	if (idtable_find(&c->ids, id, len, ret))
		return idtable_at(&c->ids, *ret)->num == num ? 0 : -EEXIST;
	if (idtable_full(&c->ids) && idtable_grow(&c->ids, 1) < 0)
		return -ENOMEM;
	return idtable_add(&c->ids, id, len, num, ret);
}

/* ---- what went ---- */

/* Called by the scan, which is called with the locks held; so is the next one. */
static NO_TSA int gone(void *ctx, uint32_t slot, uint64_t seq)
{
	struct recovery *r = ctx;
	struct collection *c = r->c;
	uint32_t entry;

	(void)seq;
	if (slot >= c->rows.n || rows_state(&c->rows, slot) != ROW_LIVE)
		return 0;
	entry = c->info[slot].entry;
	slot_hide(c, slot);
	idtable_drop(&c->ids, entry);
	c->changes++;
	return 0;
}

/* ---- what came ---- */

/*
 * Whether a hidden slot has the row's floats: they are where the row has them; or the image has them
 * itself, and the row is in store.db or was moved since.
 */
static bool same_floats(const struct collection *c, const struct store_row *row)
{
	const struct slot_info *si = &c->info[row->slot];

	if (si->off != STORE_INLINE)
		return si->off == row->off;
	return si->vcrc == row->vcrc &&
	       (row->off != STORE_INLINE ||
	        memcmp(rows_at(&c->rows, row->slot), row->v, c->rows.dim * sizeof(float)) == 0);
}

/*
 * A version of a batch that was open, or being committed, when the image was made, and linked
 * already.
 */
static int row_unhide(struct collection *c, const struct store_row *row, uint32_t entry)
	REQUIRES(c->lock, c->mu)
{
	struct slot_info *si = &c->info[row->slot];

	if (rows_state(&c->rows, row->slot) != ROW_HIDDEN || !same_floats(c, row))
		return -EEXIST;
	if (si->off != row->off) {
		slot_free_floats(c, row->slot);
		atomic_store_explicit(&c->rows.at[row->slot], NULL, memory_order_relaxed);
		si->off = row->off;
	}
	si->entry = entry;
	si->json_bytes = row->json_bytes;
	si->extra = (uint32_t)(row->metadata_len + row->text_len);
	slot_show(c, row->slot);
	return 0;
}

static int row_fill(struct collection *c, const struct store_row *row, uint32_t entry)
	REQUIRES(c->lock, c->mu)
{
	size_t bytes = c->rows.dim * sizeof(float);
	struct slot_fill f = {
		.off = row->off,
		.entry = entry,
		.json_bytes = row->json_bytes,
		.extra = (uint32_t)(row->metadata_len + row->text_len),
		.vcrc = row->vcrc,
		.heap = row->off == STORE_INLINE,
	};

	if (f.heap) {
		float *copy = mem_alloc(1, bytes);

		if (!copy)
			return -ENOMEM;
		f.at = memcpy(copy, row->v, bytes);
		f.inv_norm = vector_inv_norm(copy, c->rows.dim);
	}
	slot_fill(c, row->slot, &f);
	slot_show(c, row->slot);
	return 0;
}

static int slots_reach(struct collection *c, uint32_t slot, struct err *e) REQUIRES(c->lock, c->mu)
{
	int rc = 0;

	if (slot < c->rows.n)
		return 0;
	rc = collection_grow(c, slot + 1 - c->rows.n, e);
	if (rc == 0)
		c->rows.n = slot + 1;
	return rc;
}

/*
 * With an image a contradiction gives it up; without one it is damage, and the row is left out
 * and counted.
 */
static int contradiction(struct recovery *r)
{
	if (r->with_image)
		return -EEXIST;
	r->c->lost_rows++;
	return 0;
}

static NO_TSA int row(void *ctx, const struct store_row *sr)
{
	struct recovery *r = ctx;
	struct collection *c = r->c;
	uint32_t entry;
	int rc;

	if (sr->slot >= UINT32_MAX / 2 || c->rows.dim == 0 || (sr->off == STORE_INLINE && !sr->v))
		return contradiction(r);
	rc = slots_reach(c, sr->slot, r->e);
	if (rc < 0)
		return rc;
	rc = recover_entry(c, sr->id, sr->id_len, sr->num, &entry);
	if (rc == -EEXIST || (rc == 0 && idtable_at(&c->ids, entry)->slot != ROW_NONE))
		return contradiction(r);
	if (rc < 0)
		return err_nomem(r->e);
	if (rows_state(&c->rows, sr->slot) == ROW_FREE)
		rc = row_fill(c, sr, entry);
	else
		rc = row_unhide(c, sr, entry);
	if (rc == -EEXIST) {
		idtable_drop(&c->ids, entry);
		return contradiction(r);
	}
	c->changes++;
	return rc < 0 ? err_nomem(r->e) : 0;
}

/* ---- afterwards ---- */

static int note_place(void *ctx, const struct store_row *row)
{
	*(struct store_row *)ctx = *row;
	return 0;
}

/*
 * A vector that was in store.db when the image was made may have moved to the segment since,
 * which is no new version: it is asked for. There are few of these, a move comes before an image.
 */
static int inline_resolve(struct collection *c, struct err *e) REQUIRES(c->lock, c->mu)
{
	for (uint32_t i = 0; i < c->rows.n; i++) {
		struct slot_info *si = &c->info[i];
		struct store_row row = { .num = 0 };
		uint64_t num;
		int rc;

		if (rows_state(&c->rows, i) != ROW_LIVE || si->off != STORE_INLINE ||
		    !(si->flags & SLOT_IMAGE))
			continue;
		num = idtable_at(&c->ids, si->entry)->num;
		rc = store_list(c->engine->store, c->cid, num - 1, 1, note_place, &row, e);
		if (rc < 0)
			return rc;
		if (row.num != num || row.slot != i || row.off == STORE_INLINE)
			continue;
		slot_free_floats(c, i);
		atomic_store_explicit(&c->rows.at[i], NULL, memory_order_relaxed);
		si->off = row.off;
	}
	return 0;
}

static void floats_resolve(struct collection *c) REQUIRES(c->lock, c->mu)
{
	for (uint32_t i = 0; i < c->rows.n; i++) {
		const float *at;
		uint32_t entry = c->info[i].entry;

		if (rows_state(&c->rows, i) != ROW_LIVE || rows_at(&c->rows, i))
			continue;
		at = store_floats(c->engine->store, c->cid, c->info[i].off, (uint32_t)c->rows.dim);
		if (!at) {
			slot_hide(c, i);
			idtable_drop(&c->ids, entry);
			c->lost_rows++;
			continue;
		}
		atomic_store_explicit(&c->rows.at[i], at, memory_order_release);
		c->rows.inv_norm[i] = vector_inv_norm(at, c->rows.dim);
	}
}

/*
 * Slots that nobody has: in use for versions that went, or never given out. Highest first, so
 * that the lowest is next.
 */
static void slots_settle(struct collection *c) REQUIRES(c->lock, c->mu)
{
	c->free_head = c->limbo_head = ROW_NONE;
	c->n_free = c->n_limbo = 0;
	for (uint32_t i = c->rows.n; i-- > 0;) {
		if (rows_state(&c->rows, i) == ROW_HIDDEN)
			slot_kill(c, i);
		else if (rows_state(&c->rows, i) == ROW_FREE)
			slot_free(c, i);
	}
}

static int scan(struct recovery *r, uint64_t after)
{
	struct store *s = r->c->engine->store;
	int rc = 0;

	if (r->with_image)
		rc = store_scan_gone(s, r->c->cid, after, gone, r, r->e);
	if (rc == 0)
		rc = store_scan(s, r->c->cid, after, row, r, r->e);
	return rc;
}

static void start_over(struct collection *c, uint64_t next_num, uint32_t dim)
	REQUIRES(c->lock, c->mu)
{
	collection_reset(c);
	idtable_release(&c->ids);
	idtable_init(&c->ids, next_num);
	c->rows.dim = dim;
	c->lost_rows = 0;
	c->changes = 0;
}

static int recover_locked(struct collection *c, const struct store_collection *sc, struct err *e)
	REQUIRES(c->lock, c->mu)
{
	struct recovery r = { .c = c, .e = e };
	uint64_t seq = 0;
	int rc = -ENOENT;

	c->rows.dim = sc->config.dimension;
	if (c->rows.dim)
		rc = image_load(c, sc, &seq, NULL);
	FAULT_POINT("recover.image");
	/*
	 * The database lost the end of its commits; new ones will have sequences up to the image's
	 * and past it. It must be gone before the first.
	 */
	if (rc == -ESTALE && !c->engine->read_only && image_unlink(c))
		rc = -ENOENT;
	c->has_image = rc != -ENOENT;
	r.with_image = rc == 0;
	if (r.with_image)
		rc = scan(&r, seq);
	if (r.with_image && rc == 0)
		rc = inline_resolve(c, e);
	c->image_generation = c->generation;
	if (rc < 0) {
		/*
		 * Whatever it was: without the image it can only be better. An unusable one is
		 * of another generation now.
		 */
		r.with_image = false;
		start_over(c, sc->next_num, sc->config.dimension);
		rc = scan(&r, 0);
	}
	if (rc < 0)
		return rc;
	FAULT_POINT("recover.scanned");
	idtable_sort(&c->ids);
	floats_resolve(c);
	slots_settle(c);
	c->rebuilding = !r.with_image && c->live > FLAT_ROWS_MAX;
	return 0;
}

int collection_recover(struct collection *c, const struct store_collection *sc, struct err *e)
{
	int rc;

	rwlock_write(&c->lock);
	mutex_lock(&c->mu);
	rc = recover_locked(c, sc, e);
	if (rc == 0) {
		c->seq = store_last_seq(c->engine->store);
		backlog_recovered(c);
		usage_changed(c, 0, 0);
		collection_reset_if_empty(c);
	}
	mutex_unlock(&c->mu);
	rwlock_write_unlock(&c->lock);
	return rc;
}
