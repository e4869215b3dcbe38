/* From the options' texts to a configuration that the engine can use without asking again. */
#include "core/engine/config.h"

#include <stdlib.h>
#include <string.h>

#include "core/engine/config_store.h"
#include "core/engine/uri.h"

_Static_assert(OPTION_SHARD_LIVE_BYTES - OPTION_SNAPSHOT_OPS + 1 == SYN_RATE_COUNT,
               "an option for each rate");

/* More would be a load, and measure itself. */
#define HEARTBEAT_MS_MIN 100

/* What differs between the two sides. */
struct side_options {
    enum option_id uri;
    enum option_id user;
    enum option_id password;
    enum option_id password_file;
};
static const struct side_options source_options = {
    OPTION_SOURCE, OPTION_SOURCE_USER, OPTION_SOURCE_PASSWORD, OPTION_SOURCE_PASSWORD_FILE};
static const struct side_options destination_options = {OPTION_DESTINATION,
                                                        OPTION_DESTINATION_USER,
                                                        OPTION_DESTINATION_PASSWORD,
                                                        OPTION_DESTINATION_PASSWORD_FILE};

static const struct syn_option *option_at(enum option_id id)
{
    size_t count;
    return &syn_options(&count)[id];
}

/* The value of an option, else its default. Values were checked when they were set and defaults
 * are ours, so this cannot fail. */
static int64_t number_of(const struct syn_config *from, enum option_id id)
{
    const struct syn_option *option = option_at(id);
    const char *text = from->text[id] != NULL ? from->text[id] : option->default_text;
    int64_t number = 0;
    struct syn_err err;
    ASSERT(text != NULL);
    ASSERT(option_read_number(id, option->name, text, &number, &err));
    return number;
}

static bool is_set(const struct syn_config *from, enum option_id id)
{
    return from->text[id] != NULL && number_of(from, id) != 0;
}

struct credentials {
    char user[sizeof(((struct endpoint *)0)->user)];
    char password[sizeof(((struct endpoint *)0)->password)];
};

/* "password", or "user:password" when no user option says that all of it is the password. */
static bool
credentials_split(const char *shown, const char *text, struct credentials *out, struct syn_err *err)
{
    const char *colon = out->user[0] == '\0' ? strchr(text, ':') : NULL;
    const char *password = colon != NULL ? colon + 1 : text;
    size_t user_size = colon != NULL ? (size_t)(colon - text) : 0;
    size_t size = strlen(password);
    if (user_size >= sizeof(out->user) || size >= sizeof(out->password)) {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "%s: the %s is longer than %zu bytes",
                   shown,
                   user_size >= sizeof(out->user) ? "user" : "password",
                   user_size >= sizeof(out->user) ? sizeof(out->user) - 1
                                                  : sizeof(out->password) - 1);
    }
    if (size == 0) {
        return ERR(err, SYN_CODE_CONFIG, "%s: the password is empty", shown);
    }
    if (colon != NULL) {
        memcpy(out->user, text, user_size);
        out->user[user_size] = '\0';
    }
    memcpy(out->password, password, size + 1);
    return true;
}

/* The first line of the file. */
static bool credentials_from_file(const char *shown,
                                  const char *path,
                                  struct credentials *out,
                                  struct syn_err *err)
{
    char *text;
    size_t size;
    if (!config_read_file(shown, path, PASSWORD_FILE_MAX, &text, &size, err)) {
        return false;
    }
    text[strcspn(text, "\r\n")] = '\0';
    bool ok = credentials_split(shown, text, out, err);
    explicit_bzero(text, size);
    mem_free(MEM_ENGINE, text);
    return ok;
}

static bool credentials_read(const struct syn_config *from,
                             const struct side_options *options,
                             struct credentials *out,
                             struct syn_err *err)
{
    memset(out, 0, sizeof(*out));
    const char *user = from->text[options->user];
    if (user != NULL) {
        size_t size = strlen(user);
        ASSERT(size < sizeof(out->user));
        memcpy(out->user, user, size + 1);
    }
    const char *password = from->text[options->password];
    if (password != NULL) {
        return credentials_split(option_at(options->password)->name, password, out, err);
    }
    const char *file = from->text[options->password_file];
    if (file != NULL) {
        return credentials_from_file(option_at(options->password_file)->name, file, out, err);
    }
    return true;
}

