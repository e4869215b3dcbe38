/*
 * Random workloads between random deployments, for as long as asked: a generator writes to the
 * source, the program copies and follows, and in the end both sides must be equal.
 *
 * Every round has a seed of its own, which decides everything but how the clients meet: topologies,
 * versions, options of servers and program, what is written, when connections are cut. A round is a
 * child process, so that one that fails leaves nothing to the next. --help names the options.
 *
 * Exit status 0: all rounds ended equal; 1: some did not; 77: nothing could run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/num.h"
#include "tests/live/contents.h"
#include "tests/live/live.h"
#include "tests/support/generator.h"
#include "tests/support/random.h"

#define ROUND_SECONDS 8
#define OPTIONS_MAX 28
#define SERVER_OPTIONS_MAX 24
#define DB_MAX 5
#define SETTLE_MS (GENERATOR_VOLATILE_MS + 300) /* a server looks for expired keys every 100 ms */
/* Before 7.0 times are sent relative; a round may stand still for a while. Expiries that are not
 * moments are hours. */
#define TTL_SLACK_MS 60000
/* An expiry that is read at the source is what is left of it, by its clock a moment later. */
#define READ_SLACK_MS 2000

/* ---- what is asked for ---- */

struct request {
    uint64_t seconds;
    uint64_t seed;
    uint64_t round_seconds;
    uint64_t rate;      /* 0: by chance */
    int source_masters; /* -1: by chance */
    int destination_masters;
    const char *source_version; /* NULL: by chance */
    const char *destination_version;
    const char *program_options[OPTIONS_MAX]; /* instead of chance, when there are any */
    bool has_report;
    bool goes_on;
    int rules; /* of selection and of databases; -1: by chance */
};

/* ---- rules of selection, by a matcher of its own ---- */

struct rules {
    bool is_on;
    const char *include[3]; /* prefixes; none: all */
    uint32_t include_count;
    const char *exclude_prefix;
    const char *exclude_suffix;
    const char *exclude_types; /* "list,hash" */
    const char *rename[2];     /* prefixes "OLD=NEW" */
    uint32_t rename_count;
    char db_map[64];
    uint32_t db_shift; /* database n goes to n + db_shift of those that are used */
};

static bool begins(const char *key, size_t size, const char *prefix)
{
    return size >= strlen(prefix) && memcmp(key, prefix, strlen(prefix)) == 0;
}

static bool rules_select(const struct rules *rules, const char *key, size_t size)
{
    const char *suffix = rules->exclude_suffix;
    bool is_included = rules->include_count == 0;
    for (uint32_t i = 0; i < rules->include_count; i++)
        is_included = is_included || begins(key, size, rules->include[i]);
    bool is_excluded =
        (rules->exclude_prefix != NULL && begins(key, size, rules->exclude_prefix)) ||
        (suffix != NULL && size >= strlen(suffix) &&
         memcmp(key + size - strlen(suffix), suffix, strlen(suffix)) == 0);
    return is_included && !is_excluded;
}

static bool rules_select_type(const struct rules *rules, const char *type)
{
    const char *at = rules->exclude_types != NULL ? strstr(rules->exclude_types, type) : NULL;
    return at == NULL || (at > rules->exclude_types && at[-1] != ',');
}

/* What the destination is to hold of a reading of the source. */
static json_t *rules_apply(const struct rules *rules, json_t *contents)
{
    json_t *out = json_object();
    const char *text;
    json_t *value;
    size_t text_size, size;
    json_object_keylen_foreach(contents, text, text_size, value)
    {
        json_t *name = json_stringn(text, text_size);
        char *key = contents_raw(name, &size);
        json_decref(name);
        const char *type = json_string_value(json_object_get(value, "type"));
        if (rules_select(rules, key, size) && rules_select_type(rules, type)) {
            char *renamed = NULL;
            for (uint32_t i = 0; i < rules->rename_count && renamed == NULL; i++) {
                const char *to = strchr(rules->rename[i], '=');
                size_t from_size = (size_t)(to - rules->rename[i]);
                if (size < from_size || memcmp(key, rules->rename[i], from_size) != 0)
                    continue;
                size_t to_size = strlen(to + 1);
                renamed = malloc(size - from_size + to_size + 1);
                memcpy(renamed, to + 1, to_size);
                memcpy(renamed + to_size, key + from_size, size - from_size);
                size = size - from_size + to_size;
            }
            json_t *there = contents_bytes(renamed != NULL ? renamed : key, size);
            json_object_setn_new_nocheck(
                out, json_string_value(there), json_string_length(there), json_incref(value));
            json_decref(there);
            free(renamed);
        }
        free(key);
    }
    return out;
}

