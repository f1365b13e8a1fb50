/*
 * wire.c: the few places where the bytes of /dev/fuse matter.
 *
 * A request that a server had read when it died is still in the kernel's list of those to be
 * answered. FUSE_NOTIFY_RESEND puts all of them back to be read, with bit 63 of their numbers
 * set. libfuse hands numbers through without looking at them.
 */
#include "mount/wire.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"
#include "base/usage.h"
#include "mount/blame.h"

#define FIRST_READ        65536 /* the kernel refuses reads below 8 KiB */
#define NOTIFY_RESEND     7     /* linux/fuse.h of 6.9 has names for these two */
#define FLAGS2_HAS_RESEND (1u << 7)

static _Thread_local uint64_t current;

/*
 * A request that the kernel cannot copy it ends with EIO, and it cannot when the process is killed
 * while a page of the buffer is missing. So none is: each thread has its buffer for good.
 */
static void have_pages(void *buf, size_t n)
{
	static _Thread_local const void *had;

	if (buf != had)
		memset(buf, 0, n);
	had = buf;
}

/* It ended too many servers. */
static bool refuse(int fd, const struct fuse_in_header *in)
{
	struct fuse_out_header out = { .len = sizeof(out), .error = -EIO, .unique = in->unique };

	log_error("a request of process %d (operation %u on node %llu) ended %d servers: it is "
	          "answered with EIO",
	          (int)in->pid, in->opcode, (unsigned long long)in->nodeid, BLAME_MAX);
	return write(fd, &out, sizeof(out)) >= 0 || errno == ENOENT;
}

static ssize_t wire_read(int fd, void *buf, size_t n, void *userdata)
{
	const struct fuse_in_header *in = buf;
	ssize_t got;

	have_pages(buf, n);
	thread_answers(usage_is_contended());
	do {
		current = 0; /* what comes from here on is no request's fault */
		got = read(fd, buf, n);
	} while (got >= (ssize_t)sizeof(*in) && blame_refuses(in->unique) && refuse(fd, in));
	current = got >= (ssize_t)sizeof(*in) ? in->unique : 0;
	return got;
}

static ssize_t wire_writev(int fd, struct iovec *iov, int n, void *userdata)
{
	return writev(fd, iov, n);
}

const struct fuse_custom_io wire_io = { .read = wire_read, .writev = wire_writev };

uint64_t wire_request(void)
{
	return current;
}

int wire_read_init(int fd, char ret[WIRE_INIT_MAX])
{
	static char buf[FIRST_READ];
	const struct fuse_in_header *in = (const void *)buf;
	ssize_t n;

	do
		n = read(fd, buf, sizeof(buf));
	while (n < 0 && (errno == EINTR || errno == EAGAIN));
	if (n < 0)
		return -errno;
	if (n < (ssize_t)sizeof(*in) || n > WIRE_INIT_MAX || in->opcode != FUSE_INIT)
		return -EPROTO;
	memcpy(ret, buf, (size_t)n);
	return (int)n;
}

bool wire_can_resend(const void *init, size_t n)
{
	struct fuse_init_in in;

	if (n < sizeof(struct fuse_in_header) + sizeof(in))
		return false; /* before 5.17 it was shorter */
	memcpy(&in, (const char *)init + sizeof(struct fuse_in_header), sizeof(in));
	return (in.flags & FUSE_INIT_EXT) && (in.flags2 & FLAGS2_HAS_RESEND);
}

int wire_resend(int fd)
{
	struct fuse_out_header out = { .len = sizeof(out), .error = NOTIFY_RESEND };

	return write(fd, &out, sizeof(out)) < 0 ? -errno : 0;
}
