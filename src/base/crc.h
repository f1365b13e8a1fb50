/*
 * crc.h: CRC-32C (Castagnoli), by the processor's instruction where it has one. crc32c(0, ...)
 * starts; feeding in parts gives the same value.
 */
#ifndef RV_BASE_CRC_H
#define RV_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *p, size_t n);
/* The same on processors without the instruction; for tests. */
uint32_t crc32c_by_tables(uint32_t crc, const void *p, size_t n);

#endif
