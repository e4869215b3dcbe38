/* Lines, the view and events, whole and in order. */
#include "tools/cli/output.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

void output_init(struct output *output, bool is_json, enum syn_log_level least)
{
    *output = (struct output){.is_json = is_json, .least = least};
    pthread_mutex_init(&output->lock, NULL);
    const char *term = getenv("TERM");
    output->is_terminal =
        !is_json && isatty(STDOUT_FILENO) == 1 && term != NULL && strcmp(term, "dumb") != 0;
}

void output_deinit(struct output *output)
{
    fflush(stdout);
    pthread_mutex_destroy(&output->lock);
}

/* Removes the view, so that a line can take its place; it is drawn again below. */
static void view_erase(struct output *output)
{
    if (output->view_lines > 0) {
        printf("\x1b[%uA\r\x1b[J", output->view_lines);
        fflush(stdout);
        output->view_lines = 0;
    }
}

void output_line(struct output *output, FILE *to, const char *format, ...)
{
    if (output->is_json) {
        return;
    }
    char text[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    output_text(output, to, text);
}

void output_text(struct output *output, FILE *to, const char *text)
{
    if (output->is_json) {
        return;
    }
    pthread_mutex_lock(&output->lock);
    view_erase(output);
    fprintf(to, "%s\n", text);
    fflush(to);
    pthread_mutex_unlock(&output->lock);
}

void output_view(struct output *output, const char *text, unsigned lines)
{
    pthread_mutex_lock(&output->lock);
    view_erase(output);
    fputs(text, stdout);
    fflush(stdout);
    output->view_lines = lines;
    pthread_mutex_unlock(&output->lock);
}

void output_size(unsigned *columns, unsigned *rows)
{
    struct winsize size;
    *columns = 80;
    *rows = 24;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        *columns = size.ws_col;
        *rows = size.ws_row;
    }
}

json_t *event_new(const char *kind)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    json_t *event = json_object();
    event_set_text(event, "event", kind);
    event_set_signed(event, "time_ms", (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    return event;
}

void event_set_text(json_t *event, const char *name, const char *text)
{
    json_t *value = json_string(text);
    if (value == NULL) {
        /* Not UTF-8, such as a server's error or a path: what JSON cannot carry becomes '?'. */
        char clean[1024];
        size_t size = strnlen(text, sizeof(clean) - 1);
        for (size_t i = 0; i < size; i++) {
            clean[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
        }
        clean[size] = '\0';
        value = json_string(clean);
    }
    (void)json_object_set_new(event, name, value);
}

void event_set_number(json_t *event, const char *name, uint64_t number)
{
    json_int_t value = number > INT64_MAX ? INT64_MAX : (json_int_t)number;
    (void)json_object_set_new(event, name, json_integer(value));
}

void event_set_signed(json_t *event, const char *name, int64_t number)
{
    (void)json_object_set_new(event, name, json_integer(number));
}

void output_event(struct output *output, json_t *event)
{
    if (output->is_json && event != NULL) {
        pthread_mutex_lock(&output->lock);
        (void)json_dumpf(event, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
        fputc('\n', stdout);
        fflush(stdout);
        pthread_mutex_unlock(&output->lock);
    }
    json_decref(event);
}

int output_error(struct output *output, const struct syn_err *err)
{
    return output_error_as(output, err, syn_code_exit_status(err->code));
}

int output_error_as(struct output *output, const struct syn_err *err, int status)
{
    if (output->is_json) {
        json_t *event = event_new("error");
        event_set_text(event, "code", syn_code_name(err->code));
        event_set_signed(event, "exit_status", status);
        event_set_text(event, "text", err->msg);
        output_event(output, event);
    }
    pthread_mutex_lock(&output->lock);
    view_erase(output);
    fflush(stdout);
    fprintf(stderr, "syncline: %s\n", err->msg);
    pthread_mutex_unlock(&output->lock);
    return status;
}

int output_error_only(bool is_json, const struct syn_err *err)
{
    struct output output;
    output_init(&output, is_json, SYN_LOG_INFO);
    int status = output_error(&output, err);
    output_deinit(&output);
    return status;
}

void output_log(void *arg, enum syn_log_level level, const char *text)
{
    static const char *const marks[] = {"debug: ", "", "warning: ", "error: "};
    struct output *output = arg;
    if (output->is_json) {
        /* An "error" event is the end of the task; the log's errors are less than that. */
        json_t *event = event_new(level >= SYN_LOG_WARNING ? "warning" : "info");
        event_set_text(event, "text", text);
        output_event(output, event);
        return;
    }
    output_line(output, stderr, "syncline: %s%s", marks[level], text);
}
