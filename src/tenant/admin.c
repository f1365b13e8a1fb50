/*
 * admin.c: making, removing and changing tenants. Each change is durable in the registry before
 * memory has it.
 *
 * ts->change makes "look, write to the registry, change memory" one step, also against a
 * removal. What must not happen beside a commit (status, removal) takes the tenant's gate
 * first. Lock order: see tenant_impl.h.
 */
#include "tenant/tenant_impl.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"

#define NUMBER_MAX ((1u << 26) - 1) /* node numbers have 26 bits for it */

int refuse_read_only(const struct tenants *ts, struct err *e)
{
	return ts->read_only ? err_set(e, -EROFS, "the filesystem is mounted read-only") : 0;
}

int err_no_tenant(struct err *e)
{
	return err_set(e, -ENODEV, "the tenant was removed");
}

struct collection *pin_collection(struct tenants *ts, uint32_t cid)
{
	struct collection *c;

	mutex_lock(&ts->lock);
	c = collection_find_locked(ts, cid);
	if (c)
		tenant_pin_locked(ts, c->tenant);
	mutex_unlock(&ts->lock);
	return c;
}

/* ---- making ---- */

static int add(struct tenants *ts, struct registry_tenant *rt, struct err *e)
{
	struct tenant *t;
	int rc = registry_tenant_add(ts->db, rt, e);

	if (rc == -EEXIST)
		return err_set(e, -EEXIST, "the name \"%s\" is taken", rt->name);
	if (rc < 0)
		return rc;
	t = rt->number <= NUMBER_MAX ? tenant_new(ts, rt) : NULL;
	if (!t) {
		registry_tenant_remove(ts->db, rt->number, NULL);
		return rt->number > NUMBER_MAX
		               ? err_set(e, -ENOSPC, "all numbers of tenants were used, limit %u",
		                         NUMBER_MAX)
		               : err_nomem(e);
	}
	t->figures_known = true;
	mutex_lock(&ts->lock);
	rc = tenant_insert_locked(ts, t, e);
	mutex_unlock(&ts->lock);
	if (rc < 0) {
		registry_tenant_remove(ts->db, rt->number, NULL);
		tenant_free(t);
	}
	return rc;
}

int tenant_create(struct tenants *ts, const char *name, const char *tier, const struct owner *o,
                  uint32_t *ret_number, struct err *e)
{
	struct registry_tenant rt = { .owner = *o,
		                      .created_ns = clock_wall_ns(),
		                      .pending_ns = UINT64_MAX };
	struct quota q;
	int rc = refuse_read_only(ts, e);

	if (rc < 0)
		return rc;
	memcpy(rt.name, name, strlen(name) + 1);
	rt.status = TENANT_ACTIVE;
	mutex_lock(&ts->change);
	mutex_lock(&ts->lock);
	quota_of_tier(&q, &ts->tiers, tier);
	mutex_unlock(&ts->lock);
	quota_to_registry(&q, &rt);
	rc = add(ts, &rt, e);
	mutex_unlock(&ts->change);
	if (rc == 0)
		*ret_number = rt.number;
	return rc;
}

int tenants_create(struct tenants *ts, const char *name, const struct owner *o,
                   uint32_t *ret_number, struct err *e)
{
	int rc = tenant_name_check(name, e);

	return rc < 0 ? rc : tenant_create(ts, name, ts->tier, o, ret_number, e);
}

/* ---- removing ---- */

/* The tenant's gate is closed: nothing is committed any more. */
static int removable_locked(const struct tenants *ts, const struct tenant *t, bool purge,
                            struct err *e) REQUIRES(ts->lock);

static int removable_locked(const struct tenants *ts, const struct tenant *t, bool purge,
                            struct err *e)
{
	uint64_t vectors = 0;
	uint64_t bytes;
	uint32_t n;

	if (t->removed)
		return err_no_tenant(e);
	if (purge &&
	    (t->status != TENANT_PENDING_DELETION || pending_left_ns(t, clock_mono_ns()) > 0))
		return err_set(e, -ECANCELED, "its deletion was called off");
	if (t->status == TENANT_PENDING_DELETION)
		return 0;
	if (t->status != TENANT_ACTIVE)
		return err_set(e, t->status == TENANT_READONLY ? -EROFS : -EACCES,
		               "the tenant is %s, pending-deletion allows its removal",
		               tenant_status_name(t->status));
	if (t->engine)
		engine_usage(t->engine, &vectors, &bytes, &n);
	if (vectors > 0)
		return err_set(e, -ENOTEMPTY,
		               "the tenant holds %llu vectors and is not pending-deletion",
		               (unsigned long long)vectors);
	return 0;
}

static void forget_health(struct tenants *ts, const struct tenant *t)
{
	for (const struct collection *c = &t->own; c; c = c->next)
		health_forget(ts->health, c->cid);
}

int refuse_backup_locked(const struct tenants *ts, struct err *e)
{
	return ts->n_backups
	               ? err_set(e, -EBUSY, "a backup is being made: nothing is removed meanwhile")
	               : 0;
}

