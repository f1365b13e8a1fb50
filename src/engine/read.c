/*
 * read.c: IDs, numbers, single vectors, listing, receipts.
 *
 * Names, numbers and sizes come from memory, contents from the store, where their checksums
 * are looked at. Listing goes page by page, so that no lock is held while names are handed
 * out.
 *
 * Lock order: commit_gate, (store); lock, mu.
 */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "engine/engine_impl.h"

#define LIST_PAGE 64

static int err_no_vector(struct err *e)
{
	return err_set(e, -ENOENT, "no such vector");
}

/* ---- IDs and numbers ---- */

int engine_lookup(struct engine *en, uint32_t cid, const char *id, size_t len, uint64_t *ret_num)
{
	struct collection *c;
	uint32_t entry;
	int rc = collection_enter(en, cid, &c, NULL);

	if (rc < 0)
		return rc;
	rc = -ENOENT;
	mutex_lock(&c->mu);
	if (idtable_find(&c->ids, id, len, &entry) &&
	    idtable_at(&c->ids, entry)->slot != ROW_NONE) {
		*ret_num = idtable_at(&c->ids, entry)->num;
		rc = 0;
	}
	mutex_unlock(&c->mu);
	collection_leave(c);
	return rc;
}

/* The reference that interning took is the promise's from here on. */
static int promise(struct collection *c, uint32_t entry, struct err *e)
{
	int rc;

	mutex_lock(&c->mu);
	rc = idtable_promise(&c->ids, entry);
	if (rc < 0)
		idtable_unref(&c->ids, entry);
	mutex_unlock(&c->mu);
	return rc < 0 ? err_nomem(e) : 0;
}

int engine_number(struct engine *en, uint32_t cid, const char *id, size_t len, uint64_t *ret_num,
                  struct err *e)
{
	struct collection *c;
	uint32_t entry;
	int rc;

	if (len == 0 || len > LIMIT_ID)
		return err_set(e, -EINVAL, "an ID of %zu bytes, the limit is 1 to %d", len,
		               LIMIT_ID);
	rc = collection_enter(en, cid, &c, e);
	if (rc < 0)
		return rc;
	rc = collection_intern(c, id, len, &entry, ret_num, e);
	if (rc == 0)
		rc = promise(c, entry, e);
	collection_leave(c);
	return rc;
}

/* ---- one vector ---- */

static void vector_describe(const struct collection *c, uint32_t entry, struct vector_info *ret)
	REQUIRES_SHARED(c->lock) REQUIRES(c->mu)
{
	const struct id_entry *en = idtable_at(&c->ids, entry);

	ret->num = en->num;
	memcpy(ret->id, en->id, en->len);
	ret->id[en->len] = '\0';
	ret->id_len = en->len;
	ret->json_bytes = en->slot == ROW_NONE ? 0 : c->info[en->slot].json_bytes;
}

static bool entry_visible(const struct collection *c, uint32_t entry)
{
	return idtable_at(&c->ids, entry)->slot != ROW_NONE;
}

/* visible: only an ID that has a version. */
static int describe_num(struct engine *en, uint32_t cid, uint64_t num, bool visible,
                        struct vector_info *ret, struct err *e)
{
	struct collection *c;
	uint32_t entry;
	bool there;
	int rc = collection_enter(en, cid, &c, e);

	if (rc < 0)
		return rc;
	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	there = idtable_find_num(&c->ids, num, &entry) && (!visible || entry_visible(c, entry));
	if (there)
		vector_describe(c, entry, ret);
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
	collection_leave(c);
	return there ? 0 : err_no_vector(e);
}

int engine_stat_vector(struct engine *en, uint32_t cid, uint64_t num, struct vector_info *ret,
                       struct err *e)
{
	return describe_num(en, cid, num, true, ret, e);
}

int engine_number_id(struct engine *en, uint32_t cid, uint64_t num, struct vector_info *ret,
                     struct err *e)
{
	return describe_num(en, cid, num, false, ret, e);
}

