/*
 * backup.c: writing a backup; restore.c reads it.
 *
 * Stores come before the registry: a number that a store uses is in the registry's copy then, and
 * one that the registry gave out meanwhile is just of an empty tenant. Which stores there are tells
 * an earlier copy of the registry. The witnesses are left out: a copy of a database is as new as it
 * is, and the next open begins new ones.
 *
 * One backup is made at a time: offline DATA is locked, and a mount's service serves one client.
 */
#include "tenant/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/tar.h"
#include "store/copy.h"
#include "store/registry_db.h"
#include "tenant/tenant_impl.h"

#define PIECE (1u << 18)
#define ASIDE "backup.tmp"

struct backup {
	const char *data;
	const struct backup_sink *sink;
	uint64_t mtime_s;
	struct buf list;  /* the checksums */
	char *piece;      /* PIECE bytes */
	char aside[4096]; /* where one database at a time is copied to */
};

static int path_in(const char *data, const char *name, char *ret, size_t cap, struct err *e)
{
	if (snprintf(ret, cap, "%s/%s", data, name) < (int)cap)
		return 0;
	return err_set(e, -ENAMETOOLONG, "the path of DATA is too long");
}

/* ---- members ---- */

static int write_out(struct backup *b, const void *p, size_t n, struct err *e)
{
	return n ? b->sink->write(b->sink->ctx, p, n, e) : 0;
}

static int begin_member(struct backup *b, const char *name, uint64_t size, struct err *e)
{
	struct tar_member m = { .size = size, .mtime_s = b->mtime_s };
	char block[TAR_BLOCK];

	if (snprintf(m.name, sizeof(m.name), "%s", name) >= (int)sizeof(m.name))
		return err_set(e, -ENAMETOOLONG, "%s: a name of more than %d bytes", name,
		               TAR_NAME_MAX);
	tar_header(&m, block);
	return write_out(b, block, sizeof(block), e);
}

static int end_member(struct backup *b, const char *name, uint64_t size, uint32_t crc,
                      struct err *e)
{
	static const char zeros[TAR_BLOCK];

	buf_addf(&b->list, "%08x %llu %s\n", crc, (unsigned long long)size, name);
	return write_out(b, zeros, tar_padding(size), e);
}

static int add_bytes(struct backup *b, const char *name, const void *p, size_t n, struct err *e)
{
	int rc = begin_member(b, name, n, e);

	if (rc == 0)
		rc = write_out(b, p, n, e);
	return rc < 0 ? rc : end_member(b, name, n, crc32c(0, p, n), e);
}

static int add_file(struct backup *b, const char *name, int fd, uint64_t size, struct err *e)
{
	uint32_t crc = 0;
	int rc = begin_member(b, name, size, e);

	for (uint64_t at = 0; rc == 0 && at < size;) {
		size_t n = size - at < PIECE ? (size_t)(size - at) : PIECE;

		rc = io_read_at(fd, b->piece, n, at);
		if (rc < 0)
			return err_set(e, -EIO, "%s: cannot be read: %s", name, strerror(-rc));
		crc = crc32c(crc, b->piece, n);
		rc = write_out(b, b->piece, n, e);
		at += n;
	}
	return rc < 0 ? rc : end_member(b, name, size, crc, e);
}

/* Of DATA, by its path in it; one that is not there is left out. */
static int add_path(struct backup *b, const char *name, struct err *e)
{
	char path[4096];
	struct stat st;
	int fd, rc = path_in(b->data, name, path, sizeof(path), e);

	if (rc < 0)
		return rc;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_set(e, -errno, "%s: %s", path, strerror(errno));
	rc = fstat(fd, &st) < 0 ? err_set(e, -EIO, "%s: cannot be read", path)
	                        : add_file(b, name, fd, (uint64_t)st.st_size, e);
	close(fd);
	return rc;
}

/* ---- stores ---- */

static int add_store(struct backup *b, uint32_t number, struct err *e)
{
	static const char *const others[] = { "totals", "labels" };
	struct store_copy c;
	char path[4096], name[TAR_NAME_MAX + 1];
	int rc;

	snprintf(name, sizeof(name), "stores/%u", number);
	rc = path_in(b->data, name, path, sizeof(path), e);
	if (rc == 0)
		rc = store_copy_open(path, b->aside, &c, e);
	if (rc < 0)
		return err_prefix(e, "stores/%u", number);
	for (size_t i = 0; rc == 0 && i < c.n; i++) {
		snprintf(name, sizeof(name), "stores/%u/%s", number, c.files[i].name);
		rc = add_file(b, name, c.files[i].fd, c.files[i].size, e);
	}
	for (size_t i = 0; rc == 0 && i < sizeof(others) / sizeof(*others); i++) {
		snprintf(name, sizeof(name), "stores/%u/%s", number, others[i]);
		rc = add_path(b, name, e);
	}
	store_copy_close(&c);
	return rc;
}

