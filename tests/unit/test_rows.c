/* test_rows.c: keys and distances per metric, also where float sums overflow or vanish. */
#include "t.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>

#include "vector/kernel.h"
#include "vector/rows.h"

#define DIM 37
#define N   64

struct table {
	struct rows rows;
	float v[N][DIM];
	float q[DIM];
	_Atomic(const float *) at[N];
	float inv_norm[N];
};

static struct table t;

/* Components of the magnitudes 10^from to 10^to. */
static void fill(enum metric metric, double from, double to)
{
	memset(&t.rows, 0, sizeof(t.rows));
	t.rows = (struct rows){
		.dim = DIM, .metric = metric, .n = N, .cap = N, .at = t.at, .inv_norm = t.inv_norm
	};
	for (size_t i = 0; i < N; i++) {
		double m = pow(10, from + (to - from) * drand48());

		for (size_t j = 0; j < DIM; j++)
			t.v[i][j] = (float)((drand48() * 2 - 1) * m);
		atomic_store(&t.at[i], t.v[i]);
		t.inv_norm[i] = vector_inv_norm(t.v[i], DIM);
	}
	for (size_t j = 0; j < DIM; j++)
		t.q[j] = (float)((drand48() * 2 - 1) * pow(10, (from + to) / 2));
}

static double dot(const float *a, const float *b)
{
	double s = 0;

	for (size_t i = 0; i < DIM; i++)
		s += (double)a[i] * b[i];
	return s;
}

static double distance(enum metric m, const float *a, const float *b)
{
	double s = 0;

	if (m == METRIC_IP)
		return fmax(fmin(-dot(a, b), FLT_MAX), -FLT_MAX);
	if (m == METRIC_COSINE)
		return 1 - dot(a, b) / sqrt(dot(a, a)) / sqrt(dot(b, b));
	for (size_t i = 0; i < DIM; i++)
		s += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
	return sqrt(fmin(s, FLT_MAX));
}

static double tolerance(enum metric m, const float *a, const float *b)
{
	if (m == METRIC_COSINE)
		return 2e-6;
	if (m == METRIC_IP) /* sums of terms that cancel; and those that are denormal */
		return 2e-6 * fmin(sqrt(dot(a, a)) * sqrt(dot(b, b)), FLT_MAX) + DIM * FLT_TRUE_MIN;
	return 2e-6 * distance(m, a, b) + sqrt(DIM * FLT_TRUE_MIN);
}

static void check_all(enum metric m)
{
	struct probe p;

	probe_init(&p, &t.rows, t.q);
	for (uint32_t i = 0; i + 4 <= N; i += 4) {
		const uint32_t slots[4] = { i, i + 3, i + 1, i + 2 };
		float key4[4];

		rows_key4(&t.rows, &p, slots, key4);
		for (size_t j = 0; j < 4; j++) {
			const float *row = t.v[slots[j]];
			double want = distance(m, t.q, row), eps = tolerance(m, t.q, row);
			float key = rows_key(&t.rows, &p, slots[j]);
			double got = rows_distance(&t.rows, key),
			       got4 = rows_distance(&t.rows, key4[j]);

			if (!isfinite(key) || !isfinite(key4[j]) || !(fabs(got - want) <= eps) ||
			    !(fabs(got4 - want) <= eps))
				fail_msg("%s: key %g, distance %.9g and %.9g, expected %.9g",
				         metric_name(m), key, got, got4, want);
		}
	}
}

static void keys_agree_with_double(void **state)
{
	static const double ranges[][2] = { { -1, 1 },    { -6, 6 },    { 15, 25 },   { 30, 38.4 },
		                            { -20, -10 }, { -30, -20 }, { -44, -30 }, { -44, 38 } };

	srand48((long)t_seed());
	for (size_t r = 0; r < sizeof(ranges) / sizeof(ranges[0]); r++) {
		for (enum metric m = METRIC_COSINE; m <= METRIC_IP; m++) {
			fill(m, ranges[r][0], ranges[r][1]);
			check_all(m);
		}
	}
}

