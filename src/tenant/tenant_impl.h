/*
 * tenant_impl.h: what the files of src/tenant share. Private to this room.
 *
 * A struct tenant lives from tenants_create (or the registry at open) until it was removed and
 * nobody is inside: whoever looks at one outside ts->lock has entered it (tenant->entered
 * counts them). Its engine is there while somebody is inside, and as long afterwards as it is
 * among the LIMIT_OPEN_TENANTS most recently used ones. One thread for the mount, the keeper
 * (keeper.c), closes what is beyond, and erases what was removed or is due to go.
 *
 * Locks, outermost first. None but door is held while an engine opens or closes.
 *     tenant->door   one at a time opens or closes the tenant's engine, or makes a further
 *     collection tenant->gate   for reading: a commit from its status check until its claim on
 *     the quota is settled; for writing: changes of
 *                    status and removals, which therefore see no commit half done
 *     ts->change     one at a time changes the registry
 *     tenant->quota_lock   claims; engine_usage() is called under it
 *     ts->lock       all that says so below; never held over a call that blocks
 */
#ifndef RV_TENANT_TENANT_IMPL_H
#define RV_TENANT_TENANT_IMPL_H

#include <stdatomic.h>

#include "base/lock.h"
#include "base/map.h"
#include "base/usage.h"
#include "store/registry_db.h"
#include "tenant/counters.h"
#include "tenant/rate.h"
#include "tenant/settings.h"
#include "tenant/tenant.h"

/* ---- figures ---- */

/* What stays known of a tenant whose engine is closed. */
struct figures {
	uint64_t vectors;
	uint64_t deleted;
	uint64_t bytes;
	uint64_t inserts;
	uint64_t deletes;
	uint64_t collections; /* further ones, the default one not counted */
};

/* What is seen of a tenant beside its figures. */
struct watch {
	struct tally tally;                        /* since creation, as far as it is known */
	_Atomic uint64_t rejected_before[QUOTA_N]; /* relaxed; since creation until the mount */
	_Atomic uint64_t saved_ns;                 /* relaxed; when the totals were, monotonic */
	bool tally_known;                          /* ts->lock */
	bool unsaved;                              /* ts->lock; in the list by unsaved_next */
	struct tenant *unsaved_next;               /* ts->lock */
	struct mutex totals_lock;                  /* outside ts->lock; the file totals */
	bool totals_known;                         /* totals_lock */
	bool near_quota;                           /* tenant->quota_lock */
	_Atomic uint64_t near_since_ns;            /* relaxed; monotonic, 0: it is not near */
	struct mutex events_lock;                  /* innermost */
	struct event_ring *events;                 /* events_lock; NULL: nobody reads */
	_Atomic bool has_readers;                  /* relaxed */
	_Atomic uint64_t recovered_s;              /* relaxed; since 1970, 0: not since the mount */
};

struct collection {
	uint32_t cid;                        /* const */
	struct tenant *tenant;               /* const */
	struct collection *next;             /* ts->lock; of the tenant, removed ones too */
	enum tenant_status status;           /* ts->lock; its own, beside the tenant's */
	bool waits;                          /* ts->lock; on_limit of its config */
	_Atomic uint64_t slow_us;            /* relaxed; slow_query_us of its config, less one */
	bool removed;                        /* ts->lock */
	uint16_t slot;                       /* ts->lock; of a shared one, 0: none */
	struct activity activity;
};

/* What open batches may still add. quota_lock */
struct claim {
	uint64_t vectors;
	uint64_t bytes;
	uint64_t borrowed_vectors; /* of IDs that existed: see tenant_batch.c */
	uint64_t borrowed_bytes;
};

/* How long a tenant has been pending-deletion. ts->lock */
struct pending {
	uint64_t elapsed_ns; /* when it was at_ns */
	uint64_t at_ns;      /* monotonic */
	uint64_t stored_ns;  /* the wall clock's "since" in the registry */
	uint64_t retry_ns;   /* a purge failed: not before (monotonic) */
};

struct tenant {
	struct tenants *ts;    /* const */
	uint32_t number;       /* const */
	bool is_shared;        /* const: what is in shared/ */
	uint64_t created_ns;   /* const */
	struct collection own; /* the default one; first of the list by next */

	/* ts->lock */
	char name[LIMIT_NAME + 1];
	struct owner owner;
	enum tenant_status status;
	struct pending pending;
	struct quota quota;
	bool removed;
	unsigned entered;
	unsigned n_collections;               /* further ones */
	uint64_t used;                        /* ts->tick when it was last entered */
	struct tenant *idle_prev, *idle_next; /* open and not entered */
	struct tenant *dead_next;             /* removed and left */
	struct figures figures;               /* of the engine that was closed last */
	bool figures_known;

