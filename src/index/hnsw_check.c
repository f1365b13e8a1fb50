/*
 * hnsw_check.c: proves a graph sound, and does so for any bytes: hnsw_load calls it on tables
 * it knows nothing about, and a large collection cannot be opened before it is done.
 *
 * One pass over the rows, in order, by several threads, does nearly all of it. A link must be in
 * range and name a node of the level; whether that node is sound itself is seen when the pass
 * comes by there. Nothing is looked up by a link or a parent that was not found to be in range.
 *
 * The tree's edges have to be in both rows. That a node's row has its parent is seen in the row.
 * That the parent's row has the node is a look into a far row, but need not be looked up: a link
 * to x in the row of parent[x] is counted when the pass comes by, and since no row has a link
 * twice there are as many of these as there are nodes with a parent when none is missing.
 *
 * A tree with one root, no circle, and edges in both directions connects all its nodes; what no
 * walk would find is then only to be looked for when something is wrong, or when dead nodes have
 * lost edges. hnsw_check walks in any case: it is the witness of the tests against the tree.
 */
#include <errno.h>

#include "index/hnsw_impl.h"

#include "base/mem.h"
#include "base/parallel.h"

#define PIECE        16384u /* slots that a thread takes at once */
#define PIECE_THREAD 4u     /* pieces that are worth a thread */
#define MARKS        1024u

struct tally {
	uint32_t nodes, live, bad_levels, broken, roots;
	uint32_t edges, edges_held;           /* of nodes that are not dead; seen from the parent */
	uint32_t dead_edges, dead_edges_held; /* of dead ones; seen from both sides, half each */
};

struct checking {
	const struct hnsw *h;
	uint32_t end;
	struct mutex lock;
	struct tally sum; /* lock */
};

/* Where a row's links were seen, by their last bits, so that few have to be compared. */
struct marks {
	uint32_t at[MARKS];
	uint32_t row; /* counts rows; at[] that differ are of earlier ones */
};

static uint32_t load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static bool is_among(const uint32_t *row, unsigned n, uint32_t link)
{
	for (unsigned i = 0; i < n; i++) {
		if (load(&row[i]) == link)
			return true;
	}
	return false;
}

static bool is_twice(struct marks *m, const uint32_t *row, unsigned i, uint32_t link)
{
	uint32_t *mark = &m->at[link % MARKS];

	if (*mark == m->row)
		return is_among(row, i, link);
	*mark = m->row;
	return false;
}

/*
 * The links of a row, *ret_n of them; counts those to what they must not lead to, those that are
 * there twice, and entries behind the end of the row. Links that are out of range are left out.
 */
static uint32_t read_row(const struct checking *c, struct marks *m, uint32_t slot, unsigned level,
                         uint32_t *ret, unsigned *ret_n)
{
	const struct hnsw *h = c->h;
	const uint32_t *row = hnsw_row(h, slot, level);
	unsigned stride = level == 0 ? h->stride0 : h->stride, cap = hnsw_row_cap(h, level);
	unsigned n = 0, i = 0;
	uint32_t bad = 0, link;

	m->row++;
	for (; i < cap && (link = load(&row[i])) != ROW_NONE; i++) {
		bool good = link < c->end && link != slot && hnsw_height_of(h, link) > level;

		bad += !good || is_twice(m, row, i, link);
		ret[n] = link;
		n += good;
	}
	for (; i < stride; i++)
		bad += load(&row[i]) != ROW_NONE;
	*ret_n = n;
	return bad;
}

static uint32_t parent_of(const struct hnsw *h, uint32_t slot)
{
	return load((const uint32_t *)h->parent.at + slot);
}

/* The tree as the row of slot has it: its parent, its children. */
static void check_edges(const struct checking *c, uint32_t slot, const uint32_t *links, unsigned n,
                        struct tally *t)
{
	const struct hnsw *h = c->h;
	uint32_t parent = parent_of(h, slot);
	unsigned children = 0;
	bool found = false, dead = hnsw_is_dead(h, slot);

	for (unsigned i = 0; i < n; i++) {
		found |= links[i] == parent;
		if (parent_of(h, links[i]) != slot)
			continue;
		children++;
		if (hnsw_is_dead(h, links[i]))
			t->dead_edges_held++;
		else
			t->edges_held++;
	}
	/* A dead one that a neighbour was detached from gets one more when its chain turns around. */
	t->broken += !dead && children > hnsw_tree_children_max(h);
	if (parent == ROW_NONE) {
		t->roots++;
		return;
	}
	t->broken += parent >= c->end || hnsw_height_of(h, parent) == 0;
	if (dead) {
		t->dead_edges += 2;
		t->dead_edges_held += found;
	} else {
		t->edges++;
		t->broken += !found;
	}
}

static void check_node(const struct checking *c, struct marks *m, uint32_t slot, unsigned height,
                       struct tally *t)
{
	const struct hnsw *h = c->h;
	uint32_t entry = hnsw_entry(h), links[HNSW_ROW_MAX];
	unsigned entry_height = entry < c->end ? hnsw_height_of(h, entry) : 0, n;
	enum row_state state = rows_state(h->rows, slot);

	t->nodes++;
	t->live += state == ROW_LIVE;
	t->broken += state == ROW_FREE || !rows_at(h->rows, slot);
	t->bad_levels += height > entry_height;
	if (height != hnsw_level_of(h, slot) + 1) {
		t->bad_levels++; /* its upper rows belong to others */
		return;
	}
	t->broken += read_row(c, m, slot, 0, links, &n);
	check_edges(c, slot, links, n, t);
	for (unsigned level = 1; level < height; level++)
		t->broken += read_row(c, m, slot, level, links, &n);
}

