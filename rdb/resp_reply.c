/*
 * Scanning replies: what kind each is, its number or error text; contents of bulks pass by.
 *
 *     +text CRLF    -text CRLF    :number CRLF    $size CRLF bytes CRLF    *count CRLF replies
 *
 * The scanner's state between calls: `skip` bytes of a bulk with its CRLF are to pass (its content
 * to `sink`, if there is one), and `depth` arrays are open with `remaining[]` elements each, the
 * innermost last. Both 0: a new reply begins.
 */
#include "rdb/resp.h"

#define DEPTH_MAX (sizeof(((struct reply_scanner *)0)->remaining) / sizeof(int64_t))
/* A longer line is no reply: error texts of servers have at most a few hundred bytes, and those of
 * scripts some thousands. */
#define LINE_BYTES_MAX (64u * 1024)
/* Far above proto-max-bulk-len and any EXEC; a length beyond it is a broken peer. */
#define BULK_BYTES_MAX ((int64_t)1 << 40)
#define ARRAY_COUNT_MAX ((int64_t)1 << 31)

void reply_scanner_init(struct reply_scanner *scanner)
{
    scanner->skip = 0;
    scanner->sink = NULL;
    scanner->sink_for = NULL;
    scanner->depth = 0;
    scanner->with_elements = false;
    scanner->has_element = false;
    scanner->is_array_done = false;
    scanner->reply = (struct reply){.kind = REPLY_STATUS};
}

static enum resp_status fail_at(size_t pos, const char *reason, struct syn_err *err)
{
    ERR(err, SYN_CODE_DESTINATION_PROTOCOL, "reply, byte %zu: %s", pos, reason);
    return RESP_ERROR;
}

static void keep_text(struct reply *reply, const uint8_t *text, size_t size)
{
    size_t kept = size < REPLY_TEXT_MAX ? size : REPLY_TEXT_MAX;
    memcpy(reply->text, text, kept);
    reply->text_size = (uint32_t)kept;
}

/* One line of a reply without its marker and CRLF. */
struct line {
    const uint8_t *text;
    size_t size;
};

/* The line that begins at bytes[pos], which is the marker. */
static enum resp_status
line_find(const uint8_t *bytes, size_t size, size_t pos, struct line *line, struct syn_err *err)
{
    const uint8_t *text = bytes + pos + 1;
    size_t room = size - pos - 1;
    size_t limit = room < LINE_BYTES_MAX ? room : LINE_BYTES_MAX;
    const uint8_t *cr = memchr(text, '\r', limit);
    if (cr == NULL) {
        return room < LINE_BYTES_MAX ? RESP_MORE : fail_at(pos, "a line without an end", err);
    }
    if (cr + 1 == bytes + size) {
        return RESP_MORE;
    }
    if (cr[1] != '\n') {
        return fail_at((size_t)(cr + 1 - bytes), "a line feed is missing behind CR", err);
    }
    *line = (struct line){.text = text, .size = (size_t)(cr - text)};
    return RESP_READY;
}

/* Counts an error among the direct elements of an array; deeper ones are not the operation's. */
static void element_error(struct reply_scanner *scanner, const struct line *line)
{
    struct reply *reply = &scanner->reply;
    if (scanner->depth != 1) {
        return;
    }
    if (reply->error_count == 0) {
        reply->error_index = (uint32_t)(reply->integer - scanner->remaining[0]);
        keep_text(reply, line->text, line->size);
    }
    reply->error_count++;
}

/* Notes an integer that is a direct element of a top-level array, or of an element of one. Deeper
 * ones, and those of an array whose elements are reported, are nobody's matter. */
static void element_number(struct reply_scanner *scanner, int64_t number)
{
    if (scanner->depth == 0 || scanner->depth > 2) {
        return;
    }
    struct reply *array = scanner->depth == 1 ? &scanner->reply : &scanner->element;
    array->number_min = number < array->number_min ? number : array->number_min;
    array->number_max = number > array->number_max ? number : array->number_max;
}

/* Begins a top-level reply, or a direct element of one. */
static void reply_begin(struct reply_scanner *scanner, enum reply_kind kind, int64_t integer)
{
    struct reply *reply = scanner->depth == 0 ? &scanner->reply : &scanner->element;
    if (scanner->depth <= 1) {
        reply->kind = kind;
        reply->integer = integer;
        reply->error_count = 0;
        reply->error_index = 0;
        reply->text_size = 0;
        reply->number_min = INT64_MAX;
        reply->number_max = INT64_MIN;
    }
}

