/*
 * ctl_table.c: a mount's tenants from all/tenants and stats, a tenant's collections from theirs.
 *
 * Only files are read, so it works with any server, and with what its user may see.
 */
#include "tools/ctl_table.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"

/* ---- files ---- */

static int slurp(const char *dir, const char *name, struct buf *ret)
{
	char path[4096 + 300];
	ssize_t n = -1;
	char *room;
	int fd, rc = 0;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	buf_clear(ret);
	while ((room = buf_space(ret, 65536)) && (n = read(fd, room, 65536)) > 0)
		buf_grew(ret, (size_t)n);
	if (room && n < 0)
		rc = -errno;
	close(fd);
	buf_addc(ret, '\0'); /* a string for what reads it */
	return buf_failed(ret) ? -ENOMEM : rc;
}

/*
 * The value of a key in words "KEY=VALUE" of a line, or in lines "KEY VALUE": where sep stands
 * between them. NULL: none.
 */
static const char *value_of(const char *text, const char *key, char sep, size_t *ret_len)
{
	const char *ends = sep == '=' ? " \n" : "\n";
	size_t n = strlen(key);

	for (const char *p = text; p; p = strpbrk(p, ends)) {
		p += p != text;
		if (strncmp(p, key, n) == 0 && p[n] == sep) {
			*ret_len = strcspn(p + n + 1, ends);
			return p + n + 1;
		}
	}
	return NULL;
}

static uint64_t get_u64(const char *text, const char *key, char sep)
{
	size_t n;
	const char *v = value_of(text, key, sep, &n);
	uint64_t ret;

	if (v && n == 3 && memcmp(v, "max", 3) == 0)
		return TABLE_NO_LIMIT;
	return v && num_parse_u64(v, n, &ret) ? ret : 0;
}

static double get_double(const char *text, const char *key, char sep)
{
	size_t n;
	const char *v = value_of(text, key, sep, &n);

	return v ? strtod(v, NULL) : 0;
}

static void get_word(const char *text, const char *key, char sep, char *ret, size_t cap)
{
	size_t n;
	const char *v = value_of(text, key, sep, &n);

	snprintf(ret, cap, "%.*s", v ? (int)n : 0, v ? v : "");
}

static const char *const count_names[TABLE_COUNTS] = { "queries", "inserts", "deletes", "errors" };

static void get_row(const char *text, char sep, struct ctl_row *r)
{
	char key[32];

	r->vectors = get_u64(text, "vectors", sep);
	r->bytes = get_u64(text, "bytes", sep);
	r->utilization = get_double(text, "quota_utilization", sep);
	r->p99_us = get_u64(text, "query_us_p99_1m", sep);
	r->last_access_s = get_u64(text, "last_access_s", sep);
	for (int k = 0; k < TABLE_COUNTS; k++) {
		snprintf(key, sizeof(key), "total_%s", count_names[k]);
		r->total[k] = get_u64(text, key, sep);
		snprintf(key, sizeof(key), "%s_per_s", count_names[k]);
		r->per_s[k] = get_double(text, key, sep);
	}
}

static struct ctl_row *new_row(struct ctl_table *t)
{
	struct ctl_row *more = t->rows;

	if ((t->n & (t->n + 1)) == 0) /* 0, 1, 3, 7 … rows: as many again */
		more = mem_resize(t->rows, 2 * t->n + 1, sizeof(*more));
	if (!more)
		return NULL;
	t->rows = more;
	t->rows[t->n] = (struct ctl_row){ .max_vectors = TABLE_NO_LIMIT,
		                          .max_bytes = TABLE_NO_LIMIT };
	return &t->rows[t->n++];
}

/* ---- a mount ---- */

static int add_tenant(struct ctl_table *t, char *line)
{
	size_t n = strcspn(line, " ");
	struct ctl_row *r = new_row(t);

	if (!r)
		return -ENOMEM;
	snprintf(r->name, sizeof(r->name), "%.*s", (int)n, line);
	get_row(line, '=', r);
	r->max_vectors = get_u64(line, "max_vectors", '=');
	r->max_bytes = get_u64(line, "max_bytes", '=');
	get_word(line, "status", '=', r->status, sizeof(r->status));
	get_word(line, "integrity", '=', r->integrity, sizeof(r->integrity));
	return 0;
}

