/*
 * exchange.h: one exchange of a query file: what was asked and what was answered, as a transcript.
 *
 * An exchange belongs to the handle it was asked on, and is posted to the caller, so that
 * `results` finds it; it lives as long as one of them knows it (post_ref, post_unref). A query
 * runs in the write that completes its line. A tail without newline runs when somebody wants
 * the answer or the handle is released, whichever comes first: exchange_settle. An error fails
 * the whole exchange, and is told to everyone who wants its answer. Any thread. Private to
 * src/tree.
 */
#ifndef RV_TREE_EXCHANGE_H
#define RV_TREE_EXCHANGE_H

#include "tree/file.h"

struct exchange;

/* A new one of the file n with one reference, which the first writer's process begins. -ENOMEM. */
int exchange_new(struct node n, const struct lineage *l, struct exchange **ret, struct err *e);
struct post *exchange_post(struct exchange *ex);
struct exchange *exchange_of(struct post *p); /* of a POST_ANSWER */
void exchange_unref(struct exchange *ex);     /* NULL allowed */

#define EXCHANGE_OTHER 1
/*
 * Takes n bytes of queries at this offset and runs what they complete; posts the exchange to
 * the writer before. Where it cannot go on (anything of the answer was read, it failed, another
 * offset) it begins anew, forgetting the last one; returns EXCHANGE_OTHER and does nothing when
 * it may not, because others than this process know it. An error fails the exchange.
 */
int exchange_write(struct tree *t, struct exchange *ex, const struct lineage *l, uint64_t off,
                   const void *p, size_t n, struct err *e);
/* Runs a tail. Returns the exchange's error. */
int exchange_settle(struct tree *t, struct exchange *ex, struct err *e);
/* Bytes of the transcript, settled before. -EINVAL below its start. */
int exchange_read(struct tree *t, struct exchange *ex, uint64_t off, size_t n, struct buf *ret,
                  struct err *e);
/*
 * Where the transcript ends by now; settles nothing. *ret_waits: a tail does, its answer is
 * still to follow.
 */
uint64_t exchange_extent(struct exchange *ex, bool *ret_waits);
/* Where its first query was written. */
uint64_t exchange_start(struct exchange *ex);
/* The answers alone, settled before; ret NULL: just their length. */
int exchange_answers(struct tree *t, struct exchange *ex, struct buf *ret, uint64_t *ret_len,
                     struct err *e);
/* No more writes: settles, and keeps just the answers. Drops the handle's reference. */
void exchange_end(struct tree *t, struct exchange *ex);

#endif
