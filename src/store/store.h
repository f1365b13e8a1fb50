/*
 * store.h: the durable state of one tenant: DIR/store.db (SQLite) and DIR/C.vectors.GEN
 * (segments of float rows).
 *
 * The SQLite transaction is the commit point of everything. Batches of up to LIMIT_INLINE_BATCH
 * bytes of vectors go into store.db with their rows; larger ones are appended to the segment in
 * extents as they arrive, sealed and synced before the transaction. Each extent carries its
 * rows, IDs, metadata and text between a header and a trailer with checksums, so that a segment
 * can be read without store.db. Concurrent commits share one transaction and one sync.
 *
 * docs/FORMAT.md has every byte. All functions may be called from any thread; reads run beside
 * a commit on a connection of their own. This room is the only one that includes sqlite3.h.
 */
#ifndef RV_STORE_STORE_H
#define RV_STORE_STORE_H

#include "base/buf.h"
#include "base/err.h"
#include "store/types.h"

struct store;

#define STORE_INLINE     UINT64_MAX /* "offset" of a row that lives in store.db */
#define STORE_TOKEN_SIZE 16

/*
 * Opens or creates DIR (0700) and what is in it. Recovers: incomplete extents at a segment's
 * end are cut off, extents of batches that never committed are left as dead space, never a
 * whole sealed batch. -EILSEQ: damaged beyond use; -EPROTO: made by a newer version; -EROFS
 * with read_only set when recovery would have to write.
 */
int store_open(const char *dir, bool read_only, struct store **ret, struct err *e);
/* NULL allowed. Checkpoints the WAL. No calls may be under way. */
void store_close(struct store *s);

/* ---- collections ---- */
/* -EEXIST name or cid */
int store_collection_create(struct store *s, const struct store_collection *c, struct err *e);
/* Writes owner, config, dimension_set; the counters and numbers are the store's own. */
int store_collection_update(struct store *s, const struct store_collection *c, struct err *e);
/* rows, receipts, segment, image */
int store_collection_remove(struct store *s, uint32_t cid, struct err *e);
/*
 * What a removed one still has in memory: its segment, which others may have been reading. No call
 * for it is under way. Nothing, if it is not removed.
 */
void store_collection_forget(struct store *s, uint32_t cid);
/* The collection with the smallest cid > after, or -ENOENT. */
int store_collection_next(struct store *s, uint32_t after, struct store_collection *ret,
                          struct err *e);

/* ---- rows ---- */
struct store_row {
	uint64_t num;        /* the ID's number */
	uint64_t seq;        /* filled by the store */
	uint32_t slot;       /* of this version */
	uint32_t json_bytes; /* size of the file vectors/ID */
	const char *id;
	size_t id_len;
	uint64_t off;         /* of the floats in the segment, or STORE_INLINE */
	const float *v;       /* dim floats; NULL from scans of rows that are in the segment */
	const char *metadata; /* compact JSON object, or NULL */
	size_t metadata_len;
	const char *text; /* or NULL */
	size_t text_len;
	uint32_t vcrc; /* CRC of the floats; filled by the store in what it gives */
};

/*
 * Appends one extent of n rows (their v, id, metadata, text, num, slot, json_bytes; off is set)
 * to the segment, not synced. batch: any number that is the same for all extents of one batch
 * (store_batch_number). *ret_extent is its name for store_commit. The rows' floats are readable
 * at *ret_floats (n * dim, mapped until the segment's generation ends). -ENOSPC, -EIO: nothing
 * was added.
 */
int store_append_extent(struct store *s, uint32_t cid, uint64_t batch, uint32_t dim,
                        struct store_row *rows, size_t n, uint64_t *ret_extent,
                        const float **ret_floats, struct err *e);
uint64_t store_batch_number(struct store *s); /* never used before in this store */

