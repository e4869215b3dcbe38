#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/base/slot.h"
#include "tests/support/client.h"
#include "tests/support/servers.h"

#define COMMAND_TIMEOUT_S 30
#define OUTSTANDING_MAX 256
#define CONNECTIONS_MAX 64

struct connection {
    redisContext *context;
    uint16_t port;
    uint32_t outstanding;
};

struct test_client {
    struct connection connections[CONNECTIONS_MAX];
    uint32_t count;
    bool is_cluster;
    bool is_lost;
    bool is_held;
    bool is_moved; /* a MOVED was answered: the slots must be asked for again */
    uint64_t done;
    uint64_t errors;
    char error_text[160];
    uint8_t slot_connection[SLOT_COUNT];
};

redisContext *test_connect(uint16_t port)
{
    redisContext *context =
        redisConnectWithTimeout("127.0.0.1", port, (struct timeval){.tv_sec = COMMAND_TIMEOUT_S});
    if (context == NULL || context->err != 0)
        test_fatal("connect to port %u: %s", port, context ? context->errstr : "out of memory");
    redisSetTimeout(context, (struct timeval){.tv_sec = COMMAND_TIMEOUT_S});
    return context;
}

static redisReply *checked(redisContext *context, redisReply *reply, const char *format)
{
    if (reply == NULL)
        test_fatal("port %d: %s: %s", context->tcp.port, format, context->errstr);
    if (reply->type == REDIS_REPLY_ERROR)
        test_fatal("port %d: %s: %s", context->tcp.port, format, reply->str);
    return reply;
}

redisReply *test_command(redisContext *context, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(context, format, args);
    va_end(args);
    return checked(context, reply, format);
}

redisReply *test_command_try(redisContext *context, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(context, format, args);
    va_end(args);
    return reply;
}

void test_command_ok(redisContext *context, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(context, format, args);
    va_end(args);
    freeReplyObject(checked(context, reply, format));
}

int64_t test_command_integer(redisContext *context, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(context, format, args);
    va_end(args);
    checked(context, reply, format);
    if (reply->type != REDIS_REPLY_INTEGER)
        test_fatal("port %d: %s: not an integer", context->tcp.port, format);
    int64_t value = reply->integer;
    freeReplyObject(reply);
    return value;
}

void test_info(redisContext *context, const char *field, char *value, size_t capacity)
{
    redisReply *reply = test_command(context, "INFO");
    size_t field_size = strlen(field);
    value[0] = '\0';
    for (const char *line = reply->str; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, field, field_size) == 0 && line[field_size] == ':') {
            line += field_size + 1;
            snprintf(value, capacity, "%.*s", (int)strcspn(line, "\r\n"), line);
            break;
        }
    }
    freeReplyObject(reply);
}

bool test_has_command(redisContext *context, const char *name)
{
    redisReply *reply = test_command(context, "COMMAND INFO %s", name);
    bool is_known = reply->elements == 1 && reply->element[0]->type == REDIS_REPLY_ARRAY;
    freeReplyObject(reply);
    return is_known;
}

/* ---- the client ---- */

static uint8_t connection_to(struct test_client *client, uint16_t port)
{
    for (uint32_t i = 0; i < client->count; i++) {
        if (client->connections[i].port == port)
            return (uint8_t)i;
    }
    if (client->count == CONNECTIONS_MAX)
        test_fatal("more than %d nodes", CONNECTIONS_MAX);
    client->connections[client->count] =
        (struct connection){.context = test_connect(port), .port = port};
    return (uint8_t)client->count++;
}

static void ask_slots(struct test_client *client)
{
    redisReply *reply = test_command(client->connections[0].context, "CLUSTER SLOTS");
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *range = reply->element[i];
        uint8_t index = connection_to(client, (uint16_t)range->element[2]->element[1]->integer);
        for (long long slot = range->element[0]->integer; slot <= range->element[1]->integer;
             slot++)
            client->slot_connection[slot] = index;
    }
    freeReplyObject(reply);
}

struct test_client *test_client_new(uint16_t port)
{
    struct test_client *client = mem_calloc(MEM_TOOLS, sizeof(*client));
    char value[16];
    if (client == NULL)
        test_fatal("out of memory");
    connection_to(client, port);
    test_info(client->connections[0].context, "cluster_enabled", value, sizeof(value));
    client->is_cluster = strcmp(value, "1") == 0;
    if (client->is_cluster)
        ask_slots(client);
    return client;
}

