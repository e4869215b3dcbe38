#include "bench/rdb/huge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "core/engine/syn.h"
#include "rdb/rewrite.h"

#define ELEMENTS UINT64_C(100000000)
#define TEXT_BYTES ((uint64_t)4 << 30)
#define NODE_ELEMENTS 100u
#define WINDOW_BYTES ((size_t)256 << 10)
#define UNIT_BYTES_MAX ((size_t)64 << 10)
#define MEMORY_BYTES_MAX ((uint64_t)64 << 20)
#define ITEM_BYTES_MAX ((size_t)8 << 20)

/* ---- values: a head, then many units ---- */

struct unit {
    uint8_t bytes[UNIT_BYTES_MAX];
    size_t size;
};

struct value {
    const char *name;
    uint8_t type;
    bool is_text;
    /* Elements, or bytes of text, of one unit. */
    uint64_t (*make)(struct unit *unit, uint64_t i);
    const char *tail;
    size_t tail_size;
};

static void put(struct unit *unit, const void *bytes, size_t size)
{
    ASSERT(size <= UNIT_BYTES_MAX - unit->size);
    memcpy(unit->bytes + unit->size, bytes, size);
    unit->size += size;
}

static void put_byte(struct unit *unit, unsigned byte)
{
    uint8_t value = (uint8_t)byte;
    put(unit, &value, 1);
}

static void put_be(struct unit *unit, uint64_t value, unsigned size)
{
    for (unsigned i = size; i > 0; i--) {
        put_byte(unit, value >> (8 * (i - 1)) & 255);
    }
}

/* LEN, always in its longest form. */
static void put_len(struct unit *unit, uint64_t value)
{
    put_byte(unit, 0x81);
    put_be(unit, value, 8);
}

static void put_member(struct unit *unit, uint64_t i)
{
    char text[11] = "\x09m00000000";
    for (unsigned at = 9; at > 1; at--, i /= 10) {
        text[at] = (char)('0' + i % 10);
    }
    put(unit, text, 10);
}

static uint64_t make_member(struct unit *unit, uint64_t i)
{
    put_member(unit, i);
    return 1;
}

static uint64_t make_field(struct unit *unit, uint64_t i)
{
    put_member(unit, i);
    put(unit, "\xc1\x10\x27", 3); /* 10000 */
    return 1;
}

static uint64_t make_scored(struct unit *unit, uint64_t i)
{
    double score = (double)i / 8;
    put_member(unit, i);
    put(unit, &score, sizeof(score));
    return 1;
}

/* A STR that is a listpack of the unit's bytes from `start` on, which move behind its head. */
static void wrap_listpack(struct unit *unit, size_t start, unsigned count)
{
    size_t size = unit->size - start + 7;
    struct unit head = {.size = 0};
    put_len(&head, size);
    for (unsigned i = 0; i < 4; i++) {
        put_byte(&head, size >> (8 * i) & 255);
    }
    put_byte(&head, count & 255);
    put_byte(&head, count >> 8);
    put_byte(unit, 255);
    ASSERT(unit->size + head.size <= UNIT_BYTES_MAX);
    memmove(unit->bytes + start + head.size, unit->bytes + start, unit->size - start);
    memcpy(unit->bytes + start, head.bytes, head.size);
    unit->size += head.size;
}

static uint64_t make_list_node(struct unit *unit, uint64_t i)
{
    (void)i;
    put_byte(unit, 2);
    size_t start = unit->size;
    for (unsigned k = 0; k < NODE_ELEMENTS; k++) {
        put(unit,
            "\x89"
            "an entry\x21\x0a",
            11);
    }
    wrap_listpack(unit, start, NODE_ELEMENTS);
    return NODE_ELEMENTS;
}

/* Entries of one field, named in the node, with ids that follow each other. */
static uint64_t make_stream_node(struct unit *unit, uint64_t i)
{
    put_byte(unit, 16);
    put_be(unit, i + 1, 8);
    put_be(unit, 0, 8);
    size_t start = unit->size;
    put(unit,
        "\x64\x01\x00\x01\x01\x01\x81"
        "f\x02\x00\x01",
        11);
    for (unsigned k = 0; k < NODE_ELEMENTS; k++) {
        put(unit, "\x02\x01\x00\x01", 4);
        put_byte(unit, k);
        put(unit,
            "\x01\x85"
            "value\x06\x04\x01",
            10);
    }
    wrap_listpack(unit, start, 5 + 5 * NODE_ELEMENTS);
    return NODE_ELEMENTS;
}

