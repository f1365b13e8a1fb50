/* test_tar.c: headers of tar. */
#include <errno.h>
#include <string.h>

#include "base/tar.h"
#include "t.h"

static void same(uint64_t size, const char *name)
{
	struct tar_member m = { .size = size, .mtime_s = 1234567890 }, back;
	char block[TAR_BLOCK];
	struct err e = { 0 };

	strcpy(m.name, name);
	tar_header(&m, block);
	assert_int_equal(tar_parse(block, &back, &e), 1);
	assert_string_equal(back.name, name);
	assert_true(back.size == size);
	assert_true(back.mtime_s == 1234567890);
}

static void round_trip(void **state)
{
	char name[TAR_NAME_MAX + 1];

	memset(name, 'n', TAR_NAME_MAX);
	name[TAR_NAME_MAX] = '\0';
	same(0, "a");
	same(511, "stores/1/store.db");
	same(077777777777ull, name);
	same(0100000000000ull, name);
	same(INT64_MAX, "b");
}

static void padding(void **state)
{
	assert_true(tar_padding(0) == 0 && tar_padding(1) == 511 && tar_padding(512) == 0);
}

static void refused(void **state)
{
	struct tar_member m = { .name = "x", .size = 5 }, back;
	char block[TAR_BLOCK], good[TAR_BLOCK];
	struct err e = { 0 };

	memset(block, 0, sizeof(block));
	assert_int_equal(tar_parse(block, &back, &e), 0);
	tar_header(&m, good);
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		memcpy(block, good, sizeof(block));
		block[i] ^= 1;
		T_ERR(tar_parse(block, &back, &e), EILSEQ);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(padding),
		cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
