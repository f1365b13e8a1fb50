/*
 * test_limits.c: token buckets, searches at once, and waiting for one's turn.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "t.h"
#include "tenant/admit.h"
#include "tenant/tenant_impl.h"

#define S_NS  1000000000ull
#define MS_NS 1000000ull

static char data[64];
static struct workers *workers;
static struct tenants *ts;
static uint32_t number;

static int set_up(void **state)
{
	struct tenants_options o = { .data = data };
	const struct owner me = { 1, 1, 0700 };
	struct err e = { 0 };

	snprintf(data, sizeof(data), "/tmp/ruvectorfs-limits-XXXXXX");
	assert_non_null(mkdtemp(data));
	o.workers = workers = workers_new(2);
	T_OK(tenants_open(&o, &ts, &e));
	T_OK(tenants_create(ts, "t", &me, &number, &e));
	return 0;
}

static int tear_down(void **state)
{
	interrupt_set(NULL, NULL, true);
	tenants_close(ts);
	workers_free(workers);
	io_remove_tree(data);
	return 0;
}

static void set_quota(const char *text)
{
	T_OK(tenants_set_quota(ts, number, text, strlen(text), NULL));
}

static void enter(struct inside *in)
{
	T_OK(tenant_enter(ts, number, TENANT_READ, in, NULL));
}

static void set_waits(bool waits)
{
	struct inside in;

	enter(&in);
	T_OK(tenant_set_on_limit(&in, waits, NULL));
	tenant_leave(&in);
}

static struct admission admission(const struct inside *in)
{
	struct admission a = { 0 };

	memcpy(a.max, in->tenant->quota.max, sizeof(a.max));
	a.waits = in->collection->waits;
	return a;
}

static uint64_t rejected(enum quota_key k)
{
	struct inside in;
	uint64_t n;

	enter(&in);
	n = atomic_load(&in.tenant->rejected[k]);
	tenant_leave(&in);
	return n;
}

/* ---- buckets ---- */

static void test_bucket(void **state)
{
	static const uint64_t rates[] = { 1, 2, 3, 7, 10, 1000, 999999, 1000000 };

	for (size_t i = 0; i < sizeof(rates) / sizeof(*rates); i++) {
		struct rate r = { 0 };
		uint64_t per_s = rates[i], now = 77 * S_NS, wait;

		for (uint64_t n = 0; n < per_s; n++)
			assert_true(rate_take(&r, per_s, now) == 0);
		wait = rate_take(&r, per_s, now);
		assert_true(wait > 0 && wait <= S_NS / per_s + 1);
		assert_true(rate_take(&r, per_s, now + wait - 1) > 0);
		assert_true(rate_take(&r, per_s, now + wait) == 0);
		assert_true(rate_take(&r, per_s, now + wait) > 0);
		rate_give(&r, per_s, 1);
		assert_true(rate_take(&r, per_s, now + wait) == 0);
		/* what is not used for long is a second's worth, not more */
		now += 1000 * S_NS;
		for (uint64_t n = 0; n < per_s; n++)
			assert_true(rate_take(&r, per_s, now) == 0);
		assert_true(rate_take(&r, per_s, now) > 0);
	}
}

static void test_bucket_of_nothing(void **state)
{
	struct rate r = { 0 };

	assert_true(rate_take(&r, 0, S_NS) == RATE_NEVER);
	assert_true(rate_reserve(&r, 0, S_NS) == RATE_NEVER);
	rate_give(&r, 0, 5);
	rate_give(&r, 10, UINT64_MAX);
	assert_true(rate_take(&r, 10, S_NS) == 0);
}

static void test_reservations_are_in_turn(void **state)
{
	struct rate r = { 0 };
	uint64_t now = 5 * S_NS;

	for (int n = 0; n < 10; n++)
		assert_true(rate_reserve(&r, 10, now) == 0);
	for (uint64_t n = 1; n < 20; n++)
		assert_true(rate_reserve(&r, 10, now) == n * S_NS / 10);
	assert_true(rate_take(&r, 10, now + S_NS) > 0); /* those who wait come first */
}

/* ---- queries ---- */

