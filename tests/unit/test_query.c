/*
 * Queries as clients write them: every form, every place to cut the stream, everything that is
 * refused.
 */
#include "t.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "base/limits.h"
#include "query/query.h"

#define MAX_SEEN 16

struct seen {
	struct query q;
	float v[8];
	char like[LIMIT_ID + 1];
};

struct sink {
	struct seen seen[MAX_SEEN];
	size_t n;
	int fail_at; /* 1: the first query is refused with EDOM */
};

static int take(void *ctx, const struct query *q, struct err *e)
{
	struct sink *s = ctx;
	struct seen *to = &s->seen[s->n % MAX_SEEN];

	if (s->fail_at && (int)s->n + 1 == s->fail_at)
		return err_set(e, -EDOM, "not this one");
	to->q = *q;
	if (q->v)
		memcpy(to->v, q->v, (q->dim < 8 ? q->dim : 8) * sizeof(float));
	if (q->like) {
		memcpy(to->like, q->like, q->like_len);
		to->like[q->like_len] = 0;
	}
	s->n++;
	return 0;
}

static struct query_parser *parser_for(struct sink *s)
{
	struct query_sink sink = { take, s };
	struct query_parser *p;

	memset(s, 0, sizeof *s);
	T_OK(query_parser_new(&sink, &p, NULL));
	return p;
}

/* Feeds bytes cut into three pieces, and finishes. */
static int parse_cut(struct sink *s, const char *bytes, size_t n, size_t a, size_t b, struct err *e)
{
	struct query_parser *p = parser_for(s);
	int rc = query_parser_feed(p, bytes, a, e);

	if (rc == 0)
		rc = query_parser_feed(p, bytes + a, b - a, e);
	if (rc == 0)
		rc = query_parser_feed(p, bytes + b, n - b, e);
	if (rc == 0)
		rc = query_parser_finish(p, e);
	query_parser_free(p);
	return rc;
}

static int parse(struct sink *s, const char *text, struct err *e)
{
	return parse_cut(s, text, strlen(text), 0, 0, e);
}

static void refused(const char *text, int code, const char *why)
{
	struct sink s;
	struct err e = { 0 };
	int rc = parse(&s, text, &e);

	if (rc != -code)
		fail_msg("%s: %s (%s), expected %s", text, rc ? strerror(-rc) : "taken", e.text,
		         strerror(code));
	if (!strstr(e.text, why))
		fail_msg("%s: '%s' does not say '%s'", text, e.text, why);
	assert_int_equal(e.code, -code);
}

/* ---- what is taken ---- */

static void check_options(const struct query *q)
{
	assert_int_equal(q->k, 5);
	assert_int_equal(q->ef, 100);
	assert_true(q->exact);
	assert_int_equal(q->include, INCLUDE_METADATA | INCLUDE_TEXT);
}

static void check_numbers(const struct seen *s)
{
	assert_int_equal(s->q.dim, 3);
	assert_null(s->q.like);
	assert_true(s->v[0] == 0.5f && s->v[1] == -2.0f && s->v[2] == 1e-3f);
}

static void plain_numbers(void **state)
{
	static const char *const texts[] = { "0.5 -2 1e-3", "0.5 -2 1e-3\n", "[0.5,-2,1e-3]\r\n",
		                             "\n\n \t\n0.5\t-2,1e-3 \n\r\n", "  0.5, -2, .001\n" };

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct sink s;

		T_OK(parse(&s, texts[i], NULL));
		assert_int_equal(s.n, 1);
		check_numbers(&s.seen[0]);
		assert_int_equal(s.seen[0].q.form, QUERY_LINE);
		assert_int_equal(s.seen[0].q.k, 0);
		assert_int_equal(s.seen[0].q.ef, 0);
		assert_false(s.seen[0].q.exact);
		assert_int_equal(s.seen[0].q.include, 0);
	}
}

static void line_options(void **state)
{
	struct sink s;

	T_OK(parse(&s, "k=5 ef=100\texact=1 include=metadata,text 0.5 -2 1e-3\n", NULL));
	check_options(&s.seen[0].q);
	check_numbers(&s.seen[0]);
	T_OK(parse(&s, "exact=0 k=\"10000\" 1", NULL));
	assert_false(s.seen[0].q.exact);
	assert_int_equal(s.seen[0].q.k, 10000);
}

