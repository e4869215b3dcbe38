/*
 * Decoding of values into elements: M is hashes, lists, sets and sorted sets of ten elements, as
 * tables, as one listpack or ziplist each, and through the digest; then long ones of one encoding.
 */
#include "bench/micro/micro.h"

#include <string.h>

#include "bench/sum_visitor.h"
#include "rdb/digest.h"

#define VALUES 100000u
#define VALUE_BYTES_MAX 512u

struct value {
    uint8_t type;
    uint32_t offset;
    uint32_t size;
};

struct values {
    uint8_t *bytes;
    size_t size;
    struct value *list;
    size_t count;
    struct rdb_decoder *decoder;
    struct rdb_digest *digest; /* NULL: the elements are only summed */
    bool wants_integers;
};

static void put_byte(struct values *values, unsigned byte)
{
    values->bytes[values->size++] = (uint8_t)byte;
}

static void put_le(struct values *values, uint64_t number, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        put_byte(values, number >> (8 * i) & 255);
    }
}

static void put_length(struct values *values, size_t size)
{
    put_byte(values, 0x40 | (unsigned)(size >> 8));
    put_byte(values, size & 255);
}

/* A text of `size` bytes that begins with the number. */
static void put_text(struct values *values, uint64_t number, size_t size)
{
    memset(values->bytes + values->size, 'x', size);
    memcpy(values->bytes + values->size, &number, size < 8 ? size : 8);
    values->size += size;
}

static struct values *values_new(struct micro_load *load, size_t bytes)
{
    struct syn_err err;
    struct values *values = mem_calloc(MEM_TOOLS, sizeof(*values));
    ASSERT(values != NULL);
    values->bytes = mem_alloc(MEM_TOOLS, bytes);
    values->list = mem_alloc(MEM_TOOLS, VALUES * sizeof(*values->list));
    values->decoder = rdb_decoder_new((size_t)1 << 20, &err);
    ASSERT(values->bytes != NULL);
    ASSERT(values->list != NULL);
    ASSERT(values->decoder != NULL);
    load->state = values;
    return values;
}

static void value_begin(struct values *values, uint8_t type)
{
    values->list[values->count].type = type;
    values->list[values->count].offset = (uint32_t)values->size;
}

static void value_end(struct values *values)
{
    struct value *value = &values->list[values->count++];
    value->size = (uint32_t)values->size - value->offset;
}

static void put_table(struct values *values, uint64_t i)
{
    static const uint8_t types[] = {RDB_TYPE_HASH, RDB_TYPE_LIST, RDB_TYPE_SET, RDB_TYPE_ZSET_2};
    uint8_t type = types[i % 4];
    value_begin(values, type);
    put_byte(values, 10);
    for (uint64_t k = 0; k < 10; k++) {
        put_byte(values, 10);
        put_text(values, k, 10);
        if (type == RDB_TYPE_HASH) {
            put_byte(values, 20);
            put_text(values, k, 20);
        } else if (type == RDB_TYPE_ZSET_2) {
            put_le(values, k, 8);
        }
    }
    value_end(values);
}

static void put_listpack_text(struct values *values, uint64_t number, unsigned size)
{
    put_byte(values, 0x80 | size);
    put_text(values, number, size);
    put_byte(values, size + 1);
}

/* A STR that is a listpack: hash, set or sorted set of `count` elements. */
static void put_listpack(struct values *values, uint8_t type, uint64_t count)
{
    put_length(values, 0);
    size_t start = values->size;
    put_le(values, 0, 6);
    for (uint64_t k = 0; k < count; k++) {
        put_listpack_text(values, k, 10);
        if (type == RDB_TYPE_HASH_LISTPACK) {
            put_listpack_text(values, k, 20);
        } else if (type == RDB_TYPE_ZSET_LISTPACK) {
            put_byte(values, k % 100);
            put_byte(values, 1);
        }
    }
    put_byte(values, 255);
    size_t end = values->size;
    values->size = start;
    put_le(values, end - start, 4);
    put_le(values, type == RDB_TYPE_SET_LISTPACK ? count : 2 * count, 2);
    values->size = start - 2;
    put_length(values, end - start);
    values->size = end;
}

static void put_ziplist_text(struct values *values, size_t *last, uint64_t number, unsigned size)
{
    size_t back = values->size - *last;
    *last = values->size;
    put_byte(values, (unsigned)back);
    put_byte(values, size);
    put_text(values, number, size);
}

static void put_hash_ziplist(struct values *values)
{
    value_begin(values, RDB_TYPE_HASH_ZIPLIST);
    put_length(values, 0);
    size_t start = values->size;
    put_le(values, 0, 8);
    put_le(values, 20, 2);
    size_t last = values->size;
    for (uint64_t k = 0; k < 10; k++) {
        put_ziplist_text(values, &last, k, 10);
        put_ziplist_text(values, &last, k, 20);
    }
    put_byte(values, 255);
    size_t end = values->size;
    values->size = start;
    put_le(values, end - start, 4);
    put_le(values, last - start, 4);
    values->size = start - 2;
    put_length(values, end - start);
    values->size = end;
    value_end(values);
}

static int values_end(struct micro_load *load, struct values *values, uint64_t items)
{
    load->bytes = values->size;
    load->items = items;
    return 1;
}

