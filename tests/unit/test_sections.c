/* Sectioned files: what comes back, and that no damaged byte passes. */
#include "t.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/sections.h"

#define TAG_A SECTION_TAG('a', 'a', 'a', 'a')
#define TAG_B SECTION_TAG('b', 'b', 'b', 'b')
#define TAG_C SECTION_TAG('c', 'c', 'c', 'c')

static char dir[64], path[96], tmp[112];

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/test_sections.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/image", dir);
	snprintf(tmp, sizeof(tmp), "%s.tmp", path);
	return 0;
}

static int teardown(void **state)
{
	return io_remove_tree(dir);
}

/* A small file: 100 bytes in three pieces, an empty section, 64 bytes (no gap behind them). */
static void write_small(void)
{
	struct sections_writer *w;
	char bytes[100];

	memset(bytes, 'x', sizeof(bytes));
	T_OK(sections_create(path, &w, NULL));
	T_OK(sections_write(w, TAG_A, bytes, 60));
	T_OK(sections_write(w, TAG_A, bytes, 1));
	T_OK(sections_write(w, TAG_A, bytes, 39));
	T_OK(sections_write(w, TAG_B, NULL, 0));
	memset(bytes, 'y', sizeof(bytes));
	T_OK(sections_write(w, TAG_C, bytes, 64));
	T_OK(sections_commit(w, NULL));
}

static size_t read_all(unsigned char *bytes, size_t max)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, bytes, max);

	close(fd);
	assert_true(n >= 0);
	return (size_t)n;
}

static void write_all(const unsigned char *bytes, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	T_OK(io_write_at(fd, bytes, n, 0));
	close(fd);
}

static void expect_damaged(const char *what, size_t at)
{
	struct sections_reader *r;
	struct err e = { 0 };
	int rc = sections_open(path, &r, &e);

	if (rc != -EILSEQ)
		fail_msg("%s at %zu: opened with %d", what, at, rc);
	assert_int_equal(e.code, rc);
	assert_true(e.text[0] != '\0');
}

static void test_round_trip(void **state)
{
	struct sections_reader *r;
	const char *p;
	size_t n;

	write_small();
	assert_int_equal(access(tmp, F_OK), -1);
	T_OK(sections_open(path, &r, NULL));
	p = sections_get(r, TAG_A, &n);
	assert_int_equal(n, 100);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(p[i], 'x');
	assert_true(sections_get(r, TAG_B, &n) != NULL);
	assert_int_equal(n, 0);
	p = sections_get(r, TAG_C, &n);
	assert_int_equal(n, 64);
	assert_int_equal((uintptr_t)p % 64, 0);
	assert_int_equal(p[63], 'y');
	n = 1;
	assert_null(sections_get(r, SECTION_TAG('n', 'o', 'n', 'e'), &n));
	assert_int_equal(n, 0);
	sections_close(r);
}

/* Pieces below, at and above the writer's buffer. */
static void test_large_pieces(void **state)
{
	static const size_t piece[] = { 1, 65536, 262143, 262144, 262145, 7, 1000003 };
	struct sections_writer *w;
	struct sections_reader *r;
	unsigned char *bytes = malloc(1000003);
	const unsigned char *p;
	size_t n, at = 0;

	for (size_t i = 0; i < 1000003; i++)
		bytes[i] = (unsigned char)(i * 2654435761u >> 13);
	T_OK(sections_create(path, &w, NULL));
	T_OK(sections_write(w, TAG_B, "b", 1));
	for (size_t i = 0; i < 7; i++)
		T_OK(sections_write(w, TAG_A, bytes, piece[i]));
	T_OK(sections_write(w, TAG_C, bytes, 3));
	T_OK(sections_commit(w, NULL));
	T_OK(sections_open(path, &r, NULL));
	p = sections_get(r, TAG_A, &n);
	for (size_t i = 0; i < 7; at += piece[i++])
		assert_memory_equal(p + at, bytes, piece[i]);
	assert_int_equal(n, at);
	assert_memory_equal(sections_get(r, TAG_C, &n), bytes, 3);
	sections_close(r);
	free(bytes);
}

