/*
 * service.c: see service.h.
 *
 * A request is a line. An answer is pieces, each with its length before it (32 bits, little-endian)
 * and at most PIECE_MAX long; after a length of 0 stands "ok" or "error SENTENCE". So an answer that
 * was cut off is told from one that is complete.
 *
 * A client that takes nothing for TIMEOUT_S is let go. The path of DATA may be longer than an
 * address holds, so the socket is reached through /proc/self/fd.
 *
 * Locks: lock is innermost; it keeps stop and a new connection apart.
 */
#include "tenant/service.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/mem.h"
#include "base/signals.h"

#define NAME      "ctl.sock"
#define REQUEST   "backup\n"
#define PIECE_MAX (1u << 20)
#define TIMEOUT_S 60
#define PAUSE_US  50000 /* before another try without descriptors or memory */

struct service {
	struct tenants *tenants; /* const */
	int dir;                 /* const; of DATA */
	int listening;           /* const */
	pthread_t thread;        /* const */
	struct mutex lock;
	int client;  /* lock; -1: none */
	bool ending; /* lock */
};

/* ---- the address ---- */

static int open_dir(const char *data, struct err *e)
{
	int fd = open(data, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_set(e, -errno, "%s: %s", data, strerror(errno)) : fd;
}

static struct sockaddr_un address(int dir)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/" NAME, dir);
	return a;
}

/* ---- sending ---- */

static int send_all(int fd, const void *p, size_t n, struct err *e)
{
	const char *at = p;

	while (n > 0) {
		ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return err_set(e, -EPIPE, "the client went away");
		at += sent;
		n -= (size_t)sent;
	}
	return 0;
}

static int send_piece(void *ctx, const void *p, size_t n, struct err *e)
{
	int fd = *(int *)ctx, rc = 0;

	for (const char *at = p; rc == 0 && n > 0;) {
		uint32_t len = n < PIECE_MAX ? (uint32_t)n : PIECE_MAX;

		rc = send_all(fd, &len, sizeof(len), e);
		if (rc == 0)
			rc = send_all(fd, at, len, e);
		at += len;
		n -= len;
	}
	return rc;
}

static void answer(struct service *s, int fd)
{
	const struct backup_sink sink = { send_piece, &fd };
	const uint32_t end = 0;
	char line[ERR_TEXT_MAX + 16];
	struct err e = { 0 };
	int rc = tenants_backup(s->tenants, &sink, &e);
	int n = rc < 0 ? snprintf(line, sizeof(line), "error %s", e.text)
	               : snprintf(line, sizeof(line), "ok");

	if (send_all(fd, &end, sizeof(end), NULL) == 0)
		send_all(fd, line, (size_t)n, NULL);
}

static void serve(struct service *s, int fd)
{
	const struct timeval timeout = { .tv_sec = TIMEOUT_S };
	char line[sizeof(REQUEST)];
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	n = recv(fd, line, sizeof(line), 0);
	if (n == (ssize_t)strlen(REQUEST) && memcmp(line, REQUEST, (size_t)n) == 0)
		answer(s, fd);
}

/* false: it is not to be served any more. */
static bool set_client(struct service *s, int fd)
{
	bool ending;

	mutex_lock(&s->lock);
	s->client = fd;
	ending = s->ending;
	mutex_unlock(&s->lock);
	return !ending;
}

/* What there is too little of now, and is not for ever. */
static bool is_scarce(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void *run(void *arg)
{
	struct service *s = arg;
	int fd;

	for (;;) {
		fd = accept4(s->listening, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0 && is_scarce(errno) && set_client(s, -1)) {
			usleep(PAUSE_US);
			continue;
		}
		if (fd < 0)
			return NULL; /* shut down by stop */
		if (set_client(s, fd))
			serve(s, fd);
		set_client(s, -1);
		close(fd);
	}
}

/* ---- life ---- */

static int listen_there(struct service *s, struct err *e)
{
	struct sockaddr_un a = address(s->dir);
	int rc;

	s->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->listening < 0)
		return err_set(e, -errno, "no socket: %s", strerror(errno));
	unlinkat(s->dir, NAME, 0);
	rc = bind(s->listening, (struct sockaddr *)&a, sizeof(a));
	if (rc == 0) /* DATA is closed to others meanwhile */
		rc = fchmodat(s->dir, NAME, 0600, 0);
	if (rc < 0 || listen(s->listening, 4) < 0)
		return err_set(e, -errno, NAME ": %s", strerror(errno));
	return 0;
}

