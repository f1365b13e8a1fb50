/*
 * batch.c: an open batch: rows collect in memory and spill to the segment in extents.
 *
 * Up to LIMIT_INLINE_BATCH bytes of floats a batch stays in memory and its rows go into
 * store.db with the commit. Above, all of them go to the segment, EXTENT_BYTES at a time; each
 * extent's rows get their slots at once, hidden, so that the graph grows while the writer
 * still writes. IDs are interned at add, slots are given at the spill or the commit.
 *
 * Lock order: see engine_impl.h; nothing is held when a function here is entered.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc.h"
#include "base/mem.h"
#include "base/thread.h"
#include "engine/engine_impl.h"

#define THROTTLE_NS 50000000u /* that a call links rows while recovered ones wait */

int engine_batch_begin(struct engine *en, uint32_t cid, struct batch **ret, struct err *e)
{
	struct batch *b;
	int rc;

	if (en->read_only)
		return err_read_only(e);
	b = mem_zalloc(1, sizeof(*b));
	if (!b)
		return err_nomem(e);
	rc = collection_enter(en, cid, &b->c, e);
	if (rc < 0) {
		mem_free(b);
		return rc;
	}
	*ret = b;
	return 0;
}

size_t engine_batch_rows(const struct batch *b)
{
	return b->n_rows;
}

/* ---- the dimension ---- */

static int err_dimension(struct err *e, size_t expected, size_t got)
{
	return err_set(e, -EINVAL, "expected %zu numbers, got %zu", expected, got);
}

/* With writing: also where the collection has no dimension yet. -EAGAIN: needs writing. */
static int reserve_locked(struct batch *b, size_t dim, bool writing, struct err *e)
{
	struct collection *c = b->c;
	int rc = 0;

	mutex_lock(&c->mu);
	if (c->removed)
		rc = err_gone(e);
	else if (c->rows.dim == 0 && !writing)
		rc = -EAGAIN;
	else if (c->rows.dim == 0)
		c->rows.dim = dim;
	else if (c->rows.dim != dim)
		rc = err_dimension(e, c->rows.dim, dim);
	if (rc == 0) {
		c->dim_users++;
		b->dim = dim;
	}
	mutex_unlock(&c->mu);
	return rc;
}

static int dimension_reserve(struct batch *b, size_t dim, struct err *e)
{
	int rc;

	if (b->dim)
		return b->dim == dim ? 0 : err_dimension(e, b->dim, dim);
	rwlock_read(&b->c->lock);
	rc = reserve_locked(b, dim, false, e);
	rwlock_read_unlock(&b->c->lock);
	if (rc != -EAGAIN)
		return rc;
	rwlock_write(&b->c->lock);
	rc = reserve_locked(b, dim, true, e);
	rwlock_write_unlock(&b->c->lock);
	return rc;
}

size_t engine_dimension(struct engine *en, uint32_t cid)
{
	struct collection *c;
	size_t dim;

	if (collection_enter(en, cid, &c, NULL) < 0)
		return 0;
	rwlock_read(&c->lock);
	dim = c->rows.dim;
	rwlock_read_unlock(&c->lock);
	collection_leave(c);
	return dim;
}

/* ---- adding ---- */

static int room_for_one(struct batch *b)
{
	if (b->n_rows == b->cap_rows) {
		size_t cap = b->cap_rows ? b->cap_rows * 2 : 4;
		struct batch_row *p = mem_resize(b->rows, cap, sizeof(*p));

		if (!p)
			return -ENOMEM;
		b->rows = p;
		b->cap_rows = cap;
	}
	if (b->n_pending == b->cap_pending) {
		size_t cap = b->cap_pending ? b->cap_pending * 2 : 4;
		struct pending *p = mem_resize(b->pending, cap, sizeof(*p));

		if (!p)
			return -ENOMEM;
		b->pending = p;
		b->cap_pending = cap;
	}
	return 0;
}

static bool spill_due(const struct batch *b)
{
	return b->floats.len >= EXTENT_BYTES || b->strings.len >= EXTENT_BYTES ||
	       b->n_pending >= EXTENT_ROWS;
}

static size_t json_length(const struct record *r)
{
	struct answer_hit h = {
		.id = r->id,
		.id_len = r->id_len,
		.metadata = r->metadata,
		.metadata_len = r->metadata_len,
		.text = r->text,
		.text_len = r->text_len,
		.v = r->v,
		.dim = r->dim,
	};

	return answer_vector_json_length(&h);
}

static size_t strings_length(const struct record *r)
{
	return r->id_len + (r->metadata ? r->metadata_len : 0) + (r->text ? r->text_len : 0);
}

