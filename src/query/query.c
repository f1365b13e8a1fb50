/*
 * query.c: bytes in any pieces to complete queries.
 *
 * A line that lies wholly in one piece is parsed where it is; only a line that is cut is
 * collected in `carry`. Blank lines are no queries. A line that starts with '{' is a JSON
 * query; a stream that starts with the first byte of .npy's magic (no text in UTF-8 starts with
 * it) is an array to its end.
 */
#include "query/query.h"

#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "query/query_parts.h"
#include "vector/reader.h"

#define NPY_FIRST_BYTE 0x93

struct query_parser {
	struct query_sink sink;
	struct query_scratch scratch;
	struct buf carry;      /* the beginning of a line */
	struct query_npy *npy; /* NULL in text */
	bool started;
	size_t n_queries; /* since the reset, for error texts */
};

/* ---- names and values, for both grammars ---- */

static const struct {
	const char *name;
	enum query_name is;
} names[] = {
	{ "k", QUERY_K },
	{ "ef", QUERY_EF },
	{ "exact", QUERY_EXACT },
	{ "like", QUERY_LIKE },
	{ "include", QUERY_INCLUDE },
	{ "metric", QUERY_METRIC },
	{ "vector", QUERY_VECTOR },
	{ "embedding", QUERY_VECTOR },
	{ "values", QUERY_VECTOR },
};

static bool is_word(const char *s, size_t n, const char *word)
{
	return strlen(word) == n && memcmp(s, word, n) == 0;
}

int query_take_name(struct query_draft *d, const char *name, size_t n, struct err *e)
{
	if (is_word(name, n, "where") || is_word(name, n, "text"))
		return err_set(e, -EINVAL, "%.*s is not there yet, it comes with a later version",
		               (int)n, name);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (!is_word(name, n, names[i].name))
			continue;
		if (d->given & 1u << names[i].is)
			return err_set(e, -EINVAL, "%s is given twice", names[i].name);
		d->given |= 1u << names[i].is;
		return (int)names[i].is;
	}
	return err_set(e, -EINVAL,
	               "unknown name '%.*s', expected k, ef, exact, like, metric or include",
	               (int)(n < 64 ? n : 64), name);
}

int query_set_count(struct query_draft *d, enum query_name name, uint64_t value, struct err *e)
{
	bool k = name == QUERY_K;
	unsigned max = k ? LIMIT_K : LIMIT_EF;

	if (value < 1 || value > max)
		return err_set(e, -ERANGE, "%s is %llu, expected 1 to %u", k ? "k" : "ef",
		               (unsigned long long)value, max);
	*(k ? &d->q.k : &d->q.ef) = (unsigned)value;
	return 0;
}

int query_set_like(struct query_draft *d, const char *id, size_t n, struct err *e)
{
	/* across tenants it is TENANT/ID */
	const char *slash = memchr(id, '/', n);
	const char *own = slash ? slash + 1 : id;

	if (vector_id_check(own, n - (size_t)(own - id), e) < 0)
		return err_prefix(e, "like");
	d->q.like = id;
	d->q.like_len = n;
	return 0;
}

int query_add_include(struct query_draft *d, const char *what, size_t n, struct err *e)
{
	if (is_word(what, n, "metadata"))
		d->q.include |= INCLUDE_METADATA;
	else if (is_word(what, n, "vector"))
		d->q.include |= INCLUDE_VECTOR;
	else if (is_word(what, n, "text"))
		d->q.include |= INCLUDE_TEXT;
	else
		return err_set(e, -EINVAL, "include '%.*s', expected metadata, vector or text",
		               (int)(n < 64 ? n : 64), what);
	return 0;
}

int query_set_includes(struct query_draft *d, const char *s, size_t n, struct err *e)
{
	const char *end = s + n;

	for (;;) {
		const char *comma = memchr(s, ',', (size_t)(end - s));
		const char *stop = comma ? comma : end;
		int rc = query_add_include(d, s, (size_t)(stop - s), e);

		if (rc < 0 || !comma)
			return rc;
		s = comma + 1;
	}
}

int query_set_metric(struct query_draft *d, const char *s, size_t n, struct err *e)
{
	if (!metric_parse(s, n, &d->q.metric))
		return err_set(e, -EINVAL, "metric '%.*s', expected cosine, l2 or ip",
		               (int)(n < 64 ? n : 64), s);
	d->q.has_metric = true;
	return 0;
}

