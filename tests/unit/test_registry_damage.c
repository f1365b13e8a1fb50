/*
 * test_registry_damage.c: what is wrong with registry.db is found: rows that vanished or changed
 * under a checksum that holds, commits that were lost, bytes that flipped.
 */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "store/registry_db.h"
#include "store/salvage.h"
#include "t.h"

struct ctx {
	char dir[256];
	char path[300];
	struct registry_db *r;
};

static void put(struct ctx *c, const char *name)
{
	struct registry_tenant t = { .owner = { 1, 2, 0750 }, .created_ns = 33, .tier = "free" };

	snprintf(t.name, sizeof(t.name), "%s", name);
	T_OK(registry_tenant_add(c->r, &t, NULL));
}

static int setup(void **state)
{
	struct ctx *c = calloc(1, sizeof(*c));
	const char *tmp = getenv("TMPDIR");
	char name[16];
	uint32_t n;

	snprintf(c->dir, sizeof(c->dir), "%s/rv-registry-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(c->dir));
	snprintf(c->path, sizeof(c->path), "%s/registry.db", c->dir);
	T_OK(registry_open(c->path, false, &c->r, NULL));
	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "tenant%d", i);
		put(c, name);
	}
	T_OK(registry_collection_number(c->r, 2, &n, NULL));
	T_OK(registry_setting_set(c->r, "tenants.mode", 0711, NULL));
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

static void close_it(struct ctx *c)
{
	registry_close(c->r);
	c->r = NULL;
}

static struct registry_report verify(struct ctx *c)
{
	struct registry_report report;

	T_OK(registry_verify(c->r, &report, NULL));
	return report;
}

static void clean(struct ctx *c)
{
	struct registry_report report = verify(c);

	if (report.errors)
		fail_msg("verify: %s", report.first);
}

static void reopen(struct ctx *c)
{
	close_it(c);
	T_OK(registry_open(c->path, false, &c->r, NULL));
}

/* Each kind of change keeps the sum. */
static void changes_keep_it_clean(void **state)
{
	const struct registry_setting rules[] = { { "rule.a", 1 }, { "rule.b", 2 } };
	struct ctx *c = *state;
	struct registry_tenant t;
	uint32_t n;

	clean(c);
	T_OK(registry_tenant_next(c->r, 2, &t, NULL));
	t.status = 3;
	T_OK(registry_tenant_update(c->r, &t, NULL));
	clean(c);
	T_OK(registry_collection_number(c->r, t.number, &n, NULL));
	T_OK(registry_setting_set(c->r, "status.3", 1, NULL));
	T_OK(registry_setting_set(c->r, "status.3", 2, NULL));
	clean(c);
	T_OK(registry_collection_forget(c->r, n, NULL));
	clean(c);
	for (size_t i = 0; i < 3; i++) {
		T_OK(registry_settings_replace(c->r, "rule.", rules, 2 - i, NULL));
		clean(c);
	}
	T_OK(registry_tenant_remove(c->r, t.number, NULL));
	T_ERR(registry_tenant_remove(c->r, t.number, NULL), ENOENT);
	clean(c);
	reopen(c);
	clean(c);
	put(c, "another");
	clean(c);
}

static void run_sql(struct ctx *c, const char *text)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(c->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/* The damage is there for good, also behind later changes. */
static void found_for_good(struct ctx *c)
{
	for (int i = 0; i < 2; i++) {
		reopen(c);
		assert_int_not_equal(verify(c).errors, 0);
		put(c, i ? "later" : "late");
		assert_int_not_equal(verify(c).errors, 0);
	}
}

static void rows_that_vanish_are_missed(void **state)
{
	static const char *const texts[] = {
		"DELETE FROM tenants WHERE number = 3",
		"DELETE FROM numbers WHERE number = 9",
		"UPDATE numbers SET tenant = 4 WHERE number = 9",
		"DELETE FROM settings WHERE name = 'tenants.mode'",
		"DELETE FROM settings WHERE name = 'check.sum'",
		"DELETE FROM settings WHERE name LIKE 'check.%'",
		"UPDATE tenants SET crc = crc + 1 WHERE number = 5",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct ctx *c;

		setup((void **)&c);
		close_it(c);
		run_sql(c, texts[i]);
		print_message("%s\n", texts[i]);
		found_for_good(c);
		teardown((void **)&c);
	}
}

static char *read_file(const char *path, size_t *ret_n)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	char *p;

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	p = malloc((size_t)st.st_size + 1);
	assert_int_equal(read(fd, p, (size_t)st.st_size), st.st_size);
	close(fd);
	*ret_n = (size_t)st.st_size;
	return p;
}

