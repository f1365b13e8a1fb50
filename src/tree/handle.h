/*
 * handle.h: the table of open files, and the sizes of their snapshots.
 *
 * A handle is an index into chunks that never move, and above it how often that place was used:
 * a release that is sent again never closes somebody else's. Each has a record in kept.h; those
 * that a server before this one left open are open from the start, their `left` set. At most
 * LIMIT_HANDLES are open (-EMFILE), and from half of that on a tenant that has a quarter opens no
 * more, so that nobody takes them all from the others.
 */
#ifndef RV_TREE_HANDLE_H
#define RV_TREE_HANDLE_H

#include "tree/file.h"

struct handles;
struct snapshots;

/* k is used as long as hs is; not freed. */
int handles_new(struct kept *k, struct handles **ret, struct err *e);
void handles_free(struct handles *hs); /* all handles must be closed */
/* A cleared handle, its lock ready. in: of whose tenant it is, NULL: nobody's. */
int handles_open(struct handles *hs, const struct inside *in, uint64_t *ret_number,
                 struct handle **ret, struct err *e);
/* It is answered from now on: a server after this one is to know it. */
void handles_keep(struct handle *h, uint64_t opened_by);
/*
 * NULL: not open. Its lock is taken before anything of it is looked at, and nothing is afterwards: its
 * place may be another file's soon.
 */
struct handle *handles_get(struct handles *hs, uint64_t number);
void handles_close(struct handles *hs, uint64_t number);
/* At the end of this process: closed here, it stays open for the server that comes next. */
void handles_leave(struct handles *hs, uint64_t number);
/* Iterates the open ones from *pos 0 on. */
struct handle *handles_next(struct handles *hs, uint64_t *pos, uint64_t *ret_number);
/*
 * The one that this request opened when a server before this one died: its number was told to
 * nobody. NULL: none.
 */
struct handle *handles_orphan(struct handles *hs, const struct caller *who, uint64_t *ret_number);
/* One that is open on the node, or NULL. */
struct handle *handles_on_node(struct handles *hs, struct node n);

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
