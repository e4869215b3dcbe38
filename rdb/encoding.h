/*
 * LEN and the head of STR, the two fields that everything in an RDB is made of. Private to rdb.
 *
 * The readers here take whatever is in the window and say how much they would need; a broken field
 * gives a reason, and the caller, who knows where it was and of what, makes the error.
 *
 *   LEN   00xxxxxx                      6 bits
 *         01xxxxxx b                    14 bits, big endian
 *         0x80 b b b b                  32 bits, big endian
 *         0x81 b b b b b b b b          64 bits, big endian
 *   STR   LEN n, n bytes                raw
 *         0xC0 b | 0xC1 b b | 0xC2 bbbb integer, little endian
 *         0xC3 LEN c, LEN u, c bytes    LZF: c bytes stand for u
 */
#ifndef RDB_ENCODING_H
#define RDB_ENCODING_H

#include <endian.h>
#include <string.h>

#include "rdb/rdb.h"

/* No server holds one string or so many elements: their strings end at proto-max-bulk-len (512 MB
 * unless configured), and memory ends before this. A length above it is a corrupt file, and saying
 * so beats waiting for bytes that never come. */
#define RDB_LENGTH_MAX ((uint64_t)1 << 40)

#define RDB_LEN_SIZE_MAX 9
/* 0xC3 and two LEN. */
#define RDB_STRING_HEAD_MAX (1 + 2 * RDB_LEN_SIZE_MAX)

static inline uint64_t load_u64_le(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof(word));
    return le64toh(word);
}

static inline uint32_t load_u32_le(const uint8_t *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof(word));
    return le32toh(word);
}

/* Why a field could not be read. */
enum field_status {
    FIELD_OK,
    FIELD_SHORT, /* *needed says how many bytes from its start it has at least */
    FIELD_BAD,   /* *reason says why                                           */
};

/* What the readers report beside their result. */
struct field_note {
    uint64_t needed;
    const char *reason; /* a static string */
};

/* Reads a LEN: *field_size is what it occupies. */
static inline enum field_status len_read(
    const uint8_t *bytes, size_t size, uint64_t *value, size_t *field_size, struct field_note *note)
{
    if (UNLIKELY(size == 0)) {
        note->needed = 1;
        return FIELD_SHORT;
    }
    uint8_t first = bytes[0];
    if (LIKELY(first < 0x40)) {
        *value = first;
        *field_size = 1;
        return FIELD_OK;
    }
    size_t whole = first < 0x80 ? 2 : first == 0x80 ? 5 : first == 0x81 ? 9 : 0;
    if (UNLIKELY(whole == 0)) {
        note->reason = first < 0xc0 ? "an invalid length field" : "a string where a length belongs";
        return FIELD_BAD;
    }
    if (UNLIKELY(size < whole)) {
        note->needed = whole;
        return FIELD_SHORT;
    }
    if (whole == 2) {
        *value = (uint64_t)(first & 0x3f) << 8 | bytes[1];
    } else if (whole == 5) {
        uint32_t word;
        memcpy(&word, bytes + 1, sizeof(word));
        *value = be32toh(word);
    } else {
        uint64_t word;
        memcpy(&word, bytes + 1, sizeof(word));
        *value = be64toh(word);
    }
    *field_size = whole;
    return FIELD_OK;
}

/* Reads the head of a STR of any form and fills all of `out`; out->data may reach beyond size. */
enum field_status string_head_read(const uint8_t *bytes,
                                   size_t size,
                                   struct rdb_string *out,
                                   struct field_note *note);

/* The size and checksum of a payload; `footer` and `type` are only looked at when it is large
 * enough to have them. (payload.c) */
MUST_CHECK bool rdb_payload_check(uint64_t size,
                                  uint8_t type,
                                  const uint8_t *footer,
                                  uint64_t crc,
                                  uint16_t *version,
                                  struct syn_err *err);

#endif
