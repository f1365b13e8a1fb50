/*
 * waiting.c: a list of what waits, and the thread that answers it.
 *
 * What an event is for is marked under the lock and the thread woken; it takes one that is marked
 * off the list, tries its read again, and answers it or puts it back. Whether something happened
 * while it was off the list is told by the generation, which each event raises.
 *
 * libfuse calls the interrupt function with the request's lock held, also from within
 * fuse_req_interrupt_func, so that function only marks; and before a request is answered its
 * function is taken away, which waits for a call of it that is under way.
 *
 * Lock order: the request's, then waiting.lock, which is innermost. Nothing is answered under it.
 */
#include "mount/waiting.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "base/lock.h"
#include "base/mem.h"
#include "base/signals.h"

struct parked {
	struct parked *next;        /* lock; in the list */
	bool marked;                /* lock; to be tried */
	bool interrupted;           /* lock */
	struct waiting *waiting;    /* const */
	struct waiting_read read;   /* const; req NULL: a poll */
	uint32_t number;            /* const; of the tenant */
	struct fuse_pollhandle *ph; /* const; of a poll */
};

struct waiting {
	struct tree *tree; /* const */
	pthread_t thread;  /* const */
	struct mutex lock;
	struct cond wake;            /* lock */
	struct cond tried;           /* lock; raised after each poll that was tried */
	const struct parked *trying; /* lock; a poll whose handle is looked at, off the list */
	struct parked *first;        /* lock */
	_Atomic uint64_t generation; /* changes under lock */
	bool ending;                 /* lock */
};

static uint32_t number_of(uint64_t node)
{
	struct node n;

	return node_decode(node, &n) ? n.number : 0;
}

/* ---- marking ---- */

void waiting_event(void *ctx, uint32_t number)
{
	struct waiting *w = ctx;
	bool any = false;

	mutex_lock(&w->lock);
	w->generation++;
	for (struct parked *p = w->first; p; p = p->next) {
		if (number == 0 || p->number == number)
			p->marked = any = true;
	}
	if (any)
		cond_signal(&w->wake);
	mutex_unlock(&w->lock);
}

static void on_interrupt(fuse_req_t req, void *data)
{
	struct parked *p = data;

	(void)req;
	mutex_lock(&p->waiting->lock);
	p->interrupted = true;
	p->marked = true;
	cond_signal(&p->waiting->wake);
	mutex_unlock(&p->waiting->lock);
}

uint64_t waiting_generation(struct waiting *w)
{
	return atomic_load(&w->generation);
}

/* ---- answering: without the lock, p is off the list ---- */

static void end_read(struct parked *p, int error, const struct buf *data)
{
	size_t size = p->read.size;

	fuse_req_interrupt_func(p->read.req, NULL, NULL);
	if (data)
		fuse_reply_buf(p->read.req, data->data, data->len < size ? data->len : size);
	else
		fuse_reply_err(p->read.req, error);
	mem_free(p);
}

static void end_poll(struct waiting *w, struct parked *p, bool tell)
{
	if (tell)
		fuse_lowlevel_notify_poll(p->ph);
	fuse_pollhandle_destroy(p->ph);
	mem_free(p);
}

/* ---- coming ---- */

/* false: the generation is another one. */
static bool link_locked(struct waiting *w, struct parked *p, uint64_t generation) REQUIRES(w->lock)
{
	if (w->generation != generation)
		return false;
	p->marked = p->interrupted || w->ending;
	p->next = w->first;
	w->first = p;
	if (p->marked)
		cond_signal(&w->wake);
	return true;
}

bool waiting_read(struct waiting *w, const struct waiting_read *r, uint64_t generation)
{
	struct parked *p = mem_zalloc(1, sizeof(*p));
	bool linked;

	if (!p) {
		fuse_reply_err(r->req, ENOMEM);
		return true;
	}
	p->waiting = w;
	p->read = *r;
	p->number = number_of(r->node);
	fuse_req_interrupt_func(r->req, on_interrupt, p);
	mutex_lock(&w->lock);
	linked = link_locked(w, p, generation);
	mutex_unlock(&w->lock);
	if (linked)
		return true;
	fuse_req_interrupt_func(r->req, NULL, NULL);
	mem_free(p);
	return false;
}

/* The handle's poll, off the list. */
static struct parked *take_poll_locked(struct waiting *w, uint64_t handle) REQUIRES(w->lock)
{
	for (struct parked **at = &w->first; *at; at = &(*at)->next) {
		struct parked *p = *at;

		if (p->ph && p->read.handle == handle) {
			*at = p->next;
			return p;
		}
	}
	return NULL;
}