static void zero_vectors(void **state)
{
	struct probe p;

	fill(METRIC_COSINE, -1, 1);
	memset(t.v[3], 0, sizeof(t.v[3]));
	t.inv_norm[3] = vector_inv_norm(t.v[3], DIM);
	assert_true(t.inv_norm[3] == 0);
	probe_init(&p, &t.rows, t.q);
	assert_true(rows_key(&t.rows, &p, 3) == 1);
	probe_init(&p, &t.rows, t.v[3]);
	assert_true(rows_key(&t.rows, &p, 5) == 1);
	assert_true(vector_inv_norm(NULL, 0) == 0);
}

static void norms_of_extremes(void **state)
{
	float huge[4] = { FLT_MAX, FLT_MAX, FLT_MAX, FLT_MAX };
	float tiny[4] = { FLT_TRUE_MIN, 0, 0, 0 };
	float unit[4] = { 0, -1, 0, 0 };

	assert_true(vector_inv_norm(unit, 4) == 1);
	assert_true(fabs(vector_inv_norm(huge, 4) * 2.0 * FLT_MAX - 1) < 1e-3);
	assert_true(vector_inv_norm(tiny, 4) == FLT_MAX); /* 1/|v| is no float */
}

/* What is refused, and that whatever is not has distances that are floats. */
static void lengths_have_a_limit(void **state)
{
	static const float none[3] = { 0 }, tiny[3] = { 1e-45f }, longest[3] = { 0, 8.99e18f },
			   longer[3] = { -9e18f, 0, 1e18f },
			   most[3] = { FLT_MAX, FLT_MAX, FLT_MAX };
	struct err e = { 0 };
	float inv;

	(void)state;
	T_ERR(vector_check(none, 3, METRIC_COSINE, NULL, &e), EINVAL);
	assert_string_equal(e.text, "all numbers are 0, which has no direction for cosine");
	T_OK(vector_check(most, 3, METRIC_COSINE, &inv, &e));
	assert_true(inv > 0);
	for (int m = METRIC_L2; m <= METRIC_IP; m++) {
		T_OK(vector_check(none, 3, (enum metric)m, &inv, &e));
		assert_true(inv == 0);
		T_OK(vector_check(tiny, 3, (enum metric)m, NULL, &e));
		T_OK(vector_check(longest, 3, (enum metric)m, NULL, &e));
		T_ERR(vector_check(longer, 3, (enum metric)m, NULL, &e), EINVAL);
		T_ERR(vector_check(most, 3, (enum metric)m, NULL, &e), EINVAL);
	}
	assert_string_equal(e.text, "the vector is 5.89e+38 long, the limit for ip is 9e+18: "
	                            "distances would be no floats");
	assert_true(kernels_get()->l2sq(longest, (const float[3]){ 0, -8.99e18f }, 3) < FLT_MAX);
}

static void distances_are_what_users_see(void **state)
{
	struct rows r = { .metric = METRIC_COSINE };

	assert_true(rows_distance(&r, -1e-7f) == 0);
	assert_true(rows_distance(&r, 2.0000002f) == 2);
	assert_true(rows_distance(&r, 0.25f) == 0.25f);
	r.metric = METRIC_L2;
	assert_true(rows_distance(&r, 9) == 3);
	r.metric = METRIC_IP;
	assert_true(rows_distance(&r, -9) == -9);
}

static void metric_names(void **state)
{
	enum metric m = METRIC_IP;

	for (enum metric i = METRIC_COSINE; i <= METRIC_IP; i++) {
		assert_true(metric_parse(metric_name(i), strlen(metric_name(i)), &m));
		assert_int_equal(m, i);
	}
	assert_true(metric_parse("l2, and more", 2, &m));
	assert_int_equal(m, METRIC_L2);
	assert_false(metric_parse("l", 1, &m));
	assert_false(metric_parse("L2", 2, &m));
	assert_false(metric_parse("", 0, &m));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_agree_with_double),
		cmocka_unit_test(zero_vectors),
		cmocka_unit_test(norms_of_extremes),
		cmocka_unit_test(lengths_have_a_limit),
		cmocka_unit_test(distances_are_what_users_see),
		cmocka_unit_test(metric_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
