/*
 * intake_records.c: a record gets its ID and goes into the open batch; the batch is committed with
 * its receipt.
 *
 * The first record without an ID is held back, because its name is NAME when it is committed
 * alone and NAME:0 otherwise. A tail that was committed keeps its name when its line goes on.
 *
 * Who appends takes positions from the live receipt, one at a time, so that several that append
 * at once do not get the same ones.
 *
 * Lock order: a live receipt's commit, tenant and below, a live receipt's lock.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tree/intake_impl.h"

/* ---- commits ---- */

void intake_number_token(uint8_t token[TOKEN_SIZE], uint32_t commit)
{
	uint32_t n = htobe32(commit);

	memcpy(&token[TOKEN_SIZE - sizeof(n)], &n, sizeof(n));
}

static void receipt_begin(struct intake *in, struct receipt *ret, enum receipt_state state)
{
	live_copy(in->o.live, ret);
	ret->state = state;
	ret->error[0] = '\0';
	ret->ns = clock_mono_ns() - in->started_ns;
	/* what a tail had stored was counted with it */
	ret->vectors -= ret->vectors < in->n_superseded ? ret->vectors : in->n_superseded;
}

static void return_positions(struct intake *in)
{
	if (in->claimed.n)
		live_return_positions(in->o.live, in->claimed.first, in->claimed.last,
		                      in->claimed.n);
	in->claimed.n = 0;
}

/* Holding commit, so that what is stored counts the vectors of all writers. */
static int commit_with_receipt(struct intake *in, struct tenant_batch *b, enum receipt_state state,
                               struct batch_result *ret, struct err *e) REQUIRES(in->o.live->commit)
{
	bool forgotten = in->o.live->forgotten;
	struct receipt r;
	int rc;

	receipt_begin(in, &r, state);
	rc = tenant_batch_commit(b, in->token, forgotten ? NULL : &r, ret, e);
	if (rc == 0)
		live_committed(in->o.live, &r);
	return rc;
}

