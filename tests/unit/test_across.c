/*
 * test_across.c: searches over many tenants: what is nearest by a plain sort of all vectors, an
 * interrupt, stores that stay closed; and the slots of shared collections over restarts.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/io.h"
#include "query/answer.h"
#include "t.h"
#include "tenant/tenant_impl.h"

#define N_TENANTS 12
#define PER       5
#define ALL       (N_TENANTS * PER)

static char data[64];
static struct workers *workers;
static struct tenants *ts;
static const struct owner me = { 1000, 1001, 0700 };

static void open_mount(bool read_only)
{
	struct tenants_options o = { .data = data, .workers = workers, .read_only = read_only };

	T_OK(tenants_open(&o, &ts, NULL));
}

static int set_up(void **state)
{
	snprintf(data, sizeof(data), "/tmp/ruvectorfs-across-XXXXXX");
	assert_non_null(mkdtemp(data));
	workers = workers_new(2);
	assert_non_null(workers);
	open_mount(false);
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

/* On a circle; i from 0 to ALL. */
static void place(float v[2], unsigned i)
{
	v[0] = (float)((i * 2654435761u >> 7) % 1009) + 1;
	v[1] = (float)((i * 2246822519u >> 9) % 1013) + 1;
}

static void insert(uint32_t cid, unsigned from, unsigned to)
{
	struct tenant_batch *b;
	struct batch_result result;
	char id[16];
	float v[2];

	T_OK(tenant_batch_begin(ts, cid, &b, NULL));
	for (unsigned i = from; i < to; i++) {
		struct record r = { .id = id, .v = v, .dim = 2 };

		r.id_len = (size_t)snprintf(id, sizeof(id), "%u", i);
		place(v, i);
		T_OK(tenant_batch_add(b, &r, NULL));
	}
	T_OK(tenant_batch_commit(b, NULL, NULL, &result, NULL));
}

static void fill(void)
{
	char name[16];
	uint32_t number;

	for (unsigned t = 0; t < N_TENANTS; t++) {
		snprintf(name, sizeof(name), "t%02u", t);
		T_OK(tenants_create(ts, name, &me, &number, NULL));
		insert(number, t * PER, (t + 1) * PER);
	}
}

static int ask(unsigned k, struct buf *ret, struct across *x)
{
	float v[2] = { 3, 4 };
	struct query q = { .form = QUERY_LINE, .v = v, .dim = 2, .k = k };
	struct answer a;

	answer_init(&a, ret);
	return tenants_search(ts, &q, 0, &a, x, NULL);
}

/* The distances of an answer; that each hit is of the tenant that has it. */
static size_t distances(char *text, float *ret)
{
	size_t n = 0;

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		unsigned t, i;

		assert_int_equal(sscanf(line, "t%u/%u\t%f", &t, &i, &ret[n]), 3);
		assert_int_equal(t, i / PER);
		n++;
	}
	return n;
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static void nearest_of_all(void **state)
{
	BUF_AUTO struct buf all = BUF_INIT, few = BUF_INIT;
	float sorted[ALL + 1], got[ALL + 1], best[ALL + 1];
	struct across x;

	fill();
	T_OK(ask(ALL + 1, &all, &x));
	assert_int_equal(x.searched, N_TENANTS);
	assert_int_equal(distances(all.data, got), ALL);
	memcpy(sorted, got, sizeof(sorted));
	qsort(sorted, ALL, sizeof(*sorted), compare);
	assert_memory_equal(sorted, got, ALL * sizeof(*got));
	for (unsigned k = 1; k < ALL; k += 11) {
		buf_clear(&few);
		T_OK(ask(k, &few, &x));
		assert_int_equal(distances(few.data, best), k);
		assert_memory_equal(sorted, best, k * sizeof(*best));
	}
}

static void empty_stores_stay_closed(void **state)
{
	BUF_AUTO struct buf out = BUF_INIT;
	uint32_t number;
	struct across x;

	T_OK(tenants_create(ts, "empty", &me, &number, NULL));
	T_OK(ask(1, &out, &x));
	assert_int_equal(x.searched, 0);
	assert_int_equal(out.len, 0);
	mutex_lock(&ts->lock);
	assert_null(tenant_find_locked(ts, number)->engine);
	mutex_unlock(&ts->lock);
}

static int looks_left;

static bool has_happened(void *ctx)
{
	return looks_left-- == 0;
}

static void watch_nothing(void *ctx, struct interrupt_watch *w)
{
}

static void interrupted_between_tenants(void **state)
{
	static const struct interrupt_source source = { has_happened, watch_nothing };
	BUF_AUTO struct buf out = BUF_INIT;
	struct across x;

	fill();
	looks_left = 7;
	interrupt_set(&source, NULL, true);
	T_ERR(ask(1, &out, &x), EINTR);
	assert_int_equal(out.len, 0);
	looks_left = -1;
	T_OK(ask(1, &out, &x));
}

static uint32_t slot_of(const char *name)
{
	struct inside in;
	uint32_t cid, slot, found;

	T_OK(tenant_enter(ts, tenants_shared(ts), TENANT_LOOK, &in, NULL));
	T_OK(engine_collection_find(in.engine, name, &cid));
	tenant_leave(&in);
	T_OK(tenants_shared_slot(ts, cid, &slot));
	T_OK(tenants_shared_at(ts, slot, &found));
	assert_int_equal(found, cid);
	return slot;
}

static void slots_are_never_used_again(void **state)
{
	struct tenant_info info;
	struct inside in;
	uint32_t a, b, found;

	assert_int_equal(tenants_shared(ts), 0);
	T_OK(tenants_shared_create(ts, "a", &me, &a, NULL));
	T_OK(tenants_shared_create(ts, "b", &me, &b, NULL));
	T_ERR(tenants_shared_create(ts, "a", &me, &found, NULL), EEXIST);
	T_ERR(tenants_shared_create(ts, ".a", &me, &found, NULL), EINVAL);
	assert_int_equal(slot_of("a"), 1);
	assert_int_equal(slot_of("b"), 2);
	/* not to be found as a tenant */
	T_ERR(tenants_find(ts, SHARED_NAME, &found), ENOENT);
	T_ERR(tenants_next(ts, 0, &info), ENOENT);
	T_ERR(tenants_create(ts, SHARED_NAME, &me, &found, NULL), EINVAL);

	T_OK(tenant_enter(ts, tenants_shared(ts), TENANT_WRITE, &in, NULL));
	T_OK(tenant_collection_remove(&in, b, NULL));
	tenant_leave(&in);
	T_ERR(tenants_shared_at(ts, 2, &found), ENODEV);
	tenants_close(ts);
	open_mount(false);
	T_OK(tenants_shared_create(ts, "b", &me, &b, NULL));
	assert_int_equal(slot_of("b"), 3);
	tenants_close(ts);
	open_mount(true);
	assert_int_equal(slot_of("a"), 1);
	assert_int_equal(slot_of("b"), 3);
	T_ERR(tenants_shared_create(ts, "c", &me, &b, NULL), EROFS);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nearest_of_all),
		TEST(empty_stores_stay_closed),
		TEST(interrupted_between_tenants),
		TEST(slots_are_never_used_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
