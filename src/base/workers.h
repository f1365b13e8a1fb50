/*
 * workers.h: a fixed pool of background threads with a queue of jobs; one pool serves the whole
 * mount.
 *
 * Jobs run in the order given, several at once. A job must not wait for another job. Submitting
 * is safe from any thread, also from a job.
 */
#ifndef RV_BASE_WORKERS_H
#define RV_BASE_WORKERS_H

struct workers;

struct workers *workers_new(unsigned n_threads); /* NULL: no memory or no threads */
void workers_free(struct workers *w);            /* runs what is queued, joins; NULL allowed */
/*
 * What one thread of the pool is to do whenever there has been no job for a second and those since
 * the last time took a tenth of a second. Before the first job is submitted.
 */
void workers_at_rest(struct workers *w, void (*run)(void));
unsigned workers_count(const struct workers *w); /* of threads; w NULL: 1 */
int workers_submit(struct workers *w, void (*run)(void *arg), void *arg); /* 0 or -ENOMEM */

#endif
