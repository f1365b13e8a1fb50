/* test_registry.c: tenants, numbers and settings of DATA/registry.db. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "store/registry_db.h"
#include "t.h"
#include "t_wal.h"

struct ctx {
	char dir[256];
	char path[300];
	struct registry_db *r;
};

static int setup(void **state)
{
	struct ctx *c = calloc(1, sizeof(*c));
	const char *tmp = getenv("TMPDIR");

	snprintf(c->dir, sizeof(c->dir), "%s/rv-registry-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(c->dir));
	snprintf(c->path, sizeof(c->path), "%s/registry.db", c->dir);
	T_OK(registry_open(c->path, false, &c->r, NULL));
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	struct ctx *c = *state;

	registry_close(c->r);
	T_OK(io_remove_tree(c->dir));
	free(c);
	return 0;
}

static void reopen(struct ctx *c)
{
	registry_close(c->r);
	c->r = NULL;
	T_OK(registry_open(c->path, false, &c->r, NULL));
}

static struct registry_tenant tenant(const char *name)
{
	struct registry_tenant t = { .owner = { 1, 2, 0750 },
		                     .created_ns = 33,
		                     .status = 2,
		                     .tier = "free",
		                     .pending_ns = UINT64_MAX,
		                     .own_limits = 5 };

	snprintf(t.name, sizeof(t.name), "%s", name);
	for (int i = 0; i < REGISTRY_N_LIMITS; i++)
		t.limits[i] = i == 3 ? UINT64_MAX : (uint64_t)i << 40;
	return t;
}

static void tenants(void **state)
{
	struct ctx *c = *state;
	struct registry_tenant a = tenant("a"), b = tenant("b"), back;

	T_OK(registry_tenant_add(c->r, &a, NULL));
	T_OK(registry_tenant_add(c->r, &b, NULL));
	T_ERR(registry_tenant_add(c->r, &b, NULL), EEXIST);
	b.status = 3;
	b.limits[0] = 5;
	T_OK(registry_tenant_update(c->r, &b, NULL));
	reopen(c);
	T_OK(registry_tenant_next(c->r, 0, &back, NULL));
	assert_memory_equal(&back, &a, sizeof(a));
	T_OK(registry_tenant_next(c->r, a.number, &back, NULL));
	assert_memory_equal(&back, &b, sizeof(b));
	T_ERR(registry_tenant_next(c->r, b.number, &back, NULL), ENOENT);
	T_OK(registry_tenant_remove(c->r, a.number, NULL));
	T_ERR(registry_tenant_remove(c->r, a.number, NULL), ENOENT);
	T_ERR(registry_tenant_update(c->r, &a, NULL), ENOENT);
}

static void numbers_are_never_used_again(void **state)
{
	struct ctx *c = *state;
	struct registry_tenant a = tenant("a"), b = tenant("b");
	uint32_t n, of, next;

	T_OK(registry_tenant_add(c->r, &a, NULL));
	T_OK(registry_collection_number(c->r, a.number, &n, NULL));
	assert_true(n > a.number);
	T_OK(registry_number_tenant(c->r, n, &of, NULL));
	assert_int_equal(of, a.number);
	T_OK(registry_number_tenant(c->r, a.number, &of, NULL));
	assert_int_equal(of, a.number);
	T_OK(registry_collection_next(c->r, 0, &next, &of, NULL));
	assert_int_equal(next, n); /* a tenant's own number is not listed */
	T_ERR(registry_collection_next(c->r, n, &next, &of, NULL), ENOENT);
	T_OK(registry_tenant_remove(c->r, a.number, NULL));
	T_ERR(registry_number_tenant(c->r, n, &of, NULL), ENOENT);
	reopen(c);
	T_OK(registry_tenant_add(c->r, &b, NULL));
	assert_true(b.number > n);
	T_OK(registry_collection_number(c->r, b.number, &n, NULL));
	T_OK(registry_collection_forget(c->r, n, NULL));
	T_ERR(registry_collection_forget(c->r, b.number, NULL), ENOENT);
	T_OK(registry_collection_number(c->r, b.number, &next, NULL));
	assert_true(next > n);
}

static void settings(void **state)
{
	struct ctx *c = *state;
	uint64_t v;

	T_ERR(registry_setting_get(c->r, "mode", &v, NULL), ENOENT);
	T_OK(registry_setting_set(c->r, "mode", 0711, NULL));
	T_OK(registry_setting_set(c->r, "mode", UINT64_MAX, NULL));
	reopen(c);
	T_OK(registry_setting_get(c->r, "mode", &v, NULL));
	assert_true(v == UINT64_MAX);
}

