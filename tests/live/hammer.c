#include "tests/live/hammer.h"

#include <stdio.h>
#include <string.h>

#include "core/base/clock.h"
#include "tests/support/random.h"

#define BATCH 64
/* About a third of a second of what is written at the highest rate that was seen. */
#define LAG_BYTES_MAX (2 << 20)
#define LAG_BYTES_FEW (LAG_BYTES_MAX / 4)

/* ---- commands ---- */

/* More commands than lie between two positions, each on a key of its own. */
static void send_transaction(struct test_client *client, struct random *state)
{
    char tag[24];
    snprintf(tag, sizeof(tag), "{%u}", (unsigned)random_below(state, 5));
    test_client_send(client, tag, "MULTI");
    for (int i = 0; i < 100; i++)
        test_client_send(client, tag, "INCR %s:%d", tag, i);
    test_client_send(client, tag, "EXEC");
}

/* Over several keys of any slots. */
static void send_across(struct test_client *client, struct random *state)
{
    static const char script[] =
        "redis.call('INCR', KEYS[1]) redis.call('APPEND', KEYS[2], ARGV[1])";
    int a = (int)random_below(state, 40);
    int b = (int)random_below(state, 40);
    int c = (int)random_below(state, 40);
    switch (random_below(state, 11)) {
    case 0:
    case 1:
        test_client_send(client, NULL, "SADD set:%d %d m%d", a, b, c);
        break;
    case 2:
        test_client_send(client, NULL, "RENAME set:%d set:%d", a, b);
        break;
    case 3:
        test_client_send(client, NULL, "SUNIONSTORE set:%d set:%d set:%d", a, b, c);
        break;
    case 4:
        test_client_send(client, NULL, "SMOVE set:%d set:%d %d", a, b, c);
        break;
    case 5:
        test_client_send(client, NULL, "COPY counter:%d counter:%d REPLACE", a, b);
        break;
    case 6:
        test_client_send(client, NULL, "MSETNX fresh:%d 1 fresh:%d 2", a, b);
        test_client_send(client, NULL, "DEL fresh:%d", c);
        break;
    case 7:
        test_client_send(client, NULL, "MULTI");
        test_client_send(client, NULL, "INCR counter:%d", a);
        test_client_send(client, NULL, "APPEND text:%d !", b);
        test_client_send(client, NULL, "RPOPLPUSH list:%d list:%d", a, c);
        test_client_send(client, NULL, "EXEC");
        break;
    case 8:
        test_client_send(client, NULL, "EVAL %s 2 counter:%d text:%d ?", script, a, b);
        break;
    case 9:
        test_client_send(client, NULL, "LPUSH list:%d %d", a, b);
        test_client_send(client, NULL, "RPOPLPUSH list:%d list:%d", a, c);
        break;
    default:
        test_client_send(client, NULL, "APPEND text:%d %d,", a, b);
        test_client_send(client, NULL, "RENAME text:%d text:%d", a, c);
        break;
    }
}

/* A key of this name in two databases, of 0 to 3. */
static void send_databases(struct test_client *client, struct random *state)
{
    int a = (int)random_below(state, 20);
    int b = (int)random_below(state, 20);
    int db = (int)random_below(state, 4);
    if (random_below(state, 400) == 0) {
        test_client_send(client, NULL, "SWAPDB %d %d", db, (int)random_below(state, 4));
        return;
    }
    switch (random_below(state, 4)) {
    case 0:
        test_client_send(client, NULL, "COPY counter:%d counter:%d DB %d REPLACE", a, b, db);
        break;
    case 1:
        test_client_send(client, NULL, "COPY text:%d text:%d DB %d REPLACE", a, a, db);
        break;
    case 2:
        test_client_send(client, NULL, "MOVE counter:%d %d", a, db);
        break;
    default:
        test_client_send(client, NULL, "MOVE text:%d %d", a, db);
        break;
    }
    test_client_send(client, NULL, "INCR counter:%d", b);
    test_client_send(client, NULL, "APPEND text:%d %d,", b, a);
}

/* A small transaction, as applications make them. */
static void send_pair(struct test_client *client, struct random *state)
{
    char tag[24];
    snprintf(tag, sizeof(tag), "{%u}", (unsigned)random_below(state, 50));
    test_client_send(client, tag, "MULTI");
    test_client_send(client, tag, "INCR %scounter", tag);
    test_client_send(client, tag, "LPUSH %slist:%s %u", tag, tag, (unsigned)random_below(state, 9));
    test_client_send(client, tag, "EXEC");
}

