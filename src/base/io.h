/*
 * io.h: whole reads and writes, syncs, names. All -errno; EINTR is retried, short transfers are
 * continued.
 */
#ifndef RV_BASE_IO_H
#define RV_BASE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* -ENODATA when the file ends before n bytes */
int io_read_at(int fd, void *p, size_t n, uint64_t off);
int io_write_at(int fd, const void *p, size_t n, uint64_t off);
int io_sync(int fd); /* fdatasync */
/* The disk may begin with these bytes, so that a later io_sync waits less. Promises nothing. */
void io_begin_sync(int fd, uint64_t off, uint64_t n);
int io_sync_dir(const char *path);           /* makes creates, renames and unlinks in it durable */
int io_sync_parent(const char *path);        /* io_sync_dir of the folder that path is in */
int io_mkdir(const char *path, mode_t mode); /* 0 also when it is there; syncs the parent */
int io_make_dir(const char *path, mode_t mode); /* likewise, without the sync */
int io_remove_tree(const char *path);           /* files and folders below too; syncs the parent;
                                                                   -ENOENT when it is not there */
/*
 * For a program's start: opens /dev/null in the place of a standard input, output or error that is
 * closed, so that no other file gets that number, and what is printed with it.
 */
void io_have_standard(void);

#endif
