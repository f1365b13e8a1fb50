/*
 * idtable.h: the interned IDs of a collection, in memory: by name, by number, in the order of
 * numbers.
 *
 * An entry exists while its ID has a visible version, or an open batch refers to it, or its
 * number was promised. An entry's index stays the same as long as it exists. Numbers only grow
 * and are never given twice.
 *
 * Not locked here. The owner keeps two locks: a mutex under which everything happens, and a
 * read-write lock that is also held for writing where entries or strings move (idtable_grow,
 * idtable_pack, idtable_clear) and where an entry's slot changes. So who holds the latter for
 * reading may use idtable_at() of an entry that has a visible version.
 */
#ifndef RV_ENGINE_IDTABLE_H
#define RV_ENGINE_IDTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/map.h"
#include "engine/table.h"

#define ID_NONE UINT32_MAX

struct id_entry {
	uint64_t num;
	const char *id; /* len bytes; NULL: removed, its number not recycled out of by_num yet */
	uint32_t slot;  /* of the visible version, or ROW_NONE; free: the next free entry */
	uint32_t refs;  /* of open batches; of promised numbers */
	uint8_t len;
	bool promised;
};

struct id_chunk;

struct idtable {
	struct table entries; /* of struct id_entry */
	uint32_t n;           /* entries ever used */
	uint32_t cap;
	uint32_t free;    /* list through slot, ID_NONE ends */
	uint32_t *by_num; /* entries in the order of their numbers, removed ones included */
	uint32_t n_by_num;
	uint32_t cap_by_num;
	uint32_t n_removed;
	bool unsorted; /* while a collection is opened */
	struct map names;
	struct id_chunk *chunks;
	size_t string_bytes;  /* in chunks */
	size_t garbage_bytes; /* of these, of removed IDs */
	uint64_t next_num;
	uint32_t *promises; /* entries in the order of their promises, a ring; NULL: none yet */
	uint32_t promise_at, n_promises;
};

void idtable_init(struct idtable *t, uint64_t next_num);
void idtable_release(struct idtable *t);

static inline struct id_entry *idtable_at(const struct idtable *t, uint32_t entry)
{
	return (struct id_entry *)t->entries.p + entry;
}

bool idtable_find(const struct idtable *t, const char *id, size_t len, uint32_t *ret);
bool idtable_find_num(const struct idtable *t, uint64_t num, uint32_t *ret); /* O(log n) */

/*
 * The first entry with a number above after, and how to go on: ret_pos counts up; false at the
 * end.
 */
bool idtable_first_after(const struct idtable *t, uint64_t after, uint32_t *ret_pos);
/* Skips removed ones. */
bool idtable_next(const struct idtable *t, uint32_t *pos, uint32_t *ret_entry);

bool idtable_full(const struct idtable *t);
int idtable_grow(struct idtable *t, uint32_t n_more); /* 0 or -ENOMEM; both locks */
/*
 * A new entry with the next number (num 0) or a given one, without a version or references.
 * There is room (not full). 0 or -ENOMEM.
 */
int idtable_add(struct idtable *t, const char *id, size_t len, uint64_t num, uint32_t *ret);
/*
 * For many at once, while a collection is opened: room for n new entries, then for each ID the
 * hash, a word to memory some IDs ahead, and idtable_add_hashed with a given number, which is
 * idtable_add but says -EEXIST when the ID is there.
 */
int idtable_reserve(struct idtable *t, uint32_t n); /* 0 or -ENOMEM; both locks */
uint64_t idtable_hash(const char *id, size_t len);
void idtable_prefetch(const struct idtable *t, uint64_t hash);
int idtable_add_hashed(struct idtable *t, const char *id, size_t len, uint64_t hash, uint64_t num,
                       uint32_t *ret);
void idtable_sort(struct idtable *t); /* after adds with given numbers */

void idtable_ref(struct idtable *t, uint32_t entry);
/* Removes it when nothing holds it any more. */
void idtable_unref(struct idtable *t, uint32_t entry);
/* Likewise, after its slot became ROW_NONE. */
void idtable_drop(struct idtable *t, uint32_t entry);

/*
 * Keeps an entry that somebody has a reference on, which becomes the promise's; the oldest of
 * IDTABLE_PROMISES promises is broken for it. -ENOMEM: the reference is the caller's still.
 */
#define IDTABLE_PROMISES 1024u
int idtable_promise(struct idtable *t, uint32_t entry);

bool idtable_wants_packing(const struct idtable *t);
/* Gives garbage strings back; does nothing without memory. Both locks. */
void idtable_pack(struct idtable *t);
size_t idtable_bytes(const struct idtable *t);

#endif
