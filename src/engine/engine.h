/*
 * engine.h: the seam between the filesystem and what stores and searches: one tenant's collections.
 *
 * local.c and its neighbours put index/ and store/ together; another engine would be one more
 * file behind this header. A tenant's engine is opened at the first touch and closed by the
 * tenant room. Every function may be called from any thread while the engine is open.
 * Collections are named by their number (cid); a cid that does not exist (any more) gives
 * -ENODEV everywhere.
 *
 * Visibility: a committed batch becomes visible to searches at once, all of it. Rows that are
 * not in the graph yet (the backlog) are found by exact scan, so every answer covers everything
 * that was acknowledged.
 */
#ifndef RV_ENGINE_ENGINE_H
#define RV_ENGINE_ENGINE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/turns.h"
#include "base/workers.h"
#include "query/answer.h"
#include "query/query.h"
#include "store/types.h"
#include "vector/reader.h"

struct engine;
struct batch;

enum engine_event {
	ENGINE_COMPACTED, /* dead versions were given back */
	ENGINE_REBUILT,   /* a graph whose image was of no use is complete again */
	ENGINE_DAMAGED,   /* a search met a damaged vector, the first since the open */
};

struct engine_options {
	const char *dir;         /* DATA/stores/N; created when missing */
	uint32_t default_cid;    /* created as "default" when missing */
	struct owner owner;      /* of the default collection when it is created */
	struct workers *workers; /* background work; outlives the engine */
	struct flow *flow;       /* whose turns it works in; NULL: as it likes. Outlives it, too */
	bool read_only;
	/* Told of what the background has done, from any thread, under no lock; NULL: nobody. */
	void (*event)(void *ctx, uint32_t cid, enum engine_event event);
	void *event_ctx;
};

int engine_open(const struct engine_options *o, struct engine **ret, struct err *e);
/*
 * Ends background work, saves images that are worth it, closes the store. No calls and no
 * batches may be under way.
 */
void engine_close(struct engine *en); /* NULL allowed */
/*
 * Moves inline rows, saves images, compacts where worth it. Runs by itself in the background
 * too.
 */
int engine_checkpoint(struct engine *en, struct err *e);
/* That the store has lost, and that were acknowledged: answers are of before them. */
uint64_t engine_lost_commits(struct engine *en);
bool engine_idle(struct engine *en); /* no background work queued or running */

/* ---- collections ---- */
struct collection_info {
	uint32_t cid;
	char name[LIMIT_NAME + 1];
	struct owner owner;
	uint64_t created_ns;
	struct collection_config config;
	uint64_t vectors; /* live */
	uint64_t deleted; /* dead versions that still take room */
	uint64_t bytes;   /* live: floats, IDs, metadata, text */
	/* rows committed and not in the graph yet; 0 where the exact scan answers */
	uint64_t backlog;
	uint64_t inserts; /* vectors accepted since creation */
	uint64_t deletes; /* IDs removed since creation */
};

int engine_collection_create(struct engine *en, uint32_t cid, const char *name,
                             const struct owner *owner, struct err *e);
/* -ENOTEMPTY */
int engine_collection_remove(struct engine *en, uint32_t cid, bool even_if_full, struct err *e);
int engine_collection_find(struct engine *en, const char *name, uint32_t *ret_cid); /* or -ENOENT */
/* by cid; -ENOENT: end */
int engine_collection_next(struct engine *en, uint32_t after, struct collection_info *ret);
int engine_collection_info(struct engine *en, uint32_t cid, struct collection_info *ret);

struct collection_memory {
	uint64_t resident_bytes; /* memory of its own */
	uint64_t mapped_bytes;   /* of files: the kernel may drop these pages and read them again */
};

/* As the kernel counts it, which takes some milliseconds a million vectors. -ENODEV */
int engine_collection_memory(struct engine *en, uint32_t cid, struct collection_memory *ret);
/*
 * -EBUSY: dimension, metric, m, ef_construction or quantization differs and vectors exist (or a
 * batch is open). Ranges were checked above.
 */
int engine_collection_configure(struct engine *en, uint32_t cid, const struct collection_config *c,
                                struct err *e);
int engine_collection_set_owner(struct engine *en, uint32_t cid, const struct owner *o,
                                struct err *e);

/* Sums over all collections, kept up to date, O(1): what quotas are checked against. */
void engine_usage(struct engine *en, uint64_t *ret_vectors, uint64_t *ret_bytes,
                  uint32_t *ret_collections);

/* ---- writing ---- */

/*
 * An open batch: nothing of it is visible until the commit. A batch is used by one thread at a
 * time.
 */
int engine_batch_begin(struct engine *en, uint32_t cid, struct batch **ret, struct err *e);
/*
 * Adds one vector; r->id must be set. *ret_bytes: what it counts for bytes. -EINVAL: dimension
 * differs ("expected 128 numbers, got 127"), what vector_check refuses, -ENOMEM, -ENOSPC,
 * -EIO. The batch stays as it was before the call. Waits while the backlog is far too long.
 */
int engine_batch_add(struct batch *b, const struct record *r, uint64_t *ret_bytes, struct err *e);
size_t engine_batch_rows(const struct batch *b);

struct batch_result {
	uint64_t accepted;
	uint64_t replaced;
	bool duplicate; /* the token was committed before */
};
/*
 * Commits and frees b, also on failure. token: 16 bytes or NULL. receipt: written with it, or
 * NULL.
 */
int engine_batch_commit(struct batch *b, const uint8_t *token, struct receipt *receipt,
                        struct batch_result *ret, struct err *e);
