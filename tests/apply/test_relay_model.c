/*
 * Random commands over several slots against a model of ordering (relay_store.h).
 *
 * The source is one store, the destination one for each lane. Replies are held back and let go at
 * random, so that answers come in every order and the bounds are met again and again. At any moment
 * each key at the destination must hold a state that it had at the source, and none older than
 * offset_applied says; in the end, the last one.
 */
#include "tests/apply/relay_source.h"
#include "tests/apply/relay_store.h"

#include "tests/support/random.h"

#include <stdio.h>
#include <stdlib.h>

#define KEYS 36
#define LANES RIG_LANES_MAX
#define HISTORY_MAX 60000
#define OFFSET 1000

struct run {
    uint64_t seed;
    uint32_t commands;
    uint32_t lanes;
    uint32_t streams; /* each with a decoder of its own */
    struct relay_options relay;
    uint32_t answer_bytes_most;
    uint32_t batch_ops;
    uint32_t hot;         /* 0: any key; else so many, and nearly every command waits */
    uint32_t scripts;     /* of 100 commands, over several slots */
    uint32_t lag_most;    /* a value is of so many commands behind the present one at most */
    bool has_little_room; /* some answers find none */
};

/* What a key held at the source from `offset` on. */
struct moment {
    uint64_t offset;
    uint64_t state;
    int64_t expire_ms;
    bool exists;
};

struct history {
    uint32_t count;
    struct moment *moments;
};

struct origin {
    struct store store;
    struct bytes bytes; /* of the stream */
    struct history histories[STORE_ENTRIES];
    size_t fed;             /* the test's own                                              */
    _Atomic size_t written; /* W: test, only ever more. R: the source's thread, relaxed */
    uint64_t *ends;         /* of commands and transactions: offsets in the stream */
    uint32_t end_count;
    struct value_source values;
    struct random values_random; /* the source's thread's */
    uint32_t lag_most;
};

struct model {
    const struct run *run;
    struct rig *rig;
    struct random random;
    struct origin origins[2];
    struct store shards[LANES];
    uint64_t limits[LANES];
};

/* ---- the source ---- */

static void remember(struct origin *origin, uint64_t offset)
{
    for (uint32_t i = 0; i < origin->store.count; i++) {
        const struct store_entry *entry = &origin->store.entries[i];
        struct history *history = &origin->histories[i];
        if (history->moments == NULL) {
            history->moments = mem_calloc(MEM_TOOLS, HISTORY_MAX * sizeof(struct moment));
            ASSERT(history->moments != NULL);
            history->count = 1; /* it did not exist */
            history->moments[0].expire_ms = -1;
        }
        const struct moment *last = &history->moments[history->count - 1];
        if (last->state != entry->state || last->exists != entry->exists ||
            last->expire_ms != entry->expire_ms) {
            ASSERT(history->count < HISTORY_MAX);
            history->moments[history->count++] = (struct moment){.offset = offset,
                                                                 .state = entry->state,
                                                                 .expire_ms = entry->expire_ms,
                                                                 .exists = entry->exists};
        }
    }
}

static const char *name_key(struct model *model, uint32_t s, char key[48])
{
    uint32_t n = random_below(&model->random, model->run->hot > 0 ? model->run->hot : KEYS);
    char letter = (char)('a' + s);
    if (n < KEYS - 8) {
        snprintf(key, 48, "%c%u", letter, n);
    } else { /* in the slot of one of the others */
        snprintf(key, 48, "{%c%u}:%u", letter, n % 3, n);
    }
    return key;
}

static bool has(struct model *model, uint32_t s, const char *key)
{
    return store_find(&model->origins[s].store, key, strlen(key))->exists;
}

/* A command that has an effect at the source now, so that a master would propagate it; "" is none.
 */
