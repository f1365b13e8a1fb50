/*
 * reader.c: what all formats share: the unfinished piece, the sticky error, positions, lines and
 * rows.
 *
 * Bytes are parsed where they lie; only what is incomplete at the end of a piece is copied, and
 * the copy is completed by the next piece. Until the format is known (reader_tell.c) everything
 * waits in the same buffer.
 */
#include "vector/reader.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "base/limits.h"
#include "base/mem.h"
#include "vector/reader_formats.h"

int reader_new(const char *name, const struct reader_sink *sink, struct reader **ret, struct err *e)
{
	struct reader *r = mem_zalloc(1, sizeof(*r));

	if (!r)
		return err_nomem(e);
	r->sink = *sink;
	r->name = mem_dup(name, strlen(name));
	if (!r->name) {
		mem_free(r);
		return err_nomem(e);
	}
	*ret = r;
	return 0;
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	buf_release(&r->carry);
	mem_free(r->v);
	mem_free(r->name);
	mem_free(r);
}

bool reader_name_ends(const struct reader *r, const char *ending)
{
	size_t n = strlen(r->name), m = strlen(ending);

	return n >= m && strcasecmp(r->name + n - m, ending) == 0;
}

int reader_reserve(struct reader *r, size_t dim, struct err *e)
{
	float *v;

	if (dim <= r->v_cap)
		return 0;
	v = mem_resize(r->v, dim, sizeof(*v));
	if (!v)
		return err_nomem(e);
	r->v = v;
	r->v_cap = dim;
	return 0;
}

int reader_give(struct reader *r, struct record *rec, bool final, struct err *e)
{
	int rc;

	rec->position = r->first_position + r->n_records;
	rc = r->sink.record(r->sink.ctx, rec, e);
	if (rc == 0 && final)
		r->n_records++;
	return rc;
}

/* ---- lines ---- */

int reader_check_pending(const char *p, size_t n, struct err *e)
{
	if (n > LIMIT_LINE)
		return err_set(e, -E2BIG, "longer than %u bytes", LIMIT_LINE);
	if (memchr(p, 0, n))
		return err_set(e, -EINVAL, "byte 0x00 is not text");
	return 0;
}

static int whole_line(struct reader *r, const char *s, size_t n, reader_line *line, struct err *e)
{
	int rc = reader_check_pending(s, n, e);

	if (rc == 0) {
		if (n && s[n - 1] == '\r')
			n--;
		rc = line(r, s, s + n, true, e);
	}
	if (rc < 0)
		return err_prefix(e, "line %llu", (unsigned long long)r->n_lines + 1), rc;
	r->n_lines++;
	return 0;
}

/*
 * The end of a line that began in an earlier piece: nl is its newline, or NULL when it is still
 * not the end.
 */
static int carried_line(struct reader *r, const char *p, const char *nl, size_t n,
                        reader_line *line, struct err *e)
{
	int rc;

	/* Refused here as well, so that no piece, however long, is copied beyond the limit. */
	if (r->carry.len + n > LIMIT_LINE)
		rc = err_set(e, -E2BIG, "longer than %u bytes", LIMIT_LINE);
	else
		rc = nl ? 0 : reader_check_pending(p, n, e);
	if (rc < 0)
		return err_prefix(e, "line %llu", (unsigned long long)r->n_lines + 1), rc;
	buf_add(&r->carry, p, n);
	if (buf_failed(&r->carry))
		return err_nomem(e);
	if (!nl)
		return 0;
	rc = whole_line(r, r->carry.data ? r->carry.data : "", r->carry.len, line, e);
	buf_clear(&r->carry);
	return rc;
}

int reader_feed_lines(struct reader *r, const char *p, size_t n, reader_line *line, struct err *e)
{
	const char *end = p + n, *nl;
	int rc = 0;

	while (p < end && rc == 0) {
		nl = memchr(p, '\n', (size_t)(end - p));
		if (!nl)
			return carried_line(r, p, NULL, (size_t)(end - p), line, e);
		if (r->carry.len)
			rc = carried_line(r, p, nl, (size_t)(nl - p), line, e);
		else
			rc = whole_line(r, p, (size_t)(nl - p), line, e);
		p = nl + 1;
	}
	return rc;
}

int reader_tail_line(struct reader *r, reader_line *line, bool *ret_taken, struct err *e)
{
	const char *s = r->carry.data;
	size_t n = r->carry.len;
	int rc;

	if (n && s[n - 1] == '\r')
		n--;
	if (n == 0)
		return 0;
	rc = line(r, s, s + n, false, e);
	if (rc < 0)
		return err_prefix(e, "line %llu", (unsigned long long)r->n_lines + 1), rc;
	*ret_taken = rc > 0;
	return 0;
}

bool reader_line_waits(const struct reader *r)
{
	return r->carry.len > 0;
}

/* ---- rows ---- */