int query_reserve(struct query_draft *d, size_t n, struct err *e)
{
	struct query_scratch *sc = d->scratch;
	float *v;

	if (n <= sc->v_cap)
		return 0;
	n = n < 256 ? 256 : n;
	v = mem_resize(sc->v, n, sizeof *v);
	if (!v)
		return err_nomem(e);
	sc->v = v;
	sc->v_cap = n;
	return 0;
}

/* ---- the stream ---- */

int query_parser_new(const struct query_sink *sink, struct query_parser **ret, struct err *e)
{
	struct query_parser *p = mem_zalloc(1, sizeof *p);

	if (!p)
		return err_nomem(e);
	p->sink = *sink;
	*ret = p;
	return 0;
}

void query_parser_reset(struct query_parser *p)
{
	buf_clear(&p->carry);
	query_npy_free(p->npy);
	p->npy = NULL;
	json_free(p->scratch.json);
	p->scratch.json = NULL;
	p->started = false;
	p->n_queries = 0;
}

void query_parser_free(struct query_parser *p)
{
	if (!p)
		return;
	query_parser_reset(p);
	buf_release(&p->carry);
	buf_release(&p->scratch.value);
	buf_release(&p->scratch.like);
	mem_free(p->scratch.v);
	mem_free(p);
}

static int parse_and_give(struct query_parser *p, const char *s, const char *end, struct err *e)
{
	struct query_draft d = { .scratch = &p->scratch };
	int rc = *s == '{' ? query_json_parse(&d, s, end, e) : query_line_parse(&d, s, end, e);

	return rc < 0 ? rc : p->sink.query(p->sink.ctx, &d.q, e);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The place in a batch is told from its second query on. */
static int with_place(struct query_parser *p, int rc, struct err *e)
{
	if (rc < 0 && p->n_queries > 1)
		err_prefix(e, "query %zu", p->n_queries);
	return rc;
}

static int take_line(struct query_parser *p, const char *s, const char *end, struct err *e)
{
	while (s < end && is_blank(*s))
		s++;
	while (end > s && is_blank(end[-1]))
		end--;
	if (s == end)
		return 0;
	p->n_queries++;
	return with_place(p, parse_and_give(p, s, end, e), e);
}

static int too_long(struct query_parser *p, struct err *e)
{
	p->n_queries++;
	err_set(e, -E2BIG, "the line is longer than %u bytes", LIMIT_LINE);
	return with_place(p, -E2BIG, e);
}

static int collect(struct query_parser *p, const char *s, size_t n, struct err *e)
{
	if (p->carry.len + n > LIMIT_LINE)
		return too_long(p, e);
	buf_add(&p->carry, s, n);
	return buf_failed(&p->carry) ? err_nomem(e) : 0;
}

static int end_collected(struct query_parser *p, struct err *e)
{
	int rc = take_line(p, p->carry.data, p->carry.data + p->carry.len, e);

	buf_clear(&p->carry);
	return rc;
}

static int feed_text(struct query_parser *p, const char *s, size_t n, struct err *e)
{
	const char *end = s + n;

	while (s < end) {
		const char *nl = memchr(s, '\n', (size_t)(end - s));
		size_t len = (size_t)((nl ? nl : end) - s);
		int rc;

		if (!nl || p->carry.len) {
			rc = collect(p, s, len, e);
			if (rc == 0 && nl && p->carry.len)
				rc = end_collected(p, e);
		} else {
			rc = len > LIMIT_LINE ? too_long(p, e) : take_line(p, s, nl, e);
		}
		if (rc < 0)
			return rc;
		s += len + (nl != NULL);
	}
	return 0;
}

static int start(struct query_parser *p, unsigned char first, struct err *e)
{
	p->started = true;
	return first == NPY_FIRST_BYTE ? query_npy_new(&p->sink, &p->npy, e) : 0;
}

int query_parser_feed(struct query_parser *p, const void *bytes, size_t n, struct err *e)
{
	int rc = 0;

	if (n == 0)
		return 0;
	if (!p->started)
		rc = start(p, *(const unsigned char *)bytes, e);
	if (rc == 0)
		rc = p->npy ? query_npy_feed(p->npy, bytes, n, e) : feed_text(p, bytes, n, e);
	if (rc < 0)
		query_parser_reset(p);
	return rc;
}

bool query_parser_waits(const struct query_parser *p)
{
	/* Only the end of the array tells that it was complete. */
	return p->npy || p->carry.len > 0;
}

int query_parser_finish(struct query_parser *p, struct err *e)
{
	int rc = 0;

	if (p->npy)
		rc = query_npy_finish(p->npy, e);
	else if (p->carry.len)
		rc = end_collected(p, e);
	if (rc < 0)
		query_parser_reset(p);
	return rc;
}
