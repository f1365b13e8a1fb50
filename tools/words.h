/*
 * words.h: a text as words: letters and figures of any script, in small letters.
 */
#ifndef RV_TOOLS_WORDS_H
#define RV_TOOLS_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORD_MAX   64 /* characters of a word that count */
#define WORD_BYTES (4 * WORD_MAX)

struct words {
	const char *s, *end;         /* what is left */
	uint32_t word[WORD_MAX + 2]; /* len code points from 1 on */
	size_t len;
};

void words_begin(struct words *w, const char *s, size_t n);
bool words_next(struct words *w); /* false: there is no further word */

bool words_is_common(const struct words *w); /* English, without a meaning of its own */
uint64_t words_hash(const struct words *w);
size_t words_text(const struct words *w, char ret[WORD_BYTES]); /* UTF-8, without a 0 byte */

uint64_t words_mix(uint64_t h);
uint64_t words_hash_chars(uint64_t seed, const uint32_t *c, size_t n);

#endif
