/* The ground floor: errors, memory, buffers, maps, CRC, io, locks, workers, log. */
#include "t.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/crc.h"
#include "base/err.h"
#include "base/io.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "base/workers.h"

static uint64_t seed;

static uint64_t next_random(void)
{
	seed += 0x9e3779b97f4a7c15;
	return map_hash_u64(seed);
}

static void test_err(void **state)
{
	struct err e = { 0 };

	assert_int_equal(err_set(&e, -EINVAL, "dimension %d, expected %d", 3, 4), -EINVAL);
	assert_string_equal(e.text, "dimension 3, expected 4");
	assert_int_equal(err_prefix(&e, "line %d", 17), -EINVAL);
	assert_string_equal(e.text, "line 17: dimension 3, expected 4");
	err_set(&e, -EIO, "again: %s", e.text);
	assert_string_equal(e.text, "again: line 17: dimension 3, expected 4");
	assert_int_equal(err_set(NULL, -EIO, "x"), -EIO);
	assert_int_equal(err_prefix(NULL, "x"), 0);
	assert_int_equal(err_nomem(&e), -ENOMEM);
}

/* Cut at every offset within a sequence: never half of one. */
static void test_err_is_cut_on_a_boundary(void **state)
{
	static const char euro[] = "\xe2\x82\xac";
	char text[3 * 120 + 4];
	struct err e;

	for (size_t lead = 0; lead < 3; lead++) {
		size_t n = lead;

		memset(text, 'x', lead);
		for (int i = 0; i < 120; i++, n += 3)
			memcpy(text + n, euro, 3);
		text[n] = '\0';
		for (int prefixed = 0; prefixed < 2; prefixed++) {
			err_set(&e, -EINVAL, "%s", prefixed ? "cause" : text);
			if (prefixed)
				err_prefix(&e, "%s", text);
			n = strlen(e.text);
			assert_true(n > ERR_TEXT_MAX - 4 && n < ERR_TEXT_MAX);
			assert_int_equal((n - lead) % 3, 0);
			assert_memory_equal(e.text, text, n);
		}
	}
}

static void test_mem(void **state)
{
	char *p, *q;

	assert_null(mem_alloc(SIZE_MAX, 2));
	assert_null(mem_zalloc(SIZE_MAX / 2, 4));
	assert_null(mem_alloc_aligned(64, SIZE_MAX / 8, 16));
	assert_null(mem_dup("", SIZE_MAX));
	p = mem_alloc(0, 8);
	assert_non_null(p);
	q = mem_resize(p, SIZE_MAX / 4, 8);
	assert_null(q);
	p = mem_resize(p, 10, 10);
	memset(p, 1, 100);
	mem_free(p);
	p = mem_zalloc(1000, 3);
	for (int i = 0; i < 3000; i++)
		assert_int_equal(p[i], 0);
	mem_free(p);
	for (size_t a = 1; a <= 4096; a *= 2) {
		p = mem_alloc_aligned(a, 3, 5);
		assert_int_equal((uintptr_t)p % a, 0);
		memset(p, 1, 15);
		mem_free(p);
	}
	p = mem_dup("ab\0cd", 5);
	assert_memory_equal(p, "ab\0cd", 6);
	mem_free(p);
	mem_free(NULL);
}

static void test_mem_map(void **state)
{
	size_t n = 1000;
	unsigned char *p = mem_map_grow(NULL, 0, n), *q;

	memset(p, 7, n);
	for (int i = 0; i < 8; i++) {
		q = mem_map_grow(p, n, n * 3);
		assert_non_null(q);
		for (size_t k = 0; k < 1000; k++)
			assert_int_equal(q[k], 7);
		for (size_t k = 1000; k < n * 3; k += 997)
			assert_int_equal(q[k], 0);
		n *= 3;
		p = q;
	}
	assert_null(mem_map_grow(p, n, SIZE_MAX / 2));
	assert_int_equal(p[999], 7); /* still there */
	mem_map_free(p, n);
	mem_map_free(NULL, 0);
}

