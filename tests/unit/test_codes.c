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

/* Equal to the bit, at any number of slots, with norms and without. */
static void keys_agree(const struct code_kernels *k, size_t n_blocks, bool extreme)
{
	static _Alignas(64) uint8_t codes[N_ROWS * WIDTH_MAX / 2];
	static _Alignas(64) int8_t fine[N_ROWS * WIDTH_MAX], q[WIDTH_MAX];
	float norms[N_ROWS], got[N_ROWS + CODE_KEYS_AT_ONCE], want[N_ROWS + CODE_KEYS_AT_ONCE];
	struct code_scan scan = { q, codes, norms, n_blocks, 0.5f, 1, -0.25f, 15 };
	uint32_t slots[N_ROWS];
	size_t width = n_blocks * CODE_BLOCK_DIMS;

	for (size_t i = 0; i < width; i++)
		q[i] = (int8_t)(extreme ? -127 : (int)(drand48() * 255) - 127);
	for (size_t i = 0; i < N_ROWS * width / 2; i++)
		codes[i] = (uint8_t)(extreme ? 255 - i % 2 : drand48() * 256);
	for (size_t i = 0; i < N_ROWS * width; i++)
		fine[i] = (int8_t)(extreme ? 127 - 254 * (int)(i % 2)
		                           : (int)(drand48() * 255) - 127);
	for (uint32_t i = 0; i < N_ROWS; i++) {
		slots[i] = i * 4 % N_ROWS;
		norms[i] = (float)drand48();
	}
	for (uint32_t n = 0; n <= N_ROWS; n++) {
		scan.norms = n % 3 ? norms : NULL;
		scan.codes = codes;
		k->keys(&scan, slots, n, got);
		codes_scalar.keys(&scan, slots, n, want);
		assert_memory_equal(got, want, n * sizeof(*got));
		scan.codes = fine;
		k->fine_keys(&scan, slots, n, got);
		codes_scalar.fine_keys(&scan, slots, n, want);
		assert_memory_equal(got, want, n * sizeof(*got));
	}
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
			keys_agree(k, 1 + i % 3, i < 3);
	}
	assert_true(n_sets >= 1);
}

struct coded {
	struct coder *c;
	struct rows rows;
	float *v; /* N_ROWS * dim */
	uint8_t *codes;
	int8_t *fine;
	float norms[N_ROWS];
	struct code_query q;
	_Atomic(const float *) at[N_ROWS];
	_Atomic uint8_t states[N_ROWS];
	float inv_norms[N_ROWS];
};

static struct code_at code_of(struct coded *f, size_t i)
{
	return (struct code_at){ f->codes + i * coder_bytes(f->c),
		                 coder_has_norms(f->c) ? &f->norms[i] : NULL,
		                 f->fine + i * coder_fine_bytes(f->c) };
}

static const float *norms_of(const struct coded *f)
{
	return coder_has_norms(f->c) ? f->norms : NULL;
}

static void encode_all(struct coded *f)
{
	for (size_t i = 0; i < N_ROWS; i++) {
		const float *v = f->v + i * f->rows.dim;
		struct code_at at = code_of(f, i);

		f->at[i] = v;
		f->inv_norms[i] = vector_inv_norm(v, f->rows.dim);
		coder_encode(f->c, v, f->q.room, false, &at);
	}
}

/* A query of the same vector has turned it already. */
static void turned_or_not_is_the_same(struct coded *f)
{
	struct code_at at = code_of(f, 1);
	float *v = f->v + f->rows.dim;
	struct probe p;

	probe_init(&p, &f->rows, v);
	assert_true(code_query_set(&f->q, f->c, &p));
	coder_encode(f->c, v, f->q.room, true, &at);
	assert_true(coder_fits(f->c, v, f->q.room, &at));
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
	f->fine = mem_alloc_aligned(64, N_ROWS, coder_fine_bytes(f->c));
	T_OK(code_query_init(&f->q, coder_width(f->c), &e));
}

static void coded_release(struct coded *f)
{
	code_query_release(&f->q);
	mem_free(f->codes);
	mem_free(f->fine);
	mem_free(f->v);
	coder_free(f->c);
}

/*
 * How far estimates may be off: a nibble is some 0.11 of a deviation off, and what is off is
 * spread over width directions of which the query is one. Eight times that never happens, also with few dimensions.
 */
static double tolerance(const struct coded *f, double norms)
{
	double error = 8 * 0.12 / sqrt((double)coder_width(f->c)) * norms;

	return f->rows.metric == METRIC_L2 ? 2 * error : error;
}

