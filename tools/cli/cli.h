/*
 * The command line, apart from main: so that tests run it in their own process.
 *
 * It uses the library through syn.h only: whatever it can do, an embedding program can do.
 * Threads: cli_main owns the process: it blocks signals, may start threads, and may leave by _exit.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "core/engine/syn.h"

#define CLI_OPTIONS_MAX 128
/* Ended at once by a second signal, or by the first before what was asked for was done: 128 +
 * SIGINT. */
#define CLI_EXIT_INTERRUPTED 130

struct cli;

/* The subcommands come from one table of these. */
struct command {
    const char *name;
    const char *arguments; /* as in "syncline NAME ARGUMENTS"       */
    const char *summary;   /* one line                              */
    const char *details;   /* behind the summary, in its own help   */
    /* Names of options it does not take, separated by spaces; NULL: it takes none of the table. */
    const char *options_without;
    /* Options of its own, which are no settings of a task; it reads its arguments itself. */
    const struct syn_option *(*own_options)(unsigned *count);
    /* Options beside those of the table, before which they come; with `take` also words that are no
     * source and destination. */
    const struct syn_option *(*more_options)(unsigned *count);
    /* One of more_options with its value, or (option NULL) a word; is_behind: behind "--". */
    bool (*take)(struct cli *cli,
                 const struct syn_option *option,
                 char *value,
                 bool is_behind,
                 struct syn_err *err);
    int (*run)(struct cli *cli); /* the exit status */
};
const struct command *cli_command_table(unsigned *count);
const struct command *cli_command_find(const char *name);
bool command_takes(const struct command *command, const char *option);

/* One run of a command. */
struct cli {
    const struct command *command;
    struct syn_config *config;
    bool list_seen[CLI_OPTIONS_MAX]; /* lists that the command line has begun, by option */
    int argc;                        /* with own_options: the arguments behind the command */
    char **argv;
    const char *topic; /* help only: the command it is about, NULL: all */
    bool is_json;
    uint64_t progress_ms;
    enum syn_log_level least;
};

int cli_main(int argc, char **argv);

/* Fills the configuration from the environment, the file and the arguments behind the command;
 * overwrites secrets in argv, which other users of the machine can read. *wants_help: --help. */
bool args_apply(struct cli *cli, int argc, char **argv, bool *wants_help, struct syn_err *err);
/* Whether JSON is asked for, known before anything can be wrong. */
bool args_want_json(int argc, char **argv);

void help_print(const struct command *command); /* NULL: the overview */

int cli_sync(struct cli *cli);
int cli_verify(struct cli *cli);
int cli_rdb(struct cli *cli);
int cli_explain(struct cli *cli);
bool cli_explain_take(struct cli *cli,
                      const struct syn_option *option,
                      char *value,
                      bool is_behind,
                      struct syn_err *err);
const struct syn_option *cli_explain_options(unsigned *count);
const struct syn_option *cli_rdb_options(unsigned *count);

#endif
