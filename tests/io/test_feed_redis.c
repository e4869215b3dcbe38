/*
 * What a real server could do that the fake one does not: the feed against redis-server, with both
 * forms of the snapshot. A wrong count of the payload or stream shows as an offset different from
 * the server's master_repl_offset, or as a full copy where a partial one was possible.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <hiredis/hiredis.h>
#include <cmocka.h>

#include "tests/io/feed_rig.h"

struct server {
    pid_t pid;
    uint16_t port;
    char directory[64];
    redisContext *context;
};

/* A port that was free a moment ago, below the ephemeral range so that nobody gets it by chance. */
static uint16_t port_free(void)
{
    for (unsigned i = 0; i < 200; i++) {
        uint16_t port = (uint16_t)(12000 + ((unsigned)getpid() * 7 + i * 13) % 18000);
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        int result = bind(fd, (const struct sockaddr *)&address, sizeof(address));
        close(fd);
        if (result == 0) {
            return port;
        }
    }
    fail_msg("no free port");
    return 0;
}

static void server_start(struct server *server, bool is_diskless)
{
    char port[16];
    server->port = port_free();
    snprintf(port, sizeof(port), "%u", (unsigned)server->port);
    snprintf(server->directory, sizeof(server->directory), "/tmp/syncline-io-XXXXXX");
    assert_non_null(mkdtemp(server->directory));
    const char *const argv[] = {"redis-server",
                                "--port",
                                port,
                                "--bind",
                                "127.0.0.1",
                                "--dir",
                                server->directory,
                                "--save",
                                "",
                                "--repl-diskless-sync",
                                is_diskless ? "yes" : "no",
                                "--repl-diskless-sync-delay",
                                "0",
                                "--logfile",
                                "redis.log",
                                NULL};
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed assertion must not leave it behind */
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    uint64_t deadline = clock_monotonic_ms() + 10000;
    for (;;) {
        server->context = redisConnect("127.0.0.1", server->port);
        assert_non_null(server->context);
        if (server->context->err == 0) {
            break;
        }
        redisFree(server->context);
        assert_true(clock_monotonic_ms() < deadline);
        poll(NULL, 0, 10);
    }
}

static void server_stop(struct server *server)
{
    redisFree(server->context);
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    char path[128];
    static const char *const names[] = {"redis.log", "dump.rdb"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", server->directory, names[i]);
        unlink(path);
    }
    rmdir(server->directory);
}

static void server_do(struct server *server, const char *command)
{
    redisReply *reply = redisCommand(server->context, command);
    assert_non_null(reply);
    assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
    freeReplyObject(reply);
}

static long long server_info(struct server *server, const char *section, const char *name)
{
    redisReply *reply = redisCommand(server->context, "INFO %s", section);
    assert_non_null(reply);
    const char *at = strstr(reply->str, name);
    assert_non_null(at);
    long long value = strtoll(at + strlen(name) + 1, NULL, 10);
    freeReplyObject(reply);
    return value;
}

static void server_fill(struct server *server, int first, int count)
{
    for (int i = 0; i < count; i++) {
        assert_int_equal(
            redisAppendCommand(server->context, "SET key:%d %064d", first + i, first + i),
            REDIS_OK);
    }
    for (int i = 0; i < count; i++) {
        void *reply = NULL;
        assert_int_equal(redisGetReply(server->context, &reply), REDIS_OK);
        freeReplyObject(reply);
    }
}

static void until_offset(struct feed_rig *rig, struct server *server)
{
    uint64_t deadline = clock_monotonic_ms() + RIG_TIMEOUT_MS;
    /* PINGs may move the server's offset between the two looks. */
    while (atomic_load_acquire(&rig->feed.offset_received) !=
           (uint64_t)server_info(server, "replication", "master_repl_offset")) {
        if (clock_monotonic_ms() > deadline) {
            fail_msg("offset %llu, the server's is %lld",
                     (unsigned long long)atomic_load_acquire(&rig->feed.offset_received),
                     server_info(server, "replication", "master_repl_offset"));
        }
        rig_take(rig);
        poll(NULL, 0, 1);
    }
    while (rig_take(rig)) {
    }
}

