/*
 * world.c: the model: what operations there are, and what they change.
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/crash/world_impl.h"

uint64_t world_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

unsigned world_patience(unsigned seconds)
{
	const char *slower = getenv("RV_SLOWER");
	long times = slower ? strtol(slower, NULL, 10) : 1;

	return times > 1 ? seconds * (unsigned)times : seconds;
}

static uint32_t below(uint64_t *random, uint32_t n)
{
	return (uint32_t)(world_random(random) >> 16) % n;
}

const char *op_name(enum op_kind kind)
{
	static const char *names[] = { "put",    "remove", "clear", "metadata", "config",
		                       "create", "drop",   "owner", "quota",    "maintain" };

	return kind < OP_KINDS ? names[kind] : "nothing";
}

/* ---- things ---- */

void thing_of(const struct world *w, unsigned place, const struct change *c, struct thing *ret)
{
	uint64_t random = (uint64_t)w->writer << 56 | (uint64_t)place << 48 |
	                  (uint64_t)c->id << 24 | c->v;

	memset(ret, 0, sizeof(*ret));
	for (int i = 0; i < WORLD_DIM; i++)
		ret->v[i] = (float)below(&random, 2001) / 1000 - 1;
	ret->v[0] += ret->v[0] == 0;
	ret->r.id = ret->id;
	ret->r.id_len = (size_t)snprintf(ret->id, sizeof(ret->id), "id%u", c->id);
	ret->r.v = ret->v;
	ret->r.dim = WORLD_DIM;
	if (c->m) {
		ret->r.metadata = ret->metadata;
		ret->r.metadata_len = (size_t)snprintf(ret->metadata, sizeof(ret->metadata),
		                                       "{\"m\":%u}", c->m);
	}
	if (c->v % 3 == 0) {
		ret->r.text = ret->text;
		ret->r.text_len = (size_t)snprintf(ret->text, sizeof(ret->text), "text %u of %s",
		                                   c->v, ret->id);
	}
}

void world_tenant_name(const struct world *w, unsigned place, char ret[16])
{
	if (place == PLACE_SHARED)
		memcpy(ret, WORLD_SHARED, sizeof(WORLD_SHARED));
	else
		snprintf(ret, 16, "own%u", w->writer);
}

void world_collection_name(const struct world *w, unsigned place, char ret[16])
{
	if (place == PLACE_SHARED)
		snprintf(ret, 16, "of%u", w->writer);
	else
		memcpy(ret, place == PLACE_OWN ? "" : "more", place == PLACE_OWN ? 1 : 5);
}

/* ---- operations ---- */

static uint16_t new_version(struct world *w)
{
	if (++w->versions == 0)
		w->versions = 1;
	return w->versions;
}

static void add_change(struct op *op, uint32_t id, uint16_t v, uint16_t m)
{
	op->changes[op->n++] = (struct change){ (uint16_t)id, v, m };
}

/* Single ones, batches that stay in store.db, batches with several extents. */
static bool make_put(struct world *w, const struct place *p, uint64_t *random, struct op *op)
{
	static const uint32_t most[] = { 1, 1, 8, 50, 250 };
	uint32_t n = 1 + below(random, most[below(random, 5)]);
	uint32_t id = below(random, WORLD_IDS);

	if (!p->exists)
		return false;
	for (uint32_t i = 0; i < n; i++)
		add_change(op, (id + i) % WORLD_IDS, new_version(w),
		           below(random, 2) ? new_version(w) : 0);
	return true;
}

static bool make_remove(const struct place *p, uint64_t *random, struct op *op)
{
	uint32_t n = 1 + below(random, below(random, 4) ? 10 : 150);
	uint32_t id = below(random, WORLD_IDS);

	for (uint32_t i = 0; p->exists && i < WORLD_IDS && op->n < n; i++) {
		if (p->v[(id + i) % WORLD_IDS])
			add_change(op, (id + i) % WORLD_IDS, 0, 0);
	}
	return op->n > 0;
}

static bool make_metadata(struct world *w, const struct place *p, uint64_t *random, struct op *op)
{
	uint32_t id = below(random, WORLD_IDS);

	for (uint32_t i = 0; p->exists && i < WORLD_IDS && !op->n; i++, id = (id + 1) % WORLD_IDS) {
		if (p->v[id])
			add_change(op, id, p->v[id], below(random, 5) ? new_version(w) : 0);
	}
	return op->n > 0;
}

/* The own tenant comes first and goes with all that is in it. */
static bool can_create(const struct world *w, unsigned place)
{
	return !w->places[place].exists && (place != PLACE_FURTHER || w->places[PLACE_OWN].exists);
}

static bool fill_in(struct world *w, uint64_t *random, struct op *op)
{
	const struct place *p = &w->places[op->place];

	switch (op->kind) {
	case OP_PUT:
		return make_put(w, p, random, op);
	case OP_REMOVE:
		return make_remove(p, random, op);
	case OP_METADATA:
		return make_metadata(w, p, random, op);
	case OP_CREATE:
		return can_create(w, op->place);
	case OP_OWNER:
	case OP_QUOTA:
		return w->places[PLACE_OWN].exists;
	default:
		return p->exists;
	}
}

bool op_make_kind(struct world *w, enum op_kind kind, uint64_t *random, struct op *ret)
{
	*ret = (struct op){ .kind = kind, .place = below(random, WORLD_PLACES) };
	for (int i = 0; i < 16; i++)
		ret->token[i] = (uint8_t)below(random, 256);
	ret->value = 1 + below(random, 500);
	for (unsigned i = 0; i < WORLD_PLACES; i++) {
		if (fill_in(w, random, ret))
			return true;
		ret->place = (ret->place + 1) % WORLD_PLACES;
	}
	return false;
}

void op_make(struct world *w, uint64_t *random, struct op *ret)
{
	static const uint8_t weights[OP_KINDS] = { 50, 14, 1, 8, 3, 10, 2, 2, 2, 4 };
	uint32_t kind, x;

	do {
		x = below(random, 96);
		for (kind = 0; x >= weights[kind]; kind++)
			x -= weights[kind];
	} while (!op_make_kind(w, (enum op_kind)kind, random, ret));
}

static void drop(struct place *p)
{
	memset(p, 0, sizeof(*p));
}

static void create(struct place *p)
{
	drop(p);
	p->exists = true;
	p->k = 10;
	p->ef_search = 64;
}

static void change_all(struct place *p, const struct op *op)
{
	for (uint32_t i = 0; i < op->n; i++) {
		p->v[op->changes[i].id] = op->changes[i].v;
		p->m[op->changes[i].id] = op->changes[i].m;
	}
}

void op_apply(struct world *w, const struct op *op)
{
	struct place *p = &w->places[op->place];

	change_all(p, op);
	switch (op->kind) {
	case OP_PUT:
		p->put++;
		p->put_vectors = op->n;
		break;
	case OP_CLEAR:
		memset(p->v, 0, sizeof(p->v));
		memset(p->m, 0, sizeof(p->m));
		break;
	case OP_CONFIG:
		p->k = op->value;
		p->ef_search = op->value + 7;
		p->none = w->loose && op->value % 2;
		break;
	case OP_CREATE:
		create(p);
		if (op->place == PLACE_OWN) {
			w->mode = 0700;
			w->max_results = 0;
		}
		break;
	case OP_DROP:
		drop(p);
		if (op->place == PLACE_OWN)
			drop(&w->places[PLACE_FURTHER]);
		break;
	case OP_OWNER:
		w->mode = op->value & 0777;
		break;
	case OP_QUOTA:
		w->max_results = op->value;
		break;
	default:
		break;
	}
}
