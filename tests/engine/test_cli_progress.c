/* Progress: percent, rates and times that people act on, and a view that never breaks a terminal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "test_cli_engine.h"
#include "tools/cli/progress.h"
#include "tools/cli/report.h"

static struct progress progress;
static struct text text;

static void assert_near(double value, double expected, double off)
{
    if (value < expected - off || value > expected + off) {
        fail_msg("%f is not near %f", value, expected);
    }
}

/* A rate must reach what happens within a few time constants and not jump with each sample. */
static void test_rates(void **state)
{
    (void)state;
    memset(&progress, 0, sizeof(progress));
    struct syn_status status;
    struct syn_stream_status streams[2];
    fake_status_fill(&status, streams, SYN_PHASE_SNAPSHOT);
    status.keys = 0;
    progress_sample(&progress, &status, 1000);
    assert_false(progress.total.keys.has_rate);
    for (unsigned i = 1; i <= 40; i++) { /* 10 s of 1000 keys per second */
        status.keys = i * 250;
        progress_sample(&progress, &status, 1000 + i * 250);
        assert_near(progress.total.keys.per_second, 1000, 0.01);
    }
    for (unsigned i = 1; i <= 12; i++) { /* 3 s of none */
        progress_sample(&progress, &status, 11000 + i * 250);
    }
    assert_near(progress.total.keys.per_second, 380, 60); /* about 1/e */
    status.keys = 3;                                      /* the snapshot began again */
    progress_sample(&progress, &status, 15000);
    assert_true(progress.total.keys.per_second >= 0);
    progress_sample(&progress, &status, 15000); /* the same moment */
    assert_true(progress.total.keys.per_second >= 0);
}

/* By bytes where the source says how many, else by keys; never 100 before it is over. */
static void test_percent(void **state)
{
    (void)state;
    memset(&progress, 0, sizeof(progress));
    struct syn_status status;
    struct syn_stream_status streams[2];
    fake_status_fill(&status, streams, SYN_PHASE_SNAPSHOT);
    progress_sample(&progress, &status, 0);
    assert_near(progress.streams[0].percent, 25, 0.001); /* bytes */
    assert_near(progress.streams[1].percent, 50, 0.001); /* keys */
    assert_near(progress.total.percent, 50, 0.001);
    streams[0].snapshot_bytes = 9 << 20; /* more than it said */
    streams[1].snapshot_keys_total = 0;
    progress_sample(&progress, &status, 1000);
    assert_near(progress.streams[0].percent, 99.9, 0.001);
    assert_true(progress.streams[1].percent < 0);
    assert_true(progress.streams[1].eta_s < 0);
    streams[0].phase = streams[1].phase = status.phase = SYN_PHASE_LIVE;
    progress_sample(&progress, &status, 2000);
    assert_near(progress.streams[1].percent, 100, 0.001);
    assert_near(progress.total.percent, 100, 0.001);
}

/* Files have a snapshot and nothing behind it: keys until the end, no lag, and no total of keys
 * where the file does not announce one. */
static void test_files(void **state)
{
    (void)state;
    struct syn_status status;
    struct syn_stream_status streams[2];
    memset(&progress, 0, sizeof(progress));
    fake_status_fill(&status, streams, SYN_PHASE_DRAINING);
    streams[0].is_file = streams[1].is_file = true;
    streams[0].phase = streams[1].phase = SYN_PHASE_DONE;
    status.keys_total = 0;
    progress_sample(&progress, &status, 0);
    assert_near(progress.total.percent, 100, 0.001);
    text.size = 0;
    progress_line(&progress, &status, &text);
    assert_non_null(strstr(text.data, "draining 100.0% keys=500 ("));
    assert_null(strstr(text.data, "lag"));
    text.size = 0;
    progress_view(&progress, &status, 120, 24, &text);
    assert_non_null(strstr(text.data, " 250 "));
    assert_null(strstr(text.data, " 10 B"));
    for (unsigned i = 0; i < 2; i++) {
        streams[i].is_file = false;
    }
    text.size = 0;
    progress_line(&progress, &status, &text);
    assert_non_null(strstr(text.data, "lag"));
}

static void test_eta(void **state)
{
    (void)state; /* What is left, at the present rate. */
    memset(&progress, 0, sizeof(progress));
    struct syn_status status;
    struct syn_stream_status streams[2];
    fake_status_fill(&status, streams, SYN_PHASE_SNAPSHOT);
    streams[1].snapshot_keys = 0;
    progress_sample(&progress, &status, 0);
    streams[1].snapshot_keys = 100;
    progress_sample(&progress, &status, 1000);
    assert_near(progress.streams[1].eta_s, 4, 0.001);
}

/* Printed width of one line, without the ANSI sequence at its end. */
static size_t width_of(const char *line)
{
    return strcspn(line, "\x1b\n");
}

