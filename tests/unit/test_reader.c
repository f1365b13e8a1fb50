/*
 * test_reader.c: every format, in every splitting of its bytes, and every kind of bad input.
 *
 * What a stream gave is written down as text, one record a line as "position [id=…] numbers
 * [metadata] [\"text\"]", then how it ended. The same bytes must give the same page whether they
 * come at once, in two pieces or one by one.
 */
#include "t.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "vector/reader.h"

struct seen {
	struct buf page;
	size_t dimension; /* of the collection: refuses others, 0: accepts all */
};

static int take(void *ctx, const struct record *r, struct err *e)
{
	struct seen *s = ctx;

	if (s->dimension && r->dim != s->dimension)
		return err_set(e, -EINVAL, "expected %zu numbers, got %zu", s->dimension, r->dim);
	assert_true(r->dim >= 1 && r->dim <= LIMIT_DIMENSION);
	buf_addf(&s->page, "%llu", (unsigned long long)r->position);
	if (r->id)
		buf_addf(&s->page, " id=%.*s", (int)r->id_len, r->id);
	for (size_t i = 0; i < r->dim && i < 8; i++)
		buf_addf(&s->page, " %g", (double)r->v[i]);
	if (r->dim > 8)
		buf_addf(&s->page, " ... %g", (double)r->v[r->dim - 1]);
	if (r->metadata)
		buf_addf(&s->page, " %.*s", (int)r->metadata_len, r->metadata);
	if (r->text)
		buf_addf(&s->page, " \"%.*s\"", (int)r->text_len, r->text);
	buf_addc(&s->page, '\n');
	return 0;
}

static size_t dimension_of(void *ctx)
{
	return ((struct seen *)ctx)->dimension;
}

static struct reader *reader(const char *name, struct seen *s)
{
	struct reader_sink sink = { .record = take, .dimension = dimension_of, .ctx = s };
	struct reader *r;

	T_OK(reader_new(name, &sink, &r, NULL));
	return r;
}

/* A piece in exactly its own memory, so that the address sanitizer sees a read beyond it. */
static int feed(struct reader *r, const char *p, size_t n, struct err *e)
{
	char *copy = mem_alloc(n ? n : 1, 1);
	int rc;

	memcpy(copy, p, n);
	rc = reader_feed(r, copy, n, e);
	memset(copy, 'x', n);
	mem_free(copy);
	return rc;
}

struct input {
	const char *name;
	const char *p;
	size_t n;
	size_t dimension;
};

/* Pieces of `step` bytes, the first of `first`. */
static void page_of(const struct input *in, size_t first, size_t step, struct buf *ret)
{
	struct seen s = { .dimension = in->dimension };
	struct reader *r = reader(in->name, &s);
	struct err e = { 0 };
	int rc = 0;

	for (size_t at = 0, n = first; at < in->n && rc == 0; at += n, n = step) {
		if (n > in->n - at)
			n = in->n - at;
		rc = feed(r, in->p + at, n, &e);
	}
	if (rc == 0)
		rc = reader_take_tail(r, NULL, &e);
	buf_add(ret, s.page.data ? s.page.data : "", s.page.len);
	if (rc < 0)
		buf_addf(ret, "%s: %s\n", strerror(-rc), e.text);
	buf_release(&s.page);
	reader_free(r);
}

static void expect(const struct input *in, const char *want)
{
	BUF_AUTO struct buf whole = BUF_INIT;

	page_of(in, in->n, 1, &whole);
	if (strcmp(whole.data ? whole.data : "", want) != 0)
		fail_msg("%s at once:\n%s\nexpected:\n%s", in->name, whole.data, want);
	for (size_t first = 1; first <= in->n && in->n < 5000; first++) {
		for (size_t step = 1; step <= in->n;
		     step = step == 1 && first == 1 ? 3 : in->n + 1) {
			BUF_AUTO struct buf cut = BUF_INIT;

			page_of(in, first, first == 1 ? step : in->n, &cut);
			if (strcmp(cut.data ? cut.data : "", want) != 0)
				fail_msg("%s cut at %zu, %zu:\n%s\nexpected:\n%s", in->name, first,
				         step, cut.data, want);
		}
	}
}

#define BYTES(literal) literal, sizeof(literal) - 1

/* ---- text ---- */

