/*
 * kept.c: one file, mapped: a head, the records of open files, a ring of calls; behind them, and
 * not mapped, the texts, each at a place of its own so that nothing has to be allocated. The file is
 * nearly all holes.
 *
 * A server may end between any two instructions. What has several parts is written aside and
 * made valid by one store, which comes after the others for whoever maps the file next.
 *
 * Lock: kept.lock, innermost, over the ring.
 */
#include "tree/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/mem.h"

#define MAGIC       0x34747065766b7672ull /* the layout below: another one needs another */
#define N_CALLS     16384u                /* a call is found again when fewer came after it */
#define N_CHANGES   4096u
#define TEXTS       (1ull << 30)  /* where they begin */
#define TEXT_MAX    (96ull << 20) /* more than an answer has */
#define TEXT_STRIDE (128ull << 20)
#define PENDING_MAX (1u << 20) /* as LIMIT_LINE: a line always fits */
#define PENDING     (TEXT_STRIDE - PENDING_MAX)
#define CHEAP_BYTES 4096u /* not worth a call to give back */

struct call {
	uint64_t request;
	uint64_t what;
	uint64_t began, done; /* by the counter; done 0: not, or without success */
};

struct head {
	_Atomic uint64_t magic;
	uint64_t size; /* of the whole layout */
	_Atomic uint32_t n_files;
	uint64_t clock; /* kept.lock */
};

struct layout {
	struct head head;
	struct kept_file files[LIMIT_HANDLES];
	struct call calls[N_CALLS]; /* kept.lock */
	_Atomic uint32_t changes[N_CHANGES];
};

struct kept {
	int fd;
	struct layout *at;
	struct mutex lock;
};

_Atomic uint32_t *kept_changes(struct kept *k, uint64_t which)
{
	if (which >= KEPT_CHANGES_OTHER)
		which = KEPT_CHANGES_OTHER + which % (N_CHANGES - KEPT_CHANGES_OTHER);
	return &k->at->changes[which];
}

/* ---- life ---- */

/*
 * Nothing of a layout that is not ours is of use: all of it becomes a hole. Nor is a file that is
 * shorter than what will be mapped: touching the rest would be the end of us.
 */
