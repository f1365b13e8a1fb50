/*
 * image_save.c: writes C.graph.
 *
 * While the slots and links are written nothing is linked, published or removed, but searches
 * go on. Syncing and renaming come after. From the moment of writing on, a slot in the new
 * image counts as one in the image on disk; one that only the old image had is given back when
 * the new one is in place.
 *
 * Lock order: maint, (store); link_gate, lock, mu.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"
#include "engine/engine_impl.h"
#include "engine/image.h"

#define PIECE 512 /* slots written at once */

struct saving {
	struct collection *c;
	struct sections_writer *w;
	struct image_header header;
	uint8_t *bitmap; /* slots in the image */
	uint64_t changes, links;
	uint32_t generation;
};

static bool bit(const uint8_t *bitmap, uint32_t i)
{
	return bitmap[i / 8] >> (i % 8) & 1;
}

void limbo_release(struct collection *c, const uint8_t *bitmap, uint32_t n)
{
	uint32_t slot = c->limbo_head;

	for (uint32_t i = 0; i < n; i++)
		if (!bit(bitmap, i))
			c->info[i].flags &= (uint8_t)~SLOT_IMAGE;
	c->limbo_head = ROW_NONE;
	c->n_limbo = 0;
	while (slot != ROW_NONE) {
		struct slot_info *si = &c->info[slot];
		uint32_t next = si->next;
		bool kept = si->flags & SLOT_IMAGE;

		si->next = kept ? c->limbo_head : c->free_head;
		*(kept ? &c->limbo_head : &c->free_head) = slot;
		*(kept ? &c->n_limbo : &c->n_free) += 1;
		slot = next;
	}
}

/* Rows that are neither live nor linked are gone with this process: FREE in the image. */
static struct image_slot slot_image(const struct collection *c, uint32_t slot) REQUIRES(c->mu)
{
	const struct slot_info *si = &c->info[slot];
	enum row_state state = rows_state(&c->rows, slot);
	bool linked = si->flags & SLOT_LINKED;
	struct image_slot is = { 0 };

	if (state == ROW_FREE || (state != ROW_LIVE && !linked))
		return is;
	if (si->flags & SLOT_DYING)
		state = ROW_DEAD;
	is.state = (uint8_t)state;
	is.linked = linked;
	is.off = si->off;
	is.inv_norm = c->rows.inv_norm[slot];
	if (state == ROW_DEAD)
		return is;
	is.num = idtable_at(&c->ids, si->entry)->num;
	is.json_bytes = si->json_bytes;
	is.extra = si->extra;
	if (state == ROW_LIVE)
		is.id_len = idtable_at(&c->ids, si->entry)->len;
	return is;
}

static int write_slots(struct saving *s)
{
	struct collection *c = s->c;
	struct image_slot piece[PIECE];
	int rc = 0;

	for (uint32_t at = 0; rc == 0 && at < s->header.n_slots; at += PIECE) {
		uint32_t n = s->header.n_slots - at < PIECE ? s->header.n_slots - at : PIECE;

		mutex_lock(&c->mu);
		for (uint32_t i = 0; i < n; i++) {
			piece[i] = slot_image(c, at + i);
			if (piece[i].state == ROW_FREE)
				continue;
			s->bitmap[(at + i) / 8] |= (uint8_t)(1 << ((at + i) % 8));
			c->info[at + i].flags |= SLOT_IMAGE;
		}
		mutex_unlock(&c->mu);
		rc = sections_write(s->w, IMAGE_SLOTS, piece, n * sizeof(*piece));
	}
	return rc;
}

static int write_sums(struct saving *s)
{
	struct collection *c = s->c;
	uint32_t piece[PIECE];
	int rc = 0;

	for (uint32_t at = 0; rc == 0 && at < s->header.n_slots; at += PIECE) {
		uint32_t n = s->header.n_slots - at < PIECE ? s->header.n_slots - at : PIECE;

		for (uint32_t i = 0; i < n; i++)
			piece[i] = bit(s->bitmap, at + i) ? c->info[at + i].vcrc : 0;
		rc = sections_write(s->w, IMAGE_SUMS, piece, n * sizeof(*piece));
	}
	return rc;
}

/* A slot's state can go only from FREE to HIDDEN meanwhile, and those are not in the bitmap. */
static int write_ids(struct saving *s)
{
	struct collection *c = s->c;
	BUF_AUTO struct buf ids = BUF_INIT;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < s->header.n_slots; i++) {
		const struct id_entry *en;

		if (rows_state(&c->rows, i) != ROW_LIVE)
			continue;
		en = idtable_at(&c->ids, c->info[i].entry);
		buf_add(&ids, en->id, en->len);
		if (ids.len < PIECE * 32)
			continue;
		rc = sections_write(s->w, IMAGE_IDS, ids.data, ids.len);
		buf_clear(&ids);
	}
	if (buf_failed(&ids))
		return -ENOMEM;
	return rc < 0 || !ids.len ? rc : sections_write(s->w, IMAGE_IDS, ids.data, ids.len);
}

