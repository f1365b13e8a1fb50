/*
 * exchange.c: one exchange of a query file.
 *
 * The transcript: the query's bytes stand at [start, end), where they were written, the answer
 * at [end, end + len). Of very long queries only the last part is kept for reading. Reads that
 * begin in a page before the start and reach into the exchange come from the kernel, which
 * widens sendfile's reads to whole pages and throws away what nobody asked for: they get zeros
 * there.
 *
 * Locks: the exchange's, inside its handle's; under it the callers', spare_lock, and the tenant's
 * and below. One holds it from before an exchange is posted until its queries ran, so that nobody
 * finds an exchange without them.
 */
#include "tree/exchange.h"

#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "query/answer.h"
#include "query/query.h"
#include "tree/asking.h"
#include "tree/error_file.h"

#define PAGE       4096u
#define KEEP_ASKED LIMIT_LINE /* bytes of the query that can be read back at least */
#define KEEP_ROOM  (1u << 20) /* of the answers, for the next exchange */
#define SPARE_FROM (64u << 10)

struct exchange {
	struct post post; /* first; text and error: lock */
	struct node node; /* const */
	struct mutex lock;
	struct lineage lineage;      /* lock: of the last writer */
	bool shared;                 /* lock: several processes wrote it */
	struct query_parser *parser; /* lock: NULL after exchange_end */
	struct answer answer;        /* lock */
	struct buf asked;            /* lock: the last bytes of the query */
	uint64_t start, end;         /* lock: offsets */
	size_t n_queries;            /* lock */
	bool settled;                /* lock: its tail was taken, nothing can be added */
	struct asking *asking;       /* lock: while queries run */
};

/* ---- life ---- */

static int run_query(void *ctx, const struct query *q, struct err *e)
{
	struct exchange *ex = ctx;
	int rc = asking_run(ex->asking, q, ex->n_queries, &ex->answer, e);

	if (rc < 0)
		return rc;
	ex->n_queries++;
	if (ex->answer.too_long || ex->post.text.len > LIMIT_ANSWER_BYTES)
		return err_set(e, -E2BIG, "the answers are longer than %u bytes",
		               LIMIT_ANSWER_BYTES);
	return buf_failed(&ex->post.text) ? err_nomem(e) : 0;
}

static void free_exchange(struct post *p)
{
	struct exchange *ex = exchange_of(p);

	query_parser_free(ex->parser);
	buf_release(&ex->asked);
	post_release(p);
	mutex_destroy(&ex->lock);
	mem_free(ex);
}

int exchange_new(struct node n, const struct lineage *l, struct exchange **ret, struct err *e)
{
	struct exchange *ex = mem_zalloc(1, sizeof(*ex));
	struct query_sink sink = { run_query, ex };
	int rc;

	if (!ex)
		return err_nomem(e);
	rc = query_parser_new(&sink, &ex->parser, e);
	if (rc < 0) {
		mem_free(ex);
		return rc;
	}
	post_init(&ex->post, free_exchange);
	mutex_init(&ex->lock);
	ex->node = n;
	ex->lineage = *l;
	ex->settled = true; /* until its first write begins it */
	*ret = ex;
	return 0;
}

struct post *exchange_post(struct exchange *ex)
{
	return &ex->post;
}

struct exchange *exchange_of(struct post *p)
{
	return (struct exchange *)p;
}

void exchange_unref(struct exchange *ex)
{
	if (ex)
		post_unref(&ex->post);
}

/* ---- asking ---- */

static void begin_locked(struct exchange *ex, uint64_t start) REQUIRES(ex->lock)
{
	if (ex->post.text.cap > KEEP_ROOM)
		buf_release(&ex->post.text);
	buf_clear(&ex->post.text);
	buf_clear(&ex->asked);
	query_parser_reset(ex->parser);
	answer_init(&ex->answer, &ex->post.text);
	ex->post.error = 0;
	ex->post.was_read = false;
	ex->start = ex->end = start;
	ex->n_queries = 0;
	ex->settled = false;
}

static bool goes_on_locked(struct exchange *ex, uint64_t off) REQUIRES(ex->lock)
{
	return off == ex->end && !ex->post.error && !ex->settled && !ex->post.was_read;
}

static bool is_own_locked(struct exchange *ex, const struct lineage *l) REQUIRES(ex->lock)
{
	return !ex->shared && ex->lineage.process[0] == l->process[0];
}

static int fail_locked(struct exchange *ex, int rc, const struct err *e) REQUIRES(ex->lock)
{
	buf_clear(&ex->post.text);
	buf_adds(&ex->post.text, e->text);
	ex->post.error = rc;
	query_parser_reset(ex->parser);
	return rc;
}

