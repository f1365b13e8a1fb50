/* test_flat.c: the exact scan against sorting everything. */
#include "hnsw_fixture.h"

#define N   500
#define DIM 5

static int compare_hits(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->slot < y->slot ? -1 : x->slot > y->slot;
}

/* Small whole numbers, so that many distances are equal. */
static struct fixture make(uint64_t seed, enum metric metric)
{
	struct fixture f = fx_new(seed, N, DIM, metric);

	for (uint32_t slot = 0; slot < N; slot++) {
		for (size_t i = 0; i < DIM; i++)
			fx_vector(&f, slot)[i] = (float)(fx_random(&f) % 4) - 1;
		fx_set(&f, slot, (enum row_state)(fx_random(&f) % 4));
	}
	return f;
}

static size_t expected(const struct fixture *f, const struct probe *q, struct hit *ret)
{
	size_t n = 0;

	for (uint32_t slot = 0; slot < f->rows.n; slot++) {
		if (rows_state(&f->rows, slot) == ROW_LIVE)
			ret[n++] = (struct hit){ .key = rows_key(&f->rows, q, slot), .slot = slot };
	}
	qsort(ret, n, sizeof(*ret), compare_hits);
	return n;
}

static void assert_hits(const struct hit *got, size_t n_got, const struct hit *want, size_t n_want,
                        size_t k)
{
	assert_int_equal(n_got, n_want < k ? n_want : k);
	for (size_t i = 0; i < n_got; i++) {
		assert_float_equal(got[i].key, want[i].key, 1e-6);
		assert_true(i == 0 || compare_hits(&got[i - 1], &got[i]) < 0);
	}
}

static void finds_the_nearest(void **state)
{
	static const size_t ks[] = { 0, 1, 2, 7, 64, N, N + 10 };
	struct hit want[N], got[N + 10];
	uint64_t seed = t_seed();
	struct probe q;
	float v[DIM];

	(void)state;
	for (int metric = METRIC_COSINE; metric <= METRIC_IP; metric++) {
		struct fixture f = make(seed, (enum metric)metric);

		for (size_t round = 0; round < 20; round++) {
			for (size_t i = 0; i < DIM; i++)
				v[i] = (float)(fx_random(&f) % 4) - 1;
			probe_init(&q, &f.rows, v);
			size_t n = expected(&f, &q, want);

			for (size_t i = 0; i < sizeof(ks) / sizeof(ks[0]); i++)
				assert_hits(got, flat_search(&f.rows, &q, ks[i], got), want, n,
				            ks[i]);
		}
		fx_release(&f);
	}
}

/* l2 on whole numbers is exact, so the slots must be the same too. */
static void ties_are_decided_by_slot(void **state)
{
	struct fixture f = make(t_seed(), METRIC_L2);
	struct hit want[N], got[N];
	struct probe q;
	size_t n, n_got;

	(void)state;
	probe_init(&q, &f.rows, fx_vector(&f, 0));
	n = expected(&f, &q, want);
	n_got = flat_search(&f.rows, &q, n / 2, got);
	assert_int_equal(n_got, n / 2);
	for (size_t i = 0; i < n_got; i++)
		assert_int_equal(got[i].slot, want[i].slot);
	fx_release(&f);
}

/* Any split of the slots into lists, merged one after the other, gives the answer of the whole. */
static void lists_merge(void **state)
{
	struct fixture f = make(t_seed(), METRIC_L2);
	struct hit whole[N], merged[N];
	uint32_t list[N];
	struct probe q;

	(void)state;
	probe_init(&q, &f.rows, fx_vector(&f, 1));
	for (size_t parts = 1; parts < 9; parts++) {
		size_t k = 1 + fx_random(&f) % 80, n_merged = 0;
		size_t n = flat_search(&f.rows, &q, k, whole);

		for (size_t part = 0; part < parts; part++) {
			size_t n_list = 0;

			for (uint32_t slot = N; slot-- > 0;) {
				if (slot % parts == part)
					list[n_list++] = slot;
			}
			n_merged = flat_search_list(&f.rows, &q, list, n_list, k, merged, n_merged);
		}
		assert_int_equal(n_merged, n);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(merged[i].slot, whole[i].slot);
	}
	fx_release(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_nearest),
		cmocka_unit_test(ties_are_decided_by_slot),
		cmocka_unit_test(lists_merge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
