/*
 * session.c: opens DATA, mounts, serves, and ends in the reverse order.
 *
 * Signals are blocked while threads are made, so that they reach the main thread alone, which
 * waits in libfuse's loop and leaves it on SIGTERM, SIGINT and SIGHUP. One descriptor of
 * /dev/fuse, no clones: a clone's requests would end with this process.
 *
 * A mount with -o ro is not read-only for the kernel: a query is a write to the file `query`.
 * What changes something is refused below.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mapped.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/version.h"
#include "mount/blame.h"
#include "mount/device.h"
#include "mount/ops.h"
#include "mount/session.h"
#include "mount/waiting.h"
#include "mount/wire.h"
#include "tenant/datadir.h"
#include "tenant/service.h"

#define MAX_IDLE_THREADS 10
#define HEAPS            2 /* a processor */

struct running {
	const struct session_options *o;
	struct workers *workers;
	struct tenants *tenants;
	struct service *service; /* NULL: none */
	struct mount mount;
	struct device *device; /* NULL: a supervisor's */
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

static void log_slow(void *ctx, const char *line)
{
	log_warning("slow query %s", line);
}

static int open_data(struct running *r, struct err *e)
{
	const struct options *o = r->o->options;
	struct tenants_options to = { .data = o->data, .read_only = o->read_only, .tier = o->tier };
	struct tree_options tr = { .data = o->data,
		                   .version = RUVECTORFS_VERSION,
		                   .read_only = o->read_only,
		                   .root_uid = geteuid(),
		                   .root_gid = getegid(),
		                   .kept_fd = -1,
		                   .slow_query = log_slow };
	int rc;

	if (r->o->handover) {
		blame_start(HANDOVER_FACTS); /* before mapped_guard, which passes on to it */
		tr.kept_fd = HANDOVER_KEPT;
		tr.restarts = r->o->handover->restarts;
		if (wire_can_resend(r->o->handover->init, r->o->handover->init_len))
			tr.supervisor = (pid_t)r->o->handover->supervisor;
	}
	mapped_guard();
	mem_heaps(HEAPS * n_cores());
	r->workers = workers_new(n_cores());
	if (!r->workers)
		return err_set(e, -ENOMEM, "no memory for threads");
	workers_at_rest(r->workers, mem_trim);
	to.workers = r->workers;
	if (!o->realtime)
		thread_nobody_goes_first();
	to.audit_level = o->audit_level[0] ? o->audit_level : NULL;
	rc = tenants_open(&to, &r->tenants, e);
	if (rc < 0)
		return rc;
	tr.tenants = r->tenants;
	return tree_new(&tr, &r->mount.tree, e);
}

/* The mount's options are the device's; here only the protocol is served. */
static struct fuse_session *new_session(struct running *r)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *se = NULL;

	if (fuse_opt_add_arg(&args, "ruvectorfs") == 0 &&
	    (!r->o->options->debug || fuse_opt_add_arg(&args, "-d") == 0))
		se = fuse_session_new(&args, &mount_ops, sizeof(mount_ops), &r->mount);
	fuse_opt_free_args(&args);
	return se;
}

/* A descriptor of /dev/fuse for the session, which closes it: a supervisor's, or our own. */
static int get_device(struct running *r, struct err *e)
{
	int rc;

	if (r->o->handover)
		return HANDOVER_DEVICE;
	rc = device_mount(r->o->options, &r->device, e);
	fuse_set_log_func(log_fuse); /* it has listened meanwhile */
	if (rc < 0)
		return rc;
	rc = fcntl(device_fd(r->device), F_DUPFD_CLOEXEC, 0);
	return rc < 0 ? err_set(e, -errno, "%s", strerror(errno)) : rc;
}

static int mount_it(struct running *r, struct err *e)
{
	int fd = get_device(r, e);

	if (fd < 0)
		return fd;
	r->mount.session = new_session(r);
	if (!r->mount.session || fuse_session_custom_io(r->mount.session, &wire_io, fd) != 0) {
		close(fd);
		return err_set(e, -EIO, "libfuse took no session");
	}
	if (fuse_set_signal_handlers(r->mount.session) < 0)
		return err_set(e, -EIO, "no signal handlers");
	r->has_signals = true;
	return 0;
}

/* Without it only ruvectorctl lacks something. */
static void start_service(struct running *r)
{
	struct err e = { 0 };

	if (!r->o->options->read_only &&
	    service_start(r->o->options->data, r->tenants, &r->service, &e) < 0)
		log_warning("no backups of the mount: %s", e.text);
}

static void block_signals(sigset_t *ret_before)
{
	sigset_t ours;

	sigemptyset(&ours);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &ours, ret_before);
}

static int start(struct running *r, struct err *e)
{
	sigset_t before;
	int rc;

	block_signals(&before);
	rc = open_data(r, e);
	if (rc == 0)
		rc = mount_it(r, e);
	if (rc == 0)
		rc = waiting_start(r->mount.tree, &r->mount.waiting, e);
	if (rc == 0)
		tenants_on_event(r->tenants, waiting_event, r->mount.waiting);
	if (rc == 0)
		start_service(r);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

/* ---- serve ---- */

static void on_ready(void *ctx)
{
	struct running *r = ctx;

	if (r->o->ready)
		r->o->ready(r->o->ctx);
	if (!r->o->handover)
		log_info("%s is mounted on %s", r->o->options->data, r->o->options->mountpoint);
}

/*
 * Takes the place of a server that was: libfuse is told the kernel's first request once more (the
 * answer is nobody's, and ignored), and what was left unanswered comes again.
 */
static void take_over(struct running *r)
{
	const struct handover *h = r->o->handover;
	struct fuse_buf init = { .mem = (void *)h->init, .size = h->init_len };
	int rc;

	fuse_session_process_buf(r->mount.session, &init);
	rc = h->restarts ? wire_resend(HANDOVER_DEVICE) : 0;
	if (rc < 0 && rc != -ENODEV)
		log_error("requests that were under way are lost: %s", strerror(-rc));
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
	if (r->o->handover)
		take_over(r);
	rc = fuse_session_loop_mt(r->mount.session, config);
	fuse_loop_cfg_destroy(config);
	return rc;
}

/* ---- end ---- */

/* What it was told to do already, it need not be told again. */
static void finish(struct running *r)
{
	struct fuse_session *se = r->mount.session;

	block_signals(NULL);
	service_stop(r->service);
	waiting_stop(r->mount.waiting);
	if (r->has_signals)
		fuse_remove_signal_handlers(se);
	if (se)
		fuse_session_destroy(se); /* nobody is kept waiting by what follows */
	device_unmount(r->device);
	tree_free(r->mount.tree);
	if (r->tenants)
		tenants_close(r->tenants);
	workers_free(r->workers);
	waiting_free(r->mount.waiting);
}

static int exit_code(const struct running *r, int ended_by)
{
	if (ended_by < 0)
		return EXIT_SYSTEM;
	return r->o->handover && ended_by > 0 ? HANDOVER_TOLD : 0;
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
	if (!o->handover)
		log_info("%s is unmounted", o->options->mountpoint);
	return exit_code(&r, rc);
}
