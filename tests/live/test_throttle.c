/* Rates between real servers: held while they are set, felt when they change, told in the status,
 * and never the reason why something is lost. Times are only looked at from below. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/engine/syn.h"
#include "tests/live/sides.h"
#include "tests/support/random.h"

static void write_keys(const struct live_side *side, const char *prefix, int count, int size)
{
    char *value = calloc(1, (size_t)size + 1);
    assert_non_null(value);
    memset(value, 'v', (size_t)size);
    for (int i = 0; i < count; i++) {
        char key[64];
        snprintf(key, sizeof(key), "%s%d", prefix, i);
        test_client_send(side->client, key, "SET %s %s", key, value);
    }
    test_client_flush(side->client);
    free(value);
}

/* Longer than what was saved up before does not count. */
static void assert_took(uint64_t begin_ms, uint64_t amount, uint64_t per_s)
{
    uint64_t took_ms = clock_monotonic_ms() - begin_ms;
    uint64_t least_ms = (amount - amount / 20) * 1000 / per_s - 220;
    if (took_ms < least_ms)
        fail_msg(
            "%llu ms instead of %llu", (unsigned long long)took_ms, (unsigned long long)least_ms);
}

/* Waits until a stream says that this rate holds it up. */
static void wait_throttle(struct test_cli *cli, const char *rate)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    for (bool is_there = false; !is_there; test_poll(deadline, rate)) {
        json_t *progress = live_event(cli, "progress");
        json_t *streams = json_object_get(progress, "streams");
        for (size_t i = 0; i < json_array_size(streams); i++) {
            const json_t *stream = json_array_get(streams, i);
            const char *throttle = json_string_value(json_object_get(stream, "throttle"));
            const char *wait = json_string_value(json_object_get(stream, "wait"));
            if (throttle != NULL && strcmp(throttle, rate) == 0) {
                assert_string_equal(wait, "throttle");
                is_there = true;
            }
        }
        json_decref(progress);
    }
}

/* Each rate of the snapshot, of the task and of a shard, makes the copy take its time, and says so.
 */
static void test_snapshot(void **state)
{
    (void)state;
    static const struct {
        const char *rate;
        const char *text;
        uint64_t amount;
        uint64_t per_s;
    } rates[] = {{"snapshot-ops", "3000", 3000, 3000},
                 {"snapshot-bytes", "300k", 3000 * 100, 300 << 10},
                 {"shard-snapshot-ops", "3000", 3000, 3000},
                 {"shard-snapshot-bytes", "300k", 3000 * 100, 300 << 10}};
    write_keys(&source, "key", 3000, 100);
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        char option[64];
        struct test_cli cli;
        snprintf(option, sizeof(option), "--%s", rates[i].rate);
        uint64_t begin_ms = clock_monotonic_ms();
        live_spawn(&cli, &source, &destination, "--once", option, rates[i].text, NULL);
        wait_throttle(&cli, rates[i].rate);
        json_t *progress = live_event(&cli, "progress");
        json_t *set = json_object_get(progress, "rates");
        assert_int_equal(json_integer_value(json_object_get(set, rates[i].rate)), rates[i].per_s);
        assert_int_equal(json_object_size(set), 1);
        json_decref(progress);
        live_expect_end(&cli, 0, NULL);
        assert_took(begin_ms, rates[i].amount, rates[i].per_s);
        live_assert_equal(&source, &destination);
        test_command_ok(live_redis(&destination), "FLUSHALL");
    }
}

/* The same for the live stream; the snapshot is not held up by it. */
static void test_live(void **state)
{
    (void)state;
    static const struct {
        const char *rate;
        const char *text;
        uint64_t amount;
        uint64_t per_s;
    } rates[] = {{"live-ops", "3000", 3000, 3000},
                 {"live-bytes", "300k", 3000 * 100, 300 << 10},
                 {"shard-live-ops", "3000", 3000, 3000},
                 {"shard-live-bytes", "300k", 3000 * 100, 300 << 10}};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        char option[64];
        struct test_cli cli;
        snprintf(option, sizeof(option), "--%s", rates[i].rate);
        write_keys(&source, "old", 3000, 100);
        live_spawn(&cli, &source, &destination, option, rates[i].text, NULL);
        live_wait_phase(&cli, "live");
        uint64_t begin_ms = clock_monotonic_ms();
        write_keys(&source, "key", 3000, 100);
        wait_throttle(&cli, rates[i].rate);
        live_wait_level(&cli, &source);
        assert_took(begin_ms, rates[i].amount, rates[i].per_s);
        live_stop(&cli);
        live_assert_equal(&source, &destination);
        sides_empty(NULL);
    }
}

