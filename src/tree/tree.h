/*
 * tree.h: the virtual filesystem without FUSE: every operation by node number and handle,
 * errors as -Exxx.
 *
 * mount/ turns each call into a reply and nothing more. Each failing operation has left its
 * sentence in the caller's `error` when it returns. Handles are indices into a table; node
 * numbers are computed (node.h). Any thread; two calls on one handle are serialised by the
 * handle's lock.
 */
#ifndef RV_TREE_TREE_H
#define RV_TREE_TREE_H

#include <sys/stat.h>
#include <sys/statvfs.h>

#include "tenant/tenant.h"
#include "tree/callers.h"
#include "tree/node.h"

struct tree;

struct tree_options {
	struct tenants *tenants;
	const char *data;    /* for statfs */
	const char *version; /* "0.1.0" */
	bool read_only;
	uid_t root_uid; /* who runs the daemon: owner of the top and of quota and status */
	gid_t root_gid;
	int kept_fd; /* memory that outlives this process (kept.h), -1: none; stays the caller's */
	uint32_t restarts; /* servers of this mount before this one */
	pid_t supervisor;  /* 0: none */
	/* Told of queries that took long, a line each without newline, from any thread; NULL: nobody. */
	void (*slow_query)(void *ctx, const char *line);
	void *slow_query_ctx;
};

int tree_new(const struct tree_options *o, struct tree **ret, struct err *e);
void tree_free(struct tree *t); /* ends open handles: what waits in them is rejected */

/*
 * A node's number as the kernel is told it, and back: it tells its users (name_to_handle_at(2)), who
 * shall not count others by it. The same for every server of a mount.
 */
uint64_t tree_shown(const struct tree *t, uint64_t node);
uint64_t tree_hidden(const struct tree *t, uint64_t shown);

struct tree_entry {
	uint64_t node;
	struct stat attr; /* st_ino is the same for all callers of per-caller files */
	/* seconds; 0 for query, results, error, and names in ingest/ and vectors/ */
	double entry_timeout;
	double attr_timeout;
};

int tree_lookup(struct tree *t, const struct caller *who, uint64_t parent, const char *name,
                struct tree_entry *ret);
int tree_getattr(struct tree *t, const struct caller *who, uint64_t node, struct tree_entry *ret);

/* What of *to is meant: TREE_SET_* */
#define TREE_SET_MODE  1u
#define TREE_SET_UID   2u
#define TREE_SET_GID   4u
#define TREE_SET_SIZE  8u
#define TREE_SET_TIMES 16u
#define TREE_NO_HANDLE UINT64_MAX
int tree_setattr(struct tree *t, const struct caller *who, uint64_t node, uint64_t handle,
                 unsigned what, const struct stat *to, struct tree_entry *ret);

/*
 * The nodes whose owner and mode follow a tenant's or collection's, as far as a kernel may
 * remember them. Returns their count.
 */
#define TREE_DEPENDENTS_MAX 32
size_t tree_dependents(uint64_t node, uint64_t *ret, size_t max);

int tree_mkdir(struct tree *t, const struct caller *who, uint64_t parent, const char *name,
               mode_t mode, struct tree_entry *ret);
int tree_rmdir(struct tree *t, const struct caller *who, uint64_t parent, const char *name);
int tree_unlink(struct tree *t, const struct caller *who, uint64_t parent, const char *name);
/* What is neither a file nor a directory, and a second name: -EPERM, wherever it is. */
int tree_no_other_kind(struct tree *t, const struct caller *who, uint64_t parent);
int tree_rename(struct tree *t, const struct caller *who, uint64_t parent, const char *name,
                uint64_t new_parent, const char *new_name, unsigned flags);
int tree_create(struct tree *t, const struct caller *who, uint64_t parent, const char *name,
                mode_t mode, int flags, struct tree_entry *ret, uint64_t *ret_handle);

int tree_open(struct tree *t, const struct caller *who, uint64_t node, int flags,
              uint64_t *ret_handle, bool *ret_noflush);
/*
 * After an open: the length of what it reads, when the size that the kernel was told last is
 * smaller. sendfile asks for no size of its own, and would stop there.
 */
bool tree_outgrew(struct tree *t, uint64_t handle, uint64_t *ret_size);
/*
 * Appends at most n bytes from off to *ret. TREE_WAIT: there is nothing yet (events); to be called
 * again when the tenant of the node has something, which tenants_on_event() tells.
 */
#define TREE_WAIT 1
int tree_read(struct tree *t, const struct caller *who, uint64_t handle, uint64_t off, size_t n,
              struct buf *ret);
/* Whether a read gives something at once (1) or waits (0). Of files that never wait: 1. */
int tree_poll(struct tree *t, uint64_t handle);
/* Returns n or an error. */
long tree_write(struct tree *t, const struct caller *who, uint64_t handle, uint64_t off,
                const void *p, size_t n);
/*
 * After a write to `query`: how far the file reaches by now, when the kernel has to be told.
 * sendfile reads through its page cache and stops at the size that it knows. False for other
 * files, and for who reads by read(2).
 */
bool tree_grew(struct tree *t, uint64_t handle, uint64_t *ret_size);
int tree_flush(struct tree *t, const struct caller *who, uint64_t handle);
int tree_fsync(struct tree *t, const struct caller *who, uint64_t handle);
void tree_release(struct tree *t, uint64_t handle);

int tree_opendir(struct tree *t, const struct caller *who, uint64_t node, uint64_t *ret_handle);
/*
 * Calls add for each entry after the cookie off (0: from the start) until add returns non-zero
 * (the entry did not fit) or the end. Cookies are stable: "." 1, ".." 2, then by kind or by
 * number.
 */
struct tree_dirent {
	const char *name;
	uint64_t ino;
	mode_t type;     /* S_IFDIR or S_IFREG */
	uint64_t cookie; /* to go on after this entry */
};
int tree_readdir(struct tree *t, const struct caller *who, uint64_t handle, uint64_t off,
                 int (*add)(void *ctx, const struct tree_dirent *d), void *ctx);
void tree_releasedir(struct tree *t, uint64_t handle);

int tree_statfs(struct tree *t, const struct caller *who, uint64_t node, struct statvfs *ret);

/*
 * Extended attributes: user.KEY of files in vectors/ is the metadata; all else is -ENODATA
 * (get), -EOPNOTSUPP (set).
 */
int tree_getxattr(struct tree *t, const struct caller *who, uint64_t node, const char *name,
                  struct buf *ret);
/* names, each with its 0 byte */
int tree_listxattr(struct tree *t, const struct caller *who, uint64_t node, struct buf *ret);
int tree_setxattr(struct tree *t, const struct caller *who, uint64_t node, const char *name,
                  const void *value, size_t n, int flags);
int tree_removexattr(struct tree *t, const struct caller *who, uint64_t node, const char *name);

#endif
