/*
 * file.h: inside the tree: the table of files, the handle, and what a file_*.c gives to be a file.
 *
 * Private to src/tree. One struct file_ops per user-visible kind of file; file.c holds the
 * table by enum node_kind (name, mode, scope, ops) that lookup, readdir and open share. Adding
 * a file is a line in that table and a file_NAME.c.
 */
#ifndef RV_TREE_FILE_H
#define RV_TREE_FILE_H

#include "base/lock.h"
#include "tenant/audit.h"
#include "tree/kept.h"
#include "tree/tree.h"

#define TREE_CHANGED 64

struct tree {
	struct tree_options options;
	struct tenants *tenants;
	struct callers *callers;
	struct kept *kept;           /* what outlives this process: kept.h */
	struct handles *handles;     /* handle.h */
	struct snapshots *snapshots; /* sizes of open snapshots by node: handle.h */
	struct live *live;           /* receipts of files being written: live.h */
	struct mutex metadata_lock;  /* setxattr is read, change, write */
	struct mutex spare_lock;
	struct buf spare;    /* spare_lock: memory of a large batch that ended, for the next one */
	uint64_t started_ns; /* wall clock: the times of files that have none */
	_Atomic uint64_t owners_changed_ns[TREE_CHANGED]; /* monotonic, by this server: access.c */
};

/* One open file. Allocated by handle.c, found by its index. */
struct handle {
	struct mutex lock; /* held during every call of ops on it */
	struct node node;
	const struct file_ops *ops;
	int flags;           /* of open(2) */
	bool failed;         /* the last write or flush was refused */
	bool has_snapshot;   /* counted in tree->snapshots */
	bool outgrew;        /* the snapshot is longer than stat said last */
	bool applied;        /* a control write was: a lone newline that follows is its end */
	struct buf snapshot; /* what reads give: rendered at open, stable */
	void *state;         /* of ops; freed by ops->release */
	bool left;           /* by a server that is gone, and not used since: restored at its use */
	uint32_t index;      /* const; in kept */
	struct kept_file *kept; /* const */
};

struct file_ops {
	/*
	 * Renders the file's content as a reader would get it now; also gives st_size. NULL:
	 * not readable as a snapshot. -ENODATA refuses the open (results).
	 */
	int (*render)(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
	              struct err *e);
	/*
	 * A control file: one whole write(2) of lines (at most LIMIT_CONTROL_WRITE bytes),
	 * applied entirely or not at all.
	 */
	int (*control)(struct tree *t, const struct caller *who, struct node n, const char *text,
	               size_t len, struct err *e);
	/*
	 * Files with a life of their own (query, ingest, vectors, delete) instead of control.
	 * All optional.
	 */
	int (*open)(struct tree *t, const struct caller *who, struct handle *h, struct err *e);
	/* TREE_WAIT: nothing yet */
	int (*read)(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
	            size_t n, struct buf *ret, struct err *e);
	long (*write)(struct tree *t, const struct caller *who, struct handle *h, uint64_t off,
	              const void *p, size_t n, struct err *e);
	/* also fsync; NULL: noflush */
	int (*flush)(struct tree *t, const struct caller *who, struct handle *h, struct err *e);
	/* h NULL: by path */
	int (*truncate)(struct tree *t, const struct caller *who, struct handle *h, uint64_t size,
	                struct err *e);
	void (*release)(struct tree *t, struct handle *h);
	/* In place of open, of a handle that a server before this one left: state from h->kept. */
	int (*restore)(struct tree *t, struct handle *h, struct err *e);
	/* The size for stat when render would be too dear (vectors/ID, receipts). */
	int (*size)(struct tree *t, const struct caller *who, struct node n, uint64_t *ret,
	            struct err *e);
};

/* One per file_*.c */
extern const struct file_ops file_readme, file_version, file_top_stats, file_error;
extern const struct file_ops file_config, file_stats, file_integrity, file_quota, file_status;
extern const struct file_ops file_tiers, file_labels;
extern const struct file_ops file_top_config, file_metrics, file_audit, file_events;
extern const struct file_ops file_all_tenants;
extern const struct file_ops file_query, file_results;
extern const struct file_ops file_ingest, file_vector, file_delete, file_export;

struct file_kind {
	const char *name; /* NULL: named by its item */
	enum {
		/*
		 * directories that hold it, or-ed: TENANT = tenants/ID, COLLECTION =
		 * collections/NAME
		 */
		SCOPE_TOP = 1,
		SCOPE_TENANT = 2,
		SCOPE_COLLECTION = 4,
		SCOPE_METRICS = 8,
		SCOPE_ALL = 16,
		SCOPE_VIEW = 32
	} scope;
	mode_t mode; /* type and permission bits */
	bool roots;  /* owned by root even in a tenant that was given away */
	bool per_caller; /* a node each: of all who write one, the kernel lets one at a time */
	enum tenant_access access_read,
		access_write;       /* what opening for reading and writing needs of the status */
	const struct file_ops *ops; /* NULL: a directory */
};

const struct file_kind *file_kind(enum node_kind k);
/* The kind of that name in a directory of the scope, or NODE_N_KINDS. */
enum node_kind file_kind_by_name(int scope, const char *name);

