/*
 * file_query.c: the file `query`: a handle is a conversation, one exchange after the other.
 *
 * What is written where the last write ended, before anything of the answer was read, belongs
 * to the same exchange: shells and cat cut long writes anywhere. Any other write begins the
 * next one, in the same memory where that can be. The exchange is posted to the writer before
 * its queries run, so that who opens `results` waits for them instead of finding an older
 * answer.
 *
 * read(2) comes with the offset and size that were asked for. sendfile(2), as busybox cat uses
 * it, comes through the page cache in whole pages, and not at all beyond the size that the
 * kernel knows, which a write sets to its own end. So it is told where the answer ends, as long
 * as a descriptor may be of that kind: until its first read that is not of whole pages.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tree/exchange.h"
#include "tree/file.h"
#include "tree/handle.h"

#define PAGE 4096u

/* h->state */
struct asking {
	struct exchange *exchange; /* NULL until the first write */
	bool by_read;              /* it is read by read(2), or not at all */
	struct kept_query lost;    /* of a server before this one, until something else is asked */
};

static int query_open(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	struct asking *a = mem_zalloc(1, sizeof(*a));

	if (!a)
		return err_nomem(e);
	a->by_read = (h->flags & O_ACCMODE) != O_RDWR;
	h->state = a;
	return 0;
}

/* ---- across servers ---- */

static void keep(struct handle *h, const struct kept_query *q)
{
	kept_set_state(h->kept, &(union kept_state){ .query = *q });
}

static void keep_asked(struct handle *h, struct asking *a, uint64_t end)
{
	keep(h, &(struct kept_query){ KEPT_ASKED, exchange_start(a->exchange), end, 0 });
}

static void keep_answered(struct handle *h, struct asking *a)
{
	struct kept_query q = kept_state(h->kept).query;
	bool waits;

	if (q.is == KEPT_ANSWERED)
		return;
	q.is = KEPT_ANSWERED;
	q.reach = exchange_extent(a->exchange, &waits);
	keep(h, &q);
}

static int query_restore(struct tree *t, struct handle *h, struct err *e)
{
	struct asking *a;
	int rc = query_open(t, NULL, h, e);

	if (rc < 0)
		return rc;
	a = h->state;
	a->lost = kept_state(h->kept).query;
	return 0;
}

/* Told once. */
static int lost(struct handle *h, struct asking *a, struct err *e)
{
	a->lost.is = KEPT_NOTHING_ASKED;
	keep(h, &a->lost);
	return err_set(e, -EAGAIN, "the server was restarted, and the answer is lost: ask again");
}

/*
 * What adds to an exchange whose beginning is lost would be answered wrongly. What begins one may
 * have been read by the server that died, and is just run again.
 */
static bool adds_to_lost(const struct kept_query *q, const struct caller *who, uint64_t off,
                         size_t n)
{
	if (q->is != KEPT_ASKED)
		return false;
	if ((who->request & CALLER_AGAIN) && off + n == q->end)
		return off != q->start;
	return off == q->end;
}

/* ---- operations ---- */

static int other_exchange(struct asking *a, struct node n, const struct lineage *l, struct err *e)
{
	struct exchange *ex;
	int rc = exchange_new(n, l, &ex, e);

	if (rc < 0)
		return rc;
	exchange_unref(a->exchange);
	a->exchange = ex;
	return 0;
}

static long query_write(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
                        const void *p, size_t n, struct err *e)
{
	struct asking *a = h->state;
	struct lineage l;
	int rc = EXCHANGE_OTHER;

	if (n == 0)
		return 0;
	if (adds_to_lost(&a->lost, who, off, n))
		return lost(h, a, e);
	a->lost.is = KEPT_NOTHING_ASKED;
	callers_lineage(t->callers, who, &l);
	if (a->exchange)
		rc = exchange_write(t, a->exchange, &l, off, p, n, e);
	if (rc == EXCHANGE_OTHER) {
		rc = other_exchange(a, h->node, &l, e);
		if (rc == 0)
			rc = exchange_write(t, a->exchange, &l, off, p, n, e);
	}
	if (rc < 0)
		return rc;
	keep_asked(h, a, off + n);
	return (long)n;
}

static int query_read(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
                      size_t n, struct buf *ret, struct err *e)
{
	struct asking *a = h->state;
	int rc;

	if (a->lost.is == KEPT_ANSWERED && off >= a->lost.reach)
		return 0;
	if (a->lost.is != KEPT_NOTHING_ASKED)
		return lost(h, a, e);
	if (!a->exchange)
		return err_set(
			e, -ENODATA,
			"nothing was asked on this descriptor yet, answers to others are in results");
	if (off % PAGE || n % PAGE)
		a->by_read = true;
	rc = exchange_read(t, a->exchange, off, n, ret, e);
	if (rc == 0)
		keep_answered(h, a);
	return rc;
}

bool tree_grew(struct tree *t, uint64_t handle, uint64_t *ret_size)
{
	struct handle *h = handles_get(t->handles, handle);
	struct asking *a;
	bool waits = false;

	*ret_size = 0;
	if (!h)
		return false;
	mutex_lock(&h->lock);
	a = h->ops == &file_query ? h->state : NULL;
	if (a && !a->by_read && a->exchange)
		*ret_size = exchange_extent(a->exchange, &waits);
	/*
	 * How long the answer of a tail will be is not known. The first read that ends early
	 * tells the kernel.
	 */
	if (waits)
		*ret_size = (*ret_size + LIMIT_ANSWER_BYTES + PAGE) / PAGE * PAGE;
	mutex_unlock(&h->lock);
	return *ret_size > 0;
}

/* Of the caller's last transcript, for fstat. */
static int query_size(struct tree *t, const struct caller *who, struct node n, uint64_t *ret,
                      struct err *e)
{
	struct lineage l;
	struct post *p;
	bool waits;

	callers_lineage(t->callers, who, &l);
	p = callers_find(t->callers, &l, node_place(n), POST_ANSWER);
	*ret = p ? exchange_extent(exchange_of(p), &waits) : 0;
	post_unref(p);
	return 0;
}

/* `>` empties what has no content of its own. */
static int query_truncate(struct tree *t, const struct caller *who, struct handle *h, uint64_t size,
                          struct err *e)
{
	return size == 0 ? 0 : err_set(e, -EINVAL, "a query has no size to be set");
}

static void query_release(struct tree *t, struct handle *h)
{
	struct asking *a = h->state;

	if (!a)
		return;
	if (a->exchange)
		exchange_end(t, a->exchange);
	mem_free(a);
	h->state = NULL;
}

const struct file_ops file_query = {
	.open = query_open,
	.write = query_write,
	.read = query_read,
	.truncate = query_truncate,
	.release = query_release,
	.restore = query_restore,
	.size = query_size,
};
