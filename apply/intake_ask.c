/*
 * Asking one shard.
 *
 * A proxy may close the connection at a command that it does not know, so a lost connection is an
 * answer here, and the next question opens another. Silence is none. Commands go one at a time, but
 * for one that makes a key and the one that lets the key expire: those leave in one piece.
 */
#include "apply/intake_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* Times to live of what a question needs: past, for RESTORE with ABSTTL; one millisecond without;
 * and a minute, in which all questions about a key are over. */
#define RESTORE_TTL "1"
#define KEY_TTL_MS "60000"
#define LATER_MS "32503680000000" /* the year 3000 */

#define SAMPLE_BYTES_MAX 128
#define FOOTER_FIRST 6
#define FOOTER_LAST 12

/* How a question was answered. */
enum answer {
    ANSWER_TAKEN,
    ANSWER_NO_COMMAND, /* no such command, or not for this account        */
    ANSWER_NO_OPTION,  /* the command has another form here               */
    ANSWER_NO_PAYLOAD, /* RESTORE does not take this footer or type       */
    ANSWER_NOT_TOLD,   /* refused for the server's state, or the key's name: asking->note */
    ANSWER_FAILED,     /* no connection: err                              */
};

/* A form of RESTORE. */
struct form {
    bool has_replace;
    bool has_absttl;
    const char *hint; /* "IDLETIME", "FREQ" or NULL */
};

struct asking {
    const struct shard *shard;
    int timeout_ms;
    struct control control;
    char key[80];
    size_t key_size;
    char refusal[96];         /* the last answer that was no OK */
    bool was_closed;          /* a question lost its connection  */
    struct redirect redirect; /* the key's slot may be one that is moving */
    struct syn_err note;      /* of ANSWER_NOT_TOLD             */
};

/* ---- keys ---- */

static bool slot_is_owned(const struct shard *shard, uint16_t slot)
{
    if (shard->ranges == NULL) {
        return true;
    }
    for (uint32_t i = 0; i < shard->range_count; i++) {
        if (slot >= shard->ranges[i].first && slot <= shard->ranges[i].last) {
            return true;
        }
    }
    return false;
}

/* A name that nobody has, in a slot of the shard. */
static bool key_make(struct asking *asking, struct syn_err *err)
{
    uint64_t random[2];
    ASSERT(asking->shard->slot_count > 0);
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        return ERR_SYS(err, SYN_CODE_SYSTEM, errno, "no random bytes");
    }
    uint64_t tag = random[0];
    do {
        int size = snprintf(asking->key,
                            sizeof(asking->key),
                            "syncline:intake:{%016llx}:%016llx",
                            (unsigned long long)tag++,
                            (unsigned long long)random[1]);
        ASSERT(size > 0 && (size_t)size < sizeof(asking->key));
        asking->key_size = (size_t)size;
    } while (!slot_is_owned(asking->shard, slot_of_key(asking->key, asking->key_size)));
    return true;
}

/* ---- questions ---- */

static bool asking_connect(struct asking *asking, struct syn_err *err)
{
    return asking->control.context != NULL || control_open(&asking->control,
                                                           &asking->shard->server.endpoint,
                                                           SIDE_DESTINATION,
                                                           asking->timeout_ms,
                                                           err);
}