/* ---- the registry ---- */

/* The caller unlinks what is aside. */
static int copy_registry(struct backup *b, int *ret_fd, struct err *e)
{
	char path[4096];
	int rc = path_in(b->data, "registry.db", path, sizeof(path), e);

	return rc < 0 ? rc : database_copy(path, b->aside, ret_fd, e);
}

static int add_stores(struct backup *b, struct err *e)
{
	struct registry_tenant t = { 0 };
	struct registry_db *db = NULL;
	int fd, rc = copy_registry(b, &fd, e);

	if (rc < 0)
		return rc;
	rc = registry_open(b->aside, true, &db, e);
	unlink(b->aside);
	while (rc == 0) {
		rc = registry_tenant_next(db, t.number, &t, e);
		if (rc == 0 || rc == -EIO) /* a damaged entry has a store, too */
			rc = add_store(b, t.number, e);
	}
	if (db)
		registry_close(db);
	close(fd);
	return rc == -ENOENT ? 0 : rc;
}

static int add_registry(struct backup *b, struct err *e)
{
	int fd, rc = copy_registry(b, &fd, e);

	if (rc < 0)
		return rc;
	unlink(b->aside);
	rc = add_file(b, "registry.db", fd, (uint64_t)lseek(fd, 0, SEEK_END), e);
	close(fd);
	return rc;
}

/* ---- all ---- */

static int add_audit(struct backup *b, struct err *e)
{
	char path[4096], name[TAR_NAME_MAX + 1];
	struct dirent *entry;
	int rc = path_in(b->data, "audit", path, sizeof(path), e);
	DIR *d = rc == 0 ? opendir(path) : NULL;

	while (d && rc == 0 && (entry = readdir(d))) {
		size_t len = strlen(entry->d_name);

		if (len < 5 || len > 40 || strcmp(entry->d_name + len - 4, ".log") != 0)
			continue;
		snprintf(name, sizeof(name), "audit/%.*s", 40, entry->d_name);
		rc = add_path(b, name, e);
	}
	if (d)
		closedir(d);
	return rc;
}

static int add_all(struct backup *b, struct err *e)
{
	static const char zeros[2 * TAR_BLOCK];
	char first[64];
	int n = snprintf(first, sizeof(first), BACKUP_FIRST_LINE "created_s %llu\n",
	                 (unsigned long long)b->mtime_s);
	int rc = add_bytes(b, BACKUP_FIRST, first, (size_t)n, e);

	if (rc == 0)
		rc = add_stores(b, e);
	if (rc == 0)
		rc = add_audit(b, e);
	if (rc == 0)
		rc = add_registry(b, e);
	if (rc == 0 && buf_failed(&b->list))
		rc = err_nomem(e);
	if (rc == 0)
		rc = add_bytes(b, BACKUP_LAST, b->list.data, b->list.len, e);
	return rc < 0 ? rc : write_out(b, zeros, sizeof(zeros), e);
}

int backup_data(const char *data, const struct backup_sink *sink, struct err *e)
{
	struct backup b = { .data = data, .sink = sink };
	int rc = path_in(data, ASIDE, b.aside, sizeof(b.aside), e);

	if (rc < 0)
		return rc;
	b.mtime_s = clock_wall_ns() / 1000000000u;
	b.piece = mem_alloc(PIECE, 1);
	rc = b.piece ? add_all(&b, e) : err_nomem(e);
	buf_release(&b.list);
	mem_free(b.piece);
	return rc;
}

/* A removal under way ends first. */
static void count(struct tenants *ts, int by)
{
	mutex_lock(&ts->change);
	mutex_lock(&ts->lock);
	ts->n_backups += (unsigned)by;
	mutex_unlock(&ts->lock);
	mutex_unlock(&ts->change);
}

void backup_sweep(const char *data)
{
	char path[4096];

	if (path_in(data, ASIDE, path, sizeof(path), NULL) == 0)
		unlink(path);
}

int tenants_backup(struct tenants *ts, const struct backup_sink *sink, struct err *e)
{
	int rc;

	count(ts, 1);
	rc = backup_data(ts->data, sink, e);
	count(ts, -1);
	return rc;
}
