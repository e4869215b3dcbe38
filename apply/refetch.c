#include "apply/refetch.h"

#include "apply/position.h"
#include "apply/topology.h"
#include "apply/value_read.h"

#include <stdio.h>
#include <string.h>

void refetch_close(struct refetch *refetch)
{
    control_close(&refetch->control);
    refetch->has_db = false;
    refetch->is_known = false;
}

static bool is_redirection(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "MOVED ", 6) == 0;
}

/* Outside of a transaction, which an unknown command would spoil. Any key will do. */
static redisReply *
refetch_try(struct refetch *refetch, int argc, const char **argv, struct syn_err *err)
{
    size_t sizes[8];
    for (int i = 0; i < argc; i++) {
        sizes[i] = strlen(argv[i]);
    }
    return control_call(&refetch->control, argc, argv, sizes, err);
}

static bool refetch_try_expiretime(struct refetch *refetch, struct syn_err *err)
{
    const char *argv[] = {"PEXPIRETIME", POSITION_KEY};
    redisReply *reply = refetch_try(refetch, 2, argv, err);
    if (reply == NULL) {
        return false;
    }
    refetch->has_expiretime = reply->type == REDIS_REPLY_INTEGER || is_redirection(reply);
    freeReplyObject(reply);
    return true;
}

static bool refetch_try_field_ttl(struct refetch *refetch, struct syn_err *err)
{
    const char *argv[] = {"HPEXPIRETIME", POSITION_KEY, "FIELDS", "1", "f"};
    redisReply *reply = refetch_try(refetch, 5, argv, err);
    if (reply == NULL) {
        return false;
    }
    bool is_error = reply->type == REDIS_REPLY_ERROR;
    refetch->has_field_ttl = !is_error || is_redirection(reply);
    refetch->hides_field_ttl =
        is_error && !refetch->has_field_ttl && strstr(reply->str, "unknown command") == NULL;
    freeReplyObject(reply);
    return true;
}

static uint32_t version_of(const char *info, const char *field)
{
    char text[32];
    return info_field(info, field, text, sizeof(text)) ? server_version(text, strlen(text)) : 0;
}

/* Where its version is not told, the values have what every version has. */
static bool refetch_look(struct refetch *refetch, struct syn_err *err)
{
    const char *argv[] = {"INFO", "server"};
    redisReply *reply = refetch_try(refetch, 2, argv, err);
    if (reply == NULL) {
        return false;
    }
    if (reply->type == REDIS_REPLY_STRING) {
        refetch->has_counters = version_of(reply->str, "redis_version") >= 70000;
        refetch->is_valkey_rdb = version_of(reply->str, "valkey_version") >= 90000;
    }
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

bool refetch_ready(struct refetch *refetch, uint64_t db, struct syn_err *err)
{
    return refetch_open(refetch, err) && refetch_select(refetch, db, err);
}

bool refetch_know(struct refetch *refetch, struct syn_err *err)
{
    if (!refetch->is_known) {
        refetch->is_known = refetch_try_field_ttl(refetch, err) && refetch_look(refetch, err);
    }
    return refetch->is_known;
}

/* ---- one transaction ---- */

bool refetch_ask(struct control *control, const char *a, const char *b, struct syn_err *err)
{
    const char *argv[] = {a, b};
    const size_t sizes[] = {strlen(a), b == NULL ? 0 : strlen(b)};
    return control_append(control, b == NULL ? 1 : 2, argv, sizes, err);
}

bool refetch_ask_key(struct control *control,
                     const char *word,
                     const struct slice *name,
                     struct syn_err *err)
{
    const char *argv[] = {word, (const char *)name->bytes};
    const size_t sizes[] = {strlen(word), name->size};
    return control_append(control, 2, argv, sizes, err);
}

/* Some keys of a batch. */
struct picks {
    uint32_t count;
    uint32_t at[REFETCH_AT_ONCE];
};

static bool transaction_ask(struct refetch *refetch,
                            const struct refetch_batch *batch,
                            const uint32_t *at,
                            uint32_t count,
                            struct syn_err *err)
{
    struct control *control = &refetch->control;
    const char *expiry = refetch->has_expiretime ? "PEXPIRETIME" : "PTTL";
    bool is_asked = refetch_ask(control, "MULTI", NULL, err) &&
                    refetch_ask(control, "INFO", "replication", err) &&
                    refetch_ask(control, "TIME", NULL, err);
    for (uint32_t i = 0; is_asked && i < count; i++) {
        const struct slice *name = &batch->names[at[i]];
        is_asked = refetch_ask_key(control, "DUMP", name, err) &&
                   refetch_ask_key(control, expiry, name, err);
    }
    return is_asked && refetch_ask(control, "EXEC", NULL, err);
}

bool refetch_odd(const struct control *control, struct syn_err *err)
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
        return refetch_odd(control, err);
    }
    value->is_there = dump->type == REDIS_REPLY_STRING && ttl->integer != -2;
    value->expire_ms = ttl->integer >= 0 ? now_ms + ttl->integer : -1;
    value->payload = (const uint8_t *)dump->str;
    value->size = value->is_there ? dump->len : 0;
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

