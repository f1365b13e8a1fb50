/*
 * reader_tell.c: which format a stream has, from its first bytes and its name.
 *
 * Magic numbers are certain. A TexMex file begins with a small little-endian dimension, whose
 * third and fourth byte are 0, which no text has; so four bytes tell text from it, and fewer do
 * when a later one is not 0. But a line may be shorter than that, and must not wait: "1\n" is
 * taken for text unless the name says TexMex. (The file that this misreads has 2,592 to 2,686
 * dimensions, no ending, and a writer that sends its first two bytes alone.) In text the first
 * character tells JSON: { or [{ or []. Only where the content says nothing does the name decide.
 */
#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "vector/reader_formats.h"

#define NPY_MAGIC "\x93NUMPY"
#define BOM       "\xef\xbb\xbf"

static const struct {
	const char *bytes;
	size_t n;
	const char *sentence;
} refused[] = {
	{ "\x1f\x8b", 2, "gzip is not read yet; write what `gunzip` gives" },
	{ "\x28\xb5\x2f\xfd", 4, "zstd is not read yet; write what `unzstd` gives" },
	{ "PK\x03\x04", 4,
	  "zip archives and .npz are not read; write one array saved by numpy.save" },
	{ "\xff\xfe", 2, "UTF-16 is not read; write UTF-8" },
	{ "\xfe\xff", 2, "UTF-16 is not read; write UTF-8" },
};

/* No control characters and none of the bytes that UTF-8 never has. */
static bool is_text(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];

		if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f || c > 0xf4)
			return false;
	}
	return true;
}

static bool is_vecs_name(const struct reader *r)
{
	return reader_name_ends(r, ".fvecs") || reader_name_ends(r, ".bvecs") ||
	       (r->allow_ivecs && reader_name_ends(r, ".ivecs"));
}

static const struct reader_ops *vecs_ops(const struct reader *r)
{
	if (reader_name_ends(r, ".ivecs"))
		return &reader_ivecs;
	return reader_name_ends(r, ".bvecs") ? &reader_bvecs : &reader_fvecs;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/*
 * Text by its first characters; NULL while they are white space, but no more than a line may
 * have.
 */
static const struct reader_ops *tell_text(const char *p, size_t n)
{
	const char *end = p + n;

	while (p < end && is_blank(*p))
		p++;
	if (p == end)
		return n > LIMIT_LINE ? &reader_text : NULL;
	if (*p == '{')
		return &reader_json;
	if (*p != '[')
		return &reader_text;
	for (p++; p < end && is_blank(*p); p++)
		;
	if (p == end)
		return n > LIMIT_LINE ? &reader_text : NULL;
	return *p == '{' || *p == ']' ? &reader_json : &reader_text;
}

/*
 * Whether these, fewer than four bytes, may begin a TexMex file, and a whole line of text is not
 * more likely.
 */
static bool may_be_vecs(const struct reader *r, const char *p, size_t n)
{
	if (n >= 4)
		return false;
	if (is_vecs_name(r))
		return true;
	return n == 3 ? p[2] == 0 : n == 1 || p[1] != '\n';
}

static bool is_prefix(const char *p, size_t n, const char *magic, size_t n_magic)
{
	return memcmp(p, magic, n < n_magic ? n : n_magic) == 0;
}

int reader_tell(const struct reader *r, const char *p, size_t n, const struct reader_ops **ret,
                size_t *ret_skip, struct err *e)
{
	*ret_skip = 0;
	if (is_prefix(p, n, NPY_MAGIC, 6)) {
		*ret = &reader_npy;
		return n >= 6;
	}
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		if (is_prefix(p, n, refused[i].bytes, refused[i].n))
			return n < refused[i].n ? 0
			                        : err_set(e, -EINVAL, "%s", refused[i].sentence);
	}
	if (may_be_vecs(r, p, n))
		return 0;
	if (n >= 4 && ((p[2] == 0 && p[3] == 0) || (is_vecs_name(r) && !is_text(p, 4)))) {
		if (reader_name_ends(r, ".ivecs") && !r->allow_ivecs)
			return err_set(e, -EINVAL,
			               "an .ivecs file holds neighbours' numbers, no vectors");
		*ret = vecs_ops(r);
		return 1;
	}
	if (reader_name_ends(r, ".npy") && !is_text(p, n < 4 ? n : 4))
		return err_set(e, -EINVAL, "no .npy file: it does not begin with \\x93NUMPY");
	if (n >= 3 && memcmp(p, BOM, 3) == 0)
		*ret_skip = 3;
	*ret = tell_text(p + *ret_skip, n - *ret_skip);
	return *ret != NULL;
}

int reader_tell_short(const char *p, size_t n, const struct reader_ops **ret, size_t *ret_skip,
                      struct err *e)
{
	if (!is_text(p, n) || is_prefix(p, n, NPY_MAGIC, 6))
		return err_set(e, -EINVAL,
		               "the file ends after %zu bytes, too few to tell its format", n);
	*ret_skip = n >= 3 && memcmp(p, BOM, 3) == 0 ? 3 : 0;
	*ret = tell_text(p + *ret_skip, n - *ret_skip);
	if (!*ret && memchr(p, '[', n))
		return err_set(e, -EINVAL, "the file ends inside a bracket");
	return *ret != NULL;
}
