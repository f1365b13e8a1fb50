/* beam.c: the sorted array of candidates, and a textbook binary heap. */
#include "index/beam.h"

/*
 * Branchless: a wrongly guessed branch costs more than all the comparisons of such a short
 * search.
 */
static uint32_t lower_bound(const uint64_t *at, uint32_t n, uint64_t entry)
{
	const uint64_t *base = at;

	while (n > 1) {
		uint32_t half = n / 2;

		base += base[half - 1] < entry ? half : 0;
		n -= half;
	}
	return (uint32_t)(base - at) + (n == 1 && *base < entry);
}

void beam_insert(struct beam *b, uint64_t entry)
{
	uint32_t i = lower_bound(b->at, b->n, entry);

	if (b->n < b->ef)
		b->n++;
	memmove(b->at + i + 1, b->at + i, (b->n - 1 - i) * sizeof(*b->at));
	b->at[i] = entry;
	if (i < b->next)
		b->next = i;
}

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
