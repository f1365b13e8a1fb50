/*
 * collection.c: a collection in memory and the life of its slots.
 *
 * FREE -> (taken by a batch, filled) HIDDEN -> (committed) LIVE -> (replaced, removed) DEAD ->
 * (unlinked) FREE. A slot that was never linked skips DEAD, unless it waits in the backlog:
 * whoever takes it from there frees it. A slot that an image on disk contains waits in limbo
 * until an image without it is in place.
 *
 * Lock order: see engine_impl.h.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "engine/engine_impl.h"

#define CAP_MIN   64u
#define CAP_MAX   (UINT32_MAX / 2 + 1)
#define N_AT_ONCE 64u /* slots opened for use beyond those asked for */

struct collection *collection_new(struct engine *en, const struct store_collection *sc)
{
	struct collection *c = mem_zalloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->engine = en;
	c->cid = sc->cid;
	memcpy(c->name, sc->name, sizeof(c->name));
	c->created_ns = sc->created_ns;
	atomic_init(&c->refs, 1);
	mutex_init(&c->maint);
	rwlock_init(&c->commit_gate);
	mutex_init(&c->config_lock);
	rwlock_init(&c->link_gate);
	rwlock_init(&c->lock);
	mutex_init(&c->mu);
	idtable_init(&c->ids, sc->next_num);
	c->config = sc->config;
	c->dimension_set = sc->dimension_set;
	c->stored_dimension = sc->config.dimension;
	if (!c->dimension_set)
		c->config.dimension = 0;
	c->rows.dim = c->config.dimension;
	c->rows.metric = sc->config.metric;
	c->owner = sc->owner;
	c->inserts = sc->total_inserts;
	c->deletes = sc->total_deletes;
	c->free_head = c->limbo_head = ROW_NONE;
	return c;
}

void collection_free(struct collection *c)
{
	rwlock_write(&c->lock);
	mutex_lock(&c->mu);
	collection_reset(c);
	mutex_unlock(&c->mu);
	rwlock_write_unlock(&c->lock);
	table_release(&c->at_table);
	table_release(&c->state_table);
	table_release(&c->norm_table);
	table_release(&c->info_table);
	table_release(&c->ring_table);
	idtable_release(&c->ids);
	mutex_destroy(&c->mu);
	rwlock_destroy(&c->lock);
	rwlock_destroy(&c->link_gate);
	mutex_destroy(&c->config_lock);
	rwlock_destroy(&c->commit_gate);
	mutex_destroy(&c->maint);
	mem_free(c);
}

void collection_config_get(const struct collection *c, struct collection_config *ret)
{
	*ret = c->config;
	ret->dimension = (uint32_t)c->rows.dim;
}

size_t version_bytes(const struct collection *c, uint32_t slot)
{
	const struct slot_info *si = &c->info[slot];

	return c->rows.dim * sizeof(float) + idtable_at(&c->ids, si->entry)->len + si->extra;
}

/* ---- tables ---- */

/* The ring is unrolled when it grows: positions are modulo its size. */
static int ring_grow(struct collection *c, uint32_t cap)
{
	struct table grown = { 0 };
	uint32_t *ring;

	if (table_grow(&grown, (size_t)cap * sizeof(*ring)) < 0)
		return -ENOMEM;
	ring = grown.p;
	for (uint32_t i = 0; i < c->ring_n; i++)
		ring[i] = c->ring[(c->ring_head + i) & (c->rows.cap - 1)];
	table_release(&c->ring_table);
	c->ring_table = grown;
	c->ring = ring;
	c->ring_head = 0;
	return 0;
}

static int tables_grow(struct collection *c, uint32_t cap)
{
	int rc = table_grow(&c->at_table, cap * sizeof(*c->rows.at));

	c->rows.at = c->at_table.p;
	if (rc == 0)
		rc = table_grow(&c->state_table, cap * sizeof(*c->rows.state));
	c->rows.state = c->state_table.p;
	if (rc == 0)
		rc = table_grow(&c->norm_table, cap * sizeof(*c->rows.inv_norm));
	c->rows.inv_norm = c->norm_table.p;
	if (rc == 0)
		rc = table_grow(&c->info_table, cap * sizeof(*c->info));
	c->info = c->info_table.p;
	return rc;
}

