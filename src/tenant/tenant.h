/*
 * tenant.h: the tenants of the mount: names, numbers, owners, status, limits, and the way into
 * their engines.
 *
 * Everything above reaches an engine through tenant_enter(), which opens it at the first touch,
 * checks the status for what is to be done, and keeps it open until tenant_leave(). At most
 * LIMIT_OPEN_TENANTS engines stay open without being entered; the least recently used is closed
 * first, by a thread of this room's own. Any thread.
 *
 * A removed tenant's name is free at once and its files are unlinked; what is open of them goes
 * when the last one has left. What could not be unlinked is at the next open. Stores that nobody removed and the registry does not know make tenants_open
 * fail: the registry was lost.
 */
#ifndef RV_TENANT_TENANT_H
#define RV_TENANT_TENANT_H

#include "engine/engine.h"
#include "integrity/health.h"
#include "tenant/quota.h"

struct tenants;
struct tenant;
struct inside;

enum tenant_status { TENANT_ACTIVE, TENANT_READONLY, TENANT_SUSPENDED, TENANT_PENDING_DELETION,
	TENANT_N_STATUS };

/* "active", "readonly", "suspended", "pending-deletion". */
const char *tenant_status_name(enum tenant_status s);
bool tenant_status_parse(const char *s, size_t n, enum tenant_status *ret);

/*
 * Calls that wait because of a limit (on_limit wait) at once; the threads that serve requests
 * have to be so many more.
 */
#define WAITERS_MAX 64

struct tenants_options {
	const char *data; /* DATA, which exists and is locked by the caller */
	bool read_only;
	const char *tier; /* of new tenants; -EINVAL: there is no such one */
	struct workers *workers;
	const char *audit_level; /* of this mount; NULL: as the mount's config says */
};

int tenants_open(const struct tenants_options *o, struct tenants **ret, struct err *e);
void tenants_close(struct tenants *ts); /* NULL allowed; nobody may be inside */

struct tenant_info {
	uint32_t number;
	char name[LIMIT_NAME + 1];
	struct owner owner;
	uint64_t created_ns;
	enum tenant_status status;
	struct quota quota;
	uint64_t pending_left_s; /* while it is pending-deletion: until it is purged */
};

/* 1 to LIMIT_NAME of A-Z a-z 0-9 . _ - not starting with a dot. -EINVAL, -ENAMETOOLONG. */
int tenant_name_check(const char *name, struct err *e);

/* -EEXIST. Opens nothing. */
int tenants_create(struct tenants *ts, const char *name, const struct owner *o,
                   uint32_t *ret_number, struct err *e);
/*
 * -ENOTEMPTY unless it is empty or pending-deletion, -EROFS, -EACCES as its status says. Waits for
 * commits under way. Opens the engine only when there is a store and its vectors matter.
 */
int tenants_remove(struct tenants *ts, uint32_t number, struct err *e);
/*
 * Gives it another name; its number, and with it all that is open, stays. -EEXIST with
 * no_replace, else -ENOTEMPTY: a tenant has that name (a tenant's directory is never without
 * entries, so none is replaced). -EROFS, -EACCES as its status says.
 */
int tenants_rename(struct tenants *ts, uint32_t number, const char *name, bool no_replace,
                   struct err *e);

/* -ENOENT. */
int tenants_find(struct tenants *ts, const char *name, uint32_t *ret_number);
/* The one with the smallest number > after; -ENOENT: end. */
int tenants_next(struct tenants *ts, uint32_t after, struct tenant_info *ret);
/* -ENODEV. Opens nothing. */
int tenants_info(struct tenants *ts, uint32_t number, struct tenant_info *ret);

int tenants_set_owner(struct tenants *ts, uint32_t number, const struct owner *o, struct err *e);
/* quota_apply, one writer at a time. */
int tenants_set_quota(struct tenants *ts, uint32_t number, const char *text, size_t n,
                      struct err *e);
/* tiers_apply for the mount, persistent: tenants follow their tier at once. */
int tenants_set_tiers(struct tenants *ts, const char *text, size_t n, struct err *e);
void tenants_tiers(struct tenants *ts, struct buf *ret); /* tiers_render */

