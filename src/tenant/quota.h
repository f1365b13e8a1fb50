/*
 * quota.h: the limits of a tenant: their names, tiers and text form.
 *
 * A tier is a named row of values. A tenant has a tier, and a key that was not set for itself
 * follows it, also when the row is changed later.
 */
#ifndef RV_TENANT_QUOTA_H
#define RV_TENANT_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum quota_key {
	QUOTA_MAX_VECTORS,
	QUOTA_MAX_BYTES,
	QUOTA_MAX_COLLECTIONS, /* further ones, the default one not counted */
	QUOTA_MAX_DIMENSION,
	QUOTA_MAX_RESULTS,    /* k of one query */
	QUOTA_MAX_BATCH,      /* vectors of one commit, queries of one exchange */
	QUOTA_MAX_QPS,        /* queries a second */
	QUOTA_MAX_WRITE_RATE, /* vectors a second */
	QUOTA_MAX_CONCURRENT, /* searches at once */
	QUOTA_N,              /* the limits: what refuses, and is counted as rejected_KEY */
	QUOTA_WEIGHT = QUOTA_N, /* share of the cores, against other tenants' */
	QUOTA_RETENTION_S,      /* from pending-deletion to its end */
	QUOTA_ALL,
};

#define QUOTA_UNLIMITED UINT64_MAX
#define TIER_NAME       16 /* bytes, with its 0 */
#define TIERS_MAX       32

struct quota {
	char tier[TIER_NAME];
	uint64_t max[QUOTA_ALL];
	uint64_t own; /* bit k: the value of key k is not the tier's */
};

struct tiers { /* plain data; who shares it locks it */
	unsigned n;
	struct quota tier[TIERS_MAX]; /* own is 0 */
};

const char *quota_key_name(enum quota_key k);
/* A value that key k may have, as far as it was not written by this version. */
bool quota_value_ok(enum quota_key k, uint64_t v);

/* free, pro, unlimited as they are when nobody changed them. */
void tiers_init(struct tiers *ts);
/* NULL: no such tier */
const struct quota *tiers_find(const struct tiers *ts, const char *name);
/* A tier of all defaults under that name, or the one that is there; NULL: the table is full. */
struct quota *tiers_add(struct tiers *ts, const char *name);
bool tier_name_ok(const char *name, size_t n);
/* "free, pro, unlimited" */
void tiers_names(const struct tiers *ts, struct buf *ret);

/* `NAME KEY=VALUE ...` lines. */
void tiers_render(const struct tiers *ts, struct buf *ret);
/*
 * Applies such lines: all or none. A name that is not there is a new tier; keys that are not
 * named keep their values. `NAME default` restores free, pro or unlimited, `NAME remove` takes
 * another one away. -EINVAL, -ERANGE, -EPERM, -ENOSPC: more than TIERS_MAX. -EBUSY when used
 * says so about a tier to be removed.
 */
int tiers_apply(struct tiers *ts, const char *text, size_t n,
                bool (*used)(void *ctx, const char *name), void *ctx, struct err *e);

/* The values of its tier for all keys that it has not for itself. */
void quota_follow(struct quota *q, const struct tiers *ts);
/* Likewise, with every key. */
void quota_of_tier(struct quota *q, const struct tiers *ts, const char *name);

/* `KEY VALUE` lines, `max` for no limit. */
void quota_render(const struct quota *q, struct buf *ret);

/*
 * Applies the lines of one write to *q: all or none. "tier free", single keys, KEY=VALUE, `max`,
 * `default` (of the tier). -EINVAL: unknown key, not a number, `max` where there has to be a
 * number; -ERANGE.
 */
int quota_apply(struct quota *q, const struct tiers *ts, const char *text, size_t n, struct err *e);

#endif