static void text(void **state)
{
	static const struct {
		const char *name, *p;
		size_t n;
		const char *want;
	} cases[] = {
		{ "a", BYTES("1 2 3\n4,5,6\n"), "0 1 2 3\n1 4 5 6\n" },
		{ "a", BYTES("1 2 3\n4 5 6"), "0 1 2 3\n1 4 5 6\n" },
		{ "a", BYTES("[1, 2]\r\n\r\n\n \t\n[3, 4]\r\n"), "0 1 2\n1 3 4\n" },
		{ "a.txt", BYTES("doc1\t[1,2]\ndoc two\t3 4\n"),
		  "0 id=doc1 1 2\n1 id=doc two 3 4\n" },
		{ "a.csv", BYTES("1,2\n3,4\n"), "0 1 2\n1 3 4\n" },
		{ "a.tsv", BYTES("1\t2\t3\n0.5\t2\n"), "0 1 2 3\n1 id=0.5 2\n" },
		{ "a", BYTES("\n\n1\n"), "0 1\n" },
		{ "a", BYTES("1\n"), "0 1\n" },
		{ "a", BYTES("1"), "0 1\n" },
		{ "a.fvecs", BYTES("1\n"), "0 1\n" },
		{ "a.fvecs", BYTES("1 2 3\n4 5 6\n"), "0 1 2 3\n1 4 5 6\n" },
		{ "a.npy", BYTES("1 2 3\n"), "0 1 2 3\n" },
		{ "a.json", BYTES("[1, 2, 3]\n[4,5,6]\n"), "0 1 2 3\n1 4 5 6\n" },
		{ "a",
		  BYTES("\xef\xbb\xbf"
		        "1 2\n3 4\n"),
		  "0 1 2\n1 3 4\n" },
		{ "a", BYTES("\xef\xbb\xbf"), "" },
		{ "a", BYTES("\xc3\xa9\t1 2\n"), "0 id=\xc3\xa9 1 2\n" },
		{ "a", BYTES(""), "" },
		{ "a.npy", BYTES(""), "" },
		{ "a", BYTES("\n"), "" },
		{ "a", BYTES(" \r\n\n\t"), "" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect(&(struct input){ cases[i].name, cases[i].p, cases[i].n, 0 }, cases[i].want);
}

static void bad_text(void **state)
{
	static const struct {
		const char *name, *p;
		size_t n, dimension;
		const char *want;
	} cases[] = {
		{ "a", BYTES("1 2\n3 x\n5 6\n"), 0,
		  "0 1 2\nInvalid argument: line 2: number 2: 'x' is not a number\n" },
		{ "a", BYTES("1 2\n\n3 4 5\n"), 2,
		  "0 1 2\nInvalid argument: line 3: expected 2 numbers, got 3\n" },
		{ "a", BYTES("1 2\n3"), 2,
		  "0 1 2\nInvalid argument: line 2: expected 2 numbers, got 1\n" },
		{ "a", BYTES("1 nan\n"), 0,
		  "Invalid argument: line 1: number 2: nan is not finite\n" },
		{ "a", BYTES("1 1e999\n"), 0,
		  "Invalid argument: line 1: number 2: 1e999 is out of range of a 32-bit float\n" },
		{ "a", BYTES("a/b\t1 2\n"), 0,
		  "Invalid argument: line 1: the ID holds a slash at byte 2\n" },
		{ "a", BYTES("..\t1 2\n"), 0,
		  "Invalid argument: line 1: the ID is '..', a name of a directory\n" },
		{ "a", BYTES("\t1 2\n"), 0, "Invalid argument: line 1: the ID is empty\n" },
		{ "a", BYTES("doc\t\n"), 0, "Invalid argument: line 1: no numbers\n" },
		{ "a", BYTES("1 2\n[]\n"), 0, "0 1 2\nInvalid argument: line 2: no numbers\n" },
		{ "a", BYTES("a\x07\t1 2\n"), 0,
		  "Invalid argument: line 1: the ID holds the control character 0x07 at byte 2\n" },
		{ "a", BYTES("a\xff\t1 2\n"), 0,
		  "Invalid argument: line 1: the ID is not UTF-8: byte 2 is 0xff\n" },
		{ "a", BYTES("[1 2"), 0, "Invalid argument: line 1: no closing bracket\n" },
		{ "a", BYTES("["), 0, "Invalid argument: the file ends inside a bracket\n" },
		{ "a", BYTES("1 2 \0 3\n"), 0,
		  "Invalid argument: line 1: byte 0x00 is not text\n" },
		{ "a", BYTES("\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00"), 0,
		  "Invalid argument: line 1: byte 0x00 is not text\n" },
		{ "a", BYTES("\x89PNG\r\n"), 0,
		  "Invalid argument: line 1: number 1: '?PNG' is not a number\n" },
		{ "a.txt", BYTES("\x1f\x8b\x08\x00\x00"), 0,
		  "Invalid argument: gzip is not read yet; write what `gunzip` gives\n" },
		{ "a.gz", BYTES("\x28\xb5\x2f\xfd\x04"), 0,
		  "Invalid argument: zstd is not read yet; write what `unzstd` gives\n" },
		{ "a.npz", BYTES("PK\x03\x04\x14"), 0,
		  "Invalid argument: zip archives and .npz are not read; write one array saved by "
		  "numpy.save\n" },
		{ "a",
		  BYTES("\xff\xfe"
		        "1\0 \0"),
		  0, "Invalid argument: UTF-16 is not read; write UTF-8\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect(&(struct input){ cases[i].name, cases[i].p, cases[i].n, cases[i].dimension },
		       cases[i].want);
}

/* ---- JSON ---- */

static void json(void **state)
{
	static const struct {
		const char *name, *p;
		size_t n;
		const char *want;
	} cases[] = {
		{ "a.jsonl",
		  BYTES("{\"id\":\"x\",\"vector\":[1,2]}\n{\"embedding\":[3,4.5],\"id\":7}\n"),
		  "0 id=x 1 2\n1 id=7 3 4.5\n" },
		{ "a",
		  BYTES(" {\"values\":[1],\"payload\":{\"b\":[1,{\"c\":null}], \"a\":\"}]\"},\"z\":0}\r\n\n"
		        "{\"vector\":[2],\"document\":\"h\\u00e9\",\"id\":null,\"metadata\":null}"),
		  "0 1 {\"b\":[1,{\"c\":null}],\"a\":\"}]\"}\n1 2 \"h\xc3\xa9\"\n" },
		{ "a.txt",
		  BYTES("[{\"id\":\"]}\",\"vector\":[1,2]},\n {\"vector\":[3,4],\"content\":\"a\\\"}]\\\\\"}]\n"),
		  "0 id=]} 1 2\n1 3 4 \"a\"}]\\\"\n" },
		{ "a", BYTES("[]"), "" },
		{ "a", BYTES(" [ ] \n"), "" },
		{ "a", BYTES("\n[\n{\"vector\":[1]}\n,\n{\"vector\":[2]}\n]"), "0 1\n1 2\n" },
		{ "a", BYTES("\xef\xbb\xbf{\"vector\":[1]}\n"), "0 1\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect(&(struct input){ cases[i].name, cases[i].p, cases[i].n, 0 }, cases[i].want);
}

static void bad_json(void **state)
{
	static const struct {
		const char *p;
		size_t n, dimension;
		const char *want;
	} cases[] = {
		{ BYTES("{\"vector\":[1]}\n\n{\"vector\":[1,2]}\n"), 1,
		  "0 1\nInvalid argument: line 3: expected 1 numbers, got 2\n" },
		{ BYTES("\n{\"id\":1}\n"), 0,
		  "Invalid argument: line 2: no vector: a member vector, embedding or values is needed\n" },
		{ BYTES("{\"vector\":[]}\n"), 0, "Invalid argument: line 1: vector: no numbers\n" },
		{ BYTES("{\"vector\":1}\n"), 0,
		  "Invalid argument: line 1: vector: not an array of numbers\n" },
		{ BYTES("{\"vector\":[\"1\"]}\n"), 0,
		  "Invalid argument: line 1: number 1: not a number\n" },
		{ BYTES("{\"vector\":[1],\"id\":1.5}\n"), 0,
		  "Invalid argument: line 1: id: neither a string nor a whole number\n" },
		{ BYTES("{\"vector\":[1],\"id\":\"a/b\"}\n"), 0,
		  "Invalid argument: line 1: the ID holds a slash at byte 2\n" },
		{ BYTES("{\"vector\":[1],\"metadata\":[]}\n"), 0,
		  "Invalid argument: line 1: metadata: not an object\n" },
		{ BYTES("{\"vector\":[1],\"text\":{}}\n"), 0,
		  "Invalid argument: line 1: text: not a string\n" },
		{ BYTES("{\"vector\":[1]}\n[1]\n"), 0,
		  "0 1\nInvalid argument: line 2: expected an object with a vector\n" },
		{ BYTES("[{\"vector\":[1]} {\"vector\":[2]}]"), 0,
		  "0 1\nInvalid argument: record 2: no comma before it\n" },
		{ BYTES("[{\"vector\":[1]},]"), 0,
		  "0 1\nInvalid argument: record 2: expected an object with a vector\n" },
		{ BYTES("[{\"vector\":[1]}, 7]"), 0,
		  "0 1\nInvalid argument: record 2: expected an object with a vector\n" },
		{ BYTES("[{\"vector\":[1]}] x"), 0,
		  "0 1\nInvalid argument: record 2: something after the array's end\n" },
		{ BYTES("[{\"vector\":[1]},{\"vector\":[1,2]}]"), 1,
		  "0 1\nInvalid argument: record 2: expected 1 numbers, got 2\n" },
		{ BYTES("[{\"vector\":[1]},{\"vec"), 0,
		  "0 1\nInvalid argument: the file ends inside the JSON array, after 1 records\n" },
		{ BYTES("[{\"vector\":[1]}"), 0,
		  "0 1\nInvalid argument: the file ends inside the JSON array, after 1 records\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect(&(struct input){ "a.json", cases[i].p, cases[i].n, cases[i].dimension },
		       cases[i].want);
}

static void json_syntax_errors_name_the_place(void **state)
{
	static const char *const bad[] = { "{\"vector\":[1}\n", "{\n", "{\"a\":1,\"a\":2}\n",
		                           "[{\"vector\":1]]}]", "[{\"vector\":[1}]" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct seen s = { 0 };
		struct reader *r = reader("a", &s);
		struct err e;

		T_ERR(feed(r, bad[i], strlen(bad[i]), &e), EINVAL);
		assert_non_null(strstr(e.text, " 1: not JSON: "));
		reader_free(r);
	}
}

static void json_limits(void **state)
{
	static const struct {
		const char *before, *after;
		size_t n;
		int code;
	} cases[] = {
		{ "{\"vector\":[1],\"text\":\"", "\"}\n", LIMIT_TEXT, 0 },
		{ "{\"vector\":[1],\"text\":\"", "\"}\n", LIMIT_TEXT + 1, E2BIG },
		{ "{\"vector\":[1],\"metadata\":{\"a\":\"", "\"}}\n", LIMIT_METADATA - 8, 0 },
		{ "{\"vector\":[1],\"metadata\":{\"a\":\"", "\"}}\n", LIMIT_METADATA - 7, E2BIG },
		{ "{\"vector\":[1],\"z\":\"", "\"}\n", LIMIT_LINE - 22, 0 },
		{ "{\"vector\":[1],\"z\":\"", "\"}\n", LIMIT_LINE, E2BIG },
		{ "[{\"vector\":[1],\"z\":\"", "\"}]\n", LIMIT_LINE - 22, 0 },
		{ "[{\"vector\":[1],\"z\":\"", "\"}]\n", LIMIT_LINE, E2BIG },
		{ "[{\"vector\":[1],\"z\":\"", "", LIMIT_LINE + 1, E2BIG },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		BUF_AUTO struct buf b = BUF_INIT;
		struct err e;

		buf_adds(&b, cases[i].before);
		for (size_t j = 0; j < cases[i].n; j++)
			buf_addc(&b, 'x');
		buf_adds(&b, cases[i].after);
		for (size_t piece = 70001; piece <= b.len + 70001; piece += b.len) {
			struct seen s = { 0 };
			struct reader *r = reader("a", &s);
			int rc = 0;

			for (size_t at = 0; at < b.len && rc == 0; at += piece)
				rc = feed(r, b.data + at, b.len - at < piece ? b.len - at : piece,
				          &e);
			if (rc != -cases[i].code)
				fail_msg("case %zu: %d %s", i, rc, e.text);
			buf_release(&s.page);
			reader_free(r);
		}
	}
}

/* ---- .npy ---- */

static void npy_header(struct buf *b, unsigned version, const char *dict)
{
	size_t n = strlen(dict);

	buf_add(b, "\x93NUMPY", 6);
	buf_addc(b, (char)version);
	buf_addc(b, 0);
	for (size_t i = 0; i < (version == 1 ? 2 : 4); i++)
		buf_addc(b, (char)(n >> 8 * i));
	buf_adds(b, dict);
}

static void expect_npy(unsigned version, const char *dict, const void *rows, size_t n,
                       size_t dimension, const char *want)
{
	BUF_AUTO struct buf b = BUF_INIT;

	npy_header(&b, version, dict);
	buf_add(&b, rows, n);
	expect(&(struct input){ "a.npy", b.data, b.len, dimension }, want);
	expect(&(struct input){ "a", b.data, b.len, dimension }, want);
}

static const float six[6] = { 1, 2, 3, 4, 5, -6.5f };

static void npy(void **state)
{
	static const double d6[6] = { 1, 2, 3, 4, 5, 0.1 };
	static const uint16_t h6[6] = { 0x3c00, 0xc000, 0x7bff, 0x0001, 0x8000, 0x3555 };
	static const unsigned char b6[6] = { 0, 1, 127, 128, 255, 7 };

	expect_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", six, 24,
	           0, "0 1 2 3\n1 4 5 -6.5\n");
	expect_npy(2, "{'descr':'<f4','fortran_order':False,'shape':(3,2)}", six, 24, 2,
	           "0 1 2\n1 3 4\n2 5 -6.5\n");
	expect_npy(3, "{\"shape\": (6,), 'fortran_order': False, 'descr': '<f4'}\n", six, 24, 0,
	           "0 1 2 3 4 5 -6.5\n");
	expect_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }\n", six, 24, 0,
	           "0 1 2 3\n1 4 5 -6.5\n");
	expect_npy(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }\n", d6, 48, 0,
	           "0 1 2 3\n1 4 5 0.1\n");
	expect_npy(1, "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }\n", h6, 12, 0,
	           "0 1 -2 65504\n1 5.96046e-08 -0 0.333252\n");
	expect_npy(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }\n", b6, 6, 0,
	           "0 0 1 127\n1 128 255 7\n");
	expect_npy(1, "{'descr': '|i1', 'fortran_order': False, 'shape': (2, 3), }\n", b6, 6, 0,
	           "0 0 1 127\n1 -128 -1 7\n");
	expect_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }\n", "", 0, 0,
	           "");
}

