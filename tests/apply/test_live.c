#include "tests/apply/pipeline_rig.h"

#include <stdio.h>

#define CLUSTER                                                                                    \
    {                                                                                              \
        .is_stepped = true, .is_cluster = true, .lanes = 2, .shards = 2                            \
    }

static struct rig *live_rig(const struct rig_options *options)
{
    struct rig *rig = rig_new(options);
    rig_live(rig, 0, 1000);
    return rig;
}

static struct rig *plain_rig(void)
{
    return live_rig(&(struct rig_options){.is_stepped = true});
}

/* The stream must fail with this code and every one of these texts in the message. */
static void expect_failure(struct rig *rig, enum syn_code code, const char *const *texts)
{
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, code);
    for (; *texts != NULL; texts++) {
        if (strstr(err->msg, *texts) == NULL) {
            fail_msg("\"%s\" is not in \"%s\"", *texts, err->msg);
        }
    }
    assert_null(strstr(err->msg, "secret"));
}
#define FAILS(rig, code, ...) expect_failure(rig, code, (const char *const[]){__VA_ARGS__, NULL})

/* A real server's stream, cut at every byte and in larger pieces over chunks of several sizes,
 * gives exactly the commands that it gives when it comes whole. */
static void run_fixture(const char *path)
{
    struct bytes stream = {0};
    bytes_fixture(&stream, path);
    static const struct {
        size_t piece;
        uint32_t chunk_bytes;
        uint32_t headroom_bytes;
    } cuts[] = {{0, 1 << 19, 1 << 16},
                {1, 4096, 1024},
                {7, 64, 16},
                {0, 33, 0},
                {0, 1000, 1000},
                {4096, 16384, 4096}};
    uint64_t digest = 0;
    uint64_t count = 0;
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        struct rig *rig = live_rig(&(struct rig_options){.is_stepped = true,
                                                         .chunk_bytes = cuts[i].chunk_bytes,
                                                         .headroom_bytes = cuts[i].headroom_bytes,
                                                         .hold_bytes_free = 1 << 20});
        rig_feed(rig, 0, stream.bytes, stream.size, cuts[i].piece);
        rig_settle(rig);
        struct peer *peer = &rig->peers[0];
        if (i == 0) {
            digest = rig_peer_value(rig, 0, &peer->digest);
            count = rig_peer_value(rig, 0, &peer->effect_count);
            assert_true(count > 300);
        }
        assert_int_equal(rig_peer_value(rig, 0, &peer->effect_count), count);
        assert_int_equal(rig_peer_value(rig, 0, &peer->digest), digest);
        assert_int_equal(atomic_load_acquire(&rig->sources[0].feed.offset_applied),
                         1000 + stream.size);
        rig_free(rig);
    }
    bytes_free(&stream);
}

static void test_fixture_old(void **state)
{
    (void)state;
    run_fixture("stream/redis-2.8.24/stream.resp");
}

static void test_fixture_redis(void **state)
{
    (void)state;
    run_fixture("stream/redis-7.4.1/stream.resp");
}

static void test_fixture_valkey(void **state)
{
    (void)state;
    run_fixture("stream/valkey-9.1.2-ver9/stream.resp");
}

/* A chunk that ends at any byte of a few commands: the tail moves into the headroom, or into hold,
 * and no byte is lost or doubled at the seam. */
