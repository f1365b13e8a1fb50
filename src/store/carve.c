/*
 * carve.c: see carve.h. The file format is SQLite's (sqlite.org/fileformat2.html): pages of 4096
 * bytes without reserved space, as both databases of ours have them. Every length and offset is
 * hostile.
 */
#include "store/carve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

#define PAGE         4096u
#define WAL_HEADER   32u
#define FRAME_HEADER 24u
#define FRAME        (FRAME_HEADER + PAGE)
#define PAYLOAD_MAX  (4u << 20) /* of one record; ours have 700 KB at most */
#define INDEX_INNER  0x02
#define INDEX_LEAF   0x0a
#define TABLE_LEAF   0x0d
#define WAL_MAGIC    0x377f0682u /* and 1: checksums over big-endian words */

struct file {
	const uint8_t *p; /* NULL: empty or not there */
	size_t n;
};

struct frame {
	uint32_t page;
	const uint8_t *p;
};

struct carve {
	struct file db, wal;
	struct frame *frames; /* the newest of each page, by number */
	size_t n_frames;
	bool wal_damaged;
	uint8_t *payload; /* of a record that is in several pages */
	struct carve_record r;
};

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t be16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

/* ---- the WAL ---- */

struct sums {
	uint32_t a, b;
};

static void sum(struct sums *s, const uint8_t *p, size_t n, bool big)
{
	for (size_t i = 0; i < n; i += 8) {
		uint32_t x = be32(p + i), y = be32(p + i + 4);

		s->a += (big ? x : __builtin_bswap32(x)) + s->b;
		s->b += (big ? y : __builtin_bswap32(y)) + s->a;
	}
}

/* Each frame's sum goes on from what the one before has written down as its own. */
static bool frame_holds(const struct file *wal, size_t i, bool big)
{
	const uint8_t *f = wal->p + WAL_HEADER + i * FRAME;
	const uint8_t *before = i ? f - FRAME + 16 : wal->p + 24;
	struct sums s = { be32(before), be32(before + 4) };

	if (memcmp(f + 8, wal->p + 16, 8) != 0) /* of an earlier round, or damaged */
		return false;
	sum(&s, f, 8, big);
	sum(&s, f + FRAME_HEADER, PAGE, big);
	return s.a == be32(f + 16) && s.b == be32(f + 20);
}

static size_t n_frames(const struct file *wal)
{
	return wal->n < WAL_HEADER ? 0 : (wal->n - WAL_HEADER) / FRAME;
}

/*
 * Behind the last frame that ends a transaction. One that lacks frames counts only if another one
 * follows: the last may be one that a power cut left half written, and nobody was told of.
 */
static size_t find_end(struct carve *c, bool big)
{
	size_t end = 0, half = 0;
	bool lacks = false;

	for (size_t i = 0; i < n_frames(&c->wal); i++) {
		if (!frame_holds(&c->wal, i, big)) {
			lacks = true;
			continue;
		}
		if (!be32(c->wal.p + WAL_HEADER + i * FRAME + 4))
			continue;
		c->wal_damaged |= half > end;
		if (lacks)
			end = half > end ? half : end;
		else
			end = i + 1;
		half = i + 1;
		lacks = false;
	}
	return end;
}

/* The newest of a page, which stands last, comes first. */
static int by_page(const void *a, const void *b)
{
	const struct frame *x = a, *y = b;

	if (x->page != y->page)
		return x->page < y->page ? -1 : 1;
	return (x->p < y->p) - (x->p > y->p);
}

static void sort_frames(struct carve *c)
{
	size_t n = 0;

	if (c->n_frames)
		qsort(c->frames, c->n_frames, sizeof(*c->frames), by_page);
	for (size_t i = 0; i < c->n_frames; i++)
		if (!n || c->frames[n - 1].page != c->frames[i].page)
			c->frames[n++] = c->frames[i];
	c->n_frames = n;
}

/* Pages may lie anywhere: behind the end of a database that was cut, too. */
static int read_wal(struct carve *c, struct err *e)
{
	bool big;
	size_t end;

	if (c->wal.n < WAL_HEADER || (be32(c->wal.p) & ~1u) != WAL_MAGIC)
		return 0;
	big = be32(c->wal.p) & 1;
	end = find_end(c, big);
	c->frames = mem_alloc(end + 1, sizeof(*c->frames));
	if (!c->frames)
		return err_nomem(e);
	for (size_t i = 0; i < end; i++) {
		const uint8_t *f = c->wal.p + WAL_HEADER + i * FRAME;

		if (be32(f) && frame_holds(&c->wal, i, big))
			c->frames[c->n_frames++] = (struct frame){ be32(f), f + FRAME_HEADER };
	}
	sort_frames(c);
	return 0;
}

