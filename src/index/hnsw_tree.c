/*
 * hnsw_tree.c: a spanning tree inside level 0, so that no node is ever lost.
 *
 * A link to a node exists because some other node found it near enough. When rows fill up, the
 * last link to a node can be pruned: the node is still stored but no search finds it, which
 * happens to a few nodes in ordinary data and to many among duplicates. Here each node but one has a parent, the nearest node found at its
 * insertion that had room, and
 *
 *     for each node: its row holds its parent, and its parent's row holds it (a tree edge), and
 *     neither link is pruned.
 *
 * A tree with edges in both directions connects every node with every other, whichever is the
 * entry point. It costs four bytes a node, and little of the rows: a node has one child on
 * average. It may have at most m children, half of its row on level 0; what comes then is
 * passed on to a child. So of the 2 m links at least m - 1 are free to be chosen by the
 * heuristic, even for the hub of a pile of duplicates.
 *
 * Two ways to change the tree. A new node is a leaf, so giving it a parent cannot close a
 * circle: it needs the parent's row lock only. When a parent dies its children need another,
 * and here a circle is the danger: the new parent must not be below the child. The nearest
 * ancestor a that is not dead cannot be. So with a chain of dead nodes d1 ... dk between,
 *
 *     a -> dk -> ... -> d1 -> c      becomes      a -> c -> d1 -> ... -> dk
 *
 * The links c - d1 - ... - dk are all there; parents just change sides. Row a gives its tree
 * edge to dk for one to c, so it never runs out of room. The dead stay connected, below c, and
 * with them the children that they still have, until those are taken up in the same way (they
 * find c as their nearest ancestor that is not dead). When there is no a, c becomes the root;
 * when c has m children already, d1 goes below one of them. Following a chain takes as long as
 * it is: in the order of slots, which is mostly from the top down, chains are found short.
 *
 * Locks: `tree` for all but the adoption of a leaf by a node that is not dead; so rows of dead
 * nodes change under it only. hnsw_tree_reparent alone holds more than one row lock at once.
 * parent[x] of a node that is not dead is written under the row lock of the new parent.
 */
#include "index/hnsw_impl.h"

static uint32_t *parent_of(const struct hnsw *h, uint32_t slot)
{
	return (uint32_t *)h->parent.at + slot;
}

uint32_t hnsw_tree_parent(const struct hnsw *h, uint32_t slot)
{
	return __atomic_load_n(parent_of(h, slot), __ATOMIC_RELAXED);
}

static void set_parent(struct hnsw *h, uint32_t slot, uint32_t parent)
{
	__atomic_store_n(parent_of(h, slot), parent, __ATOMIC_RELAXED);
}

bool hnsw_tree_edge(const struct hnsw *h, uint32_t a, uint32_t b)
{
	return hnsw_tree_parent(h, a) == b || hnsw_tree_parent(h, b) == a;
}

/* Leaves m - 1 of the 2 m links for others beside the parent. */
unsigned hnsw_tree_children_max(const struct hnsw *h)
{
	return h->m;
}

void hnsw_tree_set_root(struct hnsw *h, uint32_t slot)
{
	set_parent(h, slot, ROW_NONE);
}

/* The children of slot. ret: HNSW_ROW_MAX slots. */
static unsigned children(const struct hnsw *h, uint32_t slot, uint32_t *ret)
{
	uint32_t links[HNSW_ROW_MAX];
	unsigned n_links = hnsw_row_read(h, slot, 0, links), n = 0;

	for (unsigned i = 0; i < n_links; i++) {
		if (hnsw_tree_parent(h, links[i]) == slot)
			ret[n++] = links[i];
	}
	return n;
}

/* Makes parent the parent of slot if it has room. slot's own row is the caller's. */
static bool adopt(struct hnsw *h, uint32_t parent, uint32_t slot)
{
	uint32_t those[HNSW_ROW_MAX];
	bool ok;

	hnsw_row_lock(h, parent);
	ok = children(h, parent, those) < hnsw_tree_children_max(h);
	if (ok) {
		set_parent(h, slot, parent);
		hnsw_row_add_locked(h, parent, 0, slot);
	}
	hnsw_row_unlock(h, parent);
	return ok;
}

