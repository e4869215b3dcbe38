/*
 * Cutting commands from a replication stream.
 *
 *     *argc CRLF  ( $size CRLF bytes CRLF ) × argc
 *
 * `pos` always stands before a line that has not been settled: the head of the command (argc is 0)
 * or the head of argument number argc_done. Only that line is read again when more bytes come.
 */
#include "rdb/resp.h"

#define ARGV_CAPACITY_MIN 16u
/* "$0", CRLF, CRLF: the least that an argument takes. */
#define ARGUMENT_BYTES_MIN 6
/* Enough for UINT32_MAX; a longer number is out of every bound. */
#define NUMBER_DIGITS_MAX 10

bool resp_cutter_init(struct resp_cutter *cutter,
                      uint32_t argc_max,
                      size_t command_bytes_max,
                      struct syn_err *err)
{
    ASSERT(argc_max > 0);
    ASSERT(command_bytes_max <= UINT32_MAX);
    *cutter = (struct resp_cutter){.argc_max = argc_max, .command_bytes_max = command_bytes_max};
    uint32_t capacity = argc_max < ARGV_CAPACITY_MIN ? argc_max : ARGV_CAPACITY_MIN;
    cutter->argv = mem_alloc(MEM_RDB, capacity * sizeof(*cutter->argv));
    if (cutter->argv == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "no memory for the arguments of a command");
    }
    cutter->argv_capacity = capacity;
    return true;
}

void resp_cutter_deinit(struct resp_cutter *cutter)
{
    mem_free(MEM_RDB, cutter->argv);
    cutter->argv = NULL;
    cutter->argv_capacity = 0;
}

void resp_cutter_reset(struct resp_cutter *cutter)
{
    cutter->argc = 0;
    cutter->argc_done = 0;
    cutter->pos = 0;
}

/* The array grows with the arguments that arrive, not with the number that a head announces. */
static bool argv_grow(struct resp_cutter *cutter, struct syn_err *err)
{
    uint32_t capacity =
        cutter->argv_capacity > cutter->argc_max / 2 ? cutter->argc_max : cutter->argv_capacity * 2;
    ASSERT(capacity > cutter->argv_capacity);
    struct resp_arg *argv = mem_realloc(MEM_RDB, cutter->argv, capacity * sizeof(*argv));
    if (argv == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "no memory for %u arguments of a command", capacity);
    }
    cutter->argv = argv;
    cutter->argv_capacity = capacity;
    return true;
}

static enum resp_status fail_at(size_t pos, const char *reason, struct syn_err *err)
{
    ERR(err, SYN_CODE_SOURCE_DATA, "replication stream, byte %zu of a command: %s", pos, reason);
    return RESP_ERROR;
}

/* Explains a line that is not "<marker><number>CRLF", or finds that it is only not all there. */
static enum resp_status
head_explain(const uint8_t *bytes, size_t size, size_t pos, char marker, struct syn_err *err)
{
    if (pos == size) {
        return RESP_MORE;
    }
    if (bytes[pos] != (uint8_t)marker) {
        return fail_at(pos,
                       marker == '*' ? "an inline command or other text where an array belongs"
                                     : "something else where a bulk string belongs",
                       err);
    }
    size_t digits = 0;
    for (size_t i = pos + 1;; i++, digits++) {
        if (i == size) {
            return RESP_MORE;
        }
        if (bytes[i] == '\r' && digits > 0) {
            if (i + 1 == size) {
                return RESP_MORE;
            }
            return fail_at(i + 1, "a line feed is missing behind a number", err);
        }
        if (bytes[i] == '-' && digits == 0) {
            return fail_at(i, "a negative count or length", err);
        }
        if (bytes[i] < '0' || bytes[i] > '9') {
            return fail_at(i, "a number is expected", err);
        }
        if (digits == 1 && bytes[i - 1] == '0') {
            return fail_at(i - 1, "a number with a leading zero", err);
        }
        if (digits == NUMBER_DIGITS_MAX) {
            return fail_at(pos + 1, "a count or length out of all bounds", err);
        }
    }
}

/* Reads "<marker><number>CRLF" at `at`: the bytes it has, or 0 when it is broken or not all there,
 * which head_explain tells apart. Needs nothing behind it. */
