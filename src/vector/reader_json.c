/*
 * reader_json.c: objects, one a line or as the elements of one array.
 *
 * An array is split without parsing it: only strings, backslashes and the depth of brackets are
 * followed, so an element's end is found in a stream and the element parsed alone. What is wrong
 * inside an element is found by the parser.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "vector/json.h"
#include "vector/reader_formats.h"

/* ---- one object ---- */

/* What a record points into, for the time of the sink's call. */
struct parts {
	char number[24]; /* an ID that was a number */
	struct buf metadata;
};

/* The first of these members that is there and not null. */
static const struct json *member_of(const struct json *o, const char *const names[])
{
	const struct json *m;

	for (; *names; names++) {
		m = json_member(o, *names);
		if (m && !json_is_null(m))
			return m;
	}
	return NULL;
}

static int take_id(const struct json *o, struct parts *parts, struct record *rec, struct err *e)
{
	const struct json *m = member_of(o, (const char *const[]){ "id", NULL });
	int64_t whole;

	if (!m)
		return 0;
	if (!json_string(m, &rec->id, &rec->id_len)) {
		if (!json_whole(m, &whole))
			return err_set(e, -EINVAL, "id: neither a string nor a whole number");
		rec->id_len = (size_t)snprintf(parts->number, sizeof(parts->number), "%" PRId64,
		                               whole);
		rec->id = parts->number;
	}
	return vector_id_check(rec->id, rec->id_len, e);
}

static int take_vector(struct reader *r, const struct json *o, struct record *rec, struct err *e)
{
	const struct json *m =
		member_of(o, (const char *const[]){ "vector", "embedding", "values", NULL });
	long n;
	int rc;

	if (!m)
		return err_set(e, -EINVAL,
		               "no vector: a member vector, embedding or values is needed");
	if (!json_is_array(m))
		return err_set(e, -EINVAL, "vector: not an array of numbers");
	n = (long)json_array_size(m);
	rc = reader_reserve(r, n < LIMIT_DIMENSION ? (size_t)n : LIMIT_DIMENSION, e);
	if (rc < 0)
		return rc;
	n = json_floats(m, r->v, LIMIT_DIMENSION, e);
	if (n == 0)
		return err_set(e, -EINVAL, "vector: no numbers");
	rec->v = r->v;
	rec->dim = n > 0 ? (size_t)n : 0;
	return n < 0 ? (int)n : 0;
}

static int take_metadata(const struct json *o, struct parts *parts, struct record *rec,
                         struct err *e)
{
	const struct json *m = member_of(o, (const char *const[]){ "metadata", "payload", NULL });

	if (!m)
		return 0;
	if (!json_is_object(m))
		return err_set(e, -EINVAL, "metadata: not an object");
	json_render(m, &parts->metadata);
	if (buf_failed(&parts->metadata))
		return err_nomem(e);
	if (parts->metadata.len > LIMIT_METADATA)
		return err_set(e, -E2BIG, "metadata: %zu bytes, limit %u", parts->metadata.len,
		               LIMIT_METADATA);
	rec->metadata = parts->metadata.data;
	rec->metadata_len = parts->metadata.len;
	return 0;
}

static int take_text(const struct json *o, struct record *rec, struct err *e)
{
	const struct json *m =
		member_of(o, (const char *const[]){ "text", "document", "content", NULL });

	if (!m)
		return 0;
	if (!json_string(m, &rec->text, &rec->text_len))
		return err_set(e, -EINVAL, "text: not a string");
	if (rec->text_len > LIMIT_TEXT)
		return err_set(e, -E2BIG, "text: %zu bytes, limit %u", rec->text_len, LIMIT_TEXT);
	return 0;
}

static int give_object(struct reader *r, const struct json *o, bool final, struct err *e)
{
	struct parts parts = { 0 };
	struct record rec = { 0 };
	int rc;

	if (!json_is_object(o))
		return err_set(e, -EINVAL, "expected an object with a vector");
	rc = take_id(o, &parts, &rec, e);
	if (rc == 0)
		rc = take_vector(r, o, &rec, e);
	if (rc == 0)
		rc = take_metadata(o, &parts, &rec, e);
	if (rc == 0)
		rc = take_text(o, &rec, e);
	if (rc == 0)
		rc = reader_give(r, &rec, final, e);
	buf_release(&parts.metadata);
	return rc;
}

/* 1: a record was given. */
static int give_text(struct reader *r, const char *s, size_t n, bool final, struct err *e)
{
	struct json *o;
	int rc = json_parse(s, n, &o, e);

	if (rc < 0)
		return rc;
	rc = give_object(r, o, final, e);
	json_free(o);
	return rc < 0 ? rc : 1;
}

