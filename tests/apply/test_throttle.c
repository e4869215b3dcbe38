/* Rates: exact over any time, bounded at any moment, and never an end to the order of things. */
#include "tests/apply/pipeline_rig.h"

#include "tests/support/random.h"

#define SECOND UINT64_C(1000000000)
#define MS UINT64_C(1000000)

/* ---- one bucket ---- */

/* Tokens one by one, each as soon as it may be had, must take exactly their time: an error of a
 * nanosecond per token would be a wrong rate at a million per second. */
static void test_exact(void **state)
{
    (void)state;
    static const uint64_t rates[] = {1, 3, 7, 1000, 333333, 1000000, 999999937, THROTTLE_PER_S_MAX};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct bucket bucket = {0};
        uint64_t begin = 12345;
        uint64_t now = begin;
        const uint64_t count = 1000000;
        uint64_t each = rates[i] > count ? rates[i] / 1000 : 1;
        bucket_set(&bucket, rates[i], now);
        for (uint64_t n = 0; n < count; n++) {
            now = bucket_take(&bucket, each, now);
        }
        long double wanted = (long double)count * (long double)each * 1e9L / (long double)rates[i];
        long double off = (long double)(now - begin) - wanted;
        if (off < -1 || off > 1) {
            fail_msg("rate %llu is off by %Lf ns", (unsigned long long)rates[i], off);
        }
    }
}

/* Whatever is asked for at whatever times, never more goes out than the rate and one burst. */
static void test_random(void **state)
{
    (void)state;
    struct random random = {7};
    for (uint64_t per_s = 1; per_s < THROTTLE_PER_S_MAX; per_s = per_s * 7 + 1) {
        struct bucket bucket = {0};
        uint64_t now = 1;
        uint64_t taken = 0;
        bucket_set(&bucket, per_s, now);
        for (int n = 0; n < 1000; n++) {
            uint64_t size = random_next(&random) % (per_s / 100 + 2);
            uint64_t resume = bucket_take(&bucket, size, now);
            assert_true(resume >= now);
            taken += size;
            /* Nothing is owed when it resumes: then the rate covers what was taken. */
            long double most = (long double)per_s * (long double)(resume - 1) / 1e9L +
                               (long double)per_s * THROTTLE_BURST_MS / 1000 + 1;
            assert_true((long double)taken <= most + 1e-6L * most);
            now = resume + random_next(&random) % (n % 10 == 0 ? SECOND : MS);
        }
    }
}

static void test_burst(void **state)
{
    (void)state;
    struct bucket bucket = {0};
    uint64_t now = 5;
    bucket_set(&bucket, 1000, now);
    assert_int_equal(bucket_take(&bucket, 0, now), now);
    assert_int_equal(bucket_take(&bucket, 1, now), now + MS); /* nothing is saved up at first */
    now += 3600 * SECOND;
    assert_int_equal(bucket_take(&bucket, 100, now), now); /* a tenth of a second, no more */
    assert_int_equal(bucket_take(&bucket, 1, now), now + MS);
    /* A rate whose tenth is less than one operation saves up that one. */
    bucket = (struct bucket){0};
    bucket_set(&bucket, 1, now);
    now += 3600 * SECOND;
    assert_int_equal(bucket_take(&bucket, 1, now), now);
    assert_int_equal(bucket_take(&bucket, 1, now), now + SECOND);
}

/* A new rate applies to what is still owed, gives nothing for free, and none forgets it all. */
static void test_change(void **state)
{
    (void)state;
    struct bucket bucket = {0};
    uint64_t now = 5;
    bucket_set(&bucket, 10, now);
    assert_int_equal(bucket_take(&bucket, 100, now), now + 10 * SECOND);
    bucket_set(&bucket, 100, now + 5 * SECOND); /* half is paid */
    assert_int_equal(bucket_take(&bucket, 0, now + 5 * SECOND), now + 5 * SECOND + SECOND / 2);
    bucket_set(&bucket, 0, now + 5 * SECOND);
    assert_int_equal(bucket_take(&bucket, UINT64_MAX, now + 5 * SECOND), now + 5 * SECOND);
    bucket_set(&bucket, 100, now + 6 * SECOND);
    assert_int_equal(bucket_take(&bucket, 0, now + 6 * SECOND), now + 6 * SECOND);
    now += 20 * SECOND;
    assert_int_equal(bucket_take(&bucket, 0, now), now); /* full */
    bucket_set(&bucket, 1000000, now);
    assert_int_equal(bucket_take(&bucket, 1, now), now + 1000);
    assert_true(bucket_take(&bucket, UINT64_MAX, now) > now + 3600 * SECOND);
}

