/*
 * test_store_crash.c: many committers at once, a writer that is killed, a disk that is full,
 * tails that are cut off.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "t_store.h"

/* ---- committers at once ---- */

#define THREADS 8
#define EACH    40

struct together {
	struct store *s;
	atomic_int failures;
	atomic_bool over;
	atomic_uint next_num;
	uint64_t last_seq; /* only callbacks touch it, and they come one after the other */
	int out_of_order;
	int called;
};

struct one {
	struct together *all;
	uint64_t seq;
	int i;
};

static void on_committed(void *ctx, uint64_t seq)
{
	struct one *o = ctx;

	if (seq <= o->all->last_seq)
		o->all->out_of_order++;
	o->all->last_seq = seq;
	o->all->called++;
	o->seq = seq;
}

static int commit_one(struct one *o, uint64_t num, bool big)
{
	struct store_row *rows = t_rows(num, 3, (uint32_t)num, 0);
	uint64_t extent;
	struct store_commit c = { .cid = CID,
		                  .dimension = DIM,
		                  .durable = o->i % 4 != 0,
		                  .committed = on_committed,
		                  .ctx = o };
	const float *v;
	int rc = 0;

	if (big) {
		c.batch = store_batch_number(o->all->s);
		c.extents = &extent;
		c.n_extents = 1;
		rc = store_append_extent(o->all->s, CID, c.batch, DIM, rows, 3, &extent, &v, NULL);
	} else {
		c.rows = rows;
		c.n_rows = 3;
	}
	o->seq = 0;
	if (rc == 0)
		rc = store_commit(o->all->s, &c, NULL);
	if (rc == 0 && (o->seq != c.ret_seq || c.ret_accepted != 3))
		rc = -EINVAL;
	t_rows_free(rows);
	return rc;
}

static void *committer(void *arg)
{
	struct together *all = arg;
	struct one o = { .all = all };

	for (o.i = 0; o.i < EACH; o.i++) {
		unsigned num = atomic_fetch_add(&all->next_num, 3);

		if (commit_one(&o, num, o.i % 5 == 0) < 0)
			atomic_fetch_add(&all->failures, 1);
	}
	return NULL;
}

static void *bad_committer(void *arg)
{
	struct together *all = arg;
	struct store_row *rows = t_rows(1, 2, 0, 9);
	struct store_commit c = { .cid = CID, .dimension = DIM, .rows = rows, .n_rows = 2 };

	rows[1].id_len = 0;                /* refused after the first row was written */
	while (!atomic_load(&all->over)) { /* in the same groups as the others */
		if (store_commit(all->s, &c, NULL) != -EINVAL)
			atomic_fetch_add(&all->failures, 1);
	}
	rows[1].id_len = 4;
	t_rows_free(rows);
	return NULL;
}

static void committers_share_and_keep_order(void **state)
{
	struct t_store *t = *state;
	struct together all = { .s = t->s, .next_num = 100 };
	struct store_report report;
	pthread_t threads[THREADS + 1];

	T_OK(t_put(t->s, 1, 2, 0, 0, NULL));
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, committer, &all), 0);
	assert_int_equal(pthread_create(&threads[THREADS], NULL, bad_committer, &all), 0);
	for (int i = 0; i < 3; i++) {
		T_OK(store_verify(t->s, CID, DIM, NULL, &report, NULL));
		assert_string_equal(report.first, "");
	}
	for (int i = 0; i <= THREADS; i++) {
		atomic_store(&all.over, i == THREADS);
		pthread_join(threads[i], NULL);
	}
	assert_int_equal(atomic_load(&all.failures), 0);
	assert_int_equal(all.out_of_order, 0);
	assert_int_equal(all.called, THREADS * EACH);
	for (int i = 0; i < 2; i++) {
		T_OK(store_verify(t->s, CID, DIM, NULL, &report, NULL));
		assert_string_equal(report.first, "");
		assert_int_equal(report.rows_checked, 2 + THREADS * EACH * 3);
		T_OK(t_check(t->s, 1, 0, 0)); /* what was refused left nothing */
		t_reopen(t);
	}
}

