/*
 * idtable.c: entries in one array, strings one after the other in chunks, a hash table by
 * name, a sorted array by number.
 *
 * Numbers are given in growing order, so appending keeps by_num sorted. A removed entry stays
 * in it, without a string, until a good part of it is removed ones; then one pass takes them
 * out and their entries are used again.
 */
#include "engine/idtable.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "vector/rows.h"

#define CHUNK_MIN  ((size_t)512)
#define CHUNK_MAX  ((size_t)64 << 10)
#define CAP_MIN    16u
#define PACK_BYTES ((size_t)1 << 20)

struct id_chunk {
	struct id_chunk *next;
	size_t used;
	size_t cap;
	char data[];
};

void idtable_init(struct idtable *t, uint64_t next_num)
{
	memset(t, 0, sizeof(*t));
	t->free = ID_NONE;
	t->next_num = next_num ? next_num : 1;
}

static void chunks_free(struct id_chunk *c)
{
	while (c) {
		struct id_chunk *next = c->next;

		mem_free(c);
		c = next;
	}
}

void idtable_release(struct idtable *t)
{
	table_release(&t->entries);
	mem_free(t->by_num);
	map_release(&t->names);
	chunks_free(t->chunks);
	mem_free(t->promises);
	idtable_init(t, t->next_num);
}

/* ---- strings ---- */

static char *chunk_take(struct id_chunk **chunks, size_t len)
{
	struct id_chunk *c = *chunks;
	char *p;

	if (!c || c->cap - c->used < len) {
		size_t cap = !c ? CHUNK_MIN : c->cap * 2 < CHUNK_MAX ? c->cap * 2 : CHUNK_MAX;

		c = mem_alloc(1, sizeof(*c) + cap);
		if (!c)
			return NULL;
		*c = (struct id_chunk){ .next = *chunks, .cap = cap };
		*chunks = c;
	}
	p = c->data + c->used;
	c->used += len;
	return p;
}

bool idtable_wants_packing(const struct idtable *t)
{
	return t->garbage_bytes > PACK_BYTES && t->garbage_bytes > t->string_bytes / 2;
}

void idtable_pack(struct idtable *t)
{
	struct id_chunk *chunks = NULL;
	const char **moved = mem_alloc(t->n, sizeof(*moved));
	uint32_t i;

	for (i = 0; moved && i < t->n; i++) {
		struct id_entry *en = idtable_at(t, i);
		char *p;

		if (!en->id)
			continue;
		p = chunk_take(&chunks, en->len);
		if (!p)
			break;
		moved[i] = memcpy(p, en->id, en->len);
	}
	if (!moved || i < t->n) {
		chunks_free(chunks);
		mem_free(moved);
		return;
	}
	for (i = 0; i < t->n; i++)
		if (idtable_at(t, i)->id)
			idtable_at(t, i)->id = moved[i];
	mem_free(moved);
	chunks_free(t->chunks);
	t->chunks = chunks;
	t->string_bytes -= t->garbage_bytes;
	t->garbage_bytes = 0;
}

/* ---- finding ---- */

struct key {
	const struct idtable *t;
	const char *id;
	size_t len;
};

static bool entry_is(const void *ctx, uint64_t value)
{
	const struct key *k = ctx;
	const struct id_entry *en = idtable_at(k->t, (uint32_t)value);

	return en->len == k->len && memcmp(en->id, k->id, k->len) == 0;
}

static bool find_hashed(const struct idtable *t, const char *id, size_t len, uint64_t hash,
                        uint32_t *ret)
{
	struct key k = { .t = t, .id = id, .len = len };
	uint64_t v;

	if (!map_find(&t->names, hash, entry_is, &k, &v))
		return false;
	*ret = (uint32_t)v;
	return true;
}

bool idtable_find(const struct idtable *t, const char *id, size_t len, uint32_t *ret)
{
	return find_hashed(t, id, len, idtable_hash(id, len), ret);
}

