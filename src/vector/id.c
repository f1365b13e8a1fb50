/*
 * id.c: what a vector may be called. An ID becomes a file's name in vectors/, so it must be one; and
 * it is made of the name of a file in ingest/, where there is none.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/limits.h"
#include "vector/reader.h"

/*
 * The code point at s and its length in *ret_len, or -1: not UTF-8 (also overlong forms,
 * surrogates, beyond U+10FFFF).
 */
static int32_t decode(const unsigned char *s, size_t n, size_t *ret_len)
{
	static const int32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc0 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	int32_t c = len <= 1 ? s[0] : s[0] & (0x7f >> len);

	if (len == 0 || s[0] > 0xf4 || len > n)
		return -1;
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return -1;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return -1;
	*ret_len = len;
	return c;
}

int vector_id_check(const char *id, size_t n, struct err *e)
{
	const unsigned char *s = (const unsigned char *)id;
	size_t len = 0;
	int32_t c;

	if (n == 0)
		return err_set(e, -EINVAL, "the ID is empty");
	if (n > LIMIT_ID)
		return err_set(e, -EINVAL, "the ID has %zu bytes, limit %d", n, LIMIT_ID);
	if (id[0] == '.' && (n == 1 || (n == 2 && id[1] == '.')))
		return err_set(e, -EINVAL, "the ID is '%.*s', a name of a directory", (int)n, id);
	for (size_t i = 0; i < n; i += len) {
		c = decode(s + i, n - i, &len);
		if (c < 0)
			return err_set(e, -EINVAL, "the ID is not UTF-8: byte %zu is 0x%02x", i + 1,
			               s[i]);
		if (c == '/')
			return err_set(e, -EINVAL, "the ID holds a slash at byte %zu", i + 1);
		if (c < 0x20 || (c >= 0x7f && c < 0xa0))
			return err_set(e, -EINVAL,
			               "the ID holds the control character 0x%02x at byte %zu",
			               (unsigned)c, i + 1);
	}
	return 0;
}

size_t vector_stem_length(const char *name, size_t n)
{
	static const char *const endings[] = {
		".txt",    ".text", ".csv",   ".tsv",   ".json",  ".jsonl",
		".ndjson", ".npy",  ".fvecs", ".bvecs", ".ivecs",
	};

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		size_t len = strlen(endings[i]);

		if (n > len && memcmp(name + n - len, endings[i], len) == 0)
			return n - len;
	}
	return n;
}
