/* What an engine finds again: after a close, with and without an image, after damage. */
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "base/sections.h"
#include "engine_t.h"

#define DIM  8
#define MANY 2600 /* enough for a graph */

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	fix_init(f);
	quick_graph(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fix_release(*state);
	free(*state);
	return 0;
}

static void test_inline_rows(void **state)
{
	struct fix *f = *state;

	fill(f, "v", 10, DIM);
	fix_reopen(f);
	assert_int_equal(info(f).vectors, 10);
	all_there(f, "v", 10, 1);
	verify_clean(f);
	T_OK(engine_checkpoint(f->en, NULL)); /* moves them to the segment */
	all_there(f, "v", 10, 1);
	verify_clean(f);
	fix_reopen(f);
	all_there(f, "v", 10, 1);
	verify_clean(f);
	assert_false(fix_exists(f, "7.graph")); /* nothing that an exact scan would need */
}

static void test_extents_and_image(void **state)
{
	struct fix *f = *state;

	fill(f, "v", MANY, 64);
	assert_int_equal(info(f).vectors, MANY);
	all_there(f, "v", MANY, 97); /* linked or not */
	wait_idle(f);
	assert_int_equal(info(f).backlog, 0);
	all_there(f, "v", MANY, 13);
	verify_clean(f);
	fix_reopen(f);
	assert_true(fix_exists(f, "7.graph"));
	assert_int_equal(info(f).backlog, 0); /* links came from the image */
	all_there(f, "v", MANY, 13);
	verify_clean(f);
}

/*
 * An image from before some removals, whose traces in the store went with a later image: it
 * must not bring them back.
 */
static void test_image_of_before(void **state)
{
	struct fix *f = *state;
	char path[128], kept[128], id[64];

	fill(f, "v", MANY, DIM);
	wait_idle(f);
	T_OK(engine_checkpoint(f->en, NULL));
	fix_path(f, "7.graph", path);
	fix_path(f, "kept", kept);
	T_OK(link(path, kept));
	for (int i = 0; i < 50; i++) {
		snprintf(id, sizeof(id), "v%d", i);
		assert_int_equal(removed(f, id), 1);
	}
	fix_close(f);
	T_OK(rename(kept, path));
	T_OK(fix_try_open(f));
	assert_int_equal(info(f).vectors, MANY - 50);
	wait_idle(f);
	verify_clean(f);
}

