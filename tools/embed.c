/*
 * embed.c: the hashing trick, as in scikit-learn's HashingVectorizer: each feature's hash says
 * which dimension it counts in, and with which sign, so that no vocabulary has to be learned or
 * kept.
 *
 * Features are words, pairs of neighbouring words, and the n-grams of each word with its
 * boundaries; these bring near each other what is spelled alike (compress, compression,
 * compressor). Counts are damped (1 + log), and the vector has length 1. Departures: the three
 * kinds have weights of their own; English words without meaning are left out, since nothing
 * here knows how rare a word is; and a feature counts in SPREAD dimensions, which takes out
 * some of the noise of collisions.
 */
#include "tools/embed.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/*
 * Chosen on the descriptions of Debian's packages: the neighbours found agree best with those
 * of a learned embedding.
 */
#define SPREAD      4
#define WEIGHT_WORD 1.0f
#define WEIGHT_PAIR 0.5f
#define WEIGHT_GRAM 0.25f
#define GRAM_MIN    4 /* characters */
#define GRAM_MAX    5
#define WORD_MAX    64 /* characters of a word that count */
#define DECIMALS    1e5f

struct feature {
	uint64_t hash;
	unsigned count; /* 0: free */
	float weight;
};

struct embedder {
	size_t dim;
	struct feature *features;    /* open addressing */
	size_t n, cap;               /* cap: a power of two */
	uint32_t word[WORD_MAX + 2]; /* characters, between two boundaries */
	size_t word_len;
	uint64_t last_word;
};

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

/* ---- features ---- */

static uint64_t mix(uint64_t h)
{
	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
	h = (h ^ h >> 27) * 0x94d049bb133111ebu;
	return h ^ h >> 31;
}

static uint64_t hash_chars(uint64_t seed, const uint32_t *c, size_t n)
{
	uint64_t h = seed;

	for (size_t i = 0; i < n; i++)
		h = (h ^ c[i]) * 0x100000001b3u;
	return mix(h);
}

static struct feature *place_for(struct feature *table, size_t cap, uint64_t hash)
{
	size_t i = hash & (cap - 1);

	while (table[i].count && table[i].hash != hash)
		i = (i + 1) & (cap - 1);
	return &table[i];
}

static bool grow(struct embedder *em)
{
	size_t cap = em->cap ? 2 * em->cap : 1024;
	struct feature *table = mem_zalloc(cap, sizeof *table);

	if (!table)
		return false;
	for (size_t i = 0; i < em->cap; i++)
		if (em->features[i].count)
			*place_for(table, cap, em->features[i].hash) = em->features[i];
	mem_free(em->features);
	em->features = table;
	em->cap = cap;
	return true;
}

static bool count_feature(struct embedder *em, uint64_t hash, float weight)
{
	struct feature *f;

	if (2 * em->n >= em->cap && !grow(em))
		return false;
	f = place_for(em->features, em->cap, hash);
	if (f->count == 0) {
		f->hash = hash;
		f->weight = weight;
		em->n++;
	}
	f->count++;
	return true;
}

static int compare_word(const void *key, const void *element)
{
	return strcmp(key, *(const char *const *)element);
}

static bool is_stop_word(const uint32_t *c, size_t n)
{
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

static bool count_grams(struct embedder *em)
{
	size_t len = em->word_len + 2;

	em->word[0] = em->word[len - 1] = ' ';
	for (size_t n = GRAM_MIN; n <= GRAM_MAX && n <= len; n++)
		for (size_t i = 0; i + n <= len; i++)
			if (!count_feature(em, hash_chars(3, em->word + i, n), WEIGHT_GRAM))
				return false;
	return true;
}

static bool end_word(struct embedder *em)
{
	const uint32_t *word = em->word + 1;
	size_t n = em->word_len;
	uint64_t hash;

	if (n == 0)
		return true;
	if (is_stop_word(word, n)) {
		em->word_len = 0;
		return true;
	}
	hash = hash_chars(1, word, n);
	if (!count_feature(em, hash, WEIGHT_WORD) || !count_grams(em))
		return false;
	if (em->last_word && !count_feature(em, mix(em->last_word * 31 + hash), WEIGHT_PAIR))
		return false;
	em->last_word = hash;
	em->word_len = 0;
	return true;
}

static bool count_words(struct embedder *em, const char *s, const char *end)
{
	em->word_len = 0;
	em->last_word = 0;
	while (s < end) {
		uint32_t c = lower(next_char(&s, end));

		if (!is_word_char(c)) {
			if (!end_word(em))
				return false;
		} else if (em->word_len < WORD_MAX) {
			em->word[1 + em->word_len++] = c;
		}
	}
	return end_word(em);
}

/* ---- the vector ---- */

static void add_feature(float *v, size_t dim, uint64_t hash, float value)
{
	for (int i = 0; i < SPREAD; i++) {
		hash = mix(hash + 0x9e3779b97f4a7c15u);
		v[(hash >> 1) % dim] += hash & 1 ? value : -value;
	}
}

static bool normalise(float *v, size_t dim)
{
	double sum = 0;
	bool any = false;

	for (size_t i = 0; i < dim; i++)
		sum += (double)v[i] * v[i];
	for (size_t i = 0; i < dim && sum > 0; i++) {
		v[i] = roundf((float)(v[i] / sqrt(sum)) * DECIMALS) / DECIMALS;
		any = any || v[i] != 0;
	}
	return any;
}

int embed_text(struct embedder *em, const char *s, size_t n, float *ret, struct err *e)
{
	if (!count_words(em, s, s + n))
		return err_nomem(e);
	memset(ret, 0, em->dim * sizeof *ret);
	for (size_t i = 0; i < em->cap; i++) {
		struct feature *f = &em->features[i];

		if (f->count)
			add_feature(ret, em->dim, f->hash, f->weight * (1 + logf((float)f->count)));
		f->count = 0;
	}
	em->n = 0;
	/* A text without words still has a direction: cosine has no use for zero. */
	if (!normalise(ret, em->dim))
		ret[0] = 1;
	return 0;
}

int embedder_new(size_t dim, struct embedder **ret, struct err *e)
{
	struct embedder *em = mem_zalloc(1, sizeof *em);

	if (!em)
		return err_nomem(e);
	em->dim = dim;
	*ret = em;
	return 0;
}

void embedder_free(struct embedder *em)
{
	if (!em)
		return;
	mem_free(em->features);
	mem_free(em);
}
