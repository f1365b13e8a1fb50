/*
 * idf.c: document frequencies of words, in a table by hash.
 */
#include "tools/idf.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/num.h"
#include "tools/words.h"

struct word {
	uint64_t hash;
	uint64_t documents; /* 0: free */
	uint64_t last;      /* the document that was counted last, from 1 */
	size_t text_at;     /* in texts */
	size_t text_len;
};

struct idf {
	uint64_t documents;
	struct word *words; /* open addressing */
	size_t n, cap;      /* cap: a power of two */
	struct buf texts;
};

int idf_new(struct idf **ret, struct err *e)
{
	struct idf *idf = mem_zalloc(1, sizeof(*idf));

	if (!idf)
		return err_nomem(e);
	*ret = idf;
	return 0;
}

void idf_free(struct idf *idf)
{
	if (!idf)
		return;
	mem_free(idf->words);
	buf_release(&idf->texts);
	mem_free(idf);
}

/* ---- the table ---- */

static struct word *place_for(struct word *table, size_t cap, uint64_t hash)
{
	size_t i = hash & (cap - 1);

	while (table[i].documents && table[i].hash != hash)
		i = (i + 1) & (cap - 1);
	return &table[i];
}

static bool grow(struct idf *idf)
{
	size_t cap = idf->cap ? 2 * idf->cap : 4096;
	struct word *table = mem_zalloc(cap, sizeof(*table));

	if (!table)
		return false;
	for (size_t i = 0; i < idf->cap; i++)
		if (idf->words[i].documents)
			*place_for(table, cap, idf->words[i].hash) = idf->words[i];
	mem_free(idf->words);
	idf->words = table;
	idf->cap = cap;
	return true;
}

/* The word of this hash, new with documents 0. NULL: no memory. */
static struct word *word_of(struct idf *idf, const struct words *w)
{
	uint64_t hash = words_hash(w);
	char text[WORD_BYTES];
	struct word *p;

	if (2 * idf->n >= idf->cap && !grow(idf))
		return NULL;
	p = place_for(idf->words, idf->cap, hash);
	if (p->documents)
		return p;
	*p = (struct word){ .hash = hash, .text_at = idf->texts.len };
	p->text_len = words_text(w, text);
	buf_add(&idf->texts, text, p->text_len);
	idf->n++;
	return buf_failed(&idf->texts) ? NULL : p;
}

/* ---- learning ---- */

int idf_learn(struct idf *idf, const char *document, size_t n, struct err *e)
{
	struct words w;

	idf->documents++;
	words_begin(&w, document, n);
	while (words_next(&w)) {
		struct word *p = word_of(idf, &w);

		if (!p)
			return err_nomem(e);
		if (p->last != idf->documents)
			p->documents++;
		p->last = idf->documents;
	}
	return 0;
}

static int most_frequent_first(const void *a, const void *b, void *ctx)
{
	const struct word *x = *(const struct word *const *)a, *y = *(const struct word *const *)b;
	const struct idf *idf = ctx;
	size_t n = x->text_len < y->text_len ? x->text_len : y->text_len;
	int c;

	if (x->documents != y->documents)
		return x->documents > y->documents ? -1 : 1;
	c = memcmp(idf->texts.data + x->text_at, idf->texts.data + y->text_at, n);
	return c ? c : (x->text_len > y->text_len) - (x->text_len < y->text_len);
}

int idf_write(const struct idf *idf, FILE *f, struct err *e)
{
	const struct word **sorted;
	size_t n = 0;

	if (idf->documents == 0)
		return err_set(e, -ENODATA, "there are no lines to learn from");
	sorted = mem_alloc(idf->n ? idf->n : 1, sizeof(*sorted));
	if (!sorted)
		return err_nomem(e);
	for (size_t i = 0; i < idf->cap; i++)
		if (idf->words[i].documents > 1)
			sorted[n++] = &idf->words[i];
	qsort_r(sorted, n, sizeof(*sorted), most_frequent_first, (void *)(uintptr_t)idf);
	fprintf(f, "documents %llu\n", (unsigned long long)idf->documents);
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%llu\t%.*s\n", (unsigned long long)sorted[i]->documents,
		        (int)sorted[i]->text_len, idf->texts.data + sorted[i]->text_at);
	mem_free(sorted);
	return ferror(f) ? err_set(e, -EIO, "cannot write: %s", strerror(errno)) : 0;
}

/* ---- reading ---- */

static int take_line(struct idf *idf, const char *s, size_t n, struct err *e)
{
	const char *tab = memchr(s, '\t', n);
	struct word *p = NULL;
	uint64_t count;
	struct words w;

	if (!tab || !num_parse_u64(s, (size_t)(tab - s), &count) || count < 1 ||
	    count > idf->documents)
		return err_set(e, -EINVAL, "expected COUNT<TAB>WORD");
	words_begin(&w, tab + 1, n - (size_t)(tab + 1 - s));
	if (!words_next(&w))
		return err_set(e, -EINVAL, "expected COUNT<TAB>WORD");
	p = word_of(idf, &w);
	if (!p)
		return err_nomem(e);
	p->documents = count;
	return 0;
}

static int take_head(struct idf *idf, const char *s, size_t n, struct err *e)
{
	static const char head[] = "documents ";
	size_t len = sizeof(head) - 1;

	if (n <= len || memcmp(s, head, len) != 0 ||
	    !num_parse_u64(s + len, n - len, &idf->documents) || idf->documents == 0)
		return err_set(e, -EINVAL, "no weights of words: `documents N` is expected");
	return 0;
}

static int read_lines(struct idf *idf, FILE *f, struct err *e)
{
	unsigned long long line = 0;
	char *s = NULL;
	size_t cap = 0;
	ssize_t n;
	int rc = 0;

	while (rc == 0 && (n = getline(&s, &cap, f)) > 0) {
		n -= s[n - 1] == '\n';
		rc = line == 0 ? take_head(idf, s, (size_t)n, e) : take_line(idf, s, (size_t)n, e);
		line++;
		if (rc < 0)
			err_prefix(e, "line %llu", line);
	}
	if (rc == 0 && (ferror(f) || line == 0))
		rc = err_set(e, ferror(f) ? -EIO : -EINVAL, "%s",
		             ferror(f) ? strerror(errno) : "it is empty");
	free(s);
	return rc;
}

int idf_read(const char *path, struct idf **ret, struct err *e)
{
	FILE *f = fopen(path, "re");
	struct idf *idf = NULL;
	int rc;

	if (!f)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	rc = idf_new(&idf, e);
	if (rc == 0)
		rc = read_lines(idf, f, e);
	fclose(f);
	if (rc < 0) {
		idf_free(idf);
		return err_prefix(e, "%s", path);
	}
	*ret = idf;
	return 0;
}

float idf_weight(const struct idf *idf, uint64_t word_hash)
{
	double count = 1;

	if (idf->cap) {
		const struct word *p = place_for(idf->words, idf->cap, word_hash);

		count = p->documents ? (double)p->documents : 1;
	}
	return (float)(log((1 + (double)idf->documents) / (1 + count)) + 1);
}
