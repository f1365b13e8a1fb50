/*
 * hnsw_keys.c: what traversal compares.
 *
 * Everything the graph knows about vectors goes through this file: an aim is made of a query or
 * of a stored row, and keys are computed for the slots of a hop, a selection or a repair. They
 * are those of float32 rows, or estimates from codes that are a tenth as long; nothing else of
 * the graph needs to know which, but for hnsw_search, which puts the best in order by rows.
 */
#include <math.h>

#include "index/hnsw_impl.h"

#define LINE         64  /* bytes of a cache line */
#define PREFETCH_MAX 256 /* bytes of a row fetched ahead; the hardware follows from there */

struct hnsw_aim hnsw_aim_at(const struct hnsw *h, uint32_t slot)
{
	struct hnsw_aim q = { .p = { .v = rows_at(h->rows, slot), .inv_norm = 1 } };

	if (h->rows->metric == METRIC_COSINE)
		q.p.inv_norm = h->rows->inv_norm[slot];
	return q;
}

struct hnsw_aim hnsw_aim_for(const struct hnsw *h, struct scratch *s, const struct probe *p)
{
	struct hnsw_aim q = { .p = *p };

	if (h->coder && code_query_set(&s->code, h->coder, p))
		q.code = &s->code;
	return q;
}

void hnsw_encode(struct hnsw *h, struct scratch *s, uint32_t slot)
{
	coder_encode(h->coder, rows_at(h->rows, slot), s->code.room,
	             (uint8_t *)h->codes.at + slot * h->code_bytes,
	             (struct code_tail *)h->tails.at + slot);
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

static void row_keys(const struct hnsw *h, const struct probe *p, const uint32_t *slots, unsigned n,
                     float *ret)
{
	unsigned i = 0, ahead = n < 4 ? n : 4;

	prefetch(h, slots, ahead);
	for (; i + 4 <= n; i += 4) {
		ahead = n - i - 4 < 4 ? n - i - 4 : 4;
		prefetch(h, slots + i + 4, ahead);
		rows_key4(h->rows, p, slots + i, ret + i);
	}
	for (; i < n; i++)
		ret[i] = rows_key(h->rows, p, slots[i]);
}

void hnsw_keys(const struct hnsw *h, const struct hnsw_aim *q, const uint32_t *slots, unsigned n,
               float *ret)
{
	if (!q->code) {
		row_keys(h, &q->p, slots, n, ret);
		return;
	}
	coder_keys(h->coder, q->code, h->codes.at, h->tails.at, slots, n, ret);
	for (unsigned i = 0; i < n; i++) {
		if (!isfinite(ret[i])) /* a vector that has no code */
			ret[i] = rows_key(h->rows, &q->p, slots[i]);
	}
}
