/* Asking the rules. */
#include "apply/select.h"

#include <stdio.h>

#include "apply/glob.h"
#include "apply/position.h"
#include "apply/select_private.h"

/* ---- prefixes ---- */

/* Whether the node comes behind the key in the order of bytes. */
static inline bool node_is_behind(const struct select *select,
                                  const struct select_node *node,
                                  uint64_t head,
                                  const uint8_t *key,
                                  size_t size)
{
    if (node->head != head) {
        return node->head > head;
    }
    size_t shorter = node->size < size ? node->size : size;
    int order = memcmp(select->text + node->text, key, shorter);
    return order != 0 ? order > 0 : node->size > size;
}

static inline bool
node_fits(const struct select *select, uint16_t node, const uint8_t *key, size_t size)
{
    const struct select_node *prefix = &select->nodes[node];
    return prefix->size <= size && memcmp(select->text + prefix->text, key, prefix->size) == 0;
}

/* The node's parent, as a number like the node's own. */
static inline uint16_t
node_parent(const struct select *select, const struct select_set *set, uint16_t node)
{
    uint16_t parent = select->nodes[node].parent;
    return parent == SELECT_NODE_NONE ? SELECT_NODE_NONE : (uint16_t)(set->first + parent);
}

/* The first node of the chain from `node` upwards that the key begins with. */
static inline uint16_t node_climb(const struct select *select,
                                  const struct select_set *set,
                                  uint16_t node,
                                  const uint8_t *key,
                                  size_t size)
{
    while (node != SELECT_NODE_NONE && !node_fits(select, node, key, size)) {
        node = node_parent(select, set, node);
    }
    return node;
}

/* The longest prefix of the set that the key begins with, SELECT_NODE_NONE. */
static uint16_t set_search(const struct select *select,
                           const struct select_set *set,
                           const uint8_t *key,
                           size_t size)
{
    uint64_t head = select_head(key, size);
    const struct select_node *nodes = &select->nodes[set->first];
    uint16_t low = 0;
    uint16_t high = set->count;
    while (low < high) {
        uint16_t middle = (uint16_t)((low + high) / 2);
        if (node_is_behind(select, &nodes[middle], head, key, size)) {
            high = middle;
        } else {
            low = (uint16_t)(middle + 1);
        }
    }
    return low == 0 ? SELECT_NODE_NONE
                    : node_climb(select, set, (uint16_t)(set->first + low - 1), key, size);
}

uint16_t select_set_find(const struct select *select,
                         const struct select_set *set,
                         const uint8_t *key,
                         size_t size)
{
    if (set->count == 0) {
        return SELECT_RULE_NONE;
    }
    uint16_t node = set_search(select, set, key, size);
    return node == SELECT_NODE_NONE ? SELECT_RULE_NONE : select->nodes[node].rule;
}

static uint16_t find_suffix(const struct select *select,
                            const struct select_set *set,
                            const uint8_t *key,
                            size_t size)
{
    uint8_t turned[SELECT_PATTERN_MAX];
    if (set->count == 0) {
        return SELECT_RULE_NONE;
    }
    size_t tail = size < set->size_max ? size : set->size_max;
    for (size_t i = 0; i < tail; i++) {
        turned[i] = key[size - 1 - i];
    }
    return select_set_find(select, set, turned, tail);
}

/* ---- keys ---- */

static uint16_t find_glob(const struct select *select,
                          const struct select_keys *keys,
                          const uint8_t *key,
                          size_t size)
{
    for (uint16_t i = 0; i < keys->glob_count; i++) {
        uint16_t number = select->globs[keys->globs + i];
        const struct select_rule *rule = &select->rules[number];
        const uint8_t *pattern = select->text + rule->text;
        if (size >= rule->literal && memcmp(pattern, key, rule->literal) == 0 &&
            glob_match(pattern, rule->size, key, size)) {
            return number;
        }
    }
    return SELECT_RULE_NONE;
}

static uint16_t find_key(const struct select *select,
                         const struct select_keys *keys,
                         const uint8_t *key,
                         size_t size)
{
    uint16_t rule = select_set_find(select, &keys->prefixes, key, size);
    if (rule == SELECT_RULE_NONE) {
        rule = find_suffix(select, &keys->suffixes, key, size);
    }
    return rule != SELECT_RULE_NONE ? rule : find_glob(select, keys, key, size);
}