static uint64_t make_text(struct unit *unit, uint64_t i)
{
    (void)i;
    memset(unit->bytes, 't', UNIT_BYTES_MAX);
    unit->size = UNIT_BYTES_MAX;
    return UNIT_BYTES_MAX;
}

static const struct value values[] = {
    {.name = "set", .type = RDB_TYPE_SET, .make = make_member},
    {.name = "hash", .type = RDB_TYPE_HASH, .make = make_field},
    {.name = "sorted set", .type = RDB_TYPE_ZSET_2, .make = make_scored},
    {.name = "list, in nodes", .type = RDB_TYPE_LIST_QUICKLIST_2, .make = make_list_node},
    /* Behind the nodes: length, last id, first id, highest deleted id, entries added; no group. */
    {.name = "stream",
     .type = RDB_TYPE_STREAM_LISTPACKS_2,
     .make = make_stream_node,
     .tail = "\x00\x80\xff\xff\xff\xff\x00\x01\x00\x00\x00\x00\x00",
     .tail_size = 13},
    {.name = "string", .type = RDB_TYPE_STRING, .is_text = true, .make = make_text},
};

/* ---- the RDB of one value, as it is read ---- */

struct source {
    const struct value *value;
    uint64_t total;
    uint64_t made; /* elements or bytes of text so far */
    uint64_t units;
    bool has_tail;
    struct unit unit;
    size_t at;
};

static void source_begin(struct source *source, const struct value *value, uint64_t total)
{
    source->value = value;
    source->made = 0;
    source->units = 0;
    source->has_tail = false;
    source->at = 0;
    source->unit.size = 0;
    struct unit first = {.size = 0};
    uint64_t per_unit = value->make(&first, 0);
    source->total = (total + per_unit - 1) / per_unit * per_unit;
    put(&source->unit, "REDIS0010\xfe\x00", 11);
    put_byte(&source->unit, value->type);
    put(&source->unit, "\x01k", 2);
    put_len(&source->unit, value->is_text ? source->total : source->total / per_unit);
}

/* The next unit; false behind the last. */
static bool source_next(struct source *source)
{
    source->at = 0;
    source->unit.size = 0;
    if (source->made < source->total) {
        source->made += source->value->make(&source->unit, source->units++);
        return true;
    }
    if (source->has_tail) {
        return false;
    }
    source->has_tail = true;
    put(&source->unit,
        source->value->tail == NULL ? "" : source->value->tail,
        source->value->tail_size);
    put(&source->unit, "\xff\0\0\0\0\0\0\0\0", 9); /* no checksum */
    return true;
}

static int64_t feed(void *arg, void *to, size_t size, struct syn_err *err)
{
    struct source *source = arg;
    size_t given = 0;
    (void)err;
    while (given < size && (source->at < source->unit.size || source_next(source))) {
        size_t left = source->unit.size - source->at;
        size_t now = left < size - given ? left : size - given;
        memcpy((uint8_t *)to + given, source->unit.bytes + source->at, now);
        source->at += now;
        given += now;
    }
    return (int64_t)given;
}

/* ---- readings ---- */

struct total {
    uint64_t elements;
    uint64_t text_bytes;
    uint64_t commands;
    uint64_t live_max;
};

static void note_live(struct total *total)
{
    uint64_t live = mem_live_bytes(MEM_ENGINE) + mem_live_bytes(MEM_RDB);
    total->live_max = live > total->live_max ? live : total->live_max;
}

static enum syn_rdb_flow
on_element(void *arg, const struct syn_rdb_key *key, const struct syn_rdb_element *element)
{
    struct total *total = arg;
    (void)key;
    total->text_bytes += element->kind == SYN_RDB_ELEMENT_STRING ? element->text.size : 0;
    return SYN_RDB_GO;
}

static enum syn_rdb_flow on_key_end(void *arg, const struct syn_rdb_key *key)
{
    struct total *total = arg;
    total->elements = key->elements;
    note_live(total);
    return SYN_RDB_GO;
}