static void settings_by_prefix(void **state)
{
	const struct registry_setting three[] = { { "tier.a.x", 1 },
		                                  { "tier.a.y", UINT64_MAX },
		                                  { "tier.b.x", 3 } };
	struct registry_setting s = { .name = "" };
	struct ctx *c = *state;
	uint64_t v;

	T_OK(registry_setting_set(c->r, "tiers", 7, NULL));
	T_OK(registry_settings_replace(c->r, "tier.", three, 3, NULL));
	reopen(c);
	for (int i = 0; i < 3; i++) {
		T_OK(registry_setting_next(c->r, "tier.", s.name, &s, NULL));
		assert_string_equal(s.name, three[i].name);
		assert_true(s.value == three[i].value);
	}
	T_ERR(registry_setting_next(c->r, "tier.", s.name, &s, NULL), ENOENT);
	T_OK(registry_settings_replace(c->r, "tier.", three + 2, 1, NULL));
	T_ERR(registry_setting_get(c->r, "tier.a.x", &v, NULL), ENOENT);
	T_OK(registry_setting_get(c->r, "tier.b.x", &v, NULL));
	T_OK(registry_setting_get(c->r, "tiers", &v, NULL));
}

static void settings_go_with_their_number(void **state)
{
	struct ctx *c = *state;
	struct registry_tenant a = tenant("a"), b = tenant("b");
	char of_a[32], of_b[32], of_n[32];
	uint32_t n;
	uint64_t v;

	T_OK(registry_tenant_add(c->r, &a, NULL));
	T_OK(registry_tenant_add(c->r, &b, NULL));
	T_OK(registry_collection_number(c->r, b.number, &n, NULL));
	snprintf(of_a, sizeof(of_a), "status.%u", a.number);
	snprintf(of_b, sizeof(of_b), "status.%u", b.number);
	snprintf(of_n, sizeof(of_n), "status.%u", n);
	T_OK(registry_setting_set(c->r, of_a, 1, NULL));
	T_OK(registry_setting_set(c->r, of_b, 2, NULL));
	T_OK(registry_setting_set(c->r, of_n, 3, NULL));
	T_OK(registry_tenant_remove(c->r, a.number, NULL));
	T_ERR(registry_setting_get(c->r, of_a, &v, NULL), ENOENT);
	T_OK(registry_collection_forget(c->r, n, NULL));
	T_ERR(registry_setting_get(c->r, of_n, &v, NULL), ENOENT);
	T_OK(registry_setting_get(c->r, of_b, &v, NULL));
}

static bool file_has(const char *path, const char *text)
{
	static char all[1 << 20];
	FILE *f = fopen(path, "r");
	size_t n;

	if (!f)
		return false;
	n = fread(all, 1, sizeof(all), f);
	fclose(f);
	return memmem(all, n, text, strlen(text)) != NULL;
}

/* With so many that pages split, and names that come and go. */
static void a_removal_leaves_no_trace(void **state)
{
	struct ctx *c = *state;
	char wal[320];
	uint32_t numbers[200];

	snprintf(wal, sizeof(wal), "%s-wal", c->path);
	for (int i = 0; i < 200; i++) {
		struct registry_tenant t;
		char name[64];

		snprintf(name, sizeof(name), i % 3 ? "stays-%d" : "to-be-erased-%d", i);
		t = tenant(name);
		T_OK(registry_tenant_add(c->r, &t, NULL));
		t.status = 3;
		T_OK(registry_tenant_update(c->r, &t, NULL));
		if (i % 3 == 0) {
			snprintf(t.name, sizeof(t.name), "to-be-erased-then-%d", i);
			T_OK(registry_tenant_update(c->r, &t, NULL));
		}
		numbers[i] = t.number;
	}
	assert_true(file_has(c->path, "to-be-erased") || file_has(wal, "to-be-erased"));
	for (int i = 0; i < 200; i += 3)
		T_OK(registry_tenant_remove(c->r, numbers[i], NULL));
	assert_false(file_has(c->path, "to-be-erased"));
	assert_false(file_has(wal, "to-be-erased"));
	assert_true(file_has(c->path, "stays-1"));
}