void engine_batch_abort(struct batch *b); /* NULL allowed */

/* The dimension that a new vector must have by now (also of batches still open); 0: any. */
size_t engine_dimension(struct engine *en, uint32_t cid);

/* Removes the IDs that exist, as one durable batch. ids: n pointers and lengths. */
struct id_ref {
	const char *id;
	size_t len;
};
int engine_remove(struct engine *en, uint32_t cid, const struct id_ref *ids, size_t n,
                  uint64_t *ret_removed, struct err *e);
int engine_remove_all(struct engine *en, uint32_t cid, uint64_t *ret_removed, struct err *e);

/* ---- reading ---- */

/* The number of a stored ID, or -ENOENT. From memory. */
int engine_lookup(struct engine *en, uint32_t cid, const char *id, size_t len, uint64_t *ret_num);
/*
 * A number for an ID that may come to exist (create in vectors/): kept for it while the engine
 * is open, for the last thousand or so that were asked for.
 */
int engine_number(struct engine *en, uint32_t cid, const char *id, size_t len, uint64_t *ret_num,
                  struct err *e);

struct vector_info;
/*
 * The ID of a number that exists or was given by engine_number; json_bytes is 0 when no version
 * is stored. -ENOENT.
 */
int engine_number_id(struct engine *en, uint32_t cid, uint64_t num, struct vector_info *ret,
                     struct err *e);

struct vector_info {
	uint64_t num;
	char id[LIMIT_ID + 1];
	size_t id_len;
	uint64_t json_bytes;
};
/* -ENOENT */
int engine_stat_vector(struct engine *en, uint32_t cid, uint64_t num, struct vector_info *ret,
                       struct err *e);
/* One JSON line as answer_vector_json. -EIO: damaged. */
int engine_get_json(struct engine *en, uint32_t cid, uint64_t num, struct buf *ret, struct err *e);
/* Just the metadata (compact JSON object, or nothing). */
int engine_get_metadata(struct engine *en, uint32_t cid, uint64_t num, struct buf *ret,
                        struct err *e);
/* Replaces the metadata of an ID, keeping vector and text. json NULL: none. */
int engine_set_metadata(struct engine *en, uint32_t cid, uint64_t num, const char *json, size_t n,
                        struct err *e);
/*
 * Gives a vector another ID, as one commit: at no moment it is there twice or not at all. Whatever
 * had the new ID is replaced, unless no_replace: -EEXIST. It gets another number. The IDs differ. -ENOENT.
 */
struct engine_rename {
	const char *from;
	size_t from_len;
	const char *to;
	size_t to_len;
	bool no_replace;
};
int engine_rename(struct engine *en, uint32_t cid, const struct engine_rename *r, struct err *e);
/*
 * Vectors with num > after in insertion order, at most max; cb non-zero ends. Returns cb's
 * value or 0.
 */
int engine_list(struct engine *en, uint32_t cid, uint64_t after, size_t max,
                int (*cb)(void *ctx, const struct vector_info *v), void *ctx, struct err *e);

/*
 * Answers one query into a (answer_begin .. answer_end are called here). k and ef of 0 are the
 * collection's; max_k cuts nothing, the caller has checked. -EINVAL: dimension, what
 * vector_check refuses, empty `like` ID unknown (-ENOENT). A vector whose floats do not have their
 * checksum any more is left out, as if it were not there; `like` it is -EIO.
 */
int engine_search(struct engine *en, uint32_t cid, const struct query *q, struct answer *a,
                  struct err *e);

/* ---- receipts of ingest/ ---- */
int engine_receipt_number(struct engine *en, uint32_t cid, uint32_t *ret, struct err *e);
int engine_receipt_put(struct engine *en, uint32_t cid, const struct receipt *r, struct err *e);
int engine_receipt_by_name(struct engine *en, uint32_t cid, const char *name, struct receipt *ret,
                           struct err *e);
int engine_receipt_by_number(struct engine *en, uint32_t cid, uint32_t number, struct receipt *ret,
                             struct err *e);
int engine_receipt_next(struct engine *en, uint32_t cid, uint32_t after, struct receipt *ret,
                        struct err *e);
int engine_receipt_remove(struct engine *en, uint32_t cid, uint32_t number, struct err *e);
int engine_receipt_rename(struct engine *en, uint32_t cid, uint32_t number, const char *name,
                          struct err *e);

/* ---- verification ---- */
struct engine_report {
	uint64_t rows_checked;
	uint64_t checksum_errors; /* of rows, floats, extents, database pages */
	/* IDs or slots that memory, graph and rows do not agree on; lost sequences */
	uint64_t disagreements;
	uint64_t unreachable;
	uint64_t broken_links; /* bad levels included */
	char first[240];       /* the first finding; "" when clean */
};
/* watch: NULL allowed */
int engine_verify(struct engine *en, uint32_t cid, const struct verify_watch *watch,
                  struct engine_report *ret, struct err *e);

/* ---- compaction ---- */
/*
 * Takes dead versions out of the graph and rewrites the segment without them, whatever that is
 * worth; reads and writes go on, except that commits wait while the segment is rewritten.
 * progress gets percents and returns non-zero to stop (-ECANCELED). *ret_bytes: what the segment
 * became smaller by. -EBUSY: a batch is open that has vectors in the segment; -EROFS.
 */
int engine_compact(struct engine *en, uint32_t cid, int (*progress)(void *ctx, unsigned percent),
                   void *ctx, uint64_t *ret_bytes, struct err *e);

#endif
