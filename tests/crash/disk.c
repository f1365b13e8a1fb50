/*
 * disk.c: the calls themselves.
 *
 * Each is made through syscall(2) and noted in the log while its lock is held, so the log's order
 * is the order in which they took effect.
 */
#include "tests/crash/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- failing ---- */

static atomic_uint fail_kinds;
static atomic_ulong fail_after; /* calls to come before the one that fails */
static atomic_bool fail_on;
static atomic_int fail_error;
static atomic_ulong failed;

void disk_fail(unsigned kinds, unsigned long nth, int error, bool on)
{
	atomic_store(&fail_kinds, 0);
	atomic_store(&fail_after, nth);
	atomic_store(&fail_error, error);
	atomic_store(&fail_on, on);
	atomic_store(&failed, 0);
	atomic_store(&fail_kinds, kinds);
}

unsigned long disk_failed(void)
{
	return atomic_load(&failed);
}

bool disk_fails(enum disk_call kind)
{
	unsigned long left;

	if (!(atomic_load_explicit(&fail_kinds, memory_order_relaxed) & kind))
		return false;
	left = atomic_load(&fail_after);
	do {
		if (left == 0)
			break;
	} while (!atomic_compare_exchange_weak(&fail_after, &left, left - 1));
	if (left > 1 || (left == 0 && !atomic_load(&fail_on)))
		return false;
	atomic_fetch_add(&failed, 1);
	errno = atomic_load(&fail_error);
	return true;
}

/* ---- calls ---- */

/* The path of a name below a directory that is open. */
static const char *path_at(int dir, const char *name, char ret[PATH_MAX])
{
	char link[64];
	long n;

	if (dir == AT_FDCWD || name[0] == '/')
		return name;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
	n = syscall(SYS_readlink, link, ret, PATH_MAX - 1);
	if (n < 0)
		return name;
	snprintf(ret + n, (size_t)(PATH_MAX - n), "/%s", name);
	return ret;
}

int openat(int dir, const char *name, int flags, ...)
{
	char buf[PATH_MAX];
	const char *path = path_at(dir, name, buf), *below;
	mode_t mode = 0;
	bool there;
	va_list ap;
	int fd;

	va_start(ap, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = va_arg(ap, mode_t);
	va_end(ap);
	if (disk_fails(DISK_OPEN))
		return -1;
	if (!disk_recording() || !disk_inside(path, &below))
		return (int)syscall(SYS_openat, dir, name, flags, mode);
	disk_lock();
	there = syscall(SYS_access, path, F_OK) == 0;
	fd = (int)syscall(SYS_openat, dir, name, flags, mode);
	if (fd >= 0)
		disk_note_open(fd, below, !there, flags & O_TRUNC);
	disk_unlock();
	return fd;
}

int open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = va_arg(ap, mode_t);
	va_end(ap);
	return openat(AT_FDCWD, path, flags, mode);
}

int close(int fd)
{
	if (disk_recording())
		disk_note_close(fd);
	return (int)syscall(SYS_close, fd);
}

ssize_t pread(int fd, void *p, size_t n, off_t off)
{
	if (disk_fails(DISK_READ))
		return -1;
	return syscall(SYS_pread64, fd, p, n, off);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t off)
{
	ssize_t put;

	if (disk_fails(DISK_WRITE))
		return -1;
	if (!disk_recording())
		return syscall(SYS_pwrite64, fd, p, n, off);
	disk_lock();
	put = syscall(SYS_pwrite64, fd, p, n, off);
	if (put > 0)
		disk_note_write(fd, p, (size_t)put, (uint64_t)off);
	disk_unlock();
	return put;
}

int ftruncate(int fd, off_t size)
{
	int rc;

	if (disk_fails(DISK_TRUNCATE))
		return -1;
	if (!disk_recording())
		return (int)syscall(SYS_ftruncate, fd, size);
	disk_lock();
	rc = (int)syscall(SYS_ftruncate, fd, size);
	if (rc == 0)
		disk_note_truncate(fd, (uint64_t)size);
	disk_unlock();
	return rc;
}

static int sync_by(int fd, long number)
{
	size_t from;

	if (disk_fails(DISK_SYNC)) {
		if (disk_recording()) {
			disk_lock();
			disk_note_sync_failed(fd);
			disk_unlock();
		}
		return -1;
	}
	if (!disk_recording())
		return (int)syscall(number, fd);
	disk_lock();
	from = disk_note_sync(fd);
	disk_note_synced(fd, from);
	disk_unlock();
	return 0;
}

int fdatasync(int fd)
{
	return sync_by(fd, SYS_fdatasync);
}

int fsync(int fd)
{
	return sync_by(fd, SYS_fsync);
}

int rename(const char *from, const char *to)
{
	const char *a, *b;
	int rc;

	if (disk_fails(DISK_NAMES))
		return -1;
	if (!disk_recording() || !disk_inside(from, &a) || !disk_inside(to, &b))
		return (int)syscall(SYS_rename, from, to);
	disk_lock();
	rc = (int)syscall(SYS_rename, from, to);
	if (rc == 0)
		disk_note_rename(a, b);
	disk_unlock();
	return rc;
}

int unlinkat(int dir, const char *name, int flags)
{
	char buf[PATH_MAX];
	const char *path = path_at(dir, name, buf), *below;
	int rc;

	if (disk_fails(DISK_NAMES))
		return -1;
	if (!disk_recording() || !disk_inside(path, &below))
		return (int)syscall(SYS_unlinkat, dir, name, flags);
	disk_lock();
	rc = (int)syscall(SYS_unlinkat, dir, name, flags);
	if (rc == 0)
		disk_note_unlink(below);
	disk_unlock();
	return rc;
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
	return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int mkdir(const char *path, mode_t mode)
{
	const char *below;
	int rc;

	if (disk_fails(DISK_NAMES))
		return -1;
	if (!disk_recording() || !disk_inside(path, &below))
		return (int)syscall(SYS_mkdir, path, mode);
	disk_lock();
	rc = (int)syscall(SYS_mkdir, path, mode);
	if (rc == 0)
		disk_note_mkdir(below);
	disk_unlock();
	return rc;
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t off)
{
	if (fd >= 0 && disk_fails(DISK_MAP))
		return MAP_FAILED;
	return (void *)syscall(SYS_mmap, at, n, protection, flags, fd, off);
}
