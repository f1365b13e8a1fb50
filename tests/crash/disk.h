/*
 * disk.h: stands between the process and the disk, SQLite's calls included.
 *
 * disk.c defines open, pwrite, fdatasync and so on in the program itself, where the dynamic
 * linker finds them first, so libsqlite3.so calls them, too. They do what they always do, and
 * - can be recorded: disk_record() keeps what is done below a directory, disk_crash() then makes
 *   a directory as a power cut could have left it;
 * - can fail: disk_fail() makes one of the next calls fail.
 * Any thread may make the calls; recording and failing are switched by one.
 */
#ifndef RV_TESTS_DISK_H
#define RV_TESTS_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- recording ---- */

/*
 * From now on what is written below root, which is empty, is kept. Syncs are noted and not done:
 * nobody needs them on this disk.
 */
void disk_record(const char *root);
void disk_record_stop(void);
void disk_record_free(void);
/* Notes that something happened now; returns how many entries the log has. */
size_t disk_mark(void);
size_t disk_length(void);

enum disk_crash {
	DISK_NOTHING, /* what was not synced is lost */
	DISK_ALL,     /* nothing is lost, as after SIGKILL */
	DISK_PREFIX,  /* of each file and each folder some first ones survive */
	DISK_SUBSET,  /* any pages of any writes since the sync survive, in no order */
	DISK_TORN,    /* likewise any sectors of 512 bytes */
	DISK_CRASHES,
};

/*
 * Makes the directory `to`, which is empty, what a crash after the first n entries could have left.
 * random: which of the many. Names of a folder survive in their order (as in a journal), the
 * contents of files without any, but what was synced is there.
 */
int disk_crash(const char *to, size_t n, enum disk_crash how, uint64_t random);
const char *disk_crash_name(enum disk_crash how);

/* ---- failing ---- */

enum disk_call {
	DISK_OPEN = 1,
	DISK_READ = 2,
	DISK_WRITE = 4,
	DISK_TRUNCATE = 8,
	DISK_SYNC = 16,
	DISK_NAMES = 32, /* rename, unlink, mkdir, rmdir */
	DISK_MAP = 64,
	DISK_MEMORY = 128, /* of base/mem and of SQLite */
};

/*
 * The nth call (from 1) of one of these kinds fails with the errno; with `on` all later ones do,
 * too. Calls of the calling thread and others are counted alike. kinds 0: none fails.
 */
void disk_fail(unsigned kinds, unsigned long nth, int error, bool on);
unsigned long disk_failed(void); /* how many did */
/* For other kinds of calls: whether this one has to fail. */
bool disk_fails(enum disk_call kind);

/* ---- between the two files ---- */
bool disk_recording(void);
void disk_lock(void);
void disk_unlock(void);
bool disk_inside(const char *path, const char **ret_below);
void disk_note_open(int fd, const char *path, bool created, bool truncated);
void disk_note_close(int fd);
void disk_note_write(int fd, const void *p, size_t n, uint64_t off);
void disk_note_truncate(int fd, uint64_t size);
size_t disk_note_sync(int fd);             /* before; returns what the second call wants */
void disk_note_synced(int fd, size_t from); /* it succeeded */
void disk_note_sync_failed(int fd);
void disk_note_rename(const char *from, const char *to);
void disk_note_unlink(const char *path);
void disk_note_mkdir(const char *path);

#endif
