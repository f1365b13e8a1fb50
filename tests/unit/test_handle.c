/* test_handle.c: node numbers, the table of files, handles, snapshots. */
#include "t.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "tree/handle.h"

static struct kept *kept;

static int start(void **state)
{
	return kept_new(-1, &kept, NULL);
}

static int stop(void **state)
{
	kept_free(kept);
	return 0;
}

static void node_numbers(void **state)
{
	struct node n = { NODE_VECTOR, (1u << 26) - 1, UINT32_MAX }, back;

	assert_true(node_decode(node_encode(n), &back));
	assert_int_equal(back.kind, n.kind);
	assert_int_equal(back.number, n.number);
	assert_int_equal(back.item, n.item);
	assert_int_equal(node_encode((struct node){ NODE_ROOT, 0, 0 }), 1);
	assert_true(node_decode(1, &back));
	assert_int_equal(back.kind, NODE_ROOT);
	assert_false(node_decode(0, &back));
	assert_false(node_decode(2, &back));
	assert_false(node_decode((uint64_t)NODE_N_KINDS << 58, &back));
	assert_false(node_decode(UINT64_MAX, &back));
}

static void table_of_files(void **state)
{
	for (int k = 0; k < NODE_N_KINDS; k++) {
		const struct file_kind *f = file_kind((enum node_kind)k);

		assert_true(S_ISDIR(f->mode) == (f->ops == NULL));
		assert_true(S_ISDIR(f->mode) || S_ISREG(f->mode));
		if (!f->scope)
			continue;
		assert_int_equal(file_kind_by_name((int)f->scope, f->name), k);
	}
	assert_int_equal(file_kind_by_name(SCOPE_TENANT, "quota"), NODE_QUOTA);
	assert_int_equal(file_kind_by_name(SCOPE_COLLECTION, "quota"), NODE_N_KINDS);
	assert_int_equal(file_kind_by_name(SCOPE_TOP, "stats"), NODE_TOP_STATS);
	assert_int_equal(file_kind_by_name(SCOPE_TENANT, "stats"), NODE_STATS);
	assert_int_equal(file_kind_by_name(SCOPE_TOP | SCOPE_TENANT, ""), NODE_N_KINDS);
	assert_int_equal(file_kind_by_name(0, "stats"), NODE_N_KINDS);
}

static void handles_are_reused(void **state)
{
	struct handles *hs;
	struct handle *h, *again;
	uint64_t index, before, second, number, pos = 0;

	T_OK(handles_new(kept, &hs, NULL));
	assert_null(handles_get(hs, 0));
	assert_null(handles_get(hs, UINT64_MAX));
	T_OK(handles_open(hs, NULL, &index, &h, NULL));
	assert_ptr_equal(handles_get(hs, index), h);
	T_OK(handles_open(hs, NULL, &second, &again, NULL));
	assert_int_not_equal(index, second);
	h->flags = 7;
	buf_adds(&h->snapshot, "text");
	handles_close(hs, index);
	assert_null(handles_get(hs, index));
	before = index;
	T_OK(handles_open(hs, NULL, &index, &again, NULL));
	assert_ptr_equal(again, h);
	assert_int_not_equal(index, before); /* the place is, its number is not */
	assert_null(handles_get(hs, before));
	assert_int_equal(again->flags, 0);
	assert_int_equal(again->snapshot.len, 0);
	handles_close(hs, index);
	assert_ptr_equal(handles_next(hs, &pos, &number), handles_get(hs, second));
	assert_int_equal(number, second);
	assert_null(handles_next(hs, &pos, &number));
	handles_close(hs, second);
	handles_free(hs);
	handles_free(NULL);
}

static void handles_have_a_limit(void **state)
{
	struct handles *hs;
	struct handle *h;
	struct err e = { 0 };
	uint64_t *numbers MEM_AUTO = mem_alloc(LIMIT_HANDLES, sizeof(*numbers));
	uint64_t index;

	assert_non_null(numbers);
	T_OK(handles_new(kept, &hs, NULL));
	for (unsigned i = 0; i < LIMIT_HANDLES; i++) {
		T_OK(handles_open(hs, NULL, &numbers[i], &h, NULL));
		assert_int_equal((uint32_t)numbers[i], i);
	}
	T_ERR(handles_open(hs, NULL, &index, &h, &e), EMFILE);
	assert_non_null(strstr(e.text, "65536"));
	handles_close(hs, numbers[12345]);
	T_OK(handles_open(hs, NULL, &numbers[12345], &h, NULL));
	assert_int_equal((uint32_t)numbers[12345], 12345);
	for (unsigned i = 0; i < LIMIT_HANDLES; i++)
		handles_close(hs, numbers[i]);
	handles_free(hs);
}

