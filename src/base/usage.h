/*
 * usage.h: how much of the processors was used for somebody lately, and whom that lets wait.
 *
 * While nobody uses much, or nobody else asks, all threads are equal. Otherwise threads that
 * answer requests go first (thread.h), so that who asks little is answered at once; and who used
 * more than a quarter of a processor in the last 30 milliseconds or so, times his weight, has no
 * right to that: threads step aside for his requests. A feedback queue of two levels (F. Corbató,
 * M. Merwin-Daggett, R. Daley: "An experimental time-sharing system", AFIPS 1962).
 *
 * Any thread.
 */
#ifndef RV_BASE_USAGE_H
#define RV_BASE_USAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define USAGE_WEIGHT 100 /* of who has no other */

/* Of one who is served; plain data of its owner. */
struct usage {
	_Atomic uint32_t weight;    /* relaxed */
	_Atomic uint64_t ns, at_ns; /* relaxed; decaying, and when it was charged last */
};

void usage_init(struct usage *u, uint32_t weight);
void usage_set_weight(struct usage *u, uint32_t weight);
uint32_t usage_weight(const struct usage *u);

/* This thread, which answers a request, works for u from here on, or goes on doing so. */
void usage_begin(struct usage *u);
/* What it used since the last charge was for u. */
void usage_charge(struct usage *u);
/* Of one that stands back: so long it worked for u. */
void usage_charge_ns(struct usage *u, uint64_t ns);

/* One used much lately, and somebody else asked. */
bool usage_is_contended(void);

#endif
