/* verify_impl.h: what verify.c asks verify_segment.c. */
#ifndef RV_STORE_VERIFY_IMPL_H
#define RV_STORE_VERIFY_IMPL_H

#include "store/store_impl.h"

struct seg_extent {
	uint64_t off; /* of the floats */
	uint64_t end; /* of the floats */
	uint64_t batch;
	uint32_t n_rows;
	uint32_t dim;
	bool holds;
	bool used; /* a row points into it */
};

struct seg_seal {
	uint64_t batch;
	uint32_t n_extents;
	uint32_t n_rows;
};

struct seg_map {
	int fd; /* -1: there is no file */
	uint32_t gen;
	uint64_t salt;
	uint64_t size;
	bool header_holds;
	struct seg_extent *extents;
	size_t n_extents;
	size_t cap_extents;
	struct seg_extent *before; /* while it is drawn anew */
	size_t n_before;
	struct seg_seal *seals;
	size_t n_seals;
	size_t cap_seals;
};

/* m is released first: it starts with fd -1 and else zeros. Nothing is drawn yet. */
int seg_map_open(struct seg_map *m, const char *dir, uint32_t cid, const struct coll_state *st,
                 struct err *e);
/*
 * to: where the segment ended before this call. Extents that held are not read again, and stay
 * used.
 */
int seg_map_draw(struct seg_map *m, uint64_t to, struct err *e);
void seg_map_release(struct seg_map *m);
/* The whole extent that has the row at off, or NULL. Not after seg_map_check_batches. */
struct seg_extent *seg_map_find(struct seg_map *m, uint64_t off, uint32_t dim);
void seg_map_check_batches(struct seg_map *m, void (*bad)(void *ctx, const char *what, uint64_t n),
                           void *ctx);

#endif
