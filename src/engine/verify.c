/*
 * verify.c: is what is stored, what is in memory and what is linked the same, and sound?
 *
 * The store checks its rows, floats and extents; hnsw_check the graph; here both are compared
 * with memory. Rows are compared page by page beside the writers; a page that seems to
 * disagree is compared again between two commits, so a difference that only was a moment's is
 * no finding.
 *
 * Lock order: maint, commit_gate, (store); link_gate, lock, mu.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/engine_impl.h"

#define PAGE_ROWS 512

struct verifying {
	struct collection *c;
	struct engine_report *report;
	struct verify_watch watch;
};

struct page_row {
	uint64_t num;
	uint64_t off;
	uint32_t slot;
};

struct page {
	struct page_row rows[PAGE_ROWS];
	size_t n;
	uint64_t after; /* covers the numbers above it ... */
	uint64_t last;  /* ... to this one */
};

static void __attribute__((format(printf, 2, 3))) finding(struct verifying *v, const char *fmt, ...)
{
	char sentence[sizeof(v->report->first)];
	va_list ap;

	if (v->report->first[0] && !v->watch.finding)
		return;
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	if (!v->report->first[0])
		memcpy(v->report->first, sentence, sizeof(sentence));
	if (v->watch.finding)
		v->watch.finding(v->watch.ctx, sentence);
}

/* ---- the store ---- */

static int verify_store(struct verifying *v, struct err *e)
{
	struct collection *c = v->c;
	struct store_report sr = { 0 };
	size_t dim;
	int rc;

	rwlock_read(&c->lock);
	dim = c->rows.dim;
	rwlock_read_unlock(&c->lock);
	rc = store_verify(c->engine->store, c->cid, (uint32_t)dim, &v->watch, &sr, e);
	if (rc < 0)
		return rc;
	v->report->rows_checked = sr.rows_checked;
	v->report->checksum_errors = sr.checksum_errors + sr.missing_floats + sr.database_errors;
	v->report->disagreements = sr.sequence_errors;
	memcpy(v->report->first, sr.first, sizeof(sr.first)); /* told already */
	return 0;
}

/* ---- the graph ---- */

static const char *slot_fault(const struct collection *c, uint32_t slot) REQUIRES(c->mu)
{
	const struct slot_info *si = &c->info[slot];
	enum row_state state = rows_state(&c->rows, slot);
	bool waits = si->flags & (SLOT_QUEUED | SLOT_LINKING);

	if (state == ROW_FREE)
		return si->flags & ~SLOT_IMAGE ? "is free and in use" : NULL;
	if (!rows_at(&c->rows, slot))
		return "has no floats";
	if (state == ROW_LIVE && idtable_at(&c->ids, si->entry)->slot != slot)
		return "is not the version of its ID";
	if (!c->graph)
		return waits || (si->flags & SLOT_LINKED) ? "is linked without a graph" : NULL;
	if (hnsw_has(c->graph, slot) != ((si->flags & SLOT_LINKED) != 0))
		return "is not as linked as it should be";
	if (state == ROW_LIVE && !waits && !(si->flags & SLOT_LINKED))
		return "is neither linked nor waiting";
	return NULL;
}

static void verify_slots(struct collection *c, struct verifying *v) REQUIRES_SHARED(c->lock)
{
	uint32_t live = 0;

	mutex_lock(&c->mu);
	for (uint32_t i = 0; i < c->rows.n; i++) {
		const char *fault = slot_fault(c, i);

		live += rows_state(&c->rows, i) == ROW_LIVE;
		if (!fault)
			continue;
		v->report->disagreements++;
		finding(v, "slot %u %s", i, fault);
	}
	if (live != c->live) {
		v->report->disagreements++;
		finding(v, "%u live slots are counted, there are %u", c->live, live);
	}
	if (c->lost_rows) {
		v->report->disagreements += c->lost_rows;
		finding(v, "%llu rows could not be read when the store was opened",
		        (unsigned long long)c->lost_rows);
	}
	mutex_unlock(&c->mu);
}

static int verify_graph(struct collection *c, struct verifying *v, struct err *e)
	REQUIRES_SHARED(c->lock)
{
	struct hnsw_report hr;
	struct engine_report *r = v->report;
	int rc = hnsw_check(c->graph, &hr, e);

	if (rc < 0)
		return rc;
	r->unreachable += hr.unreachable;
	r->broken_links += (uint64_t)hr.broken_links + hr.bad_levels;
	if (hr.unreachable)
		finding(v, "%u vectors cannot be reached in the graph", hr.unreachable);
	if (hr.broken_links || hr.bad_levels)
		finding(v, "the graph has %u broken links, %u bad levels", hr.broken_links,
		        hr.bad_levels);
	return 0;
}

