/*
 * world_check.c: is what the tenants give what the world says? Each vector is compared byte for
 * byte as the file vectors/ID shows it; names, counts, parameters, the newest receipt and some
 * searches are, too; and every collection must verify clean.
 */
#include <errno.h>

#include "base/mem.h"
#include "tests/crash/world_impl.h"

struct check {
	struct tenants *ts;
	const struct world *w;
	unsigned place;
	struct inside in;
	struct err *e;
};

#define DIFFERS(c, ...) err_set((c)->e, -EINVAL, __VA_ARGS__)

/* ---- vectors ---- */

static int check_json(struct check *c, uint64_t num, const struct thing *t)
{
	struct answer_hit hit = { .id = t->r.id,
		                  .id_len = t->r.id_len,
		                  .metadata = t->r.metadata,
		                  .metadata_len = t->r.metadata_len,
		                  .text = t->r.text,
		                  .text_len = t->r.text_len,
		                  .v = t->r.v,
		                  .dim = t->r.dim };
	BUF_AUTO struct buf want = BUF_INIT;
	BUF_AUTO struct buf got = BUF_INIT;
	struct vector_info info;
	int rc = engine_get_json(c->in.engine, c->in.cid, num, &got, c->e);

	if (rc < 0)
		return err_prefix(c->e, "%s", t->id);
	answer_vector_json(&want, &hit);
	if (got.len != want.len || memcmp(got.data, want.data, want.len) != 0)
		return DIFFERS(c, "%s is %.*s", t->id, (int)got.len, got.data);
	rc = engine_stat_vector(c->in.engine, c->in.cid, num, &info, c->e);
	if (rc == 0 && info.json_bytes != got.len)
		return DIFFERS(c, "%s has %zu bytes, its size is %llu", t->id, got.len,
		               (unsigned long long)info.json_bytes);
	return rc;
}

static int check_id(struct check *c, uint16_t id)
{
	const struct place *p = &c->w->places[c->place];
	const struct change ch = { id, p->v[id], p->m[id] };
	struct thing t;
	uint64_t num;
	int rc;

	thing_of(c->w, c->place, &ch, &t);
	rc = engine_lookup(c->in.engine, c->in.cid, t.id, t.r.id_len, &num);
	if (!p->v[id])
		return rc == -ENOENT ? 0 : DIFFERS(c, "%s is there", t.id);
	return rc < 0 ? DIFFERS(c, "%s is missing", t.id) : check_json(c, num, &t);
}

static int count_one(void *ctx, const struct vector_info *v)
{
	++*(uint32_t *)ctx;
	return 0;
}

static uint32_t live(const struct place *p)
{
	uint32_t n = 0;

	for (int i = 0; i < WORLD_IDS; i++)
		n += p->v[i] != 0;
	return n;
}

static int check_numbers(struct check *c)
{
	const struct place *p = &c->w->places[c->place];
	struct collection_info info;
	uint32_t n = 0;
	int rc = engine_collection_info(c->in.engine, c->in.cid, &info);

	if (rc < 0)
		return DIFFERS(c, "the collection is gone");
	if (info.config.k != p->k || info.config.ef_search != p->ef_search)
		return DIFFERS(c, "k is %u, expected %u", info.config.k, p->k);
	if (info.vectors != live(p))
		return DIFFERS(c, "%llu vectors, expected %u", (unsigned long long)info.vectors,
		               live(p));
	rc = engine_list(c->in.engine, c->in.cid, 0, SIZE_MAX, count_one, &n, c->e);
	if (rc == 0 && n != live(p))
		return DIFFERS(c, "%u names, expected %u", n, live(p));
	return rc;
}

/* ---- searches ---- */

static int find_one(struct check *c, uint16_t id, bool exact, bool *ret_found)
{
	const struct place *p = &c->w->places[c->place];
	const struct change ch = { id, p->v[id], p->m[id] };
	BUF_AUTO struct buf out = BUF_INIT;
	struct answer a;
	struct thing t;
	struct query q = { .v = t.v, .dim = WORLD_DIM, .k = 1, .ef = 300, .exact = exact };
	int rc;

	thing_of(c->w, c->place, &ch, &t);
	answer_init(&a, &out);
	rc = engine_search(c->in.engine, c->in.cid, &q, &a, c->e);
	*ret_found = rc == 0 && out.len > t.r.id_len && memcmp(out.data, t.id, t.r.id_len) == 0 &&
	             out.data[t.r.id_len] == '\t';
	return rc;
}

/* Some ask for themselves. The graph may miss one of them. */
static int check_search(struct check *c)
{
	const struct place *p = &c->w->places[c->place];
	unsigned asked = 0, missed = 0;
	bool found;
	int rc = 0;

	for (uint16_t id = 0; id < WORLD_IDS && rc == 0; id++) {
		if (!p->v[id] || (id + p->put) % 61)
			continue;
		rc = find_one(c, id, true, &found);
		if (rc == 0 && !found)
			return DIFFERS(c, "id%u does not find itself", id);
		if (rc == 0)
			rc = find_one(c, id, false, &found);
		asked++;
		missed += !found;
	}
	if (rc == 0 && missed > 1 + asked / 10)
		return DIFFERS(c, "%u of %u do not find themselves in the graph", missed, asked);
	return rc;
}

