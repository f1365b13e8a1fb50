/*
 * mem.c: malloc and friends with checked counts, and tables on anonymous mappings.
 *
 * A request of 0 bytes allocates one, so that NULL always means out of memory.
 */
#include "base/mem.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"

#define LARGE_PAGE  (2u << 20)
#define LARGE_TABLE (8u << 20) /* at most a quarter of the memory is for nothing */

static bool total_bytes(size_t n, size_t size, size_t *ret)
{
	if (__builtin_mul_overflow(n, size, ret) || *ret > PTRDIFF_MAX)
		return false;
	if (*ret == 0)
		*ret = 1;
	return true;
}

void *mem_alloc(size_t n, size_t size)
{
	size_t bytes;

	return total_bytes(n, size, &bytes) ? malloc(bytes) : NULL;
}

void *mem_zalloc(size_t n, size_t size)
{
	size_t bytes;

	return total_bytes(n, size, &bytes) ? calloc(1, bytes) : NULL;
}

void *mem_resize(void *p, size_t n, size_t size)
{
	size_t bytes;

	return total_bytes(n, size, &bytes) ? realloc(p, bytes) : NULL;
}

void *mem_alloc_aligned(size_t alignment, size_t n, size_t size)
{
	size_t bytes;
	void *p;

	if (!total_bytes(n, size, &bytes))
		return NULL;
	if (alignment < sizeof(void *))
		alignment = sizeof(void *);
	return posix_memalign(&p, alignment, bytes) == 0 ? p : NULL;
}

char *mem_dup(const void *p, size_t n_bytes)
{
	char *copy = n_bytes < SIZE_MAX ? mem_alloc(n_bytes + 1, 1) : NULL;

	if (!copy)
		return NULL;
	if (n_bytes)
		memcpy(copy, p, n_bytes);
	copy[n_bytes] = '\0';
	return copy;
}

void mem_free(void *p)
{
	free(p);
}

void mem_heaps(unsigned n)
{
	(void)mallopt(M_ARENA_MAX, (int)n);
}

void mem_trim(void)
{
	malloc_trim(0);
}

size_t mem_page(void)
{
	long n = sysconf(_SC_PAGESIZE);

	return n > 0 ? (size_t)n : 4096;
}

/* NORESERVE: a table's address space is not a claim on memory; only pages that are touched are. */
void *mem_map_grow(void *old, size_t old_bytes, size_t new_bytes)
{
	void *p;

	if (old)
		p = mremap(old, old_bytes, new_bytes, MREMAP_MAYMOVE);
	else
		p = mmap(NULL, new_bytes, PROT_READ | PROT_WRITE,
		         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static size_t whole_pages(size_t bytes)
{
	return (bytes + mem_page() - 1) / mem_page() * mem_page();
}

/*
 * Room at an address that differs from offset by whole large pages: only then can parts of a file
 * which the page cache has as large pages be mapped as such.
 */
static char *reserve_like(uint64_t offset, size_t bytes)
{
	size_t room = whole_pages(bytes) + LARGE_PAGE, before;
	char *p = mem_map_grow(NULL, 0, room);

	if (!p)
		return NULL;
	before = (size_t)((offset - (uintptr_t)p) % LARGE_PAGE);
	if (before)
		munmap(p, before);
	munmap(p + before + whole_pages(bytes), LARGE_PAGE - before);
	return p + before;
}

void *mem_map_file(int fd, uint64_t offset, size_t file_bytes, size_t bytes)
{
	char *p = reserve_like(offset, bytes);

	if (p && file_bytes &&
	    mmap(p, file_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd,
	         (off_t)offset) == MAP_FAILED) {
		munmap(p, bytes);
		return NULL;
	}
	return p;
}

static bool move(void *from, size_t old_bytes, size_t new_bytes, void *to)
{
	return mremap(from, old_bytes, new_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) != MAP_FAILED;
}

/*
 * Two mappings, which mremap takes one at a time: both go to a place that is large enough. The
 * second grows on the way, so there are never more than two.
 */
void *mem_map_file_grow(void *old, size_t file_bytes, size_t old_bytes, size_t new_bytes)
{
	char *from = old, *to;

	if (file_bytes == 0)
		return mem_map_grow(old, old_bytes, new_bytes);
	if (whole_pages(new_bytes) == whole_pages(old_bytes))
		return old;
	to = reserve_like((uintptr_t)old, new_bytes);
	if (!to)
		return NULL;
	if (!move(from, file_bytes, file_bytes, to)) {
		munmap(to, new_bytes);
		return NULL;
	}
	if (move(from + file_bytes, whole_pages(old_bytes) - file_bytes,
	         whole_pages(new_bytes) - file_bytes, to + file_bytes))
		return to;
	if (!move(to, file_bytes, file_bytes, from))
		abort(); /* it was there a moment ago */
	munmap(to + file_bytes, whole_pages(new_bytes) - file_bytes);
	return NULL;
}

void mem_map_advise_large(void *p, size_t n_bytes)
{
	if (n_bytes >= LARGE_TABLE)
		madvise(p, n_bytes, MADV_HUGEPAGE); /* a wish: without it all is well, too */
}

/* Documentation/admin-guide/mm/pagemap.rst: a word a page. */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)
#define PAGEMAP_FILE    (UINT64_C(1) << 61)
#define PAGES_AT_ONCE   512

/* -1: cannot be read. */
static long count_anonymous(int fd, uint64_t first, uint64_t end)
{
	uint64_t words[PAGES_AT_ONCE];
	long pages = 0;

	while (first < end) {
		size_t n = end - first < PAGES_AT_ONCE ? (size_t)(end - first) : PAGES_AT_ONCE;

		if (io_read_at(fd, words, n * sizeof(*words), first * sizeof(*words)) < 0)
			return -1;
		for (size_t i = 0; i < n; i++)
			pages += (words[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)) &&
			         !(words[i] & PAGEMAP_FILE);
		first += n;
	}
	return pages;
}

size_t mem_map_anonymous(const void *p, size_t n_bytes)
{
	uint64_t first = (uintptr_t)p / mem_page();
	uint64_t end = ((uintptr_t)p + n_bytes + mem_page() - 1) / mem_page();
	int fd = n_bytes ? open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC) : -1;
	long pages = fd >= 0 ? count_anonymous(fd, first, end) : -1;

	if (fd >= 0)
		close(fd);
	return pages < 0 ? n_bytes : (size_t)pages * mem_page();
}

void mem_map_free(void *p, size_t n_bytes)
{
	if (p)
		munmap(p, n_bytes);
}
