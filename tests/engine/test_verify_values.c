/* One seeded difference of every kind of every type: found, named, and nothing else is; between
 * equal and different versions and encodings, small and large, with DUMP and without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/verify_rig.h"

/* What both servers must have for a change to be made, or to be seen. */
enum need {
    NEED_NOTHING,
    NEED_COUNTERS, /* 7.0: a stream's counters; seen only where both have them */
    NEED_TIMES,    /* expiry times of fields                                   */
};

#define COMMANDS_MAX 6

/* Every "%s" is the key. */
struct change {
    const char *name;
    const char *filler; /* the command that makes it large, without key and elements; NULL: none */
    const char *make[COMMANDS_MAX]; /* at both sides      */
    const char *spoil[2];           /* at the destination */
    enum syn_difference_kind kind;
    const char *words;
    enum need need;
};

#define GROUP "XGROUP CREATE %s g 0", "XREADGROUP GROUP g ann COUNT 2 STREAMS %s >"
#define ENTRIES "XADD %s 9000001-1 f v1", "XADD %s 9000002-1 f v2 g w", "XADD %s 9000003-1 f v3"

static const struct change changes[] = {
    {"string",
     "APPEND",
     {"APPEND %s hello"},
     {"SETRANGE %s 1 X"},
     SYN_DIFFERENCE_VALUE,
     "at the destination; other bytes",
     NEED_NOTHING},
    {"longer",
     "APPEND",
     {"APPEND %s hello"},
     {"APPEND %s !"},
     SYN_DIFFERENCE_VALUE,
     "other bytes",
     NEED_NOTHING},
    {"number",
     NULL,
     {"SET %s 12345"},
     {"INCR %s"},
     SYN_DIFFERENCE_VALUE,
     "string: 5 bytes at the source, 5 at the destination; other bytes",
     NEED_NOTHING},
    {"element",
     "RPUSH",
     {"RPUSH %s a b 3"},
     {"LSET %s -2 x"},
     SYN_DIFFERENCE_VALUE,
     "other elements",
     NEED_NOTHING},
    {"popped",
     "RPUSH",
     {"RPUSH %s a b 3"},
     {"RPOP %s"},
     SYN_DIFFERENCE_VALUE,
     "other elements",
     NEED_NOTHING},
    {"order",
     "RPUSH",
     {"RPUSH %s a b 3"},
     {"RPOPLPUSH %s %s"},
     SYN_DIFFERENCE_VALUE,
     "other order of elements",
     NEED_NOTHING},
    {"member",
     "SADD",
     {"SADD %s a b 3"},
     {"SREM %s b", "SADD %s x"},
     SYN_DIFFERENCE_VALUE,
     "other members",
     NEED_NOTHING},
    {"integers",
     NULL,
     {"SADD %s 1 2 3 70000"},
     {"SREM %s 2"},
     SYN_DIFFERENCE_VALUE,
     "set: 4 elements at the source, 3 at the destination; other members",
     NEED_NOTHING},
    {"field",
     "HSET",
     {"HSET %s a 1 b 2"},
     {"HDEL %s a"},
     SYN_DIFFERENCE_VALUE,
     "other fields",
     NEED_NOTHING},
    {"value",
     "HSET",
     {"HSET %s a 1 b 2"},
     {"HSET %s a 3"},
     SYN_DIFFERENCE_VALUE,
     "other values of fields",
     NEED_NOTHING},
    {"swapped",
     "HSET",
     {"HSET %s a 1 b 2"},
     {"HSET %s a 2 b 1"},
     SYN_DIFFERENCE_VALUE,
     "other values of fields",
     NEED_NOTHING},
    {"score",
     "ZADD",
     {"ZADD %s 1 a 2.5 b inf c -inf d"},
     {"ZADD %s 2.25 b"},
     SYN_DIFFERENCE_VALUE,
     "other scores",
     NEED_NOTHING},
    {"digits",
     "ZADD",
     {"ZADD %s 0.1 a 0.3 b"},
     {"ZADD %s 0.30000000000000004 b"},
     SYN_DIFFERENCE_VALUE,
     "other scores",
     NEED_NOTHING},
    {"infinite",
     "ZADD",
     {"ZADD %s inf a 1 b"},
     {"ZADD %s -inf a"},
     SYN_DIFFERENCE_VALUE,
     "other scores",
     NEED_NOTHING},
    {"scored",
     "ZADD",
     {"ZADD %s 1 a 2.5 b"},
     {"ZREM %s a"},
     SYN_DIFFERENCE_VALUE,
     "other members",
     NEED_NOTHING},
    {"deleted",
     "XADD",
     {ENTRIES},
     {"XDEL %s 9000002-1"},
     SYN_DIFFERENCE_VALUE,
     "other entries",
     NEED_NOTHING},
    {"added",
     "XADD",
     {ENTRIES},
     {"XADD %s 9000004-1 f v"},
     SYN_DIFFERENCE_VALUE,
     "other entries, last id",
     NEED_NOTHING},
    {"last",
     "XADD",
     {ENTRIES},
     {"XSETID %s 9000050-1"},
     SYN_DIFFERENCE_VALUE,
     "other last id",
     NEED_NOTHING},
    {"group",
     "XADD",
     {ENTRIES, GROUP},
     {"XGROUP CREATE %s more 0"},
     SYN_DIFFERENCE_VALUE,
     "other groups",
     NEED_NOTHING},
    {"no-group",
     "XADD",
     {ENTRIES, GROUP},
     {"XGROUP DESTROY %s g"},
     SYN_DIFFERENCE_VALUE,
     "other groups",
     NEED_NOTHING},
    {"delivered",
     "XADD",
     {ENTRIES, GROUP},
     {"XGROUP SETID %s g 9000003-1"},
     SYN_DIFFERENCE_VALUE,
     "other last-delivered ids of groups",
     NEED_NOTHING},
    {"acked",
     NULL,
     {ENTRIES, GROUP},
     {"XACK %s g 9000001-1"},
     SYN_DIFFERENCE_VALUE,
     "stream: 3 elements at the source, 3 at the destination; other pending entries",
     NEED_NOTHING},
    {"claimed",
     NULL,
     {ENTRIES, GROUP},
     {"XCLAIM %s g bob 0 9000001-1 JUSTID"},
     SYN_DIFFERENCE_VALUE,
     "other owners of pending entries",
     NEED_NOTHING},
    {"count",
     NULL,
     {ENTRIES, GROUP},
     {"XCLAIM %s g ann 0 9000001-1 RETRYCOUNT 9"},
     SYN_DIFFERENCE_VALUE,
     "not always replicated: other delivery counts of pending entries",
     NEED_NOTHING},
    {"consumer",
     NULL,
     {ENTRIES, GROUP},
     {"XGROUP CREATECONSUMER %s g bob"},
     SYN_DIFFERENCE_VALUE,
     "other consumers",
     NEED_COUNTERS},
    {"entries-added",
     "XADD",
     {ENTRIES, GROUP},
     {"XSETID %s 9000003-1 ENTRIESADDED 9999999 MAXDELETEDID 0-0"},
     SYN_DIFFERENCE_VALUE,
     "other entries-added",
     NEED_COUNTERS},
    {"max-deleted",
     "XADD",
     {ENTRIES, GROUP},
     {"XSETID %s 9000003-1 ENTRIESADDED 9999998 MAXDELETEDID 1-1"},
     SYN_DIFFERENCE_VALUE,
     "other max-deleted-id",
     NEED_COUNTERS},
    {"entries-read",
     NULL,
     {ENTRIES, GROUP},
     {"XGROUP SETID %s g 9000002-1 ENTRIESREAD 1"},
     SYN_DIFFERENCE_VALUE,
     "other entries-read of groups",
     NEED_COUNTERS},
    {"field-time",
     "HSET",
     {"HSET %s a 1 b 2", "HPEXPIREAT %s 4000000000000 FIELDS 1 a"},
     {"HPEXPIREAT %s 4000000000501 FIELDS 1 a"},
     SYN_DIFFERENCE_VALUE,
     "other expiry times of fields",
     NEED_TIMES},
    {"field-persists",
     "HSET",
     {"HSET %s a 1 b 2", "HPEXPIREAT %s 4000000000000 FIELDS 1 a"},
     {"HPERSIST %s FIELDS 1 a"},
     SYN_DIFFERENCE_VALUE,
     "other expiry times of fields",
     NEED_TIMES},
    {"field-expires",
     "HSET",
     {"HSET %s a 1 b 2"},
     {"HPEXPIREAT %s 4000000000000 FIELDS 1 b"},
     SYN_DIFFERENCE_VALUE,
     "other expiry times of fields",
     NEED_TIMES},
    {"field-swapped",
     "HSET",
     {"HSET %s a 1 b 2", "HPEXPIREAT %s 4000000000000 FIELDS 1 a"},
     {"HPERSIST %s FIELDS 1 a", "HPEXPIREAT %s 4000000000000 FIELDS 1 b"},
     SYN_DIFFERENCE_VALUE,
     "other expiry times of fields",
     NEED_TIMES},
    {"time",
     NULL,
     {"SET %s v PX 100000000"},
     {"PERSIST %s"},
     SYN_DIFFERENCE_TTL,
     "never at the destination",
     NEED_NOTHING},
    {"hash-time",
     NULL,
     {"HSET %s a 1", "PEXPIRE %s 100000000"},
     {"PEXPIRE %s 200000000"},
     SYN_DIFFERENCE_TTL,
     "expires in",
     NEED_NOTHING},
    {"missing",
     NULL,
     {"SADD %s a b"},
     {"DEL %s"},
     SYN_DIFFERENCE_MISSING,
     "set at the source, nothing at the destination",
     NEED_NOTHING},
    {"type",
     NULL,
     {"ZADD %s 1 a"},
     {"DEL %s", "SADD %s a"},
     SYN_DIFFERENCE_TYPE,
     "zset at the source, set at the destination",
     NEED_NOTHING},
};
#define CHANGE_COUNT (sizeof(changes) / sizeof(changes[0]))