/* ---- a round ---- */

struct plan {
    uint64_t seed;
    struct random random; /* for what happens while it runs */
    uint32_t source_masters;
    uint32_t destination_masters;
    const char *source_version;
    const char *destination_version;
    const char *program[OPTIONS_MAX];
    uint32_t program_count;
    const char *source_options[SERVER_OPTIONS_MAX];
    uint32_t source_option_count;
    struct generator_options generator;
    uint64_t preload; /* commands before the program starts */
    bool is_cut;      /* the source's connections are cut now and then */
    bool is_stopped;  /* the program stands still now and then */
    bool is_killed;   /* it is killed and continued now and then */
    struct rules rules;
};

static uint32_t below(struct plan *plan, uint32_t bound)
{
    return random_below(&plan->random, bound);
}

static const char *pick(struct plan *plan, const char *const *texts)
{
    uint32_t count = 0;
    while (texts[count] != NULL)
        count++;
    return texts[below(plan, count)];
}

static void add(const char **words, uint32_t *count, const char *name, const char *value)
{
    words[(*count)++] = name;
    words[(*count)++] = value;
}

/* ---- choosing ---- */

static void choose_topology(struct plan *plan, const struct request *request)
{
    static const uint32_t pairs[][2] = {{0, 0}, {0, 0}, {0, 3}, {0, 2}, {3, 2}, {2, 3}, {3, 0}};
    uint32_t pair = below(plan, sizeof(pairs) / sizeof(pairs[0]));
    plan->source_masters = pairs[pair][0];
    plan->destination_masters = pairs[pair][1];
    if (request->source_masters >= 0) {
        plan->source_masters = (uint32_t)request->source_masters;
        plan->destination_masters = (uint32_t)request->destination_masters;
    }
}

/* A destination of the source's version, or of a later one that takes all that it sends. */
static void choose_versions(struct plan *plan, const struct request *request)
{
    static const char *const pairs[][2] = {
        {"redis-7.0", "redis-7.0"},
        {"redis-7.0", "redis-7.0"},
        {"redis-7.0", "redis-7.0"},
        {"redis-6.0", "redis-6.0"},
        {"redis-6.0", "redis-7.0"},
        {"redis-8.0", "redis-8.0"},
        {"redis-8.0", "redis-8.0"},
        {"redis-7.0", "redis-8.0"},
        {"valkey-8.1", "valkey-8.1"},
        {"valkey-9", "valkey-9"},
        {"valkey-9", "valkey-9"},
        {"valkey-8.1", "valkey-9"},
        {"redis-7.0", "valkey-8.1"},
        {"redis-6.0", "redis-8.0"},
    };
    uint32_t pair = below(plan, sizeof(pairs) / sizeof(pairs[0]));
    plan->source_version = pairs[pair][0];
    plan->destination_version = pairs[pair][1];
    if (request->source_version != NULL) {
        plan->source_version = request->source_version;
        plan->destination_version = request->destination_version;
    }
    if (!test_server_available(plan->source_version) ||
        !test_server_available(plan->destination_version)) {
        plan->source_version = TEST_REQUIRED_VERSION;
        plan->destination_version = TEST_REQUIRED_VERSION;
    }
}

static bool is_source(const struct plan *plan, const char *prefix)
{
    return strncmp(plan->source_version, prefix, strlen(prefix)) == 0;
}

