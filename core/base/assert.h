/*
 * Assertions: what *we* got wrong. Input from a peer or a file is validated, never asserted.
 *
 * ASSERT is always on and cheap: it guards memory and ordering. ASSERT_DEBUG is for per-operation
 * checks and ASSERT_SLOW for walks; both vanish unless SYNCLINE_DEBUG is 1 or 2.
 */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Called with the text of a broken assertion; must not return. NULL restores the default, which
 * prints to standard error and aborts. Set once at start, before any thread. */
typedef void assert_hook(const char *text, const char *file, int line, const char *func);
void assert_set_hook(assert_hook *hook);

_Noreturn void assert_fail(const char *text, const char *file, int line, const char *func);

#define ASSERT(x) (LIKELY(x) ? (void)0 : assert_fail(#x, __FILE__, __LINE__, __func__))

#if SYNCLINE_DEBUG >= 1
#define ASSERT_DEBUG(x) ASSERT(x)
#else
#define ASSERT_DEBUG(x) ((void)sizeof(x))
#endif
#if SYNCLINE_DEBUG >= 2
#define ASSERT_SLOW(x) ASSERT(x)
#else
#define ASSERT_SLOW(x) ((void)sizeof(x))
#endif

#endif
