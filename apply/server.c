/* What one server says of itself, and what its version can do. */
#include <stdio.h>
#include <string.h>

#include "apply/server_private.h"
#include "rdb/rdb.h"

enum syn_code topology_code(enum side side, enum topology_problem problem)
{
    static const enum syn_code codes[][TOPOLOGY_PROBLEM_COUNT] = {
        [SIDE_SOURCE] = {SYN_CODE_SOURCE_STATE, SYN_CODE_SOURCE_PROTOCOL},
        [SIDE_DESTINATION] = {SYN_CODE_DESTINATION_STATE, SYN_CODE_DESTINATION_PROTOCOL},
    };
    return codes[side][problem];
}

/* "7.0.15" is 70015; what does not follow that form counts as 0 from there on. */
static uint32_t version_number(const char *text)
{
    uint32_t parts[3] = {0};
    const char *p = text;
    for (int i = 0; i < 3; i++) {
        size_t digits = strspn(p, "0123456789");
        uint64_t value;
        if (!num_read_u64(p, digits, &value) || value > 99) {
            break;
        }
        parts[i] = (uint32_t)value;
        p += digits;
        if (*p != '.') {
            break;
        }
        p++;
    }
    return parts[0] * 10000 + parts[1] * 100 + parts[2];
}

/* Lines such as "db0:keys=12,expires=0,avg_ttl=0". */
static void read_keyspace(const char *info, struct server *server)
{
    struct keyspace_cursor cursor = {.next = info};
    uint64_t db, keys;
    while (keyspace_next(&cursor, &db, &keys)) {
        server->key_count += keys;
        if (keys > 0 && db > server->db_max) {
            server->db_max = (uint32_t)db;
        }
    }
}

bool keyspace_next(struct keyspace_cursor *cursor, uint64_t *db, uint64_t *keys)
{
    while (cursor->next != NULL && *cursor->next != '\0') {
        const char *line = cursor->next;
        const char *end = strchr(line, '\n');
        cursor->next = end == NULL ? NULL : end + 1;
        if (strncmp(line, "db", 2) != 0) {
            continue;
        }
        size_t digits = strspn(line + 2, "0123456789");
        const char *rest = line + 2 + digits;
        if (strncmp(rest, ":keys=", 6) != 0 || !num_read_u64(line + 2, digits, db) ||
            *db > UINT32_MAX) {
            continue;
        }
        if (num_read_u64(rest + 6, strspn(rest + 6, "0123456789"), keys)) {
            return true;
        }
    }
    return false;
}

static void read_version(const char *info, struct server *server)
{
    char name[16];
    info_field(info, "server_name", name, sizeof(name));
    server->is_valkey =
        info_field(info, "valkey_version", server->version_text, sizeof(server->version_text)) ||
        strcmp(name, "valkey") == 0;
    if (server->version_text[0] == '\0') {
        info_field(info, "redis_version", server->version_text, sizeof(server->version_text));
    }
    server->version = version_number(server->version_text);
}

void server_parse(const char *info, struct server *server)
{
    struct endpoint endpoint = server->endpoint;
    *server = (struct server){.endpoint = endpoint};
    read_version(info, server);
    char text[32];
    server->is_cluster =
        info_number(info, "cluster_enabled", 0) == 1 ||
        (info_field(info, "redis_mode", text, sizeof(text)) && strcmp(text, "cluster") == 0);
    server->is_replica = info_field(info, "role", text, sizeof(text)) && strcmp(text, "slave") == 0;
    server->is_link_up =
        info_field(info, "master_link_status", text, sizeof(text)) && strcmp(text, "up") == 0;
    info_field(info, "run_id", server->run_id, sizeof(server->run_id));
    info_field(info, "master_replid", server->replid, sizeof(server->replid));
    int64_t offset = info_number(info, "master_repl_offset", 0);
    server->offset = offset > 0 ? (uint64_t)offset : 0;
    read_keyspace(info, server);
}

redisReply *info_ask(struct control *control, struct syn_err *err)
{
    /* Without a section: servers before 7.0 take only one, and four are needed. */
    redisReply *reply = control_ask(control, err, "INFO");
    if (reply != NULL && (reply->type != REDIS_REPLY_STRING || reply->str == NULL)) {
        control_reply_error(control, reply, "INFO", err);
        freeReplyObject(reply);
        return NULL;
    }
    return reply;
}

bool server_read(struct control *control, struct server *server, struct syn_err *err)
{
    redisReply *reply = info_ask(control, err);
    if (reply == NULL) {
        return false;
    }
    server->endpoint = control->endpoint;
    server_parse(reply->str, server);
    freeReplyObject(reply);
    if (server->version == 0) {
        char text[ENDPOINT_TEXT_MAX];
        return ERR(err,
                   topology_code(control->side, TOPOLOGY_PROTOCOL),
                   "%s %s: INFO names no redis_version: this is not a Redis or Valkey server, or a "
                   "proxy that hides it; give the servers behind it",
                   side_name(control->side),
                   endpoint_text(&control->endpoint, text));
    }
    return true;
}

/* ---- what versions can do (DUMP payload table) ---- */

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

bool server_restore_version(const struct server *server,
                            uint8_t type,
                            bool is_valkey_rdb,
                            uint16_t *version)
{
    uint16_t needed = rdb_type_version_min(type, is_valkey_rdb);
    if (needed == 0) {
        return false;
    }
    if (type >= RDB_TYPE_HASH_METADATA_PRE_GA) {
        /* The families went apart here: hash field TTLs of the other one are never understood, and
         * Valkey's 22 would even be misread by Redis as its own 22. */
        if (is_valkey_rdb && type == RDB_TYPE_HASH_METADATA_PRE_GA) {
            *version = needed;
            return server->is_valkey && server->version >= 90000;
        }
        *version = needed;
        return !is_valkey_rdb && !server->is_valkey && server->version >= 70400;
    }
    bool is_exact;
    uint16_t most = footer_max(server, &is_exact);
    if (needed > most) {
        return false;
    }
    *version = is_exact ? most : needed;
    return true;
}

bool topology_restore_version(const struct topology *topology,
                              uint8_t type,
                              bool is_valkey_rdb,
                              uint16_t *version)
{
    ASSERT(topology->shard_count > 0);
    uint16_t common = 0;
    for (uint32_t i = 0; i < topology->shard_count; i++) {
        uint16_t one;
        if (!server_restore_version(&topology->shards[i].server, type, is_valkey_rdb, &one)) {
            return false;
        }
        /* Servers that insist on different values: only in a cluster of 3.0 and 3.2.0. */
        if (i > 0 && one != common) {
            return false;
        }
        common = one;
    }
    *version = common;
    return true;
}

bool topology_has_set_pxat(const struct topology *topology)
{
    return topology->version_min >= 60200; /* Valkey begins with 7.2 */
}

bool topology_has_functions(const struct topology *topology)
{
    return topology->version_min >= 70000;
}

bool topology_has_spublish(const struct topology *topology)
{
    return topology->version_min >= 70000;
}