static void test_every_seam(void **state)
{
    (void)state;
    struct bytes stream = {0};
    resp_add(&stream, "SET first 0123456789012345678901234567890123456789");
    resp_add(&stream, "SELECT 3");
    resp_add(&stream, "MULTI");
    resp_add(&stream, "RPUSH list a bb ccc dddd");
    resp_add(&stream, "SET second x");
    resp_add(&stream, "EXEC");
    resp_add(&stream, "PING");
    resp_add(&stream, "SET third y");
    for (uint32_t headroom = 0; headroom <= 200; headroom += 20) {
        struct rig *rig = live_rig(&(struct rig_options){
            .is_stepped = true, .chunk_bytes = 600, .headroom_bytes = headroom});
        for (size_t at = 1; at < stream.size; at++) {
            rig_command(rig, 0, "SELECT 0");
            rig_seal(rig, 0);
            rig_feed(rig, 0, stream.bytes, at, 0);
            rig_seal(rig, 0);
            rig_feed(rig, 0, stream.bytes + at, stream.size - at, 0);
            rig_settle(rig);
            rig_expect(rig,
                       0,
                       at == 1 ? "0 SET first 0123456789012345678901234567890123456789\n"
                                 "0 SELECT 3\n3 MULTI\n3 RPUSH list a bb ccc dddd\n"
                                 "3 SET second x\n3 EXEC\n3 SET third y\n"
                               : "3 SELECT 0\n"
                                 "0 SET first 0123456789012345678901234567890123456789\n"
                                 "0 SELECT 3\n3 MULTI\n3 RPUSH list a bb ccc dddd\n"
                                 "3 SET second x\n3 EXEC\n3 SET third y\n");
        }
        rig_free(rig);
    }
    bytes_free(&stream);
}

/* Commands of every size around that of a batch, and far beyond, arrive whole. */
static void test_large_commands(void **state)
{
    (void)state;
    struct rig *rig = live_rig(
        &(struct rig_options){.is_stepped = true, .batch_bytes = 1024, .hold_bytes_free = 1 << 20});
    struct bytes value = {0};
    uint64_t digest = 0;
    uint64_t count = 0;
    for (size_t size = 900; size < 120000; size += size < 1100 ? 1 : size / 2) {
        while (value.size < size) {
            bytes_add(&value, "abcdefghijklmnopq", 17);
        }
        struct slice args[3] = {
            {(const uint8_t *)"SET", 3}, {(const uint8_t *)"key", 3}, {value.bytes, size}};
        struct bytes command = {0};
        resp_add_args(&command, 3, args);
        rig_feed(rig, 0, command.bytes, command.size, 0);
        bytes_free(&command);
        uint32_t head[2] = {0, 3};
        digest = crc64_update(digest, head, sizeof(head));
        for (int i = 0; i < 3; i++) {
            uint64_t arg_size = args[i].size;
            digest = crc64_update(digest, &arg_size, sizeof(arg_size));
            digest = crc64_update(digest, args[i].bytes, args[i].size);
        }
        count++;
    }
    rig_settle(rig);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), count);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].digest), digest);
    bytes_free(&value);
    rig_free(rig);
}

/* "= n LIMIT m" of a propagated trim loses its LIMIT, which only replicas accept. A field or value
 * that merely looks like it is data, and must stay. */
static void test_trim(void **state)
{
    (void)state;
    struct rig *rig = plain_rig();
    rig_command(rig, 0, "XADD s MAXLEN = 5 LIMIT 100 1-1 f v");
    rig_command(rig, 0, "XADD s NOMKSTREAM MINID = 1-0 LIMIT 0 1-2 f v");
    rig_command(rig, 0, "xtrim s minid = 1-1 limit 10");
    rig_command(rig, 0, "XADD s MAXLEN = 5 1-3 f v");
    rig_command(rig, 0, "XADD s KEEPREF MAXLEN = 5 LIMIT 7 1-4 f v");
    rig_command(rig, 0, "XADD s 2-1 = x LIMIT y");
    rig_command(rig, 0, "XADD s 2-2 MAXLEN = f LIMIT g h");
    rig_command(rig, 0, "XADD s MAXLEN = 5 2-3 = x LIMIT 3");
    rig_settle(rig);
    rig_expect(rig,
               0,
               "0 XADD s MAXLEN = 5 1-1 f v\n"
               "0 XADD s NOMKSTREAM MINID = 1-0 1-2 f v\n"
               "0 xtrim s minid = 1-1\n"
               "0 XADD s MAXLEN = 5 1-3 f v\n"
               "0 XADD s KEEPREF MAXLEN = 5 1-4 f v\n"
               "0 XADD s 2-1 = x LIMIT y\n"
               "0 XADD s 2-2 MAXLEN = f LIMIT g h\n"
               "0 XADD s MAXLEN = 5 2-3 = x LIMIT 3\n");
    rig_free(rig);
}

