/*
 * test_store_damage.c: one flipped bit anywhere is either found or means nothing; a disk that
 * fails to sync; a witness that knows more.
 */
#include <dirent.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "store/segment.h"
#include "t_store.h"
#include "t_wal.h"

/* ---- a sync that fails: these stand in front of the C library's, for SQLite too ---- */

static int sync_errno;
/* Or only those of a WAL fail: what the disk has of it all the same goes to a file of this name. */
static const char *wal_goes_to;
static int ends_at; /* or the process ends at so manieth, and none fails before; 0: not */

static bool sync_fails(int fd)
{
	char path[600];

	errno = sync_errno;
	if (sync_errno || !wal_goes_to)
		return sync_errno;
	if (!t_is_wal(fd, path))
		return false;
	if (ends_at) {
		if (--ends_at == 0)
			_exit(0);
		return false;
	}
	t_copy_file(path, wal_goes_to);
	errno = EIO;
	return true;
}

int fsync(int fd)
{
	return sync_fails(fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	return sync_fails(fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

static void failed_sync_ends_writing(void **state)
{
	struct t_store *t = *state;
	struct err e;
	struct store_row *rows = t_rows(3, 1, 3, 0);
	struct store_commit c = {
		.cid = CID, .dimension = DIM, .durable = true, .rows = rows, .n_rows = 1
	};

	for (int i = 0; i < 2; i++) {
		T_OK(t_put(t->s, 1, 1, (uint32_t)i, (uint32_t)i, NULL));
		sync_errno = EIO;
		if (i == 0)
			T_ERR(t_put(t->s, 2, 1, 2, 0, NULL), EIO);
		else
			T_ERR(t_put_extents(t->s, 2, 1, 2, 0, 1), EIO);
		sync_errno = 0;
		T_ERR(store_commit(t->s, &c, &e), EROFS);
		assert_string_equal(e.text, "readonly since a sync of the disk failed");
		T_OK(t_check(t->s, 1, (uint32_t)i, (uint32_t)i));
		T_ERR(t_check(t->s, 2, 2, 0), ENOENT);
		t_reopen(t);
		T_OK(t_check(t->s, 1, (uint32_t)i, (uint32_t)i));
	}
	T_OK(store_commit(t->s, &c, &e));
	t_rows_free(rows);
}

/* ---- copies ---- */

/* All files but the shared memory of the WAL, which a crash takes away. */
static void copy_dir(const char *from, const char *to)
{
	char a[600], b[600];
	struct dirent *entry;
	DIR *d = opendir(from);

	T_OK(io_mkdir(to, 0700));
	assert_non_null(d);
	while ((entry = readdir(d))) {
		size_t n = strlen(entry->d_name);

		if (entry->d_name[0] == '.' ||
		    (n > 4 && strcmp(entry->d_name + n - 4, "-shm") == 0))
			continue;
		snprintf(a, sizeof(a), "%s/%s", from, entry->d_name);
		snprintf(b, sizeof(b), "%s/%s", to, entry->d_name);
		t_copy_file(a, b);
	}
	closedir(d);
}

static off_t size_of(const char *dir, const char *name)
{
	char path[600];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return stat(path, &st) == 0 ? st.st_size : 0;
}

/* Returns the byte as it was. */
static unsigned char flip(const char *dir, const char *name, off_t at, int bit)
{
	char path[600];
	unsigned char byte;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= (unsigned char)(1 << bit);
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
	return byte ^ (unsigned char)(1 << bit);
}

/* ---- a compaction of which nobody knows whether it was committed ---- */

static void compaction_that_may_be_there(void **state)
{
	struct t_store *t = *state;
	char copy[300], wal[320], gen2[320];

	snprintf(copy, sizeof(copy), "%s-copy", t->dir);
	snprintf(wal, sizeof(wal), "%s-wal", t->dir);
	segment_path(t->dir, CID, 2, gen2, sizeof(gen2));
	T_OK(t_put_extents(t->s, 1, 20, 1, 0, 10));
	wal_goes_to = wal;
	T_ERR(store_compact(t->s, CID, DIM, NULL, NULL, NULL), EIO);
	wal_goes_to = NULL;
	/* the power is cut, and the disk had the commit in spite of what the sync said */
	copy_dir(t->dir, copy);
	snprintf(gen2, sizeof(gen2), "%s/store.db-wal", copy);
	t_copy_file(wal, gen2);
	segment_path(t->dir, CID, 2, gen2, sizeof(gen2));
	t_reopen(t);
	for (uint64_t num = 1; num <= 20; num++)
		T_OK(t_check(t->s, num, (uint32_t)num, 0));
	assert_int_equal(access(gen2, F_OK), -1);
	assert_int_equal(t_collection_of(t->s).gen, 1);
	store_close(t->s);
	T_OK(store_open(copy, false, &t->s, NULL));
	assert_int_equal(t_collection_of(t->s).gen, 2);
	for (uint64_t num = 1; num <= 20; num++)
		T_OK(t_check(t->s, num, (uint32_t)num, 0));
}

/* ---- a WAL that is not on the disk, which is full ---- */

/* What has no room is refused, as on a full disk. */
static void limit_files(off_t bytes)
{
	struct rlimit l = { (rlim_t)bytes, (rlim_t)bytes };

	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &l);
}

static int in_child(const struct t_store *t, uint64_t first, size_t n, off_t limit)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		struct store *s;

		if (limit)
			limit_files(limit);
		if (store_open(t->dir, false, &s, NULL) < 0)
			_exit(3);
		_exit(t_put(s, first, n, (uint32_t)first, 0, NULL) == 0 ? 1 : 2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* In the memory of the kernel it is there, and clean: a sync failed, and its process is gone. */
static void nothing_counts_on_a_lost_wal(void **state)
{
	struct t_store *t = *state;
	char wal[320];
	size_t db, n;
	int rc;

	snprintf(wal, sizeof(wal), "%s/store.db-wal", t->dir);
	T_OK(t_put(t->s, 1, 3000, 1, 0, NULL));
	store_close(t->s);
	t->s = NULL;
	db = (size_t)size_of(t->dir, "store.db");
	wal_goes_to = "";
	ends_at = 2; /* the first is of its header */
	assert_int_equal(in_child(t, 4001, 300, 0), 0);
	wal_goes_to = NULL;
	ends_at = 0;
	n = t_wal_size(wal);
	assert_true(n > 8 * 4096 && n + 16 * 4096 < db);
	t_wal_note();
	rc = in_child(t, 5001, 1, (off_t)db); /* which does not let the database grow */
	assert_true(rc == 1 || rc == 2);
	t_wal_lose(wal, 32, n);
	T_OK(store_open(t->dir, false, &t->s, NULL));
	T_OK(t_check(t->s, 3000, 3000, 0));
	if (rc == 1)
		T_OK(t_check(t->s, 5001, 5001, 0));
}

/* ---- what the copies have ---- */

#define ROWS 120

static uint32_t version_of(uint64_t num)
{
	return num <= 20 ? 1 : 0;
}

static uint32_t slot_of(uint64_t num)
{
	return (uint32_t)num + (num <= 20 ? 500 : 0);
}

static void fill(struct store *s)
{
	struct receipt r = { .state = RECEIPT_COMMITTED, .name = "file" };
	char path[600];

	store_image_path(s, CID, path, sizeof(path));
	close(open(path, O_CREAT | O_WRONLY, 0600));
	T_OK(t_put_extents(s, 1, 60, 1, 0, 25));
	T_OK(t_put(s, 61, 20, 61, 0, NULL));
	T_OK(t_put(s, 1, 20, 501, 1, NULL));
	T_OK(store_receipt_number(s, CID, &r.number, NULL));
	T_OK(store_receipt_put(s, CID, &r, NULL));
	for (uint64_t i = 81; i <= ROWS; i++)
		T_OK(t_put(s, i, 1, (uint32_t)i, 0, NULL));
}

struct counted {
	size_t rows;
	size_t gone;
};

static int count_row(void *ctx, const struct store_row *row)
{
	((struct counted *)ctx)->rows++;
	return 0;
}

static int count_gone(void *ctx, uint32_t slot, uint64_t seq)
{
	((struct counted *)ctx)->gone++;
	assert_in_range(slot, 1, 20);
	return 0;
}

static void is_all_there(struct store *s)
{
	struct counted n = { 0 };
	struct receipt r;

	for (uint64_t i = 1; i <= ROWS; i++)
		T_OK(t_check(s, i, slot_of(i), version_of(i)));
	T_OK(store_scan(s, CID, 0, count_row, &n, NULL));
	T_OK(store_scan_gone(s, CID, 0, count_gone, &n, NULL));
	T_OK(store_receipt_by_name(s, CID, "file", &r, NULL));
	assert_int_equal(n.rows, ROWS);
	assert_int_equal(n.gone, 20);
}

/*
 * Reads everything; errors with their sentence are allowed, crashes and other contents than some
 * version's are not.
 */
static void read_what_is_left(struct store *s)
{
	struct counted n = { 0 };

	for (uint64_t i = 1; i <= ROWS; i++) {
		struct buf b BUF_AUTO = BUF_INIT;
		struct err e = { 0 };
		struct store_row r;
		float v[2][DIM];
		int rc = store_get(s, CID, DIM, i, &r, &b, &e);

		if (rc < 0) {
			assert_true(e.text[0]);
			T_ERR(e.code, -rc);
			continue;
		}
		t_vector(v[0], i, 0);
		t_vector(v[1], i, 1);
		assert_true(memcmp(r.v, v[0], sizeof(v[0])) == 0 ||
		            memcmp(r.v, v[1], sizeof(v[1])) == 0);
	}
	(void)store_scan(s, CID, 0, count_row, &n, NULL);
	(void)store_scan_gone(s, CID, 0, count_gone, &n, NULL);
}

/* 1: found, 0: it meant nothing. */
static int judge(const char *dir)
{
	struct store_report report = { 0 };
	struct store *s;
	int rc = store_open(dir, false, &s, NULL);
	int found;

	if (rc < 0) {
		assert_true(rc == -EILSEQ || rc == -EPROTO || rc == -EIO);
		return 1;
	}
	rc = store_verify(s, CID, DIM, NULL, &report, NULL);
	found = rc < 0 || report.first[0];
	if (found)
		read_what_is_left(s);
	else
		is_all_there(s);
	store_close(s);
	return found;
}

static int flip_some(const char *master, const char *name, int n)
{
	char dir[512];
	int found = 0;

	snprintf(dir, sizeof(dir), "%s-copy", master);
	for (int i = 0; i < n; i++) {
		int bit = (int)(random() % 8);
		off_t at;

		copy_dir(master, dir);
		do { /* zeros are mostly padding; one in eight will do */
			at = random() % size_of(master, name);
		} while (flip(dir, name, at, bit) == 0 && random() % 8 &&
		         (flip(dir, name, at, bit), 1));
		if (getenv("RUVECTORFS_VERBOSE"))
			print_message("%s: byte %ld bit %d\n", name, (long)at, bit);
		found += judge(dir);
		T_OK(io_remove_tree(dir));
	}
	print_message("%s: %d of %d flips found\n", name, found, n);
	return found;
}

static void flips_are_found_or_harmless(void **state)
{
	struct t_store *t = *state;
	char master[512];

	srandom((unsigned)t_seed());
	fill(t->s);
	snprintf(master, sizeof(master), "%s-open", t->dir);
	copy_dir(t->dir, master); /* with its WAL, as a crash leaves it */
	assert_int_equal(judge(master), 0);
	T_OK(io_remove_tree(master));
	copy_dir(t->dir, master);
	assert_true(flip_some(master, "store.db-wal", 40) > 30);
	assert_true(flip_some(master, "7.vectors.1", 25) > 4);
	assert_true(flip_some(master, "commits", 25) > 0);
	store_close(t->s);
	t->s = NULL;
	T_OK(io_remove_tree(master));
	copy_dir(t->dir, master);
	assert_true(flip_some(master, "store.db", 40) > 4);
	T_OK(io_remove_tree(master));
}

/* ---- single places ---- */

static void change(struct t_store *t, const char *sql)
{
	char path[512];
	sqlite3 *db;

	store_close(t->s);
	t->s = NULL;
	snprintf(path, sizeof(path), "%s/store.db", t->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	T_OK(store_open(t->dir, false, &t->s, NULL));
}

static uint64_t cleared_seq(struct t_store *t)
{
	struct store_collection c;

	T_OK(store_collection_next(t->s, CID - 1, &c, NULL));
	return c.cleared_seq;
}

/* Where its vector is cannot be said to an image, so no image of before is used any more. */
static void damaged_row_is_replaced(void **state)
{
	struct t_store *t = *state;
	struct store_commit c;

	T_OK(t_put(t->s, 1, 20, 0, 0, NULL));
	T_OK(t_put(t->s, 4, 1, 20, 1, NULL));
	assert_int_equal(cleared_seq(t), 0);
	change(t, "UPDATE rows SET slot = 1 WHERE id = 'id:5'");
	T_OK(t_put(t->s, 5, 1, 21, 1, &c));
	assert_int_equal(cleared_seq(t), c.ret_seq);
}

static void damaged_rows(void **state)
{
	static const char *const changes[] = {
		"UPDATE rows SET slot = 1 WHERE id = 'id:5'",
		"UPDATE rows SET off = off + 4 WHERE id = 'id:6'",
		"UPDATE rows SET text = 'other' WHERE id = 'id:20'",
		"UPDATE rows SET metadata = NULL WHERE id = 'id:9'",
		"UPDATE rows SET vector = zeroblob(32) WHERE id = 'id:7'",
		"UPDATE rows SET vector = zeroblob(9) WHERE id = 'id:8'",
		"UPDATE rows SET id = 77 WHERE id = 'id:10'",
		"UPDATE rows SET seq = -5 WHERE id = 'id:11'",
		"UPDATE rows SET id = '' WHERE id = 'id:12'",
	};
	static const uint64_t nums[] = { 5, 6, 20, 9, 7, 8, 10, 11, 12 };
	struct t_store *t = *state;
	struct store_report report;
	struct counted n = { 0 };

	T_OK(t_put_extents(t->s, 1, 6, 1, 0, 6));
	T_OK(t_put(t->s, 7, 20, 7, 0, NULL));
	for (size_t i = 0; i < 9; i++) {
		change(t, changes[i]);
		T_ERR(t_check(t->s, nums[i], (uint32_t)nums[i], 0), EIO);
		T_OK(store_verify(t->s, CID, DIM, NULL, &report, NULL));
		assert_int_equal(report.checksum_errors, i + 1);
		assert_int_equal(report.rows_checked, 26);
	}
	T_OK(store_scan(t->s, CID, 0, count_row, &n, NULL));
	assert_int_equal(n.rows, 26 - 7); /* text and metadata are not read by a scan */
	assert_int_equal(store_skipped_rows(t->s), 6); /* nor is a sequence below 0 looked for */
	T_OK(t_put(t->s, 5, 1, 55, 0, NULL));          /* a damaged row can be replaced */
	T_OK(t_check(t->s, 5, 55, 0));
	T_ERR(store_compact(t->s, CID, DIM, NULL, NULL, NULL), EIO);
	T_OK(t_check(t->s, 2, 2, 0));
}

/* Of a batch that was sealed each block counts, also where no row that lives is in it. */
static void damaged_blocks(void **state)
{
	static const struct {
		off_t at;
		const char *first;
	} cases[] = {
		{ 9, "the header of the segment is damaged" },
		{ 4096 + 40, "an extent of batch 1 is damaged" },
		{ 4096 + 64 + 60 * 32 + 3, "an extent of batch 1 is damaged" },
		{ 3 * 4096 - 20, "an extent of batch 1 is damaged" },
		{ 4 * 4096 + 50, "the seal of batch 1 is damaged" },
	};
	struct t_store *t = *state;
	struct store_report report;

	T_OK(t_put_extents(t->s, 1, 70, 1, 0, 60));
	assert_int_equal(size_of(t->dir, "7.vectors.1"), 5 * 4096);
	T_OK(t_put(t->s, 1, 60, 101, 1, NULL)); /* what stays is in the second extent */
	for (size_t i = 0; i < 5; i++) {
		flip(t->dir, "7.vectors.1", cases[i].at, 2);
		T_OK(store_verify(t->s, CID, DIM, NULL, &report, NULL));
		flip(t->dir, "7.vectors.1", cases[i].at, 2);
		assert_string_equal(report.first, cases[i].first);
		assert_int_equal(report.checksum_errors, 1);
	}
	T_OK(store_verify(t->s, CID, DIM, NULL, &report, NULL));
	assert_string_equal(report.first, "");
}

static void damaged_parameters(void **state)
{
	struct t_store *t = *state;
	char path[512];
	sqlite3 *db;

	store_close(t->s);
	t->s = NULL;
	snprintf(path, sizeof(path), "%s/store.db", t->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_exec(db, "UPDATE collections SET uid = 0", NULL, NULL, NULL);
	sqlite3_close(db);
	T_ERR(store_open(t->dir, false, &t->s, NULL), EILSEQ);
}

/* The witness of a store that went on, beside the database of before. */
static int stop_late(void *ctx, uint64_t rows)
{
	return ++*(int *)ctx > 1000;
}

/* Of a store that is open: what it knows from before is what rows are compared with. */
static void damaged_parameters_while_open(void **state)
{
	static const char *const changes[] = { "gen = 7", "dimension = 3" };
	struct t_store *t = *state;
	char text[100], path[300];
	struct store_report r;
	sqlite3 *db;

	T_OK(t_put_extents(t->s, 1, 20, 1, 0, 10));
	snprintf(path, sizeof(path), "%s/store.db", t->dir);
	for (int i = 0; i < 2; i++) {
		int calls = 0;
		const struct verify_watch w = { .progress = stop_late, .ctx = &calls };

		assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
		snprintf(text, sizeof(text), "UPDATE collections SET %s", changes[i]);
		assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
		sqlite3_close(db);
		T_OK(store_verify(t->s, CID, DIM, &w, &r, NULL));
		assert_string_equal(r.first, "the parameters of the collection are damaged");
		assert_int_equal(r.checksum_errors, 1);
		assert_int_equal(r.rows_checked, 20);
		T_OK(t_put(t->s, 30, 1, 30, 0, NULL)); /* writes them anew */
		T_OK(t_put(t->s, 30, 1, 31, 0, NULL));
		T_OK(store_verify(t->s, CID, DIM, &w, &r, NULL));
		assert_string_equal(r.first, "");
		T_OK(store_commit(t->s,
		                  &(struct store_commit){ .cid = CID,
		                                          .durable = true,
		                                          .removed = &(uint64_t){ 30 },
		                                          .n_removed = 1 },
		                  NULL));
	}
}

static void lost_commits_are_reported(void **state)
{
	struct t_store *t = *state;
	struct store_report report;
	struct store_commit r;
	char before[512], path[600], witness[600];
	uint64_t seq;

	T_OK(t_put(t->s, 1, 5, 0, 0, NULL));
	store_close(t->s);
	snprintf(before, sizeof(before), "%s-before", t->dir);
	copy_dir(t->dir, before);
	T_OK(store_open(t->dir, false, &t->s, NULL));
	T_OK(t_put_extents(t->s, 10, 5, 10, 0, 5));
	T_OK(t_put(t->s, 20, 5, 20, 0, &r));
	seq = r.ret_seq;
	store_close(t->s);
	t->s = NULL;
	snprintf(witness, sizeof(witness), "%s/store.db", t->dir);
	snprintf(path, sizeof(path), "%s/store.db", before);
	t_copy_file(path, witness);
	for (int i = 0; i < 3; i++) {
		T_OK(store_open(t->dir, false, &t->s, NULL));
		T_OK(store_verify(t->s, CID, DIM, NULL, &report, NULL));
		assert_int_equal(report.sequence_errors, 2);
		assert_true(store_last_seq(t->s) >= seq); /* no sequence means two things */
		T_OK(t_put(t->s, 30, 1, 30, (uint32_t)i, &r));
		assert_true(r.ret_seq > seq);
		seq = r.ret_seq;
		store_close(t->s);
		t->s = NULL;
		/* What was lost from the database is still in the segment. */
		assert_true(size_of(t->dir, "7.vectors.1") >= 3 * 4096);
	}
	snprintf(witness, sizeof(witness), "%s/store.db", t->dir);
	unlink(witness);
	T_ERR(store_open(t->dir, false, &t->s, NULL), EILSEQ); /* not taken for a new one */
	T_OK(io_remove_tree(before));
}

static int stop(void *ctx, uint64_t rows)
{
	return rows >= 512;
}

static void verification_can_be_stopped(void **state)
{
	struct t_store *t = *state;
	struct store_report report;
	struct err e;

	T_OK(t_put(t->s, 1, 2000, 0, 0, NULL));
	T_ERR(store_verify(t->s, CID, DIM, &(struct verify_watch){ .progress = stop }, &report, &e),
	      ECANCELED);
	assert_int_equal(report.rows_checked, 512);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, t_setup, t_teardown)
	const struct CMUnitTest tests[] = {
		TEST(failed_sync_ends_writing),
		TEST(compaction_that_may_be_there),
		TEST(nothing_counts_on_a_lost_wal),
		TEST(flips_are_found_or_harmless),
		TEST(damaged_row_is_replaced),
		TEST(damaged_rows),
		TEST(damaged_blocks),
		TEST(damaged_parameters),
		TEST(damaged_parameters_while_open),
		TEST(lost_commits_are_reported),
		TEST(verification_can_be_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