/* What a server says about itself, not about the command. */
static bool is_about_state(const char *text)
{
    static const char *const prefixes[] = {"LOADING",
                                           "OOM",
                                           "READONLY",
                                           "MISCONF",
                                           "MOVED ",
                                           "ASK ",
                                           "TRYAGAIN",
                                           "CLUSTERDOWN",
                                           "MASTERDOWN",
                                           "NOREPLICAS",
                                           "BUSY ",
                                           "NOAUTH",
                                           "EXECABORT"};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (strncmp(text, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    /* Of an account that may use only some keys: the command itself is looked at first. */
    return strncmp(text, "NOPERM", 6) == 0 && strstr(text, " run the ") == NULL;
}

static enum answer error_read(const char *text)
{
    if (is_about_state(text)) {
        return ANSWER_NOT_TOLD;
    }
    if (strstr(text, "DUMP payload") != NULL || strstr(text, "Bad data format") != NULL ||
        strstr(text, "Unsupported foreign") != NULL) {
        return ANSWER_NO_PAYLOAD;
    }
    if (strstr(text, "syntax error") != NULL || strstr(text, "wrong number of arguments") != NULL) {
        return ANSWER_NO_OPTION;
    }
    return ANSWER_NO_COMMAND;
}

/* The refusal in one line without the key's name, which some servers repeat. */
static void refusal_keep(struct asking *asking, const char *text)
{
    size_t size = strcspn(text, ",'`\r\n");
    bool is_cut = text[size] == '\'' || text[size] == '`';
    snprintf(asking->refusal,
             sizeof(asking->refusal),
             "%.*s%s",
             (int)(size < 80 ? size : 80),
             text,
             is_cut ? "…" : "");
}

static enum answer answer_read(struct asking *asking, const redisReply *reply, const char *what)
{
    if (reply->type != REDIS_REPLY_ERROR) {
        return ANSWER_TAKEN;
    }
    refusal_keep(asking, reply->str);
    enum answer answer = error_read(reply->str);
    if (answer == ANSWER_NOT_TOLD) {
        control_reply_error(&asking->control, reply, what, &asking->note);
    }
    return answer;
}

/* What was appended last, answered; here, or where the key's slot is just going. */
static enum answer asking_fetch(
    struct asking *asking, int argc, const char **argv, const size_t *sizes, struct syn_err *err)
{
    struct syn_err lost = {.code = SYN_CODE_OK};
    redisReply *reply =
        asking->control.context != NULL ? control_fetch(&asking->control, &lost) : NULL;
    if (reply != NULL && asking->shard->ranges != NULL) {
        reply = redirect_follow(
            &asking->redirect, &asking->control.endpoint, argc, argv, sizes, reply, &lost);
    }
    if (reply == NULL) {
        control_close(&asking->control);
        if (lost.sys_errno == ETIMEDOUT) {
            *err = lost;
            return ANSWER_FAILED;
        }
        asking->was_closed = true;
        refusal_keep(asking, "it closes the connection");
        return ANSWER_NO_COMMAND;
    }
    enum answer answer = answer_read(asking, reply, argv[0]);
    freeReplyObject(reply);
    return answer;
}

static enum answer asking_call(
    struct asking *asking, int argc, const char **argv, const size_t *sizes, struct syn_err *err)
{
    struct syn_err lost;
    if (!asking_connect(asking, err)) {
        return ANSWER_FAILED;
    }
    if (!control_append(&asking->control, argc, argv, sizes, &lost)) {
        control_close(&asking->control);
    }
    return asking_fetch(asking, argc, argv, sizes, err);
}

/* The end of a question; what it was answered stays noted. */
static bool asking_forget(struct asking *asking, struct syn_err *err)
{
    const char *argv[] = {"DEL", asking->key};
    const size_t sizes[] = {3, asking->key_size};
    char refusal[sizeof(asking->refusal)];
    memcpy(refusal, asking->refusal, sizeof(refusal));
    struct syn_err note = asking->note;
    bool ok = asking_call(asking, 2, argv, sizes, err) != ANSWER_FAILED;
    memcpy(asking->refusal, refusal, sizeof(refusal));
    asking->note = note;
    return ok;
}

/* ---- RESTORE ---- */

static enum answer ask_restore(struct asking *asking,
                               const struct form *form,
                               struct slice sample,
                               uint16_t footer,
                               struct syn_err *err)
{
    uint8_t payload[SAMPLE_BYTES_MAX + RDB_FOOTER_SIZE];
    ASSERT(sample.size > 0 && sample.size <= SAMPLE_BYTES_MAX);
    memcpy(payload, sample.bytes, sample.size);
    rdb_footer_write(payload + sample.size, crc64_update(0, payload, sample.size), footer);
    const char *argv[8] = {"RESTORE", asking->key, RESTORE_TTL, (const char *)payload};
    size_t sizes[8] = {7, asking->key_size, strlen(RESTORE_TTL), sample.size + RDB_FOOTER_SIZE};
    int argc = 4;
    const char *options[] = {form->has_replace ? "REPLACE" : NULL,
                             form->has_absttl ? "ABSTTL" : NULL,
                             form->hint,
                             form->hint != NULL ? "1" : NULL};
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (options[i] != NULL) {
            argv[argc] = options[i];
            sizes[argc++] = strlen(options[i]);
        }
    }
    enum answer answer = asking_call(asking, argc, argv, sizes, err);
    if (answer == ANSWER_FAILED || !asking_forget(asking, err)) {
        return ANSWER_FAILED;
    }
    return answer;
}

/* The lowest footer that this form is taken with. */
static enum answer
ask_form(struct asking *asking, const struct form *form, uint16_t *footer, struct syn_err *err)
{
    struct slice sample = intake_sample(RDB_TYPE_STRING, false);
    enum answer answer = ANSWER_NO_PAYLOAD;
    for (*footer = FOOTER_FIRST; *footer <= FOOTER_LAST; ++*footer) {
        answer = ask_restore(asking, form, sample, *footer, err);
        if (answer != ANSWER_NO_PAYLOAD) {
            break;
        }
    }
    return answer;
}

/* The best form that is taken, and with which footer at the least. */
static enum answer ask_forms(struct asking *asking,
                             struct intake *intake,
                             struct form *form,
                             uint16_t *footer,
                             struct syn_err *err)
{
    static const struct form forms[] = {
        {.has_replace = true, .has_absttl = true}, {.has_replace = true}, {.hint = NULL}};
    enum answer answer = ANSWER_NO_OPTION;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]) && answer == ANSWER_NO_OPTION; i++) {
        *form = forms[i];
        answer = ask_form(asking, form, footer, err);
    }
    if (answer != ANSWER_TAKEN) {
        return answer;
    }
    intake->has_restore = true;
    intake->has_replace = form->has_replace;
    intake->has_absttl = form->has_absttl;
    struct slice sample = intake_sample(RDB_TYPE_STRING, false);
    for (int i = 0; i < 2; i++) {
        struct form hinting = *form;
        hinting.hint = i == 0 ? "IDLETIME" : "FREQ";
        enum answer hint = ask_restore(asking, &hinting, sample, *footer, err);
        if (hint == ANSWER_FAILED || hint == ANSWER_NOT_TOLD) {
            return hint;
        }
        *(i == 0 ? &intake->has_idle : &intake->has_freq) = hint == ANSWER_TAKEN;
    }
    return ANSWER_TAKEN;
}

