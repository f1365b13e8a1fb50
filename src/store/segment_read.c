/*
 * segment_read.c: extents byte by byte, and walking over a file whose contents cannot be trusted.
 *
 * A block counts only when its header holds: magic, the segment's salt, its own offset, a
 * length in whole pages, a checksum. The walk steps from block to block and, where there is
 * none, page by page: after a power cut a batch that was being written beside a committed one
 * leaves holes anywhere in its extents. Users cannot plant blocks in such a place, because they
 * do not know the salt.
 */
#include <errno.h>
#include <string.h>

#include "base/crc.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/segment_format.h"

#define READ_BYTES (256u << 10)

/* ---- building ---- */

size_t extent_records_bytes(const struct store_row *rows, size_t n)
{
	size_t sum = n * sizeof(struct extent_record);

	for (size_t i = 0; i < n; i++) {
		sum += rows[i].id_len + (rows[i].metadata ? rows[i].metadata_len : 0);
		sum += rows[i].text ? rows[i].text_len : 0;
	}
	return sum;
}

static char *put(char *p, const void *from, size_t n)
{
	if (n)
		memcpy(p, from, n);
	return p + n;
}

static char *put_record(char *p, const struct store_row *r, uint32_t vcrc)
{
	struct extent_record rec = {
		.num = r->num,
		.slot = r->slot,
		.json_bytes = r->json_bytes,
		.vcrc = vcrc,
		.id_len = (uint32_t)r->id_len,
		.metadata_len = r->metadata ? (uint32_t)r->metadata_len : RECORD_NULL,
		.text_len = r->text ? (uint32_t)r->text_len : RECORD_NULL,
	};

	p = put(p, &rec, sizeof(rec));
	p = put(p, r->id, r->id_len);
	p = put(p, r->metadata, r->metadata ? r->metadata_len : 0);
	return put(p, r->text, r->text ? r->text_len : 0);
}

static uint64_t records_off(const struct block *b)
{
	return sizeof(*b) + (uint64_t)b->n_rows * b->part * sizeof(float);
}

void extent_fill(char *p, const struct extent_in *in)
{
	const struct block *b = (const struct block *)(const void *)p;
	size_t row_bytes = b->part * sizeof(float);
	char *records = p + records_off(b);
	char *at = p + sizeof(*b);

	for (uint32_t i = 0; i < b->n_rows; i++) {
		const struct store_row *r = &in->rows[i];

		at = put(at, r->v, row_bytes);
		records = put_record(records, r,
		                     in->vcrc ? in->vcrc[i] : crc32c(0, r->v, row_bytes));
	}
	memset(records, 0, (size_t)(p + b->length - records));
}

void extent_finish(char *p, uint64_t length)
{
	const struct block *b = (const struct block *)(const void *)p;
	struct extent_trailer t = { .batch = b->batch, .header_crc = b->crc };

	memcpy(t.magic, TRAILER_MAGIC, sizeof(t.magic));
	t.records_crc = crc32c(0, p + records_off(b), b->detail);
	t.crc = crc32c(0, &t, offsetof(struct extent_trailer, crc));
	memcpy(p + length - sizeof(t), &t, sizeof(t));
}

/* ---- checking ---- */

bool block_is_seal(const struct block *b)
{
	return memcmp(b->magic, SEAL_MAGIC, sizeof(b->magic)) == 0;
}

bool block_is_extent(const struct block *b)
{
	return memcmp(b->magic, EXTENT_MAGIC, sizeof(b->magic)) == 0;
}

/* Whether an extent's parts add up to its length. */
static bool parts_fit(const struct block *b)
{
	uint64_t room = b->length - sizeof(*b) - sizeof(struct extent_trailer);

	if (!b->part || b->part > LIMIT_DIMENSION || b->length > 1ull << 40)
		return false;
	if ((uint64_t)b->n_rows * b->part * sizeof(float) > room)
		return false;
	return b->detail <= room - (uint64_t)b->n_rows * b->part * sizeof(float);
}

