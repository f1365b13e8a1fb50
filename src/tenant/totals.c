/*
 * totals.c: counts since creation, in DATA/stores/N/totals.
 *
 * Read when the tenant's engine opens for the first time, written when it closes and, while
 * something is counted, every SAVE_NS by the keeper: so a crash of the daemon loses what was
 * counted in the last minute in which anything was. Statistics only: written aside and renamed,
 * not synced; one that is damaged is as good as none. What the engine counts with its commits
 * (inserts and deletes of a collection) is exact and not in here.
 *
 *     ruvectorfs totals 1
 *     tenant QUERIES INSERTS DELETES ERRORS     over all collections, removed ones too
 *     rejected KEY COUNT                        a line a key of quota
 *     collection CID QUERIES ERRORS             a line a collection
 *     crc32c HEX                                of all the lines before
 */
#include "tenant/tenant_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc.h"
#include "base/io.h"
#include "base/mem.h"

#define FIRST_LINE "ruvectorfs totals 1\n"
#define SAVE_NS    60000000000ull
#define FILE_MAX   (1u << 20)

static uint64_t load(const _Atomic uint64_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

static void add(_Atomic uint64_t *v, uint64_t n)
{
	atomic_fetch_add_explicit(v, n, memory_order_relaxed);
}

/* ---- reading ---- */

struct parsed {
	struct tenant *t;
	bool with_tally;
};

static void take_rejected(struct tenant *t, const char *key, uint64_t n)
{
	for (int k = 0; k < QUOTA_N; k++)
		if (strcmp(quota_key_name((enum quota_key)k), key) == 0)
			add(&t->watch.rejected_before[k], n);
}

static void take_collection(struct tenant *t, uint32_t cid, uint64_t queries, uint64_t errors)
{
	struct collection *c;

	mutex_lock(&t->ts->lock);
	c = collection_find_locked(t->ts, cid);
	if (c && c->tenant == t) {
		add(&c->activity.before[COUNT_QUERIES], queries);
		add(&c->activity.before[COUNT_ERRORS], errors);
	}
	mutex_unlock(&t->ts->lock);
}

/* Lines of a later version are passed over. */
static void take_line(const struct parsed *p, const char *line)
{
	uint64_t n[COUNT_N];
	uint32_t cid;
	char key[32];

	if (sscanf(line, "tenant %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &n[0], &n[1], &n[2],
	           &n[3]) == COUNT_N) {
		for (int k = 0; p->with_tally && k < COUNT_N; k++)
			add(&p->t->watch.tally.n[k], n[k]);
	} else if (sscanf(line, "rejected %31s %" SCNu64, key, &n[0]) == 2) {
		take_rejected(p->t, key, n[0]);
	} else if (sscanf(line, "collection %" SCNu32 " %" SCNu64 " %" SCNu64, &cid, &n[0],
	                  &n[1]) == 3) {
		take_collection(p->t, cid, n[0], n[1]);
	}
}

/* Whole, of this version, and its checksum holds: what stands between first and last line. */
static bool check(char *text, size_t n)
{
	char *last = strstr(text, "\ncrc32c ");
	uint32_t crc;

	if (strncmp(text, FIRST_LINE, strlen(FIRST_LINE)) != 0 || !last ||
	    sscanf(last, "\ncrc32c %" SCNx32, &crc) != 1)
		return false;
	last[1] = '\0';
	return crc32c(0, text, (size_t)(last + 1 - text)) == crc;
}

static void take(const struct parsed *p, char *text)
{
	char *rest = text;
	char *line;

	while ((line = strsep(&rest, "\n")))
		take_line(p, line);
}

static char *read_file(const struct tenant *t, size_t *ret_n)
{
	char path[4096];
	char *text;
	off_t n;
	int fd;

	if (!tenant_store_path(t, path, sizeof(path), "totals"))
		return NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return NULL;
	n = lseek(fd, 0, SEEK_END);
	text = n > 0 && n <= FILE_MAX ? mem_zalloc((size_t)n + 1, 1) : NULL;
	if (text && io_read_at(fd, text, (size_t)n, 0) < 0) {
		mem_free(text);
		text = NULL;
	}
	close(fd);
	*ret_n = (size_t)n;
	return text;
}

static void read_locked(struct tenant *t) REQUIRES(t->watch.totals_lock)
{
	struct parsed p = { .t = t };
	char *text;
	size_t n;

	if (t->watch.totals_known)
		return;
	t->watch.totals_known = true;
	mutex_lock(&t->ts->lock);
	p.with_tally = !t->watch.tally_known;
	t->watch.tally_known = true;
	mutex_unlock(&t->ts->lock);
	text = read_file(t, &n);
	if (text && check(text, n))
		take(&p, text);
	mem_free(text);
}

void totals_read(struct tenant *t)
{
	mutex_lock(&t->watch.totals_lock);
	read_locked(t);
	mutex_unlock(&t->watch.totals_lock);
}

/* ---- writing ---- */

static void render(struct tenant *t, struct buf *ret)
{
	struct tally *tally = &t->watch.tally;

	buf_adds(ret, FIRST_LINE "tenant");
	for (int k = 0; k < COUNT_N; k++)
		buf_addf(ret, " %" PRIu64, load(&tally->n[k]));
	for (int k = 0; k < QUOTA_N; k++)
		buf_addf(ret, "\nrejected %s %" PRIu64, quota_key_name((enum quota_key)k),
		         load(&t->watch.rejected_before[k]) + load(&t->rejected[k]));
	buf_addc(ret, '\n');
	mutex_lock(&t->ts->lock);
	for (struct collection *c = &t->own; c; c = c->next) {
		struct activity *a = &c->activity;

		if (!c->removed)
			buf_addf(ret, "collection %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", c->cid,
			         load(&a->before[COUNT_QUERIES]) + load(&a->n[COUNT_QUERIES]),
			         load(&a->before[COUNT_ERRORS]) + load(&a->n[COUNT_ERRORS]));
	}
	mutex_unlock(&t->ts->lock);
	if (!buf_failed(ret))
		buf_addf(ret, "crc32c %08" PRIx32 "\n", crc32c(0, ret->data, ret->len));
}

static int write_aside(const char *path, const struct buf *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc;

	if (fd < 0)
		return -errno;
	rc = io_write_at(fd, text->data, text->len, 0);
	close(fd);
	if (rc < 0)
		unlink(path);
	return rc;
}

static void write_locked(struct tenant *t) REQUIRES(t->watch.totals_lock)
{
	struct buf text BUF_AUTO = BUF_INIT;
	char path[4096];
	char aside[4096];

	if (!tenant_store_path(t, path, sizeof(path), "totals") ||
	    !tenant_store_path(t, aside, sizeof(aside), "totals.tmp"))
		return;
	render(t, &text);
	if (buf_failed(&text) || write_aside(aside, &text) < 0)
		return;
	if (rename(aside, path) < 0)
		unlink(aside);
}

void totals_write(struct tenant *t)
{
	mutex_lock(&t->watch.totals_lock);
	if (tenant_store_exists(t)) {
		read_locked(t);
		write_locked(t);
	}
	mutex_unlock(&t->watch.totals_lock);
}

/* ---- now and then ---- */

void totals_touch(struct tenant *t)
{
	struct tenants *ts = t->ts;
	uint64_t now = clock_mono_ns();
	uint64_t saved = atomic_load_explicit(&t->watch.saved_ns, memory_order_relaxed);

	if (saved == 0)
		saved = ts->started_ns;
	if (now - saved < SAVE_NS || ts->read_only)
		return;
	atomic_store_explicit(&t->watch.saved_ns, now, memory_order_relaxed);
	mutex_lock(&ts->lock);
	if (!t->watch.unsaved && ts->has_keeper) {
		tenant_pin_locked(ts, t);
		t->watch.unsaved = true;
		t->watch.unsaved_next = ts->unsaved;
		ts->unsaved = t;
		cond_signal(&ts->wake);
	}
	mutex_unlock(&ts->lock);
}

void totals_write_next_locked(struct tenants *ts)
{
	struct tenant *t = ts->unsaved;

	ts->unsaved = t->watch.unsaved_next;
	t->watch.unsaved = false;
	mutex_unlock(&ts->lock);
	totals_write(t);
	tenant_unpin(t);
	mutex_lock(&ts->lock);
}