static enum answer ask_types(struct asking *asking,
                             struct intake *intake,
                             const struct form *form,
                             uint16_t footer_least,
                             struct syn_err *err)
{
    for (uint32_t i = 0; i < 2 * RDB_TYPE_COUNT; i++) {
        uint8_t type = (uint8_t)(i / 2);
        bool is_valkey_rdb = i % 2 != 0;
        uint16_t *version = &intake->restore_version[is_valkey_rdb][type];
        struct slice sample = intake_sample(type, is_valkey_rdb);
        if (is_valkey_rdb && type < RDB_TYPE_HASH_METADATA_PRE_GA) {
            *version = intake->restore_version[0][type];
            continue;
        }
        if (sample.size == 0) {
            continue;
        }
        uint16_t footer = rdb_type_version_min(type, is_valkey_rdb);
        footer = footer > footer_least ? footer : footer_least;
        enum answer answer = ask_restore(asking, form, sample, footer, err);
        if (answer == ANSWER_FAILED || answer == ANSWER_NOT_TOLD) {
            return answer;
        }
        *version = answer == ANSWER_TAKEN ? footer : 0;
    }
    /* Modules came with this type; which ones there are only a value can tell. */
    uint16_t module = intake->restore_version[0][RDB_TYPE_ZSET_2];
    intake->restore_version[0][RDB_TYPE_MODULE_2] = module;
    intake->restore_version[1][RDB_TYPE_MODULE_2] = module;
    return ANSWER_TAKEN;
}

/* ---- other commands ---- */

/* Stands for the key in the words of a question. */
#define KEY "*"

struct question {
    const char *words[8];
    bool goes_with_next; /* in one piece */
    bool is_taken;
};

static int question_words(const struct asking *asking,
                          const struct question *question,
                          const char *argv[8],
                          size_t sizes[8])
{
    int argc = 0;
    for (; argc < 8 && question->words[argc] != NULL; argc++) {
        bool is_key = strcmp(question->words[argc], KEY) == 0;
        argv[argc] = is_key ? asking->key : question->words[argc];
        sizes[argc] = is_key ? asking->key_size : strlen(argv[argc]);
    }
    return argc;
}

