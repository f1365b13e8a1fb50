/*
 * Who gets which answer. The test process is the server: a thread takes requests from a socket,
 * as the daemon takes them from the kernel, and knows of the client nothing but the thread id.
 * Clients are trees of real processes, some of them real shells that start this program again
 * as `test_callers ask N` and `test_callers read`.
 */
#include "t.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tree/callers.h"
#include "tree/callers_process.h"

enum op { ASK, READ };

struct request {
	pid_t tid;
	enum op op;
	int value;
};

#define PLACE 7
#define NONE  255 /* fits an exit status */

static struct callers *callers;
static struct sockaddr_un server_at;
static socklen_t server_len;
static int server_fd;
static char self[4096];

/* ---- the server ---- */

static void post_value(const struct lineage *l, uint32_t place, enum post_kind kind, int value)
{
	struct post *p = post_new();

	assert_non_null(p);
	buf_addc(&p->text, (char)value);
	callers_post(callers, l, place, kind, p);
	post_unref(p);
}

static int find_value(const struct lineage *l, uint32_t place, enum post_kind kind)
{
	struct post *p = callers_find(callers, l, place, kind);
	int value = p ? (unsigned char)p->text.data[0] : NONE;

	post_unref(p);
	return value;
}

static void *serve(void *arg)
{
	struct sockaddr_un from;
	struct request r;

	for (;;) {
		socklen_t len = sizeof from;
		struct lineage l;
		int value = 0;

		if (recvfrom(server_fd, &r, sizeof r, 0, (struct sockaddr *)&from, &len) !=
		    sizeof r)
			return NULL;
		callers_lineage(callers, &(struct caller){ .tid = r.tid }, &l);
		if (r.op == ASK)
			post_value(&l, PLACE, POST_ANSWER, r.value);
		else
			value = find_value(&l, PLACE, POST_ANSWER);
		sendto(server_fd, &value, sizeof value, 0, (struct sockaddr *)&from, len);
	}
}

static pthread_t server;

static int start(enum processes_way way)
{
	struct sockaddr_un any = { .sun_family = AF_UNIX };
	char name[64];

	T_OK(callers_new_by(way, &callers, NULL));
	server_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server_fd, (struct sockaddr *)&any, sizeof(sa_family_t)), 0);
	server_len = sizeof server_at;
	getsockname(server_fd, (struct sockaddr *)&server_at, &server_len);
	snprintf(name, sizeof name, "%.*s", (int)(server_len - sizeof(sa_family_t) - 1),
	         server_at.sun_path + 1);
	setenv("T_SERVER", name, 1);
	return pthread_create(&server, NULL, serve, NULL);
}

static int start_pidfd(void **state)
{
	return start(PROCESSES_PIDFD);
}

static int start_proc(void **state)
{
	return start(PROCESSES_PROC);
}

static int stop(void **state)
{
	shutdown(server_fd, SHUT_RDWR);
	pthread_join(server, NULL);
	close(server_fd);
	callers_free(callers);
	return 0;
}

/* ---- clients ---- */

static int request(enum op op, int value)
{
	struct request r = { (pid_t)syscall(SYS_gettid), op, value };
	struct sockaddr_un any = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int answer = -1;

	if (bind(fd, (struct sockaddr *)&any, sizeof(sa_family_t)) != 0 ||
	    sendto(fd, &r, sizeof r, 0, (struct sockaddr *)&server_at, server_len) != sizeof r ||
	    recv(fd, &answer, sizeof answer, 0) != sizeof answer)
		answer = NONE - 1;
	close(fd);
	return answer;
}

static void ask(int value)
{
	request(ASK, value);
}

static int read_result(void)
{
	return request(READ, 0);
}

static pid_t begin(int (*run)(void))
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(run());
	return pid;
}

static int end(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return NONE - 2;
	return WEXITSTATUS(status);
}

static int in_child(int (*run)(void))
{
	return end(begin(run));
}

static int ask_1(void)
{
	ask(1);
	return 0;
}

static int ask_2(void)
{
	ask(2);
	return 0;
}

