/*
 * salvage_segment.c: rows that only the segment has still.
 *
 * An extent has its rows' IDs, metadata and text. Which of them live is what the database knew: a
 * row is taken from here when the index or the image says that there is one and the row itself is
 * gone, or when its batch was sealed behind the last commit that the database knows, unless the
 * database has that vector as new or newer, or knows that it went. Of several versions that of the
 * latest seal counts, and not one of before the version that is looked for.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/num.h"
#include "store/salvage_impl.h"
#include "store/segment_format.h"

/* ---- files ---- */

/* CID.vectors.GEN */
static bool is_segment(const char *name, uint32_t *ret_cid, uint32_t *ret_gen)
{
	const char *dot = strstr(name, ".vectors."), *last = dot ? strrchr(dot, '.') + 1 : NULL;
	uint64_t cid, gen;

	if (!dot || !num_parse_u64(name, (size_t)(dot - name), &cid) ||
	    !num_parse_u64(last, strlen(last), &gen) || cid > STORE_CID_MAX || gen > UINT32_MAX)
		return false;
	*ret_cid = (uint32_t)cid;
	*ret_gen = (uint32_t)gen;
	return true;
}

/* The highest generation of which there is a file; 0: none. */
static uint32_t find_generation(const struct salvage *x, uint32_t cid)
{
	struct dirent *entry;
	DIR *d = opendir(x->from);
	uint32_t gen = 0, c, g;

	while (d && (entry = readdir(d)))
		if (is_segment(entry->d_name, &c, &g) && c == cid && g > gen)
			gen = g;
	if (d)
		closedir(d);
	return gen;
}

int salvage_find_strangers(struct salvage *x, struct err *e)
{
	struct dirent *entry;
	DIR *d = opendir(x->from);
	uint32_t cid, gen;
	int rc = 0;

	while (rc == 0 && d && (entry = readdir(d)))
		if (is_segment(entry->d_name, &cid, &gen))
			rc = salvage_coll_make(x, cid) ? 0 : err_nomem(e);
	if (d)
		closedir(d);
	return rc;
}

/* ---- headers ---- */

/* In whole pages. */
static uint64_t file_end(int fd)
{
	off_t end = lseek(fd, 0, SEEK_END);

	return end < 0 ? 0 : (uint64_t)end - (uint64_t)end % SEGMENT_PAGE;
}

/* Of the first block whose checksum holds, if the header of the file does not. */
static bool find_salt(int fd, struct coll_state *st)
{
	struct segment_head h;
	struct block b;

	if (io_read_at(fd, &h, sizeof(h), 0) == 0 &&
	    memcmp(h.magic, SEGMENT_MAGIC, sizeof(h.magic)) == 0 &&
	    h.crc == crc32c(0, &h, offsetof(struct segment_head, crc))) {
		st->salt = h.salt;
		return true;
	}
	for (uint64_t off = SEGMENT_PAGE, end = file_end(fd); off < end; off += SEGMENT_PAGE) {
		if (io_read_at(fd, &b, sizeof(b), off) < 0 ||
		    (!block_is_extent(&b) && !block_is_seal(&b)) || b.off != off ||
		    b.crc != crc32c(0, &b, offsetof(struct block, crc)))
			continue;
		st->salt = b.salt;
		return true;
	}
	return false;
}

static int mend_header(const struct salvage_coll *c, struct err *e)
{
	struct segment_head h = { .version = SEGMENT_VERSION,
		                  .cid = c->st.c.cid,
		                  .gen = c->st.c.gen,
		                  .salt = c->st.salt };
	char page[SEGMENT_PAGE] = { 0 };
	int rc;

	if (segment_header_holds(c->fd, h.cid, h.gen, h.salt))
		return 0;
	memcpy(h.magic, SEGMENT_MAGIC, sizeof(h.magic));
	h.crc = crc32c(0, &h, offsetof(struct segment_head, crc));
	memcpy(page, &h, sizeof(h));
	rc = io_write_at(c->fd, page, sizeof(page), 0);
	if (rc == 0)
		rc = io_sync(c->fd);
	return rc < 0 ? err_set(e, rc, "mending a segment: %s", strerror(-rc)) : 0;
}

static int see_dimension(void *ctx, const struct block *b, bool whole)
{
	struct salvage_coll *c = ctx;

	if (!whole || !block_is_extent(b))
		return 0;
	c->st.c.config.dimension = b->part;
	return 1;
}

