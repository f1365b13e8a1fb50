/*
 * world_run.c: operations on real tenants, as the filesystem does them.
 */
#include <errno.h>

#include "tests/crash/world_impl.h"

int world_tenant(struct tenants *ts, const struct world *w, unsigned place, uint32_t *ret)
{
	char name[16];

	world_tenant_name(w, place, name);
	return tenants_find(ts, name, ret);
}

static int enter(struct tenants *ts, uint32_t cid, struct inside *in, struct err *e)
{
	return tenant_enter(ts, cid, TENANT_WRITE, in, e);
}

int world_cid(struct tenants *ts, const struct world *w, unsigned place, uint32_t *ret,
              struct err *e)
{
	struct inside in;
	char name[16];
	int rc = world_tenant(ts, w, place, ret);

	world_collection_name(w, place, name);
	if (rc < 0)
		return err_set(e, rc, "there is no tenant");
	if (!name[0])
		return 0;
	rc = tenant_enter(ts, *ret, TENANT_LOOK, &in, e);
	if (rc < 0)
		return rc;
	rc = engine_collection_find(in.engine, name, ret);
	tenant_leave(&in);
	return rc < 0 ? err_set(e, rc, "there is no collection %s", name) : 0;
}

/* ---- vectors ---- */

static int add_all(struct tenant_batch *b, const struct world *w, const struct op *op,
                   struct err *e)
{
	struct thing t;
	int rc = 0;

	for (uint32_t i = 0; i < op->n && rc == 0; i++) {
		thing_of(w, op->place, &op->changes[i], &t);
		rc = tenant_batch_add(b, &t.r, e);
	}
	return rc;
}

static int put(struct tenants *ts, const struct world *w, const struct op *op, struct inside *in,
               bool *ret_done, struct err *e)
{
	struct receipt receipt = { .state = RECEIPT_COMMITTED };
	struct batch_result result;
	struct tenant_batch *b;
	int rc = engine_receipt_number(in->engine, in->cid, &receipt.number, e);

	snprintf(receipt.name, sizeof(receipt.name), "f%u", w->places[op->place].put + 1);
	if (rc == 0)
		rc = tenant_batch_begin(ts, in->cid, &b, e);
	if (rc < 0)
		return rc;
	rc = add_all(b, w, op, e);
	if (rc < 0) {
		tenant_batch_abort(b);
		return rc;
	}
	rc = tenant_batch_commit(b, op->token, &receipt, &result, e);
	if (rc == 0 && ret_done)
		*ret_done = result.duplicate;
	return rc;
}

static int remove_ids(const struct op *op, struct inside *in, struct err *e)
{
	struct id_ref refs[WORLD_IDS];
	char ids[WORLD_IDS][16];
	uint64_t n;

	for (uint32_t i = 0; i < op->n; i++) {
		refs[i].id = ids[i];
		refs[i].len = (size_t)snprintf(ids[i], 16, "id%u", op->changes[i].id);
	}
	return engine_remove(in->engine, in->cid, refs, op->n, &n, e);
}

static int set_metadata(const struct world *w, const struct op *op, struct inside *in,
                        struct err *e)
{
	struct thing t;
	uint64_t num;
	int rc;

	thing_of(w, op->place, &op->changes[0], &t);
	rc = engine_lookup(in->engine, in->cid, t.id, t.r.id_len, &num);
	if (rc < 0)
		return err_set(e, rc, "%s is not there", t.id);
	return tenant_set_metadata(in, num, t.r.metadata, t.r.metadata_len, e);
}

static int configure(const struct world *w, const struct op *op, struct inside *in, struct err *e)
{
	struct collection_info info;
	int rc = engine_collection_info(in->engine, in->cid, &info);

	if (rc < 0)
		return err_set(e, rc, "the collection is gone");
	info.config.k = op->value;
	info.config.ef_search = op->value + 7;
	info.config.durability = w->loose && op->value % 2 ? DURABILITY_NONE : DURABILITY_COMMIT;
	return engine_collection_configure(in->engine, in->cid, &info.config, e);
}

static int run_inside(struct tenants *ts, const struct world *w, const struct op *op,
                      struct inside *in, bool *ret_done, struct err *e)
{
	uint64_t n;

	switch (op->kind) {
	case OP_PUT:
		return put(ts, w, op, in, ret_done, e);
	case OP_REMOVE:
		return remove_ids(op, in, e);
	case OP_CLEAR:
		return engine_remove_all(in->engine, in->cid, &n, e);
	case OP_METADATA:
		return set_metadata(w, op, in, e);
	case OP_CONFIG:
		return configure(w, op, in, e);
	default:
		return engine_checkpoint(in->engine, e);
	}
}

/* ---- tenants and collections ---- */

static int create(struct tenants *ts, const struct world *w, const struct op *op, struct err *e)
{
	const struct owner owner = { .mode = 0700 };
	char name[16];
	uint32_t number;
	struct inside in;
	int rc;

	if (op->place == PLACE_OWN) {
		world_tenant_name(w, op->place, name);
		return tenants_create(ts, name, &owner, &number, e);
	}
	rc = world_tenant(ts, w, op->place, &number);
	if (rc < 0)
		return err_set(e, rc, "there is no tenant");
	rc = enter(ts, number, &in, e);
	if (rc < 0)
		return rc;
	world_collection_name(w, op->place, name);
	rc = tenant_collection_create(&in, name, &owner, &number, e);
	tenant_leave(&in);
	return rc;
}

static int drop(struct tenants *ts, const struct world *w, const struct op *op, struct err *e)
{
	uint32_t tenant, cid;
	struct inside in;
	int rc = world_cid(ts, w, op->place, &cid, e);

	if (rc == 0)
		rc = tenants_set_status(ts, cid, TENANT_PENDING_DELETION, e);
	if (rc < 0)
		return rc;
	if (op->place == PLACE_OWN)
		return tenants_remove(ts, cid, e);
	rc = world_tenant(ts, w, op->place, &tenant);
	if (rc == 0)
		rc = tenant_enter(ts, tenant, TENANT_LOOK, &in, e);
	if (rc < 0)
		return rc;
	rc = tenant_collection_remove(&in, cid, e);
	tenant_leave(&in);
	return rc;
}

static int administer(struct tenants *ts, const struct world *w, const struct op *op, struct err *e)
{
	struct owner owner = { .mode = op->value & 0777 };
	char line[64];
	uint32_t number;
	int n = snprintf(line, sizeof(line), "max_results %u\n", op->value);
	int rc;

	if (op->kind == OP_CREATE)
		return create(ts, w, op, e);
	if (op->kind == OP_DROP)
		return drop(ts, w, op, e);
	rc = world_tenant(ts, w, PLACE_OWN, &number);
	if (rc < 0)
		return err_set(e, rc, "there is no tenant");
	if (op->kind == OP_OWNER)
		return tenants_set_owner(ts, number, &owner, e);
	return tenants_set_quota(ts, number, line, (size_t)n, e);
}

int op_run(struct tenants *ts, const struct world *w, const struct op *op, bool *ret_done,
           struct err *e)
{
	struct inside in;
	uint32_t cid;
	int rc;

	if (ret_done)
		*ret_done = false;
	if (op->kind >= OP_CREATE && op->kind <= OP_QUOTA)
		return administer(ts, w, op, e);
	rc = world_cid(ts, w, op->place, &cid, e);
	if (rc == 0)
		rc = enter(ts, cid, &in, e);
	if (rc < 0)
		return rc;
	rc = run_inside(ts, w, op, &in, ret_done, e);
	tenant_leave(&in);
	return rc;
}
