#include "apply/refetch.h"

#include "apply/position.h"

#include <stdio.h>
#include <string.h>

void refetch_value_free(struct refetch_value *value)
{
    mem_free(MEM_APPLY, value->payload);
    *value = (struct refetch_value){0};
}

void refetch_close(struct refetch *refetch)
{
    control_close(&refetch->control);
    refetch->has_db = false;
}

static bool is_redirection(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "MOVED ", 6) == 0;
}

/* Outside of a transaction, which an unknown command would spoil. Any key will do. */
static bool refetch_try_expiretime(struct refetch *refetch, struct syn_err *err)
{
    const char *argv[] = {"PEXPIRETIME", POSITION_KEY};
    const size_t sizes[] = {11, sizeof(POSITION_KEY) - 1};
    redisReply *reply = control_call(&refetch->control, 2, argv, sizes, err);
    if (reply == NULL) {
        return false;
    }
    refetch->has_expiretime = reply->type == REDIS_REPLY_INTEGER || is_redirection(reply);
    freeReplyObject(reply);
    return true;
}

static bool refetch_open(struct refetch *refetch, struct syn_err *err)
{
    if (refetch->control.context != NULL) {
        return true;
    }
    refetch->has_db = false;
    if (!control_open(
            &refetch->control, &refetch->endpoint, SIDE_SOURCE, refetch->timeout_ms, err)) {
        return false;
    }
    /* A replica in a cluster serves reads only to those who ask for it. */
    redisReply *reply =
        refetch->is_cluster
            ? control_call(
                  &refetch->control, 1, (const char *[]){"READONLY"}, (const size_t[]){8}, err)
            : NULL;
    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return refetch->control.context != NULL && refetch_try_expiretime(refetch, err);
}

static bool refetch_select(struct refetch *refetch, uint64_t db, struct syn_err *err)
{
    if (refetch->has_db ? refetch->db == db : db == 0) {
        return true;
    }
    char digits[NUM_DIGITS_MAX + 1];
    digits[num_write_u64(digits, db)] = '\0';
    const char *argv[] = {"SELECT", digits};
    const size_t sizes[] = {6, strlen(digits)};
    redisReply *reply = control_call(&refetch->control, 2, argv, sizes, err);
    if (reply == NULL) {
        return false;
    }
    bool is_good = reply->type != REDIS_REPLY_ERROR ||
                   control_reply_error(&refetch->control, reply, "SELECT", err);
    freeReplyObject(reply);
    refetch->db = db;
    refetch->has_db = is_good;
    return is_good;
}

/* ---- one transaction ---- */

static bool ask_words(struct control *control, const char *a, const char *b, struct syn_err *err)
{
    const char *argv[] = {a, b};
    const size_t sizes[] = {strlen(a), b == NULL ? 0 : strlen(b)};
    return control_append(control, b == NULL ? 1 : 2, argv, sizes, err);
}

static bool
ask_key(struct control *control, const char *word, const struct slice *name, struct syn_err *err)
{
    const char *argv[] = {word, (const char *)name->bytes};
    const size_t sizes[] = {strlen(word), name->size};
    return control_append(control, 2, argv, sizes, err);
}

static bool transaction_ask(struct refetch *refetch,
                            const struct slice *names,
                            uint32_t count,
                            struct syn_err *err)
{
    struct control *control = &refetch->control;
    const char *expiry = refetch->has_expiretime ? "PEXPIRETIME" : "PTTL";
    bool is_asked = ask_words(control, "MULTI", NULL, err) &&
                    ask_words(control, "INFO", "replication", err) &&
                    ask_words(control, "TIME", NULL, err);
    for (uint32_t i = 0; is_asked && i < count; i++) {
        is_asked =
            ask_key(control, "DUMP", &names[i], err) && ask_key(control, expiry, &names[i], err);
    }
    return is_asked && ask_words(control, "EXEC", NULL, err);
}

static bool odd_answer(const struct control *control, struct syn_err *err)
{
    char text[ENDPOINT_TEXT_MAX];
    return ERR(err,
               SYN_CODE_SOURCE_PROTOCOL,
               "source %s gave an odd answer to the reading of keys (INFO, TIME, DUMP and PTTL in "
               "MULTI)",
               endpoint_text(&control->endpoint, text));
}

/* The server's clock in milliseconds, -1 when this is not the answer to TIME. */
static int64_t time_of(const redisReply *reply)
{
    uint64_t seconds;
    uint64_t micros;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_STRING ||
        !num_read_u64(reply->element[0]->str, reply->element[0]->len, &seconds) ||
        !num_read_u64(reply->element[1]->str, reply->element[1]->len, &micros) ||
        seconds > INT64_MAX / 2000) {
        return -1;
    }
    return (int64_t)(seconds * 1000 + micros / 1000);
}

