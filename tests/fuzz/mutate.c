#include "tests/fuzz/mutate.h"

#include <string.h>

#include "tests/fuzz/repair.h"
#include "tests/rdb/build.h"
#include "tests/support/random.h"

#define BLOB_BYTES_MAX 8192
#define BLOBS_MAX 32
#define PIECES_MAX 256

static bool one_in(struct random *random, uint32_t count)
{
    return random_below(random, count) == 0;
}

/* A piece of the input. */
struct piece {
    size_t pos;
    size_t size;
};

/* Puts `with` where `piece` was; the new size, or the old one when there is no room. */
static size_t replace(uint8_t *bytes,
                      size_t size,
                      size_t size_max,
                      const struct piece *piece,
                      const uint8_t *with,
                      size_t with_size)
{
    size_t kept = size - piece->size;
    if (with_size > size_max || kept > size_max - with_size) {
        return size;
    }
    size_t end = piece->pos + piece->size;
    memmove(bytes + piece->pos + with_size, bytes + end, size - end);
    if (with_size > 0) {
        memcpy(bytes + piece->pos, with, with_size);
    }
    return kept + with_size;
}

/* libFuzzer's own mutation, of the piece alone. */
static size_t mutate_piece(uint8_t *bytes, size_t size, size_t size_max, const struct piece *piece)
{
    static uint8_t scratch[2 * BUILD_BYTES_MAX];
    if (piece->size > BUILD_BYTES_MAX) {
        return LLVMFuzzerMutate(bytes, size, size_max);
    }
    memcpy(scratch, bytes + piece->pos, piece->size);
    size_t made = LLVMFuzzerMutate(scratch, piece->size, piece->size + 64);
    return replace(bytes, size, size_max, piece, scratch, made);
}

/* ---- blobs ---- */

/* The family that these bytes look like, or BLOB_FAMILY_COUNT. Zipmaps have no mark to know them
 * by. */
static enum blob_family family_of(const uint8_t *bytes, size_t size)
{
    uint32_t total;
    memcpy(&total, bytes, sizeof(total));
    if (total != size) {
        return (total == 2 || total == 4 || total == 8) && size >= 10 ? BLOB_INTSET
                                                                      : BLOB_FAMILY_COUNT;
    }
    uint32_t tail;
    memcpy(&tail, bytes + 4, sizeof(tail));
    return size >= 11 && tail >= 10 && tail < size ? BLOB_ZIPLIST : BLOB_LISTPACK;
}

struct blob_place {
    struct piece string; /* the STR with its head */
    enum blob_family family;
};

/* The blob that a STR at `pos` holds, in `content`: its size, or 0. */
static size_t blob_at(const uint8_t *bytes,
                      size_t size,
                      size_t pos,
                      uint8_t content[BLOB_BYTES_MAX],
                      struct blob_place *place)
{
    struct rdb_string string;
    struct syn_err err;
    if (rdb_string_read(bytes + pos, size - pos, &string, &err) != RDB_READY ||
        string.form == RDB_STRING_INTEGER || string.text_size < 8 ||
        string.text_size > BLOB_BYTES_MAX || !rdb_string_decode(&string, content, &err)) {
        return 0;
    }
    place->family = family_of(content, string.text_size);
    place->string = (struct piece){.pos = pos, .size = string.encoded_size};
    return place->family == BLOB_FAMILY_COUNT ? 0 : string.text_size;
}

/* Mutates inside one of the blobs, then makes its sizes right; now and then it is compressed. */
static size_t mutate_blob(uint8_t *bytes, size_t size, size_t size_max, struct random *random)
{
    static uint8_t content[2 * BLOB_BYTES_MAX];
    static struct build string;
    struct blob_place places[BLOBS_MAX];
    uint32_t count = 0;
    for (size_t pos = 0; pos < size && count < BLOBS_MAX;) {
        bool is_blob = blob_at(bytes, size, pos, content, &places[count]) > 0;
        pos += is_blob ? places[count].string.size : 1;
        count += is_blob;
    }
    if (count == 0) {
        return LLVMFuzzerMutate(bytes, size, size_max);
    }
    struct blob_place *place = &places[random_below(random, count)];
    size_t blob_size = blob_at(bytes, size, place->string.pos, content, place);
    blob_size = LLVMFuzzerMutate(content, blob_size, blob_size + 64);
    if (!one_in(random, 8)) {
        repair_blob(place->family, content, blob_size);
    }
    build_reset(&string);
    if (one_in(random, 8) && blob_size > 0) {
        build_lzf(&string, content, blob_size);
    } else {
        build_str(&string, content, blob_size);
    }
    return replace(bytes, size, size_max, &place->string, string.bytes, string.size);
}

size_t mutate_value(uint8_t *bytes, size_t size, size_t size_max, unsigned seed)
{
    struct random random = {.state = seed};
    return one_in(&random, 4) ? LLVMFuzzerMutate(bytes, size, size_max)
                              : mutate_blob(bytes, size, size_max, &random);
}