static int read_mount(const char *dir, struct ctl_table *t, struct buf *b, struct err *e)
{
	char *save = NULL;
	int rc = 0;

	for (char *l = strtok_r(b->data, "\n", &save); l && rc == 0;
	     l = strtok_r(NULL, "\n", &save))
		rc = add_tenant(t, l);
	if (rc == 0)
		rc = slurp(dir, "stats", b);
	if (rc < 0)
		return err_set(e, rc, "%s/stats: %s", dir, strerror(-rc));
	get_row(b->data, ' ', &t->sum);
	t->uptime_s = get_u64(b->data, "uptime_s", ' ');
	t->restarts = get_u64(b->data, "restarts", ' ');
	return 0;
}

/* ---- a tenant ---- */

static int add_collection(struct ctl_table *t, const char *dir, const char *name, struct buf *b,
                          struct err *e)
{
	char stats[300];
	struct ctl_row *r;
	int rc;

	snprintf(stats, sizeof(stats), "%s%s%sstats", *name ? "collections/" : "", name,
	         *name ? "/" : "");
	rc = slurp(dir, stats, b);
	if (rc < 0)
		return err_set(e, rc, "%s/%s: %s", dir, stats, strerror(-rc));
	r = new_row(t);
	if (!r)
		return err_nomem(e);
	snprintf(r->name, sizeof(r->name), "%s", *name ? name : ".");
	get_row(b->data, ' ', r);
	if (*name)
		return 0;
	t->sum.utilization = r->utilization; /* the tenant's, all collections counted */
	r->utilization = 0;
	return 0;
}

static int add_collections(struct ctl_table *t, const char *dir, struct buf *b, struct err *e)
{
	char path[4096 + 32];
	struct dirent *entry;
	DIR *d;
	int rc = 0;

	snprintf(path, sizeof(path), "%s/collections", dir);
	d = opendir(path);
	t->partial = !d;
	while (d && rc == 0 && (entry = readdir(d)))
		if (entry->d_name[0] != '.')
			rc = add_collection(t, dir, entry->d_name, b, e);
	if (d)
		closedir(d);
	return rc == -ENOENT ? 0 : rc; /* removed meanwhile */
}

static void add_up(struct ctl_table *t)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct ctl_row *r = &t->rows[i];

		t->sum.vectors += r->vectors;
		t->sum.bytes += r->bytes;
		for (int k = 0; k < TABLE_COUNTS; k++)
			t->sum.per_s[k] += r->per_s[k];
	}
}

/* The figures of a tenant that is suspended are readable, its collections' too. */
static int read_tenant(const char *dir, struct ctl_table *t, struct buf *b, struct err *e)
{
	char path[4096 + 300];
	int rc;

	t->of_tenant = true;
	t->sum.max_vectors = get_u64(b->data, "max_vectors", ' ');
	t->sum.max_bytes = get_u64(b->data, "max_bytes", ' ');
	snprintf(path, sizeof(path), "%s/status", dir);
	rc = slurp(dir, "status", b);
	if (rc < 0)
		return err_set(e, rc, "%s: %s", path, strerror(-rc));
	snprintf(t->sum.status, sizeof(t->sum.status), "%.*s", (int)strcspn(b->data, "\n"),
	         b->data);
	rc = add_collection(t, dir, "", b, e);
	if (rc == 0)
		rc = add_collections(t, dir, b, e);
	add_up(t);
	return rc;
}

/* ---- either ---- */

static int no_mount(const char *dir, int rc, struct err *e)
{
	char path[4096 + 32];

	snprintf(path, sizeof(path), "%s/format", dir);
	if (access(path, F_OK) == 0)
		return err_set(e, -ENOENT, "%s is the data; give the directory where it is mounted",
		               dir);
	if (rc == -ENOENT)
		return err_set(e, rc, "%s: neither a mount of ruvectorfs nor a tenant's directory",
		               dir);
	if (rc == -ENOTCONN || rc == -ECONNABORTED) /* the latter in its last moment */
		return err_set(e, rc, "%s: the filesystem has ended; mount it again", dir);
	return err_set(e, rc, "%s: %s", dir, strerror(-rc));
}

