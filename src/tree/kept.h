/*
 * kept.h: what outlives the server: the open files and the calls under way, as plain data in
 * memory that a supervisor keeps. Private to src/tree.
 *
 * Every server maps the same file and finds what the one before it left, whenever that ended. A
 * record is written before the call that it tells of is answered. Without a supervisor the
 * memory is the process's own and nothing is found in it. What another version laid out
 * differently is forgotten. And a server that ended by a wild write may have left anything: what
 * is here is plain data of which every value means something, and a record that cannot be (kept_sound)
 * is dropped.
 *
 * Threads: a file's record belongs to who holds its handle's lock; calls may be begun and ended
 * by all.
 */
#ifndef RV_TREE_KEPT_H
#define RV_TREE_KEPT_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/limits.h"
#include "tree/callers.h"

/* A descriptor of `query`: the exchange that it was in. */
struct kept_query {
	enum { KEPT_NOTHING_ASKED, KEPT_ASKED, KEPT_ANSWERED } is;
	uint64_t start, end; /* offsets of what was asked */
	uint64_t reach;      /* end of the answer, when it was read */
};

#define KEPT_TOKEN 16

/* A descriptor that inserts or deletes, after its last call. */
struct kept_stream {
	int failed;     /* -Exxx: and stays so */
	uint64_t taken; /* the request that was taken last */
	uint64_t pos;   /* bytes taken */
	/* When nothing waited the last time: what came since is kept as pending bytes. */
	uint64_t clean_pos;
	uint8_t goes_on;    /* not 0: a new reader could read on there */
	uint64_t position;  /* of the next record */
	uint32_t n_commits; /* batches so far; each has the token with its number */
	/* of the call under way: the commit that ends it, once that is tried */
	uint32_t final;
	uint8_t token[KEPT_TOKEN];
};

/* A descriptor of an export: what it showed. */
struct kept_export {
	uint64_t seq;
	uint64_t size;
};

union kept_state {
	struct kept_query query;
	struct kept_stream stream;
	struct kept_export export;
};

/* Owner and mode of a directory that decides about an open file. */
struct kept_owner {
	uid_t uid;
	gid_t gid;
	mode_t mode;
};

#define KEPT_OWNERS 3 /* tenants/, the tenant, a further collection */

struct kept_file {
	_Atomic uint32_t open;
	_Atomic uint32_t generation; /* how often the place was used */
	int32_t flags;               /* of open(2) */
	uint8_t applied;             /* not 0: as the handle's */
	uint64_t node;
	uint64_t opened_by; /* request */
	uid_t uid;          /* who opened it */
	gid_t gid;
	uint64_t text_len;            /* of its snapshot, or KEPT_NO_TEXT */
	uint64_t pending_len;         /* of a stream; too large: they are lost */
	_Atomic uint32_t current;     /* of states: replaced as a whole */
	_Atomic uint32_t owners_seen; /* relaxed; the changes when it was allowed last: access.h */
	_Atomic uint32_t n_owners;    /* of owners; 0: not known */
	struct kept_owner owners[KEPT_OWNERS]; /* when it was allowed last */
	union kept_state states[2];
	char name[LIMIT_ID + 1]; /* what vectors are named after */
};

#define KEPT_NO_TEXT UINT64_MAX

struct kept;

/* fd: an unnamed file, empty or as another server left it; stays the caller's. -1: none. */
int kept_new(int fd, struct kept **ret, struct err *e);
void kept_free(struct kept *k); /* NULL allowed */

/* ---- files: by index, below LIMIT_HANDLES ---- */

uint32_t kept_n_files(const struct kept *k); /* above all indices that were used */
/* Makes a place one's own: a generation that it never had, everything else cleared. */
struct kept_file *kept_take(struct kept *k, uint32_t index);
struct kept_file *kept_file(struct kept *k, uint32_t index);
void kept_drop(struct kept *k, uint32_t index);
/* Whether an open file that another server left can be one. */
bool kept_sound(const struct kept_file *f);

/* A snapshot. Failing is no error: then it is just not found again. */
void kept_put_text(struct kept *k, uint32_t index, const struct buf *text);
/* -EAGAIN: there was one, and it is lost. Leaves *ret as it is when there was none. */
int kept_get_text(struct kept *k, uint32_t index, struct buf *ret, struct err *e);

/* The end of a call of a stream that took n bytes; all since s->clean_pos are kept, if not many. */
void kept_set_stream(struct kept *k, uint32_t index, const struct kept_stream *s, const void *p,
                     size_t n);
/* The bytes from clean_pos to pos. -EAGAIN: they were too many. */
int kept_get_pending(struct kept *k, uint32_t index, struct buf *ret, struct err *e);
/* The request was taken by a server that died before it answered. */
bool kept_was_taken(const struct kept_file *f, const struct caller *who);

union kept_state kept_state(const struct kept_file *f);
void kept_set_state(struct kept_file *f, const union kept_state *s);

/*
 * How often owner or mode of a directory were changed: of tenants/, of metrics/, from 3 on of others
 * by a number, of which several may share one. And how many servers there were: one may have died
 * between a change and its being counted.
 */
enum { KEPT_CHANGES_TENANTS, KEPT_CHANGES_METRICS, KEPT_CHANGES_SERVERS, KEPT_CHANGES_OTHER };
_Atomic uint32_t *kept_changes(struct kept *k, uint64_t which);

/* ---- calls that cannot be done twice ---- */

/*
 * mkdir, rmdir, unlink and the like: when one is sent again after a crash, it may have been done
 * already, and its second try fails with EEXIST or ENOENT. That is a success, unless another
 * call for the same name succeeded since it began.
 */
struct kept_once {
	struct kept *k;
	uint64_t request, what;
	uint32_t place;
	bool done; /* by a server before this one, for certain: do nothing */
};

struct kept_once kept_once_begin(struct kept *k, const struct caller *who, uint64_t parent,
                                 const char *name);
/* rc as it came out, already: with which the second try fails. Returns what to answer. */
int kept_once_end(const struct kept_once *o, int rc, int already);

#endif
