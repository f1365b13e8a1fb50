/*
 * backup.h: DATA as one tar stream that restores it, from a mount that goes on or from none.
 *
 * Each tenant is as it was at one moment after the call began. No tenant or collection is removed
 * while a mount is backed up (-EBUSY). docs/FORMAT.md has the members.
 */
#ifndef RV_TENANT_BACKUP_H
#define RV_TENANT_BACKUP_H

#include "tenant/tenant.h"

/* Names of the first and the last member, and what the first one begins with. */
#define BACKUP_FIRST      "BACKUP"
#define BACKUP_FIRST_LINE "ruvectorfs backup 1\n"
#define BACKUP_LAST       "CHECKSUMS"

struct backup_sink {
	int (*write)(void *ctx, const void *p, size_t n, struct err *e);
	void *ctx;
};

/* data: locked by the caller, and not in use. */
int backup_data(const char *data, const struct backup_sink *sink, struct err *e);
int tenants_backup(struct tenants *ts, const struct backup_sink *sink, struct err *e);
void backup_sweep(const char *data); /* what one left that was killed; data is locked */

/*
 * The other way: a stream that read gives (0: its end) into data, which is locked and has nothing
 * in it. -EILSEQ: damaged or incomplete, and nothing of it is left.
 */
struct backup_source {
	long (*read)(void *ctx, void *p, size_t n, struct err *e);
	void *ctx;
};
int backup_restore(const char *data, const struct backup_source *source, struct err *e);

#endif
