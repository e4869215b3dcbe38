/*
 * The body is walked string by string; a string that is a listpack of some size is read through by
 * a scanner that is fed with its text in pieces, so that compressed ones need not be held.
 *
 *     HEADER ─► HEAD ─► DATA ─► BACK ─► HEAD …   (0xFF at HEAD) ─► END
 *                 └───────────────┴──► BAD
 */
#include "rdb/reform.h"

#include "rdb/encoding.h"
#include "rdb/lzf_stream.h"

#define LISTPACK_HEADER 6
/* Header, the smallest entry that has two forms, in the short one, and the end mark. */
#define SPECIAL_BLOB_MIN (LISTPACK_HEADER + 16383 + 2 + 1)
/* Servers let none grow above half of this; so the header can hold the size of any other form. */
#define BLOB_MAX ((uint64_t)1 << 31)
#define PIECE_BYTES ((size_t)64 << 10)
#define BUFFER_BYTES (PIECE_BYTES + LZF_DISTANCE_MAX)
/* A LEN of 32 bits: what a raw string of so many bytes begins with. */
#define STR_HEAD_BYTES 5

enum scan_state {
    SCAN_HEADER, /* of the listpack                                              */
    SCAN_HEAD,   /* an entry's encoding, up to five bytes                        */
    SCAN_DATA,   /* the bytes behind it                                          */
    SCAN_BACK,   /* the first byte of a back length that has two forms           */
    SCAN_SECOND, /* the second byte of the long one                              */
    SCAN_END,    /* behind the end mark                                          */
    SCAN_BAD,
};

struct scan {
    enum scan_state state;
    enum listpack_form form; /* wanted */
    uint64_t text_size;
    uint64_t taken;     /* bytes of the text so far           */
    uint8_t head[6];    /* of the listpack, or of the entry   */
    uint32_t head_size; /* bytes in it                        */
    uint32_t head_wanted;
    uint64_t skip;   /* DATA: bytes to come                  */
    uint64_t length; /* of the entry, its head included      */
    bool is_wanted;  /* SECOND: the entry is in the form     */
    uint64_t count;  /* entries not in the form              */
    /* While writing; NULL otherwise. */
    reform_sink *sink;
    void *arg;
    bool is_stopped;     /* by the sink                       */
    uint64_t size_after; /* of the listpack                   */
};

struct reformer {
    uint8_t *buffer; /* BUFFER_BYTES */
    struct scan scan;
};

enum listpack_form listpack_form_of(uint32_t version, bool is_valkey)
{
    if (version == 0 || (is_valkey && version >= 90000 && version < 90100)) {
        return LISTPACK_UNKNOWN;
    }
    return is_valkey && version >= 90100 ? LISTPACK_SHORT : LISTPACK_LONG;
}

bool rdb_type_has_listpack(uint8_t type)
{
    switch (type) {
    case RDB_TYPE_STREAM_LISTPACKS:
    case RDB_TYPE_STREAM_LISTPACKS_2:
    case RDB_TYPE_STREAM_LISTPACKS_3:
    case RDB_TYPE_HASH_LISTPACK:
    case RDB_TYPE_ZSET_LISTPACK:
    case RDB_TYPE_SET_LISTPACK:
    case RDB_TYPE_LIST_QUICKLIST_2:
    case RDB_TYPE_HASH_LISTPACK_EX_PRE_GA:
    case RDB_TYPE_HASH_LISTPACK_EX:
        return true;
    default:
        return false;
    }
}

struct reformer *reformer_new(struct syn_err *err)
{
    struct reformer *reformer = mem_calloc(MEM_RDB, sizeof(*reformer));
    if (reformer != NULL) {
        reformer->buffer = mem_alloc(MEM_RDB, BUFFER_BYTES);
    }
    if (reformer == NULL || reformer->buffer == NULL) {
        reformer_free(reformer);
        ERR(err, SYN_CODE_MEMORY, "no memory to look into listpacks");
        return NULL;
    }
    return reformer;
}

void reformer_free(struct reformer *reformer)
{
    if (reformer != NULL) {
        mem_free(MEM_RDB, reformer->buffer);
        mem_free(MEM_RDB, reformer);
    }
}

/* ---- the scanner ---- */

static void scan_begin(struct scan *scan, uint64_t text_size, enum listpack_form form)
{
    *scan = (struct scan){
        .state = SCAN_HEADER, .form = form, .text_size = text_size, .head_wanted = LISTPACK_HEADER};
}