/* What `sh -c SCRIPT` exits with; ASK and READ stand for the client program. */
static int shell(const char *script)
{
	pid_t pid = fork();

	if (pid == 0) {
		setenv("T", self, 1);
		execl("/bin/sh", "sh", "-c", script, (char *)NULL);
		_exit(NONE - 3);
	}
	return end(pid);
}

/* ---- each test body runs as the client's shell, in a process of its own ---- */

static int body_own(void)
{
	ask(1);
	return read_result() == 1 && in_child(read_result) == 1;
}

static int read_in_child(void)
{
	return in_child(read_result);
}

static int body_deep_reader(void)
{
	ask(1);
	return in_child(read_in_child) == 1;
}

/* printf 1 | tee query; | dd of=query; /bin/echo > query */
static int body_child_asks(void)
{
	in_child(ask_1);
	return read_result() == 1 && in_child(read_result) == 1;
}

static int ask_1_in_child(void)
{
	return in_child(ask_1);
}

/* timeout sh -c 'echo > query' */
static int body_grandchild_asks(void)
{
	in_child(ask_1_in_child);
	return in_child(read_result) == 1;
}

static int body_newest_wins(void)
{
	ask(3);
	in_child(ask_1);
	if (in_child(read_result) != 1)
		return 0;
	in_child(ask_2);
	if (in_child(read_result) != 2)
		return 0;
	ask(3);
	return in_child(read_result) == 3;
}

static int body_nobody_asked(void)
{
	return read_result() == NONE && in_child(read_result) == NONE;
}

/* A child that asked and goes on until the pipe is closed. */
static int gate[2];

static int ask_1_and_stay(void)
{
	char c;

	close(gate[1]);
	ask(1);
	return (int)read(gate[0], &c, 1);
}

static pid_t begin_sibling(void)
{
	pid_t pid;

	if (pipe(gate) != 0)
		return -1;
	pid = begin(ask_1_and_stay);
	close(gate[0]);
	usleep(30000); /* until it has asked */
	return pid;
}

static int body_living_sibling(void)
{
	pid_t sibling = begin_sibling();
	int before = in_child(read_result), after;

	close(gate[1]);
	end(sibling);
	after = in_child(read_result);
	return before == NONE && after == 1;
}

static int body_sibling_and_own(void)
{
	pid_t sibling;
	int seen;

	ask(2);
	sibling = begin_sibling();
	seen = in_child(read_result);
	close(gate[1]);
	end(sibling);
	return seen == 2;
}

/* A refused entry ends the search: what is further up may be the sibling's too. */
static int job_with_sibling(void)
{
	pid_t sibling = begin_sibling();
	int seen = in_child(read_result);

	close(gate[1]);
	end(sibling);
	return seen;
}

static int body_not_past_a_sibling(void)
{
	ask(2);
	return in_child(job_with_sibling) == NONE;
}

static int body_zombie_has_ended(void)
{
	pid_t pid = begin(ask_1);
	siginfo_t si;
	int seen;

	waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT);
	seen = in_child(read_result);
	end(pid);
	return seen == 1;
}

static int job_ended_beside_living(void)
{
	pid_t sibling = begin_sibling();
	int seen;

	in_child(ask_2);
	seen = in_child(read_result);
	close(gate[1]);
	end(sibling);
	return seen;
}

static int body_ended_beside_living(void)
{
	return in_child(job_ended_beside_living) == 2;
}

static int read_in_new_session(void)
{
	setsid();
	return read_result();
}

static int ask_1_in_new_session(void)
{
	setsid();
	ask(1);
	return 0;
}

static int body_sessions(void)
{
	in_child(ask_1_in_new_session);
	if (read_result() != NONE)
		return 0;
	ask(2);
	return in_child(read_in_new_session) == NONE && in_child(read_result) == 2;
}

/* It was seen in the old session, and is not the same caller any more. */
static int read_before_and_in_new_session(void)
{
	return read_result() == 1 && read_in_new_session() == NONE;
}

