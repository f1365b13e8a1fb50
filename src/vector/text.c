/*
 * text.c: a line of numbers.
 *
 * One pass, no copies; the time goes into num_parse_float. A comma stands between two numbers,
 * so a doubled or a trailing one is a number that is missing and refused. What is wrong is
 * looked up only after something was: the loop itself knows numbers and separators and nothing
 * else.
 */
#include "vector/text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <strings.h>

#include "base/num.h"

#define SHOWN 24 /* bytes of a bad number that a message repeats */

static inline bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static inline const char *skip_space(const char *s, const char *end)
{
	while (s < end && is_space(*s))
		s++;
	return s;
}

static bool ends_number(const char *s, const char *end)
{
	return s == end || is_space(*s) || *s == ',' || *s == ']';
}

/* What a word means to people, when it is no number to us. */
static bool is_not_finite(const char *s, size_t n)
{
	static const char *const words[] = { "nan", "inf", "infinity" };

	if (n && (*s == '-' || *s == '+'))
		s++, n--;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strncasecmp(words[i], s, n) == 0 && words[i][n] == '\0' && n)
			return true;
	}
	return false;
}

/* The word at s, cut and made harmless for a message. */
static size_t show_word(const char *s, const char *end, char ret[SHOWN + 4])
{
	size_t n = 0, shown;

	while (s + n < end && !ends_number(s + n, end))
		n++;
	shown = n <= SHOWN ? n : SHOWN;
	for (size_t i = 0; i < shown; i++)
		ret[i] = isprint((unsigned char)s[i]) ? s[i] : '?';
	for (size_t i = 0; n > SHOWN && i < 3; i++)
		ret[shown++] = '.';
	ret[shown] = '\0';
	return n;
}

static long bad_number(const char *s, const char *end, long i, struct err *e)
{
	unsigned char c = (unsigned char)*s;
	char word[SHOWN + 4];
	size_t n;

	if (c == ',')
		return err_set(e, -EINVAL, "number %ld: nothing before the comma", i);
	if (c == '[')
		return err_set(e, -EINVAL,
		               "number %ld: a bracket in the middle; write one vector a line", i);
	if (c == ']')
		return err_set(e, -EINVAL, "number %ld: a closing bracket that none opened", i);
	if (c < 0x20 || c == 0x7f)
		return err_set(e, -EINVAL, "number %ld: byte 0x%02x is not text", i, c);
	n = show_word(s, end, word);
	if (is_not_finite(s, n))
		return err_set(e, -EINVAL, "number %ld: %s is not finite", i, word);
	return err_set(e, -EINVAL, "number %ld: '%s' is not a number", i, word);
}

static long out_of_range(const char *s, const char *end, long i, struct err *e)
{
	char word[SHOWN + 4];

	show_word(s, end, word);
	return err_set(e, -EINVAL, "number %ld: %s is out of range of a 32-bit float", i, word);
}

/* After the closing bracket. */
static long finish(const char *s, const char *end, long n, struct err *e)
{
	char word[SHOWN + 4];

	s = skip_space(s, end);
	if (s == end)
		return n;
	show_word(s, end, word);
	return err_set(e, -EINVAL, "text after the closing bracket: '%s'", *word ? word : ",");
}

long text_parse_floats(const char *s, const char *end, float *ret, size_t max, struct err *e)
{
	bool bracket, comma = false;
	const char *next;
	size_t n = 0;

	s = skip_space(s, end);
	bracket = s < end && *s == '[';
	if (bracket)
		s = skip_space(s + 1, end);
	while (s < end && !(bracket && *s == ']')) {
		if (n == max)
			return err_set(e, -E2BIG, "more than %zu numbers", max);
		next = num_parse_float(s, end, &ret[n]);
		if (!next || !ends_number(next, end))
			return bad_number(s, end, (long)n + 1, e);
		if (!isfinite(ret[n]))
			return out_of_range(s, end, (long)n + 1, e);
		n++;
		s = skip_space(next, end);
		comma = s < end && *s == ',';
		if (comma)
			s = skip_space(s + 1, end);
	}
	if (comma)
		return err_set(e, -EINVAL, "number %zu: nothing after the comma", n + 1);
	if (bracket && s == end)
		return err_set(e, -EINVAL, "no closing bracket");
	return bracket ? finish(s + 1, end, (long)n, e) : (long)n;
}
