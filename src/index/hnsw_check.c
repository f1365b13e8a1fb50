/*
 * hnsw_check.c: proves a graph sound, and does so for any bytes: hnsw_load calls it on tables
 * it knows nothing about.
 *
 * Order matters: links are walked and tree edges looked up only when every one of them was
 * found to be in range.
 */
#include "index/hnsw_impl.h"

#include "base/mem.h"

static uint32_t load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static void count_node(const struct hnsw *h, uint32_t slot, struct hnsw_report *ret)
{
	unsigned height = hnsw_height_of(h, slot), entry_height;
	uint32_t entry = hnsw_entry(h);

	ret->nodes++;
	ret->live += rows_state(h->rows, slot) == ROW_LIVE;
	entry_height = entry < hnsw_end(h) ? hnsw_height_of(h, entry) : 0;
	ret->bad_levels += height != hnsw_level_of(h, slot) + 1 || height > entry_height;
}

static bool link_is_good(const struct hnsw *h, uint32_t slot, unsigned level, uint32_t link)
{
	return link < hnsw_end(h) && link != slot && hnsw_height_of(h, link) > level &&
	       rows_state(h->rows, link) != ROW_FREE && rows_at(h->rows, link);
}

/* Links to what they must not, twice the same, and entries after the end of the row. */
static uint32_t bad_links(const struct hnsw *h, uint32_t slot, unsigned level)
{
	const uint32_t *row = hnsw_row(h, slot, level);
	unsigned stride = level == 0 ? h->stride0 : h->stride, cap = hnsw_row_cap(h, level);
	uint32_t bad = 0;
	bool ended = false;

	for (unsigned i = 0; i < stride; i++) {
		uint32_t link = load(&row[i]);
		bool twice = false;

		if (link == ROW_NONE) {
			ended = true;
			continue;
		}
		for (unsigned j = 0; j < i; j++)
			twice |= load(&row[j]) == link;
		bad += ended || i >= cap || twice || !link_is_good(h, slot, level, link);
	}
	return bad;
}

static void check_links(const struct hnsw *h, struct hnsw_report *ret)
{
	uint32_t end = hnsw_end(h);

	for (uint32_t slot = 0; slot < end; slot++) {
		unsigned height = hnsw_height_of(h, slot);

		if (height == 0)
			continue;
		count_node(h, slot, ret);
		ret->broken_links += rows_state(h->rows, slot) == ROW_FREE ||
		                     !rows_at(h->rows, slot);
		if (height != hnsw_level_of(h, slot) + 1)
			continue; /* its upper rows belong to others */
		for (unsigned level = 0; level < height; level++)
			ret->broken_links += bad_links(h, slot, level);
	}
	for (uint32_t slot = end; slot < h->cap; slot++)
		ret->broken_links += hnsw_height_of(h, slot) != 0;
}

static bool has_link(const struct hnsw *h, uint32_t slot, uint32_t link)
{
	uint32_t links[HNSW_ROW_MAX];
	unsigned n = hnsw_row_read(h, slot, 0, links);

	for (unsigned i = 0; i < n; i++) {
		if (links[i] == link)
			return true;
	}
	return false;
}

/*
 * A parent that is a node, and links both ways. A dead node needs none: what hangs from it is
 * found by parents alone.
 */
static bool tree_edge_is_good(const struct hnsw *h, uint32_t slot)
{
	uint32_t parent = hnsw_tree_parent(h, slot);

	if (parent == ROW_NONE)
		return true;
	if (parent >= hnsw_end(h) || hnsw_height_of(h, parent) == 0)
		return false;
	return hnsw_is_dead(h, slot) || (has_link(h, slot, parent) && has_link(h, parent, slot));
}

static bool node_is_crowded(const struct hnsw *h, uint32_t slot)
{
	uint32_t links[HNSW_ROW_MAX];
	unsigned n_links = hnsw_row_read(h, slot, 0, links), n = 0;

	for (unsigned i = 0; i < n_links; i++)
		n += hnsw_tree_parent(h, links[i]) == slot;
	return n > hnsw_tree_children_max(h);
}

/*
 * Follows parents upward from every node. Each node is stamped with the walk that came by
 * first: meeting one's own stamp again is a circle.
 */
static uint32_t circles(const struct hnsw *h, uint32_t *stamp)
{
	uint32_t n = 0, at;

	for (uint32_t slot = 0; slot < hnsw_end(h); slot++) {
		if (hnsw_height_of(h, slot) == 0)
			continue;
		for (at = slot; at != ROW_NONE && stamp[at] == 0; at = hnsw_tree_parent(h, at))
			stamp[at] = slot + 1;
		n += at != ROW_NONE && stamp[at] == slot + 1;
	}
	return n;
}

/* One root, no circle, every edge in both rows. */
static void check_tree(const struct hnsw *h, uint32_t *stamp, struct hnsw_report *ret)
{
	uint32_t bad = 0, roots = 0;

	for (uint32_t slot = 0; slot < hnsw_end(h); slot++) {
		if (hnsw_height_of(h, slot) == 0)
			continue;
		bad += !tree_edge_is_good(h, slot) || node_is_crowded(h, slot);
		roots += hnsw_tree_parent(h, slot) == ROW_NONE;
	}
	ret->broken_links += bad + (roots > 1);
	if (bad == 0)
		ret->broken_links += circles(h, stamp);
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

int hnsw_check(const struct hnsw *h, struct hnsw_report *ret, struct err *e)
{
	struct scratch_pool *pool = (struct scratch_pool *)&h->pool;
	uint32_t *table = mem_zalloc(hnsw_end(h), sizeof(*table));
	struct scratch *s = hnsw_scratch_get(pool, h->cap, 1);
	int rc = 0;

	*ret = (struct hnsw_report){ 0 };
	if (!table || !s) {
		rc = err_nomem(e);
		goto out;
	}
	check_links(h, ret);
	ret->bad_levels += ret->nodes ? !entry_is_good(h) : hnsw_entry(h) != ROW_NONE;
	ret->broken_links += ret->nodes != hnsw_count(h);
	ret->unreachable = ret->live;
	if (ret->broken_links || ret->bad_levels || ret->nodes == 0)
		goto out;
	check_tree(h, table, ret);
	ret->unreachable = ret->live - count_reached_live(h, s, table);
out:
	if (s)
		hnsw_scratch_put(pool, s);
	mem_free(table);
	return rc;
}
