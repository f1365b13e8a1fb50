/*
 * test_intake.c: a stream of bytes to batches, by the commit rules of ingest/, into a real tenant.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/io.h"
#include "t.h"
#include "tree/ingest.h"

static char data[64];
static struct workers *workers;
static struct tenants *ts;
static struct live *live;
static uint32_t cid;
static struct live_receipt *receipt; /* of the file that start() made last */
static struct intake *in;
static uint64_t at; /* where the next write goes */
static struct err e;

static int set_up(void **state)
{
	struct tenants_options o = { .data = data, .tier = "unlimited" };
	const struct owner me = { 0, 0, 0700 };

	snprintf(data, sizeof(data), "/tmp/ruvectorfs-intake-XXXXXX");
	assert_non_null(mkdtemp(data));
	workers = workers_new(1);
	assert_non_null(workers);
	o.workers = workers;
	T_OK(tenants_open(&o, &ts, &e));
	T_OK(tenants_create(ts, "t", &me, &cid, &e));
	T_OK(live_new(&live, &e));
	receipt = NULL;
	in = NULL;
	return 0;
}

static void stop(void)
{
	intake_free(in);
	in = NULL;
	if (receipt) {
		live_end_writer(live, receipt);
		live_put(live, receipt);
	}
	receipt = NULL;
}

static int tear_down(void **state)
{
	stop();
	live_free(live);
	tenants_close(ts);
	workers_free(workers);
	io_remove_tree(data);
	return 0;
}

/* ---- a file ---- */

static uint32_t last_number;

static void open_file(const char *name, uint32_t number, bool append)
{
	struct receipt fresh = { .number = number, .state = RECEIPT_INGESTING };
	struct intake_options o = { .tenants = ts, .cid = cid, .name = name, .append = append };

	snprintf(fresh.name, sizeof(fresh.name), "%s", name);
	stop();
	receipt = live_write(live, cid, &fresh, number, false, append);
	assert_non_null(receipt);
	o.live = receipt;
	at = 0;
	T_OK(intake_new(&o, &in, &e));
}

static void start(const char *name)
{
	open_file(name, ++last_number, false);
}

static long put_n(const char *s, size_t n)
{
	long rc = intake_write(in, at, s, n, &e);

	at += rc > 0 ? (uint64_t)rc : 0;
	return rc;
}

static long put(const char *s)
{
	return put_n(s, strlen(s));
}

static int flush(void)
{
	return intake_flush(in, false, &e);
}

/* A whole file. */
static void file(const char *name, const char *content)
{
	start(name);
	T_OK(put(content));
	if (flush() < 0)
		fail_msg("%s", e.text);
}

/* ---- what is stored ---- */

static uint64_t vectors(void)
{
	struct collection_info info;
	struct inside i;

	T_OK(tenant_enter(ts, cid, TENANT_LOOK, &i, &e));
	T_OK(engine_collection_info(i.engine, cid, &info));
	tenant_leave(&i);
	return info.vectors;
}

static const char *json(const char *id)
{
	static char text[512];
	struct buf b BUF_AUTO = BUF_INIT;
	struct inside i;
	uint64_t num;

	T_OK(tenant_enter(ts, cid, TENANT_LOOK, &i, &e));
	if (engine_lookup(i.engine, cid, id, strlen(id), &num) < 0) {
		tenant_leave(&i);
		return "none";
	}
	T_OK(engine_get_json(i.engine, cid, num, &b, &e));
	tenant_leave(&i);
	snprintf(text, sizeof(text), "%.*s", (int)b.len - 1, b.data);
	return text;
}

#define STORED(id, v) assert_string_equal(json(id), "{\"id\":\"" id "\",\"vector\":" v "}")
#define ABSENT(id)    assert_string_equal(json(id), "none")

static void says(enum receipt_state state, uint64_t n_vectors, uint64_t replaced)
{
	struct receipt r;

	live_copy(receipt, &r);
	assert_int_equal(r.state, state);
	assert_int_equal(r.vectors, n_vectors);
	assert_int_equal(r.replaced, replaced);
}

