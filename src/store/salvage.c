/*
 * salvage.c: see salvage.h.
 *
 * salvage_database.c finds collections, rows and what else the old database has, salvage_segment.c
 * what only the segment has still, salvage_image.c what the image of the graph remembers. The new
 * database is filled in one transaction, without syncs, and synced as a file at the end; then the
 * store is put together and verified.
 */
#include "store/salvage.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/salvage_impl.h"

void salvage_tell(struct salvage *x, const struct salvage_coll *c, const char *fmt, ...)
{
	char sentence[LIMIT_ID + 256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	x->watch->told(x->watch->ctx, c ? c->st.c.name : "default", sentence);
}

void salvage_saw(struct salvage *x)
{
	x->rows++;
	if (x->watch->progress)
		x->watch->progress(x->watch->ctx, x->rows);
}

/* ---- collections ---- */

struct salvage_coll *salvage_coll(struct salvage *x, uint32_t cid)
{
	for (size_t i = 0; i < x->n_colls; i++)
		if (x->colls[i].st.c.cid == cid)
			return &x->colls[i];
	return NULL;
}

static struct salvage_coll *add_coll(struct salvage *x, const struct coll_state *st, bool known)
{
	struct salvage_coll *p = mem_resize(x->colls, x->n_colls + 1, sizeof(*p));

	if (!p)
		return NULL;
	x->colls = p;
	p += x->n_colls++;
	*p = (struct salvage_coll){ .st = *st, .known = known, .fd = -1 };
	return p;
}

struct salvage_coll *salvage_coll_make(struct salvage *x, uint32_t cid)
{
	const struct collection_config config = COLLECTION_CONFIG_DEFAULT;
	struct salvage_coll *c = salvage_coll(x, cid);
	struct coll_state st = { .c = { .cid = cid, .config = config } };

	if (c)
		return c;
	st.c.owner.mode = 0700;
	st.c.created_ns = clock_wall_ns();
	st.c.next_num = st.c.next_receipt = 1;
	st.c.gen = 1;
	if (cid == x->default_cid)
		snprintf(st.c.name, sizeof(st.c.name), "default");
	else
		snprintf(st.c.name, sizeof(st.c.name), "recovered-%u", cid);
	return add_coll(x, &st, false);
}

/* Of two versions of a collection the one that has more behind it. */
static bool is_newer(const struct coll_state *a, const struct coll_state *b)
{
	if (a->c.next_num != b->c.next_num)
		return a->c.next_num > b->c.next_num;
	if (a->c.gen != b->c.gen)
		return a->c.gen > b->c.gen;
	if (a->c.total_inserts + a->c.total_deletes != b->c.total_inserts + b->c.total_deletes)
		return a->c.total_inserts + a->c.total_deletes >
		       b->c.total_inserts + b->c.total_deletes;
	return a->segment_end > b->segment_end;
}

int salvage_coll_take(struct salvage *x, const struct coll_state *st)
{
	struct salvage_coll *c = salvage_coll(x, st->c.cid);

	if (!c)
		return add_coll(x, st, true) ? 0 : -ENOMEM;
	if (is_newer(st, &c->st))
		c->st = *st;
	return 0;
}

/* ---- writing down ---- */

static void raise_to(uint64_t *v, uint64_t to)
{
	if (*v < to)
		*v = to;
}

/* The store is nobody else's yet: no lock of it is made. */
static NO_TSA int save_collections(struct salvage *x, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < x->n_colls; i++) {
		struct salvage_coll *c = &x->colls[i];

		raise_to(&c->st.c.next_num, c->max_num + 1);
		if (c->st.c.next_receipt <= c->max_receipt)
			c->st.c.next_receipt = c->max_receipt + 1;
		c->st.c.cleared_seq = x->state.last_seq;
		if (!c->known)
			salvage_tell(
				x, c,
				"its parameters are lost: they are those of a new collection, but "
				"dimension %u and what the graph says",
				c->st.c.config.dimension);
		if (!c->known && c->fd < 0)
			c->st.salt = coll_salt();
		rc = coll_save(&x->s, &c->st, e);
	}
	return rc;
}

/* As if nothing had been lost: what is lost was told. */
static int save_state(struct salvage *x, struct err *e)
{
	raise_to(&x->state.last_seq, x->known_seq);
	raise_to(&x->state.last_seq, x->max_seq);
	raise_to(&x->state.last_seq, x->witness.seq);
	raise_to(&x->state.last_batch, x->max_batch);
	raise_to(&x->state.changes, x->witness.changes);
	x->state.changes++;
	x->state.lost_seqs = x->state.lost_changes = 0;
	return store_state_save(&x->s.w, &x->state, e);
}