/* Replaces the same rows again and again, which is not synced. */
static void *replacer(void *arg)
{
	struct together *all = arg;

	for (unsigned i = 0; !atomic_load(&all->over); i++) {
		struct store_row *rows = t_rows(1 + i % 40, 1, i % 1000, 0);
		struct store_commit c = { .cid = CID, .dimension = DIM, .rows = rows, .n_rows = 1 };

		if (store_commit(all->s, &c, NULL) < 0)
			atomic_fetch_add(&all->failures, 1);
		t_rows_free(rows);
	}
	return NULL;
}

/* What a commit has made visible and did not note yet is no damage. */
static void verification_beside_commits(void **state)
{
	struct t_store *t = *state;
	struct together all = { .s = t->s };
	struct store_report report;
	pthread_t threads[3];

	T_OK(t_put(t->s, 1, 40, 0, 0, NULL));
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, replacer, &all), 0);
	for (int i = 0; i < 100; i++) {
		T_OK(store_verify(t->s, CID, DIM, NULL, &report, NULL));
		if (report.first[0])
			atomic_fetch_add(&all.failures, 1);
	}
	atomic_store(&all.over, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&all.failures), 0);
}

/* ---- kill -9 ---- */

static void child_commits(struct store *s, int fd, uint64_t first)
{
	for (uint64_t i = 0;; i++) {
		uint64_t num = first + i * 5;
		int rc = i % 3 == 2 ? t_put_extents(s, num, 5, (uint32_t)num, 0, 2)
		                    : t_put(s, num, 5, (uint32_t)num, 0, NULL);

		if (rc < 0 || write(fd, &num, sizeof(num)) != sizeof(num))
			_exit(1);
		if (i % 7 == 6)
			store_move_inline(s, CID, DIM, &(struct store_move){ .max_rows = 1000 },
			                  NULL);
		if (i % 11 == 10)
			store_compact(s, CID, DIM, NULL, NULL, NULL);
	}
}

static pid_t spawn(const struct t_store *t, int *ret_fd, uint64_t first)
{
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct store *s;

		close(fds[0]);
		if (store_open(t->dir, false, &s, NULL) < 0)
			_exit(2);
		child_commits(s, fds[1], first);
	}
	close(fds[1]);
	*ret_fd = fds[0];
	return pid;
}

/* Every batch that was acknowledged is there, and of the one after it all or nothing. */
static uint64_t check_after_kill(struct t_store *t, int fd, uint64_t first)
{
	struct store_report report;
	uint64_t num, next = first;
	int there = 0;

	while (read(fd, &num, sizeof(num)) == sizeof(num)) {
		assert_int_equal(num, next);
		next += 5;
	}
	T_OK(store_open(t->dir, false, &t->s, NULL));
	for (uint64_t i = 1; i < next; i++)
		T_OK(t_check(t->s, i, (uint32_t)(i - (i - 1) % 5) + (uint32_t)((i - 1) % 5), 0));
	for (uint64_t i = next; i < next + 5; i++)
		there += t_check(t->s, i, (uint32_t)i, 0) == 0;
	assert_true(there == 0 || there == 5);
	T_OK(store_verify(t->s, CID, DIM, NULL, &report, NULL));
	assert_string_equal(report.first, "");
	return next + (uint64_t)there;
}

static void killed_writers_lose_nothing(void **state)
{
	struct t_store *t = *state;
	uint64_t next = 1;

	srandom((unsigned)t_seed());
	for (int round = 0; round < 8; round++) {
		struct timespec wait = { .tv_nsec = 5000000 + random() % 50000000 };
		struct pollfd first;
		int fd, status;
		pid_t pid;

		store_close(t->s);
		t->s = NULL;
		pid = spawn(t, &fd, next);
		first = (struct pollfd){ .fd = fd, .events = POLLIN };
		assert_int_equal(poll(&first, 1, 20000), 1); /* it has committed something */
		nanosleep(&wait, NULL);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		assert_true(WIFSIGNALED(status));
		next = check_after_kill(t, fd, next);
		close(fd);
	}
	assert_true(next > 8); /* at least one in each round */
}

/* ---- no space ---- */

/* A limit on the size of files stands for the full disk: the write fails with EFBIG. */
static void limit_files(rlim_t bytes)
{
	struct rlimit l;

	getrlimit(RLIMIT_FSIZE, &l);
	l.rlim_cur = bytes;
	setrlimit(RLIMIT_FSIZE, &l);
}

