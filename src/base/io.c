/*
 * io.c: system calls that finish what they began.
 *
 * Removing a tree goes through directory descriptors and never follows a link, so a link in it
 * costs nothing outside.
 */
#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static bool in_file_range(size_t n, uint64_t off)
{
	uint64_t end;

	return !__builtin_add_overflow(off, n, &end) && end <= INT64_MAX;
}

int io_read_at(int fd, void *p, size_t n, uint64_t off)
{
	char *to = p;

	if (!in_file_range(n, off))
		return -EOVERFLOW;
	while (n > 0) {
		ssize_t got = pread(fd, to, n, (off_t)off);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -ENODATA;
		to += got;
		off += (uint64_t)got;
		n -= (size_t)got;
	}
	return 0;
}

int io_write_at(int fd, const void *p, size_t n, uint64_t off)
{
	const char *from = p;

	if (!in_file_range(n, off))
		return -EFBIG;
	while (n > 0) {
		ssize_t put = pwrite(fd, from, n, (off_t)off);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put < 0 ? -errno : -EIO;
		from += put;
		off += (uint64_t)put;
		n -= (size_t)put;
	}
	return 0;
}

int io_sync(int fd)
{
	while (fdatasync(fd) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

void io_begin_sync(int fd, uint64_t off, uint64_t n)
{
	(void)sync_file_range(fd, (off_t)off, (off_t)n, SYNC_FILE_RANGE_WRITE);
}

int io_sync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return -errno;
	while (fsync(fd) < 0) {
		if (errno == EINTR)
			continue;
		rc = -errno;
		break;
	}
	close(fd);
	return rc;
}

/* Cuts slashes at the end, then the last name, then the slashes before it. */
int io_sync_parent(const char *path)
{
	size_t n = strlen(path);
	MEM_AUTO char *parent = NULL;

	while (n > 0 && path[n - 1] == '/')
		n--;
	while (n > 0 && path[n - 1] != '/')
		n--;
	while (n > 1 && path[n - 1] == '/')
		n--;
	parent = n ? mem_dup(path, n) : mem_dup(".", 1);
	return parent ? io_sync_dir(parent) : -ENOMEM;
}

int io_make_dir(const char *path, mode_t mode)
{
	struct stat st;

	if (mkdir(path, mode) < 0) {
		if (errno != EEXIST)
			return -errno;
		if (stat(path, &st) < 0)
			return -errno;
		if (!S_ISDIR(st.st_mode))
			return -ENOTDIR;
	}
	return 0;
}

int io_mkdir(const char *path, mode_t mode)
{
	int rc = io_make_dir(path, mode);

	return rc < 0 ? rc : io_sync_parent(path);
}

static int remove_at(int dir, const char *name);

/* Empties the directory and closes fd. */
static int remove_entries(int fd)
{
	DIR *d = fdopendir(fd);
	struct dirent *ent;
	int rc = 0;

	if (!d) {
		rc = -errno;
		close(fd);
		return rc;
	}
	while (rc == 0) {
		errno = 0;
		ent = readdir(d);
		if (!ent) {
			rc = -errno;
			break;
		}
		if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
			continue;
		rc = remove_at(dirfd(d), ent->d_name);
	}
	closedir(d);
	return rc;
}

static int remove_at(int dir, const char *name)
{
	int fd, rc;

	if (unlinkat(dir, name, 0) == 0)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOTDIR ? -EPERM : -errno;
	rc = remove_entries(fd);
	if (rc < 0)
		return rc;
	return unlinkat(dir, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int io_remove_tree(const char *path)
{
	int rc = remove_at(AT_FDCWD, path);

	return rc < 0 ? rc : io_sync_parent(path);
}

void io_have_standard(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		if (open("/dev/null", O_RDWR) < 0) /* gets this number, the lowest that is free */
			return;
	}
}