/* ---- sides ---- */

/* Without it DUMP is refused to the account that verifies. */
enum how { HOW_DUMP, HOW_REFUSED };

struct pair {
    const char *source;
    const char *destination;
    const char *const *arguments; /* the destination's */
    bool is_large;
    enum how how;
};

struct checked {
    struct rig rig;
    bool has_counters[2];
    bool has_times[2];
    bool is_large;
};

static bool has_all(const bool sides[2])
{
    return sides[0] && sides[1];
}

static void fill(redisContext *client, const char *command, const char *key)
{
    static const char script[] =
        "for i=1,8000 do "
        "local h=redis.sha1hex(i) "
        "if ARGV[1]=='HSET' then redis.call('HSET',KEYS[1],h,i) "
        "elseif ARGV[1]=='ZADD' then redis.call('ZADD',KEYS[1],i/3,h) "
        "elseif ARGV[1]=='XADD' then redis.call('XADD',KEYS[1],i..'-1','f',h) "
        "else redis.call(ARGV[1],KEYS[1],h) end end";
    test_command_ok(client, "EVAL %s 1 %s %s", script, key, command);
}

static bool is_made(const struct checked *checked, const struct change *change)
{
    return change->need != NEED_TIMES || has_all(checked->has_times);
}

static bool is_spoilt(const struct checked *checked, const struct change *change)
{
    return is_made(checked, change) && (change->need != NEED_COUNTERS || checked->has_counters[1]);
}

