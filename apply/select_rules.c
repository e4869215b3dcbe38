/* Making rules: from what was added, through the checks, to what is searched. */
#include "apply/select.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply/glob.h"
#include "apply/position.h"
#include "apply/select_private.h"

/* ---- adding ---- */

void select_init(struct select *select)
{
    memset(select, 0, offsetof(struct select, globs));
    select->text_size = 0;
    select->is_total = true;
    select->kinds = SELECT_KINDS_ALL;
    memset(select->kind_rule, 0xff, sizeof(select->kind_rule));
    memset(select->command_kept, 0xff, sizeof(select->command_kept));
    memset(select->command_rule, 0xff, sizeof(select->command_rule));
    select_shapes(select);
}

/* Room in the text; false when it is full. */
static bool text_put(struct select *select, const uint8_t *bytes, size_t size, uint32_t *at)
{
    if (size > SELECT_TEXT_MAX - select->text_size) {
        return false;
    }
    *at = select->text_size;
    memcpy(select->text + select->text_size, bytes, size);
    select->text_size += (uint32_t)size;
    return true;
}

bool select_add(struct select *select, enum select_list list, const char *text, struct syn_err *err)
{
    char shown[40];
    struct select_parsed parsed;
    uint16_t index = select->list_count[list];
    snprintf(shown, sizeof(shown), "%s[%u]", select_list_name(list), index);
    if (!select_parse(list, shown, text, &parsed, err)) {
        return false;
    }
    if (select->rule_count == SELECT_RULES_MAX) {
        return ERR(
            err, SYN_CODE_CONFIG, "%s: more than %d rules of all kinds", shown, SELECT_RULES_MAX);
    }
    struct select_rule *rule = &select->rules[select->rule_count];
    *rule = (struct select_rule){.list = (uint8_t)list,
                                 .index = index,
                                 .size = (uint16_t)parsed.size,
                                 .to_size = (uint16_t)parsed.to_size};
    if (!text_put(select, parsed.text, parsed.size, &rule->text) ||
        !text_put(select, parsed.to, parsed.to_size, &rule->to)) {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "%s: the rules have more than %u bytes together",
                   shown,
                   SELECT_TEXT_MAX);
    }
    select->rule_count++;
    select->list_count[list]++;
    select->is_active = true;
    return true;
}

/* ---- types and commands ---- */

static bool rule_is(const struct select *select, const struct select_rule *rule, const char *word)
{
    return strlen(word) == rule->size &&
           strncasecmp((const char *)select->text + rule->text, word, rule->size) == 0;
}

/* The first rule of the list that fits, SELECT_RULE_NONE. */
static uint16_t kind_rule(const struct select *select, enum select_list list, unsigned kind)
{
    for (uint16_t i = 0; i < select->rule_count; i++) {
        if (select->rules[i].list == list &&
            rule_is(select, &select->rules[i], select_kind_name((enum rdb_kind)kind))) {
            return i;
        }
    }
    return SELECT_RULE_NONE;
}

static void compile_kinds(struct select *select)
{
    bool has_include = select->list_count[SELECT_INCLUDE_TYPE] > 0;
    for (unsigned kind = 0; kind < RDB_KIND_COUNT; kind++) {
        uint16_t out = kind_rule(select, SELECT_EXCLUDE_TYPE, kind);
        uint16_t in = kind_rule(select, SELECT_INCLUDE_TYPE, kind);
        bool is_kept = out == SELECT_RULE_NONE && (!has_include || in != SELECT_RULE_NONE);
        select->kind_rule[kind] = out != SELECT_RULE_NONE ? out
                                  : is_kept               ? in
                                                          : SELECT_RULE_NOT_INCLUDED;
        if (!is_kept) {
            select->kinds &= (uint8_t) ~(1u << kind);
        }
    }
}

static bool rule_names_command(const struct select *select,
                               const struct select_rule *rule,
                               const struct command_info *info)
{
    const char *text = (const char *)select->text + rule->text;
    size_t word = strcspn(info->name, " "); /* a subcommand goes with its container */
    return (rule->size == word && strncasecmp(text, info->name, word) == 0) ||
           select_names_group(text, rule->size, (enum command_group)info->group);
}

static uint16_t
command_rule(const struct select *select, enum select_list list, const struct command_info *info)
{
    for (uint16_t i = 0; i < select->rule_count; i++) {
        if (select->rules[i].list == list && rule_names_command(select, &select->rules[i], info)) {
            return i;
        }
    }
    return SELECT_RULE_NONE;
}

