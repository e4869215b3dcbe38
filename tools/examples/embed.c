/*
 * A sync inside another program.
 *
 *     embed '{"source": "127.0.0.1:6379", "destination": "127.0.0.1:6380"}'
 *
 * Prints the state every 200 ms and ends, with the command line's exit statuses, when the task has
 * ended by itself or follows its source with nothing left to write.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <syn.h>

static int report(const struct syn_err *err)
{
    fprintf(stderr, "embed: %s\n", err->msg);
    return syn_code_exit_status(err->code);
}

/* Whether every write of the source is at the destination. */
static bool print_status(struct syn_engine *engine)
{
    struct syn_err err;
    struct syn_status *status = syn_engine_status(engine, &err);
    if (status == NULL) {
        return false;
    }
    printf("%s: %" PRIu64 " keys, %" PRIu64 " commands, lag %" PRIu64 " bytes\n",
           syn_phase_name(status->phase),
           status->keys,
           status->commands,
           status->lag_bytes);
    /* A lag that was never measured is no proof of having caught up. */
    bool is_level =
        status->phase == SYN_PHASE_LIVE && status->lag_bytes == 0 && status->lag_ms >= 0;
    syn_status_free(status);
    return is_level;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: embed CONFIGURATION (YAML or JSON text)\n");
        return SYN_EXIT_USAGE;
    }
    struct syn_err err = {.code = SYN_CODE_OK};
    struct syn_engine *engine = syn_engine_open(argv[1], strlen(argv[1]), &err);
    if (engine == NULL) {
        return report(&err);
    }
    if (!syn_engine_start(engine, &err)) {
        syn_engine_free(engine);
        return report(&err);
    }
    while (!syn_engine_wait(engine, 200, &err)) {
        if (print_status(engine)) {
            syn_engine_stop(engine, true);
        }
    }
    syn_engine_free(engine);
    return err.code == SYN_CODE_OK ? 0 : report(&err);
}
