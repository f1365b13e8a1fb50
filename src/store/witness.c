/*
 * witness.c: DIR/commits, a second count of what was committed.
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
#include "store/store_impl.h"

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

static void read_place(struct store *s, int i, struct witness *ret)
{
	static const struct witness_record never;
	struct witness_record r;

	if (io_read_at(s->witness_fd, &r, sizeof(r), (uint64_t)i * WITNESS_APART) < 0)
		return; /* not written yet */
	if (memcmp(&r, &never, sizeof(r)) == 0)
		return;
	if (memcmp(r.magic, WITNESS_MAGIC, sizeof(r.magic)) != 0 || r.crc != record_crc(&r) ||
	    r.seq > STORE_SEQ_MAX || r.changes > STORE_SEQ_MAX) {
		s->witness_damaged = true;
		return;
	}
	if (r.changes > ret->changes)
		*ret = (struct witness){ .seq = r.seq, .changes = r.changes };
}

int witness_open(struct store *s, struct witness *ret, struct err *e)
{
	char path[4096];
	struct stat st;
	int rc = 0;

	*ret = (struct witness){ 0 };
	store_path(s, "commits", path, sizeof(path));
	if (stat(path, &st) == 0)
		s->witness_fd = open(path, (s->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	else if (s->read_only)
		return 0;
	else
		s->witness_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->witness_fd < 0)
		return err_set(e, -errno, "opening the count of commits: %s", strerror(errno));
	for (int i = 0; i < 2; i++)
		read_place(s, i, ret);
	if (!s->read_only && !ret->changes)
		rc = io_sync_dir(s->dir);
	return rc < 0 ? err_set(e, rc, "syncing the store: %s", strerror(-rc)) : 0;
}

void witness_write(struct store *s, uint64_t seq, uint64_t changes)
{
	struct witness_record r = { .seq = seq, .changes = changes };

	memcpy(r.magic, WITNESS_MAGIC, sizeof(r.magic));
	r.crc = record_crc(&r);
	/* A witness that cannot be written stays behind, which is allowed. */
	(void)io_write_at(s->witness_fd, &r, sizeof(r), (changes & 1) * WITNESS_APART);
}
