/* salvage_impl.h: what salvage.c and salvage_segment.c share. */
#ifndef RV_STORE_SALVAGE_IMPL_H
#define RV_STORE_SALVAGE_IMPL_H

#include "store/carve.h"
#include "store/salvage.h"
#include "store/store_impl.h"

struct salvage_coll {
	struct coll_state st;
	bool known; /* st is as it was stored; otherwise made up from what is there */
	bool opened;
	int fd;              /* of its segment; -1: none */
	uint64_t unreadable; /* pages of it */
	bool has_image;     /* a whole one, not older than what is listed as gone */
	uint64_t image_seq; /* of the last commit in it */
	uint64_t max_num;
	uint32_t max_slot;
	uint32_t max_receipt;
};

/* A version that is damaged, whatever else is found of its ID. */
struct salvage_bad {
	int64_t key;
	uint64_t seq;
	char *id; /* NULL: not known */
};

struct salvage {
	struct store s; /* only dir and w: the new database */
	const char *from;
	uint32_t default_cid;
	struct carve *carve; /* NULL: there is no database */
	bool pages_lost;     /* of the database: the index need not have all */
	struct store_state state;
	bool has_state;
	uint64_t known_seq; /* of the last commit that the database knows */
	uint64_t seen_seq;  /* the highest of a batch or of what is gone */
	struct witness witness;
	uint64_t max_seq, max_batch;
	struct salvage_coll *colls;
	size_t n_colls;
	struct salvage_bad *bad;
	size_t n_bad, cap_bad;
	float *v; /* LIMIT_DIMENSION */
	uint64_t rows;
	const struct salvage_watch *watch;
	struct salvage_result *ret;
};

struct salvage_coll *salvage_coll(struct salvage *x, uint32_t cid); /* NULL */
/* One that is not known yet is made up. NULL: no memory. */
struct salvage_coll *salvage_coll_make(struct salvage *x, uint32_t cid);
/* One that was found as it was stored; of several versions the newest counts. 0 or -ENOMEM. */
int salvage_coll_take(struct salvage *x, const struct coll_state *st);
void salvage_tell(struct salvage *x, const struct salvage_coll *c, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void salvage_saw(struct salvage *x); /* one more row */

/* ---- salvage_database.c ---- */
int salvage_first_pass(struct salvage *x, struct err *e);  /* collections, the state, what went */
int salvage_second_pass(struct salvage *x, struct err *e); /* rows, receipts; temp.wanted */
/* Takes out what was replaced or removed, and older versions of what is damaged. */
int salvage_drop(struct salvage *x, struct err *e);
/*
 * Of rows that have an ID or a slot in common the latest stays: others stood in a page that is not the
 * newest, and were removed since.
 */
int salvage_make_unique(struct salvage *x, struct err *e);
/* What temp.wanted names and nothing had. */
int salvage_tell_lost(struct salvage *x, struct err *e);

/* ---- salvage_image.c ---- */
/* Parameters of a collection that is not known. */
void salvage_ask_image(const struct salvage *x, struct salvage_coll *c);
/* What lived when the image was made and is not known to be gone goes into temp.wanted. */
int salvage_want_image(struct salvage *x, struct salvage_coll *c, struct err *e);

/* ---- salvage_segment.c ---- */
/* Finds and opens the segment of each collection; mends its header. */
int salvage_open_segments(struct salvage *x, struct err *e);
/* Collections of which nothing but a segment is left. */
int salvage_find_strangers(struct salvage *x, struct err *e);
/* Whether the floats of a row in the segment are whole. */
bool salvage_floats_hold(struct salvage *x, const struct salvage_coll *c, const struct row *row);
/*
 * Rows that the table temp.wanted names and the database has not; those of batches that were sealed
 * behind the last commit that it knows; and where pages are lost, those that came after the image and
 * are not known to be gone.
 */
int salvage_from_segments(struct salvage *x, struct err *e);

#endif
