/*
 * Cutting commands: if the cutter lost its place between pieces, or took a malformed head for a
 * good one, all that follows in a stream would be garbage. Recorded streams of real servers are cut
 * behind every byte; malformed input must end in an error with its position, at once and not after
 * waiting for bytes that never come.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "tests/rdb/feed.h"

#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1
#define COMMAND_MAX ((size_t)1 << 20)

struct stream {
    const char *name;
    unsigned commands;
};

static const struct stream streams[] = {
    {"redis-2.8.24", 523}, {"redis-7.4.1", 1050}, {"valkey-9.1.2-ver9", 1042}};

struct summary {
    uint64_t digest;
    unsigned commands;
};

static void
on_command(struct summary *summary, const uint8_t *bytes, const struct resp_command *command)
{
    summary->commands++;
    for (uint32_t i = 0; i < command->argc; i++) {
        const struct resp_arg *arg = &command->argv[i];
        assert_true(arg->pos + (size_t)arg->size + 2 <= command->size);
        summary->digest = crc64_update(summary->digest, &arg->size, sizeof(arg->size));
        summary->digest = crc64_update(summary->digest, bytes + arg->pos, arg->size);
    }
}

/* Cuts the stream while `step` more bytes come each time. */
static struct summary cut_all(const uint8_t *bytes, size_t size, size_t step)
{
    struct summary summary = {0};
    struct resp_cutter cutter;
    struct syn_err err;
    assert_true(resp_cutter_init(&cutter, 1024, COMMAND_MAX, &err));
    size_t used = 0;
    for (size_t available = step; used < size; available += step) {
        available = available < size ? available : size;
        for (;;) {
            struct resp_command command;
            size_t wanted = 0;
            enum resp_status status =
                resp_cut(&cutter, bytes + used, available - used, &wanted, &command, &err);
            if (status == RESP_MORE) {
                assert_true(wanted > available - used);
                break;
            }
            if (status != RESP_READY) {
                fail_msg("%s", err.msg);
            }
            on_command(&summary, bytes + used, &command);
            used += command.size;
        }
        assert_true(available < size || used == size);
    }
    resp_cutter_deinit(&cutter);
    return summary;
}

static void test_recorded_streams_cut_behind_every_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
        char path[128];
        snprintf(path, sizeof(path), "stream/%s/stream.resp", streams[i].name);
        size_t size;
        uint8_t *bytes = fixture_read(path, &size);
        struct summary whole = cut_all(bytes, size, size);
        assert_int_equal(whole.commands, streams[i].commands);
        static const size_t steps[] = {1, 2, 3, 5, 17, 1460, 16384};
        for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
            struct summary pieces = cut_all(bytes, size, steps[k]);
            assert_int_equal(pieces.commands, whole.commands);
            assert_true(pieces.digest == whole.digest);
        }
        mem_free(MEM_RDB, bytes);
    }
}

struct bad {
    const uint8_t *bytes;
    size_t size;
    const char *message;
};

