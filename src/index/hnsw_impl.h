/*
 * hnsw_impl.h: what the files of the graph share. hnsw.c says how this HNSW departs from the paper.
 *
 * A row is the links of one node on one level: slots, in no order, ended by ROW_NONE unless it
 * is full. Level 0 is one table of rows that are whole cache lines; the rows above are a second
 * table, of which a node owns as many consecutive rows as it has upper levels. A slot's level
 * follows from the seed and the slot alone, so the second table is laid out when slots are
 * reserved, an insert allocates nothing, and a slot that is used again finds its rows where
 * they were.
 *
 * Who reads and writes a row at the same time: writers hold the row's lock (a byte, spinning,
 * held for some microseconds; one at a time, but for hnsw_tree_reparent). Readers hold nothing.
 * They load each link exactly once, with acquire: a link is stored only when the rows of the
 * node it names are complete. While a row is rewritten a reader may see a link twice or miss
 * one, which costs nothing but that link.
 *
 * Lock order: raise, tree, then row locks.
 */
#ifndef RV_INDEX_HNSW_IMPL_H
#define RV_INDEX_HNSW_IMPL_H

#include "base/lock.h"
#include "base/mapped.h"
#include "index/hnsw.h"
#include "index/scratch.h"
#include "vector/codes.h"
#include "vector/hop.h"

#define HNSW_LEVEL_MAX 15
#define HNSW_ROW_MAX   (2 * HNSW_M_MAX)

/*
 * Memory that is mapped, grows in place and is zero where never written. After loading an image
 * its first file_bytes are a private view of that file: pages become memory when they change. A page
 * of it that the disk cannot read any more becomes all ones (base/mapped.h): rows without links, no
 * parents, no norms, which lead nobody anywhere. Heights would, so they are copied.
 */
struct hnsw_table {
	void *at;
	size_t bytes;
	size_t file_bytes;
	struct mapped_range *watch; /* of these; NULL: none */
};

struct hnsw {
	const struct rows *rows;  /* const */
	unsigned m;               /* const */
	unsigned ef_construction; /* const */
	uint64_t seed;            /* const after load */
	unsigned stride0;         /* const; entries from one row to the next on level 0 */
	unsigned stride;          /* const; above */

	uint32_t cap;       /* slots reserved; collection's lock for writing, as the tables */
	uint32_t upper_cap; /* rows of all upper levels of the slots reserved */
	struct hnsw_table links0, links, upper_base, parent, level, lock;
	size_t code_bytes;              /* const; of one code, 0 without coder */
	size_t code_ahead;              /* const; of these, what is prefetched */
	struct coder *coder;            /* const; NULL: float rows are compared */
	struct hnsw_table codes, norms; /* by slot, as vector/codes.h says; none without coder */
	struct hnsw_table fine; /* by slot, during hnsw_bulk; all zeros: not coded */
	bool some_coarse;       /* atomic, relaxed: some linked slot has no fine code */

	uint32_t entry;     /* atomic; where walks start, or ROW_NONE; set under raise */
	uint32_t count;     /* atomic; linked slots */
	_Atomic uint64_t lost; /* pages of the tables that could not be read */
	struct mutex raise; /* held to become the entry point */
	struct mutex tree;  /* held to give a node that has children another parent */
	struct scratch_pool pool;
};

/* The first slot that cannot be linked. */
static inline uint32_t hnsw_end(const struct hnsw *h)
{
	return h->cap < h->rows->n ? h->cap : h->rows->n;
}

/* One more than the highest level of a linked slot, 0: not linked. */
static inline uint8_t *hnsw_height(const struct hnsw *h, uint32_t slot)
{
	return (uint8_t *)h->level.at + slot;
}

static inline unsigned hnsw_height_of(const struct hnsw *h, uint32_t slot)
{
	return __atomic_load_n(hnsw_height(h, slot), __ATOMIC_ACQUIRE);
}