static void test_queries(void **state)
{
	struct admission a;
	struct inside in;
	struct err e = { 0 };

	set_quota("max_qps 3\n");
	enter(&in);
	for (int i = 0; i < 10; i++) { /* what fails is no query */
		a = admission(&in);
		T_OK(admit_query(&in, &a, &e));
		admit_query_end(&in, &a, false);
	}
	for (int i = 0; i < 3; i++) {
		a = admission(&in);
		T_OK(admit_query(&in, &a, &e));
		admit_query_end(&in, &a, true);
	}
	a = admission(&in);
	T_ERR(admit_query(&in, &a, &e), EAGAIN);
	assert_non_null(strstr(e.text, "max_qps 3 reached, retry_after_ms "));
	assert_int_equal(rejected(QUOTA_MAX_QPS), 1);
	set_quota("max_qps 0\n");
	a = admission(&in);
	T_ERR(admit_query(&in, &a, &e), EAGAIN);
	assert_string_equal(e.text, "max_qps is 0");
	a.waits = true; /* for what never comes nobody waits */
	T_ERR(admit_query(&in, &a, &e), EAGAIN);
	tenant_leave(&in);
}

static void test_at_once(void **state)
{
	struct admission a[3];
	struct inside in;
	struct err e = { 0 };

	set_quota("max_concurrent 2\nmax_qps 100\n");
	enter(&in);
	for (int i = 0; i < 3; i++)
		a[i] = admission(&in);
	T_OK(admit_query(&in, &a[0], &e));
	T_OK(admit_query(&in, &a[1], &e));
	T_ERR(admit_query(&in, &a[2], &e), EAGAIN);
	assert_non_null(strstr(e.text, "max_concurrent 2 reached, retry_after_ms"));
	admit_query_end(&in, &a[0], true);
	T_OK(admit_query(&in, &a[2], &e));
	admit_query_end(&in, &a[1], true);
	admit_query_end(&in, &a[2], true);
	assert_int_equal(atomic_load(&in.tenant->searching), 0);
	tenant_leave(&in);
	assert_int_equal(rejected(QUOTA_MAX_CONCURRENT), 1);
}

/* ---- vectors ---- */

static int insert(unsigned n, bool commit, struct err *e)
{
	struct tenant_batch *b;
	struct batch_result result;
	int rc = tenant_batch_begin(ts, number, &b, e);

	for (unsigned i = 0; i < n && rc == 0; i++) {
		float v[2] = { 1, (float)i };
		char id[16];
		struct record r = { .id = id, .v = v, .dim = 2 };

		r.id_len = (size_t)snprintf(id, sizeof(id), "%u", i);
		rc = tenant_batch_add(b, &r, e);
	}
	if (rc == 0 && commit)
		return tenant_batch_commit(b, NULL, NULL, &result, e);
	tenant_batch_abort(b);
	return rc;
}

static void test_vectors(void **state)
{
	struct err e = { 0 };

	set_quota("max_write_rate 5\n");
	for (int i = 0; i < 4; i++)
		T_OK(insert(5, false, &e)); /* what was rejected was not written */
	T_ERR(insert(6, true, &e), EAGAIN);
	assert_non_null(strstr(e.text, "max_write_rate 5 reached"));
	T_OK(insert(5, true, &e));
	T_ERR(insert(1, true, &e), EAGAIN);
	assert_int_equal(rejected(QUOTA_MAX_WRITE_RATE), 2);
	set_quota("max_write_rate 1000\n");
	T_OK(insert(5, true, &e));
}

/* ---- waiting ---- */

static void test_waits(void **state)
{
	struct admission a;
	struct inside in;
	struct err e = { 0 };
	uint64_t began = clock_mono_ns();

	set_quota("max_qps 20\n");
	set_waits(true);
	enter(&in);
	for (int i = 0; i < 24; i++) {
		a = admission(&in);
		T_OK(admit_query(&in, &a, &e));
		admit_query_end(&in, &a, true);
	}
	assert_true(clock_mono_ns() - began >= 4 * S_NS / 20);
	assert_int_equal(rejected(QUOTA_MAX_QPS), 0);
	tenant_leave(&in);
}

static void test_on_limit_stays(void **state)
{
	struct tenants_options o = { .data = data, .workers = workers };
	bool waits = false;

	set_waits(true);
	tenants_close(ts);
	T_OK(tenants_open(&o, &ts, NULL));
	T_OK(tenant_on_limit(ts, number, &waits));
	assert_true(waits);
	set_waits(false);
	T_OK(tenant_on_limit(ts, number, &waits));
	assert_false(waits);
}

