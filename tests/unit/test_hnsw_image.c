/* test_hnsw_image.c: the graph to a file and back, and files that are not what they should be. */
#include "hnsw_fixture.h"

#include <stdio.h>
#include <unistd.h>

#include "base/mapped.h"

#define N   500
#define DIM 4

static const char tags[][5] = { "HNSH", "HNSL", "HNSP", "HNS0", "HNSU", "HNSC", "HNST" };
#define N_TAGS       (sizeof(tags) / sizeof(tags[0]))
#define N_FLOAT_TAGS 5 /* of a graph without codes */

static uint32_t tag_of(size_t i)
{
	return SECTION_TAG(tags[i][0], tags[i][1], tags[i][2], tags[i][3]);
}

static char dir[] = "/tmp/ruvectorfs-image-XXXXXX", path[64];

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/graph", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

static void make_graph(struct fixture *f)
{
	fx_start(f, 4);
	fx_add_clustered(f, 0, N);
}

static void save(const struct hnsw *h)
{
	struct sections_writer *w;

	T_OK(sections_create(path, &w, NULL));
	T_OK(hnsw_save(h, w, NULL));
	T_OK(sections_commit(w, NULL));
}

/* Into a new graph, which is returned unless loading fails with the code in *ret_rc. */
static struct hnsw *load(const struct fixture *f, unsigned m, int *ret_rc)
{
	struct hnsw *h = fx_new_graph(f, m);
	struct sections_reader *r;
	struct err e = { 0 };

	T_OK(sections_open(path, &r, NULL));
	*ret_rc = hnsw_load(h, r, &e);
	sections_close(r);
	if (*ret_rc == 0)
		return h;
	assert_int_equal(e.code, *ret_rc);
	assert_int_not_equal(e.text[0], 0);
	hnsw_free(h);
	return NULL;
}

static void assert_same_answers(struct fixture *f, const struct hnsw *a, const struct hnsw *b)
{
	struct hit x[10], y[10];
	struct probe q;

	for (uint32_t slot = 0; slot < f->rows.n; slot++) {
		probe_init(&q, &f->rows, fx_vector(f, slot));
		int n = hnsw_search(a, &q, 10, 10, NULL, NULL, x);

		assert_int_equal(hnsw_search(b, &q, 10, 10, NULL, NULL, y), n);
		for (int i = 0; i < n; i++)
			assert_int_equal(x[i].slot, y[i].slot);
	}
}

static void comes_back(void **state)
{
	struct fixture f = fx_new(t_seed(), 2 * N, DIM, METRIC_L2);
	struct hnsw *saved;
	int rc;

	(void)state;
	make_graph(&f);
	for (uint32_t slot = 0; slot < N; slot += 7)
		fx_kill(&f, slot);
	save(f.h);
	saved = f.h;
	f.h = load(&f, 4, &rc);
	T_OK(rc);
	assert_int_equal(hnsw_count(f.h), N);
	fx_assert_sound(&f);
	assert_same_answers(&f, saved, f.h);
	hnsw_free(saved);

	/* and goes on: dead rows are removed, new ones come, it is saved again */
	hnsw_remove(f.h, NULL, NULL);
	fx_assert_sound(&f);
	T_OK(hnsw_reserve(f.h, 2 * N, NULL));
	fx_add_clustered(&f, N, 2 * N);
	fx_assert_sound(&f);
	save(f.h);
	hnsw_free(f.h);
	f.h = load(&f, 4, &rc);
	T_OK(rc);
	fx_assert_sound(&f);
	fx_release(&f);
}

#define MANY 6000 /* nodes whose tables are worth mapping */

static void kill_some(struct fixture *f, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		fx_kill(f, (uint32_t)(fx_random(f) % f->rows.n));
}

/* Dead ones out, their slots used again, more room, more nodes. */
static void churn(struct fixture *f, uint32_t n_slots)
{
	kill_some(f, MANY / 4);
	T_OK(hnsw_repair(f->h, 0, f->rows.n, NULL));
	fx_assert_sound(f);
	hnsw_remove(f->h, NULL, NULL);
	fx_assert_sound(f);
	for (uint32_t slot = 0; slot < f->rows.n; slot++) {
		if (rows_state(&f->rows, slot) != ROW_DEAD)
			continue;
		fx_fill_clustered(f, fx_vector(f, slot));
		fx_add(f, slot);
	}
	T_OK(hnsw_reserve(f->h, n_slots, NULL));
	fx_add_clustered(f, f->rows.n, n_slots);
	fx_assert_sound(f);
}