static void test_buf(void **state)
{
	struct buf b = BUF_INIT;
	char *p;
	size_t n;

	assert_null(buf_detach(&b, &n));
	for (int i = 0; i < 1000; i++)
		buf_addf(&b, "%d,", i);
	assert_int_equal(b.len, 10 * 2 + 90 * 3 + 900 * 4);
	assert_int_equal(b.data[b.len], 0);
	buf_drop_front(&b, 20);
	assert_memory_equal(b.data, "10,11,", 6);
	assert_int_equal(strlen(b.data), b.len);
	buf_drop_front(&b, SIZE_MAX);
	assert_int_equal(b.len, 0);
	for (int width = 0; width < 300; width++) { /* formatted text against every room left */
		buf_clear(&b);
		buf_addf(&b, "%*d", width, 1);
		buf_addf(&b, "%*d", 300 - width, 2);
		assert_int_equal(b.len, (width ? width : 1) + 300 - width);
		assert_int_equal(b.data[b.len - 1], '2');
	}
	buf_clear(&b);
	buf_adds(&b, "one");
	buf_addc(&b, '2');
	p = buf_space(&b, 1000);
	memset(p, '3', 1000);
	buf_grew(&b, 1000);
	assert_int_equal(b.len, 1004);
	p = buf_detach(&b, &n);
	assert_int_equal(n, 1004);
	assert_memory_equal(p, "one233", 6);
	assert_int_equal(p[n], 0);
	mem_free(p);
	assert_null(b.data);
}

static void test_buf_failure_sticks(void **state)
{
	struct buf b = BUF_INIT;

	buf_adds(&b, "kept");
	assert_null(buf_space(&b, SIZE_MAX));
	assert_true(buf_failed(&b));
	buf_adds(&b, "lost");
	assert_int_equal(b.len, 4);
	buf_clear(&b);
	assert_false(buf_failed(&b));
	assert_null(buf_space(&b, SIZE_MAX / 2));
	assert_null(buf_detach(&b, NULL));
	assert_false(buf_failed(&b));
}

static void expect_json(const char *s, size_t n, const char *json)
{
	struct buf b = BUF_INIT;

	buf_add_json_string(&b, s, n);
	assert_string_equal(b.data, json);
	buf_release(&b);
}

#define JSON(s, json) expect_json(s, sizeof(s) - 1, json)
#define FFFD          "\xef\xbf\xbd"

