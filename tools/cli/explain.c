/*
 * syncline explain: what rules make of keys and commands, one answer for each word.
 *
 * A word is a key, unless it begins with a command's name and a blank; all words behind "--" are
 * one command. Text for people has one block per answer, --output json one event.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/cli.h"
#include "tools/cli/escape.h"
#include "tools/cli/output.h"

#define WORD_SHOWN_MAX 200 /* of a word in text; JSON has all of it */
#define COMMAND_WORDS_MAX 4096

struct word {
    char *text; /* in argv */
    bool is_behind;
};

/* What the command line asked for. */
struct asked {
    uint32_t db;
    bool is_cluster;
    struct word *words;
    size_t count;
};
static struct asked asked; /* one command line per process */

struct explain_run {
    struct cli *cli;
    struct output output;
    struct syn_explain *explain;
    struct syn_err err;
    struct text text;
};

static const struct syn_option more[] = {
    {.name = "db",
     .value_name = "N",
     .default_text = "0",
     .help = "The source database of the keys, or the one that the stream has selected. (Which "
             "databases are copied is said by the file, SYNCLINE_DB or db-map.)",
     .kind = SYN_OPTION_INTEGER,
     .max = INT32_MAX},
    {.name = "cluster",
     .default_text = "false",
     .help = "The destination is a cluster: show slots.",
     .kind = SYN_OPTION_FLAG},
};

const struct syn_option *cli_explain_options(unsigned *count)
{
    *count = sizeof(more) / sizeof(more[0]);
    return more;
}

static bool usage(struct syn_err *err, const char *text)
{
    *err = (struct syn_err){.code = SYN_CODE_USAGE, .func = __func__, .file = __FILE__};
    snprintf(err->msg, sizeof(err->msg), "%s", text);
    return false;
}

static bool word_add(char *text, bool is_behind, struct syn_err *err)
{
    struct word *words = realloc(asked.words, (asked.count + 1) * sizeof(*words));
    if (words == NULL) {
        *err = (struct syn_err){.code = SYN_CODE_MEMORY};
        snprintf(err->msg, sizeof(err->msg), "out of memory for the arguments");
        return false;
    }
    asked.words = words;
    words[asked.count++] = (struct word){text, is_behind};
    return true;
}

bool cli_explain_take(struct cli *cli,
                      const struct syn_option *option,
                      char *value,
                      bool is_behind,
                      struct syn_err *err)
{
    (void)cli;
    if (option == NULL) {
        return word_add(value, is_behind, err);
    }
    if (strcmp(option->name, "cluster") == 0) {
        if (value != NULL && strcmp(value, "true") != 0 && strcmp(value, "false") != 0) {
            return usage(err, "--cluster is true or false");
        }
        asked.is_cluster = value == NULL || strcmp(value, "true") == 0;
        return true;
    }
    char *end;
    unsigned long db = strtoul(value, &end, 10);
    if (*value < '0' || *value > '9' || *end != '\0' || db > INT32_MAX) {
        return usage(err, "--db needs the number of one database");
    }
    asked.db = (uint32_t)db;
    return true;
}

/* ---- text ---- */

static void text_begin(struct text *text)
{
    text->size = 0;
    text->data[0] = '\0';
}

static void add_word(struct text *text, const uint8_t *bytes, size_t size)
{
    text_add(text, "\"");
    escape_add(text, bytes, size, WORD_SHOWN_MAX);
    text_add(text, "\"");
}

static void add_rule(struct text *text, const char *lead, const struct syn_rule *rule)
{
    if (rule->name != NULL) {
        text_add(text, "%s%s ", lead, rule->name);
        add_word(text, (const uint8_t *)rule->text, strlen(rule->text));
        text_add(text, " (%s)", rule->origin);
    }
}

