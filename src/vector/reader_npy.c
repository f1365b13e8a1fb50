/*
 * reader_npy.c: NumPy's .npy, versions 1 to 3 (numpy.lib.format): magic, version, length of the
 * header, the header, rows.
 *
 * The header is the text of a Python dictionary. Only its own small grammar is read here: names
 * in quotes, strings, True, False and tuples of whole numbers. Nothing in it is believed before
 * it is checked; nothing of its size is allocated.
 */
#include <endian.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "vector/reader_formats.h"

#define HEADER_MAX 65535 /* bytes; version 1 knows no longer ones, and numpy writes 118 */

/* What the header says. */
struct npy_header {
	char descr[16];
	bool has_descr, has_order, has_shape;
	bool fortran;
	size_t n_dims;
	uint64_t shape[2];
};

struct cursor {
	const char *s;
	const char *end;
};

static void skip_white(struct cursor *c)
{
	while (c->s < c->end && (*c->s == ' ' || *c->s == '\t' || *c->s == '\n'))
		c->s++;
}

static bool at(struct cursor *c, char want)
{
	skip_white(c);
	if (c->s == c->end || *c->s != want)
		return false;
	c->s++;
	return true;
}

/* A string in single or double quotes, without escapes. */
static bool quoted(struct cursor *c, char *ret, size_t size)
{
	char quote = at(c, '\'') ? '\'' : at(c, '"') ? '"' : 0;
	const char *from = c->s, *to;

	to = quote ? memchr(from, quote, (size_t)(c->end - from)) : NULL;
	if (!to || (size_t)(to - from) >= size)
		return false;
	memcpy(ret, from, (size_t)(to - from));
	ret[to - from] = '\0';
	c->s = to + 1;
	return true;
}

static bool word(struct cursor *c, const char *want)
{
	size_t n = strlen(want);

	skip_white(c);
	if ((size_t)(c->end - c->s) < n || memcmp(c->s, want, n) != 0)
		return false;
	c->s += n;
	return true;
}

/* A whole number; what does not fit becomes UINT64_MAX, which every limit refuses. */
static bool whole(struct cursor *c, uint64_t *ret)
{
	const char *from;
	bool fits = true;
	uint64_t v = 0;

	skip_white(c);
	for (from = c->s; c->s < c->end && *c->s >= '0' && *c->s <= '9'; c->s++) {
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*c->s - '0'), &v))
			fits = false;
	}
	*ret = fits ? v : UINT64_MAX;
	return c->s > from;
}

static bool parse_shape(struct cursor *c, struct npy_header *h)
{
	uint64_t n;

	if (!at(c, '('))
		return false;
	while (!at(c, ')')) {
		if (!whole(c, &n))
			return false;
		(void)word(c, "L"); /* Python 2 */
		if (h->n_dims < 2)
			h->shape[h->n_dims] = n;
		h->n_dims++;
		if (!at(c, ',') && !(c->s < c->end && *c->s == ')'))
			return false;
	}
	h->has_shape = true;
	return true;
}

static bool parse_entry(struct cursor *c, struct npy_header *h)
{
	char name[16];

	if (!quoted(c, name, sizeof(name)) || !at(c, ':'))
		return false;
	if (strcmp(name, "descr") == 0)
		return h->has_descr = quoted(c, h->descr, sizeof(h->descr));
	if (strcmp(name, "fortran_order") == 0) {
		h->fortran = word(c, "True");
		return h->has_order = h->fortran || word(c, "False");
	}
	return strcmp(name, "shape") == 0 && !h->has_shape && parse_shape(c, h);
}

static bool parse_header(struct cursor c, struct npy_header *h)
{
	if (!at(&c, '{'))
		return false;
	while (!at(&c, '}')) {
		if (!parse_entry(&c, h))
			return false;
		if (!at(&c, ',') && !(c.s < c.end && *c.s == '}'))
			return false;
	}
	skip_white(&c);
	return c.s == c.end && h->has_descr && h->has_order && h->has_shape;
}

