/*
 * test_codes.c: rotation, packing and estimated keys; every instruction set of this machine
 * against the scalar one.
 */
#include "t.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "vector/codes.h"
#include "vector/codes_sets.h"

/* SIMDe emulates NEON elsewhere, so its kernels are tested on every machine. */
#if !defined(__aarch64__)
#include "src/vector/codes_neon.c"
#endif

#define DIM_MAX   300
#define N_ROWS    9
#define WIDTH_MAX 384

static const char *const names[] = { "avx2", "avx512", "neon" };

static const struct code_kernels *set_named(const char *name)
{
#if !defined(__aarch64__)
	if (strcmp(name, "neon") == 0)
		return &codes_neon;
#endif
	return code_kernels_by_name(name);
}

static float normal(void)
{
	return (float)(sqrt(-2 * log(1 - drand48())) * cos(6.283185307179586 * drand48()));
}

static void mix_agrees(const struct code_kernels *k, size_t n)
{
	static float a[2048], b[2048], signs[2048];

	for (size_t i = 0; i < n; i++) {
		a[i] = b[i] = normal();
		signs[i] = drand48() < 0.5 ? -0.1f : 0.1f;
	}
	codes_scalar.mix(a, signs, n);
	k->mix(b, signs, n);
	if (memcmp(a, b, n * sizeof(*a)) != 0)
		fail_msg("%s mixes %zu differently", k->name, n);
}

/* Ties are rounded alike, so what is stored is equal, too. */
static void round8_agrees(const struct code_kernels *k, size_t n, float size)
{
	int8_t a[WIDTH_MAX + 1], b[WIDTH_MAX + 1];
	int32_t sum_a, sum_b;
	float v[WIDTH_MAX];

	for (size_t i = 0; i < n; i++)
		v[i] = i % 7 ? normal() * size : size / 2;
	a[n] = b[n] = 99;
	assert_float_equal(codes_scalar.round8(v, n, a, &sum_a), k->round8(v, n, b, &sum_b),
	                   size * 1e-6f);
	assert_memory_equal(a, b, n + 1);
	assert_int_equal(sum_a, sum_b);
}

static void dots_agree(const struct code_kernels *k, size_t n_blocks, bool extreme)
{
	uint8_t code[4][WIDTH_MAX / 2];
	int8_t q[WIDTH_MAX];
	const uint8_t *const four[4] = { code[0], code[1], code[2], code[3] };
	int32_t got[5] = { 0, 0, 0, 0, 77 }, want[4];

	for (size_t i = 0; i < n_blocks * CODE_BLOCK_DIMS; i++)
		q[i] = (int8_t)(extreme ? -127 : (int)(drand48() * 255) - 127);
	for (size_t i = 0; i < n_blocks * CODE_BLOCK_BYTES; i++) {
		for (size_t j = 0; j < 4; j++)
			code[j][i] = (uint8_t)(extreme ? 255 - j : drand48() * 256);
	}
	k->dot4(q, four, n_blocks, got);
	codes_scalar.dot4(q, four, n_blocks, want);
	for (size_t j = 0; j < 4; j++) {
		if (got[j] != want[j])
			fail_msg("%s %zu blocks: %d, expected %d", k->name, n_blocks, got[j],
			         want[j]);
	}
	assert_int_equal(got[4], 77);
}

static void every_set_agrees(void **state)
{
	size_t n_sets = 0;

	srand48((long)t_seed());
	for (size_t s = 0; s < sizeof(names) / sizeof(names[0]); s++) {
		const struct code_kernels *k = set_named(names[s]);

		if (!k)
			continue;
		n_sets++;
		assert_string_equal(k->name, names[s]);
		for (size_t n = 64; n <= 2048; n *= 2)
			mix_agrees(k, n);
		for (size_t n = 64; n <= WIDTH_MAX; n += 64) {
			round8_agrees(k, n, 1);
			round8_agrees(k, n, 1e-7f);
			round8_agrees(k, n, 0);
		}
		for (size_t i = 0; i < 60; i++)
			dots_agree(k, 1 + i % 3, i < 3);
	}
	assert_true(n_sets >= 1);
}