static void test_json_string(void **state)
{
	JSON("", "\"\"");
	JSON("plain", "\"plain\"");
	JSON("a\"b\\c/d", "\"a\\\"b\\\\c/d\"");
	JSON("\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\"");
	JSON("\0\1\x1f\x7f", "\"\\u0000\\u0001\\u001f\x7f\"");
	JSON("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
	JSON("\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
	     "\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"");
	JSON("x\x80y", "\"x" FFFD "y\"");
	JSON("\xff\xfe", "\"" FFFD FFFD "\"");
	JSON("\xc0\x80", "\"" FFFD FFFD "\"");                   /* overlong */
	JSON("\xe0\x9f\xbf", "\"" FFFD FFFD FFFD "\"");          /* overlong */
	JSON("\xf0\x8f\xbf\xbf", "\"" FFFD FFFD FFFD FFFD "\""); /* overlong */
	JSON("\xed\xa0\x80", "\"" FFFD FFFD FFFD "\"");          /* surrogate */
	JSON("\xf4\x90\x80\x80", "\"" FFFD FFFD FFFD FFFD "\""); /* above U+10FFFF */
	JSON("\xf5\x80\x80\x80", "\"" FFFD FFFD FFFD FFFD "\"");
	JSON("\xc3", "\"" FFFD "\""); /* cut */
	JSON("\xe2\x82", "\"" FFFD FFFD "\"");
	JSON("\xf0\x9f\x98", "\"" FFFD FFFD FFFD "\"");
	JSON("\xe2\x82"
	     "a",
	     "\"" FFFD FFFD "a\"");
}

/* The naive model of a map: pairs in a row. Hashes are few, so runs collide and wrap around. */
struct pair {
	uint64_t hash;
	uint64_t value;
};

static bool eq_value(const void *ctx, uint64_t value)
{
	return *(const uint64_t *)ctx == value;
}

static size_t model_find(const struct pair *model, size_t n, struct pair p)
{
	size_t i = 0;

	while (i < n && (model[i].hash != p.hash || model[i].value != p.value))
		i++;
	return i;
}

static struct pair random_pair(void)
{
	static const uint64_t hash[] = { 0, 1, 2, 7, 63, 1023, UINT64_MAX, UINT64_MAX - 1 };
	struct pair p = { next_random() % 64, next_random() % 4 };

	if (next_random() % 2)
		p.hash = hash[next_random() % 8];
	return p;
}

static void expect_same_pairs(const struct map *m, const struct pair *model, size_t n)
{
	uint64_t sum = 0, value;
	size_t pos = 0, count = 0;

	for (; map_next(m, &pos, &value); count++)
		sum += map_hash_u64(value);
	for (size_t i = 0; i < n; i++) {
		sum -= map_hash_u64(model[i].value);
		assert_true(map_find(m, model[i].hash, eq_value, &model[i].value, NULL));
	}
	assert_int_equal(count, n);
	assert_int_equal(m->n, n);
	assert_true(sum == 0);
}

static void test_map_random(void **state)
{
	enum { MAX = 300 };
	struct pair model[MAX];
	struct map m = { 0 };
	size_t n = 0;

	for (int i = 0; i < 60000; i++) {
		struct pair p = random_pair();
		bool growing = i / 3000 % 2 == 0; /* fill and empty in turns */
		size_t at = model_find(model, n, p);
		uint64_t got = 99;

		assert_int_equal(map_find(&m, p.hash, eq_value, &p.value, &got), at < n);
		assert_true(got == (at < n ? p.value : 99));
		if (n < MAX && next_random() % 10 < (growing ? 7 : 3)) {
			T_OK(map_add(&m, p.hash, p.value));
			model[n++] = p;
		} else {
			assert_int_equal(map_remove(&m, p.hash, eq_value, &p.value), at < n);
			if (at < n)
				model[at] = model[--n];
		}
		if (i % 500 == 0)
			expect_same_pairs(&m, model, n);
	}
	expect_same_pairs(&m, model, n);
	map_release(&m);
	assert_false(map_find(&m, 1, NULL, NULL, NULL));
}

static void test_map_many(void **state)
{
	struct map m = { 0 };
	uint64_t got;

	for (uint64_t i = 0; i < 100000; i++)
		T_OK(map_add(&m, map_hash_u64(i), i));
	assert_true(m.n <= m.cap / 8 * 7 && (m.cap & (m.cap - 1)) == 0);
	for (uint64_t i = 0; i < 100000; i += 2)
		assert_true(map_remove(&m, map_hash_u64(i), NULL, NULL));
	for (uint64_t i = 0; i < 100001; i++)
		assert_int_equal(map_find(&m, map_hash_u64(i), NULL, NULL, &got) && got == i,
		                 i % 2 == 1);
	map_release(&m);
}

/* Lengths 0 to 64 and each changed byte give other hashes; unaligned input does not. */
static void test_map_hash_bytes(void **state)
{
	unsigned char bytes[72] = { 0 };
	uint64_t seen[65];

	for (size_t n = 0; n <= 64; n++) {
		seen[n] = map_hash_bytes(bytes, n);
		assert_true(seen[n] == map_hash_bytes(bytes + 3, n));
		for (size_t k = 0; k < n; k++) {
			assert_true(seen[k] != seen[n]);
			bytes[k] = 1;
			assert_true(map_hash_bytes(bytes, n) != seen[n]);
			bytes[k] = 0;
		}
	}
}

static void test_crc(void **state)
{
	unsigned char bytes[300];
	uint32_t whole;

	assert_int_equal(crc32c(0, "", 0), 0);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	memset(bytes, 0, 32); /* these four: RFC 3720, B.4 */
	assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, 32);
	assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43);
	for (unsigned char i = 0; i < 32; i++)
		bytes[i] = i;
	assert_int_equal(crc32c(0, bytes, 32), 0x46dd794e);
	for (unsigned char i = 0; i < 32; i++)
		bytes[i] = (unsigned char)(31 - i);
	assert_int_equal(crc32c(0, bytes, 32), 0x113fdb5c);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)next_random();
	whole = crc32c(0, bytes, sizeof(bytes));
	for (size_t i = 0; i <= sizeof(bytes); i++)
		assert_int_equal(crc32c(crc32c(0, bytes, i), bytes + i, sizeof(bytes) - i), whole);
	for (size_t i = 0; i <= sizeof(bytes); i++)
		assert_int_equal(crc32c_by_tables(7, bytes + i, sizeof(bytes) - i),
		                 crc32c(7, bytes + i, sizeof(bytes) - i));
}

static void count_piece(void *ctx, uint32_t i)
{
	atomic_fetch_add(&((atomic_uint *)ctx)[i], 1);
}

static void test_parallel(void **state)
{
	static atomic_uint done[10000];
	static const unsigned n_threads[] = { 0, 1, 2, 1000 };

	for (unsigned n = 0; n < 4; n++) {
		parallel_run(0, n_threads[n], count_piece, done);
		parallel_run(1, n_threads[n], count_piece, done);
		parallel_run(10000, n_threads[n], count_piece, done);
	}
	assert_int_equal(atomic_load(&done[0]), 8);
	for (int i = 1; i < 10000; i++)
		assert_int_equal(atomic_load(&done[i]), 4);
}

