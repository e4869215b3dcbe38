/* Commands over several slots of a cluster, from a source that may run them: all of them, under
 * little memory, and between servers of every version. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/live/crosser.h"

#define SHARDS 3

static struct writer *mixed_writer(const struct live_side *source, uint64_t seed)
{
    return writer_start(&(struct writer_options){.port = live_port(source),
                                                 .seed = seed,
                                                 .key_count = 40,
                                                 .rate_max = 3000,
                                                 .is_cross_slot = true,
                                                 .has_transactions = true});
}

static uint32_t run_count;

static void copy(const char *from, const char *to, const char *io, const char *memory, int64_t more)
{
    struct live_side source, destination;
    struct crosser crossers[CROSSERS];
    struct test_cli cli;
    if (!test_server_available(from) || !test_server_available(to))
        return;
    run_count++;
    live_side_start(&source, from, 0, 0, NULL);
    live_side_start(&destination, to, SHARDS, 0, NULL);
    struct writer *writer = mixed_writer(&source, 7);
    crossers_start(crossers, &source, 70, 1500);
    live_writer_more(writer, 2000);
    live_spawn(&cli, &source, &destination, "--io", io, "--memory", memory, "--lanes", "2", NULL);
    live_wait_phase(&cli, "live");
    crossers_wait_relayed(&cli, more);
    writer_stop(writer, &(struct writer_result){0});
    crossers_stop(crossers);
    live_wait_level(&cli, &source);
    assert_int_equal(live_total(&cli, "diverged_relay"), 0);
    assert_int_equal(live_total(&cli, "held"), 0);
    assert_int_not_equal(live_total(&cli, "held_peak"), 0);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

static void test_all_commands(void **state)
{
    (void)state;
    copy(TEST_REQUIRED_VERSION, TEST_REQUIRED_VERSION, "uring", "48m", 6000);
}

/* The bounds are met all the time. */
static void test_little_memory(void **state)
{
    (void)state;
    copy(TEST_REQUIRED_VERSION, TEST_REQUIRED_VERSION, "epoll", "8m", 4000);
}

/* 6.0 has no PEXPIRETIME; the others have other encodings of what is moved. */
static void test_other_versions(void **state)
{
    (void)state;
    for (uint32_t i = 0; test_versions[i] != NULL; i++) {
        if (strcmp(test_versions[i], TEST_REQUIRED_VERSION) != 0)
            copy(test_versions[i], test_versions[i], "uring", "48m", 1500);
    }
}

/* What cannot be relayed is read at the source, while the keys are used by others all the time:
 * SORT reads keys by patterns, and a script of 6.0, propagated as it is, does what it likes. */
static void read_at_the_source(const char *version)
{
    static const char script[] =
        "redis.call('INCR', KEYS[1]) redis.call('RPUSH', KEYS[2], ARGV[1])";
    struct live_side source, destination;
    struct crosser crossers[CROSSERS];
    struct test_cli cli;
    if (!test_server_available(version))
        return;
    bool is_old = strcmp(version, TEST_REQUIRED_VERSION) != 0;
    run_count++;
    live_side_start(&source,
                    version,
                    0,
                    0,
                    is_old ? (const char *[]){"--lua-replicate-commands", "no", NULL} : NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, SHARDS, 0, NULL);
    live_spawn(&cli, &source, &destination, NULL);
    live_wait_phase(&cli, "live");
    crossers_start(crossers, &source, 110, 300);
    for (int i = 0; i < 500; i++) {
        test_client_send(source.client, NULL, "SET weight_%d %d", i % 40, i * 7 % 40);
        test_client_send(
            source.client, NULL, "SORT r:set:%d BY weight_* STORE sorted:%d", i % 9, i);
        test_client_send(
            source.client, NULL, "EVAL %s 2 count:%d r:list:%d x%d", script, i % 5, i % 9, i);
        if (i % 50 == 0)
            test_client_flush(source.client);
    }
    test_client_flush(source.client);
    crossers_stop(crossers);
    live_wait_level(&cli, &source);
    assert_int_not_equal(live_total(&cli, "keys_refetched"), 0);
    live_stop(&cli);
    live_assert_equal(&source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
}

static void test_read_at_the_source(void **state)
{
    (void)state;
    read_at_the_source(TEST_REQUIRED_VERSION);
    read_at_the_source("redis-6.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_commands),
        cmocka_unit_test(test_little_memory),
        cmocka_unit_test(test_other_versions),
        cmocka_unit_test(test_read_at_the_source),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return test_exit_status(failed, run_count);
}
