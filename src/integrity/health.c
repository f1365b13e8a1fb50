/*
 * health.c: one entry a collection in a map by its number, one job a verification.
 *
 * Lock order: h->lock is innermost; neither the engine nor release is called under it.
 */
#include "integrity/health.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/mem.h"

struct entry {
	uint32_t cid;
	struct health_info info; /* lock */
	bool forgotten;          /* lock; freed by the job when it ends */
	atomic_bool stop;
};

struct health {
	struct workers *workers; /* const */
	struct mutex lock;
	struct cond idle;
	struct map entries; /* lock */
	unsigned n_jobs;    /* lock */
	bool ending;        /* lock */
};

struct job {
	struct health *health;
	struct entry *entry;
	struct health_target target;
	bool compact; /* otherwise verify */
};

static bool entry_is(const void *ctx, uint64_t value)
{
	return ((const struct entry *)(uintptr_t)value)->cid == *(const uint32_t *)ctx;
}

static struct entry *entry_find_locked(const struct health *h, uint32_t cid)
{
	uint64_t v;

	return map_find(&h->entries, map_hash_u64(cid), entry_is, &cid, &v)
	               ? (struct entry *)(uintptr_t)v
	               : NULL;
}

static struct entry *entry_make_locked(struct health *h, uint32_t cid)
{
	struct entry *en = entry_find_locked(h, cid);

	if (en)
		return en;
	en = mem_zalloc(1, sizeof(*en));
	if (!en)
		return NULL;
	en->cid = cid;
	if (map_add(&h->entries, map_hash_u64(cid), (uintptr_t)en) < 0) {
		mem_free(en);
		return NULL;
	}
	return en;
}

struct health *health_new(struct workers *workers)
{
	struct health *h = mem_zalloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->workers = workers;
	mutex_init(&h->lock);
	cond_init(&h->idle);
	return h;
}

static void stop_all_locked(struct health *h)
{
	size_t pos = 0;
	uint64_t v;

	while (map_next(&h->entries, &pos, &v))
		atomic_store(&((struct entry *)(uintptr_t)v)->stop, true);
}

void health_end(struct health *h)
{
	if (!h)
		return;
	mutex_lock(&h->lock);
	h->ending = true;
	stop_all_locked(h);
	while (h->n_jobs > 0)
		cond_wait(&h->idle, &h->lock);
	mutex_unlock(&h->lock);
}

void health_free(struct health *h)
{
	size_t pos = 0;
	uint64_t v;

	if (!h)
		return;
	health_end(h);
	while (map_next(&h->entries, &pos, &v))
		mem_free((struct entry *)(uintptr_t)v);
	map_release(&h->entries);
	cond_destroy(&h->idle);
	mutex_destroy(&h->lock);
	mem_free(h);
}

static int progress(void *ctx, uint64_t rows)
{
	struct job *j = ctx;

	if (atomic_load(&j->entry->stop))
		return -ECANCELED;
	mutex_lock(&j->health->lock);
	j->entry->info.rows_done = rows;
	mutex_unlock(&j->health->lock);
	return 0;
}

static bool report_is_clean(const struct engine_report *r)
{
	return r->checksum_errors == 0 && r->disagreements == 0 && r->unreachable == 0 &&
	       r->broken_links == 0;
}

/* A verification that was stopped leaves what the one before it found. */
static void settle_locked(struct entry *en, int rc, const struct engine_report *r,
                          const struct err *e)
{
	struct health_info *i = &en->info;

	i->verifying = false;
	i->rows_done = 0;
	if (rc == -ECANCELED || rc == -ENODEV)
		return;
	i->checked_s = clock_wall_ns() / 1000000000u;
	i->report = *r;
	if (rc < 0) {
		i->state = HEALTH_FAILED;
		memcpy(i->report.first, e->text, sizeof(i->report.first));
		i->report.first[sizeof(i->report.first) - 1] = '\0';
		return;
	}
	i->state = report_is_clean(r) ? HEALTH_HEALTHY : HEALTH_DAMAGED;
}

