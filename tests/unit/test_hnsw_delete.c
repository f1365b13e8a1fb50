/*
 * test_hnsw_delete.c: dead rows in the graph, repair and removal, alone and beside inserts and
 * searches.
 */
#include "hnsw_fixture.h"

#include <pthread.h>

#define N   2000
#define DIM 24

static void free_slot(void *ctx, uint32_t slot)
{
	struct fixture *f = ctx;

	assert_int_equal(rows_state(&f->rows, slot), ROW_DEAD);
	assert_false(hnsw_has(f->h, slot));
	atomic_store(&f->rows.state[slot], ROW_FREE);
	atomic_store(&f->rows.at[slot], NULL);
}

static void repair_and_remove(struct fixture *f)
{
	T_OK(hnsw_repair(f->h, 0, f->rows.n / 2, NULL));
	T_OK(hnsw_repair(f->h, f->rows.n / 2, f->rows.n, NULL));
	fx_assert_sound(f);
	hnsw_remove(f->h, free_slot, f);
	fx_assert_sound(f);
}

static void reparent(struct fixture *f)
{
	for (uint32_t at = 0; at < f->rows.n; at += f->rows.n / 3 + 1) {
		hnsw_reparent(f->h, at, at + f->rows.n / 3 + 1);
		fx_assert_sound(f);
	}
}

static void detach(struct fixture *f)
{
	for (uint32_t at = 0; at < f->rows.n; at += f->rows.n / 3 + 1) {
		T_OK(hnsw_detach(f->h, at, at + f->rows.n / 3 + 1, NULL));
		fx_assert_sound(f);
	}
}

/* The way that leaves little to do when everybody waits. */
static void detach_and_forget(struct fixture *f)
{
	reparent(f);
	detach(f);
	hnsw_forget(f->h, free_slot, f);
	fx_assert_sound(f);
}

static uint32_t count_live(const struct fixture *f)
{
	uint32_t n = 0;

	for (uint32_t slot = 0; slot < f->rows.n; slot++)
		n += rows_state(&f->rows, slot) == ROW_LIVE;
	return n;
}

/* A search for as many as there are finds every live row, nearest first, as a scan does. */
static void assert_all_found(struct fixture *f)
{
	uint32_t n = count_live(f);
	struct hit *found = mem_alloc(n, sizeof(*found)), *truth = mem_alloc(n, sizeof(*truth));
	struct probe q;

	probe_init(&q, &f->rows, fx_vector(f, 0));
	assert_int_equal(hnsw_search(f->h, &q, n, n, NULL, NULL, found), n);
	assert_int_equal(flat_search(&f->rows, &q, n, truth), n);
	for (uint32_t i = 0; i < n; i++)
		assert_float_equal(found[i].key, truth[i].key, 1e-6f + 1e-5f * fabsf(truth[i].key));
	mem_free(found);
	mem_free(truth);
}

/*
 * Half of the rows die: recall stays before the repair, and after it is that of a graph that
 * never knew them.
 */
static void half_dies(enum metric metric)
{
	struct fixture f = fx_new(t_seed(), N, DIM, metric);
	double before, fresh;
	struct hnsw *old;

	fx_start(&f, 16);
	fx_add_clustered(&f, 0, N);
	for (uint32_t slot = 0; slot < N; slot++) {
		if (fx_random(&f) % 2)
			fx_kill(&f, slot);
	}
	fx_assert_sound(&f);
	assert_recall(&f, 0.95);
	if (metric == METRIC_COSINE)
		repair_and_remove(&f);
	else
		detach_and_forget(&f);
	assert_int_equal(hnsw_count(f.h), count_live(&f));
	before = fx_recall(&f, 200, 10, 20);
	old = f.h;
	fx_start(&f, 16);
	for (uint32_t slot = 0; slot < N; slot++) {
		if (rows_state(&f.rows, slot) == ROW_LIVE)
			T_OK(hnsw_insert(f.h, slot, NULL));
	}
	fresh = fx_recall(&f, 200, 10, 20);
	if (before < fresh - 0.02)
		fail_msg("recall %.4f after removal, %.4f of a fresh build", before, fresh);
	hnsw_free(old);
	fx_release(&f);
}

static void half_dies_by_cosine(void **state)
{
	(void)state;
	half_dies(METRIC_COSINE);
}

