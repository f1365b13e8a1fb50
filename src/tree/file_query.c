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

static int other_exchange(struct handle *h, const struct lineage *l, struct err *e)
{
	struct exchange *ex;
	int rc = exchange_new(node_place(h->node), l, &ex, e);

	if (rc < 0)
		return rc;
	exchange_unref(h->state);
	h->state = ex;
	return 0;
}

static long query_write(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
                        const void *p, size_t n, struct err *e)
{
	struct lineage l;
	int rc = EXCHANGE_OTHER;

	if (n == 0)
		return 0;
	callers_lineage(t->callers, who, &l);
	if (h->state)
		rc = exchange_write(t, h->state, &l, off, p, n, e);
	if (rc == EXCHANGE_OTHER) {
		rc = other_exchange(h, &l, e);
		if (rc == 0)
			rc = exchange_write(t, h->state, &l, off, p, n, e);
	}
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
