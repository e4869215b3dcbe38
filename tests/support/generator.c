#include "tests/support/generator.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "core/base/alloc.h"
#include "core/base/clock.h"
#include "core/base/slot.h"
#include "tests/support/client.h"
#include "tests/support/generator_words.h"
#include "tests/support/servers.h"

#define NODES_MAX 16
#define OUTSTANDING_MAX 256
#define TRANSACTION_MAX 8
#define BLOCKERS 2
#define READERS 1
#define SLICE_MS 20

enum sent_kind { SENT_PLAIN, SENT_MULTI, SENT_QUEUED, SENT_EXEC };

struct sent {
    uint16_t form;
    uint8_t kind;
};

/* One connection, and what it has not answered yet. */
struct node {
    redisContext *context;
    struct sent sent[OUTSTANDING_MAX + 2 * TRANSACTION_MAX + 8];
    uint32_t sent_count;
    uint16_t queued[TRANSACTION_MAX]; /* forms in the transaction that is being read */
    uint32_t queued_count;
};

struct form_count {
    uint64_t ok;
    uint64_t error;
    char text[80]; /* of the last error */
};

struct worker {
    struct generator *generator;
    enum form_kind first; /* FORM_COMMAND for those that write */
    pthread_t thread;
    struct test_client *client; /* connections and slots; replies are read here */
    struct node nodes[NODES_MAX];
    uint32_t node_count;
    struct maker maker;
    struct form_count *counts;
    uint32_t *wheel; /* form numbers, each as often as its weight */
    uint32_t wheel_size;
    _Atomic uint64_t count; /* W: worker. R: any. */
};

struct generator {
    struct generator_shared shared;
    struct worker workers[GENERATOR_CLIENTS_MAX + BLOCKERS + READERS];
    uint32_t worker_count;
    bool is_cluster;
    uint32_t version;
    bool is_valkey;
    atomic_bool is_stopping; /* W: test. R: workers. */
};

/* ---- replies ---- */

/* Answers that no well-made command gets from a healthy server. */
static void check_error(const struct form *form, const char *text)
{
    static const char *const wrong[] = {"MOVED",
                                        "ASK ",
                                        "CROSSSLOT",
                                        "CLUSTERDOWN",
                                        "READONLY",
                                        "MISCONF",
                                        "NOPERM",
                                        "ERR unknown command",
                                        "ERR wrong number of arguments",
                                        "ERR Protocol",
                                        "LOADING",
                                        "ERR MULTI calls"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (strncmp(text, wrong[i], strlen(wrong[i])) == 0)
            test_fatal("the generator's \"%s\" was answered with: %s", form->text, text);
    }
}

static void note(struct worker *worker, uint16_t form, const redisReply *reply)
{
    struct form_count *count = &worker->counts[form];
    if (reply->type != REDIS_REPLY_ERROR) {
        count->ok++;
        return;
    }
    check_error(&generator_forms[form], reply->str);
    count->error++;
    snprintf(count->text, sizeof(count->text), "%s", reply->str);
}

static void note_exec(struct worker *worker, struct node *node, const redisReply *reply)
{
    /* Not an array: a watched key was written, or a command was refused when it was queued. */
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        if (i < node->queued_count)
            note(worker, node->queued[i], reply->element[i]);
    }
    node->queued_count = 0;
}

static void
note_reply(struct worker *worker, struct node *node, struct sent sent, redisReply *reply)
{
    if (sent.kind == SENT_PLAIN)
        note(worker, sent.form, reply);
    else if (sent.kind == SENT_EXEC)
        note_exec(worker, node, reply);
    else if (sent.kind == SENT_QUEUED && reply->type == REDIS_REPLY_STATUS)
        node->queued[node->queued_count++] = sent.form;
    else if (sent.kind == SENT_QUEUED)
        note(worker, sent.form, reply);
}

static void read_replies(struct worker *worker, struct node *node)
{
    for (uint32_t i = 0; i < node->sent_count; i++) {
        void *reply = NULL;
        if (redisGetReply(node->context, &reply) != REDIS_OK)
            test_fatal(
                "the generator lost port %d: %s", node->context->tcp.port, node->context->errstr);
        note_reply(worker, node, node->sent[i], reply);
        freeReplyObject(reply);
    }
    counter_add(&worker->count, node->sent_count);
    node->sent_count = 0;
}

