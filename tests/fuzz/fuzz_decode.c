/*
 * Values of one family of encodings, built around the input, decoded whole, cut, and with pauses:
 * whatever the bytes are, the same elements or the same error must come out. FUZZ_FAMILY says which
 * family; the first byte says which type of it, and whether lengths are repaired and the blob
 * compressed, so that mutations get past the first check.
 *
 * The family DUMP takes whole payloads, and repairs their footer.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "rdb/content.h"
#include "rdb/digest.h"
#include "rdb/value_walk.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/repair.h"
#include "tests/rdb/build.h"
#include "tests/rdb/lines.h"

enum family { ZIPLIST, LISTPACK, INTSET, ZIPMAP, STREAM, TABLE, DUMP };

#define INPUT_BYTES_MAX 16384
#define GROW_BYTES_MAX 300

enum selector { SELECT_TYPE = 0x0f, SELECT_LZF = 0x40, SELECT_REPAIR = 0x80 };

static const enum blob_family blob_families[] = {
    [ZIPLIST] = BLOB_ZIPLIST,
    [LISTPACK] = BLOB_LISTPACK,
    [INTSET] = BLOB_INTSET,
    [ZIPMAP] = BLOB_ZIPMAP,
    [STREAM] = BLOB_LISTPACK,
    [TABLE] = BLOB_FAMILY_COUNT,
    [DUMP] = BLOB_FAMILY_COUNT,
};

/* ---- values ---- */

static void compare(const uint8_t *bytes,
                    size_t size,
                    const struct lines_options *how,
                    const struct lines *whole)
{
    struct lines lines;
    lines_decode(bytes, size, how, &lines);
    ASSERT(lines.status == whole->status);
    ASSERT(lines.left_max < 32);
    /* What was visited before the input ended, or broke, is the same; but not the pieces. */
    bool has_pieces = whole->begin.kind == RDB_KIND_MODULE || whole->begin.kind == RDB_KIND_STRING;
    if (whole->status == RDB_DECODE_DONE || !has_pieces) {
        ASSERT(strcmp(lines.text, whole->text) == 0);
    }
    if (whole->status == RDB_DECODE_DONE) {
        ASSERT(lines.used == whole->used);
    } else if (whole->status == RDB_DECODE_ERROR) {
        ASSERT(strcmp(lines.err.msg, whole->err.msg) == 0);
    }
    lines_free(&lines);
}

/* What a decoder takes has the same end for the walk, which looks at less: it goes on to where the
 * value ends when the content is refused, but finds nothing that a decoder does not. */
static void compare_walk(
    uint8_t type, bool is_valkey, const uint8_t *bytes, size_t size, const struct lines *whole)
{
    const char *reason;
    const uint8_t *layout = walk_layout(type, is_valkey, &reason);
    ASSERT(layout != NULL || whole->status == RDB_DECODE_ERROR);
    if (layout == NULL) {
        return;
    }
    struct walk walk;
    size_t used;
    walk_begin(&walk, layout);
    enum rdb_status status = walk_run(&walk, bytes, size, &used, &reason);
    ASSERT(whole->status != RDB_DECODE_DONE || (status == RDB_READY && used == whole->used));
    ASSERT(whole->status != RDB_DECODE_MORE || status == RDB_MORE);
}

static void try_value(uint8_t type, bool is_valkey, const uint8_t *bytes, size_t size)
{
    struct lines whole;
    struct lines_options how = {.type = type, .is_valkey = is_valkey, .exact = true};
    lines_decode(bytes, size, &how, &whole);
    compare_walk(type, is_valkey, bytes, size, &whole);
    how.pause_every = 1;
    compare(bytes, size, &how, &whole);
    how.pause_every = 0;
    how.first = size / 2;
    how.wants_integers = true;
    compare(bytes, size, &how, &whole);
    how.first = how.step = 1 + (size > 0 ? bytes[size - 1] % 61 : 0);
    how.pause_every = 2;
    compare(bytes, size, &how, &whole);
    if (size <= GROW_BYTES_MAX) {
        how.first = how.step = 1;
        how.exact = false;
        compare(bytes, size, &how, &whole);
    }
    lines_free(&whole);
}

static const uint8_t family_types[][6] = {
    [ZIPLIST] = {RDB_TYPE_LIST_ZIPLIST,
                 RDB_TYPE_ZSET_ZIPLIST,
                 RDB_TYPE_HASH_ZIPLIST,
                 RDB_TYPE_LIST_QUICKLIST},
    [LISTPACK] = {RDB_TYPE_SET_LISTPACK,
                  RDB_TYPE_ZSET_LISTPACK,
                  RDB_TYPE_HASH_LISTPACK,
                  RDB_TYPE_LIST_QUICKLIST_2,
                  RDB_TYPE_HASH_LISTPACK_EX,
                  RDB_TYPE_HASH_LISTPACK_EX_PRE_GA},
    [INTSET] = {RDB_TYPE_SET_INTSET},
    [ZIPMAP] = {RDB_TYPE_HASH_ZIPMAP},
    [STREAM] = {RDB_TYPE_STREAM_LISTPACKS},
    [TABLE] = {0},
    [DUMP] = {0},
};

