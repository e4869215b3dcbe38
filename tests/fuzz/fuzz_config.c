/*
 * Configuration text of any kind: YAML, JSON, URIs, lists, numbers. Must end without a crash, a
 * leak or a hang, and with an error of one line whenever something is refused.
 *
 * The first byte chooses what the rest is; 255: rules and keys, one per line, which are asked of
 * each other.
 */
#include <stdlib.h>
#include <string.h>

#include "core/engine/config_store.h"
#include "core/engine/uri.h"
#include "tests/fuzz/fuzz.h"

/* An error is for one line of a log. */
static void check_error(const struct syn_err *err)
{
    ASSERT(err->code == SYN_CODE_CONFIG || err->code == SYN_CODE_MEMORY);
    ASSERT(err->msg[0] != '\0');
    ASSERT(strnlen(err->msg, sizeof(err->msg)) < sizeof(err->msg));
    ASSERT(strchr(err->msg, '\n') == NULL);
}

static void fuzz_file(const char *text, size_t size)
{
    static struct config built;
    struct syn_err err = {.code = SYN_CODE_OK};
    struct syn_config *config = syn_config_new(&err);
    ASSERT(config != NULL);
    if (!syn_config_load(config, text, size, "fuzz", &err)) {
        check_error(&err);
        for (unsigned id = 0; id < OPTION_COUNT; id++) {
            ASSERT(config->text[id] == NULL); /* wholly or not at all */
        }
    } else if (config->text[OPTION_SOURCE_PASSWORD_FILE] == NULL &&
               config->text[OPTION_DESTINATION_PASSWORD_FILE] == NULL &&
               !config_build(config, &built, &err)) {
        check_error(&err); /* files that a text names are not for a fuzzer to open */
    }
    syn_config_free(config);
}

/* ---- rules ---- */

static struct slice slice_of(const char *text, size_t size)
{
    return (struct slice){(const uint8_t *)text, size};
}

/* A selected key has one name there, and the name leads back to it, or was claimed by another. */
static void check_key(const struct select *select, const char *key, size_t size)
{
    struct select_name there = {0};
    struct select_name back = {0};
    struct syn_err err;
    bool is_selected;
    uint16_t rule;
    char shown[SELECT_RULE_TEXT_MAX];
    ASSERT(select_to_destination(select, slice_of(key, size), &there, &is_selected, &err));
    ASSERT(select_key(select, (const uint8_t *)key, size, &rule) == is_selected);
    ASSERT(select_rule_text(select, rule, shown)[0] != '\0');
    if (is_selected && size <= SELECT_CLAIM_MAX) {
        ASSERT(there.size <= size + select->growth_max);
        struct slice name = {there.bytes, there.size};
        ASSERT(select_to_source(select, name, &back, &is_selected, &err));
        ASSERT(is_selected);
        bool is_same = back.size == size && memcmp(back.bytes, key, size) == 0;
        bool keeps_name = select_rename(select, (const uint8_t *)key, size) == NULL;
        bool is_claimed = keeps_name && select_claimed(select, (const uint8_t *)key, size) != NULL;
        ASSERT(is_same != is_claimed);
    }
    select_name_deinit(&there);
    select_name_deinit(&back);
}

/* The first byte of a line is its list; any other is a key's. */
static void fuzz_rules(char *text)
{
    static struct select select;
    struct syn_err err;
    select_init(&select);
    for (int pass = 0; pass < 2; pass++) {
        for (char *at = text; *at != '\0';) {
            size_t size = strcspn(at, "\n");
            char end = at[size];
            unsigned list = (unsigned)(at[0] - 'a');
            at[size] = '\0';
            if (pass == 0 && list < SELECT_LIST_COUNT) {
                bool is_good = select_check((enum select_list)list, "rule", at + 1, &err);
                bool is_added = select_add(&select, (enum select_list)list, at + 1, &err);
                ASSERT(is_good || !is_added);
                if (!is_added) {
                    check_error(&err);
                }
            } else if (pass == 1 && list >= SELECT_LIST_COUNT) {
                check_key(&select, at, size);
            }
            at[size] = end;
            at += size + (end != '\0');
        }
        if (pass == 0 && !select_finish(&select, &err)) {
            check_error(&err);
            return;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    char *text = malloc(size);
    if (text == NULL) {
        return 0;
    }
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    if (data[0] == 255) {
        fuzz_rules(text);
    } else if (data[0] % 2 == 0) {
        fuzz_file(text, size - 1);
    } else {
        struct syn_err err;
        enum option_id id = (enum option_id)(data[0] / 2 % OPTION_COUNT);
        if (!option_check(id, "option", text, &err)) {
            check_error(&err);
        }
    }
    free(text);
    return 0;
}