static void bad_npy(void **state)
{
	static const struct {
		const char *dict, *want;
		size_t n, dimension;
	} cases[] = {
		{ "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }",
		  "Invalid argument: .npy: big-endian values (descr '>f4'); save a.astype('<f4')\n",
		  24, 0 },
		{ "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }",
		  "Invalid argument: .npy: Fortran order; save numpy.ascontiguousarray(a)\n", 24,
		  0 },
		{ "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }",
		  "Invalid argument: .npy: pickled Python objects (descr '|O'); save a.astype('<f4')\n",
		  24, 0 },
		{ "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3), }",
		  "Invalid argument: .npy: values of type '<i8'; float16, float32, float64, int8 and uint8 are "
		  "read\n",
		  24, 0 },
		{ "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }",
		  "Invalid argument: .npy: records with named fields; save one array of numbers\n",
		  24, 0 },
		{ "{'descr': '<f4', 'fortran_order': False, 'shape': (), }",
		  "Invalid argument: .npy: an array of 0 dimensions, expected 1 (one vector) or 2 (rows)\n",
		  4, 0 },
		{ "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }",
		  "Invalid argument: .npy: an array of 3 dimensions, expected 1 (one vector) or 2 (rows)\n",
		  24, 0 },
		{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 0), }",
		  "Invalid argument: .npy: dimension 0\n", 0, 0 },
		{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 16385), }",
		  "Argument list too long: .npy: dimension 16385, limit 16384\n", 24, 0 },
		{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 99999999999999999999999), }",
		  "Argument list too long: .npy: dimension 18446744073709551615, limit 16384\n", 24,
		  0 },
		{ "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 3), }",
		  "Argument list too long: .npy: 4611686018427387904 rows of 3 numbers\n", 24, 0 },
		{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
		  "Invalid argument: .npy: dimension 3, expected 4\n", 24, 4 },
		{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
		  "0 1 2 3\nInvalid argument: the file ends in record 2 of 2\n", 23, 0 },
		{ "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3), }",
		  "0 1 2 3\n1 4 5 -6.5\nInvalid argument: the file ends in record 3 of 3\n", 24,
		  0 },
		{ "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 5), }",
		  "0 1 2 3 4 5\nInvalid argument: .npy: bytes after the 1 vectors that its header names\n",
		  24, 0 },
		{ "{'descr': '<f4', 'fortran_order': False, }",
		  "Invalid argument: .npy: its header is damaged\n", 24, 0 },
		{ "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2, 3), }",
		  "Invalid argument: .npy: its header is damaged\n", 24, 0 },
		{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3), }",
		  "Invalid argument: .npy: its header is damaged\n", 24, 0 },
		{ "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } x",
		  "Invalid argument: .npy: its header is damaged\n", 24, 0 },
		{ "{'descr': '<f4", "Invalid argument: .npy: its header is damaged\n", 24, 0 },
		{ "", "Invalid argument: .npy: a header of 0 bytes, limit 65535\n", 24, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		expect_npy(1, cases[i].dict, six, cases[i].n, cases[i].dimension, cases[i].want);
		expect_npy(2, cases[i].dict, six, cases[i].n, cases[i].dimension, cases[i].want);
	}
}

