/*
 * blame.c: a handler of the signals of a crash notes the number of the thread's request in a mapped
 * file. The next server counts it, among the last few that were noted.
 *
 * The handler has one store to do, then the signal takes its course: with what was installed before
 * (a sanitizer's handler) or the default. A fault happens again when the instruction is tried again;
 * a signal that was sent is sent again. A stack that is full has no room for a handler, and is
 * blamed on nobody.
 */
#include "mount/blame.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "mount/handover.h"
#include "mount/wire.h"
#include "tree/callers.h"

#define PLACE      65536 /* in the file: struct handover may grow up to there */
#define N_SUSPECTS 64u

struct suspect {
	uint64_t request;
	uint64_t times;
};

struct notes {
	_Atomic uint64_t last; /* the request whose thread crashed; 0: none */
	uint64_t next;         /* of suspects, to be replaced */
	struct suspect suspects[N_SUSPECTS];
};

_Static_assert(sizeof(struct handover) <= PLACE, "the notes are behind the facts");

static const int crashes[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTRAP, SIGSYS };
#define N_CRASHES (sizeof(crashes) / sizeof(*crashes))

static struct notes *notes; /* const after start; NULL: none */
static struct sigaction before[N_CRASHES];

static void on_crash(int sig, siginfo_t *info, void *context)
{
	bool sent = info->si_code <= 0;
	uint64_t request = wire_request();

	(void)context;
	if (request && (!sent || info->si_pid == getpid()))
		atomic_store(&notes->last, request & ~CALLER_AGAIN);
	for (size_t i = 0; i < N_CRASHES; i++)
		if (crashes[i] == sig)
			sigaction(sig, &before[i], NULL);
	if (sent)
		raise(sig); /* comes when this returns */
}

static struct suspect *find(uint64_t request)
{
	for (unsigned i = 0; i < N_SUSPECTS; i++)
		if (notes->suspects[i].request == request)
			return &notes->suspects[i];
	return NULL;
}

/* What the server before this one noted. */
static void count_last(void)
{
	uint64_t request = atomic_exchange(&notes->last, 0);
	struct suspect *s;

	if (!request)
		return;
	s = find(request);
	if (!s) {
		s = &notes->suspects[notes->next++ % N_SUSPECTS];
		*s = (struct suspect){ .request = request };
	}
	s->times++;
	log_warning("request %llu ended a server, for the %llu. time of %d",
	            (unsigned long long)request, (unsigned long long)s->times, BLAME_MAX);
}

void blame_start(int fd)
{
	struct sigaction sa = { .sa_sigaction = on_crash, .sa_flags = SA_SIGINFO };
	void *p = MAP_FAILED;

	if (ftruncate(fd, PLACE + sizeof(struct notes)) == 0)
		p = mmap(NULL, sizeof(struct notes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, PLACE);
	if (p == MAP_FAILED) {
		log_warning("a request that ends servers will not be found: %s", strerror(errno));
		return;
	}
	notes = p;
	count_last();
	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < N_CRASHES; i++)
		sigaction(crashes[i], &sa, &before[i]);
}

bool blame_refuses(uint64_t request)
{
	const struct suspect *s;

	if (!notes || !(request & CALLER_AGAIN))
		return false;
	s = find(request & ~CALLER_AGAIN);
	return s && s->times >= BLAME_MAX;
}