static bool is_white(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int json_line(struct reader *r, const char *s, const char *end, bool final, struct err *e)
{
	while (s < end && is_white(*s))
		s++;
	return s == end ? 0 : give_text(r, s, (size_t)(end - s), final, e);
}

/* ---- one array ---- */

/* The byte after the element's end, or NULL: it goes on after end. */
static const char *element_end(struct json_split *j, const char *p, const char *end)
{
	for (; p < end; p++) {
		if (j->in_string) {
			if (j->escaped)
				j->escaped = false;
			else if (*p == '\\')
				j->escaped = true;
			else if (*p == '"')
				j->in_string = false;
		} else if (*p == '"') {
			j->in_string = true;
		} else if (*p == '{' || *p == '[') {
			j->depth++;
		} else if ((*p == '}' || *p == ']') && --j->depth == 0) {
			return p + 1;
		}
	}
	return NULL;
}

/* An element's bytes from p on; *p moves behind them. */
static int inside(struct reader *r, const char **p, const char *end, struct err *e)
{
	const char *to = element_end(&r->json, *p, end);
	const char *from = *p;
	size_t n = (size_t)((to ? to : end) - from);
	int rc;

	rc = n + r->carry.len > LIMIT_LINE ? err_set(e, -E2BIG, "longer than %u bytes", LIMIT_LINE)
	                                   : reader_check_pending(from, n, e);
	if (rc < 0)
		return rc;
	*p = from + n;
	if (!to || r->carry.len) {
		buf_add(&r->carry, from, n);
		if (buf_failed(&r->carry))
			return err_nomem(e);
		if (!to)
			return 0;
		from = r->carry.data;
		n = r->carry.len;
	}
	rc = give_text(r, from, n, true, e);
	buf_clear(&r->carry);
	r->json.place = JSON_AFTER;
	return rc < 0 ? rc : 0;
}

/* One character between elements. */
static int between(struct json_split *j, char c, struct err *e)
{
	switch (j->place) {
	case JSON_OPEN:
		j->place = JSON_FIRST; /* reader_tell.c saw the bracket */
		return 0;
	case JSON_AFTER:
		if (c == ',' || c == ']') {
			j->place = c == ',' ? JSON_NEXT : JSON_CLOSED;
			return 0;
		}
		return err_set(e, -EINVAL, "no comma before it");
	case JSON_FIRST:
		if (c == ']') {
			j->place = JSON_CLOSED;
			return 0;
		}
		break;
	case JSON_CLOSED:
		return err_set(e, -EINVAL, "something after the array's end");
	default:
		break;
	}
	return err_set(e, -EINVAL, "expected an object with a vector");
}

static int feed_array(struct reader *r, const char *p, size_t n, struct err *e)
{
	const char *end = p + n;
	uint64_t record = 0;
	int rc = 0;

	while (p < end && rc == 0) {
		record = r->n_records + 1;
		if (r->json.place == JSON_INSIDE) {
			rc = inside(r, &p, end, e);
		} else if (is_white(*p)) {
			p++;
		} else if (*p == '{' &&
		           (r->json.place == JSON_FIRST || r->json.place == JSON_NEXT)) {
			r->json.place = JSON_INSIDE;
		} else {
			rc = between(&r->json, *p++, e);
		}
	}
	return rc < 0 ? err_prefix(e, "record %" PRIu64, record), rc : 0;
}

/* ---- either ---- */

static int json_feed(struct reader *r, const char *p, size_t n, struct err *e)
{
	if (!r->json.told) {
		while (n && is_white(*p)) {
			r->n_lines += *p == '\n';
			p++, n--;
		}
		if (n == 0)
			return 0;
		r->json.told = true;
		r->json.place = *p == '[' ? JSON_OPEN : JSON_LINES;
	}
	return r->json.place == JSON_LINES ? reader_feed_lines(r, p, n, json_line, e)
	                                   : feed_array(r, p, n, e);
}

static int json_tail(struct reader *r, bool *ret_taken, struct err *e)
{
	if (r->json.place == JSON_LINES)
		return reader_tail_line(r, json_line, ret_taken, e);
	if (r->json.place != JSON_CLOSED)
		return err_set(e, -EINVAL,
		               "the file ends inside the JSON array, after %" PRIu64 " records",
		               r->n_records);
	return 0;
}

static bool json_waits(const struct reader *r)
{
	return r->json.place == JSON_LINES ? reader_line_waits(r) : r->json.place != JSON_CLOSED;
}

const struct reader_ops reader_json = {
	.format = READER_JSON,
	.feed = json_feed,
	.tail = json_tail,
	.waits = json_waits,
};
