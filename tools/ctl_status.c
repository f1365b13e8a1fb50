/*
 * ctl_status.c: ruvectorctl status: the tenants of a mount as a table.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/ctl.h"
#include "tools/ctl_table.h"

static const char usage_text[] =
	"usage: ruvectorctl status [OPTION...] DIR...\n"
	"\n"
	"Prints the tenants of a mount, and how full their limits are. DIR is where it is mounted,\n"
	"which is root's to see, or the directory of a tenant, whose collections are printed.\n"
	"\n"
	"  -s, --sort ORDER  name (default), vectors, bytes, full, queries, inserts, errors, last\n"
	"  -h, --help        this text\n"
	"\n"
	"Exit status: 0, or 2 when it could not be read.\n";

enum { OPTION_SORT };

static const struct option long_options[] = {
	[OPTION_SORT] = { "sort", required_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const struct ctl_usage usage = { usage_text, "s:h", long_options, 1, 1000 };

/* What is printed into a pipe is whole lines without colours. */
static struct ctl_look look_of_stdout(void)
{
	struct ctl_look look = { .max_rows = SIZE_MAX };
	const char *term = getenv("TERM");
	struct winsize w;

	if (!isatty(STDOUT_FILENO))
		return look;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20)
		look.columns = w.ws_col;
	look.colours = !getenv("NO_COLOR") && term && strcmp(term, "dumb") != 0;
	return look;
}

static int print_status(const char *dir, enum ctl_order order, struct err *e)
{
	struct ctl_look look = look_of_stdout();
	BUF_AUTO struct buf b = BUF_INIT;
	struct ctl_table t;
	int rc = ctl_table_read(dir, &t, e);

	if (rc < 0)
		return rc;
	ctl_table_sort(&t, order);
	ctl_table_show(&t, &look, &b);
	ctl_table_release(&t);
	if (buf_failed(&b))
		return err_nomem(e);
	if (fwrite(b.data, 1, b.len, stdout) != b.len || fflush(stdout) != 0)
		return err_set(e, -errno, "standard output: %s", strerror(errno));
	return 0;
}

int ctl_status(int argc, char **argv)
{
	const char *values[CTL_OPTIONS_MAX];
	enum ctl_order order = BY_NAME;
	struct err e = { 0 };
	int rc = ctl_options(argc, argv, &usage, values), code = CTL_OK;

	if (rc)
		return rc - 1;
	if (values[OPTION_SORT] && !ctl_order_parse(values[OPTION_SORT], &order))
		return ctl_fail(CTL_CANNOT, "no order '%s'; --help lists them",
		                values[OPTION_SORT]);
	for (int i = optind; i < argc; i++) {
		if (print_status(argv[i], order, &e) < 0)
			code = ctl_fail(CTL_CANNOT, "%s", e.text);
	}
	return code;
}