void test_client_free(struct test_client *client)
{
    if (client == NULL)
        return;
    for (uint32_t i = 0; i < client->count; i++)
        redisFree(client->connections[i].context);
    mem_free(MEM_TOOLS, client);
}

bool test_client_is_cluster(const struct test_client *client)
{
    return client->is_cluster;
}

redisContext *test_client_connection(struct test_client *client, uint16_t slot)
{
    return client->connections[client->slot_connection[slot]].context;
}

uint32_t test_client_count(const struct test_client *client)
{
    return client->count;
}

redisContext *test_client_at(struct test_client *client, uint32_t index)
{
    return client->connections[index].context;
}

static void note_reply(struct test_client *client, const redisReply *reply)
{
    const redisReply *error = reply->type == REDIS_REPLY_ERROR ? reply : NULL;
    /* EXEC answers with the errors of its commands inside. */
    for (size_t i = 0; error == NULL && reply->type == REDIS_REPLY_ARRAY && i < reply->elements;
         i++)
        error = reply->element[i]->type == REDIS_REPLY_ERROR ? reply->element[i] : NULL;
    if (error == NULL) {
        client->done++;
        return;
    }
    client->errors++;
    snprintf(client->error_text, sizeof(client->error_text), "%s", error->str);
    if (strncmp(error->str, "MOVED ", 6) == 0)
        client->is_moved = true;
}

static void drain(struct test_client *client, struct connection *connection)
{
    while (connection->outstanding > 0 && !client->is_lost) {
        void *reply = NULL;
        if (redisGetReply(connection->context, &reply) != REDIS_OK) {
            client->is_lost = true;
            snprintf(client->error_text,
                     sizeof(client->error_text),
                     "port %u: %s",
                     connection->port,
                     connection->context->errstr);
            break;
        }
        connection->outstanding--;
        note_reply(client, reply);
        freeReplyObject(reply);
    }
}

void test_client_hold(struct test_client *client, bool is_held)
{
    client->is_held = is_held;
}

void test_client_flush(struct test_client *client)
{
    /* All are written before the first is read, so that the nodes work at the same time. */
    for (uint32_t i = 0; i < client->count && !client->is_lost; i++) {
        int is_done = 0;
        while (!is_done && redisBufferWrite(client->connections[i].context, &is_done) == REDIS_OK)
            continue;
    }
    for (uint32_t i = 0; i < client->count; i++)
        drain(client, &client->connections[i]);
    if (client->is_moved && !client->is_lost) {
        client->is_moved = false;
        ask_slots(client);
    }
}

static void append(struct test_client *client, uint16_t slot, const char *bytes, size_t size)
{
    struct connection *connection = &client->connections[client->slot_connection[slot]];
    if (client->is_lost)
        return;
    if (redisAppendFormattedCommand(connection->context, bytes, size) != REDIS_OK)
        test_fatal("out of memory");
    if (++connection->outstanding >= OUTSTANDING_MAX && !client->is_held)
        test_client_flush(client);
}

void test_client_send(struct test_client *client, const char *key, const char *format, ...)
{
    char *bytes = NULL;
    va_list args;
    va_start(args, format);
    int size = redisvFormatCommand(&bytes, format, args);
    va_end(args);
    if (size < 0)
        test_fatal("cannot format %s", format);
    append(client, key == NULL ? 0 : slot_of_key(key, strlen(key)), bytes, (size_t)size);
    redisFreeCommand(bytes);
}

void test_client_send_argv(struct test_client *client,
                           uint32_t key_index,
                           int argc,
                           const char **argv,
                           const size_t *sizes)
{
    char *bytes = NULL;
    long long size = redisFormatCommandArgv(&bytes, argc, argv, sizes);
    if (size < 0)
        test_fatal("cannot format %s", argv[0]);
    size_t key_size = sizes != NULL ? sizes[key_index] : strlen(argv[key_index]);
    append(client, slot_of_key(argv[key_index], key_size), bytes, (size_t)size);
    redisFreeCommand(bytes);
}

uint64_t test_client_errors(const struct test_client *client)
{
    return client->errors;
}

const char *test_client_error_text(const struct test_client *client)
{
    return client->error_text;
}

bool test_client_is_lost(const struct test_client *client)
{
    return client->is_lost;
}

uint64_t test_client_done(const struct test_client *client)
{
    return client->done;
}
