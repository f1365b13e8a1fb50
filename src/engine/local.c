/*
 * local.c: the engine over a local store: opening, closing, the table of collections.
 *
 * A collection is counted: the table holds it once, everybody who is inside once more.
 * Removing takes it out of the table and empties it at once; the last one who leaves frees it.
 *
 * Lock order: admin, (store), lock; see engine_impl.h.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/engine_impl.h"

int err_gone(struct err *e)
{
	return err_set(e, -ENODEV, "the collection was removed");
}

void engine_tell(struct collection *c, enum engine_event event)
{
	struct engine *en = c->engine;

	if (en->event)
		en->event(en->event_ctx, c->cid, event);
}

int err_read_only(struct err *e)
{
	return err_set(e, -EROFS, "the filesystem is mounted read-only");
}

/* ---- the table ---- */

/* The position of the first collection with a number of at least cid. */
static uint32_t table_at(const struct engine *en, uint32_t cid)
{
	uint32_t lo = 0, hi = en->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (en->table[mid]->cid < cid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int table_reserve(struct engine *en)
{
	uint32_t cap = en->cap ? en->cap * 2 : 4;
	struct collection **p;

	if (en->n < en->cap)
		return 0;
	p = mem_resize(en->table, cap, sizeof(struct collection *));
	if (!p)
		return -ENOMEM;
	en->table = p;
	en->cap = cap;
	return 0;
}

static void table_insert(struct engine *en, struct collection *c)
{
	uint32_t i = table_at(en, c->cid);

	memmove(en->table + i + 1, en->table + i, (en->n - i) * sizeof(struct collection *));
	en->table[i] = c;
	en->n++;
	atomic_fetch_add_explicit(&en->n_collections, 1, memory_order_relaxed);
}

static void table_remove(struct engine *en, struct collection *c)
{
	uint32_t i = table_at(en, c->cid);

	assert(i < en->n && en->table[i] == c);
	en->n--;
	memmove(en->table + i, en->table + i + 1, (en->n - i) * sizeof(struct collection *));
	atomic_fetch_sub_explicit(&en->n_collections, 1, memory_order_relaxed);
}

int collection_enter(struct engine *en, uint32_t cid, struct collection **ret, struct err *e)
{
	struct collection *c = NULL;
	uint32_t i;

	mutex_lock(&en->lock);
	i = table_at(en, cid);
	if (i < en->n && en->table[i]->cid == cid) {
		c = en->table[i];
		atomic_fetch_add(&c->refs, 1);
	}
	mutex_unlock(&en->lock);
	if (!c)
		return err_gone(e);
	*ret = c;
	return 0;
}

/* Who was inside of one that was removed may have read from its segment until now. */
void collection_leave(struct collection *c)
{
	struct store *s;
	uint32_t cid;

	if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	s = c->engine->store;
	cid = c->cid;
	collection_free(c);
	store_collection_forget(s, cid);
}

/* ---- open and close ---- */

static int load_one(struct engine *en, const struct store_collection *sc, struct err *e)
{
	struct collection *c = collection_new(en, sc);
	int rc;

	if (!c || table_reserve(en) < 0) {
		collection_leave(c);
		return err_nomem(e);
	}
	rc = collection_recover(c, sc, e);
	if (rc < 0) {
		collection_leave(c);
		return rc;
	}
	table_insert(en, c);
	return 0;
}

static int load_all(struct engine *en, struct err *e)
{
	struct store_collection sc = { 0 };
	int rc;

	while ((rc = store_collection_next(en->store, sc.cid, &sc, e)) == 0) {
		rc = load_one(en, &sc, e);
		if (rc < 0)
			return rc;
	}
	return rc == -ENOENT ? 0 : rc;
}

static int create_default(const struct engine_options *o, struct engine *en, struct err *e)
{
	struct collection *c;

	if (collection_enter(en, o->default_cid, &c, NULL) == 0) {
		collection_leave(c);
		return 0;
	}
	if (o->read_only)
		return err_set(e, -EROFS, "the tenant's store has no collection yet");
	return engine_collection_create(en, o->default_cid, "default", &o->owner, e);
}

static unsigned processors(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > LINKING_MAX / 2 ? LINKING_MAX / 2 : (unsigned)n;
}

static struct engine *engine_new(const struct engine_options *o)
{
	struct engine *en = mem_zalloc(1, sizeof(*en));

	if (!en)
		return NULL;
	en->workers = o->workers;
	en->flow = o->flow;
	en->read_only = o->read_only;
	en->event = o->event;
	en->event_ctx = o->event_ctx;
	en->link_jobs_max = processors();
	mutex_init(&en->admin);
	mutex_init(&en->lock);
	cond_init(&en->idle);
	return en;
}

static void engine_free(struct engine *en)
{
	for (uint32_t i = 0; i < en->n; i++)
		collection_leave(en->table[i]);
	mem_free(en->table);
	engine_scratch_free_all(en);
	store_close(en->store);
	cond_destroy(&en->idle);
	mutex_destroy(&en->lock);
	mutex_destroy(&en->admin);
	mem_free(en);
}

int engine_open(const struct engine_options *o, struct engine **ret, struct err *e)
{
	struct engine *en = engine_new(o);
	int rc;

	if (!en)
		return err_nomem(e);
	rc = store_open(o->dir, o->read_only, &en->store, e);
	if (rc == 0)
		rc = load_all(en, e);
	if (rc == 0)
		rc = create_default(o, en, e);
	if (rc < 0) {
		engine_free(en);
		return rc;
	}
	for (uint32_t i = 0; i < en->n; i++)
		collection_changed(en->table[i]);
	*ret = en;
	return 0;
}

void engine_close(struct engine *en)
{
	if (!en)
		return;
	atomic_store(&en->closing, true);
	mutex_lock(&en->lock);
	while (en->n_jobs > 0)
		cond_wait(&en->idle, &en->lock);
	mutex_unlock(&en->lock);
	/* What cannot be saved now is built again at the next open. */
	for (uint32_t i = 0; i < en->n && !en->read_only; i++)
		maintain_at_close(en->table[i], NULL);
	engine_free(en);
}

uint64_t engine_lost_commits(struct engine *en)
{
	return store_lost_commits(en->store);
}

bool engine_idle(struct engine *en)
{
	bool idle;

	mutex_lock(&en->lock);
	idle = en->n_jobs == 0;
	mutex_unlock(&en->lock);
	return idle;
}

/* The collection with the smallest number above after, entered; NULL: none. */
static struct collection *enter_next(struct engine *en, uint32_t after)
{
	struct collection *c = NULL;
	uint32_t i;

	if (after == UINT32_MAX)
		return NULL;
	mutex_lock(&en->lock);
	i = table_at(en, after + 1);
	if (i < en->n) {
		c = en->table[i];
		atomic_fetch_add(&c->refs, 1);
	}
	mutex_unlock(&en->lock);
	return c;
}

int engine_checkpoint(struct engine *en, struct err *e)
{
	struct collection *c;
	uint32_t cid = 0;
	int rc = 0;

	if (en->read_only)
		return 0;
	while (rc == 0 && (c = enter_next(en, cid))) {
		cid = c->cid;
		rc = maintain(c, true, e);
		if (rc == -ENODEV || rc == -ECANCELED)
			rc = 0; /* it is being removed, the others are not */
		collection_leave(c);
	}
	return rc;
}

void engine_usage(struct engine *en, uint64_t *ret_vectors, uint64_t *ret_bytes,
                  uint32_t *ret_collections)
{
	*ret_vectors = atomic_load_explicit(&en->vectors, memory_order_relaxed);
	*ret_bytes = atomic_load_explicit(&en->bytes, memory_order_relaxed);
	*ret_collections = atomic_load_explicit(&en->n_collections, memory_order_relaxed);
}

/* ---- creating and removing collections ---- */

static int create_locked(struct engine *en, const struct store_collection *sc, struct err *e)
	REQUIRES(en->admin)
{
	struct collection *c = collection_new(en, sc);
	int rc;

	mutex_lock(&en->lock);
	rc = table_reserve(en);
	mutex_unlock(&en->lock);
	if (!c || rc < 0)
		rc = err_nomem(e);
	else
		rc = store_collection_create(en->store, sc, e);
	if (rc < 0) {
		collection_leave(c);
		return rc;
	}
	mutex_lock(&en->lock);
	table_insert(en, c);
	mutex_unlock(&en->lock);
	return 0;
}

int engine_collection_create(struct engine *en, uint32_t cid, const char *name,
                             const struct owner *owner, struct err *e)
{
	struct store_collection sc = {
		.cid = cid,
		.owner = *owner,
		.created_ns = clock_wall_ns(),
		.config = COLLECTION_CONFIG_DEFAULT,
		.next_num = 1,
		.next_receipt = 1,
	};
	size_t n = strlen(name);
	uint32_t cid_there;
	int rc;

	if (en->read_only)
		return err_read_only(e);
	if (n == 0 || n > LIMIT_NAME)
		return err_set(e, -EINVAL, "a name of %zu bytes, the limit is 1 to %d", n,
		               LIMIT_NAME);
	memcpy(sc.name, name, n);
	mutex_lock(&en->admin);
	if (engine_collection_find(en, name, &cid_there) == 0)
		rc = err_set(e, -EEXIST, "the collection %s exists", name);
	else
		rc = create_locked(en, &sc, e);
	mutex_unlock(&en->admin);
	return rc;
}

static int removable(struct collection *c, bool even_if_full, struct err *e)
{
	int rc = 0;

	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	if (c->removed)
		rc = err_gone(e);
	else if (c->live > 0 && !even_if_full)
		rc = err_set(e, -ENOTEMPTY, "the collection holds %u vectors", c->live);
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
	return rc;
}

/* From here on nobody finds anything in it, and open batches fail. */
static void shut(struct collection *c)
{
	uint32_t live;
	uint64_t bytes;

	rwlock_write(&c->lock);
	mutex_lock(&c->mu);
	live = c->live;
	bytes = c->bytes;
	c->removed = true;
	collection_reset(c);
	usage_changed(c, live, bytes);
	mutex_unlock(&c->mu);
	rwlock_write_unlock(&c->lock);
}

/* The store first: if it fails, all is as it was. */
static int remove_gated(struct engine *en, struct collection *c, bool even_if_full, struct err *e)
	REQUIRES(en->admin, c->commit_gate)
{
	int rc = removable(c, even_if_full, e);

	if (rc < 0)
		return rc;
	mutex_lock(&c->config_lock);
	rc = store_collection_remove(en->store, c->cid, e);
	mutex_unlock(&c->config_lock);
	if (rc < 0)
		return rc;
	mutex_lock(&en->lock);
	table_remove(en, c);
	mutex_unlock(&en->lock);
	shut(c);
	return 0;
}

static int remove_locked(struct engine *en, struct collection *c, bool even_if_full, struct err *e)
	REQUIRES(en->admin)
{
	int rc;

	atomic_store(&c->leaving, true);
	mutex_lock(&c->maint);
	rwlock_write(&c->commit_gate);
	rc = remove_gated(en, c, even_if_full, e);
	if (rc < 0)
		atomic_store(&c->leaving, false);
	rwlock_write_unlock(&c->commit_gate);
	mutex_unlock(&c->maint);
	if (rc == 0)
		collection_leave(c); /* the table's */
	return rc;
}

int engine_collection_remove(struct engine *en, uint32_t cid, bool even_if_full, struct err *e)
{
	struct collection *c;
	int rc;

	if (en->read_only)
		return err_read_only(e);
	mutex_lock(&en->admin);
	rc = collection_enter(en, cid, &c, e);
	if (rc == 0) {
		rc = remove_locked(en, c, even_if_full, e);
		collection_leave(c);
	}
	mutex_unlock(&en->admin);
	return rc;
}

int engine_collection_find(struct engine *en, const char *name, uint32_t *ret_cid)
{
	int rc = -ENOENT;

	mutex_lock(&en->lock);
	for (uint32_t i = 0; i < en->n && rc < 0; i++) {
		if (strcmp(en->table[i]->name, name) != 0)
			continue;
		*ret_cid = en->table[i]->cid;
		rc = 0;
	}
	mutex_unlock(&en->lock);
	return rc;
}

int engine_collection_next(struct engine *en, uint32_t after, struct collection_info *ret)
{
	struct collection *c = enter_next(en, after);
	int rc;

	if (!c)
		return -ENOENT;
	rc = engine_collection_info(en, c->cid, ret);
	after = c->cid;
	collection_leave(c);
	/* removed between the two: the one after it */
	return rc == -ENODEV ? engine_collection_next(en, after, ret) : rc;
}
