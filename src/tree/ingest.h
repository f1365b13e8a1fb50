/*
 * ingest.h: what files in ingest/ and vectors/ share: a stream of bytes becomes batches, by the
 * commit rules.
 *
 * What arrives between two commits is stored, searchable and durable together, or not at all. A
 * commit happens at the end of a write that ends with a newline and leaves exactly one line
 * waiting, and at every flush. Private to src/tree.
 */
#ifndef RV_TREE_INGEST_H
#define RV_TREE_INGEST_H

#include "tree/file.h"
#include "tree/live.h"
#include "vector/reader.h"

struct intake;

struct intake_options {
	struct tenants *tenants;
	uint32_t cid;
	const char *name; /* of the file: its ending tells the format, its stem the IDs; copied */
	bool one_vector;  /* vectors/ID: name is the ID, and one vector may come */
	bool append; /* `>>`: positions go on from those that all writers of the file took */
	struct live_receipt *live; /* told of all that happens; NULL: none (vectors/) */
	struct kept *kept;         /* where its state outlives the server; NULL: nowhere */
	uint32_t index;            /* there */
};

int intake_new(const struct intake_options *o, struct intake **ret, struct err *e);
/*
 * As intake_new, of a descriptor that a server before this one left: goes on where that ended. What
 * waited to be committed waits again, or when too much did, the stream fails with -EAGAIN, unless
 * its commit had come about.
 */
int intake_resume(const struct intake_options *o, struct intake **ret, struct err *e);
/* Rejects what waits. NULL allowed. */
void intake_free(struct intake *in);

/*
 * Takes n bytes at the offset or fails for good: everything that waits is rejected. Who appends
 * has no offsets.
 */
long intake_write(struct intake *in, uint64_t off, const void *p, size_t n, struct err *e);
/*
 * An extending truncate: zeros up to size in a binary format; shrinking to 0 on a fresh intake
 * is nothing.
 */
int intake_truncate(struct intake *in, uint64_t size, struct err *e);
/* Something came that neither was committed nor rejected. */
bool intake_pending(const struct intake *in);
/* Takes the tail and commits. dying: of a signal, so what waits is rejected instead. Idempotent. */
int intake_flush(struct intake *in, bool dying, struct err *e);

/* The same as calls of a file, which may be sent again. */
long intake_serve_write(struct intake *in, const struct caller *who, uint64_t off, const void *p,
                        size_t n, struct err *e);
int intake_serve_flush(struct intake *in, const struct caller *who, struct err *e);

#endif