redisReply *refetch_transaction(struct refetch *refetch,
                                uint32_t commands,
                                size_t elements,
                                uint64_t *offset,
                                int64_t *now_ms,
                                struct syn_err *err)
{
    struct control *control = &refetch->control;
    struct syn_err first;
    err_clear(&first);
    redisReply *reply =
        queue_take(control, commands, &first, err) ? control_fetch(control, err) : NULL;
    if (reply == NULL) {
        return NULL;
    }
    bool is_good = first.code == SYN_CODE_OK;
    if (!is_good) {
        *err = first;
    } else if (reply->type != REDIS_REPLY_ARRAY || reply->elements != elements ||
               reply->element[0]->type != REDIS_REPLY_STRING) {
        is_good = refetch_odd(control, err);
    }
    int64_t told = is_good ? info_number(reply->element[0]->str, "master_repl_offset", -1) : -1;
    int64_t clock_ms = is_good ? time_of(reply->element[1]) : -1;
    if (is_good && (told < 0 || clock_ms < 0)) {
        is_good = refetch_odd(control, err);
    }
    if (!is_good) {
        freeReplyObject(reply);
        return NULL;
    }
    *offset = (uint64_t)told;
    *now_ms = clock_ms;
    return reply;
}

static bool transaction_take(struct refetch *refetch,
                             const uint32_t *at,
                             uint32_t count,
                             const struct refetch_sink *sink,
                             struct syn_err *err)
{
    uint64_t offset;
    int64_t now_ms;
    redisReply *reply =
        refetch_transaction(refetch, 3 + 2 * count, 2 + 2 * (size_t)count, &offset, &now_ms, err);
    if (reply == NULL) {
        return false;
    }
    now_ms = refetch->has_expiretime ? 0 : now_ms;
    bool is_good = true;
    for (uint32_t i = 0; is_good && i < count; i++) {
        struct refetch_value value = {.offset = offset};
        is_good = value_take(&refetch->control,
                             reply->element[2 + 2 * i],
                             reply->element[3 + 2 * i],
                             now_ms,
                             &value,
                             err) &&
                  sink->value(sink->arg, at[i], &value, err);
    }
    freeReplyObject(reply);
    return is_good;
}

/* ---- sizes ---- */

static bool
usage_ask(struct refetch *refetch, const struct refetch_batch *batch, struct syn_err *err)
{
    bool is_asked = true;
    for (uint32_t i = 0; is_asked && i < batch->count; i++) {
        const char *argv[] = {"MEMORY", "USAGE", (const char *)batch->names[i].bytes};
        const size_t sizes[] = {6, 5, batch->names[i].size};
        is_asked = control_append(&refetch->control, 3, argv, sizes, err);
    }
    return is_asked;
}

/* Whatever is no number is a reason to ask in another way. */
static bool usage_take(struct refetch *refetch, struct refetch_batch *batch, struct syn_err *err)
{
    batch->has_sizes = true;
    for (uint32_t i = 0; i < batch->count; i++) {
        redisReply *reply = control_fetch(&refetch->control, err);
        if (reply == NULL) {
            return false;
        }
        batch->bytes[i] =
            reply->type == REDIS_REPLY_INTEGER && reply->integer > 0 ? (uint64_t)reply->integer : 0;
        if (reply->type == REDIS_REPLY_ERROR) {
            refetch->has_no_usage = true;
            batch->has_sizes = false;
        }
        freeReplyObject(reply);
    }
    return true;
}

static bool types_read(struct refetch *refetch,
                       const struct refetch_batch *batch,
                       enum value_type *types,
                       struct syn_err *err)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        if (!refetch_ask_key(&refetch->control, "TYPE", &batch->names[i], err)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        redisReply *reply = control_fetch(&refetch->control, err);
        if (reply == NULL) {
            return false;
        }
        types[i] = reply->type == REDIS_REPLY_STATUS ? value_type_of_name(reply->str) : VALUE_NONE;
        freeReplyObject(reply);
    }
    return true;
}

