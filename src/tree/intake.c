/*
 * intake.c: a stream of bytes becomes batches, by the commit rules of ingest.h.
 *
 * The reader cuts the stream into records and calls back for each; the record gets its ID and goes
 * into the open batch. Three things make this more than a loop:
 *
 *  - The first record without an ID is held back. Its name is NAME when it is committed alone and
 *    NAME:0 otherwise, and which of them is known only when the next record or the commit comes.
 *  - A flush is not the end of the stream: `{ cat a; cat b; } > f` sends one in the middle, even of
 *    a number. So the tail without newline is committed at the flush but kept in the reader; when
 *    the line goes on, the whole line takes the place of what the tail had stored
 *    (intake_supersede).
 *  - A bad tail does not fail the handle, because the rest of it may still come. What waits stays
 *    uncommitted, and is rejected when the file is closed.
 *
 * Calls on one intake are serialised by its handle's lock. The receipt has a lock of its own, taken
 * last.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tree/ingest.h"

#define TOKEN_SIZE 16
#define GAP_MAX    (1ull << 30) /* bytes of zeros that one write or truncate may imply */

struct held_record {
	bool present;
	float *v;
	size_t dim;
	struct buf metadata, text;
	bool has_metadata, has_text;
};

struct intake {
	struct intake_options o;
	char stem[LIMIT_ID + 1]; /* what IDs are made of */
	struct reader *reader;
	struct tenant_batch *batch; /* NULL while nothing waits in it */
	struct held_record first;
	uint64_t pos; /* the offset that the next write must have */
	uint64_t started_ns;
	bool is_array;              /* a JSON array is one batch, however its lines fall */
	bool saw_content;           /* a byte that is not white space */
	char tail_id[LIMIT_ID + 1]; /* stored for a tail; "" when there is none to supersede */
	uint64_t tail_position;
	bool taking_tail;  /* the record that comes is the tail's */
	struct err failed; /* code 0 while the stream is good */
	uint8_t token[TOKEN_SIZE];
	uint32_t n_commits;
	bool receipt_stored; /* as it stands */
};

/* ---- names ---- */

static const char *const endings[] = {
	".txt", ".text", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".npy", ".fvecs", ".bvecs",
};

/* rsync writes to .NAME.XXXXXX and renames; such a file's vectors are named after NAME. */
static size_t strip_temporary(const char **name, size_t n)
{
	if (n < 9 || (*name)[0] != '.' || (*name)[n - 7] != '.')
		return n;
	for (size_t i = n - 6; i < n; i++) {
		char c = (*name)[i];

		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
			return n;
	}
	*name += 1;
	return n - 8;
}

static size_t strip_ending(const char *name, size_t n)
{
	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		size_t len = strlen(endings[i]);

		if (n > len && memcmp(name + n - len, endings[i], len) == 0)
			return n - len;
	}
	return n;
}

/*
 * A vector's own file is named by its ID, whatever that looks like, and its content tells its
 * format.
 */
static int set_names(struct intake *in, struct buf *ret_name, struct err *e)
{
	const char *name = in->o.name;
	size_t n = strlen(name), stem = n;

	if (!in->o.one_vector) {
		n = strip_temporary(&name, n);
		stem = strip_ending(name, n);
		buf_add(ret_name, name, n);
	}
	if (stem > LIMIT_ID)
		return err_set(e, -ENAMETOOLONG, "name longer than %d bytes", LIMIT_ID);
	memcpy(in->stem, name, stem);
	in->stem[stem] = '\0';
	return buf_failed(ret_name) ? err_nomem(e) : 0;
}

/* ---- the receipt ---- */

/* vectors/ has no receipt, and then no lock. */
static NO_TSA void receipt_lock(struct intake *in)
{
	if (in->o.receipt)
		mutex_lock(in->o.receipt_lock);
}

static NO_TSA void receipt_unlock(struct intake *in)
{
	if (in->o.receipt)
		mutex_unlock(in->o.receipt_lock);
}