static const char *why(void)
{
	static struct receipt r;

	live_copy(receipt, &r);
	return r.error;
}

static struct receipt stored_receipt(void)
{
	struct receipt r = { .number = 0 };
	struct inside i;

	T_OK(tenant_enter(ts, cid, TENANT_LOOK, &i, &e));
	engine_receipt_by_number(i.engine, cid, last_number, &r, NULL);
	tenant_leave(&i);
	return r;
}

static void limit(const char *quota)
{
	T_OK(tenants_set_quota(ts, cid, quota, strlen(quota), &e));
}

/* ---- the commit rules ---- */

static void test_a_line_commits_in_its_write(void **state)
{
	start("doc");
	T_OK(put("1 2 3\n"));
	STORED("doc", "[1,2,3]");
	says(RECEIPT_COMMITTED, 1, 0);
	assert_int_equal(stored_receipt().vectors, 1);
	T_OK(put("4 5 6\n"));
	STORED("doc:1", "[4,5,6]");
	STORED("doc", "[1,2,3]");
	says(RECEIPT_COMMITTED, 2, 0);
}

static void test_a_line_in_pieces_commits_with_its_newline(void **state)
{
	start("doc");
	T_OK(put("1 2"));
	T_OK(put(".5 3"));
	assert_int_equal(vectors(), 0);
	says(RECEIPT_INGESTING, 0, 0);
	T_OK(put("\n"));
	STORED("doc", "[1,2.5,3]");
}

static void test_lines_wait_for_the_close(void **state)
{
	start("doc.txt");
	T_OK(put("1 2 3\n4 5 6\n"));
	assert_int_equal(vectors(), 0);
	T_OK(put("7 8 9\n")); /* ends with a newline, but three wait */
	assert_int_equal(vectors(), 0);
	T_OK(flush());
	STORED("doc:0", "[1,2,3]");
	STORED("doc:2", "[7,8,9]");
	ABSENT("doc");
	says(RECEIPT_COMMITTED, 3, 0);
	T_OK(flush()); /* once is enough */
	says(RECEIPT_COMMITTED, 3, 0);
}

static void test_flush_before_the_first_write(void **state)
{
	start("doc");
	T_OK(flush());
	T_OK(put("1 2 3\n"));
	says(RECEIPT_COMMITTED, 1, 0);
}

static void test_names(void **state)
{
	file("a.jsonl", "{\"vector\":[1,2]}\n");
	STORED("a", "[1,2]");
	file(".b.npz.aB3xY9", "1 3\n"); /* rsync's */
	STORED("b.npz", "[1,3]");
	file(".c.txt.aB3xY9", "1 4\n");
	STORED("c", "[1,4]");
	file(".txt", "1 5\n");
	STORED(".txt", "[1,5]");
	file("d", "own\t1 6\n2 7\n");
	STORED("own", "[1,6]");
	STORED("d:1", "[2,7]");
}

static void test_a_name_too_long_for_its_second_vector(void **state)
{
	char name[LIMIT_ID + 1];

	memset(name, 'x', LIMIT_ID);
	name[LIMIT_ID] = '\0';
	start(name);
	T_OK(put("1 2\n"));
	assert_int_equal(vectors(), 1);
	T_ERR(put("3 4\n"), EINVAL);
	assert_int_equal(vectors(), 1);
}

/* ---- refusals ---- */

static void test_a_bad_line_rejects_what_waits(void **state)
{
	start("doc");
	T_OK(put("1 2 3\n4 5 6\n"));
	T_ERR(put("7 8\n"), EINVAL);
	assert_string_equal(e.text, "line 3: expected 3 numbers, got 2");
	T_ERR(put("7 8 9\n"), EINVAL); /* nothing is taken any more */
	T_ERR(flush(), EINVAL);
	assert_string_equal(e.text, "line 3: expected 3 numbers, got 2");
	assert_int_equal(vectors(), 0);
	says(RECEIPT_REJECTED, 0, 0);
	assert_string_equal(why(), "line 3: expected 3 numbers, got 2");
}

