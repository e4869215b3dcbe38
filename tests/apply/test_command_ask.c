/* Asking the destination about commands: what its answers mean, what becomes of wrong ones, and a
 * stream that waits for an answer without losing or doubling anything. */
#include "tests/apply/pipeline_rig.h"

#include <stdio.h>

#include "tests/apply/command_words.h"
#include "tests/support/client.h"
#include "tests/support/fake_peer.h"
#include "tests/support/servers.h"

/* ---- replies ---- */

static redisReply *parse(const char *text)
{
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    assert_int_equal(redisReaderFeed(reader, text, strlen(text)), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_non_null(reply);
    redisReaderFree(reader);
    return reply;
}

/* An entry from its fields behind the name: RESP, with '~' for CRLF. */
static bool read_entry(struct asked *asked, const char *fields, uint32_t count, struct syn_err *err)
{
    char text[4096];
    size_t size = (size_t)snprintf(text, sizeof(text), "*%u\r\n$3\r\nfoo\r\n", count + 1);
    for (const char *c = fields; *c != '\0'; c++) {
        assert_true(size + 3 < sizeof(text));
        if (*c == '~') {
            text[size++] = '\r';
        }
        text[size++] = *c == '~' ? '\n' : *c;
    }
    text[size] = '\0';
    redisReply *reply = parse(text);
    bool is_read = asked_read(asked, "FOO", reply, err);
    freeReplyObject(reply);
    return is_read;
}

#define FLAGS(words) words
#define WRITE "*2~+write~+fast~"
#define NO_CATEGORIES "*0~"

/* "1,2,4" for a command of words. */
static void expect_keys(const struct asked *asked, const char *text, const char *expected)
{
    struct command_words words;
    struct key_list list;
    struct syn_err err;
    char got[64] = "";
    size_t used = 0;
    assert_true(key_list_init(&list, &err));
    command_words_split(&words, text);
    if (!command_keys(&asked->info, words.bytes, &words.command, &list, &err)) {
        fail_msg("%s: %s", text, err.msg);
    }
    for (uint32_t i = 0; i < list.count; i++) {
        used += (size_t)snprintf(
            got + used, sizeof(got) - used, "%s%u", i > 0 ? "," : "", list.positions[i]);
    }
    assert_string_equal(got, expected);
    key_list_deinit(&list);
}

static void test_entries(void **state)
{
    (void)state;
    struct asked asked;
    struct syn_err err;
    /* 5.0: one range. */
    assert_true(read_entry(&asked, ":-3~" WRITE ":1~:-1~:2~", 5, &err));
    assert_int_equal(asked.kind, ASKED_KNOWN);
    assert_int_equal(asked.info.class, COMMAND_WRITE);
    assert_true(asked.info.is_write);
    assert_false(asked.info.is_key_first);
    expect_keys(&asked, "foo a 1 b 2", "1,3");
    assert_true(read_entry(&asked, ":3~" WRITE ":1~:1~:1~", 5, &err));
    assert_true(asked.info.is_key_first);
    expect_keys(&asked, "foo a 1", "1");
    assert_true(read_entry(&asked, ":-1~" WRITE ":1~:1~:1~", 5, &err));
    assert_false(asked.info.is_key_first); /* it may come without any argument */
    assert_true(read_entry(&asked, ":-4~" WRITE ":2~:3~:1~" NO_CATEGORIES, 6, &err));
    expect_keys(&asked, "foo x a b", "2,3");
    assert_true(read_entry(&asked, ":-1~" WRITE ":0~:0~:0~", 5, &err));
    expect_keys(&asked, "foo a b", "");
    /* No flag at all: the source sent it, so it does something. */
    assert_true(read_entry(&asked, ":2~*0~:1~:1~:1~", 5, &err));
    assert_int_equal(asked.info.class, COMMAND_WRITE);
    assert_true(read_entry(&asked, ":2~*1~+readonly~:1~:1~:1~", 5, &err));
    assert_int_equal(asked.info.class, COMMAND_READ);
    /* Keys that only its code finds. */
    assert_true(read_entry(&asked, ":-2~*2~+write~+movablekeys~:1~:1~:1~", 5, &err));
    assert_int_equal(asked.info.spec_count, COMMAND_KEYS_ASKED);
    assert_true(read_entry(&asked, ":0~" WRITE ":0~:0~:0~", 5, &err));
    assert_int_equal(asked.info.arity, -1);
}

#define SPEC(flags, search, find)                                                                  \
    "*6~$5~flags~" flags "$12~begin_search~" search "$9~find_keys~" find
#define INDEX(n) "*4~$4~type~$5~index~$4~spec~*2~$5~index~:" #n "~"
#define KEYWORD(size, word, from)                                                                  \
    "*4~$4~type~$7~keyword~$4~spec~*4~$7~keyword~$" #size "~" word "~$9~startfrom~:" #from "~"
#define RANGE(last, step, limit)                                                                   \
    "*4~$4~type~$5~range~$4~spec~*6~$7~lastkey~:" #last "~$7~keystep~:" #step "~$5~limit~:" #limit \
    "~"
#define KEYNUM(at, first, step)                                                                    \
    "*4~$4~type~$6~keynum~$4~spec~*6~$9~keynumidx~:" #at "~$8~firstkey~:" #first                   \
    "~$7~keystep~:" #step "~"
#define UNKNOWN_TYPE "*4~$4~type~$7~unknown~$4~spec~*0~"
#define RW "*1~+RW~"
#define ENTRY(flags, specs) ":-2~" flags ":0~:0~:0~*0~*0~" specs "*0~"

static void test_specs(void **state)
{
    (void)state;
    struct asked asked;
    struct syn_err err;
    assert_true(read_entry(&asked,
                           ENTRY("*2~+write~+movablekeys~",
                                 "*2~" SPEC(RW, INDEX(1), RANGE(0, 1, 0))
                                     SPEC(RW, INDEX(2), KEYNUM(0, 1, 1))),
                           9,
                           &err));
    expect_keys(&asked, "foo d 2 a b x", "1,3,4"); /* a server's own: the specs tell all */
    assert_true(read_entry(
        &asked, ENTRY(WRITE, "*1~" SPEC(RW, KEYWORD(7, "streams", -2), RANGE(-1, 1, 2))), 9, &err));
    assert_int_equal(asked.info.spec_count, 1);
    assert_string_equal(asked.specs[0].keyword, "STREAMS");
    assert_int_equal(asked.specs[0].index, -2);
    assert_true(read_entry(&asked, ENTRY(WRITE, "*0~"), 9, &err));
    assert_int_equal(asked.info.spec_count, 0);
    /* A module's code knows better than the range that it registered. */
    static const char *const asks[] = {
        ENTRY("*3~+write~+module~+movablekeys~", "*1~" SPEC(RW, INDEX(1), RANGE(0, 1, 0))),
        ENTRY("*3~+write~+module~+movablekeys~", "*0~"),
        ENTRY("*2~+write~+movablekeys~", "*0~"),
        ENTRY(WRITE, "*1~" SPEC("*2~+RW~+incomplete~", INDEX(1), RANGE(0, 1, 0))),
        ENTRY(WRITE, "*1~" SPEC(RW, UNKNOWN_TYPE, RANGE(0, 1, 0))),
        ENTRY(WRITE, "*1~" SPEC(RW, INDEX(1), UNKNOWN_TYPE)),
        ENTRY(WRITE, "*1~" SPEC(RW, INDEX(0), RANGE(0, 1, 0))),
        ENTRY(WRITE, "*1~" SPEC(RW, INDEX(-1), RANGE(0, 1, 0))),
        ENTRY(WRITE, "*1~" SPEC(RW, INDEX(99999), RANGE(0, 1, 0))),
        ENTRY(WRITE, "*1~" SPEC(RW, INDEX(1), RANGE(0, 0, 0))),
        ENTRY(WRITE, "*1~" SPEC(RW, INDEX(1), RANGE(0, 1, -1))),
        ENTRY(WRITE, "*1~" SPEC(RW, INDEX(1), KEYNUM(-1, 1, 1))),
        ENTRY(WRITE, "*1~" SPEC(RW, INDEX(1), KEYNUM(0, 1, 0))),
        ENTRY(WRITE, "*1~" SPEC(RW, KEYWORD(0, "", 1), RANGE(0, 1, 0))),
        ENTRY(WRITE, "*1~" SPEC(RW, KEYWORD(3, "KEY", 0), RANGE(0, 1, 0))),
        ENTRY(WRITE,
              "*1~" SPEC(RW, KEYWORD(32, "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF", 1), RANGE(0, 1, 0))),
        ENTRY(WRITE, "*1~*0~"),
        ENTRY(WRITE, "*1~:1~"),
        ENTRY(WRITE, "*9~:1~:1~:1~:1~:1~:1~:1~:1~:1~"),
    };
    for (size_t i = 0; i < sizeof(asks) / sizeof(asks[0]); i++) {
        if (!read_entry(&asked, asks[i], 9, &err)) {
            fail_msg("%zu: %s", i, err.msg);
        }
        assert_int_equal(asked.info.spec_count, COMMAND_KEYS_ASKED);
    }
    assert_true(read_entry(&asked, ":-2~*0~:0~:0~:0~*0~*0~*0~*1~:1~", 9, &err));
    assert_int_equal(asked.kind, ASKED_CONTAINER);
}

/* What is no entry is an error that names the question, never a guess. */
static void test_bad_entries(void **state)
{
    (void)state;
    static const char *const bad[] = {":1\r\n",
                                      "$3\r\nfoo\r\n",
                                      "-ERR no\r\n",
                                      "*0\r\n",
                                      "*5\r\n:1\r\n:1\r\n*0\r\n:1\r\n:1\r\n",
                                      "*6\r\n$3\r\nfoo\r\n$1\r\nx\r\n*0\r\n:1\r\n:1\r\n:1\r\n",
                                      "*6\r\n$3\r\nfoo\r\n:99999\r\n*0\r\n:1\r\n:1\r\n:1\r\n",
                                      "*6\r\n$3\r\nfoo\r\n:-32768\r\n*0\r\n:1\r\n:1\r\n:1\r\n",
                                      "*6\r\n$3\r\nfoo\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n"};
    struct asked asked;
    struct syn_err err;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        redisReply *reply = parse(bad[i]);
        assert_false(asked_read(&asked, "FOO", reply, &err));
        assert_int_equal(err.code, SYN_CODE_DESTINATION_PROTOCOL);
        assert_non_null(strstr(err.msg, "COMMAND INFO FOO"));
        freeReplyObject(reply);
    }
    static const char *const nils[] = {"$-1\r\n", "*-1\r\n"};
    for (size_t i = 0; i < 2; i++) {
        redisReply *reply = parse(nils[i]);
        assert_true(asked_read(&asked, "FOO", reply, &err));
        assert_int_equal(asked.kind, ASKED_UNKNOWN);
        freeReplyObject(reply);
    }
}

