/*
 * fault.c: counts named steps and ends the process at one of them. Empty in ordinary builds.
 *
 * The table may lie in memory that is shared with other processes, one of which may be killed
 * at any instruction: there are no locks, a place is taken by one exchange and never given back.
 * Names are string literals; processes that share a table are forks of one another, so a pointer
 * means the same to all.
 */
#include "base/fault.h"

#ifdef RV_FAULT_POINTS

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct fault_table own_table;
static struct fault_table *table = &own_table;
static const char *_Atomic armed;
static atomic_uint remaining;
static int by_signal = SIGKILL;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void read_environment(void)
{
	char *name = getenv("RV_FAULT");
	char *colon = name ? strchr(name, ':') : NULL;

	if (!name)
		return;
	if (getenv("RV_FAULT_SIGNAL"))
		by_signal = atoi(getenv("RV_FAULT_SIGNAL"));
	fault_arm(colon ? strndup(name, (size_t)(colon - name)) : name,
	          colon ? (unsigned)atoi(colon + 1) : 1);
}

void fault_keep(struct fault_table *t)
{
	table = t;
}

void fault_arm(const char *name, unsigned count)
{
	atomic_store(&remaining, count);
	atomic_store(&armed, name);
}

static struct fault_place *place_of(const char *name)
{
	for (int i = 0; i < FAULT_POINTS_MAX; i++) {
		struct fault_place *p = &table->places[i];
		const char *there = NULL;

		if (atomic_compare_exchange_strong(&p->name, &there, name) ||
		    strcmp(there, name) == 0)
			return p;
	}
	return NULL;
}

void fault_point(const char *name)
{
	struct fault_place *p = place_of(name);
	const char *at;

	pthread_once(&once, read_environment);
	if (p)
		atomic_fetch_add(&p->reached, 1);
	at = atomic_load(&armed);
	if (!at || strcmp(at, name) != 0 || atomic_fetch_sub(&remaining, 1) != 1)
		return;
	if (p)
		atomic_fetch_add(&p->ended, 1);
	raise(by_signal);
	for (;;)
		pause();
}

#endif
