#include "tests/apply/pipeline_rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- peers ---- */

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
