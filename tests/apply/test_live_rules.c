/* Rules of selection in the stream: what they make of snapshots, commands and transactions on their
 * way to the lanes. Which command becomes what is test_select_plan.c's. */
#include "apply/relay_private.h"
#include "tests/apply/pipeline_rig.h"

#include <stdio.h>

#include "tests/apply/select_lines.h"
#include "tests/support/random.h"

static struct select rules; /* large: not for a stack */

#define RULES(...) select_lines(&rules, (const char *const[]){__VA_ARGS__, NULL})

static struct rig *rig_of(struct rig_options options)
{
    options.is_stepped = true;
    options.select = &rules;
    return rig_new(&options);
}

static struct rig *live_rig_of(struct rig_options options)
{
    struct rig *rig = rig_of(options);
    rig_live(rig, 0, 1000);
    return rig;
}
#define NOTHING ((struct rig_options){0})

static void feed_lines(struct rig *rig, const char *const *lines)
{
    for (; *lines != NULL; lines++) {
        rig_command(rig, 0, *lines);
    }
    rig_settle(rig);
}
#define FEED(rig, ...) feed_lines(rig, (const char *const[]){__VA_ARGS__, NULL})

static void expect_failure(struct rig *rig, const char *const *texts)
{
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, SYN_CODE_UNSUPPORTED);
    for (; *texts != NULL; texts++) {
        if (strstr(err->msg, *texts) == NULL) {
            fail_msg("\"%s\" is not in \"%s\"", *texts, err->msg);
        }
    }
    assert_null(strstr(err->msg, "secret"));
}
#define FAILS(rig, ...) expect_failure(rig, (const char *const[]){__VA_ARGS__, NULL})

static uint64_t dropped(const struct rig *rig)
{
    return atomic_load_relaxed(&rig->sources[0].stream.dropped);
}

/* ---- commands ---- */

static void test_commands(void **state)
{
    (void)state;
    RULES("exclude_prefix tmp:", "rename_prefix old:=n:", "exclude_command persist");
    struct rig *rig = live_rig_of(NOTHING);
    FEED(rig,
         "SET a 1",
         "SET tmp:1 x",
         "SET old:1 2",
         "DEL a tmp:1 old:2",
         "PERSIST a",
         "RENAME old:1 tmp:2",
         "PING",
         "SUNIONSTORE old:d a old:b");
    rig_expect(rig, 0, "0 SET a 1\n0 SET n:1 2\n0 DEL a n:2\n0 DEL n:1\n0 SUNIONSTORE n:d a n:b\n");
    assert_int_equal(dropped(rig), 3); /* SET tmp:1, PERSIST, PING */
    rig_free(rig);
}

/* A trim that a master rewrote loses its LIMIT also under a new name. */
static void test_trim(void **state)
{
    (void)state;
    RULES("rename_prefix old:=n:");
    struct rig *rig = live_rig_of(NOTHING);
    FEED(rig, "XADD old:s MAXLEN = 5 LIMIT 100 1-1 f v");
    rig_expect(rig, 0, "0 XADD n:s MAXLEN = 5 1-1 f v\n");
    rig_free(rig);
}

/* A relayed SUNIONSTORE of one operand: its temporary key lies in the target's slot. */
static void expect_store(struct rig *rig, uint32_t peer, const char *target)
{
    char tag[RELAY_TAG_MAX];
    char temp[60];
    char text[400];
    relay_tag(slot_of_key(target, strlen(target)), tag);
    snprintf(temp, sizeof(temp), RELAY_PREFIX "{%s}:0", tag);
    assert_int_equal(slot_of_key(temp, strlen(temp)), slot_of_key(target, strlen(target)));
    snprintf(text,
             sizeof(text),
             "0 MULTI\n0 RESTORE %s 0 " RIG_GIVEN_TEXT
             " REPLACE\n0 SUNIONSTORE %s %s\n0 UNLINK %s\n0 EXEC\n",
             temp,
             target,
             temp,
             temp);
    rig_expect(rig, peer, text);
}

/* The new name decides where a key goes: two keys of one slot may part, and two others meet. What
 * was one command there is relayed then, all of it by the names that the keys have here. Slots: foo
 * 12182 (shard 1), bar 5061 (shard 0). */
