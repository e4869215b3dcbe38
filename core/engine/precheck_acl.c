/*
 * What the accounts may do, asked without doing it.
 *
 * 7.0 and later: ACL DRYRUN says what would happen. 6.0: ACL GETUSER gives the rules, which are
 * read here. Either needs rights of its own (+acl); an account without them is not refused: the
 * handshake, or the first write, will tell.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/engine/precheck_private.h"

#define ARGUMENTS_MAX 6

struct probe {
    const char *name;                /* as in GRANT advice: "psync" */
    const char *categories;          /* of 6.0's ACL CAT */
    const char *argv[ARGUMENTS_MAX]; /* a form with the right number of arguments */
};

static const struct probe source_probes[] = {
    {"psync", "@admin @slow @dangerous @all", {"PSYNC", "?", "-1"}},
    {"replconf", "@admin @slow @dangerous @all", {"REPLCONF", "capa", "psync2"}},
};

/* Without RESTORE everything is rewritten as commands (apply/intake.h). */
static const struct probe destination_probes[] = {
    {"set", "@write @string @slow @all", {"SET", "syncline", "x"}},
    {"del", "@keyspace @write @slow @all", {"DEL", "syncline"}},
    {"pexpireat", "@keyspace @write @fast @all", {"PEXPIREAT", "syncline", "1"}},
    {"hset", "@write @hash @fast @all", {"HSET", "syncline", "f", "v"}},
    {"rpush", "@write @list @fast @all", {"RPUSH", "syncline", "v"}},
    {"sadd", "@write @set @fast @all", {"SADD", "syncline", "v"}},
    {"zadd", "@write @sortedset @fast @all", {"ZADD", "syncline", "1", "v"}},
    {"xadd", "@write @stream @fast @all", {"XADD", "syncline", "1-1", "f", "v"}},
    {"select", "@keyspace @fast @all @connection", {"SELECT", "0"}},
};

static const struct probe publish_probes[] = {
    {"publish", "@pubsub @fast @all", {"PUBLISH", "syncline", "x"}},
};

enum allowance { ALLOWED, FORBIDDEN, NOT_TOLD };

static bool has_word(const char *list, const char *word, size_t word_size)
{
    for (const char *p = list; *p != '\0';) {
        size_t size = strcspn(p, " ");
        if (size == word_size && strncasecmp(p, word, size) == 0) {
            return true;
        }
        p += size;
        p += strspn(p, " ");
    }
    return false;
}

bool acl_rules_allow(const char *rules, const char *command, const char *categories)
{
    bool is_allowed = false;
    for (const char *p = rules; *p != '\0';) {
        size_t size = strcspn(p, " ");
        if (size > 1 && (*p == '+' || *p == '-')) {
            const char *name = p + 1;
            bool is_hit = *name == '@' ? has_word(categories, name, size - 1)
                                       : has_word(command, name, size - 1);
            if (is_hit) {
                is_allowed = *p == '+';
            }
        } else if (size == 11 && strncasecmp(p, "allcommands", size) == 0) {
            is_allowed = true;
        } else if (size == 10 && strncasecmp(p, "nocommands", size) == 0) {
            is_allowed = false;
        }
        p += size;
        p += strspn(p, " ");
    }
    return is_allowed;
}

/* The name of the account on this connection. False with err: the connection broke. */
static bool
account_name(struct control *control, char name[static 128], bool *is_told, struct syn_err *err)
{
    *is_told = false;
    const char *user = control->endpoint.password[0] != '\0' ? control->endpoint.user : "";
    snprintf(name, 128, "%s", user[0] != '\0' ? user : "default");
    const char *argv[] = {"ACL", "WHOAMI"};
    redisReply *reply = control_call(control, 2, argv, NULL, err);
    if (reply == NULL) {
        return false;
    }
    if (reply->type == REDIS_REPLY_STRING && reply->len < 128) {
        memcpy(name, reply->str, reply->len + 1);
        *is_told = true;
    }
    freeReplyObject(reply);
    return true;
}

/* ACL DRYRUN's answer: OK, or one sentence in a string; an error when DRYRUN itself is refused. */
static enum allowance dryrun_read(const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_STATUS) {
        return ALLOWED;
    }
    if (reply->type != REDIS_REPLY_STRING) {
        return NOT_TOLD;
    }
    /* Only the command counts: our key name says nothing about the names of the source's keys. */
    return strstr(reply->str, " run the ") != NULL ? FORBIDDEN : NOT_TOLD;
}

