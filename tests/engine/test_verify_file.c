/* The parts of a verification of files that need no server: the set of keys, and what is looked at
 * before a file is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "apply/position.h"
#include "core/engine/verify_file.h"

/* ---- the set ---- */

static uint64_t hash_of(uint64_t i)
{
    return key_set_hash((uint32_t)(i % 3), &i, sizeof(i));
}

/* One pass: fills the set with what belongs to the part, and checks that it has exactly this. */
static uint64_t pass(struct key_set *set, uint64_t count, uint8_t *seen)
{
    uint64_t found = 0;
    for (uint64_t i = 0; i < count; i++) {
        key_set_add(set, hash_of(i));
        key_set_add(set, hash_of(i)); /* again: it is there once */
    }
    assert_true(set->count <= set->count_max);
    for (uint64_t i = 0; i < count; i++) {
        bool is_part = key_set_is_part(set, hash_of(i));
        assert_int_equal(key_set_has(set, hash_of(i)), is_part);
        found += is_part;
        seen[i] += is_part;
    }
    assert_int_equal(set->count, found);
    for (uint64_t i = count; i < 2 * count; i++) {
        assert_false(key_set_has(set, hash_of(i)));
    }
    return found;
}

/* All parts together are everything, once: a key in no part would be called extra, one in two parts
 * be scanned twice. */
static void check_parts(uint64_t count, uint64_t bytes)
{
    struct key_set set;
    struct syn_err err;
    uint8_t *seen = calloc(1, count + 1);
    struct {
        unsigned bits;
        uint64_t value;
    } parts[128] = {{0, 0}};
    unsigned part_count = 1;
    assert_non_null(seen);
    assert_true(key_set_init(&set, bytes, &err));
    unsigned passes = 0;
    while (part_count > 0) {
        part_count--;
        unsigned bits = parts[part_count].bits;
        key_set_begin(&set, bits, parts[part_count].value);
        pass(&set, count, seen);
        for (unsigned bit = bits; bit < set.part_bits; bit++) {
            assert_true(part_count < 128);
            parts[part_count].bits = bit + 1;
            parts[part_count++].value = set.part | UINT64_C(1) << bit;
        }
        passes++;
    }
    for (uint64_t i = 0; i < count; i++) {
        assert_int_equal(seen[i], 1);
    }
    assert_true(count <= set.count_max ? passes == 1 : passes >= count / set.count_max);
    key_set_deinit(&set);
    free(seen);
}

static void test_set_parts(void **state)
{
    (void)state;
    static const uint64_t counts[] = {0, 1, 53, 54, 55, 100, 1000, 5000};
    static const uint64_t bytes[] = {64 * 8, 100 * 8, 1024 * 8, 9999 * 8};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        for (size_t n = 0; n < sizeof(bytes) / sizeof(bytes[0]); n++) {
            check_parts(counts[i], bytes[n]);
        }
    }
}

/* Keys that were told join it while there is room, and only then. */
static void test_set_try(void **state)
{
    (void)state;
    struct key_set set;
    struct syn_err err;
    assert_true(key_set_init(&set, 100 * 8, &err));
    uint64_t i = 0;
    while (set.count < set.count_max) {
        key_set_add(&set, hash_of(i++));
    }
    uint64_t full = i;
    while (key_set_try(&set, hash_of(i))) {
        assert_true(key_set_try(&set, hash_of(i)));
        assert_true(key_set_has(&set, hash_of(i)));
        i++;
    }
    assert_true(i > full);
    assert_true(i < 100); /* an empty slot remains, or a search would not end */
    assert_false(key_set_has(&set, hash_of(i)));
    for (uint64_t n = 0; n < i; n++) {
        assert_true(key_set_has(&set, hash_of(n)));
    }
    key_set_deinit(&set);
}

static void test_set_hashes(void **state)
{
    (void)state; /* A key of another database is another key; the empty key is one. */
    assert_int_not_equal(key_set_hash(0, "a", 1), key_set_hash(1, "a", 1));
    assert_int_not_equal(key_set_hash(0, "", 0), 0);
    assert_int_equal(key_set_hash(0, "", 0), key_set_hash(0, NULL, 0));
}

/* ---- values of a file ---- */

static struct config config;

