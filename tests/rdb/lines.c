#include "tests/rdb/lines.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES_MAX 48

struct collector {
    const struct lines_options *options;
    struct lines *lines;
    char *text; /* lines with their NUL, in the order of their visits */
    size_t size;
    size_t capacity;
    size_t sorted_from; /* streams: where the lines that have no order begin */
    uint8_t *string;    /* a string value's pieces                           */
    size_t string_size;
    size_t string_capacity;
    uint64_t string_total;
    char group[LINES_TEXT_MAX + 1];
    char consumer[LINES_TEXT_MAX + 1];
};

size_t lines_text(char *out, const uint8_t *bytes, size_t size)
{
    if (size > TEXT_BYTES_MAX) {
        return (size_t)snprintf(
            out, LINES_TEXT_MAX, "#%zu:%016" PRIx64, size, crc64_update(0, bytes, size));
    }
    size_t pos = 0;
    out[pos++] = '\'';
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] > 32 && bytes[i] < 127 && bytes[i] != '%') {
            out[pos++] = (char)bytes[i];
        } else {
            pos += (size_t)snprintf(out + pos, LINES_TEXT_MAX - pos, "%%%02x", bytes[i]);
        }
    }
    return pos;
}

static void append(struct collector *collector, const char *text, size_t size)
{
    if (collector->size + size > collector->capacity) {
        collector->capacity = 2 * (collector->size + size) + 64;
        collector->text = mem_realloc(MEM_TOOLS, collector->text, collector->capacity);
        ASSERT(collector->text != NULL);
    }
    if (size > 0) {
        memcpy(collector->text + collector->size, text, size);
    }
    collector->size += size;
}

static void append_text(struct collector *collector, const char *text)
{
    append(collector, text, strlen(text));
}

static void append_element(struct collector *collector, const struct rdb_element *element)
{
    char out[LINES_TEXT_MAX];
    char digits[NUM_DIGITS_MAX];
    struct rdb_element spelled = *element;
    if (element->is_integer && collector->options->wants_integers) {
        ASSERT(element->bytes == NULL);
        spelled.size = num_write_i64(digits, element->integer);
        spelled.bytes = (const uint8_t *)digits;
    }
    if (element->is_integer) {
        int64_t integer;
        bool is_number = num_read_i64((const char *)spelled.bytes, spelled.size, &integer);
        ASSERT(is_number);
        ASSERT(integer == element->integer);
    }
    append(collector, out, lines_text(out, spelled.bytes, spelled.size));
}

static void append_number(struct collector *collector, int64_t number)
{
    char digits[NUM_DIGITS_MAX];
    append(collector, " ", 1);
    append(collector, digits, num_write_i64(digits, number));
}

static void append_time(struct collector *collector, int64_t ms, bool is_known)
{
    if (collector->options->is_approx || !is_known) {
        append_text(collector, " ~");
    } else {
        append_number(collector, ms);
    }
}

static void append_id(struct collector *collector, struct rdb_stream_id id)
{
    char out[64];
    append(
        collector, out, (size_t)snprintf(out, sizeof(out), " %" PRIu64 "-%" PRIu64, id.ms, id.seq));
}

static enum rdb_flow end_line(struct collector *collector)
{
    append(collector, "", 1);
    struct lines *lines = collector->lines;
    const struct lines_options *options = collector->options;
    lines->count++;
    lines->visits++;
    if (options->stop_at > 0 && lines->visits == options->stop_at) {
        return RDB_STOP;
    }
    bool pauses = options->pause_every > 0 && lines->visits % options->pause_every == 0;
    return pauses ? RDB_PAUSE : RDB_GO;
}

static enum rdb_flow on_begin(void *arg, const struct rdb_value_begin *value)
{
    struct collector *collector = arg;
    collector->lines->begin = *value;
    collector->lines->begins++;
    return collector->options->pause_every > 0 ? RDB_PAUSE : RDB_GO;
}

static void string_piece(struct collector *collector, struct slice piece)
{
    size_t size = collector->string_size + piece.size;
    if (size >= collector->string_capacity) {
        collector->string_capacity = 2 * size + 1;
        collector->string = mem_realloc(MEM_TOOLS, collector->string, collector->string_capacity);
        ASSERT(collector->string != NULL);
    }
    if (piece.size > 0) {
        memcpy(collector->string + collector->string_size, piece.bytes, piece.size);
    }
    collector->string_size = size;
}

static enum rdb_flow on_string(void *arg, struct slice piece, uint64_t offset, uint64_t total)
{
    struct collector *collector = arg;
    ASSERT(offset == collector->string_size);
    ASSERT(piece.size > 0 || total == 0);
    ASSERT(total == collector->lines->begin.bytes);
    string_piece(collector, piece);
    ASSERT(collector->string_size <= total);
    if (collector->string_size < total) {
        return collector->options->pause_every > 0 ? RDB_PAUSE : RDB_GO;
    }
    struct rdb_element element = {.bytes = collector->string, .size = collector->string_size};
    append_text(collector, "s ");
    append_element(collector, &element);
    return end_line(collector);
}

