/*
 * settings.c: one table of keys; a setting "config.KEY" of the registry for each that was changed.
 *
 * Lock order: ts->change, as every change of the registry.
 */
#include "tenant/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/keyed.h"
#include "tenant/tenant_impl.h"

#define NO_LIMIT UINT64_MAX

static const struct {
	const char *name;
	uint64_t standard, min, max;
	bool may_be_max;
} keys[SETTING_N] = {
	[SETTING_AUDIT_LEVEL] = { "audit_level", AUDIT_REFUSALS, 0, AUDIT_DATA, false },
	[SETTING_AUDIT_RATE] = { "audit_rate", 10, 1, 1000000, true },
	[SETTING_AUDIT_DATA_RATE] = { "audit_data_rate", NO_LIMIT, 1, 1000000, true },
	[SETTING_AUDIT_FILE_BYTES] = { "audit_file_bytes", 16 << 20, 4096, 1ull << 40, false },
	[SETTING_AUDIT_FILES] = { "audit_files", 8, 0, AUDIT_FILES_MAX, false },
	[SETTING_METRICS_TENANTS] = { "metrics_tenants", 1000, 0, 100000, false },
	[SETTING_MEMORY_BYTES] = { "memory_bytes", NO_LIMIT, 0, 1ull << 62, true },
	[SETTING_SLOW_QUERY_US] = { "slow_query_us", NO_LIMIT, 0, SLOW_QUERY_US_MAX, true },
};

#define KNOWN                                                                                        \
	"audit_level, audit_rate, audit_data_rate, audit_file_bytes, audit_files, metrics_tenants, " \
	"memory_bytes, slow_query_us"

static const char *const levels[] = {
	[AUDIT_ADMIN] = "admin",
	[AUDIT_REFUSALS] = "refusals",
	[AUDIT_DATA] = "data",
};
#define N_LEVELS (sizeof(levels) / sizeof(levels[0]))

bool audit_level_parse(const char *s, size_t n, enum audit_level *ret)
{
	for (size_t i = 0; i < N_LEVELS; i++) {
		if (strlen(levels[i]) == n && memcmp(levels[i], s, n) == 0) {
			*ret = (enum audit_level)i;
			return true;
		}
	}
	return false;
}

uint64_t setting_get(const struct tenants *ts, enum setting k)
{
	return atomic_load_explicit(&ts->settings.v[k], memory_order_relaxed);
}

static void setting_put(struct settings *s, enum setting k, uint64_t v)
{
	atomic_store_explicit(&s->v[k], v, memory_order_relaxed);
}

static void registry_name(enum setting k, char ret[48])
{
	snprintf(ret, 48, "config.%s", keys[k].name);
}

static bool in_range(enum setting k, uint64_t v)
{
	return (v >= keys[k].min && v <= keys[k].max) || (keys[k].may_be_max && v == NO_LIMIT);
}

static void load_metrics_owner(struct tenants *ts)
{
	struct owner *o = &ts->metrics_owner;
	uint64_t v;

	*o = (struct owner){ geteuid(), getegid(), 0700 };
	if (registry_setting_get(ts->db, "metrics.uid", &v, NULL) == 0)
		o->uid = (uid_t)v;
	if (registry_setting_get(ts->db, "metrics.gid", &v, NULL) == 0)
		o->gid = (gid_t)v;
	if (registry_setting_get(ts->db, "metrics.mode", &v, NULL) == 0)
		o->mode = (mode_t)v & 07777;
}

void settings_load(struct tenants *ts)
{
	char name[48];
	uint64_t v;

	for (int k = 0; k < SETTING_N; k++) {
		setting_put(&ts->settings, (enum setting)k, keys[k].standard);
		registry_name((enum setting)k, name);
		if (registry_setting_get(ts->db, name, &v, NULL) == 0 &&
		    in_range((enum setting)k, v))
			setting_put(&ts->settings, (enum setting)k, v);
	}
	load_metrics_owner(ts);
}

int settings_override(struct tenants *ts, const char *audit_level, struct err *e)
{
	enum audit_level level;

	if (!audit_level)
		return 0;
	if (!audit_level_parse(audit_level, strlen(audit_level), &level))
		return err_set(e, -EINVAL, "audit_level is one of admin, refusals, data");
	setting_put(&ts->settings, SETTING_AUDIT_LEVEL, level);
	return 0;
}

struct audit *tenants_audit(struct tenants *ts)
{
	return ts->audit;
}

