/*
 * test_life.c: names, labels, tiers, and the end of tenants: grace, purge, erasure.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "t.h"
#include "tenant/tenant_impl.h"

#define DIM         4
#define DEADLINE_NS (20 * 1000000000ull)
#define DAY_NS      (86400ull * 1000000000u)

static char data[64];
static struct workers *workers;
static struct tenants *ts;

static const struct owner me = { 1000, 1001, 0700 };

static void open_mount(void)
{
	struct tenants_options o = { .data = data, .workers = workers };
	struct err e = { 0 };

	if (tenants_open(&o, &ts, &e) < 0)
		fail_msg("%s", e.text);
}

static void remount(void)
{
	tenants_close(ts);
	open_mount();
}

static int set_up(void **state)
{
	snprintf(data, sizeof(data), "/tmp/ruvectorfs-life-XXXXXX");
	assert_non_null(mkdtemp(data));
	workers = workers_new(2);
	assert_non_null(workers);
	open_mount();
	return 0;
}

static int tear_down(void **state)
{
	tenants_close(ts);
	workers_free(workers);
	io_remove_tree(data);
	return 0;
}

static uint32_t make(const char *name)
{
	struct err e = { 0 };
	uint32_t number = 0;

	if (tenants_create(ts, name, &me, &number, &e) < 0)
		fail_msg("%s: %s", name, e.text);
	return number;
}

static int insert(uint32_t cid, const char *id, const char *metadata, struct err *e)
{
	float v[DIM] = { 1, 2, 3, (float)strlen(id) };
	struct record r = { .id = id,
		            .id_len = strlen(id),
		            .v = v,
		            .dim = DIM,
		            .metadata = metadata,
		            .metadata_len = metadata ? strlen(metadata) : 0 };
	struct tenant_batch *b;
	struct batch_result result;
	int rc = tenant_batch_begin(ts, cid, &b, e);

	if (rc < 0)
		return rc;
	rc = tenant_batch_add(b, &r, e);
	if (rc < 0) {
		tenant_batch_abort(b);
		return rc;
	}
	return tenant_batch_commit(b, NULL, NULL, &result, e);
}

static bool exists(uint32_t number)
{
	struct tenant_info info;

	return tenants_info(ts, number, &info) == 0;
}

static bool has_store(uint32_t number)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/stores/%u", data, number);
	return access(path, F_OK) == 0;
}

static bool purged(uint32_t number)
{
	uint64_t until = clock_mono_ns() + DEADLINE_NS;

	while (exists(number) || has_store(number)) {
		if (clock_mono_ns() > until)
			return false;
		usleep(1000);
	}
	return true;
}

static int set_quota(uint32_t number, const char *text)
{
	struct err e = { 0 };

	return tenants_set_quota(ts, number, text, strlen(text), &e);
}

static uint64_t limit(uint32_t number, enum quota_key k)
{
	struct tenant_info info;

	T_OK(tenants_info(ts, number, &info));
	return info.quota.max[k];
}

/* ---- names ---- */

static void test_rename(void **state)
{
	uint32_t a = make("a");
	uint32_t b = make("b");
	struct err e = { 0 };
	struct inside in;
	uint32_t number;

	T_OK(insert(a, "v", NULL, &e));
	T_OK(tenant_enter(ts, a, TENANT_READ, &in, &e));
	T_ERR(tenants_rename(ts, a, "b", false, &e), ENOTEMPTY);
	T_ERR(tenants_rename(ts, a, "b", true, &e), EEXIST);
	T_ERR(tenants_rename(ts, a, ".c", false, &e), EINVAL);
	T_OK(tenants_rename(ts, a, "c", false, &e));
	T_ERR(tenants_find(ts, "a", &number), ENOENT);
	T_OK(tenants_find(ts, "c", &number));
	assert_int_equal(number, a);
	T_OK(tenant_check(&in, TENANT_READ, &e)); /* who is inside stays there */
	tenant_leave(&in);
	T_OK(tenants_rename(ts, b, "a", false, &e)); /* the old name is free */
	remount();
	T_OK(tenants_find(ts, "c", &number));
	assert_int_equal(number, a);
	T_OK(tenants_find(ts, "a", &number));
	assert_int_equal(number, b);
	T_OK(tenants_set_status(ts, a, TENANT_READONLY, &e));
	T_ERR(tenants_rename(ts, a, "d", false, &e), EROFS);
	T_OK(tenants_set_status(ts, a, TENANT_SUSPENDED, &e));
	T_ERR(tenants_rename(ts, a, "d", false, &e), EACCES);
	T_ERR(tenants_rename(ts, 999, "d", false, &e), ENODEV);
}

/* ---- labels ---- */

static int set_labels(uint32_t number, const char *text, struct err *e)
{
	struct inside in;
	int rc = tenant_enter(ts, number, TENANT_WRITE, &in, e);

	if (rc < 0)
		return rc;
	rc = tenant_set_labels(&in, text, strlen(text), e);
	tenant_leave(&in);
	return rc;
}

