/*
 * quota.c: one table of keys; the text of quota and of tiers.
 *
 * The lines of a write to quota are read twice: first the tier, which sets all values, then the
 * single keys over it, so that their order does not matter. Nothing changes before all of them
 * were understood. A key that is given its tier's value follows the tier again, so that what
 * was read can be written back without nailing it down.
 */
#include "tenant/quota.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/keyed.h"
#include "base/limits.h"

#define NONE          QUOTA_UNLIMITED
#define VALUE_MAX     ((uint64_t)1 << 63)
#define WEIGHT        100
#define WEIGHT_MAX    10000
#define RETENTION     (30 * 86400)
#define RETENTION_MAX (10 * 365 * 86400)

static const struct key {
	const char *name;
	uint64_t min;
	uint64_t max;
	bool may_be_max;
} keys[QUOTA_ALL] = {
	[QUOTA_MAX_VECTORS] = { "max_vectors", 0, VALUE_MAX, true },
	[QUOTA_MAX_BYTES] = { "max_bytes", 0, VALUE_MAX, true },
	[QUOTA_MAX_COLLECTIONS] = { "max_collections", 0, LIMIT_COLLECTIONS, true },
	[QUOTA_MAX_DIMENSION] = { "max_dimension", 1, LIMIT_DIMENSION, true },
	[QUOTA_MAX_RESULTS] = { "max_results", 1, LIMIT_K, true },
	[QUOTA_MAX_BATCH] = { "max_batch", 1, VALUE_MAX, true },
	[QUOTA_MAX_QPS] = { "max_qps", 0, LIMIT_RATE, true },
	[QUOTA_MAX_WRITE_RATE] = { "max_write_rate", 0, LIMIT_RATE, true },
	[QUOTA_MAX_CONCURRENT] = { "max_concurrent", 0, LIMIT_CONCURRENT, true },
	[QUOTA_WEIGHT] = { "weight", 1, WEIGHT_MAX, false },
	[QUOTA_RETENTION_S] = { "retention_s", 0, RETENTION_MAX, false },
};

#define KNOWN                                                                                      \
	"tier, max_vectors, max_bytes, max_collections, max_dimension, max_results, max_batch, "   \
	"max_qps, max_write_rate, max_concurrent, weight, retention_s"

/* In the order of the keys. */
static const struct quota builtin[] = {
	{ "free", { 10000, 100000000, 4, 1536, 100, 100, 10, 1000, 2, WEIGHT, RETENTION }, 0 },
	{ "pro",
	  { 1000000, 10000000000, 64, 4096, 1000, 1000, 100, 100000, 20, WEIGHT, RETENTION },
	  0 },
	{ "unlimited",
	  { NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, WEIGHT, RETENTION },
	  0 },
};

#define TIER_DEFAULT "unlimited"
#define N_BUILTIN    (sizeof(builtin) / sizeof(builtin[0]))

const char *quota_key_name(enum quota_key k)
{
	return keys[k].name;
}

bool quota_value_ok(enum quota_key k, uint64_t v)
{
	return v == QUOTA_UNLIMITED ? keys[k].may_be_max : v >= keys[k].min && v <= keys[k].max;
}

/* QUOTA_ALL: no such key */
static enum quota_key find_key(const struct keyed_line *l)
{
	int k = 0;

	while (k < QUOTA_ALL && !keyed_key_is(l, keys[k].name))
		k++;
	return (enum quota_key)k;
}

static int read_value(enum quota_key k, const struct keyed_line *l, uint64_t *ret, struct err *e)
{
	if (!keyed_value_is(l, "max"))
		return keyed_u64(l, keys[k].min, keys[k].max, ret, e);
	if (!keys[k].may_be_max)
		return err_set(e, -EINVAL, "%s has to be a number, %" PRIu64 " to %" PRIu64,
		               keys[k].name, keys[k].min, keys[k].max);
	*ret = QUOTA_UNLIMITED;
	return 0;
}

static void render_value(uint64_t v, struct buf *ret)
{
	if (v == QUOTA_UNLIMITED)
		buf_adds(ret, "max");
	else
		buf_addf(ret, "%" PRIu64, v);
}

/* ---- tiers ---- */

void tiers_init(struct tiers *ts)
{
	memset(ts, 0, sizeof(*ts));
	memcpy(ts->tier, builtin, sizeof(builtin));
	ts->n = N_BUILTIN;
}

