/*
 * tenant_batch.c: batches under a quota.
 *
 * Every add first claims what it may come to occupy: one vector and its bytes. It is refused
 * when committed + claimed + 1 would exceed the limit, so whatever mix of batches commits, the
 * limit holds. Claims return when the batch ends.
 *
 * Two refinements keep this from refusing what fits:
 *   - A vector that replaces one needs no further room. At the limit it is not claimed but
 *     borrowed: a borrowed vector counts in the checks of everybody else (its old version may
 *     be deleted before it commits, and then it is a new one), not in its own. The order is:
 *     count it as borrowed, then look whether the ID exists. Of the old version's bytes, floats
 *     and ID are known without reading it; only what metadata and text come on top is claimed.
 *   - A commit counts twice from the moment it is visible until its claims are returned. A
 *     commit holds the tenant's gate for reading over both; who is refused closes the gate,
 *     which waits for such commits, and looks once more.
 *
 * Lock order: see tenant_impl.h.
 */
#include "tenant/events.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "tenant/admit.h"

struct tenant_batch {
	struct inside in;
	struct batch *batch;
	struct claim claim;
	size_t max_rows; /* as of the last add */
	bool failed;     /* an add failed after the engine had taken the row: only abort is left */
	uint64_t tokens; /* of max_write_rate, to be returned unless it commits */
	uint64_t per_s;  /* max_write_rate as of the last add */
};

struct need {
	uint64_t vectors;
	uint64_t bytes;
};

/* ---- claims ---- */

static bool exceeds(uint64_t used, uint64_t claimed, uint64_t borrowed, uint64_t more, uint64_t max)
{
	uint64_t sum;

	if (max == QUOTA_UNLIMITED)
		return false;
	return __builtin_add_overflow(used, claimed, &sum) ||
	       __builtin_add_overflow(sum, borrowed, &sum) ||
	       __builtin_add_overflow(sum, more, &sum) || sum > max;
}

static bool is_limited(const struct quota *q)
{
	return q->max[QUOTA_MAX_VECTORS] != QUOTA_UNLIMITED ||
	       q->max[QUOTA_MAX_BYTES] != QUOTA_UNLIMITED;
}

/* Which limit refuses it, or QUOTA_N: it was claimed. */
static enum quota_key claim_try(struct tenant_batch *b, const struct quota *q, struct need need)
{
	struct tenant *t = b->in.tenant;
	struct claim *c = &t->claims;
	enum quota_key refused = QUOTA_N;
	uint64_t vectors = 0;
	uint64_t bytes = 0;
	uint32_t n;

	mutex_lock(&t->quota_lock);
	if (is_limited(q))
		engine_usage(b->in.engine, &vectors, &bytes, &n);
	if (need.vectors > 0 && exceeds(vectors, c->vectors, c->borrowed_vectors, need.vectors,
	                                q->max[QUOTA_MAX_VECTORS]))
		refused = QUOTA_MAX_VECTORS;
	else if (need.bytes > 0 &&
	         exceeds(bytes, c->bytes, c->borrowed_bytes, need.bytes, q->max[QUOTA_MAX_BYTES]))
		refused = QUOTA_MAX_BYTES;
	if (refused == QUOTA_N) {
		c->vectors += need.vectors;
		c->bytes += need.bytes;
		b->claim.vectors += need.vectors;
		b->claim.bytes += need.bytes;
	}
	mutex_unlock(&t->quota_lock);
	return refused;
}

static void unclaim(struct tenant_batch *b, struct need need)
{
	struct tenant *t = b->in.tenant;

	mutex_lock(&t->quota_lock);
	t->claims.vectors -= need.vectors;
	t->claims.bytes -= need.bytes;
	mutex_unlock(&t->quota_lock);
	b->claim.vectors -= need.vectors;
	b->claim.bytes -= need.bytes;
}

static void borrow(struct tenant_batch *b, int sign, uint64_t bytes)
{
	struct tenant *t = b->in.tenant;

	mutex_lock(&t->quota_lock);
	t->claims.borrowed_vectors += (uint64_t)sign;
	t->claims.borrowed_bytes += (uint64_t)sign * bytes;
	mutex_unlock(&t->quota_lock);
	b->claim.borrowed_vectors += (uint64_t)sign;
	b->claim.borrowed_bytes += (uint64_t)sign * bytes;
}