	struct mutex door;
	struct engine *engine; /* changes under door and ts->lock; either is enough to read it */
	struct rwlock gate;
	struct mutex quota_lock;
	struct claim claims;                /* quota_lock; sums over open batches */
	_Atomic uint64_t rejected[QUOTA_N]; /* relaxed: statistic */
	struct rate queries, vectors;       /* max_qps, max_write_rate */
	_Atomic uint64_t searching;         /* counted while max_concurrent is set */
	_Atomic uint64_t slow_told_ns;      /* relaxed; when a slow query was told last */
	_Atomic uint64_t slow_untold;       /* relaxed; since then */
	struct usage usage;                 /* of the processors, with quota's weight */
	struct flow searches, index;
	unsigned n_waiting;                 /* ts->waiting.lock */
	struct watch watch;
};

/* Calls that wait for their turn: admit.c. */
#define WAITERS_OF_TENANT (WAITERS_MAX / 4)
struct waiting {
	struct mutex lock;
	struct cond changed;
	_Atomic unsigned n; /* lock to change */
};

struct tenants {
	/* const after open */
	char *data;
	bool read_only;
	char tier[TIER_NAME]; /* of new tenants */
	uint64_t shown_key;
	struct workers *workers;
	struct turns *turns;
	struct usage usage_across;
	struct flow across; /* of searches over all tenants */
	struct registry_db *db;
	struct health *health;
	struct audit *audit;
	void (*on_event)(void *ctx, uint32_t number); /* const once somebody may enter */
	void *on_event_ctx;
	struct settings settings; /* changes under change */
	uint64_t started_ns;
	pthread_t keeper;
	bool has_keeper;

	struct waiting waiting;
	struct mutex change;
	struct mutex lock;
	struct cond wake;       /* lock; the keeper has something to do */
	struct map names;       /* lock; name to tenant */
	struct map collections; /* lock; cid to collection */
	struct tenant **all;    /* lock; by number */
	size_t n;               /* lock */
	size_t cap;             /* lock */
	struct owner dir_owner; /* lock */
	struct owner metrics_owner; /* lock */
	struct tenant *idle;    /* lock */
	unsigned n_idle;        /* lock */
	struct tenant *dead;    /* lock */
	struct tenant *unsaved; /* lock; whose totals the keeper is to save, pinned */
	uint64_t tick;          /* lock */
	struct tiers tiers;     /* lock; changes under change, too */
	uint64_t life_check_ns; /* lock; monotonic: when the keeper looks who is to be purged */
	uint64_t memory_look_ns; /* lock; monotonic: when the keeper asks engines for their memory */
	bool ending;            /* lock */
	unsigned n_backups;     /* lock, changes under change, too; nothing is removed meanwhile */
};

/* ---- shared.c ---- */
/* A name that nobody can give. What is in shared/ are further collections of this tenant. */
#define SHARED_NAME ".shared"
static inline bool tenant_is_shared(const struct tenant *t)
{
	return t->is_shared;
}
int slots_load(struct tenants *ts, struct err *e);

/* ---- tenants.c ---- */
struct collection *collection_find_locked(struct tenants *ts, uint32_t cid) REQUIRES(ts->lock);
struct tenant *tenant_find_locked(struct tenants *ts, uint32_t number) REQUIRES(ts->lock);
/* The first tenant with a number > after, or NULL. */
struct tenant *tenant_after_locked(struct tenants *ts, uint32_t after) REQUIRES(ts->lock);
int tenant_insert_locked(struct tenants *ts, struct tenant *t, struct err *e) REQUIRES(ts->lock);
/* From all maps; not freed. */
void tenant_forget_locked(struct tenants *ts, struct tenant *t) REQUIRES(ts->lock);
struct tenant *tenant_new(struct tenants *ts, const struct registry_tenant *rt);
void tenant_free(struct tenant *t);
void tenant_to_registry_locked(const struct tenant *t, struct registry_tenant *ret);
void tenant_info_locked(const struct tenant *t, struct tenant_info *ret);
void tenant_take_quota_locked(struct tenants *ts, struct tenant *t, const struct quota *q)
	REQUIRES(ts->lock);
void quota_to_registry(const struct quota *q, struct registry_tenant *ret);
/* -EEXIST. The tenant is found under the new name after the second. */
int tenant_claim_name_locked(struct tenants *ts, struct tenant *t, const char *name, struct err *e)
	REQUIRES(ts->lock);
void tenant_take_name_locked(struct tenants *ts, struct tenant *t, const char *name)
	REQUIRES(ts->lock);
void tenant_unclaim_name_locked(struct tenants *ts, struct tenant *t, const char *name)
	REQUIRES(ts->lock);
/* Adds a further collection to the tenant and the map. */
int collection_add_locked(struct tenants *ts, struct tenant *t, uint32_t cid,
                          enum tenant_status status, struct err *e) REQUIRES(ts->lock);
/* From the map; freed when all have left. */
void collection_drop_locked(struct tenants *ts, struct collection *c) REQUIRES(ts->lock);
/* false: too long. */
bool tenant_store_path(const struct tenant *t, char *ret, size_t cap, const char *file);
bool tenant_store_exists(const struct tenant *t);
/*
 * Before the registry forgets a tenant, its store is marked by a file stores/N.removed, which goes
 * when the store is gone: the next open finishes what it finds marked, and nothing else. A mark
 * that cannot be made (the disk is full) keeps no removal from happening; one that cannot be
 * synced does, because behind a power cut the store would be one that nobody knows.
 */
