/*
 * file_query.c: the file `query`: a handle is a conversation, one exchange after the other.
 *
 * What is written where the last write ended, before anything of the answer was read, belongs to the same exchange: shells and cat
 * cut long writes anywhere. Any other write begins the next one, in the same memory where that can be. The exchange is posted to the
 * writer before its queries run, so that who opens `results` waits for them instead of finding an older answer.
 */
#include <errno.h>

#include "tree/exchange.h"
#include "tree/file.h"

static int next_exchange(struct handle *h, const struct lineage *l, uint64_t off,
			 struct exchange **ret, struct err *e)
{
	struct exchange *ex = h->state;
	int rc = 0;

	if (!ex || !exchange_reuse(ex, l)) {
		rc = exchange_new(node_place(h->node), l, ret, e);
		if (rc < 0)
			return rc;
		exchange_unref(ex);
		h->state = ex = *ret;
	}
	exchange_begin(ex, off);
	*ret = ex;
	return 0;
}

static long query_write(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
			const void *p, size_t n, struct err *e)
{
	struct exchange *ex = h->state;
	struct lineage l;
	int rc = 0;

	if (n == 0)
		return 0;
	callers_lineage(t->callers, who, &l);
	if (!ex || !exchange_goes_on(ex, off))
		rc = next_exchange(h, &l, off, &ex, e);
	if (rc < 0)
		return rc;
	callers_post(t->callers, &l, node_place(h->node), POST_ANSWER, exchange_post(ex));
	rc = exchange_write(t, ex, &l, p, n, e);
	return rc < 0 ? rc : (long)n;
}

static int query_read(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
		      size_t n, struct buf *ret, struct err *e)
{
	if (!h->state)
		return err_set(
			e, -ENODATA,
			"nothing was asked on this descriptor yet, and answers to others are in results");
	return exchange_read(t, h->state, off, n, ret, e);
}

/* `>` empties what has no content of its own. */
static int query_truncate(struct tree *t, const struct caller *who, struct handle *h, uint64_t size,
			  struct err *e)
{
	return size == 0 ? 0 : err_set(e, -EINVAL, "a query has no size to be set");
}

static void query_release(struct tree *t, struct handle *h)
{
	if (h->state)
		exchange_end(t, h->state);
	h->state = NULL;
}

const struct file_ops file_query = {
	.write = query_write,
	.read = query_read,
	.truncate = query_truncate,
	.release = query_release,
};