static void test_cluster(void **state)
{
    (void)state;
    const struct rig_options options = {
        .is_cluster = true, .lanes = 2, .shards = 2, .answerer = rig_give};
    RULES("rename_prefix {foo}=");
    struct rig *rig = live_rig_of(options);
    FEED(rig, "SET {foo}bar 1", "MSET {foo}foo 1 {foo}bar 2");
    rig_expect(rig, 0, "0 SET bar 1\n0 SET bar 2\n");
    rig_expect(rig, 1, "0 SET foo 1\n");
    FEED(rig, "RENAME {foo}foo {foo}bar", "SMOVE {foo}foo {foo}bar m", "SET {foo}bar 3");
    rig_expect(rig, 0, "0 RESTORE bar 0 " RIG_GIVEN_TEXT " REPLACE\n0 SADD bar m\n0 SET bar 3\n");
    rig_expect(rig, 1, "0 DUMP foo\n0 PEXPIRETIME foo\n0 UNLINK foo\n0 SREM foo m\n");
    FEED(rig, "RPOPLPUSH {foo}bar {foo}foo");
    rig_expect(rig, 0, "0 RPOP bar\n");
    rig_expect(rig, 1, "0 LPUSH foo value\n");
    FEED(rig, "SUNIONSTORE {foo}foo {foo}bar");
    rig_expect(rig, 0, "0 DUMP bar\n");
    expect_store(rig, 1, "foo");
    assert_int_equal(rig->sources[0].stream.relayed, 3);
    rig_free(rig);
    RULES("rename_prefix x:={foo}:");
    rig = live_rig_of(options);
    FEED(rig, "SUNIONSTORE x:a x:b x:c", "MULTI", "SET x:1 1", "SET x:2 2", "EXEC");
    rig_expect(rig, 0, "");
    rig_expect(rig,
               1,
               "0 SUNIONSTORE {foo}:a {foo}:b {foo}:c\n0 MULTI\n0 SET {foo}:1 1\n"
               "0 SET {foo}:2 2\n0 EXEC\n");
    assert_int_equal(rig->sources[0].stream.transactions_split, 0);
    rig_free(rig);
}

/* Commands that name databases follow the rules for keys and for databases. */
static void test_databases(void **state)
{
    (void)state;
    static const uint16_t map[] = {5, UINT16_MAX, 6};
    RULES("exclude_prefix tmp:", "rename_prefix old:=n:");
    struct rig *rig = live_rig_of((struct rig_options){.db_map = map, .db_map_count = 3});
    FEED(rig,
         "MOVE old:1 2",
         "MOVE tmp:1 2",
         "MOVE old:1 1",
         "COPY old:1 b DB 2",
         "COPY a tmp:1 DB 2",
         "COPY tmp:1 a DB 1", /* not selected there: no partial command */
         "SELECT 1",
         "SET old:1 x",
         "RENAME tmp:1 a", /* here neither */
         "COPY tmp:1 tmp:2 DB 0",
         "SWAPDB 1 9",
         "SWAPDB 2 2", /* servers do send it */
         "FLUSHDB",
         "SELECT 2",
         "SET old:1 y");
    rig_expect(rig,
               0,
               "0 SELECT 5\n5 MOVE n:1 6\n5 DEL n:1\n5 COPY n:1 b REPLACE DB 6\n5 SELECT 6\n"
               "6 SET n:1 y\n");
    rig_free(rig);
}

/* COPY with types selected: the target goes first, in the database where it is. */
static void test_copy(void **state)
{
    (void)state;
    RULES("exclude_type string", "rename_prefix old:=n:");
    struct rig *rig = live_rig_of(NOTHING);
    FEED(rig,
         "COPY a old:b",
         "COPY a b DB 3 REPLACE",
         "COPY old:a old:a DB 3",
         "SET c 1",
         "SELECT 3",
         "COPY a a", /* no server sends it; nothing may be removed */
         "HSET h f v");
    rig_expect(rig,
               0,
               "0 DEL n:b\n0 COPY a n:b REPLACE\n0 SELECT 3\n3 DEL b\n3 SELECT 0\n"
               "0 COPY a b REPLACE DB 3\n0 SELECT 3\n3 DEL n:a\n3 SELECT 0\n"
               "0 COPY n:a n:a REPLACE DB 3\n0 DEL c\n0 SELECT 3\n3 COPY a a REPLACE\n"
               "3 HSET h f v\n");
    rig_free(rig);
}

