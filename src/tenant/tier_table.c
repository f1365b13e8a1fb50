/*
 * tier_table.c: the tiers of the mount, in memory and as settings "tier.NAME.KEY" of the
 * registry, which has them once somebody changed them.
 *
 * Lock order: see tenant_impl.h.
 */
#include "tenant/events.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define PREFIX "tier."

/* ---- loading ---- */

/* Keys of a later version are not for this one. */
static void take_setting(struct tiers *tiers, const struct registry_setting *s)
{
	const char *name = s->name + strlen(PREFIX);
	const char *dot = strchr(name, '.');
	char tier[TIER_NAME] = "";
	struct quota *to;

	if (!dot || !tier_name_ok(name, (size_t)(dot - name)))
		return;
	memcpy(tier, name, (size_t)(dot - name));
	to = tiers_add(tiers, tier);
	for (int k = 0; to && k < QUOTA_ALL; k++)
		if (strcmp(quota_key_name((enum quota_key)k), dot + 1) == 0 &&
		    quota_value_ok((enum quota_key)k, s->value))
			to->max[k] = s->value;
}

static int no_tier(struct tenants *ts, const char *name, struct err *e) REQUIRES(ts->lock)
{
	struct buf names BUF_AUTO = BUF_INIT;

	tiers_names(&ts->tiers, &names);
	if (buf_failed(&names))
		return err_nomem(e);
	return err_set(e, -EINVAL, "no tier \"%s\", known are %s", name, names.data);
}

int tiers_load(struct tenants *ts, struct err *e)
{
	struct registry_setting s = { .name = PREFIX };
	int rc;

	mutex_lock(&ts->lock);
	tiers_init(&ts->tiers);
	while ((rc = registry_setting_next(ts->db, PREFIX, s.name, &s, e)) == 0)
		take_setting(&ts->tiers, &s);
	rc = rc == -ENOENT ? 0 : rc;
	if (rc == 0 && !tiers_find(&ts->tiers, ts->tier))
		rc = no_tier(ts, ts->tier, e);
	mutex_unlock(&ts->lock);
	return rc;
}

/* ---- changing ---- */

static bool is_used(void *ctx, const char *name)
{
	struct tenants *ts = ctx;
	bool used;

	mutex_lock(&ts->lock);
	used = strcmp(ts->tier, name) == 0;
	for (size_t i = 0; i < ts->n && !used; i++)
		used = strcmp(ts->all[i]->quota.tier, name) == 0;
	mutex_unlock(&ts->lock);
	return used;
}

static int store(struct tenants *ts, const struct tiers *tiers, struct err *e)
{
	size_t n = (size_t)tiers->n * QUOTA_ALL;
	struct registry_setting MEM_AUTO *s = mem_alloc(n, sizeof(*s));

	if (!s)
		return err_nomem(e);
	for (size_t i = 0; i < n; i++) {
		const struct quota *t = &tiers->tier[i / QUOTA_ALL];
		enum quota_key k = (enum quota_key)(i % QUOTA_ALL);

		snprintf(s[i].name, sizeof(s[i].name), PREFIX "%s.%s", t->tier, quota_key_name(k));
		s[i].value = t->max[k];
	}
	return registry_settings_replace(ts->db, PREFIX, s, n, e);
}

static int change(struct tenants *ts, const char *text, size_t n, struct err *e)
	REQUIRES(ts->change)
{
	struct tiers MEM_AUTO *to = mem_alloc(1, sizeof(*to));
	int rc;

	if (!to)
		return err_nomem(e);
	mutex_lock(&ts->lock);
	*to = ts->tiers;
	mutex_unlock(&ts->lock);
	rc = tiers_apply(to, text, n, is_used, ts, e);
	if (rc == 0)
		rc = store(ts, to, e);
	if (rc < 0)
		return rc;
	mutex_lock(&ts->lock);
	ts->tiers = *to;
	for (size_t i = 0; i < ts->n; i++) {
		struct quota q = ts->all[i]->quota;

		quota_follow(&q, to);
		tenant_take_quota_locked(ts, ts->all[i], &q);
	}
	life_changed_locked(ts);
	mutex_unlock(&ts->lock);
	return 0;
}

/* Limits of whoever has one of these tiers may be others now. */
static void look_at_all(struct tenants *ts)
{
	struct tenant *t;

	mutex_lock(&ts->lock);
	for (uint32_t after = 0; (t = tenant_after_locked(ts, after));) {
		after = t->number;
		tenant_pin_locked(ts, t);
		mutex_unlock(&ts->lock);
		event_usage(t);
		tenant_unpin(t);
		mutex_lock(&ts->lock);
	}
	mutex_unlock(&ts->lock);
}

int tenants_set_tiers(struct tenants *ts, const char *text, size_t n, struct err *e)
{
	int rc = refuse_read_only(ts, e);

	if (rc < 0)
		return rc;
	mutex_lock(&ts->change);
	rc = change(ts, text, n, e);
	mutex_unlock(&ts->change);
	if (rc == 0)
		look_at_all(ts);
	return rc;
}

void tenants_tiers(struct tenants *ts, struct buf *ret)
{
	mutex_lock(&ts->lock);
	tiers_render(&ts->tiers, ret);
	mutex_unlock(&ts->lock);
}
