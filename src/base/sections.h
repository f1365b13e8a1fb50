/*
 * sections.h: a file of tagged, checksummed sections, written aside, synced and renamed into place.
 *
 * Used for images of the graph: each part of the program adds its own sections without knowing
 * the others'. The format is in docs/FORMAT.md. A reader treats the file as hostile: header,
 * table and every section are checked against their CRC-32C before a byte of them is handed
 * out.
 */
#ifndef RV_BASE_SECTIONS_H
#define RV_BASE_SECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sections_writer;
struct sections_reader;

/* Starts PATH.tmp. */
int sections_create(const char *path, struct sections_writer **ret, struct err *e);
/*
 * A section may be given in several pieces with the same tag, one after the other. The first
 * error sticks.
 */
int sections_write(struct sections_writer *w, uint32_t tag, const void *p, size_t n);
/* The next section starts on a page, so that it can be mapped by itself. */
void sections_align(struct sections_writer *w);
/*
 * Table, header, sync, rename over PATH, sync of the directory. Frees w in any case; on error
 * PATH is as before.
 */
int sections_commit(struct sections_writer *w, struct err *e);
void sections_abort(struct sections_writer *w); /* NULL allowed */

/*
 * -ENOENT no file, -EILSEQ damaged (the sentence says where). The file is mapped until
 * sections_close. A large one is checked by several threads.
 */
int sections_open(const char *path, struct sections_reader **ret, struct err *e);
/* The section's bytes, 64-byte aligned, valid until close; NULL and 0 when there is none. */
const void *sections_get(const struct sections_reader *r, uint32_t tag, size_t *ret_len);
/*
 * Whether the disk could not read once more what was checked at the open (base/mapped.h): what
 * sections_get and sections_copy gave since is of no use then.
 */
bool sections_lost(const struct sections_reader *r);
/*
 * The section's bytes as memory of the caller's own, to be changed at will, grown by
 * mem_map_file_grow and freed by mem_map_free: *bytes of it, which is raised when the section
 * needs more; zero behind the section. *ret_file_bytes: how many of these are a private view of
 * the file, which outlives the reader; 0 when they were copied, because the section is small or
 * not on a page, or there is none. NULL: no memory.
 */
void *sections_map(const struct sections_reader *r, uint32_t tag, size_t *bytes,
                   size_t *ret_file_bytes);
/* The same, always copied: no reader of it can meet a page that is unreadable. */
void *sections_copy(const struct sections_reader *r, uint32_t tag, size_t *bytes);
void sections_close(struct sections_reader *r); /* NULL allowed */

#define SECTION_TAG(a, b, c, d)                                                                    \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

#endif