static int body_setsid_later(void)
{
	ask(1);
	return in_child(read_before_and_in_new_session);
}

static void *thread_asks(void *arg)
{
	ask(5);
	return arg;
}

static void *thread_reads(void *arg)
{
	*(int *)arg = read_result();
	return NULL;
}

static void *thread_forks(void *arg)
{
	*(int *)arg = in_child(read_result);
	return NULL;
}

static int body_threads(void)
{
	int seen = 0, forked = 0;
	pthread_t t;

	pthread_create(&t, NULL, thread_asks, NULL);
	pthread_join(t, NULL);
	pthread_create(&t, NULL, thread_reads, &seen);
	pthread_join(t, NULL);
	pthread_create(&t, NULL, thread_forks, &forked);
	pthread_join(t, NULL);
	return seen == 5 && forked == 5 && read_result() == 5 && in_child(read_result) == 5;
}

/* Its parent ends: the lineage changes, what was asked stays. */
static int orphan(void)
{
	int out[2], seen = 0;
	pid_t mid;

	if (pipe(out) != 0)
		return 0;
	mid = fork();
	if (mid == 0) {
		if (fork() == 0) {
			pid_t parent = getppid();

			ask(9);
			while (getppid() == parent)
				usleep(1000);
			seen = read_result();
			_exit(write(out[1], &seen, sizeof seen) != sizeof seen);
		}
		usleep(20000);
		_exit(0);
	}
	end(mid);
	return read(out[0], &seen, sizeof seen) == sizeof seen && seen == 9;
}

static void check(int (*body)(void))
{
	assert_int_equal(in_child(body), 1);
}

