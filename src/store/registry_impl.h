/*
 * registry_impl.h: what registry_db.c and registry_check.c share.
 *
 * The check: a sum over all rows and a count of transactions, kept as settings of their own and
 * changed in each transaction, and a witness (witness.h) beside the database.
 */
#ifndef RV_STORE_REGISTRY_IMPL_H
#define RV_STORE_REGISTRY_IMPL_H

#include "base/lock.h"
#include "store/registry_db.h"
#include "store/sql.h"
#include "store/witness.h"

#define NUMBER_MAX (((uint32_t)1 << 26) - 1)

#define I(x) ((int64_t)(x)) /* an integer for sql_run */

struct registry_check {
	uint64_t sum;     /* over tenants, numbers and settings, of 64 bits, with overflow */
	uint64_t changes; /* transactions */
	uint64_t lost; /* of these, that the witness knew and the database did not, at some open */
};

struct registry_db {
	char *path; /* const after open, as the next one */
	bool read_only;
	struct mutex lock;
	struct sql db;                 /* lock */
	int witness_fd;                /* lock; -1: none */
	bool witness_damaged;          /* const after open */
	bool relaxed;                  /* lock; synchronous is not FULL */
	bool unsettled;                /* lock; what the WAL had at the open may not be on the disk */
	struct registry_check now;     /* lock; what is committed */
	struct registry_check pending; /* lock; in the transaction under way */
};

/* ---- registry_check.c ---- */
int registry_check_open(struct registry_db *r, struct err *e);
/* Of the witness of the registry in path. */
void registry_witness_path(const char *path, char *ret, size_t cap);
/* In each transaction, last: what pending says. */
int registry_check_save(struct registry_db *r, struct err *e);
void registry_check_committed(struct registry_db *r);
/* What a tenant's row and its numbers add to the sum. */
int registry_sum_of_tenant(struct sql *db, uint32_t tenant, uint64_t *ret, struct err *e);
uint64_t registry_sum_of_setting(const char *name, uint32_t crc);

/* ---- registry_db.c ---- */
bool registry_decode_tenant(sqlite3_stmt *st, struct registry_tenant *ret);
uint32_t registry_setting_crc(const char *name, uint64_t value);
/* With the number that it has; without the check. */
int registry_tenant_insert(struct sql *db, const struct registry_tenant *t, struct err *e);
/* Inside a transaction. */
int registry_setting_put(struct registry_db *r, const char *name, uint64_t value, struct err *e);

#endif