static void test_io(void **state)
{
	char dir[] = "/tmp/test_base.XXXXXX", path[64], deep[96], out[64], got[8] = "";
	int fd;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	T_OK(io_write_at(fd, "hello", 5, 3));
	T_OK(io_sync(fd));
	T_OK(io_read_at(fd, got, 5, 3));
	assert_memory_equal(got, "hello", 5);
	T_OK(io_read_at(fd, got, 0, 100));
	T_ERR(io_read_at(fd, got, 6, 3), ENODATA);
	T_ERR(io_read_at(fd, got, 5, UINT64_MAX), EOVERFLOW);
	T_ERR(io_write_at(fd, got, 5, INT64_MAX), EFBIG);
	close(fd);
	T_ERR(io_read_at(fd, got, 1, 0), EBADF);
	T_ERR(io_sync(fd), EBADF);
	T_ERR(io_mkdir(path, 0700), ENOTDIR);
	T_OK(io_sync_dir(dir));
	T_ERR(io_sync_dir(path), ENOTDIR);

	snprintf(path, sizeof(path), "%s/d", dir);
	T_OK(io_mkdir(path, 0700));
	T_OK(io_mkdir(path, 0700));
	snprintf(deep, sizeof(deep), "%s/d/e/f", dir);
	T_ERR(io_mkdir(deep, 0700), ENOENT);
	snprintf(deep, sizeof(deep), "%s/d/e///", dir);
	T_OK(io_mkdir(deep, 0700));
	/* a link out of the tree: it goes, what it points to stays */
	snprintf(out, sizeof(out), "%s.out", dir);
	T_OK(io_mkdir(out, 0700));
	snprintf(deep, sizeof(deep), "%s/d/e/link", dir);
	T_OK(symlink(out, deep));
	T_OK(io_remove_tree(dir));
	T_ERR(io_remove_tree(dir), ENOENT);
	T_OK(access(out, F_OK));
	T_OK(rmdir(out));
	assert_int_equal(access(dir, F_OK), -1);
}

static void test_relative_parent(void **state)
{
	T_OK(io_sync_parent("name"));
	T_OK(io_sync_parent("name/"));
	T_OK(io_sync_parent("/"));
	T_OK(io_sync_parent("/tmp"));
	T_OK(io_sync_parent("//tmp//x"));
	T_ERR(io_sync_parent("/nonexistent/x"), ENOENT);
}

static void test_cond_times_out(void **state)
{
	struct mutex m;
	struct cond c;
	uint64_t start = clock_mono_ns();

	mutex_init(&m);
	cond_init(&c);
	mutex_lock(&m);
	T_ERR(cond_wait_ns(&c, &m, 20000000), ETIMEDOUT);
	mutex_unlock(&m);
	assert_true(clock_mono_ns() - start >= 20000000);
	assert_true(clock_wall_ns() > 1700000000ull * 1000000000);
	cond_destroy(&c);
	mutex_destroy(&m);
}

/* A reader that comes while a writer waits goes behind it. */
struct turns {
	struct rwlock lock;
	int writer_done; /* lock */
	int reader_saw;  /* of the reader that came after the writer */
};

static void *turn_write(void *arg)
{
	struct turns *t = arg;

	rwlock_write(&t->lock);
	t->writer_done = 1;
	rwlock_write_unlock(&t->lock);
	return NULL;
}

static void *turn_read(void *arg)
{
	struct turns *t = arg;

	rwlock_read(&t->lock);
	t->reader_saw = t->writer_done;
	rwlock_read_unlock(&t->lock);
	return NULL;
}

static void test_rwlock_prefers_writers(void **state)
{
	struct turns t = { 0 };
	pthread_t writer, reader;

	rwlock_init(&t.lock);
	rwlock_read(&t.lock);
	pthread_create(&writer, NULL, turn_write, &t);
	usleep(50000);
	pthread_create(&reader, NULL, turn_read, &t);
	usleep(50000);
	rwlock_read_unlock(&t.lock);
	pthread_join(writer, NULL);
	pthread_join(reader, NULL);
	assert_int_equal(t.reader_saw, 1);
	rwlock_destroy(&t.lock);
}

struct tally {
	struct workers *w;
	unsigned n; /* atomic */
};

static void count_one(void *arg)
{
	struct tally *t = arg;

	__atomic_add_fetch(&t->n, 1, __ATOMIC_RELAXED);
}

static void count_and_submit(void *arg)
{
	struct tally *t = arg;

	count_one(t);
	if (workers_submit(t->w, count_one, t) < 0)
		abort();
}