static void line_like(void **state)
{
	struct sink s;

	T_OK(parse(&s, "like=doc:1 k=5\n", NULL));
	assert_string_equal(s.seen[0].like, "doc:1");
	assert_int_equal(s.seen[0].q.k, 5);
	assert_null(s.seen[0].q.v);
	T_OK(parse(&s, "like=\"a b \\\" \\\\\" include=\"vector,text\" k=\"5\"", NULL));
	assert_string_equal(s.seen[0].like, "a b \" \\");
	assert_int_equal(s.seen[0].q.include, INCLUDE_VECTOR | INCLUDE_TEXT);
	T_OK(parse(&s, "like=a=b\nlike=1 \n", NULL));
	assert_string_equal(s.seen[0].like, "a=b");
	assert_string_equal(s.seen[1].like, "1");
}

static void json_query(void **state)
{
	static const char *const names[] = { "vector", "embedding", "values" };
	struct sink s;
	char text[200];

	for (int i = 0; i < 3; i++) {
		snprintf(text, sizeof text,
		         " {\"k\":5, \"ef\":100,\"exact\":true,\"include\":[\"metadata\",\"text\"],"
		         "\"%s\":[0.5,-2,1e-3]}\n",
		         names[i]);
		T_OK(parse(&s, text, NULL));
		assert_int_equal(s.n, 1);
		assert_int_equal(s.seen[0].q.form, QUERY_JSON);
		check_options(&s.seen[0].q);
		check_numbers(&s.seen[0]);
	}
	T_OK(parse(&s, "{\"like\":\"\\u00e4 b\",\"include\":\"text,metadata\",\"exact\":1}", NULL));
	assert_string_equal(s.seen[0].like, "\xc3\xa4 b");
	assert_int_equal(s.seen[0].q.include, INCLUDE_METADATA | INCLUDE_TEXT);
	assert_true(s.seen[0].q.exact);
}

static const char mixed[] = "k=5 0.5 -2 1e-3\n"
			    "\n"
			    "{\"vector\":[0.5,-2,1e-3]}\n"
			    "like=\"x y\"\n"
			    "[0.5 -2 1e-3]";

static void check_mixed(const struct sink *s)
{
	assert_int_equal(s->n, 4);
	check_numbers(&s->seen[0]);
	assert_int_equal(s->seen[0].q.k, 5);
	assert_int_equal(s->seen[1].q.form, QUERY_JSON);
	check_numbers(&s->seen[1]);
	assert_string_equal(s->seen[2].like, "x y");
	assert_int_equal(s->seen[3].q.form, QUERY_LINE);
	assert_int_equal(s->seen[3].q.k, 0);
	check_numbers(&s->seen[3]);
}

static void every_cut(void **state)
{
	size_t n = sizeof mixed - 1;
	struct sink s;

	for (size_t a = 0; a <= n; a++)
		for (size_t b = a; b <= n; b++) {
			T_OK(parse_cut(&s, mixed, n, a, b, NULL));
			check_mixed(&s);
		}
}

static void complete_lines_run_at_once(void **state)
{
	struct sink s;
	struct query_parser *p = parser_for(&s);

	T_OK(query_parser_feed(p, "1 2\n3", 5, NULL));
	assert_int_equal(s.n, 1);
	assert_true(query_parser_waits(p));
	T_OK(query_parser_feed(p, " 4\n", 3, NULL));
	assert_int_equal(s.n, 2);
	assert_false(query_parser_waits(p));
	assert_true(s.seen[1].v[0] == 3 && s.seen[1].v[1] == 4);
	T_OK(query_parser_feed(p, "5", 1, NULL));
	T_OK(query_parser_finish(p, NULL));
	T_OK(query_parser_finish(p, NULL));
	assert_int_equal(s.n, 3);
	query_parser_free(p);
}

