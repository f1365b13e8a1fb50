/* beam.c: a textbook binary heap. */
#include "index/beam.h"

void heap_push(struct heap *h, uint64_t entry)
{
	uint32_t i = h->n++;

	while (i > 0 && h->at[(i - 1) / 2] > entry) {
		h->at[i] = h->at[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	h->at[i] = entry;
}

uint64_t heap_pop(struct heap *h)
{
	uint64_t top = h->at[0], last = h->at[--h->n];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < h->n) {
		if (child + 1 < h->n && h->at[child + 1] < h->at[child])
			child++;
		if (h->at[child] >= last)
			break;
		h->at[i] = h->at[child];
		i = child;
	}
	h->at[i] = last;
	return top;
}
