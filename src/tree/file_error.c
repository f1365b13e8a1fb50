/*
 * file_error.c: the file `error`: why the caller's last failing operation at this place failed.
 * Empty when none did.
 */
#include <errno.h>

#include "tree/error_file.h"
#include "tree/exchange.h"

void error_post_lineage(struct tree *t, const struct lineage *l, uint64_t place,
                        const struct err *e)
{
	struct post *p = post_new();

	/* Without memory the sentence is lost, the errno is not. */
	if (!p)
		return;
	p->error = e->code;
	buf_adds(&p->text, e->text);
	if (p->text.len)
		callers_post(t->callers, l, place, POST_ERROR, p);
	post_unref(p);
}

void error_post(struct tree *t, const struct caller *who, struct node n, const struct err *e)
{
	struct lineage l;

	callers_lineage(t->callers, who, &l);
	error_post_lineage(t, &l, node_place(n), e);
}

/*
 * A query without newline has not failed yet when nobody wanted its answer and its handle is
 * not released.
 */
static void settle_query(struct tree *t, const struct lineage *l, uint64_t place)
{
	struct post *p = callers_find(t->callers, l, place, POST_ANSWER);
	struct err e;

	if (!p)
		return;
	exchange_settle(t, exchange_of(p), &e);
	post_unref(p);
}

static int error_render(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                        struct err *e)
{
	struct lineage l;
	struct post *p;

	callers_lineage(t->callers, who, &l);
	settle_query(t, &l, node_place(n));
	p = callers_find(t->callers, &l, node_place(n), POST_ERROR);
	if (!p)
		return 0;
	if (p->text.len) { /* else: what was told before holds no more */
		buf_add(ret, p->text.data, p->text.len);
		buf_addc(ret, '\n');
	}
	post_unref(p);
	return 0;
}

const struct file_ops file_error = {
	.render = error_render,
};
