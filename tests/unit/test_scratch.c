/* test_scratch.c: what a walk saw is forgotten before the next, however it is cleared. */
#include "index/scratch.h"
#include "t.h"

#define SLOTS 200000u

static void see(struct scratch *s, uint32_t n, uint32_t step)
{
	for (uint32_t i = 0; i < n; i++)
		assert_false(hnsw_scratch_see(s, i * step % SLOTS));
	assert_true(hnsw_scratch_see(s, 0));
}

static void assert_clear(const struct scratch *s)
{
	for (uint32_t i = 0; i < (SLOTS + 31) / 32; i++)
		assert_int_equal(s->seen[i], 0);
}

static void what_was_seen_is_forgotten(void **state)
{
	/* few, as many as are noted, more than that, more than it pays for, all */
	static const uint32_t walks[] = {
		1, 300, 700, 800, SCRATCH_MARKED_MAX, SCRATCH_MARKED_MAX + 1, 20000, SLOTS, 2
	};
	struct scratch_pool pool;
	struct scratch *s;

	(void)state;
	hnsw_scratch_pool_init(&pool, 32, 1, 0);
	s = hnsw_scratch_get(&pool, SLOTS, 10);
	assert_non_null(s);
	for (size_t i = 0; i < sizeof(walks) / sizeof(walks[0]); i++) {
		hnsw_scratch_clear_seen(s);
		assert_clear(s);
		see(s, walks[i], 7); /* 7 does not divide SLOTS: each slot once */
	}
	hnsw_scratch_put(&pool, s);
	hnsw_scratch_pool_release(&pool);
}

static void room_that_grows_is_clear(void **state)
{
	struct scratch_pool pool;
	struct scratch *s;

	(void)state;
	hnsw_scratch_pool_init(&pool, 32, 1, 0);
	s = hnsw_scratch_get(&pool, 1000, 10);
	assert_non_null(s);
	for (uint32_t slot = 0; slot < 1000; slot++)
		hnsw_scratch_see(s, slot);
	hnsw_scratch_put(&pool, s);
	s = hnsw_scratch_get(&pool, SLOTS, 10);
	assert_non_null(s);
	hnsw_scratch_clear_seen(s);
	assert_clear(s);
	hnsw_scratch_put(&pool, s);
	hnsw_scratch_pool_release(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_seen_is_forgotten),
		cmocka_unit_test(room_that_grows_is_clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
