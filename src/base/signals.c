/* signals.c: a mask. */
#include "base/signals.h"

#include <stddef.h>

static const int own[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTRAP, SIGSYS };

void signals_block(sigset_t *ret_before)
{
	sigset_t all;

	sigfillset(&all);
	for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
		sigdelset(&all, own[i]);
	pthread_sigmask(SIG_BLOCK, &all, ret_before);
}