/* A large section on a page, then a small one: the file as it is mapped below. */
static void write_mappable(const unsigned char *bytes, size_t n, bool aligned)
{
	struct sections_writer *w;

	T_OK(sections_create(path, &w, NULL));
	T_OK(sections_write(w, TAG_B, "b", 1));
	if (aligned)
		sections_align(w);
	T_OK(sections_write(w, TAG_A, bytes, n));
	T_OK(sections_write(w, TAG_C, bytes, 64));
	T_OK(sections_commit(w, NULL));
}

static void assert_zeros(const unsigned char *p, size_t begin, size_t end)
{
	for (size_t i = begin; i < end; i++)
		if (p[i])
			fail_msg("byte %zu is %u", i, p[i]);
}

/* Memory that the file gave stays when the file is replaced, and grows twice. */
static void test_map(void **state)
{
	static unsigned char bytes[300001];
	struct sections_reader *r;
	unsigned char *p;
	size_t n, length = 400000, file_bytes;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 2654435761u >> 13);
	for (int aligned = 0; aligned < 2; aligned++) {
		write_mappable(bytes, sizeof(bytes), aligned);
		T_OK(sections_open(path, &r, NULL));
		p = sections_map(r, TAG_A, &length, &file_bytes);
		assert_non_null(p);
		assert_int_equal(file_bytes > 0, aligned);
		assert_memory_equal(p, bytes, sizeof(bytes));
		assert_zeros(p, sizeof(bytes), length);
		p[0] ^= 1;
		assert_memory_equal(sections_get(r, TAG_A, &n), bytes, sizeof(bytes));
		sections_close(r);
		write_small();
		unlink(path);
		for (size_t grown = 500000; grown <= 2000000; grown *= 4, length = grown / 4) {
			p[length - 1] = 7;
			p = mem_map_file_grow(p, file_bytes, length, grown);
			assert_non_null(p);
			assert_memory_equal(p + 1, bytes + 1, sizeof(bytes) - 1);
			assert_int_equal(p[0], bytes[0] ^ 1);
			assert_int_equal(p[length - 1], 7);
			assert_zeros(p, length, grown);
		}
		mem_map_free(p, length);
		length = 1;
	}
}

/* What was touched of a table, what was changed of a view of a file. */
static void test_memory_that_is_counted(void **state)
{
	static unsigned char bytes[300001];
	struct sections_reader *r;
	size_t page = mem_page(), length = 100 * page, file_bytes;
	unsigned char *p;
	volatile unsigned char *touched;

	write_mappable(bytes, sizeof(bytes), true);
	T_OK(sections_open(path, &r, NULL));
	p = sections_map(r, TAG_A, &length, &file_bytes);
	sections_close(r);
	touched = p;
	assert_int_equal(touched[0] + touched[200000], 0);    /* reading does not count */
	assert_int_equal(mem_map_anonymous(p, length), page); /* the section's end */
	touched[5 * page] = 1;
	touched[file_bytes + page] = 1;
	assert_int_equal(mem_map_anonymous(p, length), 3 * page);
	assert_int_equal(mem_map_anonymous(p, file_bytes), page);
	mem_map_free(p, length);
	assert_int_equal(mem_map_anonymous(NULL, 0), 0);
}

static void test_map_small_and_missing(void **state)
{
	struct sections_reader *r;
	size_t length = 1, file_bytes;
	unsigned char *p;

	write_small();
	T_OK(sections_open(path, &r, NULL));
	p = sections_map(r, TAG_A, &length, &file_bytes);
	assert_true(p && length >= 100 && file_bytes == 0 && p[99] != 0);
	mem_map_free(p, length);
	length = 10;
	p = sections_map(r, SECTION_TAG('n', 'o', 'n', 'e'), &length, &file_bytes);
	assert_true(p && length == 10 && file_bytes == 0 && p[0] == 0);
	mem_map_free(p, length);
	sections_close(r);
}

static void test_gap_before_a_page(void **state)
{
	static unsigned char bytes[300000], file[310000];
	size_t n;

	write_mappable(bytes, sizeof(bytes), true);
	n = read_all(file, sizeof(file));
	for (size_t at = 65; at < 4096; at += 509) {
		file[at] = 1;
		write_all(file, n);
		expect_damaged("gap", at);
		file[at] = 0;
	}
	for (size_t at = 4096; at < n; at += 4999) {
		file[at] ^= 4;
		write_all(file, n);
		expect_damaged("flipped byte", at);
		file[at] ^= 4;
	}
}

