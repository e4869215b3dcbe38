/* What versions take, what several shards take together, and both in words. */
#include "apply/intake_private.h"

#include <stdio.h>
#include <string.h>

/* ---- by version (the reference's DUMP payload table) ---- */

/* The highest footer that RESTORE accepts; `exact`: only that one. */
static uint16_t footer_max(const struct server *server, bool *exact)
{
    static const struct {
        uint32_t version;
        uint16_t footer;
    } redis[] = {{70400, 12}, {70200, 11}, {70000, 10}, {50000, 9}, {40000, 8}, {30200, 7}};
    *exact = false;
    if (server->is_valkey) {
        return 11;
    }
    for (size_t i = 0; i < sizeof(redis) / sizeof(redis[0]); i++) {
        if (server->version >= redis[i].version) {
            *exact = server->version == 30200; /* 3.2.0 still compared with != */
            return redis[i].footer;
        }
    }
    *exact = true;
    return 6;
}

/* The footer with which a server of this version loads the type; 0: it does not. */
static uint16_t footer_of_version(const struct server *server, uint8_t type, bool is_valkey_rdb)
{
    uint16_t needed = rdb_type_version_min(type, is_valkey_rdb);
    if (needed != 0 && type >= RDB_TYPE_HASH_METADATA_PRE_GA) {
        /* The families went apart here: hash field TTLs of the other one are never understood, and
         * Valkey's 22 would even be misread by Redis as its own 22. */
        uint32_t since = is_valkey_rdb ? 90000 : 70400;
        bool is_own = server->is_valkey == is_valkey_rdb;
        return is_own && server->version >= since ? needed : 0;
    }
    bool is_exact;
    uint16_t most = footer_max(server, &is_exact);
    if (needed > most) {
        return 0;
    }
    return is_exact && needed != 0 ? most : needed;
}

void intake_of_version(struct intake *intake, const struct server *server)
{
    uint32_t version = server->version;
    *intake = (struct intake){
        .has_restore = version >= 20600,
        .has_replace = version >= 30000,
        .has_absttl = version >= 50000,
        .has_idle = version >= 50000,
        .has_freq = version >= 50000,
        .has_functions = version >= 70000,
        .listpack_form = listpack_form_of(version, server->is_valkey),
    };
    rewrite_target_fill(&intake->rewrite, version, server->is_valkey);
    for (uint32_t i = 0; i < 2 * RDB_TYPE_COUNT && intake->has_restore; i++) {
        uint8_t type = (uint8_t)(i / 2);
        intake->restore_version[i % 2][type] = footer_of_version(server, type, i % 2 != 0);
    }
}

uint8_t
intake_stream_form(const struct intake *intake, bool is_valkey_rdb, uint8_t type, uint32_t refused)
{
    static const uint8_t forms[] = {RDB_TYPE_STREAM_LISTPACKS_2, RDB_TYPE_STREAM_LISTPACKS};
    if (rdb_type_kind(type, is_valkey_rdb) != RDB_KIND_STREAM) {
        return RDB_TYPE_STRING;
    }
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (forms[i] < type && (refused >> forms[i] & 1) == 0 &&
            intake->restore_version[is_valkey_rdb][forms[i]] != 0) {
            return forms[i];
        }
    }
    return RDB_TYPE_STRING;
}

/* ---- several shards ---- */

void intake_forget_restore(struct intake *intake)
{
    intake->has_restore = false;
    intake->has_replace = false;
    intake->has_absttl = false;
    intake->has_idle = false;
    intake->has_freq = false;
    memset(intake->restore_version, 0, sizeof(intake->restore_version));
}

static void rewrite_merge(struct rewrite_target *into, const struct rewrite_target *other)
{
    into->has_multi_hset = into->has_multi_hset && other->has_multi_hset;
    into->has_streams = into->has_streams && other->has_streams;
    into->has_set_expiry = into->has_set_expiry && other->has_set_expiry;
    into->has_create_consumer = into->has_create_consumer && other->has_create_consumer;
    into->has_stream_counters = into->has_stream_counters && other->has_stream_counters;
    into->has_field_expiry = into->has_field_expiry && other->has_field_expiry;
}

