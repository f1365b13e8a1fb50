/*
 * ctl_piece.h: records as bytes for ingest/; fingerprints of files.
 */
#ifndef RV_TOOLS_CTL_PIECE_H
#define RV_TOOLS_CTL_PIECE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "vector/reader.h"

void piece_add_row(struct buf *b, const struct record *r);  /* of .fvecs: the numbers alone */
void piece_add_json(struct buf *b, const struct record *r); /* a line, with an ID if it has one */

/*
 * Six letters and figures that tell contents apart: of the size and of up to 64 parts, the first and the
 * last ones among them. false: it has no size, or no memory.
 */
bool piece_fingerprint(int fd, uint64_t size, char ret[7]);

#endif