bool idtable_first_after(const struct idtable *t, uint64_t after, uint32_t *ret_pos)
{
	uint32_t lo = 0, hi = t->n_by_num;

	assert(!t->unsorted);
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (idtable_at(t, t->by_num[mid])->num > after)
			hi = mid;
		else
			lo = mid + 1;
	}
	*ret_pos = lo;
	return lo < t->n_by_num;
}

bool idtable_next(const struct idtable *t, uint32_t *pos, uint32_t *ret_entry)
{
	while (*pos < t->n_by_num) {
		uint32_t entry = t->by_num[(*pos)++];

		if (idtable_at(t, entry)->id) {
			*ret_entry = entry;
			return true;
		}
	}
	return false;
}

bool idtable_find_num(const struct idtable *t, uint64_t num, uint32_t *ret)
{
	uint32_t pos;
	const struct id_entry *en;

	if (num == 0 || !idtable_first_after(t, num - 1, &pos))
		return false;
	en = idtable_at(t, t->by_num[pos]);
	if (en->num != num || !en->id)
		return false;
	*ret = t->by_num[pos];
	return true;
}

/* ---- adding ---- */

bool idtable_full(const struct idtable *t)
{
	return t->free == ID_NONE && t->n == t->cap;
}

int idtable_grow(struct idtable *t, uint32_t n_more)
{
	uint64_t cap = t->cap ? t->cap : CAP_MIN;

	while (cap < (uint64_t)t->n + n_more)
		cap *= 2;
	if (cap >= ID_NONE)
		return -ENOMEM;
	if (table_grow(&t->entries, cap * sizeof(struct id_entry)) < 0)
		return -ENOMEM;
	t->cap = (uint32_t)cap;
	return 0;
}

static int by_num_reserve(struct idtable *t, uint32_t n_more)
{
	uint32_t cap = t->cap_by_num ? t->cap_by_num : CAP_MIN;
	uint32_t *p;

	if (n_more <= t->cap_by_num - t->n_by_num)
		return 0;
	while (cap - t->n_by_num < n_more)
		cap *= 2;
	p = mem_resize(t->by_num, cap, sizeof(*p));
	if (!p)
		return -ENOMEM;
	t->by_num = p;
	t->cap_by_num = cap;
	return 0;
}

static uint32_t entry_take(struct idtable *t)
{
	uint32_t entry = t->free;

	if (entry == ID_NONE)
		return t->n++;
	t->free = idtable_at(t, entry)->slot;
	return entry;
}

static void by_num_append(struct idtable *t, uint32_t entry, uint64_t num)
{
	if (t->n_by_num && idtable_at(t, t->by_num[t->n_by_num - 1])->num >= num)
		t->unsorted = true;
	t->by_num[t->n_by_num++] = entry;
}

static void entry_give(struct idtable *t, uint32_t entry)
{
	idtable_at(t, entry)->slot = t->free;
	t->free = entry;
}

static int add_hashed(struct idtable *t, const char *id, size_t len, uint64_t hash, uint64_t num,
                      uint32_t *ret)
{
	uint32_t entry;
	char *p;

	assert(!idtable_full(t) && len <= UINT8_MAX);
	if (by_num_reserve(t, 1) < 0)
		return -ENOMEM;
	p = chunk_take(&t->chunks, len);
	if (!p)
		return -ENOMEM;
	memcpy(p, id, len);
	t->string_bytes += len;
	entry = entry_take(t);
	if (map_add(&t->names, hash, entry) < 0) {
		entry_give(t, entry);
		t->garbage_bytes += len;
		return -ENOMEM;
	}
	if (num == 0)
		num = t->next_num;
	if (num >= t->next_num)
		t->next_num = num + 1;
	by_num_append(t, entry, num);
	*idtable_at(t, entry) =
		(struct id_entry){ .num = num, .id = p, .slot = ROW_NONE, .len = (uint8_t)len };
	*ret = entry;
	return 0;
}

int idtable_add(struct idtable *t, const char *id, size_t len, uint64_t num, uint32_t *ret)
{
	return add_hashed(t, id, len, idtable_hash(id, len), num, ret);
}