struct coded {
	struct coder *c;
	struct rows rows;
	float *v; /* N_ROWS * dim */
	uint8_t *codes;
	struct code_tail tails[N_ROWS];
	struct code_query q;
	_Atomic(const float *) at[N_ROWS];
	_Atomic uint8_t states[N_ROWS];
	float inv_norms[N_ROWS];
};

static void encode_all(struct coded *f)
{
	for (size_t i = 0; i < N_ROWS; i++) {
		const float *v = f->v + i * f->rows.dim;

		f->at[i] = v;
		f->inv_norms[i] = vector_inv_norm(v, f->rows.dim);
		coder_encode(f->c, v, f->q.room, f->codes + i * coder_bytes(f->c), &f->tails[i]);
	}
}

static void coded_start(struct coded *f, size_t dim, enum metric metric)
{
	struct err e = { 0 };

	f->c = coder_new(dim, metric, &e);
	assert_non_null(f->c);
	f->rows = (struct rows){ .dim = dim,
		                 .metric = metric,
		                 .n = N_ROWS,
		                 .cap = N_ROWS,
		                 .at = f->at,
		                 .state = f->states,
		                 .inv_norm = f->inv_norms };
	f->v = mem_zalloc(N_ROWS * dim, sizeof(float));
	f->codes = mem_alloc_aligned(64, N_ROWS, coder_bytes(f->c));
	T_OK(code_query_init(&f->q, coder_width(f->c), &e));
}

static void coded_release(struct coded *f)
{
	code_query_release(&f->q);
	mem_free(f->codes);
	mem_free(f->v);
	coder_free(f->c);
}

/*
 * How far estimates may be off: a nibble is some 0.11 of a deviation off, and what is off is
 * spread over width directions of which the query is one. Five times that never happens.
 */
static double tolerance(const struct coded *f, double norms)
{
	double error = 5 * 0.12 / sqrt((double)coder_width(f->c)) * norms;

	return f->rows.metric == METRIC_L2 ? 2 * error : error;
}

static void keys_are_near(struct coded *f)
{
	uint32_t slots[N_ROWS];
	float keys[N_ROWS];
	struct probe p;

	for (uint32_t i = 0; i < N_ROWS; i++)
		slots[i] = N_ROWS - 1 - i;
	probe_init(&p, &f->rows, f->v);
	assert_true(code_query_set(&f->q, f->c, &p));
	coder_keys(f->c, &f->q, f->codes, f->tails, slots, N_ROWS, keys);
	for (uint32_t i = 0; i < N_ROWS; i++) {
		double norms = f->rows.metric == METRIC_COSINE
		                       ? 1
		                       : 1 / ((double)f->inv_norms[0] * f->inv_norms[slots[i]]);
		float want = rows_key(&f->rows, &p, slots[i]);

		if (!(fabs(keys[i] - want) <= tolerance(f, norms)))
			fail_msg("dim %zu metric %s row %u: %g, expected %g +- %g", f->rows.dim,
			         metric_name(f->rows.metric), slots[i], keys[i], want,
			         tolerance(f, norms));
	}
	if (!(fabs(keys[N_ROWS - 1] - rows_key(&f->rows, &p, 0)) <=
	      tolerance(f, pow(f->rows.metric == METRIC_COSINE ? 1 : f->inv_norms[0], -2)) / 3))
		fail_msg("dim %zu: %g to itself", f->rows.dim, keys[N_ROWS - 1]);
}

static void estimates_at_every_dimension(void **state)
{
	struct coded f;

	srand48((long)t_seed());
	for (size_t dim = 1; dim <= DIM_MAX; dim++) {
		for (int metric = METRIC_COSINE; metric <= METRIC_IP; metric++) {
			coded_start(&f, dim, (enum metric)metric);
			for (size_t i = 0; i < N_ROWS * dim; i++)
				f.v[i] = normal() * (float)(1 + i / dim) +
				         (float)(i % dim % 5 == 0) * 3;
			encode_all(&f);
			keys_are_near(&f);
			for (size_t i = 0; i < N_ROWS; i++)
				assert_true(coder_fits(f.c, f.v + i * dim, f.q.room,
				                       f.codes + i * coder_bytes(f.c),
				                       &f.tails[i]));
			coded_release(&f);
		}
	}
}