static void test_restore_asking(void **state)
{
    (void)state;
    struct rig *rig = plain_rig();
    /* The payload is no payload: the false destination says so, after having recorded it. */
    rig_script(rig, 0, (struct peer_script){.fail_name = "RESTORE", .raw_answer = "+OK\r\n"});
    rig_command(rig, 0, "RESTORE-ASKING k 0 payload REPLACE ABSTTL");
    rig_settle(rig);
    rig_expect(rig, 0, "0 RESTORE k 0 payload REPLACE ABSTTL\n");
    rig_free(rig);
}

/* Multi-key commands over several slots of a cluster: those with a per-key effect are split, in
 * order on each lane; others stop the task with command, slots and offset. */
static void test_multi_key(void **state)
{
    (void)state;
    struct rig *rig = live_rig(&(struct rig_options)CLUSTER);
    rig_command(rig, 0, "MSET bar 1 foo 2 bar 3");
    rig_command(rig, 0, "UNLINK foo bar foo");
    rig_command(rig, 0, "MSET {foo}a 1 {foo}b 2");
    rig_command(rig, 0, "DEL {bar}a {bar}b");
    rig_settle(rig);
    rig_expect(rig, 0, "0 SET bar 1\n0 SET bar 3\n0 UNLINK bar\n0 DEL {bar}a {bar}b\n");
    rig_expect(rig, 1, "0 SET foo 2\n0 UNLINK foo\n0 UNLINK foo\n0 MSET {foo}a 1 {foo}b 2\n");
    rig_free(rig);
}

/* Several lanes to one server: a command over several of them runs alone, between everything
 * before and everything behind it. */
static void test_alone(void **state)
{
    (void)state;
    struct rig *rig = live_rig(&(struct rig_options){.is_stepped = true, .lanes = 2});
    /* slot 5061 is on lane 1, slot 12182 on lane 0 */
    rig_command(rig, 0, "SET bar 1");
    rig_command(rig, 0, "SET foo 1");
    rig_command(rig, 0, "RENAME foo bar");
    rig_step(rig);
    /* Nothing was waited for by the test: the barrier did it. */
    assert_true(router_is_idle(&rig->decoders[0].router));
    rig_command(rig, 0, "SET bar 2");
    rig_settle(rig);
    rig_expect(rig, 0, "0 SET foo 1\n0 RENAME foo bar\n");
    rig_expect(rig, 1, "0 SET bar 1\n0 SET bar 2\n");
    rig_free(rig);
}

/* SORT reads keys by pattern, whose lanes are not known: it runs alone too, and so does its
 * transaction. With the source's own data alone it need not. */
static void test_sort_by_pattern(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        bool is_alone;
    } cases[] = {
        {"SORT foo BY weight_* STORE {foo}s", true},
        {"sort foo limit 0 5 get # get h_*->f store {foo}s", true},
        {"SORT foo BY nosort GET # STORE {foo}s", false},
        {"SORT foo LIMIT BY * STORE {foo}s", false},
        {"SORT foo ALPHA STORE {foo}*", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig *rig = live_rig(&(struct rig_options){.is_stepped = true, .lanes = 2});
        char expected[200];
        /* slot 5061 is on lane 1, slot 12182 on lane 0 */
        rig_command(rig, 0, "SET bar 1");
        rig_command(rig, 0, cases[i].command);
        rig_step(rig);
        /* Nothing was waited for by the test; what need not wait may have been answered too. */
        assert_true(!cases[i].is_alone || router_is_idle(&rig->decoders[0].router));
        rig_command(rig, 0, "MULTI");
        rig_command(rig, 0, "SET foo 2");
        rig_command(rig, 0, cases[i].command);
        rig_command(rig, 0, "EXEC");
        rig_step(rig);
        assert_true(!cases[i].is_alone || router_is_idle(&rig->decoders[0].router));
        rig_settle(rig);
        snprintf(expected,
                 sizeof(expected),
                 "0 %s\n0 MULTI\n0 SET foo 2\n0 %s\n0 EXEC\n",
                 cases[i].command,
                 cases[i].command);
        rig_expect(rig, 0, expected);
        rig_free(rig);
    }
}