static void choose_program(struct plan *plan, const struct request *request)
{
    static const char *const memories[] = {"16m", "24m", "48m", NULL};
    static const char *const lanes[] = {"0", "1", "2", "5", NULL};
    static const char *const threads[] = {"0", "1", "2", NULL};
    static const char *const backends[] = {"uring", "epoll", NULL};
    add(plan->program, &plan->program_count, "--memory", pick(plan, memories));
    add(plan->program, &plan->program_count, "--lanes", pick(plan, lanes));
    add(plan->program, &plan->program_count, "--decoders", pick(plan, threads));
    add(plan->program, &plan->program_count, "--readers", pick(plan, threads));
    add(plan->program, &plan->program_count, "--io", pick(plan, backends));
    for (uint32_t i = 0; request->program_options[i] != NULL; i++) {
        plan->program_count = i + 1;
        plan->program[i] = request->program_options[i];
    }
    plan->program[plan->program_count] = NULL;
}

static void choose_source_options(struct plan *plan)
{
    static const char *const yes_no[] = {"yes", "no", NULL};
    static const char *const small[] = {"4", "16", "128", NULL};
    const char **words = plan->source_options;
    uint32_t *count = &plan->source_option_count;
    /* 6.0.16 crashes when a flush kills the child of a diskless snapshot. */
    bool is_crashing = is_source(plan, "redis-6") && plan->generator.has_flushes;
    add(words, count, "--repl-diskless-sync", is_crashing ? "no" : pick(plan, yes_no));
    add(words, count, "--lazyfree-lazy-expire", pick(plan, yes_no));
    add(words, count, "--lazyfree-lazy-server-del", pick(plan, yes_no));
    add(words, count, "--lazyfree-lazy-user-del", pick(plan, yes_no));
    add(words, count, "--hash-max-ziplist-entries", pick(plan, small));
    add(words, count, "--zset-max-ziplist-entries", pick(plan, small));
    add(words, count, "--set-max-intset-entries", pick(plan, small));
    add(words, count, "--stream-node-max-entries", pick(plan, small));
    add(words, count, "--hll-sparse-max-bytes", below(plan, 3) == 0 ? "200" : "3000");
    if (is_source(plan, "redis-6") && below(plan, 2) == 0 && !plan->generator.is_cross_slot) {
        add(words, count, "--lua-replicate-commands", "no");
        plan->generator.has_verbatim_scripts = true;
    }
    if (below(plan, 8) == 0) {
        add(words, count, "--maxmemory", "6mb");
        add(words, count, "--maxmemory-policy", "allkeys-random");
    }
    words[*count] = NULL;
}

static void choose_generator(struct plan *plan, const struct request *request)
{
    static const uint32_t rates[] = {0, 3000, 20000};
    struct generator_options *options = &plan->generator;
    bool is_to_cluster = plan->destination_masters > 0;
    bool is_from_cluster = plan->source_masters > 0;
    *options = (struct generator_options){.seed = random_next(&plan->random),
                                          .client_count = 1 + below(plan, 6),
                                          .rate_max = rates[below(plan, 3)],
                                          .has_flushes = !is_from_cluster && below(plan, 3) == 0,
                                          .has_patterns = !is_from_cluster,
                                          .has_asking = !is_from_cluster,
                                          .has_lost_field_times = is_source(plan, "redis-8")};
    if (!is_from_cluster && !is_to_cluster && below(plan, 3) > 0) {
        options->db_count = 2 + below(plan, DB_MAX - 1);
        options->has_database_moves = below(plan, 3) > 0;
    }
    if (!is_from_cluster)
        options->is_cross_slot = below(plan, 2) == 0;
    if (request->rate > 0)
        options->rate_max = (uint32_t)request->rate;
}

static void rule_add(struct plan *plan, const char *name, const char *value)
{
    add(plan->program, &plan->program_count, name, value);
    plan->rules.is_on = true;
    /* What empties or exchanges whole databases stops the task then. */
    plan->generator.has_flushes = false;
    plan->generator.has_database_moves = false;
}

