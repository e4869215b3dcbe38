#include "core/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool err_fill(struct syn_err *err,
              enum syn_code code,
              int sys_errno,
              const char *func,
              const char *file,
              int line,
              const char *format,
              ...)
{
    err->code = code;
    err->sys_errno = sys_errno;
    err->func = func;
    err->file = file;
    err->line = line;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(err->msg, sizeof(err->msg), format, args);
    va_end(args);
    if (sys_errno != 0 && length >= 0 && (size_t)length < sizeof(err->msg)) {
        char text[128];
        /* The GNU form returns its answer, which need not be the buffer. */
        const char *reason = strerror_r(sys_errno, text, sizeof(text));
        snprintf(err->msg + length, sizeof(err->msg) - (size_t)length, ": %s", reason);
    }
    return false;
}

void err_context(struct syn_err *err, const char *format, ...)
{
    char before[sizeof(err->msg)];
    va_list args;
    va_start(args, format);
    vsnprintf(before, sizeof(before), format, args);
    va_end(args);
    char after[sizeof(err->msg)];
    memcpy(after, err->msg, sizeof(after));
    after[sizeof(after) - 1] = '\0';
    int length = snprintf(err->msg, sizeof(err->msg), "%.200s: ", before);
    if (length > 0 && (size_t)length < sizeof(err->msg)) {
        size_t room = sizeof(err->msg) - (size_t)length - 1;
        size_t take = strnlen(after, room);
        memcpy(err->msg + length, after, take);
        err->msg[(size_t)length + take] = '\0';
    }
}

void err_clear(struct syn_err *err)
{
    *err = (struct syn_err){.code = SYN_CODE_OK};
}
