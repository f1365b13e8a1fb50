/*
 * life.c: status, names, and the end of what is pending-deletion.
 *
 * A tenant that is pending-deletion ends when it has been for retention_s of its quota. How
 * long it has been is kept as a stretch of time that the monotonic clock makes longer, so a
 * wall clock that is set, forwards or back, neither erases anybody early nor keeps anybody. The
 * registry has the wall clock's "since", from which the stretch is taken at the next mount; it
 * is written anew when the two have come apart. A clock that stands before "since" at the mount
 * begins the stretch again.
 *
 * Lock order: see tenant_impl.h.
 */
#include "tenant/events.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define S_NS     1000000000ull
#define CHECK_NS (60 * S_NS) /* how often the clocks are compared while somebody is pending */
#define DRIFT_NS (60 * S_NS)
#define RETRY_NS (60 * S_NS)

/* ---- how long ---- */

struct pending pending_of_registry(uint64_t since_ns)
{
	uint64_t wall = clock_wall_ns();
	struct pending p = { .at_ns = clock_mono_ns(), .stored_ns = since_ns };

	if (since_ns < wall)
		p.elapsed_ns = wall - since_ns;
	return p;
}

static uint64_t elapsed_ns(const struct tenant *t, uint64_t now_ns)
{
	return t->pending.elapsed_ns + (now_ns - t->pending.at_ns);
}

uint64_t pending_to_registry(const struct tenant *t)
{
	uint64_t wall = clock_wall_ns();
	uint64_t elapsed = elapsed_ns(t, clock_mono_ns());

	if (t->status != TENANT_PENDING_DELETION)
		return UINT64_MAX;
	return elapsed < wall ? wall - elapsed : 0;
}

uint64_t pending_left_ns(const struct tenant *t, uint64_t now_ns)
{
	uint64_t all = t->quota.max[QUOTA_RETENTION_S] * S_NS;
	uint64_t elapsed = elapsed_ns(t, now_ns);

	return elapsed < all ? all - elapsed : 0;
}

/* ---- status ---- */

static int set_tenant_status(struct tenants *ts, uint32_t number, enum tenant_status s,
                             struct err *e) REQUIRES(ts->change)
{
	struct registry_tenant rt;
	struct tenant *t;
	int rc = registry_form(ts, number, &t, &rt, e);

	if (rc < 0)
		return rc;
	if (s != TENANT_PENDING_DELETION)
		rt.pending_ns = UINT64_MAX;
	else if (rt.status != TENANT_PENDING_DELETION)
		rt.pending_ns = clock_wall_ns();
	rt.status = s;
	rc = registry_tenant_update(ts->db, &rt, e);
	if (rc < 0)
		return rc;
	mutex_lock(&ts->lock);
	if (s != TENANT_PENDING_DELETION || t->status != s)
		t->pending = pending_of_registry(rt.pending_ns);
	t->status = s;
	life_changed_locked(ts);
	mutex_unlock(&ts->lock);
	return 0;
}

static int set_collection_status(struct collection *c, enum tenant_status s, struct err *e)
{
	struct tenants *ts = c->tenant->ts;
	char name[STATUS_SETTING_MAX];
	int rc = refuse_read_only(ts, e);

	if (rc < 0)
		return rc;
	collection_status_setting(c->cid, name);
	rc = registry_setting_set(ts->db, name, s, e);
	if (rc < 0)
		return rc;
	mutex_lock(&ts->lock);
	c->status = s;
	mutex_unlock(&ts->lock);
	return 0;
}

int tenants_set_status(struct tenants *ts, uint32_t number, enum tenant_status s, struct err *e)
{
	struct collection *c = pin_collection(ts, number);
	struct tenant *t;
	int rc;

	if (!c)
		return err_no_tenant(e);
	t = c->tenant;
	rwlock_write(&t->gate);
	mutex_lock(&ts->change);
	rc = c == &t->own ? set_tenant_status(ts, number, s, e) : set_collection_status(c, s, e);
	mutex_unlock(&ts->change);
	rwlock_write_unlock(&t->gate);
	if (rc == 0)
		event_status(c, s);
	tenant_unpin(t);
	return rc;
}

/* ---- names ---- */

static int claim(struct tenants *ts, uint32_t number, const char *name, bool no_replace,
                 struct err *e)
{
	struct tenant *t;
	int rc;

	mutex_lock(&ts->lock);
	t = tenant_find_locked(ts, number);
	rc = t ? tenant_check_locked(ts, &t->own, TENANT_WRITE, e) : err_no_tenant(e);
	if (rc == 0)
		rc = tenant_claim_name_locked(ts, t, name, e);
	mutex_unlock(&ts->lock);
	if (rc == -EEXIST && !no_replace)
		rc = err_set(e, -ENOTEMPTY, "the name \"%s\" is taken, and no tenant is replaced",
		             name);
	return rc;
}