static void test_keys(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        const char *positions; /* NULL: an error */
    } answers[] = {{"*2\r\n$1\r\na\r\n$1\r\nb\r\n", "2,4"},
                   {"*2\r\n$1\r\nb\r\n$1\r\na\r\n", "4,5"},
                   {"*2\r\n$1\r\na\r\n$1\r\na\r\n", "2,5"},
                   {"*1\r\n$1\r\nv\r\n", "1"},
                   {"*3\r\n$1\r\nv\r\n$1\r\nv\r\n$1\r\nv\r\n", "1,3"},
                   {"*0\r\n", ""},
                   {"-ERR The command has no key arguments\r\n", ""},
                   {"-ERR Invalid arguments specified for command\r\n", NULL},
                   {"*1\r\n$1\r\nz\r\n", NULL},
                   {"*1\r\n$3\r\nfoo\r\n", NULL}, /* the name is none */
                   {"*1\r\n:1\r\n", NULL},
                   {"*1\r\n$-1\r\n", NULL},
                   {"+OK\r\n", NULL},
                   {"$-1\r\n", NULL}};
    struct command_words words;
    struct key_list list;
    struct syn_err err;
    assert_true(key_list_init(&list, &err));
    command_words_split(&words, "foo v a v b a");
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        redisReply *reply = parse(answers[i].reply);
        char got[64] = "";
        size_t used = 0;
        bool is_read = asked_keys_read(reply, words.bytes, &words.command, &list, &err);
        if (is_read != (answers[i].positions != NULL)) {
            fail_msg("%s", answers[i].reply);
        }
        for (uint32_t n = 0; is_read && n < list.count; n++) {
            used += (size_t)snprintf(
                got + used, sizeof(got) - used, "%s%u", n > 0 ? "," : "", list.positions[n]);
        }
        if (is_read) {
            assert_string_equal(got, answers[i].positions);
        }
        freeReplyObject(reply);
    }
    command_words_split(&words, "foo");
    redisReply *reply = parse("*1\r\n$1\r\na\r\n");
    assert_false(asked_keys_read(reply, words.bytes, &words.command, &list, &err));
    freeReplyObject(reply);
    key_list_deinit(&list);
}

