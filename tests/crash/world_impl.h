/* world_impl.h: what world.c, world_run.c and world_check.c share. */
#ifndef RV_TESTS_WORLD_IMPL_H
#define RV_TESTS_WORLD_IMPL_H

#include <stdio.h>
#include <string.h>

#include "tests/crash/world.h"

/* What a version of an ID consists of. Pointers are into itself. */
struct thing {
	struct record r;
	char id[16];
	float v[WORLD_DIM];
	char metadata[32];
	char text[32];
};

void thing_of(const struct world *w, unsigned place, const struct change *c, struct thing *ret);
void world_tenant_name(const struct world *w, unsigned place, char ret[16]);
/* "" for the default one */
void world_collection_name(const struct world *w, unsigned place, char ret[16]);
/* -ENOENT */
int world_tenant(struct tenants *ts, const struct world *w, unsigned place, uint32_t *ret);
int world_cid(struct tenants *ts, const struct world *w, unsigned place, uint32_t *ret,
              struct err *e);

#endif
