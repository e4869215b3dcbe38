/*
 * The table of options and the values it allows; private to the engine's configuration.
 *
 * Threads:   the table is constant; functions are pure.
 * Errors:    SYN_CODE_CONFIG, the message opening with the option as `shown` names it ("memory" or
 *            "on_nonempty"), so that callers only add where it was written.
 */
#ifndef ENGINE_OPTIONS_H
#define ENGINE_OPTIONS_H

#include <limits.h>

#include "apply/select.h"
#include "core/engine/config.h"

/* In the order of the table, which is the order of help. */
enum option_id {
    OPTION_SOURCE,
    OPTION_DESTINATION,
    OPTION_CONFIG,
    OPTION_SOURCE_USER,
    OPTION_SOURCE_PASSWORD,
    OPTION_SOURCE_PASSWORD_FILE,
    OPTION_DESTINATION_USER,
    OPTION_DESTINATION_PASSWORD,
    OPTION_DESTINATION_PASSWORD_FILE,
    OPTION_PREFER_REPLICA,
    OPTION_ONCE,
    OPTION_SNAPSHOT_ONLY,
    OPTION_ON_NONEMPTY,
    OPTION_ON_UNSUPPORTED,
    OPTION_RESTART,
    OPTION_POSITIONS,
    OPTION_ON_CORRUPT,
    OPTION_LOSSES,
    OPTION_ON_UNKNOWN,
    OPTION_ON_DIVERGENCE,
    OPTION_REFETCH_DUMP_MAX,
    OPTION_ON_FLUSH,
    OPTION_PUT_OFF_TTL,
    OPTION_EXTEND_TTL,
    OPTION_PUBLISH,
    OPTION_HEARTBEAT,
    OPTION_HEARTBEAT_PREFIX,
    OPTION_DB,
    OPTION_DB_MAP,
    OPTION_INCLUDE_KEY, /* from here in the order of enum select_list */
    OPTION_INCLUDE_PREFIX,
    OPTION_INCLUDE_SUFFIX,
    OPTION_EXCLUDE_KEY,
    OPTION_EXCLUDE_PREFIX,
    OPTION_EXCLUDE_SUFFIX,
    OPTION_INCLUDE_TYPE,
    OPTION_EXCLUDE_TYPE,
    OPTION_INCLUDE_COMMAND,
    OPTION_EXCLUDE_COMMAND,
    OPTION_RENAME_PREFIX,
    OPTION_ON_PARTIAL,
    OPTION_IO,
    OPTION_ONE_THREAD,
    OPTION_READERS,
    OPTION_DECODERS,
    OPTION_LANES,
    OPTION_MEMORY,
    OPTION_SNAPSHOT_OPS, /* these in the order of enum syn_rate */
    OPTION_SNAPSHOT_BYTES,
    OPTION_LIVE_OPS,
    OPTION_LIVE_BYTES,
    OPTION_SHARD_SNAPSHOT_OPS,
    OPTION_SHARD_SNAPSHOT_BYTES,
    OPTION_SHARD_LIVE_OPS,
    OPTION_SHARD_LIVE_BYTES,
    OPTION_CONNECT_TIMEOUT,
    OPTION_SILENCE_TIMEOUT,
    OPTION_RETRY_CONNECTION,
    OPTION_RETRY_OTHER,
    OPTION_DRAIN_TIMEOUT,
    OPTION_FULL,
    OPTION_FAST,
    OPTION_ROUNDS,
    OPTION_INTERVAL,
    OPTION_TTL_TOLERANCE,
    OPTION_OUTPUT,
    OPTION_PROGRESS_INTERVAL,
    OPTION_LOG_LEVEL,
    OPTION_COUNT,
};

#define OPTION_NAME_MAX 40     /* with the terminator                                   */
#define OPTION_VALUE_MAX 65536 /* bytes of one value; more is an error                  */
/* Bytes of one value of a list as it is written, where each may be \xNN, with a terminator. */
#define OPTION_ENTRY_MAX (8 * SELECT_PATTERN_MAX + 2)
#define OPTION_INDEX_NONE UINT_MAX

/* The index in the table, OPTION_INDEX_NONE when there is none of that name ('_' and '-' are
 * different letters here). */
unsigned option_find(const char *name);
/* The option whose name is nearest to a mistyped one ('_' counts as '-'), NULL when none is near.
 */
const char *option_nearest(const char *name);
/* Changes needed to make one word of the other: for suggestions. At most SUGGEST_WORD_MAX letters
 * of each are looked at. */
#define SUGGEST_WORD_MAX 40
unsigned suggest_distance(const char *a, const char *b);
/* How far a word may be from `name` to be suggested for it. */
unsigned suggest_limit(const char *name);

/* Whether the option takes this value; of a list all values in it. Secrets and URIs are never
 * quoted in errors. */
MUST_CHECK bool
option_check(enum option_id id, const char *shown, const char *value, struct syn_err *err);

/* The value of a flag, integer, size (bytes), duration (ms) or choice (its index in `choices`). */
MUST_CHECK bool option_read_number(
    enum option_id id, const char *shown, const char *value, int64_t *number, struct syn_err *err);

/* The next value of a list, from *at, which moves behind it: lines, and for names of types and
 * commands also what commas separate. NULL: there is none. The caller copies it: `size` bytes
 * without a terminator. */
const char *option_list_next(enum option_id id, const char **at, size_t *size);
/* The rules' list that an option fills. */
static inline enum select_list option_select_list(enum option_id id)
{
    return (enum select_list)(id - OPTION_INCLUDE_KEY);
}

/* "0,3,5-7" into selected[CONFIG_DB_MAX]. */
MUST_CHECK bool
option_read_db(const char *shown, const char *value, bool *selected, struct syn_err *err);
/* "1:2,3:0" into map[CONFIG_DB_MAX], CONFIG_DB_NONE where nothing is said. */
MUST_CHECK bool
option_read_db_map(const char *shown, const char *value, uint16_t *map, struct syn_err *err);

#endif
