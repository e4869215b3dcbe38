/*
 * Any bytes as replies: no crash, and the same replies and the same end however the input is cut.
 */
#include "tests/fuzz/fuzz.h"

#include "rdb/rdb.h"

struct outcome {
    enum resp_status status;
    uint64_t digest;
    uint64_t count;
};

static void fold(struct outcome *outcome, uint64_t number)
{
    outcome->digest = crc64_update(outcome->digest, &number, sizeof(number));
}

static void on_reply(struct outcome *outcome, const struct reply *reply)
{
    ASSERT(reply->text_size <= REPLY_TEXT_MAX);
    fold(outcome, reply->kind);
    fold(outcome, (uint64_t)reply->integer);
    fold(outcome, reply->error_count);
    fold(outcome, reply->error_index);
    outcome->digest = crc64_update(outcome->digest, reply->text, reply->text_size);
    outcome->count++;
}

/* Some bulks are kept: each byte that the scanner writes must be inside what it asked for. */
struct keeper {
    uint8_t *bytes;
    uint64_t size;
    uint64_t digest;
};

static void keeper_fold(struct keeper *keeper)
{
    if (keeper->bytes != NULL) {
        keeper->digest = crc64_update(keeper->digest, keeper->bytes, (size_t)keeper->size);
        mem_free(MEM_RDB, keeper->bytes);
        keeper->bytes = NULL;
    }
}

static uint8_t *keeper_take(void *arg, uint64_t size)
{
    struct keeper *keeper = arg;
    keeper_fold(keeper);
    if (size % 3 == 2 || size > 4096) {
        return NULL;
    }
    keeper->size = size;
    keeper->bytes = mem_calloc(MEM_RDB, (size_t)size + 1);
    return keeper->bytes;
}

static struct outcome scan_all(const uint8_t *bytes, size_t size, size_t step)
{
    struct outcome outcome = {.status = RESP_MORE};
    struct reply_scanner scanner;
    struct syn_err err;
    struct keeper keeper = {0};
    reply_scanner_init(&scanner);
    scanner.sink_for = keeper_take;
    scanner.sink_arg = &keeper;
    size_t pos = 0;
    for (size_t available = step;; available += step) {
        available = available < size ? available : size;
        do {
            size_t left = available - pos;
            uint8_t *copy = mem_alloc(MEM_RDB, left + 1);
            ASSERT(copy != NULL);
            memcpy(copy + 1, bytes + pos, left);
            const struct reply *reply;
            size_t used = 0;
            outcome.status = reply_scan(&scanner, copy + 1, left, &used, &reply, &err);
            mem_free(MEM_RDB, copy);
            ASSERT(used <= left);
            ASSERT(outcome.status != RESP_READY || used > 0);
            pos += used;
            if (outcome.status == RESP_READY) {
                on_reply(&outcome, reply);
            }
        } while (outcome.status == RESP_READY);
        if (outcome.status == RESP_ERROR || available == size) {
            break;
        }
    }
    keeper_fold(&keeper);
    fold(&outcome, keeper.digest);
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    size = size < 2048 ? size : 2048;
    struct outcome whole = scan_all(bytes, size, size + 1);
    size_t steps[] = {1, size / 2 + 1, size > 0 ? 1 + bytes[size - 1] % 32u : 1};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct outcome pieces = scan_all(bytes, size, steps[i]);
        ASSERT(pieces.status == whole.status);
        ASSERT(pieces.count == whole.count);
        ASSERT(pieces.digest == whole.digest);
    }
    return 0;
}