static void bad_npy_prefix(void **state)
{
	static const struct {
		const char *p;
		size_t n;
		const char *want;
	} cases[] = {
		{ BYTES("\x93NUMPY\x04\x00\x10\x00"),
		  "Invalid argument: .npy: version 4.0, expected 1 to 3\n" },
		{ BYTES("\x93NUMPY\x02\x00\xff\xff\xff\xff"),
		  "Invalid argument: .npy: a header of 4294967295 bytes, limit 65535\n" },
		{ BYTES("\x93NUMPY\x01\x00\xff\xff{'descr"),
		  "Invalid argument: the file ends inside the header of .npy\n" },
		{ BYTES("\x93NUMPY\x01"),
		  "Invalid argument: the file ends inside the header of .npy\n" },
		{ BYTES("\x93NU"),
		  "Invalid argument: the file ends after 3 bytes, too few to tell its format\n" },
		{ BYTES("\x01\x02\x03\x04\x05\x06"),
		  "Invalid argument: no .npy file: it does not begin with \\x93NUMPY\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect(&(struct input){ "a.npy", cases[i].p, cases[i].n, 0 }, cases[i].want);
}

static void npy_values_are_finite(void **state)
{
	static const uint32_t f4[2] = { 0x3f800000, 0x7fc00000 };
	static const double f8[2] = { 1, 1e39 };
	static const uint16_t f2[2] = { 0x3c00, 0x7c00 };

	expect_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", f4, 8, 0,
	           "Invalid argument: record 1: number 2: nan is not finite\n");
	expect_npy(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1), }", f8, 16, 0,
	           "0 1\nInvalid argument: record 2: number 1: not finite as a 32-bit float\n");
	expect_npy(1, "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 1), }", f2, 4, 0,
	           "0 1\nInvalid argument: record 2: number 1: not finite as a 32-bit float\n");
}

