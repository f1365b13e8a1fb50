/*
 * query, results and error as their files behave, with a tenant that is not one: what is
 * searched for is answered by its first number and by how many queries of the exchange came
 * before.
 */
#include "t.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "tree/error_file.h"
#include "tree/exchange.h"
#include "tree/handle.h"

/* ---- the tenant ---- */

static int enter_error;
static size_t answer_bytes;
static _Atomic bool hold, holding;

int tenant_enter(struct tenants *ts, uint32_t cid, enum tenant_access access, struct inside *ret,
                 struct err *e)
{
	memset(ret, 0, sizeof *ret);
	ret->cid = cid;
	assert_int_equal(access, TENANT_READ);
	return enter_error ? err_set(e, enter_error, "the tenant is suspended") : 0;
}

void tenant_leave(struct inside *in)
{
}

int tenant_search(struct inside *in, const struct query *q, size_t n_before, struct answer *a,
                  struct err *e)
{
	struct answer_hit h = { .id = "id", .id_len = 2 };

	for (holding = hold; hold;)
		usleep(1000);
	if (q->v[0] == 666)
		return err_set(e, -EDOM, "not that number");
	h.distance = q->v[0] + 100 * (float)n_before;
	answer_begin(a, q);
	answer_hit(a, &h);
	for (size_t i = 0; i < answer_bytes; i += 1024) {
		static char filler[1024];

		memset(filler, 'x', sizeof filler);
		answer_hit(a, &(struct answer_hit){ .id = filler, .id_len = sizeof filler });
	}
	answer_end(a);
	return 0;
}

/* Over all tenants: as that one, and k of the query are left out. */
int tenants_search(struct tenants *ts, const struct query *q, size_t n_before, struct answer *a,
                   struct across *ret, struct err *e)
{
	*ret = (struct across){ .searched = 1, .unreadable = q->k };
	return tenant_search(NULL, q, n_before, a, e);
}

int tenants_shared_at(struct tenants *ts, uint32_t slot, uint32_t *ret_cid)
{
	*ret_cid = slot;
	return slot == 7 ? 0 : -ENODEV;
}

int tenant_search_in(struct inside *in, const struct inside *of, const struct query *q,
                     size_t n_before, struct answer *a, struct err *e)
{
	assert_int_equal(in->cid, 5);
	assert_int_equal(of->cid, 7);
	return tenant_search(in, q, n_before, a, e);
}

void across_note(const struct across *x, struct buf *ret)
{
	if (x->unreadable)
		buf_addf(ret, "%zu skipped", x->unreadable);
}

void tenant_slow_line(struct inside *in, const struct inside *of, const struct answer *a,
                      struct buf *ret)
{
	fail_msg("nothing here is slow");
}

static uint64_t n_told; /* queries, to the audit */

void acts_searched(struct tree *t, const struct lineage *l, struct node n, uint64_t count)
{
	n_told += count;
}

/* ---- a handle on query ---- */

static struct tree tree;
static struct handle handle;
static struct kept_file kept;
static struct caller caller;
static const struct node node_query = { NODE_QUERY, 5, 1 };
static const struct node node_results = { NODE_RESULTS, 5, 1 };
static const struct node node_error = { NODE_ERROR, 5, 1 };

static int start(void **state)
{
	memset(&tree, 0, sizeof tree);
	memset(&handle, 0, sizeof handle);
	memset(&kept, 0, sizeof kept);
	handle.kept = &kept;
	caller = (struct caller){ .tid = (pid_t)syscall(SYS_gettid) };
	handle.node = node_query;
	enter_error = 0;
	answer_bytes = 0;
	handle.flags = O_RDWR;
	T_OK(callers_new(&tree.callers, NULL));
	return file_query.open(&tree, &caller, &handle, NULL);
}

/* The handle is closed, and another one opened. */
static void reopen(void)
{
	file_query.release(&tree, &handle);
	T_OK(file_query.open(&tree, &caller, &handle, NULL));
}

struct handle *handles_get(struct handles *hs, uint64_t index)
{
	handle.ops = &file_query;
	return &handle;
}

