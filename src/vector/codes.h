/*
 * codes.h: vectors in four bits a dimension, to be compared fast and nearly right, and in eight
 * bits, to be compared fast and almost exactly.
 *
 * A coder is made for a dimension and a metric and is const after that: any number of threads.
 * The code of a vector depends on the vector alone; there is nothing to train. Who keeps the
 * codes (the graph, in tables of its own) gives them back as tables by slot, 64-byte aligned:
 * coder_bytes() bytes of code each, coder_fine_bytes() bytes of fine code each, and, where
 * coder_has_norms(), one float each, the norm. Under cosine nothing but the code is needed.
 *
 * What a code cannot stand for, a vector whose norm is far outside of what any embedding has, gets
 * a norm that makes every key NaN: the caller then asks the float row. Likewise a query.
 */
#ifndef RV_VECTOR_CODES_H
#define RV_VECTOR_CODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "vector/metric.h"
#include "vector/rows.h"

struct coder;

struct coder *coder_new(size_t dim, enum metric metric, struct err *e); /* NULL: -ENOMEM */
void coder_free(struct coder *c);                                       /* NULL allowed */
size_t coder_bytes(const struct coder *c);      /* of one code: a multiple of 64 */
size_t coder_fine_bytes(const struct coder *c); /* twice that */
bool coder_has_norms(const struct coder *c);
size_t coder_width(const struct coder *c); /* dim, padded: floats of room that encoding needs */

/* Where the codes of one vector go. */
struct code_at {
	uint8_t *code; /* coder_bytes() */
	float *norm;   /* NULL: not coder_has_norms() */
	int8_t *fine;  /* coder_fine_bytes(), or NULL: not wanted; all zeros when there is no code */
};

/* v: dim floats; room: width floats, overwritten; turned: it is as code_query_set has left it for v. */
void coder_encode(const struct coder *c, const float *v, float *room, bool turned,
                  const struct code_at *ret);
/* Whether code and norm are v's, up to what rounding on another machine can change. at->fine is not looked at. */
bool coder_fits(const struct coder *c, const float *v, float *room, const struct code_at *at);

/* A query, prepared; belongs to one thread. */
struct code_query {
	float *room;    /* width floats */
	int8_t *at;     /* width: the rotated query */
	int32_t offset; /* what all codes' nibbles being 7.5 too large adds, doubled */
	float scale;
	float base;
	float error;    /* of keys, a unit of the row's norm */
};

/* Memory for queries of any coder of that width. -ENOMEM. */
int code_query_init(struct code_query *q, size_t width, struct err *e);
void code_query_release(struct code_query *q); /* all zeros allowed */
size_t code_query_bytes(size_t width);

/* false: its norm is out of range, use float rows. */
bool code_query_set(struct code_query *q, const struct coder *c, const struct probe *p);

/* Keys are computed so many at a time: results need room for n rounded up to a multiple of it. */
#define CODE_KEYS_AT_ONCE 4

/*
 * Estimates of rows_key for n slots. norms: NULL without. NaN or infinite: ask the row. Unbiased;
 * code_error has their standard deviation.
 */
void coder_keys(const struct coder *c, const struct code_query *q, const uint8_t *codes,
                const float *norms, const uint32_t *slots, size_t n, float *ret);

/* The standard deviation of an estimate; norm: the slot's, 1 without. */
static inline float code_error(const struct code_query *q, float norm)
{
	return q->error * norm;
}

/*
 * Keys of n slots by fine codes, as seen from the slot `from`: those of the rounded vectors, which
 * are as long as the vectors themselves; no estimate is in them, so they are true distances among
 * themselves, as choosing links needs them.
 */
void coder_fine_keys(const struct coder *c, const int8_t *fine, const float *norms, uint32_t from,
                     const uint32_t *slots, size_t n, float *ret);

#endif
