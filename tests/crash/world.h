/*
 * world.h: tenants with their collections as they should be, operations that change them, and
 * the comparison with what a data directory really holds.
 *
 * A world is plain data, so that it can lie in memory that survives the process that works on
 * it. Vectors, metadata and texts are functions of place, ID and version: only versions are
 * kept. An operation is made first (op_make, from a random number), then run on the tenants
 * (op_run), then, when it was acknowledged, applied to the world (op_apply). After a crash
 * world_check says whether the directory is the world with or without one operation.
 */
#ifndef RV_TESTS_WORLD_H
#define RV_TESTS_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "tenant/tenant.h"

#define WORLD_DIM    32
#define WORLD_IDS    400
#define WORLD_PLACES 3
#define WORLD_SHARED "shared" /* the tenant that several writers have a collection in */

/* A collection. Its tenant is the writer's own, or the shared one. */
struct place {
	bool exists;
	bool none; /* durability */
	uint32_t k;
	uint32_t ef_search;
	uint32_t put;            /* number of batches with a receipt so far */
	uint32_t put_vectors;    /* of the last one */
	uint16_t v[WORLD_IDS];   /* version of the vector and text, 0: not there */
	uint16_t m[WORLD_IDS];   /* version of the metadata, 0: none */
};

enum { PLACE_SHARED, PLACE_OWN, PLACE_FURTHER };

/* What one thread works on: nobody else does. */
struct world {
	unsigned writer;
	uint32_t mode;           /* of the own tenant */
	uint32_t max_results;    /* its quota */
	struct place places[WORLD_PLACES];
	uint16_t versions;       /* given out so far */
	bool loose;              /* OP_CONFIG may set durability none */
};

enum op_kind {
	OP_PUT,      /* one batch with a token and a receipt */
	OP_REMOVE,
	OP_CLEAR,    /* all of a collection */
	OP_METADATA, /* of one ID */
	OP_CONFIG,
	OP_CREATE,   /* a collection, or the own tenant */
	OP_DROP,     /* likewise */
	OP_OWNER,    /* mode of the own tenant */
	OP_QUOTA,
	OP_MAINTAIN, /* move, repair, compact, image */
	OP_KINDS,
};

struct change {
	uint16_t id;
	uint16_t v;
	uint16_t m;
};

struct op {
	enum op_kind kind;
	unsigned place;
	uint32_t value; /* of OP_CONFIG, OP_OWNER, OP_QUOTA */
	uint8_t token[16];
	uint32_t n;
	struct change changes[WORLD_IDS];
};

uint64_t world_random(uint64_t *state);
/* RV_SLOWER times as long, for deadlines that catch what hangs: on a processor that others have first. */
unsigned world_patience(unsigned seconds);

void op_make(struct world *w, uint64_t *random, struct op *ret);
/* kind: this one, if it is possible now; false. */
bool op_make_kind(struct world *w, enum op_kind kind, uint64_t *random, struct op *ret);
/* 0 or -Exxx. again: it may have been done before, and a token says whether (*ret_done). */
int op_run(struct tenants *ts, const struct world *w, const struct op *op, bool *ret_done,
           struct err *e);
void op_apply(struct world *w, const struct op *op);
const char *op_name(enum op_kind kind);

/*
 * Compares everything that clients can see, and verifies. op: NULL, or what may have happened
 * beside w. Returns 0: is w, 1: is w with op, -1: neither (ret says why).
 */
int world_check(struct tenants *ts, const struct world *w, const struct op *op, struct err *ret);
/* Takes back the first half of a removal: pending-deletion. Part of world_check. */
void world_take_back(struct tenants *ts, const struct world *w, const struct op *op);
/* The same for one place and without an operation: 0 or -Exxx. */
int world_check_place(struct tenants *ts, const struct world *w, unsigned place, struct err *ret);

#endif
