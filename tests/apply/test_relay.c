/*
 * Relays, one at a time: what each command becomes, on which lane, and what waits for what. Three
 * shards: b, f, bar are on the first; c, g, k, z on the second; a, d, e, x, foo on the third.
 */
#include "tests/apply/pipeline_rig.h"

#include "apply/recovery_private.h"
#include "apply/relay_private.h"

#include <stdio.h>
#include <stdlib.h>

/* What DUMP, PEXPIRETIME, PTTL and pops are answered with. */
struct answers_given {
    _Atomic bool is_absent; /* W: test, release. R: peers, acquire; the others as well */
    _Atomic bool has_member;
    _Atomic int64_t expiry;
    _Atomic size_t size; /* of the value */
};

static void put_payload(struct bytes *out, size_t size)
{
    struct bytes payload = {0};
    bytes_add(&payload, (const uint8_t[]){RDB_TYPE_STRING, 0x80, 0, 0}, 4);
    bytes_add(&payload, (const uint8_t[]){(uint8_t)(size >> 8), (uint8_t)size}, 2);
    for (size_t i = 0; i < size; i++) {
        bytes_add(&payload, "v", 1);
    }
    uint8_t footer[RDB_FOOTER_SIZE];
    rdb_footer_write(footer, crc64_update(0, payload.bytes, payload.size), 9);
    bytes_add(&payload, footer, sizeof(footer));
    uint8_t head[RESP_HEAD_MAX];
    bytes_add(out, head, (size_t)(resp_put_head(head, '$', payload.size) - head));
    bytes_add(out, payload.bytes, payload.size);
    bytes_add(out, "\r\n", 2);
    bytes_free(&payload);
}

static bool name_is(const uint8_t *bytes, const struct resp_command *command, const char *name)
{
    return command->argv[0].size == strlen(name) &&
           memcmp(bytes + command->argv[0].pos, name, strlen(name)) == 0;
}

static bool give(void *arg,
                 uint32_t peer,
                 const uint8_t *bytes,
                 const struct resp_command *command,
                 struct bytes *out)
{
    struct answers_given *set = arg;
    bool is_absent = atomic_load_acquire(&set->is_absent);
    char text[40];
    (void)peer;
    if (name_is(bytes, command, "PEXPIRETIME") || name_is(bytes, command, "PTTL")) {
        snprintf(text, sizeof(text), ":%lld\r\n", (long long)atomic_load_acquire(&set->expiry));
        bytes_add(out, text, strlen(text));
    } else if (name_is(bytes, command, "DUMP") && !is_absent) {
        put_payload(out, atomic_load_acquire(&set->size));
    } else if (name_is(bytes, command, "RPOP") && !is_absent) {
        bytes_add(out, "$7\r\nelement\r\n", 13);
    } else if (name_is(bytes, command, "LPOP") && !is_absent) {
        bytes_add(out, "$0\r\n\r\n", 6);
    } else if (name_is(bytes, command, "SADD") && atomic_load_acquire(&set->has_member)) {
        bytes_add(out, ":0\r\n", 4);
    } else if (name_is(bytes, command, "DUMP") || name_is(bytes, command, "RPOP") ||
               name_is(bytes, command, "LPOP")) {
        bytes_add(out, "$-1\r\n", 5);
    } else {
        return false;
    }
    return true;
}

static struct answers_given given;

static void given_reset(void)
{
    atomic_store_release(&given.is_absent, false);
    atomic_store_release(&given.has_member, false);
    atomic_store_release(&given.expiry, -1);
    atomic_store_release(&given.size, 3);
}

static struct rig *relay_rig_with(struct rig_options options)
{
    given_reset();
    options.is_stepped = true;
    options.is_cluster = true;
    options.lanes = 3;
    options.shards = 3;
    options.answerer = give;
    options.answerer_arg = &given;
    struct rig *rig = rig_new(&options);
    rig_live(rig, 0, 1000);
    return rig;
}

static struct rig *relay_rig(void)
{
    return relay_rig_with((struct rig_options){0});
}

static void expect(struct rig *rig, const char *first, const char *second, const char *third)
{
    rig_settle(rig);
    rig_expect(rig, 0, first);
    rig_expect(rig, 1, second);
    rig_expect(rig, 2, third);
}

static uint64_t relayed(struct rig *rig)
{
    return rig->sources[0].stream.relayed;
}

static uint64_t applied(struct rig *rig)
{
    return atomic_load_acquire(&rig->sources[0].feed.offset_applied);
}

/* The temporary key of shard 1's slot of c, as the peer shows it. */
static const char *temp(const char *target, uint32_t n)
{
    static char texts[4][60];
    char tag[RELAY_TAG_MAX];
    relay_tag(slot_of_key(target, strlen(target)), tag);
    snprintf(texts[n], sizeof(texts[n]), RELAY_PREFIX "{%s}:%u", tag, n);
    assert_int_equal(slot_of_key(texts[n], strlen(texts[n])), slot_of_key(target, strlen(target)));
    return texts[n];
}

