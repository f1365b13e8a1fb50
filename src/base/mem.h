/*
 * mem.h: the only way to heap memory.
 *
 * Counts are checked for overflow; out of memory returns NULL and never aborts. All of it ends
 * in malloc, calloc, realloc, posix_memalign and free, so that tests can make each of them fail
 * (-Wl,--wrap).
 */
#ifndef RV_BASE_MEM_H
#define RV_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t n, size_t size);           /* n * size bytes, not cleared */
void *mem_zalloc(size_t n, size_t size);          /* cleared */
void *mem_resize(void *p, size_t n, size_t size); /* like realloc; p stays valid on failure */
void *mem_alloc_aligned(size_t alignment, size_t n, size_t size);
char *mem_dup(const void *p, size_t n_bytes); /* with a 0 byte after the copy */
void mem_free(void *p);                       /* NULL allowed; also for aligned memory */
/*
 * At most n heaps beside each other, each of which keeps what threads freed in it. By itself libc
 * makes eight for a processor. Before there are threads.
 */
void mem_heaps(unsigned n);
/*
 * Gives whole pages of what was freed back to the system, which otherwise stay with the process
 * for later. MS
 */
void mem_trim(void);

/*
 * A table that grows in place: address space is mapped, pages are touched on use. mem_map_grow
 * may move it. Contents are zero where never written. NULL on failure, the old table stays
 * valid.
 */
void *mem_map_grow(void *old, size_t old_bytes, size_t new_bytes);
/*
 * The same with a beginning that is a private view of a file: its first file_bytes bytes (whole
 * pages of this machine) are those of the file at offset (likewise), and become memory of this
 * process page by page when they are changed. The descriptor may be closed, the file replaced or
 * unlinked; whoever cuts it makes reading fail with SIGBUS. bytes is at least a page more than
 * file_bytes; what lies between is zero. mem_map_file_grow with file_bytes 0 is mem_map_grow.
 * Free it with mem_map_free.
 */
void *mem_map_file(int fd, uint64_t offset, size_t file_bytes, size_t bytes);
void *mem_map_file_grow(void *old, size_t file_bytes, size_t old_bytes, size_t new_bytes);
size_t mem_page(void); /* bytes of a page */
/*
 * Asks for large pages under a table that is read all over: a walk through it otherwise spends 5
 * to 10 % of its time on addresses. Small tables are left as they are.
 */
void mem_map_advise_large(void *p, size_t n_bytes);
void mem_map_free(void *p, size_t n_bytes);
/*
 * How much of n_bytes at p is memory of this process alone: pages of an anonymous mapping that
 * were touched, pages of a private view of a file that were changed. n_bytes when the kernel does
 * not say. Some ten microseconds, and some milliseconds a gigabyte.
 */
size_t mem_map_anonymous(const void *p, size_t n_bytes);

static inline void mem_auto_free(void *pp)
{
	mem_free(*(void **)pp);
}

#define MEM_AUTO __attribute__((cleanup(mem_auto_free)))

#endif
