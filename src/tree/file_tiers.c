/*
 * file_tiers.c: tiers at the top: a line a tier. Everybody may read what is on offer, root may
 * change it.
 */
#include "tree/file.h"

static int render(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                  struct err *e)
{
	tenants_tiers(t->tenants, ret);
	return 0;
}

static int control(struct tree *t, const struct caller *who, struct node n, const char *text,
                   size_t len, struct err *e)
{
	return tenants_set_tiers(t->tenants, text, len, e);
}

const struct file_ops file_tiers = { .render = render, .control = control };
