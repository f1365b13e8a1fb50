/*
 * test_tenant.c: the registry in memory, entering, status, quotas under concurrency, what stays
 * after a restart.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "t.h"
#include "tenant/tenant_impl.h"

#define DIM         4
#define DEADLINE_NS (20 * 1000000000ull)

static char data[64];
static struct workers *workers;
static struct tenants *ts;

static const struct owner me = { 1000, 1001, 0700 };

/* ---- scaffold ---- */

static void open_mount_as(const char *tier, bool read_only)
{
	struct tenants_options o = {
		.data = data, .read_only = read_only, .tier = tier, .workers = workers
	};
	struct err e = { 0 };

	if (tenants_open(&o, &ts, &e) < 0)
		fail_msg("%s", e.text);
}

static void open_mount(void)
{
	open_mount_as("unlimited", false);
}

static void remount(void)
{
	tenants_close(ts);
	open_mount();
}

static int set_up(void **state)
{
	snprintf(data, sizeof(data), "/tmp/ruvectorfs-tenant-XXXXXX");
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

/* i tells the vector. */
static void fill(float v[DIM], uint64_t i)
{
	for (int d = 0; d < DIM; d++)
		v[d] = (float)((i * 2654435761u >> (d * 5)) % 97 + 1);
}

static int add_id(struct tenant_batch *b, const char *id, uint64_t i, struct err *e)
{
	float v[DIM];
	struct record r = { .id = id, .id_len = strlen(id), .v = v, .dim = DIM };

	fill(v, i);
	return tenant_batch_add(b, &r, e);
}

static int add(struct tenant_batch *b, uint64_t i, struct err *e)
{
	char id[24];

	snprintf(id, sizeof(id), "%" PRIu64, i);
	return add_id(b, id, i, e);
}

/* One batch with the IDs [from, to). */
static int insert(uint32_t cid, uint64_t from, uint64_t to, struct err *e)
{
	struct tenant_batch *b;
	struct batch_result result;
	int rc = tenant_batch_begin(ts, cid, &b, e);

	if (rc < 0)
		return rc;
	for (uint64_t i = from; i < to; i++) {
		rc = add(b, i, e);
		if (rc < 0) {
			tenant_batch_abort(b);
			return rc;
		}
	}
	return tenant_batch_commit(b, NULL, NULL, &result, e);
}

static int remove_id(uint32_t cid, uint64_t i)
{
	struct inside in;
	char id[24];
	struct id_ref ref = { id, 0 };
	uint64_t removed = 0;
	int rc;

	ref.len = (size_t)snprintf(id, sizeof(id), "%" PRIu64, i);
	rc = tenant_enter(ts, cid, TENANT_WRITE, &in, NULL);
	if (rc < 0)
		return rc;
	rc = engine_remove(in.engine, cid, &ref, 1, &removed, NULL);
	tenant_leave(&in);
	return rc < 0 ? rc : (int)removed;
}

static uint64_t vectors(uint32_t cid)
{
	struct collection_info info = { 0 };
	struct inside in;

	T_OK(tenant_enter(ts, cid, TENANT_LOOK, &in, NULL));
	T_OK(engine_collection_info(in.engine, cid, &info));
	tenant_leave(&in);
	return info.vectors;
}

static void set_quota(uint32_t number, const char *text)
{
	struct err e = { 0 };

	if (tenants_set_quota(ts, number, text, strlen(text), &e) < 0)
		fail_msg("%s: %s", text, e.text);
}

static bool stores_has(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/stores/%s", data, name);
	return access(path, F_OK) == 0;
}

static bool has_store(uint32_t number)
{
	char name[16];

	snprintf(name, sizeof(name), "%" PRIu32, number);
	return stores_has(name);
}

/* What a figure of the mount's stats is. */
static uint64_t top(const char *key)
{
	struct buf text BUF_AUTO = BUF_INIT;
	char line[64];
	const char *at;

	buf_addc(&text, '\n');
	tenants_stats_render(ts, &text);
	snprintf(line, sizeof(line), "\n%s ", key);
	at = strstr(text.data, line);
	assert_non_null(at);
	return strtoull(at + strlen(line), NULL, 10);
}

static unsigned n_idle(void)
{
	unsigned n;

	mutex_lock(&ts->lock);
	n = ts->n_idle;
	mutex_unlock(&ts->lock);
	return n;
}

static bool wait_for(bool (*what)(void))
{
	uint64_t until = clock_mono_ns() + DEADLINE_NS;

	while (!what()) {
		if (clock_mono_ns() > until)
			return false;
		usleep(1000);
	}
	return true;
}

/* ---- names and the registry ---- */

static void test_names(void **state)
{
	char longest[LIMIT_NAME + 2];
	struct err e = { 0 };

	memset(longest, 'a', sizeof(longest));
	longest[LIMIT_NAME + 1] = '\0';
	T_ERR(tenant_name_check(longest, &e), ENAMETOOLONG);
	longest[LIMIT_NAME] = '\0';
	T_OK(tenant_name_check(longest, &e));
	for (const char *const *good = (const char *const[]){ "a", "A-b_c.9", "-", "_", "0", NULL };
	     *good; good++)
		T_OK(tenant_name_check(*good, &e));
	for (const char *const *bad = (const char *const[]){ "", ".", "..", ".a", "a b", "a/b",
	                                                     "a\n", "\xc3\xa4", NULL };
	     *bad; bad++)
		T_ERR(tenant_name_check(*bad, &e), EINVAL);
	assert_true(e.text[0] != '\0');
}

static void test_create_find(void **state)
{
	uint32_t a = make("a");
	uint32_t b = make("b");
	uint32_t found;
	struct tenant_info info;
	struct err e = { 0 };

	assert_true(a > 0 && b > a);
	T_OK(tenants_find(ts, "b", &found));
	assert_int_equal(found, b);
	T_ERR(tenants_find(ts, "c", &found), ENOENT);
	T_ERR(tenants_create(ts, "a", &me, &found, &e), EEXIST);
	T_ERR(tenants_create(ts, "..", &me, &found, &e), EINVAL);
	T_OK(tenants_info(ts, a, &info));
	assert_string_equal(info.name, "a");
	assert_int_equal(info.owner.uid, 1000);
	assert_int_equal(info.owner.gid, 1001);
	assert_int_equal(info.owner.mode, 0700);
	assert_int_equal(info.status, TENANT_ACTIVE);
	assert_true(info.created_ns > 0);
	T_ERR(tenants_info(ts, 999, &info), ENODEV);
	T_OK(tenants_next(ts, 0, &info));
	assert_int_equal(info.number, a);
	T_OK(tenants_next(ts, a, &info));
	assert_int_equal(info.number, b);
	T_ERR(tenants_next(ts, b, &info), ENOENT);
}

static void test_persistence(void **state)
{
	const struct owner you = { 5, 6, 0750 };
	const struct owner dir = { 7, 8, 01733 };
	struct owner back;
	struct tenant_info info;
	uint32_t a = make("a");
	struct err e = { 0 };

	T_OK(tenants_set_owner(ts, a, &you, &e));
	T_OK(tenants_set_status(ts, a, TENANT_READONLY, &e));
	set_quota(a, "tier pro\nmax_vectors 17\nmax_bytes max\n");
	T_OK(tenants_set_dir_owner(ts, &dir, &e));
	remount();
	T_OK(tenants_info(ts, a, &info));
	assert_memory_equal(&info.owner, &you, sizeof(you));
	assert_int_equal(info.status, TENANT_READONLY);
	assert_string_equal(info.quota.tier, "pro");
	assert_int_equal(info.quota.max[QUOTA_MAX_VECTORS], 17);
	assert_true(info.quota.max[QUOTA_MAX_BYTES] == QUOTA_UNLIMITED);
	tenants_dir_owner(ts, &back);
	assert_memory_equal(&back, &dir, sizeof(dir));
	T_ERR(tenants_set_owner(ts, 999, &you, &e), ENODEV);
	T_ERR(tenants_set_quota(ts, a, "max_vectors x", 13, &e), EINVAL);
}

/* Numbers are never used again, nor is anything in a store of the same name. */
static void test_numbers(void **state)
{
	uint32_t first = make("a");
	uint32_t again;
	struct err e = { 0 };

	T_OK(tenants_remove(ts, first, &e));
	again = make("a");
	assert_true(again > first);
	T_OK(tenants_remove(ts, again, &e));
	remount();
	assert_true(make("a") > again);
}

/* What is shown of numbers goes back, is each another one's, and stays over a mount. */
static void test_shown(void **state)
{
	const uint64_t last = (1ull << 58) - 1;
	uint64_t node = tenants_shown_node(ts, 7);
	uint32_t number = tenants_shown(ts, 7);

	for (uint64_t n = 0; n < 5000; n++) {
		uint64_t low = tenants_shown_node(ts, n), high = tenants_shown_node(ts, last - n);

		assert_true(low <= last && high <= last && low != high);
		assert_true(tenants_hidden_node(ts, low) == n);
		assert_true(tenants_hidden_node(ts, high) == last - n);
		assert_true(tenants_shown_node(ts, tenants_hidden_node(ts, n)) == n);
		assert_true(tenants_hidden(ts, tenants_shown(ts, (uint32_t)n)) == n);
	}
	assert_int_equal(tenants_shown(ts, 0), 0);
	remount();
	assert_true(tenants_shown_node(ts, 7) == node);
	assert_int_equal(tenants_shown(ts, 7), number);
}

static void test_tier_of_mount(void **state)
{
	struct tenants_options o = { .data = data, .tier = "gold", .workers = workers };
	struct tenant_info info;
	struct tenants *none;
	struct err e = { 0 };
	uint32_t a;

	tenants_close(ts);
	T_ERR(tenants_open(&o, &none, &e), EINVAL);
	open_mount_as("free", false);
	a = make("a");
	T_OK(tenants_info(ts, a, &info));
	assert_string_equal(info.quota.tier, "free");
	assert_int_equal(info.quota.max[QUOTA_MAX_VECTORS], 10000);
}

static void test_read_only_mount(void **state)
{
	struct err e = { 0 };
	struct inside in;
	uint32_t a = make("a");
	uint32_t n;

	T_OK(insert(a, 0, 3, &e));
	tenants_close(ts);
	open_mount_as("unlimited", true);
	T_ERR(tenants_create(ts, "b", &me, &n, &e), EROFS);
	T_ERR(tenants_remove(ts, a, &e), EROFS);
	T_ERR(tenants_set_status(ts, a, TENANT_SUSPENDED, &e), EROFS);
	T_ERR(tenants_set_quota(ts, a, "max_vectors 1", 13, &e), EROFS);
	T_ERR(tenant_enter(ts, a, TENANT_WRITE, &in, &e), EROFS);
	T_ERR(insert(a, 3, 4, &e), EROFS);
	assert_int_equal(vectors(a), 3);
}

/* ---- engines open late, and close ---- */

static void test_nothing_opens(void **state)
{
	struct tenant_info info;
	struct inside in;
	struct err e = { 0 };
	uint32_t a = make("a");
	uint32_t b = make("b");

	T_OK(tenants_info(ts, a, &info));
	T_OK(tenants_set_status(ts, a, TENANT_READONLY, &e));
	T_OK(tenants_set_status(ts, a, TENANT_ACTIVE, &e));
	T_OK(tenant_enter(ts, a, TENANT_ADMIN, &in, &e));
	assert_null(in.engine);
	tenant_leave(&in);
	assert_int_equal(top("tenants"), 2);
	T_OK(tenants_remove(ts, b, &e));
	assert_false(has_store(a));
	assert_false(has_store(b));
	T_OK(tenant_enter(ts, a, TENANT_READ, &in, &e));
	assert_non_null(in.engine);
	tenant_leave(&in);
	assert_true(has_store(a));
}

static bool few_are_open(void)
{
	return n_idle() <= LIMIT_OPEN_TENANTS;
}

static int n_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 4096; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static bool is_open(uint32_t number)
{
	struct tenant *t;
	bool open;

	mutex_lock(&ts->lock);
	t = tenant_find_locked(ts, number);
	open = t && t->engine;
	mutex_unlock(&ts->lock);
	return open;
}

/* The least recently used are closed, and know what they held. */
static void test_lru(void **state)
{
	enum { N = LIMIT_OPEN_TENANTS + 6 };
	uint32_t numbers[N];
	struct err e = { 0 };
	struct inside kept;
	int fds;

	for (int i = 0; i < N; i++) {
		char name[16];

		snprintf(name, sizeof(name), "t%d", i);
		numbers[i] = make(name);
	}
	T_OK(tenant_enter(ts, numbers[0], TENANT_READ, &kept, &e));
	fds = n_fds();
	for (int i = 0; i < N; i++) {
		T_OK(insert(numbers[i], 0, (uint64_t)i % 3 + 1, &e));
		if (i == LIMIT_OPEN_TENANTS - 1)
			assert_int_equal(vectors(numbers[2]), 3);
	}
	assert_true(wait_for(few_are_open));
	assert_int_equal(n_idle(), LIMIT_OPEN_TENANTS);
	assert_true(is_open(numbers[0]));  /* somebody is inside */
	assert_false(is_open(numbers[1])); /* the oldest */
	assert_true(is_open(numbers[2]));  /* was asked later */
	assert_true(is_open(numbers[N - 1]));
	print_message("%d descriptors for %d open tenants\n", n_fds() - fds, (int)n_idle());
	assert_int_equal(top("vectors"), 70 / 3 * 6 + 1);
	assert_false(is_open(numbers[1])); /* and that opened none */
	tenant_leave(&kept);
	assert_int_equal(vectors(numbers[1]), 2);
	assert_int_equal(vectors(numbers[0]), 1);
}

/* An engine that somebody is inside of stays, and one that somebody used since it was chosen. */
static void test_close_refused(void **state)
{
	struct err e = { 0 };
	struct inside in;
	struct tenant *t;
	uint32_t a = make("a");

	T_OK(tenant_enter(ts, a, TENANT_READ, &in, &e));
	t = in.tenant;
	mutex_lock(&ts->lock);
	tenant_pin_locked(ts, t);
	mutex_unlock(&ts->lock);
	assert_false(tenant_close_engine(t));
	assert_true(is_open(a));
	tenant_leave(&in);
	assert_true(tenant_close_engine(t));
	assert_false(is_open(a));
	assert_false(tenant_close_engine(t));
	tenant_unpin(t);
	assert_int_equal(vectors(a), 0);
}

static bool all_is_known(void)
{
	struct tenant *t;
	bool known = true;

	mutex_lock(&ts->lock);
	for (uint32_t after = 0; known && (t = tenant_after_locked(ts, after)); after = t->number)
		known = t->figures_known || t->engine;
	mutex_unlock(&ts->lock);
	return known;
}

/* The mount's figures without opening anything; after a mount that did not end well they are
 * counted. */
static void test_figures(void **state)
{
	struct err e = { 0 };
	char path[128];
	uint32_t a = make("a");
	uint32_t b = make("b");

	T_OK(insert(a, 0, 5, &e));
	T_OK(insert(b, 0, 7, &e));
	assert_int_equal(remove_id(b, 3), 1);
	remount();
	snprintf(path, sizeof(path), "%s/stores/%" PRIu32 "/figures", data, a);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(vectors(a), 5);
	assert_int_equal(access(path, F_OK), -1); /* not true while it is open */
	remount();
	assert_int_equal(top("vectors"), 11);
	assert_int_equal(top("inserts"), 12);
	assert_int_equal(top("deletes"), 1);
	assert_true(top("bytes") >= 11 * DIM * sizeof(float));
	assert_false(is_open(a) || is_open(b));
	tenants_close(ts);
	snprintf(path, sizeof(path), "%s/stores/%" PRIu32 "/figures", data, a);
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s/stores/%" PRIu32 "/figures", data, b);
	assert_int_equal(truncate(path, 40), 0);
	open_mount();
	assert_true(wait_for(all_is_known));
	assert_int_equal(top("vectors"), 11);
}

/* ---- removal ---- */

static void test_remove(void **state)
{
	struct err e = { 0 };
	struct inside in;
	uint32_t a = make("a");
	uint32_t n;

	T_OK(insert(a, 0, 1, &e));
	T_ERR(tenants_remove(ts, a, &e), ENOTEMPTY);
	remount();
	T_ERR(tenants_remove(ts, a, &e), ENOTEMPTY);
	assert_int_equal(remove_id(a, 0), 1);
	T_OK(tenants_remove(ts, a, &e));
	assert_false(has_store(a));
	T_ERR(tenants_find(ts, "a", &n), ENOENT);
	T_ERR(tenant_enter(ts, a, TENANT_LOOK, &in, &e), ENODEV);
	T_ERR(tenants_remove(ts, a, &e), ENODEV);
	remount();
	T_ERR(tenants_find(ts, "a", &n), ENOENT);
}

static uint32_t removed_number;

static bool removed_is_erased(void)
{
	return !has_store(removed_number);
}

/* Handles and batches that are open when their tenant goes. */
static void test_remove_while_inside(void **state)
{
	struct err e = { 0 };
	struct inside in;
	struct tenant_batch *b;
	struct batch_result result;
	uint32_t a = make("a");
	uint32_t again;

	T_OK(insert(a, 0, 2, &e));
	T_OK(tenant_enter(ts, a, TENANT_READ, &in, &e));
	T_OK(tenant_batch_begin(ts, a, &b, &e));
	T_OK(add(b, 5, &e));
	T_OK(tenants_set_status(ts, a, TENANT_PENDING_DELETION, &e));
	T_ERR(add(b, 6, &e), EACCES);
	T_OK(tenants_remove(ts, a, &e));
	assert_false(has_store(a)); /* what is open has no name any more */
	again = make("a");          /* and the name is free at once */
	T_ERR(add(b, 7, &e), ENODEV);
	T_ERR(tenant_batch_commit(b, NULL, NULL, &result, &e), ENODEV);
	tenant_leave(&in);
	removed_number = a;
	assert_true(wait_for(removed_is_erased));
	T_OK(insert(again, 0, 1, &e));
	assert_int_equal(vectors(again), 1);
}

/* A removal that was cut short is finished by the next open; a store that nobody removed
 * stays and is told of. */
static void test_orphans(void **state)
{
	struct tenants_options o = { .data = data, .workers = workers };
	struct tenants *none = NULL;
	struct err e = { 0 };
	char path[128];
	uint32_t a = make("a");
	int fd;

	T_OK(insert(a, 0, 1, &e));
	tenants_close(ts);
	for (const char *const *name = (const char *const[]){ "77.removed", "1.removed", NULL };
	     *name; name++) {
		snprintf(path, sizeof(path), "%s/stores/%s", data, *name);
		fd = open(path, O_CREAT | O_WRONLY, 0600);
		assert_true(fd >= 0);
		close(fd);
	}
	snprintf(path, sizeof(path), "%s/stores/77", data);
	assert_int_equal(mkdir(path, 0700), 0);
	open_mount();
	assert_false(stores_has("77") || stores_has("77.removed"));
	assert_false(stores_has("1.removed"));
	assert_int_equal(a, 1);
	assert_int_equal(vectors(a), 1); /* marked, but never removed */
	tenants_close(ts);
	assert_int_equal(mkdir(path, 0700), 0);
	T_ERR(tenants_open(&o, &none, &e), EILSEQ);
	assert_non_null(strstr(e.text, "stores/77"));
	assert_true(stores_has("77"));
	assert_int_equal(rmdir(path), 0);
	open_mount();
}

/* ---- status ---- */

static void check_access(uint32_t cid, int look, int read, int write)
{
	const enum tenant_access kinds[] = { TENANT_LOOK, TENANT_READ, TENANT_WRITE };
	const int expected[] = { look, read, write };

	for (int i = 0; i < 3; i++) {
		struct inside in = { 0 };
		int rc = tenant_enter(ts, cid, kinds[i], &in, NULL);

		if (rc != -expected[i])
			fail_msg("access %d: %s", i, strerror(-rc));
		if (rc == 0)
			tenant_leave(&in);
	}
}

static void test_status(void **state)
{
	struct err e = { 0 };
	struct inside in;
	struct tenant_batch *b;
	struct batch_result result;
	uint32_t a = make("a");

	T_OK(insert(a, 0, 1, &e));
	check_access(a, 0, 0, 0);
	T_OK(tenant_batch_begin(ts, a, &b, &e));
	T_OK(add(b, 1, &e));
	T_OK(tenants_set_status(ts, a, TENANT_READONLY, &e));
	check_access(a, 0, 0, EROFS);
	T_ERR(add(b, 2, &e), EROFS); /* opened before */
	T_ERR(tenant_batch_commit(b, NULL, NULL, &result, &e), EROFS);
	T_ERR(tenants_remove(ts, a, &e), EROFS);
	T_OK(tenants_set_status(ts, a, TENANT_SUSPENDED, &e));
	check_access(a, 0, EACCES, EACCES);
	T_ERR(tenants_remove(ts, a, &e), EACCES);
	T_OK(tenants_set_status(ts, a, TENANT_PENDING_DELETION, &e));
	check_access(a, 0, EACCES, EACCES);
	T_OK(tenants_set_status(ts, a, TENANT_ACTIVE, &e));
	check_access(a, 0, 0, 0);
	assert_int_equal(vectors(a), 1);
	T_OK(tenant_enter(ts, a, TENANT_LOOK, &in, &e));
	tenant_leave(&in);
	T_ERR(tenants_set_status(ts, 999, TENANT_ACTIVE, &e), ENODEV);
}

static void test_status_words(void **state)
{
	const char *const words[] = { "active", "readonly", "suspended", "pending-deletion" };
	enum tenant_status s;

	for (int i = 0; i < 4; i++) {
		assert_true(tenant_status_parse(words[i], strlen(words[i]), &s));
		assert_string_equal(tenant_status_name(s), words[i]);
	}
	assert_false(tenant_status_parse("Active", 6, &s));
	assert_false(tenant_status_parse("active ", 7, &s));
	assert_false(tenant_status_parse("", 0, &s));
}

/* ---- further collections ---- */

static uint32_t make_collection(uint32_t tenant, const char *name, int expected)
{
	struct inside in;
	struct err e = { 0 };
	uint32_t cid = 0;

	T_OK(tenant_enter(ts, tenant, TENANT_WRITE, &in, &e));
	if (expected)
		T_ERR(tenant_collection_create(&in, name, &me, &cid, &e), expected);
	else
		T_OK(tenant_collection_create(&in, name, &me, &cid, &e));
	tenant_leave(&in);
	return cid;
}

static int remove_collection(uint32_t tenant, uint32_t cid)
{
	struct inside in;
	int rc = tenant_enter(ts, tenant, TENANT_LOOK, &in, NULL);

	if (rc < 0)
		return rc;
	rc = tenant_collection_remove(&in, cid, NULL);
	tenant_leave(&in);
	return rc;
}

static void test_collections(void **state)
{
	struct err e = { 0 };
	struct inside in;
	uint32_t a = make("a");
	uint32_t owner;
	uint32_t x;

	x = make_collection(a, "x", 0);
	assert_true(x > a);
	make_collection(a, "x", EEXIST);
	make_collection(a, "default", EEXIST);
	make_collection(a, ".x", EINVAL);
	T_OK(insert(x, 0, 2, &e));
	T_OK(insert(a, 0, 1, &e));
	remount();
	T_OK(tenants_of_collection(ts, x, &owner));
	assert_int_equal(owner, a);
	assert_int_equal(vectors(x), 2);
	assert_int_equal(vectors(a), 1);
	assert_int_equal(top("collections"), 1);
	T_ERR(remove_collection(a, a), EPERM);
	T_ERR(remove_collection(a, x), ENOTEMPTY);
	T_OK(tenant_enter(ts, x, TENANT_READ, &in, &e));
	T_OK(tenants_set_status(ts, x, TENANT_PENDING_DELETION, &e));
	check_access(x, 0, EACCES, EACCES);
	check_access(a, 0, 0, 0);
	T_OK(remove_collection(a, x));
	T_ERR(tenant_check(&in, TENANT_LOOK, &e), ENODEV);
	tenant_leave(&in);
	T_ERR(tenant_enter(ts, x, TENANT_LOOK, &in, &e), ENODEV);
	T_ERR(tenants_of_collection(ts, x, &owner), ENODEV);
	assert_true(make_collection(a, "x", 0) > x);
}

static void test_collection_status_stays(void **state)
{
	enum tenant_status s;
	struct err e = { 0 };
	uint32_t a = make("a");
	uint32_t x = make_collection(a, "x", 0);

	T_OK(tenants_set_status(ts, x, TENANT_READONLY, &e));
	remount();
	T_OK(tenants_status(ts, x, &s));
	assert_int_equal(s, TENANT_READONLY);
	T_OK(tenants_status(ts, a, &s));
	assert_int_equal(s, TENANT_ACTIVE);
	check_access(x, 0, 0, EROFS);
	T_OK(tenants_set_status(ts, a, TENANT_SUSPENDED, &e)); /* the stricter one holds */
	check_access(x, 0, EACCES, EACCES);
}

static void test_max_collections(void **state)
{
	uint32_t a = make("a");
	uint32_t x;

	set_quota(a, "max_collections 2\n");
	x = make_collection(a, "x", 0);
	make_collection(a, "y", 0);
	make_collection(a, "z", EDQUOT);
	T_OK(remove_collection(a, x));
	make_collection(a, "z", 0);
	make_collection(a, "w", EDQUOT);
	assert_int_equal(top("rejected_max_collections"), 2);
}

/* ---- quotas of what is stored ---- */

static void test_a_limit_lowered_under_a_batch(void **state)
{
	uint32_t a = make("a");
	struct tenant_batch *b, *replacing;
	struct batch_result result;
	struct err e = { 0 };

	T_OK(insert(a, 0, 2, &e));
	T_OK(tenant_batch_begin(ts, a, &b, &e));
	T_OK(add(b, 10, &e));
	T_OK(add(b, 11, &e));
	set_quota(a, "max_vectors 3\n");
	T_OK(tenant_batch_begin(ts, a, &replacing, &e));
	T_OK(add(replacing, 1, &e)); /* needs no further room */
	T_ERR(tenant_batch_commit(b, NULL, NULL, &result, &e), EDQUOT);
	assert_string_equal(e.text, "max_vectors 3 reached");
	T_OK(tenant_batch_commit(replacing, NULL, NULL, &result, &e));
	assert_int_equal(vectors(a), 2);
	T_OK(insert(a, 10, 11, &e));
	T_OK(tenant_batch_begin(ts, a, &b, &e));
	T_ERR(add(b, 12, &e), EDQUOT);
	T_OK(add(b, 10, &e));
	set_quota(a, "max_vectors 1\n");
	T_OK(tenant_batch_commit(b, NULL, NULL, &result, &e));
	set_quota(a, "max_vectors max\n");
	T_OK(tenant_batch_begin(ts, a, &b, &e));
	T_OK(add(b, 13, &e));
	set_quota(a, "max_bytes 10\n");
	T_ERR(tenant_batch_commit(b, NULL, NULL, &result, &e), EDQUOT);
	assert_int_equal(vectors(a), 3);
}

static void test_max_vectors(void **state)
{
	struct err e = { 0 };
	uint32_t a = make("a");

	set_quota(a, "max_vectors 10\n");
	T_OK(insert(a, 0, 8, &e));
	T_ERR(insert(a, 8, 20, &e), EDQUOT); /* in the middle: nothing of it */
	assert_non_null(strstr(e.text, "max_vectors 10"));
	assert_int_equal(vectors(a), 8);
	T_OK(insert(a, 8, 10, &e));
	T_ERR(insert(a, 10, 11, &e), EDQUOT);
	T_OK(insert(a, 0, 10, &e)); /* a replacement needs no room */
	assert_int_equal(vectors(a), 10);
	T_ERR(insert(a, 9, 11, &e), EDQUOT);
	assert_int_equal(remove_id(a, 4), 1);
	T_OK(insert(a, 10, 11, &e));
	T_ERR(insert(a, 4, 5, &e), EDQUOT);
	set_quota(a, "max_vectors 3\n"); /* below what is there: no growth, nothing deleted */
	assert_int_equal(vectors(a), 10);
	T_ERR(insert(a, 11, 12, &e), EDQUOT);
	T_OK(insert(a, 0, 1, &e));
	set_quota(a, "max_vectors max\n");
	T_OK(insert(a, 11, 30, &e));
	assert_true(top("rejected_max_vectors") >= 5);
}

/* What a borrowed vector may need is out of reach for others while its batch is open. */
static void test_borrowed(void **state)
{
	struct err e = { 0 };
	struct tenant_batch *b;
	struct batch_result result;
	uint32_t a = make("a");

	set_quota(a, "max_vectors 4\n");
	T_OK(insert(a, 0, 4, &e));
	T_OK(tenant_batch_begin(ts, a, &b, &e));
	T_OK(add(b, 0, &e));
	assert_int_equal(remove_id(a, 0), 1);
	T_ERR(insert(a, 9, 10, &e), EDQUOT);
	T_OK(tenant_batch_commit(b, NULL, NULL, &result, &e));
	assert_int_equal(vectors(a), 4);
	T_ERR(insert(a, 9, 10, &e), EDQUOT);
	assert_int_equal(remove_id(a, 0), 1);
	T_OK(insert(a, 9, 10, &e));
}

/* Claims of batches that end without their vectors come back. */
static void test_claims_return(void **state)
{
	static const float nothing[DIM];
	const struct record zero = { .id = "zero", .id_len = 4, .v = nothing, .dim = DIM };
	struct err e = { 0 };
	struct batch_result result;
	struct tenant_batch *b;
	uint32_t a = make("a");

	set_quota(a, "max_vectors 5\n");
	T_OK(tenant_batch_begin(ts, a, &b, &e));
	for (uint64_t i = 0; i < 5; i++)
		T_OK(add(b, i, &e));
	T_ERR(insert(a, 5, 6, &e), EDQUOT);
	tenant_batch_abort(b);
	T_OK(tenant_batch_begin(ts, a, &b, &e));
	T_OK(add(b, 5, &e));
	for (int i = 0; i < 5; i++)
		T_ERR(tenant_batch_add(b, &zero, &e), EINVAL);
	for (uint64_t i = 6; i < 10; i++)
		T_OK(add(b, i, &e));
	T_ERR(add(b, 10, &e), EDQUOT);
	T_OK(tenant_batch_commit(b, NULL, NULL, &result, &e));
	assert_int_equal(result.accepted, 5);
	T_OK(insert(a, 5, 8, &e));
	assert_int_equal(remove_id(a, 5), 1);
	assert_int_equal(remove_id(a, 6), 1);
	T_OK(insert(a, 5, 7, &e));
	assert_int_equal(vectors(a), 5);
}

static void test_max_bytes(void **state)
{
	struct err e = { 0 };
	uint32_t a = make("a");
	uint64_t one = DIM * sizeof(float) + 1;
	char text[40];

	snprintf(text, sizeof(text), "max_bytes %" PRIu64 "\n", one * 3);
	set_quota(a, text);
	T_OK(insert(a, 0, 3, &e));
	T_ERR(insert(a, 3, 4, &e), EDQUOT);
	assert_non_null(strstr(e.text, "max_bytes"));
	T_OK(insert(a, 0, 3, &e));
	assert_int_equal(vectors(a), 3);
	assert_int_equal(remove_id(a, 1), 1);
	T_ERR(insert(a, 10, 11, &e), EDQUOT); /* a longer ID */
	T_OK(insert(a, 5, 6, &e));
}

static void test_shape_limits(void **state)
{
	struct err e = { 0 };
	struct tenant_batch *b;
	uint32_t a = make("a");

	set_quota(a, "max_dimension 3\nmax_batch 2\n");
	T_ERR(insert(a, 0, 1, &e), E2BIG);
	set_quota(a, "max_dimension 4\n");
	T_OK(tenant_batch_begin(ts, a, &b, &e));
	T_OK(add(b, 0, &e));
	assert_false(tenant_batch_full(b));
	T_OK(add(b, 1, &e));
	assert_true(tenant_batch_full(b));
	assert_int_equal(tenant_batch_rows(b), 2);
	tenant_batch_abort(b);
	assert_int_equal(top("rejected_max_dimension"), 1);
}

static int search(uint32_t cid, unsigned k, size_t n_before, size_t *ret_lines)
{
	struct buf out BUF_AUTO = BUF_INIT;
	float v[DIM];
	struct query q = { .form = QUERY_LINE, .v = v, .dim = DIM, .k = k };
	struct answer a;
	struct inside in;
	int rc;

	fill(v, 1);
	answer_init(&a, &out);
	T_OK(tenant_enter(ts, cid, TENANT_READ, &in, NULL));
	rc = tenant_search(&in, &q, n_before, &a, NULL);
	tenant_leave(&in);
	*ret_lines = 0;
	for (size_t i = 0; i < out.len; i++)
		*ret_lines += out.data[i] == '\n';
	return rc;
}

static void test_search_limits(void **state)
{
	struct err e = { 0 };
	size_t lines;
	uint32_t a = make("a");

	T_OK(insert(a, 0, 20, &e));
	T_OK(search(a, 0, 0, &lines));
	assert_int_equal(lines, 10);
	set_quota(a, "max_results 5\nmax_batch 3\n");
	T_OK(search(a, 5, 0, &lines));
	assert_int_equal(lines, 5);
	T_ERR(search(a, 6, 0, &lines), ERANGE);
	T_OK(search(a, 0, 2, &lines)); /* asked for no number: what is allowed */
	assert_int_equal(lines, 5);
	T_ERR(search(a, 1, 3, &lines), E2BIG);
	set_quota(a, "max_batch max\n");
	T_ERR(search(a, 1, LIMIT_QUERY_BATCH, &lines), E2BIG);
	assert_int_equal(top("queries"), 3);
	assert_int_equal(top("rejected_max_results"), 1);
	assert_int_equal(top("rejected_max_batch"), 1);
	assert_true(top("query_us_p50") > 0);
	assert_true(top("query_us_p99") >= top("query_us_p50"));
}

/* ---- many at once ---- */

struct writer {
	uint32_t cid;
	uint64_t first;
	uint64_t stored;
	int last; /* why it ended */
};

static void *write_singles(void *arg)
{
	struct writer *w = arg;
	struct err e;

	for (uint64_t i = w->first;; i++) {
		w->last = insert(w->cid, i, i + 1, &e);
		if (w->last < 0)
			return NULL;
		w->stored++;
	}
}

static void *write_batches(void *arg)
{
	struct writer *w = arg;
	struct err e;

	for (uint64_t i = w->first; i < w->first + 200; i += 7) {
		w->last = insert(w->cid, i, i + 7, &e);
		if (w->last == 0)
			w->stored += 7;
		else if (w->last != -EDQUOT)
			return NULL;
	}
	return NULL;
}

/* Writers of single vectors fill the limit to the last place, none is refused below it. */
static void test_many_writers(void **state)
{
	enum { N = 6, LIMIT = 100 };
	struct writer w[N];
	pthread_t threads[N];
	uint64_t stored = 0;
	uint32_t a = make("a");

	set_quota(a, "max_vectors 100\n");
	for (int i = 0; i < N; i++) {
		w[i] = (struct writer){ .cid = a, .first = (uint64_t)i * 1000 };
		assert_int_equal(pthread_create(&threads[i], NULL, write_singles, &w[i]), 0);
	}
	for (int i = 0; i < N; i++) {
		pthread_join(threads[i], NULL);
		T_ERR(w[i].last, EDQUOT);
		stored += w[i].stored;
	}
	assert_int_equal(stored, LIMIT);
	assert_int_equal(vectors(a), LIMIT);
}

static void *write_one(void *arg)
{
	struct writer *w = arg;
	struct err e;

	w->last = insert(w->cid, w->first, w->first + 1, &e);
	return NULL;
}

/*
 * A commit that is visible but has not returned its claims yet counts twice. Made here by hand:
 * the writer of the last place waits for it and is not refused.
 */
static void test_exact_fit(void **state)
{
	struct writer w = { .first = 5 };
	struct err e = { 0 };
	struct inside in;
	pthread_t thread;
	uint32_t a = make("a");

	w.cid = a;
	set_quota(a, "max_vectors 6\n");
	T_OK(insert(a, 0, 5, &e));
	T_OK(tenant_enter(ts, a, TENANT_READ, &in, &e));
	rwlock_read(&in.tenant->gate);
	mutex_lock(&in.tenant->quota_lock);
	in.tenant->claims.vectors++;
	mutex_unlock(&in.tenant->quota_lock);
	assert_int_equal(pthread_create(&thread, NULL, write_one, &w), 0);
	usleep(30000); /* too short a wait would hide a fault, not make one */
	mutex_lock(&in.tenant->quota_lock);
	in.tenant->claims.vectors--;
	mutex_unlock(&in.tenant->quota_lock);
	rwlock_read_unlock(&in.tenant->gate);
	pthread_join(thread, NULL);
	T_OK(w.last);
	tenant_leave(&in);
	T_ERR(insert(a, 6, 7, &e), EDQUOT);
}

/* Batches, with deletes and replacements between them: never above. */
static void test_many_batches(void **state)
{
	enum { N = 4, LIMIT = 60 };
	struct writer w[N];
	pthread_t threads[N];
	uint32_t a = make("a");

	set_quota(a, "max_vectors 60\n");
	for (int i = 0; i < N; i++) {
		w[i] = (struct writer){ .cid = a, .first = (uint64_t)(i / 2) * 50 };
		assert_int_equal(pthread_create(&threads[i], NULL, write_batches, &w[i]), 0);
	}
	for (int i = 0; i < 200; i++) {
		T_OK(remove_id(a, (uint64_t)i));
		assert_true(vectors(a) <= LIMIT);
	}
	for (int i = 0; i < N; i++) {
		pthread_join(threads[i], NULL);
		assert_true(w[i].last == 0 || w[i].last == -EDQUOT);
	}
	assert_true(vectors(a) <= LIMIT);
	assert_int_equal(tenants_remove(ts, a, NULL), vectors(a) ? -ENOTEMPTY : 0);
}

static _Atomic int ending;

static void *come_and_go(void *arg)
{
	uint64_t x = (uintptr_t)arg * 7919 + 1;
	struct err e;

	while (!atomic_load(&ending)) {
		uint32_t number = 0;
		struct tenant_info info;
		char name[16];

		x = x * 6364136223846793005u + 1442695040888963407u;
		snprintf(name, sizeof(name), "n%u", (unsigned)(x >> 33) % 40);
		if (tenants_find(ts, name, &number) < 0) {
			tenants_create(ts, name, &me, &number, &e);
		} else if (x >> 60 == 0) {
			tenants_set_status(ts, number, TENANT_PENDING_DELETION, &e);
			tenants_remove(ts, number, &e);
		} else {
			insert(number, x >> 50, (x >> 50) + 3, &e);
			tenants_info(ts, number, &info);
		}
	}
	return NULL;
}

/* Creating, inserting, looking and removing at once: no crash, no deadlock, and what is left
 * is consistent. */
static void test_churn(void **state)
{
	enum { N = 4 };
	pthread_t threads[N];
	struct tenant_info info;
	uint64_t until = clock_mono_ns() + 300 * 1000000ull;
	uint64_t sum = 0;
	uint64_t n = 0;

	atomic_store(&ending, 0);
	for (uintptr_t i = 0; i < N; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, (void *)i), 0);
	while (clock_mono_ns() < until)
		top("vectors");
	atomic_store(&ending, 1);
	for (int i = 0; i < N; i++)
		pthread_join(threads[i], NULL);
	for (uint32_t after = 0; tenants_next(ts, after, &info) == 0; after = info.number) {
		sum += vectors(info.number);
		n++;
	}
	assert_int_equal(top("vectors"), sum);
	assert_int_equal(top("tenants"), n);
	remount();
	assert_int_equal(top("vectors"), sum);
	assert_int_equal(top("tenants"), n);
}