/* One sector that the disk cannot read does not take the others along. */
static int walk(struct salvage_coll *c, int (*cb)(void *ctx, const struct block *b, bool whole),
                void *ctx)
{
	const struct segment_range in = { c->fd, c->st.salt, SEGMENT_PAGE,
		                          (uint64_t)lseek(c->fd, 0, SEEK_END), &c->unreadable };
	uint64_t end;

	c->unreadable = 0;
	return segment_walk(&in, cb, ctx, &end);
}

/* A file that is missing takes its rows along; the next one has another number. */
static int open_segment(struct salvage *x, struct salvage_coll *c, struct err *e)
{
	char path[4096];

	if (!c->known) {
		uint32_t gen = find_generation(x, c->st.c.cid);

		c->st.c.gen = gen ? gen : 1;
		salvage_ask_image(x, c);
	}
	segment_path(x->from, c->st.c.cid, c->st.c.gen, path, sizeof(path));
	c->fd = open(path, O_RDWR | O_CLOEXEC);
	if (c->fd >= 0 && !c->known && !find_salt(c->fd, &c->st)) {
		close(c->fd);
		c->fd = -1;
	} else if (c->fd >= 0) {
		if (!c->known)
			c->st.segment_end = file_end(c->fd);
		if (!c->st.c.config.dimension)
			walk(c, see_dimension, c);
		return mend_header(c, e);
	} else if (errno != ENOENT) {
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	}
	c->st.c.gen++;
	c->st.segment_end = 0;
	c->st.salt = coll_salt();
	return 0;
}

int salvage_open_segments(struct salvage *x, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < x->n_colls; i++) {
		struct salvage_coll *c = &x->colls[i];

		if (c->opened)
			continue;
		c->opened = true;
		rc = open_segment(x, c, e);
	}
	return rc;
}

bool salvage_floats_hold(struct salvage *x, const struct salvage_coll *c, const struct row *row)
{
	size_t bytes = c->st.c.config.dimension * sizeof(float);

	return c->fd >= 0 && io_read_at(c->fd, x->v, bytes, row->r.off) == 0 &&
	       crc32c(0, x->v, bytes) == row->vcrc;
}

/* ---- batches ---- */

struct extent {
	uint64_t off, batch;
	uint32_t dim;
	bool holds;
	uint64_t seq; /* of its seal; 0: it has none */
};

struct seal {
	uint64_t batch, seq;
};

struct blocks {
	int fd;
	struct extent *extents;
	size_t n_extents, cap_extents;
	struct seal *seals;
	size_t n_seals, cap_seals;
};

/* Room for one more; NULL: no memory, and p stays. */
static void *room(void *p, size_t n, size_t *cap, size_t size)
{
	size_t more = *cap ? *cap * 2 : 64;
	void *q = p;

	if (n < *cap)
		return p;
	q = mem_resize(p, more, size);
	if (q)
		*cap = more;
	return q;
}

static int add_seal(struct blocks *k, const struct block *b)
{
	struct seal *p = room(k->seals, k->n_seals, &k->cap_seals, sizeof(*p));

	if (!p)
		return -ENOMEM;
	k->seals = p;
	p[k->n_seals++] = (struct seal){ b->batch, b->detail };
	return 0;
}

static int add_extent(struct blocks *k, const struct block *b)
{
	struct extent *p = room(k->extents, k->n_extents, &k->cap_extents, sizeof(*p));

	if (!p)
		return -ENOMEM;
	k->extents = p;
	p[k->n_extents++] = (struct extent){ .off = b->off,
		                             .batch = b->batch,
		                             .dim = b->part,
		                             .holds = segment_records_hold(k->fd, b) == 1 };
	return 0;
}

static int see_block(void *ctx, const struct block *b, bool whole)
{
	if (!whole)
		return 0;
	return block_is_seal(b) ? add_seal(ctx, b) : add_extent(ctx, b);
}

static int by_batch(const void *a, const void *b)
{
	const struct seal *x = a, *y = b;

	return (x->batch > y->batch) - (x->batch < y->batch);
}

static int by_seal(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	if (x->seq != y->seq)
		return x->seq < y->seq ? -1 : 1;
	return (x->off > y->off) - (x->off < y->off);
}

