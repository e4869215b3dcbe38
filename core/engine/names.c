/* Stable words and numbers for programs: codes, phases, waits, differences, the version. */
#include "core/engine/syn.h"

#ifndef SYNCLINE_VERSION
#define SYNCLINE_VERSION "0.1.0"
#endif

const char *syn_version(void)
{
    return SYNCLINE_VERSION;
}

int syn_code_exit_status(enum syn_code code)
{
    switch (code) {
    case SYN_CODE_OK:
    case SYN_CODE_STOPPED:
        return SYN_EXIT_OK;
    case SYN_CODE_USAGE:
        return SYN_EXIT_USAGE;
    case SYN_CODE_CONFIG:
        return SYN_EXIT_CONFIG;
    case SYN_CODE_PRECHECK:
        return SYN_EXIT_PRECHECK;
    case SYN_CODE_SOURCE_CONNECT:
    case SYN_CODE_SOURCE_AUTH:
    case SYN_CODE_SOURCE_PROTOCOL:
    case SYN_CODE_SOURCE_DATA:
    case SYN_CODE_SOURCE_STATE:
    case SYN_CODE_SOURCE_FILE:
        return SYN_EXIT_SOURCE;
    case SYN_CODE_DESTINATION_CONNECT:
    case SYN_CODE_DESTINATION_AUTH:
    case SYN_CODE_DESTINATION_PROTOCOL:
    case SYN_CODE_DESTINATION_REPLY:
    case SYN_CODE_DESTINATION_STATE:
    case SYN_CODE_UNSUPPORTED:
        return SYN_EXIT_DESTINATION;
    case SYN_CODE_DIFFERENT:
        return SYN_EXIT_DIFFERENT;
    case SYN_CODE_INTERNAL:
    case SYN_CODE_MEMORY:
    case SYN_CODE_SYSTEM:
        break;
    }
    return SYN_EXIT_INTERNAL;
}

const char *syn_code_name(enum syn_code code)
{
    switch (code) {
    case SYN_CODE_OK:
        return "ok";
    case SYN_CODE_INTERNAL:
        return "internal";
    case SYN_CODE_MEMORY:
        return "memory";
    case SYN_CODE_SYSTEM:
        return "system";
    case SYN_CODE_STOPPED:
        return "stopped";
    case SYN_CODE_USAGE:
        return "usage";
    case SYN_CODE_CONFIG:
        return "config";
    case SYN_CODE_PRECHECK:
        return "precheck";
    case SYN_CODE_SOURCE_CONNECT:
        return "source_connect";
    case SYN_CODE_SOURCE_AUTH:
        return "source_auth";
    case SYN_CODE_SOURCE_PROTOCOL:
        return "source_protocol";
    case SYN_CODE_SOURCE_DATA:
        return "source_data";
    case SYN_CODE_SOURCE_STATE:
        return "source_state";
    case SYN_CODE_SOURCE_FILE:
        return "source_file";
    case SYN_CODE_DESTINATION_CONNECT:
        return "destination_connect";
    case SYN_CODE_DESTINATION_AUTH:
        return "destination_auth";
    case SYN_CODE_DESTINATION_PROTOCOL:
        return "destination_protocol";
    case SYN_CODE_DESTINATION_REPLY:
        return "destination_reply";
    case SYN_CODE_DESTINATION_STATE:
        return "destination_state";
    case SYN_CODE_UNSUPPORTED:
        return "unsupported";
    case SYN_CODE_DIFFERENT:
        return "different";
    }
    return "unknown";
}

const char *syn_phase_name(enum syn_phase phase)
{
    switch (phase) {
    case SYN_PHASE_NEW:
        return "new";
    case SYN_PHASE_PRECHECK:
        return "precheck";
    case SYN_PHASE_SNAPSHOT:
        return "snapshot";
    case SYN_PHASE_LIVE:
        return "live";
    case SYN_PHASE_PAUSED:
        return "paused";
    case SYN_PHASE_DRAINING:
        return "draining";
    case SYN_PHASE_DONE:
        return "done";
    case SYN_PHASE_FAILED:
        return "failed";
    case SYN_PHASE_RETRYING:
        return "retrying";
    }
    return "unknown";
}

const char *syn_wait_name(enum syn_wait wait)
{
    switch (wait) {
    case SYN_WAIT_NONE:
        return "none";
    case SYN_WAIT_SOURCE:
        return "source";
    case SYN_WAIT_DESTINATION:
        return "destination";
    case SYN_WAIT_PAUSED:
        return "paused";
    case SYN_WAIT_RECONNECT:
        return "reconnect";
    case SYN_WAIT_THROTTLE:
        return "throttle";
    }
    return "unknown";
}

const char *syn_rate_name(enum syn_rate rate)
{
    static const char *const names[SYN_RATE_COUNT] = {
        [SYN_RATE_SNAPSHOT_OPS] = "snapshot-ops",
        [SYN_RATE_SNAPSHOT_BYTES] = "snapshot-bytes",
        [SYN_RATE_LIVE_OPS] = "live-ops",
        [SYN_RATE_LIVE_BYTES] = "live-bytes",
        [SYN_RATE_SHARD_SNAPSHOT_OPS] = "shard-snapshot-ops",
        [SYN_RATE_SHARD_SNAPSHOT_BYTES] = "shard-snapshot-bytes",
        [SYN_RATE_SHARD_LIVE_OPS] = "shard-live-ops",
        [SYN_RATE_SHARD_LIVE_BYTES] = "shard-live-bytes",
    };
    return (unsigned)rate < SYN_RATE_COUNT ? names[rate] : "none";
}

const char *syn_difference_name(enum syn_difference_kind kind)
{
    switch (kind) {
    case SYN_DIFFERENCE_MISSING:
        return "missing";
    case SYN_DIFFERENCE_EXTRA:
        return "extra";
    case SYN_DIFFERENCE_TYPE:
        return "type";
    case SYN_DIFFERENCE_VALUE:
        return "value";
    case SYN_DIFFERENCE_TTL:
        return "ttl";
    case SYN_DIFFERENCE_LENGTH:
        return "length";
    }
    return "unknown";
}
