/* Arguments into a configuration: environment, then file, then command line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/cli.h"

/* One argument after another: an option with its value, or a positional. */
struct argument {
    const struct syn_option *option; /* NULL: positional, or is_help */
    char *value;                     /* NULL: a flag without one     */
    bool is_help;
    bool is_more; /* one of the command's own, beside the table */
};

static bool usage(struct syn_err *err, const char *format, const char *a, const char *b)
{
    *err = (struct syn_err){.code = SYN_CODE_USAGE, .func = __func__, .file = __FILE__};
    char text[400];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof(text), format, a, b);
#pragma GCC diagnostic pop
    snprintf(err->msg, sizeof(err->msg), "%s", text);
    return false;
}

static const struct syn_option *find_option(const char *name, size_t size)
{
    size_t count;
    const struct syn_option *table = syn_options(&count);
    for (size_t i = 0; i < count; i++) {
        if (strlen(table[i].name) == size && memcmp(table[i].name, name, size) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

static const struct syn_option *
find_more(const struct command *command, const char *name, size_t size)
{
    unsigned count = 0;
    const struct syn_option *more =
        command->more_options != NULL ? command->more_options(&count) : NULL;
    for (unsigned i = 0; i < count; i++) {
        if (strlen(more[i].name) == size && memcmp(more[i].name, name, size) == 0) {
            return &more[i];
        }
    }
    return NULL;
}

/* The library knows the nearest name; its message gets the dashes of a command line. */
static bool
unknown_option(const struct cli *cli, const char *name, size_t size, struct syn_err *err)
{
    char word[64];
    snprintf(word, sizeof(word), "%.*s", size < 40 ? (int)size : 40, name);
    struct syn_err inner;
    const char *nearest = NULL;
    if (cli->config != NULL && !syn_config_set(cli->config, word, "", &inner)) {
        nearest = strstr(inner.msg, "did you mean ");
    }
    char text[128] = "";
    if (nearest != NULL) {
        snprintf(text, sizeof(text), "; did you mean --%.60s", nearest + strlen("did you mean "));
    } else {
        snprintf(text, sizeof(text), "; see syncline help %s", cli->command->name);
    }
    return usage(err, "unknown option --%s%s", word, text);
}

/* Reads argv[*at], and its value, and moves behind them. */
static bool next_argument(const struct cli *cli,
                          int argc,
                          char **argv,
                          int *at,
                          bool *options_ended,
                          struct argument *out,
                          struct syn_err *err)
{
    char *word = argv[(*at)++];
    *out = (struct argument){0};
    if (*options_ended || word[0] != '-' || word[1] == '\0') {
        out->value = word;
        return true;
    }
    if (strcmp(word, "--") == 0) {
        *options_ended = true;
        return true;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        out->is_help = true;
        return true;
    }
    if (strncmp(word, "--", 2) != 0) {
        char shown[3] = {'-', word[1] >= '!' && word[1] <= '~' ? word[1] : '?', '\0'};
        return usage(err,
                     "unknown option %s; options have long names, see syncline help %s",
                     shown,
                     cli->command->name);
    }
    const char *name = word + 2;
    size_t size = strcspn(name, "=");
    out->option = find_more(cli->command, name, size);
    out->is_more = out->option != NULL;
    if (out->option == NULL) {
        out->option = find_option(name, size);
    }
    if (out->option == NULL) {
        return unknown_option(cli, name, size, err);
    }
    if (!out->is_more && !command_takes(cli->command, out->option->name)) {
        return usage(
            err, "--%s is not an option of syncline %s", out->option->name, cli->command->name);
    }
    if (name[size] == '=') {
        out->value = word + 2 + size + 1;
    } else if (out->option->kind != SYN_OPTION_FLAG) {
        if (*at >= argc || strncmp(argv[*at], "--", 2) == 0) {
            return usage(err, "--%s needs a value: %s", out->option->name, out->option->value_name);
        }
        out->value = argv[(*at)++];
    }
    return true;
}

/* Others see the arguments of a process for as long as it lives. */
static void hide(const struct syn_option *option, char *value)
{
    bool may_hold_password =
        strcmp(option->name, "source") == 0 || strcmp(option->name, "destination") == 0;
    if (option->is_secret || (may_hold_password && strchr(value, '@') != NULL)) {
        memset(value, '*', strlen(value));
    }
}

/* Whether it is the first value of a list: what the file or the environment listed then gives way
 * to the command line's. */
static bool list_begins(struct cli *cli, const struct syn_option *option)
{
    size_t count;
    size_t index = (size_t)(option - syn_options(&count));
    if (option->kind != SYN_OPTION_LIST || index >= CLI_OPTIONS_MAX || cli->list_seen[index]) {
        return false;
    }
    cli->list_seen[index] = true;
    return true;
}

static bool set_option(struct cli *cli,
                       const struct syn_option *option,
                       bool is_positional,
                       char *value,
                       struct syn_err *err)
{
    if (strcmp(option->name, "config") == 0) {
        return true; /* loaded before */
    }
    bool ok = !list_begins(cli, option) || syn_config_set(cli->config, option->name, "", err);
    ok = ok && syn_config_set(cli->config, option->name, value != NULL ? value : "true", err);
    if (!ok && !is_positional && strncmp(err->msg, option->name, strlen(option->name)) == 0) {
        char text[sizeof(err->msg)];
        snprintf(text, sizeof(text), "--%.500s", err->msg);
        memcpy(err->msg, text, sizeof(err->msg));
    }
    if (value != NULL) {
        hide(option, value);
    }
    return ok;
}

/* What a walk over the arguments is for. */
enum pass {
    PASS_LOOK,  /* is it well-formed; which file, is help wanted */
    PASS_APPLY, /* set the options                               */
};

static bool walk(struct cli *cli,
                 int argc,
                 char **argv,
                 enum pass pass,
                 const char **file,
                 bool *wants_help,
                 struct syn_err *err)
{
    static const char *const positionals[] = {"source", "destination"};
    unsigned positional_count = 0;
    bool options_ended = false;
    for (int at = 0; at < argc;) {
        struct argument argument;
        bool was_ended = options_ended;
        if (!next_argument(cli, argc, argv, &at, &options_ended, &argument, err)) {
            return false;
        }
        if (argument.is_help) {
            *wants_help = true;
            return true;
        }
        if (options_ended != was_ended) {
            continue;
        }
        bool is_positional = argument.option == NULL;
        if (argument.is_more || (is_positional && cli->command->take != NULL)) {
            if (pass == PASS_APPLY &&
                !cli->command->take(cli, argument.option, argument.value, options_ended, err)) {
                return false;
            }
            continue;
        }
        if (is_positional) {
            if (positional_count == 2) {
                /* Not quoted: it can be a piece of a URI with a password. */
                return usage(err,
                             "too many arguments; syncline %s %s",
                             cli->command->name,
                             cli->command->arguments);
            }
            const char *name = positionals[positional_count++];
            argument.option = find_option(name, strlen(name));
        }
        if (pass == PASS_LOOK && strcmp(argument.option->name, "config") == 0) {
            *file = argument.value;
        }
        if (pass == PASS_APPLY &&
            !set_option(cli, argument.option, is_positional, argument.value, err)) {
            return false;
        }
    }
    return true;
}

bool args_apply(struct cli *cli, int argc, char **argv, bool *wants_help, struct syn_err *err)
{
    const char *file = NULL;
    *wants_help = false;
    if (!walk(cli, argc, argv, PASS_LOOK, &file, wants_help, err)) {
        return false;
    }
    if (*wants_help) {
        return true;
    }
    bool ok = syn_config_load_env(cli->config, err) &&
              (file == NULL || syn_config_load_file(cli->config, file, err));
    return ok && walk(cli, argc, argv, PASS_APPLY, &file, wants_help, err);
}

bool args_want_json(int argc, char **argv)
{
    const char *wanted = getenv("SYNCLINE_OUTPUT");
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--output") == 0 && i + 1 < argc) {
            wanted = argv[i + 1];
        } else if (strncmp(argv[i], "--output=", 9) == 0) {
            wanted = argv[i] + 9;
        }
    }
    return wanted != NULL && strcmp(wanted, "json") == 0;
}