static const struct bad bad[] = {
    {BYTES("PING\r\n"), "byte 0 of a command: an inline command or other text where an array"},
    {BYTES("\n*1\r\n"), "byte 0 of a command: an inline command or other text"},
    {BYTES("$4\r\nPING\r\n"), "byte 0 of a command: an inline command or other text"},
    {BYTES("*0\r\n"), "byte 0 of a command: a command without arguments"},
    {BYTES("*-1\r\n"), "byte 1 of a command: a negative count or length"},
    {BYTES("*\r\n"), "byte 1 of a command: a number is expected"},
    {BYTES("*x\r\n"), "byte 1 of a command: a number is expected"},
    {BYTES("*+1\r\n"), "byte 1 of a command: a number is expected"},
    {BYTES("* 1\r\n"), "byte 1 of a command: a number is expected"},
    {BYTES("*1x\r\n"), "byte 2 of a command: a number is expected"},
    {BYTES("*1\n"), "byte 2 of a command: a number is expected"},
    {BYTES("*1\rx"), "byte 3 of a command: a line feed is missing"},
    {BYTES("*01\r\n"), "byte 1 of a command: a number with a leading zero"},
    {BYTES("*00\r\n"), "byte 1 of a command: a number with a leading zero"},
    {BYTES("*101\r\n"), "byte 0 of a command: a command with more arguments than the configured"},
    {BYTES("*9999999999\r\n"), "byte 0 of a command: a command with more arguments"},
    {BYTES("*99999999999"), "byte 1 of a command: a count or length out of all bounds"},
    {BYTES("*1\r\n+OK\r\n"), "byte 4 of a command: something else where a bulk string belongs"},
    {BYTES("*1\r\n*1\r\n"), "byte 4 of a command: something else where a bulk string belongs"},
    {BYTES("*1\r\n$-1\r\n"), "byte 5 of a command: a negative count or length"},
    {BYTES("*1\r\n$x\r\n"), "byte 5 of a command: a number is expected"},
    {BYTES("*1\r\n$04\r\n"), "byte 5 of a command: a number with a leading zero"},
    {BYTES("*1\r\n$4\rP"), "byte 7 of a command: a line feed is missing"},
    {BYTES("*1\r\n$99999999999"), "byte 5 of a command: a count or length out of all bounds"},
    {BYTES("*1\r\n$1025\r\n"), "byte 4 of a command: a command larger than the configured"},
    {BYTES("*1\r\n$9999999999\r\n"), "byte 4 of a command: a command larger than the configured"},
    {BYTES("*2\r\n$1015\r\n"), "a command larger than the configured"},
    {BYTES("*1\r\n$4\r\nPINGxx"), "byte 12 of a command: a bulk string does not end with CRLF"},
    {BYTES("*1\r\n$4\r\nPING\rx"), "byte 12 of a command: a bulk string does not end with CRLF"},
    {BYTES("*1\r\n$3\r\nPING\r\n"), "byte 11 of a command: a bulk string does not end with CRLF"},
    {BYTES("*2\r\n$4\r\nPING\r\n\r\n"), "byte 14 of a command: something else where a bulk"},
};

static void check(const struct bad *one, size_t first)
{
    struct resp_cutter cutter;
    struct resp_command command;
    struct syn_err err;
    assert_true(resp_cutter_init(&cutter, 100, 1024, &err));
    enum resp_status status = RESP_MORE;
    for (size_t size = first; size <= one->size && status == RESP_MORE; size++) {
        size_t wanted;
        uint8_t *copy = mem_alloc(MEM_RDB, size + 1);
        assert_non_null(copy);
        memcpy(copy + 1, one->bytes, size);
        status = resp_cut(&cutter, copy + 1, size, &wanted, &command, &err);
        mem_free(MEM_RDB, copy);
    }
    if (status != RESP_ERROR || strstr(err.msg, one->message) == NULL) {
        fail_msg("wanted \"%s\", got status %d: %s", one->message, status, err.msg);
    }
    assert_int_equal(err.code, SYN_CODE_SOURCE_DATA);
    resp_cutter_deinit(&cutter);
}

static void test_each_defect_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (size_t first = 0; first <= bad[i].size; first++) {
            check(&bad[i], first);
        }
    }
}

