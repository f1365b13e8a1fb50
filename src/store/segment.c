/*
 * segment.c: opening, appending to and reading a file of float rows.
 *
 * An append reserves its place by moving `end` (lock: space), builds the extent in memory,
 * writes it with one pwrite, has the disk begin with it (the sync at the end of a large batch
 * would take longer than the batch) and maps it. A write that failed gives its place back when nothing
 * was reserved behind it (the file is cut), otherwise the hole is punched out; either way
 * readers never look there, because no row points to it.
 *
 * Mappings are windows of at least 64 MiB that reach beyond the end of the file: later extents
 * become readable in them as the file grows, so that a million small batches do not need a
 * million mappings. Nothing above `written` is handed out.
 *
 * Lock order: space, maps (never both held by the same thread here).
 */
#include "store/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/num.h"
#include "store/segment_format.h"

#define WINDOW_BYTES (64ull << 20)

void segment_path(const char *dir, uint32_t cid, uint32_t gen, char *ret, size_t cap)
{
	snprintf(ret, cap, "%s/%" PRIu32 ".vectors.%" PRIu32, dir, cid, gen);
}

static uint64_t round_page(uint64_t n)
{
	return (n + SEGMENT_PAGE - 1) & ~(uint64_t)(SEGMENT_PAGE - 1);
}

/* ---- windows ---- */

/* The index of the last window with start <= off, or -1. */
static long window_before(const struct segment *g, uint64_t off)
{
	size_t low = 0, high = g->n_windows;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (g->windows[mid].start <= off)
			low = mid + 1;
		else
			high = mid;
	}
	return (long)low - 1;
}

static char *find_locked(const struct segment *g, uint64_t off, uint64_t len)
{
	long i = window_before(g, off);
	const struct window *w;

	if (i < 0)
		return NULL;
	w = &g->windows[i];
	if (off - w->start > w->len || len > w->len - (off - w->start))
		return NULL;
	return w->p + (off - w->start);
}

static int insert_locked(struct segment *g, const struct window *w)
{
	size_t at = (size_t)(window_before(g, w->start) + 1);

	if (g->n_windows == g->cap_windows) {
		size_t cap = g->cap_windows ? g->cap_windows * 2 : 4;
		struct window *p = mem_resize(g->windows, cap, sizeof(*p));

		if (!p)
			return -ENOMEM;
		g->windows = p;
		g->cap_windows = cap;
	}
	memmove(g->windows + at + 1, g->windows + at, (g->n_windows - at) * sizeof(*w));
	g->windows[at] = *w;
	g->n_windows++;
	return 0;
}

static void window_free(struct window *w)
{
	mapped_unwatch(w->watch);
	munmap(w->p, w->len);
}

static char *map_locked(struct segment *g, int fd, uint64_t off, uint64_t len)
{
	struct window w = { .start = off, .len = len < WINDOW_BYTES ? WINDOW_BYTES : len };
	char *p = find_locked(g, off, len);

	if (p)
		return p;
	w.len = round_page(w.len);
	w.p = mmap(NULL, w.len, PROT_READ, MAP_SHARED, fd, (off_t)off);
	if (w.p == MAP_FAILED)
		return NULL;
	w.watch = mapped_watch(w.p, w.len, MAPPED_READ, &g->lost);
	if (!w.watch || insert_locked(g, &w) < 0) {
		window_free(&w);
		return NULL;
	}
	return w.p;
}

static char *map_range(struct segment *g, int fd, uint64_t off, uint64_t len)
{
	char *p;

	rwlock_read(&g->maps);
	p = find_locked(g, off, len);
	rwlock_read_unlock(&g->maps);
	if (p)
		return p;
	rwlock_write(&g->maps);
	p = map_locked(g, fd, off, len);
	rwlock_write_unlock(&g->maps);
	return p;
}

const float *segment_floats(struct segment *g, uint64_t off, uint32_t dim)
{
	uint64_t bytes = (uint64_t)dim * sizeof(float);
	uint64_t end = atomic_load(&g->written);
	char *p;

	if (off % sizeof(float) || off < SEGMENT_PAGE || off > end || bytes > end - off)
		return NULL;
	rwlock_read(&g->maps);
	p = find_locked(g, off, bytes);
	rwlock_read_unlock(&g->maps);
	return (const float *)(const void *)p;
}

