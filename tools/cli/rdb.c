/*
 * syncline rdb: read a file, count what is in it or show its keys.
 *
 * It writes nothing but its output, so signals keep their default: there is nothing to finish.
 */
#include "tools/cli/rdb.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Of an AUX text or a key in the summary; the whole text is in the events. */
#define TEXT_SHOWN_MAX 200

/* ---- events written as they are ---- */

static int64_t unix_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void rdb_event_begin(const char *kind)
{
    printf("{\"event\":\"%s\",\"time_ms\":%lld", kind, (long long)unix_ms());
}

void rdb_event_text(const char *name, struct syn_rdb_text text)
{
    printf(",\"%s\":\"", name);
    escape_write(stdout, text.bytes, text.size, true);
    putchar('"');
}

void rdb_event_number(const char *name, uint64_t number, uint64_t none)
{
    if (number == none) {
        printf(",\"%s\":null", name);
    } else {
        printf(",\"%s\":%llu", name, (unsigned long long)number);
    }
}

void rdb_event_signed(const char *name, int64_t number, int64_t none)
{
    if (number == none) {
        printf(",\"%s\":null", name);
    } else {
        printf(",\"%s\":%lld", name, (long long)number);
    }
}

void rdb_event_end(void)
{
    fputs("}\n", stdout);
}

const char *rdb_show_time(int64_t at_ms, char out[40])
{
    time_t seconds = (time_t)(at_ms / 1000);
    struct tm parts;
    if (at_ms < 0) {
        snprintf(out, 40, "-");
    } else if (gmtime_r(&seconds, &parts) == NULL || parts.tm_year > 9999 - 1900) {
        snprintf(out, 40, "%lldms", (long long)at_ms); /* beyond what calendars write */
    } else {
        size_t size = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &parts);
        snprintf(out + size, 40 - size, ".%03dZ", (int)(at_ms % 1000));
    }
    return out;
}

/* ---- visits ---- */

static enum syn_rdb_flow on_header(void *arg, const struct syn_rdb_header *header)
{
    struct rdb_run *run = arg;
    run->stats.has_header = true;
    run->stats.version = header->version;
    run->stats.magic = header->magic;
    if (run->args.is_json) {
        rdb_event_begin("header");
        printf(",\"magic\":\"%s\",\"version\":%u", header->magic, header->version);
        rdb_event_end();
    } else if (!run->args.lists_keys && run->args.dump == NULL) {
        output_line(&run->output, stdout, "%s RDB version %u", header->magic, header->version);
    }
    return SYN_RDB_GO;
}

static enum syn_rdb_flow on_aux(void *arg, struct syn_rdb_text name, struct syn_rdb_text text)
{
    struct rdb_run *run = arg;
    run->stats.aux++;
    if (run->args.is_json) {
        rdb_event_begin("aux");
        rdb_event_text("name", name);
        rdb_event_text("text", text);
        rdb_event_end();
    } else if (!run->args.lists_keys && run->args.dump == NULL) {
        run->text.size = 0;
        text_add(&run->text, "  ");
        escape_add(&run->text, name.bytes, name.size, TEXT_SHOWN_MAX);
        text_add(&run->text, ": ");
        escape_add(&run->text, text.bytes, text.size, TEXT_SHOWN_MAX);
        output_text(&run->output, stdout, run->text.data);
    }
    return SYN_RDB_GO;
}

static enum syn_rdb_flow on_function(void *arg, struct syn_rdb_text source)
{
    struct rdb_run *run = arg;
    run->stats.functions++;
    run->stats.function_bytes += source.size;
    return SYN_RDB_GO;
}

static void list_key(const struct syn_rdb_key *key)
{
    char expiry[40];
    printf("%llu\t%s\t%s\t%llu\t",
           (unsigned long long)key->db,
           key->type,
           key->encoding,
           (unsigned long long)key->bytes);
    if (key->elements == SYN_RDB_UNKNOWN) {
        putchar('-');
    } else {
        printf("%llu", (unsigned long long)key->elements);
    }
    printf("\t%s\t\"", rdb_show_time(key->expire_ms, expiry));
    escape_write(stdout, key->name.bytes, key->name.size, false);
    fputs("\"\n", stdout);
}

static void event_key(const struct syn_rdb_key *key)
{
    rdb_event_begin("key");
    rdb_event_number("db", key->db, SYN_RDB_UNKNOWN);
    rdb_event_text("key", key->name);
    printf(",\"type\":\"%s\",\"encoding\":\"%s\"", key->type, key->encoding);
    rdb_event_number("bytes", key->bytes, SYN_RDB_UNKNOWN);
    rdb_event_number("elements", key->elements, SYN_RDB_UNKNOWN);
    rdb_event_signed("expire_ms", key->expire_ms, -1);
    rdb_event_signed("idle_s", key->idle_s, -1);
    rdb_event_signed("freq", key->freq, -1);
    rdb_event_number("offset", key->offset, SYN_RDB_UNKNOWN);
    rdb_event_end();
}

