/*
 * enter.c: the way into a tenant's engine, and out of it.
 *
 * Entering counts the caller in under ts->lock, so the engine cannot be closed any more, and
 * opens it under the tenant's door if need be. Leaving never closes an engine itself: it may be
 * called from a worker, for which a closing engine waits. The least recently used of the open
 * engines that nobody is inside of is found by a look at each: there are few.
 */
#include "tenant/events.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"

/* ---- status ---- */

static int refuse(enum tenant_status s, enum tenant_access access, const char *what, struct err *e)
{
	if (access == TENANT_LOOK || access == TENANT_ADMIN || s == TENANT_ACTIVE)
		return 0;
	if (s == TENANT_READONLY)
		return access != TENANT_WRITE ? 0 : err_set(e, -EROFS, "the %s is readonly", what);
	return err_set(e, -EACCES, "the %s is %s", what, tenant_status_name(s));
}

int tenant_check_locked(const struct tenants *ts, const struct collection *c,
                        enum tenant_access access, struct err *e)
{
	int rc;

	if (c->removed || c->tenant->removed)
		return err_set(e, -ENODEV, "the %s was removed",
		               c->tenant->removed ? "tenant" : "collection");
	if (access == TENANT_WRITE && c->tenant->ts->read_only)
		return err_set(e, -EROFS, "the filesystem is mounted read-only");
	rc = refuse(c->tenant->status, access, "tenant", e);
	return rc < 0 ? rc : refuse(c->status, access, "collection", e);
}

int tenant_check(const struct inside *in, enum tenant_access access, struct err *e)
{
	struct tenants *ts = in->tenant->ts;
	int rc;

	mutex_lock(&ts->lock);
	rc = tenant_check_locked(ts, in->collection, access, e);
	mutex_unlock(&ts->lock);
	return rc;
}

/* ---- counting in and out ---- */

static void idle_add_locked(struct tenant *t)
{
	struct tenants *ts = t->ts;

	t->idle_prev = NULL;
	t->idle_next = ts->idle;
	if (ts->idle)
		ts->idle->idle_prev = t;
	ts->idle = t;
	ts->n_idle++;
	if (ts->n_idle > LIMIT_OPEN_TENANTS)
		cond_signal(&ts->wake);
}

static void idle_remove_locked(struct tenant *t)
{
	struct tenants *ts = t->ts;

	if (t->idle_prev)
		t->idle_prev->idle_next = t->idle_next;
	else
		ts->idle = t->idle_next;
	if (t->idle_next)
		t->idle_next->idle_prev = t->idle_prev;
	t->idle_prev = NULL;
	t->idle_next = NULL;
	ts->n_idle--;
}

void tenant_pin_locked(struct tenants *ts, struct tenant *t)
{
	if (t->entered++ == 0 && t->engine)
		idle_remove_locked(t);
}

/* Collections that were removed while somebody was inside. */
static void free_removed_locked(struct tenant *t)
{
	struct collection **at = &t->own.next;
	struct collection *c;

	while ((c = *at)) {
		if (!c->removed) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		activity_release(&c->activity);
		mem_free(c);
	}
}

struct tenant *tenant_unpin_locked(struct tenants *ts, struct tenant *t)
{
	if (--t->entered > 0)
		return NULL;
	if (t->removed)
		return t;
	free_removed_locked(t);
	if (t->engine)
		idle_add_locked(t);
	return NULL;
}

void tenant_unpin(struct tenant *t)
{
	struct tenants *ts = t->ts;

	mutex_lock(&ts->lock);
	if (tenant_unpin_locked(ts, t)) {
		t->dead_next = ts->dead;
		ts->dead = t;
		cond_signal(&ts->wake);
	}
	mutex_unlock(&ts->lock);
}

/* ---- the engine ---- */

/* One collection of the tenant that its engine does not know; 0: none (any more). */
static uint32_t drop_unknown_locked(struct tenants *ts, struct tenant *t, struct engine *en)
	REQUIRES(ts->lock);

static uint32_t drop_unknown_locked(struct tenants *ts, struct tenant *t, struct engine *en)
{
	struct collection_info info;

	for (struct collection *c = t->own.next; c; c = c->next) {
		if (c->removed || engine_collection_info(en, c->cid, &info) != -ENODEV)
			continue;
		collection_drop_locked(ts, c);
		return c->cid;
	}
	return 0;
}

/* Numbers that the registry gave out, but the process ended before the engine heard of them. */
static void reconcile(struct tenant *t, struct engine *en)
{
	struct tenants *ts = t->ts;
	uint32_t cid;

	do {
		mutex_lock(&ts->lock);
		cid = drop_unknown_locked(ts, t, en);
		mutex_unlock(&ts->lock);
		if (cid && !ts->read_only)
			registry_collection_forget(ts->db, cid, NULL);
	} while (cid);
}

