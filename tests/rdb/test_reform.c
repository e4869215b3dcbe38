/*
 * Listpacks from one family's form to the other's. An entry that is missed, or one byte that is
 * changed beside it, crashes the server that gets the value, or loses it: so every value that is
 * written anew must be, byte for byte, what a server of that family would have written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <liblzf/lzf.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/base.h"
#include "rdb/digest.h"
#include "rdb/reform.h"

/* ---- building ---- */

struct bytes {
    uint8_t *at;
    size_t size;
    size_t capacity;
};

static void add(struct bytes *to, const void *bytes, size_t size)
{
    while (to->capacity - to->size < size) {
        to->capacity = to->capacity == 0 ? 65536 : to->capacity * 2;
        to->at = mem_realloc(MEM_TOOLS, to->at, to->capacity);
        assert_non_null(to->at);
    }
    if (size > 0) {
        memcpy(to->at + to->size, bytes, size);
    }
    to->size += size;
}

static void add_byte(struct bytes *to, unsigned byte)
{
    add(to, (const uint8_t[]){(uint8_t)byte}, 1);
}

static void add_le(struct bytes *to, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        add_byte(to, value >> (8 * i) & 255);
    }
}

static void add_len(struct bytes *to, uint64_t value)
{
    if (value < 64) {
        add_byte(to, (unsigned)value);
    } else if (value < 16384) {
        add_byte(to, 0x40 | (unsigned)(value >> 8));
        add_byte(to, value & 255);
    } else {
        add_byte(to, 0x80);
        for (unsigned i = 4; i > 0; i--) {
            add_byte(to, value >> (8 * (i - 1)) & 255);
        }
    }
}

static void drop(struct bytes *bytes)
{
    mem_free(MEM_TOOLS, bytes->at);
    *bytes = (struct bytes){0};
}

static bool is_special(size_t length)
{
    return length == 16383 || length == 2097151 || length == 268435455;
}

/* The back length of an entry of `length` bytes, as the servers' lpEncodeBacklen writes it. */
static void add_back(struct bytes *to, size_t length, enum listpack_form form)
{
    size_t size = 1;
    for (size_t left = length; left > 127; left >>= 7) {
        size++;
    }
    size += form == LISTPACK_LONG && is_special(length);
    for (size_t i = size; i > 0; i--) {
        add_byte(to, (length >> (7 * (i - 1)) & 127) | (i == size ? 0 : 128));
    }
}

/* An entry whose encoding and data have `length` bytes: a string, of the text that `seed` makes. */
static void
add_string_entry(struct bytes *to, size_t length, unsigned seed, enum listpack_form form)
{
    size_t head = length <= 64 ? 1 : length <= 4097 ? 2 : 5;
    size_t text = length - head;
    if (head == 1) {
        add_byte(to, 0x80 | (unsigned)text);
    } else if (head == 2) {
        add_byte(to, 0xe0 | (unsigned)(text >> 8));
        add_byte(to, text & 255);
    } else {
        add_byte(to, 0xf0);
        add_le(to, text, 4);
    }
    for (size_t i = 0; i < text; i++) {
        /* Every byte occurs, those that look like marks and lengths among them. */
        add_byte(to, (unsigned)(seed == 0 ? 'a' : (i * i * seed + i / 7) & 255));
    }
    add_back(to, length, form);
}

static void add_integer_entry(struct bytes *to, unsigned kind, unsigned seed)
{
    static const uint8_t firsts[] = {0x05, 0xc5, 0xf1, 0xf2, 0xf3, 0xf4};
    static const uint8_t sizes[] = {1, 2, 3, 4, 5, 9};
    add_byte(to, firsts[kind]);
    for (unsigned i = 1; i < sizes[kind]; i++) {
        add_byte(to, (seed + i * 91) & 255);
    }
    add_back(to, sizes[kind], LISTPACK_LONG);
}

