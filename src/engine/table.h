/*
 * table.h: an array that doubles. Small ones live on the heap, large ones are mapped, so that
 * neither a thousand tiny tenants nor one with millions of rows pay for the other. What was
 * never written is zero. Growing may move it.
 */
#ifndef RV_ENGINE_TABLE_H
#define RV_ENGINE_TABLE_H

#include <stddef.h>

struct table {
	void *p; /* NULL while empty */
	size_t bytes;
};

int table_grow(struct table *t, size_t bytes); /* 0 or -ENOMEM (unchanged) */
size_t table_resident(const struct table *t); /* bytes of memory: what was touched */
void table_release(struct table *t);

#endif
