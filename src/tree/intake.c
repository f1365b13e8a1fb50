/*
 * intake.c: a stream of bytes becomes batches, by the commit rules of ingest.h.
 *
 * The reader cuts the stream into records, which intake_records.c names and puts into the open
 * batch. Two things make this more than a loop:
 *
 *  - A flush is not the end of the stream: `{ cat a; cat b; } > f` sends one in the middle, even of
 *    a number. So the tail without newline is committed at the flush but kept in the reader; when
 *    the line goes on, the whole line takes the place of what the tail had stored.
 *  - A bad tail does not fail the handle, because the rest of it may still come. What waits stays
 *    uncommitted, and is rejected when the file is closed.
 *
 * Calls on one intake are serialised by its handle's lock.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tree/intake_impl.h"

#define GAP_MAX (1ull << 30) /* bytes of zeros that one write or truncate may imply */

/* ---- names ---- */

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
		stem = vector_stem_length(name, n);
		buf_add(ret_name, name, n);
	}
	if (stem > LIMIT_ID)
		return err_set(e, -ENAMETOOLONG, "name longer than %d bytes", LIMIT_ID);
	memcpy(in->stem, name, stem);
	in->stem[stem] = '\0';
	return buf_failed(ret_name) ? err_nomem(e) : 0;
}

/* ---- life ---- */

/*
 * Time, random bytes, number of the commit, so that tokens sort in about the order in which they
 * are stored: the store keeps them by token, and a random place is one more page a commit.
 */
static int make_token(struct intake *in, struct err *e)
{
	uint64_t now = htobe64(clock_wall_ns());

	memcpy(in->token, &now, sizeof(now));
	if (getrandom(in->token + sizeof(now), TOKEN_SIZE - sizeof(now), 0) !=
	    (ssize_t)(TOKEN_SIZE - sizeof(now)))
		return err_set(e, -EIO, "no random bytes for a batch token");
	return 0;
}

int intake_new(const struct intake_options *o, struct intake **ret, struct err *e)
{
	struct intake *in = mem_zalloc(1, sizeof(*in));
	struct reader_sink sink = { intake_take_record, intake_dimension, in };
	struct buf name BUF_AUTO = BUF_INIT;
	int rc;

	if (!in)
		return err_nomem(e);
	in->o = *o;
	in->started_ns = clock_mono_ns();
	rc = make_token(in, e);
	if (rc == 0)
		rc = set_names(in, &name, e);
	if (rc == 0)
		rc = reader_new(name.data ? name.data : "", &sink, &in->reader, e);
	if (rc < 0) {
		mem_free(in);
		return rc;
	}
	intake_keep_begun(in);
	*ret = in;
	return 0;
}

/* What is neither committed nor rejected by now never will be complete. */
static void end_stream(struct intake *in)
{
	if (in->open)
		intake_rejected(in, in->saw_content ? "closed before its end was complete"
		                                    : "the file is empty");
}

void intake_free(struct intake *in)
{
	if (!in)
		return;
	end_stream(in);
	intake_drop(in);
	reader_free(in->reader);
	mem_free(in);
}

void intake_fail(struct intake *in, int rc, const struct err *why)
{
	in->failed = *why;
	in->failed.code = rc;
	intake_drop(in);
	intake_rejected(in, why->text);
}

/* ---- the commit rules ---- */

/*
 * Rule 1: `echo v > ingest/ID && echo ok` is true in every shell, since they report errors of
 * write(2) only.
 */
static bool is_one_line(const struct intake *in, const char *p, size_t n)
{
	enum reader_format f = reader_format(in->reader);

	return n > 0 && p[n - 1] == '\n' && intake_waiting(in) == 1 && !in->is_array &&
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
	in->open = true;
	live_progress(in->o.live, n, clock_mono_ns() - in->started_ns);
	rc = reader_feed(in->reader, p, n, e);
	if (rc == 0 && reader_format(in->reader) == READER_TEXT)
		in->is_array = false; /* vectors in brackets, a line each */
	if (rc == 0 && is_one_line(in, p, n))
		rc = intake_commit(in, e);
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

long intake_write(struct intake *in, uint64_t off, const void *p, size_t n, struct err *e)
{
	struct err why = { 0 };
	int rc;

	if (in->failed.code)
		return refuse_failed(in, e);
	rc = in->o.append ? 0 : seek_to(in, off, &why);
	if (rc == 0)
		rc = feed(in, p, n, &why);
	if (rc < 0) {
		intake_fail(in, rc, &why);
		return refuse_failed(in, e);
	}
	in->pos += n;
	return (long)n;
}

int intake_truncate(struct intake *in, uint64_t size, struct err *e)
{
	struct err why = { 0 };
	int rc;

	if (in->failed.code)
		return refuse_failed(in, e);
	if (size == in->pos || (size == 0 && intake_waiting(in) == 0))
		return 0;
	rc = seek_to(in, size, &why);
	if (rc == 0)
		return 0;
	intake_fail(in, rc, &why);
	return refuse_failed(in, e);
}

static bool waits(const struct intake *in)
{
	return intake_waiting(in) > 0 ||
	       (reader_waits(in->reader) && !reader_tail_was_taken(in->reader));
}

bool intake_pending(const struct intake *in)
{
	return in->open || waits(in);
}

int intake_flush(struct intake *in, bool dying, struct err *e)
{
	struct err why = { 0 };
	int rc;

	if (in->failed.code)
		return refuse_failed(in, e);
	if (dying) {
		if (!waits(in))
			return 0;
		rc = err_set(&why, -EINTR, "the writer was ended by a signal");
		intake_fail(in, rc, &why);
		return 0; /* nobody is left to be told */
	}
	in->taking_tail = true;
	rc = reader_take_tail(in->reader, NULL, &why);
	in->taking_tail = false;
	if (rc < 0) { /* the rest of it may still come */
		intake_rejected(in, why.text);
		if (e)
			*e = why;
		return rc;
	}
	rc = intake_commit(in, &why);
	if (rc < 0) {
		intake_fail(in, rc, &why);
		return refuse_failed(in, e);
	}
	if (in->open && live_settled(in->o.live))
		in->open = false;
	return 0;
}
