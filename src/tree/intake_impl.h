/*
 * intake_impl.h: what intake.c (the stream and its commit rules), intake_records.c (names and
 * batches) and intake_kept.c (across servers) share.
 */
#ifndef RV_TREE_INTAKE_IMPL_H
#define RV_TREE_INTAKE_IMPL_H

#include "tree/ingest.h"

#define TOKEN_SIZE 16

struct held_record {
	bool present;
	float *v;
	size_t dim;
	struct buf metadata, text;
	bool has_metadata, has_text;
};

/* Positions that were taken since the last commit, by who appends. */
struct claimed {
	uint64_t n, first, last;
};

struct intake {
	struct intake_options o;
	char stem[LIMIT_ID + 1]; /* what IDs are made of */
	struct reader *reader;
	struct tenant_batch *batch; /* NULL while nothing waits in it */
	struct held_record first;
	struct claimed claimed;
	uint64_t pos; /* the offset that the next write must have */
	uint64_t first_position; /* of the reader's first record */
	uint64_t started_ns;
	bool open;                  /* bytes came that were neither committed nor rejected */
	bool is_array;              /* a JSON array is one batch, however its lines fall */
	bool saw_content;           /* a byte that is not white space */
	char tail_id[LIMIT_ID + 1]; /* stored for a tail; "" when there is none to supersede */
	uint64_t tail_line;         /* its position in this stream */
	uint64_t tail_position;     /* and in its name */
	unsigned n_superseded;      /* tails that the open batch takes the place of */
	bool taking_tail;           /* the record that comes is the tail's */
	struct err failed;          /* code 0 while the stream is good */
	bool closed;                /* by a restart: what follows could not be read */
	uint8_t token[TOKEN_SIZE];
	uint32_t n_commits;
};

/* The reader's sink. */
int intake_take_record(void *ctx, const struct record *given, struct err *e);
size_t intake_dimension(void *ctx);

size_t intake_waiting(const struct intake *in); /* records */
int intake_commit(struct intake *in, struct err *e); /* all that waits, the last of it so far */
void intake_drop(struct intake *in);                 /* all that waits */
/* The token of a stream's commit, from that of any other. */
void intake_number_token(uint8_t token[TOKEN_SIZE], uint32_t commit);
void intake_rejected(struct intake *in, const char *why);
/* The stream is bad for good: everything that waits is rejected, and so is all that follows. */
void intake_fail(struct intake *in, int rc, const struct err *why);

/* intake_kept.c: at its beginning, so that its token is known; before a commit that leaves nothing waiting. */
void intake_keep_begun(struct intake *in);
void intake_keep_final(struct intake *in);

#endif
