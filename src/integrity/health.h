/*
 * health.h: verification and compaction of collections in the background, and what came of it.
 *
 * One table for the mount, keyed by collection number; it outlives the engines, so that the
 * last report of a tenant that was closed meanwhile can still be read. A verification needs
 * its engine open until it ends: the caller holds it open and passes `release`, which the job
 * calls when it is done. Any thread.
 */
#ifndef RV_INTEGRITY_HEALTH_H
#define RV_INTEGRITY_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/workers.h"
#include "engine/engine.h"

struct health;

enum health_state {
	HEALTH_UNVERIFIED, /* never, or not since the mount */
	/* the last verification could not be finished; first says why */
	HEALTH_HEALTHY,
	HEALTH_DAMAGED,
	HEALTH_FAILED,
};

struct health_info {
	enum health_state state;     /* by the last verification that ended */
	bool verifying;              /* one is queued or running */
	uint64_t rows_done;          /* of the running one */
	uint64_t rows_total;         /* live vectors when it was started */
	uint64_t checked_s;          /* when the last one ended, seconds since 1970; 0: never */
	struct engine_report report; /* of the last one; zeros before */
	bool compacting;             /* a compaction is queued or running */
	unsigned percent;            /* of it */
	uint64_t compacted_s;        /* when the last one ended, likewise */
	uint64_t reclaimed_bytes;    /* by it */
	struct err compact_error;    /* why it failed; code 0: it did not */
};

struct health_target {
	struct engine *engine; /* stays open until release is called */
	uint32_t cid;
	/* Adds findings of what is not the engine's; from a worker; NULL allowed. */
	int (*also)(void *ctx, struct engine_report *r, struct err *e);
	/* Called once, from a worker, after the report is in place; NULL allowed. */
	void (*release)(void *ctx);
	void *ctx;
};

struct health *health_new(struct workers *workers); /* NULL: no memory. workers outlive it */
/*
 * Stops what runs and waits for it (release is still called); nothing starts any more. NULL
 * allowed.
 */
void health_end(struct health *h);
/* Stops, too; nobody may be inside. NULL allowed. */
void health_free(struct health *h);

/*
 * 0: queued, release will be called. -EALREADY: one is under way; -ENOMEM, -ESHUTDOWN: release
 * will not be called.
 */
int health_start(struct health *h, const struct health_target *t, struct err *e);
/* Likewise a compaction, also beside a verification. */
int health_compact(struct health *h, const struct health_target *t, struct err *e);
/* Asks a running verification of cid to stop (its engine is wanted closed); returns at once. */
void health_stop(struct health *h, uint32_t cid);
/* Unverified when unknown. */
void health_get(struct health *h, uint32_t cid, struct health_info *ret);
/*
 * What was found without a verification: it is damaged until one says otherwise. No memory: nothing
 * is noted.
 */
void health_note_damage(struct health *h, uint32_t cid, const char *sentence);

void health_forget(struct health *h, uint32_t cid); /* the collection is gone */
bool health_busy(struct health *h);                 /* any verification queued or running */

/* unverified, verifying, healthy, damaged, failed */
const char *health_state_name(const struct health_info *i);
/* The `KEY VALUE` lines of the file integrity. */
void health_render(const struct health_info *i, struct buf *ret);

#endif