static void damage(struct fix *f, const char *name, off_t at)
{
	char path[128];
	struct stat st;
	uint8_t byte;
	int fd;

	fix_path(f, name, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	at = at < 0 ? st.st_size + at : at;
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x40;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void test_damaged_image_is_rebuilt(void **state)
{
	static const off_t places[] = { 20, 5000, 100000, -300 };
	struct fix *f = *state;

	fill(f, "v", MANY, DIM);
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		wait_idle(f);
		fix_close(f);
		damage(f, "7.graph", places[i]);
		T_OK(fix_try_open(f));
		assert_int_equal(info(f).vectors, MANY);
		all_there(f, "v", MANY, 97); /* also before it is built again */
		wait_idle(f);
		assert_int_equal(info(f).backlog, 0);
		verify_clean(f);
	}
}

static void test_missing_image_is_rebuilt(void **state)
{
	struct fix *f = *state;
	char path[128];

	fill(f, "v", MANY, DIM);
	wait_idle(f);
	fix_close(f);
	fix_path(f, "7.graph", path);
	T_OK(unlink(path));
	T_OK(fix_try_open(f));
	all_there(f, "v", MANY, 97);
	wait_idle(f);
	verify_clean(f);
}

/*
 * An image of before everything was removed must not come back, though its slots are in use
 * again.
 */
static void test_image_of_an_earlier_life(void **state)
{
	struct fix *f = *state;
	char path[128], kept[128];

	fill(f, "old", MANY, DIM);
	wait_idle(f);
	T_OK(engine_checkpoint(f->en, NULL));
	fix_path(f, "7.graph", path);
	fix_path(f, "kept", kept);
	T_OK(link(path, kept));
	T_OK(engine_remove_all(f->en, CID, NULL, NULL));
	fill(f, "new", 100, 5); /* another dimension */
	fix_close(f);
	T_OK(rename(kept, path));
	T_OK(fix_try_open(f));
	assert_int_equal(info(f).vectors, 100);
	assert_int_equal(engine_dimension(f->en, CID), 5);
	all_there(f, "new", 100, 7);
	verify_clean(f);
}

/* Emptied one by one, slots used again, then the image from before. */
static void test_image_with_reused_slots(void **state)
{
	struct fix *f = *state;
	char path[128], kept[128], id[MANY][16];
	struct id_ref ids[MANY];
	uint64_t n;

	fill(f, "old", MANY, DIM);
	wait_idle(f);
	T_OK(engine_checkpoint(f->en, NULL));
	fix_path(f, "7.graph", path);
	fix_path(f, "kept", kept);
	T_OK(link(path, kept));
	for (int i = 0; i < MANY; i++)
		ids[i] = (struct id_ref){ id[i], (size_t)snprintf(id[i], 16, "old%d", i) };
	T_OK(engine_remove(f->en, CID, ids, MANY, &n, NULL));
	assert_int_equal(n, MANY);
	fill(f, "new", 100, DIM);
	fix_close(f);
	T_OK(rename(kept, path));
	T_OK(fix_try_open(f));
	assert_int_equal(info(f).vectors, 100);
	all_there(f, "new", 100, 7);
	verify_clean(f);
}

static void copy_file(const struct fix *f, const char *from, const char *to)
{
	char a[128], b[128], cmd[300];

	fix_path(f, from, a);
	fix_path(f, to, b);
	snprintf(cmd, sizeof(cmd), "cp %s %s", a, b);
	assert_int_equal(system(cmd), 0);
}

/*
 * The database lost its last commits, the image has them. It is not used, and is not there to
 * be found when new commits have come as far as it was.
 */
static void test_image_of_lost_commits(void **state)
{
	struct fix *f = *state;

	fill(f, "v", MANY, DIM);
	wait_idle(f);
	fix_close(f);
	copy_file(f, "store.db", "kept");
	T_OK(fix_try_open(f));
	fill(f, "lost", 50, DIM);
	wait_idle(f);
	fix_close(f);
	copy_file(f, "7.graph", "image");
	copy_file(f, "kept", "store.db");
	T_OK(fix_try_open(f));
	assert_int_equal(info(f).vectors, MANY);
	assert_int_equal(removed(f, "lost7"), 0);
	all_there(f, "v", MANY, 97);
	fill(f, "new", 60, DIM);
	wait_idle(f);
	fix_close(f);
	copy_file(f, "image", "7.graph");
	T_OK(fix_try_open(f));
	assert_int_equal(info(f).vectors, MANY + 60);
	assert_int_equal(removed(f, "lost7"), 0);
	all_there(f, "new", 60, 7);
}

static const char image_tags[][5] = { "EHDR", "ESLT", "EVCR", "EIDS", "HNSH", "HNSL",
	                              "HNSP", "HNS0", "HNSU", "HNSC", "HNSN" };
#define N_TAGS (sizeof(image_tags) / sizeof(*image_tags))

static uint32_t image_tag(size_t i)
{
	const char *t = image_tags[i];

	return SECTION_TAG(t[0], t[1], t[2], t[3]);
}

/* Changes a word somewhere in section i of the image; all checksums are right. */
static void lie(struct fix *f, size_t i)
{
	char path[128];
	struct sections_reader *r;
	struct sections_writer *w;

	fix_path(f, "7.graph", path);
	T_OK(sections_open(path, &r, NULL));
	T_OK(sections_create(path, &w, NULL));
	for (size_t k = 0; k < N_TAGS; k++) {
		size_t n;
		const void *p = sections_get(r, image_tag(k), &n);
		char *copy = mem_dup(p ? p : "", n);
		uint32_t word = (uint32_t)(fix_random(f) % 4 ? fix_random(f) % MANY
		                                             : fix_random(f));

		if (k == i && n >= 4)
			memcpy(copy + fix_random(f) % (n / 4) * 4, &word, 4);
		sections_align(w);
		if (n)
			T_OK(sections_write(w, image_tag(k), copy, n));
		mem_free(copy);
	}
	T_OK(sections_commit(w, NULL));
	sections_close(r);
}

/*
 * Somebody writes images. Whatever they say, the collection opens, answers, goes on; most are
 * refused, and what cannot be seen to be wrong (a vector's length, say) is nobody's memory.
 */
static void test_images_that_lie(void **state)
{
	struct fix *f = *state;
	size_t found = 0;

	fill(f, "v", MANY, 64); /* with codes */
	wait_idle(f);
	fix_close(f);
	copy_file(f, "7.graph", "kept");
	copy_file(f, "store.db", "db");
	for (size_t i = 0; i < 3 * N_TAGS; i++) {
		copy_file(f, "kept", "7.graph");
		copy_file(f, "db", "store.db");
		lie(f, i % N_TAGS);
		T_OK(fix_try_open(f));
		assert_int_equal(info(f).vectors, MANY);
		for (int k = 0; k < 20; k++)
			found += finds_itself(f, "v100", k % 2);
		fix_close(f);
	}
	assert_true(found > 3 * N_TAGS * 10);
	T_OK(fix_try_open(f));
}

/* A bit of where these floats are in the segment. */
static void flip(struct fix *f, const float *v, size_t dim)
{
	static char all[1 << 20];
	char path[128], *at;
	size_t n;
	FILE *file;

	fix_path(f, "7.vectors.1", path);
	file = fopen(path, "r+");
	assert_non_null(file);
	n = fread(all, 1, sizeof(all), file);
	at = memmem(all, n, v, dim * sizeof(*v));
	assert_non_null(at);
	at[5] ^= 1;
	fseek(file, at - all, SEEK_SET);
	fwrite(at, 1, dim * sizeof(*v), file);
	fclose(file);
}

static int damage_told;

static void count_damage(void *ctx, uint32_t cid, enum engine_event event)
{
	damage_told += event == ENGINE_DAMAGED;
}

static void open_and_count(struct fix *f)
{
	char dir[128];
	struct engine_options o = { .default_cid = CID,
		                    .workers = f->workers,
		                    .event = count_damage };

	fix_path(f, "", dir);
	o.dir = dir;
	damage_told = 0;
	T_OK(engine_open(&o, &f->en, NULL));
}

/* How many of the answers are of that ID; all: how many there are. */
static size_t answers_of(struct fix *f, const struct query *q, const char *id, size_t *ret_all)
{
	BUF_AUTO struct buf out = BUF_INIT;
	char found[64][64];
	size_t n = 0;

	ask_ok(f, q, &out);
	*ret_all = ids_of(out.data, found, 64);
	for (size_t i = 0; i < *ret_all; i++)
		n += strcmp(found[i], id) == 0;
	return n;
}

/* Floats that the disk changed are not in an answer, others are in their place; by graph and by scan. */
static void never_served(struct fix *f, size_t n, size_t dim)
{
	struct query q = { .k = 10 }, like = { .like = "bad", .like_len = 3, .k = 1 };
	BUF_AUTO struct buf out = BUF_INIT;
	float v[512], other[512];
	struct batch *b = begin(f); /* of more than 64 KiB, which goes to the segment */
	char id[16];
	size_t all;

	fix_vector(f, v, dim);
	T_OK(add(b, "bad", v, dim));
	for (size_t i = 0; i < n; i++) {
		snprintf(id, sizeof(id), "v%zu", i);
		fix_vector(f, other, dim);
		T_OK(add(b, id, other, dim));
	}
	commit(b);
	wait_idle(f);
	fix_close(f);
	flip(f, v, dim);
	open_and_count(f);
	q.v = v;
	q.dim = dim;
	for (int exact = 0; exact < 2; exact++) {
		q.exact = exact;
		for (q.k = 1; q.k <= 40; q.k += 13) {
			assert_int_equal(answers_of(f, &q, "bad", &all), 0);
			assert_int_equal(all, q.k);
		}
	}
	q.k = n + 1; /* there is one fewer */
	q.exact = true;
	if (n < 64) {
		assert_int_equal(answers_of(f, &q, "bad", &all), 0);
		assert_int_equal(all, n);
	}
	assert_int_equal(damage_told, 1);
	T_ERR(ask(f, &like, &out, NULL), EIO);
	all_there(f, "v", n, 7);
}

static void test_damage_is_not_served(void **state)
{
	never_served(*state, MANY, DIM);
}

static void test_damage_is_not_served_by_a_scan(void **state)
{
	never_served(*state, 50, 512);
}

static void change_database(struct fix *f, const char *text)
{
	char path[128];
	sqlite3 *db;

	fix_path(f, "store.db", path);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/* What is included with answers is given as it was stored, or the vector is not in them. */
static void test_damaged_metadata_is_not_served(void **state)
{
	struct fix *f = *state;
	struct query q = { .dim = DIM, .k = 5, .include = INCLUDE_METADATA };
	struct batch *b = begin(f);
	float v[DIM], near[DIM];
	char id[16];
	size_t all;

	for (int i = 0; i < 50; i++) {
		struct record r = record_of(id, v, DIM);

		r.id_len = (size_t)snprintf(id, sizeof(id), "v%d", i);
		fix_vector(f, v, DIM);
		if (i == 3)
			memcpy(near, v, sizeof(v));
		r.metadata = "{\"a\":1}";
		r.metadata_len = 7;
		T_OK(engine_batch_add(b, &r, NULL, NULL));
	}
	commit(b);
	fix_close(f);
	change_database(f, "UPDATE rows SET metadata = '{\"a\":2}' WHERE id IN ('v3', 'v7')");
	open_and_count(f);
	q.v = near;
	for (q.k = 1; q.k <= 48; q.k += 47) {
		assert_int_equal(answers_of(f, &q, "v3", &all), 0);
		assert_int_equal(all, q.k);
	}
	assert_int_equal(damage_told, 1);
	q.k = 50; /* there are fewer */
	assert_int_equal(answers_of(f, &q, "v7", &all), 0);
	assert_int_equal(all, 48);
	q.include = 0;
	q.k = 1;
	assert_int_equal(answers_of(f, &q, "v3", &all), 1); /* that much is whole */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_inline_rows),
		TEST(test_extents_and_image),
		TEST(test_image_of_before),
		TEST(test_damaged_image_is_rebuilt),
		TEST(test_missing_image_is_rebuilt),
		TEST(test_image_of_an_earlier_life),
		TEST(test_image_with_reused_slots),
		TEST(test_image_of_lost_commits),
		TEST(test_images_that_lie),
		TEST(test_damage_is_not_served),
		TEST(test_damage_is_not_served_by_a_scan),
		TEST(test_damaged_metadata_is_not_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