static void test_no_sections(void **state)
{
	struct sections_writer *w;
	struct sections_reader *r;
	size_t n;

	T_OK(sections_create(path, &w, NULL));
	T_OK(sections_commit(w, NULL));
	T_OK(sections_open(path, &r, NULL));
	assert_null(sections_get(r, TAG_A, &n));
	sections_close(r);
}

static void test_every_flipped_byte(void **state)
{
	unsigned char bytes[1024];
	size_t n;

	write_small();
	n = read_all(bytes, sizeof(bytes));
	assert_int_equal(n, 64 + 128 + 64 + 3 * 24);
	for (size_t i = 0; i < n; i++) {
		for (int bit = 0; bit < 8; bit += 7) {
			bytes[i] ^= (unsigned char)(1 << bit);
			write_all(bytes, n);
			expect_damaged("flipped byte", i);
			bytes[i] ^= (unsigned char)(1 << bit);
		}
	}
}

static void test_every_length(void **state)
{
	unsigned char bytes[1024] = { 0 };
	size_t n;

	write_small();
	n = read_all(bytes, sizeof(bytes));
	for (size_t i = 0; i < n; i++) {
		write_all(bytes, i);
		expect_damaged("cut", i);
	}
	write_all(bytes, n + 1);
	expect_damaged("longer", n + 1);
}

static void put_u64(unsigned char *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (unsigned char)(v >> 8 * i);
}

static void put_u32(unsigned char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(v >> 8 * i);
}

/* Table and header with right CRCs around whatever they say. */
static void seal(unsigned char *bytes, size_t table, size_t n_bytes)
{
	put_u32(bytes + 56, crc32c(0, bytes + table, n_bytes));
	put_u32(bytes + 60, crc32c(0, bytes, 60));
}

/* Somebody who can count CRCs: offsets and lengths that overflow, overlap or repeat. */
static void test_hostile_tables(void **state)
{
	static const struct {
		size_t at; /* in the file; 256 is the table */
		uint64_t value;
	} forged[] = {
		{ 16, 0 },
		{ 16, 192 },
		{ 16, UINT64_MAX - 63 },
		{ 256 + 8, 0 },
		{ 256 + 8, 128 },
		{ 256 + 16, UINT64_MAX },
		{ 256 + 16, 200 },
		{ 256 + 16, 0 },
		{ 256 + 24 + 8, 64 },
		{ 256 + 24 + 16, 1 },
		{ 256 + 48 + 16, 65 },
		{ 256 + 48 + 16, UINT64_MAX - 191 },
		{ 256 + 48 + 8, 1u << 30 },
	};
	unsigned char good[1024], bytes[1024];
	size_t n;

	write_small();
	n = read_all(good, sizeof(good));
	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
		memcpy(bytes, good, n);
		put_u64(bytes + forged[i].at, forged[i].value);
		seal(bytes, 256, 72);
		write_all(bytes, n);
		expect_damaged("forged", i);
	}
	memcpy(bytes, good, n);
	memcpy(bytes + 256 + 24, bytes + 256, 4); /* a tag twice */
	seal(bytes, 256, 72);
	write_all(bytes, n);
	expect_damaged("tag twice", 0);
	memcpy(bytes, good, n);
	put_u32(bytes + 12, UINT32_MAX);
	seal(bytes, 256, 72);
	write_all(bytes, n);
	expect_damaged("number of sections", 0);
	memcpy(bytes, good, n);
	put_u32(bytes + 8, 2);
	seal(bytes, 256, 72);
	write_all(bytes, n);
	expect_damaged("version", 0);
	memcpy(bytes, good, n);
	put_u64(bytes + 32, 1);
	seal(bytes, 256, 72);
	write_all(bytes, n);
	expect_damaged("not zeros", 0);
	memcpy(bytes, good, n);
	seal(bytes, 256, 72); /* what seal does is what the writer did */
	assert_memory_equal(bytes, good, n);
}

