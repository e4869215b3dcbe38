/* Commands for tests, from words: what resp_cut would make of them. */
#ifndef TEST_COMMAND_WORDS_H
#define TEST_COMMAND_WORDS_H

#include <stdio.h>
#include <string.h>

#include "apply/command_table.h"

#define COMMAND_WORDS_MAX 64

struct command_words {
    struct resp_arg argv[COMMAND_WORDS_MAX];
    struct resp_command command;
    uint8_t bytes[4096];
};

static inline void command_words_begin(struct command_words *words)
{
    words->command = (struct resp_command){.argv = words->argv};
}

/* The head of the array is left out: positions are all that the key search looks at. */
static inline void command_words_add(struct command_words *words, const char *text, size_t size)
{
    size_t at = words->command.size;
    at += (size_t)snprintf((char *)words->bytes + at, sizeof(words->bytes) - at, "$%zu\r\n", size);
    ASSERT(words->command.argc < COMMAND_WORDS_MAX);
    ASSERT(at + size + 2 <= sizeof(words->bytes));
    words->argv[words->command.argc++] = (struct resp_arg){(uint32_t)at, (uint32_t)size};
    memcpy(words->bytes + at, text, size);
    words->command.size = at + size;
}

/* Splits at single spaces; two in a row, or one at the end, make an empty word. */
static inline void command_words_split(struct command_words *words, const char *text)
{
    command_words_begin(words);
    for (;;) {
        size_t size = strcspn(text, " ");
        command_words_add(words, text, size);
        if (text[size] == '\0')
            return;
        text += size + 1;
    }
}

static inline const struct command_info *command_words_find(const struct command_words *words)
{
    return command_find(words->bytes + words->argv[0].pos, words->argv[0].size);
}

#endif
