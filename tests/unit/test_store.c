/*
 * test_store.c: what a store that nobody damages does: commits, reads, receipts, moving and
 * compacting.
 */
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "store/copy.h"
#include "t_store.h"

struct seen {
	size_t n;
	uint64_t nums[8192];
	uint32_t slots[8192];
	uint64_t last;
	bool inlined;
};

static int see_row(void *ctx, const struct store_row *row)
{
	struct seen *s = ctx;

	s->nums[s->n] = row->num;
	s->slots[s->n++] = row->slot;
	s->inlined = row->off == STORE_INLINE;
	assert_true(row->seq >= s->last);
	if (row->v)
		assert_int_equal(row->v[0], (float)row->num);
	return 0;
}

static int see_num(void *ctx, const struct store_row *row)
{
	struct seen *s = ctx;

	s->nums[s->n++] = row->num;
	return s->n == 4000 ? 42 : 0;
}

static int see_gone(void *ctx, uint32_t slot, uint64_t seq)
{
	struct seen *s = ctx;

	s->slots[s->n] = slot;
	s->nums[s->n++] = seq;
	return 0;
}

static void opens_empty(void **state)
{
	struct t_store *t = *state;
	struct store_collection c = t_collection_of(t->s);

	assert_string_equal(c.name, "default");
	assert_int_equal(c.next_num, 1);
	assert_int_equal(c.gen, 1);
	T_ERR(store_collection_next(t->s, CID, &c, NULL), ENOENT);
	t_reopen(t);
	c = t_collection_of(t->s);
	assert_int_equal(c.owner.uid, 1000);
	assert_int_equal(c.owner.mode, 0700);
	assert_int_equal(c.config.ef_construction, 200);
	T_ERR(store_collection_create(t->s, &c, NULL), EEXIST);
}

static void small_commits(void **state)
{
	struct t_store *t = *state;
	struct store_commit r;
	uint64_t seq;

	T_OK(t_put(t->s, 1, 3, 10, 0, &r));
	assert_int_equal(r.ret_accepted, 3);
	assert_int_equal(r.ret_replaced, 0);
	seq = r.ret_seq;
	T_OK(t_put(t->s, 2, 2, 20, 0, &r));
	assert_int_equal(r.ret_replaced, 2);
	assert_true(r.ret_seq > seq);
	for (int i = 0; i < 2; i++) {
		T_OK(t_check(t->s, 1, 10, 0));
		T_OK(t_check(t->s, 2, 20, 0));
		T_OK(t_check(t->s, 3, 21, 0));
		T_ERR(t_check(t->s, 4, 21, 0), ENOENT);
		assert_int_equal(t_collection_of(t->s).next_num, 4);
		assert_int_equal(t_collection_of(t->s).total_inserts, 5);
		assert_int_equal(t_collection_of(t->s).config.dimension, DIM);
		assert_int_equal(store_last_seq(t->s), r.ret_seq);
		t_reopen(t);
	}
}

static void extents(void **state)
{
	struct t_store *t = *state;
	struct seen *seen = calloc(1, sizeof(*seen));
	uint64_t file, live;

	T_OK(t_put_extents(t->s, 1, 3000, 0, 0, 700));
	T_OK(t_put_extents(t->s, 3001, 10, 3000, 0, 10));
	for (int i = 0; i < 2; i++) {
		T_OK(t_check(t->s, 1, 0, 0));
		T_OK(t_check(t->s, 700, 699, 0));
		T_OK(t_check(t->s, 701, 700, 0));
		T_OK(t_check(t->s, 3010, 3009, 0));
		seen->n = 0;
		T_OK(store_scan(t->s, CID, 0, see_row, seen, NULL));
		assert_int_equal(seen->n, 3010);
		assert_false(seen->inlined);
		T_OK(store_segment_bytes(t->s, CID, &file, &live, NULL));
		assert_int_equal(live, 3010 * DIM * 4);
		assert_true(file > live);
		t_reopen(t);
	}
	assert_null(store_floats(t->s, CID, file, DIM));
	assert_null(store_floats(t->s, CID, 3, DIM));
	free(seen);
}