/* ---- payloads ---- */

size_t mutate_payload(uint8_t *bytes, size_t size, size_t size_max, unsigned seed)
{
    struct random random = {.state = seed};
    if (size < RDB_FOOTER_SIZE + 2 || one_in(&random, 8)) {
        return LLVMFuzzerMutate(bytes, size, size_max);
    }
    if (one_in(&random, 3)) {
        size = LLVMFuzzerMutate(bytes, size, size_max);
    } else {
        uint8_t footer[RDB_FOOTER_SIZE];
        size_t body = size - RDB_FOOTER_SIZE;
        memcpy(footer, bytes + body, RDB_FOOTER_SIZE);
        body = 1 + mutate_value(bytes + 1, body - 1, size_max - RDB_FOOTER_SIZE - 1, seed + 1);
        memcpy(bytes + body, footer, RDB_FOOTER_SIZE);
        size = body + RDB_FOOTER_SIZE;
    }
    if (size >= RDB_FOOTER_SIZE) {
        repair_footer(bytes, size);
    }
    return size;
}

/* ---- snapshots ---- */

struct pieces {
    struct piece items[PIECES_MAX];  /* whole: opcode, key, value */
    struct piece values[PIECES_MAX]; /* of keys only              */
    uint32_t item_count;
    uint32_t value_count;
};

/* Up to the first that is broken. The header and the end are no items. */
static void pieces_find(struct pieces *pieces, const uint8_t *bytes, size_t size)
{
    struct syn_err err;
    struct rdb_parser *parser = rdb_parser_new(size + 64, &err);
    ASSERT(parser != NULL);
    struct rdb_item item = {.kind = RDB_ITEM_HEADER};
    size_t pos = 0;
    pieces->item_count = pieces->value_count = 0;
    while (item.kind != RDB_ITEM_END && pieces->item_count < PIECES_MAX) {
        size_t begin = pos;
        size_t used;
        size_t wanted;
        if (rdb_parser_next(parser, bytes + pos, size - pos, &used, &wanted, &item, &err) !=
            RDB_READY) {
            break;
        }
        pos += used;
        if (item.kind == RDB_ITEM_KEY) {
            struct piece value = {.pos = pos};
            if (rdb_value_walk(parser, bytes + pos, size - pos, &used, &err) != RDB_READY) {
                break;
            }
            pos += value.size = used;
            pieces->values[pieces->value_count++] = value;
        }
        if (item.kind != RDB_ITEM_HEADER && item.kind != RDB_ITEM_END) {
            pieces->items[pieces->item_count++] = (struct piece){.pos = begin, .size = pos - begin};
        }
    }
    rdb_parser_free(parser);
}

/* One value, as mutate_value has it. */
static size_t mutate_one_value(
    uint8_t *bytes, size_t size, size_t size_max, const struct piece *value, unsigned seed)
{
    static uint8_t scratch[2 * BUILD_BYTES_MAX];
    if (value->size > BUILD_BYTES_MAX) {
        return mutate_piece(bytes, size, size_max, value);
    }
    memcpy(scratch, bytes + value->pos, value->size);
    size_t made = mutate_value(scratch, value->size, value->size + 256, seed);
    return replace(bytes, size, size_max, value, scratch, made);
}

/* Repeats an item in front of another, or leaves it out. */
static size_t move_item(uint8_t *bytes,
                        size_t size,
                        size_t size_max,
                        const struct pieces *pieces,
                        struct random *random)
{
    static uint8_t copy[BUILD_BYTES_MAX];
    const struct piece *item = &pieces->items[random_below(random, pieces->item_count)];
    const struct piece *other = &pieces->items[random_below(random, pieces->item_count)];
    if (one_in(random, 3) || item->size > sizeof(copy)) {
        return replace(bytes, size, size_max, item, NULL, 0);
    }
    memcpy(copy, bytes + item->pos, item->size);
    struct piece gap = {.pos = other->pos, .size = 0};
    return replace(bytes, size, size_max, &gap, copy, item->size);
}

size_t mutate_rdb(uint8_t *bytes, size_t size, size_t size_max, unsigned seed)
{
    static struct pieces pieces;
    struct random random = {.state = seed};
    if (one_in(&random, 8)) {
        return LLVMFuzzerMutate(bytes, size, size_max);
    }
    pieces_find(&pieces, bytes, size);
    uint32_t choice = random_below(&random, 8);
    if (pieces.item_count == 0) {
        size = LLVMFuzzerMutate(bytes, size, size_max);
    } else if (choice < 4 && pieces.value_count > 0) {
        const struct piece *value = &pieces.values[random_below(&random, pieces.value_count)];
        size = mutate_one_value(bytes, size, size_max, value, seed + 1);
    } else if (choice < 6) {
        const struct piece *item = &pieces.items[random_below(&random, pieces.item_count)];
        size = mutate_piece(bytes, size, size_max, item);
    } else {
        size = move_item(bytes, size, size_max, &pieces, &random);
    }
    return repair_rdb(bytes, size, size_max);
}
