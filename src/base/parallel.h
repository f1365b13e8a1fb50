/*
 * parallel.h: one piece of work over several threads, for the few things that a caller waits for
 * and that take long enough to be worth starting threads: checking a large file, a large graph.
 */
#ifndef RV_BASE_PARALLEL_H
#define RV_BASE_PARALLEL_H

#include <stdint.h>

#define PARALLEL_THREADS 16 /* at most */

/*
 * Calls piece(ctx, i) once for each i below n_pieces, in no order, on up to n_threads threads
 * and no more than there are processors for this process; the caller is one of them. Returns when
 * all are done. Threads that cannot be had are done without.
 */
void parallel_run(uint32_t n_pieces, unsigned n_threads, void (*piece)(void *ctx, uint32_t i),
                  void *ctx);

#endif