/* Of the same number twice in a batch the later one wins, and the first one's slot is gone. */
static void duplicates_in_a_batch(void **state)
{
	struct t_store *t = *state;
	struct store_row *a = t_rows(1, 1, 5, 1), *b = t_rows(1, 1, 6, 2);
	struct store_row rows[] = { *a, *b };
	struct store_commit c = {
		.cid = CID, .dimension = DIM, .durable = true, .rows = rows, .n_rows = 2
	};
	struct seen seen = { 0 };

	T_OK(t_put(t->s, 1, 1, 4, 0, NULL));
	T_OK(store_commit(t->s, &c, NULL));
	assert_int_equal(c.ret_accepted, 2);
	assert_int_equal(c.ret_replaced, 1);
	T_OK(t_check(t->s, 1, 6, 2));
	T_OK(store_scan_gone(t->s, CID, 1, see_gone, &seen, NULL));
	assert_int_equal(seen.n, 2);
	assert_int_equal(seen.slots[0], 4);
	assert_int_equal(seen.slots[1], 5);
	t_rows_free(a);
	t_rows_free(b);
}

static void removes(void **state)
{
	struct t_store *t = *state;
	const uint64_t nums[] = { 2, 99, 4, 2 };
	struct store_commit c = { .cid = CID, .durable = true, .removed = nums, .n_removed = 4 };
	struct seen seen = { 0 };

	T_OK(t_put(t->s, 1, 5, 10, 0, NULL));
	T_OK(store_commit(t->s, &c, NULL));
	assert_int_equal(c.ret_removed, 2);
	t_reopen(t);
	T_ERR(t_check(t->s, 2, 11, 0), ENOENT);
	T_OK(t_check(t->s, 3, 12, 0));
	assert_int_equal(t_collection_of(t->s).total_deletes, 2);
	/* There is no image, so the open forgot what only images need. */
	T_OK(store_scan_gone(t->s, CID, 0, see_gone, &seen, NULL));
	assert_int_equal(seen.n, 0);
}

static void gone_until_image(void **state)
{
	struct t_store *t = *state;
	struct seen seen = { 0 };
	struct store_commit r;
	char path[512];
	int fd;

	store_image_path(t->s, CID, path, sizeof(path));
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	T_OK(t_put(t->s, 1, 3, 10, 0, NULL));
	T_OK(t_put(t->s, 1, 2, 20, 0, &r));
	T_OK(t_put(t->s, 3, 1, 30, 0, NULL));
	t_reopen(t);
	T_OK(store_scan_gone(t->s, CID, 0, see_gone, &seen, NULL));
	assert_int_equal(seen.n, 3);
	T_OK(store_image_saved(t->s, CID, r.ret_seq, NULL));
	seen.n = 0;
	T_OK(store_scan_gone(t->s, CID, 0, see_gone, &seen, NULL));
	assert_int_equal(seen.n, 1);
	assert_int_equal(seen.slots[0], 12);
	/* and an image of before is refused, also after an older one was in place again */
	assert_int_equal(t_collection_of(t->s).cleared_seq, r.ret_seq);
	T_OK(store_image_saved(t->s, CID, r.ret_seq - 1, NULL));
	t_reopen(t);
	assert_int_equal(t_collection_of(t->s).cleared_seq, r.ret_seq);
}

static void remove_all(void **state)
{
	struct t_store *t = *state;
	struct store_row *rows = t_rows(50, 1, 40, 0);
	struct store_commit c = { .cid = CID,
		                  .dimension = DIM,
		                  .durable = true,
		                  .remove_all = true,
		                  .rows = rows,
		                  .n_rows = 1 };
	struct store_commit empty = { .cid = CID, .durable = true, .remove_all = true };

	T_OK(t_put(t->s, 1, 30, 0, 0, NULL));
	T_OK(store_commit(t->s, &c, NULL));
	assert_int_equal(c.ret_removed, 30);
	assert_int_equal(t_collection_of(t->s).cleared_seq, c.ret_seq);
	T_ERR(t_check(t->s, 1, 0, 0), ENOENT);
	T_OK(t_check(t->s, 50, 40, 0));
	assert_int_equal(t_collection_of(t->s).config.dimension, DIM);
	T_OK(store_commit(t->s, &empty, NULL));
	assert_int_equal(t_collection_of(t->s).config.dimension, 0);
	assert_int_equal(t_collection_of(t->s).next_num, 51);
	t_rows_free(rows);
}

