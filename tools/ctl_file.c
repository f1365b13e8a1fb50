/* ctl_file.c: see ctl_file.h. */
#include "tools/ctl_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc.h"
#include "base/mem.h"
#include "tools/ctl.h"

#define BLOCK 65536u

/* ---- contents ---- */

static void contents_add(struct contents *c, const void *bytes, size_t n)
{
	for (const char *at = bytes; n > 0;) {
		size_t left = BLOCK - (size_t)(c->len % BLOCK), part = n < left ? n : left;

		c->crc = crc32c(c->crc, at, part);
		c->len += part;
		if (part == left)
			c->of_blocks = crc32c(c->of_blocks, &c->crc, sizeof(c->crc));
		at += part;
		n -= part;
	}
}

static bool contents_equal(const struct contents *a, const struct contents *b)
{
	return a->len == b->len && a->crc == b->crc && a->of_blocks == b->of_blocks;
}

static void contents_print(const struct contents *c, char ret[7])
{
	static const char digits[] =
		"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	uint32_t high = crc32c(c->of_blocks, &c->len, sizeof(c->len));
	uint64_t hash = (uint64_t)high << 32 | c->crc;

	for (int i = 0; i < 6; i++, hash /= 62)
		ret[i] = digits[hash % 62];
	ret[6] = '\0';
}

static ssize_t pread_again(int fd, void *room, size_t n, uint64_t at,
                           const volatile sig_atomic_t *ended)
{
	ssize_t got;

	do
		got = pread(fd, room, n, (off_t)at);
	while (got < 0 && errno == EINTR && !(ended && *ended));
	return got;
}

/* Of a descriptor, from f->from on. */
static int contents_of(const struct ctl_file *f, int fd, struct contents *ret, struct err *e)
{
	struct ctl_progress p = { .what = "reading", .unit = "bytes", .total = f->size };
	char *room = mem_alloc(1, BLOCK);
	ssize_t n = room ? 1 : 0;

	*ret = (struct contents){ 0 };
	while (n > 0 && !(f->ended && *f->ended)) {
		n = pread_again(fd, room, BLOCK, f->from + ret->len, f->ended);
		if (n <= 0)
			break;
		contents_add(ret, room, (size_t)n);
		if (!f->quiet)
			ctl_progress_show(&p, ret->len);
	}
	if (n < 0)
		n = -errno;
	ctl_progress_clear(&p);
	mem_free(room);
	if (!room)
		return err_nomem(e);
	if (f->ended && *f->ended)
		return err_set(e, -EINTR, "interrupted");
	return n < 0 ? err_set(e, (int)n, "%s", strerror((int)-n)) : 0;
}

/* ---- the file ---- */

int file_open(struct ctl_file *f, const char *path, struct err *e)
{
	off_t at;

	f->path = strcmp(path, "-") == 0 ? NULL : path;
	f->fd = f->path ? open(path, O_RDONLY | O_CLOEXEC) : dup(STDIN_FILENO);
	if (f->fd < 0 || fstat(f->fd, &f->was) < 0)
		return err_set(e, -errno, "%s", strerror(errno));
	at = lseek(f->fd, 0, SEEK_CUR);
	if (S_ISREG(f->was.st_mode) && at >= 0 && at < f->was.st_size) {
		f->from = (uint64_t)at;
		f->size = (uint64_t)(f->was.st_size - at);
	}
	posix_fadvise(f->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return 0;
}

void file_close(struct ctl_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

ssize_t file_read(struct ctl_file *f, void *room, size_t n)
{
	ssize_t got = read(f->fd, room, n);

	if (got > 0)
		contents_add(&f->taken, room, (size_t)got);
	return got;
}

int file_know(struct ctl_file *f, char ret[7], struct err *e)
{
	int rc;

	if (f->size == 0) {
		snprintf(ret, 7, "%06x", (unsigned)(clock_wall_ns() & 0xffffff));
		return 0;
	}
	rc = contents_of(f, f->fd, &f->all, e);
	if (rc < 0)
		return rc;
	f->is_known = true;
	contents_print(&f->all, ret);
	return 0;
}

/* ---- whether it changed ---- */

static int changed(struct err *e)
{
	return err_set(e, -ESTALE,
	               "it changed while it was read; import it again when nothing writes it");
}

/* One that was removed is what its descriptor has. */
static int stat_now(const struct ctl_file *f, struct stat *ret, struct err *e)
{
	if (f->path && stat(f->path, ret) == 0)
		return 0;
	if (f->path && errno != ENOENT)
		return err_set(e, -errno, "%s", strerror(errno));
	return fstat(f->fd, ret) == 0 ? 0 : err_set(e, -errno, "%s", strerror(errno));
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* now: of what the path leads to, which may be another file of the same content. */
static int compare(const struct ctl_file *f, const struct stat *now, struct err *e)
{
	bool other = now->st_dev != f->was.st_dev || now->st_ino != f->was.st_ino;
	struct contents c;
	int fd = f->fd, rc;

	if (!S_ISREG(now->st_mode) || (uint64_t)now->st_size != f->from + f->size)
		return changed(e);
	if (other)
		fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_set(e, -errno, "%s", strerror(errno));
	rc = contents_of(f, fd, &c, e);
	if (fd != f->fd)
		close(fd);
	if (rc < 0)
		return rc;
	return contents_equal(&c, &f->all) ? 0 : changed(e);
}

int file_check(struct ctl_file *f, struct err *e)
{
	struct stat now;
	int rc;

	if (!f->is_known)
		return 0;
	rc = stat_now(f, &now, e);
	if (rc < 0 || is_same(&now, &f->was))
		return rc;
	rc = compare(f, &now, e);
	if (rc == 0)
		f->was = now;
	return rc;
}

int file_check_taken(struct ctl_file *f, struct err *e)
{
	if (f->is_known && !contents_equal(&f->taken, &f->all))
		return changed(e);
	return file_check(f, e);
}
