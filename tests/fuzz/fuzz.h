/*
 * fuzz.h: what the targets share: bytes taken one after the other, edits of a form that holds, a
 * directory in memory. A target is a file fuzz_NAME.c with LLVMFuzzerTestOneInput; it is linked
 * with libFuzzer (make check-fuzz) and with replay.c, which runs its corpus as a unit test.
 */
#ifndef RV_TESTS_FUZZ_H
#define RV_TESTS_FUZZ_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold, also where assert() is compiled out. */
#define HOLDS(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #x);     \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* ---- bytes: zeros behind the end ---- */

struct input {
	const uint8_t *p;
	size_t n;
};

static inline uint64_t input_number(struct input *in, size_t bytes)
{
	uint64_t v = 0;
	size_t n = bytes < in->n ? bytes : in->n;

	memcpy(&v, in->p, n);
	in->p += n;
	in->n -= n;
	return v;
}

static inline uint8_t input_u8(struct input *in)
{
	return (uint8_t)input_number(in, 1);
}

static inline uint16_t input_u16(struct input *in)
{
	return (uint16_t)input_number(in, 2);
}

static inline uint32_t input_u32(struct input *in)
{
	return (uint32_t)input_number(in, 4);
}

static inline uint64_t input_u64(struct input *in)
{
	return input_number(in, 8);
}

/* A length in a byte, and at most so many bytes; they live as long as the input. */
static inline struct input input_part(struct input *in)
{
	size_t n = input_u8(in);
	struct input part = { in->p, n < in->n ? n : in->n };

	in->p += part.n;
	in->n -= part.n;
	return part;
}

/* The same as a string without 0 bytes inside, ret having room for 256. */
static inline char *input_name(struct input *in, char ret[256])
{
	struct input part = input_part(in);

	memcpy(ret, part.p, part.n);
	ret[part.n] = '\0';
	return ret;
}

/* ---- edits ---- */

/* Numbers that are at a border of something. */
static inline uint64_t input_odd(struct input *in)
{
	static const uint64_t odd[] = { 0,          1,          2,          7,         0x7f,
		                        0xff,       0x7fff,     0xffff,     0x10000,   0x7fffffff,
		                        0x80000000, 0xfffffffe, 0xffffffff, 1ull << 32, 1ull << 62,
		                        1ull << 63, UINT64_MAX - 1, UINT64_MAX };
	uint8_t i = input_u8(in);

	return i < sizeof(odd) / sizeof(odd[0]) ? odd[i] : input_u64(in);
}

/* Replaces 1, 2, 4 or 8 bytes somewhere in p. */
static inline void input_edit(struct input *in, void *p, size_t n)
{
	size_t width = (size_t)1 << (input_u8(in) & 3);
	size_t at = input_u32(in);
	uint64_t v = input_odd(in);

	if (n < width)
		return;
	at %= n - width + 1;
	memcpy((char *)p + at, &v, width);
}

/* ---- a directory of this process, removed at its end ---- */

static char fuzz_path[64];

static inline void fuzz_remove_dir(void)
{
	io_remove_tree(fuzz_path);
}

static inline const char *fuzz_dir(void)
{
	if (fuzz_path[0])
		return fuzz_path;
	strcpy(fuzz_path,
	       access("/dev/shm", W_OK) == 0 ? "/dev/shm/rv-fuzz-XXXXXX" : "/tmp/rv-fuzz-XXXXXX");
	HOLDS(mkdtemp(fuzz_path));
	atexit(fuzz_remove_dir);
	return fuzz_path;
}

static inline const char *fuzz_file(const char *name, char ret[128])
{
	snprintf(ret, 128, "%s/%s", fuzz_dir(), name);
	return ret;
}

static inline void fuzz_write(const char *path, const void *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	HOLDS(fd >= 0 && io_write_at(fd, p, n, 0) == 0);
	close(fd);
}

/* The whole file, to be freed. */
static inline uint8_t *fuzz_read(const char *path, size_t *ret_n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint8_t *p;

	HOLDS(fd >= 0 && fstat(fd, &st) == 0);
	*ret_n = (size_t)st.st_size;
	p = mem_alloc(*ret_n + 1, 1);
	HOLDS(p && io_read_at(fd, p, *ret_n, 0) == 0);
	close(fd);
	return p;
}

#endif
