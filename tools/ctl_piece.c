/* ctl_piece.c: what an import sends. */
#include "tools/ctl_piece.h"

#include <endian.h>
#include <string.h>

#include "base/num.h"

void piece_add_row(struct buf *b, const struct record *r)
{
	uint32_t dim = htole32((uint32_t)r->dim);

	buf_add(b, &dim, sizeof(dim));
	for (size_t i = 0; i < r->dim; i++) {
		uint32_t bits;

		memcpy(&bits, &r->v[i], sizeof(bits));
		bits = htole32(bits);
		buf_add(b, &bits, sizeof(bits));
	}
}

void piece_add_json(struct buf *b, const struct record *r)
{
	char *room;

	buf_addc(b, '{');
	if (r->id) {
		buf_adds(b, "\"id\":");
		buf_add_json_string(b, r->id, r->id_len);
		buf_addc(b, ',');
	}
	buf_adds(b, "\"vector\":[");
	for (size_t i = 0; i < r->dim; i++) {
		if (i)
			buf_addc(b, ',');
		room = buf_space(b, NUM_FLOAT_MAX);
		if (room)
			buf_grew(b, num_format_float(room, r->v[i]));
	}
	buf_addc(b, ']');
	if (r->metadata) {
		buf_adds(b, ",\"metadata\":");
		buf_add(b, r->metadata, r->metadata_len);
	}
	if (r->text) {
		buf_adds(b, ",\"text\":");
		buf_add_json_string(b, r->text, r->text_len);
	}
	buf_adds(b, "}\n");
}

size_t piece_behind(const struct buf *b, bool rows, uint64_t n)
{
	size_t at = 0;

	for (uint64_t i = 0; i < n && at < b->len; i++) {
		uint32_t dim;

		if (rows) {
			memcpy(&dim, b->data + at, sizeof(dim));
			at += sizeof(dim) * (1 + (size_t)le32toh(dim));
		} else {
			const char *end = memchr(b->data + at, '\n', b->len - at);

			at = end ? (size_t)(end - b->data) + 1 : b->len;
		}
	}
	return at;
}