/* ---- files ---- */

#define CHUNK (1u << 20)

/* What the disk cannot read stays zeros; the pages around it are read one by one. */
static void read_some(int fd, uint8_t *p, size_t n, size_t off)
{
	if (io_read_at(fd, p, n, off) == 0)
		return;
	memset(p, 0, n);
	for (size_t at = 0; at < n; at += PAGE) {
		size_t part = n - at < PAGE ? n - at : PAGE;

		if (io_read_at(fd, p + at, part, off + at) < 0)
			memset(p + at, 0, part);
	}
}

static int read_if_there(const char *path, struct file *ret, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
	struct stat st = { 0 };
	uint8_t *p;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		rc = err_set(e, -errno, "%s: %s", path, strerror(errno));
	if (rc == 0 && st.st_size > 0) {
		*ret = (struct file){ mem_map_grow(NULL, 0, (size_t)st.st_size),
			              (size_t)st.st_size };
		p = (uint8_t *)(uintptr_t)ret->p;
		for (size_t at = 0; p && at < ret->n; at += CHUNK)
			read_some(fd, p + at, ret->n - at < CHUNK ? ret->n - at : CHUNK, at);
		rc = p ? 0 : err_nomem(e);
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

static void free_file(struct file *f)
{
	if (f->p)
		mem_map_free((void *)(uintptr_t)f->p, f->n);
}

int carve_open(const char *path, struct carve **ret, struct err *e)
{
	struct carve *c = mem_zalloc(1, sizeof(*c));
	char wal[4096];
	int rc;

	if (!c)
		return err_nomem(e);
	c->payload = mem_alloc(PAYLOAD_MAX, 1);
	rc = c->payload ? read_if_there(path, &c->db, e) : err_nomem(e);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	if (rc == 0)
		rc = read_if_there(wal, &c->wal, e);
	if (rc == 0)
		rc = read_wal(c, e);
	if (rc == 0 && c->db.n < PAGE && !c->n_frames)
		rc = -ENOENT;
	if (rc < 0) {
		carve_close(c);
		return rc;
	}
	*ret = c;
	return 0;
}

void carve_close(struct carve *c)
{
	if (!c)
		return;
	free_file(&c->db);
	free_file(&c->wal);
	mem_free(c->frames);
	mem_free(c->payload);
	mem_free(c);
}

bool carve_wal_damaged(const struct carve *c)
{
	return c->wal_damaged;
}

bool carve_wal_alone(const struct carve *c)
{
	return c->db.n < PAGE;
}

/* ---- pages ---- */

/* What the WAL has of a page, or of the first one behind it: an index, which may be n_frames. */
static size_t frame_from(const struct carve *c, uint64_t number)
{
	size_t low = 0, high = c->n_frames;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (c->frames[mid].page < number)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* By number, from 1; NULL: there is none. */
static const uint8_t *page_at(const struct carve *c, uint64_t number)
{
	size_t i = frame_from(c, number);

	if (number && i < c->n_frames && c->frames[i].page == number)
		return c->frames[i].p;
	return number && number <= c->db.n / PAGE ? c->db.p + (number - 1) * PAGE : NULL;
}

/* 0: it does not end before end. */
static size_t varint(const uint8_t *p, const uint8_t *end, uint64_t *ret)
{
	uint64_t v = 0;

	for (size_t i = 0; i < 9 && p + i < end; i++) {
		if (i == 8) {
			*ret = v << 8 | p[i];
			return 9;
		}
		v = v << 7 | (p[i] & 0x7f);
		if (!(p[i] & 0x80)) {
			*ret = v;
			return i + 1;
		}
	}
	return 0;
}

/* ---- records ---- */

static size_t bytes_of_type(uint64_t type)
{
	static const uint8_t sizes[] = { 0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0 };

	return type < 12 ? sizes[type] : (size_t)((type - 12) / 2);
}

static bool parse(struct carve_record *r, const uint8_t *p, size_t n)
{
	uint64_t head, type;
	size_t at = varint(p, p + n, &head), body;

	if (!at || head > n)
		return false;
	body = (size_t)head;
	for (r->n = 0; at < head; r->n++) {
		size_t len = varint(p + at, p + head, &type);

		if (!len || r->n == CARVE_COLUMNS || type > 2ull * PAYLOAD_MAX + 13 ||
		    bytes_of_type(type) > n - body)
			return false;
		r->v[r->n] = (struct carve_value){ type, p + body, bytes_of_type(type) };
		body += bytes_of_type(type);
		at += len;
	}
	return true;
}

/* How much of a payload stands in the page itself. */
static size_t local_bytes(uint64_t payload, bool table)
{
	size_t most = table ? PAGE - 35 : (PAGE - 12) * 64 / 255 - 23;
	size_t least = (PAGE - 12) * 32 / 255 - 23;
	size_t k = least + (size_t)((payload - least) % (PAGE - 4));

	if (payload <= most)
		return (size_t)payload;
	return k <= most ? k : least;
}

/* The payload's bytes in one piece, or NULL. */
static const uint8_t *gather(struct carve *c, const uint8_t *p, const uint8_t *end, uint64_t n,
                             bool table)
{
	size_t at = local_bytes(n, table);
	const uint8_t *page;
	uint32_t next;

	if (at > (size_t)(end - p))
		return NULL;
	if (at == n)
		return p;
	if (end - p - (ptrdiff_t)at < 4)
		return NULL;
	memcpy(c->payload, p, at);
	for (next = be32(p + at); at < n; next = be32(page)) {
		size_t part = n - at < PAGE - 4 ? (size_t)n - at : PAGE - 4;

		page = page_at(c, next);
		if (!page)
			return NULL;
		memcpy(c->payload + at, page + 4, part);
		at += part;
	}
	return c->payload;
}

static bool read_cell(struct carve *c, const uint8_t *p, const uint8_t *end, uint8_t type)
{
	uint64_t n, rowid = 0;
	size_t len;

	c->r.table = type == TABLE_LEAF;
	if (type == INDEX_INNER)
		p += 4;
	if (p >= end)
		return false;
	len = varint(p, end, &n);
	if (!len || n > PAYLOAD_MAX)
		return false;
	p += len;
	if (c->r.table) {
		len = varint(p, end, &rowid);
		p += len;
		if (!len)
			return false;
	}
	c->r.rowid = (int64_t)rowid;
	p = gather(c, p, end, n, c->r.table);
	return p && parse(&c->r, p, (size_t)n);
}

static int each_cell(struct carve *c, const uint8_t *page, size_t head,
                     int (*cb)(void *ctx, const struct carve_record *r), void *ctx)
{
	uint8_t type = page[head];
	size_t first = head + (type == INDEX_INNER ? 12 : 8);
	uint32_t n = be16(page + head + 3);
	int rc = 0;

	if (type != TABLE_LEAF && type != INDEX_LEAF && type != INDEX_INNER)
		return 0;
	for (uint32_t i = 0; rc == 0 && i < n && first + 2 * i + 2 <= PAGE; i++) {
		uint32_t at = be16(page + first + 2 * i);

		if (at < PAGE && read_cell(c, page + at, page + PAGE, type))
			rc = cb(ctx, &c->r);
	}
	return rc;
}

int carve_each(struct carve *c, int (*cb)(void *ctx, const struct carve_record *r), void *ctx)
{
	size_t n = c->db.n / PAGE;
	int rc = 0;

	for (size_t i = 1; rc == 0 && i <= n; i++)
		rc = each_cell(c, page_at(c, i), i == 1 ? 100 : 0, cb, ctx);
	for (size_t i = frame_from(c, (uint64_t)n + 1); rc == 0 && i < c->n_frames; i++)
		rc = each_cell(c, c->frames[i].p, c->frames[i].page == 1 ? 100 : 0, cb, ctx);
	return rc;
}

/* ---- columns ---- */

static int64_t integer(const struct carve_value *v)
{
	int64_t n = v->n ? (int8_t)v->p[0] : v->type == 9;

	for (size_t i = 1; i < v->n; i++)
		n = (int64_t)((uint64_t)n << 8 | v->p[i]);
	return n;
}

static double real(const struct carve_value *v)
{
	uint64_t bits = (uint64_t)be32(v->p) << 32 | be32(v->p + 4);
	double d;

	memcpy(&d, &bits, sizeof(d));
	return d;
}

void carve_bind(sqlite3_stmt *st, const struct carve_record *r)
{
	for (int i = 0; i < r->n; i++) {
		const struct carve_value *v = &r->v[i];

		if (v->type == 0 && i == 0 && r->table)
			sqlite3_bind_int64(st, 1, r->rowid);
		else if (v->type == 0 || v->type == 10 || v->type == 11)
			sqlite3_bind_null(st, i + 1);
		else if (v->type == 7)
			sqlite3_bind_double(st, i + 1, real(v));
		else if (v->type < 12)
			sqlite3_bind_int64(st, i + 1, integer(v));
		else if (v->type & 1)
			sqlite3_bind_text(st, i + 1, (const char *)v->p, (int)v->n, SQLITE_STATIC);
		else
			sqlite3_bind_blob(st, i + 1, v->p, (int)v->n, SQLITE_STATIC);
	}
}
