/*
 * registry_salvage.c: what is whole of a damaged registry.db, as a new one.
 *
 * Entries of tenants and settings have checksums; the table of numbers has none, and is corrected by
 * the stores that are there. A tenant without an entry keeps what it stored, under a name that says
 * so, in the hands of root. No number is given twice: the next one is above all that were seen.
 *
 * The sums that the registry keeps of itself are left out: it makes them anew from its rows.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "store/carve.h"
#include "store/registry_impl.h"
#include "store/salvage.h"

enum { N_TENANT = 10, N_PAIR = 2, N_SETTING = 3 };

struct salvage {
	struct sql *db; /* of the new one */
	const struct salvage_watch *watch;
	uint64_t highest; /* number that was ever given */
	uint64_t damaged; /* entries and settings */
	struct err *e;
};

static void tell(struct salvage *x, const char *sentence)
{
	x->watch->told(x->watch->ctx, "registry.db", sentence);
}

static sqlite3_stmt *as_row(struct salvage *x, const char *text, const struct carve_record *r)
{
	sqlite3_stmt *st;

	if (sql_start(x->db, &st, NULL, text, "") < 0)
		return NULL;
	carve_bind(st, r);
	return sql_step(x->db, st, NULL) > 0 ? st : NULL;
}

static int insert(struct salvage *x, const char *text, const struct carve_record *r)
{
	sqlite3_stmt *st;
	int rc = sql_start(x->db, &st, x->e, text, "");

	if (rc < 0)
		return rc;
	carve_bind(st, r);
	return sql_step(x->db, st, x->e);
}

static void saw_number(struct salvage *x, uint64_t n)
{
	if (n <= NUMBER_MAX && n > x->highest)
		x->highest = n;
}

/* ---- records ---- */

static int see_tenant(struct salvage *x, const struct carve_record *r)
{
	sqlite3_stmt *q = as_row(x, "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10", r);
	struct registry_tenant t;
	bool holds = q && registry_decode_tenant(q, &t);

	if (q)
		sql_done(q);
	if (!holds) {
		x->damaged++;
		return 0;
	}
	saw_number(x, t.number);
	return insert(x, "INSERT OR IGNORE INTO tenants VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", r);
}

/* Of numbers (NULL, tenant), or of sqlite_sequence ('numbers', the last one given). */
static int see_pair(struct salvage *x, const struct carve_record *r)
{
	sqlite3_stmt *q = as_row(x, "SELECT ?1, ?2", r);
	bool is_number = r->v[0].type == 0;
	uint64_t number = 0, last = 0;
	bool holds = q && (!is_number || sql_u64(q, 0, NUMBER_MAX, &number)) &&
	             sql_u64(q, 1, NUMBER_MAX, &last);

	if (q)
		sql_done(q);
	if (!holds)
		return 0;
	saw_number(x, number);
	saw_number(x, last);
	return is_number ? insert(x, "INSERT OR IGNORE INTO numbers VALUES(?, ?)", r) : 0;
}

static int see_setting(struct salvage *x, const struct carve_record *r)
{
	sqlite3_stmt *q = as_row(x, "SELECT ?1, ?2, ?3", r);
	char name[LIMIT_NAME + 1];
	uint32_t crc = 0;
	bool named = q && sql_string(q, 0, name, sizeof(name));
	bool holds = named && sql_u32(q, 2, &crc) &&
	             crc == registry_setting_crc(name, (uint64_t)sqlite3_column_int64(q, 1));

	if (q)
		sql_done(q);
	if (named && strncmp(name, "check.", 6) == 0)
		return 0;
	if (!holds) {
		x->damaged++;
		return 0;
	}
	return insert(x, "INSERT OR IGNORE INTO settings VALUES(?, ?, ?)", r);
}

static int see(void *ctx, const struct carve_record *r)
{
	if (r->table && r->n == N_TENANT)
		return see_tenant(ctx, r);
	if (r->table && r->n == N_PAIR)
		return see_pair(ctx, r);
	if (!r->table && r->n == N_SETTING)
		return see_setting(ctx, r);
	return 0;
}

/* ---- stores ---- */

