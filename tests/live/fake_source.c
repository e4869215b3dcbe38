#include "tests/live/fake_source.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/alloc.h"
#include "tests/support/random.h"
#include "tests/support/servers.h"
#include "tests/support/transfer.h"

#define WORDS_MAX 8
#define LOOK_MS 50 /* how soon a stop is seen */

static bool send_text(int fd, const char *text)
{
    return test_send_all(fd, text, strlen(text));
}

/* Every piece leaves by itself: the socket has TCP_NODELAY. */
static bool send_pieces(const struct fake_source *source, int fd, const uint8_t *bytes, size_t size)
{
    struct random random = {.state = size};
    uint32_t pieces = source->script.pieces;
    if (pieces == 0)
        return test_send_all(fd, bytes, size);
    for (size_t pos = 0; pos < size;) {
        size_t piece = 1 + random_below(&random, pieces);
        piece = piece < size - pos ? piece : size - pos;
        if (!test_send_all(fd, bytes + pos, piece))
            return false;
        pos += piece;
    }
    return true;
}

static uint64_t snapshot_offset(const struct fake_source *source)
{
    return source->script.offset != 0 ? source->script.offset : FAKE_SOURCE_OFFSET;
}

static const char *replid(const struct fake_source *source)
{
    const struct fake_source_script *script = &source->script;
    bool is_changed = script->continue_replid != NULL && script->continue_replid[0] != '\0' &&
                      atomic_load_relaxed(&source->continued_count) > 0;
    if (is_changed)
        return script->continue_replid;
    return script->replid != NULL ? script->replid : FAKE_SOURCE_REPLID;
}

static bool send_info(const struct fake_source *source, int fd)
{
    const struct fake_source_script *script = &source->script;
    char body[1024], head[32];
    int size = snprintf(body,
                        sizeof(body),
                        "# Server\r\n%s:%s\r\nredis_mode:standalone\r\nrun_id:%s\r\n"
                        "loading:0\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n"
                        "master_replid:%s\r\nmaster_repl_offset:%llu\r\n# Cluster\r\n"
                        "cluster_enabled:0\r\n# Keyspace\r\n",
                        script->is_valkey ? "redis_version:7.2.4\r\nserver_name:valkey\r\n"
                                            "valkey_version"
                                          : "redis_version",
                        script->version,
                        replid(source),
                        replid(source),
                        (unsigned long long)(snapshot_offset(source) + script->stream_size));
    snprintf(head, sizeof(head), "$%d\r\n", size);
    return send_text(fd, head) && send_text(fd, body) && send_text(fd, "\r\n");
}

/* False: the connection is to be closed. */
static bool send_stream(struct fake_source *source, int fd, size_t pos)
{
    const struct fake_source_script *script = &source->script;
    bool is_cut = source->cut_index < script->cut_count;
    size_t end = is_cut ? script->cuts[source->cut_index] : script->stream_size;
    if (end < pos) { /* the cut lies behind what is asked for */
        end = script->stream_size;
        is_cut = false;
    }
    source->sent_max = end > source->sent_max ? end : source->sent_max;
    source->cut_index += is_cut;
    return send_pieces(source, fd, script->stream + pos, end - pos) && !is_cut;
}

static bool serve_full(struct fake_source *source, uint32_t i)
{
    int fd = source->connections[i].fd;
    const struct fake_source_script *script = &source->script;
    char line[128];
    counter_add(&source->full_count, 1);
    /* A keep-alive first, as a server sends while it forks. */
    snprintf(line,
             sizeof(line),
             "+FULLRESYNC %s %llu\r\n\n",
             replid(source),
             (unsigned long long)snapshot_offset(source));
    if (!send_text(fd, line))
        return false;
    long long announced =
        script->announced == 0 ? (long long)script->payload_size : script->announced;
    if (announced < 0)
        snprintf(line, sizeof(line), "$EOF:%s\r\n", FAKE_SOURCE_MARK);
    else
        snprintf(line, sizeof(line), "$%lld\r\n", announced);
    const char *mark = script->mark != NULL ? script->mark : FAKE_SOURCE_MARK;
    bool is_sent = send_text(fd, line) &&
                   send_pieces(source, fd, script->payload, script->payload_size) &&
                   !script->is_cut && (announced >= 0 || send_text(fd, mark));
    /* As a server does: a replica finds the mark only where what it received so far ends. */
    source->connections[i].is_stream_due = announced < 0;
    source->connections[i].acks_seen = 0;
    return is_sent && (announced < 0 || send_stream(source, fd, 0));
}