/* All are written before the first is read, so that nodes work at the same time. */
static void flush(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->node_count; i++) {
        int is_done = 0;
        while (!is_done && redisBufferWrite(worker->nodes[i].context, &is_done) == REDIS_OK)
            continue;
    }
    for (uint32_t i = 0; i < worker->node_count; i++)
        read_replies(worker, &worker->nodes[i]);
}

/* ---- sending ---- */

static void
send_words(struct node *node, int argc, const char **argv, const size_t *sizes, struct sent sent)
{
    if (redisAppendCommandArgv(node->context, argc, argv, sizes) != REDIS_OK)
        test_fatal("out of memory");
    node->sent[node->sent_count++] = sent;
}

static void send_word(struct node *node, const char *word, enum sent_kind kind)
{
    const char *argv[] = {word};
    send_words(node, 1, argv, NULL, (struct sent){.kind = (uint8_t)kind});
}

static struct node *node_of(struct worker *worker, const struct maker *maker)
{
    if (maker->key_at < 0)
        return &worker->nodes[0];
    uint16_t slot = slot_of_key(maker->argv[maker->key_at], maker->sizes[maker->key_at]);
    const redisContext *context = test_client_connection(worker->client, slot);
    for (uint32_t i = 0; i < worker->node_count; i++) {
        if (worker->nodes[i].context == context)
            return &worker->nodes[i];
    }
    test_fatal("the generator knows no node of slot %u", slot);
}

static uint16_t pick_form(struct worker *worker)
{
    return (uint16_t)worker->wheel[maker_below(&worker->maker, worker->wheel_size)];
}

static void send_form(struct worker *worker, struct node *node, uint16_t form, enum sent_kind kind)
{
    struct maker *maker = &worker->maker;
    struct node *to = node != NULL ? node : node_of(worker, maker);
    send_words(to,
               maker->argc,
               maker->argv,
               maker->sizes,
               (struct sent){.form = form, .kind = (uint8_t)kind});
}

static bool fits_transaction(const struct form *form)
{
    /* To every node at once is not one node's transaction. */
    return form->kind != FORM_EVERYWHERE;
}

/* MULTI, some forms on keys of one slot (of any, with is_cross_slot), EXEC; now and then it watches
 * a key, is discarded, or is made wrong on purpose. */
static void send_transaction(struct worker *worker)
{
    struct maker *maker = &worker->maker;
    static const struct form watch = {FORM_COMMAND, 1, 0, 0, "WATCH <str>"};
    maker_move(maker);
    maker_make(maker, &watch);
    uint32_t tag = maker->tag;
    struct node *node = node_of(worker, maker);
    if (maker_below(maker, 4) == 0)
        send_words(node, maker->argc, maker->argv, maker->sizes, (struct sent){.kind = SENT_MULTI});
    send_word(node, "MULTI", SENT_MULTI);
    for (uint32_t n = maker_below(maker, TRANSACTION_MAX); n > 0; n--) {
        uint16_t form = pick_form(worker);
        maker->tag = tag;
        if (!fits_transaction(&generator_forms[form]) || !maker_fits(maker, &generator_forms[form]))
            continue;
        maker_make(maker, &generator_forms[form]);
        send_form(worker, node, form, SENT_QUEUED);
    }
    if (maker_below(maker, 20) == 0)
        send_word(node, "GET", SENT_MULTI); /* has no key: EXEC is refused */
    bool is_discarded = maker_below(maker, 20) == 0;
    send_word(node, is_discarded ? "DISCARD" : "EXEC", SENT_EXEC);
}

static void send_everywhere(struct worker *worker, uint16_t form)
{
    maker_make(&worker->maker, &generator_forms[form]);
    for (uint32_t i = 0; i < worker->node_count; i++)
        send_form(worker, &worker->nodes[i], form, SENT_PLAIN);
}

static bool is_full(const struct worker *worker)
{
    for (uint32_t i = 0; i < worker->node_count; i++) {
        if (worker->nodes[i].sent_count >= OUTSTANDING_MAX)
            return true;
    }
    return false;
}

