/*
 * codes.h: vectors in four bits a dimension, to be compared fast and nearly right.
 *
 * A coder is made for a dimension and a metric and is const after that: any number of threads.
 * The code of a vector depends on the vector alone; there is nothing to train. Who keeps the
 * codes (the graph, in tables of its own) gives them back as two tables by slot: coder_bytes()
 * bytes of code each, 64-byte aligned, and one struct code_tail each.
 *
 * What a code cannot stand for, a vector whose norm is far outside of what any embedding has,
 * gets a tail that makes every key NaN: the caller then asks the float row. Likewise a query.
 */
#ifndef RV_VECTOR_CODES_H
#define RV_VECTOR_CODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "vector/metric.h"
#include "vector/rows.h"

/* What turns a code's integer into a key; kept beside the code. */
struct code_tail {
	float factor; /* |v|² / <code, v>, and for cosine 1/|v| times that; NaN: no code */
	float add;    /* l2: |v|² */
};

struct coder;

struct coder *coder_new(size_t dim, enum metric metric, struct err *e); /* NULL: -ENOMEM */
void coder_free(struct coder *c);                                       /* NULL allowed */
size_t coder_bytes(const struct coder *c); /* of one code: a multiple of 64 */
size_t coder_width(const struct coder *c); /* dim, padded: floats of room that encoding needs */

/* v: dim floats; room: width floats, overwritten; code: coder_bytes() bytes. */
void coder_encode(const struct coder *c, const float *v, float *room, uint8_t *code,
                  struct code_tail *ret);
/* Whether code and tail are v's, up to what rounding on another machine can change. */
bool coder_fits(const struct coder *c, const float *v, float *room, const uint8_t *code,
                const struct code_tail *tail);

/* A query, prepared; belongs to one thread. */
struct code_query {
	float *room;    /* width floats */
	int8_t *at;     /* width: the rotated query */
	int32_t offset; /* what all codes' nibbles being 7.5 too large adds, doubled */
	float scale;
	float base;
};

/* Memory for queries of any coder of that width. -ENOMEM. */
int code_query_init(struct code_query *q, size_t width, struct err *e);
void code_query_release(struct code_query *q); /* all zeros allowed */
size_t code_query_bytes(size_t width);

/* false: its norm is out of range, use float rows. */
bool code_query_set(struct code_query *q, const struct coder *c, const struct probe *p);

/*
 * Estimates of rows_key for n slots, four at a time; NaN or infinite: ask the row. Unbiased;
 * for cosine the error is about 0.1 / sqrt(dim).
 */
void coder_keys(const struct coder *c, const struct code_query *q, const uint8_t *codes,
                const struct code_tail *tails, const uint32_t *slots, size_t n, float *ret);

#endif