static inline uint32_t *hnsw_row(const struct hnsw *h, uint32_t slot, unsigned level)
{
	if (level == 0)
		return (uint32_t *)h->links0.at + (size_t)slot * h->stride0;
	return (uint32_t *)h->links.at +
	       ((size_t)((uint32_t *)h->upper_base.at)[slot] + level - 1) * h->stride;
}

/* Entries from one row to the next: whole cache lines. */
static inline unsigned hnsw_row_stride(const struct hnsw *h, unsigned level)
{
	return level == 0 ? h->stride0 : h->stride;
}

/* Links a row may hold. */
static inline unsigned hnsw_row_cap(const struct hnsw *h, unsigned level)
{
	return level == 0 ? 2 * h->m : h->m;
}

static inline void hnsw_row_prefetch(const struct hnsw *h, uint32_t slot, unsigned level)
{
	const uint32_t *row = hnsw_row(h, slot, level);

	for (unsigned i = 0; i < hnsw_row_stride(h, level); i += HOP_LANES)
		__builtin_prefetch(row + i);
}

static inline uint32_t hnsw_link(const uint32_t *row, unsigned i)
{
	return __atomic_load_n(&row[i], __ATOMIC_ACQUIRE);
}

static inline bool hnsw_is_dead(const struct hnsw *h, uint32_t slot)
{
	return rows_state(h->rows, slot) == ROW_DEAD;
}

static inline uint32_t hnsw_entry(const struct hnsw *h)
{
	return __atomic_load_n(&h->entry, __ATOMIC_ACQUIRE);
}

/* Bytes of a slot in the table of norms. */
static inline size_t hnsw_norm_bytes(const struct hnsw *h)
{
	return h->coder && coder_has_norms(h->coder) ? sizeof(float) : 0;
}

/* hnsw.c */
unsigned hnsw_level_of(const struct hnsw *h, uint32_t slot); /* that it has or would have */

/* hnsw_check.c: -EILSEQ unless hnsw_check would find nothing, -ENOMEM. Quicker than that. */
int hnsw_prove(const struct hnsw *h, struct err *e);

/* hnsw_keys.c: the only place that knows what vectors are compared as. */
struct hnsw_aim {
	struct probe p;
	const struct code_query *code; /* NULL: p is compared with float rows */
	uint32_t from;                 /* or this slot, by fine codes; ROW_NONE: not so */
};

/* A stored row, as a query. */
struct probe hnsw_probe_at(const struct hnsw *h, uint32_t slot);
/* A stored row, compared nearly exactly: by fine codes where there are some, or by floats. */
struct hnsw_aim hnsw_aim_at(const struct hnsw *h, uint32_t slot);
/* A query, compared as what the graph has. The scratch keeps what is prepared. */
struct hnsw_aim hnsw_aim_for(const struct hnsw *h, struct scratch *s, const struct probe *p);
/* ret: room for n rounded up to a multiple of CODE_KEYS_AT_ONCE. */
void hnsw_keys(const struct hnsw *h, const struct hnsw_aim *q, const uint32_t *slots, unsigned n,
               float *ret);
/* What hnsw_keys will read of a slot; of a float row the pointer to it. */
static inline struct hop_ahead hnsw_ahead(const struct hnsw *h, const struct hnsw_aim *q)
{
	if (q->from != ROW_NONE)
		return (struct hop_ahead){ h->fine.at, 2 * h->code_bytes, 2 * h->code_bytes };
	if (!q->code)
		return (struct hop_ahead){ (const char *)h->rows->at, sizeof(*h->rows->at), 1 };
	return (struct hop_ahead){ h->codes.at, h->code_bytes, h->code_ahead };
}
/* NULL: there is no table of them. */
static inline const int8_t *hnsw_fine(const struct hnsw *h, uint32_t slot)
{
	return h->fine.at ? (const int8_t *)h->fine.at + 2 * slot * h->code_bytes : NULL;
}
/* Codes of a row that is about to be linked; q: hnsw_aim_for it, just made. */
void hnsw_encode(struct hnsw *h, struct scratch *s, const struct hnsw_aim *q, uint32_t slot);
/* Whether the row's code is what hnsw_encode would make of it. */
bool hnsw_code_fits(const struct hnsw *h, struct scratch *s, uint32_t slot);