static int stop(void **state)
{
	file_query.release(&tree, &handle);
	callers_free(tree.callers);
	buf_release(&tree.spare);
	return 0;
}

/* As tree.c does it, a failure's sentence goes to the caller's error. */
static long write_at(uint64_t off, const char *text)
{
	struct err e = { 0 };
	long rc = file_query.write(&tree, &caller, &handle, off, text, strlen(text), &e);

	if (rc < 0)
		error_post(&tree, &caller, node_query, &e);
	return rc;
}

static long read_at(uint64_t off, size_t n, char *ret)
{
	struct buf b = BUF_INIT;
	int rc = file_query.read(&tree, &caller, &handle, off, n, &b, NULL);
	long len = (long)b.len;

	if (rc == 0 && b.len)
		memcpy(ret, b.data, b.len);
	if (rc == 0)
		ret[b.len] = 0;
	buf_release(&b);
	return rc < 0 ? rc : len;
}

static int render(const struct file_ops *ops, struct node n, char *ret)
{
	struct buf b = BUF_INIT;
	int rc = ops->render(&tree, &caller, n, &b, NULL);

	strcpy(ret, b.len ? b.data : "");
	buf_release(&b);
	return rc;
}

static void expect_results(const char *text)
{
	char got[4096];

	T_OK(render(&file_results, node_results, got));
	assert_string_equal(got, text);
}

static void expect_no_results(int code)
{
	char got[4096];

	T_ERR(render(&file_results, node_results, got), code);
}

static void expect_error(const char *text)
{
	char got[4096];

	T_OK(render(&file_error, node_error, got));
	assert_string_equal(got, text);
}

static void expect_read(uint64_t off, const char *text)
{
	char got[8192];

	T_OK(read_at(off, 4000, got));
	assert_string_equal(got, text);
}

/* ---- one exchange ---- */

static void nothing_asked(void **state)
{
	char got[16];

	expect_no_results(ENODATA);
	T_ERR(read_at(0, 10, got), ENODATA);
	expect_error("");
}

/* n bytes of queries, each line told from the others by its first number. */
static char *long_batch(size_t n, unsigned first)
{
	char *text = malloc(n + 1);

	for (size_t i = 0; i < n; i += 16)
		snprintf(text + i, 17, "%07u 1 1 1 1\n", first++ % 10000000);
	text[n] = 0;
	return text;
}

/* Written in pieces of this size, of which 16 bytes divide each. */
static void expect_end_kept(size_t piece, unsigned first)
{
	size_t n = 3 * LIMIT_LINE;
	char *text = long_batch(n, first), *part = malloc(piece + 1), *got = malloc(LIMIT_LINE + 1);

	for (size_t off = 0; off < n; off += piece) {
		size_t len = n - off < piece ? n - off : piece;

		memcpy(part, text + off, len);
		part[len] = 0;
		assert_int_equal(write_at(off, part), len);
	}
	assert_int_equal(read_at(n - LIMIT_LINE, LIMIT_LINE, got), LIMIT_LINE);
	assert_memory_equal(got, text + n - LIMIT_LINE, LIMIT_LINE);
	T_ERR(read_at(1, 100, got), EINVAL);
	free(got);
	free(part);
	free(text);
}

static void end_of_long_batches(void **state)
{
	static const size_t pieces[] = { 3 * LIMIT_LINE, LIMIT_LINE, LIMIT_LINE / 2 + 4096, 65536 };

	for (unsigned i = 0; i < sizeof pieces / sizeof *pieces; i++) {
		expect_end_kept(pieces[i], 1000 + i * 1000000);
		reopen(); /* the next one gets this one's memory, and none of its text */
	}
	assert_true(tree.spare.cap > 0 && tree.spare.len == 0);
	assert_true(tree.spare.cap <= 4 * LIMIT_LINE);
	T_OK(write_at(0, "1 2\n"));
	expect_read(0, "1 2\nid\t1\n");
}

static void transcript(void **state)
{
	char got[64];

	T_OK(write_at(0, "1 2\n"));
	expect_read(4, "id\t1\n");
	expect_read(0, "1 2\nid\t1\n");
	expect_read(6, "\t1\n");
	expect_read(9, "");
	expect_read(1000, "");
	T_OK(read_at(2, 4, got));
	assert_string_equal(got, "2\nid");
	expect_results("id\t1\n");
	expect_error("");
}

