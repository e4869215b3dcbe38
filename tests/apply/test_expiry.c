/* Which argument of a command is a time to live, and what the command becomes when it is put off.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "apply/expiry.h"

#define WORDS_MAX 16

/* Words separated by blanks, as a command. */
static size_t encode(const char *text, struct slice words[WORDS_MAX], uint8_t *out, uint32_t *count)
{
    *count = 0;
    for (const char *at = text; *at != '\0'; at += *at == ' ') {
        size_t size = strcspn(at, " ");
        words[(*count)++] = (struct slice){(const uint8_t *)at, size};
        at += size;
    }
    uint8_t *end = resp_put_head(out, '*', *count);
    for (uint32_t i = 0; i < *count; i++) {
        end = resp_put_bulk(end, words[i].bytes, words[i].size);
    }
    return (size_t)(end - out);
}

static const struct {
    const char *command;
    const char *edited; /* NULL: as it is */
} cases[] = {
    {"SET k v", NULL},
    {"SET k v EX 10", "SET k v EX 140000000010"},
    {"set k v px 10", "set k v px 140000000000010"},
    {"SET k v NX EXAT 1700000000", "SET k v NX EXAT 141700000000"},
    {"SET k v PXAT 1700000000123", "SET k v PXAT 141700000000123"},
    {"SET k EX 5", NULL},
    {"SET k EX PX 5", "SET k EX PX 140000000000005"},
    {"SET k v KEEPTTL", NULL},
    {"SET k v IFEQ EX PX 5", "SET k v IFEQ EX PX 140000000000005"},
    {"SET k v EX x", NULL},
    {"SET k v EX", NULL},
    {"SET k v EX 0", NULL},
    {"SET k v PX 10000000000000", NULL},
    {"SET k v PX 9999999999999", "SET k v PX 149999999999999"},
    {"SETEX k 10 EX", "SETEX k 140000000010 EX"},
    {"PSETEX k 10 v", "PSETEX k 140000000000010 v"},
    {"EXPIRE k 10", "EXPIRE k 140000000010"},
    {"EXPIRE k 10 GT", "EXPIRE k 140000000010"},
    {"PEXPIRE k 10 NX", "PEXPIRE k 140000000000010"},
    {"EXPIREAT k 1700000000", "EXPIREAT k 141700000000"},
    {"PEXPIREAT k 1700000000123 LT", "PEXPIREAT k 141700000000123"},
    {"PEXPIREAT k -5", NULL},
    {"RESTORE k 0 payload", NULL},
    {"RESTORE k 10 payload REPLACE", "RESTORE k 140000000000010 payload REPLACE"},
    {"RESTORE k 1700000000123 payload ABSTTL", "RESTORE k 141700000000123 payload ABSTTL"},
    {"MSETEX 2 a 1 b EX PX 10", "MSETEX 2 a 1 b EX PX 140000000000010"},
    {"MSETEX 1 a EX KEEPTTL", NULL},
    {"MSETEX 9999999999 a 1 PX 10", NULL},
};

static void test_edits(void **state)
{
    (void)state;
    struct resp_cutter cutter;
    struct syn_err err;
    assert_true(resp_cutter_init(&cutter, 100, 1000, &err));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t bytes[512], expected[512], got[512];
        struct slice words[WORDS_MAX], wanted[WORDS_MAX];
        struct resp_command command;
        struct expiry_edit edit, same;
        size_t need;
        uint32_t count, wanted_count;
        size_t size = encode(cases[i].command, words, bytes, &count);
        assert_int_equal(resp_cut(&cutter, bytes, size, &need, &command, &err), RESP_READY);
        const struct command_info *info = command_find(words[0].bytes, words[0].size);
        assert_non_null(info);
        assert_true(info->is_expiring);
        const struct expiry_words cut = {.bytes = bytes, .command = &command, .count = count};
        const struct expiry_words args = {.args = words, .count = count};
        bool is_edited = expiry_edit_make(&edit, info, &cut, EXPIRY_PUT_OFF_MS);
        assert_int_equal(expiry_edit_make(&same, info, &args, EXPIRY_PUT_OFF_MS), is_edited);
        if (is_edited != (cases[i].edited != NULL)) {
            fail_msg("%s: %s", cases[i].command, is_edited ? "is edited" : "is not edited");
        }
        if (!is_edited) {
            continue;
        }
        size_t expected_size = encode(cases[i].edited, wanted, expected, &wanted_count);
        struct expiry_pieces pieces;
        expiry_cut(&pieces, &edit, bytes, &command);
        size_t got_size =
            pieces.head_size + pieces.before_size + pieces.time_size + pieces.behind_size;
        assert_true(got_size <= size + EXPIRY_EDIT_GROWTH);
        expiry_copy(got, &pieces);
        if (got_size != expected_size || memcmp(got, expected, got_size) != 0) {
            fail_msg("%s: %.*s", cases[i].command, (int)got_size, (const char *)got);
        }
        assert_int_equal(same.arg, edit.arg);
        assert_int_equal(same.count, wanted_count);
    }
    resp_cutter_deinit(&cutter);
}

static void test_snapshot(void **state)
{
    (void)state;
    assert_int_equal(expiry_add(-1, EXPIRY_PUT_OFF_MS), -1);
    assert_int_equal(expiry_add(0, EXPIRY_PUT_OFF_MS), EXPIRY_PUT_OFF_MS);
    assert_int_equal(expiry_add(1700000000123, EXPIRY_PUT_OFF_MS), 141700000000123);
    assert_int_equal(expiry_add(EXPIRY_LATEST_MS, EXPIRY_PUT_OFF_MS), EXPIRY_LATEST_MS);
    assert_int_equal(expiry_add(1700000000123, 0), 1700000000123);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edits),
        cmocka_unit_test(test_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
