/*
 * backlog_sort.c: what waits in the ring, sorted by where in the graph it will be.
 *
 * Many rows that wait are linked faster in an order in which neighbours follow one another
 * (index/hnsw_order.c). One thread at a time sorts a window of the ring, behind what was sorted
 * before, while others go on linking from its head. They may come to pop some of the window
 * meanwhile: positions are counted since open, so it is known which of it are gone.
 *
 * Places are found some rows at a time under the collection's lock for reading, so that nobody waits
 * for long. Between two times slots may change their meaning; then a place is wrong, which costs time
 * only. Rows die under the lock for writing, so one that is not dead has its numbers as long as it
 * is held for reading.
 *
 * Lock order: link_gate, lock, mu.
 */
#include "base/mem.h"
#include "base/thread.h"
#include "engine/engine_impl.h"

#define WINDOW   FAULT_SCALED(4096u, 64u) /* sorted at a time: some milliseconds */
#define WORTH_IT FAULT_SCALED(256u, 16u)  /* of rows that were not sorted yet */
#define AT_ONCE  4u                       /* places found under one lock */

struct window {
	uint64_t begin; /* position of the first, counted as ring_popped is */
	uint32_t n;
	struct hnsw_waiting *rows;
};

static uint32_t *ring_at(struct collection *c, uint64_t position)
{
	return &c->ring[(c->ring_head + (position - c->ring_popped)) & (c->rows.cap - 1)];
}

static bool is_due(const struct collection *c) REQUIRES(c->mu)
{
	return c->graph && !c->sorting && c->ring_sorted < WORTH_IT &&
	       c->ring_n - c->ring_sorted >= WORTH_IT;
}

static bool window_begin(struct collection *c, struct window *w)
{
	bool due;

	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	due = is_due(c) && (w->rows = mem_alloc(WINDOW, sizeof(*w->rows)));
	if (due) {
		c->sorting = true;
		w->begin = c->ring_popped + c->ring_sorted;
		w->n = c->ring_n - c->ring_sorted;
		w->n = w->n < WINDOW ? w->n : WINDOW;
		for (uint32_t i = 0; i < w->n; i++)
			w->rows[i] = (struct hnsw_waiting){ .slot = *ring_at(c, w->begin + i),
				                            .was = i };
	}
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
	return due;
}

static bool is_there(const struct collection *c, uint32_t slot)
{
	enum row_state state = slot < c->rows.n ? rows_state(&c->rows, slot) : ROW_FREE;

	return state == ROW_LIVE || state == ROW_HIDDEN;
}

static void find_places(struct collection *c, struct window *w, uint32_t begin, uint32_t end)
{
	rwlock_read(&c->lock);
	for (uint32_t i = begin; c->graph && i < end; i++) {
		if (is_there(c, w->rows[i].slot))
			hnsw_find_places(c->graph, &w->rows[i], 1);
	}
	rwlock_read_unlock(&c->lock);
}

/* What is left of the window, in its order. */
static void window_end(struct collection *c, struct window *w)
{
	uint64_t position;
	uint32_t gone;

	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	gone = c->ring_popped > w->begin ? (uint32_t)(c->ring_popped - w->begin) : 0;
	position = w->begin + gone;
	for (uint32_t i = 0; gone < w->n && i < w->n; i++) {
		if (w->rows[i].was >= gone)
			*ring_at(c, position++) = w->rows[i].slot;
	}
	if (gone < w->n)
		c->ring_sorted = (uint32_t)(position - c->ring_popped);
	c->sorting = false;
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
	mem_free(w->rows);
}

/* Gives the turn back between pieces while somebody else wants it, as linking does. */
static void find_all_places(struct collection *c, struct window *w)
{
	struct flow *f = c->engine->flow;
	struct turn turn;

	turn_take(f, &turn);
	for (uint32_t i = 0; i < w->n && !atomic_load(&c->engine->closing); i += AT_ONCE) {
		if (turn_wanted(f)) {
			turn_give(f, &turn);
			turn_take(f, &turn);
		}
		find_places(c, w, i, i + AT_ONCE < w->n ? i + AT_ONCE : w->n);
		thread_yields();
	}
	turn_give(f, &turn);
}

void backlog_sort(struct collection *c)
{
	struct window w = { 0 };

	if (!window_begin(c, &w))
		return;
	find_all_places(c, &w);
	hnsw_sort_places(w.rows, w.n);
	window_end(c, &w);
}
