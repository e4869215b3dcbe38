#include "apply/command_table.h"
#include "apply/command_table_data.h"

#include <string.h>

_Static_assert(COMMAND_INDEX_BITS <= 16, "an index place is 16 bits");

/* ---- by name ---- */

/* Clears the bit in which upper and lower case letters differ, in eight bytes at a time. Other
 * characters lose it too: the hash may collide there, the comparison decides. */
#define FOLD 0xDFDFDFDFDFDFDFDFu

/* The same as hash_of in tools/commands/generate, on little-endian machines. */
static uint32_t hash_name(const uint8_t *name, size_t size)
{
    uint64_t a = 0;
    uint64_t b = 0;
    if (size >= 8) {
        memcpy(&a, name, 8);
        memcpy(&b, name + size - 8, 8);
    } else if (size >= 4) {
        memcpy(&a, name, 4);
        memcpy(&b, name + size - 4, 4);
    } else {
        a = name[0] | (uint64_t)name[size / 2] << 8 | (uint64_t)name[size - 1] << 16;
    }
    uint64_t mixed = ((a & FOLD) * 0x9E3779B97F4A7C15u) ^ ((b & FOLD) * 0xC2B2AE3D27D4EB4Fu) ^ size;
    mixed ^= mixed >> 32;
    return (uint32_t)((mixed * 0x9E3779B97F4A7C15u) >> (64 - COMMAND_INDEX_BITS));
}

static uint8_t upper(uint8_t c)
{
    return c >= 'a' && c <= 'z' ? (uint8_t)(c - 'a' + 'A') : c;
}

/* `word` is upper case and terminated. */
static bool is_word(const uint8_t *text, size_t size, const char *word)
{
    for (size_t i = 0; i < size; i++) {
        /* A terminator in the word ends it: text is longer, or holds a zero itself. */
        if (word[i] == '\0' || upper(text[i]) != (uint8_t)word[i])
            return false;
    }
    return word[size] == '\0';
}

const struct command_info *command_find(const uint8_t *name, size_t size)
{
    if (size == 0 || size > UINT8_MAX)
        return NULL;
    for (uint32_t place = hash_name(name, size);; place = (place + 1) % COMMAND_INDEX_SIZE) {
        uint16_t number = command_index[place];
        if (number == 0)
            return NULL;
        const struct command_info *info = &command_data[number - 1];
        if (info->name_size == size && is_word(name, size, info->name))
            return info;
    }
}

const struct command_info *command_table(size_t *count)
{
    *count = command_data_count;
    return command_data;
}

/* ---- the list of positions ---- */

#define LIST_CAPACITY 16

bool key_list_init(struct key_list *list, struct syn_err *err)
{
    *list = (struct key_list){.capacity = LIST_CAPACITY};
    list->positions = mem_alloc(MEM_APPLY, LIST_CAPACITY * sizeof(*list->positions));
    return list->positions != NULL ||
           ERR(err, SYN_CODE_MEMORY, "out of memory for the positions of a command's keys");
}

void key_list_deinit(struct key_list *list)
{
    mem_free(MEM_APPLY, list->positions);
    *list = (struct key_list){0};
}

/* Room for `more` positions behind those that are there; at most as many as a command has
 * arguments, which the cutter bounds. */
static bool reserve(struct key_list *list, uint32_t more, struct syn_err *err)
{
    uint64_t wanted = (uint64_t)list->count + more;
    if (wanted <= list->capacity)
        return true;
    uint64_t capacity = list->capacity * 2u > wanted ? list->capacity * 2u : wanted;
    if (capacity > UINT32_MAX)
        return ERR(err, SYN_CODE_MEMORY, "a command has too many keys");
    uint32_t *positions =
        mem_realloc(MEM_APPLY, list->positions, capacity * sizeof(*list->positions));
    if (positions == NULL)
        return ERR(err, SYN_CODE_MEMORY, "out of memory for the positions of a command's keys");
    list->positions = positions;
    list->capacity = (uint32_t)capacity;
    return true;
}

