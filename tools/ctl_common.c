/*
 * ctl_common.c: options, errors, the lock, and the line of progress of ruvectorctl.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tenant/datadir.h"
#include "tools/ctl.h"

#define SHOW_NS 100000000ull
#define BAR     24

const char *ctl_plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

int ctl_fail(int code, const char *fmt, ...)
{
	va_list ap;

	fputs("ruvectorctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

/* ---- options ---- */

static int place_of(const struct option *all, int letter)
{
	int i = 0;

	while (all[i].name && all[i].val != letter)
		i++;
	return all[i].name && i < CTL_OPTIONS_MAX ? i : -1;
}

static int usage_error(const struct ctl_usage *u, const char *sentence)
{
	ctl_fail(0, "%s", sentence);
	fputs(u->text, stderr);
	return CTL_CANNOT + 1;
}

int ctl_options(int argc, char **argv, const struct ctl_usage *u,
                const char *ret_values[CTL_OPTIONS_MAX])
{
	int c, at;

	for (int i = 0; i < CTL_OPTIONS_MAX; i++)
		ret_values[i] = NULL;
	while ((c = getopt_long(argc, argv, u->letters, u->long_options, NULL)) != -1) {
		if (c == 'h') {
			fputs(u->text, stdout);
			return CTL_OK + 1;
		}
		at = place_of(u->long_options, c);
		if (at < 0)
			return CTL_CANNOT + 1; /* getopt has said why */
		ret_values[at] = optarg ? optarg : "";
	}
	if (argc - optind < u->min_args)
		return usage_error(u, "an argument is missing");
	if (argc - optind > u->max_args)
		return usage_error(u, "too many arguments");
	return 0;
}

/* ---- signals ---- */

