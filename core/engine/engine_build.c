/*
 * Building the pipeline: how many of everything, how the memory is divided, who serves whom.
 *
 * --memory is divided into chunks (a sixth, by streams), batches (a sixth, by decoders), for a
 * cluster relays (a seventh, by decoders), and what items larger than a chunk may hold (the rest,
 * one stream at a time beyond a small free share).
 */
#include "core/engine/engine.h"

#include <sched.h>
#include <string.h>

#define CHUNK_BYTES_MIN (16u << 10)
#define CHUNK_BYTES_MAX (256u << 10)
#define BATCH_BYTES_MIN (8u << 10)
#define BATCH_BYTES_MAX (64u << 10)
/* The commonest small commands take about 40 bytes each; a batch never lacks records before it
 * lacks bytes. */
#define BATCH_BYTES_PER_OP 32u
#define BATCHES_PER_LANE_MIN 4u
#define TRANSACTION_BYTES_MOST (2u << 20)
#define RELAY_RECORDS_MIN 64u
/* Values that are read again at once (refetch.h): two of them are held, and, where they are
 * rewritten, three times their largest element. A stream that is live has its share of rewriting
 * for that, which is four times its item bound; and if there are many streams, each decoder has a
 * little. */
#define REFETCH_BYTES_LEAST (32u << 10)
#define REFETCH_HELD 3u
#define REFETCH_PIECE_BYTES_MIN (16u << 10)
#define REFETCH_PIECE_BYTES_MAX (1u << 20)
/* Of the memory, what lanes may keep of operations larger than a batch (lane_follow.h). */
#define CARRY_SHARE 16u

struct plan {
    uint32_t chunk_bytes;
    uint32_t chunk_count;
    uint32_t headroom_bytes;
    struct router_options router;
    struct relay_options relay;
    size_t transaction_bytes_max;
    size_t rewrite_item_bytes_max;
    size_t hold_bytes_free;
    size_t hold_bytes_max;
    size_t refetch_dump_max;
};

static uint32_t processor_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0) {
        return 1;
    }
    int count = CPU_COUNT(&set);
    return count > 0 ? (uint32_t)count : 1;
}

/* As few threads as there are processors for them. */
static bool is_solo(const struct syn_engine *engine, uint32_t processors)
{
    const struct config *config = &engine->config;
    if (engine_has_files(engine) || config->one_thread == ONE_THREAD_OFF) {
        return false;
    }
    bool is_chosen = config->reader_count != 0 || config->decoder_count != 0;
    return config->one_thread == ONE_THREAD_ON || (!is_chosen && processors <= 2);
}

static uint32_t choose(uint32_t wanted, uint32_t otherwise, uint32_t most)
{
    uint32_t count = wanted != 0 ? wanted : otherwise;
    count = count > most ? most : count;
    return count == 0 ? 1 : count;
}

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* What is taken whatever happens, without what items may hold: all that grows with the counts. */
static uint64_t
plan_used(const struct syn_engine *engine, const struct plan *plan, size_t batch_size)
{
    uint64_t batches = (uint64_t)engine->decoder_count * plan->router.batch_count;
    uint64_t streams = (uint64_t)plan->chunk_count * (plan->chunk_bytes + plan->headroom_bytes) +
                       2 * plan->hold_bytes_free + 3 * plan->transaction_bytes_max +
                       sizeof(struct stream);
    /* Two rings of pointers, up to twice the entries, and the router's list of numbers. */
    uint64_t ports = batches * engine->lane_count * (2 * 2 * sizeof(void *) + sizeof(uint64_t));
    uint64_t refused = (uint64_t)engine->decoder_count * REFUSAL_BATCHES * plan->router.batch_bytes;
    uint64_t refetched = (uint64_t)engine->decoder_count * REFETCH_HELD * REFETCH_BYTES_LEAST;
    return engine->stream_count * streams + batches * batch_size + ports + refused + refetched +
           engine->decoder_count * relay_options_bytes(&plan->relay, engine->lane_count) +
           (uint64_t)engine->lane_count * (LANE_RECEIVE_BYTES + sizeof(struct lane));
}

/* About a seventh of the memory, for a cluster: records for what is under way at 50 000 relays a
 * second and some tens of milliseconds, and room for some large values. */
