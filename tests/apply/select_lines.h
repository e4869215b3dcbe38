/*
 * Rules of selection from lines like "exclude_prefix tmp:", for tests: a list's name, a space, the
 * text.
 *
 * Threads:   the test's. Ownership: the rules are the caller's memory; nothing is allocated.
 * Errors:    cmocka's assertions, so its header comes first.
 */
#ifndef TESTS_APPLY_SELECT_LINES_H
#define TESTS_APPLY_SELECT_LINES_H

#include <string.h>

#include "apply/select.h"

/* Until NULL; the rules begin anew. */
static inline void select_lines(struct select *rules, const char *const *lines)
{
    struct syn_err err;
    select_init(rules);
    for (; *lines != NULL; lines++) {
        size_t size = strcspn(*lines, " ");
        for (unsigned list = 0; list < SELECT_LIST_COUNT; list++) {
            const char *name = select_list_name((enum select_list)list);
            if (strlen(name) == size && strncmp(*lines, name, size) == 0 &&
                !select_add(rules, (enum select_list)list, *lines + size + 1, &err)) {
                fail_msg("%s", err.msg);
            }
        }
    }
    if (!select_finish(rules, &err)) {
        fail_msg("%s", err.msg);
    }
}

#endif