static void choose_keys(struct plan *plan)
{
    static const char *const excluded[] = {"str:", "any:", "list:{g1}", "hash:", "xauto:", NULL};
    static const char *const renames[] = {"str:=text:",
                                          "list:=a:name:longer:than:before:",
                                          "any:=some:",
                                          "set:={moved}",
                                          "zset:=z:",
                                          NULL};
    struct rules *rules = &plan->rules;
    if (below(plan, 3) == 0) {
        static const char *const included[] = {"str:", "list:", "set:", "zset:", "hash:", NULL};
        for (uint32_t i = 0; i < 3; i++) {
            rules->include[rules->include_count++] = pick(plan, included);
            rule_add(plan, "--include-prefix", rules->include[i]);
        }
    }
    if (below(plan, 2) == 0)
        rule_add(plan, "--exclude-prefix", rules->exclude_prefix = pick(plan, excluded));
    if (below(plan, 2) == 0)
        rule_add(plan, "--exclude-suffix", rules->exclude_suffix = ":1");
    /* A cluster's commands over several slots could come together by a rename, or part. */
    bool is_standalone = plan->source_masters + plan->destination_masters == 0;
    if (below(plan, 3) > 0) {
        const char *rename = pick(plan, renames);
        bool is_free = is_standalone || strchr(rename, '{') == NULL;
        /* Rules for keys that are not selected are refused. */
        if (is_free && rules_select(rules, rename, strcspn(rename, "="))) {
            rules->rename[rules->rename_count++] = rename;
            rule_add(plan, "--rename-prefix", rename);
        }
    }
}

/* Behind all else, so that a seed means the same with rules and without. */
static void choose_rules(struct plan *plan, const struct request *request)
{
    static const char *const types[] = {
        "string", "hash", "list,set", "stream", "zset,string", NULL};
    struct rules *rules = &plan->rules;
    bool is_by_chance = below(plan, 3) == 0;
    if (request->rules == 0 || (request->rules < 0 && !is_by_chance))
        return;
    uint32_t dbs = plan->generator.db_count;
    if (dbs > 1 && below(plan, 2) == 0) {
        size_t used = 0;
        rules->db_shift = 1 + below(plan, dbs - 1);
        for (uint32_t db = 0; db < dbs; db++)
            used += (size_t)snprintf(rules->db_map + used,
                                     sizeof(rules->db_map) - used,
                                     "%s%u:%u",
                                     db > 0 ? "," : "",
                                     db,
                                     (db + rules->db_shift) % dbs);
        add(plan->program, &plan->program_count, "--db-map", rules->db_map);
    }
    if (below(plan, 3) > 0)
        choose_keys(plan);
    if (below(plan, 3) == 0)
        rule_add(plan, "--exclude-type", rules->exclude_types = pick(plan, types));
    plan->is_killed = below(plan, 2) == 0;
}

static void plan_make(struct plan *plan, const struct request *request, uint64_t seed)
{
    memset(plan, 0, sizeof(*plan));
    plan->seed = seed;
    plan->random.state = seed;
    choose_topology(plan, request);
    choose_versions(plan, request);
    choose_generator(plan, request);
    choose_program(plan, request);
    choose_source_options(plan);
    plan->preload = below(plan, 20000);
    plan->is_cut = below(plan, 3) == 0;
    plan->is_stopped = below(plan, 3) == 0;
    choose_rules(plan, request);
    plan->program[plan->program_count] = NULL;
}

static void print_side(const char *version, uint32_t masters)
{
    if (masters == 0)
        printf("%s", version);
    else
        printf("%u x %s", masters, version);
}

static void plan_print(const struct plan *plan)
{
    const struct generator_options *options = &plan->generator;
    printf("seed %" PRIu64 ": ", plan->seed);
    print_side(plan->source_version, plan->source_masters);
    printf(" to ");
    print_side(plan->destination_version, plan->destination_masters);
    printf(", %u clients", options->client_count);
    if (options->rate_max > 0)
        printf(" of %u/s", options->rate_max);
    printf("%s%s%s%s%s%s",
           options->db_count > 1 ? ", databases" : "",
           options->has_database_moves ? ", moves" : "",
           options->is_cross_slot ? ", cross-slot" : "",
           options->has_flushes ? ", flushes" : "",
           options->has_verbatim_scripts ? ", verbatim scripts" : "",
           plan->is_cut ? ", cuts" : "");
    printf("%s%s;", plan->is_stopped ? ", stops" : "", plan->is_killed ? ", kills" : "");
    for (uint32_t i = 0; i < plan->program_count; i++)
        printf(" %s", plan->program[i]);
    for (uint32_t i = 0; i < plan->source_option_count; i++) {
        if (strcmp(plan->source_options[i], "--maxmemory") == 0)
            printf("; source evicts");
    }
    printf("\n");
    fflush(stdout);
}

/* ---- running ---- */