static void next_one_follows(void **state)
{
	char got[8192];

	T_OK(write_at(0, "1\n"));
	expect_read(2, "id\t1\n");
	T_OK(write_at(7, "2\n"));
	expect_read(9, "id\t2\n");
	expect_read(7, "2\nid\t2\n");
	expect_results("id\t2\n");
	T_ERR(read_at(0, 100, got), EINVAL);
	T_ERR(read_at(6, 1, got), EINVAL);
	T_ERR(read_at(0, 4, got), EINVAL);
}

static void widened_reads(void **state)
{
	char got[8192];

	T_OK(write_at(5000, "1\n"));
	assert_int_equal(read_at(4096, 4096, got), 5002 - 4096 + 5);
	assert_memory_equal(got + 5000 - 4096, "1\nid\t1\n", 7);
	T_ERR(read_at(0, 4096, got), EINVAL);
	T_ERR(read_at(0, 8192, got), EINVAL);
	T_ERR(read_at(4097, 4096, got), EINVAL);
	answer_bytes = 8192;
	T_OK(write_at(20000, "1\n"));
	assert_int_equal(read_at(16384, 4096, got), 4096); /* not more than was asked for */
	assert_memory_equal(got + 20000 - 16384, "1\nid\t1\nxxx", 10);
}

static void batch_in_pieces(void **state)
{
	static const char text[] = "1\n2\n\n3\n";

	for (size_t cut = 1; cut < sizeof text - 1; cut++) {
		char first[16] = "";

		memcpy(first, text, cut);
		T_OK(write_at(100 * cut, first));
		T_OK(write_at(100 * cut + cut, text + cut));
		expect_results("id\t1\n\nid\t102\n\nid\t203\n");
		expect_read(100 * cut + sizeof text - 1, "id\t1\n\nid\t102\n\nid\t203\n");
	}
}

static void reading_ends_the_batch(void **state)
{
	uint64_t size;

	T_OK(write_at(0, "1\n"));
	T_OK(file_results.size(&tree, &caller, node_results, &size, NULL));
	assert_int_equal(size, 5);
	T_OK(write_at(2, "2\n"));
	expect_results("id\t1\n\nid\t102\n");
	T_OK(write_at(4, "3\n"));
	expect_results("id\t3\n");
	expect_read(6, "id\t3\n");
	T_OK(write_at(6, "4\n"));
	expect_results("id\t4\n");
}

/* pread(2) leaves the offset where the write ended. */
static void reading_the_transcript_ends_the_batch(void **state)
{
	T_OK(write_at(0, "1\n"));
	expect_read(2, "id\t1\n");
	T_OK(write_at(2, "2\n"));
	expect_results("id\t2\n");
}

static void elsewhere_is_another(void **state)
{
	T_OK(write_at(0, "1\n"));
	T_OK(write_at(0, "2\n"));
	expect_results("id\t2\n");
	T_OK(write_at(50, "3"));
	T_OK(write_at(60, "4"));
	expect_results("id\t4\n");
}

/* ---- tails ---- */

static void tail_at_results(void **state)
{
	uint64_t size;

	T_OK(write_at(0, "1"));
	T_OK(file_results.size(&tree, &caller, node_results, &size, NULL));
	assert_int_equal(size, 5);
	expect_results("id\t1\n");
	expect_results("id\t1\n");
	T_OK(write_at(0, "7\n8"));
	expect_results("id\t7\n\nid\t108\n");
}

static void tail_at_read(void **state)
{
	T_OK(write_at(0, "1"));
	T_OK(write_at(1, "5"));
	expect_read(2, "id\t15\n");
	expect_read(2, "id\t15\n");
}

static void tail_at_release(void **state)
{
	T_OK(write_at(0, "1"));
	reopen();
	expect_results("id\t1\n");
	T_OK(write_at(0, "x"));
	reopen();
	expect_error("number 1: 'x' is not a number\n");
	expect_no_results(EINVAL);
}

