/*
 * Rules of selection between real servers (I6, I7, L6): a random stream of commands of every kind,
 * applied through the rules, leaves at the destination exactly the source's keys that an
 * independent matcher selects, under their new names; from a standalone server to a cluster also of
 * commands whose keys lie in several slots there. Plus what stops a task, and what a second full
 * copy may remove.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/slot.h"
#include "tests/apply/select_naive.h"
#include "tests/live/live.h"
#include "tests/support/random.h"

#define TAGS 4
#define KILLS 4
/* An expiry that is read is what is left of it, by the source's clock a moment later or earlier. */
#define READ_SLACK_MS 2000
#define NO_TAG UINT_MAX
#define WORDS_MAX 16
#define OPTIONS_MAX 12

static struct live_side source, destination;

/* ---- one set of rules, for the program and for the matcher ---- */

struct rule_set {
    const char *options[OPTIONS_MAX]; /* as on the command line, NULL-terminated */
    const char *types;                /* the selected ones, NULL: all            */
};

static const struct rule_set rule_sets[] = {
    {.options = {"--exclude-prefix", "tmp:", "--rename-prefix", "old:=new:"}},
    {.options = {"--include-prefix",
                 "user:",
                 "--include-key",
                 "o?d:*",
                 "--exclude-suffix",
                 ":x",
                 "--rename-prefix",
                 "old:=a:name:that:is:much:longer:than:before:"}},
    {.options = {"--include-key",
                 "*[024]",
                 "--exclude-type",
                 "stream,string",
                 "--rename-prefix",
                 "user:=u:"},
     .types = "list set zset hash"},
    {.options = {"--include-prefix",
                 "user:",
                 "--exclude-key",
                 "*{[02]}:?:x",
                 "--rename-prefix",
                 "user:="}},
    {.options = {"--exclude-key",
                 "k[^x]?p:*",
                 "--include-type",
                 "hash",
                 "--include-type",
                 "list,string",
                 "--rename-prefix",
                 "=ns:"},
     .types = "hash list string"},
    {.options = {"--include-suffix", ":x", "--exclude-type", "set"},
     .types = "string list zset hash stream"},
};
#define RULE_SETS (sizeof(rule_sets) / sizeof(rule_sets[0]))

static void naive_rules(const struct rule_set *set, struct naive *naive)
{
    static const struct {
        const char *option;
        enum select_list list;
    } names[] = {{"--include-key", SELECT_INCLUDE_KEY},
                 {"--include-prefix", SELECT_INCLUDE_PREFIX},
                 {"--include-suffix", SELECT_INCLUDE_SUFFIX},
                 {"--exclude-key", SELECT_EXCLUDE_KEY},
                 {"--exclude-prefix", SELECT_EXCLUDE_PREFIX},
                 {"--exclude-suffix", SELECT_EXCLUDE_SUFFIX},
                 {"--rename-prefix", SELECT_RENAME_PREFIX}};
    *naive = (struct naive){.rule_count = 0};
    for (unsigned i = 0; set->options[i] != NULL; i += 2) {
        for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
            if (strcmp(set->options[i], names[n].option) == 0) {
                naive_add(naive, names[n].list, set->options[i + 1]);
            }
        }
    }
}

static bool type_is_selected(const struct rule_set *set, const char *type)
{
    if (set->types == NULL) {
        return true;
    }
    size_t size = strlen(type);
    for (const char *at = set->types; *at != '\0'; at += strcspn(at, " ")) {
        at += *at == ' ';
        if (strcspn(at, " ") == size && strncmp(at, type, size) == 0) {
            return true;
        }
    }
    return false;
}

static void run_more(struct test_cli *cli,
                     const char *command,
                     const struct rule_set *set,
                     bool is_all_dbs,
                     const char *name,
                     const char *value)
{
    const char *words[OPTIONS_MAX + 20] = {command, source.uri, destination.uri};
    unsigned count = 3;
    words[count++] = "--output";
    words[count++] = "json";
    words[count++] = "--progress-interval";
    words[count++] = "20ms";
    if (!is_all_dbs) {
        words[count++] = "--db";
        words[count++] = "0";
    }
    for (unsigned i = 0; set->options[i] != NULL; i++) {
        words[count++] = set->options[i];
    }
    words[count++] = name;
    words[count++] = value;
    words[count] = NULL;
    test_cli_spawn(cli, words);
}

static void
run_program(struct test_cli *cli, const char *command, const struct rule_set *set, bool is_all_dbs)
{
    run_more(cli, command, set, is_all_dbs, NULL, NULL);
}

/* ---- random commands ---- */

/* K a key, V one of a few words, N a number. After the name: how its keys depend on each other. */
enum form {
    FORM_FREE,  /* any of them may be selected                             */
    FORM_MOVE,  /* K1 goes to K2: computable unless only K2 is selected     */
    FORM_STORE, /* the first K is made from the others                      */
    FORM_LAST,  /* the last K is made from the others                       */
};

