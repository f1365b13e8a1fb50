/*
 * engine_impl.h: what the files of this room share. Private to src/engine.
 *
 * Locks, outermost first; what is above "store" may be held across calls of the store, what is
 * below never is, because the store calls back (publish, moved) under its own locks:
 *
 *     engine.admin            collections are created and removed one at a time
 *     collection.maint        one maintenance run at a time; owns the image
 *     collection.commit_gate  reading: commits and spills; writing: who must stand between two
 *     collection.config_lock  what the store knows of config, owner, dimension
 *         (store)
 *     collection.link_gate    reading: who links or repairs; writing: who needs a still graph
 *     collection.lock         writing: tables move, versions come into sight or go out of it,
 *                             the graph comes or goes
 *     collection.mu           lists and counters, IDs, flags of slots
 *     engine.lock             table of collections, number of jobs, pool of scratch memory
 *
 * Invariants, seen by who holds lock for reading and mu:
 * - a slot is LIVE exactly when the entry of its ID has it as its version; live counts them;
 * - a slot that is not FREE has its floats in place; a slot that was taken and not filled yet
 *   is FREE and in no list;
 * - with a graph, a LIVE slot is LINKED, or it is QUEUED or LINKING and every search scans it;
 *   without one, none of the three flags is set and every search scans all slots;
 * - a slot is FREE and in the free list only when nothing can reach it: not the graph, not the
 *   image on disk.
 */
#ifndef RV_ENGINE_ENGINE_IMPL_H
#define RV_ENGINE_ENGINE_IMPL_H

#include <stdatomic.h>

#include "base/fault.h"
#include "base/lock.h"
#include "base/map.h"
#include "engine/engine.h"
#include "engine/idtable.h"
#include "engine/table.h"
#include "index/flat.h"
#include "index/hnsw.h"
#include "store/store.h"
#include "vector/rows.h"

#define BACKLOG_MAX  10000      /* a writer links rows itself while more than these wait */
#define EXTENT_BYTES (1u << 20) /* floats, likewise strings, that a batch keeps in memory */
#define LINKING_MAX  64         /* threads that link one collection at once */

/* Up to here an exact scan is quicker than a graph. */
#define FLAT_ROWS_MAX FAULT_SCALED(2000, 100)
#define EXTENT_ROWS   FAULT_SCALED(8192, 60)
/* Dead rows that are worth a repair, or a tenth of all. */
#define DEAD_MIN      FAULT_SCALED(1000, 20)
/* Rows to be linked that an image need not wait for. */
#define WAITING_FEW   FAULT_SCALED(1000u, 20u)
/* Rows in store.db that are worth moving. */
#define INLINE_MAX    FAULT_SCALED(4096, 50)
/* Changes that are worth an image, or a fifth of all. */
#define IMAGE_CHANGES FAULT_SCALED(10000, 100)
/* Dead bytes of a segment, and half of it: a compaction. */
#define COMPACT_BYTES FAULT_SCALED(8u << 20, 64u << 10)

enum slot_flag {
	SLOT_QUEUED = 1,  /* in the ring */
	SLOT_LINKING = 2, /* in linking[] */
	SLOT_LINKED = 4,  /* in the graph */
	SLOT_HEAP = 8,    /* its floats are a copy that the collection owns */
	SLOT_IMAGE = 16,  /* in the image on disk */
	SLOT_DYING = 32,  /* died during a repair: HIDDEN until that is over, then DEAD */
};

struct slot_info {
	uint64_t off;   /* in the segment, or STORE_INLINE */
	uint32_t entry; /* of the ID; meaningful while LIVE or of an open batch */
	uint32_t json_bytes;
	uint32_t extra; /* bytes of metadata and text */
	uint32_t next;  /* of the free or the limbo list */
	uint32_t vcrc;  /* of the floats */
	uint8_t flags;  /* mu */
	/* When a search last compared the floats with vcrc (check_time); 0: never. Relaxed. */
	_Atomic uint16_t checked;
};

_Static_assert(sizeof(struct slot_info) == 32, "two a line");

/* A compaction that somebody asked for. */
struct compaction {
	int (*progress)(void *ctx, unsigned percent);
	void *ctx;
	bool rewriting; /* the dead are out of the graph: half of it is done */
	uint64_t bytes;
};

