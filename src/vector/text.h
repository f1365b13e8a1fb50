/*
 * text.h: one line of numbers, the hot parser. Used by reader.h and by the query line.
 */
#ifndef RV_VECTOR_TEXT_H
#define RV_VECTOR_TEXT_H

#include <stddef.h>

#include "base/err.h"

/*
 * Parses [s, end): finite numbers separated by spaces, commas or tabs, optionally inside [ ].
 * ret: room for max floats. Returns their count (0: an empty line), -E2BIG above max, -EINVAL
 * with the cause ("number 3: 'abc' is not a number", NaN, infinity, "1e999" is out of range,
 * text after the closing bracket).
 */
long text_parse_floats(const char *s, const char *end, float *ret, size_t max, struct err *e);

#endif
