/*
 * Scanning replies: each reply belongs to one operation, so one reply too many or too few shifts
 * all acknowledgements behind it, and an overlooked error is lost data. Every sequence is scanned
 * whole and with its bytes coming one at a time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "rdb/resp.h"

#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

struct good {
    const uint8_t *bytes;
    size_t size;
    enum reply_kind kind;
    int64_t integer;
    uint32_t error_count;
    uint32_t error_index;
    const char *text;
};

#define DEEP_8 "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"

static const struct good good[] = {
    {BYTES("+OK\r\n"), REPLY_STATUS, 0, 0, 0, "OK"},
    {BYTES("+QUEUED\r\n"), REPLY_STATUS, 0, 0, 0, "QUEUED"},
    {BYTES("+\r\n"), REPLY_STATUS, 0, 0, 0, ""},
    {BYTES("-ERR no\r\n"), REPLY_ERROR, 0, 1, 0, "ERR no"},
    {BYTES(":0\r\n"), REPLY_INTEGER, 0, 0, 0, ""},
    {BYTES(":9\r\n"), REPLY_INTEGER, 9, 0, 0, ""},
    {BYTES(":-1\r\n"), REPLY_INTEGER, -1, 0, 0, ""},
    {BYTES(":9223372036854775807\r\n"), REPLY_INTEGER, INT64_MAX, 0, 0, ""},
    {BYTES(":-9223372036854775808\r\n"), REPLY_INTEGER, INT64_MIN, 0, 0, ""},
    {BYTES("$0\r\n\r\n"), REPLY_BULK, 0, 0, 0, ""},
    {BYTES("$5\r\na\r\nbc\r\n"), REPLY_BULK, 5, 0, 0, ""},
    {BYTES("$-1\r\n"), REPLY_NIL, 0, 0, 0, ""},
    {BYTES("*-1\r\n"), REPLY_NIL, 0, 0, 0, ""},
    {BYTES("*0\r\n"), REPLY_ARRAY, 0, 0, 0, ""},
    {BYTES("*3\r\n+OK\r\n:1\r\n$3\r\nabc\r\n"), REPLY_ARRAY, 3, 0, 0, ""},
    {BYTES("*2\r\n*0\r\n*-1\r\n"), REPLY_ARRAY, 2, 0, 0, ""},
    {BYTES("*2\r\n$-1\r\n*2\r\n*1\r\n:1\r\n$1\r\nx\r\n"), REPLY_ARRAY, 2, 0, 0, ""},
    /* Errors among the elements of EXEC. */
    {BYTES("*4\r\n+OK\r\n-WRONGTYPE a\r\n:1\r\n-ERR b\r\n"), REPLY_ARRAY, 4, 2, 1, "WRONGTYPE a"},
    {BYTES("*1\r\n-OOM\r\n"), REPLY_ARRAY, 1, 1, 0, "OOM"},
    {BYTES("*3\r\n*2\r\n:1\r\n:2\r\n$2\r\nab\r\n-ERR c\r\n"), REPLY_ARRAY, 3, 1, 2, "ERR c"},
    /* An error inside an element is that element's value. */
    {BYTES("*2\r\n*1\r\n-ERR inner\r\n+OK\r\n"), REPLY_ARRAY, 2, 0, 0, ""},
    {BYTES(DEEP_8 DEEP_8 ":1\r\n"), REPLY_ARRAY, 1, 0, 0, ""},
};

static void compare(const struct good *want, const struct reply *reply)
{
    assert_int_equal(reply->kind, want->kind);
    assert_true(reply->integer == want->integer);
    assert_int_equal(reply->error_count, want->error_count);
    assert_int_equal(reply->error_index, want->error_index);
    assert_int_equal(reply->text_size, strlen(want->text));
    assert_memory_equal(reply->text, want->text, reply->text_size);
}

/* Scans text that comes `step` bytes at a time, the first time after `first`; compares with the
 * expected replies. */
