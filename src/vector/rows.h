/*
 * rows.h: the versions of a collection by slot: where the float rows are, and who may see them.
 *
 * A slot is the index's name for one stored version of a vector. The engine owns and changes
 * this table; the indexes read it. Growing takes the collection's lock for writing; `state`,
 * `at` and `inv_norm` of a slot are set before the slot is given to an index.
 */
#ifndef RV_VECTOR_ROWS_H
#define RV_VECTOR_ROWS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "vector/metric.h"

#define ROW_NONE UINT32_MAX

enum row_state {
	ROW_FREE,   /* not in use; at is NULL */
	ROW_HIDDEN, /* of an open batch: may be traversed, is never returned */
	ROW_LIVE,   /* may be returned */
	/* deleted, replaced or rejected: may be traversed until it is unlinked, is never returned */
	ROW_DEAD,
};

struct rows {
	size_t dim;         /* const once the first slot is used */
	enum metric metric; /* const likewise */
	uint32_t n;         /* slots ever used: all indexes below it are valid */
	uint32_t cap;
	_Atomic(const float *) *at; /* cap pointers, dim floats each */
	_Atomic uint8_t *state;     /* cap of enum row_state */
	float *inv_norm;            /* cap; 1/|v|, or 0 for a zero vector; used by cosine only */
};

static inline const float *rows_at(const struct rows *r, uint32_t slot)
{
	return atomic_load_explicit(&r->at[slot], memory_order_acquire);
}

static inline enum row_state rows_state(const struct rows *r, uint32_t slot)
{
	return (enum row_state)atomic_load_explicit(&r->state[slot], memory_order_acquire);
}

/*
 * One query, prepared: distances from it are comparable among themselves ("keys") and become
 * user distances at the end.
 */
struct probe {
	const float *v; /* dim floats */
	float inv_norm; /* of v */
};

void probe_init(struct probe *p, const struct rows *r, const float *v);
float rows_key(const struct rows *r, const struct probe *p, uint32_t slot);
void rows_key4(const struct rows *r, const struct probe *p, const uint32_t slots[4], float ret[4]);
/* key to the distance that users see (l2: root; cosine: clamped) */
float rows_distance(const struct rows *r, float key);
/* robust: no overflow at huge components, none lost at denormals */
float vector_inv_norm(const float *v, size_t dim);
/*
 * Whether v, finite numbers, has distances under m. -EINVAL: all zeros under cosine, or so long under
 * l2 and ip that a distance may be no float. ret_inv_norm: as above, NULL allowed.
 */
int vector_check(const float *v, size_t dim, enum metric m, float *ret_inv_norm, struct err *e);

/* A found version. */
struct hit {
	float key;
	uint32_t slot;
};

#endif