struct store_commit {
	uint32_t cid;
	uint32_t dimension;     /* becomes the collection's when it has none; 0: no rows */
	bool durable;           /* false: durability none, no sync of its own */
	const uint8_t *token;   /* STORE_TOKEN_SIZE bytes, or NULL */
	struct store_row *rows; /* inline ones, in order; later ones of the same num win */
	size_t n_rows;
	uint64_t batch;          /* of the extents */
	const uint64_t *extents; /* in order, after the inline rows */
	size_t n_extents;
	const uint64_t *removed; /* numbers of IDs, after the rows; unknown ones are ignored */
	size_t n_removed;
	bool remove_all; /* before everything else of this commit */
	/*
	 * Written with it, or NULL. What the commit adds to vectors, replaced and batches is
	 * filled in; who writes one receipt commits one at a time.
	 */
	struct receipt *receipt;
	/*
	 * Called once after the transaction is durable, in the order of the sequences, before
	 * any later commit of this store becomes durable and before store_commit returns. Must
	 * not call the store.
	 */
	void (*committed)(void *ctx, uint64_t seq);
	void *ctx;
	/* results */
	uint64_t ret_seq;
	uint64_t ret_accepted;
	uint64_t ret_replaced; /* rows whose num existed before this commit, counted once each */
	uint64_t ret_removed;
	/* the token was committed before: nothing was done, committed was not called */
	bool ret_duplicate;
};

/*
 * -ENOSPC, -EIO, -EROFS (an earlier sync failed; open the store again), -ENODEV (the collection
 * is gone), -EINVAL (another dimension than the collection's; its segment was compacted under
 * the batch): nothing of it is stored. One exception: when a sync fails and then the disk
 * refuses everything, the next open may find the commit whole.
 */
int store_commit(struct store *s, struct store_commit *c, struct err *e);

uint64_t store_last_seq(struct store *s);
/*
 * The newest sequence that the database had when the store was opened. store_last_seq is above it
 * when something else, the witness or a segment, knew of later ones: those never became commits,
 * or were lost.
 */
uint64_t store_committed_seq(const struct store *s);

/*
 * One row by number, checked against its checksums. Strings and floats point into *ret_bytes.
 * -ENOENT; -EIO: damaged.
 */
int store_get(struct store *s, uint32_t cid, uint32_t dim, uint64_t num, struct store_row *ret,
              struct buf *ret_bytes, struct err *e);

/*
 * Rows in the order of their numbers (insertion order), num > after, at most max. cb: 0 to go
 * on, anything else ends the scan and is returned. Only num, id, slot, json_bytes, seq, off are
 * given. The callback must not call the store.
 */
int store_list(struct store *s, uint32_t cid, uint64_t after, size_t max,
               int (*cb)(void *ctx, const struct store_row *row), void *ctx, struct err *e);

/*
 * Rows with seq > after in the order of sequences, v set for inline ones; of metadata and text
 * only the lengths. For opening.
 */
int store_scan(struct store *s, uint32_t cid, uint64_t after,
               int (*cb)(void *ctx, const struct store_row *row), void *ctx, struct err *e);
/*
 * Slots of versions that were replaced or deleted with seq > after. For opening, on top of an
 * image, whose sequence is not below cleared_seq: what went before is not listed any more. -EIO:
 * the list is damaged, so the image is of no use.
 */
int store_scan_gone(struct store *s, uint32_t cid, uint64_t after,
                    int (*cb)(void *ctx, uint32_t slot, uint64_t seq), void *ctx, struct err *e);

/*
 * Commits that the database does not have and the witness knew of, when it was opened now or before;
 * known until it is repaired.
 */
uint64_t store_lost_commits(struct store *s);

/* Damaged rows that store_list and store_scan passed over since the store was opened. */
uint64_t store_skipped_rows(struct store *s);

/*
 * Where the floats of an offset are, dim of them; NULL when off does not lie inside the
 * segment. O(log maps).
 */
const float *store_floats(struct store *s, uint32_t cid, uint64_t off, uint32_t dim);

/*
 * For who asks for very many: the memory at off, *ret_bytes of which are floats and what stands
 * between; NULL and 0. It stays as long as what store_floats returns.
 */