static const struct {
    const char *words;
    enum form form;
    const char *reads; /* types of which the operands may be, when not all alike */
} templates[] = {
    {"SET K V", FORM_FREE, NULL},
    {"SET K V EX 100000", FORM_FREE, NULL},
    {"SETNX K V", FORM_FREE, NULL},
    {"APPEND K V", FORM_FREE, NULL},
    {"INCR K", FORM_FREE, NULL},
    {"SETRANGE K 3 V", FORM_FREE, NULL},
    {"SETBIT K 7 1", FORM_FREE, NULL},
    {"MSET K V K V K V", FORM_FREE, NULL},
    {"MSETNX K V K V", FORM_FREE, NULL},
    {"DEL K", FORM_FREE, NULL},
    {"DEL K K K", FORM_FREE, NULL},
    {"UNLINK K K", FORM_FREE, NULL},
    {"EXPIRE K 200000", FORM_FREE, NULL},
    {"PEXPIREAT K 4102444800000", FORM_FREE, NULL},
    {"PERSIST K", FORM_FREE, NULL},
    {"RENAME K K", FORM_MOVE, NULL},
    {"RENAME K K", FORM_MOVE, NULL},
    {"RENAMENX K K", FORM_MOVE, NULL},
    {"COPY K K REPLACE", FORM_MOVE, NULL},
    {"COPY K K", FORM_MOVE, NULL},
    {"LPUSH K V V V", FORM_FREE, NULL},
    {"RPUSH K V", FORM_FREE, NULL},
    {"LPOP K", FORM_FREE, NULL},
    {"LTRIM K 0 5", FORM_FREE, NULL},
    {"RPOPLPUSH K K", FORM_MOVE, NULL},
    {"LMOVE K K LEFT RIGHT", FORM_MOVE, NULL},
    {"LMOVE K K RIGHT LEFT", FORM_MOVE, NULL},
    {"SADD K V V", FORM_FREE, NULL},
    {"SREM K V", FORM_FREE, NULL},
    {"SPOP K", FORM_FREE, NULL},
    {"SADD K V V V V V V", FORM_FREE, NULL},
    {"SADD K V V V V V V", FORM_FREE, NULL},
    {"SMOVE K K V", FORM_FREE, NULL}, /* the member is named: always computable */
    {"SMOVE K K V", FORM_FREE, NULL},
    {"SMOVE K K V", FORM_FREE, NULL},
    {"SMOVE K K V", FORM_FREE, NULL},
    {"SINTERSTORE K K K", FORM_STORE, NULL},
    {"SUNIONSTORE K K K", FORM_STORE, NULL},
    {"SDIFFSTORE K K K", FORM_STORE, NULL},
    {"HSET K V V V V", FORM_FREE, NULL},
    {"HDEL K V", FORM_FREE, NULL},
    {"HINCRBY K n 2", FORM_FREE, NULL},
    {"ZADD K N V N V", FORM_FREE, NULL},
    {"ZINCRBY K 2 V", FORM_FREE, NULL},
    {"ZREM K V", FORM_FREE, NULL},
    {"ZPOPMIN K", FORM_FREE, NULL},
    {"ZUNIONSTORE K 2 K K", FORM_STORE, "set zset"},
    {"ZINTERSTORE K 2 K K", FORM_STORE, "set zset"},
    {"ZRANGESTORE K K 0 3", FORM_STORE, NULL},
    {"GEOADD K 13.3 38.1 V", FORM_FREE, NULL},
    {"GEOSEARCHSTORE K K FROMLONLAT 15 37 BYRADIUS 500 km", FORM_STORE, NULL},
    {"GEORADIUS K 15 37 500 km STORE K", FORM_LAST, NULL},
    {"PFADD K V V", FORM_FREE, NULL},
    {"PFMERGE K K K", FORM_STORE, NULL},
    {"BITOP OR K K K", FORM_STORE, NULL},
    {"SORT K ALPHA STORE K", FORM_LAST, "list set zset"},
    {"XADD K * f V", FORM_FREE, NULL},
    {"XADD K MAXLEN ~ 5 * f V", FORM_FREE, NULL},
    {"XGROUP CREATE K g $ MKSTREAM", FORM_FREE, NULL},
    {"XTRIM K MAXLEN 3", FORM_FREE, NULL},
};
#define TEMPLATES (sizeof(templates) / sizeof(templates[0]))

struct traffic {
    struct random random;
    const struct rule_set *set;
    struct naive naive;
    bool has_databases;
    bool has_partial; /* also what the destination cannot compute, so that keys are read anew */
    uint64_t sent;
    uint64_t partial;
};

struct words {
    char text[WORDS_MAX][64];
    const char *argv[WORDS_MAX];
    size_t sizes[WORDS_MAX];
    unsigned count;
    unsigned keys[WORDS_MAX]; /* which of them */
    unsigned key_count;
};

