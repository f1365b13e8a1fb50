/*
 * labels.c: a tenant's own KEY VALUE pairs, in DATA/stores/N/labels, so that they go with it.
 *
 *     "labels " CRC-32C of what follows, 8 hexadecimal digits, newline; then a line a pair,
 *     sorted by key
 *
 * Written aside, synced and renamed. Nothing of it is kept in memory. Writers take turns by the
 * tenant's door.
 */
#include "tenant/tenant_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/io.h"
#include "base/keyed.h"

#define HEAD_BYTES 16 /* "labels 01234567\n" */
#define KEY_MAX    64
#define VALUE_MAX  256

/* ---- the file ---- */

static int damaged(struct err *e)
{
	return err_set(e, -EIO, "the labels of the tenant are damaged");
}

static int read_open(int fd, struct buf *ret, struct err *e)
{
	char head[HEAD_BYTES + 1];
	char file[HEAD_BYTES + LIMIT_LABELS];
	struct stat st;
	size_t n;

	if (fstat(fd, &st) < 0)
		return err_set(e, -errno, "reading labels: %s", strerror(errno));
	if (st.st_size < HEAD_BYTES || st.st_size > (off_t)sizeof(file))
		return damaged(e);
	n = (size_t)st.st_size;
	if (io_read_at(fd, file, n, 0) < 0)
		return damaged(e);
	snprintf(head, sizeof(head), "labels %08" PRIx32 "\n",
	         crc32c(0, file + HEAD_BYTES, n - HEAD_BYTES));
	if (memcmp(file, head, HEAD_BYTES) != 0)
		return damaged(e);
	buf_add(ret, file + HEAD_BYTES, n - HEAD_BYTES);
	return buf_failed(ret) ? err_nomem(e) : 0;
}

int tenant_labels(struct inside *in, struct buf *ret, struct err *e)
{
	char path[4096];
	int fd;
	int rc;

	if (!tenant_store_path(in->tenant, path, sizeof(path), "labels"))
		return err_set(e, -ENAMETOOLONG, "the path of the data directory is too long");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0
		                       : err_set(e, -errno, "reading labels: %s", strerror(errno));
	rc = read_open(fd, ret, e);
	close(fd);
	return rc;
}

static int write_aside(const char *path, const struct buf *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc;

	if (fd < 0)
		return -errno;
	rc = io_write_at(fd, text->data, text->len, 0);
	if (rc == 0)
		rc = io_sync(fd);
	close(fd);
	return rc;
}

static int write_file(const struct tenant *t, const struct buf *pairs)
{
	struct buf file BUF_AUTO = BUF_INIT;
	char path[4096], tmp[4096];
	int rc;

	if (!tenant_store_path(t, path, sizeof(path), "labels") ||
	    !tenant_store_path(t, tmp, sizeof(tmp), "labels.tmp"))
		return -ENAMETOOLONG;
	buf_addf(&file, "labels %08" PRIx32 "\n", crc32c(0, pairs->data, pairs->len));
	buf_add(&file, pairs->data, pairs->len);
	if (buf_failed(&file))
		return -ENOMEM;
	rc = write_aside(tmp, &file);
	if (rc == 0 && rename(tmp, path) < 0)
		rc = -errno;
	if (rc < 0)
		unlink(tmp);
	return rc < 0 ? rc : io_sync_parent(path);
}

/* ---- pairs ---- */

static int check_key(const struct keyed_line *l, struct err *e)
{
	for (size_t i = 0; i < l->key_len; i++) {
		char c = l->key[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '.' || c == '_' || c == '-' || c == '/'))
			return err_set(e, -EINVAL,
			               "byte %zu of a key is not one of A-Z a-z 0-9 . _ - /",
			               i + 1);
	}
	if (l->key_len > KEY_MAX)
		return err_set(e, -EINVAL, "a key of %zu bytes, at most %d", l->key_len, KEY_MAX);
	if (l->value_len == 0)
		return err_set(e, -EINVAL, "%.*s: the value is missing", (int)l->key_len, l->key);
	if (l->value_len > VALUE_MAX)
		return err_set(e, -E2BIG, "%.*s: a value of %zu bytes, at most %d", (int)l->key_len,
		               l->key, l->value_len, VALUE_MAX);
	return 0;
}

static int compare_keys(const struct keyed_line *a, const struct keyed_line *b)
{
	size_t n = a->key_len < b->key_len ? a->key_len : b->key_len;
	int c = memcmp(a->key, b->key, n);

	return c ? c : (a->key_len > b->key_len) - (a->key_len < b->key_len);
}

static void add_pair(struct buf *to, const struct keyed_line *l)
{
	buf_add(to, l->key, l->key_len);
	buf_addc(to, ' ');
	buf_add(to, l->value, l->value_len);
	buf_addc(to, '\n');
}

/* The pairs of from, which are sorted, with *l put where it belongs. */
static void merge_one(const struct buf *from, const struct keyed_line *l, struct buf *to)
{
	bool placed = keyed_value_is(l, "default");
	struct keyed lines;
	struct keyed_line there;

	keyed_init(&lines, from->data ? from->data : "", from->len);
	while (keyed_next(&lines, &there, NULL) > 0) {
		int c = compare_keys(&there, l);

		if (c >= 0 && !placed) {
			add_pair(to, l);
			placed = true;
		}
		if (c != 0)
			add_pair(to, &there);
	}
	if (!placed)
		add_pair(to, l);
}

static int merge(struct buf *pairs, const char *text, size_t n, struct err *e)
{
	struct keyed lines;
	struct keyed_line l;
	int rc;

	keyed_init(&lines, text, n);
	while ((rc = keyed_next(&lines, &l, e)) > 0) {
		struct buf next = BUF_INIT;

		rc = check_key(&l, e);
		if (rc < 0)
			return rc;
		merge_one(pairs, &l, &next);
		buf_release(pairs);
		*pairs = next;
		if (buf_failed(pairs))
			return err_nomem(e);
	}
	if (rc == 0 && pairs->len > LIMIT_LABELS)
		return err_set(e, -E2BIG, "labels of %zu bytes, at most %d", pairs->len,
		               LIMIT_LABELS);
	return rc;
}

int tenant_set_labels(struct inside *in, const char *text, size_t n, struct err *e)
{
	struct buf pairs BUF_AUTO = BUF_INIT;
	int rc;

	mutex_lock(&in->tenant->door);
	rc = tenant_labels(in, &pairs, e);
	if (rc == 0)
		rc = merge(&pairs, text, n, e);
	if (rc == 0) {
		rc = write_file(in->tenant, &pairs);
		if (rc < 0)
			err_set(e, rc, "writing labels: %s", strerror(-rc));
	}
	mutex_unlock(&in->tenant->door);
	return rc;
}