/*
 * A tenant's, or a further collection's own, which counts beside its tenant's. Waits for commits
 * under way. A tenant that has been pending-deletion for retention_s of its quota is purged, by
 * a thread of this room's own; time in which the filesystem is not mounted counts, jumps of the
 * clock while it is mounted do not.
 */
int tenants_set_status(struct tenants *ts, uint32_t number, enum tenant_status s, struct err *e);
/* Likewise a tenant's or a collection's own. -ENODEV. Opens nothing. */
int tenants_status(struct tenants *ts, uint32_t number, enum tenant_status *ret);

/* Owner and mode of the directory tenants/, persistent. */
void tenants_dir_owner(struct tenants *ts, struct owner *ret);
int tenants_set_dir_owner(struct tenants *ts, const struct owner *o, struct err *e);

/* Whose a collection is; a tenant's own number is its default collection. -ENODEV. Memory. */
int tenants_of_collection(struct tenants *ts, uint32_t cid, uint32_t *ret_number);

/*
 * What is shown of such a number, and back: the same as long as DATA lives, in an order that tells
 * nobody how many others there are or were made meanwhile. 0 is 0; 26 bits.
 */
uint32_t tenants_shown(const struct tenants *ts, uint32_t number);
uint32_t tenants_hidden(const struct tenants *ts, uint32_t shown);
/* Likewise of 58 bits, of which 0 is nothing special. */
uint64_t tenants_shown_node(const struct tenants *ts, uint64_t node);
uint64_t tenants_hidden_node(const struct tenants *ts, uint64_t shown);

/* ---- inside ---- */
enum tenant_access {
	TENANT_LOOK,  /* attributes, stats: also while suspended */
	TENANT_READ,  /* -EACCES while suspended or pending-deletion */
	TENANT_WRITE, /* likewise, and -EROFS while readonly or on a read-only mount */
	TENANT_ADMIN, /* as LOOK, but opens nothing: the engine may be NULL. For quota and
	               * status, also of a damaged store */
	TENANT_HEAR,  /* as READ, but opens nothing: for why it could not be opened */
};

struct inside {
	struct tenant *tenant;
	struct engine *engine;
	struct collection *collection; /* tenant/'s own; NULL when nobody is inside */
	uint32_t cid;
};

/* -ENODEV: the tenant or collection is gone. Needs tenant_leave. Entering twice is fine. */
int tenant_enter(struct tenants *ts, uint32_t cid, enum tenant_access access, struct inside *ret,
                 struct err *e);
void tenant_leave(struct inside *in);
/* Of whom one is inside; nobody: 0. */
uint32_t tenant_number(const struct inside *in);
bool tenant_holds_shared(const struct inside *in); /* what is in shared/ */

/* ---- labels: a tenant's own KEY VALUE pairs ---- */

/* `KEY VALUE` lines, sorted. -EIO: damaged. */
int tenant_labels(struct inside *in, struct buf *ret, struct err *e);
/*
 * Adds and replaces; `KEY default` takes one away. All or none. -EINVAL, -E2BIG: more than
 * LIMIT_LABELS bytes in all.
 */
int tenant_set_labels(struct inside *in, const char *text, size_t n, struct err *e);

/* ---- collections/ (in: entered by the tenant's number) ---- */

/* -EEXIST, -EDQUOT. */
int tenant_collection_create(struct inside *in, const char *name, const struct owner *o,
                             uint32_t *ret_cid, struct err *e);
/* -ENOTEMPTY unless it or the tenant is pending-deletion; -EPERM: the default one. */
int tenant_collection_remove(struct inside *in, uint32_t cid, struct err *e);

/* ---- writing: as engine_batch_*, with the limits checked first ---- */
struct tenant_batch;

/* Stays inside by itself until commit or abort. */
int tenant_batch_begin(struct tenants *ts, uint32_t cid, struct tenant_batch **ret, struct err *e);
/*
 * -EDQUOT when committed + reserved + 1 exceeds max_vectors, or bytes max_bytes; what replaces a
 * stored vector is not refused for its number. -E2BIG above max_dimension. -EAGAIN by
 * max_write_rate, or it waits: -EINTR. Reservations and tokens of replaced
 * and rejected vectors return at the end of the batch. Status is checked on every call.
 */