static void step(struct worker *worker)
{
    struct maker *maker = &worker->maker;
    if (worker->first == FORM_COMMAND && maker_below(maker, 15) == 0) {
        send_transaction(worker);
        return;
    }
    uint16_t form = pick_form(worker);
    do
        maker_move(maker);
    while (!maker_fits(maker, &generator_forms[form]));
    if (generator_forms[form].kind == FORM_EVERYWHERE) {
        send_everywhere(worker, form);
        return;
    }
    maker_make(maker, &generator_forms[form]);
    send_form(worker, NULL, form, SENT_PLAIN);
}

/* ---- workers ---- */

static void work(struct worker *worker, uint64_t *allowed)
{
    /* From one at a time to long pipelines; who blocks does it one by one. */
    uint32_t depth =
        worker->first == FORM_COMMAND ? 1 + maker_below(&worker->maker, OUTSTANDING_MAX) : 1;
    for (uint32_t i = 0; i<depth && * allowed> 0 && !is_full(worker); i++, (*allowed)--)
        step(worker);
    flush(worker);
}

static void *run(void *arg)
{
    struct worker *worker = arg;
    struct generator *generator = worker->generator;
    const struct generator_options *options = &generator->shared.options;
    uint64_t rate = options->rate_max / options->client_count + (options->rate_max > 0);
    while (!atomic_load_relaxed(&generator->is_stopping)) {
        uint64_t allowed = rate == 0 ? UINT64_MAX : 1 + rate * SLICE_MS / 1000;
        while (allowed > 0 && !atomic_load_relaxed(&generator->is_stopping))
            work(worker, &allowed);
        if (rate > 0) /* the pace asked for, not a synchronisation */
            nanosleep(&(struct timespec){.tv_nsec = SLICE_MS * 1000000}, NULL);
    }
    return NULL;
}

/* ---- what is made by the server ---- */

static struct generator_bytes keep(const redisReply *reply)
{
    struct generator_bytes bytes = {.at = mem_alloc(MEM_TOOLS, reply->len + 1), .size = reply->len};
    if (bytes.at == NULL)
        test_fatal("out of memory");
    memcpy(bytes.at, reply->str, reply->len);
    return bytes;
}

static void make_payloads(struct generator_shared *shared, redisContext *redis)
{
    static const char *const commands[] = {
        "SET {x}payload text",
        "SET {x}payload 12345",
        "RPUSH {x}payload a b c d",
        "SADD {x}payload 1 2 3",
        "SADD {x}payload x y z",
        "HSET {x}payload f1 v1 f2 v2 n1 5 x1 2.5",
        "ZADD {x}payload 1 m1 2 m2 2.5 m3",
        "XADD {x}payload 1-1 f v",
        "PFADD {x}payload a b c",
        "SETRANGE {x}payload 3000 end",
    };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        test_command_ok(redis, commands[i]);
        redisReply *reply = test_command(redis, "DUMP {x}payload");
        shared->payloads[shared->payload_count++] = keep(reply);
        freeReplyObject(reply);
        test_command_ok(redis, "DEL {x}payload");
    }
}

static void make_libraries(struct generator_shared *shared, redisContext *redis)
{
    test_command_ok(redis,
                    "FUNCTION LOAD %s",
                    "#!lua name=lib0\nredis.register_function('f0', function(k, a) "
                    "return redis.call('SET', k[1], 'restored') end)");
    redisReply *reply = test_command(redis, "FUNCTION DUMP");
    shared->libraries = keep(reply);
    freeReplyObject(reply);
    test_command_ok(redis, "FUNCTION FLUSH");
}

static void load_scripts(struct generator_shared *shared, struct test_client *client)
{
    for (uint32_t i = 0; i < generator_script_count; i++) {
        for (uint32_t n = 0; n < test_client_count(client); n++) {
            redisReply *reply =
                test_command_try(test_client_at(client, n), "SCRIPT LOAD %s", generator_scripts[i]);
            /* The last is in a form of 7.0's. */
            if (reply != NULL && reply->type == REDIS_REPLY_STRING)
                snprintf(shared->shas[i], sizeof(shared->shas[i]), "%s", reply->str);
            freeReplyObject(reply);
        }
    }
}