static void return_claims(struct tenant_batch *b)
{
	struct tenant *t = b->in.tenant;

	mutex_lock(&t->quota_lock);
	t->claims.vectors -= b->claim.vectors;
	t->claims.bytes -= b->claim.bytes;
	t->claims.borrowed_vectors -= b->claim.borrowed_vectors;
	t->claims.borrowed_bytes -= b->claim.borrowed_bytes;
	mutex_unlock(&t->quota_lock);
	b->claim = (struct claim){ 0 };
}

static uint64_t floats_and_id(const struct record *r)
{
	return r->dim * sizeof(float) + r->id_len;
}

/* What one add took, to give it back when the engine refuses the row. */
struct taken {
	struct need need;
	bool borrowed;
};

static bool borrow_try(struct tenant_batch *b, const struct quota *q, const struct record *r,
                       struct taken *ret)
{
	struct need extra = { 0, r->metadata_len + r->text_len };
	uint64_t num;

	borrow(b, 1, floats_and_id(r));
	if (engine_lookup(b->in.engine, b->in.cid, r->id, r->id_len, &num) == 0 &&
	    (extra.bytes == 0 || claim_try(b, q, extra) == QUOTA_N)) {
		*ret = (struct taken){ extra, true };
		return true;
	}
	borrow(b, -1, floats_and_id(r));
	return false;
}

static void give_back(struct tenant_batch *b, const struct record *r, const struct taken *taken)
{
	unclaim(b, taken->need);
	if (taken->borrowed)
		borrow(b, -1, floats_and_id(r));
}

static int refused(struct tenant *t, enum quota_key k, uint64_t limit, struct err *e)
{
	count_rejected(t, k);
	return err_set(e, -EDQUOT, "%s %" PRIu64 " reached", quota_key_name(k), limit);
}

static int claim(struct tenant_batch *b, const struct quota *q, const struct record *r,
                 struct taken *ret, struct err *e)
{
	struct tenant *t = b->in.tenant;
	struct need need = { 1, floats_and_id(r) + r->metadata_len + r->text_len };
	enum quota_key k;

	*ret = (struct taken){ need, false };
	if (claim_try(b, q, need) == QUOTA_N || borrow_try(b, q, r, ret))
		return 0;
	rwlock_write(&t->gate);
	k = claim_try(b, q, need);
	rwlock_write_unlock(&t->gate);
	return k == QUOTA_N ? 0 : refused(t, k, q->max[k], e);
}

/* ---- metadata, IDs ---- */

/* Status and limits in one look. */
static int check(const struct tenant_batch *b, struct quota *ret, struct err *e)
{
	struct tenants *ts = b->in.tenant->ts;
	int rc;

	mutex_lock(&ts->lock);
	rc = tenant_check_locked(ts, b->in.collection, TENANT_WRITE, e);
	*ret = b->in.tenant->quota;
	mutex_unlock(&ts->lock);
	return rc;
}

static uint64_t metadata_bytes(struct inside *in, uint64_t num)
{
	struct buf BUF_AUTO now = BUF_INIT;

	return engine_get_metadata(in->engine, in->cid, num, &now, NULL) < 0 ? 0 : now.len;
}

/* Room for some bytes more, until return_claims. */
static int claim_bytes(struct tenant_batch *claimer, uint64_t more, struct err *e)
{
	struct tenant *t = claimer->in.tenant;
	struct quota q;
	int rc = check(claimer, &q, e);

	if (rc < 0)
		return rc;
	if (claim_try(claimer, &q, (struct need){ 0, more }) != QUOTA_N)
		return refused(t, QUOTA_MAX_BYTES, q.max[QUOTA_MAX_BYTES], e);
	return 0;
}