/* ---- a real server ---- */

static struct topology *topology_at(uint16_t port)
{
    static struct shard shard;
    static struct topology topology;
    memset(&shard, 0, sizeof(shard));
    snprintf(shard.server.endpoint.host, sizeof(shard.server.endpoint.host), "127.0.0.1");
    shard.server.endpoint.port = port;
    topology = (struct topology){.side = SIDE_DESTINATION, .shards = &shard, .shard_count = 1};
    return &topology;
}

static void ask(struct asker *asker, struct question *question, const struct command_words *words)
{
    asker_post(asker, question, words->bytes, &words->command);
    asker_answer(asker, question);
    assert_int_equal(atomic_load_acquire(&question->state), QUESTION_ANSWERED);
    atomic_store_release(&question->state, QUESTION_IDLE);
}

/* Commands that the table does know, asked for as if it did not: the same keys must come out of
 * both ways. */
static void test_same_as_table(void **state)
{
    (void)state;
    static const char *const commands[] = {"SET k v",
                                           "set k v EX 10",
                                           "DEL a b c",
                                           "MSET a 1 b 2",
                                           "ZUNIONSTORE d 2 a b WEIGHTS 1 2",
                                           "ZINTERSTORE a 3 a b a",
                                           "LMPOP 2 a b LEFT",
                                           "BITOP AND d a b",
                                           "SORT k BY x* STORE d",
                                           "GEORADIUS k 1 1 1 km STORE d",
                                           "XADD s * f v",
                                           "XREADGROUP GROUP g c STREAMS a b 1 2",
                                           "XGROUP CREATE s g 0",
                                           "xgroup setid s g 0",
                                           "LMOVE a b LEFT RIGHT",
                                           "SINTERSTORE d a b c",
                                           "RESTORE k 0 x",
                                           "COPY a b REPLACE",
                                           "PFMERGE d",
                                           "PFMERGE d a b",
                                           "GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 km",
                                           "EVAL s 2 a b c",
                                           "RENAME a b",
                                           "SMOVE a b m",
                                           "ZRANGESTORE d s 0 1",
                                           "FCALL f 1 a b"};
    struct test_server server;
    struct asker asker;
    struct question question;
    struct waker waker;
    struct syn_err err;
    test_server_start(&server, TEST_REQUIRED_VERSION, NULL);
    assert_true(waker_init(&waker, &err));
    assert_true(asker_init(&asker, topology_at(server.port), 5000, &err));
    assert_true(question_init(&question, &waker, &err));
    struct key_list ours, theirs;
    assert_true(key_list_init(&ours, &err) && key_list_init(&theirs, &err));
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        struct command_words words;
        command_words_split(&words, commands[i]);
        ask(&asker, &question, &words);
        if (question.is_failed) {
            fail_msg("%s: %s", commands[i], question.err.msg);
        }
        assert_int_equal(question.asked->kind, ASKED_KNOWN);
        assert_ptr_equal(asker_find(&asker, words.bytes, &words.command), question.asked);
        const struct command_info *info = command_words_find(&words);
        if (!command_keys(info, words.bytes, &words.command, &ours, &err)) {
            fail_msg("%s: %s", commands[i], err.msg);
        }
        const struct key_list *list = &question.keys;
        if (question.asked->info.spec_count != COMMAND_KEYS_ASKED) {
            list = &theirs;
            assert_true(
                command_keys(&question.asked->info, words.bytes, &words.command, &theirs, &err));
        }
        if (ours.count != list->count ||
            memcmp(ours.positions, list->positions, ours.count * sizeof(uint32_t)) != 0) {
            fail_msg("%s: other keys", commands[i]);
        }
        assert_int_equal(question.asked->info.class == COMMAND_READ, false);
    }
    struct command_words words;
    command_words_split(&words, "GET k");
    ask(&asker, &question, &words);
    assert_int_equal(question.asked->info.class, COMMAND_READ);
    command_words_split(&words, "XGROUP nonsense k");
    ask(&asker, &question, &words);
    assert_int_equal(question.asked->kind, ASKED_UNKNOWN);
    /* Names that no server has are not even asked for. */
    command_words_split(&words, "a\tb k");
    ask(&asker, &question, &words);
    assert_true(question.is_failed);
    command_words_begin(&words);
    static const char name[200] = {[0 ... 198] = 'x'};
    command_words_add(&words, name, 199);
    ask(&asker, &question, &words);
    assert_true(question.is_failed);
    assert_null(asker_find(&asker, words.bytes, &words.command));
    /* The bound. */
    uint32_t count = 0;
    for (; count < 2 * ASKED_MAX && !(count > 0 && question.is_failed); count++) {
        char text[32];
        snprintf(text, sizeof(text), "nonsense.%u", count);
        command_words_split(&words, text);
        ask(&asker, &question, &words);
        assert_true(question.is_failed || question.asked->kind == ASKED_UNKNOWN);
        question.is_failed = question.is_failed && asker.asked_count == ASKED_MAX;
    }
    assert_int_equal(asker.asked_count, ASKED_MAX);
    assert_int_equal(question.err.code, SYN_CODE_UNSUPPORTED);
    command_words_split(&words, "SET k v"); /* what is known stays so */
    ask(&asker, &question, &words);
    assert_false(question.is_failed);
    key_list_deinit(&ours);
    key_list_deinit(&theirs);
    question_deinit(&question);
    asker_deinit(&asker);
    waker_deinit(&waker);
    test_server_stop(&server);
}

