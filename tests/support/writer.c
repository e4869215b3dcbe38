#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/base/alloc.h"
#include "core/base/atomic.h"
#include "core/base/clock.h"
#include "tests/support/client.h"
#include "tests/support/random.h"
#include "tests/support/servers.h"
#include "tests/support/writer.h"

#define GROUP_SIZE 8 /* keys of a type that share a slot */
#define SLICE_MS 10

struct writer {
    struct writer_options options;
    struct test_client *client;
    struct random random;
    pthread_t thread;
    bool has_6_2;
    bool has_field_ttl;
    uint32_t group;          /* the slot's group that keys are chosen from */
    atomic_bool is_stopping; /* W: writer_stop. R: the thread. */
    _Atomic uint64_t count;  /* W: the thread. R: any; a plain counter. */
    char key[4][48];         /* of the command being made */
};

#define SEND(writer, ...) test_client_send((writer)->client, (writer)->key[0], __VA_ARGS__)

static uint32_t pick(struct writer *writer, uint32_t bound)
{
    return random_below(&writer->random, bound);
}

/* Names key n: of the current group, or any key when crossing slots is allowed. */
static const char *name_key(struct writer *writer, uint32_t n, const char *type)
{
    if (writer->options.is_cross_slot)
        snprintf(writer->key[n],
                 sizeof(writer->key[n]),
                 "w:%s:%u",
                 type,
                 pick(writer, writer->options.key_count));
    else
        snprintf(writer->key[n],
                 sizeof(writer->key[n]),
                 "w:{%u}:%s:%u",
                 writer->group,
                 type,
                 pick(writer, GROUP_SIZE));
    return writer->key[n];
}

static void write_string(struct writer *writer)
{
    static const char text[] = "some text that is repeated, some text that is repeated, and ends";
    const char *key = name_key(writer, 0, "str");
    size_t size = pick(writer, sizeof(text));
    switch (pick(writer, 10)) {
    case 0:
        SEND(writer, "SETEX %s %d %b", key, 100000 + (int)size, text, size);
        break;
    case 1:
        SEND(writer, "APPEND %s %b", key, text, size % 8);
        break;
    case 2:
        SEND(writer, "SETRANGE %s %d %b", key, (int)pick(writer, 100), text, size);
        break;
    case 3:
        SEND(writer, "DEL %s", key);
        break;
    case 4:
        SEND(writer, writer->has_6_2 ? "GETDEL %s" : "UNLINK %s", key);
        break;
    case 5:
        SEND(writer, "SETBIT %s %d %d", key, (int)pick(writer, 800), (int)pick(writer, 2));
        break;
    case 6:
        SEND(writer, "GETSET %s %b", key, text, size);
        break;
    default:
        SEND(writer, "SET %s %b", key, text, size);
        break;
    }
}

static void write_number(struct writer *writer)
{
    const char *key = name_key(writer, 0, "num");
    switch (pick(writer, 6)) {
    case 0:
        SEND(writer, "INCRBY %s %d", key, (int)pick(writer, 1000) - 500);
        break;
    case 1:
        SEND(writer, "DECR %s", key);
        break;
    case 2:
        SEND(writer, "SET %s %d", key, (int)pick(writer, 100000));
        break;
    default:
        SEND(writer, "INCR %s", key);
        break;
    }
}

static void write_list(struct writer *writer)
{
    const char *key = name_key(writer, 0, "list");
    uint32_t n = pick(writer, 1000);
    switch (pick(writer, 10)) {
    case 0:
    case 1:
        SEND(writer, "LPOP %s", key);
        break;
    case 2:
        SEND(writer, "RPOP %s", key);
        break;
    case 3:
        SEND(writer, "LTRIM %s 0 50", key);
        break;
    case 4:
        SEND(writer, "LREM %s 1 e%d", key, (int)n % 20);
        break;
    case 5:
        SEND(writer, "LINSERT %s BEFORE e%d x%d", key, (int)n % 20, (int)n);
        break;
    case 6:
        SEND(writer, writer->has_6_2 ? "LPOP %s 3" : "LPOP %s", key);
        break;
    case 7:
        SEND(writer, "RPUSH %s e%d e%d e%d", key, (int)n % 20, (int)n, (int)n + 1);
        break;
    default:
        SEND(writer, "LPUSH %s e%d", key, (int)n % 20);
        break;
    }
}

static void write_set(struct writer *writer)
{
    const char *key = name_key(writer, 0, "set");
    uint32_t n = pick(writer, 300);
    switch (pick(writer, 6)) {
    case 0:
        SEND(writer, "SPOP %s", key);
        break;
    case 1:
        SEND(writer, "SPOP %s 3", key);
        break;
    case 2:
        SEND(writer, "SREM %s %d", key, (int)n);
        break;
    default:
        SEND(writer, n % 2 ? "SADD %s %d" : "SADD %s member-%d", key, (int)n);
        break;
    }
}

