/*
 * handle.c: open files by number, and what is known of the nodes they are open on.
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
	const void *owner; /* handles.lock; the tenant it counts for, only compared; NULL: nobody */
};

struct handles {
	struct kept *kept; /* const */
	struct mutex lock;
	_Atomic(struct slot *) chunks[N_CHUNKS]; /* set once, under lock */
	uint32_t n;                              /* slots made so far; lock */
	uint32_t first_free;                     /* lock */
	uint32_t n_open;                         /* lock */
};

static uint64_t number_of(const struct handle *h)
{
	uint64_t n = atomic_load_explicit(&h->kept->generation, memory_order_relaxed);

	return n << 32 | h->index;
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

/* Looked at one by one, but only when the table is half full. */
static uint32_t n_of_locked(struct handles *hs, const void *owner) REQUIRES(hs->lock)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < hs->n; i++)
		n += slot_at(hs, i)->owner == owner;
	return n;
}

static int refuse_greedy_locked(struct handles *hs, const void *owner, struct err *e)
	REQUIRES(hs->lock)
{
	if (!owner || hs->n_open < LIMIT_HANDLES / 2 || n_of_locked(hs, owner) < LIMIT_HANDLES / 4)
		return 0;
	return err_set(e, -EMFILE, "the tenant has %u open files, a quarter of what the mount has",
	               LIMIT_HANDLES / 4);
}

static int slot_take_locked(struct handles *hs, uint32_t *ret, struct err *e) REQUIRES(hs->lock)
{
	struct slot *chunk;

	hs->n_open++;
	if (hs->first_free != NONE) {
		*ret = hs->first_free;
		hs->first_free = slot_at(hs, *ret)->next_free;
		return 0;
	}
	if (hs->n == LIMIT_HANDLES) {
		hs->n_open--;
		return err_set(e, -EMFILE, "%u files of this mount are open, the limit",
		               LIMIT_HANDLES);
	}
	if (hs->n % CHUNK == 0) {
		chunk = mem_zalloc(CHUNK, sizeof(*chunk));
		if (!chunk) {
			hs->n_open--;
			return err_nomem(e);
		}
		atomic_store_explicit(&hs->chunks[hs->n / CHUNK], chunk, memory_order_release);
	}
	*ret = hs->n++;
	return 0;
}

static struct handle *slot_open(struct handles *hs, uint32_t index, struct kept_file *kept)
{
	struct slot *s = slot_at(hs, index);

	memset(&s->handle, 0, sizeof(s->handle));
	mutex_init(&s->handle.lock);
	s->handle.index = index;
	s->handle.kept = kept;
	atomic_store_explicit(&s->open, true, memory_order_release);
	return &s->handle;
}

int handles_open(struct handles *hs, const struct inside *in, uint64_t *ret_number,
                 struct handle **ret, struct err *e)
{
	const void *owner = in ? in->tenant : NULL;
	uint32_t index = 0;
	int rc;

	mutex_lock(&hs->lock);
	rc = refuse_greedy_locked(hs, owner, e);
	if (rc == 0)
		rc = slot_take_locked(hs, &index, e);
	if (rc == 0)
		slot_at(hs, index)->owner = owner;
	mutex_unlock(&hs->lock);
	if (rc < 0)
		return rc;
	*ret = slot_open(hs, index, kept_take(hs->kept, index));
	*ret_number = number_of(*ret);
	return 0;
}

void handles_keep(struct handle *h, uint64_t opened_by)
{
	h->kept->node = node_encode(h->node);
	h->kept->flags = h->flags;
	h->kept->opened_by = opened_by & ~CALLER_AGAIN;
	atomic_store(&h->kept->open, 1);
}

struct handle *handles_get(struct handles *hs, uint64_t number)
{
	struct slot *s = slot_at(hs, (uint32_t)number);