static void half_dies_by_l2(void **state)
{
	(void)state;
	half_dies(METRIC_L2);
}

static void half_dies_by_ip(void **state)
{
	(void)state;
	half_dies(METRIC_IP);
}

/* The last few of thousands of dead rows are found, however far apart. */
static void few_survive(void **state)
{
	struct fixture f = fx_new(t_seed(), N, DIM, METRIC_L2);
	struct hit hits[8];
	struct probe q;

	(void)state;
	fx_start(&f, 8);
	fx_add_clustered(&f, 0, N);
	for (uint32_t slot = 0; slot < N; slot++) {
		if (slot % 400 != 5)
			fx_kill(&f, slot);
	}
	probe_init(&q, &f.rows, fx_vector(&f, 1));
	assert_int_equal(hnsw_search(f.h, &q, 8, 8, NULL, NULL, hits), 5);
	repair_and_remove(&f);
	assert_int_equal(hnsw_search(f.h, &q, 8, 8, NULL, NULL, hits), 5);
	fx_release(&f);
}

/* Everything dies, and new rows come before the repair, between it and the removal, and after. */
static void all_die(void **state)
{
	struct fixture f = fx_new(t_seed(), 1000, DIM, METRIC_L2);

	(void)state;
	fx_start(&f, 4);
	fx_add_clustered(&f, 0, 500);
	for (uint32_t slot = 0; slot < 500; slot++)
		fx_kill(&f, slot);
	fx_assert_sound(&f);
	fx_add_clustered(&f, 500, 600);
	fx_assert_sound(&f);
	assert_all_found(&f);
	T_OK(hnsw_repair(f.h, 0, f.rows.n, NULL));
	fx_assert_sound(&f);
	fx_add_clustered(&f, 600, 700);
	hnsw_remove(f.h, free_slot, &f);
	fx_assert_sound(&f);
	assert_int_equal(hnsw_count(f.h), 200);
	assert_all_found(&f);
	for (uint32_t slot = 500; slot < 700; slot++)
		fx_kill(&f, slot);
	hnsw_remove(f.h, free_slot, &f); /* without a repair */
	fx_assert_sound(&f);
	assert_int_equal(hnsw_count(f.h), 0);
	fx_add_clustered(&f, 0, 100);
	fx_assert_sound(&f);
	assert_all_found(&f);
	fx_release(&f);
}

/*
 * A hub whose children are all dead, and a chain of which the middle dies: where the tree is
 * thin.
 */
static void stars_and_chains(void **state)
{
	struct fixture f = fx_new(1, 4000, 1, METRIC_L2);

	(void)state;
	fx_start(&f, 2);
	for (uint32_t slot = 0; slot < 2000; slot++) {
		*fx_vector(&f, slot) = (float)slot;
		fx_add(&f, slot);
	}
	for (uint32_t slot = 0; slot < 1500; slot++) {
		if (slot < 100 || slot > 200)
			fx_kill(&f, slot);
	}
	fx_assert_sound(&f);
	repair_and_remove(&f);
	assert_all_found(&f);
	for (uint32_t slot = 0; slot < 100; slot++) {
		*fx_vector(&f, slot) = 5000;
		fx_add(&f, slot);
		if (slot > 1)
			fx_kill(&f, slot);
		fx_assert_sound(&f);
	}
	repair_and_remove(&f);
	assert_all_found(&f);
	fx_release(&f);
}

/*
 * A body of which every node has a twin; the body dies: each twin loses its parent, and so do
 * the parents.
 */
static void body_dies_twins_live(void **state)
{
	struct fixture f = fx_new(1, 3000, 1, METRIC_L2);

	(void)state;
	fx_start(&f, 3);
	for (uint32_t slot = 0; slot < 3000; slot++) {
		*fx_vector(&f, slot) = (float)(slot % 1500) + (slot < 1500 ? 0 : 0.25f);
		fx_add(&f, slot);
	}
	for (uint32_t slot = 0; slot < 1500; slot++)
		fx_kill(&f, slot);
	/* from the far end, where chains of dead parents are longest */
	for (uint32_t end = 3000; end > 0; end -= 100)
		T_OK(hnsw_repair(f.h, end - 100, end, NULL));
	fx_assert_sound(&f);
	hnsw_remove(f.h, free_slot, &f);
	fx_assert_sound(&f);
	assert_all_found(&f);
	fx_release(&f);
}

