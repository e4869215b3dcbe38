#include "tests/apply/pipeline_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ARG_SHOWN_MAX 40
#define RECEIVE_BYTES 65536u

/* ---- growing buffers ---- */

static void *grown(void *p, size_t need, size_t *capacity, size_t item)
{
    if (need <= *capacity) {
        return p;
    }
    *capacity = need * 2 < 256 ? 256 : need * 2;
    void *q = mem_realloc(MEM_TOOLS, p, *capacity * item);
    ASSERT(q != NULL);
    return q;
}

void bytes_add(struct bytes *to, const void *bytes, size_t size)
{
    to->bytes = grown(to->bytes, to->size + size, &to->capacity, 1);
    if (size > 0) {
        memcpy(to->bytes + to->size, bytes, size);
    }
    to->size += size;
}

void bytes_free(struct bytes *bytes)
{
    mem_free(MEM_TOOLS, bytes->bytes);
    *bytes = (struct bytes){0};
}

void bytes_fixture(struct bytes *to, const char *path)
{
    char full[512];
    snprintf(full, sizeof(full), "%s/%s", TEST_FIXTURES, path);
    FILE *file = fopen(full, "rb");
    assert_non_null(file);
    char piece[65536];
    size_t size;
    while ((size = fread(piece, 1, sizeof(piece), file)) > 0) {
        bytes_add(to, piece, size);
    }
    fclose(file);
}

/* ---- RDB ---- */

void rdb_open(struct bytes *rdb)
{
    bytes_add(rdb, "REDIS0009", 9);
}

void rdb_select(struct bytes *rdb, uint8_t db)
{
    ASSERT(db < 64);
    bytes_add(rdb, (const uint8_t[]){254, db}, 2);
}

static void rdb_length(struct bytes *rdb, size_t size)
{
    if (size < 64) {
        bytes_add(rdb, (const uint8_t[]){(uint8_t)size}, 1);
    } else if (size < 16384) {
        bytes_add(rdb, (const uint8_t[]){(uint8_t)(0x40 | size >> 8), (uint8_t)size}, 2);
    } else {
        const uint8_t head[] = {0x80,
                                (uint8_t)(size >> 24),
                                (uint8_t)(size >> 16),
                                (uint8_t)(size >> 8),
                                (uint8_t)size};
        bytes_add(rdb, head, 5);
    }
}

void rdb_text(struct bytes *rdb, const void *text, size_t size)
{
    rdb_length(rdb, size);
    bytes_add(rdb, text, size);
}

void rdb_string_add(struct bytes *rdb, const char *key, const void *value, size_t size)
{
    bytes_add(rdb, (const uint8_t[]){RDB_TYPE_STRING}, 1);
    rdb_text(rdb, key, strlen(key));
    rdb_text(rdb, value, size);
}

void rdb_expire(struct bytes *rdb, uint64_t ms)
{
    uint8_t code[9] = {252};
    for (int i = 0; i < 8; i++) {
        code[1 + i] = (uint8_t)(ms >> (8 * i));
    }
    bytes_add(rdb, code, sizeof(code));
}

void rdb_list_add(struct bytes *rdb, const char *key, uint32_t count, size_t size)
{
    bytes_add(rdb, (const uint8_t[]){RDB_TYPE_LIST}, 1);
    rdb_text(rdb, key, strlen(key));
    rdb_length(rdb, count);
    struct bytes element = {0};
    for (size_t i = 0; i < size; i++) {
        bytes_add(&element, (const uint8_t[]){(uint8_t)('a' + i % 23)}, 1);
    }
    for (uint32_t i = 0; i < count; i++) {
        rdb_text(rdb, element.bytes, size);
    }
    bytes_free(&element);
}

void rdb_close(struct bytes *rdb)
{
    bytes_add(rdb, (const uint8_t[]){255}, 1);
    uint64_t crc = crc64_update(0, rdb->bytes, rdb->size);
    uint8_t tail[8];
    for (int i = 0; i < 8; i++) {
        tail[i] = (uint8_t)(crc >> (8 * i));
    }
    bytes_add(rdb, tail, sizeof(tail));
}

/* ---- RESP ---- */

