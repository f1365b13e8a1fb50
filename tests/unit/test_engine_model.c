/*
 * An engine against a model that cannot be wrong: random operations, restarts in between; many
 * threads at once; damage.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "engine_t.h"

#define DIM  4
#define N_ID 3500

struct model {
	struct fix f;
	bool there[N_ID];
	float v[N_ID][DIM];
	bool next_there[N_ID]; /* with the open batch */
	float next_v[N_ID][DIM];
	size_t live;
};

static int setup(void **state)
{
	struct model *m = calloc(1, sizeof(*m));
	struct collection_config c;

	fix_init(&m->f);
	quick_graph(&m->f);
	c = info(&m->f).config;
	c.metric = METRIC_L2;
	T_OK(engine_collection_configure(m->f.en, CID, &c, NULL));
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	struct model *m = *state;

	fix_release(&m->f);
	free(m);
	return 0;
}

static size_t name_of(unsigned i, char id[64])
{
	return (size_t)snprintf(id, 64, "id%u", i);
}

static unsigned number_of(const char *id)
{
	return (unsigned)strtoul(id + 2, NULL, 10);
}

static unsigned pick(struct model *m, unsigned n)
{
	return (unsigned)(fix_random(&m->f) % n);
}

/* ---- operations ---- */

static void do_batch(struct model *m)
{
	struct batch *b = begin(&m->f);
	unsigned n = pick(m, 4) ? 1 + pick(m, 40) : 500 + pick(m, 4000);
	bool keep = pick(m, 6);
	char id[64];

	memcpy(m->next_there, m->there, sizeof(m->there));
	memcpy(m->next_v, m->v, sizeof(m->v));
	while (n-- > 0) {
		unsigned i = pick(m, N_ID);

		name_of(i, id);
		fix_vector(&m->f, m->next_v[i], DIM);
		m->next_there[i] = true;
		T_OK(add(b, id, m->next_v[i], DIM));
	}
	if (!keep) {
		engine_batch_abort(b);
		return;
	}
	commit(b);
	memcpy(m->there, m->next_there, sizeof(m->there));
	memcpy(m->v, m->next_v, sizeof(m->v));
}

static void do_remove(struct model *m)
{
	unsigned n = pick(m, 4) ? 1 + pick(m, 20) : pick(m, 1500);
	struct id_ref ids[1500];
	static char names[1500][64];
	uint64_t gone, expected = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned id = pick(m, N_ID);

		ids[i] = (struct id_ref){ names[i], name_of(id, names[i]) };
		expected += m->there[id];
		m->there[id] = false;
	}
	T_OK(engine_remove(m->f.en, CID, ids, n, &gone, NULL));
	assert_int_equal(gone, expected);
}

static void do_rename(struct model *m)
{
	unsigned from = pick(m, N_ID), to = pick(m, N_ID);
	char a[64], b[64];
	struct engine_rename r = { a, name_of(from, a), b, name_of(to, b), pick(m, 2) };

	if (from == to)
		return;
	if (!m->there[from]) {
		T_ERR(engine_rename(m->f.en, CID, &r, NULL), ENOENT);
	} else if (r.no_replace && m->there[to]) {
		T_ERR(engine_rename(m->f.en, CID, &r, NULL), EEXIST);
	} else {
		T_OK(engine_rename(m->f.en, CID, &r, NULL));
		m->there[from] = false;
		m->there[to] = true;
		memcpy(m->v[to], m->v[from], sizeof(m->v[to]));
	}
}

static void do_clear(struct model *m)
{
	uint64_t gone;

	T_OK(engine_remove_all(m->f.en, CID, &gone, NULL));
	memset(m->there, 0, sizeof(m->there));
}

/* ---- comparing ---- */