static void random_word(struct traffic *traffic, const char *form, unsigned tag, char out[64])
{
    static const char *const prefixes[] = {"user", "old", "tmp", "keep"};
    struct random *random = &traffic->random;
    if (strcmp(form, "K") == 0) {
        const char *prefix = prefixes[random_below(random, 4)];
        unsigned number = random_below(random, 6);
        const char *suffix = random_below(random, 3) == 0 ? ":x" : "";
        if (tag == NO_TAG) { /* its slot changes with its name */
            snprintf(out, 64, "%s:plain:%u%s", prefix, number, suffix);
        } else {
            snprintf(out, 64, "%s:{%u}:%u%s", prefix, tag, number, suffix);
        }
    } else if (strcmp(form, "V") == 0) {
        snprintf(out, 64, "v%u", random_below(random, 8));
    } else if (strcmp(form, "N") == 0) {
        snprintf(out, 64, "%u", random_below(random, 100));
    } else {
        snprintf(out, 64, "%s", form);
    }
}

/* Commands over several slots: the source does not mind, and at the destination they are relayed.
 */
static bool is_cross_slot(void)
{
    return !source.is_cluster && destination.is_cluster;
}

/* any_tag: of each key for itself. */
static void
fill(struct traffic *traffic, const char *form, unsigned tag, bool any_tag, struct words *words)
{
    *words = (struct words){.count = 0};
    while (*form != '\0') {
        char word[64];
        size_t size = strcspn(form, " ");
        snprintf(word, sizeof(word), "%.*s", (int)size, form);
        unsigned i = words->count++;
        if (any_tag && strcmp(word, "K") == 0) {
            tag = random_below(&traffic->random, TAGS + 1);
            tag = tag == TAGS ? NO_TAG : tag;
        }
        random_word(traffic, word, tag, words->text[i]);
        words->argv[i] = words->text[i];
        words->sizes[i] = strlen(words->text[i]);
        if (strcmp(word, "K") == 0) {
            words->keys[words->key_count++] = i;
        }
        form += size + (form[size] == ' ');
    }
}

static bool key_is_selected(const struct traffic *traffic, const struct words *words, unsigned n)
{
    const char *key = words->text[words->keys[n]];
    return naive_selects(&traffic->naive, key, strlen(key));
}

/* Whether a selected key would get a value from what is not selected. */
static bool is_partial(const struct traffic *traffic,
                       const struct words *words,
                       enum form form,
                       const char *reads)
{
    if (form == FORM_FREE) {
        return false;
    }
    unsigned target = form == FORM_MOVE ? 1 : form == FORM_STORE ? 0 : words->key_count - 1;
    if (!key_is_selected(traffic, words, target)) {
        return false;
    }
    for (unsigned i = 0; i < words->key_count; i++) {
        if (!key_is_selected(traffic, words, i)) {
            return true;
        }
    }
    char types[32];
    snprintf(types, sizeof(types), "%s", reads != NULL ? reads : "");
    char *left = types;
    for (char *type; (type = strsep(&left, " ")) != NULL;) {
        if (*type != '\0' && !type_is_selected(traffic->set, type)) {
            return true;
        }
    }
    return false;
}

static redisContext *owner(unsigned tag)
{
    char text[16];
    int size = snprintf(text, sizeof(text), "%u", tag);
    return test_client_connection(source.client, slot_of_key(text, (size_t)size));
}

static void append(redisContext *redis, const struct words *words)
{
    const char *argv[WORDS_MAX];
    memcpy(argv, words->argv, sizeof(argv));
    assert_int_equal(redisAppendCommandArgv(redis, (int)words->count, argv, words->sizes),
                     REDIS_OK);
}

/* Errors are the source's own matter: it propagates nothing then. */
static void collect(redisContext *redis, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        redisReply *reply = NULL;
        assert_int_equal(redisGetReply(redis, (void **)&reply), REDIS_OK);
        freeReplyObject(reply);
    }
}

static bool send_one(struct traffic *traffic, redisContext *redis, unsigned tag)
{
    struct words words;
    unsigned i = random_below(&traffic->random, TEMPLATES);
    bool has_one_key = strchr(templates[i].words, 'K') == strrchr(templates[i].words, 'K');
    if (has_one_key && !source.is_cluster && random_below(&traffic->random, 4) == 0) {
        tag = NO_TAG;
    }
    bool any_tag = is_cross_slot() && random_below(&traffic->random, 2) == 0;
    fill(traffic, templates[i].words, tag, any_tag, &words);
    if (is_partial(traffic, &words, templates[i].form, templates[i].reads)) {
        traffic->partial++;
        if (!traffic->has_partial) {
            return false;
        }
    }
    append(redis, &words);
    traffic->sent++;
    return true;
}

