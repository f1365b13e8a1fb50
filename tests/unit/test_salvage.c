/*
 * test_salvage.c: what is made of a store in which single places are damaged: nothing old for
 * something new, nothing that was removed, nothing less than is there.
 */
#include <sqlite3.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/crc.h"
#include "store/salvage.h"
#include "store/store_impl.h"
#include "t_store.h"

/* ---- a disk that cannot read a page: this stands in front of the C library's ---- */

static struct {
	ino_t ino; /* 0: none */
	off_t from, to;
} bad;

ssize_t pread(int fd, void *p, size_t n, off_t off)
{
	struct stat st;

	if (bad.ino && off < bad.to && off + (off_t)n > bad.from && fstat(fd, &st) == 0 &&
	    st.st_ino == bad.ino) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pread64, fd, p, n, off);
}

static void lose_page(const struct t_store *t, int page)
{
	struct stat st;
	char path[600];

	snprintf(path, sizeof(path), "%s/%d.vectors.1", t->dir, CID);
	T_OK(stat(path, &st));
	assert_true(st.st_size > page * 4096);
	bad.ino = st.st_ino;
	bad.from = page * 4096;
	bad.to = bad.from + 4096;
}

static int mend(void **state)
{
	bad.ino = 0;
	return t_teardown(state);
}

/* ---- salvaging ---- */

static char said[4096];

static void told(void *ctx, const char *collection, const char *sentence)
{
	size_t n = strlen(said);

	snprintf(said + n, sizeof(said) - n, "%s: %s\n", collection, sentence);
}

static void says(const char *what)
{
	if (!strstr(said, what))
		fail_msg("it said: %s", said);
}

/* t->s becomes what was made of it; what was there is closed before. */
static struct salvage_result salvage(struct t_store *t)
{
	const struct salvage_watch w = { .told = told };
	struct salvage_result r;
	struct err e = { 0 };
	char made[300];

	store_close(t->s);
	t->s = NULL;
	said[0] = 0;
	snprintf(made, sizeof(made), "%s.made", t->dir);
	if (store_salvage(t->dir, made, CID, &w, &r, &e) < 0)
		fail_msg("salvage: %s", e.text);
	T_OK(io_remove_tree(t->dir));
	T_OK(rename(made, t->dir));
	T_OK(store_open(t->dir, false, &t->s, NULL));
	return r;
}

