/*
 * callers.c: who asked what last: posts by process, place and kind, and which of them a reader
 * may see.
 *
 * A post is registered under the process that made it and under each of its ancestors in the
 * same session. So an entry has one own slot, and slots of what came up through children. The
 * reader takes the nearest of its ancestors that has an entry, and there the newest slot that
 * is allowed: the own one, or one whose child has ended (a child in the reader's own chain has
 * a nearer entry itself). When none is allowed the answer is none: further up there would only
 * be relatives of the sibling that was refused.
 *
 * Of slots of ended children only the newest can ever be chosen, so growing drops the others first.
 * (Where children belong to several users that may be another's, and there is none then.)
 *
 * Lock: one over the table, inner to handles and exchanges; under it only the locks of
 * callers_process.c and no caller's code but a post's free.
 */
#include "tree/callers.h"

#include <stdatomic.h>

#include "base/limits.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/mem.h"
#include "tree/callers_process.h"

#define MAX_ENTRIES (4 * LIMIT_PROCESSES)
#define MAX_SLOTS   256 /* children of one process that ask at the same time */

struct slot {
	struct post *post;
	uint64_t seq;     /* newer is larger */
	uint64_t through; /* the child; 0: it has ended */
	pid_t through_pid;
	uid_t uid; /* who posted */
};

struct key {
	uint64_t process;
	uint64_t place;
	enum post_kind kind;
};

struct entry {
	struct key key;
	struct slot own; /* post NULL: nothing */
	struct slot *up;
	unsigned n_up, cap_up;
	struct entry *prev, *next;
};

struct callers {
	struct processes *processes; /* const */
	_Atomic size_t bytes;
	struct mutex lock;
	struct map entries;         /* lock: of struct entry * */
	struct entry *first, *last; /* lock: least recently used last */
	size_t n;                   /* lock */
	uint64_t seq;               /* lock */
};

/* ---- posts ---- */

void post_init(struct post *p, void (*free_it)(struct post *p))
{
	p->refs = 1;
	p->free = free_it;
}

struct post *post_new(void)
{
	struct post *p = mem_zalloc(1, sizeof *p);

	if (p)
		post_init(p, NULL);
	return p;
}

struct post *post_ref(struct post *p)
{
	p->refs++;
	return p;
}

void post_release(struct post *p)
{
	if (p->home)
		p->home->bytes -= p->bytes;
	buf_release(&p->text);
}

void post_unref(struct post *p)
{
	if (!p || --p->refs > 0)
		return;
	if (p->free) {
		p->free(p);
		return;
	}
	post_release(p);
	mem_free(p);
}

void callers_account(struct callers *c, struct post *p, size_t bytes)
{
	size_t before = atomic_exchange(&p->bytes, bytes);

	p->home = c;
	c->bytes += bytes - before;
}

/* ---- entries ---- */

static uint64_t key_hash(const struct key *k)
{
	return map_hash_u64(k->process + map_hash_u64(k->place << 1 | k->kind));
}

static bool entry_has_key(const void *ctx, uint64_t value)
{
	const struct key *a = ctx, *b = &((const struct entry *)(uintptr_t)value)->key;

	return a->process == b->process && a->place == b->place && a->kind == b->kind;
}

static void entry_unlink(struct callers *c, struct entry *en) REQUIRES(c->lock)
{
	*(en->prev ? &en->prev->next : &c->first) = en->next;
	*(en->next ? &en->next->prev : &c->last) = en->prev;
}

static void entry_push(struct callers *c, struct entry *en) REQUIRES(c->lock)
{
	en->prev = NULL;
	en->next = c->first;
	*(c->first ? &c->first->prev : &c->last) = en;
	c->first = en;
}

static void entry_drop(struct callers *c, struct entry *en) REQUIRES(c->lock)
{
	map_remove(&c->entries, key_hash(&en->key), entry_has_key, &en->key);
	entry_unlink(c, en);
	c->n--;
	post_unref(en->own.post);
	for (unsigned i = 0; i < en->n_up; i++)
		post_unref(en->up[i].post);
	mem_free(en->up);
	mem_free(en);
}

/* Found entries count as used. */
static struct entry *entry_find(struct callers *c, const struct key *k) REQUIRES(c->lock)
{
	struct entry *en;
	uint64_t value;

	if (!map_find(&c->entries, key_hash(k), entry_has_key, k, &value))
		return NULL;
	en = (struct entry *)(uintptr_t)value;
	if (en != c->first) {
		entry_unlink(c, en);
		entry_push(c, en);
	}
	return en;
}

static struct entry *entry_get(struct callers *c, const struct key *k) REQUIRES(c->lock)
{
	struct entry *en = entry_find(c, k);

	if (en)
		return en;
	if (c->n >= MAX_ENTRIES)
		entry_drop(c, c->last);
	en = mem_zalloc(1, sizeof *en);
	if (!en || map_add(&c->entries, key_hash(k), (uintptr_t)en) < 0) {
		mem_free(en);
		return NULL;
	}
	en->key = *k;
	entry_push(c, en);
	c->n++;
	return en;
}

/* ---- slots ---- */

static bool slot_ended(struct callers *c, struct slot *s)
{
	if (s->through && !processes_alive(c->processes, s->through, s->through_pid))
		s->through = 0;
	return s->through == 0;
}

static void slot_fill(struct slot *s, struct post *p, const struct slot *from)
{
	/* the new reference first: both may be the same */
	post_ref(p);
	post_unref(s->post);
	s->post = p;
	s->seq = from->seq;
	s->uid = from->uid;
}

static void slot_remove(struct entry *en, unsigned i)
{
	post_unref(en->up[i].post);
	en->up[i] = en->up[--en->n_up];
}