static void reset_drops_what_waits(void **state)
{
	struct sink s;
	struct query_parser *p = parser_for(&s);

	T_OK(query_parser_feed(p, "1 2 3", 5, NULL));
	query_parser_reset(p);
	assert_false(query_parser_waits(p));
	T_OK(query_parser_feed(p, "4\n", 2, NULL));
	assert_int_equal(s.n, 1);
	assert_int_equal(s.seen[0].q.dim, 1);
	query_parser_free(p);
}

/* ---- .npy ---- */

static size_t make_npy(char *out, const char *descr, const char *shape, const void *data, size_t n)
{
	char header[128];
	int len = snprintf(header, sizeof header,
	                   "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", descr, shape);

	memset(out, ' ', 128);
	memcpy(out, "\x93NUMPY\x01\x00\x76\x00", 10); /* header of 118 bytes */
	memcpy(out + 10, header, (size_t)len);
	out[127] = '\n';
	memcpy(out + 128, data, n);
	return 128 + n;
}

static const float rows[6] = { 1, 2, 3, 4, 5, 6 };

static void npy_rows(void **state)
{
	char bytes[256];
	size_t n = make_npy(bytes, "<f4", "(2, 3)", rows, sizeof rows);
	struct sink s;

	for (size_t a = 0; a <= n; a++) {
		T_OK(parse_cut(&s, bytes, n, a, a + (n - a) / 2, NULL));
		assert_int_equal(s.n, 2);
		assert_int_equal(s.seen[1].q.form, QUERY_NPY);
		assert_int_equal(s.seen[1].q.dim, 3);
		assert_true(s.seen[0].v[2] == 3 && s.seen[1].v[0] == 4);
	}
	n = make_npy(bytes, "<f4", "(6,)", rows, sizeof rows);
	T_OK(parse_cut(&s, bytes, n, 0, 0, NULL));
	assert_int_equal(s.n, 1);
	assert_int_equal(s.seen[0].q.dim, 6);
}

static void npy_refused(void **state)
{
	float bad[6] = { 1, 2, NAN, 4, 5, 6 };
	char bytes[256];
	size_t n = make_npy(bytes, "<f4", "(2, 3)", rows, sizeof rows);
	struct sink s;

	for (size_t cut = 1; cut < n; cut++)
		T_ERR(parse_cut(&s, bytes, cut, 0, 0, NULL), EINVAL);
	n = make_npy(bytes, ">f4", "(2, 3)", rows, sizeof rows);
	T_ERR(parse_cut(&s, bytes, n, 0, 0, NULL), EINVAL);
	n = make_npy(bytes, "<f4", "(2, 3)", bad, sizeof bad);
	T_ERR(parse_cut(&s, bytes, n, 0, 0, NULL), EINVAL);
	T_ERR(parse_cut(&s, "\x93garbage garbage", 16, 0, 0, NULL), EINVAL);
}

static void text_after_npy_and_reset(void **state)
{
	char bytes[256];
	size_t n = make_npy(bytes, "<f4", "(2, 3)", rows, sizeof rows);
	struct sink s;
	struct query_parser *p = parser_for(&s);

	T_OK(query_parser_feed(p, bytes, n, NULL));
	assert_int_equal(s.n, 2);
	T_OK(query_parser_finish(p, NULL));
	query_parser_reset(p);
	T_OK(query_parser_feed(p, "7\n", 2, NULL));
	assert_int_equal(s.n, 3);
	query_parser_free(p);
}

/* ---- what is refused ---- */

static void numbers_refused(void **state)
{
	refused("1 2 abc\n", EINVAL, "abc");
	refused("nan 1\n", EINVAL, "");
	refused("1 inf\n", EINVAL, "");
	refused("1 -Infinity\n", EINVAL, "");
	refused("1 1e999\n", EINVAL, "");
	refused("1 2 k=5\n", EINVAL, "k=5");
	refused("[1 2\n", EINVAL, "");
	refused("1 2]\n", EINVAL, "");
	refused("0x10\n", EINVAL, "");
	refused("hello world\n", EINVAL, "");
	refused("k=5\n", EINVAL, "no numbers");
	refused("\xff\xfe\x01\n", EINVAL, "");
	refused("1 2\n3 x\n", EINVAL, "query 2");
}

