#include "tests/live/odd_server.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/alloc.h"
#include "tests/support/servers.h"
#include "tests/support/transfer.h"

#define LOOK_MS 50 /* how soon a stop is seen */
#define NAME_MAX_BYTES 32

/* The size of the RESP item (command or reply) that begins at `at`, 0 if it is not whole. */
static size_t item_size(const char *at, const char *end)
{
    const char *line_end = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
    if (line_end == NULL)
        return 0;
    size_t size = (size_t)(line_end + 1 - at);
    long long number = at[0] == '$' || at[0] == '*' ? strtoll(at + 1, NULL, 10) : 0;
    if (at[0] == '$' && number >= 0) {
        size += (size_t)number + 2;
        return size <= (size_t)(end - at) ? size : 0;
    }
    for (long long i = 0; at[0] == '*' && i < number; i++) {
        size_t element = item_size(at + size, end);
        if (element == 0)
            return 0;
        size += element;
    }
    return size;
}

/* The command's name in capitals. */
static void command_name(const char *command, char name[NAME_MAX_BYTES])
{
    const char *at = strchr(command, '\n') + 1;
    size_t size = strtoul(at + 1, NULL, 10);
    at = strchr(at, '\n') + 1;
    size = size < NAME_MAX_BYTES ? size : NAME_MAX_BYTES - 1;
    for (size_t i = 0; i < size; i++)
        name[i] = (char)(at[i] >= 'a' && at[i] <= 'z' ? at[i] - 32 : at[i]);
    name[size] = '\0';
}

static bool is_refused(const struct odd_server *server, const char *name)
{
    const char *const *refused = server->script.refused;
    for (; refused != NULL && *refused != NULL; refused++) {
        if (strcmp(*refused, name) == 0)
            return true;
    }
    return false;
}

/* INFO without version, keyspace and what an original server tells of itself. */
static bool send_thinned(int fd, const char *info)
{
    static const char *const hidden[] = {"redis_", "# Keyspace", "db", "os:", "gcc_", "run_id:"};
    char *text = mem_calloc(MEM_TOOLS, ODD_SERVER_BYTES);
    size_t size = 0;
    for (const char *line = strchr(info, '\n') + 1; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        size_t length = end != NULL ? (size_t)(end + 1 - line) : strlen(line);
        bool is_hidden = false;
        for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
            is_hidden = is_hidden || strncmp(line, hidden[i], strlen(hidden[i])) == 0;
        if (!is_hidden) {
            memcpy(text + size, line, length);
            size += length;
        }
        line = end != NULL ? end + 1 : NULL;
    }
    char head[32];
    snprintf(head, sizeof(head), "$%zu\r\n", size);
    bool ok = test_send_all(fd, head, strlen(head)) && test_send_all(fd, text, size) &&
              test_send_all(fd, "\r\n", 2);
    mem_free(MEM_TOOLS, text);
    return ok;
}

/* One command to the real server and its reply back. */
static bool pass_on(struct odd_server *server,
                    struct odd_connection *connection,
                    const char *command,
                    size_t size,
                    bool is_info)
{
    if (!test_send_all(connection->server_fd, command, size))
        return false;
    size_t got = 0;
    do {
        ssize_t more =
            recv(connection->server_fd, server->reply + got, ODD_SERVER_BYTES - 1 - got, 0);
        if (more <= 0)
            return false;
        got += (size_t)more;
        server->reply[got] = '\0';
    } while (item_size(server->reply, server->reply + got) == 0);
    return is_info && server->script.hides_version
               ? send_thinned(connection->fd, server->reply)
               : test_send_all(connection->fd, server->reply, got);
}

/* False: the connection is to be closed. */
static bool serve(struct odd_server *server,
                  struct odd_connection *connection,
                  const char *command,
                  size_t size)
{
    char name[NAME_MAX_BYTES];
    command_name(command, name);
    if (!is_refused(server, name))
        return pass_on(server, connection, command, size, strcmp(name, "INFO") == 0);
    atomic_store_relaxed(&server->refusals, atomic_load_relaxed(&server->refusals) + 1);
    char answer[64];
    snprintf(answer, sizeof(answer), "-ERR unknown command '%s'\r\n", name);
    return !server->script.closes && test_send_all(connection->fd, answer, strlen(answer));
}

