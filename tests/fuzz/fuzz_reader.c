/*
 * fuzz_reader.c: whatever bytes come, in whatever pieces: every record that the reader gives
 * keeps its promises, and the same bytes in other pieces give the same number of records.
 *
 * Byte 0 chooses the name's ending, byte 1 the size of the pieces; the rest is the stream.
 */
#include <math.h>
#include <stdlib.h>

#include "base/limits.h"
#include "vector/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int take(void *ctx, const struct record *r, struct err *e)
{
	size_t *n = ctx;

	if (r->dim == 0 || r->dim > LIMIT_DIMENSION || r->metadata_len > LIMIT_METADATA)
		abort();
	if (r->id && vector_id_check(r->id, r->id_len, NULL) < 0)
		abort();
	for (size_t i = 0; i < r->dim; i++)
		if (!isfinite(r->v[i]))
			abort();
	++*n;
	return 0;
}

/* Returns the records given, or -1 when the stream was refused. */
static long count(const char *name, const uint8_t *p, size_t size, size_t piece)
{
	size_t n = 0;
	struct reader_sink sink = { take, NULL, &n };
	struct reader *r;
	int rc;

	if (reader_new(name, &sink, &r, NULL) < 0)
		return -1;
	rc = 0;
	for (size_t at = 0; rc == 0 && at < size; at += piece)
		rc = reader_feed(r, p + at, size - at < piece ? size - at : piece, NULL);
	if (rc == 0)
		rc = reader_take_tail(r, NULL, NULL);
	reader_free(r);
	return rc < 0 ? -1 : (long)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {
		"x", "x.jsonl", "x.json", "x.npy", "x.fvecs", "x.bvecs"
	};
	const char *name;

	if (size < 2)
		return 0;
	name = names[data[0] % (sizeof(names) / sizeof(names[0]))];
	if (count(name, data + 2, size - 2, data[1] + 1u) != count(name, data + 2, size - 2, size))
		abort();
	return 0;
}
