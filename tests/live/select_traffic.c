#include "tests/live/select_traffic.h"

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

#define TAGS 4
/* An expiry that is read is what is left of it, by the source's clock a moment later or earlier. */
#define READ_SLACK_MS 2000
#define NO_TAG UINT_MAX
#define WORDS_MAX 16

/* ---- one set of rules, for the program and for the matcher ---- */

const struct rule_set traffic_rule_sets[TRAFFIC_RULE_SETS] = {
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

void traffic_init(struct traffic *traffic)
{
    traffic->random = (struct random){traffic->seed};
    traffic->sent = 0;
    traffic->partial = 0;
    naive_rules(traffic->set, &traffic->naive);
    print_message("seed %llu, rules %s %s …\n",
                  (unsigned long long)traffic->seed,
                  traffic->set->options[0],
                  traffic->set->options[1]);
}

void traffic_spawn(const struct traffic *traffic,
                   struct test_cli *cli,
                   const char *command,
                   const char *name,
                   const char *value)
{
    const char *words[TRAFFIC_OPTIONS_MAX + 20] = {
        command, traffic->source->uri, traffic->destination->uri};
    unsigned count = 3;
    words[count++] = "--output";
    words[count++] = "json";
    words[count++] = "--progress-interval";
    words[count++] = "20ms";
    if (!traffic->has_databases) {
        words[count++] = "--db";
        words[count++] = "0";
    }
    for (unsigned i = 0; traffic->set->options[i] != NULL; i++) {
        words[count++] = traffic->set->options[i];
    }
    words[count++] = name;
    words[count++] = value;
    words[count] = NULL;
    test_cli_spawn(cli, words);
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

bool traffic_is_cross_slot(const struct traffic *traffic)
{
    return !traffic->source->is_cluster && traffic->destination->is_cluster;
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

static redisContext *owner(const struct traffic *traffic, unsigned tag)
{
    char text[16];
    int size = snprintf(text, sizeof(text), "%u", tag);
    return test_client_connection(traffic->source->client, slot_of_key(text, (size_t)size));
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
    if (has_one_key && !traffic->source->is_cluster && random_below(&traffic->random, 4) == 0) {
        tag = NO_TAG;
    }
    bool any_tag = traffic_is_cross_slot(traffic) && random_below(&traffic->random, 2) == 0;
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

void traffic_send(struct traffic *traffic, unsigned count)
{
    for (unsigned done = 0; done < count;) {
        unsigned tag = random_below(&traffic->random, TAGS);
        redisContext *redis = owner(traffic, tag);
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

int64_t traffic_key_count(redisContext *redis)
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
    redisContext *to =
        test_client_connection(traffic->destination->client, slot_of_key(name, strlen(name)));
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
    for (uint32_t i = 0; i < test_client_count(traffic->source->client); i++) {
        redisContext *from = test_client_at(traffic->source->client, i);
        for (uint32_t n = 0;
             traffic->has_databases && n < test_client_count(traffic->destination->client);
             n++) {
            test_command_ok(test_client_at(traffic->destination->client, n), "SELECT %u", db);
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
    for (uint32_t n = 0; n < test_client_count(traffic->destination->client); n++) {
        found += traffic_key_count(test_client_at(traffic->destination->client, n));
    }
    assert_int_equal(found, expected);
    assert_true(expected > 5);
    assert_true(left_out > 5);
}

void traffic_compare(const struct traffic *traffic)
{
    compare_database(traffic, 0);
    if (traffic->has_databases) {
        compare_database(traffic, 1);
    }
}

void traffic_assert_verified(const struct traffic *traffic)
{
    struct test_cli cli;
    traffic_spawn(traffic, &cli, "verify", "--ttl-tolerance", "2s");
    if (test_cli_wait(&cli, LIVE_WAIT_MS) != 0) {
        fail_msg("verify differs: %s", test_cli_output(&cli));
    }
}

void traffic_side_clear(const struct live_side *side)
{
    for (uint32_t i = 0; i < test_client_count(side->client); i++) {
        test_command_ok(test_client_at(side->client, i), "FLUSHALL");
        if (!side->is_cluster) {
            test_command_ok(test_client_at(side->client, i), "SELECT 0");
        }
    }
}
