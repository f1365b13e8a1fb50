/*
 * reader_vecs.c: the TexMex formats .fvecs, .bvecs and .ivecs: rows of a little-endian int32
 * dimension and its values, floats, bytes or whole numbers. http://corpus-texmex.irisa.fr/
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "vector/reader_formats.h"

static bool is_bytes(const struct reader *r)
{
	return r->ops == &reader_bvecs;
}

/* Every row repeats the dimension; the first one's is the file's. */
static int row_begin(struct reader *r, const char *p, struct err *e)
{
	uint32_t raw;
	int32_t dim;
	int rc;

	memcpy(&raw, p, sizeof(raw));
	dim = (int32_t)le32toh(raw);
	if (r->dim && dim != (int32_t)r->dim)
		return err_set(e, -EINVAL,
		               "dimension %d, but the rows before it have %zu (is it %s?)", dim,
		               r->dim, is_bytes(r) ? ".fvecs" : ".bvecs");
	if (dim < 0)
		return err_set(e, -EINVAL, "dimension %d", dim);
	rc = reader_check_dimension(r, (uint64_t)dim, e);
	if (rc == 0)
		rc = reader_reserve(r, (size_t)dim, e);
	if (rc < 0)
		return rc;
	r->dim = (size_t)dim;
	r->vecs.in_row = true;
	return 0;
}

/* Whole numbers that a float has exactly: all up to 2^24, some beyond. */
static int take_whole(struct reader *r, const char *p, struct err *e)
{
	for (size_t i = 0; i < r->dim; i++) {
		uint32_t raw;
		int32_t x;

		memcpy(&raw, p + i * sizeof(raw), sizeof(raw));
		x = (int32_t)le32toh(raw);
		r->v[i] = (float)x;
		if ((int64_t)r->v[i] != x)
			return err_set(e, -EINVAL, "number %zu: %d is not exact as a 32-bit float",
			               i + 1, x);
	}
	return 0;
}

static int row_end(struct reader *r, const char *p, struct err *e)
{
	struct record rec = { .v = r->v, .dim = r->dim };
	int rc = 0;

	if (is_bytes(r)) {
		for (size_t i = 0; i < r->dim; i++)
			r->v[i] = (unsigned char)p[i];
	} else if (r->ops == &reader_ivecs) {
		rc = take_whole(r, p, e);
	} else {
		rc = reader_take_floats(r, p, e);
	}
	r->vecs.in_row = false;
	return rc < 0 ? rc : reader_give(r, &rec, true, e);
}

static int vecs_feed(struct reader *r, const char *p, size_t n, struct err *e)
{
	const char *end = p + n, *got;
	uint64_t record;
	size_t need;
	int rc;

	while (p < end) {
		need = !r->vecs.in_row ? sizeof(int32_t)
		                       : r->dim * (is_bytes(r) ? 1 : sizeof(float));
		got = reader_take(r, &p, end, need);
		if (!got)
			return buf_failed(&r->carry) ? err_nomem(e) : 0;
		record = r->n_records + 1;
		rc = r->vecs.in_row ? row_end(r, got, e) : row_begin(r, got, e);
		if (rc < 0)
			return err_prefix(e, "record %llu", (unsigned long long)record), rc;
	}
	return 0;
}

static bool vecs_waits(const struct reader *r)
{
	return r->vecs.in_row || reader_in_piece(r);
}

static int vecs_tail(struct reader *r, bool *ret_taken, struct err *e)
{
	if (!vecs_waits(r))
		return 0;
	return err_set(e, -EINVAL, "the file ends inside record %llu",
	               (unsigned long long)r->n_records + 1);
}

const struct reader_ops reader_fvecs = {
	.format = READER_FVECS,
	.feed = vecs_feed,
	.tail = vecs_tail,
	.waits = vecs_waits,
};

const struct reader_ops reader_bvecs = {
	.format = READER_BVECS,
	.feed = vecs_feed,
	.tail = vecs_tail,
	.waits = vecs_waits,
};

const struct reader_ops reader_ivecs = {
	.format = READER_IVECS,
	.feed = vecs_feed,
	.tail = vecs_tail,
	.waits = vecs_waits,
};
