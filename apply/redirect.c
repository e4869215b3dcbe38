#include "apply/redirect.h"

#include <string.h>

/* How long TRYAGAIN waits before the next try. */
#define PAUSE_MS 5

static bool skip_word(const char **at, const char *end, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(end - *at) < size || memcmp(*at, word, size) != 0) {
        return false;
    }
    *at += size;
    return true;
}

bool redirect_read(const char *text, size_t size, struct redirect_place *place)
{
    const char *at = text;
    const char *end = text + size;
    *place = (struct redirect_place){.is_ask = skip_word(&at, end, "ASK ")};
    if (!place->is_ask && !skip_word(&at, end, "MOVED ")) {
        return false;
    }
    const char *space = memchr(at, ' ', (size_t)(end - at));
    const char *colon = space == NULL ? NULL : memrchr(space, ':', (size_t)(end - space));
    uint64_t slot;
    uint64_t port;
    if (colon == NULL || !num_read_u64(at, (size_t)(space - at), &slot) || slot >= SLOT_COUNT ||
        !num_read_u64(colon + 1, (size_t)(end - colon - 1), &port) || port == 0 ||
        port > UINT16_MAX) {
        return false;
    }
    size_t host_size = (size_t)(colon - space - 1);
    if (host_size >= sizeof(place->host) || (host_size == 1 && space[1] == '?')) {
        return false;
    }
    place->slot = (uint16_t)slot;
    place->port = (uint16_t)port;
    memcpy(place->host, space + 1, host_size);
    return true;
}

/* ---- connections ---- */

static struct endpoint endpoint_of(const struct endpoint *from, const struct redirect_place *place)
{
    struct endpoint endpoint = *from; /* with its credentials */
    endpoint.port = place->port;
    endpoint.path[0] = '\0';
    if (place->host[0] != '\0') {
        memcpy(endpoint.host, place->host, sizeof(endpoint.host));
    } else if (endpoint.host[0] == '\0') {
        memcpy(endpoint.host, "127.0.0.1", sizeof("127.0.0.1")); /* of a unix socket */
    }
    return endpoint;
}

static bool target_open(struct redirect *redirect,
                        const struct endpoint *endpoint,
                        struct control *control,
                        struct syn_err *err)
{
    return redirect->open != NULL
               ? redirect->open(redirect->arg, endpoint, control, err)
               : control_open(control, endpoint, SIDE_DESTINATION, redirect->timeout_ms, err);
}

/* NULL: it cannot be reached. */
static struct control *
target_at(struct redirect *redirect, const struct endpoint *endpoint, struct syn_err *err)
{
    uint32_t i = 0;
    while (i < redirect->count &&
           (redirect->targets[i].endpoint.port != endpoint->port ||
            strcmp(redirect->targets[i].endpoint.host, endpoint->host) != 0)) {
        i++;
    }
    if (i == redirect->count && i < REDIRECT_TARGETS_MAX) {
        redirect->targets[redirect->count++] = (struct control){.endpoint = *endpoint};
    } else if (i == redirect->count) {
        i = redirect->next;
        redirect->next = (i + 1) % REDIRECT_TARGETS_MAX;
        control_close(&redirect->targets[i]);
        redirect->targets[i] = (struct control){.endpoint = *endpoint};
    }
    struct control *control = &redirect->targets[i];
    if (control->context == NULL && !target_open(redirect, endpoint, control, err)) {
        control->endpoint = *endpoint;
        return NULL;
    }
    return control;
}

void redirect_close(struct redirect *redirect)
{
    for (uint32_t i = 0; i < redirect->count; i++) {
        control_close(&redirect->targets[i]);
    }
    redirect->count = 0;
    redirect->next = 0;
}

/* ---- following ---- */

static redisReply *
send_to(struct control *control, bool is_ask, const void *bytes, size_t size, struct syn_err *err)
{
    if (is_ask &&
        !control_append(control, 1, (const char *[]){"ASKING"}, (const size_t[]){6}, err)) {
        return NULL;
    }
    if (redisAppendFormattedCommand(control->context, bytes, size) != REDIS_OK) {
        ERR(err, SYN_CODE_MEMORY, "out of memory for a command of %zu bytes", size);
        control_close(control);
        return NULL;
    }
    redisReply *asking = is_ask ? control_fetch(control, err) : NULL;
    if (is_ask && asking == NULL) {
        return NULL;
    }
    redisReply *reply = control_fetch(control, err);
    if (asking != NULL && asking->type == REDIS_REPLY_ERROR && reply != NULL) {
        /* Without it the command was redirected again, or ran where its keys are. */
        freeReplyObject(reply);
        return asking;
    }
    if (asking != NULL) {
        freeReplyObject(asking);
    }
    return reply;
}

redisReply *redirect_once(struct redirect *redirect,
                          const struct endpoint *from,
                          const struct redirect_place *place,
                          const void *bytes,
                          size_t size,
                          struct syn_err *err)
{
    const struct endpoint endpoint = endpoint_of(from, place);
    struct control *control = target_at(redirect, &endpoint, err);
    return control == NULL ? NULL : send_to(control, place->is_ask, bytes, size, err);
}

static bool is_try_again(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "TRYAGAIN", 8) == 0;
}

redisReply *redirect_follow(struct redirect *redirect,
                            const struct endpoint *from,
                            int argc,
                            const char **argv,
                            const size_t *sizes,
                            redisReply *reply,
                            struct syn_err *err)
{
    struct endpoint at = *from;
    struct redirect_place place = {.port = at.port};
    if (reply->type != REDIS_REPLY_ERROR ||
        (!is_try_again(reply) && !redirect_read(reply->str, reply->len, &place))) {
        return reply;
    }
    char *bytes = NULL;
    long long size = redisFormatCommandArgv(&bytes, argc, argv, sizes);
    if (size < 0) {
        freeReplyObject(reply);
        ERR(err, SYN_CODE_MEMORY, "out of memory for a command");
        return NULL;
    }
    uint64_t deadline_ms = clock_monotonic_ms() + REDIRECT_WAIT_MS;
    for (uint32_t hops = 0; reply != NULL && reply->type == REDIS_REPLY_ERROR;) {
        if (is_try_again(reply)) {
            if (clock_monotonic_ms() >= deadline_ms) {
                break;
            }
            clock_sleep_ms(PAUSE_MS); /* and again at the same place */
        } else if (hops++ == REDIRECT_HOPS_MAX || !redirect_read(reply->str, reply->len, &place)) {
            break;
        }
        freeReplyObject(reply);
        reply = redirect_once(redirect, &at, &place, bytes, (size_t)size, err);
        at = endpoint_of(&at, &place);
    }
    redisFreeCommand(bytes);
    return reply;
}

redisReply *redirect_call(struct redirect *redirect,
                          struct control *control,
                          int argc,
                          const char **argv,
                          const size_t *sizes,
                          struct syn_err *err)
{
    redisReply *reply = control_call(control, argc, argv, sizes, err);
    return reply == NULL
               ? NULL
               : redirect_follow(redirect, &control->endpoint, argc, argv, sizes, reply, err);
}