/* Extents in the order of their seals. */
static void sort(struct blocks *k)
{
	if (k->n_seals)
		qsort(k->seals, k->n_seals, sizeof(*k->seals), by_batch);
	for (size_t i = 0; i < k->n_extents && k->n_seals; i++) {
		const struct seal key = { k->extents[i].batch, 0 };
		const struct seal *s = bsearch(&key, k->seals, k->n_seals, sizeof(key), by_batch);

		k->extents[i].seq = s ? s->seq : 0;
	}
	if (k->n_extents)
		qsort(k->extents, k->n_extents, sizeof(*k->extents), by_seal);
}

/* ---- rows ---- */

struct reading {
	struct salvage *x;
	int rc; /* of what is done with the rows */
	struct salvage_coll *c;
	uint64_t seq; /* of the seal */
	bool unknown; /* the database does not know this commit */
};

static int has(struct sql *db, const char *text, int64_t key, struct err *e)
{
	int64_t one;
	int rc = sql_number(db, &one, e, text, "i", key);

	return rc == 0 ? 1 : rc == -ENOENT ? 0 : rc;
}

/* It came after the image, and is not in the list of what went since. */
static int came_later(struct reading *r, uint32_t slot, struct err *e)
{
	int64_t one;
	int rc;

	if (!r->x->pages_lost || !r->c->has_image || r->seq <= r->c->image_seq)
		return 0;
	rc = sql_number(&r->x->s.w, &one, e,
	                "SELECT 1 FROM temp.gone_once WHERE cid = ? AND slot = ? AND seq >= ?",
	                "iii", I(r->c->st.c.cid), I(slot), I(r->seq));
	return rc == 0 ? 0 : rc == -ENOENT ? 1 : rc;
}

/* Of a commit that the database does not know: whether it has that vector as new, or newer. */
static int is_outdated(struct reading *r, int64_t key, uint32_t slot, uint32_t vcrc, struct err *e)
{
	struct sql *db = &r->x->s.w;
	int64_t one;
	int rc = sql_number(db, &one, e,
	                    "SELECT 1 FROM rows WHERE key = ?1 AND (seq > ?2 OR (seq = ?2 AND"
	                    " NOT EXISTS(SELECT 1 FROM temp.taken WHERE taken.key = ?1))"
	                    " OR (slot = ?3 AND vcrc = ?4))",
	                    "iiii", key, I(r->seq), I(slot), I(vcrc));

	if (rc != -ENOENT)
		return rc == 0 ? 1 : rc;
	rc = sql_number(db, &one, e,
	                "SELECT 1 FROM temp.gone_once WHERE cid = ? AND slot = ? AND seq >= ?",
	                "iii", I(r->c->st.c.cid), I(slot), I(r->seq));
	return rc == 0 ? 1 : rc == -ENOENT ? 0 : rc;
}

/* 1: it is to be taken, and *ret_seq is its sequence. */
static int is_wanted(struct reading *r, int64_t key, uint32_t slot, uint32_t vcrc,
                     uint64_t *ret_seq, struct err *e)
{
	struct sql *db = &r->x->s.w;
	int64_t seq = 0;
	int rc;

	*ret_seq = r->seq;
	rc = sql_number(db, &seq, e, "SELECT seq FROM temp.wanted WHERE key = ?", "i", key);
	if (r->unknown && (rc == 0 || rc == -ENOENT)) {
		if ((uint64_t)seq > r->seq)
			return 0;
		rc = is_outdated(r, key, slot, vcrc, e);
		return rc < 0 ? rc : !rc;
	}
	if (rc == -ENOENT) {
		rc = came_later(r, slot, e);
		if (rc <= 0)
			return rc;
	} else if (rc < 0) {
		return rc;
	}
	if ((uint64_t)seq > r->seq)
		return 0; /* an older version */
	if (seq)
		*ret_seq = (uint64_t)seq;
	rc = has(db, "SELECT 1 FROM temp.taken WHERE key = ?", key, e);
	if (rc)
		return rc;
	rc = has(db, "SELECT 1 FROM rows WHERE key = ?", key, e);
	return rc < 0 ? rc : !rc;
}

