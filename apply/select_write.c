/* Writing commands as their plans want them. */
#include "apply/select_plan.h"

#include "apply/select_private.h"

/* A key that is not there at the destination, because the source has it with a type that is not
 * selected, takes the target with it. One operation, so that nothing ever sees half of it, and no
 * error for a missing key. */
static const char rename_script[] =
    "if redis.call('EXISTS',KEYS[1])==1 then return redis.call('RENAME',KEYS[1],KEYS[2]) else "
    "return redis.call('DEL',KEYS[2]) end";

/* More than any command that is written in place of another has besides its keys and arguments. */
#define FIXED_BYTES (sizeof(rename_script) + 128)

bool select_is_own_script(const struct slice *body)
{
    return body->size == sizeof(rename_script) - 1 &&
           memcmp(body->bytes, rename_script, body->size) == 0;
}

void select_output_deinit(struct select_output *output)
{
    mem_free(MEM_APPLY, output->argv);
    *output = (struct select_output){0};
}

size_t select_output_bytes(const struct select *select,
                           const struct command_info *info,
                           const struct resp_command *command)
{
    /* Its keys are not known before they are searched for; there are at most as many as
     * arguments. A longer name may take more digits for its size. */
    size_t keys = info != NULL && info->is_key_first ? 1 : command->argc;
    size_t growth = select->growth_max > 0 ? select->growth_max + (size_t)NUM_DIGITS_MAX : 0;
    return command->size + keys * growth + FIXED_BYTES;
}

/* ---- pieces ---- */

static bool output_begin(struct select_output *output, uint32_t argc, struct syn_err *err)
{
    if (argc > output->argv_capacity) {
        uint32_t capacity = argc < 64 ? 64 : argc;
        struct resp_arg *argv =
            mem_realloc(MEM_APPLY, output->argv, capacity * sizeof(*output->argv));
        if (argv == NULL) {
            return ERR(err, SYN_CODE_MEMORY, "out of memory for %u arguments of a command", argc);
        }
        output->argv = argv;
        output->argv_capacity = capacity;
    }
    output->argc = 0;
    ASSERT(output->capacity >= RESP_HEAD_MAX);
    output->size = (size_t)(resp_put_head(output->bytes, '*', argc) - output->bytes);
    return true;
}

/* Room for an argument of this size, with its head written; the bytes follow. */
static uint8_t *output_arg(struct select_output *output, size_t size)
{
    ASSERT(output->argc < output->argv_capacity);
    ASSERT(output->size + resp_bulk_size(size) <= output->capacity);
    uint8_t *out = resp_put_head(output->bytes + output->size, '$', size);
    size_t pos = (size_t)(out - output->bytes);
    output->argv[output->argc++] = (struct resp_arg){.pos = (uint32_t)pos, .size = (uint32_t)size};
    out[size] = '\r';
    out[size + 1] = '\n';
    output->size = pos + size + 2;
    return out;
}

static void output_bytes(struct select_output *output, const void *bytes, size_t size)
{
    memcpy(output_arg(output, size), bytes, size);
}

static void output_word(struct select_output *output, const char *word)
{
    output_bytes(output, word, strlen(word));
}

/* ---- what is written ---- */

struct writing {
    const struct select *select;
    const uint8_t *bytes;
    const struct resp_command *command;
    const struct key_list *keys;
    struct select_output *output;
};

static void write_arg(const struct writing *writing, uint32_t i)
{
    const struct resp_arg *arg = &writing->command->argv[i];
    output_bytes(writing->output, writing->bytes + arg->pos, arg->size);
}

/* The key at this position under its new name. */
static void write_key(const struct writing *writing, uint32_t i)
{
    const struct resp_arg *arg = &writing->command->argv[i];
    const uint8_t *key = writing->bytes + arg->pos;
    const struct select_rule *rename = select_rename(writing->select, key, arg->size);
    if (rename == NULL) {
        output_bytes(writing->output, key, arg->size);
        return;
    }
    uint8_t *out = output_arg(writing->output, select_renamed_size(rename, arg->size));
    select_rename_write(writing->select, rename, key, arg->size, out);
}

static uint32_t count_marked(const struct key_list *keys)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < keys->count; i++) {
        count += keys->positions[i] >> 31;
    }
    return count;
}

static bool write_del(const struct writing *writing, struct syn_err *err)
{
    const struct key_list *keys = writing->keys;
    if (!output_begin(writing->output, 1 + count_marked(keys), err)) {
        return false;
    }
    output_word(writing->output, "DEL");
    for (uint32_t i = 0; i < keys->count; i++) {
        if ((keys->positions[i] & SELECT_MARK) != 0) {
            write_key(writing, keys->positions[i] & ~SELECT_MARK);
        }
    }
    return true;
}

/* The command with its marked keys, each with the arguments that belong to it. */
static bool
write_each(const struct writing *writing, const struct command_shape *shape, struct syn_err *err)
{
    const struct key_list *keys = writing->keys;
    const struct resp_command *command = writing->command;
    uint32_t marked = count_marked(keys);
    uint32_t rest = keys->positions[keys->count - 1];
    rest = (rest & ~SELECT_MARK) + shape->stride; /* options behind the last key */
    ASSERT(rest <= command->argc);
    uint32_t argc = 1 + (shape->count_at != 0) + marked * shape->stride + (command->argc - rest);
    if (!output_begin(writing->output, argc, err)) {
        return false;
    }
    write_arg(writing, 0);
    if (shape->count_at != 0) {
        char digits[NUM_DIGITS_MAX];
        output_bytes(writing->output, digits, num_write_u64(digits, marked));
    }
    for (uint32_t i = 0; i < keys->count; i++) {
        uint32_t at = keys->positions[i] & ~SELECT_MARK;
        if (at == keys->positions[i]) {
            continue;
        }
        write_key(writing, at);
        for (uint32_t n = 1; n < shape->stride; n++) {
            write_arg(writing, at + n);
        }
    }
    for (uint32_t i = rest; i < command->argc; i++) {
        write_arg(writing, i);
    }
    return true;
}