static void receipt_progress(struct intake *in, size_t n_bytes)
{
	if (!in->o.receipt)
		return;
	receipt_lock(in);
	in->receipt_stored = false;
	in->o.receipt->state = RECEIPT_INGESTING;
	in->o.receipt->bytes += n_bytes;
	in->o.receipt->ns = clock_mono_ns() - in->started_ns;
	in->o.receipt->error[0] = '\0';
	receipt_unlock(in);
}

static void receipt_rejected(struct intake *in, const char *why)
{
	if (!in->o.receipt)
		return;
	receipt_lock(in);
	in->receipt_stored = false;
	in->o.receipt->state = RECEIPT_REJECTED;
	snprintf(in->o.receipt->error, sizeof(in->o.receipt->error), "%s", why);
	receipt_unlock(in);
}

/*
 * All that came is committed, also where blank lines or a last full batch left nothing to commit at
 * the end.
 */
static void receipt_settled(struct intake *in)
{
	if (!in->o.receipt)
		return;
	receipt_lock(in);
	if (in->o.receipt->state == RECEIPT_INGESTING && in->o.receipt->vectors > 0) {
		in->o.receipt->state = RECEIPT_COMMITTED;
		in->receipt_stored = false;
	}
	receipt_unlock(in);
}

static bool receipt_is_open(struct intake *in)
{
	bool open;

	if (!in->o.receipt)
		return false;
	receipt_lock(in);
	open = in->o.receipt->state == RECEIPT_INGESTING;
	receipt_unlock(in);
	return open;
}

/* ---- adding ---- */

static void next_token(struct intake *in)
{
	uint32_t n = ++in->n_commits;

	memcpy(in->token + sizeof(in->token) - sizeof(n), &n, sizeof(n));
}

/* Commits the batch; state is what the receipt says once it is durable. */
static int commit_batch(struct intake *in, enum receipt_state state, struct err *e)
{
	struct tenant_batch *b = in->batch;
	struct batch_result result;
	struct receipt copy;
	int rc;

	if (!b)
		return 0;
	in->batch = NULL;
	next_token(in);
	if (!in->o.receipt)
		return tenant_batch_commit(b, in->token, NULL, &result, e);
	receipt_lock(in);
	copy = *in->o.receipt;
	receipt_unlock(in);
	copy.state = state;
	copy.error[0] = '\0';
	copy.ns = clock_mono_ns() - in->started_ns;
	rc = tenant_batch_commit(b, in->token, &copy, &result, e);
	if (rc < 0)
		return rc;
	receipt_lock(in);
	memcpy(copy.name, in->o.receipt->name,
	       sizeof(copy.name)); /* a rename may have come between */
	*in->o.receipt = copy;
	in->receipt_stored = true;
	receipt_unlock(in);
	return 0;
}

static int add_to_batch(struct intake *in, const struct record *r, struct err *e)
{
	int rc;

	if (in->batch && tenant_batch_full(in->batch)) {
		rc = commit_batch(in, RECEIPT_INGESTING, e);
		if (rc < 0)
			return rc;
	}
	if (!in->batch) {
		rc = tenant_batch_begin(in->o.tenants, in->o.cid, &in->batch, e);
		if (rc < 0)
			return rc;
	}
	return tenant_batch_add(in->batch, r, e);
}

static void held_release(struct held_record *h)
{
	mem_free(h->v);
	buf_release(&h->metadata);
	buf_release(&h->text);
	*h = (struct held_record){ 0 };
}

static int hold(struct intake *in, const struct record *r, struct err *e)
{
	struct held_record *h = &in->first;

	held_release(h);
	h->v = (float *)mem_dup(r->v, r->dim * sizeof(float));
	h->dim = r->dim;
	h->has_metadata = r->metadata != NULL;
	h->has_text = r->text != NULL;
	if (r->metadata)
		buf_add(&h->metadata, r->metadata, r->metadata_len);
	if (r->text)
		buf_add(&h->text, r->text, r->text_len);
	h->present = h->v && !buf_failed(&h->metadata) && !buf_failed(&h->text);
	if (!h->present) {
		held_release(h);
		return err_nomem(e);
	}
	return 0;
}

