/* The content of one key, as text or as "element" events. Texts are written as they come, whatever
 * their size. */
#include "tools/cli/rdb.h"

#include <stdlib.h>

static void quote(struct syn_rdb_text text)
{
    putchar('"');
    escape_write(stdout, text.bytes, text.size, false);
    putchar('"');
}

/* The shortest text that reads back as the same number, as servers print scores. */
static void show_score(double score)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, score);
        if (strtod(text, NULL) == score) {
            break;
        }
    }
    fputs(text, stdout);
}

static void show_id(struct syn_rdb_stream_id id)
{
    printf("%llu-%llu", (unsigned long long)id.ms, (unsigned long long)id.seq);
}

void rdb_dump_begin(struct rdb_run *run, const struct syn_rdb_key *key)
{
    run->is_piece_open = false;
    if (run->args.is_json) {
        return; /* the "key" event comes behind its elements, with their count */
    }
    char expiry[40];
    printf("db %llu ", (unsigned long long)key->db);
    quote(key->name);
    printf(": %s (%s)", key->type, key->encoding);
    if (key->expire_ms >= 0) {
        printf(", expires %s", rdb_show_time(key->expire_ms, expiry));
    }
    if (key->idle_s >= 0) {
        printf(", idle %lld s", (long long)key->idle_s);
    }
    if (key->freq >= 0) {
        printf(", frequency %d", key->freq);
    }
    putchar('\n');
}

/* Pieces of one text make one line. */
static void text_piece(struct rdb_run *run, const struct syn_rdb_element *element)
{
    if (!run->is_piece_open) {
        fputs("  \"", stdout);
        run->is_piece_open = true;
    }
    escape_write(stdout, element->text.bytes, element->text.size, false);
}

static void text_stream(const struct syn_rdb_element *element)
{
    char when[40];
    switch (element->kind) {
    case SYN_RDB_ELEMENT_STREAM_META:
        printf("  length %llu, last id ", (unsigned long long)element->count);
        show_id(element->id);
        if (element->added != SYN_RDB_UNKNOWN) {
            printf(", added %llu", (unsigned long long)element->added);
        }
        break;
    case SYN_RDB_ELEMENT_GROUP:
        fputs("  group ", stdout);
        quote(element->text);
        fputs(": last delivered ", stdout);
        show_id(element->id);
        if (element->added != SYN_RDB_UNKNOWN) {
            printf(", read %llu", (unsigned long long)element->added);
        }
        printf(", pending %llu", (unsigned long long)element->count);
        break;
    case SYN_RDB_ELEMENT_PENDING:
        fputs("    pending ", stdout);
        show_id(element->id);
        printf(": delivered %s, %llu times",
               rdb_show_time(element->time_ms, when),
               (unsigned long long)element->count);
        break;
    case SYN_RDB_ELEMENT_CONSUMER:
        fputs("    consumer ", stdout);
        quote(element->text);
        printf(": seen %s, pending %llu",
               rdb_show_time(element->time_ms, when),
               (unsigned long long)element->count);
        break;
    default:
        fputs("      ", stdout);
        show_id(element->id);
        break;
    }
    putchar('\n');
}

static void text_element(struct rdb_run *run, const struct syn_rdb_element *element)
{
    char expiry[40];
    switch (element->kind) {
    case SYN_RDB_ELEMENT_STRING:
    case SYN_RDB_ELEMENT_MODULE:
        text_piece(run, element);
        return;
    case SYN_RDB_ELEMENT_STREAM_ENTRY:
        fputs(run->is_piece_open ? "\n  " : "  ", stdout);
        show_id(element->id);
        run->is_piece_open = true; /* its fields follow on the same line, which what comes ends */
        return;
    case SYN_RDB_ELEMENT_STREAM_FIELD:
        putchar(' ');
        quote(element->text);
        putchar(' ');
        quote(element->value);
        return;
    case SYN_RDB_ELEMENT_LIST:
    case SYN_RDB_ELEMENT_SET:
    case SYN_RDB_ELEMENT_HASH:
    case SYN_RDB_ELEMENT_ZSET:
        break;
    default:
        fputs(run->is_piece_open ? "\n" : "", stdout);
        run->is_piece_open = false;
        text_stream(element);
        return;
    }
    fputs("  ", stdout);
    quote(element->text);
    if (element->kind == SYN_RDB_ELEMENT_ZSET) {
        putchar(' ');
        show_score(element->score);
    }
    if (element->kind == SYN_RDB_ELEMENT_HASH) {
        putchar(' ');
        quote(element->value);
        if (element->expire_ms >= 0) {
            printf(" expires %s", rdb_show_time(element->expire_ms, expiry));
        }
    }
    putchar('\n');
}

