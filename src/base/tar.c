/* tar.c: see tar.h. */
#include "base/tar.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* POSIX.1-1988, "Extended tar format". */
struct ustar {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type;
	char link[100], magic[8], user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};

_Static_assert(sizeof(struct ustar) == TAR_BLOCK, "a header is one block");

#define OCTAL_MAX 077777777777ull /* of 11 digits */

static unsigned checksum(const char block[TAR_BLOCK])
{
	const size_t from = offsetof(struct ustar, checksum);
	unsigned sum = 0;

	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += i >= from && i < from + 8 ? ' ' : (unsigned char)block[i];
	return sum;
}

static void put_octal(char *to, size_t cap, uint64_t v)
{
	to[--cap] = '\0';
	while (cap > 0) {
		to[--cap] = (char)('0' + (v & 7));
		v >>= 3;
	}
}

static void put_size(char to[12], uint64_t v)
{
	if (v <= OCTAL_MAX) {
		put_octal(to, 12, v);
		return;
	}
	memset(to, 0, 12);
	to[0] = (char)0x80;
	for (int i = 11; v; i--, v >>= 8)
		to[i] = (char)(v & 0xff);
}

void tar_header(const struct tar_member *m, char ret[TAR_BLOCK])
{
	struct ustar h = { .type = '0', .magic = "ustar" };

	memcpy(h.name, m->name, strnlen(m->name, TAR_NAME_MAX));
	memcpy(h.magic + 6, "00", 2);
	put_octal(h.mode, sizeof(h.mode), 0600);
	put_octal(h.uid, sizeof(h.uid), 0);
	put_octal(h.gid, sizeof(h.gid), 0);
	put_size(h.size, m->size);
	put_octal(h.mtime, sizeof(h.mtime), m->mtime_s);
	memcpy(ret, &h, TAR_BLOCK);
	snprintf(ret + offsetof(struct ustar, checksum), 8, "%06o", checksum(ret) & 0777777);
	ret[offsetof(struct ustar, checksum) + 7] = ' ';
}

static bool get_octal(const char *from, size_t cap, uint64_t *ret)
{
	size_t i = 0;

	*ret = 0;
	while (i < cap && from[i] == ' ')
		i++;
	for (; i < cap && from[i] >= '0' && from[i] <= '7'; i++)
		*ret = *ret << 3 | (uint64_t)(from[i] - '0');
	return i == cap || from[i] == '\0' || from[i] == ' ';
}

static bool get_size(const char from[12], uint64_t *ret)
{
	const unsigned char *p = (const unsigned char *)from;

	if (p[0] != 0x80)
		return get_octal(from, 12, ret);
	*ret = 0;
	for (int i = 1; i < 12; i++) {
		if (i < 4 && p[i])
			return false;
		*ret = *ret << 8 | p[i];
	}
	return *ret <= INT64_MAX;
}

static bool is_zero(const char block[TAR_BLOCK])
{
	for (size_t i = 0; i < TAR_BLOCK; i++)
		if (block[i])
			return false;
	return true;
}

int tar_parse(const char block[TAR_BLOCK], struct tar_member *ret, struct err *e)
{
	struct ustar h;
	uint64_t sum;

	if (is_zero(block))
		return 0;
	memcpy(&h, block, sizeof(h));
	*ret = (struct tar_member){ 0 };
	if (!get_octal(h.checksum, sizeof(h.checksum) - 1, &sum) || sum != checksum(block) ||
	    (h.checksum[7] != ' ' && h.checksum[7] != '\0'))
		return err_set(e, -EILSEQ, "a header of the archive is damaged");
	if ((h.type != '0' && h.type != '\0') || h.prefix[0] || h.name[TAR_NAME_MAX] ||
	    !get_size(h.size, &ret->size) || !get_octal(h.mtime, sizeof(h.mtime), &ret->mtime_s))
		return err_set(e, -EILSEQ, "the archive has a member that no backup has");
	memcpy(ret->name, h.name, TAR_NAME_MAX);
	return 1;
}