/* A whole reply or element has passed: closes the arrays that it completes. True: the top-level
 * reply is complete. */
static bool element_done(struct reply_scanner *scanner)
{
    while (scanner->depth > 0) {
        int64_t *remaining = &scanner->remaining[scanner->depth - 1];
        ASSERT_DEBUG(*remaining > 0);
        scanner->has_element = scanner->depth == 1 && scanner->with_elements;
        if (--*remaining > 0) {
            return false;
        }
        scanner->depth--;
    }
    return true;
}

static enum resp_status on_text(struct reply_scanner *scanner, uint8_t marker, struct line *line)
{
    reply_begin(scanner, marker == '-' ? REPLY_ERROR : REPLY_STATUS, 0);
    if (scanner->depth == 0) {
        scanner->reply.error_count = marker == '-';
        keep_text(&scanner->reply, line->text, line->size);
    } else if (marker == '-') {
        element_error(scanner, line);
    }
    if (scanner->depth == 1) {
        scanner->element.error_count = marker == '-';
        keep_text(&scanner->element, line->text, line->size);
    }
    return element_done(scanner) ? RESP_READY : RESP_MORE;
}

/* "$-1" and "*-1". */
static enum resp_status on_nil(struct reply_scanner *scanner)
{
    reply_begin(scanner, REPLY_NIL, 0);
    return element_done(scanner) ? RESP_READY : RESP_MORE;
}

static enum resp_status
on_array(struct reply_scanner *scanner, int64_t count, size_t pos, struct syn_err *err)
{
    reply_begin(scanner, REPLY_ARRAY, count);
    if (count == 0) {
        return element_done(scanner) ? RESP_READY : RESP_MORE;
    }
    if (scanner->depth == DEPTH_MAX) {
        return fail_at(pos, "arrays nested deeper than 16", err);
    }
    scanner->remaining[scanner->depth++] = count;
    return RESP_MORE;
}

/* A line with a number: an integer, or the head of a bulk or an array. */
static enum resp_status on_number(struct reply_scanner *scanner,
                                  uint8_t marker,
                                  const struct line *line,
                                  size_t pos,
                                  struct syn_err *err)
{
    int64_t number;
    if (UNLIKELY(!num_read_i64((const char *)line->text, line->size, &number))) {
        return fail_at(pos, "a number is expected", err);
    }
    if (marker == ':') {
        element_number(scanner, number);
        reply_begin(scanner, REPLY_INTEGER, number);
        return element_done(scanner) ? RESP_READY : RESP_MORE;
    }
    if (number == -1) {
        return on_nil(scanner);
    }
    if (UNLIKELY(number < 0 || number > (marker == '$' ? BULK_BYTES_MAX : ARRAY_COUNT_MAX))) {
        return fail_at(pos, "a count or length out of all bounds", err);
    }
    if (marker == '*') {
        return on_array(scanner, number, pos, err);
    }
    reply_begin(scanner, REPLY_BULK, number);
    bool is_wanted = scanner->depth == 0 && scanner->sink_for != NULL;
    scanner->sink = is_wanted ? scanner->sink_for(scanner->sink_arg, (uint64_t)number) : NULL;
    scanner->skip = (uint64_t)number + 2;
    return RESP_MORE;
}

/* Passes over a bulk's bytes, or gives them to the sink, and checks its CRLF. RESP_READY: the bulk
 * is complete. */
static enum resp_status bulk_pass(struct reply_scanner *scanner,
                                  const uint8_t *bytes,
                                  size_t size,
                                  size_t *pos,
                                  struct syn_err *err)
{
    size_t room = size - *pos;
    if (scanner->skip > 2) {
        uint64_t content = scanner->skip - 2;
        size_t take = content < room ? (size_t)content : room;
        if (UNLIKELY(scanner->sink != NULL)) {
            memcpy(scanner->sink, bytes + *pos, take);
            scanner->sink += take;
        }
        scanner->skip -= take;
        *pos += take;
    }
    for (; scanner->skip <= 2 && scanner->skip > 0; scanner->skip--, (*pos)++) {
        if (*pos == size) {
            return RESP_MORE;
        }
        if (bytes[*pos] != (scanner->skip == 2 ? '\r' : '\n')) {
            return fail_at(*pos, "a bulk string does not end with CRLF", err);
        }
    }
    return scanner->skip == 0 ? RESP_READY : RESP_MORE;
}