/* What has no effect on data is dropped and counted, and the offset moves over it. */
static void test_dropped(void **state)
{
    (void)state;
    struct rig *rig = plain_rig();
    rig_command(rig, 0, "PING");
    rig_command(rig, 0, "PUBLISH a b");
    rig_command(rig, 0, "SPUBLISH a b");
    rig_command(rig, 0, "TOUCH a");
    rig_command(rig, 0, "CLUSTER SETSLOT 5 STABLE");
    rig_command(rig, 0, "REPLCONF GETACK *");
    rig_settle(rig);
    assert_int_equal(rig->sources[0].stream.dropped, 6);
    rig_expect(rig, 0, "");
    rig_free(rig);
}

/* What nobody knows is of no interest in a database that is not copied, and ends the task in one
 * that is, when nobody can be asked. */
static void test_unknown(void **state)
{
    (void)state;
    static const uint16_t db_map[] = {0, UINT16_MAX};
    struct rig *rig =
        live_rig(&(struct rig_options){.is_stepped = true, .db_map = db_map, .db_map_count = 2});
    rig_command(rig, 0, "SELECT 1");
    rig_command(rig, 0, "nonsense a b");
    rig_settle(rig);
    assert_int_equal(rig->sources[0].stream.dropped, 1);
    rig_command(rig, 0, "SELECT 0");
    rig_command(rig, 0, "nonsense secret b");
    FAILS(rig, SYN_CODE_UNSUPPORTED, "NONSENSE is not a command", "source0:6379", "offset");
    rig_free(rig);
}

/* Messages keep their place among the commands of their lane, whatever database the stream is in;
 * those of one channel keep their order. */
static void test_publish(void **state)
{
    (void)state;
    static const uint16_t db_map[] = {3, UINT16_MAX};
    struct rig *rig = live_rig(&(struct rig_options){
        .is_stepped = true, .publishes = true, .db_map = db_map, .db_map_count = 2});
    rig_command(rig, 0, "SET a 1");
    rig_command(rig, 0, "PUBLISH news one");
    rig_command(rig, 0, "SELECT 1"); /* not copied: a message is of no database */
    rig_command(rig, 0, "SET a 2");
    rig_command(rig, 0, "publish news two");
    rig_command(rig, 0, "SPUBLISH news three");
    rig_settle(rig);
    rig_expect(rig,
               0,
               "0 SELECT 3\n3 SET a 1\n3 PUBLISH news one\n3 SELECT 0\n0 publish news two\n0 "
               "SPUBLISH news three\n");
    assert_int_equal(rig->sources[0].stream.dropped, 1);
    rig_command(rig, 0, "PUBLISH news");
    FAILS(rig, SYN_CODE_SOURCE_DATA, "PUBLISH with 2 arguments", "source0:6379");
    rig_free(rig);

    rig = live_rig(&(struct rig_options){.is_stepped = true,
                                         .publishes = true,
                                         .has_no_spublish = true,
                                         .is_cluster = true,
                                         .lanes = 2,
                                         .shards = 2});
    rig_command(rig, 0, "SELECT 7"); /* a cluster has only 0 */
    rig_command(rig, 0, "PUBLISH foo 1");
    rig_command(rig, 0, "PUBLISH bar 1");
    rig_command(rig, 0, "SPUBLISH foo 1"); /* nobody can have subscribed there */
    rig_settle(rig);
    rig_expect(rig, 0, "0 PUBLISH bar 1\n");
    rig_expect(rig, 1, "0 PUBLISH foo 1\n");
    assert_int_equal(rig->sources[0].stream.dropped, 1);
    rig_free(rig);
}