static bool is_seen(const struct checked *checked, const struct change *change)
{
    return is_spoilt(checked, change) &&
           (change->need != NEED_COUNTERS || has_all(checked->has_counters));
}

static void make_all(struct checked *checked)
{
    for (size_t i = 0; i < CHANGE_COUNT; i++) {
        const struct change *change = &changes[i];
        if (!is_made(checked, change)) {
            continue;
        }
        for (int side = 0; side < 2 && checked->is_large && change->filler != NULL; side++) {
            fill(checked->rig.clients[side], change->filler, change->name);
        }
        for (int n = 0; n < COMMANDS_MAX && change->make[n] != NULL; n++) {
            rig_both(&checked->rig, change->make[n], change->name);
        }
    }
}

static void spoil_all(struct checked *checked)
{
    for (size_t i = 0; i < CHANGE_COUNT; i++) {
        const struct change *change = &changes[i];
        for (int n = 0; n < 2 && change->spoil[n] != NULL && is_spoilt(checked, change); n++) {
            test_command_ok(checked->rig.clients[1], change->spoil[n], change->name, change->name);
        }
    }
}

static void expect_all(const struct checked *checked)
{
    uint32_t count = 0;
    for (size_t i = 0; i < CHANGE_COUNT; i++) {
        if (is_seen(checked, &changes[i])) {
            rig_expect_seen(changes[i].name, changes[i].kind, changes[i].words);
            count++;
        }
    }
    if (rig_seen.count != count) {
        rig_print_seen();
        fail_msg("%u differences instead of %u", rig_seen.count, count);
    }
}

