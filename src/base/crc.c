/*
 * crc.c: CRC-32C, reflected polynomial 0x82f63b78. x86-64 and ARMv8 have an instruction for it
 * that takes eight bytes, four times as fast as tables; whether this machine does is asked once.
 * Elsewhere slicing by eight (Kounavis and Berry): table k advances a byte over k zero bytes, so
 * eight bytes are eight independent look-ups.
 */
#include "base/crc.h"

#include <endian.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#define HAVE_INSTRUCTION 1
#define WITH_INSTRUCTION __attribute__((target("+crc")))
#define CRC_WORD(c, w)   __builtin_aarch64_crc32cx(c, w)
#define CRC_BYTE(c, b)   __builtin_aarch64_crc32cb(c, b)
#elif defined(__x86_64__)
#define HAVE_INSTRUCTION 1
#define WITH_INSTRUCTION __attribute__((target("sse4.2")))
#define CRC_WORD(c, w)   (uint32_t) __builtin_ia32_crc32di(c, w)
#define CRC_BYTE(c, b)   __builtin_ia32_crc32qi(c, b)
#else
#define HAVE_INSTRUCTION 0
#endif

#define CRC32C_POLYNOMIAL 0x82f63b78u

static uint32_t table[8][256]; /* const after choose */

static void fill_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int bit = 0; bit < 8; bit++)
			c = c >> 1 ^ (c & 1 ? CRC32C_POLYNOMIAL : 0);
		table[0][i] = c;
	}
	for (int k = 1; k < 8; k++)
		for (int i = 0; i < 256; i++)
			table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 0xff];
}

static uint32_t eight_bytes(uint32_t crc, const unsigned char *s)
{
	uint64_t word;

	memcpy(&word, s, 8);
	word = le64toh(word) ^ crc;
	return table[7][word & 0xff] ^ table[6][word >> 8 & 0xff] ^ table[5][word >> 16 & 0xff] ^
	       table[4][word >> 24 & 0xff] ^ table[3][word >> 32 & 0xff] ^
	       table[2][word >> 40 & 0xff] ^ table[1][word >> 48 & 0xff] ^ table[0][word >> 56];
}

static uint32_t by_tables(uint32_t crc, const unsigned char *s, size_t n)
{
	for (; n >= 8; n -= 8, s += 8)
		crc = eight_bytes(crc, s);
	for (; n > 0; n--, s++)
		crc = crc >> 8 ^ table[0][(crc ^ *s) & 0xff];
	return crc;
}

#if HAVE_INSTRUCTION
WITH_INSTRUCTION static uint32_t by_instruction(uint32_t crc, const unsigned char *s, size_t n)
{
	uint64_t word;

	for (; n >= 8; n -= 8, s += 8) {
		memcpy(&word, s, 8);
		crc = CRC_WORD(crc, word);
	}
	for (; n > 0; n--, s++)
		crc = CRC_BYTE(crc, *s);
	return crc;
}

static bool has_instruction(void)
{
#if defined(__aarch64__)
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && (getauxval(AT_HWCAP) & HWCAP_CRC32);
#else
	return __builtin_cpu_supports("sse4.2");
#endif
}
#else
#define by_instruction by_tables
static bool has_instruction(void)
{
	return false;
}
#endif

static uint32_t (*chosen)(uint32_t crc, const unsigned char *s, size_t n); /* const after choose */
static pthread_once_t chosen_once = PTHREAD_ONCE_INIT;

static void choose(void)
{
	fill_table();
	chosen = has_instruction() ? by_instruction : by_tables;
}

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
	pthread_once(&chosen_once, choose);
	return ~chosen(~crc, p, n);
}

uint32_t crc32c_by_tables(uint32_t crc, const void *p, size_t n)
{
	pthread_once(&chosen_once, choose);
	return ~by_tables(~crc, p, n);
}
