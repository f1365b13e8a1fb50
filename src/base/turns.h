/*
 * turns.h: the cores of the machine, shared by weight.
 *
 * Who is about to compute takes a turn for its flow, and gives it back soon: a search, the
 * insertion of a row into a graph. While there is a core for everybody nobody waits. Beyond
 * that, turns go to flows in proportion to their weights, however many callers a flow has, and
 * a flow that used less than its share goes first; it does not even wait for a turn to end, the
 * kernel's scheduler makes room.
 *
 * A turn is taken before any lock of what is computed on, so who holds one waits for nobody who
 * waits for one. A thread has one turn at a time. Any thread.
 */
#ifndef RV_BASE_TURNS_H
#define RV_BASE_TURNS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct turns;
struct usage;

struct turns *turns_new(unsigned n_cores); /* NULL: no memory */
void turns_free(struct turns *ts);         /* NULL allowed; nobody has a turn or waits */

/* One of those who share: plain data of its owner, gone when it has no turns. */
struct flow {
	struct turns *turns;      /* const; NULL: takes without asking */
	struct usage *usage;      /* const; its weight is the flow's */
	uint64_t finish;          /* the rest: turns' lock */
	uint64_t mean_ns;
	unsigned running;
};

/* u: of whom whose work it is, and of what weight. */
void flow_init(struct flow *f, struct turns *ts, struct usage *u);
uint32_t flow_weight(const struct flow *f);

struct turn { /* the caller's */
	uint64_t start;
	uint64_t charged;
	uint64_t began_ns;
};

/* f NULL allowed. Waits for the turn. */
void turn_take(struct flow *f, struct turn *ret);
void turn_give(struct flow *f, const struct turn *t);
/* Somebody else could use the core: who has much to do gives its turn back and takes another. */
bool turn_wanted(const struct flow *f);

#endif
