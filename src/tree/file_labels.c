/*
 * file_labels.c: what a tenant wants to have written on it: plan, region, display_name.
 */
#include "tree/file.h"

static int render(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                  struct err *e)
{
	struct inside in;
	int rc = tenant_enter(t->tenants, n.number, TENANT_READ, &in, e);

	if (rc < 0)
		return rc;
	rc = tenant_labels(&in, ret, e);
	tenant_leave(&in);
	return rc;
}

static int control(struct tree *t, const struct caller *who, struct node n, const char *text,
                   size_t len, struct err *e)
{
	struct inside in;
	int rc = tenant_enter(t->tenants, n.number, TENANT_WRITE, &in, e);

	if (rc < 0)
		return rc;
	rc = tenant_set_labels(&in, text, len, e);
	tenant_leave(&in);
	return rc;
}

const struct file_ops file_labels = { .render = render, .control = control };