static void test_the_first_line_is_refused_as_the_first(void **state)
{
	file("seed", "1 2 3\n");
	start("doc");
	T_ERR(put("1 2\n1 2 3\n1 2 3\n"), EINVAL);
	assert_string_equal(e.text, "line 1: expected 3 numbers, got 2");
	start("doc");
	T_ERR(put("1 2\n"), EINVAL);
	assert_string_equal(e.text, "line 1: expected 3 numbers, got 2");
}

static void test_what_was_committed_before_stays(void **state)
{
	start("doc");
	T_OK(put("1 2 3\n"));
	T_ERR(put("4 nan 6\n"), EINVAL);
	STORED("doc", "[1,2,3]");
	says(RECEIPT_REJECTED, 1, 0);
}

static void test_writes_out_of_order(void **state)
{
	start("doc");
	T_OK(put("1 2 3\n1 2"));
	at += 1;
	T_ERR(put("3\n"), EINVAL);
	start("doc");
	T_OK(put("1 2 3\n"));
	at = 0;
	T_ERR(put("1 2 4\n"), EINVAL);
	assert_int_equal(vectors(), 1);
}

static void test_a_quota_in_the_middle(void **state)
{
	limit("max_vectors 3\n");
	start("doc");
	T_ERR(put("1 1\n2 1\n3 1\n4 1\n5 1\n"), EDQUOT);
	assert_int_equal(vectors(), 0);
	start("doc");
	T_OK(put("1 1\n2 1\n3 1\n"));
	T_OK(flush());
	assert_int_equal(vectors(), 3);
}

static void test_status_while_a_batch_is_open(void **state)
{
	start("doc");
	T_OK(put("1 2 3\n4 5 6\n"));
	T_OK(tenants_set_status(ts, cid, TENANT_READONLY, &e));
	T_ERR(flush(), EROFS);
	T_OK(tenants_set_status(ts, cid, TENANT_ACTIVE, &e));
	assert_int_equal(vectors(), 0);
	says(RECEIPT_REJECTED, 0, 0);
}

static void test_the_tenant_goes_while_a_batch_is_open(void **state)
{
	start("doc");
	T_OK(put("1 2 3\n4 5 6\n"));
	T_OK(tenants_set_status(ts, cid, TENANT_PENDING_DELETION, &e));
	T_OK(tenants_remove(ts, cid, &e));
	T_ERR(put("7 8 9\n"), ENODEV);
	T_ERR(flush(), ENODEV);
}

/* ---- tails ---- */

static void test_a_tail_is_taken_at_the_flush(void **state)
{
	start("doc");
	T_OK(put("1 2 3\n4 5 6"));
	T_OK(flush());
	STORED("doc:1", "[4,5,6]");
	T_OK(flush());
	says(RECEIPT_COMMITTED, 2, 0);
}

static void test_a_line_takes_the_place_of_its_tail(void **state)
{
	start("doc");
	T_OK(put("1 2 3\n4 5 6"));
	T_OK(flush());
	T_OK(put("7\n8 8 8\n"));
	T_OK(flush());
	STORED("doc:1", "[4,5,67]");
	STORED("doc:2", "[8,8,8]");
	assert_int_equal(vectors(), 3);
	says(RECEIPT_COMMITTED, 3, 1);
	assert_int_equal(stored_receipt().vectors, 3);
}

/* The tail was committed alone and so has the name NAME; its line keeps that, whatever follows. */
static void test_a_first_tail_keeps_its_name(void **state)
{
	start("doc");
	T_OK(put("1 2 3"));
	T_OK(flush());
	STORED("doc", "[1,2,3]");
	T_OK(put("4\n5 6 7\n"));
	T_OK(flush());
	STORED("doc", "[1,2,34]");
	STORED("doc:1", "[5,6,7]");
	ABSENT("doc:0");
	assert_int_equal(vectors(), 2);
	says(RECEIPT_COMMITTED, 2, 1);
}

/* The collection's only vector is half a line: it does not fix the dimension. */
static void test_a_tail_does_not_fix_the_dimension(void **state)
{
	start("doc");
	T_OK(put("1 2"));
	T_OK(flush());
	T_OK(put(" 3"));
	T_OK(flush());
	STORED("doc", "[1,2,3]");
	T_OK(put(" 4\n"));
	STORED("doc", "[1,2,3,4]");
	assert_int_equal(vectors(), 1);
	says(RECEIPT_COMMITTED, 1, 0);
}