static void listpack_close(struct bytes *listpack, unsigned count)
{
    add_byte(listpack, 0xff);
    uint32_t size = htole32((uint32_t)listpack->size);
    memcpy(listpack->at, &size, 4);
    listpack->at[4] = count & 255;
    listpack->at[5] = (uint8_t)(count >> 8);
}

/* A listpack with these lengths of entries. */
static void build_listpack(struct bytes *out,
                           const size_t *lengths,
                           unsigned count,
                           unsigned seed,
                           enum listpack_form form)
{
    add_le(out, 0, 6);
    for (unsigned i = 0; i < count; i++) {
        if (lengths[i] < 10) {
            add_integer_entry(out, (unsigned)lengths[i] % 6, seed);
        } else {
            add_string_entry(out, lengths[i], seed, form);
        }
    }
    listpack_close(out, count);
}

enum packing { PACK_RAW, PACK_LZF };

static void add_str(struct bytes *to, const struct bytes *text, enum packing packing)
{
    if (packing == PACK_LZF) {
        uint8_t *packed = malloc(text->size);
        assert_non_null(packed);
        unsigned size =
            lzf_compress(text->at, (unsigned)text->size, packed, (unsigned)text->size - 1);
        if (size > 0) {
            add_byte(to, 0xc3);
            add_len(to, size);
            add_len(to, text->size);
            add(to, packed, size);
            free(packed);
            return;
        }
        free(packed);
    }
    add_len(to, text->size);
    add(to, text->at, text->size);
}

/* A body of each type around some listpacks; a part that is no listpack looks like one. */
static void build_body(struct bytes *out,
                       uint8_t type,
                       const struct bytes *blobs,
                       const enum packing *packings,
                       unsigned count)
{
    static const uint8_t node_key[] = {16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0};
    bool is_stream = type == RDB_TYPE_STREAM_LISTPACKS || type == RDB_TYPE_STREAM_LISTPACKS_2 ||
                     type == RDB_TYPE_STREAM_LISTPACKS_3;
    bool is_list = type == RDB_TYPE_LIST_QUICKLIST_2;
    if (type == RDB_TYPE_HASH_LISTPACK_EX) {
        add_le(out, 1234567, 8);
    }
    if (is_stream || is_list) {
        add_len(out, count + is_list);
    }
    for (unsigned i = 0; i < (is_stream || is_list ? count : 1); i++) {
        if (is_stream) {
            add(out, node_key, sizeof(node_key));
        } else if (is_list) {
            add_byte(out, 2);
        }
        add_str(out, &blobs[i], packings[i]);
    }
    if (is_list) { /* an element of its own, with the bytes of a listpack */
        add_byte(out, 1);
        add_str(out, &blobs[0], PACK_RAW);
    }
    if (is_stream) {
        add(out, "\1\1\0\0\0\0\0\0\0\0", 10);
    }
}

static const uint8_t types[] = {15, 16, 17, 18, 19, 20, 21, 23, 25};

/* ---- checking ---- */

static struct reformer *reformer;

static bool collect(void *arg, const uint8_t *bytes, size_t size)
{
    add(arg, bytes, size);
    return true;
}

/* The body in `from` becomes exactly `to`, with so many entries changed. */
static void expect(uint8_t type,
                   const struct bytes *from,
                   const struct bytes *to,
                   uint64_t count,
                   enum listpack_form form)
{
    struct slice body = {from->at, from->size};
    struct reform reform = reformer_measure(reformer, type, body, form);
    assert_int_equal(reform.count, count);
    assert_int_equal(reform.size, count == 0 ? from->size : to->size);
    assert_int_equal(reformer_measure(reformer, type, body, LISTPACK_UNKNOWN).count >= count, 1);
    struct bytes made = {0};
    assert_true(reformer_write(reformer, type, body, form, collect, &made));
    assert_int_equal(made.size, reform.size);
    assert_memory_equal(made.at, count == 0 ? from->at : to->at, made.size);
    drop(&made);
}