int tenant_set_metadata(struct inside *in, uint64_t num, const char *json, size_t n, struct err *e)
{
	struct tenant_batch claimer = { .in = *in };
	uint64_t old = metadata_bytes(in, num);
	int rc = claim_bytes(&claimer, n > old ? n - old : 0, e);

	if (rc < 0)
		return rc;
	rwlock_read(&in->tenant->gate);
	rc = engine_set_metadata(in->engine, in->cid, num, json, n, e);
	return_claims(&claimer);
	rwlock_read_unlock(&in->tenant->gate);
	return rc;
}

int tenant_rename_vector(struct inside *in, const struct engine_rename *r, struct err *e)
{
	struct tenant_batch claimer = { .in = *in };
	uint64_t more = r->to_len > r->from_len ? r->to_len - r->from_len : 0;
	uint64_t num;
	int rc;

	/* A limit is no answer to who renames what is not there, as one whose call was done before. */
	if (engine_lookup(in->engine, in->cid, r->from, r->from_len, &num) < 0)
		return err_set(e, -ENOENT, "no such vector");
	rc = claim_bytes(&claimer, more, e);
	if (rc < 0)
		return rc;
	rwlock_read(&in->tenant->gate);
	rc = engine_rename(in->engine, in->cid, r, e);
	return_claims(&claimer);
	rwlock_read_unlock(&in->tenant->gate);
	return rc;
}

/* ---- the batch ---- */

static size_t max_rows(const struct quota *q)
{
	uint64_t max = q->max[QUOTA_MAX_BATCH];

	return max < SIZE_MAX ? (size_t)max : SIZE_MAX;
}

int tenant_batch_begin(struct tenants *ts, uint32_t cid, struct tenant_batch **ret, struct err *e)
{
	struct tenant_batch *b = mem_zalloc(1, sizeof(*b));
	struct quota q;
	int rc;

	if (!b)
		return err_nomem(e);
	rc = tenant_enter(ts, cid, TENANT_WRITE, &b->in, e);
	if (rc < 0) {
		mem_free(b);
		return rc;
	}
	rc = check(b, &q, e);
	if (rc == 0)
		rc = engine_batch_begin(b->in.engine, cid, &b->batch, e);
	if (rc < 0) {
		tenant_leave(&b->in);
		mem_free(b);
		return rc;
	}
	b->max_rows = max_rows(&q);
	*ret = b;
	return 0;
}

/* The engine counted other bytes than were taken. */
static int settle_bytes(struct tenant_batch *b, const struct quota *q, const struct record *r,
                        const struct taken *taken, uint64_t bytes, struct err *e)
{
	uint64_t had = taken->need.bytes + (taken->borrowed ? floats_and_id(r) : 0);
	uint64_t less = had > bytes ? had - bytes : 0;
	struct need more = { 0, bytes > had ? bytes - had : 0 };

	if (less > 0)
		unclaim(b, (struct need){ 0, less < taken->need.bytes ? less : taken->need.bytes });
	if (more.bytes == 0 || claim_try(b, q, more) == QUOTA_N)
		return 0;
	b->failed = true;
	return refused(b->in.tenant, QUOTA_MAX_BYTES, q->max[QUOTA_MAX_BYTES], e);
}

/* A token of max_write_rate. */
static int pay(struct tenant_batch *b, const struct quota *q, struct err *e)
{
	struct tenants *ts = b->in.tenant->ts;
	struct admission a = { 0 };
	int rc;

	b->per_s = q->max[QUOTA_MAX_WRITE_RATE];
	if (b->per_s == QUOTA_UNLIMITED)
		return 0;
	memcpy(a.max, q->max, sizeof(a.max));
	mutex_lock(&ts->lock);
	a.waits = b->in.collection->waits;
	mutex_unlock(&ts->lock);
	rc = admit_vector(&b->in, &a, e);
	if (rc == 0)
		b->tokens++;
	return rc;
}

static int add_paid(struct tenant_batch *b, const struct quota *q, const struct record *r,
                    struct err *e)
{
	struct taken taken;
	uint64_t bytes = 0;
	int rc = claim(b, q, r, &taken, e);