const char *segment_mapped(struct segment *g, uint64_t off, uint64_t *ret_bytes)
{
	uint64_t end = atomic_load(&g->written);
	const char *p = NULL;
	long i;

	*ret_bytes = 0;
	if (off < SEGMENT_PAGE || off >= end)
		return NULL;
	rwlock_read(&g->maps);
	i = window_before(g, off);
	if (i >= 0 && off - g->windows[i].start < g->windows[i].len) {
		const struct window *w = &g->windows[i];

		p = w->p + (off - w->start);
		*ret_bytes = w->len - (off - w->start);
	}
	rwlock_read_unlock(&g->maps);
	if (*ret_bytes > end - off)
		*ret_bytes = end - off;
	return p;
}

/* Windows may overlap where the last one was too short for an extent. */
uint64_t segment_mapped_bytes(struct segment *g)
{
	uint64_t end = atomic_load(&g->written), at = 0, bytes = 0;

	rwlock_read(&g->maps);
	for (size_t i = 0; i < g->n_windows; i++) {
		uint64_t first = g->windows[i].start, last = first + g->windows[i].len;

		first = first > at ? first : at;
		last = last < end ? last : end;
		if (last <= first)
			continue;
		bytes += last - first;
		at = last;
	}
	rwlock_read_unlock(&g->maps);
	return bytes;
}

/* What cannot be mapped again, for want of memory, stays as it is. */
static void map_again_locked(struct segment *g, int fd)
{
	atomic_store(&g->lost, 0);
	for (size_t i = 0; i < g->n_windows; i++) {
		const struct window *w = &g->windows[i];

		if (mmap(w->p, w->len, PROT_READ, MAP_SHARED | MAP_FIXED, fd, (off_t)w->start) ==
		    MAP_FAILED)
			atomic_fetch_add(&g->lost, 1);
	}
}

/* ---- opening ---- */

static int write_header(const struct segment *g, int fd, struct err *e)
{
	char page[SEGMENT_PAGE] = { 0 };
	struct segment_head h = {
		.version = SEGMENT_VERSION, .cid = g->cid, .gen = g->gen, .salt = g->salt
	};
	int rc;

	memcpy(h.magic, SEGMENT_MAGIC, sizeof(h.magic));
	h.crc = crc32c(0, &h, offsetof(struct segment_head, crc));
	memcpy(page, &h, sizeof(h));
	FAULT_POINT("segment.created");
	rc = io_write_at(fd, page, sizeof(page), 0);
	if (rc == 0)
		rc = io_sync(fd);
	if (rc == 0)
		rc = io_sync_dir(g->dir);
	return rc < 0 ? err_set(e, rc, "creating the segment: %s", strerror(-rc)) : 0;
}

bool segment_header_holds(int fd, uint32_t cid, uint32_t gen, uint64_t salt)
{
	struct segment_head h;

	if (io_read_at(fd, &h, sizeof(h), 0) < 0)
		return false;
	return memcmp(h.magic, SEGMENT_MAGIC, sizeof(h.magic)) == 0 &&
	       h.crc == crc32c(0, &h, offsetof(struct segment_head, crc)) && h.cid == cid &&
	       h.gen == gen && h.salt == salt;
}

static int file_version(int fd)
{
	struct segment_head h;

	if (io_read_at(fd, &h, sizeof(h), 0) < 0 ||
	    memcmp(h.magic, SEGMENT_MAGIC, sizeof(h.magic)) != 0 ||
	    h.crc != crc32c(0, &h, offsetof(struct segment_head, crc)))
		return 0;
	return (int)h.version;
}