static void compile_commands(struct select *select)
{
    size_t count;
    const struct command_info *table = command_table(&count);
    ASSERT(count <= SELECT_COMMANDS_MAX);
    bool has_include = select->list_count[SELECT_INCLUDE_COMMAND] > 0;
    select->has_command_include = has_include;
    select->has_command_rules = has_include || select->list_count[SELECT_EXCLUDE_COMMAND] > 0;
    for (size_t i = 0; i < count && select->has_command_rules; i++) {
        uint16_t out = command_rule(select, SELECT_EXCLUDE_COMMAND, &table[i]);
        uint16_t in = command_rule(select, SELECT_INCLUDE_COMMAND, &table[i]);
        bool is_kept = out == SELECT_RULE_NONE && (!has_include || in != SELECT_RULE_NONE);
        select->command_rule[i] = out != SELECT_RULE_NONE ? out
                                  : is_kept               ? in
                                                          : SELECT_RULE_NOT_INCLUDED;
        if (!is_kept) {
            select->command_kept[i / 64] &= ~(UINT64_C(1) << (i % 64));
        }
    }
}

/* ---- sets of prefixes ---- */

/* The bytes lie in the select's text already. */
static void
set_put(struct select *select, struct select_set *set, uint16_t rule, uint32_t text, size_t size)
{
    ASSERT(select->node_count < SELECT_NODES_MAX);
    struct select_node *node = &select->nodes[select->node_count];
    *node = (struct select_node){.text = text,
                                 .size = (uint16_t)size,
                                 .rule = rule,
                                 .head = select_head(select->text + text, size)};
    set->size_max = node->size > set->size_max ? node->size : set->size_max;
    set->count++;
    select->node_count++;
}

/* Turned around, for which there may be no room. */
static bool set_put_suffix(
    struct select *select, struct select_set *set, uint16_t rule, const uint8_t *bytes, size_t size)
{
    uint8_t turned[SELECT_PATTERN_MAX];
    uint32_t text;
    for (size_t i = 0; i < size; i++) {
        turned[i] = bytes[size - 1 - i];
    }
    if (!text_put(select, turned, size, &text)) {
        return false;
    }
    set_put(select, set, rule, text, size);
    return true;
}

static int compare_nodes(const void *left, const void *right, void *arg)
{
    const struct select *select = arg;
    const struct select_node *a = left;
    const struct select_node *b = right;
    size_t shorter = a->size < b->size ? a->size : b->size;
    int order = memcmp(select->text + a->text, select->text + b->text, shorter);
    if (order == 0) {
        order = (int)a->size - (int)b->size;
    }
    return order != 0 ? order : (int)a->rule - (int)b->rule;
}

static bool node_begins(const struct select *select,
                        const struct select_node *node,
                        const struct select_node *prefix)
{
    return prefix->size <= node->size &&
           memcmp(select->text + node->text, select->text + prefix->text, prefix->size) == 0;
}

static void set_close(struct select *select, struct select_set *set)
{
    struct select_node *nodes = &select->nodes[set->first];
    qsort_r(nodes, set->count, sizeof(*nodes), compare_nodes, select);
    for (uint16_t i = 0; i < set->count; i++) {
        uint16_t parent = i > 0 ? (uint16_t)(i - 1) : SELECT_NODE_NONE;
        while (parent != SELECT_NODE_NONE && !node_begins(select, &nodes[i], &nodes[parent])) {
            parent = nodes[parent].parent;
        }
        nodes[i].parent = parent;
    }
}

/* ---- keys ---- */

/* What a rule about keys comes to. */
enum key_form { KEY_PREFIX, KEY_SUFFIX, KEY_GLOB };

/* "abc*" and "*abc" are a prefix and a suffix, which are found faster. */
static enum key_form rule_form(const struct select *select,
                               const struct select_rule *rule,
                               const uint8_t **bytes,
                               size_t *size)
{
    *bytes = select->text + rule->text;
    *size = rule->size;
    switch (rule->list) {
    case SELECT_INCLUDE_PREFIX:
    case SELECT_EXCLUDE_PREFIX:
        return KEY_PREFIX;
    case SELECT_INCLUDE_SUFFIX:
    case SELECT_EXCLUDE_SUFFIX:
        return KEY_SUFFIX;
    default:
        break;
    }
    size_t literal = glob_literal_size(*bytes, *size);
    if (literal + 1 == *size && (*bytes)[literal] == '*') {
        *size = literal;
        return KEY_PREFIX;
    }
    if (*size > 1 && (*bytes)[0] == '*' && glob_literal_size(*bytes + 1, *size - 1) == *size - 1) {
        *bytes += 1;
        *size -= 1;
        return KEY_SUFFIX;
    }
    return KEY_GLOB;
}