static void plan_relay(const struct syn_engine *engine, struct relay_options *relay)
{
    const struct topology *destination = &engine->destination;
    if (!destination->is_cluster) {
        return;
    }
    uint64_t memory = engine->config.memory_bytes / engine->decoder_count;
    *relay = (struct relay_options){
        .command_count =
            (uint32_t)clamp(memory / 64 / sizeof(struct held_command), RELAY_RECORDS_MIN, 8192),
        .answer_count =
            (uint32_t)clamp(memory / 64 / sizeof(struct answer), RELAY_RECORDS_MIN, 8192),
        .command_bytes = memory / 32,
        .answer_bytes = memory / 12,
        .has_expiretime = destination->version_min >= 70000,
        .has_unlink = destination->version_min >= 40000};
}

static bool plan_make(struct syn_engine *engine, struct plan *plan, struct syn_err *err)
{
    const struct config *config = &engine->config;
    uint32_t processors = processor_count();
    uint32_t lanes_each = choose(config->lane_count, 1, 64);
    if (config->has_positions && !engine->destination.is_cluster) {
        /* Its batches are transactions, which only one connection keeps in order; and what acts on
         * all its databases is exact only so (live_admin.c). */
        lanes_each = 1;
    }
    engine->stream_count = engine->source.shard_count;
    engine->lane_count = lanes_each * engine->destination.shard_count;
    engine->is_solo = is_solo(engine, processors);
    if (engine->is_solo) {
        processors = 1;
    }
    /* A decoder does about half of the work, readers and appliers mostly wait in the kernel. */
    engine->decoder_count = choose(config->decoder_count, processors / 2, engine->stream_count);
    engine->reader_count = choose(config->reader_count, processors / 4, engine->stream_count);
    engine->applier_count = choose(0, processors / 4, engine->lane_count);

    uint64_t memory = config->memory_bytes;
    uint64_t chunk_share = memory / 6 / engine->stream_count;
    uint64_t chunk = clamp(chunk_share / 10, CHUNK_BYTES_MIN, CHUNK_BYTES_MAX) & ~(uint64_t)4095;
    plan->chunk_bytes = (uint32_t)chunk;
    plan->headroom_bytes = (uint32_t)chunk / 4;
    plan->chunk_count =
        (uint32_t)clamp(chunk_share / (plan->chunk_bytes + plan->headroom_bytes), 3, 4096);

    uint64_t batch_share = memory / 6 / engine->decoder_count;
    uint32_t batches_min = BATCHES_PER_LANE_MIN * engine->lane_count + ROUTER_RESERVE;
    uint32_t bytes = BATCH_BYTES_MAX;
    size_t each = 0;
    for (;; bytes /= 2) {
        each = bytes + BATCH_PREFIX + bytes / BATCH_BYTES_PER_OP * sizeof(struct op) +
               sizeof(struct batch);
        if (bytes == BATCH_BYTES_MIN || each * batches_min <= batch_share) {
            break;
        }
    }
    plan->router = (struct router_options){
        .batch_bytes = bytes,
        .batch_ops = bytes / BATCH_BYTES_PER_OP,
        .batch_count = (uint32_t)clamp(batch_share / each, batches_min, 4096)};

    plan_relay(engine, &plan->relay);
    plan->transaction_bytes_max = TRANSACTION_BYTES_KEPT;
    while (plan->transaction_bytes_max < TRANSACTION_BYTES_MOST &&
           plan->transaction_bytes_max * 2 * engine->stream_count <= memory / 32) {
        plan->transaction_bytes_max *= 2;
    }
    /* What every stream may hold without asking (invariant 3 in stream.h): at least a window, and
     * enough that a source which hangs in the middle of a large item seldom keeps others waiting.
     */
    plan->hold_bytes_free = clamp(
        memory / 16 / engine->stream_count, plan->chunk_bytes + plan->headroom_bytes, 4u << 20);
    uint64_t used = plan_used(engine, plan, each);
    if (used + plan->hold_bytes_free > memory) {
        return ERR(
            err,
            SYN_CODE_CONFIG,
            "--memory %llu is too little for %u streams, %u decoders and %u lanes: at least %llu "
            "are needed",
            (unsigned long long)memory,
            engine->stream_count,
            engine->decoder_count,
            engine->lane_count,
            (unsigned long long)(used + 4 * plan->hold_bytes_free));
    }
    /* A decoder holds up to three times its item bound, and a rewriter as much again of what is
     * pending in a stream's group; each source may have one of both. */
    plan->rewrite_item_bytes_max = (size_t)((memory - used) / 4 / 4 / engine->stream_count);
    plan->hold_bytes_max = (size_t)((memory - used) / 4 * 3);
    uint64_t dump_max = plan->rewrite_item_bytes_max / 2;
    dump_max = dump_max < REFETCH_BYTES_LEAST ? REFETCH_BYTES_LEAST : dump_max;
    plan->refetch_dump_max =
        (size_t)(dump_max < config->refetch_dump_max ? dump_max : config->refetch_dump_max);
    return true;
}