static void send_traffic(struct traffic *traffic, unsigned count)
{
    for (unsigned done = 0; done < count;) {
        unsigned tag = random_below(&traffic->random, TAGS);
        redisContext *redis = owner(tag);
        unsigned sent = 0;
        if (traffic->has_databases && random_below(&traffic->random, 10) == 0) {
            redisAppendCommand(redis, "SELECT %u", random_below(&traffic->random, 2));
            sent++;
        }
        bool is_multi = random_below(&traffic->random, 5) == 0;
        if (is_multi) {
            redisAppendCommand(redis, "MULTI");
            sent++;
        }
        unsigned most = 1 + random_below(&traffic->random, 5);
        for (unsigned i = 0; i < most; i++) {
            sent += send_one(traffic, redis, tag);
        }
        if (is_multi) {
            redisAppendCommand(redis, "EXEC");
            sent++;
        }
        collect(redis, sent);
        done += most;
    }
}

/* ---- comparing ---- */

/* The keys of a server's database, without those of the program's positions. */
static int64_t size_of(redisContext *redis)
{
    redisReply *keys = test_command(redis, "KEYS *");
    int64_t count = 0;
    for (size_t i = 0; i < keys->elements; i++) {
        count += !dataset_is_position(keys->element[i]->str, keys->element[i]->len);
    }
    freeReplyObject(keys);
    return count;
}

static redisReply *ask(redisContext *redis, const char *command, const char *key)
{
    redisReply *reply = test_command(redis, "%s %s", command, key);
    return reply;
}

static int64_t expire_of(redisContext *redis, const char *key)
{
    return test_command_integer(redis, "PEXPIRETIME %s", key);
}

static void digest_of(redisContext *redis, const char *key, char digest[64])
{
    redisReply *reply = test_command(redis, "DEBUG DIGEST-VALUE %s", key);
    snprintf(digest, 64, "%s", reply->element[0]->str);
    freeReplyObject(reply);
}

/* One key of the source against the destination; whether it is to be there. */
static bool compare_key(const struct traffic *traffic, redisContext *from, const char *key)
{
    redisReply *type = ask(from, "TYPE", key);
    bool is_there = naive_selects(&traffic->naive, key, strlen(key)) &&
                    type_is_selected(traffic->set, type->str);
    freeReplyObject(type);
    if (!is_there) {
        return false;
    }
    char name[128], left[64], right[64];
    naive_rename(&traffic->naive, key, name);
    redisContext *to = test_client_connection(destination.client, slot_of_key(name, strlen(name)));
    digest_of(from, key, left);
    digest_of(to, name, right);
    int64_t slack_ms = llabs(expire_of(from, key) - expire_of(to, name));
    if (strcmp(left, right) != 0 || slack_ms > (traffic->has_partial ? READ_SLACK_MS : 0)) {
        redisReply *a = ask(from, "TYPE", key);
        redisReply *b = ask(to, "TYPE", name);
        fail_msg("%s (%s, %s) is not %s (%s, %s), times to live %lld ms apart",
                 key,
                 a->str,
                 left,
                 name,
                 b->str,
                 right,
                 (long long)slack_ms);
    }
    return true;
}

static void compare_database(const struct traffic *traffic, uint32_t db)
{
    int64_t expected = 0;
    int64_t left_out = 0;
    for (uint32_t i = 0; i < test_client_count(source.client); i++) {
        redisContext *from = test_client_at(source.client, i);
        for (uint32_t n = 0; traffic->has_databases && n < test_client_count(destination.client);
             n++) {
            test_command_ok(test_client_at(destination.client, n), "SELECT %u", db);
        }
        if (traffic->has_databases) {
            test_command_ok(from, "SELECT %u", db);
        }
        redisReply *keys = test_command(from, "KEYS *");
        for (size_t k = 0; k < keys->elements; k++) {
            bool is_there = compare_key(traffic, from, keys->element[k]->str);
            expected += is_there;
            left_out += !is_there;
        }
        freeReplyObject(keys);
    }
    int64_t found = 0;
    for (uint32_t n = 0; n < test_client_count(destination.client); n++) {
        found += size_of(test_client_at(destination.client, n));
    }
    assert_int_equal(found, expected);
    assert_true(expected > 5);
    assert_true(left_out > 5);
}

static void clear(struct live_side *side)
{
    for (uint32_t i = 0; i < test_client_count(side->client); i++) {
        test_command_ok(test_client_at(side->client, i), "FLUSHALL");
        if (!side->is_cluster) {
            test_command_ok(test_client_at(side->client, i), "SELECT 0");
        }
    }
}

static void verify_equal(const struct rule_set *set, bool has_databases)
{
    struct test_cli cli;
    run_more(&cli, "verify", set, has_databases, "--ttl-tolerance", "2s");
    if (test_cli_wait(&cli, LIVE_WAIT_MS) != 0) {
        fail_msg("verify differs: %s", test_cli_output(&cli));
    }
}