static void change(struct t_store *t, const char *sql)
{
	char path[512];
	sqlite3 *db;

	store_close(t->s);
	t->s = NULL;
	snprintf(path, sizeof(path), "%s/store.db", t->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	sqlite3_close(db);
}

/* ---- the state ---- */

static void remove_some(struct t_store *t, const uint64_t *nums, size_t n)
{
	struct store_commit c = { .cid = CID, .durable = true, .removed = nums, .n_removed = n };

	T_OK(store_commit(t->s, &c, NULL));
}

static void lose_state(struct t_store *t)
{
	change(t, "UPDATE state SET crc = crc + 1");
}

/* As a page says that is not the newest. */
static void make_state_old(struct t_store *t)
{
	const struct store_state st = { .last_seq = 1, .last_batch = 1, .changes = 1 };
	char sql[200];

	snprintf(sql, sizeof(sql),
	         "UPDATE state SET last_seq = 1, last_batch = 1, changes = 1, lost_seqs = 0,"
	         " lost_changes = 0, crc = %u",
	         crc32c(0, &st, sizeof(st)));
	change(t, sql);
}

static void put_versions(struct t_store *t)
{
	T_OK(t_put(t->s, 50, 1, 50, 0, NULL));
	T_OK(t_put_extents(t->s, 1, 10, 1, 0, 10));
	T_OK(t_put_extents(t->s, 1, 2, 101, 1, 2));
	T_OK(t_put(t->s, 3, 2, 103, 1, NULL));
	remove_some(t, (const uint64_t[]){ 2, 4, 5 }, 3);
}

static void check_versions(struct t_store *t)
{
	struct salvage_result r = salvage(t);

	assert_int_equal(r.vectors, 8);
	assert_int_equal(r.recovered, 0);
	assert_int_equal(r.lost, 0);
	T_OK(t_check(t->s, 50, 50, 0));
	T_OK(t_check(t->s, 1, 101, 1));
	T_ERR(t_check(t->s, 2, 0, 0), ENOENT);
	T_OK(t_check(t->s, 3, 103, 1));
	T_ERR(t_check(t->s, 4, 0, 0), ENOENT);
	T_ERR(t_check(t->s, 5, 0, 0), ENOENT);
	for (uint64_t i = 6; i <= 10; i++)
		T_OK(t_check(t->s, i, (uint32_t)i, 0));
	assert_true(store_last_seq(t->s) >= 5);
}

static void lost_state(void **state)
{
	struct t_store *t = *state;

	put_versions(t);
	lose_state(t);
	check_versions(t);
	says("default: the state of store.db is lost");
}

static void old_state(void **state)
{
	struct t_store *t = *state;

	put_versions(t);
	make_state_old(t);
	check_versions(t);
}

static void lost_state_of_an_emptied_store(void **state)
{
	struct store_commit all = { .cid = CID, .durable = true, .remove_all = true };
	struct t_store *t = *state;

	T_OK(t_put_extents(t->s, 1, 10, 1, 0, 10));
	T_OK(store_commit(t->s, &all, NULL));
	lose_state(t);
	assert_int_equal(salvage(t).vectors, 0);
}

/* Only what no other row speaks against. */
static void lost_commit_is_taken_from_the_segment(void **state)
{
	struct t_store *t = *state;

	T_OK(t_put_extents(t->s, 1, 10, 1, 0, 10));
	T_OK(t_put_extents(t->s, 1, 3, 101, 1, 3));
	change(t, "DELETE FROM rows; DELETE FROM gone");
	make_state_old(t);
	assert_int_equal(salvage(t).recovered, 3);
	for (uint64_t i = 1; i <= 3; i++)
		T_OK(t_check(t->s, i, (uint32_t)i, 1));
}

/* ---- one ID, one slot ---- */

static void put_as(struct t_store *t, uint64_t num, const char *id, uint32_t slot)
{
	struct store_row *rows = t_rows(num, 1, slot, 0);
	struct store_commit c = {
		.cid = CID, .dimension = DIM, .durable = true, .rows = rows, .n_rows = 1
	};

	strcpy((char *)(uintptr_t)rows[0].id, id);
	rows[0].id_len = strlen(id);
	T_OK(store_commit(t->s, &c, NULL));
	t_rows_free(rows);
}

/* As pages have it that are not the newest: the store does not ask. */
static void of_an_id_or_a_slot_the_latest_stays(void **state)
{
	struct t_store *t = *state;
	struct salvage_result r;

	put_as(t, 4, "id:2", 1);
	put_as(t, 1, "id:1", 0);
	put_as(t, 2, "id:2", 2);
	put_as(t, 3, "id:3", 0);
	r = salvage(t);
	assert_int_equal(r.vectors, 2);
	assert_int_equal(r.lost, 0);
	says("default: 2 vectors were left out: later ones have their IDs or slots");
	T_ERR(t_check(t->s, 4, 1, 0), ENOENT);
	T_ERR(t_check(t->s, 1, 0, 0), ENOENT);
	T_OK(t_check(t->s, 2, 2, 0));
	T_OK(t_check(t->s, 3, 0, 0));
}

/* Nor for a vector that is damaged, under another number. */
static void what_a_damaged_one_replaced_stays_away(void **state)
{
	struct t_store *t = *state;
	struct salvage_result r;

	put_as(t, 1, "id:1", 0);
	put_as(t, 2, "id:1", 1);
	change(t, "UPDATE rows SET vector = zeroblob(32) WHERE slot = 1");
	r = salvage(t);
	assert_int_equal(r.vectors, 0);
	assert_int_equal(r.lost, 1);
	says("default: the vector 'id:1' is lost");
}

/* ---- sectors that the disk cannot read ---- */

static const char *in_dir(const struct t_store *t, const char *name, char ret[600])
{
	snprintf(ret, 600, "%s/%s", t->dir, name);
	return ret;
}

enum { BATCHES = 5, EACH = 10 };

/* Each is a page of rows and one for its seal. */
static void put_batches(struct t_store *t)
{
	for (uint32_t i = 0; i < BATCHES; i++)
		T_OK(t_put_extents(t->s, i * EACH + 1, EACH, i * EACH, 0, EACH));
}

/* Slots of what was taken from the segment are new. */
static void check_all_but(struct t_store *t, uint32_t batch)
{
	struct buf b BUF_AUTO = BUF_INIT;
	struct store_row r;
	float want[DIM];

	for (uint32_t i = 0; i < BATCHES * EACH; i++) {
		int rc = store_get(t->s, CID, DIM, i + 1, &r, &b, NULL);

		if (i / EACH == batch) {
			T_ERR(rc, ENOENT);
			continue;
		}
		T_OK(rc);
		t_vector(want, i + 1, 0);
		assert_memory_equal(r.v, want, sizeof(want));
	}
}

/* A batch that is sealed in the segment and that the database refuses, as a crash leaves one. */
static void seal_only(struct store *s, uint64_t first, size_t n)
{
	struct store_row *rows = t_rows(first, n, (uint32_t)first, 0);
	uint64_t extent;
	struct store_commit c = { .cid = CID,
		                  .dimension = DIM,
		                  .batch = store_batch_number(s),
		                  .extents = &extent,
		                  .n_extents = 1 };
	const float *v;

	rows[n - 1].num = UINT64_MAX >> 1;
	T_OK(store_append_extent(s, CID, c.batch, DIM, rows, n, &extent, &v, NULL));
	T_ERR(store_commit(s, &c, NULL), EINVAL);
	t_rows_free(rows);
}

/* Behind what counts a WAL has what was there before, which nobody needs. */
static void unreadable_page_in_an_old_wal(void **state)
{
	struct t_store *t = *state;
	char wal[300], zeros[5 * 4096] = { 0 };
	struct stat st;
	pid_t child;
	int fd;

	store_close(t->s);
	t->s = NULL;
	child = fork();
	if (child == 0) {
		struct store *s;

		_exit(store_open(t->dir, false, &s, NULL) < 0 || t_put(s, 1, 1, 1, 0, NULL) < 0);
	}
	assert_int_equal(waitpid(child, &fd, 0), child);
	snprintf(wal, sizeof(wal), "%s/store.db-wal", t->dir);
	fd = open(wal, O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, zeros, sizeof(zeros)), sizeof(zeros));
	assert_int_equal(fstat(fd, &st), 0);
	close(fd);
	bad.ino = st.st_ino;
	bad.from = st.st_size - 4096;
	bad.to = st.st_size;
	T_OK(store_open(t->dir, false, &t->s, NULL));
	T_OK(t_check(t->s, 1, 1, 0));
	T_OK(t_put(t->s, 2, 1, 2, 0, NULL));
}

