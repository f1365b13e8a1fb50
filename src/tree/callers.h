/*
 * callers.h: who asked. Finds the process behind a request and its ancestors, and remembers
 * what each asked last.
 *
 * Two scripts that run `echo … > query; cat results` at once each get their own answer. The
 * reader of `results` gets the newest post of its nearest ancestor: of a process itself, or one
 * that came up from a descendant of the same session, unless the child of that ancestor through
 * which it came still lives and is not in the reader's own chain (then it is a sibling's:
 * none). Processes are told apart by the inode of their pidfd (never reused), or by pid and
 * start time where the kernel has none. A caller without a visible pid is known by its user id
 * alone. Nothing crosses from one session to another, nor to another user, who has relatives of
 * other users under su and in services; root sees what they see.
 *
 * Memory is bounded: 4 * LIMIT_PROCESSES places where a process posted, and CALLERS_POST_BYTES
 * of what was posted, least recently used forgotten first; a post is shared by reference count.
 * Any thread.
 */
#ifndef RV_TREE_CALLERS_H
#define RV_TREE_CALLERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

struct callers;

struct caller {
	pid_t tid; /* the thread that made the request, 0 when it is in another pid namespace */
	uid_t uid;
	gid_t gid;
	mode_t umask;
	uint64_t request; /* its number, CALLER_AGAIN in it: sent before; 0: unknown */
};

#define CALLER_AGAIN (1ull << 63) /* a server that died had read the request */

#define LINEAGE_MAX 32

/* A process and its ancestors, nearest first. */
struct lineage {
	unsigned n; /* at least 1 */
	/*
	 * of these, the first ones that are in the process's own session: all, the walk ends
	 * there
	 */
	unsigned n_session;
	uid_t uid; /* of the request */
	uint64_t process[LINEAGE_MAX]; /* identities */
	pid_t pid[LINEAGE_MAX];        /* 0: known by user id */
};

/* What a caller is told later: the answers of an exchange, or why an operation failed. */
struct post {
	struct buf text; /* const once posted, except by the owner through post_update */
	int error; /* 0, or the -Exxx with which the exchange failed; then text is the sentence */
	/* of a larger object that begins with the post, instead of mem_free; NULL: a plain post */
	void (*free)(struct post *p);
	_Atomic bool was_read; /* somebody got it as results */
	/* the rest is private to callers.c */
	_Atomic unsigned refs;
	_Atomic size_t bytes;
	struct callers *home;
};

#define CALLERS_POST_BYTES (256u << 20)

struct post *post_new(void); /* one reference; NULL: no memory */
/* of a larger object, cleared; one reference */
void post_init(struct post *p, void (*free_it)(struct post *p));
void post_release(struct post *p); /* for free_it: what the post itself holds, not p */
struct post *post_ref(struct post *p);
void post_unref(struct post *p); /* NULL allowed */

enum post_kind { POST_ANSWER, POST_ERROR };

int callers_new(struct callers **ret, struct err *e);
void callers_free(struct callers *c);

/*
 * The caller's lineage. Costs under a microsecond for a process that asked before (its pidfd is
 * kept), some 5 µs an ancestor otherwise. Never fails: what cannot be seen ends the chain.
 */
void callers_lineage(struct callers *c, const struct caller *who, struct lineage *ret);

/*
 * A number for the caller's process, the same as long as it lives: the item of its nodes. From
 * 1.
 */
uint32_t callers_node_item(const struct lineage *l);

/*
 * Remembers p (a reference is taken) as the newest of its kind at the place for this process
 * and up its session.
 */
void callers_post(struct callers *c, const struct lineage *l, uint64_t place, enum post_kind kind,
                  struct post *p);
/* The post that this reader may see, with a reference, or NULL. */
struct post *callers_find(struct callers *c, const struct lineage *l, uint64_t place,
                          enum post_kind kind);
/*
 * Tells how much memory a post keeps by now; what is too much is forgotten at a later
 * callers_post. Posts must not outlive c then.
 */
void callers_account(struct callers *c, struct post *p, size_t bytes);
/* Forgets everything posted at a place (it was removed). */
void callers_forget_place(struct callers *c, uint64_t place);

/*
 * The caller's task is dying of a signal right now (a FLUSH that nobody asked for). False where
 * it cannot be seen.
 */
bool callers_dying_of_signal(const struct caller *who);

#endif