/* Fills in credentials where the URI has none. A URI with a user only takes the password. */
static void credentials_apply(const struct credentials *credentials, struct config_side *side)
{
    for (uint32_t i = 0; i < side->host_count; i++) {
        struct endpoint *host = &side->hosts[i];
        if (host->password[0] != '\0') {
            continue;
        }
        memcpy(host->password, credentials->password, sizeof(host->password));
        if (host->user[0] == '\0') {
            memcpy(host->user, credentials->user, sizeof(host->user));
        }
    }
}

static bool side_build(const struct syn_config *from,
                       const struct side_options *options,
                       struct uri *uri,
                       struct syn_err *err)
{
    const struct syn_option *option = option_at(options->uri);
    const char *text = from->text[options->uri];
    if (text == NULL) {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "%s: not given; set it as an argument or --%s URI, in %s, or as %s: in the "
                   "configuration file",
                   option->name,
                   option->name,
                   option->env,
                   option->name);
    }
    struct credentials credentials;
    bool ok = uri_parse(option->name, text, uri, err) &&
              credentials_read(from, options, &credentials, err);
    if (ok) {
        credentials_apply(&credentials, &uri->side);
    }
    explicit_bzero(&credentials, sizeof(credentials));
    return ok;
}

/* Two source databases in one destination database would mix keys of the same name, and a flush of
 * one would empty both. */
static bool db_check_overlap(const uint16_t *map, struct syn_err *err)
{
    uint16_t source_of[CONFIG_DB_MAX];
    memset(source_of, 0xff, sizeof(source_of));
    for (unsigned db = 0; db < CONFIG_DB_MAX; db++) {
        uint16_t to = map[db];
        if (to == CONFIG_DB_NONE) {
            continue;
        }
        ASSERT(to < CONFIG_DB_MAX);
        if (source_of[to] != CONFIG_DB_NONE) {
            return ERR(err,
                       SYN_CODE_CONFIG,
                       "db-map: databases %u and %u would both be written to %u",
                       source_of[to],
                       db,
                       to);
        }
        source_of[to] = (uint16_t)db;
    }
    return true;
}

/* db_map from db and db-map; a source URI's /db stands for db when that is not given. */
static bool db_rules_build(const struct syn_config *from,
                           const struct uri *source,
                           struct config *out,
                           struct syn_err *err)
{
    const char *list = from->text[OPTION_DB];
    const char *map = from->text[OPTION_DB_MAP];
    bool selected[CONFIG_DB_MAX] = {false};
    bool has_list = list != NULL || source->has_db;
    out->has_db_rules = has_list || map != NULL;
    if (list != NULL && !option_read_db("db", list, selected, err)) {
        return false;
    }
    if (list == NULL && source->has_db) {
        selected[source->db] = true;
    }
    memset(out->db_map, 0xff, sizeof(out->db_map));
    if (map != NULL && !option_read_db_map("db-map", map, out->db_map, err)) {
        return false;
    }
    for (unsigned db = 0; db < CONFIG_DB_MAX; db++) {
        bool is_mapped = out->db_map[db] != CONFIG_DB_NONE;
        if (has_list && is_mapped && !selected[db]) {
            return ERR(err,
                       SYN_CODE_CONFIG,
                       "db-map: database %u is not selected by %s",
                       db,
                       list != NULL ? "db" : "the source URI");
        }
        if (selected[db] && !is_mapped) {
            out->db_map[db] = (uint16_t)db;
        }
    }
    return db_check_overlap(out->db_map, err);
}

