/*
 * buf.h: a growing byte buffer, always followed by a 0 byte once something was added.
 *
 * A failed allocation sticks: later additions do nothing and buf_failed() tells at the end, so
 * that rendering code needs one check. BUF_INIT or all zeros is an empty buffer. Not for
 * several threads.
 */
#ifndef RV_BASE_BUF_H
#define RV_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
	char *data; /* NULL while empty */
	size_t len;
	size_t cap;
	bool failed;
};

#define BUF_INIT                                                                                   \
	{                                                                                          \
		0                                                                                  \
	}
#define BUF_AUTO __attribute__((cleanup(buf_release)))

void buf_release(struct buf *b); /* frees; b is empty and usable again */
void buf_clear(struct buf *b);   /* len = 0, keeps the memory, clears failed */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* room for n more bytes at the end, or NULL; then buf_grew() */
char *buf_space(struct buf *b, size_t n);
void buf_grew(struct buf *b, size_t n);
void buf_drop_front(struct buf *b, size_t n); /* O(len - n) */
/* caller frees with mem_free; NULL if it failed or is empty */
char *buf_detach(struct buf *b, size_t *ret_len);

static inline bool buf_failed(const struct buf *b)
{
	return b->failed;
}

/* Bytes of the UTF-8 character at s, n > 0; 0: overlong, a surrogate, above U+10FFFF, or cut. */
size_t utf8_length(const char *s, size_t n);

/* JSON string with quotes and escapes; bytes that are not UTF-8 become U+FFFD. */
void buf_add_json_string(struct buf *b, const char *s, size_t n);

#endif
