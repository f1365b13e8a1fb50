/*
 * reader_text.c: a vector a line, optionally an ID and a tab before it.
 *
 * The tab separates numbers as well, so only a line with exactly one has an ID. The room for a
 * line's numbers is found from its length (a number takes two bytes at least), so nothing is
 * parsed twice.
 */
#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "vector/reader_formats.h"
#include "vector/text.h"

/* The tab after the ID, or NULL: the line has none, or several. */
static const char *id_end(const char *s, const char *end)
{
	const char *tab = memchr(s, '\t', (size_t)(end - s));

	if (!tab || memchr(tab + 1, '\t', (size_t)(end - tab - 1)))
		return NULL;
	return tab;
}

static bool is_blank(const char *s, const char *end)
{
	while (s < end && (*s == ' ' || *s == '\t'))
		s++;
	return s == end;
}

static int numbers(struct reader *r, const char *s, const char *end, struct record *rec,
                   struct err *e)
{
	size_t room = (size_t)(end - s) / 2 + 1;
	long n;
	int rc;

	rc = reader_reserve(r, room < LIMIT_DIMENSION ? room : LIMIT_DIMENSION, e);
	if (rc < 0)
		return rc;
	n = text_parse_floats(s, end, r->v, LIMIT_DIMENSION, e);
	rec->v = r->v;
	rec->dim = n > 0 ? (size_t)n : 0;
	return n == 0 ? err_set(e, -EINVAL, "no numbers") : n < 0 ? (int)n : 0;
}

/* 1: a record was given, 0: an empty line. */
static int text_line(struct reader *r, const char *s, const char *end, bool final, struct err *e)
{
	const char *tab = id_end(s, end);
	struct record rec = { 0 };
	int rc;

	if (is_blank(s, end))
		return 0;
	if (tab) {
		rec.id = s;
		rec.id_len = (size_t)(tab - s);
		rc = vector_id_check(rec.id, rec.id_len, e);
		if (rc < 0)
			return rc;
	}
	rc = numbers(r, tab ? tab + 1 : s, end, &rec, e);
	if (rc == 0)
		rc = reader_give(r, &rec, final, e);
	return rc < 0 ? rc : 1;
}

static int text_feed(struct reader *r, const char *p, size_t n, struct err *e)
{
	return reader_feed_lines(r, p, n, text_line, e);
}

static int text_tail(struct reader *r, bool *ret_taken, struct err *e)
{
	return reader_tail_line(r, text_line, ret_taken, e);
}

const struct reader_ops reader_text = {
	.format = READER_TEXT,
	.feed = text_feed,
	.tail = text_tail,
	.waits = reader_line_waits,
};
