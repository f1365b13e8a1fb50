/*
 * sections.c: docs/FORMAT.md, "Sectioned files".
 *
 * The writer leaves room for the header, appends sections through a small buffer and counts their
 * CRCs on the way; table and header come last. The reader accepts sections in order, gaps of
 * zeros no larger than the alignment, the table at the end, so that every byte of the file is
 * covered by a check. It checks with pread and maps afterwards: a disk that cannot be read gives
 * -EIO then, not SIGBUS. Sections of a large file are checked side by side.
 */
#include "base/sections.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crc.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/lock.h"
#include "base/mapped.h"
#include "base/mem.h"
#include "base/parallel.h"

#define MAGIC        "RVSECTS\n"
#define VERSION      1
#define ALIGNMENT    64
#define PAGE         4096        /* of sections that were asked to start on one */
#define MAP_BYTES    (64u << 10) /* a section that is worth a mapping of its own */
#define THREAD_BYTES (8u << 20)  /* of a file that are worth a thread */
#define SECTIONS_MAX 4096
#define BUFFER_BYTES (256u << 10)

/* All little-endian. */
struct header {
	char magic[8];
	uint32_t version;
	uint32_t n;
	uint64_t table_offset;
	uint8_t zero[32];
	uint32_t table_crc;
	uint32_t crc; /* of the 60 bytes before */
};
_Static_assert(sizeof(struct header) == ALIGNMENT, "header");

struct entry {
	uint32_t tag;
	uint32_t crc;
	uint64_t offset;
	uint64_t length;
};
_Static_assert(sizeof(struct entry) == 24, "entry");

static uint64_t align_to(uint64_t offset, uint64_t alignment)
{
	return (offset + alignment - 1) & ~(alignment - 1);
}

static uint64_t align_up(uint64_t offset)
{
	return align_to(offset, ALIGNMENT);
}

struct sections_writer {
	char *path;
	char *tmp;
	int fd;
	uint64_t end;        /* of what was given, buffered or not */
	struct buf pending;  /* the bytes just below end */
	struct entry *table; /* in the machine's byte order */
	size_t n;
	bool on_page;   /* the next section starts on one */
	struct err err; /* the first */
};

static void writer_free(struct sections_writer *w)
{
	if (!w)
		return;
	if (w->fd >= 0)
		close(w->fd);
	buf_release(&w->pending);
	mem_free(w->table);
	mem_free(w->path);
	mem_free(w->tmp);
	mem_free(w);
}

static char *with_suffix(const char *path)
{
	struct buf b = BUF_INIT;

	buf_addf(&b, "%s.tmp", path);
	return buf_detach(&b, NULL);
}

int sections_create(const char *path, struct sections_writer **ret, struct err *e)
{
	struct sections_writer *w = mem_zalloc(1, sizeof(*w));
	int rc;

	if (!w)
		return err_nomem(e);
	w->fd = -1;
	w->end = ALIGNMENT;
	w->path = mem_dup(path, strlen(path));
	w->tmp = with_suffix(path);
	if (!w->path || !w->tmp) {
		writer_free(w);
		return err_nomem(e);
	}
	w->fd = open(w->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (w->fd < 0) {
		rc = -errno;
		writer_free(w);
		return err_set(e, rc, "cannot create the file: %s", strerror(-rc));
	}
	*ret = w;
	return 0;
}

static int write_failed(struct sections_writer *w, int rc)
{
	return err_set(&w->err, rc, "cannot write %" PRIu64 " bytes: %s", w->end, strerror(-rc));
}

static int flush(struct sections_writer *w)
{
	int rc = io_write_at(w->fd, w->pending.data, w->pending.len, w->end - w->pending.len);

	if (rc < 0)
		return write_failed(w, rc);
	buf_clear(&w->pending);
	return 0;
}

static int append(struct sections_writer *w, const void *p, size_t n)
{
	int rc;

	if (w->pending.len + n > BUFFER_BYTES) {
		rc = flush(w);
		if (rc < 0)
			return rc;
	}
	if (n > BUFFER_BYTES) {
		rc = io_write_at(w->fd, p, n, w->end);
		if (rc < 0)
			return write_failed(w, rc);
	} else {
		buf_add(&w->pending, p, n);
		if (buf_failed(&w->pending))
			return err_nomem(&w->err);
	}
	w->end += n;
	return 0;
}

static int pad(struct sections_writer *w, uint64_t alignment)
{
	static const char zeros[PAGE];

	return append(w, zeros, align_to(w->end, alignment) - w->end);
}

static int begin_section(struct sections_writer *w, uint32_t tag)
{
	struct entry *table;
	int rc;

	for (size_t i = 0; i < w->n; i++)
		if (w->table[i].tag == tag)
			return err_set(&w->err, -EINVAL, "section %08" PRIx32 " is split", tag);
	if (w->n >= SECTIONS_MAX)
		return err_set(&w->err, -E2BIG, "more than %d sections", SECTIONS_MAX);
	table = mem_resize(w->table, w->n + 1, sizeof(*table));
	if (!table)
		return err_nomem(&w->err);
	w->table = table;
	rc = pad(w, w->on_page ? PAGE : ALIGNMENT);
	if (rc < 0)
		return rc;
	w->on_page = false;
	table[w->n++] = (struct entry){ .tag = tag, .offset = w->end };
	return 0;
}

int sections_write(struct sections_writer *w, uint32_t tag, const void *p, size_t n)
{
	struct entry *section;
	int rc = w->err.code;

	if (rc == 0 && (w->n == 0 || w->table[w->n - 1].tag != tag))
		rc = begin_section(w, tag);
	if (rc < 0 || n == 0)
		return rc;
	section = &w->table[w->n - 1];
	/* Before a system call reads it, which base/mapped.h wants. */
	section->crc = crc32c(section->crc, p, n);
	section->length += n;
	return append(w, p, n);
}

void sections_align(struct sections_writer *w)
{
	w->on_page = true;
}

static void table_to_file(struct entry *table, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		table[i].tag = htole32(table[i].tag);
		table[i].crc = htole32(table[i].crc);
		table[i].offset = htole64(table[i].offset);
		table[i].length = htole64(table[i].length);
	}
}