/* Whether the key is one of positions, or gets the name of one. */
static bool is_reserved(const struct select *select, const uint8_t *key, size_t size)
{
    uint8_t name[sizeof(POSITION_KEY) - 1];
    if (position_is_key(key, size)) {
        return true;
    }
    const struct select_rule *rename =
        select->has_reserved_targets ? select_rename(select, key, size) : NULL;
    if (rename == NULL || rename->to_size > sizeof(name)) {
        return rename != NULL && position_is_key(select->text + rename->to, rename->to_size);
    }
    size_t rest = size - rename->size;
    size_t room = sizeof(name) - rename->to_size;
    rest = rest < room ? rest : room;
    memcpy(name, select->text + rename->to, rename->to_size);
    memcpy(name + rename->to_size, key + rename->size, rest);
    return position_is_key(name, rename->to_size + rest);
}

bool select_key(const struct select *select, const uint8_t *key, size_t size, uint16_t *rule)
{
    *rule = SELECT_RULE_NONE;
    if (UNLIKELY(is_reserved(select, key, size))) {
        *rule = SELECT_RULE_RESERVED;
        return false;
    }
    if (select->has_exclude) {
        *rule = find_key(select, &select->exclude, key, size);
        if (*rule != SELECT_RULE_NONE) {
            return false;
        }
    }
    if (select->has_include) {
        *rule = find_key(select, &select->include, key, size);
        if (*rule == SELECT_RULE_NONE) {
            *rule = SELECT_RULE_NOT_INCLUDED;
            return false;
        }
    }
    return true;
}

/* ---- commands ---- */

/* A command that is not in the table, or whose name it does not know. */
bool select_unknown(const struct select *select, const uint8_t *name, size_t size, uint16_t *rule)
{
    uint16_t included = SELECT_RULE_NONE;
    for (uint16_t i = 0; i < select->rule_count; i++) {
        const struct select_rule *at = &select->rules[i];
        bool is_command = at->list == SELECT_INCLUDE_COMMAND || at->list == SELECT_EXCLUDE_COMMAND;
        if (!is_command || at->size != size ||
            strncasecmp((const char *)select->text + at->text, (const char *)name, size) != 0) {
            continue;
        }
        if (at->list == SELECT_EXCLUDE_COMMAND) {
            *rule = i;
            return false;
        }
        included = included == SELECT_RULE_NONE ? i : included;
    }
    bool is_kept = !select->has_command_include || included != SELECT_RULE_NONE;
    *rule = is_kept ? included : SELECT_RULE_NOT_INCLUDED;
    return is_kept;
}

bool select_command(const struct select *select, const struct command_info *info, uint16_t *rule)
{
    size_t number = select_command_number(info);
    if (UNLIKELY(number == SELECT_COMMANDS_MAX)) {
        return select_unknown(select, (const uint8_t *)info->name, info->name_size, rule);
    }
    *rule = select->command_rule[number];
    return (select->command_kept[number / 64] >> (number % 64) & 1) != 0;
}

/* ---- renames ---- */

const struct select_rule *
select_rename(const struct select *select, const uint8_t *key, size_t size)
{
    uint16_t rule = select_set_find(select, &select->renames, key, size);
    return rule == SELECT_RULE_NONE ? NULL : &select->rules[rule];
}

uint8_t *select_rename_write(const struct select *select,
                             const struct select_rule *rename,
                             const uint8_t *key,
                             size_t size,
                             uint8_t *out)
{
    ASSERT(size >= rename->size);
    memcpy(out, select->text + rename->to, rename->to_size);
    out += rename->to_size;
    memcpy(out, key + rename->size, size - rename->size);
    return out + (size - rename->size);
}

/* Writes the source key that `rename` would give this name, and returns its size. */
static size_t rename_undo(const struct select *select,
                          const struct select_rule *rename,
                          const uint8_t *name,
                          size_t size,
                          uint8_t *out)
{
    ASSERT(size >= rename->to_size);
    memcpy(out, select->text + rename->text, rename->size);
    memcpy(out + rename->size, name + rename->to_size, size - rename->to_size);
    return rename->size + (size - rename->to_size);
}

/* Whether a selected source key of this rule, and no longer one, has the name. `out` has room for
 * it. */
static bool rename_gives(const struct select *select,
                         const struct select_rule *rename,
                         const uint8_t *name,
                         size_t size,
                         uint8_t *out,
                         size_t *out_size)
{
    uint16_t ignored;
    *out_size = rename_undo(select, rename, name, size, out);
    return select_rename(select, out, *out_size) == rename &&
           select_key(select, out, *out_size, &ignored);
}

