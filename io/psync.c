#include "io/psync.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 160 /* of a peer's line in a message */

static size_t words_encode(uint8_t out[PSYNC_REQUEST_MAX], const char *const *words, size_t count)
{
    int head = snprintf((char *)out, PSYNC_REQUEST_MAX, "*%zu\r\n", count);
    ASSERT(head > 0);
    size_t size = (size_t)head;
    for (size_t i = 0; i < count; i++) {
        size_t room = PSYNC_REQUEST_MAX - size;
        int added =
            snprintf((char *)out + size, room, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
        ASSERT(added > 0);
        ASSERT((size_t)added < room);
        size += (size_t)added;
    }
    return size;
}

size_t psync_request(enum psync_step step,
                     const struct endpoint *endpoint,
                     const char *replid,
                     uint64_t offset,
                     uint8_t out[PSYNC_REQUEST_MAX])
{
    static const char *const ping[] = {"PING"};
    static const char *const capa[] = {"REPLCONF", "capa", "eof", "capa", "psync2"};
    static const char *const version[] = {"REPLCONF", "version", PSYNC_VERSION};
    static const char *const full[] = {"PSYNC", "?", "-1"};
    switch (step) {
    case PSYNC_STEP_AUTH:
        return endpoint_auth_encode(endpoint, out);
    case PSYNC_STEP_PING:
        return words_encode(out, ping, 1);
    case PSYNC_STEP_CAPA:
        return words_encode(out, capa, 5);
    case PSYNC_STEP_VERSION:
        return words_encode(out, version, 3);
    case PSYNC_STEP_PSYNC:
        if (replid[0] == '\0') {
            return words_encode(out, full, 3);
        } else {
            char next[NUM_DIGITS_MAX + 1];
            next[num_write_u64(next, offset + 1)] = '\0';
            return words_encode(out, (const char *const[]){"PSYNC", replid, next}, 3);
        }
    case PSYNC_STEP_PAYLOAD:
        break;
    }
    return 0;
}

size_t psync_ack(uint64_t offset, uint8_t out[PSYNC_REQUEST_MAX])
{
    char text[NUM_DIGITS_MAX + 1];
    text[num_write_u64(text, offset)] = '\0';
    return words_encode(out, (const char *const[]){"REPLCONF", "ACK", text}, 3);
}

static const char *step_name(enum psync_step step)
{
    static const char *const names[] = {
        "AUTH", "PING", "REPLCONF capa", "REPLCONF version", "PSYNC", "PSYNC (snapshot)"};
    return names[step];
}

/* A peer's bytes for a message: cut, and nothing that could disturb a terminal. */
static const char *line_text(const char *line, size_t size, char text[TEXT_MAX + 1])
{
    size_t length = size < TEXT_MAX ? size : TEXT_MAX;
    for (size_t i = 0; i < length; i++) {
        text[i] = isprint((unsigned char)line[i]) ? line[i] : '?';
    }
    text[length] = '\0';
    return text;
}

static bool line_starts(const char *line, size_t size, const char *prefix)
{
    size_t length = strlen(prefix);
    return size >= length && strncasecmp(line, prefix, length) == 0;
}

/* What no later step can change, by the beginning of the error line. First match counts. */
static const struct error_rule {
    const char *prefix;
    enum syn_code code;
    const char *advice;
} error_rules[] = {
    {"-NOAUTH", SYN_CODE_SOURCE_AUTH, "it needs a password: add it to the source URI"},
    {"-ERR operation not permitted",
     SYN_CODE_SOURCE_AUTH,
     "it needs a password: add it to the source URI"},
    {"-WRONGPASS",
     SYN_CODE_SOURCE_AUTH,
     "the user name or the password in the source URI is wrong, or the user is disabled"},
    {"-ERR invalid password", SYN_CODE_SOURCE_AUTH, "the password in the source URI is wrong"},
    {"-NOPERM",
     SYN_CODE_SOURCE_AUTH,
     "the user lacks permissions: give it +psync +replconf +ping on the source"},
    {"-DENIED",
     SYN_CODE_SOURCE_AUTH,
     "the server is in protected mode: set a password on it, or let it listen to this host"},
    {"-LOADING", SYN_CODE_SOURCE_STATE, "it is loading its data"},
    {"-MASTERDOWN", SYN_CODE_SOURCE_STATE, "it is a replica whose link to its master is down"},
    {"-NOMASTERLINK", SYN_CODE_SOURCE_STATE, "it is a replica whose link to its master is down"},
    {"-ERR Can't SYNC while not connected with my master",
     SYN_CODE_SOURCE_STATE,
     "it is a replica whose link to its master is down"},
    {"-BUSY", SYN_CODE_SOURCE_STATE, "a script blocks it"},
    {"-ERR max number of clients", SYN_CODE_SOURCE_STATE, "raise maxclients on the source"},
    {"-ERR BGSAVE failed",
     SYN_CODE_SOURCE_STATE,
     "it could not start a snapshot: see its log, often memory or disk space"},
    {"-ERR SYNC and PSYNC are invalid with pending output",
     SYN_CODE_SOURCE_STATE,
     "the connection has to be made again"},
};

/* True: err is filled. */
static bool error_is_known(enum psync_step step,
                           const struct endpoint *endpoint,
                           const char *line,
                           size_t size,
                           struct syn_err *err)
{
    char name[ENDPOINT_TEXT_MAX];
    char text[TEXT_MAX + 1];
    for (size_t i = 0; i < sizeof(error_rules) / sizeof(error_rules[0]); i++) {
        const struct error_rule *rule = &error_rules[i];
        if (line_starts(line, size, rule->prefix)) {
            ERR(err,
                rule->code,
                "%s answered %s with \"%s\": %s",
                endpoint_text(endpoint, name),
                step_name(step),
                line_text(line, size, text),
                rule->advice);
            return true;
        }
    }
    return false;
}

static bool error_not_redis(enum psync_step step,
                            const struct endpoint *endpoint,
                            const char *line,
                            size_t size,
                            struct syn_err *err)
{
    char name[ENDPOINT_TEXT_MAX];
    char text[TEXT_MAX + 1];
    const char *guess = "it is not a Redis or Valkey server; check host and port";
    if (line_starts(line, size, "HTTP/")) {
        guess = "it is a web server, not a Redis or Valkey server; check host and port";
    } else if (size > 0 && line[0] == 0x15) {
        guess = "it speaks TLS; give the port of the plain protocol";
    }
    return ERR(err,
               SYN_CODE_SOURCE_PROTOCOL,
               "%s answered %s with \"%s\": %s",
               endpoint_text(endpoint, name),
               step_name(step),
               line_text(line, size, text),
               guess);
}

bool psync_reply(enum psync_step step,
                 const struct endpoint *endpoint,
                 const char *line,
                 size_t size,
                 struct syn_err *err)
{
    ASSERT(step < PSYNC_STEP_PSYNC);
    char name[ENDPOINT_TEXT_MAX];
    char text[TEXT_MAX + 1];
    if (line_starts(line, size, step == PSYNC_STEP_PING ? "+PONG" : "+OK")) {
        return true;
    }
    if (size == 0 || line[0] != '-') {
        return error_not_redis(step, endpoint, line, size, err);
    }
    /* A user may be allowed to replicate and not to ping. */
    if (step == PSYNC_STEP_PING && line_starts(line, size, "-NOPERM")) {
        return true;
    }
    if (error_is_known(step, endpoint, line, size, err)) {
        return false;
    }
    if (step == PSYNC_STEP_CAPA || step == PSYNC_STEP_VERSION) {
        return true; /* the option is not known to this server, and not needed for it */
    }
    if (step == PSYNC_STEP_AUTH) {
        return ERR(err,
                   SYN_CODE_SOURCE_AUTH,
                   "%s answered AUTH with \"%s\": correct or remove the credentials in the source "
                   "URI (servers before Redis 6 take no user name)",
                   endpoint_text(endpoint, name),
                   line_text(line, size, text));
    }
    return error_not_redis(step, endpoint, line, size, err);
}

/* A replication id at the start of text, then nothing or a space; returns what follows the id. */
static const char *replid_read(const char *text, const char *end, char replid[REPLID_SIZE + 1])
{
    if (end - text < REPLID_SIZE || (end - text > REPLID_SIZE && text[REPLID_SIZE] != ' ')) {
        return NULL;
    }
    for (size_t i = 0; i < REPLID_SIZE; i++) {
        if (!isalnum((unsigned char)text[i])) {
            return NULL;
        }
    }
    memcpy(replid, text, REPLID_SIZE);
    replid[REPLID_SIZE] = '\0';
    return text + REPLID_SIZE;
}

static bool fullresync_read(const char *text, const char *end, struct psync_answer *answer)
{
    const char *number = replid_read(text, end, answer->replid);
    if (number == NULL || number == end) {
        return false;
    }
    number++;
    const char *stop = memchr(number, ' ', (size_t)(end - number));
    size_t digits = (size_t)((stop != NULL ? stop : end) - number);
    /* An offset near the maximum could not be counted on from. */
    return num_read_u64(number, digits, &answer->offset) && answer->offset < (uint64_t)INT64_MAX;
}

bool psync_answer(const struct endpoint *endpoint,
                  const char *line,
                  size_t size,
                  struct psync_answer *answer,
                  struct syn_err *err)
{
    static const char full[] = "+FULLRESYNC ";
    static const char partial[] = "+CONTINUE";
    char name[ENDPOINT_TEXT_MAX];
    char text[TEXT_MAX + 1];
    const char *end = line + size;
    memset(answer, 0, sizeof(*answer));
    if (line_starts(line, size, full) && fullresync_read(line + sizeof(full) - 1, end, answer)) {
        answer->is_full = true;
        answer->has_replid = true;
        return true;
    }
    if (line_starts(line, size, partial)) {
        const char *rest = line + sizeof(partial) - 1;
        while (rest < end && *rest == ' ') {
            rest++;
        }
        if (rest == end) {
            return true;
        }
        if (rest[-1] == ' ' && replid_read(rest, end, answer->replid) != NULL) {
            answer->has_replid = true;
            return true;
        }
    }
    if (size > 0 && line[0] == '-') {
        if (error_is_known(PSYNC_STEP_PSYNC, endpoint, line, size, err)) {
            return false;
        }
        if (line_starts(line, size, "-ERR unknown command")) {
            return ERR(err,
                       SYN_CODE_SOURCE_PROTOCOL,
                       "%s does not know PSYNC (\"%s\"): connect to a Redis 2.8 or newer or a "
                       "Valkey itself, not to a proxy or a service that hides replication",
                       endpoint_text(endpoint, name),
                       line_text(line, size, text));
        }
        /* Errors nobody has listed are mostly passing conditions: retry_ms bounds the trying. */
        return ERR(err,
                   SYN_CODE_SOURCE_STATE,
                   "%s refused PSYNC: \"%s\"",
                   endpoint_text(endpoint, name),
                   line_text(line, size, text));
    }
    return error_not_redis(PSYNC_STEP_PSYNC, endpoint, line, size, err);
}

bool psync_payload(const struct endpoint *endpoint,
                   const char *line,
                   size_t size,
                   struct chunk_session *session,
                   struct syn_err *err)
{
    static const char mark[] = "$EOF:";
    char name[ENDPOINT_TEXT_MAX];
    char text[TEXT_MAX + 1];
    if (size == sizeof(mark) - 1 + EOF_MARK_SIZE && memcmp(line, mark, sizeof(mark) - 1) == 0) {
        session->payload_bytes = -1;
        memcpy(session->eof_mark, line + sizeof(mark) - 1, EOF_MARK_SIZE);
        return true;
    }
    uint64_t length;
    if (size > 1 && line[0] == '$' && num_read_u64(line + 1, size - 1, &length) &&
        length < (uint64_t)INT64_MAX) {
        session->payload_bytes = (int64_t)length;
        memset(session->eof_mark, 0, sizeof(session->eof_mark));
        return true;
    }
    if (size > 0 && line[0] == '-') {
        if (!error_is_known(PSYNC_STEP_PAYLOAD, endpoint, line, size, err)) {
            ERR(err,
                SYN_CODE_SOURCE_STATE,
                "%s could not make a snapshot: \"%s\"",
                endpoint_text(endpoint, name),
                line_text(line, size, text));
        }
        return false;
    }
    return error_not_redis(PSYNC_STEP_PAYLOAD, endpoint, line, size, err);
}
