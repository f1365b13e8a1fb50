/*
 * image.h: sections of C.graph that are the engine's own; hnsw_save adds the graph's. Private
 * to src/engine.
 *
 * An image is what the collection was at one sequence: all slots, the IDs of live ones, floats
 * that the segment does not have, the links. Little-endian; base/sections checks the bytes,
 * image_load.c checks what they say.
 *
 *     EHDR  one struct image_header
 *     ESLT  n_slots of struct image_slot, by slot
 *     EVCR  n_slots of uint32_t: the checksum of a slot's floats, 0 when FREE
 *     EIDS  the IDs of LIVE slots, one after the other, in the order of slots
 *     EINV  dim floats for each slot that is not FREE and has off == STORE_INLINE, likewise
 */
#ifndef RV_ENGINE_IMAGE_H
#define RV_ENGINE_IMAGE_H

#include <stdint.h>

#include "base/sections.h"

#define IMAGE_VERSION 1

#define IMAGE_HEADER SECTION_TAG('E', 'H', 'D', 'R')
#define IMAGE_SLOTS  SECTION_TAG('E', 'S', 'L', 'T')
#define IMAGE_SUMS   SECTION_TAG('E', 'V', 'C', 'R')
#define IMAGE_IDS    SECTION_TAG('E', 'I', 'D', 'S')
#define IMAGE_FLOATS SECTION_TAG('E', 'I', 'N', 'V')

struct image_header {
	uint32_t version;
	uint32_t cid;
	uint64_t seq; /* of the last commit it contains */
	uint32_t gen; /* of the segment that offsets are in */
	uint32_t dim;
	uint32_t metric;
	uint32_t m;
	uint32_t ef_construction;
	uint32_t n_slots;
};

struct image_slot {
	uint64_t num; /* of the ID; 0 while FREE or DEAD */
	uint64_t off; /* in the segment, or STORE_INLINE */
	uint32_t json_bytes;
	uint32_t extra;
	float inv_norm;
	uint8_t state; /* enum row_state; HIDDEN: of a batch that was open */
	uint8_t linked;
	uint8_t id_len; /* of LIVE slots */
	uint8_t zero;
};

_Static_assert(sizeof(struct image_header) == 40, "written as it is");
_Static_assert(sizeof(struct image_slot) == 32, "written as it is");

#endif
