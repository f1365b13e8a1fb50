/*
 * session.c: opens DATA, mounts, serves, and ends in the reverse order.
 *
 * Signals are blocked while threads are made, so that they reach the main thread alone, which
 * waits in libfuse's loop and leaves it on SIGTERM, SIGINT and SIGHUP. One descriptor of
 * /dev/fuse, no clones.
 *
 * A mount with -o ro is not read-only for the kernel: a query is a write to the file `query`.
 * What changes something is refused below.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/version.h"
#include "mount/datadir.h"
#include "mount/ops.h"
#include "mount/session.h"

#define MAX_IDLE_THREADS 10

struct running {
	const struct session_options *o;
	struct workers *workers;
	struct tenants *tenants;
	struct mount mount;
	bool mounted;
	bool has_signals;
};

static unsigned n_cores(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	return n > 0 ? (unsigned)n : 1;
}

static void raise_open_files(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static void log_fuse(enum fuse_log_level level, const char *fmt, va_list args)
{
	char text[512];

	vsnprintf(text, sizeof(text), fmt, args);
	text[strcspn(text, "\n")] = '\0';
	if (level <= FUSE_LOG_ERR)
		log_error("%s", text);
	else if (level <= FUSE_LOG_WARNING)
		log_warning("%s", text);
	else
		log_debug("%s", text);
}

/* ---- start ---- */

static int open_data(struct running *r, struct err *e)
{
	const struct options *o = r->o->options;
	struct tenants_options to = { .data = o->data, .read_only = o->read_only, .tier = o->tier };
	struct tree_options tr = { .data = o->data,
		                   .version = RUVECTORFS_VERSION,
		                   .read_only = o->read_only,
		                   .root_uid = geteuid(),
		                   .root_gid = getegid() };
	int rc;

	r->workers = workers_new(n_cores());
	if (!r->workers)
		return err_set(e, -ENOMEM, "no memory for threads");
	to.workers = r->workers;
	to.audit_level = o->audit_level[0] ? o->audit_level : NULL;
	rc = tenants_open(&to, &r->tenants, e);
	if (rc < 0)
		return rc;
	tr.tenants = r->tenants;
	return tree_new(&tr, &r->mount.tree, e);
}

/* A comma or backslash in the path would end the option. */
static void add_escaped(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if (*s == ',' || *s == '\\')
			buf_addc(b, '\\');
		buf_addc(b, *s);
	}
}

static struct fuse_session *new_session(struct running *r)
{
	const struct options *o = r->o->options;
	struct buf list BUF_AUTO = BUF_INIT;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *se = NULL;

	buf_adds(&list, "default_permissions,subtype=ruvectorfs,fsname=");
	add_escaped(&list, o->data);
	if (o->allow_other)
		buf_adds(&list, ",allow_other");
	if (o->fuse.len)
		buf_adds(&list, o->fuse.data);
	if (!buf_failed(&list) && fuse_opt_add_arg(&args, "ruvectorfs") == 0 &&
	    fuse_opt_add_arg(&args, "-o") == 0 && fuse_opt_add_arg(&args, list.data) == 0 &&
	    (!o->debug || fuse_opt_add_arg(&args, "-d") == 0))
		se = fuse_session_new(&args, &mount_ops, sizeof(mount_ops), &r->mount);
	fuse_opt_free_args(&args);
	return se;
}

static int mount_it(struct running *r, struct err *e)
{
	r->mount.session = new_session(r);
	if (!r->mount.session)
		return err_set(e, -EIO, "libfuse took no session");
	if (fuse_set_signal_handlers(r->mount.session) < 0)
		return err_set(e, -EIO, "no signal handlers");
	r->has_signals = true;
	if (fuse_session_mount(r->mount.session, r->o->options->mountpoint) < 0)
		return err_set(e, -EIO, "%s: cannot be mounted on", r->o->options->mountpoint);
	r->mounted = true;
	return 0;
}

static int start(struct running *r, struct err *e)
{
	sigset_t ours, before;
	int rc;

	sigemptyset(&ours);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &ours, &before);
	rc = open_data(r, e);
	if (rc == 0)
		rc = mount_it(r, e);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

/* ---- serve ---- */

static void on_ready(void *ctx)
{
	struct running *r = ctx;

	if (r->o->ready)
		r->o->ready(r->o->ctx);
	log_info("%s is mounted on %s", r->o->options->data, r->o->options->mountpoint);
}

static int serve(struct running *r)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	unsigned threads = r->o->options->threads;
	int rc;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(config, 0);
	/* Who waits for a limit to let it go on must not keep others from being served. */
	fuse_loop_cfg_set_max_threads(config, threads + WAITERS_MAX);
	fuse_loop_cfg_set_idle_threads(config,
	                               threads < MAX_IDLE_THREADS ? threads : MAX_IDLE_THREADS);
	rc = fuse_session_loop_mt(r->mount.session, config);
	fuse_loop_cfg_destroy(config);
	return rc;
}

/* ---- end ---- */

static void finish(struct running *r)
{
	struct fuse_session *se = r->mount.session;

	if (r->mounted)
		fuse_session_unmount(se);
	if (r->has_signals)
		fuse_remove_signal_handlers(se);
	tree_free(r->mount.tree);
	if (r->tenants)
		tenants_close(r->tenants);
	workers_free(r->workers);
	if (se)
		fuse_session_destroy(se);
}

int session_run(const struct session_options *o)
{
	struct running r = { .o = o };
	struct err e = { 0 };
	int rc;

	r.mount.ready = on_ready;
	r.mount.ready_ctx = &r;
	raise_open_files();
	fuse_set_log_func(log_fuse);
	rc = start(&r, &e);
	if (rc < 0) {
		log_error("%s", e.text);
		finish(&r);
		return EXIT_MOUNT;
	}
	rc = serve(&r); /* above 0: the signal that ended it */
	datadir_ending(o->lock_fd);
	if (rc < 0)
		log_error("the mount ended: %s", strerror(-rc));
	finish(&r);
	log_info("%s is unmounted", o->options->mountpoint);
	return rc < 0 ? EXIT_SYSTEM : 0;
}
