/*
 * file_delete.c: delete: lines of IDs that are removed as one batch; `*` alone empties the
 * collection.
 *
 * The commit rules are those of ingest/: at the end of a write that ends with a newline and leaves
 * exactly one line waiting, and at every flush. IDs that do not exist are ignored, so that a list
 * can be sent again. What waits is forgotten when the writer is ended by a signal, or when a line
 * is refused. A tail that a flush has taken is kept, because its line may go on: then the whole
 * line is an ID, too.
 */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "tree/ingest.h"

#define PENDING_MAX (64u << 20) /* bytes of one batch of IDs */

struct deletion {
	struct buf lines;  /* what waits, the last line perhaps incomplete */
	size_t n_lines;    /* complete ones */
	size_t line_start; /* of the incomplete last one */
	bool taken;        /* which is all there is, and was taken by a flush */
	bool closed;       /* by a restart: what a line goes on from is lost */
	struct err failed;
};

static int delete_open(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	h->state = mem_zalloc(1, sizeof(struct deletion));
	return h->state ? 0 : err_nomem(e);
}

static void forget(struct deletion *d)
{
	buf_release(&d->lines);
	d->n_lines = d->line_start = 0;
	d->taken = false;
}

/* All of it was committed; the incomplete last line may go on. */
static void forget_lines(struct deletion *d)
{
	d->lines.len -= d->line_start;
	memmove(d->lines.data, d->lines.data + d->line_start, d->lines.len);
	d->n_lines = d->line_start = 0;
	d->taken = d->lines.len > 0;
}

static size_t chomp(const char *s, size_t n)
{
	return n > 0 && s[n - 1] == '\r' ? n - 1 : n;
}

/* Counts the lines that are complete by now and checks them. */
static int take_lines(struct deletion *d, struct err *e)
{
	for (;;) {
		const char *s = d->lines.data + d->line_start;
		size_t n = d->lines.len - d->line_start;
		const char *end = memchr(s, '\n', n);
		size_t len = end ? chomp(s, (size_t)(end - s)) : n;
		int rc = 0;

		if (len > LIMIT_ID)
			return err_set(e, -EINVAL, "line %zu: an ID has at most %d bytes",
			               d->n_lines + 1, LIMIT_ID);
		if (!end)
			return 0;
		if (len > 0)
			rc = vector_id_check(s, len, e);
		if (rc < 0)
			return err_prefix(e, "line %zu", d->n_lines + 1);
		d->line_start += (size_t)(end - s) + 1;
		d->n_lines++;
	}
}

/* Fills refs with the IDs of the lines, returns their count. */
static size_t split(const struct deletion *d, struct id_ref *refs)
{
	const char *s = d->lines.data, *end = s + d->lines.len;
	size_t n = 0;

	while (s < end) {
		const char *nl = memchr(s, '\n', (size_t)(end - s));
		size_t len = chomp(s, (size_t)((nl ? nl : end) - s));

		if (len > 0)
			refs[n++] = (struct id_ref){ s, len };
		s = nl ? nl + 1 : end;
	}
	return n;
}

static int remove_refs(struct tree *t, uint32_t cid, const struct id_ref *refs, size_t n,
                       struct err *e)
{
	uint64_t n_removed;
	struct inside in;
	int rc = tenant_enter(t->tenants, cid, TENANT_WRITE, &in, e);

	if (rc < 0)
		return rc;
	if (n == 1 && refs[0].len == 1 && refs[0].id[0] == '*')
		rc = tenant_remove_all(&in, &n_removed, e);
	else if (n > 0)
		rc = tenant_remove(&in, refs, n, &n_removed, e);
	tenant_leave(&in);
	return rc;
}

static int commit(struct tree *t, struct handle *h, struct deletion *d, struct err *e)
{
	struct id_ref *refs MEM_AUTO = NULL;
	int rc;

	if (d->lines.len == 0)
		return 0;
	refs = mem_alloc(d->n_lines + 1, sizeof(*refs));
	rc = refs ? remove_refs(t, h->node.number, refs, split(d, refs), e) : err_nomem(e);
	forget_lines(d);
	return rc;
}

