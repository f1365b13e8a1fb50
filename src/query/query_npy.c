/*
 * query_npy.c: the rows of a .npy array as queries with the collection's k and ef. The reader
 * of ingest/ does the work.
 */
#include <errno.h>

#include "base/mem.h"
#include "query/query_parts.h"
#include "vector/reader.h"

struct query_npy {
	struct query_sink sink;
	struct reader *reader;
};

static int take_row(void *ctx, const struct record *r, struct err *e)
{
	struct query_npy *y = ctx;
	struct query q = { .form = QUERY_NPY, .v = r->v, .dim = r->dim };

	return y->sink.query(y->sink.ctx, &q, e);
}

int query_npy_new(const struct query_sink *sink, struct query_npy **ret, struct err *e)
{
	struct query_npy *y = mem_zalloc(1, sizeof *y);
	struct reader_sink rows = { .record = take_row, .ctx = y };
	int rc;

	if (!y)
		return err_nomem(e);
	y->sink = *sink;
	rc = reader_new("q.npy", &rows, &y->reader, e);
	if (rc < 0) {
		mem_free(y);
		return rc;
	}
	*ret = y;
	return 0;
}

void query_npy_free(struct query_npy *y)
{
	if (!y)
		return;
	reader_free(y->reader);
	mem_free(y);
}

int query_npy_feed(struct query_npy *y, const void *p, size_t n, struct err *e)
{
	return reader_feed(y->reader, p, n, e);
}

int query_npy_finish(struct query_npy *y, struct err *e)
{
	return reader_take_tail(y->reader, NULL, e);
}
