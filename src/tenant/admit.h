/*
 * admit.h: the limits on what is done at a time. Private to src/tenant.
 *
 * An admission is filled from the tenant's quota under ts->lock and is then its caller's.
 */
#ifndef RV_TENANT_ADMIT_H
#define RV_TENANT_ADMIT_H

#include "tenant/tenant.h"

struct admission {
	uint64_t max[QUOTA_N];
	bool waits;   /* on_limit wait */
	bool counted; /* among the searches at once */
	bool paid;    /* a token of max_qps */
};

/*
 * -EAGAIN: refused and counted; with a->waits waits for its turn instead: -EINTR, and -EACCES,
 * -ENODEV when the status changed meanwhile. After 0: admit_query_end. A query that did not
 * complete is none.
 */
int admit_query(struct inside *in, struct admission *a, struct err *e);
void admit_query_end(struct inside *in, struct admission *a, bool completed);

/* Likewise, one vector of a batch; -EROFS too. */
int admit_vector(struct inside *in, const struct admission *a, struct err *e);
/* Of a batch that was not committed. per_s: max_write_rate, QUOTA_UNLIMITED allowed. */
void admit_vectors_return(struct tenant *t, uint64_t per_s, uint64_t n);

/* slow.c: of all collections, when they are loaded; and whether an answer that took so long is told. */
int slow_load(struct tenants *ts, struct err *e);
void slow_look(struct inside *in, const struct inside *of, struct answer *a);

/* on_limit of all collections, when they are loaded. */
int on_limit_load(struct tenants *ts, struct err *e);

#endif