static int last_page(const struct t_store *t)
{
	struct stat st;
	char path[600];

	snprintf(path, sizeof(path), "%s/%d.vectors.1", t->dir, CID);
	T_OK(stat(path, &st));
	return (int)(st.st_size / 4096) - 1;
}

/* What is to be known of a batch that was under way is behind it, or anywhere before. */
static void unreadable_page_beside_a_crash(void **state)
{
	struct t_store *t = *state;

	for (int i = 0; i < 2; i++) {
		T_OK(t_put_extents(t->s, 1 + 20 * (uint64_t)i, 20, 20 * (uint32_t)i, 0, 10));
		seal_only(t->s, 100, 5);
		lose_page(t, i == 0 ? 1 : last_page(t) - 1);
		t_reopen(t);
		T_OK(t_check(t->s, 11, 10, 0));
		T_OK(t_put(t->s, 200, 1, 200 + (uint32_t)i, (uint32_t)i, NULL));
		bad.ino = 0;
		t_reopen(t);
		for (uint64_t num = 1; num <= 20 + 20 * (uint64_t)i; num++)
			T_OK(t_check(t->s, num, (uint32_t)num - 1, 0));
		T_OK(t_check(t->s, 200, 200 + (uint32_t)i, (uint32_t)i));
	}
}

static void unreadable_page_takes_its_rows_alone(void **state)
{
	struct t_store *t = *state;
	struct salvage_result r;

	put_batches(t);
	lose_page(t, 3);
	r = salvage(t);
	assert_int_equal(r.lost, EACH);
	assert_int_equal(r.vectors, (BATCHES - 1) * EACH);
	says("default: the disk cannot read 1 pages of its segment");
	says("default: the vector 'id:11' is lost");
	check_all_but(t, 1);
}

