/*
 * store_impl.h: what the files of this room share. Not for other rooms.
 *
 * Lock order: write, read, colls_lock, a collection's lock, a segment's own. `queue` is never
 * held together with another. The callbacks of commits and moves run under `write`.
 */
#ifndef RV_STORE_STORE_IMPL_H
#define RV_STORE_STORE_IMPL_H

#include <stdatomic.h>

#include "base/lock.h"
#include "store/segment.h"
#include "store/sql.h"
#include "store/store.h"
#include "store/witness.h"

#define STORE_FORMAT         1
#define STORE_APPLICATION_ID 0x52565354 /* "RVST" */
#define STORE_TOKENS         10000      /* newest batch tokens kept */
#define STORE_TOKENS_SLACK   256        /* and up to so many more: older ones go together */
#define STORE_GROUP          256        /* commits that share one transaction at most */
#define STORE_NUM_BITS                                                                             \
	37 /* of an ID's number in a row's key; the collection's number stands above */
#define STORE_NUM_MAX (((uint64_t)1 << STORE_NUM_BITS) - 1)
#define STORE_CID_MAX (((uint32_t)1 << 26) - 1)

#define I(x) ((int64_t)(x)) /* an integer for sql_run */

/* What the table `collections` has of one. */
struct coll_state {
	struct store_collection c;
	uint64_t segment_end; /* everything below is committed */
	uint64_t salt;        /* of the segment of this generation */
};

struct coll {
	uint32_t cid;              /* const after open */
	struct coll_state now;     /* colls_lock: what is committed */
	struct coll_state pending; /* write: in the transaction under way */
	bool touched;              /* write: pending is to be stored */
	int64_t n_receipts;        /* write: -1 not counted yet */
	_Atomic bool gone;
	_Atomic uint32_t next_receipt;
	struct rwlock lock;
	struct segment *seg; /* lock: NULL until first used */
	struct segment *old; /* lock: earlier generations, mapped still */
};

/* The singleton row of the table `state`, and its place in memory. */
struct store_state {
	uint64_t last_seq;
	uint64_t last_batch;
	uint64_t changes; /* transactions */
	/* Known losses, summed up: the witness knew more than store.db at some open. */
	uint64_t lost_seqs;
	uint64_t lost_changes;
};

struct request;

struct store {
	char *dir; /* const after open, as the next two */
	bool read_only;
	int witness_fd; /* -1: none */
	bool witness_damaged;
	uint64_t committed_seq; /* the newest of the database, when it was opened */

	struct mutex write;
	struct sql w;           /* write */
	struct store_state now; /* write */
	uint64_t next_seq;      /* write */
	int sync_mode;          /* write: PRAGMA synchronous of w */
	int wal_pages;          /* write: when it was last looked at */
	int checkpoint_at;      /* write: pages */
	uint64_t tokens_cut;    /* write: sequence at which old tokens went last */
	bool failed;            /* write: a sync failed */

	struct mutex read;
	struct sql r;     /* read */
	bool reader_open; /* read */

	struct mutex queue;
	struct cond answered;  /* queue */
	struct request *first; /* queue */
	struct request **last; /* queue */
	bool leading;          /* queue: somebody commits */

	struct rwlock colls_lock;
	struct coll **colls; /* colls_lock; by cid */
	size_t n_colls;      /* colls_lock */
	size_t cap_colls;    /* colls_lock */

	_Atomic uint64_t last_seq;
	_Atomic uint64_t last_batch;
	_Atomic uint64_t skipped; /* damaged rows that scans passed over */
};

/* ---- schema.c ---- */
/* Its name is durable once the directory was synced. */
int store_db_create(const char *dir, const char *path, struct err *e);
/* checks format */
int store_db_open(struct sql *s, const char *path, enum sql_open how, struct err *e);
/* The six columns; false: they do not agree with their checksum. */
bool store_state_decode(sqlite3_stmt *q, struct store_state *ret);
int store_state_load(struct sql *s, struct store_state *ret, struct err *e);
int store_state_save(struct sql *s, const struct store_state *st, struct err *e);

/* ---- store.c ---- */
void store_path(const struct store *s, const char *name, char *ret, size_t cap);
int store_reader(struct store *s, struct err *e) REQUIRES(s->read); /* opens it if need be */
/* Damage that is met after the open is an I/O error to callers, with the same sentence. */
int store_runtime(int rc, struct err *e);