static void add_random(struct fixture *f, unsigned n)
{
	for (uint32_t slot = 0; slot < f->rows.cap && n; slot++) {
		if (rows_state(&f->rows, slot) != ROW_FREE)
			continue;
		for (size_t i = 0; i < f->rows.dim; i++)
			fx_vector(f, slot)[i] = (float)(fx_random(f) % 5) - 2;
		fx_add(f, slot);
		n--;
	}
	fx_assert_sound(f);
}

static void kill_random(struct fixture *f, unsigned n)
{
	while (n-- && f->rows.n) {
		uint32_t slot = (uint32_t)(fx_random(f) % f->rows.n);

		if (rows_state(&f->rows, slot) == ROW_LIVE)
			fx_kill(f, slot);
	}
	fx_assert_sound(f);
}

/* Repairs and removals at any time. */
static void remove_by_parts(struct fixture *f)
{
	if (fx_random(f) % 3 == 0)
		T_OK(hnsw_repair(f->h, (uint32_t)(fx_random(f) % 400), 400, NULL));
	fx_assert_sound(f);
	if (fx_random(f) % 3 == 0)
		hnsw_remove(f->h, free_slot, f);
	fx_assert_sound(f);
}

/* Step by step with inserts between the steps; some runs are given up in the middle. */
static void remove_by_steps(struct fixture *f)
{
	uint64_t end = fx_random(f) % 8;

	reparent(f);
	add_random(f, (unsigned)(fx_random(f) % 20));
	if (end == 0)
		return;
	detach(f);
	add_random(f, (unsigned)(fx_random(f) % 20));
	if (end > 1)
		detach_and_forget(f);
}

/*
 * Random inserts and deaths, and removals in one way or the other; slots are used again;
 * duplicates are common. Now and then nearly all die.
 */
static void churn(unsigned m, size_t dim, enum metric metric, uint64_t seed)
{
	struct fixture f = fx_new(seed, 400, dim, metric);

	fx_start(&f, m);
	for (unsigned round = 0; round < 120; round++) {
		add_random(&f, (unsigned)(fx_random(&f) % 60));
		kill_random(&f, fx_random(&f) % 16 ? (unsigned)(fx_random(&f) % 60) : 1000);
		if (seed % 2)
			remove_by_parts(&f);
		else
			remove_by_steps(&f);
	}
	assert_all_found(&f);
	fx_release(&f);
}

static void stays_sound_under_churn(void **state)
{
	uint64_t seed = t_seed();

	(void)state;
	for (uint64_t i = 0; i < 6; i++)
		churn(2 + (unsigned)i * 2, 1 + i, (enum metric)(i % 3), seed + i);
}

/* A slot that is used again for another vector is found by the new one and never by the old. */
static void slots_are_used_again(void **state)
{
	struct fixture f = fx_new(t_seed(), N, DIM, METRIC_L2);

	(void)state;
	fx_start(&f, 16);
	fx_add_clustered(&f, 0, N);
	for (unsigned round = 0; round < 4; round++) {
		for (uint32_t slot = round; slot < N; slot += 4)
			fx_kill(&f, slot);
		repair_and_remove(&f);
		for (uint32_t slot = round; slot < N; slot += 4) {
			fx_fill_clustered(&f, fx_vector(&f, slot));
			fx_add(&f, slot);
		}
		fx_assert_sound(&f);
	}
	assert_int_equal(hnsw_count(f.h), N);
	assert_recall(&f, 0.95);
	fx_release(&f);
}

struct race {
	struct fixture *f;
	int (*work)(struct hnsw *h, uint32_t begin, uint32_t end, struct err *e);
	atomic_uint next_slot; /* to insert */
	atomic_uint next_part; /* to repair */
	atomic_uint failed;
	atomic_bool done;
};

#define PARTS 30

static void *repair_parts(void *arg)
{
	struct race *r = arg;
	uint32_t part, n = r->f->rows.n / PARTS + 1;

	while ((part = atomic_fetch_add(&r->next_part, 1)) < PARTS)
		atomic_fetch_add(&r->failed, r->work(r->f->h, part * n, part * n + n, NULL) < 0);
	return NULL;
}

static void *insert_some(void *arg)
{
	struct race *r = arg;
	uint32_t slot;

	while ((slot = atomic_fetch_add(&r->next_slot, 1)) < r->f->rows.n)
		atomic_fetch_add(&r->failed, hnsw_insert(r->f->h, slot, NULL) < 0);
	return NULL;
}