static void scan_all(const uint8_t *bytes,
                     size_t size,
                     size_t first,
                     size_t step,
                     const struct good *wanted,
                     size_t count)
{
    struct reply_scanner scanner;
    struct syn_err err;
    reply_scanner_init(&scanner);
    size_t pos = 0;
    size_t done = 0;
    for (size_t available = first;; available += step) {
        available = available < size ? available : size;
        for (;;) {
            const struct reply *reply;
            size_t used = 0;
            uint8_t *copy = mem_alloc(MEM_RDB, available - pos + 1);
            assert_non_null(copy);
            memcpy(copy + 1, bytes + pos, available - pos);
            enum resp_status status =
                reply_scan(&scanner, copy + 1, available - pos, &used, &reply, &err);
            mem_free(MEM_RDB, copy);
            if (status == RESP_ERROR) {
                fail_msg("%s", err.msg);
            }
            pos += used;
            if (status == RESP_MORE) {
                break;
            }
            assert_true(done < count);
            compare(&wanted[done], reply);
            done++;
        }
        if (available == size) {
            break;
        }
    }
    assert_int_equal(pos, size);
    assert_int_equal(done, count);
}

/* Of one array, or of an array that is an element whose own elements are not reported. */
static void test_numbers_of_arrays(void **state)
{
    (void)state;
    static const struct {
        const uint8_t *bytes;
        size_t size;
        int64_t min, max;
    } arrays[] = {
        {BYTES("*2\r\n:1\r\n:-2\r\n"), -2, 1},
        {BYTES("*1\r\n:12345\r\n"), 12345, 12345},
        {BYTES("*4\r\n$1\r\nx\r\n:3\r\n*1\r\n:9\r\n:2\r\n"), 2, 3},
        {BYTES("*2\r\n$-1\r\n+OK\r\n"), INT64_MAX, INT64_MIN},
        {BYTES("*0\r\n"), INT64_MAX, INT64_MIN},
    };
    for (size_t i = 0; i < 2 * sizeof(arrays) / sizeof(arrays[0]); i++) {
        bool is_inside = i % 2 != 0;
        uint8_t bytes[128] = "*2\r\n:7\r\n";
        size_t head = is_inside ? 8 : 0;
        size_t size = head + arrays[i / 2].size;
        memcpy(bytes + head, arrays[i / 2].bytes, arrays[i / 2].size);
        for (size_t cut = 0; cut <= size; cut++) {
            struct reply_scanner scanner;
            struct syn_err err;
            reply_scanner_init(&scanner);
            scanner.with_elements = is_inside;
            size_t pos = 0;
            uint32_t found = 0;
            for (size_t available = cut;; available = size) {
                const struct reply *reply;
                size_t used;
                enum resp_status status;
                while ((status = reply_scan(
                            &scanner, bytes + pos, available - pos, &used, &reply, &err)) !=
                       RESP_MORE) {
                    assert_int_not_equal(status, RESP_ERROR);
                    pos += used;
                    if (reply->kind == REPLY_ARRAY &&
                        status == (is_inside ? RESP_ELEMENT : RESP_READY)) {
                        assert_true(reply->number_min == arrays[i / 2].min);
                        assert_true(reply->number_max == arrays[i / 2].max);
                        found++;
                    }
                }
                pos += used;
                if (available == size) {
                    break;
                }
            }
            assert_int_equal(found, 1);
        }
    }
}

static void test_each_reply(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        for (size_t first = 0; first <= good[i].size; first++) {
            scan_all(good[i].bytes, good[i].size, first, good[i].size, &good[i], 1);
        }
        scan_all(good[i].bytes, good[i].size, 0, 1, &good[i], 1);
    }
}

static void test_a_pipeline_of_replies(void **state)
{
    (void)state;
    static uint8_t bytes[4096];
    size_t size = 0;
    size_t count = sizeof(good) / sizeof(good[0]);
    for (size_t i = 0; i < count; i++) {
        memcpy(bytes + size, good[i].bytes, good[i].size);
        size += good[i].size;
    }
    for (size_t step = 1; step < 40; step++) {
        scan_all(bytes, size, 0, step, good, count);
    }
    scan_all(bytes, size, size, size, good, count);
}