/* A signal lifts the rates: what was written before it takes an hour with them. */
static void test_stop(void **state)
{
    (void)state;
    struct test_cli cli;
    live_spawn(&cli, &source, &destination, "--live-ops", "1", NULL);
    live_wait_phase(&cli, "live");
    for (int i = 0; i < 3000; i++)
        test_client_send(source.client, "counter", "INCR counter");
    test_client_flush(source.client);
    wait_throttle(&cli, "live-ops");
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    /* A snapshot that is stopped in the middle has all that was received of it. */
    test_command_ok(live_redis(&destination), "FLUSHALL");
    write_keys(&source, "key", 1000, 100);
    live_spawn(&cli, &source, &destination, "--snapshot-bytes", "1", NULL);
    wait_throttle(&cli, "snapshot-bytes");
    live_stop(&cli);
    live_assert_equal(&source, &destination);
}

/* What cannot be written waits in bounded memory and then at the source; nothing is lost of it. */
static void test_pressure(void **state)
{
    (void)state;
    struct test_cli cli;
    live_spawn(&cli,
               &source,
               &destination,
               "--live-bytes",
               "1m",
               "--memory",
               "8m",
               "--drain-timeout",
               "60s",
               NULL);
    live_wait_phase(&cli, "live");
    write_keys(&source, "key", 400, 50000);
    wait_throttle(&cli, "live-bytes");
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_streams_sum(&cli, "queue_percent") < 90 || live_total(&cli, "lag_bytes") < 8 << 20)
        test_poll(deadline, "the memory for received bytes to be full, and much behind it");
    assert_true(live_total(&cli, "memory_bytes") <= live_total(&cli, "memory_limit_bytes"));
    test_cli_signal(&cli, SIGINT);
    live_expect_end(&cli, 0, NULL);
    live_assert_equal(&source, &destination);
}

/* To a cluster, from a cluster, with several decoders for each shard: as much as all shards
 * together allow, and no more; the order per key is kept. */
static void test_cluster(void **state)
{
    (void)state;
    struct live_side from, to;
    struct test_cli cli;
    live_side_start(&from, TEST_REQUIRED_VERSION, 2, 0, NULL);
    live_side_start(&to, TEST_REQUIRED_VERSION, 2, 0, NULL);
    live_spawn(
        &cli, &from, &to, "--decoders", "2", "--lanes", "2", "--shard-live-ops", "1000", NULL);
    live_wait_phase(&cli, "live");
    uint64_t begin_ms = clock_monotonic_ms();
    for (int i = 0; i < 4000; i++) {
        char key[32];
        snprintf(key, sizeof(key), "list%d", i % 100);
        test_client_send(from.client, key, "RPUSH %s %d", key, i);
    }
    test_client_flush(from.client);
    wait_throttle(&cli, "shard-live-ops");
    live_wait_level(&cli, &from);
    assert_took(begin_ms, 4000, 2000);
    live_stop(&cli);
    live_assert_equal(&from, &to);
    live_side_stop(&from);
    live_side_stop(&to);
}

/* ---- the library ---- */

static struct syn_status *status_of(struct syn_engine *engine)
{
    struct syn_err err;
    struct syn_status *status = syn_engine_status(engine, &err);
    if (status == NULL)
        fail_msg("status: %s", err.msg);
    return status;
}

static void wait_stream(struct syn_engine *engine, enum syn_phase phase, enum syn_wait wait)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    for (bool is_there = false; !is_there; test_poll(deadline, syn_wait_name(wait))) {
        struct syn_status *status = status_of(engine);
        is_there = status->stream_count == 1 && status->streams[0].phase == phase &&
                   status->streams[0].wait == wait;
        assert_true(status->stream_count == 0 ||
                    (status->streams[0].wait == SYN_WAIT_THROTTLE) ==
                        (status->streams[0].throttle != SYN_RATE_COUNT));
        syn_status_free(status);
    }
}

/* Rates change while the task runs: what would take hours is done at once when they are raised, and
 * what is lowered holds. */
