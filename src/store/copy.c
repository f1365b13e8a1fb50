/*
 * copy.c: see copy.h.
 *
 * The images are opened first: one that is replaced before the database is copied is too old then,
 * or just right, and whoever opens the copy can tell. The segments are opened inside of the
 * transaction; when one is gone, a compaction came in between, and another transaction is begun.
 * Only SQLite opens the databases: to close a descriptor of one would give up SQLite's locks on it.
 * The connections may write, though they do not: the last one to be closed clears the WAL away.
 */
#include "store/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/store_impl.h"

#define STEP_PAGES 4096
#define TRIES      10 /* compactions that may come in between */

/* ---- a database ---- */

static int copy_pages(struct sql *from, struct sql *to, struct err *e)
{
	sqlite3_backup *b = sqlite3_backup_init(to->db, "main", from->db, "main");
	int rc;

	if (!b)
		return sql_error(to, sqlite3_extended_errcode(to->db), e);
	do
		rc = sqlite3_backup_step(b, STEP_PAGES);
	while (rc == SQLITE_OK);
	sqlite3_backup_finish(b);
	return rc == SQLITE_DONE ? 0 : sql_error(to, rc, e);
}

/* Of the transaction that from is in, or of now. */
static int copy_aside(struct sql *from, const char *aside, int *ret_fd, struct err *e)
{
	struct sql to = { 0 };
	int fd, rc;

	unlink(aside);
	rc = sql_open(&to, aside, SQL_CREATE, e);
	if (rc == 0)
		rc = sql_exec(&to, "PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF", e);
	if (rc == 0)
		rc = copy_pages(from, &to, e);
	sql_close(&to);
	fd = rc == 0 ? open(aside, O_RDONLY | O_CLOEXEC) : -1;
	if (rc == 0 && fd < 0)
		rc = err_set(e, -errno, "the copy of the database: %s", strerror(errno));
	if (rc < 0)
		unlink(aside);
	else
		*ret_fd = fd;
	return rc;
}

int database_copy(const char *path, const char *aside, int *ret_fd, struct err *e)
{
	struct sql db = { 0 };
	int rc;

	if (access(path, F_OK) < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	rc = sql_open(&db, path, SQL_WRITE, e);
	if (rc == 0)
		rc = copy_aside(&db, aside, ret_fd, e);
	sql_close(&db);
	return rc;
}

/* ---- a store ---- */

void store_copy_close(struct store_copy *c)
{
	for (size_t i = 0; i < c->n; i++)
		close(c->files[i].fd);
	mem_free(c->files);
	*c = (struct store_copy){ 0 };
}

/* Takes the descriptor, also when it fails. */
static int add(struct store_copy *c, const char *name, int fd, uint64_t size, struct err *e)
{
	struct store_copy_file *p = mem_resize(c->files, c->n + 1, sizeof(*p));

	if (!p) {
		close(fd);
		return err_nomem(e);
	}
	c->files = p;
	p[c->n] = (struct store_copy_file){ .fd = fd, .size = size };
	snprintf(p[c->n].name, sizeof(p->name), "%s", name);
	c->n++;
	return 0;
}

/* One that is not there is left out. */
static int add_whole(struct store_copy *c, const char *dir, const char *name, struct err *e)
{
	char path[4096];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_set(e, -errno, "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0) {
		close(fd);
		return err_set(e, -EIO, "%s: cannot be read", path);
	}
	return add(c, name, fd, (uint64_t)st.st_size, e);
}

static int add_images(struct store_copy *c, const char *dir, struct err *e)
{
	struct dirent *entry;
	DIR *d = opendir(dir);
	int rc = 0;

	if (!d)
		return err_set(e, -errno, "%s: %s", dir, strerror(errno));
	while (rc == 0 && (entry = readdir(d))) {
		const char *dot = strchr(entry->d_name, '.');

		if (dot && strcmp(dot, ".graph") == 0 && strlen(entry->d_name) < 32)
			rc = add_whole(c, dir, entry->d_name, e);
	}
	closedir(d);
	return rc;
}

/* -EAGAIN: it is not there any more. */
static int add_segment(struct store_copy *c, const char *dir, sqlite3_stmt *st, struct err *e)
{
	char path[4096], name[64];
	uint32_t cid, gen;
	uint64_t end;
	int fd;

	if (!sql_u32(st, 0, &cid) || !sql_u32(st, 1, &gen) || !sql_u64(st, 2, INT64_MAX, &end))
		return err_set(e, -EIO, "the parameters of a collection are damaged");
	if (end == 0)
		return 0;
	segment_path(dir, cid, gen, path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -EAGAIN
		                       : err_set(e, -errno, "%s: %s", path, strerror(errno));
	snprintf(name, sizeof(name), "%u.vectors.%u", cid, gen);
	return add(c, name, fd, end, e);
}

static int add_segments(struct store_copy *c, struct sql *db, const char *dir, struct err *e)
{
	sqlite3_stmt *st;
	int rc = sql_start(db, &st, e, "SELECT cid, gen, segment_end FROM collections", "");

	if (rc < 0)
		return rc;
	while ((rc = sql_step(db, st, e)) > 0) {
		rc = add_segment(c, dir, st, e);
		if (rc < 0) {
			sql_done(st);
			break;
		}
	}
	return rc;
}

static int add_all(struct store_copy *c, struct sql *db, const char *dir, const char *aside,
                   struct err *e)
{
	int fd, rc = add_images(c, dir, e);

	if (rc == 0)
		rc = sql_run(db, e, "BEGIN", "");
	if (rc == 0)
		rc = add_segments(c, db, dir, e);
	if (rc < 0)
		return rc;
	rc = copy_aside(db, aside, &fd, e);
	unlink(aside);
	return rc < 0 ? rc : add(c, "store.db", fd, (uint64_t)lseek(fd, 0, SEEK_END), e);
}

int store_copy_open(const char *dir, const char *aside, struct store_copy *ret, struct err *e)
{
	struct store_copy c = { 0 };
	struct sql db = { 0 };
	char path[4096];
	int rc = -EAGAIN;

	*ret = c;
	if (snprintf(path, sizeof(path), "%s/store.db", dir) >= (int)sizeof(path) - 64)
		return err_set(e, -ENAMETOOLONG, "the path of the store is too long");
	if (access(path, F_OK) < 0)
		return errno == ENOENT ? 0 : err_set(e, -errno, "%s: %s", path, strerror(errno));
	for (int i = 0; rc == -EAGAIN && i < TRIES; i++) {
		rc = store_db_open(&db, path, SQL_WRITE, e);
		if (rc == 0)
			rc = add_all(&c, &db, dir, aside, e);
		sql_close(&db);
		if (rc < 0)
			store_copy_close(&c);
	}
	if (rc == -EAGAIN)
		return err_set(e, -EIO, "%s: a segment is missing", dir);
	*ret = c;
	return rc;
}
