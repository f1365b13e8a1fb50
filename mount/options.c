/*
 * options.c: ruvectorfs [-f] [-d] [-o OPTION,...] DATA MOUNTPOINT
 *
 * Options come from a user, from mount(8) and from fstab alike: what only concerns those two is
 * taken and ignored, what libfuse knows is handed on, anything else is refused by name.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/version.h"
#include "mount/options.h"
#include "tenant/quota.h"
#include "tenant/settings.h"

#define THREADS_DEFAULT 128
#define THREADS_MAX     4096

static const char usage[] =
	"usage: ruvectorfs [-f] [-d] [-o OPTION,...] DATA MOUNTPOINT\n"
	"       umount MOUNTPOINT   |   fusermount3 -u MOUNTPOINT\n"
	"\n"
	"Mounts the vector store that is kept in the directory DATA (made when missing) at MOUNTPOINT.\n"
	"\n"
	"  -f             stay in the foreground, log to stderr\n"
	"  -d             likewise, and show every request\n"
	"  -h, --help     print this\n"
	"  -V, --version  print the version\n"
	"\n"
	"  -o allow_other     other users may use the mount; their permissions are enforced\n"
	"  -o ro              nothing can be changed; queries are answered\n"
	"  -o threads=N       requests served at once (128)\n"
	"  -o tier=TIER       limits of new tenants: free, pro, unlimited, or what /tiers has\n"
	"  -o tenant=ID       of DATA, which is mounted already, only this tenant at MOUNTPOINT\n"
	"  -o audit_level=L   what is audited in this mount: admin, refusals or data\n"
	"  -o supervise=off   one process, whose end is the end of the mount (on)\n"
	"  -o realtime=off    never SCHED_RR, for quiet tenants beside busy ones either (on)\n"
	"\n"
	"exit status: 0 the mount answers, 1 wrong usage, 2 system error, 32 the mount failed\n";

/* For mount(8) and fstab, or what is so anyway. */
static const char *const ignored[] = {
	"nofail",     "_netdev",     "user",     "users",      "nouser", "owner",
	"group",      "auto",        "noauto",   "defaults",   "rw",     "default_permissions",
	"relatime",   "strictatime", "lazytime", "nolazytime", "loud",   "silent",
	"async",      "suid",        "dev",      "exec",       "atime",  "diratime",
	"noiversion", "iversion",    NULL,
};

/* Handed to libfuse. */
static const char *const for_fuse[] = {
	"nosuid",  "nodev",      "noexec",        "noatime",      "nodiratime", "sync",
	"dirsync", "norelatime", "nostrictatime", "auto_unmount", NULL,
};

static bool one_of(const char *const *list, const char *s)
{
	for (; *list; list++)
		if (strcmp(*list, s) == 0)
			return true;
	return false;
}

static int refuse(const char *what, const char *value)
{
	fprintf(stderr, "ruvectorfs: %s: %s\n", what, value);
	return EXIT_USAGE;
}

static int take_threads(struct options *o, const char *value)
{
	uint64_t n;

	if (!num_parse_u64(value, strlen(value), &n) || n < 1 || n > THREADS_MAX)
		return refuse("threads must be a number from 1 to 4096", value);
	o->threads = (unsigned)n;
	return 0;
}

static int take_tier(struct options *o, const char *value)
{
	if (strlen(value) >= sizeof(o->tier) || !tier_name_ok(value, strlen(value)))
		return refuse("tier must be a name of the file tiers, as free, pro, unlimited",
		              value);
	snprintf(o->tier, sizeof(o->tier), "%s", value);
	return 0;
}

static int take_tenant(struct options *o, const char *value)
{
	snprintf(o->tenant, sizeof(o->tenant), "%s", value);
	return *value ? 0 : refuse("tenant must be a tenant's name", value);
}