static int write_floats(struct saving *s)
{
	struct collection *c = s->c;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < s->header.n_slots; i++)
		if (bit(s->bitmap, i) && c->info[i].off == STORE_INLINE)
			rc = sections_write(s->w, IMAGE_FLOATS, rows_at(&c->rows, i),
			                    c->rows.dim * sizeof(float));
	return rc;
}

static int write_locked(struct collection *c, struct saving *s, struct err *e)
	REQUIRES_SHARED(c->lock)
{
	int rc;

	if (c->removed)
		return err_gone(e);
	if (!c->graph)
		return -ENODATA;
	s->header.n_slots = c->rows.n;
	s->header.dim = (uint32_t)c->rows.dim;
	s->header.metric = c->rows.metric;
	s->header.m = c->config.m;
	s->header.ef_construction = c->config.ef_construction;
	s->generation = c->generation;
	mutex_lock(&c->mu);
	s->header.seq = c->seq;
	s->changes = c->changes;
	s->links = c->links;
	mutex_unlock(&c->mu);
	s->bitmap = mem_zalloc(s->header.n_slots / 8 + 1, 1);
	if (!s->bitmap)
		return err_nomem(e);
	rc = sections_write(s->w, IMAGE_HEADER, &s->header, sizeof(s->header));
	if (rc == 0)
		rc = write_slots(s);
	if (rc == 0)
		rc = write_sums(s);
	if (rc == 0)
		rc = write_ids(s);
	if (rc == 0)
		rc = write_floats(s);
	/* what sections_write refused is said by sections_commit */
	return rc < 0 ? 0 : hnsw_save(c->graph, s->w, e);
}

static int write_all(struct saving *s, struct err *e)
{
	struct collection *c = s->c;
	int rc;

	rwlock_write(&c->link_gate);
	rwlock_read(&c->lock);
	rc = write_locked(c, s, e);
	rwlock_read_unlock(&c->lock);
	rwlock_write_unlock(&c->link_gate);
	if (rc < 0) {
		sections_abort(s->w);
		return rc;
	}
	return sections_commit(s->w, e);
}

static void saved(struct saving *s)
{
	struct collection *c = s->c;

	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	c->has_image = true;
	c->image_generation = s->generation;
	c->image_changes = s->changes;
	c->image_links = s->links;
	if (c->recovered)
		c->recovered_step *= 2;
	if (c->generation == s->generation)
		limbo_release(c, s->bitmap, s->header.n_slots);
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
}

static int generation_of_segment(struct collection *c, uint32_t *ret, struct err *e)
{
	struct store_collection sc;
	int rc = store_collection_next(c->engine->store, c->cid - 1, &sc, e);

	if (rc < 0 || sc.cid != c->cid)
		return err_gone(e);
	*ret = sc.gen;
	return 0;
}

int image_save(struct collection *c, struct err *e)
{
	struct saving s = { .c = c, .header = { .version = IMAGE_VERSION, .cid = c->cid } };
	char path[PATH_MAX];
	int rc = generation_of_segment(c, &s.header.gen, e);

	if (rc < 0)
		return rc;
	store_image_path(c->engine->store, c->cid, path, sizeof(path));
	rc = sections_create(path, &s.w, e);
	FAULT_POINT("image.created");
	if (rc == 0)
		rc = write_all(&s, e);
	if (rc == 0) {
		FAULT_POINT("image.in-place");
		saved(&s);
		rc = store_image_saved(c->engine->store, c->cid, s.header.seq, e);
	}
	mem_free(s.bitmap);
	return rc == -ENODATA ? 0 : rc;
}

bool image_unlink(struct collection *c)
{
	char path[PATH_MAX];
	char *slash;

	store_image_path(c->engine->store, c->cid, path, sizeof(path));
	if (unlink(path) < 0 && errno != ENOENT)
		return false;
	FAULT_POINT("image.discarded");
	slash = strrchr(path, '/');
	if (slash)
		*slash = '\0';
	return io_sync_dir(slash ? path : ".") == 0;
}

void image_discard(struct collection *c)
{
	if (!image_unlink(c))
		return;
	mutex_lock(&c->mu);
	c->has_image = false;
	mutex_unlock(&c->mu);
}
