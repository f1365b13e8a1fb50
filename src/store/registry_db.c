/*
 * registry_db.c: DATA/registry.db.
 *
 * One connection under one mutex; a change is one statement or one transaction, synced when the
 * call returns. Numbers of tenants and collections come from one AUTOINCREMENT table, which
 * never gives one twice. Rows have checksums, as in store.db.
 */
#include "store/registry_db.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/lock.h"
#include "base/mem.h"
#include "store/registry_impl.h"

#define REGISTRY_FORMAT         1
#define REGISTRY_APPLICATION_ID 0x52565247 /* "RVRG" */
#define CHECKPOINT_PAGES        FAULT_SCALED(1000, 20)

/* The column limits: the limits, pending_ns, own_limits. */
#define N_LIMITS_STORED (REGISTRY_N_LIMITS + 2)

static const char schema[] =
	"CREATE TABLE numbers(number INTEGER PRIMARY KEY AUTOINCREMENT, tenant INTEGER NOT NULL);"
	"CREATE INDEX numbers_by_tenant ON numbers(tenant);"
	"CREATE TABLE tenants(number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
	" uid INTEGER NOT NULL, gid INTEGER NOT NULL, mode INTEGER NOT NULL,"
	" created_ns INTEGER NOT NULL, status INTEGER NOT NULL, tier TEXT NOT NULL,"
	" limits BLOB NOT NULL, crc INTEGER NOT NULL);"
	"CREATE TABLE settings(name TEXT PRIMARY KEY, value INTEGER NOT NULL, crc INTEGER NOT NULL)"
	" WITHOUT ROWID;";

/* ---- opening ---- */

static int build(struct sql *db, struct err *e)
{
	char versions[96];
	int rc;

	snprintf(versions, sizeof(versions),
	         "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
	         REGISTRY_APPLICATION_ID, REGISTRY_FORMAT);
	rc = sql_exec(db, "BEGIN IMMEDIATE", e);
	if (rc == 0)
		rc = sql_exec(db, schema, e);
	FAULT_POINT("registry.built");
	return rc < 0 ? rc : sql_exec(db, versions, e);
}

static int check_format(struct sql *db, struct err *e)
{
	int64_t id = 0, version = 0;
	int rc = sql_number(db, &id, e, "PRAGMA application_id", "");

	if (rc == 0)
		rc = sql_number(db, &version, e, "PRAGMA user_version", "");
	if (rc < 0)
		return rc;
	if (id != REGISTRY_APPLICATION_ID || version < 1)
		return err_set(e, -EILSEQ, "registry.db is not a registry of tenants");
	if (version > REGISTRY_FORMAT)
		return err_set(e, -EPROTO,
		               "the registry is of format %" PRId64
		               ", this version knows up to %d: use a newer one",
		               version, REGISTRY_FORMAT);
	rc = sql_schema_is(db, schema, e);
	if (rc == 0)
		return err_set(e, -EILSEQ, "registry.db has other tables than a registry");
	return rc < 0 ? rc : 0;
}

static int set_up(struct registry_db *r, struct err *e)
{
	int64_t tables = 0;
	int rc = sql_exec(&r->db, "PRAGMA cache_size=-1000; PRAGMA temp_store=MEMORY", e);

	if (rc == 0 && !r->read_only)
		rc = sql_exec(&r->db,
		              "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
		              " PRAGMA secure_delete=ON",
		              e);
	if (rc == 0)
		rc = sql_number(&r->db, &tables, e, "SELECT count(*) FROM sqlite_schema", "");
	if (rc == 0 && tables == 0 && !r->read_only)
		rc = build(&r->db, e);
	return rc < 0 ? rc : check_format(&r->db, e);
}

static bool has_bytes(const char *path, const char *suffix)
{
	char name[4096];
	struct stat st;

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	return stat(name, &st) == 0 && st.st_size > 0;
}