static void bad_tail_is_told_before_release(void **state)
{
	T_OK(write_at(0, "666"));
	expect_error("not that number\n");
	expect_no_results(EDOM);
}

static void newline_completes_the_tail(void **state)
{
	T_OK(write_at(0, "1"));
	T_OK(write_at(1, "\n"));
	T_OK(write_at(2, "2"));
	T_OK(write_at(3, "\n"));
	expect_results("id\t1\n\nid\t102\n");
}

/* ---- failures ---- */

static void failed_query(void **state)
{
	char got[64];

	T_OK(write_at(0, "1\n"));
	expect_results("id\t1\n");
	T_ERR(write_at(2, "2\n666\n3\n"), EDOM);
	expect_no_results(EDOM);
	expect_no_results(EDOM);
	expect_error("query 2: not that number\n");
	T_ERR(read_at(10, 10, got), EDOM);
	T_OK(write_at(2, "4\n"));
	expect_results("id\t4\n");
	expect_error("query 2: not that number\n");
	T_ERR(write_at(4, "k=0 1\n"), ERANGE);
	expect_no_results(ERANGE);
}

/* Its write was accepted, so the next one goes on behind it. */
static void after_a_failed_tail(void **state)
{
	uint64_t size;
	char got[64];

	T_OK(write_at(0, "666"));
	T_ERR(read_at(3, 10, got), EDOM);
	T_OK(file_query.size(&tree, &caller, node_query, &size, NULL));
	assert_int_equal(size, 3); /* the sentence is no answer */
	T_OK(write_at(3, "4\n"));
	expect_results("id\t4\n");
	expect_read(5, "id\t4\n");
}

static void failed_in_a_later_piece(void **state)
{
	T_OK(write_at(0, "1\n2\n"));
	T_ERR(write_at(4, "x\n"), EINVAL);
	expect_no_results(EINVAL);
	expect_error("query 3: number 1: 'x' is not a number\n");
}

static void empty_query(void **state)
{
	T_OK(write_at(0, "1\n"));
	expect_results("id\t1\n");
	T_OK(write_at(2, "\n"));
	expect_no_results(EINVAL);
	expect_error("the query is empty\n");
}

static void suspended_meanwhile(void **state)
{
	T_OK(write_at(0, "1"));
	enter_error = -EACCES;
	expect_no_results(EACCES);
	reopen();
	expect_no_results(EACCES);
	T_ERR(write_at(0, "2\n"), EACCES);
	enter_error = 0;
}

static void tail_answered_after_suspension(void **state)
{
	T_OK(write_at(0, "1"));
	enter_error = -EACCES;
	reopen();
	enter_error = 0;
	expect_results("id\t1\n");
}

static void too_long_answers(void **state)
{
	answer_bytes = 8u << 20;
	for (int i = 0; i < 7; i++)
		T_OK(write_at(2 * (uint64_t)i, "1\n"));
	T_ERR(write_at(14, "1\n1\n1\n"), E2BIG);
	expect_no_results(E2BIG);
}

static void long_query_is_read_back_in_part(void **state)
{
	size_t n = 3u << 20;
	char *text = malloc(n + 1), got[64];

	memset(text, ' ', n);
	for (size_t i = 0; i < n; i += 1024) /* 3072 queries */
		memcpy(text + i, "1\n", 2);
	text[n] = 0;
	assert_int_equal(write_at(0, text), n);
	T_ERR(read_at(0, 10, got), EINVAL);
	assert_int_equal(read_at(n, 5, got), 5);
	assert_string_equal(got, "id\t1\n");
	assert_int_equal(read_at(n - 1024, 3, got), 3);
	assert_string_equal(got, "1\n ");
	free(text);
}

/* ---- more than one process, more than one thread ---- */

static pid_t sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when an assertion fails */
		pause();
		_exit(0);
	}
	return pid;
}

