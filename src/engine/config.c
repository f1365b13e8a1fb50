/*
 * config.c: what a collection is: parameters, owner, figures.
 *
 * Parameters are written to the store first and take effect in memory after it; those that fix
 * the shape of what is stored only while there is nothing. config_lock keeps two writers, and
 * a writer and the commit that gives a collection its dimension, from crossing.
 *
 * Lock order: config_lock, (store), lock, mu.
 */
#include <errno.h>
#include <string.h>

#include "engine/engine_impl.h"

void collection_describe(struct collection *c, struct store_collection *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->cid = c->cid;
	memcpy(ret->name, c->name, sizeof(ret->name));
	ret->created_ns = c->created_ns;
	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	ret->owner = c->owner;
	ret->config = c->config;
	ret->dimension_set = c->dimension_set;
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
	ret->config.dimension = c->stored_dimension;
}

/* ---- figures ---- */

static int info_get(struct collection *c, struct collection_info *ret)
{
	int rc = 0;

	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	*ret = (struct collection_info){
		.cid = c->cid,
		.owner = c->owner,
		.created_ns = c->created_ns,
		.vectors = c->live,
		.deleted = c->dead + c->dying,
		.bytes = c->bytes,
		.backlog = c->unlinked_live,
		.inserts = c->inserts,
		.deletes = c->deletes,
	};
	memcpy(ret->name, c->name, sizeof(ret->name));
	collection_config_get(c, &ret->config);
	rc = c->removed ? -ENODEV : 0;
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
	return rc;
}

int engine_collection_info(struct engine *en, uint32_t cid, struct collection_info *ret)
{
	struct collection *c;
	int rc = collection_enter(en, cid, &c, NULL);

	if (rc < 0)
		return rc;
	rc = info_get(c, ret);
	collection_leave(c);
	return rc;
}

/* mu is not held while the kernel counts what is large. */
static void memory_get(struct collection *c, struct collection_memory *ret)
{
	rwlock_read(&c->lock);
	ret->resident_bytes = sizeof(*c) + table_resident(&c->at_table) +
	                      table_resident(&c->state_table) + table_resident(&c->norm_table) +
	                      table_resident(&c->info_table) + table_resident(&c->ring_table);
	ret->mapped_bytes = store_mapped_bytes(c->engine->store, c->cid);
	if (c->graph) {
		struct hnsw_memory m = hnsw_memory(c->graph);

		ret->resident_bytes += m.anonymous_bytes;
		ret->mapped_bytes += m.mapped_bytes;
	}
	mutex_lock(&c->mu);
	ret->resident_bytes += idtable_bytes(&c->ids) + c->heap_bytes;
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
}

int engine_collection_memory(struct engine *en, uint32_t cid, struct collection_memory *ret)
{
	struct collection *c;
	int rc = collection_enter(en, cid, &c, NULL);

	if (rc < 0)
		return rc;
	memory_get(c, ret);
	collection_leave(c);
	return 0;
}

/* ---- parameters ---- */

static const char *fixed_difference(const struct collection_config *a,
                                    const struct collection_config *b)
{
	if (a->dimension != b->dimension)
		return "dimension";
	if (a->metric != b->metric)
		return "metric";
	if (a->m != b->m)
		return "m";
	if (a->ef_construction != b->ef_construction)
		return "ef_construction";
	return strcmp(a->quantization, b->quantization) != 0 ? "quantization" : NULL;
}

/* 0, or -EBUSY when what is stored forbids the change. *ret_fixed: a fixed parameter differs. */
static int change_check(const struct collection *c, const struct collection_config *to,
                        bool *ret_fixed, struct err *e) REQUIRES_SHARED(c->lock) REQUIRES(c->mu)
{
	struct collection_config now;
	const char *key;

	if (c->removed)
		return err_gone(e);
	collection_config_get(c, &now);
	key = fixed_difference(&now, to);
	*ret_fixed = key != NULL;
	if (!key)
		return 0;
	if (c->live > 0)
		return err_set(e, -EBUSY, "%s is fixed while the collection holds %u vectors", key,
		               c->live);
	if (c->dim_users > 0 || c->taken > 0)
		return err_set(e, -EBUSY, "%s is fixed while vectors are being written", key);
	return 0;
}

/*
 * A dimension that only follows from the vectors stays so; one that was written is kept when
 * they are gone.
 */
static uint32_t dimension_written(const struct collection *c, const struct collection_config *to)
{
	return c->rows.dim == to->dimension ? c->config.dimension : to->dimension;
}

static int change_check_unlocked(struct collection *c, const struct collection_config *to,
                                 uint32_t *ret_dim_set, struct err *e)
{
	bool fixed;
	int rc;

	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	rc = change_check(c, to, &fixed, e);
	*ret_dim_set = dimension_written(c, to);
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
	return rc;
}

static int change_apply(struct collection *c, const struct collection_config *to, struct err *e)
{
	bool fixed = false;
	int rc;

	rwlock_write(&c->lock);
	mutex_lock(&c->mu);
	rc = change_check(c, to, &fixed, e);
	if (rc == 0) {
		uint32_t dim = dimension_written(c, to);

		c->config = *to;
		c->config.dimension = dim;
		c->dimension_set = dim != 0;
		if (fixed)
			collection_reset(c);
	}
	mutex_unlock(&c->mu);
	rwlock_write_unlock(&c->lock);
	return rc;
}

static int configure_locked(struct collection *c, const struct collection_config *to, struct err *e)
	REQUIRES(c->config_lock)
{
	struct store_collection old, sc;
	uint32_t dim_set;
	int rc = change_check_unlocked(c, to, &dim_set, e);

	if (rc < 0)
		return rc;
	collection_describe(c, &old);
	sc = old;
	sc.config = *to;
	sc.dimension_set = dim_set != 0;
	rc = store_collection_update(c->engine->store, &sc, e);
	if (rc < 0)
		return rc;
	c->stored_dimension = to->dimension;
	rc = change_apply(c, to, e);
	if (rc < 0 && store_collection_update(c->engine->store, &old, NULL) == 0)
		c->stored_dimension = old.config.dimension; /* a batch came in between */
	return rc;
}

int engine_collection_configure(struct engine *en, uint32_t cid, const struct collection_config *to,
                                struct err *e)
{
	struct collection *c;
	int rc;

	if (en->read_only)
		return err_read_only(e);
	rc = collection_enter(en, cid, &c, e);
	if (rc < 0)
		return rc;
	mutex_lock(&c->config_lock);
	rc = configure_locked(c, to, e);
	mutex_unlock(&c->config_lock);
	collection_leave(c);
	return rc;
}

static int set_owner_locked(struct collection *c, const struct owner *o, struct err *e)
	REQUIRES(c->config_lock)
{
	struct store_collection sc;
	int rc;

	collection_describe(c, &sc);
	sc.owner = *o;
	rc = store_collection_update(c->engine->store, &sc, e);
	if (rc < 0)
		return rc;
	mutex_lock(&c->mu);
	c->owner = *o;
	mutex_unlock(&c->mu);
	return 0;
}

int engine_collection_set_owner(struct engine *en, uint32_t cid, const struct owner *o,
                                struct err *e)
{
	struct collection *c;
	int rc;

	if (en->read_only)
		return err_read_only(e);
	rc = collection_enter(en, cid, &c, e);
	if (rc < 0)
		return rc;
	mutex_lock(&c->config_lock);
	rc = set_owner_locked(c, o, e);
	mutex_unlock(&c->config_lock);
	collection_leave(c);
	return rc;
}