/* What becomes of the name, and which rules say so. */
static void add_key(struct text *text, const struct syn_explained_key *key)
{
    switch (key->action) {
    case SYN_ACTION_DROP:
        text_add(text, "dropped: %s", key->text);
        break;
    case SYN_ACTION_REFUSE:
        text_add(text, "refused: %s", key->text);
        break;
    case SYN_ACTION_RENAME:
        text_add(text, "kept as ");
        add_word(text, key->name, key->name_size);
        break;
    default:
        text_add(text, "kept");
        break;
    }
    bool is_there = key->action == SYN_ACTION_KEEP || key->action == SYN_ACTION_RENAME;
    if (asked.is_cluster && is_there) {
        text_add(text, ", slot %u", key->slot);
    }
    add_rule(text, "; ", &key->rule);
    add_rule(text, "; ", &key->rename);
}

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static void show_key(struct explain_run *run, const struct syn_explained_key *key)
{
    struct text *text = &run->text;
    text_begin(text);
    text_add(text, "key ");
    add_word(text, key->key, key->key_size);
    text_add(text, " in database %u\n    ", key->db);
    add_key(text, key);
    if (key->action == SYN_ACTION_KEEP || key->action == SYN_ACTION_RENAME) {
        text_add(text, "\n    goes to database %u", key->db_there);
        text_add(text, "%s%s", key->types != NULL ? ", if its type is " : "", or_empty(key->types));
        if (asked.is_cluster && key->db_there != 0) {
            text_add(text, "; but a cluster has only database 0");
        }
    }
    if (syn_explain_knows(key->key, key->key_size)) {
        text_add(text, "\n    for the command of this name: syncline explain -- ");
        escape_add(text, key->key, key->key_size, WORD_SHOWN_MAX);
    }
    output_text(&run->output, stdout, text->data);
}

static void add_words(struct text *text, const struct syn_explained_words *words)
{
    for (size_t i = 0; i < words->count; i++) {
        text_add(text, i == 0 ? "" : " ");
        if (i == 0) {
            escape_add(text, words->words[i].bytes, words->words[i].size, WORD_SHOWN_MAX);
        } else {
            add_word(text, words->words[i].bytes, words->words[i].size);
        }
    }
}

static const char *way_verb(enum syn_way way)
{
    static const char *const verbs[] = {
        [SYN_WAY_FORWARD] = "forwarded",
        [SYN_WAY_SPLIT] = "split, one operation for each key",
        [SYN_WAY_RELAY] = "relayed from shard to shard",
        [SYN_WAY_BARRIER] = "a barrier, run alone",
        [SYN_WAY_DROP] = "dropped",
        [SYN_WAY_REFUSE] = "refused, the task stops",
        [SYN_WAY_PROTOCOL] = "read by Syncline itself",
        [SYN_WAY_REFETCH] = "its keys are read at the source",
        [SYN_WAY_ASK] = "the destination is asked",
    };
    return verbs[way];
}

static void add_way(struct text *text, const char *where, enum syn_way way, const char *why)
{
    text_add(text,
             "\n    %s: %s%s%s",
             where,
             way_verb(way),
             why != NULL ? ": " : "",
             why != NULL ? why : "");
}

static const char *action_verb(enum syn_action action)
{
    static const char *const verbs[] = {
        [SYN_ACTION_KEEP] = "kept",
        [SYN_ACTION_RENAME] = "renamed",
        [SYN_ACTION_REDUCE] = "reduced",
        [SYN_ACTION_REPLACE] = "replaced",
        [SYN_ACTION_DROP] = "dropped",
        [SYN_ACTION_PARTIAL] = "partial",
        [SYN_ACTION_REFUSE] = "refused",
    };
    return verbs[action];
}

static void show_command(struct explain_run *run, const struct syn_explained_command *command)
{
    struct text *text = &run->text;
    text_begin(text);
    text_add(text,
             "command %s in database %u (%s%s%s)",
             command->name,
             asked.db,
             command->kind,
             command->group != NULL ? ", @" : "",
             command->group != NULL ? command->group : "");
    for (size_t i = 0; i < command->key_count; i++) {
        text_add(text, "\n    key ");
        add_word(text, command->keys[i].key, command->keys[i].key_size);
        text_add(text, ": ");
        add_key(text, &command->keys[i]);
    }
    text_add(text, "\n    %s: %s", action_verb(command->action), command->text);
    add_rule(text, "; ", &command->rule);
    bool is_itself = command->action == SYN_ACTION_KEEP && command->become_count == 1;
    for (size_t i = 0; i < command->become_count && !is_itself; i++) {
        text_add(text, "\n    becomes ");
        add_words(text, &command->become[i]);
    }
    add_way(text, "standalone", command->standalone, command->standalone_text);
    add_way(text, "cluster", command->cluster, command->cluster_text);
    output_text(&run->output, stdout, text->data);
}

