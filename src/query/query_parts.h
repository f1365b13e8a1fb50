/*
 * query_parts.h: what the parsers of a query line and of a JSON query share. Private to src/query.
 */
#ifndef RV_QUERY_PARTS_H
#define RV_QUERY_PARTS_H

#include <stdint.h>

#include "base/buf.h"
#include "query/query.h"
#include "vector/json.h"

/* What a parsed query borrows from; lives as long as its parser and is reused by the next query. */
struct query_scratch {
	float *v;
	size_t v_cap;
	struct buf value; /* a quoted one, unquoted */
	struct buf like;
	struct json *json;
};

/* A query under way: which names were given, so that none counts twice. */
struct query_draft {
	struct query q;
	unsigned given; /* 1 << enum query_name */
	struct query_scratch *scratch;
};

enum query_name {
	/* JSON only */
	QUERY_K,
	QUERY_EF,
	QUERY_EXACT,
	QUERY_LIKE,
	QUERY_INCLUDE,
	QUERY_METRIC,
	QUERY_VECTOR,
};

/* The name's number, marked as given. -EINVAL: unknown, of a later version, or given twice. */
int query_take_name(struct query_draft *d, const char *name, size_t n, struct err *e);
int query_set_count(struct query_draft *d, enum query_name name, uint64_t value, struct err *e);
int query_set_like(struct query_draft *d, const char *id, size_t n, struct err *e);
int query_add_include(struct query_draft *d, const char *what, size_t n, struct err *e);
/* A comma-separated list of the above. */
int query_set_includes(struct query_draft *d, const char *s, size_t n, struct err *e);
int query_set_metric(struct query_draft *d, const char *s, size_t n, struct err *e);
/* Room for n floats in the scratch. -ENOMEM. */
int query_reserve(struct query_draft *d, size_t n, struct err *e);

/* [s, end): no white space at the ends, not empty. */
int query_line_parse(struct query_draft *d, const char *s, const char *end, struct err *e);
int query_json_parse(struct query_draft *d, const char *s, const char *end, struct err *e);

/* query_npy.c: a .npy array in pieces, a query a row. */
struct query_npy;
int query_npy_new(const struct query_sink *sink, struct query_npy **ret, struct err *e);
void query_npy_free(struct query_npy *y); /* NULL allowed */
int query_npy_feed(struct query_npy *y, const void *p, size_t n, struct err *e);
int query_npy_finish(struct query_npy *y, struct err *e);

#endif