/* One row from the store, checked. */
static int get_row(struct collection *c, uint64_t num, struct store_row *ret, struct buf *bytes,
                   size_t *ret_dim, struct err *e)
{
	uint32_t entry;
	bool there;
	int rc;

	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	there = idtable_find_num(&c->ids, num, &entry) && entry_visible(c, entry);
	*ret_dim = c->rows.dim;
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
	if (!there)
		return err_no_vector(e);
	rc = store_get(c->engine->store, c->cid, (uint32_t)*ret_dim, num, ret, bytes, e);
	return rc == -ENOENT ? err_no_vector(e) : rc;
}

int engine_get_json(struct engine *en, uint32_t cid, uint64_t num, struct buf *ret, struct err *e)
{
	BUF_AUTO struct buf bytes = BUF_INIT;
	struct answer_hit h = { 0 };
	struct store_row row;
	struct collection *c;
	int rc = collection_enter(en, cid, &c, e);

	if (rc < 0)
		return rc;
	rc = get_row(c, num, &row, &bytes, &h.dim, e);
	collection_leave(c);
	if (rc < 0)
		return rc;
	h.id = row.id;
	h.id_len = row.id_len;
	h.v = row.v;
	h.metadata = row.metadata;
	h.metadata_len = row.metadata_len;
	h.text = row.text;
	h.text_len = row.text_len;
	answer_vector_json(ret, &h);
	return buf_failed(ret) ? err_nomem(e) : 0;
}

int engine_get_metadata(struct engine *en, uint32_t cid, uint64_t num, struct buf *ret,
                        struct err *e)
{
	BUF_AUTO struct buf bytes = BUF_INIT;
	struct store_row row;
	struct collection *c;
	size_t dim;
	int rc = collection_enter(en, cid, &c, e);

	if (rc < 0)
		return rc;
	rc = get_row(c, num, &row, &bytes, &dim, e);
	collection_leave(c);
	if (rc < 0)
		return rc;
	if (row.metadata)
		buf_add(ret, row.metadata, row.metadata_len);
	return buf_failed(ret) ? err_nomem(e) : 0;
}

/* ---- metadata ---- */

/* As a batch of one; committing is left to the caller, who holds the gate. */
static int batch_like_row(struct engine *en, uint32_t cid, const struct store_row *row, size_t dim,
                          struct batch **ret, struct err *e)
{
	struct record r = {
		.id = row->id,
		.id_len = row->id_len,
		.v = row->v,
		.dim = dim,
		.metadata = row->metadata,
		.metadata_len = row->metadata_len,
		.text = row->text,
		.text_len = row->text_len,
	};
	int rc = engine_batch_begin(en, cid, ret, e);

	if (rc < 0)
		return rc;
	rc = engine_batch_add(*ret, &r, NULL, e);
	if (rc < 0)
		engine_batch_abort(*ret);
	return rc;
}

static int replace_metadata(struct collection *c, uint64_t num, const char *json, size_t n,
                            struct err *e) REQUIRES(c->commit_gate)
{
	BUF_AUTO struct buf bytes = BUF_INIT;
	struct store_row row;
	struct batch *b;
	size_t dim;
	int rc = get_row(c, num, &row, &bytes, &dim, e);

	if (rc < 0)
		return rc;
	row.metadata = json;
	row.metadata_len = json ? n : 0;
	rc = batch_like_row(c->engine, c->cid, &row, dim, &b, e);
	return rc < 0 ? rc : batch_commit_gated(c, b, e);
}

int engine_set_metadata(struct engine *en, uint32_t cid, uint64_t num, const char *json, size_t n,
                        struct err *e)
{
	struct collection *c;
	int rc;

	if (en->read_only)
		return err_read_only(e);
	if (n > LIMIT_METADATA)
		return err_set(e, -E2BIG, "metadata of %zu bytes, the limit is %u", n,
		               LIMIT_METADATA);
	rc = collection_enter(en, cid, &c, e);
	if (rc < 0)
		return rc;
	/* no commit between reading the vector and writing it back */
	rwlock_write(&c->commit_gate);
	rc = replace_metadata(c, num, json, n, e);
	rwlock_write_unlock(&c->commit_gate);
	collection_leave(c);
	return rc;
}

/* ---- names ---- */

static bool has_version(struct collection *c, const char *id, size_t len)
{
	uint32_t entry;
	bool there;

	mutex_lock(&c->mu);
	there = idtable_find(&c->ids, id, len, &entry) && entry_visible(c, entry);
	mutex_unlock(&c->mu);
	return there;
}

