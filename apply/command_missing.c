#include "apply/command_missing.h"

#include <string.h>

/* Those that go out under their own name: FUNCTION, SCRIPT and others have their own ways. */
static bool is_asked_for(const struct command_info *info)
{
    switch (info->class) {
    case COMMAND_WRITE:
    case COMMAND_SPLIT_PAIRS:
    case COMMAND_SPLIT_KEYS:
    case COMMAND_TRIM:
    case COMMAND_COPY:
    case COMMAND_MOVE:
    case COMMAND_SWAPDB:
    case COMMAND_EVAL:
        return strchr(info->name, ' ') == NULL; /* a subcommand is found by its container */
    default:
        return false;
    }
}

static const struct shard *oldest(const struct topology *topology)
{
    const struct shard *found = &topology->shards[0];
    for (uint32_t i = 1; i < topology->shard_count; i++) {
        if (topology->shards[i].server.version < found->server.version) {
            found = &topology->shards[i];
        }
    }
    return found;
}

/* Entries in the order of the names; nil where there is none. */
static void missing_note(struct command_missing *missing,
                         const redisReply *reply,
                         const uint16_t *places,
                         uint32_t count)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != count) {
        return; /* a proxy, or an account without COMMAND: nothing is said */
    }
    for (uint32_t i = 0; i < count; i++) {
        if (reply->element[i]->type == REDIS_REPLY_NIL) {
            atomic_store_relaxed(&missing->state[places[i]], MISSING_YES);
            missing->count++;
        }
    }
}

static bool missing_ask(struct command_missing *missing,
                        struct control *control,
                        const char **argv,
                        uint16_t *places,
                        struct syn_err *err)
{
    size_t table_count;
    const struct command_info *table = command_table(&table_count);
    uint32_t count = 0;
    argv[0] = "COMMAND";
    argv[1] = "INFO";
    for (size_t i = 0; i < table_count; i++) {
        if (is_asked_for(&table[i])) {
            argv[count + 2] = table[i].name;
            places[count++] = (uint16_t)i;
        }
    }
    redisReply *reply = control_call(control, (int)count + 2, argv, NULL, err);
    if (reply == NULL) {
        return false;
    }
    missing_note(missing, reply, places, count);
    freeReplyObject(reply);
    return true;
}

bool command_missing_read(struct command_missing **missing,
                          const struct topology *destination,
                          int timeout_ms,
                          struct syn_err *err)
{
    size_t count;
    (void)command_table(&count);
    ASSERT(count < UINT16_MAX);
    struct control control = {0};
    *missing = mem_calloc(MEM_APPLY, sizeof(**missing) + count);
    const char **argv = mem_alloc(MEM_APPLY, (count + 2) * sizeof(*argv));
    uint16_t *places = mem_alloc(MEM_APPLY, count * sizeof(*places));
    bool is_read = *missing != NULL && argv != NULL && places != NULL;
    if (!is_read) {
        ERR(err, SYN_CODE_MEMORY, "out of memory for the names of %zu commands", count);
    } else {
        is_read = control_open(&control,
                               &oldest(destination)->server.endpoint,
                               SIDE_DESTINATION,
                               timeout_ms,
                               err) &&
                  missing_ask(*missing, &control, argv, places, err);
    }
    control_close(&control);
    mem_free(MEM_APPLY, argv);
    mem_free(MEM_APPLY, places);
    if (!is_read || (*missing)->count == 0) {
        mem_free(MEM_APPLY, *missing);
        *missing = NULL;
    }
    return is_read;
}

void command_missing_free(struct command_missing *missing)
{
    mem_free(MEM_APPLY, missing);
}

/* Where the command stands in the table; SIZE_MAX: not there. */
static size_t place_of(const struct command_info *info)
{
    size_t count;
    const struct command_info *table = command_table(&count);
    return info >= table && info < table + count ? (size_t)(info - table) : SIZE_MAX;
}

bool command_is_missing(const struct command_missing *missing, const struct command_info *info)
{
    size_t place = place_of(info);
    return place != SIZE_MAX && atomic_load_relaxed(&missing->state[place]) != MISSING_NOT;
}

bool command_missing_tell(struct command_missing *missing, const struct command_info *info)
{
    uint8_t yes = MISSING_YES;
    return atomic_cas_acq_rel(&missing->state[place_of(info)], &yes, MISSING_TOLD);
}
