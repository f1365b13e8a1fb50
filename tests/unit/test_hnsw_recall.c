/*
 * test_hnsw_recall.c: how good graphs are, where it would show if something of them were wrong:
 * small dense clusters far apart; codes beside floats on vectors of all lengths; graphs filled in
 * bulk beside those that grew one by one. Thousands of neighbours are counted, so that chance moves
 * the share by a few thousandths only.
 */
#include "hnsw_fixture.h"

#define K         10
#define QUERIES   600
#define CHANCE    0.004 /* a difference that 6,000 neighbours may show without a reason */
#define TOLERATED 0.002

struct trial {
	struct fixture f;     /* of the vectors; f.h is not used */
	float *queries;       /* QUERIES * dim */
	float bound[QUERIES]; /* the true K-th nearest's key */
	void (*fill)(struct fixture *f, float *v);
};

static void trial_init(struct trial *t, uint32_t n, size_t dim, enum metric metric,
                       void (*fill)(struct fixture *f, float *v))
{
	struct hit truth[K];
	struct probe q;

	t->f = fx_new(t_seed(), n, dim, metric);
	t->fill = fill;
	t->queries = mem_alloc(QUERIES * dim, sizeof(*t->queries));
	for (uint32_t slot = 0; slot < n; slot++) {
		fill(&t->f, fx_vector(&t->f, slot));
		fx_set(&t->f, slot, ROW_LIVE);
	}
	for (size_t i = 0; i < QUERIES; i++) {
		fill(&t->f, t->queries + i * dim);
		probe_init(&q, &t->f.rows, t->queries + i * dim);
		assert_int_equal(flat_search(&t->f.rows, &q, K, truth), K);
		t->bound[i] = truth[K - 1].key;
	}
}

static void trial_release(struct trial *t)
{
	mem_free(t->queries);
	fx_release(&t->f);
}

static double recall_of(const struct trial *t, const struct hnsw *h, size_t ef)
{
	struct hit hits[K];
	struct probe q;
	size_t n = 0;

	for (size_t i = 0; i < QUERIES; i++) {
		probe_init(&q, &t->f.rows, t->queries + i * t->f.rows.dim);
		assert_int_equal(hnsw_search(h, &q, K, ef, NULL, NULL, hits), K);
		for (size_t j = 0; j < K; j++)
			n += hits[j].key <= t->bound[i] + 1e-5f * fabsf(t->bound[i]);
	}
	return (double)n / (QUERIES * K);
}

static void assert_recall_of(const struct trial *t, const struct hnsw *h, size_t ef, double atleast)
{
	double recall = recall_of(t, h, ef);

	if (recall < atleast)
		fail_msg("%s at ef %zu: recall %.4f, expected %.4f", metric_name(t->f.rows.metric),
		         ef, recall, atleast);
}

/* From the slot n_single on in bulk. */
static struct hnsw *graph_of(struct trial *t, enum hnsw_quantization quantization,
                             uint32_t n_single)
{
	struct hnsw *h;

	t->f.quantization = quantization;
	h = fx_new_graph(&t->f, 16);
	T_OK(hnsw_reserve(h, t->f.rows.n, NULL));
	for (uint32_t slot = 0; slot < t->f.rows.n; slot++) {
		if (slot == n_single)
			hnsw_bulk_begin(h);
		T_OK(hnsw_insert(h, slot, NULL));
	}
	hnsw_bulk_end(h);
	return h;
}

/* As good as the other at any ef, but for chance. */
static void assert_as_good(const struct trial *t, const struct hnsw *h, const struct hnsw *than,
                           const char *what)
{
	static const size_t efs[] = { 10, 20, 64 };

	for (size_t i = 0; i < sizeof(efs) / sizeof(efs[0]); i++) {
		double a = recall_of(t, h, efs[i]), b = recall_of(t, than, efs[i]);

		if (a < b - TOLERATED - CHANCE)
			fail_msg("%s, %s at ef %zu: recall %.4f, expected %.4f", what,
			         metric_name(t->f.rows.metric), efs[i], a, b);
	}
}

/* One of 90 clusters that are fifty times farther from each other than they are wide. */
static void fill_dense(struct fixture *f, float *v)
{
	struct fixture cluster = { .rng = fx_random(f) % 90 };

	for (size_t i = 0; i < f->rows.dim; i++)
		v[i] = fx_normal(&cluster) + 0.02f * fx_normal(f);
}