static bool question_append(struct asking *asking, const struct question *question)
{
    const char *argv[8];
    size_t sizes[8];
    struct syn_err lost;
    int argc = question_words(asking, question, argv, sizes);
    if (asking->control.context == NULL ||
        !control_append(&asking->control, argc, argv, sizes, &lost)) {
        control_close(&asking->control);
        return false;
    }
    return true;
}

static enum answer ask_questions(struct asking *asking,
                                 struct question *questions,
                                 uint32_t count,
                                 struct syn_err *err)
{
    enum answer worst = ANSWER_TAKEN;
    for (uint32_t first = 0, end; first < count; first = end) {
        if (!asking_connect(asking, err)) {
            return ANSWER_FAILED;
        }
        end = first;
        do {
            (void)question_append(asking, &questions[end]);
        } while (questions[end++].goes_with_next);
        for (uint32_t i = first; i < end; i++) {
            const char *argv[8];
            size_t sizes[8];
            int argc = question_words(asking, &questions[i], argv, sizes);
            enum answer answer = asking_fetch(asking, argc, argv, sizes, err);
            if (answer == ANSWER_FAILED) {
                return answer;
            }
            questions[i].is_taken = answer == ANSWER_TAKEN;
            worst = answer == ANSWER_NOT_TOLD ? answer : worst;
        }
    }
    return asking_forget(asking, err) ? worst : ANSWER_FAILED;
}

static enum answer ask_hashes(struct asking *asking, struct intake *intake, struct syn_err *err)
{
    struct question questions[] = {
        {.words = {"HSET", KEY, "a", "1"}, .goes_with_next = true},
        {.words = {"PEXPIRE", KEY, KEY_TTL_MS}},
        {.words = {"HSET", KEY, "a", "1", "b", "2"}},
        {.words = {"HPEXPIREAT", KEY, LATER_MS, "FIELDS", "1", "a"}},
    };
    enum answer answer = ask_questions(asking, questions, 4, err);
    intake->rewrite.has_multi_hset = questions[2].is_taken;
    intake->rewrite.has_field_expiry = questions[3].is_taken;
    return answer;
}

static enum answer ask_streams(struct asking *asking, struct intake *intake, struct syn_err *err)
{
    struct question questions[] = {
        {.words = {"XGROUP", "CREATE", KEY, "g", "0", "MKSTREAM"}, .goes_with_next = true},
        {.words = {"PEXPIRE", KEY, KEY_TTL_MS}},
        {.words = {"XGROUP", "CREATECONSUMER", KEY, "g", "c"}},
        {.words = {"XSETID", KEY, "1-1", "ENTRIESADDED", "1", "MAXDELETEDID", "0-0"}},
    };
    enum answer answer = ask_questions(asking, questions, 4, err);
    intake->rewrite.has_streams = questions[0].is_taken;
    intake->rewrite.has_create_consumer = questions[2].is_taken;
    intake->rewrite.has_stream_counters = questions[3].is_taken;
    return answer;
}

static enum answer ask_others(struct asking *asking, struct intake *intake, struct syn_err *err)
{
    struct question questions[] = {
        {.words = {"SET", KEY, "v", "PXAT", "1", "XX"}}, /* XX: no such key, so nothing is set */
        {.words = {"FUNCTION", "STATS"}},
    };
    enum answer answer = ask_questions(asking, questions, 2, err);
    intake->rewrite.has_set_expiry = questions[0].is_taken;
    intake->has_functions = questions[1].is_taken;
    return answer;
}

/* ---- a shard ---- */

/* False: err. */
static bool
asking_open(struct asking *asking, const struct shard *shard, int timeout_ms, struct syn_err *err)
{
    *asking = (struct asking){
        .shard = shard, .timeout_ms = timeout_ms, .redirect = {.timeout_ms = timeout_ms}};
    return key_make(asking, err) && asking_connect(asking, err);
}