static int copy_in(struct batch *b, const struct record *r, struct pending *p)
{
	size_t json_bytes = json_length(r); /* 0: no memory */

	if (!json_bytes || room_for_one(b) < 0 || !buf_space(&b->floats, r->dim * sizeof(float)) ||
	    !buf_space(&b->strings, strings_length(r))) {
		/* the sticky failure is of this row only */
		b->floats.failed = b->strings.failed = false;
		return -ENOMEM;
	}
	p->string_at = b->strings.len;
	p->vcrc = crc32c(0, r->v, r->dim * sizeof(float));
	p->id_len = (uint8_t)r->id_len;
	p->json_bytes = (uint32_t)json_bytes;
	p->has_metadata = r->metadata != NULL;
	p->has_text = r->text != NULL;
	p->metadata_len = p->has_metadata ? (uint32_t)r->metadata_len : 0;
	p->text_len = p->has_text ? (uint32_t)r->text_len : 0;
	buf_add(&b->floats, r->v, r->dim * sizeof(float));
	buf_add(&b->strings, r->id, r->id_len);
	buf_add(&b->strings, r->metadata, p->metadata_len);
	buf_add(&b->strings, r->text, p->text_len);
	return 0;
}

static int check_record(const struct record *r, float *ret_inv_norm, struct err *e, enum metric m)
{
	if (!r->id || r->id_len == 0 || r->id_len > LIMIT_ID)
		return err_set(e, -EINVAL, "an ID of %zu bytes, the limit is 1 to %d", r->id_len,
		               LIMIT_ID);
	if (r->dim == 0 || r->dim > LIMIT_DIMENSION)
		return err_set(e, -EINVAL, "%zu numbers, the limit is 1 to %d", r->dim,
		               LIMIT_DIMENSION);
	return vector_check(r->v, r->dim, m, ret_inv_norm, e);
}

static enum metric metric_of(struct collection *c)
{
	enum metric m;

	rwlock_read(&c->lock);
	m = c->rows.metric;
	rwlock_read_unlock(&c->lock);
	return m;
}

int engine_batch_add(struct batch *b, const struct record *r, uint64_t *ret_bytes, struct err *e)
{
	struct pending p = { 0 };
	uint32_t entry;
	int rc;

	rc = dimension_reserve(b, r->dim, e);
	if (rc == 0)
		rc = check_record(r, &p.inv_norm, e, metric_of(b->c));
	if (rc == 0 && spill_due(b))
		rc = batch_spill(b, e);
	if (rc == 0 && copy_in(b, r, &p) < 0)
		rc = err_nomem(e);
	if (rc < 0)
		return rc;
	rc = collection_intern(b->c, r->id, r->id_len, &entry, &p.num, e);
	if (rc < 0) {
		b->floats.len -= r->dim * sizeof(float);
		b->strings.len = p.string_at;
		return rc;
	}
	b->rows[b->n_rows++] = (struct batch_row){ .entry = entry, .slot = ROW_NONE };
	b->pending[b->n_pending++] = p;
	thread_lets_pass_between(b->n_rows);
	if (ret_bytes)
		*ret_bytes = r->dim * sizeof(float) + strings_length(r);
	return 0;
}

/* ---- pending rows to slots ---- */

void pending_row(const struct batch *b, size_t i, struct store_row *ret)
{
	const struct pending *p = &b->pending[i];
	const char *s = b->strings.data + p->string_at;

	*ret = (struct store_row){
		.num = p->num,
		.slot = ROW_NONE,
		.json_bytes = p->json_bytes,
		.id = s,
		.id_len = p->id_len,
		.off = STORE_INLINE,
		.v = (const float *)(const void *)b->floats.data + i * b->dim,
		.metadata = p->has_metadata ? s + p->id_len : NULL,
		.metadata_len = p->metadata_len,
		.text = p->has_text ? s + p->id_len + p->metadata_len : NULL,
		.text_len = p->text_len,
	};
}

static void fill_one(struct collection *c, struct batch *b, size_t i, const struct store_row *row,
                     const float *at) REQUIRES(c->mu)
{
	struct batch_row *br = &b->rows[b->n_rows - b->n_pending + i];
	struct slot_fill f = {
		.at = at,
		.inv_norm = b->pending[i].inv_norm,
		.off = row->off,
		.entry = br->entry,
		.json_bytes = row->json_bytes,
		.extra = (uint32_t)(row->metadata_len + row->text_len),
		.vcrc = b->pending[i].vcrc,
		.heap = row->off == STORE_INLINE,
	};

	br->slot = row->slot;
	slot_fill(c, row->slot, &f);
	if (c->graph)
		backlog_push(c, row->slot);
}

/*
 * at: n * dim floats of the extent, or NULL: rows[i].v are heap copies that the collection
 * takes over.
 */
static int fill_all(struct batch *b, const struct store_row *rows, const float *at, struct err *e)
{
	struct collection *c = b->c;
	int rc = 0;

	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	if (c->removed)
		rc = err_gone(e);
	for (size_t i = 0; rc == 0 && i < b->n_pending; i++)
		fill_one(c, b, i, &rows[i], at ? at + i * b->dim : rows[i].v);
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
	return rc;
}