static int prepare(struct kept *k)
{
	struct head head = { 0 };
	struct stat st;

	if (fstat(k->fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size >= sizeof(struct layout) &&
	    io_read_at(k->fd, &head, sizeof(head), 0) == 0 && head.magic == MAGIC &&
	    head.size == sizeof(struct layout))
		return 0;
	if (ftruncate(k->fd, 0) < 0 || ftruncate(k->fd, sizeof(struct layout)) < 0)
		return -errno;
	return 0;
}

static int map(struct kept *k)
{
	int flags = k->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *p = mmap(NULL, sizeof(struct layout), PROT_READ | PROT_WRITE, flags | MAP_NORESERVE,
	               k->fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	k->at = p;
	k->at->head.size = sizeof(struct layout);
	k->at->head.magic = MAGIC;
	++*kept_changes(k, KEPT_CHANGES_SERVERS);
	return 0;
}

int kept_new(int fd, struct kept **ret, struct err *e)
{
	struct kept *k = mem_zalloc(1, sizeof(*k));
	int rc;

	if (!k)
		return err_nomem(e);
	k->fd = fd;
	rc = fd < 0 ? 0 : prepare(k);
	if (rc == 0)
		rc = map(k);
	if (rc < 0) {
		mem_free(k);
		return err_set(e, rc, "no memory to keep open files in: %s", strerror(-rc));
	}
	mutex_init(&k->lock);
	*ret = k;
	return 0;
}

void kept_free(struct kept *k)
{
	if (!k)
		return;
	munmap(k->at, sizeof(struct layout));
	mutex_destroy(&k->lock);
	mem_free(k);
}

/* ---- files ---- */

uint32_t kept_n_files(const struct kept *k)
{
	uint32_t n = atomic_load(&k->at->head.n_files);

	return n < LIMIT_HANDLES ? n : LIMIT_HANDLES;
}

struct kept_file *kept_file(struct kept *k, uint32_t index)
{
	return &k->at->files[index];
}

struct kept_file *kept_take(struct kept *k, uint32_t index)
{
	struct kept_file *f = kept_file(k, index);
	uint32_t n = kept_n_files(k);

	atomic_fetch_add_explicit(&f->generation, 1, memory_order_relaxed);
	f->applied = false;
	f->text_len = KEPT_NO_TEXT;
	f->pending_len = 0;
	f->n_owners = 0;
	f->name[0] = '\0';
	kept_set_state(f, &(union kept_state){ 0 });
	while (n <= index && !atomic_compare_exchange_weak(&k->at->head.n_files, &n, index + 1))
		;
	return f;
}

static void settle(struct kept *k, uint32_t index);

static uint64_t text_at(uint32_t index)
{
	return TEXTS + index * TEXT_STRIDE;
}

static void give_back(struct kept *k, uint64_t off, uint64_t n)
{
	if (k->fd >= 0 && n > CHEAP_BYTES)
		fallocate(k->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)n);
}

void kept_drop(struct kept *k, uint32_t index)
{
	struct kept_file *f = kept_file(k, index);

	atomic_store(&f->open, 0);
	if (f->text_len <= TEXT_MAX)
		give_back(k, text_at(index), f->text_len);
	settle(k, index);
}

bool kept_sound(const struct kept_file *f)
{
	return f->open == 1 && memchr(f->name, '\0', sizeof(f->name));
}

/* ---- texts ---- */

void kept_put_text(struct kept *k, uint32_t index, const struct buf *text)
{
	struct kept_file *f = kept_file(k, index);

	if (k->fd < 0)
		return;
	f->text_len = text->len;
	if (text->len > TEXT_MAX || io_write_at(k->fd, text->data, text->len, text_at(index)) < 0)
		f->text_len = TEXT_MAX + 1;
}

static int get(struct kept *k, uint64_t off, uint64_t n, struct buf *ret, struct err *e)
{
	char *room = n > 0 ? buf_space(ret, n) : NULL;
	int rc;

	if (n == 0)
		return 0;
	if (!room)
		return err_nomem(e);
	rc = io_read_at(k->fd, room, n, off);
	if (rc < 0)
		return err_set(e, -EAGAIN, "what was open here is lost: %s", strerror(-rc));
	buf_grew(ret, n);
	return 0;
}

int kept_get_text(struct kept *k, uint32_t index, struct buf *ret, struct err *e)
{
	uint64_t n = kept_file(k, index)->text_len;

	if (n == KEPT_NO_TEXT)
		return 0;
	if (n > TEXT_MAX)
		return err_set(e, -EAGAIN,
		               "the server was restarted, and what was read here is lost: open the "
		               "file again");
	return get(k, text_at(index), n, ret, e);
}

/* ---- states ---- */

union kept_state kept_state(const struct kept_file *f)
{
	return f->states[atomic_load(&f->current) & 1];
}

void kept_set_state(struct kept_file *f, const union kept_state *s)
{
	uint32_t other = (atomic_load(&f->current) & 1) ^ 1;

	f->states[other] = *s;
	atomic_store(&f->current, other);
}

/* ---- streams ---- */

static void settle(struct kept *k, uint32_t index)
{
	struct kept_file *f = kept_file(k, index);
	uint64_t n = f->pending_len;

	f->pending_len = 0;
	if (n)
		give_back(k, text_at(index) + PENDING, n < PENDING_MAX ? n : PENDING_MAX);
}

static void add_pending(struct kept *k, uint32_t index, const void *p, size_t n)
{
	struct kept_file *f = kept_file(k, index);
	uint64_t len = f->pending_len;

	f->pending_len = PENDING_MAX + 1;
	if (k->fd >= 0 && len <= PENDING_MAX && n <= PENDING_MAX - len &&
	    io_write_at(k->fd, p, n, text_at(index) + PENDING + len) == 0)
		f->pending_len = len + n;
}

/* Bytes are there before the state speaks of them, and go after it is silent about them. */
void kept_set_stream(struct kept *k, uint32_t index, const struct kept_stream *s, const void *p,
                     size_t n)
{
	if (s->pos != s->clean_pos && n)
		add_pending(k, index, p, n);
	kept_set_state(kept_file(k, index), &(union kept_state){ .stream = *s });
	if (s->pos == s->clean_pos || s->failed)
		settle(k, index);
}

/* Bytes of a call that did not end are left out: it is sent again. */
int kept_get_pending(struct kept *k, uint32_t index, struct buf *ret, struct err *e)
{
	struct kept_file *f = kept_file(k, index);
	struct kept_stream s = kept_state(f).stream;
	uint64_t n = s.pos - s.clean_pos;

	if (f->pending_len > PENDING_MAX || f->pending_len < n)
		return err_set(e, -EAGAIN, "more than %u bytes", PENDING_MAX);
	f->pending_len = n;
	return get(k, text_at(index) + PENDING, n, ret, e);
}

bool kept_was_taken(const struct kept_file *f, const struct caller *who)
{
	struct kept_stream s = kept_state(f).stream;

	return (who->request & CALLER_AGAIN) && !s.failed &&
	       s.taken == (who->request & ~CALLER_AGAIN);
}

/* ---- calls ---- */

static uint64_t hash_name(uint64_t parent, const char *name)
{
	return map_hash_u64(parent) ^ map_hash_bytes(name, strlen(name));
}

static struct call *find_locked(struct kept *k, uint64_t request) REQUIRES(k->lock)
{
	for (unsigned i = 0; i < N_CALLS; i++)
		if (k->at->calls[i].request == request)
			return &k->at->calls[i];
	return NULL;
}

struct kept_once kept_once_begin(struct kept *k, const struct caller *who, uint64_t parent,
                                 const char *name)
{
	struct kept_once o = { .k = k, .request = who->request, .what = hash_name(parent, name) };
	struct call *c;

	if (!o.request)
		return o;
	mutex_lock(&k->lock);
	if (o.request & CALLER_AGAIN) {
		c = find_locked(k, o.request & ~CALLER_AGAIN);
		o.done = c && c->done;
		o.place = c ? (uint32_t)(c - k->at->calls) : 0;
	} else {
		uint64_t now = ++k->at->head.clock;

		o.place = now % N_CALLS;
		k->at->calls[o.place] = (struct call){ o.request, o.what, now, 0 };
	}
	mutex_unlock(&k->lock);
	return o;
}

/* It began, and nobody else got there since. */
static bool did_it_locked(struct kept *k, const struct call *own) REQUIRES(k->lock)
{
	for (unsigned i = 0; own && i < N_CALLS; i++)
		if (k->at->calls[i].what == own->what && k->at->calls[i].done > own->began)
			return false;
	return own != NULL;
}

int kept_once_end(const struct kept_once *o, int rc, int already)
{
	struct kept *k = o->k;
	struct call *own;

	if (!o->request || (rc < 0 && !((o->request & CALLER_AGAIN) && rc == already)))
		return rc;
	mutex_lock(&k->lock);
	own = &k->at->calls[o->place];
	if (own->request != (o->request & ~CALLER_AGAIN))
		own = NULL; /* too many came after it */
	if (rc == already && did_it_locked(k, own))
		rc = 0;
	if (rc == 0 && own)
		own->done = ++k->at->head.clock;
	mutex_unlock(&k->lock);
	return rc;
}
