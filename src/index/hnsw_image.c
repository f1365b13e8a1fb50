/*
 * hnsw_image.c: the graph in a file. All integers are little-endian; n is the header's n_slots.
 *
 *     section  content
 *     HNSH     the header below
 *     HNSL     n bytes: per slot one more than its level, 0: not in the graph
 *     HNSP     n u32: parents in the spanning tree (0xffffffff: the root; anything for slots
 *              that are not in the graph)
 *     HNS0     n rows of level 0, stride0 u32 each, stride0 being 2 m rounded up to 16
 *     HNSU     the rows above, stride u32 each, stride being m rounded up to 16: per slot as
 *              many as its level, one after the other; levels follow from the seed
 *     HNSC     with codes: n codes as vector/codes.h makes them
 *     HNSN     with codes, under l2 and ip: n f32, the norms of the vectors, NaN: no code
 *
 *     offset size header
 *     0      4    version, 1
 *     4      4    m
 *     8      8    seed
 *     16     4    n_slots
 *     20     4    entry point, 0xffffffff: no nodes
 *     24     4    count of nodes
 *     28     4    quantization: 0 none, 4 for codes of four bits
 *
 * The bytes of a row beyond its links, and rows of slots that are not in the graph, have no
 * meaning.
 *
 * Tables start on pages, and reading maps them: a private view of the file, so that pages which
 * nobody changes are the page cache's, and a graph of any size is there at once. The file may be
 * replaced or unlinked meanwhile, what is mapped stays. Levels are copied: a page that the disk cannot
 * read once more becomes all ones, and of the tables these are the one that nobody could bear.
 *
 * Reading treats all of it as hostile: lengths are compared before tables are mapped, and then
 * hnsw_prove has to find the graph sound as a whole, which includes that every link is in range
 * and that the tree has no circle.
 */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "index/hnsw_impl.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "tables are written as they are in memory");

#define TAG_HEADER     SECTION_TAG('H', 'N', 'S', 'H')
#define TAG_LEVEL      SECTION_TAG('H', 'N', 'S', 'L')
#define TAG_PARENT     SECTION_TAG('H', 'N', 'S', 'P')
#define TAG_LINKS0     SECTION_TAG('H', 'N', 'S', '0')
#define TAG_LINKS      SECTION_TAG('H', 'N', 'S', 'U')
#define TAG_CODES      SECTION_TAG('H', 'N', 'S', 'C')
#define TAG_NORMS      SECTION_TAG('H', 'N', 'S', 'N')
#define VERSION        1
/* codes that are compared with their rows */
#define SAMPLED_PLACES 4
#define SAMPLED_ROWS   16

struct header {
	uint32_t version;
	uint32_t m;
	uint64_t seed;
	uint32_t n_slots;
	uint32_t entry;
	uint32_t count;
	uint32_t quantization; /* enum hnsw_quantization */
};

_Static_assert(sizeof(struct header) == 32, "as on disk");

static uint32_t upper_rows(const struct hnsw *h, uint32_t n_slots)
{
	return n_slots < h->cap ? ((uint32_t *)h->upper_base.at)[n_slots] : h->upper_cap;
}

static uint32_t quantization_of(const struct hnsw *h)
{
	return h->coder ? HNSW_4BIT : HNSW_FLOAT;
}

struct part {
	uint32_t tag;
	struct hnsw_table *table;
	size_t bytes;
};

#define N_PARTS 6

/* The tables, and what of them the image holds. */
static void list_parts(struct hnsw *h, uint32_t n, struct part ret[N_PARTS])
{
	size_t row0 = h->stride0 * sizeof(uint32_t), row = h->stride * sizeof(uint32_t);

	ret[0] = (struct part){ TAG_LEVEL, &h->level, n };
	ret[1] = (struct part){ TAG_PARENT, &h->parent, n * sizeof(uint32_t) };
	ret[2] = (struct part){ TAG_LINKS0, &h->links0, n * row0 };
	ret[3] = (struct part){ TAG_LINKS, &h->links, upper_rows(h, n) * row };
	ret[4] = (struct part){ TAG_CODES, &h->codes, n * h->code_bytes };
	ret[5] = (struct part){ TAG_NORMS, &h->norms, n * hnsw_norm_bytes(h) };
}

static int err_lost(struct err *e)
{
	return err_set(e, -EIO, "the disk cannot read all of the image that the graph is of");
}

int hnsw_save(const struct hnsw *h, struct sections_writer *w, struct err *e)
{
	struct header header = { .version = VERSION, .m = h->m, .seed = h->seed };
	struct part parts[N_PARTS];
	int rc;

	header.n_slots = hnsw_end(h);
	header.entry = hnsw_entry(h);
	header.count = hnsw_count(h);
	header.quantization = quantization_of(h);
	list_parts((struct hnsw *)h, header.n_slots, parts);
	rc = sections_write(w, TAG_HEADER, &header, sizeof(header));
	for (unsigned i = 0; i < N_PARTS && rc == 0; i++) {
		if (!parts[i].bytes)
			continue;
		sections_align(w);
		rc = sections_write(w, parts[i].tag, parts[i].table->at, parts[i].bytes);
	}
	if (hnsw_lost(h))
		return err_lost(e); /* what was written is not what it was */
	return rc < 0 ? err_set(e, rc, "writing the graph: %s", strerror(-rc)) : 0;
}

