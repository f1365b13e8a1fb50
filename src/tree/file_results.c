/*
 * file_results.c: the file `results`: the answer to what the caller, or the nearest of its
 * ancestors, asked last.
 */
#include <errno.h>

#include "tree/exchange.h"
#include "tree/file.h"

static int find(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                uint64_t *ret_len, struct err *e)
{
	struct lineage l;
	struct post *p;
	int rc;

	callers_lineage(t->callers, who, &l);
	p = callers_find(t->callers, &l, node_place(n), POST_ANSWER);
	if (!p)
		return err_set(e, -ENODATA,
		               "nothing was asked yet by this process or the ones that started it");
	rc = exchange_answers(t, exchange_of(p), ret, ret_len, e);
	post_unref(p);
	return rc;
}

static int results_render(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                          struct err *e)
{
	uint64_t len;

	return find(t, who, n, ret, &len, e);
}

/* Not reading: who only looks at the size leaves the exchange open for more queries. */
static int results_size(struct tree *t, const struct caller *who, struct node n, uint64_t *ret,
                        struct err *e)
{
	return find(t, who, n, NULL, ret, e);
}

const struct file_ops file_results = {
	.render = results_render,
	.size = results_size,
};
