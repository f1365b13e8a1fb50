/*
 * survey.h: every tenant in turn with all its figures, for the mount's stats, metrics and lists.
 * Private to this room.
 *
 * An open engine is asked (held open meanwhile, its turn in the order of last use stays as it
 * was), a closed one counts with its last figures. So no survey is of one instant, and none opens
 * anything.
 */
#ifndef RV_TENANT_SURVEY_H
#define RV_TENANT_SURVEY_H

#include "tenant/tenant_impl.h"

/* From here on, a tenant is near its quota. */
#define NEAR_QUOTA 0.9

struct survey {
	struct tenant_info info;
	bool is_shared; /* not a tenant, but what has the collections of shared/ */
	struct figures f;
	uint64_t resident_bytes, mapped_bytes; /* 0: closed */
	uint64_t backlog;
	double utilization;
	uint64_t near_s; /* quota_near_s */
	uint64_t rejected[QUOTA_N];       /* since the mount */
	uint64_t rejected_total[QUOTA_N]; /* since creation */
	uint64_t total[COUNT_N];          /* since creation, removed collections too */
	struct activity_sum activity;
	enum health_state health; /* the worst of its collections */
	uint64_t checked_s;       /* of the newest verification */
};

/* In the order of their numbers; visit is called without locks. -ENOMEM. */
int tenants_survey(struct tenants *ts, void (*visit)(void *ctx, const struct survey *s), void *ctx);

/* To what several come to; starts as all zeros. Not info. */
void survey_add(struct survey *sum, const struct survey *s);

/* What is used of a limit: 1 is full, above when the limit was lowered since. */
double quota_ratio(uint64_t used, uint64_t max);
/* For how many seconds it has been near, since the mount or since its limits were changed. */
uint64_t quota_near_s(const struct tenant *t);
/* The highest of the limits on what is stored. */
double quota_utilization(const struct quota *q, const struct figures *f);

#endif