static void cut_connections(struct plan *plan, const struct live_side *source)
{
    uint32_t node = below(plan, test_client_count(source->client));
    redisReply *reply =
        test_command_try(test_client_at(source->client, node), "CLIENT KILL TYPE replica");
    freeReplyObject(reply);
}

static void stand_still(struct plan *plan, struct test_cli *cli)
{
    test_cli_signal(cli, SIGSTOP);
    usleep(1000 * (100 + below(plan, 400)));
    test_cli_signal(cli, SIGCONT);
}

static void start_program(const struct plan *plan,
                          struct test_cli *cli,
                          const struct live_side *source,
                          const struct live_side *destination)
{
    const char *words[OPTIONS_MAX + 12] = {
        "sync", source->uri, destination->uri, "--output", "json", "--progress-interval", "100ms"};
    uint32_t count = 7;
    for (uint32_t i = 0; i < plan->program_count; i++)
        words[count++] = plan->program[i];
    test_cli_spawn(cli, words);
}

/* Once it is live: before, a new run begins anew. */
static void kill_program(const struct plan *plan,
                         struct test_cli *cli,
                         const struct live_side *source,
                         const struct live_side *destination)
{
    live_wait_phase(cli, "live");
    test_cli_kill(cli);
    start_program(plan, cli, source, destination);
}

/* Until the time is over, things happen. */
static void disturb(struct plan *plan,
                    struct test_cli *cli,
                    const struct live_side *source,
                    const struct live_side *destination,
                    uint64_t seconds)
{
    uint64_t end_ms = clock_monotonic_ms() + 1000 * seconds;
    while (clock_monotonic_ms() < end_ms) {
        usleep(1000 * (50 + below(plan, 800)));
        if (plan->is_cut && below(plan, 3) == 0)
            cut_connections(plan, source);
        if (plan->is_stopped && below(plan, 4) == 0)
            stand_still(plan, cli);
        if (plan->is_killed && below(plan, 6) == 0)
            kill_program(plan, cli, source, destination);
    }
}

static void must_answer(struct generator *generator, uint64_t count)
{
    uint64_t deadline = test_deadline(LIVE_WAIT_MS);
    while (generator_count(generator) < count)
        test_poll(deadline, "the generator");
}

/* ---- comparing ---- */

static struct contents_rules rules_of(const struct plan *plan)
{
    return (struct contents_rules){
        .ttl_slack_ms = is_source(plan, "redis-6")             ? TTL_SLACK_MS
                        : plan->rules.is_on || plan->is_killed ? READ_SLACK_MS
                                                               : 0,
        .any_entries_read = is_source(plan, "redis-7"),
        .any_idle_consumers = true,
        .any_deleted_pending =
            is_source(plan, "redis-6") && strncmp(plan->destination_version, "redis-6", 7) != 0,
    };
}

/* What verification finds must be what the rules let pass. */
struct verdict {
    uint64_t groups;  /* streams, of which only the groups may differ */
    uint64_t modules; /* compared by their bytes, in which there is chance */
    uint64_t times;   /* of a source that sends relative ones */
    uint64_t others;
};

static void judge(const json_t *event, struct verdict *verdict)
{
    const char *kind = json_string_value(json_object_get(event, "kind"));
    const char *detail = json_string_value(json_object_get(event, "detail"));
    if (strcmp(kind, "value") == 0 && strncmp(detail, "stream", 6) == 0) {
        verdict->groups++;
    } else if (strcmp(kind, "value") == 0 && strstr(detail, "module") != NULL) {
        verdict->modules++;
    } else if (strcmp(kind, "ttl") == 0) {
        verdict->times++;
    } else {
        verdict->others++;
        fprintf(stderr,
                "verify: %s, key %s: %s\n",
                kind,
                json_string_value(json_object_get(event, "key")),
                detail);
    }
}

static bool is_rule(const char *option)
{
    return strncmp(option, "--include-", 10) == 0 || strncmp(option, "--exclude-", 10) == 0 ||
           strcmp(option, "--rename-prefix") == 0 || strcmp(option, "--db-map") == 0;
}