static void
round_trip(const struct rule_set *set, uint64_t seed, bool has_databases, bool has_positions)
{
    struct traffic traffic = {
        .random = {seed}, .set = set, .has_databases = has_databases, .has_partial = has_positions};
    struct test_cli cli;
    naive_rules(set, &traffic.naive);
    clear(&source);
    clear(&destination);
    print_message(
        "seed %llu, rules %s %s …\n", (unsigned long long)seed, set->options[0], set->options[1]);
    send_traffic(&traffic, 3000);
    const char *positions = has_positions ? "on" : "off";
    run_more(&cli, "sync", set, has_databases, "--positions", positions);
    send_traffic(&traffic, 500); /* while both sides are checked and the snapshot is taken */
    live_wait_phase(&cli, "live");
    send_traffic(&traffic, 3000);
    for (uint32_t i = 0; i < test_client_count(source.client); i++) {
        test_command_ok(test_client_at(source.client, i), "CLIENT KILL TYPE replica");
    }
    send_traffic(&traffic, 3000); /* lost, and continued in the middle */
    live_wait_level(&cli, &source);
    live_wait_exact(&cli);
    compare_database(&traffic, 0);
    if (has_databases) {
        compare_database(&traffic, 1);
    }
    assert_int_equal(live_total(&cli, "partial_dropped"), 0);
    assert_true(live_total(&cli, "keys_dropped") > 0);
    assert_int_equal(live_total(&cli, "keys_refetched") > 0, has_positions);
    assert_int_equal(live_total(&cli, "diverged_relay"), 0);
    assert_int_equal(live_total(&cli, "relayed") > 0, is_cross_slot());
    live_stop(&cli);
    verify_equal(set, has_databases);
    assert_true(traffic.sent > 6000);
}

static void run_version(const char *version,
                        uint32_t source_masters,
                        uint32_t destination_masters,
                        size_t first,
                        size_t step)
{
    live_side_start(&source, version, source_masters, 0, NULL);
    live_side_start(&destination, version, destination_masters, 0, NULL);
    for (size_t i = first; i < RULE_SETS; i += step) {
        bool has_databases = source_masters == 0 && destination_masters == 0;
        round_trip(&rule_sets[i],
                   1000 * (source_masters + 1) + 10 * destination_masters + i,
                   has_databases,
                   i % 3 != 2);
    }
    live_side_stop(&source);
    live_side_stop(&destination);
}

static void
run_sets(uint32_t source_masters, uint32_t destination_masters, size_t first, size_t step)
{
    run_version(TEST_REQUIRED_VERSION, source_masters, destination_masters, first, step);
}

/* What servers propagate differs by version (UNLINK for DEL, transactions around more). */
static void test_other_versions(void **state)
{
    (void)state;
    static const char *const versions[] = {"redis-8.0", "valkey-8.1", "valkey-9"};
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        if (test_server_available(versions[i])) {
            run_version(versions[i], 0, 0, i % 3, 3);
        }
    }
}

static void test_standalone(void **state)
{
    (void)state;
    run_sets(0, 0, 0, 1);
}

static void test_to_cluster(void **state)
{
    (void)state;
    run_sets(0, 2, 0, 1);
}

static void test_from_cluster(void **state)
{
    (void)state;
    run_sets(2, 0, 0, 2);
}

static void test_between_clusters(void **state)
{
    (void)state;
    run_sets(2, 3, 1, 2);
}

/* ---- killed ---- */

/* Killed in the middle of it and continued: counters, appended strings and lists would show for
 * ever what was done twice or not at all. */
static void torture(uint32_t source_masters,
                    uint32_t destination_masters,
                    const struct rule_set *set,
                    uint64_t seed)
{
    static const char *const backlog[] = {"--repl-backlog-size", "256mb", NULL};
    struct traffic traffic = {.random = {seed},
                              .set = set,
                              .has_databases = source_masters + destination_masters == 0,
                              .has_partial = true};
    struct test_cli cli;
    print_message("seed %llu\n", (unsigned long long)seed);
    naive_rules(set, &traffic.naive);
    live_side_start(&source, TEST_REQUIRED_VERSION, source_masters, 0, backlog);
    live_side_start(&destination, TEST_REQUIRED_VERSION, destination_masters, 0, NULL);
    send_traffic(&traffic, 1000);
    run_program(&cli, "sync", set, traffic.has_databases);
    live_wait_phase(&cli, "live");
    for (int i = 0; i < KILLS; i++) {
        struct test_server *shard =
            is_cross_slot() ? &destination.cluster.nodes[i % destination_masters] : NULL;
        send_traffic(&traffic, 300 + random_below(&traffic.random, 1500));
        if (shard != NULL) { /* what it must answer waits, and keys of others are held */
            test_server_freeze(shard);
            send_traffic(&traffic, 300);
        }
        test_cli_kill(&cli);
        if (shard != NULL) {
            test_server_thaw(shard);
        }
        send_traffic(&traffic, random_below(&traffic.random, 300));
        run_program(&cli, "sync", set, traffic.has_databases);
        if (random_below(&traffic.random, 3) > 0) {
            live_wait_phase(&cli, "live");
        }
    }
    send_traffic(&traffic, 500);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    live_wait_exact(&cli);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    compare_database(&traffic, 0);
    if (traffic.has_databases) {
        compare_database(&traffic, 1);
    }
    live_stop(&cli);
    verify_equal(set, traffic.has_databases);
    live_side_stop(&source);
    live_side_stop(&destination);
}