/* These keys, and no others, are to be read at the source, which is none here. */
static void expect_refetch(struct rig *rig, const char *keys)
{
    const struct syn_err *err = rig_failure(rig);
    assert_int_equal(err->code, SYN_CODE_SOURCE_CONNECT);
    assert_non_null(strstr(err->msg, "cannot be read again"));
    uint32_t count = 0;
    while (*keys != '\0') {
        size_t size = strcspn(keys, " ");
        struct slice key = {(const uint8_t *)keys, size};
        assert_true(recovery_is_dirty(&rig->sources[0].stream, 0, &key));
        keys += size + (keys[size] == ' ');
        count++;
    }
    assert_int_equal(rig->sources[0].stream.recovery->count, count);
}

/* ---- what becomes of each command ---- */

/* The popped element is the message: it leaves from the end, and arrives at the end, that the
 * command says; an element may be empty. */
static void test_moves(void **state)
{
    (void)state;
    struct rig *rig = relay_rig();
    rig_command(rig, 0, "RPOPLPUSH b c");
    expect(rig, "0 RPOP b\n", "0 LPUSH c element\n", "");
    rig_command(rig, 0, "LMOVE b a LEFT RIGHT");
    expect(rig, "0 LPOP b\n", "", "0 RPUSH a \n");
    rig_command(rig, 0, "lmove a c right left");
    expect(rig, "", "0 LPUSH c element\n", "0 RPOP a\n");
    rig_command(rig, 0, "BRPOPLPUSH c b 0");
    expect(rig, "0 LPUSH b element\n", "0 RPOP c\n", "");
    rig_command(rig, 0, "BLMOVE c b LEFT LEFT 0");
    expect(rig, "0 LPUSH b \n", "0 LPOP c\n", "");
    rig_command(rig, 0, "LMOVE {b}1 {b}2 LEFT LEFT");
    expect(rig, "0 LMOVE {b}1 {b}2 LEFT LEFT\n", "", "");
    assert_int_equal(relayed(rig), 5);
    rig_free(rig);
}

/* The value moves whole, with its expiry to the millisecond. */
static void test_rename(void **state)
{
    (void)state;
    struct rig *rig = relay_rig();
    rig_command(rig, 0, "RENAME b c");
    rig_settle(rig);
    rig_expect(rig, 0, "0 DUMP b\n0 PEXPIRETIME b\n0 UNLINK b\n");
    pthread_mutex_lock(&rig->peers[1].lock);
    assert_non_null(strstr(rig->peers[1].text, "0 RESTORE c 0 "));
    assert_non_null(strstr(rig->peers[1].text, " REPLACE\n"));
    pthread_mutex_unlock(&rig->peers[1].lock);
    rig_forget(rig, 1);
    atomic_store_release(&given.expiry, 4102444800123);
    rig_command(rig, 0, "RENAMENX c a");
    rig_settle(rig);
    rig_expect(rig, 1, "0 DUMP c\n0 PEXPIRETIME c\n0 UNLINK c\n");
    pthread_mutex_lock(&rig->peers[2].lock);
    assert_non_null(strstr(rig->peers[2].text, "0 RESTORE a 4102444800123 "));
    assert_non_null(strstr(rig->peers[2].text, " REPLACE ABSTTL\n"));
    pthread_mutex_unlock(&rig->peers[2].lock);
    rig_forget(rig, 2);
    rig_command(rig, 0, "COPY a b");
    rig_settle(rig);
    rig_expect(rig, 2, "0 DUMP a\n0 PEXPIRETIME a\n");
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].restore_bad), 0);
    assert_int_equal(rig_peer_value(rig, 1, &rig->peers[1].restore_bad), 0);
    assert_int_equal(relayed(rig), 3);
    rig_free(rig);
}

/* Before 7.0 only what is left of a time to live can be asked. It is sent as what is left then:
 * nobody's clock is compared with another. Zero would mean for ever. */
static void test_old_expiry(void **state)
{
    (void)state;
    struct rig *rig = relay_rig_with((struct rig_options){.has_old_expiry = true});
    static const int64_t left[] = {100000000, 1, 0};
    for (int i = 0; i < 3; i++) {
        atomic_store_release(&given.expiry, left[i]);
        rig_command(rig, 0, "RENAME b c");
        rig_settle(rig);
        rig_expect(rig, 0, "0 DUMP b\n0 PTTL b\n0 UNLINK b\n");
        unsigned long long ttl = 0;
        pthread_mutex_lock(&rig->peers[1].lock);
        assert_int_equal(sscanf(rig->peers[1].text, "0 RESTORE c %llu", &ttl), 1);
        assert_null(strstr(rig->peers[1].text, "ABSTTL"));
        pthread_mutex_unlock(&rig->peers[1].lock);
        rig_forget(rig, 1);
        assert_true(ttl >= 1);
        assert_true(ttl <= (left[i] > 0 ? (uint64_t)left[i] : 1));
        assert_true(i > 0 || ttl > 90000000);
    }
    rig_free(rig);
}