/* ---- route and task ---- */

static bool route_make(struct syn_engine *engine, struct syn_err *err)
{
    struct route *route = &engine->route;
    const struct topology *destination = &engine->destination;
    uint32_t lanes_each = engine->lane_count / destination->shard_count;
    route->is_cluster = destination->is_cluster;
    route->lane_count = engine->lane_count;
    route->shard_count = destination->shard_count;
    route->has_one_lane = engine->lane_count == 1 && !route->is_cluster;
    route->shard_lane = mem_alloc(MEM_ENGINE, route->shard_count * sizeof(uint16_t));
    if (route->shard_lane == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for the route");
    }
    for (uint32_t i = 0; i < route->shard_count; i++) {
        route->shard_lane[i] = (uint16_t)(i * lanes_each);
    }
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++) {
        uint32_t shard = destination->is_cluster ? destination->slot_shard[slot] : 0;
        ASSERT(shard < route->shard_count);
        route->slot_lane[slot] = (uint16_t)(shard * lanes_each + slot % lanes_each);
    }
    return true;
}

static void task_make(struct syn_engine *engine, const struct plan *plan)
{
    struct task *task = &engine->task;
    const struct config *config = &engine->config;
    task->failure = &engine->failure;
    task->route = &engine->route;
    task->has_db_rules = config->has_db_rules;
    task->db_map = config->db_map;
    task->db_map_count = CONFIG_DB_MAX;
    task->db_count = engine->destination.db_count;
    task->select = config_select(config);
    task->drops_partial = config->drops_partial;
    task->publishes = config->publishes;
    task->spublishes = config->publishes && topology_has_spublish(&engine->destination);
    task->skips_unknown = config->skips_unknown;
    task->on_flush = config->on_flush;
    task->on_divergence = config->on_divergence;
    /* Also one that was asked for before the start: a small copy is over sooner than control looks.
     */
    atomic_store_relaxed(&task->paused, atomic_load_acquire(&engine->pause_wanted));
    task->stream_count = engine->stream_count;
    task->source_is_cluster = engine->source.is_cluster;
    task->only_snapshot = config->mode == SYNC_SNAPSHOT_ONLY;
    task->on_corrupt = config->on_corrupt;
    task->clears_first = config->on_corrupt == CORRUPT_SKIP && !engine->destination_was_empty;
    if (engine->losses.file != NULL) {
        task->losses = (struct loss_sink){.record = losses_record, .arg = &engine->losses};
    }
    task->intake = engine->intake;
    task->intake.rewrite.policy = config->on_unsupported;
    task->intake.rewrite.pending_max =
        (uint32_t)(plan->rewrite_item_bytes_max / REWRITE_PENDING_BYTES);
    task->rewrite_item_bytes_max = plan->rewrite_item_bytes_max;
    task->transaction_bytes_max = plan->transaction_bytes_max;
    task->hold_bytes_max = plan->hold_bytes_max;
    task->hold_bytes_free = plan->hold_bytes_free;
    task->refetch_dump_max = plan->refetch_dump_max;
    task->refetch_piece_bytes =
        clamp(plan->refetch_dump_max / 4, REFETCH_PIECE_BYTES_MIN, REFETCH_PIECE_BYTES_MAX);
    task->control = &engine->control_waker;
}

/* ---- parts ---- */