/* ---- transactions ---- */

static void test_transactions(void **state)
{
    (void)state;
    RULES("exclude_prefix tmp:", "rename_prefix old:=n:");
    struct rig *rig = live_rig_of(NOTHING);
    FEED(rig,
         "MULTI",
         "SET a 1",
         "SET tmp:1 x",
         "SET old:1 2",
         "DEL tmp:1 b",
         "EXEC",
         "MULTI",
         "SET tmp:1 x",
         "INCR tmp:2",
         "EXEC", /* vanishes */
         "MULTI",
         "SET tmp:1 x",
         "SET c 1",
         "EXEC", /* one is left: needs no transaction */
         "MULTI",
         "RENAME a tmp:1",
         "SET d 1",
         "EXEC");
    rig_expect(rig,
               0,
               "0 MULTI\n0 SET a 1\n0 SET n:1 2\n0 DEL b\n0 EXEC\n0 SET c 1\n"
               "0 MULTI\n0 DEL a\n0 SET d 1\n0 EXEC\n");
    assert_int_equal(rig->sources[0].stream.transactions_split, 0);
    assert_int_equal(dropped(rig), 4);
    rig_free(rig);

    RULES("exclude_type string");
    rig = live_rig_of(NOTHING);
    FEED(rig, "MULTI", "RENAME a b", "HSET h f v", "SELECT 3", "SET c 1", "EXEC");
    const char *text = rig->peers[0].text;
    assert_non_null(strstr(text, "0 MULTI\n0 EVAL if?redis.call('EXISTS',KEYS[1])==1?then"));
    assert_non_null(strstr(text, " 2 a b\n0 HSET h f v\n0 SELECT 3\n3 DEL c\n3 EXEC\n"));
    rig_free(rig);
}

static bool give_nothing(void *arg,
                         uint32_t peer,
                         const uint8_t *bytes,
                         const struct resp_command *command,
                         struct bytes *out)
{
    (void)arg;
    (void)peer;
    const struct resp_arg *name = &command->argv[0];
    bool is_dump = name->size == 4 && memcmp(bytes + name->pos, "DUMP", 4) == 0;
    bool is_expiry = name->size == 11 && memcmp(bytes + name->pos, "PEXPIRETIME", 11) == 0;
    if (is_dump || is_expiry) {
        bytes_add(out, is_dump ? "$-1\r\n" : ":-2\r\n", 5);
    }
    return is_dump || is_expiry;
}

/* Where types are selected, a key that is missing was of another one: what takes the target's place
 * at the source has none here. That is no divergence. */
static void test_missing_over_slots(void **state)
{
    (void)state;
    RULES("exclude_type string");
    struct rig *rig = live_rig_of((struct rig_options){
        .is_cluster = true, .lanes = 2, .shards = 2, .answerer = give_nothing});
    FEED(rig, "RENAME foo bar");
    rig_expect(rig, 1, "0 DUMP foo\n0 PEXPIRETIME foo\n0 UNLINK foo\n");
    rig_expect(rig, 0, "0 UNLINK bar\n");
    FEED(rig, "COPY foo bar");
    rig_expect(rig, 1, "0 DUMP foo\n0 PEXPIRETIME foo\n");
    rig_expect(rig, 0, "0 DEL bar\n0 UNLINK bar\n");
    assert_int_equal(rig->sources[0].stream.diverged_relay, 0);
    rig_free(rig);
}

/* A script whose keys are left out may be run again, by its hash, with others that are not; one of
 * a command that is left out is not wanted. */
static void test_scripts(void **state)
{
    (void)state;
    RULES("exclude_prefix tmp:");
    struct rig *rig = live_rig_of(NOTHING);
    FEED(rig, "EVAL code 1 tmp:1", "EVALSHA sha 1 a");
    rig_expect(rig, 0, "0 SCRIPT LOAD code\n0 EVALSHA sha 1 a\n");
    rig_free(rig);
    RULES("exclude_command @scripting");
    rig = live_rig_of(NOTHING);
    FEED(rig, "EVAL code 1 tmp:1", "EVALSHA sha 1 a", "SET a 1");
    rig_expect(rig, 0, "0 SET a 1\n");
    rig_free(rig);
}