/* The texts that the third shard is sent, without the payloads. */
static void expect_store(struct rig *rig, const char *const *lines)
{
    pthread_mutex_lock(&rig->peers[2].lock);
    const char *at = rig->peers[2].text;
    for (; *lines != NULL; lines++) {
        size_t size = strlen(*lines);
        if (strncmp(at, *lines, size) != 0) {
            fail_msg("\"%s\" is not next in: %s", *lines, at);
        }
        at = strchr(at, '\n') + 1;
    }
    assert_string_equal(at, "");
    pthread_mutex_unlock(&rig->peers[2].lock);
    rig_forget(rig, 2);
}
#define STORES(rig, ...) expect_store(rig, (const char *const[]){__VA_ARGS__, NULL})

static const char *line(const char *format, const char *a, const char *b)
{
    static char lines[6][200];
    static int next;
    char *text = lines[next++ % 6];
    snprintf(text, 200, format, a, b);
    return text;
}

/* Operands come as temporary keys in the target's slot, in one transaction; those that lie there
 * anyway are used in place; options, counts and the order of operands stay. */
static void test_store(void **state)
{
    (void)state;
    struct rig *rig = relay_rig();
    rig_command(rig, 0, "SUNIONSTORE a b {a}2 c");
    rig_settle(rig);
    rig_expect(rig, 0, "0 DUMP b\n");
    rig_expect(rig, 1, "0 DUMP c\n");
    const char *t0 = temp("a", 0);
    const char *t1 = temp("a", 1);
    STORES(rig,
           "0 MULTI\n",
           line("0 RESTORE %s 0 %s", t0, ""),
           line("0 RESTORE %s 0 %s", t1, ""),
           line("0 SUNIONSTORE a %s {a}2 %s\n", t0, t1),
           line("0 UNLINK %s %s\n", t0, t1),
           "0 EXEC\n");
    rig_command(rig, 0, "ZUNIONSTORE a 2 b a WEIGHTS 2 3 AGGREGATE MAX");
    rig_settle(rig);
    STORES(rig,
           "0 MULTI\n",
           line("0 RESTORE %s 0 %s", t0, ""),
           line("0 ZUNIONSTORE a 2 %s a WEIGHTS 2 3 AGGREGATE %s\n", t0, "MAX"),
           line("0 UNLINK %s%s\n", t0, ""),
           "0 EXEC\n");
    rig_command(rig, 0, "BITOP AND a b c");
    rig_settle(rig);
    STORES(rig,
           "0 MULTI\n",
           line("0 RESTORE %s 0 %s", t0, ""),
           line("0 RESTORE %s 0 %s", t1, ""),
           line("0 BITOP AND a %s %s\n", t0, t1),
           line("0 UNLINK %s %s\n", t0, t1),
           "0 EXEC\n");
    rig_command(rig, 0, "GEORADIUS b 15 37 200 km STORE a");
    rig_settle(rig);
    STORES(rig,
           "0 MULTI\n",
           line("0 RESTORE %s 0 %s", t0, ""),
           line("0 GEORADIUS %s 15 37 200 km STORE a\n%s", t0, ""),
           line("0 UNLINK %s%s\n", t0, ""),
           "0 EXEC\n");
    rig_command(rig, 0, "SORT b BY nosort LIMIT 0 3 ALPHA STORE a");
    rig_settle(rig);
    STORES(rig,
           "0 MULTI\n",
           line("0 RESTORE %s 0 %s", t0, ""),
           line("0 SORT %s BY nosort LIMIT 0 3 ALPHA STORE a\n%s", t0, ""),
           line("0 UNLINK %s%s\n", t0, ""),
           "0 EXEC\n");
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(rig_peer_value(rig, i, &rig->peers[i].restore_bad), 0);
    }
    assert_int_equal(relayed(rig), 5);
    rig_free(rig);
}

/* Operands that do not exist are no keys at the target either, and nothing is restored. */
static void test_absent(void **state)
{
    (void)state;
    struct rig *rig = relay_rig();
    atomic_store_release(&given.is_absent, true);
    rig_command(rig, 0, "SINTERSTORE a b c");
    rig_settle(rig);
    STORES(rig, line("0 SINTERSTORE a %s %s\n", temp("a", 0), temp("a", 1)));
    assert_int_equal(rig->sources[0].stream.diverged_relay, 0);
    rig_free(rig);
}

/* A pop or a rename took place at the source, so something was there; what the destination has of
 * both keys is wrong then, and they are read at the source. */
