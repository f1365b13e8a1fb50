/*
 * reader_formats.h: what the formats of the reader share. Private to reader*.c.
 *
 * reader.c tells the format and hands all bytes on to one `struct reader_ops`; the rest of this
 * page is what those call. A format keeps what is incomplete in `carry` and nothing else of the
 * input, so memory is bounded by LIMIT_LINE or a row.
 */
#ifndef RV_VECTOR_READER_FORMATS_H
#define RV_VECTOR_READER_FORMATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "vector/reader.h"

struct reader_ops {
	enum reader_format format;
	/* All n bytes. What fails here sticks. */
	int (*feed)(struct reader *r, const char *p, size_t n, struct err *e);
	/* What is incomplete, as reader_take_tail says; leaves the state as it is. */
	int (*tail)(struct reader *r, bool *ret_taken, struct err *e);
	bool (*waits)(const struct reader *r); /* as reader_waits */
};

/* One array of JSON objects, split at its elements. */
enum json_place {
	JSON_LINES,  /* no array: an object a line */
	JSON_OPEN,   /* before the [ */
	JSON_FIRST,  /* after it: an element or ] */
	JSON_NEXT,   /* after a comma: an element */
	JSON_INSIDE, /* an element */
	JSON_AFTER,  /* after an element: a comma or ] */
	JSON_CLOSED, /* only white space may come */
};

struct json_split {
	bool told; /* place is known */
	enum json_place place;
	size_t depth; /* INSIDE: open brackets of the element; elsewhere these three are 0 */
	bool in_string;
	bool escaped; /* after a backslash */
};

struct npy_state {
	unsigned version;    /* 0: not known yet */
	size_t length_low;   /* the lower 16 bits of header_bytes */
	size_t header_bytes; /* 0: not known yet */
	bool header_done;
	char kind; /* 'f', 'i', 'u' */
	size_t item_bytes;
	uint64_t n_rows;
};

struct vecs_state {
	bool in_row; /* its dimension was read, its values were not */
};

struct reader {
	struct reader_sink sink;
	char *name;
	const struct reader_ops *ops; /* NULL: the format is not known yet */
	struct buf carry; /* the incomplete line, element or row; while ops is NULL all that came */
	struct err failed; /* code 0: nothing failed yet */
	bool carry_given;  /* reader_take returned it: it is no longer wanted */
	bool tail_taken;
	bool allow_ivecs;

	uint64_t first_position;
	uint64_t n_records; /* complete ones */
	uint64_t n_lines;   /* complete ones, line formats */

	float *v; /* room for v_cap floats */
	size_t v_cap;
	size_t dim; /* binary formats: of every row, 0: not known yet */

	struct json_split json;
	struct npy_state npy;
	struct vecs_state vecs;
};

extern const struct reader_ops reader_text;
extern const struct reader_ops reader_json;
extern const struct reader_ops reader_npy;
extern const struct reader_ops reader_fvecs;
extern const struct reader_ops reader_bvecs;
extern const struct reader_ops reader_ivecs;

/*
 * 1: *ret is what the n > 0 bytes are; 0: they may still be several things; -EINVAL: something
 * that is not read. *ret_skip: bytes that stand before the first of the format (a byte order
 * mark).
 */
int reader_tell(const struct reader *r, const char *p, size_t n, const struct reader_ops **ret,
                size_t *ret_skip, struct err *e);
/* The same when no more bytes come: what looks like text is text; 0 is nothing but white space. */
int reader_tell_short(const char *p, size_t n, const struct reader_ops **ret, size_t *ret_skip,
                      struct err *e);

/* whatever the case of its letters */
bool reader_name_ends(const struct reader *r, const char *ending);
int reader_reserve(struct reader *r, size_t dim, struct err *e); /* room in r->v */

/* One record to the sink, at the next position. final: it is complete and counts. */
int reader_give(struct reader *r, struct record *rec, bool final, struct err *e);

/*
 * Line formats: splits input at newlines and gives each line, without its end, to `line`, which
 * puts no line number into its errors: these two do.
 */
typedef int reader_line(struct reader *r, const char *s, const char *end, bool final,
                        struct err *e);
int reader_feed_lines(struct reader *r, const char *p, size_t n, reader_line *line, struct err *e);
int reader_tail_line(struct reader *r, reader_line *line, bool *ret_taken, struct err *e);
bool reader_line_waits(const struct reader *r);

/* Text between records is limited and holds no 0 bytes; n bytes wait with no end in sight. */
int reader_check_pending(const char *p, size_t n, struct err *e);

/*
 * Binary formats: need contiguous bytes from [*p, end), where *p moves on. NULL: they are not
 * all there yet, what there is was put aside, call again with more (or memory ran out:
 * carry.failed). The bytes are valid until the next call.
 */
const char *reader_take(struct reader *r, const char **p, const char *end, size_t need);

/* the last reader_take returned NULL with some bytes put aside */
bool reader_in_piece(const struct reader *r);

/* A binary format's dimension: in range, and the one that the collection has by now. */
int reader_check_dimension(struct reader *r, uint64_t dim, struct err *e);

/* dim floats at p, of any alignment, to r->v. -EINVAL names the first that is not finite. */
int reader_take_floats(struct reader *r, const char *p, struct err *e);

#endif
