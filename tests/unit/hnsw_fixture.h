/*
 * hnsw_fixture.h: a table of rows with vectors to put into it, a graph over it, and the answers
 * of flat to compare with.
 */
#ifndef RV_TESTS_HNSW_FIXTURE_H
#define RV_TESTS_HNSW_FIXTURE_H

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "index/flat.h"
#include "index/hnsw.h"
#include "t.h"

/*
 * The thread sanitizer is fifty times slower and finds nothing where there is one thread: it
 * runs only the tests with more.
 */
#ifdef __SANITIZE_THREAD__
#define FX_ONLY_THREADS 1
#else
#define FX_ONLY_THREADS 0
#endif

/* Says so to run.sh, for which a program without a test has failed. */
static inline int fx_no_threads(void)
{
	puts("no test with threads");
	return 0;
}

struct fixture {
	struct rows rows;
	float *v;       /* rows.cap * dim */
	struct hnsw *h;
	uint64_t rng;
	enum hnsw_quantization quantization; /* of graphs that are made */
};

static inline uint64_t fx_random(struct fixture *f)
{
	uint64_t x = f->rng += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static inline double fx_uniform(struct fixture *f)
{
	return (double)(fx_random(f) >> 11) * 0x1p-53;
}

static inline float fx_normal(struct fixture *f)
{
	return (float)(sqrt(-2 * log(1 - fx_uniform(f))) * cos(6.283185307179586 * fx_uniform(f)));
}

static inline struct hnsw *fx_new_graph(const struct fixture *f, unsigned m)
{
	struct hnsw_params params = { .m = m, .ef_construction = 100, .seed = 7,
	                              .quantization = f->quantization };
	struct err e = { 0 };
	struct hnsw *h = hnsw_new(&f->rows, &params, &e);

	if (!h)
		fail_msg("%s", e.text);
	return h;
}

static inline struct fixture fx_new(uint64_t seed, uint32_t cap, size_t dim, enum metric metric)
{
	struct fixture f = { .rng = seed };

	f.rows = (struct rows){ .dim = dim, .metric = metric, .cap = cap };
	f.rows.at = mem_zalloc(cap, sizeof(*f.rows.at));
	f.rows.state = mem_zalloc(cap, sizeof(*f.rows.state));
	f.rows.inv_norm = mem_zalloc(cap, sizeof(*f.rows.inv_norm));
	f.v = mem_zalloc(cap * dim, sizeof(*f.v));
	return f;
}

/* The graph points to the rows, so it is made when the fixture has its place. */
static inline void fx_start(struct fixture *f, unsigned m)
{
	f->h = fx_new_graph(f, m);
	T_OK(hnsw_reserve(f->h, f->rows.cap, NULL));
}

static inline void fx_release(struct fixture *f)
{
	hnsw_free(f->h);
	mem_free(f->rows.at);
	mem_free(f->rows.state);
	mem_free(f->rows.inv_norm);
	mem_free(f->v);
}

static inline float *fx_vector(struct fixture *f, uint32_t slot)
{
	return f->v + slot * f->rows.dim;
}

/* Declares that the vector of slot is filled in. */
static inline void fx_set(struct fixture *f, uint32_t slot, enum row_state state)
{
	float *v = fx_vector(f, slot);

	f->rows.inv_norm[slot] = vector_inv_norm(v, f->rows.dim);
	atomic_store(&f->rows.at[slot], v);
	atomic_store(&f->rows.state[slot], state);
	if (slot >= f->rows.n)
		f->rows.n = slot + 1;
}

/* A point of one of 50 clusters that lie on a few of the dimensions, as embeddings do. */
static inline void fx_fill_clustered(struct fixture *f, float *v)
{
	struct fixture cluster = { .rng = fx_random(f) % 50 };
	float latent[8];

	for (size_t i = 0; i < 8; i++)
		latent[i] = fx_normal(f) * 0.3f;
	for (size_t i = 0; i < f->rows.dim; i++)
		v[i] = fx_normal(&cluster) + latent[i % 8] * (1 + (float)(i % 3)) +
		       fx_normal(f) * 0.05f;
}

static inline void fx_add(struct fixture *f, uint32_t slot)
{
	fx_set(f, slot, ROW_LIVE);
	T_OK(hnsw_insert(f->h, slot, NULL));
}

static inline void fx_add_clustered(struct fixture *f, uint32_t begin, uint32_t end)
{
	for (uint32_t slot = begin; slot < end; slot++) {
		fx_fill_clustered(f, fx_vector(f, slot));
		fx_add(f, slot);
	}
}

static inline void fx_kill(struct fixture *f, uint32_t slot)
{
	atomic_store(&f->rows.state[slot], ROW_DEAD);
}

static inline void fx_assert_sound(const struct fixture *f)
{
	struct hnsw_report r;

	T_OK(hnsw_check(f->h, &r, NULL));
	if (r.unreachable || r.broken_links || r.bad_levels)
		fail_msg("%u of %u live unreachable, %u broken links, %u bad levels", r.unreachable,
			 r.live, r.broken_links, r.bad_levels);
}

/*
 * Share of the true k nearest (or as near ones) among what the graph finds, over n queries like
 * the data.
 */
static inline double fx_recall(struct fixture *f, size_t n, size_t k, size_t ef)
{
	struct hit *truth = mem_alloc(k, sizeof(*truth)), *found = mem_alloc(k, sizeof(*found));
	float *v = mem_alloc(f->rows.dim, sizeof(*v));
	size_t hits = 0, all = 0;
	struct probe q;

	for (size_t i = 0; i < n; i++) {
		fx_fill_clustered(f, v);
		probe_init(&q, &f->rows, v);
		size_t n_truth = flat_search(&f->rows, &q, k, truth);
		int n_found = hnsw_search(f->h, &q, k, ef, NULL, NULL, found);

		T_OK(n_found);
		for (int j = 0; j < n_found; j++) {
			assert_int_equal(rows_state(&f->rows, found[j].slot), ROW_LIVE);
			hits += found[j].key <= truth[n_truth - 1].key + 1e-6f;
		}
		all += n_truth;
	}
	mem_free(truth);
	mem_free(found);
	mem_free(v);
	return (double)hits / (double)all;
}

#define assert_recall(f, atleast)                                                                  \
	do {                                                                                       \
		double recall_ = fx_recall(f, 100, 10, 64);                                        \
		if (recall_ < (atleast))                                                           \
			fail_msg("recall %.4f, expected %.4f", recall_, (double)(atleast));        \
	} while (0)

#endif