static int rename_claimed(struct tenants *ts, uint32_t number, const char *name, struct err *e)
	REQUIRES(ts->change)
{
	struct registry_tenant rt;
	struct tenant *t;
	int rc = registry_form(ts, number, &t, &rt, e);

	if (rc < 0)
		return rc;
	memset(rt.name, 0, sizeof(rt.name));
	memcpy(rt.name, name, strlen(name));
	rc = registry_tenant_update(ts->db, &rt, e);
	mutex_lock(&ts->lock);
	if (rc == 0)
		tenant_take_name_locked(ts, t, name);
	else
		tenant_unclaim_name_locked(ts, t, name);
	mutex_unlock(&ts->lock);
	return rc;
}

int tenants_rename(struct tenants *ts, uint32_t number, const char *name, bool no_replace,
                   struct err *e)
{
	int rc = tenant_name_check(name, e);

	if (rc < 0)
		return rc;
	mutex_lock(&ts->change);
	rc = claim(ts, number, name, no_replace, e);
	if (rc == 0)
		rc = rename_claimed(ts, number, name, e);
	mutex_unlock(&ts->change);
	return rc;
}

/* ---- the end ---- */

void life_changed_locked(struct tenants *ts)
{
	ts->life_check_ns = 0;
	cond_signal(&ts->wake);
}

/* Somebody set the clock, or a version that did not count wrote the entry. */
static bool has_drifted(const struct tenant *t)
{
	uint64_t since = pending_to_registry(t);
	uint64_t stored = t->pending.stored_ns;

	return since > stored ? since - stored > DRIFT_NS : stored - since > DRIFT_NS;
}

static void write_since(struct tenants *ts, uint32_t number)
{
	struct registry_tenant rt;
	struct tenant *t;

	mutex_lock(&ts->change);
	if (registry_form(ts, number, &t, &rt, NULL) == 0) {
		registry_tenant_update(ts->db, &rt, NULL); /* else the next time */
		mutex_lock(&ts->lock);
		t->pending.stored_ns = rt.pending_ns;
		mutex_unlock(&ts->lock);
	}
	mutex_unlock(&ts->change);
}

static void purge(struct tenants *ts, uint32_t number)
{
	struct audit_record r = { .class = AUDIT_ADMIN, .operation = "purge", .uid = geteuid() };
	struct tenant_info info;
	struct tenant *t;

	r.pid = getpid();
	r.tenant = tenants_info(ts, number, &info) == 0 ? info.name : NULL;
	if (tenant_purge(ts, number, NULL) == 0) {
		audit_write(ts->audit, &r);
		return;
	}
	mutex_lock(&ts->lock);
	t = tenant_find_locked(ts, number);
	if (t)
		t->pending.retry_ns = clock_mono_ns() + RETRY_NS;
	mutex_unlock(&ts->lock);
}

/* The tenant to be seen to now, or NULL; *ret_next: when to look again. */
static struct tenant *next_due_locked(struct tenants *ts, uint64_t now, uint64_t *ret_next)
	REQUIRES(ts->lock);

static struct tenant *next_due_locked(struct tenants *ts, uint64_t now, uint64_t *ret_next)
{
	*ret_next = UINT64_MAX;
	for (size_t i = 0; i < ts->n; i++) {
		struct tenant *t = ts->all[i];
		uint64_t at = now + CHECK_NS;
		uint64_t left;

		if (t->status != TENANT_PENDING_DELETION)
			continue;
		left = pending_left_ns(t, now);
		if (t->pending.retry_ns > now)
			at = t->pending.retry_ns;
		else if (left == 0 || has_drifted(t))
			return t;
		else if (left < CHECK_NS)
			at = now + left;
		if (at < *ret_next)
			*ret_next = at;
	}
	return NULL;
}

bool life_step_locked(struct tenants *ts, uint64_t *ret_ns)
{
	uint64_t now = clock_mono_ns();
	struct tenant *t = NULL;
	uint32_t number;
	bool over;

	if (now >= ts->life_check_ns && !ts->read_only)
		t = next_due_locked(ts, now, &ts->life_check_ns);
	if (!t) {
		*ret_ns = ts->life_check_ns == UINT64_MAX ? UINT64_MAX : ts->life_check_ns - now;
		return false;
	}
	ts->life_check_ns = 0;
	number = t->number;
	over = pending_left_ns(t, now) == 0;
	mutex_unlock(&ts->lock);
	if (over)
		purge(ts, number);
	else
		write_since(ts, number);
	mutex_lock(&ts->lock);
	return true;
}
