#include "tests/apply/relay_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 24

struct words {
    uint32_t count;
    struct slice at[WORDS_MAX];
};

static bool word_is(const struct words *words, uint32_t i, const char *text)
{
    return i < words->count && words->at[i].size == strlen(text) &&
           strncasecmp((const char *)words->at[i].bytes, text, words->at[i].size) == 0;
}

/* ---- entries ---- */

void store_init(struct store *store)
{
    memset(store, 0, sizeof(*store));
}

void store_deinit(struct store *store)
{
    bytes_free(&store->queued);
}

struct store_entry *store_find(struct store *store, const char *key, size_t size)
{
    for (uint32_t i = 0; i < store->count; i++) {
        if (strlen(store->entries[i].key) == size &&
            memcmp(store->entries[i].key, key, size) == 0) {
            return &store->entries[i];
        }
    }
    ASSERT(store->count < STORE_ENTRIES);
    ASSERT(size < sizeof(store->entries[0].key));
    struct store_entry *entry = &store->entries[store->count++];
    memcpy(entry->key, key, size);
    entry->key[size] = '\0';
    entry->expire_ms = -1;
    return entry;
}

static struct store_entry *entry_of(struct store *store, const struct words *words, uint32_t i)
{
    ASSERT(i < words->count);
    return store_find(store, (const char *)words->at[i].bytes, words->at[i].size);
}

static void entry_remove(struct store_entry *entry)
{
    entry->exists = false;
    entry->state = 0;
    entry->expire_ms = -1;
}

static uint64_t mix(uint64_t state, const void *bytes, size_t size)
{
    uint64_t parts[2] = {state, key_hash(bytes, size)};
    return key_hash(parts, sizeof(parts));
}

static uint64_t mix_text(uint64_t state, const char *text)
{
    return mix(state, text, strlen(text));
}

/* The whole command, but for the key itself, is what happened to it. */
static void entry_touch(struct store_entry *entry, const struct words *words, uint32_t key)
{
    entry->exists = true;
    for (uint32_t i = 0; i < words->count; i++) {
        if (i != key) {
            entry->state = mix(entry->state, words->at[i].bytes, words->at[i].size);
        }
    }
}

/* ---- replies ---- */

static void reply(struct bytes *out, const char *text)
{
    if (out != NULL) {
        bytes_add(out, text, strlen(text));
    }
}

static void reply_bulk(struct bytes *out, const void *bytes, size_t size)
{
    uint8_t head[RESP_HEAD_MAX];
    if (out != NULL) {
        bytes_add(out, head, (size_t)(resp_put_head(head, '$', size) - head));
        bytes_add(out, bytes, size);
        bytes_add(out, "\r\n", 2);
    }
}

static void reply_integer(struct bytes *out, int64_t value)
{
    char text[40];
    snprintf(text, sizeof(text), ":%lld\r\n", (long long)value);
    reply(out, text);
}

/* ---- commands ---- */

static void element_text(const struct store_entry *entry, bool is_left, char text[24])
{
    uint64_t element = mix_text(entry->state, is_left ? "left" : "right");
    snprintf(text, 24, "e%016llx", (unsigned long long)element);
}

static void entry_pop(struct store_entry *entry, bool is_left)
{
    entry->state = mix_text(entry->state, is_left ? "pop left" : "pop right");
}

static void entry_push(struct store_entry *entry, bool is_left, const void *bytes, size_t size)
{
    entry->exists = true;
    entry->state = mix_text(entry->state, is_left ? "push left" : "push right");
    entry->state = mix(entry->state, bytes, size);
}

static void do_move(
    struct store *store, const struct words *words, bool from_left, bool to_left, struct bytes *out)
{
    struct store_entry *from = entry_of(store, words, 1);
    char element[24];
    if (!from->exists) {
        reply(out, "$-1\r\n");
        return;
    }
    element_text(from, from_left, element);
    entry_pop(from, from_left);
    entry_push(entry_of(store, words, 2), to_left, element, strlen(element));
    reply_bulk(out, element, strlen(element));
}

