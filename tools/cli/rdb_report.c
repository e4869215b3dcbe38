/* The summary of an RDB: a table for people, a "result" event for programs. */
#include "tools/cli/rdb.h"

#include <string.h>

/* Of a key in the lists of the biggest. */
#define KEY_SHOWN_MAX 200

static const struct {
    const char *name;  /* in events */
    const char *shown; /* in text   */
} lives[] = {
    [RDB_LIFE_EXPIRED] = {"expired", "expired"},
    [RDB_LIFE_MINUTE] = {"below_1m", "<1m"},
    [RDB_LIFE_HOUR] = {"below_1h", "<1h"},
    [RDB_LIFE_DAY] = {"below_1d", "<1d"},
    [RDB_LIFE_WEEK] = {"below_1w", "<1w"},
    [RDB_LIFE_MONTH] = {"below_30d", "<30d"},
    [RDB_LIFE_LATER] = {"later", "later"},
    [RDB_LIFE_NONE] = {"none", "none"},
};
_Static_assert(sizeof(lives) / sizeof(lives[0]) == RDB_LIFE_COUNT, "a name for every life");

static double rate_of(const struct rdb_run *run)
{
    double seconds = (double)run->elapsed_ns / 1e9;
    return seconds > 0 ? (double)run->result.bytes / seconds : 0;
}

/* ---- text ---- */

static void text_count(struct rdb_run *run, const char *head, const struct rdb_count *count)
{
    char bytes[24];
    output_line(&run->output,
                stdout,
                "%s %12llu %12s %14llu %12llu",
                head,
                (unsigned long long)count->keys,
                show_bytes((double)count->bytes, bytes),
                (unsigned long long)count->elements,
                (unsigned long long)count->expiring);
}

static void text_types(struct rdb_run *run)
{
    char head[80];
    output_line(&run->output,
                stdout,
                "\n%-8s %-17s %12s %12s %14s %12s",
                "type",
                "encoding",
                "keys",
                "bytes",
                "elements",
                "expiring");
    for (unsigned i = 0; i < RDB_TYPES_MAX; i++) {
        const struct rdb_type_count *type = &run->stats.types[i];
        if (type->count.keys > 0) {
            snprintf(head, sizeof(head), "%-8s %-17s", type->type, type->encoding);
            text_count(run, head, &type->count);
        }
    }
    snprintf(head, sizeof(head), "%-26s", "all");
    text_count(run, head, &run->stats.total);
}

static void text_dbs(struct rdb_run *run)
{
    char head[80];
    output_line(&run->output,
                stdout,
                "\n%-26s %12s %12s %14s %12s",
                "database",
                "keys",
                "bytes",
                "elements",
                "expiring");
    for (unsigned i = 0; i < run->stats.db_count; i++) {
        const struct rdb_db_count *db = &run->stats.dbs[i];
        snprintf(head, sizeof(head), "%-26llu", (unsigned long long)db->db);
        text_count(run, head, &db->count);
    }
    if (run->stats.other_dbs.keys > 0) {
        snprintf(head, sizeof(head), "%-26s", "others");
        text_count(run, head, &run->stats.other_dbs);
    }
}

static void add_name(struct text *text, const struct rdb_big_key *key)
{
    bool is_cut = key->name_size > RDB_KEY_KEPT_MAX;
    escape_add(text, key->name, is_cut ? RDB_KEY_KEPT_MAX : key->name_size, KEY_SHOWN_MAX);
}

static void text_biggest(struct rdb_run *run, const char *head, const struct rdb_biggest *list)
{
    struct text *text = &run->text;
    char bytes[24];
    output_line(&run->output, stdout, "\n%s", head);
    for (unsigned i = 0; i < list->count; i++) {
        const struct rdb_big_key *key = &list->keys[i];
        text->size = 0;
        text_add(text,
                 "  %12s %14llu  %-7s db %llu \"",
                 show_bytes((double)key->bytes, bytes),
                 (unsigned long long)key->elements,
                 key->type,
                 (unsigned long long)key->db);
        add_name(text, key);
        text_add(text, "\"");
        output_text(&run->output, stdout, text->data);
    }
}

static void text_end(struct rdb_run *run)
{
    static const char *const words[] = {
        [SYN_RDB_CHECKSUM_UNREAD] = "not reached",
        [SYN_RDB_CHECKSUM_NONE] = "the writer made none",
        [SYN_RDB_CHECKSUM_MATCHES] = "matches",
        [SYN_RDB_CHECKSUM_DIFFERS] = "DIFFERS: the file was damaged after it was written",
    };
    char bytes[24], took[24], rate[24];
    output_line(&run->output, stdout, "\nchecksum: %s", words[run->result.verdict]);
    if (run->result.has_trailing) {
        output_line(&run->output,
                    stdout,
                    "more bytes follow the RDB, as in an append-only file; they were not read");
    }
    output_line(&run->output,
                stdout,
                "read %s in %s (%s/s)",
                show_bytes((double)run->result.bytes, bytes),
                show_duration((double)run->elapsed_ns / 1e9, took),
                show_bytes(rate_of(run), rate));
}

