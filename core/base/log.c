#include "core/base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/base/atomic.h"

static void log_to_stderr(void *arg, enum log_level level, const char *text)
{
    (void)arg;
    fprintf(stderr, "syncline: %s%s\n", log_level_name(level), text);
}

static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static log_sink *sink_current = log_to_stderr;
static void *sink_arg;
/* W: set-up, R: any thread, relaxed; a late reader prints one line more or less. */
static _Atomic int level_current = LOG_INFO;

void log_set_sink(log_sink *sink, void *arg)
{
    pthread_mutex_lock(&sink_lock);
    sink_current = sink != NULL ? sink : log_to_stderr;
    sink_arg = arg;
    pthread_mutex_unlock(&sink_lock);
}

void log_set_level(enum log_level level)
{
    atomic_store_relaxed(&level_current, (int)level);
}

const char *log_level_name(enum log_level level)
{
    static const char *const names[] = {"debug: ", "", "warning: ", "error: "};
    return names[level];
}

void log_write(enum log_level level, const char *format, ...)
{
    if ((int)level < atomic_load_relaxed(&level_current)) {
        return;
    }
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    pthread_mutex_lock(&sink_lock);
    sink_current(sink_arg, level, text);
    pthread_mutex_unlock(&sink_lock);
}
