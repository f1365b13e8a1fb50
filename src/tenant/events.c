/*
 * events.c: a ring of lines for the readers of a tenant's `events`, by sequence number.
 *
 * A reader begins with the conditions that hold when it opens (a status other than active, a quota
 * that is nearly used up, damage that was found, a recovery since the mount), so that who waits for one need not have been
 * there when it began, and goes on with what happens after that.
 *
 * Lock order: t->quota_lock is outside of ts->lock, and both of t->watch.events_lock.
 */
#include "tenant/events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tenant/survey.h"

#define EXCEEDED_NS 1000000000u

struct event_ring {
	uint64_t next; /* sequence of the next line; they count from 1 */
	unsigned n_readers;
	uint64_t exceeded_ns[QUOTA_N]; /* when it was told last */
	uint64_t n_exceeded[QUOTA_N];  /* since then */
	char line[EVENTS_MAX][EVENT_LINE_MAX];
};

static void format_time(uint64_t wall_s, char text[32])
{
	time_t s = (time_t)wall_s;
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static void add_time(char text[32])
{
	format_time(clock_wall_ns() / 1000000000u, text);
}

/* ---- posting ---- */

static void post_locked(struct tenant *t, const char *what) REQUIRES(t->watch.events_lock)
{
	struct event_ring *r = t->watch.events;
	char when[32];

	add_time(when);
	snprintf(r->line[r->next++ % EVENTS_MAX], EVENT_LINE_MAX, "%s %s", when, what);
}

void tenants_tell_readers(struct tenants *ts, uint32_t number)
{
	if (ts->on_event)
		ts->on_event(ts->on_event_ctx, number);
}

static void tell(struct tenant *t)
{
	tenants_tell_readers(t->ts, t->number);
}

static bool has_readers(const struct tenant *t)
{
	return atomic_load_explicit(&t->watch.has_readers, memory_order_relaxed);
}

/* " collection=NAME" of a further one; its number while nobody knows its name. */
static void add_collection(struct tenant *t, uint32_t cid, char *what, size_t cap)
{
	struct collection_info info;
	struct engine *en;
	size_t n = strlen(what);

	if (cid == t->number || n >= cap)
		return;
	mutex_lock(&t->ts->lock);
	en = t->engine; /* stays: the caller is inside, or of the engine */
	mutex_unlock(&t->ts->lock);
	if (en && engine_collection_info(en, cid, &info) == 0)
		snprintf(what + n, cap - n, " collection=%s", info.name);
	else
		snprintf(what + n, cap - n, " collection=#%" PRIu32, tenants_shown(t->ts, cid));
}

void event_post(struct tenant *t, uint32_t cid, const char *fmt, ...)
{
	char what[EVENT_TEXT_MAX];
	va_list args;

	if (!has_readers(t))
		return;
	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	add_collection(t, cid, what, sizeof(what));
	mutex_lock(&t->watch.events_lock);
	if (t->watch.events)
		post_locked(t, what);
	mutex_unlock(&t->watch.events_lock);
	tell(t);
}

static bool exceeded_locked(struct tenant *t, enum quota_key k) REQUIRES(t->watch.events_lock)
{
	struct event_ring *r = t->watch.events;
	uint64_t now = clock_mono_ns();
	char what[EVENT_TEXT_MAX];

	r->n_exceeded[k]++;
	if (r->exceeded_ns[k] && now - r->exceeded_ns[k] < EXCEEDED_NS)
		return false;
	r->exceeded_ns[k] = now;
	snprintf(what, sizeof(what), "quota_exceeded %s refused=%" PRIu64, quota_key_name(k),
	         r->n_exceeded[k]);
	r->n_exceeded[k] = 0;
	post_locked(t, what);
	return true;
}

void event_exceeded(struct tenant *t, enum quota_key k)
{
	bool told = false;

	if (!has_readers(t))
		return;
	mutex_lock(&t->watch.events_lock);
	if (t->watch.events)
		told = exceeded_locked(t, k);
	mutex_unlock(&t->watch.events_lock);
	if (told)
		tell(t);
}

void event_status(struct collection *c, enum tenant_status s)
{
	event_post(c->tenant, c->cid, "status %s", tenant_status_name(s));
}

void event_recovered(struct tenant *t)
{
	atomic_store_explicit(&t->watch.recovered_s, clock_wall_ns() / 1000000000u,
	                      memory_order_relaxed);
	event_post(t, t->number, "recovered");
}

void event_of_engine(void *ctx, uint32_t cid, enum engine_event event)
{
	static const char *const words[] = { [ENGINE_COMPACTED] = "compacted",
		                             [ENGINE_REBUILT] = "rebuilt",
		                             [ENGINE_DAMAGED] = "damaged" };

	if (event == ENGINE_DAMAGED)
		health_note_damage(((struct tenant *)ctx)->ts->health, cid,
		                   "a query met a vector that is damaged: verify finds all");
	event_post(ctx, cid, "%s", words[event]);
}

void event_lost_commits(struct tenant *t, uint64_t n)
{
	char sentence[96];

	snprintf(sentence, sizeof(sentence), "the store has lost %llu commits: verify tells more",
	         (unsigned long long)n);
	health_note_damage(t->ts->health, t->number, sentence);
	event_post(t, t->number, "damaged");
}

void event_gone(struct tenant *t)
{
	if (has_readers(t))
		tell(t);
}

/* ---- near_quota ---- */

static double utilization_now(struct tenant *t)
{
	struct tenants *ts = t->ts;
	struct figures f = { 0 };
	struct engine *en;
	struct quota q;
	uint32_t n;

	mutex_lock(&ts->lock);
	f = t->figures;
	f.collections = t->n_collections;
	q = t->quota;
	en = t->engine;
	mutex_unlock(&ts->lock);
	if (en)
		engine_usage(en, &f.vectors, &f.bytes, &n);
	return quota_utilization(&q, &f);
}

static void set_near_since(struct tenant *t, bool near, bool anew)
{
	uint64_t since = atomic_load_explicit(&t->watch.near_since_ns, memory_order_relaxed);

	if (near && (since == 0 || anew))
		since = clock_mono_ns();
	atomic_store_explicit(&t->watch.near_since_ns, near ? since : 0, memory_order_relaxed);
}

static void look(struct tenant *t, bool anew)
{
	double u;
	bool near;

	mutex_lock(&t->quota_lock);
	u = utilization_now(t);
	near = u >= NEAR_QUOTA;
	set_near_since(t, near, anew);
	if (near != t->watch.near_quota) {
		t->watch.near_quota = near;
		event_post(t, t->number, "%s utilization=%.3f", near ? "near_quota" : "quota_ok",
		           u);
	}
	mutex_unlock(&t->quota_lock);
}

void event_usage(struct tenant *t)
{
	look(t, false);
}

void event_limits(struct tenant *t)
{
	look(t, true);
}

int tenants_quota_changed(struct tenants *ts, uint32_t number)
{
	struct inside in;
	int rc = tenant_enter(ts, number, TENANT_ADMIN, &in, NULL);

	if (rc < 0)
		return rc;
	event_limits(in.tenant);
	tenant_leave(&in);
	return 0;
}

/* ---- readers ---- */

void tenants_on_event(struct tenants *ts, void (*fn)(void *ctx, uint32_t number), void *ctx)
{
	ts->on_event_ctx = ctx;
	ts->on_event = fn;
}

static void add_condition(struct tenant *t, uint32_t cid, const char *what, struct buf *ret)
{
	char text[EVENT_TEXT_MAX];
	char when[32];

	snprintf(text, sizeof(text), "%s", what);
	add_collection(t, cid, text, sizeof(text));
	add_time(when);
	buf_addf(ret, "%s %s\n", when, text);
}

/* Health and status of one collection. */
struct standing {
	uint32_t cid;
	enum tenant_status status;
	struct health_info health;
};

static bool next_standing(struct tenant *t, uint32_t after, struct standing *ret)
{
	struct tenants *ts = t->ts;
	const struct collection *best = NULL;

	mutex_lock(&ts->lock);
	for (const struct collection *c = &t->own; c; c = c->next)
		if (!c->removed && c->cid > after && (!best || c->cid < best->cid))
			best = c;
	if (best) {
		ret->cid = best->cid;
		ret->status = best == &t->own ? t->status : best->status;
	}
	mutex_unlock(&ts->lock);
	if (best)
		health_get(ts->health, ret->cid, &ret->health);
	return best != NULL;
}

static void add_conditions(struct tenant *t, struct buf *ret)
{
	uint64_t recovered = atomic_load_explicit(&t->watch.recovered_s, memory_order_relaxed);
	struct standing s;
	char what[EVENT_TEXT_MAX];
	double u = utilization_now(t);

	if (recovered) {
		format_time(recovered, what);
		buf_addf(ret, "%s recovered\n", what);
	}
	for (uint32_t after = 0; next_standing(t, after, &s); after = s.cid) {
		snprintf(what, sizeof(what), "status %s", tenant_status_name(s.status));
		if (s.status != TENANT_ACTIVE)
			add_condition(t, s.cid, what, ret);
		s.health.verifying = false;
		snprintf(what, sizeof(what), "integrity %s", health_state_name(&s.health));
		if (s.health.state == HEALTH_DAMAGED || s.health.state == HEALTH_FAILED)
			add_condition(t, s.cid, what, ret);
	}
	snprintf(what, sizeof(what), "near_quota utilization=%.3f", u);
	if (u >= NEAR_QUOTA)
		add_condition(t, t->number, what, ret);
}

int tenant_events_open(struct inside *in, struct event_cursor *ret, struct buf *ret_conditions,
                       struct err *e)
{
	struct tenant *t = in->tenant;
	struct watch *w = &t->watch;
	int rc = 0;

	mutex_lock(&w->events_lock);
	if (!w->events) {
		w->events = mem_zalloc(1, sizeof(*w->events));
		if (w->events)
			w->events->next = 1;
	}
	if (w->events) {
		w->events->n_readers++;
		*ret = (struct event_cursor){ .next = w->events->next };
		atomic_store_explicit(&w->has_readers, true, memory_order_relaxed);
	} else {
		rc = err_nomem(e);
	}
	mutex_unlock(&w->events_lock);
	if (rc == 0)
		add_conditions(t, ret_conditions);
	return rc;
}

/* The tenant may be gone, with all it had. */
void tenant_events_close(struct tenants *ts, uint32_t number)
{
	struct inside in;
	struct watch *w;

	if (tenant_enter(ts, number, TENANT_ADMIN, &in, NULL) < 0)
		return;
	w = &in.tenant->watch;
	mutex_lock(&w->events_lock);
	if (w->events && --w->events->n_readers == 0) {
		atomic_store_explicit(&w->has_readers, false, memory_order_relaxed);
		mem_free(w->events);
		w->events = NULL;
	}
	mutex_unlock(&w->events_lock);
	tenant_leave(&in);
}

void events_release(struct tenant *t)
{
	mem_free(t->watch.events);
}

static void add_lines_locked(struct tenant *t, struct event_cursor *c, struct buf *ret)
	REQUIRES(t->watch.events_lock)
{
	const struct event_ring *r = t->watch.events;
	char when[32];

	if (!r || c->next >= r->next)
		return;
	if (r->next - c->next > EVENTS_MAX) {
		uint64_t lost = r->next - c->next - EVENTS_MAX;

		add_time(when);
		buf_addf(ret, "%s lost events=%" PRIu64 "\n", when, lost);
		c->next += lost;
	}
	for (; c->next < r->next; c->next++)
		buf_addf(ret, "%s\n", r->line[c->next % EVENTS_MAX]);
}

void tenant_events_read(struct inside *in, struct event_cursor *c, struct buf *ret)
{
	struct tenant *t = in->tenant;

	mutex_lock(&t->watch.events_lock);
	add_lines_locked(t, c, ret);
	mutex_unlock(&t->watch.events_lock);
}

bool tenant_events_pending(struct inside *in, const struct event_cursor *c)
{
	struct watch *w = &in->tenant->watch;
	bool more;

	mutex_lock(&w->events_lock);
	more = w->events && w->events->next > c->next;
	mutex_unlock(&w->events_lock);
	return more;
}