void ctl_on_signals(void (*handler)(int sig))
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESETHAND }, before;

	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		if (sigaction(ends[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			sigaction(ends[i], &sa, NULL);
	}
}

void ctl_die_of(int sig)
{
	signal(sig, SIG_DFL);
	raise(sig);
}

/* ---- DATA ---- */

int ctl_lock(const char *data, int *ret_fd, struct err *e)
{
	return datadir_lock(data, true, ret_fd, e);
}

/* Spaces, tabs, newlines and backslashes of /proc/self/mountinfo. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; to++) {
		unsigned c;

		if (s[0] == '\\' && sscanf(s + 1, "%3o", &c) == 1) {
			*to = (char)c;
			s += 4;
		} else {
			*to = *s++;
		}
	}
	*to = '\0';
}

/*
 * "36 35 98:0 / /mnt rw - fuse.ruvectorfs /var/tmp/data rw", before the dash any number of words.
 * False: it is no mount of ours. Both point into the line.
 */
static bool parse_mount(char *line, char **ret_dir, char **ret_source)
{
	char *root = NULL, *save = NULL, *word, *type = NULL;
	int n = 0;

	*ret_dir = *ret_source = NULL;
	for (word = strtok_r(line, " \n", &save); word; word = strtok_r(NULL, " \n", &save), n++) {
		if (n == 3)
			root = word;
		if (n == 4)
			*ret_dir = word;
		if (n > 4 && strcmp(word, "-") == 0)
			break;
	}
	if (word)
		type = strtok_r(NULL, " \n", &save);
	if (type)
		*ret_source = strtok_r(NULL, " \n", &save);
	if (!*ret_source || strcmp(type, "fuse.ruvectorfs") != 0 || strcmp(root, "/") != 0)
		return false;
	unescape(*ret_dir);
	unescape(*ret_source);
	return true;
}

/* The last mount, which is on top, that is at a directory, or whose source is one. ret: the other. */
static bool find_mount(const char *path, bool by_source, char ret[4096])
{
	char *where = realpath(path, NULL), *line = NULL, *dir, *source;
	FILE *f = fopen("/proc/self/mountinfo", "re");
	bool found = false;
	size_t cap = 0;

	while (where && f && getline(&line, &cap, f) > 0) {
		if (!parse_mount(line, &dir, &source) ||
		    strcmp(by_source ? source : dir, where) != 0)
			continue;
		snprintf(ret, 4096, "%s", by_source ? dir : source);
		found = true;
	}
	if (f)
		fclose(f);
	free(line);
	free(where);
	return found;
}

int ctl_data_of_mount(const char *dir, char *ret, struct err *e)
{
	return find_mount(dir, false, ret)
	               ? 0
	               : err_set(e, -ENOENT, "%s: neither a mount nor the data of ruvectorfs", dir);
}

int ctl_mount_of(const char *path, char *ret, struct err *e)
{
	char source[4096];

	if (find_mount(path, false, source)) {
		snprintf(ret, 4096, "%s", path);
		return 0;
	}
	return find_mount(path, true, ret)
	               ? 0
	               : err_set(e, -ENOENT, "%s: neither a mount nor data that is mounted", path);
}

bool ctl_is_data(const char *path)
{
	char format[4096];

	return snprintf(format, sizeof(format), "%s/format", path) < (int)sizeof(format) &&
	       access(format, F_OK) == 0;
}

/* ---- places ---- */

#define PLACE_WORDS 4

struct words {
	const char *at[PLACE_WORDS]; /* the last one first */
	size_t len[PLACE_WORDS];
	int n;
};

static void split(const char *path, struct words *w)
{
	size_t end = strlen(path);

	for (w->n = 0; w->n < PLACE_WORDS; w->n++) {
		size_t start;

		while (end > 0 && path[end - 1] == '/')
			end--;
		for (start = end; start > 0 && path[start - 1] != '/'; start--)
			;
		if (start == end)
			return;
		w->at[w->n] = path + start;
		w->len[w->n] = end - start;
		end = start;
	}
}

static bool word_is(const struct words *w, int i, const char *word)
{
	return i < w->n && w->len[i] == strlen(word) && memcmp(w->at[i], word, w->len[i]) == 0;
}

static int take_name(const struct words *w, int i, char *ret, struct err *e)
{
	if (w->len[i] > LIMIT_NAME)
		return err_set(e, -EINVAL, "a name has at most %d bytes", LIMIT_NAME);
	memcpy(ret, w->at[i], w->len[i]);
	ret[w->len[i]] = '\0';
	return 0;
}

int ctl_place(const char *path, struct ctl_place *ret, struct err *e)
{
	struct words w;
	int rc, first;
	size_t len;

	memset(ret, 0, sizeof(*ret));
	snprintf(ret->collection, sizeof(ret->collection), "default");
	snprintf(ret->tenant, sizeof(ret->tenant), ".shared");
	split(path, &w);
	if (word_is(&w, 1, "collections") && word_is(&w, 3, "tenants")) {
		first = 3;
		rc = take_name(&w, 0, ret->collection, e);
		if (rc == 0)
			rc = take_name(&w, 2, ret->tenant, e);
	} else if (word_is(&w, 1, "tenants")) {
		first = 1;
		rc = take_name(&w, 0, ret->tenant, e);
	} else if (word_is(&w, 1, "shared")) {
		first = 1;
		rc = take_name(&w, 0, ret->collection, e);
	} else {
		return err_set(e, -EINVAL,
		               "%s: neither tenants/ID, tenants/ID/collections/NAME "
		               "nor shared/NAME",
		               path);
	}
	len = (size_t)(w.at[first] - path);
	if (len >= sizeof(ret->base))
		return err_set(e, -ENAMETOOLONG, "the path is too long");
	snprintf(ret->base, sizeof(ret->base), "%.*s", len ? (int)len : 1, len ? path : ".");
	return rc;
}

void ctl_tenants_release(struct ctl_tenants *t)
{
	mem_free(t->all);
	*t = (struct ctl_tenants){ 0 };
}

/* ---- progress ---- */

static unsigned columns(void)
{
	struct winsize w;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

static void add_amount(struct buf *b, const struct ctl_progress *p, double v)
{
	if (strcmp(p->unit, "bytes") == 0)
		buf_addf(b, "%.1f MB", v / 1e6);
	else
		buf_addf(b, "%.0f %s", v, p->unit);
}

static void add_time(struct buf *b, double s)
{
	if (s < 99 * 3600)
		buf_addf(b, "%u:%02u:%02u", (unsigned)s / 3600, (unsigned)s / 60 % 60,
		         (unsigned)s % 60);
}

static void add_bar(struct buf *b, double share)
{
	buf_addc(b, '[');
	for (int i = 0; i < BAR; i++)
		buf_addc(b, i < (int)(share * BAR) ? '#' : '.');
	buf_addf(b, "] %3u%%  ", (unsigned)(share * 100));
}

static void draw(struct ctl_progress *p, uint64_t done, uint64_t now)
{
	double seconds = (double)(now - p->start_ns) / 1e9;
	double rate = seconds > 0 && done > p->from ? (double)(done - p->from) / seconds : 0;
	struct buf b BUF_AUTO = BUF_INIT;

	buf_addf(&b, "%s  ", p->what);
	if (p->total)
		add_bar(&b, done < p->total ? (double)done / (double)p->total : 1);
	add_amount(&b, p, (double)done);
	buf_adds(&b, ", ");
	add_amount(&b, p, rate);
	buf_adds(&b, "/s");
	if (p->total > done && rate > 0) {
		buf_adds(&b, ", ");
		add_time(&b, (double)(p->total - done) / rate + 0.5);
		buf_adds(&b, " left");
	}
	if (!buf_failed(&b))
		fprintf(stderr, "\r\033[K%.*s", (int)columns() - 1, b.data);
	fflush(stderr);
}

void ctl_progress_show(struct ctl_progress *p, uint64_t done)
{
	uint64_t now = clock_mono_ns();

	if (!p->start_ns)
		p->start_ns = p->shown_ns = now;
	if (now - p->shown_ns < SHOW_NS || !isatty(STDERR_FILENO))
		return;
	p->shown_ns = now;
	p->drawn = true;
	draw(p, done, now);
}

void ctl_progress_clear(struct ctl_progress *p)
{
	if (p->drawn)
		fputs("\r\033[K", stderr);
	p->drawn = false;
}