static void *search_meanwhile(void *arg)
{
	struct race *r = arg;
	struct hit hits[10];
	struct probe q;
	uint32_t slot = 0;

	while (!atomic_load(&r->done)) {
		slot = (slot + 17) % r->f->rows.n;
		probe_init(&q, &r->f->rows, fx_vector(r->f, slot));
		atomic_fetch_add(&r->failed,
		                 hnsw_search(r->f->h, &q, 10, 32, NULL, NULL, hits) != 10);
	}
	return NULL;
}

static int reparent_part(struct hnsw *h, uint32_t begin, uint32_t end, struct err *e)
{
	(void)e;
	hnsw_reparent(h, begin, end);
	return 0;
}

static void two_work(struct race *r,
                     int (*work)(struct hnsw *h, uint32_t begin, uint32_t end, struct err *e))
{
	pthread_t workers[2];

	r->work = work;
	atomic_store(&r->next_part, 0);
	for (size_t i = 0; i < 2; i++)
		pthread_create(&workers[i], NULL, repair_parts, r);
	for (size_t i = 0; i < 2; i++)
		pthread_join(workers[i], NULL);
}

/* Two threads repair, one inserts, one searches. */
static void repair_beside(bool by_steps, bool bulk)
{
	struct fixture f = fx_new(t_seed(), N, 8, METRIC_L2);
	struct race r = { .f = &f, .next_slot = N / 2 };
	pthread_t inserter, searcher;

	f.quantization = bulk ? HNSW_4BIT : HNSW_FLOAT;
	fx_start(&f, 4);
	fx_add_clustered(&f, 0, N / 2);
	if (bulk)
		hnsw_bulk_begin(f.h);
	for (uint32_t slot = N / 2; slot < N; slot++) {
		fx_fill_clustered(&f, fx_vector(&f, slot));
		fx_set(&f, slot, ROW_LIVE);
	}
	for (uint32_t slot = 0; slot < N / 2; slot++) {
		if (fx_random(&f) % 4)
			fx_kill(&f, slot);
	}
	pthread_create(&searcher, NULL, search_meanwhile, &r);
	pthread_create(&inserter, NULL, insert_some, &r);
	if (by_steps)
		two_work(&r, reparent_part);
	two_work(&r, by_steps ? hnsw_detach : hnsw_repair);
	pthread_join(inserter, NULL);
	atomic_store(&r.done, true);
	pthread_join(searcher, NULL);
	assert_int_equal(r.failed, 0);
	fx_assert_sound(&f);
	if (by_steps)
		detach_and_forget(&f);
	else
		hnsw_remove(f.h, free_slot, &f);
	fx_assert_sound(&f);
	assert_int_equal(hnsw_count(f.h), count_live(&f));
	assert_recall(&f, 0.9);
	fx_release(&f);
}

static void repair_beside_inserts_and_searches(void **state)
{
	(void)state;
	repair_beside(false, false);
}

static void detach_beside_inserts_and_searches(void **state)
{
	(void)state;
	repair_beside(true, false);
}

/* Of the rows around the dead some have fine codes and some have not. */
static void repair_beside_inserts_in_bulk(void **state)
{
	(void)state;
	repair_beside(false, true);
	repair_beside(true, true);
}

int main(void)
{
	const struct CMUnitTest alone[] = {
		cmocka_unit_test(half_dies_by_cosine),
		cmocka_unit_test(half_dies_by_l2),
		cmocka_unit_test(half_dies_by_ip),
		cmocka_unit_test(few_survive),
		cmocka_unit_test(all_die),
		cmocka_unit_test(stars_and_chains),
		cmocka_unit_test(body_dies_twins_live),
		cmocka_unit_test(stays_sound_under_churn),
		cmocka_unit_test(slots_are_used_again),
	};
	const struct CMUnitTest threaded[] = {
		cmocka_unit_test(repair_beside_inserts_and_searches),
		cmocka_unit_test(detach_beside_inserts_and_searches),
		cmocka_unit_test(repair_beside_inserts_in_bulk),
	};

	int failed = FX_ONLY_THREADS ? 0 : cmocka_run_group_tests(alone, NULL, NULL);

	return failed + cmocka_run_group_tests(threaded, NULL, NULL);
}
