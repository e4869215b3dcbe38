/* Commands that the table lacks: the stream waits for the asker's answer, and goes on by it. And
 * those that the destination lacks. */
#include "apply/recovery.h"
#include "apply/stream_private.h"

#include <string.h>

const struct command_info *
live_find(const struct stream *stream, const uint8_t *bytes, const struct resp_command *command)
{
    const struct command_info *info =
        command_find(bytes + command->argv[0].pos, command->argv[0].size);
    if (LIKELY(info != NULL) || stream->task->asker == NULL) {
        return info;
    }
    const struct asked *asked = asker_find(stream->task->asker, bytes, command);
    return asked != NULL && asked->kind == ASKED_KNOWN ? &asked->info : NULL;
}

static bool needs_keys(const struct asked *asked)
{
    return asked->kind == ASKED_KNOWN && asked->info.class != COMMAND_READ &&
           asked->info.spec_count == COMMAND_KEYS_ASKED;
}

/* By --on-unknown. `is_first`: of this name. */
static void leave_out(struct stream *stream,
                      bool is_first,
                      const uint8_t *bytes,
                      const struct resp_command *command)
{
    counter_add(&stream->commands_skipped, 1);
    recovery_overlook(stream);
    if (is_first) {
        char where[200];
        live_where(stream, bytes, command, where);
        struct slice first = command->argc > 1 ? arg_slice(bytes, command, 1) : (struct slice){0};
        log_warning("%s, key hash %016llx, is left out: the destination does not know this "
                    "command; further ones are only counted",
                    where,
                    (unsigned long long)key_hash(first.bytes, first.size));
    }
}

static enum step unknown(struct stream *stream,
                         struct asked *asked,
                         const uint8_t *bytes,
                         const struct resp_command *command,
                         struct syn_err *err)
{
    if (!stream->task->skips_unknown) {
        char where[200];
        ERR(err,
            SYN_CODE_UNSUPPORTED,
            "%s is a command that neither this version nor the destination knows; load its module "
            "there, or leave it out (--exclude-command), or all such commands (--on-unknown skip)",
            live_where(stream, bytes, command, where));
        return STEP_FAIL;
    }
    leave_out(stream, !atomic_exchange_acq_rel(&asked->is_told, true), bytes, command);
    return STEP_DONE;
}

bool live_missing(struct stream *stream,
                  const struct command_info *info,
                  const uint8_t *bytes,
                  const struct resp_command *command,
                  struct syn_err *err)
{
    if (!stream->task->skips_unknown) {
        char where[200];
        return ERR(err,
                   SYN_CODE_UNSUPPORTED,
                   "%s is a command that the destination's version does not know; choose a newer "
                   "one, or leave such commands out (--on-unknown skip)",
                   live_where(stream, bytes, command, where));
    }
    leave_out(stream, command_missing_tell(stream->task->missing, info), bytes, command);
    return true;
}

static enum step refuse(const struct stream *stream,
                        const uint8_t *bytes,
                        const struct resp_command *command,
                        struct syn_err *err)
{
    char where[200];
    ERR(err,
        SYN_CODE_UNSUPPORTED,
        "%s is not a command that this version knows, so its keys are unknown too; stop the use of "
        "this command, leave it out (--exclude-command), or use a later Syncline",
        live_where(stream, bytes, command, where));
    return STEP_FAIL;
}

enum step live_ask(struct stream *stream,
                   const uint8_t *bytes,
                   const struct resp_command *command,
                   const struct command_info **info,
                   struct syn_err *err)
{
    struct asker *asker = stream->task->asker;
    struct question *question = &stream->question;
    *info = NULL;
    if (asker == NULL) {
        return refuse(stream, bytes, command, err);
    }
    struct asked *asked = NULL;
    if (stream->is_asking) {
        ASSERT(atomic_load_acquire(&question->state) == QUESTION_ANSWERED);
        stream->is_asking = false;
        atomic_store_release(&question->state, QUESTION_IDLE);
        if (question->is_failed) {
            char where[200];
            *err = question->err;
            err_context(err, "%s", live_where(stream, bytes, command, where));
            return STEP_FAIL;
        }
        asked = question->asked;
    } else {
        asked = asker_find(asker, bytes, command);
        if (asked == NULL || needs_keys(asked)) {
            stream->is_asking = true;
            asker_post(asker, question, bytes, command);
            return STEP_WAIT;
        }
    }
    if (asked->kind == ASKED_CONTAINER) { /* without the subcommand that it needs */
        return refuse(stream, bytes, command, err);
    }
    if (asked->kind == ASKED_UNKNOWN) {
        return unknown(stream, asked, bytes, command, err);
    }
    *info = &asked->info;
    live_keys_answered(stream);
    return STEP_DONE;
}

void live_keys_from(struct stream *stream, const uint8_t *positions, uint32_t count)
{
    stream->asked_keys = positions;
    stream->asked_key_count = count;
}

bool live_keys(struct stream *stream,
               const struct command_info *info,
               const uint8_t *bytes,
               const struct resp_command *command,
               struct syn_err *err)
{
    if (LIKELY(info->spec_count != COMMAND_KEYS_ASKED)) {
        return command_keys(info, bytes, command, &stream->keys, err);
    }
    stream->keys.count = 0;
    for (uint32_t i = 0; i < stream->asked_key_count; i++) {
        uint32_t position;
        memcpy(&position, stream->asked_keys + i * sizeof(position), sizeof(position));
        ASSERT(position < command->argc);
        if (!key_list_add(&stream->keys, position, err)) {
            return false;
        }
    }
    return true;
}