/* Members stand beside the lock that guards them. NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct collection {
	struct engine *engine;     /* const */
	uint32_t cid;              /* const */
	char name[LIMIT_NAME + 1]; /* const */
	uint64_t created_ns;       /* const */
	atomic_bool leaving;       /* about to be removed: long work ends early */
	atomic_bool damage_told;   /* a search met floats that do not hold */
	atomic_uint refs;          /* the table's and one of everybody who is inside */

	struct mutex maint;

	struct rwlock commit_gate;

	struct mutex config_lock;
	uint32_t stored_dimension; /* config_lock; what the store has */

	struct rwlock link_gate;

	/* lock: writing to change, reading to use */
	struct rwlock lock;
	bool removed;
	struct rows rows;
	struct slot_info *info;
	struct table at_table, state_table, norm_table, info_table, ring_table;
	struct hnsw *graph;              /* NULL: exact scans answer */
	struct collection_config config; /* dimension: as set by config, else rows.dim tells */
	bool dimension_set;
	bool repairing;      /* who dies is DYING */
	uint32_t generation; /* counts resets: slots mean something else since */

	/* mu; for lists see there */
	struct mutex mu;
	struct idtable ids; /* see idtable.h for its two locks: these */
	struct owner owner;
	uint32_t *ring; /* rows.cap slots to be linked, from ring_head, ring_n */
	uint32_t ring_head, ring_n;
	uint32_t ring_sorted; /* of these, from the head, so many were sorted (backlog_order.c) */
	uint64_t ring_popped; /* since open */
	bool sorting;         /* a thread looks for places */
	uint32_t linking[LINKING_MAX];
	unsigned n_linking;
	uint32_t free_head, n_free;
	uint32_t limbo_head, n_limbo; /* free but for the image */
	uint32_t live, dead, dying;
	uint32_t taken;          /* slots of open batches */
	uint32_t unlinked_live;  /* LIVE and not LINKED, with a graph */
	uint32_t recovered;      /* waited to be linked at open; 0 again when few wait */
	uint32_t recovered_step; /* rows linked that are worth an image until then */
	uint32_t inlined;        /* rows committed into store.db since the last move */
	uint32_t dim_users;      /* open batches that count on rows.dim */
	uint32_t big_batches;    /* open batches with extents */
	uint64_t bytes;          /* of live versions */
	uint64_t json_bytes;     /* of live versions: of their files in vectors/ */
	uint64_t heap_bytes;
	uint64_t seq;     /* of the last commit that was published */
	uint64_t changes; /* rows published or killed since open */
	uint64_t inserts, deletes;
	uint64_t links;              /* slots linked since open */
	uint64_t segment_dead_bytes; /* killed since the segment was last looked at */
	uint64_t lost_rows;          /* found unusable at open */
	/* the image on disk: changed with maint too */
	bool has_image;
	uint32_t image_generation; /* of c->generation; another one: the image is of no use */
	uint64_t image_changes, image_links; /* values of changes, links when it was made */
	unsigned link_jobs;
	bool maint_job;
	bool maint_again;           /* something came due while it ran */
	uint64_t maint_after_ns;    /* one failed: no other before that (monotonic) */
	bool old_maps;              /* mu, written with maint: an old generation is still mapped */
	bool rebuilding;            /* mu: the graph is made anew from all rows */
	struct compaction *command; /* maint: of engine_compact, NULL: none runs */
};

struct scratch {
	struct scratch *next;
	struct hit *hits, *more;
	struct found *found;
	size_t cap;
	uint32_t *slots;
	size_t cap_slots;
	struct buf ids;
	struct answer_plan plan;
};

struct engine {
	struct store *store;     /* const */
	struct workers *workers; /* const; NULL: no background work */
	struct flow *flow;       /* const; NULL allowed */
	bool read_only;          /* const */
	unsigned link_jobs_max;  /* const: of one collection */
	atomic_bool closing;
	_Atomic unsigned n_exports;
	void (*event)(void *ctx, uint32_t cid, enum engine_event event); /* const */
	void *event_ctx;                                                 /* const */

	struct mutex admin;

	struct mutex lock;
	struct cond idle;
	struct collection **table; /* by cid */
	uint32_t n, cap;
	unsigned n_jobs;
	struct scratch *scratch;

	_Atomic uint64_t vectors; /* relaxed: sums of what is visible */
	_Atomic uint64_t bytes;
	_Atomic uint32_t n_collections;
};

/* ---- local.c ---- */
/* -ENODEV */
int collection_enter(struct engine *en, uint32_t cid, struct collection **ret, struct err *e);
void collection_leave(struct collection *c); /* NULL allowed; the last one frees it */
int err_gone(struct err *e);                 /* -ENODEV with its sentence */
int err_read_only(struct err *e);
void engine_tell(struct collection *c, enum engine_event event); /* no locks */

