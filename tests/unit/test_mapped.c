/* Pages that cannot be read: of any mapping, of rows in a segment, of the graph's image. */
#include "engine_t.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/mapped.h"
#include "base/sections.h"

#define PAGES 8

static char dir[64], path[96];
static size_t page;
static _Atomic uint64_t lost;

static int setup(void **state)
{
	page = mem_page();
	atomic_store(&lost, 0);
	snprintf(dir, sizeof(dir), "/tmp/test_mapped.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/file", dir);
	return 0;
}

static int teardown(void **state)
{
	return io_remove_tree(dir);
}

/* A file of pages of the bytes 1, 2, ... */
static int make_file(void)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char *bytes = mem_alloc(page, 1);

	assert_true(fd >= 0);
	for (int i = 0; i < PAGES; i++) {
		memset(bytes, i + 1, page);
		T_OK(io_write_at(fd, bytes, page, (uint64_t)i * page));
	}
	mem_free(bytes);
	return fd;
}

static volatile unsigned char *map(int fd)
{
	void *p = mmap(NULL, PAGES * page, PROT_READ, MAP_SHARED, fd, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

/* ---- any mapping ---- */

static void test_read(void **state)
{
	int fd = make_file();
	volatile unsigned char *p = map(fd);
	struct mapped_range *r;
	uint64_t epoch;

	mapped_guard();
	r = mapped_watch((void *)(uintptr_t)p, PAGES * page, MAPPED_READ, &lost);
	assert_non_null(r);
	epoch = mapped_epoch();
	assert_int_not_equal(epoch, 0);
	T_OK(ftruncate(fd, (off_t)(3 * page)));
	assert_int_equal(p[5 * page + 7], 0);
	assert_int_equal(p[5 * page + 8], 0);
	assert_int_equal(lost, 1);
	assert_int_not_equal(mapped_epoch(), 0);
	assert_int_not_equal(mapped_epoch(), epoch);
	assert_int_equal(p[2 * page], 3);
	for (size_t i = 0; i < PAGES; i++)
		assert_int_equal(p[i * page], i < 3 ? i + 1 : 0);
	assert_int_equal(lost, PAGES - 3);
	mapped_unwatch(r);
	munmap((void *)(uintptr_t)p, PAGES * page);
	close(fd);
}

/* A private view can be written to, before and after, and may move. */
static void test_private(void **state)
{
	int fd = make_file();
	size_t bytes = (PAGES + 1) * page, grown = 100 * page;
	unsigned char *from = mem_map_file(fd, 0, PAGES * page, bytes);
	volatile unsigned char *p = from;
	struct mapped_range *r;

	mapped_guard();
	assert_non_null(from);
	r = mapped_watch(from, PAGES * page, MAPPED_PRIVATE, &lost);
	assert_non_null(r);
	p[page] = 77;
	T_OK(ftruncate(fd, (off_t)(3 * page)));
	assert_int_equal(p[page], 77);
	assert_int_equal(p[4 * page], 0xff);
	p[4 * page] = 5;
	assert_int_equal(p[4 * page], 5);
	p[5 * page] = 6; /* writing to one that is lost */
	assert_int_equal(p[5 * page], 6);
	assert_int_equal(p[5 * page + 1], 0xff);
	assert_int_equal(lost, 2);
	from = mem_map_file_grow(from, PAGES * page, bytes, grown);
	assert_non_null(from);
	mapped_moved(r, from);
	p = from;
	assert_int_equal(p[6 * page], 0xff);
	assert_int_equal(p[4 * page], 5);
	assert_int_equal(p[page], 77);
	assert_int_equal(lost, 3);
	mapped_unwatch(r);
	mem_map_free(from, grown);
	close(fd);
}

/* More ranges than one piece of the table has. */
static void test_many(void **state)
{
	enum { N = 200 };
	static volatile unsigned char *p[N];
	static struct mapped_range *r[N];
	static _Atomic uint64_t n_lost[N];
	int fd = make_file();

	mapped_guard();
	for (int i = 0; i < N; i++) {
		p[i] = map(fd);
		r[i] = mapped_watch((void *)(uintptr_t)p[i], PAGES * page, MAPPED_READ, &n_lost[i]);
		assert_non_null(r[i]);
	}
	for (int i = 0; i < N; i += 2)
		mapped_unwatch(r[i]);
	for (int i = 0; i < N; i += 2)
		r[i] = mapped_watch((void *)(uintptr_t)p[i], PAGES * page, MAPPED_READ, &n_lost[i]);
	T_OK(ftruncate(fd, 0));
	for (int i = 0; i < N; i++) {
		assert_int_equal(p[i][(size_t)(i % PAGES) * page], 0);
		assert_int_equal(n_lost[i], 1);
	}
	for (int i = 0; i < N; i++) {
		mapped_unwatch(r[i]);
		munmap((void *)(uintptr_t)p[i], PAGES * page);
	}
	close(fd);
}

/* ---- what is not watched ---- */

static void on_bus_before(int sig, siginfo_t *info, void *context)
{
	_exit(info->si_addr ? 7 : 8);
}

enum { DEFAULT, HANDLED };
enum { TOUCHED, SENT };

/* How a process ends, as waitpid(2) tells it, that touches such a page or gets the signal. */
static int end_of(int handled, int how, bool unwatched)
{
	int fd = make_file(), status;
	volatile unsigned char *p = map(fd);
	struct sigaction sa = { .sa_handler = SIG_DFL };
	struct mapped_range *r;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (handled == HANDLED)
			sa = (struct sigaction){ .sa_sigaction = on_bus_before,
				                 .sa_flags = SA_SIGINFO };
		sigaction(SIGBUS, &sa, NULL);
		mapped_guard();
		mapped_guard(); /* does not come to be its own predecessor */
		r = mapped_watch((void *)(uintptr_t)p, 4 * page, MAPPED_READ, &lost);
		if (!r || ftruncate(fd, 0) < 0 || p[3 * page] != 0)
			_exit(1);
		if (unwatched)
			mapped_unwatch(r);
		if (how == SENT)
			raise(SIGBUS);
		else
			_exit(10 + p[unwatched ? 0 : 4 * page]);
		_exit(2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	munmap((void *)(uintptr_t)p, PAGES * page);
	close(fd);
	return status;
}

static void test_others_take_their_course(void **state)
{
	for (int unwatched = 0; unwatched < 2; unwatched++) {
		int status = end_of(DEFAULT, TOUCHED, unwatched);

		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
		status = end_of(HANDLED, TOUCHED, unwatched);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	}
	assert_int_equal(WTERMSIG(end_of(DEFAULT, SENT, false)), SIGBUS);
	assert_true(WIFEXITED(end_of(HANDLED, SENT, false)));
}

/* ---- sections ---- */

static void test_sections(void **state)
{
	struct sections_writer *w;
	struct sections_reader *r;
	char *bytes = mem_zalloc(PAGES, page), *copy;
	size_t n, room = 1;

	memset(bytes, 'x', PAGES * page);
	T_OK(sections_create(path, &w, NULL));
	T_OK(sections_write(w, 1, bytes, PAGES * page));
	T_OK(sections_commit(w, NULL));
	mapped_guard();
	T_OK(sections_open(path, &r, NULL));
	assert_memory_equal(sections_get(r, 1, &n), bytes, PAGES * page);
	assert_false(sections_lost(r));
	T_OK(truncate(path, (off_t)(2 * page)));
	copy = sections_copy(r, 1, &room);
	assert_true(copy && room >= PAGES * page && copy[0] == 'x' && copy[PAGES * page - 1] == 0);
	assert_true(sections_lost(r));
	mem_map_free(copy, room);
	sections_close(r);
	mem_free(bytes);
}

/* ---- an engine's ---- */

#define N   4000
#define DIM 64

static int fix_setup(void **state)
{
	struct fix *f = mem_alloc(1, sizeof(*f));

	fix_init(f);
	*state = f;
	return 0;
}

static int fix_teardown(void **state)
{
	fix_release(*state);
	mem_free(*state);
	return 0;
}

struct kept_file {
	char path[128];
	char *bytes;
	size_t n;
};

static struct kept_file keep(const struct fix *f, const char *name)
{
	struct kept_file k;
	struct stat st;
	int fd;

	fix_path(f, name, k.path);
	fd = open(k.path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	k.n = (size_t)st.st_size;
	k.bytes = mem_alloc(k.n, 1);
	T_OK(io_read_at(fd, k.bytes, k.n, 0));
	close(fd);
	return k;
}

static void put_back(struct kept_file *k)
{
	int fd = open(k->path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	T_OK(io_write_at(fd, k->bytes, k->n, 0));
	close(fd);
	mem_free(k->bytes);
}

/* How many of v0 ... are read, the others being EIO; in order from the first. */
static size_t n_read(struct fix *f)
{
	BUF_AUTO struct buf out = BUF_INIT;
	size_t n = 0;
	uint64_t num;
	char id[16];

	for (int i = 0; i < N; i++) {
		snprintf(id, sizeof(id), "v%d", i);
		T_OK(engine_lookup(f->en, CID, id, strlen(id), &num));
		buf_clear(&out);
		int rc = engine_get_json(f->en, CID, num, &out, NULL);

		assert_true(rc == 0 || rc == -EIO);
		n += rc == 0;
	}
	return n;
}

static size_t n_answers(struct fix *f, bool exact)
{
	BUF_AUTO struct buf out = BUF_INIT;
	struct query q = { .like = "v0", .like_len = 2, .k = N, .ef = N, .exact = exact };
	size_t n = 0;

	ask_ok(f, &q, &out);
	for (const char *at = out.data; (at = strchr(at, '\n')); at++)
		n++;
	return n;
}

static void assert_damaged(struct fix *f, const char *what)
{
	struct engine_report r;

	T_OK(engine_verify(f->en, CID, NULL, &r, NULL));
	if (!r.checksum_errors && !r.disagreements)
		fail_msg("verify found nothing of %s", what);
}

/* Rows whose page is gone are in no answer and EIO; the others are there; the file's again, all are. */
static void test_segment(void **state)
{
	struct fix *f = *state;
	struct query q = { .like = "v3999", .like_len = 5 };
	BUF_AUTO struct buf out = BUF_INIT;
	struct kept_file k;
	uint64_t bytes;
	size_t n;

	quick_graph(f);
	fill(f, "v", N, DIM);
	wait_idle(f);
	fix_reopen(f);
	wait_idle(f);
	mapped_guard();
	assert_int_equal(n_answers(f, true),
	                 N); /* all were compared with their checksums just now */
	k = keep(f, "7.vectors.1");
	T_OK(truncate(k.path, (off_t)(k.n / 2 / 4096 * 4096)));
	n = n_answers(f, true);
	assert_in_range(n, N / 3, N * 2 / 3);
	assert_int_equal(n_answers(f, false), n);
	assert_int_equal(n_read(f), n);
	T_ERR(ask(f, &q, &out, NULL), EIO);
	assert_damaged(f, "a segment");
	assert_int_equal(n_read(f), n);

	/* The file stays until all that lives was read. */
	removed(f, "v1");
	T_ERR(engine_compact(f->en, CID, NULL, NULL, &bytes, NULL), EIO);
	assert_true(fix_exists(f, "7.vectors.1"));
	put(f, "v1", (const float[DIM]){ 1, 2, 3 }, DIM);

	put_back(&k);
	assert_int_equal(n_read(f), n); /* what is mapped is mapped */
	verify_clean(f);
	assert_int_equal(n_read(f), N);
	assert_int_equal(n_answers(f, true), N);
	T_OK(engine_compact(f->en, CID, NULL, NULL, &bytes, NULL));
	assert_int_equal(n_read(f), N);
	verify_clean(f);
}

static bool asked_graph(struct fix *f)
{
	BUF_AUTO struct buf out = BUF_INIT;
	struct query q = { .like = "v0", .like_len = 2, .k = 5 };
	struct answer a;

	answer_init(&a, &out);
	T_OK(engine_search(f->en, CID, &q, &a, NULL));
	return a.plan.graph;
}

/* While the graph leads nowhere the rows are scanned, vectors come and go, and it is made anew. */
static void use_cut_graph(struct fix *f, int round)
{
	char id[16];

	for (int i = round; i < N; i += 97) {
		snprintf(id, sizeof(id), "v%d", i);
		assert_true(finds_itself(f, id, false));
	}
	snprintf(id, sizeof(id), "n%d.", round);
	fill(f, id, 300, DIM);
	for (int i = 0; i < 300; i += 2) {
		snprintf(id, sizeof(id), "n%d.%d", round, i);
		assert_int_equal(removed(f, id), 1);
	}
	for (int i = 1; i < 300; i += 20) {
		snprintf(id, sizeof(id), "n%d.%d", round, i);
		assert_true(finds_itself(f, id, true));
	}
}

static void test_graph(void **state)
{
	static const double parts[] = { 0, 0.2, 0.5, 0.8, 0.99 };
	struct fix *f = *state;

	quick_graph(f);
	fill(f, "v", N, DIM);
	for (int i = 0; i < 5; i++) {
		char graph[128];
		struct stat st;

		wait_idle(f);
		T_OK(engine_checkpoint(f->en, NULL));
		fix_reopen(f);
		wait_idle(f);
		mapped_guard();
		fix_path(f, "7.graph", graph);
		T_OK(stat(graph, &st));
		T_OK(truncate(graph, (off_t)((double)st.st_size * parts[i])));
		use_cut_graph(f, i);
		wait_idle(f);
		assert_true(asked_graph(f));
		all_there(f, "v", N, 41);
		T_OK(engine_checkpoint(f->en, NULL));
		verify_clean(f);
	}
	fix_reopen(f);
	verify_clean(f);
	all_there(f, "v", N, 41);
}

#define TEST(name)   cmocka_unit_test_setup_teardown(name, setup, teardown)
#define ENGINE(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_read),     TEST(test_private),
		TEST(test_many),     TEST(test_others_take_their_course),
		TEST(test_sections), ENGINE(test_segment),
		ENGINE(test_graph),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