int tenant_batch_add(struct tenant_batch *b, const struct record *r, struct err *e);
size_t tenant_batch_rows(const struct tenant_batch *b);
/* It has max_batch vectors: commit before the next add. */
bool tenant_batch_full(const struct tenant_batch *b);
/* Commits or fails, frees b. */
int tenant_batch_commit(struct tenant_batch *b, const uint8_t *token, struct receipt *receipt,
                        struct batch_result *ret, struct err *e);
void tenant_batch_abort(struct tenant_batch *b); /* NULL allowed */

/* engine_set_metadata with max_bytes checked. */
int tenant_set_metadata(struct inside *in, uint64_t num, const char *json, size_t n, struct err *e);

/* engine_rename with max_bytes checked: the IDs count. */
int tenant_rename_vector(struct inside *in, const struct engine_rename *r, struct err *e);

/* ---- removing: as engine_remove*, counted ---- */
int tenant_remove(struct inside *in, const struct id_ref *ids, size_t n, uint64_t *ret_removed,
                  struct err *e);
int tenant_remove_all(struct inside *in, uint64_t *ret_removed, struct err *e);

/* ---- asking ---- */
/*
 * engine_search with max_results checked (-ERANGE), counted and timed. n_before: queries of this
 * exchange so far (max_batch: -E2BIG). -EAGAIN by max_qps and max_concurrent, or it waits: -EINTR. A query that names no k gets the collection's, as far as
 * max_results allows.
 */
int tenant_search(struct inside *in, const struct query *q, size_t n_before, struct answer *a,
                  struct err *e);

/*
 * What a call does that comes too early for max_qps, max_write_rate or max_concurrent: it waits
 * for its turn, or is refused (the default). A collection's own, persistent. -ENODEV.
 */
int tenant_on_limit(struct tenants *ts, uint32_t cid, bool *ret_waits);
int tenant_set_on_limit(struct inside *in, bool waits, struct err *e);

/*
 * From how many microseconds on a query of a collection is told (UINT64_MAX: none), its own setting,
 * persistent. The mount's config has one for all; the smaller one holds. -ENODEV.
 */
#define SLOW_QUERY_US_MAX 3600000000u
int tenant_slow_query_us(struct tenants *ts, uint32_t cid, uint64_t *ret);
int tenant_set_slow_query_us(struct inside *in, uint64_t us, struct err *e);
/*
 * What to tell of an answer that is slow, as "KEY=VALUE ...": whose it is, how long it took and why.
 * At most one a second and tenant; its events have it by then.
 */
void tenant_slow_line(struct inside *in, const struct inside *of, const struct answer *a,
                      struct buf *ret);

/* ---- shared collections ---- */

/*
 * Further collections of a tenant that is not found by name nor listed, without limits: root
 * writes them, every tenant may search them. Each has a slot, 1 to SHARED_SLOTS, which is never
 * used again for another one, and under which a tenant's nodes name it.
 */
#define SHARED_SLOTS 65535

uint32_t tenants_shared(struct tenants *ts); /* the number of that tenant; 0: there is none yet */
/* Makes a collection, and before the first one the tenant. -EEXIST, -EDQUOT, -EROFS. */
int tenants_shared_create(struct tenants *ts, const char *name, const struct owner *o,
                          uint32_t *ret_cid, struct err *e);
/* -ENODEV. Memory. */
int tenants_shared_slot(struct tenants *ts, uint32_t cid, uint32_t *ret_slot);
int tenants_shared_at(struct tenants *ts, uint32_t slot, uint32_t *ret_cid);
/* tenant_search in another collection: the limits, turns and counts are those of in. */
int tenant_search_in(struct inside *in, const struct inside *of, const struct query *q,
                     size_t n_before, struct answer *a, struct err *e);

/* ---- across tenants, for root ---- */