static void add(struct tally *sum, const struct tally *t)
{
	sum->nodes += t->nodes;
	sum->live += t->live;
	sum->bad_levels += t->bad_levels;
	sum->broken += t->broken;
	sum->roots += t->roots;
	sum->edges += t->edges;
	sum->edges_held += t->edges_held;
	sum->dead_edges += t->dead_edges;
	sum->dead_edges_held += t->dead_edges_held;
}

static void check_piece(void *ctx, uint32_t i)
{
	struct checking *c = ctx;
	uint32_t begin = i * PIECE, end = c->end - begin < PIECE ? c->end : begin + PIECE;
	struct marks m = { 0 };
	struct tally t = { 0 };

	for (uint32_t slot = begin; slot < end; slot++) {
		unsigned height = hnsw_height_of(c->h, slot);

		if (height)
			check_node(c, &m, slot, height, &t);
	}
	mutex_lock(&c->lock);
	add(&c->sum, &t);
	mutex_unlock(&c->lock);
}

static struct tally check_rows(const struct hnsw *h)
{
	struct checking c = { .h = h, .end = hnsw_end(h) };
	uint32_t pieces = c.end / PIECE + (c.end % PIECE != 0);

	mutex_init(&c.lock);
	parallel_run(pieces, pieces / PIECE_THREAD + 1, check_piece, &c);
	mutex_destroy(&c.lock);
	for (uint32_t slot = c.end; slot < h->cap; slot++)
		c.sum.broken += hnsw_height_of(h, slot) != 0;
	return c.sum;
}

/*
 * Follows parents upward. Each node is stamped with the walk that came by first: meeting one's
 * own stamp again is a circle. A circle somewhere goes up to a higher slot, so it is enough to
 * start where that is so, which is seldom: parents are mostly older than their children.
 */
static uint32_t circles(const struct hnsw *h, uint32_t *stamp)
{
	uint32_t n = 0, end = hnsw_end(h), at;

	for (uint32_t slot = 0; slot < end; slot++) {
		uint32_t parent = parent_of(h, slot);

		if (parent == ROW_NONE || parent < slot || hnsw_height_of(h, slot) == 0)
			continue;
		for (at = slot; at != ROW_NONE && stamp[at] == 0; at = parent_of(h, at))
			stamp[at] = slot + 1;
		n += at != ROW_NONE && stamp[at] == slot + 1;
	}
	return n;
}

/* Everything that level 0 leads to from the entry point, by breadth. queue: a slot per node. */
static uint32_t count_reached_live(const struct hnsw *h, struct scratch *s, uint32_t *queue)
{
	uint32_t n_queue = 1, live = 0, links[HNSW_ROW_MAX];
	unsigned n;

	hnsw_scratch_clear_seen(s);
	queue[0] = hnsw_entry(h);
	hnsw_scratch_see(s, queue[0]);
	for (uint32_t head = 0; head < n_queue; head++) {
		live += rows_state(h->rows, queue[head]) == ROW_LIVE;
		n = hnsw_row_read(h, queue[head], 0, links);
		for (unsigned i = 0; i < n; i++) {
			if (!hnsw_scratch_see(s, links[i]))
				queue[n_queue++] = links[i];
		}
	}
	return live;
}

static bool entry_is_good(const struct hnsw *h)
{
	uint32_t entry = hnsw_entry(h);

	return entry < hnsw_end(h) && hnsw_height_of(h, entry) > 0;
}

static uint32_t difference(uint32_t a, uint32_t b)
{
	return a > b ? a - b : b - a;
}

/* Every link is in range and to a node; then the tree: one root, no circle, every edge. */
static void check_tree(const struct hnsw *h, const struct tally *t, uint32_t *stamp,
                       struct hnsw_report *ret)
{
	uint32_t bad = difference(t->edges, t->edges_held) + (t->roots != 1);

	ret->broken_links += bad ? bad : circles(h, stamp);
}

static int check(const struct hnsw *h, bool walk, struct hnsw_report *ret, struct err *e)
{
	struct scratch_pool *pool = (struct scratch_pool *)&h->pool;
	uint32_t *table = mem_zalloc(hnsw_end(h), sizeof(*table));
	struct scratch *s = hnsw_scratch_get(pool, h->cap, 1);
	struct tally t;
	int rc = 0;

	*ret = (struct hnsw_report){ 0 };
	if (!table || !s) {
		rc = err_nomem(e);
		goto out;
	}
	t = check_rows(h);
	*ret = (struct hnsw_report){ .nodes = t.nodes,
		                     .live = t.live,
		                     .unreachable = t.live,
		                     .broken_links = t.broken + (t.nodes != hnsw_count(h)),
		                     .bad_levels = t.bad_levels };
	ret->bad_levels += t.nodes ? !entry_is_good(h) : hnsw_entry(h) != ROW_NONE;
	if (ret->broken_links || ret->bad_levels || t.nodes == 0)
		goto out;
	check_tree(h, &t, table, ret);
	if (walk || ret->broken_links || t.dead_edges != t.dead_edges_held)
		ret->unreachable = t.live - count_reached_live(h, s, table);
	else
		ret->unreachable = 0;
out:
	if (s)
		hnsw_scratch_put(pool, s);
	mem_free(table);
	return rc;
}

int hnsw_check(const struct hnsw *h, struct hnsw_report *ret, struct err *e)
{
	return check(h, true, ret, e);
}

int hnsw_prove(const struct hnsw *h, struct err *e)
{
	struct hnsw_report report;
	int rc = check(h, false, &report, e);

	if (rc < 0)
		return rc;
	if (report.broken_links || report.bad_levels || report.unreachable)
		return err_set(e, -EILSEQ,
		               "graph with %u broken links, %u bad levels, %u unreachable rows",
		               report.broken_links, report.bad_levels, report.unreachable);
	return 0;
}
