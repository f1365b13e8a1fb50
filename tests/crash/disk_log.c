/*
 * disk_log.c: the log of what was done, and directories made of it.
 *
 * A file is an inode: a number that its writes have, whatever its name is. A crash after the first
 * n entries keeps of each inode what was written before its last sync, and of what came later what
 * is drawn; likewise of each folder the names up to its last sync and some first ones of the later.
 * A folder that has not survived takes all that is in it along. Shared memory of SQLite (-shm) is
 * not durable and left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "tests/crash/disk.h"
#include "tests/crash/world.h"

#define FDS       4096
#define NAME_MAX_ 128
#define PAGE      4096
#define SECTOR    512

enum kind { MARK, CREATE, WRITE, TRUNCATE, SYNC, SYNC_DIR, RENAME, UNLINK, MKDIR };

struct entry {
	enum kind kind;
	uint32_t inode;
	bool doubtful; /* a sync failed and took it for written */
	uint64_t off;  /* or the size, or the length of the log when a sync began */
	size_t len;
	char *data;
	char name[NAME_MAX_], to[NAME_MAX_]; /* below the root; "" is the root */
};

struct name {
	char name[NAME_MAX_];
	uint32_t inode; /* 0: a folder */
};

struct names {
	struct name *all;
	size_t n, cap;
};

static char root[PATH_MAX];
static volatile bool recording;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *entries;
static size_t n_entries, cap_entries;
static struct names now; /* the names as they are while recording */
static uint32_t inodes;
static uint32_t fd_inode[FDS];

bool disk_recording(void)
{
	return recording;
}

void disk_lock(void)
{
	pthread_mutex_lock(&lock);
}

void disk_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

bool disk_inside(const char *path, const char **ret_below)
{
	size_t n = strlen(root);

	if (strncmp(path, root, n) != 0 || (path[n] && path[n] != '/'))
		return false;
	path += n;
	*ret_below = path + strspn(path, "/");
	return true;
}

/* ---- names ---- */

static struct name *find(struct names *ns, const char *name)
{
	for (size_t i = 0; i < ns->n; i++)
		if (strcmp(ns->all[i].name, name) == 0)
			return &ns->all[i];
	return NULL;
}

static void forget(struct names *ns, const char *name)
{
	struct name *p = find(ns, name);

	if (p)
		*p = ns->all[--ns->n];
}

static void add_name(struct names *ns, const char *name, uint32_t inode)
{
	forget(ns, name);
	if (ns->n == ns->cap) {
		ns->cap = ns->cap ? ns->cap * 2 : 64;
		ns->all = realloc(ns->all, ns->cap * sizeof(*ns->all));
	}
	ns->all[ns->n].inode = inode;
	snprintf(ns->all[ns->n++].name, NAME_MAX_, "%s", name);
}

static void apply_name(struct names *ns, const struct entry *e)
{
	struct name *p;

	switch (e->kind) {
	case CREATE:
	case MKDIR:
		add_name(ns, e->name, e->inode);
		break;
	case UNLINK:
		forget(ns, e->name);
		break;
	case RENAME:
		p = find(ns, e->name);
		if (p)
			add_name(ns, e->to, p->inode);
		forget(ns, e->name);
		break;
	default:
		break;
	}
}

/* Without a slash at the end: a folder is opened as stores/1/, too. */
static void copy_name(char to[NAME_MAX_], const char *name)
{
	size_t n = (size_t)snprintf(to, NAME_MAX_, "%s", name);

	while (n > 0 && to[n - 1] == '/')
		to[--n] = 0;
}

/* The folder of a name, "" for the root. */
static void folder_of(const char *name, char ret[NAME_MAX_])
{
	char *slash;

	copy_name(ret, name);
	slash = strrchr(ret, '/');
	*(slash ? slash : ret) = 0;
}

/* ---- recording ---- */

static struct entry *add(enum kind kind)
{
	if (n_entries == cap_entries) {
		cap_entries = cap_entries ? cap_entries * 2 : 1024;
		entries = realloc(entries, cap_entries * sizeof(*entries));
		if (!entries)
			abort();
	}
	entries[n_entries] = (struct entry){ .kind = kind };
	return &entries[n_entries++];
}

void disk_record(const char *path)
{
	snprintf(root, sizeof(root), "%s", path);
	recording = true;
}

