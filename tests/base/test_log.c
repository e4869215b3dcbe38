#include "tests/base/test.h"

#include "core/base/log.h"

struct seen {
    int count;
    int inside;
    enum log_level level;
    char text[2048];
};

static void sink(void *arg, enum log_level level, const char *text)
{
    struct seen *seen = arg;
    seen->inside++;
    assert_int_equal(seen->inside, 1); /* one line at a time */
    seen->count++;
    seen->level = level;
    strncpy(seen->text, text, sizeof(seen->text) - 1);
    seen->inside--;
}

/* What is below the level never reaches the sink; what is not arrives whole, with its level. */
static void test_levels(void **state)
{
    (void)state;
    struct seen seen = {0};
    log_set_sink(sink, &seen);
    log_debug("hidden");
    assert_int_equal(seen.count, 0);
    log_info("%d lanes", 3);
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.text, "3 lanes");
    assert_int_equal(seen.level, LOG_INFO);
    log_set_level(LOG_ERROR);
    log_warning("hidden");
    assert_int_equal(seen.count, 1);
    log_error("seen");
    assert_int_equal(seen.level, LOG_ERROR);
    log_set_level(LOG_DEBUG);
    log_debug("seen");
    assert_int_equal(seen.level, LOG_DEBUG);
    assert_int_equal(seen.count, 3);
    log_set_level(LOG_INFO);
    log_set_sink(NULL, NULL);
}

/* A long line is cut, not overrun. */
static void test_long(void **state)
{
    (void)state;
    struct seen seen = {0};
    char text[4000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_set_sink(sink, &seen);
    log_info("%s", text);
    assert_int_equal(strlen(seen.text), 1023);
    log_set_sink(NULL, NULL);
}

#define LINES 2000

static void *write_lines(void *arg)
{
    (void)arg;
    for (int i = 0; i < LINES; i++) {
        log_info("line %d", i);
    }
    return NULL;
}

/* Lines of several threads reach the sink one at a time, all of them. */
static void test_threads(void **state)
{
    (void)state;
    struct seen seen = {0};
    log_set_sink(sink, &seen);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, NULL), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    log_set_sink(NULL, NULL);
    assert_int_equal(seen.count, 3 * LINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