static int read_any(const char *dir, struct ctl_table *t, struct buf *b, struct err *e)
{
	int rc = slurp(dir, "all/tenants", b), mount_rc = rc;

	if (rc == 0)
		return read_mount(dir, t, b, e);
	if (rc == -ENOENT)
		rc = slurp(dir, "quota", b);
	if (rc == 0)
		return read_tenant(dir, t, b, e);
	if (mount_rc == -EACCES)
		return err_set(e, mount_rc,
		               "%s/all is root's: as somebody else give your tenant's directory",
		               dir);
	return no_mount(dir, rc, e);
}

int ctl_table_read(const char *dir, struct ctl_table *ret, struct err *e)
{
	BUF_AUTO struct buf b = BUF_INIT;
	struct ctl_table t = { .read_ns = clock_mono_ns() };
	int rc;

	if (strlen(dir) >= sizeof(t.title))
		return err_set(e, -ENAMETOOLONG, "the path is too long");
	snprintf(t.title, sizeof(t.title), "%s", dir);
	t.sum.max_vectors = t.sum.max_bytes = TABLE_NO_LIMIT;
	rc = read_any(dir, &t, &b, e);
	for (size_t i = 0; i < t.n; i++)
		t.near_quota += t.rows[i].utilization >= TABLE_NEAR;
	if (rc < 0)
		ctl_table_release(&t);
	else
		*ret = t;
	return rc;
}

void ctl_table_release(struct ctl_table *t)
{
	mem_free(t->rows);
	t->rows = NULL;
	t->n = 0;
}

/* ---- rates ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct ctl_row *)a)->name, ((const struct ctl_row *)b)->name);
}

static void rates_of(struct ctl_row *r, const struct ctl_row *old, double seconds)
{
	for (int k = 0; k < TABLE_COUNTS; k++)
		r->per_s[k] = r->total[k] > old->total[k]
		                      ? (double)(r->total[k] - old->total[k]) / seconds
		                      : 0;
}

void ctl_table_rates(struct ctl_table *t, const struct ctl_table *before)
{
	double seconds = (double)(t->read_ns - before->read_ns) / 1e9;
	struct ctl_row *sorted = (struct ctl_row *)(void *)mem_dup(before->rows,
	                                                           before->n * sizeof(*sorted));

	if (!sorted || seconds <= 0) {
		mem_free(sorted);
		return;
	}
	qsort(sorted, before->n, sizeof(*sorted), by_name);
	memset(t->sum.per_s, 0, sizeof(t->sum.per_s));
	for (size_t i = 0; i < t->n; i++) {
		struct ctl_row *r = &t->rows[i];
		const struct ctl_row *old = bsearch(r, sorted, before->n, sizeof(*sorted), by_name);

		rates_of(r, old ? old : r, seconds);
		for (int k = 0; k < TABLE_COUNTS; k++)
			t->sum.per_s[k] += r->per_s[k];
	}
	mem_free(sorted);
}

/* ---- order ---- */

static const char *const order_names[TABLE_ORDERS] = {
	"name", "vectors", "bytes", "full", "queries", "inserts", "errors", "last",
};

bool ctl_order_parse(const char *word, enum ctl_order *ret)
{
	for (int i = 0; *word && i < TABLE_ORDERS; i++) {
		if (strncmp(word, order_names[i], strlen(word)) == 0) {
			*ret = (enum ctl_order)i;
			return true;
		}
	}
	return false;
}

const char *ctl_order_name(enum ctl_order o)
{
	return order_names[o];
}

static double weight_of(const struct ctl_row *r, enum ctl_order o)
{
	switch (o) {
	case BY_VECTORS:
		return (double)r->vectors;
	case BY_BYTES:
		return (double)r->bytes;
	case BY_FULL:
		return r->utilization;
	case BY_QUERIES:
		return r->per_s[TABLE_QUERIES];
	case BY_INSERTS:
		return r->per_s[TABLE_INSERTS];
	case BY_ERRORS:
		return r->per_s[TABLE_ERRORS];
	case BY_LAST:
		return (double)r->last_access_s;
	case BY_NAME:
	case TABLE_ORDERS:
		break;
	}
	return 0;
}

static int in_order(const void *a, const void *b, void *ctx)
{
	enum ctl_order o = *(const enum ctl_order *)ctx;
	double x = weight_of(a, o), y = weight_of(b, o);

	return x != y ? (x < y) - (x > y) : by_name(a, b);
}

void ctl_table_sort(struct ctl_table *t, enum ctl_order o)
{
	if (t->n > 1)
		qsort_r(t->rows, t->n, sizeof(*t->rows), in_order, &o);
}