static int open_file(struct segment *g, bool *ret_new, struct err *e)
{
	char path[4096];
	int fd;

	segment_path(g->dir, g->cid, g->gen, path, sizeof(path));
	*ret_new = false;
	fd = open(path, (g->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && !g->read_only) {
		*ret_new = true;
		fd = open(path, O_RDWR | O_CLOEXEC | O_CREAT | O_EXCL, 0600);
	}
	return fd >= 0 ? fd : err_set(e, -errno, "opening the segment: %s", strerror(errno));
}

static int set_up(struct segment *g, int fd, bool is_new, uint64_t committed,
                  struct segment_tail *t, struct err *e)
{
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return err_set(e, -errno, "opening the segment: %s", strerror(errno));
	if (file_version(fd) > SEGMENT_VERSION)
		return err_set(e, -EPROTO, "the segment was made by a newer version");
	/* One that has nothing yet may be there only for the kernel: a sync of it failed. */
	if (is_new || (committed == 0 && st.st_size <= SEGMENT_PAGE && !g->read_only)) {
		rc = write_header(g, fd, e);
		if (rc < 0)
			return rc;
		st.st_size = SEGMENT_PAGE;
	} else if (committed == 0 && !g->read_only) {
		/* Whoever made it may have ended before its name was durable. */
		rc = io_sync_dir(g->dir);
		if (rc < 0)
			return err_set(e, rc, "syncing the store: %s", strerror(-rc));
	}
	rc = segment_recover(g, fd, committed, (uint64_t)st.st_size, t, e);
	if (rc < 0 || st.st_size <= SEGMENT_PAGE)
		return rc;
	if (!map_range(g, fd, 0, (uint64_t)st.st_size))
		return err_nomem(e);
	return 0;
}

int segment_open(struct segment **ret, const char *dir, uint32_t cid, uint32_t gen, uint64_t salt,
                 uint64_t committed, bool read_only, uint64_t *ret_batch, uint64_t *ret_seq,
                 struct err *e)
{
	struct segment *g = mem_zalloc(1, sizeof(*g));
	struct segment_tail t = { 0 };
	bool is_new;
	int fd, rc;

	if (!g)
		return err_nomem(e);
	*g = (struct segment){
		.cid = cid, .gen = gen, .salt = salt, .read_only = read_only, .fd = -1
	};
	mutex_init(&g->space);
	rwlock_init(&g->maps);
	g->dir = mem_dup(dir, strlen(dir));
	fd = g->dir ? open_file(g, &is_new, e) : err_nomem(e);
	rc = fd < 0 ? fd : set_up(g, fd, is_new, committed, &t, e);
	if (fd >= 0)
		close(fd);
	if (rc < 0) {
		segment_free(g);
		return rc;
	}
	*ret_batch = t.batch;
	*ret_seq = t.seq;
	*ret = g;
	return 0;
}

void segment_map_again(struct segment *g)
{
	char path[4096];
	int fd;

	if (!segment_lost(g))
		return;
	segment_path(g->dir, g->cid, g->gen, path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return; /* of a generation that is gone: what was read is all there is */
	rwlock_write(&g->maps);
	map_again_locked(g, fd);
	rwlock_write_unlock(&g->maps);
	close(fd);
}

void segment_free(struct segment *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < g->n_windows; i++)
		window_free(&g->windows[i]);
	if (g->fd >= 0)
		close(g->fd);
	mem_free(g->windows);
	mem_free(g->dir);
	rwlock_destroy(&g->maps);
	mutex_destroy(&g->space);
	mem_free(g);
}

/* ---- appending ---- */

/*
 * Opened at the first append and then kept: a failed write back is reported to descriptors that
 * were open meanwhile.
 */
static int descriptor_locked(struct segment *g, struct err *e)
{
	bool is_new;

	if (g->read_only)
		return err_set(e, -EROFS, "the store is readonly");
	if (g->fd < 0) {
		int fd = open_file(g, &is_new, e);

		if (fd < 0)
			return fd;
		g->fd = fd;
	}
	return g->fd;
}

static int reserve(struct segment *g, uint64_t length, uint64_t *ret_off, struct err *e)
{
	int fd;

	mutex_lock(&g->space);
	fd = descriptor_locked(g, e);
	if (fd >= 0) {
		*ret_off = atomic_load(&g->end);
		atomic_store(&g->end, *ret_off + length);
	}
	mutex_unlock(&g->space);
	return fd;
}

static void give_back(struct segment *g, uint64_t off, uint64_t length)
{
	mutex_lock(&g->space);
	if (atomic_load(&g->end) == off + length && ftruncate(g->fd, (off_t)off) == 0)
		atomic_store(&g->end, off);
	else
		(void)fallocate(g->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
		                (off_t)length);
	mutex_unlock(&g->space);
}

/* Reserves, stamps the place into the block at the start of p, and writes. */
static int write_block(struct segment *g, char *p, uint64_t length, uint64_t *ret_off,
                       struct err *e)
{
	struct block *b = (struct block *)(void *)p;
	int fd = reserve(g, length, ret_off, e);
	int rc;

	if (fd < 0)
		return fd;
	FAULT_POINT("segment.reserved");
	b->off = *ret_off;
	b->crc = crc32c(0, b, offsetof(struct block, crc));
	if (block_is_extent(b))
		extent_finish(p, length);
	rc = io_write_at(fd, p, length, *ret_off);
	FAULT_POINT("segment.written");
	if (rc == 0)
		return 0;
	give_back(g, *ret_off, length);
	if (rc == -EDQUOT || rc == -EFBIG)
		rc = -ENOSPC;
	if (rc == -ENOSPC)
		return err_set(e, rc, "no space left on the disk of the store");
	return err_set(e, rc, "writing to the segment: %s", strerror(-rc));
}

static void fill_block(const struct segment *g, struct block *b, const char *magic, uint64_t length)
{
	memcpy(b->magic, magic, sizeof(b->magic));
	b->salt = g->salt;
	b->length = length;
	b->version = SEGMENT_VERSION;
}

static int build_extent(const struct segment *g, struct block *b, const struct extent_in *in,
                        char **ret, struct err *e)
{
	size_t floats = in->n * in->dim * sizeof(float);
	size_t records = extent_records_bytes(in->rows, in->n);
	uint64_t length = round_page(sizeof(*b) + floats + records + sizeof(struct extent_trailer));
	char *p = mem_alloc_aligned(64, length, 1);

	if (!p)
		return err_nomem(e);
	b->batch = in->batch;
	b->n_rows = (uint32_t)in->n;
	b->part = in->dim;
	b->detail = records;
	fill_block(g, b, EXTENT_MAGIC, length);
	memcpy(p, b, sizeof(*b));
	extent_fill(p, in);
	*ret = p;
	return 0;
}

static void raise_written(struct segment *g, uint64_t to)
{
	uint64_t was = atomic_load(&g->written);

	while (was < to && !atomic_compare_exchange_weak(&g->written, &was, to))
		;
}

int segment_append(struct segment *g, const struct extent_in *in, uint64_t *ret_off,
                   const float **ret_floats, struct err *e)
{
	size_t row_bytes = in->dim * sizeof(float);
	struct block b = { 0 };
	MEM_AUTO char *p = NULL;
	const char *map;
	int rc;

	if (!in->n || !in->dim || in->dim > LIMIT_DIMENSION || in->n > EXTENT_BYTES_MAX / row_bytes)
		return err_set(e, -E2BIG, "extent of %zu rows of %u numbers", in->n, in->dim);
	rc = build_extent(g, &b, in, &p, e);
	if (rc == 0)
		rc = write_block(g, p, b.length, ret_off, e);
	if (rc < 0)
		return rc;
	map = map_range(g, g->fd, *ret_off, b.length);
	if (!map) {
		give_back(g, *ret_off, b.length);
		return err_nomem(e);
	}
	io_begin_sync(g->fd, *ret_off, b.length);
	raise_written(g, *ret_off + b.length);
	for (size_t i = 0; i < in->n; i++)
		in->rows[i].off = *ret_off + sizeof(b) + i * row_bytes;
	*ret_floats = (const float *)(const void *)(map + sizeof(b));
	return 0;
}

int segment_seal(struct segment *g, const struct block *seal, uint64_t *ret_end, struct err *e)
{
	char page[SEGMENT_PAGE] __attribute__((aligned(64))) = { 0 };
	struct block b = *seal;
	uint64_t off;
	int rc;

	fill_block(g, &b, SEAL_MAGIC, sizeof(page));
	memcpy(page, &b, sizeof(b));
	rc = write_block(g, page, sizeof(page), &off, e);
	if (rc < 0)
		return rc;
	raise_written(g, off + sizeof(page));
	*ret_end = off + sizeof(page);
	return 0;
}

int segment_sync(struct segment *g, struct err *e)
{
	int fd, rc;

	mutex_lock(&g->space);
	fd = descriptor_locked(g, e);
	mutex_unlock(&g->space);
	if (fd < 0)
		return fd;
	FAULT_POINT("segment.sync");
	rc = io_sync(fd);
	return rc < 0 ? err_set(e, rc, "syncing the segment: %s", strerror(-rc)) : 0;
}