static enum syn_rdb_flow on_key(void *arg, const struct syn_rdb_key *key)
{
    rdb_dump_begin(arg, key);
    return SYN_RDB_GO;
}

static enum syn_rdb_flow
on_element(void *arg, const struct syn_rdb_key *key, const struct syn_rdb_element *element)
{
    (void)key;
    rdb_dump_element(arg, element);
    return SYN_RDB_GO;
}

static enum syn_rdb_flow on_key_end(void *arg, const struct syn_rdb_key *key)
{
    struct rdb_run *run = arg;
    rdb_stats_add(&run->stats, key);
    if (run->args.dump != NULL) {
        rdb_dump_end(run, key);
    }
    if (run->args.is_json) {
        if (run->args.lists_keys || run->args.dump != NULL) {
            event_key(key);
        }
    } else if (run->args.lists_keys) {
        list_key(key);
    }
    /* A database has a key once: what follows cannot matter. */
    return run->args.dump != NULL && run->args.has_db ? SYN_RDB_STOP : SYN_RDB_GO;
}

/* ---- the run ---- */

static int64_t feed_stdin(void *arg, void *to, size_t size, struct syn_err *err)
{
    (void)arg;
    for (;;) {
        ssize_t got = read(STDIN_FILENO, to, size);
        if (got >= 0) {
            return got;
        }
        if (errno != EINTR) {
            *err = (struct syn_err){.code = SYN_CODE_SOURCE_FILE, .sys_errno = errno};
            snprintf(err->msg, sizeof(err->msg), "cannot read standard input: %s", strerror(errno));
            return -1;
        }
    }
}

static bool read_rdb(struct rdb_run *run)
{
    const struct rdb_args *args = &run->args;
    struct syn_rdb_options options = {.item_bytes_max = args->item_bytes_max,
                                      .depth = args->dump != NULL ? SYN_RDB_DEPTH_ELEMENTS
                                                                  : SYN_RDB_DEPTH_COUNTS,
                                      .has_db = args->has_db,
                                      .db = args->db,
                                      .has_key = args->dump != NULL,
                                      .key = args->dump,
                                      .key_size = args->dump_size};
    struct syn_rdb_visitor visitor = {
        .header = on_header, .aux = on_aux, .function = on_function, .key_end = on_key_end};
    if (args->dump != NULL) {
        visitor.key = on_key;
        visitor.element = on_element;
    }
    if (strcmp(args->path, "-") == 0) {
        return syn_rdb_read_feed(
            feed_stdin, NULL, &options, &visitor, run, &run->result, &run->err);
    }
    return syn_rdb_read_file(args->path, &options, &visitor, run, &run->result, &run->err);
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The key of --dump is what was asked for: a file without it is no success. */
static bool has_found(struct rdb_run *run)
{
    if (run->args.dump == NULL || run->stats.total.keys > 0) {
        return true;
    }
    run->err = (struct syn_err){.code = SYN_CODE_SOURCE_FILE};
    snprintf(run->err.msg,
             sizeof(run->err.msg),
             "%.300s: there is no such key%s",
             run->args.path,
             run->args.has_db ? " in this database" : "");
    return false;
}

static int finish(struct rdb_run *run, bool is_ok)
{
    bool is_whole = is_ok && has_found(run);
    run->status = is_whole ? SYN_EXIT_OK : syn_code_exit_status(run->err.code);
    if (run->args.is_json) {
        rdb_report_event(run);
    } else if (run->stats.has_header && !run->args.lists_keys && run->args.dump == NULL) {
        rdb_report_text(run);
    } else if (is_ok && run->result.verdict == SYN_RDB_CHECKSUM_NONE) {
        output_line(&run->output, stderr, "syncline: the file has no checksum");
    }
    if (is_whole && (fflush(stdout) != 0 || ferror(stdout))) {
        /* The output is all there is of this command: half of it is no success. */
        is_whole = false;
        run->err = (struct syn_err){.code = SYN_CODE_SYSTEM, .sys_errno = errno};
        snprintf(run->err.msg, sizeof(run->err.msg), "cannot write standard output");
    }
    return is_whole ? SYN_EXIT_OK : output_error(&run->output, &run->err);
}

int cli_rdb(struct cli *cli)
{
    static struct rdb_run run; /* a few hundred kilobytes: too much for a stack */
    memset(&run, 0, sizeof(run));
    if (!rdb_args_read(&run.args, cli, &run.err)) {
        return output_error_only(run.args.is_json || cli->is_json, &run.err);
    }
    if (run.args.wants_help) {
        help_print(cli->command);
        return SYN_EXIT_OK;
    }
    output_init(&run.output, run.args.is_json, SYN_LOG_INFO);
    run.stats.now_ms = unix_ms();
    uint64_t begin_ns = monotonic_ns();
    bool is_ok = read_rdb(&run);
    run.elapsed_ns = monotonic_ns() - begin_ns;
    int status = finish(&run, is_ok);
    output_deinit(&run.output);
    return status;
}
