/*
 * fault.h: named steps at which a test can end the process, and sizes that tests scale down.
 *
 * Only builds with RV_FAULT_POINTS have them; elsewhere a point is nothing. There, the
 * environment variable RV_FAULT=NAME[:COUNT] ends the process with SIGKILL when it comes to that
 * step for the COUNTth time (RV_FAULT_SIGNAL=NUMBER: with that signal, to the thread), and a test
 * may keep a table of what was reached. Any thread.
 */
#ifndef RV_BASE_FAULT_H
#define RV_BASE_FAULT_H

#ifdef RV_FAULT_POINTS

#include <stdatomic.h>

#define FAULT_POINTS_MAX 128

struct fault_place {
	_Atomic(const char *) name; /* NULL: unused, and so are those behind it */
	atomic_uint reached;
	atomic_uint ended; /* a process was ended there */
};

struct fault_table {
	struct fault_place places[FAULT_POINTS_MAX];
};

void fault_point(const char *name);
/* What is reached is counted there from now on, in memory that survives the process. */
void fault_keep(struct fault_table *t);
/* name NULL: none. Stands for the environment variable. name stays where it is. */
void fault_arm(const char *name, unsigned count);

#define FAULT_POINT(name)         fault_point(name)
#define FAULT_SCALED(real, small) (small)

#else

#define FAULT_POINT(name)         ((void)0)
#define FAULT_SCALED(real, small) (real)

#endif
#endif