/* ---- what of it can be read ---- */

static int check_type(struct reader *r, const char *descr, struct err *e)
{
	static const char *const types[] = { "<f2", "<f4", "<f8", "|i1", "|u1" };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(descr, types[i]) == 0) {
			r->npy.kind = descr[1];
			r->npy.item_bytes = (size_t)(descr[2] - '0');
			return 0;
		}
	}
	if (descr[0] == '>')
		return err_set(e, -EINVAL, "big-endian values (descr '%s'); save a.astype('<f4')",
		               descr);
	if (strcmp(descr, "|O") == 0)
		return err_set(e, -EINVAL,
		               "pickled Python objects (descr '|O'); save a.astype('<f4')");
	return err_set(e, -EINVAL,
	               "values of type '%s'; float16, float32, float64, int8 and uint8 are read",
	               descr);
}

static int check_shape(struct reader *r, const struct npy_header *h, struct err *e)
{
	uint64_t dim, n_bytes;
	int rc;

	if (h->n_dims == 0 || h->n_dims > 2)
		return err_set(e, -EINVAL,
		               "an array of %zu dimensions, expected 1 (one vector) or 2 (rows)",
		               h->n_dims);
	dim = h->shape[h->n_dims - 1];
	r->npy.n_rows = h->n_dims == 2 ? h->shape[0] : 1;
	rc = reader_check_dimension(r, dim, e);
	if (rc < 0)
		return rc;
	if (__builtin_mul_overflow(r->npy.n_rows, dim * r->npy.item_bytes, &n_bytes))
		return err_set(e, -E2BIG, "%llu rows of %llu numbers",
		               (unsigned long long)r->npy.n_rows, (unsigned long long)dim);
	r->dim = (size_t)dim;
	return reader_reserve(r, r->dim, e);
}

static int read_header(struct reader *r, const char *p, struct err *e)
{
	struct npy_header h = { 0 };
	int rc;

	if (memchr(p, '[', r->npy.header_bytes))
		return err_set(e, -EINVAL,
		               ".npy: records with named fields; save one array of numbers");
	if (!parse_header((struct cursor){ p, p + r->npy.header_bytes }, &h))
		return err_set(e, -EINVAL, ".npy: its header is damaged");
	rc = check_type(r, h.descr, e);
	if (rc == 0 && h.fortran)
		rc = err_set(e, -EINVAL, "Fortran order; save numpy.ascontiguousarray(a)");
	if (rc == 0)
		rc = check_shape(r, &h, e);
	if (rc < 0)
		return err_prefix(e, ".npy"), rc;
	r->npy.header_done = true;
	return 0;
}

/* ---- the stages of the stream ---- */

/*
 * Magic, version and length: 10 bytes in version 1, 12 later. Bytes 8 and 9 are in both, so
 * those two are looked at first.
 */
static int read_prefix(struct reader *r, const char **p, const char *end, struct err *e)
{
	const unsigned char *b;
	size_t n;

	b = (const unsigned char *)reader_take(r, p, end, r->npy.version ? 2 : 10);
	if (!b)
		return buf_failed(&r->carry) ? err_nomem(e) : 0;
	if (!r->npy.version) {
		r->npy.version = b[6];
		if (b[6] < 1 || b[6] > 3)
			return err_set(e, -EINVAL, ".npy: version %u.%u, expected 1 to 3", b[6],
			               b[7]);
		r->npy.length_low = (size_t)b[8] | (size_t)b[9] << 8;
		if (b[6] > 1)
			return 0;
		n = r->npy.length_low;
	} else {
		n = r->npy.length_low | (size_t)b[0] << 16 | (size_t)b[1] << 24;
	}
	if (n == 0 || n > HEADER_MAX)
		return err_set(e, -EINVAL, ".npy: a header of %zu bytes, limit %d", n, HEADER_MAX);
	r->npy.header_bytes = n;
	return 0;
}

