/*
 * witness.h: a file beside a database that counts its commits a second time, so that commits which
 * SQLite lost without a word are noticed. docs/FORMAT.md has its bytes. Private to this room.
 */
#ifndef RV_STORE_WITNESS_H
#define RV_STORE_WITNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define STORE_SEQ_MAX ((uint64_t)1 << 62)

struct witness {
	uint64_t seq;
	uint64_t changes; /* 0: nothing was written yet */
};

/*
 * The file, created when it is missing, and what it says. Returns a descriptor, which the caller
 * closes; -ENOENT without a sentence: there is none, with read_only. The name is not synced.
 */
int witness_open(const char *path, bool read_only, struct witness *ret, bool *ret_damaged,
                 struct err *e);
/* Behind each commit that is durable; by one at a time. */
void witness_write(int fd, uint64_t seq, uint64_t changes);

#endif
