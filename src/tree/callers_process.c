/*
 * callers_process.c: processes through pidfds, and through /proc on kernels before 6.13.
 *
 * A task that made a request is kept with an open pidfd and its lineage. One PIDFD_GET_INFO on
 * the kept descriptor says that the task is still the same one (a reused pid is another task,
 * the old descriptor then fails) and has the same parent, so its lineage stands. It may name an
 * ancestor that has died since: identities are never reused, so that does no harm. A task that
 * ended is of no use, and a shell starts one a command: each new task looks at the ones not
 * asked for the longest, and lets go of those that ended.
 *
 * A parent is found by number, which is safe when its descriptor was open before the child
 * named it. For one opened just now the child is asked again. The caller itself cannot end: its
 * request is unanswered.
 *
 * Locks: one a shard of tasks (by thread id), never two at once.
 */
#include "tree/callers_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/map.h"
#include "base/mem.h"

/* From the kernel's uapi; the distribution's headers are older. */
#define RV_PIDFD_THREAD   O_EXCL
#define RV_PIDFD_INFO_PID 1u
struct pidfd_info_v0 {
	uint64_t mask;
	uint64_t cgroup_id;
	uint32_t pid;
	uint32_t tgid;
	uint32_t ppid;
	uint32_t ids[8];
	int32_t exit_code;
};
#define RV_PIDFD_GET_INFO _IOWR(0xFF, 11, struct pidfd_info_v0)
_Static_assert(sizeof(struct pidfd_info_v0) == 64, "the kernel's first version has 64 bytes");

#define N_SHARDS 8
#define MAX_FDS  1024

/* Of the tasks that are kept, with each new one: do they live? */
#define LOOK_AT_EACH 2

/* Set in the identity of a user who stands for its processes; inodes and start times stay below. */
#define IDENTITY_UID (1ull << 63)

/* What is known of a process at one moment. */
struct view {
	uint64_t id;
	pid_t tgid, ppid, sid;
};

struct task {
	pid_t tid;
	int fd;
	struct view view;         /* id: of the task, the process's when tid is tgid */
	struct lineage lineage;   /* n 0: not known */
	struct task *prev, *next; /* least recently used last */
};

struct shard {
	struct mutex lock;
	struct map by_tid;         /* lock: of struct task * */
	struct task *first, *last; /* lock */
	unsigned n;                /* lock */
};

struct processes {
	enum processes_way way; /* const */
	unsigned max_tasks;     /* const: a shard's */
	struct shard shards[N_SHARDS];
};

/* ---- pidfds ---- */

static int pidfd_open_thread(pid_t tid)
{
	return (int)syscall(SYS_pidfd_open, tid, RV_PIDFD_THREAD);
}

static bool pidfd_info(int fd, struct pidfd_info_v0 *ret)
{
	memset(ret, 0, sizeof *ret);
	ret->mask = RV_PIDFD_INFO_PID;
	return ioctl(fd, RV_PIDFD_GET_INFO, ret) == 0 && (ret->mask & RV_PIDFD_INFO_PID);
}

static uint64_t pidfd_identity(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? (uint64_t)st.st_ino : 0;
}

static bool pidfd_works(void)
{
	struct pidfd_info_v0 info;
	int fd = pidfd_open_thread((pid_t)syscall(SYS_gettid));
	bool works = fd >= 0 && pidfd_info(fd, &info) && info.tgid == (uint32_t)getpid();

	if (fd >= 0)
		close(fd);
	return works;
}

static pid_t session_of(pid_t tgid)
{
	pid_t sid = getsid(tgid);

	return sid < 0 ? 0 : sid;
}

/* ---- /proc ---- */

static bool read_text(const char *path, char *ret, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, ret, size - 1);
	close(fd);
	if (n <= 0)
		return false;
	ret[n] = 0;
	return true;
}

/*
 * The /proc that is mounted may belong to another pid namespace, and would then name the wrong
 * processes.
 */
static bool proc_is_ours(void)
{
	char target[32];
	ssize_t n = readlink("/proc/self", target, sizeof target - 1);

	if (n <= 0)
		return false;
	target[n] = 0;
	return atoi(target) == getpid();
}

struct proc_stat {
	char state;
	int ppid, pgrp, sid;
	unsigned flags;
	unsigned long long start;
	int exit_code;
};

