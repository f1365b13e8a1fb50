/*
 * test_hnsw.c: building and searching the graph; what is deleted is in test_hnsw_delete.c, the
 * image in test_hnsw_image.c.
 */
#include "hnsw_fixture.h"

#include <pthread.h>

#define N   2000
#define DIM 24

static void recall_with(enum metric metric, unsigned m)
{
	struct fixture f = fx_new(t_seed(), N, DIM, metric);

	fx_start(&f, m);
	fx_add_clustered(&f, 0, N);
	fx_assert_sound(&f);
	assert_int_equal(hnsw_count(f.h), N);
	assert_recall(&f, 0.95);
	fx_release(&f);
}

static void finds_the_nearest_by_cosine(void **state)
{
	(void)state;
	recall_with(METRIC_COSINE, 16);
}

static void finds_the_nearest_by_l2(void **state)
{
	(void)state;
	recall_with(METRIC_L2, 16);
}

static void finds_the_nearest_by_ip(void **state)
{
	(void)state;
	recall_with(METRIC_IP, 16);
}

/* m 2 is the least that the tree's links and one free link fit into; 64 the most. */
static void is_sound_at_any_m(void **state)
{
	static const unsigned ms[] = { HNSW_M_MIN, 3, 5, 33, HNSW_M_MAX };
	struct hnsw_params bad = { .m = HNSW_M_MIN - 1, .ef_construction = 10 };
	struct rows rows = { 0 };
	struct err e = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(ms) / sizeof(ms[0]); i++) {
		struct fixture f = fx_new(t_seed(), 600, 8, METRIC_L2);

		fx_start(&f, ms[i]);
		fx_add_clustered(&f, 0, 600);
		fx_assert_sound(&f);
		fx_release(&f);
	}
	assert_null(hnsw_new(&rows, &bad, &e));
	assert_int_equal(e.code, -EINVAL);
	bad.m = HNSW_M_MAX + 1;
	assert_null(hnsw_new(&rows, &bad, &e));
}

static void is_empty_at_first(void **state)
{
	struct fixture f = fx_new(1, 10, 3, METRIC_L2);
	struct hnsw_report r;
	struct hit hits[3];
	float v[3] = { 0 };
	struct probe q;

	(void)state;
	f.h = fx_new_graph(&f, 16);
	probe_init(&q, &f.rows, v);
	assert_int_equal(hnsw_search(f.h, &q, 3, 64, NULL, NULL, hits), 0);
	assert_int_equal(hnsw_count(f.h), 0);
	assert_false(hnsw_has(f.h, 0));
	T_OK(hnsw_check(f.h, &r, NULL));
	assert_int_equal(r.nodes + r.live + r.unreachable + r.broken_links + r.bad_levels, 0);
	T_OK(hnsw_repair(f.h, 0, 10, NULL));
	hnsw_remove(f.h, NULL, NULL);
	hnsw_free(NULL);
	fx_release(&f);
}

/* Room is made a little at a time, between inserts; what was linked stays. */
static void grows(void **state)
{
	struct fixture f = fx_new(t_seed(), 6000, 4, METRIC_L2);
	size_t bytes;

	(void)state;
	f.h = fx_new_graph(&f, 4);
	for (uint32_t end = 1; end <= 6000; end += end / 2 + 1) {
		uint32_t begin = f.rows.n;

		T_OK(hnsw_reserve(f.h, end, NULL));
		fx_add_clustered(&f, begin, end);
	}
	bytes = hnsw_memory(f.h).anonymous_bytes;
	assert_int_equal(hnsw_memory(f.h).mapped_bytes, 0);
	assert_in_range(bytes / f.rows.n, 4 * 16, 4 * 16 + 64);
	fx_assert_sound(&f);
	assert_recall(&f, 0.9);
	fx_release(&f);
}

static void fill_equal(struct fixture *f, float *v, float value)
{
	for (size_t i = 0; i < f->rows.dim; i++)
		v[i] = value;
}

/*
 * k nearest of a row's own vector: all that are equal to it are at distance 0, and k of them
 * are found.
 */
static void assert_finds_k_equal(struct fixture *f, uint32_t slot, size_t k)
{
	struct hit *hits = mem_alloc(k, sizeof(*hits));
	struct probe q;

	probe_init(&q, &f->rows, fx_vector(f, slot));
	assert_int_equal(hnsw_search(f->h, &q, k, 64, NULL, NULL, hits), k);
	for (size_t i = 0; i < k; i++)
		assert_memory_equal(fx_vector(f, hits[i].slot), fx_vector(f, slot),
		                    f->rows.dim * sizeof(float));
	mem_free(hits);
}

static void all_vectors_equal(void **state)
{
	(void)state;
	for (int metric = METRIC_COSINE; metric <= METRIC_IP; metric++) {
		for (float value = 0; value < 2; value++) {
			struct fixture f = fx_new(1, 2000, 4, (enum metric)metric);

			fx_start(&f, metric == METRIC_L2 ? 2 : 16);
			for (uint32_t slot = 0; slot < 2000; slot++) {
				fill_equal(&f, fx_vector(&f, slot), value);
				fx_add(&f, slot);
			}
			fx_assert_sound(&f);
			assert_finds_k_equal(&f, 17, 10);
			assert_finds_k_equal(&f, 1999, 2000);
			fx_release(&f);
		}
	}
}

