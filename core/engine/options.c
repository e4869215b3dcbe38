/* The one table of options: help, environment variables and file fields all come from it. */
#include "core/engine/options.h"

#include <limits.h>
#include <string.h>

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define MIB (INT64_C(1) << 20)

#define PASSWORD_HELP                                                                              \
    "either the password or user:password. Other users of the machine can read a command line: "   \
    "prefer the environment variable or the file."

/* The bounds keep mistakes out ("500" meant as milliseconds, memory that cannot hold one chunk per
 * stage); they are not tuned to anything finer. */
static const struct syn_option table[] = {
    [OPTION_SOURCE] = {.name = "source",
                       .env = "SYNCLINE_SOURCE",
                       .value_name = "URI",
                       .help = "Where to copy from: redis://[user:password@]host[:port][/db], "
                               "host:port or unix:///path.sock; several hosts of one deployment "
                               "are separated by commas. Or RDB files: file:///path.rdb, "
                               "file:path.rdb, several separated by commas, or file:- for standard "
                               "input. The first argument without dashes.",
                       .kind = SYN_OPTION_TEXT},
    [OPTION_DESTINATION] = {.name = "destination",
                            .env = "SYNCLINE_DESTINATION",
                            .value_name = "URI",
                            .help = "Where to copy to, written like the source; /db needs exactly "
                                    "one source database. The second argument without dashes.",
                            .kind = SYN_OPTION_TEXT},
    [OPTION_CONFIG] = {.name = "config",
                       .env = NULL,
                       .value_name = "FILE",
                       .help = "A YAML or JSON file with these options, '_' for '-' in their "
                               "names. The command line wins over it, it wins over the "
                               "environment.",
                       .kind = SYN_OPTION_TEXT},
    [OPTION_SOURCE_USER] = {.name = "source-user",
                            .env = "SYNCLINE_SOURCE_USER",
                            .value_name = "NAME",
                            .help = "ACL user at the source, unless the URI names one.",
                            .kind = SYN_OPTION_TEXT},
    [OPTION_SOURCE_PASSWORD] = {.name = "source-password",
                                .env = "SYNCLINE_SOURCE_PASSWORD",
                                .value_name = "PASSWORD",
                                .help = "At the source, unless the URI has one: " PASSWORD_HELP,
                                .kind = SYN_OPTION_TEXT,
                                .is_secret = true},
    [OPTION_SOURCE_PASSWORD_FILE] = {.name = "source-password-file",
                                     .env = "SYNCLINE_SOURCE_PASSWORD_FILE",
                                     .value_name = "FILE",
                                     .help = "A file whose first line is the source's password, "
                                             "or user:password.",
                                     .kind = SYN_OPTION_TEXT},
    [OPTION_DESTINATION_USER] = {.name = "destination-user",
                                 .env = "SYNCLINE_DESTINATION_USER",
                                 .value_name = "NAME",
                                 .help = "ACL user at the destination, unless the URI names one.",
                                 .kind = SYN_OPTION_TEXT},
    [OPTION_DESTINATION_PASSWORD] = {.name = "destination-password",
                                     .env = "SYNCLINE_DESTINATION_PASSWORD",
                                     .value_name = "PASSWORD",
                                     .help = "At the destination, unless the URI has "
                                             "one: " PASSWORD_HELP,
                                     .kind = SYN_OPTION_TEXT,
                                     .is_secret = true},
    [OPTION_DESTINATION_PASSWORD_FILE] = {.name = "destination-password-file",
                                          .env = "SYNCLINE_DESTINATION_PASSWORD_FILE",
                                          .value_name = "FILE",
                                          .help = "A file whose first line is the destination's "
                                                  "password, or user:password.",
                                          .kind = SYN_OPTION_TEXT},
    [OPTION_PREFER_REPLICA] = {.name = "prefer-replica",
                               .env = "SYNCLINE_PREFER_REPLICA",
                               .default_text = "false",
                               .help = "Read from a replica of each source shard where there is "
                                       "one.",
                               .kind = SYN_OPTION_FLAG},
    [OPTION_ONCE] = {.name = "once",
                     .env = "SYNCLINE_ONCE",
                     .default_text = "false",
                     .help = "End when the destination has the snapshot and what was written until "
                             "its end. Not with snapshot-only.",
                     .kind = SYN_OPTION_FLAG},
    [OPTION_SNAPSHOT_ONLY] = {.name = "snapshot-only",
                              .env = "SYNCLINE_SNAPSHOT_ONLY",
                              .default_text = "false",
                              .help = "End after the snapshot. Not with once.",
                              .kind = SYN_OPTION_FLAG},
    [OPTION_ON_NONEMPTY] = {.name = "on-nonempty",
                            .env = "SYNCLINE_ON_NONEMPTY",
                            .value_name = "stop|overwrite",
                            .default_text = "stop",
                            .help = "What to do when the destination has keys: stop before "
                                    "anything is written, or overwrite.",
                            .choices = "stop|overwrite",
                            .kind = SYN_OPTION_CHOICE},
    [OPTION_ON_UNSUPPORTED] = {.name = "on-unsupported",
                               .env = "SYNCLINE_ON_UNSUPPORTED",
                               .value_name = "stop|degrade|skip",
                               .default_text = "stop",
                               .help = "What to do with a value that the destination's version "
                                       "cannot represent, such as an expiry of a hash field: stop, "
                                       "write it without that, or leave the key out (function "
                                       "libraries, before 7.0: leave them out with either).",
                               .choices = "stop|degrade|skip",
                               .kind = SYN_OPTION_CHOICE},
    [OPTION_RESTART] = {.name = "restart",
                        .env = "SYNCLINE_RESTART",
                        .default_text = "false",
                        .help = "Begin with a new full copy, where an earlier run of the same "
                                "task would be continued.",
                        .kind = SYN_OPTION_FLAG},
    [OPTION_POSITIONS] = {.name = "positions",
                          .env = "SYNCLINE_POSITIONS",
                          .value_name = "on|off",
                          .default_text = "on",
                          .help = "Keep at the destination, in keys named syncline:…, how far each "
                                  "stream has been applied, so that a run that was ended by "
                                  "anything is continued exactly there.",
                          .choices = "on|off",
                          .kind = SYN_OPTION_CHOICE},
    [OPTION_ON_CORRUPT] = {.name = "on-corrupt",
                           .env = "SYNCLINE_ON_CORRUPT",
                           .value_name = "stop|skip",
                           .default_text = "stop",
                           .help =
                               "What to do with a value that is damaged, when it is known where "
                               "it ends: stop, or leave the key out and go on.",
                           .choices = "stop|skip",
                           .kind = SYN_OPTION_CHOICE},
    [OPTION_LOSSES] = {.name = "losses",
                       .env = "SYNCLINE_LOSSES",
                       .value_name = "FILE",
                       .help = "Append a JSON line to this file for every value that is written in "
                               "part or left out, with its key and the reason.",
                       .kind = SYN_OPTION_TEXT},
    [OPTION_ON_UNKNOWN] = {.name = "on-unknown",
                           .env = "SYNCLINE_ON_UNKNOWN",
                           .value_name = "stop|skip",
                           .default_text = "stop",
                           .help = "What to do with a command of a live stream that the "
                                   "destination does not know: stop, or leave it out.",
                           .choices = "stop|skip",
                           .kind = SYN_OPTION_CHOICE},
    [OPTION_ON_DIVERGENCE] = {.name = "on-divergence",
                              .env = "SYNCLINE_ON_DIVERGENCE",
                              .value_name = "refetch|count|stop",
                              .default_text = "refetch",
                              .help = "What to do when a live command finds another state at the "
                                      "destination than at the source (it fails there, or changes "
                                      "nothing): read its keys again at the source, only count "
                                      "it, or stop.",
                              .choices = "refetch|count|stop",
                              .kind = SYN_OPTION_CHOICE},
    [OPTION_REFETCH_DUMP_MAX] =
        {.name = "refetch-dump-max",
         .env = "SYNCLINE_REFETCH_DUMP_MAX",
         .value_name = "SIZE",
         .default_text = "16m",
         .help = "The largest value that is read again at the source by one DUMP; larger ones are "
                 "copied by scanning their elements. No more than --memory leaves for it: "
                 "about a fiftieth, divided by the source's shards.",
         .kind = SYN_OPTION_SIZE,
         .min = 1 << 10,
         .max = 1024 * MIB},
    [OPTION_ON_FLUSH] = {.name = "on-flush",
                         .env = "SYNCLINE_ON_FLUSH",
                         .value_name = "scoped|apply|ignore|stop",
                         .default_text = "scoped",
                         .help = "What FLUSHALL and FLUSHDB of a source remove: the keys that are "
                                 "its copies (all at once, when nothing else can be there), the "
                                 "whole of the destination's database, or nothing; or stop.",
                         .choices = "scoped|apply|ignore|stop",
                         .kind = SYN_OPTION_CHOICE},
    [OPTION_PUT_OFF_TTL] = {.name = "put-off-ttl",
                            .env = "SYNCLINE_PUT_OFF_TTL",
                            .value_name = "on|off",
                            .default_text = "on",
                            .help = "Put times to live off (by thousands of years) until the "
                                    "streams have caught up, and make them exact then, so that no "
                                    "key expires at the destination while its renewal is still "
                                    "on its way.",
                            .choices = "on|off",
                            .kind = SYN_OPTION_CHOICE},
    [OPTION_EXTEND_TTL] = {.name = "extend-ttl",
                           .env = "SYNCLINE_EXTEND_TTL",
                           .value_name = "TIME",
                           .default_text = "0",
                           .help = "Add this to every time to live, for good.",
                           .kind = SYN_OPTION_DURATION,
                           .max = 365 * 24 * HOUR},
    [OPTION_PUBLISH] = {.name = "publish",
                        .env = "SYNCLINE_PUBLISH",
                        .value_name = "drop|forward",
                        .default_text = "drop",
                        .help = "What to do with messages (PUBLISH, SPUBLISH) in the sources' "
                                "streams: drop them, or forward them to the destination's "
                                "subscribers.",
                        .choices = "drop|forward",
                        .kind = SYN_OPTION_CHOICE},
    [OPTION_HEARTBEAT] = {.name = "heartbeat",
                          .env = "SYNCLINE_HEARTBEAT",
                          .value_name = "TIME",
                          .default_text = "0",
                          .help = "Write a key with the time to each source shard this often (at "
                                  "least 100ms apart, SETEX, gone soon after the end), and measure "
                                  "the latency by it; 0: not at all, as it writes to the source. "
                                  "Then latency is estimated.",
                          .kind = SYN_OPTION_DURATION,
                          .max = HOUR},
    [OPTION_HEARTBEAT_PREFIX] = {.name = "heartbeat-prefix",
                                 .env = "SYNCLINE_HEARTBEAT_PREFIX",
                                 .value_name = "TEXT",
                                 .default_text = "DTS_REDIS_TIMESTAMP_HEARTBEAT",
                                 .help = "How the names of such keys begin. They are never copied "
                                         "or compared, whoever wrote them.",
                                 .kind = SYN_OPTION_TEXT},
    [OPTION_DB] = {.name = "db",
                   .env = "SYNCLINE_DB",
                   .value_name = "LIST",
                   .help = "Only these source databases, such as 0,3,5-7. All, when neither this "
                           "nor db-map is given.",
                   .kind = SYN_OPTION_TEXT},
    [OPTION_DB_MAP] = {.name = "db-map",
                       .env = "SYNCLINE_DB_MAP",
                       .value_name = "LIST",
                       .help = "Destination databases of source databases, such as 1:2,3:0. "
                               "Without db, exactly the databases named here are copied; with db, "
                               "those not named here keep their number.",
                       .kind = SYN_OPTION_TEXT},
    [OPTION_INCLUDE_KEY] = {.name = "include-key",
                            .env = "SYNCLINE_INCLUDE_KEY",
                            .value_name = "GLOB",
                            .help = "Only keys that match this pattern (* ? [a-z] \\) or another "
                                    "include rule for keys. All, when there is none; exclude rules "
                                    "win. Rules look at the names at the source, in every "
                                    "database.",
                            .kind = SYN_OPTION_LIST},
    [OPTION_INCLUDE_PREFIX] = {.name = "include-prefix",
                               .env = "SYNCLINE_INCLUDE_PREFIX",
                               .value_name = "PREFIX",
                               .help = "The same for keys that begin with this. Bytes may be "
                                       "written \\xNN \\n \\r \\t \\\\ here.",
                               .kind = SYN_OPTION_LIST},
    [OPTION_INCLUDE_SUFFIX] = {.name = "include-suffix",
                               .env = "SYNCLINE_INCLUDE_SUFFIX",
                               .value_name = "SUFFIX",
                               .help = "The same for keys that end with this.",
                               .kind = SYN_OPTION_LIST},
    [OPTION_EXCLUDE_KEY] = {.name = "exclude-key",
                            .env = "SYNCLINE_EXCLUDE_KEY",
                            .value_name = "GLOB",
                            .help = "No keys that match this pattern.",
                            .kind = SYN_OPTION_LIST},
    [OPTION_EXCLUDE_PREFIX] = {.name = "exclude-prefix",
                               .env = "SYNCLINE_EXCLUDE_PREFIX",
                               .value_name = "PREFIX",
                               .help = "No keys that begin with this.",
                               .kind = SYN_OPTION_LIST},
    [OPTION_EXCLUDE_SUFFIX] = {.name = "exclude-suffix",
                               .env = "SYNCLINE_EXCLUDE_SUFFIX",
                               .value_name = "SUFFIX",
                               .help = "No keys that end with this.",
                               .kind = SYN_OPTION_LIST},
    [OPTION_INCLUDE_TYPE] = {.name = "include-type",
                             .env = "SYNCLINE_INCLUDE_TYPE",
                             .value_name = "TYPES",
                             .help = "Only values of these types: string, list, set, zset, hash, "
                                     "stream, module.",
                             .kind = SYN_OPTION_LIST},
    [OPTION_EXCLUDE_TYPE] = {.name = "exclude-type",
                             .env = "SYNCLINE_EXCLUDE_TYPE",
                             .value_name = "TYPES",
                             .help = "No values of these types.",
                             .kind = SYN_OPTION_LIST},
    [OPTION_INCLUDE_COMMAND] = {.name = "include-command",
                                .env = "SYNCLINE_INCLUDE_COMMAND",
                                .value_name = "NAMES",
                                .help = "Only these commands of the live stream, by name or as "
                                        "@group: string, list, set, sortedset, hash, stream, geo, "
                                        "hyperloglog, bitmap, generic, scripting, pubsub, server, "
                                        "module. The snapshot has no commands but FUNCTION and "
                                        "SCRIPT.",
                                .kind = SYN_OPTION_LIST},
    [OPTION_EXCLUDE_COMMAND] = {.name = "exclude-command",
                                .env = "SYNCLINE_EXCLUDE_COMMAND",
                                .value_name = "NAMES",
                                .help = "None of these commands, also such as this version does "
                                        "not know.",
                                .kind = SYN_OPTION_LIST},
    [OPTION_RENAME_PREFIX] = {.name = "rename-prefix",
                              .env = "SYNCLINE_RENAME_PREFIX",
                              .value_name = "OLD=NEW",
                              .help = "Keys that begin with OLD begin with NEW at the destination. "
                                      "The first that fits counts; two keys never get one name.",
                              .kind = SYN_OPTION_LIST},
    [OPTION_ON_PARTIAL] = {.name = "on-partial",
                           .env = "SYNCLINE_ON_PARTIAL",
                           .value_name = "stop|drop",
                           .default_text = "stop",
                           .help = "What to do with a command that computes a selected key from "
                                   "others, such as RENAME of a key that is not selected, where "
                                   "the key cannot be read at the source instead (without "
                                   "positions, or a script without keys): stop, or leave it out "
                                   "and let the key differ.",
                           .choices = "stop|drop",
                           .kind = SYN_OPTION_CHOICE},
    [OPTION_IO] = {.name = "io",
                   .env = "SYNCLINE_IO",
                   .value_name = "auto|uring|epoll",
                   .default_text = "auto",
                   .help = "How sockets are driven: auto is io_uring where the kernel allows it.",
                   .choices = "auto|uring|epoll",
                   .kind = SYN_OPTION_CHOICE},
    [OPTION_ONE_THREAD] = {.name = "one-thread",
                           .env = "SYNCLINE_ONE_THREAD",
                           .value_name = "auto|on|off",
                           .default_text = "auto",
                           .help = "Read, decode and write in one thread; auto: on up to two "
                                   "cores, where it is sooner than handing on between threads, "
                                   "unless readers or decoders say how many. Files have a thread "
                                   "of their own.",
                           .choices = "auto|on|off",
                           .kind = SYN_OPTION_CHOICE},
    [OPTION_READERS] = {.name = "readers",
                        .env = "SYNCLINE_READERS",
                        .value_name = "N",
                        .default_text = "0",
                        .help = "Threads that read from sources; 0: by the number of cores.",
                        .kind = SYN_OPTION_INTEGER,
                        .max = 256},
    [OPTION_DECODERS] = {.name = "decoders",
                         .env = "SYNCLINE_DECODERS",
                         .value_name = "N",
                         .default_text = "0",
                         .help = "Threads that decode; 0: by the number of cores.",
                         .kind = SYN_OPTION_INTEGER,
                         .max = 256},
    [OPTION_LANES] = {.name = "lanes",
                      .env = "SYNCLINE_LANES",
                      .value_name = "N",
                      .default_text = "0",
                      .help = "Connections to each destination shard; 0: chosen. Always one to a "
                              "standalone server while positions are kept.",
                      .kind = SYN_OPTION_INTEGER,
                      .max = 64},
    [OPTION_MEMORY] = {.name = "memory",
                       .env = "SYNCLINE_MEMORY",
                       .value_name = "SIZE",
                       .default_text = "48m",
                       .help = "The most memory for data in flight. Sizes take k, m, g.",
                       .kind = SYN_OPTION_SIZE,
                       .min = 8 * MIB,
                       .max = 1024 * 1024 * MIB},
    [OPTION_SNAPSHOT_OPS] = {.name = "snapshot-ops",
                             .env = "SYNCLINE_SNAPSHOT_OPS",
                             .value_name = "N",
                             .default_text = "0",
                             .help = "The most keys per second that are written of snapshots; 0: "
                                     "no limit, as for all rates.",
                             .kind = SYN_OPTION_INTEGER,
                             .max = SYN_RATE_MAX},
    [OPTION_SNAPSHOT_BYTES] = {.name = "snapshot-bytes",
                               .env = "SYNCLINE_SNAPSHOT_BYTES",
                               .value_name = "SIZE",
                               .default_text = "0",
                               .help = "The most bytes per second that are written of snapshots.",
                               .kind = SYN_OPTION_SIZE,
                               .max = SYN_RATE_MAX},
    [OPTION_LIVE_OPS] =
        {.name = "live-ops",
         .env = "SYNCLINE_LIVE_OPS",
         .value_name = "N",
         .default_text = "0",
         .help =
             "The most commands per second that are written of live streams. What waits is kept "
             "in memory, then in the sources' output buffers (see their "
             "client-output-buffer-limit replica).",
         .kind = SYN_OPTION_INTEGER,
         .max = SYN_RATE_MAX},
    [OPTION_LIVE_BYTES] = {.name = "live-bytes",
                           .env = "SYNCLINE_LIVE_BYTES",
                           .value_name = "SIZE",
                           .default_text = "0",
                           .help = "The most bytes per second that are written of live streams.",
                           .kind = SYN_OPTION_SIZE,
                           .max = SYN_RATE_MAX},
    [OPTION_SHARD_SNAPSHOT_OPS] = {.name = "shard-snapshot-ops",
                                   .env = "SYNCLINE_SHARD_SNAPSHOT_OPS",
                                   .value_name = "N",
                                   .default_text = "0",
                                   .help = "As snapshot-ops, for each shard of the destination.",
                                   .kind = SYN_OPTION_INTEGER,
                                   .max = SYN_RATE_MAX},
    [OPTION_SHARD_SNAPSHOT_BYTES] = {.name = "shard-snapshot-bytes",
                                     .env = "SYNCLINE_SHARD_SNAPSHOT_BYTES",
                                     .value_name = "SIZE",
                                     .default_text = "0",
                                     .help =
                                         "As snapshot-bytes, for each shard of the destination.",
                                     .kind = SYN_OPTION_SIZE,
                                     .max = SYN_RATE_MAX},
    [OPTION_SHARD_LIVE_OPS] = {.name = "shard-live-ops",
                               .env = "SYNCLINE_SHARD_LIVE_OPS",
                               .value_name = "N",
                               .default_text = "0",
                               .help = "As live-ops, for each shard of the destination.",
                               .kind = SYN_OPTION_INTEGER,
                               .max = SYN_RATE_MAX},
    [OPTION_SHARD_LIVE_BYTES] = {.name = "shard-live-bytes",
                                 .env = "SYNCLINE_SHARD_LIVE_BYTES",
                                 .value_name = "SIZE",
                                 .default_text = "0",
                                 .help = "As live-bytes, for each shard of the destination.",
                                 .kind = SYN_OPTION_SIZE,
                                 .max = SYN_RATE_MAX},
    [OPTION_CONNECT_TIMEOUT] = {.name = "connect-timeout",
                                .env = "SYNCLINE_CONNECT_TIMEOUT",
                                .value_name = "TIME",
                                .default_text = "5s",
                                .help = "For connecting and for each answer while checking. Times "
                                        "take ms, s, m, h.",
                                .kind = SYN_OPTION_DURATION,
                                .min = 10,
                                .max = HOUR},
    [OPTION_SILENCE_TIMEOUT] = {.name = "silence-timeout",
                                .env = "SYNCLINE_SILENCE_TIMEOUT",
                                .value_name = "TIME",
                                .default_text = "60s",
                                .help = "A source that sends nothing for so long is connected "
                                        "again; sources send a ping every 10 s.",
                                .kind = SYN_OPTION_DURATION,
                                .min = 100,
                                .max = 24 * HOUR},
    [OPTION_RETRY_CONNECTION] = {.name = "retry-connection",
                                 .env = "SYNCLINE_RETRY_CONNECTION",
                                 .value_name = "TIME",
                                 .default_text = "720m",
                                 .help = "How long a lost connection is tried again before the "
                                         "task fails; 0: not at all.",
                                 .kind = SYN_OPTION_DURATION,
                                 .max = 10000 * HOUR},
    [OPTION_RETRY_OTHER] = {.name = "retry-other",
                            .env = "SYNCLINE_RETRY_OTHER",
                            .value_name = "TIME",
                            .default_text = "10m",
                            .help = "How long a destination that is reachable but refuses for now "
                                    "(out of memory, loading, failing over, slots moving) is tried "
                                    "again before the task fails; 0: not at all.",
                            .kind = SYN_OPTION_DURATION,
                            .max = 10000 * HOUR},
    [OPTION_DRAIN_TIMEOUT] = {.name = "drain-timeout",
                              .env = "SYNCLINE_DRAIN_TIMEOUT",
                              .value_name = "TIME",
                              .default_text = "10s",
                              .help = "How long a stop waits for what was received to be written.",
                              .kind = SYN_OPTION_DURATION,
                              .max = 24 * HOUR},
    [OPTION_FULL] = {.name = "full",
                     .env = "SYNCLINE_FULL",
                     .default_text = "true",
                     .help = "Compare every value. Not with fast.",
                     .kind = SYN_OPTION_FLAG},
    [OPTION_FAST] = {.name = "fast",
                     .env = "SYNCLINE_FAST",
                     .default_text = "false",
                     .help = "Compare keys, types, lengths and times to live only.",
                     .kind = SYN_OPTION_FLAG},
    [OPTION_ROUNDS] = {.name = "rounds",
                       .env = "SYNCLINE_ROUNDS",
                       .value_name = "N",
                       .default_text = "5",
                       .help = "How often a difference is read again before it counts: a source "
                               "in use is always a little ahead.",
                       .kind = SYN_OPTION_INTEGER,
                       .max = 1000},
    [OPTION_INTERVAL] = {.name = "interval",
                         .env = "SYNCLINE_INTERVAL",
                         .value_name = "TIME",
                         .default_text = "1s",
                         .help = "The pause between those rounds.",
                         .kind = SYN_OPTION_DURATION,
                         .max = HOUR},
    [OPTION_TTL_TOLERANCE] = {.name = "ttl-tolerance",
                              .env = "SYNCLINE_TTL_TOLERANCE",
                              .value_name = "TIME",
                              .default_text = "1s",
                              .help = "Times to live that differ by no more are equal.",
                              .kind = SYN_OPTION_DURATION,
                              .max = 24 * HOUR},
    [OPTION_OUTPUT] = {.name = "output",
                       .env = "SYNCLINE_OUTPUT",
                       .value_name = "text|json",
                       .default_text = "text",
                       .help = "Text for people, or one JSON object per line for programs.",
                       .choices = "text|json",
                       .kind = SYN_OPTION_CHOICE},
    [OPTION_PROGRESS_INTERVAL] = {.name = "progress-interval",
                                  .env = "SYNCLINE_PROGRESS_INTERVAL",
                                  .value_name = "TIME",
                                  .default_text = "1s",
                                  .help = "Time between progress lines or events.",
                                  .kind = SYN_OPTION_DURATION,
                                  .min = 10,
                                  .max = 24 * HOUR},
    [OPTION_LOG_LEVEL] = {.name = "log-level",
                          .env = "SYNCLINE_LOG_LEVEL",
                          .value_name = "LEVEL",
                          .default_text = "info",
                          .help = "The least important lines to show: debug, info, warning or "
                                  "error.",
                          .choices = "debug|info|warning|error",
                          .kind = SYN_OPTION_CHOICE},
};
_Static_assert(sizeof(table) / sizeof(table[0]) == OPTION_COUNT, "one entry for every option");

