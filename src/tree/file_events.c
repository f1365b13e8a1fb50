/*
 * file_events.c: events of a tenant: a read waits until there is something to be read.
 *
 * The last bytes that were given are kept, because shells read ahead and seek back to the end of
 * a line. The first read may have any offset.
 */
#include <errno.h>

#include "base/mem.h"
#include "tree/file.h"
#include "tree/handle.h"

#define KEEP 4096 /* bytes that can be read again */

/* h->state */
struct following {
	struct event_cursor cursor;
	uint64_t base;   /* offset of text */
	struct buf text; /* read from the tenant, the first KEEP or so of it given already */
	uint64_t given;  /* offset up to which it was */
	bool begun;
};

static int events_open(struct tree *t, const struct caller *who, struct handle *h, struct err *e)
{
	struct following *f = mem_zalloc(1, sizeof(*f));
	struct inside in;
	int rc;

	if (!f)
		return err_nomem(e);
	rc = tenant_enter(t->tenants, h->node.number, TENANT_ADMIN, &in, e);
	if (rc == 0) {
		rc = tenant_events_open(&in, &f->cursor, &f->text, e);
		tenant_leave(&in);
	}
	if (rc < 0) {
		buf_release(&f->text);
		mem_free(f);
		return rc;
	}
	h->state = f;
	return 0;
}

/* The next read says where it stands. */
static int events_restore(struct tree *t, struct handle *h, struct err *e)
{
	return events_open(t, NULL, h, e);
}

/* Room for more: what was given long ago goes. */
static void forget(struct following *f)
{
	size_t old = (size_t)(f->given - f->base);

	if (old <= 2 * KEEP)
		return;
	buf_drop_front(&f->text, old - KEEP);
	f->base += old - KEEP;
}

static int look(struct tree *t, struct handle *h, struct err *e)
{
	struct following *f = h->state;
	struct inside in;
	int rc = tenant_enter(t->tenants, h->node.number, TENANT_ADMIN, &in, e);

	if (rc < 0)
		return rc;
	forget(f);
	tenant_events_read(&in, &f->cursor, &f->text);
	tenant_leave(&in);
	return buf_failed(&f->text) ? err_nomem(e) : 0;
}

/* Wherever a reader begins, or goes on when the daemon is another one: that is where it stands. */
static void begin(struct following *f, uint64_t off)
{
	if (f->begun)
		buf_clear(&f->text);
	f->base = f->given = off;
	f->begun = true;
}

static int events_read(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
                       size_t n, struct buf *ret, struct err *e)
{
	struct following *f = h->state;
	size_t at;
	int rc;

	if (!f->begun || off > f->base + f->text.len)
		begin(f, off);
	if (off < f->base)
		return err_set(e, -EINVAL, "the events at this offset are not kept any more");
	if (off == f->base + f->text.len) {
		rc = look(t, h, e);
		if (rc < 0)
			return rc;
	}
	at = (size_t)(off - f->base);
	if (at == f->text.len)
		return TREE_WAIT;
	if (n > f->text.len - at)
		n = f->text.len - at;
	buf_add(ret, f->text.data + at, n);
	if (off + n > f->given)
		f->given = off + n;
	return 0;
}

static void events_release(struct tree *t, struct handle *h)
{
	struct following *f = h->state;

	if (!f)
		return;
	tenant_events_close(t->tenants, h->node.number);
	buf_release(&f->text);
	mem_free(f);
	h->state = NULL;
}

static bool pending(struct tree *t, struct handle *h)
{
	const struct following *f = h->state;
	struct inside in;
	bool more;

	if (!f)
		return true; /* of a server before this one: a read restores it */
	if (f->given < f->base + f->text.len)
		return true;
	if (tenant_enter(t->tenants, h->node.number, TENANT_ADMIN, &in, NULL) < 0)
		return true; /* a read tells why */
	more = tenant_events_pending(&in, &f->cursor);
	tenant_leave(&in);
	return more;
}

int tree_poll(struct tree *t, uint64_t handle)
{
	struct handle *h = handles_get(t->handles, handle);
	bool ready;

	if (!h)
		return -EBADF;
	mutex_lock(&h->lock);
	ready = h->ops != &file_events || pending(t, h);
	mutex_unlock(&h->lock);
	return ready;
}

const struct file_ops file_events = {
	.open = events_open,
	.read = events_read,
	.release = events_release,
	.restore = events_restore,
};