/* Large batches come in exchanges of their own, and fresh memory costs a page fault every 4 KiB. */
static void take_spare_locked(struct tree *t, struct exchange *ex, size_t n) REQUIRES(ex->lock)
{
	if (ex->asked.cap > 0 || n < SPARE_FROM)
		return;
	mutex_lock(&t->spare_lock);
	ex->asked = t->spare;
	t->spare = (struct buf)BUF_INIT;
	mutex_unlock(&t->spare_lock);
}

static void release_asked_locked(struct tree *t, struct exchange *ex) REQUIRES(ex->lock)
{
	mutex_lock(&t->spare_lock);
	if (ex->asked.cap > t->spare.cap && ex->asked.cap >= SPARE_FROM) {
		struct buf swap = t->spare;

		t->spare = ex->asked;
		ex->asked = swap;
		buf_clear(&t->spare);
	}
	mutex_unlock(&t->spare_lock);
	buf_release(&ex->asked);
}

static void keep_asked_locked(struct tree *t, struct exchange *ex, const char *p, size_t n)
	REQUIRES(ex->lock)
{
	size_t len = ex->asked.len;

	ex->end += n;
	take_spare_locked(t, ex, n);
	/* Up to twice what has to be kept, so that dropping is rare. */
	if (n >= 2 * KEEP_ASKED) {
		p += n - KEEP_ASKED;
		n = KEEP_ASKED;
		buf_clear(&ex->asked);
	} else if (len + n > 2 * KEEP_ASKED) {
		size_t keep = n < KEEP_ASKED ? KEEP_ASKED - n : 0;

		buf_drop_front(&ex->asked, keep < len ? len - keep : 0);
	}
	buf_add(&ex->asked, p, n);
}

/*
 * p NULL: the end of what was asked. A tenant that cannot be entered now fails the call, not
 * the exchange.
 */
static int run_locked(struct tree *t, struct exchange *ex, const void *p, size_t n, struct err *e)
	REQUIRES(ex->lock)
{
	struct asking asking;
	struct err own = { 0 };
	size_t before = ex->n_queries;
	int rc = asking_begin(t, ex->node, &asking, e);

	if (rc < 0)
		return rc;
	ex->asking = &asking;
	rc = p ? query_parser_feed(ex->parser, p, n, &own) : query_parser_finish(ex->parser, &own);
	ex->asking = NULL;
	asking_end(t, &asking, &ex->lineage);
	acts_searched(t, &ex->lineage, ex->node, ex->n_queries - before);
	if (rc == 0 && !p && ex->n_queries == 0)
		rc = err_set(&own, -EINVAL, "the query is empty");
	if (rc < 0) {
		fail_locked(ex, rc, &own);
		err_set(e, rc, "%s", own.text);
	}
	callers_account(t->callers, &ex->post, ex->post.text.cap + ex->asked.cap);
	return rc;
}

static int write_locked(struct tree *t, struct exchange *ex, const struct lineage *l, const void *p,
                        size_t n, struct err *e) REQUIRES(ex->lock)
{
	if (ex->lineage.process[0] != l->process[0])
		ex->shared = true;
	ex->lineage = *l;
	callers_post(t->callers, l, node_place(ex->node), POST_ANSWER, &ex->post);
	keep_asked_locked(t, ex, p, n);
	return buf_failed(&ex->asked) ? err_nomem(e) : run_locked(t, ex, p, n, e);
}

int exchange_write(struct tree *t, struct exchange *ex, const struct lineage *l, uint64_t off,
                   const void *p, size_t n, struct err *e)
{
	bool on;
	int rc = EXCHANGE_OTHER;

	mutex_lock(&ex->lock);
	on = goes_on_locked(ex, off);
	if (on || is_own_locked(ex, l)) {
		if (!on)
			begin_locked(ex, off);
		rc = write_locked(t, ex, l, p, n, e);
	}
	mutex_unlock(&ex->lock);
	return rc;
}

/* ---- the answer ---- */

static int settle_locked(struct tree *t, struct exchange *ex, bool *ret_failed, struct err *e)
	REQUIRES(ex->lock)
{
	int rc = 0;

	*ret_failed = false;
	if (ex->post.error)
		return err_set(e, ex->post.error, "%s",
		               ex->post.text.len ? ex->post.text.data : "");
	if (ex->settled)
		return 0;
	if (query_parser_waits(ex->parser) || ex->n_queries == 0) {
		rc = run_locked(t, ex, NULL, 0, e);
		*ret_failed = ex->post.error != 0;
		ex->settled = rc == 0;
	}
	return rc;
}

/*
 * Somebody wants the answer: lock, settle. Whoever that was, a failure is then told to the
 * writer, without the lock.
 */