static void write_file(const char *path, const char *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(write(fd, p, n), n);
	close(fd);
}

/* An old copy is put back: what was committed since is missing, and every row holds. */
static void lost_commits_are_noticed(void **state)
{
	struct ctx *c = *state;
	size_t n;
	char *p;

	reopen(c);
	close_it(c);
	p = read_file(c->path, &n);
	T_OK(registry_open(c->path, false, &c->r, NULL));
	put(c, "x");
	put(c, "y");
	close_it(c);
	write_file(c->path, p, n);
	free(p);
	T_OK(registry_open(c->path, false, &c->r, NULL));
	assert_string_equal(verify(c).first, "registry.db has lost 2 changes");
	found_for_good(c);
}

/* Everything that is asked gives the same, or an error that says so. */
static bool answers_hold(struct ctx *c)
{
	struct registry_tenant t;
	uint32_t number, owner;
	uint64_t mode;
	char name[16];

	for (uint32_t i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "tenant%u", i);
		if (registry_tenant_next(c->r, i, &t, NULL) < 0 || t.number != i + 1 ||
		    strcmp(t.name, name) != 0)
			return false;
	}
	return registry_tenant_next(c->r, 8, &t, NULL) == -ENOENT &&
	       registry_collection_next(c->r, 0, &number, &owner, NULL) == 0 && number == 9 &&
	       owner == 2 && registry_setting_get(c->r, "tenants.mode", &mode, NULL) == 0 &&
	       mode == 0711;
}

static void flipped_bytes_are_found(void **state)
{
	struct ctx *c = *state;
	int found = 0, harmless = 0;
	size_t n, step = 97;
	char *p;

	close_it(c);
	p = read_file(c->path, &n);
	for (size_t i = 0; i < n; i += step) {
		struct registry_report report;

		p[i] ^= 0x10;
		write_file(c->path, p, n);
		p[i] ^= 0x10;
		if (registry_open(c->path, false, &c->r, NULL) < 0 ||
		    registry_verify(c->r, &report, NULL) < 0 || report.errors) {
			found++;
		} else {
			if (!answers_hold(c))
				fail_msg("byte %zu is not found", i);
			harmless++;
		}
		close_it(c);
	}
	print_message("%d flips found, %d harmless\n", found, harmless);
	assert_true(found > 20);
	write_file(c->path, p, n);
	free(p);
	T_OK(registry_open(c->path, false, &c->r, NULL));
}

static void nothing_told(void *ctx, const char *collection, const char *sentence)
{
}

/* A store without an entry gets a name that nobody has. */
static void salvaged_names_differ(void **state)
{
	const struct salvage_watch w = { .told = nothing_told };
	const uint32_t cid = 20;
	const struct registry_store store = { 20, &cid, 1 };
	struct ctx *c = *state;
	struct registry_tenant t;
	char made[310];

	put(c, "recovered-20");
	close_it(c);
	snprintf(made, sizeof(made), "%s/made", c->dir);
	T_OK(io_mkdir(made, 0700));
	strcat(made, "/r.db");
	T_OK(registry_salvage(c->path, made, &store, 1, &w, NULL));
	T_OK(registry_open(made, false, &c->r, NULL));
	T_OK(registry_tenant_next(c->r, 19, &t, NULL));
	assert_int_equal(t.number, 20);
	assert_string_equal(t.name, "recovered-20-2");
	clean(c);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(changes_keep_it_clean),    TEST(rows_that_vanish_are_missed),
		TEST(lost_commits_are_noticed), TEST(flipped_bytes_are_found),
		TEST(salvaged_names_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
