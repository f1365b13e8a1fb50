/*
 * segment.h: one file of float rows, DIR/CID.vectors.GEN: a header page, then blocks that start
 * on pages: extents (rows of one batch with their IDs, metadata and text) and seals (the batch
 * is complete and has this sequence).
 *
 * Written only at its end; a block's place is reserved under a lock and filled outside of it,
 * so batches that arrive at once interleave. Floats are read through shared mappings, which
 * stay where they are until segment_free(); a page of them that the disk cannot read becomes
 * zeros (base/mapped.h), which no checksum of a row agrees with. All functions may be called from
 * any thread.
 * docs/FORMAT.md has the bytes.
 */
#ifndef RV_STORE_SEGMENT_H
#define RV_STORE_SEGMENT_H

#include <stdatomic.h>

#include "base/err.h"
#include "base/lock.h"
#include "base/mapped.h"
#include "store/store.h"

#define SEGMENT_PAGE    4096
#define SEGMENT_VERSION 1

/* Both kinds of blocks start with it. Little-endian, as everything on disk. */
struct block {
	char magic[8];
	uint64_t salt;   /* of the segment: what users store cannot pass for a block */
	uint64_t off;    /* in the file */
	uint64_t length; /* whole pages */
	uint64_t batch;
	uint64_t detail; /* extent: bytes of records; seal: the sequence */
	uint32_t n_rows;
	uint32_t part; /* extent: dimension; seal: number of extents */
	uint32_t version;
	uint32_t crc; /* of the 60 bytes above */
};

struct window {
	uint64_t start;
	uint64_t len;
	char *p;
	struct mapped_range *watch;
};

struct segment {
	char *dir; /* const after open, as the next four */
	uint32_t cid;
	uint32_t gen;
	uint64_t salt;
	bool read_only;
	struct mutex space;
	int fd;                   /* space; -1 until the first append or after the open */
	_Atomic uint64_t end;     /* written under space: where the next block goes */
	_Atomic uint64_t written; /* up to here the file has bytes, so a mapping can be touched */
	_Atomic uint64_t lost;    /* pages that could not be read and are zeros in the mapping */
	struct rwlock maps;
	struct window *windows; /* maps; by start, a later start has a later end */
	size_t n_windows;       /* maps */
	size_t cap_windows;     /* maps */
	struct segment *older;  /* the owner's list */
};

void segment_path(const char *dir, uint32_t cid, uint32_t gen, char *ret, size_t cap);

/*
 * Opens the file, or creates it when there is none. committed: what the database knows to be
 * whole; behind it incomplete blocks at the end are cut off (not with read_only). *ret_batch,
 * *ret_seq: the largest seen behind committed.
 */
int segment_open(struct segment **ret, const char *dir, uint32_t cid, uint32_t gen, uint64_t salt,
                 uint64_t committed, bool read_only, uint64_t *ret_batch, uint64_t *ret_seq,
                 struct err *e);
void segment_free(struct segment *g); /* unmaps; NULL allowed */

/* As store_append_extent. *ret_off: of the block. */
struct extent_in {
	uint64_t batch;
	uint32_t dim;
	struct store_row *rows;
	/* of each row's floats as they were first stored, or NULL: they are new */
	const uint32_t *vcrc;
	size_t n;
};
int segment_append(struct segment *g, const struct extent_in *in, uint64_t *ret_off,
                   const float **ret_floats, struct err *e);
/*
 * A seal says how many extents (part) and rows the batch has and which sequence (detail) it
 * gets; *ret_end: behind it.
 */
int segment_seal(struct segment *g, const struct block *seal, uint64_t *ret_end, struct err *e);
int segment_sync(struct segment *g, struct err *e);

/* dim floats at off inside what was written, or NULL. */
const float *segment_floats(struct segment *g, uint64_t off, uint32_t dim);

/* The byte at off, and in *ret_bytes how many from there on may be read; NULL and 0. */
const char *segment_mapped(struct segment *g, uint64_t off, uint64_t *ret_bytes);

uint64_t segment_mapped_bytes(struct segment *g); /* without what reaches beyond the file */

/* Pages that could not be read and are zeros where they are mapped. Before the zeros are seen. */
static inline uint64_t segment_lost(const struct segment *g)
{
	return atomic_load(&g->lost);
}

/* Maps these anew, so that the disk is asked once more. Who reads them meanwhile may. */
void segment_map_again(struct segment *g);

/* How many rows the extent at off has; -EIO when there is none of this batch and dimension. */
long segment_extent_rows(struct segment *g, uint64_t off, uint64_t batch, uint32_t dim,
                         struct err *e);

/*
 * Rows of the extent at off, which must belong to the batch; metadata and text point into
 * memory that the next call of cb reuses; v is NULL, vcrc the checksum of the floats. The
 * records' own checksum is known only after the last row: -EIO then.
 */
int segment_read_extent(struct segment *g, uint64_t off, uint64_t batch, uint32_t dim,
                        int (*cb)(void *ctx, const struct store_row *row, uint32_t vcrc,
                                  struct err *e),
                        void *ctx, struct err *e);

/* What is walked over: [from, to) of a file. */
struct segment_range {
	int fd;
	uint64_t salt;
	uint64_t from, to;
	uint64_t *unreadable; /* pages that the disk cannot read are counted there; NULL: -EIO */
};

/*
 * Goes over the blocks of a range: cb gets each block with a header that holds; whole: its other
 * end is there too. Pages that start no block are stepped over. *ret_end: the end of the last whole
 * block, or from. cb non-zero ends.
 */
int segment_walk(const struct segment_range *in,
                 int (*cb)(void *ctx, const struct block *b, bool whole), void *ctx,
                 uint64_t *ret_end);
bool block_is_seal(const struct block *b);
bool block_is_extent(const struct block *b);
/*
 * Whether the records of an extent in the file have the checksum that its trailer says: 1, 0,
 * or -errno.
 */
int segment_records_hold(int fd, const struct block *b);
bool segment_header_holds(int fd, uint32_t cid, uint32_t gen, uint64_t salt);

#endif