/* Leaves one slot of an ended child, the newest. */
static void drop_outdated(struct callers *c, struct entry *en)
{
	uint64_t newest = 0;

	for (unsigned i = 0; i < en->n_up; i++)
		if (slot_ended(c, &en->up[i]) && en->up[i].seq > newest)
			newest = en->up[i].seq;
	for (unsigned i = en->n_up; i-- > 0;)
		if (en->up[i].through == 0 && en->up[i].seq != newest)
			slot_remove(en, i);
}

static void drop_oldest(struct entry *en)
{
	unsigned oldest = 0;

	for (unsigned i = 1; i < en->n_up; i++)
		if (en->up[i].seq < en->up[oldest].seq)
			oldest = i;
	slot_remove(en, oldest);
}

/* Room for one more, at the price of the oldest. False: no memory at all. */
static bool make_room(struct callers *c, struct entry *en)
{
	unsigned cap = en->cap_up ? 2 * en->cap_up : 4;
	struct slot *up;

	if (en->n_up < en->cap_up)
		return true;
	drop_outdated(c, en);
	/* Half empty again, or the next one would look at all of them once more. */
	if (en->n_up < en->cap_up / 2)
		return true;
	up = cap <= MAX_SLOTS ? mem_resize(en->up, cap, sizeof *up) : NULL;
	if (up) {
		en->up = up;
		en->cap_up = cap;
	} else if (en->n_up && en->n_up == en->cap_up) {
		drop_oldest(en);
	}
	return en->n_up < en->cap_up;
}

static void fill_up(struct callers *c, struct entry *en, const struct slot *from, struct post *p)
{
	for (unsigned i = 0; i < en->n_up; i++) {
		if (en->up[i].through == from->through) {
			slot_fill(&en->up[i], p, from);
			return;
		}
	}
	if (!make_room(c, en))
		return;
	en->up[en->n_up] = *from;
	slot_fill(&en->up[en->n_up++], p, from);
}

static bool is_for(const struct slot *s, uid_t uid)
{
	return uid == 0 || s->uid == uid;
}

/*
 * The newest slot that may be seen, or NULL. itself: the entry is the reader's own, which knows
 * what it asked, whoever it was then.
 */
static struct slot *newest_allowed(struct callers *c, struct entry *en, uid_t uid, bool itself)
{
	struct slot *best = en->own.post && (itself || is_for(&en->own, uid)) ? &en->own : NULL;

	for (unsigned i = 0; i < en->n_up; i++) {
		struct slot *s = &en->up[i];

		if ((!best || s->seq > best->seq) && is_for(s, uid) && slot_ended(c, s))
			best = s;
	}
	return best;
}

/* ---- the table ---- */

int callers_new_by(enum processes_way way, struct callers **ret, struct err *e)
{
	struct callers *c = mem_zalloc(1, sizeof *c);
	int rc;

	if (!c)
		return err_nomem(e);
	rc = processes_new(way, &c->processes, e);
	if (rc < 0) {
		mem_free(c);
		return rc;
	}
	mutex_init(&c->lock);
	*ret = c;
	return 0;
}

int callers_new(struct callers **ret, struct err *e)
{
	return callers_new_by(PROCESSES_AUTO, ret, e);
}

void callers_free(struct callers *c)
{
	if (!c)
		return;
	mutex_lock(&c->lock);
	while (c->first)
		entry_drop(c, c->first);
	map_release(&c->entries);
	mutex_unlock(&c->lock);
	mutex_destroy(&c->lock);
	processes_free(c->processes);
	mem_free(c);
}

void callers_lineage(struct callers *c, const struct caller *who, struct lineage *ret)
{
	processes_lineage(c->processes, who, ret);
	ret->uid = who->uid;
}

uint32_t callers_node_item(const struct lineage *l)
{
	/*
	 * pidfs counts its inodes up, so the low half tells living processes apart; users are
	 * set off from them
	 */
	uint32_t item = (uint32_t)l->process[0] ^ (l->pid[0] ? 0 : 1u << 31);

	return item ? item : 1;
}

void callers_post(struct callers *c, const struct lineage *l, uint64_t place, enum post_kind kind,
                  struct post *p)
{
	struct slot from = { .uid = l->uid };

	mutex_lock(&c->lock);
	from.seq = ++c->seq;
	for (unsigned i = 0; i < l->n_session; i++) {
		struct key k = { l->process[i], place, kind };
		struct entry *en = entry_get(c, &k);

		if (en && i == 0)
			slot_fill(&en->own, p, &from);
		else if (en)
			fill_up(c, en, &from, p);
		from.through = l->process[i];
		from.through_pid = l->pid[i];
	}
	/* The last of them are ours, and stay. */
	while (c->bytes > CALLERS_POST_BYTES && c->n > LINEAGE_MAX)
		entry_drop(c, c->last);
	mutex_unlock(&c->lock);
}

struct post *callers_find(struct callers *c, const struct lineage *l, uint64_t place,
                          enum post_kind kind)
{
	struct post *found = NULL;

	mutex_lock(&c->lock);
	for (unsigned i = 0; i < l->n_session; i++) {
		struct key k = { l->process[i], place, kind };
		struct entry *en = entry_find(c, &k);
		struct slot *s = en ? newest_allowed(c, en, l->uid, i == 0) : NULL;

		if (s)
			found = post_ref(s->post);
		if (en)
			break;
	}
	mutex_unlock(&c->lock);
	return found;
}

void callers_forget_place(struct callers *c, uint64_t place)
{
	mutex_lock(&c->lock);
	for (struct entry *en = c->first, *next; en; en = next) {
		next = en->next;
		if (en->key.place == place)
			entry_drop(c, en);
	}
	mutex_unlock(&c->lock);
}
