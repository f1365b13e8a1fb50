/*
 * hnsw.c: a hierarchical navigable small world graph: its life, its tables, its levels.
 *
 * After Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using
 * hierarchical navigable small world graphs" (2018). In short: every vector is a node; a node
 * has links to some of its neighbours, chosen so that they lie in different directions; a
 * search walks from node to node, always from the nearest one it knows. Some nodes are also on
 * level 1, fewer of them on level 2 and so on, each level a graph of its own with longer links,
 * so that a search starts at the top, finds its neighbourhood in few steps, and looks around
 * properly on level 0 only.
 *
 * How this one departs from the paper, and which file says why:
 *  1. Candidates are one sorted array instead of two heaps (beam.h).
 *  2. A full row gives up one link at a time, the farthest that the heuristic refuses, instead
 *     of all it refuses: rows stay full (hnsw_links.c). On its way down a walk keeps several
 *     nodes on the last level above (hnsw_search.c).
 *  3. The paper's graph can lose the last link to a node when rows are pruned, and
 *     implementations of it do. Here a spanning tree runs through level 0 whose links are never
 *     pruned, so every node stays reachable from every other (hnsw_tree.c).
 *  4. Nodes can be deleted: dead ones are walked through but not returned, the nodes around
 *     them get new links, then they are forgotten and their slots may be used again
 *     (hnsw_delete.c).
 *  5. Inserts and searches run in parallel, searches without any lock (hnsw_impl.h).
 *  6. Traversal may compare short codes instead of the vectors (vector/codes.h); the best
 *     candidates are then put in order by the vectors themselves (hnsw_search.c).
 *  7. A walk expands its next candidate before the results of this one are known, so that memory
 *     is asked for one while the other is compared (hnsw_walk.c); and many vectors that wait are
 *     linked in an order in which neighbours follow one another (hnsw_order.c).
 *  8. A node's level is not drawn but computed from a seed and its slot, so that a rebuild
 *     gives the same levels and no table has to be laid out again (below).
 */
#include "index/hnsw.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "index/hnsw_impl.h"

#define ROW_ALIGN                                                                                  \
	16 /* entries; a cache line of links, so that rows can be loaded by whole registers */

#define CODED_DIM_MIN 64  /* "auto" uses codes from here on */
#define CODE_AHEAD    512 /* bytes of a code fetched ahead; the hardware follows from there */

static unsigned round_up(unsigned n, unsigned unit)
{
	return (n + unit - 1) / unit * unit;
}

bool hnsw_quantization_parse(const char *s, size_t n, size_t dim, enum hnsw_quantization *ret)
{
	if (n == 4 && memcmp(s, "none", n) == 0)
		*ret = HNSW_FLOAT;
	else if (n == 4 && memcmp(s, "4bit", n) == 0)
		*ret = HNSW_4BIT;
	else if (n == 4 && memcmp(s, "auto", n) == 0)
		*ret = dim >= CODED_DIM_MIN ? HNSW_4BIT : HNSW_FLOAT;
	else
		return false;
	return true;
}

static bool make_coder(struct hnsw *h, struct err *e)
{
	h->coder = coder_new(h->rows->dim, h->rows->metric, e);
	if (!h->coder)
		return false;
	h->code_bytes = coder_bytes(h->coder);
	h->code_ahead = h->code_bytes < CODE_AHEAD ? h->code_bytes : CODE_AHEAD;
	return true;
}

struct hnsw *hnsw_new(const struct rows *rows, const struct hnsw_params *params, struct err *e)
{
	struct hnsw *h;

	if (params->m < HNSW_M_MIN || params->m > HNSW_M_MAX || params->ef_construction == 0) {
		err_set(e, -EINVAL, "m %u is not between %d and %d, or ef_construction %u is 0",
		        params->m, HNSW_M_MIN, HNSW_M_MAX, params->ef_construction);
		return NULL;
	}
	h = mem_zalloc(1, sizeof(*h));
	if (!h) {
		err_nomem(e);
		return NULL;
	}
	h->rows = rows;
	h->m = params->m;
	h->ef_construction = params->ef_construction;
	h->seed = params->seed;
	h->stride0 = round_up(2 * h->m, ROW_ALIGN);
	h->stride = round_up(h->m, ROW_ALIGN);
	h->entry = ROW_NONE;
	if (params->quantization == HNSW_4BIT && !make_coder(h, e)) {
		mem_free(h);
		return NULL;
	}
	mutex_init(&h->raise);
	mutex_init(&h->tree);
	hnsw_scratch_pool_init(&h->pool, h->stride0, HNSW_LEVEL_MAX + 1,
	                       h->coder ? coder_width(h->coder) : 0);
	return h;
}

static void table_free(struct hnsw_table *t)
{
	mapped_unwatch(t->watch);
	mem_map_free(t->at, t->bytes);
}

void hnsw_free(struct hnsw *h)
{
	if (!h)
		return;
	hnsw_scratch_pool_release(&h->pool);
	mutex_destroy(&h->tree);
	mutex_destroy(&h->raise);
	table_free(&h->links0);
	table_free(&h->links);
	table_free(&h->upper_base);
	table_free(&h->parent);
	table_free(&h->level);
	table_free(&h->lock);
	table_free(&h->codes);
	table_free(&h->norms);
	table_free(&h->fine);
	coder_free(h->coder);
	mem_free(h);
}

