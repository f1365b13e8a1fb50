/*
 * audit.c: DATA/audit/N.log, N counting up: the highest is the current one.
 *
 * Rotation makes the next file and unlinks the oldest beyond audit_files, so no file is ever
 * renamed and a reader is told by number what it reads. A line that a crash cut in two is ended by
 * a newline when the file is opened again.
 *
 * Rates are token buckets in a table of fixed size, a place by hash; who takes over a place from
 * another tenant has what that one's was suppressed written first.
 *
 * Lock order: a->lock is innermost; the file is written and synced under it, so that records are
 * in the order of their times.
 */
#include "tenant/audit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/num.h"
#include "tenant/settings.h"

#define N_BUCKETS 256
#define BURST_S   10 /* seconds of its rate that a tenant may have at once */
#define TEXT_MAX  512
#define FLUSH_NS  60000000000ull

struct bucket {
	uint64_t key;
	bool used;
	double tokens;
	uint64_t filled_ns;
	uint64_t suppressed;
	enum audit_level class;
	char tenant[LIMIT_NAME + 1];
};

struct audit {
	char *dir;                       /* const */
	const struct settings *settings; /* const */
	bool read_only;                  /* const */
	uid_t root;                      /* const */
	struct mutex lock;
	int fd;                           /* lock; -1: none yet */
	uint64_t file;                    /* lock; number of the current one; 0: none yet */
	uint64_t bytes;                   /* lock; in it */
	uint64_t lost;                    /* lock; records that could not be written */
	uint64_t flush_ns;                /* lock; when suppressed counts were written last */
	struct bucket buckets[N_BUCKETS]; /* lock */
};

static uint64_t setting(const struct audit *a, enum setting k)
{
	return atomic_load_explicit(&a->settings->v[k], memory_order_relaxed);
}

/* ---- files ---- */

static bool file_path(const struct audit *a, uint64_t file, char ret[4096])
{
	int n = snprintf(ret, 4096, "%s/%" PRIu64 ".log", a->dir, file);

	return n > 0 && n < 4096;
}

static bool file_number(const char *name, uint64_t *ret)
{
	const char *dot = strchr(name, '.');

	return dot && strcmp(dot, ".log") == 0 && num_parse_u64(name, (size_t)(dot - name), ret) &&
	       *ret > 0;
}

/* visit returns false to end. */
static void each_file(const struct audit *a, void (*visit)(const struct audit *, uint64_t, void *),
                      void *ctx)
{
	DIR *d = opendir(a->dir);
	struct dirent *entry;
	uint64_t n;

	if (!d)
		return;
	while ((entry = readdir(d)))
		if (file_number(entry->d_name, &n))
			visit(a, n, ctx);
	closedir(d);
}

static void take_highest(const struct audit *a, uint64_t n, void *ctx)
{
	uint64_t *highest = ctx;

	if (n > *highest)
		*highest = n;
}

static void drop_old(const struct audit *a, uint64_t n, void *ctx)
{
	char path[4096];

	if (n + setting(a, SETTING_AUDIT_FILES) < *(uint64_t *)ctx && file_path(a, n, path))
		unlink(path);
}

/* A line that was cut ends here. */
static void end_line(int fd, uint64_t *bytes)
{
	char last;

	if (*bytes > 0 && io_read_at(fd, &last, 1, *bytes - 1) == 0 && last != '\n' &&
	    write(fd, "\n", 1) == 1)
		++*bytes;
}