static bool engine_allocate(struct syn_engine *engine, struct syn_err *err)
{
    struct {
        void **at;
        size_t size;
    } parts[] = {
        {(void **)&engine->feeds, engine->stream_count * sizeof(struct feed)},
        {(void **)&engine->streams, engine->stream_count * sizeof(struct stream)},
        {(void **)&engine->watches, engine->stream_count * sizeof(struct watch)},
        {(void **)&engine->questions, engine->stream_count * sizeof(struct question *)},
        {(void **)&engine->decoders, engine->decoder_count * sizeof(struct decoder)},
        {(void **)&engine->readers, engine->reader_count * sizeof(struct reader)},
        {(void **)&engine->appliers, engine->applier_count * sizeof(struct applier)},
        {(void **)&engine->lanes, engine->lane_count * sizeof(struct lane)},
        {(void **)&engine->followers, engine->lane_count * sizeof(struct lane_follower)},
        {(void **)&engine->lists,
         ((size_t)2 * engine->stream_count + engine->lane_count) * sizeof(void *)},
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        *parts[i].at = mem_alloc_aligned(MEM_ENGINE, CACHE_LINE, parts[i].size);
        if (*parts[i].at == NULL) {
            return ERR(err, SYN_CODE_MEMORY, "out of memory for the pipeline");
        }
        memset(*parts[i].at, 0, parts[i].size);
    }
    return true;
}

static bool build_lane(struct syn_engine *engine,
                       uint32_t i,
                       struct waker *const *wakers,
                       uint32_t ring_entries,
                       struct syn_err *err)
{
    uint32_t lanes_each = engine->lane_count / engine->destination.shard_count;
    uint32_t shard = i / lanes_each;
    struct control control = {0};
    if (!control_open(&control,
                      &engine->destination.shards[shard].server.endpoint,
                      SIDE_DESTINATION,
                      (int)engine->config.connect_timeout_ms,
                      err)) {
        return false;
    }
    if (!engine_positions_claim(engine, i, &control, err)) {
        control_close(&control);
        return false;
    }
    bool is_made = lane_init(&engine->lanes[i],
                             (uint16_t)i,
                             (uint16_t)shard,
                             &control,
                             wakers,
                             engine->decoder_count,
                             ring_entries,
                             err);
    control_close(&control);
    engine->lanes[i].on_divergence = engine->config.on_divergence;
    struct lane_follower *follower = &engine->followers[i];
    *follower =
        (struct lane_follower){.engine = engine,
                               .lane = i,
                               .redirect = {.timeout_ms = (int)engine->config.connect_timeout_ms,
                                            .open = engine_positions_follow,
                                            .arg = follower}};
    if (engine->destination.is_cluster) {
        engine->lanes[i].redirect = &follower->redirect;
        /* Only where slots have been seen to move, or something else was refused. */
        engine->lanes[i].carry.bytes_max =
            engine->was_refused ? engine->config.memory_bytes / CARRY_SHARE / engine->lane_count
                                : 0;
    }
    return is_made;
}

static bool build_lanes(struct syn_engine *engine, const struct plan *plan, struct syn_err *err)
{
    struct waker **wakers = mem_alloc(MEM_ENGINE, engine->decoder_count * sizeof(*wakers));
    if (wakers == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for lanes");
    }
    for (uint32_t i = 0; i < engine->decoder_count; i++) {
        wakers[i] = &engine->decoders[i].waker;
    }
    bool is_made = true;
    for (uint32_t i = 0; i < engine->lane_count && is_made; i++) {
        is_made = build_lane(engine, i, wakers, plan->router.batch_count, err);
    }
    mem_free(MEM_ENGINE, wakers);
    return is_made;
}

static bool build_routers(struct syn_engine *engine, const struct plan *plan, struct syn_err *err)
{
    struct lane_port **ports = mem_alloc(MEM_ENGINE, engine->lane_count * sizeof(*ports));
    if (ports == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "out of memory for routers");
    }
    bool is_made = true;
    for (uint32_t d = 0; d < engine->decoder_count && is_made; d++) {
        for (uint32_t i = 0; i < engine->lane_count; i++) {
            ports[i] = &engine->lanes[i].ports[d];
        }
        struct router *router = &engine->decoders[d].router;
        is_made = router_init(router,
                              &engine->route,
                              ports,
                              &plan->router,
                              &engine->decoders[d].waker,
                              &engine->task.abort,
                              err) &&
                  throttle_meter_init(&router->meter, &engine->task.throttle, err) &&
                  (engine->positions.mode == POSITION_OFF ||
                   router_set_positions(router, &engine->positions, engine->stream_count, err)) &&
                  relay_init(&engine->decoders[d].relay,
                             &plan->relay,
                             router,
                             ports,
                             &engine->decoders[d].waker,
                             err);
    }
    mem_free(MEM_ENGINE, ports);
    return is_made;
}

