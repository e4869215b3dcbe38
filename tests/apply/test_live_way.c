/* What live_way says of a command is what the pipeline does with it: every kind of command is given
 * to both, for every kind of destination. */
#include "apply/live_way.h"
#include "apply/relay_private.h"
#include "tests/apply/pipeline_rig.h"

#include <stdio.h>

/* One of each class and shape, and of each command that is relayed, with keys in one slot and in
 * two. Slots: foo 12182, bar 5061, with different remainders by two; {foo}x is where foo is, x
 * (16287) on foo's shard. */
static const char *const commands[] = {
    "SET foo 1",
    "INCR bar",
    "XADD foo 1-1 f v",
    "XADD bar MAXLEN = 5 LIMIT 10 1-1 f v",
    "XTRIM foo MAXLEN = 5 LIMIT 10",
    "DEL foo",
    "DEL foo {foo}x",
    "DEL foo bar",
    "UNLINK bar foo bar",
    "MSET foo 1 {foo}x 2",
    "MSET foo 1 bar 2",
    "MSETNX foo 1 bar 2",
    "MSETEX 2 foo 1 bar 2",
    "RENAME foo {foo}x",
    "RENAME foo bar",
    "SUNIONSTORE foo {foo}x {foo}y",
    "SUNIONSTORE foo bar",
    "RENAME foo x",
    "RENAMENX foo bar",
    "RENAMENX foo {foo}x",
    "LMOVE foo bar LEFT LEFT",
    "LMOVE foo {foo}x LEFT LEFT",
    "BLMOVE foo bar LEFT LEFT 0",
    "RPOPLPUSH foo bar",
    "RPOPLPUSH foo foo",
    "BRPOPLPUSH bar foo 0",
    "SMOVE foo bar m",
    "SMOVE foo {foo}x m",
    "SINTERSTORE foo bar",
    "SDIFFSTORE {foo}x foo bar",
    "ZUNIONSTORE foo 2 bar x WEIGHTS 1 2",
    "ZINTERSTORE foo 1 bar",
    "ZDIFFSTORE foo 2 bar foo",
    "ZRANGESTORE foo bar 0 -1",
    "ZRANGESTORE foo {foo}x 0 -1",
    "GEOSEARCHSTORE foo bar FROMLONLAT 1 1 BYRADIUS 1 km",
    "GEORADIUS foo 1 1 1 km STORE bar",
    "GEORADIUS foo 1 1 1 km STORE {foo}x",
    "GEORADIUSBYMEMBER foo m 1 km STORE bar",
    "BITOP AND foo bar x",
    "PFMERGE foo bar",
    "PFMERGE foo {foo}x",
    "PFCOUNT foo bar",
    "MSETEX 2 foo 1 {foo}x 2 PX 100000",
    "LMPOP 2 foo bar LEFT",
    "EVAL code 1 foo",
    "EVAL code 2 foo {foo}x",
    "EVAL code 2 foo bar",
    "EVAL code 0",
    "FCALL f 1 bar",
    "MOVE foo 2",
    "MOVE foo 1",
    "MOVE foo 0",
    "COPY foo {foo}x",
    "COPY foo bar",
    "COPY foo {foo}x DB 2",
    "COPY foo {foo}x DB 1",
    "COPY foo bar REPLACE",
    "COPY foo bar DB 2",
    "COPY foo bar DB 0",
    "SWAPDB 0 2",
    "SWAPDB 0 1",
    "SWAPDB 1 9",
    "SWAPDB 2 2",
    "FLUSHDB",
    "FLUSHALL",
    "FUNCTION LOAD code",
    "FUNCTION FLUSH",
    "FUNCTION DUMP",
    "SCRIPT LOAD code",
    "SCRIPT EXISTS x",
    "GET foo",
    "TOUCH foo bar",
    "PFCOUNT foo",
    "PUBLISH c m",
    "SPUBLISH c m",
    "PING",
    "CLUSTER FLUSHSLOTS",
    "CLUSTER FLUSHSLOT 1",
    "SORT foo STORE {foo}x",
    "SORT foo BY w_* STORE {foo}x",
    "SORT foo BY nosort GET # LIMIT 0 5 STORE foo",
    "SORT foo BY w_* STORE bar",
    "SORT foo STORE bar",
    "SORT foo BY nosort LIMIT 0 5 ALPHA STORE bar",
    "SORT foo GET # STORE bar",
};

