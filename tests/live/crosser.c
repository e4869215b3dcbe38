#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/live/crosser.h"

#define KEYS 9 /* of each type */
#define SLICE_MS 5

static const char *key_of(struct crosser *crosser, const char *type, char text[32])
{
    snprintf(text, 32, "r:%s:%u", type, random_below(&crosser->random, KEYS));
    return text;
}

/* What the others need: values to move around. */
static void write_plain(struct crosser *crosser)
{
    struct test_client *client = crosser->client;
    char key[32];
    int n = (int)random_below(&crosser->random, 40);
    switch (random_below(&crosser->random, 8)) {
    case 0:
        test_client_send(client, NULL, "RPUSH %s e%d f%d", key_of(crosser, "list", key), n, n);
        break;
    case 1:
        test_client_send(client, NULL, "SADD %s %d m%d", key_of(crosser, "set", key), n, n);
        break;
    case 2:
        test_client_send(client, NULL, "SREM %s %d", key_of(crosser, "set", key), n);
        break;
    case 3:
        test_client_send(client, NULL, "ZADD %s %d m%d", key_of(crosser, "zset", key), n * 3, n);
        break;
    case 4:
        test_client_send(
            client, NULL, "GEOADD %s %d.5 %d.25 p%d", key_of(crosser, "geo", key), n, n, n);
        break;
    case 5:
        test_client_send(client, NULL, "PFADD %s %d", key_of(crosser, "hll", key), n);
        break;
    case 6:
        test_client_send(client,
                         NULL,
                         n % 2 ? "SET %s some-%d" : "SETEX %s 500%d v",
                         key_of(crosser, "str", key),
                         n);
        break;
    default:
        test_client_send(client, NULL, "APPEND %s %d", key_of(crosser, "str", key), n);
        break;
    }
}

static void write_old(struct crosser *crosser)
{
    struct test_client *client = crosser->client;
    char a[32], b[32], c[32];
    int n = (int)random_below(&crosser->random, 40);
    switch (random_below(&crosser->random, 14)) {
    case 0: { /* a → b → c → a, at once */
        key_of(crosser, "list", a), key_of(crosser, "list", b), key_of(crosser, "list", c);
        test_client_send(client, NULL, "RPOPLPUSH %s %s", a, b);
        test_client_send(client, NULL, "RPOPLPUSH %s %s", b, c);
        test_client_send(client, NULL, "RPOPLPUSH %s %s", c, a);
        break;
    }
    case 1: {
        static const char *const types[] = {"list", "set", "zset", "str", "hll"};
        const char *type = types[n % 5];
        key_of(crosser, type, a), key_of(crosser, type, b);
        test_client_send(client, NULL, n % 3 ? "RENAME %s %s" : "RENAMENX %s %s", a, b);
        break;
    }
    case 2:
        key_of(crosser, "set", a), key_of(crosser, "set", b);
        test_client_send(client, NULL, "SMOVE %s %s %d", a, b, n);
        break;
    case 3:
    case 4: {
        static const char *const names[] = {"SUNIONSTORE", "SINTERSTORE", "SDIFFSTORE"};
        key_of(crosser, "set", a), key_of(crosser, "set", b), key_of(crosser, "set", c);
        test_client_send(client, NULL, "%s %s %s %s", names[n % 3], a, b, c);
        break;
    }
    case 5:
    case 6:
        key_of(crosser, "zset", a), key_of(crosser, "zset", b), key_of(crosser, "set", c);
        test_client_send(client,
                         NULL,
                         n % 3 ? "ZUNIONSTORE %s 2 %s %s WEIGHTS 1 2"
                               : "ZINTERSTORE %s 2 %s %s AGGREGATE MAX",
                         a,
                         b,
                         c);
        break;
    case 7:
        key_of(crosser, "hll", a), key_of(crosser, "hll", b), key_of(crosser, "hll", c);
        test_client_send(client, NULL, "PFMERGE %s %s %s", a, b, c);
        break;
    case 8:
        key_of(crosser, "bit", a), key_of(crosser, "str", b), key_of(crosser, "bit", c);
        test_client_send(client, NULL, n % 2 ? "BITOP OR %s %s %s" : "BITOP NOT %s %s", a, b, c);
        break;
    case 9:
        key_of(crosser, "set", a), key_of(crosser, "sorted", b);
        test_client_send(client, NULL, "SORT %s ALPHA DESC LIMIT 0 9 STORE %s", a, b);
        break;
    case 10:
        key_of(crosser, "geo", a), key_of(crosser, "zset", b);
        test_client_send(client, NULL, "GEORADIUS %s 15 15 900 km STORE %s", a, b);
        break;
    case 11:
        key_of(crosser, "set", a), key_of(crosser, "list", b), key_of(crosser, "str", c);
        test_client_send(client, NULL, "DEL %s %s %s", a, b, c);
        break;
    case 12:
        key_of(crosser, "str", a), key_of(crosser, "str", b);
        test_client_send(client, NULL, "MSET %s a%d %s b", a, n, b);
        break;
    default:
        key_of(crosser, "list", a), key_of(crosser, "list", b);
        test_client_send(client, NULL, "BRPOPLPUSH %s %s 1", a, b);
        break;
    }
}