static bool is_verified(const struct plan *plan,
                        const struct live_side *source,
                        const struct live_side *destination,
                        uint64_t strict_count)
{
    static const char mark[] = "{\"event\":\"difference\"";
    const char *words[OPTIONS_MAX + 12] = {"verify",
                                           source->uri,
                                           destination->uri,
                                           "--full",
                                           "--output",
                                           "json",
                                           "--rounds",
                                           "2",
                                           "--interval",
                                           "200ms"};
    uint32_t word_count = 10;
    for (uint32_t i = 0; i < plan->program_count; i += 2) {
        if (is_rule(plan->program[i])) {
            words[word_count++] = plan->program[i];
            words[word_count++] = plan->program[i + 1];
        }
    }
    struct verdict verdict = {.groups = 0};
    char *output, *errors;
    int status = test_cli_run(words, LIVE_WAIT_MS, &output, &errors);
    uint64_t count = 0;
    for (const char *at = output; (at = strstr(at, mark)) != NULL; at++, count++) {
        json_t *event = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
        judge(event, &verdict);
        json_decref(event);
    }
    bool is_right = verdict.others == 0 && verdict.groups <= strict_count &&
                    (verdict.times == 0 || is_source(plan, "redis-6")) &&
                    status == (count > 0 ? 6 : 0);
    if (!is_right)
        fprintf(stderr,
                "verify ended with %d: streams %" PRIu64 " of %" PRIu64 " that may differ, "
                "modules %" PRIu64 ", times %" PRIu64 ", others %" PRIu64 "\n%s",
                status,
                verdict.groups,
                strict_count,
                verdict.modules,
                verdict.times,
                verdict.others,
                errors);
    free(output);
    free(errors);
    return is_right;
}

/* False, after saying what: the sides differ. */
static bool are_equal(const struct plan *plan,
                      const struct live_side *source,
                      const struct live_side *destination)
{
    struct contents_rules rules = rules_of(plan);
    struct contents_rules strict = {.ttl_slack_ms = rules.ttl_slack_ms};
    uint64_t count = 0, strict_count = 0, keys = 0;
    uint32_t dbs = plan->generator.db_count > 1 ? plan->generator.db_count : 1;
    char label[96];
    for (uint32_t db = 0; db < dbs; db++) {
        json_t *all = contents_read(source->client, db);
        json_t *wanted = rules_apply(&plan->rules, all);
        json_t *got = contents_read(destination->client, (db + plan->rules.db_shift) % dbs);
        json_decref(all);
        snprintf(label, sizeof(label), "seed %" PRIu64 ", db %u", plan->seed, db);
        count += contents_differences(label, wanted, got, &rules);
        strict_count += contents_differences(NULL, wanted, got, &strict);
        keys += json_object_size(wanted);
        json_decref(wanted);
        json_decref(got);
    }
    printf("  %" PRIu64 " keys, %" PRIu64 " differ\n", keys, count);
    return count == 0 && is_verified(plan, source, destination, strict_count);
}

static bool run_round(struct plan *plan, const struct request *request)
{
    struct live_side source, destination;
    struct test_cli cli;
    live_side_start(&source, plan->source_version, plan->source_masters, 0, plan->source_options);
    live_side_start(&destination, plan->destination_version, plan->destination_masters, 0, NULL);
    plan->generator.port = live_port(&source);
    struct generator *generator = generator_start(&plan->generator);
    must_answer(generator, plan->preload);
    start_program(plan, &cli, &source, &destination);
    disturb(plan, &cli, &source, &destination, request->round_seconds);
    uint64_t count = generator_stop(generator, request->has_report ? stdout : NULL);
    usleep(1000 * SETTLE_MS);
    live_wait_phase(&cli, "live");
    live_wait_level(&cli, &source);
    live_stop(&cli);
    /* Answering takes memory too: nothing more may be evicted. */
    for (uint32_t i = 0; i < test_client_count(source.client); i++)
        test_command_ok(test_client_at(source.client, i), "CONFIG SET maxmemory 0");
    printf("  %" PRIu64 " commands answered\n", count);
    bool is_equal = are_equal(plan, &source, &destination);
    live_side_stop(&source);
    live_side_stop(&destination);
    return is_equal;
}