static void scan_emit(struct scan *scan, const uint8_t *bytes, size_t size)
{
    if (scan->sink != NULL && size > 0 && !scan->is_stopped) {
        scan->is_stopped = !scan->sink(scan->arg, bytes, size);
    }
}

/* Bytes that an entry's head has, by its first one; 0: no entry begins so. */
static uint32_t head_size(uint8_t first)
{
    if (first < 0xe0) {
        return 1; /* what follows of a 13-bit integer is its data */
    }
    return first < 0xf0 ? 2 : first == 0xf0 ? 5 : first <= 0xf4 ? 1 : 0;
}

/* Bytes behind the head. */
static uint64_t data_size(const uint8_t *head)
{
    uint8_t first = head[0];
    if (first < 0x80) {
        return 0;
    }
    if (first < 0xc0) {
        return first & 0x3f;
    }
    if (first < 0xe0) {
        return 1;
    }
    if (first < 0xf0) {
        return (uint64_t)(first & 0x0f) << 8 | head[1];
    }
    if (first == 0xf0) {
        return load_u32_le(head + 1);
    }
    static const uint8_t integer_sizes[] = {2, 3, 4, 8}; /* 0xF1 to 0xF4 */
    return integer_sizes[first - 0xf1];
}

static bool has_two_forms(uint64_t length)
{
    return length == 16383 || length == 2097151 || length == 268435455;
}

/* Bytes of a back length, of the short form where there are two. */
static uint64_t back_size(uint64_t length)
{
    uint64_t size = 1;
    for (; length > 127; length >>= 7) {
        size++;
    }
    return size;
}

/* The header is there: its size must be the text's, and is another one afterwards. */
static void scan_header(struct scan *scan)
{
    if (load_u32_le(scan->head) != scan->text_size) {
        scan->state = SCAN_BAD;
        return;
    }
    uint32_t size = htole32((uint32_t)scan->size_after);
    if (scan->sink != NULL) {
        memcpy(scan->head, &size, sizeof(size));
        scan_emit(scan, scan->head, LISTPACK_HEADER);
    }
    scan->state = SCAN_HEAD;
    scan->head_size = 0;
    scan->head_wanted = 1;
}

/* A byte of an entry's head. */
static void scan_head(struct scan *scan)
{
    if (scan->head_size == 1) {
        if (scan->head[0] == 0xff) {
            scan_emit(scan, scan->head, 1);
            scan->state = scan->taken == scan->text_size ? SCAN_END : SCAN_BAD;
            return;
        }
        scan->head_wanted = head_size(scan->head[0]);
        if (scan->head_wanted == 0) {
            scan->state = SCAN_BAD;
            return;
        }
    }
    if (scan->head_size < scan->head_wanted) {
        return;
    }
    scan_emit(scan, scan->head, scan->head_size);
    uint64_t data = data_size(scan->head);
    scan->length = scan->head_size + data;
    scan->skip = data;
    scan->state = SCAN_DATA;
    if (!has_two_forms(scan->length)) {
        scan->skip += back_size(scan->length);
    }
}

/* The data is over: the next entry follows, or the back length that is looked for. */
static void scan_data_end(struct scan *scan)
{
    if (has_two_forms(scan->length)) {
        scan->state = SCAN_BACK;
        return;
    }
    scan->state = SCAN_HEAD;
    scan->head_size = 0;
    scan->head_wanted = 1;
}

static void scan_skip_back(struct scan *scan)
{
    scan->skip = back_size(scan->length) - 1; /* both forms end alike */
    scan->length = 0;                         /* not to be looked at again */
    scan->state = SCAN_DATA;
}

/* The byte that tells the forms apart. */
static void scan_back(struct scan *scan, uint8_t byte)
{
    static const uint8_t long_start[] = {0x00, 0xff};
    bool is_long = byte == 0x00;
    if (!is_long && byte != 0x7f) {
        scan->state = SCAN_BAD;
        return;
    }
    scan->is_wanted = scan->form != LISTPACK_UNKNOWN && is_long == (scan->form == LISTPACK_LONG);
    scan->count += !scan->is_wanted;
    if (is_long) {
        scan->state = SCAN_SECOND;
        return;
    }
    scan_emit(scan, scan->is_wanted ? &byte : long_start, scan->is_wanted ? 1 : 2);
    scan_skip_back(scan);
}

static void scan_second(struct scan *scan, uint8_t byte)
{
    static const uint8_t long_start[] = {0x00, 0xff};
    static const uint8_t short_start = 0x7f;
    if (byte != 0xff) {
        scan->state = SCAN_BAD;
        return;
    }
    scan_emit(scan, scan->is_wanted ? long_start : &short_start, scan->is_wanted ? 2 : 1);
    scan_skip_back(scan);
}

