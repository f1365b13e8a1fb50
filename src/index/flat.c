/*
 * flat.c: exact search by scanning.
 *
 * The k best so far are a heap with the worst on top, so that a scan costs n log k however the
 * rows are ordered; ties are decided by slot, which makes the answer independent of the order
 * of the scan. Rows are compared four at a time, as the kernels like it; what may not be
 * returned is skipped before its key is computed.
 */
#include "index/flat.h"

#include <stdbool.h>

static bool hit_less(const struct hit *a, const struct hit *b)
{
	return a->key < b->key || (a->key == b->key && a->slot < b->slot);
}

/* Lets the hit at i sink below those that are farther. */
static void sift_down(struct hit *heap, size_t n, size_t i)
{
	struct hit moving = heap[i];
	size_t child;

	while ((child = 2 * i + 1) < n) {
		if (child + 1 < n && hit_less(&heap[child], &heap[child + 1]))
			child++;
		if (!hit_less(&moving, &heap[child]))
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = moving;
}

static void sift_up(struct hit *heap, size_t i)
{
	struct hit moving = heap[i];

	while (i > 0 && hit_less(&heap[(i - 1) / 2], &moving)) {
		heap[i] = heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	heap[i] = moving;
}

struct best {
	struct hit *heap;
	size_t n;
	size_t k;
};

static void best_offer(struct best *b, float key, uint32_t slot)
{
	struct hit hit = { .key = key, .slot = slot };

	if (b->n < b->k) {
		b->heap[b->n] = hit;
		sift_up(b->heap, b->n++);
	} else if (b->k && hit_less(&hit, &b->heap[0])) {
		b->heap[0] = hit;
		sift_down(b->heap, b->n, 0);
	}
}

/* Heap to sorted array, nearest first, in place. */
static void best_sort(struct best *b)
{
	struct hit worst;

	for (size_t n = b->n; n > 1; n--) {
		worst = b->heap[0];
		b->heap[0] = b->heap[n - 1];
		sift_down(b->heap, n - 1, 0);
		b->heap[n - 1] = worst;
	}
}

/* slots NULL: the slots are 0 to n - 1. */
static void scan(const struct rows *rows, const struct probe *q, const uint32_t *slots, size_t n,
                 struct best *b)
{
	uint32_t four[4], slot;
	float keys[4];
	size_t n_four = 0;

	for (size_t i = 0; i < n; i++) {
		slot = slots ? slots[i] : (uint32_t)i;
		if (rows_state(rows, slot) != ROW_LIVE)
			continue;
		four[n_four++] = slot;
		if (n_four < 4)
			continue;
		rows_key4(rows, q, four, keys);
		for (size_t j = 0; j < 4; j++)
			best_offer(b, keys[j], four[j]);
		n_four = 0;
	}
	for (size_t j = 0; j < n_four; j++)
		best_offer(b, rows_key(rows, q, four[j]), four[j]);
}

size_t flat_search(const struct rows *rows, const struct probe *q, size_t k, struct hit *ret)
{
	struct best b = { .heap = ret, .k = k };

	scan(rows, q, NULL, rows->n, &b);
	best_sort(&b);
	return b.n;
}

size_t flat_search_list(const struct rows *rows, const struct probe *q, const uint32_t *slots,
                        size_t n, size_t k, struct hit *ret, size_t n_ret)
{
	struct best b = { .heap = ret, .n = n_ret, .k = k };

	for (size_t i = n_ret / 2; i-- > 0;)
		sift_down(ret, n_ret, i);
	scan(rows, q, slots, n, &b);
	best_sort(&b);
	return b.n;
}