static bool read_at(struct source *source, enum syn_rdb_depth depth, struct total *total)
{
    static const struct syn_rdb_visitor visitor = {.element = on_element, .key_end = on_key_end};
    struct syn_rdb_options options = {.depth = depth, .item_bytes_max = ITEM_BYTES_MAX};
    struct syn_err err;
    if (!syn_rdb_read_feed(feed, source, &options, &visitor, total, NULL, &err)) {
        fprintf(stderr, "bench_rdb: %s: %s\n", source->value->name, err.msg);
        return false;
    }
    return true;
}

static enum rdb_flow on_command(void *arg, const struct rewrite_command *command)
{
    struct total *total = arg;
    (void)command;
    total->commands++;
    return RDB_GO;
}

static void on_loss(void *arg, const struct rewrite_loss *loss)
{
    (void)arg, (void)loss;
}

/* The value alone, without the reader around it. */
static bool rewrite(struct source *source, struct total *total)
{
    static uint8_t window[WINDOW_BYTES];
    struct rewrite_sink sink = {.arg = total, .command = on_command, .loss = on_loss};
    struct rewrite_target target;
    struct syn_err err = {.code = SYN_CODE_OK};
    rewrite_target_fill(&target, 80000, false);
    struct rewriter *rewriter = rewriter_new(&target, &sink, &err);
    struct rdb_decoder *decoder = rdb_decoder_new(ITEM_BYTES_MAX, &err);
    struct rdb_value_place place = {.type = source->value->type};
    struct slice key = {.bytes = (const uint8_t *)"k", .size = 1};
    bool ok = rewriter != NULL && decoder != NULL && rewriter_begin(rewriter, key, -1, &err) &&
              rdb_decoder_begin(decoder, &place, rewriter_visitor(), rewriter, &err);
    enum rdb_decode status = RDB_DECODE_MORE;
    source->at = 14; /* behind the key */
    for (size_t left = 0; ok && status == RDB_DECODE_MORE;) {
        size_t used;
        left += (size_t)feed(source, window + left, sizeof(window) - left, &err);
        status = rdb_decoder_run(decoder, window, left, &used, &err);
        left -= used;
        memmove(window, window + used, left);
        note_live(total);
    }
    ok = ok && status == RDB_DECODE_DONE && rewriter_end(rewriter, &err);
    if (!ok) {
        fprintf(stderr, "bench_rdb: %s: %s\n", source->value->name, err.msg);
    }
    rdb_decoder_free(decoder);
    rewriter_free(rewriter);
    return ok;
}

static uint64_t resident_max(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_maxrss << 10;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool run_value(const struct value *value, uint64_t scale)
{
    static const char *const ways[] = {"keys", "counts", "elements", "rewriting"};
    static struct source source;
    bool ok = true;
    for (unsigned way = 0; way < 4 && ok; way++) {
        struct total total = {.elements = 0};
        double begin = now_s();
        source_begin(&source, value, (value->is_text ? TEXT_BYTES : ELEMENTS) / scale);
        ok = way < 3 ? read_at(&source, (enum syn_rdb_depth)way, &total) : rewrite(&source, &total);
        uint64_t resident = resident_max();
        printf("%-16s %-10s %12" PRIu64 " %8.2f %10.1f %10.1f\n",
               value->name,
               ways[way],
               source.total,
               now_s() - begin,
               (double)total.live_max / (1 << 20),
               (double)resident / (1 << 20));
        bool is_counted = way == 1 || way == 2;
        uint64_t expected = value->is_text ? 1 : source.total;
        if (ok && is_counted && total.elements != expected) {
            fprintf(stderr, "bench_rdb: %s: %" PRIu64 " elements\n", value->name, total.elements);
            ok = false;
        }
        if (ok && value->is_text && way == 2 && total.text_bytes != source.total) {
            fprintf(stderr, "bench_rdb: %" PRIu64 " bytes of text\n", total.text_bytes);
            ok = false;
        }
        if (total.live_max > MEMORY_BYTES_MAX || resident > MEMORY_BYTES_MAX) {
            fprintf(stderr, "bench_rdb: %s took more than 64 MiB\n", value->name);
            ok = false;
        }
    }
    return ok;
}

int run_huge(uint64_t scale)
{
    bool ok = true;
    printf("%-16s %-10s %12s %8s %10s %10s\n", "", "", "elements", "CPU s", "heap MiB", "RSS MiB");
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]) && ok; i++) {
        ok = run_value(&values[i], scale);
    }
    return ok ? 0 : 1;
}
