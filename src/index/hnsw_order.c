/*
 * hnsw_order.c: in which order to link many.
 *
 * An insertion compares a vector with some thousand others, most of them near it, and waits for the
 * memory of each. Vectors that are near each other are compared with the same ones. So they are sorted
 * by where a walk comes down to them: by the node of level 2, of which there is one in m^2, then by
 * that of level 1.
 *
 * Only what waits at one time is sorted, not all there ever will be, so a graph still begins with
 * vectors from everywhere, as links over long distances need it.
 */
#include <stdlib.h>

#include "index/hnsw_impl.h"

static uint64_t place_of(const struct hnsw *h, struct scratch *s, uint32_t entry, uint32_t slot)
{
	struct probe p = hnsw_probe_at(h, slot);
	struct hnsw_aim q = hnsw_aim_for(h, s, &p);
	struct hnsw_walk w = { .h = h, .hops = hop_kernels_get(), .q = &q, .s = s };

	return hnsw_walk_place(&w, entry);
}

/* Without a graph, or memory, all places are the same. */
void hnsw_find_places(const struct hnsw *h, struct hnsw_waiting *w, size_t n)
{
	struct scratch_pool *pool = (struct scratch_pool *)&h->pool;
	uint32_t entry = hnsw_entry(h);
	struct scratch *s = entry == ROW_NONE ? NULL : hnsw_scratch_get(pool, h->cap, 1);

	for (size_t i = 0; i < n; i++)
		w[i].place = s ? place_of(h, s, entry, w[i].slot) : 0;
	if (s)
		hnsw_scratch_put(pool, s);
}

static int by_place(const void *a, const void *b)
{
	const struct hnsw_waiting *x = a, *y = b;

	if (x->place != y->place)
		return x->place < y->place ? -1 : 1;
	return (x->was > y->was) - (x->was < y->was);
}

void hnsw_sort_places(struct hnsw_waiting *w, size_t n)
{
	qsort(w, n, sizeof(*w), by_place);
}