const struct select_rule *
select_claimed(const struct select *select, const uint8_t *key, size_t size)
{
    uint8_t rival[SELECT_CLAIM_MAX + SELECT_PATTERN_MAX];
    if (select->targets.count == 0) {
        return NULL;
    }
    uint16_t node = set_search(select, &select->targets, key, size);
    while (node != SELECT_NODE_NONE) {
        const struct select_rule *rename = &select->rules[select->nodes[node].rule];
        size_t rival_size;
        if (size > SELECT_CLAIM_MAX ||
            rename_gives(select, rename, key, size, rival, &rival_size)) {
            return rename;
        }
        node = node_parent(select, &select->targets, node);
        node = node_climb(select, &select->targets, node, key, size);
    }
    return NULL;
}

/* ---- whole keys ---- */

void select_name_deinit(struct select_name *name)
{
    mem_free(MEM_APPLY, name->bytes);
    *name = (struct select_name){0};
}

static bool name_reserve(struct select_name *name, size_t size, struct syn_err *err)
{
    if (name->bytes != NULL && size <= name->capacity) {
        return true;
    }
    size_t capacity = size < 256 ? 256 : size;
    uint8_t *bytes = mem_realloc(MEM_APPLY, name->bytes, capacity);
    if (bytes == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for a key of %zu bytes", size);
    }
    name->bytes = bytes;
    name->capacity = capacity;
    return true;
}

static bool name_copy(struct select_name *name, struct slice key, struct syn_err *err)
{
    if (!name_reserve(name, key.size, err)) {
        return false;
    }
    if (key.size > 0) {
        memcpy(name->bytes, key.bytes, key.size);
    }
    name->size = key.size;
    return true;
}

bool select_to_destination(const struct select *select,
                           struct slice key,
                           struct select_name *name,
                           bool *is_selected,
                           struct syn_err *err)
{
    uint16_t rule;
    *is_selected = select == NULL || select_key(select, key.bytes, key.size, &rule);
    if (!*is_selected) {
        return true;
    }
    const struct select_rule *rename =
        select != NULL ? select_rename(select, key.bytes, key.size) : NULL;
    if (rename == NULL) {
        return name_copy(name, key, err);
    }
    name->size = select_renamed_size(rename, key.size);
    if (!name_reserve(name, name->size, err)) {
        return false;
    }
    select_rename_write(select, rename, key.bytes, key.size, name->bytes);
    return true;
}

bool select_to_source(const struct select *select,
                      struct slice key,
                      struct select_name *name,
                      bool *is_selected,
                      struct syn_err *err)
{
    uint16_t ignored;
    *is_selected = true;
    if (select == NULL || !name_reserve(name, key.size + SELECT_PATTERN_MAX, err)) {
        return select == NULL && name_copy(name, key, err);
    }
    uint16_t node = select->targets.count > 0
                        ? set_search(select, &select->targets, key.bytes, key.size)
                        : SELECT_NODE_NONE;
    while (node != SELECT_NODE_NONE) {
        const struct select_rule *rename = &select->rules[select->nodes[node].rule];
        if (rename_gives(select, rename, key.bytes, key.size, name->bytes, &name->size)) {
            return true;
        }
        node = node_parent(select, &select->targets, node);
        node = node_climb(select, &select->targets, node, key.bytes, key.size);
    }
    *is_selected = select_rename(select, key.bytes, key.size) == NULL &&
                   select_key(select, key.bytes, key.size, &ignored);
    return !*is_selected || name_copy(name, key, err);
}

/* ---- telling ---- */

const char *
select_rule_text(const struct select *select, uint16_t rule, char text[SELECT_RULE_TEXT_MAX])
{
    if (rule == SELECT_RULE_NONE) {
        snprintf(text, SELECT_RULE_TEXT_MAX, "no rule");
    } else if (rule == SELECT_RULE_NOT_INCLUDED) {
        snprintf(text, SELECT_RULE_TEXT_MAX, "no include rule names it");
    } else if (rule == SELECT_RULE_RESERVED) {
        snprintf(text, SELECT_RULE_TEXT_MAX, "positions are kept there");
    } else {
        const struct select_rule *at = &select->rules[rule];
        ASSERT(rule < select->rule_count);
        snprintf(text,
                 SELECT_RULE_TEXT_MAX,
                 "%s[%u]",
                 select_list_name((enum select_list)at->list),
                 at->index);
    }
    return text;
}
