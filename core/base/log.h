/*
 * The log: one line per event, for people. Never called per operation, never given a key, a value
 * or a secret.
 *
 * Threads: any. Lines are formatted by the caller and handed whole to the sink, one at a time.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "core/base/err.h"

enum log_level {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARNING,
    LOG_ERROR,
};

/* `text` has no newline and is valid until the sink returns. Called from any thread, serialised. */
typedef void log_sink(void *arg, enum log_level level, const char *text);

/* NULL restores the default sink: standard error, "syncline: text". Before threads start. */
void log_set_sink(log_sink *sink, void *arg);
void log_set_level(enum log_level level); /* default LOG_INFO */
const char *log_level_name(enum log_level level);

void log_write(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

#endif