/* ---- collection.c: the object and its slots ---- */
struct collection *collection_new(struct engine *en, const struct store_collection *sc);
void collection_free(struct collection *c);
/* The config as users see it: with the dimension in use. Lock: reading. */
void collection_config_get(const struct collection *c, struct collection_config *ret);
/* Room for n more slots than are in use. Both locks. 0 or -ENOMEM. */
int collection_grow(struct collection *c, uint32_t n_more, struct err *e) REQUIRES(c->lock, c->mu);
/* n slots to fill; they count as taken. -ENODEV, -ENOMEM. No locks. */
int slots_take(struct collection *c, uint32_t n, uint32_t *ret, struct err *e);
void slots_untake(struct collection *c, const uint32_t *slots, uint32_t n);

struct slot_fill {
	const float *at;
	float inv_norm;
	uint64_t off;
	uint32_t entry;
	uint32_t json_bytes;
	uint32_t extra;
	uint32_t vcrc;
	bool heap; /* at becomes the collection's */
};
/* FREE to HIDDEN. Lock: reading, and mu. */
void slot_fill(struct collection *c, uint32_t slot, const struct slot_fill *f) REQUIRES(c->mu);
/* HIDDEN to LIVE as the version of its entry, which has none. Both locks. */
void slot_show(struct collection *c, uint32_t slot) REQUIRES(c->lock, c->mu);
/* Takes a LIVE slot out of sight, its entry is left without version. Both locks. */
void slot_hide(struct collection *c, uint32_t slot) REQUIRES(c->lock, c->mu);
/* A slot that nobody may see any more: dead or free, as the graph allows. Both locks. */
void slot_kill(struct collection *c, uint32_t slot) REQUIRES(c->lock, c->mu);
/*
 * Nothing reaches it: to the free list, or limbo. mu, and no reader that could have seen it
 * LIVE.
 */
void slot_free(struct collection *c, uint32_t slot) REQUIRES(c->mu);
/* The copy of its floats that the collection owns, if it does. Lock: reading, and mu. */
void slot_free_floats(struct collection *c, uint32_t slot) REQUIRES(c->mu);
/* When nothing is stored or open any more: an empty table, any dimension. Both locks. */
void collection_reset_if_empty(struct collection *c) REQUIRES(c->lock, c->mu);
void collection_reset(struct collection *c) REQUIRES(c->lock, c->mu);
/* Interns an ID and takes a reference on its entry. No locks. */
int collection_intern(struct collection *c, const char *id, size_t len, uint32_t *ret_entry,
                      uint64_t *ret_num, struct err *e);
size_t version_bytes(const struct collection *c, uint32_t slot);

/* ---- backlog.c: from slots to a graph ---- */
/* Unless it is there or linked. */
void backlog_push(struct collection *c, uint32_t slot) REQUIRES(c->mu);
/* How many of those that wait a writer has to help with, and how many it may leave. No locks. */
struct backlog_debt {
	uint32_t over;    /* more than BACKLOG_MAX */
	uint32_t allowed; /* of these, while what waited at open is worked off */
};
struct backlog_debt backlog_debt(struct collection *c);
/* What waits when a collection was opened is no writer's fault. Both locks. */
void backlog_recovered(struct collection *c) REQUIRES(c->lock, c->mu);
/* Nothing waits any more. */
void backlog_clear(struct collection *c) REQUIRES(c->mu);
/* Links the slot at the head of the ring. 1, 0: none waits or too many link, -ENOMEM. No locks. */
int backlog_link_one(struct collection *c, struct err *e);
/*
 * Copies what waits and what is being linked to s->slots. Lock: reading. Returns the count or
 * -ENOMEM.
 */
long backlog_snapshot(struct collection *c, struct scratch *s);
/*
 * Starts a graph where there are enough rows for one, or gives it up where there are few. No
 * locks.
 */
void graph_adjust(struct collection *c);
/* One that hnsw_lost says of that pages are missing is made anew, from all rows. No locks but maint. */
void graph_renew(struct collection *c) REQUIRES(c->maint);
/* An empty graph; queues all rows. */
int graph_start(struct collection *c, struct err *e) REQUIRES(c->lock, c->mu);
struct hnsw *graph_new(const struct collection *c, struct err *e); /* with room for rows.cap */

/* backlog_sort.c: neighbours follow one another in what waits, if it is much. No locks, no turn. */
void backlog_sort(struct collection *c);

/* ---- background.c ---- */
void background_link(struct collection *c);     /* sees to it that the backlog shrinks. No locks */
void background_maintain(struct collection *c); /* queues a run if one is due. No locks */
/* Everything that is due; forced: also what is hardly worth it. No locks. */
int maintain(struct collection *c, bool forced, struct err *e);
int maintain_locked(struct collection *c, bool forced, struct err *e) REQUIRES(c->maint);
/* The last run: moves inline rows and saves an image if the one on disk is behind. No locks. */
int maintain_at_close(struct collection *c, struct err *e);

