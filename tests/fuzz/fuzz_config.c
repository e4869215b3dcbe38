/*
 * Configuration text of any kind: YAML, JSON, URIs, lists, numbers. Must end without a crash, a
 * leak or a hang, and with an error of one line whenever something is refused.
 *
 * The first byte chooses what the rest is.
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
    if (data[0] % 2 == 0) {
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