/* Somebody may have that name. */
static int insert_named(struct salvage *x, struct registry_tenant *t)
{
	int rc = -EEXIST;

	for (unsigned i = 1; rc == -EEXIST && i < 1000; i++) {
		snprintf(t->name, sizeof(t->name), i == 1 ? "recovered-%u" : "recovered-%u-%u",
		         t->number, i);
		rc = registry_tenant_insert(x->db, t, x->e);
	}
	return rc;
}

static int add_recovered(struct salvage *x, uint32_t number)
{
	struct registry_tenant t = { .number = number, .owner = { .mode = 0700 } };
	char sentence[160];
	int rc;

	t.created_ns = clock_wall_ns();
	snprintf(t.tier, sizeof(t.tier), "unlimited");
	for (int i = 0; i < REGISTRY_N_LIMITS; i++)
		t.limits[i] = UINT64_MAX;
	t.pending_ns = UINT64_MAX;
	rc = insert_named(x, &t);
	snprintf(sentence, sizeof(sentence),
	         "the entry of stores/%u is lost: it is tenants/%s now, without limits, and root's",
	         number, t.name);
	if (rc == 0)
		tell(x, sentence);
	return rc;
}

static int take_store(struct salvage *x, const struct registry_store *s)
{
	int64_t one;
	int rc = sql_number(x->db, &one, x->e, "SELECT 1 FROM tenants WHERE number = ?", "i",
	                    I(s->number));

	if (rc == -ENOENT)
		rc = add_recovered(x, s->number);
	saw_number(x, s->number);
	if (rc == 0)
		rc = sql_run(x->db, x->e, "INSERT OR REPLACE INTO numbers VALUES(?, ?)", "ii",
		             I(s->number), I(s->number));
	for (size_t i = 0; rc == 0 && i < s->n_cids; i++) {
		saw_number(x, s->cids[i]);
		rc = sql_run(x->db, x->e, "INSERT OR REPLACE INTO numbers VALUES(?, ?)", "ii",
		             I(s->cids[i]), I(s->number));
	}
	return rc;
}

/* The table never gives a number below its highest again; a row that comes and goes raises that. */
static int raise_sequence(struct salvage *x)
{
	int rc;

	if (!x->highest)
		return 0;
	rc = sql_run(x->db, x->e, "INSERT OR IGNORE INTO numbers VALUES(?, 0)", "i", I(x->highest));
	return rc < 0 ? rc : sql_run(x->db, x->e, "DELETE FROM numbers WHERE tenant = 0", "");
}

/* Numbers of tenants that have neither an entry nor a store: nothing was stored in them. */
static int drop_strangers(struct salvage *x)
{
	return sql_run(x->db, x->e,
	               "DELETE FROM numbers WHERE tenant NOT IN (SELECT number FROM tenants)", "");
}

static int fill(struct salvage *x, struct carve *c, const struct registry_store *stores, size_t n)
{
	char sentence[96];
	int rc = sql_run(x->db, x->e, "BEGIN", "");

	if (rc == 0 && c)
		rc = carve_each(c, see, x);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = take_store(x, &stores[i]);
	if (rc == 0)
		rc = drop_strangers(x);
	if (rc == 0)
		rc = raise_sequence(x);
	if (rc == 0)
		rc = sql_run(x->db, x->e, "COMMIT", "");
	if (rc < 0 || !x->damaged)
		return rc;
	snprintf(sentence, sizeof(sentence), "%llu of its entries and settings are lost",
	         (unsigned long long)x->damaged);
	tell(x, sentence);
	return 0;
}

int registry_salvage(const char *path, const char *to, const struct registry_store *stores,
                     size_t n_stores, const struct salvage_watch *w, struct err *e)
{
	struct salvage x = { .watch = w, .e = e };
	struct registry_db *r;
	struct carve *c = NULL;
	int rc = carve_open(path, &c, e);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	rc = registry_open(to, false, &r, e);
	if (rc == 0) {
		x.db = &r->db;
		mutex_lock(&r->lock);
		rc = fill(&x, c, stores, n_stores);
		mutex_unlock(&r->lock);
		registry_close(r);
	}
	carve_close(c);
	return rc;
}
