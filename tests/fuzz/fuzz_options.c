/*
 * fuzz_options.c: a command line of ruvectorfs, an argument a line: refused, or what came out is in
 * range.
 */
#include <getopt.h>

#include "fuzz.h"
#include "mount/options.h"

#define ARGS_MAX 32

static void check(const struct options *o)
{
	HOLDS(o->data && o->mountpoint);
	HOLDS(o->threads >= 1 && o->threads <= 4096);
	HOLDS(memchr(o->tier, '\0', sizeof(o->tier)) && o->tier[0]);
	HOLDS(memchr(o->audit_level, '\0', sizeof(o->audit_level)));
	HOLDS(o->n_flags <= ARGS_MAX);
	if (o->fuse.len)
		HOLDS(o->fuse.data[0] == ',');
}

/* What it prints is not of interest here. */
static int parse_quietly(struct options *o, int argc, char **argv)
{
	static FILE *nothing;
	FILE *out = stdout, *err = stderr;
	int rc;

	if (!nothing)
		nothing = fopen("/dev/null", "w");
	stdout = stderr = nothing;
	optind = 0;
	rc = options_parse(o, argc, argv);
	stdout = out;
	stderr = err;
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *argv[ARGS_MAX + 2] = { (char *)(uintptr_t) "ruvectorfs" };
	char *text = mem_dup(data, size), *rest = text, *s;
	struct options o;
	int argc = 1;

	while (argc <= ARGS_MAX && (s = strsep(&rest, "\n")))
		argv[argc++] = s;
	argv[argc] = NULL;
	if (parse_quietly(&o, argc, argv) == 0)
		check(&o);
	options_release(&o);
	mem_free(text);
	return 0;
}