/*
 * A graph whose tables are views of the file: it is changed and grows, the file is replaced by
 * one of its own and removed, and the graph before it does not see any of that.
 */
static void changes_after_mapping(void **state)
{
	struct fixture f = fx_new(t_seed(), 3 * MANY, DIM, METRIC_L2);
	struct hnsw_memory before, after;
	struct hnsw *first;
	int rc;

	(void)state;
	f.quantization = HNSW_4BIT;
	fx_start(&f, 4);
	fx_add_clustered(&f, 0, MANY);
	save(f.h);
	first = f.h;
	f.h = load(&f, 4, &rc);
	T_OK(rc);
	assert_same_answers(&f, first, f.h);
	hnsw_free(first);
	first = load(&f, 4, &rc);
	before = hnsw_memory(f.h);
	assert_true(before.mapped_bytes >= MANY * 16 * sizeof(uint32_t));
	churn(&f, 2 * MANY);
	after = hnsw_memory(f.h);
	assert_true(after.mapped_bytes < before.mapped_bytes);
	assert_true(after.anonymous_bytes > before.anonymous_bytes);
	save(f.h);
	hnsw_free(f.h);
	f.h = load(&f, 4, &rc);
	T_OK(rc);
	unlink(path);
	churn(&f, 3 * MANY);
	assert_recall(&f, 0.9);
	assert_int_equal(hnsw_count(first), MANY);
	hnsw_free(first);
	fx_release(&f);
}

/* A disk that cannot read the file once more: no such graph is taken, or saved. */
static void pages_that_are_lost(void **state)
{
	struct fixture f = fx_new(t_seed(), MANY, DIM, METRIC_L2);
	struct sections_writer *w;
	struct sections_reader *r;
	struct hnsw *h;
	struct hit hits[10];
	struct probe q;
	int rc;

	(void)state;
	f.quantization = HNSW_4BIT;
	fx_start(&f, 4);
	fx_add_clustered(&f, 0, MANY);
	mapped_guard();
	save(f.h);
	T_OK(sections_open(path, &r, NULL));
	T_OK(truncate(path, 1 << 16));
	h = fx_new_graph(&f, 4);
	assert_true(hnsw_load(h, r, NULL) < 0);
	sections_close(r);
	hnsw_free(h);

	save(f.h);
	h = load(&f, 4, &rc);
	T_OK(rc);
	assert_false(hnsw_lost(h));
	T_OK(truncate(path, 1 << 16));
	for (uint32_t slot = 0; slot < f.rows.n; slot += 10) {
		probe_init(&q, &f.rows, fx_vector(&f, slot));
		assert_true(hnsw_search(h, &q, 10, 10, NULL, NULL, hits) <= 10);
	}
	assert_true(hnsw_lost(h));
	T_OK(sections_create(path, &w, NULL));
	T_ERR(hnsw_save(h, w, NULL), EIO);
	sections_abort(w);
	hnsw_free(h);
	fx_release(&f);
}

static struct fixture with_codes(void)
{
	struct fixture f = fx_new(t_seed(), 2 * N, DIM, METRIC_L2);

	f.quantization = HNSW_4BIT;
	return f;
}

static void codes_come_back(void **state)
{
	struct fixture f = with_codes();
	struct hnsw *saved;
	int rc;

	(void)state;
	make_graph(&f);
	save(f.h);
	saved = f.h;
	f.h = load(&f, 4, &rc);
	T_OK(rc);
	fx_assert_sound(&f);
	assert_same_answers(&f, saved, f.h);
	hnsw_free(saved);
	T_OK(hnsw_reserve(f.h, 2 * N, NULL));
	fx_add_clustered(&f, N, 2 * N);
	fx_assert_sound(&f);
	fx_release(&f);
}

static void an_empty_graph_comes_back(void **state)
{
	struct fixture f = fx_new(1, N, DIM, METRIC_L2);
	int rc;

	(void)state;
	fx_start(&f, 4);
	save(f.h);
	hnsw_free(f.h);
	f.h = load(&f, 4, &rc);
	T_OK(rc);
	assert_int_equal(hnsw_count(f.h), 0);
	T_OK(hnsw_reserve(f.h, 10, NULL));
	fx_add_clustered(&f, 0, 10);
	fx_assert_sound(&f);
	fx_release(&f);
}

