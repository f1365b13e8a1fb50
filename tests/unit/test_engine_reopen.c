/* What an engine finds again: after a close, with and without an image, after damage, after kill -9. */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

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

static int setup_dir(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	fix_dir(f);
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

/* Rows that are in store.db only while the image is made, and such that come, go and change after it. */
static void test_changes_after_the_image(void **state)
{
	struct fix *f = *state;
	float v[64];
	char id[64];

	fill(f, "v", MANY, 64);
	wait_idle(f);
	T_OK(engine_checkpoint(f->en, NULL));
	for (int i = 0; i < 50; i++) {
		snprintf(id, sizeof(id), "v%d", i);
		assert_int_equal(removed(f, id), 1);
		snprintf(id, sizeof(id), "v%d", 100 + i);
		fix_vector(f, v, 64);
		put(f, id, v, 64);
		snprintf(id, sizeof(id), "w%d", i);
		fix_vector(f, v, 64);
		put(f, id, v, 64);
	}
	wait_idle(f);
	/* not the image of the close, the one from before */
	{
		char path[128], kept[128];
		BUF_AUTO struct buf cmd = BUF_INIT;

		fix_path(f, "7.graph", path);
		fix_path(f, "kept", kept);
		T_OK(link(path, kept));
		fix_close(f);
		T_OK(rename(kept, path));
		T_OK(fix_try_open(f));
	}
	assert_int_equal(info(f).vectors, MANY);
	all_there(f, "w", 50, 1);
	all_there(f, "v", 0, 1);
	wait_idle(f);
	verify_clean(f);
	for (int i = 0; i < 50; i++) {
		uint64_t num;

		snprintf(id, sizeof(id), "v%d", i);
		T_ERR(engine_lookup(f->en, CID, id, strlen(id), &num), ENOENT);
	}
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

/* An image of before everything was removed must not come back, though its slots are in use again. */
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

/* ---- kill -9 ---- */

/* Commits of changing size; each acknowledged number goes to the pipe. */
static void write_for_ever(struct fix *f, int to, size_t dim)
{
	float v[512];
	char id[64];
	uint32_t n = 0;

	f->workers = workers_new(1);
	if (fix_try_open(f) < 0)
		_exit(1);
	for (;;) {
		struct batch *b;
		uint32_t size = n % 50 == 49 ? 600 : 1 + n % 3;

		if (engine_batch_begin(f->en, CID, &b, NULL) < 0)
			_exit(2);
		for (uint32_t i = 0; i < size; i++, n++) {
			snprintf(id, sizeof(id), "v%u", n);
			fix_vector(f, v, dim);
			if (add(b, id, v, dim) < 0)
				_exit(3);
		}
		if (engine_batch_commit(b, NULL, NULL, NULL, NULL) < 0)
			_exit(4);
		if (write(to, &n, sizeof(n)) != sizeof(n))
			_exit(5);
	}
}

static uint32_t run_and_kill(struct fix *f, uint32_t until, size_t dim)
{
	uint32_t acknowledged = 0;
	int p[2], status;
	pid_t child;

	assert_int_equal(pipe(p), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(p[0]);
		write_for_ever(f, p[1], dim);
	}
	close(p[1]);
	while (acknowledged < until)
		assert_int_equal(read(p[0], &acknowledged, sizeof(acknowledged)),
		                 sizeof(acknowledged));
	kill(child, SIGKILL);
	while (read(p[0], &acknowledged, sizeof(acknowledged)) == sizeof(acknowledged))
		;
	close(p[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	return acknowledged;
}

static void test_killed(void **state)
{
	struct fix *f = *state;
	uint32_t n = run_and_kill(f, 3000, 128);

	fix_start(f);
	assert_true(info(f).vectors >= n);
	all_there(f, "v", n, 41);
	wait_idle(f);
	verify_clean(f);
}

static void test_killed_early(void **state)
{
	struct fix *f = *state;
	uint32_t n = run_and_kill(f, 5, DIM);

	fix_start(f);
	assert_true(info(f).vectors >= n);
	all_there(f, "v", n, 1);
	verify_clean(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* first, while this process has one thread */
		cmocka_unit_test_setup_teardown(test_killed, setup_dir, teardown),
		cmocka_unit_test_setup_teardown(test_killed_early, setup_dir, teardown),
		TEST(test_inline_rows),
		TEST(test_extents_and_image),
		TEST(test_changes_after_the_image),
		TEST(test_damaged_image_is_rebuilt),
		TEST(test_missing_image_is_rebuilt),
		TEST(test_image_of_an_earlier_life),
		TEST(test_image_with_reused_slots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
