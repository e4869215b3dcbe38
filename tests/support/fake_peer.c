#include "tests/support/fake_peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/clock.h"

#define POLL_PERIOD_MS 20

_Noreturn void fake_peer_fail(struct fake_peer *peer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(peer->failure, sizeof(peer->failure), format, args);
    va_end(args);
    pthread_exit(NULL);
}

static void must(bool is_ok, const char *what)
{
    if (!is_ok) {
        fprintf(stderr, "fake_peer: %s: %s\n", what, strerror(errno));
        abort();
    }
}

static void *peer_run(void *arg)
{
    struct fake_peer *peer = arg;
    peer->script(peer, peer->arg);
    return NULL;
}

void fake_peer_start(struct fake_peer *peer, const char *path, fake_peer_script *script, void *arg)
{
    memset(peer, 0, sizeof(*peer));
    peer->script = script;
    peer->arg = arg;
    peer->fd = -1;
    struct sockaddr_storage storage = {0};
    socklen_t size;
    if (path != NULL) {
        struct sockaddr_un local = {.sun_family = AF_UNIX};
        snprintf(peer->path, sizeof(peer->path), "%s", path);
        snprintf(local.sun_path, sizeof(local.sun_path), "%s", path);
        unlink(path);
        memcpy(&storage, &local, sizeof(local));
        size = sizeof(local);
    } else {
        struct sockaddr_in local = {.sin_family = AF_INET};
        local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        memcpy(&storage, &local, sizeof(local));
        size = sizeof(local);
    }
    peer->listen_fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(peer->listen_fd >= 0, "socket");
    must(bind(peer->listen_fd, (const struct sockaddr *)&storage, size) == 0, "bind");
    must(listen(peer->listen_fd, 16) == 0, "listen");
    if (path == NULL) {
        struct sockaddr_in bound;
        socklen_t bound_size = sizeof(bound);
        must(getsockname(peer->listen_fd, (struct sockaddr *)&bound, &bound_size) == 0, "name");
        peer->port = ntohs(bound.sin_port);
    }
    must(pthread_create(&peer->thread, NULL, peer_run, peer) == 0, "thread");
}

const char *fake_peer_finish(struct fake_peer *peer)
{
    pthread_join(peer->thread, NULL);
    fake_peer_close(peer);
    close(peer->listen_fd);
    if (peer->path[0] != '\0') {
        unlink(peer->path);
    }
    return peer->failure[0] != '\0' ? peer->failure : NULL;
}

const char *fake_peer_stop(struct fake_peer *peer)
{
    atomic_store_release(&peer->is_stopping, true);
    return fake_peer_finish(peer);
}

void fake_peer_mark(struct fake_peer *peer, int mark)
{
    atomic_store_release(&peer->mark, mark);
}

bool fake_peer_wait_mark(struct fake_peer *peer, int mark)
{
    uint64_t deadline = clock_monotonic_ms() + FAKE_PEER_TIMEOUT_MS;
    while (atomic_load_acquire(&peer->mark) < mark) {
        if (clock_monotonic_ms() > deadline) {
            return false;
        }
        poll(NULL, 0, 1);
    }
    return true;
}

/* Waits for one event, in short turns so that a stop is noticed. False: wait_ms passed. */
static bool peer_poll(struct fake_peer *peer, int fd, short events, int wait_ms)
{
    uint64_t deadline = clock_monotonic_ms() + (uint64_t)wait_ms;
    for (;;) {
        struct pollfd pollfd = {.fd = fd, .events = events};
        if (poll(&pollfd, 1, POLL_PERIOD_MS) > 0) {
            return true;
        }
        if (atomic_load_acquire(&peer->is_stopping)) {
            pthread_exit(NULL);
        }
        if (clock_monotonic_ms() >= deadline) {
            return false;
        }
    }
}