static void make_command(struct model *model, uint32_t s, char words[400])
{
    char a[48], b[48], c[48], d[48];
    name_key(model, s, a);
    name_key(model, s, b);
    name_key(model, s, c);
    name_key(model, s, d);
    bool differ = strcmp(a, b) != 0;
    uint32_t n = random_below(&model->random, 1000);
    words[0] = '\0';
    if (random_below(&model->random, 100) < model->run->scripts) {
        if (differ)
            snprintf(words, 400, "EVAL s%u 2 %s %s", n, a, b);
        return;
    }
    switch (random_below(&model->random, 24)) {
    case 0:
    case 1:
    case 2:
        snprintf(words, 400, "SET %s v%u", a, n);
        break;
    case 3:
    case 4:
        snprintf(words, 400, "APPEND %s x%u", a, n);
        break;
    case 5:
        snprintf(words, 400, "DEL %s %s %s", a, b, c);
        break;
    case 6:
        if (differ && strcmp(a, c) != 0 && strcmp(b, c) != 0)
            snprintf(words, 400, "MSET %s %u %s %u %s %u", a, n, b, n + 1, c, n + 2);
        break;
    case 7:
        snprintf(words, 400, "RPUSH %s e%u", a, n);
        break;
    case 8:
        if (has(model, s, a))
            snprintf(words, 400, "PEXPIREAT %s %u", a, 100000 + n);
        break;
    case 9:
    case 10:
    case 11:
        if (has(model, s, a))
            snprintf(words, 400, "RPOPLPUSH %s %s", a, b);
        break;
    case 12:
        if (has(model, s, a))
            snprintf(words, 400, "LMOVE %s %s left RIGHT", a, b);
        break;
    case 13:
    case 14:
        if (has(model, s, a) && differ)
            snprintf(words, 400, "RENAME %s %s", a, b);
        break;
    case 15:
        if (has(model, s, a) && differ)
            snprintf(words, 400, "COPY %s %s REPLACE", a, b);
        break;
    case 16:
        if (has(model, s, a) && differ)
            snprintf(words, 400, "SMOVE %s %s m%u", a, b, n);
        break;
    case 17:
    case 18:
        snprintf(words, 400, "SUNIONSTORE %s %s %s %s", a, b, c, d);
        break;
    case 19:
        snprintf(words, 400, "PFMERGE %s %s %s", a, b, c);
        break;
    case 20:
        snprintf(words, 400, "BITOP XOR %s %s %s", a, b, c);
        break;
    case 21:
        snprintf(words, 400, "ZUNIONSTORE %s 2 %s %s WEIGHTS 1 %u", a, b, c, n);
        break;
    case 22:
        snprintf(words, 400, "ZRANGESTORE %s %s 0 %u", a, b, n);
        break;
    default:
        snprintf(words, 400, "SORT %s DESC STORE %s", b, a);
        break;
    }
}

static void add_command(struct model *model, uint32_t s)
{
    struct origin *origin = &model->origins[s];
    char words[400];
    make_command(model, s, words);
    if (words[0] != '\0') {
        resp_add(&origin->bytes, words);
        store_apply(&origin->store, words);
        remember(origin, OFFSET + origin->bytes.size);
    }
}

/* The moments inside a transaction count from its end on. */
static void set_offsets(struct origin *origin)
{
    uint64_t offset = OFFSET + origin->bytes.size;
    for (uint32_t i = 0; i < origin->store.count; i++) {
        struct history *history = &origin->histories[i];
        for (uint32_t n = history->count; n > 0; n--) {
            if (history->moments[n - 1].offset != UINT64_MAX) {
                break;
            }
            history->moments[n - 1].offset = offset;
        }
    }
}

/* Of one slot, which stays whole, or of several. */
static void add_transaction(struct model *model, uint32_t s)
{
    struct origin *origin = &model->origins[s];
    bool is_whole = random_below(&model->random, 2) == 0;
    resp_add(&origin->bytes, "MULTI");
    for (uint32_t i = 0; i < 3; i++) {
        char words[400];
        if (is_whole) {
            snprintf(words,
                     sizeof(words),
                     "APPEND {%c1}:%u t%u",
                     'a' + (int)s,
                     KEYS - 8 + random_below(&model->random, 3) * 3,
                     i);
        } else {
            make_command(model, s, words);
        }
        if (words[0] != '\0') {
            resp_add(&origin->bytes, words);
            store_apply(&origin->store, words);
            remember(origin, UINT64_MAX);
        }
    }
    resp_add(&origin->bytes, "EXEC");
    set_offsets(origin);
}

static void make_stream(struct model *model, uint32_t s)
{
    struct origin *origin = &model->origins[s];
    store_init(&origin->store);
    origin->ends = mem_calloc(MEM_TOOLS, (model->run->commands + 1) * sizeof(uint64_t));
    ASSERT(origin->ends != NULL);
    origin->lag_most = model->run->lag_most;
    origin->values_random.state = model->run->seed + s;
    char key[48];
    for (uint32_t i = 0; i < 20 * KEYS; i++) {
        name_key(model, s, key);
        store_find(&origin->store, key, strlen(key));
    }
    remember(origin, OFFSET);
    for (uint32_t i = 0; i < model->run->commands; i++) {
        if (random_below(&model->random, 20) == 0) {
            add_transaction(model, s);
        } else {
            add_command(model, s);
        }
        origin->ends[origin->end_count++] = OFFSET + origin->bytes.size;
    }
}