/* ---- repair.c, move.c: parts of a maintenance run ---- */
int repair_and_remove(struct collection *c, struct err *e) REQUIRES(c->maint);
int move_inline(struct collection *c, struct err *e) REQUIRES(c->maint);
int compact(struct collection *c, struct err *e) REQUIRES(c->maint);

/* ---- batch.c, commit.c ---- */
struct batch_row {
	uint32_t entry;
	uint32_t slot; /* ROW_NONE: pending */
};

/* What a row needs until it has a slot. Offsets are into batch.strings. */
struct pending {
	uint64_t num;
	size_t string_at; /* ID, metadata, text, one after the other */
	uint32_t metadata_len;
	uint32_t text_len;
	uint32_t json_bytes;
	float inv_norm;
	uint32_t vcrc;
	uint8_t id_len;
	bool has_metadata;
	bool has_text;
};

struct batch {
	struct collection *c;
	size_t dim;             /* 0: nothing was added, nothing is reserved */
	struct batch_row *rows; /* of all; the last n_pending have no slot yet */
	size_t n_rows, cap_rows;
	struct pending *pending;
	size_t n_pending, cap_pending;
	struct buf floats, strings; /* of pending */
	uint64_t number;            /* of the extents */
	uint64_t *extents;
	size_t n_extents, cap_extents;
	bool big; /* counted in big_batches */
	bool published;
	/* An ID whose version goes with this batch: its entry, with a reference, and number. */
	bool renames;
	uint32_t old_entry;
	uint64_t old_num;
};

void pending_row(const struct batch *b, size_t i, struct store_row *ret); /* borrows from b */
/* Gives the pending rows slots and heap copies; slots_inline are in rows. No locks. */
int batch_fill_inline(struct batch *b, struct store_row *rows, struct err *e);
int batch_spill(struct batch *b, struct err *e); /* the pending rows become an extent. No locks */
/* Commits a batch of some inline rows and frees it. For who holds commit_gate already. */
int batch_commit_gated(struct collection *c, struct batch *b, struct err *e)
	REQUIRES_SHARED(c->commit_gate);
/* Keeps a writer that added some rows from running far ahead of the graph. No locks. */
void batch_throttle(struct collection *c, size_t added);
/*
 * store_commit with the collection's durability, its dimension agreed with the store. Lock:
 * commit_gate.
 */
int collection_commit(struct collection *c, struct store_commit *sc, struct err *e)
	REQUIRES_SHARED(c->commit_gate);
/* After a commit: graph, backlog, maintenance. No locks. */
void collection_changed(struct collection *c);
/* The engine's sums move by what changed since. mu */
void usage_changed(struct collection *c, uint32_t live_before, uint64_t bytes_before)
	REQUIRES(c->mu);

/* ---- config.c ---- */
void collection_describe(struct collection *c, struct store_collection *ret)
	REQUIRES(c->config_lock);

/* ---- recover.c ---- */
int collection_recover(struct collection *c, const struct store_collection *sc, struct err *e);
/*
 * An entry for an ID with a known number, while a collection is opened. Both locks. 0,
 * -EEXIST: another number, -ENOMEM.
 */
int recover_entry(struct collection *c, const char *id, size_t len, uint64_t num, uint32_t *ret)
	REQUIRES(c->lock, c->mu);

/* ---- image_load.c, image_save.c; image.h has the format ---- */
/*
 * The image's rows and graph into an empty collection. < 0: not usable, and then the
 * collection is as it happens to be.
 */
int image_load(struct collection *c, const struct store_collection *sc, uint64_t *ret_seq,
               struct err *e) REQUIRES(c->lock, c->mu);
int image_save(struct collection *c, struct err *e) REQUIRES(c->maint);
bool image_unlink(struct collection *c); /* durably. No locks needed; whether it is gone */
/* One of before the collection was reset: removes the file. */
void image_discard(struct collection *c) REQUIRES(c->maint);
/*
 * Slots below n that are not in the bitmap are not in an image any more: those in limbo are
 * free. mu
 */
void limbo_release(struct collection *c, const uint8_t *bitmap, uint32_t n) REQUIRES(c->mu);

/* ---- search.c ---- */
struct scratch *engine_scratch_get(struct engine *en);
void engine_scratch_put(struct engine *en, struct scratch *s);
void engine_scratch_free_all(struct engine *en);

#endif
