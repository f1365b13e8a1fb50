/*
 * reader.h: a stream of bytes to a stream of vectors, in bounded memory, whatever the format.
 *
 * Bytes are pushed in any pieces; each complete record goes to the sink at once. The format is
 * told by the content first, then by the ending of the name (docs/FILES.md has the grammar of
 * each: text, JSON lines or one JSON array, .npy, .fvecs, .bvecs). An error names the line or
 * record, counted from 1, and sticks: the reader refuses all that follows. Not for several
 * threads.
 */
#ifndef RV_VECTOR_READER_H
#define RV_VECTOR_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Pointers are valid during the sink's call only. */
struct record {
	const char *id;       /* NULL: by position */
	size_t id_len;        /* checked by vector_id_check */
	uint64_t position;    /* of the record in the stream, from 0 */
	const float *v;       /* dim finite floats */
	size_t dim;           /* 1 to LIMIT_DIMENSION */
	const char *metadata; /* a JSON object as compact text, or NULL */
	size_t metadata_len;
	const char *text; /* UTF-8, or NULL */
	size_t text_len;
};

struct reader_sink {
	/* 0, or -Exxx: the reader fails with it and puts "line N: " before the sentence. */
	int (*record)(void *ctx, const struct record *r, struct err *e);
	/*
	 * The dimension that the collection has by now, 0 while it has none: a header that
	 * differs is refused early. May be NULL.
	 */
	size_t (*dimension)(void *ctx);
	void *ctx;
};

enum reader_format {
	READER_UNKNOWN,
	READER_TEXT,
	READER_JSON,
	READER_NPY,
	READER_FVECS,
	READER_BVECS,
	READER_IVECS
};

struct reader;

/* name: of the file, for its ending; may be "". */
int reader_new(const char *name, const struct reader_sink *sink, struct reader **ret,
               struct err *e);
void reader_free(struct reader *r); /* NULL allowed */

/*
 * Takes all n bytes or fails for good. Records that they complete are in the sink when it
 * returns.
 */
int reader_feed(struct reader *r, const void *p, size_t n, struct err *e);

/*
 * What waits after the last complete record. Line formats: the tail is given to the sink as if
 * a newline followed, but kept, so that a later feed goes on with it and gives the whole line
 * again at the same position (a JSON array must be closed). Binary formats: -EINVAL unless they
 * are complete to the record. An error here does not stick. A tail that is empty or was taken
 * already gives no record. *ret_taken (may be NULL): a record was given.
 */
int reader_take_tail(struct reader *r, bool *ret_taken, struct err *e);
bool reader_tail_was_taken(const struct reader *r); /* and nothing was fed since */
/* part of a record, array or header waits, taken as a tail or not */
bool reader_waits(const struct reader *r);

enum reader_format reader_format(const struct reader *r); /* UNKNOWN while too few bytes came */
/* complete ones given to the sink, the tail's not counted */
uint64_t reader_records(const struct reader *r);
/*
 * Before the first feed: takes .ivecs, too. Such files usually hold neighbours' numbers, so nobody gets
 * them as vectors who did not ask for it.
 */
void reader_allow_ivecs(struct reader *r);
/* before the first feed; appending goes on there */
void reader_set_first_position(struct reader *r, uint64_t position);

/*
 * How much of a file's name its vectors without an ID are named after: all but one of the endings
 * .txt .text .csv .tsv .json .jsonl .ndjson .npy .fvecs .bvecs .ivecs.
 */
size_t vector_stem_length(const char *name, size_t n);

/* The name a vector may have. -EINVAL with a sentence. */
int vector_id_check(const char *id, size_t n, struct err *e);

#endif