static int take_audit_level(struct options *o, const char *value)
{
	enum audit_level level;

	if (strlen(value) >= sizeof(o->audit_level) ||
	    !audit_level_parse(value, strlen(value), &level))
		return refuse("audit_level must be admin, refusals or data", value);
	snprintf(o->audit_level, sizeof(o->audit_level), "%s", value);
	return 0;
}

static int take_switch(bool *ret, const char *value, const char *what)
{
	*ret = strcmp(value, "on") == 0;
	return *ret || strcmp(value, "off") == 0 ? 0 : refuse(what, value);
}

static int take_option(struct options *o, const char *s)
{
	if (!*s || one_of(ignored, s) || strncmp(s, "x-", 2) == 0 || strncmp(s, "comment=", 8) == 0)
		return 0;
	if (strcmp(s, "allow_other") == 0)
		o->allow_other = true;
	else if (strcmp(s, "ro") == 0)
		o->read_only = true;
	else if (strncmp(s, "threads=", 8) == 0)
		return take_threads(o, s + 8);
	else if (strncmp(s, "tier=", 5) == 0)
		return take_tier(o, s + 5);
	else if (strncmp(s, "tenant=", 7) == 0)
		return take_tenant(o, s + 7);
	else if (strncmp(s, "audit_level=", 12) == 0)
		return take_audit_level(o, s + 12);
	else if (strncmp(s, "supervise=", 10) == 0)
		return take_switch(&o->supervise, s + 10, "supervise must be on or off");
	else if (strncmp(s, "realtime=", 9) == 0)
		return take_switch(&o->realtime, s + 9, "realtime must be on or off");
	else if (one_of(for_fuse, s))
		buf_addf(&o->fuse, ",%s", s);
	else
		return refuse("unknown option", s);
	return 0;
}

/* Of a copy: the servers that follow are started with the words as they were given. */
static int take_options(struct options *o, const char *list)
{
	char *copy MEM_AUTO = mem_dup(list, strlen(list));
	char *rest = copy, *s;
	int rc = copy ? 0 : EXIT_SYSTEM;

	while (rc == 0 && (s = strsep(&rest, ",")))
		rc = take_option(o, s);
	return rc;
}

static int take_flag(struct options *o, int c)
{
	switch (c) {
	case 'f':
		o->foreground = true;
		return 0;
	case 'd':
		o->debug = o->foreground = true;
		return 0;
	case 'o':
		return take_options(o, optarg);
	case 's':
		o->is_server = true;
		return 0;
	case 'h':
		fputs(usage, stdout);
		return -1;
	case 'V':
		puts("ruvectorfs " RUVECTORFS_VERSION);
		return -1;
	default:
		fputs("try: ruvectorfs --help\n", stderr);
		return EXIT_USAGE;
	}
}

int options_parse(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ "server", no_argument, NULL, 's' }, /* what a supervisor starts */
		{ 0 },
	};
	int c, rc;

	*o = (struct options){
		.threads = THREADS_DEFAULT, .tier = "unlimited", .supervise = true, .realtime = true
	};
	while ((c = getopt_long(argc, argv, "fdo:hV", longs, NULL)) != -1) {
		rc = take_flag(o, c);
		if (rc)
			return rc;
	}
	if (argc - optind != 2) {
		fputs("ruvectorfs: DATA and MOUNTPOINT are needed\ntry: ruvectorfs --help\n",
		      stderr);
		return EXIT_USAGE;
	}
	o->flags = argv + 1; /* getopt has put what is no option behind them */
	o->n_flags = (size_t)optind - 1;
	o->data = mem_dup(argv[optind], strlen(argv[optind]));
	o->mountpoint = mem_dup(argv[optind + 1], strlen(argv[optind + 1]));
	return o->data && o->mountpoint ? 0 : EXIT_SYSTEM;
}

void options_release(struct options *o)
{
	mem_free(o->data);
	mem_free(o->mountpoint);
	buf_release(&o->fuse);
}
