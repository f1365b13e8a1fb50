/*
 * scratch.c: the pool.
 *
 * The heap of detours can come to hold every slot (when almost all rows are dead) but nearly
 * always stays empty. So it is a mapping, of which only touched pages are memory, and one that
 * grew large is given back after the walk.
 */
#include "index/scratch.h"

#include <string.h>

#include "base/mem.h"

#define DETOUR_KEEP (1u << 16) /* entries whose memory an idle scratch may hold on to */

static size_t seen_words(uint32_t n_slots)
{
	return ((size_t)n_slots + 31) / 32;
}

/* Storing a word anywhere takes as long as clearing eight that follow one another. */
static uint32_t marked_max(uint32_t n_slots)
{
	size_t n = seen_words(n_slots) / 8;

	return n < SCRATCH_MARKED_MAX ? (uint32_t)n : SCRATCH_MARKED_MAX;
}

static size_t scratch_bytes(const struct scratch *s)
{
	return sizeof(*s) + seen_words(s->n_slots) * sizeof(*s->seen) +
	       SCRATCH_MARKED_MAX * sizeof(*s->marked) +
	       (s->beam.room + s->nearest.room) * sizeof(*s->beam.at) +
	       s->candidates.room * 3 * sizeof(uint32_t) + s->detour_peak * sizeof(*s->detour.at) +
	       s->code_bytes;
}

static void unmap_detour(struct scratch *s)
{
	mem_map_free(s->detour.at, s->n_slots * sizeof(*s->detour.at));
	s->detour.at = NULL;
	s->detour_peak = 0;
}

static void free_candidates(struct candidates *c)
{
	mem_free(c->left);
	mem_free(c->slots);
	mem_free(c->keys);
	memset(c, 0, sizeof(*c));
}

static void scratch_free(struct scratch *s)
{
	if (!s)
		return;
	if (s->detour.at)
		unmap_detour(s);
	mem_free(s->seen);
	mem_free(s->marked);
	mem_free(s->beam.at);
	mem_free(s->nearest.at);
	free_candidates(&s->candidates);
	mem_free(s->slots);
	mem_free(s->keys);
	mem_free(s->good);
	mem_free(s->row);
	mem_free(s->picks);
	code_query_release(&s->code);
	mem_free(s);
}

static struct scratch *scratch_new(const struct scratch_pool *p)
{
	struct scratch *s = mem_zalloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->marked = mem_alloc(SCRATCH_MARKED_MAX, sizeof(*s->marked));
	s->slots = mem_alloc(p->row_max + HOP_LANES, sizeof(*s->slots));
	s->keys = mem_alloc(p->row_max + HOP_LANES, sizeof(*s->keys));
	s->good = mem_alloc(p->row_max + HOP_LANES, sizeof(*s->good));
	s->row = mem_alloc(p->row_max, sizeof(*s->row));
	s->picks = mem_alloc((size_t)p->n_levels * p->row_max, sizeof(*s->picks));
	s->code_bytes = code_query_bytes(p->code_width);
	if (s->marked && s->slots && s->keys && s->good && s->row && s->picks &&
	    (p->code_width == 0 || code_query_init(&s->code, p->code_width, NULL) == 0))
		return s;
	scratch_free(s);
	return NULL;
}

static bool make_room_for_slots(struct scratch *s, uint32_t n_slots)
{
	uint32_t *seen;

	if (s->n_slots >= n_slots)
		return true;
	seen = mem_alloc_aligned(64, seen_words(n_slots), sizeof(*seen));
	if (!seen)
		return false;
	memset(seen, 0, seen_words(n_slots) * sizeof(*seen));
	if (s->detour.at)
		unmap_detour(s);
	mem_free(s->seen);
	s->seen = seen;
	s->n_marked = 0;
	s->marked_max = marked_max(n_slots);
	s->n_slots = n_slots;
	return true;
}

static bool make_room_for_beam(struct beam *b, uint32_t ef)
{
	uint64_t *at;

	if (b->room >= ef)
		return true;
	at = mem_alloc_aligned(64, beam_room(ef), sizeof(*at));
	if (!at)
		return false;
	mem_free(b->at);
	b->at = at;
	b->room = beam_room(ef);
	return true;
}

static bool make_room_for_candidates(struct candidates *c, uint32_t n)
{
	if (c->room >= n)
		return true;
	free_candidates(c);
	c->left = mem_alloc(n, sizeof(*c->left));
	c->slots = mem_alloc(n, sizeof(*c->slots));
	c->keys = mem_alloc((size_t)n + CODE_KEYS_AT_ONCE, sizeof(*c->keys));
	c->room = n;
	return c->left && c->slots && c->keys;
}

static bool make_room(struct scratch *s, uint32_t n_slots, uint32_t ef)
{
	if (!make_room_for_slots(s, n_slots) || !make_room_for_beam(&s->beam, ef) ||
	    !make_room_for_beam(&s->nearest, ef) ||
	    !make_room_for_candidates(&s->candidates, s->beam.room))
		return false;
	if (!s->detour.at)
		s->detour.at = mem_map_grow(NULL, 0, s->n_slots * sizeof(*s->detour.at));
	return s->detour.at;
}

void hnsw_scratch_pool_init(struct scratch_pool *p, unsigned row_max, unsigned n_levels,
                            size_t code_width)
{
	mutex_init(&p->lock);
	p->idle = NULL;
	p->bytes = 0;
	p->row_max = row_max;
	p->n_levels = n_levels;
	p->code_width = code_width;
}

void hnsw_scratch_pool_release(struct scratch_pool *p)
{
	struct scratch *s;

	while ((s = p->idle)) {
		p->idle = s->next;
		scratch_free(s);
	}
	mutex_destroy(&p->lock);
}

size_t hnsw_scratch_pool_bytes(struct scratch_pool *p)
{
	size_t bytes;

	mutex_lock(&p->lock);
	bytes = p->bytes;
	mutex_unlock(&p->lock);
	return bytes;
}

static struct scratch *take_idle(struct scratch_pool *p)
{
	struct scratch *s;

	mutex_lock(&p->lock);
	s = p->idle;
	if (s) {
		p->idle = s->next;
		p->bytes -= scratch_bytes(s);
	}
	mutex_unlock(&p->lock);
	return s;
}

struct scratch *hnsw_scratch_get(struct scratch_pool *p, uint32_t n_slots, uint32_t ef)
{
	struct scratch *s = take_idle(p);

	if (!s)
		s = scratch_new(p);
	if (s && !make_room(s, n_slots ? n_slots : 1, ef)) {
		scratch_free(s);
		s = NULL;
	}
	return s;
}

void hnsw_scratch_put(struct scratch_pool *p, struct scratch *s)
{
	if (s->detour_peak > DETOUR_KEEP)
		unmap_detour(s);
	mutex_lock(&p->lock);
	s->next = p->idle;
	p->idle = s;
	p->bytes += scratch_bytes(s);
	mutex_unlock(&p->lock);
}

void hnsw_scratch_clear_seen(struct scratch *s)
{
	size_t n_words = seen_words(s->n_slots);

	if (s->n_marked <= s->marked_max) {
		for (uint32_t i = 0; i < s->n_marked; i++)
			s->seen[s->marked[i] / 32] = 0;
	} else {
		memset(s->seen, 0, n_words * sizeof(*s->seen));
	}
	s->n_marked = 0;
}
