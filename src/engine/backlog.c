/*
 * backlog.c: the rows that are not in the graph yet, and the graph's beginning and end.
 *
 * Slots wait in a ring, first in, first out but for sorting (backlog_sort.c); one that is being linked stands in linking[]. A
 * search takes a copy of both and scans it, so it finds what the graph does not have. A slot
 * that is linked between copy and search is found twice and search.c drops one. Linking holds
 * the collection's lock for reading from the ring to the end, so that no slot changes its
 * meaning meanwhile.
 *
 * What waits when a store was opened after a crash is remembered as recovered until few wait. It
 * must not be writers that pay for it: in a process that does not live long they would pay again
 * and again and never come to their own. And what of it is linked is saved soon (background.c).
 *
 * Lock order: link_gate, lock, mu.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/thread.h"
#include "engine/engine_impl.h"

#define RECOVERED_MAX   100000u /* recovered rows that a writer may leave: a search scans them */
#define RECOVERED_STEPS 64      /* an image costs about as much as linking that part of its rows */

void backlog_push(struct collection *c, uint32_t slot)
{
	struct slot_info *si = &c->info[slot];

	if (si->flags & (SLOT_QUEUED | SLOT_LINKING | SLOT_LINKED))
		return;
	assert(c->ring_n < c->rows.cap);
	c->ring[(c->ring_head + c->ring_n) & (c->rows.cap - 1)] = slot;
	c->ring_n++;
	si->flags |= SLOT_QUEUED;
}

void backlog_clear(struct collection *c)
{
	c->ring_popped += c->ring_n;
	c->ring_head = c->ring_n = c->ring_sorted = 0;
}

struct backlog_debt backlog_debt(struct collection *c)
{
	struct backlog_debt d;
	uint32_t n;

	mutex_lock(&c->mu);
	n = c->ring_n + c->n_linking;
	d.over = n > BACKLOG_MAX ? n - BACKLOG_MAX : 0;
	d.allowed = c->recovered < RECOVERED_MAX ? c->recovered : RECOVERED_MAX;
	mutex_unlock(&c->mu);
	return d;
}

void backlog_recovered(struct collection *c)
{
	uint32_t step = c->live / RECOVERED_STEPS;

	/* without a graph all of them are about to wait */
	c->recovered = c->graph ? c->ring_n : c->live > FLAT_ROWS_MAX ? c->live : 0;
	c->recovered_step = step > WAITING_FEW ? step : WAITING_FEW;
	if (c->graph && c->ring_n > hnsw_count(c->graph) / 2)
		hnsw_bulk_begin(c->graph);
}

/* Those that died while they waited are freed on the way. */
static bool ring_pop(struct collection *c, uint32_t *ret) REQUIRES(c->mu)
{
	while (c->ring_n > 0) {
		uint32_t slot = c->ring[c->ring_head];

		c->ring_head = (c->ring_head + 1) & (c->rows.cap - 1);
		c->ring_n--;
		c->ring_popped++;
		c->ring_sorted -= c->ring_sorted > 0;
		c->info[slot].flags &= (uint8_t)~SLOT_QUEUED;
		if (rows_state(&c->rows, slot) != ROW_DEAD) {
			*ret = slot;
			return true;
		}
		c->dead--;
		slot_free(c, slot);
	}
	return false;
}

static bool link_begin(struct collection *c, uint32_t *ret)
{
	bool found = false;

	mutex_lock(&c->mu);
	if (c->graph && c->n_linking < LINKING_MAX)
		found = ring_pop(c, ret);
	if (found) {
		c->info[*ret].flags |= SLOT_LINKING;
		c->linking[c->n_linking++] = *ret;
	}
	mutex_unlock(&c->mu);
	return found;
}

static void link_end(struct collection *c, uint32_t slot, bool linked)
{
	unsigned i = 0;

	mutex_lock(&c->mu);
	while (c->linking[i] != slot)
		i++;
	c->linking[i] = c->linking[--c->n_linking];
	c->info[slot].flags &= (uint8_t)~SLOT_LINKING;
	if (!linked) {
		backlog_push(c, slot);
	} else {
		c->info[slot].flags |= SLOT_LINKED;
		c->links++;
		if (rows_state(&c->rows, slot) == ROW_LIVE)
			c->unlinked_live--;
		if (c->ring_n < WAITING_FEW)
			c->recovered = 0;
	}
	mutex_unlock(&c->mu);
}

int backlog_link_one(struct collection *c, struct err *e)
{
	uint32_t slot;
	int rc = 0;

	/* Rows are locked by spinning: before all others, it could keep the holder from giving back. */
	thread_steps_aside();
	rwlock_read(&c->link_gate);
	rwlock_read(&c->lock);
	if (link_begin(c, &slot)) {
		rc = hnsw_insert(c->graph, slot, e);
		link_end(c, slot, rc == 0);
		rc = rc < 0 ? rc : 1;
	}
	rwlock_read_unlock(&c->lock);
	rwlock_read_unlock(&c->link_gate);
	return rc;
}