/* ---- TexMex ---- */

static void add_row(struct buf *b, int32_t dim, const void *values, size_t n)
{
	buf_add(b, &dim, sizeof(dim));
	buf_add(b, values, n);
}

static void vecs(void **state)
{
	static const char *const names[] = { "a.fvecs", "A.FVECS", "a", "a.txt" };
	BUF_AUTO struct buf b = BUF_INIT;

	add_row(&b, 3, six, 12);
	add_row(&b, 3, six + 3, 12);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		expect(&(struct input){ names[i], b.data, b.len, 3 }, "0 1 2 3\n1 4 5 -6.5\n");
	buf_clear(&b);
	add_row(&b, 3, "\x00\x7f\xff", 3);
	add_row(&b, 3, "abc", 3);
	expect(&(struct input){ "a.bvecs", b.data, b.len, 0 }, "0 0 127 255\n1 97 98 99\n");
}

/* Dimensions whose first bytes could be text. */
static void vecs_that_look_like_text(void **state)
{
	static const int32_t dims[] = { '\n', '1', '[', '{', 0x0a0a, 0x3131, 0x8b1e };
	static float v[0x3131];

	for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]); i++) {
		BUF_AUTO struct buf b = BUF_INIT;
		BUF_AUTO struct buf want = BUF_INIT;
		struct seen s = { 0 };
		struct reader *r = reader("a", &s);
		struct err e;
		int rc = 0;

		add_row(&b, dims[i], v, sizeof(v[0]) * (dims[i] <= 0x3131 ? (size_t)dims[i] : 0));
		for (size_t at = 0; at < b.len && rc == 0; at++)
			rc = feed(r, b.data + at, 1, &e);
		assert_int_equal(reader_format(r), READER_FVECS);
		assert_int_equal(rc, dims[i] > LIMIT_DIMENSION ? -E2BIG : 0);
		assert_int_equal(reader_records(r), rc == 0);
		buf_release(&s.page);
		reader_free(r);
	}
}

