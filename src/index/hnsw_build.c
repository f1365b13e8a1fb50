/*
 * hnsw_build.c: inserting a node (the paper's Algorithm 1).
 *
 * The order is what makes it safe beside searches and other inserts:
 *   1. neighbours are found and chosen on all levels; nobody can see the node yet;
 *   2. its own rows are written, on all levels;
 *   3. a parent adopts it (hnsw_tree.c): now it can be found;
 *   4. its neighbours get links to it, level 0 first. Were a higher level first, another thread
 *      could come down through the node to a level where it has nothing to offer yet.
 *   5. If it is higher than the entry point, it becomes the entry point. Such a node is
 *      inserted alone among those that are, or two of them would not know each other on the
 *      levels that only they have.
 *
 * A node starts with m links on level 0, with what the heuristic chooses above; the other half of
 * its row on level 0 is for nodes that come later and link back. Starting with 2 m was tried: slower to build, and less recall,
 * since links to it then displace better ones.
 *
 * In a graph with codes the candidates are found by codes, then put in order by float rows, and
 * links are chosen by these: a walk may miss a candidate, but no estimate decides about a link.
 *
 * Dead nodes are walked through but not linked to. Only when nothing else is there is a dead
 * node taken as parent; hnsw_repair or hnsw_remove then find a new one.
 */
#include "base/thread.h"
#include "index/hnsw_impl.h"

#define ROWS_AT_ONCE 4 /* until others may pass */

struct insertion {
	struct hnsw *h;
	struct scratch *s;
	uint32_t slot;
	unsigned level;
	struct hnsw_aim q; /* the row as a query */
	unsigned n_picks[HNSW_LEVEL_MAX + 1];
};

static uint32_t *picks_of(const struct insertion *in, unsigned level)
{
	return in->s->picks + (size_t)level * in->h->stride0;
}

/* Where the walk on the next level down starts: the nearest few. Nothing found: where this one did. */
static unsigned take_starts(const struct beam *b, uint32_t *starts)
{
	unsigned n = b->n < HNSW_STARTS_MAX ? b->n : HNSW_STARTS_MAX;

	for (unsigned i = 0; i < n; i++)
		starts[i] = beam_slot(b->at[i]);
	return n ? n : 1;
}

/*
 * Puts the candidates in order. Where estimates tell too little of the m nearest, another walk, from
 * the best of them.
 */
static void rerank(struct insertion *in, const struct hnsw_walk *w, const struct hnsw_aim *row)
{
	struct beam *b = &in->s->beam;
	uint64_t last = b->n ? b->at[b->n - 1] : 0;
	uint32_t starts[HNSW_STARTS_MAX];
	struct hnsw_walk exact = *w;

	hnsw_rerank(in->h, in->s, row, b->n);
	if (b->n <= in->h->m ||
	    !(hnsw_margin(in->h, in->s, last, beam_key(b->at[in->h->m - 1])) < HNSW_MARGIN))
		return;
	exact.q = row;
	hnsw_walk_level(&exact, starts, take_starts(b, starts), b->ef);
}

/* Step 1, on the levels that node and graph share. Returns the node of level 0 nearest to it. */
static uint32_t choose_neighbours(struct insertion *in, uint32_t entry, unsigned top)
{
	struct hnsw_aim row = hnsw_aim_at(in->h, in->slot);
	struct hnsw_walk w = { .h = in->h, .hops = hop_kernels_get(), .q = &in->q, .s = in->s };
	struct beam *b = &in->s->beam;
	uint32_t starts[HNSW_STARTS_MAX], near;
	unsigned n;

	w.level = in->level < top ? in->level : top;
	n = hnsw_approach(&w, entry, in->h->ef_construction, starts);
	near = starts[0];
	for (;; w.level--) {
		hnsw_walk_level(&w, starts, n, in->h->ef_construction);
		if (in->q.code)
			rerank(in, &w, &row);
		thread_lets_pass();
		in->n_picks[w.level] = hnsw_select(in->h, in->s, in->slot, picks_of(in, w.level), 0,
		                                   in->h->m, w.level == 0);
		if (b->n)
			near = beam_slot(b->at[0]);
		if (w.level == 0)
			return near;
		n = take_starts(b, starts);
	}
}