#define BODY_TEST(name)                                                                            \
	static void name(void **state)                                                             \
	{                                                                                          \
		check(body_##name);                                                                \
	}

BODY_TEST(own)
BODY_TEST(deep_reader)
BODY_TEST(child_asks)
BODY_TEST(grandchild_asks)
BODY_TEST(newest_wins)
BODY_TEST(nobody_asked)
BODY_TEST(living_sibling)
BODY_TEST(sibling_and_own)
BODY_TEST(not_past_a_sibling)
BODY_TEST(zombie_has_ended)
BODY_TEST(ended_beside_living)
BODY_TEST(sessions)
BODY_TEST(setsid_later)
BODY_TEST(threads)

static void orphans(void **state)
{
	check(orphan);
}

static void shells(void **state)
{
	assert_int_equal(shell("$T ask 1; $T read"), 1);
	assert_int_equal(shell("sh -c '$T ask 2; :'; $T read; exit $?"), 2);
	assert_int_equal(shell("timeout 5 sh -c '$T ask 3; :'; $T read; exit $?"), 3);
	assert_int_equal(shell("$T ask 4 & wait; $T read; exit $?"), 4);
	assert_int_equal(shell("echo x | $T ask 5; $T read; exit $?"), 5);
	assert_int_equal(shell("($T ask 6; $T read); exit $?"), 6);
	assert_int_equal(shell("x=$($T ask 7; $T read; echo $?); exit $x"), 7);
	assert_int_equal(shell("env -i T_SERVER=$T_SERVER $T ask 8; nice $T read; exit $?"), 8);
	assert_int_equal(shell("$T ask 9; setsid -w $T read; exit $?"), NONE);
	assert_int_equal(shell("(sleep 1 & $T ask 9); $T read; exit $?"), 9);
}

static void parallel_shells(void **state)
{
	assert_int_equal(shell("seq 1 40 | xargs -P 8 -I{} sh -c "
	                       "'$T ask {}; $T read; test $? = {} || exit 255'"),
	                 0);
	assert_int_equal(shell("for i in $(seq 1 20); do ($T ask $i; $T read; echo $? $i) & done |"
	                       " awk '$1 != $2 { bad = 1 } END { exit bad || NR != 20 }'"),
	                 0);
}

/* ---- the table itself ---- */

static struct lineage me(void)
{
	struct lineage l;

	callers_lineage(callers, &(struct caller){ .tid = (pid_t)syscall(SYS_gettid) }, &l);
	return l;
}

static void places_and_kinds(void **state)
{
	struct lineage l = me();

	post_value(&l, 1, POST_ANSWER, 11);
	post_value(&l, 2, POST_ANSWER, 12);
	post_value(&l, 1, POST_ERROR, 13);
	assert_int_equal(find_value(&l, 1, POST_ANSWER), 11);
	assert_int_equal(find_value(&l, 2, POST_ANSWER), 12);
	assert_int_equal(find_value(&l, 1, POST_ERROR), 13);
	assert_int_equal(find_value(&l, 2, POST_ERROR), NONE);
	callers_forget_place(callers, 1);
	assert_int_equal(find_value(&l, 1, POST_ANSWER), NONE);
	assert_int_equal(find_value(&l, 1, POST_ERROR), NONE);
	assert_int_equal(find_value(&l, 2, POST_ANSWER), 12);
}

static void no_pid_is_the_user(void **state)
{
	struct lineage a, b;

	callers_lineage(callers, &(struct caller){ .tid = 0, .uid = 1000 }, &a);
	callers_lineage(callers, &(struct caller){ .tid = 0, .uid = 1001 }, &b);
	assert_int_equal(a.n, 1);
	post_value(&a, PLACE, POST_ANSWER, 1);
	assert_int_equal(find_value(&a, PLACE, POST_ANSWER), 1);
	assert_int_equal(find_value(&b, PLACE, POST_ANSWER), NONE);
	assert_int_not_equal(callers_node_item(&a), callers_node_item(&b));
	assert_int_not_equal(callers_node_item(&a), 0);
}

/* A service's children under several users, su: what an ancestor asked is not for everybody. */
static void another_user_is_not_a_relative(void **state)
{
	struct lineage parent = { .n = 1, .n_session = 1, .uid = 1000, .process = { 222 } };
	struct lineage child = { .n = 2, .n_session = 2, .process = { 111, 222 } };

	post_value(&parent, PLACE, POST_ANSWER, 1);
	child.uid = 1000;
	assert_int_equal(find_value(&child, PLACE, POST_ANSWER), 1);
	child.uid = 1001;
	assert_int_equal(find_value(&child, PLACE, POST_ANSWER), NONE);
	child.uid = 0;
	assert_int_equal(find_value(&child, PLACE, POST_ANSWER), 1);
	parent.uid = 1001; /* itself, as another user by now */
	assert_int_equal(find_value(&parent, PLACE, POST_ANSWER), 1);
}

static void same_number_as_long_as_it_lives(void **state)
{
	struct lineage a = me(), b = me();

	assert_int_equal(callers_node_item(&a), callers_node_item(&b));
	assert_int_equal(a.n, b.n);
	assert_memory_equal(a.process, b.process, a.n * sizeof *a.process);
	assert_int_equal(a.pid[0], getpid());
	if (a.n > 1)
		assert_int_equal(a.pid[1], getppid());
}

static void many_places_are_forgotten_oldest_first(void **state)
{
	struct lineage l = me();

	for (uint32_t place = 100; place < 40000; place++)
		post_value(&l, place, POST_ANSWER, (int)(place % 100));
	assert_int_equal(find_value(&l, 100, POST_ANSWER), NONE);
	assert_int_equal(find_value(&l, 39999, POST_ANSWER), 39999 % 100);
}

static void many_bytes_are_forgotten(void **state)
{
	struct lineage l = me();

	for (uint32_t place = 0; place < 200; place++) {
		struct post *p = post_new();

		buf_addc(&p->text, (char)place);
		callers_account(callers, p, CALLERS_POST_BYTES / 100);
		callers_post(callers, &l, place, POST_ANSWER, p);
		post_unref(p);
	}
	assert_int_equal(find_value(&l, 0, POST_ANSWER), NONE);
	assert_int_equal(find_value(&l, 199, POST_ANSWER), 199);
}

/* More children that ask at once than an entry has slots: none is mistaken for the newest. */
static void more_children_than_slots(void **state)
{
	struct lineage l = { .n = 2, .n_session = 2 }, parent = { .n = 1, .n_session = 1 };

	parent.process[0] = l.process[1] = 1u << 20;
	parent.pid[0] = l.pid[1] = 0;
	for (int i = 0; i < 600; i++) {
		l.process[0] = 5000 + (uint64_t)i;
		l.pid[0] = 0; /* lives, as far as can be seen */
		post_value(&l, PLACE, POST_ANSWER, i % 200);
	}
	assert_int_equal(find_value(&parent, PLACE, POST_ANSWER), NONE);
	l.process[0] = 5000 + 599;
	assert_int_equal(find_value(&l, PLACE, POST_ANSWER), 599 % 200);
	post_value(&parent, PLACE, POST_ANSWER, 77);
	assert_int_equal(find_value(&parent, PLACE, POST_ANSWER), 77);
}

static int ask_1_to_40_times(void)
{
	for (int i = 1; i <= 40; i++)
		in_child(ask_1);
	return in_child(ask_2);
}

static void many_children_one_after_the_other(void **state)
{
	assert_int_equal(in_child(ask_1_to_40_times), 0);
}

static pid_t waiting_child(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when an assertion fails */
		pause();
		_exit(0);
	}
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void descriptors_are_bounded(void **state)
{
	struct rlimit old, few = { 128, 128 };
	struct processes *ps;
	struct lineage l;

	getrlimit(RLIMIT_NOFILE, &old);
	few.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_NOFILE, &few);
	T_OK(processes_new(PROCESSES_PIDFD, &ps, NULL));
	setrlimit(RLIMIT_NOFILE, &old);
	for (int i = 0; i < 100; i++) {
		pid_t pid = waiting_child();

		processes_lineage(ps, &(struct caller){ .tid = pid }, &l);
		assert_int_equal(l.pid[0], pid);
		assert_true(processes_alive(ps, l.process[0], pid));
		end_child(pid);
		assert_false(processes_alive(ps, l.process[0], pid));
	}
	assert_in_range(processes_open_fds(ps), 1, 32);
	processes_free(ps);
}

