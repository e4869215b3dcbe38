/*
 * The mutations: without repaired lengths and checksums fuzzing would end at the first check, and
 * nobody would see that it does. What libFuzzer would do is done by a simple stand-in.
 */
#include "tests/base/test.h"

#include "rdb/decode.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/repair.h"
#include "tests/rdb/feed.h"
#include "tests/support/random.h"

#define ROUNDS 4000
#define BYTES_MAX 32768

static struct random chance = {.state = 20240611};

/* Changes, adds or removes a byte. */
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t size_max)
{
    size_t pos = size > 0 ? random_below(&chance, (uint32_t)size) : 0;
    uint32_t choice = random_below(&chance, 4);
    if (choice == 0 && size < size_max) {
        memmove(bytes + pos + 1, bytes + pos, size - pos);
        bytes[pos] = (uint8_t)random_next(&chance);
        return size + 1;
    }
    if (choice == 1 && size > 1) {
        memmove(bytes + pos, bytes + pos + 1, size - pos - 1);
        return size - 1;
    }
    if (size > 0) {
        bytes[pos] ^= (uint8_t)(1u << random_below(&chance, 8));
    }
    return size;
}

/* In a block of just its size_max, so that the sanitizer sees what goes beyond. */
static size_t mutated(size_t mutate(uint8_t *, size_t, size_t, unsigned),
                      const uint8_t *bytes,
                      size_t size,
                      size_t size_max,
                      unsigned seed,
                      uint8_t **made)
{
    *made = mem_alloc(MEM_TOOLS, size_max);
    assert_non_null(*made);
    memcpy(*made, bytes, size);
    size_t made_size = mutate(*made, size, size_max, seed);
    assert_true(made_size <= size_max);
    return made_size;
}

static void test_snapshots_keep_their_checksum(void **state)
{
    (void)state;
    size_t size;
    uint8_t *bytes = fixture_read("rdb/redis-7.0.15-snapshot/dump.rdb", &size);
    assert_true(size + 512 < BYTES_MAX);
    unsigned whole = 0;
    unsigned right = 0;
    unsigned changed = 0;
    for (unsigned seed = 0; seed < ROUNDS; seed++) {
        uint8_t *made;
        struct feed_result result;
        size_t room = seed % 3 == 0 ? 0 : 512; /* without room, sizes stay or shrink */
        size_t made_size = mutated(mutate_rdb, bytes, size, size + room, seed, &made);
        feed_rdb(made, made_size, FEED_WHOLE, 0, false, &result);
        changed += made_size != size || memcmp(made, bytes, size) != 0;
        whole += result.status == RDB_READY;
        right += result.status == RDB_READY && result.checksum == result.crc;
        mem_free(MEM_TOOLS, made);
    }
    print_message(
        "%u of %u changed, %u whole, %u with a right checksum\n", changed, ROUNDS, whole, right);
    assert_true(changed > ROUNDS * 8 / 10);
    assert_true(whole > ROUNDS * 5 / 10);
    assert_true(right > whole * 8 / 10); /* one in eight is not repaired */
    mem_free(MEM_RDB, bytes);
}

/* Elements that a visitor saw, of all the values that were tried. */
static enum rdb_flow on_element(void *arg, const struct rdb_element *element)
{
    uint64_t *count = arg;
    (void)element;
    ++*count;
    return RDB_GO;
}

/* By DUMP of Redis 7.0: a list of two nodes, each a listpack of two elements. */
static const uint8_t nodes[] = {0x12, 0x02, 0x02, 0x11, 0x11, 0x00, 0x00, 0x00, 0x02, 0x00, 0x83,
                                'o',  'n',  'e',  0x04, 0x83, 't',  'w',  'o',  0x04, 0xff, 0x02,
                                0x0a, 0x0a, 0x00, 0x00, 0x00, 0x01, 0x00, 0x81, 'x',  0x02, 0xff,
                                0x0a, 0x00, 0,    0,    0,    0,    0,    0,    0,    0};

static void test_payloads_keep_footer_and_lengths(void **state)
{
    (void)state;
    struct syn_err err;
    struct rdb_decoder *decoder = rdb_decoder_new(1 << 20, &err);
    const struct rdb_visitor visitor = {.list = on_element};
    uint8_t seed_bytes[sizeof(nodes)];
    unsigned sound = 0;
    unsigned decoded = 0;
    uint64_t elements = 0;
    assert_non_null(decoder);
    memcpy(seed_bytes, nodes, sizeof(nodes));
    repair_footer(seed_bytes, sizeof(seed_bytes));
    for (unsigned seed = 0; seed < ROUNDS; seed++) {
        uint8_t *made;
        uint8_t type;
        uint16_t version;
        struct slice body;
        size_t size = mutated(
            mutate_payload, seed_bytes, sizeof(seed_bytes), sizeof(seed_bytes) + 64, seed, &made);
        struct slice payload = {.bytes = made, .size = size};
        sound += rdb_payload_read(made, size, &type, &body, &version, &err);
        decoded += rdb_payload_decode(decoder, payload, 0, &visitor, &elements, &err);
        mem_free(MEM_TOOLS, made);
    }
    print_message("%u of %u with a right footer, %u whole, %llu elements\n",
                  sound,
                  ROUNDS,
                  decoded,
                  (unsigned long long)elements);
    assert_true(sound > ROUNDS * 8 / 10);
    assert_true(decoded > ROUNDS * 2 / 10);
    rdb_decoder_free(decoder);
}

/* Tiny and odd inputs: what libFuzzer begins with. */
static void test_any_input_can_be_mutated(void **state)
{
    (void)state;
    static uint8_t bytes[64];
    uint8_t *made;
    for (unsigned seed = 0; seed < ROUNDS; seed++) {
        size_t size = 1 + random_below(&chance, 40);
        size_t size_max = size + random_below(&chance, 20);
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (uint8_t)random_next(&chance);
        }
        mutated(mutate_rdb, bytes, size, size_max, seed, &made);
        mem_free(MEM_TOOLS, made);
        mutated(mutate_payload, bytes, size, size_max, seed, &made);
        mem_free(MEM_TOOLS, made);
        mutated(mutate_value, bytes, size, size_max, seed, &made);
        mem_free(MEM_TOOLS, made);
        for (unsigned family = 0; family < BLOB_FAMILY_COUNT; family++) {
            made = mem_alloc(MEM_TOOLS, size);
            assert_non_null(made);
            memcpy(made, bytes, size);
            repair_blob((enum blob_family)family, made, size);
            mem_free(MEM_TOOLS, made);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snapshots_keep_their_checksum),
        cmocka_unit_test(test_payloads_keep_footer_and_lengths),
        cmocka_unit_test(test_any_input_can_be_mutated),
    };
    return cmocka_run_group_tests_name("mutations", tests, NULL, NULL);
}