static void test_a_bad_tail_may_go_on(void **state)
{
	start("doc");
	T_OK(put("1 2 3\n4 5"));
	T_ERR(flush(), EINVAL);
	assert_string_equal(e.text, "line 2: expected 3 numbers, got 2");
	says(RECEIPT_REJECTED, 0, 0);
	assert_int_equal(vectors(), 0);
	T_OK(put(" 6\n"));
	T_OK(flush());
	STORED("doc:1", "[4,5,6]");
	says(RECEIPT_COMMITTED, 2, 0);
}

static void test_a_bad_tail_that_stays_rejects_all(void **state)
{
	start("doc");
	T_OK(put("1 2 3\n4 5"));
	T_ERR(flush(), EINVAL);
	intake_free(in);
	in = NULL;
	assert_int_equal(vectors(), 0);
	says(RECEIPT_REJECTED, 0, 0);
	assert_string_equal(why(), "line 2: expected 3 numbers, got 2");
}

static void test_a_tail_with_an_id_of_its_own(void **state)
{
	start("doc");
	T_OK(put("a\t1 2\nb\t3 4"));
	T_OK(flush());
	T_OK(put("5\nc\t6 7\n"));
	T_OK(flush());
	STORED("b", "[3,45]");
	STORED("c", "[6,7]");
	assert_int_equal(vectors(), 3);
}

/* ---- JSON, binary ---- */

static void test_a_json_array_is_one_batch(void **state)
{
	start("doc.json");
	T_OK(put("[{\"id\":\"a\",\"vector\":[1,2]}\n"));
	T_OK(put(",\n"));
	assert_int_equal(vectors(), 0);
	T_ERR(flush(), EINVAL);
	assert_int_equal(vectors(), 0);
	T_OK(put("{\"id\":\"b\",\"vector\":[3,4]}]\n"));
	T_OK(flush());
	assert_int_equal(vectors(), 2);
	says(RECEIPT_COMMITTED, 2, 0);
}

static void test_lines_in_brackets_are_no_array(void **state)
{
	start("doc");
	T_OK(put("[1, 2]\n"));
	STORED("doc", "[1,2]");
	T_OK(put("[3, 4]\n"));
	STORED("doc:1", "[3,4]");
}

static void test_the_last_of_an_id_wins(void **state)
{
	file("doc.jsonl", "{\"id\":\"a\",\"vector\":[1,2]}\n{\"id\":\"a\",\"vector\":[3,4]}\n");
	STORED("a", "[3,4]");
	assert_int_equal(vectors(), 1);
}

/* Two rows of fvecs, the second one all zeros but its dimension. */
static void test_holes_in_binary_files(void **state)
{
	struct {
		uint32_t dim;
		float v[2];
	} rows[3] = { { 2, { 1, 2 } }, { 2, { 3, 0 } }, { 2, { 4, 0 } } };

	start("doc.fvecs");
	T_OK(put_n((char *)&rows[0], sizeof(rows[0])));
	T_OK(put_n((char *)&rows[1], 8)); /* its last 4 bytes are skipped */
	at += 4;
	T_OK(put_n((char *)&rows[2], 8));
	T_OK(intake_truncate(in, sizeof(rows), &e));
	T_OK(flush());
	STORED("doc:1", "[3,0]");
	STORED("doc:2", "[4,0]");
}

static void test_half_a_row(void **state)
{
	const uint32_t row[3] = { 2, 0x3f800000, 0x3f800000 };

	start("doc.fvecs");
	T_OK(put_n((const char *)row, 12));
	T_OK(put_n((const char *)row, 8));
	T_ERR(flush(), EINVAL);
	assert_string_equal(e.text, "the file ends inside record 2");
	assert_int_equal(vectors(), 0);
	T_OK(put_n((const char *)row + 8, 4));
	T_OK(flush());
	assert_int_equal(vectors(), 2);
}

