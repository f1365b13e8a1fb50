/*
 * segment_recover.c: what a crash left at the end of a segment.
 *
 * Behind what is committed stand blocks of batches that were under way. Their pages reached the
 * disk in any order: of a batch there may be the seal and not all of its extents. It was never
 * committed then, since the file is synced before the transaction; its seal is taken away, so that
 * nobody looks for the rest. Batches that are whole stay: SQLite may have lost their commit.
 *
 * Extents may stand far in front of their seal, among other batches that were committed, so the
 * headers of the whole file are read when there is a seal to be judged. Where the disk cannot read
 * one of them nobody knows what it would say: then no seal is taken away, and what is behind a page
 * of the end that cannot be read is not cut off.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/segment_format.h"

struct sealed {
	uint64_t off;
	uint64_t batch;
	uint64_t n_extents; /* that are missing still */
	uint64_t n_rows;    /* likewise */
};

struct recovery {
	int fd;
	struct segment_tail *tail;
	struct sealed *seals;
	size_t n, cap;
	uint64_t unreadable; /* pages */
};

/* ---- what stands behind ---- */

static int add_seal(struct recovery *r, const struct block *b)
{
	if (r->n == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 16;
		struct sealed *p = mem_resize(r->seals, cap, sizeof(*p));

		if (!p)
			return -ENOMEM;
		r->seals = p;
		r->cap = cap;
	}
	r->seals[r->n++] = (struct sealed){
		.off = b->off, .batch = b->batch, .n_extents = b->part, .n_rows = b->n_rows
	};
	return 0;
}

static int see_tail(void *ctx, const struct block *b, bool whole)
{
	struct recovery *r = ctx;

	if (!whole)
		return 0;
	if (b->batch > r->tail->batch && b->batch < INT64_MAX)
		r->tail->batch = b->batch;
	if (!block_is_seal(b))
		return 0;
	if (b->detail > r->tail->seq && b->detail < INT64_MAX)
		r->tail->seq = b->detail;
	return add_seal(r, b);
}

/* ---- seals of batches that are not whole ---- */

static int see_extent(void *ctx, const struct block *b, bool whole)
{
	struct recovery *r = ctx;
	int holds;

	if (!whole || !block_is_extent(b))
		return 0;
	for (size_t i = 0; i < r->n; i++) {
		if (r->seals[i].batch != b->batch)
			continue;
		holds = segment_records_hold(r->fd, b);
		if (holds == -EIO) {
			r->unreadable++;
			return 0;
		}
		if (holds < 0)
			return holds;
		r->seals[i].n_extents -= (uint64_t)holds;
		r->seals[i].n_rows -= holds ? b->n_rows : 0;
	}
	return 0;
}

static int drop_seals(struct recovery *r, uint64_t salt, uint64_t size)
{
	static const char zeros[SEGMENT_PAGE];
	const struct segment_range all = { r->fd, salt, SEGMENT_PAGE, size, &r->unreadable };
	uint64_t end;
	int rc;

	if (!r->n)
		return 0;
	rc = segment_walk(&all, see_extent, r, &end);
	for (size_t i = 0; i < r->n && rc == 0 && !r->unreadable; i++) {
		if (r->seals[i].n_extents || r->seals[i].n_rows)
			rc = io_write_at(r->fd, zeros, sizeof(zeros), r->seals[i].off);
	}
	return rc;
}

int segment_recover(struct segment *g, int fd, uint64_t committed, uint64_t size,
                    struct segment_tail *ret, struct err *e)
{
	uint64_t page = SEGMENT_PAGE;
	uint64_t from = committed < page ? page : (committed + page - 1) / page * page;
	struct recovery r = { .fd = fd, .tail = ret };
	const struct segment_range tail = { fd, g->salt, from, size, &r.unreadable };
	uint64_t end = from;
	int rc = 0;

	if (size > from)
		rc = segment_walk(&tail, see_tail, &r, &end);
	if (r.unreadable)
		end = (size + page - 1) / page * page;
	if (rc == 0 && !g->read_only)
		rc = drop_seals(&r, g->salt, size);
	mem_free(r.seals);
	FAULT_POINT("segment.recover");
	if (rc == 0 && !g->read_only && size > end && ftruncate(fd, (off_t)end) < 0)
		rc = -errno;
	if (rc < 0)
		return err_set(e, rc, "recovering the segment: %s", strerror(-rc));
	/* A file that is shorter than what was committed keeps its lost range out of use. */
	atomic_store(&g->end, end);
	atomic_store(&g->written, size < end ? size : end);
	return 0;
}