static bool receive(struct odd_server *server, struct odd_connection *connection)
{
    ssize_t got = recv(connection->fd,
                       connection->in + connection->in_size,
                       ODD_SERVER_BYTES - connection->in_size,
                       0);
    if (got <= 0)
        return false;
    connection->in_size += (size_t)got;
    size_t done = 0;
    for (;;) {
        size_t size = item_size(connection->in + done, connection->in + connection->in_size);
        if (size == 0)
            break;
        if (!serve(server, connection, connection->in + done, size))
            return false;
        done += size;
    }
    connection->in_size -= done;
    memmove(connection->in, connection->in + done, connection->in_size);
    return connection->in_size < ODD_SERVER_BYTES;
}

static void connection_close(struct odd_connection *connection)
{
    close(connection->fd);
    close(connection->server_fd);
    mem_free(MEM_TOOLS, connection->in);
    memset(connection, 0, sizeof(*connection));
}

static void take_connection(struct odd_server *server)
{
    int fd = accept(server->listen_fd, NULL, NULL);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(server->script.port)};
    for (uint32_t i = 0; fd >= 0 && i < ODD_SERVER_CONNECTIONS; i++) {
        struct odd_connection *connection = &server->connections[i];
        if (connection->fd != 0)
            continue;
        int server_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (server_fd < 0 || connect(server_fd, (struct sockaddr *)&address, sizeof(address)) != 0)
            test_fatal("the server behind an odd one cannot be reached");
        connection->fd = fd;
        connection->server_fd = server_fd;
        connection->in = mem_calloc(MEM_TOOLS, ODD_SERVER_BYTES);
        return;
    }
    if (fd >= 0)
        close(fd);
}

static void *run(void *arg)
{
    struct odd_server *server = arg;
    while (!atomic_load_relaxed(&server->is_stopping)) {
        struct pollfd polls[ODD_SERVER_CONNECTIONS + 1];
        for (uint32_t i = 0; i < ODD_SERVER_CONNECTIONS; i++) {
            int fd = server->connections[i].fd;
            polls[i] = (struct pollfd){.fd = fd == 0 ? -1 : fd, .events = POLLIN};
        }
        polls[ODD_SERVER_CONNECTIONS] = (struct pollfd){.fd = server->listen_fd, .events = POLLIN};
        if (poll(polls, ODD_SERVER_CONNECTIONS + 1, LOOK_MS) <= 0)
            continue;
        for (uint32_t i = 0; i < ODD_SERVER_CONNECTIONS; i++) {
            if (polls[i].revents != 0 && !receive(server, &server->connections[i]))
                connection_close(&server->connections[i]);
        }
        if (polls[ODD_SERVER_CONNECTIONS].revents != 0)
            take_connection(server);
    }
    return NULL;
}

struct odd_server *odd_server_start(const struct odd_server_script *script)
{
    struct odd_server *server = mem_calloc(MEM_TOOLS, sizeof(*server));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    server->script = *script;
    server->reply = mem_calloc(MEM_TOOLS, ODD_SERVER_BYTES);
    server->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server->listen_fd < 0 ||
        bind(server->listen_fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(server->listen_fd, 16) != 0 ||
        getsockname(server->listen_fd, (struct sockaddr *)&address, &size) != 0)
        test_fatal("an odd server cannot listen");
    server->port = ntohs(address.sin_port);
    if (pthread_create(&server->thread, NULL, run, server) != 0)
        test_fatal("pthread_create");
    return server;
}

void odd_server_stop(struct odd_server *server)
{
    atomic_store_relaxed(&server->is_stopping, true);
    pthread_join(server->thread, NULL);
    for (uint32_t i = 0; i < ODD_SERVER_CONNECTIONS; i++) {
        if (server->connections[i].fd != 0)
            connection_close(&server->connections[i]);
    }
    close(server->listen_fd);
    mem_free(MEM_TOOLS, server->reply);
    mem_free(MEM_TOOLS, server);
}
