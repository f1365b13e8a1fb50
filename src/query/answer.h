/*
 * answer.h: answers as users read them.
 *
 * LINE and NPY: `ID<TAB>DISTANCE` a line, then TAB and one JSON object of what was included; an
 * empty line between the answers of a batch. JSON: one line
 * {"results":[{"id":...,"distance":...,...}]} each. Distances are shortest round-trip decimals. Hits
 * of several tenants are `TENANT/ID`, and "tenant" beside "id".
 */
#ifndef RV_QUERY_ANSWER_H
#define RV_QUERY_ANSWER_H

#include <stdint.h>

#include "base/buf.h"
#include "query/query.h"

struct answer_hit;

/* Where hits go that are to be put in order with others before they are answered. */
struct answer_sink {
	void (*hit)(void *ctx, const struct answer_hit *h); /* nearest first */
	void *ctx;
};

/* How a query was answered, for who asks why it took so long. */
struct answer_plan {
	bool graph; /* walked */
	uint32_t k, ef;
	uint64_t scanned; /* compared one by one: all, or what waits for the graph */
	uint64_t rows;    /* live */
	size_t dim;
	uint64_t us;        /* all of it */
	uint64_t waited_us; /* of these, for a core that others had */
};

/* The answers of one exchange, one after the other. */
struct answer {
	struct buf *out;
	size_t n_answers;     /* begun */
	size_t n_hits;        /* of the current one */
	enum query_form form; /* of the current one */
	unsigned include;
	/* out is above LIMIT_ANSWER_BYTES: hits are left out since, the exchange fails */
	bool too_long;
	struct answer_plan plan;        /* of the current one */
	bool slow;                      /* the current one took so long that it is to be told */
	uint64_t n_slow_before;         /* then: that were not told, since the last one */
	const struct answer_sink *sink; /* NULL: hits are rendered into out */
};

struct answer_hit {
	const char *tenant; /* whose it is, where several were asked; else NULL */
	const char *id;
	size_t id_len;
	float distance;
	const char *metadata; /* compact JSON or NULL; only with INCLUDE_METADATA */
	size_t metadata_len;
	const char *text;
	size_t text_len;
	const float *v;
	size_t dim;
};

void answer_init(struct answer *a, struct buf *out);
void answer_begin(struct answer *a, const struct query *q);
void answer_hit(struct answer *a, const struct answer_hit *h);
void answer_end(struct answer *a);
/* JSON answers get these members beside results: `"name":value,...`; lines do not. */
void answer_end_with(struct answer *a, const char *members);

/*
 * The file vectors/ID: {"id":…,"vector":[…],"metadata":…,"text":…} and a newline; members
 * without a value are left out.
 */
void answer_vector_json(struct buf *out, const struct answer_hit *h);
/* without rendering the numbers; 0: no memory */
size_t answer_vector_json_length(const struct answer_hit *h);

#endif
