/*
 * restore.c: a backup back into an empty DATA.
 *
 * The stream is hostile input: only names that a backup has are made, each once. The registry gets
 * its name last, when everything agreed with the list of checksums and is on the disk; before that
 * DATA cannot be mounted. What went wrong leaves nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/tar.h"
#include "tenant/backup.h"

#define PIECE     (1u << 18)
#define LIST_MAX  (1u << 28) /* bytes of the list of checksums */
#define FIRST_MAX 4096

struct restore {
	const char *data;
	const struct backup_source *source;
	char *piece;     /* PIECE bytes */
	struct buf list; /* what was read, in the form of the last member */
	bool has_registry;
};

/* ---- the stream ---- */

static int cut_short(struct err *e)
{
	return err_set(e, -EILSEQ, "the backup ends too early");
}

static int read_all(struct restore *r, char *p, size_t n, struct err *e)
{
	while (n > 0) {
		long got = r->source->read(r->source->ctx, p, n, e);

		if (got <= 0)
			return got < 0 ? (int)got : cut_short(e);
		p += got;
		n -= (size_t)got;
	}
	return 0;
}

static int skip_padding(struct restore *r, uint64_t size, struct err *e)
{
	char zeros[TAR_BLOCK];
	size_t n = (size_t)tar_padding(size);
	int rc = read_all(r, zeros, n, e);

	for (size_t i = 0; rc == 0 && i < n; i++)
		if (zeros[i])
			rc = err_set(e, -EILSEQ, "the backup is damaged between two members");
	return rc;
}

/* A member that is kept in memory. */
static int read_text(struct restore *r, const struct tar_member *m, size_t max, struct buf *ret,
                     struct err *e)
{
	char *p;
	int rc;

	if (m->size > max)
		return err_set(e, -EILSEQ, "%s: %" PRIu64 " bytes, at most %zu", m->name, m->size,
		               max);
	p = buf_space(ret, (size_t)m->size + 1);
	if (!p)
		return err_nomem(e);
	rc = read_all(r, p, (size_t)m->size, e);
	if (rc < 0)
		return rc;
	buf_grew(ret, (size_t)m->size);
	return skip_padding(r, m->size, e);
}

/* ---- names ---- */

/* stores/N/NAME, audit/NAME, registry.db; nothing that leads elsewhere. */
static bool is_name_of_ours(const char *name)
{
	const char *slash = strrchr(name, '/');
	const char *file = slash ? slash + 1 : name;
	uint32_t number;
	int end = 0;

	if (!file[0] || file[0] == '.' ||
	    strspn(file, "abcdefghijklmnopqrstuvwxyz0123456789.-") != strlen(file))
		return false;
	if (!slash)
		return strcmp(name, "registry.db") == 0;
	if (strncmp(name, "audit/", 6) == 0)
		return slash == name + 5;
	return sscanf(name, "stores/%" SCNu32 "%n", &number, &end) == 1 && end &&
	       slash == name + end;
}

/* The folder in which the file is to be; path: DATA/..., changed and put back. */
static int make_folder(const struct restore *r, char *path, struct err *e)
{
	size_t base = strlen(r->data) + 1;
	int rc = 0;

	for (char *p = path + base; rc == 0 && (p = strchr(p, '/')); p++) {
		*p = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			rc = err_set(e, -errno, "%s: %s", path, strerror(errno));
		*p = '/';
	}
	return rc;
}

/* ---- members ---- */

static int write_member(struct restore *r, const struct tar_member *m, int fd, uint32_t *ret_crc,
                        struct err *e)
{
	int rc = 0;

	*ret_crc = 0;
	for (uint64_t at = 0; rc == 0 && at < m->size;) {
		size_t n = m->size - at < PIECE ? (size_t)(m->size - at) : PIECE;

		rc = read_all(r, r->piece, n, e);
		if (rc < 0)
			return rc;
		*ret_crc = crc32c(*ret_crc, r->piece, n);
		rc = io_write_at(fd, r->piece, n, at);
		at += n;
	}
	if (rc == 0)
		rc = io_sync(fd);
	return rc < 0 ? err_set(e, rc, "writing %s: %s", m->name, strerror(-rc)) : 0;
}

static int restore_member(struct restore *r, const struct tar_member *m, struct err *e)
{
	bool registry = strcmp(m->name, "registry.db") == 0;
	char path[4096];
	uint32_t crc;
	int fd, rc;

	if (!is_name_of_ours(m->name))
		return err_set(e, -EILSEQ, "the archive has a member that no backup has");
	if (snprintf(path, sizeof(path), "%s/%s%s", r->data, m->name, registry ? ".tmp" : "") >=
	    (int)sizeof(path))
		return err_set(e, -ENAMETOOLONG, "the path of DATA is too long");
	rc = make_folder(r, path, e);
	if (rc < 0)
		return rc;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	rc = write_member(r, m, fd, &crc, e);
	close(fd);
	if (rc == 0)
		rc = io_sync_parent(path);
	r->has_registry |= registry;
	buf_addf(&r->list, "%08x %" PRIu64 " %s\n", crc, m->size, m->name);
	return rc < 0 ? rc : skip_padding(r, m->size, e);
}