static void dimension_is_kept(void **state)
{
	struct t_store *t = *state;
	struct store_row *rows = t_rows(2, 1, 1, 0);
	struct store_commit c = { .cid = CID, .dimension = DIM - 1, .rows = rows, .n_rows = 1 };
	struct store_collection to;
	struct err e;

	T_OK(t_put(t->s, 1, 1, 0, 0, NULL));
	T_ERR(store_commit(t->s, &c, &e), EINVAL);
	assert_string_equal(e.text, "expected 8 numbers, got 7");
	to = t_collection_of(t->s);
	to.config.dimension = 3; /* not while there are vectors */
	to.config.ef_search = 99;
	to.owner.uid = 77;
	T_OK(store_collection_update(t->s, &to, NULL));
	t_reopen(t);
	to = t_collection_of(t->s);
	assert_int_equal(to.config.dimension, DIM);
	assert_int_equal(to.config.ef_search, 99);
	assert_int_equal(to.owner.uid, 77);
	t_rows_free(rows);
}

static void tokens(void **state)
{
	struct t_store *t = *state;
	const uint8_t token[STORE_TOKEN_SIZE] = { 1, 2, 3 };
	struct store_row *rows = t_rows(1, 2, 0, 0);
	struct store_commit c = { .cid = CID,
		                  .dimension = DIM,
		                  .durable = true,
		                  .rows = rows,
		                  .n_rows = 2,
		                  .token = token };
	uint64_t seq;

	T_OK(store_commit(t->s, &c, NULL));
	assert_false(c.ret_duplicate);
	seq = c.ret_seq;
	t_reopen(t);
	T_OK(t_put(t->s, 1, 2, 5, 9, NULL));
	T_OK(store_commit(t->s, &c, NULL));
	assert_true(c.ret_duplicate);
	assert_int_equal(c.ret_seq, seq);
	assert_int_equal(c.ret_accepted, 2);
	T_OK(t_check(t->s, 1, 5, 9)); /* not done again */
	t_rows_free(rows);
}

/* A commit of nothing, with a token made of n, or without one. */
static bool is_known(struct t_store *t, const uint64_t *n)
{
	uint8_t token[STORE_TOKEN_SIZE] = { 0 };
	struct store_commit c = { .cid = CID, .token = n ? token : NULL };

	if (n)
		memcpy(token, n, sizeof(*n));
	T_OK(store_commit(t->s, &c, NULL));
	return c.ret_duplicate;
}

/* Whatever the others commit, and although no one with a token comes at a round number. */
static void old_tokens_are_forgotten(void **state)
{
	struct t_store *t = *state;
	uint64_t first = store_last_seq(t->s), n;

	while ((n = store_last_seq(t->s) + 1) < first + 10600)
		assert_false(is_known(t, n % 2 ? &n : NULL));
	n = first + 10599;
	assert_true(is_known(t, n % 2 ? &n : &(uint64_t){ n - 1 }));
	n = first + 601;
	assert_true(is_known(t, n % 2 ? &n : &(uint64_t){ n + 1 }));
	n = first + 1;
	assert_false(is_known(t, n % 2 ? &n : &(uint64_t){ n + 1 }));
}

