/*
 * What a destination takes, asked of real servers of every version and of some that are played: a
 * wrong answer sends bytes that a server refuses or, worse, misreads; a wrong "no" rewrites what
 * could have passed, and may lose what commands cannot express.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "apply/intake_private.h"
#include "apply/topology_private.h"
#include "tests/support/client.h"
#include "tests/support/fake_peer.h"
#include "tests/support/proxy.h"
#include "tests/support/servers.h"

#define TIMEOUT_MS 5000

/* ---- by version ---- */

static void test_footers_by_version(void **state)
{
    (void)state;
    static const struct {
        uint32_t version;
        bool is_valkey;
        uint8_t type;
        bool is_valkey_rdb;
        uint16_t footer; /* 0: must not be sent */
    } cases[] = {
        {30200, false, 0, false, 7},   {30213, false, 0, false, 6},   {30213, false, 14, false, 7},
        {30213, false, 5, false, 0},   {40014, false, 5, false, 8},   {40014, false, 15, false, 0},
        {60016, false, 15, false, 9},  {60016, false, 16, false, 0},  {70015, false, 0, false, 6},
        {70015, false, 19, false, 10}, {70015, false, 20, false, 0},  {70206, false, 21, false, 11},
        {70206, false, 24, false, 0},  {70401, false, 25, false, 12}, {70401, false, 22, false, 12},
        {80006, false, 24, false, 12}, {80006, false, 22, true, 0},   {90102, true, 22, true, 80},
        {90102, true, 22, false, 0},   {90102, true, 24, false, 0},   {80001, true, 22, true, 0},
        {80101, true, 21, false, 11},  {70207, true, 20, false, 11},  {70401, false, 6, false, 0},
        {70401, false, 8, false, 0},   {30007, false, 4, false, 6},   {30007, false, 14, false, 0},
        {90102, true, 18, true, 10},   {20824, false, 8, false, 0},   {30200, false, 6, false, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct server server = {.version = cases[i].version, .is_valkey = cases[i].is_valkey};
        struct intake intake;
        intake_of_version(&intake, &server);
        uint16_t footer = intake.restore_version[cases[i].is_valkey_rdb][cases[i].type];
        if (footer != cases[i].footer) {
            fail_msg("case %zu: %u", i, footer);
        }
    }
}

static void test_options_by_version(void **state)
{
    (void)state;
    struct intake intake;
    intake_of_version(&intake, &(struct server){.version = 20824});
    assert_true(intake.has_restore);
    assert_false(intake.has_replace || intake.has_absttl || intake.has_idle || intake.has_freq);
    intake_of_version(&intake, &(struct server){.version = 40014});
    assert_true(intake.has_replace);
    assert_false(intake.has_absttl || intake.has_idle || intake.has_functions);
    intake_of_version(&intake, &(struct server){.version = 50014});
    assert_true(intake.has_absttl && intake.has_idle && intake.has_freq);
    assert_false(intake.has_functions || intake.rewrite.has_set_expiry);
    intake_of_version(&intake, &(struct server){.version = 80101, .is_valkey = true});
    assert_true(intake.has_functions && intake.rewrite.has_set_expiry);
    assert_false(intake.rewrite.has_field_expiry);
}

/* Whose word is taken: only what originals always tell makes a server one. */
static void test_standard_servers(void **state)
{
    (void)state;
#define ORIGINAL                                                                                   \
    "os:Linux 6.1 x86_64\r\ngcc_version:12.2.0\r\nprocess_id:1\r\n"                                \
    "run_id:0123456789abcdef0123456789abcdef01234567\r\n"
    static const struct {
        bool is_standard;
        const char *info;
    } cases[] = {
        {true, "redis_version:7.0.15\r\nredis_mode:standalone\r\n" ORIGINAL},
        {true, "redis_version:2.8.24\r\nredis_mode:cluster\r\n" ORIGINAL},
        {true,
         "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n"
         "server_mode:standalone\r\n" ORIGINAL},
        {true, "redis_version:7.0.15\r\nx:a_version:b\r\nredis_mode:standalone\r\n" ORIGINAL},
        {false, "redis_mode:standalone\r\n" ORIGINAL},
        {false, "redis_version:9.0.0\r\nredis_mode:standalone\r\n" ORIGINAL},
        {false, "redis_version:2.4.18\r\nredis_mode:standalone\r\n" ORIGINAL},
        {false, "redis_version:7.4.0\r\ndragonfly_version:1\r\nredis_mode:standalone\r\n" ORIGINAL},
        {false, "kvrocks_version:2\r\nredis_version:7.0.0\r\nredis_mode:cluster\r\n" ORIGINAL},
        {false, "redis_version:7.0.15\r\nredis_mode:proxy\r\n" ORIGINAL},
        {false, "redis_version:7.0.15\r\n"},
        {false,
         "redis_version:7.1.0\r\nredis_mode:cluster\r\nos:Amazon ElastiCache\r\n"
         "gcc_version:0.0.0\r\nprocess_id:1\r\n"
         "run_id:0123456789abcdef0123456789abcdef01234567\r\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct server server = {0};
        server_parse(cases[i].info, &server);
        if (server.is_standard != cases[i].is_standard) {
            fail_msg("case %zu", i);
        }
        assert_false(server.is_count_known);
    }
    struct server server = {0};
    server_parse("redis_version:7.0.15\r\n# Keyspace\r\n", &server);
    assert_true(server.is_count_known);
}

/* ---- real servers ---- */

static void server_shard(uint16_t port, struct topology *topology)
{
    struct endpoint host = {.host = "127.0.0.1", .port = port};
    struct syn_err err;
    if (!topology_discover(topology, SIDE_DESTINATION, &host, 1, false, TIMEOUT_MS, &err)) {
        fail_msg("%s", err.msg);
    }
}

static void assert_same(const struct intake *a, const struct intake *b)
{
    assert_int_equal(a->has_restore, b->has_restore);
    assert_int_equal(a->has_replace, b->has_replace);
    assert_int_equal(a->has_absttl, b->has_absttl);
    assert_int_equal(a->has_idle, b->has_idle);
    assert_int_equal(a->has_freq, b->has_freq);
    assert_int_equal(a->has_functions, b->has_functions);
    for (uint32_t i = 0; i < 2 * RDB_TYPE_COUNT; i++) {
        if (a->restore_version[i % 2][i / 2] != b->restore_version[i % 2][i / 2]) {
            fail_msg("type %u (magic %u): %u, %u",
                     i / 2,
                     i % 2,
                     a->restore_version[i % 2][i / 2],
                     b->restore_version[i % 2][i / 2]);
        }
    }
    assert_memory_equal(&a->rewrite, &b->rewrite, sizeof(a->rewrite));
}

static void assert_empty(redisContext *context)
{
    assert_int_equal(test_command_integer(context, "DBSIZE"), 0);
}

/* Asked for everything, each version says just what the table says of it; so the questions are
 * right, and so is the table. And nothing is left. */
static void test_every_version(void **state)
{
    (void)state;
    for (uint32_t i = 0; test_versions[i] != NULL; i++) {
        if (!test_server_available(test_versions[i])) {
            continue;
        }
        struct test_server server;
        struct topology topology;
        struct intake by_version, asked, trusted;
        struct syn_err err;
        test_server_start(&server, test_versions[i], NULL);
        redisContext *context = test_connect(server.port);
        server_shard(server.port, &topology);
        assert_true(topology.shards[0].server.is_standard);
        intake_of_version(&by_version, &topology.shards[0].server);
        assert_true(intake_ask_all(&asked, &topology.shards[0], TIMEOUT_MS, &err));
        assert_true(asked.is_asked);
        assert_same(&asked, &by_version);
        assert_true(intake_ask(&trusted, &topology, TIMEOUT_MS, &err));
        assert_false(trusted.is_asked);
        assert_same(&trusted, &by_version);
        assert_int_equal(trusted.listpack_form, by_version.listpack_form);
        assert_int_equal(asked.listpack_form, LISTPACK_UNKNOWN);
        assert_empty(context);
        topology_deinit(&topology);
        redisFree(context);
        test_server_stop(&server);
    }
}

/* What is taken at its word is one question, and on 6.0 and later that changes nothing at all. */
static void test_trusted_is_one_question(void **state)
{
    (void)state;
    struct test_server server;
    struct topology topology;
    struct intake intake;
    struct syn_err err;
    char before[64], after[64];
    test_server_start(&server, TEST_REQUIRED_VERSION, NULL);
    redisContext *context = test_connect(server.port);
    test_command_ok(context, "SET kept v");
    server_shard(server.port, &topology);
    test_info(context, "rdb_changes_since_last_save", before, sizeof(before));
    test_command_ok(context, "CONFIG RESETSTAT");
    assert_true(intake_ask(&intake, &topology, TIMEOUT_MS, &err));
    test_info(context, "rdb_changes_since_last_save", after, sizeof(after));
    assert_string_equal(before, after);
    char calls[64];
    redisReply *reply = test_command(context, "INFO commandstats");
    info_field(reply->str, "cmdstat_restore", calls, sizeof(calls));
    freeReplyObject(reply);
    assert_int_equal(strncmp(calls, "calls=1,", 8), 0);
    assert_int_equal(test_command_integer(context, "DBSIZE"), 1);
    topology_deinit(&topology);
    redisFree(context);
    test_server_stop(&server);
}

/* Asks the server for all; with what the INFO of `port` told changed as wanted. */
static void ask_changed(uint16_t port, bool is_standard, uint32_t version, struct intake *intake)
{
    struct topology topology;
    struct syn_err err;
    server_shard(port, &topology);
    topology.shards[0].server.is_standard = is_standard;
    topology.shards[0].server.version = version;
    if (!intake_ask(intake, &topology, TIMEOUT_MS, &err)) {
        fail_msg("%s", err.msg);
    }
    topology_deinit(&topology);
}

/* A server that is not what it says is found out by the one question, in both directions of need:
 * what it really takes counts. */
static void test_a_false_version(void **state)
{
    (void)state;
    struct test_server server;
    struct intake intake, expected;
    test_server_start(&server, TEST_REQUIRED_VERSION, NULL);
    redisContext *context = test_connect(server.port);
    intake_of_version(&expected, &(struct server){.version = 70015});
    ask_changed(server.port, true, 70401, &intake);
    assert_true(intake.is_asked);
    assert_same(&intake, &expected);
    ask_changed(server.port, false, 0, &intake);
    assert_true(intake.is_asked);
    assert_same(&intake, &expected);
    assert_empty(context);
    redisFree(context);
    test_server_stop(&server);
}

static void expect_no_restore(const struct intake *intake, const char *words)
{
    char text[INTAKE_TEXT_MAX];
    assert_false(intake->has_restore);
    assert_false(intake->has_replace || intake->has_absttl || intake->has_idle);
    for (uint32_t i = 0; i < 2 * RDB_TYPE_COUNT; i++) {
        assert_int_equal(intake->restore_version[i % 2][i / 2], 0);
    }
    intake_text(intake, text);
    if (strstr(text, words) == NULL || strstr(text, "every value") == NULL ||
        strstr(text, "syncline:intake") != NULL) {
        fail_msg("%s", text);
    }
}

/* RESTORE that was renamed is not there, whatever the version says; the rest is. */
static void test_renamed(void **state)
{
    (void)state;
    static const char *const arguments[] = {"--rename-command", "RESTORE", "RESTORE-1x7", NULL};
    struct test_server server;
    struct intake intake;
    test_server_start(&server, TEST_REQUIRED_VERSION, arguments);
    ask_changed(server.port, true, 70015, &intake);
    expect_no_restore(&intake, "unknown command");
    assert_false(intake.is_asked);
    assert_true(intake.rewrite.has_set_expiry && intake.has_functions);
    ask_changed(server.port, false, 0, &intake);
    expect_no_restore(&intake, "unknown command");
    assert_true(intake.rewrite.has_set_expiry && intake.has_functions);
    assert_true(intake.rewrite.has_stream_counters && intake.rewrite.has_multi_hset);
    assert_false(intake.rewrite.has_field_expiry);
    test_server_stop(&server);
}

static void ask_as(uint16_t port, const char *user, bool is_standard, struct intake *intake)
{
    struct topology topology;
    struct syn_err err;
    server_shard(port, &topology);
    struct server *server = &topology.shards[0].server;
    server->is_standard = is_standard;
    snprintf(server->endpoint.user, sizeof(server->endpoint.user), "%s", user);
    snprintf(server->endpoint.password, sizeof(server->endpoint.password), "pw");
    if (!intake_ask(intake, &topology, TIMEOUT_MS, &err)) {
        fail_msg("%s", err.msg);
    }
    topology_deinit(&topology);
}

/* An account without RESTORE gets everything as commands; one that may use only some keys says
 * nothing about RESTORE, and the version decides. */
static void accounts(const char *version)
{
    struct test_server server;
    struct topology topology;
    struct intake intake, expected;
    if (!test_server_available(version)) {
        return;
    }
    test_server_start(&server, version, NULL);
    redisContext *context = test_connect(server.port);
    test_command_ok(context, "ACL SETUSER norestore on >pw ~* +@all -restore");
    test_command_ok(context, "ACL SETUSER prefix on >pw ~app:* +@all");
    server_shard(server.port, &topology);
    intake_of_version(&expected, &topology.shards[0].server);
    topology_deinit(&topology);
    for (int is_standard = 0; is_standard < 2; is_standard++) {
        ask_as(server.port, "norestore", is_standard != 0, &intake);
        expect_no_restore(&intake, "NOPERM");
        assert_memory_equal(&intake.rewrite, &expected.rewrite, sizeof(intake.rewrite));
        ask_as(server.port, "prefix", is_standard != 0, &intake);
        assert_same(&intake, &expected);
    }
    assert_empty(context);
    redisFree(context);
    test_server_stop(&server);
}

static void test_accounts(void **state)
{
    (void)state;
    accounts(TEST_REQUIRED_VERSION);
    accounts("redis-6.0");
    accounts("valkey-9");
}

/* A full server refuses RESTORE for want of memory: that says nothing about what it takes. Of an
 * unknown version, it cannot be asked. */
static void test_a_full_server(void **state)
{
    (void)state;
    struct test_server server;
    struct topology topology;
    struct intake intake, expected;
    struct syn_err err;
    test_server_start(&server, TEST_REQUIRED_VERSION, NULL);
    redisContext *context = test_connect(server.port);
    test_command_ok(context, "CONFIG SET maxmemory 1");
    intake_of_version(&expected, &(struct server){.version = 70015});
    ask_changed(server.port, true, 70015, &intake);
    assert_same(&intake, &expected);
    ask_changed(server.port, false, 70015, &intake);
    assert_same(&intake, &expected);
    server_shard(server.port, &topology);
    topology.shards[0].server.is_standard = false;
    topology.shards[0].server.version = 0;
    assert_false(intake_ask(&intake, &topology, TIMEOUT_MS, &err));
    assert_non_null(strstr(err.msg, "cannot be asked"));
    assert_non_null(strstr(err.msg, "OOM"));
    topology_deinit(&topology);
    redisFree(context);
    test_server_stop(&server);
}

/* Every shard is asked with a key of its own slots; together they take what each of them does. */
static void test_cluster(void **state)
{
    (void)state;
    struct test_cluster cluster;
    struct topology topology;
    struct intake intake, expected;
    struct syn_err err;
    test_cluster_start(&cluster, TEST_REQUIRED_VERSION, 3, 0, NULL);
    server_shard(cluster.nodes[0].port, &topology);
    intake_of_version(&expected, &(struct server){.version = 70015});
    assert_true(intake_ask(&intake, &topology, TIMEOUT_MS, &err));
    assert_same(&intake, &expected);
    assert_int_equal(intake.listpack_form, LISTPACK_LONG);
    topology.shards[1].server.is_standard = false;
    assert_true(intake_ask(&intake, &topology, TIMEOUT_MS, &err));
    assert_true(intake.is_asked);
    assert_int_equal(intake.listpack_form, LISTPACK_UNKNOWN);
    assert_same(&intake, &expected);
    redisContext *second = test_connect(topology.shards[1].server.endpoint.port);
    test_command_ok(second, "ACL SETUSER default -restore");
    assert_true(intake_ask(&intake, &topology, TIMEOUT_MS, &err));
    expect_no_restore(&intake, "NOPERM");
    redisFree(second);
    for (uint32_t i = 0; i < 3; i++) {
        redisContext *context = test_connect(cluster.nodes[i].port);
        assert_empty(context);
        redisFree(context);
    }
    topology_deinit(&topology);
    test_cluster_stop(&cluster);
}

/* ---- played servers: what cannot be had ---- */

struct play {
    uint16_t footer_least; /* accepted footers */
    uint16_t footer_most;
    unsigned form; /* 0: three arguments (2.8), 1: REPLACE (4.0), 2: ABSTTL (5.0)   */
    uint8_t type_most;
    const char *known;   /* other commands, one per line, as prefixes of the whole command */
    const char *unknown; /* the answer to others; NULL: the connection is closed           */
    bool is_silent;      /* to RESTORE */
    bool is_standard;    /* as the INFO of what is behind it says */
    uint32_t restores;   /* W: script                                                      */
    uint32_t forgotten;  /* W: script: DELs behind them                                    */
};

static bool peer_has_next(struct fake_peer *peer)
{
    char byte;
    if (peer->in_size > 0) {
        return true;
    }
    struct pollfd wait = {.fd = peer->fd, .events = POLLIN};
    if (poll(&wait, 1, FAKE_PEER_TIMEOUT_MS) <= 0) {
        return false;
    }
    return recv(peer->fd, &byte, 1, MSG_PEEK) == 1;
}

/* "RESTORE key 1 payload options…"; the payload is a sample with its footer. */
static const char *play_restore(struct play *play, const char *text)
{
    play->restores++;
    const char *payload = text;
    for (int i = 0; i < 3; i++) {
        payload = strchr(payload, ' ') + 1;
    }
    uint8_t type = (uint8_t)payload[0];
    size_t size = intake_sample(type, false).size;
    if (memcmp(payload, intake_sample(type, false).bytes, size) != 0) {
        size = intake_sample(type, true).size;
    }
    uint16_t footer = (uint16_t)((uint8_t)payload[size] | (uint8_t)payload[size + 1] << 8);
    const char *options = payload + size + RDB_FOOTER_SIZE;
    if (play->form == 0 && options[0] != '\0') {
        return "-ERR wrong number of arguments for 'restore' command\r\n";
    }
    if (play->form == 1 && options[0] != '\0' && strcmp(options, " REPLACE") != 0) {
        return "-ERR syntax error\r\n";
    }
    if (footer < play->footer_least || footer > play->footer_most) {
        return "-ERR DUMP payload version or checksum are wrong\r\n";
    }
    return type > play->type_most ? "-ERR Bad data format\r\n" : "+OK\r\n";
}

static bool play_knows(const struct play *play, const char *text)
{
    const char *line = play->known;
    while (*line != '\0') {
        size_t size = strcspn(line, "\n");
        if (strncmp(text, line, size) == 0) {
            return true;
        }
        line += size + (line[size] == '\n');
    }
    return false;
}

static void play_script(struct fake_peer *peer, void *arg)
{
    struct play *play = arg;
    fake_peer_accept(peer);
    for (;;) {
        if (peer->fd < 0 || !peer_has_next(peer)) {
            fake_peer_accept(peer);
            continue;
        }
        char text[FAKE_PEER_COMMAND_MAX] = {0};
        fake_peer_read_command(peer, text);
        if (play->is_silent && strncmp(text, "RESTORE ", 8) == 0) {
            continue;
        }
        if (strcmp(text, "PING") == 0) {
            fake_peer_send_text(peer, "+PONG\r\n");
        } else if (strncmp(text, "RESTORE ", 8) == 0 && play->footer_most > 0) {
            fake_peer_send_text(peer, play_restore(play, text));
        } else if (strncmp(text, "DEL ", 4) == 0) {
            play->forgotten++;
            fake_peer_send_text(peer, ":0\r\n");
        } else if (play_knows(play, text)) {
            fake_peer_send_text(peer, ":1\r\n");
        } else if (play->unknown != NULL) {
            fake_peer_send_text(peer, play->unknown);
        } else {
            fake_peer_close(peer);
        }
    }
}

static bool ask_played(struct play *play, struct intake *intake, struct syn_err *err)
{
    struct fake_peer peer;
    fake_peer_start(&peer, NULL, play_script, play);
    struct shard shard = {.slot_count = SLOT_COUNT,
                          .server = {.endpoint = {.host = "127.0.0.1", .port = peer.port},
                                     .version = play->is_standard ? 70015 : 0,
                                     .is_standard = play->is_standard}};
    bool ok = intake_ask_shard(intake, &shard, play->is_silent ? 300 : TIMEOUT_MS, err);
    const char *failure = fake_peer_stop(&peer);
    if (failure != NULL) {
        fail_msg("%s", failure);
    }
    return ok;
}

/* Old servers: the form of RESTORE and the only footer that each takes, and what it does not know
 * of other commands. */
static void test_old_servers(void **state)
{
    (void)state;
    static const struct {
        uint32_t version;
        struct play play;
    } cases[] = {
        {20824,
         {.footer_least = 6,
          .footer_most = 6,
          .type_most = 13,
          .known = "HSET * a 1\nPEXPIRE",
          .unknown = "-ERR unknown command\r\n"}},
        {30007,
         {.footer_least = 6,
          .footer_most = 6,
          .form = 1,
          .type_most = 13,
          .known = "PEXPIRE",
          .unknown = "-ERR unknown command 'x'\r\n"}},
        {30200,
         {.footer_least = 7,
          .footer_most = 7,
          .form = 1,
          .type_most = 14,
          .known = "PEXPIRE",
          .unknown = "-ERR unknown command 'x'\r\n"}},
        {40014,
         {.footer_least = 0,
          .footer_most = 8,
          .form = 1,
          .type_most = 14,
          .known = "PEXPIRE\nHSET",
          .unknown = "-ERR unknown command `x`, with args beginning with: `k`, \r\n"}},
        {50014,
         {.footer_least = 0,
          .footer_most = 9,
          .form = 2,
          .type_most = 15,
          .known = "PEXPIRE\nHSET\nXGROUP CREATE ",
          .unknown = "-ERR Unknown subcommand or wrong number of arguments for 'x'\r\n"}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct intake intake, expected;
        struct syn_err err;
        struct play play = cases[i].play;
        intake_of_version(&expected, &(struct server){.version = cases[i].version});
        if (!ask_played(&play, &intake, &err)) {
            fail_msg("%u: %s", cases[i].version, err.msg);
        }
        assert_same(&intake, &expected);
        assert_true(play.restores > 20);
        assert_true(play.forgotten >= play.restores);
    }
}

/* A proxy that closes at what it does not know, as twemproxy does, and one with words of its own.
 */
static void test_proxies(void **state)
{
    (void)state;
    struct intake intake;
    struct syn_err err;
    struct play closing = {.footer_most = 10,
                           .form = 2,
                           .type_most = 19,
                           .known = "HSET\nPEXPIRE\nSET",
                           .unknown = NULL};
    assert_true(ask_played(&closing, &intake, &err));
    assert_true(intake.has_restore && intake.has_idle && intake.rewrite.has_set_expiry);
    assert_int_equal(intake.restore_version[0][RDB_TYPE_STREAM_LISTPACKS_2], 10);
    assert_int_equal(intake.restore_version[0][RDB_TYPE_SET_LISTPACK], 0);
    assert_int_equal(intake.restore_version[0][RDB_TYPE_MODULE_2], 8);
    assert_false(intake.rewrite.has_streams || intake.has_functions);
    assert_false(intake.rewrite.has_field_expiry);
    char text[INTAKE_TEXT_MAX];
    intake_text(&intake, text);
    assert_non_null(strstr(text, "up to RDB 10 (each type was tried); rewritten: set (listpack)"));

    struct play none = {.known = "HSET", .unknown = NULL};
    assert_true(ask_played(&none, &intake, &err));
    expect_no_restore(&intake, "closes the connection");
    struct play worded = {.known = "", .unknown = "-ERR RESTORE is not allowed by this proxy\r\n"};
    assert_true(ask_played(&worded, &intake, &err));
    expect_no_restore(&intake, "not allowed by this proxy");
    assert_false(intake.rewrite.has_multi_hset || intake.rewrite.has_set_expiry);
    /* Silence says nothing: that everything must be rewritten least of all. */
    for (int i = 0; i < 2; i++) {
        struct play silent = {
            .footer_most = 10, .known = "", .is_silent = true, .is_standard = i != 0};
        assert_false(ask_played(&silent, &intake, &err));
        assert_int_equal(err.code, SYN_CODE_DESTINATION_CONNECT);
        assert_non_null(strstr(err.msg, "in time"));
    }
    /* INFO of the server behind a proxy passes for an original; what closes at RESTORE is none. */
    struct play front = {.known = "HSET\nPEXPIRE\nSET", .unknown = NULL, .is_standard = true};
    assert_true(ask_played(&front, &intake, &err));
    assert_true(intake.is_asked);
    expect_no_restore(&intake, "closes the connection");
    struct play loading = {.known = "", .unknown = "-LOADING Redis is loading\r\n"};
    assert_false(ask_played(&loading, &intake, &err));
    assert_int_equal(err.code, SYN_CODE_DESTINATION_STATE);
}

/* ---- twemproxy ---- */

/* The proxy between two servers: its RESTORE is theirs, and it closes at streams. */
static void test_twemproxy(void **state)
{
    (void)state;
    if (!test_proxy_available()) {
        skip();
    }
    struct test_server servers[2];
    struct test_proxy proxy;
    struct intake intake;
    struct syn_err err;
    test_server_start(&servers[0], TEST_REQUIRED_VERSION, NULL);
    test_server_start(&servers[1], TEST_REQUIRED_VERSION, NULL);
    test_proxy_start(&proxy, servers, 2);
    struct shard shard = {.slot_count = SLOT_COUNT,
                          .server.endpoint = {.host = "127.0.0.1", .port = proxy.port}};
    if (!intake_ask_shard(&intake, &shard, TIMEOUT_MS, &err)) {
        fail_msg("%s", err.msg);
    }
    assert_true(intake.is_asked);
    assert_true(intake.has_restore && intake.has_absttl && intake.has_idle && intake.has_freq);
    assert_int_equal(intake.restore_version[0][RDB_TYPE_STREAM_LISTPACKS_2], 10);
    assert_int_equal(intake.restore_version[0][RDB_TYPE_SET_LISTPACK], 0);
    assert_true(intake.rewrite.has_set_expiry && intake.rewrite.has_multi_hset);
    assert_false(intake.rewrite.has_streams || intake.has_functions);
    test_proxy_stop(&proxy);
    for (int i = 0; i < 2; i++) {
        redisContext *context = test_connect(servers[i].port);
        assert_empty(context);
        redisFree(context);
        test_server_stop(&servers[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_footers_by_version),
        cmocka_unit_test(test_options_by_version),
        cmocka_unit_test(test_standard_servers),
        cmocka_unit_test(test_every_version),
        cmocka_unit_test(test_trusted_is_one_question),
        cmocka_unit_test(test_a_false_version),
        cmocka_unit_test(test_renamed),
        cmocka_unit_test(test_accounts),
        cmocka_unit_test(test_a_full_server),
        cmocka_unit_test(test_cluster),
        cmocka_unit_test(test_old_servers),
        cmocka_unit_test(test_proxies),
        cmocka_unit_test(test_twemproxy),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
