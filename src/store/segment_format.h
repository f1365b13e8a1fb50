/*
 * segment_format.h: the bytes of a segment, shared by segment.c and segment_read.c.
 * docs/FORMAT.md explains them.
 */
#ifndef RV_STORE_SEGMENT_FORMAT_H
#define RV_STORE_SEGMENT_FORMAT_H

#include "store/segment.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "files are little-endian; this code writes them in the machine's order"
#endif

#define SEGMENT_MAGIC "RVsegmnt"
#define EXTENT_MAGIC  "RVextent"
#define SEAL_MAGIC    "RVsealed"
#define TRAILER_MAGIC "RVtrailr"

#define EXTENT_BYTES_MAX (1ull << 30) /* floats of one extent */
#define RECORD_NULL      UINT32_MAX   /* length of metadata or text that is not there */

struct segment_head {
	char magic[8];
	uint32_t version;
	uint32_t cid;
	uint32_t gen;
	uint32_t zero;
	uint64_t salt;
	uint32_t crc; /* of the 32 bytes above */
	uint32_t zero2;
};

/* Ends an extent, in the last bytes of its last page. */
struct extent_trailer {
	char magic[8];
	uint64_t batch;
	uint32_t header_crc;
	uint32_t records_crc;
	uint32_t zero;
	uint32_t crc; /* of the 28 bytes above */
};

/* Then follow the bytes of ID, metadata and text. */
struct extent_record {
	uint64_t num;
	uint32_t slot;
	uint32_t json_bytes;
	uint32_t vcrc; /* of the row's floats */
	uint32_t id_len;
	uint32_t metadata_len;
	uint32_t text_len;
};

_Static_assert(sizeof(struct block) == 64, "blocks have 64 bytes of header");
_Static_assert(sizeof(struct segment_head) == 40, "layout");
_Static_assert(sizeof(struct extent_trailer) == 32, "layout");
_Static_assert(sizeof(struct extent_record) == 32, "layout");

size_t extent_records_bytes(const struct store_row *rows, size_t n);
/* Floats and records behind the block that starts p, zeros up to the trailer. */
void extent_fill(char *p, const struct extent_in *in);
/* The trailer, once the block's own checksum is known. */
void extent_finish(char *p, uint64_t length);

/* What was seen behind what is committed. */
struct segment_tail {
	uint64_t batch; /* the largest */
	uint64_t seq;   /* likewise */
};

/*
 * segment_recover.c: finds the end of what is whole in a file of size bytes and cuts off the rest
 * (not with read_only); sets end and written.
 */
int segment_recover(struct segment *g, int fd, uint64_t committed, uint64_t size,
                    struct segment_tail *ret, struct err *e);

#endif
