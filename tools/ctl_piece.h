/*
 * ctl_piece.h: records as bytes for ingest/.
 */
#ifndef RV_TOOLS_CTL_PIECE_H
#define RV_TOOLS_CTL_PIECE_H

#include <stdbool.h>

#include "base/buf.h"
#include "vector/reader.h"

void piece_add_row(struct buf *b, const struct record *r);  /* of .fvecs: the numbers alone */
void piece_add_json(struct buf *b, const struct record *r); /* a line, with an ID if it has one */
/* Where in a piece of all rows, or all lines, what follows its first n records begins. */
size_t piece_behind(const struct buf *b, bool rows, uint64_t n);

#endif
