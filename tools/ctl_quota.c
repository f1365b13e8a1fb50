/*
 * ctl_quota.c: ruvectorctl quota: who is near a limit, and raising limits by a written rule.
 *
 * Everything goes through the files of a mount: all/tenants says who has been near a limit and for
 * how long, without opening anybody; only of those stats and quota are read, through a descriptor
 * of the tenant's directory, so that another tenant that takes the name meanwhile is not meant.
 * What is raised is written to quota in one write, and is in the audit as any other.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/keyed.h"
#include "base/limits.h"
#include "base/num.h"
#include "tenant/quota.h"
#include "tools/ctl.h"

static const char quota_text[] =
	"usage: ruvectorctl quota [OPTION...] MOUNTPOINT\n"
	"\n"
	"Lists the tenants that have used 0.9 or more of a limit on what is stored: name, limit, used\n"
	"and allowed, and for how long. With --auto raises these limits by a rule.\n"
	"\n"
	"  -a, --auto       raise the limits of active tenants by the rule\n"
	"  -n, --dry-run    likewise, but only say what would be raised\n"
	"  -r, --rule FILE  lines of KEY VALUE (after_s 3600, factor 1.5, cap_max_vectors 10x,\n"
	"                   cap_max_bytes 10x, cap_max_collections 10x)\n"
	"  -h, --help       this text\n"
	"\n"
	"Exit status: 0, 1 when a limit cannot be raised any more, 2 when it could not be done.\n";

enum { OPTION_AUTO, OPTION_DRY_RUN, OPTION_RULE };
static const struct option long_options[] = {
	[OPTION_AUTO] = { "auto", no_argument, NULL, 'a' },
	[OPTION_DRY_RUN] = { "dry-run", no_argument, NULL, 'n' },
	[OPTION_RULE] = { "rule", required_argument, NULL, 'r' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

#define NEAR         0.9 /* as near_quota of stats */
#define AFTER_MAX    (365 * 86400)
#define FACTOR_MAX   100.0
#define TIMES_MAX    1000000.0
#define VALUE_MAX    ((uint64_t)1 << 62)
#define RULE_KEYS    "after_s, factor, cap_max_vectors, cap_max_bytes, cap_max_collections"
#define N_STORED     3
#define PATH_LEN_MAX 4096

/* The limits on what is stored; a name of quota, and of what all/tenants has of it. */
static const struct stored {
	const char *limit, *used, *cap;
	uint64_t max;
} stored[N_STORED] = {
	{ "max_vectors", "vectors", "cap_max_vectors", VALUE_MAX },
	{ "max_bytes", "bytes", "cap_max_bytes", VALUE_MAX },
	{ "max_collections", "collections", "cap_max_collections", LIMIT_COLLECTIONS },
};

struct cap {
	double times;   /* of the tier's value; 0: value holds */
	uint64_t value; /* QUOTA_UNLIMITED: none */
};

struct rule {
	uint64_t after_s;
	double factor;
	struct cap cap[N_STORED];
};

struct task {
	const char *mount;
	bool raise, dry_run;
	struct rule rule;
	bool stuck; /* somebody is near a limit that cannot be raised */
};

/* ---- files ---- */

