/*
 * tenants.c: the tenants in memory, found by name and by number.
 *
 * Everything here is a map or a sorted array; no engine opens. Lock order: see tenant_impl.h.
 */
#include "tenant/events.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"

static const char *const status_names[] = {
	[TENANT_ACTIVE] = "active",
	[TENANT_READONLY] = "readonly",
	[TENANT_SUSPENDED] = "suspended",
	[TENANT_PENDING_DELETION] = "pending-deletion",
};

#define N_STATUS (sizeof(status_names) / sizeof(status_names[0]))

/* A word of a later version: nothing may be done until somebody says what is meant. */
enum tenant_status status_of_number(uint64_t v)
{
	return v < N_STATUS ? (enum tenant_status)v : TENANT_SUSPENDED;
}

const char *tenant_status_name(enum tenant_status s)
{
	return status_names[s];
}

bool tenant_status_parse(const char *s, size_t n, enum tenant_status *ret)
{
	for (size_t i = 0; i < N_STATUS; i++) {
		if (strlen(status_names[i]) == n && memcmp(status_names[i], s, n) == 0) {
			*ret = (enum tenant_status)i;
			return true;
		}
	}
	return false;
}

static bool is_name_char(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

int tenant_name_check(const char *name, struct err *e)
{
	size_t n = strlen(name);

	if (n == 0)
		return err_set(e, -EINVAL, "the name is empty");
	if (n > LIMIT_NAME)
		return err_set(e, -ENAMETOOLONG, "name of %zu bytes, limit %d", n, LIMIT_NAME);
	if (name[0] == '.')
		return err_set(e, -EINVAL, "a name does not start with a dot");
	for (size_t i = 0; i < n; i++)
		if (!is_name_char(name[i]))
			return err_set(e, -EINVAL,
			               "byte %zu of the name is not one of A-Z a-z 0-9 . _ -",
			               i + 1);
	return 0;
}

/* ---- maps ---- */

static bool collection_is(const void *ctx, uint64_t value)
{
	return ((const struct collection *)(uintptr_t)value)->cid == *(const uint32_t *)ctx;
}

struct collection *collection_find_locked(struct tenants *ts, uint32_t cid)
{
	uint64_t v;

	if (!map_find(&ts->collections, map_hash_u64(cid), collection_is, &cid, &v))
		return NULL;
	return (struct collection *)(uintptr_t)v;
}

struct tenant *tenant_find_locked(struct tenants *ts, uint32_t number)
{
	struct collection *c = collection_find_locked(ts, number);

	return c && c == &c->tenant->own ? c->tenant : NULL;
}

/* The index of the first tenant with a number > after. */
static size_t position_locked(const struct tenants *ts, uint32_t after)
{
	size_t lo = 0;
	size_t hi = ts->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (ts->all[mid]->number > after)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

struct tenant *tenant_after_locked(struct tenants *ts, uint32_t after)
{
	size_t i = position_locked(ts, after);

	return i < ts->n ? ts->all[i] : NULL;
}

static bool name_is(const void *ctx, uint64_t value)
{
	return strcmp(((const struct tenant *)(uintptr_t)value)->name, ctx) == 0;
}

static uint64_t name_hash(const char *name)
{
	return map_hash_bytes(name, strlen(name));
}

static struct tenant *by_name_locked(const struct tenants *ts, const char *name)
{
	uint64_t v;

	return map_find(&ts->names, name_hash(name), name_is, name, &v)
	               ? (struct tenant *)(uintptr_t)v
	               : NULL;
}

static bool tenant_is(const void *ctx, uint64_t value)
{
	return (uintptr_t)value == (uintptr_t)ctx;
}

int tenant_claim_name_locked(struct tenants *ts, struct tenant *t, const char *name, struct err *e)
{
	if (by_name_locked(ts, name))
		return err_set(e, -EEXIST, "the name \"%s\" is taken", name);
	return map_add(&ts->names, name_hash(name), (uintptr_t)t) < 0 ? err_nomem(e) : 0;
}

void tenant_take_name_locked(struct tenants *ts, struct tenant *t, const char *name)
{
	map_remove(&ts->names, name_hash(t->name), name_is, t->name);
	memset(t->name, 0, sizeof(t->name));
	memcpy(t->name, name, strlen(name));
}

void tenant_unclaim_name_locked(struct tenants *ts, struct tenant *t, const char *name)
{
	map_remove(&ts->names, name_hash(name), tenant_is, t);
}

static int grow_locked(struct tenants *ts)
{
	size_t cap = ts->cap ? ts->cap * 2 : 64;
	struct tenant **all;

	if (ts->n < ts->cap)
		return 0;
	all = mem_resize(ts->all, cap, sizeof(struct tenant *));
	if (!all)
		return -ENOMEM;
	ts->all = all;
	ts->cap = cap;
	return 0;
}

int tenant_insert_locked(struct tenants *ts, struct tenant *t, struct err *e)
{
	size_t i = position_locked(ts, t->number);

	if (grow_locked(ts) < 0)
		return err_nomem(e);
	if (map_add(&ts->names, name_hash(t->name), (uintptr_t)t) < 0)
		return err_nomem(e);
	if (map_add(&ts->collections, map_hash_u64(t->number), (uintptr_t)&t->own) < 0) {
		map_remove(&ts->names, name_hash(t->name), name_is, t->name);
		return err_nomem(e);
	}
	memmove(&ts->all[i + 1], &ts->all[i], (ts->n - i) * sizeof(struct tenant *));
	ts->all[i] = t;
	ts->n++;
	return 0;
}

static void unmap_locked(struct tenants *ts, struct collection *c)
{
	map_remove(&ts->collections, map_hash_u64(c->cid), collection_is, &c->cid);
	c->removed = true;
}

void tenant_forget_locked(struct tenants *ts, struct tenant *t)
{
	size_t i = position_locked(ts, t->number - 1);

	map_remove(&ts->names, name_hash(t->name), name_is, t->name);
	for (struct collection *c = &t->own; c; c = c->next)
		if (!c->removed)
			unmap_locked(ts, c);
	memmove(&ts->all[i], &ts->all[i + 1], (ts->n - i - 1) * sizeof(struct tenant *));
	ts->n--;
	t->removed = true;
	event_gone(t);
}

int collection_add_locked(struct tenants *ts, struct tenant *t, uint32_t cid,
                          enum tenant_status status, struct err *e)
{
	struct collection *c = mem_zalloc(1, sizeof(*c));

	if (!c)
		return err_nomem(e);
	c->cid = cid;
	c->tenant = t;
	c->status = status;
	if (map_add(&t->ts->collections, map_hash_u64(cid), (uintptr_t)c) < 0) {
		mem_free(c);
		return err_nomem(e);
	}
	c->next = t->own.next;
	t->own.next = c;
	t->n_collections++;
	return 0;
}

void collection_drop_locked(struct tenants *ts, struct collection *c)
{
	unmap_locked(c->tenant->ts, c);
	c->tenant->n_collections--;
}

/* ---- one tenant ---- */

bool tenant_store_path(const struct tenant *t, char *ret, size_t cap, const char *file)
{
	int n = snprintf(ret, cap, "%s/stores/%" PRIu32 "%s%s", t->ts->data, t->number,
	                 *file ? "/" : "", file);

	return n > 0 && (size_t)n < cap;
}

bool tenant_store_exists(const struct tenant *t)
{
	char path[4096];

	return tenant_store_path(t, path, sizeof(path), "") && access(path, F_OK) == 0;
}

int tenant_mark_removed(const struct tenant *t, bool removed, struct err *e)
{
	char path[4096];
	int n = snprintf(path, sizeof(path), "%s/stores/%" PRIu32 REMOVED_SUFFIX, t->ts->data,
	                 t->number);
	int fd, rc;

	if (n < 0 || (size_t)n >= sizeof(path))
		return 0;
	if (!removed) {
		unlink(path);
		return 0;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return 0;
	close(fd);
	rc = io_sync_parent(path);
	return rc < 0 ? err_set(e, rc, "syncing the removal: %s", strerror(-rc)) : 0;
}

/* A registry of before a key was there, or with a value that this version does not take. */
static void limits_from_registry(struct quota *q, const struct tiers *tiers,
                                 const struct registry_tenant *rt)
{
	quota_of_tier(q, tiers, rt->tier);
	q->own = rt->own_limits & ((1ull << QUOTA_ALL) - 1);
	for (int k = 0; k < QUOTA_ALL; k++) {
		if (!(q->own >> k & 1))
			continue;
		if (quota_value_ok((enum quota_key)k, rt->limits[k]))
			q->max[k] = rt->limits[k];
		else
			q->own &= ~(1ull << k);
	}
}

struct tenant *tenant_new(struct tenants *ts, const struct registry_tenant *rt)
{
	struct tenant *t = mem_zalloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->ts = ts;
	t->number = rt->number;
	t->is_shared = rt->name[0] == '.';
	t->created_ns = rt->created_ns;
	t->own.cid = rt->number;
	t->own.tenant = t;
	memcpy(t->name, rt->name, sizeof(t->name));
	t->name[LIMIT_NAME] = '\0';
	t->owner = rt->owner;
	t->status = status_of_number(rt->status);
	limits_from_registry(&t->quota, &ts->tiers, rt);
	t->pending = pending_of_registry(rt->pending_ns);
	usage_init(&t->usage, (uint32_t)t->quota.max[QUOTA_WEIGHT]);
	flow_init(&t->searches, ts->turns, &t->usage);
	flow_init(&t->index, ts->turns, &t->usage);
	mutex_init(&t->door);
	rwlock_init(&t->gate);
	mutex_init(&t->quota_lock);
	mutex_init(&t->watch.totals_lock);
	mutex_init(&t->watch.events_lock);
	return t;
}

void tenant_free(struct tenant *t)
{
	struct collection *c;
	struct collection *next;

	if (!t)
		return;
	activity_release(&t->own.activity);
	for (c = t->own.next; c; c = next) {
		next = c->next;
		activity_release(&c->activity);
		mem_free(c);
	}
	events_release(t);
	mutex_destroy(&t->watch.events_lock);
	mutex_destroy(&t->watch.totals_lock);
	mutex_destroy(&t->quota_lock);
	rwlock_destroy(&t->gate);
	mutex_destroy(&t->door);
	mem_free(t);
}

/* A bucket's level means nothing under another rate. */
void tenant_take_quota_locked(struct tenants *ts, struct tenant *t, const struct quota *q)
{
	if (q->max[QUOTA_MAX_QPS] != t->quota.max[QUOTA_MAX_QPS])
		rate_reset(&t->queries);
	if (q->max[QUOTA_MAX_WRITE_RATE] != t->quota.max[QUOTA_MAX_WRITE_RATE])
		rate_reset(&t->vectors);
	usage_set_weight(&t->usage, (uint32_t)q->max[QUOTA_WEIGHT]);
	t->quota = *q;
}

void quota_to_registry(const struct quota *q, struct registry_tenant *ret)
{
	memcpy(ret->tier, q->tier, sizeof(ret->tier));
	for (int i = 0; i < REGISTRY_N_LIMITS; i++)
		ret->limits[i] = i < QUOTA_ALL ? q->max[i] : QUOTA_UNLIMITED;
	ret->own_limits = q->own;
}

void tenant_to_registry_locked(const struct tenant *t, struct registry_tenant *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->number = t->number;
	memcpy(ret->name, t->name, sizeof(ret->name));
	ret->owner = t->owner;
	ret->created_ns = t->created_ns;
	ret->status = t->status;
	quota_to_registry(&t->quota, ret);
	ret->pending_ns = pending_to_registry(t);
}

/* ---- looking ---- */

void tenant_info_locked(const struct tenant *t, struct tenant_info *ret)
{
	ret->number = t->number;
	memcpy(ret->name, t->name, sizeof(ret->name));
	ret->owner = t->owner;
	ret->created_ns = t->created_ns;
	ret->status = t->status;
	ret->quota = t->quota;
	ret->pending_left_s = t->status == TENANT_PENDING_DELETION
	                              ? pending_left_ns(t, clock_mono_ns()) / 1000000000u
	                              : 0;
}

int tenants_find(struct tenants *ts, const char *name, uint32_t *ret_number)
{
	struct tenant *t;

	mutex_lock(&ts->lock);
	t = by_name_locked(ts, name);
	if (t && tenant_is_shared(t))
		t = NULL;
	if (t)
		*ret_number = t->number;
	mutex_unlock(&ts->lock);
	return t ? 0 : -ENOENT;
}

uint32_t tenants_shared(struct tenants *ts)
{
	struct tenant *t;
	uint32_t number;

	mutex_lock(&ts->lock);
	t = by_name_locked(ts, SHARED_NAME);
	number = t ? t->number : 0;
	mutex_unlock(&ts->lock);
	return number;
}

int tenants_next(struct tenants *ts, uint32_t after, struct tenant_info *ret)
{
	struct tenant *t;

	mutex_lock(&ts->lock);
	t = tenant_after_locked(ts, after);
	if (t && tenant_is_shared(t))
		t = tenant_after_locked(ts, t->number);
	if (t)
		tenant_info_locked(t, ret);
	mutex_unlock(&ts->lock);
	return t ? 0 : -ENOENT;
}

int tenants_info(struct tenants *ts, uint32_t number, struct tenant_info *ret)
{
	struct tenant *t;

	mutex_lock(&ts->lock);
	t = tenant_find_locked(ts, number);
	if (t)
		tenant_info_locked(t, ret);
	mutex_unlock(&ts->lock);
	return t ? 0 : -ENODEV;
}

int tenants_status(struct tenants *ts, uint32_t number, enum tenant_status *ret)
{
	struct collection *c;

	mutex_lock(&ts->lock);
	c = collection_find_locked(ts, number);
	if (c)
		*ret = c == &c->tenant->own ? c->tenant->status : c->status;
	mutex_unlock(&ts->lock);
	return c ? 0 : -ENODEV;
}

int tenants_of_collection(struct tenants *ts, uint32_t cid, uint32_t *ret_number)
{
	struct collection *c;

	mutex_lock(&ts->lock);
	c = collection_find_locked(ts, cid);
	if (c)
		*ret_number = c->tenant->number;
	mutex_unlock(&ts->lock);
	return c ? 0 : -ENODEV;
}

void tenants_dir_owner(struct tenants *ts, struct owner *ret)
{
	mutex_lock(&ts->lock);
	*ret = ts->dir_owner;
	mutex_unlock(&ts->lock);
}