static int finish(struct sections_writer *w)
{
	struct header h = { .magic = MAGIC, .version = htole32(VERSION) };
	size_t bytes = w->n * sizeof(*w->table);
	int rc = w->err.code < 0 ? w->err.code : pad(w, ALIGNMENT);

	if (rc < 0)
		return rc;
	table_to_file(w->table, w->n);
	h.n = htole32((uint32_t)w->n);
	h.table_offset = htole64(w->end);
	h.table_crc = htole32(crc32c(0, w->table, bytes));
	h.crc = htole32(crc32c(0, &h, offsetof(struct header, crc)));
	rc = append(w, w->table, bytes);
	if (rc == 0)
		rc = flush(w);
	if (rc < 0)
		return rc;
	FAULT_POINT("image.flushed");
	rc = io_write_at(w->fd, &h, sizeof(h), 0);
	if (rc == 0)
		rc = io_sync(w->fd);
	return rc < 0 ? write_failed(w, rc) : 0;
}

int sections_commit(struct sections_writer *w, struct err *e)
{
	int rc = finish(w);

	if (rc < 0) {
		err_set(e, rc, "%s", w->err.text);
		sections_abort(w);
		return rc;
	}
	FAULT_POINT("image.synced");
	if (rename(w->tmp, w->path) < 0) {
		rc = err_set(e, -errno, "cannot rename the file into place: %m");
		sections_abort(w);
		return rc;
	}
	FAULT_POINT("image.renamed");
	rc = io_sync_parent(w->path);
	if (rc < 0)
		err_set(e, rc, "cannot sync the folder: %s", strerror(-rc));
	writer_free(w);
	return rc;
}

void sections_abort(struct sections_writer *w)
{
	if (!w)
		return;
	unlink(w->tmp);
	writer_free(w);
}

struct sections_reader {
	int fd;
	uint64_t size;
	void *map; /* NULL until all is checked */
	struct mapped_range *watch;
	_Atomic uint64_t lost; /* pages of it that could not be read again */
	struct entry *table;   /* in the machine's byte order */
	size_t n;
};

static int read_failed(int rc, struct err *e)
{
	if (rc == -ENODATA) /* somebody cut it since fstat */
		return err_set(e, -EILSEQ, "file is cut");
	return err_set(e, rc, "cannot read the file: %s", strerror(-rc));
}

/* Checks the header and leaves the table's place and CRC. */
static int read_header(struct sections_reader *r, struct header *h, struct err *e)
{
	static const uint8_t zero[sizeof(h->zero)];
	uint64_t offset, bytes;
	int rc;

	if (r->size < sizeof(*h))
		return err_set(e, -EILSEQ, "file is cut: %" PRIu64 " bytes, header has %zu",
		               r->size, sizeof(*h));
	rc = io_read_at(r->fd, h, sizeof(*h), 0);
	if (rc < 0)
		return read_failed(rc, e);
	if (memcmp(h->magic, MAGIC, sizeof(h->magic)) != 0)
		return err_set(e, -EILSEQ, "header is not that of a sectioned file");
	if (le32toh(h->crc) != crc32c(0, h, offsetof(struct header, crc)))
		return err_set(e, -EILSEQ, "header is damaged: checksum differs");
	if (le32toh(h->version) != VERSION)
		return err_set(e, -EILSEQ, "version %" PRIu32 ", expected %d", le32toh(h->version),
		               VERSION);
	r->n = le32toh(h->n);
	offset = le64toh(h->table_offset);
	bytes = r->n * sizeof(struct entry);
	if (r->n > SECTIONS_MAX || memcmp(h->zero, zero, sizeof(zero)) != 0)
		return err_set(e, -EILSEQ, "header is damaged: %zu sections", r->n);
	if (offset > r->size || r->size - offset != bytes)
		return err_set(e, -EILSEQ, "file has %" PRIu64 " bytes, header says %" PRIu64,
		               r->size, offset + bytes);
	return 0;
}

