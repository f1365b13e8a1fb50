/*
 * asking.h: where the queries of a file `query` go: to its collection, a shared one for a tenant, or every
 * tenant. One
 * struct asking is for some queries in a row that one call runs. Private to src/tree.
 */
#ifndef RV_TREE_ASKING_H
#define RV_TREE_ASKING_H

#include "tree/file.h"

struct asking {
	struct node node;
	struct tenants *tenants;
	struct inside in;     /* of a collection, or the tenant who asks a shared one */
	struct inside shared; /* that one */
	size_t n_run;
	struct across across; /* of the first query that left out something, or the last one */
	bool slow;            /* one took long */
	struct answer_plan plan;
	uint64_t n_slow_before;
};

/* Enters what is asked; then asking_end. As tenant_enter. */
int asking_begin(struct tree *t, struct node n, struct asking *ret, struct err *e);
/* n_before: queries of this exchange so far. As tenant_search, tenants_search. */
int asking_run(struct asking *a, const struct query *q, size_t n_before, struct answer *answer,
               struct err *e);
/* Tells the caller's error at once what answers over all tenants left out, or that nothing was. */
void asking_end(struct tree *t, struct asking *a, const struct lineage *l);

#endif