static void event_id(struct syn_rdb_stream_id id)
{
    fputs(",\"id\":\"", stdout);
    show_id(id);
    putchar('"');
}

static void event_fields(const struct syn_rdb_element *element)
{
    switch (element->kind) {
    case SYN_RDB_ELEMENT_STRING:
        rdb_event_number("position", element->position, SYN_RDB_UNKNOWN);
        rdb_event_number("total", element->total, SYN_RDB_UNKNOWN);
        break;
    case SYN_RDB_ELEMENT_MODULE:
        rdb_event_number("position", element->position, SYN_RDB_UNKNOWN);
        break;
    case SYN_RDB_ELEMENT_HASH:
        rdb_event_text("value", element->value);
        rdb_event_signed("expire_ms", element->expire_ms, -1);
        break;
    case SYN_RDB_ELEMENT_ZSET:
        /* A string: JSON has no infinities. */
        fputs(",\"score\":\"", stdout);
        show_score(element->score);
        putchar('"');
        break;
    case SYN_RDB_ELEMENT_STREAM_FIELD:
        rdb_event_text("value", element->value);
        break;
    case SYN_RDB_ELEMENT_STREAM_ENTRY:
        event_id(element->id);
        rdb_event_number("fields", element->count, SYN_RDB_UNKNOWN);
        break;
    case SYN_RDB_ELEMENT_STREAM_META:
        event_id(element->id);
        rdb_event_number("length", element->count, SYN_RDB_UNKNOWN);
        rdb_event_number("added", element->added, SYN_RDB_UNKNOWN);
        break;
    case SYN_RDB_ELEMENT_GROUP:
        event_id(element->id);
        rdb_event_number("pending", element->count, SYN_RDB_UNKNOWN);
        rdb_event_number("read", element->added, SYN_RDB_UNKNOWN);
        break;
    case SYN_RDB_ELEMENT_PENDING:
        event_id(element->id);
        rdb_event_signed("delivered_ms", element->time_ms, -1);
        rdb_event_number("deliveries", element->count, SYN_RDB_UNKNOWN);
        break;
    case SYN_RDB_ELEMENT_CONSUMER:
        rdb_event_signed("seen_ms", element->time_ms, -1);
        rdb_event_number("pending", element->count, SYN_RDB_UNKNOWN);
        break;
    case SYN_RDB_ELEMENT_CONSUMER_PENDING:
        event_id(element->id);
        break;
    case SYN_RDB_ELEMENT_LIST:
    case SYN_RDB_ELEMENT_SET:
        break;
    }
}

static bool has_text(enum syn_rdb_element_kind kind)
{
    return kind != SYN_RDB_ELEMENT_STREAM_ENTRY && kind != SYN_RDB_ELEMENT_STREAM_META &&
           kind != SYN_RDB_ELEMENT_PENDING && kind != SYN_RDB_ELEMENT_CONSUMER_PENDING;
}

void rdb_dump_element(struct rdb_run *run, const struct syn_rdb_element *element)
{
    if (!run->args.is_json) {
        text_element(run, element);
        return;
    }
    rdb_event_begin("element");
    printf(",\"kind\":\"%s\"", syn_rdb_element_name(element->kind));
    if (has_text(element->kind)) {
        rdb_event_text("text", element->text);
    }
    event_fields(element);
    rdb_event_end();
}

void rdb_dump_end(struct rdb_run *run, const struct syn_rdb_key *key)
{
    if (run->args.is_json) {
        return;
    }
    /* Of a stream the line of the last entry was closed by what follows it, always the meta. */
    if (run->is_piece_open) {
        fputs("\"\n", stdout);
    }
    printf("  %llu bytes as serialized, %llu elements\n",
           (unsigned long long)key->bytes,
           (unsigned long long)key->elements);
}