void resp_add_args(struct bytes *to, uint32_t count, const struct slice *args)
{
    uint8_t head[RESP_HEAD_MAX];
    bytes_add(to, head, (size_t)(resp_put_head(head, '*', count) - head));
    for (uint32_t i = 0; i < count; i++) {
        bytes_add(to, head, (size_t)(resp_put_head(head, '$', args[i].size) - head));
        bytes_add(to, args[i].bytes, args[i].size);
        bytes_add(to, "\r\n", 2);
    }
}

void resp_add(struct bytes *to, const char *words)
{
    struct slice args[64];
    uint32_t count = 0;
    while (*words != '\0') {
        size_t size = strcspn(words, " ");
        ASSERT(count < 64);
        args[count++] = (struct slice){(const uint8_t *)words, size};
        words += size + (words[size] == ' ');
    }
    resp_add_args(to, count, args);
}

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
    peer->text = grown(peer->text, peer->text_size + size + 1, &peer->text_capacity, 1);
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
    peer->out = grown(peer->out, peer->out_size + size, &peer->out_capacity, 1);
    memcpy(peer->out + peer->out_size, text, size);
    peer->out_size += size;
    peer->out_ends =
        grown(peer->out_ends, peer->out_ends_count + 1, &peer->out_ends_capacity, sizeof(uint64_t));
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
    peer->in = grown(peer->in, peer->in_size + RECEIVE_BYTES, &peer->in_capacity, 1);
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
        poll(fds, 2, RIG_TIMEOUT_MS);
        if ((fds[0].revents & POLLIN) != 0) {
            waker_drain(&peer->waker);
        } else if ((fds[1].revents & POLLHUP) != 0) {
            waker_wait(&peer->waker, RIG_TIMEOUT_MS); /* the lane is gone; only a stop follows */
        }
    }
    return NULL;
}

static void peer_start(struct peer *peer, int fd)
{
    struct syn_err err;
    peer->fd = fd;
    atomic_store_relaxed(&peer->reply_limit, UINT64_MAX);
    /* Here, so that an idle peer allocates nothing while a test makes allocations fail. */
    peer->in = grown(peer->in, RECEIVE_BYTES, &peer->in_capacity, 1);
    pthread_mutex_init(&peer->lock, NULL);
    ASSERT(waker_init(&peer->waker, &err));
    ASSERT(resp_cutter_init(&peer->cutter, 1u << 20, UINT32_MAX, &err));
    ASSERT(pthread_create(&peer->thread, NULL, peer_main, peer) == 0);
}

static void peer_stop(struct peer *peer)
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

uint64_t rig_peer_value(struct rig *rig, uint32_t peer, const uint64_t *value)
{
    pthread_mutex_lock(&rig->peers[peer].lock);
    uint64_t copy = *value;
    pthread_mutex_unlock(&rig->peers[peer].lock);
    return copy;
}

void rig_script(struct rig *rig, uint32_t peer, struct peer_script script)
{
    pthread_mutex_lock(&rig->peers[peer].lock);
    rig->peers[peer].script = script;
    pthread_mutex_unlock(&rig->peers[peer].lock);
}

void rig_allow(struct rig *rig, uint32_t peer, uint64_t replies)
{
    atomic_store_release(&rig->peers[peer].reply_limit, replies);
    waker_signal(&rig->peers[peer].waker);
}

void rig_stall(struct rig *rig, uint32_t peer, bool is_stalled)
{
    atomic_store_release(&rig->peers[peer].is_stalled, is_stalled);
    waker_signal(&rig->peers[peer].waker);
}

void rig_forget(struct rig *rig, uint32_t peer)
{
    pthread_mutex_lock(&rig->peers[peer].lock);
    rig->peers[peer].text_size = 0;
    if (rig->peers[peer].text != NULL) {
        rig->peers[peer].text[0] = '\0';
    }
    rig->peers[peer].digest = 0;
    rig->peers[peer].effect_count = 0;
    rig->peers[peer].group_max = 0;
    pthread_mutex_unlock(&rig->peers[peer].lock);
}

void rig_expect(struct rig *rig, uint32_t peer, const char *expected)
{
    pthread_mutex_lock(&rig->peers[peer].lock);
    const char *text = rig->peers[peer].text;
    assert_string_equal(text != NULL ? text : "", expected);
    pthread_mutex_unlock(&rig->peers[peer].lock);
    rig_forget(rig, peer);
}

/* ---- building ---- */