static void config_make(const char *path, bool has_rules)
{
    memset(&config, 0, sizeof(config));
    config.files.count = 1;
    config.has_db_rules = has_rules;
    config.memory_bytes = 48u << 20;
    snprintf(config.files.text, sizeof(config.files.text), "%s", path);
    snprintf(
        config.heartbeat_prefix, sizeof(config.heartbeat_prefix), "DTS_REDIS_TIMESTAMP_HEARTBEAT");
    for (unsigned db = 0; db < CONFIG_DB_MAX; db++) {
        config.db_map[db] = db == 0 ? 0 : CONFIG_DB_NONE;
    }
}

struct times {
    uint64_t count;
    int64_t most;
};

static enum rdb_flow on_field(void *arg,
                              const struct rdb_element *field,
                              const struct rdb_element *value,
                              int64_t expire_ms)
{
    struct times *times = arg;
    (void)field, (void)value;
    times->count += expire_ms >= 0;
    times->most = expire_ms > times->most ? expire_ms : times->most;
    return RDB_GO;
}

/* A value that is read at its place comes to what it came to when the file was read: second looks
 * compare the two. Fields whose time has come do not count, however it is read. */
static void check_values(struct file_verify *verify, int64_t forget_ms, uint64_t *gone)
{
    static const struct rdb_visitor visitor = {.hash = on_field};
    struct syn_err err;
    bool is_end = false;
    uint64_t keys = 0;
    assert_true(file_scan_open(&verify->scan, &config, 0, verify->digest, &err));
    for (;;) {
        struct file_scan *scan = &verify->scan;
        struct rdb_content first, again;
        if (!file_scan_next(scan, &is_end, &err)) {
            fail_msg("%s", err.msg);
        }
        if (is_end) {
            break;
        }
        scan->key.forget_ms = forget_ms;
        assert_true(file_scan_value(scan, &first, &err));
        struct verify_key name = {.bytes = (const char *)scan->name, .size = scan->name_size};
        struct file_key key = scan->key;
        struct times times = {.most = -1};
        assert_true(file_value_show(&config, &key, &name, &visitor, &times, &err));
        assert_int_equal(times.count, first.expiring + first.gone);
        assert_true(forget_ms < times.most || first.expiring == 0);
        assert_true(file_value_again(verify, &key, &name, &again, &err));
        assert_int_equal(key.forget_ms, -1); /* this destination knows no such times */
        assert_int_equal(again.gone, 0);
        assert_int_equal(again.count, first.count + first.gone);
        assert_int_equal(again.kind, first.kind);
        if (first.gone == 0) {
            assert_int_equal(
                rdb_content_compare(&first, &again, RDB_DETAIL_EXPIRIES | RDB_DETAIL_TIMES), 0);
        }
        *gone += first.gone;
        keys++;
    }
    file_scan_close(&verify->scan);
    assert_true(keys > 20);
}

static void test_values(void **state)
{
    (void)state;
    static const char *const files[] = {"/rdb/redis-7.4.1/dump.rdb",
                                        "/rdb/valkey-9.1.2-ver9-snapshot/dump.rdb"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[400];
        struct syn_err err;
        snprintf(path, sizeof(path), "%s%s", TEST_FIXTURES, files[i]);
        config_make(path, i != 0);
        static struct file_verify verify;
        memset(&verify, 0, sizeof(verify));
        verify.config = &config;
        verify.digest = rdb_digest_new(0, &err);
        assert_non_null(verify.digest);
        uint64_t kept = 0, gone = 0;
        check_values(&verify, -1, &kept);
        check_values(&verify, INT64_MAX - 1, &gone);
        assert_int_equal(kept, 0);
        assert_true(gone > 0);
        rdb_digest_free(verify.digest);
        assert_int_equal(mem_live_bytes(MEM_RDB), 0);
        assert_int_equal(mem_live_bytes(MEM_ENGINE), 0);
    }
}

/* Positions and heartbeats, of this task or another, are nobody's data. */
static void test_own_keys(void **state)
{
    (void)state;
    config_make("/x", false);
    static const char *const own[] = {"DTS_REDIS_TIMESTAMP_HEARTBEAT1"};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        assert_true(file_is_own_key(&config, own[i], strlen(own[i])));
    }
    struct position_lane lane;
    position_lane_name(&lane, SLOT_NONE);
    assert_true(file_is_own_key(&config, lane.key, strlen(lane.key)));
    assert_false(file_is_own_key(&config, "syncline", 8));
    assert_false(file_is_own_key(&config, "", 0));
    assert_false(file_is_own_key(&config, NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_parts),
        cmocka_unit_test(test_set_try),
        cmocka_unit_test(test_set_hashes),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_own_keys),
    };
    return cmocka_run_group_tests_name("verification of files", tests, NULL, NULL);
}
