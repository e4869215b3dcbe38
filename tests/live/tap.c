#include "tests/live/tap.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/alloc.h"
#include "core/base/atomic.h"
#include "tests/support/servers.h"
#include "tests/support/transfer.h"

#define LOOK_MS 50 /* how soon a stop is seen */
#define BUFFER_BYTES 65536

/* Commands in the order in which they are answered. */
struct commands {
    redisReply **items;
    size_t first, count, capacity;
};

struct connection {
    int fds[2]; /* 0: the client, 1: the server; 0 when free */
    redisReader *readers[2];
    struct commands sent;   /* not answered */
    struct commands queued; /* in the open transaction */
};

struct tap {
    tap_function *function;
    void *arg;
    pthread_t thread;
    int listen_fd;
    uint16_t port;
    uint16_t server_port;
    atomic_bool is_stopping; /* W: test. R: thread. */
    struct connection connections[TAP_CONNECTIONS];
};

/* ---- commands ---- */

static void commands_push(struct commands *commands, redisReply *command)
{
    if (commands->first + commands->count == commands->capacity) {
        memmove(commands->items,
                commands->items + commands->first,
                commands->count * sizeof(*commands->items));
        commands->first = 0;
    }
    if (commands->count == commands->capacity) {
        commands->capacity = commands->capacity == 0 ? 256 : 2 * commands->capacity;
        commands->items =
            mem_realloc(MEM_TOOLS, commands->items, commands->capacity * sizeof(*commands->items));
        if (commands->items == NULL)
            test_fatal("out of memory");
    }
    commands->items[commands->first + commands->count++] = command;
}

static redisReply *commands_pop(struct commands *commands)
{
    if (commands->count == 0)
        return NULL;
    commands->count--;
    return commands->items[commands->first++];
}

static void commands_free(struct commands *commands)
{
    for (redisReply *command; (command = commands_pop(commands)) != NULL;)
        freeReplyObject(command);
    mem_free(MEM_TOOLS, commands->items);
    *commands = (struct commands){0};
}

static bool is_named(const redisReply *command, const char *name)
{
    return command->type == REDIS_REPLY_ARRAY && command->elements > 0 &&
           strcasecmp(command->element[0]->str, name) == 0;
}

/* ---- pairs ---- */

static void
show_transaction(struct tap *tap, struct connection *connection, const redisReply *reply)
{
    for (size_t i = 0;; i++) {
        redisReply *command = commands_pop(&connection->queued);
        if (command == NULL)
            return;
        const redisReply *part =
            reply->type == REDIS_REPLY_ARRAY && i < reply->elements ? reply->element[i] : reply;
        tap->function(tap->arg, command, part);
        freeReplyObject(command);
    }
}

static void take_reply(struct tap *tap, struct connection *connection, redisReply *reply)
{
    redisReply *command = commands_pop(&connection->sent);
    if (command == NULL)
        test_fatal("a tap saw a reply to nothing");
    bool is_queued = reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, "QUEUED") == 0;
    if (is_queued) {
        commands_push(&connection->queued, command);
        command = NULL;
    } else if (is_named(command, "EXEC")) {
        show_transaction(tap, connection, reply);
    } else if (!is_named(command, "MULTI")) {
        tap->function(tap->arg, command, reply);
    }
    freeReplyObject(command);
    freeReplyObject(reply);
}

static void
take(struct tap *tap, struct connection *connection, int side, const char *bytes, size_t size)
{
    void *reply = NULL;
    if (redisReaderFeed(connection->readers[side], bytes, size) != REDIS_OK)
        test_fatal("out of memory");
    while (redisReaderGetReply(connection->readers[side], &reply) == REDIS_OK && reply != NULL) {
        if (side == 0)
            commands_push(&connection->sent, reply);
        else
            take_reply(tap, connection, reply);
        reply = NULL;
    }
    if (connection->readers[side]->err != 0)
        test_fatal("a tap cannot read: %s", connection->readers[side]->errstr);
}

