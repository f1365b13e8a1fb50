/*
 * verify_segment.c: what a segment file holds, for verification: its whole extents in order,
 * and whether each batch that was sealed has all of them.
 *
 * Torn extents of batches that never committed are no damage: they lie about after a crash
 * until the next compaction. So an extent is reported when its batch was sealed or when a row
 * that lives points into it, not otherwise.
 *
 * Batches arrive meanwhile, and their extents may be half written. A map is drawn up to where
 * the segment ended before: a seal below that place was begun after all its extents were
 * written, so what it counts must be there.
 */
#include "store/verify_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static int grow(void **p, size_t n, size_t *cap, size_t size)
{
	size_t to = *cap ? *cap * 2 : 64;
	void *q;

	if (n < *cap)
		return 0;
	q = mem_resize(*p, to, size);
	if (!q)
		return -ENOMEM;
	*p = q;
	*cap = to;
	return 0;
}

static int extent_at(const void *key, const void *p)
{
	uint64_t off = *(const uint64_t *)key;
	const struct seg_extent *x = p;

	return (off > x->off) - (off < x->off);
}

/* Records that held when the map was last drawn are not read again. */
static int add_extent(struct seg_map *m, const struct block *b, bool whole)
{
	struct seg_extent x = {
		.off = b->off + sizeof(*b),
		.end = b->off + sizeof(*b) + (uint64_t)b->n_rows * b->part * sizeof(float),
		.batch = b->batch,
		.n_rows = b->n_rows,
		.dim = b->part,
	};
	const struct seg_extent *before = NULL;
	int holds = 0;

	if (m->n_before)
		before = bsearch(&x.off, m->before, m->n_before, sizeof(x), extent_at);
	if (before)
		x.used = before->used;
	if (before && before->holds && before->batch == x.batch)
		holds = 1;
	else if (whole)
		holds = segment_records_hold(m->fd, b);
	x.holds = holds == 1;
	if (holds == -ENOMEM ||
	    grow((void **)&m->extents, m->n_extents, &m->cap_extents, sizeof(x)) < 0)
		return -ENOMEM;
	m->extents[m->n_extents++] = x;
	return 0;
}

static int add_seal(struct seg_map *m, const struct block *b)
{
	if (grow((void **)&m->seals, m->n_seals, &m->cap_seals, sizeof(*m->seals)) < 0)
		return -ENOMEM;
	m->seals[m->n_seals++] =
		(struct seg_seal){ .batch = b->batch, .n_extents = b->part, .n_rows = b->n_rows };
	return 0;
}

static int see_block(void *ctx, const struct block *b, bool whole)
{
	return block_is_seal(b) ? add_seal(ctx, b) : add_extent(ctx, b, whole);
}

int seg_map_draw(struct seg_map *m, uint64_t to, struct err *e)
{
	uint64_t end, unreadable = 0;
	struct segment_range in = { m->fd, m->salt, SEGMENT_PAGE, to, &unreadable };
	struct stat st;
	int rc = 0;

	if (m->fd < 0)
		return 0;
	if (fstat(m->fd, &st) < 0)
		return err_set(e, -errno, "verifying the segment: %s", strerror(errno));
	m->size = (uint64_t)st.st_size;
	m->before = m->extents;
	m->n_before = m->n_extents;
	m->extents = NULL;
	m->n_extents = m->cap_extents = m->n_seals = 0;
	if (in.to > m->size)
		in.to = m->size;
	if (in.to > SEGMENT_PAGE)
		rc = segment_walk(&in, see_block, m, &end);
	mem_free(m->before);
	m->before = NULL;
	m->n_before = 0;
	/* A disk that cannot read gives rows without extents, which are counted. */
	return rc == -ENOMEM ? err_nomem(e) : 0;
}

int seg_map_open(struct seg_map *m, const char *dir, uint32_t cid, const struct coll_state *st,
                 struct err *e)
{
	char path[4096];
	struct stat file;

	seg_map_release(m);
	m->gen = st->c.gen;
	m->salt = st->salt;
	m->header_holds = true;
	segment_path(dir, cid, m->gen, path, sizeof(path));
	m->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (m->fd < 0 && errno == ENOENT)
		return 0;
	if (m->fd < 0 || fstat(m->fd, &file) < 0)
		return err_set(e, -errno, "verifying the segment: %s", strerror(errno));
	/* One that was begun and has nothing that was committed may be without. */
	if (st->segment_end || file.st_size >= SEGMENT_PAGE)
		m->header_holds = segment_header_holds(m->fd, cid, m->gen, m->salt);
	return 0;
}

void seg_map_release(struct seg_map *m)
{
	if (m->fd >= 0)
		close(m->fd);
	mem_free(m->extents);
	mem_free(m->seals);
	*m = (struct seg_map){ .fd = -1 };
}

struct seg_extent *seg_map_find(struct seg_map *m, uint64_t off, uint32_t dim)
{
	size_t low = 0, high = m->n_extents;
	struct seg_extent *x;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (m->extents[mid].off <= off)
			low = mid + 1;
		else
			high = mid;
	}
	x = low ? &m->extents[low - 1] : NULL;
	if (!x || !x->holds || x->dim != dim || off + (uint64_t)dim * sizeof(float) > x->end)
		return NULL;
	return (off - x->off) % ((uint64_t)dim * sizeof(float)) == 0 ? x : NULL;
}

/* ---- batches ---- */

static int by_batch(const void *a, const void *b)
{
	const struct seg_extent *x = a, *y = b;

	return (x->batch > y->batch) - (x->batch < y->batch);
}

static int seal_by_batch(const void *a, const void *b)
{
	const struct seg_seal *x = a, *y = b;

	return (x->batch > y->batch) - (x->batch < y->batch);
}

/*
 * Goes over both in the order of batches; calls bad for every extent or seal that is not as it
 * should be. A batch of which no row is left is nobody's: it was replaced, or it failed, maybe on a
 * sync, and its pages need not be there. Rows that point into a damaged extent are counted by the
 * caller.
 */
void seg_map_check_batches(struct seg_map *m, void (*bad)(void *ctx, const char *what, uint64_t n),
                           void *ctx)
{
	size_t i = 0;

	if (m->n_extents)
		qsort(m->extents, m->n_extents, sizeof(*m->extents), by_batch);
	if (m->n_seals)
		qsort(m->seals, m->n_seals, sizeof(*m->seals), seal_by_batch);
	for (size_t k = 0; k <= m->n_seals; k++) {
		uint64_t batch = k < m->n_seals ? m->seals[k].batch : UINT64_MAX;
		uint64_t extents = 0, rows = 0, used = 0;

		for (; i < m->n_extents && m->extents[i].batch < batch; i++) {
			if (m->extents[i].used)
				bad(ctx, "the seal of batch", m->extents[i].batch);
		}
		for (; i < m->n_extents && m->extents[i].batch == batch; i++) {
			extents += m->extents[i].holds;
			used += m->extents[i].used;
			rows += m->extents[i].holds ? m->extents[i].n_rows : 0;
		}
		if (k < m->n_seals && used &&
		    (extents != m->seals[k].n_extents || rows != m->seals[k].n_rows))
			bad(ctx, "an extent of batch", batch);
	}
}