static void test_flush(void **state)
{
    (void)state;
    struct rig *rig = live_rig(&(struct rig_options)CLUSTER);
    rig_command(rig, 0, "SET foo 1");
    rig_command(rig, 0, "FLUSHALL");
    rig_command(rig, 0, "SET foo 2");
    rig_command(rig, 0, "FLUSHDB ASYNC");
    rig_settle(rig);
    rig_expect(rig, 0, "0 FLUSHALL\n0 FLUSHDB\n");
    rig_expect(rig, 1, "0 SET foo 1\n0 FLUSHALL\n0 SET foo 2\n0 FLUSHDB\n");
    rig_free(rig);
}

/* With rules, FLUSHALL empties the databases where selected ones went and no other. */
static void test_flush_rules(void **state)
{
    (void)state;
    static const uint16_t map[] = {5, UINT16_MAX, 6};
    struct rig *rig =
        live_rig(&(struct rig_options){.is_stepped = true, .db_map = map, .db_map_count = 3});
    rig_command(rig, 0, "SELECT 1");
    rig_command(rig, 0, "FLUSHDB");
    rig_command(rig, 0, "FLUSHALL");
    rig_command(rig, 0, "SELECT 2");
    rig_command(rig, 0, "FLUSHDB");
    rig_settle(rig);
    rig_expect(rig, 0, "0 SELECT 5\n5 FLUSHDB\n5 SELECT 6\n6 FLUSHDB\n6 FLUSHDB\n");
    rig_free(rig);
}

/* An exchange of databases by one of several sources would hit what others own. Flushes are scoped
 * to its keys, for which control is asked (tests/live/test_flush.c), unless they stop. */
static void test_several_sources(void **state)
{
    (void)state;
    static const char *const commands[] = {"FLUSHALL", "FLUSHDB", "SWAPDB 0 1"};
    for (size_t i = 0; i < 3; i++) {
        struct rig *rig = rig_new(&(struct rig_options){.is_stepped = true, .streams = 2});
        rig_live(rig, 0, 1000);
        rig_live(rig, 1, 1000);
        rig->task.on_flush = FLUSH_STOP;
        rig_command(rig, 0, commands[i]);
        FAILS(rig,
              SYN_CODE_UNSUPPORTED,
              i < 2 ? "--on-flush" : "one of several sources",
              "offset 10");
        rig_expect(rig, 0, "");
        rig_free(rig);
    }
}

static void test_databases(void **state)
{
    (void)state;
    struct rig *rig = plain_rig();
    rig_command(rig, 0, "SWAPDB 1 2");
    rig_command(rig, 0, "SWAPDB 3 3");
    rig_command(rig, 0, "MOVE k 4");
    rig_command(rig, 0, "COPY a b");
    rig_command(rig, 0, "COPY a b DB 7 REPLACE");
    rig_command(rig, 0, "SELECT 15");
    rig_command(rig, 0, "SET a 1");
    rig_settle(rig);
    rig_expect(rig,
               0,
               "0 SELECT 1\n1 SWAPDB 1 2\n1 SELECT 0\n0 MOVE k 4\n0 COPY a b REPLACE\n"
               "0 COPY a b REPLACE DB 7\n0 SELECT 15\n15 SET a 1\n");
    rig_free(rig);
}

/* With rules, a command between databases follows both: into what is not selected a MOVE is a
 * removal and a COPY nothing; out of it neither can be made up. */