static void end_sleeper(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* A child goes on with the descriptor that it inherited: its parent's answer stays the parent's. */
static void inherited_descriptor(void **state)
{
	struct caller parent = caller;
	pid_t pid = sleeper();

	T_OK(write_at(0, "1\n"));
	expect_read(2, "id\t1\n");
	caller.tid = pid;
	T_OK(write_at(7, "2\n"));
	expect_results("id\t2\n");
	caller = parent;
	expect_results("id\t1\n");
	end_sleeper(pid);
	expect_results("id\t2\n");
}

/* { echo 1; /bin/echo 2; } > query */
static void batch_of_two_processes(void **state)
{
	struct caller parent = caller;
	pid_t pid = sleeper();

	T_OK(write_at(0, "1\n"));
	caller.tid = pid;
	T_OK(write_at(2, "2\n"));
	expect_results("id\t1\n\nid\t102\n");
	caller = parent;
	end_sleeper(pid);
	expect_results("id\t1\n\nid\t102\n");
	T_OK(write_at(4, "3\n"));
	expect_results("id\t3\n");
}

/* { /bin/echo 1; echo 2; } >&3; what the one asks then is not the other's answer. */
static void after_a_batch_of_two_processes(void **state)
{
	struct caller parent = caller;
	pid_t pid = sleeper();

	caller.tid = pid;
	T_OK(write_at(0, "1\n"));
	caller = parent;
	T_OK(write_at(2, "2\n"));
	T_OK(write_at(50, "3\n"));
	expect_results("id\t3\n");
	caller.tid = pid;
	expect_results("id\t1\n\nid\t102\n");
	caller = parent;
	end_sleeper(pid);
}

static struct post *posted(void)
{
	struct lineage l;

	callers_lineage(tree.callers, &caller, &l);
	return callers_find(tree.callers, &l, node_place(node_query), POST_ANSWER);
}

/* What is kept counts as memory of answers, which is bounded. */
static void memory_is_accounted(void **state)
{
	char *text = long_batch(1 << 16, 1);
	struct post *p;

	answer_bytes = 1 << 16;
	write_at(0, text);
	p = posted();
	assert_non_null(p);
	assert_true(p->bytes >= p->text.len + (1 << 16));
	reopen(); /* the questions are given back */
	assert_true(p->text.len > 0);
	assert_int_equal(p->bytes, p->text.cap);
	post_unref(p);
	free(text);
}

static void *open_results(void *arg)
{
	struct buf b = BUF_INIT;

	assert_int_equal(file_results.render(&tree, &caller, node_results, &b, NULL), 0);
	*(bool *)arg = b.len == 5 && memcmp(b.data, "id\t2\n", 5) == 0;
	buf_release(&b);
	return NULL;
}

static void *ask_2(void *arg)
{
	*(long *)arg = write_at(2, "2\n");
	return NULL;
}

/* Who opens results while the query runs waits for it, and does not get an older answer. */
static void results_wait_for_the_query(void **state)
{
	pthread_t asks, opens;
	bool right = false;
	long rc = 0;

	T_OK(write_at(0, "1\n"));
	expect_results("id\t1\n");
	hold = true;
	pthread_create(&asks, NULL, ask_2, &rc);
	while (!holding)
		usleep(1000);
	pthread_create(&opens, NULL, open_results, &right);
	usleep(20000);
	hold = false;
	pthread_join(asks, NULL);
	pthread_join(opens, NULL);
	assert_int_equal(rc, 2);
	assert_true(right);
}

static _Atomic bool done;

static void *read_results(void *arg)
{
	long bad = 0;

	while (!done) {
		struct buf b = BUF_INIT;
		int rc = file_results.render(&tree, &caller, node_results, &b, NULL);

		/* whole answers only, whichever exchange it was */
		bad += rc < 0 || b.len < 5 || b.data[b.len - 1] != '\n' ||
		       memcmp(b.data, "id\t", 3) != 0;
		buf_release(&b);
	}
	*(long *)arg = bad;
	return NULL;
}

static void answers_are_whole(void **state)
{
	pthread_t reader;
	long bad = 0;

	T_OK(write_at(0, "1\n"));
	done = false;
	pthread_create(&reader, NULL, read_results, &bad);
	for (int i = 0; i < 3000; i++) {
		char text[16];

		snprintf(text, sizeof text, i % 3 ? "%d\n" : "%d", i % 500);
		T_OK(write_at(20 * (uint64_t)(i + 1), text));
	}
	done = true;
	pthread_join(reader, NULL);
	assert_int_equal(bad, 0);
}

static uint64_t told(void)
{
	uint64_t size = 0;

	return tree_grew(&tree, 0, &size) ? size : 0;
}

/* The kernel is told sizes for sendfile, until a read shows that there is none. */
static void sizes_for_sendfile(void **state)
{
	uint64_t size;
	char got[8192];

	assert_int_equal(told(), 0);
	T_OK(write_at(0, "1\n"));
	assert_int_equal(told(), 7);
	T_OK(file_query.size(&tree, &caller, node_query, &size, NULL));
	assert_int_equal(size, 7);
	T_OK(read_at(0, 4096, got));
	T_OK(write_at(7, "2"));
	assert_true(told() > LIMIT_ANSWER_BYTES && told() % 4096 == 0);
	T_OK(read_at(0, 4096, got));
	assert_int_equal(told(), 13);
	T_OK(read_at(8, 100, got));
	assert_int_equal(told(), 0);
	handle.flags = O_WRONLY;
	reopen();
	T_OK(write_at(0, "1\n"));
	assert_int_equal(told(), 0);
}

static void truncation(void **state)
{
	T_OK(file_query.truncate(&tree, &caller, &handle, 0, NULL));
	T_ERR(file_query.truncate(&tree, &caller, &handle, 5, NULL), EINVAL);
}

static void over_all_tenants(void **state)
{
	static const struct node error = { NODE_ALL_ERROR, 0, 1 };
	char got[4096];

	handle.node = (struct node){ NODE_ALL_QUERY, 0, 1 };
	enter_error = -EACCES; /* no tenant is entered */
	T_OK(write_at(0, "k=3 1\n"));
	T_OK(read_at(8, 100, got));
	T_OK(render(&file_error, error, got));
	assert_string_equal(got, "3 skipped\n");
	expect_error("");
	expect_no_results(ENODATA);
	/* the next answer leaves out nothing */
	reopen();
	handle.node = (struct node){ NODE_ALL_QUERY, 0, 1 };
	T_OK(write_at(0, "{\"vector\": [1], \"metric\": \"ip\"}\n"));
	T_OK(render(&file_error, error, got));
	assert_string_equal(got, "");
}

/* Entered are the tenant, then the collection. */
static void for_a_tenant(void **state)
{
	char got[4096];

	handle.node = (struct node){ NODE_VIEW_QUERY, 5, 7 << 16 | 1 };
	T_OK(write_at(0, "1\n"));
	T_OK(read_at(2, 100, got));
	assert_string_equal(got, "id\t1\n");
	expect_no_results(ENODATA);
	reopen();
	handle.node.item = 8 << 16 | 1;
	T_OK(render(&file_results, (struct node){ NODE_VIEW_RESULTS, 5, 7 << 16 | 2 }, got));
	assert_string_equal(got, "id\t1\n");
	T_ERR(write_at(0, "1\n"), ENODEV);
	handle.node = node_query;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_asked),
		TEST(transcript),
		TEST(end_of_long_batches),
		TEST(next_one_follows),
		TEST(widened_reads),
		TEST(batch_in_pieces),
		TEST(reading_ends_the_batch),
		TEST(reading_the_transcript_ends_the_batch),
		TEST(elsewhere_is_another),
		TEST(tail_at_results),
		TEST(tail_at_read),
		TEST(tail_at_release),
		TEST(bad_tail_is_told_before_release),
		TEST(newline_completes_the_tail),
		TEST(failed_query),
		TEST(after_a_failed_tail),
		TEST(failed_in_a_later_piece),
		TEST(empty_query),
		TEST(suspended_meanwhile),
		TEST(tail_answered_after_suspension),
		TEST(too_long_answers),
		TEST(long_query_is_read_back_in_part),
		TEST(inherited_descriptor),
		TEST(batch_of_two_processes),
		TEST(after_a_batch_of_two_processes),
		TEST(memory_is_accounted),
		TEST(results_wait_for_the_query),
		TEST(answers_are_whole),
		TEST(sizes_for_sendfile),
		TEST(truncation),
		TEST(over_all_tenants),
		TEST(for_a_tenant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
