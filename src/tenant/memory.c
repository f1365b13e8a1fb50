/*
 * memory.c: memory_bytes of the mount's config: what open tenants may have in memory together.
 *
 * The keeper asks every open engine once in a while, as stats does, and closes the least recently
 * used ones until the sum is below the limit. Whoever is in use stays, so the limit is one for what
 * is kept, not for what is needed at once.
 *
 * Lock order: see tenant_impl.h; ts->lock is let go around everything that asks or closes.
 */
#include "tenant/tenant_impl.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"

#define LOOK_NS 1000000000u

struct held {
	uint32_t number;
	uint64_t used, bytes;
};

struct all_held {
	struct held *at;
	size_t n, cap;
	uint64_t bytes;
};

static uint64_t bytes_of(struct engine *en)
{
	struct collection_memory m;
	struct collection_info i;
	uint64_t sum = 0;

	for (uint32_t after = 0; engine_collection_next(en, after, &i) == 0; after = i.cid)
		if (engine_collection_memory(en, i.cid, &m) == 0)
			sum += m.resident_bytes;
	return sum;
}

static bool add(struct all_held *all, const struct held *h)
{
	struct held *more;

	if (all->n == all->cap) {
		more = mem_resize(all->at, all->cap ? 2 * all->cap : 64, sizeof(*more));
		if (!more)
			return false;
		all->at = more;
		all->cap = all->cap ? 2 * all->cap : 64;
	}
	all->at[all->n++] = *h;
	all->bytes += h->bytes;
	return true;
}

/* Pinned, its engine is there; or NULL. */
static struct tenant *next_open(struct tenants *ts, uint32_t after)
{
	struct tenant *t;

	mutex_lock(&ts->lock);
	t = tenant_after_locked(ts, after);
	while (t && !t->engine)
		t = tenant_after_locked(ts, t->number);
	if (t)
		tenant_pin_locked(ts, t);
	mutex_unlock(&ts->lock);
	return t;
}

static void gather(struct tenants *ts, struct all_held *ret)
{
	struct tenant *t;

	for (uint32_t after = 0; (t = next_open(ts, after));) {
		struct held h = { .number = t->number, .bytes = bytes_of(t->engine) };
		bool added;

		mutex_lock(&ts->lock);
		h.used = t->used;
		mutex_unlock(&ts->lock);
		added = add(ret, &h);
		after = h.number;
		tenant_unpin(t);
		if (!added)
			return;
	}
}

static int oldest_first(const void *a, const void *b)
{
	const struct held *x = a, *y = b;

	return x->used < y->used ? -1 : x->used > y->used;
}

static bool close_if_idle(struct tenants *ts, uint32_t number)
{
	struct tenant *t;
	bool closed = false;

	mutex_lock(&ts->lock);
	t = tenant_find_locked(ts, number);
	if (t)
		tenant_pin_locked(ts, t);
	mutex_unlock(&ts->lock);
	if (t) {
		closed = tenant_close_engine(t);
		tenant_unpin(t);
	}
	return closed;
}

static void look(struct tenants *ts, uint64_t limit)
{
	struct all_held all = { 0 };
	bool closed = false;

	gather(ts, &all);
	if (all.n > 0)
		qsort(all.at, all.n, sizeof(*all.at), oldest_first);
	for (size_t i = 0; i < all.n && all.bytes > limit; i++)
		if (close_if_idle(ts, all.at[i].number)) {
			all.bytes -= all.at[i].bytes;
			closed = true;
		}
	mem_free(all.at);
	if (closed)
		mem_trim();
}

bool memory_step_locked(struct tenants *ts, uint64_t *ret_ns)
{
	uint64_t limit = setting_get(ts, SETTING_MEMORY_BYTES);
	uint64_t now = clock_mono_ns();

	*ret_ns = UINT64_MAX;
	if (limit == UINT64_MAX)
		return false;
	if (now < ts->memory_look_ns) {
		*ret_ns = ts->memory_look_ns - now;
		return false;
	}
	mutex_unlock(&ts->lock);
	look(ts, limit);
	mutex_lock(&ts->lock);
	ts->memory_look_ns = clock_mono_ns() + LOOK_NS;
	return true;
}