static void test_database_rules(void **state)
{
    (void)state;
    static const uint16_t map[] = {5, UINT16_MAX, 6};
    struct rig_options options = {.is_stepped = true, .db_map = map, .db_map_count = 3};
    struct rig *rig = live_rig(&options);
    rig_command(rig, 0, "SWAPDB 0 2");
    rig_command(rig, 0, "MOVE k 2");
    rig_command(rig, 0, "MOVE k 1");
    rig_command(rig, 0, "COPY a b DB 2");
    rig_command(rig, 0, "COPY a b DB 1");
    rig_command(rig, 0, "SELECT 1");
    rig_command(rig, 0, "MOVE k 9");
    rig_command(rig, 0, "COPY a b DB 9");
    rig_command(rig, 0, "SWAPDB 1 9");
    rig_settle(rig);
    rig_expect(rig, 0, "0 SELECT 5\n5 SWAPDB 5 6\n5 MOVE k 6\n5 DEL k\n5 COPY a b REPLACE DB 6\n");
    rig_free(rig);
    static const char *const refused[] = {"MOVE secret 0", "COPY secret b DB 0", "SWAPDB 0 1"};
    for (size_t i = 0; i < 3; i++) {
        rig = live_rig(&options);
        rig_command(rig, 0, "SELECT 1");
        rig_command(rig, 0, refused[i]);
        FAILS(rig, SYN_CODE_UNSUPPORTED, "--db", "offset 10");
        rig_free(rig);
    }
}

/* Malformed commands, which no server sends, are errors with a place; none may be believed. */
static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        enum syn_code code;
        const char *text;
    } cases[] = {
        {"NOSUCHCOMMAND secret", SYN_CODE_UNSUPPORTED, "NOSUCHCOMMAND"},
        {"SELECT x", SYN_CODE_SOURCE_DATA, "SELECT"},
        {"SELECT", SYN_CODE_SOURCE_DATA, "SELECT"},
        {"SELECT 99999999999", SYN_CODE_SOURCE_DATA, "SELECT"},
        {"SELECT 1 2", SYN_CODE_SOURCE_DATA, "SELECT"},
        {"SWAPDB 1", SYN_CODE_SOURCE_DATA, "SWAPDB"},
        {"SWAPDB a b", SYN_CODE_SOURCE_DATA, "SWAPDB"},
        {"MOVE secret", SYN_CODE_SOURCE_DATA, "MOVE"},
        {"MOVE secret x", SYN_CODE_SOURCE_DATA, "MOVE"},
        {"COPY secret", SYN_CODE_SOURCE_DATA, "COPY"},
        {"COPY secret b DB x", SYN_CODE_UNSUPPORTED, "COPY"},
        {"SET", SYN_CODE_SOURCE_DATA, "SET"},
        {"XTRIM", SYN_CODE_SOURCE_DATA, "XTRIM"},
        {"XADD secret LIMIT", SYN_CODE_SOURCE_DATA, "XADD"},
        {"MSET secret", SYN_CODE_SOURCE_DATA, "MSET"},
        {"RESTORE-ASKING secret", SYN_CODE_SOURCE_DATA, "RESTORE-ASKING"},
        {"FUNCTION", SYN_CODE_UNSUPPORTED, "FUNCTION"},
        {"FUNCTION LOAD", SYN_CODE_UNSUPPORTED, "FUNCTION"},
        {"SCRIPT", SYN_CODE_UNSUPPORTED, "SCRIPT"},
        {"CLUSTER FLUSHSLOT 5", SYN_CODE_UNSUPPORTED, "FLUSHSLOT"}, /* Valkey 9 does send it */
        {"EVAL secret 9 a", SYN_CODE_SOURCE_DATA, "EVAL"},
        {"EVAL secret x a", SYN_CODE_SOURCE_DATA, "EVAL"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig *rig = plain_rig();
        rig_command(rig, 0, cases[i].words);
        char offset[40];
        snprintf(offset,
                 sizeof(offset),
                 "offset %llu",
                 (unsigned long long)rig->sources[0].stream.offset);
        FAILS(rig, cases[i].code, cases[i].text, offset);
        assert_true(router_drain(&rig->decoders[0].router));
        rig_expect(rig, 0, "");
        rig_free(rig);
    }
}

