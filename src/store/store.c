/*
 * store.c: opening and closing one tenant's store, and what a crash left behind.
 *
 * Opening trusts nothing: the database's format and state, then the witness (does somebody
 * remember more commits than the database has?), then the collections and the tails of their
 * segments. The next sequence is above everything that was ever seen anywhere, so that a
 * sequence never means two things. Files that nothing refers to are unlinked, but not when
 * commits were lost: they may be all that is left of them.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/store_impl.h"

void store_path(const struct store *s, const char *name, char *ret, size_t cap)
{
	snprintf(ret, cap, "%s/%s", s->dir, name);
}

int store_runtime(int rc, struct err *e)
{
	if (rc != -EILSEQ)
		return rc;
	if (e && e->code == rc)
		e->code = -EIO;
	return -EIO;
}

int store_reader(struct store *s, struct err *e)
{
	char path[4096];
	int rc;

	if (s->reader_open)
		return 0;
	store_path(s, "store.db", path, sizeof(path));
	rc = store_db_open(&s->r, path, s->read_only ? SQL_IMMUTABLE : SQL_READ, e);
	s->reader_open = rc == 0;
	return store_runtime(rc, e);
}

/* ---- opening ---- */

static off_t file_size(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_size : -1;
}

/* There was a database: SQLite would remove a WAL that another one left. */
static bool was_there(const struct store *s)
{
	char path[4096];

	store_path(s, "commits", path, sizeof(path));
	if (file_size(path) > 0)
		return true;
	store_path(s, "store.db-wal", path, sizeof(path));
	return file_size(path) > 0;
}

static int find_database(struct store *s, const char *path, struct err *e)
{
	char wal[4096];
	struct stat st;

	if (stat(path, &st) == 0) {
		if (st.st_size == 0) /* SQLite would remove its WAL */
			return err_set(e, -EILSEQ, "store.db is empty");
		store_path(s, "store.db-wal", wal, sizeof(wal));
		if (s->read_only && stat(wal, &st) == 0 && st.st_size > 0)
			return err_set(e, -EROFS,
			               "the store was not closed cleanly, "
			               "and readonly it cannot be recovered");
		return 0;
	}
	if (errno != ENOENT)
		return err_set(e, -errno, "opening the store: %s", strerror(errno));
	if (s->read_only)
		return err_set(e, -ENOENT, "there is no store");
	if (was_there(s))
		return err_set(e, -EILSEQ, "store.db is missing");
	return store_db_create(s->dir, path, e);
}

/* *ret_wal: a WAL was left behind. */
static int open_database(struct store *s, bool *ret_wal, struct err *e)
{
	char path[4096];
	int rc;

	store_path(s, "store.db-wal", path, sizeof(path));
	*ret_wal = file_size(path) > 0;
	store_path(s, "store.db", path, sizeof(path));
	rc = find_database(s, path, e);
	if (rc == 0)
		rc = store_db_open(&s->w, path, s->read_only ? SQL_IMMUTABLE : SQL_WRITE, e);
	if (rc == 0)
		rc = store_state_load(&s->w, &s->now, e);
	return rc;
}

static void raise_to(_Atomic uint64_t *v, uint64_t to)
{
	if (atomic_load(v) < to)
		atomic_store(v, to);
}

/*
 * *ret_news: the witness knows of commits that the database does not have, and this is not
 * written down yet.
 */
static int ask_witness(struct store *s, bool *ret_news, struct err *e)
{
	char path[4096];
	struct witness w;
	int fd;

	*ret_news = false;
	s->committed_seq = s->now.last_seq;
	store_path(s, "commits", path, sizeof(path));
	fd = witness_open(path, s->read_only, &w, &s->witness_damaged, e);
	if (fd < 0 && fd != -ENOENT)
		return fd;
	s->witness_fd = fd < 0 ? -1 : fd;
	s->next_seq = s->now.last_seq + 1;
	if (w.seq > s->now.last_seq) {
		s->now.lost_seqs += w.seq - s->now.last_seq;
		s->next_seq = w.seq + 1;
		*ret_news = true;
	}
	if (w.changes > s->now.changes) {
		s->now.lost_changes += w.changes - s->now.changes;
		s->now.changes = w.changes;
		*ret_news = true;
	}
	return 0;
}