/* ---- figures ---- */

static void test_latency(void **state)
{
	struct activity a = { 0 };
	struct activity_sum s = { 0 };
	uint64_t fast;

	assert_int_equal(latency_us(s.latency, 0.5), 0);
	for (int i = 0; i < 98; i++)
		activity_query(&a, 20000);
	activity_query(&a, 5000000);
	activity_query(&a, 5000000);
	activity_sum(&s, &a);
	assert_int_equal(s.n[COUNT_QUERIES], 100);
	assert_int_equal(s.minute[COUNT_QUERIES], 100);
	assert_int_equal(s.latency_sum_ns, 98 * 20000 + 2 * 5000000);
	assert_in_range(latency_us(s.latency, 0.5), 17, 23);
	assert_in_range(latency_us(s.latency, 0.99), 4200, 5800);
	assert_memory_equal(s.latency, s.latency_minute, sizeof(s.latency));
	fast = latency_at_most(s.latency, 5); /* 32 µs */
	assert_int_equal(fast, 98);
	assert_int_equal(latency_at_most(s.latency, 13), 100); /* 8.4 ms */
	activity_query(&a, 0);
	activity_query(&a, UINT64_MAX);
	activity_sum(&s, &a);
	assert_int_equal(latency_at_most(s.latency, 100), 202); /* twice 100, and these */
	activity_release(&a);
}