/* Lines of what the peer received, but for SELECT. */
static uint64_t operations(struct rig *rig, uint32_t i)
{
    uint64_t count = 0;
    struct peer *peer = &rig->peers[i];
    pthread_mutex_lock(&peer->lock);
    const char *at = peer->text_size > 0 ? peer->text : "";
    for (; *at != '\0'; at = strchr(at, '\n') + 1) {
        count += strncmp(strchr(at, ' '), " SELECT", 7) != 0;
    }
    pthread_mutex_unlock(&peer->lock);
    rig_forget(rig, i);
    return count;
}

/* The script of an EVAL goes to every shard before its first run, which no later one tells of. */
static void load_script(struct rig *rig)
{
    rig_command(rig, 0, "SELECT 0");
    rig_command(rig, 0, "EVAL code 1 foo");
    assert_true(router_drain(&rig->decoders[0].router));
    for (uint32_t i = 0; i < rig->options.lanes; i++) {
        rig_forget(rig, i);
    }
}

/* Nothing of the command was sent, and its keys are to be read at the source, which is none here.
 */
static void expect_unread(struct rig *rig)
{
    assert_int_equal(rig->err.code, SYN_CODE_SOURCE_CONNECT);
    assert_non_null(strstr(rig->err.msg, "cannot be read again"));
    for (uint32_t i = 0; i < rig->options.lanes; i++) {
        rig_expect(rig, i, "");
    }
}

/* What came out, as a way; the number of operations in *count. */
static enum live_way way_taken(struct rig *rig, const char *words, uint64_t *count)
{
    struct stream *stream = &rig->sources[0].stream;
    struct decoder *decoder = &rig->decoders[0];
    uint64_t dropped = atomic_load_relaxed(&stream->dropped);
    struct bytes command = {0};
    resp_add(&command, words);
    rig_feed(rig, 0, command.bytes, command.size, 0);
    bytes_free(&command);
    if (rig->is_failed && rig->err.code == SYN_CODE_SOURCE_CONNECT) {
        expect_unread(rig);
        return LIVE_REFETCH;
    }
    if (rig->is_failed) {
        assert_int_equal(rig->err.code, SYN_CODE_UNSUPPORTED);
        return LIVE_REFUSE;
    }
    bool is_idle = router_is_idle(&decoder->router);
    assert_true(relay_drain(&decoder->relay, &rig->err));
    assert_true(router_drain(&decoder->router));
    *count = 0;
    for (uint32_t i = 0; i < rig->options.lanes; i++) {
        *count += operations(rig, i);
    }
    if (*count == 0) {
        assert_int_equal(stream->dropped, dropped + 1);
        return LIVE_DROP;
    }
    if (stream->relayed > 0) {
        assert_int_equal(stream->relayed, 1);
        assert_null(stream->recovery);
        return LIVE_RELAY;
    }
    return is_idle ? LIVE_BARRIER : *count > 1 ? LIVE_SPLIT : LIVE_FORWARD;
}

static bool ways_seen[LIVE_WAY_COUNT];