struct wanted {
	bool failed;
	struct lineage writer;
	struct err why;
};

static int want(struct tree *t, struct exchange *ex, struct wanted *w, struct err *e)
	ACQUIRE(ex->lock)
{
	int rc;

	mutex_lock(&ex->lock);
	w->why.text[0] = 0;
	rc = settle_locked(t, ex, &w->failed, &w->why);
	if (w->failed)
		w->writer = ex->lineage;
	return rc < 0 ? err_set(e, rc, "%s", w->why.text) : 0;
}

static void want_end(struct tree *t, struct exchange *ex, struct wanted *w) RELEASE(ex->lock)
{
	mutex_unlock(&ex->lock);
	if (w->failed)
		error_post_lineage(t, &w->writer, node_place(ex->node), &w->why);
}

int exchange_settle(struct tree *t, struct exchange *ex, struct err *e)
{
	struct wanted w;
	int rc = want(t, ex, &w, e);

	want_end(t, ex, &w);
	return rc;
}

static void add_part(struct buf *ret, const struct buf *from, uint64_t at, uint64_t *off, size_t *n)
{
	size_t skip, len;

	if (*n == 0 || *off < at || *off >= at + from->len)
		return;
	skip = (size_t)(*off - at);
	len = from->len - skip < *n ? from->len - skip : *n;
	buf_add(ret, from->data + skip, len);
	*off += len;
	*n -= len;
}

static bool is_widened(uint64_t off, size_t n, uint64_t first)
{
	return off % PAGE == 0 && n % PAGE == 0 && first - off < PAGE && first - off < n;
}

static int read_locked(struct exchange *ex, uint64_t off, size_t n, struct buf *ret, struct err *e)
	REQUIRES(ex->lock)
{
	uint64_t first = ex->end - ex->asked.len;

	if (off < first) {
		size_t gap = (size_t)(first - off);
		char *room;

		if (!is_widened(off, n, first))
			return err_set(e, -EINVAL,
			               "offset %llu is before the last query, which is at %llu",
			               (unsigned long long)off, (unsigned long long)first);
		room = buf_space(ret, gap);
		if (!room)
			return err_nomem(e);
		memset(room, 0, gap);
		buf_grew(ret, gap);
		off = first;
		n -= gap;
	}
	add_part(ret, &ex->asked, first, &off, &n);
	add_part(ret, &ex->post.text, ex->end, &off, &n);
	return buf_failed(ret) ? err_nomem(e) : 0;
}

int exchange_read(struct tree *t, struct exchange *ex, uint64_t off, size_t n, struct buf *ret,
                  struct err *e)
{
	struct wanted w;
	int rc = want(t, ex, &w, e);

	if (rc == 0)
		rc = read_locked(ex, off, n, ret, e);
	if (rc == 0)
		ex->post.was_read = true;
	want_end(t, ex, &w);
	return rc;
}

uint64_t exchange_extent(struct exchange *ex, bool *ret_waits)
{
	uint64_t extent;

	mutex_lock(&ex->lock);
	extent = ex->end + (ex->post.error ? 0 : ex->post.text.len);
	*ret_waits = !ex->settled && !ex->post.error && query_parser_waits(ex->parser);
	mutex_unlock(&ex->lock);
	return extent;
}

uint64_t exchange_start(struct exchange *ex)
{
	uint64_t start;

	mutex_lock(&ex->lock);
	start = ex->start;
	mutex_unlock(&ex->lock);
	return start;
}

int exchange_answers(struct tree *t, struct exchange *ex, struct buf *ret, uint64_t *ret_len,
                     struct err *e)
{
	struct wanted w;
	int rc = want(t, ex, &w, e);

	if (rc == 0)
		*ret_len = ex->post.text.len;
	if (rc == 0 && ret) {
		buf_add(ret, ex->post.text.data, ex->post.text.len);
		ex->post.was_read = true;
	}
	want_end(t, ex, &w);
	return rc == 0 && ret && buf_failed(ret) ? err_nomem(e) : rc;
}

/* Not settled when its tenant is suspended now: a later open of results may still be answered. */
static void close_locked(struct tree *t, struct exchange *ex) REQUIRES(ex->lock)
{
	if (ex->settled || ex->post.error || !query_parser_waits(ex->parser)) {
		ex->settled = true;
		query_parser_free(ex->parser);
		ex->parser = NULL;
	}
	release_asked_locked(t, ex);
	callers_account(t->callers, &ex->post, ex->post.text.cap);
}

void exchange_end(struct tree *t, struct exchange *ex)
{
	struct wanted w;
	struct err e;

	want(t, ex, &w, &e);
	close_locked(t, ex);
	want_end(t, ex, &w);
	exchange_unref(ex);
}