/*
 * Three piles of a thousand equal vectors among ordinary ones, in an order that builds each
 * pile at once.
 */
static void duplicates_by_the_thousand(void **state)
{
	struct fixture f = fx_new(t_seed(), 4000, 8, METRIC_L2);

	(void)state;
	fx_start(&f, 8);
	fx_add_clustered(&f, 0, 500);
	for (uint32_t slot = 500; slot < 3500; slot++) {
		memcpy(fx_vector(&f, slot), fx_vector(&f, slot / 1000), 8 * sizeof(float));
		fx_add(&f, slot);
	}
	fx_add_clustered(&f, 3500, 4000);
	fx_assert_sound(&f);
	for (uint32_t slot = 0; slot < 4; slot++)
		assert_finds_k_equal(&f, slot, slot == 0 ? 400 : 100);
	assert_recall(&f, 0.7); /* chance has a say: a pile fills all ef places */
	fx_release(&f);
}

/* On a line, in order: the tree is one long chain. */
static void one_dimension_in_order(void **state)
{
	struct fixture f = fx_new(1, 3000, 1, METRIC_L2);
	struct hit hits[3];
	struct probe q;
	float v;

	(void)state;
	fx_start(&f, 4);
	for (uint32_t slot = 0; slot < 3000; slot++) {
		*fx_vector(&f, slot) = (float)slot;
		fx_add(&f, slot);
	}
	fx_assert_sound(&f);
	for (uint32_t slot = 1; slot < 2999; slot += 13) {
		v = (float)slot + 0.1f;
		probe_init(&q, &f.rows, &v);
		assert_int_equal(hnsw_search(f.h, &q, 3, 64, NULL, NULL, hits), 3);
		assert_int_equal(hits[0].slot, slot);
		assert_int_equal(hits[1].slot, slot + 1);
		assert_int_equal(hits[2].slot, slot - 1);
	}
	fx_release(&f);
}

static void k_larger_than_n(void **state)
{
	struct fixture f = fx_new(t_seed(), 300, 6, METRIC_COSINE);
	struct hit hits[1000];
	struct probe q;

	(void)state;
	fx_start(&f, 4);
	fx_add_clustered(&f, 0, 300);
	probe_init(&q, &f.rows, fx_vector(&f, 5));
	assert_int_equal(hnsw_search(f.h, &q, 1000, 1, NULL, NULL, hits), 300);
	assert_int_equal(hnsw_search(f.h, &q, 1, 1000, NULL, NULL, hits), 1);
	assert_int_equal(hits[0].slot, 5);
	assert_int_equal(hnsw_search(f.h, &q, 0, 64, NULL, NULL, hits), 0);
	fx_release(&f);
}

static bool is_multiple(const void *ctx, uint32_t slot)
{
	return slot % *(const uint32_t *)ctx == 0;
}

/*
 * Of 2,000 rows every 3rd, then every 300th, may be returned: the k are found, and they are the
 * right ones.
 */
static void filter_narrows_the_answer(void **state)
{
	static const uint32_t every[] = { 3, 300 };
	struct fixture f = fx_new(t_seed(), N, DIM, METRIC_L2);
	struct hit hits[6];
	struct probe q;

	(void)state;
	fx_start(&f, 16);
	fx_add_clustered(&f, 0, N);
	for (size_t i = 0; i < 2; i++) {
		for (uint32_t slot = 0; slot < N; slot += i == 0 ? 99 : 300) {
			probe_init(&q, &f.rows, fx_vector(&f, slot));
			assert_int_equal(hnsw_search(f.h, &q, 6, 64, is_multiple, &every[i], hits),
			                 6);
			assert_int_equal(hits[0].slot, slot);
			for (size_t j = 0; j < 6; j++)
				assert_int_equal(hits[j].slot % every[i], 0);
		}
	}
	fx_release(&f);
}

/* Hidden rows are walked through, and half of the rows being hidden costs no recall. */
static void hidden_rows_lead_on(void **state)
{
	struct fixture f = fx_new(t_seed(), N, DIM, METRIC_COSINE);

	(void)state;
	fx_start(&f, 16);
	for (uint32_t slot = 0; slot < N; slot++) {
		fx_fill_clustered(&f, fx_vector(&f, slot));
		fx_set(&f, slot, slot % 2 ? ROW_HIDDEN : ROW_LIVE);
		T_OK(hnsw_insert(f.h, slot, NULL));
	}
	fx_assert_sound(&f);
	assert_recall(&f, 0.95);
	fx_release(&f);
}