/* In a child, whose end is the round's. */
static bool round_is_good(const struct request *request, uint64_t seed)
{
    struct plan plan;
    int status;
    plan_make(&plan, request, seed);
    plan_print(&plan);
    pid_t pid = fork();
    if (pid == 0) {
        bool is_good = run_round(&plan, request);
        fflush(stdout);
        exit(is_good ? 0 : 1); /* the servers' folders are kept when it is not 0 */
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        test_fatal("a round cannot be run");
    bool is_good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!is_good) {
        printf("FAILED: --seed %" PRIu64 "\n", seed);
        fflush(stdout);
    }
    return is_good;
}

/* ---- the command line ---- */

static const char help[] =
    "differential [OPTIONS]\n"
    "  --seconds N           how long rounds are begun (60)\n"
    "  --seed N              of the first round (by the clock); it is repeated by this alone\n"
    "  --round-seconds N     how long each writes (8)\n"
    "  --topology A:B        masters at source and destination, 0: standalone\n"
    "  --versions A[:B]      such as redis-7.0:valkey-8.1\n"
    "  --options \"WORDS\"     of the program, instead of random ones\n"
    "  --rate N              commands per second\n"
    "  --rules               of selection and of databases in every round; --no-rules: in none\n"
    "  --report              how often each form of command succeeded and failed\n"
    "  --go-on               after a failed round too\n";

static uint64_t read_number(const char *text)
{
    uint64_t value;
    if (!num_read_u64(text, strlen(text), &value))
        test_fatal("not a number: %s", text);
    return value;
}

/* "A:B", or "A" for both. */
static void split(char *text, const char **first, const char **second)
{
    char *colon = strchr(text, ':');
    *first = text;
    *second = colon != NULL ? colon + 1 : text;
    if (colon != NULL)
        *colon = '\0';
}

static void read_option(struct request *request, int option, char *value)
{
    const char *first, *second;
    char *rest = NULL;
    uint32_t count = 0;
    switch (option) {
    case 's':
        request->seconds = read_number(value);
        break;
    case 'S':
        request->seed = read_number(value);
        break;
    case 'r':
        request->round_seconds = read_number(value);
        break;
    case 't':
        split(value, &first, &second);
        request->source_masters = (int)read_number(first);
        request->destination_masters = (int)read_number(second);
        break;
    case 'v':
        split(value, &request->source_version, &request->destination_version);
        break;
    case 'o':
        for (char *word = strtok_r(value, " ", &rest); word != NULL && count + 1 < OPTIONS_MAX;
             word = strtok_r(NULL, " ", &rest))
            request->program_options[count++] = word;
        break;
    case 'R':
        request->rate = read_number(value);
        break;
    case 'u':
    case 'U':
        request->rules = option == 'u';
        break;
    case 'p':
        request->has_report = true;
        break;
    case 'g':
        request->goes_on = true;
        break;
    default:
        fputs(help, stderr);
        exit(option == 'h' ? 0 : 2);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
                                            {"seed", required_argument, NULL, 'S'},
                                            {"round-seconds", required_argument, NULL, 'r'},
                                            {"topology", required_argument, NULL, 't'},
                                            {"versions", required_argument, NULL, 'v'},
                                            {"options", required_argument, NULL, 'o'},
                                            {"rate", required_argument, NULL, 'R'},
                                            {"report", no_argument, NULL, 'p'},
                                            {"rules", no_argument, NULL, 'u'},
                                            {"no-rules", no_argument, NULL, 'U'},
                                            {"go-on", no_argument, NULL, 'g'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct request request = {.seconds = 60,
                              .seed = clock_monotonic_ns() % 1000000000,
                              .round_seconds = ROUND_SECONDS,
                              .source_masters = -1,
                              .rules = -1};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        read_option(&request, option, optarg);
    if (!test_cli_available())
        return 77;
    uint64_t end_ms = clock_monotonic_ms() + 1000 * request.seconds;
    uint64_t seed = request.seed;
    uint32_t failed = 0, rounds = 0;
    do {
        struct random random = {.state = seed};
        failed += !round_is_good(&request, seed);
        rounds++;
        seed = random_next(&random) % 1000000000;
    } while (clock_monotonic_ms() < end_ms && (failed == 0 || request.goes_on));
    printf("%u rounds, %u failed\n", rounds, failed);
    return failed == 0 ? 0 : 1;
}