/* What a search over all tenants has seen. */
struct across {
	size_t searched;
	size_t other_dimension, other_metric; /* skipped: their distances mean something else */
	size_t unreadable;                    /* a store that does not open, or fails */
	size_t dimension;                     /* that was asked for */
	enum metric metric;
};
/*
 * Searches the default collection of each tenant that is active or readonly, the k nearest of all
 * into a, each with its tenant. The metric is q's, or that of most of the tenants with q's dimension
 * (like: TENANT/ID, whose metric it is); k is 10 unless q has one. Tenants' limits, counts and last
 * access are not touched. -EINVAL: every tenant with vectors was skipped; -ENOENT, -EINTR between
 * tenants.
 */
int tenants_search(struct tenants *ts, const struct query *q, size_t n_before, struct answer *a,
                   struct across *ret, struct err *e);
/* What was left out, as a sentence that names nobody; nothing when nothing was. */
void across_note(const struct across *x, struct buf *ret);
/* `NAME KEY=VALUE ...` a line, by last access, newest first. -ENOMEM. */
int tenants_list(struct tenants *ts, struct buf *ret, struct err *e);

/* ---- figures ---- */
/* Counts a failed operation of a client; refusals by a limit are counted where they happen. */
void tenant_count_error(struct inside *in);
/* A limit of its quota refused something that is not asked of this room. */
void tenant_count_rejected(struct inside *in, enum quota_key k);
/*
 * The file stats of the collection in->cid; with whole_tenant also collections, quota_utilization,
 * near_quota and rejected_* of its tenant.
 */
int tenant_stats_render(struct inside *in, bool whole_tenant, struct buf *ret, struct err *e);
/*
 * The top's stats: sums over all tenants without opening any (figures of closed ones are those at
 * their closing), tenants, uptime_s, server_pid.
 */
void tenants_stats_render(struct tenants *ts, struct buf *ret);

/* ---- the mount's parameters, metrics, audit ---- */
/* The file config at the top. */
void tenants_config_render(struct tenants *ts, struct buf *ret);
/* All or none. -EINVAL, -ERANGE, -EROFS. */
int tenants_set_config(struct tenants *ts, const char *text, size_t n, struct err *e);
/* The file metrics/ruvectorfs.prom. */
int tenants_metrics_render(struct tenants *ts, struct buf *ret, struct err *e);
/* Owner and mode of the directory metrics/, persistent. */
void tenants_metrics_owner(struct tenants *ts, struct owner *ret);
int tenants_set_metrics_owner(struct tenants *ts, const struct owner *o, struct err *e);
struct audit *tenants_audit(struct tenants *ts); /* audit.h */

/* ---- events ---- */
/* Where a reader of a tenant's events stands. */
struct event_cursor {
	uint64_t next;
};
/*
 * Lines are kept from now on, until tenant_events_close. *ret_conditions: lines of what holds
 * now. in: by the tenant's number.
 */
int tenant_events_open(struct inside *in, struct event_cursor *ret, struct buf *ret_conditions,
                       struct err *e);
void tenant_events_close(struct tenants *ts, uint32_t number);
/* Appends whole lines, at most some 10 KB; nothing when nothing has happened since. */
void tenant_events_read(struct inside *in, struct event_cursor *c, struct buf *ret);
/* Whether a read would give something. */
bool tenant_events_pending(struct inside *in, const struct event_cursor *c);
/*
 * fn is called, from any thread and under any lock of this room, when a tenant that has readers
 * has something for them, or is gone; 0: any tenant may. Set before anybody reads.
 */
void tenants_on_event(struct tenants *ts, void (*fn)(void *ctx, uint32_t number), void *ctx);
/* Calls it: who waits for this tenant's events, or any's, looks again whether it may. */
void tenants_tell_readers(struct tenants *ts, uint32_t number);
/* Its limits were changed: near_quota may hold now, or not any more. */
int tenants_quota_changed(struct tenants *ts, uint32_t number);

/* ---- integrity ---- */
/* In the background; 0 also when it runs already. */
int tenant_verify_start(struct tenants *ts, uint32_t cid, struct err *e);
/* Likewise a compaction. -EROFS, -EACCES as the status says. */
int tenant_compact_start(struct tenants *ts, uint32_t cid, struct err *e);
/* The file integrity. */
void tenant_health(struct tenants *ts, uint32_t cid, struct buf *ret);

#endif