static bool serve_continue(struct fake_source *source, uint32_t i, const char *id, uint64_t next)
{
    const struct fake_source_script *script = &source->script;
    uint64_t first = snapshot_offset(source) + 1;
    char line[64] = "+CONTINUE\r\n";
    if (strcmp(id, replid(source)) != 0 || next < first || next - first > source->sent_max) {
        fprintf(
            stderr, "a fake source was asked for PSYNC %s %llu\n", id, (unsigned long long)next);
        counter_add(&source->wrong_count, 1);
        return serve_full(source, i);
    }
    counter_add(&source->continued_count, 1);
    if (script->continue_replid == NULL || script->continue_replid[0] != '\0')
        snprintf(line, sizeof(line), "+CONTINUE %s\r\n", replid(source));
    return send_text(source->connections[i].fd, line) &&
           send_stream(source, source->connections[i].fd, (size_t)(next - first));
}

static bool serve_psync(struct fake_source *source, uint32_t i, char *const *words, size_t count)
{
    if (source->script.psync_answer != NULL)
        return send_text(source->connections[i].fd, source->script.psync_answer);
    /* A server that was never a replica of this one may ask by an id of its own: only what was
     * served once is continued. */
    if (count != 3 || source->cut_index == 0 || strcmp(words[1], "?") == 0)
        return serve_full(source, i);
    return serve_continue(source, i, words[1], strtoull(words[2], NULL, 10));
}

static bool serve_ack(struct fake_source *source, uint32_t i)
{
    if (!source->connections[i].is_stream_due ||
        source->connections[i].acks_seen++ < source->script.acks_ignored)
        return true;
    source->connections[i].is_stream_due = false;
    return send_stream(source, source->connections[i].fd, 0);
}

static bool serve(struct fake_source *source, uint32_t i, char *const *words, size_t count)
{
    int fd = source->connections[i].fd;
    if (count == 0)
        return true;
    if (strcasecmp(words[0], "PING") == 0)
        return send_text(fd, "+PONG\r\n");
    if (strcasecmp(words[0], "INFO") == 0)
        return send_info(source, fd);
    if (strcasecmp(words[0], "PSYNC") == 0)
        return serve_psync(source, i, words, count);
    if (strcasecmp(words[0], "REPLCONF") == 0 && count > 1 && strcasecmp(words[1], "ACK") == 0)
        return serve_ack(source, i);
    if (strcasecmp(words[0], "REPLCONF") == 0 || strcasecmp(words[0], "SELECT") == 0 ||
        strcasecmp(words[0], "CLIENT") == 0)
        return send_text(fd, "+OK\r\n");
    return send_text(fd, "-ERR unknown command\r\n");
}

/* ---- values ---- */

static bool values_open(struct fake_source *source, uint32_t i)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(source->script.values_port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        test_fatal("no connection to the server with the values");
    source->connections[i].values_fd = fd;
    return send_text(fd, "*1\r\n$5\r\nMULTI\r\n");
}

static void values_close(struct fake_source *source, uint32_t i)
{
    if (source->connections[i].values_fd != 0)
        close(source->connections[i].values_fd);
    source->connections[i].values_fd = 0;
}

static bool values_answer(struct fake_source *source, uint32_t i)
{
    char bytes[16384];
    ssize_t got = recv(source->connections[i].values_fd, bytes, sizeof(bytes), 0);
    return got > 0 && test_send_all(source->connections[i].fd, bytes, (size_t)got);
}

/* ---- commands ---- */

/* Cuts one command off the front: an array of bulk strings, or a line. Returns its size, 0: not
 * whole. Words point into the buffer, which is changed. */
static size_t cut_command(char *in, size_t size, char **words, size_t *count)
{
    char *end = memchr(in, '\n', size);
    *count = 0;
    if (end == NULL)
        return 0;
    if (in[0] != '*') {
        *end = '\0';
        words[(*count)++] = strtok_r(in, " \r", &(char *){NULL});
        *count = words[0] != NULL;
        return (size_t)(end - in) + 1;
    }
    size_t wanted = strtoul(in + 1, NULL, 10);
    char *at = end + 1;
    char *stop = in + size;
    char *ends[WORDS_MAX] = {NULL};
    if (wanted > WORDS_MAX)
        test_fatal("a command of %zu words", wanted);
    for (size_t i = 0; i < wanted; i++) {
        end = at < stop ? memchr(at, '\n', (size_t)(stop - at)) : NULL;
        if (end == NULL)
            return 0;
        size_t length = strtoul(at + 1, NULL, 10);
        at = end + 1;
        if ((size_t)(stop - at) < length + 2)
            return 0;
        words[i] = at;
        ends[i] = at + length;
        at += length + 2;
    }
    for (size_t i = 0; i < wanted; i++)
        *ends[i] = '\0';
    *count = wanted;
    return (size_t)(at - in);
}

