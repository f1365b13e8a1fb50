/*
 * image_load.c: reads C.graph, which may say anything.
 *
 * Everything is checked before it is believed: parameters against the collection's, offsets
 * against the segment, states, IDs, numbers, links (hnsw_load). One contradiction and the
 * whole image is refused; the rows are in the store and the graph can be built again.
 *
 * Lock order: the collection is not shared yet; its locks are held for form. The store's own
 * are below none of them here.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "engine/engine_impl.h"
#include "engine/image.h"

#define SLOTS_MAX (UINT32_MAX / 2)

struct loading {
	struct collection *c;
	struct sections_reader *r;
	const struct image_header *h;
	const struct image_slot *slots;
	const uint32_t *sums; /* of their floats */
	uint64_t next_num;    /* of the collection */
	const char *ids;
	size_t ids_left;
	const float *floats;
	size_t floats_left;
	const char *mapped; /* of the segment, n_mapped bytes from mapped_off on */
	uint64_t mapped_off, n_mapped;
};

/* The next live slots' IDs: where they are, and what the table will be asked for. */
#define AHEAD 16

struct ahead {
	const char *id[AHEAD];
	uint64_t hash[AHEAD];
	uint8_t len[AHEAD];
	uint32_t n, at;
	uint32_t slot; /* to look at next */
};

static int refuse(struct err *e, const char *what)
{
	return err_set(e, -EILSEQ, "the image of the graph is not usable: %s", what);
}

static int check_header(const struct loading *l, const struct store_collection *sc, struct err *e)
{
	const struct image_header *h = l->h;
	const struct collection_config *cfg = &l->c->config;

	if (h->version != IMAGE_VERSION || h->cid != sc->cid)
		return refuse(e, "of another version or collection");
	if (h->gen != sc->gen)
		return refuse(e, "of another generation of the segment");
	if (h->dim == 0 || h->dim != l->c->rows.dim || h->metric != (uint32_t)l->c->rows.metric ||
	    h->m != cfg->m || h->ef_construction != cfg->ef_construction)
		return refuse(e, "made with other parameters");
	if (h->seq > store_committed_seq(l->c->engine->store))
		return err_set(e, -ESTALE, "the image of the graph is newer than the store");
	if (h->seq < sc->cleared_seq)
		return refuse(e, "older than the list of what went since");
	if (h->n_slots == 0 || h->n_slots > SLOTS_MAX)
		return refuse(e, "number of slots");
	return 0;
}

static int sections_find(struct loading *l, const struct store_collection *sc, struct err *e)
{
	size_t n, bytes;
	int rc;

	l->h = sections_get(l->r, IMAGE_HEADER, &n);
	if (!l->h || n != sizeof(*l->h))
		return refuse(e, "no header");
	rc = check_header(l, sc, e);
	if (rc < 0)
		return rc;
	l->next_num = sc->next_num;
	l->slots = sections_get(l->r, IMAGE_SLOTS, &n);
	if (!l->slots || n != l->h->n_slots * sizeof(*l->slots))
		return refuse(e, "number of slots");
	l->sums = sections_get(l->r, IMAGE_SUMS, &n);
	if (!l->sums || n != l->h->n_slots * sizeof(*l->sums))
		return refuse(e, "number of checksums");
	l->ids = sections_get(l->r, IMAGE_IDS, &l->ids_left);
	l->floats = sections_get(l->r, IMAGE_FLOATS, &bytes);
	if (bytes % (l->h->dim * sizeof(float)))
		return refuse(e, "length of floats");
	l->floats_left = bytes / (l->h->dim * sizeof(float));
	return 0;
}

static bool slot_is_sane(const struct loading *l, const struct image_slot *is)
{
	if (is->state > ROW_DEAD || is->linked > 1 || is->zero != 0)
		return false;
	if (is->state != ROW_LIVE)
		return is->id_len == 0 && is->linked;
	return is->id_len > 0 && is->num > 0 && is->num < l->next_num;
}

/* Rows mostly lie one behind the other: the segment is asked once a window. */
static const float *mapped_floats(struct loading *l, uint64_t off)
{
	size_t bytes = l->h->dim * sizeof(float);

	if (off % sizeof(float))
		return NULL;
	if (off < l->mapped_off || off - l->mapped_off > l->n_mapped ||
	    bytes > l->n_mapped - (off - l->mapped_off)) {
		l->mapped = store_mapped(l->c->engine->store, l->c->cid, off, &l->n_mapped);
		l->mapped_off = off;
	}
	if (bytes > l->n_mapped)
		return NULL;
	return (const float *)(const void *)(l->mapped + (off - l->mapped_off));
}

static int floats_find(struct loading *l, const struct image_slot *is, struct slot_fill *f,
                       struct err *e)
{
	size_t bytes = l->h->dim * sizeof(float);
	float *copy;

	if (is->off != STORE_INLINE) {
		f->at = mapped_floats(l, is->off);
		return f->at ? 0 : refuse(e, "an offset outside the segment");
	}
	if (l->floats_left == 0)
		return refuse(e, "floats are missing");
	copy = mem_alloc(1, bytes);
	if (!copy)
		return err_nomem(e);
	f->at = memcpy(copy, l->floats, bytes);
	f->heap = true;
	l->floats += l->h->dim;
	l->floats_left--;
	return 0;
}