/* The entry of an ID that has a version, with a reference. */
static int ref_version(struct collection *c, const char *id, size_t len, struct batch *b,
                       struct err *e)
{
	uint32_t entry;
	bool there;

	mutex_lock(&c->mu);
	there = idtable_find(&c->ids, id, len, &entry) && entry_visible(c, entry);
	if (there) {
		idtable_ref(&c->ids, entry);
		b->old_entry = entry;
		b->old_num = idtable_at(&c->ids, entry)->num;
	}
	mutex_unlock(&c->mu);
	return there ? 0 : err_no_vector(e);
}

static int rename_row(struct collection *c, const struct engine_rename *r, const struct batch *old,
                      struct err *e) REQUIRES(c->commit_gate)
{
	BUF_AUTO struct buf bytes = BUF_INIT;
	struct store_row row;
	struct batch *b;
	size_t dim;
	int rc = get_row(c, old->old_num, &row, &bytes, &dim, e);

	if (rc < 0)
		return rc;
	row.id = r->to;
	row.id_len = r->to_len;
	rc = batch_like_row(c->engine, c->cid, &row, dim, &b, e);
	if (rc < 0)
		return rc;
	b->renames = true;
	b->old_entry = old->old_entry;
	b->old_num = old->old_num;
	return batch_commit_gated(c, b, e);
}

/* The source is looked for first: a call that is made again, and was done, is -ENOENT. */
static int rename_gated(struct collection *c, const struct engine_rename *r, struct err *e)
	REQUIRES(c->commit_gate)
{
	struct batch old = { 0 };
	int rc = ref_version(c, r->from, r->from_len, &old, e);

	if (rc < 0)
		return rc;
	if (r->no_replace && has_version(c, r->to, r->to_len))
		rc = err_set(e, -EEXIST, "there is a vector of that ID");
	else
		rc = rename_row(c, r, &old, e);
	mutex_lock(&c->mu);
	idtable_unref(&c->ids, old.old_entry);
	mutex_unlock(&c->mu);
	return rc;
}

int engine_rename(struct engine *en, uint32_t cid, const struct engine_rename *r, struct err *e)
{
	struct collection *c;
	int rc;

	if (en->read_only)
		return err_read_only(e);
	rc = collection_enter(en, cid, &c, e);
	if (rc < 0)
		return rc;
	/* no commit between reading the vector and writing it under its new ID */
	rwlock_write(&c->commit_gate);
	rc = rename_gated(c, r, e);
	rwlock_write_unlock(&c->commit_gate);
	collection_leave(c);
	return rc;
}

/* ---- listing ---- */

static size_t list_page(struct collection *c, uint64_t after, struct vector_info *page, size_t max)
{
	uint32_t pos, entry;
	size_t n = 0;

	rwlock_read(&c->lock);
	mutex_lock(&c->mu);
	if (!c->removed && idtable_first_after(&c->ids, after, &pos))
		while (n < max && idtable_next(&c->ids, &pos, &entry))
			if (entry_visible(c, entry))
				vector_describe(c, entry, &page[n++]);
	mutex_unlock(&c->mu);
	rwlock_read_unlock(&c->lock);
	return n;
}

static int list_all(struct collection *c, uint64_t after, size_t max,
                    int (*cb)(void *ctx, const struct vector_info *v), void *ctx, struct err *e)
{
	MEM_AUTO struct vector_info *page = mem_alloc(LIST_PAGE, sizeof(*page));
	size_t n;
	int rc;

	if (!page)
		return err_nomem(e);
	while (max > 0) {
		n = list_page(c, after, page, max < LIST_PAGE ? max : LIST_PAGE);
		for (size_t i = 0; i < n; i++) {
			rc = cb(ctx, &page[i]);
			if (rc != 0)
				return rc;
		}
		if (n == 0)
			return 0;
		after = page[n - 1].num;
		max -= n;
	}
	return 0;
}

int engine_list(struct engine *en, uint32_t cid, uint64_t after, size_t max,
                int (*cb)(void *ctx, const struct vector_info *v), void *ctx, struct err *e)
{
	struct collection *c;
	int rc = collection_enter(en, cid, &c, e);

	if (rc < 0)
		return rc;
	rc = list_all(c, after, max, cb, ctx, e);
	collection_leave(c);
	return rc;
}