/* Copies what lies from *from up to `to`, the arguments [arg, end) within it. */
static void
splice(const struct writing *writing, size_t *from, size_t to, uint32_t arg, uint32_t end)
{
    struct select_output *output = writing->output;
    size_t size = to - *from;
    ASSERT(output->size + size <= output->capacity);
    memcpy(output->bytes + output->size, writing->bytes + *from, size);
    for (uint32_t i = arg; i < end; i++) {
        const struct resp_arg *old = &writing->command->argv[i];
        output->argv[i] = (struct resp_arg){(uint32_t)(old->pos - *from + output->size), old->size};
    }
    output->size += size;
    output->argc = end;
    *from = to;
}

/* The same command: everything between the keys is copied as it lies. */
static bool write_same(const struct writing *writing, struct syn_err *err)
{
    const struct resp_command *command = writing->command;
    const struct key_list *keys = writing->keys;
    struct select_output *output = writing->output;
    if (!output_begin(output, command->argc, err)) {
        return false;
    }
    output->size = 0; /* the head is copied too */
    size_t from = 0;
    uint32_t next = 0;
    for (uint32_t i = 0; i < keys->count; i++) {
        uint32_t at = keys->positions[i] & ~SELECT_MARK;
        const struct resp_arg *key = &command->argv[at];
        /* Of the argument's own head: '$', digits, CRLF. */
        size_t head = key->pos - 3 - num_digits_u64(key->size);
        splice(writing, &from, head, next, at);
        write_key(writing, at);
        from = (size_t)key->pos + key->size + 2;
        next = at + 1;
    }
    splice(writing, &from, command->size, next, command->argc);
    return true;
}

/* NAME key member, of SMOVE source target member. */
static bool
write_member(const struct writing *writing, const char *name, uint32_t key, struct syn_err *err)
{
    if (!output_begin(writing->output, 3, err)) {
        return false;
    }
    output_word(writing->output, name);
    write_key(writing, key);
    write_arg(writing, 3);
    return true;
}

/* LMOVE source target LEFT|RIGHT …; RPOPLPUSH and BRPOPLPUSH take from the right. */
static bool write_pop(const struct writing *writing, struct syn_err *err)
{
    const struct resp_command *command = writing->command;
    const struct resp_arg *side = command->argc > 3 ? &command->argv[3] : NULL;
    bool is_left = side != NULL && side->size == 4 &&
                   strncasecmp((const char *)writing->bytes + side->pos, "LEFT", 4) == 0;
    if (!output_begin(writing->output, 2, err)) {
        return false;
    }
    output_word(writing->output, is_left ? "LPOP" : "RPOP");
    write_key(writing, 1);
    return true;
}

static bool write_rename_or_del(const struct writing *writing, struct syn_err *err)
{
    if (!output_begin(writing->output, 5, err)) {
        return false;
    }
    output_word(writing->output, "EVAL");
    output_word(writing->output, rename_script);
    output_word(writing->output, "2");
    write_key(writing, 1);
    write_key(writing, 2);
    return true;
}

static bool
write_form(const struct writing *writing, const struct select_plan *plan, struct syn_err *err)
{
    switch (plan->form) {
    case SELECT_SAME:
        return write_same(writing, err);
    case SELECT_EACH:
        return write_each(writing, plan->shape, err);
    case SELECT_DEL:
        return write_del(writing, err);
    case SELECT_SREM:
        return write_member(writing, "SREM", 1, err);
    case SELECT_SADD:
        return write_member(writing, "SADD", 2, err);
    case SELECT_POP:
        return write_pop(writing, err);
    case SELECT_RENAME_OR_DEL:
        return write_rename_or_del(writing, err);
    }
    return false;
}

static void output_command(const struct select_output *output, struct resp_command *written)
{
    *written =
        (struct resp_command){.argc = output->argc, .argv = output->argv, .size = output->size};
}

bool select_write(const struct select *select,
                  const struct select_plan *plan,
                  const uint8_t *bytes,
                  const struct resp_command *command,
                  const struct key_list *keys,
                  struct select_output *output,
                  struct resp_command *written,
                  struct syn_err *err)
{
    struct writing writing = {select, bytes, command, keys, output};
    if (!write_form(&writing, plan, err)) {
        return false;
    }
    output_command(output, written);
    return true;
}

bool select_write_del(const struct select *select,
                      uint32_t position,
                      const uint8_t *bytes,
                      const struct resp_command *command,
                      struct select_output *output,
                      struct resp_command *written,
                      struct syn_err *err)
{
    struct writing writing = {select, bytes, command, NULL, output};
    if (!output_begin(output, 2, err)) {
        return false;
    }
    output_word(output, "DEL");
    write_key(&writing, position);
    output_command(output, written);
    return true;
}