static void scan_byte(struct scan *scan, uint8_t byte)
{
    switch (scan->state) {
    case SCAN_HEADER:
        scan->head[scan->head_size++] = byte;
        if (scan->head_size == LISTPACK_HEADER) {
            scan_header(scan);
        }
        return;
    case SCAN_HEAD:
        scan->head[scan->head_size++] = byte;
        scan_head(scan);
        return;
    case SCAN_BACK:
        scan_back(scan, byte);
        return;
    case SCAN_SECOND:
        scan_second(scan, byte);
        return;
    case SCAN_DATA:
    case SCAN_END: /* more bytes than its header said: not reached, `taken` was looked at */
    case SCAN_BAD:
        scan->state = SCAN_BAD;
        return;
    }
}

static void scan_feed(struct scan *scan, const uint8_t *bytes, size_t size)
{
    const uint8_t *end = bytes + size;
    while (bytes < end && scan->state != SCAN_BAD) {
        if (scan->state == SCAN_DATA && scan->skip > 0) {
            size_t take = (size_t)(end - bytes);
            take = take < scan->skip ? take : (size_t)scan->skip;
            scan_emit(scan, bytes, take);
            scan->skip -= take;
            scan->taken += take;
            bytes += take;
            continue;
        }
        if (scan->state == SCAN_DATA) {
            scan_data_end(scan);
            continue;
        }
        scan->taken++;
        scan_byte(scan, *bytes++);
    }
}

/* ---- texts ---- */

/* Feeds the whole text; false: compressed data that does not decode. */
static bool text_scan(struct reformer *reformer, const struct rdb_string *string)
{
    struct scan *scan = &reformer->scan;
    if (string->form != RDB_STRING_LZF) {
        scan_feed(scan, string->data.bytes, string->data.size);
        return true;
    }
    struct lzf_stream lzf;
    lzf_stream_begin(&lzf, reformer->buffer, BUFFER_BYTES);
    const uint8_t *at = string->data.bytes;
    const uint8_t *end = at + string->data.size;
    enum lzf_status status;
    do {
        lzf_stream_slide(&lzf);
        size_t start = lzf.pos;
        status = lzf_stream_feed(&lzf, &at, end);
        if (status == LZF_BAD || scan->taken + (lzf.pos - start) > string->text_size) {
            return false;
        }
        scan_feed(scan, lzf.out + start, lzf.pos - start);
    } while (status == LZF_FULL && scan->state != SCAN_BAD);
    return scan->taken == string->text_size && lzf_stream_may_end(&lzf);
}

/* How many entries of one listpack are not in the form; 0 also for what is no listpack. */
static uint64_t
text_count(struct reformer *reformer, const struct rdb_string *string, enum listpack_form form)
{
    if (string->form == RDB_STRING_INTEGER || string->text_size < SPECIAL_BLOB_MIN ||
        string->text_size > BLOB_MAX) {
        return 0;
    }
    struct scan *scan = &reformer->scan;
    scan_begin(scan, string->text_size, form);
    bool is_whole = text_scan(reformer, string) && scan->state == SCAN_END;
    return is_whole ? scan->count : 0;
}

/* Of the listpack afterwards. */
static uint64_t
text_size_after(const struct rdb_string *string, uint64_t count, enum listpack_form form)
{
    return form == LISTPACK_SHORT ? string->text_size - count : string->text_size + count;
}

/* ---- bodies ---- */

/* The listpacks of a value, one after the other. */
struct blobs {
    uint8_t type;
    const uint8_t *at;
    const uint8_t *end;
    uint64_t left; /* strings, pairs, or containers with strings */
};

static bool take_len(struct blobs *blobs, uint64_t *value)
{
    size_t field_size;
    struct field_note note;
    if (len_read(blobs->at, (size_t)(blobs->end - blobs->at), value, &field_size, &note) !=
        FIELD_OK) {
        return false;
    }
    blobs->at += field_size;
    return true;
}

static bool take_string(struct blobs *blobs, struct rdb_string *string)
{
    struct field_note note;
    size_t size = (size_t)(blobs->end - blobs->at);
    if (string_head_read(blobs->at, size, string, &note) != FIELD_OK ||
        string->encoded_size > size) {
        return false;
    }
    blobs->at += string->encoded_size;
    return true;
}