static void test_limits_are_exact(void **state)
{
    (void)state;
    struct resp_cutter cutter;
    struct resp_command command;
    struct syn_err err;
    size_t wanted;
    /* 15 bytes are allowed: one more is not. */
    assert_true(resp_cutter_init(&cutter, 2, 15, &err));
    assert_int_equal(resp_cut(&cutter, BYTES("*1\r\n$5\r\nHELLO\r\n"), &wanted, &command, &err),
                     RESP_READY);
    assert_int_equal(command.size, 15);
    assert_int_equal(resp_cut(&cutter, BYTES("*1\r\n$6\r\nHELLO!\r\n"), &wanted, &command, &err),
                     RESP_ERROR);
    resp_cutter_reset(&cutter);
    assert_int_equal(resp_cut(&cutter, BYTES("*2\r\n"), &wanted, &command, &err), RESP_ERROR);
    resp_cutter_deinit(&cutter);
    assert_true(resp_cutter_init(&cutter, 2, 16, &err));
    assert_int_equal(
        resp_cut(&cutter, BYTES("*2\r\n$0\r\n\r\n$0\r\n\r\n"), &wanted, &command, &err),
        RESP_READY);
    assert_int_equal(command.argc, 2);
    assert_int_equal(command.argv[1].size, 0);
    assert_int_equal(resp_cut(&cutter, BYTES("*3\r\n"), &wanted, &command, &err), RESP_ERROR);
    resp_cutter_deinit(&cutter);
}

static void test_what_is_wanted(void **state)
{
    (void)state;
    struct resp_cutter cutter;
    struct resp_command command;
    struct syn_err err;
    size_t wanted;
    assert_true(resp_cutter_init(&cutter, 10, 100000, &err));
    assert_int_equal(resp_cut(&cutter, BYTES(""), &wanted, &command, &err), RESP_MORE);
    assert_int_equal(wanted, 10);
    assert_int_equal(resp_cut(&cutter, BYTES("*3\r\n"), &wanted, &command, &err), RESP_MORE);
    assert_int_equal(wanted, 4 + 18);
    assert_int_equal(resp_cut(&cutter, BYTES("*3\r\n$10000\r\nx"), &wanted, &command, &err),
                     RESP_MORE);
    assert_int_equal(wanted, 4 + 8 + 10000 + 2 + 12);
    resp_cutter_deinit(&cutter);
}

/* More arguments than the first allocation holds, up to the limit; and every allocation failing. */
static void test_many_arguments(void **state)
{
    (void)state;
    enum { ARGUMENTS = 1000 };
    static uint8_t bytes[16 + ARGUMENTS * 16];
    uint8_t *out = resp_put_head(bytes, '*', ARGUMENTS);
    for (unsigned i = 0; i < ARGUMENTS; i++) {
        char digits[NUM_DIGITS_MAX];
        out = resp_put_bulk(out, digits, num_write_u64(digits, i));
    }
    size_t size = (size_t)(out - bytes);
    struct resp_cutter cutter;
    struct resp_command command;
    struct syn_err err;
    size_t wanted;
    unsigned failures = 0;
    for (uint64_t n = 1;; n++) {
        mem_fail_at(n);
        bool is_ready = resp_cutter_init(&cutter, ARGUMENTS, 1 << 20, &err);
        enum resp_status status =
            is_ready ? resp_cut(&cutter, bytes, size, &wanted, &command, &err) : RESP_ERROR;
        mem_fail_at(0);
        if (status == RESP_READY) {
            break;
        }
        assert_int_equal(err.code, SYN_CODE_MEMORY);
        resp_cutter_deinit(&cutter);
        failures++;
    }
    assert_true(failures > 3);
    assert_int_equal(command.argc, ARGUMENTS);
    assert_int_equal(command.size, size);
    for (unsigned i = 0; i < ARGUMENTS; i++) {
        uint64_t number;
        const char *text = (const char *)bytes + command.argv[i].pos;
        assert_true(num_read_u64(text, command.argv[i].size, &number));
        assert_int_equal(number, i);
    }
    resp_cutter_deinit(&cutter);
    assert_int_equal(mem_live_bytes(MEM_RDB), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded_streams_cut_behind_every_byte),
        cmocka_unit_test(test_each_defect_is_named),
        cmocka_unit_test(test_limits_are_exact),
        cmocka_unit_test(test_what_is_wanted),
        cmocka_unit_test(test_many_arguments),
    };
    return cmocka_run_group_tests_name("resp cut", tests, NULL, NULL);
}