static bool probe_dryrun(struct control *control,
                         const char *user,
                         const struct probe *probe,
                         enum allowance *allowance,
                         struct syn_err *err)
{
    const char *argv[3 + ARGUMENTS_MAX] = {"ACL", "DRYRUN", user};
    int argc = 3;
    for (int i = 0; i < ARGUMENTS_MAX && probe->argv[i] != NULL; i++) {
        argv[argc++] = probe->argv[i];
    }
    redisReply *reply = control_call(control, argc, argv, NULL, err);
    if (reply == NULL) {
        return false;
    }
    *allowance = dryrun_read(reply);
    freeReplyObject(reply);
    return true;
}

/* The "commands" of ACL GETUSER into rules; empty when not told. */
static bool
rules_read(struct control *control, const char *user, char *rules, size_t size, struct syn_err *err)
{
    rules[0] = '\0';
    const char *argv[] = {"ACL", "GETUSER", user};
    redisReply *reply = control_call(control, 3, argv, NULL, err);
    if (reply == NULL) {
        return false;
    }
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i + 1 < reply->elements; i += 2) {
        const redisReply *name = reply->element[i];
        const redisReply *value = reply->element[i + 1];
        bool is_commands = name->str != NULL && strcmp(name->str, "commands") == 0;
        /* Rules that would be cut could end in the wrong answer: better none. */
        if (is_commands && value->str != NULL && value->len < size) {
            memcpy(rules, value->str, value->len + 1);
        }
    }
    freeReplyObject(reply);
    return true;
}

static bool forbidden(const struct control *control,
                      const char *user,
                      const struct probe *probe,
                      struct syn_err *err)
{
    char text[ENDPOINT_TEXT_MAX];
    bool is_source = control->side == SIDE_SOURCE;
    return ERR(err,
               is_source ? SYN_CODE_SOURCE_AUTH : SYN_CODE_DESTINATION_AUTH,
               "%s %s: the account \"%.64s\" lacks the permission for %s (NOPERM), without which "
               "the %s; grant it with ACL SETUSER %.64s +%s, or use another account",
               side_name(control->side),
               endpoint_text(&control->endpoint, text),
               user,
               probe->name,
               is_source ? "source cannot be followed" : "data cannot be written",
               user,
               probe->name);
}

static bool account_check(struct control *control,
                          const struct server *server,
                          const struct probe *probes,
                          size_t probe_count,
                          struct syn_err *err)
{
    char user[128];
    bool is_told;
    if (server->version < 60000) {
        return true; /* no ACLs */
    }
    if (!account_name(control, user, &is_told, err)) {
        return false;
    }
    char rules[2048];
    bool has_dryrun = server->version >= 70000;
    if (!has_dryrun && !rules_read(control, user, rules, sizeof(rules), err)) {
        return false;
    }
    for (size_t i = 0; i < probe_count; i++) {
        enum allowance allowance = NOT_TOLD;
        if (has_dryrun) {
            if (!probe_dryrun(control, user, &probes[i], &allowance, err)) {
                return false;
            }
        } else if (rules[0] != '\0') {
            bool ok = acl_rules_allow(rules, probes[i].name, probes[i].categories);
            allowance = ok ? ALLOWED : FORBIDDEN;
        }
        if (allowance == FORBIDDEN) {
            return forbidden(control, user, &probes[i], err);
        }
    }
    return true;
}

static bool topology_check(const struct config *config,
                           const struct topology *topology,
                           const struct probe *probes,
                           size_t probe_count,
                           struct syn_err *err)
{
    for (uint32_t i = 0; i < topology->shard_count; i++) {
        const struct server *server = &topology->shards[i].server;
        struct control control;
        if (!control_open(&control,
                          &server->endpoint,
                          topology->side,
                          (int)config->connect_timeout_ms,
                          err)) {
            return false;
        }
        bool ok = account_check(&control, server, probes, probe_count, err);
        control_close(&control);
        if (!ok) {
            return false;
        }
    }
    return true;
}

bool precheck_source_account(const struct config *config,
                             const struct topology *source,
                             struct syn_err *err)
{
    return topology_check(
        config, source, source_probes, sizeof(source_probes) / sizeof(source_probes[0]), err);
}

bool precheck_destination_account(const struct config *config,
                                  const struct topology *destination,
                                  struct syn_err *err)
{
    return topology_check(config,
                          destination,
                          destination_probes,
                          sizeof(destination_probes) / sizeof(destination_probes[0]),
                          err) &&
           (!config->publishes || topology_check(config,
                                                 destination,
                                                 publish_probes,
                                                 sizeof(publish_probes) / sizeof(publish_probes[0]),
                                                 err));
}