static int rows_with_slots(struct batch *b, struct store_row *rows, struct err *e)
{
	uint32_t *slots = mem_alloc(b->n_pending, sizeof(*slots));
	int rc;

	if (!slots)
		return err_nomem(e);
	rc = slots_take(b->c, (uint32_t)b->n_pending, slots, e);
	for (size_t i = 0; rc == 0 && i < b->n_pending; i++) {
		pending_row(b, i, &rows[i]);
		rows[i].slot = slots[i];
	}
	mem_free(slots);
	return rc;
}

static void slots_return(struct batch *b, const struct store_row *rows)
{
	for (size_t i = 0; i < b->n_pending; i++)
		slots_untake(b->c, &rows[i].slot, 1);
}

static int copies_make(struct batch *b, struct store_row *rows)
{
	size_t bytes = b->dim * sizeof(float);

	for (size_t i = 0; i < b->n_pending; i++) {
		float *copy = mem_alloc(1, bytes);

		if (!copy) {
			while (i-- > 0)
				mem_free((void *)(uintptr_t)rows[i].v);
			return -ENOMEM;
		}
		rows[i].v = memcpy(copy, rows[i].v, bytes);
	}
	return 0;
}

int batch_fill_inline(struct batch *b, struct store_row *rows, struct err *e)
{
	int rc = rows_with_slots(b, rows, e);

	if (rc < 0)
		return rc;
	if (copies_make(b, rows) < 0) {
		slots_return(b, rows);
		return err_nomem(e);
	}
	rc = fill_all(b, rows, NULL, e);
	for (size_t i = 0; rc < 0 && i < b->n_pending; i++)
		mem_free((void *)(uintptr_t)rows[i].v);
	return rc;
}

/* ---- spilling ---- */

static int extents_room(struct batch *b)
{
	size_t cap = b->cap_extents ? b->cap_extents * 2 : 8;
	uint64_t *p;

	if (b->n_extents < b->cap_extents)
		return 0;
	p = mem_resize(b->extents, cap, sizeof(*p));
	if (!p)
		return -ENOMEM;
	b->extents = p;
	b->cap_extents = cap;
	return 0;
}

static int begin_big(struct collection *c, struct batch *b, struct err *e)
	REQUIRES_SHARED(c->commit_gate)
{
	int rc = 0;

	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	if (c->removed)
		rc = err_gone(e);
	else if (!b->big)
		c->big_batches++;
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
	if (rc == 0 && !b->big) {
		b->big = true;
		b->number = store_batch_number(c->engine->store);
	}
	return rc;
}

static int append(struct batch *b, struct store_row *rows, struct err *e)
{
	struct collection *c = b->c;
	const float *at;
	int rc;

	/* against a compaction, which must not leave out what no transaction knows yet */
	rwlock_read(&c->commit_gate);
	rc = begin_big(c, b, e);
	if (rc == 0)
		rc = store_append_extent(c->engine->store, c->cid, b->number, (uint32_t)b->dim,
		                         rows, b->n_pending, &b->extents[b->n_extents], &at, e);
	if (rc == 0) {
		b->n_extents++;
		rc = fill_all(b, rows, at, e);
	} else {
		slots_return(b, rows);
	}
	rwlock_read_unlock(&c->commit_gate);
	return rc;
}

/*
 * Two rows are linked for each that was added, so the backlog shrinks whoever writes. While what
 * waited at open is worked off that is enough, and a moment of it: the call that waits is sent
 * again when the server is killed, and has to come to its end some time.
 */
static bool has_to_link(struct collection *c, size_t left, uint64_t until)
{
	struct backlog_debt d = backlog_debt(c);

	if (d.over == 0)
		return false;
	return d.over > d.allowed || (left > 0 && clock_mono_ns() < until);
}

void batch_throttle(struct collection *c, size_t added)
{
	struct flow *f = c->engine->flow;
	uint64_t until = clock_mono_ns() + THROTTLE_NS;
	size_t left = 2 * added;
	struct turn turn;
	int rc = 1;

	while (rc == 1 && has_to_link(c, left, until)) {
		left -= left > 0;
		turn_take(f, &turn);
		rc = backlog_link_one(c, NULL);
		turn_give(f, &turn);
		thread_yields();
	}
}

int batch_spill(struct batch *b, struct err *e)
{
	MEM_AUTO struct store_row *rows = mem_alloc(b->n_pending, sizeof(*rows));
	size_t added;
	int rc;

	if (!rows || extents_room(b) < 0)
		return err_nomem(e);
	rc = rows_with_slots(b, rows, e);
	if (rc == 0)
		rc = append(b, rows, e);
	if (rc < 0)
		return rc;
	added = b->n_pending;
	b->n_pending = 0;
	buf_clear(&b->floats);
	buf_clear(&b->strings);
	graph_adjust(b->c);
	background_link(b->c);
	batch_throttle(b->c, added);
	return 0;
}
