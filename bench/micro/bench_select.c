/*
 * The stage of rules in the live stream: what it adds to each command that is forwarded, by number
 * and kind of rules. Cutting and the look-up of the name are done before, as without rules.
 */
#include "bench/micro/micro.h"

#include <stdio.h>

#include "apply/select_plan.h"

#define COMMANDS 100000u
#define COMMAND_BYTES 64u

enum rules {
    RULES_NONE,
    RULES_PREFIX,    /* one, which no key has           */
    RULES_PREFIX_20, /* twenty                          */
    RULES_PREFIX_900,
    RULES_SUFFIX_20,
    RULES_GLOB_20, /* that begin alike, *a*b inside    */
    RULES_DROP,    /* one, which half of the keys have */
    RULES_RENAME,  /* one, which all keys have         */
    RULES_RENAME_20,
    RULES_TYPE,
};

struct stage {
    struct select select;
    const struct select *active; /* NULL: no rules */
    struct key_list keys;
    struct select_output output;
    uint8_t bytes[COMMANDS * COMMAND_BYTES];
    const struct command_info *infos[COMMANDS];
    struct resp_command commands[COMMANDS];
    struct resp_arg argv[COMMANDS][4];
    uint8_t buffer[1024];
};

/* HSET user:NNNNNNNN field value and SET order:NNNNNNNN value. */
static void put_command(struct stage *stage, uint32_t i)
{
    bool is_hash = i % 2 == 0;
    char key[16];
    uint8_t *begin = stage->bytes + (size_t)i * COMMAND_BYTES;
    int key_size = snprintf(key, sizeof(key), "%s%08u", is_hash ? "user:" : "order:", i);
    uint32_t argc = is_hash ? 4 : 3;
    const char *words[4] = {is_hash ? "HSET" : "SET", key, is_hash ? "field" : "value", "value"};
    uint8_t *out = resp_put_head(begin, '*', argc);
    for (uint32_t n = 0; n < argc; n++) {
        size_t size = n == 1 ? (size_t)key_size : strlen(words[n]);
        out = resp_put_bulk(out, words[n], size);
        stage->argv[i][n] =
            (struct resp_arg){(uint32_t)(out - begin) - 2 - (uint32_t)size, (uint32_t)size};
    }
    ASSERT((size_t)(out - begin) <= COMMAND_BYTES);
    stage->commands[i] =
        (struct resp_command){.argc = argc, .argv = stage->argv[i], .size = (size_t)(out - begin)};
    stage->infos[i] = command_find((const uint8_t *)words[0], strlen(words[0]));
}

static void add(struct stage *stage, enum select_list list, const char *text)
{
    struct syn_err err;
    bool is_added = select_add(&stage->select, list, text, &err);
    ASSERT(is_added);
}

static void add_many(struct stage *stage, enum select_list list, const char *format, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char text[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text, sizeof(text), format, i, i);
#pragma GCC diagnostic pop
        add(stage, list, text);
    }
}

static void make_rules(struct stage *stage, enum rules rules)
{
    switch (rules) {
    case RULES_NONE:
        return;
    case RULES_PREFIX:
        add(stage, SELECT_EXCLUDE_PREFIX, "tmp:");
        break;
    case RULES_PREFIX_20:
        add_many(stage, SELECT_EXCLUDE_PREFIX, "user:x%u:", 20);
        break;
    case RULES_PREFIX_900:
        add_many(stage, SELECT_EXCLUDE_PREFIX, "user:x%u:", 900);
        break;
    case RULES_SUFFIX_20:
        add_many(stage, SELECT_EXCLUDE_SUFFIX, ":tmp%u", 20);
        break;
    case RULES_GLOB_20:
        add_many(stage, SELECT_EXCLUDE_KEY, "*:x%u[a-z]*", 20);
        break;
    case RULES_DROP:
        add(stage, SELECT_EXCLUDE_PREFIX, "order:");
        break;
    case RULES_RENAME:
        add(stage, SELECT_RENAME_PREFIX, "=tenant1:");
        break;
    case RULES_RENAME_20:
        add_many(stage, SELECT_RENAME_PREFIX, "user:0%u=u%u:", 9);
        add_many(stage, SELECT_RENAME_PREFIX, "order:0%u=o%u:", 9);
        add(stage, SELECT_RENAME_PREFIX, "user:=users:");
        add(stage, SELECT_RENAME_PREFIX, "order:=orders:");
        break;
    case RULES_TYPE:
        add(stage, SELECT_EXCLUDE_TYPE, "stream");
        break;
    }
    struct syn_err err;
    bool is_ready = select_finish(&stage->select, &err);
    ASSERT(is_ready);
    stage->active = &stage->select;
}

static int setup(struct micro_load *load, uint64_t rules)
{
    struct stage *stage = mem_calloc(MEM_TOOLS, sizeof(*stage));
    struct syn_err err;
    ASSERT(stage != NULL);
    for (uint32_t i = 0; i < COMMANDS; i++) {
        put_command(stage, i);
    }
    bool is_ready = key_list_init(&stage->keys, &err);
    ASSERT(is_ready);
    stage->output.bytes = stage->buffer;
    stage->output.capacity = sizeof(stage->buffer);
    select_init(&stage->select);
    make_rules(stage, (enum rules)rules);
    load->state = stage;
    load->items = COMMANDS;
    return 1;
}

static void teardown(struct micro_load *load)
{
    struct stage *stage = load->state;
    key_list_deinit(&stage->keys);
    select_output_deinit(&stage->output);
    mem_free(MEM_TOOLS, stage);
}

/* As live_rules.c does it, without what is behind. */
static uint64_t take(struct stage *stage, uint32_t i)
{
    const uint8_t *bytes = stage->bytes + (size_t)i * COMMAND_BYTES;
    const struct resp_command *command = &stage->commands[i];
    struct select_plan plan;
    struct syn_err err;
    bool is_planned =
        select_plan(stage->active, stage->infos[i], bytes, command, &stage->keys, &plan, &err);
    ASSERT(is_planned);
    if (plan.action == SELECT_FORWARD || plan.action == SELECT_DROPPED) {
        return plan.action;
    }
    struct resp_command written;
    bool is_written = select_write(
        stage->active, &plan, bytes, command, &stage->keys, &stage->output, &written, &err);
    ASSERT(is_written);
    return written.size;
}

static uint64_t run(struct micro_load *load)
{
    struct stage *stage = load->state;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < COMMANDS; i++) {
        sum += stage->active != NULL ? take(stage, i) : stage->commands[i].size;
    }
    return sum;
}

const struct micro_case micro_select[] = {
    {"select/stage/no_rules", setup, RULES_NONE, run, teardown},
    {"select/stage/1_prefix", setup, RULES_PREFIX, run, teardown},
    {"select/stage/20_prefixes", setup, RULES_PREFIX_20, run, teardown},
    {"select/stage/900_prefixes", setup, RULES_PREFIX_900, run, teardown},
    {"select/stage/20_suffixes", setup, RULES_SUFFIX_20, run, teardown},
    {"select/stage/20_globs", setup, RULES_GLOB_20, run, teardown},
    {"select/stage/half_dropped", setup, RULES_DROP, run, teardown},
    {"select/stage/1_rename", setup, RULES_RENAME, run, teardown},
    {"select/stage/20_renames", setup, RULES_RENAME_20, run, teardown},
    {"select/stage/1_type", setup, RULES_TYPE, run, teardown},
    {.name = NULL},
};