/* IEEE half to float: exact. */
static float from_half(uint16_t h)
{
	int exponent = h >> 10 & 0x1f;
	float mantissa = (float)(h & 0x3ff), v;

	if (exponent == 0x1f)
		v = mantissa != 0 ? NAN : INFINITY;
	else if (exponent == 0)
		v = mantissa * 0x1p-24f;
	else
		v = ldexpf(mantissa + 1024, exponent - 25);
	return h & 0x8000 ? -v : v;
}

static float item(const struct reader *r, const char *p)
{
	uint16_t h;
	uint64_t bits;
	double d;

	if (r->npy.kind == 'u')
		return (unsigned char)*p;
	if (r->npy.kind == 'i')
		return (signed char)*p;
	if (r->npy.item_bytes == 2) {
		memcpy(&h, p, sizeof(h));
		return from_half(le16toh(h));
	}
	memcpy(&bits, p, sizeof(bits));
	bits = le64toh(bits);
	memcpy(&d, &bits, sizeof(d));
	return (float)d;
}

static int take_items(struct reader *r, const char *p, struct err *e)
{
	if (r->npy.kind == 'f' && r->npy.item_bytes == sizeof(float))
		return reader_take_floats(r, p, e);
	for (size_t i = 0; i < r->dim; i++) {
		r->v[i] = item(r, p + i * r->npy.item_bytes);
		if (!isfinite(r->v[i]))
			return err_set(e, -EINVAL, "number %zu: not finite as a 32-bit float",
			               i + 1);
	}
	return 0;
}

static int read_row(struct reader *r, const char *p, struct err *e)
{
	struct record rec = { .v = r->v, .dim = r->dim };
	uint64_t record = r->n_records + 1;
	int rc = take_items(r, p, e);

	if (rc == 0)
		rc = reader_give(r, &rec, true, e);
	return rc < 0 ? err_prefix(e, "record %llu", (unsigned long long)record), rc : 0;
}

/* One stage: the header, or a row. 1: go on, 0: more bytes are needed. */
static int step(struct reader *r, const char **p, const char *end, struct err *e)
{
	const char *got;
	int rc;

	if (r->npy.header_done && r->n_records == r->npy.n_rows)
		return err_set(e, -EINVAL,
		               ".npy: bytes after the %llu vectors that its header names",
		               (unsigned long long)r->npy.n_rows);
	got = reader_take(r, p, end,
	                  r->npy.header_done ? r->dim * r->npy.item_bytes : r->npy.header_bytes);
	if (!got)
		return buf_failed(&r->carry) ? err_nomem(e) : 0;
	rc = r->npy.header_done ? read_row(r, got, e) : read_header(r, got, e);
	return rc < 0 ? rc : 1;
}

static int npy_feed(struct reader *r, const char *p, size_t n, struct err *e)
{
	const char *end = p + n;
	int rc = 1;

	while (p < end && rc > 0) {
		if (r->npy.header_bytes) {
			rc = step(r, &p, end, e);
		} else {
			rc = read_prefix(r, &p, end, e);
			rc = rc < 0 ? rc : 1;
		}
	}
	return rc < 0 ? rc : 0;
}

static int npy_tail(struct reader *r, bool *ret_taken, struct err *e)
{
	if (!r->npy.header_done)
		return err_set(e, -EINVAL, "the file ends inside the header of .npy");
	if (r->n_records < r->npy.n_rows)
		return err_set(e, -EINVAL, "the file ends in record %llu of %llu",
		               (unsigned long long)r->n_records + 1,
		               (unsigned long long)r->npy.n_rows);
	return 0;
}

static bool npy_waits(const struct reader *r)
{
	return !r->npy.header_done || r->n_records < r->npy.n_rows;
}

const struct reader_ops reader_npy = {
	.format = READER_NPY,
	.feed = npy_feed,
	.tail = npy_tail,
	.waits = npy_waits,
};
