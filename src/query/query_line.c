/*
 * query_line.c: the line `[NAME=VALUE ...] numbers`.
 *
 * A word is an option when letters and a '=' open it; the first word that is not begins the
 * numbers. A value ends at white space, or is quoted: "..." with \" and \\.
 */
#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "base/num.h"
#include "query/query_parts.h"
#include "vector/text.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* The length of the NAME of a NAME=VALUE at s, or 0. */
static size_t option_name(const char *s, const char *end)
{
	const char *at = s;

	while (at < end && (is_letter(*at) || (at > s && *at >= '0' && *at <= '9')))
		at++;
	return at < end && *at == '=' ? (size_t)(at - s) : 0;
}

/* The quoted value after the opening quote into *ret; returns what follows the closing one. */
static const char *unquote(const char *s, const char *end, struct buf *ret)
{
	buf_clear(ret);
	for (; s < end && *s != '"'; s++) {
		if (*s == '\\' && s + 1 < end)
			s++;
		buf_addc(ret, *s);
	}
	return s < end ? s + 1 : NULL;
}

struct value {
	const char *s;
	size_t len;
};

/* Takes the value at *s, which moves behind it. */
static int take_value(struct query_draft *d, const char **s, const char *end, struct value *ret,
                      struct err *e)
{
	struct buf *b = &d->scratch->value;
	const char *at = *s;

	if (at < end && *at == '"') {
		at = unquote(at + 1, end, b);
		if (!at)
			return err_set(e, -EINVAL, "a quote is not closed");
		if (at < end && !is_blank(*at))
			return err_set(e, -EINVAL, "no white space after a closing quote");
		if (buf_failed(b))
			return err_nomem(e);
		*ret = (struct value){ b->len ? b->data : "", b->len };
	} else {
		while (at < end && !is_blank(*at))
			at++;
		*ret = (struct value){ *s, (size_t)(at - *s) };
	}
	*s = at;
	return 0;
}

static bool all_digits(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return n > 0;
}

static int set_count(struct query_draft *d, enum query_name name, struct value v, struct err *e)
{
	const char *what = name == QUERY_K ? "k" : "ef";
	uint64_t n;

	if (num_parse_u64(v.s, v.len, &n))
		return query_set_count(d, name, n, e);
	if (all_digits(v.s, v.len) || (v.len > 1 && *v.s == '-' && all_digits(v.s + 1, v.len - 1)))
		return err_set(e, -ERANGE, "%s is %.*s, expected 1 to %u", what,
		               (int)(v.len < 40 ? v.len : 40), v.s,
		               name == QUERY_K ? LIMIT_K : LIMIT_EF);
	return err_set(e, -EINVAL, "%s is '%.*s', expected a whole number", what,
	               (int)(v.len < 40 ? v.len : 40), v.s);
}

static int set_exact(struct query_draft *d, struct value v, struct err *e)
{
	if (v.len != 1 || (*v.s != '0' && *v.s != '1'))
		return err_set(e, -EINVAL, "exact is '%.*s', expected 0 or 1",
		               (int)(v.len < 40 ? v.len : 40), v.s);
	d->q.exact = *v.s == '1';
	return 0;
}

/* An unquoted ID is borrowed from the line; a quoted one is kept from the next quoted value. */
static int set_like(struct query_draft *d, struct value v, struct err *e)
{
	struct query_scratch *sc = d->scratch;

	if (v.len && v.s == sc->value.data) {
		struct buf swap = sc->like;

		sc->like = sc->value;
		sc->value = swap;
	}
	return query_set_like(d, v.s, v.len, e);
}

static int set_option(struct query_draft *d, int name, struct value v, struct err *e)
{
	switch (name) {
	case QUERY_K:
	case QUERY_EF:
		return set_count(d, (enum query_name)name, v, e);
	case QUERY_EXACT:
		return set_exact(d, v, e);
	case QUERY_INCLUDE:
		return query_set_includes(d, v.s, v.len, e);
	case QUERY_METRIC:
		return query_set_metric(d, v.s, v.len, e);
	case QUERY_LIKE:
		return set_like(d, v, e);
	default:
		return err_set(e, -EINVAL, "numbers follow the options without a name");
	}
}

static int take_option(struct query_draft *d, const char **s, const char *end, size_t name_len,
                       struct err *e)
{
	int name = query_take_name(d, *s, name_len, e);
	struct value v = { NULL, 0 };
	int rc;

	if (name < 0)
		return name;
	*s += name_len + 1;
	rc = take_value(d, s, end, &v, e);
	return rc < 0 ? rc : set_option(d, name, v, e);
}

static int take_numbers(struct query_draft *d, const char *s, const char *end, struct err *e)
{
	size_t max = (size_t)(end - s) / 2 + 1; /* a number takes a digit and a separator */
	long n;

	if (max > LIMIT_DIMENSION)
		max = LIMIT_DIMENSION;
	n = query_reserve(d, max, e);
	if (n == 0)
		n = text_parse_floats(s, end, d->scratch->v, max, e);
	if (n < 0)
		return (int)n;
	if (n == 0)
		return err_set(e, -EINVAL,
		               "no numbers, expected [NAME=VALUE ...] numbers, or like=ID");
	d->q.v = d->scratch->v;
	d->q.dim = (size_t)n;
	return 0;
}

int query_line_parse(struct query_draft *d, const char *s, const char *end, struct err *e)
{
	size_t name_len;

	d->q.form = QUERY_LINE;
	while ((name_len = option_name(s, end)) > 0) {
		int rc = take_option(d, &s, end, name_len, e);

		if (rc < 0)
			return rc;
		while (s < end && is_blank(*s))
			s++;
	}
	if (!d->q.like)
		return take_numbers(d, s, end, e);
	if (s < end)
		return err_set(e, -EINVAL, "numbers after like=ID, expected one of them");
	return 0;
}
