/*
 * table.c: below MAP_BYTES the heap, from there on mappings that the kernel grows without
 * copying.
 */
#include "engine/table.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

#define MAP_BYTES ((size_t)256 << 10)

static void *grow_heap(struct table *t, size_t bytes)
{
	char *p = mem_resize(t->p, bytes, 1);

	if (p)
		memset(p + t->bytes, 0, bytes - t->bytes);
	return p;
}

static void *grow_map(struct table *t, size_t bytes)
{
	void *p;

	if (t->bytes >= MAP_BYTES)
		return mem_map_grow(t->p, t->bytes, bytes);
	p = mem_map_grow(NULL, 0, bytes);
	if (p && t->bytes)
		memcpy(p, t->p, t->bytes);
	if (p)
		mem_free(t->p);
	return p;
}

int table_grow(struct table *t, size_t bytes)
{
	void *p;

	if (bytes <= t->bytes)
		return 0;
	p = bytes < MAP_BYTES ? grow_heap(t, bytes) : grow_map(t, bytes);
	if (!p)
		return -ENOMEM;
	t->p = p;
	t->bytes = bytes;
	return 0;
}

size_t table_resident(const struct table *t)
{
	return t->bytes < MAP_BYTES ? t->bytes : mem_map_anonymous(t->p, t->bytes);
}

void table_release(struct table *t)
{
	if (t->bytes >= MAP_BYTES)
		mem_map_free(t->p, t->bytes);
	else
		mem_free(t->p);
	t->p = NULL;
	t->bytes = 0;
}