/* ---- its values ---- */

/* The source is further than what the program was given, and never inside a transaction. */
static uint64_t value_offset(void *arg)
{
    struct origin *origin = arg;
    uint64_t written = OFFSET + atomic_load_relaxed(&origin->written);
    uint32_t i = 0;
    while (i + 1 < origin->end_count && origin->ends[i] < written) {
        i++;
    }
    i += random_below(&origin->values_random, origin->lag_most + 1);
    return origin->ends[i < origin->end_count ? i : origin->end_count - 1];
}

static bool value_at(void *arg,
                     uint64_t offset,
                     const uint8_t *key,
                     size_t size,
                     char payload[64],
                     int64_t *expire_ms)
{
    const struct origin *origin = arg;
    for (uint32_t i = 0; i < origin->store.count; i++) {
        const struct store_entry *entry = &origin->store.entries[i];
        if (strlen(entry->key) != size || memcmp(entry->key, key, size) != 0) {
            continue;
        }
        const struct history *history = &origin->histories[i];
        uint32_t n = history->count - 1;
        while (n > 0 && history->moments[n].offset > offset) {
            n--;
        }
        const struct moment *moment = &history->moments[n];
        snprintf(payload, 64, "state %016llx", (unsigned long long)moment->state);
        *expire_ms = moment->expire_ms;
        return moment->exists;
    }
    return false;
}

static void values_start(struct origin *origin, struct source *source)
{
    origin->values.offset = value_offset;
    origin->values.value = value_at;
    origin->values.arg = origin;
    value_source_start(&origin->values);
    struct endpoint *endpoint = &source->feed.options.endpoint;
    snprintf(endpoint->host, sizeof(endpoint->host), "127.0.0.1");
    endpoint->port = origin->values.port;
}

/* ---- the destination ---- */

static bool answer(void *arg,
                   uint32_t peer,
                   const uint8_t *bytes,
                   const struct resp_command *command,
                   struct bytes *out)
{
    struct model *model = arg;
    store_command(&model->shards[peer], &model->rig->route, peer, bytes, command, out);
    return true;
}

/* The latest moment of the key at the source whose state the destination has; fails without. */
static const struct moment *moment_of(const struct history *history,
                                      const struct store_entry *entry)
{
    for (uint32_t i = history->count; i > 0; i--) {
        const struct moment *moment = &history->moments[i - 1];
        if (moment->state == entry->state && moment->exists == entry->exists &&
            moment->expire_ms == entry->expire_ms) {
            return moment;
        }
    }
    fail_msg("%s has a state that it never had at the source", entry->key);
    return NULL;
}

static void check_key(struct model *model, uint32_t s, uint32_t i, uint64_t applied)
{
    const struct origin *origin = &model->origins[s];
    const struct history *history = &origin->histories[i];
    const char *key = origin->store.entries[i].key;
    uint32_t lane = model->rig->route.slot_lane[slot_of_key(key, strlen(key))];
    struct peer *peer = &model->rig->peers[lane];
    pthread_mutex_lock(&peer->lock);
    struct store_entry entry = *store_find(&model->shards[lane], key, strlen(key));
    pthread_mutex_unlock(&peer->lock);
    const struct moment *moment = moment_of(history, &entry);
    const struct moment *next = moment + 1;
    if (next < history->moments + history->count && next->offset <= applied) {
        fail_msg("%s is behind offset %llu, which is called applied (seed %llu)",
                 key,
                 (unsigned long long)applied,
                 (unsigned long long)model->run->seed);
    }
}

static void check_all(struct model *model)
{
    for (uint32_t s = 0; s < model->run->streams; s++) {
        uint64_t applied = atomic_load_acquire(&model->rig->sources[s].feed.offset_applied);
        for (uint32_t i = 0; i < model->origins[s].store.count; i++) {
            check_key(model, s, i, applied);
        }
    }
}

static void check_shards(struct model *model)
{
    for (uint32_t lane = 0; lane < model->run->lanes; lane++) {
        struct store *shard = &model->shards[lane];
        pthread_mutex_lock(&model->rig->peers[lane].lock);
        assert_string_equal(shard->fault, "");
        for (uint32_t i = 0; i < shard->count; i++) {
            if (strncmp(shard->entries[i].key, RELAY_PREFIX, strlen(RELAY_PREFIX)) == 0) {
                assert_false(shard->entries[i].exists);
            }
        }
        pthread_mutex_unlock(&model->rig->peers[lane].lock);
    }
}