static void receipts_are_kept_and_pruned(void **state)
{
	struct t_store *t = *state;
	struct store_collection c = t_collection_of(t->s);
	struct receipt r = { .state = RECEIPT_COMMITTED }, back;
	struct store_row *rows = t_rows(1, 2, 0, 0);
	struct store_commit commit = { .cid = CID,
		                       .dimension = DIM,
		                       .durable = true,
		                       .rows = rows,
		                       .n_rows = 2,
		                       .receipt = &r };
	uint32_t n;

	c.config.receipts = 3;
	T_OK(store_collection_update(t->s, &c, NULL));
	for (int i = 0; i < 5; i++) {
		T_OK(store_receipt_number(t->s, CID, &r.number, NULL));
		snprintf(r.name, sizeof(r.name), "file%d", i);
		T_OK(store_receipt_put(t->s, CID, &r, NULL));
	}
	T_ERR(store_receipt_by_name(t->s, CID, "file1", &back, NULL), ENOENT);
	T_OK(store_receipt_by_name(t->s, CID, "file2", &back, NULL));
	T_OK(store_receipt_next(t->s, CID, 0, &back, NULL));
	assert_string_equal(back.name, "file2");
	T_OK(store_receipt_rename(t->s, CID, back.number, "file4", NULL));
	T_OK(store_receipt_by_name(t->s, CID, "file4", &back, NULL));
	assert_int_equal(back.number, 3);
	T_OK(store_receipt_remove(t->s, CID, 3, NULL));
	T_ERR(store_receipt_remove(t->s, CID, 3, NULL), ENOENT);

	T_OK(store_receipt_number(t->s, CID, &r.number, NULL));
	strcpy(r.name, "new");
	r.bytes = 17;
	T_OK(store_commit(t->s, &commit, NULL));
	T_OK(store_commit(t->s, &commit, NULL));
	assert_int_equal(r.vectors, 4);
	t_reopen(t);
	T_OK(store_receipt_by_number(t->s, CID, r.number, &back, NULL));
	assert_int_equal(back.vectors, 4);
	assert_int_equal(back.replaced, 2);
	assert_int_equal(back.batches, 2);
	assert_int_equal(back.bytes, 17);
	r.vectors = r.replaced = r.batches = 0; /* the file is written again */
	T_OK(store_commit(t->s, &commit, NULL));
	T_OK(store_receipt_by_number(t->s, CID, r.number, &back, NULL));
	assert_int_equal(back.vectors, 2);
	assert_int_equal(back.batches, 1);
	T_OK(store_receipt_number(t->s, CID, &n, NULL));
	assert_true(n > r.number);
	r.number = n + 5; /* given by a process before this one, stored only now */
	strcpy(r.name, "late");
	T_OK(store_commit(t->s, &commit, NULL));
	T_OK(store_receipt_number(t->s, CID, &n, NULL));
	assert_int_equal(n, r.number + 1);
	t_rows_free(rows);
}

static void lists_in_order(void **state)
{
	struct t_store *t = *state;
	struct seen *seen = calloc(1, sizeof(*seen));
	uint64_t after = 0;

	for (int i = 0; i < 5; i++)
		T_OK(t_put(t->s, 1 + (uint64_t)i * 1000, 1000, (uint32_t)i * 1000, 0, NULL));
	T_OK(t_put(t->s, 500, 10, 6000, 1, NULL)); /* replaced: the place in the list stays */
	while (seen->n < 3900) {
		T_OK(store_list(t->s, CID, after, 300, see_num, seen, NULL));
		after = seen->nums[seen->n - 1];
	}
	for (size_t i = 0; i < seen->n; i++)
		assert_int_equal(seen->nums[i], i + 1);
	assert_int_equal(store_list(t->s, CID, after, 300, see_num, seen, NULL), 42);
	free(seen);
}

static void scans_by_sequence(void **state)
{
	struct t_store *t = *state;
	struct seen *seen = calloc(1, sizeof(*seen));
	struct store_commit r;

	T_OK(t_put(t->s, 1, 3, 0, 0, &r));
	T_OK(t_put(t->s, 2, 1, 7, 0, NULL));
	T_OK(t_put(t->s, 4, 1, 8, 0, NULL));
	T_OK(store_scan(t->s, CID, 0, see_row, seen, NULL));
	assert_int_equal(seen->n, 4);
	assert_true(seen->inlined);
	assert_int_equal(seen->nums[2], 2);
	assert_int_equal(seen->slots[3], 8);
	seen->n = 0;
	T_OK(store_scan(t->s, CID, r.ret_seq, see_row, seen, NULL));
	assert_int_equal(seen->n, 2);
	free(seen);
}

struct moves {
	struct store *s;
	size_t n;
};