/* A child of slot, which has some: one that is not dead if there is one, not always the same. */
static uint32_t some_child(const struct hnsw *h, uint32_t slot, unsigned turn)
{
	uint32_t those[HNSW_ROW_MAX], child = ROW_NONE;
	unsigned n;

	hnsw_row_lock(h, slot);
	n = children(h, slot, those);
	hnsw_row_unlock(h, slot);
	for (unsigned i = 0; i < n; i++) {
		child = those[(turn + i) % n];
		if (!hnsw_is_dead(h, child))
			break;
	}
	return child;
}

/*
 * Goes down from top to a node with room, which a leaf has, and makes it slot's parent. slot is
 * not below top.
 */
static uint32_t adopt_below(struct hnsw *h, uint32_t top, uint32_t slot)
{
	uint32_t at = top, child;

	for (unsigned turn = slot; !adopt(h, at, slot); turn++) {
		child = some_child(h, at, turn);
		at = child != ROW_NONE ? child : at; /* NONE: they just left, there is room now */
	}
	return at;
}

void hnsw_tree_join(struct hnsw *h, uint32_t slot, const struct beam *near, uint32_t fallback)
{
	uint32_t parent = ROW_NONE;

	set_parent(h, slot, ROW_NONE);
	for (uint32_t i = 0; i < near->n && parent == ROW_NONE; i++) {
		if (adopt(h, beam_slot(near->at[i]), slot))
			parent = beam_slot(near->at[i]);
	}
	if (parent == ROW_NONE) {
		mutex_lock(&h->tree);
		parent = adopt_below(h, near->n ? beam_slot(near->at[0]) : fallback, slot);
		mutex_unlock(&h->tree);
	}
	hnsw_row_add(h, slot, 0, parent);
	if (hnsw_is_dead(h, parent))
		hnsw_tree_reparent(h, slot);
}

/* The nearest ancestor of d1 that is not dead, or ROW_NONE. */
static uint32_t end_of_chain(const struct hnsw *h, uint32_t d1)
{
	uint32_t a = hnsw_tree_parent(h, d1);

	while (a != ROW_NONE && hnsw_is_dead(h, a))
		a = hnsw_tree_parent(h, a);
	return a;
}

/*
 * Turns the chain of dead parents from d1 to before end around; d1 is left without a parent of
 * its own.
 */
static void turn_chain(struct hnsw *h, uint32_t d1, uint32_t end)
{
	uint32_t below = d1, at = hnsw_tree_parent(h, d1), above;

	for (; at != end; below = at, at = above) {
		above = hnsw_tree_parent(h, at);
		set_parent(h, at, below);
	}
}

/*
 * Hangs d1 below c, whose row is locked: as a child, to which links exist, or below a child
 * when c has enough.
 */
static void hang_below(struct hnsw *h, uint32_t c, uint32_t d1)
{
	uint32_t those[HNSW_ROW_MAX], home;
	unsigned n = children(h, c, those);

	if (n == 0 || n < hnsw_tree_children_max(h)) {
		set_parent(h, d1, c);
		return;
	}
	home = adopt_below(h, those[d1 % n], d1);
	hnsw_row_add(h, d1, 0, home);
}

static void reparent_locked(struct hnsw *h, uint32_t c)
{
	uint32_t d1 = hnsw_tree_parent(h, c), a = end_of_chain(h, d1);

	hnsw_row_lock(h, c);
	if (a != ROW_NONE)
		hnsw_row_lock(h, a);
	turn_chain(h, d1, a);
	hang_below(h, c, d1);
	set_parent(h, c, a);
	if (a != ROW_NONE) {
		hnsw_row_add_locked(h, c, 0, a);
		hnsw_row_add_locked(h, a, 0, c);
		hnsw_row_unlock(h, a);
	}
	hnsw_row_unlock(h, c);
}

static bool is_orphan(const struct hnsw *h, uint32_t slot)
{
	uint32_t parent = hnsw_tree_parent(h, slot);

	return parent != ROW_NONE && hnsw_is_dead(h, parent);
}

void hnsw_tree_reparent(struct hnsw *h, uint32_t slot)
{
	if (!is_orphan(h, slot))
		return;
	mutex_lock(&h->tree);
	if (is_orphan(h, slot))
		reparent_locked(h, slot);
	mutex_unlock(&h->tree);
}
