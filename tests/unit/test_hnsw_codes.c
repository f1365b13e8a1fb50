/*
 * test_hnsw_codes.c: a graph that is walked by codes: as good as one that is walked by floats, and
 * never wrong about a distance.
 */
#include "hnsw_fixture.h"

#include <stdio.h>
#include <unistd.h>

#define N   3000
#define DIM 96

/* Lengths between 1 and 7, so that cosine, l2 and ip have different neighbours. */
static void fill(struct fixture *f, float *v)
{
	float length = 1 + 6 * (float)fx_uniform(f);

	fx_fill_clustered(f, v);
	for (size_t i = 0; i < f->rows.dim; i++)
		v[i] *= length;
}

static void start(struct fixture *f, enum metric metric, uint32_t n, size_t dim)
{
	*f = fx_new(t_seed(), n, dim, metric);
	f->quantization = HNSW_4BIT;
	fx_start(f, 16);
}

static void add(struct fixture *f, uint32_t begin, uint32_t end)
{
	for (uint32_t slot = begin; slot < end; slot++) {
		fill(f, fx_vector(f, slot));
		fx_add(f, slot);
	}
}

/* Hits are found at the distance that the rows say. */
static size_t count_found(const struct fixture *f, const struct hnsw *h, const struct probe *q,
                          size_t ef, float bound)
{
	struct hit hits[10];
	size_t found = 0;
	int n = hnsw_search(h, q, 10, ef, NULL, NULL, hits);

	assert_int_equal(n, 10);
	for (int i = 0; i < n; i++) {
		float key = rows_key(&f->rows, q, hits[i].slot);

		assert_float_equal(hits[i].key, key, 1e-5f * (1 + fabsf(key)));
		assert_true(i == 0 || hits[i].key >= hits[i - 1].key);
		found += key <= bound + 1e-5f * fabsf(bound);
	}
	return found;
}

/* Of 10 nearest of 300 queries, how many more the walk over floats finds, as a share. */
static double loss(struct fixture *f, const struct hnsw *floats, size_t ef)
{
	float *v = mem_alloc(f->rows.dim, sizeof(*v));
	struct hit truth[10];
	struct probe q;
	long lost = 0;

	for (size_t i = 0; i < 300; i++) {
		fill(f, v);
		probe_init(&q, &f->rows, v);
		assert_int_equal(flat_search(&f->rows, &q, 10, truth), 10);
		lost += (long)count_found(f, floats, &q, ef, truth[9].key);
		lost -= (long)count_found(f, f->h, &q, ef, truth[9].key);
	}
	mem_free(v);
	return (double)lost / 3000;
}

static struct hnsw *float_graph(struct fixture *f)
{
	struct hnsw *floats;

	f->quantization = HNSW_FLOAT;
	floats = fx_new_graph(f, 16);
	f->quantization = HNSW_4BIT;
	T_OK(hnsw_reserve(floats, f->rows.n, NULL));
	for (uint32_t slot = 0; slot < f->rows.n; slot++) {
		if (rows_state(&f->rows, slot) == ROW_LIVE)
			T_OK(hnsw_insert(floats, slot, NULL));
	}
	return floats;
}

static void assert_as_good_as_floats(struct fixture *f, double tolerance)
{
	static const size_t efs[] = { 10, 20, 64 };
	struct hnsw *floats = float_graph(f);

	fx_assert_sound(f);
	for (size_t i = 0; i < sizeof(efs) / sizeof(efs[0]); i++) {
		double lost = loss(f, floats, efs[i]);

		if (lost > tolerance)
			fail_msg("%s at ef %zu: recall is %.4f less than with floats",
			         metric_name(f->rows.metric), efs[i], lost);
	}
	hnsw_free(floats);
}

/* 0.002 is what a mean over many queries keeps; 300 queries are off by some 0.004 themselves. */
static void finds_what_floats_find(void **state)
{
	struct fixture f;

	for (int metric = METRIC_COSINE; metric <= METRIC_IP; metric++) {
		start(&f, (enum metric)metric, N, DIM);
		add(&f, 0, N);
		assert_as_good_as_floats(&f, 0.006);
		fx_release(&f);
	}
}

static void free_slot(void *ctx, uint32_t slot)
{
	struct fixture *f = ctx;

	atomic_store(&f->rows.state[slot], ROW_FREE);
}

/* A slot that is used again gets the code of its new vector. */
static void after_churn(void **state)
{
	struct fixture f;

	start(&f, METRIC_L2, N, DIM);
	add(&f, 0, N);
	for (size_t round = 0; round < 2; round++) {
		for (uint32_t slot = 0; slot < N; slot++) {
			if (fx_random(&f) % 3 == 0)
				fx_kill(&f, slot);
		}
		T_OK(hnsw_repair(f.h, 0, N, NULL));
		hnsw_remove(f.h, free_slot, &f);
		for (uint32_t slot = 0; slot < N; slot++) {
			if (rows_state(&f.rows, slot) == ROW_FREE)
				add(&f, slot, slot + 1);
		}
		fx_assert_sound(&f);
	}
	assert_as_good_as_floats(&f, 0.012);
	fx_release(&f);
}