/* Names the record that was held back and adds it. alone: it is the whole batch. */
static int add_held(struct intake *in, bool alone, struct err *e)
{
	struct held_record *h = &in->first;
	char id[LIMIT_ID + 3];
	struct record r = { .id = id, .v = h->v, .dim = h->dim };
	int rc;

	if (!h->present)
		return 0;
	r.id_len = (size_t)snprintf(id, sizeof(id), alone ? "%s" : "%s:0", in->stem);
	if (h->has_metadata) {
		r.metadata = h->metadata.data ? h->metadata.data : "";
		r.metadata_len = h->metadata.len;
	}
	if (h->has_text) {
		r.text = h->text.data ? h->text.data : "";
		r.text_len = h->text.len;
	}
	rc = vector_id_check(r.id, r.id_len, e);
	if (rc == 0)
		rc = add_to_batch(in, &r, e);
	held_release(h);
	return rc;
}

static size_t waiting(const struct intake *in)
{
	return (in->batch ? tenant_batch_rows(in->batch) : 0) + in->first.present;
}

/* ---- the tail ---- */

static int remove_id(struct intake *in, const char *id, struct err *e)
{
	struct id_ref ref = { id, strlen(id) };
	uint64_t n_removed;
	struct inside inside;
	int rc = tenant_enter(in->o.tenants, in->o.cid, TENANT_WRITE, &inside, e);

	if (rc < 0)
		return rc;
	rc = engine_remove(inside.engine, in->o.cid, &ref, 1, &n_removed, e);
	tenant_leave(&inside);
	return rc;
}

/*
 * The collection holds one vector, which the tail stored, and the whole line has another dimension.
 */
static bool tail_set_dimension(struct intake *in, size_t dim)
{
	struct collection_info info;
	struct inside inside;
	bool alone;

	if (tenant_enter(in->o.tenants, in->o.cid, TENANT_READ, &inside, NULL) < 0)
		return false;
	alone = engine_collection_info(inside.engine, in->o.cid, &info) == 0 && info.vectors == 1 &&
	        info.config.dimension != dim;
	tenant_leave(&inside);
	return alone;
}

/*
 * The line whose beginning was stored as a tail is complete now. Under the same ID the new version
 * replaces the tail's by itself; what the tail stored is removed only where it would stay behind or
 * be in the way.
 */
static int intake_supersede(struct intake *in, const struct record *r, struct err *e)
{
	char old[LIMIT_ID + 1];

	if (!in->tail_id[0] || r->position != in->tail_position)
		return 0;
	memcpy(old, in->tail_id, sizeof(old));
	in->tail_id[0] = '\0';
	if (strlen(old) == r->id_len && memcmp(old, r->id, r->id_len) == 0 &&
	    !tail_set_dimension(in, r->dim))
		return 0;
	return remove_id(in, old, e);
}

/* ---- records from the reader ---- */

static int name_record(struct intake *in, struct record *r, char *id, size_t cap, struct err *e)
{
	if (in->o.one_vector) {
		if (r->position > 0)
			return err_set(e, -EINVAL, "a file in vectors/ holds one vector");
		if (r->id && (r->id_len != strlen(in->stem) || memcmp(r->id, in->stem, r->id_len)))
			return err_set(e, -EINVAL, "id is not the file's name");
		r->id = in->stem;
		r->id_len = strlen(in->stem);
		return 0;
	}
	if (r->id)
		return 0;
	r->id_len = (size_t)snprintf(id, cap, "%s:%llu", in->stem, (unsigned long long)r->position);
	r->id = id;
	return vector_id_check(r->id, r->id_len, e);
}

static void remember_tail(struct intake *in, const struct record *r, const char *id, size_t id_len)
{
	memcpy(in->tail_id, id, id_len);
	in->tail_id[id_len] = '\0';
	in->tail_position = r->position;
}

/*
 * Whether the first record must wait for its name. A tail's is committed now, so what it will be is
 * known.
 */