const char *store_mapped(struct store *s, uint32_t cid, uint64_t off, uint64_t *ret_bytes);

uint64_t store_mapped_bytes(struct store *s, uint32_t cid); /* of its segments, old ones too */
/*
 * Pages of the segment that the disk could not read since they were mapped or store_verify looked at
 * them last: rows there do not hold.
 */
uint64_t store_lost_pages(struct store *s, uint32_t cid);

/*
 * Moves up to max_rows inline rows into the segment, and less where they are large. moved is called
 * for each after the transaction, in the committing order lock: the floats are now also at v; the
 * caller's own copy is no longer needed. Returns how many were moved.
 */
struct store_move {
	size_t max_rows;
	void (*moved)(void *ctx, uint32_t slot, uint64_t off, const float *v);
	void *ctx;
	bool ret_more; /* there may be others that it had no room for */
};
long store_move_inline(struct store *s, uint32_t cid, uint32_t dim, struct store_move *m,
                       struct err *e);

/*
 * Writes GEN + 1 with live rows only and switches to it in a transaction; commits wait
 * meanwhile. No batch with extents may be open: they stay behind, and its commit gets -EINVAL.
 * -EIO: rows are damaged, nothing was changed. moved as above for each live row in a segment.
 * The old generation stays mapped and its file is unlinked; store_drop_old_maps() unmaps it
 * when no reader is left.
 */
int store_compact(struct store *s, uint32_t cid, uint32_t dim,
                  void (*moved)(void *ctx, uint32_t slot, uint64_t off, const float *v), void *ctx,
                  struct err *e);
void store_drop_old_maps(struct store *s, uint32_t cid);
/* Bytes of the segment file, and of these, bytes of live rows. */
int store_segment_bytes(struct store *s, uint32_t cid, uint64_t *ret_file, uint64_t *ret_live,
                        struct err *e);

/* ---- images ---- */
void store_image_path(struct store *s, uint32_t cid, char *ret, size_t cap);
/*
 * An image of this sequence is in place: what only served older images is forgotten (the gone
 * list), and these are of no use from now on (cleared_seq).
 */
int store_image_saved(struct store *s, uint32_t cid, uint64_t seq, struct err *e);

/* ---- receipts ---- */
/* durable with the first put */
int store_receipt_number(struct store *s, uint32_t cid, uint32_t *ret, struct err *e);
/* also prunes to config.receipts */
int store_receipt_put(struct store *s, uint32_t cid, const struct receipt *r, struct err *e);
/* -ENOENT */
int store_receipt_by_name(struct store *s, uint32_t cid, const char *name, struct receipt *ret,
                          struct err *e);
int store_receipt_by_number(struct store *s, uint32_t cid, uint32_t number, struct receipt *ret,
                            struct err *e);
/* -ENOENT: end */
int store_receipt_next(struct store *s, uint32_t cid, uint32_t after, struct receipt *ret,
                       struct err *e);
int store_receipt_remove(struct store *s, uint32_t cid, uint32_t number, struct err *e);
/* replaces */
int store_receipt_rename(struct store *s, uint32_t cid, uint32_t number, const char *name,
                         struct err *e);

/* ---- verification ---- */
struct store_report {
	uint64_t rows_checked;
	uint64_t checksum_errors; /* rows, floats or extents whose checksum does not hold */
	uint64_t missing_floats;  /* rows whose offset is not inside a whole extent */
	/* store.db knows less than the segment or the witness: lost commits */
	uint64_t sequence_errors;
	uint64_t database_errors; /* lines of PRAGMA integrity_check other than ok */
	char first[240];          /* the first finding, as a sentence; "" when clean */
};
/* Checks everything of one collection. watch: NULL allowed; progress gets rows done. */
int store_verify(struct store *s, uint32_t cid, uint32_t dim, const struct verify_watch *watch,
                 struct store_report *ret, struct err *e);

#endif