/* What the type has before and behind its blob. */
static void wrap(struct build *value, uint8_t type, const uint8_t *blob, size_t size, bool is_lzf)
{
    build_reset(value);
    if (type == RDB_TYPE_HASH_LISTPACK_EX) {
        build_u64(value, 0);
    } else if (type == RDB_TYPE_LIST_QUICKLIST) {
        build_len(value, 1);
    } else if (type == RDB_TYPE_LIST_QUICKLIST_2) {
        build_len(value, 1);
        build_len(value, 2);
    } else if (type == RDB_TYPE_STREAM_LISTPACKS) {
        build_len(value, 1);
        build_len(value, 16);
        build_u64_be(value, 1000);
        build_u64_be(value, 1);
    }
    if (is_lzf && size > 0) {
        build_lzf(value, blob, size);
    } else {
        build_str(value, blob, size);
    }
    if (type == RDB_TYPE_STREAM_LISTPACKS) {
        build_bytes(value, "\0\0\0\0", 4);
    }
}

static void try_blob(enum family family, const uint8_t *bytes, size_t size)
{
    static uint8_t blob[INPUT_BYTES_MAX];
    static struct build value;
    uint8_t selector = bytes[0];
    memcpy(blob, bytes + 1, size - 1);
    if ((selector & SELECT_REPAIR) != 0) {
        repair_blob(blob_families[family], blob, size - 1);
    }
    size_t count = 1;
    while (count < 6 && family_types[family][count] != 0) {
        count++;
    }
    uint8_t type = family_types[family][(selector & SELECT_TYPE) % count];
    wrap(&value, type, blob, size - 1, (selector & SELECT_LZF) != 0);
    try_value(type, false, value.bytes, value.size);
}

/* ---- payloads ---- */

static bool digest(const uint8_t *payload, size_t size, struct rdb_digest_value *out)
{
    struct syn_err err;
    struct rdb_decoder *decoder = rdb_decoder_new((size_t)1 << 20, &err);
    struct rdb_digest *made = rdb_digest_new(RDB_DIGEST_TIMES | RDB_DIGEST_COUNTERS, &err);
    ASSERT(decoder != NULL);
    ASSERT(made != NULL);
    struct slice slice = {.bytes = payload, .size = size};
    bool is_made = rdb_payload_digest(decoder, made, slice, out, &err);
    rdb_digest_free(made);
    rdb_decoder_free(decoder);
    return is_made;
}

/* The same payload in one piece and in many: one verdict, one content, one message. */
static void try_content(const uint8_t *payload, size_t size)
{
    struct syn_err err = {0};
    struct syn_err err_pieces = {0};
    struct rdb_content whole = {0};
    struct rdb_content pieces = {0};
    struct rdb_content_reader *reader = rdb_content_reader_new((size_t)1 << 20, &err);
    ASSERT(reader != NULL);
    struct slice slice = {.bytes = payload, .size = size};
    enum rdb_verdict verdict = rdb_content_read(reader, slice, 1, &whole, &err);
    rdb_content_begin(reader, size, rdb_payload_is_valkey(slice), 1);
    size_t step = size > 2 ? 1 + payload[2] % 67u : 1;
    for (size_t pos = 0; pos < size; pos += step) {
        size_t left = size - pos;
        /* Memory of its own, so that a look beyond a piece is seen. */
        struct slice piece = {.size = step < left ? step : left};
        uint8_t *copy = mem_alloc(MEM_RDB, piece.size);
        ASSERT(copy != NULL);
        memcpy(copy, payload + pos, piece.size);
        piece.bytes = copy;
        rdb_content_piece(reader, piece);
        mem_free(MEM_RDB, copy);
    }
    enum rdb_verdict again = rdb_content_end(reader, &pieces, &err_pieces);
    ASSERT(verdict == again);
    if (verdict == RDB_VERDICT_READ) {
        ASSERT(whole.count == pieces.count);
        ASSERT(rdb_content_compare(&whole, &pieces, RDB_DETAIL_EXPIRIES | RDB_DETAIL_TIMES) == 0);
    } else {
        ASSERT(strcmp(err.msg, err_pieces.msg) == 0);
    }
    rdb_content_reader_free(reader);
}

static void try_payload(const uint8_t *bytes, size_t size)
{
    static uint8_t payload[INPUT_BYTES_MAX];
    struct rdb_digest_value first;
    struct rdb_digest_value second;
    digest(bytes, size, &first);
    try_content(bytes, size);
    if (size < RDB_FOOTER_SIZE + 2) {
        return;
    }
    memcpy(payload, bytes, size);
    repair_footer(payload, size);
    try_content(payload, size);
    if (digest(payload, size, &first)) {
        bool is_again = digest(payload, size, &second);
        ASSERT(is_again);
        ASSERT(first.low == second.low && first.high == second.high);
    }
    bool is_valkey = payload[size - RDB_FOOTER_SIZE] >= 80;
    try_value(payload[0], is_valkey, payload + 1, size - 1 - RDB_FOOTER_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0 || size > INPUT_BYTES_MAX) {
        return 0;
    }
    if (FUZZ_FAMILY == DUMP) {
        try_payload(bytes, size);
    } else if (FUZZ_FAMILY == TABLE) {
        try_value(bytes[0] & 31, (bytes[0] & 32) != 0, bytes + 1, size - 1);
    } else {
        try_blob(FUZZ_FAMILY, bytes, size);
    }
    return 0;
}

#ifdef FUZZ_MUTATOR
/* Of blobs, every second mutation leaves the lengths right. */
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t size_max, unsigned seed)
{
    if (FUZZ_FAMILY == DUMP) {
        return mutate_payload(bytes, size, size_max, seed);
    }
    if (FUZZ_FAMILY == TABLE && size > 1 && seed % 16 != 0) {
        return 1 + mutate_value(bytes + 1, size - 1, size_max - 1, seed);
    }
    size = LLVMFuzzerMutate(bytes, size, size_max);
    if (seed % 2 != 0 && size > 1) {
        repair_blob(blob_families[FUZZ_FAMILY], bytes + 1, size - 1);
    }
    return size;
}
#endif
