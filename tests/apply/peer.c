#include "tests/apply/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ARG_SHOWN_MAX 40
#define RECEIVE_BYTES 65536u

/* ---- the peer: recording ---- */

static void peer_text(struct peer *peer, const uint8_t *bytes, const struct resp_command *command)
{
    char line[64 * (ARG_SHOWN_MAX + 2)];
    size_t size = (size_t)snprintf(line, sizeof(line), "%u", peer->db);
    for (uint32_t i = 0; i < command->argc && size + ARG_SHOWN_MAX + 3 < sizeof(line); i++) {
        const struct resp_arg *arg = &command->argv[i];
        line[size++] = ' ';
        uint32_t shown = arg->size < ARG_SHOWN_MAX ? arg->size : ARG_SHOWN_MAX;
        for (uint32_t at = 0; at < shown; at++) {
            uint8_t c = bytes[arg->pos + at];
            line[size++] = c > ' ' && c < 127 ? (char)c : '?';
        }
    }
    line[size++] = '\n';
    peer->text = bytes_grown(peer->text, peer->text_size + size + 1, &peer->text_capacity, 1);
    memcpy(peer->text + peer->text_size, line, size);
    peer->text_size += size;
    peer->text[peer->text_size] = '\0';
}

static void peer_fold(struct peer *peer, uint32_t count, const struct slice *args)
{
    uint32_t head[2] = {peer->db, count};
    peer->digest = crc64_update(peer->digest, head, sizeof(head));
    for (uint32_t i = 0; i < count; i++) {
        uint64_t size = args[i].size;
        peer->digest = crc64_update(peer->digest, &size, sizeof(size));
        peer->digest = crc64_update(peer->digest, args[i].bytes, args[i].size);
    }
    peer->effect_count++;
}

static bool
arg_is(const uint8_t *bytes, const struct resp_command *command, uint32_t i, const char *word)
{
    return i < command->argc && command->argv[i].size == strlen(word) &&
           strncasecmp((const char *)bytes + command->argv[i].pos, word, strlen(word)) == 0;
}

static void peer_effect(struct peer *peer, const uint8_t *bytes, const struct resp_command *command)
{
    static struct slice set = {(const uint8_t *)"SET", 3};
    struct slice *args = mem_alloc(MEM_TOOLS, command->argc * sizeof(*args));
    ASSERT(args != NULL);
    for (uint32_t i = 0; i < command->argc; i++) {
        args[i] = (struct slice){bytes + command->argv[i].pos, command->argv[i].size};
    }
    if (arg_is(bytes, command, 0, "MSET")) {
        for (uint32_t i = 1; i + 1 < command->argc; i += 2) {
            peer_fold(peer, 3, (const struct slice[]){set, args[i], args[i + 1]});
        }
        uint64_t pairs = command->argc / 2;
        peer->group_max = pairs > peer->group_max ? pairs : peer->group_max;
    } else {
        peer_fold(peer, command->argc, args);
    }
    mem_free(MEM_TOOLS, args);
}

/* ---- the peer: answering ---- */

static void peer_answer(struct peer *peer, const char *text, size_t size)
{
    peer->out = bytes_grown(peer->out, peer->out_size + size, &peer->out_capacity, 1);
    memcpy(peer->out + peer->out_size, text, size);
    peer->out_size += size;
    peer->out_ends = bytes_grown(
        peer->out_ends, peer->out_ends_count + 1, &peer->out_ends_capacity, sizeof(uint64_t));
    peer->out_ends[peer->out_ends_count++] = peer->out_size;
    peer->out_count++;
}

static void peer_error(struct peer *peer, const char *text)
{
    char line[512];
    int size = snprintf(line, sizeof(line), "-%s\r\n", text);
    peer_answer(peer, line, (size_t)size);
}

static void peer_exec(struct peer *peer)
{
    struct bytes answer = {0};
    uint8_t head[RESP_HEAD_MAX];
    bytes_add(&answer, head, (size_t)(resp_put_head(head, '*', peer->queued) - head));
    for (uint32_t i = 1; i <= peer->queued; i++) {
        if (i == peer->script.fail_in_exec) {
            char line[512];
            int size = snprintf(line, sizeof(line), "-%s\r\n", peer->script.fail_text);
            bytes_add(&answer, line, (size_t)size);
        } else if (i % 3 == 0) { /* answers are of every kind, nested arrays among them */
            bytes_add(&answer, "*2\r\n$3\r\n-no\r\n:7\r\n", 17);
        } else {
            bytes_add(&answer, ":1\r\n", 4);
        }
    }
    peer_answer(peer, (const char *)answer.bytes, answer.size);
    bytes_free(&answer);
    peer->is_multi = false;
}

