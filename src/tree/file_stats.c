/*
 * file_stats.c: the figures of a collection, of a tenant (its default collection and what
 * counts for the whole), of the mount.
 */
#include "tree/file.h"

static int render_top(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                      struct err *e)
{
	tenants_stats_render(t->tenants, ret);
	buf_addf(ret, "supervisor_pid %d\nrestarts %u\n", (int)t->options.supervisor,
	         (unsigned)t->options.restarts);
	return 0;
}

static int render(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                  struct err *e)
{
	struct inside in;
	uint32_t tenant;
	int rc = tenant_enter(t->tenants, n.number, TENANT_LOOK, &in, e);

	if (rc < 0)
		return rc;
	if (tenants_of_collection(t->tenants, n.number, &tenant) < 0)
		tenant = 0;
	rc = tenant_stats_render(&in, tenant == n.number, ret, e);
	tenant_leave(&in);
	return rc;
}

const struct file_ops file_top_stats = { .render = render_top };
const struct file_ops file_stats = { .render = render };
