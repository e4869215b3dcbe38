#include "core/base/slot.h"

#include <string.h>

/* crc_tables[k][i] is the CRC of byte i followed by k zero bytes, polynomial 0x1021: a CRC is
 * linear, so eight bytes are the sum of eight look-ups that do not wait for each other. Filled
 * before main. */
static uint16_t crc_tables[8][256];

__attribute__((constructor)) static void crc_tables_make(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint16_t crc = (uint16_t)(i << 8);
        for (int bit = 0; bit < 8; bit++) {
            unsigned carry = (crc & 0x8000u) != 0 ? 0x1021u : 0;
            crc = (uint16_t)((unsigned)crc << 1 ^ carry);
        }
        crc_tables[0][i] = crc;
    }
    for (unsigned k = 1; k < 8; k++) {
        for (unsigned i = 0; i < 256; i++) {
            uint16_t crc = crc_tables[k - 1][i];
            crc_tables[k][i] = (uint16_t)((unsigned)crc << 8 ^ crc_tables[0][crc >> 8]);
        }
    }
}

uint16_t slot_crc16(const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    unsigned crc = 0;
    for (; size >= 8; p += 8, size -= 8) {
        crc = (unsigned)crc_tables[7][p[0] ^ (crc >> 8)] ^ crc_tables[6][p[1] ^ (crc & 255)] ^
              crc_tables[5][p[2]] ^ crc_tables[4][p[3]] ^ crc_tables[3][p[4]] ^
              crc_tables[2][p[5]] ^ crc_tables[1][p[6]] ^ crc_tables[0][p[7]];
    }
    for (; size > 0; p++, size--) {
        crc = ((crc << 8) & 0xffffu) ^ crc_tables[0][(crc >> 8) ^ *p];
    }
    return (uint16_t)crc;
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