static int read_table(struct sections_reader *r, const struct header *h, struct err *e)
{
	size_t bytes = r->n * sizeof(*r->table);
	int rc;

	r->table = mem_alloc(r->n, sizeof(*r->table));
	if (!r->table)
		return err_nomem(e);
	rc = io_read_at(r->fd, r->table, bytes, le64toh(h->table_offset));
	if (rc < 0)
		return read_failed(rc, e);
	if (crc32c(0, r->table, bytes) != le32toh(h->table_crc))
		return err_set(e, -EILSEQ, "table is damaged: checksum differs");
	table_to_file(r->table, r->n); /* the same swap back */
	return 0;
}

/* Where section i ends, or the header before the first. */
static uint64_t end_of(const struct sections_reader *r, size_t i)
{
	return i == 0 ? ALIGNMENT : r->table[i - 1].offset + r->table[i - 1].length;
}

/* Where section i may start: behind the one before, on a page if the writer asked for it. */
static bool place_is_good(const struct sections_reader *r, size_t i)
{
	uint64_t end = end_of(r, i), offset = r->table[i].offset;

	return offset == align_up(end) || offset == align_to(end, PAGE);
}

/* Sections follow one another in the table's order, the table follows the last one. */
static int check_layout(const struct sections_reader *r, uint64_t table_offset, struct err *e)
{
	if (table_offset < ALIGNMENT)
		return err_set(e, -EILSEQ, "table is out of place");
	for (size_t i = 0; i < r->n; i++) {
		const struct entry *s = &r->table[i];

		if (!place_is_good(r, i) || s->offset > table_offset ||
		    s->length > table_offset - s->offset)
			return err_set(e, -EILSEQ, "section %zu is out of place", i);
		for (size_t j = 0; j < i; j++)
			if (r->table[j].tag == s->tag)
				return err_set(e, -EILSEQ, "section %zu is there twice", i);
	}
	if (align_up(end_of(r, r->n)) != table_offset)
		return err_set(e, -EILSEQ, "table is out of place");
	return 0;
}

/* Also checks that the gap before the section is zeros. */
static int check_section(const struct sections_reader *r, size_t i, char *chunk, struct err *e)
{
	const struct entry *s = &r->table[i];
	uint64_t end = s->offset + s->length, gap_at = end_of(r, i);
	size_t gap = (size_t)(s->offset - gap_at);
	uint32_t crc = 0;
	int rc = io_read_at(r->fd, chunk, gap, gap_at);

	for (size_t k = 0; rc == 0 && k < gap; k++)
		if (chunk[k])
			return err_set(e, -EILSEQ, "gap before section %zu is not zeros", i);
	for (uint64_t at = s->offset; rc == 0 && at < end; at += BUFFER_BYTES) {
		size_t n = end - at < BUFFER_BYTES ? (size_t)(end - at) : BUFFER_BYTES;

		rc = io_read_at(r->fd, chunk, n, at);
		if (rc == 0)
			crc = crc32c(crc, chunk, n);
	}
	if (rc < 0)
		return read_failed(rc, e);
	if (crc != s->crc)
		return err_set(e, -EILSEQ, "section %zu is damaged: checksum differs", i);
	return 0;
}

static int check_last_gap(const struct sections_reader *r, uint64_t table_offset, struct err *e)
{
	uint64_t at = end_of(r, r->n);
	char gap[ALIGNMENT];
	int rc = io_read_at(r->fd, gap, (size_t)(table_offset - at), at);

	if (rc < 0)
		return read_failed(rc, e);
	for (uint64_t k = 0; k < table_offset - at; k++)
		if (gap[k])
			return err_set(e, -EILSEQ, "gap before the table is not zeros");
	return 0;
}

struct checking {
	struct sections_reader *r;
	struct mutex lock;
	int rc;       /* lock; the first error */
	struct err e; /* lock */
};

