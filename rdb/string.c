/*
 * STR: raw text, small integers, LZF.
 */
#include "rdb/encoding.h"

#include <liblzf/lzf.h>

/* Three bytes of LZF make at most 264 of text (7 + 255 + 2), so a text that claims to be longer
 * than this many times its data is corrupt, and is refused before it sizes anything. */
#define LZF_RATIO_MAX 88

static enum field_status
integer_read(const uint8_t *bytes, size_t size, struct rdb_string *out, struct field_note *note)
{
    size_t whole = bytes[0] == 0xc0 ? 2 : bytes[0] == 0xc1 ? 3 : 5;
    if (size < whole) {
        note->needed = whole;
        return FIELD_SHORT;
    }
    if (whole == 2) {
        out->integer = (int8_t)bytes[1];
    } else if (whole == 3) {
        out->integer = (int16_t)(uint16_t)(bytes[1] | bytes[2] << 8);
    } else {
        out->integer = (int32_t)load_u32_le(bytes + 1);
    }
    char digits[NUM_DIGITS_MAX];
    out->form = RDB_STRING_INTEGER;
    out->encoded_size = whole;
    out->text_size = num_write_i64(digits, out->integer);
    out->data = (struct slice){.bytes = bytes + 1, .size = whole - 1};
    return FIELD_OK;
}

/* Reads a LEN inside a field whose first `before` bytes are known to be there. */
static enum field_status len_read_at(const uint8_t *bytes,
                                     size_t size,
                                     size_t before,
                                     uint64_t *value,
                                     size_t *end,
                                     struct field_note *note)
{
    size_t field_size = 0;
    enum field_status status = len_read(bytes + before, size - before, value, &field_size, note);
    note->needed += before;
    *end = before + field_size;
    return status;
}

static enum field_status
lzf_read(const uint8_t *bytes, size_t size, struct rdb_string *out, struct field_note *note)
{
    uint64_t packed;
    uint64_t text;
    size_t pos;
    enum field_status status = len_read_at(bytes, size, 1, &packed, &pos, note);
    if (status == FIELD_OK) {
        status = len_read_at(bytes, size, pos, &text, &pos, note);
    }
    if (status != FIELD_OK) {
        return status;
    }
    /* liblzf, like the servers' copy of it, counts in 32 bits. */
    if (packed == 0 || text == 0 || packed > UINT32_MAX || text > UINT32_MAX) {
        note->reason = "compressed data of an impossible size";
        return FIELD_BAD;
    }
    if (text > packed * LZF_RATIO_MAX) {
        note->reason = "compressed data that claims more text than it can hold";
        return FIELD_BAD;
    }
    out->form = RDB_STRING_LZF;
    out->encoded_size = pos + packed;
    out->text_size = text;
    out->integer = 0;
    out->data = (struct slice){.bytes = bytes + pos, .size = packed};
    return FIELD_OK;
}

enum field_status
string_head_read(const uint8_t *bytes, size_t size, struct rdb_string *out, struct field_note *note)
{
    if (size > 0 && bytes[0] >= 0xc0) {
        if (bytes[0] <= 0xc2) {
            return integer_read(bytes, size, out, note);
        }
        if (bytes[0] == 0xc3) {
            return lzf_read(bytes, size, out, note);
        }
        note->reason = "an unknown string encoding";
        return FIELD_BAD;
    }
    uint64_t length;
    size_t head;
    enum field_status status = len_read(bytes, size, &length, &head, note);
    if (status != FIELD_OK) {
        return status;
    }
    if (length > RDB_LENGTH_MAX) {
        note->reason = "an impossibly long string";
        return FIELD_BAD;
    }
    out->form = RDB_STRING_RAW;
    out->encoded_size = head + length;
    out->text_size = length;
    out->integer = 0;
    out->data = (struct slice){.bytes = bytes + head, .size = length};
    return FIELD_OK;
}

enum rdb_status
rdb_string_read(const uint8_t *bytes, size_t size, struct rdb_string *out, struct syn_err *err)
{
    struct field_note note = {0};
    switch (string_head_read(bytes, size, out, &note)) {
    case FIELD_OK:
        return out->encoded_size <= size ? RDB_READY : RDB_MORE;
    case FIELD_SHORT:
        return RDB_MORE;
    case FIELD_BAD:
        break;
    }
    ERR(err, SYN_CODE_SOURCE_DATA, "RDB string: %s (0x%02x)", note.reason, bytes[0]);
    return RDB_ERROR;
}

bool rdb_string_decode(const struct rdb_string *string, uint8_t *to, struct syn_err *err)
{
    switch (string->form) {
    case RDB_STRING_RAW:
        if (string->text_size > 0) {
            memcpy(to, string->data.bytes, string->text_size);
        }
        return true;
    case RDB_STRING_INTEGER: {
        /* text_size was counted from the same number, so no digit is written beyond it. */
        size_t digits = num_write_i64((char *)to, string->integer);
        ASSERT(digits == string->text_size);
        return true;
    }
    case RDB_STRING_LZF:
        break;
    }
    ASSERT(string->data.size <= UINT32_MAX);
    ASSERT(string->text_size <= UINT32_MAX);
    unsigned made = lzf_decompress(
        string->data.bytes, (unsigned)string->data.size, to, (unsigned)string->text_size);
    if (made != string->text_size) {
        return ERR(err,
                   SYN_CODE_SOURCE_DATA,
                   "RDB string: %zu bytes of compressed data do not decode to %zu bytes of text",
                   string->data.size,
                   string->text_size);
    }
    return true;
}