static void options_refused(void **state)
{
	refused("where=\"a = 1\" 1 2\n", EINVAL, "where");
	refused("text=\"hello there\"\n", EINVAL, "text");
	refused("limit=5 1\n", EINVAL, "limit");
	refused("K=5 1\n", EINVAL, "'K'");
	refused("vector=5 1\n", EINVAL, "without a name");
	refused("k=5 k=6 1\n", EINVAL, "twice");
	refused("k=0 1\n", ERANGE, "1 to 10000");
	refused("k=10001 1\n", ERANGE, "10001");
	refused("k=-1 1\n", ERANGE, "-1");
	refused("k=99999999999999999999999 1\n", ERANGE, "1 to 10000");
	refused("k=4294967297 1\n", ERANGE, "4294967297");
	refused("ef=0 1\n", ERANGE, "ef");
	refused("ef=100001 1\n", ERANGE, "100000");
	refused("k= 1\n", EINVAL, "whole number");
	refused("k=5.5 1\n", EINVAL, "whole number");
	refused("exact=2 1\n", EINVAL, "exact");
	refused("exact=yes 1\n", EINVAL, "exact");
	refused("include=vectors 1\n", EINVAL, "vectors");
	refused("include=text, 1\n", EINVAL, "include");
	refused("like=a 1 2\n", EINVAL, "numbers after like");
	refused("like= 1\n", EINVAL, "like");
	refused("like=\"\"\n", EINVAL, "like");
	refused("like=a/b/c\n", EINVAL, "like"); /* a/b: across tenants */
	refused("like=..\n", EINVAL, "like");
	refused("like=\"a b\n", EINVAL, "not closed");
	refused("like=\"a\"b\n", EINVAL, "closing quote");
}

static void json_refused(void **state)
{
	refused("{\"vector\":[1,2]\n", EINVAL, "");
	refused("{\"vector\":[1,2]} x\n", EINVAL, "");
	refused("{}\n", EINVAL, "no vector");
	refused("{\"vector\":[]}\n", EINVAL, "empty");
	refused("{\"vector\":[1,\"a\"]}\n", EINVAL, "");
	refused("{\"vector\":[1,1e999]}\n", EINVAL, "");
	refused("{\"vector\":[1,1e39]}\n", EINVAL, "");
	refused("{\"vector\":[1,NaN]}\n", EINVAL, "");
	refused("{\"vector\":\"1 2\"}\n", EINVAL, "array");
	refused("{\"vector\":[1],\"values\":[1]}\n", EINVAL, "twice");
	refused("{\"vector\":[1],\"vector\":[1]}\n", EINVAL, "");
	refused("{\"vector\":[1],\"like\":\"a\"}\n", EINVAL, "one of them");
	refused("{\"vector\":[1],\"k\":0}\n", ERANGE, "k");
	refused("{\"vector\":[1],\"k\":1e30}\n", ERANGE, "k");
	refused("{\"vector\":[1],\"k\":-1}\n", ERANGE, "k");
	refused("{\"vector\":[1],\"k\":1.5}\n", EINVAL, "whole");
	refused("{\"vector\":[1],\"k\":\"5\"}\n", EINVAL, "whole");
	refused("{\"vector\":[1],\"ef\":100001}\n", ERANGE, "ef");
	refused("{\"vector\":[1],\"exact\":\"no\"}\n", EINVAL, "exact");
	refused("{\"vector\":[1],\"include\":[\"all\"]}\n", EINVAL, "all");
	refused("{\"vector\":[1],\"include\":[1]}\n", EINVAL, "string");
	refused("{\"vector\":[1],\"include\":1}\n", EINVAL, "include");
	refused("{\"vector\":[1],\"where\":\"a\"}\n", EINVAL, "where");
	refused("{\"vector\":[1],\"top_k\":3}\n", EINVAL, "top_k");
	refused("{\"like\":5}\n", EINVAL, "like");
	refused("{\"like\":\"a\\u0000b\"}\n", EINVAL, "");
}