/* Puts one position where it belongs; nearly always at the end. */
static void insert(struct key_list *list, uint32_t position)
{
    uint32_t at = list->count;
    while (at > 0 && list->positions[at - 1] > position)
        at--;
    if (at > 0 && list->positions[at - 1] == position)
        return;
    memmove(&list->positions[at + 1],
            &list->positions[at],
            (list->count - at) * sizeof(*list->positions));
    list->positions[at] = position;
    list->count++;
}

bool key_list_add(struct key_list *list, uint32_t position, struct syn_err *err)
{
    if (!reserve(list, 1, err))
        return false;
    insert(list, position);
    return true;
}

/* ---- where the keys are ---- */

/* A command as the key search sees it. */
struct search {
    const struct command_info *info;
    const uint8_t *bytes;
    const struct resp_command *command;
};

static bool is_argument(const struct search *search, uint32_t position, const char *word)
{
    const struct resp_arg *arg = &search->command->argv[position];
    return is_word(search->bytes + arg->pos, arg->size, word);
}

static bool is_named(const struct search *search, const char *name)
{
    return strcmp(search->info->name, name) == 0;
}

/* The argument behind STORE or STOREDIST, 0 for none. Of several the last one counts, as the
 * servers have it, and words that are operands of SORT's other options are no keywords. */
static uint32_t find_store(const struct search *search, const struct key_spec *spec)
{
    bool is_sort = is_named(search, "SORT");
    uint32_t argc = search->command->argc;
    uint32_t found = 0;
    for (uint32_t i = (uint32_t)spec->index; i + 1 < argc; i++) {
        if (is_sort && is_argument(search, i, "LIMIT"))
            i += 2;
        else if (is_sort && (is_argument(search, i, "BY") || is_argument(search, i, "GET")))
            i++;
        else if (is_argument(search, i, spec->keyword))
            found = ++i;
    }
    return found;
}

/* The first argument behind KEYS, 0 for none; a password may be "keys" too. */
static uint32_t find_migrate_keys(const struct search *search, uint32_t from)
{
    uint32_t argc = search->command->argc;
    for (uint32_t i = from; i + 1 < argc; i++) {
        if (is_argument(search, i, "AUTH"))
            i++;
        else if (is_argument(search, i, "AUTH2"))
            i += 2;
        else if (is_argument(search, i, "KEYS"))
            return i + 1;
    }
    return 0;
}

static uint32_t find_keyword(const struct search *search, const struct key_spec *spec)
{
    int64_t argc = search->command->argc;
    int64_t step = spec->index >= 0 ? 1 : -1;
    /* The last argument is not looked at: no key can follow. The name is not either. */
    for (int64_t i = spec->index >= 0 ? spec->index : argc + spec->index; i >= 1 && i < argc;
         i += step) {
        if (i + 1 < argc && is_argument(search, (uint32_t)i, spec->keyword))
            return (uint32_t)i + 1;
    }
    return 0;
}

/* Where a spec's arguments start; 0 when the command has none of them. */
static uint32_t find_start(const struct search *search, const struct key_spec *spec)
{
    uint32_t argc = search->command->argc;
    uint32_t start;
    if (spec->search == KEY_AT_INDEX)
        start = (uint32_t)spec->index;
    else if (strncmp(spec->keyword, "STORE", 5) == 0)
        start = find_store(search, spec);
    else if (is_named(search, "MIGRATE"))
        start = find_migrate_keys(search, (uint32_t)spec->index);
    else
        start = find_keyword(search, spec);
    return start < argc ? start : 0;
}

/* Keys from first to last, in steps. */
static bool
add_keys(struct key_list *list, uint32_t first, uint32_t last, uint32_t step, struct syn_err *err)
{
    ASSERT(first >= 1);
    ASSERT(step >= 1);
    if (!reserve(list, (last - first) / step + 1, err))
        return false;
    for (uint64_t i = first; i <= last; i += step)
        insert(list, (uint32_t)i);
    return true;
}

