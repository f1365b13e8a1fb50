/*
 * query.h: what a client asks: one line `[NAME=VALUE ...] numbers`, one JSON object, or the
 * rows of a .npy array.
 *
 * A struct query borrows from its struct query_parser and is valid until the next call on it.
 * docs/FILES.md has the grammar.
 */
#ifndef RV_QUERY_QUERY_H
#define RV_QUERY_QUERY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "vector/metric.h"

enum query_form { QUERY_LINE, QUERY_JSON, QUERY_NPY };

#define INCLUDE_METADATA 1u
#define INCLUDE_VECTOR   2u
#define INCLUDE_TEXT     4u

struct query {
	enum query_form
		form;   /* the answer has the same: lines for LINE and NPY, a JSON line for JSON */
	const float *v; /* dim floats; NULL with like */
	size_t dim;
	const char *like; /* ID of a stored vector; NULL with v */
	size_t like_len;
	unsigned k;  /* 0: the collection's */
	unsigned ef; /* 0: the collection's */
	bool exact;
	unsigned include;
	bool has_metric; /* whose distances are wanted; else the collection's */
	enum metric metric;
};

/*
 * A push parser for what is written to a query file: bytes in any pieces, complete queries out
 * to the sink at once. The first bytes after query_parser_reset decide between text and .npy.
 * Not for several threads.
 */
struct query_parser;

struct query_sink {
	/* its error ends the feed and is returned */
	int (*query)(void *ctx, const struct query *q, struct err *e);
	void *ctx;
};

int query_parser_new(const struct query_sink *sink, struct query_parser **ret, struct err *e);
void query_parser_free(struct query_parser *p);
void query_parser_reset(struct query_parser *p); /* drops what waits */
/*
 * On error what waits is dropped as well; queries that the sink took stay taken. -EINVAL,
 * -E2BIG, -ERANGE.
 */
int query_parser_feed(struct query_parser *p, const void *bytes, size_t n, struct err *e);
bool query_parser_waits(const struct query_parser *p); /* part of a query waits for its end */
/* Takes a tail without newline as a query; a .npy array must be complete. */
int query_parser_finish(struct query_parser *p, struct err *e);

/* NAME=VALUE of a later version (where, text): -EINVAL naming it. */

#endif
