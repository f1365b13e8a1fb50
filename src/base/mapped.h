/*
 * mapped.h: pages of mapped files that cannot be read.
 *
 * A page that the disk cannot read, or that somebody cut off, is SIGBUS for who touches it, which
 * ends a process. In a range that is watched here it ends nothing: a handler puts a page of one
 * byte repeated in its place, for this process alone, counts it, and the instruction is tried
 * again. So whoever reads a watched range sees what the file has or the filling, must be able to
 * bear it, and can tell by the count that it may have seen it: the count is raised before the page
 * changes. The file is as it was, and who maps it again tries the disk again.
 *
 * A SIGBUS anywhere else takes its course, with what handled it before.
 *
 * Reads by system calls from such a page are -EFAULT before the processor touched it.
 */
#ifndef RV_BASE_MAPPED_H
#define RV_BASE_MAPPED_H

#include <stddef.h>
#include <stdint.h>

enum mapped_kind {
	MAPPED_READ,    /* can only be read; filled with 0x00 */
	MAPPED_PRIVATE, /* a private view that can be changed; filled with 0xff */
};

struct mapped_range;

/*
 * Installs the handler, for the process. Without it a range may be watched all the same and nothing
 * follows. Again after something else took the signal: that comes to be what is passed on to.
 */
void mapped_guard(void);

/*
 * bytes at p, both whole pages, from now on. lost: where pages are counted, valid until unwatched;
 * several ranges may share it. NULL: no memory. Any thread.
 */
struct mapped_range *mapped_watch(void *p, size_t bytes, enum mapped_kind kind,
                                  _Atomic uint64_t *lost);
/* It is mapped at p now. Nobody touches it meanwhile, here or there. */
void mapped_moved(struct mapped_range *r, void *p);
/* Before it is unmapped. NULL allowed. */
void mapped_unwatch(struct mapped_range *r);

/*
 * Another number after each page of any range that changed, 0 while one does: what was found
 * to be right at one number need not be at another.
 */
uint64_t mapped_epoch(void);

#endif