/* An image is for one m and for rows that exist. */
static void does_not_fit(void **state)
{
	struct fixture f = fx_new(t_seed(), N, DIM, METRIC_L2);
	int rc;

	(void)state;
	make_graph(&f);
	save(f.h);
	assert_null(load(&f, 5, &rc));
	assert_int_equal(rc, -EILSEQ);
	f.rows.n--;
	assert_null(load(&f, 4, &rc));
	assert_int_equal(rc, -EILSEQ);
	f.rows.n++;
	atomic_store(&f.rows.state[17], ROW_FREE);
	assert_null(load(&f, 4, &rc));
	assert_int_equal(rc, -EILSEQ);
	fx_release(&f);
}

/*
 * Writes the image again with checksums that are right, after `change` was given each section's
 * bytes.
 */
static void rewrite(struct fixture *f,
                    void (*change)(struct fixture *f, size_t section, char *p, size_t *n))
{
	struct sections_reader *r;
	struct sections_writer *w;
	char *copy[N_TAGS];
	size_t n[N_TAGS];

	T_OK(sections_open(path, &r, NULL));
	for (size_t i = 0; i < N_TAGS; i++) {
		const void *p = sections_get(r, tag_of(i), &n[i]);

		copy[i] = mem_dup(p ? p : "", n[i]);
		change(f, i, copy[i], &n[i]);
	}
	sections_close(r);
	T_OK(sections_create(path, &w, NULL));
	for (size_t i = 0; i < N_TAGS; i++) {
		if (n[i])
			T_OK(sections_write(w, tag_of(i), copy[i], n[i]));
		mem_free(copy[i]);
	}
	T_OK(sections_commit(w, NULL));
}

/* What the next change does. */
static struct {
	size_t section;
	size_t at;
	uint32_t value;
	size_t cut;
} change;

static void set_word(struct fixture *f, size_t section, char *p, size_t *n)
{
	(void)f;
	if (section == change.section && change.at + 4 <= *n)
		memcpy(p + change.at, &change.value, 4);
}

static void cut_short(struct fixture *f, size_t section, char *p, size_t *n)
{
	(void)f;
	(void)p;
	if (section == change.section)
		*n = change.cut < *n ? change.cut : *n;
}

static void assert_refused(const struct fixture *f)
{
	int rc;

	assert_null(load(f, 4, &rc));
	assert_int_equal(rc, -EILSEQ);
}

static void sections_of_wrong_length(void **state)
{
	struct fixture f = fx_new(t_seed(), N, DIM, METRIC_L2);

	(void)state;
	make_graph(&f);
	for (change.section = 0; change.section < N_TAGS; change.section++) {
		if (change.section >= N_FLOAT_TAGS)
			continue;
		for (change.cut = 0; change.cut < 32; change.cut += 13) {
			save(f.h);
			rewrite(&f, cut_short);
			assert_refused(&f);
		}
	}
	fx_release(&f);
}

/* Each of these would let a search run into memory that is not there, or for ever. */
static void lies_in_the_tables(void **state)
{
	static const struct {
		size_t section, at;
		uint32_t value;
	} lies[] = {
		{ 0, 0, 2 },           /* version */
		{ 0, 8, 12345 },       /* seed: levels do not follow from it */
		{ 0, 16, UINT32_MAX }, /* slots */
		{ 0, 16, N - 1 },
		{ 0, 20, N }, /* entry point */
		{ 0, 20, UINT32_MAX },
		{ 0, 24, N + 1 },     /* count */
		{ 1, 8, 0x10101010 }, /* levels */
		{ 1, 8, 0 },
		{ 2, 40, 10 }, /* parents: itself, out of range, another root, a stranger */
		{ 2, 40, N },
		{ 2, 40, UINT32_MAX },
		{ 2, 40, 11 },
		{ 3, 64 * 10, N }, /* links: out of range, itself */
		{ 3, 64 * 10, 10 },
		{ 3, 64 * 10, UINT32_MAX },
		{ 3, 64 * 10 + 60, 3 }, /* beyond the row */
		{ 4, 0, N },
	};
	struct fixture f = fx_new(7, N, DIM, METRIC_L2);

	(void)state;
	make_graph(&f);
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		change.section = lies[i].section;
		change.at = lies[i].at;
		change.value = lies[i].value;
		save(f.h);
		rewrite(&f, set_word);
		assert_refused(&f);
	}
	fx_release(&f);
}