/* A destination's /db: the place of the one source database. */
static bool db_destination_build(const struct syn_config *from,
                                 const struct uri *destination,
                                 struct config *out,
                                 struct syn_err *err)
{
    if (!destination->has_db) {
        return true;
    }
    if (from->text[OPTION_DB_MAP] != NULL) {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "destination: /%u in the URI and db-map contradict each other: leave one out",
                   destination->db);
    }
    unsigned count = 0;
    unsigned only = 0;
    for (unsigned db = 0; out->has_db_rules && db < CONFIG_DB_MAX; db++) {
        if (out->db_map[db] != CONFIG_DB_NONE) {
            only = db;
            count++;
        }
    }
    if (count != 1) {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "destination: /%u in the URI needs exactly one source database, and %s "
                   "selected: name one (--db N), or say where each goes (--db-map 0:%u)",
                   destination->db,
                   count == 0 ? "all are" : "several are",
                   destination->db);
    }
    out->db_map[only] = (uint16_t)destination->db;
    return true;
}

static bool select_build(const struct syn_config *from, struct config *out, struct syn_err *err)
{
    char entry[OPTION_ENTRY_MAX];
    select_init(&out->select);
    for (unsigned list = 0; list < SELECT_LIST_COUNT; list++) {
        enum option_id id = (enum option_id)(OPTION_INCLUDE_KEY + list);
        const char *at = from->text[id] != NULL ? from->text[id] : "";
        const char *value;
        size_t size;
        while ((value = option_list_next(id, &at, &size)) != NULL) {
            ASSERT(size < sizeof(entry)); /* checked when it was set */
            memcpy(entry, value, size);
            entry[size] = '\0';
            if (!select_add(&out->select, (enum select_list)list, entry, err)) {
                return false;
            }
        }
    }
    out->on_flush = (enum flush_policy)number_of(from, OPTION_ON_FLUSH);
    out->drops_partial = number_of(from, OPTION_ON_PARTIAL) != 0;
    return select_finish(&out->select, err);
}
_Static_assert(OPTION_RENAME_PREFIX - OPTION_INCLUDE_KEY + 1 == SELECT_LIST_COUNT,
               "the options of rules are in the order of their lists");

static bool mode_build(const struct syn_config *from, struct config *out, struct syn_err *err)
{
    bool once = is_set(from, OPTION_ONCE);
    bool snapshot_only = is_set(from, OPTION_SNAPSHOT_ONLY);
    if (once && snapshot_only) {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "once and snapshot-only exclude each other: once also takes what is written "
                   "while the snapshot is copied");
    }
    out->mode = once ? SYNC_ONCE : snapshot_only ? SYNC_SNAPSHOT_ONLY : SYNC_FOLLOW;
    if (number_of(from, OPTION_ONE_THREAD) == ONE_THREAD_ON &&
        (number_of(from, OPTION_READERS) > 1 || number_of(from, OPTION_DECODERS) > 1)) {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "one-thread on leaves room for one reader and one decoder: leave readers and "
                   "decoders out, or one-thread");
    }
    bool fast = is_set(from, OPTION_FAST);
    if (fast && is_set(from, OPTION_FULL)) {
        return ERR(err, SYN_CODE_CONFIG, "full and fast exclude each other: leave one out");
    }
    if (!fast && from->text[OPTION_FULL] != NULL && !is_set(from, OPTION_FULL)) {
        fast = true;
    }
    out->verify = fast ? VERIFY_FAST : VERIFY_FULL;
    return true;
}

