#include "tests/engine/verify_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

const char *const rig_sparse[] = {"--hash-max-ziplist-entries",
                                  "0",
                                  "--zset-max-ziplist-entries",
                                  "0",
                                  "--set-max-intset-entries",
                                  "0",
                                  "--list-max-ziplist-size",
                                  "1",
                                  "--stream-node-max-entries",
                                  "2",
                                  "--rdbcompression",
                                  "no",
                                  NULL};

struct config rig_config;
struct rig_seen rig_seen;
struct syn_verify_result rig_result;

/* ---- servers ---- */

bool rig_open(struct rig *rig,
              const char *source,
              const char *const *source_arguments,
              const char *destination,
              const char *const *destination_arguments)
{
    if (!test_server_available(source) || !test_server_available(destination)) {
        return false;
    }
    test_server_start(&rig->servers[0], source, source_arguments);
    test_server_start(&rig->servers[1], destination, destination_arguments);
    for (int side = 0; side < 2; side++) {
        rig->clients[side] = test_connect(rig->servers[side].port);
    }
    rig_config_reset(rig->servers[0].port, rig->servers[1].port);
    return true;
}

void rig_close(struct rig *rig)
{
    for (int side = 0; side < 2; side++) {
        redisFree(rig->clients[side]);
        test_server_kill(&rig->servers[side]);
    }
}

void rig_both(struct rig *rig, const char *format, ...)
{
    for (int side = 0; side < 2; side++) {
        va_list arguments;
        va_start(arguments, format);
        redisReply *reply = redisvCommand(rig->clients[side], format, arguments);
        va_end(arguments);
        assert_non_null(reply);
        if (reply->type == REDIS_REPLY_ERROR) {
            fail_msg("%s: %s", format, reply->str);
        }
        freeReplyObject(reply);
    }
}

void rig_copy(struct test_server *from, struct test_server *to)
{
    test_server_replicate(to, from);
    redisContext *source = test_connect(from->port);
    redisContext *client = test_connect(to->port);
    int64_t count = test_command_integer(source, "DBSIZE");
    uint64_t deadline = test_deadline(10000);
    while (test_command_integer(client, "DBSIZE") != count) {
        test_poll(deadline, "the copy");
    }
    test_command_ok(client, "REPLICAOF NO ONE");
    redisFree(client);
    redisFree(source);
}

void rig_load(redisContext *client, uint32_t elements)
{
    test_command_ok(
        client, "SET string %s", "a text that is long enough to be a raw string, isn't it");
    test_command_ok(client, "SET number 12345");
    for (uint32_t i = 0; i < elements; i++) {
        redisAppendCommand(client, "RPUSH list element-%u", i * 7 % 1000);
        redisAppendCommand(client, "SADD set member-%u", i);
        redisAppendCommand(client, "SADD numbers %u", i * 3);
        redisAppendCommand(client, "HSET hash field-%u value-%u", i, i * 5);
        redisAppendCommand(client, "ZADD zset %u.25 member-%u", i % 50, i);
        redisAppendCommand(client, "XADD stream %u-1 f %u g x", i + 1, i);
    }
    for (uint32_t i = 0; i < elements * 6; i++) {
        redisReply *reply = NULL;
        assert_int_equal(redisGetReply(client, (void **)&reply), REDIS_OK);
        assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
        freeReplyObject(reply);
    }
    test_command_ok(client, "ZADD zset inf top -inf bottom -0.0 zero 0.30000000000000004 digits");
    test_command_ok(client, "XGROUP CREATE stream readers 0");
    test_command_ok(client, "XREADGROUP GROUP readers ann COUNT 3 STREAMS stream >");
    test_command_ok(client, "XDEL stream 2-1");
}

/* ---- runs ---- */

void rig_config_reset(uint16_t from, uint16_t to)
{
    memset(&rig_config, 0, sizeof(rig_config));
    rig_config.source.host_count = 1;
    rig_config.source.hosts[0] = (struct endpoint){.host = "127.0.0.1", .port = from};
    rig_config.destination.host_count = 1;
    rig_config.destination.hosts[0] = (struct endpoint){.host = "127.0.0.1", .port = to};
    rig_config.connect_timeout_ms = 5000;
    rig_config.verify_rounds = 2;
    rig_config.verify_interval_ms = 20;
    rig_config.ttl_tolerance_ms = 500;
}

static void on_difference(void *arg, const struct syn_difference *difference)
{
    struct rig_seen *to = arg;
    if (to->count < RIG_SEEN_MAX) {
        to->list[to->count] = *difference;
        snprintf(to->keys[to->count],
                 sizeof(to->keys[0]),
                 "%.*s",
                 (int)difference->key_size,
                 (const char *)difference->key);
    }
    to->count++;
}

static bool on_progress(void *arg, const struct syn_verify_result *so_far)
{
    struct rig_seen *to = arg;
    (void)so_far;
    to->progress_count++;
    return to->stop_after == 0 || to->progress_count < to->stop_after;
}

bool rig_run(struct syn_err *err)
{
    uint32_t stop_after = rig_seen.stop_after;
    memset(&rig_seen, 0, sizeof(rig_seen));
    rig_seen.stop_after = stop_after;
    return verify_run(&rig_config, on_difference, on_progress, &rig_seen, &rig_result, err);
}

void rig_run_ok(void)
{
    struct syn_err err;
    if (!rig_run(&err)) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(rig_result.differences, rig_seen.count);
}

void rig_print_seen(void)
{
    for (uint32_t i = 0; i < rig_seen.count && i < RIG_SEEN_MAX; i++) {
        print_message("  db %u %s: %s: %s\n",
                      rig_seen.list[i].db,
                      rig_seen.keys[i],
                      syn_difference_name(rig_seen.list[i].kind),
                      rig_seen.list[i].detail);
    }
}

void rig_expect_none(void)
{
    rig_print_seen();
    assert_int_equal(rig_seen.count, 0);
}

void rig_expect_seen(const char *key, enum syn_difference_kind kind, const char *words)
{
    for (uint32_t i = 0; i < rig_seen.count && i < RIG_SEEN_MAX; i++) {
        if (strcmp(rig_seen.keys[i], key) == 0) {
            if (rig_seen.list[i].kind != kind || strstr(rig_seen.list[i].detail, words) == NULL) {
                rig_print_seen();
                fail_msg("%s: not %s \"%s\"", key, syn_difference_name(kind), words);
            }
            return;
        }
    }
    rig_print_seen();
    fail_msg("%s: not reported", key);
}
