/*
 * admit.c: who may search or write now: rates, searches at once, and waiting for one's turn.
 *
 * Without `on_limit wait` what comes too early is refused, and told when to come back. With it,
 * a call takes a token of the future and sleeps until its time, so callers are served in the
 * order in which they came. A sleeper occupies the thread that serves its request; so only
 * WAITERS_MAX sleep at once, and WAITERS_OF_TENANT of them of one tenant; the mount has as many
 * threads more than it needs otherwise. Beyond that calls are refused as without waiting.
 *
 * A sleeper looks once in a while whether its mount is about to end, and is woken by an
 * interrupt at once. It holds no lock; what it waited for is checked anew, and so is the
 * tenant's status.
 *
 * Lock order: ts->lock, then ts->waiting.lock, alone.
 */
#include "tenant/admit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/num.h"
#include "tenant/tenant_impl.h"

#define MS_NS           ((uint64_t)1000000)
#define LOOK_NS         (500 * MS_NS)
#define SEARCH_RETRY_NS MS_NS /* somebody else's search will be over */

/* ---- refusing ---- */

static int refuse(struct tenant *t, enum quota_key k, uint64_t limit, uint64_t ns, struct err *e)
{
	count_rejected(t, k);
	if (ns == RATE_NEVER)
		return err_set(e, -EAGAIN, "%s is %" PRIu64, quota_key_name(k), limit);
	return err_set(e, -EAGAIN, "%s %" PRIu64 " reached, retry_after_ms %" PRIu64,
	               quota_key_name(k), limit, (ns + MS_NS - 1) / MS_NS);
}

/* ---- waiting ---- */

struct sleeper {
	struct interrupt_watch watch; /* first */
	struct waiting *waiting;
	bool interrupted; /* waiting->lock */
};

static void wake(struct interrupt_watch *w)
{
	struct sleeper *s = (struct sleeper *)w;

	mutex_lock(&s->waiting->lock);
	s->interrupted = true;
	cond_broadcast(&s->waiting->changed);
	mutex_unlock(&s->waiting->lock);
}

/* false: too many sleep already, or this call must not. */
static bool sleep_begin(struct tenant *t, struct sleeper *s)
{
	struct waiting *w = &t->ts->waiting;
	bool ok;

	if (!interrupt_may_wait())
		return false;
	*s = (struct sleeper){ { wake }, w, false };
	mutex_lock(&w->lock);
	ok = w->n < WAITERS_MAX && t->n_waiting < WAITERS_OF_TENANT;
	w->n += ok;
	t->n_waiting += ok;
	mutex_unlock(&w->lock);
	if (ok)
		interrupt_watch(&s->watch);
	return ok;
}

static void sleep_end(struct tenant *t, struct sleeper *s)
{
	interrupt_watch(NULL);
	mutex_lock(&s->waiting->lock);
	s->waiting->n--;
	t->n_waiting--;
	mutex_unlock(&s->waiting->lock);
}

/* Sleeps until that time, or until a search of the tenant ended. */
static int sleep_until(struct tenant *t, struct sleeper *s, uint64_t until_ns,
                       uint64_t max_concurrent)
{
	struct waiting *w = s->waiting;
	uint64_t now;

	while ((now = clock_mono_ns()) < until_ns) {
		uint64_t ns = until_ns - now;
		bool interrupted;

		mutex_lock(&w->lock);
		if (!s->interrupted && atomic_load(&t->searching) >= max_concurrent)
			cond_wait_ns(&w->changed, &w->lock, ns < LOOK_NS ? ns : LOOK_NS);
		interrupted = s->interrupted;
		mutex_unlock(&w->lock);
		if (interrupted || interrupt_happened())
			return -EINTR;
		if (atomic_load(&t->searching) < max_concurrent)
			return 0;
	}
	return 0;
}

static int interrupted(struct err *e)
{
	return err_set(e, -EINTR, "interrupted while it waited for its turn");
}

/* Until ns from now. */
static int wait_rate(struct tenant *t, uint64_t ns, struct err *e)
{
	struct sleeper s;
	int rc;

	if (!sleep_begin(t, &s))
		return -EBUSY;
	rc = sleep_until(t, &s, clock_mono_ns() + ns, 0);
	sleep_end(t, &s);
	return rc < 0 ? interrupted(e) : 0;
}

/* ---- searches at once ---- */

static bool concurrent_take(struct tenant *t, uint64_t max)
{
	uint64_t n = atomic_load(&t->searching);

	do {
		if (n >= max)
			return false;
	} while (!atomic_compare_exchange_weak(&t->searching, &n, n + 1));
	return true;
}

static void concurrent_give(struct tenant *t)
{
	struct waiting *w = &t->ts->waiting;

	atomic_fetch_sub(&t->searching, 1);
	if (atomic_load(&w->n) == 0)
		return;
	mutex_lock(&w->lock);
	cond_broadcast(&w->changed);
	mutex_unlock(&w->lock);
}

static int wait_concurrent(struct tenant *t, uint64_t max, struct err *e)
{
	struct sleeper s;
	int rc = 0;

	if (!sleep_begin(t, &s))
		return -EBUSY;
	while (rc == 0 && !concurrent_take(t, max))
		rc = sleep_until(t, &s, UINT64_MAX, max);
	sleep_end(t, &s);
	return rc < 0 ? interrupted(e) : 0;
}

/* ---- a token ---- */