int collection_grow(struct collection *c, uint32_t n_more, struct err *e)
{
	uint64_t need = (uint64_t)c->rows.n + n_more;
	uint64_t cap = c->rows.cap ? c->rows.cap : CAP_MIN;
	int rc;

	while (cap < need)
		cap *= 2;
	if (cap > CAP_MAX)
		return err_set(e, -ENOSPC, "%llu versions of vectors, the limit is %u",
		               (unsigned long long)need, CAP_MAX);
	if (cap == c->rows.cap)
		return 0;
	if (tables_grow(c, (uint32_t)cap) < 0)
		return err_nomem(e);
	rc = c->graph ? hnsw_reserve(c->graph, (uint32_t)cap, e) : 0;
	if (rc < 0)
		return rc;
	if (c->graph && n_more > hnsw_count(c->graph) / 2)
		hnsw_bulk_begin(c->graph);
	if (ring_grow(c, (uint32_t)cap) < 0)
		return err_nomem(e);
	c->rows.cap = (uint32_t)cap;
	return 0;
}

/* ---- taking slots ---- */

static void free_push(struct collection *c, uint32_t slot)
{
	c->info[slot].next = c->free_head;
	c->free_head = slot;
	c->n_free++;
}

static uint32_t free_pop(struct collection *c, uint32_t n, uint32_t *ret)
{
	uint32_t i;

	for (i = 0; i < n && c->free_head != ROW_NONE; i++) {
		ret[i] = c->free_head;
		c->free_head = c->info[ret[i]].next;
		c->n_free--;
	}
	c->taken += i;
	return i;
}

/*
 * Opens further slots; the first comes out of the free list first, so that neighbours in a
 * batch are neighbours here.
 */
static int slots_open(struct collection *c, uint32_t n, struct err *e) REQUIRES(c->lock, c->mu)
{
	uint32_t first = c->rows.n;
	uint32_t room;
	int rc;

	if (c->removed)
		return err_gone(e);
	rc = collection_grow(c, n, e);
	if (rc < 0)
		return rc;
	room = c->rows.cap - first;
	n = room < n + N_AT_ONCE ? room : n + N_AT_ONCE;
	c->rows.n = first + n;
	for (uint32_t i = n; i-- > 0;)
		free_push(c, first + i);
	return 0;
}

int slots_take(struct collection *c, uint32_t n, uint32_t *ret, struct err *e)
{
	uint32_t got;
	int rc = 0;

	mutex_lock(&c->mu);
	got = free_pop(c, n, ret);
	mutex_unlock(&c->mu);
	if (got == n)
		return 0;
	rwlock_write(&c->lock);
	mutex_lock(&c->mu);
	if (c->n_free < n - got)
		rc = slots_open(c, n - got - c->n_free, e);
	if (rc == 0)
		got += free_pop(c, n - got, ret + got);
	for (uint32_t i = 0; rc < 0 && !c->removed && i < got; i++) {
		free_push(c, ret[i]);
		c->taken--;
	}
	mutex_unlock(&c->mu);
	rwlock_write_unlock(&c->lock);
	return rc;
}

void slots_untake(struct collection *c, const uint32_t *slots, uint32_t n)
{
	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	for (uint32_t i = 0; !c->removed && i < n; i++) {
		free_push(c, slots[i]);
		c->taken--;
	}
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
}

/* ---- one slot ---- */

static void state_set(struct collection *c, uint32_t slot, enum row_state state)
{
	atomic_store_explicit(&c->rows.state[slot], (uint8_t)state, memory_order_release);
}

void slot_fill(struct collection *c, uint32_t slot, const struct slot_fill *f)
{
	struct slot_info *si = &c->info[slot];

	assert(rows_state(&c->rows, slot) == ROW_FREE);
	*si = (struct slot_info){
		.off = f->off,
		.entry = f->entry,
		.json_bytes = f->json_bytes,
		.extra = f->extra,
		.vcrc = f->vcrc,
		.next = ROW_NONE,
		.flags = (uint8_t)(f->heap ? SLOT_HEAP : 0),
	};
	if (f->heap)
		c->heap_bytes += c->rows.dim * sizeof(float);
	c->rows.inv_norm[slot] = f->inv_norm;
	atomic_store_explicit(&c->rows.at[slot], f->at, memory_order_release);
	state_set(c, slot, ROW_HIDDEN);
}

void slot_show(struct collection *c, uint32_t slot)
{
	struct id_entry *en = idtable_at(&c->ids, c->info[slot].entry);

	assert(en->slot == ROW_NONE && rows_state(&c->rows, slot) == ROW_HIDDEN);
	en->slot = slot;
	state_set(c, slot, ROW_LIVE);
	c->live++;
	c->bytes += version_bytes(c, slot);
	c->json_bytes += c->info[slot].json_bytes;
	if (c->graph && !(c->info[slot].flags & SLOT_LINKED)) {
		c->unlinked_live++;
		backlog_push(c, slot);
	}
}

