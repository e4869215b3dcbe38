/*
 * Hash slots: CRC16 (XMODEM) of the key, or of its hash tag, modulo 16384.
 * Facts: cluster.c keyHashSlot, Redis 7.0; crc16("123456789") = 0x31C3.
 */
#ifndef BASE_SLOT_H
#define BASE_SLOT_H

#include <stddef.h>
#include <stdint.h>

#define SLOT_COUNT 16384
#define SLOT_NONE UINT16_MAX /* an operation without keys */

uint16_t slot_crc16(const void *bytes, size_t size);
/* The slot of a key, 0 to SLOT_COUNT - 1. Only the first {…} counts, and only if not empty. */
uint16_t slot_of_key(const void *key, size_t size);

#endif