void waiting_poll(struct waiting *w, uint64_t node, uint64_t handle, struct fuse_pollhandle *ph)
{
	struct parked *p = mem_zalloc(1, sizeof(*p));
	struct parked *old;

	if (!p) {
		fuse_lowlevel_notify_poll(ph); /* it asks again */
		fuse_pollhandle_destroy(ph);
		return;
	}
	p->waiting = w;
	p->read = (struct waiting_read){ .node = node, .handle = handle };
	p->number = number_of(node);
	p->ph = ph;
	mutex_lock(&w->lock);
	old = take_poll_locked(w, handle);
	/* something may have happened between the look and here: it is looked at once more */
	p->marked = true;
	p->next = w->first;
	w->first = p;
	cond_signal(&w->wake);
	mutex_unlock(&w->lock);
	if (old)
		end_poll(w, old, false);
}

static bool is_tried_locked(const struct waiting *w, uint64_t handle) REQUIRES(w->lock)
{
	return w->trying && w->trying->read.handle == handle;
}

/* A poll holds no request that would keep its handle, so nobody may be looking at it any more. */
void waiting_forget(struct waiting *w, uint64_t node, uint64_t handle)
{
	struct parked *p;
	struct node n;

	if (!node_decode(node, &n) || n.kind != NODE_EVENTS)
		return;
	mutex_lock(&w->lock);
	while ((p = take_poll_locked(w, handle)) || is_tried_locked(w, handle)) {
		if (!p) {
			cond_wait(&w->tried, &w->lock);
			continue;
		}
		mutex_unlock(&w->lock);
		end_poll(w, p, false);
		mutex_lock(&w->lock);
	}
	mutex_unlock(&w->lock);
}

/* ---- the thread ---- */

static struct parked *take_marked_locked(struct waiting *w) REQUIRES(w->lock)
{
	for (struct parked **at = &w->first; *at; at = &(*at)->next) {
		struct parked *p = *at;

		if (p->marked || w->ending) {
			*at = p->next;
			return p;
		}
	}
	return NULL;
}

static void try_read_locked(struct waiting *w, struct parked *p) REQUIRES(w->lock)
{
	const struct waiting_read *r = &p->read;
	struct buf data BUF_AUTO = BUF_INIT;
	uint64_t generation;
	int rc;

	do {
		bool stop = p->interrupted || w->ending;

		rc = p->interrupted ? -EINTR : -ENODEV;
		generation = w->generation;
		mutex_unlock(&w->lock);
		if (!stop)
			rc = tree_read(w->tree, &r->who, r->handle, r->off, r->size, &data);
		if (rc != TREE_WAIT)
			end_read(p, -rc, rc == 0 ? &data : NULL);
		mutex_lock(&w->lock);
	} while (rc == TREE_WAIT && !link_locked(w, p, generation));
}

static void try_poll_locked(struct waiting *w, struct parked *p) REQUIRES(w->lock)
{
	uint64_t generation;
	int ready;

	do {
		bool stop = w->ending;

		generation = w->generation;
		w->trying = p;
		mutex_unlock(&w->lock);
		ready = stop ? 1 : tree_poll(w->tree, p->read.handle);
		mutex_lock(&w->lock);
		w->trying = NULL;
		cond_broadcast(&w->tried);
	} while (!ready && !link_locked(w, p, generation));
	if (!ready)
		return;
	mutex_unlock(&w->lock);
	end_poll(w, p, ready > 0);
	mutex_lock(&w->lock);
}

static void *answer(void *arg)
{
	struct waiting *w = arg;
	struct parked *p;

	mutex_lock(&w->lock);
	for (;;) {
		p = take_marked_locked(w);
		if (p && p->ph)
			try_poll_locked(w, p);
		else if (p)
			try_read_locked(w, p);
		else if (w->ending)
			break;
		else
			cond_wait(&w->wake, &w->lock);
	}
	mutex_unlock(&w->lock);
	return NULL;
}

int waiting_start(struct tree *tree, struct waiting **ret, struct err *e)
{
	struct waiting *w = mem_zalloc(1, sizeof(*w));
	sigset_t old;
	int rc;

	if (!w)
		return err_nomem(e);
	w->tree = tree;
	mutex_init(&w->lock);
	cond_init(&w->wake);
	cond_init(&w->tried);
	signals_block(&old);
	rc = pthread_create(&w->thread, NULL, answer, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0) {
		cond_destroy(&w->tried);
		cond_destroy(&w->wake);
		mutex_destroy(&w->lock);
		mem_free(w);
		return err_set(e, -rc, "no thread for what waits: %s", strerror(rc));
	}
	*ret = w;
	return 0;
}

void waiting_stop(struct waiting *w)
{
	if (!w)
		return;
	mutex_lock(&w->lock);
	w->ending = true;
	cond_signal(&w->wake);
	mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
}

void waiting_free(struct waiting *w)
{
	if (!w)
		return;
	cond_destroy(&w->tried);
	cond_destroy(&w->wake);
	mutex_destroy(&w->lock);
	mem_free(w);
}