static const struct quota *find_builtin(const char *name)
{
	for (size_t i = 0; i < N_BUILTIN; i++)
		if (strcmp(builtin[i].tier, name) == 0)
			return &builtin[i];
	return NULL;
}

const struct quota *tiers_find(const struct tiers *ts, const char *name)
{
	for (unsigned i = 0; i < ts->n; i++)
		if (strcmp(ts->tier[i].tier, name) == 0)
			return &ts->tier[i];
	return NULL;
}

struct quota *tiers_add(struct tiers *ts, const char *name)
{
	struct quota *there = (struct quota *)(uintptr_t)tiers_find(ts, name);

	if (there || ts->n == TIERS_MAX)
		return there;
	there = &ts->tier[ts->n++];
	*there = *find_builtin(TIER_DEFAULT);
	memset(there->tier, 0, sizeof(there->tier));
	memcpy(there->tier, name, strlen(name));
	return there;
}

bool tier_name_ok(const char *name, size_t n)
{
	if (n == 0 || n >= TIER_NAME)
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = name[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '_' || c == '-'))
			return false;
	}
	return true;
}

void tiers_names(const struct tiers *ts, struct buf *ret)
{
	for (unsigned i = 0; i < ts->n; i++)
		buf_addf(ret, "%s%s", i ? ", " : "", ts->tier[i].tier);
}

void tiers_render(const struct tiers *ts, struct buf *ret)
{
	for (unsigned i = 0; i < ts->n; i++) {
		buf_adds(ret, ts->tier[i].tier);
		for (int k = 0; k < QUOTA_ALL; k++) {
			buf_addf(ret, " %s=", keys[k].name);
			render_value(ts->tier[i].max[k], ret);
		}
		buf_addc(ret, '\n');
	}
}

static int restore_tier(struct quota *tier, struct err *e)
{
	const struct quota *b = find_builtin(tier->tier);

	if (!b)
		return err_set(e, -EINVAL, "tier %s has no default, it was added here", tier->tier);
	*tier = *b;
	return 0;
}

static int remove_tier(struct tiers *ts, const char *name,
                       bool (*used)(void *ctx, const char *name), void *ctx, struct err *e)
{
	const struct quota *t = tiers_find(ts, name);
	unsigned i;

	if (!t)
		return err_set(e, -EINVAL, "no tier \"%s\" to be removed", name);
	if (find_builtin(name))
		return err_set(e, -EPERM, "tier %s is always there", name);
	if (used && used(ctx, name))
		return err_set(e, -EBUSY, "tier %s is used by tenants", name);
	i = (unsigned)(t - ts->tier);
	memmove(&ts->tier[i], &ts->tier[i + 1], (ts->n - i - 1) * sizeof(*t));
	ts->n--;
	return 0;
}

/* One KEY=VALUE of a line; word has no blanks. */
static int set_in_tier(struct quota *tier, const char *word, size_t n, struct err *e)
{
	struct keyed k;
	struct keyed_line l;
	enum quota_key key;
	int rc;

	keyed_init(&k, word, n);
	rc = keyed_next(&k, &l, e);
	if (rc <= 0)
		return rc;
	key = find_key(&l);
	if (key == QUOTA_ALL)
		return keyed_unknown(&l, &KNOWN[sizeof("tier, ") - 1], e);
	return read_value(key, &l, &tier->max[key], e);
}

static int set_tier(struct quota *tier, const char *p, size_t n, struct err *e)
{
	const char *end = p + n;
	int rc = 0;

	while (p < end && rc == 0) {
		const char *word = p;

		while (p < end && *p != ' ' && *p != '\t')
			p++;
		rc = set_in_tier(tier, word, (size_t)(p - word), e);
		while (p < end && (*p == ' ' || *p == '\t'))
			p++;
	}
	return rc;
}

static int apply_tier_line(struct tiers *ts, const struct keyed_line *l,
                           bool (*used)(void *ctx, const char *name), void *ctx, struct err *e)
{
	char name[TIER_NAME] = "";
	struct quota *tier;

	if (!tier_name_ok(l->key, l->key_len))
		return err_set(e, -EINVAL, "a tier's name is 1 to %d of A-Z a-z 0-9 _ -",
		               TIER_NAME - 1);
	memcpy(name, l->key, l->key_len);
	if (l->value_len == 0)
		return err_set(e, -EINVAL, "%s: KEY=VALUE, default or remove is missing", name);
	if (keyed_value_is(l, "remove"))
		return remove_tier(ts, name, used, ctx, e);
	tier = tiers_add(ts, name);
	if (!tier)
		return err_set(e, -ENOSPC, "%d tiers, which is the limit", TIERS_MAX);
	if (keyed_value_is(l, "default"))
		return restore_tier(tier, e);
	return set_tier(tier, l->value, l->value_len, e);
}

