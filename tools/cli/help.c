/* Help, from the tables of commands and options. */
#include <stdio.h>
#include <string.h>

#include "tools/cli/cli.h"

#define HELP_WIDTH 80

/* Prints words from column `indent` on, at most HELP_WIDTH wide. */
static void print_wrapped(const char *text, unsigned indent)
{
    unsigned column = 0;
    while (*text != '\0') {
        size_t size = strcspn(text, " ");
        if (column > 0 && column + 1 + size > HELP_WIDTH) {
            putchar('\n');
            column = 0;
        }
        if (column == 0) {
            printf("%*s", (int)indent, "");
            column = indent;
        } else {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int)size, text);
        column += (unsigned)size;
        text += size;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void print_option(const struct syn_option *option)
{
    printf("  --%s%s%s\n",
           option->name,
           option->value_name != NULL ? " " : "",
           option->value_name != NULL ? option->value_name : "");
    char text[700];
    snprintf(text,
             sizeof(text),
             "%s (%s%s%s%s%s)",
             option->help,
             option->kind == SYN_OPTION_LIST ? "any number of times; a list in a file; " : "",
             option->default_text != NULL ? "default: " : "",
             option->default_text != NULL ? option->default_text : "",
             option->default_text != NULL ? "; " : "",
             option->env != NULL ? option->env : "command line only");
    print_wrapped(text, 8);
}

static void print_command(const struct command *command)
{
    printf("Usage: syncline %s%s%s\n\n",
           command->name,
           command->arguments[0] != '\0' ? " " : "",
           command->arguments);
    print_wrapped(command->summary, 0);
    if (command->details != NULL) {
        putchar('\n');
        print_wrapped(command->details, 0);
    }
    if (command->own_options != NULL) {
        unsigned own_count;
        const struct syn_option *own = command->own_options(&own_count);
        printf("\nOptions:\n");
        for (unsigned i = 0; i < own_count; i++) {
            print_option(&own[i]);
        }
        printf("  --help\n        Print this text.\n");
        return;
    }
    if (command->options_without == NULL) {
        return;
    }
    unsigned more_count = 0;
    const struct syn_option *more =
        command->more_options != NULL ? command->more_options(&more_count) : NULL;
    if (more_count > 0) {
        printf("\nOptions:\n");
    }
    for (unsigned i = 0; i < more_count; i++) {
        print_option(&more[i]);
    }
    putchar('\n');
    print_wrapped(
        "Options, each also an environment variable and, with '_' for '-', a field of the "
        "file given by --config:",
        0);
    size_t count;
    const struct syn_option *table = syn_options(&count);
    for (size_t i = 0; i < count; i++) {
        if (command_takes(command, table[i].name)) {
            print_option(&table[i]);
        }
    }
    printf("  --help\n        Print this text.\n");
}

static void print_overview(void)
{
    printf("syncline %s keeps one Redis or Valkey deployment in step with another.\n\n"
           "Usage: syncline COMMAND [ARGUMENTS]\n\nCommands:\n",
           syn_version());
    unsigned count;
    const struct command *table = cli_command_table(&count);
    for (unsigned i = 0; i < count; i++) {
        printf("  %-10s %s\n", table[i].name, table[i].summary);
    }
    printf("\nExit status:\n"
           "  0    done as asked, also after a first SIGINT or SIGTERM; verify: equal\n"
           "  1    a defect of syncline, or no memory or other resource\n"
           "  2    a wrong command line\n"
           "  3    a wrong option, URI, environment variable or file\n"
           "  4    the deployments do not allow the task; nothing was written\n"
           "  5    the source failed or refused; rdb: the file is damaged or not readable\n"
           "  6    verify: differences were found\n"
           "  7    the destination failed or refused\n"
           "  130  ended at once by a second signal; verify, and loading files: by the first\n"
           "\nExample:\n"
           "  syncline sync redis://10.0.0.1:6379 redis://10.0.0.2:6379\n");
}

void help_print(const struct command *command)
{
    if (command == NULL) {
        print_overview();
    } else {
        print_command(command);
    }
}