static void read_version(struct generator *generator, redisContext *redis)
{
    char text[32];
    unsigned a = 0, b = 0, c = 0;
    test_info(redis, "valkey_version", text, sizeof(text));
    generator->is_valkey = text[0] != '\0';
    if (!generator->is_valkey)
        test_info(redis, "redis_version", text, sizeof(text));
    if (sscanf(text, "%u.%u.%u", &a, &b, &c) != 3)
        test_fatal("version %s", text);
    generator->version = a * 10000 + b * 100 + c;
}

/* ---- which forms ---- */

static bool is_wanted(const struct generator *generator, const struct form *form)
{
    const struct generator_options *options = &generator->shared.options;
    uint32_t since = generator->is_valkey ? form->valkey : form->redis;
    if (since == NEVER || generator->version < since)
        return false;
    switch (form->kind) {
    case FORM_FLUSH:
        return options->has_flushes;
    case FORM_SELECT:
        return options->db_count > 1;
    case FORM_MOVE:
        return options->has_database_moves && options->db_count > 1;
    case FORM_SCRIPT:
        return !options->has_verbatim_scripts;
    case FORM_FIELD_FLOAT:
        return !options->has_lost_field_times;
    case FORM_PATTERN:
        return options->has_patterns;
    case FORM_ASKING:
        return options->has_asking;
    default:
        return true;
    }
}

/* Blocking and reading are their own clients' work. */
static bool is_of_worker(const struct worker *worker, const struct form *form)
{
    if (form->kind == FORM_SELECT)
        return true;
    bool is_own = form->kind == FORM_BLOCKING || form->kind == FORM_READING;
    return is_own ? form->kind == worker->first : worker->first == FORM_COMMAND;
}

static void make_wheel(struct worker *worker)
{
    uint32_t size = 0;
    for (int pass = 0; pass < 2; pass++) {
        size = 0;
        for (uint32_t i = 0; i < generator_form_count; i++) {
            const struct form *form = &generator_forms[i];
            if (!is_wanted(worker->generator, form) || !is_of_worker(worker, form))
                continue;
            for (uint32_t n = 0; n < form->weight; n++, size++) {
                if (pass == 1)
                    worker->wheel[size] = i;
            }
        }
        if (pass == 0)
            worker->wheel = mem_alloc(MEM_TOOLS, size * sizeof(*worker->wheel));
        if (worker->wheel == NULL)
            test_fatal("out of memory");
    }
    worker->wheel_size = size;
}

/* ---- life ---- */

static void start_worker(struct generator *generator, enum form_kind first, uint64_t seed)
{
    struct worker *worker = &generator->workers[generator->worker_count++];
    worker->generator = generator;
    worker->first = first;
    worker->client = test_client_new(generator->shared.options.port);
    worker->node_count = test_client_count(worker->client);
    if (worker->node_count > NODES_MAX)
        test_fatal("more than %d nodes", NODES_MAX);
    for (uint32_t i = 0; i < worker->node_count; i++)
        worker->nodes[i].context = test_client_at(worker->client, i);
    worker->counts = mem_calloc(MEM_TOOLS, generator_form_count * sizeof(*worker->counts));
    if (worker->counts == NULL)
        test_fatal("out of memory");
    maker_init(&worker->maker, &generator->shared, seed);
    make_wheel(worker);
    if (pthread_create(&worker->thread, NULL, run, worker) != 0)
        test_fatal("pthread_create");
}

