/*
 * receipts.c: the receipts of ingest/, which the store keeps. They are only passed through,
 * for collections that exist.
 */
#include <errno.h>

#include "engine/engine_impl.h"

static int enter(struct engine *en, uint32_t cid, bool writing, struct collection **ret,
                 struct err *e)
{
	*ret = NULL;
	return writing && en->read_only ? err_read_only(e) : collection_enter(en, cid, ret, e);
}

int engine_receipt_number(struct engine *en, uint32_t cid, uint32_t *ret, struct err *e)
{
	struct collection *c;
	int rc = enter(en, cid, true, &c, e);

	if (rc == 0)
		rc = store_receipt_number(en->store, cid, ret, e);
	collection_leave(c);
	return rc;
}

int engine_receipt_put(struct engine *en, uint32_t cid, const struct receipt *r, struct err *e)
{
	struct collection *c;
	int rc = enter(en, cid, true, &c, e);

	if (rc == 0)
		rc = store_receipt_put(en->store, cid, r, e);
	collection_leave(c);
	return rc;
}

int engine_receipt_by_name(struct engine *en, uint32_t cid, const char *name, struct receipt *ret,
                           struct err *e)
{
	struct collection *c;
	int rc = enter(en, cid, false, &c, e);

	if (rc == 0)
		rc = store_receipt_by_name(en->store, cid, name, ret, e);
	collection_leave(c);
	return rc;
}

int engine_receipt_by_number(struct engine *en, uint32_t cid, uint32_t number, struct receipt *ret,
                             struct err *e)
{
	struct collection *c;
	int rc = enter(en, cid, false, &c, e);

	if (rc == 0)
		rc = store_receipt_by_number(en->store, cid, number, ret, e);
	collection_leave(c);
	return rc;
}

int engine_receipt_next(struct engine *en, uint32_t cid, uint32_t after, struct receipt *ret,
                        struct err *e)
{
	struct collection *c;
	int rc = enter(en, cid, false, &c, e);

	if (rc == 0)
		rc = store_receipt_next(en->store, cid, after, ret, e);
	collection_leave(c);
	return rc;
}

int engine_receipt_remove(struct engine *en, uint32_t cid, uint32_t number, struct err *e)
{
	struct collection *c;
	int rc = enter(en, cid, true, &c, e);

	if (rc == 0)
		rc = store_receipt_remove(en->store, cid, number, e);
	collection_leave(c);
	return rc;
}

int engine_receipt_rename(struct engine *en, uint32_t cid, uint32_t number, const char *name,
                          struct err *e)
{
	struct collection *c;
	int rc = enter(en, cid, true, &c, e);

	if (rc == 0)
		rc = store_receipt_rename(en->store, cid, number, name, e);
	collection_leave(c);
	return rc;
}