static void test_not_resp(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "SET a 1\r\n", "*1\r\n:1\r\n", "*0\r\n", "*1\r\n$3\r\nabcd\r\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct rig *rig = plain_rig();
        rig_command(rig, 0, "PING");
        rig_feed_text(rig, 0, bad[i]);
        FAILS(rig, SYN_CODE_SOURCE_DATA, "source0:6379", "offset 1014");
        rig_free(rig);
    }
}

static void test_functions(void **state)
{
    (void)state;
    struct rig *rig = live_rig(&(struct rig_options)CLUSTER);
    rig_command(rig, 0, "FUNCTION LOAD code");
    rig_command(rig, 0, "FUNCTION LOAD REPLACE code");
    rig_command(rig, 0, "FUNCTION DELETE lib");
    rig_command(rig, 0, "FUNCTION RESTORE payload");
    rig_command(rig, 0, "SCRIPT LOAD code");
    rig_command(rig, 0, "FCALL f 1 foo");
    rig_settle(rig);
    static const char everywhere[] = "0 FUNCTION LOAD REPLACE code\n0 FUNCTION LOAD REPLACE code\n"
                                     "0 FUNCTION DELETE lib\n0 FUNCTION RESTORE payload REPLACE\n"
                                     "0 SCRIPT LOAD code\n";
    char other[400];
    snprintf(other, sizeof(other), "%s0 FCALL f 1 foo\n", everywhere);
    rig_expect(rig, 0, everywhere);
    rig_expect(rig, 1, other);
    rig_command(rig, 0, "EVAL code 0");
    FAILS(rig, SYN_CODE_UNSUPPORTED, "EVAL", "without keys", "standalone destination");
    rig_free(rig);
    rig = live_rig(&(struct rig_options){.is_stepped = true, .has_no_functions = true});
    rig_command(rig, 0, "FUNCTION LOAD code");
    FAILS(rig, SYN_CODE_UNSUPPORTED, "FUNCTION", "does not take");
    rig_free(rig);
}

/* EVAL comes once, then EVALSHA, which may be another shard's: the script is everywhere before.
 * After SCRIPT FLUSH, and for another script, again. */
static void test_scripts(void **state)
{
    (void)state;
    struct rig *rig = live_rig(&(struct rig_options)CLUSTER);
    rig_command(rig, 0, "EVAL code 1 foo"); /* slot 12182, shard 1 */
    rig_command(rig, 0, "EVALSHA sha 1 bar");
    rig_command(rig, 0, "eval code 1 bar");
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET bar 1");
    rig_command(rig, 0, "EVAL other 1 bar");
    rig_command(rig, 0, "EXEC");
    rig_command(rig, 0, "SCRIPT FLUSH");
    rig_command(rig, 0, "EVAL code 1 foo");
    rig_settle(rig);
    rig_expect(rig,
               0,
               "0 SCRIPT LOAD code\n0 EVALSHA sha 1 bar\n0 eval code 1 bar\n"
               "0 SCRIPT LOAD other\n0 MULTI\n0 SET bar 1\n0 EVAL other 1 bar\n0 EXEC\n"
               "0 SCRIPT FLUSH\n0 SCRIPT LOAD code\n");
    rig_expect(rig,
               1,
               "0 SCRIPT LOAD code\n0 EVAL code 1 foo\n0 SCRIPT LOAD other\n0 SCRIPT FLUSH\n"
               "0 SCRIPT LOAD code\n0 EVAL code 1 foo\n");
    /* More scripts than are remembered: none is ever taken for one that was loaded. */
    for (uint32_t i = 0; i < 3 * STREAM_SCRIPTS; i++) {
        char command[64];
        snprintf(command, sizeof(command), "EVAL script%u 1 bar", i);
        rig_command(rig, 0, command);
    }
    rig_settle(rig);
    assert_int_equal(rig_peer_value(rig, 1, &rig->peers[1].command_count), 6 + 3 * STREAM_SCRIPTS);
    rig_free(rig);
}