#define STAT_FLAGS     9
#define STAT_START     22
#define STAT_EXIT_CODE 52

static bool proc_stat(pid_t pid, struct proc_stat *ret)
{
	char path[40], text[1024], *at;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if (!read_text(path, text, sizeof text) || !(at = strrchr(text, ')')))
		return false;
	*ret = (struct proc_stat){ 0 };
	if (sscanf(at + 1, " %c %d %d %d", &ret->state, &ret->ppid, &ret->pgrp, &ret->sid) != 4)
		return false;
	/* at stands before field 3, each field after a space */
	for (int field = 3; at && (at = strchr(at + 1, ' ')); field++) {
		if (field == STAT_FLAGS)
			ret->flags = (unsigned)strtoul(at, NULL, 10);
		else if (field == STAT_START)
			ret->start = strtoull(at, NULL, 10);
		else if (field == STAT_EXIT_CODE)
			ret->exit_code = atoi(at);
	}
	return true;
}

static pid_t proc_tgid(pid_t tid)
{
	char path[40], text[512], *at;

	snprintf(path, sizeof path, "/proc/%d/status", (int)tid);
	if (!read_text(path, text, sizeof text) || !(at = strstr(text, "\nTgid:")))
		return tid;
	return atoi(at + sizeof "\nTgid:" - 1);
}

static uint64_t proc_identity(pid_t pid, const struct proc_stat *s)
{
	/* pids are below 2^22 */
	return ((uint64_t)s->start << 22 | (uint64_t)pid) & ~IDENTITY_UID;
}

static bool proc_view(pid_t tid, struct view *ret)
{
	struct proc_stat s;
	pid_t tgid = proc_tgid(tid);

	if (!proc_stat(tgid, &s))
		return false;
	*ret = (struct view){ proc_identity(tgid, &s), tgid, s.ppid, s.sid };
	return true;
}

/* ---- kept tasks ---- */

static bool task_has_tid(const void *ctx, uint64_t value)
{
	return ((const struct task *)(uintptr_t)value)->tid == *(const pid_t *)ctx;
}

static struct shard *shard_of(struct processes *ps, pid_t tid)
{
	return &ps->shards[(unsigned)tid % N_SHARDS];
}

static struct task *task_find(struct shard *sh, pid_t tid) REQUIRES(sh->lock)
{
	uint64_t value;

	if (!map_find(&sh->by_tid, map_hash_u64((uint64_t)tid), task_has_tid, &tid, &value))
		return NULL;
	return (struct task *)(uintptr_t)value;
}

static void task_unlink(struct shard *sh, struct task *t) REQUIRES(sh->lock)
{
	*(t->prev ? &t->prev->next : &sh->first) = t->next;
	*(t->next ? &t->next->prev : &sh->last) = t->prev;
}

static void task_push(struct shard *sh, struct task *t) REQUIRES(sh->lock)
{
	t->prev = NULL;
	t->next = sh->first;
	*(sh->first ? &sh->first->prev : &sh->last) = t;
	sh->first = t;
}

static void task_drop(struct shard *sh, struct task *t) REQUIRES(sh->lock)
{
	map_remove(&sh->by_tid, map_hash_u64((uint64_t)t->tid), task_has_tid, &t->tid);
	task_unlink(sh, t);
	sh->n--;
	close(t->fd);
	mem_free(t);
}

/*
 * Still the task that was kept? Forgets its lineage when it has another parent or session by
 * now.
 */
static bool task_refresh(struct task *t)
{
	struct pidfd_info_v0 info;
	pid_t sid;

	if (!pidfd_info(t->fd, &info) || (pid_t)info.pid != t->tid ||
	    (pid_t)info.tgid != t->view.tgid)
		return false;
	sid = session_of(t->view.tgid);
	if ((pid_t)info.ppid != t->view.ppid || sid != t->view.sid)
		t->lineage.n = 0;
	t->view.ppid = (pid_t)info.ppid;
	t->view.sid = sid;
	return true;
}

static bool task_open(struct task *t, pid_t tid)
{
	struct pidfd_info_v0 info;

	t->tid = tid;
	t->fd = pidfd_open_thread(tid);
	if (t->fd < 0)
		return false;
	if (pidfd_info(t->fd, &info) && (pid_t)info.pid == tid) {
		t->view = (struct view){ pidfd_identity(t->fd), (pid_t)info.tgid, (pid_t)info.ppid,
			                 session_of((pid_t)info.tgid) };
		if (t->view.id)
			return true;
	}
	close(t->fd);
	return false;
}