static void bad_vecs(void **state)
{
	static const uint32_t nan_row[2] = { 0x3f800000, 0xff800000 };
	static const struct {
		const char *name;
		int32_t first, second;
		size_t n_second, dimension;
		const char *want;
	} cases[] = {
		{ "a.fvecs", 0, 0, 0, 0, "Invalid argument: record 1: dimension 0\n" },
		{ "a.fvecs", -1, 0, 0, 0, "Invalid argument: record 1: dimension -1\n" },
		{ "a.fvecs", 20000, 0, 0, 0,
		  "Argument list too long: record 1: dimension 20000, limit 16384\n" },
		{ "a.fvecs", 0x7fffff00, 0, 0, 0,
		  "Argument list too long: record 1: dimension 2147483392, limit 16384\n" },
		{ "a", 20000, 0, 0, 0,
		  "Argument list too long: record 1: dimension 20000, limit 16384\n" },
		{ "a", 3, 4, 16, 4, "Invalid argument: record 1: dimension 3, expected 4\n" },
		{ "a", 3, 4, 16, 0,
		  "0 1 2 3\nInvalid argument: record 2: dimension 4, but the rows before it have 3 (is it "
		  ".bvecs?)\n" },
		{ "a", 3, 3, 11, 0, "0 1 2 3\nInvalid argument: the file ends inside record 2\n" },
		{ "a", 3, 3, 0, 0, "0 1 2 3\nInvalid argument: the file ends inside record 2\n" },
		{ "a.ivecs", 3, 3, 12, 0,
		  "Invalid argument: an .ivecs file holds neighbours' numbers, no vectors\n" },
	};
	BUF_AUTO struct buf b = BUF_INIT;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		buf_clear(&b);
		add_row(&b, cases[i].first, six, 12);
		if (cases[i].second)
			add_row(&b, cases[i].second, six, cases[i].n_second);
		expect(&(struct input){ cases[i].name, b.data, b.len, cases[i].dimension },
		       cases[i].want);
	}
	expect(&(struct input){ "a.fvecs", "\x02\x00", 2, 0 },
	       "Invalid argument: the file ends after 2 bytes, too few to tell its format\n");
	buf_clear(&b);
	add_row(&b, 2, nan_row, 8);
	expect(&(struct input){ "a", b.data, b.len, 0 },
	       "Invalid argument: record 1: number 2: inf is not finite\n");
}