static bool restore_is_bad(const uint8_t *bytes, const struct resp_command *command)
{
    if (!arg_is(bytes, command, 0, "RESTORE") || command->argc < 4) {
        return false;
    }
    uint8_t type;
    struct slice body;
    uint16_t version;
    struct syn_err err;
    return !rdb_payload_read(
        bytes + command->argv[3].pos, command->argv[3].size, &type, &body, &version, &err);
}

static void peer_select(struct peer *peer, const uint8_t *bytes, const struct resp_command *command)
{
    uint64_t db = 0;
    ASSERT(command->argc == 2);
    ASSERT(num_read_u64((const char *)bytes + command->argv[1].pos, command->argv[1].size, &db));
    peer->db = (uint32_t)db;
}

/* XCLAIM key group consumer 0 ids TIME …: an array of the ids. */
static void peer_claim(struct peer *peer, const uint8_t *bytes, const struct resp_command *command)
{
    uint64_t count = 0;
    while (5 + count < command->argc && !arg_is(bytes, command, 5 + (uint32_t)count, "TIME")) {
        count++;
    }
    char head[32];
    count -= peer->script.unclaimed < count ? peer->script.unclaimed : count;
    int size = snprintf(head, sizeof(head), "*%llu\r\n", (unsigned long long)count);
    struct bytes answer = {0};
    bytes_add(&answer, head, (size_t)size);
    for (uint64_t i = 0; i < count; i++) {
        bytes_add(&answer, "$3\r\n1-1\r\n", 9);
    }
    peer_answer(peer, (const char *)answer.bytes, answer.size);
    bytes_free(&answer);
}

static void
peer_command(struct peer *peer, const uint8_t *bytes, const struct resp_command *command)
{
    peer->command_count++;
    peer_text(peer, bytes, command);
    if (peer->script.fail_at == peer->command_count ||
        (peer->script.fail_name != NULL && arg_is(bytes, command, 0, peer->script.fail_name))) {
        if (peer->script.raw_answer != NULL) {
            peer_answer(peer, peer->script.raw_answer, strlen(peer->script.raw_answer));
        } else {
            peer_error(peer, peer->script.fail_text);
        }
        return;
    }
    struct bytes made = {0};
    if (peer->answerer != NULL &&
        peer->answerer(peer->answerer_arg, peer->index, bytes, command, &made)) {
        peer_answer(peer, (const char *)made.bytes, made.size);
        bytes_free(&made);
        return;
    }
    if (restore_is_bad(bytes, command)) {
        peer->restore_bad++;
        peer_error(peer, "ERR DUMP payload version or checksum are wrong");
        return;
    }
    if (arg_is(bytes, command, 0, "MULTI")) {
        peer->is_multi = true;
        peer->queued = 0;
        peer_answer(peer, "+OK\r\n", 5);
        return;
    }
    if (arg_is(bytes, command, 0, "EXEC")) {
        peer_exec(peer);
        return;
    }
    if (arg_is(bytes, command, 0, "SELECT")) {
        peer_select(peer, bytes, command);
    } else {
        peer_effect(peer, bytes, command);
    }
    if (peer->is_multi) {
        peer->queued++;
        peer_answer(peer, "+QUEUED\r\n", 9);
    } else if (arg_is(bytes, command, 0, "XCLAIM")) {
        peer_claim(peer, bytes, command);
    } else {
        static const char *const answers[] = {"+OK\r\n", ":1\r\n", "$3\r\na\r\n\r\n", "$0\r\n\r\n"};
        const char *answer = answers[peer->command_count % 4];
        peer_answer(peer, answer, strlen(answer));
    }
}

/* ---- the peer: its thread ---- */

static void peer_cut(struct peer *peer)
{
    size_t used = 0;
    for (;;) {
        struct resp_command command;
        struct syn_err err;
        size_t wanted;
        enum resp_status status =
            resp_cut(&peer->cutter, peer->in + used, peer->in_size - used, &wanted, &command, &err);
        if (status == RESP_MORE) {
            break;
        }
        if (status == RESP_ERROR) {
            fprintf(stderr, "a destination was sent what is not RESP: %s\n", err.msg);
            abort();
        }
        peer_command(peer, peer->in + used, &command);
        used += command.size;
    }
    memmove(peer->in, peer->in + used, peer->in_size - used);
    peer->in_size -= used;
}