static void test_text_has_no_holes(void **state)
{
	start("doc");
	T_OK(put("1 2 3\n4 5 6\n"));
	T_ERR(intake_truncate(in, at + 10, &e), EINVAL);
	assert_int_equal(vectors(), 0);
}

/* ---- units of max_batch ---- */

static void test_units_of_max_batch(void **state)
{
	struct receipt r;

	limit("max_batch 2\n");
	start("doc");
	T_OK(put("1 1\n2 1\n3 1\n4 1\n5 1\n6 1\n"));
	assert_int_equal(vectors(), 4);
	says(RECEIPT_INGESTING, 4, 0);
	T_OK(flush());
	says(RECEIPT_COMMITTED, 6, 0);
	live_copy(receipt, &r);
	assert_int_equal(r.batches, 3);
}

static void test_a_last_unit_that_is_full(void **state)
{
	limit("max_batch 2\n");
	start("doc");
	T_OK(put("1 1\n2 1\n3 1\n4 1\n\n"));
	T_OK(flush());
	says(RECEIPT_COMMITTED, 4, 0);
}

static void test_a_bad_line_after_some_units(void **state)
{
	limit("max_batch 2\n");
	start("doc");
	T_ERR(put("1 1\n2 1\n3 1\nx 1\n"), EINVAL);
	assert_int_equal(vectors(), 2);
	says(RECEIPT_REJECTED, 2, 0);
}

/* ---- ends ---- */

static void test_a_dying_writer(void **state)
{
	start("doc");
	T_OK(put("1 2 3\n4 5 6\n7 8"));
	T_OK(intake_flush(in, true, &e));
	assert_int_equal(vectors(), 0);
	says(RECEIPT_REJECTED, 0, 0);
	assert_string_equal(why(), "the writer was ended by a signal");
	T_ERR(put("9\n"), EINTR);
}

static void test_a_dying_writer_of_what_is_committed(void **state)
{
	start("doc");
	T_OK(put("1 2 3\n"));
	T_OK(intake_flush(in, true, &e));
	says(RECEIPT_COMMITTED, 1, 0);
	T_OK(put("4 5 6"));
	T_OK(flush());
	T_OK(intake_flush(in, true, &e)); /* the tail was taken by then */
	says(RECEIPT_COMMITTED, 2, 0);
}

static void test_nothing_or_blank_is_empty(void **state)
{
	static const char *const contents[] = { NULL, "", "\n\n", "  \n", " " };

	for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
		start("doc");
		if (contents[i])
			T_OK(put(contents[i]));
		T_OK(flush());
		intake_free(in);
		in = NULL;
		receipt->n_refs++; /* to look at it afterwards */
		assert_true(live_end_writer(live, receipt));
		assert_string_equal(why(), "the file is empty");
		live_put(live, receipt);
		live_put(live, receipt);
		receipt = NULL;
	}
}

static void test_half_a_batch_without_a_flush(void **state)
{
	start("doc");
	T_OK(put("1 2 3\n4 5 6\n"));
	intake_free(in);
	in = NULL;
	says(RECEIPT_REJECTED, 0, 0);
	assert_string_equal(why(), "closed before its end was complete");
	assert_int_equal(vectors(), 0);
}

/* ---- appending, several writers ---- */

static void append(const char *name)
{
	open_file(name, last_number, true);
}

/* One more writer of the file that is open; the first one stays so. */
static struct intake *another(bool is_append)
{
	struct intake_options o = { .tenants = ts, .cid = cid, .append = is_append };
	struct intake *more;
	char name[LIMIT_ID + 1];

	snprintf(name, sizeof(name), "%s", receipt->receipt.name);
	o.name = name;
	o.live = receipt;
	assert_ptr_equal(live_write(live, cid, NULL, last_number, false, is_append), receipt);
	T_OK(intake_new(&o, &more, &e));
	return more;
}

static void end_another(struct intake *more)
{
	intake_free(more);
	assert_false(live_end_writer(live, receipt));
	live_put(live, receipt);
}

static long put_in(struct intake *to, const char *s)
{
	return intake_write(to, 0, s, strlen(s), &e);
}

