/*
 * file_mount.c: what is root's at the top: config, the parameters of the mount,
 * metrics/ruvectorfs.prom, and all/tenants.
 */
#include "tree/file.h"

static int render_config(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                         struct err *e)
{
	tenants_config_render(t->tenants, ret);
	return 0;
}

static int set_config(struct tree *t, const struct caller *who, struct node n, const char *text,
                      size_t len, struct err *e)
{
	return tenants_set_config(t->tenants, text, len, e);
}

static int render_metrics(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                          struct err *e)
{
	return tenants_metrics_render(t->tenants, ret, e);
}

static int render_tenants(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                          struct err *e)
{
	return tenants_list(t->tenants, ret, e);
}

const struct file_ops file_top_config = { .render = render_config, .control = set_config };
const struct file_ops file_metrics = { .render = render_metrics };
const struct file_ops file_all_tenants = { .render = render_tenants };
