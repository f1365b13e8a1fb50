/*
 * settings.h: the parameters of the mount, the file `config` at the top. Durable in the registry;
 * read anywhere at the cost of a load. Any thread.
 */
#ifndef RV_TENANT_SETTINGS_H
#define RV_TENANT_SETTINGS_H

#include <stdatomic.h>

#include "tenant/audit.h"
#include "tenant/tenant.h"

enum setting {
	SETTING_AUDIT_LEVEL,      /* enum audit_level */
	SETTING_AUDIT_RATE,       /* records a second and tenant; UINT64_MAX: no limit */
	SETTING_AUDIT_DATA_RATE,  /* likewise, of data */
	SETTING_AUDIT_FILE_BYTES, /* when the audit is rotated */
	SETTING_AUDIT_FILES,      /* older ones that are kept */
	SETTING_METRICS_TENANTS,  /* that have series of their own */
	SETTING_MEMORY_BYTES,     /* of open tenants that are not in use; UINT64_MAX: no limit */
	SETTING_SLOW_QUERY_US,    /* queries that take as long are told; UINT64_MAX: none */
	SETTING_N,
};

struct settings {
	_Atomic uint64_t v[SETTING_N]; /* relaxed */
};

uint64_t setting_get(const struct tenants *ts, enum setting k);
/* At the opening of the mount: those that were stored, defaults for the others. */
void settings_load(struct tenants *ts);

/* The mount's option; NULL: none. Not stored. -EINVAL. */
int settings_override(struct tenants *ts, const char *audit_level, struct err *e);

/* "admin", "refusals", "data"; also for the mount's option. */
bool audit_level_parse(const char *s, size_t n, enum audit_level *ret);

#endif
