#include "tools/cli/escape.h"

#include <string.h>

/* One byte as text; returns the size, 1 to 4. */
static size_t escape_byte(uint8_t byte, char out[4])
{
    static const char digits[] = "0123456789abcdef";
    char letter = byte == '\n' ? 'n' : byte == '\r' ? 'r' : byte == '\t' ? 't' : '\0';
    if (byte == '"' || byte == '\\') {
        letter = (char)byte;
    }
    if (letter != '\0') {
        out[0] = '\\';
        out[1] = letter;
        return 2;
    }
    if (byte >= 0x20 && byte < 0x7f) {
        out[0] = (char)byte;
        return 1;
    }
    memcpy(out, "\\x", 2);
    out[2] = digits[byte >> 4];
    out[3] = digits[byte & 15];
    return 4;
}

void escape_add(struct text *out, const uint8_t *bytes, size_t size, size_t size_max)
{
    size_t limit = out->size + size_max;
    for (size_t i = 0; i < size; i++) {
        if (out->size >= limit) {
            text_add(out, "...");
            return;
        }
        char piece[4];
        size_t length = escape_byte(bytes[i], piece);
        text_add(out, "%.*s", (int)length, piece);
    }
}

void escape_write(FILE *to, const uint8_t *bytes, size_t size, bool is_json)
{
    /* Whole buffers: values can be large. A byte becomes at most eight characters. */
    char buffer[4096];
    size_t at = 0;
    for (size_t i = 0; i < size; i++) {
        if (at > sizeof(buffer) - 8) {
            fwrite(buffer, 1, at, to);
            at = 0;
        }
        char piece[4];
        size_t length = escape_byte(bytes[i], piece);
        for (size_t k = 0; k < length; k++) {
            if (is_json && (piece[k] == '"' || piece[k] == '\\')) {
                buffer[at++] = '\\';
            }
            buffer[at++] = piece[k];
        }
    }
    fwrite(buffer, 1, at, to);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool escape_read(char *text, size_t *size)
{
    size_t made = 0;
    for (const char *at = text; *at != '\0';) {
        if (*at != '\\') {
            text[made++] = *at++;
            continue;
        }
        at++;
        switch (*at) {
        case 'n':
            text[made++] = '\n';
            break;
        case 'r':
            text[made++] = '\r';
            break;
        case 't':
            text[made++] = '\t';
            break;
        case '"':
        case '\\':
            text[made++] = *at;
            break;
        case 'x': {
            int high = hex_digit(at[1]);
            int low = high < 0 ? -1 : hex_digit(at[2]);
            if (low < 0) {
                return false;
            }
            text[made++] = (char)(high * 16 + low);
            at += 2;
            break;
        }
        default:
            return false;
        }
        at++;
    }
    *size = made;
    return true;
}