	if (!s || !atomic_load_explicit(&s->open, memory_order_acquire))
		return NULL;
	return number_of(&s->handle) == number ? &s->handle : NULL;
}

static void free_place_locked(struct handles *hs, uint32_t index) REQUIRES(hs->lock)
{
	slot_at(hs, index)->next_free = hs->first_free;
	slot_at(hs, index)->owner = NULL;
	hs->first_free = index;
	hs->n_open--;
}

void handles_close(struct handles *hs, uint64_t number)
{
	kept_drop(hs->kept, (uint32_t)number);
	handles_leave(hs, number);
}

void handles_leave(struct handles *hs, uint64_t number)
{
	uint32_t index = (uint32_t)number;
	struct slot *s = slot_at(hs, index);

	buf_release(&s->handle.snapshot);
	mutex_destroy(&s->handle.lock);
	mutex_lock(&hs->lock);
	atomic_store_explicit(&s->open, false, memory_order_release);
	free_place_locked(hs, index);
	mutex_unlock(&hs->lock);
}

struct handle *handles_next(struct handles *hs, uint64_t *pos, uint64_t *ret_number)
{
	while (*pos < LIMIT_HANDLES) {
		struct slot *s = slot_at(hs, *pos);

		*pos += s ? 1 : CHUNK - *pos % CHUNK;
		if (!s || !atomic_load_explicit(&s->open, memory_order_acquire))
			continue;
		*ret_number = number_of(&s->handle);
		return &s->handle;
	}
	return NULL;
}

struct handle *handles_orphan(struct handles *hs, const struct caller *who, uint64_t *ret_number)
{
	struct handle *h = NULL;
	uint64_t pos = 0;

	if (!(who->request & CALLER_AGAIN))
		return NULL;
	while ((h = handles_next(hs, &pos, ret_number)))
		if (h->left && h->kept->opened_by == (who->request & ~CALLER_AGAIN))
			break;
	return h;
}

struct handle *handles_on_node(struct handles *hs, struct node n)
{
	uint64_t pos = 0, number;
	struct handle *h;

	while ((h = handles_next(hs, &pos, &number)))
		if (h->kept->open && h->kept->node == node_encode(n))
			break;
	return h;
}

/* ---- what another server left ---- */

static int take_over_locked(struct handles *hs, struct err *e) REQUIRES(hs->lock)
{
	uint32_t n = kept_n_files(hs->kept), index = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct kept_file *f = kept_file(hs->kept, i);
		struct handle *h;
		struct node node;
		int rc = slot_take_locked(hs, &index, e); /* in their order: i */

		if (rc < 0)
			return rc;
		if (!f->open || !kept_sound(f) || !node_decode(f->node, &node)) {
			atomic_store(&f->open, 0); /* nobody answers for it */
			continue;
		}
		h = slot_open(hs, i, f);
		h->node = node;
		h->ops = file_kind(node.kind)->ops;
		h->flags = f->flags;
		h->applied = f->applied;
		h->left = true;
	}
	return 0;
}

/* From the last to the first, so that low places are used again first. */
static void free_others_locked(struct handles *hs) REQUIRES(hs->lock)
{
	for (uint32_t i = hs->n; i-- > 0;) {
		struct slot *s = slot_at(hs, i);

		if (s && !s->open)
			free_place_locked(hs, i);
	}
}

int handles_new(struct kept *k, struct handles **ret, struct err *e)
{
	struct handles *hs = mem_zalloc(1, sizeof(*hs));
	int rc;

	if (!hs)
		return err_nomem(e);
	mutex_init(&hs->lock);
	hs->kept = k;
	mutex_lock(&hs->lock);
	hs->first_free = NONE;
	rc = take_over_locked(hs, e);
	if (rc == 0)
		free_others_locked(hs);
	mutex_unlock(&hs->lock);
	if (rc < 0) {
		handles_free(hs);
		return rc;
	}
	*ret = hs;
	return 0;
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