static uint32_t or_else(uint32_t value, uint32_t otherwise)
{
    return value != 0 ? value : otherwise;
}

static void rig_route(struct rig *rig)
{
    struct rig_options *options = &rig->options;
    struct route *route = &rig->route;
    uint32_t each = options->lanes / options->shards;
    route->is_cluster = options->is_cluster;
    route->lane_count = options->lanes;
    route->shard_count = options->shards;
    route->shard_lane = rig->shard_lane;
    route->has_one_lane = options->lanes == 1 && !options->is_cluster;
    for (uint32_t i = 0; i < options->shards; i++) {
        rig->shard_lane[i] = (uint16_t)(i * each);
    }
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++) {
        uint32_t shard = slot * options->shards / SLOT_COUNT;
        route->slot_lane[slot] = (uint16_t)(shard * each + slot % each);
    }
}

static void rig_task(struct rig *rig)
{
    struct rig_options *options = &rig->options;
    struct task *task = &rig->task;
    task->failure = &rig->failure;
    task->route = &rig->route;
    task->has_db_rules = options->db_map != NULL;
    task->db_map = options->db_map;
    task->db_map_count = options->db_map_count;
    task->select = options->select;
    task->drops_partial = options->drops_partial;
    intake_of_version(&task->intake, &(struct server){.version = 70015});
    task->intake.rewrite.has_set_expiry = !options->has_no_pxat;
    task->intake.has_functions = !options->has_no_functions;
    task->publishes = options->publishes;
    task->spublishes = options->publishes && !options->has_no_spublish;
    task->stream_count = options->streams;
    size_t least = options->chunk_bytes + options->headroom_bytes;
    task->hold_bytes_free = options->hold_bytes_free > least ? options->hold_bytes_free : least;
    task->rewrite_item_bytes_max = 65536;
    task->transaction_bytes_max = RIG_TRANSACTION_BYTES_MAX;
    task->hold_bytes_max = options->hold_bytes_max != 0 ? options->hold_bytes_max : 64u << 20;
    task->control = &rig->control;
    if (options->rates != NULL) {
        ASSERT(throttle_init(&task->throttle, options->shards, options->rates, &rig->err));
    }
    for (int is_valkey = 0; is_valkey < 2; is_valkey++) {
        for (uint32_t type = 0; type < RDB_TYPE_COUNT; type++) {
            task->intake.restore_version[is_valkey][type] =
                rdb_type_version_min((uint8_t)type, is_valkey != 0);
        }
    }
}

/* Each lane's slots are a text that only this test reads. */
static void rig_positions(struct rig *rig)
{
    static char slots[] = "0-16383";
    struct position_plan *plan = &rig->positions;
    plan->mode = POSITION_MARK;
    plan->lane_count = rig->options.lanes;
    plan->lanes = rig->position_lanes;
    snprintf(plan->instance, sizeof(plan->instance), "rig");
    snprintf(plan->owner, sizeof(plan->owner), "rig 1 0");
    for (uint32_t lane = 0; lane < rig->options.lanes; lane++) {
        uint32_t slot = 0;
        while (rig->route.slot_lane[slot] != lane) {
            slot++;
        }
        position_lane_name(&rig->position_lanes[lane], (uint16_t)slot);
        rig->position_lanes[lane].slots = slots;
    }
    rig->task.positions = plan;
}

