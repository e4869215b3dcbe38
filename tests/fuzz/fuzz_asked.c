/*
 * Any bytes as a destination's answer to COMMAND INFO, and then as its answer to COMMAND GETKEYS:
 * no crash, and keys that are arguments of the command, whatever the answer says of it.
 */
#include <string.h>

#include "apply/command_ask.h"
#include "tests/apply/command_words.h"
#include "tests/fuzz/fuzz.h"

static void check_keys(const struct command_words *words, const struct key_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        ASSERT(list->positions[i] >= 1);
        ASSERT(list->positions[i] < words->command.argc);
        ASSERT(i == 0 || list->positions[i] > list->positions[i - 1]);
    }
}

static void check_entry(const redisReply *entry, struct key_list *list)
{
    static const char *const commands[] = {
        "foo", "foo a", "foo 2 a b c", "foo a 1 b KEYS 2 c d STORE e", "foo x STREAMS a b 1 2"};
    struct asked asked;
    struct syn_err err;
    if (!asked_read(&asked, "FOO", entry, &err)) {
        ASSERT(err.code == SYN_CODE_DESTINATION_PROTOCOL);
        return;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        static struct command_words words;
        command_words_split(&words, commands[i]);
        if (asked.kind == ASKED_KNOWN && asked.info.spec_count != COMMAND_KEYS_ASKED &&
            command_keys(&asked.info, words.bytes, &words.command, list, &err)) {
            check_keys(&words, list);
            ASSERT(!asked.info.is_key_first || list->count == 1);
        }
        if (asked_keys_read(entry, words.bytes, &words.command, list, &err)) {
            check_keys(&words, list);
        }
    }
}

/* hiredis makes room for all that an array announces: gigabytes are nothing to learn from here. */
static bool is_huge(const uint8_t *bytes, size_t size)
{
    size_t digits = 0;
    bool is_head = false;
    for (size_t i = 0; i < size && digits <= 4; i++) {
        is_head = bytes[i] == '*' || (is_head && bytes[i] >= '0' && bytes[i] <= '9');
        digits = is_head ? digits + 1 : 0;
    }
    return digits > 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (is_huge(bytes, size)) {
        return 0;
    }
    redisReader *reader = redisReaderCreate();
    struct key_list list;
    struct syn_err err;
    void *reply = NULL;
    ASSERT(reader != NULL);
    ASSERT(key_list_init(&list, &err));
    if (redisReaderFeed(reader, (const char *)bytes, size) == REDIS_OK &&
        redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL) {
        const redisReply *array = reply;
        check_entry(array, &list);
        if (array->type == REDIS_REPLY_ARRAY && array->elements == 1) {
            check_entry(array->element[0], &list);
        }
        freeReplyObject(reply);
    }
    key_list_deinit(&list);
    redisReaderFree(reader);
    return 0;
}
