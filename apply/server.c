/* What one server says of itself. */
#include <stdio.h>
#include <string.h>

#include "apply/server_private.h"

enum syn_code topology_code(enum side side, enum topology_problem problem)
{
    static const enum syn_code codes[][TOPOLOGY_PROBLEM_COUNT] = {
        [SIDE_SOURCE] = {SYN_CODE_SOURCE_STATE, SYN_CODE_SOURCE_PROTOCOL},
        [SIDE_DESTINATION] = {SYN_CODE_DESTINATION_STATE, SYN_CODE_DESTINATION_PROTOCOL},
    };
    return codes[side][problem];
}

uint32_t server_version(const char *text, size_t size)
{
    uint32_t parts[3] = {0};
    size_t pos = 0;
    for (int i = 0; i < 3; i++) {
        size_t digits = 0;
        while (pos + digits < size && text[pos + digits] >= '0' && text[pos + digits] <= '9') {
            digits++;
        }
        uint64_t value;
        if (!num_read_u64(text + pos, digits, &value) || value > 99) {
            break;
        }
        parts[i] = (uint32_t)value;
        pos += digits;
        if (pos == size || text[pos] != '.') {
            break;
        }
        pos++;
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
    server->version = server_version(server->version_text, strlen(server->version_text));
}

/* Versions whose abilities are known. Later ones take more, or other things. */
static bool is_known_version(const struct server *server)
{
    return server->is_valkey ? server->version >= 70200 && server->version < 100000
                             : server->version >= 20600 && server->version < 90000;
}

/* Lines such as "dragonfly_version:…", of things that only speak the protocol. */
static bool has_other_product(const char *info)
{
    static const char *const own[] = {"redis_version", "valkey_version", "gcc_version"};
    static const char suffix[] = "_version:";
    for (const char *found = info; (found = strstr(found, suffix)) != NULL; found++) {
        const char *begin = found;
        while (begin > info && begin[-1] != '\n') {
            begin--;
        }
        size_t size = (size_t)(found - begin) + strlen(suffix) - 1;
        bool is_own = false;
        for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
            is_own = is_own || (strlen(own[i]) == size && memcmp(begin, own[i], size) == 0);
        }
        /* Only a field's name: values may hold anything. */
        if (!is_own && memchr(begin, ':', size) == NULL) {
            return true;
        }
    }
    return false;
}

/* Whether this is an original server of a known version: what those always tell is there, and
 * nothing that others add. Managed services hide or change some of it. */
static bool is_standard(const char *info, const struct server *server)
{
    char text[64];
    bool has_kernel = info_field(info, "os", text, sizeof(text)) &&
                      (strncmp(text, "Linux ", 6) == 0 || strncmp(text, "Darwin ", 7) == 0 ||
                       strstr(text, "BSD ") != NULL);
    /* Valkey 9 has another name for it. */
    bool has_mode = (info_field(info, "redis_mode", text, sizeof(text)) ||
                     info_field(info, "server_mode", text, sizeof(text))) &&
                    (strcmp(text, "standalone") == 0 || strcmp(text, "cluster") == 0);
    return is_known_version(server) && has_kernel && has_mode &&
           info_number(info, "process_id", 0) > 0 && info_field(info, "gcc_version", text, 2) &&
           strlen(server->run_id) == 40 && !has_other_product(info);
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
    info_field(info, "master_replid2", server->replid2, sizeof(server->replid2));
    int64_t offset = info_number(info, "master_repl_offset", 0);
    server->offset = offset > 0 ? (uint64_t)offset : 0;
    read_keyspace(info, server);
    server->is_count_known = server->key_count > 0 || strstr(info, "# Keyspace") != NULL;
    server->is_standard = is_standard(info, server);
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

/* A destination that hides its version is asked for what it takes instead (intake.h); whether it
 * has keys must be known all the same. */
static bool server_without_version(struct control *control, struct server *server)
{
    struct syn_err ignored;
    snprintf(server->version_text, sizeof(server->version_text), "unknown");
    redisReply *reply = server->is_count_known ? NULL : control_ask(control, &ignored, "DBSIZE");
    if (reply != NULL && reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0) {
        server->key_count = (uint64_t)reply->integer;
        server->is_count_known = true;
    }
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return true;
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
    if (server->version == 0 && control->side == SIDE_DESTINATION) {
        return server_without_version(control, server);
    }
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

bool topology_has_spublish(const struct topology *topology)
{
    return topology->version_min >= 70000;
}