static int open_locked(struct tenant *t, struct err *e)
{
	struct tenants *ts = t->ts;
	struct engine_options o = {
		.default_cid = t->number,
		.workers = ts->workers,
		.flow = &t->index,
		.read_only = ts->read_only,
		.event = event_of_engine,
		.event_ctx = t,
	};
	struct engine *en;
	char dir[4096];
	bool unclean;
	int rc;

	if (!tenant_store_path(t, dir, sizeof(dir), ""))
		return err_set(e, -ENAMETOOLONG, "the path of the data directory is too long");
	o.dir = dir;
	mutex_lock(&ts->lock);
	o.owner = t->owner;
	mutex_unlock(&ts->lock);
	totals_read(t);
	unclean = tenant_store_exists(t) && !figures_exist(t);
	if (!ts->read_only)
		figures_unlink(t);
	rc = engine_open(&o, &en, e);
	if (rc < 0)
		return rc;
	if (unclean)
		event_recovered(t);
	if (engine_lost_commits(en))
		event_lost_commits(t, engine_lost_commits(en));
	reconcile(t, en);
	mutex_lock(&ts->lock);
	t->engine = en;
	mutex_unlock(&ts->lock);
	return 0;
}

/* What is damaged, or of a newer version, cannot be read here, whichever it is. */
int tenant_open_engine(struct tenant *t, struct err *e)
{
	struct err why = { 0 };
	int rc = 0;

	keeper_help(t->ts);
	mutex_lock(&t->door);
	if (!t->engine)
		rc = open_locked(t, &why);
	mutex_unlock(&t->door);
	if (rc == -EILSEQ || rc == -EPROTO)
		rc = -EIO;
	return rc < 0 ? err_set(e, rc, "%s", why.text) : 0;
}

/* The engine, if nobody came in since *used was read; its figures are then the last ones. */
static struct engine *take_engine(struct tenant *t, uint64_t used, const struct figures *f)
{
	struct tenants *ts = t->ts;
	struct engine *en = NULL;

	mutex_lock(&ts->lock);
	if (t->entered == 1 && t->used == used) {
		en = t->engine;
		t->engine = NULL;
		t->figures = *f;
		t->figures_known = true;
	}
	mutex_unlock(&ts->lock);
	return en;
}

static bool close_locked(struct tenant *t)
{
	struct tenants *ts = t->ts;
	struct engine *en;
	struct figures f;
	uint64_t used;

	if (!t->engine)
		return false;
	mutex_lock(&ts->lock);
	used = t->used;
	mutex_unlock(&ts->lock);
	figures_gather(t->engine, &f);
	en = take_engine(t, used, &f);
	if (!en)
		return false;
	engine_close(en);
	event_usage(t); /* the first that is known of it, when it was opened to be counted */
	FAULT_POINT("engine.closed");
	if (!ts->read_only) {
		totals_write(t);
		figures_write(t, &f);
	}
	return true;
}

bool tenant_close_engine(struct tenant *t)
{
	bool closed;

	mutex_lock(&t->door);
	closed = close_locked(t);
	mutex_unlock(&t->door);
	return closed;
}

void tenant_erase(struct tenant *t)
{
	char dir[4096];

	engine_close(t->engine);
	FAULT_POINT("tenant.erase");
	/* What cannot be erased now stays marked for the next open. */
	if (tenant_store_path(t, dir, sizeof(dir), "") &&
	    (io_remove_tree(dir) == 0 || access(dir, F_OK) < 0))
		tenant_mark_removed(t, false, NULL);
	tenant_free(t);
}

/* ---- public ---- */

static int come_in_locked(struct tenants *ts, uint32_t cid, enum tenant_access access,
                          struct inside *ret, struct err *e) REQUIRES(ts->lock);

static int come_in_locked(struct tenants *ts, uint32_t cid, enum tenant_access access,
                          struct inside *ret, struct err *e)
{
	struct collection *c = collection_find_locked(ts, cid);
	int rc;

	if (!c)
		return err_set(e, -ENODEV, "the tenant or collection was removed");
	rc = tenant_check_locked(ts, c, access, e);
	if (rc < 0)
		return rc;
	tenant_pin_locked(ts, c->tenant);
	c->tenant->used = ++ts->tick;
	*ret = (struct inside){ c->tenant, c->tenant->engine, c, cid };
	return 0;
}

int tenant_enter(struct tenants *ts, uint32_t cid, enum tenant_access access, struct inside *ret,
                 struct err *e)
{
	struct inside in;
	int rc;

	mutex_lock(&ts->lock);
	rc = come_in_locked(ts, cid, access, &in, e);
	mutex_unlock(&ts->lock);
	if (rc < 0)
		return rc;
	usage_begin(&in.tenant->usage);
	if (!in.engine && access != TENANT_ADMIN && access != TENANT_HEAR) {
		rc = tenant_open_engine(in.tenant, e);
		if (rc < 0) {
			tenant_unpin(in.tenant);
			return rc;
		}
		in.engine = in.tenant->engine;
	}
	if (access == TENANT_READ || access == TENANT_WRITE)
		activity_access(&in.collection->activity);
	*ret = in;
	return 0;
}

void tenant_leave(struct inside *in)
{
	struct tenant *t = in->tenant;

	*in = (struct inside){ 0 };
	if (!t)
		return;
	usage_charge(&t->usage);
	tenant_unpin(t);
}

uint32_t tenant_number(const struct inside *in)
{
	return in->tenant ? in->tenant->number : 0;
}

bool tenant_holds_shared(const struct inside *in)
{
	return in->tenant && tenant_is_shared(in->tenant);
}