static void clusters_far_apart(void **state)
{
	static const enum hnsw_quantization of[] = { HNSW_FLOAT, HNSW_4BIT };
	struct trial t;

	(void)state;
	for (int metric = METRIC_COSINE; metric <= METRIC_L2; metric++) {
		trial_init(&t, 4500, 24, (enum metric)metric, fill_dense);
		for (size_t i = 0; i < 2; i++) {
			struct hnsw *h = graph_of(&t, of[i], i ? 0 : UINT32_MAX);

			assert_recall_of(&t, h, 64, 0.97);
			hnsw_free(h);
		}
		trial_release(&t);
	}
}

/*
 * Five clusters of 700, a fiftieth as wide as they are far from the origin: distances within one are
 * less than the error of a code.
 */
static void fill_narrow(struct fixture *f, float *v)
{
	struct fixture cluster = { .rng = fx_random(f) % 5 };

	for (size_t i = 0; i < f->rows.dim; i++)
		v[i] = fx_normal(&cluster) + 0.02f * fx_normal(f);
}

static void closer_together_than_codes_can_tell(void **state)
{
	struct hnsw *single, *bulk;
	struct trial t;

	(void)state;
	for (int metric = METRIC_COSINE; metric <= METRIC_L2; metric++) {
		trial_init(&t, 3500, 64, (enum metric)metric, fill_narrow);
		single = graph_of(&t, HNSW_4BIT, UINT32_MAX);
		bulk = graph_of(&t, HNSW_4BIT, 0);
		/* mostly 0.998; on some draws all of one cluster is missed (RUVECTORFS_SEED=140737290260582) */
		assert_recall_of(&t, single, 64, 0.75);
		assert_recall_of(&t, bulk, 64, 0.75); /* fine codes are off, too */
		hnsw_free(single);
		hnsw_free(bulk);
		trial_release(&t);
	}
}

/* One cluster, from where codes tell nothing of it to where they tell enough. */
static float cloud_width;

static void fill_cloud(struct fixture *f, float *v)
{
	for (size_t i = 0; i < f->rows.dim; i++)
		v[i] = 1 + cloud_width * fx_normal(f);
}

/* A walk for as many candidates again has room for them, whatever the number of nodes. */
static void room_for_a_second_walk(void **state)
{
	struct hit hits[K];
	struct hnsw *h;
	struct trial t;
	struct probe q;

	(void)state;
	for (cloud_width = 0.02f; cloud_width < 0.7f; cloud_width *= 1.4f) {
		trial_init(&t, 1009, 64, METRIC_COSINE, fill_cloud);
		h = graph_of(&t, HNSW_4BIT, 0);
		for (size_t ef = 495; ef < 505; ef++) {
			for (size_t i = 0; i < 20; i++) {
				probe_init(&q, &t.f.rows, t.queries + i * t.f.rows.dim);
				assert_int_equal(hnsw_search(h, &q, K, ef, NULL, NULL, hits), K);
			}
		}
		hnsw_free(h);
		trial_release(&t);
	}
}

/* Lengths between 1 and 7, so that each metric has neighbours of its own. */
static void fill_of_any_length(struct fixture *f, float *v)
{
	float length = 1 + 6 * (float)fx_uniform(f);

	fx_fill_clustered(f, v);
	for (size_t i = 0; i < f->rows.dim; i++)
		v[i] *= length;
}

static void codes_and_bulk_cost_nothing(void **state)
{
	struct hnsw *floats, *single, *bulk, *both;
	struct trial t;

	(void)state;
	for (int metric = METRIC_COSINE; metric <= METRIC_IP; metric++) {
		trial_init(&t, 2500, 96, (enum metric)metric, fill_of_any_length);
		floats = graph_of(&t, HNSW_FLOAT, UINT32_MAX);
		single = graph_of(&t, HNSW_4BIT, UINT32_MAX);
		bulk = graph_of(&t, HNSW_4BIT, 0);
		both = graph_of(&t, HNSW_4BIT, 1200);
		assert_as_good(&t, single, floats, "codes");
		assert_as_good(&t, bulk, single, "bulk");
		assert_as_good(&t, both, single, "bulk on a graph that has nodes");
		hnsw_free(floats);
		hnsw_free(single);
		hnsw_free(bulk);
		hnsw_free(both);
		trial_release(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clusters_far_apart),
		cmocka_unit_test(closer_together_than_codes_can_tell),
		cmocka_unit_test(room_for_a_second_walk),
		cmocka_unit_test(codes_and_bulk_cost_nothing),
	};

	return FX_ONLY_THREADS ? fx_no_threads() : cmocka_run_group_tests(tests, NULL, NULL);
}