static void compare(const struct rig_options *options, uint32_t source_db, const char *words)
{
    static struct key_list keys;
    static uint8_t bytes[4096];
    struct rig_options with_answers = *options;
    with_answers.answerer = rig_give;
    struct rig *rig = rig_new(&with_answers);
    rig_live(rig, 0, 1000);
    load_script(rig);
    char select[32];
    snprintf(select, sizeof(select), "SELECT %u", source_db);
    rig_command(rig, 0, select);

    struct bytes encoded = {0};
    resp_add(&encoded, words);
    memcpy(bytes, encoded.bytes, encoded.size);
    struct resp_cutter cutter;
    struct resp_command command;
    struct syn_err err;
    size_t wanted;
    assert_true(resp_cutter_init(&cutter, 64, 1 << 20, &err));
    assert_int_equal(resp_cut(&cutter, bytes, encoded.size, &wanted, &command, &err), RESP_READY);
    const struct command_info *info =
        command_find(bytes + command.argv[0].pos, command.argv[0].size);
    assert_non_null(info);
    assert_true(key_list_init(&keys, &err));
    assert_true(command_keys(info, bytes, &command, &keys, &err));
    uint32_t shards = options->is_cluster ? 2 : 1;
    const struct live_target target = {options->is_cluster, rig->options.lanes / shards};
    const char *why;
    enum live_way told =
        live_way(&rig->task, &target, info, bytes, &command, &keys, source_db, &why);

    uint64_t count = 0;
    enum live_way taken = way_taken(rig, words, &count);
    if (told != taken) {
        fail_msg("%s in database %u, %s, %u lanes: told %d (%s), taken %d",
                 words,
                 source_db,
                 options->is_cluster ? "cluster" : "standalone",
                 rig->options.lanes,
                 told,
                 why != NULL ? why : "",
                 taken);
    }
    if (told == LIVE_SPLIT) {
        assert_int_equal(count, keys.count);
    }
    if (told == LIVE_REFUSE || told == LIVE_DROP || told == LIVE_SPLIT || told == LIVE_RELAY ||
        told == LIVE_REFETCH) {
        assert_non_null(why);
    }
    ways_seen[told] = true;
    key_list_deinit(&keys);
    resp_cutter_deinit(&cutter);
    bytes_free(&encoded);
    rig_free(rig);
}

static void test_ways(void **state)
{
    (void)state;
    static const uint16_t map[] = {0, UINT16_MAX, 3};
    static const struct rig_options destinations[] = {
        {.is_stepped = true},
        {.is_stepped = true, .lanes = 2},
        {.is_stepped = true, .lanes = 2, .publishes = true},
        {.is_stepped = true, .lanes = 2, .shards = 2, .is_cluster = true},
        {.is_stepped = true, .db_map = map, .db_map_count = 3},
        {.is_stepped = true, .db_map = map, .db_map_count = 3, .lanes = 2},
        {.is_stepped = true,
         .db_map = map,
         .db_map_count = 3,
         .lanes = 2,
         .shards = 2,
         .is_cluster = true,
         .publishes = true},
    };
    for (size_t d = 0; d < sizeof(destinations) / sizeof(destinations[0]); d++) {
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
            for (uint32_t db = 0; db < 3; db++) {
                compare(&destinations[d], db, commands[i]);
            }
        }
    }
    for (int way = 0; way < LIVE_WAY_COUNT; way++) {
        assert_true(ways_seen[way] || way == LIVE_PROTOCOL);
    }
}

/* No kind of relay is missing from the commands above. */
static void test_kinds(void **state)
{
    (void)state;
    bool is_seen[RELAY_KIND_COUNT] = {false};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        const struct command_info *info =
            command_find((const uint8_t *)commands[i], strcspn(commands[i], " "));
        assert_non_null(info);
        is_seen[relay_kind(info)] = true;
    }
    for (int kind = 0; kind < RELAY_KIND_COUNT; kind++) {
        assert_true(is_seen[kind]);
    }
}

/* Commands that the stream reads for itself. */
static void test_protocol(void **state)
{
    (void)state;
    static const char *const names[] = {"SELECT", "MULTI", "EXEC", "REPLCONF"};
    static const struct live_target target = {.lanes = 1};
    static const struct task task;
    struct key_list keys = {0};
    for (size_t i = 0; i < 4; i++) {
        const struct command_info *info = command_find((const uint8_t *)names[i], strlen(names[i]));
        const char *why;
        struct resp_command command = {.argc = 1};
        assert_int_equal(live_way(&task, &target, info, NULL, &command, &keys, 0, &why),
                         LIVE_PROTOCOL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ways),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_protocol),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