/* A RENAME over two slots is never a script, which no cluster takes: it is relayed. */
static void test_rename_over_slots(void **state)
{
    (void)state;
    RULES("exclude_type string", "rename_prefix old:={foo}");
    struct rig *rig = live_rig_of(
        (struct rig_options){.is_cluster = true, .lanes = 2, .shards = 2, .answerer = rig_give});
    FEED(rig, "RENAME old:1 old:2");
    assert_non_null(strstr(rig->peers[1].text, "0 EVAL if?redis"));
    rig_forget(rig, 1);
    FEED(rig, "RENAME old:1 bar");
    rig_expect(rig, 1, "0 DUMP {foo}1\n0 PEXPIRETIME {foo}1\n0 UNLINK {foo}1\n");
    rig_expect(rig, 0, "0 RESTORE bar 0 " RIG_GIVEN_TEXT " REPLACE\n");
    rig_free(rig);
}

/* ---- what stops ---- */

static void test_stops(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        const char *texts[3];
    } cases[] = {
        {"RENAME tmp:secret secret",
         {"RENAME takes selected keys together with others",
          "(exclude_prefix[0])",
          "--on-partial"}},
        {"LMOVE tmp:1 a LEFT LEFT", {"LMOVE takes selected keys", "offset 10", NULL}},
        {"SUNIONSTORE a b tmp:1", {"SUNIONSTORE takes selected keys", "source0:6379", NULL}},
        {"EVAL secret 0", {"EVAL is a script", "--exclude-command", NULL}},
        {"SORT a BY secret* STORE d", {"SORT reads keys that only its BY or GET", NULL, NULL}},
        {"SET new:secret 1", {"SET: the key with hash", "rename_prefix[0]", "rename this one too"}},
        {"FLUSHALL", {"FLUSHALL is not applied (--on-flush stop)", NULL, NULL}},
        {"FLUSHDB", {"FLUSHDB is not applied (--on-flush stop)", NULL, NULL}},
        {"SWAPDB 0 1", {"SWAPDB acts on whole databases", NULL, NULL}},
    };
    RULES("exclude_prefix tmp:", "rename_prefix old:=new:");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig *rig = live_rig_of(NOTHING);
        rig->task.on_flush = FLUSH_STOP;
        rig_command(rig, 0, cases[i].command);
        FAILS(rig, cases[i].texts[0]);
        for (int n = 1; n < 3 && cases[i].texts[n] != NULL; n++) {
            FAILS(rig, cases[i].texts[n]);
        }
        assert_true(router_drain(&rig->decoders[0].router));
        bool is_script = strncmp(cases[i].command, "EVAL ", 5) == 0;
        rig_expect(rig, 0, is_script ? "0 SCRIPT LOAD secret\n" : "");
        rig_free(rig);
    }
    /* Also inside a transaction, before anything of it is written. */
    struct rig *rig = live_rig_of(NOTHING);
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET a 1");
    rig_command(rig, 0, "RENAME tmp:1 b");
    FAILS(rig, "RENAME takes selected keys");
    rig_expect(rig, 0, "");
    rig_free(rig);
    RULES("exclude_type set");
    rig = live_rig_of(NOTHING);
    rig_command(rig, 0, "ZUNIONSTORE d 2 a b");
    FAILS(rig, "ZUNIONSTORE may read keys of a type that is not selected (exclude_type[0])");
    rig_free(rig);
}

/* Asked to, it goes on without what cannot be known, counts it, and says so. */
static void test_drops_partial(void **state)
{
    (void)state;
    RULES("exclude_prefix tmp:");
    struct rig *rig = live_rig_of((struct rig_options){.drops_partial = true});
    FEED(rig, "RENAME tmp:1 a", "MULTI", "SET b 1", "LMOVE tmp:1 a LEFT LEFT", "SET c 1", "EXEC");
    rig_expect(rig, 0, "0 MULTI\n0 SET b 1\n0 SET c 1\n0 EXEC\n");
    assert_int_equal(rig->sources[0].stream.partial_dropped, 2);
    assert_int_equal(dropped(rig), 2);
    rig_free(rig);
}