static int want_images(struct salvage *x, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && x->pages_lost && i < x->n_colls; i++)
		rc = salvage_want_image(x, &x->colls[i], e);
	return rc;
}

/*
 * Whether the database lacks pages, so that what is not in it need not have been removed. What a
 * whole WAL has is not looked at.
 */
static bool lacks_pages(const char *path)
{
	struct sql db = { 0 };
	sqlite3_stmt *st;
	bool ok = false;

	if (sql_open(&db, path, SQL_IMMUTABLE, NULL) == 0 &&
	    sql_start(&db, &st, NULL, "PRAGMA integrity_check(1)", "") == 0 &&
	    sql_step(&db, st, NULL) > 0) {
		ok = strcmp((const char *)sqlite3_column_text(st, 0), "ok") == 0;
		sql_done(st);
	}
	sql_close(&db);
	return !ok;
}

/*
 * Without the state, which is a single row, what else there is tells how far the database had come:
 * what was sealed up to there is in it, or was replaced or removed.
 */
static void find_known_seq(struct salvage *x)
{
	x->known_seq = x->state.last_seq;
	if (x->has_state || !x->carve)
		return;
	raise_to(&x->known_seq, x->seen_seq);
	raise_to(&x->known_seq, x->max_seq);
	for (size_t i = 0; i < x->n_colls; i++)
		raise_to(&x->known_seq, x->colls[i].st.c.cleared_seq);
	salvage_tell(x, NULL, "the state of store.db is lost: what was removed last may come back");
}

static void read_witness(struct salvage *x)
{
	char path[4096];
	bool damaged;
	int fd;

	snprintf(path, sizeof(path), "%s/commits", x->from);
	fd = witness_open(path, true, &x->witness, &damaged, NULL);
	if (fd >= 0)
		close(fd);
}

static int fill(struct salvage *x, struct err *e)
{
	int rc;

	read_witness(x);
	rc = salvage_first_pass(x, e);
	if (rc == 0 && !x->has_state)
		rc = salvage_find_strangers(x, e);
	if (rc == 0)
		rc = salvage_open_segments(x, e);
	if (rc == 0)
		rc = salvage_second_pass(x, e);
	find_known_seq(x);
	if (rc == 0)
		rc = want_images(x, e);
	if (rc == 0)
		rc = salvage_drop(x, e);
	if (rc == 0)
		rc = salvage_from_segments(x, e);
	if (rc == 0)
		rc = salvage_make_unique(x, e);
	if (rc == 0)
		rc = salvage_tell_lost(x, e);
	if (rc == 0)
		rc = save_state(x, e);
	return rc == 0 ? save_collections(x, e) : rc;
}

static const char scratch[] =
	"PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY;"
	"CREATE TEMP TABLE wanted(key INTEGER PRIMARY KEY, seq INTEGER NOT NULL, id TEXT);"
	"CREATE TEMP TABLE taken(key INTEGER PRIMARY KEY);"
	"CREATE TEMP TABLE outdated(key INTEGER PRIMARY KEY);"
	"CREATE TEMP TABLE bad_ids(cid INTEGER, id TEXT, seq INTEGER, PRIMARY KEY(cid, id, seq));"
	"CREATE TEMP TABLE gone_once(cid INTEGER, slot INTEGER, seq INTEGER);"
	"CREATE INDEX temp.gone_by_slot ON gone_once(cid, slot); BEGIN";

