/*
 * ctl.h: what the subcommands of ruvectorctl share. Each is a ctl_NAME.c that only the table in
 * ruvectorctl.c knows; each returns an exit code.
 */
#ifndef RV_TOOLS_CTL_H
#define RV_TOOLS_CTL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "store/types.h"

/* Exit codes. */
enum { CTL_OK, CTL_FOUND, CTL_CANNOT };

int ctl_verify(int argc, char **argv);
int ctl_backup(int argc, char **argv);
int ctl_restore(int argc, char **argv);
int ctl_export(int argc, char **argv);
int ctl_repair(int argc, char **argv);
int ctl_upgrade(int argc, char **argv);
int ctl_quota(int argc, char **argv);
int ctl_import(int argc, char **argv);
int ctl_status(int argc, char **argv);
int ctl_top(int argc, char **argv);

/* What is put behind a noun of which there are n. */
const char *ctl_plural(uint64_t n);

/* ---- the command line ---- */

/*
 * The options of one subcommand: a letter each, with a long name, in getopt's form. ret_values: by
 * the position in long_options, NULL where an option was not given, "" for one without a value.
 * 0: go on with argv[optind]; otherwise an exit code plus one, for --help and mistakes.
 */
struct option;
struct ctl_usage {
	const char *text;
	const char *letters;
	const struct option *long_options;
	int min_args, max_args;
};
#define CTL_OPTIONS_MAX 8
int ctl_options(int argc, char **argv, const struct ctl_usage *u,
                const char *ret_values[CTL_OPTIONS_MAX]);

/* Says the sentence after the program's name; returns code. */
int ctl_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * SIGINT, SIGTERM and SIGHUP go to handler, once, and end waiting calls with EINTR; SIG_DFL: as it
 * was. What is ignored stays so, as SIGINT is for a job in the background.
 */
void ctl_on_signals(void (*handler)(int sig));
/* A shell's loop has to see that it was the signal. In a handler, too. */
void ctl_die_of(int sig);

/* ---- DATA ---- */

/* Locks DATA as the daemon does, without making anything. -EBUSY names the process that has it. */
int ctl_lock(const char *data, int *ret_fd, struct err *e);

bool ctl_is_data(const char *path);
/*
 * The DATA of a mount: dir is where it is mounted. -ENOENT: nothing of ours is mounted there. ret:
 * 4096 bytes.
 */
int ctl_data_of_mount(const char *dir, char *ret, struct err *e);
/* The mount point of a path that is one, or that is DATA and mounted. -ENOENT. ret: 4096 bytes. */
int ctl_mount_of(const char *path, char *ret, struct err *e);

/*
 * What a path like BASE/tenants/ID, BASE/tenants/ID/collections/NAME or BASE/shared/NAME names.
 * -EINVAL: it has another form.
 */
struct ctl_place {
	char base[4096];                 /* "." where nothing stands before */
	char tenant[LIMIT_NAME + 1];     /* ".shared" */
	char collection[LIMIT_NAME + 1]; /* "default" is the tenant's own */
};
int ctl_place(const char *path, struct ctl_place *ret, struct err *e);

/* Tenants by number, as registry.db names them. */
struct ctl_tenant {
	uint32_t number;
	char name[LIMIT_NAME + 1]; /* "" when its entry is damaged */
	struct owner owner;
};
struct ctl_tenants {
	struct ctl_tenant *all;
	size_t n;
};
void ctl_tenants_release(struct ctl_tenants *t);

/* ---- progress on a terminal ---- */

struct ctl_progress {
	const char *what;  /* is done: "verifying" */
	const char *unit;  /* "vectors", or "bytes", which are shown in MB */
	uint64_t total;    /* 0: not known */
	uint64_t from;     /* was done when it began: not counted in the rate */
	uint64_t start_ns; /* set by the first show, as the next two */
	uint64_t shown_ns;
	bool drawn;
};
/* Draws a line of its own on standard error, at most ten times a second, if it is a terminal. */
void ctl_progress_show(struct ctl_progress *p, uint64_t done);
void ctl_progress_clear(struct ctl_progress *p); /* before anything else is printed */

#endif