static void test_diverged(void **state)
{
    (void)state;
    static const char *const commands[] = {"RPOPLPUSH b c", "RENAME b c"};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        struct rig *rig = relay_rig();
        atomic_store_release(&given.is_absent, true);
        rig_command(rig, 0, commands[i]);
        uint64_t begin = clock_monotonic_ms();
        while (!rig->is_failed) { /* the answer makes it known */
            rig_step(rig);
            router_flush(&rig->decoders[0].router);
            assert_false(rig_is_late(begin));
            rig_pause();
        }
        expect_refetch(rig, "b c");
        assert_int_equal(rig->sources[0].stream.diverged_relay, 1);
        assert_int_equal(rig->sources[0].stream.relay->held.key_count, 0);
        rig_free(rig);
    }
}

/* What has the same effect in pieces asks nothing. */
static void test_splits(void **state)
{
    (void)state;
    struct rig *rig = relay_rig();
    rig_command(rig, 0, "SMOVE b c member");
    expect(rig, "0 SREM b member\n", "0 SADD c member\n", "");
    rig_command(rig, 0, "MSETEX 2 b 1 c 2 PXAT 4102444800000");
    expect(rig, "0 MSETEX 1 b 1 PXAT 4102444800000\n", "0 MSETEX 1 c 2 PXAT 4102444800000\n", "");
    rig_command(rig, 0, "PFCOUNT b c");
    expect(rig, "", "", "");
    assert_int_equal(rig->sources[0].stream.dropped, 1);
    assert_int_equal(relayed(rig), 0);
    rig_free(rig);
}

/* Of what cannot be told from its arguments, or what no cluster takes, the keys are read at the
 * source; nothing is sent but a script, for a later EVALSHA. */
static void test_refetched(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        const char *keys;
    } cases[] = {{"EVAL return 2 b c", "b c"},
                 {"SORT b BY w_* STORE a", "a b"},
                 {"SORT b GET # STORE a", "a b"},
                 {"SORT b BY w_* STORE {b}", "b {b}"},
                 {"LMPOP 2 b c LEFT", "b c"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig *rig = relay_rig();
        rig_command(rig, 0, cases[i].command);
        expect_refetch(rig, cases[i].keys);
        assert_true(router_drain(&rig->decoders[0].router));
        bool is_script = strncmp(cases[i].command, "EVAL ", 5) == 0;
        for (uint32_t peer = 0; peer < 3; peer++) {
            rig_expect(rig, peer, is_script ? "0 SCRIPT LOAD return\n" : "");
        }
        rig_free(rig);
    }
}

/* ---- what waits for what ---- */

/* So many more replies than were allowed before; the first time, than there were. */
static void allow(struct rig *rig, uint32_t lane, uint64_t more)
{
    struct peer *peer = &rig->peers[lane];
    uint64_t limit = atomic_load_acquire(&peer->reply_limit);
    if (limit == UINT64_MAX) {
        limit = rig_peer_value(rig, lane, &peer->reply_count);
    }
    rig_allow(rig, lane, limit + more);
}

static void hold_all(struct rig *rig)
{
    for (uint32_t i = 0; i < 3; i++) {
        allow(rig, i, 0);
    }
}

/* Decodes and writes all that can be, and waits until the peers have so many commands. */
static void until(struct rig *rig, uint64_t first, uint64_t second, uint64_t third)
{
    const uint64_t wanted[] = {first, second, third};
    uint64_t begin = clock_monotonic_ms();
    for (uint32_t i = 0; i < 3; i++) {
        while (rig_peer_value(rig, i, &rig->peers[i].command_count) < wanted[i]) {
            rig_step(rig);
            router_flush(&rig->decoders[0].router);
            assert_false(rig_is_late(begin));
            assert_false(rig->is_failed);
            rig_pause();
        }
    }
    rig_step(rig);
    router_flush(&rig->decoders[0].router);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(rig_peer_value(rig, i, &rig->peers[i].command_count), wanted[i]);
    }
}

/* The target waits for both answers, in whatever order they come; later commands on it wait behind;
 * every other key goes on, also the operands, and also in the target's lane. */
static void answers_in_order(uint32_t first, uint32_t second)
{
    struct rig *rig = relay_rig();
    hold_all(rig);
    rig_command(rig, 0, "SUNIONSTORE a b c");
    rig_command(rig, 0, "SADD a 1");
    rig_command(rig, 0, "SADD b 2");
    rig_command(rig, 0, "SADD e 3");
    until(rig, 2, 1, 1);
    rig_expect(rig, 2, "0 SADD e 3\n");
    assert_int_equal(rig->sources[0].stream.relay->held.key_count, 1);
    allow(rig, first, 1);
    allow(rig, 2, 1);
    for (int i = 0; i < 20; i++) {
        until(rig, 2, 1, 1);
        rig_pause();
    }
    allow(rig, second, 1);
    until(rig, 2, 1, 8);
    for (uint32_t i = 0; i < 3; i++) {
        rig_allow(rig, i, UINT64_MAX);
    }
    rig_settle(rig);
    rig_expect(rig, 0, "0 DUMP b\n0 SADD b 2\n");
    pthread_mutex_lock(&rig->peers[2].lock);
    assert_non_null(strstr(rig->peers[2].text, "0 EXEC\n0 SADD a 1\n"));
    pthread_mutex_unlock(&rig->peers[2].lock);
    rig_free(rig);
}

