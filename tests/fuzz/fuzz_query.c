/*
 * fuzz_query.c: whatever is written to `query`, in whatever pieces: every query that comes out
 * keeps its promises, and the same bytes in other pieces give the same number of queries.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/limits.h"
#include "query/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int take(void *ctx, const struct query *q, struct err *e)
{
	size_t *n = ctx;

	if (!q->v == !q->like || q->k > LIMIT_K || q->ef > LIMIT_EF || q->dim > LIMIT_DIMENSION)
		abort();
	for (size_t i = 0; q->v && i < q->dim; i++)
		if (!isfinite(q->v[i]))
			abort();
	++*n;
	return 0;
}

static long count(const uint8_t *p, size_t size, size_t piece)
{
	size_t n = 0;
	struct query_sink sink = { take, &n };
	struct query_parser *parser;
	int rc = 0;

	if (query_parser_new(&sink, &parser, NULL) < 0)
		return -1;
	for (size_t at = 0; rc == 0 && at < size; at += piece)
		rc = query_parser_feed(parser, p + at, size - at < piece ? size - at : piece, NULL);
	if (rc == 0)
		rc = query_parser_finish(parser, NULL);
	query_parser_free(parser);
	return rc < 0 ? -1 : (long)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	if (count(data + 1, size - 1, data[0] + 1u) != count(data + 1, size - 1, size))
		abort();
	return 0;
}