static bool is_missing(const struct command_missing *missing, const char *name)
{
    const struct command_info *info = command_find((const uint8_t *)name, strlen(name));
    assert_non_null(info);
    return missing != NULL && command_is_missing(missing, info);
}

/* What a version lacks is known before it is sent; what it has is never held back. */
static void test_missing(void **state)
{
    (void)state;
    static const struct {
        const char *version;
        const char *has[6];
        const char *lacks[6];
    } versions[] = {
        {"redis-6.0",
         {"SET", "XADD", "EVAL", "UNLINK", NULL},
         {"LMOVE", "COPY", "FCALL", "GETDEL", NULL}},
        {"redis-7.0", {"SET", "LMPOP", "COPY", "FCALL", NULL}, {"HPEXPIREAT", "HSETEX", NULL}},
        {"redis-8.0", {"HPEXPIREAT", "HSETEX", "VADD", "MOVE", NULL}, {NULL}},
        {"valkey-8.0", {"FCALL", "SWAPDB", NULL}, {"HPEXPIREAT", "VADD", NULL}}};
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        struct test_server server;
        struct command_missing *missing;
        struct syn_err err;
        if (!test_server_available(versions[i].version)) {
            continue;
        }
        test_server_start(&server, versions[i].version, NULL);
        assert_true(command_missing_read(&missing, topology_at(server.port), 5000, &err));
        for (const char *const *name = versions[i].has; *name != NULL; name++) {
            if (is_missing(missing, *name)) {
                fail_msg("%s has %s", versions[i].version, *name);
            }
        }
        for (const char *const *name = versions[i].lacks; *name != NULL; name++) {
            if (!is_missing(missing, *name)) {
                fail_msg("%s lacks %s", versions[i].version, *name);
            }
        }
        if (versions[i].lacks[0] != NULL) {
            const char *name = versions[i].lacks[0];
            const struct command_info *info = command_find((const uint8_t *)name, strlen(name));
            assert_true(command_missing_tell(missing, info));
            assert_false(command_missing_tell(missing, info));
            assert_true(command_is_missing(missing, info));
            assert_false(command_is_missing(missing, &(struct command_info){0})); /* an asked one */
        }
        command_missing_free(missing);
        test_server_stop(&server);
        assert_false(command_missing_read(&missing, topology_at(server.port), 1000, &err));
        assert_null(missing);
    }
}