static void too_long_lines(void **state)
{
	char *line = malloc(LIMIT_LINE + 16);
	struct sink s;

	memset(line, ' ', LIMIT_LINE + 16);
	line[0] = '1';
	line[LIMIT_LINE] = '\n';
	T_OK(parse_cut(&s, line, LIMIT_LINE + 1, 0, 0, NULL));
	T_OK(parse_cut(&s, line, LIMIT_LINE + 1, 4096, LIMIT_LINE, NULL));
	assert_int_equal(s.n, 1);
	line[LIMIT_LINE] = ' ';
	line[LIMIT_LINE + 1] = '\n';
	T_ERR(parse_cut(&s, line, LIMIT_LINE + 2, 0, 0, NULL), E2BIG);
	T_ERR(parse_cut(&s, line, LIMIT_LINE + 2, 4096, LIMIT_LINE, NULL), E2BIG);
	T_ERR(parse_cut(&s, line, LIMIT_LINE + 1, 0, 0, NULL), E2BIG);
	assert_int_equal(s.n, 0);
	free(line);
}

static void too_many_numbers(void **state)
{
	size_t n = 2 * (LIMIT_DIMENSION + 1);
	char *line = malloc(n);
	struct sink s;

	for (size_t i = 0; i < n; i += 2)
		memcpy(line + i, "1 ", 2);
	line[n - 1] = '\n';
	T_ERR(parse_cut(&s, line, n, 0, 0, NULL), E2BIG);
	T_OK(parse_cut(&s, line + 2, n - 2, 0, 0, NULL));
	assert_int_equal(s.seen[0].q.dim, LIMIT_DIMENSION);
	free(line);
}

static void an_error_drops_the_rest(void **state)
{
	struct sink s;
	struct query_parser *p = parser_for(&s);
	struct err e;

	T_ERR(query_parser_feed(p, "1\nx\n2\n3", 7, &e), EINVAL);
	assert_int_equal(s.n, 1);
	assert_false(query_parser_waits(p));
	T_OK(query_parser_feed(p, "4\n", 2, NULL));
	assert_int_equal(s.n, 2);
	assert_true(s.seen[1].v[0] == 4);
	query_parser_free(p);
}

static void the_sinks_error_is_the_feeds(void **state)
{
	struct sink s;
	struct query_parser *p = parser_for(&s);
	struct err e;

	s.fail_at = 2;
	T_ERR(query_parser_feed(p, "1\n2\n3\n", 6, &e), EDOM);
	assert_string_equal(e.text, "query 2: not this one");
	assert_int_equal(s.n, 1);
	query_parser_free(p);
}

/* Random bytes and mutations: never more than an error. */
static void noise(void **state)
{
	static const char alphabet[] = "01.e-+[]{}\",: \t\n\\k=ef=like=include\xc3\xa4\x93\x00N";
	unsigned seed = (unsigned)t_seed();

	for (int i = 0; i < 20000; i++) {
		char text[64];
		size_t n = (size_t)(rand_r(&seed) % (int)sizeof text);
		size_t a = n ? (size_t)rand_r(&seed) % (n + 1) : 0;
		struct err e = { 0 };
		struct sink s;
		int rc;

		for (size_t j = 0; j < n; j++)
			text[j] = alphabet[(size_t)rand_r(&seed) % (sizeof alphabet - 1)];
		rc = parse_cut(&s, text, n, a, n, &e);
		if (rc < 0 && (e.code != rc || !e.text[0]))
			fail_msg("error %d without a sentence", rc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_numbers),
		cmocka_unit_test(line_options),
		cmocka_unit_test(line_like),
		cmocka_unit_test(json_query),
		cmocka_unit_test(every_cut),
		cmocka_unit_test(complete_lines_run_at_once),
		cmocka_unit_test(reset_drops_what_waits),
		cmocka_unit_test(npy_rows),
		cmocka_unit_test(npy_refused),
		cmocka_unit_test(text_after_npy_and_reset),
		cmocka_unit_test(numbers_refused),
		cmocka_unit_test(options_refused),
		cmocka_unit_test(json_refused),
		cmocka_unit_test(too_long_lines),
		cmocka_unit_test(too_many_numbers),
		cmocka_unit_test(an_error_drops_the_rest),
		cmocka_unit_test(the_sinks_error_is_the_feeds),
		cmocka_unit_test(noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
