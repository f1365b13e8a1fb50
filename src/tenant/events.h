/*
 * events.h: what happens in a tenant, a line each, for who waits for it. Private to this room; the
 * public half is in tenant.h.
 *
 * Nothing is kept while nobody has the file open. The first reader makes a ring of EVENTS_MAX
 * lines, the last one takes it away; a reader that falls behind further than that is told how many
 * it has lost. Who posts is inside the tenant and does not hold ts->lock, except for event_gone.
 */
#ifndef RV_TENANT_EVENTS_H
#define RV_TENANT_EVENTS_H

#include "tenant/tenant_impl.h"

#define EVENTS_MAX     64
#define EVENT_LINE_MAX 192 /* with its time */
#define EVENT_TEXT_MAX 160

/* The text without time and newline; cut at EVENT_TEXT_MAX. cid the tenant's own: no name. */
void event_post(struct tenant *t, uint32_t cid, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A limit refused something: at most one line a second and key, with the count. */
void event_exceeded(struct tenant *t, enum quota_key k);
void event_status(struct collection *c, enum tenant_status s);
/* Its store was not closed in order the last time; told to readers that come later, too. */
void event_recovered(struct tenant *t);
void event_lost_commits(struct tenant *t, uint64_t n); /* noticed when the store was opened */
/* As engine_options.event; ctx is the tenant. */
void event_of_engine(void *ctx, uint32_t cid, enum engine_event event);
/* What is used of the limits may have changed: near_quota, or quota_ok. The caller is inside. */
void event_usage(struct tenant *t);
/* Likewise when its limits were changed: how long it has been near begins again. */
void event_limits(struct tenant *t);
/* Readers look again: the tenant is gone. Under ts->lock. */
void event_gone(struct tenant *t);
void events_release(struct tenant *t); /* for tenant_free */

#endif
