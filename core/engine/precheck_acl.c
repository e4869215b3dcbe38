/*
 * What the accounts may do, asked without doing it.
 *
 * 7.0 and later: ACL DRYRUN says what would happen. 6.0: ACL GETUSER gives the rules, which are
 * read here. Either needs rights of its own (+acl); an account without them is not refused: the
 * handshake, or the first write, will tell. What the source's account needs only for keys that must
 * be read again is told as a warning.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/base/log.h"
#include "core/engine/precheck_private.h"

#define ARGUMENTS_MAX 6

enum need {
    NEEDED,
    NOT_NEEDED,           /* RESTORE: without it all values are rewritten (apply/intake.h) */
    NEEDED_FOR_REWRITING, /* stands behind it in the table                                 */
};

struct probe {
    enum need need;
    const char *name;                /* as in GRANT advice: "psync" */
    const char *categories;          /* of 6.0's ACL CAT */
    const char *argv[ARGUMENTS_MAX]; /* a form with the right number of arguments */
};

static const struct probe source_probes[] = {
    {NEEDED, "psync", "@admin @slow @dangerous @all", {"PSYNC", "?", "-1"}},
    {NEEDED, "replconf", "@admin @slow @dangerous @all", {"REPLCONF", "capa", "psync2"}},
};

static const struct probe destination_probes[] = {
    {NEEDED, "set", "@write @string @slow @all", {"SET", "syncline", "x"}},
    {NEEDED, "del", "@keyspace @write @slow @all", {"DEL", "syncline"}},
    {NEEDED, "pexpireat", "@keyspace @write @fast @all", {"PEXPIREAT", "syncline", "1"}},
    {NEEDED, "hset", "@write @hash @fast @all", {"HSET", "syncline", "f", "v"}},
    {NEEDED, "rpush", "@write @list @fast @all", {"RPUSH", "syncline", "v"}},
    {NEEDED, "sadd", "@write @set @fast @all", {"SADD", "syncline", "v"}},
    {NEEDED, "zadd", "@write @sortedset @fast @all", {"ZADD", "syncline", "1", "v"}},
    {NEEDED, "xadd", "@write @stream @fast @all", {"XADD", "syncline", "1-1", "f", "v"}},
    {NEEDED, "select", "@keyspace @fast @all @connection", {"SELECT", "0"}},
    {NOT_NEEDED,
     "restore",
     "@keyspace @write @slow @dangerous @all",
     {"RESTORE", "syncline", "0", "x", "REPLACE"}},
    {NEEDED_FOR_REWRITING,
     "setrange",
     "@write @string @slow @all",
     {"SETRANGE", "syncline", "0", "v"}},
    {NEEDED_FOR_REWRITING, "xsetid", "@write @stream @fast @all", {"XSETID", "syncline", "1-1"}},
    {NEEDED_FOR_REWRITING,
     "xgroup",
     "@write @stream @slow @all",
     {"XGROUP", "CREATE", "syncline", "g", "0"}},
    {NEEDED_FOR_REWRITING,
     "xclaim",
     "@write @stream @fast @all",
     {"XCLAIM", "syncline", "g", "c", "0", "1-1"}},
    /* Only with rules for types, which make a script of RENAME. */
    {NEEDED, "eval", "@slow @all @scripting", {"EVAL", "return 0", "0"}},
};
#define DESTINATION_PROBES (sizeof(destination_probes) / sizeof(destination_probes[0]))

static const struct probe publish_probes[] = {
    {NEEDED, "publish", "@pubsub @fast @all", {"PUBLISH", "syncline", "x"}},
};

/* Of reading single keys at the source (apply/refetch.h). A task may never need it. */
static const struct probe repair_probes[] = {
    {NEEDED, "dump", "@keyspace @read @slow @all", {"DUMP", "syncline"}},
    {NEEDED, "pttl", "@keyspace @read @fast @all", {"PTTL", "syncline"}},
    {NEEDED, "time", "@fast @all", {"TIME"}},
    {NEEDED, "info", "@slow @dangerous @all", {"INFO", "replication"}},
    {NEEDED, "multi", "@fast @all @transaction", {"MULTI"}},
    {NEEDED, "exec", "@slow @all @transaction", {"EXEC"}},
    {NEEDED, "select", "@keyspace @fast @all @connection", {"SELECT", "0"}},
    /* Only in a cluster. */
    {NEEDED, "readonly", "@keyspace @fast @all @connection", {"READONLY"}},
};
#define REPAIR_PROBES (sizeof(repair_probes) / sizeof(repair_probes[0]))

enum allowance { ALLOWED, FORBIDDEN, NOT_TOLD };

/* The account on one connection. */
struct account {
    char user[128];
    char rules[2048]; /* of 6.0; empty: not told */
    bool has_dryrun;
    bool is_told; /* there are accounts, and this one may be asked about */
};

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

