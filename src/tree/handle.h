/*
 * handle.h: the table of open files, and the sizes of their snapshots.
 *
 * A handle is an index into chunks that never move; freed ones are reused. At most
 * LIMIT_HANDLES are open (-EMFILE).
 */
#ifndef RV_TREE_HANDLE_H
#define RV_TREE_HANDLE_H

#include "tree/file.h"

struct handles;
struct snapshots;

int handles_new(struct handles **ret, struct err *e);
void handles_free(struct handles *hs); /* all handles must be closed */
/* a cleared handle, its lock ready */
int handles_open(struct handles *hs, uint64_t *ret_index, struct handle **ret, struct err *e);
struct handle *handles_get(struct handles *hs, uint64_t index); /* NULL: not open */
void handles_close(struct handles *hs, uint64_t index);
/* Iterates the open ones, for the end of the mount. */
struct handle *handles_next(struct handles *hs, uint64_t *pos);

/*
 * st_size is that of the newest snapshot while one is open: fstat(2) reaches the server without
 * its handle.
 */
int snapshots_new(struct snapshots **ret, struct err *e);
void snapshots_free(struct snapshots *s);
void snapshots_opened(struct snapshots *s, uint64_t node, uint64_t size);
void snapshots_closed(struct snapshots *s, uint64_t node);
bool snapshots_size(struct snapshots *s, uint64_t node, uint64_t *ret); /* false: none is open */
/*
 * The size that stat was answered with last. Remembered for some nodes: false when it is not
 * known.
 */
void snapshots_told(struct snapshots *s, uint64_t node, uint64_t size);
bool snapshots_was_told(struct snapshots *s, uint64_t node, uint64_t *ret);

#endif
