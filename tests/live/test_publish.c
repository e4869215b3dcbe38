/* Messages between real servers: dropped unless asked for; forwarded, they come once, in order, and
 * not before the keys that were written before them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/slot.h"
#include "tests/live/sides.h"

#define MESSAGES 300

/* A connection of its own that has subscribed. */
static redisContext *subscribe(uint16_t port, const char *command, const char *channel)
{
    redisContext *context = test_connect(port);
    redisSetTimeout(context, (struct timeval){.tv_sec = LIVE_WAIT_MS / 1000});
    redisReply *reply = test_command(context, "%s %s", command, channel);
    assert_int_equal(reply->elements, 3);
    freeReplyObject(reply);
    return context;
}

/* The next message must be this number. */
static void expect_message(redisContext *context, int number)
{
    redisReply *reply = NULL;
    if (redisGetReply(context, (void **)&reply) != REDIS_OK)
        fail_msg("message %d does not come: %s", number, context->errstr);
    assert_int_equal(reply->elements, 3);
    assert_non_null(strstr(reply->element[0]->str, "message"));
    assert_int_equal(strtol(reply->element[2]->str, NULL, 10), number);
    freeReplyObject(reply);
}

static int64_t number_of(redisContext *context, const char *key)
{
    redisReply *reply = test_command(context, "GET %s", key);
    int64_t number = reply->str != NULL ? strtoll(reply->str, NULL, 10) : -1;
    freeReplyObject(reply);
    return number;
}

/* Key and message in turn, alone and in transactions; in other databases too. */
static void publish_all(redisContext *redis)
{
    for (int i = 0; i < MESSAGES; i++) {
        bool is_transaction = i % 3 == 0;
        if (is_transaction)
            test_command_ok(redis, "MULTI");
        test_command_ok(redis, "SET seen %d", i);
        test_command_ok(redis, "PUBLISH news %d", i);
        if (is_transaction)
            test_command_ok(redis, "EXEC");
        if (i % 7 == 0) {
            test_command_ok(redis, "SELECT 3");
            test_command_ok(redis, "SET other %d", i);
            test_command_ok(redis, "SELECT 0");
        }
    }
}

static void test_forward(void **state)
{
    (void)state;
    struct test_cli cli;
    live_spawn(&cli, &source, &destination, "--publish", "forward", "--db", "0", NULL);
    live_wait_phase(&cli, "live");
    redisContext *subscriber = subscribe(live_port(&destination), "SUBSCRIBE", "news");
    publish_all(live_redis(&source));
    for (int i = 0; i < MESSAGES; i++) {
        expect_message(subscriber, i);
        assert_true(number_of(live_redis(&destination), "seen") >= i);
    }
    live_wait_level(&cli, &source);
    redisFree(subscriber);
    assert_int_equal(live_total(&cli, "transactions_split"), 0);
    live_stop(&cli);
}

/* The default: nobody hears anything, and what was left out is counted. */
static void test_drop(void **state)
{
    (void)state;
    struct test_cli cli;
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    redisContext *subscriber = subscribe(live_port(&destination), "SUBSCRIBE", "news");
    publish_all(live_redis(&source));
    live_wait_level(&cli, &source);
    assert_true(live_total(&cli, "dropped") >= MESSAGES);
    test_command_ok(live_redis(&destination), "PUBLISH news 7777");
    expect_message(subscriber, 7777); /* the first one that comes */
    redisFree(subscriber);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
}

/* A cluster tells PUBLISH to all of its nodes, SPUBLISH only at the node of the channel's slot: a
 * wrong node would answer MOVED and end the task. */
static void test_cluster(void **state)
{
    (void)state;
    struct live_side to;
    struct test_cli cli;
    live_side_start(&to, TEST_REQUIRED_VERSION, 3, 0, NULL);
    live_spawn(&cli, &source, &to, "--publish", "forward", NULL);
    live_wait_phase(&cli, "live");
    redisContext *shards[8];
    redisContext *everywhere = subscribe(to.cluster.nodes[1].port, "SUBSCRIBE", "news");
    char channel[8][16];
    for (int i = 0; i < 8; i++) {
        snprintf(channel[i], sizeof(channel[i]), "channel%d", i);
        uint16_t slot = slot_of_key(channel[i], strlen(channel[i]));
        redisContext *owner = test_client_connection(to.client, slot);
        shards[i] = subscribe((uint16_t)owner->tcp.port, "SSUBSCRIBE", channel[i]);
    }
    redisContext *redis = live_redis(&source);
    for (int n = 0; n < 50; n++) {
        test_command_ok(redis, "PUBLISH news %d", n);
        for (int i = 0; i < 8; i++)
            test_command_ok(redis, "SPUBLISH %s %d", channel[i], n);
        test_command_ok(redis, "MULTI");
        test_command_ok(redis, "SET {channel1}key %d", n);
        test_command_ok(redis, "SPUBLISH channel1 %d", n + 1000);
        test_command_ok(redis, "EXEC");
    }
    for (int n = 0; n < 50; n++) {
        expect_message(everywhere, n);
        for (int i = 0; i < 8; i++)
            expect_message(shards[i], n);
        expect_message(shards[1], n + 1000);
    }
    live_wait_level(&cli, &source);
    assert_int_equal(live_total(&cli, "transactions_split"), 0);
    live_stop(&cli);
    redisFree(everywhere);
    for (int i = 0; i < 8; i++)
        redisFree(shards[i]);
    live_assert_equal(&source, &to);
    live_side_stop(&to);
}

/* A destination that has no SPUBLISH cannot have a subscriber for it either. */
static void test_old(void **state)
{
    (void)state;
    struct live_side to;
    struct test_cli cli;
    if (!test_server_available("redis-6.0"))
        return;
    live_side_start(&to, "redis-6.0", 0, 0, NULL);
    live_spawn(&cli, &source, &to, "--publish", "forward", NULL);
    live_wait_phase(&cli, "live");
    redisContext *subscriber = subscribe(live_port(&to), "SUBSCRIBE", "news");
    test_command_ok(live_redis(&source), "SPUBLISH news 1");
    test_command_ok(live_redis(&source), "PUBLISH news 2");
    expect_message(subscriber, 2);
    redisFree(subscriber);
    live_stop(&cli);
    live_side_stop(&to);
}

/* An account that may not PUBLISH is told of before anything is written. */
static void test_account(void **state)
{
    (void)state;
    struct live_side to = destination;
    redisContext *redis = live_redis(&destination);
    test_command_ok(redis, "ACL SETUSER writer on >pw allkeys allchannels +@all -publish");
    snprintf(to.uri, sizeof(to.uri), "redis://writer:pw@127.0.0.1:%u", live_port(&destination));
    char *errors;
    assert_int_equal(live_run(&errors, &source, &to, "--publish", "forward", NULL), 7);
    live_expect_texts(errors, "writer", "NOPERM", "+publish", NULL);
    free(errors);
    assert_int_equal(live_run(NULL, &source, &to, "--once", NULL), 0);
    test_command_ok(redis, "ACL DELUSER writer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_forward, sides_empty),
        cmocka_unit_test_setup(test_drop, sides_empty),
        cmocka_unit_test_setup(test_cluster, sides_empty),
        cmocka_unit_test_setup(test_old, sides_empty),
        cmocka_unit_test_setup(test_account, sides_empty),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, sides_start, sides_stop);
}