/* A command that this version does not know can be left out by its name, so that a task gets past
 * it. */
static void test_unknown_commands(void **state)
{
    (void)state;
    RULES("exclude_command foo.bar");
    struct rig *rig = live_rig_of(NOTHING);
    FEED(rig, "Foo.Bar a b", "SET a 1");
    rig_expect(rig, 0, "0 SET a 1\n");
    assert_int_equal(dropped(rig), 1);
    rig_command(rig, 0, "FOO.BAZ a");
    FAILS(rig, "FOO.BAZ is not a command that this version knows", "--exclude-command");
    rig_free(rig);
}

/* ---- snapshots ---- */

static void feed_snapshot(struct rig *rig, struct bytes *rdb, size_t piece)
{
    rig_session(rig, 0, (int64_t)rdb->size, NULL, 0);
    rig_feed(rig, 0, rdb->bytes, rdb->size, piece);
    rig_settle(rig);
}

/* Keys are skipped before their values are gathered, whatever their size and however the bytes
 * come; names are those of the destination. */
static void test_snapshot(void **state)
{
    (void)state;
    RULES("exclude_prefix tmp:", "exclude_type list", "rename_prefix old:=a:longer:name:");
    struct bytes rdb = {0};
    struct bytes large = {0};
    for (int i = 0; i < 5000; i++) {
        bytes_add(&large, "0123456789", 10);
    }
    rdb_open(&rdb);
    rdb_string_add(&rdb, "a", "1", 1);
    rdb_string_add(&rdb, "tmp:1", "x", 1);
    rdb_list_add(&rdb, "l", 2000, 30); /* 62000 bytes that nobody may hold */
    rdb_string_add(&rdb, "tmp:large", large.bytes, large.size);
    rdb_string_add(&rdb, "old:1", "2", 1);
    rdb_expire(&rdb, 4102444800000);
    rdb_string_add(&rdb, "old:2", "3", 1);
    rdb_string_add(&rdb, "old:large", large.bytes, large.size);
    rdb_string_add(&rdb, "b", "4", 1);
    rdb_close(&rdb);
    for (size_t piece = 1; piece < 3000; piece = piece < 8 ? piece + 1 : piece * 5) {
        struct rig *rig = rig_of((struct rig_options){.chunk_bytes = 1024,
                                                      .headroom_bytes = 256,
                                                      .hold_bytes_free = 2048,
                                                      .hold_bytes_max = 55000});
        feed_snapshot(rig, &rdb, piece);
        struct peer *peer = &rig->peers[0];
        assert_int_equal(rig_peer_value(rig, 0, &peer->effect_count), 5);
        assert_int_equal(rig_peer_value(rig, 0, &peer->restore_bad), 0);
        assert_non_null(strstr(peer->text, " MSET a 1 a:longer:name:1 2\n"));
        assert_non_null(strstr(peer->text, " SET a:longer:name:2 3 PXAT 4102444800000\n"));
        assert_non_null(strstr(peer->text, " RESTORE a:longer:name:large 0 "));
        assert_non_null(strstr(peer->text, " SET b 4\n"));
        assert_int_equal(rig->sources[0].stream.keys_read, 8);
        assert_int_equal(rig->sources[0].stream.keys_dropped, 3);
        rig_free(rig);
    }
    bytes_free(&large);
    bytes_free(&rdb);
}

/* A value that the destination cannot load is rewritten under its new name, or not at all. */
static void test_snapshot_rewrite(void **state)
{
    (void)state;
    RULES("rename_prefix old:=n:", "exclude_prefix tmp:");
    struct bytes rdb = {0};
    rdb_open(&rdb);
    rdb_list_add(&rdb, "old:l", 2, 3);
    rdb_list_add(&rdb, "tmp:l", 2, 3);
    rdb_list_add(&rdb, "l", 1, 3);
    rdb_close(&rdb);
    for (size_t piece = 1; piece < 40; piece += 3) {
        struct rig *rig = rig_of(NOTHING);
        rig->task.intake.restore_version[0][RDB_TYPE_LIST] = 0;
        feed_snapshot(rig, &rdb, piece);
        rig_expect(rig, 0, "0 DEL n:l\n0 RPUSH n:l abc abc\n0 DEL l\n0 RPUSH l abc\n");
        assert_int_equal(rig->sources[0].stream.values_rewritten, 2);
        rig_free(rig);
    }
    bytes_free(&rdb);
}