static bool peer_receive(struct peer *peer)
{
    peer->in = bytes_grown(peer->in, peer->in_size + RECEIVE_BYTES, &peer->in_capacity, 1);
    ssize_t got = recv(peer->fd, peer->in + peer->in_size, RECEIVE_BYTES, MSG_DONTWAIT);
    if (got <= 0) {
        return false;
    }
    pthread_mutex_lock(&peer->lock);
    peer->bytes += (uint64_t)got;
    peer->in_size += (size_t)got;
    peer_cut(peer);
    pthread_mutex_unlock(&peer->lock);
    return true;
}

/* Answers that may go out now, in bytes. */
static size_t peer_released(struct peer *peer, size_t *count)
{
    uint64_t limit = atomic_load_acquire(&peer->reply_limit);
    uint64_t first = peer->out_count - peer->out_ends_count;
    *count = 0;
    if (limit <= first) {
        return 0;
    }
    uint64_t most = limit - first;
    *count = most < peer->out_ends_count ? (size_t)most : peer->out_ends_count;
    return *count > 0 ? peer->out_ends[*count - 1] : 0;
}

static bool peer_send(struct peer *peer)
{
    size_t count;
    size_t size = peer_released(peer, &count);
    if (size == 0) {
        return false;
    }
    ssize_t sent = send(peer->fd, peer->out, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent <= 0) {
        return false;
    }
    size_t gone = 0;
    while (gone < count && peer->out_ends[gone] <= (size_t)sent) {
        gone++;
    }
    memmove(peer->out, peer->out + sent, peer->out_size - (size_t)sent);
    peer->out_size -= (size_t)sent;
    memmove(peer->out_ends,
            peer->out_ends + gone,
            (peer->out_ends_count - gone) * sizeof(peer->out_ends[0]));
    peer->out_ends_count -= gone;
    for (size_t i = 0; i < peer->out_ends_count; i++) {
        peer->out_ends[i] -= (size_t)sent;
    }
    pthread_mutex_lock(&peer->lock);
    peer->reply_count += gone;
    pthread_mutex_unlock(&peer->lock);
    return true;
}

static void *peer_main(void *arg)
{
    struct peer *peer = arg;
    while (!atomic_load_acquire(&peer->is_stopping)) {
        bool is_stalled = atomic_load_acquire(&peer->is_stalled);
        bool did = !is_stalled && peer_receive(peer);
        did = (!is_stalled && peer_send(peer)) || did;
        if (did) {
            continue;
        }
        size_t count;
        short events = is_stalled ? 0 : POLLIN;
        if (!is_stalled && peer_released(peer, &count) > 0) {
            events |= POLLOUT;
        }
        struct pollfd fds[2] = {{.fd = peer->waker.fd, .events = POLLIN},
                                {.fd = events != 0 ? peer->fd : -1, .events = events}};
        poll(fds, 2, PEER_TIMEOUT_MS);
        if ((fds[0].revents & POLLIN) != 0) {
            waker_drain(&peer->waker);
        } else if ((fds[1].revents & POLLHUP) != 0) {
            waker_wait(&peer->waker, PEER_TIMEOUT_MS); /* the lane is gone; only a stop follows */
        }
    }
    return NULL;
}

void peer_start(struct peer *peer, int fd)
{
    struct syn_err err;
    peer->fd = fd;
    atomic_store_relaxed(&peer->reply_limit, UINT64_MAX);
    /* Here, so that an idle peer allocates nothing while a test makes allocations fail. */
    peer->in = bytes_grown(peer->in, RECEIVE_BYTES, &peer->in_capacity, 1);
    pthread_mutex_init(&peer->lock, NULL);
    ASSERT(waker_init(&peer->waker, &err));
    ASSERT(resp_cutter_init(&peer->cutter, 1u << 20, UINT32_MAX, &err));
    ASSERT(pthread_create(&peer->thread, NULL, peer_main, peer) == 0);
}

void peer_stop(struct peer *peer)
{
    atomic_store_release(&peer->is_stopping, true);
    waker_signal(&peer->waker);
    pthread_join(peer->thread, NULL);
    close(peer->fd);
    waker_deinit(&peer->waker);
    resp_cutter_deinit(&peer->cutter);
    pthread_mutex_destroy(&peer->lock);
    mem_free(MEM_TOOLS, peer->text);
    mem_free(MEM_TOOLS, peer->in);
    mem_free(MEM_TOOLS, peer->out);
    mem_free(MEM_TOOLS, peer->out_ends);
}