/* ---- connections ---- */

/* Commands are noted before they are passed on, so that a reply never comes first. */
static bool serve(struct tap *tap, struct connection *connection, int side)
{
    static char buffer[BUFFER_BYTES];
    ssize_t got = recv(connection->fds[side], buffer, sizeof(buffer), 0);
    if (got <= 0)
        return false;
    take(tap, connection, side, buffer, (size_t)got);
    return test_send_all(connection->fds[1 - side], buffer, (size_t)got);
}

static void close_connection(struct connection *connection)
{
    for (int side = 0; side < 2; side++) {
        close(connection->fds[side]);
        redisReaderFree(connection->readers[side]);
    }
    commands_free(&connection->sent);
    commands_free(&connection->queued);
    memset(connection, 0, sizeof(*connection));
}

static int connect_server(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        test_fatal("a tap cannot connect to port %u: %s", port, strerror(errno));
    return fd;
}

static void take_connection(struct tap *tap)
{
    int fd = accept(tap->listen_fd, NULL, NULL);
    for (int i = 0; fd >= 0 && i < TAP_CONNECTIONS; i++) {
        struct connection *connection = &tap->connections[i];
        if (connection->fds[0] != 0)
            continue;
        connection->fds[0] = fd;
        connection->fds[1] = connect_server(tap->server_port);
        for (int side = 0; side < 2; side++) {
            setsockopt(connection->fds[side], IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
            connection->readers[side] = redisReaderCreate();
        }
        return;
    }
    if (fd >= 0)
        close(fd);
}

static void *run(void *arg)
{
    struct tap *tap = arg;
    while (!atomic_load_relaxed(&tap->is_stopping)) {
        struct pollfd polls[2 * TAP_CONNECTIONS + 1];
        for (int i = 0; i < 2 * TAP_CONNECTIONS; i++) {
            int fd = tap->connections[i / 2].fds[i % 2];
            polls[i] = (struct pollfd){.fd = fd == 0 ? -1 : fd, .events = POLLIN};
        }
        polls[2 * TAP_CONNECTIONS] = (struct pollfd){.fd = tap->listen_fd, .events = POLLIN};
        if (poll(polls, 2 * TAP_CONNECTIONS + 1, LOOK_MS) <= 0)
            continue;
        for (int i = 0; i < 2 * TAP_CONNECTIONS; i++) {
            struct connection *connection = &tap->connections[i / 2];
            if (polls[i].revents != 0 && connection->fds[0] != 0 && !serve(tap, connection, i % 2))
                close_connection(connection);
        }
        if (polls[2 * TAP_CONNECTIONS].revents != 0)
            take_connection(tap);
    }
    return NULL;
}

struct tap *tap_start(uint16_t server_port, tap_function *function, void *arg)
{
    struct tap *tap = mem_calloc(MEM_TOOLS, sizeof(*tap));
    if (tap == NULL)
        test_fatal("out of memory");
    *tap = (struct tap){.function = function, .arg = arg, .server_port = server_port};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    tap->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (tap->listen_fd < 0 ||
        bind(tap->listen_fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(tap->listen_fd, TAP_CONNECTIONS) != 0 ||
        getsockname(tap->listen_fd, (struct sockaddr *)&address, &size) != 0)
        test_fatal("a tap cannot listen");
    tap->port = ntohs(address.sin_port);
    if (pthread_create(&tap->thread, NULL, run, tap) != 0)
        test_fatal("pthread_create");
    return tap;
}

uint16_t tap_port(const struct tap *tap)
{
    return tap->port;
}

void tap_stop(struct tap *tap)
{
    atomic_store_relaxed(&tap->is_stopping, true);
    pthread_join(tap->thread, NULL);
    for (int i = 0; i < TAP_CONNECTIONS; i++) {
        if (tap->connections[i].fds[0] != 0)
            close_connection(&tap->connections[i]);
    }
    close(tap->listen_fd);
    mem_free(MEM_TOOLS, tap);
}