static bool receive(struct fake_source *source, uint32_t i)
{
    char *in = source->connections[i].in;
    size_t *size = &source->connections[i].in_size;
    ssize_t got =
        recv(source->connections[i].fd, in + *size, sizeof(source->connections[i].in) - *size, 0);
    if (got <= 0)
        return false;
    *size += (size_t)got;
    for (;;) {
        if (source->connections[i].values_fd != 0) {
            size_t all = *size;
            *size = 0;
            return test_send_all(source->connections[i].values_fd, in, all);
        }
        char *words[WORDS_MAX];
        size_t count;
        size_t used = *size > 0 ? cut_command(in, *size, words, &count) : 0;
        if (used == 0)
            return *size < sizeof(source->connections[i].in);
        bool is_values = source->script.values_port != 0 && strcasecmp(words[0], "MULTI") == 0;
        if (!(is_values ? values_open(source, i) : serve(source, i, words, count)))
            return false;
        *size -= used;
        memmove(in, in + used, *size);
    }
}

static void take_connection(struct fake_source *source)
{
    int fd = accept(source->listen_fd, NULL, NULL);
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    for (uint32_t i = 0; i < FAKE_SOURCE_CONNECTIONS; i++) {
        if (source->connections[i].fd == 0) {
            source->connections[i].fd = fd;
            source->connections[i].in_size = 0;
            source->connections[i].is_stream_due = false;
            return;
        }
    }
    close(fd);
}

static void *run(void *arg)
{
    struct fake_source *source = arg;
    while (!atomic_load_relaxed(&source->is_stopping)) {
        struct pollfd polls[2 * FAKE_SOURCE_CONNECTIONS + 1];
        for (uint32_t i = 0; i < FAKE_SOURCE_CONNECTIONS; i++) {
            int fd = source->connections[i].fd;
            int values_fd = source->connections[i].values_fd;
            polls[i] = (struct pollfd){.fd = fd == 0 ? -1 : fd, .events = POLLIN};
            polls[FAKE_SOURCE_CONNECTIONS + i] =
                (struct pollfd){.fd = values_fd == 0 ? -1 : values_fd, .events = POLLIN};
        }
        polls[2 * FAKE_SOURCE_CONNECTIONS] =
            (struct pollfd){.fd = source->listen_fd, .events = POLLIN};
        if (poll(polls, 2 * FAKE_SOURCE_CONNECTIONS + 1, LOOK_MS) <= 0)
            continue;
        for (uint32_t i = 0; i < FAKE_SOURCE_CONNECTIONS; i++) {
            bool is_good =
                polls[FAKE_SOURCE_CONNECTIONS + i].revents == 0 || values_answer(source, i);
            is_good = is_good && (polls[i].revents == 0 || receive(source, i));
            if (!is_good) {
                close(source->connections[i].fd);
                source->connections[i].fd = 0;
                values_close(source, i);
            }
        }
        if (polls[2 * FAKE_SOURCE_CONNECTIONS].revents != 0)
            take_connection(source);
    }
    return NULL;
}

struct fake_source *fake_source_start(const struct fake_source_script *script)
{
    struct fake_source *source = mem_calloc(MEM_TOOLS, sizeof(*source));
    if (source == NULL)
        test_fatal("out of memory");
    source->script = *script;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    source->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (source->listen_fd < 0 ||
        bind(source->listen_fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(source->listen_fd, 16) != 0 ||
        getsockname(source->listen_fd, (struct sockaddr *)&address, &size) != 0)
        test_fatal("a fake source cannot listen");
    source->port = ntohs(address.sin_port);
    if (pthread_create(&source->thread, NULL, run, source) != 0)
        test_fatal("pthread_create");
    return source;
}

void fake_source_stop(struct fake_source *source)
{
    atomic_store_relaxed(&source->is_stopping, true);
    /* A send that nobody takes ends with its connection. */
    for (uint32_t i = 0; i < FAKE_SOURCE_CONNECTIONS; i++) {
        if (source->connections[i].fd != 0)
            shutdown(source->connections[i].fd, SHUT_RDWR);
    }
    pthread_join(source->thread, NULL);
    for (uint32_t i = 0; i < FAKE_SOURCE_CONNECTIONS; i++) {
        if (source->connections[i].fd != 0)
            close(source->connections[i].fd);
        values_close(source, i);
    }
    close(source->listen_fd);
    mem_free(MEM_TOOLS, source);
}
