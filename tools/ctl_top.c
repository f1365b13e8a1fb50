/*
 * ctl_top.c: ruvectorctl top: the table of status, again and again, with rates since the table
 * before.
 *
 * On a terminal it has the screen for itself and listens to keys, like top(1). Elsewhere tables
 * follow each other. The terminal is given back however it ends.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "tools/ctl.h"
#include "tools/ctl_table.h"

#define ENTER     "\033[?1049h\033[?25l" /* the other screen, no cursor */
#define LEAVE     "\033[?25h\033[?1049l"
#define HOME      "\033[H"
#define END_LINE  "\033[K\n"
#define END_FRAME "\033[J"

static const char usage_text[] =
	"usage: ruvectorctl top [OPTION...] DIR\n"
	"\n"
	"Shows what `ruvectorctl status` prints and refreshes it; rates are since the last time.\n"
	"On a terminal: q ends it, s takes the next order, the first letter of one takes that.\n"
	"\n"
	"  -d, --delay SECONDS  between two tables, from 0.1; default 2\n"
	"  -n, --count N        end after N tables\n"
	"  -s, --sort ORDER     queries (default), inserts, errors, name, vectors, bytes, full, last\n"
	"  -h, --help           this text\n"
	"\n"
	"Exit status: 0, or 2 when it could not be read.\n";

enum { OPTION_DELAY, OPTION_COUNT, OPTION_SORT };

static const struct option long_options[] = {
	[OPTION_DELAY] = { "delay", required_argument, NULL, 'd' },
	[OPTION_COUNT] = { "count", required_argument, NULL, 'n' },
	[OPTION_SORT] = { "sort", required_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const struct ctl_usage usage = { usage_text, "d:n:s:h", long_options, 1, 1 };

struct top {
	const char *dir;
	int delay_ms;
	uint64_t count; /* 0: without end */
	enum ctl_order order;
	bool screen; /* a terminal is there */
	struct termios before;
	struct ctl_table last; /* n 0: none yet */
	bool has_last;
};

static volatile sig_atomic_t ended, stopped;

static void on_signal(int sig)
{
	if (sig == SIGTSTP)
		stopped = 1;
	else if (sig != SIGWINCH)
		ended = sig;
}

/* ---- the terminal ---- */

static void screen_enter(struct top *t)
{
	struct termios raw = t->before;

	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	fputs(ENTER, stdout);
	fflush(stdout);
}

static void screen_leave(struct top *t)
{
	fputs(LEAVE, stdout);
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &t->before);
}

static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH };

#define N_SIGNALS (sizeof(signals) / sizeof(signals[0]))

static void take_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal }; /* no SA_RESTART: ppoll returns */

	for (size_t i = 0; i < N_SIGNALS; i++)
		sigaction(signals[i], &sa, NULL);
}

static void screen_open(struct top *t)
{
	t->screen = isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) &&
	            tcgetattr(STDIN_FILENO, &t->before) == 0;
	if (!t->screen)
		return;
	take_signals();
	screen_enter(t);
}

/* Control-Z: the shell gets its screen, fg brings ours back. */
static void screen_pause(struct top *t)
{
	stopped = 0;
	screen_leave(t);
	raise(SIGSTOP);
	screen_enter(t);
}

/* ---- a table ---- */

/* Each line of text, what is left of a longer one before it wiped out. */
static void print_frame(const struct buf *text)
{
	const char *p = text->data, *end = p + text->len;

	fputs(HOME, stdout);
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));

		nl = nl ? nl : end;
		fwrite(p, 1, (size_t)(nl - p), stdout);
		fputs(END_LINE, stdout);
		p = nl + 1;
	}
	fputs(END_FRAME, stdout);
}

static struct ctl_look look_of_screen(const struct top *t)
{
	struct ctl_look look = { .max_rows = SIZE_MAX };
	struct winsize w;

	if (!t->screen)
		return look;
	look.colours = !getenv("NO_COLOR");
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0 || w.ws_col < 20 || w.ws_row < 6)
		return look;
	look.columns = w.ws_col;
	look.max_rows = w.ws_row - 4u; /* two heads, how many more, and where the cursor is */
	return look;
}