static void assert_labels(uint32_t number, const char *text)
{
	struct buf got BUF_AUTO = BUF_INIT;
	struct inside in;
	struct err e = { 0 };

	T_OK(tenant_enter(ts, number, TENANT_READ, &in, &e));
	T_OK(tenant_labels(&in, &got, &e));
	tenant_leave(&in);
	assert_string_equal(got.data ? got.data : "", text);
}

static void test_labels(void **state)
{
	uint32_t a = make("a");
	struct err e = { 0 };
	char many[5000] = "";

	assert_labels(a, "");
	T_OK(set_labels(a, "region eu-1\nplan = pro\ndisplay_name The A Company\n", &e));
	assert_labels(a, "display_name The A Company\nplan pro\nregion eu-1\n");
	T_OK(set_labels(a, "plan free\nregion default\nz last\na first\n", &e));
	remount();
	assert_labels(a, "a first\ndisplay_name The A Company\nplan free\nz last\n");
	T_ERR(set_labels(a, "x 1\nplan\n", &e), EINVAL);
	T_ERR(set_labels(a, "p\303\244 1\n", &e), EINVAL);
	for (int i = 0; i < 25; i++)
		sprintf(many + strlen(many), "key%d %0150d\n", i, i);
	T_OK(set_labels(a, many, &e));
	many[0] = '\0';
	for (int i = 25; i < 32; i++)
		sprintf(many + strlen(many), "key%d %0150d\n", i, i);
	T_ERR(set_labels(a, many, &e), E2BIG);
	T_OK(tenants_set_status(ts, a, TENANT_READONLY, &e));
	T_ERR(set_labels(a, "x 1", &e), EROFS);
}

static void test_damaged_labels(void **state)
{
	uint32_t a = make("a");
	struct buf got BUF_AUTO = BUF_INIT;
	struct err e = { 0 };
	struct inside in;
	char path[128];
	FILE *f;

	T_OK(set_labels(a, "plan pro\n", &e));
	snprintf(path, sizeof(path), "%s/stores/%u/labels", data, a);
	f = fopen(path, "r+");
	assert_non_null(f);
	fseek(f, 17, SEEK_SET);
	fputc('x', f);
	fclose(f);
	T_OK(tenant_enter(ts, a, TENANT_READ, &in, &e));
	T_ERR(tenant_labels(&in, &got, &e), EIO);
	assert_int_equal(got.len, 0);
	tenant_leave(&in);
}

/* ---- tiers ---- */

static int set_tiers(const char *text, struct err *e)
{
	return tenants_set_tiers(ts, text, strlen(text), e);
}

static void test_tiers(void **state)
{
	uint32_t a = make("a");
	uint32_t b = make("b");
	struct err e = { 0 };

	T_OK(set_quota(a, "tier free\nmax_vectors 77\n"));
	T_OK(set_quota(b, "tier free\n"));
	T_OK(set_tiers("free max_vectors=5 max_qps=3\ngold weight=500\n", &e));
	T_OK(set_quota(b, "weight 7\n"));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(limit(a, QUOTA_MAX_VECTORS), 77);
		assert_int_equal(limit(a, QUOTA_MAX_QPS), 3);
		assert_int_equal(limit(b, QUOTA_MAX_VECTORS), 5);
		assert_int_equal(limit(b, QUOTA_WEIGHT), 7);
		remount();
	}
	T_OK(set_quota(b, "tier gold\n"));
	assert_int_equal(limit(b, QUOTA_WEIGHT), 500);
	T_ERR(set_tiers("gold remove\n", &e), EBUSY);
	T_OK(set_quota(b, "tier free\n"));
	T_OK(set_tiers("gold remove\nfree default\n", &e));
	assert_int_equal(limit(b, QUOTA_MAX_VECTORS), 10000);
	remount();
	assert_int_equal(limit(b, QUOTA_MAX_VECTORS), 10000);
	T_ERR(set_quota(b, "tier gold\n"), EINVAL);
}

/* ---- the end ---- */

static void test_purged_in_time(void **state)
{
	uint32_t a = make("a");
	uint32_t b = make("b");
	struct err e = { 0 };

	T_OK(insert(a, "v", NULL, &e));
	T_OK(set_quota(a, "retention_s 0\n"));
	assert_true(exists(a)); /* only what is pending-deletion goes */
	T_OK(tenants_set_status(ts, a, TENANT_PENDING_DELETION, &e));
	assert_true(purged(a));
	T_OK(insert(b, "v", NULL, &e));
	T_OK(tenants_set_status(ts, b, TENANT_PENDING_DELETION, &e));
	remount();
	assert_true(exists(b));
	T_OK(set_quota(b, "retention_s 0\n")); /* while it waits */
	assert_true(purged(b));
}

static void test_called_off(void **state)
{
	uint32_t a = make("a");
	struct tenant_info info;
	struct err e = { 0 };

	T_OK(insert(a, "v", NULL, &e));
	T_OK(tenants_set_status(ts, a, TENANT_PENDING_DELETION, &e));
	T_OK(tenants_info(ts, a, &info));
	assert_true(info.pending_left_s > 29 * 86400 && info.pending_left_s <= 30 * 86400);
	T_OK(tenants_set_status(ts, a, TENANT_ACTIVE, &e));
	T_OK(set_quota(a, "retention_s 0\n"));
	remount();
	assert_true(exists(a));
	T_ERR(tenant_purge(ts, a, &e), ECANCELED);
	T_OK(insert(a, "w", NULL, &e));
}

