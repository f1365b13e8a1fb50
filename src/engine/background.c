/*
 * background.c: work beside the users': linking what waits, and maintenance.
 *
 * All of it runs as jobs of the mount's pool. A collection has at most as many link jobs as
 * there are processors, each of them for a slice of time in proportion to its tenant's weight,
 * so that tenants take turns (as in deficit round robin, M. Shreedhar, G. Varghese, 1996: the
 * queue of jobs is the round, the slice the quantum); inside a slice it gives way, row by row,
 * to whoever is to have the core now (base/turns.h). There is at most one maintenance job, which
 * does what is due:
 *
 *     an image of before the collection was emptied      is removed
 *     a graph of which the disk lost pages                is made anew
 *     strings of removed IDs                              are packed
 *     codes for filling a graph that is full              are dropped
 *     rows in store.db                                    move to the segment
 *     dead rows                                           are taken out of the graph
 *     dead bytes in the segment                           are given back
 *     an image that is far behind                         is written anew
 *
 * Lock order: maint and what is below it; engine.lock last.
 */
#include <errno.h>

#include "base/clock.h"
#include "base/thread.h"
#include "base/usage.h"
#include "engine/engine_impl.h"

#define SLICE_NS     20000000u /* of a link job */
#define SLICE_MIN_NS 1000000u
#define SLICE_MAX_NS 200000000u
#define RETRY_NS     10000000000u /* after a maintenance that failed */

enum due {
	DUE_DISCARD = 1,
	DUE_PACK = 2,
	DUE_MOVE = 4,
	DUE_REPAIR = 8,
	DUE_COMPACT = 16,
	DUE_IMAGE = 32,
	DUE_BULK_END = 64,
	DUE_RENEW = 128,
};

/* ---- jobs ---- */

static bool job_start(struct collection *c, void (*run)(void *arg))
{
	struct engine *en = c->engine;
	bool ok;

	if (!en->workers || atomic_load(&en->closing))
		return false;
	atomic_fetch_add(&c->refs, 1);
	mutex_lock(&en->lock);
	ok = workers_submit(en->workers, run, c) == 0;
	en->n_jobs += ok;
	mutex_unlock(&en->lock);
	if (!ok)
		atomic_fetch_sub(&c->refs, 1); /* the caller has another one */
	return ok;
}

/* The engine may be gone when it returns. */
static void job_end(struct collection *c)
{
	struct engine *en = c->engine;

	collection_leave(c);
	mutex_lock(&en->lock);
	en->n_jobs--;
	cond_broadcast(&en->idle);
	mutex_unlock(&en->lock);
}

static bool job_again(struct collection *c, void (*run)(void *arg))
{
	return !atomic_load(&c->engine->closing) && workers_submit(c->engine->workers, run, c) == 0;
}

/* ---- linking ---- */

/* The graph that was to be made anew is complete. */
static bool is_rebuilt(struct collection *c) REQUIRES(c->mu)
{
	if (!c->rebuilding || c->ring_n > 0 || c->n_linking > 0)
		return false;
	c->rebuilding = false;
	return true;
}

/* Whether there is more to do; whoever pushes after a no sees to it that a job is started. */
static bool link_goes_on(struct collection *c, int rc)
{
	bool rebuilt;
	bool more;

	mutex_lock(&c->mu);
	rebuilt = is_rebuilt(c);
	more = rc >= 0 && c->ring_n > 0 && c->n_linking < LINKING_MAX &&
	       !atomic_load(&c->engine->closing);
	if (!more)
		c->link_jobs--;
	mutex_unlock(&c->mu);
	if (rebuilt)
		engine_tell(c, ENGINE_REBUILT);
	return more;
}

/* Rows of one turn. 1: there are more. */
static int link_some(struct collection *c, uint64_t until)
{
	struct flow *f = c->engine->flow;
	struct turn turn;
	int rc;

	backlog_sort(c);
	turn_take(f, &turn);
	do {
		rc = backlog_link_one(c, NULL);
		thread_yields();
	} while (rc == 1 && !turn_wanted(f) && clock_mono_ns() < until &&
	         !atomic_load_explicit(&c->engine->closing, memory_order_relaxed));
	turn_give(f, &turn);
	return rc;
}

static uint64_t slice_ns(const struct collection *c)
{
	const struct flow *f = c->engine->flow;
	uint64_t ns = SLICE_NS * (f ? flow_weight(f) : USAGE_WEIGHT) / USAGE_WEIGHT;

	return ns < SLICE_MIN_NS ? SLICE_MIN_NS : ns > SLICE_MAX_NS ? SLICE_MAX_NS : ns;
}

/*
 * A server that is killed again and again gets no time to link all that it found. It saves what it
 * has linked, while others wait, after so many rows, twice as many, and so on: at any moment at
 * least half of what it linked need not be linked again.
 */
static bool progress_is_due(const struct collection *c) REQUIRES(c->mu)
{
	return c->recovered > 0 && c->links - c->image_links >= c->recovered_step;
}

/* While many recovered rows wait nothing else may come to ask whether an image is due. */
static void maintain_meanwhile(struct collection *c)
{
	bool due;

	mutex_lock(&c->mu);
	due = progress_is_due(c);
	mutex_unlock(&c->mu);
	if (due)
		background_maintain(c);
}