/* More than one is added, so that they become fewer. Who lives is looked at last again. */
static void drop_ended(struct shard *sh) REQUIRES(sh->lock);

static void drop_ended(struct shard *sh)
{
	for (int i = 0; i < LOOK_AT_EACH && sh->last; i++) {
		struct task *t = sh->last;

		if (task_refresh(t)) {
			task_unlink(sh, t);
			task_push(sh, t);
		} else {
			task_drop(sh, t);
		}
	}
}

static struct task *task_add(struct processes *ps, struct shard *sh, pid_t tid) REQUIRES(sh->lock)
{
	struct task *t = mem_zalloc(1, sizeof *t);

	if (!t)
		return NULL;
	drop_ended(sh);
	if (sh->n >= ps->max_tasks)
		task_drop(sh, sh->last);
	if (!task_open(t, tid)) {
		mem_free(t);
		return NULL;
	}
	if (map_add(&sh->by_tid, map_hash_u64((uint64_t)tid), (uintptr_t)t) < 0) {
		close(t->fd);
		mem_free(t);
		return NULL;
	}
	task_push(sh, t);
	sh->n++;
	return t;
}

static struct task *task_get_locked(struct processes *ps, struct shard *sh, pid_t tid,
                                    bool *ret_fresh) REQUIRES(sh->lock)
{
	struct task *t = task_find(sh, tid);

	*ret_fresh = false;
	if (t && !task_refresh(t)) {
		task_drop(sh, t);
		t = NULL;
	}
	if (!t) {
		*ret_fresh = true;
		return task_add(ps, sh, tid);
	}
	if (t != sh->first) {
		task_unlink(sh, t);
		task_push(sh, t);
	}
	return t;
}

/* ---- views and lineages ---- */

static bool look(struct processes *ps, pid_t tid, struct view *ret, bool *ret_fresh)
{
	struct shard *sh = shard_of(ps, tid);
	struct task *t;

	*ret_fresh = true;
	if (ps->way == PROCESSES_PROC)
		return proc_view(tid, ret);
	mutex_lock(&sh->lock);
	t = task_get_locked(ps, sh, tid, ret_fresh);
	if (t)
		*ret = t->view;
	mutex_unlock(&sh->lock);
	return t != NULL;
}

static bool look_at_process(struct processes *ps, pid_t tid, struct view *ret)
{
	bool fresh;

	return look(ps, tid, ret, &fresh) &&
	       (ret->tgid == tid || ps->way == PROCESSES_PROC || look(ps, ret->tgid, ret, &fresh));
}

/* The parent of *v, whose own parent may turn out to have changed meanwhile. */
static bool parent_of(struct processes *ps, struct view *v, struct view *ret)
{
	for (int tries = 0; tries < 3 && v->ppid > 0; tries++) {
		struct view again;
		bool fresh, fresh_child;

		if (!look(ps, v->ppid, ret, &fresh))
			return false;
		if (!fresh)
			return true;
		if (!look(ps, v->tgid, &again, &fresh_child) || again.id != v->id)
			return false;
		if (again.ppid == v->ppid)
			return true;
		*v = again;
	}
	return false;
}

static void by_uid(const struct caller *who, struct lineage *ret)
{
	ret->n = ret->n_session = 1;
	ret->process[0] = IDENTITY_UID | who->uid;
	ret->pid[0] = 0;
}

/* Answers stay within a session, so the walk does. */
static void walk(struct processes *ps, struct view v, struct lineage *ret)
{
	struct view parent;

	ret->n = 0;
	for (;;) {
		ret->process[ret->n] = v.id;
		ret->pid[ret->n++] = v.tgid;
		if (ret->n == LINEAGE_MAX || !parent_of(ps, &v, &parent) || parent.sid != v.sid)
			break;
		v = parent;
	}
	ret->n_session = ret->n;
}

static bool kept_lineage(struct processes *ps, pid_t tid, struct lineage *ret)
{
	struct shard *sh = shard_of(ps, tid);
	struct task *t;
	bool fresh;

	mutex_lock(&sh->lock);
	t = task_get_locked(ps, sh, tid, &fresh);
	ret->n = 0;
	if (t && t->lineage.n)
		*ret = t->lineage;
	mutex_unlock(&sh->lock);
	return ret->n > 0;
}