static void *submit_many(void *arg)
{
	struct tally *t = arg;

	for (int i = 0; i < 2000; i++)
		if (workers_submit(t->w, i % 2 ? count_one : count_and_submit, t) < 0)
			abort();
	return NULL;
}

static void wait_for(const unsigned *n, unsigned want)
{
	uint64_t deadline = clock_mono_ns() + 10000000000;

	while (__atomic_load_n(n, __ATOMIC_ACQUIRE) != want) {
		if (clock_mono_ns() > deadline)
			fail_msg("%u jobs ran, expected %u", *n, want);
		usleep(1000);
	}
}

static void test_workers(void **state)
{
	for (unsigned n_threads = 1; n_threads <= 4; n_threads++) {
		struct tally t = { .w = workers_new(n_threads) };
		pthread_t other;

		assert_non_null(t.w);
		pthread_create(&other, NULL, submit_many, &t);
		submit_many(&t);
		pthread_join(other, NULL);
		if (n_threads > 1) /* jobs run without being waited for */
			wait_for(&t.n, 6000);
		workers_free(t.w); /* runs what is queued, also what jobs submit */
		assert_int_equal(t.n, 6000);
	}
	assert_null(workers_new(0));
	workers_free(NULL);
}

static unsigned rests; /* atomic */

static void count_rest(void)
{
	__atomic_add_fetch(&rests, 1, __ATOMIC_RELAXED);
}

static void take_long(void *arg)
{
	usleep(110000);
	count_one(arg);
}

static void test_workers_rest_after_long_work(void **state)
{
	struct tally t = { .w = workers_new(2) };

	assert_non_null(t.w);
	workers_at_rest(t.w, count_rest);
	for (unsigned i = 1; i <= 2; i++) {
		T_OK(workers_submit(t.w, take_long, &t));
		wait_for(&rests, i);
		assert_int_equal(__atomic_load_n(&t.n, __ATOMIC_RELAXED), i);
	}
	workers_free(t.w);
	assert_int_equal(rests, 2); /* once for both threads */
}

struct order {
	unsigned n;
	unsigned wrong;
};
struct step {
	struct order *order;
	unsigned i;
};

static void check_turn(void *arg)
{
	struct step *s = arg;

	s->order->wrong += s->order->n++ != s->i;
}

static void test_one_worker_keeps_order(void **state)
{
	struct order order = { 0 };
	struct step step[1000];
	struct workers *w = workers_new(1);

	for (unsigned i = 0; i < 1000; i++) {
		step[i] = (struct step){ &order, i };
		T_OK(workers_submit(w, check_turn, &step[i]));
		if (i % 100 == 0)
			usleep(100); /* an empty queue now and then */
	}
	workers_free(w);
	assert_int_equal(order.n, 1000);
	assert_int_equal(order.wrong, 0);
}

static void test_log(void **state)
{
	char got[8192];
	int saved = dup(STDERR_FILENO), ends[2];
	ssize_t n;

	T_OK(pipe(ends));
	dup2(ends[1], STDERR_FILENO);
	log_to_stderr();
	log_debug("hidden");
	log_warning("tenant %s", "a\nb");
	log_error("%4000d", 1);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(ends[1]);
	n = read(ends[0], got, sizeof(got) - 1);
	close(ends[0]);
	assert_true(n > 2000);
	got[n] = '\0';
	assert_null(strstr(got, "hidden"));
	assert_memory_equal(got + 24, " warning: tenant a?b\n", 21);
	assert_int_equal(got[23], 'Z');
	assert_int_equal(got[n - 1], '\n');
	assert_ptr_equal(strchr(strchr(got, '\n') + 1, '\n'), got + n - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err),
		cmocka_unit_test(test_err_is_cut_on_a_boundary),
		cmocka_unit_test(test_mem),
		cmocka_unit_test(test_mem_map),
		cmocka_unit_test(test_buf),
		cmocka_unit_test(test_buf_failure_sticks),
		cmocka_unit_test(test_json_string),
		cmocka_unit_test(test_map_random),
		cmocka_unit_test(test_map_many),
		cmocka_unit_test(test_map_hash_bytes),
		cmocka_unit_test(test_crc),
		cmocka_unit_test(test_io),
		cmocka_unit_test(test_relative_parent),
		cmocka_unit_test(test_cond_times_out),
		cmocka_unit_test(test_rwlock_prefers_writers),
		cmocka_unit_test(test_parallel),
		cmocka_unit_test(test_workers),
		cmocka_unit_test(test_workers_rest_after_long_work),
		cmocka_unit_test(test_one_worker_keeps_order),
		cmocka_unit_test(test_log),
	};

	seed = t_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