static void test_answer_orders(void **state)
{
    (void)state;
    answers_in_order(0, 1);
    answers_in_order(1, 0);
}

/* A piece that waits says no more of the source's answer than one that does not: SMOVE adds a
 * member that may be there already, at the source as well. */
static void test_piece_without_effect(void **state)
{
    (void)state;
    struct rig *rig = relay_rig();
    atomic_store_release(&given.has_member, true);
    hold_all(rig);
    rig_command(rig, 0, "RPOPLPUSH f c");
    rig_command(rig, 0, "SMOVE b c member");
    until(rig, 2, 0, 0);
    for (uint32_t i = 0; i < 3; i++) {
        rig_allow(rig, i, UINT64_MAX);
    }
    expect(rig, "0 RPOP f\n0 SREM b member\n", "0 LPUSH c element\n0 SADD c member\n", "");
    rig_command(rig, 0, "SET x 1");
    expect(rig, "", "", "0 SET x 1\n");
    assert_int_equal(rig->sources[0].stream.diverged_no_effect, 0);
    rig_free(rig);
}

/* a → b → c → a: each hop waits for the one before, and for nothing else. */
static void test_chain(void **state)
{
    (void)state;
    struct rig *rig = relay_rig();
    hold_all(rig);
    rig_command(rig, 0, "RPOPLPUSH a b");
    rig_command(rig, 0, "RPOPLPUSH b c");
    rig_command(rig, 0, "RPOPLPUSH c a");
    rig_command(rig, 0, "RPUSH a last");
    rig_command(rig, 0, "SET f free");
    until(rig, 1, 0, 1);
    rig_expect(rig, 0, "0 SET f free\n");
    allow(rig, 2, 1); /* RPOP a */
    until(rig, 3, 0, 1);
    rig_expect(rig, 0, "0 LPUSH b element\n0 RPOP b\n");
    allow(rig, 0, 2); /* SET f, LPUSH b */
    until(rig, 3, 0, 1);
    allow(rig, 0, 1); /* RPOP b */
    until(rig, 3, 2, 1);
    rig_expect(rig, 1, "0 LPUSH c element\n0 RPOP c\n");
    allow(rig, 1, 2);
    until(rig, 3, 2, 3);
    rig_expect(rig, 2, "0 RPOP a\n0 LPUSH a element\n0 RPUSH a last\n");
    rig_allow(rig, 2, UINT64_MAX);
    rig_settle(rig);
    assert_int_equal(relayed(rig), 3);
    rig_free(rig);
}

/* Until many questions may be on their way: before, large answers must be reckoned with. */
#define WARM_UP 1200
static void warm_up(struct rig *rig, const char *words)
{
    for (int i = 0; i < WARM_UP / 60; i++) {
        for (int n = 0; n < 60; n++) {
            rig_command(rig, 0, words);
        }
        rig_settle(rig);
    }
}

/* Many relays into one target, the commonest kind: all ask at once, in order, and only what they
 * write takes turns. A plain command in between keeps its place. */
static void test_one_target(void **state)
{
    (void)state;
    struct rig *rig = relay_rig();
    warm_up(rig, "RPOPLPUSH f g");
    rig_forget(rig, 0);
    rig_forget(rig, 1);
    hold_all(rig);
    for (int i = 0; i < 3; i++) {
        rig_command(rig, 0, "LMOVE b c LEFT RIGHT");
        rig_command(rig, 0, "RPOPLPUSH b c");
        rig_command(rig, 0, "LREM c 1 x");
    }
    until(rig, WARM_UP + 6, WARM_UP, 0);
    rig_expect(rig, 0, "0 LPOP b\n0 RPOP b\n0 LPOP b\n0 RPOP b\n0 LPOP b\n0 RPOP b\n");
    assert_int_equal(rig->sources[0].stream.relay->held.key_count, 1);
    rig_allow(rig, 0, UINT64_MAX);
    rig_allow(rig, 1, UINT64_MAX);
    rig_settle(rig);
    rig_expect(rig,
               1,
               "0 RPUSH c \n0 LPUSH c element\n0 LREM c 1 x\n"
               "0 RPUSH c \n0 LPUSH c element\n0 LREM c 1 x\n"
               "0 RPUSH c \n0 LPUSH c element\n0 LREM c 1 x\n");
    rig_free(rig);
}

/* The source is never told of more than what is at the destination: not of a command behind a
 * relay, though all of its own replies are there. */
