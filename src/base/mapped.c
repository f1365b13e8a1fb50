/*
 * mapped.c: a handler of SIGBUS and the table that it looks addresses up in.
 *
 * The handler may interrupt anything, so it takes no lock: ranges stand in pieces of a list that
 * only grows, and each has a version that is odd while it changes (a seqlock). The range that a
 * thread has just touched does not change meanwhile, that is its owner's duty; others may.
 *
 * A page is exchanged by one call, so other threads see the old or the new one. One that is not
 * zeros is made elsewhere and moved. Each may split the kernel's record of a mapping in three,
 * of which a process has some ten thousand: when there are no more, all of a range that can only be
 * read is exchanged at once. For a private one there is no such way, for others write to it: the
 * signal takes its course, and the next process finds that the file cannot be read.
 */
#include "base/mapped.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"

#define PIECE_RANGES 64

struct mapped_range {
	atomic_uint version; /* odd: changing */
	_Atomic uintptr_t start;
	_Atomic size_t bytes; /* 0: not in use */
	_Atomic enum mapped_kind kind;
	_Atomic(_Atomic uint64_t *) lost;
	struct mapped_range *next; /* table_lock: of the free ones */
};

struct piece {
	_Atomic(struct piece *) next;
	struct mapped_range ranges[PIECE_RANGES];
};

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct mapped_range *free_ranges;  /* table_lock */
static _Atomic(struct piece *) pieces;    /* written under table_lock */
static _Atomic uint64_t n_begun, n_ended; /* exchanges of pages */
static size_t page_bytes;                 /* const after mapped_guard */
static struct sigaction before;           /* likewise */

/* ---- the table ---- */

static void change(struct mapped_range *r, uintptr_t start, size_t bytes)
{
	atomic_fetch_add(&r->version, 1);
	atomic_store(&r->start, start);
	atomic_store(&r->bytes, bytes);
	atomic_fetch_add(&r->version, 1);
}

static bool add_piece_locked(void)
{
	struct piece *p = mem_zalloc(1, sizeof(*p));

	if (!p)
		return false;
	for (size_t i = 0; i < PIECE_RANGES; i++) {
		p->ranges[i].next = free_ranges;
		free_ranges = &p->ranges[i];
	}
	atomic_store(&p->next, atomic_load(&pieces));
	atomic_store(&pieces, p);
	return true;
}

struct mapped_range *mapped_watch(void *p, size_t bytes, enum mapped_kind kind,
                                  _Atomic uint64_t *lost)
{
	struct mapped_range *r = NULL;

	pthread_mutex_lock(&table_lock);
	if (free_ranges || add_piece_locked()) {
		r = free_ranges;
		free_ranges = r->next;
	}
	pthread_mutex_unlock(&table_lock);
	if (!r)
		return NULL;
	atomic_store(&r->kind, kind);
	atomic_store(&r->lost, lost);
	change(r, (uintptr_t)p, bytes);
	return r;
}

void mapped_moved(struct mapped_range *r, void *p)
{
	change(r, (uintptr_t)p, atomic_load(&r->bytes));
}

void mapped_unwatch(struct mapped_range *r)
{
	if (!r)
		return;
	change(r, 0, 0);
	pthread_mutex_lock(&table_lock);
	r->next = free_ranges;
	free_ranges = r;
	pthread_mutex_unlock(&table_lock);
}

uint64_t mapped_epoch(void)
{
	uint64_t ended =
		atomic_load(&n_ended); /* first: what is equal then had nothing in between */

	return atomic_load(&n_begun) == ended ? ended + 1 : 0;
}

/* ---- in the handler ---- */

static bool covers(struct mapped_range *r, uintptr_t at)
{
	unsigned version = atomic_load(&r->version);
	uintptr_t start = atomic_load(&r->start);
	size_t bytes = atomic_load(&r->bytes);

	return !(version & 1) && at - start < bytes && atomic_load(&r->version) == version;
}

static struct mapped_range *find(uintptr_t at)
{
	for (struct piece *p = atomic_load(&pieces); p; p = atomic_load(&p->next))
		for (size_t i = 0; i < PIECE_RANGES; i++)
			if (covers(&p->ranges[i], at))
				return &p->ranges[i];
	return NULL;
}

static bool put_zeros(uintptr_t at, size_t bytes)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

	return mmap((void *)at, bytes, PROT_READ, flags, -1, 0) != MAP_FAILED;
}

static bool put_ones(uintptr_t at)
{
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	void *p = mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	               0);

	if (p == MAP_FAILED)
		return false;
	memset(p, 0xff, page_bytes);
	if (mremap(p, page_bytes, page_bytes, flags, (void *)at) != MAP_FAILED)
		return true;
	munmap(p, page_bytes);
	return false;
}

static bool exchange(uintptr_t at)
{
	struct mapped_range *r = find(at);
	bool ok;

	if (!r)
		return false;
	at -= at % page_bytes;
	atomic_fetch_add(&n_begun, 1);
	atomic_fetch_add(atomic_load(&r->lost), 1);
	if (atomic_load(&r->kind) == MAPPED_PRIVATE)
		ok = put_ones(at);
	else
		ok = put_zeros(at, page_bytes) ||
		     put_zeros(atomic_load(&r->start), atomic_load(&r->bytes));
	atomic_fetch_add(&n_ended, 1);
	return ok;
}

/* A fault comes again when the instruction is tried again; a signal that was sent is sent again. */
static void pass_on(int sig, siginfo_t *info, void *context)
{
	if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(sig, info, context);
	} else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
		before.sa_handler(sig);
	} else {
		sigaction(sig, &before, NULL);
		if (info->si_code <= 0)
			raise(sig);
	}
}

/* The file's end or the disk's error, or memory that failed. */
static void on_bus(int sig, siginfo_t *info, void *context)
{
	int saved = errno;

	if ((info->si_code == BUS_ADRERR || info->si_code == BUS_MCEERR_AR) &&
	    exchange((uintptr_t)info->si_addr)) {
		errno = saved;
		return;
	}
	pass_on(sig, info, context);
}

void mapped_guard(void)
{
	struct sigaction sa = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO }, was;

	page_bytes = mem_page();
	sigemptyset(&sa.sa_mask);
	if (sigaction(SIGBUS, NULL, &was) < 0)
		return;
	if (!(was.sa_flags & SA_SIGINFO) || was.sa_sigaction != on_bus)
		before = was;
	(void)sigaction(SIGBUS, &sa, NULL);
}