static void do_copy(struct store *store, const struct words *words, bool is_rename)
{
    struct store_entry *from = entry_of(store, words, 1);
    struct store_entry *to = entry_of(store, words, 2);
    ASSERT(from->exists);
    to->exists = true;
    to->state = from->state;
    to->expire_ms = from->expire_ms;
    if (is_rename) {
        entry_remove(from);
    }
}

/* The target gets what the command's words and its operands' states make; nothing when no operand
 * exists. PFMERGE reads the target too. */
static void do_store(struct store *store,
                     const struct words *words,
                     uint32_t target,
                     uint32_t first,
                     uint32_t count,
                     struct bytes *out)
{
    struct store_entry *to = entry_of(store, words, target);
    uint64_t state = mix(0, words->at[0].bytes, words->at[0].size);
    bool any = false;
    if (word_is(words, 0, "PFMERGE") && to->exists) {
        state = mix(state, &to->state, sizeof(to->state));
        any = true;
    }
    for (uint32_t i = first; i < first + count; i++) {
        const struct store_entry *from = entry_of(store, words, i);
        state = from->exists ? mix(state, &from->state, sizeof(from->state))
                             : mix_text(state, "absent");
        any = any || from->exists;
    }
    for (uint32_t i = 1; i < words->count; i++) {
        if (i != target && (i < first || i >= first + count)) {
            state = mix(state, words->at[i].bytes, words->at[i].size);
        }
    }
    int64_t expire_ms = word_is(words, 0, "PFMERGE") ? to->expire_ms : -1;
    entry_remove(to);
    if (any) {
        to->exists = true;
        to->state = state;
        to->expire_ms = expire_ms;
    }
    reply_integer(out, any ? 3 : 0);
}

/* EVAL script count key …: every key gets what all of them had. */
static void do_script(struct store *store, const struct words *words)
{
    uint32_t count = (uint32_t)(words->at[2].bytes[0] - '0');
    uint64_t state = 0;
    for (uint32_t i = 3; i < 3 + count; i++) {
        state = mix(state, &entry_of(store, words, i)->state, sizeof(state));
    }
    for (uint32_t i = 3; i < 3 + count; i++) {
        struct store_entry *entry = entry_of(store, words, i);
        entry->exists = true;
        entry->state = mix(state, &i, sizeof(i));
    }
}

static void do_dump(struct store *store, const struct words *words, struct bytes *out)
{
    const struct store_entry *entry = entry_of(store, words, 1);
    char text[8192];
    if (!entry->exists) {
        reply(out, "$-1\r\n");
        return;
    }
    size_t size =
        (size_t)snprintf(text, sizeof(text), "state %016llx", (unsigned long long)entry->state);
    size_t most = store->answer_bytes_most < sizeof(text) ? store->answer_bytes_most : sizeof(text);
    if (entry->state % 5 == 0 && most > size) {
        size_t padded = size + (size_t)(entry->state / 5 % (most - size));
        memset(text + size, '.', padded - size);
        size = padded;
    }
    reply_bulk(out, text, size);
}

static void do_restore(struct store *store, const struct words *words, struct bytes *out)
{
    struct store_entry *entry = entry_of(store, words, 1);
    char text[24] = "";
    ASSERT(words->count >= 5 && word_is(words, 4, "REPLACE"));
    /* From a source it comes with a type in front. */
    size_t pos = words->at[3].bytes[0] == 's' ? 6 : 7;
    ASSERT(words->at[3].size >= 22 && memcmp(words->at[3].bytes + pos - 6, "state ", 6) == 0);
    memcpy(text, words->at[3].bytes + pos, 16);
    char ttl[24] = "";
    ASSERT(words->at[2].size < sizeof(ttl));
    memcpy(ttl, words->at[2].bytes, words->at[2].size);
    long long ms = strtoll(ttl, NULL, 10);
    entry->exists = true;
    entry->state = strtoull(text, NULL, 16);
    entry->expire_ms = ms > 0 ? ms : -1;
    ASSERT(ms == 0 || word_is(words, 5, "ABSTTL"));
    reply(out, "+OK\r\n");
}

