#include "apply/command_ask.h"

#include <string.h>

/* ---- questions ---- */

bool question_init(struct question *question, struct waker *decoder, struct syn_err *err)
{
    memset(question, 0, sizeof(*question));
    question->decoder = decoder;
    return key_list_init(&question->keys, err);
}

void question_deinit(struct question *question)
{
    key_list_deinit(&question->keys);
}

void asker_post(struct asker *asker,
                struct question *question,
                const uint8_t *bytes,
                const struct resp_command *command)
{
    ASSERT(atomic_load_relaxed(&question->state) == QUESTION_IDLE);
    ASSERT(command->argc > 0);
    question->bytes = bytes;
    question->command = *command;
    question->is_failed = false;
    question->asked = NULL;
    question->keys.count = 0;
    err_clear(&question->err);
    atomic_store_release(&question->state, QUESTION_POSTED);
    waker_wake(&asker->waker);
}

/* ---- what is known ---- */

/* "NAME" or "NAME SUBCOMMAND" in upper case; 0: longer than any name that a server would have. */
static size_t name_of(const uint8_t *bytes,
                      const struct resp_command *command,
                      uint32_t words,
                      char name[static ASKED_NAME_MAX])
{
    size_t size = 0;
    for (uint32_t i = 0; i < words; i++) {
        const struct resp_arg *arg = &command->argv[i];
        if (arg->size == 0 || size + arg->size + 1 >= ASKED_NAME_MAX) {
            return 0;
        }
        if (i > 0) {
            name[size++] = ' ';
        }
        for (uint32_t j = 0; j < arg->size; j++) {
            char c = (char)bytes[arg->pos + j];
            if (c <= ' ' || c >= 0x7f) {
                return 0; /* no server's name has such letters, and they are shown in logs */
            }
            name[size++] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
        }
    }
    name[size] = '\0';
    return size;
}

static uint32_t place_of(const char *name, size_t size)
{
    return (uint32_t)(key_hash(name, size) % (2 * ASKED_MAX));
}

static struct asked *table_find(struct asker *asker, const char *name, size_t size)
{
    for (uint32_t place = place_of(name, size);; place = (place + 1) % (2 * ASKED_MAX)) {
        struct asked *asked = atomic_load_acquire(&asker->table[place]);
        if (asked == NULL || (asked->info.name_size == size && strcmp(asked->name, name) == 0)) {
            return asked;
        }
    }
}

static void table_add(struct asker *asker, struct asked *asked)
{
    ASSERT(asker->asked_count < ASKED_MAX);
    uint32_t place = place_of(asked->name, asked->info.name_size);
    while (atomic_load_relaxed(&asker->table[place]) != NULL) {
        place = (place + 1) % (2 * ASKED_MAX);
    }
    asker->asked_count++;
    atomic_store_release(&asker->table[place], asked);
}

struct asked *
asker_find(struct asker *asker, const uint8_t *bytes, const struct resp_command *command)
{
    char name[ASKED_NAME_MAX];
    size_t size = name_of(bytes, command, 1, name);
    struct asked *asked = size > 0 ? table_find(asker, name, size) : NULL;
    if (asked != NULL && asked->kind == ASKED_CONTAINER && command->argc > 1) {
        size = name_of(bytes, command, 2, name);
        asked = size > 0 ? table_find(asker, name, size) : NULL;
    }
    return asked;
}

/* ---- asking ---- */

/* A connection to a shard, the one before or the next that answers. */
static bool asker_connect(struct asker *asker, struct syn_err *err)
{
    const struct topology *destination = asker->destination;
    for (uint32_t i = 0; i < destination->shard_count; i++) {
        if (asker->control.context != NULL) {
            return true;
        }
        const struct shard *shard = &destination->shards[asker->shard];
        if (!control_open(&asker->control,
                          &shard->server.endpoint,
                          SIDE_DESTINATION,
                          asker->timeout_ms,
                          err)) {
            asker->shard = (asker->shard + 1) % destination->shard_count;
        }
        if (atomic_load_acquire(&asker->stop_wanted)) {
            return ERR(err, SYN_CODE_STOPPED, "stopped");
        }
    }
    return asker->control.context != NULL;
}

/* The reply; NULL: nobody answers. A connection that was left alone for long may be gone, so what
 * fails is tried once more. */
static redisReply *asker_call(
    struct asker *asker, int argc, const char **argv, const size_t *sizes, struct syn_err *err)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        if (!asker_connect(asker, err)) {
            return NULL;
        }
        redisReply *reply = control_call(&asker->control, argc, argv, sizes, err);
        if (reply != NULL) {
            return reply;
        }
    }
    return NULL;
}

