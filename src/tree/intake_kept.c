/*
 * intake_kept.c: a stream across servers.
 *
 * After each call the record of the descriptor says how far the stream was when nothing waited the
 * last time, and the bytes that came since are kept beside it, as long as they are not many. A
 * server that takes over feeds them to a new reader. Then a call that was under way is sent again
 * and does what it did before. If its commit had come about already, the store knows the token,
 * because batches are numbered from the same point on and the same bytes make the same batches,
 * and does nothing.
 *
 * Of more bytes than are kept (a file that cp is in the middle of) nothing but the token is left:
 * either the commit that was to end the call is proven by it, or the stream fails as a whole.
 */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "tree/intake_impl.h"

static struct kept_file *record_of(const struct intake *in)
{
	return kept_file(in->o.kept, in->o.index);
}

/* What follows tells by itself how it is to be read. */
static bool goes_on(const struct intake *in)
{
	enum reader_format f = reader_format(in->reader);

	return !in->closed && !reader_waits(in->reader) &&
	       (f == READER_UNKNOWN || f == READER_TEXT || (f == READER_JSON && !in->is_array));
}

static void keep(struct intake *in, const struct caller *who, const void *p, size_t n)
{
	struct kept_stream s = kept_state(record_of(in)).stream;

	s.failed = in->failed.code;
	s.pos = in->pos;
	if (who)
		s.taken = who->request & ~CALLER_AGAIN;
	if (!intake_pending(in)) { /* a tail that was taken may be in the reader */
		s.clean_pos = in->pos;
		s.goes_on = goes_on(in);
		s.position = in->first_position + reader_records(in->reader);
		s.n_commits = in->n_commits;
		memcpy(s.token, in->token, sizeof(s.token));
	}
	kept_set_stream(in->o.kept, in->o.index, &s, p, n);
}

void intake_keep_begun(struct intake *in)
{
	if (in->o.kept)
		keep(in, NULL, NULL, 0);
}

void intake_keep_final(struct intake *in)
{
	union kept_state s;

	if (!in->o.kept)
		return;
	s = kept_state(record_of(in));
	s.stream.final = in->n_commits;
	kept_set_state(record_of(in), &s);
}

/* ---- calls ---- */

static int refuse_closed(struct err *e)
{
	return err_set(e, -EAGAIN,
	               "the server was restarted: all that was written is stored, but nothing can "
	               "follow it here, open the file again");
}

long intake_serve_write(struct intake *in, const struct caller *who, uint64_t off, const void *p,
                        size_t n, struct err *e)
{
	uint64_t before = in->pos;
	long rc;

	if (!in->o.kept)
		return intake_write(in, off, p, n, e);
	if (kept_was_taken(record_of(in), who))
		return (long)n;
	if (in->closed)
		return refuse_closed(e);
	rc = intake_write(in, off, p, n, e);
	if (rc >= 0 && in->pos - before != n)
		in->closed = true; /* a hole, which is not kept */
	keep(in, who, p, n);
	return rc;
}

int intake_serve_flush(struct intake *in, const struct caller *who, struct err *e)
{
	bool pending = intake_pending(in);
	/* Looking at the caller costs more than the rest of a flush that has nothing to do. */
	int rc = intake_flush(in, pending && callers_dying_of_signal(who), e);

	if (pending && in->o.kept)
		keep(in, NULL, NULL, 0);
	return rc;
}

/* ---- taking over ---- */

/* An empty batch of that token: it is refused as a duplicate, or does nothing. */
static int was_committed(struct intake *in, uint32_t number, struct err *e)
{
	uint8_t token[TOKEN_SIZE];
	struct batch_result result = { 0 };
	struct tenant_batch *b;
	int rc = tenant_batch_begin(in->o.tenants, in->o.cid, &b, e);

	if (rc < 0)
		return rc;
	memcpy(token, in->token, sizeof(token));
	intake_number_token(token, number);
	rc = tenant_batch_commit(b, token, NULL, &result, e);
	return rc < 0 ? rc : result.duplicate;
}

static int prove(struct intake *in, const struct kept_stream *s, struct err *e)
{
	struct err why;
	int proven = s->final > s->n_commits ? was_committed(in, s->final, e) : 0;

	if (proven < 0)
		return proven;
	in->pos = s->pos;
	if (proven) {
		in->n_commits = s->final;
		in->closed = true;
		return 0;
	}
	err_set(&why, -EAGAIN,
	        "the server was restarted in the middle of this batch, and nothing of it is stored: "
	        "write it again");
	intake_fail(in, -EAGAIN, &why);
	return 0;
}

static int replay(struct intake *in, const struct kept_stream *s, struct err *e)
{
	struct buf bytes BUF_AUTO = BUF_INIT;
	int rc = s->goes_on ? kept_get_pending(in->o.kept, in->o.index, &bytes, e) : -EAGAIN;

	if (rc == -EAGAIN)
		return prove(in, s, e);
	if (rc == 0)
		intake_write(in, in->pos, bytes.data, bytes.len,
		             NULL); /* a failure stays with it */
	return rc;
}

static int resume(struct intake *in, const struct kept_stream *s, struct err *e)
{
	memcpy(in->token, s->token, sizeof(in->token));
	in->n_commits = s->n_commits;
	in->pos = s->clean_pos;
	in->first_position = s->position;
	reader_set_first_position(in->reader, s->position);
	if (s->failed) {
		err_set(&in->failed, s->failed,
		        "the file was refused before the server was restarted");
		return 0;
	}
	if (s->pos != s->clean_pos)
		return replay(in, s, e);
	in->closed = !s->goes_on;
	return 0;
}

int intake_resume(const struct intake_options *o, struct intake **ret, struct err *e)
{
	struct kept_stream s = kept_state(kept_file(o->kept, o->index)).stream;
	struct intake_options own = *o;
	int rc;

	own.kept = NULL; /* it begins nothing */
	rc = intake_new(&own, ret, e);
	if (rc < 0)
		return rc;
	(*ret)->o.kept = o->kept;
	rc = resume(*ret, &s, e);
	if (rc < 0) {
		(*ret)->open = false; /* its receipt stays as it is, for the next try */
		intake_free(*ret);
	}
	return rc;
}
