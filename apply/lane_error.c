#include "apply/lane_error.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* The operation's own words, read back from the batch: only a failure pays for them. */
struct op_text {
    char command[48];
    char key[48];
    char type[48];
};

static bool op_arg(const uint8_t **at, const uint8_t *end, struct slice *arg)
{
    const uint8_t *p = *at;
    if (p >= end || *p != '$') {
        return false;
    }
    size_t size = 0;
    for (p++; p < end && isdigit(*p); p++) {
        size = size * 10 + (size_t)(*p - '0');
        if (size > UINT32_MAX) {
            return false;
        }
    }
    if (end - p < 2) {
        return false;
    }
    p += 2;
    arg->bytes = p;
    arg->size = size;
    if ((size_t)(end - p) < size + 2) {
        arg->size = (size_t)(end - p); /* the rest is in the next batch */
        *at = end;
        return true;
    }
    *at = p + size + 2;
    return true;
}

static void op_describe(const struct batch *batch, const struct op *op, struct op_text *text)
{
    memset(text, 0, sizeof(*text));
    snprintf(text->command, sizeof(text->command), "a command");
    if (batch == NULL || op->pos < BATCH_PREFIX) {
        return; /* it began in a batch that is gone */
    }
    const uint8_t *at = batch->bytes + op->pos;
    const uint8_t *end = batch->bytes + batch->end;
    at = memchr(at, '\n', (size_t)(end - at));
    struct slice name = {0};
    struct slice key = {0};
    struct slice arg = {0};
    if (at == NULL || (at++, !op_arg(&at, end, &name))) {
        return;
    }
    snprintf(text->command,
             sizeof(text->command),
             "%.*s",
             (int)(name.size < 32 ? name.size : 32),
             (const char *)name.bytes);
    for (char *c = text->command; *c != '\0'; c++) {
        *c = isprint((unsigned char)*c) ? (char)toupper((unsigned char)*c) : '?';
    }
    if (!op_arg(&at, end, &key)) {
        return;
    }
    snprintf(text->key,
             sizeof(text->key),
             ", key hash %016llx",
             (unsigned long long)key_hash(key.bytes, key.size));
    if (strcmp(text->command, "RESTORE") == 0 && op_arg(&at, end, &arg) && op_arg(&at, end, &arg) &&
        arg.size > 0) {
        snprintf(text->type, sizeof(text->type), " of a %s", rdb_type_name(arg.bytes[0]));
    }
}

static enum syn_code reply_code(const char *text)
{
    if (strncmp(text, "NOAUTH", 6) == 0 || strncmp(text, "NOPERM", 6) == 0 ||
        strncmp(text, "WRONGPASS", 9) == 0) {
        return SYN_CODE_DESTINATION_AUTH;
    }
    static const char *const states[] = {"LOADING",
                                         "READONLY",
                                         "CLUSTERDOWN",
                                         "MISCONF",
                                         "OOM",
                                         "BUSY ",
                                         "MOVED",
                                         "ASK ",
                                         "TRYAGAIN",
                                         "MASTERDOWN",
                                         "NOREPLICAS"};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (strncmp(text, states[i], strlen(states[i])) == 0) {
            return SYN_CODE_DESTINATION_STATE;
        }
    }
    return SYN_CODE_DESTINATION_REPLY;
}

static const char *reply_advice(const char *text)
{
    static const struct {
        const char *prefix;
        const char *advice;
    } table[] = {
        {"OOM", "; raise the destination's maxmemory and start again"},
        {"MISCONF", "; mend the destination's persistence (see its log) and start again"},
        {"READONLY", "; the destination failed over: start again with its new master"},
        {"MOVED", "; the destination's slots moved: start again when its topology is stable"},
        {"ASK ", "; the destination's slots are moving: start again when its topology is stable"},
        {"NOPERM", "; grant the destination's user this command"},
        {"ERR Bad data format",
         "; the destination cannot load this value: is a module missing there?"},
        {"ERR DUMP payload", "; the destination cannot load this value's RDB version"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strncmp(text, table[i].prefix, strlen(table[i].prefix)) == 0) {
            return table[i].advice;
        }
    }
    return "";
}

/* Server texts are printable lines; anything else does not reach a terminal or a log. */
static void reply_text(const struct reply *reply, char *out, size_t size)
{
    size_t count = reply->text_size < size - 1 ? reply->text_size : size - 1;
    for (size_t i = 0; i < count; i++) {
        out[i] = isprint((unsigned char)reply->text[i]) ? reply->text[i] : '?';
    }
    out[count] = '\0';
    /* "unknown command 'x', with args beginning with: 'key' …" shows what nobody may see. */
    char *args = strstr(out, ", with args beginning with");
    if (args != NULL) {
        *args = '\0';
    }
}