static void check_end(struct model *model)
{
    for (uint32_t s = 0; s < model->run->streams; s++) {
        const struct stream *stream = &model->rig->sources[s].stream;
        uint64_t end = OFFSET + model->origins[s].bytes.size;
        assert_int_equal(atomic_load_acquire(&model->rig->sources[s].feed.offset_applied), end);
        /* What is read drags others along, here nearly all. */
        bool is_rare = model->run->scripts > 0 || model->run->has_little_room;
        uint64_t least = is_rare ? 0 : model->run->commands / 8;
        assert_true(atomic_load_relaxed(&stream->relayed) > least);
        if (model->run->scripts > 0 || model->run->has_little_room) {
            assert_int_not_equal(atomic_load_relaxed(&stream->keys_refetched), 0);
        }
        assert_int_equal(atomic_load_relaxed(&stream->diverged_relay), 0);
        assert_int_equal(atomic_load_relaxed(&stream->relay->held.shown_count), 0);
        assert_int_equal(atomic_load_relaxed(&stream->relay->answers.bytes), 0);
    }
    check_all(model);
    check_shards(model);
}

/* ---- the run ---- */

static bool feed_more(struct model *model)
{
    bool is_done = true;
    for (uint32_t s = 0; s < model->run->streams; s++) {
        struct origin *origin = &model->origins[s];
        size_t left = origin->bytes.size - origin->fed;
        size_t take = random_below(&model->random, 3000);
        take = take < left ? take : left;
        /* The source has it before the program, and what it has it keeps, though it may not be able
         * to send all of it: its values are never older, and its offset never falls. */
        if (origin->fed + take > atomic_load_relaxed(&origin->written)) {
            atomic_store_relaxed(&origin->written, origin->fed + take);
        }
        origin->fed += rig_feed_some(model->rig, s, origin->bytes.bytes + origin->fed, take);
        is_done = is_done && origin->fed == origin->bytes.size;
    }
    return is_done;
}

static void let_go(struct model *model)
{
    uint32_t lane = random_below(&model->random, model->run->lanes);
    struct peer *peer = &model->rig->peers[lane];
    uint64_t now = rig_peer_value(model->rig, lane, &peer->reply_count);
    uint64_t limit = now + random_below(&model->random, 60);
    model->limits[lane] = limit > model->limits[lane] ? limit : model->limits[lane];
    rig_allow(model->rig, lane, model->limits[lane]);
}

static void model_run(const struct run *run)
{
    struct model *model = mem_calloc(MEM_TOOLS, sizeof(*model));
    ASSERT(model != NULL);
    model->run = run;
    model->random.state = run->seed;
    for (uint32_t s = 0; s < run->streams; s++) {
        make_stream(model, s);
    }
    for (uint32_t lane = 0; lane < run->lanes; lane++) {
        store_init(&model->shards[lane]);
        model->shards[lane].answer_bytes_most = run->answer_bytes_most;
    }
    model->rig = rig_new(&(struct rig_options){.is_cluster = true,
                                               .lanes = run->lanes,
                                               .shards = run->lanes,
                                               .streams = run->streams,
                                               .decoders = run->streams,
                                               .is_solo = run->streams == 1 && run->seed % 2 == 1,
                                               .batch_ops = run->batch_ops,
                                               .relay = run->relay,
                                               .answerer = answer,
                                               .answerer_arg = model});
    for (uint32_t s = 0; s < run->streams; s++) {
        values_start(&model->origins[s], &model->rig->sources[s]);
        rig_live(model->rig, s, OFFSET);
    }
    for (uint32_t lane = 0; lane < run->lanes; lane++) {
        rig_allow(model->rig, lane, 0);
    }
    uint64_t begin = clock_monotonic_ms();
    while (!feed_more(model)) {
        for (uint32_t i = 0; i < 4; i++) {
            let_go(model);
        }
        check_all(model);
        if (failure_is_raised(&model->rig->failure)) {
            fail_msg("%s", model->rig->failure.err.msg);
        }
        assert_false(rig_is_late(begin));
    }
    for (uint32_t lane = 0; lane < run->lanes; lane++) {
        rig_allow(model->rig, lane, UINT64_MAX);
    }
    rig_settle(model->rig);
    check_end(model);
    rig_free(model->rig);
    for (uint32_t s = 0; s < run->streams; s++) {
        value_source_stop(&model->origins[s].values);
        mem_free(MEM_TOOLS, model->origins[s].ends);
        for (uint32_t i = 0; i < STORE_ENTRIES; i++) {
            mem_free(MEM_TOOLS, model->origins[s].histories[i].moments);
        }
        store_deinit(&model->origins[s].store);
        bytes_free(&model->origins[s].bytes);
    }
    for (uint32_t lane = 0; lane < run->lanes; lane++) {
        store_deinit(&model->shards[lane]);
    }
    mem_free(MEM_TOOLS, model);
}