/* The new name decides the shard also in a snapshot. */
static void test_snapshot_cluster(void **state)
{
    (void)state;
    RULES("rename_prefix {foo}=");
    struct bytes rdb = {0};
    rdb_open(&rdb);
    rdb_string_add(&rdb, "{foo}bar", "1", 1); /* bar is in slot 5061, foo in 12182 */
    rdb_string_add(&rdb, "{foo}foo", "2", 1);
    rdb_list_add(&rdb, "{foo}{bar}", 2, 3);
    rdb_close(&rdb);
    struct rig *rig = rig_of((struct rig_options){.is_cluster = true, .lanes = 2, .shards = 2});
    feed_snapshot(rig, &rdb, 0);
    assert_non_null(strstr(rig->peers[0].text, "0 SET bar 1\n0 RESTORE {bar} 0 "));
    rig_expect(rig, 1, "0 SET foo 2\n");
    rig_free(rig);
    bytes_free(&rdb);
}

/* Functions and scripts of a snapshot go with the commands that would make them. */
static void test_snapshot_functions(void **state)
{
    (void)state;
    struct bytes rdb = {0};
    rdb_open(&rdb);
    bytes_add(&rdb,
              "\xf5\x04"
              "code",
              6);
    bytes_add(&rdb,
              "\xfa\x03lua\x04"
              "body",
              10);
    rdb_string_add(&rdb, "a", "1", 1);
    rdb_close(&rdb);
    static const struct {
        const char *rule;
        const char *expected;
    } cases[] = {
        {"exclude_command FUNCTION", "0 SCRIPT LOAD body\n0 SET a 1\n"},
        {"exclude_command @scripting", "0 SET a 1\n"},
        {"include_command @string", "0 SET a 1\n"},
        {"exclude_command SCRIPT", "0 FUNCTION LOAD REPLACE code\n0 SET a 1\n"},
        {"exclude_prefix x", "0 FUNCTION LOAD REPLACE code\n0 SCRIPT LOAD body\n0 SET a 1\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        select_lines(&rules, (const char *const[]){cases[i].rule, NULL});
        struct rig *rig = rig_of(NOTHING);
        feed_snapshot(rig, &rdb, 0);
        rig_expect(rig, 0, cases[i].expected);
        rig_free(rig);
    }
    bytes_free(&rdb);
}

static void test_snapshot_claimed(void **state)
{
    (void)state;
    RULES("rename_prefix old:=new:");
    struct bytes rdb = {0};
    rdb_open(&rdb);
    rdb_string_add(&rdb, "new:secret", "1", 1);
    rdb_close(&rdb);
    struct rig *rig = rig_of(NOTHING);
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 0);
    rig_feed(rig, 0, rdb.bytes, rdb.size, 0);
    FAILS(rig, "source0:6379: the key with hash", "rename_prefix[0] gives that name");
    rig_free(rig);
    bytes_free(&rdb);
}

/* A second full copy counts anew. */
static void test_snapshot_again(void **state)
{
    (void)state;
    RULES("exclude_prefix x");
    struct bytes rdb = {0};
    rdb_open(&rdb);
    rdb_string_add(&rdb, "x1", "1", 1);
    rdb_string_add(&rdb, "a", "1", 1);
    rdb_close(&rdb);
    struct rig *rig = rig_of(NOTHING);
    feed_snapshot(rig, &rdb, 0);
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 0);
    rig_feed(rig, 0, rdb.bytes, rdb.size, 0);
    atomic_store_release(&rig->sources[0].stream.sweep_wanted, false);
    rig_settle(rig);
    rig_expect(rig, 0, "0 SET a 1\n0 SET a 1\n");
    assert_int_equal(rig->sources[0].stream.keys_dropped, 1);
    rig_free(rig);
    bytes_free(&rdb);
}

