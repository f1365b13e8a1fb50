/*
 * salvage.h: what is whole of a damaged store, as a new store beside it.
 *
 * The old store is only read, but that the header of a segment is mended in place (the new store's
 * segments are further names of the same files, so salvaging costs the size of the databases). Rows
 * come from the pages of the database (carve.h), each checked against its three checksums; those
 * that it has lost, and commits that it has lost, from the segment, which has IDs, metadata and
 * text beside the floats. What remains is a store that verifies clean, or an error. Nobody may have
 * the store open.
 */
#ifndef RV_STORE_SALVAGE_H
#define RV_STORE_SALVAGE_H

#include "base/err.h"
#include "store/types.h"

struct salvage_watch {
	/* A sentence for each thing that is lost or guessed. collection: its name. */
	void (*told)(void *ctx, const char *collection, const char *sentence);
	void (*progress)(void *ctx, uint64_t rows); /* so many are looked at; NULL allowed */
	void *ctx;
};

struct salvage_result {
	uint64_t collections;
	uint64_t vectors;   /* that are in the new store */
	uint64_t recovered; /* of these, which the database had lost and the segment had */
	uint64_t lost;      /* that were stored and are known to be lost */
};

/*
 * from: DATA/stores/N; to: where the new store is made, which is not there. -EILSEQ: nothing could
 * be made of it; to is removed then, as after any error.
 */
int store_salvage(const char *from, const char *to, uint32_t default_cid,
                  const struct salvage_watch *w, struct salvage_result *ret, struct err *e);

/*
 * Whether PATH-wal has more than SQLite would take (all of it, where PATH is missing or empty), which
 * forgets the rest for good: then PATH is not to be opened before it is salvaged.
 */
bool database_wal_damaged(const char *path);

/* A store that is there, and the numbers of its collections, the default one among them. */
struct registry_store {
	uint32_t number;
	const uint32_t *cids;
	size_t n_cids;
};

/*
 * The registry in PATH as a new one in TO, which is not there: entries and settings that are whole,
 * and for stores without one entries named recovered-NUMBER, which root alone may enter.
 */
int registry_salvage(const char *path, const char *to, const struct registry_store *stores,
                     size_t n_stores, const struct salvage_watch *w, struct err *e);

#endif