/* Only for who asks for it. */
static void ivecs(void **state)
{
	static const struct {
		const char *name;
		int32_t numbers[3];
		const char *want;
	} cases[] = {
		{ "a.ivecs", { -16777216, 16777216, 7 }, "0 -1.67772e+07 1.67772e+07 7\n" },
		{ "A.IVECS", { 0, INT32_MIN, 1 << 30 }, "0 0 -2.14748e+09 1.07374e+09\n" },
		{ "a.ivecs", { 1, 2, 16777217 }, "record 1: number 3: 16777217 is not exact" },
		{ "a.ivecs", { INT32_MAX, 2, 3 }, "record 1: number 1: 2147483647 is not exact" },
		{ "a", { 1, 2, 3 }, "0 1.4013e-45 2.8026e-45 4.2039e-45\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		BUF_AUTO struct buf b = BUF_INIT;
		struct seen s = { BUF_INIT, 0 };
		struct reader *r = reader(cases[i].name, &s);
		struct err e = { 0 };

		reader_allow_ivecs(r);
		add_row(&b, 3, cases[i].numbers, sizeof(cases[i].numbers));
		if (feed(r, b.data, b.len, &e) < 0)
			buf_adds(&s.page, e.text);
		buf_addc(&s.page, '\0');
		assert_memory_equal(s.page.data, cases[i].want, strlen(cases[i].want));
		buf_release(&s.page);
		reader_free(r);
	}
}

static void stems(void **state)
{
	static const char *const names[][2] = {
		{ "a.npy", "a" },     { "a.tar.jsonl", "a.tar" }, { "a.txt.csv", "a.txt" },
		{ "a.ivecs", "a" },   { ".npy", ".npy" },         { "a.gz", "a.gz" },
		{ "a.NPY", "a.NPY" }, { "txt", "txt" },           { "", "" },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(vector_stem_length(names[i][0], strlen(names[i][0])),
		                 strlen(names[i][1]));
}

/* ---- limits, tails, errors that stick ---- */

static void long_lines(void **state)
{
	static const char *const sentence = "line 2: longer than 1048576 bytes";
	BUF_AUTO struct buf b = BUF_INIT;

	buf_adds(&b, "1\n2");
	while (b.len < 2 + LIMIT_LINE)
		buf_addc(&b, ' ');
	for (size_t extra = 0; extra < 2; extra++) {
		buf_adds(&b, extra ? " \n" : "\n");
		for (size_t piece = 4096; piece <= b.len;
		     piece = piece == 4096 ? b.len - 1 : piece + 1) {
			struct seen s = { 0 };
			struct reader *r = reader("a", &s);
			struct err e = { 0 };
			int rc = 0;

			for (size_t at = 0; at < b.len && rc == 0; at += piece)
				rc = feed(r, b.data + at, b.len - at < piece ? b.len - at : piece,
				          &e);
			assert_int_equal(rc, extra ? -E2BIG : 0);
			assert_string_equal(e.text, extra ? sentence : "");
			assert_int_equal(reader_records(r), extra ? 1 : 2);
			buf_release(&s.page);
			reader_free(r);
		}
		b.len -= 1;
	}
}

/* White space that never ends is a stream without records, in bounded memory. */
static void endless_white_space(void **state)
{
	struct seen s = { 0 };
	struct reader *r = reader("a", &s);
	char piece[4096];

	memset(piece, '\n', sizeof(piece));
	for (size_t n = 0; n < 4u << 20; n += sizeof(piece))
		T_OK(reader_feed(r, piece, sizeof(piece), NULL));
	assert_int_equal(reader_format(r), READER_TEXT);
	T_OK(feed(r, "1 2", 3, NULL));
	T_OK(reader_take_tail(r, NULL, NULL));
	assert_string_equal(s.page.data, "0 1 2\n");
	buf_release(&s.page);
	reader_free(r);
}

/* A line that never ends is refused when the limit is passed, not when memory is. */
static void endless_line(void **state)
{
	struct seen s = { 0 };
	struct reader *r = reader("a", &s);
	char piece[4096];
	struct err e;
	size_t n = 0;
	int rc = 0;

	memset(piece, '1', sizeof(piece));
	while (rc == 0 && n < 10u << 20) {
		rc = reader_feed(r, piece, sizeof(piece), &e);
		n += sizeof(piece);
	}
	assert_int_equal(rc, -E2BIG);
	assert_int_equal(n, LIMIT_LINE + sizeof(piece));
	assert_string_equal(e.text, "line 1: longer than 1048576 bytes");
	reader_free(r);
}

static void too_many_numbers(void **state)
{
	BUF_AUTO struct buf b = BUF_INIT;
	struct seen s = { 0 };
	struct reader *r = reader("a", &s);
	struct err e;

	for (size_t i = 0; i < LIMIT_DIMENSION; i++)
		buf_adds(&b, "1 ");
	buf_addc(&b, '\n');
	T_OK(feed(r, b.data, b.len, &e));
	b.data[b.len - 1] = '1';
	buf_addc(&b, '\n');
	T_ERR(feed(r, b.data, b.len, &e), E2BIG);
	assert_string_equal(e.text, "line 2: more than 16384 numbers");
	buf_release(&s.page);
	reader_free(r);
}

static void a_tail_goes_on(void **state)
{
	struct seen s = { 0 };
	struct reader *r = reader("a", &s);
	bool taken;

	reader_set_first_position(r, 10);
	T_OK(reader_take_tail(r, &taken, NULL));
	assert_false(taken);
	T_OK(feed(r, "1 2\n3 4", 7, NULL));
	assert_int_equal(reader_records(r), 1);
	T_OK(reader_take_tail(r, &taken, NULL));
	assert_true(taken && reader_tail_was_taken(r));
	assert_int_equal(reader_records(r), 1);
	T_OK(reader_take_tail(r, &taken, NULL));
	assert_false(taken);
	assert_true(reader_tail_was_taken(r));
	T_OK(feed(r, "5\n", 2, NULL));
	assert_false(reader_tail_was_taken(r));
	T_OK(reader_take_tail(r, &taken, NULL));
	assert_false(taken);
	T_OK(feed(r, "6 \n", 3, NULL));
	assert_string_equal(s.page.data, "10 1 2\n11 3 4\n11 3 45\n12 6\n");
	assert_int_equal(reader_records(r), 3);
	buf_release(&s.page);
	reader_free(r);
}

/* The first line alone, shorter than what tells the format. */
static void a_short_tail_goes_on(void **state)
{
	struct seen s = { 0 };
	struct reader *r = reader("a", &s);
	bool taken;

	T_OK(feed(r, "1", 1, NULL));
	assert_int_equal(reader_format(r), READER_UNKNOWN);
	T_OK(reader_take_tail(r, &taken, NULL));
	assert_true(taken);
	assert_int_equal(reader_format(r), READER_TEXT);
	T_OK(feed(r, "2 3\n", 4, NULL));
	assert_string_equal(s.page.data, "0 1\n0 12 3\n");
	buf_release(&s.page);
	reader_free(r);
}

static void a_bad_tail_does_not_stick(void **state)
{
	static const struct {
		const char *first, *rest, *want;
		size_t n_first, n_rest;
	} cases[] = {
		{ "1 2e", "1\n", "0 1 20\n", 4, 2 },
		{ "[", "1]\n", "0 1\n", 1, 3 },
		{ "{\"vector\":[", "1]}\n", "0 1\n", 11, 4 },
		{ "[{\"vector\":[", "1]}]", "0 1\n", 12, 4 },
		{ "\x01", "\0\0\0\0\0\x80\x3f", "0 1\n", 1, 7 },
		{ "\x01\0\0\0\0\0", "\x80\x3f", "0 1\n", 6, 2 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct seen s = { 0 };
		struct reader *r = reader("a", &s);
		struct err e;
		bool taken = true;

		T_OK(feed(r, cases[i].first, cases[i].n_first, &e));
		T_ERR(reader_take_tail(r, &taken, &e), EINVAL);
		assert_false(taken);
		T_ERR(reader_take_tail(r, NULL, &e), EINVAL);
		T_OK(feed(r, cases[i].rest, cases[i].n_rest, &e));
		T_OK(reader_take_tail(r, &taken, &e));
		assert_false(taken);
		assert_string_equal(s.page.data, cases[i].want);
		buf_release(&s.page);
		reader_free(r);
	}
}

/* Something waits exactly while the end would cut it off, or is a tail. */
static void what_waits(void **state)
{
	BUF_AUTO struct buf npy_file = BUF_INIT;
	const char *const rows = "\1\0\0\0\0\0\x80\x3f";

	npy_header(&npy_file, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1), }");
	buf_add(&npy_file, "ab", 2);
	const struct {
		const char *p;
		size_t n, n_line; /* after n_line bytes nothing waits either */
	} cases[] = {
		{ "1 2\n3 4\n", 8, 4 },
		{ "{\"vector\":[1]}\n", 15, 0 },
		{ "[{\"vector\":[1]},{\"vector\":[1]}]", 31, 0 },
		{ rows, 8, 0 },
		{ npy_file.data, npy_file.len, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct seen s = { 0 };
		struct reader *r = reader("a", &s);

		assert_false(reader_waits(r));
		for (size_t at = 1; at <= cases[i].n; at++) {
			T_OK(feed(r, cases[i].p + at - 1, 1, NULL));
			if (reader_waits(r) != (at != cases[i].n && at != cases[i].n_line))
				fail_msg("case %zu after %zu bytes", i, at);
		}
		buf_release(&s.page);
		reader_free(r);
	}
}

static void errors_stick(void **state)
{
	struct seen s = { 0 };
	struct reader *r = reader("a", &s);
	struct err e = { 0 }, again = { 0 };

	T_ERR(feed(r, "1\nx\n2\n", 6, &e), EINVAL);
	T_ERR(feed(r, "3\n", 2, &again), EINVAL);
	assert_string_equal(e.text, again.text);
	again.text[0] = '\0';
	T_ERR(reader_take_tail(r, NULL, &again), EINVAL);
	assert_string_equal(e.text, again.text);
	T_ERR(feed(r, "", 0, NULL), EINVAL);
	assert_string_equal(s.page.data, "0 1\n");
	buf_release(&s.page);
	reader_free(r);
}

/* Calls that succeed may leave an error behind that they met on their way. */
static int take_and_babble(void *ctx, const struct record *r, struct err *e)
{
	err_set(e, -ENOENT, "tried something else first");
	++*(int *)ctx;
	return 0;
}

static void a_sink_that_succeeds_does_not_fail(void **state)
{
	int n = 0;
	struct reader_sink sink = { .record = take_and_babble, .ctx = &n };
	struct reader *r;
	struct err e;

	T_OK(reader_new("", &sink, &r, NULL));
	T_OK(feed(r, "1 2\n3 4\n", 8, &e));
	T_OK(feed(r, "5 6\n7 8", 7, &e));
	T_OK(reader_take_tail(r, NULL, &e));
	T_OK(feed(r, "9\n", 2, &e));
	assert_int_equal(n, 5);
	T_ERR(feed(r, "x\n", 2, &e), EINVAL);
	reader_free(r);
}

/* A record is in the sink when the feed that completes it returns. */
static void records_do_not_wait(void **state)
{
	static const char *const pieces[] = { "1\n", "2 3\n", "{\"vector\":[1]}\n",
		                              "[{\"vector\":[1]}", "id\t1\n" };

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		struct seen s = { 0 };
		struct reader *r = reader("", &s);

		T_OK(feed(r, pieces[i], strlen(pieces[i]), NULL));
		assert_int_equal(reader_records(r), 1);
		buf_release(&s.page);
		reader_free(r);
	}
	reader_free(NULL);
}

/* ---- IDs ---- */

static void ids(void **state)
{
	static const char *const good[] = { "a",       "...",         ".a",
		                            "a b",     "caf\xc3\xa9", "\xf0\x9f\x98\x80",
		                            "\xc2\xa0" };
	static const char *const bad[] = { "",
		                           ".",
		                           "..",
		                           "a/b",
		                           "a\nb",
		                           "\x7f",
		                           "\x1f",
		                           "\xc2\x80",
		                           "\xc0\x80",
		                           "\xed\xa0\x80",
		                           "\xf4\x90\x80\x80",
		                           "\xe2\x82",
		                           "\xff",
		                           "\x80",
		                           "\xe0\x80\x80",
		                           "\xf5\x80\x80\x80",
		                           "\x90\x80",
		                           "\xc1\x81",
		                           "\xe0\x81\x81",
		                           "\xf0\x80\x81\x81" };
	char longest[LIMIT_ID + 1];
	struct err e;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		T_OK(vector_id_check(good[i], strlen(good[i]), &e));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		T_ERR(vector_id_check(bad[i], strlen(bad[i]), &e), EINVAL);
	T_ERR(vector_id_check("a\0b", 3, &e), EINVAL);
	memset(longest, 'x', sizeof(longest));
	T_OK(vector_id_check(longest, LIMIT_ID, &e));
	T_ERR(vector_id_check(longest, LIMIT_ID + 1, &e), EINVAL);
	assert_string_equal(e.text, "the ID has 256 bytes, limit 255");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text),
		cmocka_unit_test(bad_text),
		cmocka_unit_test(json),
		cmocka_unit_test(bad_json),
		cmocka_unit_test(json_syntax_errors_name_the_place),
		cmocka_unit_test(json_limits),
		cmocka_unit_test(npy),
		cmocka_unit_test(bad_npy),
		cmocka_unit_test(bad_npy_prefix),
		cmocka_unit_test(npy_values_are_finite),
		cmocka_unit_test(vecs),
		cmocka_unit_test(vecs_that_look_like_text),
		cmocka_unit_test(bad_vecs),
		cmocka_unit_test(long_lines),
		cmocka_unit_test(endless_white_space),
		cmocka_unit_test(endless_line),
		cmocka_unit_test(too_many_numbers),
		cmocka_unit_test(a_tail_goes_on),
		cmocka_unit_test(a_short_tail_goes_on),
		cmocka_unit_test(a_bad_tail_does_not_stick),
		cmocka_unit_test(what_waits),
		cmocka_unit_test(errors_stick),
		cmocka_unit_test(a_sink_that_succeeds_does_not_fail),
		cmocka_unit_test(records_do_not_wait),
		cmocka_unit_test(ids),
		cmocka_unit_test(ivecs),
		cmocka_unit_test(stems),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