/* ---- JSON ---- */

/* Escaped as everywhere: printable ASCII for any bytes. */
static json_t *escaped(struct explain_run *run, const uint8_t *bytes, size_t size)
{
    text_begin(&run->text);
    escape_add(&run->text, bytes, size, sizeof(run->text.data) - 8);
    return json_string(run->text.data);
}

static json_t *rule_json(struct explain_run *run, const struct syn_rule *rule)
{
    if (rule->name == NULL) {
        return json_null();
    }
    json_t *out = json_object();
    event_set_text(out, "name", rule->name);
    json_t *text = escaped(run, (const uint8_t *)rule->text, strlen(rule->text));
    (void)json_object_set_new(out, "text", text);
    event_set_text(out, "origin", rule->origin);
    return out;
}

static void set_key(struct explain_run *run, json_t *out, const struct syn_explained_key *key)
{
    (void)json_object_set_new(out, "key", escaped(run, key->key, key->key_size));
    event_set_number(out, "db", key->db);
    event_set_text(out, "action", syn_action_name(key->action));
    event_set_text(out, "text", key->text);
    (void)json_object_set_new(out, "rule", rule_json(run, &key->rule));
    (void)json_object_set_new(out, "rename", rule_json(run, &key->rename));
    bool is_there = key->action == SYN_ACTION_KEEP || key->action == SYN_ACTION_RENAME;
    json_t *name = is_there ? escaped(run, key->name, key->name_size) : json_null();
    (void)json_object_set_new(out, "name", name);
    (void)json_object_set_new(
        out, "db_there", is_there ? json_integer(key->db_there) : json_null());
    if (asked.is_cluster && is_there) {
        event_set_number(out, "slot", key->slot);
    }
    (void)json_object_set_new(
        out, "types", key->types != NULL ? json_string(key->types) : json_null());
}

static json_t *words_json(struct explain_run *run, const struct syn_explained_words *words)
{
    json_t *out = json_object();
    json_t *list = json_array();
    event_set_number(out, "db", words->db);
    for (size_t i = 0; i < words->count; i++) {
        (void)json_array_append_new(list,
                                    escaped(run, words->words[i].bytes, words->words[i].size));
    }
    (void)json_object_set_new(out, "words", list);
    return out;
}

static json_t *way_json(enum syn_way way, const char *why)
{
    json_t *out = json_object();
    event_set_text(out, "way", syn_way_name(way));
    (void)json_object_set_new(out, "text", why != NULL ? json_string(why) : json_null());
    return out;
}

static void event_key(struct explain_run *run, const struct syn_explained_key *key)
{
    json_t *event = event_new("explained_key");
    set_key(run, event, key);
    output_event(&run->output, event);
}

static void event_command(struct explain_run *run, const struct syn_explained_command *command)
{
    json_t *event = event_new("explained_command");
    event_set_text(event, "name", command->name);
    event_set_text(event, "kind", command->kind);
    (void)json_object_set_new(
        event, "group", command->group != NULL ? json_string(command->group) : json_null());
    event_set_number(event, "db", asked.db);
    event_set_text(event, "action", syn_action_name(command->action));
    event_set_text(event, "text", command->text);
    (void)json_object_set_new(event, "rule", rule_json(run, &command->rule));
    json_t *keys = json_array();
    for (size_t i = 0; i < command->key_count; i++) {
        json_t *key = json_object();
        set_key(run, key, &command->keys[i]);
        (void)json_array_append_new(keys, key);
    }
    (void)json_object_set_new(event, "keys", keys);
    json_t *become = json_array();
    for (size_t i = 0; i < command->become_count; i++) {
        (void)json_array_append_new(become, words_json(run, &command->become[i]));
    }
    (void)json_object_set_new(event, "become", become);
    (void)json_object_set_new(
        event, "standalone", way_json(command->standalone, command->standalone_text));
    (void)json_object_set_new(event, "cluster", way_json(command->cluster, command->cluster_text));
    output_event(&run->output, event);
}

/* ---- words ---- */

static bool unescape(struct explain_run *run, char *text, size_t *size)
{
    return escape_read(text, size) ||
           usage(&run->err,
                 "an escape is not one of \\\\ \\\" \\n \\r \\t \\xNN; write \\\\ for a backslash");
}

