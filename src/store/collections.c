/*
 * collections.c: the table `collections`, held in memory while the store is open.
 *
 * `now` is what is committed, `pending` what the transaction under way makes of it; a commit
 * publishes, a rollback returns. A collection that was removed stays in the list, marked, until
 * it is forgotten: searches that still hold pointers into its segment end in their own time.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc.h"
#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/store_impl.h"

uint64_t coll_salt(void)
{
	uint64_t salt;

	if (getrandom(&salt, sizeof(salt), 0) != (ssize_t)sizeof(salt))
		salt = clock_wall_ns() * 0x9e3779b97f4a7c15ull ^ (uint64_t)getpid() << 32;
	return salt & INT64_MAX;
}

/* ---- the list ---- */

/* The index of the first with cid >= the given one. */
static size_t place_locked(struct store *s, uint32_t cid)
{
	size_t low = 0, high = s->n_colls;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (s->colls[mid]->cid < cid)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct coll *coll_find(struct store *s, uint32_t cid)
{
	struct coll *c = NULL;
	size_t at;

	rwlock_read(&s->colls_lock);
	at = place_locked(s, cid);
	if (at < s->n_colls && s->colls[at]->cid == cid)
		c = s->colls[at];
	rwlock_read_unlock(&s->colls_lock);
	return c;
}

struct coll *coll_live(struct store *s, uint32_t cid, struct err *e)
{
	struct coll *c = coll_find(s, cid);

	if (c && !atomic_load(&c->gone))
		return c;
	err_set(e, -ENODEV, "the collection is gone");
	return NULL;
}

static struct coll *coll_new(const struct coll_state *st)
{
	struct coll *c = mem_zalloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->cid = st->c.cid;
	c->now = *st;
	c->pending = *st;
	c->n_receipts = -1;
	atomic_store(&c->next_receipt, st->c.next_receipt);
	rwlock_init(&c->lock);
	return c;
}

static void coll_free(struct coll *c)
{
	coll_retire_segment(c);
	while (c->old) {
		struct segment *g = c->old;

		c->old = g->older;
		segment_free(g);
	}
	rwlock_destroy(&c->lock);
	mem_free(c);
}

/* Makes room for one more, so that add_to_list cannot fail. */
static int grow_list(struct store *s)
{
	size_t cap = s->cap_colls ? s->cap_colls * 2 : 4;
	struct coll **p;

	if (s->n_colls < s->cap_colls)
		return 0;
	rwlock_write(&s->colls_lock);
	p = mem_resize(s->colls, cap, sizeof(*p));
	if (p) {
		s->colls = p;
		s->cap_colls = cap;
	}
	rwlock_write_unlock(&s->colls_lock);
	return p ? 0 : -ENOMEM;
}

static void add_to_list(struct store *s, struct coll *c)
{
	size_t at;

	rwlock_write(&s->colls_lock);
	at = place_locked(s, c->cid);
	memmove(s->colls + at + 1, s->colls + at, (s->n_colls - at) * sizeof(*s->colls));
	s->colls[at] = c;
	s->n_colls++;
	rwlock_write_unlock(&s->colls_lock);
}

static void take_from_list(struct store *s, struct coll *c)
{
	size_t at;

	rwlock_write(&s->colls_lock);
	at = place_locked(s, c->cid);
	s->n_colls--;
	memmove(s->colls + at, s->colls + at + 1, (s->n_colls - at) * sizeof(*s->colls));
	rwlock_write_unlock(&s->colls_lock);
}

void colls_free(struct store *s)
{
	for (size_t i = 0; i < s->n_colls; i++)
		coll_free(s->colls[i]);
	mem_free(s->colls);
	s->colls = NULL;
	s->n_colls = 0;
}

uint32_t coll_dimension(struct store *s, struct coll *c)
{
	uint32_t dim;

	rwlock_read(&s->colls_lock);
	dim = c->now.c.config.dimension;
	rwlock_read_unlock(&s->colls_lock);
	return dim;
}

void coll_publish(struct store *s, struct coll *c)
{
	rwlock_write(&s->colls_lock);
	c->now = c->pending;
	rwlock_write_unlock(&s->colls_lock);
}

void coll_retire_segment(struct coll *c)
{
	rwlock_write(&c->lock);
	if (c->seg) {
		c->seg->older = c->old;
		c->old = c->seg;
		c->seg = NULL;
	}
	rwlock_write_unlock(&c->lock);
}

int coll_segment(struct store *s, struct coll *c, struct segment **ret, struct err *e)
{
	struct coll_state st;
	uint64_t batch, seq;
	int rc = 0;

	rwlock_read(&c->lock);
	*ret = c->seg;
	rwlock_read_unlock(&c->lock);
	if (*ret)
		return 0;
	if (s->read_only)
		return err_set(e, -EROFS, "the store was opened readonly");
	rwlock_read(&s->colls_lock);
	st = c->now;
	rwlock_read_unlock(&s->colls_lock);
	rwlock_write(&c->lock);
	if (!c->seg)
		rc = segment_open(&c->seg, s->dir, c->cid, st.c.gen, st.salt, st.segment_end, false,
		                  &batch, &seq, e);
	*ret = c->seg;
	rwlock_write_unlock(&c->lock);
	return rc;
}

/* ---- the table ---- */

static uint32_t add(uint32_t crc, uint64_t v)
{
	return crc32c(crc, &v, sizeof(v));
}

static uint32_t state_crc(const struct coll_state *st)
{
	const struct store_collection *c = &st->c;
	const struct collection_config *k = &c->config;
	const uint64_t v[] = {
		c->cid,
		c->owner.uid,
		c->owner.gid,
		c->owner.mode,
		c->created_ns,
		k->dimension,
		c->dimension_set,
		(uint64_t)k->metric,
		k->m,
		k->ef_construction,
		k->ef_search,
		k->k,
		(uint64_t)k->durability,
		k->receipts,
		c->next_num,
		c->next_receipt,
		c->gen,
		c->cleared_seq,
		c->total_inserts,
		c->total_deletes,
		st->segment_end,
		st->salt,
	};
	uint32_t crc = crc32c(0, v, sizeof(v));

	crc = crc32c(add(crc, strlen(c->name)), c->name, strlen(c->name));
	return crc32c(add(crc, strlen(k->quantization)), k->quantization, strlen(k->quantization));
}

static int insert_state(struct store *s, const struct coll_state *st, struct err *e)
{
	const struct store_collection *c = &st->c;
	const struct collection_config *k = &c->config;

	return sql_run(&s->w, e,
	               "INSERT INTO collections VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
	               " ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	               "itiiiiiiiiitiiiiiiiiiiiii", I(c->cid), c->name, strlen(c->name),
	               I(c->owner.uid), I(c->owner.gid), I(c->owner.mode), I(c->created_ns),
	               I(k->dimension), I(c->dimension_set), I(k->metric), I(k->m),
	               I(k->ef_construction), k->quantization, strlen(k->quantization),
	               I(k->ef_search), I(k->k), I(k->durability), I(k->receipts), I(c->next_num),
	               I(c->next_receipt), I(c->gen), I(c->cleared_seq), I(c->total_inserts),
	               I(c->total_deletes), I(st->segment_end), I(st->salt), I(state_crc(st)));
}

/* Every commit does this: without the name, which never changes, its index is not written. */
static int update_state(struct store *s, const struct coll_state *st, struct err *e)
{
	const struct store_collection *c = &st->c;
	const struct collection_config *k = &c->config;

	return sql_run(&s->w, e,
	               "UPDATE collections SET uid = ?, gid = ?, mode = ?, created_ns = ?,"
	               " dimension = ?, dimension_set = ?, metric = ?, m = ?, ef_construction = ?,"
	               " quantization = ?, ef_search = ?, k = ?, durability = ?, receipts = ?,"
	               " next_num = ?, next_receipt = ?, gen = ?, cleared_seq = ?,"
	               " total_inserts = ?, total_deletes = ?, segment_end = ?, salt = ?, crc = ?"
	               " WHERE cid = ?",
	               "iiiiiiiiitiiiiiiiiiiiiii", I(c->owner.uid), I(c->owner.gid),
	               I(c->owner.mode), I(c->created_ns), I(k->dimension), I(c->dimension_set),
	               I(k->metric), I(k->m), I(k->ef_construction), k->quantization,
	               strlen(k->quantization), I(k->ef_search), I(k->k), I(k->durability),
	               I(k->receipts), I(c->next_num), I(c->next_receipt), I(c->gen),
	               I(c->cleared_seq), I(c->total_inserts), I(c->total_deletes),
	               I(st->segment_end), I(st->salt), I(state_crc(st)), I(c->cid));
}

int coll_save(struct store *s, const struct coll_state *st, struct err *e)
{
	int rc = update_state(s, st, e);

	return rc < 0 || sqlite3_changes64(s->w.db) ? rc : insert_state(s, st, e);
}

static bool decode_config(sqlite3_stmt *q, struct coll_state *st)
{
	struct store_collection *c = &st->c;
	struct collection_config *k = &c->config;
	uint32_t set, metric, durability;

	if (!sql_u32(q, 6, &k->dimension) || !sql_u32(q, 7, &set) || !sql_u32(q, 8, &metric) ||
	    !sql_u32(q, 9, &k->m) || !sql_u32(q, 10, &k->ef_construction) ||
	    !sql_string(q, 11, k->quantization, sizeof(k->quantization)) ||
	    !sql_u32(q, 12, &k->ef_search) || !sql_u32(q, 13, &k->k) ||
	    !sql_u32(q, 14, &durability) || !sql_u32(q, 15, &k->receipts))
		return false;
	if (k->dimension > LIMIT_DIMENSION || metric > METRIC_IP || durability > DURABILITY_NONE)
		return false;
	c->dimension_set = set != 0;
	k->metric = (enum metric)metric;
	k->durability = (enum durability)durability;
	return true;
}

bool coll_decode(sqlite3_stmt *q, struct coll_state *st)
{
	struct store_collection *c = &st->c;
	uint32_t crc;

	memset(st, 0, sizeof(*st));
	return sql_u32(q, 0, &c->cid) && sql_string(q, 1, c->name, sizeof(c->name)) &&
	       sql_u32(q, 2, &c->owner.uid) && sql_u32(q, 3, &c->owner.gid) &&
	       sql_u32(q, 4, &c->owner.mode) && sql_u64(q, 5, INT64_MAX, &c->created_ns) &&
	       decode_config(q, st) && sql_u64(q, 16, INT64_MAX, &c->next_num) &&
	       sql_u32(q, 17, &c->next_receipt) && sql_u32(q, 18, &c->gen) &&
	       sql_u64(q, 19, STORE_SEQ_MAX, &c->cleared_seq) &&
	       sql_u64(q, 20, INT64_MAX, &c->total_inserts) &&
	       sql_u64(q, 21, INT64_MAX, &c->total_deletes) &&
	       sql_u64(q, 22, INT64_MAX, &st->segment_end) &&
	       sql_u64(q, 23, INT64_MAX, &st->salt) && sql_u32(q, 24, &crc) &&
	       crc == state_crc(st) && c->cid <= STORE_CID_MAX;
}

static int load_one(struct store *s, sqlite3_stmt *q, struct err *e)
{
	struct coll_state st;
	struct coll *c;

	if (!coll_decode(q, &st))
		return err_set(e, -EILSEQ, "the parameters of a collection are damaged");
	c = grow_list(s) == 0 ? coll_new(&st) : NULL;
	if (!c)
		return err_nomem(e);
	add_to_list(s, c);
	return 0;
}

int colls_load(struct store *s, struct err *e)
{
	sqlite3_stmt *q;
	int rc = sql_start(&s->w, &q, e, "SELECT * FROM collections ORDER BY cid", "");

	if (rc < 0)
		return rc;
	while ((rc = sql_step(&s->w, q, e)) > 0) {
		rc = load_one(s, q, e);
		if (rc < 0)
			break;
	}
	sql_done(q);
	return rc;
}

/* ---- the calls ---- */

static bool name_taken(struct store *s, const char *name)
{
	for (size_t i = 0; i < s->n_colls; i++) {
		if (!atomic_load(&s->colls[i]->gone) && strcmp(s->colls[i]->now.c.name, name) == 0)
			return true;
	}
	return false;
}

/*
 * A store's first collection is made when the store is, of which nobody has been told: the first
 * durable commit behind it syncs both. What a power cut leaves without it is a new store once more.
 */
static int create_row(struct store *s, const struct coll_state *st, struct err *e)
	REQUIRES(s->write)
{
	bool first = s->n_colls == 0 && s->now.changes == 0;
	int rc = txn_begin(s, !first, e);

	if (rc < 0)
		return rc;
	rc = coll_save(s, st, e);
	if (rc == 0)
		return txn_commit(s, !first, e);
	txn_rollback(s);
	return store_runtime(rc, e);
}

static int create_locked(struct store *s, const struct coll_state *st, struct err *e)
	REQUIRES(s->write)
{
	struct coll *c;
	int rc;

	if (coll_find(s, st->c.cid) || name_taken(s, st->c.name))
		return err_set(e, -EEXIST, "a collection named %s exists", st->c.name);
	c = grow_list(s) == 0 ? coll_new(st) : NULL;
	if (!c)
		return err_nomem(e);
	rc = create_row(s, st, e);
	if (rc == 0)
		add_to_list(s, c);
	else
		coll_free(c);
	return rc;
}

int store_collection_create(struct store *s, const struct store_collection *c, struct err *e)
{
	struct coll_state st = { .c = *c, .salt = coll_salt() };
	int rc;

	if (!c->cid || c->cid > STORE_CID_MAX || !c->name[0])
		return err_set(e, -EINVAL, "collection number %u, at most %u", c->cid,
		               STORE_CID_MAX);
	st.c.next_num = 1;
	st.c.next_receipt = 1;
	st.c.gen = 1;
	st.c.cleared_seq = st.c.total_inserts = st.c.total_deletes = 0;
	mutex_lock(&s->write);
	rc = create_locked(s, &st, e);
	mutex_unlock(&s->write);
	return rc;
}

/* The dimension of a collection that has vectors is theirs. */
static int update_locked(struct store *s, struct coll *c, const struct store_collection *to,
                         struct err *e) REQUIRES(s->write)
{
	struct store_collection *p = &c->pending.c;
	uint32_t dim = p->config.dimension;
	int64_t one;
	int rc = txn_begin(s, true, e);

	if (rc < 0)
		return rc;
	rc = sql_number(&s->w, &one, e, "SELECT 1 FROM rows WHERE key BETWEEN ? AND ? LIMIT 1",
	                "ii", ROW_KEYS(c->cid, 0));
	c->touched = true;
	p->owner = to->owner;
	p->config = to->config;
	p->dimension_set = to->dimension_set;
	if (rc == 0)
		p->config.dimension = dim;
	if (rc < 0 && rc != -ENOENT) {
		txn_rollback(s);
		return store_runtime(rc, e);
	}
	return txn_commit(s, true, e);
}

int store_collection_update(struct store *s, const struct store_collection *to, struct err *e)
{
	struct coll *c;
	int rc = -ENODEV;

	mutex_lock(&s->write);
	c = coll_live(s, to->cid, e);
	if (c)
		rc = update_locked(s, c, to, e);
	mutex_unlock(&s->write);
	return rc;
}

static int delete_all(struct store *s, uint32_t cid, struct err *e)
{
	int rc = sql_run(&s->w, e, "DELETE FROM rows WHERE key BETWEEN ? AND ?", "ii",
	                 ROW_KEYS(cid, 0));

	if (rc == 0)
		rc = sql_run(&s->w, e, "DELETE FROM gone WHERE cid = ?", "i", I(cid));
	if (rc == 0)
		rc = sql_run(&s->w, e, "DELETE FROM receipts WHERE cid = ?", "i", I(cid));
	if (rc == 0)
		rc = sql_run(&s->w, e, "DELETE FROM batches WHERE cid = ?", "i", I(cid));
	if (rc == 0)
		rc = sql_run(&s->w, e, "DELETE FROM collections WHERE cid = ?", "i", I(cid));
	return rc;
}

static void unlink_files(struct store *s, const struct coll *c)
{
	char path[4096];

	segment_path(s->dir, c->cid, c->now.c.gen, path, sizeof(path));
	unlink(path);
	store_image_path(s, c->cid, path, sizeof(path));
	unlink(path);
	io_sync_dir(s->dir); /* what is left behind by a failure is swept at the next open */
}

static int remove_locked(struct store *s, struct coll *c, struct err *e) REQUIRES(s->write)
{
	int rc = txn_begin(s, true, e);

	if (rc < 0)
		return rc;
	rc = delete_all(s, c->cid, e);
	if (rc < 0) {
		txn_rollback(s);
		return store_runtime(rc, e);
	}
	rc = txn_commit(s, true, e);
	if (rc < 0)
		return rc;
	atomic_store(&c->gone, true);
	FAULT_POINT("collection.removed");
	unlink_files(s, c);
	FAULT_POINT("collection.unlinked");
	coll_retire_segment(c);
	txn_tidy(s);
	return 0;
}

int store_collection_remove(struct store *s, uint32_t cid, struct err *e)
{
	struct coll *c;
	int rc = -ENODEV;

	mutex_lock(&s->write);
	c = coll_live(s, cid, e);
	if (c)
		rc = remove_locked(s, c, e);
	mutex_unlock(&s->write);
	return rc;
}

void store_collection_forget(struct store *s, uint32_t cid)
{
	struct coll *c;

	mutex_lock(&s->write);
	c = coll_find(s, cid);
	if (c && !atomic_load(&c->gone))
		c = NULL;
	if (c)
		take_from_list(s, c);
	mutex_unlock(&s->write);
	if (c)
		coll_free(c);
}

int store_collection_next(struct store *s, uint32_t after, struct store_collection *ret,
                          struct err *e)
{
	int rc = -ENOENT;

	rwlock_read(&s->colls_lock);
	for (size_t i = after == UINT32_MAX ? s->n_colls : place_locked(s, after + 1);
	     i < s->n_colls && rc < 0; i++) {
		if (atomic_load(&s->colls[i]->gone))
			continue;
		*ret = s->colls[i]->now.c;
		rc = 0;
	}
	rwlock_read_unlock(&s->colls_lock);
	return rc < 0 ? err_set(e, rc, "no further collection") : 0;
}