static int show(struct top *t, struct err *e)
{
	struct ctl_look look = look_of_screen(t);
	BUF_AUTO struct buf b = BUF_INIT;
	struct ctl_table now;
	int rc = ctl_table_read(t->dir, &now, e);

	if (rc < 0)
		return rc;
	if (t->has_last) {
		ctl_table_rates(&now, &t->last);
		ctl_table_release(&t->last);
	}
	t->last = now;
	t->has_last = true;
	ctl_table_sort(&t->last, t->order);
	ctl_table_show(&t->last, &look, &b);
	if (buf_failed(&b))
		return err_nomem(e);
	if (t->screen)
		print_frame(&b);
	else
		fwrite(b.data, 1, b.len, stdout);
	if (fflush(stdout) != 0)
		return err_set(e, -errno, "standard output: %s", strerror(errno));
	return 0;
}

/* ---- waiting ---- */

static void press(struct top *t, char key)
{
	char word[2] = { key, '\0' };

	if (key == 's')
		t->order = (t->order + 1) % TABLE_ORDERS;
	else
		ctl_order_parse(word, &t->order);
}

/* false: q, or the end of the input. */
static bool take_keys(struct top *t)
{
	char keys[64];
	ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	for (ssize_t i = 0; i < n; i++) {
		if (keys[i] == 'q' || keys[i] == 'Q')
			return false;
		press(t, keys[i]);
	}
	return n > 0;
}

/* A signal that came before is not waited for: none comes between the look and the waiting. */
static int wait_for_key(struct top *t)
{
	struct pollfd in = { .fd = t->screen ? STDIN_FILENO : -1, .events = POLLIN };
	struct timespec delay = { t->delay_ms / 1000, t->delay_ms % 1000 * 1000000L };
	sigset_t ours, before;
	int n = 0;

	sigemptyset(&ours);
	for (size_t i = 0; i < N_SIGNALS; i++)
		sigaddset(&ours, signals[i]);
	sigprocmask(SIG_BLOCK, &ours, &before);
	if (!ended && !stopped)
		n = ppoll(&in, 1, &delay, &before);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return n;
}

/* Until the next table is due, a key is pressed or a signal comes. false: it is to end. */
static bool rest(struct top *t)
{
	if (wait_for_key(t) > 0 && !take_keys(t))
		return false;
	if (stopped)
		screen_pause(t);
	return !ended;
}

static int run(struct top *t, struct err *e)
{
	int rc = 0;

	screen_open(t);
	for (uint64_t i = 1; rc == 0; i++) {
		rc = show(t, e);
		if (rc < 0 || i == t->count || !rest(t))
			break;
		if (!t->screen)
			putchar('\n');
	}
	if (t->screen)
		screen_leave(t);
	if (t->has_last)
		ctl_table_release(&t->last);
	return ended ? 0 : rc; /* a signal may have ended a read */
}

/* ---- options ---- */

static int parse(struct top *t, const char *values[CTL_OPTIONS_MAX])
{
	const char *delay = values[OPTION_DELAY], *count = values[OPTION_COUNT];
	char *end = NULL;
	double s = 2;

	if (delay)
		s = strtod(delay, &end);
	if (delay && (end == delay || *end || !(s >= 0.1 && s <= 86400)))
		return ctl_fail(CTL_CANNOT, "the delay is a number of seconds from 0.1, not '%s'",
		                delay);
	t->delay_ms = (int)(s * 1000);
	if (count && (!num_parse_u64(count, strlen(count), &t->count) || t->count == 0))
		return ctl_fail(CTL_CANNOT, "the count is a number from 1, not '%s'", count);
	if (values[OPTION_SORT] && !ctl_order_parse(values[OPTION_SORT], &t->order))
		return ctl_fail(CTL_CANNOT, "no order '%s'; --help lists them",
		                values[OPTION_SORT]);
	return CTL_OK;
}

int ctl_top(int argc, char **argv)
{
	const char *values[CTL_OPTIONS_MAX];
	struct top t = { .order = BY_QUERIES };
	struct err e = { 0 };
	int rc = ctl_options(argc, argv, &usage, values);

	if (rc)
		return rc - 1;
	rc = parse(&t, values);
	if (rc)
		return rc;
	t.dir = argv[optind];
	return run(&t, &e) < 0 ? ctl_fail(CTL_CANNOT, "%s", e.text) : CTL_OK;
}