static void test_killed(void **state)
{
    (void)state;
    for (size_t i = 0; i < RULE_SETS; i += 2) {
        torture(0, 0, &rule_sets[i], 7000 + i);
    }
    torture(0, 0, &rule_sets[3], 7003);
    torture(0, 2, &rule_sets[0], 7100);
    torture(0, 2, &rule_sets[2], 7102);
    torture(0, 3, &rule_sets[3], 7103);
    torture(0, 3, &rule_sets[4], 7104);
    torture(2, 0, &rule_sets[1], 7201);
    torture(2, 3, &rule_sets[4], 7304);
    torture(2, 2, &rule_sets[0], 7300);
}

static void start_pair(void)
{
    live_side_start(&source, TEST_REQUIRED_VERSION, 0, 0, NULL);
    live_side_start(&destination, TEST_REQUIRED_VERSION, 0, 0, NULL);
}

static void stop_pair(void)
{
    live_side_stop(&source);
    live_side_stop(&destination);
}

/* A key of one database that is to be read anew, and COPY and MOVE between that and another: what
 * they would do is not known, so their keys in both are read. Killed, so that all of it comes
 * before anything is read. */
static void test_killed_between_databases(void **state)
{
    (void)state;
    static const char *const later[] = {"SELECT 2",
                                        "RENAME tmp:1 from", /* read anew, from here on */
                                        "COPY from to DB 0 REPLACE",
                                        "RENAME tmp:2 moved",
                                        "DEL moved",
                                        "SELECT 0",
                                        "MOVE moved 2",
                                        "COPY other again DB 2 REPLACE",
                                        "SELECT 2",
                                        "APPEND again !",
                                        "SELECT 0"};
    struct test_cli cli;
    start_pair();
    redisContext *redis = live_redis(&source);
    test_command_ok(redis, "MSET to 0 moved 1 other 2");
    test_command_ok(redis, "SELECT 2");
    test_command_ok(redis, "MSET tmp:1 a tmp:2 b from c moved d again e");
    test_command_ok(redis, "SELECT 0");
    live_spawn(&cli, &source, &destination, "--exclude-prefix", "tmp:", NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    test_cli_kill(&cli);
    for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
        test_command_ok(redis, later[i]);
    }
    live_spawn(&cli, &source, &destination, "--exclude-prefix", "tmp:", NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    live_stop(&cli);
    assert_int_equal(live_total(&cli, "keys_refetched"), 4);
    assert_int_equal(live_db_differences(redis, 0, live_redis(&destination), 0), 0);
    assert_int_equal(live_db_differences(redis, 2, live_redis(&destination), 2), 0);
    live_assert_verified(&source, &destination, "--exclude-prefix", "tmp:", NULL);
    stop_pair();
}

/* A run by other rules does not go on where this one was. */
static void test_other_rules(void **state)
{
    (void)state;
    struct test_cli cli;
    start_pair();
    test_command_ok(live_redis(&source), "MSET tmp:1 x user:2 y old:1 z");
    live_spawn(
        &cli, &source, &destination, "--exclude-prefix", "tmp:", "--exclude-suffix", "x", NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    live_stop(&cli);
    live_spawn(&cli, &source, &destination, "--exclude-prefix", "user:", NULL);
    live_expect_end(&cli, 4, "by other rules", "--restart", NULL);
    live_spawn(&cli, &source, &destination, NULL);
    live_expect_end(&cli, 4, "by other rules", NULL);
    live_spawn(
        &cli, &source, &destination, "--exclude-suffix", "x", "--exclude-prefix", "tmp:", NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    assert_int_equal(live_streams_sum(&cli, "snapshots"), 0);
    live_stop(&cli);
    stop_pair();
}

/* Scripts that are sent as they are: one that came with what is not copied is run by its hash with
 * what is. */
static void test_scripts(void **state)
{
    (void)state;
    static const char script[] = "return redis.call('INCR',KEYS[1])";
    static const char sha[] = "da8455f0535fd532821b3713a4eccd80fc4b8457";
    struct test_cli cli;
    if (!test_server_available("redis-6.0"))
        skip();
    for (uint32_t masters = 0; masters <= 2; masters += 2) {
        live_side_start(
            &source, "redis-6.0", 0, 0, (const char *[]){"--lua-replicate-commands", "no", NULL});
        live_side_start(&destination, TEST_REQUIRED_VERSION, masters, 0, NULL);
        redisContext *redis = live_redis(&source);
        live_spawn(&cli, &source, &destination, "--db", "0", NULL);
        live_wait_phase(&cli, "live");
        test_command_ok(redis, "SELECT 1");
        freeReplyObject(test_command(redis, "EVAL %s 1 a", script));
        /* The first EVALSHA is sent as EVAL, which its replicas know from then on. */
        assert_int_equal(test_command_integer(redis, "EVALSHA %s 1 a", sha), 2);
        test_command_ok(redis, "SELECT 0");
        assert_int_equal(test_command_integer(redis, "EVALSHA %s 1 b", sha), 1);
        assert_int_equal(test_command_integer(redis, "EVALSHA %s 1 c", sha), 1);
        live_wait_level(&cli, &source);
        live_stop(&cli);
        assert_int_equal(live_total(&cli, "diverged_script"), 0);
        live_assert_verified(&source, &destination, "--db", "0", NULL);
        live_side_stop(&source);
        live_side_stop(&destination);
    }
}

/* ---- what stops a task ---- */

static void test_stops(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        const char *text;
    } cases[] = {
        {"RENAME tmp:1 secret",
         "RENAME takes selected keys together with others (exclude_prefix[0])"},
        {"LMOVE tmp:l user:1 LEFT LEFT", "LMOVE takes selected keys together"},
        {"SET new:secret 1", "SET: the key with hash"},
        {"SWAPDB 0 1", "SWAPDB acts on whole databases"},
    };
    start_pair();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct test_cli cli;
        clear(&source);
        clear(&destination);
        test_command_ok(live_redis(&source), "MSET tmp:1 x user:2 y old:1 z");
        test_command_ok(live_redis(&source), "RPUSH tmp:l a b");
        live_spawn(&cli,
                   &source,
                   &destination,
                   "--exclude-prefix",
                   "tmp:",
                   "--rename-prefix",
                   "old:=new:",
                   "--positions",
                   "off",
                   NULL);
        live_wait_phase(&cli, "live");
        test_command_ok(live_redis(&source), cases[i].command);
        live_expect_end(&cli, 7, cases[i].text, "offset", NULL);
        char *errors = test_cli_errors(&cli);
        assert_null(strstr(errors, "secret"));
        free(errors);
        assert_int_equal(size_of(live_redis(&destination)), 2);
    }
    stop_pair();
}

/* A key in the snapshot that keeps a name which another is renamed to. */
static void test_stops_in_snapshot(void **state)
{
    (void)state;
    start_pair();
    test_command_ok(live_redis(&source), "MSET new:1 x old:1 y");
    struct test_cli cli;
    live_spawn(&cli, &source, &destination, "--rename-prefix", "old:=new:", NULL);
    live_expect_end(&cli, 7, "the key with hash", "rename_prefix[0] gives that name", NULL);
    stop_pair();
}

/* Asked to, the task goes on without what cannot be computed, and counts it; excluded commands are
 * not looked at. */
static void test_goes_on(void **state)
{
    (void)state;
    start_pair();
    test_command_ok(live_redis(&source), "MSET tmp:1 x user:1 y");
    struct test_cli cli;
    live_spawn(&cli,
               &source,
               &destination,
               "--exclude-prefix",
               "tmp:",
               "--positions",
               "off",
               "--on-partial",
               "drop",
               "--exclude-command",
               "flushall,@hash",
               NULL);
    live_wait_phase(&cli, "live");
    test_command_ok(live_redis(&source), "RENAME tmp:1 user:2");
    test_command_ok(live_redis(&source), "HSET user:h f v");
    test_command_ok(live_redis(&source), "FLUSHALL");
    test_command_ok(live_redis(&source), "SET user:3 z");
    live_wait_level(&cli, &source);
    assert_int_equal(live_total(&cli, "partial_dropped"), 1);
    assert_int_equal(live_total(&cli, "keys_dropped"), 1);
    assert_int_equal(size_of(live_redis(&destination)), 2);
    assert_int_equal(test_command_integer(live_redis(&destination), "EXISTS user:1 user:3"), 2);
    live_stop(&cli);
    stop_pair();
}

/* Rules for types make a script of RENAME: an account that may not run one is told before anything
 * is written, and only then. */
static void test_needs_eval(void **state)
{
    (void)state;
    start_pair();
    test_command_ok(live_redis(&source), "SET a 1");
    test_command_ok(live_redis(&destination), "ACL SETUSER noeval on >pw ~* +@all -eval");
    snprintf(destination.uri,
             sizeof(destination.uri),
             "redis://noeval:pw@127.0.0.1:%u",
             live_port(&destination));
    char *errors;
    assert_int_equal(
        live_run(&errors, &source, &destination, "--once", "--exclude-type", "hash", NULL), 7);
    live_expect_texts(errors, "eval", NULL);
    free(errors);
    assert_int_equal(size_of(live_redis(&destination)), 0);
    assert_int_equal(live_run(NULL, &source, &destination, "--once", "--exclude-prefix", "x", NULL),
                     0);
    stop_pair();
}

/* ---- a second full copy ---- */

/* What the first copy wrote goes before it, and nothing else: not keys that no source key is copied
 * to, nor keys of a type that is not selected, which somebody else put there meanwhile. */
static void test_second_copy(void **state)
{
    (void)state;
    start_pair();
    redisContext *from = live_redis(&source);
    redisContext *to = live_redis(&destination);
    test_command_ok(from, "SADD old:1 a");
    test_command_ok(from, "SADD user:1 a");
    test_command_ok(from, "SADD tmp:1 a");
    test_command_ok(from, "SET user:string x");
    struct test_cli cli;
    live_spawn(&cli,
               &source,
               &destination,
               "--exclude-prefix",
               "tmp:",
               "--exclude-type",
               "string",
               "--rename-prefix",
               "old:=new:",
               NULL);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    assert_int_equal(test_command_integer(to, "EXISTS new:1 user:1"), 2);
    assert_int_equal(size_of(to), 2);
    test_command_ok(to, "SADD tmp:theirs a");  /* not selected                     */
    test_command_ok(to, "SADD old:theirs a");  /* a name that nothing is copied to */
    test_command_ok(to, "SET new:theirs x");   /* of a type that is not selected   */
    test_command_ok(to, "SADD user:theirs a"); /* ours, as far as anybody can tell */
    test_client_free(source.client);
    test_server_kill(&source.server);
    test_server_restart(&source.server); /* empty, and with a new history */
    source.client = test_client_new(live_port(&source));
    test_command_ok(live_redis(&source), "SADD user:2 a");
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (live_streams_sum(&cli, "snapshots") < 2)
        test_poll(deadline, "a second full copy");
    live_wait_level(&cli, &source);
    assert_int_equal(test_command_integer(to, "EXISTS new:1 user:1 user:theirs"), 0);
    assert_int_equal(test_command_integer(to, "EXISTS tmp:theirs old:theirs new:theirs user:2"), 4);
    assert_int_equal(size_of(to), 4);
    live_stop(&cli);
    stop_pair();
}

/* ---- verification ---- */

/* Both directions within the rules: names as they are at the source, types that are not selected
 * as if they were not there. */
static void test_verify(void **state)
{
    (void)state;
    static const struct rule_set set = {.options = {"--exclude-prefix",
                                                    "tmp:",
                                                    "--exclude-type",
                                                    "string",
                                                    "--rename-prefix",
                                                    "old:=new:",
                                                    "--interval",
                                                    "10ms"}};
    static const struct {
        const char *from; /* at the source, "" nothing      */
        const char *to;   /* at the destination             */
        const char *seen; /* in the report; NULL: no word of it */
    } cases[] = {
        {"SADD old:1 a", "SADD new:1 a", NULL},
        {"SADD old:1 a", "SADD new:1 b", "\"key\":\"old:1\""},
        {"SADD old:1 a", "SADD old:1 a", "\"kind\":\"missing\""},
        {"", "SADD new:1 a", "\"kind\":\"extra\""},
        {"", "SADD old:1 a", NULL}, /* nothing is copied to this name */
        {"", "SADD tmp:1 a", NULL}, /* not selected                   */
        {"", "SET user:1 a", NULL}, /* of a type that is not selected */
        {"SET user:1 a", "", NULL},
        {"SET user:1 a", "SADD user:1 a", "\"kind\":\"extra\""},
        {"SADD user:1 a", "SET user:1 a", "\"kind\":\"missing\""},
        {"SADD tmp:1 a", "SADD tmp:1 b", NULL},
    };
    start_pair();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int is_fast = 0; is_fast < 2; is_fast++) {
            struct test_cli cli;
            struct rule_set options = set;
            clear(&source);
            clear(&destination);
            if (*cases[i].from != '\0') {
                test_command_ok(live_redis(&source), cases[i].from);
            }
            if (*cases[i].to != '\0') {
                test_command_ok(live_redis(&destination), cases[i].to);
            }
            if (is_fast != 0) {
                if (i == 1) {
                    continue; /* equal lengths */
                }
                options.options[8] = "--fast";
            }
            run_program(&cli, "verify", &options, true);
            int status = test_cli_wait(&cli, LIVE_WAIT_MS);
            char *out = test_cli_output(&cli);
            if (status != (cases[i].seen != NULL ? 6 : 0) ||
                (cases[i].seen != NULL && strstr(out, cases[i].seen) == NULL)) {
                fail_msg("case %zu: status %d, %s", i, status, out);
            }
            free(out);
        }
    }
    stop_pair();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standalone),
        cmocka_unit_test(test_other_versions),
        cmocka_unit_test(test_to_cluster),
        cmocka_unit_test(test_from_cluster),
        cmocka_unit_test(test_between_clusters),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_killed_between_databases),
        cmocka_unit_test(test_other_rules),
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_stops_in_snapshot),
        cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_needs_eval),
        cmocka_unit_test(test_second_copy),
        cmocka_unit_test(test_verify),
    };
    cmocka_set_test_filter(getenv("SYNCLINE_TEST_FILTER"));
    if (!test_cli_available())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
