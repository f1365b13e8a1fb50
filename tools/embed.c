/*
 * embed.c: the hashing trick, as in scikit-learn's HashingVectorizer: each feature's hash says
 * which dimension it counts in, and with which sign, so that no vocabulary has to be learned or
 * kept.
 *
 * Features are words, pairs of neighbouring words, and the n-grams of each word with its
 * boundaries; these bring near each other what is spelled alike (compress, compression,
 * compressor). Counts are damped (1 + log), and the vector has length 1. Departures: the three
 * kinds have weights of their own; English words without meaning are left out, and of what was
 * learned from a corpus (idf.h) a word has a weight, which its n-grams share; and a feature counts in
 * SPREAD dimensions, which takes out some of the noise of collisions.
 */
#include "tools/embed.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tools/words.h"

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
#define DECIMALS    1e5f

struct feature {
	uint64_t hash;
	unsigned count; /* 0: free */
	float weight;
};

struct embedder {
	size_t dim;
	struct feature *features; /* open addressing */
	size_t n, cap;            /* cap: a power of two */
	const struct idf *idf;    /* NULL: all words weigh the same, but for common ones */
	struct words words;
	uint64_t last_word;
	float last_weight;
};

/* ---- features ---- */

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

static bool count_grams(struct embedder *em, float weight)
{
	uint32_t *word = em->words.word;
	size_t len = em->words.len + 2;

	word[0] = word[len - 1] = ' ';
	for (size_t n = GRAM_MIN; n <= GRAM_MAX && n <= len; n++)
		for (size_t i = 0; i + n <= len; i++)
			if (!count_feature(em, words_hash_chars(3, word + i, n),
			                   WEIGHT_GRAM * weight))
				return false;
	return true;
}

static bool count_word(struct embedder *em)
{
	uint64_t hash = words_hash(&em->words);
	float weight = em->idf ? idf_weight(em->idf, hash) : 1,
	      pair = (weight + em->last_weight) / 2;

	if (!count_feature(em, hash, WEIGHT_WORD * weight) || !count_grams(em, weight))
		return false;
	if (em->last_word &&
	    !count_feature(em, words_mix(em->last_word * 31 + hash), WEIGHT_PAIR * pair))
		return false;
	em->last_word = hash;
	em->last_weight = weight;
	return true;
}

static bool count_words(struct embedder *em, const char *s, size_t n)
{
	em->last_word = 0;
	words_begin(&em->words, s, n);
	while (words_next(&em->words))
		if (!words_is_common(&em->words) && !count_word(em))
			return false;
	return true;
}

/* ---- the vector ---- */

static void add_feature(float *v, size_t dim, uint64_t hash, float value)
{
	for (int i = 0; i < SPREAD; i++) {
		hash = words_mix(hash + 0x9e3779b97f4a7c15u);
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
	if (!count_words(em, s, n))
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

int embedder_new(size_t dim, const struct idf *idf, struct embedder **ret, struct err *e)
{
	struct embedder *em = mem_zalloc(1, sizeof *em);

	if (!em)
		return err_nomem(e);
	em->dim = dim;
	em->idf = idf;
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
