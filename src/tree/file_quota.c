/*
 * file_quota.c: the limits of a tenant. That only root may write it is the file's owner and
 * mode (file.c).
 */
#include <errno.h>

#include "tree/file.h"

static int render(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                  struct err *e)
{
	struct tenant_info info;

	if (tenants_info(t->tenants, n.number, &info) < 0)
		return err_set(e, -ENODEV, "the tenant was removed");
	quota_render(&info.quota, ret);
	return 0;
}

static int control(struct tree *t, const struct caller *who, struct node n, const char *text,
                   size_t len, struct err *e)
{
	int rc = tenants_set_quota(t->tenants, n.number, text, len, e);

	if (rc == 0)
		tenants_quota_changed(t->tenants, n.number);
	return rc;
}

const struct file_ops file_quota = { .render = render, .control = control };
