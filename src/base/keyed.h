/*
 * keyed.h: the text of control files: `KEY VALUE` lines, flat keyed as cgroup v2's.
 *
 * `KEY=VALUE` and white space around either are accepted, empty lines are skipped, a word may
 * stand alone. One write may hold several lines; whoever applies them reads all of them first,
 * so that they take effect together or not at all.
 */
#ifndef RV_BASE_KEYED_H
#define RV_BASE_KEYED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct keyed {
	const char *p; /* private */
	const char *end;
};

struct keyed_line {
	const char *key; /* at least one byte, printable */
	size_t key_len;
	const char *value; /* may be empty; no white space at its ends */
	size_t value_len;
};

void keyed_init(struct keyed *k, const char *text, size_t n);
/* 1: *ret is the next line, pointing into the text; 0: the end; -EINVAL: control characters,
 * or a line without a key. */
int keyed_next(struct keyed *k, struct keyed_line *ret, struct err *e);

bool keyed_key_is(const struct keyed_line *l, const char *key);
bool keyed_value_is(const struct keyed_line *l, const char *value);

/*
 * The value as a whole number. -EINVAL: missing or not a number; -ERANGE: negative, outside
 * [min, max], or above 2^63. The sentence names the key, the value and the range.
 */
int keyed_u64(const struct keyed_line *l, uint64_t min, uint64_t max, uint64_t *ret, struct err *e);

/* -EINVAL, for a key that is not in known ("a, b, c"). */
int keyed_unknown(const struct keyed_line *l, const char *known, struct err *e);

/* A file that takes one word: white space around it is dropped. -EINVAL when there is none
 * or more than one. */
int keyed_word(const char *text, size_t n, const char **ret, size_t *ret_len, struct err *e);

#endif
