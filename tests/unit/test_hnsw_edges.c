/*
 * test_hnsw_edges.c: input that is no embedding: one dimension and the most there may be, piles of
 * equal vectors, zeros, lengths at both ends of a float, a common offset. Under every metric, with
 * codes, without, and while the graph is filled in bulk, answers are those of a scan. Nothing may
 * take for ever: an alarm ends the program.
 */
#include "hnsw_fixture.h"

#include <stdio.h>
#include <unistd.h>

#include "base/limits.h"

#define ALARM_S 100
#define K       10
#define EF      64

enum kind { FLOATS, CODES, BULK, N_KINDS };

static const char *const kinds[] = { "floats", "codes", "bulk" };

struct edge {
	struct fixture f;
	enum kind kind;
	uint32_t n;
	void (*fill)(struct edge *x, uint32_t slot, float *v);
};

static void edge_build(struct edge *x, size_t dim, enum metric metric)
{
	x->f = fx_new(t_seed(), x->n, dim, metric);
	x->f.quantization = x->kind == FLOATS ? HNSW_FLOAT : HNSW_4BIT;
	fx_start(&x->f, 16);
	if (x->kind == BULK)
		hnsw_bulk_begin(x->f.h);
	for (uint32_t slot = 0; slot < x->n; slot++) {
		x->fill(x, slot, fx_vector(&x->f, slot));
		fx_add(&x->f, slot);
	}
	fx_assert_sound(&x->f);
}

/* What sums of floats, in whatever order, may be off. */
static double rounding(const struct fixture *f, const struct probe *q, const struct hit *h)
{
	double inv = vector_inv_norm(q->v, f->rows.dim), other = f->rows.inv_norm[h->slot];

	if (f->rows.metric == METRIC_COSINE)
		return 1e-5;
	if (f->rows.metric == METRIC_L2)
		return 1e-5 * (double)h->key;
	return inv > 0 && other > 0 ? 1e-5 / inv / other : 0;
}

/* Of the k nearest, how many are found; each at its true distance, once, and in order. */
static size_t found(struct edge *x, const struct probe *q, size_t k, size_t ef)
{
	struct hit *truth = mem_alloc(k, sizeof(*truth)), *hits = mem_alloc(k, sizeof(*hits));
	uint8_t *seen = mem_zalloc(x->n, 1);
	size_t n_truth = flat_search(&x->f.rows, q, k, truth), n = 0;

	assert_int_equal(hnsw_search(x->f.h, q, k, ef, NULL, NULL, hits), n_truth);
	for (size_t i = 0; i < n_truth; i++) {
		struct hit own = { rows_key(&x->f.rows, q, hits[i].slot), hits[i].slot };
		double off = rounding(&x->f, q, &own);

		assert_false(seen[hits[i].slot]++);
		assert_true(fabs((double)hits[i].key - own.key) <= off);
		assert_true(i == 0 || hits[i].key >= hits[i - 1].key);
		n += hits[i].key <= truth[n_truth - 1].key + off;
	}
	mem_free(truth);
	mem_free(hits);
	mem_free(seen);
	return n;
}

/* Vectors of the collection and new ones like them ask; and once for all there is. */
static void assert_right(struct edge *x, double atleast)
{
	size_t n = 0, all = 0, k = x->n < K ? x->n : K;
	float *v = mem_alloc(x->f.rows.dim, sizeof(*v));
	struct probe q;

	for (uint32_t i = 0; i < 60; i++, all += k) {
		if (i % 2)
			x->fill(x, (uint32_t)(fx_random(&x->f) % x->n), v);
		else
			memcpy(v, fx_vector(&x->f, (uint32_t)(fx_random(&x->f) % x->n)),
			       x->f.rows.dim * sizeof(*v));
		probe_init(&q, &x->f.rows, v);
		n += found(x, &q, k, EF);
	}
	if ((double)n < atleast * (double)all)
		fail_msg("%s, %s: %zu of %zu found", metric_name(x->f.rows.metric), kinds[x->kind],
		         n, all);
	probe_init(&q, &x->f.rows, v);
	assert_int_equal(found(x, &q, x->n, x->n), x->n);
	mem_free(v);
}

/* Under every metric, of every kind; in bulk, while it lasts and after it. */
static void everywhere(uint32_t n, size_t dim, double atleast,
                       void (*fill)(struct edge *, uint32_t, float *))
{
	for (int metric = METRIC_COSINE; metric <= METRIC_IP; metric++) {
		for (int kind = FLOATS; kind < N_KINDS; kind++) {
			struct edge x = { .kind = (enum kind)kind, .n = n, .fill = fill };

			alarm(ALARM_S);
			edge_build(&x, dim, (enum metric)metric);
			assert_right(&x, atleast);
			hnsw_bulk_end(x.f.h);
			if (kind == BULK)
				assert_right(&x, atleast);
			fx_release(&x.f);
			alarm(0);
		}
	}
}

static void fill_clustered(struct edge *x, uint32_t slot, float *v)
{
	(void)slot;
	fx_fill_clustered(&x->f, v);
}