/*
 * Two nodes that are each other's parent, with all links there: only following parents shows
 * the circle.
 */
static void close_circle(struct fixture *f, size_t section, char *p, size_t *n)
{
	uint32_t *parent = (uint32_t *)p, child;

	(void)f;
	if (section != 2)
		return;
	for (child = 0; parent[child] == UINT32_MAX || parent[parent[child]] == UINT32_MAX; child++)
		;
	parent[parent[child]] = child;
	(void)n;
}

static void circles_in_the_tree(void **state)
{
	struct fixture f = fx_new(t_seed(), N, DIM, METRIC_L2);

	(void)state;
	make_graph(&f);
	save(f.h);
	rewrite(&f, close_circle);
	assert_refused(&f);
	fx_release(&f);
}

static void random_word(struct fixture *f, size_t section, char *p, size_t *n)
{
	uint64_t x = fx_random(f);
	uint32_t value = x & 1 ? (uint32_t)(x >> 32) : (uint32_t)(x >> 32) % N;

	if (section == change.section && *n >= 4)
		memcpy(p + fx_random(f) % (*n / 4) * 4, &value, 4);
}

/*
 * Any word changed: refused, or the graph is still a sound one (a changed link may be as good
 * as the old).
 */
static void random_words(void **state)
{
	struct fixture f = fx_new(t_seed(), N, DIM, METRIC_L2);
	struct fixture copy;
	int rc;

	(void)state;
	make_graph(&f);
	for (size_t i = 0; i < 200; i++) {
		change.section = i % N_FLOAT_TAGS;
		save(f.h);
		rewrite(&f, random_word);
		copy = f;
		copy.h = load(&f, 4, &rc);
		if (!copy.h) {
			assert_int_equal(rc, -EILSEQ);
			continue;
		}
		fx_assert_sound(&copy);
		hnsw_free(copy.h);
	}
	fx_release(&f);
}

/* Bytes that were changed or lost on the disk never get as far as the graph. */
static void damaged_files(void **state)
{
	struct fixture f = fx_new(t_seed(), N, DIM, METRIC_L2);
	struct sections_reader *r;
	FILE *file;
	long size;

	(void)state;
	make_graph(&f);
	for (size_t i = 0; i < 60; i++) {
		save(f.h);
		file = fopen(path, "r+");
		fseek(file, 0, SEEK_END);
		size = ftell(file);
		long at = (long)(fx_random(&f) % (uint64_t)size);

		if (i % 2) {
			fseek(file, at, SEEK_SET);
			int c = fgetc(file);

			fseek(file, at, SEEK_SET);
			fputc(c ^ 1 << fx_random(&f) % 8, file);
		} else {
			assert_int_equal(ftruncate(fileno(file), at), 0);
		}
		fclose(file);
		T_ERR(sections_open(path, &r, NULL), EILSEQ);
	}
	fx_release(&f);
}

/* Codes of other rows, of another length, for a graph that has none, and the other way round. */
static void codes_that_do_not_fit(void **state)
{
	struct fixture f = with_codes();

	(void)state;
	make_graph(&f);
	for (change.section = N_FLOAT_TAGS; change.section < N_TAGS; change.section++) {
		for (change.cut = 0; change.cut <= 64; change.cut += 64) {
			save(f.h);
			rewrite(&f, cut_short);
			assert_refused(&f);
		}
	}
	save(f.h);
	f.quantization = HNSW_FLOAT;
	assert_refused(&f);
	f.quantization = HNSW_4BIT;
	for (size_t i = 0; i < DIM; i++)
		fx_vector(&f, 0)[i] = -fx_vector(&f, 0)[i];
	assert_refused(&f);
	change.section = 6;
	change.at = 0;
	change.value =
		0x7f800000; /* infinity: it would be asked as a float row, had it been seen */
	save(f.h);
	rewrite(&f, set_word);
	assert_refused(&f);
	fx_release(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back),
		cmocka_unit_test(an_empty_graph_comes_back),
		cmocka_unit_test(does_not_fit),
		cmocka_unit_test(sections_of_wrong_length),
		cmocka_unit_test(lies_in_the_tables),
		cmocka_unit_test(circles_in_the_tree),
		cmocka_unit_test(random_words),
		cmocka_unit_test(damaged_files),
		cmocka_unit_test(changes_after_mapping),
		cmocka_unit_test(pages_that_are_lost),
		cmocka_unit_test(codes_come_back),
		cmocka_unit_test(codes_that_do_not_fit),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