static int read_all(int fd, struct buf *ret)
{
	char part[16384];
	ssize_t n;

	while ((n = read(fd, part, sizeof(part))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buf_add(ret, part, (size_t)n);
	}
	return buf_failed(ret) ? -ENOMEM : 0;
}

static int read_file(int dir, const char *name, struct buf *ret)
{
	int rc, fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	rc = read_all(fd, ret);
	close(fd);
	return rc;
}

static int write_file(int dir, const char *name, const struct buf *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	ssize_t n;
	int rc = 0;

	if (fd < 0)
		return -errno;
	n = write(fd, text->data, text->len);
	if (n != (ssize_t)text->len)
		rc = n < 0 ? -errno : -EIO;
	close(fd);
	return rc;
}

/* `max` is QUOTA_UNLIMITED, and so is a key that is not there. */
static uint64_t value_of(const struct buf *text, const char *key)
{
	struct keyed lines;
	struct keyed_line l;
	uint64_t v;

	keyed_init(&lines, text->data, text->len);
	while (keyed_next(&lines, &l, NULL) > 0)
		if (keyed_key_is(&l, key) && num_parse_u64(l.value, l.value_len, &v))
			return v;
	return QUOTA_UNLIMITED;
}

/* ---- the rule ---- */

static bool parse_number(const struct keyed_line *l, size_t n, double min, double max, double *ret)
{
	char text[32], *end;

	if (n == 0 || n >= sizeof(text) || strspn(l->value, "0123456789.") < n)
		return false;
	memcpy(text, l->value, n);
	text[n] = '\0';
	*ret = strtod(text, &end);
	return *end == '\0' && *ret >= min && *ret <= max;
}

static int read_factor(const struct keyed_line *l, struct rule *r, struct err *e)
{
	if (parse_number(l, l->value_len, 1, FACTOR_MAX, &r->factor) && r->factor > 1)
		return 0;
	return err_set(e, -EINVAL, "factor has to be above 1 and at most %.0f", FACTOR_MAX);
}

static int read_cap(const struct keyed_line *l, struct cap *c, struct err *e)
{
	*c = (struct cap){ .value = QUOTA_UNLIMITED };
	if (keyed_value_is(l, "max"))
		return 0;
	if (l->value_len == 0 || l->value[l->value_len - 1] != 'x')
		return keyed_u64(l, 0, VALUE_MAX, &c->value, e);
	if (parse_number(l, l->value_len - 1, 1, TIMES_MAX, &c->times))
		return 0;
	return err_set(e, -EINVAL, "%.*s has to be a number, 1x or more of the tier's, or max",
	               (int)l->key_len, l->key);
}

static int read_line(const struct keyed_line *l, struct rule *r, struct err *e)
{
	if (keyed_key_is(l, "after_s"))
		return keyed_u64(l, 0, AFTER_MAX, &r->after_s, e);
	if (keyed_key_is(l, "factor"))
		return read_factor(l, r, e);
	for (int k = 0; k < N_STORED; k++)
		if (keyed_key_is(l, stored[k].cap))
			return read_cap(l, &r->cap[k], e);
	return keyed_unknown(l, RULE_KEYS, e);
}

static int read_rule(const char *path, struct rule *r, struct err *e)
{
	struct buf text BUF_AUTO = BUF_INIT;
	struct keyed lines;
	struct keyed_line l;
	int rc = 0;

	*r = (struct rule){ .after_s = 3600, .factor = 1.5 };
	for (int k = 0; k < N_STORED; k++)
		r->cap[k] = (struct cap){ .times = 10 };
	if (path)
		rc = read_file(AT_FDCWD, path, &text);
	if (rc < 0)
		return err_set(e, rc, "%s: %s", path, strerror(-rc));
	keyed_init(&lines, text.data, text.len);
	while (rc == 0 && (rc = keyed_next(&lines, &l, e)) > 0)
		rc = read_line(&l, r, e);
	return rc;
}

/* ---- one tenant ---- */

struct near {
	char name[LIMIT_NAME + 1];
	int dir;
	uint64_t used[N_STORED], limit[N_STORED];
	uint64_t near_s;
	struct buf quota;
};

static bool is_near(const struct near *t, int k)
{
	return t->limit[k] != QUOTA_UNLIMITED && t->limit[k] > 0 &&
	       (double)t->used[k] >= NEAR * (double)t->limit[k];
}

/* Of the tier that the tenant has, as /tiers says it; QUOTA_UNLIMITED: it has no limit there. */
static uint64_t tier_value(const struct task *task, const struct near *t, const char *key)
{
	struct buf text BUF_AUTO = BUF_INIT;
	char path[PATH_LEN_MAX], tier[TIER_NAME] = "", want[64];
	char *row, *rest, *at;
	uint64_t v;

	if (snprintf(path, sizeof(path), "%s/tiers", task->mount) >= (int)sizeof(path) ||
	    read_file(AT_FDCWD, path, &text) < 0 || t->quota.len == 0 ||
	    sscanf(t->quota.data, "tier %15s", tier) != 1)
		return QUOTA_UNLIMITED;
	snprintf(want, sizeof(want), " %s=", key);
	for (rest = text.data; (row = strsep(&rest, "\n"));) {
		if (strncmp(row, tier, strlen(tier)) != 0 || row[strlen(tier)] != ' ')
			continue;
		at = strstr(row, want);
		at = at ? at + strlen(want) : row;
		return num_parse_u64(at, strcspn(at, " "), &v) ? v : QUOTA_UNLIMITED;
	}
	return QUOTA_UNLIMITED;
}

/* false: the rule has none for it */
static bool cap_of(const struct task *task, const struct near *t, int k, uint64_t *ret)
{
	const struct cap *c = &task->rule.cap[k];
	uint64_t tier;

	*ret = c->value == QUOTA_UNLIMITED ? stored[k].max : c->value;
	if (c->times > 0) {
		tier = tier_value(task, t, stored[k].limit);
		if (tier == QUOTA_UNLIMITED)
			return false;
		*ret = c->times * (double)tier < (double)VALUE_MAX
		               ? (uint64_t)(c->times * (double)tier)
		               : VALUE_MAX;
	}
	if (*ret > stored[k].max)
		*ret = stored[k].max;
	return true;
}

static uint64_t raised(const struct task *task, uint64_t limit, uint64_t cap)
{
	double to = ceil((double)limit * task->rule.factor);

	if (to >= (double)cap)
		return cap;
	return (uint64_t)to > limit ? (uint64_t)to : limit + 1;
}

/* A line, and what to write to quota for it. */
static void plan(struct task *task, const struct near *t, int k, struct buf *ret)
{
	uint64_t cap, to;

	printf("%s %s %" PRIu64 "/%" PRIu64, t->name, stored[k].limit, t->used[k], t->limit[k]);
	if (!task->raise) {
		printf(" near_quota_s=%" PRIu64 "\n", t->near_s);
	} else if (!cap_of(task, t, k, &cap)) {
		printf(" stays: its tier has no %s, the rule no cap\n", stored[k].limit);
		task->stuck = true;
	} else if (cap <= t->limit[k]) {
		printf(" stays: its cap is %" PRIu64 "\n", cap);
		task->stuck = true;
	} else {
		to = raised(task, t->limit[k], cap);
		printf(" raised to %" PRIu64 "\n", to);
		buf_addf(ret, "%s %" PRIu64 "\n", stored[k].limit, to);
	}
}

/* 1: it is near; 0: it is not any more, or not for so long; -ENOENT: gone. */
static int look_again(const struct task *task, struct near *t)
{
	struct buf stats BUF_AUTO = BUF_INIT;
	int rc = read_file(t->dir, "stats", &stats);

	if (rc == 0)
		rc = read_file(t->dir, "quota", &t->quota);
	if (rc < 0)
		return rc;
	t->near_s = value_of(&stats, "near_quota_s");
	for (int k = 0; k < N_STORED; k++)
		t->limit[k] = value_of(&t->quota, stored[k].limit);
	return value_of(&stats, "near_quota") == 1 &&
	       (!task->raise || t->near_s >= task->rule.after_s);
}

static int see_to(struct task *task, struct near *t, struct err *e)
{
	struct buf text BUF_AUTO = BUF_INIT;
	int rc = look_again(task, t);

	if (rc == -ENOENT || rc == -ENODEV)
		return 0;
	if (rc < 0)
		return err_set(e, rc, "tenants/%s: %s", t->name, strerror(-rc));
	for (int k = 0; rc > 0 && k < N_STORED; k++)
		if (is_near(t, k))
			plan(task, t, k, &text);
	if (buf_failed(&text))
		return err_set(e, -ENOMEM, "out of memory");
	if (text.len == 0 || task->dry_run)
		return 0;
	rc = write_file(t->dir, "quota", &text);
	return rc < 0 ? err_set(e, rc, "tenants/%s/quota: %s", t->name, strerror(-rc)) : 0;
}

/* ---- all of them ---- */

/* The value behind " KEY=" of a line. */
static const char *word_of(const char *line, const char *key)
{
	char want[64];
	const char *at;

	snprintf(want, sizeof(want), " %s=", key);
	at = strstr(line, want);
	return at ? at + strlen(want) : "";
}

static bool take_line(const struct task *task, const char *line, struct near *ret)
{
	size_t n = strcspn(line, " ");

	if (n == 0 || n > LIMIT_NAME || strtod(word_of(line, "quota_utilization"), NULL) < NEAR)
		return false;
	if (task->raise && strncmp(word_of(line, "status"), "active ", 7) != 0)
		return false;
	memcpy(ret->name, line, n);
	ret->name[n] = '\0';
	for (int k = 0; k < N_STORED; k++)
		ret->used[k] = strtoull(word_of(line, stored[k].used), NULL, 10);
	return true;
}

static int see_to_line(struct task *task, const char *line, struct err *e)
{
	struct near t = { .quota = BUF_INIT };
	char path[PATH_LEN_MAX];
	int rc;

	if (!take_line(task, line, &t))
		return 0;
	if (snprintf(path, sizeof(path), "%s/tenants/%s", task->mount, t.name) >= (int)sizeof(path))
		return err_set(e, -ENAMETOOLONG, "the path of the mount is too long");
	t.dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (t.dir < 0) /* renamed or removed since */
		return errno == ENOENT ? 0 : err_set(e, -errno, "%s: %s", path, strerror(errno));
	rc = see_to(task, &t, e);
	close(t.dir);
	buf_release(&t.quota);
	return rc;
}

static int see_to_all(struct task *task, struct err *e)
{
	struct buf text BUF_AUTO = BUF_INIT;
	char path[PATH_LEN_MAX], *line, *rest;
	int rc = -ENAMETOOLONG;

	if (snprintf(path, sizeof(path), "%s/all/tenants", task->mount) < (int)sizeof(path))
		rc = read_file(AT_FDCWD, path, &text);
	if (rc < 0)
		return err_set(e, rc, "%s/all/tenants: %s", task->mount, strerror(-rc));
	for (rest = text.data; rc == 0 && (line = strsep(&rest, "\n"));)
		rc = see_to_line(task, line, e);
	return rc;
}

int ctl_quota(int argc, char **argv)
{
	static const struct ctl_usage usage = { quota_text, "anr:h", long_options, 1, 1 };
	const char *values[CTL_OPTIONS_MAX];
	char data[PATH_LEN_MAX];
	struct task task = { 0 };
	struct err e = { 0 };
	int rc = ctl_options(argc, argv, &usage, values);

	if (rc)
		return rc - 1;
	task.mount = argv[optind];
	task.dry_run = values[OPTION_DRY_RUN] != NULL;
	task.raise = task.dry_run || values[OPTION_AUTO] != NULL;
	rc = ctl_data_of_mount(task.mount, data, &e);
	if (rc == 0)
		rc = read_rule(values[OPTION_RULE], &task.rule, &e);
	if (rc == 0)
		rc = see_to_all(&task, &e);
	if (rc < 0)
		return ctl_fail(CTL_CANNOT, "%s", e.text);
	return task.stuck ? CTL_FOUND : CTL_OK;
}