static enum answer ask_everything(struct asking *asking, struct intake *intake, struct syn_err *err)
{
    struct form form;
    uint16_t footer;
    enum answer answer = ask_forms(asking, intake, &form, &footer, err);
    if (answer == ANSWER_FAILED || answer == ANSWER_NOT_TOLD) {
        return answer;
    }
    if (answer == ANSWER_TAKEN) {
        answer = ask_types(asking, intake, &form, footer, err);
        if (answer != ANSWER_TAKEN) {
            return answer;
        }
    } else {
        memcpy(intake->refusal, asking->refusal, sizeof(intake->refusal));
    }
    enum answer (*const asks[])(struct asking *, struct intake *, struct syn_err *) = {
        ask_hashes, ask_streams, ask_others};
    answer = ANSWER_TAKEN;
    for (size_t i = 0; i < sizeof(asks) / sizeof(asks[0]) && answer == ANSWER_TAKEN; i++) {
        answer = asks[i](asking, intake, err);
    }
    return answer;
}

bool intake_ask_all(struct intake *intake,
                    const struct shard *shard,
                    int timeout_ms,
                    struct syn_err *err)
{
    struct asking asking;
    *intake = (struct intake){.is_asked = true};
    rewrite_target_fill(&intake->rewrite, 0, false);
    enum answer answer = ANSWER_FAILED;
    if (asking_open(&asking, shard, timeout_ms, err)) {
        answer = ask_everything(&asking, intake, err);
    }
    control_close(&asking.control);
    redirect_close(&asking.redirect);
    if (answer == ANSWER_NOT_TOLD && shard->server.version != 0) {
        log_warning("%s; what it takes is guessed from its version %s",
                    asking.note.msg,
                    shard->server.version_text);
        intake_of_version(intake, &shard->server);
        return true;
    }
    if (answer == ANSWER_NOT_TOLD) {
        *err = asking.note;
        err_context(err, "what the destination takes cannot be asked");
    }
    return answer == ANSWER_TAKEN;
}

/* The latest type that the server should take. */
static struct slice latest_sample(const struct intake *intake, uint16_t *footer)
{
    for (uint32_t i = 2 * RDB_TYPE_COUNT; i-- > 0;) {
        struct slice sample = intake_sample((uint8_t)(i / 2), i % 2 != 0);
        *footer = intake->restore_version[i % 2][i / 2];
        if (sample.size > 0 && *footer != 0) {
            return sample;
        }
    }
    return (struct slice){0};
}

/* One RESTORE that a server of its version takes. */
static enum answer
ask_check(struct asking *asking, const struct intake *intake, struct syn_err *err)
{
    uint16_t footer;
    struct slice sample = latest_sample(intake, &footer);
    if (sample.size == 0) {
        return ANSWER_NO_OPTION; /* its version knows no RESTORE */
    }
    struct form form = {.has_replace = intake->has_replace,
                        .has_absttl = intake->has_absttl,
                        .hint = intake->has_idle ? "IDLETIME" : NULL};
    return ask_restore(asking, &form, sample, footer, err);
}

bool intake_ask_shard(struct intake *intake,
                      const struct shard *shard,
                      int timeout_ms,
                      struct syn_err *err)
{
    if (!shard->server.is_standard) {
        return intake_ask_all(intake, shard, timeout_ms, err);
    }
    struct asking asking;
    enum answer answer = ANSWER_FAILED;
    intake_of_version(intake, &shard->server);
    if (asking_open(&asking, shard, timeout_ms, err)) {
        answer = ask_check(&asking, intake, err);
    }
    control_close(&asking.control);
    redirect_close(&asking.redirect);
    if (answer == ANSWER_NO_COMMAND) {
        intake_forget_restore(intake);
        memcpy(intake->refusal, asking.refusal, sizeof(intake->refusal));
    }
    /* An original server closes no connection for a command: this one speaks for another. */
    if (answer != ANSWER_NO_OPTION && answer != ANSWER_NO_PAYLOAD && !asking.was_closed) {
        return answer != ANSWER_FAILED;
    }
    char text[ENDPOINT_TEXT_MAX];
    log_warning("destination %s does not take what its version %s does (%s): it is asked for every "
                "value type",
                endpoint_text(&shard->server.endpoint, text),
                shard->server.version_text,
                asking.refusal);
    return intake_ask_all(intake, shard, timeout_ms, err);
}