static void keys_are_near(struct coded *f)
{
	float keys[N_ROWS + CODE_KEYS_AT_ONCE];
	uint32_t slots[N_ROWS];
	struct probe p;

	for (uint32_t i = 0; i < N_ROWS; i++)
		slots[i] = N_ROWS - 1 - i;
	probe_init(&p, &f->rows, f->v);
	assert_true(code_query_set(&f->q, f->c, &p));
	coder_keys(f->c, &f->q, f->codes, norms_of(f), slots, N_ROWS, keys);
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

/* A byte of 24 to a deviation is 0.012 off, a tenth of what a nibble is; and to itself it is nothing. */
static void fine_keys_are_nearer(struct coded *f)
{
	float keys[N_ROWS + CODE_KEYS_AT_ONCE];
	uint32_t slots[N_ROWS];
	struct probe p;

	for (uint32_t i = 0; i < N_ROWS; i++)
		slots[i] = i;
	for (uint32_t from = 0; from < N_ROWS; from += N_ROWS - 1) {
		probe_init(&p, &f->rows, f->v + from * f->rows.dim);
		coder_fine_keys(f->c, f->fine, norms_of(f), from, slots, N_ROWS, keys);
		for (uint32_t i = 0; i < N_ROWS; i++) {
			double norms = f->rows.metric == METRIC_COSINE
			                       ? 1
			                       : 1 / ((double)f->inv_norms[from] * f->inv_norms[i]);
			float want = rows_key(&f->rows, &p, i);

			if (!(fabs(keys[i] - want) <= tolerance(f, norms) / 6))
				fail_msg("dim %zu metric %s %u to %u: %g, expected %g +- %g",
				         f->rows.dim, metric_name(f->rows.metric), from, i, keys[i],
				         want, tolerance(f, norms) / 6);
		}
	}
}

/* The deviation that searches rely on to know which rows they need not look at. */
static void errors_are_as_told(void **state)
{
	static const size_t dims[] = { 100, 256, 768 };
	float keys[N_ROWS + CODE_KEYS_AT_ONCE];
	uint32_t slots[N_ROWS];
	struct coded f;
	struct probe p;

	srand48((long)t_seed());
	for (uint32_t i = 0; i < N_ROWS; i++)
		slots[i] = i;
	for (int metric = METRIC_COSINE; metric <= METRIC_IP; metric++) {
		for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++) {
			double sum = 0, n = 0;

			for (size_t round = 0; round < 30; round++) {
				coded_start(&f, dims[d], (enum metric)metric);
				for (size_t i = 0; i < N_ROWS * dims[d]; i++)
					f.v[i] = normal() * (float)(1 + i / dims[d]);
				encode_all(&f);
				probe_init(&p, &f.rows, f.v);
				assert_true(code_query_set(&f.q, f.c, &p));
				coder_keys(f.c, &f.q, f.codes, norms_of(&f), slots, N_ROWS, keys);
				for (uint32_t i = 1; i < N_ROWS; i++, n++) {
					float norm = norms_of(&f) ? f.norms[i] : 1;
					float off = keys[i] - rows_key(&f.rows, &p, i);

					sum += pow(off / code_error(&f.q, norm), 2);
				}
				coded_release(&f);
			}
			if (!(sum / n > 0.5 && sum / n < 2))
				fail_msg("dim %zu metric %s: %g of the variance expected", dims[d],
				         metric_name((enum metric)metric), sum / n);
		}
	}
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
			fine_keys_are_nearer(&f);
			turned_or_not_is_the_same(&f);
			for (size_t i = 0; i < N_ROWS; i++) {
				struct code_at at = code_of(&f, i);

				assert_true(coder_fits(f.c, f.v + i * dim, f.q.room, &at));
			}
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

/*
 * Zero is as far as its metric says; what a float cannot compute with is left to the rows, but under
 * cosine, where only the direction counts, has a code like any other.
 */
static void extremes(void **state)
{
	static const float values[] = { 0, 1e-30f, 1e30f, 3e38f };
	const uint32_t slots[2] = { 0, 1 };
	struct coded f;
	struct probe p;
	float keys[CODE_KEYS_AT_ONCE];

	for (int metric = METRIC_COSINE; metric <= METRIC_IP; metric++) {
		for (size_t i = 0; i < 4; i++) {
			coded_start(&f, 5, (enum metric)metric);
			f.v[2] = 2;
			f.v[5 + 2] = values[i];
			encode_all(&f);
			probe_init(&p, &f.rows, f.v);
			assert_true(code_query_set(&f.q, f.c, &p));
			coder_keys(f.c, &f.q, f.codes, norms_of(&f), slots, 2, keys);
			if (i == 0 || metric == METRIC_COSINE)
				assert_float_equal(keys[1], rows_key(&f.rows, &p, 1),
				                   i ? 0.03 : 0.2);
			else
				assert_false(isfinite(keys[1]));
			probe_init(&p, &f.rows, f.v + 5);
			assert_false(code_query_set(&f.q, f.c, &p));
			coded_release(&f);
		}
	}
}

/* A code of another vector, and a changed norm, are found out. */
static void strangers_do_not_fit(void **state)
{
	struct code_at at;
	struct coded f;
	float norm;

	coded_start(&f, 100, METRIC_L2);
	for (size_t i = 0; i < N_ROWS * 100; i++)
		f.v[i] = normal();
	encode_all(&f);
	at = code_of(&f, 1);
	assert_false(coder_fits(f.c, f.v, f.q.room, &at));
	at = code_of(&f, 0);
	norm = *at.norm;
	*at.norm = norm * 1.01f;
	assert_false(coder_fits(f.c, f.v, f.q.room, &at));
	*at.norm = NAN;
	assert_false(coder_fits(f.c, f.v, f.q.room, &at));
	*at.norm = norm;
	assert_true(coder_fits(f.c, f.v, f.q.room, &at));
	coded_release(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_set_agrees),
		cmocka_unit_test(estimates_at_every_dimension),
		cmocka_unit_test(errors_are_as_told),
		cmocka_unit_test(rotation_is_orthogonal),
		cmocka_unit_test(extremes),
		cmocka_unit_test(strangers_do_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