static int read_header(const struct hnsw *h, const struct sections_reader *r, struct header *ret,
                       struct err *e)
{
	size_t n;
	const void *p = sections_get(r, TAG_HEADER, &n);

	if (!p || n != sizeof(*ret))
		return err_set(e, -EILSEQ, "header of the graph: %zu bytes, expected %zu", n,
		               sizeof(*ret));
	memcpy(ret, p, sizeof(*ret));
	if (ret->version != VERSION)
		return err_set(e, -EILSEQ, "graph of version %u, expected %d", ret->version,
		               VERSION);
	if (ret->quantization != quantization_of(h))
		return err_set(e, -EILSEQ, "graph of %u-bit codes, expected %u (0: none)",
		               ret->quantization, quantization_of(h));
	if (ret->m != h->m)
		return err_set(e, -EILSEQ, "graph of m %u, expected %u", ret->m, h->m);
	if (ret->n_slots > h->rows->n)
		return err_set(e, -EILSEQ, "graph of %u slots, only %u rows", ret->n_slots,
		               h->rows->n);
	return 0;
}

static int map_part(struct hnsw *h, const struct sections_reader *r, const struct part *part,
                    struct err *e)
{
	struct hnsw_table t = { .bytes = part->table->bytes };

	if (part->tag == TAG_LEVEL)
		t.at = sections_copy(r, part->tag, &t.bytes);
	else
		t.at = sections_map(r, part->tag, &t.bytes, &t.file_bytes);
	if (t.at && t.file_bytes)
		t.watch = mapped_watch(t.at, t.file_bytes, MAPPED_PRIVATE, &h->lost);
	if (!t.at || (t.file_bytes && !t.watch)) {
		mem_map_free(t.at, t.bytes);
		return err_nomem(e);
	}
	mem_map_free(part->table->at, part->table->bytes);
	*part->table = t;
	return 0;
}

/* The tables become views of the file, with the room that they had behind it. */
static int map_parts(struct hnsw *h, const struct sections_reader *r, uint32_t n_slots,
                     struct err *e)
{
	struct part parts[N_PARTS];
	size_t n;
	int rc = 0;

	list_parts(h, n_slots, parts);
	for (unsigned i = 0; i < N_PARTS; i++) {
		sections_get(r, parts[i].tag, &n);
		if (n != parts[i].bytes)
			return err_set(e, -EILSEQ,
			               "section %.4s of the graph: %zu bytes, expected %zu",
			               (const char *)&parts[i].tag, n, parts[i].bytes);
	}
	for (unsigned i = 0; i < N_PARTS && rc == 0; i++) {
		if (parts[i].bytes)
			rc = map_part(h, r, &parts[i], e);
	}
	return rc;
}

/*
 * Codes can lead a search astray but not out of bounds, and making all of them again would read
 * every row from the disk. So some are looked at: enough to notice codes of other rows, or of a
 * program that codes otherwise. They lie together in a few places, for a place costs a disk much
 * more than a row does.
 */
static int sample_codes(const struct hnsw *h, uint32_t n_slots, struct err *e)
{
	struct scratch_pool *pool = (struct scratch_pool *)&h->pool;
	uint32_t step = n_slots / SAMPLED_PLACES + 1;
	struct scratch *s;
	int rc = 0;

	if (!h->coder)
		return 0;
	s = hnsw_scratch_get(pool, 1, 1);
	if (!s)
		return err_nomem(e);
	for (uint32_t slot = 0; slot < n_slots && rc == 0; slot++) {
		if (slot % step == SAMPLED_ROWS)
			slot += step - SAMPLED_ROWS;
		if (slot < n_slots && hnsw_has(h, slot) && !hnsw_code_fits(h, s, slot))
			rc = err_set(e, -EILSEQ, "code of slot %u is not its row's", slot);
	}
	hnsw_scratch_put(pool, s);
	return rc;
}

/* Rows keep what was copied: without a level nobody looks at them. */
static void forget_all(struct hnsw *h)
{
	if (h->cap)
		memset(h->level.at, 0, h->cap);
	h->entry = ROW_NONE;
	h->count = 0;
}

/*
 * The layout of the upper rows follows from the seed, so room that was made before is laid out
 * again. The tables keep their memory.
 */
static int adopt_seed(struct hnsw *h, const struct header *header, struct err *e)
{
	if (h->seed != header->seed)
		h->cap = h->upper_cap = 0;
	h->seed = header->seed;
	return hnsw_reserve(h, header->n_slots, e);
}

int hnsw_load(struct hnsw *h, const struct sections_reader *r, struct err *e)
{
	struct header header;
	int rc = read_header(h, r, &header, e);

	if (rc == 0)
		rc = adopt_seed(h, &header, e);
	if (rc < 0)
		return rc;
	rc = map_parts(h, r, header.n_slots, e);
	h->entry = header.entry;
	h->count = header.count;
	if (rc == 0)
		rc = hnsw_prove(h, e);
	if (rc == 0)
		rc = sample_codes(h, header.n_slots, e);
	if (hnsw_lost(h) || sections_lost(r))
		rc = err_lost(e);
	if (rc < 0)
		forget_all(h);
	return rc;
}
