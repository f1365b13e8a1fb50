/*
 * test_salvage.c: what is made of a store in which single places are damaged: nothing old for
 * something new, nothing that was removed, nothing less than is there.
 */
#include <sqlite3.h>

#include "base/crc.h"
#include "store/salvage.h"
#include "store/store_impl.h"
#include "t_store.h"

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

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, t_setup, t_teardown)
	const struct CMUnitTest tests[] = {
		TEST(lost_state),
		TEST(old_state),
		TEST(lost_state_of_an_emptied_store),
		TEST(lost_commit_is_taken_from_the_segment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