	if (rc < 0)
		return rc;
	rc = engine_batch_add(b->batch, r, &bytes, e);
	if (rc < 0) {
		give_back(b, r, &taken);
		return rc;
	}
	return settle_bytes(b, q, r, &taken, bytes, e);
}

int tenant_batch_add(struct tenant_batch *b, const struct record *r, struct err *e)
{
	struct quota q;
	int rc = check(b, &q, e);

	if (rc < 0)
		return rc;
	b->max_rows = max_rows(&q);
	if (r->dim > q.max[QUOTA_MAX_DIMENSION]) {
		count_rejected(b->in.tenant, QUOTA_MAX_DIMENSION);
		return err_set(e, -E2BIG, "%zu dimensions, max_dimension is %" PRIu64, r->dim,
		               q.max[QUOTA_MAX_DIMENSION]);
	}
	rc = pay(b, &q, e);
	return rc < 0 ? rc : add_paid(b, &q, r, e);
}

size_t tenant_batch_rows(const struct tenant_batch *b)
{
	return engine_batch_rows(b->batch);
}

bool tenant_batch_full(const struct tenant_batch *b)
{
	return engine_batch_rows(b->batch) >= b->max_rows;
}

static void end(struct tenant_batch *b, bool committed)
{
	if (!committed)
		admit_vectors_return(b->in.tenant, b->per_s, b->tokens);
	tenant_leave(&b->in);
	mem_free(b);
}

/* What the batch claimed does not fit any more, because a limit was lowered meanwhile. */
static enum quota_key outgrown(struct tenant_batch *b, const struct quota *q)
{
	struct tenant *t = b->in.tenant;
	const struct claim *c = &t->claims;
	enum quota_key k = QUOTA_N;
	uint64_t vectors = 0;
	uint64_t bytes = 0;
	uint32_t n;

	if (!is_limited(q))
		return QUOTA_N;
	mutex_lock(&t->quota_lock);
	engine_usage(b->in.engine, &vectors, &bytes, &n);
	if (b->claim.vectors > 0 && exceeds(vectors, c->vectors, 0, 0, q->max[QUOTA_MAX_VECTORS]))
		k = QUOTA_MAX_VECTORS;
	else if (b->claim.bytes > 0 && exceeds(bytes, c->bytes, 0, 0, q->max[QUOTA_MAX_BYTES]))
		k = QUOTA_MAX_BYTES;
	mutex_unlock(&t->quota_lock);
	return k;
}

/* Claims that are being returned look too large for a moment; see claim(). */
static int check_claims(struct tenant_batch *b, struct err *e)
{
	struct tenant *t = b->in.tenant;
	enum quota_key k;
	struct quota q;
	int rc = check(b, &q, e);

	if (rc < 0 || outgrown(b, &q) == QUOTA_N)
		return rc;
	rwlock_write(&t->gate);
	k = outgrown(b, &q);
	rwlock_write_unlock(&t->gate);
	return k == QUOTA_N ? 0 : refused(t, k, q.max[k], e);
}

static void committed(struct tenant_batch *b, uint64_t n)
{
	count_work(b->in.collection, COUNT_INSERTS, n);
	event_usage(b->in.tenant);
}

int tenant_batch_commit(struct tenant_batch *b, const uint8_t *token, struct receipt *receipt,
                        struct batch_result *ret, struct err *e)
{
	struct tenant *t = b->in.tenant;
	int rc = b->failed ? err_set(e, -EDQUOT, "the batch was refused before")
	                   : check_claims(b, e);

	rwlock_read(&t->gate);
	if (rc == 0)
		rc = tenant_check(&b->in, TENANT_WRITE, e);
	if (rc < 0)
		engine_batch_abort(b->batch);
	else
		rc = engine_batch_commit(b->batch, token, receipt, ret, e);
	return_claims(b);
	rwlock_read_unlock(&t->gate);
	if (rc >= 0 && !ret->duplicate)
		committed(b, ret->accepted);
	end(b, rc == 0);
	return rc;
}

void tenant_batch_abort(struct tenant_batch *b)
{
	if (!b)
		return;
	engine_batch_abort(b->batch);
	return_claims(b);
	end(b, false);
}