static void test_change(void **state)
{
    (void)state;
    char text[1024];
    struct syn_err err;
    struct syn_rates rates = {.per_s = {[SYN_RATE_SNAPSHOT_OPS] = 1}};
    write_keys(&source, "key", 2000, 10);
    snprintf(text, sizeof(text), "source: %s\ndestination: %s\n", source.uri, destination.uri);
    struct syn_engine *engine = syn_engine_open(text, strlen(text), &err);
    assert_non_null(engine);
    assert_true(syn_engine_throttle(engine, &rates, &err)); /* before the start */
    if (!syn_engine_start(engine, &err))
        fail_msg("start: %s", err.msg);
    wait_stream(engine, SYN_PHASE_SNAPSHOT, SYN_WAIT_THROTTLE);
    rates = (struct syn_rates){.per_s = {[SYN_RATE_LIVE_OPS] = 1}};
    assert_true(syn_engine_throttle(engine, &rates, &err));
    wait_stream(engine, SYN_PHASE_LIVE, SYN_WAIT_SOURCE);
    write_keys(&source, "more", 2000, 10);
    wait_stream(engine, SYN_PHASE_LIVE, SYN_WAIT_THROTTLE);
    struct syn_status *status = status_of(engine);
    assert_int_equal(status->streams[0].throttle, SYN_RATE_LIVE_OPS);
    assert_int_equal(status->rates.per_s[SYN_RATE_LIVE_OPS], 1);
    assert_int_equal(status->rates.per_s[SYN_RATE_SNAPSHOT_OPS], 0);
    assert_true(test_command_integer(live_redis(&destination), "DBSIZE") < 4000);
    syn_status_free(status);
    rates.per_s[SYN_RATE_LIVE_BYTES] = SYN_RATE_MAX + 1; /* refused as a whole */
    assert_false(syn_engine_throttle(engine, &rates, &err));
    assert_int_equal(err.code, SYN_CODE_CONFIG);
    assert_non_null(strstr(err.msg, "live-bytes"));
    rates = (struct syn_rates){.per_s = {[SYN_RATE_LIVE_OPS] = 1000000}};
    assert_true(syn_engine_throttle(engine, &rates, &err));
    wait_stream(engine, SYN_PHASE_LIVE, SYN_WAIT_SOURCE);
    syn_engine_stop(engine, true);
    assert_true(syn_engine_wait(engine, LIVE_WAIT_MS, &err));
    assert_int_equal(err.code, SYN_CODE_OK);
    assert_true(syn_engine_throttle(engine, &rates, &err)); /* allowed, for nothing */
    syn_engine_free(engine);
    live_assert_equal(&source, &destination);
}

/* Rates that change all the time, from one operation in a second to none at all, during the
 * snapshot, large values, transactions and live commands: nothing may stop for good, be lost or
 * come twice. */
static void test_flapping(void **state)
{
    (void)state;
    char text[1024];
    struct syn_err err;
    struct random random = {.state = 11};
    struct syn_rates rates = {.per_s = {[SYN_RATE_SNAPSHOT_BYTES] = 1000}};
    dataset_load(source.client, 3, 30);
    write_keys(&source, "large", 5, 1 << 20);
    snprintf(text,
             sizeof(text),
             "source: %s\ndestination: %s\nlanes: 2\nmemory: 8m\ndrain_timeout: 60s\n",
             source.uri,
             destination.uri);
    struct syn_engine *engine = syn_engine_open(text, strlen(text), &err);
    assert_non_null(engine);
    assert_true(syn_engine_throttle(engine, &rates, &err));
    if (!syn_engine_start(engine, &err))
        fail_msg("start: %s", err.msg);
    struct writer *writer = live_writer(&source, &destination, 3, 3000);
    for (int i = 0; i < 400; i++) {
        for (int rate = 0; rate < SYN_RATE_COUNT; rate++) {
            uint32_t kind = random_below(&random, 4);
            rates.per_s[rate] = kind == 0   ? 1 + random_below(&random, 3)
                                : kind == 1 ? 1 + random_below(&random, 1 << 24)
                                            : 0;
        }
        assert_true(syn_engine_throttle(engine, &rates, &err));
        struct timespec nap = {.tv_nsec = 5000000};
        nanosleep(&nap, NULL);
    }
    rates = (struct syn_rates){.per_s = {0}};
    assert_true(syn_engine_throttle(engine, &rates, &err));
    live_writer_more(writer, 500);
    writer_stop(writer, NULL);
    wait_stream(engine, SYN_PHASE_LIVE, SYN_WAIT_SOURCE);
    syn_engine_stop(engine, true);
    assert_true(syn_engine_wait(engine, LIVE_WAIT_MS, &err));
    if (err.code != SYN_CODE_OK)
        fail_msg("end: %s", err.msg);
    syn_engine_free(engine);
    live_assert_equal(&source, &destination);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_snapshot, sides_empty),
        cmocka_unit_test_setup(test_live, sides_empty),
        cmocka_unit_test_setup(test_stop, sides_empty),
        cmocka_unit_test_setup(test_pressure, sides_empty),
        cmocka_unit_test(test_cluster),
        cmocka_unit_test_setup(test_change, sides_empty),
        cmocka_unit_test_setup(test_flapping, sides_empty),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, sides_start, sides_stop);
}