static int open_file_locked(struct audit *a, uint64_t file) REQUIRES(a->lock)
{
	char path[4096];
	struct stat st;
	int fd;

	if (!file_path(a, file, path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0) {
		close(fd);
		return -EIO;
	}
	if (a->fd >= 0)
		close(a->fd);
	a->fd = fd;
	a->file = file;
	a->bytes = (uint64_t)st.st_size;
	end_line(fd, &a->bytes);
	io_sync_dir(a->dir);
	return 0;
}

static int ready_locked(struct audit *a) REQUIRES(a->lock)
{
	uint64_t full = setting(a, SETTING_AUDIT_FILE_BYTES);
	int rc = 0;

	if (a->fd < 0)
		rc = open_file_locked(a, a->file ? a->file : 1);
	if (rc == 0 && a->bytes >= full) {
		rc = open_file_locked(a, a->file + 1);
		if (rc == 0)
			each_file(a, drop_old, &a->file);
	}
	return rc;
}

/* ---- lines ---- */

static void add_time(struct buf *b)
{
	uint64_t ns = clock_wall_ns();
	time_t s = (time_t)(ns / 1000000000u);
	struct tm tm;
	char text[32];

	gmtime_r(&s, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	buf_addf(b, "{\"time\":\"%s.%03uZ\"", text, (unsigned)(ns / 1000000u % 1000u));
}

static void add_string(struct buf *b, const char *key, const char *s, size_t n)
{
	if (!s)
		return;
	buf_addf(b, ",\"%s\":", key);
	buf_add_json_string(b, s, n < TEXT_MAX ? n : TEXT_MAX);
}

static void add_word(struct buf *b, const char *key, const char *s)
{
	add_string(b, key, s, s ? strlen(s) : 0);
}

static const char *class_name(enum audit_level class)
{
	static const char *const names[] = { "admin", "refusal", "data" };

	return names[class];
}

/* As much of what was written as stands before its last newlines. */
static size_t trimmed(const char *text, size_t n)
{
	while (n > 0 && text[n - 1] == '\n')
		n--;
	return n;
}

static void render(const struct audit_record *r, struct buf *ret)
{
	const char *code = r->code ? strerrorname_np(-r->code) : "ok";

	add_time(ret);
	add_word(ret, "class", class_name(r->class));
	buf_addf(ret, ",\"uid\":%u", (unsigned)r->uid);
	if (r->pid)
		buf_addf(ret, ",\"pid\":%d", (int)r->pid);
	add_word(ret, "tenant", r->tenant);
	if (r->collection)
		buf_addf(ret, ",\"collection\":%" PRIu32, r->collection);
	add_word(ret, "operation", r->operation);
	add_word(ret, "file", r->file);
	add_word(ret, "outcome", code ? code : "error");
	add_word(ret, "reason", r->reason);
	if (r->text)
		add_string(ret, "text", r->text, trimmed(r->text, r->text_len));
	if (r->count)
		buf_addf(ret, ",\"count\":%" PRIu64, r->count);
	buf_adds(ret, "}\n");
}

static void render_count(enum audit_level class, const char *tenant, const char *what,
                         uint64_t count, struct buf *ret)
{
	add_time(ret);
	add_word(ret, "class", class_name(class));
	if (tenant[0])
		add_word(ret, "tenant", tenant);
	add_word(ret, "operation", what);
	buf_addf(ret, ",\"count\":%" PRIu64 "}\n", count);
}

/* A line is in the file as a whole, or cut off again. */
static int append_locked(struct audit *a, const struct buf *line) REQUIRES(a->lock)
{
	int rc = buf_failed(line) ? -ENOMEM : ready_locked(a);
	ssize_t n;

	if (rc < 0)
		return rc;
	n = write(a->fd, line->data, line->len);
	if (n == (ssize_t)line->len) {
		a->bytes += line->len;
		return 0;
	}
	if (n > 0 && ftruncate(a->fd, (off_t)a->bytes) < 0)
		a->bytes += (uint64_t)n;
	return -EIO;
}

/* ---- rates ---- */

static void tell_suppressed_locked(struct audit *a, struct bucket *b) REQUIRES(a->lock)
{
	struct buf line BUF_AUTO = BUF_INIT;

	if (!b->suppressed)
		return;
	render_count(b->class, b->tenant, "suppressed", b->suppressed, &line);
	if (append_locked(a, &line) == 0)
		b->suppressed = 0;
}

static void tell_all_suppressed_locked(struct audit *a) REQUIRES(a->lock)
{
	for (unsigned i = 0; i < N_BUCKETS; i++)
		tell_suppressed_locked(a, &a->buckets[i]);
	a->flush_ns = clock_mono_ns();
}

/* Tenants by their number, who has none by user; data has a bucket of its own. */
static uint64_t bucket_key(const struct audit_record *r)
{
	uint64_t who = r->number ? r->number : 1ull << 32 | (uint64_t)r->uid << 33;

	return who << 1 | (r->class == AUDIT_DATA);
}

static struct bucket *bucket_locked(struct audit *a, const struct audit_record *r, uint64_t rate)
	REQUIRES(a->lock)
{
	uint64_t key = bucket_key(r);
	struct bucket *b = &a->buckets[map_hash_u64(key) % N_BUCKETS];

	if (b->used && b->key == key)
		return b;
	tell_suppressed_locked(a, b);
	*b = (struct bucket){ .key = key, .used = true, .class = r->class };
	b->tokens = (double)rate * BURST_S;
	b->filled_ns = clock_mono_ns();
	snprintf(b->tenant, sizeof(b->tenant), "%s", r->tenant ? r->tenant : "");
	return b;
}

static bool allowed_locked(struct audit *a, const struct audit_record *r) REQUIRES(a->lock)
{
	uint64_t rate = setting(a, r->class == AUDIT_DATA ? SETTING_AUDIT_DATA_RATE
	                                                  : SETTING_AUDIT_RATE);
	uint64_t now = clock_mono_ns();
	struct bucket *b;

	if (rate == UINT64_MAX || r->uid == 0 || r->uid == a->root)
		return true;
	b = bucket_locked(a, r, rate);
	b->tokens += (double)rate * (double)(now - b->filled_ns) / 1e9;
	b->filled_ns = now;
	if (b->tokens > (double)rate * BURST_S)
		b->tokens = (double)rate * BURST_S;
	if (b->tokens < 1) {
		b->suppressed++;
		return false;
	}
	b->tokens -= 1;
	tell_suppressed_locked(a, b);
	return true;
}

/* ---- public ---- */

int audit_open(const char *data, const struct settings *settings, bool read_only,
               struct audit **ret, struct err *e)
{
	struct audit *a = mem_zalloc(1, sizeof(*a));
	size_t n = strlen(data);
	int rc = 0;

	if (a)
		a->dir = mem_zalloc(n + sizeof("/audit"), 1);
	if (!a || !a->dir) {
		mem_free(a);
		return err_nomem(e);
	}
	memcpy(a->dir, data, n);
	memcpy(a->dir + n, "/audit", sizeof("/audit"));
	mutex_init(&a->lock);
	a->settings = settings;
	a->read_only = read_only;
	a->root = geteuid();
	a->fd = -1;
	a->flush_ns = clock_mono_ns();
	if (!read_only)
		rc = io_mkdir(a->dir, 0700);
	if (rc < 0) {
		err_set(e, rc, "%s: %s", a->dir, strerror(-rc));
		audit_close(a);
		return rc;
	}
	each_file(a, take_highest, &a->file);
	*ret = a;
	return 0;
}

void audit_close(struct audit *a)
{
	if (!a)
		return;
	mutex_lock(&a->lock);
	tell_all_suppressed_locked(a);
	if (a->fd >= 0)
		close(a->fd);
	mutex_unlock(&a->lock);
	mutex_destroy(&a->lock);
	mem_free(a->dir);
	mem_free(a);
}

bool audit_wants(const struct audit *a, enum audit_level class)
{
	return !a->read_only && class <= setting(a, SETTING_AUDIT_LEVEL);
}

static void write_locked(struct audit *a, const struct audit_record *r) REQUIRES(a->lock)
{
	struct buf line BUF_AUTO = BUF_INIT;

	if (a->lost)
		render_count(AUDIT_ADMIN, "", "lost", a->lost, &line);
	render(r, &line);
	if (append_locked(a, &line) < 0 || (r->class == AUDIT_ADMIN && io_sync(a->fd) < 0))
		a->lost++;
	else
		a->lost = 0;
}

void audit_write(struct audit *a, const struct audit_record *r)
{
	if (!audit_wants(a, r->class))
		return;
	mutex_lock(&a->lock);
	if (allowed_locked(a, r))
		write_locked(a, r);
	if (clock_mono_ns() - a->flush_ns > FLUSH_NS)
		tell_all_suppressed_locked(a);
	mutex_unlock(&a->lock);
}

uint64_t audit_current(struct audit *a)
{
	uint64_t file;

	mutex_lock(&a->lock);
	tell_all_suppressed_locked(a);
	file = a->file;
	mutex_unlock(&a->lock);
	return file;
}

int audit_size(struct audit *a, uint64_t file, uint64_t *ret)
{
	char path[4096];
	struct stat st;

	if (!file_path(a, file, path))
		return -ENAMETOOLONG;
	if (stat(path, &st) < 0)
		return -errno;
	*ret = (uint64_t)st.st_size;
	return 0;
}

int audit_read(struct audit *a, uint64_t file, uint64_t off, size_t n, struct buf *ret)
{
	char path[4096];
	ssize_t got;
	char *room;
	int fd;

	if (off > INT64_MAX || !file_path(a, file, path))
		return -EINVAL;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	room = buf_space(ret, n);
	got = room ? pread(fd, room, n, (off_t)off) : -1;
	close(fd);
	if (!room)
		return -ENOMEM;
	if (got < 0)
		return -EIO;
	buf_grew(ret, (size_t)got);
	return 0;
}