void rdb_report_text(struct rdb_run *run)
{
    const struct rdb_stats *stats = &run->stats;
    char bytes[24];
    if (stats->functions > 0) {
        output_line(&run->output,
                    stdout,
                    "  functions: %llu (%s)",
                    (unsigned long long)stats->functions,
                    show_bytes((double)stats->function_bytes, bytes));
    }
    text_types(run);
    text_dbs(run);
    output_line(&run->output, stdout, "\n%-26s %12s", "time to live", "keys");
    for (unsigned i = 0; i < RDB_LIFE_COUNT; i++) {
        output_line(&run->output,
                    stdout,
                    "%-26s %12llu",
                    lives[i].shown,
                    (unsigned long long)stats->lives[i]);
    }
    if (stats->total.keys > 0) {
        text_biggest(run, "biggest keys by bytes (bytes, elements)", &stats->by_bytes);
        text_biggest(run, "biggest keys by elements (bytes, elements)", &stats->by_elements);
    }
    text_end(run);
}

/* ---- the event ---- */

static void set_count(json_t *object, const struct rdb_count *count)
{
    event_set_number(object, "keys", count->keys);
    event_set_number(object, "bytes", count->bytes);
    event_set_number(object, "elements", count->elements);
    event_set_number(object, "expiring", count->expiring);
}

static json_t *types_of(const struct rdb_stats *stats)
{
    json_t *array = json_array();
    for (unsigned i = 0; i < RDB_TYPES_MAX; i++) {
        if (stats->types[i].count.keys > 0) {
            json_t *object = json_object();
            event_set_text(object, "type", stats->types[i].type);
            event_set_text(object, "encoding", stats->types[i].encoding);
            set_count(object, &stats->types[i].count);
            (void)json_array_append_new(array, object);
        }
    }
    return array;
}

static json_t *dbs_of(const struct rdb_stats *stats)
{
    json_t *array = json_array();
    for (unsigned i = 0; i < stats->db_count; i++) {
        json_t *object = json_object();
        event_set_number(object, "db", stats->dbs[i].db);
        set_count(object, &stats->dbs[i].count);
        (void)json_array_append_new(array, object);
    }
    if (stats->other_dbs.keys > 0) {
        json_t *object = json_object();
        (void)json_object_set_new(object, "db", json_null());
        set_count(object, &stats->other_dbs);
        (void)json_array_append_new(array, object);
    }
    return array;
}

static json_t *biggest_of(struct rdb_run *run, const struct rdb_biggest *list)
{
    json_t *array = json_array();
    for (unsigned i = 0; i < list->count; i++) {
        const struct rdb_big_key *key = &list->keys[i];
        json_t *object = json_object();
        run->text.size = 0;
        run->text.data[0] = '\0';
        add_name(&run->text, key);
        event_set_number(object, "db", key->db);
        event_set_text(object, "key", run->text.data);
        event_set_number(object, "key_size", key->name_size);
        event_set_text(object, "type", key->type);
        event_set_number(object, "bytes", key->bytes);
        event_set_number(object, "elements", key->elements);
        (void)json_array_append_new(array, object);
    }
    return array;
}

static json_t *lives_of(const struct rdb_stats *stats)
{
    json_t *object = json_object();
    for (unsigned i = 0; i < RDB_LIFE_COUNT; i++) {
        event_set_number(object, lives[i].name, stats->lives[i]);
    }
    return object;
}

void rdb_report_event(struct rdb_run *run)
{
    struct rdb_stats *stats = &run->stats;
    fflush(stdout);
    json_t *event = event_new("result");
    event_set_text(event, "command", "rdb");
    event_set_text(
        event, "code", syn_code_name(run->status == SYN_EXIT_OK ? SYN_CODE_OK : run->err.code));
    event_set_signed(event, "exit_status", run->status);
    event_set_text(event, "checksum", syn_rdb_verdict_name(run->result.verdict));
    event_set_number(event, "bytes_read", run->result.bytes);
    event_set_number(event, "elapsed_ms", run->elapsed_ns / 1000000);
    event_set_number(event, "bytes_per_s", (uint64_t)rate_of(run));
    (void)json_object_set_new(event, "has_trailing", json_boolean(run->result.has_trailing));
    event_set_number(event, "functions", stats->functions);
    event_set_number(event, "function_bytes", stats->function_bytes);
    set_count(event, &stats->total);
    (void)json_object_set_new(event, "types", types_of(stats));
    (void)json_object_set_new(event, "databases", dbs_of(stats));
    (void)json_object_set_new(event, "lives", lives_of(stats));
    (void)json_object_set_new(event, "biggest_by_bytes", biggest_of(run, &stats->by_bytes));
    (void)json_object_set_new(event, "biggest_by_elements", biggest_of(run, &stats->by_elements));
    output_event(&run->output, event);
}