static bool must_hold(const struct intake *in, const struct record *r)
{
	return !r->id && !in->o.one_vector && r->position == 0;
}

static int take_record(void *ctx, const struct record *given, struct err *e)
{
	struct intake *in = ctx;
	struct record r = *given;
	char id[LIMIT_ID + 32];
	int rc;

	if (must_hold(in, &r)) {
		r.id = in->stem;
		r.id_len = strlen(in->stem);
		if (in->taking_tail)
			remember_tail(in, &r, r.id, r.id_len);
		else if ((rc = intake_supersede(in, &r, e)) < 0)
			return rc;
		return hold(in, given, e);
	}
	rc = add_held(in, false, e);
	if (rc == 0)
		rc = name_record(in, &r, id, sizeof(id), e);
	if (rc == 0 && !in->taking_tail)
		rc = intake_supersede(in, &r, e);
	if (rc == 0)
		rc = add_to_batch(in, &r, e);
	if (rc == 0 && in->taking_tail)
		remember_tail(in, &r, r.id, r.id_len);
	return rc;
}

static size_t collection_dimension(void *ctx)
{
	struct intake *in = ctx;
	struct inside inside;
	size_t dim;

	if (tenant_enter(in->o.tenants, in->o.cid, TENANT_READ, &inside, NULL) < 0)
		return 0;
	dim = engine_dimension(inside.engine, in->o.cid);
	tenant_leave(&inside);
	return dim;
}

/* ---- life ---- */

int intake_new(const struct intake_options *o, struct intake **ret, struct err *e)
{
	struct intake *in = mem_zalloc(1, sizeof(*in));
	struct reader_sink sink = { take_record, collection_dimension, in };
	struct buf name BUF_AUTO = BUF_INIT;
	int rc;

	if (!in)
		return err_nomem(e);
	in->o = *o;
	in->started_ns = clock_mono_ns();
	if (getrandom(in->token, sizeof(in->token), 0) != (ssize_t)sizeof(in->token)) {
		mem_free(in);
		return err_set(e, -EIO, "no random bytes for a batch token");
	}
	rc = set_names(in, &name, e);
	if (rc == 0)
		rc = reader_new(name.data ? name.data : "", &sink, &in->reader, e);
	if (rc < 0) {
		mem_free(in);
		return rc;
	}
	reader_set_first_position(in->reader, o->first_position);
	*ret = in;
	return 0;
}

static void drop_waiting(struct intake *in)
{
	tenant_batch_abort(in->batch);
	in->batch = NULL;
	held_release(&in->first);
}

bool intake_receipt_stored(const struct intake *in)
{
	return in->receipt_stored;
}

void intake_end(struct intake *in)
{
	if (!receipt_is_open(in))
		return;
	receipt_rejected(in, waiting(in) > 0 || reader_waits(in->reader)
	                             ? "closed before its end was complete"
	                             : "the file is empty");
}

void intake_free(struct intake *in)
{
	if (!in)
		return;
	intake_end(in);
	drop_waiting(in);
	reader_free(in->reader);
	mem_free(in);
}

/* The stream is bad for good: everything that waits is rejected, and so is all that follows. */
static int intake_fail(struct intake *in, const struct err *why)
{
	in->failed = *why;
	drop_waiting(in);
	receipt_rejected(in, why->text);
	return why->code;
}

/* ---- the commit rules ---- */

static int commit_waiting(struct intake *in, struct err *e)
{
	int rc = add_held(in, !in->batch, e);

	return rc < 0 ? rc : commit_batch(in, RECEIPT_COMMITTED, e);
}

/*
 * Rule 1: `echo v > ingest/ID && echo ok` is true in every shell, since they report errors of
 * write(2) only.
 */
static bool is_one_line(const struct intake *in, const char *p, size_t n)
{
	enum reader_format f = reader_format(in->reader);

	return n > 0 && p[n - 1] == '\n' && waiting(in) == 1 && !in->is_array &&
	       (f == READER_TEXT || f == READER_JSON);
}