/* The bytes of the payload: by its length, or up to and with the second end mark. */
static size_t payload_size(const struct feed_rig *rig)
{
    const struct chunk_session *session = &rig->events[0].session;
    if (session->payload_bytes >= 0) {
        return (size_t)session->payload_bytes;
    }
    const uint8_t *mark = memmem(rig->bytes, rig->size, session->eof_mark, EOF_MARK_SIZE);
    assert_non_null(mark);
    return (size_t)(mark - rig->bytes) + EOF_MARK_SIZE;
}

static void check_sync(enum io_backend backend, bool is_diskless)
{
    struct server server;
    struct feed_rig rig;
    server_start(&server, is_diskless);
    server_fill(&server, 0, 20000);
    struct feed_options options = rig_options(server.port);
    options.chunk_bytes = 16384;
    options.receive_bytes_min = 1024;
    rig_start(&rig, backend, &options);
    rig_until_state(&rig, FEED_LIVE);
    assert_int_equal(rig.event_count, 1);
    assert_int_equal(rig.events[0].session.payload_bytes < 0, is_diskless);
    server_fill(&server, 20000, 5000);
    until_offset(&rig, &server);
    size_t payload = payload_size(&rig);
    assert_memory_equal(rig.bytes, "REDIS", 5);
    assert_memory_equal(rig.bytes + payload, "*2\r\n$6\r\nSELECT\r\n", 16);
    if (is_diskless) {
        rig_confirm_payload(&rig, 1, (int64_t)payload);
    } else {
        atomic_store_release(&rig.feed.payload_session, 1);
    }
    assert_int_equal(rig.events[0].session.offset + (rig.size - payload),
                     atomic_load_acquire(&rig.feed.offset_received));

    /* What is acknowledged is what was applied, and WAIT is answered with it. */
    rig_apply(&rig, atomic_load_acquire(&rig.feed.offset_received));
    uint64_t deadline = clock_monotonic_ms() + 5000;
    long long offset;
    do {
        redisReply *reply = redisCommand(server.context, "INFO replication");
        assert_non_null(reply);
        const char *at = strstr(reply->str, "state=online,offset=");
        assert_non_null(at);
        offset = strtoll(at + 20, NULL, 10);
        freeReplyObject(reply);
        assert_true(clock_monotonic_ms() < deadline);
    } while ((uint64_t)offset < atomic_load_acquire(&rig.feed.offset_applied));

    for (int i = 1; i <= 3; i++) {
        server_do(&server, "CLIENT KILL TYPE replica");
        server_fill(&server, 30000 + i * 1000, 1000);
        rig_until_events(&rig, 1 + (uint32_t)i);
        until_offset(&rig, &server);
        assert_int_equal(server_info(&server, "stats", "sync_partial_ok"), i);
        assert_int_equal(server_info(&server, "stats", "sync_full"), 1);
        assert_int_equal(rig.events[i].kind, CHUNK_CONTINUE);
        assert_int_equal(rig.events[0].session.offset + (rig.size - payload),
                         atomic_load_acquire(&rig.feed.offset_received));
        assert_int_equal(rig.events[i].session.offset,
                         rig.events[0].session.offset + (rig.events[i].at - payload));
    }
    /* The stream as a whole: every SET once and in order. */
    const uint8_t *next = rig.bytes + payload;
    const uint8_t *end = rig.bytes + rig.size;
    for (int i = 20000; i < 34000; i++) {
        if (i == 25000) {
            i = 31000;
        }
        char key[32];
        int size = snprintf(key, sizeof(key), "\r\nkey:%d\r\n", i);
        next = memmem(next, (size_t)(end - next), key, (size_t)size);
        assert_non_null(next);
        next += size;
    }
    rig_stop(&rig);
    server_stop(&server);
}

static void test_redis_diskless(void **state)
{
    (void)state;
    check_sync(IO_BACKEND_URING, true);
    check_sync(IO_BACKEND_EPOLL, true);
}

static void test_redis_disk(void **state)
{
    (void)state;
    check_sync(IO_BACKEND_URING, false);
    check_sync(IO_BACKEND_EPOLL, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_redis_diskless),
        cmocka_unit_test(test_redis_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