static void numbers_build(const struct syn_config *from, struct config *out)
{
    /* The choices are listed in the order of the enums. */
    static const enum io_backend backends[] = {IO_BACKEND_AUTO, IO_BACKEND_URING, IO_BACKEND_EPOLL};
    static const enum nonempty_policy policies[] = {NONEMPTY_STOP, NONEMPTY_OVERWRITE};
    out->io = backends[number_of(from, OPTION_IO)];
    static const enum rewrite_policy losses[] = {REWRITE_STOP, REWRITE_DEGRADE, REWRITE_SKIP};
    out->on_nonempty = policies[number_of(from, OPTION_ON_NONEMPTY)];
    out->on_unsupported = losses[number_of(from, OPTION_ON_UNSUPPORTED)];
    static const enum corrupt_policy damages[] = {CORRUPT_STOP, CORRUPT_SKIP};
    out->on_corrupt = damages[number_of(from, OPTION_ON_CORRUPT)];
    out->skips_unknown = number_of(from, OPTION_ON_UNKNOWN) != 0;
    out->puts_off_ttl = number_of(from, OPTION_PUT_OFF_TTL) == 0;
    out->extend_ttl_ms = number_of(from, OPTION_EXTEND_TTL);
    out->on_divergence = (enum divergence_policy)number_of(from, OPTION_ON_DIVERGENCE);
    out->refetch_dump_max = (uint64_t)number_of(from, OPTION_REFETCH_DUMP_MAX);
    out->publishes = number_of(from, OPTION_PUBLISH) != 0;
    out->prefer_replica = number_of(from, OPTION_PREFER_REPLICA) != 0;
    out->one_thread = (enum one_thread)number_of(from, OPTION_ONE_THREAD);
    out->reader_count = (uint32_t)number_of(from, OPTION_READERS);
    out->decoder_count = (uint32_t)number_of(from, OPTION_DECODERS);
    out->lane_count = (uint32_t)number_of(from, OPTION_LANES);
    out->memory_bytes = (uint64_t)number_of(from, OPTION_MEMORY);
    for (int rate = 0; rate < SYN_RATE_COUNT; rate++) {
        out->rates.per_s[rate] =
            (uint64_t)number_of(from, (enum option_id)(OPTION_SNAPSHOT_OPS + rate));
    }
    out->connect_timeout_ms = (uint64_t)number_of(from, OPTION_CONNECT_TIMEOUT);
    out->silence_timeout_ms = (uint64_t)number_of(from, OPTION_SILENCE_TIMEOUT);
    out->retry_ms = (uint64_t)number_of(from, OPTION_RETRY_CONNECTION);
    out->retry_other_ms = (uint64_t)number_of(from, OPTION_RETRY_OTHER);
    out->is_restart = number_of(from, OPTION_RESTART) != 0;
    out->has_positions = number_of(from, OPTION_POSITIONS) == 0 && out->mode != SYNC_SNAPSHOT_ONLY;
    out->drain_timeout_ms = (uint64_t)number_of(from, OPTION_DRAIN_TIMEOUT);
    out->verify_rounds = (uint64_t)number_of(from, OPTION_ROUNDS);
    out->verify_interval_ms = (uint64_t)number_of(from, OPTION_INTERVAL);
    out->ttl_tolerance_ms = (uint64_t)number_of(from, OPTION_TTL_TOLERANCE);
}

/* ---- files as source ---- */

/* What only a server can do or needs: named, rather than left without effect. */
static bool files_check_options(const struct syn_config *from, struct syn_err *err)
{
    static const enum option_id ids[] = {OPTION_SOURCE_USER,
                                         OPTION_SOURCE_PASSWORD,
                                         OPTION_SOURCE_PASSWORD_FILE,
                                         OPTION_PREFER_REPLICA};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        const struct syn_option *option = option_at(ids[i]);
        bool is_given =
            option->kind == SYN_OPTION_FLAG ? is_set(from, ids[i]) : from->text[ids[i]] != NULL;
        if (is_given) {
            return ERR(err,
                       SYN_CODE_CONFIG,
                       "%s: the source is a file, which has neither accounts nor replicas; leave "
                       "it out, also as %s",
                       option->name,
                       option->env);
        }
    }
    return true;
}

static bool files_check_names(const struct config_files *files, struct syn_err *err)
{
    for (uint32_t i = 0; i < files->count; i++) {
        if (files->count > 1 && strcmp(config_file(files, i), "-") == 0) {
            return ERR(err,
                       SYN_CODE_CONFIG,
                       "source: standard input (file:-) cannot be one of several files");
        }
    }
    return true;
}

/* A file has an end and nothing behind it: follow and once come to the same as snapshot-only, and
 * there is nothing to resume. */