static bool is_busy(const struct entry *en)
{
	return en->info.verifying || en->info.compacting;
}

/* By who has ended its work on it in the same hold of the lock: nobody else looks after it. */
static void let_go_locked(struct entry *en)
{
	if (en->forgotten && !is_busy(en))
		mem_free(en);
}

static int compact_progress(void *ctx, unsigned percent)
{
	struct job *j = ctx;

	if (atomic_load(&j->entry->stop))
		return -ECANCELED;
	mutex_lock(&j->health->lock);
	j->entry->info.percent = percent;
	mutex_unlock(&j->health->lock);
	return 0;
}

static void compact(struct job *j)
{
	struct health_info *i = &j->entry->info;
	struct err e = { 0 };
	uint64_t bytes = 0;
	int rc = -ECANCELED;

	if (!atomic_load(&j->entry->stop))
		rc = engine_compact(j->target.engine, j->target.cid, compact_progress, j, &bytes,
		                    &e);
	mutex_lock(&j->health->lock);
	i->compacting = false;
	i->percent = 0;
	if (rc != -ECANCELED && rc != -ENODEV) {
		i->compacted_s = clock_wall_ns() / 1000000000u;
		i->reclaimed_bytes = bytes;
		i->compact_error = e;
		i->compact_error.code = rc;
	}
	let_go_locked(j->entry);
	mutex_unlock(&j->health->lock);
}

static void verify(struct job *j)
{
	const struct verify_watch watch = { .progress = progress, .ctx = j };
	struct engine_report report = { 0 };
	struct err e = { 0 };
	int rc = -ECANCELED;

	if (!atomic_load(&j->entry->stop))
		rc = engine_verify(j->target.engine, j->target.cid, &watch, &report, &e);
	if (rc == 0 && j->target.also)
		rc = j->target.also(j->target.ctx, &report, &e);
	mutex_lock(&j->health->lock);
	settle_locked(j->entry, rc, &report, &e);
	let_go_locked(j->entry);
	mutex_unlock(&j->health->lock);
}

static void run(void *arg)
{
	struct job *j = arg;
	struct health *h = j->health;

	if (j->compact)
		compact(j);
	else
		verify(j);
	if (j->target.release)
		j->target.release(j->target.ctx);
	mem_free(j);
	/* Last: health_free and the workers' owner may go on from here. */
	mutex_lock(&h->lock);
	h->n_jobs--;
	cond_broadcast(&h->idle);
	mutex_unlock(&h->lock);
}

static uint64_t live_vectors(const struct health_target *t)
{
	struct collection_info info;

	return engine_collection_info(t->engine, t->cid, &info) < 0 ? 0 : info.vectors;
}

static int start_locked(struct health *h, struct job *j, uint64_t total, struct err *e)
{
	struct entry *en;

	if (h->ending)
		return err_set(e, -ESHUTDOWN, "the filesystem is being unmounted");
	en = entry_make_locked(h, j->target.cid);
	if (!en)
		return err_nomem(e);
	if (j->compact ? en->info.compacting : en->info.verifying)
		return err_set(e, -EALREADY, "a %s is already under way",
		               j->compact ? "compaction" : "verification");
	j->entry = en;
	atomic_store(&en->stop, false);
	if (workers_submit(h->workers, run, j) < 0)
		return err_nomem(e);
	if (j->compact) {
		en->info.compacting = true;
	} else {
		en->info.verifying = true;
		en->info.rows_done = 0;
		en->info.rows_total = total;
	}
	h->n_jobs++;
	return 0;
}

static int start(struct health *h, const struct health_target *t, bool is_compaction, struct err *e)
{
	struct job *j = mem_zalloc(1, sizeof(*j));
	uint64_t total = live_vectors(t);
	int rc;

	if (!j)
		return err_nomem(e);
	j->health = h;
	j->target = *t;
	j->compact = is_compaction;
	mutex_lock(&h->lock);
	rc = start_locked(h, j, total, e);
	mutex_unlock(&h->lock);
	if (rc < 0)
		mem_free(j);
	return rc;
}

