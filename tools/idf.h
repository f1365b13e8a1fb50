/*
 * idf.h: how rare words are in a corpus, and what they weigh for it.
 *
 * Kept as text: a line "documents N", then "COUNT<TAB>WORD" for each word that is in at least two
 * documents, the most frequent first. The weight is scikit-learn's, ln((1 + N) / (1 + count)) + 1; a
 * word that is not listed is as rare as one of a single document. Not for several threads.
 */
#ifndef RV_TOOLS_IDF_H
#define RV_TOOLS_IDF_H

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

struct idf;

int idf_new(struct idf **ret, struct err *e);
void idf_free(struct idf *idf); /* NULL allowed */

int idf_learn(struct idf *idf, const char *document, size_t n, struct err *e); /* -ENOMEM */
int idf_write(const struct idf *idf, FILE *f, struct err *e); /* -ENODATA: nothing was learnt */
/* -EINVAL names the line. */
int idf_read(const char *path, struct idf **ret, struct err *e);

float idf_weight(const struct idf *idf, uint64_t word_hash);

#endif
