/*
 * salvage_image.c: what the image of a graph knows of a collection: a list of what lived at one
 * sequence, with IDs, under checksums of its own. What went after it is listed in store.db.
 *
 * The image is the engine's; docs/FORMAT.md has the bytes that are read here.
 */
#include <stdio.h>
#include <string.h>

#include "base/sections.h"
#include "store/salvage_impl.h"

struct header {
	uint32_t version;
	uint32_t cid;
	uint64_t seq;
	uint32_t gen;
	uint32_t dim;
	uint32_t metric;
	uint32_t m;
	uint32_t ef_construction;
	uint32_t n_slots;
};

struct slot {
	uint64_t num;
	uint64_t off;
	uint32_t json_bytes;
	uint32_t extra;
	float inv_norm;
	uint8_t state;
	uint8_t linked;
	uint8_t id_len;
	uint8_t zero;
};

enum { STATE_LIVE = 2 };

_Static_assert(sizeof(struct header) == 40 && sizeof(struct slot) == 32, "layout");

static const struct header *open_image(const struct salvage *x, uint32_t cid,
                                       struct sections_reader **ret)
{
	const struct header *h;
	char path[4096];
	size_t n;

	snprintf(path, sizeof(path), "%s/%u.graph", x->from, cid);
	if (sections_open(path, ret, NULL) < 0)
		return NULL;
	h = sections_get(*ret, SECTION_TAG('E', 'H', 'D', 'R'), &n);
	if (h && n == sizeof(*h) && h->version == 1 && h->cid == cid)
		return h;
	sections_close(*ret);
	return NULL;
}

void salvage_ask_image(const struct salvage *x, struct salvage_coll *c)
{
	struct collection_config *k = &c->st.c.config;
	struct sections_reader *r;
	const struct header *h = open_image(x, c->st.c.cid, &r);

	if (!h)
		return;
	if (h->dim <= LIMIT_DIMENSION && h->metric <= METRIC_IP) {
		k->dimension = h->dim;
		k->metric = (enum metric)h->metric;
		k->m = h->m;
		k->ef_construction = h->ef_construction;
	}
	sections_close(r);
}

/* Its sequence is not known: any that is found is the one, and the last of several. */
static int want(struct salvage *x, uint32_t cid, uint32_t slot, uint64_t num, const char *id,
                size_t len, struct err *e)
{
	return sql_run(&x->s.w, e,
	               "INSERT INTO temp.wanted(key, seq, id) SELECT ?1, 0, ?2 WHERE NOT EXISTS"
	               " (SELECT 1 FROM temp.gone_once WHERE cid = ?3 AND slot = ?4 AND seq > ?5)"
	               " ON CONFLICT(key) DO UPDATE SET id = excluded.id",
	               "itiii", I(row_key(cid, num)), id, len, I(cid), I(slot),
	               I(salvage_coll(x, cid)->image_seq));
}

static int want_slots(struct salvage *x, struct salvage_coll *c, const struct sections_reader *r,
                      uint32_t n_slots, struct err *e)
{
	size_t n, n_ids, at = 0;
	const struct slot *slots = sections_get(r, SECTION_TAG('E', 'S', 'L', 'T'), &n);
	const char *ids = sections_get(r, SECTION_TAG('E', 'I', 'D', 'S'), &n_ids);
	int rc = 0;

	if (!slots || n != (size_t)n_slots * sizeof(*slots))
		return 0;
	for (uint32_t i = 0; rc == 0 && i < n_slots; i++) {
		const struct slot *s = &slots[i];

		if (s->state != STATE_LIVE || s->num == 0 || s->num > STORE_NUM_MAX)
			continue;
		if (!ids || s->id_len > n_ids - at)
			return 0;
		rc = want(x, c->st.c.cid, i, s->num, ids + at, s->id_len, e);
		at += s->id_len;
	}
	return rc;
}

int salvage_want_image(struct salvage *x, struct salvage_coll *c, struct err *e)
{
	struct sections_reader *r;
	const struct header *h = open_image(x, c->st.c.cid, &r);
	int rc = 0;

	if (!h)
		return 0;
	c->has_image = c->known && h->seq >= c->st.c.cleared_seq && h->seq <= x->known_seq;
	if (c->has_image) {
		c->image_seq = h->seq;
		rc = want_slots(x, c, r, h->n_slots, e);
	}
	sections_close(r);
	return rc;
}