/* Blobs of these entries, in both directions, for every type and packing. */
static void check_lengths(const size_t *lengths, unsigned count, unsigned seed)
{
    uint64_t special = 0;
    for (unsigned i = 0; i < count; i++) {
        special += is_special(lengths[i]);
    }
    static const size_t plain_lengths[] = {20, 3, 64, 65, 4000};
    struct bytes blobs[2][2] = {0}; /* by form, then the blob that is looked for and a plain one */
    for (unsigned form = 0; form < 2; form++) {
        build_listpack(
            &blobs[form][0], lengths, count, seed, form == 0 ? LISTPACK_LONG : LISTPACK_SHORT);
        build_listpack(&blobs[form][1], plain_lengths, 5, seed, LISTPACK_LONG);
    }
    for (size_t t = 0; t < sizeof(types); t++) {
        for (unsigned from = 0; from < 2; from++) {
            for (unsigned packing = 0; packing < 2; packing++) {
                const enum packing given[] = {packing == 0 ? PACK_RAW : PACK_LZF, PACK_LZF};
                const enum packing wanted[] = {PACK_RAW, PACK_LZF};
                struct bytes before = {0};
                struct bytes after = {0};
                struct bytes mixed[2] = {blobs[!from][0], blobs[from][1]};
                build_body(&before, types[t], blobs[from], given, 2);
                build_body(&after, types[t], mixed, wanted, 2);
                /* The plain element of a list stays what it was. */
                if (types[t] == RDB_TYPE_LIST_QUICKLIST_2) {
                    after.size -= blobs[!from][0].size;
                    struct bytes tail = {0};
                    add_str(&tail, &blobs[from][0], PACK_RAW);
                    after.size -= tail.size - blobs[from][0].size;
                    add(&after, tail.at, tail.size);
                    drop(&tail);
                }
                enum listpack_form form = from == 0 ? LISTPACK_SHORT : LISTPACK_LONG;
                expect(types[t], &before, &after, special, form);
                expect(types[t], &before, NULL, 0, from == 0 ? LISTPACK_LONG : LISTPACK_SHORT);
                drop(&before);
                drop(&after);
            }
        }
    }
    for (unsigned i = 0; i < 4; i++) {
        drop(&blobs[i / 2][i % 2]);
    }
}

static int setup(void **state)
{
    (void)state;
    struct syn_err err;
    reformer = reformer_new(&err);
    return reformer == NULL;
}

static int teardown(void **state)
{
    (void)state;
    reformer_free(reformer);
    return 0;
}

/* The lengths that differ, first, last, alone, next to each other, and their neighbours, which do
 * not differ. */
static void test_the_lengths_that_differ(void **state)
{
    (void)state;
    static const size_t cases[][6] = {
        {16383, 20},
        {20, 16383},
        {3, 16383, 16383, 5, 16383},
        {16382, 16383, 16384},
        {70, 2097151, 4},
        {2097150, 16383, 2097152, 2097151},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned count = 0;
        while (count < 6 && cases[i][count] != 0) {
            count++;
        }
        check_lengths(cases[i], count, (unsigned)i); /* seed 0: text that compresses well */
    }
}

static void test_lengths_that_do_not(void **state)
{
    (void)state;
    static const size_t lengths[] = {16382, 16384, 128, 127, 30000, 2};
    check_lengths(lengths, 6, 3);
    check_lengths(lengths, 6, 0);
}

/* The largest length, as it would come over the wire: compressed, and never whole in memory. */
struct fold {
    uint64_t size;
    uint8_t first[32];
    uint8_t last[32]; /* a ring */
};

static bool fold_piece(void *arg, const uint8_t *bytes, size_t size)
{
    struct fold *fold = arg;
    for (size_t i = 0; i < size; i++, fold->size++) {
        if (fold->size < sizeof(fold->first)) {
            fold->first[fold->size] = bytes[i];
        }
        fold->last[fold->size % sizeof(fold->last)] = bytes[i];
    }
    return true;
}

static uint8_t fold_at(const struct fold *fold, uint64_t from_end)
{
    return fold->last[(fold->size - from_end) % sizeof(fold->last)];
}