/* ---- txn.c: transactions of the writer ---- */
int txn_begin(struct store *s, bool durable, struct err *e) REQUIRES(s->write);
int txn_commit(struct store *s, bool durable, struct err *e) REQUIRES(s->write);
void txn_rollback(struct store *s) REQUIRES(s->write);
void txn_tidy(struct store *s) REQUIRES(s->write); /* checkpoints when it is time */

/* ---- collections.c ---- */
struct coll *coll_find(struct store *s, uint32_t cid); /* also one that is gone; NULL */
struct coll *coll_live(struct store *s, uint32_t cid, struct err *e); /* NULL: -ENODEV is set */
bool coll_decode(sqlite3_stmt *q, struct coll_state *ret);            /* all columns */
int colls_load(struct store *s, struct err *e);
void colls_free(struct store *s);
int coll_save(struct store *s, const struct coll_state *st, struct err *e) REQUIRES(s->write);
void coll_publish(struct store *s, struct coll *c) REQUIRES(s->write); /* now = pending */
int coll_segment(struct store *s, struct coll *c, struct segment **ret, struct err *e);
uint64_t coll_salt(void);
uint32_t coll_dimension(struct store *s, struct coll *c);
void coll_retire_segment(struct coll *c); /* the current one becomes an old one */

/* ---- rows.c ---- */
struct row {
	struct store_row r;
	uint32_t pcrc; /* of metadata and text */
	uint32_t vcrc; /* of the floats */
};
static inline int64_t row_key(uint32_t cid, uint64_t num)
{
	return (int64_t)((uint64_t)cid << STORE_NUM_BITS | num);
}
#define ROW_KEYS(cid, num) I(row_key(cid, num)), I(row_key(cid, STORE_NUM_MAX))
#define ROW_COLUMNS        "key, id, slot, seq, off, json_bytes, pcrc, vcrc, crc"
#define ROW_ALL            ROW_COLUMNS ", metadata, text, vector"
uint32_t row_crc(uint32_t cid, const struct row *row);
uint32_t row_payload_crc(const struct store_row *r);
/*
 * The columns of ROW_COLUMNS; false: they do not agree with their checksum. r.num is set if the
 * key can be read.
 */
bool row_decode(sqlite3_stmt *st, uint32_t cid, struct row *ret);
/*
 * Then metadata, text and vector of ROW_ALL; ret->r.v may be unaligned and is not checked
 * against vcrc.
 */
bool row_decode_rest(sqlite3_stmt *st, uint32_t dim, struct row *ret);
/* Inserts or replaces; floats are stored when off is STORE_INLINE. */
int row_write(struct store *s, uint32_t cid, uint32_t dim, const struct row *row, struct err *e)
	REQUIRES(s->write);
int row_move(struct store *s, uint32_t cid, const struct row *row, struct err *e)
	REQUIRES(s->write);
uint32_t gone_crc(uint32_t cid, uint64_t seq, uint32_t slot);

/*
 * ---- extents by name: the place and, so that a compaction in between is noticed, the
 * generation ----
 */
static inline uint64_t extent_name(uint32_t gen, uint64_t off)
{
	return (uint64_t)(gen & 0xffff) << 48 | off;
}
static inline uint64_t extent_off(uint64_t name)
{
	return name & (((uint64_t)1 << 48) - 1);
}
static inline uint32_t extent_gen(uint64_t name)
{
	return (uint32_t)(name >> 48);
}

/* ---- apply.c: one commit inside the transaction ---- */
struct request {
	struct store_commit *c;
	struct coll *coll;
	uint64_t seq;
	uint64_t segment_end;   /* with extents: behind the seal */
	struct receipt receipt; /* as it will be */
	int rc;
	struct err err;
	bool done;
	struct request *next;
};
int request_apply(struct store *s, struct request *q, struct err *e) REQUIRES(s->write);

/* ---- receipts.c ---- */
int receipt_write(struct store *s, struct coll *c, const struct receipt *r, struct err *e)
	REQUIRES(s->write);
/* All columns behind cid. */
bool receipt_decode(sqlite3_stmt *st, uint32_t cid, struct receipt *ret);
int receipt_load(struct sql *db, uint32_t cid, uint32_t number, struct receipt *ret, struct err *e);

#endif