static void change(struct ctx *c, const char *sql)
{
	sqlite3 *db;

	registry_close(c->r);
	c->r = NULL;
	assert_int_equal(sqlite3_open(c->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void damage_is_seen(void **state)
{
	struct ctx *c = *state;
	struct registry_tenant a = tenant("a"), b = tenant("b"), back;
	uint64_t v;

	T_OK(registry_tenant_add(c->r, &a, NULL));
	T_OK(registry_tenant_add(c->r, &b, NULL));
	T_OK(registry_setting_set(c->r, "mode", 1, NULL));
	change(c, "UPDATE tenants SET uid = 0 WHERE name = 'a'; UPDATE settings SET value = 2");
	reopen(c);
	T_ERR(registry_tenant_next(c->r, 0, &back, NULL), EIO);
	assert_int_equal(back.number, a.number);
	T_OK(registry_tenant_next(c->r, back.number, &back, NULL));
	assert_string_equal(back.name, "b");
	T_ERR(registry_setting_get(c->r, "mode", &v, NULL), EIO);
	change(c, "UPDATE tenants SET limits = 'x' WHERE name = 'b'");
	reopen(c);
	T_ERR(registry_tenant_next(c->r, a.number, &back, NULL), EIO);
}

static void refuses_what_it_does_not_know(void **state)
{
	struct ctx *c = *state;
	struct err e;
	int fd;

	change(c, "PRAGMA user_version=2");
	T_ERR(registry_open(c->path, false, &c->r, &e), EPROTO);
	assert_string_equal(
		e.text, "the registry is of format 2, this version knows up to 1: use a newer one");
	change(c, "PRAGMA user_version=1; CREATE VIEW v AS SELECT 1");
	T_ERR(registry_open(c->path, false, &c->r, &e), EILSEQ);
	fd = open(c->path, O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd,
	                       "no database, but long enough to be taken for one, really. "
	                       "no database, but long enough to be taken for one, really.",
	                       115),
	                 115);
	close(fd);
	T_ERR(registry_open(c->path, false, &c->r, &e), EILSEQ);
}

static void readonly(void **state)
{
	struct ctx *c = *state;
	struct registry_tenant a = tenant("a"), back;

	T_OK(registry_tenant_add(c->r, &a, NULL));
	registry_close(c->r);
	T_OK(registry_open(c->path, true, &c->r, NULL));
	T_OK(registry_tenant_next(c->r, 0, &back, NULL));
	T_ERR(registry_tenant_add(c->r, &a, NULL), EROFS);
}

/* ---- a sync that fails: these stand in front of the C library's, for SQLite too ---- */

enum { SYNCS_WORK, SYNCS_FAIL, SYNCS_FAIL_AND_END };

static int syncs; /* of the WAL */

static bool sync_fails(int fd)
{
	char path[600];

	if (!t_wal || !t_is_wal(fd, path))
		return false;
	if (syncs == SYNCS_FAIL_AND_END)
		_exit(0);
	if (syncs == SYNCS_WORK)
		t_wal->synced = t_wal_size(path);
	errno = EIO;
	return syncs == SYNCS_FAIL;
}

int fsync(int fd)
{
	return sync_fails(fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	return sync_fails(fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

/* A process that adds a tenant for each letter of names, the last under these syncs, and is killed. */
static void add_and_end(struct ctx *c, const char *names, int last)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		if (registry_open(c->path, false, &c->r, NULL) < 0)
			_exit(1);
		for (; *names; names++) {
			struct registry_tenant t = tenant((char[]){ *names, 0 });

			syncs = names[1] ? SYNCS_WORK : last;
			if (registry_tenant_add(c->r, &t, NULL) != (syncs ? -EIO : 0))
				_exit(2);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static bool has_tenant(struct ctx *c, const char *name)
{
	struct registry_tenant t = { .number = 0 };

	while (registry_tenant_next(c->r, t.number, &t, NULL) == 0)
		if (strcmp(t.name, name) == 0)
			return true;
	return false;
}

/*
 * What the kernel has of a WAL whose sync failed is not on the disk, and is not dirty. Who opens the
 * registry finds it there, and must not have anything depend on it.
 */
static void behind_a_failed_sync(void **state)
{
	struct ctx *c = *state;
	char wal[320];
	size_t from, to;

	snprintf(wal, sizeof(wal), "%s-wal", c->path);
	for (int last = SYNCS_FAIL; last <= SYNCS_FAIL_AND_END; last++) {
		registry_close(c->r);
		c->r = NULL;
		T_OK(io_remove_tree(c->dir));
		T_OK(io_make_dir(c->dir, 0700));
		t_wal_note();
		add_and_end(c, "ab", last);
		from = t_wal->synced;
		to = t_wal_size(wal);
		assert_true(from > 0 && from + 4096 < to);
		t_wal_forget();
		add_and_end(c, "c", SYNCS_WORK);
		t_wal_lose(wal, from, to);
		T_OK(registry_open(c->path, false, &c->r, NULL));
		assert_true(has_tenant(c, "a"));
		assert_true(has_tenant(c, "c"));
		assert_true(last != SYNCS_FAIL || !has_tenant(c, "b"));
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(tenants),
		TEST(numbers_are_never_used_again),
		TEST(settings),
		TEST(damage_is_seen),
		TEST(refuses_what_it_does_not_know),
		TEST(readonly),
		TEST(settings_by_prefix),
		TEST(settings_go_with_their_number),
		TEST(a_removal_leaves_no_trace),
		TEST(behind_a_failed_sync),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