/* A connection that the server closed in the meantime is made anew; a server that is gone is an
 * error that says where. */
static void test_lost(void **state)
{
    (void)state;
    struct test_server server;
    struct asker asker;
    struct question question;
    struct waker waker;
    struct syn_err err;
    struct command_words words;
    test_server_start(&server, TEST_REQUIRED_VERSION, NULL);
    assert_true(waker_init(&waker, &err));
    assert_true(asker_init(&asker, topology_at(server.port), 5000, &err));
    assert_true(question_init(&question, &waker, &err));
    command_words_split(&words, "SET k v");
    ask(&asker, &question, &words);
    assert_false(question.is_failed);
    redisContext *context = test_connect(server.port);
    test_command_ok(context, "CLIENT KILL TYPE normal SKIPME yes");
    redisFree(context);
    command_words_split(&words, "GET k");
    ask(&asker, &question, &words);
    if (question.is_failed) {
        fail_msg("%s", question.err.msg);
    }
    test_server_kill(&server);
    command_words_split(&words, "DEL k");
    ask(&asker, &question, &words);
    assert_true(question.is_failed);
    assert_int_equal(question.err.code, SYN_CODE_DESTINATION_CONNECT);
    char port[16];
    snprintf(port, sizeof(port), "%u", server.port);
    assert_non_null(strstr(question.err.msg, port));
    question_deinit(&question);
    asker_deinit(&asker);
    waker_deinit(&waker);
}

