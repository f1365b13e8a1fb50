/*
 * registry_db.h: DATA/registry.db: which tenants there are, their numbers, owners, status and
 * limits; and mount-wide settings. Nothing a batch must agree with. Every change is durable
 * when the call returns. Any thread.
 */
#ifndef RV_STORE_REGISTRY_DB_H
#define RV_STORE_REGISTRY_DB_H

#include "base/err.h"
#include "store/types.h"

struct registry_db;

#define REGISTRY_N_LIMITS 14

struct registry_tenant {
	/* names DATA/stores/NUMBER and is the cid of its default collection; never reused */
	uint32_t number;
	char name[LIMIT_NAME + 1];
	struct owner owner;
	uint64_t created_ns;
	uint32_t status; /* tenant/ knows the words */
	char tier[16];
	uint64_t limits[REGISTRY_N_LIMITS]; /* by tenant/'s index; UINT64_MAX: none */
	uint64_t pending_ns; /* wall clock: since when it is to go; UINT64_MAX: not */
	uint64_t own_limits; /* bit k: limits[k] is not its tier's */
};

int registry_open(const char *path, bool read_only, struct registry_db **ret, struct err *e);
void registry_close(struct registry_db *r);

/* sets number; -EEXIST */
int registry_tenant_add(struct registry_db *r, struct registry_tenant *t, struct err *e);
/* by number */
int registry_tenant_update(struct registry_db *r, const struct registry_tenant *t, struct err *e);
/*
 * With its numbers and their settings ("WORD.NUMBER"). What was removed is in no page of the
 * file and in no WAL any more when it returns, as far as the disk obeys.
 */
int registry_tenant_remove(struct registry_db *r, uint32_t number, struct err *e);
/*
 * The tenant with the smallest number > after, or -ENOENT. -EIO: its entry is damaged;
 * ret->number is set, so one can go on behind. -EILSEQ: the table is damaged, nobody can.
 */
int registry_tenant_next(struct registry_db *r, uint32_t after, struct registry_tenant *ret,
                         struct err *e);

/*
 * A number for a further collection of the tenant: never used before for a tenant or a
 * collection.
 */
int registry_collection_number(struct registry_db *r, uint32_t tenant, uint32_t *ret,
                               struct err *e);
/* Which tenant a number belongs to (a tenant's own number: itself). -ENOENT. */
int registry_number_tenant(struct registry_db *r, uint32_t number, uint32_t *ret_tenant,
                           struct err *e);
/*
 * Iterates all (collection number, tenant) pairs with number > after, without the tenants' own
 * numbers; -ENOENT: end.
 */
int registry_collection_next(struct registry_db *r, uint32_t after, uint32_t *ret_number,
                             uint32_t *ret_tenant, struct err *e);
/* with its settings */
int registry_collection_forget(struct registry_db *r, uint32_t number, struct err *e);

/* Small settings by name, e.g. the mode and owner of tenants/. */
/* -ENOENT */
int registry_setting_get(struct registry_db *r, const char *name, uint64_t *ret, struct err *e);
int registry_setting_set(struct registry_db *r, const char *name, uint64_t value, struct err *e);

struct registry_setting {
	char name[LIMIT_NAME + 1];
	uint64_t value;
};
/* All settings whose names begin with prefix become these n, in one step. */
int registry_settings_replace(struct registry_db *r, const char *prefix,
                              const struct registry_setting *s, size_t n, struct err *e);
/* In order of their names; after "": the first. -ENOENT: end, -EIO: damaged. */
int registry_setting_next(struct registry_db *r, const char *prefix, const char *after,
                          struct registry_setting *ret, struct err *e);
/* ---- verification ---- */
struct registry_report {
	uint64_t tenants;
	uint64_t errors;
	char first[240]; /* the first one, as a sentence that names no tenant; "" when clean */
};
/*
 * Reads the file anew, beside changes: pages, rows against their checksums, all of them against the
 * sum, and whether commits were lost.
 */
int registry_verify(struct registry_db *r, struct registry_report *ret, struct err *e);

#endif