/* One line; RESP_READY when it completes the top-level reply. *more_needed: the line is not all
 * there, so that nothing was used. */
static enum resp_status on_line(struct reply_scanner *scanner,
                                const uint8_t *bytes,
                                size_t size,
                                size_t *pos,
                                bool *more_needed,
                                struct syn_err *err)
{
    uint8_t marker = bytes[*pos];
    if (UNLIKELY(marker != '+' && marker != '-' && marker != ':' && marker != '$' &&
                 marker != '*')) {
        return fail_at(*pos, "no reply of RESP2 begins with this byte", err);
    }
    struct line line;
    enum resp_status status = line_find(bytes, size, *pos, &line, err);
    if (status != RESP_READY) {
        *more_needed = status == RESP_MORE;
        return status;
    }
    size_t start = *pos;
    *pos += line.size + 3;
    if (marker == '+' || marker == '-') {
        return on_text(scanner, marker, &line);
    }
    return on_number(scanner, marker, &line, start, err);
}

static enum resp_status scan(struct reply_scanner *scanner,
                             const uint8_t *bytes,
                             size_t size,
                             size_t *used,
                             struct syn_err *err)
{
    size_t pos = 0;
    enum resp_status status = RESP_MORE;
    bool more_needed = false;
    while (status == RESP_MORE && !more_needed && pos < size && !scanner->has_element) {
        if (scanner->skip == 0) {
            status = on_line(scanner, bytes, size, &pos, &more_needed, err);
            continue;
        }
        status = bulk_pass(scanner, bytes, size, &pos, err);
        if (status == RESP_READY && !element_done(scanner)) {
            status = RESP_MORE;
        } else if (status == RESP_MORE) {
            break;
        }
    }
    *used = status == RESP_ERROR ? 0 : pos;
    return status;
}

/* An element is complete; with the last one its array is too. */
static enum resp_status
element_report(struct reply_scanner *scanner, bool is_last, const struct reply **reply)
{
    scanner->has_element = false;
    scanner->is_array_done = is_last;
    *reply = &scanner->element;
    return RESP_ELEMENT;
}

/* "+OK", ":0" to ":9" and "+QUEUED", which are nearly all that writes are answered with. The bytes
 * that it uses; 0 for anything else. */
static inline size_t scan_short(struct reply *reply, const uint8_t *bytes, size_t size)
{
    if (size >= 5 && memcmp(bytes, "+OK\r\n", 5) == 0) {
        reply->kind = REPLY_STATUS;
        reply->integer = 0;
        reply->text[0] = 'O';
        reply->text[1] = 'K';
        reply->text_size = 2;
        reply->error_count = 0;
        reply->error_index = 0;
        return 5;
    }
    if (size >= 4 && bytes[0] == ':' && (uint8_t)(bytes[1] - '0') <= 9 && bytes[2] == '\r' &&
        bytes[3] == '\n') {
        reply->kind = REPLY_INTEGER;
        reply->integer = bytes[1] - '0';
        reply->text_size = 0;
        reply->error_count = 0;
        reply->error_index = 0;
        return 4;
    }
    if (size >= 9 && memcmp(bytes, "+QUEUED\r\n", 9) == 0) {
        reply->kind = REPLY_STATUS;
        reply->integer = 0;
        memcpy(reply->text, "QUEUED", 6);
        reply->text_size = 6;
        reply->error_count = 0;
        reply->error_index = 0;
        return 9;
    }
    return 0;
}

enum resp_status reply_scan(struct reply_scanner *scanner,
                            const uint8_t *bytes,
                            size_t size,
                            size_t *used,
                            const struct reply **reply,
                            struct syn_err *err)
{
    *reply = &scanner->reply;
    if (UNLIKELY(scanner->is_array_done)) {
        scanner->is_array_done = false;
        *used = 0;
        return RESP_READY;
    }
    if (LIKELY((scanner->depth | scanner->skip) == 0)) {
        *used = scan_short(&scanner->reply, bytes, size);
        if (LIKELY(*used > 0)) {
            return RESP_READY;
        }
    } else if (scanner->depth == 1 && scanner->skip == 0 && scanner->with_elements) {
        *used = scan_short(&scanner->element, bytes, size);
        if (LIKELY(*used > 0)) {
            return element_report(scanner, element_done(scanner), reply);
        }
    }
    enum resp_status status = scan(scanner, bytes, size, used, err);
    if (scanner->has_element && status != RESP_ERROR) {
        return element_report(scanner, status == RESP_READY, reply);
    }
    return status;
}
