#include "core/base/slot.h"

#include <string.h>

/* Entry i is the CRC of the single byte i, polynomial 0x1021. Filled before main. */

static uint16_t crc_table[256];

__attribute__((constructor)) static void crc_table_make(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint16_t crc = (uint16_t)(i << 8);
        for (int bit = 0; bit < 8; bit++) {
            unsigned carry = (crc & 0x8000u) != 0 ? 0x1021u : 0;
            crc = (uint16_t)((unsigned)crc << 1 ^ carry);
        }
        crc_table[i] = crc;
    }
}

uint16_t slot_crc16(const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    uint16_t crc = 0;
    for (size_t i = 0; i < size; i++) {
        crc = (uint16_t)((crc << 8) ^ crc_table[(crc >> 8) ^ p[i]]);
    }
    return crc;
}

uint16_t slot_of_key(const void *key, size_t size)
{
    const char *text = key;
    const char *open = memchr(text, '{', size);
    if (open != NULL) {
        const char *tag = open + 1;
        const char *close = memchr(tag, '}', size - (size_t)(tag - text));
        if (close != NULL && close > tag) {
            return slot_crc16(tag, (size_t)(close - tag)) & (SLOT_COUNT - 1);
        }
    }
    return slot_crc16(key, size) & (SLOT_COUNT - 1);
}