/* ---- meters ---- */

static const struct throttle_rates no_rates;

static int
rate_number(enum throttle_scope scope, enum throttle_phase phase, enum throttle_unit unit)
{
    return throttle_rate(scope, phase, unit);
}

#define LIVE_OPS rate_number(THROTTLE_TASK, THROTTLE_LIVE, THROTTLE_OPS)
#define LIVE_BYTES rate_number(THROTTLE_TASK, THROTTLE_LIVE, THROTTLE_BYTES)
#define SNAPSHOT_OPS rate_number(THROTTLE_TASK, THROTTLE_SNAPSHOT, THROTTLE_OPS)
#define SHARD_LIVE_OPS rate_number(THROTTLE_SHARD, THROTTLE_LIVE, THROTTLE_OPS)

#define SHARDS 3

struct meters {
    struct throttle throttle;
    struct throttle_meter meter[2];
    uint64_t now;
};

static void meters_open(struct meters *meters, const struct throttle_rates *rates)
{
    struct syn_err err;
    memset(meters, 0, sizeof(*meters));
    assert_true(throttle_init(&meters->throttle, SHARDS, rates, &err));
    for (int i = 0; i < 2; i++) {
        assert_true(throttle_meter_init(&meters->meter[i], &meters->throttle, &err));
    }
    meters->now = clock_monotonic_ns() + SECOND; /* ahead of all that a real clock was read for */
}

static void meters_close(struct meters *meters)
{
    throttle_meter_deinit(&meters->meter[0]);
    throttle_meter_deinit(&meters->meter[1]);
    throttle_deinit(&meters->throttle);
}

/* What two decoders write in so many seconds, one operation of 100 bytes at a time to shards in
 * turn, each as soon as it may. */
static void
meters_run(struct meters *meters, enum throttle_phase phase, uint64_t seconds, uint64_t ops[2])
{
    uint64_t end = meters->now + seconds * SECOND;
    ops[0] = ops[1] = 0;
    while (meters->now < end) {
        for (int i = 0; i < 2; i++) {
            struct throttle_meter *meter = &meters->meter[i];
            for (int n = 0; n < 1000 && throttle_pass(meter, phase, meters->now); n++) {
                throttle_charge(meter, (uint32_t)(ops[i] % SHARDS), 1, 100);
                ops[i]++;
            }
        }
        meters->now += MS;
    }
}

static void assert_about(uint64_t value, uint64_t wanted, uint64_t off)
{
    if (value + off < wanted || value > wanted + off) {
        fail_msg("%llu is not about %llu", (unsigned long long)value, (unsigned long long)wanted);
    }
}

/* The decoders share a rate, get the same of it, and together exactly it. */
static void test_shared(void **state)
{
    (void)state;
    static const uint64_t rates[] = {1, 10, 500, 20000, 300000};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct throttle_rates set = no_rates;
        struct meters meters;
        uint64_t ops[2];
        uint64_t seconds = rates[i] < 100 ? 1000 : 20;
        set.per_s[LIVE_OPS] = rates[i];
        meters_open(&meters, &set);
        meters_run(&meters, THROTTLE_LIVE, seconds, ops);
        uint64_t wanted = rates[i] * seconds;
        assert_about(ops[0] + ops[1], wanted, wanted / 100 + 2);
        assert_about(ops[0], ops[1], wanted / 50 + 2);
        meters_close(&meters);
    }
}

static void test_bytes(void **state)
{
    (void)state;
    struct throttle_rates set = no_rates;
    struct meters meters;
    uint64_t ops[2];
    set.per_s[LIVE_BYTES] = 1024;
    meters_open(&meters, &set);
    meters_run(&meters, THROTTLE_LIVE, 100, ops);
    assert_about(ops[0] + ops[1], 1024, 12);
    assert_int_equal(meters.meter[0].piece_bytes[THROTTLE_LIVE], 1024);
    assert_int_equal(meters.meter[0].piece_bytes[THROTTLE_SNAPSHOT], UINT32_MAX);
    meters_close(&meters);
}

