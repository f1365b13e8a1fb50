/*
 * crc.c: CRC-32C, reflected polynomial 0x82f63b78, slicing by eight (Kounavis and Berry): table k
 * advances a byte over k zero bytes, so eight bytes are eight independent look-ups.
 */
#include "base/crc.h"

#include <endian.h>
#include <pthread.h>
#include <string.h>

#define CRC32C_POLYNOMIAL 0x82f63b78u

static uint32_t table[8][256]; /* const after fill_table */
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

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

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
	const unsigned char *s = p;

	pthread_once(&table_once, fill_table);
	crc = ~crc;
	for (; n >= 8; n -= 8, s += 8)
		crc = eight_bytes(crc, s);
	for (; n > 0; n--, s++)
		crc = crc >> 8 ^ table[0][(crc ^ *s) & 0xff];
	return ~crc;
}
