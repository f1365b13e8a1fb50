/*
 * datadir.h: DATA: made, checked, locked by one process at a time.
 */
#ifndef RV_TENANT_DATADIR_H
#define RV_TENANT_DATADIR_H

#include <stdbool.h>

#include "base/err.h"

/*
 * Makes DATA (0700) when missing, unless read_only. Waits up to 30 s for a daemon that is
 * ending. *ret_fd keeps the lock, across fork too, until the last copy is closed. -EBUSY names
 * the process that has it; -EINVAL: not ours, or of a newer version.
 */
int datadir_lock(const char *data, bool read_only, int *ret_fd, struct err *e);
/* After a fork: the lock is this process's, and it goes on. */
void datadir_claim(int fd);
/* The daemon that claimed it is about to end: who waits may go on waiting. */
void datadir_ending(int fd);

#endif
