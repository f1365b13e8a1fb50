/*
 * live.h: receipts of the files in ingest/ that are being written, shared by all who write one.
 * Private to src/tree.
 *
 * A receipt is live from its file's creation or first writer until its last writer has closed;
 * what commits left behind is stored before it stops being live, so that it is found all the
 * time. Who holds a reference keeps it. Any thread.
 */
#ifndef RV_TREE_LIVE_H
#define RV_TREE_LIVE_H

#include <stdatomic.h>

#include "tree/file.h"

struct live_receipt {
	struct live_receipt *next; /* live->lock */
	uint32_t cid;              /* const */
	unsigned n_refs;           /* live->lock; writers included */
	unsigned n_writers;        /* live->lock */
	bool unopened;             /* live->lock; created, and its first writer is to come */
	atomic_bool forgotten;     /* no longer found by name: removed, or another took the name */
	struct mutex commit;       /* held over a commit that stores it; before lock */
	struct mutex lock;
	struct receipt receipt; /* lock */
	uint64_t next_position; /* lock; above those that records of all its writers took */
	bool stored;            /* lock; as it stands is in the store */
};

/* ---- the table ---- */

/* A file that was created; it waits for its first writer. -ENOMEM. */
int live_create(struct live *l, uint32_t cid, const struct receipt *r);
/* With a reference, or NULL. Those that were forgotten are found by number only. */
struct live_receipt *live_by_name(struct live *l, uint32_t cid, const char *name);
struct live_receipt *live_by_number(struct live *l, uint32_t cid, uint32_t number);
void live_put(struct live *l, struct live_receipt *r); /* the reference; NULL allowed */
/* The one with the smallest number > after that was not forgotten. False: none. */
bool live_next(struct live *l, uint32_t cid, uint32_t after, struct receipt *ret);
void live_rename(struct live *l, struct live_receipt *r, const char *name);
void live_copy(struct live_receipt *r, struct receipt *ret);

/* ---- writers ---- */

/*
 * One more writer. stored: as it is in the store, for a receipt that is not live; NULL: only
 * when it is. restart: what it said is over; so it is, too, where nobody else writes and this
 * writer does not append. NULL: not live, or no memory.
 */
struct live_receipt *live_write(struct live *l, uint32_t cid, const struct receipt *stored,
                                uint32_t number, bool restart, bool append);
/*
 * The file is removed. Who looked its name up just before and opens it now writes it as one that is
 * unlinked: live_write_removed, for the last few that were. NULL: not one of them, or no memory.
 */
void live_removed(struct live *l, uint32_t cid, uint32_t number, const char *name);
struct live_receipt *live_write_removed(struct live *l, uint32_t cid, uint32_t number);
/* Ends one. True: it was the last one, and what is not stored should be now. */
bool live_end_writer(struct live *l, struct live_receipt *r);

/* ---- what writers tell; r NULL: nothing, as for files in vectors/ ---- */

void live_progress(struct live_receipt *r, size_t n_bytes, uint64_t ns);
void live_rejected(struct live_receipt *r, const char *why);
/* All that came is committed. False: no vector was in it. */
bool live_settled(struct live_receipt *r);
/* c was stored by a commit, under commit: live_copy and what came on top. */
void live_committed(struct live_receipt *r, const struct receipt *c) REQUIRES(r->commit);

/* The next free position, for who appends; who does not tells which ones it took. */
uint64_t live_take_position(struct live_receipt *r);
void live_took_position(struct live_receipt *r, uint64_t position);
/*
 * n positions that were taken, the first and the last of them given, are not used after all.
 * Where others have taken later ones they stay unused, and the receipt counts them, since that
 * is where appending goes on.
 */
void live_return_positions(struct live_receipt *r, uint64_t first, uint64_t last, uint64_t n);

#endif
