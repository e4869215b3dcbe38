#include "tests/apply/pipeline_rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* An error reply stops the task with everything needed to find the operation, and never the key. */
static void run_error(const char *answer, enum syn_code code, const char *text)
{
    struct rig *rig = rig_new(&(struct rig_options){.is_cluster = true, .lanes = 2, .shards = 2});
    rig_live(rig, 0, 1000);
    rig_script(rig, 1, (struct peer_script){.fail_at = 2, .fail_text = answer});
    rig_command(rig, 0, "SET {foo}1 1");
    rig_command(rig, 0, "LPUSH {foo}secret element");
    rig_command(rig, 0, "SET {foo}3 1");
    const struct syn_err *err = rig_failure(rig);
    char hash[40];
    char offset[40];
    snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)key_hash("{foo}secret", 11));
    snprintf(offset, sizeof(offset), "offset %d", 1078);
    const char *const parts[] = {
        "dest1:6379", "LPUSH", "slot 12182", hash, offset, "stream 0", text};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (strstr(err->msg, parts[i]) == NULL) {
            fail_msg("\"%s\" is not in \"%s\"", parts[i], err->msg);
        }
    }
    assert_int_equal(err->code, code);
    assert_null(strstr(err->msg, "secret"));
    assert_true(atomic_load_acquire(&rig->sources[0].feed.offset_applied) < 1078);
    rig_free(rig);
}

static void test_errors(void **state)
{
    (void)state;
    run_error("ERR syntax error", SYN_CODE_DESTINATION_REPLY, "syntax error");
    run_error("OOM command not allowed", SYN_CODE_DESTINATION_STATE, "maxmemory");
    run_error("READONLY You can't", SYN_CODE_DESTINATION_STATE, "failed over");
    run_error("MOVED 12182 1.2.3.4:1", SYN_CODE_DESTINATION_STATE, "topology");
    run_error("ASK 12182 1.2.3.4:1", SYN_CODE_DESTINATION_STATE, "moving");
    run_error("NOPERM no", SYN_CODE_DESTINATION_AUTH, "grant");
    run_error("ERR unknown command 'LPUSH', with args beginning with: '{foo}secret' 'element'",
              SYN_CODE_DESTINATION_REPLY,
              "unknown command 'LPUSH'");
    run_error("ERR unknown\x1b[31m", SYN_CODE_DESTINATION_REPLY, "ERR unknown?[31m");
}

/* An operation that began in a batch that is gone can still be placed: by stream, offset, slot. */
static void test_error_of_large(void **state)
{
    (void)state;
    struct rig *rig =
        rig_new(&(struct rig_options){.batch_bytes = 512, .hold_bytes_free = 1 << 20});
    rig_live(rig, 0, 1000);
    rig_script(rig, 0, (struct peer_script){.fail_at = 1, .fail_text = "ERR syntax"});
    struct bytes value = {0};
    bytes_add(&value, "SET secret ", 11);
    for (int i = 0; i < 9000; i++) {
        bytes_add(&value, "x", 1);
    }
    bytes_add(&value, "", 1);
    rig_command(rig, 0, (const char *)value.bytes);
    bytes_free(&value);
    const struct syn_err *err = rig_failure(rig);
    assert_non_null(strstr(err->msg, "stream 0, offset 10"));
    assert_null(strstr(err->msg, "secret"));
    rig_free(rig);
}

/* Answers that are none: each is a failure that says so, none is taken for the answer of the next
 * operation. */
static void run_raw(const char *raw, enum syn_code code, const char *text)
{
    struct rig *rig = rig_new(&(struct rig_options){0});
    rig_live(rig, 0, 1000);
    rig_script(rig, 0, (struct peer_script){.fail_at = 1, .raw_answer = raw});
    rig_command(rig, 0, "SET a 1");
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, code);
    if (strstr(err->msg, text) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", text, err->msg);
    }
    rig_free(rig);
}

static void test_raw(void **state)
{
    (void)state;
    run_raw("+OK\r\n+OK\r\n", SYN_CODE_DESTINATION_PROTOCOL, "what was not asked: OK");
    run_raw("HTTP/1.1 400 Bad Request\r\n", SYN_CODE_DESTINATION_PROTOCOL, "dest0:6379");
}

