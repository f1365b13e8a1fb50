/*
 * embed.h: text to a vector without a model: words and character n-grams, hashed into a fixed
 * number of dimensions.
 *
 * The same text gives the same vector on every machine. Not for several threads.
 */
#ifndef RV_TOOLS_EMBED_H
#define RV_TOOLS_EMBED_H

#include <stddef.h>

#include "base/err.h"
#include "tools/idf.h"

#define EMBED_DIM 512

struct embedder;

/* idf: what words weigh, outlives it; NULL: all the same. Common English ones weigh nothing. */
int embedder_new(size_t dim, const struct idf *idf, struct embedder **ret, struct err *e);
void embedder_free(struct embedder *em); /* NULL allowed */
/* ret: dim floats of length 1 (but for rounding to 5 decimals), never all zero. -ENOMEM. */
int embed_text(struct embedder *em, const char *s, size_t n, float *ret, struct err *e);

#endif
