/*
 * What an engine finds again after kill -9: everything that was acknowledged, and no half of
 * anything.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "engine_t.h"

#define DIM  8
#define MANY 2600 /* enough for a graph */

/* Children are forked while this process has one thread. */
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

/* Some come, some go, some change; in each of the ways that a row can be stored. */
static void change_some(struct fix *f)
{
	float v[64];
	char id[64];

	for (int i = 0; i < 50; i++) {
		snprintf(id, sizeof(id), "v%d", i);
		removed(f, id);
		snprintf(id, sizeof(id), "v%d", 100 + i);
		fix_vector(f, v, 64);
		put(f, id, v, 64);
		snprintf(id, sizeof(id), "w%d", i);
		fix_vector(f, v, 64);
		put(f, id, v, 64);
	}
	fill(f, "x", 400, 64);
}

static void change_after_image(struct fix *f)
{
	fix_start(f);
	quick_graph(f);
	change_some(f);
	fill(f, "v", MANY, 64);
	wait_idle(f);
	T_OK(engine_checkpoint(f->en, NULL));
	change_some(f);
	kill(getpid(), SIGKILL);
}

static void in_child(struct fix *f, void (*run)(struct fix *f))
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		run(f);
		_exit(1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* The file vectors/ID can be read. */
static void readable(struct fix *f, const char *prefix, int from, int to)
{
	char id[64];
	uint64_t num;

	for (int i = from; i < to; i++) {
		BUF_AUTO struct buf json = BUF_INIT;

		snprintf(id, sizeof(id), "%s%d", prefix, i);
		T_OK(engine_lookup(f->en, CID, id, strlen(id), &num));
		T_OK(engine_get_json(f->en, CID, num, &json, NULL));
	}
}

static void test_changes_after_the_image(void **state)
{
	struct fix *f = *state;
	char id[64];
	uint64_t num;

	in_child(f, change_after_image);
	fix_start(f);
	assert_int_equal(info(f).vectors, MANY - 50 + 50 + 400);
	assert_true(info(f).backlog <= 500); /* the image was of use */
	all_there(f, "w", 50, 1);
	all_there(f, "x", 400, 7);
	readable(f, "v", 50, 300); /* some of them were replaced, and have their numbers still */
	readable(f, "w", 0, 50);
	wait_idle(f);
	verify_clean(f);
	for (int i = 0; i < 50; i++) {
		snprintf(id, sizeof(id), "v%d", i);
		T_ERR(engine_lookup(f->en, CID, id, strlen(id), &num), ENOENT);
	}
}

static void image_in_batch(struct fix *f)
{
	struct batch *b;
	float v[64];
	char id[64];

	fix_start(f);
	quick_graph(f);
	fill(f, "v", MANY, 64);
	b = begin(f);
	for (int i = 0; i < 6000; i++) {
		snprintf(id, sizeof(id), "w%d", i);
		fix_vector(f, v, 64);
		T_OK(add(b, id, v, 64));
	}
	wait_idle(f);
	T_OK(engine_checkpoint(f->en, NULL)); /* has rows of the open batch, linked */
	if (fix_exists(f, "commit"))
		commit(b);
	kill(getpid(), SIGKILL);
}

static void test_killed_in_a_batch(void **state)
{
	struct fix *f = *state;

	in_child(f, image_in_batch);
	fix_start(f);
	assert_int_equal(info(f).vectors, MANY);
	assert_int_equal(info(f).backlog, 0);
	assert_true(info(f).deleted > 1000); /* linked once, never committed */
	all_there(f, "v", MANY, 97);
	wait_idle(f);
	T_OK(engine_checkpoint(f->en, NULL));
	assert_int_equal(info(f).deleted, 0);
	verify_clean(f);
}

static void test_killed_after_a_batch(void **state)
{
	struct fix *f = *state;
	char path[128];

	fix_path(f, "commit", path);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	in_child(f, image_in_batch);
	fix_start(f);
	assert_int_equal(info(f).vectors, MANY + 6000);
	assert_true(info(f).backlog < 4000); /* those that were linked in the image are */
	all_there(f, "v", MANY, 97);
	all_there(f, "w", 6000, 97);
	wait_idle(f);
	verify_clean(f);
}

static void *put_for_ever(void *arg)
{
	struct fix f = *(const struct fix *)arg;
	float v[64];
	char id[64];

	for (int i = 0;; i++) {
		snprintf(id, sizeof(id), "w%d", i);
		fix_vector(&f, v, 64);
		put(&f, id, v, 64);
	}
	return NULL;
}

/* Rows that are committed into store.db, until they and those before them are moved. */
static void fill_until_moved(struct fix *f)
{
	uint64_t before = memory(f).mapped_bytes;

	for (int i = 0; i < 20; i++)
		fill(f, "x", 250, 64); /* too few for another image */
	while (memory(f).mapped_bytes < before + 4000 * 64 * sizeof(float))
		usleep(1000);
}

static bool and_moved;

static void image_beside_commits(struct fix *f)
{
	pthread_t writer;

	fix_start(f);
	quick_graph(f);
	fill(f, "v", MANY, 64);
	wait_idle(f);
	for (int i = 0; i < 4; i++)
		pthread_create(&writer, NULL, put_for_ever, f);
	for (int i = 0; i < 3; i++) {
		uint64_t n = info(f).vectors;

		while (info(f).vectors < n + 20)
			usleep(1000);
		T_OK(engine_checkpoint(f->en, NULL));
	}
	/* what was under way while the image was written is committed now */
	for (uint64_t n = info(f).vectors; info(f).vectors < n + 2;)
		usleep(1000);
	if (and_moved)
		fill_until_moved(f);
	kill(getpid(), SIGKILL);
}

/* A row that was in the graph already, and whose batch was being committed. */
static void test_killed_after_an_image_beside_commits(void **state)
{
	struct fix *f = *state;

	for (int i = 0; i < 2; i++) {
		and_moved = i == 1;
		in_child(f, image_beside_commits);
		fix_start(f);
		assert_true(info(f).vectors > MANY);
		/* the image was of use */
		assert_true(info(f).backlog < info(f).vectors - MANY / 2);
		all_there(f, "v", MANY, 97);
		wait_idle(f);
		verify_clean(f);
		fix_close(f);
		workers_free(f->workers);
		f->workers = NULL;
	}
	fix_start(f);
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

/* ---- many rows to link after a crash ---- */

#define WAITING 14000 /* more than a writer leaves otherwise */

/* Without workers nobody links but a writer that has to. */
static void leave_many_unlinked(struct fix *f)
{
	T_OK(fix_try_open(f));
	quick_graph(f);
	fill(f, "v", MANY, DIM);
	T_OK(engine_checkpoint(f->en, NULL));
	fill(f, "w", WAITING, DIM);
	kill(getpid(), SIGKILL);
}

static void test_writers_do_not_pay(void **state)
{
	struct fix *f = *state;
	float v[DIM] = { 1 };
	uint64_t waiting;

	in_child(f, leave_many_unlinked);
	T_OK(fix_try_open(f));
	waiting = info(f).backlog;
	assert_true(waiting >= WAITING);
	all_there(f, "w", WAITING, 397);
	put(f, "one", v, DIM);
	assert_true(info(f).backlog >= waiting - 1); /* two were linked for it, or fewer */
	fill(f, "x", 100, DIM);
	assert_in_range(info(f).backlog, waiting - 200, waiting + 100);
	assert_true(finds_itself(f, "one", false));
}

static ino_t image_of(struct fix *f)
{
	struct stat st;
	char path[128];

	fix_path(f, "7.graph", path);
	return stat(path, &st) == 0 ? st.st_ino : 0;
}

/* Ends when the first image since the start is in place. */
static void link_for_a_moment(struct fix *f)
{
	ino_t before = image_of(f);

	fix_start(f);
	while (image_of(f) == before && info(f).backlog > WAITING / 4)
		usleep(200);
	kill(getpid(), SIGKILL);
}

static void test_progress_is_saved(void **state)
{
	struct fix *f = *state;

	in_child(f, leave_many_unlinked);
	in_child(f, link_for_a_moment);
	T_OK(fix_try_open(f));
	assert_in_range(info(f).backlog, 1, MANY + WAITING - 500);
	assert_int_equal(info(f).vectors, MANY + WAITING);
	all_there(f, "w", WAITING, 397);
	verify_clean(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_dir, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_killed),
		TEST(test_killed_early),
		TEST(test_changes_after_the_image),
		TEST(test_killed_in_a_batch),
		TEST(test_killed_after_a_batch),
		TEST(test_killed_after_an_image_beside_commits),
		TEST(test_writers_do_not_pay),
		TEST(test_progress_is_saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