static bool is_of_side(const struct select_rule *rule, enum select_list first)
{
    return rule->list >= first && rule->list < first + 3;
}
_Static_assert(SELECT_INCLUDE_SUFFIX == SELECT_INCLUDE_KEY + 2 &&
                   SELECT_EXCLUDE_SUFFIX == SELECT_EXCLUDE_KEY + 2,
               "is_of_side relies on it");

static bool compile_set(struct select *select,
                        struct select_set *set,
                        enum select_list side,
                        enum key_form form)
{
    *set = (struct select_set){.first = select->node_count};
    for (uint16_t i = 0; i < select->rule_count; i++) {
        const uint8_t *bytes;
        size_t size;
        if (!is_of_side(&select->rules[i], side) ||
            rule_form(select, &select->rules[i], &bytes, &size) != form) {
            continue;
        }
        if (form == KEY_PREFIX) {
            set_put(select, set, i, (uint32_t)(bytes - select->text), size);
        } else if (!set_put_suffix(select, set, i, bytes, size)) {
            return false;
        }
    }
    set_close(select, set);
    return true;
}

static uint16_t compile_globs(struct select *select, enum select_list side, uint16_t first)
{
    uint16_t count = 0;
    for (uint16_t i = 0; i < select->rule_count; i++) {
        struct select_rule *rule = &select->rules[i];
        const uint8_t *bytes;
        size_t size;
        if (is_of_side(rule, side) && rule_form(select, rule, &bytes, &size) == KEY_GLOB) {
            rule->literal = (uint16_t)glob_literal_size(bytes, size);
            select->globs[first + count++] = i;
        }
    }
    return count;
}

static bool compile_side(struct select *select, struct select_keys *keys, enum select_list side)
{
    keys->globs = side == SELECT_INCLUDE_KEY ? 0 : select->include.glob_count;
    keys->glob_count = compile_globs(select, side, keys->globs);
    return compile_set(select, &keys->prefixes, side, KEY_PREFIX) &&
           compile_set(select, &keys->suffixes, side, KEY_SUFFIX);
}

static bool has_keys(const struct select_keys *keys)
{
    return keys->prefixes.count > 0 || keys->suffixes.count > 0 || keys->glob_count > 0;
}

/* ---- renames ---- */

static void compile_renames(struct select *select)
{
    select->renames = (struct select_set){.first = select->node_count};
    for (uint16_t i = 0; i < select->rule_count; i++) {
        const struct select_rule *rule = &select->rules[i];
        if (rule->list != SELECT_RENAME_PREFIX) {
            continue;
        }
        set_put(select, &select->renames, i, rule->text, rule->size);
        uint32_t growth = rule->to_size > rule->size ? (uint32_t)rule->to_size - rule->size : 0;
        select->growth_max = growth > select->growth_max ? growth : select->growth_max;
    }
    set_close(select, &select->renames);
    select->targets = (struct select_set){.first = select->node_count};
    for (uint16_t i = 0; i < select->rule_count; i++) {
        const struct select_rule *rule = &select->rules[i];
        if (rule->list == SELECT_RENAME_PREFIX) {
            set_put(select, &select->targets, i, rule->to, rule->to_size);
        }
    }
    set_close(select, &select->targets);
    select->has_renames = select->renames.count > 0;
}

/* Whether keys with this prefix can be selected, as far as prefixes alone can tell. */
static bool prefix_may_be_selected(const struct select *select, const uint8_t *prefix, size_t size)
{
    if (select_set_find(select, &select->exclude.prefixes, prefix, size) != SELECT_RULE_NONE) {
        return false;
    }
    const struct select_keys *include = &select->include;
    if (!select->has_include || include->suffixes.count > 0 || include->glob_count > 0 ||
        select_set_find(select, &include->prefixes, prefix, size) != SELECT_RULE_NONE) {
        return true;
    }
    for (uint16_t i = 0; i < include->prefixes.count; i++) {
        const struct select_node *node = &select->nodes[include->prefixes.first + i];
        if (node->size >= size && memcmp(select->text + node->text, prefix, size) == 0) {
            return true;
        }
    }
    return false;
}