/* Same seed, same order: the same graph, so the same answers in the same time. */
static void rebuild_gives_the_same_graph(void **state)
{
	struct fixture f = fx_new(t_seed(), 1000, 8, METRIC_L2);
	struct hit a[20], b[20];
	struct hnsw *first;
	struct probe q;

	(void)state;
	fx_start(&f, 4);
	fx_add_clustered(&f, 0, 1000);
	first = f.h;
	fx_start(&f, 4);
	for (uint32_t slot = 0; slot < 1000; slot++)
		T_OK(hnsw_insert(f.h, slot, NULL));
	for (uint32_t slot = 0; slot < 1000; slot += 10) {
		probe_init(&q, &f.rows, fx_vector(&f, slot));
		assert_int_equal(hnsw_search(first, &q, 20, 20, NULL, NULL, a), 20);
		assert_int_equal(hnsw_search(f.h, &q, 20, 20, NULL, NULL, b), 20);
		for (size_t i = 0; i < 20; i++)
			assert_int_equal(a[i].slot, b[i].slot);
	}
	hnsw_free(first);
	fx_release(&f);
}

struct race {
	struct fixture *f;
	atomic_uint next; /* slot to insert */
	atomic_uint failed;
	atomic_bool done;
};

static void *insert_some(void *arg)
{
	struct race *r = arg;
	uint32_t slot;

	while ((slot = atomic_fetch_add(&r->next, 1)) < r->f->rows.n)
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
		int n = hnsw_search(r->f->h, &q, 10, 32, NULL, NULL, hits);

		atomic_fetch_add(&r->failed, n < 0 || n > 10);
		for (int i = 1; i < n; i++)
			atomic_fetch_add(&r->failed, hits[i - 1].key > hits[i].key);
	}
	return NULL;
}

/*
 * Two threads insert, a third searches: nothing is lost, and the graph is as good as one that
 * was built alone.
 */
static void parallel_build_with(unsigned m, bool duplicates, bool bulk)
{
	struct fixture f = fx_new(t_seed(), N, DIM, METRIC_L2);
	struct race r = { .f = &f };
	pthread_t builders[2], searcher;

	f.quantization = bulk ? HNSW_4BIT : HNSW_FLOAT;
	fx_start(&f, m);
	if (bulk) /* a few that have no fine codes, then in bulk */
		fx_add_clustered(&f, 0, r.next = 50);
	if (bulk)
		hnsw_bulk_begin(f.h);
	for (uint32_t slot = r.next; slot < N; slot++) {
		fx_fill_clustered(&f, fx_vector(&f, slot));
		if (duplicates && slot >= 10)
			memcpy(fx_vector(&f, slot), fx_vector(&f, slot % 10), DIM * sizeof(float));
		fx_set(&f, slot, ROW_LIVE);
	}
	pthread_create(&searcher, NULL, search_meanwhile, &r);
	for (size_t i = 0; i < 2; i++)
		pthread_create(&builders[i], NULL, insert_some, &r);
	for (size_t i = 0; i < 2; i++)
		pthread_join(builders[i], NULL);
	atomic_store(&r.done, true);
	pthread_join(searcher, NULL);
	assert_int_equal(r.failed, 0);
	assert_int_equal(hnsw_count(f.h), N);
	fx_assert_sound(&f);
	if (!duplicates)
		assert_recall(&f, 0.95);
	fx_release(&f);
}

static void parallel_build(void **state)
{
	(void)state;
	parallel_build_with(16, false, false);
}

/* Ten piles of equal vectors and short rows: every insertion fights for the same few rows. */
static void parallel_build_of_duplicates(void **state)
{
	(void)state;
	parallel_build_with(2, true, false);
}

/* Codes, norms and fine codes are written beside searches and selections that read others'. */
static void parallel_build_in_bulk(void **state)
{
	(void)state;
	parallel_build_with(16, false, true);
	parallel_build_with(2, true, true);
}

int main(void)
{
	const struct CMUnitTest alone[] = {
		cmocka_unit_test(finds_the_nearest_by_cosine),
		cmocka_unit_test(finds_the_nearest_by_l2),
		cmocka_unit_test(finds_the_nearest_by_ip),
		cmocka_unit_test(is_sound_at_any_m),
		cmocka_unit_test(is_empty_at_first),
		cmocka_unit_test(grows),
		cmocka_unit_test(all_vectors_equal),
		cmocka_unit_test(duplicates_by_the_thousand),
		cmocka_unit_test(one_dimension_in_order),
		cmocka_unit_test(k_larger_than_n),
		cmocka_unit_test(filter_narrows_the_answer),
		cmocka_unit_test(hidden_rows_lead_on),
		cmocka_unit_test(rebuild_gives_the_same_graph),
	};
	const struct CMUnitTest threaded[] = {
		cmocka_unit_test(parallel_build),
		cmocka_unit_test(parallel_build_of_duplicates),
		cmocka_unit_test(parallel_build_in_bulk),
	};

	int failed = FX_ONLY_THREADS ? 0 : cmocka_run_group_tests(alone, NULL, NULL);

	return failed + cmocka_run_group_tests(threaded, NULL, NULL);
}
