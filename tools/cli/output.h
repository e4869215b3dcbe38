/*
 * What the command prints: text lines, a view refreshed in place, or JSON events.
 *
 * Threads: every function here may be called from any thread; one lock keeps lines whole.
 * Errors:  a reader that went away is not an error: the copy matters more than its report.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>

#include "core/engine/syn.h"

struct output {
    pthread_mutex_t lock;
    bool is_json;
    bool is_terminal; /* standard output understands ANSI sequences */
    enum syn_log_level least;
    unsigned view_lines; /* lines of the view on the screen */
};

void output_init(struct output *output, bool is_json, enum syn_log_level least);
void output_deinit(struct output *output);

/* A line of text; nothing in JSON mode. `to` is stdout or stderr. */
void output_line(struct output *output, FILE *to, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for text of any length. */
void output_text(struct output *output, FILE *to, const char *text);
/* Replaces the view by `text`, which has `lines` lines; terminal only. */
void output_view(struct output *output, const char *text, unsigned lines);
void output_size(unsigned *columns, unsigned *rows);

/* {"event": kind, "time_ms": now}; NULL when memory is out, which the setters below take. */
json_t *event_new(const char *kind);
void event_set_text(json_t *event, const char *name, const char *text);
void event_set_number(json_t *event, const char *name, uint64_t number);
void event_set_signed(json_t *event, const char *name, int64_t number);
/* Prints and frees it; nothing but freeing in text mode. */
void output_event(struct output *output, json_t *event);

/* The error that ends the command: one line, or an "error" event. Returns the exit status. */
int output_error(struct output *output, const struct syn_err *err);
/* The same with another status than the code's. */
int output_error_as(struct output *output, const struct syn_err *err, int status);
/* The same where there is no output yet. */
int output_error_only(bool is_json, const struct syn_err *err);
/* A syn_log_callback; `arg` is the output. */
void output_log(void *arg, enum syn_log_level level, const char *text);

#endif