static void one_dimension(void **state)
{
	(void)state;
	everywhere(800, 1, 0.99, fill_clustered);
}

static void few_dimensions(void **state)
{
	(void)state;
	everywhere(400, 2, 0.99, fill_clustered);
	everywhere(400, 3, 0.99, fill_clustered);
}

static void most_dimensions(void **state)
{
	(void)state;
	everywhere(90, LIMIT_DIMENSION, 0.99, fill_clustered);
}

static void fill_equal(struct edge *x, uint32_t slot, float *v)
{
	(void)slot;
	for (size_t i = 0; i < x->f.rows.dim; i++)
		v[i] = (float)i - 3;
}

static void all_equal(void **state)
{
	(void)state;
	everywhere(2000, 7, 1, fill_equal);
}

static void fill_zero(struct edge *x, uint32_t slot, float *v)
{
	(void)slot;
	memset(v, 0, x->f.rows.dim * sizeof(*v));
}

static void all_zero(void **state)
{
	(void)state;
	everywhere(500, 70, 1, fill_zero);
}

/* Three piles of 400 and 800 others, mixed. */
static void fill_piles(struct edge *x, uint32_t slot, float *v)
{
	struct fixture pile = { .rng = slot % 5, .rows = { .dim = x->f.rows.dim } };

	fx_fill_clustered(slot % 5 < 3 ? &pile : &x->f, v);
}

static void piles(void **state)
{
	(void)state;
	everywhere(2000, 20, 0.9, fill_piles);
}

/* Every fifth is zero. */
static void fill_some_zero(struct edge *x, uint32_t slot, float *v)
{
	if (slot % 5 == 0)
		fill_zero(x, slot, v);
	else
		fx_fill_clustered(&x->f, v);
}

static void some_zero(void **state)
{
	(void)state;
	everywhere(500, 70, 0.93, fill_some_zero);
}

/* Lengths from where squares are denormals to where they are nearly no floats. */
static void fill_any_length(struct edge *x, uint32_t slot, float *v)
{
	float length = powf(10, (float)(slot % 5) * 9 - 18);

	fx_fill_clustered(&x->f, v);
	for (size_t i = 0; i < x->f.rows.dim; i++)
		v[i] *= length;
}

static void any_length(void **state)
{
	(void)state;
	everywhere(500, 70, 0.95, fill_any_length);
}

/* All of them denormals: their squares are 0, so under l2 and ip all are equally far. */
static void fill_denormal(struct edge *x, uint32_t slot, float *v)
{
	(void)slot;
	fx_fill_clustered(&x->f, v);
	for (size_t i = 0; i < x->f.rows.dim; i++)
		v[i] *= 1e-41f;
}

static void denormals(void **state)
{
	(void)state;
	everywhere(500, 70, 0.95, fill_denormal);
}

/* One component that is larger than all others together, in some. */
static void fill_huge(struct edge *x, uint32_t slot, float *v)
{
	static const float huge[] = { 1e10f, -1e17f, 1e30f, 3e38f };

	fx_fill_clustered(&x->f, v);
	if (slot % 3 == 0)
		v[slot % x->f.rows.dim] = huge[slot / 3 % 4];
}

static void one_huge_component(void **state)
{
	(void)state;
	everywhere(500, 70, 0.92, fill_huge);
}

/*
 * In one component alone, so all but those in the same one are equally far, and nothing leads a walk
 * to these: with codes some queries miss them. What is found is right in any case.
 */
static void fill_axis(struct edge *x, uint32_t slot, float *v)
{
	fill_zero(x, slot, v);
	v[slot % x->f.rows.dim] = slot % 2 ? 1 : -2;
}

static void axes(void **state)
{
	(void)state;
	everywhere(1000, 70, 0.5, fill_axis);
}

/* The same far way from the origin for all. Codes are made for what lies around it. */
static void fill_far(struct edge *x, uint32_t slot, float *v)
{
	(void)slot;
	fx_fill_clustered(&x->f, v);
	for (size_t i = 0; i < x->f.rows.dim; i++)
		v[i] += 10000;
}

static void far_from_the_origin(void **state)
{
	struct edge x = { .kind = FLOATS, .n = 2000, .fill = fill_far };

	(void)state;
	alarm(ALARM_S);
	edge_build(&x, 32, METRIC_L2);
	assert_right(&x, 0.98);
	fx_release(&x.f);
	alarm(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_dimension),
		cmocka_unit_test(few_dimensions),
		cmocka_unit_test(most_dimensions),
		cmocka_unit_test(all_equal),
		cmocka_unit_test(all_zero),
		cmocka_unit_test(piles),
		cmocka_unit_test(some_zero),
		cmocka_unit_test(any_length),
		cmocka_unit_test(denormals),
		cmocka_unit_test(one_huge_component),
		cmocka_unit_test(axes),
		cmocka_unit_test(far_from_the_origin),
	};

	return FX_ONLY_THREADS ? fx_no_threads() : cmocka_run_group_tests(tests, NULL, NULL);
}