static void test_offset(void **state)
{
    (void)state;
    struct rig *rig = relay_rig();
    rig_command(rig, 0, "SET x 1");
    rig_settle(rig);
    uint64_t before = applied(rig);
    allow(rig, 0, 0);
    rig_command(rig, 0, "RPOPLPUSH b c");
    uint64_t commands = rig_peer_value(rig, 2, &rig->peers[2].command_count);
    for (uint64_t i = 1; i <= 20; i++) {
        rig_command(rig, 0, "SET x 2");
        until(rig, 1, 0, commands + i);
        rig_step(rig);
        assert_int_equal(applied(rig), before);
    }
    allow(rig, 1, 0);
    allow(rig, 0, 1);
    until(rig, 1, 1, commands + 20);
    for (int i = 0; i < 20; i++) {
        rig_step(rig);
        assert_int_equal(applied(rig), before); /* the push is not answered */
        rig_pause();
    }
    rig_allow(rig, 1, UINT64_MAX);
    rig_settle(rig);
    assert_int_equal(applied(rig), rig->sources[0].stream.offset);
    rig_free(rig);
}

/* A transaction of one slot waits as one; one over several slots is split, and its commands are
 * relayed like any. */
static void test_transactions(void **state)
{
    (void)state;
    struct rig *rig = relay_rig();
    hold_all(rig);
    rig_command(rig, 0, "RPOPLPUSH b c");
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET {c}1 1");
    rig_command(rig, 0, "RPUSH c 2");
    rig_command(rig, 0, "EXEC");
    rig_command(rig, 0, "SET {c}1 3");
    rig_command(rig, 0, "SET {c}2 4");
    until(rig, 1, 1, 0);
    rig_expect(rig, 1, "0 SET {c}2 4\n");
    rig_allow(rig, 0, UINT64_MAX);
    rig_allow(rig, 1, UINT64_MAX);
    rig_settle(rig);
    rig_expect(
        rig, 1, "0 LPUSH c element\n0 MULTI\n0 SET {c}1 1\n0 RPUSH c 2\n0 EXEC\n0 SET {c}1 3\n");
    rig_forget(rig, 0);
    rig_command(rig, 0, "MULTI");
    rig_command(rig, 0, "SET c 1");
    rig_command(rig, 0, "RPOPLPUSH b c");
    rig_command(rig, 0, "DEL b c");
    rig_command(rig, 0, "EXEC");
    expect(rig, "0 RPOP b\n0 DEL b\n", "0 SET c 1\n0 LPUSH c element\n0 DEL c\n", "");
    assert_int_equal(rig->sources[0].stream.transactions_split, 1);
    rig_free(rig);
}

/* ---- barriers and ends: with the decoder in its thread ---- */

static struct rig *threaded_rig(struct relay_options relay)
{
    given_reset();
    struct rig *rig = rig_new(&(struct rig_options){.is_cluster = true,
                                                    .lanes = 3,
                                                    .shards = 3,
                                                    .relay = relay,
                                                    .answerer = give,
                                                    .answerer_arg = &given});
    rig_live(rig, 0, 1000);
    return rig;
}

/* A command that acts on all keys waits for every relay. */
static void test_barrier(void **state)
{
    (void)state;
    struct rig *rig = threaded_rig((struct relay_options){0});
    allow(rig, 0, 0);
    rig_command(rig, 0, "RPOPLPUSH b c");
    rig_command(rig, 0, "RPUSH c 1");
    rig_command(rig, 0, "FLUSHALL");
    rig_command(rig, 0, "RPUSH c 2");
    rig_await_commands(rig, 0, 1);
    for (int i = 0; i < 50; i++) {
        rig_pause();
        assert_int_equal(rig_peer_value(rig, 1, &rig->peers[1].command_count), 0);
    }
    rig_allow(rig, 0, UINT64_MAX);
    expect(rig,
           "0 RPOP b\n0 FLUSHALL\n",
           "0 LPUSH c element\n0 RPUSH c 1\n0 FLUSHALL\n0 RPUSH c 2\n",
           "0 FLUSHALL\n");
    rig_free(rig);
}

/* A second full copy begins when what belongs to the first is written, and only then. */
static void test_new_session(void **state)
{
    (void)state;
    struct rig *rig = threaded_rig((struct relay_options){0});
    allow(rig, 0, 0);
    rig_command(rig, 0, "RPOPLPUSH b c");
    rig_command(rig, 0, "RPUSH c 1");
    rig_await_commands(rig, 0, 1);
    rig_session(rig, 0, 100, NULL, 5000);
    for (int i = 0; i < 50; i++) {
        rig_pause();
        assert_int_not_equal(atomic_load_acquire(&rig->sources[0].stream.shown_state), STREAM_HELD);
    }
    rig_allow(rig, 0, UINT64_MAX);
    rig_await_state(rig, 0, STREAM_HELD);
    rig_expect(rig, 1, "0 LPUSH c element\n0 RPUSH c 1\n");
    rig_free(rig);
}

static void wait_for_failure(struct rig *rig, enum syn_code code, const char *text)
{
    const struct syn_err *err = rig_failure(rig);
    if (err->code != code || strstr(err->msg, text) == NULL) {
        fail_msg("no \"%s\" in %s", text, err->msg);
    }
}

/* More than what there is room for is back-pressure; when the destination goes on all of it comes,
 * and memory is given back. A command that can never wait in the room there is runs when nothing is
 * held. */