static double distance(const float *a, const float *b)
{
	double s = 0;

	for (int i = 0; i < DIM; i++)
		s += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
	return sqrt(s);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The distances of all that is there, ascending. Returns how many. */
static size_t ranked(const struct model *m, const float *q, double ret[N_ID])
{
	size_t n = 0;

	for (unsigned i = 0; i < N_ID; i++)
		if (m->there[i])
			ret[n++] = distance(q, m->v[i]);
	qsort(ret, n, sizeof(*ret), compare_doubles);
	return n;
}

/* Returns how many of the k lines are among the true k nearest; what is false in any case fails. */
static size_t check_answer(const struct model *m, const float *q, const char *text, size_t k)
{
	double truth[N_ID], last = 0;
	bool seen[N_ID] = { false };
	size_t n = ranked(m, q, truth), lines = 0, right = 0;

	if (k > n)
		k = n;
	for (; *text; text = strchr(text, '\n') + 1, lines++) {
		unsigned i = number_of(text);
		double d = strtod(strchr(text, '\t') + 1, NULL);

		assert_true(i < N_ID && m->there[i] && !seen[i]);
		seen[i] = true;
		assert_true(fabs(d - distance(q, m->v[i])) < 1e-4);
		assert_true(d >= last - 1e-6);
		last = d;
		right += d <= truth[k - 1] + 1e-5;
	}
	assert_int_equal(lines, k);
	return right;
}

static void check(struct model *m)
{
	BUF_AUTO struct buf out = BUF_INIT;
	size_t right = 0, asked = 0;
	double all[N_ID];
	float v[DIM];

	fix_vector(&m->f, v, DIM);
	assert_int_equal(info(&m->f).vectors, ranked(m, v, all));
	for (unsigned i = 0; i < 6; i++) {
		struct query q = { .v = v, .dim = DIM, .k = 10, .exact = i == 0, .ef = 60 };
		size_t n;

		fix_vector(&m->f, v, DIM);
		ask_ok(&m->f, &q, &out);
		n = check_answer(m, v, out.data, q.k);
		right += n;
		asked += info(&m->f).vectors < q.k ? info(&m->f).vectors : q.k;
		if (q.exact)
			assert_int_equal(right, asked);
	}
	assert_true(right >= asked * 8 / 10);
}

static void check_one(struct model *m)
{
	BUF_AUTO struct buf out = BUF_INIT;
	unsigned i = pick(m, N_ID);
	char id[64];
	size_t len = name_of(i, id);
	uint64_t num;

	if (!m->there[i]) {
		T_ERR(engine_lookup(m->f.en, CID, id, len, &num), ENOENT);
		return;
	}
	T_OK(engine_lookup(m->f.en, CID, id, len, &num));
	T_OK(engine_get_json(m->f.en, CID, num, &out, NULL));
	assert_true(fabs(strtod(strchr(out.data, '[') + 1, NULL) - (double)m->v[i][0]) < 1e-6);
}

static void test_random_operations(void **state)
{
	struct model *m = *state;

	m->f.rng ^= t_seed();
	for (int step = 0; step < 60; step++) {
		switch (pick(m, 16)) {
		case 0:
			fix_reopen(&m->f);
			break;
		case 1:
			T_OK(engine_checkpoint(m->f.en, NULL));
			break;
		case 2:
			if (pick(m, 3) == 0)
				do_clear(m);
			for (unsigned i = pick(m, 20); i > 0; i--)
				do_rename(m);
			break;
		case 3:
		case 4:
		case 5:
			do_remove(m);
			break;
		case 6:
			wait_idle(&m->f);
			verify_clean(&m->f);
			break;
		default:
			do_batch(m);
		}
		check(m);
		check_one(m);
	}
	wait_idle(&m->f);
	verify_clean(&m->f);
	fix_reopen(&m->f);
	check(m);
	verify_clean(&m->f);
}

/* ---- many at once ---- */

struct crowd {
	struct model *m;
	atomic_bool end;
	atomic_int wrong;
	atomic_uint turn;
};

static void write_some(struct crowd *cr, struct fix *mine)
{
	struct batch *b;
	unsigned n = fix_random(mine) % 5 ? 3 : 300;
	float v[DIM];
	char id[64];

	if (engine_batch_begin(cr->m->f.en, CID, &b, NULL) < 0) {
		atomic_fetch_add(&cr->wrong, 1);
		return;
	}
	while (n-- > 0) {
		name_of((unsigned)(fix_random(mine) % N_ID), id);
		fix_vector(mine, v, DIM);
		if (add(b, id, v, DIM) < 0)
			atomic_fetch_add(&cr->wrong, 1);
	}
	if (fix_random(mine) % 4 == 0)
		engine_batch_abort(b);
	else if (engine_batch_commit(b, NULL, NULL, NULL, NULL) < 0)
		atomic_fetch_add(&cr->wrong, 1);
}

static void remove_some(struct crowd *cr, struct fix *mine)
{
	struct id_ref refs[200];
	static _Thread_local char names[200][64];

	for (int i = 0; i < 200; i++)
		refs[i] = (struct id_ref){ names[i],
			                   name_of((unsigned)(fix_random(mine) % N_ID), names[i]) };
	if (engine_remove(cr->m->f.en, CID, refs, 200, NULL, NULL) < 0)
		atomic_fetch_add(&cr->wrong, 1);
}

static void search_some(struct crowd *cr, struct fix *mine, struct buf *out)
{
	float v[DIM];
	struct query q = { .v = v, .dim = DIM, .k = 10, .include = INCLUDE_METADATA };
	double last = 0;
	struct answer a;

	fix_vector(mine, v, DIM);
	q.exact = fix_random(mine) % 8 == 0;
	q.include *= fix_random(mine) % 8 == 0;
	buf_clear(out);
	answer_init(&a, out);
	if (engine_search(cr->m->f.en, CID, &q, &a, NULL) < 0)
		atomic_fetch_add(&cr->wrong, 1);
	buf_addc(out, '\0');
	for (const char *p = out->data; p && *p; p = strchr(p, '\n') + 1) {
		double d = strtod(strchr(p, '\t') + 1, NULL);

		if (d < last - 1e-6 || number_of(p) >= N_ID)
			atomic_fetch_add(&cr->wrong, 1);
		last = d;
	}
}

static void *be_busy(void *arg)
{
	struct crowd *cr = arg;
	BUF_AUTO struct buf out = BUF_INIT;
	unsigned turn = atomic_fetch_add(&cr->turn, 1);
	struct fix mine = { .rng = 0x9e3779b97f4a7c15u * (turn + 1) };
	struct engine_report r;
	struct vector_info v;

	while (!atomic_load(&cr->end)) {
		if (turn < 2 && fix_random(&mine) % 3)
			write_some(cr, &mine);
		else if (turn < 2)
			remove_some(cr, &mine);
		else if (turn == 4 && fix_random(&mine) % 4 == 0)
			engine_checkpoint(cr->m->f.en, NULL);
		else if (turn == 4) {
			if (engine_verify(cr->m->f.en, CID, NULL, &r, NULL) < 0 || r.first[0])
				atomic_fetch_add(&cr->wrong, 1);
			if (r.first[0])
				print_message("%s\n", r.first);
			engine_stat_vector(cr->m->f.en, CID, fix_random(&mine) % 9999, &v, NULL);
		} else
			search_some(cr, &mine, &out);
	}
	return NULL;
}

static void test_many_threads(void **state)
{
	struct crowd cr = { .m = *state };
	pthread_t t[5];

	fill(&cr.m->f, "id", N_ID, DIM);
	for (int i = 0; i < 5; i++)
		assert_int_equal(pthread_create(&t[i], NULL, be_busy, &cr), 0);
	usleep(700000);
	atomic_store(&cr.end, true);
	for (int i = 0; i < 5; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(atomic_load(&cr.wrong), 0);
	wait_idle(&cr.m->f);
	verify_clean(&cr.m->f);
	fix_reopen(&cr.m->f);
	verify_clean(&cr.m->f);
}

/* ---- damage is found, and nothing damaged is given out ---- */

static void test_damaged_floats_are_found(void **state)
{
	struct model *m = *state;
	BUF_AUTO struct buf out = BUF_INIT;
	struct engine_report r;
	struct err e = { 0 };
	uint64_t num;
	uint8_t page[8192];
	char path[128];
	float v[DIM] = { 0 };
	uint8_t *at;
	int fd;

	fill(&m->f, "id", 10, DIM);
	v[0] = 123.5f;
	put(&m->f, "marked", v, DIM);
	T_OK(engine_checkpoint(m->f.en, NULL));
	verify_clean(&m->f);
	fix_path(&m->f, "7.vectors.1", path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	T_OK(pread(fd, page, sizeof(page), 4096));
	at = memmem(page, sizeof(page), v, sizeof(v));
	assert_non_null(at);
	*at ^= 1;
	assert_int_equal(pwrite(fd, page, sizeof(page), 4096), sizeof(page));
	close(fd);
	T_OK(engine_lookup(m->f.en, CID, "marked", 6, &num));
	T_ERR(engine_get_json(m->f.en, CID, num, &out, &e), EIO);
	T_OK(engine_verify(m->f.en, CID, NULL, &r, NULL));
	assert_true(r.checksum_errors > 0);
	assert_true(r.first[0]);
}

static int stop_at_once(void *ctx, uint64_t rows)
{
	(void)ctx;
	(void)rows;
	return 1;
}

static void test_verification_can_be_stopped(void **state)
{
	struct model *m = *state;
	struct engine_report r;

	fill(&m->f, "id", 100, DIM);
	T_ERR(engine_verify(m->f.en, CID, &(struct verify_watch){ .progress = stop_at_once }, &r,
	                    NULL),
	      ECANCELED);
	T_ERR(engine_verify(m->f.en, 99, NULL, &r, NULL), ENODEV);
}

struct between {
	struct fix *f;
	int calls;
};

/* No step of a verification is under way. */
static int begin_anew(void *ctx, uint64_t rows)
{
	struct between *b = ctx;

	if (b->calls++ == 0) {
		T_OK(engine_remove_all(b->f->en, CID, NULL, NULL));
		fill(b->f, "wider", 10, 2 * DIM);
	}
	return 0;
}

static void test_another_dimension_during_a_verification(void **state)
{
	struct model *m = *state;
	struct between b = { .f = &m->f };
	const struct verify_watch w = { .progress = begin_anew, .ctx = &b };
	struct engine_report r;

	fill(&m->f, "id", 100, DIM);
	T_OK(engine_verify(m->f.en, CID, &w, &r, NULL));
	assert_true(b.calls > 0);
	assert_string_equal(r.first, "");
	assert_int_equal(r.rows_checked, 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_random_operations),
		TEST(test_many_threads),
		TEST(test_damaged_floats_are_found),
		TEST(test_verification_can_be_stopped),
		TEST(test_another_dimension_during_a_verification),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
