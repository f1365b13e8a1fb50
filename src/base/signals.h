/* signals.h: which signals a thread of the background takes. */
#ifndef RV_BASE_SIGNALS_H
#define RV_BASE_SIGNALS_H

#include <signal.h>

/*
 * Blocks all signals for this thread, and those that it starts, but for what a thread does to itself
 * (SIGBUS, SIGSEGV and their like): blocked, such a signal ends the process past every handler, one that
 * puts things right (base/mapped.h) or tells what happened. *ret_before: for pthread_sigmask.
 */
void signals_block(sigset_t *ret_before);

#endif
