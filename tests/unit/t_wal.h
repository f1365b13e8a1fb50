/*
 * t_wal.h: a disk that never got what a failed sync of a WAL should have written: such pages are lost,
 * unless they are written again. To be included by one file of a program: it has a pwrite, which
 * SQLite calls, too.
 */
#ifndef RV_TESTS_T_WAL_H
#define RV_TESTS_T_WAL_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "t.h"

#define T_WAL_PAGES 4096

/* Shared with children. NULL: nothing is noted. */
static struct t_wal {
	size_t synced;             /* bytes; whoever syncs says so */
	bool written[T_WAL_PAGES]; /* since t_wal_forget */
} *t_wal;

static inline void t_wal_note(void)
{
	t_wal = mmap(NULL, sizeof(*t_wal), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
	             0);
	assert_true(t_wal != MAP_FAILED);
}

static inline void t_wal_forget(void)
{
	memset(t_wal->written, 0, sizeof(t_wal->written));
}

static inline bool t_is_wal(int fd, char path[600])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, 599);
	path[n > 0 ? n : 0] = '\0';
	return n > 4 && strcmp(path + n - 4, "-wal") == 0;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t off)
{
	char path[600];

	if (t_wal && n > 0 && t_is_wal(fd, path))
		for (size_t i = (size_t)off / 4096; i <= ((size_t)off + n - 1) / 4096; i++)
			t_wal->written[i % T_WAL_PAGES] = true;
	return syscall(SYS_pwrite64, fd, p, n, off);
}

static inline size_t t_wal_size(const char *wal)
{
	struct stat st;

	return stat(wal, &st) == 0 ? (size_t)st.st_size : 0;
}

/* Pages that lie between these bytes are not on the disk, but for those that were written since. */
static inline void t_wal_lose(const char *wal, size_t from, size_t to)
{
	static const char zeros[4096];
	int fd = open(wal, O_RDWR);

	for (size_t i = (from + 4095) / 4096; fd >= 0 && (i + 1) * 4096 <= to; i++)
		if (!t_wal->written[i])
			assert_int_equal(syscall(SYS_pwrite64, fd, zeros, 4096, i * 4096), 4096);
	if (fd >= 0)
		close(fd);
	munmap(t_wal, sizeof(*t_wal));
	t_wal = NULL;
}

#endif