void disk_record_stop(void)
{
	recording = false;
}

void disk_record_free(void)
{
	for (size_t i = 0; i < n_entries; i++)
		free(entries[i].data);
	free(entries);
	free(now.all);
	entries = NULL;
	now = (struct names){ 0 };
	n_entries = cap_entries = 0;
	memset(fd_inode, 0, sizeof(fd_inode));
}

size_t disk_mark(void)
{
	size_t n;

	disk_lock();
	add(MARK);
	n = n_entries;
	disk_unlock();
	return n;
}

size_t disk_length(void)
{
	return n_entries;
}

void disk_note_open(int fd, const char *path, bool created, bool truncated)
{
	char name[NAME_MAX_];
	struct name *p;

	copy_name(name, path);
	if (created) {
		struct entry *e = add(CREATE);

		e->inode = ++inodes;
		copy_name(e->name, name);
		apply_name(&now, e);
	}
	p = find(&now, name);
	if (fd < FDS)
		fd_inode[fd] = p ? p->inode : 0;
	if (truncated && !created && p)
		disk_note_truncate(fd, 0);
}

void disk_note_close(int fd)
{
	if (fd >= 0 && fd < FDS)
		fd_inode[fd] = 0;
}

void disk_note_write(int fd, const void *p, size_t n, uint64_t off)
{
	struct entry *e;

	if (fd >= FDS || !fd_inode[fd])
		return;
	e = add(WRITE);
	e->inode = fd_inode[fd];
	e->off = off;
	e->len = n;
	e->data = malloc(n);
	memcpy(e->data, p, n);
}

void disk_note_truncate(int fd, uint64_t size)
{
	struct entry *e;

	if (fd >= FDS || !fd_inode[fd])
		return;
	e = add(TRUNCATE);
	e->inode = fd_inode[fd];
	e->off = size;
}

size_t disk_note_sync(int fd)
{
	return n_entries;
}

static bool folder_of_fd(int fd, char ret[NAME_MAX_])
{
	char link[64], path[PATH_MAX];
	const char *below;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return false;
	path[n] = 0;
	if (!disk_inside(path, &below))
		return false;
	copy_name(ret, below);
	return true;
}

void disk_note_synced(int fd, size_t from)
{
	char folder[NAME_MAX_];
	struct stat st;
	struct entry *e;

	if (fd < FDS && fd_inode[fd]) {
		e = add(SYNC);
		e->inode = fd_inode[fd];
		e->off = from;
	} else if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) && folder_of_fd(fd, folder)) {
		e = add(SYNC_DIR);
		memcpy(e->name, folder, sizeof(folder));
		e->off = from;
	}
}

static bool is_data(const struct entry *e, uint32_t inode)
{
	return (e->kind == WRITE || e->kind == TRUNCATE) && e->inode == inode;
}

/* Of the first n entries: up to which everything of an inode, or of a folder, is durable. */
static size_t last_sync(size_t n, uint32_t inode, const char *folder)
{
	for (size_t i = n; i-- > 0;) {
		const struct entry *e = &entries[i];

		if (inode ? e->kind == SYNC && e->inode == inode
		          : e->kind == SYNC_DIR && strcmp(e->name, folder) == 0)
			return (size_t)e->off;
	}
	return 0;
}

/* The kernel calls the pages clean now: no later sync writes them. */
void disk_note_sync_failed(int fd)
{
	uint32_t inode = fd < FDS ? fd_inode[fd] : 0;

	for (size_t i = last_sync(n_entries, inode, ""); inode && i < n_entries; i++)
		if (is_data(&entries[i], inode))
			entries[i].doubtful = true;
}

void disk_note_rename(const char *from, const char *to)
{
	struct entry *e = add(RENAME);

	copy_name(e->name, from);
	copy_name(e->to, to);
	apply_name(&now, e);
}

void disk_note_unlink(const char *path)
{
	struct entry *e = add(UNLINK);

	copy_name(e->name, path);
	apply_name(&now, e);
}

void disk_note_mkdir(const char *path)
{
	struct entry *e = add(MKDIR);

	copy_name(e->name, path);
	apply_name(&now, e);
}

/* ---- crashing ---- */

const char *disk_crash_name(enum disk_crash how)
{
	static const char *names[] = { "nothing unsynced", "everything", "prefixes", "subsets",
		                       "torn pages" };

	return names[how];
}