static void rig_lane(struct rig *rig, uint32_t i)
{
    int pair[2];
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    int size = rig->options.socket_bytes;
    for (int end = 0; end < 2 && size != 0; end++) {
        (void)setsockopt(pair[end], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        (void)setsockopt(pair[end], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    }
    struct control control = {.context = redisConnectFd(pair[0])};
    ASSERT(control.context != NULL);
    snprintf(control.endpoint.host, sizeof(control.endpoint.host), "dest%u", i);
    control.endpoint.port = 6379;
    struct waker *wakers[2] = {&rig->decoders[0].waker, &rig->decoders[1].waker};
    uint32_t each = rig->options.lanes / rig->options.shards;
    ASSERT(lane_init(&rig->lanes[i],
                     (uint16_t)i,
                     (uint16_t)(i / each),
                     &control,
                     wakers,
                     rig->options.decoders,
                     rig->options.batch_count,
                     &rig->err));
    rig->lane_list[i] = &rig->lanes[i];
    rig->peers[i].index = i;
    rig->peers[i].answerer = rig->options.answerer;
    rig->peers[i].answerer_arg = rig->options.answerer_arg;
    peer_start(&rig->peers[i], pair[1]);
}

static void rig_decoder(struct rig *rig, uint32_t d)
{
    struct rig_options *options = &rig->options;
    struct lane_port *ports[RIG_LANES_MAX];
    for (uint32_t i = 0; i < options->lanes; i++) {
        ports[i] = &rig->lanes[i].ports[d];
    }
    struct router_options router = {.batch_bytes = options->batch_bytes,
                                    .batch_count = options->batch_count,
                                    .batch_ops = options->batch_ops};
    ASSERT(router_init(&rig->decoders[d].router,
                       &rig->route,
                       ports,
                       &router,
                       &rig->decoders[d].waker,
                       &rig->task.abort,
                       &rig->err));
    if (options->has_positions) {
        ASSERT(router_set_positions(
            &rig->decoders[d].router, &rig->positions, options->streams, &rig->err));
    }
    if (options->rates != NULL) {
        ASSERT(throttle_meter_init(&rig->decoders[d].router.meter, &rig->task.throttle, &rig->err));
    }
    struct relay_options relay = options->relay;
    if (options->is_cluster) {
        relay.command_count = or_else(relay.command_count, 64);
        relay.answer_count = or_else(relay.answer_count, 64);
        relay.command_bytes = relay.command_bytes != 0 ? relay.command_bytes : 65536;
        relay.answer_bytes = relay.answer_bytes != 0 ? relay.answer_bytes : 65536;
        relay.has_expiretime = !options->has_old_expiry;
        relay.has_unlink = true;
    }
    ASSERT(relay_init(&rig->decoders[d].relay,
                      &relay,
                      &rig->decoders[d].router,
                      ports,
                      &rig->decoders[d].waker,
                      &rig->err));
}

static void rig_source(struct rig *rig, uint32_t i)
{
    struct rig_options *options = &rig->options;
    struct source *source = &rig->sources[i];
    struct decoder *decoder = &rig->decoders[i % options->decoders];
    struct feed_options feed = {.chunk_bytes = options->chunk_bytes,
                                .chunk_count = options->chunk_count,
                                .headroom_bytes = options->headroom_bytes,
                                .receive_bytes_min = 1,
                                .connect_timeout_ms = 1000};
    snprintf(feed.endpoint.host, sizeof(feed.endpoint.host), "source%u", i);
    feed.endpoint.port = 6379;
    ASSERT(feed_init(&source->feed, &feed, &decoder->waker, &rig->err));
    source->feed.reader = &rig->reader;
    ASSERT(
        stream_init(&source->stream, (uint16_t)i, &rig->task, &source->feed, decoder, &rig->err));
}

static void rig_start_solo(struct rig *rig)
{
    const struct rig_options *options = &rig->options;
    ASSERT(options->decoders == 1 && !options->is_stepped);
    for (uint32_t i = 0; i < options->streams; i++) {
        rig->decoder_streams[0][i] = &rig->sources[i].stream;
    }
    ASSERT(solo_init(&rig->solo, options->backend, &rig->err));
    applier_host(&rig->applier, rig->solo.loop, rig->lane_list, options->lanes, &rig->failure);
    reader_host(&rig->solo_reader, rig->solo.loop, NULL, 0);
    decoder_assign(&rig->decoders[0], rig->decoder_streams[0], options->streams);
    ASSERT(solo_start(&rig->solo, &rig->solo_reader, &rig->applier, &rig->decoders[0], &rig->err));
}

struct rig *rig_new(const struct rig_options *given)
{
    struct rig *rig = mem_alloc_aligned(MEM_TOOLS, CACHE_LINE, sizeof(*rig));
    ASSERT(rig != NULL);
    memset(rig, 0, sizeof(*rig));
    rig->options = *given;
    struct rig_options *options = &rig->options;
    options->lanes = or_else(options->lanes, 1);
    options->shards = or_else(options->shards, 1);
    options->streams = or_else(options->streams, 1);
    options->decoders = or_else(options->decoders, 1);
    options->chunk_bytes = or_else(options->chunk_bytes, 4096);
    options->chunk_count = or_else(options->chunk_count, 8);
    options->batch_bytes = or_else(options->batch_bytes, 4096);
    options->batch_count = or_else(options->batch_count, 16);
    options->batch_ops = or_else(options->batch_ops, 128);
    ASSERT(waker_init(&rig->control, &rig->err));
    rig->failure.control = &rig->control;
    rig->reader.loop = io_loop_new(IO_BACKEND_EPOLL, &rig->err);
    ASSERT(rig->reader.loop != NULL);
    rig_route(rig);
    rig_task(rig);
    if (rig->options.has_positions) {
        rig_positions(rig);
    }
    for (uint32_t d = 0; d < options->decoders; d++) {
        ASSERT(decoder_init(&rig->decoders[d], d, &rig->task, &rig->err));
    }
    for (uint32_t i = 0; i < options->lanes; i++) {
        rig_lane(rig, i);
    }
    for (uint32_t d = 0; d < options->decoders; d++) {
        rig_decoder(rig, d);
    }
    for (uint32_t i = 0; i < options->streams; i++) {
        rig_source(rig, i);
    }
    if (options->is_solo) {
        rig_start_solo(rig);
        return rig;
    }
    ASSERT(applier_start(&rig->applier,
                         options->backend,
                         rig->lane_list,
                         options->lanes,
                         0,
                         &rig->failure,
                         &rig->err));
    for (uint32_t d = 0; d < options->decoders && !options->is_stepped; d++) {
        uint32_t count = 0;
        for (uint32_t i = d; i < options->streams; i += options->decoders) {
            rig->decoder_streams[d][count++] = &rig->sources[i].stream;
        }
        ASSERT(decoder_start(&rig->decoders[d], rig->decoder_streams[d], count, &rig->err));
    }
    return rig;
}

void rig_free(struct rig *rig)
{
    struct rig_options *options = &rig->options;
    atomic_store_release(&rig->task.abort, true);
    solo_stop_decoder(&rig->solo);
    for (uint32_t d = 0; d < options->decoders; d++) {
        decoder_stop(&rig->decoders[d]);
    }
    applier_stop(&rig->applier);
    reader_stop(&rig->solo_reader);
    solo_stop(&rig->solo);
    solo_deinit(&rig->solo);
    for (uint32_t i = 0; i < options->streams; i++) {
        stream_deinit(&rig->sources[i].stream);
        feed_deinit(&rig->sources[i].feed);
    }
    for (uint32_t d = 0; d < options->decoders; d++) {
        decoder_deinit(&rig->decoders[d]);
    }
    for (uint32_t i = 0; i < options->lanes; i++) {
        lane_deinit(&rig->lanes[i]);
        peer_stop(&rig->peers[i]);
    }
    throttle_deinit(&rig->task.throttle);
    io_loop_free(rig->reader.loop);
    waker_deinit(&rig->control);
    mem_free(MEM_TOOLS, rig);
}

/* ---- waiting ---- */

void rig_pause(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

bool rig_is_late(uint64_t begin_ms)
{
    return clock_monotonic_ms() - begin_ms > RIG_TIMEOUT_MS;
}

void rig_step(struct rig *rig)
{
    ASSERT(rig->options.is_stepped);
    bool did = true;
    while (did && !rig->is_failed) {
        did = false;
        for (uint32_t i = 0; i < rig->options.streams && !rig->is_failed; i++) {
            rig->is_failed = !stream_step(&rig->sources[i].stream, &did, &rig->err);
        }
        for (uint32_t d = 0; d < rig->options.decoders && !rig->is_failed; d++) {
            did = router_collect(&rig->decoders[d].router) || did;
            rig->is_failed = !relay_progress(&rig->decoders[d].relay, &did, &rig->err);
        }
        for (uint32_t i = 0; i < rig->options.streams; i++) {
            stream_advance(&rig->sources[i].stream);
        }
    }
}

static bool source_is_settled(struct rig *rig, struct source *source)
{
    struct feed *feed = &source->feed;
    (void)rig;
    if (source->session_count == 0) {
        return true;
    }
    if (atomic_load_acquire(&feed->payload_session) != source->session_count ||
        atomic_load_acquire(&source->stream.snapshots_applied) != source->session_count) {
        return false;
    }
    int64_t payload_end = atomic_load_relaxed(&feed->payload_end);
    uint64_t live = atomic_load_relaxed(&feed->bytes_received) - (uint64_t)payload_end;
    return atomic_load_acquire(&feed->offset_applied) ==
           atomic_load_relaxed(&feed->offset_received) + live;
}

void rig_settle(struct rig *rig)
{
    uint64_t begin = clock_monotonic_ms();
    if (rig->options.is_stepped) {
        rig_step(rig);
        for (uint32_t d = 0; d < rig->options.decoders; d++) {
            assert_true(relay_drain(&rig->decoders[d].relay, &rig->err));
            assert_true(router_drain(&rig->decoders[d].router));
        }
        rig_step(rig);
    }
    for (uint32_t i = 0; i < rig->options.streams; i++) {
        while (!source_is_settled(rig, &rig->sources[i])) {
            if (rig->is_failed || failure_is_raised(&rig->failure)) {
                const struct syn_err *err = rig->is_failed ? &rig->err : &rig->failure.err;
                fail_msg("the pipeline failed: %s", err->msg);
            }
            if (rig->options.is_stepped || rig_is_late(begin)) {
                fail_msg("source %u does not settle: applied %llu",
                         i,
                         (unsigned long long)rig->sources[i].feed.offset_applied);
            }
            rig_pause();
        }
    }
}

const struct syn_err *rig_failure(struct rig *rig)
{
    uint64_t begin = clock_monotonic_ms();
    if (rig->options.is_stepped && !rig->is_failed) {
        rig_step(rig);
        router_flush(&rig->decoders[0].router);
    }
    while (!rig->is_failed && !failure_is_raised(&rig->failure)) {
        assert_false(rig_is_late(begin));
        rig_pause();
    }
    return rig->is_failed ? &rig->err : &rig->failure.err;
}

void rig_await_commands(struct rig *rig, uint32_t peer, uint64_t count)
{
    uint64_t begin = clock_monotonic_ms();
    while (rig_peer_value(rig, peer, &rig->peers[peer].command_count) < count) {
        assert_false(rig_is_late(begin));
        assert_false(failure_is_raised(&rig->failure));
        rig_pause();
    }
}

void rig_await_state(struct rig *rig, uint32_t source, enum stream_state state)
{
    uint64_t begin = clock_monotonic_ms();
    while (atomic_load_acquire(&rig->sources[source].stream.shown_state) != (int)state) {
        assert_false(rig_is_late(begin));
        rig_pause();
    }
}

/* ---- feeding ---- */

void rig_seal(struct rig *rig, uint32_t s)
{
    struct source *source = &rig->sources[s];
    if (source->open != NULL) {
        struct chunk *chunk = source->open;
        source->open = NULL;
        atomic_store_release(&chunk->is_sealed, true);
        waker_wake(source->feed.decoder);
    }
}

/* A new chunk in the ring, empty; false: none is free. */
static bool source_open(struct rig *rig, uint32_t s, const struct chunk_session *session, int kind)
{
    struct source *source = &rig->sources[s];
    rig_seal(rig, s);
    struct chunk *chunk = chunk_pool_take(&source->feed.pool);
    if (chunk == NULL) {
        return false;
    }
    chunk->kind = (enum chunk_kind)kind;
    if (session != NULL) {
        chunk->session = *session;
    }
    source->open = chunk;
    ASSERT(ring_spsc_push(&source->feed.chunks, chunk));
    waker_wake(source->feed.decoder);
    return true;
}

static void
source_open_wait(struct rig *rig, uint32_t s, const struct chunk_session *session, int kind)
{
    uint64_t begin = clock_monotonic_ms();
    while (!source_open(rig, s, session, kind)) {
        assert_false(rig_is_late(begin));
        assert_false(failure_is_raised(&rig->failure));
        assert_false(rig->is_failed);
        if (rig->options.is_stepped) {
            rig_step(rig);
        } else {
            rig_pause();
        }
    }
}

void rig_session(
    struct rig *rig, uint32_t s, int64_t payload_bytes, const char *mark, uint64_t offset)
{
    struct source *source = &rig->sources[s];
    struct chunk_session session = {.number = ++source->session_count,
                                    .offset = offset,
                                    .payload_bytes = mark != NULL ? -1 : payload_bytes};
    memset(session.replid, 'a', REPLID_SIZE);
    if (mark != NULL) {
        memcpy(session.eof_mark, mark, EOF_MARK_SIZE);
    }
    atomic_store_relaxed(&source->feed.bytes_received, 0);
    atomic_store_relaxed(&source->feed.offset_received, offset);
    atomic_store_release(&source->feed.state, FEED_SNAPSHOT);
    source_open_wait(rig, s, &session, CHUNK_SNAPSHOT);
}

void rig_continue(struct rig *rig, uint32_t s)
{
    struct chunk_session session = {.number = rig->sources[s].session_count};
    memset(session.replid, 'b', REPLID_SIZE);
    source_open_wait(rig, s, &session, CHUNK_CONTINUE);
}

static size_t source_fill(struct source *source, const uint8_t *bytes, size_t size)
{
    struct chunk *chunk = source->open;
    uint32_t filled = atomic_load_relaxed(&chunk->filled);
    size_t room = chunk->pool->chunk_bytes - filled;
    size_t take = size < room ? size : room;
    memcpy(chunk->bytes + filled, bytes, take);
    atomic_store_relaxed(&source->feed.bytes_received,
                         atomic_load_relaxed(&source->feed.bytes_received) + take);
    atomic_store_release(&chunk->filled, filled + (uint32_t)take);
    waker_wake(source->feed.decoder);
    return take;
}

static bool source_has_room(const struct source *source)
{
    return source->open != NULL &&
           atomic_load_relaxed(&source->open->filled) < source->open->pool->chunk_bytes;
}

size_t rig_feed_some(struct rig *rig, uint32_t s, const void *bytes, size_t size)
{
    size_t done = 0;
    while (done < size) {
        if (!source_has_room(&rig->sources[s]) && !source_open(rig, s, NULL, CHUNK_DATA)) {
            break;
        }
        done += source_fill(&rig->sources[s], (const uint8_t *)bytes + done, size - done);
    }
    return done;
}

void rig_feed(struct rig *rig, uint32_t s, const void *bytes, size_t size, size_t piece)
{
    const uint8_t *from = bytes;
    while (size > 0 && !rig->is_failed) {
        if (!source_has_room(&rig->sources[s])) {
            source_open_wait(rig, s, NULL, CHUNK_DATA);
        }
        size_t take = piece != 0 && piece < size ? piece : size;
        take = source_fill(&rig->sources[s], from, take);
        from += take;
        size -= take;
        if (rig->options.is_stepped) {
            rig_step(rig);
        }
    }
}

void rig_feed_text(struct rig *rig, uint32_t s, const char *bytes)
{
    rig_feed(rig, s, bytes, strlen(bytes), 0);
}

void rig_command(struct rig *rig, uint32_t s, const char *words)
{
    struct bytes command = {0};
    resp_add(&command, words);
    rig_feed(rig, s, command.bytes, command.size, 0);
    bytes_free(&command);
}

void rig_live(struct rig *rig, uint32_t s, uint64_t offset)
{
    struct bytes rdb = {0};
    rdb_open(&rdb);
    rdb_close(&rdb);
    rig_session(rig, s, (int64_t)rdb.size, NULL, offset);
    rig_feed(rig, s, rdb.bytes, rdb.size, 0);
    bytes_free(&rdb);
    rig_settle(rig);
}

static bool name_is(const uint8_t *bytes, const struct resp_command *command, const char *name)
{
    return command->argv[0].size == strlen(name) &&
           memcmp(bytes + command->argv[0].pos, name, strlen(name)) == 0;
}

bool rig_give(void *arg,
              uint32_t peer,
              const uint8_t *bytes,
              const struct resp_command *command,
              struct bytes *out)
{
    (void)arg;
    (void)peer;
    if (name_is(bytes, command, "PEXPIRETIME")) {
        bytes_add(out, ":-1\r\n", 5);
    } else if (name_is(bytes, command, "DUMP")) {
        uint8_t payload[7 + RDB_FOOTER_SIZE] = {RDB_TYPE_STRING, 5, 'v', 'a', 'l', 'u', 'e'};
        rdb_footer_write(payload + 7, crc64_update(0, payload, 7), 9);
        bytes_add(out, "$17\r\n", 5);
        bytes_add(out, payload, sizeof(payload));
        bytes_add(out, "\r\n", 2);
    } else if (name_is(bytes, command, "LPOP") || name_is(bytes, command, "RPOP")) {
        bytes_add(out, "$5\r\nvalue\r\n", 11);
    } else {
        return false;
    }
    return true;
}
