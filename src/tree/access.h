/*
 * access.h: whether what is open may still be used. Private to src/tree.
 *
 * The kernel asks owner and mode when a file is opened, and not again. Here a chmod or chown of a
 * tenant, a collection, tenants/ or metrics/ holds for what is open, too, as it does where files
 * are a server's (RFC 1813, 4.4): whoever could not open it any more gets -EACCES. Asked is whether
 * the user could who opened it, so a descriptor that was handed on goes on. Changes are counted where
 * they outlive the server (kept.h); what a new server asks about again is what was changed, no more.
 */
#ifndef RV_TREE_ACCESS_H
#define RV_TREE_ACCESS_H

#include "tree/file.h"

/* h was opened by who just now, on n. */
void access_opened(struct tree *t, const struct caller *who, struct handle *h, struct node n,
                   const struct inside *in);
/* Owner or mode of the directory n were changed. */
void access_changed(struct tree *t, struct node n);
/*
 * Before each use of a handle; in: its tenant, entered, or empty. Costs a comparison unless an owner
 * or mode was changed since. -EACCES.
 */
int access_check(struct tree *t, const struct caller *who, struct handle *h,
                 const struct inside *in, struct err *e);
/* Whether who may read what has that owner and mode. */
bool access_may_read(const struct caller *who, const struct stat *st);
/* Whether who may read the tenant's figures: for calls of which the kernel asks no permission. */
bool access_may_look(struct tree *t, const struct caller *who, uint32_t tenant);

#endif