static bool is_multiple(const void *ctx, uint32_t slot)
{
	return slot % *(const uint32_t *)ctx == 0;
}

static void filter_narrows_the_answer(void **state)
{
	const uint32_t every = 300;
	struct hit hits[6];
	struct fixture f;
	struct probe q;

	start(&f, METRIC_COSINE, N, DIM);
	add(&f, 0, N);
	for (uint32_t slot = 0; slot < N; slot += every) {
		probe_init(&q, &f.rows, fx_vector(&f, slot));
		assert_int_equal(hnsw_search(f.h, &q, 6, 6, is_multiple, &every, hits), 6);
		assert_int_equal(hits[0].slot, slot);
		for (size_t i = 0; i < 6; i++)
			assert_int_equal(hits[i].slot % every, 0);
	}
	fx_release(&f);
}

/* What float sums, in whatever order, may be off between two rows of these lengths. */
static bool keys_agree(const struct fixture *f, uint32_t a, uint32_t b, float x, float y)
{
	double size = 0;

	if (f->rows.inv_norm[a] > 0)
		size += 1 / (double)f->rows.inv_norm[a];
	if (f->rows.inv_norm[b] > 0)
		size += 1 / (double)f->rows.inv_norm[b];
	if (f->rows.metric == METRIC_COSINE)
		size = 1;
	return fabs((double)x - (double)y) <= 1e-5 + 2e-6 * size * size;
}

/*
 * Among ordinary vectors: zero, denormal, huge, and one huge component. All are found, by queries
 * like them, too.
 */
static void extremes(void **state)
{
	static const float sizes[] = { 0, 1e-39f, 1e-20f, 1e20f, 1e37f };
	enum { ODD = sizeof(sizes) / sizeof(sizes[0]) };
	struct hit hits[500], truth[500];
	struct fixture f;
	struct probe q;

	for (int metric = METRIC_COSINE; metric <= METRIC_IP; metric++) {
		start(&f, (enum metric)metric, 500, 70);
		add(&f, 0, 500 - 2 * ODD);
		for (uint32_t i = 0; i < 2 * ODD; i++) {
			float *v = fx_vector(&f, 490 + i);

			fill(&f, v);
			for (size_t j = i < ODD ? 0 : 5; j < (i < ODD ? 70 : 6); j++)
				v[j] *= sizes[i % ODD];
			fx_add(&f, 490 + i);
		}
		fx_assert_sound(&f);
		for (uint32_t slot = 480; slot < 500; slot++) {
			probe_init(&q, &f.rows, fx_vector(&f, slot));
			assert_int_equal(flat_search(&f.rows, &q, 500, truth), 500);
			assert_int_equal(hnsw_search(f.h, &q, 500, 500, NULL, NULL, hits), 500);
			for (size_t i = 0; i < 500; i++)
				assert_true(keys_agree(&f, slot, truth[i].slot, hits[i].key,
				                       truth[i].key));
		}
		fx_release(&f);
	}
}

static void all_vectors_equal(void **state)
{
	struct hit hits[1000];
	struct fixture f;
	struct probe q;

	for (int metric = METRIC_COSINE; metric <= METRIC_IP; metric++) {
		for (float value = 0; value < 2; value++) {
			start(&f, (enum metric)metric, 1000, 4);
			for (uint32_t slot = 0; slot < 1000; slot++) {
				for (size_t i = 0; i < 4; i++)
					fx_vector(&f, slot)[i] = value;
				fx_add(&f, slot);
			}
			fx_assert_sound(&f);
			probe_init(&q, &f.rows, f.v);
			assert_int_equal(hnsw_search(f.h, &q, 10, 10, NULL, NULL, hits), 10);
			assert_int_equal(hnsw_search(f.h, &q, 1000, 10, NULL, NULL, hits), 1000);
			fx_release(&f);
		}
	}
}

static void names(void **state)
{
	enum hnsw_quantization q = HNSW_4BIT;

	assert_true(hnsw_quantization_parse("none", 4, 768, &q) && q == HNSW_FLOAT);
	assert_true(hnsw_quantization_parse("4bit", 4, 2, &q) && q == HNSW_4BIT);
	assert_true(hnsw_quantization_parse("auto", 4, 2, &q) && q == HNSW_FLOAT);
	assert_true(hnsw_quantization_parse("auto", 4, 768, &q) && q == HNSW_4BIT);
	assert_false(hnsw_quantization_parse("int8", 4, 768, &q));
	assert_false(hnsw_quantization_parse("nones", 5, 768, &q));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_floats_find),    cmocka_unit_test(after_churn),
		cmocka_unit_test(filter_narrows_the_answer), cmocka_unit_test(extremes),
		cmocka_unit_test(all_vectors_equal),         cmocka_unit_test(names),
	};

	return FX_ONLY_THREADS ? fx_no_threads() : cmocka_run_group_tests(tests, NULL, NULL);
}
