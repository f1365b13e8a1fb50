/*
 * open.c: the registry is read into memory once, and what a removal left behind is erased.
 *
 * Collections have a status of their own as a setting "status.CID" of the registry. Lock order:
 * see tenant_impl.h; nobody else is there yet, the locks are taken for what they assert.
 */
#include "tenant/events.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/num.h"
#include "tenant/admit.h"
#include "tenant/backup.h"

static int load_tenants(struct tenants *ts, struct err *e)
{
	struct registry_tenant rt;
	struct tenant *t;
	int rc;

	for (uint32_t after = 0;; after = rt.number) {
		rt.number = 0;
		rc = registry_tenant_next(ts->db, after, &rt, e);
		if (rc == -EIO && rt.number > after)
			continue; /* its entry is damaged, a verification says so; the rest works */
		if (rc < 0)
			return rc == -ENOENT ? 0 : rc;
		t = tenant_new(ts, &rt);
		if (!t)
			return err_nomem(e);
		figures_read(t);
		mutex_lock(&ts->lock);
		rc = tenant_insert_locked(ts, t, e);
		mutex_unlock(&ts->lock);
		if (rc < 0) {
			tenant_free(t);
			return rc;
		}
	}
}

void collection_status_setting(uint32_t cid, char ret[STATUS_SETTING_MAX])
{
	snprintf(ret, STATUS_SETTING_MAX, "status.%" PRIu32, cid);
}

static enum tenant_status collection_status(struct tenants *ts, uint32_t cid)
{
	char name[STATUS_SETTING_MAX];
	uint64_t v;

	collection_status_setting(cid, name);
	if (registry_setting_get(ts->db, name, &v, NULL) < 0)
		return TENANT_ACTIVE;
	return status_of_number(v);
}

static int load_collections(struct tenants *ts, struct err *e)
{
	uint32_t number = 0;
	uint32_t owner;
	struct tenant *t;
	int rc;

	for (;;) {
		rc = registry_collection_next(ts->db, number, &number, &owner, e);
		if (rc < 0)
			return rc == -ENOENT ? 0 : rc;
		if (number == owner)
			continue;
		mutex_lock(&ts->lock);
		t = tenant_find_locked(ts, owner);
		rc = t ? collection_add_locked(ts, t, number, TENANT_ACTIVE, e) : 0;
		mutex_unlock(&ts->lock);
		if (rc < 0)
			return rc;
	}
}

static void load_statuses(struct tenants *ts)
{
	for (size_t i = 0; i < ts->n; i++)
		for (struct collection *c = ts->all[i]->own.next; c; c = c->next)
			c->status = collection_status(ts, c->cid);
}

/* Who is near a limit has been since the mount, as far as anybody knows. */
static void look_at_usage(struct tenants *ts)
{
	for (size_t i = 0; i < ts->n; i++)
		if (ts->all[i]->figures_known)
			event_usage(ts->all[i]);
}

static void load_dir_owner(struct tenants *ts)
{
	uint64_t v;

	ts->dir_owner = (struct owner){ geteuid(), getegid(), 0711 };
	if (registry_setting_get(ts->db, "tenants.uid", &v, NULL) == 0)
		ts->dir_owner.uid = (uid_t)v;
	if (registry_setting_get(ts->db, "tenants.gid", &v, NULL) == 0)
		ts->dir_owner.gid = (gid_t)v;
	if (registry_setting_get(ts->db, "tenants.mode", &v, NULL) == 0)
		ts->dir_owner.mode = (mode_t)v & 07777;
}

/* ---- stores that no tenant has ---- */

/* Also one whose entry is damaged: its number is still given out to itself. */
static bool is_known(struct tenants *ts, uint64_t number)
{
	uint32_t owner;
	bool known;

	if (number > UINT32_MAX)
		return false;
	mutex_lock(&ts->lock);
	known = tenant_find_locked(ts, (uint32_t)number);
	mutex_unlock(&ts->lock);
	return known || (registry_number_tenant(ts->db, (uint32_t)number, &owner, NULL) == 0 &&
	                 owner == number);
}

/* What a removal left when the process ended before it was done; the mark goes last. */
static void finish_removal(struct tenants *ts, const char *stores, uint64_t number)
{
	char path[4096];
	int n = snprintf(path, sizeof(path), "%s/%" PRIu64, stores, number);

	if (n < 0 || (size_t)n + sizeof(REMOVED_SUFFIX) > sizeof(path))
		return;
	if (!is_known(ts, number) && io_remove_tree(path) < 0 && access(path, F_OK) == 0)
		return;
	FAULT_POINT("tenant.finished");
	memcpy(path + n, REMOVED_SUFFIX, sizeof(REMOVED_SUFFIX));
	unlink(path);
}

static int each_store(const char *stores,
                      int (*visit)(struct tenants *, const char *, const char *, struct err *),
                      struct tenants *ts, struct err *e)
{
	DIR *d = opendir(stores);
	struct dirent *entry;
	int rc = 0;

	if (!d)
		return err_set(e, -errno, "%s: %s", stores, strerror(errno));
	while (rc == 0 && (entry = readdir(d)))
		rc = visit(ts, stores, entry->d_name, e);
	closedir(d);
	return rc;
}