/* ---- the file ---- */

void tenants_config_render(struct tenants *ts, struct buf *ret)
{
	for (int k = 0; k < SETTING_N; k++) {
		uint64_t v = setting_get(ts, (enum setting)k);

		if (k == SETTING_AUDIT_LEVEL)
			buf_addf(ret, "%s %s\n", keys[k].name, levels[v]);
		else if (v == NO_LIMIT)
			buf_addf(ret, "%s max\n", keys[k].name);
		else
			buf_addf(ret, "%s %" PRIu64 "\n", keys[k].name, v);
	}
}

static int parse_value(enum setting k, const struct keyed_line *l, uint64_t *ret, struct err *e)
{
	enum audit_level level;

	if (keyed_value_is(l, "default")) {
		*ret = keys[k].standard;
		return 0;
	}
	if (keys[k].may_be_max && keyed_value_is(l, "max")) {
		*ret = NO_LIMIT;
		return 0;
	}
	if (k != SETTING_AUDIT_LEVEL)
		return keyed_u64(l, keys[k].min, keys[k].max, ret, e);
	if (!audit_level_parse(l->value, l->value_len, &level))
		return err_set(e, -EINVAL, "audit_level is one of admin, refusals, data");
	*ret = level;
	return 0;
}

static int parse_line(const struct keyed_line *l, uint64_t v[SETTING_N], struct err *e)
{
	for (int k = 0; k < SETTING_N; k++)
		if (keyed_key_is(l, keys[k].name))
			return parse_value((enum setting)k, l, &v[k], e);
	return keyed_unknown(l, KNOWN, e);
}

/* What fails in the middle is taken back as far as the disk allows. */
static int store(struct tenants *ts, const uint64_t v[SETTING_N], struct err *e)
{
	char name[48];
	int k;
	int rc = 0;

	for (k = 0; rc == 0 && k < SETTING_N; k++) {
		registry_name((enum setting)k, name);
		if (v[k] != setting_get(ts, (enum setting)k))
			rc = registry_setting_set(ts->db, name, v[k], e);
	}
	if (rc == 0)
		return 0;
	while (k-- > 0) {
		registry_name((enum setting)k, name);
		if (v[k] != setting_get(ts, (enum setting)k))
			registry_setting_set(ts->db, name, setting_get(ts, (enum setting)k), NULL);
	}
	return rc;
}

int tenants_set_config(struct tenants *ts, const char *text, size_t n, struct err *e)
{
	uint64_t v[SETTING_N];
	struct keyed_line l;
	struct keyed lines;
	int rc;

	if (ts->read_only)
		return err_set(e, -EROFS, "the filesystem is mounted read-only");
	mutex_lock(&ts->change);
	for (int k = 0; k < SETTING_N; k++)
		v[k] = setting_get(ts, (enum setting)k);
	keyed_init(&lines, text, n);
	while ((rc = keyed_next(&lines, &l, e)) > 0) {
		rc = parse_line(&l, v, e);
		if (rc < 0)
			break;
	}
	if (rc == 0)
		rc = store(ts, v, e);
	for (int k = 0; rc == 0 && k < SETTING_N; k++)
		setting_put(&ts->settings, (enum setting)k, v[k]);
	mutex_unlock(&ts->change);
	mutex_lock(&ts->lock);
	ts->memory_look_ns = 0;
	cond_signal(&ts->wake);
	mutex_unlock(&ts->lock);
	return rc;
}

/* ---- metrics/ ---- */

void tenants_metrics_owner(struct tenants *ts, struct owner *ret)
{
	mutex_lock(&ts->lock);
	*ret = ts->metrics_owner;
	mutex_unlock(&ts->lock);
}

int tenants_set_metrics_owner(struct tenants *ts, const struct owner *o, struct err *e)
{
	int rc;

	if (ts->read_only)
		return err_set(e, -EROFS, "the filesystem is mounted read-only");
	mutex_lock(&ts->change);
	rc = registry_setting_set(ts->db, "metrics.uid", o->uid, e);
	if (rc == 0)
		rc = registry_setting_set(ts->db, "metrics.gid", o->gid, e);
	if (rc == 0)
		rc = registry_setting_set(ts->db, "metrics.mode", o->mode & 07777, e);
	if (rc == 0) {
		mutex_lock(&ts->lock);
		ts->metrics_owner = *o;
		mutex_unlock(&ts->lock);
	}
	mutex_unlock(&ts->change);
	return rc;
}
