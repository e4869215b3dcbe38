#include "tests/base/test.h"

#include <errno.h>

/* A caller that returns ERR(...) must report failure, and the struct must say where it happened:
 * a wrong line or a stale errno would send people looking in the wrong place. */
static void test_fill(void **state)
{
    (void)state;
    struct syn_err err;
    memset(&err, 0x55, sizeof(err));
    int line = __LINE__ + 1;
    assert_false(ERR(&err, SYN_CODE_SOURCE_DATA, "byte %d of %s", 7, "x"));
    assert_int_equal(err.code, SYN_CODE_SOURCE_DATA);
    assert_int_equal(err.sys_errno, 0);
    assert_int_equal(err.line, line);
    assert_string_equal(err.func, __func__);
    assert_non_null(strstr(err.file, "test_err.c"));
    assert_string_equal(err.msg, "byte 7 of x");
}

/* The system's own words are appended, and only then. */
static void test_system(void **state)
{
    (void)state;
    struct syn_err err;
    assert_false(ERR_SYS(&err, SYN_CODE_SYSTEM, ENOENT, "cannot open %s", "f"));
    assert_int_equal(err.sys_errno, ENOENT);
    assert_string_equal(err.msg, "cannot open f: No such file or directory");
}

/* Context goes before the message; the code and the place of the failure stay. */
static void test_context(void **state)
{
    (void)state;
    struct syn_err err;
    (void)ERR(&err, SYN_CODE_SOURCE_AUTH, "inner");
    int line = err.line;
    err_context(&err, "shard %d", 3);
    err_context(&err, "task");
    assert_string_equal(err.msg, "task: shard 3: inner");
    assert_int_equal(err.code, SYN_CODE_SOURCE_AUTH);
    assert_int_equal(err.line, line);
}

/* A message of any length, with any context, ends inside its array: it holds texts of servers. */
static void test_truncation(void **state)
{
    (void)state;
    struct syn_err err;
    char text[2000];
    for (size_t size = 480; size < sizeof(text) - 1; size += size < 540 ? 1 : 97) {
        memset(text, 'a', size);
        text[size] = '\0';
        memset(&err, 0x55, sizeof(err));
        assert_false(ERR_SYS(&err, SYN_CODE_SYSTEM, EIO, "%s", text));
        size_t length = strnlen(err.msg, sizeof(err.msg));
        assert_true(length < sizeof(err.msg));
        assert_memory_equal(err.msg, text, size < sizeof(err.msg) - 1 ? size : sizeof(err.msg) - 1);
        memset(text, 'b', size);
        err_context(&err, "%s", text);
        assert_true(strnlen(err.msg, sizeof(err.msg)) < sizeof(err.msg));
        /* A long context leaves most of the room to the message. */
        assert_memory_equal(err.msg + 200, ": aaa", 5);
    }
}

static void test_clear(void **state)
{
    (void)state;
    struct syn_err err;
    (void)ERR(&err, SYN_CODE_MEMORY, "x");
    err_clear(&err);
    assert_int_equal(err.code, SYN_CODE_OK);
    assert_string_equal(err.msg, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fill),
        cmocka_unit_test(test_system),
        cmocka_unit_test(test_context),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