/* Before 5.0 a script that wrote and then failed is in the stream as it is: replicas run it again,
 * fail as the master did, and are equal. Whether an error is of that kind, and not because of the
 * state of this server or the rights of this account. */
static bool script_error_fits(const struct reply *reply)
{
    /* Anywhere in the text: what redis.call raised is wrapped in other words by some versions. */
    static const char *const words[] = {"LOADING ",
                                        "READONLY ",
                                        "CLUSTERDOWN ",
                                        "MISCONF ",
                                        "OOM ",
                                        "BUSY ",
                                        "MOVED ",
                                        "ASK ",
                                        "TRYAGAIN ",
                                        "MASTERDOWN ",
                                        "NOREPLICAS ",
                                        "NOSCRIPT ",
                                        "NOPERM ",
                                        "NOAUTH ",
                                        "unknown command",
                                        "Unknown Redis command",
                                        "Write commands not allowed"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (memmem(reply->text, reply->text_size, words[i], strlen(words[i])) != NULL) {
            return false;
        }
    }
    return reply->text_size > 0;
}

static bool reply_begins(const struct reply *reply, const char *words)
{
    size_t size = strlen(words);
    return reply->text_size >= size && memcmp(reply->text, words, size) == 0;
}

/* Not one that tells of the state of this server, in which the command did not run at all. */
static bool is_of_keys_or_command(const struct reply *reply)
{
    char text[REPLY_TEXT_MAX + 1];
    reply_text(reply, text, sizeof(text));
    return reply_code(text) != SYN_CODE_DESTINATION_STATE;
}

/* An error that a command gets because of what its keys hold, so that at the source they held
 * something else. Others say that the command is not for this server, or that the server is in a
 * state in which it takes none. */
static bool is_of_keys(const struct reply *reply)
{
    static const char *const others[] = {"ERR unknown",
                                         "ERR wrong number",
                                         "ERR syntax",
                                         "ERR DB index",
                                         "ERR SELECT",
                                         "ERR Protocol",
                                         "ERR This instance",
                                         "ERR This Redis",
                                         "NOSCRIPT",
                                         "CROSSSLOT",
                                         "EXECABORT",
                                         "DENIED"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (reply_begins(reply, others[i])) {
            return false;
        }
    }
    char text[REPLY_TEXT_MAX + 1];
    reply_text(reply, text, sizeof(text));
    return reply_code(text) == SYN_CODE_DESTINATION_REPLY;
}

static enum op_refusal
live_refusal(const struct lane *lane, const struct op *op, const struct reply *reply)
{
    if (op->answer == COMMAND_ANSWER_NONE || !op->is_live || lane_reply_fits(op, reply)) {
        return REFUSAL_NONE;
    }
    if (op->kind == OP_SCRIPT) {
        return script_error_fits(reply) ? REFUSAL_SCRIPT : REFUSAL_NONE;
    }
    if (op->kind == OP_COMMAND && op->answer == COMMAND_ANSWER_EACH &&
        lane_answer_is_partial(reply)) {
        return REFUSAL_PARTIAL;
    }
    if (op->kind != OP_COMMAND || lane->on_divergence == DIVERGENCE_STOP) {
        return REFUSAL_NONE;
    }
    if (reply->kind != REPLY_ERROR) {
        return REFUSAL_NO_EFFECT;
    }
    return is_of_keys(reply) ? REFUSAL_STATE : REFUSAL_NONE;
}

/* The first ones are told; all are counted. */
static void divergence_log(struct lane *lane,
                           const struct batch *batch,
                           const struct op *op,
                           const struct reply *reply)
{
    if (lane->divergences_logged == LANE_DIVERGENCES_LOGGED) {
        return;
    }
    lane->divergences_logged++;
    struct syn_err err;
    (void)lane_refused(lane, batch, op, reply, &err);
    log_warning("%s; %s%s",
                err.msg,
                lane->on_divergence == DIVERGENCE_REFETCH ? "its keys are read again at the source"
                                                          : "its keys stay as they are",
                lane->divergences_logged == LANE_DIVERGENCES_LOGGED
                    ? " (later ones are only counted)"
                    : "");
}