/* A name of upper case letters, as servers write it: "xgroup|create". */
static void name_for_server(const char *name, char out[static ASKED_NAME_MAX])
{
    size_t i = 0;
    for (; name[i] != '\0'; i++) {
        char c = name[i] == ' ' ? '|' : name[i];
        out[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    out[i] = '\0';
}

/* Asks for one name and keeps what is said of it. NULL: err. */
static struct asked *ask_info(struct asker *asker, const char *name, struct syn_err *err)
{
    if (asker->asked_count == ASKED_MAX) {
        ERR(err,
            SYN_CODE_UNSUPPORTED,
            "more than %d names of commands are not known to this version",
            ASKED_MAX);
        return NULL;
    }
    char word[ASKED_NAME_MAX];
    name_for_server(name, word);
    const char *argv[] = {"COMMAND", "INFO", word};
    redisReply *reply = asker_call(asker, 3, argv, NULL, err);
    if (reply == NULL) {
        return NULL;
    }
    struct asked *asked = mem_alloc(MEM_APPLY, sizeof(*asked));
    bool is_read;
    if (asked == NULL) {
        is_read = ERR(err, SYN_CODE_MEMORY, "out of memory for a command's name");
    } else if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1) {
        is_read = control_reply_error(&asker->control, reply, "COMMAND INFO", err);
    } else {
        is_read = asked_read(asked, name, reply->element[0], err);
    }
    freeReplyObject(reply);
    if (!is_read) {
        mem_free(MEM_APPLY, asked);
        return NULL;
    }
    table_add(asker, asked);
    return asked;
}

/* The keys of this very command. */
static bool ask_keys(struct asker *asker, struct question *question)
{
    const struct resp_command *command = &question->command;
    size_t count = (size_t)command->argc + 2;
    const char **argv = mem_alloc(MEM_APPLY, count * sizeof(*argv));
    size_t *sizes = mem_alloc(MEM_APPLY, count * sizeof(*sizes));
    redisReply *reply = NULL;
    if (argv == NULL || sizes == NULL) {
        ERR(&question->err, SYN_CODE_MEMORY, "out of memory for %zu words", count);
    } else {
        argv[0] = "COMMAND";
        sizes[0] = 7;
        argv[1] = "GETKEYS";
        sizes[1] = 7;
        for (uint32_t i = 0; i < command->argc; i++) {
            argv[i + 2] = (const char *)question->bytes + command->argv[i].pos;
            sizes[i + 2] = command->argv[i].size;
        }
        reply = asker_call(asker, (int)count, argv, sizes, &question->err);
    }
    mem_free(MEM_APPLY, argv);
    mem_free(MEM_APPLY, sizes);
    if (reply == NULL) {
        return false;
    }
    bool is_read =
        asked_keys_read(reply, question->bytes, command, &question->keys, &question->err);
    freeReplyObject(reply);
    return is_read;
}

/* What is known of the first words of the command; asked for when it is the first time. */
static struct asked *asker_name(struct asker *asker, struct question *question, uint32_t words)
{
    char name[ASKED_NAME_MAX];
    size_t size = name_of(question->bytes, &question->command, words, name);
    if (size == 0) {
        ERR(&question->err, SYN_CODE_UNSUPPORTED, "it has a name that no server's command has");
        return NULL;
    }
    struct asked *asked = table_find(asker, name, size);
    return asked != NULL ? asked : ask_info(asker, name, &question->err);
}

static bool asker_look(struct asker *asker, struct question *question)
{
    question->asked = asker_name(asker, question, 1);
    if (question->asked != NULL && question->asked->kind == ASKED_CONTAINER &&
        question->command.argc > 1) {
        question->asked = asker_name(asker, question, 2);
    }
    if (question->asked == NULL) {
        return false;
    }
    return question->asked->kind != ASKED_KNOWN || question->asked->info.class == COMMAND_READ ||
           question->asked->info.spec_count != COMMAND_KEYS_ASKED || ask_keys(asker, question);
}

void asker_answer(struct asker *asker, struct question *question)
{
    ASSERT(atomic_load_acquire(&question->state) == QUESTION_POSTED);
    question->is_failed = !asker_look(asker, question);
    atomic_store_release(&question->state, QUESTION_ANSWERED);
    waker_wake(question->decoder);
}

/* ---- the thread ---- */

static bool asker_round(struct asker *asker)
{
    bool did = false;
    for (uint32_t i = 0; i < asker->question_count; i++) {
        struct question *question = asker->questions[i];
        if (atomic_load_acquire(&question->state) == QUESTION_POSTED) {
            asker_answer(asker, question);
            did = true;
        }
    }
    return did;
}

static void *asker_main(void *arg)
{
    struct asker *asker = arg;
    while (!atomic_load_acquire(&asker->stop_wanted)) {
        if (asker_round(asker)) {
            continue;
        }
        waker_prepare(&asker->waker);
        if (asker_round(asker) || atomic_load_acquire(&asker->stop_wanted)) {
            waker_done(&asker->waker);
        } else {
            waker_wait(&asker->waker, -1);
        }
    }
    return NULL;
}

bool asker_init(struct asker *asker,
                const struct topology *destination,
                int timeout_ms,
                struct syn_err *err)
{
    memset(asker, 0, sizeof(*asker));
    asker->destination = destination;
    asker->timeout_ms = timeout_ms;
    asker->has_waker = waker_init(&asker->waker, err);
    return asker->has_waker;
}

bool asker_start(struct asker *asker,
                 struct question **questions,
                 uint32_t question_count,
                 struct syn_err *err)
{
    asker->questions = questions;
    asker->question_count = question_count;
    asker->is_started = thread_start(&asker->thread, "ask", 0, asker_main, asker, err);
    return asker->is_started;
}

void asker_stop(struct asker *asker)
{
    if (asker->is_started) {
        atomic_store_release(&asker->stop_wanted, true);
        waker_signal(&asker->waker);
        pthread_join(asker->thread, NULL);
        asker->is_started = false;
    }
}

void asker_deinit(struct asker *asker)
{
    control_close(&asker->control);
    for (uint32_t i = 0; i < 2 * ASKED_MAX; i++) {
        mem_free(MEM_APPLY, atomic_load_relaxed(&asker->table[i]));
    }
    if (asker->has_waker) {
        waker_deinit(&asker->waker);
    }
    memset(asker, 0, sizeof(*asker));
}