static void test_appending_goes_on(void **state)
{
	struct intake *more;

	start("doc");
	T_OK(put("1 1\n"));
	more = another(true);
	T_OK(put_in(more, "2 1\n"));
	T_OK(put_in(more, "3 1\n4 1"));
	T_OK(intake_flush(more, false, &e));
	T_OK(put_in(more, "5\n"));
	end_another(more);
	STORED("doc", "[1,1]");
	STORED("doc:1", "[2,1]");
	STORED("doc:3", "[4,15]");
	says(RECEIPT_COMMITTED, 4, 1);
}

static void test_two_append_at_once(void **state)
{
	struct intake *a, *b;

	start("doc");
	a = another(true);
	b = another(true);
	for (int i = 0; i < 5; i++) {
		T_OK(put_in(a, "1 1\n"));
		T_OK(put_in(b, "2 2\n3 3\n"));
	}
	T_OK(intake_flush(b, false, &e));
	assert_int_equal(vectors(), 15);
	says(RECEIPT_COMMITTED, 15, 0);
	end_another(a);
	end_another(b);
}

/* What a rejected one had taken is used again, unless others went on behind it. */
static void test_positions_of_a_rejected_writer(void **state)
{
	struct intake *a, *b;

	start("doc");
	T_OK(put("1 1\n"));
	a = another(true);
	T_ERR(put_in(a, "2 1\n3 1\nx\n"), EINVAL);
	b = another(true);
	T_OK(put_in(b, "4 1\n"));
	STORED("doc:1", "[4,1]");
	end_another(a);
	a = another(true);
	T_OK(put_in(a, "5 1\n6 1\n"));
	T_OK(put_in(b, "7 1\n"));
	STORED("doc:4", "[7,1]");
	T_ERR(put_in(a, "x\n"), EINVAL);
	T_OK(put_in(b, "8 1\n"));
	STORED("doc:5", "[8,1]");
	assert_int_equal(vectors(), 4);
	says(RECEIPT_COMMITTED, 6, 0); /* where appending goes on */
	end_another(a);
	end_another(b);
}

static void test_one_that_closes_leaves_the_others_alone(void **state)
{
	struct intake *a;

	start("doc");
	a = another(false);
	T_OK(put("1 1\n2 2\n"));
	end_another(a);
	says(RECEIPT_INGESTING, 0, 0);
	T_OK(flush());
	says(RECEIPT_COMMITTED, 2, 0);
}

static void test_truncating_starts_the_receipt_again(void **state)
{
	start("doc");
	T_OK(put("1 1\n"));
	T_OK(put("2 1\n"));
	assert_non_null(live_write(live, cid, NULL, last_number, true, false));
	says(RECEIPT_INGESTING, 0, 0);
	live_end_writer(live, receipt);
	live_put(live, receipt);
}

static void test_a_forgotten_receipt_is_not_stored(void **state)
{
	start("doc");
	T_OK(put("1 1\n"));
	assert_int_equal(stored_receipt().number, last_number);
	receipt->forgotten = true;
	assert_null(live_by_name(live, cid, "doc"));
	file("doc", "1 2\n"); /* another one of that name */
	assert_int_equal(stored_receipt().vectors, 1);
	append("doc");
	receipt->forgotten = true;
	T_OK(put("x\t3 3\n"));
	assert_int_equal(vectors(), 2);
	assert_int_equal(stored_receipt().vectors, 1);
}

#define N_THREADS 4
#define N_LINES   50

static void *append_lines(void *arg)
{
	struct intake *to = arg;
	struct err te = { 0 };
	long rc = 0;

	for (int i = 0; i < N_LINES && rc >= 0; i++)
		rc = i % 2 ? intake_write(to, 0, "1 1\n2 2\n", 8, &te)
		           : intake_write(to, 0, "3 3\n", 4, &te);
	if (rc >= 0)
		rc = intake_flush(to, false, &te);
	return rc < 0 ? arg : NULL;
}