struct crash {
	size_t n; /* entries before it */
	enum disk_crash how;
	uint64_t random;
};

static bool heads(struct crash *c)
{
	return world_random(&c->random) >> 40 & 1;
}

/* How many of the m entries that were not synced survive, where they do in order. */
static size_t survivors(struct crash *c, size_t m)
{
	if (c->how == DISK_NOTHING)
		return 0;
	if (c->how == DISK_ALL)
		return m;
	return (size_t)(world_random(&c->random) % (m + 1));
}

static bool in_folder(const struct entry *e, const char *folder)
{
	char of[NAME_MAX_];

	if (e->kind != CREATE && e->kind != RENAME && e->kind != UNLINK && e->kind != MKDIR)
		return false;
	folder_of(e->name, of);
	return strcmp(of, folder) == 0;
}

static void names_of_folder(struct crash *c, const char *folder, struct names *ret)
{
	size_t synced = last_sync(c->n, 0, folder);
	size_t m = 0, keep;

	for (size_t i = synced; i < c->n; i++)
		m += in_folder(&entries[i], folder);
	keep = survivors(c, m);
	for (size_t i = 0; i < c->n; i++) {
		if (!in_folder(&entries[i], folder))
			continue;
		if (i >= synced && keep-- == 0)
			break;
		apply_name(ret, &entries[i]);
	}
}

/* Pieces of a write that did not reach the disk in its order. */
static int write_pieces(struct crash *c, int fd, const struct entry *e)
{
	size_t piece = c->how == DISK_TORN ? SECTOR : PAGE;
	int rc = 0;

	for (size_t at = 0; at < e->len && rc == 0;) {
		size_t n = piece - (size_t)((e->off + at) % piece);

		n = n < e->len - at ? n : e->len - at;
		if (heads(c))
			rc = io_write_at(fd, e->data + at, n, e->off + at);
		at += n;
	}
	return rc;
}

static int apply_data(struct crash *c, int fd, const struct entry *e, bool durable)
{
	bool any_order = !durable && (c->how == DISK_SUBSET || c->how == DISK_TORN);

	if (e->doubtful && c->how == DISK_NOTHING)
		return 0;
	any_order = any_order || (e->doubtful && c->how != DISK_ALL);

	if (e->kind == TRUNCATE)
		return any_order && heads(c) ? 0 : ftruncate(fd, (off_t)e->off);
	/* now and then a write as a whole */
	if (any_order && world_random(&c->random) % 3)
		return heads(c) ? write_pieces(c, fd, e) : 0;
	return io_write_at(fd, e->data, e->len, e->off);
}

static int write_file(struct crash *c, const char *path, uint32_t inode)
{
	size_t synced = last_sync(c->n, inode, "");
	size_t m = 0, keep;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), rc = 0;

	if (fd < 0)
		return -errno;
	for (size_t i = synced; i < c->n; i++)
		m += is_data(&entries[i], inode);
	keep = c->how == DISK_SUBSET || c->how == DISK_TORN ? m : survivors(c, m);
	for (size_t i = 0; i < c->n && rc >= 0; i++) {
		if (!is_data(&entries[i], inode))
			continue;
		if (i >= synced && keep-- == 0)
			break;
		rc = apply_data(c, fd, &entries[i], i < synced);
	}
	close(fd);
	return rc;
}

static bool is_shm(const char *name)
{
	size_t n = strlen(name);

	return n > 4 && strcmp(name + n - 4, "-shm") == 0;
}

static int write_folder(struct crash *c, const char *to, const char *folder)
{
	struct names names = { 0 };
	char path[PATH_MAX];
	int rc = 0;

	names_of_folder(c, folder, &names);
	for (size_t i = 0; i < names.n && rc >= 0; i++) {
		const struct name *p = &names.all[i];

		snprintf(path, sizeof(path), "%s/%s", to, p->name);
		if (p->inode)
			rc = is_shm(p->name) ? 0 : write_file(c, path, p->inode);
		else
			rc = mkdir(path, 0700) < 0 ? -errno : write_folder(c, to, p->name);
	}
	free(names.all);
	return rc;
}

int disk_crash(const char *to, size_t n, enum disk_crash how, uint64_t random)
{
	struct crash c = { .n = n, .how = how, .random = random };

	return write_folder(&c, to, "");
}
