#include "rdb/rewrite.h"

void rewrite_target_fill(struct rewrite_target *target, uint32_t version, bool is_valkey)
{
    *target = (struct rewrite_target){
        .has_multi_hset = version >= 40000,
        .has_streams = version >= 50000,
        .has_set_expiry = version >= 60200,
        .has_create_consumer = version >= 60200,
        .has_stream_counters = version >= 70000,
        .has_field_expiry = version >= (is_valkey ? 90000u : 70400u),
        .policy = REWRITE_STOP,
        .piece_bytes = 16384,
        .piece_elements = 256,
        .pending_max = 262144,
    };
}

static const char *const reason_texts[REWRITE_REASON_COUNT] = {
    [REWRITE_NO_STREAMS] = "the destination has no streams",
    [REWRITE_NO_MODULES] = "a module's value cannot be written by commands",
    [REWRITE_NO_FIELD_EXPIRY] = "the destination has no expiry of hash fields",
    [REWRITE_PENDING_OVERFLOW] = "a consumer group has more pending entries than can be held",
    [REWRITE_PENDING_DELETED] = "pending entries whose stream entry is deleted cannot be claimed",
};

const char *rewrite_reason_text(enum rewrite_reason reason)
{
    ASSERT(reason < REWRITE_REASON_COUNT);
    return reason_texts[reason];
}