static int remove_gated(struct tenant *t, bool purge, struct err *e)
{
	struct tenants *ts = t->ts;
	int rc;

	mutex_lock(&ts->change);
	mutex_lock(&ts->lock);
	rc = removable_locked(ts, t, purge, e);
	if (rc == 0)
		rc = refuse_backup_locked(ts, e);
	mutex_unlock(&ts->lock);
	if (rc == 0) {
		/* Also without a store: somebody inside may be making it. */
		rc = tenant_mark_removed(t, true, e);
		FAULT_POINT("tenant.marked");
		if (rc == 0)
			rc = registry_tenant_remove(ts->db, t->number, e);
		FAULT_POINT("tenant.forgotten");
		/* After a failed sync the next open may find it done; it looks before it erases. */
		if (rc < 0 && rc != -EIO)
			tenant_mark_removed(t, false, NULL);
	}
	if (rc == 0) {
		mutex_lock(&ts->lock);
		tenant_forget_locked(ts, t);
		forget_health(ts, t);
		mutex_unlock(&ts->lock);
	}
	mutex_unlock(&ts->change);
	return rc;
}

/* Whether there are vectors is for the engine to say, unless none was ever stored or it does
 * not matter. */
static int open_to_look(struct tenant *t, struct err *e)
{
	enum tenant_status s;

	mutex_lock(&t->ts->lock);
	s = t->status;
	mutex_unlock(&t->ts->lock);
	if (s != TENANT_ACTIVE || !tenant_store_exists(t))
		return 0;
	return tenant_open_engine(t, e);
}

/*
 * Also while somebody is inside: what is open has no name any more and goes at its close. Its
 * background work may make a file meanwhile; whoever leaves last erases that.
 */
static void unlink_files(struct tenant *t)
{
	char dir[4096];

	if (tenant_store_path(t, dir, sizeof(dir), ""))
		io_remove_tree(dir);
}

static int remove_pinned(struct tenant *t, bool purge, struct err *e)
{
	int rc = purge ? 0 : open_to_look(t, e);

	if (rc < 0)
		return rc;
	rwlock_write(&t->gate);
	rc = remove_gated(t, purge, e);
	rwlock_write_unlock(&t->gate);
	if (rc == 0)
		unlink_files(t);
	return rc;
}

static int remove_tenant(struct tenants *ts, uint32_t number, bool purge, struct err *e)
{
	struct collection *c = pin_collection(ts, number);
	struct tenant *t = c ? c->tenant : NULL;
	int rc = refuse_read_only(ts, e);

	if (!t)
		return err_no_tenant(e);
	if (rc == 0 && c != &t->own)
		rc = err_no_tenant(e);
	if (rc == 0)
		rc = remove_pinned(t, purge, e);
	mutex_lock(&ts->lock);
	t = tenant_unpin_locked(ts, t);
	mutex_unlock(&ts->lock);
	if (t)
		tenant_erase(t);
	return rc;
}

int tenants_remove(struct tenants *ts, uint32_t number, struct err *e)
{
	return remove_tenant(ts, number, false, e);
}

int tenant_purge(struct tenants *ts, uint32_t number, struct err *e)
{
	return remove_tenant(ts, number, true, e);
}

/* ---- changing ---- */

int registry_form(struct tenants *ts, uint32_t number, struct tenant **ret,
                  struct registry_tenant *ret_rt, struct err *e)
{
	int rc = refuse_read_only(ts, e);

	if (rc < 0)
		return rc;
	mutex_lock(&ts->lock);
	*ret = tenant_find_locked(ts, number);
	if (*ret)
		tenant_to_registry_locked(*ret, ret_rt);
	mutex_unlock(&ts->lock);
	return *ret ? 0 : err_no_tenant(e);
}

int tenants_set_owner(struct tenants *ts, uint32_t number, const struct owner *o, struct err *e)
{
	struct registry_tenant rt;
	struct tenant *t;
	int rc;

	mutex_lock(&ts->change);
	rc = registry_form(ts, number, &t, &rt, e);
	if (rc == 0) {
		rt.owner = *o;
		rc = registry_tenant_update(ts->db, &rt, e);
	}
	if (rc == 0) {
		mutex_lock(&ts->lock);
		t->owner = *o;
		mutex_unlock(&ts->lock);
	}
	mutex_unlock(&ts->change);
	return rc;
}

int tenants_set_quota(struct tenants *ts, uint32_t number, const char *text, size_t n,
                      struct err *e)
{
	struct registry_tenant rt;
	struct tiers tiers;
	struct quota q;
	struct tenant *t;
	int rc;

	mutex_lock(&ts->change);
	rc = registry_form(ts, number, &t, &rt, e);
	if (rc == 0) {
		mutex_lock(&ts->lock);
		q = t->quota;
		tiers = ts->tiers;
		mutex_unlock(&ts->lock);
		rc = quota_apply(&q, &tiers, text, n, e);
	}
	if (rc == 0) {
		quota_to_registry(&q, &rt);
		rc = registry_tenant_update(ts->db, &rt, e);
	}
	if (rc == 0) {
		mutex_lock(&ts->lock);
		tenant_take_quota_locked(ts, t, &q);
		life_changed_locked(ts);
		mutex_unlock(&ts->lock);
	}
	mutex_unlock(&ts->change);
	return rc;
}

int tenants_set_dir_owner(struct tenants *ts, const struct owner *o, struct err *e)
{
	int rc = refuse_read_only(ts, e);

	if (rc < 0)
		return rc;
	mutex_lock(&ts->change);
	rc = registry_setting_set(ts->db, "tenants.uid", o->uid, e);
	if (rc == 0)
		rc = registry_setting_set(ts->db, "tenants.gid", o->gid, e);
	if (rc == 0)
		rc = registry_setting_set(ts->db, "tenants.mode", o->mode & 07777, e);
	if (rc == 0) {
		mutex_lock(&ts->lock);
		ts->dir_owner = *o;
		ts->dir_owner.mode &= 07777;
		mutex_unlock(&ts->lock);
	}
	mutex_unlock(&ts->change);
	return rc;
}