/* What was counted in an earlier stretch is out of the window, and its slot starts anew. */
static void test_window(void **state)
{
	struct activity a = { 0 };
	struct activity_sum s = { 0 };

	activity_add(&a, COUNT_INSERTS, 7);
	for (unsigned i = 0; i < WINDOW_SLOTS; i++)
		if (a.window[i].slot)
			a.window[i].slot -= WINDOW_SLOTS;
	activity_sum(&s, &a);
	assert_int_equal(s.n[COUNT_INSERTS], 7);
	assert_int_equal(s.minute[COUNT_INSERTS], 0);
	activity_add(&a, COUNT_INSERTS, 2);
	activity_sum(&s, &a);
	assert_int_equal(s.minute[COUNT_INSERTS], 2);
	assert_true(window_seconds(clock_mono_ns()) >= 1);
	assert_true(window_seconds(0) >= 60 && window_seconds(0) <= 75);
}

static bool stats_have(uint32_t cid, bool whole, const char *line)
{
	struct buf text BUF_AUTO = BUF_INIT;
	struct inside in;
	struct err e = { 0 };

	T_OK(tenant_enter(ts, cid, TENANT_LOOK, &in, &e));
	buf_addc(&text, '\n');
	T_OK(tenant_stats_render(&in, whole, &text, &e));
	tenant_leave(&in);
	return strstr(text.data, line) != NULL;
}

