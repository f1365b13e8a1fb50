/*
 * hnsw_keys.c: what traversal compares.
 *
 * Everything the graph knows about vectors goes through these two functions: a probe is made of
 * a query or of a stored row, and keys are computed for the slots of a hop, a selection or a
 * repair. Now they are float32 rows through vector/rows.h. Quantised codes will be looked up
 * here, with a reorder by float rows at the end of hnsw_search; nothing else of the graph needs
 * to know.
 */
#include "index/hnsw_impl.h"

#define LINE         64  /* bytes of a cache line */
#define PREFETCH_MAX 256 /* bytes of a row fetched ahead; the hardware follows from there */

struct probe hnsw_probe(const struct hnsw *h, uint32_t slot)
{
	struct probe q = { .v = rows_at(h->rows, slot), .inv_norm = 1 };

	if (h->rows->metric == METRIC_COSINE)
		q.inv_norm = h->rows->inv_norm[slot];
	return q;
}

/*
 * The rows of a hop lie anywhere in memory: without this every distance would wait for its
 * first lines.
 */
static void prefetch(const struct hnsw *h, const uint32_t *slots, unsigned n)
{
	size_t bytes = h->rows->dim * sizeof(float);

	if (bytes > PREFETCH_MAX)
		bytes = PREFETCH_MAX;
	for (unsigned i = 0; i < n; i++) {
		const char *row = (const char *)rows_at(h->rows, slots[i]);

		for (size_t off = 0; off < bytes; off += LINE)
			__builtin_prefetch(row + off);
	}
}

void hnsw_keys(const struct hnsw *h, const struct probe *q, const uint32_t *slots, unsigned n,
               float *ret)
{
	unsigned i = 0, ahead = n < 4 ? n : 4;

	prefetch(h, slots, ahead);
	for (; i + 4 <= n; i += 4) {
		ahead = n - i - 4 < 4 ? n - i - 4 : 4;
		prefetch(h, slots + i + 4, ahead);
		rows_key4(h->rows, q, slots + i, ret + i);
	}
	for (; i < n; i++)
		ret[i] = rows_key(h->rows, q, slots[i]);
}