static void test_many_append_at_once(void **state)
{
	struct intake *to[N_THREADS];
	pthread_t thread[N_THREADS];
	void *failed;

	start("doc");
	for (int i = 0; i < N_THREADS; i++) {
		to[i] = another(true);
		assert_int_equal(pthread_create(&thread[i], NULL, append_lines, to[i]), 0);
	}
	for (int i = 0; i < N_THREADS; i++) {
		pthread_join(thread[i], &failed);
		assert_null(failed);
		end_another(to[i]);
	}
	assert_int_equal(vectors(), N_THREADS * N_LINES * 3 / 2);
	says(RECEIPT_COMMITTED, N_THREADS * N_LINES * 3 / 2, 0);
}

/* ---- vectors/ID ---- */

static void start_vector(const char *id)
{
	struct intake_options o = { .tenants = ts, .cid = cid, .name = id, .one_vector = true };

	stop();
	at = 0;
	T_OK(intake_new(&o, &in, &e));
}

static void test_a_vectors_own_file(void **state)
{
	start_vector("v.txt");
	T_OK(put("1 2\n"));
	STORED("v.txt", "[1,2]");
	T_ERR(put("3 4\n"), EINVAL);
	assert_string_equal(e.text, "line 2: a file in vectors/ holds one vector");
	start_vector("v");
	T_ERR(put("{\"id\":\"w\",\"vector\":[1,2]}\n"), EINVAL);
	start_vector("v");
	T_ERR(put("1 2\n3 4\n"), EINVAL);
	assert_int_equal(vectors(), 1);
	start_vector("v");
	T_OK(put("{\"id\":\"v\",\"vector\":[1,2]}"));
	T_OK(flush());
	assert_int_equal(vectors(), 2);
}

static void test_a_vectors_tail(void **state)
{
	start_vector("v");
	T_OK(put("1 2"));
	T_OK(flush());
	T_OK(put("3"));
	T_OK(flush());
	STORED("v", "[1,23]");
	T_OK(put("4\n"));
	STORED("v", "[1,234]");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_line_commits_in_its_write),
		TEST(test_a_line_in_pieces_commits_with_its_newline),
		TEST(test_lines_wait_for_the_close),
		TEST(test_flush_before_the_first_write),
		TEST(test_names),
		TEST(test_a_name_too_long_for_its_second_vector),
		TEST(test_a_bad_line_rejects_what_waits),
		TEST(test_the_first_line_is_refused_as_the_first),
		TEST(test_what_was_committed_before_stays),
		TEST(test_writes_out_of_order),
		TEST(test_a_quota_in_the_middle),
		TEST(test_status_while_a_batch_is_open),
		TEST(test_the_tenant_goes_while_a_batch_is_open),
		TEST(test_a_tail_is_taken_at_the_flush),
		TEST(test_a_line_takes_the_place_of_its_tail),
		TEST(test_a_first_tail_keeps_its_name),
		TEST(test_a_tail_does_not_fix_the_dimension),
		TEST(test_a_bad_tail_may_go_on),
		TEST(test_a_bad_tail_that_stays_rejects_all),
		TEST(test_a_tail_with_an_id_of_its_own),
		TEST(test_a_json_array_is_one_batch),
		TEST(test_lines_in_brackets_are_no_array),
		TEST(test_the_last_of_an_id_wins),
		TEST(test_holes_in_binary_files),
		TEST(test_half_a_row),
		TEST(test_text_has_no_holes),
		TEST(test_units_of_max_batch),
		TEST(test_a_last_unit_that_is_full),
		TEST(test_a_bad_line_after_some_units),
		TEST(test_a_dying_writer),
		TEST(test_a_dying_writer_of_what_is_committed),
		TEST(test_nothing_or_blank_is_empty),
		TEST(test_half_a_batch_without_a_flush),
		TEST(test_appending_goes_on),
		TEST(test_two_append_at_once),
		TEST(test_positions_of_a_rejected_writer),
		TEST(test_one_that_closes_leaves_the_others_alone),
		TEST(test_truncating_starts_the_receipt_again),
		TEST(test_a_forgotten_receipt_is_not_stored),
		TEST(test_many_append_at_once),
		TEST(test_a_vectors_own_file),
		TEST(test_a_vectors_tail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