static void blobs_begin(struct blobs *blobs, uint8_t type, struct slice body)
{
    *blobs =
        (struct blobs){.type = type, .at = body.bytes, .end = body.bytes + body.size, .left = 1};
    switch (type) {
    case RDB_TYPE_LIST_QUICKLIST_2:
    case RDB_TYPE_STREAM_LISTPACKS:
    case RDB_TYPE_STREAM_LISTPACKS_2:
    case RDB_TYPE_STREAM_LISTPACKS_3:
        if (!take_len(blobs, &blobs->left)) {
            blobs->left = 0;
        }
        break;
    case RDB_TYPE_HASH_LISTPACK_EX:
        if (body.size < 8) {
            blobs->left = 0;
        } else {
            blobs->at += 8; /* the lowest expiry */
        }
        break;
    default:
        break;
    }
}

/* The next string that is a listpack, and where it begins. False: there is none, or the value is
 * not framed as it should be, which the walk would have refused. */
static bool blobs_next(struct blobs *blobs, struct rdb_string *string, const uint8_t **begin)
{
    bool is_stream = blobs->type == RDB_TYPE_STREAM_LISTPACKS ||
                     blobs->type == RDB_TYPE_STREAM_LISTPACKS_2 ||
                     blobs->type == RDB_TYPE_STREAM_LISTPACKS_3;
    for (; blobs->left > 0; blobs->left--) {
        uint64_t container = 2;
        if ((blobs->type == RDB_TYPE_LIST_QUICKLIST_2 && !take_len(blobs, &container)) ||
            (is_stream && !take_string(blobs, string))) {
            return false;
        }
        *begin = blobs->at;
        if (!take_string(blobs, string)) {
            return false;
        }
        if (container == 2) { /* 1: the string is an element itself */
            blobs->left--;
            return true;
        }
    }
    return false;
}

struct reform reformer_measure(struct reformer *reformer,
                               uint8_t type,
                               struct slice body,
                               enum listpack_form form)
{
    struct reform reform = {.size = body.size};
    struct blobs blobs;
    struct rdb_string string;
    const uint8_t *begin;
    ASSERT(rdb_type_has_listpack(type));
    blobs_begin(&blobs, type, body);
    while (blobs_next(&blobs, &string, &begin)) {
        uint64_t count = text_count(reformer, &string, form);
        if (count > 0) {
            reform.count += count;
            reform.size -= string.encoded_size;
            reform.size += STR_HEAD_BYTES + text_size_after(&string, count, form);
        }
    }
    return reform;
}

/* One listpack as a raw string in the new form. */
static bool blob_write(struct reformer *reformer,
                       const struct rdb_string *string,
                       uint64_t count,
                       enum listpack_form form,
                       reform_sink *sink,
                       void *arg)
{
    uint64_t size = text_size_after(string, count, form);
    ASSERT(size >= 16384);
    ASSERT(size <= UINT32_MAX);
    uint32_t size_be = htobe32((uint32_t)size);
    uint8_t head[STR_HEAD_BYTES] = {0x80};
    memcpy(head + 1, &size_be, sizeof(size_be));
    if (!sink(arg, head, sizeof(head))) {
        return false;
    }
    struct scan *scan = &reformer->scan;
    scan_begin(scan, string->text_size, form);
    scan->sink = sink;
    scan->arg = arg;
    scan->size_after = size;
    bool is_whole = text_scan(reformer, string);
    if (!scan->is_stopped) {
        ASSERT(is_whole);
        ASSERT(scan->state == SCAN_END);
        ASSERT(scan->count == count);
    }
    return !scan->is_stopped;
}

bool reformer_write(struct reformer *reformer,
                    uint8_t type,
                    struct slice body,
                    enum listpack_form form,
                    reform_sink *sink,
                    void *arg)
{
    ASSERT(form != LISTPACK_UNKNOWN);
    struct blobs blobs;
    struct rdb_string string;
    const uint8_t *begin;
    const uint8_t *kept = body.bytes; /* from here on as it is */
    blobs_begin(&blobs, type, body);
    while (blobs_next(&blobs, &string, &begin)) {
        uint64_t count = text_count(reformer, &string, form);
        if (count == 0) {
            continue;
        }
        if (!(begin == kept || sink(arg, kept, (size_t)(begin - kept))) ||
            !blob_write(reformer, &string, count, form, sink, arg)) {
            return false;
        }
        kept = begin + string.encoded_size;
    }
    size_t rest = (size_t)(body.bytes + body.size - kept);
    return rest == 0 || sink(arg, kept, rest);
}