/*
 * Levels. A node is on level l with probability m^-l (the paper's mL = 1 / ln m). The number it
 * is decided by is a hash of seed and slot, scaled by multiplications that round alike on every
 * machine. Slots are not chosen by clients, so deleting and inserting cannot be used to skew
 * the levels.
 */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

unsigned hnsw_level_of(const struct hnsw *h, uint32_t slot)
{
	double u = (double)(mix(h->seed ^ mix(slot)) >> 11) * 0x1p-53;
	unsigned level = 0;

	while (level < HNSW_LEVEL_MAX && (u *= h->m) < 1)
		level++;
	return level;
}

static bool table_grow(struct hnsw_table *t, size_t n, size_t size)
{
	size_t bytes = n * size;
	void *at;

	if (bytes <= t->bytes)
		return true;
	at = mem_map_file_grow(t->at, t->file_bytes, t->bytes, bytes);
	if (!at)
		return false;
	mem_map_advise_large(at, bytes);
	if (t->watch)
		mapped_moved(t->watch, at);
	t->at = at;
	t->bytes = bytes;
	return true;
}

/*
 * Where the upper rows of slots [h->cap, cap) begin. Returns the number of upper rows of all
 * slots below cap.
 */
static uint32_t lay_out_upper_rows(struct hnsw *h, uint32_t cap)
{
	uint32_t *base = h->upper_base.at, next = h->upper_cap;

	for (uint32_t slot = h->cap; slot < cap; slot++) {
		base[slot] = next;
		next += hnsw_level_of(h, slot);
	}
	return next;
}

/* Some more than asked for, since address space is free and moving tables is not. */
static uint32_t rounded_cap(uint32_t n_slots)
{
	uint64_t cap = (uint64_t)n_slots + n_slots / 16 + 1024;

	return cap < BEAM_SLOT_MAX ? (uint32_t)cap : BEAM_SLOT_MAX;
}

static bool grow_codes(struct hnsw *h, uint32_t cap)
{
	return !h->coder || (table_grow(&h->codes, cap, h->code_bytes) &&
	                     table_grow(&h->norms, cap, hnsw_norm_bytes(h)) &&
	                     (!h->fine.at || table_grow(&h->fine, cap, 2 * h->code_bytes)));
}

int hnsw_reserve(struct hnsw *h, uint32_t n_slots, struct err *e)
{
	uint32_t cap = rounded_cap(n_slots), upper_cap;

	if (n_slots <= h->cap)
		return 0;
	if (n_slots > BEAM_SLOT_MAX)
		return err_set(e, -ENOMEM, "the graph ends at %u slots", BEAM_SLOT_MAX);
	if (!table_grow(&h->upper_base, cap, sizeof(uint32_t)))
		return err_nomem(e);
	upper_cap = lay_out_upper_rows(h, cap);
	if (!table_grow(&h->links0, cap, h->stride0 * sizeof(uint32_t)) ||
	    !table_grow(&h->links, (size_t)upper_cap + 1, h->stride * sizeof(uint32_t)) ||
	    !table_grow(&h->parent, cap, sizeof(uint32_t)) || !table_grow(&h->level, cap, 1) ||
	    !table_grow(&h->lock, cap, 1) || !grow_codes(h, cap))
		return err_nomem(e);
	h->cap = cap;
	h->upper_cap = upper_cap;
	return 0;
}

void hnsw_bulk_begin(struct hnsw *h)
{
	if (h->coder && !h->fine.at)
		table_grow(&h->fine, h->cap, 2 * h->code_bytes);
	h->some_coarse = h->count > 0;
}

void hnsw_bulk_end(struct hnsw *h)
{
	table_free(&h->fine);
	h->fine = (struct hnsw_table){ 0 };
}

bool hnsw_in_bulk(const struct hnsw *h)
{
	return h->fine.at != NULL;
}

bool hnsw_has(const struct hnsw *h, uint32_t slot)
{
	return slot < h->cap && hnsw_height_of(h, slot) != 0;
}

bool hnsw_lost(const struct hnsw *h)
{
	return atomic_load_explicit(&h->lost, memory_order_acquire) > 0;
}

uint32_t hnsw_count(const struct hnsw *h)
{
	return __atomic_load_n(&h->count, __ATOMIC_RELAXED);
}

static void add_table(struct hnsw_memory *m, const struct hnsw_table *t)
{
	size_t changed = t->file_bytes ? mem_map_anonymous(t->at, t->file_bytes) : 0;

	m->mapped_bytes += t->file_bytes - changed;
	m->anonymous_bytes += changed;
	if (t->at)
		m->anonymous_bytes += mem_map_anonymous((char *)t->at + t->file_bytes,
		                                        t->bytes - t->file_bytes);
}

struct hnsw_memory hnsw_memory(const struct hnsw *h)
{
	const struct hnsw_table *const tables[] = { &h->links0, &h->links, &h->upper_base,
		                                    &h->parent, &h->level, &h->lock,
		                                    &h->codes,  &h->norms, &h->fine };
	struct hnsw_memory m = {
		.anonymous_bytes = sizeof(*h) +
		                   hnsw_scratch_pool_bytes((struct scratch_pool *)&h->pool),
	};

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		add_table(&m, tables[i]);
	return m;
}