/* A shard's rate holds up what goes to it; each has its own. */
static void test_shards(void **state)
{
    (void)state;
    struct throttle_rates set = no_rates;
    struct meters meters;
    uint64_t ops[2];
    set.per_s[SHARD_LIVE_OPS] = 100;
    meters_open(&meters, &set);
    meters_run(&meters, THROTTLE_LIVE, 20, ops);
    assert_about(ops[0] + ops[1], SHARDS * 100 * 20, SHARDS * 100 * 20 / 50);
    assert_int_equal(throttle_shown(&meters.meter[0], THROTTLE_LIVE, meters.now), SHARD_LIVE_OPS);
    /* One shard alone is held to its own rate. */
    struct throttle_meter *meter = &meters.meter[0];
    uint64_t count = 0;
    for (uint64_t end = meters.now + 20 * SECOND; meters.now < end; meters.now += MS) {
        while (throttle_pass(meter, THROTTLE_LIVE, meters.now)) {
            throttle_charge(meter, 1, 1, 0);
            count++;
        }
    }
    assert_about(count, 100 * 20, 20);
    meters_close(&meters);
}

/* The rates of one phase are nothing to the other. */
static void test_phases(void **state)
{
    (void)state;
    struct throttle_rates set = no_rates;
    struct meters meters;
    set.per_s[SNAPSHOT_OPS] = 1;
    meters_open(&meters, &set);
    struct throttle_meter *meter = &meters.meter[0];
    for (int i = 0; i < 100; i++) {
        assert_true(throttle_pass(meter, THROTTLE_LIVE, meters.now));
        throttle_charge(meter, 0, 1000, 1000);
    }
    assert_true(throttle_pass(meter, THROTTLE_SNAPSHOT, meters.now));
    throttle_charge(meter, 0, 4, 100); /* one was saved up */
    assert_true(throttle_is_spent(meter));
    assert_false(throttle_pass(meter, THROTTLE_SNAPSHOT, meters.now));
    assert_int_equal(throttle_wait_ms(meter, THROTTLE_SNAPSHOT, meters.now, 100000), 3000);
    assert_int_equal(throttle_wait_ms(meter, THROTTLE_SNAPSHOT, meters.now, 1000), 1000);
    assert_int_equal(throttle_shown(meter, THROTTLE_SNAPSHOT, meters.now), SNAPSHOT_OPS);
    assert_true(throttle_pass(meter, THROTTLE_LIVE, meters.now));
    assert_false(throttle_is_spent(meter));
    assert_int_equal(throttle_shown(meter, THROTTLE_LIVE, meters.now), THROTTLE_NONE);
    assert_false(throttle_pass(meter, THROTTLE_SNAPSHOT, meters.now + 2 * SECOND));
    assert_true(throttle_pass(meter, THROTTLE_SNAPSHOT, meters.now + 3 * SECOND));
    meters_close(&meters);
}

/* Whoever waits for a long debt must feel a change at once, in both directions; a rate that is set
 * after the lift counts for nothing. */
static void test_set(void **state)
{
    (void)state;
    struct throttle_rates set = no_rates;
    struct throttle_rates got;
    struct meters meters;
    set.per_s[LIVE_OPS] = 1;
    meters_open(&meters, &set);
    struct throttle_meter *meter = &meters.meter[0];
    assert_true(throttle_pass(meter, THROTTLE_LIVE, meters.now));
    assert_false(throttle_is_changed(meter));
    throttle_charge(meter, 0, 1000, 0);
    assert_false(throttle_pass(meter, THROTTLE_LIVE, meters.now));
    assert_true(throttle_wait_ms(meter, THROTTLE_LIVE, meters.now, INT32_MAX) > 900000);
    set.per_s[LIVE_OPS] = 10000;
    throttle_set(&meters.throttle, &set);
    assert_true(throttle_is_changed(meter));
    assert_false(throttle_pass(meter, THROTTLE_LIVE, meters.now));
    assert_false(throttle_is_changed(meter));
    assert_true(throttle_wait_ms(meter, THROTTLE_LIVE, meters.now, INT32_MAX) <= 100);
    throttle_get(&meters.throttle, &got);
    assert_memory_equal(&got, &set, sizeof(set));
    set.per_s[LIVE_OPS] = 0;
    throttle_set(&meters.throttle, &set);
    assert_true(throttle_pass(meter, THROTTLE_LIVE, meters.now));
    assert_int_equal(throttle_shown(meter, THROTTLE_LIVE, meters.now), THROTTLE_NONE);
    throttle_charge(meter, 0, 1000000, 0);
    assert_false(throttle_is_spent(meter));
    throttle_lift(&meters.throttle);
    set.per_s[LIVE_OPS] = 1;
    throttle_set(&meters.throttle, &set);
    assert_true(throttle_pass(meter, THROTTLE_LIVE, meters.now));
    throttle_charge(meter, 0, 1000000, 0);
    assert_true(throttle_pass(meter, THROTTLE_LIVE, meters.now));
    meters_close(&meters);
}