static void totals_path(uint32_t number, char ret[128])
{
	snprintf(ret, 128, "%s/stores/%" PRIu32 "/totals", data, number);
}

/* A file that is damaged, or of another version, is as good as none. */
static void test_totals_damaged(void **state)
{
	struct err e = { 0 };
	uint32_t a = make("a");
	char path[128];
	size_t lines;
	FILE *f;

	T_OK(insert(a, 0, 3, &e));
	T_OK(search(a, 1, 0, &lines));
	assert_int_equal(top("total_queries"), 1);
	remount();
	assert_int_equal(top("total_queries"), 1);
	T_OK(search(a, 1, 0, &lines));
	assert_int_equal(top("total_queries"), 2);
	assert_int_equal(top("total_inserts"), 3);
	tenants_close(ts);
	totals_path(a, path);
	f = fopen(path, "r+");
	assert_non_null(f);
	fseek(f, 30, SEEK_SET);
	fputc('9', f);
	fclose(f);
	open_mount();
	assert_true(stats_have(a, true, "\ntotal_queries 0\n"));
	assert_true(stats_have(a, true, "\ntotal_inserts 3\n"));
}

/* What the keeper wrote is there after a crash; figures are not. */
static void test_totals_crash(void **state)
{
	struct err e = { 0 };
	uint32_t a = make("a");
	struct inside in;
	char path[128];
	size_t lines;

	T_OK(insert(a, 0, 3, &e));
	T_OK(search(a, 1, 0, &lines));
	T_OK(tenant_enter(ts, a, TENANT_LOOK, &in, &e));
	in.tenant->watch.saved_ns = 1; /* long ago */
	tenant_count_error(&in);
	tenant_leave(&in);
	totals_path(a, path);
	for (uint64_t until = clock_mono_ns() + DEADLINE_NS; access(path, F_OK) < 0;) {
		assert_true(clock_mono_ns() < until);
		usleep(1000);
	}
	remount();
	snprintf(path, sizeof(path), "%s/stores/%" PRIu32 "/figures", data, a);
	tenants_close(ts);
	T_OK(unlink(path));
	open_mount();
	assert_true(stats_have(a, true, "\ntotal_queries 1\n"));
	assert_true(stats_have(a, true, "\ntotal_errors 1\n"));
	assert_int_equal(top("total_queries"), 1);
}

