/* Dead rows, dead bytes and dead batches: what an engine gives back. */
#include <stdatomic.h>
#include <sys/stat.h>

#include "engine_t.h"

#define DIM  8
#define MANY 2600 /* enough for a graph */

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	fix_init(f);
	quick_graph(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fix_release(*state);
	free(*state);
	return 0;
}

/* Dead rows are unlinked and their slots used again: the collection does not grow for ever. */
static void test_slots_come_back_after_churn(void **state)
{
	struct fix *f = *state;
	uint64_t resident = 0;

	for (int round = 0; round < 8; round++) {
		fill(f, "v", MANY, DIM); /* replaces all of them */
		wait_idle(f);
		T_OK(engine_checkpoint(f->en, NULL));
		if (round == 4)
			resident = memory(f).resident_bytes;
	}
	assert_int_equal(info(f).deleted, 0);
	assert_true(memory(f).resident_bytes <= resident + resident / 100);
	all_there(f, "v", MANY, 97);
	verify_clean(f);
	fix_reopen(f);
	all_there(f, "v", MANY, 97);
	verify_clean(f);
}

static void test_compaction(void **state)
{
	struct fix *f = *state;
	char path[128];
	struct stat st;

	for (int round = 0; round < 8; round++)
		fill(f, "v", MANY, 256);
	wait_idle(f);
	T_OK(engine_checkpoint(f->en, NULL));
	all_there(f, "v", MANY, 97);
	verify_clean(f);
	fix_path(f, "7.vectors.1", path);
	assert_true(stat(path, &st) < 0); /* there is a later generation, and it is small */
	fix_reopen(f);
	all_there(f, "v", MANY, 97);
	verify_clean(f);
}

/* An aborted batch leaves nothing, also where its rows were in the graph already. */
static void test_aborted_after_linking(void **state)
{
	struct fix *f = *state;
	struct batch *b;
	float v[64];
	char id[64];

	fill(f, "v", MANY, 64);
	b = begin(f);
	for (int i = 0; i < 8000; i++) {
		snprintf(id, sizeof(id), "v%d", i);
		fix_vector(f, v, 64);
		T_OK(add(b, id, v, 64));
	}
	wait_idle(f);
	all_there(f, "v", MANY, 97);
	engine_batch_abort(b);
	wait_idle(f);
	assert_int_equal(info(f).vectors, MANY);
	all_there(f, "v", MANY, 97);
	verify_clean(f);
	fix_reopen(f);
	verify_clean(f);
	assert_int_equal(info(f).vectors, MANY);
}

/* The bytes of the segment, whatever its generation. */
static long segment_bytes(struct fix *f)
{
	char path[128], name[32];
	struct stat st;

	for (int gen = 1; gen < 10; gen++) {
		snprintf(name, sizeof(name), "7.vectors.%d", gen);
		fix_path(f, name, path);
		if (stat(path, &st) == 0)
			return st.st_size;
	}
	return 0;
}

#define WIDE 4096 /* 16 KiB a row */

static struct batch *large_batch(struct fix *f)
{
	struct batch *b = begin(f);
	char id[64];
	float v[WIDE];

	for (int i = 0; i < 1000; i++) {
		snprintf(id, sizeof(id), "w%d", i);
		fix_vector(f, v, WIDE);
		T_OK(add(b, id, v, WIDE));
	}
	return b;
}

/* Whoever empties a collection, or fails to fill it, wants the room back. */
static void test_an_empty_collection_takes_no_room(void **state)
{
	struct fix *f = *state;

	engine_batch_abort(large_batch(f));
	wait_idle(f);
	assert_true(segment_bytes(f) < 1 << 20);
	T_OK(engine_batch_commit(large_batch(f), NULL, NULL, NULL, NULL));
	wait_idle(f);
	assert_true(segment_bytes(f) > 15 << 20);
	T_OK(engine_remove_all(f->en, CID, NULL, NULL));
	wait_idle(f);
	assert_true(segment_bytes(f) < 1 << 20);
	fix_reopen(f);
	fill(f, "v", 10, DIM);
	all_there(f, "v", 10, 1);
	verify_clean(f);
}

struct during {
	struct fix *f;
	atomic_bool done;
};

/* While a maintenance is at work: commits that make another one due, the last that happen. */
static void make_due(void *ctx, uint32_t cid, enum engine_event event)
{
	struct during *d = ctx;

	if (event == ENGINE_COMPACTED && !atomic_exchange(&d->done, true))
		for (int i = 0; i < 5; i++)
			fill(d->f, "v", 1000, DIM); /* into store.db */
}

static void test_what_comes_due_during_a_maintenance(void **state)
{
	struct fix *f = *state;
	struct during d = { .f = f };
	struct engine_options o = { .dir = f->dir,
		                    .default_cid = CID,
		                    .owner = { .mode = 0700 },
		                    .workers = f->workers,
		                    .event = make_due,
		                    .event_ctx = &d };

	fix_close(f);
	T_OK(engine_open(&o, &f->en, NULL));
	T_OK(engine_batch_commit(large_batch(f), NULL, NULL, NULL, NULL));
	T_OK(engine_remove_all(f->en, CID, NULL, NULL));
	wait_idle(f);
	assert_true(atomic_load(&d.done));
	assert_true(segment_bytes(f) >= 1000 * DIM * (long)sizeof(float)); /* they were moved */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_slots_come_back_after_churn),
		TEST(test_compaction),
		TEST(test_aborted_after_linking),
		TEST(test_an_empty_collection_takes_no_room),
		TEST(test_what_comes_due_during_a_maintenance),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