static bool rename_is_reached(const struct select *select, uint16_t number, struct syn_err *err)
{
    const struct select_rule *rule = &select->rules[number];
    const uint8_t *from = select->text + rule->text;
    char text[SELECT_RULE_TEXT_MAX];
    char other[SELECT_RULE_TEXT_MAX];
    select_rule_text(select, number, text);
    for (uint16_t i = 0; i < number; i++) {
        const struct select_rule *earlier = &select->rules[i];
        if (earlier->list == SELECT_RENAME_PREFIX && earlier->size <= rule->size &&
            memcmp(from, select->text + earlier->text, earlier->size) == 0) {
            return ERR(err,
                       SYN_CODE_CONFIG,
                       "%s: never reached, because %s takes every key with this prefix and comes "
                       "before; put the longer prefix first",
                       text,
                       select_rule_text(select, i, other));
        }
    }
    return prefix_may_be_selected(select, from, rule->size) ||
           ERR(err,
               SYN_CODE_CONFIG,
               "%s: no key with this prefix is selected; all rules look at the names that keys "
               "have at the source",
               text);
}

/* Two rules, the target of `a` beginning with that of `b`. A key of `a`, from_a + r, and one of
 * `b`, from_b + x + r where to_a is to_b + x, both become to_a + r. */
static bool renames_collide(const struct select *select,
                            const struct select_rule *a,
                            const struct select_rule *b)
{
    const uint8_t *text = select->text;
    if (a->to_size < b->to_size || memcmp(text + a->to, text + b->to, b->to_size) != 0) {
        return false;
    }
    uint8_t rival[2 * SELECT_PATTERN_MAX];
    size_t rest = (size_t)(a->to_size - b->to_size);
    memcpy(rival, text + b->text, b->size);
    memcpy(rival + b->size, text + a->to + b->to_size, rest);
    size_t size = b->size + rest;
    return select_rename(select, rival, size) == b && prefix_may_be_selected(select, rival, size) &&
           prefix_may_be_selected(select, text + a->text, a->size);
}

static bool check_renames(const struct select *select, struct syn_err *err)
{
    for (uint16_t i = 0; i < select->rule_count; i++) {
        if (select->rules[i].list == SELECT_RENAME_PREFIX && !rename_is_reached(select, i, err)) {
            return false;
        }
    }
    for (uint16_t i = 0; i < select->rule_count; i++) {
        for (uint16_t j = 0; j < i && select->rules[i].list == SELECT_RENAME_PREFIX; j++) {
            const struct select_rule *a = &select->rules[i];
            const struct select_rule *b = &select->rules[j];
            if (b->list == SELECT_RENAME_PREFIX &&
                (renames_collide(select, a, b) || renames_collide(select, b, a))) {
                char text[SELECT_RULE_TEXT_MAX];
                char other[SELECT_RULE_TEXT_MAX];
                return ERR(err,
                           SYN_CODE_CONFIG,
                           "%s: two keys could get one name, the other by %s; use new prefixes "
                           "that do not overlap, or exclude the keys of one",
                           select_rule_text(select, i, text),
                           select_rule_text(select, j, other));
            }
        }
    }
    return true;
}

/* ---- all ---- */

/* Whether a new prefix begins as the keys of positions do, or is longer. */
static void compile_reserved(struct select *select)
{
    static const char names[2][sizeof(POSITION_KEY)] = {POSITION_KEY, POSITION_DIRTY_KEY};
    for (uint16_t i = 0; i < select->rule_count; i++) {
        const struct select_rule *rule = &select->rules[i];
        for (int n = 0; n < 2 && rule->list == SELECT_RENAME_PREFIX; n++) {
            size_t size = strlen(names[n]);
            size_t common = rule->to_size < size ? rule->to_size : size;
            if (memcmp(select->text + rule->to, names[n], common) == 0) {
                select->has_reserved_targets = true;
            }
        }
    }
}

bool select_finish(struct select *select, struct syn_err *err)
{
    compile_kinds(select);
    compile_commands(select);
    if (!compile_side(select, &select->include, SELECT_INCLUDE_KEY) ||
        !compile_side(select, &select->exclude, SELECT_EXCLUDE_KEY)) {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "the rules have more than %u bytes together, suffixes counted twice",
                   SELECT_TEXT_MAX);
    }
    select->has_include = has_keys(&select->include);
    select->has_exclude = has_keys(&select->exclude);
    compile_renames(select);
    compile_reserved(select);
    select->is_total = !select->has_include && !select->has_exclude && !select->has_renames &&
                       select->kinds == SELECT_KINDS_ALL;
    return check_renames(select, err);
}