static void refuse_dump(struct checked *checked)
{
    test_command_ok(checked->rig.clients[1], "ACL SETUSER blind on >pw ~* +@all -dump");
    struct endpoint *endpoint = &rig_config.destination.hosts[0];
    snprintf(endpoint->user, sizeof(endpoint->user), "blind");
    snprintf(endpoint->password, sizeof(endpoint->password), "pw");
}

static void check(const struct pair *pair)
{
    struct checked checked = {.is_large = pair->is_large};
    if (!rig_open(&checked.rig, pair->source, NULL, pair->destination, pair->arguments)) {
        skip();
    }
    for (int side = 0; side < 2; side++) {
        checked.has_counters[side] = test_has_command(checked.rig.clients[side], "pexpiretime");
        checked.has_times[side] = test_has_command(checked.rig.clients[side], "hpexpireat");
    }
    if (pair->how == HOW_REFUSED) {
        refuse_dump(&checked);
    }
    make_all(&checked);
    rig_run_ok();
    rig_expect_none();
    assert_int_equal(rig_result.equal_payload + rig_result.equal_content, rig_result.keys_compared);
    assert_true(pair->arguments == NULL || rig_result.equal_content > 0);
    assert_true(pair->how == HOW_DUMP || rig_result.equal_payload == 0);
    spoil_all(&checked);
    rig_run_ok();
    expect_all(&checked);
    rig_close(&checked.rig);
}

#define CHECK(name, ...)                                                                           \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        check(&(struct pair){__VA_ARGS__});                                                        \
    }

CHECK(test_same, .source = "redis-7.0", .destination = "redis-7.0")
CHECK(test_same_large, .source = "redis-7.0", .destination = "redis-7.0", .is_large = true)
CHECK(test_sparse, .source = "redis-7.0", .destination = "redis-7.0", .arguments = rig_sparse)
CHECK(test_sparse_large,
      .source = "redis-7.0",
      .destination = "redis-7.0",
      .arguments = rig_sparse,
      .is_large = true)
CHECK(test_refused, .source = "redis-7.0", .destination = "redis-7.0", .how = HOW_REFUSED)
CHECK(test_refused_large,
      .source = "redis-7.0",
      .destination = "redis-7.0",
      .is_large = true,
      .how = HOW_REFUSED)
CHECK(test_60_60, .source = "redis-6.0", .destination = "redis-6.0", .arguments = rig_sparse)
CHECK(test_60_70, .source = "redis-6.0", .destination = "redis-7.0")
CHECK(test_60_70_refused, .source = "redis-6.0", .destination = "redis-7.0", .how = HOW_REFUSED)
CHECK(test_70_60, .source = "redis-7.0", .destination = "redis-6.0")
CHECK(test_70_60_large, .source = "redis-7.0", .destination = "redis-6.0", .is_large = true)
CHECK(test_70_80, .source = "redis-7.0", .destination = "redis-8.0")
CHECK(test_70_v81, .source = "redis-7.0", .destination = "valkey-8.1", .arguments = rig_sparse)
CHECK(test_80_80, .source = "redis-8.0", .destination = "redis-8.0", .arguments = rig_sparse)
CHECK(test_80_v9, .source = "redis-8.0", .destination = "valkey-9")
CHECK(test_80_v9_large, .source = "redis-8.0", .destination = "valkey-9", .is_large = true)
CHECK(test_80_v9_refused, .source = "redis-8.0", .destination = "valkey-9", .how = HOW_REFUSED)
CHECK(test_v9_80, .source = "valkey-9", .destination = "redis-8.0", .arguments = rig_sparse)
CHECK(test_v9_v9, .source = "valkey-9", .destination = "valkey-9", .arguments = rig_sparse)
CHECK(test_v9_60, .source = "valkey-9", .destination = "redis-6.0")

int main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]); /* one test by its name, for people */
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),          cmocka_unit_test(test_same_large),
        cmocka_unit_test(test_sparse),        cmocka_unit_test(test_sparse_large),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_refused_large),
        cmocka_unit_test(test_60_60),         cmocka_unit_test(test_60_70),
        cmocka_unit_test(test_60_70_refused), cmocka_unit_test(test_70_60),
        cmocka_unit_test(test_70_60_large),   cmocka_unit_test(test_70_80),
        cmocka_unit_test(test_70_v81),        cmocka_unit_test(test_80_80),
        cmocka_unit_test(test_80_v9),         cmocka_unit_test(test_80_v9_large),
        cmocka_unit_test(test_80_v9_refused), cmocka_unit_test(test_v9_80),
        cmocka_unit_test(test_v9_v9),         cmocka_unit_test(test_v9_60),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
