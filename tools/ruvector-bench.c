/*
 * ruvector-bench.c: measures. Each subcommand is a bench_NAME.c that only the table below knows.
 */
#include <stdio.h>
#include <string.h>

#include "base/version.h"
#include "tools/bench.h"

static const struct subcommand {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} subcommands[] = {
	{ "index", bench_index, "build and search an index in memory, without the mount" },
	{ "churn", bench_churn,
	  "replace vectors of such an index again and again: what recall is left" },
	{ "mount", bench_mount, "ask a mounted tenant in every way a client can" },
	{ "load", bench_load, "readers and writers on one tenant, with a histogram of latencies" },
	{ "neighbours", bench_neighbours, "what a tenant notices of one that floods the mount" },
	{ "synth", bench_synth, "make clustered vectors, queries, and their exact neighbours" },
	{ "limits", bench_limits, "what the checks of a tenant's limits cost" },
	{ "text", bench_text, "read numbers from text, beside strtof" },
};

#define N_SUBCOMMANDS (sizeof(subcommands) / sizeof(subcommands[0]))

static void usage(FILE *f)
{
	fprintf(f,
	        "usage: ruvector-bench SUBCOMMAND [OPTION...]\n"
	        "       ruvector-bench -h, --help | -V, --version\n"
	        "TSV on stdout, progress on stderr; each subcommand has a --help of its own\n\n");
	for (size_t i = 0; i < N_SUBCOMMANDS; i++)
		fprintf(f, "  %-10s  %s\n", subcommands[i].name, subcommands[i].what);
}

int main(int argc, char **argv)
{
	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		usage(stdout);
		return 0;
	}
	if (argc >= 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
		puts("ruvector-bench " RUVECTORFS_VERSION);
		return 0;
	}
	for (size_t i = 0; argc >= 2 && i < N_SUBCOMMANDS; i++) {
		if (strcmp(argv[1], subcommands[i].name) == 0)
			return subcommands[i].run(argc - 1, argv + 1);
	}
	if (argc >= 2)
		fprintf(stderr, "ruvector-bench: no subcommand '%s'\n", argv[1]);
	usage(stderr);
	return 2;
}
