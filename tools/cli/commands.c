/* The table of subcommands, and the way from argv to one of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/cli.h"
#include "tools/cli/output.h"

static int run_help(struct cli *cli)
{
    help_print(cli->topic != NULL ? cli_command_find(cli->topic) : NULL);
    return SYN_EXIT_OK;
}

static int run_version(struct cli *cli)
{
    (void)cli;
    printf("syncline %s\n", syn_version());
    return SYN_EXIT_OK;
}

static const struct command table[] = {
    {.name = "sync",
     .arguments = "[OPTIONS] SOURCE DESTINATION",
     .summary = "Copy everything from one deployment to another and follow every write.",
     .details =
         "Both sides are checked before anything is written. SIGINT or SIGTERM ends the "
         "task after what the source had written by then is written too, with a report and "
         "exit status 0; a "
         "second one ends it at once with 130. A source of RDB files (file:///path) is "
         "loaded, and the task ends: once and snapshot-only change nothing, retry-connection "
         "and silence-timeout have no meaning, and a signal before the end gives 130.",
     .options_without = "full fast rounds interval ttl-tolerance",
     .run = cli_sync},
    {.name = "verify",
     .arguments = "[OPTIONS] SOURCE DESTINATION",
     .summary = "Compare two deployments in both directions and list what differs.",
     .details = "Prints one difference per line: its kind, the source database, the key with "
                "unprintable bytes escaped, and what was seen. Nothing is written to either side. "
                "The source may be RDB files (file:///path), read once or more often as --memory "
                "allows. Exit status 0: equal, 6: different.",
     .options_without =
         "once snapshot-only on-nonempty on-unsupported on-corrupt losses restart positions "
         "on-unknown on-divergence refetch-dump-max on-flush put-off-ttl extend-ttl publish heartbeat include-command exclude-command on-partial io "
         "one-thread readers decoders lanes silence-timeout retry-connection retry-other drain-timeout "
         "prefer-replica snapshot-ops snapshot-bytes live-ops live-bytes shard-snapshot-ops "
         "shard-snapshot-bytes shard-live-ops shard-live-bytes",
     .run = cli_verify},
    {.name = "explain",
     .arguments = "[OPTIONS] KEY... | \"COMMAND ARGUMENT...\" | -- COMMAND ARGUMENT...",
     .summary = "Say what the rules make of keys and commands, and which rule does it.",
     .details =
         "Nothing is connected to. A word is a key; one that begins with the name of a "
         "command and a blank is a command, and so is all behind --. Unprintable bytes are "
         "written as they are printed: \\xNN, \\n, \\r, \\t, \\\", \\\\. Rules and databases are "
         "given as to sync.",
     .options_without = "full fast rounds interval ttl-tolerance once snapshot-only on-nonempty "
                        "on-unsupported on-corrupt losses restart on-divergence put-off-ttl extend-ttl heartbeat retry-other "
                        "snapshot-ops snapshot-bytes live-ops live-bytes shard-snapshot-ops "
                        "shard-snapshot-bytes shard-live-ops shard-live-bytes db io readers "
                        "decoders memory connect-timeout "
                        "silence-timeout retry-connection drain-timeout prefer-replica "
                        "progress-interval log-level source-user source-password "
                        "source-password-file destination-user destination-password "
                        "destination-password-file",
     .more_options = cli_explain_options,
     .take = cli_explain_take,
     .run = cli_explain},
    {.name = "rdb",
     .arguments = "[OPTIONS] FILE",
     .summary = "Read an RDB file: what is in it, and whether it is whole.",
     .details = "Prints its header, keys and bytes by type, database and time to live, the biggest "
                "keys, and whether the checksum is right; - reads standard input. Keys are printed "
                "with unprintable bytes escaped, values only with --dump. Exit status 0: read to "
                "the end and whole; 5: damaged, cut short, not readable, or without the key of "
                "--dump.",
     .own_options = cli_rdb_options,
     .run = cli_rdb},
    {.name = "help",
     .arguments = "[COMMAND]",
     .summary = "Explain syncline, or one command with its options.",
     .run = run_help},
    {.name = "version", .arguments = "", .summary = "Print the version.", .run = run_version},
};
#define COMMAND_COUNT (sizeof(table) / sizeof(table[0]))

const struct command *cli_command_table(unsigned *count)
{
    *count = COMMAND_COUNT;
    return table;
}

const struct command *cli_command_find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

bool command_takes(const struct command *command, const char *option)
{
    if (command->options_without == NULL) {
        return false;
    }
    size_t size = strlen(option);
    for (const char *at = command->options_without; *at != '\0';) {
        size_t length = strcspn(at, " ");
        if (length == size && memcmp(at, option, size) == 0) {
            return false;
        }
        at += length;
        at += strspn(at, " ");
    }
    return true;
}

static int usage_error(bool is_json, const char *text)
{
    struct syn_err err = {.code = SYN_CODE_USAGE};
    snprintf(err.msg, sizeof(err.msg), "%s", text);
    return output_error_only(is_json, &err);
}

/* A duration that the library has checked already. */
static uint64_t read_duration_ms(const char *text)
{
    char *unit;
    uint64_t amount = strtoull(text, &unit, 10);
    switch (unit[0] | 0x20) {
    case 's':
        return amount * 1000;
    case 'h':
        return amount * 3600 * 1000;
    case 'm':
        return unit[1] != '\0' ? amount : amount * 60 * 1000;
    default:
        return amount;
    }
}