/* Inside a transaction every answer has its kind; anything else is a failure. */
static void test_queued_kinds(void **state)
{
    (void)state;
    for (uint64_t at = 1; at <= 4; at++) {
        struct rig *rig = rig_new(&(struct rig_options){0});
        rig_live(rig, 0, 1000);
        rig_script(
            rig,
            0,
            (struct peer_script){.fail_at = at, .raw_answer = at == 4 ? "*-1\r\n" : ":1\r\n"});
        rig_command(rig, 0, "MULTI");
        rig_command(rig, 0, "SET a 1");
        rig_command(rig, 0, "SET b 1");
        rig_command(rig, 0, "EXEC");
        const struct syn_err *err = rig_failure(rig);
        assert_int_equal(err->code, SYN_CODE_DESTINATION_REPLY);
        assert_non_null(strstr(err->msg, "wrong kind"));
        rig_free(rig);
    }
}

static void test_select_refused(void **state)
{
    (void)state;
    struct rig *rig = rig_new(&(struct rig_options){0});
    rig_live(rig, 0, 1000);
    rig_script(
        rig,
        0,
        (struct peer_script){.fail_name = "SELECT", .fail_text = "ERR DB index is out of range"});
    rig_command(rig, 0, "SELECT 40");
    rig_command(rig, 0, "SET a 1");
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, SYN_CODE_DESTINATION_REPLY);
    assert_non_null(strstr(err->msg, "SELECT 40"));
    assert_non_null(strstr(err->msg, "databases"));
    rig_free(rig);
}

/* A closed connection is a failure of its own kind, on either backend, also when idle. */
static void test_closed(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct rig *rig =
            rig_new(&(struct rig_options){.backend = i == 0 ? IO_BACKEND_EPOLL : IO_BACKEND_AUTO});
        rig_live(rig, 0, 1000);
        shutdown(rig->peers[0].fd, SHUT_RDWR);
        const struct syn_err *err = rig_failure(rig);
        assert_int_equal(err->code, SYN_CODE_DESTINATION_CONNECT);
        assert_non_null(strstr(err->msg, "dest0:6379"));
        rig_free(rig);
    }
}

/* Small socket buffers make every send short and every reply come in pieces; answers of all kinds
 * keep their operations, on both backends. */
static void test_small_sockets(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct rig *rig =
            rig_new(&(struct rig_options){.socket_bytes = 2048,
                                          .batch_bytes = 8192,
                                          .backend = i == 0 ? IO_BACKEND_EPOLL : IO_BACKEND_AUTO});
        rig_live(rig, 0, 0);
        struct bytes stream = {0};
        for (int n = 0; n < 5000; n++) {
            char words[100];
            snprintf(words, sizeof(words), "SET key%d %0*d", n, 1 + n % 60, n);
            resp_add(&stream, n % 100 == 50 ? "MULTI" : n % 100 == 70 ? "EXEC" : words);
        }
        rig_feed(rig, 0, stream.bytes, stream.size, 0);
        bytes_free(&stream);
        rig_settle(rig);
        assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), 4900);
        rig_free(rig);
    }
}

static uint32_t open_count(void)
{
    uint32_t count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

/* Out of memory while a lane is made leaves neither memory nor descriptors behind. */
static void test_memory(void **state)
{
    (void)state;
    struct waker waker;
    struct syn_err err;
    assert_true(waker_init(&waker, &err));
    struct waker *wakers[2] = {&waker, &waker};
    uint64_t live = mem_live_bytes(MEM_APPLY) + mem_live_bytes(MEM_BASE);
    uint32_t open = open_count();
    struct lane *lane = mem_alloc_aligned(MEM_TOOLS, CACHE_LINE, sizeof(*lane));
    bool is_done = false;
    for (uint64_t n = 1; !is_done; n++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        struct control control = {.context = redisConnectFd(pair[0])};
        mem_fail_at(n);
        is_done = lane_init(lane, 0, 0, &control, wakers, 2, 8, &err);
        mem_fail_at(0);
        assert_true(is_done || err.code == SYN_CODE_MEMORY);
        control_close(&control);
        lane_deinit(lane);
        close(pair[1]);
        assert_int_equal(mem_live_bytes(MEM_APPLY) + mem_live_bytes(MEM_BASE), live);
        assert_int_equal(open_count(), open);
    }
    mem_free(MEM_TOOLS, lane);
    waker_deinit(&waker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_error_of_large),
        cmocka_unit_test(test_raw),
        cmocka_unit_test(test_queued_kinds),
        cmocka_unit_test(test_select_refused),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_small_sockets),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
