/*
 * Filling and extending errors.
 *
 * Threads:   an error belongs to the caller's thread; nothing here is shared.
 * Ownership: the caller owns the struct; it holds no pointers to free.
 * Use:       functions that can fail return bool (or a pointer), are marked MUST_CHECK and take
 *            `struct syn_err *err` last, never NULL inside the project.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

#include "core/base/syn_err.h"

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Fills err and evaluates to false, so `return ERR(err, CODE, "...")` reads as one sentence. */
#define ERR(err, code, ...) err_fill((err), (code), 0, __func__, __FILE__, __LINE__, __VA_ARGS__)
/* The same after a failed system call; `number` is its errno, appended to the message as text. */
#define ERR_SYS(err, code, number, ...)                                                            \
    err_fill((err), (code), (number), __func__, __FILE__, __LINE__, __VA_ARGS__)

bool err_fill(struct syn_err *err,
              enum syn_code code,
              int sys_errno,
              const char *func,
              const char *file,
              int line,
              const char *format,
              ...) PRINTF_LIKE(7, 8);

/* Puts "context: " before the message; for callers that know more than the failing function. */
void err_context(struct syn_err *err, const char *format, ...) PRINTF_LIKE(2, 3);

void err_clear(struct syn_err *err);

#endif
