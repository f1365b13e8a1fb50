/*
 * collections.c: further collections of a tenant. A number from the registry first, then the
 * engine's own record of it: if the process ends in between, the number is unused (enter.c
 * forgets it).
 *
 * Lock order: see tenant_impl.h. The tenant's door makes counting and making one step; the gate
 * keeps commits out of a removal.
 */
#include "tenant/tenant_impl.h"

#include <errno.h>
#include <inttypes.h>

#include "base/fault.h"

static int refuse_count(struct tenant *t, struct err *e)
{
	struct tenants *ts = t->ts;
	uint64_t limit;
	uint64_t n;

	mutex_lock(&ts->lock);
	limit = t->quota.max[QUOTA_MAX_COLLECTIONS];
	n = t->n_collections;
	mutex_unlock(&ts->lock);
	if (n >= limit) {
		count_rejected(t, QUOTA_MAX_COLLECTIONS);
		return err_set(e, -EDQUOT,
		               "max_collections %" PRIu64 " reached, the tenant has %" PRIu64,
		               limit, n);
	}
	if (n >= LIMIT_COLLECTIONS)
		return err_set(e, -EDQUOT, "%" PRIu64 " collections, limit %d", n,
		               LIMIT_COLLECTIONS);
	return 0;
}

static int create(struct inside *in, const char *name, const struct owner *o, uint32_t *ret_cid,
                  struct err *e)
{
	struct tenant *t = in->tenant;
	struct tenants *ts = t->ts;
	uint32_t cid;
	int rc = registry_collection_number(ts->db, t->number, &cid, e);

	if (rc < 0)
		return rc;
	FAULT_POINT("collection.numbered");
	rc = engine_collection_create(in->engine, cid, name, o, e);
	FAULT_POINT("collection.created");
	if (rc == 0) {
		mutex_lock(&ts->lock);
		rc = t->removed ? err_set(e, -ENODEV, "the tenant was removed")
		                : collection_add_locked(ts, t, cid, TENANT_ACTIVE, e);
		mutex_unlock(&ts->lock);
		if (rc < 0)
			engine_collection_remove(in->engine, cid, true, NULL);
	}
	if (rc < 0)
		registry_collection_forget(ts->db, cid, NULL);
	else
		*ret_cid = cid;
	return rc;
}

int tenant_collection_create(struct inside *in, const char *name, const struct owner *o,
                             uint32_t *ret_cid, struct err *e)
{
	struct tenant *t = in->tenant;
	uint32_t cid;
	int rc = tenant_name_check(name, e);

	if (rc == 0)
		rc = tenant_check(in, TENANT_WRITE, e);
	if (rc < 0)
		return rc;
	mutex_lock(&t->door);
	if (engine_collection_find(in->engine, name, &cid) == 0)
		rc = err_set(e, -EEXIST, "the name \"%s\" is taken", name);
	if (rc == 0)
		rc = refuse_count(t, e);
	if (rc == 0)
		rc = create(in, name, o, ret_cid, e);
	mutex_unlock(&t->door);
	return rc;
}

/* The tenant's status decides, except that one of the two being pending-deletion allows all. */
static int removable_locked(const struct tenants *ts, const struct collection *c, bool *ret_pending,
                            struct err *e) REQUIRES(ts->lock);

static int removable_locked(const struct tenants *ts, const struct collection *c, bool *ret_pending,
                            struct err *e)
{
	*ret_pending = c->tenant->status == TENANT_PENDING_DELETION ||
	               c->status == TENANT_PENDING_DELETION;
	if (c->removed || !*ret_pending || c->tenant->ts->read_only)
		return tenant_check_locked(ts, c, TENANT_WRITE, e);
	return 0;
}

static int remove_gated(struct inside *in, struct collection *c, struct err *e)
{
	struct tenants *ts = in->tenant->ts;
	bool pending;
	int rc;

	mutex_lock(&ts->change); /* no backup begins in between */
	mutex_lock(&ts->lock);
	rc = removable_locked(ts, c, &pending, e);
	if (rc == 0)
		rc = refuse_backup_locked(ts, e);
	mutex_unlock(&ts->lock);
	if (rc == 0)
		rc = engine_collection_remove(in->engine, c->cid, pending, e);
	mutex_unlock(&ts->change);
	if (rc < 0)
		return rc;
	FAULT_POINT("collection.forget");
	mutex_lock(&ts->lock);
	if (!c->removed)
		collection_drop_locked(ts, c);
	mutex_unlock(&ts->lock);
	health_forget(ts->health, c->cid);
	registry_collection_forget(ts->db, c->cid, NULL);
	return 0;
}

int tenant_collection_remove(struct inside *in, uint32_t cid, struct err *e)
{
	struct tenant *t = in->tenant;
	struct collection *c;
	int rc;

	mutex_lock(&t->ts->lock);
	c = collection_find_locked(t->ts, cid);
	mutex_unlock(&t->ts->lock);
	if (!c || c->tenant != t)
		return err_set(e, -ENODEV, "the collection was removed");
	if (c == &t->own)
		return err_set(e, -EPERM, "the default collection goes with its tenant");
	rwlock_write(&t->gate);
	rc = remove_gated(in, c, e);
	rwlock_write_unlock(&t->gate);
	return rc;
}