/* A bulk far larger than any window passes without being kept. */
static void test_a_large_bulk_passes_in_pieces(void **state)
{
    (void)state;
    struct reply_scanner scanner;
    struct syn_err err;
    const struct reply *reply;
    size_t used;
    reply_scanner_init(&scanner);
    assert_int_equal(reply_scan(&scanner, BYTES("*2\r\n$1000000\r\n"), &used, &reply, &err),
                     RESP_MORE);
    assert_int_equal(used, 14);
    static uint8_t piece[1000];
    memset(piece, '-', sizeof(piece));
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(reply_scan(&scanner, piece, sizeof(piece), &used, &reply, &err),
                         RESP_MORE);
        assert_int_equal(used, sizeof(piece));
    }
    assert_int_equal(reply_scan(&scanner, BYTES("\r\n:7\r\n+OK\r\n"), &used, &reply, &err),
                     RESP_READY);
    assert_int_equal(used, 6);
    assert_int_equal(reply->kind, REPLY_ARRAY);
    assert_int_equal(reply->error_count, 0);
}

static void test_long_texts_are_cut(void **state)
{
    (void)state;
    struct reply_scanner scanner;
    struct syn_err err;
    const struct reply *reply;
    size_t used;
    static uint8_t bytes[70000];
    memset(bytes, 'e', sizeof(bytes));
    bytes[0] = '-';
    memcpy(bytes + 60000, "\r\n", 2);
    reply_scanner_init(&scanner);
    assert_int_equal(reply_scan(&scanner, bytes, 60001, &used, &reply, &err), RESP_MORE);
    assert_int_equal(used, 0);
    assert_int_equal(reply_scan(&scanner, bytes, 60002, &used, &reply, &err), RESP_READY);
    assert_int_equal(used, 60002);
    assert_int_equal(reply->text_size, REPLY_TEXT_MAX);
    assert_int_equal(reply->error_count, 1);
    bytes[60000] = 'e';
    assert_int_equal(reply_scan(&scanner, bytes, sizeof(bytes), &used, &reply, &err), RESP_ERROR);
    assert_non_null(strstr(err.msg, "byte 0: a line without an end"));
}

struct bad {
    const uint8_t *bytes;
    size_t size;
    const char *message;
};

static const struct bad bad[] = {
    {BYTES("OK\r\n"), "reply, byte 0: no reply of RESP2 begins with this byte"},
    {BYTES("%1\r\n"), "no reply of RESP2 begins with this byte"},
    {BYTES("_\r\n"), "no reply of RESP2 begins with this byte"},
    {BYTES("*2\r\n:1\r\n!"), "byte 8: no reply of RESP2 begins with this byte"},
    {BYTES("+OK\rx"), "byte 4: a line feed is missing behind CR"},
    {BYTES(":\r\n"), "byte 0: a number is expected"},
    {BYTES(":1x\r\n"), "byte 0: a number is expected"},
    {BYTES(":01\r\n"), "byte 0: a number is expected"},
    {BYTES(":9223372036854775808\r\n"), "byte 0: a number is expected"},
    {BYTES("$-2\r\n"), "byte 0: a count or length out of all bounds"},
    {BYTES("*-2\r\n"), "byte 0: a count or length out of all bounds"},
    {BYTES("$9223372036854775807\r\n"), "byte 0: a count or length out of all bounds"},
    {BYTES("*9223372036854775807\r\n"), "byte 0: a count or length out of all bounds"},
    {BYTES("$1\r\nxyz"), "byte 5: a bulk string does not end with CRLF"},
    {BYTES("$1\r\nx\rz"), "byte 6: a bulk string does not end with CRLF"},
    {BYTES(DEEP_8 DEEP_8 "*1\r\n:1\r\n"), "byte 64: arrays nested deeper than 16"},
};

static void test_each_defect_is_named(void **state)
{
    (void)state;
    struct syn_err err;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct reply_scanner scanner;
        const struct reply *reply;
        size_t used;
        reply_scanner_init(&scanner);
        enum resp_status status =
            reply_scan(&scanner, bad[i].bytes, bad[i].size, &used, &reply, &err);
        if (status != RESP_ERROR || strstr(err.msg, bad[i].message) == NULL) {
            fail_msg("wanted \"%s\", got status %d: %s", bad[i].message, status, err.msg);
        }
        assert_int_equal(err.code, SYN_CODE_DESTINATION_PROTOCOL);
        /* One byte at a time it fails as well, whatever the position is then. */
        reply_scanner_init(&scanner);
        size_t pos = 0;
        status = RESP_MORE;
        for (size_t size = 1; size <= bad[i].size && status == RESP_MORE; size++) {
            status = reply_scan(&scanner, bad[i].bytes + pos, size - pos, &used, &reply, &err);
            pos += status == RESP_MORE ? used : 0;
        }
        assert_int_equal(status, RESP_ERROR);
    }
}