static int verify_memory(struct verifying *v, struct err *e)
{
	struct collection *c = v->c;
	int rc = 0;

	rwlock_write(&c->link_gate);
	rwlock_read(&c->lock);
	if (c->removed)
		rc = err_gone(e);
	if (rc == 0)
		verify_slots(c, v);
	if (rc == 0 && c->graph && hnsw_lost(c->graph)) {
		v->report->disagreements++;
		finding(v, "the disk cannot read the graph: it is made anew");
	} else if (rc == 0 && c->graph) {
		rc = verify_graph(c, v, e);
	}
	rwlock_read_unlock(&c->lock);
	rwlock_write_unlock(&c->link_gate);
	return rc;
}

/* ---- rows against memory ---- */

static int page_add(void *ctx, const struct store_row *row)
{
	struct page *p = ctx;

	p->rows[p->n++] = (struct page_row){ .num = row->num, .off = row->off, .slot = row->slot };
	return 0;
}

static int page_read(struct collection *c, struct page *p, struct err *e)
{
	int rc;

	p->n = 0;
	rc = store_list(c->engine->store, c->cid, p->after, PAGE_ROWS, page_add, p, e);
	p->last = p->n == PAGE_ROWS ? p->rows[p->n - 1].num : UINT64_MAX;
	return rc;
}

/* Both sides are sorted by number. Returns how many differ, and the number of the first. */
static uint64_t page_differences(struct collection *c, const struct page *p, uint64_t *ret_num)
	REQUIRES(c->mu)
{
	uint32_t pos, entry;
	uint64_t n = 0;
	size_t i = 0;

	idtable_first_after(&c->ids, p->after, &pos);
	while (idtable_next(&c->ids, &pos, &entry)) {
		const struct id_entry *en = idtable_at(&c->ids, entry);
		bool there;

		if (en->num > p->last)
			break;
		if (en->slot == ROW_NONE)
			continue;
		for (; i < p->n && p->rows[i].num < en->num; i++)
			*ret_num = n++ ? *ret_num : p->rows[i].num;
		there = i < p->n && p->rows[i].num == en->num;
		if (!there || p->rows[i].slot != en->slot ||
		    p->rows[i].off != c->info[en->slot].off)
			*ret_num = n++ ? *ret_num : en->num;
		i += there;
	}
	for (; i < p->n; i++)
		*ret_num = n++ ? *ret_num : p->rows[i].num;
	return n;
}

static int page_compare(struct collection *c, struct page *p, uint64_t *ret_n, uint64_t *ret_num,
                        struct err *e)
{
	int rc = page_read(c, p, e);

	if (rc < 0)
		return rc;
	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	*ret_n = c->removed ? 0 : page_differences(c, p, ret_num);
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
	return 0;
}

static int verify_page(struct verifying *v, struct page *p, struct err *e)
{
	struct collection *c = v->c;
	uint64_t n = 0, num = 0;
	int rc = page_compare(c, p, &n, &num, e);

	if (rc < 0 || n == 0)
		return rc;
	mutex_lock(&c->maint); /* nothing moves */
	rwlock_write(&c->commit_gate);
	rc = page_compare(c, p, &n, &num, e);
	rwlock_write_unlock(&c->commit_gate);
	mutex_unlock(&c->maint);
	if (rc < 0 || n == 0)
		return rc;
	v->report->disagreements += n;
	finding(v, "store and memory do not agree on vector number %llu", (unsigned long long)num);
	return 0;
}

static int verify_rows(struct verifying *v, struct err *e)
{
	MEM_AUTO struct page *p = mem_zalloc(1, sizeof(*p));
	int rc = p ? 0 : err_nomem(e);

	while (rc == 0 && p->last != UINT64_MAX) {
		if (v->watch.progress &&
		    v->watch.progress(v->watch.ctx, v->report->rows_checked) != 0)
			return err_set(e, -ECANCELED, "the verification was stopped");
		p->after = p->last;
		rc = verify_page(v, p, e);
	}
	return rc;
}

int engine_verify(struct engine *en, uint32_t cid, const struct verify_watch *watch,
                  struct engine_report *ret, struct err *e)
{
	struct verifying v = { .report = ret };
	int rc;

	memset(ret, 0, sizeof(*ret));
	if (watch)
		v.watch = *watch;
	rc = collection_enter(en, cid, &v.c, e);
	if (rc < 0)
		return rc;
	rc = verify_store(&v, e);
	if (rc == 0)
		rc = verify_memory(&v, e);
	if (rc == 0)
		rc = verify_rows(&v, e);
	if (atomic_load(&v.c->leaving))
		rc = err_gone(e);
	collection_leave(v.c);
	return rc;
}