struct call {
	pthread_t thread;
	struct interrupt_watch *watch; /* lock */
	pthread_mutex_t lock;
	bool interrupted; /* lock */
	int rc;
};

static bool happened(void *ctx)
{
	struct call *c = ctx;
	bool yes;

	pthread_mutex_lock(&c->lock);
	yes = c->interrupted;
	pthread_mutex_unlock(&c->lock);
	return yes;
}

static void watch(void *ctx, struct interrupt_watch *w)
{
	struct call *c = ctx;

	pthread_mutex_lock(&c->lock);
	c->watch = w;
	pthread_mutex_unlock(&c->lock);
}

static const struct interrupt_source source = { happened, watch };

static void *wait_for_turn(void *arg)
{
	struct call *c = arg;
	struct admission a;
	struct inside in;
	struct err e = { 0 };

	interrupt_set(&source, c, true);
	c->rc = tenant_enter(ts, number, TENANT_READ, &in, &e);
	if (c->rc < 0)
		return NULL;
	a = admission(&in);
	c->rc = admit_query(&in, &a, &e);
	if (c->rc == 0)
		admit_query_end(&in, &a, true);
	tenant_leave(&in);
	return NULL;
}

static void start(struct call *c)
{
	*c = (struct call){ .lock = PTHREAD_MUTEX_INITIALIZER };
	assert_int_equal(pthread_create(&c->thread, NULL, wait_for_turn, c), 0);
}

static unsigned n_waiting(void)
{
	return atomic_load(&ts->waiting.n);
}

static void poll_waiting(unsigned n)
{
	uint64_t until = clock_mono_ns() + 10 * S_NS;

	while (n_waiting() != n && clock_mono_ns() < until)
		usleep(500);
	assert_int_equal(n_waiting(), n);
}

static void interrupt(struct call *c)
{
	struct interrupt_watch *w;

	pthread_mutex_lock(&c->lock);
	c->interrupted = true;
	w = c->watch;
	if (w)
		w->wake(w);
	pthread_mutex_unlock(&c->lock);
}

/* One after the other ends as it was told, and none keeps a place or a token. */
static void test_interrupt(void **state)
{
	static struct call calls[WAITERS_OF_TENANT];
	struct admission holder;
	struct inside in;
	struct call more;
	struct err e = { 0 };

	set_quota("max_concurrent 1\n");
	set_waits(true);
	enter(&in);
	holder = admission(&in);
	T_OK(admit_query(&in, &holder, &e));
	for (unsigned i = 0; i < WAITERS_OF_TENANT; i++)
		start(&calls[i]);
	poll_waiting(WAITERS_OF_TENANT);
	start(&more); /* one too many is refused */
	pthread_join(more.thread, NULL);
	assert_int_equal(more.rc, -EAGAIN);
	for (unsigned i = 1; i < WAITERS_OF_TENANT; i++)
		interrupt(&calls[i]);
	poll_waiting(1);
	admit_query_end(&in, &holder, true);
	for (unsigned i = 0; i < WAITERS_OF_TENANT; i++)
		pthread_join(calls[i].thread, NULL);
	assert_int_equal(calls[0].rc, 0);
	for (unsigned i = 1; i < WAITERS_OF_TENANT; i++)
		assert_int_equal(calls[i].rc, -EINTR);
	assert_int_equal(atomic_load(&in.tenant->searching), 0);
	tenant_leave(&in);
}

static void test_tenant_goes_meanwhile(void **state)
{
	struct call c;
	struct inside in;
	struct admission a;
	struct err e = { 0 };

	set_quota("max_qps 2\n");
	set_waits(true);
	enter(&in);
	for (int i = 0; i < 2; i++) {
		a = admission(&in);
		T_OK(admit_query(&in, &a, &e));
		admit_query_end(&in, &a, true);
	}
	start(&c);
	poll_waiting(1);
	T_OK(tenants_set_status(ts, number, TENANT_SUSPENDED, &e));
	pthread_join(c.thread, NULL);
	assert_int_equal(c.rc, -EACCES);
	tenant_leave(&in);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bucket),
		cmocka_unit_test(test_bucket_of_nothing),
		cmocka_unit_test(test_reservations_are_in_turn),
		TEST(test_queries),
		TEST(test_at_once),
		TEST(test_vectors),
		TEST(test_waits),
		TEST(test_on_limit_stays),
		TEST(test_interrupt),
		TEST(test_tenant_goes_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