/* Bulks that a sink took, one behind the other, each as "size:bytes;". */
struct sink {
    char text[200];
    size_t size;
    uint8_t *open; /* where the last one goes; its bytes come later */
};

static uint8_t *sink_take(void *arg, uint64_t size)
{
    struct sink *sink = arg;
    if (size == 4) {
        return NULL; /* this one is not wanted */
    }
    sink->size += (size_t)snprintf(
        sink->text + sink->size, sizeof(sink->text) - sink->size, "%d:", (int)size);
    assert_true(sink->size + size + 1 < sizeof(sink->text));
    sink->open = (uint8_t *)sink->text + sink->size;
    sink->size += size;
    sink->text[sink->size++] = ';';
    return sink->open;
}

/* A relay pushes what it was answered: a byte too many, too few or from another bulk is lost data.
 * Only bulks that are replies themselves are wanted, and only those that the sink takes. */
static void test_bulks_go_to_the_sink(void **state)
{
    (void)state;
    static const char text[] = "$3\r\nabc\r\n+OK\r\n*2\r\n$2\r\nno\r\n$1\r\nx\r\n$0\r\n\r\n"
                               "$4\r\nskip\r\n$2\r\n\r\n\r\n$-1\r\n:7\r\n$5\r\n$2\r\nh\r\n";
    size_t size = sizeof(text) - 1;
    for (size_t step = 1; step <= size; step++) {
        struct sink sink = {0};
        struct reply_scanner scanner;
        struct syn_err err;
        reply_scanner_init(&scanner);
        scanner.sink_for = sink_take;
        scanner.sink_arg = &sink;
        size_t pos = 0;
        uint32_t count = 0;
        for (size_t available = step; pos < size; available += step) {
            available = available < size ? available : size;
            enum resp_status status;
            do {
                const struct reply *reply;
                size_t used;
                status = reply_scan(
                    &scanner, (const uint8_t *)text + pos, available - pos, &used, &reply, &err);
                assert_int_not_equal(status, RESP_ERROR);
                pos += used;
                count += status == RESP_READY;
            } while (status == RESP_READY);
        }
        assert_int_equal(count, 9);
        assert_string_equal(sink.text, "3:abc;0:;2:\r\n;5:$2\r\nh;");
    }
}

static void test_encoding(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {0, 9, 10, 99, 100, 12345, UINT64_MAX};
    static const char *const heads[] = {"*0\r\n",
                                        "*9\r\n",
                                        "*10\r\n",
                                        "*99\r\n",
                                        "*100\r\n",
                                        "*12345\r\n",
                                        "*18446744073709551615\r\n"};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint8_t out[RESP_HEAD_MAX];
        size_t size = (size_t)(resp_put_head(out, '*', numbers[i]) - out);
        assert_int_equal(size, strlen(heads[i]));
        assert_memory_equal(out, heads[i], size);
    }
    static uint8_t content[2000];
    static uint8_t out[2000 + 2 * RESP_HEAD_MAX];
    for (size_t size = 0; size <= sizeof(content); size++) {
        size_t made = (size_t)(resp_put_bulk(out, content, size) - out);
        assert_int_equal(made, resp_bulk_size(size));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_reply),
        cmocka_unit_test(test_numbers_of_arrays),
        cmocka_unit_test(test_a_pipeline_of_replies),
        cmocka_unit_test(test_a_large_bulk_passes_in_pieces),
        cmocka_unit_test(test_long_texts_are_cut),
        cmocka_unit_test(test_each_defect_is_named),
        cmocka_unit_test(test_bulks_go_to_the_sink),
        cmocka_unit_test(test_encoding),
    };
    return cmocka_run_group_tests_name("resp reply", tests, NULL, NULL);
}