static bool build_streams(struct syn_engine *engine, const struct plan *plan, struct syn_err *err)
{
    const struct config *config = &engine->config;
    for (uint32_t i = 0; i < engine->stream_count; i++) {
        struct decoder *decoder = &engine->decoders[i % engine->decoder_count];
        struct feed_options options = {
            .endpoint = engine->source.shards[i].server.endpoint,
            .chunk_bytes = plan->chunk_bytes,
            .chunk_count = plan->chunk_count,
            .headroom_bytes = plan->headroom_bytes,
            .receive_bytes_min = plan->chunk_bytes / 16,
            .connect_timeout_ms = (uint32_t)config->connect_timeout_ms,
            .silence_timeout_ms = (uint32_t)config->silence_timeout_ms,
            .retry_ms = config->retry_ms,
        };
        engine_positions_feed(engine, i, &options);
        engine->questions[i] = &engine->streams[i].question;
        engine->watches[i].keys_total = engine->source.shards[i].server.key_count;
        if (!feed_init(&engine->feeds[i], &options, &decoder->waker, err) ||
            !stream_init(
                &engine->streams[i], (uint16_t)i, &engine->task, &engine->feeds[i], decoder, err) ||
            !engine_positions_stream(engine, i, err)) {
            return false;
        }
    }
    return true;
}

bool engine_build(struct syn_engine *engine, struct syn_err *err)
{
    struct plan plan = {0};
    if (!plan_make(engine, &plan, err) || !route_make(engine, err) ||
        !engine_allocate(engine, err)) {
        return false;
    }
    task_make(engine, &plan);
    if (!engine_expiry_init(engine, err) || !engine_throttle_init(engine, err) ||
        !asker_init(
            &engine->asker, &engine->destination, (int)engine->config.connect_timeout_ms, err)) {
        return false;
    }
    engine->task.asker = &engine->asker;
    if (!engine->task.only_snapshot && !command_missing_read(&engine->task.missing,
                                                             &engine->destination,
                                                             (int)engine->config.connect_timeout_ms,
                                                             err)) {
        return false;
    }
    /* Written, or held for an answer. */
    engine->positions.reach =
        engine->decoder_count *
        (plan.router.batch_count * plan.router.batch_ops + plan.relay.command_count);
    if (!engine_positions_plan(engine, err)) {
        return false;
    }
    for (uint32_t i = 0; i < engine->decoder_count; i++) {
        if (!decoder_init(&engine->decoders[i], i, &engine->task, err)) {
            return false;
        }
    }
    if (!build_lanes(engine, &plan, err) || !build_routers(engine, &plan, err) ||
        !build_streams(engine, &plan, err)) {
        return false;
    }
    engine_heartbeat_init(engine);
    return true;
}

/* ---- threads ---- */

/* Entry i of `count` things goes to server i % servers; writes the share of server s behind `list`
 * and returns its count. */
static uint32_t
share(void **list, char *first, size_t size, uint32_t count, uint32_t s, uint32_t servers)
{
    uint32_t taken = 0;
    for (uint32_t i = s; i < count; i += servers) {
        list[taken++] = first + (size_t)i * size;
    }
    return taken;
}

static bool start_solo(struct syn_engine *engine, struct syn_err *err)
{
    void **list = engine->lists;
    struct solo *solo = &engine->solo;
    if (!solo_init(solo, engine->config.io, err)) {
        return false;
    }
    share(list, (char *)engine->lanes, sizeof(struct lane), engine->lane_count, 0, 1);
    applier_host(&engine->appliers[0],
                 solo->loop,
                 (struct lane **)list,
                 engine->lane_count,
                 &engine->failure);
    list += engine->lane_count;
    engine->io_name = io_loop_backend_name(solo->loop);
    if (!asker_start(&engine->asker, engine->questions, engine->stream_count, err)) {
        return false;
    }
    share(list, (char *)engine->feeds, sizeof(struct feed), engine->stream_count, 0, 1);
    reader_host(&engine->readers[0], solo->loop, (struct feed **)list, engine->stream_count);
    list += engine->stream_count;
    share(list, (char *)engine->streams, sizeof(struct stream), engine->stream_count, 0, 1);
    decoder_assign(&engine->decoders[0], (struct stream **)list, engine->stream_count);
    return solo_start(solo, &engine->readers[0], &engine->appliers[0], &engine->decoders[0], err);
}

