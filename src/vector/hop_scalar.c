/* hop_scalar.c: what the other sets do, in plain C; no branch depends on what was seen. */
#include "vector/hop.h"

static unsigned unseen(const uint32_t *row, unsigned n, uint32_t *seen,
                       const struct hop_ahead *ahead, uint32_t *ret)
{
	unsigned n_new = 0;

	for (unsigned i = 0; i < n; i++) {
		uint32_t slot = __atomic_load_n(&row[i], __ATOMIC_ACQUIRE);

		if (slot == HOP_NONE)
			break;
		ret[n_new] = slot;
		n_new += !hop_see(seen, slot);
	}
	for (unsigned i = 0; i < n_new; i++)
		hop_prefetch(ahead, ret[i]);
	return n_new;
}

static unsigned links(const uint32_t *row, unsigned n, uint32_t *ret)
{
	unsigned i = 0;

	for (; i < n && (ret[i] = __atomic_load_n(&row[i], __ATOMIC_ACQUIRE)) != HOP_NONE; i++)
		;
	return i;
}

static unsigned below(const float *keys, unsigned n, float bound, uint32_t *ret)
{
	unsigned n_below = 0;

	for (unsigned i = 0; i < n; i++) {
		ret[n_below] = i;
		n_below += keys[i] < bound;
	}
	return n_below;
}

static uint32_t insert(uint64_t *at, uint32_t n, uint64_t entry)
{
	for (; n > 0 && at[n - 1] > entry; n--)
		at[n] = at[n - 1];
	at[n] = entry;
	return n;
}

const struct hop_kernels hop_scalar = {
	.name = "scalar",
	.unseen = unseen,
	.links = links,
	.below = below,
	.insert = insert,
};