static int open_segments(struct store *s, struct err *e)
{
	uint64_t batch, seq;
	char path[4096];
	int rc;

	for (size_t i = 0; i < s->n_colls; i++) {
		struct coll *c = s->colls[i];

		segment_path(s->dir, c->cid, c->now.c.gen, path, sizeof(path));
		/*
		 * None yet, or begun on a full disk; where one is missing, its rows are found
		 * damaged.
		 */
		if (file_size(path) < (c->now.segment_end ? 0 : SEGMENT_PAGE))
			continue;
		rc = segment_open(&c->seg, s->dir, c->cid, c->now.c.gen, c->now.salt,
		                  c->now.segment_end, s->read_only, &batch, &seq, e);
		if (rc < 0)
			return rc;
		raise_to(&s->last_batch, batch);
		if (seq >= s->next_seq && seq < STORE_SEQ_MAX)
			s->next_seq = seq + 1;
	}
	return 0;
}

/* ---- what nothing refers to ---- */

/* Others keep files here, too, and may be writing one while the store is opened. */
static bool is_own_name(const char *name)
{
	return (*name >= '0' && *name <= '9') || strncmp(name, "store.", 6) == 0;
}

static bool is_stray(struct store *s, const char *name)
{
	size_t len = strlen(name);
	struct coll *c;
	uint32_t cid, gen;
	int end = 0;

	if (len > 4 && strcmp(name + len - 4, ".tmp") == 0)
		return is_own_name(name);
	if (sscanf(name, "%" SCNu32 ".vectors.%" SCNu32 "%n", &cid, &gen, &end) == 2 &&
	    !name[end]) {
		c = coll_find(s, cid);
		return !c || c->now.c.gen != gen;
	}
	end = 0;
	if (sscanf(name, "%" SCNu32 ".graph%n", &cid, &end) == 1 && end && !name[end])
		return !coll_find(s, cid);
	return false;
}

static void sweep(struct store *s)
{
	DIR *d = opendir(s->dir);
	bool any = false;
	struct dirent *entry;

	while (d && (entry = readdir(d))) {
		if (is_stray(s, entry->d_name) && unlinkat(dirfd(d), entry->d_name, 0) == 0)
			any = true;
	}
	if (d)
		closedir(d);
	if (any)
		io_sync_dir(s->dir);
}

/*
 * Without an image nobody will ask what died: the next open reads the rows that live. A full
 * disk keeps it for later.
 */
static void forget_gone(struct store *s)
{
	char path[4096];
	int64_t one;

	for (size_t i = 0; i < s->n_colls; i++) {
		uint32_t cid = s->colls[i]->cid;

		store_image_path(s, cid, path, sizeof(path));
		if (file_size(path) < 0 &&
		    sql_number(&s->w, &one, NULL, "SELECT 1 FROM gone WHERE cid = ? LIMIT 1", "i",
		               I(cid)) == 0)
			store_image_saved(s, cid, STORE_SEQ_MAX, NULL);
	}
}

/* On a full disk the next commit does it. */
static int write_down_losses(struct store *s, struct err *e)
{
	int rc;

	mutex_lock(&s->write);
	rc = txn_begin(s, true, e);
	if (rc == 0)
		rc = txn_commit(s, true, e);
	mutex_unlock(&s->write);
	return rc == -ENOSPC ? 0 : rc;
}

/* Before there is a commit behind it. A disk that fails now makes the store readonly. */
static int settle_wal(struct store *s, struct err *e)
{
	char path[4096];
	int rc;

	store_path(s, "store.db", path, sizeof(path));
	mutex_lock(&s->write);
	rc = sql_settle_wal(path, e);
	if (rc == -EIO)
		s->failed = true;
	mutex_unlock(&s->write);
	FAULT_POINT("open.settled");
	return rc == -EIO || rc == -ENOSPC ? 0 : rc;
}