/* ---- room ---- */

static void feed_set(struct rig *rig, uint32_t source, const char *key, size_t size)
{
    uint8_t *value = mem_calloc(MEM_TOOLS, size);
    ASSERT(value != NULL);
    memset(value, 'v', size);
    struct bytes command = {0};
    struct slice args[3] = {
        {(const uint8_t *)"SET", 3}, {(const uint8_t *)key, strlen(key)}, {value, size}};
    resp_add_args(&command, 3, args);
    rig_feed(rig, source, command.bytes, command.size, 0);
    bytes_free(&command);
    mem_free(MEM_TOOLS, value);
}

/* A large command and its copy under another name fit one item's bound together, or are refused
 * with what to do; one that is not written anew needs no such room. What was held is given back. */
static void test_room(void **state)
{
    (void)state;
    RULES("exclude_prefix tmp:", "rename_prefix old:=n:");
    const size_t most = 400000;
    struct rig_options options = {.hold_bytes_free = 10000, .hold_bytes_max = most};
    struct rig *rig = live_rig_of(options);
    feed_set(rig, 0, "a", most - 1000);
    feed_set(rig, 0, "tmp:1", most - 1000);
    feed_set(rig, 0, "old:1", most / 2 - 1000);
    rig_command(rig, 0, "SET old:2 x");
    rig_settle(rig);
    struct peer *peer = &rig->peers[0];
    assert_int_equal(rig_peer_value(rig, 0, &peer->effect_count), 3);
    assert_non_null(strstr(peer->text, "0 SET a vvvv"));
    assert_non_null(strstr(peer->text, "0 SET n:1 vvvv"));
    assert_non_null(strstr(peer->text, "0 SET n:2 x\n"));
    assert_null(atomic_load_acquire(&rig->task.hold_owner));
    assert_true(atomic_load_relaxed(&rig->task.hold_bytes) <= 2 * 10000);
    feed_set(rig, 0, "old:1", most - 100000);
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, SYN_CODE_MEMORY);
    assert_non_null(strstr(err->msg, "and its copy under other names"));
    assert_non_null(strstr(err->msg, "raise --memory"));
    rig_free(rig);
}

/* Another stream has the right to hold much: the command waits, whole, and is taken once. */
static void test_waits_for_room(void **state)
{
    (void)state;
    RULES(
        "rename_prefix old:=a:name:that:is:much:longer:than:before:so:that:sixty:of:them:need:more:"
        "than:the:free:share:of:what:may:be:held:");
    struct rig *rig = rig_of((struct rig_options){.streams = 2,
                                                  .chunk_bytes = 4096,
                                                  .headroom_bytes = 1024,
                                                  .chunk_count = 64,
                                                  .hold_bytes_free = 6000,
                                                  .hold_bytes_max = 1000000});
    rig_live(rig, 0, 0);
    rig_live(rig, 1, 0);
    /* Stream 1 is in the middle of something large. */
    rig_feed_text(rig, 1, "*3\r\n$3\r\nSET\r\n$1\r\nz\r\n$50000\r\n");
    uint8_t zeros[20000] = {0};
    rig_feed(rig, 1, zeros, sizeof(zeros), 0);
    assert_ptr_equal(atomic_load_acquire(&rig->task.hold_owner), &rig->sources[1].stream);
    /* Keys that fit, and grow to more than the free share. */
    struct bytes command = {0};
    char words[4000] = "DEL";
    for (int i = 0; i < 60; i++) {
        snprintf(words + strlen(words), 40, " old:%d", i);
    }
    resp_add(&command, words);
    struct bytes many = {0};
    for (int i = 0; i < 3; i++) {
        bytes_add(&many, command.bytes, command.size);
    }
    rig_command(rig, 0, "SET before 1");
    rig_feed(rig, 0, many.bytes, many.size, 0);
    rig_command(rig, 0, "SET after 1");
    rig_step(rig);
    assert_true(rig->sources[0].stream.is_hold_blocked);
    assert_int_equal(rig->sources[0].stream.commands, 1);
    assert_false(stream_is_drained(&rig->sources[0].stream));
    /* … which ends. */
    rig_feed(rig, 1, zeros, sizeof(zeros), 0);
    rig_feed(rig, 1, zeros, 10000, 0);
    rig_feed_text(rig, 1, "\r\n");
    rig_settle(rig);
    assert_int_equal(rig->sources[0].stream.commands, 5);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), 6);
    assert_null(atomic_load_acquire(&rig->task.hold_owner));
    bytes_free(&command);
    bytes_free(&many);
    rig_free(rig);
}