static void see_moved(void *ctx, uint32_t slot, uint64_t off, const float *v)
{
	struct moves *m = ctx;
	float want[DIM];

	t_vector(want, slot + 1, 0);
	assert_memory_equal(v, want, sizeof(want));
	assert_ptr_equal(v, store_floats(m->s, CID, off, DIM));
	m->n++;
}

static void moves_inline_rows(void **state)
{
	struct t_store *t = *state;
	struct moves m = { .s = t->s };
	struct store_move sm = { .max_rows = 400, .moved = see_moved, .ctx = &m };
	struct seen *seen = calloc(1, sizeof(*seen));

	T_OK(t_put(t->s, 1, 500, 0, 0, NULL));
	assert_int_equal(store_move_inline(t->s, CID, DIM, &sm, NULL), 400);
	assert_true(sm.ret_more);
	assert_int_equal(store_move_inline(t->s, CID, DIM, &sm, NULL), 100);
	assert_false(sm.ret_more);
	assert_int_equal(store_move_inline(t->s, CID, DIM, &sm, NULL), 0);
	assert_false(sm.ret_more);
	assert_int_equal(m.n, 500);
	t_reopen(t);
	T_OK(store_scan(t->s, CID, 0, see_row, seen, NULL));
	assert_int_equal(seen->n, 500);
	assert_false(seen->inlined);
	for (uint64_t i = 1; i <= 500; i++)
		T_OK(t_check(t->s, i, (uint32_t)i - 1, 0));
	free(seen);
}

static void compacts(void **state)
{
	struct t_store *t = *state;
	struct moves m = { .s = t->s };
	uint64_t before, after, live, nums[900];
	struct store_commit c = { .cid = CID, .durable = true, .removed = nums, .n_removed = 900 };
	char path[512];

	T_OK(t_put_extents(t->s, 1, 1000, 0, 0, 300));
	T_OK(t_put(t->s, 1001, 10, 1000, 0, NULL));
	for (uint64_t i = 0; i < 900; i++)
		nums[i] = i + 50;
	T_OK(store_commit(t->s, &c, NULL));
	T_OK(store_segment_bytes(t->s, CID, &before, &live, NULL));
	T_OK(store_compact(t->s, CID, DIM, see_moved, &m, NULL));
	assert_int_equal(m.n, 100);
	T_OK(store_segment_bytes(t->s, CID, &after, &live, NULL));
	assert_true(after < before / 2);
	assert_int_equal(live, 100 * DIM * 4);
	for (int i = 0; i < 2; i++) {
		T_OK(t_check(t->s, 49, 48, 0));
		T_ERR(t_check(t->s, 50, 49, 0), ENOENT);
		T_OK(t_check(t->s, 1000, 999, 0));
		T_OK(t_check(t->s, 1010, 1009, 0));
		assert_int_equal(t_collection_of(t->s).gen, 2);
		store_drop_old_maps(t->s, CID);
		T_OK(t_put_extents(t->s, 2000 + (uint64_t)i * 10, 10, 2000, 0, 4));
		T_OK(t_check(t->s, 2005 + (uint64_t)i * 10, 2005, 0));
		snprintf(path, sizeof(path), "%s/7.vectors.1", t->dir);
		assert_int_equal(access(path, F_OK), -1);
		t_reopen(t);
	}
}

static void collections_come_and_go(void **state)
{
	struct t_store *t = *state;
	struct store_collection c;
	struct store_commit commit = { .cid = 9, .durable = true, .remove_all = true };
	char path[512];

	t_collection(t->s, 9, "second");
	T_OK(t_put_extents(t->s, 1, 10, 0, 0, 10));
	T_OK(store_collection_remove(t->s, CID, NULL));
	T_ERR(t_check(t->s, 1, 0, 0), ENODEV);
	T_ERR(t_put(t->s, 1, 1, 0, 0, NULL), ENODEV);
	snprintf(path, sizeof(path), "%s/7.vectors.1", t->dir);
	assert_int_equal(access(path, F_OK), -1);
	T_OK(store_commit(t->s, &commit, NULL));
	t_reopen(t);
	T_OK(store_collection_next(t->s, 0, &c, NULL));
	assert_int_equal(c.cid, 9);
	T_ERR(store_collection_next(t->s, 9, &c, NULL), ENOENT);
}