/* The first section is so long that it ends before it begins; the others fit. */
static void test_length_that_wraps(void **state)
{
	unsigned char bytes[1024];
	size_t n;

	write_small();
	n = read_all(bytes, sizeof(bytes));
	put_u32(bytes + 256 + 4, 0);
	put_u64(bytes + 256 + 16, UINT64_MAX);
	put_u64(bytes + 256 + 24 + 8, 64);
	put_u64(bytes + 256 + 48 + 8, 64);
	put_u64(bytes + 256 + 48 + 16, 192);
	put_u32(bytes + 256 + 48 + 4, crc32c(0, bytes + 64, 192));
	seal(bytes, 256, 72);
	write_all(bytes, n);
	expect_damaged("wrapped", 0);
}

static void test_table_behind_a_hole(void **state)
{
	unsigned char bytes[1024];
	size_t n;

	write_small();
	n = read_all(bytes, sizeof(bytes));
	memmove(bytes + 320, bytes + 256, 72);
	memset(bytes + 256, 0, 64);
	put_u64(bytes + 16, 320);
	seal(bytes, 320, 72);
	write_all(bytes, n + 64);
	expect_damaged("hole", 0);
}

static void test_number_of_sections(void **state)
{
	struct sections_writer *w;
	struct sections_reader *r;
	size_t n;

	T_OK(sections_create(path, &w, NULL));
	for (uint32_t tag = 0; tag < 4096; tag++)
		T_OK(sections_write(w, tag, &tag, 4));
	T_OK(sections_commit(w, NULL));
	T_OK(sections_open(path, &r, NULL));
	for (uint32_t tag = 0; tag < 4096; tag++)
		assert_int_equal(*(const uint32_t *)sections_get(r, tag, &n), tag);
	sections_close(r);
	T_OK(sections_create(path, &w, NULL));
	for (uint32_t tag = 0; tag < 4096; tag++)
		T_OK(sections_write(w, tag, NULL, 0));
	T_ERR(sections_write(w, 4096, NULL, 0), E2BIG);
	sections_abort(w);
}

static void test_missing_and_strange(void **state)
{
	struct sections_reader *r;
	struct err e;

	unlink(path);
	T_ERR(sections_open(path, &r, &e), ENOENT);
	write_all(NULL, 0);
	expect_damaged("empty", 0);
	unlink(path);
	T_OK(mkfifo(path, 0600));
	expect_damaged("fifo", 0);
	unlink(path);
	T_OK(mkdir(path, 0700));
	expect_damaged("directory", 0);
	rmdir(path);
}

static void test_abort_and_errors_leave_path(void **state)
{
	unsigned char before[1024], after[1024];
	struct sections_writer *w;
	struct err e = { 0 };
	size_t n;

	write_small();
	n = read_all(before, sizeof(before));
	T_OK(sections_create(path, &w, NULL));
	T_OK(sections_write(w, TAG_A, "a", 1));
	sections_abort(w);
	sections_abort(NULL);
	T_OK(sections_create(path, &w, NULL));
	T_OK(sections_write(w, TAG_A, "a", 1));
	T_OK(sections_write(w, TAG_B, "b", 1));
	T_ERR(sections_write(w, TAG_A, "a", 1), EINVAL); /* not one after the other */
	T_ERR(sections_write(w, TAG_C, "c", 1), EINVAL); /* sticks */
	T_ERR(sections_commit(w, &e), EINVAL);
	assert_string_equal(e.text, "section 61616161 is split");
	assert_int_equal(access(tmp, F_OK), -1);
	assert_int_equal(read_all(after, sizeof(after)), n);
	assert_memory_equal(before, after, n);
	T_ERR(sections_create("/nonexistent/image", &w, &e), ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_large_pieces),
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_memory_that_is_counted),
		cmocka_unit_test(test_map_small_and_missing),
		cmocka_unit_test(test_gap_before_a_page),
		cmocka_unit_test(test_no_sections),
		cmocka_unit_test(test_every_flipped_byte),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_hostile_tables),
		cmocka_unit_test(test_length_that_wraps),
		cmocka_unit_test(test_table_behind_a_hole),
		cmocka_unit_test(test_number_of_sections),
		cmocka_unit_test(test_missing_and_strange),
		cmocka_unit_test(test_abort_and_errors_leave_path),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
