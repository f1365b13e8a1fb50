/*
 * shared.c: the collections of shared/, and their slots.
 *
 * A slot is kept as the setting "slot.CID" of the registry, which goes with its collection, and
 * "slots" is the last one that was given. A process that ends between the two leaves a slot unused;
 * one that ends before leaves a collection that tenants do not see: its slot is given when the
 * next one is made. Lock order: see tenant_impl.h.
 */
#include "tenant/tenant_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

#define SLOT  "slot."
#define SLOTS "slots"

int slots_load(struct tenants *ts, struct err *e)
{
	struct registry_setting s = { .name = SLOT };
	struct collection *c;
	uint64_t cid;
	int rc;

	mutex_lock(&ts->lock);
	while ((rc = registry_setting_next(ts->db, SLOT, s.name, &s, e)) == 0) {
		const char *digits = s.name + strlen(SLOT);

		if (!num_parse_u64(digits, strlen(digits), &cid) || cid > UINT32_MAX)
			continue;
		c = collection_find_locked(ts, (uint32_t)cid);
		if (c && s.value <= SHARED_SLOTS)
			c->slot = (uint16_t)s.value;
	}
	mutex_unlock(&ts->lock);
	return rc == -ENOENT ? 0 : rc;
}

static int give_slot(struct tenants *ts, uint32_t cid, struct err *e) REQUIRES(ts->change)
{
	char name[STATUS_SETTING_MAX];
	struct collection *c;
	uint64_t last = 0;
	int rc = registry_setting_get(ts->db, SLOTS, &last, e);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (last >= SHARED_SLOTS)
		return err_set(e, -EDQUOT, "%" PRIu64 " shared collections were made, limit %d",
		               last, SHARED_SLOTS);
	rc = registry_setting_set(ts->db, SLOTS, last + 1, e);
	snprintf(name, sizeof(name), SLOT "%" PRIu32, cid);
	if (rc == 0)
		rc = registry_setting_set(ts->db, name, last + 1, e);
	if (rc < 0)
		return rc;
	mutex_lock(&ts->lock);
	c = collection_find_locked(ts, cid);
	if (c)
		c->slot = (uint16_t)(last + 1);
	mutex_unlock(&ts->lock);
	return 0;
}

/* One without a slot; 0: none. */
static uint32_t without_slot(struct tenants *ts, const struct tenant *t)
{
	uint32_t cid = 0;

	mutex_lock(&ts->lock);
	for (const struct collection *c = t->own.next; c && !cid; c = c->next)
		if (!c->removed && !c->slot)
			cid = c->cid;
	mutex_unlock(&ts->lock);
	return cid;
}

static int give_slots(struct inside *in, struct err *e)
{
	struct tenants *ts = in->tenant->ts;
	uint32_t cid;
	int rc = 0;

	mutex_lock(&ts->change);
	while (rc == 0 && (cid = without_slot(ts, in->tenant)))
		rc = give_slot(ts, cid, e);
	mutex_unlock(&ts->change);
	return rc;
}

/* The tenant that has them, made by the first who needs it. */
static int own_tenant(struct tenants *ts, const struct owner *o, uint32_t *ret, struct err *e)
{
	int rc;

	*ret = tenants_shared(ts);
	if (*ret)
		return 0;
	rc = tenant_create(ts, SHARED_NAME, "unlimited", o, ret, e);
	if (rc == -EEXIST) {
		*ret = tenants_shared(ts);
		rc = *ret ? 0 : rc;
	}
	return rc;
}

int tenants_shared_create(struct tenants *ts, const char *name, const struct owner *o,
                          uint32_t *ret_cid, struct err *e)
{
	struct inside in;
	uint32_t number;
	int rc = tenant_name_check(name, e);

	if (rc == 0)
		rc = own_tenant(ts, o, &number, e);
	if (rc == 0)
		rc = tenant_enter(ts, number, TENANT_WRITE, &in, e);
	if (rc < 0)
		return rc;
	rc = tenant_collection_create(&in, name, o, ret_cid, e);
	if (rc == 0) {
		rc = give_slots(&in, e);
		if (rc < 0)
			tenant_collection_remove(&in, *ret_cid, NULL);
	}
	tenant_leave(&in);
	return rc;
}

int tenants_shared_slot(struct tenants *ts, uint32_t cid, uint32_t *ret_slot)
{
	struct collection *c;

	mutex_lock(&ts->lock);
	c = collection_find_locked(ts, cid);
	*ret_slot = c ? c->slot : 0;
	mutex_unlock(&ts->lock);
	return *ret_slot ? 0 : -ENODEV;
}

int tenants_shared_at(struct tenants *ts, uint32_t slot, uint32_t *ret_cid)
{
	uint32_t number = tenants_shared(ts);
	struct tenant *t;

	*ret_cid = 0;
	mutex_lock(&ts->lock);
	t = number && slot ? tenant_find_locked(ts, number) : NULL;
	for (const struct collection *c = t ? t->own.next : NULL; c && !*ret_cid; c = c->next)
		if (!c->removed && c->slot == slot)
			*ret_cid = c->cid;
	mutex_unlock(&ts->lock);
	return *ret_cid ? 0 : -ENODEV;
}