/* The same stream in pieces of every kind, over chunks of any size: the commands that come out are
 * the same. */
static void test_cuts(void **state)
{
    (void)state;
    RULES("exclude_suffix 3", "rename_prefix k=something:longer:", "exclude_type stream");
    struct random random = {4711};
    struct bytes stream = {0};
    for (int i = 0; i < 400; i++) {
        static const char *const forms[] = {"SET k%u v%u",
                                            "DEL k%u x%u k3",
                                            "MSET k%u 1 k%u 2 a3 3",
                                            "XADD k%u 1-%u f v",
                                            "RENAME k%u 3",
                                            "MULTI",
                                            "EXEC",
                                            "SELECT %u",
                                            "HSET h%u f v"};
        char words[128];
        uint32_t form = random_below(&random, 9);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(
            words, sizeof(words), forms[form], random_below(&random, 9), random_below(&random, 9));
#pragma GCC diagnostic pop
        resp_add(&stream, words);
    }
    resp_add(&stream, "EXEC");
    uint64_t digest = 0;
    uint64_t count = 0;
    static const size_t pieces[] = {0, 1, 3, 17, 100};
    for (size_t i = 0; i < 5; i++) {
        struct rig *rig = live_rig_of((struct rig_options){.chunk_bytes = i == 0 ? 1 << 16 : 200,
                                                           .headroom_bytes = 20 * (uint32_t)i});
        rig_feed(rig, 0, stream.bytes, stream.size, pieces[i]);
        rig_settle(rig);
        struct peer *peer = &rig->peers[0];
        if (i == 0) {
            digest = rig_peer_value(rig, 0, &peer->digest);
            count = rig_peer_value(rig, 0, &peer->effect_count);
            assert_true(count > 100);
        }
        assert_int_equal(rig_peer_value(rig, 0, &peer->effect_count), count);
        assert_int_equal(rig_peer_value(rig, 0, &peer->digest), digest);
        rig_free(rig);
    }
    bytes_free(&stream);
}

/* Every allocation fails in turn: an error each time, nothing lost. */
static void test_no_memory(void **state)
{
    (void)state;
    RULES("rename_prefix old:=n:");
    bool is_done = false;
    for (uint64_t n = 1; !is_done; n++) {
        struct rig *rig = live_rig_of((struct rig_options){.chunk_bytes = 65536});
        struct bytes stream = {0};
        char words[8000] = "DEL";
        for (int i = 0; i < 500; i++) {
            snprintf(words + strlen(words), 12, " old:%d", i);
        }
        struct slice args[64];
        for (uint32_t i = 0; i < 64; i++) {
            args[i] = (struct slice){(const uint8_t *)"old:x", 5};
        }
        args[0] = (struct slice){(const uint8_t *)"DEL", 3};
        for (int i = 0; i < 3; i++) {
            resp_add_args(&stream, 64, args);
        }
        resp_add(&stream, "SET old:1 1");
        mem_fail_at(n);
        rig_feed(rig, 0, stream.bytes, stream.size, 0);
        mem_fail_at(0);
        is_done = !rig->is_failed;
        if (rig->is_failed) {
            assert_int_equal(rig->err.code, SYN_CODE_MEMORY);
        } else {
            rig_settle(rig);
            assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), 4);
        }
        bytes_free(&stream);
        rig_free(rig);
        assert_true(n < 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_cluster),
        cmocka_unit_test(test_databases),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_rename_over_slots),
        cmocka_unit_test(test_missing_over_slots),
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_drops_partial),
        cmocka_unit_test(test_unknown_commands),
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_snapshot_rewrite),
        cmocka_unit_test(test_snapshot_cluster),
        cmocka_unit_test(test_snapshot_functions),
        cmocka_unit_test(test_snapshot_claimed),
        cmocka_unit_test(test_snapshot_again),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_waits_for_room),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