/* hnsw_links.c */
void hnsw_row_lock(const struct hnsw *h, uint32_t slot);
void hnsw_row_unlock(const struct hnsw *h, uint32_t slot);
unsigned hnsw_row_read(const struct hnsw *h, uint32_t slot, unsigned level, uint32_t *ret);
/* Before the node can be found, or with its lock held. */
void hnsw_row_write(struct hnsw *h, uint32_t slot, unsigned level, const uint32_t *links,
                    unsigned n);
/*
 * Adds a link if it is not there and, when the row is full, better than one that is. _locked:
 * the caller holds slot's.
 */
void hnsw_row_add(struct hnsw *h, uint32_t slot, unsigned level, uint32_t link);
void hnsw_row_add_locked(struct hnsw *h, uint32_t slot, unsigned level, uint32_t link);
/*
 * The paper's heuristic: the links of slot, up to max, out of the scratch's beam. picks: n_forced
 * links that are taken in any case, then room for the others. fill: what the heuristic refuses is
 * taken too while there is room. Returns how many. Changes the marks of the beam.
 */
unsigned hnsw_select(const struct hnsw *h, struct scratch *s, uint32_t slot, uint32_t *picks,
                     unsigned n_forced, unsigned max, bool fill);

/* hnsw_tree.c: the spanning tree that keeps every node reachable. */
uint32_t hnsw_tree_parent(const struct hnsw *h, uint32_t slot);
bool hnsw_tree_edge(const struct hnsw *h, uint32_t a, uint32_t b);
unsigned hnsw_tree_children_max(const struct hnsw *h);
void hnsw_tree_set_root(struct hnsw *h, uint32_t slot);
/*
 * Gives a new node, whose row is written, a parent: the nearest of near that has room, or a
 * node below the first (none: fallback).
 */
void hnsw_tree_join(struct hnsw *h, uint32_t slot, const struct beam *near, uint32_t fallback);
/* Takes a node, and all below it, from its dead parent to the nearest ancestor that is not dead. */
void hnsw_tree_reparent(struct hnsw *h, uint32_t slot);

/* hnsw_walk.c */
struct hnsw_walk {
	const struct hnsw *h;
	const struct hop_kernels *hops;
	const struct hnsw_aim *q;
	struct scratch *s;
	unsigned level;
	bool live_only; /* candidates are live and pass the filter; else: are not dead */
	bool (*filter)(const void *ctx, uint32_t slot);
	const void *ctx;
};

/* Fills the scratch's beam with the ef candidates nearest to q that are found from n starts. */
void hnsw_walk_level(const struct hnsw_walk *w, const uint32_t *starts, unsigned n, uint32_t ef);
#define HNSW_STARTS_MAX 16
/* From entry down to where a walk of ef candidates on w->level starts. ret: HNSW_STARTS_MAX slots. Returns how many. */
unsigned hnsw_approach(const struct hnsw_walk *w, uint32_t entry, uint32_t ef, uint32_t *ret);
/* The nodes of the levels 2 and 1, in this order, that a walk from entry comes down through. */
uint64_t hnsw_walk_place(const struct hnsw_walk *w, uint32_t entry);
/* hnsw_search.c: the first n entries of the beam get keys as of q, and the order of these. */
void hnsw_rerank(const struct hnsw *h, struct scratch *s, const struct hnsw_aim *q, uint32_t n);
/*
 * By how many deviations of an estimate the end of a beam, filled by codes, is beyond bound, the exact
 * key of the farthest that is wanted. last: its last entry, as it was estimated. Below HNSW_MARGIN the
 * beam may lack what is nearer than that.
 */
#define HNSW_MARGIN 0.5f
float hnsw_margin(const struct hnsw *h, const struct scratch *s, uint64_t last, float bound);

#endif
