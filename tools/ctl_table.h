/*
 * ctl_table.h: the figures of a mount or of one tenant, read from its files, and shown as a table.
 * For ruvectorctl status and top.
 */
#ifndef RV_TOOLS_CTL_TABLE_H
#define RV_TOOLS_CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"

#define TABLE_NO_LIMIT UINT64_MAX
#define TABLE_NEAR     0.9 /* of a limit, from which on a tenant is near it */

enum ctl_count { TABLE_QUERIES, TABLE_INSERTS, TABLE_DELETES, TABLE_ERRORS, TABLE_COUNTS };

/* A tenant of a mount, or a collection of a tenant. */
struct ctl_row {
	char name[2 * LIMIT_NAME + 2];
	char status[24]; /* "" for a collection */
	char integrity[16];
	uint64_t vectors, max_vectors;
	uint64_t bytes, max_bytes;
	double utilization; /* of the fullest limit; 1 is full */
	uint64_t total[TABLE_COUNTS];
	double per_s[TABLE_COUNTS]; /* over the last minute, or since the table before */
	uint64_t p99_us;            /* over the last minute; 0: no query */
	uint64_t last_access_s;
};

struct ctl_table {
	bool of_tenant;   /* its rows are collections */
	bool partial;     /* collections/ cannot be listed: the tenant is suspended */
	char title[4096]; /* the directory */
	uint64_t uptime_s;
	uint64_t restarts;
	struct ctl_row sum; /* all rows; of_tenant: with the tenant's limits and status */
	uint64_t near_quota;  /* rows at 0.9 of a limit or above */
	struct ctl_row *rows;
	size_t n;
	uint64_t read_ns; /* when (monotonic) */
};

/*
 * Reads dir: a mount point, or the directory of a tenant. -EACCES: a mount's figures are root's.
 * -ENOENT: neither.
 */
int ctl_table_read(const char *dir, struct ctl_table *ret, struct err *e);
void ctl_table_release(struct ctl_table *t);

/* Rates of t's rows from what was counted since before. */
void ctl_table_rates(struct ctl_table *t, const struct ctl_table *before);

/* "name", "vectors", "bytes", "full", "queries", "inserts", "errors", "last", a letter is enough. */
enum ctl_order {
	BY_NAME,
	BY_VECTORS,
	BY_BYTES,
	BY_FULL,
	BY_QUERIES,
	BY_INSERTS,
	BY_ERRORS,
	BY_LAST,
	TABLE_ORDERS
};
bool ctl_order_parse(const char *word, enum ctl_order *ret);
const char *ctl_order_name(enum ctl_order o);
void ctl_table_sort(struct ctl_table *t, enum ctl_order o);

/*
 * columns: of the terminal, 0: no limit. max_rows: beyond, a line says how many are left. With
 * colours: rows near a limit, at it, or damaged.
 */
struct ctl_look {
	unsigned columns;
	size_t max_rows;
	bool colours;
};
void ctl_table_show(const struct ctl_table *t, const struct ctl_look *look, struct buf *ret);

#endif