static bool add_range(const struct search *search,
                      const struct key_spec *spec,
                      uint32_t start,
                      struct key_list *list,
                      struct syn_err *err)
{
    int64_t argc = search->command->argc;
    int64_t last = (int64_t)start + spec->last;
    if (spec->last < 0)
        last =
            spec->limit > 1 ? start + (argc - start) / spec->limit + spec->last : argc + spec->last;
    if (last >= argc)
        return ERR(err,
                   SYN_CODE_SOURCE_DATA,
                   "%s with %u arguments lacks a key",
                   search->info->name,
                   search->command->argc);
    if (last < start)
        return true; /* an open range may be empty: PFMERGE of the target alone */
    return add_keys(list, start, (uint32_t)last, (uint32_t)spec->step, err);
}

static bool add_counted(const struct search *search,
                        const struct key_spec *spec,
                        uint32_t start,
                        struct key_list *list,
                        struct syn_err *err)
{
    const struct resp_command *command = search->command;
    uint64_t argc = command->argc;
    uint64_t count_at = (uint64_t)start + (uint64_t)spec->count_index;
    uint64_t first = (uint64_t)start + (uint64_t)spec->first;
    uint64_t count;
    if (count_at >= argc)
        return ERR(err, SYN_CODE_SOURCE_DATA, "%s has no number of keys", search->info->name);
    const struct resp_arg *arg = &command->argv[count_at];
    const void *text = search->bytes + arg->pos;
    if (!num_read_u64(text, arg->size, &count))
        return ERR(
            err, SYN_CODE_SOURCE_DATA, "the number of keys of %s is no number", search->info->name);
    if (count == 0)
        return true;
    /* Each key has `step` arguments. The division keeps a huge count from overflowing. */
    if (first >= argc || count > (argc - first) / (uint64_t)spec->step)
        return ERR(err,
                   SYN_CODE_SOURCE_DATA,
                   "%s names %llu keys but has %u arguments",
                   search->info->name,
                   (unsigned long long)count,
                   command->argc);
    uint64_t last = first + (count - 1) * (uint64_t)spec->step;
    return add_keys(list, (uint32_t)first, (uint32_t)last, (uint32_t)spec->step, err);
}

static bool check_shape(const struct command_info *info,
                        const struct resp_command *command,
                        struct syn_err *err)
{
    uint32_t least = (uint32_t)(info->arity < 0 ? -info->arity : info->arity);
    if (command->argc < least || (info->arity > 0 && command->argc > least))
        return ERR(err,
                   SYN_CODE_SOURCE_DATA,
                   "%s with %u arguments; it takes %s%u",
                   info->name,
                   command->argc,
                   info->arity < 0 ? "at least " : "",
                   least);
    if (info->class == COMMAND_SPLIT_PAIRS && command->argc % 2 == 0)
        return ERR(err,
                   SYN_CODE_SOURCE_DATA,
                   "%s with %u arguments has a key without a value",
                   info->name,
                   command->argc);
    return true;
}

bool command_keys(const struct command_info *info,
                  const uint8_t *bytes,
                  const struct resp_command *command,
                  struct key_list *list,
                  struct syn_err *err)
{
    list->count = 0;
    if (!check_shape(info, command, err))
        return false;
    if (LIKELY(info->is_key_first)) {
        ASSERT_DEBUG(command->argc >= 2); /* the arity of such a command asks for its key */
        list->positions[list->count++] = 1;
        return true;
    }
    ASSERT(info->spec_count != COMMAND_KEYS_ASKED);
    struct search search = {.info = info, .bytes = bytes, .command = command};
    for (uint32_t i = 0; i < info->spec_count; i++) {
        const struct key_spec *spec = &info->specs[i];
        uint32_t start = find_start(&search, spec);
        if (start == 0)
            continue; /* an option that is not given, or a subcommand without keys */
        /* MIGRATE's key argument is empty when KEYS gives the keys. */
        if (command->argv[start].size == 0 && i == 0 && is_named(&search, "MIGRATE"))
            continue;
        bool is_ok = spec->find == KEY_COUNTED ? add_counted(&search, spec, start, list, err)
                                               : add_range(&search, spec, start, list, err);
        if (!is_ok) {
            list->count = 0;
            return false;
        }
    }
    return true;
}