static void lzf_literal(struct bytes *out, const void *bytes, size_t size)
{
    add_byte(out, (unsigned)size - 1);
    add(out, bytes, size);
}

static void test_the_largest_length(void **state)
{
    (void)state;
    static const uint8_t back_long[] = {0, 255, 255, 255, 255, 0x01, 0x01, 255};
    static const uint8_t back_short[] = {0x7f, 255, 255, 255, 0x01, 0x01, 255};
    for (int from_long = 0; from_long < 2; from_long++) {
        const uint64_t text = 268435450;
        uint64_t size = 6 + 5 + text + 4 + (uint64_t)from_long + 2 + 1;
        struct bytes head = {0}, packed = {0}, body = {0};
        add_le(&head, size, 4);
        add_le(&head, 2, 2);
        add_byte(&head, 0xf0);
        add_le(&head, text, 4);
        add_byte(&head, 'a');
        lzf_literal(&packed, head.at, head.size);
        uint64_t left = text - 1;
        for (; left >= 264 + 3; left -= 264) {
            add(&packed, "\xe0\xff\x00", 3);
        }
        for (; left > 0; left--) {
            lzf_literal(&packed, "a", 1);
        }
        lzf_literal(&packed,
                    from_long ? back_long : back_short,
                    from_long ? sizeof(back_long) : sizeof(back_short));
        add_byte(&body, 0xc3);
        add_len(&body, packed.size);
        add_len(&body, size);
        add(&body, packed.at, packed.size);
        struct slice value = {body.at, body.size};
        enum listpack_form form = from_long ? LISTPACK_SHORT : LISTPACK_LONG;
        struct reform reform = reformer_measure(reformer, RDB_TYPE_HASH_LISTPACK, value, form);
        assert_int_equal(reform.count, 1);
        uint64_t after = from_long ? size - 1 : size + 1;
        assert_int_equal(reform.size, after + 5);
        struct fold fold = {0};
        assert_true(
            reformer_write(reformer, RDB_TYPE_HASH_LISTPACK, value, form, fold_piece, &fold));
        assert_int_equal(fold.size, reform.size);
        uint32_t header = htole32((uint32_t)after);
        assert_memory_equal(fold.first + 5, &header, 4);
        const uint8_t *back = from_long ? back_short : back_long;
        size_t back_size = from_long ? sizeof(back_short) : sizeof(back_long);
        for (size_t i = 0; i < back_size; i++) {
            assert_int_equal(fold_at(&fold, back_size - i), back[i]);
        }
        assert_int_equal(fold_at(&fold, back_size + 1), 'a');
        drop(&head);
        drop(&packed);
        drop(&body);
    }
}