static void look_for_array(struct intake *in, const char *p, size_t n)
{
	for (size_t i = 0; i < n && !in->saw_content; i++) {
		if (p[i] == ' ' || p[i] == '\t' || p[i] == '\n' || p[i] == '\r')
			continue;
		in->saw_content = true;
		in->is_array = p[i] == '[';
	}
}

static int feed(struct intake *in, const void *p, size_t n, struct err *e)
{
	int rc;

	look_for_array(in, p, n);
	receipt_progress(in, n);
	rc = reader_feed(in->reader, p, n, e);
	if (rc == 0 && reader_format(in->reader) == READER_TEXT)
		in->is_array = false; /* vectors in brackets, a line each */
	if (rc == 0 && is_one_line(in, p, n))
		rc = commit_waiting(in, e);
	return rc;
}

static bool is_binary(const struct intake *in)
{
	enum reader_format f = reader_format(in->reader);

	return f == READER_NPY || f == READER_FVECS || f == READER_BVECS;
}

/* cp and dd skip the holes of sparse files; what they skip is zeros. */
static int feed_zeros(struct intake *in, uint64_t n, struct err *e)
{
	static const char zeros[65536];

	if (n > GAP_MAX)
		return err_set(e, -EFBIG, "hole of %llu bytes, at most %llu", (unsigned long long)n,
		               GAP_MAX);
	while (n > 0) {
		size_t part = n < sizeof(zeros) ? (size_t)n : sizeof(zeros);
		int rc = feed(in, zeros, part, e);

		if (rc < 0)
			return rc;
		in->pos += part;
		n -= part;
	}
	return 0;
}

static int seek_to(struct intake *in, uint64_t off, struct err *e)
{
	if (off == in->pos)
		return 0;
	if (off > in->pos && is_binary(in))
		return feed_zeros(in, off - in->pos, e);
	return err_set(e, -EINVAL,
	               "write at offset %llu, expected %llu: writes must follow each other",
	               (unsigned long long)off, (unsigned long long)in->pos);
}

static int refuse_failed(const struct intake *in, struct err *e)
{
	if (e)
		*e = in->failed;
	return in->failed.code;
}

long intake_write(struct intake *in, uint64_t off, const void *p, size_t n, bool append,
                  struct err *e)
{
	struct err why = { 0 };
	int rc;

	if (in->failed.code)
		return refuse_failed(in, e);
	rc = append ? 0 : seek_to(in, off, &why);
	if (rc == 0)
		rc = feed(in, p, n, &why);
	if (rc < 0) {
		intake_fail(in, &why);
		return refuse_failed(in, e);
	}
	in->pos += n;
	return (long)n;
}

int intake_truncate(struct intake *in, uint64_t size, struct err *e)
{
	struct err why = { 0 };

	if (in->failed.code)
		return refuse_failed(in, e);
	if (size == in->pos || (size == 0 && waiting(in) == 0))
		return 0;
	if (seek_to(in, size, &why) == 0)
		return 0;
	intake_fail(in, &why);
	return refuse_failed(in, e);
}

int intake_flush(struct intake *in, bool dying, struct err *e)
{
	struct err why = { 0 };
	int rc;

	if (in->failed.code)
		return refuse_failed(in, e);
	if (dying) {
		if (waiting(in) == 0 &&
		    (!reader_waits(in->reader) || reader_tail_was_taken(in->reader)))
			return 0;
		err_set(&why, -EINTR, "the writer was ended by a signal");
		intake_fail(in, &why);
		return 0; /* nobody is left to be told */
	}
	in->taking_tail = true;
	rc = reader_take_tail(in->reader, NULL, &why);
	in->taking_tail = false;
	if (rc < 0) { /* the rest of it may still come */
		receipt_rejected(in, why.text);
		if (e)
			*e = why;
		return rc;
	}
	rc = commit_waiting(in, &why);
	if (rc < 0) {
		intake_fail(in, &why);
		return refuse_failed(in, e);
	}
	receipt_settled(in);
	return 0;
}
