/*
 * Replies that are one long text, handed on as they arrive. hiredis assembles a whole reply before
 * it gives it out; here the text is taken out of its buffer piece by piece, and everything else of
 * the protocol is left to it.
 */
#include "io/control_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* "$" and up to 19 digits, with their end of line. */
#define HEAD_BYTES_MAX 22
#define END_BYTES 2

static const char *buffered(const struct control *control, size_t *size)
{
    const redisReader *reader = control->context->reader;
    *size = reader->len - reader->pos;
    return reader->buf + reader->pos;
}

static void consume(struct control *control, size_t size)
{
    ASSERT(size <= control->context->reader->len - control->context->reader->pos);
    control->context->reader->pos += size;
}

static bool no_memory(struct control *control, struct syn_err *err)
{
    control_close(control);
    return ERR(err, SYN_CODE_MEMORY, "out of memory for a reply");
}

/* Receives more. hiredis only forgets consumed bytes when it parses a reply itself, so they are
 * left behind here, together with the reader that holds them. */
static bool fill(struct control *control, struct syn_err *err)
{
    redisReader *reader = control->context->reader;
    if (reader->pos > 0) {
        size_t rest;
        const char *bytes = buffered(control, &rest);
        redisReader *fresh = redisReaderCreate();
        if (fresh == NULL) {
            return no_memory(control, err);
        }
        if (rest > 0 && redisReaderFeed(fresh, bytes, rest) != REDIS_OK) {
            redisReaderFree(fresh);
            return no_memory(control, err);
        }
        control->context->reader = fresh;
        redisReaderFree(reader);
    }
    errno = 0;
    if (redisBufferRead(control->context) != REDIS_OK) {
        return control_context_error(control, errno, "a request", err);
    }
    return true;
}

/* The reply's first byte, and of a text the whole line. Everything that is no text with a good
 * length is hiredis' to parse, or to refuse. */
static enum control_bulk head_read(struct control *control, uint64_t *total, struct syn_err *err)
{
    for (;;) {
        size_t size;
        const char *bytes = buffered(control, &size);
        if (size > 0 && bytes[0] != '$') {
            return CONTROL_BULK_OTHER;
        }
        const char *end = size > 1 ? memchr(bytes, '\r', size) : NULL;
        if (end != NULL && end + 1 < bytes + size) {
            size_t digits = (size_t)(end - bytes) - 1;
            if (end[1] != '\n' || !num_read_u64(bytes + 1, digits, total) || *total > INT64_MAX) {
                return CONTROL_BULK_OTHER; /* "-1" too: nil */
            }
            consume(control, digits + 3);
            return CONTROL_BULK_TEXT;
        }
        if (size > HEAD_BYTES_MAX) {
            return CONTROL_BULK_OTHER;
        }
        if (!fill(control, err)) {
            return CONTROL_BULK_LOST;
        }
    }
}

static bool text_read(struct control *control,
                      uint64_t total,
                      const struct control_sink *sink,
                      struct syn_err *err)
{
    uint64_t offset = 0;
    do {
        size_t size;
        const char *bytes = buffered(control, &size);
        if (size == 0 && total > 0) {
            if (!fill(control, err)) {
                return false;
            }
            continue;
        }
        size = size < total - offset ? size : (size_t)(total - offset);
        sink->piece(sink->arg, (const uint8_t *)bytes, size, offset, total);
        consume(control, size);
        offset += size;
    } while (offset < total);
    return true;
}

static bool end_read(struct control *control, struct syn_err *err)
{
    size_t size;
    const char *bytes = buffered(control, &size);
    while (size < END_BYTES) {
        if (!fill(control, err)) {
            return false;
        }
        bytes = buffered(control, &size);
    }
    if (memcmp(bytes, "\r\n", END_BYTES) != 0) {
        return control_not_resp(control, "a request", "a text without its end", err);
    }
    consume(control, END_BYTES);
    return true;
}

enum control_bulk control_fetch_bulk(struct control *control,
                                     const struct control_sink *sink,
                                     redisReply **reply,
                                     struct syn_err *err)
{
    *reply = NULL;
    if (!control_flush(control, err)) {
        return CONTROL_BULK_LOST;
    }
    ASSERT(control->context->reader->ridx == -1); /* hiredis is between two replies */
    uint64_t total = 0;
    enum control_bulk kind = head_read(control, &total, err);
    if (kind == CONTROL_BULK_TEXT) {
        bool ok = text_read(control, total, sink, err) && end_read(control, err);
        return ok ? CONTROL_BULK_TEXT : CONTROL_BULK_LOST;
    }
    if (kind == CONTROL_BULK_OTHER) {
        *reply = control_fetch(control, err);
        return *reply != NULL ? CONTROL_BULK_OTHER : CONTROL_BULK_LOST;
    }
    return kind;
}
