/*
 * ctl_piece.c: what an import sends, and what it knows a file again by.
 */
#include "tools/ctl_piece.h"

#include <endian.h>
#include <string.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/mem.h"
#include "base/num.h"

#define SAMPLE  65536u
#define SAMPLES 64

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

/* ---- fingerprints ---- */

static uint32_t crc_at(int fd, uint64_t off, char *room, uint32_t crc)
{
	ssize_t n = pread(fd, room, SAMPLE, (off_t)off);

	return n > 0 ? crc32c(crc, room, (size_t)n) : crc;
}

bool piece_fingerprint(int fd, uint64_t size, char ret[7])
{
	static const char digits[] =
		"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	uint64_t last = size > SAMPLE ? size - SAMPLE : 0, step, at = 0, hash;
	uint32_t a = crc32c(0, &size, sizeof(size)), b = ~a;
	char *room = mem_alloc(1, SAMPLE);

	if (!room || size == 0) {
		mem_free(room);
		return false;
	}
	step = last / (SAMPLES - 1) > SAMPLE ? last / (SAMPLES - 1) : SAMPLE;
	for (; at < last; at += step) {
		a = crc_at(fd, at, room, a);
		b = crc32c(b, &a, sizeof(a));
	}
	a = crc_at(fd, last, room, a);
	b = crc32c(b, &a, sizeof(a));
	mem_free(room);
	hash = (uint64_t)b << 32 | a;
	for (int i = 0; i < 6; i++, hash /= 62)
		ret[i] = digits[hash % 62];
	ret[6] = '\0';
	return true;
}