/* A new one in the place of one that was there would have SQLite remove a WAL. */
static int check_place(const char *path, struct err *e)
{
	char commits[4096];

	registry_witness_path(path, commits, sizeof(commits));
	if (has_bytes(path, "") || (!has_bytes(path, "-wal") && !has_bytes(commits, "")))
		return 0;
	return err_set(e, -EILSEQ, "registry.db is missing or empty");
}

/* Owners and names are nobody else's; one that was made before may be as SQLite makes them. */
static int make_private(const char *path, struct err *e)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	char name[4096];

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
		if (chmod(name, 0600) < 0 && errno != ENOENT)
			return err_set(e, -errno, "the mode of %s: %s", name, strerror(errno));
	}
	return 0;
}

static int open_db(struct registry_db *r, const char *path, struct err *e)
{
	char wal[4096];
	struct stat st;
	int rc;

	if (!r->read_only) {
		rc = check_place(path, e);
		if (rc == 0)
			rc = make_private(path, e);
		return rc < 0 ? rc : sql_open(&r->db, path, SQL_CREATE, e);
	}
	if (stat(path, &st) < 0)
		return err_set(e, -errno, "there is no registry: %s", strerror(errno));
	snprintf(wal, sizeof(wal), "%s-wal", path);
	if (stat(wal, &st) == 0 && st.st_size > 0)
		return err_set(e, -EROFS,
		               "the registry was not closed cleanly, "
		               "and readonly it cannot be recovered");
	return sql_open(&r->db, path, SQL_IMMUTABLE, e);
}

/* A disk that cannot do that now is asked again by the next change. */
static int settle(struct registry_db *r, struct err *e)
{
	int rc = r->unsettled ? sql_settle_wal(r->path, e) : 0;

	if (rc == 0)
		r->unsettled = false;
	return rc;
}

int registry_open(const char *path, bool read_only, struct registry_db **ret, struct err *e)
{
	struct registry_db *r = mem_zalloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_nomem(e);
	mutex_init(&r->lock);
	r->read_only = read_only;
	r->witness_fd = -1;
	r->unsettled = !read_only && has_bytes(path, "-wal");
	r->path = mem_dup(path, strlen(path));
	rc = r->path ? open_db(r, path, e) : err_nomem(e);
	if (rc == 0)
		rc = set_up(r, e);
	if (rc == 0 && !read_only) {
		/* SQLite made the files' names, and does not look whether they became durable. */
		rc = io_sync_parent(path);
		if (rc < 0)
			err_set(e, rc, "syncing the registry: %s", strerror(-rc));
	}
	if (rc == 0)
		rc = registry_check_open(r, e);
	if (rc < 0) {
		registry_close(r);
		return rc;
	}
	(void)settle(r, NULL);
	*ret = r;
	return 0;
}

void registry_close(struct registry_db *r)
{
	if (!r)
		return;
	sql_close(&r->db);
	if (r->witness_fd >= 0)
		close(r->witness_fd);
	mutex_destroy(&r->lock);
	mem_free(r->path);
	mem_free(r);
}

/* ---- changes ---- */

static int tighten(struct registry_db *r, struct err *e)
{
	int rc = r->relaxed ? sql_exec(&r->db, "PRAGMA synchronous=FULL", e) : 0;

	if (rc == 0)
		r->relaxed = false;
	return rc;
}

static int begin(struct registry_db *r, struct err *e)
{
	int rc;

	if (r->read_only)
		return err_set(e, -EROFS, "mounted readonly");
	r->pending = r->now;
	rc = tighten(r, e);
	if (rc == 0)
		rc = settle(r, e);
	return rc < 0 ? rc : sql_run(&r->db, e, "BEGIN IMMEDIATE", "");
}

/* Takes what the tenant has now out of the sum (or, after the change, puts it in). */
static int account(struct registry_db *r, uint32_t tenant, bool before, struct err *e)
{
	uint64_t sum;
	int rc = registry_sum_of_tenant(&r->db, tenant, &sum, e);

	if (rc == 0)
		r->pending.sum += before ? 0 - sum : sum;
	return rc;
}