/* As the registry would have it after days, or when a clock was set. */
static void since(uint32_t number, uint64_t pending_ns)
{
	struct registry_tenant rt;
	struct registry_db *db;
	char path[128];

	tenants_close(ts);
	ts = NULL;
	snprintf(path, sizeof(path), "%s/registry.db", data);
	T_OK(registry_open(path, false, &db, NULL));
	T_OK(registry_tenant_next(db, number - 1, &rt, NULL));
	rt.pending_ns = pending_ns;
	T_OK(registry_tenant_update(db, &rt, NULL));
	registry_close(db);
	open_mount();
}

static uint64_t left_s(uint32_t number)
{
	struct tenant_info info;

	T_OK(tenants_info(ts, number, &info));
	return info.pending_left_s;
}

static void test_clocks(void **state)
{
	uint32_t a = make("a");
	struct err e = { 0 };

	T_OK(insert(a, "v", NULL, &e));
	T_OK(tenants_set_status(ts, a, TENANT_PENDING_DELETION, &e));
	since(a, clock_wall_ns() - 10 * DAY_NS);
	assert_true(left_s(a) > 19 * 86400 && left_s(a) <= 20 * 86400);
	/* the clock was set back: the grace begins again, it is neither endless nor over */
	since(a, clock_wall_ns() + 400 * DAY_NS);
	assert_true(left_s(a) > 29 * 86400 && left_s(a) <= 30 * 86400);
	/* an entry of before there was a purge */
	since(a, UINT64_MAX);
	assert_true(left_s(a) > 29 * 86400 && left_s(a) <= 30 * 86400);
	since(a, clock_wall_ns() - 31 * DAY_NS);
	assert_true(purged(a));
}

/* The thread that purges is under way when all is closed. */
static void test_closed_while_purging(void **state)
{
	struct err e = { 0 };
	char name[16];
	uint32_t number;

	for (int i = 0; i < 18; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		number = make(name);
		T_OK(set_quota(number, "retention_s 0\n"));
		T_OK(tenants_set_status(ts, number, TENANT_PENDING_DELETION, &e));
		if (i % 3 == 0)
			remount();
	}
}

/* ---- erasure ---- */

static bool bytes_are_in_file(const char *path, const void *p, size_t n)
{
	static char all[8 << 20];
	FILE *f = fopen(path, "r");
	size_t len;

	if (!f)
		return false;
	len = fread(all, 1, sizeof(all), f);
	fclose(f);
	return memmem(all, len, p, n) != NULL;
}

static bool bytes_are_below(const char *dir, const void *p, size_t n)
{
	char path[4096];
	struct dirent *d;
	bool found = false;
	DIR *dp = opendir(dir);

	while (dp && (d = readdir(dp))) {
		if (d->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, d->d_name);
		if (d->d_type == DT_DIR)
			found |= bytes_are_below(path, p, n);
		else
			found |= bytes_are_in_file(path, p, n);
	}
	if (dp)
		closedir(dp);
	return found;
}

static void assert_traces(bool expected, bool of_registry)
{
	const float v[DIM] = { 1, 2, 3, (float)strlen("secret-identifier") };

	assert_int_equal(bytes_are_below(data, "secret-identifier", 17), expected);
	assert_int_equal(bytes_are_below(data, "secret-value", 12), expected);
	assert_int_equal(bytes_are_below(data, "secret-label", 12), expected);
	assert_int_equal(bytes_are_below(data, v, sizeof(v)), expected);
	assert_int_equal(bytes_are_below(data, "secret-tenant", 13), of_registry);
}

static void test_rmdir_erases(void **state)
{
	uint32_t others[20];
	struct err e = { 0 };
	struct inside in;
	char name[32];
	uint32_t a;

	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "other-%d", i);
		others[i] = make(name);
	}
	a = make("secret-tenant");
	T_OK(insert(a, "secret-identifier", "{\"k\":\"secret-value\"}", &e));
	T_OK(set_labels(a, "plan secret-label\n", &e));
	T_OK(insert(others[0], "public", NULL, &e));
	assert_traces(true, true);
	T_OK(tenants_set_status(ts, a, TENANT_PENDING_DELETION, &e));
	assert_traces(true, true);
	T_OK(tenant_enter(ts, a, TENANT_LOOK, &in, &e)); /* a handle that nobody closes */
	T_OK(tenants_remove(ts, a, &e));
	assert_traces(false, false);
	tenant_leave(&in);
	remount();
	assert_traces(false, false);
	assert_true(bytes_are_below(data, "public", 6));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_rename),
		TEST(test_labels),
		TEST(test_damaged_labels),
		TEST(test_tiers),
		TEST(test_purged_in_time),
		TEST(test_called_off),
		TEST(test_closed_while_purging),
		TEST(test_clocks),
		TEST(test_rmdir_erases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