const struct syn_option *syn_options(size_t *count)
{
    *count = OPTION_COUNT;
    return table;
}

unsigned option_find(const char *name)
{
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return i;
        }
    }
    return OPTION_INDEX_NONE;
}

static char suggest_fold(char c)
{
    if (c == '_') {
        return '-';
    }
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned suggest_distance(const char *a, const char *b)
{
    size_t a_size = strnlen(a, SUGGEST_WORD_MAX);
    size_t b_size = strnlen(b, SUGGEST_WORD_MAX);
    unsigned row[SUGGEST_WORD_MAX + 1];
    for (unsigned i = 0; i <= b_size; i++) {
        row[i] = i;
    }
    for (unsigned i = 1; i <= a_size; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b_size; j++) {
            unsigned above = row[j];
            unsigned change = suggest_fold(a[i - 1]) == suggest_fold(b[j - 1]) ? 0 : 1;
            row[j] = least(least(row[j] + 1, row[j - 1] + 1), diagonal + change);
            diagonal = above;
        }
    }
    return row[b_size];
}

unsigned suggest_limit(const char *name)
{
    /* A third of the word may be wrong: more would suggest at random for short words. */
    return (unsigned)least(3, (unsigned)strnlen(name, SUGGEST_WORD_MAX) / 3 + 1);
}

const char *option_nearest(const char *name)
{
    const char *best = NULL;
    unsigned best_distance = suggest_limit(name) + 1;
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        unsigned distance = suggest_distance(name, table[i].name);
        if (distance < best_distance) {
            best_distance = distance;
            best = table[i].name;
        }
    }
    return best;
}