static int slots_reserve(struct scratch *s, size_t n)
{
	uint32_t *p;

	if (n <= s->cap_slots)
		return 0;
	p = mem_resize(s->slots, n * 2, sizeof(*p));
	if (!p)
		return -ENOMEM;
	s->slots = p;
	s->cap_slots = n * 2;
	return 0;
}

long backlog_snapshot(struct collection *c, struct scratch *s)
{
	uint32_t n = 0;
	uint32_t tail;
	long rc;

	mutex_lock(&c->mu);
	rc = c->unlinked_live > 0 ? slots_reserve(s, c->ring_n + LINKING_MAX) : 0;
	if (rc == 0 && c->unlinked_live > 0) {
		tail = c->rows.cap - c->ring_head;
		n = c->ring_n;
		if (tail > n)
			tail = n;
		memcpy(s->slots, c->ring + c->ring_head, tail * sizeof(*c->ring));
		memcpy(s->slots + tail, c->ring, (n - tail) * sizeof(*c->ring));
		memcpy(s->slots + n, c->linking, c->n_linking * sizeof(*c->linking));
		n += c->n_linking;
	}
	mutex_unlock(&c->mu);
	return rc < 0 ? rc : (long)n;
}

/* ---- the graph's beginning and end ---- */

struct hnsw *graph_new(const struct collection *c, struct err *e)
{
	struct hnsw_params p = {
		.m = c->config.m,
		.ef_construction = c->config.ef_construction,
		.seed = 0x9e3779b97f4a7c15u ^ c->cid,
	};
	struct hnsw *h;

	/* A store of a later version may name what this one has not: float rows are never wrong. */
	if (!hnsw_quantization_parse(c->config.quantization, strlen(c->config.quantization),
	                             c->rows.dim, &p.quantization))
		p.quantization = HNSW_FLOAT;
	h = hnsw_new(&c->rows, &p, e);
	if (h && hnsw_reserve(h, c->rows.cap, e) < 0) {
		hnsw_free(h);
		return NULL;
	}
	return h;
}

int graph_start(struct collection *c, struct err *e)
{
	c->graph = graph_new(c, e);
	if (!c->graph)
		return -ENOMEM;
	hnsw_bulk_begin(c->graph);
	c->unlinked_live = c->live;
	for (uint32_t i = 0; i < c->rows.n; i++)
		if (rows_state(&c->rows, i) == ROW_HIDDEN || rows_state(&c->rows, i) == ROW_LIVE)
			backlog_push(c, i);
	return 0;
}

static void graph_drop(struct collection *c) REQUIRES(c->lock, c->mu)
{
	assert(c->n_linking == 0);
	hnsw_free(c->graph);
	c->graph = NULL;
	backlog_clear(c);
	c->unlinked_live = c->recovered = 0;
	for (uint32_t i = 0; i < c->rows.n; i++) {
		c->info[i].flags &= SLOT_HEAP | SLOT_IMAGE;
		if (rows_state(&c->rows, i) == ROW_DEAD)
			slot_free(c, i);
	}
	c->dead = 0;
}

/* Half of what starts it, so that a collection near the border does not go to and fro. */
static int graph_due(const struct collection *c) REQUIRES(c->mu)
{
	uint32_t n = c->live + c->taken;

	if (!c->graph && n > FLAT_ROWS_MAX)
		return 1;
	return c->graph && n < FLAT_ROWS_MAX / 2 && !c->repairing ? -1 : 0;
}

void graph_renew(struct collection *c)
{
	rwlock_write(&c->lock);
	mutex_lock(&c->mu);
	if (c->graph && hnsw_lost(c->graph) && !c->removed) {
		graph_drop(c);
		c->rebuilding = graph_start(c, NULL) == 0; /* if not: as in graph_adjust */
		backlog_recovered(c);
	}
	mutex_unlock(&c->mu);
	rwlock_write_unlock(&c->lock);
	background_link(c);
}

void graph_adjust(struct collection *c)
{
	int due;

	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	due = graph_due(c);
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
	if (due == 0)
		return;
	rwlock_write(&c->lock);
	mutex_lock(&c->mu);
	due = c->removed ? 0 : graph_due(c);
	if (due > 0)
		graph_start(
			c,
			NULL); /* without memory exact scans go on, the next commit tries again */
	else if (due < 0)
		graph_drop(c);
	mutex_unlock(&c->mu);
	rwlock_write_unlock(&c->lock);
}