static void do_expire(struct store *store, const struct words *words, struct bytes *out)
{
    struct store_entry *entry = entry_of(store, words, 1);
    char text[24] = "";
    ASSERT(words->at[2].size < sizeof(text));
    memcpy(text, words->at[2].bytes, words->at[2].size);
    if (entry->exists) {
        entry->expire_ms = strtoll(text, NULL, 10);
    }
    reply_integer(out, entry->exists);
}

static bool do_several(struct store *store, const struct words *words, struct bytes *out)
{
    uint32_t count = words->count;
    if (word_is(words, 0, "RPOPLPUSH")) {
        do_move(store, words, false, true, out);
    } else if (word_is(words, 0, "LMOVE")) {
        do_move(store, words, word_is(words, 3, "LEFT"), word_is(words, 4, "LEFT"), out);
    } else if (word_is(words, 0, "RENAME") || word_is(words, 0, "RENAMENX")) {
        do_copy(store, words, true);
        reply(out, "+OK\r\n");
    } else if (word_is(words, 0, "COPY")) {
        do_copy(store, words, false);
        reply_integer(out, 1);
    } else if (word_is(words, 0, "SUNIONSTORE") || word_is(words, 0, "PFMERGE")) {
        do_store(store, words, 1, 2, count - 2, out);
    } else if (word_is(words, 0, "BITOP")) {
        do_store(store, words, 2, 3, count - 3, out);
    } else if (word_is(words, 0, "ZUNIONSTORE")) {
        do_store(store, words, 1, 3, (uint32_t)(words->at[2].bytes[0] - '0'), out);
    } else if (word_is(words, 0, "ZRANGESTORE")) {
        do_store(store, words, 1, 2, 1, out);
    } else if (word_is(words, 0, "EVAL")) {
        do_script(store, words);
        reply_integer(out, 1);
    } else if (word_is(words, 0, "SORT")) {
        do_store(store, words, count - 1, 1, 1, out);
    } else {
        return false;
    }
    return true;
}

static void do_command(struct store *store, const struct words *words, struct bytes *out)
{
    char element[24];
    if (do_several(store, words, out)) {
        return;
    }
    struct store_entry *entry = entry_of(store, words, 1);
    if (word_is(words, 0, "DEL") || word_is(words, 0, "UNLINK")) {
        for (uint32_t i = 1; i < words->count; i++) {
            entry_remove(entry_of(store, words, i));
        }
        reply_integer(out, 1);
    } else if (word_is(words, 0, "MSET") || word_is(words, 0, "SET")) {
        for (uint32_t i = 1; i + 1 < words->count; i += 2) {
            entry = entry_of(store, words, i);
            entry_remove(entry);
            entry->exists = true;
            entry->state = mix(0, words->at[i + 1].bytes, words->at[i + 1].size);
        }
        reply(out, "+OK\r\n");
    } else if (word_is(words, 0, "RPOP") || word_is(words, 0, "LPOP")) {
        bool is_left = word_is(words, 0, "LPOP");
        if (!entry->exists) {
            reply(out, "$-1\r\n");
            return;
        }
        element_text(entry, is_left, element);
        entry_pop(entry, is_left);
        reply_bulk(out, element, strlen(element));
    } else if (word_is(words, 0, "RPUSH") || word_is(words, 0, "LPUSH")) {
        bool is_left = word_is(words, 0, "LPUSH");
        entry_push(entry, is_left, words->at[2].bytes, words->at[2].size);
        reply_integer(out, 1);
    } else if (word_is(words, 0, "SMOVE")) {
        struct words from = {3, {{(const uint8_t *)"SREM", 4}, words->at[1], words->at[3]}};
        struct words to = {3, {{(const uint8_t *)"SADD", 4}, words->at[2], words->at[3]}};
        entry_touch(entry, &from, 1);
        entry_touch(entry_of(store, words, 2), &to, 1);
        reply_integer(out, 1);
    } else if (word_is(words, 0, "DUMP")) {
        do_dump(store, words, out);
    } else if (word_is(words, 0, "RESTORE")) {
        do_restore(store, words, out);
    } else if (word_is(words, 0, "PEXPIRETIME")) {
        reply_integer(out, entry->exists ? entry->expire_ms : -2);
    } else if (word_is(words, 0, "PEXPIREAT")) {
        do_expire(store, words, out);
    } else {
        entry_touch(entry, words, 1); /* APPEND, SREM, SADD … */
        reply_integer(out, 1);
    }
}