enum op_refusal lane_diverged(struct lane *lane,
                              const struct batch *batch,
                              const struct op *op,
                              const struct reply *reply)
{
    enum op_refusal refusal = live_refusal(lane, op, reply);
    if (refusal != REFUSAL_NONE && refusal != REFUSAL_PARTIAL) {
        divergence_log(lane, batch, op, reply);
    }
    return refusal;
}

bool lane_sets_aside(struct lane *lane,
                     struct batch *batch,
                     struct op *op,
                     const struct reply *reply)
{
    enum op_refusal refusal = lane_diverged(lane, batch, op, reply);
    if (refusal != REFUSAL_NONE) {
        op->refusal = (uint8_t)refusal;
        batch->refused_count++;
        return true;
    }
    if (op->kind == OP_ASK && reply->kind == REPLY_ERROR &&
        lane->on_divergence != DIVERGENCE_STOP && is_of_keys(reply)) {
        return true; /* the answer is nil, as of a key that is not there: relay.h */
    }
    if (op->kind == OP_TOLERANT && is_of_keys_or_command(reply)) {
        return true;
    }
    if (op->kind == OP_SCRIPT && script_error_fits(reply)) {
        return true; /* one that cannot be compiled fails as its EVAL will */
    }
    if (op->kind == OP_CLAIM && reply->kind == REPLY_ARRAY && reply->error_count == 0 &&
        reply->integer < (int64_t)op->key_count) {
        op->refusal = REFUSAL_CLAIMS;
        op->key_count -= (uint32_t)reply->integer;
        batch->refused_count++;
        return true;
    }
    if (op->kind != OP_RESTORE || reply->kind != REPLY_ERROR) {
        return false;
    }
    if (reply_begins(reply, "ERR DUMP payload version")) {
        op->refusal = REFUSAL_VERSION;
    } else if (reply_begins(reply, "ERR Bad data format") ||
               reply_begins(reply, "ERR Unsupported foreign data type")) {
        op->refusal = REFUSAL_DATA;
    } else {
        return false;
    }
    op->key_count = 0; /* no key was written */
    batch->refused_count++;
    return true;
}

static void answer_text(const struct op *op, const struct reply *reply, char *out, size_t size)
{
    bool is_empty = op->is_live && !lane_answer_fits((enum command_answer)op->answer, reply);
    snprintf(out, size, "%s", is_empty ? "it changed nothing" : "an answer of the wrong kind");
}

bool lane_refused(const struct lane *lane,
                  const struct batch *batch,
                  const struct op *op,
                  const struct reply *reply,
                  struct syn_err *err)
{
    char answer[160];
    struct op_text text;
    reply_text(reply, answer, sizeof(answer));
    op_describe(batch, op, &text);
    if (reply->text_size == 0) {
        answer_text(op, reply, answer, sizeof(answer));
    }
    char slot[32] = "";
    if (op->slot != SLOT_NONE) {
        snprintf(slot, sizeof(slot), ", slot %u", op->slot);
    }
    return ERR(err,
               reply_code(answer),
               "destination %s refused %s%s (stream %u, %s %llu%s%s): %s%s",
               lane->endpoint_text,
               text.command,
               text.type,
               op->stream,
               op->is_live ? "offset" : "snapshot byte",
               (unsigned long long)op->offset,
               slot,
               text.key,
               answer,
               reply_advice(answer));
}

bool lane_select_refused(const struct lane *lane,
                         const struct batch *batch,
                         const struct reply *reply,
                         struct syn_err *err)
{
    char answer[160];
    reply_text(reply, answer, sizeof(answer));
    return ERR(
        err,
        SYN_CODE_DESTINATION_REPLY,
        "destination %s refused SELECT %u: %s; raise its `databases` or choose databases with "
        "--db or --db-map",
        lane->endpoint_text,
        batch->db_first,
        answer);
}

bool lane_unexpected(const struct lane *lane, const struct reply *reply, struct syn_err *err)
{
    char answer[160];
    reply_text(reply, answer, sizeof(answer));
    return ERR(err,
               SYN_CODE_DESTINATION_PROTOCOL,
               "destination %s answered what was not asked: %s",
               lane->endpoint_text,
               answer);
}

bool lane_lost(const struct lane *lane, int number, struct syn_err *err)
{
    if (number != 0) {
        return ERR_SYS(err,
                       SYN_CODE_DESTINATION_CONNECT,
                       number,
                       "the connection to destination %s is lost",
                       lane->endpoint_text);
    }
    return ERR(
        err,
        SYN_CODE_DESTINATION_CONNECT,
        "destination %s closed the connection; look at its log, and start again when it is back",
        lane->endpoint_text);
}