/* What does not run here brings its script for what will: in a database that is not copied, also
 * inside a transaction, or with keys in several slots, which are read at the source. */
static void test_scripts_elsewhere(void **state)
{
    (void)state;
    static const uint16_t map[] = {0};
    struct rig *rig =
        live_rig(&(struct rig_options){.is_stepped = true, .db_map = map, .db_map_count = 1});
    rig_command(rig, 0, "SELECT 1");
    rig_command(rig, 0, "EVAL code 1 foo");
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "EVAL other 0");
    rig_command(rig, 0, "EXEC");
    rig_command(rig, 0, "EVALSHA sha 1 foo");
    rig_command(rig, 0, "SELECT 0");
    rig_command(rig, 0, "EVALSHA sha 1 foo");
    rig_settle(rig);
    rig_expect(rig, 0, "0 SCRIPT LOAD code\n0 SCRIPT LOAD other\n0 EVALSHA sha 1 foo\n");
    rig_free(rig);

    rig = live_rig(&(struct rig_options)CLUSTER);
    rig_command(rig, 0, "EVAL code 2 foo bar");
    assert_int_equal(rig_failure(rig)->code, SYN_CODE_SOURCE_CONNECT);
    assert_true(router_drain(&rig->decoders[0].router));
    rig_expect(rig, 0, "0 SCRIPT LOAD code\n");
    rig_expect(rig, 1, "0 SCRIPT LOAD code\n");
    rig_free(rig);
}

/* A source's SCRIPT FLUSH is no other source's. */
static void test_scripts_of_several(void **state)
{
    (void)state;
    struct rig *rig = live_rig(&(struct rig_options){.is_stepped = true, .streams = 2});
    rig_command(rig, 0, "EVAL code 1 foo");
    rig_command(rig, 0, "SCRIPT FLUSH");
    rig_command(rig, 0, "SCRIPT LOAD code");
    rig_command(rig, 0, "EVAL code 1 foo");
    rig_settle(rig);
    rig_expect(rig,
               0,
               "0 SCRIPT LOAD code\n0 EVAL code 1 foo\n0 SCRIPT LOAD code\n0 SCRIPT LOAD code\n"
               "0 EVAL code 1 foo\n");
    rig_free(rig);
}

/* A reconnection that continues the stream may fall inside a command: the bytes join exactly. */
static void test_continue(void **state)
{
    (void)state;
    struct rig *rig = plain_rig();
    rig_feed_text(rig, 0, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhel");
    rig_seal(rig, 0);
    rig_continue(rig, 0);
    rig_feed_text(rig, 0, "lo\r\n");
    rig_command(rig, 0, "SET b 1");
    rig_settle(rig);
    rig_expect(rig, 0, "0 SET a hello\n0 SET b 1\n");
    assert_int_equal(rig->sources[0].stream.session.replid[0], 'b');
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixture_old),
        cmocka_unit_test(test_fixture_redis),
        cmocka_unit_test(test_fixture_valkey),
        cmocka_unit_test(test_every_seam),
        cmocka_unit_test(test_large_commands),
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_restore_asking),
        cmocka_unit_test(test_multi_key),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_sort_by_pattern),
        cmocka_unit_test(test_dropped),
        cmocka_unit_test(test_publish),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_flush),
        cmocka_unit_test(test_flush_rules),
        cmocka_unit_test(test_several_sources),
        cmocka_unit_test(test_databases),
        cmocka_unit_test(test_database_rules),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_not_resp),
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_scripts_of_several),
        cmocka_unit_test(test_scripts_elsewhere),
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_continue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