static void write_hash(struct writer *writer)
{
    const char *key = name_key(writer, 0, "hash");
    uint32_t n = pick(writer, 100);
    switch (pick(writer, 7)) {
    case 0:
        SEND(writer, "HINCRBY %s n%d %d", key, (int)n % 10, (int)n);
        break;
    case 1:
        SEND(writer, "HDEL %s f%d", key, (int)n);
        break;
    case 2:
        SEND(writer, "HSETNX %s f%d first", key, (int)n);
        break;
    case 3:
        SEND(writer, "HINCRBYFLOAT %s x%d 0.25", key, (int)n % 10);
        break;
    case 4:
        if (writer->has_field_ttl) {
            SEND(writer, "HPEXPIRE %s %d FIELDS 1 f%d", key, 50000000 + (int)n, (int)n);
            break;
        }
        /* fallthrough */
    default:
        SEND(writer, "HSET %s f%d v%d g%d w", key, (int)n, (int)pick(writer, 1000), (int)n);
        break;
    }
}

static void write_zset(struct writer *writer)
{
    const char *key = name_key(writer, 0, "zset");
    uint32_t n = pick(writer, 200);
    switch (pick(writer, 7)) {
    case 0:
        SEND(writer, "ZREM %s m%d", key, (int)n);
        break;
    case 1:
        SEND(writer, "ZPOPMIN %s", key);
        break;
    case 2:
        SEND(writer, "ZINCRBY %s 0.5 m%d", key, (int)n);
        break;
    case 3:
        SEND(writer, "ZREMRANGEBYRANK %s 100 -1", key);
        break;
    default:
        SEND(writer, "ZADD %s %d.%d m%d", key, (int)pick(writer, 1000) - 500, (int)n, (int)n);
        break;
    }
}

static void write_stream(struct writer *writer)
{
    const char *key = name_key(writer, 0, "stream");
    switch (pick(writer, 6)) {
    case 0:
        SEND(writer, "XTRIM %s MAXLEN ~ 200", key);
        break;
    case 1:
        SEND(writer, "XADD %s MAXLEN 300 * field trimmed", key);
        break;
    case 2:
        SEND(writer, "XADD %s MAXLEN ~ 100 * a b c d", key);
        break;
    default:
        SEND(writer, "XADD %s * n %d", key, (int)pick(writer, 1000));
        break;
    }
}

static void write_other(struct writer *writer)
{
    uint32_t n = pick(writer, 1000);
    switch (pick(writer, 5)) {
    case 0:
        SEND(writer, "PFADD %s e%d", name_key(writer, 0, "hll"), (int)n);
        break;
    case 1:
        SEND(writer,
             "GEOADD %s %d.5 %d.25 p%d",
             name_key(writer, 0, "geo"),
             (int)n % 180,
             (int)n % 80,
             (int)n % 50);
        break;
    case 2:
        SEND(writer, "EXPIRE %s %d", name_key(writer, 0, "str"), 1000000 + (int)n);
        break;
    case 3:
        SEND(writer, "PERSIST %s", name_key(writer, 0, "str"));
        break;
    default:
        SEND(writer,
             "EVAL %s 1 %s %d",
             "redis.call('RPUSH', KEYS[1], ARGV[1]) return redis.call('LTRIM', KEYS[1], -20, -1)",
             name_key(writer, 0, "list"),
             (int)n);
        break;
    }
}

/* Commands of several keys that succeed whatever their keys hold. */
static void write_several(struct writer *writer)
{
    char(*key)[48] = writer->key;
    const char *type = pick(writer, 2) ? "set" : "zset";
    switch (pick(writer, 12)) {
    case 0:
    case 1:
        name_key(writer, 0, "str"), name_key(writer, 1, "str"), name_key(writer, 2, "str");
        SEND(writer, "MSET %s a%d %s b %s c", key[0], (int)pick(writer, 99), key[1], key[2]);
        break;
    case 2:
        name_key(writer, 0, "str"), name_key(writer, 1, "list"), name_key(writer, 2, "hash");
        SEND(writer, "DEL %s %s %s", key[0], key[1], key[2]);
        break;
    case 3:
        name_key(writer, 0, "set"), name_key(writer, 1, "set");
        SEND(writer, "SMOVE %s %s %d", key[0], key[1], (int)pick(writer, 300));
        break;
    case 4:
        name_key(writer, 0, "list"), name_key(writer, 1, "list");
        SEND(writer, "RPOPLPUSH %s %s", key[0], key[1]);
        break;
    case 5:
        name_key(writer, 0, "set"), name_key(writer, 1, "set"), name_key(writer, 2, "set");
        SEND(writer, "SUNIONSTORE %s %s %s", key[0], key[1], key[2]);
        break;
    case 6:
        name_key(writer, 0, "zset"), name_key(writer, 1, "zset"), name_key(writer, 2, type);
        SEND(writer, "ZUNIONSTORE %s 2 %s %s", key[0], key[1], key[2]);
        break;
    case 7:
        name_key(writer, 0, "bit"), name_key(writer, 1, "str"), name_key(writer, 2, "str");
        SEND(writer, "BITOP XOR %s %s %s", key[0], key[1], key[2]);
        break;
    case 8:
        name_key(writer, 0, "hll"), name_key(writer, 1, "hll"), name_key(writer, 2, "hll");
        SEND(writer, "PFMERGE %s %s %s", key[0], key[1], key[2]);
        break;
    case 9:
        name_key(writer, 0, "str"), name_key(writer, 1, "str");
        SEND(writer, "SET %s renamed", key[0]);
        SEND(writer, "RENAME %s %s", key[0], key[1]);
        break;
    case 10:
        name_key(writer, 0, "str"), name_key(writer, 1, "copy"); /* onto itself is an error */
        SEND(writer, writer->has_6_2 ? "COPY %s %s REPLACE" : "MSETNX %s a %s b", key[0], key[1]);
        break;
    default:
        name_key(writer, 0, "list"), name_key(writer, 1, "list");
        SEND(
            writer, writer->has_6_2 ? "LMOVE %s %s LEFT RIGHT" : "RPOPLPUSH %s %s", key[0], key[1]);
        break;
    }
}