struct generator *generator_start(const struct generator_options *options)
{
    struct generator *generator = mem_calloc(MEM_TOOLS, sizeof(*generator));
    if (generator == NULL)
        test_fatal("out of memory");
    generator->shared.options = *options;
    if (options->client_count == 0)
        generator->shared.options.client_count = 4;
    if (options->client_count > GENERATOR_CLIENTS_MAX)
        test_fatal("more than %d clients", GENERATOR_CLIENTS_MAX);
    struct test_client *client = test_client_new(options->port);
    generator->is_cluster = test_client_is_cluster(client);
    uint16_t slot = slot_of_key("{x}payload", 10);
    read_version(generator, test_client_at(client, 0));
    make_payloads(&generator->shared, test_client_connection(client, slot));
    if (generator->version >= 70000)
        make_libraries(&generator->shared, test_client_at(client, 0));
    load_scripts(&generator->shared, client);
    test_client_free(client);
    struct random random = {.state = options->seed};
    for (uint32_t i = 0; i < generator->shared.options.client_count; i++)
        start_worker(generator, FORM_COMMAND, random_next(&random));
    for (uint32_t i = 0; i < BLOCKERS; i++)
        start_worker(generator, FORM_BLOCKING, random_next(&random));
    for (uint32_t i = 0; i < READERS; i++)
        start_worker(generator, FORM_READING, random_next(&random));
    return generator;
}

uint64_t generator_count(const struct generator *generator)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < generator->worker_count; i++)
        count += atomic_load_relaxed(&generator->workers[i].count);
    return count;
}

static void report_form(const struct generator *generator, uint32_t form, FILE *report)
{
    struct form_count sum = {.ok = 0};
    for (uint32_t i = 0; i < generator->worker_count; i++) {
        const struct form_count *count = &generator->workers[i].counts[form];
        sum.ok += count->ok;
        sum.error += count->error;
        if (count->error > 0)
            memcpy(sum.text, count->text, sizeof(sum.text));
    }
    if (is_wanted(generator, &generator_forms[form]))
        fprintf(report,
                "%8" PRIu64 " %8" PRIu64 "  %s%s%s\n",
                sum.ok,
                sum.error,
                generator_forms[form].text,
                sum.error > 0 ? "   " : "",
                sum.text);
}

uint64_t generator_stop(struct generator *generator, FILE *report)
{
    atomic_store_relaxed(&generator->is_stopping, true);
    for (uint32_t i = 0; i < generator->worker_count; i++)
        pthread_join(generator->workers[i].thread, NULL);
    uint64_t count = generator_count(generator);
    for (uint32_t i = 0; report != NULL && i < generator_form_count; i++)
        report_form(generator, i, report);
    for (uint32_t i = 0; i < generator->worker_count; i++) {
        struct worker *worker = &generator->workers[i];
        test_client_free(worker->client);
        maker_deinit(&worker->maker);
        mem_free(MEM_TOOLS, worker->counts);
        mem_free(MEM_TOOLS, worker->wheel);
    }
    for (uint32_t i = 0; i < generator->shared.payload_count; i++)
        mem_free(MEM_TOOLS, generator->shared.payloads[i].at);
    mem_free(MEM_TOOLS, generator->shared.libraries.at);
    mem_free(MEM_TOOLS, generator);
    return count;
}

/* ---- names ---- */

#define NAMES_MAX 512
#define NAME_SIZE 32

static void add_names(char (*names)[NAME_SIZE], uint32_t *count, const char *text)
{
    /* "A|B key …" is two names; a container's subcommand belongs to it. */
    char words[256];
    char *rest = NULL, *choice = NULL;
    snprintf(words, sizeof(words), "%s", text);
    char *first = strtok_r(words, " ", &rest);
    bool is_container = strcmp(first, "XGROUP") == 0 || strcmp(first, "FUNCTION") == 0;
    const char *second = is_container ? strtok_r(NULL, " ", &rest) : NULL;
    for (char *name = strtok_r(first, "|", &choice); name != NULL;
         name = strtok_r(NULL, "|", &choice)) {
        if (*count == NAMES_MAX - 1)
            test_fatal("the generator has too many names");
        snprintf(names[(*count)++],
                 NAME_SIZE,
                 "%s%s%s",
                 name,
                 second != NULL ? " " : "",
                 second != NULL ? second : "");
    }
}

const char *const *generator_command_names(void)
{
    static char names[NAMES_MAX][NAME_SIZE];
    static const char *list[NAMES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; list[0] == NULL && i < generator_form_count; i++)
        add_names(names, &count, generator_forms[i].text);
    for (uint32_t i = 0; i < count; i++)
        list[i] = names[i];
    return list;
}