static void release(struct service *s)
{
	if (s->listening >= 0)
		close(s->listening);
	if (s->dir >= 0)
		close(s->dir);
	mutex_destroy(&s->lock);
	mem_free(s);
}

static int start_thread(struct service *s, struct err *e)
{
	sigset_t before;
	int rc;

	signals_block(&before);
	rc = pthread_create(&s->thread, NULL, run, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc ? err_set(e, -rc, "no thread for " NAME ": %s", strerror(rc)) : 0;
}

int service_start(const char *data, struct tenants *ts, struct service **ret, struct err *e)
{
	struct service *s = mem_zalloc(1, sizeof(*s));
	int rc = 0;

	if (!s)
		return err_nomem(e);
	mutex_init(&s->lock);
	s->tenants = ts;
	s->listening = s->client = -1;
	s->dir = open_dir(data, e);
	if (s->dir < 0)
		rc = s->dir;
	if (rc == 0)
		rc = listen_there(s, e);
	if (rc == 0)
		rc = start_thread(s, e);
	if (rc < 0) {
		release(s);
		return rc;
	}
	*ret = s;
	return 0;
}

void service_stop(struct service *s)
{
	if (!s)
		return;
	mutex_lock(&s->lock);
	s->ending = true;
	shutdown(s->listening, SHUT_RDWR);
	if (s->client >= 0)
		shutdown(s->client, SHUT_RDWR);
	mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	unlinkat(s->dir, NAME, 0);
	release(s);
}

/* ---- the client ---- */

int service_connect(const char *data, int *ret_fd, struct err *e)
{
	struct sockaddr_un a;
	int dir = open_dir(data, e), fd, rc = 0;

	if (dir < 0)
		return dir;
	a = address(dir);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		rc = err_set(e, -errno, "%s/" NAME ": %s", data, strerror(errno));
	close(dir);
	if (rc < 0 && fd >= 0)
		close(fd);
	if (rc == 0)
		*ret_fd = fd;
	return rc;
}

static int receive_all(int fd, void *p, size_t n, struct err *e)
{
	char *at = p;

	while (n > 0) {
		ssize_t got = recv(fd, at, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return err_set(e, -EPIPE, "the server of the mount went away: try again");
		at += got;
		n -= (size_t)got;
	}
	return 0;
}

static int receive_end(int fd, struct err *e)
{
	char line[ERR_TEXT_MAX + 16];
	size_t n = 0;
	ssize_t got;

	while (n < sizeof(line) - 1 && (got = recv(fd, line + n, sizeof(line) - 1 - n, 0)) > 0)
		n += (size_t)got;
	line[n] = '\0';
	if (strcmp(line, "ok") == 0)
		return 0;
	if (strncmp(line, "error ", 6) == 0)
		return err_set(e, -EIO, "%s", line + 6);
	return err_set(e, -EPIPE, "the server of the mount went away: try again");
}

static int receive(int fd, char *piece, const struct backup_sink *sink, struct err *e)
{
	uint32_t len;
	int rc;

	for (;;) {
		rc = receive_all(fd, &len, sizeof(len), e);
		if (rc < 0)
			return rc;
		if (len == 0)
			return receive_end(fd, e);
		if (len > PIECE_MAX)
			return err_set(e, -EPROTO, "the server of the mount is of another version");
		rc = receive_all(fd, piece, len, e);
		if (rc == 0)
			rc = sink->write(sink->ctx, piece, len, e);
		if (rc < 0)
			return rc;
	}
}

int service_backup(int fd, const struct backup_sink *sink, struct err *e)
{
	char *piece = mem_alloc(PIECE_MAX, 1);
	int rc = piece ? send_all(fd, REQUEST, strlen(REQUEST), e) : err_nomem(e);

	if (rc == 0)
		rc = receive(fd, piece, sink, e);
	mem_free(piece);
	return rc;
}
