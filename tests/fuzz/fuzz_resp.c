/*
 * Any bytes as a replication stream: no crash, every argument inside its command, and the same
 * commands or the same error however the input is cut.
 */
#include "tests/fuzz/fuzz.h"

#include "rdb/rdb.h"

struct outcome {
    enum resp_status status;
    uint64_t digest;
    size_t used;
    struct syn_err err;
};

static void
on_command(struct outcome *outcome, const uint8_t *bytes, const struct resp_command *command)
{
    ASSERT(command->argc > 0);
    size_t end = 0;
    for (uint32_t i = 0; i < command->argc; i++) {
        const struct resp_arg *arg = &command->argv[i];
        ASSERT(arg->pos > end);
        end = arg->pos + (size_t)arg->size + 2;
        outcome->digest = crc64_update(outcome->digest, arg, sizeof(*arg));
        outcome->digest = crc64_update(outcome->digest, bytes + arg->pos, arg->size);
    }
    ASSERT(end == command->size);
}

static struct outcome cut_all(const uint8_t *bytes, size_t size, size_t step)
{
    struct outcome outcome = {.status = RESP_MORE};
    struct resp_cutter cutter;
    bool is_ready = resp_cutter_init(&cutter, 64, 4096, &outcome.err);
    ASSERT(is_ready);
    for (size_t available = step;; available += step) {
        available = available < size ? available : size;
        do {
            /* A copy of just this size, so that AddressSanitizer sees any read beyond it. */
            size_t left = available - outcome.used;
            uint8_t *copy = mem_alloc(MEM_RDB, left + 1);
            ASSERT(copy != NULL);
            memcpy(copy + 1, bytes + outcome.used, left);
            struct resp_command command;
            size_t wanted = 0;
            outcome.status = resp_cut(&cutter, copy + 1, left, &wanted, &command, &outcome.err);
            ASSERT(outcome.status != RESP_MORE || wanted > left);
            if (outcome.status == RESP_READY) {
                on_command(&outcome, copy + 1, &command);
                outcome.used += command.size;
            }
            mem_free(MEM_RDB, copy);
        } while (outcome.status == RESP_READY);
        if (outcome.status == RESP_ERROR || available == size) {
            break;
        }
    }
    resp_cutter_deinit(&cutter);
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    size = size < 2048 ? size : 2048;
    struct outcome whole = cut_all(bytes, size, size + 1);
    size_t steps[] = {1, size / 2 + 1, size > 0 ? 1 + bytes[size - 1] % 32u : 1};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct outcome pieces = cut_all(bytes, size, steps[i]);
        ASSERT(pieces.status == whole.status);
        ASSERT(pieces.digest == whole.digest);
        ASSERT(pieces.used == whole.used);
        if (whole.status == RESP_ERROR) {
            ASSERT(pieces.err.code == whole.err.code);
        }
    }
    return 0;
}