static enum rdb_flow on_module(void *arg, const struct rdb_module *module, struct slice piece)
{
    struct collector *collector = arg;
    if (collector->string_size == 0) {
        append_text(collector, "module ");
        append_text(collector, module->name);
        append_number(collector, module->version);
        append(collector, "", 1);
        collector->lines->count++;
    }
    string_piece(collector, piece);
    return collector->options->pause_every > 0 ? RDB_PAUSE : RDB_GO;
}

static enum rdb_flow on_list(void *arg, const struct rdb_element *element)
{
    append_text(arg, "l ");
    append_element(arg, element);
    return end_line(arg);
}

static enum rdb_flow on_set(void *arg, const struct rdb_element *member)
{
    append_text(arg, "m ");
    append_element(arg, member);
    return end_line(arg);
}

static enum rdb_flow on_hash(void *arg,
                             const struct rdb_element *field,
                             const struct rdb_element *value,
                             int64_t expire_ms)
{
    append_text(arg, "f ");
    append_element(arg, field);
    append_text(arg, " ");
    append_element(arg, value);
    append_number(arg, expire_ms);
    return end_line(arg);
}

static enum rdb_flow on_zset(void *arg, const struct rdb_element *member, double score)
{
    char out[32];
    uint64_t bits;
    memcpy(&bits, &score, sizeof(bits));
    append_text(arg, "z ");
    append_element(arg, member);
    append(arg, out, (size_t)snprintf(out, sizeof(out), " %016" PRIx64, bits));
    return end_line(arg);
}

static enum rdb_flow on_entry(void *arg, const struct rdb_stream_entry *entry)
{
    struct rdb_element field;
    struct rdb_element value;
    uint64_t count = 0;
    append_text(arg, "e");
    append_id(arg, entry->id);
    while (rdb_stream_field_next(entry->fields, &field, &value)) {
        append_text(arg, " ");
        append_element(arg, &field);
        append_text(arg, " ");
        append_element(arg, &value);
        count++;
    }
    ASSERT(count == entry->field_count);
    return end_line(arg);
}

static enum rdb_flow on_meta(void *arg, const struct rdb_stream_meta *meta)
{
    struct collector *collector = arg;
    append_text(arg, "M");
    append_number(arg, (int64_t)meta->length);
    append_id(arg, meta->last_id);
    if (meta->has_counters) {
        append_id(arg, meta->first_id);
        append_id(arg, meta->max_deleted_id);
        append_number(arg, (int64_t)meta->entries_added);
    } else {
        append_text(arg, " - - -");
    }
    enum rdb_flow flow = end_line(arg);
    collector->sorted_from = collector->lines->count;
    return flow;
}

static void name_keep(char *to, struct collector *collector, const struct rdb_element *name)
{
    size_t start = collector->size;
    append_element(collector, name);
    memcpy(to, collector->text + start, collector->size - start);
    to[collector->size - start] = '\0';
    collector->size = start;
}

static enum rdb_flow on_group(void *arg, const struct rdb_stream_group *group)
{
    struct collector *collector = arg;
    name_keep(collector->group, collector, &group->name);
    append_text(arg, "g ");
    append_text(arg, collector->group);
    append_id(arg, group->last_id);
    if (group->entries_read == -1) {
        append_text(arg, " -");
    } else {
        append_number(arg, group->entries_read);
    }
    return end_line(arg);
}

static enum rdb_flow on_pending(void *arg, const struct rdb_stream_pending *pending)
{
    struct collector *collector = arg;
    append_text(arg, "p ");
    append_text(arg, collector->group);
    append_id(arg, pending->id);
    append_time(arg, pending->delivery_ms, true);
    append_number(arg, (int64_t)pending->delivery_count);
    return end_line(arg);
}

static enum rdb_flow on_consumer(void *arg, const struct rdb_stream_consumer *consumer)
{
    struct collector *collector = arg;
    name_keep(collector->consumer, collector, &consumer->name);
    append_text(arg, "c ");
    append_text(arg, collector->group);
    append_text(arg, " ");
    append_text(arg, collector->consumer);
    append_time(arg, consumer->seen_ms, true);
    append_time(arg, consumer->active_ms, consumer->has_active);
    return end_line(arg);
}