static void readonly(void **state)
{
	struct t_store *t = *state;

	T_OK(t_put(t->s, 1, 5, 0, 0, NULL));
	T_OK(t_put_extents(t->s, 6, 50, 5, 0, 20));
	store_close(t->s);
	T_OK(store_open(t->dir, true, &t->s, NULL));
	T_OK(t_check(t->s, 3, 2, 0));
	T_OK(t_check(t->s, 30, 29, 0));
	T_ERR(t_put(t->s, 60, 1, 60, 0, NULL), EROFS);
	T_ERR(t_put_extents(t->s, 60, 1, 60, 0, 1), EROFS);
}

static void newer_format_is_refused(void **state)
{
	struct t_store *t = *state;
	struct err e;
	char path[512];
	sqlite3 *db;

	store_close(t->s);
	t->s = NULL;
	snprintf(path, sizeof(path), "%s/store.db", t->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=2", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	T_ERR(store_open(t->dir, false, &t->s, &e), EPROTO);
	assert_string_equal(
		e.text, "the store is of format 2, this version knows up to 1: use a newer one");
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_exec(db,
	             "PRAGMA user_version=1; CREATE TRIGGER t AFTER INSERT ON rows BEGIN"
	             " DELETE FROM rows; END",
	             NULL, NULL, NULL);
	sqlite3_close(db);
	T_ERR(store_open(t->dir, false, &t->s, NULL), EILSEQ);
}

static void put_file(const struct t_store *t, const char *name, char *ret_path)
{
	int fd;

	snprintf(ret_path, 512, "%s/%s", t->dir, name);
	fd = open(ret_path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void sweeps_what_it_began(void **state)
{
	struct t_store *t = *state;
	char mine[512], other[512];

	put_file(t, "9.graph.tmp", mine);
	put_file(t, "labels.tmp", other);
	t_reopen(t);
	assert_int_equal(access(mine, F_OK), -1);
	assert_int_equal(access(other, F_OK), 0);
}

struct reopening {
	struct t_store *t;
	atomic_bool end;
};

static void *reopen_always(void *arg)
{
	struct reopening *r = arg;

	while (!r->end)
		t_reopen(r->t);
	return NULL;
}

/* The owner of the store opens it, and sweeps, while it is copied. */
static void is_copied_beside_its_owner(void **state)
{
	struct t_store *t = *state;
	struct reopening r = { .t = t };
	struct store_copy c;
	struct err e = { 0 };
	char aside[300];
	pthread_t owner;

	snprintf(aside, sizeof(aside), "%s/../copy.tmp", t->dir);
	T_OK(t_put(t->s, 1, 3, 10, 0, NULL));
	pthread_create(&owner, NULL, reopen_always, &r);
	for (int i = 0; i < 100; i++) {
		if (store_copy_open(t->dir, aside, &c, &e) < 0)
			fail_msg("copy %d: %s", i, e.text);
		assert_int_equal(c.n, 1);
		assert_string_equal(c.files[0].name, "store.db");
		store_copy_close(&c);
	}
	r.end = true;
	pthread_join(owner, NULL);
	assert_int_equal(access(aside, F_OK), -1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, t_setup, t_teardown)
	const struct CMUnitTest tests[] = {
		TEST(opens_empty),
		TEST(small_commits),
		TEST(extents),
		TEST(duplicates_in_a_batch),
		TEST(removes),
		TEST(gone_until_image),
		TEST(remove_all),
		TEST(dimension_is_kept),
		TEST(tokens),
		TEST(old_tokens_are_forgotten),
		TEST(receipts_are_kept_and_pruned),
		TEST(lists_in_order),
		TEST(scans_by_sequence),
		TEST(moves_inline_rows),
		TEST(compacts),
		TEST(collections_come_and_go),
		TEST(readonly),
		TEST(newer_format_is_refused),
		TEST(sweeps_what_it_began),
		TEST(is_copied_beside_its_owner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
