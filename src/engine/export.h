/*
 * export.h: a collection as one file, in the order of insertion: what export.jsonl, export.fvecs and
 * export.npy give.
 *
 * The bytes are those of the moment of the opening, however long the reading takes; the size is
 * known then. Any offset can be read; going forward is quickest. Bounded memory, whatever the
 * size. One thread at a time. The engine must stay open meanwhile.
 */
#ifndef RV_ENGINE_EXPORT_H
#define RV_ENGINE_EXPORT_H

#include "engine/engine.h"

enum export_format { EXPORT_JSONL, EXPORT_FVECS, EXPORT_NPY };

#define EXPORTS_MAX 16 /* open ones of an engine */

struct export;

/* -EMFILE above EXPORTS_MAX. */
int engine_export_open(struct engine *en, uint32_t cid, enum export_format f, struct export **ret,
                       struct err *e);
void engine_export_close(struct export *x); /* NULL allowed */

uint64_t engine_export_size(const struct export *x);
uint64_t engine_export_vectors(const struct export *x);
uint64_t engine_export_seq(const struct export *x); /* of the store's last commit in it */

/* Appends at most n bytes from off. -EIO: a row is damaged. */
int engine_export_read(struct export *x, uint64_t off, size_t n, struct buf *ret, struct err *e);

/* The size that an export of this moment has. */
int engine_export_stat(struct engine *en, uint32_t cid, enum export_format f, uint64_t *ret_size,
                       struct err *e);

#endif