/* What cannot be read to its end is left as it is: the destination judges it. */
static void test_damage_is_left_alone(void **state)
{
    (void)state;
    static const size_t lengths[] = {20, 16383, 30};
    struct bytes listpack = {0};
    build_listpack(&listpack, lengths, 3, 5, LISTPACK_LONG);
    size_t back = 6 + 21 + 16383;
    const struct {
        size_t at;
        uint8_t byte;
    } cases[] = {
        {0, 1},                 /* the size in the header          */
        {6, 0xf9},              /* an encoding that nobody has     */
        {6, 0xff},              /* an end in front                 */
        {back, 0x55},           /* a back length of neither form   */
        {back + 1, 0x7f},       /* one that begins like the long   */
        {listpack.size - 1, 1}, /* no end mark                     */
        {6 + 21 + 2, 0xff},     /* a string beyond the end         */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes body = {0};
        uint8_t before = listpack.at[cases[i].at];
        listpack.at[cases[i].at] = cases[i].byte;
        add_str(&body, &listpack, PACK_RAW);
        expect(RDB_TYPE_HASH_LISTPACK, &body, NULL, 0, LISTPACK_SHORT);
        expect(RDB_TYPE_HASH_LISTPACK, &body, NULL, 0, LISTPACK_LONG);
        listpack.at[cases[i].at] = before;
        drop(&body);
    }
    /* Compressed data that ends early, or makes more than it claims; a body that is cut. */
    struct bytes body = {0};
    struct bytes even = {0};
    build_listpack(&even, lengths, 3, 0, LISTPACK_LONG);
    add_str(&body, &even, PACK_LZF);
    assert_int_equal(body.at[0], 0xc3);
    for (size_t size = 0; size < body.size; size++) {
        struct bytes cut = {.at = body.at, .size = size};
        expect(RDB_TYPE_HASH_LISTPACK, &cut, NULL, 0, LISTPACK_SHORT);
        expect(RDB_TYPE_LIST_QUICKLIST_2, &cut, NULL, 0, LISTPACK_SHORT);
        expect(RDB_TYPE_STREAM_LISTPACKS_3, &cut, NULL, 0, LISTPACK_SHORT);
        expect(RDB_TYPE_HASH_LISTPACK_EX, &cut, NULL, 0, LISTPACK_SHORT);
    }
    for (size_t i = 1; i < body.size; i++) {
        struct bytes other = {0};
        add(&other, body.at, body.size);
        other.at[i] ^= 0x11;
        struct slice value = {other.at, other.size};
        struct reform reform =
            reformer_measure(reformer, RDB_TYPE_HASH_LISTPACK, value, LISTPACK_SHORT);
        struct bytes made = {0};
        assert_true(reformer_write(
            reformer, RDB_TYPE_HASH_LISTPACK, value, LISTPACK_SHORT, collect, &made));
        assert_int_equal(made.size, reform.size);
        drop(&made);
        drop(&other);
    }
    drop(&even);
    drop(&body);
    drop(&listpack);
}

static bool stop_at(void *arg, const uint8_t *bytes, size_t size)
{
    (void)bytes, (void)size;
    uint32_t *left = arg;
    return (*left)-- > 0;
}

static void test_a_sink_that_stops(void **state)
{
    (void)state;
    static const size_t lengths[] = {20, 16383};
    struct bytes listpack = {0};
    struct bytes body = {0};
    build_listpack(&listpack, lengths, 2, 5, LISTPACK_LONG);
    add_str(&body, &listpack, PACK_RAW);
    struct slice value = {body.at, body.size};
    uint32_t stops = 0;
    for (uint32_t left = 0; left < 1000; left++) {
        uint32_t counter = left;
        if (reformer_write(
                reformer, RDB_TYPE_SET_LISTPACK, value, LISTPACK_SHORT, stop_at, &counter)) {
            break;
        }
        stops++;
    }
    assert_in_range(stops, 5, 100);
    drop(&listpack);
    drop(&body);
}

static void test_forms_of_versions(void **state)
{
    (void)state;
    assert_int_equal(listpack_form_of(70015, false), LISTPACK_LONG);
    assert_int_equal(listpack_form_of(80600, false), LISTPACK_LONG);
    assert_int_equal(listpack_form_of(80101, true), LISTPACK_LONG);
    assert_int_equal(listpack_form_of(90000, true), LISTPACK_UNKNOWN);
    assert_int_equal(listpack_form_of(90102, true), LISTPACK_SHORT);
    assert_int_equal(listpack_form_of(0, true), LISTPACK_UNKNOWN);
    assert_int_equal(listpack_form_of(0, false), LISTPACK_UNKNOWN);
    for (unsigned type = 0; type < 256; type++) {
        bool is_listed = memchr(types, (int)type, sizeof(types)) != NULL;
        assert_int_equal(rdb_type_has_listpack((uint8_t)type), is_listed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_lengths_that_differ),
        cmocka_unit_test(test_lengths_that_do_not),
        cmocka_unit_test(test_the_largest_length),
        cmocka_unit_test(test_damage_is_left_alone),
        cmocka_unit_test(test_a_sink_that_stops),
        cmocka_unit_test(test_forms_of_versions),
    };
    return cmocka_run_group_tests_name("rdb reform", tests, setup, teardown);
}
