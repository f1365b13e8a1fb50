/*
 * registry_check.c: is registry.db whole?
 *
 * Rows have checksums, but a row that is gone, or a commit that SQLite lost with a damaged WAL, has
 * none. So each transaction also keeps a sum over all rows and a count of transactions, as settings
 * named check.*, and the count stands in a second file. A sum that differs is a row that came, went
 * or changed by itself; a count that is behind the witness is a commit that was lost. A registry
 * from before the check has neither, and gets both with its next change.
 *
 * The sum is one of row hashes, so that a change costs what it changes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/io.h"
#include "store/registry_impl.h"

static const char *const names[] = { "check.sum", "check.changes", "check.lost" };

#define N_NAMES (int)(sizeof(names) / sizeof(*names))

/* ---- sums ---- */

static uint64_t mix(uint64_t kind, uint64_t a, uint64_t b)
{
	uint64_t x = kind * 0x9e3779b97f4a7c15ull ^ a << 32 ^ b;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

uint64_t registry_sum_of_setting(const char *name, uint32_t crc)
{
	return mix(3, crc32c(0, name, strlen(name)), crc);
}

/* Of rows of two integers. */
static int sum_pairs(struct sql *db, uint64_t kind, sqlite3_stmt *st, uint64_t *sum, struct err *e)
{
	int rc;

	while ((rc = sql_step(db, st, e)) > 0)
		*sum += mix(kind, (uint64_t)sqlite3_column_int64(st, 0),
		            (uint64_t)sqlite3_column_int64(st, 1));
	return rc;
}

int registry_sum_of_tenant(struct sql *db, uint32_t tenant, uint64_t *ret, struct err *e)
{
	sqlite3_stmt *st;
	int rc = sql_start(db, &st, e, "SELECT number, crc FROM tenants WHERE number = ?", "i",
	                   I(tenant));

	*ret = 0;
	if (rc == 0)
		rc = sum_pairs(db, 1, st, ret, e);
	if (rc == 0)
		rc = sql_start(db, &st, e, "SELECT number, tenant FROM numbers WHERE tenant = ?",
		               "i", I(tenant));
	return rc == 0 ? sum_pairs(db, 2, st, ret, e) : rc;
}

static bool is_of_check(const char *name)
{
	for (int i = 0; i < N_NAMES; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static int sum_of_all(struct sql *db, uint64_t *ret, struct err *e)
{
	char name[64];
	sqlite3_stmt *st;
	int rc = sql_start(db, &st, e, "SELECT number, crc FROM tenants ORDER BY number", "");

	*ret = 0;
	if (rc == 0)
		rc = sum_pairs(db, 1, st, ret, e);
	if (rc == 0)
		rc = sql_start(db, &st, e, "SELECT number, tenant FROM numbers ORDER BY number",
		               "");
	if (rc == 0)
		rc = sum_pairs(db, 2, st, ret, e);
	if (rc == 0)
		rc = sql_start(db, &st, e, "SELECT name, crc FROM settings ORDER BY name", "");
	while (rc >= 0 && (rc = sql_step(db, st, e)) > 0) {
		if (sql_string(st, 0, name, sizeof(name)) && !is_of_check(name))
			*ret += registry_sum_of_setting(name,
			                                (uint32_t)sqlite3_column_int64(st, 1));
	}
	return rc;
}

/* ---- the settings of the check ---- */

static uint64_t *place(struct registry_check *c, int i)
{
	uint64_t *const places[] = { &c->sum, &c->changes, &c->lost };

	return places[i];
}

/* 1: they are there and hold, 0: there is none, -EIO: one is missing or damaged. */
static int load(struct sql *db, struct registry_check *ret, struct err *e)
{
	int found = 0;

	for (int i = 0; i < N_NAMES; i++) {
		sqlite3_stmt *st;
		uint32_t crc;
		int rc = sql_start(db, &st, e, "SELECT value, crc FROM settings WHERE name = ?",
		                   "t", names[i], strlen(names[i]));

		if (rc == 0)
			rc = sql_step(db, st, e);
		if (rc < 0)
			return rc;
		if (rc == 0)
			continue;
		*place(ret, i) = (uint64_t)sqlite3_column_int64(st, 0);
		found += sql_u32(st, 1, &crc) &&
		         crc == registry_setting_crc(names[i], *place(ret, i));
		sql_done(st);
	}
	if (found == N_NAMES || found == 0)
		return found == N_NAMES;
	return err_set(e, -EIO, "the check of the registry is damaged");
}

int registry_check_save(struct registry_db *r, struct err *e)
{
	int rc = 0;

	r->pending.changes++;
	for (int i = 0; i < N_NAMES && rc == 0; i++) {
		uint64_t v = *place(&r->pending, i);

		rc = sql_run(&r->db, e, "INSERT OR REPLACE INTO settings VALUES(?, ?, ?)", "tii",
		             names[i], strlen(names[i]), I(v),
		             I(registry_setting_crc(names[i], v)));
	}
	return rc;
}

void registry_check_committed(struct registry_db *r)
{
	r->now = r->pending;
	if (r->witness_fd >= 0)
		witness_write(r->witness_fd, 0, r->now.changes);
}

/* ---- opening ---- */

void registry_witness_path(const char *path, char *ret, size_t cap)
{
	const char *slash = strrchr(path, '/');

	snprintf(ret, cap, "%.*sregistry.commits", slash ? (int)(slash + 1 - path) : 0, path);
}

/* One that is not there is made from the rows as they are. */
static int load_or_make(struct registry_db *r, uint64_t known, struct err *e)
{
	int rc = load(&r->db, &r->now, e);

	if (rc == 0) {
		r->now = (struct registry_check){ .lost = known ? 1 : 0 };
		rc = sum_of_all(&r->db, &r->now.sum, e);
	}
	return rc == -EIO || rc > 0 ? 0 : rc; /* damage is for those who verify */
}

int registry_check_open(struct registry_db *r, struct err *e)
{
	char path[4096];
	struct witness w;
	int rc;

	registry_witness_path(r->path, path, sizeof(path));
	rc = witness_open(path, r->read_only, &w, &r->witness_damaged, e);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	r->witness_fd = rc < 0 ? -1 : rc;
	rc = load_or_make(r, w.changes, e);
	if (rc < 0)
		return rc == -EILSEQ ? -EIO : rc;
	if (w.changes > r->now.changes) {
		r->now.lost += w.changes - r->now.changes;
		r->now.changes = w.changes; /* its next number, so that the loss stays known */
	}
	return 0;
}

/* ---- verifying ---- */

static void found(struct registry_report *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void found(struct registry_report *r, const char *fmt, ...)
{
	va_list ap;

	r->errors++;
	if (r->first[0])
		return;
	va_start(ap, fmt);
	vsnprintf(r->first, sizeof(r->first), fmt, ap);
	va_end(ap);
}

static int check_pages(struct sql *db, struct registry_report *ret, struct err *e)
{
	sqlite3_stmt *st;
	int rc = sql_start(db, &st, e, "PRAGMA integrity_check(100)", "");

	while (rc >= 0 && (rc = sql_step(db, st, e)) > 0) {
		const char *line = (const char *)sqlite3_column_text(st, 0);

		if (line && strcmp(line, "ok") != 0)
			found(ret, "registry.db: %s", line);
	}
	return rc;
}

static int check_tenants(struct sql *db, struct registry_report *ret, struct err *e)
{
	struct registry_tenant t;
	sqlite3_stmt *st;
	int rc = sql_start(db, &st, e, "SELECT * FROM tenants ORDER BY number", "");

	while (rc >= 0 && (rc = sql_step(db, st, e)) > 0) {
		ret->tenants++;
		if (!registry_decode_tenant(st, &t))
			found(ret, "an entry of registry.db is damaged");
	}
	return rc;
}

static int check_settings(struct sql *db, struct registry_report *ret, struct err *e)
{
	char name[64];
	sqlite3_stmt *st;
	uint32_t crc;
	int rc = sql_start(db, &st, e, "SELECT name, value, crc FROM settings ORDER BY name", "");

	while (rc >= 0 && (rc = sql_step(db, st, e)) > 0) {
		uint64_t v = (uint64_t)sqlite3_column_int64(st, 1);

		if (!sql_string(st, 0, name, sizeof(name)) || !sql_u32(st, 2, &crc) ||
		    crc != registry_setting_crc(name, v))
			found(ret, "a setting in registry.db is damaged");
	}
	return rc;
}

static int check_sum(struct sql *db, struct registry_report *ret, struct err *e)
{
	struct registry_check c = { 0 };
	uint64_t sum;
	int rc = load(db, &c, e);

	if (rc == -EIO)
		found(ret, "the check of registry.db is damaged");
	if (rc <= 0)
		return rc == -EIO ? 0 : rc;
	rc = sum_of_all(db, &sum, e);
	if (rc == 0 && sum != c.sum)
		found(ret, "registry.db has rows that differ from what was written");
	return rc;
}

/* In one transaction, so that all of it is of one moment. */
static int check_all(struct sql *db, struct registry_report *ret, struct err *e)
{
	int rc = check_pages(db, ret, e);

	if (rc == 0)
		rc = sql_run(db, e, "BEGIN", "");
	if (rc == 0)
		rc = check_tenants(db, ret, e);
	if (rc == 0)
		rc = check_settings(db, ret, e);
	if (rc == 0)
		rc = check_sum(db, ret, e);
	return rc;
}

int registry_verify(struct registry_db *r, struct registry_report *ret, struct err *e)
{
	struct registry_check now;
	struct err why = { 0 };
	struct sql db = { 0 };
	int rc;

	*ret = (struct registry_report){ 0 };
	mutex_lock(&r->lock);
	now = r->now;
	mutex_unlock(&r->lock);
	if (now.lost)
		found(ret, "registry.db has lost %" PRIu64 " changes", now.lost);
	if (r->witness_damaged)
		found(ret, "the count of changes of the registry was damaged");
	rc = sql_open(&db, r->path, r->read_only ? SQL_IMMUTABLE : SQL_READ, &why);
	if (rc == 0)
		rc = check_all(&db, ret, &why);
	sql_close(&db);
	if (rc == -EILSEQ) {
		found(ret, "%s", why.text);
		return 0;
	}
	if (rc < 0 && e)
		*e = why;
	return rc;
}