/* ---- a stream ---- */

struct asked_rig {
    struct rig *rig;
    struct asker asker;
    struct question *questions[RIG_STREAMS_MAX];
    struct fake_peer peer;
};

static void
rig_open(struct asked_rig *it, fake_peer_script *script, const struct rig_options *options)
{
    struct syn_err err;
    memset(it, 0, sizeof(*it));
    fake_peer_start(&it->peer, NULL, script, NULL);
    assert_true(asker_init(&it->asker, topology_at(it->peer.port), 5000, &err));
    it->rig = rig_new(options);
    uint32_t streams = options->streams == 0 ? 1 : options->streams;
    for (uint32_t i = 0; i < streams; i++) {
        it->questions[i] = &it->rig->sources[i].stream.question;
        rig_live(it->rig, i, 1000);
    }
    it->rig->task.asker = &it->asker; /* before any command comes */
    assert_true(asker_start(&it->asker, it->questions, streams, &err));
}

static void rig_close(struct asked_rig *it)
{
    asker_stop(&it->asker);
    rig_free(it->rig);
    asker_deinit(&it->asker);
    const char *failure = fake_peer_finish(&it->peer);
    if (failure != NULL) {
        fail_msg("%s", failure);
    }
}

static void greet(struct fake_peer *peer)
{
    fake_peer_accept(peer);
    fake_peer_expect_command(peer, "PING");
    fake_peer_send_text(peer, "+PONG\r\n");
}

#define RANGE_ENTRY(name, flag, first)                                                             \
    "*1\r\n*6\r\n$3\r\n" name "\r\n:-2\r\n*1\r\n+" flag "\r\n:" first "\r\n:" first "\r\n:1\r\n"

static void expect_keys_asked(struct fake_peer *peer, const char *command)
{
    fake_peer_expect_command(peer, command);
    fake_peer_send_text(peer, "*1\r\n$3\r\nkey\r\n");
}