static void test_room(void **state)
{
    (void)state;
    struct rig *rig = threaded_rig(
        (struct relay_options){.command_count = 4, .answer_count = 4, .command_bytes = 2000});
    uint64_t before = mem_live_bytes(MEM_APPLY);
    allow(rig, 0, 0);
    rig_command(rig, 0, "RPOPLPUSH b c");
    struct bytes stream = {0};
    char text[1000];
    char expected[40000] = "0 LPUSH c element\n";
    size_t size = strlen(expected);
    for (int i = 0; i < 20; i++) {
        snprintf(text, sizeof(text), "RPUSH c %d%0*d", i, i * 30, 0);
        resp_add(&stream, text);
        size += (size_t)snprintf(
            expected + size, sizeof(expected) - size, "0 RPUSH c %.40s\n", text + 8);
    }
    char *large = mem_alloc(MEM_TOOLS, 3001);
    assert_non_null(large);
    memset(large, 'x', 3000);
    const struct slice args[] = {
        {(const uint8_t *)"RPUSH", 5}, {(const uint8_t *)"c", 1}, {(uint8_t *)large, 3000}};
    resp_add_args(&stream, 3, args);
    size += (size_t)snprintf(expected + size, sizeof(expected) - size, "0 RPUSH c %.40s\n", large);
    mem_free(MEM_TOOLS, large);
    rig_feed(rig, 0, stream.bytes, stream.size, 0);
    bytes_free(&stream);
    uint64_t begin = clock_monotonic_ms();
    while (!atomic_load_relaxed(&rig->decoders[0].router.is_waiting)) {
        assert_false(rig_is_late(begin));
        rig_pause();
    }
    assert_true(mem_live_bytes(MEM_APPLY) <= before + 2000 + rig->task.hold_bytes_free);
    rig_allow(rig, 0, UINT64_MAX);
    rig_settle(rig);
    rig_expect(rig, 1, expected);
    assert_true(mem_live_bytes(MEM_APPLY) <= before + rig->task.hold_bytes_free);
    rig_free(rig);
}

/* A value beyond the bound is never taken into memory; what cannot be done without it is read at
 * the source. */
static void test_large_answer(void **state)
{
    (void)state;
    struct rig *rig = threaded_rig((struct relay_options){.answer_bytes = 10000});
    atomic_store_release(&given.size, 4900);
    rig_command(rig, 0, "RENAME b c");
    rig_settle(rig);
    uint64_t before = mem_live_bytes(MEM_APPLY);
    atomic_store_release(&given.size, 60000);
    rig_command(rig, 0, "RENAME b c");
    expect_refetch(rig, "c");
    assert_true(mem_live_bytes(MEM_APPLY) <= before + 8192);
    rig_free(rig);
}

/* Small answers for a long time, so that many are asked for at once; then all are large, four times
 * what lanes may take. They are read as the decoder takes them. */
static void test_sudden_large_answers(void **state)
{
    (void)state;
    struct rig *rig = relay_rig_with((struct rig_options){
        .relay = {.command_count = 200, .answer_count = 200, .answer_bytes = 200000}});
    warm_up(rig, "COPY b c REPLACE");
    uint64_t commands = rig_peer_value(rig, 0, &rig->peers[0].command_count);
    hold_all(rig);
    atomic_store_release(&given.size, 20000);
    for (int i = 0; i < 40; i++) {
        rig_command(rig, 0, "COPY b c REPLACE");
    }
    until(rig, commands + 80, rig_peer_value(rig, 1, &rig->peers[1].command_count), 0);
    rig_allow(rig, 0, UINT64_MAX);
    rig_allow(rig, 1, UINT64_MAX);
    uint64_t begin = clock_monotonic_ms();
    while (!answers_are_crowded(&rig->decoders[0].relay.answers)) {
        assert_false(rig_is_late(begin));
        rig_pause();
    }
    for (int i = 0; i < 20; i++) {
        rig_pause();
    }
    rig_settle(rig);
    assert_int_equal(relayed(rig), WARM_UP + 40);
    assert_int_equal(atomic_load_relaxed(&rig->decoders[0].relay.answers.bytes), 0);
    rig_free(rig);
}

/* More operands than answers that can be kept. */
static void test_many_operands(void **state)
{
    (void)state;
    struct rig *rig = threaded_rig((struct relay_options){.answer_count = 6});
    rig_command(rig, 0, "SUNIONSTORE a b c f {a}1");
    rig_settle(rig);
    assert_int_equal(relayed(rig), 1);
    rig_command(rig, 0, "SUNIONSTORE a b c f g {a}1");
    expect_refetch(rig, "a b c f g {a}1");
    rig_free(rig);
}

/* The end of a task must not wait for answers that will never come: neither when the decoder waits
 * for room, nor in a barrier, nor in the end of a drain; an error among the answers is reported. */