static int fail(struct deletion *d, int rc, struct err *e)
{
	if (rc < 0) {
		d->failed = *e;
		d->failed.code = rc;
		forget(d);
	}
	return rc;
}

static int refuse_failed(const struct deletion *d, struct err *e)
{
	if (e)
		*e = d->failed;
	return d->failed.code;
}

/* ---- across servers: what waits is kept, and a removal may be done twice ---- */

static void keep(struct tree *t, struct handle *h, const struct caller *who, const void *p,
                 size_t n)
{
	struct deletion *d = h->state;
	struct kept_stream s = kept_state(h->kept).stream;

	s.failed = d->failed.code;
	s.pos += n;
	if (n)
		s.taken = who->request & ~CALLER_AGAIN;
	if (d->lines.len == 0 || d->taken) {
		s.clean_pos = s.pos;
		s.goes_on = d->lines.len == 0; /* or a tail was taken, whose line may go on */
	}
	kept_set_stream(t->kept, h->index, &s, p, n);
}

static int lost(struct deletion *d, struct err *e)
{
	err_set(&d->failed, -EAGAIN,
	        "the server was restarted, and what was not removed yet is lost: write it again");
	return refuse_failed(d, e);
}

static int delete_begin(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	int rc = delete_open(t, who, h, e);

	if (rc == 0)
		keep(t, h, who, NULL, 0);
	return rc;
}

static int delete_restore(struct tree *t, struct handle *h, struct err *e)
{
	struct kept_stream s = kept_state(h->kept).stream;
	int rc = delete_open(t, NULL, h, e);
	struct deletion *d = h->state;

	if (rc < 0)
		return rc;
	d->closed = !s.goes_on;
	if (s.failed)
		err_set(&d->failed, s.failed, "it was refused before the server was restarted");
	else if (s.pos == s.clean_pos)
		return 0;
	else if (d->closed || kept_get_pending(t->kept, h->index, &d->lines, NULL) < 0)
		lost(d, NULL);
	else
		take_lines(d, NULL);
	return 0;
}

/* ---- operations ---- */

static long take_write(struct handle *h, struct tree *t, const void *p, size_t n, struct err *e)
{
	struct deletion *d = h->state;
	int rc;

	if (d->failed.code)
		return refuse_failed(d, e);
	if (n > PENDING_MAX - d->lines.len)
		return fail(
			d,
			err_set(e, -E2BIG, "more than %u bytes of IDs in one batch", PENDING_MAX),
			e);
	buf_add(&d->lines, p, n);
	d->taken = false;
	rc = buf_failed(&d->lines) ? err_nomem(e) : take_lines(d, e);
	if (rc == 0 && d->n_lines == 1 && d->line_start == d->lines.len)
		rc = commit(t, h, d, e);
	return rc < 0 ? fail(d, rc, e) : (long)n;
}

static long delete_write(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
                         const void *p, size_t n, struct err *e)
{
	struct deletion *d = h->state;
	long rc;

	if (kept_was_taken(h->kept, who))
		return (long)n;
	if (d->closed)
		return lost(d, e);
	rc = take_write(h, t, p, n, e);
	keep(t, h, who, p, n);
	return rc;
}

static int take_flush(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	struct deletion *d = h->state;
	size_t tail = d->lines.len - d->line_start;
	int rc = 0;

	if (d->failed.code)
		return refuse_failed(d, e);
	if (d->lines.len == 0 || d->taken)
		return 0;
	if (callers_dying_of_signal(who)) {
		forget(d);
		return 0;
	}
	if (tail > 0)
		rc = vector_id_check(d->lines.data + d->line_start,
		                     chomp(d->lines.data + d->line_start, tail), e);
	if (rc == 0)
		rc = commit(t, h, d, e);
	return fail(d, rc, e);
}

static int delete_flush(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	int rc = take_flush(t, who, h, e);

	keep(t, h, who, NULL, 0);
	return rc;
}

static void delete_release(struct tree *t, struct handle *h)
{
	struct deletion *d = h->state;

	if (!d)
		return;
	forget(d);
	mem_free(d);
}

const struct file_ops file_delete = {
	.open = delete_begin,
	.write = delete_write,
	.flush = delete_flush,
	.release = delete_release,
	.restore = delete_restore,
};