int idtable_reserve(struct idtable *t, uint32_t n)
{
	if (n > ID_NONE / 2 - t->n || map_reserve(&t->names, n) < 0 || by_num_reserve(t, n) < 0)
		return -ENOMEM;
	return n > t->cap - t->n ? idtable_grow(t, n) : 0;
}

uint64_t idtable_hash(const char *id, size_t len)
{
	return map_hash_bytes(id, len);
}

void idtable_prefetch(const struct idtable *t, uint64_t hash)
{
	map_prefetch(&t->names, hash);
}

int idtable_add_hashed(struct idtable *t, const char *id, size_t len, uint64_t hash, uint64_t num,
                       uint32_t *ret)
{
	return find_hashed(t, id, len, hash, ret) ? -EEXIST
	                                          : add_hashed(t, id, len, hash, num, ret);
}

/* ---- removing ---- */

static void by_num_pack(struct idtable *t)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < t->n_by_num; i++) {
		uint32_t entry = t->by_num[i];

		if (idtable_at(t, entry)->id)
			t->by_num[kept++] = entry;
		else
			entry_give(t, entry);
	}
	t->n_by_num = kept;
	t->n_removed = 0;
}

static int compare_nums(const void *a, const void *b, void *ctx)
{
	const struct idtable *t = ctx;
	uint64_t x = idtable_at(t, *(const uint32_t *)a)->num;
	uint64_t y = idtable_at(t, *(const uint32_t *)b)->num;

	return (x > y) - (x < y);
}

void idtable_sort(struct idtable *t)
{
	if (!t->unsorted)
		return;
	/* An entry that was removed may have the number of one that came since. */
	by_num_pack(t);
	qsort_r(t->by_num, t->n_by_num, sizeof(*t->by_num), compare_nums, t);
	t->unsorted = false;
}

void idtable_drop(struct idtable *t, uint32_t entry)
{
	struct id_entry *en = idtable_at(t, entry);
	struct key k = { .t = t, .id = en->id, .len = en->len };

	if (en->slot != ROW_NONE || en->refs > 0)
		return;
	map_remove(&t->names, idtable_hash(en->id, en->len), entry_is, &k);
	t->garbage_bytes += en->len;
	en->id = NULL;
	if (++t->n_removed > 64 && t->n_removed > t->n_by_num / 2)
		by_num_pack(t);
}

void idtable_ref(struct idtable *t, uint32_t entry)
{
	idtable_at(t, entry)->refs++;
}

void idtable_unref(struct idtable *t, uint32_t entry)
{
	struct id_entry *en = idtable_at(t, entry);

	assert(en->refs > 0);
	en->refs--;
	idtable_drop(t, entry);
}

/* ---- promises ---- */

static void break_oldest(struct idtable *t)
{
	uint32_t entry = t->promises[t->promise_at];

	idtable_at(t, entry)->promised = false;
	idtable_unref(t, entry);
	t->promise_at = (t->promise_at + 1) % IDTABLE_PROMISES;
	t->n_promises--;
}

int idtable_promise(struct idtable *t, uint32_t entry)
{
	if (idtable_at(t, entry)->promised) {
		idtable_unref(t, entry);
		return 0;
	}
	if (!t->promises)
		t->promises = mem_alloc(IDTABLE_PROMISES, sizeof(*t->promises));
	if (!t->promises)
		return -ENOMEM;
	if (t->n_promises == IDTABLE_PROMISES)
		break_oldest(t);
	t->promises[(t->promise_at + t->n_promises++) % IDTABLE_PROMISES] = entry;
	idtable_at(t, entry)->promised = true;
	return 0;
}

size_t idtable_bytes(const struct idtable *t)
{
	size_t bytes = table_resident(&t->entries) + (size_t)t->cap_by_num * sizeof(*t->by_num) +
	               t->names.cap * 2 * sizeof(uint64_t);

	for (const struct id_chunk *c = t->chunks; c; c = c->next)
		bytes += sizeof(*c) + c->cap;
	return bytes;
}