static void write_rows(struct insertion *in)
{
	for (unsigned level = 0; level <= in->level; level++)
		hnsw_row_write(in->h, in->slot, level, picks_of(in, level), in->n_picks[level]);
	__atomic_store_n(hnsw_height(in->h, in->slot), in->level + 1, __ATOMIC_RELEASE);
}

/*
 * A row that is full will lose a link, for which all of its links are compared: their fine codes are
 * asked of memory while the row before it is worked on.
 */
static void prefetch_links(const struct hnsw *h, uint32_t slot, unsigned level)
{
	struct hop_ahead ahead = { h->fine.at, 2 * h->code_bytes, 2 * h->code_bytes };
	uint32_t links[HNSW_ROW_MAX];
	unsigned n = hnsw_row_read(h, slot, level, links);

	if (!h->fine.at || n < hnsw_row_cap(h, level))
		return;
	for (unsigned i = 0; i < n; i++)
		hop_prefetch(&ahead, links[i]);
}

static void link_back_on(struct insertion *in, unsigned level)
{
	const uint32_t *picks = picks_of(in, level);
	unsigned n = in->n_picks[level];

	for (unsigned i = 0; i < n; i++)
		hnsw_row_prefetch(in->h, picks[i], level);
	for (unsigned i = 0; i < n; i++) {
		if (i + 1 < n)
			prefetch_links(in->h, picks[i + 1], level);
		hnsw_row_add(in->h, picks[i], level, in->slot);
		if (i % ROWS_AT_ONCE == 0)
			thread_lets_pass();
	}
}

static void link_back(struct insertion *in)
{
	for (unsigned level = 0; level <= in->level; level++)
		link_back_on(in, level);
}

static void set_entry(struct hnsw *h, uint32_t slot)
{
	__atomic_store_n(&h->entry, slot, __ATOMIC_RELEASE);
}

static void insert_near(struct insertion *in, uint32_t entry)
{
	unsigned top = hnsw_height_of(in->h, entry) - 1;
	uint32_t near = choose_neighbours(in, entry, top);

	write_rows(in);
	hnsw_tree_join(in->h, in->slot, &in->s->beam, near);
	link_back(in);
	if (in->level > top)
		set_entry(in->h, in->slot); /* raise is held */
}

static void insert_first(struct insertion *in)
{
	hnsw_tree_set_root(in->h, in->slot);
	write_rows(in);
	set_entry(in->h, in->slot);
}

static bool is_above(const struct insertion *in, uint32_t entry)
{
	return entry == ROW_NONE || in->level >= hnsw_height_of(in->h, entry);
}

static void insert_as_entry(struct insertion *in)
{
	uint32_t entry;

	mutex_lock(&in->h->raise);
	entry = hnsw_entry(in->h);
	if (entry == ROW_NONE)
		insert_first(in);
	else
		insert_near(in, entry);
	mutex_unlock(&in->h->raise);
}

int hnsw_insert(struct hnsw *h, uint32_t slot, struct err *e)
{
	struct insertion in = { .h = h, .slot = slot, .level = hnsw_level_of(h, slot) };
	struct probe p = hnsw_probe_at(h, slot);
	uint32_t entry = hnsw_entry(h);

	in.s = hnsw_scratch_get(&h->pool, h->cap, h->ef_construction);
	if (!in.s)
		return err_nomem(e);
	in.q = hnsw_aim_for(h, in.s, &p);
	if (h->coder)
		hnsw_encode(h, in.s, &in.q, slot);
	if (is_above(&in, entry))
		insert_as_entry(&in);
	else
		insert_near(&in, entry);
	hnsw_scratch_put(&h->pool, in.s);
	__atomic_fetch_add(&h->count, 1, __ATOMIC_RELAXED);
	return 0;
}