static enum rdb_flow on_consumer_pending(void *arg, const struct rdb_stream_id *id)
{
    struct collector *collector = arg;
    append_text(arg, "o ");
    append_text(arg, collector->group);
    append_text(arg, " ");
    append_text(arg, collector->consumer);
    append_id(arg, *id);
    return end_line(arg);
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts what has no order of its own, and puts line ends where NULs were. */
static void finish(struct collector *collector)
{
    struct lines *lines = collector->lines;
    char **line = mem_alloc(MEM_TOOLS, (lines->count + 1) * sizeof(*line));
    ASSERT(line != NULL);
    char *at = collector->text;
    for (uint64_t i = 0; i < lines->count; i++) {
        line[i] = at;
        at += strlen(at) + 1;
    }
    ASSERT(at <= collector->text + collector->size); /* after an error half a line may follow */
    size_t from = 0;
    if (lines->begin.kind == RDB_KIND_LIST || lines->begin.kind == RDB_KIND_STRING) {
        from = lines->count;
    } else if (lines->begin.kind == RDB_KIND_STREAM) {
        from = collector->sorted_from > 0 ? collector->sorted_from : lines->count;
    }
    qsort(line + from, lines->count - from, sizeof(*line), compare);
    lines->size = (size_t)(at - collector->text);
    lines->text = mem_alloc(MEM_TOOLS, lines->size + 1);
    ASSERT(lines->text != NULL);
    size_t pos = 0;
    for (uint64_t i = 0; i < lines->count; i++) {
        size_t size = strlen(line[i]);
        memcpy(lines->text + pos, line[i], size);
        lines->text[pos + size] = '\n';
        pos += size + 1;
    }
    ASSERT(pos == lines->size);
    lines->text[pos] = '\0';
    mem_free(MEM_TOOLS, line);
    mem_free(MEM_TOOLS, collector->text);
}

static const struct rdb_visitor visitor = {
    .begin = on_begin,
    .string = on_string,
    .list = on_list,
    .set = on_set,
    .hash = on_hash,
    .zset = on_zset,
    .stream_entry = on_entry,
    .stream_meta = on_meta,
    .stream_group = on_group,
    .stream_pending = on_pending,
    .stream_consumer = on_consumer,
    .stream_consumer_pending = on_consumer_pending,
    .module = on_module,
};

/* One run over the window, which may be a block of its own. */
static enum rdb_decode run(struct rdb_decoder *decoder,
                           const uint8_t *window,
                           size_t size,
                           bool exact,
                           struct lines *lines)
{
    size_t used = 0;
    enum rdb_decode status;
    if (exact) {
        uint8_t *copy = size > 0 ? mem_alloc(MEM_TOOLS, size) : NULL;
        if (size > 0) {
            ASSERT(copy != NULL);
            memcpy(copy, window, size);
        }
        status = rdb_decoder_run(decoder, copy, size, &used, &lines->err);
        mem_free(MEM_TOOLS, copy);
    } else {
        status = rdb_decoder_run(decoder, window, size, &used, &lines->err);
    }
    ASSERT(used <= size);
    lines->used += used;
    if (status == RDB_DECODE_MORE && size - used > lines->left_max) {
        lines->left_max = size - used;
    }
    return status;
}

static void feed(struct rdb_decoder *decoder,
                 const uint8_t *bytes,
                 size_t size,
                 const struct lines_options *options,
                 struct lines *lines)
{
    size_t available = options->first > 0 && options->first < size ? options->first : size;
    for (;;) {
        lines->status =
            run(decoder, bytes + lines->used, available - lines->used, options->exact, lines);
        if (lines->status == RDB_DECODE_PAUSED) {
            continue;
        }
        if (lines->status != RDB_DECODE_MORE || available == size) {
            return;
        }
        available += options->step > 0 ? options->step : size;
        available = available < size ? available : size;
    }
}

void lines_decode(const uint8_t *bytes,
                  size_t size,
                  const struct lines_options *options,
                  struct lines *lines)
{
    *lines = (struct lines){.status = RDB_DECODE_ERROR};
    struct collector collector = {.options = options, .lines = lines};
    collector.text = mem_alloc(MEM_TOOLS, 64);
    collector.capacity = 64;
    ASSERT(collector.text != NULL);
    struct rdb_visitor asking = visitor;
    asking.wants_integers = options->wants_integers;
    struct rdb_value_place place = {
        .type = options->type,
        .is_valkey = options->is_valkey,
        .key_hash = options->key_hash,
    };
    size_t limit = options->item_bytes_max > 0 ? options->item_bytes_max : (size_t)1 << 20;
    struct rdb_decoder *decoder = rdb_decoder_new(limit, &lines->err);
    if (decoder != NULL && rdb_decoder_begin(decoder, &place, &asking, &collector, &lines->err)) {
        feed(decoder, bytes, size, options, lines);
    }
    rdb_decoder_free(decoder);
    if (lines->begin.kind == RDB_KIND_MODULE && lines->begins > 0) {
        char out[LINES_TEXT_MAX];
        append(&collector, out, lines_text(out, collector.string, collector.string_size));
        append(&collector, "", 1);
        lines->count++;
    }
    finish(&collector);
    mem_free(MEM_TOOLS, collector.string);
}

void lines_free(struct lines *lines)
{
    mem_free(MEM_TOOLS, lines->text);
    lines->text = NULL;
}
