#include "apply/expiry.h"

#include <string.h>
#include <strings.h>

static struct slice word(const struct expiry_words *words, uint32_t i)
{
    if (words->command == NULL) {
        return words->args[i];
    }
    const struct resp_arg *arg = &words->command->argv[i];
    return (struct slice){words->bytes + arg->pos, arg->size};
}

static bool word_is(const struct expiry_words *words, uint32_t i, const char *text)
{
    struct slice slice = word(words, i);
    return slice.size == strlen(text) &&
           strncasecmp((const char *)slice.bytes, text, slice.size) == 0;
}

/* ---- where the time is ---- */

struct place {
    uint32_t arg; /* 0: there is none */
    bool is_seconds;
};

/* EX, PX, EXAT or PXAT among options that begin at `first`. */
static struct place among_options(const struct expiry_words *words, uint32_t first)
{
    for (uint32_t i = first; i + 1 < words->count; i++) {
        if (word_is(words, i, "PXAT") || word_is(words, i, "PX")) {
            return (struct place){.arg = i + 1};
        }
        if (word_is(words, i, "EX") || word_is(words, i, "EXAT")) {
            return (struct place){.arg = i + 1, .is_seconds = true};
        }
        if (word_is(words, i, "IFEQ")) {
            i++; /* its operand may be any word */
        }
    }
    return (struct place){0};
}

/* MSETEX numkeys key value … options. */
static struct place of_pairs(const struct expiry_words *words)
{
    struct slice number = word(words, 1);
    uint64_t count;
    if (!num_read_u64((const char *)number.bytes, number.size, &count) ||
        count > words->count / 2) {
        return (struct place){0};
    }
    return among_options(words, 2 + 2 * (uint32_t)count);
}

static struct place place_of(const struct command_info *info, const struct expiry_words *words)
{
    if (words->count < 3) {
        return (struct place){0};
    }
    if (strcmp(info->name, "SET") == 0) {
        return among_options(words, 3);
    }
    if (strcmp(info->name, "MSETEX") == 0) {
        return of_pairs(words);
    }
    bool is_seconds = strcmp(info->name, "SETEX") == 0 || strcmp(info->name, "EXPIRE") == 0 ||
                      strcmp(info->name, "EXPIREAT") == 0;
    return (struct place){.arg = 2, .is_seconds = is_seconds};
}

/* ---- the edit ---- */

bool expiry_edit_make(struct expiry_edit *edit,
                      const struct command_info *info,
                      const struct expiry_words *words,
                      int64_t add_ms)
{
    int64_t time;
    struct place place = place_of(info, words);
    if (place.arg == 0) {
        return false;
    }
    struct slice old = word(words, place.arg);
    int64_t unit = place.is_seconds ? 1000 : 1;
    if (!num_read_i64((const char *)old.bytes, old.size, &time) || time <= 0 ||
        time >= EXPIRY_LATEST_MS / unit) {
        return false; /* RESTORE's 0 is none; the rest is for the destination to judge */
    }
    edit->arg = place.arg;
    edit->count = words->count;
    if (strstr(info->name, "EXPIRE") != NULL) {
        edit->count = 3;
    }
    edit->digits_size = num_write_u64(edit->digits, (uint64_t)(time + add_ms / unit));
    return true;
}

void expiry_cut(struct expiry_pieces *pieces,
                const struct expiry_edit *edit,
                const uint8_t *bytes,
                const struct resp_command *command)
{
    const struct resp_arg *before = &command->argv[edit->arg - 1];
    const struct resp_arg *last = &command->argv[edit->count - 1];
    const struct resp_arg *time = &command->argv[edit->arg];
    const uint8_t *body = memchr(bytes, '\n', command->size);
    ASSERT(body != NULL);
    body++;
    pieces->head_size = (size_t)(resp_put_head(pieces->head, '*', edit->count) - pieces->head);
    pieces->before = body;
    pieces->before_size = (size_t)(bytes + before->pos + before->size + 2 - body);
    pieces->time_size =
        (size_t)(resp_put_bulk(pieces->time, edit->digits, edit->digits_size) - pieces->time);
    pieces->behind = bytes + time->pos + time->size + 2;
    pieces->behind_size = (size_t)(bytes + last->pos + last->size + 2 - pieces->behind);
}

void expiry_copy(uint8_t *out, const struct expiry_pieces *pieces)
{
    memcpy(out, pieces->head, pieces->head_size);
    out += pieces->head_size;
    memcpy(out, pieces->before, pieces->before_size);
    out += pieces->before_size;
    memcpy(out, pieces->time, pieces->time_size);
    out += pieces->time_size;
    memcpy(out, pieces->behind, pieces->behind_size);
}