static enum syn_log_level read_level(const char *text)
{
    switch (text[0]) {
    case 'd':
        return SYN_LOG_DEBUG;
    case 'w':
        return SYN_LOG_WARNING;
    case 'e':
        return SYN_LOG_ERROR;
    default:
        return SYN_LOG_INFO;
    }
}

static int run_with_options(struct cli *cli, int argc, char **argv)
{
    struct syn_err err = {.code = SYN_CODE_OK};
    bool wants_help;
    cli->config = syn_config_new(&err);
    if (cli->config == NULL || !args_apply(cli, argc, argv, &wants_help, &err)) {
        syn_config_free(cli->config);
        return output_error_only(cli->is_json, &err);
    }
    int status = SYN_EXIT_OK;
    if (wants_help) {
        help_print(cli->command);
    } else {
        cli->is_json = strcmp(syn_config_get(cli->config, "output"), "json") == 0;
        cli->progress_ms = read_duration_ms(syn_config_get(cli->config, "progress-interval"));
        cli->least = read_level(syn_config_get(cli->config, "log-level"));
        status = cli->command->run(cli);
    }
    syn_config_free(cli->config);
    return status;
}

static int run_without_options(struct cli *cli, int argc, char **argv)
{
    char text[200];
    bool is_help = strcmp(cli->command->name, "help") == 0;
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        help_print(cli->command);
        return SYN_EXIT_OK;
    }
    if (argc > (is_help ? 1 : 0)) {
        snprintf(text,
                 sizeof(text),
                 "too many arguments; syncline %s %s",
                 cli->command->name,
                 cli->command->arguments);
        return usage_error(cli->is_json, text);
    }
    if (argc == 1 && cli_command_find(argv[0]) == NULL) {
        return usage_error(cli->is_json, "no such command; see syncline help");
    }
    cli->topic = argc == 1 ? argv[0] : NULL;
    return cli->command->run(cli);
}

int cli_main(int argc, char **argv)
{
    struct cli cli = {.is_json = args_want_json(argc, argv)};
    if (argc < 2) {
        return usage_error(cli.is_json,
                           "no command given (sync, verify, explain, rdb, help, version); see "
                           "syncline help");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help_print(NULL);
        return SYN_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        return run_version(&cli);
    }
    cli.command = cli_command_find(argv[1]);
    if (cli.command == NULL) {
        return usage_error(cli.is_json,
                           "no such command (sync, verify, explain, rdb, help, version); see "
                           "syncline help");
    }
    if (cli.command->own_options != NULL) {
        cli.argc = argc - 2;
        cli.argv = argv + 2;
        return cli.command->run(&cli);
    }
    if (cli.command->options_without != NULL) {
        return run_with_options(&cli, argc - 2, argv + 2);
    }
    return run_without_options(&cli, argc - 2, argv + 2);
}