static void full_disk(void **state)
{
	struct t_store *t = *state;
	struct store_report report;
	uint64_t file, live;

	signal(SIGXFSZ, SIG_IGN);
	T_OK(t_put_extents(t->s, 1, 100, 0, 0, 50));
	T_OK(store_segment_bytes(t->s, CID, &file, &live, NULL));
	limit_files(file + 6000);
	T_ERR(t_put_extents(t->s, 101, 300, 100, 0, 300), ENOSPC);
	limit_files(60000);
	for (int i = 0; i < 3; i++)
		T_ERR(t_put(t->s, 2000, 1500, 2000, 0, NULL), ENOSPC);
	limit_files(RLIM_INFINITY);
	T_ERR(t_check(t->s, 101, 100, 0), ENOENT);
	T_ERR(t_check(t->s, 2000, 2000, 0), ENOENT);
	T_OK(t_put_extents(t->s, 101, 300, 100, 0, 300));
	T_OK(t_put(t->s, 2000, 1500, 2000, 0, NULL));
	for (int i = 0; i < 2; i++) {
		T_OK(t_check(t->s, 101, 100, 0));
		T_OK(t_check(t->s, 2000, 2000, 0));
		T_OK(store_verify(t->s, CID, DIM, NULL, &report, NULL));
		assert_string_equal(report.first, "");
		t_reopen(t);
	}
}

/* ---- tails ---- */

static off_t file_size(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

/* Extents of an open batch behind a committed one, cut at every interesting length. */
static void cut_tails(void **state)
{
	struct t_store *t = *state;
	struct store_report report;
	struct store_row *rows = t_rows(500, 200, 500, 0);
	char path[512];
	off_t committed, full;
	uint64_t extent;
	const float *v;

	T_OK(t_put_extents(t->s, 1, 100, 0, 0, 50));
	snprintf(path, sizeof(path), "%s/7.vectors.1", t->dir);
	committed = file_size(path);
	T_OK(store_append_extent(t->s, CID, store_batch_number(t->s), DIM, rows, 200, &extent, &v,
	                         NULL));
	full = file_size(path);
	assert_true(full > committed);
	for (off_t cut = full; cut >= committed; cut -= cut % 4096 == 1   ? 1
	                                                : cut % 4096 == 0 ? 4095
	                                                                  : 1) {
		store_close(t->s);
		t->s = NULL;
		assert_int_equal(truncate(path, full), 0); /* zeros where it was cut */
		assert_int_equal(truncate(path, cut), 0);
		T_OK(store_open(t->dir, false, &t->s, NULL));
		assert_int_equal(file_size(path), cut == full ? full : committed);
		T_OK(t_check(t->s, 100, 99, 0));
		T_ERR(t_check(t->s, 500, 500, 0), ENOENT);
		T_OK(store_verify(t->s, CID, DIM, NULL, &report, NULL));
		assert_string_equal(report.first, "");
		if (cut % 4096 == 0 && cut != full)
			break;
	}
	T_OK(t_put_extents(t->s, 101, 10, 100, 0, 10));
	t_rows_free(rows);
}

/*
 * The pages of a batch that was sealed, but neither synced nor committed, reach the disk in any
 * order: the seal without all of the extents is no damage. A whole one stays.
 */
static void seal_without_its_extents(void **state)
{
	struct t_store *t = *state;
	struct store_report report;
	char path[512];
	off_t end;
	int fd;

	snprintf(path, sizeof(path), "%s/7.vectors.1", t->dir);
	T_OK(t_put_extents(t->s, 1, 100, 0, 0, 50));
	for (int damaged = 0; damaged < 2; damaged++) {
		struct store_row *rows = t_rows(500, 200, 500, 0);
		uint64_t extent;
		struct store_commit c = { .cid = CID,
			                  .dimension = DIM,
			                  .batch = store_batch_number(t->s),
			                  .extents = &extent,
			                  .n_extents = 1,
			                  .removed = &(uint64_t){ 1 },
			                  .n_removed = 1 };
		struct receipt bad = { .number = 1, .state = RECEIPT_COMMITTED };
		const float *v;

		memset(bad.name, 'x', sizeof(bad.name)); /* refused behind the seal */
		c.receipt = &bad;
		T_OK(store_append_extent(t->s, CID, c.batch, DIM, rows, 200, &extent, &v, NULL));
		end = file_size(path);
		assert_true(store_commit(t->s, &c, NULL) < 0);
		assert_int_equal(file_size(path), end + 4096);
		t_rows_free(rows);
		store_close(t->s);
		fd = open(path, O_RDWR);
		if (damaged)
			assert_int_equal(pwrite(fd, "torn", 4, end - 4096 * 2), 4);
		close(fd);
		T_OK(store_open(t->dir, false, &t->s, NULL));
		T_OK(store_verify(t->s, CID, DIM, NULL, &report, NULL));
		assert_string_equal(report.first, "");
		T_OK(t_check(t->s, 1, 0, 0));
	}
}

static void copy_range(const char *from, const char *to, off_t start, off_t end)
{
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY);
	size_t n = (size_t)(end - start);
	char *p = malloc(n);

	assert_int_equal(pread(in, p, n, start), n);
	assert_int_equal(pwrite(out, p, n, start), n);
	close(in);
	close(out);
	free(p);
}