/*
 * What a rotation keeps is seen in the query: unit vectors stay of length one and at right
 * angles to each other. The 8 bits of the query are the tolerance.
 */
static void rotation_is_orthogonal(void **state)
{
	static const size_t dims[] = { 128, 200, 256, 300, 768 };
	struct err e = { 0 };

	for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++) {
		struct coder *c = coder_new(dims[d], METRIC_IP, &e);
		float *v = mem_zalloc(dims[d], sizeof(*v)), *turned[4];
		struct rows rows = { .dim = dims[d], .metric = METRIC_IP };
		struct code_query q;
		struct probe p;

		T_OK(code_query_init(&q, coder_width(c), &e));
		for (size_t i = 0; i < 4; i++) {
			v[i * (dims[d] / 4)] = 1;
			probe_init(&p, &rows, v);
			assert_true(code_query_set(&q, c, &p));
			turned[i] = (float *)(void *)mem_dup((char *)q.room,
			                                     coder_width(c) * sizeof(float));
			v[i * (dims[d] / 4)] = 0;
		}
		for (size_t i = 0; i < 16; i++) {
			double dot = 0, largest = 0;

			for (size_t j = 0; j < coder_width(c); j++) {
				dot += (double)turned[i / 4][j] * turned[i % 4][j];
				largest = fmax(largest, fabs(turned[i / 4][j]));
			}
			assert_true(fabs(dot - (i / 4 == i % 4)) < 1e-5);
			assert_true(largest < 6 / sqrt((double)coder_width(c)));
		}
		for (size_t i = 0; i < 4; i++)
			mem_free(turned[i]);
		code_query_release(&q);
		mem_free(v);
		coder_free(c);
	}
}

/* Zero is coded exactly; what a float cannot compute with is left to the rows. */
static void extremes(void **state)
{
	static const float values[] = { 0, 1e-30f, 1e30f, 3e38f };
	const uint32_t slots[2] = { 0, 1 };
	struct coded f;
	struct probe p;
	float keys[2];

	for (int metric = METRIC_COSINE; metric <= METRIC_IP; metric++) {
		for (size_t i = 0; i < 4; i++) {
			coded_start(&f, 5, (enum metric)metric);
			f.v[2] = 2;
			f.v[5 + 2] = values[i];
			encode_all(&f);
			probe_init(&p, &f.rows, f.v);
			assert_true(code_query_set(&f.q, f.c, &p));
			coder_keys(f.c, &f.q, f.codes, f.tails, slots, 2, keys);
			if (i == 0)
				assert_float_equal(keys[1], rows_key(&f.rows, &p, 1), 1e-5);
			else
				assert_false(isfinite(keys[1]));
			probe_init(&p, &f.rows, f.v + 5);
			assert_false(code_query_set(&f.q, f.c, &p));
			coded_release(&f);
		}
	}
}

/* A code of another vector, and a changed tail, are found out. */
static void strangers_do_not_fit(void **state)
{
	struct code_tail tail;
	struct coded f;

	coded_start(&f, 100, METRIC_L2);
	for (size_t i = 0; i < N_ROWS * 100; i++)
		f.v[i] = normal();
	encode_all(&f);
	assert_false(coder_fits(f.c, f.v, f.q.room, f.codes + coder_bytes(f.c), &f.tails[0]));
	tail = f.tails[0];
	tail.factor *= 1.01f;
	assert_false(coder_fits(f.c, f.v, f.q.room, f.codes, &tail));
	tail = f.tails[0];
	tail.add = NAN;
	assert_false(coder_fits(f.c, f.v, f.q.room, f.codes, &tail));
	assert_true(coder_fits(f.c, f.v, f.q.room, f.codes, &f.tails[0]));
	coded_release(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_set_agrees),
		cmocka_unit_test(estimates_at_every_dimension),
		cmocka_unit_test(rotation_is_orthogonal),
		cmocka_unit_test(extremes),
		cmocka_unit_test(strangers_do_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