void slot_hide(struct collection *c, uint32_t slot)
{
	struct slot_info *si = &c->info[slot];

	assert(idtable_at(&c->ids, si->entry)->slot == slot);
	c->live--;
	c->bytes -= version_bytes(c, slot);
	c->json_bytes -= si->json_bytes;
	if (c->graph && !(si->flags & SLOT_LINKED))
		c->unlinked_live--;
	idtable_at(&c->ids, si->entry)->slot = ROW_NONE;
	slot_kill(c, slot);
}

void slot_kill(struct collection *c, uint32_t slot)
{
	struct slot_info *si = &c->info[slot];

	if (si->off != STORE_INLINE)
		c->segment_dead_bytes += c->rows.dim * sizeof(float);
	if ((si->flags & SLOT_LINKED) && c->repairing) {
		si->flags |= SLOT_DYING;
		c->dying++;
		state_set(c, slot, ROW_HIDDEN);
	} else if (si->flags & (SLOT_LINKED | SLOT_QUEUED | SLOT_LINKING)) {
		c->dead++;
		state_set(c, slot, ROW_DEAD);
	} else {
		slot_free(c, slot);
	}
}

void slot_free_floats(struct collection *c, uint32_t slot)
{
	if (!(c->info[slot].flags & SLOT_HEAP))
		return;
	mem_free((void *)(uintptr_t)rows_at(&c->rows, slot));
	c->info[slot].flags &= (uint8_t)~SLOT_HEAP;
	c->heap_bytes -= c->rows.dim * sizeof(float);
}

void slot_free(struct collection *c, uint32_t slot)
{
	struct slot_info *si = &c->info[slot];

	slot_free_floats(c, slot);
	state_set(c, slot, ROW_FREE);
	atomic_store_explicit(&c->rows.at[slot], NULL, memory_order_release);
	si->flags &= SLOT_IMAGE;
	if (!si->flags) {
		free_push(c, slot);
		return;
	}
	si->next = c->limbo_head;
	c->limbo_head = slot;
	c->n_limbo++;
}

/* ---- starting over ---- */

void collection_reset(struct collection *c)
{
	for (uint32_t i = 0; i < c->rows.n; i++) {
		slot_free_floats(c, i);
		state_set(c, i, ROW_FREE);
		atomic_store_explicit(&c->rows.at[i], NULL, memory_order_relaxed);
	}
	if (c->rows.n)
		memset(c->info, 0, c->rows.n * sizeof(*c->info));
	hnsw_free(c->graph);
	c->graph = NULL;
	c->rows.n = 0;
	c->rows.dim = c->config.dimension;
	c->rows.metric = c->config.metric;
	backlog_clear(c);
	c->n_linking = 0;
	c->free_head = c->limbo_head = ROW_NONE;
	c->n_free = c->n_limbo = 0;
	c->live = c->dead = c->dying = c->taken = c->unlinked_live = 0;
	c->recovered = 0;
	c->bytes = c->json_bytes = 0;
	c->generation++;
}

void collection_reset_if_empty(struct collection *c)
{
	if (c->live == 0 && c->taken == 0 && c->dim_users == 0 && !c->removed)
		collection_reset(c);
}

/* ---- IDs ---- */

static int intern_locked(struct collection *c, const char *id, size_t len, uint32_t *ret)
	REQUIRES(c->mu)
{
	int rc = 0;

	if (!idtable_find(&c->ids, id, len, ret)) {
		if (idtable_full(&c->ids) || idtable_wants_packing(&c->ids))
			return -EAGAIN;
		rc = idtable_add(&c->ids, id, len, 0, ret);
	}
	if (rc == 0)
		idtable_ref(&c->ids, *ret);
	return rc;
}

int collection_intern(struct collection *c, const char *id, size_t len, uint32_t *ret_entry,
                      uint64_t *ret_num, struct err *e)
{
	int rc;

	mutex_lock(&c->mu);
	rc = intern_locked(c, id, len, ret_entry);
	if (rc == 0)
		*ret_num = idtable_at(&c->ids, *ret_entry)->num;
	mutex_unlock(&c->mu);
	if (rc != -EAGAIN)
		return rc < 0 ? err_nomem(e) : 0;
	rwlock_write(&c->lock);
	mutex_lock(&c->mu);
	if (idtable_wants_packing(&c->ids))
		idtable_pack(&c->ids);
	rc = idtable_full(&c->ids) ? idtable_grow(&c->ids, 1) : 0;
	if (rc == 0)
		rc = intern_locked(c, id, len, ret_entry);
	if (rc == 0)
		*ret_num = idtable_at(&c->ids, *ret_entry)->num;
	mutex_unlock(&c->mu);
	rwlock_write_unlock(&c->lock);
	return rc < 0 ? err_nomem(e) : 0;
}