bool engine_start_threads(struct syn_engine *engine, struct syn_err *err)
{
    if (engine->is_solo) {
        return start_solo(engine, err);
    }
    enum io_backend io = engine->config.io;
    void **list = engine->lists;
    for (uint32_t i = 0; i < engine->applier_count; i++) {
        uint32_t count = share(list,
                               (char *)engine->lanes,
                               sizeof(struct lane),
                               engine->lane_count,
                               i,
                               engine->applier_count);
        if (!applier_start(
                &engine->appliers[i], io, (struct lane **)list, count, i, &engine->failure, err)) {
            return false;
        }
        list += count;
    }
    engine->io_name = io_loop_backend_name(engine->appliers[0].loop);
    if (!asker_start(&engine->asker, engine->questions, engine->stream_count, err)) {
        return false;
    }
    for (uint32_t i = 0; i < engine->reader_count; i++) {
        uint32_t count = share(list,
                               (char *)engine->feeds,
                               sizeof(struct feed),
                               engine->stream_count,
                               i,
                               engine->reader_count);
        if (!reader_start(&engine->readers[i], io, (struct feed **)list, count, i, err)) {
            return false;
        }
        list += count;
    }
    for (uint32_t i = 0; i < engine->decoder_count; i++) {
        uint32_t count = share(list,
                               (char *)engine->streams,
                               sizeof(struct stream),
                               engine->stream_count,
                               i,
                               engine->decoder_count);
        if (!decoder_start(&engine->decoders[i], (struct stream **)list, count, err)) {
            return false;
        }
        list += count;
    }
    return true;
}

void engine_stop_threads(struct syn_engine *engine)
{
    atomic_store_release(&engine->task.abort, true);
    solo_stop_decoder(&engine->solo);
    for (uint32_t i = 0; engine->decoders != NULL && i < engine->decoder_count; i++) {
        decoder_stop(&engine->decoders[i]);
    }
    asker_stop(&engine->asker);
    for (uint32_t i = 0; engine->appliers != NULL && i < engine->applier_count; i++) {
        applier_stop(&engine->appliers[i]);
    }
    for (uint32_t i = 0; engine->readers != NULL && i < engine->reader_count; i++) {
        reader_stop(&engine->readers[i]);
    }
    solo_stop(&engine->solo);
    solo_deinit(&engine->solo);
}

void engine_demolish(struct syn_engine *engine)
{
    for (uint32_t i = 0; engine->streams != NULL && i < engine->stream_count; i++) {
        stream_deinit(&engine->streams[i]);
    }
    for (uint32_t i = 0; engine->feeds != NULL && i < engine->stream_count; i++) {
        feed_deinit(&engine->feeds[i]);
    }
    for (uint32_t i = 0; engine->decoders != NULL && i < engine->decoder_count; i++) {
        decoder_deinit(&engine->decoders[i]);
    }
    for (uint32_t i = 0; engine->lanes != NULL && i < engine->lane_count; i++) {
        lane_deinit(&engine->lanes[i]);
        if (engine->followers != NULL) {
            redirect_close(&engine->followers[i].redirect);
        }
    }
    throttle_deinit(&engine->task.throttle);
    asker_deinit(&engine->asker);
    command_missing_free(engine->task.missing);
    mem_free(MEM_ENGINE, engine->route.shard_lane);
    engine->route.shard_lane = NULL;
    void *parts[] = {engine->feeds,
                     engine->streams,
                     engine->watches,
                     engine->questions,
                     engine->decoders,
                     engine->readers,
                     engine->appliers,
                     engine->lanes,
                     engine->followers,
                     engine->lists};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        mem_free(MEM_ENGINE, parts[i]);
    }
    engine->feeds = NULL;
    engine->streams = NULL;
    engine->watches = NULL;
    engine->questions = NULL;
    engine->decoders = NULL;
    engine->readers = NULL;
    engine->appliers = NULL;
    engine->lanes = NULL;
    engine->followers = NULL;
    engine->lists = NULL;
    engine_positions_free(engine);
}