#define REMOVED_SUFFIX ".removed"
int tenant_mark_removed(const struct tenant *t, bool removed, struct err *e);
enum tenant_status status_of_number(uint64_t v);

/* ---- admin.c ---- */
/* tenants_create without a look at the name. */
int tenant_create(struct tenants *ts, const char *name, const char *tier, const struct owner *o,
                  uint32_t *ret_number, struct err *e);
int refuse_read_only(const struct tenants *ts, struct err *e);
int refuse_backup_locked(const struct tenants *ts, struct err *e) REQUIRES(ts->lock); /* -EBUSY */
int err_no_tenant(struct err *e);
/* Pinned, or NULL. */
struct collection *pin_collection(struct tenants *ts, uint32_t cid);
int registry_form(struct tenants *ts, uint32_t number, struct tenant **ret,
                  struct registry_tenant *ret_rt, struct err *e) REQUIRES(ts->change);
/* tenants_remove of one that is pending-deletion and whose time is over. */
int tenant_purge(struct tenants *ts, uint32_t number, struct err *e);

/* ---- life.c ---- */
struct pending pending_of_registry(uint64_t since_ns);
uint64_t pending_to_registry(const struct tenant *t);
uint64_t pending_left_ns(const struct tenant *t, uint64_t now_ns);
/* Whoever changes what that depends on: the keeper looks again. */
void life_changed_locked(struct tenants *ts) REQUIRES(ts->lock);
/*
 * The keeper's: purges at most one tenant, letting go of ts->lock meanwhile. false: nothing to
 * do for *ret_ns (UINT64_MAX: until something changes).
 */
bool life_step_locked(struct tenants *ts, uint64_t *ret_ns) REQUIRES(ts->lock);

/* ---- shown.c ---- */
int shown_load(struct tenants *ts, struct err *e);

/* ---- tier_table.c ---- */
int tiers_load(struct tenants *ts, struct err *e);

/* ---- open.c ---- */
#define STATUS_SETTING_MAX 32
void collection_status_setting(uint32_t cid, char ret[STATUS_SETTING_MAX]);

/* ---- enter.c ---- */
/* -ENODEV, -EACCES, -EROFS as the status of tenant and collection says. */
int tenant_check_locked(const struct tenants *ts, const struct collection *c,
                        enum tenant_access access, struct err *e) REQUIRES(ts->lock);
int tenant_check(const struct inside *in, enum tenant_access access, struct err *e);
/* Stays while pinned, the engine as it is. */
void tenant_pin_locked(struct tenants *ts, struct tenant *t) REQUIRES(ts->lock);
/* Returns the tenant if it was removed and this was the last one: the caller erases it. */
struct tenant *tenant_unpin_locked(struct tenants *ts, struct tenant *t) REQUIRES(ts->lock);
void tenant_unpin(struct tenant *t);                     /* the keeper erases */
int tenant_open_engine(struct tenant *t, struct err *e); /* pinned; 0 also when it is open */
bool tenant_close_engine(struct tenant *t);              /* pinned once; false: somebody came in */
void tenant_erase(struct tenant *t);                     /* engine, store, memory */

/* ---- keeper.c ---- */
int keeper_start(struct tenants *ts, struct err *e);
void keeper_stop(struct tenants *ts); /* erases what waits for it */
void keeper_help(struct tenants *ts); /* closes engines here when the keeper cannot follow */

/* ---- memory.c ---- */
/*
 * The keeper's: looks whether open engines have more than memory_bytes, letting go of ts->lock
 * meanwhile. false: not yet, for *ret_ns (UINT64_MAX: until something changes).
 */
bool memory_step_locked(struct tenants *ts, uint64_t *ret_ns) REQUIRES(ts->lock);

/* ---- figures.c ---- */
void figures_read(struct tenant *t);   /* before anybody can enter */
bool figures_exist(const struct tenant *t);
void figures_unlink(struct tenant *t); /* before its engine opens */
void figures_write(struct tenant *t, const struct figures *f);
void figures_gather(struct engine *en, struct figures *ret); /* of an open engine */

/* ---- counting.c ---- */
void count_query(struct collection *c, uint64_t ns);
void count_work(struct collection *c, enum count k, uint64_t n);
void count_rejected(struct tenant *t, enum quota_key k);

/* ---- totals.c ---- */
void totals_read(struct tenant *t);  /* before its engine opens; once is enough */
void totals_write(struct tenant *t); /* not on a read-only mount */
/* Has the keeper write them when the last time is long ago. The caller is inside. */
void totals_touch(struct tenant *t);
/* Writes those of one tenant that waits for it. Lets go of ts->lock meanwhile. */
void totals_write_next_locked(struct tenants *ts) REQUIRES(ts->lock);

#endif
