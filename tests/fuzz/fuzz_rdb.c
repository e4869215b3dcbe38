/*
 * Any bytes as an RDB. Whatever they are, the parser must not crash, and it must come to the same
 * items or the same error however the input is cut. It does not check the CRC itself, so mutated
 * files get as far as their framing allows.
 */
#include "tests/fuzz/fuzz.h"

#include "tests/fuzz/mutate.h"
#include "tests/rdb/feed.h"

/* Feeding byte by byte copies each window: quadratic, so only for short inputs. */
#define GROW_BYTES_MAX 512

static void compare(const struct feed_result *whole, const struct feed_result *pieces)
{
    ASSERT(whole->status == pieces->status);
    ASSERT(pieces->left_max < 32);
    if (whole->status == RDB_READY) {
        ASSERT(whole->digest == pieces->digest);
        ASSERT(whole->bytes_used == pieces->bytes_used);
    } else if (whole->status == RDB_ERROR) {
        ASSERT(strcmp(whole->err.msg, pieces->err.msg) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct feed_result whole;
    struct feed_result pieces;
    feed_rdb(bytes, size, FEED_WHOLE, 0, true, &whole);
    feed_rdb(bytes, size, FEED_TWO_PARTS, size / 2, true, &pieces);
    compare(&whole, &pieces);
    if (size > 0) {
        feed_rdb(bytes, size, FEED_STEPS, 1 + bytes[size - 1], false, &pieces);
        compare(&whole, &pieces);
    }
    if (size <= GROW_BYTES_MAX) {
        feed_rdb(bytes, size, FEED_GROW, 0, true, &pieces);
        compare(&whole, &pieces);
    }
    return 0;
}

#ifdef FUZZ_MUTATOR
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t size_max, unsigned seed)
{
    return mutate_rdb(bytes, size, size_max, seed);
}
#endif