static void intake_merge(struct intake *into, const struct intake *other)
{
    if (into->has_restore && !other->has_restore) {
        memcpy(into->refusal, other->refusal, sizeof(into->refusal));
    }
    into->has_restore = into->has_restore && other->has_restore;
    into->has_replace = into->has_replace && other->has_replace;
    into->has_absttl = into->has_absttl && other->has_absttl;
    into->has_idle = into->has_idle && other->has_idle;
    into->has_freq = into->has_freq && other->has_freq;
    into->has_functions = into->has_functions && other->has_functions;
    into->is_asked = into->is_asked || other->is_asked;
    if (into->listpack_form != other->listpack_form) {
        into->listpack_form = LISTPACK_UNKNOWN;
    }
    rewrite_merge(&into->rewrite, &other->rewrite);
    for (uint32_t i = 0; i < 2 * RDB_TYPE_COUNT; i++) {
        uint16_t *version = &into->restore_version[i % 2][i / 2];
        /* Servers that insist on different values: only in a cluster of 3.0 and 3.2.0. */
        if (*version != other->restore_version[i % 2][i / 2]) {
            *version = 0;
        }
    }
    if (!into->has_restore) {
        intake_forget_restore(into);
    }
}

bool intake_ask(struct intake *intake,
                const struct topology *destination,
                int timeout_ms,
                struct syn_err *err)
{
    ASSERT(destination->shard_count > 0);
    for (uint32_t i = 0; i < destination->shard_count; i++) {
        struct intake one;
        if (!intake_ask_shard(&one, &destination->shards[i], timeout_ms, err)) {
            return false;
        }
        if (i == 0) {
            *intake = one;
        } else {
            intake_merge(intake, &one);
        }
    }
    return true;
}

/* ---- in words ---- */

struct line {
    char *text;
    size_t used;
};

static void line_add(struct line *line, const char *words)
{
    size_t size = strlen(words);
    if (line->used + size < INTAKE_TEXT_MAX) {
        memcpy(line->text + line->used, words, size + 1);
        line->used += size;
    }
}

static uint16_t version_highest(const struct intake *intake)
{
    uint16_t highest = 0;
    for (uint32_t i = 0; i < 2 * RDB_TYPE_COUNT; i++) {
        uint16_t version = intake->restore_version[i % 2][i / 2];
        highest = version > highest ? version : highest;
    }
    return highest;
}

/* Types of pre-releases are not worth a word. */
static bool is_worth_naming(uint8_t type, bool is_valkey_rdb)
{
    bool is_pre_ga = !is_valkey_rdb && (type == RDB_TYPE_HASH_METADATA_PRE_GA ||
                                        type == RDB_TYPE_HASH_LISTPACK_EX_PRE_GA);
    return intake_sample(type, is_valkey_rdb).size > 0 && !is_pre_ga;
}

/* Types that are rewritten, whichever family's source they come from. */
static void line_add_rewritten(struct line *line, const struct intake *intake)
{
    const char *between = "";
    for (uint32_t i = 0; i < 2 * RDB_TYPE_COUNT; i++) {
        uint8_t type = (uint8_t)(i / 2);
        bool is_valkey_rdb = i % 2 != 0;
        bool is_same_type = is_valkey_rdb && type < RDB_TYPE_HASH_METADATA_PRE_GA;
        if (is_same_type || !is_worth_naming(type, is_valkey_rdb) ||
            intake->restore_version[is_valkey_rdb][type] != 0 ||
            intake_stream_form(intake, is_valkey_rdb, type, 0) != RDB_TYPE_STRING) {
            continue;
        }
        line_add(line, between);
        line_add(line, is_valkey_rdb ? "hash (field expiry of Valkey)" : rdb_type_name(type));
        between = ", ";
    }
    if (between[0] == '\0') {
        line_add(line, "nothing");
    }
}

void intake_text(const struct intake *intake, char text[static INTAKE_TEXT_MAX])
{
    struct line line = {.text = text};
    text[0] = '\0';
    if (!intake->has_restore) {
        line_add(&line, "destination takes no RESTORE (");
        line_add(&line, intake->refusal);
        line_add(&line, "); rewritten: every value");
        return;
    }
    char words[64];
    snprintf(words,
             sizeof(words),
             "destination takes RESTORE up to RDB %u",
             (unsigned)version_highest(intake));
    line_add(&line, words);
    line_add(&line, intake->has_replace ? "" : ", without REPLACE");
    line_add(&line, intake->has_absttl ? "" : ", without ABSTTL");
    line_add(&line, intake->has_idle && intake->has_freq ? "" : ", without IDLETIME or FREQ");
    line_add(&line, intake->is_asked ? " (each type was tried)" : "");
    line_add(&line, "; rewritten: ");
    line_add_rewritten(&line, intake);
}