const char *reader_take(struct reader *r, const char **p, const char *end, size_t need)
{
	size_t have = (size_t)(end - *p), more;
	const char *got = *p;

	if (r->carry_given)
		buf_clear(&r->carry);
	r->carry_given = false;
	if (r->carry.len == 0 && have >= need) {
		*p += need;
		return got;
	}
	more = need - r->carry.len < have ? need - r->carry.len : have;
	buf_add(&r->carry, *p, more);
	*p += more;
	r->carry_given = r->carry.len == need && !buf_failed(&r->carry);
	return r->carry_given ? r->carry.data : NULL;
}

bool reader_in_piece(const struct reader *r)
{
	return r->carry.len > 0 && !r->carry_given;
}

int reader_check_dimension(struct reader *r, uint64_t dim, struct err *e)
{
	size_t expected = r->sink.dimension ? r->sink.dimension(r->sink.ctx) : 0;

	if (dim == 0)
		return err_set(e, -EINVAL, "dimension 0");
	if (dim > LIMIT_DIMENSION)
		return err_set(e, -E2BIG, "dimension %llu, limit %d", (unsigned long long)dim,
		               LIMIT_DIMENSION);
	if (expected && dim != expected)
		return err_set(e, -EINVAL, "dimension %llu, expected %zu", (unsigned long long)dim,
		               expected);
	return 0;
}

int reader_take_floats(struct reader *r, const char *p, struct err *e)
{
	memcpy(r->v, p, r->dim * sizeof(*r->v));
	for (size_t i = 0; i < r->dim; i++) {
		if (!isfinite(r->v[i]))
			return err_set(e, -EINVAL, "number %zu: %s is not finite", i + 1,
			               isnan(r->v[i]) ? "nan" : "inf");
	}
	return 0;
}

/* ---- the stream ---- */

/* Hands on what has waited for the format to be known. */
static int feed_head(struct reader *r, size_t skip, struct err *e)
{
	struct buf head = r->carry;
	int rc;

	r->carry = (struct buf)BUF_INIT;
	rc = r->ops->feed(r, head.data + skip, head.len - skip, e);
	buf_release(&head);
	return rc;
}

static int feed_unknown(struct reader *r, const char *p, size_t n, struct err *e)
{
	const struct reader_ops *ops = NULL;
	bool waited = r->carry.len > 0;
	size_t skip;
	int rc;

	if (waited)
		buf_add(&r->carry, p, n);
	rc = buf_failed(&r->carry) ? err_nomem(e)
	     : waited              ? reader_tell(r, r->carry.data, r->carry.len, &ops, &skip, e)
	                           : reader_tell(r, p, n, &ops, &skip, e);
	if (rc < 0)
		return rc;
	if (rc > 0) {
		r->ops = ops;
		return waited ? feed_head(r, skip, e) : ops->feed(r, p + skip, n - skip, e);
	}
	if (!waited)
		buf_add(&r->carry, p, n);
	return buf_failed(&r->carry) ? err_nomem(e) : 0;
}

/* What succeeds in the sink may have left an error there all the same. */
static int stick(struct reader *r, int rc, struct err *e)
{
	r->failed.code = rc < 0 ? rc : 0;
	return rc < 0 ? err_set(e, rc, "%s", r->failed.text) : 0;
}

int reader_feed(struct reader *r, const void *p, size_t n, struct err *e)
{
	int rc;

	if (r->failed.code)
		return err_set(e, r->failed.code, "%s", r->failed.text);
	if (n == 0)
		return 0;
	r->tail_taken = false;
	rc = r->ops ? r->ops->feed(r, p, n, &r->failed) : feed_unknown(r, p, n, &r->failed);
	return stick(r, rc, e);
}

/* A stream so short that its format was not sure ends here. */
static int settle(struct reader *r, struct err *e)
{
	size_t skip;
	int rc = reader_tell_short(r->carry.data, r->carry.len, &r->ops, &skip, e);

	if (rc <= 0)
		return rc;
	rc = feed_head(r, skip, &r->failed);
	return stick(r, rc, e);
}

int reader_take_tail(struct reader *r, bool *ret_taken, struct err *e)
{
	bool taken = false;
	int rc = 0;

	if (r->failed.code)
		return err_set(e, r->failed.code, "%s", r->failed.text);
	if (!r->tail_taken) {
		if (!r->ops && r->carry.len)
			rc = settle(r, e);
		if (rc == 0 && r->ops)
			rc = r->ops->tail(r, &taken, e);
	}
	if (taken)
		r->tail_taken = true;
	if (ret_taken)
		*ret_taken = taken;
	return rc;
}

bool reader_tail_was_taken(const struct reader *r)
{
	return r->tail_taken;
}

bool reader_waits(const struct reader *r)
{
	return r->ops ? r->ops->waits(r) : r->carry.len > 0;
}

enum reader_format reader_format(const struct reader *r)
{
	return r->ops ? r->ops->format : READER_UNKNOWN;
}

uint64_t reader_records(const struct reader *r)
{
	return r->n_records;
}

void reader_allow_ivecs(struct reader *r)
{
	r->allow_ivecs = true;
}

void reader_set_first_position(struct reader *r, uint64_t position)
{
	r->first_position = position;
}