static bool block_holds(const struct block *b, uint64_t salt, uint64_t off)
{
	if (!block_is_extent(b) && !block_is_seal(b))
		return false;
	if (b->salt != salt || b->off != off || b->crc != crc32c(0, b, offsetof(struct block, crc)))
		return false;
	if (b->length < SEGMENT_PAGE || b->length % SEGMENT_PAGE || b->version != SEGMENT_VERSION)
		return false;
	return block_is_seal(b) ? b->length == SEGMENT_PAGE : parts_fit(b);
}

static bool trailer_holds(int fd, const struct block *b, struct extent_trailer *t)
{
	if (io_read_at(fd, t, sizeof(*t), b->off + b->length - sizeof(*t)) < 0)
		return false;
	return memcmp(t->magic, TRAILER_MAGIC, sizeof(t->magic)) == 0 &&
	       t->crc == crc32c(0, t, offsetof(struct extent_trailer, crc)) &&
	       t->batch == b->batch && t->header_crc == b->crc;
}

static bool is_whole(int fd, const struct block *b, uint64_t to)
{
	struct extent_trailer t;

	if (b->length > to - b->off)
		return false;
	return block_is_seal(b) || trailer_holds(fd, b, &t);
}

/* 1: there is a block at off. */
static int read_block(const struct segment_range *in, uint64_t off, struct block *ret)
{
	int rc = io_read_at(in->fd, ret, sizeof(*ret), off);

	if (rc == -EIO && in->unreadable) {
		++*in->unreadable;
		return 0;
	}
	return rc < 0 ? rc : block_holds(ret, in->salt, off);
}

int segment_walk(const struct segment_range *in,
                 int (*cb)(void *ctx, const struct block *b, bool whole), void *ctx,
                 uint64_t *ret_end)
{
	uint64_t off = in->from, to = in->to;
	struct block b;
	int rc;

	*ret_end = in->from;
	while (to > off && to - off >= sizeof(b)) {
		rc = read_block(in, off, &b);
		if (rc < 0)
			return rc;
		if (!rc) {
			off += SEGMENT_PAGE;
			continue;
		}
		bool whole = is_whole(in->fd, &b, to);

		rc = cb(ctx, &b, whole);
		if (rc)
			return rc;
		off += whole ? b.length : SEGMENT_PAGE;
		if (whole)
			*ret_end = off;
	}
	return 0;
}

int segment_records_hold(int fd, const struct block *b)
{
	uint64_t off = b->off + records_off(b), left = b->detail;
	struct extent_trailer t;
	MEM_AUTO char *p = mem_alloc(READ_BYTES, 1);
	uint32_t crc = 0;
	int rc;

	if (!p)
		return -ENOMEM;
	if (!trailer_holds(fd, b, &t))
		return 0;
	while (left) {
		size_t n = left < READ_BYTES ? (size_t)left : READ_BYTES;

		rc = io_read_at(fd, p, n, off);
		if (rc < 0)
			return rc;
		crc = crc32c(crc, p, n);
		off += n;
		left -= n;
	}
	return crc == t.records_crc;
}

/* ---- reading rows back ---- */

struct record_reader {
	int fd;
	uint64_t off;  /* in the file, of what follows the buffered bytes */
	uint64_t left; /* of the records, behind the buffered bytes */
	char *p;
	size_t cap;
	size_t at;
	size_t len;
	uint32_t crc;
};

/* Makes n bytes available at p + at. -ENODATA: the records end before. */
static int need(struct record_reader *r, size_t n)
{
	size_t have = r->len - r->at;
	size_t more;
	int rc;

	if (have >= n)
		return 0;
	if (n - have > r->left)
		return -ENODATA;
	memmove(r->p, r->p + r->at, have);
	r->at = 0;
	r->len = have;
	if (n > r->cap) {
		char *p = mem_resize(r->p, n, 1);

		if (!p)
			return -ENOMEM;
		r->p = p;
		r->cap = n;
	}
	more = r->cap - have;
	if (more > r->left)
		more = (size_t)r->left;
	rc = io_read_at(r->fd, r->p + have, more, r->off);
	if (rc < 0)
		return rc;
	r->crc = crc32c(r->crc, r->p + have, more);
	r->off += more;
	r->left -= more;
	r->len += more;
	return 0;
}

static size_t length_of(uint32_t n)
{
	return n == RECORD_NULL ? 0 : n;
}