static inline size_t head_read(const uint8_t *at, size_t size, char marker, uint64_t *number)
{
    if (UNLIKELY(size < 4 || at[0] != (uint8_t)marker)) {
        return 0;
    }
    uint64_t sum = (uint64_t)at[1] - '0';
    if (UNLIKELY(sum > 9)) {
        return 0;
    }
    size_t i = 2;
    unsigned digit;
    while (i < size && (digit = (unsigned)at[i] - '0') <= 9) {
        if (UNLIKELY(i > NUMBER_DIGITS_MAX || sum == 0)) {
            return 0;
        }
        sum = sum * 10 + digit;
        i++;
    }
    if (UNLIKELY(size - i < 2 || at[i] != '\r' || at[i + 1] != '\n')) {
        return 0;
    }
    *number = sum;
    return i + 2;
}

static enum resp_status
command_head(struct resp_cutter *cutter, const uint8_t *bytes, size_t size, struct syn_err *err)
{
    uint64_t count;
    size_t head = head_read(bytes, size, '*', &count);
    if (UNLIKELY(head == 0)) {
        return head_explain(bytes, size, 0, '*', err);
    }
    if (UNLIKELY(count == 0)) {
        return fail_at(0, "a command without arguments", err);
    }
    if (UNLIKELY(count > cutter->argc_max)) {
        return fail_at(0, "a command with more arguments than the configured maximum", err);
    }
    cutter->argc = (uint32_t)count;
    cutter->argc_done = 0;
    cutter->pos = head;
    return RESP_READY;
}

/* How many bytes the command has at least when `pos` of them are accounted for. */
static size_t wanted_from(const struct resp_cutter *cutter, size_t pos, uint32_t argc_done)
{
    return pos + (size_t)(cutter->argc - argc_done) * ARGUMENT_BYTES_MIN;
}

/* Settles the arguments that are whole. */
static enum resp_status arguments(struct resp_cutter *cutter,
                                  const uint8_t *bytes,
                                  size_t size,
                                  size_t *wanted,
                                  struct syn_err *err)
{
    size_t pos = cutter->pos;
    uint32_t done = cutter->argc_done;
    enum resp_status status = RESP_READY;
    for (; done < cutter->argc; done++) {
        uint64_t length;
        size_t head = head_read(bytes + pos, size - pos, '$', &length);
        if (UNLIKELY(head == 0)) {
            status = head_explain(bytes, size, pos, '$', err);
            *wanted = wanted_from(cutter, pos, done);
            *wanted = *wanted > size ? *wanted : size + 1;
            break;
        }
        size_t start = pos + head;
        if (UNLIKELY(length + 2 > cutter->command_bytes_max - start ||
                     start > cutter->command_bytes_max)) {
            status = fail_at(
                pos,
                "a command larger than the configured maximum; if it is real, raise --memory",
                err);
            break;
        }
        if (UNLIKELY(length + 2 > size - start)) {
            status = RESP_MORE;
            *wanted = wanted_from(cutter, start + length + 2, done + 1);
            break;
        }
        size_t end = start + length;
        if (UNLIKELY(bytes[end] != '\r' || bytes[end + 1] != '\n')) {
            status = fail_at(end, "a bulk string does not end with CRLF", err);
            break;
        }
        if (UNLIKELY(done == cutter->argv_capacity) && !argv_grow(cutter, err)) {
            status = RESP_ERROR;
            break;
        }
        cutter->argv[done] = (struct resp_arg){.pos = (uint32_t)start, .size = (uint32_t)length};
        pos = end + 2;
    }
    cutter->pos = pos;
    cutter->argc_done = done;
    return status;
}

enum resp_status resp_cut(struct resp_cutter *cutter,
                          const uint8_t *bytes,
                          size_t size,
                          size_t *wanted,
                          struct resp_command *command,
                          struct syn_err *err)
{
    ASSERT_DEBUG(size >= cutter->pos);
    if (LIKELY(cutter->argc == 0)) {
        enum resp_status status = command_head(cutter, bytes, size, err);
        if (UNLIKELY(status != RESP_READY)) {
            /* "*1", CRLF and one argument, or one byte more of a longer head. */
            *wanted = size < 4 + ARGUMENT_BYTES_MIN ? 4 + ARGUMENT_BYTES_MIN : size + 1;
            return status;
        }
    }
    enum resp_status status = arguments(cutter, bytes, size, wanted, err);
    if (LIKELY(status == RESP_READY)) {
        command->argc = cutter->argc;
        command->argv = cutter->argv;
        command->size = cutter->pos;
        resp_cutter_reset(cutter);
        return RESP_READY;
    }
    if (status == RESP_MORE && *wanted > cutter->command_bytes_max) {
        return fail_at(
            cutter->pos,
            "a command larger than the configured maximum; if it is real, raise --memory",
            err);
    }
    return status;
}