/* A shell starts a process a command; those that ended keep no descriptors, others do. */
static void descriptors_of_ended_tasks_are_closed(void **state)
{
	struct processes *ps;
	struct lineage l;
	pid_t lives[20];

	T_OK(processes_new(PROCESSES_PIDFD, &ps, NULL));
	for (int i = 0; i < 20; i++) {
		lives[i] = waiting_child();
		processes_lineage(ps, &(struct caller){ .tid = lives[i] }, &l);
	}
	for (int i = 0; i < 200; i++) {
		pid_t pid = waiting_child();

		processes_lineage(ps, &(struct caller){ .tid = pid }, &l);
		assert_int_equal(l.pid[0], pid);
		end_child(pid);
	}
	assert_in_range(processes_open_fds(ps), 20, 80);
	for (int i = 0; i < 20; i++)
		end_child(lives[i]);
	processes_free(ps);
}

/* The kernel may give a number again at once: then it is another process all the same. */
static void reused_pid(void **state)
{
	struct lineage a, b;
	struct processes *ps;
	pid_t first = fork(), again = 0;
	char text[16];

	if (first == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when an assertion fails */
		pause();
		_exit(0);
	}
	T_OK(processes_new(PROCESSES_AUTO, &ps, NULL));
	processes_lineage(ps, &(struct caller){ .tid = first }, &a);
	kill(first, SIGKILL);
	waitpid(first, NULL, 0);
	for (int tries = 0; tries < 20 && again != first; tries++) {
		int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY);

		if (fd < 0)
			break;
		snprintf(text, sizeof text, "%d", first - 1);
		if (write(fd, text, strlen(text)) < 0)
			tries = 20;
		close(fd);
		again = fork();
		if (again == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when an assertion fails */
			pause();
			_exit(0);
		}
		if (again == first) {
			processes_lineage(ps, &(struct caller){ .tid = again }, &b);
			assert_int_equal(a.pid[0], b.pid[0]);
			assert_true(a.process[0] != b.process[0]);
			assert_false(processes_alive(ps, a.process[0], a.pid[0]));
			assert_true(processes_alive(ps, b.process[0], b.pid[0]));
		}
		kill(again, SIGKILL);
		waitpid(again, NULL, 0);
	}
	if (again != first)
		print_message("pid was not reused, nothing seen\n");
	processes_free(ps);
}

