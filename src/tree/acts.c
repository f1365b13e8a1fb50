/*
 * acts.c: what is told to the audit (tenant/audit.h): administrative acts where they are done,
 * refusals where they are posted, data by what the calling thread counted.
 *
 * Nothing that a tenant's owner has written gets into the audit but the tenant's name: erasing a
 * tenant leaves no more of it than that. So a text that was written is told for files that root
 * writes, and a further collection by its number.
 */
#include <errno.h>
#include <string.h>

#include "tenant/counters.h"
#include "tree/file.h"

#define PREFIX "tree_" /* of the functions that are operations */

static const char *operation_name(const char *function)
{
	size_t n = strlen(PREFIX);

	return strncmp(function, PREFIX, n) == 0 ? function + n : function;
}

static const char *file_name(enum node_kind k)
{
	switch (k) {
	case NODE_RECEIPT:
		return file_kind(NODE_INGEST)->name;
	case NODE_VECTOR:
		return file_kind(NODE_VECTORS)->name;
	case NODE_AUDIT_OLD:
		return file_kind(NODE_AUDIT)->name;
	case NODE_ALL_QUERY:
		return "all/query";
	case NODE_VIEW_QUERY:
		return "shared/query";
	default:
		return file_kind(k)->name;
	}
}

static bool is_makers(enum node_kind k)
{
	return k == NODE_TENANTS || k == NODE_COLLECTIONS || k == NODE_SHARED;
}

/* Files by which something is administered. */
static bool is_control(enum node_kind k)
{
	const struct file_kind *f = file_kind(k);

	return f->ops && f->ops->control != NULL;
}

static bool is_roots(enum node_kind k)
{
	const struct file_kind *f = file_kind(k);

	return f->roots || (f->scope & (SCOPE_TOP | SCOPE_ALL));
}

static bool is_refusal(int rc)
{
	switch (rc) {
	case -EDQUOT:
	case -EAGAIN:
	case -EROFS:
	case -EACCES:
	case -EPERM:
	case -E2BIG:
	case -ERANGE:
		return true;
	default:
		return false;
	}
}

/* An administrative operation that failed. */
static bool is_act(const char *operation, enum node_kind k)
{
	if (strcmp(operation, "write") == 0)
		return is_control(k);
	return is_makers(k) &&
	       (strcmp(operation, "mkdir") == 0 || strcmp(operation, "rmdir") == 0 ||
	        strcmp(operation, "rename") == 0);
}

/* info holds the tenant's name for the record. */
static void fill(struct tree *t, const struct caller *who, struct node n, struct tenant_info *info,
                 struct audit_record *r)
{
	struct lineage l;

	callers_lineage(t->callers, who, &l);
	r->uid = who->uid;
	r->pid = l.pid[0];
	if (!r->file)
		r->file = file_name(n.kind);
	if (n.number == 0 || tenants_of_collection(t->tenants, n.number, &r->number) < 0 ||
	    tenants_info(t->tenants, r->number, info) < 0)
		return;
	r->tenant = info->name;
	r->collection = n.number == r->number ? 0 : n.number;
}

void acts_failed(struct tree *t, const struct caller *who, struct node n, const char *function,
                 int rc, const struct err *e)
{
	struct audit *a = tenants_audit(t->tenants);
	struct audit_record r = { .class = AUDIT_REFUSALS, .code = rc };
	struct tenant_info info;

	r.operation = operation_name(function);
	if (is_act(r.operation, n.kind))
		r.class = AUDIT_ADMIN;
	else if (!is_refusal(rc))
		return;
	if (!audit_wants(a, r.class))
		return;
	/* other sentences quote what the owner wrote */
	if (is_refusal(rc) || is_roots(n.kind))
		r.reason = e->text;
	fill(t, who, n, &info, &r);
	audit_write(a, &r);
}

void acts_done(struct tree *t, const struct caller *who, const struct act *act)
{
	struct audit *a = tenants_audit(t->tenants);
	struct audit_record r = { .class = AUDIT_ADMIN, .operation = act->operation };
	struct tenant_info info;

	if (!audit_wants(a, AUDIT_ADMIN))
		return;
	if (is_roots(act->node.kind) || act->is_name) {
		r.text = act->text;
		r.text_len = act->text_len;
	}
	fill(t, who, act->node, &info, &r);
	if (act->tenant)
		r.tenant = act->tenant;
	audit_write(a, &r);
}

void acts_wrote(struct tree *t, const struct caller *who, struct node n, const char *text,
                size_t len)
{
	struct act act = { "write", n, NULL, text, len, false };

	acts_done(t, who, &act);
}

void acts_begin(void)
{
	struct work forgotten;

	work_take(&forgotten);
}

static void told(struct tree *t, const struct caller *who, struct node n, const char *operation,
                 uint64_t count)
{
	struct audit_record r = { .class = AUDIT_DATA, .operation = operation, .count = count };
	struct tenant_info info;

	if (count == 0)
		return;
	fill(t, who, n, &info, &r);
	audit_write(tenants_audit(t->tenants), &r);
}

void acts_data(struct tree *t, const struct caller *who, struct node n)
{
	struct work w;

	if (!audit_wants(tenants_audit(t->tenants), AUDIT_DATA))
		return;
	work_take(&w);
	told(t, who, n, "insert", w.n[COUNT_INSERTS]);
	told(t, who, n, "delete", w.n[COUNT_DELETES]);
}

void acts_searched(struct tree *t, const struct lineage *l, struct node n, uint64_t count)
{
	struct audit *a = tenants_audit(t->tenants);
	struct audit_record r = { .class = AUDIT_DATA, .operation = "search", .count = count };
	struct tenant_info info;

	if (count == 0 || !audit_wants(a, AUDIT_DATA))
		return;
	r.uid = l->uid;
	r.pid = l->pid[0];
	r.file = file_name(n.kind);
	if (n.number && tenants_of_collection(t->tenants, n.number, &r.number) == 0 &&
	    tenants_info(t->tenants, r.number, &info) == 0) {
		r.tenant = info.name;
		r.collection = n.number == r.number ? 0 : n.number;
	}
	audit_write(a, &r);
}