static void roll_back(struct registry_db *r)
{
	if (sql_in_transaction(&r->db))
		sql_run(&r->db, NULL, "ROLLBACK", "");
}

/*
 * As in txn.c: the frames of a change whose sync failed stand in the WAL, and the next open would take
 * it for done. A small one in their place, unsynced, breaks their chain of checksums; so does any
 * other change.
 */
static void write_over(struct registry_db *r)
{
	int rc;

	r->relaxed = true;
	rc = sql_exec(&r->db, "PRAGMA synchronous=NORMAL; BEGIN IMMEDIATE", NULL);
	r->pending = r->now;
	if (rc == 0)
		rc = registry_check_save(r, NULL);
	if (rc == 0)
		rc = sql_run(&r->db, NULL, "COMMIT", "");
	if (rc == 0)
		r->now = r->pending;
	roll_back(r);
	(void)tighten(r, NULL); /* or before the next change */
}

static int commit(struct registry_db *r, struct err *e)
{
	int rc = sql_run(&r->db, e, "COMMIT", "");

	FAULT_POINT("registry.committed");
	if (rc == 0)
		registry_check_committed(r);
	roll_back(r);
	if (rc == -EIO)
		write_over(r);
	return rc;
}

/* Commits when rc is 0, rolls back otherwise. */
static int finish(struct registry_db *r, int rc, struct err *e)
{
	if (rc == 0)
		rc = registry_check_save(r, e);
	FAULT_POINT("registry.changed");
	if (rc == 0)
		rc = commit(r, e);
	roll_back(r);
	if (rc == 0 && r->db.wal_pages >= CHECKPOINT_PAGES)
		sqlite3_wal_checkpoint_v2(r->db.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	return rc == -EILSEQ ? -EIO : rc;
}

/* tenant 0: the number's own. */
static int new_number(struct registry_db *r, uint32_t tenant, uint32_t *ret, struct err *e)
{
	int64_t number;
	int rc = sql_run(&r->db, e, "INSERT INTO numbers(tenant) VALUES(?)", "i", I(tenant));

	if (rc < 0)
		return rc;
	number = sqlite3_last_insert_rowid(r->db.db);
	if (number > NUMBER_MAX)
		return err_set(e, -ENOSPC, "all %u numbers of tenants and collections were used",
		               NUMBER_MAX);
	*ret = (uint32_t)number;
	if (tenant)
		return 0;
	return sql_run(&r->db, e, "UPDATE numbers SET tenant = number WHERE number = ?", "i",
	               I(number));
}

static void encode_limits(const struct registry_tenant *t, uint64_t ret[N_LIMITS_STORED])
{
	memcpy(ret, t->limits, sizeof(t->limits));
	ret[REGISTRY_N_LIMITS] = t->pending_ns;
	ret[REGISTRY_N_LIMITS + 1] = t->own_limits;
}

static uint32_t tenant_crc(const struct registry_tenant *t, const uint64_t limits[N_LIMITS_STORED])
{
	size_t name_len = strlen(t->name), tier_len = strlen(t->tier);
	const uint64_t v[] = { t->number,     t->owner.uid, t->owner.gid, t->owner.mode,
		               t->created_ns, t->status,    name_len,     tier_len };
	uint32_t crc = crc32c(0, v, sizeof(v));

	crc = crc32c(crc32c(crc, t->name, name_len), t->tier, tier_len);
	return crc32c(crc, limits, N_LIMITS_STORED * sizeof(*limits));
}

static int put_tenant(struct sql *db, const struct registry_tenant *t, const char *text,
                      struct err *e)
{
	uint64_t limits[N_LIMITS_STORED];

	encode_limits(t, limits);
	return sql_run(db, e, text, "itiiiiitbi", I(t->number), t->name, strlen(t->name),
	               I(t->owner.uid), I(t->owner.gid), I(t->owner.mode), I(t->created_ns),
	               I(t->status), t->tier, strlen(t->tier), (const void *)limits, sizeof(limits),
	               I(tenant_crc(t, limits)));
}

static const char insert_tenant[] = "INSERT INTO tenants VALUES(?,?,?,?,?,?,?,?,?,?)";

int registry_tenant_insert(struct sql *db, const struct registry_tenant *t, struct err *e)
{
	return put_tenant(db, t, insert_tenant, e);
}

int registry_tenant_add(struct registry_db *r, struct registry_tenant *t, struct err *e)
{
	struct registry_tenant to = *t;
	int rc;

	mutex_lock(&r->lock);
	rc = begin(r, e);
	if (rc == 0) {
		rc = new_number(r, 0, &to.number, e);
		if (rc == 0)
			rc = put_tenant(&r->db, &to, insert_tenant, e);
		if (rc == 0)
			rc = account(r, to.number, false, e);
		rc = finish(r, rc, e);
	}
	mutex_unlock(&r->lock);
	if (rc == -EEXIST)
		return err_set(e, rc, "a tenant named %s exists", t->name);
	if (rc == 0)
		t->number = to.number;
	return rc;
}

static int update_locked(struct registry_db *r, const struct registry_tenant *t, struct err *e)
{
	int rc = account(r, t->number, true, e);

	if (rc == 0)
		rc = put_tenant(&r->db, t,
		                "UPDATE tenants SET name = ?2, uid = ?3, gid = ?4, mode = ?5,"
		                " created_ns = ?6, status = ?7, tier = ?8, limits = ?9, crc = ?10"
		                " WHERE number = ?1",
		                e);
	if (rc == 0 && !sqlite3_changes64(r->db.db))
		rc = err_set(e, -ENOENT, "no such tenant");
	return rc == 0 ? account(r, t->number, false, e) : rc;
}

int registry_tenant_update(struct registry_db *r, const struct registry_tenant *t, struct err *e)
{
	int rc;

	mutex_lock(&r->lock);
	rc = begin(r, e);
	if (rc == 0)
		rc = finish(r, update_locked(r, t, e), e);
	mutex_unlock(&r->lock);
	return rc;
}

/* Settings that a DELETE has returned go out of the sum. */
static int settings_leave(struct registry_db *r, sqlite3_stmt *st, struct err *e)
{
	char name[LIMIT_NAME + 1];
	int rc;

	while ((rc = sql_step(&r->db, st, e)) > 0) {
		if (sql_string(st, 0, name, sizeof(name)))
			r->pending.sum -= registry_sum_of_setting(
				name, (uint32_t)sqlite3_column_int64(st, 1));
	}
	return rc;
}

/* SETTINGS_OF("number = ?"): settings named WORD.NUMBER of these numbers. */
#define SETTINGS_OF(which)                                                                         \
	"DELETE FROM settings WHERE substr(name, instr(name, '.') + 1) IN"                         \
	" (SELECT CAST(number AS TEXT) FROM numbers WHERE " which ") RETURNING name, crc"

static int remove_tenant_locked(struct registry_db *r, uint32_t number, struct err *e)
{
	sqlite3_stmt *st;
	int rc = account(r, number, true, e);

	if (rc == 0)
		rc = sql_run(&r->db, e, "DELETE FROM tenants WHERE number = ?", "i", I(number));
	if (rc == 0 && !sqlite3_changes64(r->db.db))
		rc = err_set(e, -ENOENT, "no such tenant");
	if (rc == 0)
		rc = sql_start(&r->db, &st, e, SETTINGS_OF("tenant = ?"), "i", I(number));
	if (rc == 0)
		rc = settings_leave(r, st, e);
	if (rc == 0)
		rc = sql_run(&r->db, e, "DELETE FROM numbers WHERE tenant = ?", "i", I(number));
	return rc;
}

/*
 * secure_delete has put zeros where it stood; the WAL still has pages of before. If this fails,
 * closing the registry does it.
 */
static void erase_wal(struct registry_db *r)
{
	if (sqlite3_wal_checkpoint_v2(r->db.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) ==
	    SQLITE_OK)
		r->db.wal_pages = 0;
}

int registry_tenant_remove(struct registry_db *r, uint32_t number, struct err *e)
{
	int rc;

	mutex_lock(&r->lock);
	rc = begin(r, e);
	if (rc == 0)
		rc = finish(r, remove_tenant_locked(r, number, e), e);
	if (rc == 0)
		erase_wal(r);
	mutex_unlock(&r->lock);
	return rc;
}

static int add_number(struct registry_db *r, uint32_t tenant, uint32_t *ret, struct err *e)
{
	int rc = account(r, tenant, true, e);

	if (rc == 0)
		rc = new_number(r, tenant, ret, e);
	return rc == 0 ? account(r, tenant, false, e) : rc;
}

int registry_collection_number(struct registry_db *r, uint32_t tenant, uint32_t *ret, struct err *e)
{
	uint32_t number = 0;
	int rc;

	mutex_lock(&r->lock);
	rc = begin(r, e);
	if (rc == 0)
		rc = finish(r, add_number(r, tenant, &number, e), e);
	mutex_unlock(&r->lock);
	if (rc == 0)
		*ret = number;
	return rc;
}

static int forget_locked(struct registry_db *r, uint32_t number, struct err *e)
{
	sqlite3_stmt *st;
	int64_t tenant = 0;
	int rc = sql_number(&r->db, &tenant, e,
	                    "SELECT tenant FROM numbers WHERE number = ? AND tenant <> number", "i",
	                    I(number));

	if (rc == -ENOENT)
		return err_set(e, rc, "no such collection");
	if (rc == 0)
		rc = account(r, (uint32_t)tenant, true, e);
	if (rc == 0)
		rc = sql_start(&r->db, &st, e, SETTINGS_OF("number = ?"), "i", I(number));
	if (rc == 0)
		rc = settings_leave(r, st, e);
	if (rc == 0)
		rc = sql_run(&r->db, e, "DELETE FROM numbers WHERE number = ?", "i", I(number));
	return rc == 0 ? account(r, (uint32_t)tenant, false, e) : rc;
}

int registry_collection_forget(struct registry_db *r, uint32_t number, struct err *e)
{
	int rc;

	mutex_lock(&r->lock);
	rc = begin(r, e);
	if (rc == 0)
		rc = finish(r, forget_locked(r, number, e), e);
	mutex_unlock(&r->lock);
	return rc;
}

/* ---- reading ---- */

bool registry_decode_tenant(sqlite3_stmt *st, struct registry_tenant *t)
{
	uint64_t stored[N_LIMITS_STORED];
	const void *limits;
	uint32_t crc;
	size_t n;

	memset(t, 0, sizeof(*t));
	if (!sql_u32(st, 0, &t->number) || !sql_string(st, 1, t->name, sizeof(t->name)) ||
	    !t->name[0] || !sql_u32(st, 2, &t->owner.uid) || !sql_u32(st, 3, &t->owner.gid) ||
	    !sql_u32(st, 4, &t->owner.mode) || !sql_u64(st, 5, INT64_MAX, &t->created_ns) ||
	    !sql_u32(st, 6, &t->status) || !sql_string(st, 7, t->tier, sizeof(t->tier)) ||
	    !sql_bytes(st, 8, sizeof(stored), &limits, &n) || n != sizeof(stored) ||
	    !sql_u32(st, 9, &crc))
		return false;
	memcpy(stored, limits, n);
	memcpy(t->limits, stored, sizeof(t->limits));
	t->pending_ns = stored[REGISTRY_N_LIMITS];
	t->own_limits = stored[REGISTRY_N_LIMITS + 1];
	return crc == tenant_crc(t, stored) && t->number <= NUMBER_MAX;
}

static int err_damaged(struct err *e)
{
	return err_set(e, -EILSEQ, "registry.db is damaged");
}

static int next_locked(struct registry_db *r, uint32_t after, struct registry_tenant *ret,
                       struct err *e)
{
	sqlite3_stmt *st;
	int64_t number;
	int rc = sql_start(&r->db, &st, e,
	                   "SELECT * FROM tenants WHERE number > ? ORDER BY number LIMIT 1", "i",
	                   I(after));

	if (rc == 0)
		rc = sql_step(&r->db, st, e);
	if (rc <= 0)
		return rc < 0 ? rc : err_set(e, -ENOENT, "no further tenant");
	number = sqlite3_column_int64(st, 0);
	rc = 0;
	if (number <= after || number > NUMBER_MAX) {
		rc = err_damaged(e); /* asked for what is behind, one would get it again */
	} else if (!registry_decode_tenant(st, ret)) {
		memset(ret, 0, sizeof(*ret));
		ret->number = (uint32_t)number;
		rc = err_set(e, -EIO, "the entry of tenant number %u is damaged", ret->number);
	}
	sql_done(st);
	return rc;
}

int registry_tenant_next(struct registry_db *r, uint32_t after, struct registry_tenant *ret,
                         struct err *e)
{
	int rc;

	mutex_lock(&r->lock);
	rc = next_locked(r, after, ret, e);
	mutex_unlock(&r->lock);
	return rc;
}

/* One row of two numbers. */
static int pair(struct registry_db *r, const char *text, uint32_t key, uint32_t *ret_number,
                uint32_t *ret_tenant, struct err *e)
{
	sqlite3_stmt *st;
	int rc;

	mutex_lock(&r->lock);
	rc = sql_start(&r->db, &st, e, text, "i", I(key));
	if (rc == 0)
		rc = sql_step(&r->db, st, e);
	if (rc == 0) {
		rc = err_set(e, -ENOENT, "no such number");
	} else if (rc > 0) {
		rc = sql_u32(st, 0, ret_number) && sql_u32(st, 1, ret_tenant)
		             ? 0
		             : err_set(e, -EIO, "the numbers of the registry are damaged");
		sql_done(st);
	}
	mutex_unlock(&r->lock);
	return rc == -EILSEQ ? -EIO : rc;
}

int registry_number_tenant(struct registry_db *r, uint32_t number, uint32_t *ret_tenant,
                           struct err *e)
{
	uint32_t same;

	return pair(r, "SELECT number, tenant FROM numbers WHERE number = ?", number, &same,
	            ret_tenant, e);
}

int registry_collection_next(struct registry_db *r, uint32_t after, uint32_t *ret_number,
                             uint32_t *ret_tenant, struct err *e)
{
	int rc = pair(r,
	              "SELECT number, tenant FROM numbers WHERE number > ? AND tenant <> number"
	              " ORDER BY number LIMIT 1",
	              after, ret_number, ret_tenant, e);

	return rc == 0 && *ret_number <= after ? err_damaged(e) : rc;
}

/* ---- settings ---- */

uint32_t registry_setting_crc(const char *name, uint64_t value)
{
	return crc32c(crc32c(0, &value, sizeof(value)), name, strlen(name));
}

static int get_locked(struct registry_db *r, const char *name, uint64_t *ret, struct err *e)
{
	sqlite3_stmt *st;
	uint64_t value;
	uint32_t crc;
	int rc = sql_start(&r->db, &st, e, "SELECT value, crc FROM settings WHERE name = ?", "t",
	                   name, strlen(name));

	if (rc == 0)
		rc = sql_step(&r->db, st, e);
	if (rc <= 0)
		return rc < 0 ? rc : err_set(e, -ENOENT, "%s is not set", name);
	value = (uint64_t)sqlite3_column_int64(st, 0);
	rc = sql_u32(st, 1, &crc) && crc == registry_setting_crc(name, value)
	             ? 0
	             : err_set(e, -EIO, "the setting %s is damaged", name);
	sql_done(st);
	if (rc == 0)
		*ret = value;
	return rc;
}

int registry_setting_get(struct registry_db *r, const char *name, uint64_t *ret, struct err *e)
{
	int rc;

	mutex_lock(&r->lock);
	rc = get_locked(r, name, ret, e);
	mutex_unlock(&r->lock);
	return rc == -EILSEQ ? -EIO : rc;
}

/* The sum has the settings, but not those that are of the check itself. */
int registry_setting_put(struct registry_db *r, const char *name, uint64_t value, struct err *e)
{
	int64_t old = 0;
	int rc = sql_number(&r->db, &old, e, "SELECT crc FROM settings WHERE name = ?", "t", name,
	                    strlen(name));

	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (rc == 0)
		r->pending.sum -= registry_sum_of_setting(name, (uint32_t)old);
	r->pending.sum += registry_sum_of_setting(name, registry_setting_crc(name, value));
	return sql_run(&r->db, e, "INSERT OR REPLACE INTO settings VALUES(?, ?, ?)", "tii", name,
	               strlen(name), I(value), I(registry_setting_crc(name, value)));
}

int registry_setting_set(struct registry_db *r, const char *name, uint64_t value, struct err *e)
{
	int rc;

	mutex_lock(&r->lock);
	rc = begin(r, e);
	if (rc == 0)
		rc = finish(r, registry_setting_put(r, name, value, e), e);
	mutex_unlock(&r->lock);
	return rc;
}

static int replace_locked(struct registry_db *r, const char *prefix,
                          const struct registry_setting *s, size_t n, struct err *e)
{
	sqlite3_stmt *st;
	int rc = sql_start(&r->db, &st, e,
	                   "DELETE FROM settings WHERE substr(name, 1, ?) = ? RETURNING name, crc",
	                   "it", I(strlen(prefix)), prefix, strlen(prefix));

	if (rc == 0)
		rc = settings_leave(r, st, e);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = registry_setting_put(r, s[i].name, s[i].value, e);
	return rc;
}

int registry_settings_replace(struct registry_db *r, const char *prefix,
                              const struct registry_setting *s, size_t n, struct err *e)
{
	int rc;

	mutex_lock(&r->lock);
	rc = begin(r, e);
	if (rc == 0)
		rc = finish(r, replace_locked(r, prefix, s, n, e), e);
	mutex_unlock(&r->lock);
	return rc;
}

static int next_setting_locked(struct registry_db *r, const char *prefix, const char *after,
                               struct registry_setting *ret, struct err *e)
{
	char name[sizeof(ret->name)] = "";
	sqlite3_stmt *st;
	uint32_t crc;
	int rc = sql_start(&r->db, &st, e,
	                   "SELECT name, value, crc FROM settings WHERE name > ?"
	                   " AND substr(name, 1, ?) = ? ORDER BY name LIMIT 1",
	                   "tit", after, strlen(after), I(strlen(prefix)), prefix, strlen(prefix));

	if (rc == 0)
		rc = sql_step(&r->db, st, e);
	if (rc <= 0)
		return rc < 0 ? rc : err_set(e, -ENOENT, "no further setting");
	ret->value = (uint64_t)sqlite3_column_int64(st, 1);
	rc = sql_string(st, 0, name, sizeof(name)) && sql_u32(st, 2, &crc) &&
	                     crc == registry_setting_crc(name, ret->value) &&
	                     strcmp(name, after) > 0
	             ? 0
	             : err_set(e, -EIO, "a setting %s… is damaged", prefix);
	memcpy(ret->name, name, sizeof(ret->name)); /* after may have been it */
	sql_done(st);
	return rc;
}

int registry_setting_next(struct registry_db *r, const char *prefix, const char *after,
                          struct registry_setting *ret, struct err *e)
{
	int rc;

	mutex_lock(&r->lock);
	rc = next_setting_locked(r, prefix, after, ret, e);
	mutex_unlock(&r->lock);
	return rc == -EILSEQ ? -EIO : rc;
}