enum form { FORM_TABLE, FORM_LISTPACK, FORM_ZIPLIST };

static int setup_small(struct micro_load *load, uint64_t form)
{
    static const uint8_t types[] = {
        RDB_TYPE_HASH_LISTPACK, RDB_TYPE_SET_LISTPACK, RDB_TYPE_ZSET_LISTPACK};
    struct values *values = values_new(load, (size_t)VALUES * VALUE_BYTES_MAX);
    for (uint64_t i = 0; i < VALUES; i++) {
        if (form == FORM_TABLE) {
            put_table(values, i);
        } else if (form == FORM_ZIPLIST) {
            put_hash_ziplist(values);
        } else {
            uint8_t type = types[i % 3];
            value_begin(values, type);
            put_listpack(values, type, 10);
            value_end(values);
        }
    }
    return values_end(load, values, 10 * (uint64_t)VALUES);
}

static int setup_digest(struct micro_load *load, uint64_t form)
{
    struct syn_err err;
    setup_small(load, form);
    struct values *values = load->state;
    values->digest = rdb_digest_new(0, &err);
    ASSERT(values->digest != NULL);
    return 1;
}

/* One long list of listpack nodes of 8 KiB. */
static int setup_list(struct micro_load *load, uint64_t nodes)
{
    struct values *values = values_new(load, nodes * 16384);
    value_begin(values, RDB_TYPE_LIST_QUICKLIST_2);
    put_byte(values, 0x80);
    for (unsigned i = 4; i > 0; i--) {
        put_byte(values, nodes >> (8 * (i - 1)) & 255);
    }
    for (uint64_t i = 0; i < nodes; i++) {
        put_byte(values, 2);
        put_listpack(values, RDB_TYPE_SET_LISTPACK, 680);
    }
    value_end(values);
    return values_end(load, values, 680 * nodes);
}

static int setup_intset(struct micro_load *load, uint64_t count)
{
    struct values *values = values_new(load, count * 4 + 64);
    value_begin(values, RDB_TYPE_SET_INTSET);
    put_byte(values, 0x80);
    uint64_t size = 8 + 4 * count;
    for (unsigned i = 4; i > 0; i--) {
        put_byte(values, size >> (8 * (i - 1)) & 255);
    }
    put_le(values, 4, 4);
    put_le(values, count, 4);
    for (uint64_t i = 0; i < count; i++) {
        put_le(values, 100000 + 7 * i, 4);
    }
    value_end(values);
    return values_end(load, values, count);
}

static int setup_integers(struct micro_load *load, uint64_t count)
{
    setup_intset(load, count);
    struct values *values = load->state;
    values->wants_integers = true;
    return 1;
}

static enum rdb_flow on_integer(void *arg, const struct rdb_element *element)
{
    uint64_t *sum = arg;
    *sum += (uint64_t)element->integer;
    return RDB_GO;
}

static const struct rdb_visitor integer_visitor = {.wants_integers = true, .set = on_integer};

static uint64_t run_decode(struct micro_load *load)
{
    struct values *values = load->state;
    bool has_digest = values->digest != NULL;
    const struct rdb_visitor *with = has_digest               ? rdb_digest_visitor()
                                     : values->wants_integers ? &integer_visitor
                                                              : &sum_visitor;
    uint64_t sum = 0;
    void *arg = has_digest ? (void *)values->digest : (void *)&sum;
    for (size_t i = 0; i < values->count; i++) {
        const struct value *value = &values->list[i];
        struct rdb_value_place place = {.type = value->type, .offset = value->offset};
        struct syn_err err;
        size_t used;
        if (has_digest) {
            rdb_digest_begin(values->digest);
        }
        bool is_known = rdb_decoder_begin(values->decoder, &place, with, arg, &err);
        ASSERT(is_known);
        enum rdb_decode status = rdb_decoder_run(
            values->decoder, values->bytes + value->offset, value->size, &used, &err);
        ASSERT(status == RDB_DECODE_DONE);
        if (has_digest) {
            sum += rdb_digest_end(values->digest).low;
        }
    }
    return sum;
}

static void teardown(struct micro_load *load)
{
    struct values *values = load->state;
    rdb_decoder_free(values->decoder);
    rdb_digest_free(values->digest);
    mem_free(MEM_TOOLS, values->bytes);
    mem_free(MEM_TOOLS, values->list);
    mem_free(MEM_TOOLS, values);
}

const struct micro_case micro_decode[] = {
    {"rdb/decode/M_table", setup_small, FORM_TABLE, run_decode, teardown},
    {"rdb/decode/M_listpack", setup_small, FORM_LISTPACK, run_decode, teardown},
    {"rdb/decode/M_ziplist", setup_small, FORM_ZIPLIST, run_decode, teardown},
    {"rdb/decode/list_nodes", setup_list, 2000, run_decode, teardown},
    {"rdb/decode/intset", setup_intset, 200000, run_decode, teardown},
    {"rdb/decode/intset_integers", setup_integers, 200000, run_decode, teardown},
    {"rdb/digest/M_table", setup_digest, FORM_TABLE, run_decode, teardown},
    {"rdb/digest/M_listpack", setup_digest, FORM_LISTPACK, run_decode, teardown},
    {.name = NULL},
};
