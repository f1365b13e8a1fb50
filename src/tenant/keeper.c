/*
 * keeper.c: the one thread of this room. It closes engines that are open beyond
 * LIMIT_OPEN_TENANTS, erases what was removed while somebody was inside, purges what has been
 * pending-deletion for long enough, closes what is too much for memory_bytes, writes totals that were counted, and, after a mount that did
 * not end well, opens in turn the tenants whose figures are not known.
 *
 * Why a thread: closing an engine takes as long as an image takes to write, and waits for the
 * background work of the engine, so neither a client's request nor a worker can do it. When
 * engines open faster than they close, the openers help.
 *
 * Lock order: see tenant_impl.h; ts->lock is let go around everything that blocks.
 */
#include "tenant/tenant_impl.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/signals.h"

#define HELP_BEYOND (2 * LIMIT_OPEN_TENANTS)

static struct tenant *oldest_idle_locked(struct tenants *ts) REQUIRES(ts->lock);

static struct tenant *oldest_idle_locked(struct tenants *ts)
{
	struct tenant *oldest = ts->idle;

	for (struct tenant *t = ts->idle; t; t = t->idle_next)
		if (t->used < oldest->used)
			oldest = t;
	return oldest;
}

/* Closes the least recently used engine. Lets go of ts->lock meanwhile. */
static void close_oldest_locked(struct tenants *ts) REQUIRES(ts->lock);

static void close_oldest_locked(struct tenants *ts)
{
	struct tenant *t = oldest_idle_locked(ts);

	tenant_pin_locked(ts, t);
	mutex_unlock(&ts->lock);
	tenant_close_engine(t);
	tenant_unpin(t);
	mutex_lock(&ts->lock);
}

static void erase_dead_locked(struct tenants *ts) REQUIRES(ts->lock);

static void erase_dead_locked(struct tenants *ts)
{
	struct tenant *t = ts->dead;

	ts->dead = t->dead_next;
	mutex_unlock(&ts->lock);
	tenant_erase(t);
	mutex_lock(&ts->lock);
}

/* Opens the next tenant whose figures are not known; its closing makes them known. false:
 * there is none after *after. */
static bool count_next_locked(struct tenants *ts, uint32_t *after) REQUIRES(ts->lock);

static bool count_next_locked(struct tenants *ts, uint32_t *after)
{
	struct tenant *t = tenant_after_locked(ts, *after);

	while (t && (t->figures_known || t->engine))
		t = tenant_after_locked(ts, t->number);
	if (!t)
		return false;
	*after = t->number;
	tenant_pin_locked(ts, t);
	mutex_unlock(&ts->lock);
	tenant_open_engine(t, NULL); /* a store that cannot be opened counts for nothing */
	tenant_unpin(t);
	mutex_lock(&ts->lock);
	return true;
}

static void wait_locked(struct tenants *ts, uint64_t ns) REQUIRES(ts->lock)
{
	if (ns == UINT64_MAX)
		cond_wait(&ts->wake, &ts->lock);
	else
		cond_wait_ns(&ts->wake, &ts->lock, ns);
}

static void *keep(void *arg)
{
	struct tenants *ts = arg;
	uint32_t counted = 0;
	uint64_t wait_ns, memory_ns;

	mutex_lock(&ts->lock);
	while (!ts->ending) {
		if (ts->dead)
			erase_dead_locked(ts);
		else if (ts->unsaved)
			totals_write_next_locked(ts);
		else if (ts->n_idle > LIMIT_OPEN_TENANTS)
			close_oldest_locked(ts);
		else if (memory_step_locked(ts, &memory_ns) || life_step_locked(ts, &wait_ns) ||
		         count_next_locked(ts, &counted))
			continue;
		else
			wait_locked(ts, wait_ns < memory_ns ? wait_ns : memory_ns);
	}
	while (ts->unsaved)
		totals_write_next_locked(ts);
	while (ts->dead)
		erase_dead_locked(ts);
	mutex_unlock(&ts->lock);
	return NULL;
}

int keeper_start(struct tenants *ts, struct err *e)
{
	sigset_t old;
	int rc;

	/* Signals are for the thread that runs the mount. */
	signals_block(&old);
	rc = pthread_create(&ts->keeper, NULL, keep, ts);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0)
		return err_set(e, -rc, "no thread for the tenants: %s", strerror(rc));
	ts->has_keeper = true;
	return 0;
}

void keeper_stop(struct tenants *ts)
{
	if (!ts->has_keeper)
		return;
	mutex_lock(&ts->lock);
	ts->ending = true;
	cond_signal(&ts->wake);
	mutex_unlock(&ts->lock);
	pthread_join(ts->keeper, NULL);
	ts->has_keeper = false;
}

void keeper_help(struct tenants *ts)
{
	mutex_lock(&ts->lock);
	while (ts->n_idle > HELP_BEYOND)
		close_oldest_locked(ts);
	mutex_unlock(&ts->lock);
}