int health_start(struct health *h, const struct health_target *t, struct err *e)
{
	return start(h, t, false, e);
}

int health_compact(struct health *h, const struct health_target *t, struct err *e)
{
	return start(h, t, true, e);
}

void health_stop(struct health *h, uint32_t cid)
{
	struct entry *en;

	mutex_lock(&h->lock);
	en = entry_find_locked(h, cid);
	if (en)
		atomic_store(&en->stop, true);
	mutex_unlock(&h->lock);
}

void health_get(struct health *h, uint32_t cid, struct health_info *ret)
{
	struct entry *en;

	memset(ret, 0, sizeof(*ret));
	mutex_lock(&h->lock);
	en = entry_find_locked(h, cid);
	if (en)
		*ret = en->info;
	mutex_unlock(&h->lock);
}

void health_note_damage(struct health *h, uint32_t cid, const char *sentence)
{
	struct entry *en;

	mutex_lock(&h->lock);
	en = h->ending ? NULL : entry_make_locked(h, cid);
	if (en) {
		en->info.state = HEALTH_DAMAGED;
		snprintf(en->info.report.first, sizeof(en->info.report.first), "%s", sentence);
	}
	mutex_unlock(&h->lock);
}

void health_forget(struct health *h, uint32_t cid)
{
	struct entry *en;

	mutex_lock(&h->lock);
	en = entry_find_locked(h, cid);
	if (en) {
		map_remove(&h->entries, map_hash_u64(cid), entry_is, &cid);
		atomic_store(&en->stop, true);
		en->forgotten = true;
		if (!is_busy(en))
			mem_free(en);
	}
	mutex_unlock(&h->lock);
}

bool health_busy(struct health *h)
{
	bool busy;

	mutex_lock(&h->lock);
	busy = h->n_jobs > 0;
	mutex_unlock(&h->lock);
	return busy;
}

const char *health_state_name(const struct health_info *i)
{
	static const char *const names[] = {
		[HEALTH_UNVERIFIED] = "unverified",
		[HEALTH_HEALTHY] = "healthy",
		[HEALTH_DAMAGED] = "damaged",
		[HEALTH_FAILED] = "failed",
	};

	return i->verifying ? "verifying" : names[i->state];
}

void health_render(const struct health_info *i, struct buf *ret)
{
	const struct engine_report *r = &i->report;
	uint64_t total = i->rows_total ? i->rows_total : 1;
	uint64_t done = i->rows_done < total ? i->rows_done : total;

	buf_addf(ret, "state %s\n", health_state_name(i));
	buf_addf(ret, "checked_s %" PRIu64 "\n", i->checked_s);
	buf_addf(ret, "rows_checked %" PRIu64 "\n", r->rows_checked);
	buf_addf(ret, "unreachable %" PRIu64 "\n", r->unreachable);
	buf_addf(ret, "broken_links %" PRIu64 "\n", r->broken_links);
	buf_addf(ret, "checksum_errors %" PRIu64 "\n", r->checksum_errors);
	buf_addf(ret, "disagreements %" PRIu64 "\n", r->disagreements);
	if (i->verifying)
		buf_addf(ret, "verifying %" PRIu64 "%%\n", done * 100 / total);
	else
		buf_adds(ret, "verifying no\n");
	if (i->compacting)
		buf_addf(ret, "compacting %u%%\n", i->percent);
	else
		buf_adds(ret, "compacting no\n");
	buf_addf(ret, "compacted_s %" PRIu64 "\n", i->compacted_s);
	buf_addf(ret, "reclaimed_bytes %" PRIu64 "\n", i->reclaimed_bytes);
	if (i->compact_error.code)
		buf_addf(ret, "error compact: %s\n", i->compact_error.text);
	if (r->first[0])
		buf_addf(ret, "error %s\n", r->first);
}
