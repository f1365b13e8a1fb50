/*
 * hnsw_keys.c: what traversal compares.
 *
 * Everything the graph knows about vectors goes through this file: an aim is made of a query or
 * of a stored row, and keys are computed for the slots of a hop, a selection or a repair. They
 * are those of float32 rows, or estimates from codes that are a tenth as long, or, while links are
 * chosen in bulk, those of fine codes; nothing else of the graph needs to know which, but for
 * hnsw_search, which puts the best in order by rows.
 */
#include <math.h>
#include <string.h>

#include "index/hnsw_impl.h"

#define LINE         64  /* bytes of a cache line */
#define PREFETCH_MAX 256 /* bytes of a row fetched ahead; the hardware follows from there */

struct probe hnsw_probe_at(const struct hnsw *h, uint32_t slot)
{
	struct probe p = { .v = rows_at(h->rows, slot), .inv_norm = 1 };

	if (h->rows->metric == METRIC_COSINE)
		p.inv_norm = h->rows->inv_norm[slot];
	return p;
}

struct hnsw_aim hnsw_aim_for(const struct hnsw *h, struct scratch *s, const struct probe *p)
{
	struct hnsw_aim q = { .p = *p, .from = ROW_NONE };

	if (h->coder && code_query_set(&s->code, h->coder, p))
		q.code = &s->code;
	return q;
}

static struct code_at code_of(const struct hnsw *h, uint32_t slot)
{
	return (struct code_at){
		.code = (uint8_t *)h->codes.at + slot * h->code_bytes,
		.norm = h->norms.at ? (float *)h->norms.at + slot : NULL,
		.fine = (int8_t *)hnsw_fine(h, slot),
	};
}

/*
 * What has no fine code has zeros there. One that begins with zeros is taken for none, too, which
 * is right but slow, and rare.
 */
static bool is_fine(const struct hnsw *h, uint32_t slot)
{
	uint64_t first;

	memcpy(&first, hnsw_fine(h, slot), sizeof(first));
	return first != 0;
}

void hnsw_encode(struct hnsw *h, struct scratch *s, const struct hnsw_aim *q, uint32_t slot)
{
	struct code_at at = code_of(h, slot);

	coder_encode(h->coder, rows_at(h->rows, slot), s->code.room, q->code, &at);
	if (at.fine && !is_fine(h, slot))
		__atomic_store_n(&h->some_coarse, true, __ATOMIC_RELAXED);
}

bool hnsw_code_fits(const struct hnsw *h, struct scratch *s, uint32_t slot)
{
	struct code_at at = code_of(h, slot);

	return coder_fits(h->coder, rows_at(h->rows, slot), s->code.room, &at);
}

struct hnsw_aim hnsw_aim_at(const struct hnsw *h, uint32_t slot)
{
	struct hnsw_aim q = { .from = ROW_NONE };

	if (h->fine.at && (!__atomic_load_n(&h->some_coarse, __ATOMIC_RELAXED) || is_fine(h, slot)))
		q.from = slot;
	else
		q.p = hnsw_probe_at(h, slot);
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

static void fine_keys(const struct hnsw *h, uint32_t from, const uint32_t *slots, unsigned n,
                      float *ret)
{
	struct probe p;

	coder_fine_keys(h->coder, h->fine.at, h->norms.at, from, slots, n, ret);
	if (!__atomic_load_n(&h->some_coarse, __ATOMIC_RELAXED))
		return;
	for (unsigned i = 0; i < n; i++) {
		if (is_fine(h, slots[i]))
			continue;
		p = hnsw_probe_at(h, from);
		ret[i] = rows_key(h->rows, &p, slots[i]);
	}
}

void hnsw_keys(const struct hnsw *h, const struct hnsw_aim *q, const uint32_t *slots, unsigned n,
               float *ret)
{
	if (q->from != ROW_NONE) {
		fine_keys(h, q->from, slots, n, ret);
		return;
	}
	if (!q->code) {
		row_keys(h, &q->p, slots, n, ret);
		return;
	}
	coder_keys(h->coder, q->code, h->codes.at, h->norms.at, slots, n, ret);
	for (unsigned i = 0; h->norms.at && i < n; i++) {
		if (!isfinite(ret[i])) /* a vector that has no code */
			ret[i] = rows_key(h->rows, &q->p, slots[i]);
	}
}