int tiers_apply(struct tiers *ts, const char *text, size_t n,
                bool (*used)(void *ctx, const char *name), void *ctx, struct err *e)
{
	struct tiers to = *ts;
	struct keyed lines;
	struct keyed_line l;
	int rc;

	keyed_init(&lines, text, n);
	while ((rc = keyed_next(&lines, &l, e)) > 0) {
		rc = apply_tier_line(&to, &l, used, ctx, e);
		if (rc < 0)
			return rc;
	}
	if (rc == 0)
		*ts = to;
	return rc;
}

/* ---- quota ---- */

static const struct quota *tier_of(const struct quota *q, const struct tiers *ts)
{
	const struct quota *tier = tiers_find(ts, q->tier);

	return tier ? tier : find_builtin(TIER_DEFAULT);
}

void quota_follow(struct quota *q, const struct tiers *ts)
{
	const struct quota *tier = tier_of(q, ts);

	for (int k = 0; k < QUOTA_ALL; k++)
		if (!(q->own >> k & 1))
			q->max[k] = tier->max[k];
}

void quota_of_tier(struct quota *q, const struct tiers *ts, const char *name)
{
	const struct quota *tier = tiers_find(ts, name);

	*q = tier ? *tier : *find_builtin(TIER_DEFAULT);
}

void quota_render(const struct quota *q, struct buf *ret)
{
	buf_addf(ret, "tier %s\n", q->tier);
	for (int k = 0; k < QUOTA_ALL; k++) {
		buf_addf(ret, "%s ", keys[k].name);
		render_value(q->max[k], ret);
		buf_addc(ret, '\n');
	}
}

static int no_tier(const struct tiers *ts, struct err *e)
{
	struct buf names BUF_AUTO = BUF_INIT;

	tiers_names(ts, &names);
	return err_set(e, -EINVAL, "no tier of that name, known are %s",
	               buf_failed(&names) ? "free, pro, unlimited" : names.data);
}

static int apply_tier(struct quota *q, const struct tiers *ts, const struct keyed_line *l,
                      struct err *e)
{
	char name[TIER_NAME] = TIER_DEFAULT;

	if (l->value_len == 0)
		return err_set(e, -EINVAL, "tier: the value is missing");
	if (!keyed_value_is(l, "default")) {
		if (l->value_len >= sizeof(name))
			return no_tier(ts, e);
		memcpy(name, l->value, l->value_len);
		name[l->value_len] = '\0';
	}
	if (!tiers_find(ts, name))
		return no_tier(ts, e);
	quota_of_tier(q, ts, name);
	return 0;
}

static int apply_key(struct quota *q, const struct tiers *ts, const struct keyed_line *l,
                     struct err *e)
{
	enum quota_key k = find_key(l);
	uint64_t follows;
	uint64_t v;
	int rc;

	if (k == QUOTA_ALL)
		return keyed_unknown(l, KNOWN, e);
	follows = tier_of(q, ts)->max[k];
	v = follows;
	rc = keyed_value_is(l, "default") ? 0 : read_value(k, l, &v, e);
	if (rc < 0)
		return rc;
	q->max[k] = v;
	q->own = (q->own & ~(1ull << k)) | (uint64_t)(v != follows) << k;
	return 0;
}

static int apply_lines(struct quota *q, const struct tiers *ts, const char *text, size_t n,
                       bool tier, struct err *e)
{
	struct keyed lines;
	struct keyed_line l;
	int rc;

	keyed_init(&lines, text, n);
	while ((rc = keyed_next(&lines, &l, e)) > 0) {
		if (keyed_key_is(&l, "tier") != tier)
			continue;
		rc = tier ? apply_tier(q, ts, &l, e) : apply_key(q, ts, &l, e);
		if (rc < 0)
			return rc;
	}
	return rc;
}

int quota_apply(struct quota *q, const struct tiers *ts, const char *text, size_t n, struct err *e)
{
	struct quota to = *q;
	int rc = apply_lines(&to, ts, text, n, true, e);

	if (rc == 0)
		rc = apply_lines(&to, ts, text, n, false, e);
	if (rc == 0)
		*q = to;
	return rc;
}
