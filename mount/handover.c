/*
 * handover.c: the facts go through an unnamed file, written before each start.
 */
#include "mount/handover.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"

int handover_file(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int handover_write(int fd, const struct handover *h)
{
	return io_write_at(fd, h, sizeof(*h), 0);
}

int handover_read(int fd, struct handover *ret, struct err *e)
{
	uint32_t size;
	int rc = io_read_at(fd, &size, sizeof(size), 0);

	*ret = (struct handover){ 0 };
	if (rc == 0)
		rc = io_read_at(fd, ret, size < sizeof(*ret) ? size : sizeof(*ret), 0);
	if (rc == 0 && ret->init_len > sizeof(ret->init))
		rc = -EPROTO;
	return rc < 0 ? err_set(e, rc, "no word from a supervisor: %s", strerror(-rc)) : 0;
}