static bool record_sane(const struct extent_record *rec)
{
	return rec->id_len >= 1 && rec->id_len <= LIMIT_ID &&
	       length_of(rec->metadata_len) <= LIMIT_METADATA &&
	       length_of(rec->text_len) <= LIMIT_TEXT;
}

static int next_record(struct record_reader *r, struct store_row *row, uint32_t *ret_vcrc)
{
	struct extent_record rec;
	size_t n;
	int rc = need(r, sizeof(rec));

	if (rc < 0)
		return rc;
	memcpy(&rec, r->p + r->at, sizeof(rec));
	if (!record_sane(&rec))
		return -EILSEQ;
	n = sizeof(rec) + rec.id_len + length_of(rec.metadata_len) + length_of(rec.text_len);
	rc = need(r, n);
	if (rc < 0)
		return rc;
	*row = (struct store_row){ .num = rec.num,
		                   .slot = rec.slot,
		                   .json_bytes = rec.json_bytes,
		                   .id = r->p + r->at + sizeof(rec),
		                   .id_len = rec.id_len,
		                   .metadata_len = length_of(rec.metadata_len),
		                   .text_len = length_of(rec.text_len) };
	if (rec.metadata_len != RECORD_NULL)
		row->metadata = row->id + row->id_len;
	if (rec.text_len != RECORD_NULL)
		row->text = row->id + row->id_len + row->metadata_len;
	*ret_vcrc = rec.vcrc;
	r->at += n;
	return 0;
}

static int damaged(struct err *e, int rc, uint64_t off)
{
	if (rc == -ENOMEM)
		return err_nomem(e);
	return err_set(e, -EIO, "the extent at %llu of the segment is damaged: %s",
	               (unsigned long long)off, rc == -ENODATA ? "it is too short" : strerror(-rc));
}

static int read_rows(struct record_reader *r, const struct block *b,
                     int (*cb)(void *ctx, const struct store_row *row, uint32_t vcrc,
                               struct err *e),
                     void *ctx, struct err *e)
{
	struct store_row row;
	uint32_t vcrc;
	int rc;

	for (uint32_t i = 0; i < b->n_rows; i++) {
		rc = next_record(r, &row, &vcrc);
		if (rc < 0)
			return damaged(e, rc, b->off);
		row.off = b->off + sizeof(*b) + (uint64_t)i * b->part * sizeof(float);
		rc = cb(ctx, &row, vcrc, e);
		if (rc)
			return rc;
	}
	return r->left || r->at != r->len ? damaged(e, -EILSEQ, b->off) : 0;
}

static int load_extent(struct segment *g, uint64_t off, uint64_t batch, uint32_t dim,
                       struct block *b, struct extent_trailer *t, struct err *e)
{
	int rc = io_read_at(g->fd, b, sizeof(*b), off);

	if (rc < 0)
		return damaged(e, rc, off);
	if (!block_holds(b, g->salt, off) || !block_is_extent(b) || b->batch != batch ||
	    b->part != dim || !trailer_holds(g->fd, b, t))
		return damaged(e, -EILSEQ, off);
	return 0;
}

long segment_extent_rows(struct segment *g, uint64_t off, uint64_t batch, uint32_t dim,
                         struct err *e)
{
	struct extent_trailer t;
	struct block b;
	int rc = load_extent(g, off, batch, dim, &b, &t, e);

	return rc < 0 ? rc : (long)b.n_rows;
}

int segment_read_extent(struct segment *g, uint64_t off, uint64_t batch, uint32_t dim,
                        int (*cb)(void *ctx, const struct store_row *row, uint32_t vcrc,
                                  struct err *e),
                        void *ctx, struct err *e)
{
	struct record_reader r = { .fd = g->fd, .cap = READ_BYTES };
	struct extent_trailer t;
	struct block b;
	int rc = load_extent(g, off, batch, dim, &b, &t, e);

	if (rc < 0)
		return rc;
	r.off = off + records_off(&b);
	r.left = b.detail;
	r.p = mem_alloc(r.cap, 1);
	rc = r.p ? read_rows(&r, &b, cb, ctx, e) : err_nomem(e);
	if (rc == 0 && r.crc != t.records_crc)
		rc = damaged(e, -EILSEQ, off);
	mem_free(r.p);
	return rc;
}