/* Who opens all it can leaves the others theirs; what it closes it has again. */
static void one_tenant_takes_not_all(void **state)
{
	struct inside greedy = { .tenant = (struct tenant *)&greedy },
		      other = { .tenant = (struct tenant *)&other };
	uint64_t *numbers MEM_AUTO = mem_alloc(LIMIT_HANDLES, sizeof(*numbers));
	struct handles *hs;
	struct handle *h;
	struct err e = { 0 };
	unsigned n = 0;

	assert_non_null(numbers);
	T_OK(handles_new(kept, &hs, NULL));
	while (n < LIMIT_HANDLES && handles_open(hs, &greedy, &numbers[n], &h, &e) == 0)
		n++;
	assert_int_equal(n, LIMIT_HANDLES / 2);
	T_ERR(e.code, EMFILE);
	assert_non_null(strstr(e.text, "16384"));
	for (unsigned i = 0; i < LIMIT_HANDLES / 4; i++)
		T_OK(handles_open(hs, i % 2 ? &other : NULL, &numbers[n++], &h, NULL));
	T_ERR(handles_open(hs, &greedy, &numbers[n], &h, NULL), EMFILE);
	for (unsigned i = 0; i <= LIMIT_HANDLES / 4; i++)
		handles_close(hs, numbers[i]);
	T_OK(handles_open(hs, &greedy, &numbers[0], &h, NULL)); /* half is open */
	handles_close(hs, numbers[0]);
	for (unsigned i = LIMIT_HANDLES / 4 + 1; i < n; i++)
		handles_close(hs, numbers[i]);
	handles_free(hs);
}

#define N_THREADS 4
#define N_ROUNDS  20000

static struct handles *shared;
static atomic_uint n_wrong;

static void *open_and_close(void *arg)
{
	int tag = (int)(intptr_t)arg;

	for (int i = 0; i < N_ROUNDS; i++) {
		struct handle *h;
		uint64_t index;

		if (handles_open(shared, NULL, &index, &h, NULL) < 0 ||
		    handles_get(shared, index) != h) {
			atomic_fetch_add(&n_wrong, 1);
			continue;
		}
		mutex_lock(&h->lock);
		h->flags += tag;
		if (h->flags != tag)
			atomic_fetch_add(&n_wrong, 1);
		mutex_unlock(&h->lock);
		handles_close(shared, index);
	}
	return NULL;
}

static void handles_from_threads(void **state)
{
	pthread_t threads[N_THREADS];

	T_OK(handles_new(kept, &shared, NULL));
	for (intptr_t i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, (void *)(i + 1)),
		                 0);
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(n_wrong, 0);
	handles_free(shared);
}

static void snapshots_know_the_newest_size(void **state)
{
	struct snapshots *s;
	uint64_t size;

	T_OK(snapshots_new(&s, NULL));
	assert_false(snapshots_size(s, 5, &size));
	snapshots_opened(s, 5, 100);
	snapshots_opened(s, 5, 200);
	snapshots_opened(s, 6, 1);
	assert_true(snapshots_size(s, 5, &size));
	assert_int_equal(size, 200);
	snapshots_closed(s, 5);
	assert_true(snapshots_size(s, 5, &size));
	snapshots_closed(s, 5);
	assert_false(snapshots_size(s, 5, &size));
	snapshots_closed(s, 5);
	for (uint64_t n = 10; n < 5000; n++)
		snapshots_opened(s, n, n);
	for (uint64_t n = 10; n < 5000; n++) {
		assert_true(snapshots_size(s, n, &size));
		assert_int_equal(size, n);
	}
	assert_false(snapshots_was_told(s, 5, &size));
	snapshots_told(s, 5, 70);
	assert_true(snapshots_was_told(s, 5, &size));
	assert_int_equal(size, 70);
	snapshots_free(s);
	snapshots_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(node_numbers),
		cmocka_unit_test(table_of_files),
		cmocka_unit_test_setup_teardown(handles_are_reused, start, stop),
		cmocka_unit_test_setup_teardown(handles_have_a_limit, start, stop),
		cmocka_unit_test_setup_teardown(one_tenant_takes_not_all, start, stop),
		cmocka_unit_test_setup_teardown(handles_from_threads, start, stop),
		cmocka_unit_test(snapshots_know_the_newest_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