static void test_stats(void **state)
{
	struct err e = { 0 };
	struct inside in;
	size_t lines;
	uint32_t a = make("a");
	uint32_t x = make_collection(a, "x", 0);

	T_OK(insert(a, 0, 9, &e));
	T_OK(insert(a, 0, 1, &e));
	assert_int_equal(remove_id(a, 2), 1);
	T_OK(search(a, 1, 0, &lines));
	T_OK(tenant_enter(ts, a, TENANT_LOOK, &in, &e));
	tenant_count_error(&in);
	tenant_leave(&in);
	set_quota(a, "max_vectors 10\nmax_bytes max\n");
	assert_true(stats_have(a, true, "\nvectors 8\n"));
	assert_true(stats_have(a, true, "\ncollections 1\n"));
	assert_true(stats_have(a, true, "\ndimension 4\n"));
	assert_true(stats_have(a, true, "\nmetric cosine\n"));
	assert_true(stats_have(a, true, "\nqueries 1\n"));
	assert_true(stats_have(a, true, "\ninserts 10\n"));
	assert_true(stats_have(a, true, "\ndeletes 1\n"));
	assert_true(stats_have(a, true, "\nerrors 1\n"));
	assert_true(stats_have(a, true, "\nquota_utilization 0.800\n"));
	assert_true(stats_have(a, true, "\nnear_quota 0\n"));
	T_OK(insert(x, 0, 1, &e));
	assert_true(stats_have(a, true, "\nquota_utilization 0.900\n"));
	assert_true(stats_have(a, true, "\nnear_quota 1\n"));
	assert_true(stats_have(x, false, "\nvectors 1\n"));
	assert_false(stats_have(x, false, "quota"));
	assert_false(stats_have(a, true, "\nlast_access_s 0\n"));
}