static int recover(struct store *s, bool wal, struct err *e)
{
	bool news;
	int rc = ask_witness(s, &news, e);

	FAULT_POINT("open.database");
	atomic_store(&s->last_batch, s->now.last_batch);
	if (rc == 0)
		rc = colls_load(s, e);
	if (rc == 0)
		rc = open_segments(s, e);
	FAULT_POINT("open.segments");
	atomic_store(&s->last_seq, s->next_seq - 1);
	if (rc < 0 || s->read_only)
		return rc;
	/* SQLite made the WAL's name, and does not look whether it became durable. */
	rc = io_sync_dir(s->dir);
	if (rc == 0)
		rc = io_sync_parent(s->dir);
	if (rc < 0)
		return err_set(e, rc, "syncing the store: %s", strerror(-rc));
	if (wal)
		rc = settle_wal(s, e);
	if (rc == 0 && news)
		rc = write_down_losses(s, e);
	if (!s->now.lost_seqs && !s->now.lost_changes)
		sweep(s);
	FAULT_POINT("open.swept");
	if (rc == 0)
		forget_gone(s);
	return rc;
}

static struct store *store_new(const char *dir, bool read_only)
{
	struct store *s = mem_zalloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->read_only = read_only;
	s->witness_fd = -1;
	s->last = &s->first;
	mutex_init(&s->write);
	mutex_init(&s->read);
	mutex_init(&s->queue);
	cond_init(&s->answered);
	rwlock_init(&s->colls_lock);
	s->dir = mem_dup(dir, strlen(dir));
	if (s->dir)
		return s;
	store_close(s);
	return NULL;
}

int store_open(const char *dir, bool read_only, struct store **ret, struct err *e)
{
	struct store *s;
	bool wal;
	int rc = 0;

	if (strlen(dir) > 3800)
		return err_set(e, -ENAMETOOLONG, "the store's path is longer than 3800 bytes");
	if (!read_only)
		rc = io_make_dir(dir, 0700);
	if (rc < 0)
		return err_set(e, rc, "creating the store: %s", strerror(-rc));
	s = store_new(dir, read_only);
	if (!s)
		return err_nomem(e);
	rc = open_database(s, &wal, e);
	if (rc == 0)
		rc = recover(s, wal, e);
	if (rc < 0) {
		store_close(s);
		return rc;
	}
	*ret = s;
	return 0;
}

/* ---- closing ---- */

void store_close(struct store *s)
{
	if (!s)
		return;
	sql_close(&s->r);
	/*
	 * The last connection checkpoints and removes the WAL; not on a disk that failed to
	 * sync.
	 */
	if (s->failed && s->w.db)
		sqlite3_db_config(s->w.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	sql_close(&s->w);
	colls_free(s);
	if (s->witness_fd >= 0)
		close(s->witness_fd);
	rwlock_destroy(&s->colls_lock);
	cond_destroy(&s->answered);
	mutex_destroy(&s->queue);
	mutex_destroy(&s->read);
	mutex_destroy(&s->write);
	mem_free(s->dir);
	mem_free(s);
}

uint64_t store_last_seq(struct store *s)
{
	return atomic_load(&s->last_seq);
}

uint64_t store_committed_seq(const struct store *s)
{
	return s->committed_seq;
}

uint64_t store_lost_commits(struct store *s)
{
	uint64_t n;

	mutex_lock(&s->write);
	n = s->now.lost_seqs > s->now.lost_changes ? s->now.lost_seqs : s->now.lost_changes;
	mutex_unlock(&s->write);
	return n;
}

uint64_t store_batch_number(struct store *s)
{
	return atomic_fetch_add(&s->last_batch, 1) + 1;
}

uint64_t store_skipped_rows(struct store *s)
{
	return atomic_load(&s->skipped);
}
