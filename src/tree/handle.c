/*
 * handle.c: open files by index, and what is known of the nodes they are open on.
 *
 * Handles live in chunks that never move, so that a look-up takes no lock: the kernel sends a
 * handle's release only after its last other request. Free ones are chained by index. Open
 * nodes are kept in a small hash of chains.
 *
 * Locks: handles.lock and snapshots.lock are innermost.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "tree/handle.h"

#define CHUNK    256u
#define N_CHUNKS (LIMIT_HANDLES / CHUNK)
#define NONE     UINT32_MAX

struct slot {
	struct handle handle;
	atomic_bool open;
	uint32_t next_free; /* handles.lock */
};

struct handles {
	struct mutex lock;
	_Atomic(struct slot *) chunks[N_CHUNKS]; /* set once, under lock */
	uint32_t n;                              /* slots made so far; lock */
	uint32_t first_free;                     /* lock */
};

int handles_new(struct handles **ret, struct err *e)
{
	struct handles *hs = mem_zalloc(1, sizeof(*hs));

	if (!hs)
		return err_nomem(e);
	mutex_init(&hs->lock);
	hs->first_free = NONE;
	*ret = hs;
	return 0;
}

void handles_free(struct handles *hs)
{
	if (!hs)
		return;
	for (unsigned i = 0; i < N_CHUNKS; i++)
		mem_free(hs->chunks[i]);
	mutex_destroy(&hs->lock);
	mem_free(hs);
}

static struct slot *slot_at(struct handles *hs, uint64_t index)
{
	struct slot *chunk;

	if (index >= LIMIT_HANDLES)
		return NULL;
	chunk = atomic_load_explicit(&hs->chunks[index / CHUNK], memory_order_acquire);
	return chunk ? &chunk[index % CHUNK] : NULL;
}

static int slot_take_locked(struct handles *hs, uint32_t *ret, struct err *e) REQUIRES(hs->lock)
{
	struct slot *chunk;

	if (hs->first_free != NONE) {
		*ret = hs->first_free;
		hs->first_free = slot_at(hs, *ret)->next_free;
		return 0;
	}
	if (hs->n == LIMIT_HANDLES)
		return err_set(e, -EMFILE, "%u files of this mount are open, the limit",
		               LIMIT_HANDLES);
	if (hs->n % CHUNK == 0) {
		chunk = mem_zalloc(CHUNK, sizeof(*chunk));
		if (!chunk)
			return err_nomem(e);
		atomic_store_explicit(&hs->chunks[hs->n / CHUNK], chunk, memory_order_release);
	}
	*ret = hs->n++;
	return 0;
}

int handles_open(struct handles *hs, uint64_t *ret_index, struct handle **ret, struct err *e)
{
	struct slot *s;
	uint32_t index = 0;
	int rc;

	mutex_lock(&hs->lock);
	rc = slot_take_locked(hs, &index, e);
	mutex_unlock(&hs->lock);
	if (rc < 0)
		return rc;
	s = slot_at(hs, index);
	memset(&s->handle, 0, sizeof(s->handle));
	mutex_init(&s->handle.lock);
	atomic_store_explicit(&s->open, true, memory_order_release);
	*ret_index = index;
	*ret = &s->handle;
	return 0;
}

struct handle *handles_get(struct handles *hs, uint64_t index)
{
	struct slot *s = slot_at(hs, index);

	return s && atomic_load_explicit(&s->open, memory_order_acquire) ? &s->handle : NULL;
}

void handles_close(struct handles *hs, uint64_t index)
{
	struct slot *s = slot_at(hs, index);

	buf_release(&s->handle.snapshot);
	mutex_destroy(&s->handle.lock);
	mutex_lock(&hs->lock);
	atomic_store_explicit(&s->open, false, memory_order_release);
	s->next_free = hs->first_free;
	hs->first_free = (uint32_t)index;
	mutex_unlock(&hs->lock);
}

struct handle *handles_next(struct handles *hs, uint64_t *pos)
{
	while (*pos < LIMIT_HANDLES) {
		struct handle *h = handles_get(hs, (*pos)++);

		if (h)
			return h;
	}
	return NULL;
}

/* ---- nodes that are open ---- */

#define N_CHAINS 1024u

struct open_node {
	struct open_node *next;
	uint64_t node;
	uint64_t size;
	unsigned n_open;
};

struct told {
	uint64_t node;
	uint64_t size;
};

struct snapshots {
	struct mutex lock;
	struct open_node *chains[N_CHAINS]; /* lock */
	struct told told[N_CHAINS]; /* lock; by the same hash, a newer node takes the place */
};

int snapshots_new(struct snapshots **ret, struct err *e)
{
	struct snapshots *s = mem_zalloc(1, sizeof(*s));

	if (!s)
		return err_nomem(e);
	mutex_init(&s->lock);
	*ret = s;
	return 0;
}

void snapshots_free(struct snapshots *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < N_CHAINS; i++) {
		while (s->chains[i]) {
			struct open_node *o = s->chains[i];

			s->chains[i] = o->next;
			mem_free(o);
		}
	}
	mutex_destroy(&s->lock);
	mem_free(s);
}

static struct open_node **find_locked(struct snapshots *s, uint64_t node) REQUIRES(s->lock)
{
	struct open_node **at = &s->chains[map_hash_u64(node) % N_CHAINS];

	while (*at && (*at)->node != node)
		at = &(*at)->next;
	return at;
}

/* Without memory the node is just not known to be open: stat then renders. */
void snapshots_opened(struct snapshots *s, uint64_t node, uint64_t size)
{
	struct open_node **at;

	mutex_lock(&s->lock);
	at = find_locked(s, node);
	if (!*at) {
		*at = mem_zalloc(1, sizeof(**at));
		if (*at)
			(*at)->node = node;
	}
	if (*at) {
		(*at)->n_open++;
		(*at)->size = size;
	}
	mutex_unlock(&s->lock);
}

void snapshots_closed(struct snapshots *s, uint64_t node)
{
	struct open_node **at, *o;

	mutex_lock(&s->lock);
	at = find_locked(s, node);
	o = *at;
	if (o && --o->n_open == 0) {
		*at = o->next;
		mem_free(o);
	}
	mutex_unlock(&s->lock);
}

bool snapshots_size(struct snapshots *s, uint64_t node, uint64_t *ret)
{
	struct open_node *o;

	mutex_lock(&s->lock);
	o = *find_locked(s, node);
	if (o)
		*ret = o->size;
	mutex_unlock(&s->lock);
	return o != NULL;
}

void snapshots_told(struct snapshots *s, uint64_t node, uint64_t size)
{
	mutex_lock(&s->lock);
	s->told[map_hash_u64(node) % N_CHAINS] = (struct told){ node, size };
	mutex_unlock(&s->lock);
}

bool snapshots_was_told(struct snapshots *s, uint64_t node, uint64_t *ret)
{
	const struct told *told = &s->told[map_hash_u64(node) % N_CHAINS];
	bool known;

	mutex_lock(&s->lock);
	known = told->node == node;
	*ret = told->size;
	mutex_unlock(&s->lock);
	return known;
}
