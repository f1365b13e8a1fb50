/*
 * keyed.c: a line is a key, one separator (white space, or `=` with white space around it), and
 * the rest.
 */
#include "base/keyed.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/num.h"

#define NUMBER_MAX ((uint64_t)1 << 63)
#define SHOWN_MAX  64

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static bool is_control(char c)
{
	return ((unsigned char)c < ' ' && !is_blank(c)) || c == 0x7f;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void trim(const char **p, const char **end)
{
	while (*p < *end && is_blank(**p))
		(*p)++;
	while (*end > *p && is_blank((*end)[-1]))
		(*end)--;
}

/* How much of a client's text goes into a sentence: whole characters. */
static int shown(const char *p, size_t n)
{
	size_t cut = n < SHOWN_MAX ? n : SHOWN_MAX;

	while (cut < n && cut > 0 && ((unsigned char)p[cut] & 0xc0) == 0x80)
		cut--;
	return (int)cut;
}

void keyed_init(struct keyed *k, const char *text, size_t n)
{
	k->p = text;
	k->end = text + n;
}

static int split(const char *p, const char *end, struct keyed_line *ret, struct err *e)
{
	const char *q = p;

	while (q < end && !is_blank(*q) && *q != '=')
		q++;
	if (q == p)
		return err_set(e, -EINVAL, "a key is missing before \"%.*s\"",
		               shown(p, (size_t)(end - p)), p);
	ret->key = p;
	ret->key_len = (size_t)(q - p);
	trim(&q, &end);
	if (q < end && *q == '=') {
		q++;
		trim(&q, &end);
	}
	ret->value = q;
	ret->value_len = (size_t)(end - q);
	return 1;
}

int keyed_next(struct keyed *k, struct keyed_line *ret, struct err *e)
{
	while (k->p < k->end) {
		const char *p = k->p;
		const char *end = memchr(p, '\n', (size_t)(k->end - p));

		if (!end)
			end = k->end;
		k->p = end < k->end ? end + 1 : end;
		trim(&p, &end);
		for (const char *c = p; c < end; c++)
			if (is_control(*c))
				return err_set(e, -EINVAL, "a control character (byte 0x%02x)",
				               (unsigned char)*c);
		if (p < end)
			return split(p, end, ret, e);
	}
	return 0;
}

static bool is(const char *p, size_t n, const char *word)
{
	return n == strlen(word) && memcmp(p, word, n) == 0;
}

bool keyed_key_is(const struct keyed_line *l, const char *key)
{
	return is(l->key, l->key_len, key);
}

bool keyed_value_is(const struct keyed_line *l, const char *value)
{
	return is(l->value, l->value_len, value);
}

static bool all_digits(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!is_digit(p[i]))
			return false;
	return n > 0;
}

int keyed_u64(const struct keyed_line *l, uint64_t min, uint64_t max, uint64_t *ret, struct err *e)
{
	const char *p = l->value;
	size_t n = l->value_len;
	bool negative = n > 0 && *p == '-';
	int key_len = shown(l->key, l->key_len);
	uint64_t v = 0;

	if (max > NUMBER_MAX)
		max = NUMBER_MAX;
	if (n == 0)
		return err_set(e, -EINVAL, "%.*s: the value is missing", key_len, l->key);
	if (!all_digits(p + negative, n - negative))
		return err_set(e, -EINVAL, "%.*s \"%.*s\" is not a whole number", key_len, l->key,
		               shown(p, n), p);
	if (negative || !num_parse_u64(p, n, &v) || v < min || v > max)
		return err_set(e, -ERANGE, "%.*s %.*s is out of range, %" PRIu64 " to %" PRIu64,
		               key_len, l->key, shown(p, n), p, min, max);
	*ret = v;
	return 0;
}

int keyed_unknown(const struct keyed_line *l, const char *known, struct err *e)
{
	return err_set(e, -EINVAL, "unknown key \"%.*s\", known are %s", shown(l->key, l->key_len),
	               l->key, known);
}

int keyed_word(const char *text, size_t n, const char **ret, size_t *ret_len, struct err *e)
{
	struct keyed k;
	struct keyed_line l, more;
	int rc;

	keyed_init(&k, text, n);
	rc = keyed_next(&k, &l, e);
	if (rc < 0)
		return rc;
	if (rc == 0)
		return err_set(e, -EINVAL, "a word is missing");
	if (l.value_len > 0 || l.key + l.key_len != l.value || keyed_next(&k, &more, NULL) != 0)
		return err_set(e, -EINVAL, "one word is expected");
	*ret = l.key;
	*ret_len = l.key_len;
	return 0;
}
