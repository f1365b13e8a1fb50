/*
 * file.c: the one table of files: name, where it is, mode, whose it is, what it needs of the
 * tenant's status, what it does.
 *
 * Modes are given for every class; attr.c takes away what the directory above does not give (so
 * `chmod 750 tenants/ID` lets a group read and ask). The index is enum node_kind.
 */
#include <string.h>

#include "tree/file.h"

#define DIR_MODE (S_IFDIR | 0777)
#define RO       (S_IFREG | 0444)
#define RW       (S_IFREG | 0666)
#define IN_BOTH  (SCOPE_TENANT | SCOPE_COLLECTION)

static const struct file_kind kinds[NODE_N_KINDS] = {
	[NODE_ROOT] = { .mode = S_IFDIR | 0755 },
	[NODE_TOP_README] = { "README", SCOPE_TOP, RO, .ops = &file_readme },
	[NODE_TOP_VERSION] = { "version", SCOPE_TOP, RO, .ops = &file_version },
	[NODE_TOP_STATS] = { "stats", SCOPE_TOP, S_IFREG | 0600, .ops = &file_top_stats },
	[NODE_TOP_ERROR] = { "error", SCOPE_TOP, RO, .per_caller = true, .ops = &file_error },
	[NODE_TOP_TIERS] = { "tiers", SCOPE_TOP, S_IFREG | 0644, .ops = &file_tiers },
	[NODE_TOP_CONFIG] = { "config", SCOPE_TOP, S_IFREG | 0600, .ops = &file_top_config },
	[NODE_METRICS] = { "metrics", SCOPE_TOP, DIR_MODE },
	[NODE_METRICS_PROM] = { "ruvectorfs.prom", SCOPE_METRICS, S_IFREG | 0644,
	                        .ops = &file_metrics },
	[NODE_AUDIT] = { "audit", SCOPE_TOP, S_IFREG | 0600, .ops = &file_audit },
	[NODE_AUDIT_OLD] = { .mode = S_IFREG | 0600, .ops = &file_audit },
	[NODE_TENANTS] = { "tenants", SCOPE_TOP, DIR_MODE },
	[NODE_TENANT] = { .mode = DIR_MODE },
	[NODE_COLLECTIONS] = { "collections", SCOPE_TENANT, DIR_MODE, .access_read = TENANT_READ,
	                       .access_write = TENANT_WRITE },
	[NODE_COLLECTION] = { .mode = DIR_MODE },
	[NODE_INGEST] = { "ingest", IN_BOTH, DIR_MODE, .access_read = TENANT_READ,
	                  .access_write = TENANT_WRITE },
	[NODE_RECEIPT] = { .mode = RW,
	                   .access_read = TENANT_READ,
	                   .access_write = TENANT_WRITE,
	                   .ops = &file_ingest },
	[NODE_VECTORS] = { "vectors", IN_BOTH, DIR_MODE, .access_read = TENANT_READ,
	                   .access_write = TENANT_WRITE },
	[NODE_VECTOR] = { .mode = RW,
	                  .access_read = TENANT_READ,
	                  .access_write = TENANT_WRITE,
	                  .ops = &file_vector },
	[NODE_DELETE] = { "delete", IN_BOTH, RW, .per_caller = true, .access_read = TENANT_READ,
	                  .access_write = TENANT_WRITE, .ops = &file_delete },
	[NODE_QUERY] = { "query", IN_BOTH, RW, .per_caller = true, .access_read = TENANT_READ,
	                 .access_write = TENANT_READ, .ops = &file_query },
	[NODE_RESULTS] = { "results", IN_BOTH, RO, .per_caller = true, .access_read = TENANT_READ,
	                   .access_write = TENANT_READ, .ops = &file_results },
	[NODE_ERROR] = { "error", IN_BOTH, RO, .per_caller = true, .access_read = TENANT_HEAR,
	                 .access_write = TENANT_HEAR, .ops = &file_error },
	[NODE_CONFIG] = { "config", IN_BOTH, RW, .access_read = TENANT_READ,
	                  .access_write = TENANT_WRITE, .ops = &file_config },
	[NODE_STATS] = { "stats", IN_BOTH, RO, .ops = &file_stats },
	[NODE_INTEGRITY] = { "integrity", IN_BOTH, RW, .access_read = TENANT_READ,
	                     .access_write = TENANT_READ, .ops = &file_integrity },
	[NODE_QUOTA] = { "quota", SCOPE_TENANT, S_IFREG | 0644, .roots = true,
	                 .access_read = TENANT_ADMIN, .access_write = TENANT_ADMIN,
	                 .ops = &file_quota },
	[NODE_STATUS] = { "status", IN_BOTH, S_IFREG | 0644, .roots = true,
	                  .access_read = TENANT_ADMIN, .access_write = TENANT_ADMIN,
	                  .ops = &file_status },
	[NODE_EVENTS] = { "events", SCOPE_TENANT, RO, .access_read = TENANT_ADMIN,
	                  .access_write = TENANT_ADMIN, .ops = &file_events },
	[NODE_ALL] = { "all", SCOPE_TOP, S_IFDIR | 0700 },
	[NODE_ALL_QUERY] = { "query", SCOPE_ALL, S_IFREG | 0600, .per_caller = true,
	                     .ops = &file_query },
	[NODE_ALL_RESULTS] = { "results", SCOPE_ALL, S_IFREG | 0400, .per_caller = true,
	                       .ops = &file_results },
	[NODE_ALL_ERROR] = { "error", SCOPE_ALL, S_IFREG | 0400, .per_caller = true,
	                     .ops = &file_error },
	[NODE_ALL_STATS] = { "stats", SCOPE_ALL, S_IFREG | 0400, .ops = &file_top_stats },
	[NODE_ALL_TENANTS] = { "tenants", SCOPE_ALL, S_IFREG | 0400, .ops = &file_all_tenants },
	[NODE_SHARED] = { "shared", SCOPE_TOP, S_IFDIR | 0755 },
	[NODE_VIEWS] = { "shared", SCOPE_TENANT, S_IFDIR | 0555, .access_read = TENANT_READ,
	                 .access_write = TENANT_READ },
	[NODE_VIEW] = { .mode = S_IFDIR | 0555,
	                .access_read = TENANT_READ,
	                .access_write = TENANT_READ },
	[NODE_VIEW_QUERY] = { "query", SCOPE_VIEW, RW, .per_caller = true,
	                      .access_read = TENANT_READ, .access_write = TENANT_READ,
	                      .ops = &file_query },
	[NODE_VIEW_RESULTS] = { "results", SCOPE_VIEW, RO, .per_caller = true,
	                        .access_read = TENANT_READ, .access_write = TENANT_READ,
	                        .ops = &file_results },
	[NODE_VIEW_ERROR] = { "error", SCOPE_VIEW, RO, .per_caller = true,
	                      .access_read = TENANT_HEAR, .access_write = TENANT_HEAR,
	                      .ops = &file_error },
	[NODE_LABELS] = { "labels", SCOPE_TENANT, RW, .access_read = TENANT_READ,
	                  .access_write = TENANT_WRITE, .ops = &file_labels },
	[NODE_EXPORT_JSONL] = { "export.jsonl", IN_BOTH, RO, .access_read = TENANT_READ,
	                        .access_write = TENANT_READ, .ops = &file_export },
	[NODE_EXPORT_FVECS] = { "export.fvecs", IN_BOTH, RO, .access_read = TENANT_READ,
	                        .access_write = TENANT_READ, .ops = &file_export },
	[NODE_EXPORT_NPY] = { "export.npy", IN_BOTH, RO, .access_read = TENANT_READ,
	                      .access_write = TENANT_READ, .ops = &file_export },
};

const struct file_kind *file_kind(enum node_kind k)
{
	return &kinds[k];
}

enum node_kind file_kind_by_name(int scope, const char *name)
{
	for (int k = 0; k < NODE_N_KINDS; k++)
		if ((kinds[k].scope & (unsigned)scope) && strcmp(kinds[k].name, name) == 0)
			return (enum node_kind)k;
	return NODE_N_KINDS;
}