/* A line wider than the terminal wraps, and the next refresh then leaves rubbish behind. */
static void test_view_fits(void **state)
{
    (void)state;
    memset(&progress, 0, sizeof(progress));
    struct syn_status status;
    struct syn_stream_status streams[2];
    fake_status_fill(&status, streams, SYN_PHASE_LIVE);
    memset(streams[1].source, 'x', sizeof(streams[1].source) - 1);
    progress_sample(&progress, &status, 0);
    for (unsigned columns = 1; columns <= 250; columns++) {
        for (unsigned rows = 1; rows <= 8; rows++) {
            text.size = 0;
            unsigned lines = progress_view(&progress, &status, columns, rows, &text);
            unsigned counted = 0;
            for (const char *at = text.data; *at != '\0'; at += strcspn(at, "\n") + 1) {
                counted++;
                assert_true(width_of(at) <= (columns > 1 ? columns - 1 : 1));
            }
            assert_int_equal(lines, counted);
            assert_true(lines <= (rows > 2 ? rows - 1 : 2));
        }
    }
    text.size = 0;
    (void)progress_view(&progress, &status, 200, 24, &text);
    static const char *const words[] = {"source",
                                        "phase",
                                        "behind",
                                        "queue",
                                        "waits for",
                                        "10.0.0.1:6379",
                                        "live",
                                        "destination",
                                        "7%",
                                        "20",
                                        "total",
                                        "25%"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strstr(text.data, words[i]) == NULL) {
            fail_msg("missing %s in\n%s", words[i], text.data);
        }
    }
}

/* Whoever wonders why it is slow must be told which rate it is, once, and whose. */
static void test_throttled(void **state)
{
    (void)state;
    memset(&progress, 0, sizeof(progress));
    struct syn_status status;
    struct syn_stream_status streams[2];
    fake_status_fill(&status, streams, SYN_PHASE_LIVE);
    progress_sample(&progress, &status, 0);
    text.size = 0;
    progress_line(&progress, &status, &text);
    assert_null(strstr(text.data, "throttled"));
    for (unsigned rate = 0; rate < SYN_RATE_COUNT; rate++) {
        streams[0].wait = streams[1].wait = SYN_WAIT_THROTTLE;
        streams[0].throttle = SYN_RATE_LIVE_BYTES;
        streams[1].throttle = (enum syn_rate)rate;
        text.size = 0;
        progress_line(&progress, &status, &text);
        assert_non_null(strstr(text.data, " throttled: "));
        assert_non_null(strstr(text.data, "live-bytes"));
        assert_non_null(strstr(text.data, syn_rate_name((enum syn_rate)rate)));
        text.size = 0;
        (void)progress_view(&progress, &status, 200, 24, &text);
        assert_non_null(strstr(text.data, " bytes/s"));
    }
    text.size = 0;
    streams[1].wait = SYN_WAIT_NONE;
    progress_line(&progress, &status, &text);
    assert_non_null(strstr(text.data, " throttled: live-bytes"));
    assert_null(strstr(text.data, ", "));
}

static void test_view_many(void **state)
{
    (void)state; /* More streams than rows, and than rates are kept for. */
    enum { COUNT = PROGRESS_STREAMS_MAX + 10 };
    static struct syn_stream_status streams[COUNT];
    memset(&progress, 0, sizeof(progress));
    struct syn_status status;
    fake_status_fill(&status, streams, SYN_PHASE_SNAPSHOT);
    for (unsigned i = 2; i < COUNT; i++) {
        streams[i] = streams[i % 2];
    }
    status.stream_count = COUNT;
    progress_sample(&progress, &status, 0);
    progress_sample(&progress, &status, 1000);
    text.size = 0;
    assert_int_equal(progress_view(&progress, &status, 80, 24, &text), 23);
    assert_non_null(strstr(text.data, "\n... 502 more"));
    text.size = 0;
    assert_true(progress_view(&progress, &status, 120, 10000, &text) > COUNT);
    assert_true(text.size < PROGRESS_TEXT_MAX);
}

static void test_numbers(void **state)
{
    (void)state; /* Numbers for people, at the places where the unit changes. */
    char out[24];
    assert_string_equal(show_bytes(0, out), "0 B");
    assert_string_equal(show_bytes(1023, out), "1023 B");
    assert_string_equal(show_bytes(1536, out), "1.5 KiB");
    assert_string_equal(show_bytes(18446744073709551615.0, out), "16384.0 PiB");
    assert_string_equal(show_count(9999, out), "9999");
    assert_string_equal(show_count(12345, out), "12.3k");
    assert_string_equal(show_duration(-1, out), "?");
    assert_string_equal(show_duration(0.04, out), "0.0s");
    assert_string_equal(show_duration(65, out), "1m05s");
    assert_string_equal(show_duration(7260, out), "2h01m");
    assert_string_equal(show_duration(1e300, out), "?");
}

static void test_phase_times(void **state)
{
    (void)state; /* A phase that comes again adds up; the closing table has each once. */
    struct phase_times times = {.has_current = false};
    phase_times_add(&times, SYN_PHASE_PRECHECK, 1000);
    phase_times_add(&times, SYN_PHASE_LIVE, 1500);
    phase_times_add(&times, SYN_PHASE_SNAPSHOT, 2500);
    phase_times_add(&times, SYN_PHASE_LIVE, 2600);
    phase_times_add(&times, SYN_PHASE_DONE, 3600);
    phase_times_end(&times, 9999);
    assert_int_equal(times.spent_ms[SYN_PHASE_PRECHECK], 500);
    assert_int_equal(times.spent_ms[SYN_PHASE_LIVE], 2000);
    struct syn_status status;
    struct syn_stream_status streams[2];
    fake_status_fill(&status, streams, SYN_PHASE_DONE);
    text.size = 0;
    report_table(&times, &status, &text);
    assert_non_null(strstr(text.data, "\nlive            2.0s            200 commands"));
    assert_non_null(strstr(text.data, "\ndone            2.0s            700 written"));
    assert_non_null(strstr(text.data, "\nsent 4.0 MiB to the destination; lag at the end 10 B"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_percent),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_eta),
        cmocka_unit_test(test_view_fits),
        cmocka_unit_test(test_throttled),
        cmocka_unit_test(test_view_many),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_phase_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