static void write_new(struct crosser *crosser)
{
    struct test_client *client = crosser->client;
    char a[32], b[32], c[32];
    int n = (int)random_below(&crosser->random, 40);
    switch (random_below(&crosser->random, 5)) {
    case 0:
        key_of(crosser, "list", a), key_of(crosser, "list", b);
        test_client_send(
            client, NULL, n % 2 ? "LMOVE %s %s LEFT RIGHT" : "LMOVE %s %s RIGHT RIGHT", a, b);
        break;
    case 1: {
        static const char *const types[] = {"list", "set", "zset", "str"};
        key_of(crosser, types[n % 4], a), key_of(crosser, types[n % 4], b);
        test_client_send(client, NULL, n % 8 < 4 ? "COPY %s %s REPLACE" : "COPY %s %s", a, b);
        break;
    }
    case 2:
        key_of(crosser, "zset", a), key_of(crosser, "zset", b), key_of(crosser, "zset", c);
        test_client_send(client, NULL, "ZDIFFSTORE %s 2 %s %s", a, b, c);
        break;
    case 3:
        key_of(crosser, "zset", a), key_of(crosser, "zset", b);
        test_client_send(client, NULL, "ZRANGESTORE %s %s 1 9 REV", a, b);
        break;
    default:
        key_of(crosser, "zset", a), key_of(crosser, "geo", b);
        test_client_send(client,
                         NULL,
                         "GEOSEARCHSTORE %s %s FROMLONLAT 15 15 BYBOX 900 900 km ASC COUNT %d",
                         a,
                         b,
                         1 + n);
        break;
    }
}

static void write_one(struct crosser *crosser)
{
    uint32_t kind = random_below(&crosser->random, 10);
    if (kind < 3)
        write_plain(crosser);
    else if (kind < 8 || !crosser->has_6_2)
        write_old(crosser);
    else
        write_new(crosser);
}

static void *crosser_run(void *arg)
{
    struct crosser *crosser = arg;
    while (!atomic_load_relaxed(&crosser->is_stopping) && !test_client_is_lost(crosser->client)) {
        for (uint32_t n = crosser->rate * SLICE_MS / 1000; n > 0; n--) {
            bool is_transaction = random_below(&crosser->random, 30) == 0;
            if (is_transaction)
                test_client_send(crosser->client, NULL, "MULTI");
            for (uint32_t i = 0; i < (is_transaction ? 4 : 1); i++)
                write_one(crosser);
            if (is_transaction)
                test_client_send(crosser->client, NULL, "EXEC");
        }
        test_client_flush(crosser->client);
        nanosleep(&(struct timespec){.tv_nsec = SLICE_MS * 1000000}, NULL);
    }
    test_client_flush(crosser->client);
    return NULL;
}

/* Names that are not there, and pops of what is empty, are refused by the source, as they should.
 */
void crossers_start(struct crosser crossers[CROSSERS],
                    const struct live_side *source,
                    uint64_t seed,
                    uint32_t rate)
{
    for (uint32_t i = 0; i < CROSSERS; i++) {
        struct crosser *crosser = &crossers[i];
        memset(crosser, 0, sizeof(*crosser));
        crosser->client = test_client_new(live_port(source));
        crosser->random.state = seed + i;
        crosser->rate = rate;
        crosser->has_6_2 = test_has_command(test_client_at(crosser->client, 0), "getdel");
        assert_int_equal(pthread_create(&crosser->thread, NULL, crosser_run, crosser), 0);
    }
}

void crossers_stop(struct crosser crossers[CROSSERS])
{
    for (uint32_t i = 0; i < CROSSERS; i++) {
        atomic_store_relaxed(&crossers[i].is_stopping, true);
        pthread_join(crossers[i].thread, NULL);
        test_client_free(crossers[i].client);
    }
}

void crossers_wait_relayed(struct test_cli *cli, int64_t more)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    int64_t wanted = live_total(cli, "relayed") + more;
    while (live_total(cli, "relayed") < wanted)
        test_poll(deadline, "relays");
}
