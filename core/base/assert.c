#include "core/base/assert.h"

#include <stdio.h>
#include <stdlib.h>

static assert_hook *hook_current;

void assert_set_hook(assert_hook *hook)
{
    hook_current = hook;
}

_Noreturn void assert_fail(const char *text, const char *file, int line, const char *func)
{
    if (hook_current != NULL) {
        hook_current(text, file, line, func);
    }
    fprintf(stderr, "syncline: broken assertion %s in %s (%s:%d)\n", text, func, file, line);
    abort();
}