static void write_one(struct writer *writer)
{
    static void (*const kinds[])(struct writer *) = {write_string,
                                                     write_string,
                                                     write_number,
                                                     write_list,
                                                     write_set,
                                                     write_hash,
                                                     write_zset,
                                                     write_stream,
                                                     write_other,
                                                     write_several};
    kinds[pick(writer, sizeof(kinds) / sizeof(kinds[0]))](writer);
}

static void write_transaction(struct writer *writer)
{
    /* Its first key decides the node; the rest must not be sent elsewhere by a redirect. */
    test_client_hold(writer->client, true);
    name_key(writer, 0, "num");
    SEND(writer, "MULTI");
    for (uint32_t n = 1 + pick(writer, 6); n > 0; n--)
        write_one(writer);
    name_key(writer, 0, "num");
    SEND(writer, "EXEC");
    test_client_hold(writer->client, false);
}

static void step(struct writer *writer)
{
    writer->group = pick(writer, 1 + writer->options.key_count / GROUP_SIZE);
    if (writer->options.db_count > 1 && pick(writer, 200) == 0)
        test_client_send(
            writer->client, NULL, "SELECT %d", (int)pick(writer, writer->options.db_count));
    if (writer->options.has_transactions && pick(writer, 20) == 0)
        write_transaction(writer);
    else
        write_one(writer);
}

static void *run(void *arg)
{
    struct writer *writer = arg;
    uint64_t begin_ms = clock_monotonic_ms();
    uint64_t steps = 0;
    while (!atomic_load_relaxed(&writer->is_stopping) && !test_client_is_lost(writer->client)) {
        uint64_t elapsed_ms = clock_monotonic_ms() - begin_ms + SLICE_MS;
        uint64_t allowed = writer->options.rate_max * elapsed_ms / 1000;
        if (writer->options.rate_max == 0)
            allowed = steps + 256;
        for (; steps < allowed; steps++)
            step(writer);
        test_client_flush(writer->client);
        atomic_store_relaxed(&writer->count, test_client_done(writer->client));
        if (writer->options.rate_max != 0) /* the pace asked for, not a synchronisation */
            nanosleep(&(struct timespec){.tv_nsec = SLICE_MS * 1000000}, NULL);
    }
    test_client_flush(writer->client);
    atomic_store_relaxed(&writer->count, test_client_done(writer->client));
    return NULL;
}

struct writer *writer_start(const struct writer_options *options)
{
    struct writer *writer = mem_calloc(MEM_TOOLS, sizeof(*writer));
    if (writer == NULL)
        test_fatal("out of memory");
    writer->options = *options;
    if (writer->options.key_count == 0)
        writer->options.key_count = 1000;
    writer->random.state = options->seed;
    writer->client = test_client_new(options->port);
    if (options->is_cross_slot && test_client_is_cluster(writer->client))
        test_fatal("a cluster refuses commands over several slots");
    redisContext *first = test_client_at(writer->client, 0);
    writer->has_6_2 = test_has_command(first, "getdel");
    writer->has_field_ttl = test_has_command(first, "hpexpire");
    if (pthread_create(&writer->thread, NULL, run, writer) != 0)
        test_fatal("pthread_create");
    return writer;
}

uint64_t writer_count(const struct writer *writer)
{
    return atomic_load_relaxed(&writer->count);
}

uint64_t writer_stop(struct writer *writer, struct writer_result *result)
{
    atomic_store_relaxed(&writer->is_stopping, true);
    pthread_join(writer->thread, NULL);
    uint64_t count = writer_count(writer);
    uint64_t errors = test_client_errors(writer->client);
    if (result == NULL && (errors != 0 || test_client_is_lost(writer->client)))
        test_fatal("the writer failed %llu times: %s",
                   (unsigned long long)errors,
                   test_client_error_text(writer->client));
    if (result != NULL) {
        *result = (struct writer_result){.command_count = count,
                                         .error_count = errors,
                                         .is_lost = test_client_is_lost(writer->client)};
        snprintf(result->error_text,
                 sizeof(result->error_text),
                 "%s",
                 test_client_error_text(writer->client));
    }
    test_client_free(writer->client);
    mem_free(MEM_TOOLS, writer);
    return count;
}