static void run_seeds(struct run run, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        run.seed += i > 0;
        print_message("seed %llu\n", (unsigned long long)run.seed);
        model_run(&run);
    }
}

static void test_roomy(void **state)
{
    (void)state;
    run_seeds((struct run){.seed = 100,
                           .commands = 3000,
                           .lanes = 3,
                           .streams = 1,
                           .relay = {.command_count = 1000, .answer_count = 1000}},
              4);
}

/* Every bound is met all the time: records, answers, bytes of both. */
static void test_tiny(void **state)
{
    (void)state;
    run_seeds((struct run){.seed = 200,
                           .commands = 1500,
                           .lanes = 3,
                           .streams = 1,
                           .relay = {.command_count = 2, .answer_count = 6, .command_bytes = 500}},
              4);
    run_seeds((struct run){.seed = 300,
                           .commands = 1500,
                           .lanes = 4,
                           .streams = 1,
                           .batch_ops = 8,
                           .relay = {.command_count = 5, .answer_count = 7, .command_bytes = 900}},
              4);
}

/* Answers that do not fit in their records come one or two at a time. */
static void test_large_answers(void **state)
{
    (void)state;
    run_seeds(
        (struct run){
            .seed = 400,
            .commands = 2000,
            .lanes = 3,
            .streams = 1,
            .answer_bytes_most = 6000,
            .relay = {.command_count = 100, .answer_count = 100, .answer_bytes = 1u << 20}},
        3);
}

/* Long queues at few keys: relays ask before their turn to write, and must not take what those in
 * front need. */
static void test_hot_keys(void **state)
{
    (void)state;
    run_seeds((struct run){.seed = 600,
                           .commands = 1500,
                           .lanes = 3,
                           .streams = 1,
                           .hot = 4,
                           .relay = {.command_count = 200, .answer_count = 8}},
              3);
    run_seeds(
        (struct run){.seed = 700,
                     .commands = 1500,
                     .lanes = 3,
                     .streams = 1,
                     .hot = 6,
                     .answer_bytes_most = 2000,
                     .relay = {.command_count = 300, .answer_count = 200, .answer_bytes = 400000}},
        3);
}

/* What cannot be relayed is read at the source, ahead of the stream, while the same keys wait for
 * relays; so are values for which there is no room. */
static void test_read_at_the_source(void **state)
{
    (void)state;
    run_seeds((struct run){.seed = 800,
                           .commands = 2000,
                           .lanes = 3,
                           .streams = 1,
                           .scripts = 1,
                           .lag_most = 20,
                           .relay = {.command_count = 200, .answer_count = 100}},
              6);
    run_seeds((struct run){.seed = 900,
                           .commands = 1500,
                           .lanes = 3,
                           .streams = 1,
                           .hot = 5,
                           .scripts = 3,
                           .lag_most = 3,
                           .relay = {.command_count = 8, .answer_count = 8}},
              6);
    run_seeds(
        (struct run){.seed = 1000,
                     .commands = 2000,
                     .lanes = 3,
                     .streams = 1,
                     .lag_most = 5,
                     .answer_bytes_most = 6000,
                     .has_little_room = true,
                     .relay = {.command_count = 100, .answer_count = 100, .answer_bytes = 9000}},
        6);
}

static void test_two_decoders(void **state)
{
    (void)state;
    run_seeds((struct run){.seed = 500,
                           .commands = 1500,
                           .lanes = 4,
                           .streams = 2,
                           .relay = {.command_count = 40, .answer_count = 20}},
              4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roomy),
        cmocka_unit_test(test_tiny),
        cmocka_unit_test(test_large_answers),
        cmocka_unit_test(test_hot_keys),
        cmocka_unit_test(test_read_at_the_source),
        cmocka_unit_test(test_two_decoders),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
