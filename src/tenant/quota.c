/*
 * quota.c: one table of keys, one of tiers.
 *
 * The lines of a write are read twice: first the tier, which sets all limits, then the single
 * keys over it, so that their order does not matter. Nothing of *q changes before all of them
 * were understood.
 */
#include "tenant/quota.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/keyed.h"
#include "base/limits.h"

#define NONE QUOTA_UNLIMITED

static const struct {
	const char *name;
	uint64_t min;
	uint64_t max;
} keys[QUOTA_N] = {
	[QUOTA_MAX_VECTORS] = { "max_vectors", 0, NONE },
	[QUOTA_MAX_BYTES] = { "max_bytes", 0, NONE },
	[QUOTA_MAX_COLLECTIONS] = { "max_collections", 0, LIMIT_COLLECTIONS },
	[QUOTA_MAX_DIMENSION] = { "max_dimension", 1, LIMIT_DIMENSION },
	[QUOTA_MAX_RESULTS] = { "max_results", 1, LIMIT_K },
	[QUOTA_MAX_BATCH] = { "max_batch", 1, NONE },
};

static const struct quota tiers[] = {
	{ "free", { 10000, 100000000, 4, 1536, 100, 100 } },
	{ "pro", { 1000000, 10000000000, 64, 4096, 1000, 1000 } },
	{ "unlimited", { NONE, NONE, NONE, NONE, NONE, NONE } },
};

#define TIER_DEFAULT "unlimited"
#define N_TIERS      (sizeof(tiers) / sizeof(tiers[0]))

static const char *const keys_to_come[] = { "max_qps", "max_write_rate", "max_concurrent", "weight",
	                                    "retention_s" };

const char *quota_key_name(enum quota_key k)
{
	return keys[k].name;
}

bool quota_tier(const char *name, struct quota *ret)
{
	for (size_t i = 0; i < N_TIERS; i++) {
		if (strcmp(tiers[i].tier, name) == 0) {
			*ret = tiers[i];
			return true;
		}
	}
	return false;
}

void quota_render(const struct quota *q, struct buf *ret)
{
	buf_addf(ret, "tier %s\n", q->tier);
	for (int k = 0; k < QUOTA_N; k++) {
		if (q->max[k] == QUOTA_UNLIMITED)
			buf_addf(ret, "%s max\n", keys[k].name);
		else
			buf_addf(ret, "%s %" PRIu64 "\n", keys[k].name, q->max[k]);
	}
}

static int apply_tier(struct quota *q, const struct keyed_line *l, struct err *e)
{
	char name[sizeof(q->tier)] = TIER_DEFAULT;

	if (l->value_len == 0)
		return err_set(e, -EINVAL, "tier: the value is missing");
	if (!keyed_value_is(l, "default")) {
		if (l->value_len >= sizeof(name))
			return err_set(e, -EINVAL, "no such tier, known are free, pro, unlimited");
		memcpy(name, l->value, l->value_len);
		name[l->value_len] = '\0';
	}
	if (!quota_tier(name, q))
		return err_set(e, -EINVAL, "no tier \"%s\", known are free, pro, unlimited", name);
	return 0;
}

static int refuse(const struct keyed_line *l, struct err *e)
{
	for (size_t i = 0; i < sizeof(keys_to_come) / sizeof(keys_to_come[0]); i++)
		if (keyed_key_is(l, keys_to_come[i]))
			return err_set(e, -EINVAL,
			               "%s is not supported yet, a later version has it",
			               keys_to_come[i]);
	return keyed_unknown(l,
	                     "tier, max_vectors, max_bytes, max_collections, max_dimension, "
	                     "max_results, max_batch",
	                     e);
}

static int apply_key(struct quota *q, const struct keyed_line *l, struct err *e)
{
	struct quota tier;

	for (int k = 0; k < QUOTA_N; k++) {
		if (!keyed_key_is(l, keys[k].name))
			continue;
		if (keyed_value_is(l, "max")) {
			q->max[k] = QUOTA_UNLIMITED;
			return 0;
		}
		if (keyed_value_is(l, "default")) {
			if (!quota_tier(q->tier, &tier))
				quota_tier(TIER_DEFAULT, &tier);
			q->max[k] = tier.max[k];
			return 0;
		}
		return keyed_u64(l, keys[k].min, keys[k].max, &q->max[k], e);
	}
	return refuse(l, e);
}

static int apply_lines(struct quota *q, const char *text, size_t n, bool tier, struct err *e)
{
	struct keyed lines;
	struct keyed_line l;
	int rc;

	keyed_init(&lines, text, n);
	while ((rc = keyed_next(&lines, &l, e)) > 0) {
		if (keyed_key_is(&l, "tier") != tier)
			continue;
		rc = tier ? apply_tier(q, &l, e) : apply_key(q, &l, e);
		if (rc < 0)
			return rc;
	}
	return rc;
}

int quota_apply(struct quota *q, const char *text, size_t n, struct err *e)
{
	struct quota to = *q;
	int rc = apply_lines(&to, text, n, true, e);

	if (rc == 0)
		rc = apply_lines(&to, text, n, false, e);
	if (rc == 0)
		*q = to;
	return rc;
}