static void script_order(struct fake_peer *peer, void *arg)
{
    (void)arg;
    greet(peer);
    fake_peer_expect_command(peer, "COMMAND INFO mod");
    fake_peer_mark(peer, 1);
    struct timespec nap = {.tv_nsec = 100000000}; /* the stream must really wait */
    nanosleep(&nap, NULL);
    fake_peer_send_text(peer, RANGE_ENTRY("mod", "write", "1"));
    fake_peer_expect_command(peer, "COMMAND INFO mov");
    fake_peer_send_text(
        peer, "*1\r\n*6\r\n$3\r\nmov\r\n:-2\r\n*2\r\n+write\r\n+movablekeys\r\n:0\r\n:0\r\n:0\r\n");
    expect_keys_asked(peer, "COMMAND GETKEYS mov x key"); /* each time */
    expect_keys_asked(peer, "COMMAND GETKEYS MOV y key");
    expect_keys_asked(peer, "COMMAND GETKEYS MOV y key");
    fake_peer_expect_command(peer, "COMMAND INFO red");
    fake_peer_send_text(peer, RANGE_ENTRY("red", "readonly", "1"));
    fake_peer_expect_command(peer, "COMMAND INFO non");
    fake_peer_send_text(peer, "*1\r\n*-1\r\n");
    expect_keys_asked(peer, "COMMAND GETKEYS MOV y key");
    expect_keys_asked(peer, "COMMAND GETKEYS MOV y key");
    fake_peer_wait_closed(peer);
}

/* Around commands that must be asked for everything comes once, in order, whatever the pieces in
 * which the input comes; another stream of the same decoder does not wait; the offset is exact. */
static void run_order(size_t piece)
{
    struct asked_rig it;
    rig_open(&it,
             script_order,
             &(struct rig_options){
                 .streams = 2, .chunk_bytes = 64, .headroom_bytes = 64, .chunk_count = 32});
    it.rig->task.skips_unknown = true;
    struct rig *rig = it.rig;
    struct bytes stream = {0};
    resp_add(&stream, "SET a 1");
    resp_add(&stream, "mod a 2");
    resp_add(&stream, "MOD a 3");
    resp_add(&stream, "mov x key");
    resp_add(&stream, "SET a 4");
    resp_add(&stream, "MULTI");
    resp_add(&stream, "MOV y key");
    resp_add(&stream, "MOV y key");
    resp_add(&stream, "red a");
    resp_add(&stream, "SET a 5");
    resp_add(&stream, "non a b");
    resp_add(&stream, "EXEC");
    resp_add(&stream, "MOV y key");
    resp_add(&stream, "red a");
    resp_add(&stream, "non a b");
    resp_add(&stream, "MOV y key");
    resp_add(&stream, "SET a 6");
    rig_feed(rig, 0, stream.bytes, stream.size, piece);
    assert_true(fake_peer_wait_mark(&it.peer, 1));
    rig_command(rig, 1, "SET other 1");
    rig_await_commands(rig, 0, 2);
    rig_settle(rig);
    assert_int_equal(atomic_load_acquire(&rig->sources[0].feed.offset_applied), 1000 + stream.size);
    struct peer *peer = &rig->peers[0];
    pthread_mutex_lock(&peer->lock);
    char *other = strstr(peer->text, "0 SET other 1\n");
    assert_non_null(other);
    memmove(other, other + 14, strlen(other + 14) + 1);
    peer->text_size -= 14;
    pthread_mutex_unlock(&peer->lock);
    rig_expect(rig,
               0,
               "0 SET a 1\n0 mod a 2\n0 MOD a 3\n0 mov x key\n0 SET a 4\n"
               "0 MULTI\n0 MOV y key\n0 MOV y key\n0 SET a 5\n0 EXEC\n"
               "0 MOV y key\n0 MOV y key\n0 SET a 6\n");
    assert_int_equal(atomic_load_relaxed(&rig->sources[0].stream.commands_skipped), 2);
    assert_int_equal(atomic_load_relaxed(&rig->sources[0].stream.dropped), 2);
    assert_int_equal(atomic_load_relaxed(&rig->sources[0].stream.commands), 17);
    rig_close(&it);
    bytes_free(&stream);
}

static void test_order(void **state)
{
    (void)state;
    run_order(0);
    run_order(1);
    run_order(17);
}

