/*
 * fuzz_segment.c: a segment of two batches with bytes that are not what they were, its checksums
 * made right again where the input says so, or any bytes at all: opened, recovered, walked over and
 * read. What is left behind the first opening must be the same at the second.
 *
 * Byte 0: bit 7: the rest is the file; bit 0 signs blocks, bit 1 trailers, bit 2 the head, bit 3
 * opens it read-only, bits 4 to 6 how much the database knows of it. Then edits.
 */
#include "base/crc.h"
#include "fuzz.h"
#include "store/segment_format.h"

#define CID  7
#define SALT 0x5a17u
#define DIM  4
#define ROWS 3

static uint8_t *whole; /* the file as it was written */
static size_t whole_n;
static uint64_t ends[3]; /* of what is committed: nothing, one batch, both */

static void add_batch(struct segment *g, uint64_t batch)
{
	static const float v[DIM] = { 1, 2, 3, 4 };
	struct store_row rows[ROWS] = { 0 };
	struct extent_in in = { .batch = batch, .dim = DIM, .rows = rows, .n = ROWS };
	struct block seal = { .batch = batch, .detail = batch, .n_rows = ROWS, .part = 1 };
	const float *floats;
	uint64_t off;

	for (unsigned i = 0; i < ROWS; i++)
		rows[i] = (struct store_row){ .num = batch * 10 + i,
			                      .slot = i,
			                      .id = "abc",
			                      .id_len = 3,
			                      .v = v,
			                      .metadata = "{\"a\":1}",
			                      .metadata_len = 7,
			                      .text = "t",
			                      .text_len = 1 };
	HOLDS(segment_append(g, &in, &off, &floats, NULL) == 0);
	HOLDS(segment_seal(g, &seal, &ends[batch], NULL) == 0);
}

static void make_template(void)
{
	uint64_t batch, seq;
	struct segment *g;
	char path[128];

	HOLDS(segment_open(&g, fuzz_dir(), CID, 1, SALT, 0, false, &batch, &seq, NULL) == 0);
	add_batch(g, 1);
	add_batch(g, 2);
	segment_free(g);
	segment_path(fuzz_dir(), CID, 1, path, sizeof(path));
	whole = fuzz_read(path, &whole_n);
}

/* ---- checksums ---- */

static void sign(uint8_t *p, size_t crc_at)
{
	uint32_t crc = crc32c(0, p, crc_at);

	memcpy(p + crc_at, &crc, sizeof(crc));
}

static void sign_trailer(uint8_t *page_end, uint32_t header_crc)
{
	uint8_t *t = page_end - sizeof(struct extent_trailer);

	memcpy(t + offsetof(struct extent_trailer, header_crc), &header_crc, sizeof(header_crc));
	sign(t, offsetof(struct extent_trailer, crc));
}

/* Pages begin with a block or end with a trailer, or do not: others are not looked at. */
static void sign_all(uint8_t *p, size_t n, uint8_t how)
{
	if ((how & 4) && n >= sizeof(struct segment_head))
		sign(p, offsetof(struct segment_head, crc));
	for (size_t at = SEGMENT_PAGE; at + SEGMENT_PAGE <= n; at += SEGMENT_PAGE) {
		struct block b;

		if (how & 1)
			sign(p + at, offsetof(struct block, crc));
		memcpy(&b, p + at, sizeof(b));
		if ((how & 2) && b.length <= n - at && b.length >= SEGMENT_PAGE)
			sign_trailer(p + at + b.length, b.crc);
	}
}

static void write_edited(struct input *in, uint8_t how, const char *path)
{
	uint8_t *p = (uint8_t *)mem_dup(whole, whole_n);
	size_t n = whole_n;

	HOLDS(p);
	while (in->n > 2) {
		if (input_u8(in) == 0)
			n = input_u32(in) % (whole_n + 1);
		/* near the beginning of a page, or at its end, is where it matters */
		size_t page = input_u8(in) % (whole_n / SEGMENT_PAGE) * SEGMENT_PAGE;
		bool at_end = input_u8(in) & 1;

		input_edit(in, p + page + (at_end ? SEGMENT_PAGE - 64 : 0), at_end ? 64 : 512);
	}
	sign_all(p, n, how);
	fuzz_write(path, p, n);
	mem_free(p);
}

/* ---- use ---- */

static int see_row(void *ctx, const struct store_row *row, uint32_t vcrc, struct err *e)
{
	struct segment *g = ctx;
	size_t sum = 0;

	(void)vcrc;
	(void)e;
	HOLDS(row->id_len >= 1 && row->id_len <= LIMIT_ID);
	for (size_t i = 0; i < row->id_len; i++)
		sum += (uint8_t)row->id[i];
	for (size_t i = 0; row->metadata && i < row->metadata_len; i++)
		sum += (uint8_t)row->metadata[i];
	for (size_t i = 0; row->text && i < row->text_len; i++)
		sum += (uint8_t)row->text[i];
	segment_floats(g, row->off, DIM);
	return sum == SIZE_MAX;
}

static int see_block(void *ctx, const struct block *b, bool is_whole)
{
	struct segment *g = ctx;
	const float *v;

	HOLDS(b->length >= SEGMENT_PAGE && b->length % SEGMENT_PAGE == 0);
	if (!block_is_extent(b))
		return 0;
	segment_extent_rows(g, b->off, b->batch, b->part, NULL);
	segment_read_extent(g, b->off, b->batch, b->part, see_row, g, NULL);
	segment_records_hold(g->fd, b);
	v = is_whole ? segment_floats(g, b->off + sizeof(*b), 1) : NULL;
	return v && *v == 12345.0f; /* it can be read */
}

static int open_it(uint64_t committed, bool read_only, struct segment **ret, uint64_t *ret_batch,
                   uint64_t *ret_seq)
{
	return segment_open(ret, fuzz_dir(), CID, 1, SALT, committed, read_only, ret_batch, ret_seq,
	                    NULL);
}

static void use(struct segment *g, uint64_t committed)
{
	const struct segment_range all = { g->fd, SALT, SEGMENT_PAGE, g->written, NULL };
	uint64_t end, bytes;
	const char *p;

	if (g->fd >= 0)
		segment_walk(&all, see_block, g, &end);
	for (uint64_t off = 0; off < 1u << 16; off += 1021 * 4) {
		p = segment_mapped(g, off, &bytes);
		HOLDS(!p || (bytes > 0 && p[0] + p[bytes - 1] < 1000));
	}
	segment_floats(g, committed, DIM);
	segment_floats(g, UINT64_MAX - 7, DIM);
	segment_mapped(g, UINT64_MAX - 7, &bytes);
	if (!g->read_only)
		add_batch(g, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint64_t batch, seq, batch2, seq2, committed, saved[3];
	struct segment *g;
	char path[128];
	uint8_t how;

	if (!whole)
		make_template();
	memcpy(saved, ends, sizeof(saved));
	how = input_u8(&in);
	committed = ends[how / 16 % 8 % 3];
	segment_path(fuzz_dir(), CID, 1, path, sizeof(path));
	if (how & 0x80)
		fuzz_write(path, in.p, in.n);
	else
		write_edited(&in, how, path);
	if (open_it(committed, how & 8, &g, &batch, &seq) < 0)
		return 0;
	segment_free(g);
	HOLDS(open_it(committed, how & 8, &g, &batch2, &seq2) == 0);
	HOLDS(batch2 <= batch && seq2 <= seq); /* seals of batches that were not whole are gone */
	use(g, committed);
	segment_free(g);
	memcpy(ends, saved, sizeof(saved));
	return 0;
}