/* What comes out of waiting finds the tenant as it is now. */
static int take_token(struct inside *in, struct rate *r, enum quota_key k,
                      const struct admission *a, enum tenant_access access, struct err *e)
{
	struct tenant *t = in->tenant;
	uint64_t per_s = a->max[k];
	uint64_t now = clock_mono_ns();
	uint64_t ns = rate_take(r, per_s, now);
	int rc;

	if (ns == 0)
		return 0;
	if (!a->waits || ns == RATE_NEVER)
		return refuse(t, k, per_s, ns, e);
	ns = rate_reserve(r, per_s, now);
	rc = ns > 0 ? wait_rate(t, ns, e) : 0;
	if (rc == 0)
		rc = tenant_check(in, access, e);
	if (rc < 0)
		rate_give(r, per_s, 1);
	return rc == -EBUSY ? refuse(t, k, per_s, ns, e) : rc;
}

/* ---- queries ---- */

static int take_search(struct inside *in, struct admission *a, struct err *e)
{
	struct tenant *t = in->tenant;
	uint64_t max = a->max[QUOTA_MAX_CONCURRENT];
	int rc;

	if (max == QUOTA_UNLIMITED || concurrent_take(t, max)) {
		a->counted = max != QUOTA_UNLIMITED;
		return 0;
	}
	rc = a->waits && max > 0 ? wait_concurrent(t, max, e) : -EBUSY;
	if (rc == -EBUSY)
		return refuse(t, QUOTA_MAX_CONCURRENT, max, max > 0 ? SEARCH_RETRY_NS : RATE_NEVER,
		              e);
	a->counted = rc == 0;
	return rc;
}

int admit_query(struct inside *in, struct admission *a, struct err *e)
{
	struct tenant *t = in->tenant;
	int rc = 0;

	a->counted = a->paid = false;
	/* Who waits for a token does not occupy a place meanwhile. */
	if (a->waits && a->max[QUOTA_MAX_QPS] != QUOTA_UNLIMITED) {
		rc = take_token(in, &t->queries, QUOTA_MAX_QPS, a, TENANT_READ, e);
		a->paid = rc == 0;
	}
	if (rc == 0)
		rc = take_search(in, a, e);
	if (rc == 0 && !a->paid && a->max[QUOTA_MAX_QPS] != QUOTA_UNLIMITED) {
		rc = take_token(in, &t->queries, QUOTA_MAX_QPS, a, TENANT_READ, e);
		a->paid = rc == 0;
	}
	if (rc < 0)
		admit_query_end(in, a, false);
	return rc;
}

void admit_query_end(struct inside *in, struct admission *a, bool completed)
{
	struct tenant *t = in->tenant;

	if (a->counted)
		concurrent_give(t);
	if (a->paid && !completed)
		rate_give(&t->queries, a->max[QUOTA_MAX_QPS], 1);
	a->counted = a->paid = false;
}

/* ---- vectors ---- */

int admit_vector(struct inside *in, const struct admission *a, struct err *e)
{
	if (a->max[QUOTA_MAX_WRITE_RATE] == QUOTA_UNLIMITED)
		return 0;
	return take_token(in, &in->tenant->vectors, QUOTA_MAX_WRITE_RATE, a, TENANT_WRITE, e);
}

void admit_vectors_return(struct tenant *t, uint64_t per_s, uint64_t n)
{
	if (per_s != QUOTA_UNLIMITED && n > 0)
		rate_give(&t->vectors, per_s, n);
}

/* ---- on_limit ---- */

#define ON_LIMIT "on_limit."

static struct collection *collection_of_setting(struct tenants *ts, const char *name)
	REQUIRES(ts->lock);

static struct collection *collection_of_setting(struct tenants *ts, const char *name)
{
	uint64_t cid;
	const char *digits = name + strlen(ON_LIMIT);

	if (!num_parse_u64(digits, strlen(digits), &cid) || cid > UINT32_MAX)
		return NULL;
	return collection_find_locked(ts, (uint32_t)cid);
}

int on_limit_load(struct tenants *ts, struct err *e)
{
	struct registry_setting s = { .name = ON_LIMIT };
	struct collection *c;
	int rc;

	mutex_lock(&ts->lock);
	while ((rc = registry_setting_next(ts->db, ON_LIMIT, s.name, &s, e)) == 0) {
		c = collection_of_setting(ts, s.name);
		if (c)
			c->waits = s.value == 1;
	}
	mutex_unlock(&ts->lock);
	return rc == -ENOENT ? 0 : rc;
}

int tenant_on_limit(struct tenants *ts, uint32_t cid, bool *ret_waits)
{
	struct collection *c;

	mutex_lock(&ts->lock);
	c = collection_find_locked(ts, cid);
	if (c)
		*ret_waits = c->waits;
	mutex_unlock(&ts->lock);
	return c ? 0 : -ENODEV;
}

int tenant_set_on_limit(struct inside *in, bool waits, struct err *e)
{
	struct tenants *ts = in->tenant->ts;
	char name[STATUS_SETTING_MAX];
	bool now = !waits;
	int rc = tenant_check(in, TENANT_WRITE, e);

	if (rc < 0 || (tenant_on_limit(ts, in->cid, &now) == 0 && now == waits))
		return rc;
	snprintf(name, sizeof(name), ON_LIMIT "%" PRIu32, in->cid);
	mutex_lock(&ts->change);
	rc = registry_setting_set(ts->db, name, waits, e);
	if (rc == 0) {
		mutex_lock(&ts->lock);
		in->collection->waits = waits;
		mutex_unlock(&ts->lock);
	}
	mutex_unlock(&ts->change);
	return rc;
}