static bool files_build(const struct syn_config *from,
                        const struct uri *source,
                        const struct uri *destination,
                        struct config *out,
                        struct syn_err *err)
{
    if (destination->files.count > 0) {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "destination: a file can only be a source; name a server to write to");
    }
    if (source->files.count == 0) {
        return true;
    }
    out->mode = SYNC_SNAPSHOT_ONLY;
    out->has_positions = false;
    if (out->heartbeat_ms > 0) {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "heartbeat: the source is a file, to which nothing is written; leave it out");
    }
    return files_check_options(from, err) && files_check_names(&source->files, err);
}

static bool losses_build(const struct syn_config *from, struct config *out, struct syn_err *err)
{
    const char *path = from->text[OPTION_LOSSES];
    size_t size = path != NULL ? strlen(path) : 0;
    if (path != NULL && (size == 0 || size >= sizeof(out->losses_path))) {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "losses: a path of 1 to %zu bytes is needed",
                   sizeof(out->losses_path) - 1);
    }
    memcpy(out->losses_path, path != NULL ? path : "", size + 1);
    return true;
}

static bool heartbeat_build(const struct syn_config *from, struct config *out, struct syn_err *err)
{
    const char *prefix = from->text[OPTION_HEARTBEAT_PREFIX];
    prefix = prefix != NULL ? prefix : option_at(OPTION_HEARTBEAT_PREFIX)->default_text;
    size_t size = strlen(prefix);
    ASSERT(size < sizeof(out->heartbeat_prefix));
    memcpy(out->heartbeat_prefix, prefix, size + 1);
    out->heartbeat_ms = (uint64_t)number_of(from, OPTION_HEARTBEAT);
    if (out->heartbeat_ms > 0 && out->heartbeat_ms < HEARTBEAT_MS_MIN) {
        return ERR(err,
                   SYN_CODE_CONFIG,
                   "heartbeat: %llums is too often: at least %dms, or 0 for none",
                   (unsigned long long)out->heartbeat_ms,
                   HEARTBEAT_MS_MIN);
    }
    return true;
}

bool config_build(const struct syn_config *from, struct config *out, struct syn_err *err)
{
    /* Two URIs are 128 hosts of a kilobyte: too much for a thread's stack that may be small. */
    struct uri *uris = mem_calloc(MEM_ENGINE, 2 * sizeof(*uris));
    if (uris == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "no memory to check the configuration");
    }
    memset(out, 0, sizeof(*out));
    bool ok = mode_build(from, out, err);
    numbers_build(from, out);
    ok = ok && losses_build(from, out, err) && heartbeat_build(from, out, err) &&
         side_build(from, &source_options, &uris[0], err) &&
         side_build(from, &destination_options, &uris[1], err) &&
         files_build(from, &uris[0], &uris[1], out, err) &&
         db_rules_build(from, &uris[0], out, err) &&
         db_destination_build(from, &uris[1], out, err) && select_build(from, out, err);
    if (ok) {
        out->source = uris[0].side;
        out->files = uris[0].files;
        out->destination = uris[1].side;
    }
    explicit_bzero(uris, 2 * sizeof(*uris));
    mem_free(MEM_ENGINE, uris);
    return ok;
}

bool config_build_rules(const struct syn_config *from, struct config *out, struct syn_err *err)
{
    struct uri *uris = mem_calloc(MEM_ENGINE, 2 * sizeof(*uris));
    if (uris == NULL) {
        return ERR(err, SYN_CODE_MEMORY, "no memory to check the configuration");
    }
    memset(out, 0, sizeof(*out));
    numbers_build(from, out);
    /* Databases may be named by the URIs. */
    const char *source = from->text[OPTION_SOURCE];
    const char *destination = from->text[OPTION_DESTINATION];
    bool ok = (source == NULL || uri_parse("source", source, &uris[0], err)) &&
              (destination == NULL || uri_parse("destination", destination, &uris[1], err)) &&
              db_rules_build(from, &uris[0], out, err) &&
              db_destination_build(from, &uris[1], out, err) && select_build(from, out, err);
    explicit_bzero(uris, 2 * sizeof(*uris));
    mem_free(MEM_ENGINE, uris);
    return ok;
}