static void unreadable_page_where_only_the_segment_is_left(void **state)
{
	struct t_store *t = *state;
	char db[600];

	put_batches(t);
	store_close(t->s);
	t->s = NULL;
	T_OK(unlink(in_dir(t, "store.db", db)));
	lose_page(t, 1);
	bad.from = 8; /* and most of the header of the file, which is written anew */
	assert_int_equal(salvage(t).vectors, (BATCHES - 1) * EACH);
	check_all_but(t, 0);
}

static void unreadable_page_behind_what_was_committed(void **state)
{
	struct t_store *t = *state;
	struct store_row *rows = t_rows(900, 5, 900, 0);
	const float *v;
	uint64_t x;

	put_batches(t);
	T_OK(store_append_extent(t->s, CID, store_batch_number(t->s), DIM, rows, 5, &x, &v, NULL));
	t_rows_free(rows);
	lose_page(t, 1 + 2 * BATCHES);
	assert_int_equal(salvage(t).vectors, BATCHES * EACH);
	check_all_but(t, BATCHES);
}

/* ---- what only the WAL has ---- */

/* As a process that is killed leaves it: closing would write the WAL into the database. */
static void end_uncleanly(struct t_store *t)
{
	char db[600], wal[600], kept_db[600], kept_wal[600];

	t_copy_file(in_dir(t, "store.db", db), in_dir(t, "kept", kept_db));
	t_copy_file(in_dir(t, "store.db-wal", wal), in_dir(t, "kept-wal", kept_wal));
	store_close(t->s);
	t->s = NULL;
	T_OK(rename(kept_db, db));
	T_OK(rename(kept_wal, wal));
}

/* A large database, and three rows in the WAL, on pages far behind. */
static void put_behind(struct t_store *t)
{
	T_OK(t_put(t->s, 1, 3000, 1, 0, NULL));
	t_reopen(t);
	T_OK(t_put(t->s, 5000, 3, 5000, 0, NULL));
	end_uncleanly(t);
}

static void check_behind(struct t_store *t)
{
	assert_true(salvage(t).vectors >= 3);
	for (uint32_t i = 5000; i < 5003; i++)
		T_OK(t_check(t->s, i, i, 0));
}

static void pages_of_the_wal_behind_a_cut_database(void **state)
{
	struct t_store *t = *state;
	char db[600];

	put_behind(t);
	T_OK(truncate(in_dir(t, "store.db", db), 4096));
	check_behind(t);
}

static void wal_of_an_empty_database(void **state)
{
	struct t_store *t = *state;
	struct err e = { 0 };
	char db[600];

	put_behind(t);
	T_OK(truncate(in_dir(t, "store.db", db), 0));
	T_ERR(store_open(t->dir, false, &t->s, &e), EILSEQ); /* which leaves the WAL */
	assert_string_equal(e.text, "store.db is empty");
	check_behind(t);
	says("default: of store.db only the WAL is left");
}

static void wal_of_a_missing_database(void **state)
{
	struct t_store *t = *state;
	char name[600];

	put_behind(t);
	T_OK(unlink(in_dir(t, "store.db", name)));
	T_OK(unlink(in_dir(t, "commits", name)));
	T_ERR(store_open(t->dir, false, &t->s, NULL), EILSEQ);
	assert_true(database_wal_damaged(in_dir(t, "store.db", name)));
	check_behind(t);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, t_setup, mend)
	const struct CMUnitTest tests[] = {
		TEST(lost_state),
		TEST(old_state),
		TEST(lost_state_of_an_emptied_store),
		TEST(lost_commit_is_taken_from_the_segment),
		TEST(of_an_id_or_a_slot_the_latest_stays),
		TEST(what_a_damaged_one_replaced_stays_away),
		TEST(unreadable_page_in_an_old_wal),
		TEST(unreadable_page_beside_a_crash),
		TEST(unreadable_page_takes_its_rows_alone),
		TEST(unreadable_page_where_only_the_segment_is_left),
		TEST(unreadable_page_behind_what_was_committed),
		TEST(pages_of_the_wal_behind_a_cut_database),
		TEST(wal_of_an_empty_database),
		TEST(wal_of_a_missing_database),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