/* As nobody else has the store, without its lock. */
static NO_TSA int put_row(struct reading *r, const struct store_row *from, uint32_t vcrc,
                          uint64_t seq, struct err *e)
{
	struct salvage_coll *c = r->c;
	int64_t key = row_key(c->st.c.cid, from->num);
	struct row row = { .r = *from, .vcrc = vcrc };
	int rc;

	row.r.seq = seq;
	row.r.slot = ++c->max_slot;
	row.pcrc = row_payload_crc(&row.r);
	if (!salvage_floats_hold(r->x, c, &row))
		return 0;
	if (row.r.num > c->max_num)
		c->max_num = row.r.num;
	rc = row_write(&r->x->s, c->st.c.cid, c->st.c.config.dimension, &row, e);
	if (rc == 0)
		rc = sql_run(&r->x->s.w, e, "INSERT OR IGNORE INTO temp.taken VALUES(?)", "i", key);
	return rc;
}

static int see_record(void *ctx, const struct store_row *row, uint32_t vcrc, struct err *e)
{
	struct reading *r = ctx;
	uint64_t seq;
	int rc;

	if (row->num == 0 || row->num > STORE_NUM_MAX)
		return 0;
	salvage_saw(r->x);
	rc = is_wanted(r, row_key(r->c->st.c.cid, row->num), row->slot, vcrc, &seq, e);
	r->rc = rc > 0 ? put_row(r, row, vcrc, seq, e) : rc;
	return r->rc;
}

/* ---- one segment ---- */

static int read_extents(struct salvage *x, struct salvage_coll *c, const struct blocks *k,
                        bool any_missing, struct err *e)
{
	struct segment g = { .fd = c->fd, .salt = c->st.salt };
	struct reading r = { .x = x, .c = c };
	int rc = 0;

	for (size_t i = 0; rc >= 0 && i < k->n_extents; i++) {
		const struct extent *t = &k->extents[i];

		if (t->batch > x->max_batch)
			x->max_batch = t->batch;
		if (!t->seq || !t->holds || t->dim != c->st.c.config.dimension)
			continue;
		if (t->seq > x->max_seq && t->seq <= STORE_SEQ_MAX)
			x->max_seq = t->seq;
		r.seq = t->seq;
		r.unknown = t->seq > x->known_seq && t->seq > c->st.c.cleared_seq;
		if (!r.unknown && !any_missing && (!x->pages_lost || t->seq <= c->image_seq))
			continue;
		rc = segment_read_extent(&g, t->off, t->batch, t->dim, see_record, &r, e);
		if (rc == -EIO && r.rc == 0) /* the disk has changed its mind about it */
			rc = 0;
	}
	return rc;
}

/* Its rows that the index knows and the table has not. */
static int any_missing(struct salvage *x, uint32_t cid, struct err *e)
{
	int64_t one;
	int rc = sql_number(&x->s.w, &one, e,
	                    "SELECT 1 FROM temp.wanted w WHERE key BETWEEN ? AND ? AND NOT EXISTS"
	                    " (SELECT 1 FROM rows WHERE rows.key = w.key) LIMIT 1",
	                    "ii", ROW_KEYS(cid, 0));

	return rc == 0 ? 1 : rc == -ENOENT ? 0 : rc;
}

static int read_blocks(struct salvage *x, struct salvage_coll *c, struct blocks *k, struct err *e)
{
	int rc = walk(c, see_block, k);

	if (rc < 0)
		return err_set(e, rc, "reading a segment: %s", strerror(-rc));
	if (c->unreadable) {
		salvage_tell(x, c, "the disk cannot read %" PRIu64 " pages of its segment",
		             c->unreadable);
		c->st.segment_end = file_end(c->fd); /* nobody has to recover what is behind */
	}
	return 0;
}

static int from_segment(struct salvage *x, struct salvage_coll *c, struct err *e)
{
	struct blocks k = { .fd = c->fd };
	int missing = any_missing(x, c->st.c.cid, e);
	int rc = missing < 0 ? missing : 0;

	if (rc == 0)
		rc = read_blocks(x, c, &k, e);
	if (rc == 0) {
		sort(&k);
		rc = read_extents(x, c, &k, missing, e);
	}
	mem_free(k.extents);
	mem_free(k.seals);
	return rc;
}

int salvage_from_segments(struct salvage *x, struct err *e)
{
	int64_t n = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < x->n_colls; i++)
		if (x->colls[i].fd >= 0)
			rc = from_segment(x, &x->colls[i], e);
	if (rc == 0)
		rc = sql_number(&x->s.w, &n, e, "SELECT count(*) FROM temp.taken", "");
	x->ret->recovered = (uint64_t)n;
	if (rc == 0 && n)
		salvage_tell(x, NULL, "%" PRId64 " vectors were taken from segments", n);
	return rc;
}