static struct buf health_text;

static bool health_is_done(void)
{
	uint32_t a;

	T_OK(tenants_find(ts, "a", &a));
	buf_clear(&health_text);
	tenant_health(ts, a, &health_text);
	return strstr(health_text.data, "state healthy\n") != NULL;
}

static void test_verify(void **state)
{
	struct err e = { 0 };
	uint32_t a = make("a");

	T_OK(insert(a, 0, 50, &e));
	tenant_health(ts, a, &health_text);
	assert_non_null(strstr(health_text.data, "state unverified\n"));
	T_OK(tenant_verify_start(ts, a, &e));
	T_OK(tenant_verify_start(ts, a, &e));
	assert_true(wait_for(health_is_done));
	assert_non_null(strstr(health_text.data, "rows_checked 50\n"));
	buf_release(&health_text);
	T_OK(tenants_set_status(ts, a, TENANT_SUSPENDED, &e));
	T_ERR(tenant_verify_start(ts, a, &e), EACCES);
	T_ERR(tenant_verify_start(ts, 999, &e), ENODEV);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_status_words),
		cmocka_unit_test(test_latency),
		cmocka_unit_test(test_window),
		TEST(test_totals_damaged),
		TEST(test_totals_crash),
		TEST(test_create_find),
		TEST(test_persistence),
		TEST(test_numbers),
		TEST(test_shown),
		TEST(test_tier_of_mount),
		TEST(test_read_only_mount),
		TEST(test_nothing_opens),
		TEST(test_lru),
		TEST(test_close_refused),
		TEST(test_figures),
		TEST(test_remove),
		TEST(test_remove_while_inside),
		TEST(test_orphans),
		TEST(test_status),
		TEST(test_collections),
		TEST(test_collection_status_stays),
		TEST(test_max_collections),
		TEST(test_a_limit_lowered_under_a_batch),
		TEST(test_max_vectors),
		TEST(test_borrowed),
		TEST(test_claims_return),
		TEST(test_max_bytes),
		TEST(test_shape_limits),
		TEST(test_search_limits),
		TEST(test_many_writers),
		TEST(test_exact_fit),
		TEST(test_many_batches),
		TEST(test_churn),
		TEST(test_stats),
		TEST(test_verify),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