/* The place under which a caller's posts for this node are kept: the cid, 0 for the top, all/. */
static inline uint64_t node_place(struct node n)
{
	if (n.kind >= NODE_ALL && n.kind <= NODE_ALL_TENANTS)
		return node_encode((struct node){ NODE_ALL, 0, 0 });
	if (node_is_view(n))
		return node_encode((struct node){ NODE_VIEW, n.number, n.item & NODE_SLOT });
	return n.number;
}

/*
 * Directories with entries of their own; implemented in file_ingest.c and file_vectors.c,
 * called by dir.c.
 */
struct dir_ops {
	int (*lookup)(struct tree *t, const struct caller *who, struct inside *in, const char *name,
	              struct node *ret, struct err *e);
	/* by item */
	int (*next)(struct tree *t, struct inside *in, uint64_t after, size_t max,
	            int (*cb)(void *ctx, const char *name, uint32_t item), void *ctx,
	            struct err *e);
	/* A node for a name that is about to be written; it need not exist afterwards. */
	int (*create)(struct tree *t, const struct caller *who, struct inside *in, const char *name,
	              struct node *ret, struct err *e);
	int (*unlink)(struct tree *t, struct inside *in, const char *name, struct err *e);
	int (*rename)(struct tree *t, struct inside *in, const char *name, const char *new_name,
	              unsigned flags, struct err *e);
};
extern const struct dir_ops dir_ingest, dir_vectors;

/* live.c */
int live_new(struct live **ret, struct err *e);
void live_free(struct live *l);

/* ---- shared by tree.c, dir.c, attr.c and xattr.c ---- */

/*
 * Enters what the node belongs to, if it is anything below tenants/; then tenant_leave() by
 * tree_leave().
 */
int tree_enter(struct tree *t, struct node n, enum tenant_access access, struct inside *ret,
               struct err *e);
void tree_leave(struct inside *in);
/*
 * Leaves the sentence in the caller's error file, counts the error, tells the audit what
 * operation failed (the function that calls it), returns the code.
 */
#define tree_fail(t, who, n, rc, e) tree_fail_in(t, who, n, __func__, rc, e)
int tree_fail_in(struct tree *t, const struct caller *who, struct node n, const char *function,
                 int rc, struct err *e);
/* The node of a number from outside. -ESTALE. */
int tree_node(uint64_t number, struct node *ret, struct err *e);

/*
 * Before an open: when the request is sent again, its first try may have left a handle whose number
 * nobody knows.
 */
void tree_drop_orphan(struct tree *t, const struct caller *who);
/* tree_open() of a node that was resolved. */
int tree_open_node(struct tree *t, const struct caller *who, struct node n, int flags,
                   uint64_t *ret_handle, struct err *e);

/* Owner and mode of a node's directory: of the tenant, the collection, or the top. */
int attr_owner(struct tree *t, struct node n, struct owner *ret, uint64_t *ret_created_ns,
               struct err *e);
/* Everything that lookup, getattr, mkdir, create and setattr answer about a node. */
int attr_entry(struct tree *t, const struct caller *who, struct node n, struct tree_entry *ret,
               struct err *e);
/* Owner, mode and type of a node, the rest of *ret is 0. -ENODEV. */
int attr_mode(struct tree *t, struct node n, struct stat *ret, struct err *e);
/* What st_ino and d_ino say of a node. */
uint64_t attr_ino(const struct tree *t, struct node n);
int attr_set(struct tree *t, const struct caller *who, struct node n, unsigned what,
             const struct stat *to, struct err *e);

/* The collection cid of a further collection; the tenant's own is not found by name. */
int dir_find_collection(struct inside *in, const char *name, uint32_t *ret_cid);

/* ---- acts.c: what the audit is told ---- */

/* Refusals, and administrative operations that failed; nothing of other failures. */
void acts_failed(struct tree *t, const struct caller *who, struct node n, const char *function,
                 int rc, const struct err *e);
struct act {
	const char *operation;
	struct node node;
	const char *tenant; /* NULL: the node's */
	const char *text;   /* told for files that are root's, or if is_name; NULL: none */
	size_t text_len;
	bool is_name; /* of a tenant */
};
/* An administrative act was done; durable when it returns. */
void acts_done(struct tree *t, const struct caller *who, const struct act *act);
/* A control file was written. */
void acts_wrote(struct tree *t, const struct caller *who, struct node n, const char *text,
                size_t len);
/* Around a call that may insert or delete: what this thread counted meanwhile is told. */
void acts_begin(void);
void acts_data(struct tree *t, const struct caller *who, struct node n);
/* By a file query. */
void acts_searched(struct tree *t, const struct lineage *l, struct node n, uint64_t count);

/* ---- file_audit.c: audit.1, audit.2 … ---- */
#define AUDIT_NAME_MAX 16
bool audit_old_find(struct tree *t, const char *name, struct node *ret);
/* The next one older than `after` files; false: no more. */
bool audit_old_next(struct tree *t, uint32_t after, char ret_name[AUDIT_NAME_MAX],
                    uint32_t *ret_older);

#endif