void fake_peer_accept(struct fake_peer *peer)
{
    fake_peer_close(peer);
    peer->in_size = 0;
    if (!peer_poll(peer, peer->listen_fd, POLLIN, FAKE_PEER_TIMEOUT_MS)) {
        fake_peer_fail(peer, "nobody connected");
    }
    peer->fd = accept4(peer->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (peer->fd < 0) {
        fake_peer_fail(peer, "accept: %s", strerror(errno));
    }
    int on = 1;
    (void)setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* Receives once. False: the client has closed. */
static bool peer_fill(struct fake_peer *peer, const char *what)
{
    if (peer->in_size == sizeof(peer->in)) {
        fake_peer_fail(peer, "too much input while waiting for %s", what);
    }
    if (!peer_poll(peer, peer->fd, POLLIN, FAKE_PEER_TIMEOUT_MS)) {
        fake_peer_fail(peer, "nothing came while waiting for %s", what);
    }
    ssize_t got =
        recv(peer->fd, peer->in + peer->in_size, sizeof(peer->in) - peer->in_size, MSG_DONTWAIT);
    if (got <= 0) {
        return got < 0 && errno == EAGAIN;
    }
    peer->in_size += (size_t)got;
    return true;
}

static void peer_need(struct fake_peer *peer, size_t size, const char *what)
{
    while (peer->in_size < size) {
        if (!peer_fill(peer, what)) {
            fake_peer_fail(peer, "the client closed while waiting for %s", what);
        }
    }
}

static void peer_take(struct fake_peer *peer, size_t size)
{
    memmove(peer->in, peer->in + size, peer->in_size - size);
    peer->in_size -= size;
}

void fake_peer_expect(struct fake_peer *peer, const void *bytes, size_t size)
{
    peer_need(peer, size, "expected bytes");
    if (memcmp(peer->in, bytes, size) != 0) {
        fake_peer_fail(peer,
                       "expected \"%.*s\", got \"%.*s\"",
                       (int)size,
                       (const char *)bytes,
                       (int)size,
                       peer->in);
    }
    peer_take(peer, size);
}

/* "*3\r\n" or "$10\r\n". */
static size_t peer_number(struct fake_peer *peer, char type)
{
    size_t length = 1;
    do {
        peer_need(peer, length + 1, "a command");
        length++;
    } while (peer->in[length - 1] != '\n');
    if (peer->in[0] != type) {
        fake_peer_fail(peer, "expected '%c', got \"%.*s\"", type, (int)length, peer->in);
    }
    size_t number = strtoul(peer->in + 1, NULL, 10);
    peer_take(peer, length);
    return number;
}

void fake_peer_read_command(struct fake_peer *peer, char text[FAKE_PEER_COMMAND_MAX])
{
    size_t count = peer_number(peer, '*');
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        size_t size = peer_number(peer, '$');
        if (length + size + 2 > FAKE_PEER_COMMAND_MAX) {
            fake_peer_fail(peer, "a command of more than %d bytes", FAKE_PEER_COMMAND_MAX);
        }
        peer_need(peer, size + 2, "an argument");
        if (i > 0) {
            text[length++] = ' ';
        }
        memcpy(text + length, peer->in, size);
        length += size;
        peer_take(peer, size + 2);
    }
    text[length] = '\0';
}

void fake_peer_expect_command(struct fake_peer *peer, const char *text)
{
    char got[FAKE_PEER_COMMAND_MAX];
    fake_peer_read_command(peer, got);
    if (strcmp(got, text) != 0) {
        fake_peer_fail(peer, "expected \"%s\", got \"%s\"", text, got);
    }
}

void fake_peer_await_command(struct fake_peer *peer, const char *text)
{
    char got[FAKE_PEER_COMMAND_MAX];
    uint64_t deadline = clock_monotonic_ms() + FAKE_PEER_TIMEOUT_MS;
    do {
        if (clock_monotonic_ms() > deadline) {
            fake_peer_fail(peer, "\"%s\" did not come, the last was \"%s\"", text, got);
        }
        fake_peer_read_command(peer, got);
    } while (strcmp(got, text) != 0);
}

bool fake_peer_has_input(struct fake_peer *peer, int wait_ms)
{
    return peer->in_size > 0 || peer_poll(peer, peer->fd, POLLIN, wait_ms);
}

void fake_peer_send(struct fake_peer *peer, const void *bytes, size_t size)
{
    const char *next = bytes;
    while (size > 0) {
        if (!peer_poll(peer, peer->fd, POLLOUT, FAKE_PEER_TIMEOUT_MS)) {
            fake_peer_fail(peer, "the client does not read");
        }
        ssize_t sent = send(peer->fd, next, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) {
            continue;
        }
        if (sent <= 0) {
            fake_peer_fail(peer, "send: %s", strerror(errno));
        }
        next += sent;
        size -= (size_t)sent;
    }
}

void fake_peer_send_text(struct fake_peer *peer, const char *text)
{
    fake_peer_send(peer, text, strlen(text));
}

void fake_peer_send_split(
    struct fake_peer *peer, const void *bytes, size_t size, size_t piece, unsigned pause_us)
{
    const char *next = bytes;
    while (size > 0) {
        size_t now = size < piece ? size : piece;
        fake_peer_send(peer, next, now);
        next += now;
        size -= now;
        if (pause_us > 0) {
            usleep(pause_us);
        }
    }
}

void fake_peer_wait_closed(struct fake_peer *peer)
{
    while (peer_fill(peer, "the client to close")) {
        peer->in_size = 0;
    }
    fake_peer_close(peer);
}

void fake_peer_close(struct fake_peer *peer)
{
    if (peer->fd >= 0) {
        /* Unread input would turn the close into a reset. */
        char rest[4096];
        while (recv(peer->fd, rest, sizeof(rest), MSG_DONTWAIT) > 0) {
        }
        close(peer->fd);
        peer->fd = -1;
    }
}

void fake_peer_reset(struct fake_peer *peer)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(peer->fd);
    peer->fd = -1;
}

void fake_peer_handshake(struct fake_peer *peer, char psync[FAKE_PEER_COMMAND_MAX])
{
    fake_peer_expect_command(peer, "PING");
    fake_peer_send_text(peer, "+PONG\r\n");
    fake_peer_expect_command(peer, "REPLCONF capa eof capa psync2");
    fake_peer_send_text(peer, "+OK\r\n");
    fake_peer_read_command(peer, psync);
    if (strncmp(psync, "REPLCONF version ", 17) != 0) {
        fake_peer_fail(peer, "expected REPLCONF version, got \"%s\"", psync);
    }
    fake_peer_send_text(peer, "-ERR Unrecognized REPLCONF option: version\r\n");
    fake_peer_read_command(peer, psync);
    if (strncmp(psync, "PSYNC ", 6) != 0) {
        fake_peer_fail(peer, "expected PSYNC, got \"%s\"", psync);
    }
}