static void send_one(struct hammer *hammer, struct test_client *client, struct random *state)
{
    bool is_cross_slot = hammer->reach != HAMMER_SLOT;
    if (random_below(state, 300) == 0) {
        send_transaction(client, state);
        return;
    }
    if (random_below(state, 20) == 0) {
        send_pair(client, state);
        return;
    }
    if (hammer->reach == HAMMER_DATABASES && random_below(state, 3) == 0) {
        send_databases(client, state);
        return;
    }
    if (is_cross_slot && random_below(state, 3) == 0) {
        send_across(client, state);
        return;
    }
    char a[40], b[40];
    uint64_t n = random_below(state, 2000);
    uint64_t m = random_below(state, 200);
    uint64_t tag = is_cross_slot ? random_below(state, 1000000) : m % 50;
    switch (random_below(state, 9)) {
    case 0:
    case 1:
        snprintf(a, sizeof(a), "counter:%llu", (unsigned long long)n);
        test_client_send(client, a, "INCR %s", a);
        break;
    case 2:
        snprintf(a, sizeof(a), "text:%llu", (unsigned long long)m);
        test_client_send(client, a, "APPEND %s %llu,", a, (unsigned long long)n);
        break;
    case 3:
    case 4:
        snprintf(
            a, sizeof(a), "{%llu}list:%llu", (unsigned long long)(m % 50), (unsigned long long)m);
        test_client_send(client, a, "LPUSH %s %llu", a, (unsigned long long)n);
        break;
    case 5:
        /* Of the same slot, or with is_cross_slot of any. */
        tag = is_cross_slot ? tag % 50 : m % 50;
        snprintf(
            a, sizeof(a), "{%llu}list:%llu", (unsigned long long)(m % 50), (unsigned long long)m);
        snprintf(b, sizeof(b), "{%llu}list:%llu", (unsigned long long)tag, (unsigned long long)tag);
        test_client_send(client, a, "RPOPLPUSH %s %s", a, b);
        break;
    case 6:
        snprintf(a, sizeof(a), "hash:%llu", (unsigned long long)m);
        test_client_send(client, a, "HINCRBY %s f%llu 3", a, (unsigned long long)(n % 7));
        break;
    case 7:
        snprintf(
            a, sizeof(a), "{%llu}list:%llu", (unsigned long long)(m % 50), (unsigned long long)m);
        test_client_send(client, a, "RPOP %s", a);
        break;
    default:
        snprintf(a, sizeof(a), "string:%llu", (unsigned long long)n);
        test_client_send(client, a, "SET %s %llu", a, (unsigned long long)m);
        break;
    }
}

/* ---- threads ---- */

static void *writer_main(void *arg)
{
    struct hammer_writer *writer = arg;
    struct hammer *hammer = writer->hammer;
    struct random state = {.state = writer->seed};
    uint64_t done = 0;
    while (!atomic_load(&hammer->is_stopping)) {
        if (atomic_load(&hammer->is_paused)) {
            clock_sleep_ms(1);
            continue;
        }
        for (int i = 0; i < BATCH; i++)
            send_one(hammer, writer->client, &state);
        if (hammer->reach == HAMMER_DATABASES)
            test_client_send(writer->client, NULL, "SELECT %d", (int)random_below(&state, 4));
        test_client_flush(writer->client);
        uint64_t now = test_client_done(writer->client);
        atomic_fetch_add(&hammer->count, now - done);
        done = now;
    }
    return NULL;
}

void hammer_start(struct hammer *hammer,
                  const struct live_side *source,
                  uint64_t seed,
                  enum hammer_reach reach)
{
    uint64_t now_ms = clock_monotonic_ms();
    *hammer = (struct hammer){.port = live_port(source), .reach = reach, .resumed_ms = now_ms};
    for (uint32_t i = 0; i < HAMMER_WRITERS; i++) {
        struct hammer_writer *writer = &hammer->writers[i];
        writer->hammer = hammer;
        writer->seed = seed * HAMMER_WRITERS + i;
        writer->client = test_client_new(hammer->port);
        if (pthread_create(&writer->thread, NULL, writer_main, writer) != 0)
            test_fatal("no thread for a writer");
    }
}

static void stretch_end(struct hammer *hammer)
{
    if (hammer->resumed_ms != 0)
        hammer->active_ms += clock_monotonic_ms() - hammer->resumed_ms;
    hammer->resumed_ms = 0;
}

void hammer_stop(struct hammer *hammer)
{
    atomic_store(&hammer->is_stopping, true);
    for (uint32_t i = 0; i < HAMMER_WRITERS; i++) {
        pthread_join(hammer->writers[i].thread, NULL);
        if (test_client_is_lost(hammer->writers[i].client))
            test_fatal("a writer: %s", test_client_error_text(hammer->writers[i].client));
        test_client_free(hammer->writers[i].client);
    }
    stretch_end(hammer);
}

void hammer_more(struct hammer *hammer, uint64_t count)
{
    uint64_t until = hammer_count(hammer) + count;
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (hammer_count(hammer) < until)
        test_poll(deadline, "the writer");
}

uint64_t hammer_count(const struct hammer *hammer)
{
    return atomic_load(&hammer->count);
}

uint64_t hammer_rate(const struct hammer *hammer)
{
    uint64_t ms = hammer->active_ms;
    ms += hammer->resumed_ms != 0 ? clock_monotonic_ms() - hammer->resumed_ms : 0;
    return hammer_count(hammer) * 1000 / (ms > 0 ? ms : 1);
}

void hammer_pace(struct hammer *hammer, int64_t lag_bytes)
{
    bool is_paused = atomic_load(&hammer->is_paused);
    if (!is_paused && lag_bytes > LAG_BYTES_MAX) {
        stretch_end(hammer);
        atomic_store(&hammer->is_paused, true);
    } else if (is_paused && lag_bytes < LAG_BYTES_FEW) {
        hammer->resumed_ms = clock_monotonic_ms();
        atomic_store(&hammer->is_paused, false);
    }
}