/* Finds where the next IDs are. They are looked at when it is their turn. */
static int look_ahead(struct collection *c, struct loading *l, struct ahead *a, struct err *e)
	REQUIRES(c->lock, c->mu)
{
	a->n = a->at = 0;
	for (; a->n < AHEAD && a->slot < l->h->n_slots; a->slot++) {
		const struct image_slot *is = &l->slots[a->slot];

		if (is->state != ROW_LIVE)
			continue;
		if (l->ids_left < is->id_len)
			return refuse(e, "an ID");
		a->id[a->n] = l->ids;
		a->len[a->n] = is->id_len;
		a->hash[a->n] = idtable_hash(l->ids, is->id_len);
		idtable_prefetch(&c->ids, a->hash[a->n]);
		l->ids += is->id_len;
		l->ids_left -= is->id_len;
		a->n++;
	}
	return 0;
}

static int id_load(struct collection *c, struct loading *l, struct ahead *a, uint64_t num,
                   uint32_t *ret, struct err *e) REQUIRES(c->lock, c->mu)
{
	int rc = a->at < a->n ? 0 : look_ahead(c, l, a, e);
	uint32_t i = a->at++;

	if (rc < 0)
		return rc;
	if (vector_id_check(a->id[i], a->len[i], NULL) < 0)
		return refuse(e, "an ID");
	rc = idtable_add_hashed(&c->ids, a->id[i], a->len[i], a->hash[i], num, ret);
	if (rc == -EEXIST)
		return refuse(e, "an ID twice");
	return rc < 0 ? err_nomem(e) : 0;
}

static int slot_load(struct collection *c, struct loading *l, struct ahead *a, uint32_t slot,
                     struct err *e) REQUIRES(c->lock, c->mu)
{
	const struct image_slot *is = &l->slots[slot];
	struct slot_fill f = {
		.inv_norm = is->inv_norm,
		.off = is->off,
		.entry = ID_NONE,
		.json_bytes = is->json_bytes,
		.extra = is->extra,
		.vcrc = l->sums[slot],
	};
	int rc;

	if (is->state == ROW_FREE)
		return 0;
	if (!slot_is_sane(l, is) || !isfinite(is->inv_norm))
		return refuse(e, "the state of a slot");
	rc = floats_find(l, is, &f, e);
	if (rc < 0)
		return rc;
	slot_fill(c, slot, &f);
	c->info[slot].flags |= SLOT_IMAGE | (is->linked ? SLOT_LINKED : 0);
	if (is->state == ROW_LIVE) {
		rc = id_load(c, l, a, is->num, &c->info[slot].entry, e);
		if (rc == 0)
			slot_show(c, slot);
	} else if (is->state == ROW_DEAD) {
		slot_kill(c, slot);
	}
	return rc;
}

static uint32_t count_live(const struct loading *l)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < l->h->n_slots; i++)
		n += l->slots[i].state == ROW_LIVE;
	return n;
}

static int slots_load(struct collection *c, struct loading *l, struct err *e)
	REQUIRES(c->lock, c->mu)
{
	struct ahead a = { 0 };
	int rc = collection_grow(c, l->h->n_slots, e);

	c->rows.n = rc < 0 ? 0 : l->h->n_slots;
	if (rc == 0 && idtable_reserve(&c->ids, count_live(l)) < 0)
		rc = err_nomem(e);
	for (uint32_t i = 0; rc == 0 && i < l->h->n_slots; i++)
		rc = slot_load(c, l, &a, i, e);
	if (rc == 0 && (l->ids_left || l->floats_left))
		rc = refuse(e, "IDs or floats are left over");
	return rc;
}

/* Numbers are found to be doubled only when they are in order. */
static int numbers_check(struct collection *c, struct err *e) REQUIRES(c->mu)
{
	idtable_sort(&c->ids);
	for (uint32_t i = 1; i < c->ids.n_by_num; i++)
		if (idtable_at(&c->ids, c->ids.by_num[i])->num ==
		    idtable_at(&c->ids, c->ids.by_num[i - 1])->num)
			return refuse(e, "a number twice");
	return 0;
}

static int graph_load(struct collection *c, struct loading *l, struct err *e)
	REQUIRES(c->lock, c->mu)
{
	struct hnsw *h = graph_new(c, e);
	int rc;

	if (!h)
		return -ENOMEM;
	rc = hnsw_load(h, l->r, e);
	if (rc == 0)
		rc = hnsw_reserve(h, c->rows.cap, e); /* loading made it as large as the image */
	for (uint32_t i = 0; rc == 0 && i < c->rows.n; i++)
		if (hnsw_has(h, i) != ((c->info[i].flags & SLOT_LINKED) != 0))
			rc = refuse(e, "links and slots do not agree");
	if (rc < 0) {
		hnsw_free(h);
		return rc;
	}
	c->graph = h;
	for (uint32_t i = 0; i < c->rows.n; i++) {
		if (rows_state(&c->rows, i) != ROW_LIVE || (c->info[i].flags & SLOT_LINKED))
			continue;
		c->unlinked_live++;
		backlog_push(c, i);
	}
	return 0;
}

static int load(struct collection *c, struct loading *l, const struct store_collection *sc,
                struct err *e) REQUIRES(c->lock, c->mu)
{
	int rc = sections_find(l, sc, e);

	if (rc == 0)
		rc = slots_load(c, l, e);
	if (rc == 0)
		rc = numbers_check(c, e);
	return rc < 0 ? rc : graph_load(c, l, e);
}

int image_load(struct collection *c, const struct store_collection *sc, uint64_t *ret_seq,
               struct err *e)
{
	struct loading l = { .c = c };
	char path[PATH_MAX];
	int rc;

	store_image_path(c->engine->store, c->cid, path, sizeof(path));
	rc = sections_open(path, &l.r, e);
	if (rc < 0)
		return rc;
	rc = load(c, &l, sc, e);
	if (sections_lost(l.r))
		rc = refuse(e, "the disk cannot read all of it");
	if (rc == 0)
		*ret_seq = l.h->seq;
	sections_close(l.r);
	return rc;
}