/* A transaction that outgrows its bound goes out in pieces: the keys that were kept with its
 * commands, and those of the one that made it full, are not mixed up. */
static void script_full(struct fake_peer *peer, void *arg)
{
    (void)arg;
    greet(peer);
    fake_peer_expect_command(peer, "COMMAND INFO mov");
    fake_peer_send_text(
        peer, "*1\r\n*6\r\n$3\r\nmov\r\n:-2\r\n*2\r\n+write\r\n+movablekeys\r\n:0\r\n:0\r\n:0\r\n");
    for (int i = 0; i < 6; i++) {
        fake_peer_expect_command(
            peer, i % 2 == 0 ? "COMMAND GETKEYS mov foo x" : "COMMAND GETKEYS mov x bar");
        fake_peer_send_text(peer, i % 2 == 0 ? "*1\r\n$3\r\nfoo\r\n" : "*1\r\n$3\r\nbar\r\n");
    }
    fake_peer_wait_closed(peer);
}

static void test_full_transaction(void **state)
{
    (void)state;
    struct asked_rig it;
    rig_open(&it, script_full, &(struct rig_options){.is_cluster = true, .lanes = 2, .shards = 2});
    it.rig->task.transaction_bytes_max = 200;
    rig_command(it.rig, 0, "MULTI");
    for (int i = 0; i < 3; i++) {
        rig_command(it.rig, 0, "mov foo x");
        rig_command(it.rig, 0, "mov x bar");
    }
    rig_command(it.rig, 0, "EXEC");
    rig_settle(it.rig);
    rig_expect(it.rig, 0, "0 mov x bar\n0 mov x bar\n0 mov x bar\n");
    rig_expect(it.rig, 1, "0 mov foo x\n0 mov foo x\n0 mov foo x\n");
    assert_int_equal(it.rig->sources[0].stream.transactions_split, 1);
    rig_close(&it);
}

static void script_refuse(struct fake_peer *peer, void *arg)
{
    (void)arg;
    greet(peer);
    fake_peer_expect_command(peer, "COMMAND INFO mod");
    fake_peer_send_text(peer,
                        "-NOPERM this user has no permissions to run the 'command' command\r\n");
    fake_peer_wait_closed(peer);
}

/* An answer that cannot be had stops the task, also with --on-unknown skip, and says why. */
static void test_refused(void **state)
{
    (void)state;
    struct asked_rig it;
    rig_open(&it, script_refuse, &(struct rig_options){0});
    it.rig->task.skips_unknown = true;
    rig_command(it.rig, 0, "mod secret x");
    const struct syn_err *err = rig_failure(it.rig);
    assert_int_equal(err->code, SYN_CODE_DESTINATION_AUTH);
    assert_non_null(strstr(err->msg, "MOD"));
    assert_non_null(strstr(err->msg, "NOPERM"));
    assert_null(strstr(err->msg, "secret"));
    rig_close(&it);
}

static void script_silent(struct fake_peer *peer, void *arg)
{
    (void)arg;
    greet(peer);
    fake_peer_expect_command(peer, "COMMAND INFO mod");
    fake_peer_mark(peer, 1);
    fake_peer_wait_closed(peer);
}

/* A drain does not end before the answer is there, as the command is not written yet; a task that
 * is taken down ends within the time of one answer. */
static void test_end(void **state)
{
    (void)state;
    struct asked_rig it;
    rig_open(&it, script_silent, &(struct rig_options){0});
    it.asker.timeout_ms = 500;
    rig_command(it.rig, 0, "mod a x");
    assert_true(fake_peer_wait_mark(&it.peer, 1));
    rig_seal(it.rig, 0);
    atomic_store_release(&it.rig->task.drain, true);
    waker_wake(&it.rig->decoders[0].waker);
    for (int i = 0; i < 20; i++) {
        rig_pause();
        assert_false(atomic_load_acquire(&it.rig->decoders[0].is_drained));
    }
    atomic_store_release(&it.rig->task.abort, true);
    decoder_stop(&it.rig->decoders[0]);
    rig_close(&it);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_specs),
        cmocka_unit_test(test_bad_entries),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_same_as_table),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_full_transaction),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