/* ---- in the pipeline ---- */

/* Times are only looked at from below: a slow machine makes a rate lower, nothing may make it
 * higher. What a pause saves up, and a share, is subtracted. */
static void assert_took(uint64_t begin_ms, uint64_t amount, uint64_t per_s)
{
    uint64_t free = per_s * (THROTTLE_BURST_MS + THROTTLE_SHARE_MS) / 1000 + 1;
    uint64_t wanted_ms = (amount - free) * 1000 / per_s;
    uint64_t took_ms = clock_monotonic_ms() - begin_ms;
    if (took_ms < wanted_ms) {
        fail_msg(
            "%llu ms instead of %llu", (unsigned long long)took_ms, (unsigned long long)wanted_ms);
    }
}

/* Commands, transactions and all, arrive in order and whole, at no more than the rate; what a
 * decoder holds back stays in its feed. */
static void test_live(void **state)
{
    (void)state;
    struct throttle_rates set = no_rates;
    set.per_s[LIVE_OPS] = 1000;
    struct rig *rig = rig_new(&(struct rig_options){.rates = &set, .chunk_bytes = 1 << 16});
    rig_live(rig, 0, 1000);
    uint64_t begin = clock_monotonic_ms();
    for (int i = 0; i < 100; i++) {
        rig_command(rig, 0, "SET a 1");
        rig_command(rig, 0, "MULTI");
        rig_command(rig, 0, "INCR b");
        rig_command(rig, 0, "RPUSH c x");
        rig_command(rig, 0, "EXEC");
    }
    rig_settle(rig);
    assert_took(begin, 300, 1000);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].command_count), 500);
    rig_free(rig);
}

static void test_snapshot(void **state)
{
    (void)state;
    struct throttle_rates set = no_rates;
    set.per_s[SNAPSHOT_OPS] = 200;
    struct rig *rig = rig_new(&(struct rig_options){.rates = &set, .chunk_bytes = 1 << 16});
    struct bytes rdb = {0};
    rdb_open(&rdb);
    for (int i = 0; i < 80; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key%d", i);
        rdb_string_add(&rdb, key, "value", 5);
    }
    rdb_close(&rdb);
    uint64_t begin = clock_monotonic_ms();
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 0);
    rig_feed(rig, 0, rdb.bytes, rdb.size, 0);
    rig_settle(rig);
    assert_took(begin, 80, 200);
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), 80);
    /* An MSET carries no more than what a pause can have saved up. */
    assert_true(rig_peer_value(rig, 0, &rig->peers[0].group_max) <= 22);
    rig_free(rig);
    bytes_free(&rdb);
}

/* One value far larger than a second of the rate comes in pieces, not at once; the lane must not
 * get more than the pieces of its time. */
static void run_large(bool is_live, size_t hold_bytes_free)
{
    struct throttle_rates set = no_rates;
    enum throttle_phase phase = is_live ? THROTTLE_LIVE : THROTTLE_SNAPSHOT;
    const uint64_t per_s = 400000;
    set.per_s[throttle_rate(THROTTLE_TASK, phase, THROTTLE_BYTES)] = per_s;
    struct rig *rig = rig_new(&(struct rig_options){.rates = &set,
                                                    .chunk_bytes = 1 << 16,
                                                    .batch_bytes = 1 << 16,
                                                    .hold_bytes_free = hold_bytes_free});
    struct peer *peer = &rig->peers[0];
    struct bytes bytes = {0};
    static uint8_t value[300000];
    memset(value, 'v', sizeof(value));
    if (is_live) {
        struct slice args[3] = {
            {(const uint8_t *)"SET", 3}, {(const uint8_t *)"k", 1}, {value, sizeof(value)}};
        rig_live(rig, 0, 1000);
        resp_add_args(&bytes, 3, args);
    } else {
        rdb_open(&bytes);
        rdb_string_add(&bytes, "k", value, sizeof(value));
        rdb_close(&bytes);
        rig_session(rig, 0, (int64_t)bytes.size, NULL, 0);
    }
    uint64_t begin = clock_monotonic_ns();
    uint64_t at_start = rig_peer_value(rig, 0, &peer->bytes);
    rig_feed(rig, 0, bytes.bytes, bytes.size, 0);
    while (rig_peer_value(rig, 0, &peer->effect_count) == 0) {
        uint64_t got = rig_peer_value(rig, 0, &peer->bytes) - at_start;
        uint64_t passed_ms = (clock_monotonic_ns() - begin) / MS;
        /* The rate, what was saved up, a share, a piece, and the SELECT. */
        uint64_t most = per_s * (passed_ms + 1 + THROTTLE_BURST_MS + THROTTLE_SHARE_MS) / 1000 +
                        per_s / 20 + 200;
        if (got > most) {
            fail_msg(
                "%llu bytes after %llu ms", (unsigned long long)got, (unsigned long long)passed_ms);
        }
        assert_false(rig_is_late(begin / MS));
        rig_pause();
    }
    rig_settle(rig);
    assert_took(begin / MS, sizeof(value), per_s);
    rig_free(rig);
    bytes_free(&bytes);
}