void store_apply(struct store *store, const char *text)
{
    struct words words = {0};
    while (*text != '\0') {
        size_t size = strcspn(text, " ");
        ASSERT(words.count < WORDS_MAX);
        words.at[words.count++] = (struct slice){(const uint8_t *)text, size};
        text += size + (text[size] == ' ');
    }
    do_command(store, &words, NULL);
}

/* ---- at a shard ---- */

static void fault(struct store *store, const char *what, const struct words *words)
{
    if (store->fault[0] == '\0') {
        snprintf(store->fault,
                 sizeof(store->fault),
                 "%s: %.*s",
                 what,
                 (int)words->at[0].size,
                 (const char *)words->at[0].bytes);
    }
}

/* All keys must be of this lane, and share a slot with each other and with the transaction. */
static void check_slots(struct store *store,
                        const struct route *route,
                        uint32_t lane,
                        const uint8_t *bytes,
                        const struct resp_command *command,
                        const struct words *words)
{
    struct key_list keys;
    struct syn_err err;
    ASSERT(key_list_init(&keys, &err));
    const struct command_info *info = command_find(words->at[0].bytes, words->at[0].size);
    ASSERT(info != NULL);
    ASSERT(command_keys(info, bytes, command, &keys, &err));
    uint16_t slot = store->is_multi ? store->multi_slot : SLOT_NONE;
    for (uint32_t i = 0; i < keys.count; i++) {
        const struct slice *key = &words->at[keys.positions[i]];
        uint16_t its = slot_of_key(key->bytes, key->size);
        if (route->slot_lane[its] != lane) {
            fault(store, "MOVED", words);
        }
        if (slot != SLOT_NONE && its != slot) {
            fault(store, "CROSSSLOT", words);
        }
        slot = its;
    }
    store->multi_slot = slot;
    key_list_deinit(&keys);
}

static void run_queued(struct store *store, struct bytes *out)
{
    struct resp_cutter cutter;
    struct syn_err err;
    uint8_t head[RESP_HEAD_MAX];
    ASSERT(resp_cutter_init(&cutter, WORDS_MAX, UINT32_MAX, &err));
    bytes_add(out, head, (size_t)(resp_put_head(head, '*', store->queued_count) - head));
    for (size_t pos = 0; pos < store->queued.size;) {
        struct resp_command command;
        size_t wanted;
        const uint8_t *bytes = store->queued.bytes + pos;
        ASSERT(resp_cut(&cutter, bytes, store->queued.size - pos, &wanted, &command, &err) ==
               RESP_READY);
        struct words words = {.count = command.argc};
        for (uint32_t i = 0; i < command.argc; i++) {
            words.at[i] = arg_slice(bytes, &command, i);
        }
        do_command(store, &words, out);
        pos += command.size;
    }
    resp_cutter_deinit(&cutter);
}

void store_command(struct store *store,
                   const struct route *route,
                   uint32_t lane,
                   const uint8_t *bytes,
                   const struct resp_command *command,
                   struct bytes *out)
{
    struct words words = {.count = command->argc};
    ASSERT(command->argc <= WORDS_MAX);
    for (uint32_t i = 0; i < command->argc; i++) {
        words.at[i] = arg_slice(bytes, command, i);
    }
    if (word_is(&words, 0, "MULTI")) {
        store->is_multi = true;
        store->multi_slot = SLOT_NONE;
        store->queued_count = 0;
        store->queued.size = 0;
        reply(out, "+OK\r\n");
        return;
    }
    if (word_is(&words, 0, "EXEC")) {
        store->is_multi = false;
        run_queued(store, out);
        return;
    }
    check_slots(store, route, lane, bytes, command, &words);
    if (store->is_multi) {
        bytes_add(&store->queued, bytes, command->size);
        store->queued_count++;
        reply(out, "+QUEUED\r\n");
        return;
    }
    do_command(store, &words, out);
}
