/*
 * ruvectorctl.c: work on DATA without a mount, and beside one. Each subcommand is a ctl_NAME.c
 * that only the table below knows.
 */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mapped.h"
#include "base/version.h"
#include "tools/ctl.h"

static const struct subcommand {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} subcommands[] = {
	{ "verify", ctl_verify, "check everything that is stored in DATA" },
	{ "repair", ctl_repair, "salvage what is whole of damaged DATA" },
	{ "backup", ctl_backup, "write a mount or DATA to one file" },
	{ "restore", ctl_restore, "make DATA of such a file" },
	{ "upgrade", ctl_upgrade, "let a mount go on with the program that is installed now" },
	{ "export", ctl_export, "write a collection to one file of vectors" },
	{ "quota", ctl_quota, "tell who is near a limit, raise limits by a rule" },
	{ "import", ctl_import, "insert the vectors of files, and go on after an interruption" },
	{ "status", ctl_status, "print the tenants of a mount, with bars for their limits" },
	{ "top", ctl_top, "the same, again and again" },
};

#define N_SUBCOMMANDS (sizeof(subcommands) / sizeof(subcommands[0]))

static void usage(FILE *f)
{
	fprintf(f, "usage: ruvectorctl SUBCOMMAND [OPTION...] ARGUMENT...\n"
	           "       ruvectorctl -h, --help | -V, --version\n"
	           "Each subcommand has a --help of its own.\n\n");
	for (size_t i = 0; i < N_SUBCOMMANDS; i++)
		fprintf(f, "  %-8s %s\n", subcommands[i].name, subcommands[i].what);
}

int main(int argc, char **argv)
{
	static char name[64];

	io_have_standard();
	log_to_stderr();
	log_set_level(LOG_LEVEL_WARNING);
	mapped_guard();
	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		usage(stdout);
		return CTL_OK;
	}
	if (argc >= 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
		puts("ruvectorctl " RUVECTORFS_VERSION);
		return CTL_OK;
	}
	for (size_t i = 0; argc >= 2 && i < N_SUBCOMMANDS; i++) {
		if (strcmp(argv[1], subcommands[i].name) == 0) {
			snprintf(name, sizeof(name), "ruvectorctl %s", argv[1]);
			argv[1] = name; /* what getopt(3) complains as */
			return subcommands[i].run(argc - 1, argv + 1);
		}
	}
	if (argc >= 2)
		ctl_fail(0, "no subcommand '%s'", argv[1]);
	usage(stderr);
	return CTL_CANNOT;
}