static bool explain_key(struct explain_run *run, char *text)
{
    size_t size;
    struct syn_explained_key key;
    if (!unescape(run, text, &size) ||
        !syn_explain_key(run->explain, asked.db, text, size, &key, &run->err)) {
        return false;
    }
    if (run->output.is_json) {
        event_key(run, &key);
    } else {
        show_key(run, &key);
    }
    return true;
}

static bool explain_words(struct explain_run *run, char **words, size_t count)
{
    size_t sizes[COMMAND_WORDS_MAX];
    const void *bytes[COMMAND_WORDS_MAX];
    if (count > COMMAND_WORDS_MAX) {
        return usage(&run->err, "a command of more than 4096 words");
    }
    for (size_t i = 0; i < count; i++) {
        if (!unescape(run, words[i], &sizes[i])) {
            return false;
        }
        bytes[i] = words[i];
    }
    struct syn_explained_command command;
    if (!syn_explain_command(run->explain, asked.db, count, bytes, sizes, &command, &run->err)) {
        return false;
    }
    if (run->output.is_json) {
        event_command(run, &command);
    } else {
        show_command(run, &command);
    }
    return true;
}

/* The end of a word that begins at `at`: its blank, or behind its closing quote. *start skips an
 * opening one. NULL: the quote does not close. */
static char *word_end(char *at, char **start)
{
    *start = at;
    if (*at != '"') {
        return at + strcspn(at, " ");
    }
    *start = at + 1;
    for (at++; *at != '"'; at++) {
        at += *at == '\\' && at[1] != '\0';
        if (*at == '\0') {
            return NULL;
        }
    }
    return at;
}

/* "SET user:1 x" as one argument: words between blanks, in quotes when they hold some. */
static bool explain_quoted(struct explain_run *run, char *text)
{
    char *words[COMMAND_WORDS_MAX];
    size_t count = 0;
    for (char *at = text + strspn(text, " "); *at != '\0'; at += strspn(at, " ")) {
        if (count == COMMAND_WORDS_MAX) {
            return usage(&run->err, "a command of more than 4096 words");
        }
        char *end = word_end(at, &words[count++]);
        if (end == NULL) {
            return usage(&run->err, "a quote in a command does not close");
        }
        at = end + (*end != '\0');
        *end = '\0';
    }
    return explain_words(run, words, count);
}

/* Whether the argument is a command in one piece. */
static bool is_quoted(const char *text)
{
    size_t size = strcspn(text, " ");
    return text[size] == ' ' && syn_explain_knows(text, size);
}

/* All words behind "--" are one command. */
static bool explain_behind(struct explain_run *run, size_t first)
{
    char *words[COMMAND_WORDS_MAX];
    size_t count = asked.count - first;
    for (size_t i = 0; i < count && i < COMMAND_WORDS_MAX; i++) {
        words[i] = asked.words[first + i].text;
    }
    if (count == 1 && is_quoted(words[0])) {
        return explain_quoted(run, words[0]);
    }
    return explain_words(run, words, count);
}

static bool explain_all(struct explain_run *run)
{
    for (size_t i = 0; i < asked.count; i++) {
        char *text = asked.words[i].text;
        if (asked.words[i].is_behind) {
            return explain_behind(run, i);
        }
        if (!(is_quoted(text) ? explain_quoted(run, text) : explain_key(run, text))) {
            return false;
        }
    }
    return asked.count > 0 || usage(&run->err,
                                    "nothing to explain: name keys, or a command behind --; see "
                                    "syncline help explain");
}

int cli_explain(struct cli *cli)
{
    static struct explain_run run; /* holds a large text: too much for a stack */
    memset(&run, 0, sizeof(run));
    run.cli = cli;
    output_init(&run.output, cli->is_json, cli->least);
    run.explain = syn_explain_open(cli->config, &run.err);
    bool is_done = run.explain != NULL && explain_all(&run);
    int status = is_done ? SYN_EXIT_OK : output_error(&run.output, &run.err);
    if (is_done && run.output.is_json) {
        json_t *event = event_new("result");
        event_set_text(event, "command", "explain");
        event_set_text(event, "code", syn_code_name(SYN_CODE_OK));
        event_set_signed(event, "exit_status", status);
        output_event(&run.output, event);
    }
    syn_explain_free(run.explain);
    output_deinit(&run.output);
    free(asked.words);
    asked = (struct asked){0};
    return status;
}
