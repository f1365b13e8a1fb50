/*
 * err.c: sentences are formatted into a scratch text first, so that arguments may point into the
 * err they go to.
 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Bytes of s that fit into max without splitting a UTF-8 sequence. */
static size_t fitting(const char *s, size_t len, size_t max)
{
	if (len <= max)
		return len;
	while (max > 0 && ((unsigned char)s[max] & 0xc0) == 0x80)
		max--;
	return max;
}

static void put(struct err *e, const char *text)
{
	size_t n = fitting(text, strlen(text), sizeof(e->text) - 1);

	memcpy(e->text, text, n);
	e->text[n] = '\0';
}

int(err_set)(struct err *e, int code, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX +
	          4]; /* a sequence that is cut at the end of e->text is whole here */
	va_list ap;

	if (!e)
		return code;
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	e->code = code;
	put(e, text);
	return code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
	char text[2 * ERR_TEXT_MAX + 8];
	va_list ap;
	size_t n;

	if (!e)
		return 0;
	va_start(ap, fmt);
	if (vsnprintf(text, ERR_TEXT_MAX + 4, fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	n = strlen(text);
	snprintf(text + n, sizeof(text) - n, ": %s", e->text);
	put(e, text);
	return e->code;
}

int(err_nomem)(struct err *e)
{
	return err_set(e, -ENOMEM, "out of memory");
}