static bool account_open(struct control *control,
                         const struct server *server,
                         struct account *account,
                         struct syn_err *err)
{
    bool is_named;
    *account = (struct account){.has_dryrun = server->version >= 70000};
    if (server->version < 60000) {
        return true; /* no ACLs */
    }
    account->is_told = true;
    return account_name(control, account->user, &is_named, err) &&
           (account->has_dryrun ||
            rules_read(control, account->user, account->rules, sizeof(account->rules), err));
}

static bool account_probe(struct control *control,
                          const struct account *account,
                          const struct probe *probe,
                          enum allowance *allowance,
                          struct syn_err *err)
{
    *allowance = NOT_TOLD;
    if (account->has_dryrun) {
        return probe_dryrun(control, account->user, probe, allowance, err);
    }
    if (account->rules[0] != '\0') {
        bool ok = acl_rules_allow(account->rules, probe->name, probe->categories);
        *allowance = ok ? ALLOWED : FORBIDDEN;
    }
    return true;
}

static bool account_check(struct control *control,
                          const struct account *account,
                          const struct probe *probes,
                          size_t probe_count,
                          struct syn_err *err)
{
    bool is_rewriting = false;
    for (size_t i = 0; account->is_told && i < probe_count; i++) {
        enum allowance allowance;
        if (probes[i].need == NEEDED_FOR_REWRITING && !is_rewriting) {
            continue;
        }
        if (!account_probe(control, account, &probes[i], &allowance, err)) {
            return false;
        }
        if (allowance == FORBIDDEN && probes[i].need == NOT_NEEDED) {
            is_rewriting = true;
        } else if (allowance == FORBIDDEN) {
            return forbidden(control, account->user, &probes[i], err);
        }
    }
    return true;
}

/* ---- repairs ---- */

/* `lacks`: " +dump +pttl". */
static void repairs_warn(const struct config *config,
                         const struct control *control,
                         const struct account *account,
                         const char *lacks)
{
    char text[ENDPOINT_TEXT_MAX];
    bool has_policy = config->on_divergence == DIVERGENCE_REFETCH;
    log_warning(
        "source %s: the account \"%.64s\" may not read single keys (it lacks%s), so the task "
        "stops where one is to be read again: left uncertain by an interruption%s%s, or "
        "written by a command that cannot be repeated at the destination; grant it with ACL "
        "SETUSER %.64s%s%s",
        endpoint_text(&control->endpoint, text),
        account->user,
        lacks,
        has_policy ? ", not as it was at the source (divergence)" : "",
        config->select.is_active ? ", computed from keys that the rules leave out" : "",
        account->user,
        lacks,
        has_policy ? "; --on-divergence count leaves keys that diverge as they are" : "");
}

/* Nothing stops because of it: what is copied and followed needs none of them. */
static bool repairs_check(const struct config *config,
                          struct control *control,
                          const struct account *account,
                          bool is_cluster,
                          struct syn_err *err)
{
    char lacks[16 * REPAIR_PROBES];
    size_t size = 0;
    lacks[0] = '\0';
    size_t count = is_cluster ? REPAIR_PROBES : REPAIR_PROBES - 1;
    for (size_t i = 0; account->is_told && i < count; i++) {
        enum allowance allowance;
        if (!account_probe(control, account, &repair_probes[i], &allowance, err)) {
            return false;
        }
        if (allowance == FORBIDDEN) {
            size +=
                (size_t)snprintf(lacks + size, sizeof(lacks) - size, " +%s", repair_probes[i].name);
            ASSERT(size < sizeof(lacks));
        }
    }
    if (size > 0) {
        repairs_warn(config, control, account, lacks);
    }
    return true;
}

/* ---- all servers ---- */

static bool topology_check(const struct config *config,
                           const struct topology *topology,
                           const struct probe *probes,
                           size_t probe_count,
                           struct syn_err *err)
{
    bool has_repairs = topology->side == SIDE_SOURCE && config->mode != SYNC_SNAPSHOT_ONLY;
    for (uint32_t i = 0; i < topology->shard_count; i++) {
        const struct server *server = &topology->shards[i].server;
        struct account account;
        struct control control;
        if (!control_open(&control,
                          &server->endpoint,
                          topology->side,
                          (int)config->connect_timeout_ms,
                          err)) {
            return false;
        }
        bool ok =
            account_open(&control, server, &account, err) &&
            account_check(&control, &account, probes, probe_count, err) &&
            (!has_repairs || repairs_check(config, &control, &account, topology->is_cluster, err));
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
    bool has_scripts = config->select.is_active && config->select.kinds != SELECT_KINDS_ALL &&
                       config->mode != SYNC_SNAPSHOT_ONLY;
    return topology_check(config,
                          destination,
                          destination_probes,
                          DESTINATION_PROBES - (has_scripts ? 0 : 1),
                          err) &&
           (!config->publishes || topology_check(config,
                                                 destination,
                                                 publish_probes,
                                                 sizeof(publish_probes) / sizeof(publish_probes[0]),
                                                 err));
}
