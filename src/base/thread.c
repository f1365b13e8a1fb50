/*
 * thread.c: kinds of threads.
 *
 * Linux gives a thread that wakes a processor when the one that runs has used up its slice
 * (EEVDF), which is 3 ms by default: longer than many searches. And what a thread did before
 * counts against it, also when that was for somebody else. So one that goes first is under
 * SCHED_RR, with the lowest of its priorities. RLIMIT_RTTIME has the kernel tell one that goes on
 * for too long, by SIGXCPU: no bug keeps a processor from the rest of the machine.
 *
 * A thread may ask for slices of its own length since Linux 6.12; older ones take the call and do
 * nothing.
 */
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RESET_ON_FORK 1      /* SCHED_FLAG_RESET_ON_FORK */
#define SLICE_NS      100000 /* the least that is taken */
#define NICE          10 /* a tenth of a processor that is wanted: it may hold what others need */
#define FIRST_US      10000 /* on a processor before all others, at once */

/* As the kernel has it; the C library does not. */
struct attributes {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime_ns;
	uint64_t deadline_ns;
	uint64_t period_ns;
};

enum kind {
	PLAIN,
	FOREIGN, /* somebody else chose what it is */
	SHORT,   /* slices */
	FIRST,
	ASIDE,
	BACK,
};

static _Thread_local volatile sig_atomic_t kind = PLAIN;
static _Atomic bool may_go_first = true; /* relaxed; false once it was refused */
static _Atomic bool some_go_first;       /* relaxed; as who answered last was told */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* ---- going first ---- */

static bool limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_RTTIME, &r) < 0 || r.rlim_max < 10 * FIRST_US)
		return false; /* beyond the hard limit it would be killed */
	r.rlim_cur = FIRST_US;
	return setrlimit(RLIMIT_RTTIME, &r) == 0;
}

/* The kernel tells the thread that runs, and allows a second more the next time. */
static void took_long(int sig)
{
	thread_steps_aside();
	(void)limit();
}

static void prepare(void)
{
	struct sigaction act = { .sa_handler = took_long, .sa_flags = SA_RESTART };

	sigemptyset(&act.sa_mask);
	if (sigaction(SIGXCPU, &act, NULL) < 0 || !limit())
		thread_nobody_goes_first();
}

static bool set(struct attributes a)
{
	a.size = sizeof(a);
	return syscall(SYS_sched_setattr, 0, &a, 0) == 0;
}

static bool go_first(void)
{
	struct attributes a = { .policy = SCHED_RR, .flags = RESET_ON_FORK, .priority = 1 };

	pthread_once(&once, prepare);
	if (!atomic_load_explicit(&may_go_first, memory_order_relaxed))
		return false;
	if (!set(a))
		thread_nobody_goes_first();
	return atomic_load_explicit(&may_go_first, memory_order_relaxed);
}

static bool share(int32_t nice)
{
	return set((struct attributes){
		.flags = RESET_ON_FORK, .nice = nice, .runtime_ns = SLICE_NS });
}

/* Its nice value; -1: nothing is to be changed. */
static int nice_of_this(void)
{
	struct attributes a = { .size = sizeof(a) };

	if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) < 0 || a.policy != SCHED_OTHER)
		return -1;
	return a.nice;
}

static void begin(void)
{
	int nice = nice_of_this();

	kind = nice == 0 ? SHORT : FOREIGN;
	if (nice >= 0)
		(void)share(nice);
}

static void note_for_others(bool first)
{
	if (atomic_load_explicit(&some_go_first, memory_order_relaxed) != first)
		atomic_store_explicit(&some_go_first, first, memory_order_relaxed);
}

/* ---- public ---- */

void thread_answers(bool first)
{
	note_for_others(first);
	if (kind == PLAIN)
		begin();
	if (first && (kind == SHORT || kind == ASIDE) && thread_may_go_first() && go_first())
		kind = FIRST;
	else if (!first && (kind == ASIDE || (kind == FIRST && share(0))))
		kind = SHORT;
}

void thread_steps_aside(void)
{
	if (kind == FIRST && share(0))
		kind = ASIDE;
}

void thread_steps_back(void)
{
	int nice = nice_of_this();

	kind = BACK;
	if (nice >= 0)
		(void)share(nice > NICE ? nice : NICE);
}

bool thread_may_go_first(void)
{
	return (kind == SHORT || kind == FIRST || kind == ASIDE) &&
	       atomic_load_explicit(&may_go_first, memory_order_relaxed);
}

bool thread_goes_first(void)
{
	return kind == FIRST;
}

bool thread_stands_back(void)
{
	return kind == BACK;
}

void thread_yields(void)
{
	if (kind != FIRST)
		sched_yield();
}

void thread_lets_pass(void)
{
	if (atomic_load_explicit(&some_go_first, memory_order_relaxed))
		thread_yields();
}

void thread_nobody_goes_first(void)
{
	atomic_store_explicit(&may_go_first, false, memory_order_relaxed);
}