static void check_piece(void *ctx, uint32_t i)
{
	struct checking *c = ctx;
	MEM_AUTO char *chunk = mem_alloc(BUFFER_BYTES, 1);
	struct err e = { 0 };
	int rc = chunk ? check_section(c->r, i, chunk, &e) : err_nomem(&e);

	if (rc == 0)
		return;
	mutex_lock(&c->lock);
	if (c->rc == 0) {
		c->rc = rc;
		c->e = e;
	}
	mutex_unlock(&c->lock);
}

static int check_sections(struct sections_reader *r, struct err *e)
{
	struct checking c = { .r = r };

	mutex_init(&c.lock);
	parallel_run((uint32_t)r->n, (unsigned)(r->size / THREAD_BYTES) + 1, check_piece, &c);
	mutex_destroy(&c.lock);
	return c.rc < 0 ? err_set(e, c.rc, "%s", c.e.text) : 0;
}

static int check_all(struct sections_reader *r, struct err *e)
{
	struct header h;
	int rc = read_header(r, &h, e);

	if (rc == 0)
		rc = read_table(r, &h, e);
	if (rc == 0)
		rc = check_layout(r, le64toh(h.table_offset), e);
	if (rc == 0)
		rc = check_last_gap(r, le64toh(h.table_offset), e);
	return rc < 0 ? rc : check_sections(r, e);
}

static int map_file(struct sections_reader *r, struct err *e)
{
	void *p = mmap(NULL, r->size, PROT_READ, MAP_SHARED, r->fd, 0);

	if (p == MAP_FAILED)
		return err_set(e, -errno, "cannot map the file: %m");
	r->map = p;
	r->watch = mapped_watch(p, (size_t)align_to(r->size, mem_page()), MAPPED_READ, &r->lost);
	return r->watch ? 0 : err_nomem(e);
}

/* A file that is no file, a pipe say, must not hold us up: NONBLOCK. */
static int open_file(struct sections_reader *r, const char *path, struct err *e)
{
	struct stat st;

	r->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (r->fd < 0)
		return err_set(e, -errno, "cannot open the file: %m");
	if (fstat(r->fd, &st) < 0)
		return err_set(e, -errno, "cannot open the file: %m");
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EILSEQ, "not a regular file");
	r->size = (uint64_t)st.st_size;
	return 0;
}

int sections_open(const char *path, struct sections_reader **ret, struct err *e)
{
	struct sections_reader *r = mem_zalloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_nomem(e);
	rc = open_file(r, path, e);
	if (rc == 0)
		rc = check_all(r, e);
	if (rc == 0)
		rc = map_file(r, e);
	if (rc < 0) {
		sections_close(r);
		return rc;
	}
	*ret = r;
	return 0;
}

static const struct entry *entry_of(const struct sections_reader *r, uint32_t tag)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->table[i].tag == tag)
			return &r->table[i];
	return NULL;
}

const void *sections_get(const struct sections_reader *r, uint32_t tag, size_t *ret_len)
{
	const struct entry *s = entry_of(r, tag);

	*ret_len = s ? (size_t)s->length : 0;
	return s ? (const char *)r->map + s->offset : NULL;
}

bool sections_lost(const struct sections_reader *r)
{
	return atomic_load(&r->lost) > 0;
}

static void *copy_section(const struct sections_reader *r, const struct entry *s, size_t *bytes)
{
	char *p;

	if (s && *bytes < s->length)
		*bytes = (size_t)s->length;
	p = mem_map_grow(NULL, 0, *bytes);
	if (p && s && s->length)
		memcpy(p, (const char *)r->map + s->offset, (size_t)s->length);
	return p;
}

void *sections_map(const struct sections_reader *r, uint32_t tag, size_t *bytes,
                   size_t *ret_file_bytes)
{
	const struct entry *s = entry_of(r, tag);
	size_t tail, whole;
	char *p;

	*ret_file_bytes = 0;
	if (!s || s->length < MAP_BYTES || s->offset % mem_page())
		return copy_section(r, s, bytes);
	tail = (size_t)s->length % mem_page(); /* behind it are the next section's first bytes */
	whole = (size_t)s->length - tail;
	if (*bytes < whole + mem_page())
		*bytes = whole + mem_page(); /* so that there is something to grow */
	p = mem_map_file(r->fd, s->offset, whole, *bytes);
	if (!p)
		return NULL;
	memcpy(p + whole, (const char *)r->map + s->offset + whole, tail);
	*ret_file_bytes = whole;
	return p;
}

void *sections_copy(const struct sections_reader *r, uint32_t tag, size_t *bytes)
{
	return copy_section(r, entry_of(r, tag), bytes);
}

void sections_close(struct sections_reader *r)
{
	if (!r)
		return;
	mapped_unwatch(r->watch);
	if (r->map)
		munmap(r->map, (size_t)r->size);
	if (r->fd >= 0)
		close(r->fd);
	mem_free(r->table);
	mem_free(r);
}
