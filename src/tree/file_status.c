/*
 * file_status.c: one word for a tenant, and one of its own for each further collection.
 */
#include <errno.h>

#include "base/keyed.h"
#include "tree/file.h"

static int render(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                  struct err *e)
{
	enum tenant_status s;

	if (tenants_status(t->tenants, n.number, &s) < 0)
		return err_set(e, -ENODEV, "the tenant or collection was removed");
	buf_addf(ret, "%s\n", tenant_status_name(s));
	return 0;
}

static int control(struct tree *t, const struct caller *who, struct node n, const char *text,
                   size_t len, struct err *e)
{
	enum tenant_status s;
	const char *word;
	size_t word_len;
	int rc = keyed_word(text, len, &word, &word_len, e);

	if (rc < 0)
		return rc;
	if (!tenant_status_parse(word, word_len, &s))
		return err_set(e, -EINVAL,
		               "status is one of active, readonly, suspended, pending-deletion");
	return tenants_set_status(t->tenants, n.number, s, e);
}

const struct file_ops file_status = { .render = render, .control = control };
