/*
 * RESP: cutting commands from a replication stream, matching replies, encoding.
 *
 * Threads: no shared state. Errors: SYN_CODE_SOURCE_DATA from the cutter,
 * SYN_CODE_DESTINATION_PROTOCOL from the scanner, each with the position inside what it was given.
 */
#ifndef RDB_RESP_H
#define RDB_RESP_H

#include <string.h>

#include "core/base/base.h"

enum resp_status {
    RESP_READY,
    RESP_MORE,
    RESP_ERROR,
    RESP_ELEMENT, /* reply_scan with elements: one of an array's */
};

/* ---- commands: arrays of bulk strings, the only form in a replication stream ---- */

struct resp_arg {
    uint32_t pos; /* from the command's first byte to the argument's first */
    uint32_t size;
};

struct resp_command {
    uint32_t argc;               /* at least 1 */
    const struct resp_arg *argv; /* valid until the next cut */
    size_t size;                 /* bytes of the whole command */
};

/* Keeps its place in an unfinished command, so that a command which arrives in many pieces is not
 * scanned from its start each time. */
struct resp_cutter {
    struct resp_arg *argv; /* owned, grows up to argc_max */
    uint32_t argv_capacity;
    uint32_t argc_max;
    size_t command_bytes_max;
    /* state of the unfinished command */
    uint32_t argc;
    uint32_t argc_done;
    size_t pos; /* bytes of it that are settled */
};

/* command_bytes_max: at most UINT32_MAX. */
MUST_CHECK bool resp_cutter_init(struct resp_cutter *cutter,
                                 uint32_t argc_max,
                                 size_t command_bytes_max,
                                 struct syn_err *err);
void resp_cutter_deinit(struct resp_cutter *cutter);
void resp_cutter_reset(struct resp_cutter *cutter);

/* Cuts the command that starts at bytes[0]. RESP_MORE: call again with the same bytes (anywhere in
 * memory) and more behind them; *wanted is how many bytes of this command are known to be needed.
 * RESP_READY: the cutter is ready for the next command. */
enum resp_status resp_cut(struct resp_cutter *cutter,
                          const uint8_t *bytes,
                          size_t size,
                          size_t *wanted,
                          struct resp_command *command,
                          struct syn_err *err);

/* ---- replies ---- */

enum reply_kind {
    REPLY_STATUS,  /* +text    */
    REPLY_ERROR,   /* -text    */
    REPLY_INTEGER, /* :integer */
    REPLY_BULK,    /* $size    */
    REPLY_NIL,     /* $-1, *-1 */
    REPLY_ARRAY,   /* *count, nested to any depth up to 16 */
};

#define REPLY_TEXT_MAX 256

struct reply {
    enum reply_kind kind;
    int64_t integer;      /* INTEGER: value; BULK: size; ARRAY: count of direct elements       */
    uint32_t error_count; /* errors: 1 for ERROR; for ARRAY, those among its direct elements   */
    uint32_t error_index; /* ARRAY: the first of them                                          */
    int64_t number_min;   /* ARRAY: of the integers among its direct elements; without any they */
    int64_t number_max;   /* are INT64_MAX and INT64_MIN                                        */
    uint32_t text_size;   /* STATUS, ERROR, or the first error of an ARRAY                     */
    char text[REPLY_TEXT_MAX]; /* cut to fit, not terminated                                   */
};

/* Where the bytes of a top-level bulk of this size go; NULL: they are passed over. */
typedef uint8_t *reply_sink(void *arg, uint64_t size);

/* Cuts replies from bytes as they come; bulk contents are skipped, unless `sink_for` wants them. */
struct reply_scanner {
    uint64_t skip;        /* bytes of a bulk (and its CRLF) still to pass over */
    uint8_t *sink;        /* where they go, NULL: nowhere */
    reply_sink *sink_for; /* the caller's, set after the init; NULL: no bulk is wanted */
    void *sink_arg;
    uint32_t depth;        /* open arrays */
    bool with_elements;    /* the caller's: each direct element of an array is reported as well */
    bool has_element;      /* `element` is complete and not yet reported */
    bool is_array_done;    /* the last element was reported, its array is to follow */
    int64_t remaining[16]; /* elements to come, per open array */
    struct reply reply;    /* being put together */
    struct reply element;  /* the direct element under way */
};

void reply_scanner_init(struct reply_scanner *scanner);

/* Consumes *used bytes. RESP_READY: *reply is one whole top-level reply (a pointer into the
 * scanner, until the next call). RESP_MORE: at most one unfinished line (shorter than 64 KiB) is
 * left unused and must come again. The commonest replies, "+OK", "+QUEUED" and small integers, take
 * a short path. RESP_ELEMENT, only with `with_elements`: *reply is the next direct element of an
 * array, whose own RESP_READY follows behind its last; what lies deeper is not shown. */
enum resp_status reply_scan(struct reply_scanner *scanner,
                            const uint8_t *bytes,
                            size_t size,
                            size_t *used,
                            const struct reply **reply,
                            struct syn_err *err);

/* ---- encoding; each writes at `out` and returns the end ---- */

#define RESP_HEAD_MAX 23 /* marker, 20 digits, CRLF */

static inline uint8_t *resp_put_head(uint8_t *out, char marker, uint64_t number)
{
    *out++ = (uint8_t)marker;
    if (number < 10) {
        *out++ = (uint8_t)('0' + number);
    } else if (number < 100) {
        *out++ = (uint8_t)('0' + number / 10);
        *out++ = (uint8_t)('0' + number % 10);
    } else {
        out += num_write_u64((char *)out, number);
    }
    *out++ = '\r';
    *out++ = '\n';
    return out;
}

static inline uint8_t *resp_put_bulk(uint8_t *out, const void *bytes, size_t size)
{
    out = resp_put_head(out, '$', size);
    memcpy(out, bytes, size);
    out += size;
    *out++ = '\r';
    *out++ = '\n';
    return out;
}

/* Bytes of an argument of this size with its head and CRLF. */
static inline size_t resp_bulk_size(size_t size)
{
    return 5 + num_digits_u64(size) + size;
}

#endif