/* ---- the rest ---- */

static int check_receipts(struct check *c)
{
	const struct place *p = &c->w->places[c->place];
	struct receipt r;
	char name[16];
	int rc;

	snprintf(name, sizeof(name), "f%u", p->put + 1);
	if (engine_receipt_by_name(c->in.engine, c->in.cid, name, &r, NULL) == 0)
		return DIFFERS(c, "the receipt %s is there", name);
	if (!p->put)
		return 0;
	snprintf(name, sizeof(name), "f%u", p->put);
	rc = engine_receipt_by_name(c->in.engine, c->in.cid, name, &r, c->e);
	if (rc < 0)
		return err_prefix(c->e, "receipt %s", name);
	if (r.state != RECEIPT_COMMITTED || r.vectors != p->put_vectors)
		return DIFFERS(c, "receipt %s has %llu vectors", name,
		               (unsigned long long)r.vectors);
	return 0;
}

static int check_inside(struct check *c)
{
	int rc = check_numbers(c);

	for (uint16_t id = 0; id < WORLD_IDS && rc == 0; id++)
		rc = check_id(c, id);
	if (rc == 0)
		rc = check_search(c);
	return rc == 0 ? check_receipts(c) : rc;
}

static int check_place(struct check *c)
{
	uint32_t cid;
	int rc = world_cid(c->ts, c->w, c->place, &cid, c->e);

	if (!c->w->places[c->place].exists)
		return rc == -ENOENT ? 0 : rc < 0 ? rc : DIFFERS(c, "the collection is there");
	if (rc == 0)
		rc = tenant_enter(c->ts, cid, TENANT_READ, &c->in, c->e);
	if (rc < 0)
		return rc;
	rc = check_inside(c);
	tenant_leave(&c->in);
	return rc;
}

static int check_tenant(struct check *c)
{
	uint64_t limit = c->w->max_results ? c->w->max_results : QUOTA_UNLIMITED;
	struct tenant_info info;
	uint32_t number;
	int rc = world_tenant(c->ts, c->w, PLACE_OWN, &number);

	if (rc < 0 || !c->w->places[PLACE_OWN].exists)
		return 0;
	rc = tenants_info(c->ts, number, &info);
	if (rc < 0)
		return DIFFERS(c, "the tenant is gone");
	if (info.owner.mode != c->w->mode || info.quota.max[QUOTA_MAX_RESULTS] != limit)
		return DIFFERS(c, "mode is %o, max_results %llu", info.owner.mode,
		               (unsigned long long)info.quota.max[QUOTA_MAX_RESULTS]);
	return info.status == TENANT_ACTIVE ? 0 : DIFFERS(c, "status %d", (int)info.status);
}

static int check_all(struct tenants *ts, const struct world *w, struct err *e)
{
	struct check c = { .ts = ts, .w = w, .e = e };
	int rc = check_tenant(&c);

	for (c.place = 0; c.place < WORLD_PLACES && rc == 0; c.place++) {
		rc = check_place(&c);
		if (rc < 0)
			err_prefix(e, "writer %u, place %u", w->writer, c.place);
	}
	return rc;
}

static int verify(struct tenants *ts, const struct world *w, unsigned place, struct err *e)
{
	struct engine_report r;
	struct inside in;
	uint32_t cid;
	int rc = world_cid(ts, w, place, &cid, NULL);

	if (rc < 0)
		return 0;
	rc = tenant_enter(ts, cid, TENANT_LOOK, &in, e);
	if (rc < 0)
		return rc;
	rc = engine_verify(in.engine, cid, NULL, &r, e);
	tenant_leave(&in);
	if (rc == 0 &&
	    (r.first[0] || r.checksum_errors || r.disagreements || r.unreachable || r.broken_links))
		return err_set(e, -EINVAL, "writer %u, place %u: verify: %s", w->writer, place,
		               r.first);
	return rc;
}

void world_take_back(struct tenants *ts, const struct world *w, const struct op *op)
{
	uint32_t cid;

	if (op && op->kind == OP_DROP && world_cid(ts, w, op->place, &cid, NULL) == 0)
		tenants_set_status(ts, cid, TENANT_ACTIVE, NULL);
}

int world_check_place(struct tenants *ts, const struct world *w, unsigned place, struct err *ret)
{
	struct check c = { .ts = ts, .w = w, .place = place, .e = ret };
	int rc = check_place(&c);

	return rc == 0 ? verify(ts, w, place, ret) : rc;
}

int world_check(struct tenants *ts, const struct world *w, const struct op *op, struct err *ret)
{
	struct world *with = op ? (struct world *)mem_dup(w, sizeof(*w)) : NULL;
	struct err other = { 0 };
	int rc, result;

	world_take_back(ts, w, op);
	rc = check_all(ts, w, ret);
	result = rc == 0 ? 0 : -1;
	if (rc < 0 && with) {
		op_apply(with, op);
		result = check_all(ts, with, &other) == 0 ? 1 : -1;
		if (result < 0)
			err_prefix(ret, "%s: with it: %s; without it", op_name(op->kind),
			           other.text);
	}
	mem_free(with);
	for (unsigned i = 0; i < WORLD_PLACES && result >= 0; i++)
		if (verify(ts, w, i, ret) < 0)
			result = -1;
	return result;
}
