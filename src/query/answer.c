/*
 * answer.c: answers and vectors as text.
 *
 * Rendering writes into the buffer's own room, number by number, and checks for memory once at
 * the end (the buffer remembers a failure). What an engine hands over as metadata is compact
 * JSON already and is copied.
 */
#include "query/answer.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "base/num.h"

static void add_float(struct buf *out, float v)
{
	char *room = buf_space(out, NUM_FLOAT_MAX);

	if (room)
		buf_grew(out, num_format_float(room, v));
}

/* A distance that overflowed: the largest float still sorts last, and is a number in JSON. */
static float shown(float v)
{
	return isnan(v) || v > FLT_MAX ? FLT_MAX : v < -FLT_MAX ? -FLT_MAX : v;
}

static void add_vector(struct buf *out, const float *v, size_t dim)
{
	buf_addc(out, '[');
	for (size_t i = 0; i < dim; i++) {
		if (i)
			buf_addc(out, ',');
		add_float(out, v[i]);
	}
	buf_addc(out, ']');
}

/*
 * The members that were asked for and have a value, each with its comma; first: none stands
 * before.
 */
static void add_members(struct buf *out, const struct answer_hit *h, unsigned include, bool first)
{
	if ((include & INCLUDE_VECTOR) && h->v) {
		buf_adds(out, first ? "\"vector\":" : ",\"vector\":");
		add_vector(out, h->v, h->dim);
		first = false;
	}
	if ((include & INCLUDE_METADATA) && h->metadata) {
		buf_adds(out, first ? "\"metadata\":" : ",\"metadata\":");
		buf_add(out, h->metadata, h->metadata_len);
		first = false;
	}
	if ((include & INCLUDE_TEXT) && h->text) {
		buf_adds(out, first ? "\"text\":" : ",\"text\":");
		buf_add_json_string(out, h->text, h->text_len);
	}
}

void answer_init(struct answer *a, struct buf *out)
{
	*a = (struct answer){ .out = out };
}

void answer_begin(struct answer *a, const struct query *q)
{
	bool json = q->form == QUERY_JSON;

	if (a->sink)
		return;
	/* JSON answers are a line each and need nothing between them. */
	if (a->n_answers && !(json && a->form == QUERY_JSON))
		buf_addc(a->out, '\n');
	a->n_answers++;
	a->n_hits = 0;
	a->form = q->form;
	a->include = q->include;
	if (json)
		buf_adds(a->out, "{\"results\":[");
}

static void add_json_hit(struct answer *a, const struct answer_hit *h)
{
	buf_adds(a->out, a->n_hits ? ",{" : "{");
	if (h->tenant) {
		buf_adds(a->out, "\"tenant\":");
		buf_add_json_string(a->out, h->tenant, strlen(h->tenant));
		buf_addc(a->out, ',');
	}
	buf_adds(a->out, "\"id\":");
	buf_add_json_string(a->out, h->id, h->id_len);
	buf_adds(a->out, ",\"distance\":");
	add_float(a->out, shown(h->distance));
	add_members(a->out, h, a->include, false);
	buf_addc(a->out, '}');
}

static void add_line_hit(struct answer *a, const struct answer_hit *h)
{
	if (h->tenant) {
		buf_adds(a->out, h->tenant);
		buf_addc(a->out, '/');
	}
	buf_add(a->out, h->id, h->id_len);
	buf_addc(a->out, '\t');
	add_float(a->out, shown(h->distance));
	if (a->include) {
		buf_adds(a->out, "\t{");
		add_members(a->out, h, a->include, true);
		buf_addc(a->out, '}');
	}
	buf_addc(a->out, '\n');
}

void answer_hit(struct answer *a, const struct answer_hit *h)
{
	if (a->sink) {
		a->sink->hit(a->sink->ctx, h);
		return;
	}
	/* One answer alone could fill the memory: 10,000 vectors of 16,384 numbers as text. */
	if (a->out->len > LIMIT_ANSWER_BYTES)
		a->too_long = true;
	if (a->too_long)
		return;
	if (a->form == QUERY_JSON)
		add_json_hit(a, h);
	else
		add_line_hit(a, h);
	a->n_hits++;
}

void answer_end(struct answer *a)
{
	answer_end_with(a, "");
}

void answer_end_with(struct answer *a, const char *members)
{
	if (a->sink || a->form != QUERY_JSON)
		return;
	buf_adds(a->out, *members ? "]," : "]");
	buf_adds(a->out, members);
	buf_adds(a->out, "}\n");
}

void answer_vector_json(struct buf *out, const struct answer_hit *h)
{
	buf_adds(out, "{\"id\":");
	buf_add_json_string(out, h->id, h->id_len);
	add_members(out, h, INCLUDE_VECTOR | INCLUDE_METADATA | INCLUDE_TEXT, false);
	buf_adds(out, "}\n");
}

size_t answer_vector_json_length(const struct answer_hit *h)
{
	struct answer_hit rest = *h;
	struct buf out = BUF_INIT;
	size_t len;

	/*
	 * Strings are rendered, since escapes decide their length; they are short beside the
	 * numbers.
	 */
	rest.v = NULL;
	answer_vector_json(&out, &rest);
	len = buf_failed(&out) ? 0 : out.len;
	buf_release(&out);
	if (len == 0 || !h->v)
		return len;
	len += sizeof ",\"vector\":[]" - 1 + (h->dim ? h->dim - 1 : 0);
	for (size_t i = 0; i < h->dim; i++)
		len += num_float_length(h->v[i]);
	return len;
}
