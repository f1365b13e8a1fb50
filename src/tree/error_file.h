/* error_file.h: the sentence that the file `error` tells a caller. Private to src/tree. */
#ifndef RV_TREE_ERROR_FILE_H
#define RV_TREE_ERROR_FILE_H

#include "tree/file.h"

/* Keeps e's sentence for this caller at the node's place (its collection, or the top). */
void error_post(struct tree *t, const struct caller *who, struct node n, const struct err *e);
/* Likewise for a caller that was seen before. */
void error_post_lineage(struct tree *t, const struct lineage *l, uint64_t place,
                        const struct err *e);

#endif
