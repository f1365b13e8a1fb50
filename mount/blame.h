/*
 * blame.h: which request ended a server, so that it does not end the next ones too.
 *
 * A request that was under way when a server ended is sent to the next one. Should the thread that
 * serves it be the one that crashes (SIGSEGV, SIGABRT and their like), that is noted in memory that
 * outlives servers; what has crashed three of them is answered with EIO and not served again.
 * Requests of other threads, and servers that were killed from outside, blame nobody.
 *
 * Threads: start once, before requests are read; the others by all.
 */
#ifndef RV_MOUNT_BLAME_H
#define RV_MOUNT_BLAME_H

#include <stdbool.h>
#include <stdint.h>

#define BLAME_MAX 3 /* servers that a request may end */

/* fd: a supervisor's page of facts; what is noted lies far behind them. Failing is no error. */
void blame_start(int fd);
/* As the kernel sent it. */
bool blame_refuses(uint64_t request);

#endif
