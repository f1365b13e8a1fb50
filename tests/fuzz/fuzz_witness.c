/*
 * fuzz_witness.c: any bytes as a file that counts commits: what it says is in range, and what is
 * written behind it is read back.
 *
 * Byte 0: bit 0 puts the right checksum on the first record, bit 1 on the second.
 */
#include "base/crc.h"
#include "fuzz.h"
#include "store/witness.h"

#define APART 512
#define BYTES 32

static void sign(uint8_t *p, size_t n, size_t at)
{
	uint32_t crc;

	if (n < at + BYTES)
		return;
	crc = crc32c(0, p + at, BYTES - 4);
	memcpy(p + at + BYTES - 4, &crc, sizeof(crc));
}

static struct witness look(const char *path, bool read_only, bool *ret_damaged)
{
	struct witness w;
	int fd = witness_open(path, read_only, &w, ret_damaged, NULL);

	HOLDS(fd >= 0);
	HOLDS(w.seq <= STORE_SEQ_MAX && w.changes <= STORE_SEQ_MAX);
	if (!read_only && w.changes < STORE_SEQ_MAX)
		witness_write(fd, w.seq / 2, w.changes + 1);
	close(fd);
	return w;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t file[2048];
	size_t n = size ? size - 1 : 0;
	struct witness before, after;
	bool damaged;
	char path[128];

	if (size == 0 || n > sizeof(file))
		return 0;
	memcpy(file, data + 1, n);
	if (data[0] & 1)
		sign(file, n, 0);
	if (data[0] & 2)
		sign(file, n, APART);
	fuzz_write(fuzz_file("witness", path), file, n);
	look(path, true, &damaged);
	before = look(path, false, &damaged);
	after = look(path, true, &damaged);
	if (before.changes < STORE_SEQ_MAX)
		HOLDS(after.changes == before.changes + 1 && after.seq == before.seq / 2);
	return 0;
}