/*
 * A whole extent, but with the salt of another segment, as somebody might store it as text: it
 * counts for nothing.
 */
static void planted_blocks_do_not_count(void **state)
{
	struct t_store *t = *state;
	struct store_row *rows = t_rows(500, 20, 500, 0);
	char a[512], b[512];
	uint64_t extent, number = store_batch_number(t->s);
	const float *v;

	t_collection(t->s, CID + 1, "other");
	T_OK(store_append_extent(t->s, CID, number, DIM, rows, 20, &extent, &v, NULL));
	T_OK(store_append_extent(t->s, CID + 1, number, DIM, rows, 20, &extent, &v, NULL));
	store_close(t->s);
	t->s = NULL;
	snprintf(a, sizeof(a), "%s/7.vectors.1", t->dir);
	snprintf(b, sizeof(b), "%s/8.vectors.1", t->dir);
	copy_range(a, b, 4096, file_size(a));
	T_OK(store_open(t->dir, false, &t->s, NULL));
	assert_int_equal(file_size(a), 4096 * 2);
	assert_int_equal(file_size(b), 4096);
	t_rows_free(rows);
}

/* Below what was committed nothing is given up: the rest stays readable, the loss is reported. */
static void cut_committed(void **state)
{
	struct t_store *t = *state;
	struct store_report report;
	char path[512];
	off_t full;

	T_OK(t_put_extents(t->s, 1, 400, 0, 0, 100));
	T_OK(t_put(t->s, 401, 3, 400, 0, NULL));
	snprintf(path, sizeof(path), "%s/7.vectors.1", t->dir);
	full = file_size(path);
	for (off_t cut = full - 1; cut > 0; cut -= 3001) {
		int lost = 0;

		store_close(t->s);
		t->s = NULL;
		assert_int_equal(truncate(path, cut), 0);
		T_OK(store_open(t->dir, false, &t->s, NULL));
		for (uint64_t i = 1; i <= 400; i++) {
			int rc = t_check(t->s, i, (uint32_t)i - 1, 0);

			assert_true(rc == 0 || rc == -EIO);
			lost += rc < 0;
		}
		T_OK(t_check(t->s, 402, 401, 0));
		T_OK(store_verify(t->s, CID, DIM, NULL, &report, NULL));
		assert_string_not_equal(report.first, "");
		assert_true(report.missing_floats + report.checksum_errors >= (uint64_t)lost);
	}
	T_OK(t_put_extents(t->s, 501, 10, 500, 0, 10));
	T_OK(t_check(t->s, 505, 504, 0));
	t_reopen(t);
	T_OK(t_check(t->s, 505, 504, 0));
	T_ERR(t_check(t->s, 200, 199, 0), EIO);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, t_setup, t_teardown)
	const struct CMUnitTest tests[] = {
		TEST(committers_share_and_keep_order),
		TEST(verification_beside_commits),
		TEST(killed_writers_lose_nothing),
		TEST(full_disk),
		TEST(cut_tails),
		TEST(seal_without_its_extents),
		TEST(planted_blocks_do_not_count),
		TEST(cut_committed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