/* ---- the whole ---- */

static int read_header(struct restore *r, struct tar_member *ret, struct err *e)
{
	char block[TAR_BLOCK];
	int rc = read_all(r, block, sizeof(block), e);

	if (rc == 0)
		rc = tar_parse(block, ret, e);
	return rc == 0 ? cut_short(e) : rc < 0 ? rc : 0;
}

static int read_first(struct restore *r, struct err *e)
{
	struct buf text BUF_AUTO = BUF_INIT;
	struct tar_member m = { 0 };
	char block[TAR_BLOCK];
	int rc = read_all(r, block, sizeof(block), e);

	if (rc == 0 && (tar_parse(block, &m, e) != 1 || strcmp(m.name, BACKUP_FIRST) != 0))
		return err_set(e, -EILSEQ, "it is no backup of ruvectorfs");
	if (rc == 0)
		rc = read_text(r, &m, FIRST_MAX, &text, e);
	if (rc != 0)
		return rc;
	if (strncmp(text.data, BACKUP_FIRST_LINE, strlen(BACKUP_FIRST_LINE)) != 0)
		return err_set(e, -EPROTO,
		               "the backup is of a newer version: %.*s: use a newer one",
		               (int)strcspn(text.data, "\n"), text.data);
	buf_addf(&r->list, "%08x %zu %s\n", crc32c(0, text.data, text.len), text.len, m.name);
	return 0;
}

/* The first line in which the two lists differ names the member. */
static int compare(const struct restore *r, const struct buf *said, struct err *e)
{
	size_t i = 0, line = 0;
	const char *name;

	if (r->list.len == said->len && memcmp(r->list.data, said->data, said->len) == 0)
		return 0;
	while (i < r->list.len && i < said->len && r->list.data[i] == said->data[i]) {
		if (r->list.data[i] == '\n')
			line = i + 1;
		i++;
	}
	name = line < r->list.len ? r->list.data + line : "";
	for (int words = 0; words < 2 && name[strcspn(name, " \n")] == ' '; words++)
		name += strcspn(name, " ") + 1;
	return err_set(e, -EILSEQ, "the backup is damaged: \"%.*s\" is not as it was written",
	               (int)strcspn(name, "\n"), name);
}

static int read_members(struct restore *r, struct err *e)
{
	struct buf said BUF_AUTO = BUF_INIT;
	struct tar_member m = { 0 };
	int rc = read_first(r, e);

	while (rc == 0) {
		rc = read_header(r, &m, e);
		if (rc < 0 || strcmp(m.name, BACKUP_LAST) == 0)
			break;
		rc = restore_member(r, &m, e);
	}
	if (rc == 0)
		rc = read_text(r, &m, LIST_MAX, &said, e);
	if (rc == 0 && buf_failed(&r->list))
		rc = err_nomem(e);
	if (rc == 0)
		rc = compare(r, &said, e);
	if (rc == 0 && !r->has_registry)
		rc = err_set(e, -EILSEQ, "the backup has no registry.db");
	return rc;
}

static int install_registry(const struct restore *r, struct err *e)
{
	char from[4096], to[4096];
	int rc;

	snprintf(from, sizeof(from), "%s/registry.db.tmp", r->data);
	snprintf(to, sizeof(to), "%s/registry.db", r->data);
	rc = rename(from, to) < 0 ? -errno : io_sync_dir(r->data);
	return rc < 0 ? err_set(e, rc, "%s: %s", to, strerror(-rc)) : 0;
}

static void remove_all(const struct restore *r)
{
	static const char *const made[] = { "stores", "audit" };
	char path[4096];

	snprintf(path, sizeof(path), "%s/registry.db.tmp", r->data);
	unlink(path);
	for (size_t i = 0; i < sizeof(made) / sizeof(*made); i++) {
		snprintf(path, sizeof(path), "%s/%s", r->data, made[i]);
		io_remove_tree(path);
	}
}

int backup_restore(const char *data, const struct backup_source *source, struct err *e)
{
	struct restore r = { .data = data, .source = source };
	int rc;

	r.piece = mem_alloc(PIECE, 1);
	rc = r.piece ? read_members(&r, e) : err_nomem(e);
	if (rc == 0)
		rc = install_registry(&r, e);
	if (rc < 0)
		remove_all(&r);
	buf_release(&r.list);
	mem_free(r.piece);
	return rc;
}
