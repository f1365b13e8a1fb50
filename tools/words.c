/*
 * words.c: what a word is, in any script that has capitals or none. Of no locale, so that a text means
 * the same everywhere.
 */
#include "tools/words.h"

#include <stdlib.h>
#include <string.h>

/* Sorted. */
static const char *const stop_words[] = {
	"a",    "about", "after",  "all",   "also", "an",    "and",   "any",   "are",   "as",
	"at",   "be",    "been",   "but",   "by",   "can",   "could", "do",    "does",  "each",
	"for",  "from",  "had",    "has",   "have", "he",    "her",   "his",   "how",   "i",
	"if",   "in",    "into",   "is",    "it",   "its",   "may",   "me",    "more",  "most",
	"my",   "no",    "not",    "of",    "on",   "one",   "only",  "or",    "other", "our",
	"over", "she",   "should", "so",    "some", "such",  "than",  "that",  "the",   "their",
	"them", "then",  "there",  "these", "they", "this",  "those", "to",    "under", "up",
	"was",  "we",    "were",   "what",  "when", "where", "which", "while", "who",   "will",
	"with", "would", "you",    "your",
};

/* ---- characters ---- */

/* The next code point, or the byte itself where it is not UTF-8. */
static uint32_t next_char(const char **s, const char *end)
{
	const unsigned char *p = (const unsigned char *)*s;
	int more = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 1 : p[0] < 0xf0 ? 2 : p[0] < 0xf5 ? 3 : 0;
	uint32_t c = more ? p[0] & (0x3fu >> more) : p[0];

	if (end - *s <= more) {
		(*s)++;
		return p[0];
	}
	for (int i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80) {
			(*s)++;
			return p[0];
		}
		c = c << 6 | (p[i] & 0x3f);
	}
	*s += more + 1;
	return c;
}

/*
 * Latin, Greek and Cyrillic capitals; others stay. Of no locale, so that a text means the same
 * everywhere.
 */
static uint32_t lower(uint32_t c)
{
	if ((c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7) ||
	    (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f))
		return c + 32;
	if (c >= 0x400 && c <= 0x40f)
		return c + 80;
	if ((c >= 0x100 && c <= 0x137) || (c >= 0x14a && c <= 0x177))
		return c | 1;
	return c;
}

static bool is_word_char(uint32_t c)
{
	if (c < 0x80)
		return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
	return c >= 0xc0 && !(c >= 0x2000 && c <= 0x206f) && !(c >= 0x3000 && c <= 0x303f) &&
	       c != 0xd7 && c != 0xf7 && !(c >= 0xfe00 && c <= 0xfe0f);
}

/* ---- words ---- */

void words_begin(struct words *w, const char *s, size_t n)
{
	w->s = s;
	w->end = s + n;
}

bool words_next(struct words *w)
{
	w->len = 0;
	while (w->s < w->end) {
		uint32_t c = lower(next_char(&w->s, w->end));

		if (is_word_char(c)) {
			if (w->len < WORD_MAX)
				w->word[1 + w->len++] = c;
		} else if (w->len) {
			break;
		}
	}
	return w->len > 0;
}

static int compare_word(const void *key, const void *element)
{
	return strcmp(key, *(const char *const *)element);
}

bool words_is_common(const struct words *w)
{
	const uint32_t *c = w->word + 1;
	size_t n = w->len;
	char word[8];

	if (n >= sizeof word)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (c[i] >= 0x80)
			return false;
		word[i] = (char)c[i];
	}
	word[n] = 0;
	return bsearch(word, stop_words, sizeof stop_words / sizeof *stop_words, sizeof *stop_words,
	               compare_word) != NULL;
}

/* ---- hashes ---- */

uint64_t words_mix(uint64_t h)
{
	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
	h = (h ^ h >> 27) * 0x94d049bb133111ebu;
	return h ^ h >> 31;
}

uint64_t words_hash_chars(uint64_t seed, const uint32_t *c, size_t n)
{
	uint64_t h = seed;

	for (size_t i = 0; i < n; i++)
		h = (h ^ c[i]) * 0x100000001b3u;
	return words_mix(h);
}

uint64_t words_hash(const struct words *w)
{
	return words_hash_chars(1, w->word + 1, w->len);
}

size_t words_text(const struct words *w, char ret[WORD_BYTES])
{
	char *p = ret;

	for (size_t i = 1; i <= w->len; i++) {
		uint32_t c = w->word[i];

		if (c < 0x80) {
			*p++ = (char)c;
		} else if (c < 0x800) {
			*p++ = (char)(0xc0 | c >> 6);
			*p++ = (char)(0x80 | (c & 0x3f));
		} else if (c < 0x10000) {
			*p++ = (char)(0xe0 | c >> 12);
			*p++ = (char)(0x80 | (c >> 6 & 0x3f));
			*p++ = (char)(0x80 | (c & 0x3f));
		} else {
			*p++ = (char)(0xf0 | (c >> 18 & 7));
			*p++ = (char)(0x80 | (c >> 12 & 0x3f));
			*p++ = (char)(0x80 | (c >> 6 & 0x3f));
			*p++ = (char)(0x80 | (c & 0x3f));
		}
	}
	return (size_t)(p - ret);
}