/* now_ms: to be added to what is left; 0: the expiry is absolute. */
static bool value_take(const struct control *control,
                       const redisReply *dump,
                       const redisReply *ttl,
                       int64_t now_ms,
                       struct refetch_value *value,
                       struct syn_err *err)
{
    if (dump->type == REDIS_REPLY_ERROR || ttl->type == REDIS_REPLY_ERROR) {
        return control_reply_error(
            control, dump->type == REDIS_REPLY_ERROR ? dump : ttl, "DUMP and PTTL", err);
    }
    if (ttl->type != REDIS_REPLY_INTEGER ||
        (dump->type != REDIS_REPLY_STRING && dump->type != REDIS_REPLY_NIL)) {
        return odd_answer(control, err);
    }
    value->is_there = dump->type == REDIS_REPLY_STRING && ttl->integer != -2;
    value->expire_ms = ttl->integer >= 0 ? now_ms + ttl->integer : -1;
    if (value->is_there) {
        value->size = dump->len;
        value->payload = mem_alloc(MEM_APPLY, dump->len + 1);
        if (value->payload == NULL) {
            return ERR(err, SYN_CODE_MEMORY, "out of memory for a key of %zu bytes", dump->len);
        }
        memcpy(value->payload, dump->str, dump->len);
    }
    return true;
}

/* The answers before EXEC's: +OK and +QUEUED. All are taken, so that the connection stays in step.
 */
static bool
queue_take(struct control *control, uint32_t commands, struct syn_err *first, struct syn_err *err)
{
    for (uint32_t i = 0; i < commands; i++) {
        redisReply *reply = control_fetch(control, err);
        if (reply == NULL) {
            return false;
        }
        if (reply->type == REDIS_REPLY_ERROR && first->code == SYN_CODE_OK) {
            control_reply_error(control, reply, "reading keys for a repair", first);
        }
        freeReplyObject(reply);
    }
    return true;
}

static bool transaction_take(struct refetch *refetch,
                             uint32_t count,
                             struct refetch_value *values,
                             struct syn_err *err)
{
    struct control *control = &refetch->control;
    struct syn_err first;
    err_clear(&first);
    if (!queue_take(control, 3 + 2 * count, &first, err)) {
        return false;
    }
    redisReply *reply = control_fetch(control, err);
    if (reply == NULL) {
        return false;
    }
    bool is_good = first.code == SYN_CODE_OK;
    if (!is_good) {
        *err = first;
    } else if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 + 2 * (size_t)count ||
               reply->element[0]->type != REDIS_REPLY_STRING) {
        is_good = odd_answer(control, err);
    }
    int64_t offset = is_good ? info_number(reply->element[0]->str, "master_repl_offset", -1) : -1;
    int64_t now_ms = is_good ? time_of(reply->element[1]) : -1;
    if (is_good && (offset < 0 || now_ms < 0)) {
        is_good = odd_answer(control, err);
    }
    now_ms = refetch->has_expiretime ? 0 : now_ms;
    for (uint32_t i = 0; is_good && i < count; i++) {
        values[i].offset = (uint64_t)offset;
        is_good = value_take(
            control, reply->element[2 + 2 * i], reply->element[3 + 2 * i], now_ms, &values[i], err);
    }
    freeReplyObject(reply);
    return is_good;
}

/* How many of the names from `at` on may share a transaction. */
static uint32_t transaction_size(const struct refetch *refetch, uint32_t at, uint32_t count)
{
    return refetch->is_cluster ? 1 : count - at;
}

bool refetch_read(struct refetch *refetch,
                  uint64_t db,
                  const struct slice *names,
                  uint32_t count,
                  struct refetch_value *values,
                  struct syn_err *err)
{
    ASSERT(count <= REFETCH_AT_ONCE);
    memset(values, 0, count * sizeof(*values));
    bool is_done = refetch_open(refetch, err) && refetch_select(refetch, db, err);
    for (uint32_t i = 0; is_done && i < count; i += transaction_size(refetch, i, count)) {
        is_done = transaction_ask(refetch, names + i, transaction_size(refetch, i, count), err);
    }
    for (uint32_t i = 0; is_done && i < count; i += transaction_size(refetch, i, count)) {
        is_done = transaction_take(refetch, transaction_size(refetch, i, count), values + i, err);
    }
    if (!is_done) {
        for (uint32_t i = 0; i < count; i++) {
            refetch_value_free(&values[i]);
        }
        refetch_close(refetch);
    }
    return is_done;
}