static void test_large(void **state)
{
    (void)state;
    run_large(true, 1 << 20);
    run_large(false, 1 << 20); /* gathered, then written */
    run_large(false, 0);       /* written as it comes    */
}

/* A task that ends must not wait for a rate: in the middle of a large value, and between
 * operations. */
static void test_abort(void **state)
{
    (void)state;
    struct throttle_rates set = no_rates;
    set.per_s[LIVE_BYTES] = 1;
    for (int is_large = 0; is_large < 2; is_large++) {
        struct rig *rig = rig_new(&(struct rig_options){.rates = &set, .hold_bytes_free = 1 << 16});
        rig_live(rig, 0, 1000);
        struct bytes command = {0};
        static uint8_t value[20000];
        struct slice args[3] = {
            {(const uint8_t *)"SET", 3}, {(const uint8_t *)"k", 1}, {value, is_large ? 20000 : 10}};
        resp_add_args(&command, 3, args);
        rig_feed(rig, 0, command.bytes, command.size, 0);
        rig_feed(rig, 0, command.bytes, command.size, 0);
        uint64_t begin = clock_monotonic_ms();
        while (throttle_shown(&rig->decoders[0].router.meter,
                              THROTTLE_LIVE,
                              clock_monotonic_ns()) == THROTTLE_NONE) {
            assert_false(rig_is_late(begin));
            rig_pause();
        }
        rig_free(rig);
        bytes_free(&command);
    }
}

/* A drain without the lift would end with what is held back still in the feed: it must be seen as
 * not drained. */
static void test_drain(void **state)
{
    (void)state;
    struct throttle_rates set = no_rates;
    set.per_s[LIVE_OPS] = 1;
    struct rig *rig = rig_new(&(struct rig_options){.rates = &set});
    rig_live(rig, 0, 1000);
    for (int i = 0; i < 50; i++) {
        rig_command(rig, 0, "INCR a");
    }
    rig_await_commands(rig, 0, 1);
    rig_seal(rig, 0);
    atomic_store_release(&rig->task.drain, true);
    waker_wake(&rig->decoders[0].waker);
    for (int i = 0; i < 20; i++) {
        rig_pause();
        assert_false(atomic_load_acquire(&rig->decoders[0].is_drained));
    }
    throttle_lift(&rig->task.throttle);
    waker_wake(&rig->decoders[0].waker);
    uint64_t begin = clock_monotonic_ms();
    while (!atomic_load_acquire(&rig->decoders[0].is_drained)) {
        assert_false(rig_is_late(begin));
        rig_pause();
    }
    assert_int_equal(rig_peer_value(rig, 0, &rig->peers[0].effect_count), 50);
    rig_free(rig);
}

/* A snapshot that is held up does not keep another stream of the same decoder waiting. */
static void test_passing(void **state)
{
    (void)state;
    struct throttle_rates set = no_rates;
    set.per_s[SNAPSHOT_OPS] = 1;
    struct rig *rig = rig_new(&(struct rig_options){.rates = &set, .streams = 2});
    rig_live(rig, 1, 1000);
    struct bytes rdb = {0};
    rdb_open(&rdb);
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key%d", i);
        rdb_string_add(&rdb, key, "value", 5);
    }
    rdb_close(&rdb);
    rig_session(rig, 0, (int64_t)rdb.size, NULL, 0);
    rig_feed(rig, 0, rdb.bytes, rdb.size, 0);
    rig_await_commands(rig, 0, 1);
    for (int i = 0; i < 1000; i++) {
        rig_command(rig, 1, "INCR a");
    }
    rig_await_commands(rig, 0, 1001);
    assert_int_not_equal(atomic_load_acquire(&rig->sources[0].stream.shown_state), STREAM_LIVE);
    rig_free(rig);
    bytes_free(&rdb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_burst),
        cmocka_unit_test(test_change),
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_live),
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_passing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
