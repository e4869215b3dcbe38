#include "tests/apply/relay_source.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rdb/rdb.h"

#define ARGS_MAX 4

struct conversation {
    struct value_source *source;
    struct bytes out;
    struct bytes exec; /* the elements of EXEC's answer */
    uint32_t count;
    uint64_t offset;
    bool is_multi;
};

static void add_text(struct bytes *to, const char *text)
{
    bytes_add(to, text, strlen(text));
}

static void add_bulk(struct bytes *to, const void *bytes, size_t size)
{
    char head[32];
    snprintf(head, sizeof(head), "$%zu\r\n", size);
    add_text(to, head);
    bytes_add(to, bytes, size);
    add_text(to, "\r\n");
}

static void add_dump(struct bytes *to, const char *text)
{
    uint8_t payload[1 + 64 + RDB_FOOTER_SIZE] = {RDB_TYPE_SET};
    size_t size = strlen(text);
    memcpy(payload + 1, text, size);
    payload[1 + size] = 10; /* the version; nobody looks at the checksum */
    add_bulk(to, payload, 1 + size + RDB_FOOTER_SIZE);
}

/* One command inside MULTI. */
static void answer_queued(struct conversation *with, const char *name, const struct slice *key)
{
    struct value_source *source = with->source;
    char text[64];
    int64_t expire_ms = -1;
    with->count++;
    if (strcmp(name, "INFO") == 0) {
        snprintf(
            text, sizeof(text), "master_repl_offset:%llu\r\n", (unsigned long long)with->offset);
        add_bulk(&with->exec, text, strlen(text));
    } else if (strcmp(name, "TIME") == 0) {
        add_text(&with->exec, "*2\r\n$1\r\n0\r\n$1\r\n0\r\n");
    } else if (!source->value(source->arg, with->offset, key->bytes, key->size, text, &expire_ms)) {
        add_text(&with->exec, strcmp(name, "DUMP") == 0 ? "$-1\r\n" : ":-2\r\n");
    } else if (strcmp(name, "DUMP") == 0) {
        atomic_add_relaxed(&source->value_count, 1);
        add_dump(&with->exec, text);
    } else {
        snprintf(text, sizeof(text), ":%lld\r\n", (long long)expire_ms);
        add_text(&with->exec, text);
    }
    add_text(&with->out, "+QUEUED\r\n");
}

static void
answer(struct conversation *with, const uint8_t *bytes, const struct resp_command *command)
{
    char name[16] = "";
    char head[32];
    struct slice key = {0};
    ASSERT(command->argv[0].size < sizeof(name));
    memcpy(name, bytes + command->argv[0].pos, command->argv[0].size);
    if (command->argc > 1) {
        key = (struct slice){bytes + command->argv[1].pos, command->argv[1].size};
    }
    if (strcmp(name, "EXEC") == 0) {
        snprintf(head, sizeof(head), "*%u\r\n", with->count);
        add_text(&with->out, head);
        bytes_add(&with->out, with->exec.bytes, with->exec.size);
        with->exec.size = 0;
        with->is_multi = false;
    } else if (with->is_multi) {
        answer_queued(with, name, &key);
    } else if (strcmp(name, "MULTI") == 0) {
        with->is_multi = true;
        with->count = 0;
        with->offset = with->source->offset(with->source->arg);
        add_text(&with->out, "+OK\r\n");
    } else {
        add_text(&with->out, strcmp(name, "PING") == 0 ? "+PONG\r\n" : "+OK\r\n");
    }
}

static bool send_all(int fd, struct bytes *out)
{
    size_t sent = 0;
    while (sent < out->size) {
        ssize_t size = send(fd, out->bytes + sent, out->size - sent, MSG_NOSIGNAL);
        if (size <= 0) {
            return false;
        }
        sent += (size_t)size;
    }
    out->size = 0;
    return true;
}

static void talk(struct value_source *source, int fd)
{
    struct conversation with = {.source = source};
    struct resp_cutter cutter;
    struct bytes in = {0};
    struct syn_err err;
    ASSERT(resp_cutter_init(&cutter, ARGS_MAX, UINT32_MAX, &err));
    uint8_t piece[4096];
    ssize_t got;
    while ((got = recv(fd, piece, sizeof(piece), 0)) > 0) {
        bytes_add(&in, piece, (size_t)got);
        size_t pos = 0;
        size_t wanted;
        struct resp_command command;
        while (pos < in.size &&
               resp_cut(&cutter, in.bytes + pos, in.size - pos, &wanted, &command, &err) ==
                   RESP_READY) {
            answer(&with, in.bytes + pos, &command);
            pos += command.size;
        }
        resp_cutter_reset(&cutter); /* the rest is cut anew, with what follows it */
        memmove(in.bytes, in.bytes + pos, in.size - pos);
        in.size -= pos;
        if (!send_all(fd, &with.out)) {
            break;
        }
    }
    resp_cutter_deinit(&cutter);
    bytes_free(&in);
    bytes_free(&with.out);
    bytes_free(&with.exec);
}

static void *source_main(void *arg)
{
    struct value_source *source = arg;
    int fd;
    while ((fd = accept(source->listen_fd, NULL, NULL)) >= 0) {
        talk(source, fd);
        close(fd);
    }
    return NULL;
}

void value_source_start(struct value_source *source)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    source->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT(source->listen_fd >= 0);
    ASSERT(bind(source->listen_fd, (struct sockaddr *)&address, size) == 0);
    ASSERT(listen(source->listen_fd, 4) == 0);
    ASSERT(getsockname(source->listen_fd, (struct sockaddr *)&address, &size) == 0);
    source->port = ntohs(address.sin_port);
    ASSERT(pthread_create(&source->thread, NULL, source_main, source) == 0);
}

/* Who is connected has closed before. */
void value_source_stop(struct value_source *source)
{
    shutdown(source->listen_fd, SHUT_RDWR);
    pthread_join(source->thread, NULL);
    close(source->listen_fd);
}