static bool dying(int how)
{
	pid_t pid = fork();
	siginfo_t si;
	bool seen;

	if (pid == 0) {
		if (how)
			raise(how);
		_exit(3);
	}
	waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT);
	seen = callers_dying_of_signal(&(struct caller){ .tid = pid });
	waitpid(pid, NULL, 0);
	return seen;
}

static void dying_of_a_signal(void **state)
{
	assert_true(dying(SIGKILL));
	assert_true(dying(SIGINT));
	assert_false(dying(0));
	assert_false(callers_dying_of_signal(&(struct caller){ .tid = getpid() }));
	assert_false(callers_dying_of_signal(&(struct caller){ .tid = 0 }));
}

struct freed_post {
	struct post post;
	bool *freed;
};

static void free_it(struct post *p)
{
	*((struct freed_post *)p)->freed = true;
	post_release(p);
	free(p);
}

static void a_larger_post_is_freed_by_its_owner(void **state)
{
	struct freed_post *f = calloc(1, sizeof *f);
	struct lineage l = me();
	bool freed = false;

	post_init(&f->post, free_it);
	f->freed = &freed;
	callers_post(callers, &l, PLACE, POST_ANSWER, &f->post);
	callers_post(callers, &l, PLACE, POST_ANSWER, &f->post);
	post_unref(&f->post);
	assert_false(freed);
	callers_forget_place(callers, PLACE);
	assert_true(freed);
}

#define WITH(test, way)                                                                            \
	{                                                                                          \
#test " (" #way ")", test, start_##way, stop, NULL                                 \
	}
#define BOTH(test) WITH(test, pidfd), WITH(test, proc)

static int client(char **argv)
{
	const char *name = getenv("T_SERVER");

	if (!name)
		return NONE - 4;
	server_at.sun_family = AF_UNIX;
	memcpy(server_at.sun_path + 1, name, strlen(name));
	server_len = (socklen_t)(sizeof(sa_family_t) + 1 + strlen(name));
	return strcmp(argv[1], "ask") == 0 ? request(ASK, atoi(argv[2])) : read_result();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		BOTH(own),
		BOTH(deep_reader),
		BOTH(child_asks),
		BOTH(grandchild_asks),
		BOTH(newest_wins),
		BOTH(nobody_asked),
		BOTH(living_sibling),
		BOTH(sibling_and_own),
		BOTH(not_past_a_sibling),
		BOTH(zombie_has_ended),
		BOTH(ended_beside_living),
		BOTH(sessions),
		BOTH(setsid_later),
#ifndef __SANITIZE_THREAD__ /* cannot follow threads of forked clients */
		BOTH(threads),
#endif
		BOTH(orphans),
		WITH(shells, pidfd),
		WITH(shells, proc),
		WITH(parallel_shells, pidfd),
		BOTH(places_and_kinds),
		BOTH(no_pid_is_the_user),
		BOTH(another_user_is_not_a_relative),
		BOTH(same_number_as_long_as_it_lives),
		WITH(many_places_are_forgotten_oldest_first, pidfd),
		WITH(many_bytes_are_forgotten, pidfd),
		WITH(more_children_than_slots, pidfd),
		WITH(many_children_one_after_the_other, pidfd),
		WITH(a_larger_post_is_freed_by_its_owner, pidfd),
		cmocka_unit_test(descriptors_are_bounded),
		cmocka_unit_test(descriptors_of_ended_tasks_are_closed),
		cmocka_unit_test(reused_pid),
		cmocka_unit_test(dying_of_a_signal),
	};

	if (argc > 1)
		return client(argv);
	if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