static void test_abort(void **state)
{
    (void)state;
    static const char *const last[] = {"SET x 1", "FLUSHALL", "RPOPLPUSH b c", "RPUSH c 1"};
    for (size_t i = 0; i < sizeof(last) / sizeof(last[0]); i++) {
        struct rig *rig =
            threaded_rig((struct relay_options){.command_count = 2, .answer_count = 2});
        allow(rig, 0, 0);
        rig_command(rig, 0, "RPOPLPUSH b c");
        rig_command(rig, 0, "RPUSH c 1");
        rig_command(rig, 0, last[i]);
        rig_await_commands(rig, 0, 1);
        rig_free(rig);
    }
    struct rig *rig = threaded_rig((struct relay_options){0});
    rig_script(
        rig, 0, (struct peer_script){.fail_name = "RPOP", .fail_text = "ERR unknown command"});
    rig_command(rig, 0, "RPOPLPUSH b c");
    wait_for_failure(rig, SYN_CODE_DESTINATION_REPLY, "refused RPOP");
    rig_free(rig);
    rig = threaded_rig((struct relay_options){0});
    rig_script(rig, 0, (struct peer_script){.fail_name = "DUMP", .raw_answer = "+OK\r\n"});
    rig_command(rig, 0, "COPY b c REPLACE");
    wait_for_failure(rig, SYN_CODE_DESTINATION_REPLY, "refused DUMP");
    rig_free(rig);
}

/* What a key of another type answers is no failure: the command found another state. */
static void test_wrong_types(void **state)
{
    (void)state;
    static const char *const refused[] = {"RPOP", "LPUSH"};
    for (uint32_t i = 0; i < 2; i++) {
        struct rig *rig = relay_rig();
        struct stream *stream = &rig->sources[0].stream;
        rig->task.on_divergence = DIVERGENCE_COUNT;
        for (uint32_t peer = 0; peer < 3; peer++) {
            rig_script(
                rig,
                peer,
                (struct peer_script){.fail_name = refused[i], .fail_text = "WRONGTYPE no list"});
        }
        rig_command(rig, 0, "RPOPLPUSH b c");
        rig_settle(rig);
        assert_int_equal(atomic_load_relaxed(&stream->diverged_relay), i == 0);
        assert_int_equal(atomic_load_relaxed(&stream->diverged_error), i == 1);
        rig_free(rig);
    }
}

/* A drain ends when every relay is done. */
static void test_drain(void **state)
{
    (void)state;
    struct rig *rig = threaded_rig((struct relay_options){0});
    struct decoder *decoder = &rig->decoders[0];
    allow(rig, 0, 0);
    rig_command(rig, 0, "RPOPLPUSH b c");
    rig_command(rig, 0, "RPUSH c 1");
    rig_seal(rig, 0);
    atomic_store_release(&rig->task.drain, true);
    waker_wake(&decoder->waker);
    rig_await_commands(rig, 0, 1);
    for (int i = 0; i < 50; i++) {
        rig_pause();
        assert_false(atomic_load_acquire(&decoder->is_drained));
    }
    rig_allow(rig, 0, UINT64_MAX);
    uint64_t begin = clock_monotonic_ms();
    while (!atomic_load_acquire(&decoder->is_drained)) {
        assert_false(rig_is_late(begin));
        rig_pause();
    }
    assert_int_equal(applied(rig), rig->sources[0].stream.offset);
    rig_expect(rig, 1, "0 LPUSH c element\n0 RPUSH c 1\n");
    rig_free(rig);
}

/* Every slot has a tag, and temporary keys lie where they must. */
static void test_tags(void **state)
{
    (void)state;
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++) {
        char tag[RELAY_TAG_MAX];
        char key[60];
        relay_tag((uint16_t)slot, tag);
        snprintf(key, sizeof(key), RELAY_PREFIX "{%s}:1", tag);
        assert_int_equal(slot_of_key(key, strlen(key)), slot);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves),         cmocka_unit_test(test_rename),
        cmocka_unit_test(test_old_expiry),    cmocka_unit_test(test_store),
        cmocka_unit_test(test_absent),        cmocka_unit_test(test_diverged),
        cmocka_unit_test(test_splits),        cmocka_unit_test(test_refetched),
        cmocka_unit_test(test_refetched),     cmocka_unit_test(test_answer_orders),
        cmocka_unit_test(test_chain),         cmocka_unit_test(test_piece_without_effect),
        cmocka_unit_test(test_one_target),    cmocka_unit_test(test_offset),
        cmocka_unit_test(test_transactions),  cmocka_unit_test(test_barrier),
        cmocka_unit_test(test_new_session),   cmocka_unit_test(test_room),
        cmocka_unit_test(test_large_answer),  cmocka_unit_test(test_sudden_large_answers),
        cmocka_unit_test(test_many_operands), cmocka_unit_test(test_abort),
        cmocka_unit_test(test_wrong_types),   cmocka_unit_test(test_drain),
        cmocka_unit_test(test_tags),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