static void keep_lineage(struct processes *ps, pid_t tid, const struct lineage *l)
{
	struct shard *sh = shard_of(ps, tid);
	struct task *t;

	mutex_lock(&sh->lock);
	t = task_find(sh, tid);
	if (t)
		t->lineage = *l;
	mutex_unlock(&sh->lock);
}

void processes_lineage(struct processes *ps, const struct caller *who, struct lineage *ret)
{
	struct view v;

	if (who->tid <= 0 || ps->way == PROCESSES_UID) {
		by_uid(who, ret);
		return;
	}
	if (ps->way == PROCESSES_PIDFD && kept_lineage(ps, who->tid, ret))
		return;
	if (!look_at_process(ps, who->tid, &v)) {
		by_uid(who, ret);
		return;
	}
	walk(ps, v, ret);
	if (ps->way == PROCESSES_PIDFD)
		keep_lineage(ps, who->tid, ret);
}

static bool alive_by_pidfd(uint64_t process, pid_t pid)
{
	struct pollfd p = { .events = POLLIN };
	bool alive;

	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p.fd < 0) /* ESRCH: gone; EINVAL, ENOENT: the number is a thread's by now */
		return errno != ESRCH && errno != EINVAL && errno != ENOENT;
	/* readable from its end on, before it was waited for */
	alive = pidfd_identity(p.fd) == process && poll(&p, 1, 0) == 0;
	close(p.fd);
	return alive;
}

bool processes_alive(struct processes *ps, uint64_t process, pid_t pid)
{
	struct proc_stat s;

	if (pid <= 0 || ps->way == PROCESSES_UID)
		return true;
	if (ps->way == PROCESSES_PIDFD)
		return alive_by_pidfd(process, pid);
	return proc_stat(pid, &s) && proc_identity(pid, &s) == process && s.state != 'Z' &&
	       s.state != 'X';
}

/* ---- the whole ---- */

static enum processes_way best_way(void)
{
	return pidfd_works() ? PROCESSES_PIDFD : proc_is_ours() ? PROCESSES_PROC : PROCESSES_UID;
}

/* At most a quarter of what the process may open. */
static unsigned fds_to_keep(void)
{
	struct rlimit r;
	rlim_t n = MAX_FDS;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur / 4 < n)
		n = r.rlim_cur / 4;
	return n < 2 * N_SHARDS ? 2 * N_SHARDS : (unsigned)n;
}

int processes_new(enum processes_way way, struct processes **ret, struct err *e)
{
	struct processes *ps = mem_zalloc(1, sizeof *ps);

	if (!ps)
		return err_nomem(e);
	ps->way = way == PROCESSES_AUTO ? best_way() : way;
	ps->max_tasks = fds_to_keep() / N_SHARDS;
	for (int i = 0; i < N_SHARDS; i++)
		mutex_init(&ps->shards[i].lock);
	*ret = ps;
	return 0;
}

void processes_free(struct processes *ps)
{
	if (!ps)
		return;
	for (int i = 0; i < N_SHARDS; i++) {
		struct shard *sh = &ps->shards[i];

		mutex_lock(&sh->lock);
		while (sh->first)
			task_drop(sh, sh->first);
		map_release(&sh->by_tid);
		mutex_unlock(&sh->lock);
		mutex_destroy(&sh->lock);
	}
	mem_free(ps);
}

unsigned processes_open_fds(struct processes *ps)
{
	unsigned n = 0;

	for (int i = 0; i < N_SHARDS; i++) {
		mutex_lock(&ps->shards[i].lock);
		n += ps->shards[i].n;
		mutex_unlock(&ps->shards[i].lock);
	}
	return n;
}

/* ---- dying ---- */

#define TASK_EXITING  0x4u   /* PF_EXITING */
#define TASK_SIGNALED 0x400u /* PF_SIGNALED */

bool callers_dying_of_signal(const struct caller *who)
{
	struct proc_stat s;

	if (who->tid <= 0 || !proc_is_ours() || !proc_stat(who->tid, &s))
		return false;
	/* exit_code reads as 0 for those who may not trace the task; the flag is for everybody */
	return (s.flags & TASK_EXITING) && ((s.exit_code & 0x7f) || (s.flags & TASK_SIGNALED));
}