/* By type and length. What is refused here, too, stays unknown. */
static bool lengths_read(struct refetch *refetch, struct refetch_batch *batch, struct syn_err *err)
{
    enum value_type types[REFETCH_AT_ONCE];
    if (!types_read(refetch, batch, types, err)) {
        return false;
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        const char *command = value_length_command(types[i]);
        if (command != NULL &&
            !refetch_ask_key(&refetch->control, command, &batch->names[i], err)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        batch->bytes[i] = 0;
        if (value_length_command(types[i]) == NULL) {
            continue;
        }
        redisReply *reply = control_fetch(&refetch->control, err);
        if (reply == NULL) {
            return false;
        }
        uint64_t each = types[i] == VALUE_STRING ? 1 : REFETCH_ELEMENT_BYTES;
        if (reply->type == REDIS_REPLY_INTEGER && reply->integer > 0) {
            batch->bytes[i] = (uint64_t)reply->integer * each;
        }
        freeReplyObject(reply);
    }
    batch->has_sizes = true;
    return true;
}

static bool sizes_read(struct refetch *refetch, struct refetch_batch *batch, struct syn_err *err)
{
    if (!batch->has_sizes && !refetch->has_no_usage &&
        (!usage_ask(refetch, batch, err) || !usage_take(refetch, batch, err))) {
        return false;
    }
    return batch->has_sizes || lengths_read(refetch, batch, err);
}

/* ---- a batch ---- */

/* The next keys, from *at on, that come to dump_max together. */
static void picks_take(const struct refetch *refetch,
                       const struct refetch_batch *batch,
                       uint32_t *at,
                       struct picks *picks)
{
    uint64_t bytes = 0;
    picks->count = 0;
    for (; *at < batch->count; (*at)++) {
        uint64_t size = batch->bytes[*at];
        if (refetch_is_large(refetch, size)) {
            continue;
        }
        if (picks->count > 0 && refetch_is_large(refetch, bytes + size)) {
            return;
        }
        bytes += size;
        picks->at[picks->count++] = *at;
    }
}

/* How many of the picks from `i` on may share a transaction. */
static uint32_t transaction_size(const struct refetch *refetch, uint32_t i, uint32_t count)
{
    return refetch->is_cluster ? 1 : count - i;
}

static bool round_read(struct refetch *refetch,
                       const struct refetch_batch *batch,
                       const struct picks *picks,
                       struct refetch_batch *next,
                       const struct refetch_sink *sink,
                       struct syn_err *err)
{
    uint32_t count = picks->count;
    for (uint32_t i = 0; i < count; i += transaction_size(refetch, i, count)) {
        uint32_t size = transaction_size(refetch, i, count);
        if (!transaction_ask(refetch, batch, picks->at + i, size, err)) {
            return false;
        }
    }
    if (next != NULL && !usage_ask(refetch, next, err)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i += transaction_size(refetch, i, count)) {
        uint32_t size = transaction_size(refetch, i, count);
        if (!transaction_take(refetch, picks->at + i, size, sink, err)) {
            return false;
        }
    }
    return next == NULL || usage_take(refetch, next, err);
}

static bool rounds_read(struct refetch *refetch,
                        struct refetch_batch *batch,
                        struct refetch_batch *next,
                        const struct refetch_sink *sink,
                        struct syn_err *err)
{
    bool is_limited = refetch->dump_max != 0;
    if (is_limited && !batch->has_sizes && !sizes_read(refetch, batch, err)) {
        return false;
    }
    struct picks picks;
    uint32_t at = 0;
    for (picks_take(refetch, batch, &at, &picks); picks.count > 0;
         picks_take(refetch, batch, &at, &picks)) {
        bool asks_next = is_limited && next != NULL && next->db == batch->db && !next->has_sizes &&
                         !refetch->has_no_usage;
        if (!round_read(refetch, batch, &picks, asks_next ? next : NULL, sink, err)) {
            return false;
        }
    }
    return true;
}

bool refetch_read(struct refetch *refetch,
                  struct refetch_batch *batch,
                  struct refetch_batch *next,
                  const struct refetch_sink *sink,
                  struct syn_err *err)
{
    ASSERT(batch->count <= REFETCH_AT_ONCE);
    if (!refetch_ready(refetch, batch->db, err) || !rounds_read(refetch, batch, next, sink, err)) {
        refetch_close(refetch);
        return false;
    }
    return true;
}