static int make_database(struct salvage *x, struct err *e)
{
	char path[4096];
	int fd, rc;

	snprintf(path, sizeof(path), "%s/store.db", x->s.dir);
	rc = store_db_create(x->s.dir, path, e);
	if (rc == 0)
		rc = store_db_open(&x->s.w, path, SQL_WRITE, e);
	if (rc == 0)
		rc = sql_exec(&x->s.w, scratch, e);
	if (rc == 0)
		rc = fill(x, e);
	if (rc == 0)
		rc = sql_exec(&x->s.w, "COMMIT", e);
	sql_close(&x->s.w); /* with a checkpoint */
	fd = rc == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (rc == 0 && (fd < 0 || io_sync(fd) < 0))
		rc = err_set(e, -EIO, "%s cannot be synced", path);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* ---- the rest of the store ---- */

static int link_file(struct salvage *x, const char *name, struct err *e)
{
	char from[4096], to[4096];

	snprintf(from, sizeof(from), "%s/%s", x->from, name);
	snprintf(to, sizeof(to), "%s/%s", x->s.dir, name);
	if (link(from, to) == 0 || errno == ENOENT)
		return 0;
	return err_set(e, -errno, "%s: %s", to, strerror(errno));
}

static int link_files(struct salvage *x, struct err *e)
{
	char name[64];
	int rc = link_file(x, "labels", e);

	if (rc == 0)
		rc = link_file(x, "totals", e);
	for (size_t i = 0; rc == 0 && i < x->n_colls; i++) {
		snprintf(name, sizeof(name), "%u.vectors.%u", x->colls[i].st.c.cid,
		         x->colls[i].st.c.gen);
		if (x->colls[i].fd >= 0)
			rc = link_file(x, name, e);
	}
	return rc;
}

/*
 * Twice: extents that are damaged, and pages that the disk cannot read, are left behind by writing the
 * next generation.
 */
static int check_collection(struct store *s, const struct store_collection *c, bool unreadable,
                            uint64_t *ret_rows, struct err *e)
{
	struct store_report r;
	uint32_t dim = c->config.dimension;
	int rc = store_verify(s, c->cid, dim, NULL, &r, e);

	if (rc == 0 && (r.first[0] || unreadable) && dim) {
		rc = store_compact(s, c->cid, dim, NULL, NULL, e);
		store_drop_old_maps(s, c->cid);
		if (rc == 0)
			rc = store_verify(s, c->cid, dim, NULL, &r, e);
	}
	if (rc == 0 && r.first[0])
		return err_set(e, -EILSEQ, "what was salvaged is damaged: %s", r.first);
	*ret_rows += r.rows_checked;
	return rc;
}

static int check(struct salvage *x, struct err *e)
{
	const struct salvage_coll *old;
	struct store_collection c = { 0 };
	struct store *s;
	int rc = store_open(x->s.dir, false, &s, e);

	if (rc < 0)
		return rc;
	while (rc == 0 && store_collection_next(s, c.cid, &c, NULL) == 0) {
		x->ret->collections++;
		old = salvage_coll(x, c.cid);
		rc = check_collection(s, &c, old && old->unreadable, &x->ret->vectors, e);
	}
	store_close(s);
	return rc == 0 ? io_sync_dir(x->s.dir) : rc;
}

static void release(struct salvage *x)
{
	for (size_t i = 0; i < x->n_colls; i++)
		if (x->colls[i].fd >= 0)
			close(x->colls[i].fd);
	for (size_t i = 0; i < x->n_bad; i++)
		mem_free(x->bad[i].id);
	mem_free(x->bad);
	mem_free(x->colls);
	mem_free(x->v);
	carve_close(x->carve);
}

static void database_path(const char *dir, char *ret, size_t cap)
{
	snprintf(ret, cap, "%s/store.db", dir);
}

int store_salvage(const char *from, const char *to, uint32_t default_cid,
                  const struct salvage_watch *w, struct salvage_result *ret, struct err *e)
{
	struct salvage x = { .from = from, .default_cid = default_cid, .watch = w, .ret = ret };
	char path[4096];
	int rc;

	*ret = (struct salvage_result){ 0 };
	if (strlen(from) > 3800 || strlen(to) > 3800)
		return err_set(e, -ENAMETOOLONG, "the path of the store is too long");
	database_path(from, path, sizeof(path));
	x.s.dir = (char *)(uintptr_t)to;
	x.v = mem_alloc(LIMIT_DIMENSION, sizeof(*x.v));
	rc = x.v ? carve_open(path, &x.carve, e) : err_nomem(e);
	if (rc == -ENOENT) {
		salvage_tell(&x, NULL, "store.db is missing: what was removed may come back");
		rc = 0;
	} else if (rc == 0 && carve_wal_alone(x.carve)) {
		salvage_tell(&x, NULL,
		             "of store.db only the WAL is left: what was removed may come back");
	}
	x.pages_lost = x.carve && (carve_wal_damaged(x.carve) || carve_wal_alone(x.carve) ||
	                           lacks_pages(path));
	if (rc == 0)
		rc = io_mkdir(to, 0700);
	if (rc == 0) {
		rc = make_database(&x, e);
		if (rc == 0)
			rc = link_files(&x, e);
		if (rc == 0)
			rc = check(&x, e);
		if (rc < 0)
			io_remove_tree(to);
	}
	release(&x);
	return rc < 0 && e && !e->code ? err_set(e, rc, "%s: %s", to, strerror(-rc)) : rc;
}

bool database_wal_damaged(const char *path)
{
	struct carve *c;
	bool damaged;

	if (carve_open(path, &c, NULL) < 0)
		return false;
	damaged = carve_wal_damaged(c) || carve_wal_alone(c);
	carve_close(c);
	return damaged;
}