/* state is what the receipt says once it is durable. */
static int commit_batch(struct intake *in, enum receipt_state state, struct err *e)
{
	struct tenant_batch *b = in->batch;
	struct batch_result result;
	int rc;

	if (!b)
		return 0;
	in->batch = NULL;
	intake_number_token(in->token, ++in->n_commits);
	if (state == RECEIPT_COMMITTED)
		intake_keep_final(in);
	if (in->o.live) {
		mutex_lock(&in->o.live->commit);
		rc = commit_with_receipt(in, b, state, &result, e);
		mutex_unlock(&in->o.live->commit);
	} else {
		rc = tenant_batch_commit(b, in->token, NULL, &result, e);
	}
	if (rc < 0)
		return rc;
	if (result.duplicate) /* a server before this one did it, under the positions of then */
		return_positions(in);
	in->claimed.n = 0;
	in->n_superseded = 0;
	in->open = state == RECEIPT_INGESTING;
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

void intake_rejected(struct intake *in, const char *why)
{
	in->open = false;
	live_rejected(in->o.live, why);
}

/* ---- the first record ---- */

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
	h->v = (float *)(void *)mem_dup(r->v, r->dim * sizeof(float));
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

size_t intake_waiting(const struct intake *in)
{
	return (in->batch ? tenant_batch_rows(in->batch) : 0) + in->first.present;
}

int intake_commit(struct intake *in, struct err *e)
{
	int rc = add_held(in, !in->batch, e);

	return rc < 0 ? rc : commit_batch(in, RECEIPT_COMMITTED, e);
}

void intake_drop(struct intake *in)
{
	tenant_batch_abort(in->batch);
	in->batch = NULL;
	held_release(&in->first);
	return_positions(in);
	in->n_superseded = 0;
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
 * The line whose beginning was stored as a tail goes on. Under the same ID the new version
 * replaces the tail's by itself; what the tail stored is removed only where it would stay behind or
 * be in the way.
 */
static int supersede(struct intake *in, const struct record *r, struct err *e)
{
	char old[LIMIT_ID + 1];

	memcpy(old, in->tail_id, sizeof(old));
	in->tail_id[0] = '\0';
	in->n_superseded++;
	if (strlen(old) == r->id_len && memcmp(old, r->id, r->id_len) == 0 &&
	    !tail_set_dimension(in, r->dim))
		return 0;
	return remove_id(in, old, e);
}

static void remember_tail(struct intake *in, const struct record *r, uint64_t line)
{
	memcpy(in->tail_id, r->id, r->id_len);
	in->tail_id[r->id_len] = '\0';
	in->tail_line = line;
	in->tail_position = r->position;
}

/* ---- records from the reader ---- */

static uint64_t take_position(struct intake *in, uint64_t line)
{
	struct claimed *c = &in->claimed;
	uint64_t position;

	if (!in->o.live || !in->o.append) {
		if (in->o.live)
			live_took_position(in->o.live, line);
		return line;
	}
	position = live_take_position(in->o.live);
	if (c->n++ == 0)
		c->first = position;
	c->last = position;
	return position;
}

static int check_own_id(const struct intake *in, const struct record *r, struct err *e)
{
	if (r->position > 0)
		return err_set(e, -EINVAL, "a file in vectors/ holds one vector");
	if (r->id && (r->id_len != strlen(in->stem) || memcmp(r->id, in->stem, r->id_len) != 0))
		return err_set(e, -EINVAL, "id is not the file's name");
	return 0;
}

static void name_by_stem(const struct intake *in, struct record *r)
{
	r->id = in->stem;
	r->id_len = strlen(in->stem);
}

/* goes_on: of the tail's line, which keeps the name that the tail got if that was NAME alone. */
static int name_record(struct intake *in, struct record *r, bool goes_on, char *id, size_t cap,
                       struct err *e)
{
	int rc = in->o.one_vector ? check_own_id(in, r, e) : 0;

	if (rc < 0)
		return rc;
	if (in->o.one_vector || (!r->id && goes_on && r->position == 0))
		name_by_stem(in, r);
	if (r->id)
		return 0;
	r->id_len = (size_t)snprintf(id, cap, "%s:%llu", in->stem, (unsigned long long)r->position);
	r->id = id;
	return vector_id_check(r->id, r->id_len, e);
}

/* What is held back is refused with its own line, not with the one that comes after it. */
static int check_dimension(struct intake *in, const struct record *r, struct err *e)
{
	size_t expected = intake_dimension(in);

	if (expected && r->dim != expected)
		return err_set(e, -EINVAL, "expected %zu numbers, got %zu", expected, r->dim);
	return 0;
}

static int hold_first(struct intake *in, struct record *r, uint64_t line, struct err *e)
{
	int rc = check_dimension(in, r, e);

	if (rc == 0)
		rc = hold(in, r, e);
	name_by_stem(in, r);
	if (rc == 0 && in->taking_tail)
		remember_tail(in, r, line);
	return rc;
}

static int add_named(struct intake *in, struct record *r, bool goes_on, uint64_t line,
                     struct err *e)
{
	char id[LIMIT_ID + 32];
	int rc = add_held(in, false, e);

	if (rc == 0)
		rc = name_record(in, r, goes_on, id, sizeof(id), e);
	if (rc == 0 && goes_on)
		rc = supersede(in, r, e);
	if (rc == 0)
		rc = add_to_batch(in, r, e);
	if (rc == 0 && in->taking_tail)
		remember_tail(in, r, line);
	return rc;
}

int intake_take_record(void *ctx, const struct record *given, struct err *e)
{
	struct intake *in = ctx;
	struct record r = *given;
	uint64_t line = given->position;
	bool goes_on = in->tail_id[0] && line == in->tail_line;

	r.position = goes_on ? in->tail_position : take_position(in, line);
	if (!r.id && !in->o.one_vector && r.position == 0 && !goes_on)
		return hold_first(in, &r, line, e);
	return add_named(in, &r, goes_on, line, e);
}

size_t intake_dimension(void *ctx)
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
