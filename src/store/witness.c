/*
 * witness.c: a second count of what was committed, beside a database.
 *
 * A damaged WAL is cut by SQLite at the first frame whose checksum fails, silently: commits
 * that were acknowledged are missing and every check of the database passes. The witness is
 * written behind each durable commit, not synced: after a power cut it may be older than the
 * database, which means nothing; newer means that commits were lost. Two places take turns, so
 * that a torn write leaves the other one.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/io.h"
#include "store/witness.h"

#define WITNESS_MAGIC "RVcommit"
#define WITNESS_APART 512

struct witness_record {
	char magic[8];
	uint64_t seq;
	uint64_t changes;
	uint32_t zero;
	uint32_t crc; /* of the 28 bytes above */
};

static uint32_t record_crc(const struct witness_record *r)
{
	return crc32c(0, r, offsetof(struct witness_record, crc));
}

/* false: it is damaged. */
static bool read_place(int fd, int i, struct witness *ret)
{
	static const struct witness_record never;
	struct witness_record r;

	if (io_read_at(fd, &r, sizeof(r), (uint64_t)i * WITNESS_APART) < 0)
		return true; /* not written yet */
	if (memcmp(&r, &never, sizeof(r)) == 0)
		return true;
	if (memcmp(r.magic, WITNESS_MAGIC, sizeof(r.magic)) != 0 || r.crc != record_crc(&r) ||
	    r.seq > STORE_SEQ_MAX || r.changes > STORE_SEQ_MAX)
		return false;
	if (r.changes > ret->changes)
		*ret = (struct witness){ .seq = r.seq, .changes = r.changes };
	return true;
}

int witness_open(const char *path, bool read_only, struct witness *ret, bool *ret_damaged,
                 struct err *e)
{
	struct stat st;
	int fd;

	*ret = (struct witness){ 0 };
	*ret_damaged = false;
	if (stat(path, &st) == 0)
		fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW);
	else if (read_only)
		return -ENOENT;
	else
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(e, -errno, "opening the count of commits: %s", strerror(errno));
	for (int i = 0; i < 2; i++)
		if (!read_place(fd, i, ret))
			*ret_damaged = true;
	return fd;
}

void witness_write(int fd, uint64_t seq, uint64_t changes)
{
	struct witness_record r = { .seq = seq, .changes = changes };

	memcpy(r.magic, WITNESS_MAGIC, sizeof(r.magic));
	r.crc = record_crc(&r);
	/* A witness that cannot be written stays behind, which is allowed. */
	(void)io_write_at(fd, &r, sizeof(r), (changes & 1) * WITNESS_APART);
}
