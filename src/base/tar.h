/*
 * tar.h: POSIX tar (ustar) as a stream, regular files only; sizes from 8 GB on in the base-256 form
 * that GNU, BSD and busybox tar read.
 */
#ifndef RV_BASE_TAR_H
#define RV_BASE_TAR_H

#include <stdint.h>

#include "base/err.h"

#define TAR_BLOCK    512
#define TAR_NAME_MAX 99

struct tar_member {
	char name[TAR_NAME_MAX + 1];
	uint64_t size;
	uint64_t mtime_s;
};

/* The header of a member; its bytes follow, then zeros to the next multiple of TAR_BLOCK. */
void tar_header(const struct tar_member *m, char ret[TAR_BLOCK]);
/*
 * 1: a member, 0: the end of the archive (a block of zeros). -EILSEQ: neither, or something that
 * is no regular file.
 */
int tar_parse(const char block[TAR_BLOCK], struct tar_member *ret, struct err *e);

static inline uint64_t tar_padding(uint64_t size)
{
	return (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
}

#endif
