/*
 * flat.h: exact nearest neighbours by scanning every live row: the answer below some 2,000 rows, of exact=1, and the
 * oracle of the tests.
 */
#ifndef RV_INDEX_FLAT_H
#define RV_INDEX_FLAT_H

#include <stddef.h>

#include "vector/rows.h"

/*
 * The k nearest live rows among slots [0, rows->n), nearest first, ties by slot. ret: k hits. Returns how many.
 * Cost: O(n dim). Any number of threads under the collection's lock for reading.
 */
size_t flat_search(const struct rows *rows, const struct probe *q, size_t k, struct hit *ret);

/* The same over the n slots of a list (the backlog). Merges into ret, which holds n_ret hits already; returns the new count. */
size_t flat_search_list(const struct rows *rows, const struct probe *q, const uint32_t *slots, size_t n, size_t k,
			struct hit *ret, size_t n_ret);

#endif
