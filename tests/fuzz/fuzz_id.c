/*
 * fuzz_id.c: the check of vectors' IDs against one that is written down a second time, slowly:
 * UTF-8 of 1 to 255 bytes, in its shortest form, no surrogates, no control characters, no `/`.
 */
#include "base/limits.h"
#include "fuzz.h"
#include "vector/reader.h"

/* The character at p, its length in *ret_len; -1: none. */
static long character(const uint8_t *p, size_t n, size_t *ret_len)
{
	static const long least[] = { 0, 0x80, 0x800, 0x10000 };
	unsigned more = p[0] < 0x80 ? 0 : p[0] < 0xc0 ? 9 : p[0] < 0xe0 ? 1 : p[0] < 0xf0 ? 2 : 3;
	long c = more == 0 ? p[0] : p[0] & (0x3f >> more);

	if (p[0] >= 0xf8 || more > 3 || n <= more)
		return -1;
	for (unsigned i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return -1;
		c = c << 6 | (p[i] & 0x3f);
	}
	*ret_len = more + 1;
	return c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? -1 : c;
}

static bool allowed(const uint8_t *p, size_t n)
{
	size_t len = 0;

	if (n == 0 || n > LIMIT_ID || (n == 1 && p[0] == '.') || (n == 2 && !memcmp(p, "..", 2)))
		return false;
	for (; n > 0; p += len, n -= len) {
		long c = character(p, n, &len);

		if (c < 0x20 || c == '/' || (c >= 0x7f && c < 0xa0))
			return false;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	HOLDS((vector_id_check((const char *)data, size, NULL) == 0) == allowed(data, size));
	return 0;
}
