/*
 * buf.c: the buffer doubles when it is full; one byte beyond len is always kept for the 0.
 */
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define BUF_MIN 64

void buf_release(struct buf *b)
{
	mem_free(b->data);
	*b = (struct buf)BUF_INIT;
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

static bool grow(struct buf *b, size_t need)
{
	size_t cap = b->cap < BUF_MIN ? BUF_MIN : b->cap;
	char *data;

	while (cap < need)
		cap = cap > SIZE_MAX / 2 ? need : cap * 2;
	data = mem_resize(b->data, cap, 1);
	if (!data) {
		b->failed = true;
		return false;
	}
	if (!b->data)
		data[0] = '\0';
	b->data = data;
	b->cap = cap;
	return true;
}

char *buf_space(struct buf *b, size_t n)
{
	size_t need;

	if (b->failed)
		return NULL;
	if (__builtin_add_overflow(b->len, n, &need) || __builtin_add_overflow(need, 1, &need)) {
		b->failed = true;
		return NULL;
	}
	if (need > b->cap && !grow(b, need))
		return NULL;
	return b->data + b->len;
}

void buf_grew(struct buf *b, size_t n)
{
	if (b->failed || !b->data)
		return;
	assert(n < b->cap - b->len);
	b->len += n;
	b->data[b->len] = '\0';
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	char *to = buf_space(b, n);

	if (!to)
		return;
	if (n)
		memcpy(to, p, n);
	buf_grew(b, n);
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
	char *to = buf_space(b, 1);

	if (!to)
		return;
	*to = c;
	buf_grew(b, 1);
}

/* Tries with the room that is there; the answer says how much more a second try needs. */
void buf_addf(struct buf *b, const char *fmt, ...)
{
	size_t room = BUF_MIN;
	va_list ap;
	char *to;
	int n;

	for (int i = 0; i < 2; i++) {
		to = buf_space(b, room);
		if (!to)
			return;
		room = b->cap - b->len;
		va_start(ap, fmt);
		n = vsnprintf(to, room, fmt, ap);
		va_end(ap);
		if (n < 0)
			break;
		if ((size_t)n < room) {
			buf_grew(b, (size_t)n);
			return;
		}
		*to = '\0';
		room = (size_t)n;
	}
	b->failed = true;
}

void buf_drop_front(struct buf *b, size_t n)
{
	if (n > b->len)
		n = b->len;
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->len - n + 1);
	b->len -= n;
}

char *buf_detach(struct buf *b, size_t *ret_len)
{
	size_t len = b->failed ? 0 : b->len;
	char *data = NULL;

	if (len > 0) {
		data = b->data;
		b->data = NULL;
	}
	buf_release(b);
	if (ret_len)
		*ret_len = len;
	return data;
}

static bool is_continuation(const unsigned char *p, size_t n, size_t i)
{
	return i < n && (p[i] & 0xc0) == 0x80;
}

size_t utf8_length(const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;

	if (p[0] < 0x80)
		return 1;
	if (!is_continuation(p, n, 1) || p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	if (p[0] < 0xe0)
		return 2;
	if (!is_continuation(p, n, 2))
		return 0;
	if (p[0] < 0xf0) {
		bool overlong = p[0] == 0xe0 && p[1] < 0xa0;
		bool surrogate = p[0] == 0xed && p[1] > 0x9f;

		return overlong || surrogate ? 0 : 3;
	}
	if (!is_continuation(p, n, 3))
		return 0;
	return (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f) ? 0 : 4;
}

static void add_json_escape(struct buf *b, unsigned char c)
{
	static const char name[] = "\"\\\b\f\n\r\t";
	static const char letter[] = "\"\\bfnrt";
	const char *at = c ? strchr(name, c) : NULL;

	if (at) {
		buf_addc(b, '\\');
		buf_addc(b, letter[at - name]);
	} else {
		buf_addf(b, "\\u%04x", c);
	}
}

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

void buf_add_json_string(struct buf *b, const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;

	buf_addc(b, '"');
	for (size_t i = 0; i < n;) {
		size_t run = 0;

		while (i + run < n && is_plain(p[i + run]))
			run++;
		if (run == 0 && p[i] >= 0x80)
			run = utf8_length(s + i, n - i);
		if (run > 0) {
			buf_add(b, p + i, run);
			i += run;
			continue;
		}
		if (p[i] < 0x80)
			add_json_escape(b, p[i]);
		else
			buf_adds(b, "\xef\xbf\xbd"); /* U+FFFD for each byte that begins nothing */
		i++;
	}
	buf_addc(b, '"');
}