static int visit_mark(struct tenants *ts, const char *stores, const char *name, struct err *e)
{
	const char *dot = strchr(name, '.');
	uint64_t number;

	if (dot && strcmp(dot, REMOVED_SUFFIX) == 0 &&
	    num_parse_u64(name, (size_t)(dot - name), &number))
		finish_removal(ts, stores, number);
	return 0;
}

/*
 * A store that the registry does not know and nobody marked: the registry was lost or is an old
 * copy. Going on would give its number, and with it what it holds, to a new tenant.
 */
static int visit_unknown(struct tenants *ts, const char *stores, const char *name, struct err *e)
{
	uint64_t number;

	if (!num_parse_u64(name, strlen(name), &number) || is_known(ts, number))
		return 0;
	return err_set(e, -EILSEQ,
	               "stores/%s belongs to no tenant of registry.db: restore the registry that "
	               "knows it, or move the store away",
	               name);
}

static int load(struct tenants *ts, struct err *e)
{
	char path[4096];
	int rc;

	if (snprintf(path, sizeof(path) - 64, "%s/registry.db", ts->data) >= (int)sizeof(path) - 64)
		return err_set(e, -ENAMETOOLONG, "the path of the data directory is too long");
	rc = registry_open(path, ts->read_only, &ts->db, e);
	if (rc == 0)
		rc = tiers_load(ts, e);
	if (rc == 0)
		rc = load_tenants(ts, e);
	if (rc == 0)
		rc = load_collections(ts, e);
	if (rc < 0)
		return rc;
	rc = on_limit_load(ts, e);
	if (rc == 0)
		rc = slow_load(ts, e);
	if (rc < 0)
		return rc;
	rc = slots_load(ts, e);
	if (rc < 0)
		return rc;
	load_statuses(ts);
	look_at_usage(ts);
	load_dir_owner(ts);
	settings_load(ts);
	rc = shown_load(ts, e);
	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "%s/stores", ts->data);
	if (ts->read_only)
		return 0;
	backup_sweep(ts->data);
	rc = io_mkdir(path, 0700);
	if (rc < 0)
		return err_set(e, rc, "%s: %s", path, strerror(-rc));
	rc = each_store(path, visit_mark, ts, e);
	return rc < 0 ? rc : each_store(path, visit_unknown, ts, e);
}

static int init(struct tenants *ts, const struct tenants_options *o, struct err *e)
{
	const char *tier = o->tier ? o->tier : "unlimited";

	mutex_init(&ts->waiting.lock);
	cond_init(&ts->waiting.changed);
	mutex_init(&ts->change);
	mutex_init(&ts->lock);
	cond_init(&ts->wake);
	ts->read_only = o->read_only;
	ts->workers = o->workers;
	ts->turns = turns_new(workers_count(o->workers));
	usage_init(&ts->usage_across, USAGE_WEIGHT);
	flow_init(&ts->across, ts->turns, &ts->usage_across);
	ts->started_ns = clock_mono_ns();
	if (!tier_name_ok(tier, strlen(tier)))
		return err_set(e, -EINVAL, "\"%s\" is no name of a tier", tier);
	memcpy(ts->tier, tier, strlen(tier));
	ts->data = mem_dup(o->data, strlen(o->data));
	ts->health = health_new(o->workers);
	if (!ts->data || !ts->health || !ts->turns)
		return err_nomem(e);
	return 0;
}

int tenants_open(const struct tenants_options *o, struct tenants **ret, struct err *e)
{
	struct tenants *ts = mem_zalloc(1, sizeof(*ts));
	int rc;

	if (!ts)
		return err_nomem(e);
	rc = init(ts, o, e);
	if (rc == 0)
		rc = load(ts, e);
	if (rc == 0)
		rc = settings_override(ts, o->audit_level, e);
	if (rc == 0)
		rc = audit_open(ts->data, &ts->settings, ts->read_only, &ts->audit, e);
	if (rc == 0)
		rc = keeper_start(ts, e);
	if (rc < 0) {
		tenants_close(ts);
		return rc;
	}
	*ret = ts;
	return 0;
}

void tenants_close(struct tenants *ts)
{
	if (!ts)
		return;
	health_end(ts->health);
	keeper_stop(ts); /* until then it purges tenants, whose health is forgotten */
	health_free(ts->health);
	for (size_t i = 0; i < ts->n; i++) {
		struct tenant *t = ts->all[i];

		mutex_lock(&ts->lock);
		tenant_pin_locked(ts, t);
		mutex_unlock(&ts->lock);
		tenant_close_engine(t);
		tenant_free(t);
	}
	mem_free(ts->all);
	map_release(&ts->names);
	map_release(&ts->collections);
	if (ts->db)
		registry_close(ts->db);
	audit_close(ts->audit);
	cond_destroy(&ts->wake);
	mutex_destroy(&ts->lock);
	mutex_destroy(&ts->change);
	cond_destroy(&ts->waiting.changed);
	mutex_destroy(&ts->waiting.lock);
	turns_free(ts->turns);
	mem_free(ts->data);
	mem_free(ts);
}
