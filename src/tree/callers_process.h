/*
 * callers_process.h: processes as the kernel shows them: identities that are never reused,
 * parents, sessions, life and death.
 *
 * Private to callers.c and its test. Any thread.
 */
#ifndef RV_TREE_CALLERS_PROCESS_H
#define RV_TREE_CALLERS_PROCESS_H

#include "tree/callers.h"

enum processes_way {
	PROCESSES_AUTO,  /* the best that the kernel has */
	PROCESSES_PIDFD, /* PIDFD_THREAD and PIDFD_GET_INFO, kernel 6.13 */
	PROCESSES_PROC,  /* /proc, when it shows our own pid namespace */
	PROCESSES_UID,   /* nothing: the user id stands for the process */
};

struct processes;

int processes_new(enum processes_way way, struct processes **ret, struct err *e);
void processes_free(struct processes *ps); /* NULL allowed */
void processes_lineage(struct processes *ps, const struct caller *who, struct lineage *ret);
/*
 * False when the process has ended, also while its parent has not waited for it. What cannot be
 * seen lives.
 */
bool processes_alive(struct processes *ps, uint64_t process, pid_t pid);
unsigned processes_open_fds(struct processes *ps); /* kept pidfds, for tests */

/* As callers_new, with the way forced. */
int callers_new_by(enum processes_way way, struct callers **ret, struct err *e);

#endif
