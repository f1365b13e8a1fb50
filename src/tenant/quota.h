/*
 * quota.h: the limits of a tenant: their names, tiers and text form.
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
	QUOTA_MAX_RESULTS, /* k of one query */
	QUOTA_MAX_BATCH,   /* vectors of one commit, queries of one exchange */
	QUOTA_N,
};

#define QUOTA_UNLIMITED UINT64_MAX

struct quota {
	char tier[16]; /* "free", "pro", "unlimited"; single keys may override it */
	uint64_t max[QUOTA_N];
};

const char *quota_key_name(enum quota_key k);
bool quota_tier(const char *name, struct quota *ret); /* false: no such tier */

/* `KEY VALUE` lines, `max` for no limit. */
void quota_render(const struct quota *q, struct buf *ret);

/*
 * Applies the lines of one write to *q: all or none. "tier free", single keys, KEY=VALUE, `max`,
 * `default` (of the tier). -EINVAL: unknown key, not a number, or a key of a later version (named);
 * -ERANGE.
 */
int quota_apply(struct quota *q, const char *text, size_t n, struct err *e);

#endif
