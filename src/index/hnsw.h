/*
 * hnsw.h: a hierarchical navigable small world graph (Malkov and Yashunin, 2018) over the slots of a struct rows.
 *
 * The graph holds links only; vectors stay where rows say. Inserts and searches run in parallel, any number of each.
 * What needs the whole graph alone (reserve, remove, save, check) is called under the collection's lock for writing;
 * insert, search and repair under its lock for reading.
 *
 * A slot that is not live may be traversed but is never returned. To take slots out of the graph for good:
 *     lock for writing; mark the rows ROW_DEAD; unlock; from here on none dies
 *     lock for reading; hnsw_reparent() all slots; then hnsw_detach() all slots: every node around the dead ones is
 *         connected anew; several threads may take parts; unlock
 *     the same once more while nobody inserts, which is quick; and nobody inserts until the end
 *     lock for writing; hnsw_forget() the dead slots; from now on they may be reused; unlock
 * or, where rows may die at any time, hnsw_repair() and hnsw_remove(), during which everybody waits;
 * as FreshDiskANN's consolidation does (Singh et al., 2021).
 */
#ifndef RV_INDEX_HNSW_H
#define RV_INDEX_HNSW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sections.h"
#include "vector/rows.h"

#define HNSW_M_MIN 2
#define HNSW_M_MAX 64

struct hnsw;

/* What traversal compares. Answers are put in order by float rows in any case. */
enum hnsw_quantization {
	HNSW_FLOAT = 0, /* the float rows themselves */
	HNSW_4BIT = 4,  /* vector/codes.h */
};

/*
 * "none", "4bit", or "auto": 4bit from dimension 64 on (docs/ARCHITECTURE.md says why codes).
 * false: another word, nothing is set.
 */
bool hnsw_quantization_parse(const char *s, size_t n, size_t dim, enum hnsw_quantization *ret);

struct hnsw_params {
	unsigned m;               /* links per node above level 0; 2 m on level 0 */
	unsigned ef_construction; /* candidates kept while inserting */
	uint64_t seed;            /* of the levels */
	enum hnsw_quantization quantization; /* of rows->dim, which must be known */
};

/* rows must outlive the graph. */
struct hnsw *hnsw_new(const struct rows *rows, const struct hnsw_params *params, struct err *e);
void hnsw_free(struct hnsw *h); /* NULL allowed */

/* Makes room for slots below n_slots. Lock: writing. 0 or -ENOMEM (nothing changed). */
int hnsw_reserve(struct hnsw *h, uint32_t n_slots, struct err *e);

/* Links slot (its row is set; state hidden or live; not linked yet). Lock: reading. 0 or -ENOMEM. */
int hnsw_insert(struct hnsw *h, uint32_t slot, struct err *e);

/*
 * A slot that is about to be inserted, and where in the graph as it is that will be. Those whose places
 * are near each other are compared with the same nodes: linked one after the other they find these in
 * the cache, which makes filling a large graph half as fast again.
 */
struct hnsw_waiting {
	uint64_t place;
	uint32_t slot;
	uint32_t was; /* its position: equal places keep that order */
};

/* Finds the places of n rows that are set. Lock: reading. Cost: a fiftieth of inserting them. */
void hnsw_find_places(const struct hnsw *h, struct hnsw_waiting *w, size_t n);
void hnsw_sort_places(struct hnsw_waiting *w, size_t n);

/*
 * Between these, inserts choose links by codes of eight bits, in a table of their own of a byte a
 * dimension and slot: faster, links as good. Made for filling a graph: nodes that were linked before
 * are compared by their float rows. Without memory for it, or without quantization, nothing changes.
 * Lock: writing.
 */
void hnsw_bulk_begin(struct hnsw *h);
void hnsw_bulk_end(struct hnsw *h);
bool hnsw_in_bulk(const struct hnsw *h);

/*
 * The k nearest live slots found with a candidate list of max(ef, k), nearest first. ret: k hits. Returns how many or
 * -ENOMEM. filter: NULL, or a further condition on what is returned (traversal is not narrowed). Lock: reading.
 */
int hnsw_search(const struct hnsw *h, const struct probe *q, size_t k, size_t ef,
		bool (*filter)(const void *ctx, uint32_t slot), const void *ctx, struct hit *ret);

bool hnsw_has(const struct hnsw *h, uint32_t slot); /* linked; Lock: reading */
uint32_t hnsw_count(const struct hnsw *h);          /* linked slots, dead ones included; atomic */
/*
 * Whether the disk could not read pages of the image that the graph is a view of: it may lead to less
 * than there is, or nowhere, and is to be made anew. Asked after a search it is right about that search.
 */
bool hnsw_lost(const struct hnsw *h);

struct hnsw_memory {
	size_t anonymous_bytes; /* memory of the graph's own */
	size_t mapped_bytes;    /* of an image, unchanged: the kernel may drop these pages and read them again */
};

/* What is there now, as the kernel has it (mem_map_anonymous). Lock: reading. */
struct hnsw_memory hnsw_memory(const struct hnsw *h);

/* Gives nodes among [begin, end) that hang from dead ones another place in the tree. Lock: reading. */
void hnsw_reparent(struct hnsw *h, uint32_t begin, uint32_t end);
/*
 * Reconnects the nodes among [begin, end) that link to a dead slot, until none does. hnsw_reparent went over all slots
 * since the last row died. Lock: reading. 0 or -ENOMEM.
 */
int hnsw_detach(struct hnsw *h, uint32_t begin, uint32_t end, struct err *e);
/*
 * Forgets all dead slots; calls gone for each. hnsw_detach went over all slots since the last row died and the last one
 * was inserted. Lock: writing. Cost: a look at the state of each slot.
 */
void hnsw_forget(struct hnsw *h, void (*gone)(void *ctx, uint32_t slot), void *ctx);

/*
 * The same with links kept to dead slots that others hang from, so any part may be done at any time.
 * Lock: reading. 0 or -ENOMEM.
 */
int hnsw_repair(struct hnsw *h, uint32_t begin, uint32_t end, struct err *e);
/*
 * Forgets all dead slots; calls gone for each. Nodes that were not repaired since a neighbour died
 * are repaired here, while everybody waits; otherwise it costs a look at each row. Lock: writing.
 */
void hnsw_remove(struct hnsw *h, void (*gone)(void *ctx, uint32_t slot), void *ctx);

/*
 * Image: sections of its own in w. Lock: writing, or reading with no insert and no repair under way. -EIO: hnsw_lost.
 */
int hnsw_save(const struct hnsw *h, struct sections_writer *w, struct err *e);
/*
 * From hostile bytes into a new graph (of the image's m; the seed is taken from it). -EILSEQ when
 * anything does not hold, -ENOMEM; the graph is empty then. rows->n must cover the image's slots, and
 * those that are linked, dead ones included, must have a row and not be free.
 */
int hnsw_load(struct hnsw *h, const struct sections_reader *r, struct err *e);

struct hnsw_report {
	uint32_t nodes;
	uint32_t live;
	uint32_t unreachable;   /* live nodes that no walk over level 0 from the entry point finds */
	/*
	 * Out of range, to itself, twice, to a node that is not linked, above the target's level, to a
	 * free row; edges missing in the spanning tree and circles of it (hnsw_tree.c); a wrong count.
	 */
	uint32_t broken_links;
	uint32_t bad_levels;    /* entry point not of the highest level, levels out of range */
};

/* Proves the graph sound. Lock: writing, or reading with no insert under way. 0 or -ENOMEM. Cost: O(nodes m). */
int hnsw_check(const struct hnsw *h, struct hnsw_report *ret, struct err *e);

#endif
