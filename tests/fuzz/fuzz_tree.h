/* fuzz_tree.h: for targets of the whole tree: one on a directory of its own with a tenant in it. */
#ifndef RV_TESTS_FUZZ_TREE_H
#define RV_TESTS_FUZZ_TREE_H

#include <errno.h>

#include "fuzz.h"
#include "tree/tree.h"

#define NODE_OF_TENANTS ((struct node){ NODE_TENANTS, 0, 0 })

struct world {
	struct tenants *tenants;
	struct tree *tree;
	uint32_t tenant;
	struct caller who;
};

static struct workers *world_workers;

static inline void world_tree(struct world *w, int kept_fd)
{
	static char path[128]; /* the tree keeps the pointer */
	struct tree_options o = { .tenants = w->tenants, .data = fuzz_file("data", path),
		                  .version = "0", .kept_fd = kept_fd, .restarts = 1 };

	HOLDS(tree_new(&o, &w->tree, NULL) == 0);
}

/* Without the tree. */
static inline void world_start(struct world *w)
{
	const struct owner me = { 0, 0, 0700 };
	char path[128];
	struct tenants_options o = { .data = fuzz_file("data", path), .tier = "unlimited" };

	if (!world_workers)
		world_workers = workers_new(1);
	o.workers = world_workers;
	*w = (struct world){ 0 };
	io_remove_tree(path);
	HOLDS(mkdir(path, 0700) == 0);
	HOLDS(tenants_open(&o, &w->tenants, NULL) == 0);
	HOLDS(tenants_create(w->tenants, "t", &me, &w->tenant, NULL) == 0);
}

static inline void world_end(struct world *w)
{
	tree_free(w->tree);
	tenants_close(w->tenants);
}

#endif