static void link_job(void *arg)
{
	struct collection *c = arg;
	uint64_t until = clock_mono_ns() + slice_ns(c);
	int rc;

	do {
		do
			rc = link_some(c, until);
		while (rc == 1 && clock_mono_ns() < until &&
		       !atomic_load_explicit(&c->engine->closing, memory_order_relaxed));
		if (!link_goes_on(c, rc)) {
			background_maintain(c);
			job_end(c);
			return;
		}
		maintain_meanwhile(c);
	} while (!job_again(c, link_job));
}

void background_link(struct collection *c)
{
	unsigned n = 0;

	mutex_lock(&c->mu);
	while (c->ring_n > c->link_jobs && c->link_jobs < c->engine->link_jobs_max &&
	       n < c->engine->link_jobs_max && job_start(c, link_job)) {
		c->link_jobs++;
		n++;
	}
	mutex_unlock(&c->mu);
}

/* ---- maintenance ---- */

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static bool image_is_due(const struct collection *c, bool forced) REQUIRES(c->mu)
{
	uint64_t linked = c->links - c->image_links;
	uint64_t behind = c->changes - c->image_changes;
	uint32_t worth = larger(IMAGE_CHANGES, c->live / 5);

	if (!c->graph || hnsw_lost(c->graph))
		return false;
	if (!c->has_image)
		behind = c->changes + c->links;
	if (forced)
		return behind > 0 || linked > 0;
	if (progress_is_due(c))
		return true;
	if (behind < linked)
		behind = linked;
	if (c->n_limbo > larger(DEAD_MIN, c->rows.n / 10))
		return true;
	return behind > worth && (c->ring_n < WAITING_FEW || behind > 4 * (uint64_t)worth);
}

static unsigned what_is_due(struct collection *c, bool forced)
{
	unsigned due = 0;

	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	if (c->has_image && c->image_generation != c->generation)
		due |= DUE_DISCARD;
	if (idtable_wants_packing(&c->ids))
		due |= DUE_PACK;
	if (c->inlined > (forced ? 0 : INLINE_MAX))
		due |= DUE_MOVE;
	if (c->graph && c->dead > (forced ? 0 : larger(DEAD_MIN, hnsw_count(c->graph) / 10)))
		due |= DUE_REPAIR;
	if (c->graph && hnsw_in_bulk(c->graph) && c->ring_n + c->n_linking == 0)
		due |= DUE_BULK_END;
	if (forced || c->segment_dead_bytes > COMPACT_BYTES || c->old_maps)
		due |= DUE_COMPACT;
	if (image_is_due(c, forced))
		due |= DUE_IMAGE;
	if (c->graph && hnsw_lost(c->graph))
		due |= DUE_RENEW;
	if (c->removed)
		due = 0;
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
	return due;
}

static void pack(struct collection *c)
{
	rwlock_write(&c->lock);
	mutex_lock(&c->mu);
	idtable_pack(&c->ids);
	mutex_unlock(&c->mu);
	rwlock_write_unlock(&c->lock);
}

/* Should rows have come meanwhile, they are linked as those that come one by one. */
static void end_bulk(struct collection *c)
{
	rwlock_write(&c->lock);
	if (c->graph)
		hnsw_bulk_end(c->graph);
	rwlock_write_unlock(&c->lock);
}

/* Rows in store.db have to be in the image with their floats; so they are moved before. */
static int move_and_save(struct collection *c, struct err *e) REQUIRES(c->maint)
{
	int rc = move_inline(c, e);

	return rc < 0 ? rc : image_save(c, e);
}

int maintain_locked(struct collection *c, bool forced, struct err *e)
{
	unsigned due = what_is_due(c, forced);
	int rc = 0;

	if (due & DUE_DISCARD)
		image_discard(c);
	if (due & DUE_RENEW)
		graph_renew(c);
	if (due & DUE_PACK)
		pack(c);
	if (due & DUE_BULK_END)
		end_bulk(c);
	if (due & DUE_MOVE)
		rc = move_inline(c, e);
	if (rc == 0 && (due & DUE_REPAIR))
		rc = repair_and_remove(c, e);
	if (rc == 0 && (due & DUE_COMPACT))
		rc = compact(c, e);
	if (rc == 0 && (what_is_due(c, forced) & DUE_IMAGE))
		rc = move_and_save(c, e);
	return rc;
}

int maintain(struct collection *c, bool forced, struct err *e)
{
	int rc;

	mutex_lock(&c->maint);
	rc = maintain_locked(c, forced, e);
	mutex_unlock(&c->maint);
	return rc;
}

int maintain_at_close(struct collection *c, struct err *e)
{
	unsigned due = what_is_due(c, true);
	int rc = 0;

	mutex_lock(&c->maint);
	if (due & DUE_DISCARD)
		image_discard(c);
	if (due & DUE_IMAGE)
		rc = move_and_save(c, e);
	mutex_unlock(&c->maint);
	return rc;
}

static void maintain_job(void *arg)
{
	struct collection *c = arg;
	int rc = maintain(c, false, NULL);
	bool again;

	mutex_lock(&c->mu);
	c->maint_job = false;
	again = c->maint_again;
	c->maint_again = false;
	if (rc < 0)
		c->maint_after_ns = clock_mono_ns() + RETRY_NS;
	mutex_unlock(&c->mu);
	if (again)
		background_maintain(c);
	job_end(c);
}

void background_maintain(struct collection *c)
{
	if (c->engine->read_only || what_is_due(c, false) == 0)
		return;
	mutex_lock(&c->mu);
	if (c->maint_job) /* it may have passed that already, and nobody else need come */
		c->maint_again = true;
	else if (clock_mono_ns() >= c->maint_after_ns)
		c->maint_job = job_start(c, maintain_job);
	mutex_unlock(&c->mu);
}
